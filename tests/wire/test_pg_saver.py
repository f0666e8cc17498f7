"""Cenote and LangGraph's own PostgresSaver on the same checkpoint tables: each resumes what the other wrote, at any checkpoint, and sees what it
removes. Tables of older migrations, of LangGraph.js, and those that cannot be had."""
import operator
import random
import time
import urllib.parse
from typing import Annotated, Any, TypedDict

import psycopg
import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.base.id import uuid6
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.postgres.shallow import ShallowPostgresSaver
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import Command, Send, interrupt

from frames import Frames, checkpoint_id, put_op
from pgbouncer import PgBouncer, installed
from postgres import setup_all
from server import Server, run
from test_pg_schema import as_role, catalog

from cenote import CenoteSaver

pytestmark = pytest.mark.stores("postgres")
TABLES = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")


def config(thread, ns="", ident=None):
    return {"configurable": {"thread_id": thread, "checkpoint_ns": ns, **({"checkpoint_id": ident} if ident else {})}}


def plain(t):
    """A tuple as plain data."""
    return t and (t.config, t.checkpoint, t.metadata, t.parent_config, t.pending_writes)


class House:
    """One database: LangGraph's saver, Cenote's over HTTP, a plain connection."""

    def __init__(self, url, server):
        self.url, self.server = url, server
        self.db = psycopg.connect(url, autocommit=True)
        self.theirs_context = PostgresSaver.from_conn_string(url)
        self.theirs = self.theirs_context.__enter__()
        self.ours = CenoteSaver.connect(server.url).__enter__()

    def close(self):
        self.ours.close()
        self.theirs_context.__exit__(None, None, None)
        self.db.close()

    def rows(self, thread, names=TABLES):
        """What the three tables have of a thread, without its name."""
        return {t: sorted(r[0].split(",", 1)[1] for r in self.db.execute(f"SELECT t::text FROM {t} t WHERE thread_id = %s", (thread,)))
                for t in names}

    def same(self, thread, **kw):
        """Both list the thread alike, tuple by tuple, and each alone."""
        ours, theirs = [[plain(t) for t in s.list(c, **kw)] for s in (self.ours, self.theirs) for c in [{"configurable": {"thread_id": thread}}]]
        assert ours == theirs
        for t in ours:
            at = t[0]
            assert plain(self.ours.get_tuple(at)) == plain(self.theirs.get_tuple(at)) == t
        return ours


@pytest.fixture
def house(pg_url):
    with Server(store=pg_url) as s:
        h = House(pg_url, s)
        yield h
        h.close()


# ---------------------------------------------------------------- a graph


def append(state: list, writes: list) -> list:
    return (state or []) + [x for w in writes for x in (w if isinstance(w, list) else [w])]


class State(TypedDict, total=False):
    messages: Annotated[list[AnyMessage], add_messages]
    log: Annotated[list[str], operator.add]
    trail: Annotated[list, DeltaChannel(append, snapshot_frequency=3)]
    parts: Annotated[list[int], operator.add]
    answer: str


class Sub(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    answer: str


def ask(state: Sub) -> Any:
    got = interrupt({"question": "really?"})
    return {"log": [f"sub got {got}"], "answer": got}


def build(saver):
    sub = StateGraph(Sub)
    sub.add_node("prepare", lambda s: {"log": ["prepare"]})
    sub.add_node("ask", ask)
    sub.add_edge(START, "prepare")
    sub.add_edge("prepare", "ask")
    g = StateGraph(State)
    g.add_node("model", lambda s: {"messages": [AIMessage(f"{len(s['messages'])} \0 ahoy", id=f"a{len(s['messages'])}")], "trail": ["model"]})
    g.add_node("left", lambda s: {"log": ["left"], "trail": ["left"]})
    g.add_node("right", lambda s: {"log": ["right"], "trail": ["right"]})
    g.add_node("part", lambda s: {"parts": [s["n"] * s["n"]], "trail": [s["n"]]})
    g.add_node("sub", sub.compile())
    g.add_edge(START, "model")
    g.add_edge("model", "left")
    g.add_edge("model", "right")
    g.add_conditional_edges("left", lambda s: [Send("part", {"n": i}) for i in range(3)], ["part"])
    g.add_edge("part", "sub")
    return g.compile(checkpointer=saver)


def state_of(app, at):
    s = app.get_state(at, subgraphs=True)
    return (s.values, s.next, s.config, s.parent_config, s.metadata, [(t.id, t.name, t.path, t.interrupts, t.error) for t in s.tasks])


def chat(graphs, thread, turns):
    """Turns on one thread, each half by another of the graphs in turn; returns the last state's values."""
    at, k = {"configurable": {"thread_id": thread}}, 0
    for turn in range(turns):
        graphs[k % len(graphs)].invoke({"messages": [HumanMessage(f"turn {turn}", id=f"h{turn}")]}, at, durability="sync")
        k += 1
        graphs[k % len(graphs)].invoke(Command(resume=f"yes {turn}"), at, durability="sync")
        k += turn % 2
    return graphs[0].get_state(at).values


def test_each_resumes_the_others_threads(house):
    ours, theirs = build(house.ours), build(house.theirs)
    want = chat([build(InMemorySaver())], "t", 3)
    assert chat([ours, theirs], "t", 3) == want
    assert chat([theirs, ours], "u", 3) == want
    for thread in "t", "u":
        at = {"configurable": {"thread_id": thread}}
        listed = house.same(thread)
        assert len({t[0]["configurable"]["checkpoint_ns"] for t in listed}) == 4  # the root and a subgraph call per turn
        history = list(ours.get_state_history(at))
        assert [s.config for s in history] == [s.config for s in theirs.get_state_history(at)]
        for s in history:
            assert state_of(ours, s.config) == state_of(theirs, s.config)
        for config, *_ in listed:
            for channels in ["trail"], ["trail", "messages", "none"]:
                assert house.ours.get_delta_channel_history(config=config, channels=channels) == \
                    house.theirs.get_delta_channel_history(config=config, channels=channels)
    before = catalog(house.url)
    house.theirs.setup()
    assert catalog(house.url) == before


def test_time_travel_from_any_checkpoint(house):
    """A fork from every checkpoint of the other's history: goes on by the one, is the same to both, and to a saver in memory."""
    ours, theirs = build(house.ours), build(house.theirs)
    chat([ours, theirs], "t", 1)
    graphs = [theirs, ours]
    for i, s in enumerate(list(ours.get_state_history({"configurable": {"thread_id": "t"}}))):
        a, b = graphs[i % 2], graphs[1 - i % 2]
        a.invoke(None, s.config, durability="sync")
        head = {"configurable": {"thread_id": "t"}}
        assert state_of(a, head) == state_of(b, head)
        fork = b.update_state(s.config, {"log": [f"fork {i}"]}, as_node="left")
        assert state_of(a, fork) == state_of(b, fork)
        assert a.get_state(fork).values["log"][-1] == f"fork {i}"
    house.same("t")


# ---------------------------------------------------------------- tuples


def a_checkpoint(saver, rng, old, step):
    """A checkpoint with some new versions, as LangGraph's loop makes them."""
    c = empty_checkpoint()
    c["id"] = str(uuid6(clock_seq=step))
    c["channel_versions"] = dict(old)
    new = {}
    for name in ("messages", "count", "branch:to:x", "note"):
        if rng.random() < 0.6 or not old:
            new[name] = c["channel_versions"][name] = saver.get_next_version(old.get(name), None)
    c["channel_values"] = {n: v for n, v in (("messages", [rng.random()] * rng.randrange(4)), ("count", rng.randrange(9)),
                                             ("note", rng.choice(["", "é🌉", None, 2.5, {"a": {1}}]))) if n in new}
    return c, new


def grow(house, thread, rng, n, ns=""):
    configs, versions = [], {}
    for step in range(n):
        saver = rng.choice([house.ours, house.theirs])
        c, new = a_checkpoint(saver, rng, versions, step)
        versions = c["channel_versions"]
        at = rng.choice(configs[-3:]) if configs else config(thread, ns)
        meta = {"source": rng.choice(["loop", "input"]), "step": step, "run_id": f"run-{step % 3}", "nested": {"deep": [step % 2, {"x": 1}]}}
        at = saver.put(at, c, meta, new)
        configs.append(at)
        for task in range(rng.randrange(3)):
            writer = rng.choice([house.ours, house.theirs])
            writes = [(rng.choice(["messages", "count", "__interrupt__"]), rng.random()) for _ in range(rng.randrange(1, 4))]
            writer.put_writes(at, writes, f"task-{rng.choice('aZé0')}", rng.choice(["", "~__pregel_pull, x", "~__pregel_push, 0000000001", "Z"]))
            if rng.random() < 0.5:  # again by the other: what is special is replaced, the rest stays
                special = [("__error__", rng.random())]
                for s in (house.ours, house.theirs):
                    s.put_writes(at, special, "task-special", "p")
    return configs


@pytest.mark.parametrize("seed", range(3))
def test_listings_are_the_same(house, seed):
    rng = random.Random(seed)
    configs = grow(house, "t", rng, 30) + grow(house, "t", rng, 8, "sub:1") + grow(house, "other", rng, 5)
    house.same("t")
    for f in {"source": "loop"}, {"step": 3}, {"nested": {"deep": [{"x": 1}]}}, {"run_id": "run-1", "source": "input"}, {"none": None}, {}:
        for limit in 1, 7, None:
            for before in None, *rng.sample(configs, 2):
                for at in {"configurable": {"thread_id": "t"}}, config("t"), config("t", "sub:1"), None:
                    kw = {"filter": f, "limit": limit, "before": before}
                    assert [plain(t) for t in house.ours.list(at, **kw)] == [plain(t) for t in house.theirs.list(at, **kw)], kw


def test_replaced_by_the_other(house):
    """The same checkpoint and writes from both sides: what LangGraph's upserts leave, whoever comes second."""
    rng = random.Random(5)
    for first, second in (house.ours, house.theirs), (house.theirs, house.ours):
        thread = f"t-{first is house.ours}"
        c, new = a_checkpoint(first, rng, {}, 0)
        at = first.put(config(thread), c, {"step": 0}, new)
        first.put_writes(at, [("a", 1), ("__error__", "one")], "task", "p")
        first.put_writes(at, [("__interrupt__", "one")], "task", "p")
        second.put(config(thread, "", "another parent"), {**c, "ts": "later"}, {"step": 9}, new)
        second.put_writes(at, [("a", 2), ("__error__", "two")], "task", "q")
        second.put_writes(at, [("__interrupt__", "two")], "task", "q")
        t = house.ours.get_tuple(config(thread))
        assert plain(t) == plain(house.theirs.get_tuple(config(thread)))
        assert t.metadata["step"] == 9 and t.checkpoint["ts"] == "later" and t.parent_config is None
        assert [(w[1], w[2]) for w in t.pending_writes] == [("__interrupt__", "two"), ("__error__", "one"), ("a", 1)]


def test_old_sends(house):
    """Checkpoints of the format before 4 whose tasks lie under their parent."""
    for writer in house.ours, house.theirs:
        thread = f"old-{writer is house.ours}"
        parent = writer.put(config(thread), {**empty_checkpoint(), "v": 1, "id": str(uuid6())}, {}, {})
        writer.put_writes(parent, [("__pregel_tasks", Send("n", {"x": 1})), ("a", 1)], "t1", "~b")
        writer.put_writes(parent, [("__pregel_tasks", Send("n", {"x": 2}))], "t2", "~a")
        writer.put(parent, {**empty_checkpoint(), "v": 3, "id": str(uuid6()), "channel_versions": {"a": "1.0"}}, {}, {})
        t = house.same(thread)[0]
        assert [s.arg["x"] for s in t[1]["channel_values"]["__pregel_tasks"]] == [2, 1]


# ---------------------------------------------------------------- removing, copying


def test_pruning_leaves_the_same_rows(house):
    """Of two threads with the same rows, one pruned by LangGraph's saver and one by ours."""
    rng = random.Random(3)
    grow(house, "a", rng, 20)
    grow(house, "a", rng, 6, "sub:1")
    for table in TABLES:
        house.db.execute(f"CREATE TEMP TABLE c AS SELECT * FROM {table} WHERE thread_id = 'a'")
        house.db.execute("UPDATE c SET thread_id = 'b'")
        house.db.execute(f"INSERT INTO {table} SELECT * FROM c")
        house.db.execute("DROP TABLE c")
    house.theirs.prune(["a"])
    house.ours.prune(["b"])
    assert house.rows("a") == house.rows("b")
    assert len(house.same("b")) == 2


def test_copies_and_removals_are_seen(house):
    rng = random.Random(4)
    grow(house, "a", rng, 12)
    grow(house, "a", rng, 3, "sub:1")
    house.theirs.put_writes(config("a", "", "0-early"), [("x", 1)], "t")
    house.ours.copy_thread("a", "b")
    assert house.rows("a") == house.rows("b")
    house.same("b")
    runs = {t[2]["run_id"] for t in house.same("b")}
    house.ours.delete_for_runs(["run-1", "none"])
    assert {t[2]["run_id"] for t in house.same("a")} == {t[2]["run_id"] for t in house.same("b")} == runs - {"run-1"}
    assert not any(t[3] for t in house.same("a") if t[3] and house.theirs.get_tuple(t[3]) is None)
    house.theirs.delete_thread("a")
    assert house.ours.get_tuple(config("a")) is None and list(house.ours.list(config("a"))) == []
    house.ours.delete_thread("b")
    assert list(house.theirs.list(config("b"))) == []
    assert house.rows("b") == {t: [] for t in TABLES}


def test_removing_frees_no_value_in_use(house):
    """Values go with the last checkpoint that refers to them, and early ones stay."""
    rng = random.Random(6)
    configs = grow(house, "t", rng, 25)
    house.db.execute("INSERT INTO checkpoint_blobs VALUES ('t', '', 'early', '1', 'msgpack', '\\xc0')")
    left = {t.config["configurable"]["checkpoint_id"]: plain(t) for t in house.theirs.list(config("t"))}
    for run in "run-0", "run-1":
        house.ours.delete_for_runs([run])
        left = {i: t for i, t in left.items() if t[2]["run_id"] != run}
        now = {t.config["configurable"]["checkpoint_id"]: plain(t) for t in house.theirs.list(config("t"))}
        assert set(now) == set(left)
        for i, t in now.items():
            parent = left[i][3] if left[i][3] and left[i][3]["configurable"]["checkpoint_id"] in left else None
            assert t == (*left[i][:3], parent, left[i][4])
    used = house.db.execute("SELECT count(*) FROM checkpoint_blobs b WHERE channel <> 'early' AND NOT EXISTS (SELECT FROM checkpoints c WHERE"
                            " c.checkpoint -> 'channel_versions' ->> b.channel = b.version)").fetchone()[0]
    assert used == 0 and len(configs) == 25
    house.ours.delete_for_runs(["run-2"])
    assert house.db.execute("SELECT channel FROM checkpoint_blobs").fetchall() == [("early",)]


# ---------------------------------------------------------------- tables of others


def setup_to(url, version):
    with PostgresSaver.from_conn_string(url) as s:
        s.MIGRATIONS = s.MIGRATIONS[:version + 1]
        s.setup()


V4_ROWS = ("INSERT INTO checkpoints(thread_id, checkpoint_id, checkpoint, metadata) VALUES ('js', '1', '{\"v\":4,\"id\":\"1\","
           "\"channel_versions\":{\"a\":2,\"b\":1}}', '{\"source\":\"loop\"}')",
           "INSERT INTO checkpoint_blobs(thread_id, channel, version, type, blob) VALUES ('js', 'a', '2', 'json', '[1]'),"
           " ('js', 'b', '1', 'empty', NULL)",
           "INSERT INTO checkpoint_writes(thread_id, checkpoint_id, task_id, idx, channel, type, blob) VALUES ('js', '1', 't', 0, 'a', 'json', '2')")


@pytest.mark.parametrize("version", range(10))
def test_adopts_every_migration(pg_url, version):
    """Also LangGraph.js's tables, which are those of migration 4."""
    setup_to(pg_url, version)
    rows = V4_ROWS if version >= 4 else ()
    with psycopg.connect(pg_url, autocommit=True) as db:
        for sql in rows:
            db.execute(sql)
    with Server(store=pg_url) as s:
        f = Frames(s)
        if rows:
            t = f.one({"op": "get", "thread": "js"})
            assert t["values"] == [["a", "2", "json", b"[1]"]] and t["writes"] == [["t", "", 0, "a", "json", b"2"]]
        f.put("t", 1)
        f.one({"op": "writes", "thread": "t", "ns": "", "id": checkpoint_id(1), "task_id": "x", "task_path": "~p", "writes": [[0, "a", "null", 0]]})
        with psycopg.connect(pg_url) as db:
            assert [r[0] for r in db.execute("SELECT v FROM checkpoint_migrations ORDER BY v")] == list(range(10))
            assert db.execute("SELECT task_path FROM checkpoint_writes WHERE thread_id = 't'").fetchone()[0] == "~p"
    before = catalog(pg_url)
    setup_all(pg_url)
    assert catalog(pg_url) == before


@pytest.fixture
def role(pg_url):
    """A role that may use the rows of all tables there are, and make none."""
    name = "saver role"
    with psycopg.connect(pg_url, autocommit=True) as db:
        db.execute(f'DROP ROLE IF EXISTS "{name}"')
        db.execute(f'CREATE ROLE "{name}" LOGIN')
        yield as_role(pg_url, urllib.parse.quote(name))
        db.execute(f'DROP OWNED BY "{name}"')
        db.execute(f'DROP ROLE "{name}"')


def grant(url):
    r = run("grants", "saver role", "--run", env={"CENOTE_STORE": url})
    assert r.returncode == 0, r.stderr


def test_without_task_path_and_not_the_owner(pg_url, role):
    """LangGraph.js's tables that we may not alter: paths are not kept, and are as soon as somebody adds the column."""
    setup_to(pg_url, 4)
    assert run("migrate", env={"CENOTE_STORE": pg_url}).returncode == 0
    with psycopg.connect(pg_url, autocommit=True) as db:
        db.execute("ALTER TABLE checkpoint_writes DROP COLUMN task_path")
        db.execute("DELETE FROM checkpoint_migrations WHERE v > 4")
    grant(pg_url)
    write = {"op": "writes", "thread": "t", "ns": "", "id": checkpoint_id(1), "task_path": "~p", "writes": [[0, "a", "null", 0]]}
    with Server(store=role) as s:
        f = Frames(s)
        f.put("t", 1)
        f.one({**write, "task_id": "1"})
        f.one({**write, "task_id": "1", "writes": [[-1, "__error__", "null", 0]]})
        want = [["1", "", -1, "__error__", "null", b""], ["1", "", 0, "a", "null", b""]]
        assert f.one({"op": "get", "thread": "t"})["writes"] == f.one({"op": "list", "thread": "t"})["tuples"][0]["writes"] == want
        assert f.one({"op": "copy", "from": "t", "to": "copied"}) == {}
        with PostgresSaver.from_conn_string(pg_url) as theirs:
            theirs.setup()
        n = 1
        for _ in range(100):
            n += 1
            f.one({**write, "task_id": str(n)})
            if any(w[1] for w in f.one({"op": "get", "thread": "t"})["writes"]):
                break
            time.sleep(0.05)
        got = f.one({"op": "get", "thread": "t"})["writes"]
        assert [w[1] for w in got][-1] == "~p" and len(got) == n + 1


def test_what_cannot_be_made(pg_url, role):
    """No checkpoint tables, and no right to make them: items work, and what needs checkpoints says what to do."""
    assert run("migrate", env={"CENOTE_STORE": pg_url}).returncode == 0
    with psycopg.connect(pg_url, autocommit=True) as db:
        for table in (*TABLES, "checkpoint_migrations"):
            db.execute(f"DROP TABLE {table}")
        db.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    grant(pg_url)
    for env in {}, {"CENOTE_PG_MIGRATE": "false"}:
        with Server(store=role, env=env) as s:
            assert s.request("PUT", "/store/items", b'{"namespace":["a"],"key":"k","value":{}}').status == 204
            op, blobs = put_op("t", 1)
            result = Frames(s).send([op, {"op": "get", "thread": "t"}], blobs)[0]
            for r in result:
                assert "cenote migrate" in r["error"]["detail"], r
    assert run("migrate", env={"CENOTE_STORE": pg_url}).returncode == 0
    grant(pg_url)
    with Server(store=role) as s:
        Frames(s).put("t", 1)


@pytest.mark.parametrize("later", [False, True])
def test_the_shallow_savers_tables(pg_url, later):
    """Not adopted; where they come after us, checkpoints are refused and the rest goes on."""
    if later:
        assert run("migrate", env={"CENOTE_STORE": pg_url}).returncode == 0
        with psycopg.connect(pg_url, autocommit=True) as db:
            for table in (*TABLES, "checkpoint_migrations"):
                db.execute(f"DROP TABLE {table}")
    with ShallowPostgresSaver.from_conn_string(pg_url) as s:
        s.setup()
    if not later:
        r = run("ls", env={"CENOTE_STORE": pg_url})
        assert r.returncode == 6 and "shallow" in r.stderr
        return
    with Server(store=pg_url) as s:
        assert s.request("PUT", "/store/items", b'{"namespace":["a"],"key":"k","value":{}}').status == 204
        results, _ = Frames(s).send([{"op": "get", "thread": "t"}] * 2)
        assert all("shallow" in r["error"]["detail"] for r in results)


# ---------------------------------------------------------------- what jsonb refuses, poolers


def test_what_jsonb_cannot_hold(house):
    f = Frames(house.server)
    f.put("t", 1)
    before = house.rows("t")
    for change in ({"metadata": {"a": "x\0y"}}, {"metadata": {"a": {"b\0": 1}}}):
        good, blobs = put_op("t", 2)
        bad, more = put_op("t", 3)
        results, _ = f.send([good, {**bad, **change}], blobs + more)
        assert all(r["error"]["status"] == 422 and "U+0000" in r["error"]["detail"] or "\\u0000" in r["error"]["detail"] for r in results)
    assert house.rows("t") == before
    f.put("t", 2)


@pytest.mark.skipif(not installed(), reason="pgbouncer is not installed")
def test_behind_a_pooler(pg_url):
    """By transaction: nothing of ours lives in a session."""
    with PgBouncer(pg_url) as bouncer, Server(store=bouncer.url) as s:
        h = House(pg_url, s)
        try:
            rng = random.Random(9)
            grow(h, "t", rng, 15)
            h.ours.copy_thread("t", "u")
            h.ours.prune(["u"])
            h.same("t")
            assert len(h.same("u")) == 1
        finally:
            h.close()
