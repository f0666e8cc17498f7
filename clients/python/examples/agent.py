"""An agent that remembers: a conversation with tools (thread), what is known about the user (store), a question before it acts (interrupt), and a way
back in time. The model is scripted, so that this runs without any service but Cenote; put a chat model in its place.

    cenote serve --store sqlite:./data &
    pip install ./clients/python langgraph
    python clients/python/examples/agent.py [URL]
"""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated, TypedDict

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.store.base import BaseStore
from langgraph.types import Command, interrupt

from cenote import CenoteSaver, CenoteSession, CenoteStore, Client


class State(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]


def model(messages: list[AnyMessage], known: list[str]) -> AIMessage:
    """Stands in for a chat model: the same interface, answers by rule."""
    last = messages[-1]
    if isinstance(last, ToolMessage):
        return AIMessage(f"Done: {last.content}")
    text = str(last.content).lower()
    if text.startswith("i like"):
        return AIMessage("", tool_calls=[{"name": "remember", "args": {"fact": str(last.content)}, "id": "1"}])
    if "book" in text:
        return AIMessage("", tool_calls=[{"name": "book", "args": {"what": "a window seat" if any("window" in k for k in known) else "any seat"}, "id": "2"}])
    return AIMessage(f"We have exchanged {len(messages)} messages. I know: {'; '.join(known) or 'nothing'}")


def call_model(state: State, *, store: BaseStore) -> State:
    """What is known about the user is searched with what the user says, in every conversation."""
    hits = store.search(("users", "ann"), query=str(state["messages"][-1].content) + " likes", limit=5)
    return {"messages": [model(state["messages"], [h.value["fact"] for h in hits])]}


def call_tool(state: State, *, store: BaseStore) -> State:
    call = state["messages"][-1].tool_calls[0]
    if call["name"] == "remember":
        store.put(("users", "ann"), call["id"], {"fact": call["args"]["fact"]})
        result = "remembered"
    else:
        answer = interrupt({"question": f"Shall I book {call['args']['what']}?"})
        result = f"booked {call['args']['what']}" if answer == "yes" else "not booked"
    return {"messages": [ToolMessage(result, tool_call_id=call["id"])]}


def build(client: Client):
    graph = StateGraph(State)
    graph.add_node("model", call_model)
    graph.add_node("tool", call_tool)
    graph.add_edge(START, "model")
    graph.add_conditional_edges("model", lambda s: "tool" if s["messages"][-1].tool_calls else END)
    graph.add_edge("tool", "model")
    return graph.compile(checkpointer=CenoteSaver(client), store=CenoteStore(client))


def say(graph, thread: str, what) -> str:
    config = {"configurable": {"thread_id": thread}}
    given = what if isinstance(what, Command) else {"messages": [HumanMessage(what)]}
    out = graph.invoke(given, config)
    answer = out["__interrupt__"][0].value["question"] if "__interrupt__" in out else out["messages"][-1].content
    print(f"{thread:8} {what.resume if isinstance(what, Command) else what:28} -> {answer}")
    return answer


async def session(client: Client) -> None:
    """The same server keeps sessions of the OpenAI Agents SDK: Runner.run(agent, input, session=...)."""
    s = CenoteSession("support-7", client)
    await s.clear_session()
    await s.add_items([{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello! What can I do?"}])
    print("session ", [i["content"] for i in await s.get_items(limit=1)])
    await client.aclose()


def main() -> None:
    url = sys.argv[1] if len(sys.argv) > 1 else None
    with Client(url) as client:
        graph = build(client)
        for thread in ("monday", "tuesday"):
            graph.checkpointer.delete_thread(thread)
        say(graph, "monday", "I like window seats")
        say(graph, "tuesday", "Book me a seat")  # another conversation, and it knows; it asks first
        graph = build(client)  # as after a restart: the question is still there
        say(graph, "tuesday", Command(resume="yes"))
        say(graph, "tuesday", "What was that?")

        # Back to the question, answered otherwise: a branch of the same thread.
        config = {"configurable": {"thread_id": "tuesday"}}
        asked = [s for s in graph.get_state_history(config) if s.next == ("tool",)][0]
        out = graph.invoke(None, asked.config)
        out = graph.invoke(Command(resume="no"), graph.get_state(config).config)
        print("branch  ", out["messages"][-1].content)
        print("history ", len(list(graph.get_state_history(config))), "checkpoints")
    asyncio.run(session(Client(url)))


if __name__ == "__main__":
    main()
