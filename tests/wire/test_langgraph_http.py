"""Status codes and bodies of the LangGraph routes, byte by byte where clients depend on them."""
import re

import pytest


def q(ns):
    return ".".join(ns)


def test_put_is_204_without_body(server, ns):
    r = server.request("PUT", "/store/items", {"namespace": ns, "key": "k", "value": {}})
    assert (r.status, r.body) == (204, b"")
    assert r.headers["x-request-id"]


def test_missing_is_200_null(server, ns):
    r = server.request("GET", f"/store/items?namespace={q(ns)}&key=none")
    assert (r.status, r.json) == (200, None)
    assert r.headers["content-type"].startswith("application/json")


def test_get_accepts_repeated_namespace(server, ns):
    server.request("PUT", "/store/items", {"namespace": ns, "key": "k", "value": {"a": 1}})
    r = server.request("GET", "/store/items?" + "&".join(f"namespace={p}" for p in ns) + "&key=k")
    assert r.json["value"] == {"a": 1}


def test_item_times(server, ns):
    server.request("PUT", "/store/items", {"namespace": ns, "key": "k", "value": {}})
    item = server.request("GET", f"/store/items?namespace={q(ns)}&key=k").json
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00", item["updated_at"])


def test_delete_has_a_body(server, ns):
    server.request("PUT", "/store/items", {"namespace": ns, "key": "k", "value": {}})
    r = server.request("DELETE", "/store/items", {"namespace": ns, "key": "k"})
    assert (r.status, r.body) == (204, b"")
    assert server.request("GET", f"/store/items?namespace={q(ns)}&key=k").json is None


def test_null_is_absent(server, ns):
    r = server.request("POST", "/store/items/search", {"namespace_prefix": None, "filter": None, "query": None, "refresh_ttl": None,
                                                       "limit": 1, "offset": 0})
    assert r.status == 200 and "items" in r.json
    r = server.request("PUT", "/store/items", {"namespace": ns, "key": "k", "value": {}, "index": None, "ttl": None})
    assert r.status == 204
    assert server.request("POST", "/store/namespaces", {"prefix": None, "suffix": None, "max_depth": None}).status == 200
    assert server.request("POST", "/store/namespaces", {}).status == 200


def test_any_content_type(server, ns):
    body = b'{"namespace":["' + '","'.join(ns).encode() + b'"],"key":"k","value":{}}'
    for headers in ({}, {"Content-Type": "text/plain"}, {"Content-Type": "application/json; charset=utf-8"}):
        assert server.request("PUT", "/store/items", body, headers).status == 204


BAD = [
    ("PUT", "/store/items", {"namespace": [], "key": "k", "value": {}}, 400),
    ("PUT", "/store/items", {"namespace": ["a", ""], "key": "k", "value": {}}, 422),
    ("PUT", "/store/items", {"namespace": ["a.b"], "key": "k", "value": {}}, 422),
    ("PUT", "/store/items", {"namespace": ["a\u0000"], "key": "k", "value": {}}, 422),
    ("PUT", "/store/items", {"namespace": "a", "key": "k", "value": {}}, 422),
    ("PUT", "/store/items", {"namespace": [1], "key": "k", "value": {}}, 422),
    ("PUT", "/store/items", {"namespace": ["langgraph"], "key": "k", "value": {}}, 422),
    ("PUT", "/store/items", {"namespace": ["a"], "value": {}}, 422),
    ("PUT", "/store/items", {"namespace": ["a"], "key": 5, "value": {}}, 422),
    ("PUT", "/store/items", {"namespace": ["a"], "key": "k"}, 422),
    ("PUT", "/store/items", {"namespace": ["a"], "key": "k", "value": [1]}, 422),
    ("PUT", "/store/items", {"namespace": ["a"], "key": "k", "value": "text"}, 422),
    ("PUT", "/store/items", {"namespace": ["a"], "key": "k", "value": {}, "ttl": "soon"}, 422),
    ("PUT", "/store/items", {"namespace": ["a"], "key": "k", "value": {}, "ttl": -1}, 422),
    ("PUT", "/store/items", {"namespace": ["a"], "key": "k", "value": {}, "index": "text"}, 422),
    ("PUT", "/store/items", b"{", 400),
    ("PUT", "/store/items", b"", None),
    ("PUT", "/store/items", b"[]", None),
    ("PUT", "/store/items", b'{"namespace":["a"],"key":"k","value":{"a":1,}}', 400),
    ("PUT", "/store/items", b'{"namespace":["a"],"key":"k","value":{"a":"\xff"}}', 400),
    ("PUT", "/store/items", b'{"namespace":["a"],"key":"k","value":' + b'{"a":' * 100 + b"1" + b"}" * 100 + b"}", 400),
    ("GET", "/store/items?namespace=a", None, 400),
    ("GET", "/store/items?namespace=a..b&key=k", None, 422),
    ("GET", "/store/items?namespace=a&key=k&refresh_ttl=maybe", None, None),
    ("DELETE", "/store/items", {"namespace": ["a"]}, 422),
    ("POST", "/store/items/search", {"namespace_prefix": "a"}, 422),
    ("POST", "/store/items/search", {"namespace_prefix": ["a"], "limit": 0}, 422),
    ("POST", "/store/items/search", {"namespace_prefix": ["a"], "limit": "ten"}, 422),
    ("POST", "/store/items/search", {"namespace_prefix": ["a"], "offset": -1}, 422),
    ("POST", "/store/items/search", {"namespace_prefix": ["a"], "filter": []}, 422),
    ("POST", "/store/items/search", {"namespace_prefix": ["a"], "filter": {"x": {"$in": [1]}}}, 422),
    ("POST", "/store/items/search", {"namespace_prefix": ["a"], "query": 5}, 422),
    ("POST", "/store/namespaces", {"max_depth": 0}, 422),
    ("POST", "/store/namespaces", {"prefix": ["a", ""]}, 422),
]


@pytest.mark.parametrize("method,path,body,status", BAD, ids=[f"{m} {p} {str(b)[:60]}" for m, p, b, _ in BAD])
def test_refusals(server, method, path, body, status):
    r = server.request(method, path, body)
    assert r.status == status if status else r.status in (400, 422), r
    assert isinstance(r.json["detail"], str) and r.json["detail"], "one sentence in `detail`"
    assert r.headers["content-type"].startswith("application/json")
    assert r.headers["x-request-id"]


def test_unknown_and_not_offered(server):
    for method, path in (("GET", "/store/nothing"), ("POST", "/threads/x/stream"), ("POST", "/assistants")):
        r = server.request(method, path, {} if method == "POST" else None)
        assert r.status in (404, 405), r
    r = server.request("POST", "/store/items", {})
    assert r.status == 405 and "PUT" in r.headers["allow"]


def test_ok_and_info(server):
    assert server.request("GET", "/ok").json == {"ok": True}
    assert server.request("GET", "/ok?check_db=1").json == {"ok": True}
    info = server.request("GET", "/info").json
    assert {"version", "langgraph_py_version", "flags", "metadata"} <= set(info)
    assert info["flags"]["assistants"] is False


