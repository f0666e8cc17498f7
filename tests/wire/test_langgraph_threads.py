"""Threads as the unmodified Python SDK uses them, sync and async: records, search, states, history, updates; and threads that a graph of
LangGraph writes through the adapter."""
import datetime
import operator
import time
import typing
import uuid

import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send, interrupt
from langgraph_sdk.errors import BadRequestError, ConflictError, NotFoundError, UnprocessableEntityError

from conftest import CLIENTS
from frames import Frames, put_op

pytestmark = pytest.mark.stores("sqlite", "postgres", "postgres-schema", "postgres-bouncer")
TOTAL, NEXT = "x-pagination-total", "x-pagination-next"
NONE = {"values": {}, "next": [], "tasks": [], "metadata": None, "created_at": None, "checkpoint": None, "parent_checkpoint": None, "interrupts": []}


class Face:
    """client.threads, sync or async, as plain calls."""

    def __init__(self, which, url, **kw):
        self.face = CLIENTS[which](url, **kw)

    def __getattr__(self, name):
        call = getattr(self.face.client.threads, name)
        loop = getattr(self.face, "loop", None)
        return lambda *a, **k: loop.run_until_complete(call(*a, **k)) if loop else call(*a, **k)


@pytest.fixture(params=["sync", "async"])
def threads(server, request):
    f = Face(request.param, server.url)
    yield f
    f.face.close()


@pytest.fixture
def tag(ns):
    """Metadata of this test alone."""
    return {"of": ns[-1]}


def at(text):
    return datetime.datetime.fromisoformat(text)


# ---- records -------------------------------------------------------------------------------------------------------------------------


def test_create_and_get(threads, tag):
    made = threads.create(metadata={**tag, "n": 1.5, "deep": {"ü": [1, None]}})
    assert set(made) == {"thread_id", "created_at", "updated_at", "state_updated_at", "metadata", "config", "status", "values", "interrupts"}
    assert str(uuid.UUID(made["thread_id"])) == made["thread_id"]
    assert made["metadata"] == {**tag, "n": 1.5, "deep": {"ü": [1, None]}}
    assert (made["status"], made["values"], made["interrupts"], made["config"]) == ("idle", None, {}, {})
    for t in ("created_at", "updated_at", "state_updated_at"):
        assert at(made[t]).utcoffset() == datetime.timedelta(0)
        assert abs(at(made[t]) - datetime.datetime.now(datetime.timezone.utc)) < datetime.timedelta(minutes=2)
    assert threads.get(made["thread_id"]) == made
    assert threads.get_state(made["thread_id"]) == NONE
    assert threads.get_history(made["thread_id"]) == []


def test_create_with_a_name(threads, tag):
    name = str(uuid.uuid4())
    assert threads.create(thread_id=name, metadata=tag, graph_id="agent")["metadata"] == {**tag, "graph_id": "agent"}
    with pytest.raises(ConflictError):
        threads.create(thread_id=name)
    with pytest.raises(ConflictError):
        threads.create(thread_id=name, if_exists="raise")
    again = threads.create(thread_id=name, if_exists="do_nothing", metadata={"other": 1})
    assert again["thread_id"] == name and again["metadata"] == {**tag, "graph_id": "agent"}, "the thread as it is"


@pytest.mark.parametrize("name", ["my-thread", "0193f5a0-1111-7222-8333-44445555666", "0193f5a0111172228333444455556666"])
def test_create_wants_a_uuid(threads, name):
    with pytest.raises(UnprocessableEntityError, match="UUID"):
        threads.create(thread_id=name)


def test_unknown(threads):
    name = str(uuid.uuid4())
    for call in (threads.get, threads.delete, threads.get_state, threads.get_history):
        with pytest.raises(NotFoundError, match="no thread"):
            call(name)
    with pytest.raises(NotFoundError):
        threads.update(name, metadata={})
    with pytest.raises(NotFoundError):
        threads.update_state(name, {"a": 1})
    with pytest.raises(ConflictError):
        threads.copy(name)


def test_update(threads, tag):
    made = threads.create(metadata={**tag, "a": 1, "b": {"x": 1}})
    name = made["thread_id"]
    got = threads.update(name, metadata={"b": {"y": 2}, "c": None})
    assert got["metadata"] == {**tag, "a": 1, "b": {"y": 2}, "c": None}, "merged member by member"
    assert got["created_at"] == made["created_at"] and at(got["updated_at"]) > at(made["updated_at"])
    assert threads.update(name, metadata={"d": 4}, return_minimal=True) is None
    assert threads.get(name)["metadata"] == {**tag, "a": 1, "b": {"y": 2}, "c": None, "d": 4}


def test_ttl(threads, tag):
    name = threads.create(metadata=tag, ttl=90)["thread_id"]
    got = threads.get(name, include=["ttl"])
    assert (got["ttl"]["strategy"], got["ttl"]["ttl_minutes"]) == ("delete", 90)
    assert at(got["ttl"]["expires_at"]) - at(got["updated_at"]) == datetime.timedelta(minutes=90)
    assert "ttl" not in threads.get(name)
    threads.update(name, metadata={}, ttl={"ttl": 0.5, "strategy": "keep_latest"})
    assert threads.get(name, include=["ttl"])["ttl"]["strategy"] == "keep_latest"
    threads.update(name, metadata={"x": 1})
    assert threads.get(name, include=["ttl"])["ttl"]["ttl_minutes"] == 0.5, "left as it was"
    assert threads.get(threads.create(metadata=tag)["thread_id"], include=["ttl"])["ttl"] is None
    for ttl in (0, -1, {"strategy": "delete"}, {"ttl": 1, "strategy": "burn"}):
        with pytest.raises(UnprocessableEntityError):
            threads.create(ttl=ttl)


@pytest.mark.stores("sqlite", "postgres")
def test_ttl_passes(kind, start):
    """Two threads whose time is over: one is deleted, one keeps its latest checkpoint; a third has time."""
    with start(kind, "--retention-interval", "1s") as s:
        threads = Face("sync", s.url)
        gone, kept, young = (threads.create(ttl={"ttl": minutes, "strategy": strategy})["thread_id"]
                             for minutes, strategy in ((0.001, "delete"), (0.001, "keep_latest"), (60, "delete")))
        for name in (kept, young):
            for i in range(3):
                put(s, name, i)
        until = time.monotonic() + 30
        while time.monotonic() < until and (ids(threads.search(ids=[gone])) or len(threads.get_history(kept)) > 1):
            pass
        with pytest.raises(NotFoundError):
            threads.get(gone)
        assert [h["values"] for h in threads.get_history(kept)] == [{"messages": "x"}]
        assert len(threads.get_history(young)) == 3


def test_delete(threads, server, tag):
    name = threads.create(metadata=tag)["thread_id"]
    put(server, name, 1)
    assert threads.delete(name) is None
    with pytest.raises(NotFoundError):
        threads.get(name)
    assert Frames(server).one({"op": "get", "thread": name}) is None, "its checkpoints went with it"


def test_prune(threads, server, tag):
    names = [threads.create(metadata=tag)["thread_id"] for _ in range(3)]
    for name in names:
        for i in range(4):
            put(server, name, i)
    assert threads.prune(names[:2] + [str(uuid.uuid4())], strategy="keep_latest") == {"pruned_count": 2}
    assert [len(threads.get_history(n, limit=10)) for n in names] == [1, 1, 4]
    assert threads.prune(names[1:]) == {"pruned_count": 2}
    assert [t["thread_id"] for t in threads.search(metadata=tag)] == names[:1]
    with pytest.raises(UnprocessableEntityError):
        threads.prune(names, strategy="burn")
    assert server.request("POST", "/threads/prune", {}).status == 422


def test_copy(threads, server, tag):
    name = threads.create(metadata={**tag, "thread_id": "old"}, ttl=5)["thread_id"]
    for i in range(3):
        put(server, name, i)
    copied = threads.copy(name)
    assert copied["thread_id"] != name and copied["metadata"] == {**tag, "thread_id": copied["thread_id"]}
    ours, theirs = threads.get_history(copied["thread_id"]), threads.get_history(name)
    assert [s["checkpoint"]["checkpoint_id"] for s in ours] == [s["checkpoint"]["checkpoint_id"] for s in theirs]
    assert [s["values"] for s in ours] == [s["values"] for s in theirs] and len(ours) == 3
    put(server, name, 9)
    assert len(threads.get_history(copied["thread_id"])) == 3, "the copy is its own"
    empty = threads.copy(threads.create(metadata=tag)["thread_id"])
    assert threads.get_state(empty["thread_id"]) == NONE


# ---- search --------------------------------------------------------------------------------------------------------------------------


def put(server, thread, n, **kw):
    op, blobs = put_op(thread, n, **kw)
    Frames(server).one(op, *blobs)
    return op["id"]


def ids(found):
    return [t["thread_id"] for t in found]


def test_search(threads, server, tag):
    names = [threads.create(metadata={**tag, "n": i, "even": i % 2 == 0, "l": [i, {"x": i}]})["thread_id"] for i in range(12)]
    assert ids(threads.search(metadata=tag)) == names[:1:-1], "newest first, ten unless asked"
    assert ids(threads.search(metadata=tag, limit=3, offset=10)) == [names[1], names[0]]
    assert ids(threads.search(metadata={**tag, "even": True}, sort_by="created_at", sort_order="asc", limit=2)) == [names[0], names[2]]
    assert ids(threads.search(metadata={**tag, "n": 3.0})) == [names[3]]
    assert ids(threads.search(metadata={**tag, "l": [{"x": 5}]})) == [names[5]]
    assert ids(threads.search(metadata={**tag, "n": "3"})) == []
    assert ids(threads.search(metadata=tag, sort_by="thread_id", sort_order="asc", limit=20)) == sorted(names)
    assert ids(threads.search(ids=[names[4], str(uuid.uuid4()), names[2]], sort_by="thread_id", sort_order="desc")) == sorted([names[4], names[2]])[::-1]
    threads.update(names[0], metadata={"touched": 1})
    assert ids(threads.search(metadata=tag, sort_by="updated_at", limit=1)) == [names[0]]
    threads.update_state(names[7], {"n": 1})
    assert ids(threads.search(metadata=tag, sort_by="updated_at", limit=2)) == [names[7], names[0]], "what lies under a thread counts"
    assert ids(threads.search(metadata=tag, sort_by="state_updated_at", limit=1)) == [names[7]]
    assert threads.count(metadata=tag) == 12
    assert threads.count(metadata={**tag, "even": True}) == 6


def test_search_by_values(threads, server, tag):
    for topic in ("boats", "bread"):
        name = threads.create(metadata={**tag, "topic": topic})["thread_id"]
        Frames(server).one(*values_op(name, 0, {"topic": "older", "n": 1}))
        Frames(server).one(*values_op(name, 1, {"topic": topic, "n": 2}))
    found = threads.search(metadata=tag, values={"topic": "boats", "n": 2})
    assert [t["metadata"]["topic"] for t in found] == ["boats"] and found[0]["values"] == {"topic": "boats", "n": 2}
    assert threads.search(metadata=tag, values={"topic": "older"}) == []
    assert threads.count(metadata=tag, values={"n": 2}) == 2


def values_op(thread, n, values):
    op, _ = put_op(thread, n)
    op["checkpoint"]["channel_values"] = values
    op["checkpoint"]["channel_versions"] = {k: 1 for k in values}
    op["values"] = []
    return (op,)


def test_select_and_extract(threads, server, tag):
    name = threads.create(metadata={**tag, "deep": {"a b": [1, 2]}})["thread_id"]
    Frames(server).one(*values_op(name, 0, {"topic": "boats", "n": 2}))
    assert threads.search(metadata=tag, select=["thread_id", "status"]) == [{"thread_id": name, "status": "idle"}]
    got = threads.search(metadata=tag, select=["thread_id"], extract={"last": "metadata.deep.a b[-1]", "none": "values.x[3].y", "t": "values.topic", "all": "interrupts"})
    assert got == [{"thread_id": name, "extracted": {"last": 2, "none": None, "t": "boats", "all": {}}}]
    for bad in ({"x": "thread_id"}, {"x": "values..a"}, {"x": "values[a]"}, {"x": 5}, {"x": ""}, {str(i): "values" for i in range(11)}):
        with pytest.raises(UnprocessableEntityError):
            threads.search(extract=bad)


def test_paging_headers(server, tag):
    for _ in range(5):
        assert server.request("POST", "/threads", {"metadata": tag}).status == 200
    for offset, following in ((0, "2"), (2, "4"), (4, None), (9, None)):
        r = server.request("POST", "/threads/search", {"metadata": tag, "limit": 2, "offset": offset})
        assert (r.headers[TOTAL], r.headers.get(NEXT)) == ("5", following)
    assert server.request("POST", "/threads/search", {"metadata": tag, "ids": []}).headers[TOTAL] == "0"


@pytest.mark.parametrize("body", [{"limit": 0}, {"limit": 1001}, {"offset": -1}, {"status": "asleep"}, {"sort_by": "size"}, {"sort_order": "up"}, {"ids": "x"},
                                  {"ids": [1]}, {"metadata": []}, {"values": "x"}, {"select": "x"}, {"extract": []}, {"values": {"a": [0] * 2000}}])
def test_search_refuses(server, body):
    r = server.request("POST", "/threads/search", body)
    assert r.status == 422 and next(iter(body)) in r.json["detail"]


def test_names_of_others(server, threads):
    """Savers may use any name: such threads are read, changed and removed like all others."""
    for name in ["my thread", "a/b", "..", "ü", "💧", "%2E", "search", "name?x=1&y", "e\u0301", "\u202eabc", "x" * 256, "'; drop table checkpoints; --"]:
        ident = put(server, name, 1)
        assert threads.get(name)["thread_id"] == name
        state = threads.get_state(name)
        assert state["checkpoint"] == {"thread_id": name, "checkpoint_ns": "", "checkpoint_id": ident} and state["values"] == {"messages": "x"}
        assert threads.update(name, metadata={"seen": True})["metadata"] == {"seen": True}
        assert ids(threads.search(ids=[name])) == [name]
        assert threads.delete(name) is None
        with pytest.raises(NotFoundError):
            threads.get_state(name)
    with pytest.raises(UnprocessableEntityError):
        threads.get("x" * 257)
    with pytest.raises(BadRequestError):
        threads.get("a\x00b")


@pytest.mark.stores("sqlite", "postgres")
def test_ten_thousand(fresh):
    """A name per thread, made by puts; search, paging and counting stay quick."""
    f = Frames(fresh)
    for part in range(10):
        f.send([{**put_op(f"t{i:05}", 1, metadata={"i": i})[0], "values": []} for i in range(part * 1000, part * 1000 + 1000)])
    threads = Face("sync", fresh.url)
    assert threads.count() == 10000
    began = time.monotonic()
    assert ids(threads.search(sort_by="thread_id", sort_order="asc", limit=3, offset=9990)) == ["t09990", "t09991", "t09992"]
    assert time.monotonic() - began < 15
    r = fresh.request("POST", "/threads/search", {"sort_by": "state_updated_at", "limit": 1000, "select": ["thread_id"]})
    assert len(r.json) == 1000 and r.headers[TOTAL] == "10000"


# ---- states --------------------------------------------------------------------------------------------------------------------------


def test_state_at_and_history(threads, server, tag):
    name = threads.create(metadata=tag)["thread_id"]
    points = [put(server, name, i, parent=None, value=f"v{i}".encode(), metadata={"odd": i % 2}) for i in range(5)]
    sub = put(server, name, 7, ns="node:1", value=b"sub")
    assert threads.get_state(name)["values"] == {"messages": "v4"}
    assert threads.get_state(name, checkpoint_id=points[1])["values"] == {"messages": "v1"}
    assert threads.get_state(name, checkpoint={"checkpoint_id": points[2], "checkpoint_ns": ""})["values"] == {"messages": "v2"}
    assert threads.get_state(name, checkpoint={"checkpoint_ns": "node:1"})["checkpoint"]["checkpoint_id"] == sub
    for missing in ({"checkpoint_id": "none"}, {"checkpoint_ns": "none"}):
        with pytest.raises(NotFoundError):
            threads.get_state(name, checkpoint=missing)
    with pytest.raises(NotFoundError):
        threads.get_state(name, checkpoint_id="none")

    def history(**kw):
        return [s["values"]["messages"] for s in threads.get_history(name, **kw)]

    assert history() == ["v4", "v3", "v2", "v1", "v0"], "the root's alone"
    assert history(limit=2) == ["v4", "v3"]
    assert history(before=points[2]) == ["v1", "v0"]
    assert history(before={"checkpoint_id": points[2]}) == ["v1", "v0"]
    assert history(before={"configurable": {"checkpoint_id": points[1]}}) == ["v0"]
    assert history(metadata={"odd": 1}) == ["v3", "v1"]
    assert history(checkpoint={"checkpoint_ns": "node:1"}) == ["sub"]
    by_get = server.request("GET", f"/threads/{name}/history?limit=2&before={points[4]}").json
    assert [s["values"] for s in by_get] == [{"messages": "v3"}, {"messages": "v2"}]
    assert len(server.request("POST", f"/threads/{name}/history", {}).json) == 1, "one unless asked"
    for bad in ({"limit": 0}, {"limit": 1001}, {"before": 5}, {"before": {"x": 1}}, {"metadata": 5}, {"checkpoint": "x"}, {"select": 5}):
        assert server.request("POST", f"/threads/{name}/history", bad).status == 422, bad


def test_select_of_state(threads, server, tag):
    name = threads.create(metadata=tag)["thread_id"]
    op, blobs = put_op(name, 1)
    op["checkpoint"]["channel_values"] = {"n": 1, "m": 2}
    Frames(server).one(op, *blobs)
    assert threads.get_state(name, select=["values.messages", "next"]) == {"values": {"messages": "x"}, "next": []}
    assert threads.get_state(name, select=["values.n"]) == {"values": {"n": 1}}
    assert threads.get_state(name, checkpoint_id=op["id"], select=["next", "unknown"]) == {"next": []}
    assert threads.get_state(name, checkpoint={"checkpoint_id": op["id"]}, select=["values"])["values"] == {"n": 1, "m": 2, "messages": "x"}
    assert threads.get_history(name, select=["checkpoint"]) == [{"checkpoint": {"thread_id": name, "checkpoint_ns": "", "checkpoint_id": op["id"]}}]


def test_storage(server, threads, tag):
    name = threads.create(metadata=tag)["thread_id"]
    for i in range(3):
        put(server, name, i, value=b"x" * 1000)
    r = server.request("GET", f"/threads/{name}/storage")
    got = r.json
    assert got["thread_id"] == name and got["checkpoints"]["count"] == 3 and got["pending_writes"] == {"count": 0, "bytes": 0}
    assert got["channel_values"]["by_channel"]["messages"]["versions"] == 3
    assert got["total_bytes"] == sum(got[k]["bytes"] for k in ("checkpoints", "channel_values", "pending_writes")) > 0
    assert server.request("GET", f"/threads/{uuid.uuid4()}/storage").status == 404


def test_malformed_values_are_shown_as_such(threads, server, tag):
    name = threads.create(metadata=tag)["thread_id"]
    for i, (kind, value) in enumerate([("msgpack", b"\xdd\xff\xff\xff\xff"), ("msgpack", b"\x91" * 5000), ("json", b"{"), ("msgpack+aes", b"12"), ("pickle", b"c")]):
        op, _ = put_op(name, i)
        op["values"][0][2:] = [kind, len(value)]
        Frames(server).one(op, value)
        shown = threads.get_state(name)["values"]["messages"]
        assert (shown["type"], shown["bytes"]) == (kind, len(value)) and ("error" in shown) == (i < 3)
    assert len(threads.get_history(name, limit=10)) == 5


def test_state_too_large_for_an_answer(server, threads, tag):
    """What does not fit is refused with a sentence that says what to do; the rest of it can be seen."""
    name = threads.create(metadata=tag)["thread_id"]
    op, _ = put_op(name, 1)
    large = b"\xdb\x00\x90\x00\x00" + b"y" * 0x900000
    op["values"] = [[f"c{i}", op["checkpoint"]["channel_versions"]["messages"], "msgpack", len(large)] for i in range(4)]
    op["checkpoint"]["channel_versions"] = {f"c{i}": op["checkpoint"]["channel_versions"]["messages"] for i in range(4)}
    Frames(server).one(op, *[large] * 4)
    r = server.request("GET", f"/threads/{name}/state")
    assert r.status == 413 and "select" in r.json["detail"]
    r = server.request("GET", f"/threads/{name}")
    assert r.status == 413 and "select" in r.json["detail"]
    assert ids(threads.search(ids=[name], select=["thread_id", "status"])) == [name]
    assert len(server.request("GET", f"/threads/{name}/state?select=values.c2").json["values"]["c2"]) == 0x900000


# ---- updates without a graph -----------------------------------------------------------------------------------------------------------


def test_update_state(threads, tag):
    name = threads.create(metadata=tag)["thread_id"]
    first = threads.update_state(name, {"n": 1, "deep": {"a": [1, "é"]}}, as_node="import")["checkpoint"]
    assert first["thread_id"] == name and first["checkpoint_ns"] == ""
    second = threads.update_state(name, {"n": 2})["checkpoint"]
    state = threads.get_state(name)
    assert state["values"] == {"n": 2, "deep": {"a": [1, "é"]}}
    assert state["checkpoint"] == second and state["parent_checkpoint"] == first
    assert state["metadata"]["source"] == "update"
    forked = threads.update_state(name, {"n": 3}, checkpoint=first)["checkpoint"]
    assert threads.get_state(name)["checkpoint"] == forked
    assert threads.get_state(name)["parent_checkpoint"] == first
    assert threads.update_state(name, {"n": 4}, checkpoint_id=second["checkpoint_id"])["checkpoint"]["checkpoint_id"] > forked["checkpoint_id"]
    assert threads.get(name)["values"] == {"n": 4, "deep": {"a": [1, "é"]}}


def test_update_state_that_needs_a_graph(threads, server, tag):
    name = threads.create(metadata=tag)["thread_id"]
    threads.update_state(name, {"n": 1})
    for values in (None, [{"n": 1}], "x", {"__start__": 1}):
        with pytest.raises(BadRequestError):
            threads.update_state(name, values)
    with pytest.raises(NotFoundError):
        threads.update_state(name, {"n": 1}, checkpoint_id="none")
    assert len(threads.get_history(name)) == 1, "nothing was written"


def test_supersteps(threads, tag):
    made = threads.create(metadata=tag, supersteps=[
        {"updates": [{"values": {"a": 1, "b": 2}, "as_node": "__start__"}]},
        {"updates": [{"values": {"a": 5}, "as_node": "x"}, {"values": {"c": 3}, "as_node": "y"}]}])
    assert made["values"] == {"a": 5, "b": 2, "c": 3}
    assert [s["values"] for s in threads.get_history(made["thread_id"])] == [{"a": 5, "b": 2, "c": 3}, {"a": 1, "b": 2}]
    for updates in ([{"values": {"a": 1}, "as_node": "x"}, {"values": {"a": 2}, "as_node": "y"}],
                    [{"values": {"a": 1}, "command": {"goto": "x"}, "as_node": "x"}], [{"values": None, "as_node": "x"}], []):
        with pytest.raises(BadRequestError):
            threads.create(metadata={**tag, "failed": True}, supersteps=[{"updates": [{"values": {"a": 1}, "as_node": "x"}]}, {"updates": updates}])
    assert threads.count(metadata={**tag, "failed": True}) == 0, "a request that fails leaves no thread"


# ---- what is not offered -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method,path", [("POST", "/threads/{}/runs"), ("POST", "/threads/{}/runs/stream"), ("POST", "/threads/{}/runs/wait"), ("GET", "/threads/{}/runs/x"),
                                         ("GET", "/threads/{}/stream"), ("POST", "/threads/{}/stream/events"), ("POST", "/threads/{}/commands"), ("POST", "/runs"),
                                         ("POST", "/runs/stream"), ("POST", "/assistants"), ("GET", "/assistants/x"), ("POST", "/runs/crons"), ("POST", "/threads/{}/runs/crons")])
def test_no_graphs(server, method, path):
    r = server.request(method, path.format(uuid.uuid4()), {} if method == "POST" else None)
    assert r.status == 404 and "runs no graphs" in r.json["detail"] and "checkpointer" in r.json["detail"]


def test_no_runs(server):
    r = server.request("GET", f"/threads/{uuid.uuid4()}/runs")
    assert (r.status, r.json) == (200, [])
    assert server.request("PATCH", f"/threads/{uuid.uuid4()}/state", {"metadata": {}}).status == 404


# ---- who sees what -----------------------------------------------------------------------------------------------------------------------


def test_users_of_a_tenant(server, tag):
    """X-Cenote-User: a user sees what is the user's, and what is nobody's."""
    nobody = server.request("POST", "/threads", {"metadata": tag}).json["thread_id"]
    anns = server.request("POST", "/threads", {"metadata": tag}, {"X-Cenote-User": "ann"}).json["thread_id"]
    put(server, anns, 1)

    def seen(user):
        r = server.request("POST", "/threads/search", {"metadata": tag}, {"X-Cenote-User": user} if user else {})
        return set(ids(r.json)), int(r.headers[TOTAL])

    assert seen("ann") == ({nobody, anns}, 2) and seen("bob") == ({nobody}, 1) and seen(None) == ({nobody, anns}, 2)
    for method, path, body in (("GET", "", None), ("GET", "/state", None), ("POST", "/history", {}), ("GET", "/storage", None), ("PATCH", "", {"metadata": {"x": 1}}),
                               ("POST", "/state", {"values": {"x": 1}}), ("DELETE", "", None)):
        assert server.request(method, f"/threads/{anns}{path}", body, {"X-Cenote-User": "bob"}).status == 404, (method, path)
    assert server.request("POST", f"/threads/{anns}/copy", None, {"X-Cenote-User": "bob"}).status == 409
    r = server.request("POST", "/threads", {"thread_id": anns, "if_exists": "do_nothing"}, {"X-Cenote-User": "bob"})
    assert r.status == 409 and "metadata" not in r.json
    assert server.request("POST", "/threads/prune", {"thread_ids": [anns]}, {"X-Cenote-User": "bob"}).json == {"pruned_count": 0}
    assert server.request("GET", f"/threads/{anns}", None, {"X-Cenote-User": "ann"}).json["metadata"] == tag
    copied = server.request("POST", f"/threads/{anns}/copy", None, {"X-Cenote-User": "ann"}).json["thread_id"]
    assert server.request("GET", f"/threads/{copied}", None, {"X-Cenote-User": "bob"}).status == 404, "a copy belongs to the source's user"


# ---- threads of real graphs --------------------------------------------------------------------------------------------------------------


class State(typing.TypedDict, total=False):
    log: typing.Annotated[list, operator.add]
    text: str
    when: datetime.datetime


def asking():
    inner = StateGraph(State)
    inner.add_node("ask", lambda s: {"log": [f"answer {interrupt({'question': 'sure?'})}"]})
    inner.add_edge(START, "ask")
    g = StateGraph(State)
    g.add_node("begin", lambda s: {"log": ["begun"], "text": "é", "when": datetime.datetime(2026, 8, 20, tzinfo=datetime.timezone.utc)})
    g.add_node("inner", inner.compile())
    g.add_edge(START, "begin")
    g.add_edge("begin", "inner")
    g.add_edge("inner", END)
    return g


@pytest.fixture
def saver(server):
    from cenote import CenoteSaver
    with CenoteSaver.connect(server.url) as s:
        yield s


def test_interrupted_graph(threads, saver, tag):
    graph = asking().compile(checkpointer=saver)
    name = threads.create(metadata=tag)["thread_id"]
    config = {"configurable": {"thread_id": name}}
    graph.invoke({"log": ["in"]}, config)
    theirs = graph.get_state(config, subgraphs=True)
    assert theirs.next == ("inner",)
    ours = threads.get_state(name)
    assert ours["values"] == {"log": ["in", "begun"], "text": "é", "when": "2026-08-20T00:00:00+00:00"}
    assert ours["checkpoint"]["checkpoint_id"] == theirs.config["configurable"]["checkpoint_id"]
    assert ours["parent_checkpoint"]["checkpoint_id"] == theirs.parent_config["configurable"]["checkpoint_id"]
    assert ours["created_at"] == theirs.created_at and ours["metadata"] == theirs.metadata
    assert (ours["next"], ours["tasks"]) == ([], [])
    assert [(i["value"], i["id"]) for i in ours["interrupts"]] == [({"question": "sure?"}, theirs.interrupts[0].id)]
    deep = threads.get_state(name, subgraphs=True)
    assert deep["next"] == ["inner"] and len(deep["tasks"]) == 1
    task, real = deep["tasks"][0], theirs.tasks[0]
    assert (task["id"], task["name"], task["error"]) == (real.id, "inner", None)
    assert task["path"] == list(real.path)
    assert task["state"]["values"] == real.state.values | {"when": "2026-08-20T00:00:00+00:00"}
    assert task["checkpoint"] == {k: real.state.config["configurable"][k] for k in ("thread_id", "checkpoint_ns", "checkpoint_id")}
    assert task["state"]["next"] == ["ask"] and task["state"]["tasks"][0]["interrupts"] == ours["interrupts"]
    thread = threads.get(name)
    assert thread["status"] == "interrupted" and thread["interrupts"] == {real.id: ours["interrupts"]}
    assert ids(threads.search(metadata=tag, status="interrupted", values={"text": "é"})) == [name]
    assert threads.count(metadata=tag, status="idle") == 0
    graph.invoke(Command(resume="yes"), config)
    assert threads.get(name)["status"] == "idle"
    assert threads.get(name)["values"]["log"][-1] == "answer yes"
    assert threads.get(name)["interrupts"] == {} and threads.get_state(name, subgraphs=True)["tasks"] == []
    mine = threads.get_history(name, limit=20)
    real = list(graph.get_state_history(config))
    assert [s["checkpoint"]["checkpoint_id"] for s in mine] == [s.config["configurable"]["checkpoint_id"] for s in real]
    assert [s["values"].get("log") for s in mine] == [s.values["log"] or None for s in real]


def test_failed_graph_and_sends(threads, saver, tag):
    def work(s):
        if s["n"] == 1:
            raise ValueError("no luck")
        if s["n"] == 2:
            interrupt("stop")
        return {"log": [s["n"]]}

    g = StateGraph(State)
    g.add_node("fan", lambda s: {"log": ["fan"]})
    g.add_node("work", work)
    g.add_edge(START, "fan")
    g.add_conditional_edges("fan", lambda s: [Send("work", {"n": i}) for i in range(3)], ["work"])
    graph = g.compile(checkpointer=saver)
    name = threads.create(metadata=tag)["thread_id"]
    with pytest.raises(ValueError):
        graph.invoke({"log": []}, {"configurable": {"thread_id": name}})
    assert threads.get(name)["status"] == "error"
    tasks = {t["path"][1]: t for t in threads.get_state(name, subgraphs=True)["tasks"]}
    # LangGraph cancels those of the others that had not begun yet, and keeps that as their error.
    failed = [t for t in tasks.values() if t["error"] and t["error"] != "CancelledError()"]
    assert [t["error"] for t in failed] == ["ValueError('no luck')"] and failed[0]["name"] == "work"
    assert ids(threads.search(metadata=tag, status="error")) == [name]


def test_updated_without_the_graph_and_resumed_with_it(threads, saver, tag):
    """A plain channel is overwritten by the SDK; the graph goes on from there."""
    g = StateGraph(State)
    g.add_node("a", lambda s: {"text": s["text"] + "a"})
    g.add_node("b", lambda s: {"text": s["text"] + "b"})
    g.add_edge(START, "a")
    g.add_edge("a", "b")
    graph = g.compile(checkpointer=saver, interrupt_before=["b"])
    name = threads.create(metadata=tag)["thread_id"]
    config = {"configurable": {"thread_id": name}}
    graph.invoke({"text": ""}, config)
    threads.update_state(name, {"text": "changed"})
    assert graph.get_state(config).values["text"] == "changed"
    assert graph.invoke(None, config)["text"] == "changedb"
