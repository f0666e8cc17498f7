"""Connections: what is repeated and what is not, waits, odd answers, ends of servers."""
import asyncio
import gc
import os
import socket
import ssl
import threading
import time

import pytest

import cenote
from cenote import (AuthenticationError, CenoteError, CenoteSaver, CenoteStore, Client, ConnectionFailed, InvalidRequestError, NotFoundError,
                    ServerError, TimeoutExceeded)


class Script:
    """A server that does as it is told: each connection takes the next list of steps; a step is bytes to answer a request with, "close", or
    "silence" (reads, and never answers)."""

    def __init__(self, *connections):
        self.connections, self.requests, self.count = list(connections), [], 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.threads = []
        self.open = []
        self.main = threading.Thread(target=self.accept, daemon=True)
        self.main.start()

    def accept(self):
        while True:
            try:
                conn, _ = self.listener.accept()
            except OSError:
                return
            steps = self.connections[min(self.count, len(self.connections) - 1)]
            self.count += 1
            self.open.append(conn)
            t = threading.Thread(target=self.serve, args=(conn, steps), daemon=True)
            self.threads.append(t)
            t.start()

    def serve(self, conn, steps):
        for step in steps:
            if step == "close":
                break
            if not self.read(conn):
                break
            if step == "silence":
                self.read(conn)
                break
            if step == "drop":
                break
            conn.sendall(step)
        conn.close()

    def read(self, conn):
        got = b""
        try:
            while b"\r\n\r\n" not in got:
                data = conn.recv(65536)
                if not data:
                    return False
                got += data
            head, _, body = got.partition(b"\r\n\r\n")
            n = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")]
            while n and len(body) < n[0]:
                body += conn.recv(65536)
        except OSError:
            return False
        self.requests.append((head, body))
        return True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)  # wakes accept
        self.main.join(10)
        self.listener.close()
        for c in self.open:
            try:
                c.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        for t in self.threads:
            t.join(10)


def ok(body=b"{}", *head):
    return b"\r\n".join([b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), *head, b"", body])


def fails(status, *head):
    return b"\r\n".join([b"HTTP/1.1 %d No" % status, b"Content-Length: 0", *head, b"", b""])


def sync(client, *a, **kw):
    with client:
        return client.request(*a, **kw)


def in_loop(client, *a, **kw):
    async def run():
        async with client:
            return await client.arequest(*a, **kw)

    return asyncio.run(run())


both = pytest.mark.parametrize("ask", [sync, in_loop])


@both
@pytest.mark.parametrize("answer", [
    ok(b"body"),
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nbo\r\n2;x=y\r\ndy\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n4\r\nbody\r\n0\r\nTrailer: x\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody",
    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody",
])
def test_forms_of_answers(ask, answer):
    with Script([answer]) as s:
        assert ask(Client(s.url, retries=0), "POST", "/p", b"x", "a/b") == b"body"
        assert s.requests[0][1] == b"x" and b"Content-Type: a/b\r\nContent-Length: 1" in s.requests[0][0] + b"\r\n"


@both
def test_an_answer_that_ends_with_the_connection(ask):
    with Script([b"HTTP/1.0 200 OK\r\n\r\nbody", "close"]) as s:
        assert ask(Client(s.url, retries=0), "GET", "/p") == b"body"


@both
def test_answers_in_pieces(ask):
    answer = ok(b"a" * 100000)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        def serve():
            conn, _ = listener.accept()
            conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            conn.recv(65536)
            for i in (0, 1, 5, 17, 30, 60, 1000, 60000):
                end = {0: 1, 1: 5, 5: 17, 17: 30, 30: 60, 60: 1000, 1000: 60000, 60000: len(answer)}[i]
                conn.sendall(answer[i:end])
            conn.recv(1)
            conn.close()

        t = threading.Thread(target=serve)
        t.start()
        assert ask(Client(f"http://127.0.0.1:{listener.getsockname()[1]}"), "GET", "/") == b"a" * 100000
        t.join(10)


@both
@pytest.mark.parametrize("answer", [b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", ok(b"a") + b"more",
                                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"])
def test_answers_that_are_none(ask, answer):
    with Script([answer]) as s, pytest.raises(ServerError):
        ask(Client(s.url, retries=3), "GET", "/")


@both
@pytest.mark.parametrize("first", [[fails(503, b"Retry-After: 0")], [fails(429, b"Retry-After: 0")], [fails(502)], [fails(504)], ["drop"], ["close"],
                                   [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", "close"]])
def test_what_is_repeated(ask, first):
    with Script(first, [ok(b"yes")]) as s:
        assert ask(Client(s.url), "POST", "/", b"b", "x/y") == b"yes"
        assert s.count >= 1 and all(body == b"b" for _, body in s.requests)


@both
def test_repetition_ends(ask):
    with Script([fails(503, b"Retry-After: 0")] * 10) as s, pytest.raises(ServerError) as e:
        ask(Client(s.url, retries=2), "GET", "/")
    assert e.value.status == 503 and len(s.requests) == 3
    with Script(["drop"]) as s, pytest.raises(ConnectionFailed):
        ask(Client(s.url, retries=2), "GET", "/")
    assert len(s.requests) == 3


@both
@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 412, 413, 422, 500, 507, 301])
def test_what_is_not_repeated(ask, status):
    with Script([fails(status)]) as s, pytest.raises(CenoteError) as e:
        ask(Client(s.url), "GET", "/")
    assert e.value.status == status and len(s.requests) == 1


@both
def test_what_must_not_be_done_twice(ask):
    with Script(["drop"], [ok()]) as s, pytest.raises(ConnectionFailed):
        ask(Client(s.url), "POST", "/", b"", repeat=False)
    assert len(s.requests) == 1
    with Script([fails(504)]) as s, pytest.raises(ServerError):
        ask(Client(s.url), "POST", "/", b"", repeat=False)
    assert len(s.requests) == 1
    with Script([fails(503, b"Retry-After: 0"), ok(b"1")]) as s:
        assert ask(Client(s.url), "POST", "/", b"", repeat=False) == b"1"


def test_a_kept_connection_that_was_closed_costs_no_attempt():
    for repeat in (True, False):
        with Script([ok(b"1"), "close"], [ok(b"2")]) as s, Client(s.url, retries=0) as c:
            assert c.request("GET", "/", repeat=repeat) == b"1"
            s.threads[0].join(10)
            assert c.request("POST", "/", b"", repeat=repeat) == b"2"
            assert s.count == 2

    async def run():
        for repeat in (True, False):
            with Script([ok(b"1"), "close"], [ok(b"2")]) as s:
                async with Client(s.url, retries=0) as c:
                    assert await c.arequest("GET", "/", repeat=repeat) == b"1"
                    s.threads[0].join(10)
                    assert await c.arequest("POST", "/", b"", repeat=repeat) == b"2"

    asyncio.run(run())


@both
def test_timeout(ask):
    with Script(["silence"]) as s:
        began = time.monotonic()
        with pytest.raises(TimeoutExceeded) as e:
            ask(Client(s.url, timeout=0.2), "GET", "/")
        assert time.monotonic() - began < 5 and isinstance(e.value, TimeoutError)
    with Script([fails(503, b"Retry-After: 60")]) as s:
        with pytest.raises(ServerError):  # there would be no time for another attempt
            ask(Client(s.url, timeout=5), "GET", "/")


def test_connections_are_kept():
    with Script([ok()] * 10) as s, Client(s.url) as c:
        for _ in range(10):
            c.request("GET", "/")
        assert s.count == 1

    async def run():
        with Script([ok()] * 10) as s:
            async with Client(s.url) as c:
                for _ in range(10):
                    await c.arequest("GET", "/")
            assert s.count == 1

    asyncio.run(run())


def test_a_cancelled_call_takes_its_connection_along():
    async def run():
        with Script(["silence"], [ok(b"mine")]) as s:
            async with Client(s.url) as c:
                task = asyncio.create_task(c.arequest("GET", "/"))
                while not s.requests:
                    await asyncio.sleep(0.001)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert await c.arequest("GET", "/") == b"mine"

    asyncio.run(run())


def test_many_tasks_take_turns():
    async def run(url):
        async with Client(url) as c:
            return await asyncio.gather(*(c.arequest("GET", "/") for _ in range(500)))

    with Script([ok()] * 1000) as s:
        assert len(asyncio.run(run(s.url))) == 500
        assert s.count <= 64


def test_headers_and_paths():
    with Script([ok()]) as s, Client(s.url + "/below/", api_key="k1", user="ann", headers={"X-A": "b"}) as c:
        c.request("GET", "/p?x=1")
        head = s.requests[0][0].decode()
    assert head.startswith("GET /below/p?x=1 HTTP/1.1\r\n")
    for line in ("Authorization: Bearer k1", "X-Cenote-User: ann", "X-A: b", "Host: 127.0.0.1:"):
        assert "\r\n" + line in head


def test_the_environment(monkeypatch):
    with Script([ok()]) as s:
        monkeypatch.setenv("CENOTE_SERVER", s.url)
        monkeypatch.setenv("CENOTE_API_KEY", "k2")
        with Client() as c:
            c.request("GET", "/")
        assert b"Authorization: Bearer k2" in s.requests[0][0]


@pytest.mark.parametrize("kw", [{"url": "ftp://x"}, {"url": "127.0.0.1:8000"}, {"url": "http://"}, {"url": "http://u:p@h"}, {"url": "http://h?x=1"},
                                {"api_key": "a\r\nb"}, {"user": "a\nb"}, {"headers": {"a\n": "b"}}, {"timeout": 0}, {"retries": -1}])
def test_arguments_that_are_malformed(kw):
    with pytest.raises(ValueError):
        Client(**{"url": "http://127.0.0.1:1", **kw})


def test_after_the_end():
    c = Client("http://127.0.0.1:1")
    c.close()
    with pytest.raises(CenoteError, match="closed"):
        c.request("GET", "/")
    with pytest.raises(CenoteError, match="closed"):
        asyncio.run(c.arequest("GET", "/"))


def test_tls(tmp_path):
    key, cert = tmp_path / "key", tmp_path / "cert"
    code = os.system(f"openssl req -x509 -newkey rsa:2048 -nodes -keyout {key} -out {cert} -days 2 -subj /CN=localhost "
                     f"-addext subjectAltName=IP:127.0.0.1 2>/dev/null")
    assert code == 0
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        def serve():
            for _ in range(4):
                conn, _ = listener.accept()
                try:
                    tls = context.wrap_socket(conn, server_side=True)
                    tls.recv(65536)
                    tls.sendall(ok(b"safe"))
                    tls.close()
                except OSError:
                    conn.close()

        t = threading.Thread(target=serve, daemon=True)
        t.start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        trusting = ssl.create_default_context(cafile=cert)
        assert sync(Client(url, ssl_context=trusting), "GET", "/") == b"safe"
        assert in_loop(Client(url, ssl_context=trusting), "GET", "/") == b"safe"
        for ask in (sync, in_loop):
            with pytest.raises(ConnectionFailed, match="certificate"):
                ask(Client(url), "GET", "/")
        t.join(10)


# ------------------------------------------------------------------ real servers


@pytest.mark.stores("sqlite")
def test_the_server_is_killed_and_comes_back(start, kind, thread):
    from test_saver import checkpoint, config

    with start(kind, listen=f"127.0.0.1:{free_port()}") as server, CenoteSaver.connect(server.url, retries=30) as saver, \
            CenoteStore.connect(server.url, retries=30) as store:
        at = None
        for i in range(4):
            c = checkpoint({"x": [i]}, saver, i)
            at = saver.put(at or config(thread), c, {}, c["channel_versions"])
            store.put(("a",), "k", {"i": i})
            server.kill()
            again = threading.Timer(0.1, server.start)
            again.start()
            assert saver.get_tuple(config(thread)).config == at
            again.join()
            assert store.get(("a",), "k").value == {"i": i}
        assert len(list(saver.list(config(thread)))) == 4

        async def run():
            assert (await saver.aget_tuple(config(thread))).config == at
            server.kill()
            again = threading.Timer(0.1, server.start)
            again.start()
            assert (await saver.aget_tuple(config(thread))).config == at
            again.join()
            await saver.aclose()

        asyncio.run(run())


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


@pytest.mark.stores("sqlite")
def test_keys(start, kind):
    with start(kind, "--auth", "keys") as server:
        made = server.run("key", "create", "--tenant", "t1", "--rights", "read", "--json", check=0)
        import json

        key = json.loads(made.stdout)["key"]
        with CenoteSaver.connect(server.url) as s, pytest.raises(AuthenticationError) as e:
            s.get_tuple({"configurable": {"thread_id": "t"}})
        assert e.value.status == 401
        with CenoteSaver.connect(server.url, api_key="wrong") as s, pytest.raises(AuthenticationError):
            asyncio.run(s.aget_tuple({"configurable": {"thread_id": "t"}}))
        with CenoteSaver.connect(server.url, api_key=key) as s:
            assert s.get_tuple({"configurable": {"thread_id": "t"}}) is None
            with pytest.raises(cenote.PermissionDeniedError) as e:
                s.delete_thread("t")
            assert e.value.status == 403


def test_fork(server):
    """A child process has connections of its own."""
    with Client(server.url) as c:
        c.request("GET", "/livez")
        pid = os.fork()
        if pid == 0:
            try:
                mine = len(c._idle)
                c.request("GET", "/livez")
                os._exit(0 if mine == 0 else 3)
            except BaseException:
                os._exit(4)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        c.request("GET", "/livez")


def test_errors_say_what_was_wrong(server):
    with Client(server.url) as c:
        with pytest.raises(NotFoundError) as e:
            c.request("GET", "/cenote/v1/items?namespace=a&key=none")
        assert e.value.status == 404 and e.value.request_id
        with pytest.raises(InvalidRequestError) as e:
            c.request("GET", "/cenote/v1/items?namespace=a")
        assert e.value.field == "key" and "(key)" in str(e.value)


def test_nothing_is_left_open(server):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        sync(Client(server.url), "GET", "/livez")
        in_loop(Client(server.url), "GET", "/livez")
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before + 1
