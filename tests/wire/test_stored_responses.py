"""Responses that are kept: previous_response_id, branches, GET, DELETE, input items, through the stock openai clients and the Agents SDK."""
import asyncio
import json
import threading
import time

import openai
import psycopg
import pytest

from model_server import ModelServer
from postgres import Postgres
from server import Server

CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}
TOOL = {"type": "function", "name": "weather", "description": "of a city", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
UNKNOWN = "resp_" + "0" * 15 + "1" + "a" * 24


@pytest.fixture(scope="module")
def server(kind, start, model):
    with start(kind, "--llm-base-url", model.url, "--llm-model", "scripted") as s:
        yield s


@pytest.fixture(autouse=True)
def calm(model):
    model.answer, model.gate = ModelServer().answer, None
    model.script()
    model.requests.clear()


def connect(s, key="x", **kw):
    return openai.OpenAI(api_key=key, base_url=s.url + "/v1", max_retries=0, **kw)


@pytest.fixture
def client(server):
    with connect(server) as c:
        yield c


def ask(client, text, after=None, **kw):
    return client.responses.create(model="scripted", input=text, previous_response_id=after and after.id, **kw)


def sent(model, n=-1):
    """What a request told the model, without the system message."""
    return [m.get("content") for m in model.requests[n]["messages"] if m["role"] != "system"]


def said(*texts):
    return [t for text in texts for t in (text, f"You said: {text}")]


def gone(client, id):
    with pytest.raises(openai.NotFoundError) as e:
        client.responses.retrieve(id)
    with pytest.raises(openai.NotFoundError) as follow:
        client.responses.create(model="scripted", input="x", previous_response_id=id)
    assert follow.value.code == "previous_response_not_found" and follow.value.param == "previous_response_id"
    return str(e.value)


def threads(s):
    return [t["thread"] for t in s.request("GET", "/cenote/v1/threads?limit=1000").json["data"]]


def test_a_chain(client, server, model):
    a = ask(client, "My cat is called Ada.", instructions="Be brief.", metadata={"topic": "cats"})
    assert a.store is True and a.conversation is None and a.previous_response_id is None and len(a.id) <= 64
    b = ask(client, "What is my cat called?", a)
    assert b.previous_response_id == a.id and b.status == "completed"
    assert sent(model) == said("My cat is called Ada.") + ["What is my cat called?"]
    assert model.requests[-1]["messages"][0]["content"] != "Be brief."  # instructions are not carried over
    c = ask(client, "Thanks.", b)
    assert sent(model) == said("My cat is called Ada.", "What is my cat called?") + ["Thanks."]
    for r in (a, b, c):
        assert client.responses.retrieve(r.id).to_dict() == r.to_dict()
    # all of it lies in one thread, in the order in which it was said
    (thread,) = [t for t in threads(server) if "chain_" in t and [x.content[0].text for x in client.conversations.items.list(t, order="asc")] ==
                 said("My cat is called Ada.", "What is my cat called?", "Thanks.")]
    assert client.conversations.items.list(thread).data[0].id == c.output[0].id


def test_branches(client, model):
    a = ask(client, "one")
    b, c = ask(client, "two", a), ask(client, "three", a)
    assert sent(model) == said("one") + ["three"]
    d, e = ask(client, "four", b), ask(client, "five", c)
    assert sent(model, -2) == said("one", "two") + ["four"] and sent(model) == said("one", "three") + ["five"]
    ask(client, "six", b)
    assert sent(model) == said("one", "two") + ["six"]
    ask(client, "seven", e)
    assert sent(model) == said("one", "three", "five") + ["seven"]
    assert client.responses.retrieve(d.id).output_text == "You said: four"


def test_branches_at_once(client, model):
    """Of those who follow one response at the same time none sees what the others said."""
    a = ask(client, "one")
    got = {}

    def follow(i):
        got[i] = ask(client, f"branch {i}", a)

    all = [threading.Thread(target=follow, args=(i,)) for i in range(8)]
    [t.start() for t in all]
    [t.join() for t in all]
    for i in range(8):
        ask(client, "and then", got[i])
        assert sent(model) == said("one", f"branch {i}") + ["and then"]


def test_streamed_with_tools(client, model):
    model.answer = lambda body: "It rains." if body["messages"][-1]["role"] == "tool" else {"tool_calls": [CALL]}
    with client.responses.stream(model="scripted", input="Weather?", tools=[TOOL]) as s:
        a = s.get_final_response()
    kept = client.responses.retrieve(a.id)
    assert kept.output[0].type == "function_call" and kept.output[0].id == a.output[0].id and kept.output[0].arguments == a.output[0].arguments
    assert (kept.status, kept.usage, kept.created_at) == ("completed", a.usage, a.created_at)
    with client.responses.stream(model="scripted", input=[{"type": "function_call_output", "call_id": "call_1", "output": "rain"}], tools=[TOOL],
                                 previous_response_id=a.id) as s:
        b = s.get_final_response()
    assert b.output_text == "It rains." and [m["role"] for m in model.requests[-1]["messages"]] == ["system", "user", "assistant", "tool"]
    assert client.responses.retrieve(b.id).previous_response_id == a.id
    assert [x.type for x in client.responses.input_items.list(b.id)] == ["function_call_output"]


def test_agents_sdk(server, model):
    from agents import Agent, OpenAIResponsesModel, Runner, function_tool, set_tracing_disabled
    set_tracing_disabled(True)

    @function_tool
    def weather(city: str) -> str:
        return f"rain in {city}"

    def answer(body):
        last = body["messages"][-1]
        return last["content"] if last["role"] == "tool" else {"tool_calls": [CALL]} if "Weather" in last["content"] else f"You said: {last['content']}"

    async def main():
        async with openai.AsyncOpenAI(api_key="x", base_url=server.url + "/v1", max_retries=0) as c:
            agent = Agent(name="a", instructions="Help.", model=OpenAIResponsesModel("scripted", c), tools=[weather])
            one = await Runner.run(agent, "Weather in Rome?", auto_previous_response_id=True)
            assert one.final_output == "rain in Rome"
            two = Runner.run_streamed(agent, "Thank you.", previous_response_id=one.last_response_id)
            async for _ in two.stream_events():
                pass
            assert two.final_output == "You said: Thank you."

    model.answer = answer
    asyncio.run(main())
    assert [m["role"] for m in model.requests[-1]["messages"]] == ["system", "user", "assistant", "tool", "assistant", "user"]


def test_what_is_unknown(client, server, model):
    a = ask(client, "one")
    c = client.conversations.create()
    for kw in ({"conversation": c.id}, {"extra_headers": {"X-Cenote-Thread": "mine"}}):
        with pytest.raises(openai.BadRequestError) as e:
            ask(client, "x", a, **kw)
        assert e.value.param == "previous_response_id"
    for id in (UNKNOWN, "resp_1", "x", a.id[:-1] + ("0" if a.id[-1] != "0" else "1"), a.id.upper()):
        gone(client, id)
    with pytest.raises(openai.BadRequestError):
        client.responses.create(model="scripted", input="x", extra_body={"previous_response_id": 3})
    model.requests.clear()
    for method, path, body in (("GET", f"/v1/responses/{a.id}?stream=true", None), ("POST", f"/v1/responses/{a.id}/cancel", None),
                               ("POST", "/v1/responses/compact", {"model": "scripted", "input": "x"}), ("POST", "/v1/responses/input_tokens", {"input": "x"})):
        r = server.request(method, path, body)
        assert r.status == 400 and r.json["error"]["type"] == "invalid_request_error" and r.json["error"]["message"], r
    assert not model.requests


def test_delete(client, server):
    a = ask(client, "one")
    b = ask(client, "two", a)
    c = ask(client, "three", b)
    before = threads(server)
    assert client.responses.delete(b.id) is None
    gone(client, b.id)
    assert client.responses.retrieve(c.id).output_text == "You said: three"
    d = ask(client, "four", c)  # what was said stays for those who followed
    client.responses.delete(d.id)
    client.responses.delete(c.id)
    e = ask(client, "five", a)  # and goes with the last of them
    assert threads(server) == before
    for r in (a, e):
        client.responses.delete(r.id)
        gone(client, r.id)
    (thread,) = set(before) - set(threads(server))
    assert "chain_" in thread


def test_delete_says_what_others_see(client, model):
    a = ask(client, "one")
    b = ask(client, "two", a)
    client.responses.delete(a.id)
    ask(client, "three", b)
    assert sent(model) == said("one", "two") + ["three"]


def test_not_stored(client, server, model):
    before = threads(server)
    a = ask(client, "one", store=False)
    assert a.store is False and threads(server) == before
    gone(client, a.id)
    b = ask(client, "two")
    ask(client, "three", b)
    c = ask(client, "four", b, store=False)  # the history is known, nothing is kept, nobody else's words are seen
    assert sent(model) == said("two") + ["four"] and c.previous_response_id == b.id and c.store is False
    gone(client, c.id)


def test_input_items(client):
    items = [{"role": "user", "content": f"m{i}"} for i in range(5)]
    a = ask(client, items)
    got = list(client.responses.input_items.list(a.id, order="asc", limit=2))
    assert [x.content[0].text for x in got] == [f"m{i}" for i in range(5)] and len({x.id for x in got}) == 5
    assert [x.id for x in client.responses.input_items.list(a.id, limit=3)] == [x.id for x in got][::-1]
    assert [x.id for x in client.responses.input_items.list(a.id, order="asc", after=got[3].id)] == [got[4].id]
    with pytest.raises(openai.NotFoundError):
        list(client.responses.input_items.list(a.id, after="msg_none"))


def test_in_a_conversation(client, model):
    """Whoever follows a response of a conversation leaves that as it is."""
    c = client.conversations.create()
    a = client.responses.create(model="scripted", input="one", conversation=c.id)
    assert client.responses.retrieve(a.id).to_dict() == a.to_dict() and a.conversation.id == c.id
    b = ask(client, "two", a)
    assert sent(model) == said("one") + ["two"] and b.conversation is None
    assert len(client.conversations.items.list(c.id).data) == 2
    # Without the conversation there is no response of it either; the copy is another talk.
    client.conversations.delete(c.id)
    gone(client, a.id)
    ask(client, "three", b)
    assert sent(model) == said("one", "two") + ["three"]


def test_a_long_input_goes_whole(client, model):
    ask(client, [{"role": "user", "content": f"m{i}"} for i in range(60)])
    assert len(sent(model)) == 60


def test_window(kind, start, model):
    """A chain has the limits of a conversation."""
    with start(kind, "--llm-base-url", model.url, "--llm-model", "scripted", "--memory-max-history", "4") as s, connect(s) as c:
        a = None
        for i in range(4):
            a = ask(c, f"m{i}", a)
        assert sent(model) == ["You said: m1", "m2", "You said: m2", "m3"]
        ask(c, "m4", a, store=False)
        assert sent(model) == ["You said: m2", "m3", "You said: m3", "m4"]


def test_cut(client, model):
    model.answer = lambda body: "one two three"
    model.script("cut:2")
    events = list(client.responses.create(model="scripted", input="count", stream=True))
    assert events[-1].type == "response.failed"
    id = events[0].response.id
    r = client.responses.retrieve(id)
    assert r.status == "failed" and r.error.code == "server_error" and r.output[0].status == "incomplete" and r.output_text == "one two"
    client.responses.create(model="scripted", input="go on", previous_response_id=id)
    assert sent(model) == ["count", "one two", "go on"]


def test_given_up_by_the_caller(client, model):
    model.answer, model.gate = lambda body: "one " + "two " * 20000, threading.Event()
    with client.responses.create(model="scripted", input="count", stream=True) as stream:
        id = next(e for e in stream if e.type == "response.created").response.id
        next(e for e in stream if e.type == "response.output_text.delta")
    model.gate.set()
    end = time.monotonic() + 30
    while not client.responses.retrieve(id).output_text:  # until then an empty one stands for it
        assert time.monotonic() < end
        time.sleep(0.02)
    r = client.responses.retrieve(id)
    assert r.status == "incomplete" and r.output[0].status == "incomplete" and r.output_text.startswith("one")
    model.answer, model.gate = ModelServer().answer, None
    client.responses.create(model="scripted", input="go on", previous_response_id=id)
    assert sent(model) == ["count", r.output_text, "go on"]


def test_killed(kind, start, model):
    """The id of a streamed response that somebody was told still names it."""
    model.answer, model.gate = lambda body: "one two", threading.Event()
    with start(kind, "--llm-base-url", model.url, "--llm-model", "scripted") as s:
        with connect(s) as c:
            stream = c.responses.create(model="scripted", input="count", stream=True)
            id = next(e for e in stream if e.type == "response.created").response.id
            s.kill()
        model.gate.set()
        model.gate = None
        s.start()
        with connect(s) as c:
            r = c.responses.retrieve(id)
            assert r.status == "incomplete" and [x.status for x in r.output] == ["incomplete"]
            assert [x.content[0].text for x in c.responses.input_items.list(id)] == ["count"]
            b = c.responses.create(model="scripted", input="go on", previous_response_id=id)
            assert b.output_text == "one two" and sent(model) == ["count", "go on"]
            assert c.responses.retrieve(b.id).to_dict() == b.to_dict()


def test_database_down(model):
    """Who follows a response needs the store; who does not is answered, and told that the answer is not stored."""
    with Postgres(fsync="off") as pg, Server("--llm-base-url", model.url, "--llm-model", "scripted", store=pg.url) as s, connect(s) as c:
        a = ask(c, "one")
        pg.stop("immediate")
        with pytest.raises(openai.InternalServerError):
            ask(c, "two", a)
        b = ask(c, "three")
        assert b.output_text == "You said: three" and b.store is False and len(model.requests) == 2
        pg.start()
        end = time.monotonic() + 30
        while s.request("GET", "/readyz").status != 200:
            assert time.monotonic() < end
            time.sleep(0.1)
        gone(c, b.id)
        ask(c, "two", a)
        assert sent(model) == said("one") + ["two"]


def test_in_a_table_of_somebody_else(pg_url, model):
    """Conversations that lie in a program's own table `conversations`: what is kept of their responses goes with their rows."""
    with psycopg.connect(pg_url, autocommit=True) as db:
        db.execute("CREATE TABLE conversations (id SERIAL PRIMARY KEY, session_id VARCHAR(255) NOT NULL, role VARCHAR(50) NOT NULL,"
                   " content TEXT NOT NULL, timestamp TIMESTAMP DEFAULT CURRENT_TIMESTAMP, metadata JSONB)")
        db.execute("INSERT INTO conversations(session_id, role, content) VALUES ('u1', 'user', 'zero'), ('u2', 'user', 'zero')")

        def values():
            return db.execute("SELECT count(*) FROM cenote_value WHERE name LIKE 'entry:%'").fetchone()[0]

        with Server("--llm-base-url", model.url, "--llm-model", "scripted", store=pg_url) as s, connect(s) as c:
            a, b = (c.responses.create(model="scripted", input=text, conversation="u1") for text in ("one", "two"))
            other = c.responses.create(model="scripted", input="one", conversation="u2")
            assert db.execute("SELECT count(*) FROM conversations").fetchone() == (8,) and values() == 3
            assert c.responses.retrieve(a.id).to_dict() == a.to_dict()
            ask(c, "three", a)
            assert sent(model) == ["zero"] + said("one") + ["three"] and values() == 4
            first = c.responses.input_items.list(b.id).data[0].id
            c.conversations.items.delete(first, conversation_id="u1")
            gone(c, b.id)
            assert values() == 3
            c.conversations.delete("u1")
            gone(c, a.id)
            assert values() == 2
            s.request("POST", "/cenote/v1/sessions/u2/items", {"items": [{"role": "user", "content": "new"}], "replace": True})
            gone(c, other.id)
            assert values() == 1 and c.responses.retrieve(ask(c, "four").id).output_text == "You said: four"


def test_sent_again(client, server, model):
    """A call that failed and is sent again by the client is kept once."""
    a = ask(client, "one")
    body = {"model": "scripted", "input": "two", "previous_response_id": a.id}
    model.script("400")
    assert server.request("POST", "/v1/responses", body).status == 400
    r = server.request("POST", "/v1/responses", body, headers={"x-stainless-retry-count": "1"})
    assert r.status == 200 and sent(model) == said("one") + ["two"]
    assert len(client.responses.input_items.list(r.json["id"]).data) == 1
    b = client.responses.create(model="scripted", input="three", previous_response_id=r.json["id"])
    assert sent(model) == said("one", "two") + ["three"] and b.status == "completed"


def test_others(kind, start, model):
    """Neither another tenant nor another user learns whether there is such a response."""
    with start(kind, "--auth", "keys", "--llm-base-url", model.url, "--llm-model", "scripted") as s:
        def key(*args):
            made = json.loads(s.run("key", "create", "--json", *args, check=0).stdout)
            return connect(s, made.get("key") or made["secret"])

        ann, ben = key("--name", "ann", "--for-user", "ann"), key("--name", "ben", "--for-user", "ben")
        all, other = key("--name", "all"), key("--name", "other", "--tenant", "other")
        a = ask(ann, "My PIN is 4711.")
        b = ask(all, "Mine is 1234.", user="cal")
        for c, r in ((ben, a), (other, a), (ann, b), (other, b)):
            said_of_it, of_nothing = gone(c, r.id), gone(c, UNKNOWN)
            assert said_of_it.replace(r.id, "") == of_nothing.replace(UNKNOWN, "")
            for call in (lambda: c.responses.delete(r.id), lambda: list(c.responses.input_items.list(r.id))):
                with pytest.raises(openai.NotFoundError):
                    call()
        with pytest.raises(openai.NotFoundError):
            ask(all, "x", b, user="dee")
        with pytest.raises(openai.PermissionDeniedError):
            ask(ann, "x", a, user="ben")
        assert not any("PIN" in (t or "") for n in range(len(model.requests)) for t in sent(model, n)[:-1])
        ask(ann, "Which?", a)
        assert sent(model) == said("My PIN is 4711.") + ["Which?"]
        ask(all, "Which?", b, user="cal")
        assert sent(model) == said("Mine is 1234.") + ["Which?"]


@pytest.mark.stores("sqlite")
def test_the_other_mounts(server):
    """Below /serving-endpoints and at the root, too."""
    for base in ("/serving-endpoints", ""):
        with openai.OpenAI(api_key="x", base_url=server.url + base, max_retries=0) as c:
            a = ask(c, "one")
            b = ask(c, "two", a)
            assert c.responses.retrieve(b.id).previous_response_id == a.id
            assert len(c.responses.input_items.list(b.id).data) == 1
            c.responses.delete(b.id)
            with pytest.raises(openai.NotFoundError):
                c.responses.retrieve(b.id)
