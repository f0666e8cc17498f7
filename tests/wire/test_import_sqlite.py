"""`cenote import` of SQLite files: those that LangGraph's savers and the Agents SDK's sessions have really written, read back by Cenote's own
clients; what cannot be read is told and the rest goes on; a file is never changed."""
import asyncio
import contextlib
import hashlib
import itertools
import json
import pathlib
import sqlite3
import uuid
from typing import Annotated, TypedDict

import pytest
from agents import SQLiteSession
from agents.extensions.memory.advanced_sqlite_session import AdvancedSQLiteSession
from cenote import CenoteSaver, CenoteSession, Client
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import START, StateGraph, add_messages
from langgraph.types import Command, Send, interrupt

from frames import Frames
from server import run as run_alone

pytestmark = pytest.mark.stores("sqlite", "postgres")
_names = itertools.count()


# ---- a graph with messages, an interrupt, parallel tasks and a subgraph ------------------------------------------------------------


def add(a, b):
    return a + b


class State(TypedDict, total=False):
    messages: Annotated[list, add_messages]
    seen: Annotated[list, add]
    blob: bytes
    ratio: float
    text: str
    inner: dict


class Inner(TypedDict, total=False):
    messages: Annotated[list, add_messages]
    inner: dict


def graph(saver):
    def say(s):
        return {"messages": [AIMessage("hello é", id=str(len(s["messages"])))], "blob": b"\0\xff", "ratio": 2.0, "text": "a\0b"}

    def fan(s):
        return [Send("one", {"n": i}) for i in range(3)]

    def one(s):
        return {"seen": [s["n"], (1, 2), {"k": uuid.UUID(int=5)}]}

    def ask(s):
        return {"inner": {"answer": interrupt({"q": "go on?"})}}

    sub = StateGraph(Inner).add_node("ask", ask).add_edge(START, "ask").compile()
    g = StateGraph(State).add_node("say", say).add_node("one", one).add_node("sub", sub)
    g.add_edge(START, "say").add_conditional_edges("say", fan, ["one"]).add_edge("one", "sub")
    return g.compile(checkpointer=saver)


def config(thread, **more):
    return {"configurable": {"thread_id": thread, **more}}


def run(saver, threads):
    g = graph(saver)
    for t in threads:
        g.invoke({"messages": [HumanMessage("hi", id="h")]}, config(t))
    g.invoke(Command(resume="yes"), config(threads[0]))


def normal(t):
    """What of a tuple must be equal. A saver gives the caller's config back; SQLite orders writes by task alone."""
    c = t.checkpoint
    return (t.config["configurable"]["thread_id"], t.config["configurable"]["checkpoint_ns"], t.config["configurable"]["checkpoint_id"],
            (t.parent_config or {}).get("configurable", {}).get("checkpoint_id"), c, t.metadata,
            sorted(t.pending_writes or [], key=lambda w: (w[0], w[1], repr(w[2]))))


def everything(saver):
    return sorted((normal(t) for t in saver.list(None)), key=lambda t: t[:3])


def exactly(v):
    """2.0 is not 2, and a tuple's repr is not a list's."""
    return repr(v)


@pytest.fixture
def serve(fresh):
    """import_(file, *flags, check=...) into the server, as a user of this test; and that user."""
    user = f"importer-{next(_names)}"

    def import_(file, *flags, check=0):
        r = fresh.run("import", file, "--user", user, *flags, "-o", "json", check=check)
        return json.loads(r.stdout) if r.stdout else r
    import_.user, import_.server = user, fresh
    return import_


def saver_of(serve):
    return CenoteSaver.connect(serve.server.url, user=serve.user)


def session_of(serve, name):
    return CenoteSession(name, Client(serve.server.url, user=serve.user))


def digest(path):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(pathlib.Path(path).parent.iterdir())}


def names(prefix, n):
    return [f"{prefix}-{uuid.uuid4().hex[:8]}-{i}" for i in range(n)]


# ---- LangGraph ---------------------------------------------------------------------------------------------------------------------


def test_saver_file(serve, tmp_path):
    threads = names("saver", 2)
    file = tmp_path / "cp.sqlite"
    with SqliteSaver.from_conn_string(str(file)) as theirs:
        run(theirs, threads)
        want = everything(theirs)
        states = [s.values for s in graph(theirs).get_state_history(config(threads[0]))]
    before = digest(file)
    assert serve(file, "--dry-run") == {"stored": len(want), "unchanged": 0, "failed": 0, "dry_run": True}
    assert serve(file) == {"stored": len(want), "unchanged": 0, "failed": 0}
    assert digest(file) == before, "neither changed nor something beside it"
    with saver_of(serve) as ours:
        got = everything(ours)
        assert len(want) > 10 and any(t[1] for t in want) and any(t[6] for t in want)
        for w, g in zip(want, got, strict=True):
            assert g == w
            assert exactly(g[4]["channel_values"].get("ratio")) == exactly(w[4]["channel_values"].get("ratio"))
        assert [s.values for s in graph(ours).get_state_history(config(threads[0]))] == states
        # Nothing changes by importing again.
        assert serve(file) == {"stored": 0, "unchanged": len(want), "failed": 0}
        assert everything(ours) == got
        # The other thread stands before its interrupt: it goes on from there, and importing once more takes nothing back.
        done = graph(ours).invoke(Command(resume="later"), config(threads[1]))
        assert done["inner"] == {"answer": "later"} and len(done["seen"]) == 9
        assert serve(file)["unchanged"] == len(want)
        assert graph(ours).get_state(config(threads[1])).values["inner"] == {"answer": "later"}


def test_async_saver_and_wal(serve, tmp_path):
    """The file is open in another program, and what matters lies in its WAL."""
    threads = names("async", 1)
    file = tmp_path / "a b?#%.sqlite"

    async def go():
        async with AsyncSqliteSaver.from_conn_string(str(file)) as theirs:
            await graph(theirs).ainvoke({"messages": [HumanMessage("hi", id="h")]}, config(threads[0]))
            want = sorted([normal(t) async for t in theirs.alist(None)], key=lambda t: t[:3])
            assert file.with_name(file.name + "-wal").stat().st_size > 0
            before = digest(file)
            n = await asyncio.to_thread(serve, file)
            after = digest(file)
            for name in (file.name, file.name + "-wal"):
                assert after[name] == before[name]
            return want, n

    want, n = asyncio.run(go())
    assert n["stored"] == len(want) > 3
    with saver_of(serve) as ours:
        assert everything(ours) == want


def test_wal_left_behind(serve, tmp_path):
    """A copy of a file with its WAL, taken while it was open."""
    threads = names("left", 1)
    live, file = tmp_path / "live.sqlite", tmp_path / "copy" / "cp.sqlite"
    file.parent.mkdir()
    with SqliteSaver.from_conn_string(str(live)) as theirs:
        run(theirs, threads)
        want = everything(theirs)
        for suffix in ("", "-wal"):
            pathlib.Path(f"{file}{suffix}").write_bytes(pathlib.Path(f"{live}{suffix}").read_bytes())
    before = digest(file)
    assert serve(file)["stored"] == len(want)
    after = digest(file)
    assert all(after[k] == v for k, v in before.items())
    with saver_of(serve) as ours:
        assert everything(ours) == want


def old_file(path, rows, writes, task_path=None):
    """A file as it was before task_path, or with it as the last column (task_path: its default)."""
    db = sqlite3.connect(path)
    db.executescript("""
        CREATE TABLE checkpoints (thread_id TEXT NOT NULL, checkpoint_ns TEXT NOT NULL DEFAULT '', checkpoint_id TEXT NOT NULL,
            parent_checkpoint_id TEXT, type TEXT, checkpoint BLOB, metadata BLOB, PRIMARY KEY (thread_id, checkpoint_ns, checkpoint_id));
        CREATE TABLE writes (thread_id TEXT NOT NULL, checkpoint_ns TEXT NOT NULL DEFAULT '', checkpoint_id TEXT NOT NULL,
            task_id TEXT NOT NULL, idx INTEGER NOT NULL, channel TEXT NOT NULL, type TEXT, value BLOB,
            PRIMARY KEY (thread_id, checkpoint_ns, checkpoint_id, task_id, idx));""")
    db.executemany("INSERT INTO checkpoints VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    db.executemany("INSERT INTO writes VALUES (?, ?, ?, ?, ?, ?, ?, ?)", writes)
    if task_path is not None:
        db.execute(f"ALTER TABLE writes ADD COLUMN task_path TEXT NOT NULL DEFAULT '{task_path}'")
    db.commit()
    db.close()
    return path


SERDE = JsonPlusSerializer()


def raw_tuple(serve, thread, ident):
    return Frames(serve.server, {"X-Cenote-User": serve.user}).one({"op": "get", "thread": thread, "id": ident})


def row(thread, ident, values=None, parent=None, ns="", kind=None, body=None, metadata=b'{"step": 1}', **more):
    versions = {k: f"{ident}.{i}" for i, k in enumerate(values or {})}
    c = {**empty_checkpoint(), "id": ident, "channel_values": values or {}, "channel_versions": versions, **more}
    dumped = SERDE.dumps_typed(c)
    return (thread, ns, ident, parent, kind or dumped[0], dumped[1] if body is None else body, metadata)


@pytest.mark.parametrize("task_path", [None, "~p"])
def test_old_files(serve, tmp_path, task_path):
    [t] = names("old", 1)
    value = SERDE.dumps_typed(["x"])
    file = old_file(tmp_path / "old.sqlite", [row(t, "1", {"m": [1]}), row(t, "2", {"m": {1: 2}, "n": 7}, parent="1", v=1)],
                    [(t, "", "2", "task", 0, "m", *value), (t, "", "2", "task", -3, "__interrupt__", *value),
                     (t, "", "2", "other", 0, "m", "null", b""), (t, "", "9", "early", 0, "m", *value)], task_path)
    assert serve(file) == {"stored": 3, "unchanged": 0, "failed": 0}
    with saver_of(serve) as ours:
        [two, one] = ours.list(config(t))
        assert one.checkpoint["channel_values"] == {"m": [1]} and one.metadata == {"step": 1}
        assert two.checkpoint["channel_values"] == {"m": {1: 2}, "n": 7} and two.parent_config["configurable"]["checkpoint_id"] == "1"
        assert sorted(two.pending_writes, key=repr) == sorted([("task", "m", ["x"]), ("task", "__interrupt__", ["x"]), ("other", "m", None)],
                                                             key=repr)
        # Writes that came before their checkpoint are there when it comes.
        ours.put(config(t, checkpoint_ns="", checkpoint_id="2"), {**empty_checkpoint(), "id": "9"}, {}, {})
        assert ours.get_tuple(config(t)).pending_writes == [("early", "m", ["x"])]
    assert {w[1] for w in raw_tuple(serve, t, "2")["writes"]} == {task_path or ""}


def test_javascript_rows(serve, tmp_path):
    [t] = names("js", 1)
    text = '{"v":4,"id":"1","ts":"x","channel_values":{"messages":[{"lc":1,"type":"constructor","id":["langchain_core","messages",' \
           '"HumanMessage"],"kwargs":{"content":"caf\\u00e9 \\ud83d"}}],"n":1.50},"channel_versions":{"messages":2,"n":3},"versions_seen":{}}'
    file = old_file(tmp_path / "js.sqlite", [row(t, "1", kind="json", body=text.encode(), metadata=b'{"source":"loop","x":"\\ud800\\u0000"}')],
                    [(t, "", "1", "task", 0, "messages", "json", b'["w"]')])
    assert serve(file)["stored"] == 1
    got, whole = raw_tuple(serve, t, "1"), text.encode()
    begin = whole.index(b'[{"lc"')
    assert got["metadata"] == {"source": "loop", "x": "\ufffd"}
    assert got["values"] == [["messages", "2", "json", whole[begin:whole.index(b',"n":1.50')]], ["n", "3", "json", b"1.50"]]
    assert got["writes"] == [["task", "", 0, "messages", "json", b'["w"]']]


def test_rows_that_cannot_be_read(serve, tmp_path):
    a, b = names("bad", 2)
    file = old_file(tmp_path / "bad.sqlite", [
        row(a, "1", {"m": [1]}), row(a, "2", body=b"\x81\xa1"), row(a, "3", kind="msgpack+aes"), row(a, "4", metadata=b"{"),
        row(a, "5", {"m": [5]}, parent="1", ns="sub:x"), row(b, "6", {"m": [6]}), row("x" * 300, "7", {"m": [7]}),
        row(b, "8", body=b"pickled", kind="pickle"), row(b, "9", {"m": [9]}, metadata=None)], [(b, "", "6", "t", 0, "m", None, b"")])
    r = serve.server.run("import", file, "--user", serve.user, "-o", "json", check=7)
    assert json.loads(r.stdout) == {"stored": 3, "unchanged": 0, "failed": 6}
    told = [x for x in r.stderr.splitlines() if x.startswith("cenote: import:")]
    assert len(told) == 6
    for ident, thread, why in (("2", a, "a container of"), ("3", a, "encrypted"), ("4", a, "metadata"), ("6", b, "without a type"),
                               ("7", "x" * 300, "at most 256"), ("8", b, "pickle")):
        assert any(f"thread {thread}, checkpoint {ident}" in x and why in x and str(file) in x for x in told), (ident, told)
    with saver_of(serve) as ours:
        assert {(t[2], str(t[4]["channel_values"])) for t in everything(ours)} == {("1", "{'m': [1]}"), ("5", "{'m': [5]}"), ("9", "{'m': [9]}")}
    r = serve.server.run("import", file, "--user", serve.user, "--on-error", "stop", check=2)
    assert "stopped at the first bad row" in r.stderr and r.stderr.count(": thread ") == 1


def test_other_content_under_the_same_name(serve, tmp_path):
    [t] = names("conflict", 1)
    first = old_file(tmp_path / "1.sqlite", [row(t, "1", {"m": [1], "s": "one"})], [])
    other = old_file(tmp_path / "2.sqlite", [row(t, "1", {"m": [1], "s": "two"})], [])
    serve(first)
    with saver_of(serve) as ours:
        def now():
            return ours.get_tuple(config(t)).checkpoint["channel_values"]["s"]
        assert serve(other, "--on-conflict", "skip") == {"stored": 0, "unchanged": 1, "failed": 0} and now() == "one"
        assert serve(other, "--on-conflict", "fail", check=7)["failed"] == 1 and now() == "one"
        assert serve.server.run("import", other, "--user", serve.user, "--on-conflict", "fail", "--on-error", "stop").returncode == 6
        assert serve(other) == {"stored": 1, "unchanged": 0, "failed": 0} and now() == "two"
        # Another user's thread is neither seen nor touched.
        r = serve.server.run("import", first, "--user", serve.user + "x", check=7)
        assert f"thread {t}" in r.stderr and now() == "two"


def test_many_checkpoints_and_tasks(serve, tmp_path):
    [t] = names("many", 1)
    rows = [row(t, f"{i:05}", {"m": list(range(i % 50)), "i": i}, parent=f"{i - 1:05}" if i else None) for i in range(700)]
    writes = [(t, "", "00699", f"task-{i:05}", 0, "m", *SERDE.dumps_typed(i)) for i in range(2500)]
    file = old_file(tmp_path / "many.sqlite", rows, writes)
    assert serve(file)["stored"] == 700
    assert serve(file)["unchanged"] == 700
    with saver_of(serve) as ours:
        head = ours.get_tuple(config(t))
        assert len(head.pending_writes) == 2500 and head.checkpoint["channel_values"]["i"] == 699
        assert [x.checkpoint["channel_values"]["i"] for x in ours.list(config(t))] == list(range(699, -1, -1))


# ---- sessions ----------------------------------------------------------------------------------------------------------------------


def items_of(session):
    return asyncio.run(_items(session))


async def _items(session):
    try:
        return await session.get_items()
    finally:
        if hasattr(session, "aclose"):
            await session.aclose()


def talk(n, word="x"):
    return [{"role": "user", "content": f"{word} {i} é"} if i % 2 == 0 else
            {"id": "__fake_id__", "type": "message", "role": "assistant", "status": "completed", "n": 1.0, "none": None,
             "content": [{"type": "output_text", "text": f"{word} {i}", "annotations": []}]} for i in range(n)]


def add_items(session, items):
    asyncio.run(session.add_items(items))


def raw_items(serve, name):
    """The bytes of the server's answer."""
    return serve.server.request("GET", f"/cenote/v1/sessions/{name}/items", headers={"X-Cenote-User": serve.user}).body


def test_session_file(serve, tmp_path):
    [a, b] = names("session", 2)
    file = tmp_path / "s.sqlite"
    with contextlib.closing(SQLiteSession(a, file)) as one, contextlib.closing(SQLiteSession(b, file)) as two:
        add_items(one, talk(5))
        add_items(two, talk(1500, "long"))
        add_items(one, talk(2, "more"))
        before = digest(file)
        assert serve(file, "--dry-run") == {"stored": 1507, "unchanged": 0, "failed": 0, "dry_run": True}
        assert serve(file) == {"stored": 1507, "unchanged": 0, "failed": 0}
        after = digest(file)
        assert all(after[k] == v for k, v in before.items() if not k.endswith("-shm"))
        for name, theirs in ((a, one), (b, two)):
            assert items_of(session_of(serve, name)) == items_of(theirs)
        with contextlib.closing(sqlite3.connect(file)) as db:
            stored = [x for (x,) in db.execute("SELECT message_data FROM agent_messages WHERE session_id = ? ORDER BY id", (a,))]
        assert raw_items(serve, a).decode() == '{"data":[' + ",".join(stored) + "]}", "byte for byte"
        assert serve(file) == {"stored": 0, "unchanged": 1507, "failed": 0}
        # What the session has gone on with in the file comes along; what it has gone on with here stays.
        add_items(one, talk(1, "later"))
        add_items(session_of(serve, b), [{"role": "user", "content": "here"}])
        assert serve(file) == {"stored": 1, "unchanged": 1507, "failed": 0}
        assert items_of(session_of(serve, a)) == items_of(one)
        assert len(items_of(session_of(serve, b))) == 1501
        # Other items: reported and left alone, unless asked for.
        asyncio.run(one.pop_item())
        add_items(one, talk(1, "another"))
        r = serve.server.run("import", file, "--user", serve.user, check=7)
        assert f"session {a}: exists already with other items" in r.stderr
        assert items_of(session_of(serve, a))[-1]["content"].startswith("later")
        assert serve(file, "--on-conflict", "skip")["failed"] == 0
        assert items_of(session_of(serve, a))[-1]["content"].startswith("later")
        assert serve(file, "--on-conflict", "replace")["stored"] == 8
        assert items_of(session_of(serve, a)) == items_of(one)


def test_items_that_cannot_be_read(serve, tmp_path):
    [a] = names("unread", 1)
    file = tmp_path / "s.sqlite"
    SQLiteSession(a, file).close()
    rows = ['{"role": "user"}', "not json", "[]", '{"n": NaN}', '{"t": "\\ud83d"}', '{"z" :  1.50}']
    with contextlib.closing(sqlite3.connect(file)) as db:
        db.execute("INSERT INTO agent_sessions(session_id) VALUES (?)", (a,))
        db.executemany("INSERT INTO agent_messages(session_id, message_data) VALUES (?, ?)", [(a, r) for r in rows])
        db.execute("INSERT INTO agent_messages(session_id, message_data) VALUES (?, ?)", (a, b"{}"))
        db.commit()
    r = serve.server.run("import", file, "--user", serve.user, "-o", "json", check=7)
    assert json.loads(r.stdout) == {"stored": 2, "unchanged": 0, "failed": 5}
    for n in (2, 3, 4, 5, 7):
        assert f"session {a}, row {n}:" in r.stderr
    assert raw_items(serve, a) == b'{"data":[{"role": "user"},{"z" :  1.50}]}'
    assert serve(file, check=7) == {"stored": 0, "unchanged": 2, "failed": 5}


def test_advanced_session_with_branches(serve, tmp_path):
    [a, plain] = names("advanced", 2)
    file = tmp_path / "s.sqlite"

    async def write():
        s = AdvancedSQLiteSession(session_id=a, db_path=file, create_tables=True)
        await s.add_items(talk(6))
        await s.create_branch_from_turn(2, "other way")
        await s.add_items(talk(3, "branch"))
        await s.switch_to_branch("main")
        await s.add_items(talk(2, "main"))
        want = await s.get_items(), await s.get_items(branch_id="other way")
        s.close()
        return want

    main, branch = asyncio.run(write())
    with contextlib.closing(SQLiteSession(plain, file)) as s:
        add_items(s, talk(3, "plain"))
    assert serve(file) == {"stored": len(main) + len(branch) + 3, "unchanged": 0, "failed": 0}
    assert main != branch and main[:2] == branch[:2]
    assert items_of(session_of(serve, a)) == main
    assert items_of(session_of(serve, f"{a}#other way")) == branch
    assert items_of(session_of(serve, plain)) == talk(3, "plain")
    assert serve(file)["unchanged"] == len(main) + len(branch) + 3


@pytest.mark.parametrize("kind_of", ["AsyncSQLiteSession", "SQLAlchemySession"])
def test_other_sessions(serve, tmp_path, kind_of):
    from agents.extensions import memory
    [a] = names("kind", 1)
    file = tmp_path / "s.sqlite"

    async def write():
        if kind_of == "SQLAlchemySession":
            s = memory.SQLAlchemySession.from_url(a, url=f"sqlite+aiosqlite:///{file}", create_tables=True)
        else:
            s = memory.AsyncSQLiteSession(a, file)
        await s.add_items(talk(4))
        want = await s.get_items()
        await (s.engine.dispose() if kind_of == "SQLAlchemySession" else s.close())
        return want

    want = asyncio.run(write())
    assert serve(file)["stored"] == 4 and items_of(session_of(serve, a)) == want == talk(4)
    assert serve(file)["unchanged"] == 4


def test_both_in_one_file_and_tables_of_other_names(serve, tmp_path):
    [t, a] = names("both", 2)
    file = tmp_path / "all.sqlite"
    with SqliteSaver.from_conn_string(str(file)) as theirs:
        run(theirs, [t])
        n = len(everything(theirs))
    with contextlib.closing(SQLiteSession(a, file, sessions_table="my_sessions", messages_table="my_items")) as s:
        add_items(s, talk(2))
    assert serve(file)["stored"] == n + 2
    assert items_of(session_of(serve, a)) == talk(2)


# ---- files that are something else -------------------------------------------------------------------------------------------------


def refused(serve, file, *flags, code=2):
    r = serve.server.run("import", file, *flags, check=code)
    return r.stderr


def test_other_files(serve, tmp_path):
    other = tmp_path / "other.db"
    with contextlib.closing(sqlite3.connect(other)) as db:
        db.execute("CREATE TABLE books(id, title)")
        db.execute("CREATE VIEW writes AS SELECT 1")
        db.commit()
    assert "neither of LangGraph's" in (e := refused(serve, other)) and "books" in e
    empty = tmp_path / "empty.db"
    with contextlib.closing(sqlite3.connect(empty)) as db:
        db.execute("PRAGMA user_version = 1")
    assert "without tables" in refused(serve, empty)
    shallow = tmp_path / "shallow.db"
    with contextlib.closing(sqlite3.connect(shallow)) as db:
        db.execute("CREATE TABLE checkpoints(thread_id, checkpoint_ns, type, checkpoint, metadata)")
    assert "no history" in refused(serve, shallow)
    text = tmp_path / "text.db"
    text.write_text('{"a":1}\n')
    assert "not a SQLite file" in refused(serve, text, "--format", "sqlite")
    assert "by its name" in serve.server.run("import", "-", stdin="SQLite format 3\0more", check=2).stderr
    own = tmp_path / "own"
    run_alone("put", "a", "k", "{}", env={"CENOTE_DATA": own}, check=0)
    [file] = own.glob("**/tenants/*.sqlite")
    assert "Cenote store" in refused(serve, file)


def test_damaged_file(serve, tmp_path):
    [t] = names("damaged", 1)
    file = old_file(tmp_path / "d.sqlite", [row(t, f"{i:05}", {"m": [i] * 300}) for i in range(300)], [])
    whole = file.read_bytes()
    file.write_bytes(whole[:len(whole) // 2])
    r = serve.server.run("import", file, "--user", serve.user)
    assert r.returncode == 1 and "damaged" in r.stderr and str(file) in r.stderr
    # Garbage in the middle of a page of data.
    broken = bytearray(whole)
    for at in range(40960, 45056):
        broken[at] = 0xA5
    file.write_bytes(broken)
    r = serve.server.run("import", file, "--user", serve.user)
    assert r.returncode in (1, 7) and ("damaged" in r.stderr or "cannot be read" in r.stderr)
    file.write_bytes(whole)
    assert serve(file)["failed"] == 0
    with saver_of(serve) as ours:
        assert len(list(ours.list(config(t)))) == 300
