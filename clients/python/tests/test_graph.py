"""A real graph - parallel nodes, Send, a subgraph, interrupts, resuming, time travel, update_state, a delta channel - leaves the same history
with Cenote as with LangGraph's own saver in memory."""
import asyncio
import operator
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import Command, Send, interrupt
from pydantic import BaseModel

from cenote import CenoteSaver


class Note(BaseModel):
    """A type of the graph's own: made again from stored bytes as the state's schema names it."""

    text: str


def append(state: list, writes: list) -> list:
    return (state or []) + [x for w in writes for x in (w if isinstance(w, list) else [w])]


class State(TypedDict, total=False):
    messages: Annotated[list[AnyMessage], add_messages]
    log: Annotated[list[str], operator.add]
    trail: Annotated[list, DeltaChannel(append, snapshot_frequency=4)]
    note: Note
    count: int
    ratio: float
    answer: str
    parts: Annotated[list[int], operator.add]


class Sub(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    answer: str


def sub_ask(state: Sub) -> Any:
    got = interrupt({"question": "really?"})
    return {"log": [f"sub got {got}"], "answer": got}


def build(saver):
    sub = StateGraph(Sub)
    sub.add_node("prepare", lambda s: {"log": ["sub prepares"]})
    sub.add_node("ask", sub_ask)
    sub.add_edge(START, "prepare")
    sub.add_edge("prepare", "ask")
    g = StateGraph(State)
    g.add_node("begin", lambda s: {"log": ["begin"], "count": s.get("count", 0) + 1, "ratio": 1e16, "note": Note(text="n\0"), "trail": ["begin"]})
    g.add_node("left", lambda s: {"log": ["left"], "trail": ["left"]})
    g.add_node("right", lambda s: {"log": ["right"], "trail": ["right"]})
    g.add_node("part", lambda s: {"parts": [s["n"] * 10], "trail": [f"part {s['n']}"]})
    g.add_node("ask", lambda s: {"log": [f"ask got {interrupt('name?')}"]})
    g.add_node("inner", sub.compile())
    g.add_node("end", lambda s: {"messages": [AIMessage(f"{s['note'].text} {s['answer']}", id=f"a{s['count']}")], "log": ["end"]})
    g.add_edge(START, "begin")
    g.add_edge("begin", "left")
    g.add_edge("begin", "right")
    g.add_conditional_edges("begin", lambda s: [Send("part", {"n": i}) for i in range(3)], ["part"])
    g.add_edge(["left", "right"], "ask")
    g.add_edge("ask", "inner")
    g.add_edge("inner", "end")
    g.add_edge("end", END)
    return g.compile(checkpointer=saver)


def normal(graph, thread, history):
    """A history without ids and times: configs become positions."""
    ids = {s.config["configurable"]["checkpoint_id"]: i for i, s in enumerate(reversed(history))}
    out = []
    for s in history:
        meta = {k: v for k, v in s.metadata.items() if k not in ("thread_id", "parents", "run_id")}
        tasks = [(t.name, str(t.path), t.error, [i.value for i in t.interrupts], t.result and plain(t.result)) for t in s.tasks]
        out.append((plain(s.values), s.next, meta, s.parent_config and ids[s.parent_config["configurable"]["checkpoint_id"]], tasks,
                    [i.value for i in s.interrupts]))
    return out


def plain(values):
    if isinstance(values, dict):
        values = {k: v for k, v in values.items()}
        if "messages" in values:
            values["messages"] = [(type(m).__name__, m.content, m.id) for m in values["messages"]]
    return values


def story(saver, thread):
    """The whole life of a thread; what was seen on the way."""
    graph = build(saver)
    config = {"configurable": {"thread_id": thread}}
    seen = []

    def look():
        seen.append(normal(graph, thread, list(graph.get_state_history(config))))
        seen.append(plain(graph.get_state(config).values))

    seen.append(plain(graph.invoke({"messages": [HumanMessage("hello", id="h1")]}, config))["log"])
    look()
    graph.invoke(Command(resume="Ann"), config)
    state = graph.get_state(config, subgraphs=True)
    inner = state.tasks[0].state
    seen.append((state.next, [i.value for i in state.interrupts], plain(inner.values), inner.next, inner.metadata["step"]))
    look()
    seen.append([(c["log"], c.get("answer")) for c in [graph.invoke(Command(resume="yes"), config)]])
    look()

    # Back in time: the last state before the first question, answered otherwise.
    asked = [s for s in graph.get_state_history(config) if s.next == ("ask",)][-1]
    graph.invoke(None, asked.config)
    graph.invoke(Command(resume="Bob"), config)
    graph.invoke(Command(resume="no"), config)
    look()

    # By hand, then on from there; and a fork of an old state.
    graph.update_state(config, {"log": ["by hand"], "count": 41, "trail": ["by hand"]}, as_node="begin")
    look()
    graph.invoke(None, config)
    graph.invoke(Command(resume="Eve"), config)
    graph.invoke(Command(resume="perhaps"), config)
    look()
    old = list(graph.get_state_history(config))[-2]
    graph.update_state(old.config, {"log": ["forked"]})
    look()
    graph.invoke({"messages": [HumanMessage("again", id="h2")]}, config)
    look()
    seen.append([plain(s.values).get("count") for s in graph.get_state_history(config, filter={"source": "loop"}, limit=3)])
    return seen


async def astory(saver, thread, durability):
    graph = build(saver)
    config = {"configurable": {"thread_id": thread}}
    seen = []
    for given in ({"messages": [HumanMessage("hello", id="h1")]}, Command(resume="Ann"), Command(resume="yes"), {"log": ["more"]}):
        out = []
        async for event in graph.astream(given, config, stream_mode="updates", durability=durability):
            out.append(sorted(event))
        seen.append(sorted(out))
        seen.append(normal(graph, thread, [s async for s in graph.aget_state_history(config)]))
        seen.append(plain((await graph.aget_state(config)).values))
    await graph.aupdate_state(config, {"log": ["by hand"], "trail": ["x"]}, as_node="end")
    seen.append(normal(graph, thread, [s async for s in graph.aget_state_history(config)]))
    return seen


def memory():
    return InMemorySaver(serde=JsonPlusSerializer(allowed_msgpack_modules=[(__name__, "Note")]))


def test_threads(server, thread):
    with CenoteSaver.connect(server.url) as saver:
        mine, theirs = story(saver, thread), story(memory(), thread)
    assert len(mine) == len(theirs)
    for i, (a, b) in enumerate(zip(mine, theirs)):
        assert a == b, i
    assert mine[-2]["ratio"] == 1e16 and type(mine[-2]["ratio"]) is float and mine[-2]["note"].text == "n\0"
    assert mine[-2]["trail"] and max(len(h) for h in mine if isinstance(h, list)) > 20


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_event_loops(server, thread, durability):
    async def run():
        async with CenoteSaver.connect(server.url) as saver:
            return await astory(saver, thread, durability), await astory(memory(), thread, durability)

    mine, theirs = asyncio.run(run())
    for i, (a, b) in enumerate(zip(mine, theirs)):
        assert a == b, i


def test_another_process_goes_on(server, thread):
    """A saver that knows nothing of the first resumes where it stopped."""
    config = {"configurable": {"thread_id": thread}}
    with CenoteSaver.connect(server.url) as saver:
        build(saver).invoke({"messages": [HumanMessage("hello", id="h1")]}, config)
    with CenoteSaver.connect(server.url) as saver:
        graph = build(saver)
        graph.invoke(Command(resume="Ann"), config)
        out = graph.invoke(Command(resume="yes"), config)
    assert out["answer"] == "yes" and out["log"][-1] == "end" and out["messages"][-1].content == "n\0 yes"


def test_pruned_threads_go_on(server, thread):
    """After pruning the head, its delta channel and what waits for an answer are what they were."""
    config = {"configurable": {"thread_id": thread}}
    with CenoteSaver.connect(server.url) as saver:
        graph = build(saver)
        for i in range(3):
            graph.invoke({"messages": [HumanMessage("hello", id=f"h{i}")]}, config)
            graph.invoke(Command(resume="Ann"), config)
            graph.invoke(Command(resume="yes"), config)
        graph.invoke({"messages": [HumanMessage("hello", id="h9")]}, config)
        before = graph.get_state(config)
        count = len(list(saver.list(config)))
        saver.prune([thread])
        after = graph.get_state(config)
        assert plain(after.values) == plain(before.values) and after.next == before.next and after.values["trail"]
        assert len(list(saver.list(config))) < count
        graph.invoke(Command(resume="Bob"), config)
        assert graph.invoke(Command(resume="no"), config)["answer"] == "no"
