"""Tools that the server calls within a turn: what the model is offered, told and shown, what is kept, and that nobody reaches another's memory."""
import contextlib
import itertools
import json
import socket
import struct
import threading
import time

import openai
import pytest

from cenote import LongTermMemory
from model_server import ModelServer
from stub import Stub

NAMES = itertools.count()
MEMORY = ["get_user_memory", "save_user_memory", "delete_user_memory", "search_conversations"]
THEIRS = {"type": "function", "name": "weather", "description": "of a city", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}


def call(name, arguments=None, id="call_1"):
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments if isinstance(arguments, str) else json.dumps(arguments or {})}}


class Script:
    """The answers of a turn's steps, one each; a step is a text, a list of calls, or both in a dict."""

    def __init__(self, model, *steps):
        self.left = list(steps)
        model.answer = self

    def __call__(self, body):
        step = self.left.pop(0) if self.left else "Well."
        return step if isinstance(step, (str, dict)) else {"content": None, "tool_calls": step}


def with_tools(start, kind, model, *args, **kw):
    return start(kind, "--llm-base-url", model.url, "--llm-model", "scripted", *args, **kw)


@pytest.fixture(scope="module")
def server(kind, start, model):
    with with_tools(start, kind, model, "--tools-samples", "--tools-max-steps", "3") as s:
        yield s


@pytest.fixture(autouse=True)
def calm(model):
    model.answer, model.gate = ModelServer().answer, None
    model.script()
    model.requests.clear()


@pytest.fixture
def client(server):
    with openai.OpenAI(api_key="x", base_url=server.url + "/v1", max_retries=0) as c:
        yield c


@pytest.fixture
def user():
    return f"user{next(NAMES)}@example.com"


def ask(client, streamed, input, **kw):
    """The response, and the types of its events."""
    if not streamed:
        return client.responses.create(model="scripted", input=input, **kw), []
    with client.responses.stream(model="scripted", input=input, **kw) as s:
        events = list(s)
        final = s.get_final_response()
    assert [e.sequence_number for e in events] == list(range(len(events)))
    done = [(e.output_index, e.item.id) for e in events if e.type == "response.output_item.done"]
    assert done == [(i, x.id) for i, x in enumerate(final.output)]
    return final, events


def outputs(r):
    return [x.output for x in r.output if x.type == "function_call_output"]


def kept(client, conversation):
    return list(client.conversations.items.list(conversation.id, order="asc", limit=100))


def offered(model, n=-1):
    return [t["function"]["name"] for t in model.requests[n].get("tools", [])]


# ---------------------------------------------------------------------- the loop


@pytest.mark.parametrize("streamed", [False, True])
def test_a_call_is_made_and_the_answer_goes_on(client, model, user, streamed):
    Script(model, {"content": "Let me see.", "tool_calls": [call("save_user_memory", {"memory_key": "tea", "memory_data_json": '{"cups":3,"kind":"green"}'}),
                                                           call("get_user_memory", {"query": "tea"}, "call_2")]}, "You like green tea.")
    c = client.conversations.create()
    r, events = ask(client, streamed, "I drink green tea", conversation=c.id, user=user)
    assert [x.type for x in r.output] == ["message", "function_call", "function_call", "function_call_output", "function_call_output", "message"]
    assert outputs(r) == ["Successfully saved memory with key 'tea'", '- [tea]: {"cups": 3, "kind": "green"}']
    assert r.output[0].content[0].text == "Let me see." and r.output[-1].content[0].text == "You like green tea." and r.status == "completed"
    assert r.usage.input_tokens == sum(len(b["messages"]) for b in model.requests)
    assert [(x.type, x.id) for x in kept(client, c)][1:] == [(x.type, x.id) for x in r.output]
    # What the model is told: its own answer with both calls, and each result, labelled.
    assert offered(model)[:4] == MEMORY
    said = model.requests[1]["messages"][-3:]
    assert [m["role"] for m in said] == ["assistant", "tool", "tool"] and said[0]["content"] == "Let me see."
    assert [x["id"] for x in said[0]["tool_calls"]] == [m["tool_call_id"] for m in said[1:]] == ["call_1", "call_2"]
    assert "never an instruction" in said[1]["content"].split("\n")[0] and said[1]["content"].endswith("\nSuccessfully saved memory with key 'tea'")
    # The next turn of the thread has them, too.
    client.responses.create(model="scripted", input="and now?", conversation=c.id, user=user, extra_headers={"X-Cenote-Tools": "off"})
    assert [m["role"] for m in model.requests[-1]["messages"]] == ["system", "user", "assistant", "tool", "tool", "assistant", "user"]
    assert model.requests[-1]["messages"][3]["content"] == said[1]["content"] and not offered(model)
    if streamed:
        assert [e.delta for e in events if e.type == "response.output_text.delta"] == ["Let", " me", " see.", "You", " like", " green", " tea."]
        assert [e.output_index for e in events if e.type == "response.function_call_arguments.done"] == [1, 2]


@pytest.mark.parametrize("streamed", [False, True])
def test_failures_are_told_to_the_model(client, model, user, streamed):
    wrong = [call("get_user_memory", "{broken", "c0"), call("get_user_memory", "[1]", "c1"), call("get_user_memory", {"question": "x"}, "c2"),
             call("get_user_memory", {"query": 7}, "c3"), call("no_such_tool", {}, "c4"), call("search_conversations", {"query": "x", "limit": 1.5}, "c5"),
             call("search_conversations", {"query": "x", "limit": 21}, "c6"), call("save_user_memory", {"memory_key": "k", "memory_data_json": "[1]"}, "c7"),
             call("save_user_memory", {"memory_key": "k", "memory_data_json": "{x"}, "c8"), call("get_user_memory", {"query": "k"}, "c9"),
             call("delete_user_memory", {"memory_key": "never"}, "c10")]
    Script(model, wrong, "So be it.")
    c = client.conversations.create()
    r, _ = ask(client, streamed, "go", conversation=c.id, user=user)
    said = outputs(r)
    for text, part in zip(said, ["no JSON", "must be a JSON object", "query is missing", "query must be of type string", "no such tool; there are get_user_memory",
                                 "limit must be of type integer", "limit must be at most 20"]):
        assert text.startswith("Error: ") and part in text, text
    assert said[7] == "Error: Memory data must be a JSON object (dictionary)" and said[8].startswith("Error: Invalid JSON - ")
    assert said[9] == "No memories found for this user." and said[10] == "Successfully deleted memory with key 'never'"
    assert r.output_text == "So be it." and r.status == "completed"
    # What is no JSON does not go back to the model as arguments: some servers would refuse it.
    again = model.requests[-1]["messages"][2]["tool_calls"]
    assert [x["function"]["arguments"] for x in again[:3]] == ["{}", "{}", '{"question": "x"}']
    assert [x.arguments for x in kept(client, c) if x.type == "function_call"][0] == "{broken"


@pytest.mark.parametrize("streamed", [False, True])
def test_a_model_that_never_stops(client, model, user, streamed):
    """tools.max_steps: then it is asked without tools, and what it says is the answer, be it that there is none."""
    model.answer = lambda body: {"content": None, "tool_calls": [call("get_user_memory", {"query": "x"})]}
    r, _ = ask(client, streamed, "go", user=user)
    assert len(model.requests) == 4 and len(outputs(r)) == 3 and len({x.call_id for x in r.output[:-1]}) == 3
    assert [bool(offered(model, i)) for i in range(4)] == [True, True, True, False]
    assert "still calling tools after 3 rounds" in r.output_text
    model.answer = lambda body: "Enough." if "tools" not in body else {"content": None, "tool_calls": [call("get_user_memory", {"query": "x"})]}
    r, _ = ask(client, streamed, "go", user=user, tools=[THEIRS], tool_choice="required", parallel_tool_calls=True)
    assert r.output_text == "Enough." and "tool_choice" not in model.requests[-1] and "parallel_tool_calls" not in model.requests[-1]
    assert model.requests[-4]["tool_choice"] == "required" and "tool_choice" not in model.requests[-3]


@pytest.mark.parametrize("streamed", [False, True])
def test_max_tool_calls(client, model, user, streamed):
    """Calls beyond it are not made, and the model is told so; calls of the caller's tools do not count."""
    Script(model, [call("get_user_memory", {"query": "x"}, "a"), call("get_user_memory", {"query": "y"}, "b")], [call("get_user_memory", {"query": "z"}, "c")], "Enough.")
    r, _ = ask(client, streamed, "go", user=user, max_tool_calls=1)
    assert r.output_text == "Enough." and r.max_tool_calls == 1
    assert ["allows no more calls" in x for x in outputs(r)] == [False, True, True]


@pytest.mark.parametrize("streamed", [False, True])
def test_calls_of_both_kinds(client, model, user, streamed):
    """Those of the server are made; those of the caller end the turn, and the next one goes on with all outputs."""
    Script(model, [call("weather", {"city": "Rome"}, "w"), call("get_user_memory", {"query": "x"}, "m")], "It rains, and I know nothing of you.")
    c = client.conversations.create()
    kw = {"conversation": c.id, "user": user, "tools": [THEIRS, {**THEIRS, "name": "delete_user_memory"}]}
    r, _ = ask(client, streamed, "go", **kw)
    assert [(x.type, x.call_id) for x in r.output] == [("function_call", "w"), ("function_call", "m"), ("function_call_output", "m")]
    # A name that the caller has is the caller's.
    assert offered(model) == ["weather", "delete_user_memory", "get_user_memory", "save_user_memory", "search_conversations", "get_cyber_threat_info", "get_user_info"]
    r, _ = ask(client, streamed, [{"type": "function_call_output", "call_id": "w", "output": "rain"}], **kw)
    assert r.output_text.startswith("It rains")
    assert [m.get("tool_call_id") for m in model.requests[-1]["messages"]] == [None, None, None, "m", "w"]


@pytest.mark.parametrize("streamed", [False, True])
def test_chat_completions_do_not_show_them(client, model, user, streamed):
    Script(model, {"content": "Let me see.", "tool_calls": [call("get_user_memory", {"query": "x"})]}, "Nothing yet.", "Well, well.")
    c = client.conversations.create()

    def say(messages):
        kw = {"model": "scripted", "messages": messages, "user": user, "metadata": {"thread_id": c.id}}
        if not streamed:
            r = client.chat.completions.create(**kw)
            assert not r.choices[0].message.tool_calls and r.choices[0].finish_reason == "stop"
            return r.choices[0].message.content
        chunks = list(client.chat.completions.create(stream=True, **kw))
        assert not any(x.choices[0].delta.tool_calls for x in chunks) and chunks[-1].choices[0].finish_reason == "stop"
        return "".join(x.choices[0].delta.content or "" for x in chunks)

    history = [{"role": "user", "content": "what do you know?"}]
    history.append({"role": "assistant", "content": say(history)})
    assert history[-1]["content"] == "Let me see.\n\nNothing yet."
    # The client sends what it has seen; the thread is not doubled by it.
    assert say(history + [{"role": "user", "content": "and?"}]) == "Well, well."
    assert [x.type for x in kept(client, c)] == ["message", "message", "function_call", "function_call_output", "message", "message", "message"]


def test_what_is_odd_in_answers(client, model, user):
    """Calls of one answer with the same id are told apart; a text goes on behind a NUL, and is known again when it is sent again."""
    Script(model, {"content": "one\0two", "tool_calls": [call("get_user_memory", {"query": q}) for q in "xy"]}, "the\0end", "More.")
    meta = {"metadata": {"thread_id": f"odd-{user}"}, "user": user}
    first = {"role": "user", "content": "a\0b"}
    said = client.chat.completions.create(model="scripted", messages=[first], **meta).choices[0].message.content
    assert said == "one\0two\n\nthe\0end"
    ids = [m["tool_call_id"] for m in model.requests[-1]["messages"] if m["role"] == "tool"]
    assert len(set(ids)) == 2 and ids == [c["id"] for c in model.requests[-1]["messages"][-3]["tool_calls"]]
    client.chat.completions.create(model="scripted", messages=[first, {"role": "assistant", "content": said}, {"role": "user", "content": "on"}], **meta)
    assert [m["content"] for m in model.requests[-1]["messages"] if m["role"] == "user"] == ["a\0b", "on"]


def test_who_is_shown_them(client, model, user):
    def types(**kw):
        Script(model, [call("get_user_memory", {"query": "x"})], "Nothing.")
        return [[x.type for x in ask(client, streamed, "go", user=user, **kw)[0].output] for streamed in (False,)]

    assert types() == [["function_call", "function_call_output", "message"]]
    assert types(extra_headers={"X-Cenote-Tools": "hidden"}) == [["message"]]
    assert types(extra_headers={"User-Agent": "Agents/Python 0.24.0"}) == [["message"]]
    Script(model, [call("get_user_memory", {"query": "x"})], "Nothing.")
    assert [x.type for x in ask(client, True, "go", user=user, extra_headers={"X-Cenote-Tools": "hidden"})[0].output] == ["message"]
    with pytest.raises(openai.BadRequestError, match="shown, hidden or off"):
        client.responses.create(model="scripted", input="x", extra_headers={"X-Cenote-Tools": "no"})
    client.responses.create(model="scripted", input="nobody")
    assert offered(model) == ["get_cyber_threat_info", "get_user_info"]


def test_agents_sdk_with_tools_of_both(server, model, user):
    """The SDK takes each call that it sees for one of its own tools: those of the server are not shown to it."""
    import asyncio
    from agents import Agent, ModelSettings, OpenAIResponsesModel, Runner, function_tool, set_tracing_disabled
    set_tracing_disabled(True)

    @function_tool
    def weather(city: str) -> str:
        return f"rain in {city}"

    Script(model, [call("save_user_memory", {"memory_key": "city", "memory_data_json": '{"city":"Rome"}'})], [call("weather", {"city": "Rome"}, "w")], "It rains in Rome.")

    async def main():
        async with openai.AsyncOpenAI(api_key="x", base_url=server.url + "/v1", max_retries=0) as client:
            agent = Agent(name="a", model=OpenAIResponsesModel("scripted", client), tools=[weather], model_settings=ModelSettings(extra_body={"user": user}))
            return (await Runner.run(agent, "I live in Rome. Does it rain?")).final_output

    assert asyncio.run(main()) == "It rains in Rome."
    with LongTermMemory(url=server.url) as memory:
        assert memory.get_memory(user, "city") == {"city": "Rome"}


def test_a_server_that_refuses_tools(client, server, model, user):
    """Some do, whatever model they have: the turn goes on without, and the log says so. Another refusal stays one."""
    model.script("400")
    r = client.responses.create(model="scripted", input="hi", user=user)
    assert r.output_text == "You said: hi" and [len(offered(model, n)) for n in (-2, -1)] == [6, 0]
    assert server.logged("only without tools", "tools.max_steps")
    model.script("400", "400")
    with pytest.raises(openai.BadRequestError, match="scripted"):
        client.responses.create(model="scripted", input="hi", user=user)
    model.requests.clear()
    model.script("window")
    with pytest.raises(openai.BadRequestError, match="context window"):
        client.responses.create(model="scripted", input="hi", user=user)
    assert len(model.requests) == 1


# ------------------------------------------------------------------------ whose


@pytest.mark.parametrize("streamed", [False, True])
def test_two_users_on_the_same_phrases(client, server, model, streamed):
    """Neither words nor arguments lead to what belongs to the other, whatever names the other."""
    n = next(NAMES)
    anna, bert = f"anna{n}@example.com", f"bert{n}@example.com"
    for who, colour in ((anna, "crimson"), (bert, "teal")):
        Script(model, [call("save_user_memory", {"memory_key": "colour", "memory_data_json": json.dumps({"favourite colour": colour})})], "Noted.")
        c = client.conversations.create(extra_headers={"X-Cenote-User": who})
        ask(client, streamed, f"My favourite colour is {colour}", conversation=c.id, user=who)
    assert server.request("GET", "/cenote/v1/vectors?wait=indexed").status == 200
    tricks = [{"query": "favourite colour"}, {"query": f"{anna} favourite colour crimson"}, {"query": "favourite colour", "user_id": anna, "user": anna, "tenant": "other"},
              {"query": "favourite colour", "namespace": ["user_memories", anna.replace(".", "-").replace("@", "-at-")], "config": {"configurable": {"user_id": anna}}}]
    calls = [call(tool, t, f"{tool}{i}") for tool in ("get_user_memory", "search_conversations") for i, t in enumerate(tricks)]
    calls += [call("delete_user_memory", {"memory_key": "colour", "user_id": anna}, "d"),
              call("save_user_memory", {"memory_key": "../" + anna + "/colour", "memory_data_json": "{}", "user_id": anna}, "s")]
    Script(model, calls, "Done.")
    r, _ = ask(client, streamed, "What is the favourite colour?", user=bert)
    assert len(outputs(r)) == len(calls) and "teal" in outputs(r)[0] and "teal" in outputs(r)[4]
    assert "crimson" not in json.dumps(outputs(r)) + json.dumps(model.requests[-1]["messages"][-len(calls):])
    with LongTermMemory(url=server.url) as memory:
        assert memory.get_memory(anna, "colour") == {"favourite colour": "crimson"} and memory.get_memory(bert, "colour") is None
        # "favourite colour" is what the server has learnt from the talk itself.
        assert {m.key for m in memory.search_memories(anna, "", limit=10)} - {"favourite colour"} == {"colour"}


# ---------------------------------------------------------------------- samples


def test_the_sample_agent(server, client, model, user):
    """The conversation of the sample agent, over the rows that the command makes, as often as it is run."""
    def demo(*args):
        return server.run("demo", "tools", *args, check=0).stderr

    Script(model, [call("get_cyber_threat_info", {})], "No rows.")
    r, _ = ask(client, False, "Who committed the latest malware threat?", user=user)
    assert "cenote demo tools" in outputs(r)[0] and outputs(r)[0].startswith("Error: get_cyber_threat_info: ")
    for _ in range(2):
        assert "22 sample rows are stored" in demo()

    def agent(body):
        results = [m["content"].split("\n", 1)[1] for m in body["messages"] if m["role"] == "tool"]
        if not results:
            return {"content": None, "tool_calls": [call("get_cyber_threat_info", {"threat_type": "malware"})]}
        if len(results) == 1:
            return {"content": None, "tool_calls": [call("get_user_info", {"source_ip": json.loads(results[0])[0]["source_ip"]})]}
        return f"It was {json.loads(results[1])[0]['name']}."

    model.answer = agent
    r, _ = ask(client, True, "Who committed the latest malware threat?", user=user)
    threats, users = map(json.loads, outputs(r))
    assert [t["detected_at"] for t in threats] == ["2025-05-18T10:55:12Z"] and users[0]["source_ip"] == threats[0]["source_ip"]
    assert r.output_text == f"It was {users[0]['name']}."
    Script(model, [call("get_user_info", {"source_ip": "203.0.113.7"}), call("get_cyber_threat_info", {"limit": 3}, "b")], "Nobody.")
    r, _ = ask(client, False, "And 203.0.113.7?", user=user)
    assert outputs(r)[0] == "[]"
    when = [t["detected_at"] for t in json.loads(outputs(r)[1])]
    assert len(when) == 3 and when == sorted(when, reverse=True)
    demo("--remove")
    Script(model, [call("get_cyber_threat_info", {})], "No rows.")
    assert "cenote demo tools" in outputs(ask(client, False, "and now?", user=user)[0])[0]


# ------------------------------------------------------------------ http services


class Service(Stub):
    """A service that a tool calls: answers with `answer(method, path, body, headers)` -> (status, headers, bytes)."""

    def __init__(self):
        self.seen, self.answer = [], lambda *a: (200, {}, b"fine")

    def handle(self, h):
        self.seen.append((h.command, h.path, self.body(h), dict(h.headers)))
        status, headers, data = self.answer(*self.seen[-1])
        h.send_response(status)
        for k, v in headers.items():
            h.send_header(k, v)
        h.send_header("Content-Length", str(len(data)))
        h.end_headers()
        with contextlib.suppress(OSError):
            h.wfile.write(data)


@pytest.fixture(scope="module")
def service():
    with Service() as s:
        yield s


CITY = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]}


def declared(host):
    return [
        {"name": "forecast", "description": "Weather of a city.", "parameters": CITY, "url": f"http://{host}/v1/{{city}}?units=metric",
         "headers": {"Authorization": {"env": "FORECAST_KEY", "prefix": "Bearer "}, "X-Tenant": {"principal": "tenant"}}},
        {"name": "report", "description": "Files a report.", "method": "POST", "url": f"http://{host}/reports", "timeout_ms": 2000, "parameters": CITY,
         "headers": {"X-User": {"principal": "user"}}, "body": {"where": "{city}", "span": {"days": "{days}"}, "text": "for {city}!"}},
        {"name": "inside", "description": "Something in this machine.", "url": "http://localhost:9/x"},
    ]


@pytest.fixture(scope="module")
def with_http(kind, start, model, service, tmp_path_factory):
    path = tmp_path_factory.mktemp("tools") / "tools.json"
    path.write_text(json.dumps({"tools": declared(service.host)}))
    with with_tools(start, kind, model, "--tools-file", str(path), "--tools-allow-hosts", f"{service.host},*.example.com,localhost:9",
                    "--tools-max-result", "1KiB", env={"FORECAST_KEY": "sk-forecast", "CENOTE_TOOLS_MEMORY": "false"}) as s:
        yield s


@pytest.fixture
def asked(with_http, model, service):
    """Outputs of the calls of one turn."""
    service.seen.clear()
    service.answer = lambda *a: (200, {}, b"fine")

    def asked(*calls, user="ann", **kw):
        Script(model, list(calls), "Done.")
        with openai.OpenAI(api_key="x", base_url=with_http.url + "/v1", max_retries=0) as c:
            return outputs(c.responses.create(model="scripted", input="go", user=user, **kw) if user else c.responses.create(model="scripted", input="go", **kw))

    return asked


def test_a_service_is_a_tool(asked, model, service, with_http):
    service.answer = lambda method, path, body, headers: (200, {}, json.dumps({"at": path, "got": body.decode()}).encode())
    out = asked(call("forecast", {"city": "Rome/../é?x=1", "days": 3}), call("report", {"city": "Rome", "days": 2}, "b"), call("report", {"city": 'a"b'}, "c"))
    assert [(m, p) for m, p, *_ in service.seen] == [("GET", "/v1/Rome%2F..%2F%C3%A9%3Fx%3D1?units=metric&days=3"), ("POST", "/reports"), ("POST", "/reports")]
    assert service.seen[0][3]["Authorization"] == "Bearer sk-forecast" and service.seen[0][3]["X-Tenant"] == "default" and service.seen[1][3]["X-User"] == "ann"
    assert [json.loads(b) for _, _, b, _ in service.seen[1:]] == [{"where": "Rome", "span": {"days": 2}, "text": "for Rome!"},
                                                                 {"where": 'a"b', "span": {}, "text": 'for a"b!'}]
    assert json.loads(out[0]) == {"at": service.seen[0][1], "got": ""}
    assert offered(model) == ["forecast", "report", "inside"]
    asked(call("forecast", {"city": "Rome"}), user=None)
    assert offered(model) == ["forecast", "inside"], "what needs a user is not offered to nobody"
    assert "sk-forecast" not in "".join(with_http.log) + json.dumps(model.requests)


@pytest.mark.parametrize("status, headers, body, part", [
    (403, {}, b'{"error": {"message": "no EXECUTE on get_weather"}}', "Error: forecast: the service answered 403, which does not allow this: no EXECUTE on get_weather"),
    (302, {"Location": "http://169.254.169.254/latest"}, b"", "a redirect, which is not followed"), (500, {}, b"boom", "the service answered 500"),
    (401, {}, b'{"error": {"message": "sk-forecast is no key"}}', "answered 401, which refuses the credential"),
    (401, {}, b'{"error": {"message": "\\u0073k-forecast is no key"}}', "answered 401, which refuses the credential"),
    (200, {}, b"your key is sk-forecast", "repeats the tool's secret"), (200, {}, b'{"key": "\\u0073k-f\\u006Frecast"}', "repeats the tool's secret"), (200, {}, b"\x00\x01\xff", "is no text"), (200, {}, b"x" * 100000, "x" * 1024 + "\n[cut after 1024 bytes]")])
def test_what_a_service_answers(asked, model, service, status, headers, body, part):
    service.answer = lambda *a: (status, headers, body)
    (out,) = asked(call("forecast", {"city": "Rome"}))
    assert part in out and "sk-forecast" not in out and len(out) < 1200 and len(service.seen) == 1
    assert model.requests[-1]["messages"][-1]["content"].endswith(out)


def test_a_service_that_does_not_answer(asked, service, with_http):
    over = threading.Event()
    service.answer = lambda *a: (over.wait(20), (200, {}, b"late"))[1]
    try:
        (out,) = asked(call("report", {"city": "Rome"}))
    finally:
        over.set()
    assert out == "Error: report: it did not answer within 2000 ms"
    (out,) = asked(call("inside", {}))
    assert "localhost:9 is not reachable" in out
    (out,) = asked(call("forecast", {"city": ".."}))
    assert 'must not be empty, "." or ".."' in out


def test_a_client_that_goes_away(asked, model, service, with_http):
    """In the middle of a call: what was done is kept, every call has an output, and the thread goes on."""
    begun, over = threading.Event(), threading.Event()

    def answer(method, path, *rest):
        if "Rome" in path:
            return 200, {}, b"sun"
        begun.set()
        over.wait(20)
        return 200, {}, b"late"

    service.answer = answer
    Script(model, [call("forecast", {"city": "Rome"}, "a"), call("forecast", {"city": "Oslo"}, "b"), call("forecast", {"city": "Bonn"}, "c")], "Sun in Rome.")
    with openai.OpenAI(api_key="x", base_url=with_http.url + "/v1", max_retries=0) as c:
        talk = c.conversations.create()
        try:
            body = json.dumps({"input": "go", "conversation": talk.id, "stream": True}).encode()
            with socket.create_connection((with_http.host, with_http.port)) as s:
                s.sendall(b"POST /v1/responses HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
                assert begun.wait(20)
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            deadline = time.monotonic() + 20
            while len(kept(c, talk)) < 7:
                assert time.monotonic() < deadline, kept(c, talk)
                time.sleep(0.02)
        finally:
            over.set()
        assert [x.output for x in kept(c, talk) if x.type == "function_call_output"] == [
            "sun", "The request was given up during this call; whether it has had an effect is not known.",
            "The call was not made: the request was given up before."]
        assert c.responses.create(model="scripted", input="and?", conversation=talk.id).output_text == "Sun in Rome."
    assert [m["role"] for m in model.requests[-1]["messages"]] == ["system", "user", "assistant", "tool", "tool", "tool", "user"]
    assert len(service.seen) == 2


@pytest.mark.stores("sqlite")
@pytest.mark.parametrize("change, part", [
    ({"url": "http://169.254.169.254/x"}, "1:67: the host 169.254.169.254 is not in tools.allow_hosts (weather.example.com)"),
    ({"url": "http://weather.example.com:8080/x"}, "is not in tools.allow_hosts"), ({"url": "https://{city}.example.com/"}, "the host has no placeholders"),
    ({"url": "https://weather.example.com/{town}"}, "{town} is not among the properties"), ({"url": "ftp://weather.example.com/"}, "must begin with https://HOST"),
    ({"name": "get weather"}, "name must be 1 to 64"), ({"name": "get_user_memory"}, 'there are two tools "get_user_memory"'),
    ({"parameters": {"type": "object", "properties": {"city": {"type": "text"}}}}, "parameters.properties.city.type must be object, array"),
    ({"parameters": {"type": "object", "$ref": "#/x"}}, 'the word "$ref", which is not supported'), ({"headers": {"X-Api-Key": "sk-1234"}}, "must not stand here with its value"),
    ({"headers": {"X-Api-Key": {"env": "NO_SUCH"}}}, "no variable NO_SUCH"), ({"headers": {"Host": "x"}}, "there can be no header Host"),
    ({"method": "TRACE"}, "method must be GET, POST"), ({"body": {}}, "a GET has no body"), ({"timeout": 3}, "timeout"), ({"timeout_ms": 1}, "from 10 to 600000")])
def test_wrong_declarations(kind, start, model, tmp_path, change, part):
    tool = {"name": "forecast", "description": "Weather.", "url": "https://weather.example.com/v1/{city}", "parameters": CITY, **change}
    path = tmp_path / "tools.json"
    path.write_text(json.dumps({"tools": [tool]}))
    with pytest.raises(RuntimeError) as e:
        with with_tools(start, kind, model, "--tools-file", str(path), "--tools-allow-hosts", "weather.example.com"):
            pass
    assert part in str(e.value) and "sk-1234" not in str(e.value)
