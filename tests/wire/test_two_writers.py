"""Two processes write one thread at once: no checkpoint lost, none torn. On SQLite through one daemon, on PostgreSQL through two daemons on one
database; then each call of an agent may hit another one."""
import contextlib
import multiprocessing

import pytest

from frames import Frames, checkpoint_id, frames, put_op, unframe, with_bytes
from server import WORK, Server

ENV = {"postgres-schema": {"CENOTE_PG_SCHEMA": "Other one"}, "postgres-compact": {"CENOTE_CHECKPOINTS_LAYOUT": "compact"}}
ROUNDS, TAILS = 60, ("00000000000a", "00000000000b")


@pytest.fixture
def pair(kind, start):
    """Two servers on one store; SQLite has one process per store."""
    with start(kind) as first:
        if kind == "sqlite":
            yield first, first
        else:
            with Server(store=first.store, env=ENV.get(kind)) as second:
                yield first, second


def whole(n, tail):
    """The value of a checkpoint: shares its beginning with those of its neighbours, also the other writer's."""
    return b"".join(b"message %d of a long talk; " % i for i in range(n)) + tail.encode() + b"%d" % n


class Address:
    """What a Frames needs of a Server, in another process."""

    def __init__(self, host, port):
        self.host, self.port = host, port

    request = Server.request


def writer(host, port, tail, barrier, failed):
    f = Frames(Address(host, port))
    try:
        barrier.wait()
        for n in range(ROUNDS):
            put, blobs = put_op("shared", n, parent=checkpoint_id(n - 1, tail) if n else None, value=whole(n, tail), tail=tail, metadata={"who": tail})
            writes = {"op": "writes", "thread": "shared", "ns": "", "id": put["id"], "task_id": f"task-{tail}", "writes": [[0, "messages", "bytes", 2]]}
            results, _ = f.send([put, writes], [*blobs, b"%02d" % (n % 100)])
            assert [r.get("ok") for r in results] == [{}, {}], results
            # the same row from both: who comes first stays, wholly
            common = {"op": "writes", "thread": "shared", "ns": "", "id": checkpoint_id(n, TAILS[0]), "task_id": "common",
                      "writes": [[0, "a", "bytes", 12], [1, "b", "bytes", 12]]}
            f.one(common, tail.encode(), tail.encode())
            if n % 10 == 9:
                f.one({"op": "get", "thread": "shared"})
    except BaseException as e:
        failed.put(f"{tail}: {e!r}")
        raise


@pytest.mark.stores("sqlite", "postgres", "postgres-bouncer", "postgres-compact")
def test_two_processes_write_one_thread(pair):
    ctx = multiprocessing.get_context("spawn")
    barrier, failed = ctx.Barrier(2), ctx.Queue()
    processes = [ctx.Process(target=writer, args=(s.host, s.port, tail, barrier, failed)) for s, tail in zip(pair, TAILS)]
    for p in processes:
        p.start()
    for p in processes:
        p.join(WORK)
    assert failed.empty(), failed.get()
    assert [p.exitcode for p in processes] == [0, 0]
    for server in pair:
        tuples = Frames(server).one({"op": "list", "thread": "shared"})["tuples"]
        assert [t["id"] for t in tuples] == sorted((checkpoint_id(n, tail) for n in range(ROUNDS) for tail in TAILS), reverse=True)
        for t in tuples:
            n, tail = t["metadata"]["step"], t["metadata"]["who"]
            assert t["id"] == checkpoint_id(n, tail)
            assert t["parent"] == (checkpoint_id(n - 1, tail) if n else None)
            assert [v[3] for v in t["values"]] == [whole(n, tail)]
            own = [w for w in t["writes"] if w[0] == f"task-{tail}"]
            assert [w[5] for w in own] == [b"%02d" % (n % 100)]
            common = [w[5] for w in t["writes"] if w[0] == "common"]
            assert (len(common), len(set(common))) == ((2, 1) if tail == TAILS[0] else (0, 0)), "rows of one call are one writer's"
        head = Frames(server).one({"op": "get", "thread": "shared"})
        assert head["id"] == checkpoint_id(ROUNDS - 1, TAILS[1])


@pytest.mark.stores("sqlite", "postgres", "postgres-compact")
def test_pruning_beside_a_writer_tears_nothing(pair):
    """One process grows a thread, another prunes it again and again: what remains is whole, and the last checkpoint is there."""
    ctx = multiprocessing.get_context("spawn")
    barrier, failed = ctx.Barrier(2), ctx.Queue()
    process = ctx.Process(target=writer, args=(pair[0].host, pair[0].port, TAILS[0], barrier, failed))
    process.start()
    barrier.wait()
    prunes = 0
    while process.is_alive():
        Frames(pair[1]).one({"op": "prune", "threads": ["shared"]})
        prunes += 1
    process.join()
    assert failed.empty(), failed.get()
    assert prunes > 0
    tuples = Frames(pair[1]).one({"op": "list", "thread": "shared"})["tuples"]
    assert tuples[0]["id"] == checkpoint_id(ROUNDS - 1, TAILS[0])
    for t in tuples:
        assert [v[3] for v in t["values"]] == [whole(t["metadata"]["step"], TAILS[0])]
    Frames(pair[1]).one({"op": "prune", "threads": ["shared"]})
    left = Frames(pair[0]).one({"op": "list", "thread": "shared"})["tuples"]
    assert [(t["id"], t["parent"]) for t in left] == [(checkpoint_id(ROUNDS - 1, TAILS[0]), None)]


SWITCHES = [(saver, store) for saver in (True, False) for store in (True, False)]


@pytest.mark.parametrize("short,long", SWITCHES, ids=[f"{'short' if a else 'no'}-{'long' if b else 'no'}" for a, b in SWITCHES])
def test_memory_of_either_kind_on_or_off_and_each_call_on_another_process(pair, short, long):
    """Short-term memory is the saver, long-term memory the store: two decisions. Nothing is kept in the process that calls."""
    from typing import Annotated, TypedDict

    from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
    from langgraph.graph import END, START, StateGraph
    from langgraph.graph.message import add_messages

    from cenote import CenoteSaver, CenoteStore

    class State(TypedDict):
        messages: Annotated[list[AnyMessage], add_messages]

    def node(state, *, store=None):
        if store is not None:
            n = store.get(("user_memories", "ann"), "turns")
            store.put(("user_memories", "ann"), "turns", {"n": (n.value["n"] if n else 0) + 1})
        return {"messages": [AIMessage(content=f"you have said {sum(m.type == 'human' for m in state['messages'])}")]}

    def graph(saver, store):
        from langgraph.store.base import BaseStore

        def typed(state: State, *, store: BaseStore = None):
            return node(state, store=store)
        g = StateGraph(State)
        g.add_node("node", typed)
        g.add_edge(START, "node")
        g.add_edge("node", END)
        return g.compile(checkpointer=saver, store=store)

    answers = []
    for call in range(3):
        server = pair[call % 2]
        with contextlib.ExitStack() as stack:
            saver = stack.enter_context(CenoteSaver.connect(server.url)) if short else None
            store = stack.enter_context(CenoteStore.connect(server.url)) if long else None
            config = {"configurable": {"thread_id": f"both-{short}-{long}"}}
            state = graph(saver, store).invoke({"messages": [HumanMessage(content=f"call {call}")]}, config)
            answers.append(state["messages"][-1].content)
    assert answers == [f"you have said {n + 1 if short else 1}" for n in range(3)]
    item = pair[1].request("GET", "/store/items?namespace=user_memories.ann&key=turns").json
    assert (item and item["value"]) == ({"n": 3} if long else None)
