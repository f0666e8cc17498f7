"""HTTP as such: limits, status codes, keep-alive, pipelining, unix socket, health, metrics, the description of the routes."""
import http.client
import json
import re
import socket

import pytest

from server import Server

pytestmark = pytest.mark.stores("sqlite")  # where it says nothing else: this is about HTTP, not about the store


def first(answer):
    return int(answer[9:12]) if answer.startswith(b"HTTP/1.1 ") else answer


def test_problem_bodies(server):
    r = server.request("GET", "/cenote/v1/nothing")
    assert r.status == 404 and r.headers["content-type"].startswith("application/problem+json")
    p = r.json
    assert p["status"] == 404 and p["type"].startswith("urn:cenote:problem:") and p["title"] and p["request_id"] == r.headers["x-request-id"]


def test_request_id_is_echoed_or_made(server):
    r = server.request("GET", "/ok", headers={"X-Request-Id": "abc-1.2_3"})
    assert r.headers["x-request-id"] == "abc-1.2_3"
    for bad in ("a b", "x" * 129, "a\"b"):
        r = server.request("GET", "/ok", headers={"X-Request-Id": bad})
        assert re.fullmatch(r"[0-9a-f-]{36}", r.headers["x-request-id"]), bad


def test_405_with_allow(server):
    for method in ("PATCH", "TRACE", "QUERY", "PROPFIND"):
        r = server.request(method, "/store/items")
        assert r.status == 405 and {"GET", "PUT", "DELETE"} <= {x.strip() for x in r.headers["allow"].split(",")}, (method, r)


def test_head_and_options(server):
    r = server.request("HEAD", "/healthz")
    assert r.status == 200 and r.body == b""
    r = server.request("OPTIONS", "/store/items")
    assert r.status == 204 and "PUT" in r.headers["allow"]


def test_limits(server):
    assert server.request("PUT", "/store/items", b"x" * (9 << 20), {"Content-Type": "application/json"}).status == 413
    assert server.request("GET", "/ok", headers={"X-Big": "x" * 40_000}).status == 431
    assert server.request("GET", "/ok?" + "x" * 40_000).status in (414, 431)
    answer = server.raw(b"PUT /store/items HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert first(answer) in (411, 400, 422), answer
    answer = server.raw(b"POST /cenote/v1/recall HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert first(answer) == 411, answer


def test_native_wants_json(server):
    r = server.request("POST", "/cenote/v1/recall", b'{"query":"x"}', {"Content-Type": "text/plain"})
    assert r.status == 415, r
    for t in ("application/json", "application/json; charset=utf-8", "Application/JSON"):
        assert server.request("POST", "/cenote/v1/recall", b'{"query":"x"}', {"Content-Type": t}).status == 200, t


def test_malformed_requests(server):
    for line in (b"GET\r\n\r\n", b"\x00\x01\x02\r\n\r\n", b"GET /ok HTTP/9.9\r\nHost: x\r\n\r\n", b"GET /a%zz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"):
        answer = server.raw(line, half_close=True)
        assert answer == b"" or 400 <= first(answer) < 600 and first(answer) != 500, (line, answer)
    assert server.request("GET", "/store/items?namespace=%zz&key=k").status == 400
    assert server.request("GET", "/store/items?namespace=a&key=%ff%fe").status in (400, 422)
    answer = server.raw(b"PUT /store/items HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n",
                        half_close=True)
    assert answer == b"" or first(answer) >= 400, answer


@pytest.mark.stores("sqlite", "postgres")
def test_keep_alive_and_pipelining(server):
    body = b'{"namespace":["pipe"],"key":"k%d","value":{"i":%d}}'
    puts = b""
    for i in range(50):
        b = body % (i, i)
        puts += b"PUT /store/items HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(b), b)
    gets = b"".join(b"GET /store/items?namespace=pipe&key=k%d HTTP/1.1\r\nHost: x\r\n\r\n" % i for i in range(49))
    last = b"GET /store/items?namespace=pipe&key=k49 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = server.raw(puts + gets + last)
    assert answer.count(b"HTTP/1.1 204") == 50 and answer.count(b"HTTP/1.1 200") == 50
    assert [int(x) for x in re.findall(rb'"key":"k(\d+)"', answer)] == list(range(50)), "answers come in the order of the requests"


def test_one_connection_many_requests(server):
    conn = http.client.HTTPConnection(server.host, server.port, timeout=30)
    for i in range(300):
        conn.request("GET", "/ok")
        r = conn.getresponse()
        assert r.status == 200 and r.read() == b'{"ok":true}'
    sock = conn.sock
    assert sock is not None
    conn.close()


def test_expect_continue(server):
    with socket.create_connection((server.host, server.port), timeout=30) as c:
        body = b'{"namespace":["e"],"key":"k","value":{}}'
        c.sendall(b"PUT /store/items HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n"
                  b"Content-Length: %d\r\n\r\n" % len(body))
        assert c.recv(100).startswith(b"HTTP/1.1 100")
        c.sendall(body)
        assert c.recv(1000).startswith(b"HTTP/1.1 204")


def test_chunked_body(server):
    body = b'{"namespace":["c"],"key":"k","value":{"a":1}}'
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(body[i:i + 7]), body[i:i + 7]) for i in range(0, len(body), 7)) + b"0\r\n\r\n"
    answer = server.raw(b"PUT /store/items HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
                        b"Connection: close\r\n\r\n" + chunks)
    assert first(answer) == 204, answer
    assert server.request("GET", "/store/items?namespace=c&key=k").json["value"] == {"a": 1}


def test_unix_socket(server):
    path = next(p for p in (server.folder / "data").rglob("*") if p.is_socket())
    assert path.stat().st_mode & 0o777 == 0o600
    with socket.socket(socket.AF_UNIX) as c:
        c.settimeout(30)
        c.connect(str(path))
        c.sendall(b"GET /ok HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert c.recv(4096).startswith(b"HTTP/1.1 200")


@pytest.mark.stores("sqlite", "postgres")
def test_health(server):
    for path in ("/livez", "/healthz", "/readyz", "/startupz"):
        r = server.request("GET", path)
        assert (r.status, r.body.strip()) == (200, b"ok"), path
    verbose = server.request("GET", "/readyz?verbose=1").json
    assert verbose["checks"] and verbose["version"]


@pytest.mark.stores("sqlite", "postgres")
def test_metrics(server):
    server.request("GET", "/store/items?namespace=a&key=b")
    r = server.request("GET", "/metrics")
    assert r.status == 200 and r.headers["content-type"].startswith("text/plain; version=0.0.4")
    names, helped = set(), set()
    for line in r.body.decode().splitlines():
        if line.startswith("# "):
            _, what, name, _ = line.split(" ", 3)
            assert (what, name) not in helped, f"twice: {line}"
            helped.add((what, name))
        elif line:
            m = re.fullmatch(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[^"}]|"(?:[^"\\]|\\.)*")*\})? (NaN|[+-]?Inf|[-+0-9.e]+)', line)
            assert m, line
            names.add(m.group(1))
    for wanted in ("cenote_build_info", "cenote_http_requests_total", "cenote_http_request_duration_seconds_bucket", "cenote_store_up",
                   "process_resident_memory_bytes"):
        assert wanted in names, wanted
    for name in names:
        base = re.sub(r"_(bucket|sum|count)$", "", name)
        assert ("TYPE", name) in helped or ("TYPE", base) in helped, name


@pytest.mark.stores("sqlite", "postgres")
def test_openapi_describes_what_there_is(server):
    doc = server.request("GET", "/openapi.json").json
    assert doc["openapi"].startswith("3.1") and doc["info"]["title"]
    ids = [op["operationId"] for methods in doc["paths"].values() for m, op in methods.items() if isinstance(op, dict) and "operationId" in op]
    assert len(ids) == len(set(ids)) >= 20
    for path, methods in doc["paths"].items():
        for method, op in methods.items():
            if method not in ("get", "put", "post", "delete", "patch"):
                continue
            r = server.request(method.upper(), re.sub(r"\{[^}]*\}", "x", path), {} if method in ("put", "post", "patch") else None)
            assert r.status not in (405, 501), (method, path, r)
            assert r.status < 500 and str(r.status) in op["responses"] or "default" in op["responses"], (method, path, r.status)


def test_cors():
    with Server("--cors-origins", "https://app.example") as s:
        r = s.request("OPTIONS", "/store/items", headers={"Origin": "https://app.example", "Access-Control-Request-Method": "PUT"})
        assert r.status == 204 and r.headers["access-control-allow-origin"] == "https://app.example"
        r = s.request("GET", "/ok", headers={"Origin": "https://app.example"})
        assert r.headers["access-control-allow-origin"] == "https://app.example"
        r = s.request("GET", "/ok", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in r.headers


@pytest.mark.stores("sqlite", "postgres")
def test_log_lines_are_json_and_quiet_about_content(fresh):
    fresh.request("PUT", "/store/items", {"namespace": ["log"], "key": "k", "value": {"text": "quittenmarmelade"}})
    fresh.request("POST", "/store/items/search", {"namespace_prefix": ["log"], "query": "quittenmarmelade"})
    assert fresh.stop() == 0
    for line in fresh.log:
        assert "quittenmarmelade" not in line
        if not line.startswith("cenote: "):
            assert {"ts", "level", "msg"} <= set(json.loads(line)), line
    fresh.start()


@pytest.mark.parametrize("args,code", [(["--listen", "nowhere"], 2), (["--store", "mysql:x"], 2), (["--nonsense"], 2),
                                       (["--config", "/nonexistent.yaml"], 2), (["--auth", "maybe"], 2)])
def test_bad_start(args, code, tmp_path):
    with pytest.raises(RuntimeError) as e:
        Server(*args, folder=tmp_path).start()
    assert f"ended with {code}" in str(e.value), e.value
