"""`/cenote/v1`: items with ETag, batch, messages, threads, recall, statistics."""
import pytest

V = "/cenote/v1"
pytestmark = pytest.mark.stores("sqlite", "postgres", "postgres-schema", "postgres-bouncer")


def item(ns, key):
    return f"{V}/items?namespace={'.'.join(ns)}&key={key}"


def problem(r, status):
    assert r.status == status, r
    assert r.headers["content-type"].startswith("application/problem+json")
    p = r.json
    assert p["status"] == status and p["detail"] and p["title"] and p["type"].startswith("urn:cenote:problem:")
    return p


def test_item_life(server, ns):
    problem(server.request("GET", item(ns, "k")), 404)
    r = server.request("PUT", item(ns, "k"), {"v": 1})
    assert r.status in (200, 201, 204) and r.headers["etag"] == '"1"'
    r = server.request("GET", item(ns, "k"))
    assert r.status == 200 and r.headers["etag"] == '"1"' and r.json["value"] == {"v": 1}
    assert server.request("GET", item(ns, "k"), headers={"If-None-Match": '"1"'}).status == 304
    r = server.request("PUT", item(ns, "k"), {"v": 2}, {"If-Match": '"1"'})
    assert r.headers["etag"] == '"2"'
    problem(server.request("PUT", item(ns, "k"), {"v": 3}, {"If-Match": '"1"'}), 412)
    problem(server.request("PUT", item(ns, "k"), {"v": 3}, {"If-None-Match": "*"}), 412)
    problem(server.request("DELETE", item(ns, "k"), headers={"If-Match": '"1"'}), 412)
    assert server.request("GET", item(ns, "k")).json["value"] == {"v": 2}
    assert server.request("DELETE", item(ns, "k"), headers={"If-Match": '"2"'}).status == 204
    assert server.request("PUT", item(ns, "k"), {"v": 4}, {"If-None-Match": "*"}).status in (200, 201, 204)


def test_put_takes_the_value_as_it_is(server, ns, kind):
    raw = b'{ "a" : 1.0e1 }'
    assert server.request("PUT", item(ns, "k"), raw, {"Content-Type": "application/json"}).status in (200, 201, 204)
    r = server.request("GET", item(ns, "k"))
    assert raw in r.body if kind == "sqlite" else r.json["value"] == {"a": 10}
    for bad in (b"[]", b"5", b'"x"'):
        problem(server.request("PUT", item(ns, "k"), bad, {"Content-Type": "application/json"}), 422)
    p = problem(server.request("PUT", item(ns, "k"), b'{"a":', {"Content-Type": "application/json"}), 400)
    assert "line" in p["detail"] or "position" in str(p)


def test_batch_of_a_thousand(server, ns):
    ops = [{"op": "put", "namespace": ns, "key": f"k{i}", "value": {"i": i}} for i in range(1000)]
    r = server.request("POST", f"{V}/batch", {"operations": ops})
    assert r.status == 200 and len(r.json["results"]) == 1000, r
    r = server.request("POST", f"{V}/batch", {"operations": [{"op": "get", "namespace": ns, "key": f"k{i}"} for i in (0, 999, 1000)]})
    assert [(x["status"], x.get("item", {}).get("value")) for x in r.json["results"]] == [(200, {"i": 0}), (200, {"i": 999}), (404, None)], r


def test_batch_parts_fail_alone_or_together(server, ns):
    ops = [{"op": "put", "namespace": ns, "key": "a", "value": {"v": 1}},
           {"op": "put", "namespace": ns, "key": "b", "value": {"v": 1}, "if_version": 7},
           {"op": "delete", "namespace": ns, "key": "none"}]
    r = server.request("POST", f"{V}/batch?atomic=true", {"operations": ops})
    assert r.status in (409, 412), r
    assert server.request("GET", item(ns, "a")).status == 404, "nothing of it happened"
    r = server.request("POST", f"{V}/batch", {"operations": ops})
    assert [x["status"] for x in r.json["results"]] == [201, 412, 404], r
    assert server.request("GET", item(ns, "a")).json["value"] == {"v": 1}


def test_messages_threads_recall(server, ns):
    user, thread = "-".join(ns), "th-" + ns[1]
    msgs = [{"thread": thread, "user": user, "role": "user", "content": "My boat is called Heron and lies at berth fourteen",
             "time": "2026-05-04T10:00:00Z"},
            {"thread": thread, "user": user, "role": "assistant", "content": "A good name.", "time": "2026-05-04T10:00:05Z"},
            {"thread": thread, "user": user, "role": "user", "content": "I bake rye bread on Sundays", "time": "2026-05-05T10:00:00Z"}]
    r = server.request("POST", f"{V}/messages", {"messages": msgs})
    assert r.status == 200 and r.json == {"stored": 3, "unchanged": 0}
    listed = server.request("GET", f"{V}/threads/{thread}/messages").json
    assert [m["content"] for m in listed["data"]] == [m["content"] for m in msgs] and listed["has_more"] is False
    ids = [m["id"] for m in listed["data"]]
    again = [{**m, "id": i} for m, i in zip(msgs, ids)]
    assert server.request("POST", f"{V}/messages", {"messages": again}).json == {"stored": 0, "unchanged": 3}

    pages, cursor = [], ""
    while True:
        page = server.request("GET", f"{V}/threads/{thread}/messages?limit=2{cursor}").json
        pages += [m["id"] for m in page["data"]]
        if not page["has_more"]:
            assert page["next_cursor"] is None
            break
        cursor = "&cursor=" + page["next_cursor"]
    assert pages == ids
    assert thread in [t.get("id") or t.get("thread") for t in server.request("GET", f"{V}/threads?user={user}").json["data"]]

    r = server.request("POST", f"{V}/recall", {"query": "what is the name of my boat?", "user": user, "explain": True})
    assert r.status == 200, r
    best = r.json["results"][0]
    assert best["kind"] == "message" and best["thread"] == thread and best["text"].startswith("My boat") and best["role"] == "user"
    assert 0 <= best["score"] <= 1 and best["explain"]
    assert r.json["mode"] in ("words", "auto") and r.json["pending"] == 0
    scores = [x["score"] for x in r.json["results"]]
    assert scores == sorted(scores, reverse=True)
    late = server.request("POST", f"{V}/recall", {"query": "boat bread", "user": user, "kinds": ["message"], "time": {"from": "2026-05-05T00:00:00Z"}}).json
    assert [x["id"] for x in late["results"]] == [ids[2]]
    assert len(server.request("POST", f"{V}/recall", {"query": "boat bread name", "user": user, "limit": 1}).json["results"]) == 1

    assert server.request("DELETE", f"{V}/threads/{thread}").status in (200, 204)
    problem(server.request("GET", f"{V}/threads/{thread}/messages"), 404)
    assert server.request("POST", f"{V}/recall", {"query": "boat", "user": user, "kinds": ["message"]}).json["results"] == []


def test_recall_finds_items_too(server, ns):
    server.request("PUT", item(ns, "k"), {"title": "Berth", "text": "The dinghy lies at berth fourteen"})
    r = server.request("POST", f"{V}/recall", {"query": "dinghies", "namespaces": [ns], "kinds": ["item"]}).json
    assert [(x["kind"], x["namespace"], x["key"]) for x in r["results"]] == [("item", ns, "k")]
    r = server.request("POST", f"{V}/recall", {"query": "dinghies", "namespaces": [ns], "filter": {"title": "Other"}}).json
    assert r["results"] == []


@pytest.mark.parametrize("body,field", [
    ({}, "query"), ({"query": 5}, "query"), ({"query": "x", "limit": 0}, "limit"), ({"query": "x", "limit": 5000}, "limit"),
    ({"query": "x", "mode": "magic"}, "mode"), ({"query": "x", "kinds": ["dream"]}, "kinds"),
    ({"query": "x", "time": {"from": "yesterday"}}, "time"), ({"query": "x", "filter": {"a": {"$foo": 1}}}, "filter"),
    ({"query": "x", "namespaces": [["a.b"]]}, "namespaces"), ({"query": "x", "namespaces": [[f"n{i}"] for i in range(65)]}, "namespaces"),
    # Nothing named is not everything.
    ({"query": "x", "namespaces": []}, "namespaces"), ({"query": "x", "threads": []}, "threads"), ({"query": "x", "kinds": []}, "kinds"),
])
def test_recall_refuses(server, body, field):
    p = problem(server.request("POST", f"{V}/recall", body), 422)
    assert p["errors"] and field in p["errors"][0]["field"], p


@pytest.mark.parametrize("message,field", [
    ({}, "thread"), ({"thread": "t", "role": "user"}, "content"), ({"thread": "t", "role": "king", "content": "x"}, "role"),
    ({"thread": "", "role": "user", "content": "x"}, "thread"), ({"thread": "t", "role": "user", "content": "x", "time": "noon"}, "time"),
    ({"thread": "t", "role": "user", "content": "x", "metadata": []}, "metadata"),
])
def test_messages_refuses(server, message, field):
    p = problem(server.request("POST", f"{V}/messages", {"messages": [{"thread": "t", "role": "user", "content": "good"}, message]}), 422)
    assert p["errors"][0]["field"].startswith("/messages/1") and field in p["errors"][0]["field"] + p["detail"], p
    assert server.request("GET", f"{V}/threads/t/messages").status == 404, "nothing of the call was stored"


def test_stats_and_namespaces(fresh):
    for i in range(3):
        fresh.request("PUT", item(["s", f"n{i}"], "k"), {})
    fresh.request("POST", f"{V}/messages", {"messages": [{"thread": "t", "role": "user", "content": "x"}]})
    stats = fresh.request("GET", f"{V}/stats").json
    assert (stats["items"], stats["messages"], stats["threads"]) == (3, 1, 1)
    listed = fresh.request("GET", f"{V}/namespaces").json
    assert [["s", "n0"], ["s", "n1"], ["s", "n2"]] == [n.get("namespace") if isinstance(n, dict) else n for n in listed["data"]]


def test_bad_cursor(server):
    problem(server.request("GET", f"{V}/threads?cursor=nonsense"), 400)
    problem(server.request("GET", f"{V}/threads?limit=0"), 422)
