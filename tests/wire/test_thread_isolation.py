"""Threads of one tenant or user are never another's: tried on every surface that reaches threads - frames, threads API, conversations, sessions, native
routes. The names are known to whoever tries."""
import json
import uuid

import pytest

from frames import PATH, TYPE, frames, put_op, unframe

pytestmark = pytest.mark.stores("sqlite", "postgres", "postgres-bouncer")
SECRET = "marmalade-of-the-other"
OWNERS = ("acme", "ann")  # whose threads: a tenant's, and a user's of that tenant
OTHERS = {"acme": ("bolt", "bob"), "ann": ("bolt", "bob")}


class As:
    """A server, asked with one key (and user)."""

    def __init__(self, server, key, user=None):
        self.server, self.headers = server, {"Authorization": f"Bearer {key}", **({"X-Cenote-User": user} if user else {})}

    def request(self, method, path, body=None, headers=None, **kw):
        return self.server.request(method, path, body, {**self.headers, **(headers or {})}, **kw)

    def op(self, op, *blobs):
        """(status, result or None): of one operation."""
        r = self.request("POST", PATH, frames([op], blobs), TYPE)
        return r.status, unframe(r.body)[0][0].get("ok") if r.status == 200 else None, r.body


@pytest.fixture(scope="module")
def house(kind, start):
    with start(kind, "--auth", "keys") as s:
        def key(*args):
            made = json.loads(s.run("key", "create", "--json", *args, check=0).stdout)
            return made.get("key") or made["secret"]

        acme = key("--name", "a", "--tenant", "acme")
        s.who = {"acme": As(s, acme), "bolt": As(s, key("--name", "b", "--tenant", "bolt")),
                 "ann": As(s, key("--name", "ann", "--tenant", "acme", "--for-user", "ann@example.com")),
                 "bob": As(s, key("--name", "bob", "--tenant", "acme", "--for-user", "bob")),
                 "as-ann": As(s, acme, "ann@example.com"), "as-bob": As(s, acme, "bob")}
        s.threads = {}
        for name in ("ann", "bob", "acme", "bolt"):
            s.threads[name] = fill(s.who[name], name)
        yield s


def fill(me, name):
    """One thread of each kind; the names."""
    graph = str(uuid.uuid5(uuid.NAMESPACE_URL, name))
    op, blobs = put_op(graph, 1, value=f"{SECRET} {name}".encode(), metadata={"of": name, "run_id": f"run-{name}", "secret": SECRET})
    assert me.op(op, *blobs)[0] == 200
    assert me.op({"op": "writes", "thread": graph, "ns": "", "id": op["id"], "task_id": "t", "writes": [[0, "messages", "bytes", len(SECRET)]]}, SECRET.encode())[0] == 200
    session = f"session-{name}"
    assert me.request("POST", f"/cenote/v1/sessions/{session}/items", {"items": [{"role": "user", "content": f"{SECRET} {name}"}]}).status == 200
    made = me.request("POST", "/v1/conversations", {"items": [{"role": "user", "content": f"{SECRET} {name}"}], "metadata": {"of": f"{SECRET} {name}"}})
    assert made.status == 200, made
    item = me.request("GET", f"/v1/conversations/{made.json['id']}/items").json["data"][0]["id"]
    plain = me.request("POST", "/threads", {"metadata": {"of": f"{SECRET} {name}"}})
    assert plain.status == 200, plain
    return {"graph": graph, "checkpoint": op["id"], "session": session, "conversation": made.json["id"], "item": item, "plain": plain.json["thread_id"]}


def reads(t):
    """Everything that shows something of the threads t; (method, path, body)."""
    g, c = t["graph"], t["conversation"]
    for thread in (g, t["plain"], t["session"], c):
        yield "GET", f"/threads/{thread}", None
        yield "GET", f"/threads/{thread}/state", None
        yield "GET", f"/threads/{thread}/state/{t['checkpoint']}", None
        yield "POST", f"/threads/{thread}/state/checkpoint", {"checkpoint": {"checkpoint_id": t["checkpoint"]}}
        yield "POST", f"/threads/{thread}/history", {}
        yield "GET", f"/threads/{thread}/history", None
        yield "GET", f"/threads/{thread}/storage", None
        for tail in ("", "/checkpoints", "/state", "/export", "/messages"):
            yield "GET", f"/cenote/v1/threads/{thread}{tail}", None
        yield "GET", f"/cenote/v1/sessions/{thread}/items", None
        for base in ("/v1", "", "/serving-endpoints"):
            yield "GET", f"{base}/conversations/{thread}", None
            yield "GET", f"{base}/conversations/{thread}/items", None
            yield "GET", f"{base}/conversations/{thread}/items/{t['item']}", None
    yield "POST", "/threads/search", {"limit": 1000}
    yield "POST", "/threads/search", {"metadata": {"of": f"{SECRET} ann"}}
    yield "POST", "/threads/search", {"ids": [g, t["plain"]]}
    yield "GET", "/cenote/v1/threads", None
    yield "GET", "/cenote/v1/sessions", None


def read_ops(t):
    g = t["graph"]
    return [{"op": "get", "thread": g}, {"op": "get", "thread": g, "id": t["checkpoint"]}, {"op": "list", "thread": g}, {"op": "list"},
            {"op": "list", "filter": {"secret": SECRET}}, {"op": "list", "id": t["checkpoint"]}, {"op": "history", "thread": g, "channels": ["messages"]}]


def changes(t):
    g, c, s = t["graph"], t["conversation"], t["session"]
    for thread in (g, t["plain"], c, s):
        yield "DELETE", f"/threads/{thread}", None
        yield "PATCH", f"/threads/{thread}", {"metadata": {"mine": 1}}
        yield "POST", f"/threads/{thread}/state", {"values": {"messages": "mine"}}
        yield "POST", f"/threads/{thread}/copy", None
        yield "DELETE", f"/cenote/v1/threads/{thread}", None
        yield "POST", f"/cenote/v1/threads/{thread}/fork", {"checkpoint_id": t["checkpoint"]}
        yield "POST", f"/cenote/v1/threads/{thread}/fork", {"checkpoint_id": t["checkpoint"], "to": "stolen"}
        yield "POST", f"/cenote/v1/sessions/{thread}/items", {"items": [{"role": "user", "content": "mine"}]}
        yield "POST", f"/cenote/v1/sessions/{thread}/items", {"items": [{"role": "user", "content": "mine"}], "replace": True}
        yield "POST", f"/cenote/v1/sessions/{thread}/pop", None
        yield "DELETE", f"/cenote/v1/sessions/{thread}", None
        yield "POST", f"/v1/conversations/{thread}", {"metadata": {"mine": "1"}}
        yield "POST", f"/v1/conversations/{thread}/items", {"items": [{"role": "user", "content": "mine"}]}
        yield "DELETE", f"/v1/conversations/{thread}/items/{t['item']}", None
        yield "DELETE", f"/v1/conversations/{thread}", None
    yield "POST", "/threads/prune", {"thread_ids": [g, t["plain"]], "strategy": "delete"}
    yield "POST", "/cenote/v1/threads/prune", {"threads": [g, s], "strategy": "delete"}
    yield "POST", "/cenote/v1/threads/prune", {"prefix": "", "keep_last": 1}
    yield "POST", "/cenote/v1/messages", {"messages": [{"thread": g, "role": "user", "content": "mine"}]}
    yield "POST", "/threads", {"thread_id": t["plain"], "if_exists": "do_nothing", "metadata": {"mine": 1}}


def change_ops(t, name):
    g = t["graph"]
    op, blobs = put_op(g, 1, value=b"mine", metadata={"mine": 1})
    later, more = put_op(g, 2, value=b"mine", metadata={"mine": 1})
    return [(op, blobs), (later, more), ({"op": "writes", "thread": g, "ns": "", "id": t["checkpoint"], "task_id": "t", "writes": [[-1, "__error__", "bytes", 4]]}, [b"mine"]),
            ({"op": "delete_thread", "thread": g}, []), ({"op": "delete_runs", "runs": [f"run-{name}"]}, []), ({"op": "copy", "from": g, "to": f"stolen-{name}"}, []),
            ({"op": "prune", "threads": [g], "strategy": "delete"}, [])]


def state_of(me, t):
    """All that its owner sees of the threads."""
    g = t["graph"]
    seen = [me.op(op)[2] for op in read_ops(t)[:3]]
    for path in (f"/threads/{g}", f"/threads/{t['plain']}", f"/cenote/v1/sessions/{t['session']}/items", f"/v1/conversations/{t['conversation']}",
                 f"/v1/conversations/{t['conversation']}/items"):
        r = me.request("GET", path)
        assert r.status == 200, (path, r)
        seen.append(r.body)
    return seen


PAIRS = [("ann", "bob"), ("bob", "ann"), ("acme", "bolt"), ("bolt", "acme"), ("ann", "bolt"), ("bolt", "bob"), ("ann", "as-bob"), ("bob", "as-ann"), ("acme", "ann")]


@pytest.mark.parametrize("owner,other", PAIRS)
def test_nothing_is_seen(house, owner, other):
    t, thief = house.threads[owner], house.who[other]
    for method, path, body in reads(t):
        r = thief.request(method, path, body)
        text = r.body.decode(errors="replace")
        assert f"{SECRET} {owner}" not in text, (method, path, r)
        assert r.status in (200, 404, 400, 422), (method, path, r)
        if r.status == 200:
            for name in ("graph", "plain", "conversation"):
                assert t[name] not in text.replace(path, ""), (method, path, r)
    for op in read_ops(t):
        status, _, body = thief.op(op)
        assert f"{SECRET} {owner}".encode() not in body and f'"of":"{owner}"'.encode() not in body.replace(b" ", b""), (op, body)


@pytest.mark.parametrize("owner,other", PAIRS)
def test_nothing_is_changed(house, owner, other):
    t, thief, me = house.threads[owner], house.who[other], house.who[owner]
    before = state_of(me, t)
    for method, path, body in changes(t):
        r = thief.request(method, path, body)
        assert r.status < 500, (method, path, r)
        assert f"{SECRET} {owner}" not in r.body.decode(errors="replace"), (method, path, r)
    for op, blobs in change_ops(t, owner):
        status, _, body = thief.op(op, *blobs)
        assert status < 500 and f"{SECRET} {owner}".encode() not in body, (op, body)
    assert state_of(me, t) == before
    for stolen in ("stolen", f"stolen-{owner}"):
        assert thief.op({"op": "get", "thread": stolen})[1] is None
    # What the attempt may rightly have left under the other's own name.
    if other == "bolt":
        for name in ("graph", "plain", "session", "conversation"):
            thief.request("DELETE", f"/cenote/v1/threads/{t[name]}")


def test_the_tenant_sees_its_users(house):
    """A key without a user is the tenant's; one that names a user is that user's and nobody's."""
    t = house.threads["ann"]
    assert house.who["acme"].op({"op": "get", "thread": t["graph"]})[1]["metadata"]["of"] == "ann"
    assert house.who["as-ann"].op({"op": "get", "thread": t["graph"]})[1]["metadata"]["of"] == "ann"
    assert house.who["as-ann"].op({"op": "get", "thread": house.threads["acme"]["graph"]})[1]["metadata"]["of"] == "acme"
    names = {x["thread"] for x in house.who["ann"].request("GET", "/cenote/v1/threads?limit=1000").json["data"]}
    assert {t["graph"], t["session"], t["conversation"], t["plain"]} <= names
    assert not names & set(house.threads["acme"].values())
