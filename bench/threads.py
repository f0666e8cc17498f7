"""The rows on threads: checkpoints and sessions, through the Python adapters and over HTTP, beside LangGraph's PostgresSaver and the Agents SDK's
SQLAlchemySession on the same PostgreSQL in the same run."""
import asyncio
import itertools
import os
import pathlib
import random
import threading
import time

from load import SECONDS, Words, row, say, wrk
from postgres import THREADS, url
from server import Server

SHORT = min(SECONDS, 10)


def each_thread(seconds, work):
    """Calls a second of work(thread, number) by THREADS threads."""
    counts, end = [0] * THREADS, time.monotonic() + seconds

    def loop(me):
        while time.monotonic() < end:
            work(me, counts[me])
            counts[me] += 1

    threads = [threading.Thread(target=loop, args=(i,)) for i in range(THREADS)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return sum(counts) / seconds


def a_checkpoint(n, words):
    """What a step of a small graph with a message list leaves, and its new versions."""
    from langgraph.checkpoint.base import empty_checkpoint
    from langgraph.checkpoint.base.id import uuid6
    c = empty_checkpoint()
    version = f"{n + 1:032}.{random.random():016}"
    c["id"] = str(uuid6(clock_seq=n % 16000))
    c["channel_values"] = {"messages": words, "turn": n}
    c["channel_versions"] = {"messages": version, "turn": version, "branch:to:model": version}
    c["versions_seen"] = {"model": {"branch:to:model": version}, "__input__": {}}
    return c, {"messages": version, "turn": version}


def savers(folder, name, fill=0):
    """(ours, theirs, close): a CenoteSaver on a daemon and a PostgresSaver with a pool, each on its own database of one server."""
    from cenote import CenoteSaver
    from langgraph.checkpoint.postgres import PostgresSaver
    from psycopg.rows import dict_row
    from psycopg_pool import ConnectionPool
    server = Server(folder=folder / name, store=url(f"bench_{name}"))
    server.start()
    ours = CenoteSaver.connect(server.url)
    pool = ConnectionPool(url(f"bench_{name}_peer"), min_size=THREADS, max_size=THREADS, open=True,
                          kwargs={"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row})
    theirs = PostgresSaver(pool)
    theirs.setup()
    words = [Words(4).text(60) for _ in range(8)]
    for saver in (ours, theirs) if fill else ():
        for t in range(THREADS):
            parent = {"configurable": {"thread_id": f"t{t}", "checkpoint_ns": ""}}
            for n in range(fill):
                c, new = a_checkpoint(n, words)
                parent = saver.put(parent, c, {"source": "loop", "step": n, "parents": {}}, new)
                saver.put_writes(parent, [("messages", words[0]), ("turn", n)], f"task-{n}")

    def close():
        ours.close()
        pool.close()
        server.stop()

    return ours, theirs, server, close


def saver_put(folder):
    ours, theirs, server, close = savers(folder, "saver_put")
    words = [Words(4).text(60) for _ in range(8)]

    def work(saver):
        def call(me, n):
            c, new = a_checkpoint(n, words)
            saver.put({"configurable": {"thread_id": f"t{me}", "checkpoint_ns": ""}}, c, {"source": "loop", "step": n, "parents": {}}, new)
        return call

    peer = each_thread(SHORT, work(theirs))
    mine = each_thread(SHORT, work(ours))
    close()
    row("PostgreSQL: put through the Python adapter, 8 threads, against PostgresSaver.put", f"{mine / peer:.1f} times ({mine:,.0f}/s; {peer:,.0f}/s)",
        "2 times", mine >= 2 * peer)


def saver_get(folder):
    ours, theirs, server, close = savers(folder, "saver_get", fill=50)

    def work(saver):
        def call(me, n):
            assert saver.get_tuple({"configurable": {"thread_id": f"t{n % THREADS}"}})
        return call

    peer = each_thread(SHORT, work(theirs))
    mine = each_thread(SHORT, work(ours))
    row("PostgreSQL: get_tuple of the latest, Python adapter, 8 threads, against PostgresSaver.get_tuple",
        f"{mine / peer:.1f} times ({mine:,.0f}/s; {peer:,.0f}/s)", "3 times", mine >= 3 * peer)

    def listing(saver):
        def call(me, n):
            assert len(list(saver.list({"configurable": {"thread_id": f"t{n % THREADS}"}}, limit=20))) == 20
        return call

    peer = each_thread(SHORT, listing(theirs))
    mine = each_thread(SHORT, listing(ours))
    close()
    row("PostgreSQL: list limit 20, Python adapter, 8 threads, against PostgresSaver.list",
        f"{mine / peer:.1f} times ({mine:,.0f}/s; {peer:,.0f}/s)", "10 times", mine >= 10 * peer)


def over_http(folder):
    for name, store, put_goal, get_goal in (("PostgreSQL", url("bench_ckpt_http"), 8_000, 15_000), ("SQLite (FULL)", None, 15_000, 30_000)):
        with Server(folder=folder / f"ckpt-{name[0]}", store=store) as s:
            wrk(s, "checkpoint.lua", 2, CENOTE_BENCH_OP="put")
            for op, goal in (("put", put_goal), ("get", get_goal), ("list", 0)):
                rate, p50, p99 = wrk(s, "checkpoint.lua", CENOTE_BENCH_OP=op)
                what = "list of the newest 20 checkpoints" if op == "list" else f"checkpoint {op}"
                row(f"{name}: {what} over HTTP", f"{rate:,}/s, p50 {p50:.1f} ms, p99 {p99:.1f} ms", f"{goal:,}/s" if goal else "-", rate >= goal)


def sessions(folder):
    """8 tasks, each with sessions of its own: add_items of two items, then get_items(20)."""
    from agents.extensions.memory import SQLAlchemySession
    from sqlalchemy.ext.asyncio import create_async_engine
    from cenote import CenoteSession
    words = Words(4)
    items = [{"role": "user", "content": words.text(200)},
             {"id": "m", "type": "message", "role": "assistant", "status": "completed",
              "content": [{"type": "output_text", "text": words.text(400), "annotations": []}]}]

    async def rate(make, call):
        made = [await make(i) for i in range(THREADS)]
        end, count = time.monotonic() + SHORT, 0

        async def task(session):
            nonlocal count
            while time.monotonic() < end:
                await call(session)
                count += 1

        await asyncio.gather(*[task(s) for s in made])
        return count / SHORT

    async def add(session):
        await session.add_items(items)

    async def get(session):
        assert len(await session.get_items(20)) == 20

    async def measure(server, database):
        engine = create_async_engine(database.replace("postgresql://", "postgresql+psycopg://"), pool_size=THREADS)

        async def theirs(i):
            return SQLAlchemySession(f"s{i}", engine=engine, create_tables=i == 0)

        async def ours(i):
            return CenoteSession(f"s{i}", server.url)

        first = await theirs(0)
        await first.get_items(1)  # makes the tables
        result = {}
        for what, call in (("add", add), ("get", get)):
            result[what] = await rate(theirs, call), await rate(ours, call)
        await engine.dispose()
        return result

    with Server(folder=folder / "sessions", store=url("bench_sessions")) as s:
        result = asyncio.run(measure(s, url("bench_sessions_peer")))
    for what, title in (("add", "add of 2 items"), ("get", "get of the newest 20")):
        peer, mine = result[what]
        row(f"PostgreSQL: session {title}, Python, 8 tasks, against SQLAlchemySession", f"{mine / peer:.1f} times ({mine:,.0f}/s; {peer:,.0f}/s)",
            "3 times", mine >= 3 * peer)


def chat(saver, turns, thread="chat"):
    """A chat of a one-node graph whose messages are LangChain's: 3 checkpoints a turn. Returns the seconds of each turn."""
    from typing import Annotated, TypedDict
    from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
    from langgraph.graph import END, START, StateGraph
    from langgraph.graph.message import add_messages
    words = Words(11)

    class State(TypedDict):
        messages: Annotated[list[AnyMessage], add_messages]

    graph = StateGraph(State)
    graph.add_node("model", lambda state: {"messages": [AIMessage(content=words.text(200))]})
    graph.add_edge(START, "model")
    graph.add_edge("model", END)
    app, config, took = graph.compile(checkpointer=saver), {"configurable": {"thread_id": thread}}, []
    for _ in range(turns):
        began = time.monotonic()
        app.invoke({"messages": [HumanMessage(content=words.text(100))]}, config)
        took.append(time.monotonic() - began)
    return took


def indexed(server, texts):
    """Waits until recall finds what was said; it is so many texts."""
    assert server.request("GET", "/cenote/v1/vectors?wait=indexed&wait_ms=120000", timeout=150).status == 200
    had = server.request("GET", "/cenote/v1/stats").json["background"]["texts"]["texts"]
    assert had == texts, had


def size(folder):
    """What 500 turns cost in the database, with their texts for recall (recall.threads) and without vectors: every table and index of PostgresSaver,
    the whole tenant file of Cenote (less an empty one)."""
    import psycopg
    from cenote import CenoteSaver
    from langgraph.checkpoint.postgres import PostgresSaver
    database = url("bench_size_peer")
    with PostgresSaver.from_conn_string(database) as saver:
        saver.setup()
        chat(saver, 500)
    with psycopg.connect(database, autocommit=True) as c:
        c.execute("vacuum analyze")
        theirs = c.execute("select sum(pg_total_relation_size(oid)) from pg_class where relkind = 'r' and relname like 'checkpoint%'").fetchone()[0]
        theirs = int(theirs)
    with Server(folder=folder / "size") as s:
        with CenoteSaver.connect(s.url) as saver:
            turns = chat(saver, 500)
            indexed(s, 1000)
            path = s.folder / "data" / "tenants" / "default.sqlite"
        s.stop()  # truncates the log
        ours = path.stat().st_size
    row("Bytes of a chat of 500 turns, compact layout on SQLite, against PostgresSaver", f"1/{theirs / ours:.0f} ({ours / 1e6:.2f} MB; {theirs / 1e6:.1f} MB)",
        "1/20", ours * 20 <= theirs)
    say(f"turns 1-50: {sum(turns[:50]) * 20:.1f} ms each, turns 451-500: {sum(turns[-50:]) * 20:.1f} ms each")
    database = url("bench_size_compact")
    with Server("--checkpoints-layout", "compact", folder=folder / "size-pg", store=database) as s:
        with CenoteSaver.connect(s.url) as saver:
            chat(saver, 500)
            indexed(s, 1000)
    with psycopg.connect(database, autocommit=True) as c:
        c.execute("vacuum analyze")
        ours = c.execute("select sum(pg_total_relation_size(oid)) from pg_class where relkind = 'r' and relname ~ "
                         "'^cenote_(checkpoint|stream|version|chunk|pending|text)'").fetchone()[0]
        ours = int(ours)
    row("Bytes of a chat of 500 turns, compact layout on PostgreSQL, against PostgresSaver", f"1/{theirs / ours:.0f} ({ours / 1e6:.2f} MB)",
        "1/20", ours * 20 <= theirs)


def growth(folder):
    """One put of a channel that grew by 1 KB, at lengths of 100 KB and 10 MB: what the server takes beyond hashing what was sent."""
    import hashlib
    from cenote import CenoteSaver
    words = Words(12)
    with Server(folder=folder / "put-growth") as s, CenoteSaver.connect(s.url) as saver:
        result = []
        for length in (100_000, 1_000_000, 10_000_000):
            state = [words.text(1000) for _ in range(length // 1000)]
            config = {"configurable": {"thread_id": f"grow-{length}", "checkpoint_ns": ""}}
            took = []
            for n in range(12):
                state.append(words.text(1000))
                c, new = a_checkpoint(n, state)
                began = time.monotonic()
                saver.put(config, c, {"source": "loop", "step": n, "parents": {}}, new)
                took.append(time.monotonic() - began)
            data = saver.serde.dumps_typed(state)[1]
            began = time.monotonic()
            saver.serde.dumps_typed(state)
            encode = time.monotonic() - began
            began = time.monotonic()
            hashlib.sha256(data).digest()
            digest = time.monotonic() - began
            took.sort()
            result.append(f"{length / 1e6:g} MB: {took[len(took) // 2] * 1000:.1f} ms (encoding {encode * 1000:.1f}, hashing {digest * 1000:.1f})")
    row("Put of a channel that grew by 1 KB, through the adapter, SQLite", "; ".join(result), "-", True)


ROWS = {"ckpt-put": saver_put, "ckpt-get": saver_get, "ckpt-http": over_http, "ckpt-size": size, "ckpt-growth": growth, "sessions": sessions}
