"""What goes wrong around a running server: a clear error for the request concerned, the server lives, and works again when the
cause is gone. Faults of the disk and of the clock are injected below SQLite by tests/tools/failio.c."""
import os
import pathlib
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import threading
import time

import pytest

from failio import FailIO
from server import Server, at_most, binary, clean_env, run


def put(s, key, value=None, **kw):
    return s.request("PUT", "/store/items", {"namespace": ["f"], "key": key, "value": value or {"v": key}}, **kw)


def get(s, key):
    return s.request("GET", f"/store/items?namespace=f&key={key}")


@pytest.fixture
def faulty(tmp_path):
    """A server above a disk and clock that the test may break."""
    (tmp_path / "data").mkdir()
    fault = FailIO(tmp_path)
    s = Server(folder=tmp_path, env=fault.env)
    with s:
        s.fault = fault
        yield s
        fault.well()
    fault.close()


def written(s, key):
    r = get(s, key)
    return r.status == 200 and r.json is not None


def clear_error(r):
    """5xx with one sentence that tells a person something, and no internals."""
    assert 500 <= r.status < 600, r
    text = r.json.get("detail")
    assert isinstance(text, str) and len(text) > 10, r
    return text


def break_and_mend(s, break_it):
    """Puts fail while it is broken, none of them is half there, all earlier ones stay, and puts work after it is mended."""
    for i in range(20):
        assert put(s, f"before{i}").status == 204
    break_it()
    refused = []
    for i in range(20):
        r = put(s, f"during{i}", {"v": "x" * 5000})
        if r.status != 204:
            clear_error(r)
            refused.append(f"during{i}")
    assert s.fault.get("failed") > 0, "the fault was met"
    assert refused, "a write that could not be made durable was not acknowledged"
    assert s.request("GET", "/healthz").status == 200, "it lives"
    s.fault.well()
    for i in range(20):
        assert put(s, f"after{i}").status == 204, "and works again"
    for i in range(20):
        assert get(s, f"before{i}").json["value"] == {"v": f"before{i}"}
        assert get(s, f"after{i}").json["value"] == {"v": f"after{i}"}
    state = {k: written(s, k) for k in refused}
    assert s.stop() == 0
    s.start()
    for k, there in state.items():
        assert written(s, k) == there, "what was refused did not change its mind at the restart"
    assert not any(state.values()), "what was answered with an error did not happen"


@pytest.mark.parametrize("after", [0, 1, 2, 3, 7])
def test_full_disk(faulty, after):
    break_and_mend(faulty, lambda: faulty.fault.full_disk(after))


@pytest.mark.parametrize("after", [0, 1, 5])
def test_io_error_on_write(faulty, after):
    break_and_mend(faulty, lambda: faulty.fault.broken_write(after))


@pytest.mark.parametrize("after", [0, 1])
def test_io_error_on_sync(faulty, after):
    break_and_mend(faulty, lambda: faulty.fault.broken_sync(after))


def test_short_writes_are_finished(faulty):
    faulty.fault.set(short_writes=1)
    for i in range(50):
        assert put(faulty, f"k{i}", {"v": "y" * 3000}).status == 204
    faulty.fault.well()
    assert faulty.stop() == 0
    faulty.start()
    for i in range(50):
        assert get(faulty, f"k{i}").json["value"] == {"v": "y" * 3000}


def test_io_error_on_read(faulty):
    big = {"v": "z" * 200_000}
    for i in range(40):
        assert put(faulty, f"k{i}", {**big, "i": i}).status == 204
    assert faulty.stop() == 0
    faulty.start()
    faulty.fault.broken_read()
    answers = [get(faulty, f"k{i}") for i in range(40)]
    bad = [r for r in answers if r.status != 200]
    for r in bad:
        clear_error(r)
    assert faulty.fault.get("failed") == 0 or bad, "a failed read is an error, never an empty answer"
    assert faulty.request("GET", "/healthz").status == 200
    faulty.fault.well()
    for i in range(40):
        r = get(faulty, f"k{i}")
        assert r.status == 200 and r.json["value"]["i"] == i, (i, r, faulty.log[-3:])


def test_clock_goes_backwards(faulty):
    assert put(faulty, "a").status == 204
    faulty.fault.set(clock_offset=-3600)
    assert put(faulty, "b").status == 204
    assert put(faulty, "a", {"v": "again"}).status == 204
    items = faulty.request("POST", "/store/items/search", {"namespace_prefix": ["f"]}).json["items"]
    assert [i["key"] for i in items] == ["a", "b"], "newest first is the order of the writes, not of the clock"
    assert get(faulty, "a").json["updated_at"] > get(faulty, "b").json["updated_at"]


def test_ttl_passes_with_the_clock(faulty):
    for i in range(3):
        faulty.request("PUT", "/store/items", {"namespace": ["ttl"], "key": f"k{i}", "value": {"word": "marmalade"}, "ttl": 10 * (i + 1)})
    find = lambda: sorted(i["key"] for i in faulty.request("POST", "/store/items/search", {  # noqa: E731
        "namespace_prefix": ["ttl"], "query": "marmalade", "refresh_ttl": False}).json["items"])
    assert find() == ["k0", "k1", "k2"]
    faulty.fault.set(clock_offset=15 * 60)
    # A restart sweeps at once; nothing here waits for an interval.
    assert faulty.stop() == 0
    faulty.start()
    deadline = time.monotonic() + 20
    while find() != ["k1", "k2"] and time.monotonic() < deadline:
        pass
    assert find() == ["k1", "k2"]
    assert faulty.request("GET", "/store/items?namespace=ttl&key=k0&refresh_ttl=false").json is None


def test_corrupt_database_is_named(tmp_path):
    s = Server(folder=tmp_path)
    with s:
        for i in range(300):
            put(s, f"k{i}", {"v": "w" * 2000})
    files = [p for p in (tmp_path / "data").rglob("*") if p.is_file() and p.read_bytes()[:15] == b"SQLite format 3"]
    assert files
    target = max(files, key=lambda p: p.stat().st_size)
    good = target.read_bytes()
    # Another process' header: not a database at all.
    target.write_bytes(b"not a database" * 100)
    with pytest.raises(RuntimeError) as e:
        s.start()
        r = get(s, "k1")
        assert r.status >= 500, r
        text = clear_error(r)
        assert s.request("GET", "/healthz").status == 200
        assert s.stop() == 0
        raise RuntimeError("ended with 1: " + text + "".join(s.log))  # the answer has no internals, the log says what it was
    assert "ended with 1" in str(e.value) or "ended with 5" in str(e.value)
    assert "corrupt" in str(e.value).lower() or "not a database" in str(e.value).lower() or "damaged" in str(e.value).lower(), e.value
    target.write_bytes(good)
    s.process = None
    with s:
        assert get(s, "k1").json["value"] == {"v": "w" * 2000}, "works again with the file put back"


def test_damaged_page_is_an_error_never_a_wrong_answer(tmp_path):
    s = Server(folder=tmp_path)
    with s:
        for i in range(300):
            put(s, f"k{i}", {"v": f"{i} " + "w" * 2000})
    files = [p for p in (tmp_path / "data").rglob("*") if p.is_file() and p.read_bytes()[:15] == b"SQLite format 3"]
    target = max(files, key=lambda p: p.stat().st_size)
    data = bytearray(target.read_bytes())
    for page in range(10, len(data) // 4096, 3):
        data[page * 4096:page * 4096 + 64] = os.urandom(64)
    target.write_bytes(data)
    try:
        s.start()
    except RuntimeError as e:
        assert "ended with 1" in str(e) and "integrity" in str(e).lower() or "corrupt" in str(e).lower() or "damaged" in str(e).lower(), e
        return
    seen = [get(s, f"k{i}") for i in range(300)]
    assert any(r.status >= 500 for r in seen)
    for i, r in enumerate(seen):
        if r.status == 200 and r.json is not None:
            assert r.json["value"]["v"].startswith(f"{i} ")
        elif r.status >= 500:
            clear_error(r)
    assert s.request("GET", "/healthz").status == 200
    s.kill()


def test_second_daemon(tmp_path):
    s = Server(folder=tmp_path)
    with s:
        put(s, "k")
        r = subprocess.run([binary(), "serve", "--store", s.store, "--listen", "127.0.0.1:0"], env=s.env, capture_output=True, text=True,
                           timeout=60)
        assert r.returncode == 5, r
        assert str(s.process.pid) in r.stderr, "says who owns it: " + r.stderr
        assert get(s, "k").json["value"] == {"v": "k"}


def test_lock_of_a_killed_daemon_is_free(tmp_path):
    s = Server(folder=tmp_path).start()
    put(s, "k")
    s.kill()
    with s:
        assert get(s, "k").json["value"] == {"v": "k"}


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="root writes everywhere")
def test_read_only_file(tmp_path):
    """As a user who may not write the file: the start fails and says why, and works when the rights are back."""
    base = pathlib.Path("/tmp") / f"cenote-ro-{os.getpid()}"
    base.mkdir(mode=0o755)
    try:
        s = Server(folder=base)
        with s:
            put(s, "k")
        wrapper = []
        for p in [base / "data", *(base / "data").rglob("*")]:
            p.chmod(0o555 if p.is_dir() else 0o444)
        if os.geteuid() == 0:
            exe = base / "cenote"
            shutil.copy(binary(), exe)
            exe.chmod(0o755)
            wrapper = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", str(exe)]
            command = wrapper + s.command()[1:]
        else:
            command = s.command()
        r = subprocess.run(command, env=s.env, capture_output=True, text=True, timeout=60)
        assert r.returncode in (1, 4, 5), r
        assert any(w in r.stderr.lower() for w in ("read-only", "readonly", "permission", "not writable", "cannot write")), r.stderr
        for p in [base / "data", *(base / "data").rglob("*")]:
            p.chmod(0o755 if p.is_dir() else 0o644)
        with s:
            assert get(s, "k").json["value"] == {"v": "k"}
    finally:
        shutil.rmtree(base, ignore_errors=True)


def test_many_idle_connections(tmp_path):
    """10,000 connections that say nothing (fewer where the limits of the machine say so) do not keep others from being served."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    want = min(10_000, hard - 500)
    socks = []
    try:
        # each loop counts its own connections, so the ceiling has to leave room for an uneven spread
        with Server("--http-max-connections", "12000", "--http-idle-timeout", "10m", "--http-header-timeout", "10m",
                    folder=tmp_path) as s:
            for _ in range(want):
                socks.append(socket.create_connection((s.host, s.port), timeout=30))
            started = time.monotonic()
            for i in range(50):
                assert put(s, f"k{i}").status == 204
            assert time.monotonic() - started < at_most(10)
            rss = int(next(line for line in pathlib.Path(f"/proc/{s.process.pid}/status").read_text().splitlines()
                           if line.startswith("VmRSS")).split()[1])
            assert rss < 400_000 or os.environ.get("SANITIZER_RUNTIME"), f"{rss} KiB for {want} idle connections"
            for c in socks:
                c.close()
            socks = []
            assert get(s, "k1").status == 200
    finally:
        for c in socks:
            c.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_connection_limit_is_503(tmp_path):
    with Server("--http-max-connections", "8", "--http-loops", "1", folder=tmp_path) as s:
        socks = [socket.create_connection((s.host, s.port), timeout=30) for _ in range(8)]
        for c in socks:  # all of them are known to the server
            c.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert c.recv(65536).startswith(b"HTTP/1.1 200")
        answer = s.raw(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 503") and b"retry-after" in answer.lower(), answer
        for c in socks:
            c.close()
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                if s.request("GET", "/healthz").status == 200:
                    break
            except OSError:
                pass
        assert s.request("GET", "/healthz").status == 200


def test_slow_header_is_408(tmp_path):
    with Server("--http-header-timeout", "300ms", folder=tmp_path) as s:
        started = time.monotonic()
        answer = s.raw(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        assert answer.startswith(b"HTTP/1.1 408") or answer == b"", answer
        assert time.monotonic() - started < 20
        assert s.request("GET", "/healthz").status == 200


def test_slow_body_is_408(tmp_path):
    with Server("--http-header-timeout", "300ms", folder=tmp_path) as s:
        answer = s.raw(b"PUT /store/items HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{\"names")
        assert answer.startswith(b"HTTP/1.1 408"), answer
        assert s.request("GET", "/healthz").status == 200


def test_dripping_senders_do_not_hold_others_up(tmp_path):
    """A hundred clients that send a byte now and then; the others are served meanwhile."""
    with Server("--http-header-timeout", "2s", folder=tmp_path) as s:
        stop = threading.Event()

        def drip():
            try:
                with socket.create_connection((s.host, s.port), timeout=30) as c:
                    for b in b"GET /healthz HTTP/1.1\r\nX-A: " + b"a" * 1000:
                        c.send(bytes([b]))
                        if stop.wait(0.05):
                            return
            except OSError:
                pass

        threads = [threading.Thread(target=drip) for _ in range(100)]
        for t in threads:
            t.start()
        try:
            started = time.monotonic()
            for i in range(100):
                assert put(s, f"k{i}").status == 204
            assert time.monotonic() - started < at_most(10)
        finally:
            stop.set()
            for t in threads:
                t.join()


def test_half_closed_socket_gets_its_answer(tmp_path):
    with Server(folder=tmp_path) as s:
        put(s, "k")
        answer = s.raw(b"GET /store/items?namespace=f&key=k HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", half_close=True)
        assert answer.startswith(b"HTTP/1.1 200") and b'"v":' in answer.replace(b" ", b""), answer
        # half a request, then the end: no answer is owed, and the server goes on
        s.raw(b"PUT /store/items HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{", half_close=True)
        assert s.request("GET", "/healthz").status == 200


def test_reset_in_the_middle(tmp_path):
    """Clients that leave with RST while their answer is being made."""
    with Server(folder=tmp_path) as s:
        for i in range(200):
            c = socket.create_connection((s.host, s.port), timeout=30)
            c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            body = b'{"namespace":["f"],"key":"r%d","value":{"a":1}}' % i
            c.sendall(b"PUT /store/items HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" %
                      (len(body), body))
            c.close()
        for i in range(200):
            assert get(s, f"r{i}").status == 200
        assert put(s, "k").status == 204


def test_body_of_one_gibibyte(tmp_path):
    with Server(folder=tmp_path) as s:
        # by its length: refused before a byte is read
        answer = s.raw(b"PUT /store/items HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1073741824\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 413"), answer[:200]
        # chunked: refused while it comes
        sent, answer = 0, b""
        with socket.create_connection((s.host, s.port), timeout=60) as c:
            c.sendall(b"PUT /store/items HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
            piece = b"100000\r\n" + b"a" * 0x100000 + b"\r\n"
            try:
                while sent < 1 << 30:
                    c.sendall(piece)
                    sent += 0x100000
                    c.setblocking(False)
                    try:
                        answer = c.recv(65536)
                        break
                    except BlockingIOError:
                        pass
                    finally:
                        c.settimeout(60)
            except (BrokenPipeError, ConnectionResetError):
                try:
                    answer = c.recv(65536)
                except OSError:
                    pass
        assert sent < 1 << 29, "it was cut off long before the end"
        assert answer == b"" or answer.startswith(b"HTTP/1.1 413"), answer[:200]
        rss = int(next(line for line in pathlib.Path(f"/proc/{s.process.pid}/status").read_text().splitlines()
                       if line.startswith("VmHWM")).split()[1])
        assert rss < 200_000 or os.environ.get("SANITIZER_RUNTIME"), f"{rss} KiB"
        assert put(s, "k").status == 204


def test_sigterm_drains(tmp_path):
    """Requests under way are answered, later ones refused, exit 0; what was answered is there."""
    s = Server(folder=tmp_path).start()
    acked, stop = [], threading.Event()

    def work(me):
        n = 0
        while not stop.is_set():
            n += 1
            try:
                if put(s, f"w{me}-{n}").status == 204:
                    acked.append(f"w{me}-{n}")
                else:
                    return
            except (OSError, Exception):
                return

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    deadline = time.monotonic() + 20
    while len(acked) < 200 and time.monotonic() < deadline:
        pass
    assert s.stop() == 0
    stop.set()
    for t in threads:
        t.join()
    with s:
        missing = [k for k in acked if not written(s, k)]
        assert not missing, missing[:5]


def test_sigint_ends_with_130(tmp_path):
    s = Server(folder=tmp_path).start()
    idle = socket.create_connection((s.host, s.port))
    idle.sendall(b"PUT /store/items HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{")
    assert put(s, "k").status == 204
    s.process.send_signal(signal.SIGTERM)
    s.process.send_signal(signal.SIGINT)
    code = s.process.wait(20)
    assert code in (0, 130, 143), code
    idle.close()
    s.kill()
    with s:
        assert get(s, "k").json["value"] == {"v": "k"}


def test_database_files_are_sound(tmp_path):
    s = Server(folder=tmp_path)
    with s:
        for i in range(500):
            put(s, f"k{i % 100}", {"v": i})
    for p in (tmp_path / "data").rglob("*"):
        if p.is_file() and p.read_bytes()[:15] == b"SQLite format 3":
            with sqlite3.connect(p) as db:
                assert db.execute("pragma integrity_check").fetchone()[0] == "ok"


def test_command_line_without_store(tmp_path):
    r = run("get", "a", "k", "--server", "http://127.0.0.1:1", env={"CENOTE_DATA": tmp_path})
    assert r.returncode == 5 and r.stderr.startswith("cenote: get:"), r
    assert clean_env()["LC_ALL"]
