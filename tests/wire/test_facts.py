"""Facts over HTTP: when they were true, what was known before, and what was known at a time; the same on both stores."""
import json
import time
import uuid

import psycopg
import pytest

from postgres import database
from server import PATIENCE, Server

API = "/cenote/v1"


def clock(us=None):
    """A time in RFC 3339, after everything that was answered and before everything that is still to be asked."""
    us = time.time_ns() // 1000 if us is None else us
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(us // 1_000_000)) + f".{us % 1_000_000:06d}Z"


def put(s, ns, key, text, want=(200, 201), headers=None, **query):
    q = "".join(f"&{k}={v}" for k, v in query.items() if not isinstance(v, list))
    q += "".join(f"&{k}={x}" for k, v in query.items() if isinstance(v, list) for x in v)
    r = s.request("PUT", f"{API}/items?namespace={ns}&key={key}{q}", {"text": text}, headers=headers)
    assert r.status in want, r
    return r.json


def get(s, ns, key, **query):
    q = "".join(f"&{k}={v}" for k, v in query.items())
    return s.request("GET", f"{API}/items?namespace={ns}&key={key}{q}")


def history(s, ns, key, **query):
    q = "".join(f"&{k}={v}" for k, v in query.items())
    r = s.request("GET", f"{API}/items/history?namespace={ns}&key={key}{q}")
    assert r.status == 200, r
    return r.json


def recall(s, query, ns, **kw):
    r = s.request("POST", f"{API}/recall", {"query": query, "namespaces": [ns], **kw})
    assert r.status == 200, r
    return [(h["kind"], h["key"], h["text"]) for h in r.json["results"]]


@pytest.fixture()
def ns():
    return "facts" + uuid.uuid4().hex[:10]


def test_a_fact_and_what_it_supersedes(server, ns):
    s = server
    put(s, ns, "home", "Ann lives in Lisbon", valid_from="2019-03-01T00:00:00Z")
    put(s, ns, "tea", "Ann likes green tea")
    before = clock()
    answer = put(s, ns, "home", "Ann lives in Porto", valid_from="2024-06-01T00:00:00Z", valid_to="2030-01-01T00:00:00Z")
    assert not answer["created"]
    item = get(s, ns, "home").json
    assert (item["fact"], item["valid_from"], item["valid_to"]) == (True, "2024-06-01T00:00:00.000Z", "2030-01-01T00:00:00.000Z")
    assert "fact" not in get(s, ns, "tea").json
    # Out of recall, in the history.
    assert recall(s, "Where does Ann live? Lisbon? Porto?", ns, kinds=["fact"]) == [("fact", "home", "Ann lives in Porto")]
    assert recall(s, "Ann", ns, kinds=["item"]) == [("item", "tea", "Ann likes green tea")]
    assert {k for k, _, _ in recall(s, "Ann", ns)} == {"item", "fact"}
    old, = history(s, ns, "home")["data"]
    assert (old["value"], old["valid_from"], old["valid_to"]) == (
        {"text": "Ann lives in Lisbon"}, "2019-03-01T00:00:00.000Z", "2024-06-01T00:00:00.000Z")
    assert old["superseded_by"] == "home" and old["recorded_from"] < before < old["recorded_to"]
    # What was known then: not yet when it would end.
    r = s.request("POST", f"{API}/recall", {"query": "Where does Ann live?", "namespaces": [ns], "as_of": before, "explain": True})
    top = r.json["results"][0]
    assert (top["kind"], top["text"], top["valid_to"]) == ("fact", "Ann lives in Lisbon", None), r.json
    assert top["explain"]["features"], top
    assert get(s, ns, "home", as_of=before).json["value"] == {"text": "Ann lives in Lisbon"}
    assert get(s, ns, "home", as_of="2001-01-01T00:00:00Z").status == 404
    assert recall(s, "Ann", ns, as_of="2001-01-01T00:00:00Z") == []
    assert [t for _, _, t in recall(s, "", ns, as_of=before, kinds=["item", "fact"])] == ["Ann likes green tea", "Ann lives in Lisbon"]
    assert recall(s, "Ann", ns, as_of=before, filter={"text": "Ann likes green tea"}) == [("item", "tea", "Ann likes green tea")]


def test_other_keys(server, ns):
    s = server
    for k in ("a", "b", "c"):
        put(s, ns, k, f"note {k} about the boat", valid_from="2020-01-01T00:00:00Z")
    put(s, ns, "plain", "note plain about the boat")
    before = clock()
    answer = put(s, ns, "all", "the boat was sold", supersedes=["a", "b", "plain", "absent", "all"], valid_from="2025-01-01T00:00:00Z")
    assert answer["superseded"] == 3 and answer["created"]
    assert {k for _, k, _ in recall(s, "boat", ns)} == {"all", "c"}
    assert get(s, ns, "a").status == 404
    assert {k for _, k, _ in recall(s, "boat", ns, as_of=before)} == {"a", "b", "c", "plain"}
    assert history(s, ns, "a")["data"][0]["superseded_by"] == "all"
    assert history(s, ns, "plain")["data"][0]["fact"] is False
    # LangGraph's put over a fact's key works, and is no fact.
    assert s.request("PUT", "/store/items", {"namespace": [ns], "key": "c", "value": {"text": "boat again"}}).status == 204
    assert "fact" not in get(s, ns, "c").json and history(s, ns, "c")["data"][0]["value"] == {"text": "note c about the boat"}
    # In a batch; and deleting forgets.
    r = s.request("POST", f"{API}/batch", {"operations": [
        {"op": "put", "namespace": [ns], "key": "new", "value": {"text": "1"}, "valid_from": "2021-01-01T00:00:00Z"},
        {"op": "put", "namespace": [ns], "key": "new", "value": {"text": "2"}, "valid_to": "2022-01-01T00:00:00Z", "supersedes": "c"},
        {"op": "put", "namespace": [ns], "key": "x", "value": {}, "supersedes": "new", "if_absent": True}]})
    assert [x["status"] for x in r.json["results"]] == [201, 200, 422], r.json
    assert r.json["results"][1]["superseded"] == 1 and get(s, ns, "c").status == 404
    assert [x["value"]["text"] for x in history(s, ns, "new")["data"]] == ["1"]
    assert s.request("DELETE", f"{API}/items?namespace={ns}&key=a").status == 204
    assert s.request("DELETE", f"{API}/items?namespace={ns}&key=a").status == 404
    assert history(s, ns, "a")["data"] == []


def test_pages_of_a_history(server, ns):
    for i in range(7):
        put(server, ns, "k", f"v{i}", valid_from=f"20{10 + i}-01-01T00:00:00Z")
    seen, cursor = [], {}
    while True:
        page = history(server, ns, "k", limit=2, **cursor)
        seen += [x["value"]["text"] for x in page["data"]]
        if not page["has_more"]:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen == ["v5", "v4", "v3", "v2", "v1", "v0"]


def test_wrong_input(server, ns):
    s = server
    for query, field in (({"valid_from": "yesterday"}, "valid_from"), ({"valid_from": "2020-01-02T00:00:00Z", "valid_to": "2020-01-01T00:00:00Z"}, "valid_to"),
                         ({"supersedes": ["k"] * 65}, "supersedes"), ({"supersedes": [""]}, "supersedes")):
        r = s.request("PUT", f"{API}/items?namespace={ns}&key=k" + "".join(
            f"&{n}={x}" for n, v in query.items() for x in (v if isinstance(v, list) else [v])), {})
        assert r.status in (400, 422) and field in r.json["errors"][0]["field"], r
    for member, value in (("valid_from", 5), ("supersedes", 5), ("supersedes", [1]), ("supersedes", ["k"] * 65)):
        r = s.request("POST", f"{API}/batch", {"operations": [{"op": "put", "namespace": [ns], "key": "k", "value": {}, member: value}]})
        assert r.status in (400, 422) and r.json["errors"][0]["field"] == f"/operations/0/{member}", r
    assert get(s, ns, "k").status == 404
    assert s.request("GET", f"{API}/items/history?namespace={ns}").status in (400, 422)
    assert s.request("GET", f"{API}/items/history?namespace={ns}&key=k&cursor=zzz").status == 400
    r = s.request("POST", f"{API}/recall", {"query": "x", "as_of": "2020-01-01T00:00:00Z", "mode": "vectors"})
    assert r.status in (400, 422), r


def test_kill_between(start, kind, ns):
    """What was answered is there as a whole after a kill: the new fact, and the old one in the history."""
    with start(kind) as s:
        put(s, ns, "old", "the old one", valid_from="2020-01-01T00:00:00Z")
        put(s, ns, "new", "the new one", supersedes=["old"], valid_from="2021-01-01T00:00:00Z")
        put(s, ns, "new", "the newer one", valid_from="2022-01-01T00:00:00Z")
        s.kill()
        s.start()
        assert get(s, ns, "old").status == 404 and get(s, ns, "new").json["valid_from"] == "2022-01-01T00:00:00.000Z"
        assert history(s, ns, "old")["data"][0]["valid_to"] == "2021-01-01T00:00:00.000Z"
        assert [x["value"]["text"] for x in history(s, ns, "new")["data"]] == ["the new one"]


def test_export_and_import(start, kind, ns):
    """A fact stays one, with its times, and both exports are the same bytes."""
    with start(kind) as a, start(kind) as b:
        put(a, ns, "k", "a fact", valid_from="1950-01-01T00:00:00Z", valid_to="1970-01-01T00:00:00Z")
        put(a, ns, "only", "superseding nothing that there is", supersedes="absent")
        put(a, ns, "plain", "no fact")
        for i in range(3):
            put(a, ns, "many", f"{i}", valid_from=f"202{i}-01-01T00:00:00Z", ttl_minutes=60)
        put(a, ns, "old", "ordinary, superseded")
        put(a, ns, "new", "the new one", supersedes="old", valid_from="2024-01-01T00:00:00Z", valid_to="2025-01-01T00:00:00Z")
        then = clock()
        put(a, ns, "new", "the newest one")
        lines = a.request("GET", f"{API}/export").body
        r = b.request("POST", f"{API}/import", lines)
        assert r.status == 200 and b.request("GET", f"{API}/export").body.splitlines()[1:-1] == lines.splitlines()[1:-1], r
        item = get(b, ns, "k").json
        assert (item["valid_from"], item["valid_to"]) == ("1950-01-01T00:00:00.000Z", "1970-01-01T00:00:00.000Z")
        assert get(b, ns, "only").json["fact"] and "fact" not in get(b, ns, "plain").json
        # And their history, once, and what it says of a time.
        for k in ("many", "old", "new"):
            assert history(b, ns, k) == history(a, ns, k) and history(b, ns, k)["data"]
        assert ("fact", "new", "the new one") in recall(b, "new one", ns, as_of=then) and get(b, ns, "old").status == 404
        again = b.request("POST", f"{API}/import", lines).json
        assert again["stored"] == 0 and again["failed"] == 0 and again["unchanged"] == r.json["stored"], again
        # A line that says another validity of the same value is not the same.
        line = next(json.loads(x) for x in lines.splitlines() if b'"a fact"' in x)
        r = b.request("POST", f"{API}/import", json.dumps({**line, "valid_to": "1960-01-01T00:00:00Z"}).encode())
        assert r.json["stored"] == 1 and get(b, ns, "k").json["valid_to"] == "1960-01-01T00:00:00.000Z", r
        assert b.request("DELETE", f"{API}/items?namespace={ns}&key=k").status == 204
        state = {"namespace": [ns], "key": "k", "value": {}, "recorded_from": "2020-01-01T00:00:00Z", "recorded_to": "2020-01-02T00:00:00Z",
                 "superseded_by": "k"}
        for wrong in ({"recorded_to": "2019-01-01T00:00:00Z"}, {"recorded_from": None}, {"superseded_by": ""}, {"superseded_by": None},
                      {"value": []}, {"key": ""}, {"recorded_to": 5}, {"created_at": "2020-01-01T00:00:00Z"}, {"namespace": []}):
            r = b.request("POST", f"{API}/import", json.dumps({**state, **wrong}).encode())
            assert r.status == 200 and r.json["failed"] == 1 and r.json["stored"] == 0, (wrong, r)
        assert history(b, ns, "k")["data"] == []
        nul = {**state, "value": {"text": "\0"}}  # PostgreSQL keeps no U+0000 in JSON
        r = b.request("POST", f"{API}/import", b"\n".join(json.dumps(x).encode() for x in (nul, {**state, "key": "one"}, {**state, "key": "two"})))
        assert (r.json["stored"], r.json["failed"]) == ((3, 0) if kind == "sqlite" else (2, 1)), r
        assert len(history(b, ns, "two")["data"]) == 1


def until(what, wait=PATIENCE):
    """Asks until it holds."""
    end = time.monotonic() + wait
    while not what():
        assert time.monotonic() < end, "it did not come to that"


SECRET = "the-marmalade-of-the-other"


@pytest.mark.parametrize("key", ["tenant", "user"])
def test_nobody_reaches_the_past_of_another(start, kind, key):
    """What was known before is as closed as what is known now, to another tenant and to another user of the tenant."""
    with start(kind, "--auth", "keys") as s:
        def made(*args):
            r = json.loads(s.run("key", "create", "--json", *args, check=0).stdout)
            return {"Authorization": f"Bearer {r.get('key') or r['secret']}"}

        owner = made("--name", "o", "--tenant", "acme")
        other = made("--name", "x", "--tenant", "bolt") if key == "tenant" else made("--name", "x", "--tenant", "acme", "--for-user", "ann")
        reader = made("--name", "r", "--tenant", "acme", "--rights", "read")
        for k in ("k", "gone"):
            for i in range(3):
                put(s, "notes.bob", k, f"{SECRET} {i}", headers=owner, valid_from=f"202{i}-01-01T00:00:00Z")
        then = clock()
        put(s, "notes.bob", "new", SECRET, headers=owner, supersedes="gone")
        ask = lambda who, method, path, body=None: s.request(method, API + path, body, headers=who)  # noqa: E731
        reads = [("GET", f"/items/history?namespace=notes.bob&key={k}", None) for k in ("k", "gone")]
        reads += [("GET", f"/items?namespace=notes.bob&key={k}&as_of={then}", None) for k in ("k", "gone", "new")]
        reads += [("POST", "/recall", {"query": "marmalade", "as_of": then, **m}) for m in (
            {}, {"namespaces": ["notes.bob"]}, {"namespaces": ["notes"]}, {"namespaces": [[]]}, {"user": "bob"}, {"kinds": ["fact", "item"]})]
        seen = [ask(owner, *c) for c in reads]
        assert sum(SECRET.encode() in r.body for r in seen) >= 7, seen
        for c in reads:
            r = ask(other, *c)
            assert r.status in (200, 403, 404) and SECRET.encode() not in r.body, (c, r)
        # Nor can it put anything into it, or take anything away.
        before = [ask(owner, *c).body for c in reads[:2]]
        for method, path, body in (("PUT", "/items?namespace=notes.bob&key=k&supersedes=new&supersedes=gone", {}),
                                   ("DELETE", "/items?namespace=notes.bob&key=gone", None), ("DELETE", "/items?namespace=notes.bob&key=k", None)):
            assert ask(other, method, path, body).status in ((200, 201, 204, 404) if key == "tenant" else (403, 404))
            assert ask(reader, method, path, body).status == 403
        assert [ask(owner, *c).body for c in reads[:2]] == before
        assert ask(owner, "GET", "/items?namespace=notes.bob&key=new").status == 200


def test_expiry_forgets(fresh, ns):
    """When an item expires, so do its states, and those of what was superseded while it had a time to live."""
    s = fresh
    for i in range(3):
        put(s, ns, "k", f"v{i}", ttl_minutes=0.1, valid_from=f"202{i}-01-01T00:00:00Z")
    put(s, ns, "old", "the old one", ttl_minutes=0.1)
    put(s, ns, "new", "the new one", supersedes="old")
    put(s, ns, "new", "the newest one", valid_from="2020-01-01T00:00:00Z")
    assert len(history(s, ns, "k")["data"]) == 2 and len(history(s, ns, "old")["data"]) == 1
    until(lambda: not history(s, ns, "k")["data"] and not history(s, ns, "old")["data"])
    assert get(s, ns, "k").status == 404 and len(history(s, ns, "new")["data"]) == 1
    # A key that is put again begins anew.
    put(s, ns, "k", "again", valid_from="2020-01-01T00:00:00Z")
    assert history(s, ns, "k")["data"] == []


def test_removing_a_namespace_forgets(fresh, ns):
    s = fresh
    for i in range(2):
        put(s, ns + ".a", "k", f"v{i}", valid_from=f"202{i}-01-01T00:00:00Z")
    put(s, ns + ".a", "old", "x", valid_from="2020-01-01T00:00:00Z")
    put(s, ns + ".a", "new", "y", supersedes="old")
    put(s, ns + "b", "old", "x", valid_from="2020-01-01T00:00:00Z")
    put(s, ns + "b", "new", "y", supersedes="old")
    s.run("rm", ns, "--recursive", "--yes", check=0)
    assert history(s, ns + ".a", "k")["data"] == [] and history(s, ns + ".a", "old")["data"] == []
    assert len(history(s, ns + "b", "old")["data"]) == 1


def test_another_program_writes_the_row(pg_server, ns):
    """Validity belongs to the value that came with it: not to what another program makes of the row, nor does that get into the history."""
    with database(pg_server) as url, Server(store=url) as s, psycopg.connect(url, autocommit=True) as db:
        change = "UPDATE store SET value = %s, updated_at = now() WHERE prefix = %s AND key = %s"
        for k in ("changed", "same", "deleted", "twice"):
            put(s, ns, k, f"boat {k} one", valid_from="2020-01-01T00:00:00Z")
            put(s, ns, k, f"boat {k} two", valid_from="2021-01-01T00:00:00Z", valid_to="2022-01-01T00:00:00Z")
        then = clock()
        for k in ("changed", "twice"):
            db.execute(change, ('{"text": "boat theirs"}', ns, k))
        db.execute("UPDATE store SET value = value WHERE prefix = %s AND key = 'same'", (ns,))
        assert db.execute("DELETE FROM store WHERE prefix = %s AND key = 'deleted'", (ns,)).rowcount == 1
        for k in ("changed", "twice", "same"):
            item = get(s, ns, k).json
            assert "fact" not in item and "valid_from" not in item, item
        assert get(s, ns, "changed").json["value"] == {"text": "boat theirs"}
        until(lambda: ("item", "changed", "boat theirs") in recall(s, "boat theirs", ns))
        assert all(kind == "item" for kind, _, _ in recall(s, "boat", ns)) and recall(s, "boat", ns, kinds=["fact"]) == []
        # What it has overwritten was not kept, and is not made up.
        assert [x["value"]["text"] for x in history(s, ns, "changed")["data"]] == ["boat changed one"]
        assert get(s, ns, "changed", as_of=then).status == 404
        assert all("theirs" not in t for _, _, t in recall(s, "boat", ns, as_of=then))
        # A put of ours over it does not take it for a fact; nor does one that supersedes it.
        put(s, ns, "changed", "boat changed three", valid_from="2023-01-01T00:00:00Z")
        assert [x["value"]["text"] for x in history(s, ns, "changed")["data"]] == ["boat changed one"]
        put(s, ns, "other", "boat other", supersedes="twice", valid_from="2023-01-01T00:00:00Z")
        last = history(s, ns, "twice")["data"][0]
        assert (last["value"], last["fact"], last["valid_from"], last["superseded_by"]) == ({"text": "boat theirs"}, False, None, "other")
        # A row that it has deleted takes its history along once that is noticed.
        assert get(s, ns, "deleted").status == 404
        until(lambda: recall(s, "boat", ns) and not history(s, ns, "deleted")["data"])
