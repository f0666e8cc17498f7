"""thread_messages: a conversation as the messages of a LangGraph state, taken as they are by add_messages and chat models."""
import asyncio
import json
from typing import Annotated, TypedDict

import openai
import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage, convert_to_messages
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from model_server import ModelServer

from cenote import CenoteSaver, CenoteSession, Client, NotFoundError, athread_messages, thread_messages


def user(text):
    return {"role": "user", "content": text}


def call(id, name="find", arguments="{}"):
    return {"type": "function_call", "call_id": id, "name": name, "arguments": arguments}


def output(id, text):
    return {"type": "function_call_output", "call_id": id, "output": text}


def said(text, status="completed"):
    return {"type": "message", "role": "assistant", "status": status, "content": [{"type": "output_text", "text": text, "annotations": []}]}


def keep(client, thread, items):
    asyncio.run(CenoteSession(thread, client).add_items(items))


def short(messages):
    """Role and text; of calls and outputs their ids as well."""
    return [(m["role"], m["content"], *(c["id"] for c in m.get("tool_calls", [])), *([m["tool_call_id"]] if m["role"] == "tool" else [])) for m in messages]


@pytest.fixture
def client(server):
    with Client(server.url) as c:
        yield c


CASES = {
    "text": ([user("a"), said("b")], [("user", "a"), ("assistant", "b")]),
    "calls of a message": ([said("Let me see."), call("1"), call("2"), output("2", "two"), output("1", "one"), said("So.")],
                           [("assistant", "Let me see.", "1", "2"), ("tool", "one", "1"), ("tool", "two", "2"), ("assistant", "So.")]),
    "one after the other": ([call("1"), output("1", "one"), call("2"), output("2", "two")],
                            [("assistant", "", "1"), ("tool", "one", "1"), ("assistant", "", "2"), ("tool", "two", "2")]),
    "an id again": ([call("1"), output("1", "one"), said("a"), call("1"), output("1", "other")],
                    [("assistant", "", "1"), ("tool", "one", "1"), ("assistant", "a", "1"), ("tool", "other", "1")]),
    "an id again, the first without": ([call("1"), user("never mind"), call("1"), output("1", "one")],
                                       [("user", "never mind"), ("assistant", "", "1"), ("tool", "one", "1")]),
    "no output": ([said("Let me see."), call("1"), call("2"), output("2", "two"), user("x")],
                  [("assistant", "Let me see.", "2"), ("tool", "two", "2"), ("user", "x")]),
    "nothing but a call without": ([user("a"), call("1"), user("b")], [("user", "a"), ("user", "b")]),
    "no call": ([user("a"), output("1", "one"), said("b")], [("user", "a"), ("assistant", "b")]),
    "said in between": ([call("1"), user("hurry"), output("1", "one")], [("assistant", "", "1"), ("tool", "one", "1"), ("user", "hurry")]),
    "before the first word": ([user("a"), said("", "incomplete"), user("b")], [("user", "a"), ("user", "b")]),
    "other items": ([user("a"), {"type": "reasoning", "summary": []}, {"n": 1}, said("b")], [("user", "a"), ("assistant", "b")]),
    "other roles": ([{"role": "developer", "content": "d"}, {"role": "system", "content": "s"}], [("developer", "d"), ("system", "s")]),
    "refused": ([{"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}], [("assistant", "No.")]),
}


@pytest.mark.parametrize("case", CASES)
def test_items(client, thread, case):
    items, expected = CASES[case]
    keep(client, thread, items)
    got = thread_messages(client, thread)
    assert short(got) == expected
    assert len({m["id"] for m in got}) == len(got)
    as_messages = convert_to_messages(got)
    assert [m.id for m in as_messages] == [m["id"] for m in got]
    assert asyncio.run(athread_messages(client, thread)) == got


def test_what_messages_are_made_of(client, thread):
    image = {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "low"}
    keep(client, thread, [user([{"type": "input_text", "text": "What is this?"}, image]), said("A b", "incomplete"), call("1", arguments='{"a": 1}'),
                          call("2", arguments="{x"), call("3", arguments="[1]"), output("1", [{"type": "input_text", "text": "one"}]), output("2", "2"),
                          output("3", "3")])
    question, answer, *tools = convert_to_messages(thread_messages(client, thread))
    assert isinstance(question, HumanMessage) and isinstance(answer, AIMessage) and all(isinstance(t, ToolMessage) for t in tools)
    assert question.content == [{"type": "text", "text": "What is this?"},
                                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}}]
    assert answer.content == "A b" and answer.response_metadata == {"status": "incomplete"}
    assert [c["args"] for c in answer.tool_calls] == [{"a": 1}, {"arguments": "{x"}, {"arguments": "[1]"}]
    assert [(t.content, t.name, t.tool_call_id) for t in tools] == [("one", "find", "1"), ("2", "find", "2"), ("3", "find", "3")]


def test_limits(client, thread):
    """Whatever the limit, the newest that there are, and never an output without its call; also where a page of items ends between them."""
    items = []
    for i in range(60):
        items += [user(f"q{i}"), said("Let me see."), call("a"), call("b"), output("a", "1"), output("b", "2"), said(f"a{i}")]
    keep(client, thread, items)
    whole = thread_messages(client, thread)
    assert len(whole) == 60 * 5 and [m["content"] for m in whole[:2]] == ["q0", "Let me see."]
    for limit in (*range(0, 12), *range(66, 76), 140, 299, 300, 301):
        got = thread_messages(client, thread, limit=limit)
        assert got == whole[300 - len(got):] and min(limit, 300) - 2 <= len(got) <= limit
        assert not got or got[0]["role"] != "tool"
    with pytest.raises(ValueError):
        thread_messages(client, thread, limit=-1)
    with pytest.raises(ValueError):
        thread_messages(client, "")


@pytest.mark.parametrize("name", ["a/b", "..", "?x=1", "é😀", "%2F"])
def test_names(server, client, name):
    keep(client, name, [user("a")])
    assert short(thread_messages(server.url, name)) == [("user", "a")]
    asyncio.run(CenoteSession(name, client).clear_session())  # other tests have these names, too


def test_whose(server, client, thread):
    """What is not there, or somebody else's, has no messages; another kind of answer is an error."""
    with Client(server.url, user="ann") as ann, Client(server.url, user="bob") as bob:
        keep(ann, thread, [user("secret")])
        assert thread_messages(bob, thread) == [] and short(thread_messages(ann, thread)) == [("user", "secret")]
    assert thread_messages(client, "nowhere") == [] and asyncio.run(athread_messages(server.url, "nowhere")) == []
    with Client(server.url + "/elsewhere", retries=0) as c, pytest.raises(NotFoundError):
        thread_messages(c, thread)


def test_a_graph_goes_on(kind, start, thread):
    """Begun over /v1/responses with a tool of the server; a graph with a model of its own goes on, and what it was given twice is there once."""
    class State(TypedDict):
        messages: Annotated[list, add_messages]

    seen = []

    def answer(state):
        seen.append(state["messages"])
        return {"messages": [("assistant", "Ada.")]}

    asked = {"id": "call_1", "type": "function", "function": {"name": "get_user_memory", "arguments": json.dumps({"query": "cat"})}}
    with ModelServer() as m, start(kind, "--llm-base-url", m.url, "--llm-model", "scripted") as s, \
            openai.OpenAI(api_key="x", base_url=s.url + "/v1", max_retries=0) as o, Client(s.url, user="ann") as c:
        m.answer = lambda body: "Noted." if body["messages"][-1]["role"] == "tool" else {"content": "Let me look.", "tool_calls": [asked]}
        o.responses.create(model="scripted", input="My cat is called Ada.", user="ann", extra_headers={"X-Cenote-Thread": thread})
        graph = StateGraph(State).add_node("answer", answer).add_edge(START, "answer").compile(checkpointer=CenoteSaver(c))
        config = {"configurable": {"thread_id": thread}}
        for _ in range(2):
            graph.update_state(config, {"messages": thread_messages(c, thread)})
        graph.invoke({"messages": [("user", "What is she called?")]}, config)
        again = StateGraph(State).add_node("answer", answer).add_edge(START, "answer").compile(checkpointer=CenoteSaver(c))
        again.invoke({"messages": [("user", "And again?")]}, config)
    assert [(type(x).__name__, x.content) for x in seen[1]] == [
        ("HumanMessage", "My cat is called Ada."), ("AIMessage", "Let me look."), ("ToolMessage", "No memories found for this user."),
        ("AIMessage", "Noted."), ("HumanMessage", "What is she called?"), ("AIMessage", "Ada."), ("HumanMessage", "And again?")]
    assert seen[1][1].tool_calls == [{"name": "get_user_memory", "args": {"query": "cat"}, "id": "call_1", "type": "tool_call"}]
