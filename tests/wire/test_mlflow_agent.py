"""MLflow's and Databricks' callers of agents: /invocations in both forms, /responses, streams; threads, users, what is kept."""
import itertools
import json
import pathlib
import subprocess
import sys

import pytest

from model_server import ModelServer
from server import WORK, Server, clean_env

HERE = pathlib.Path(__file__).resolve().parent

NAMES = itertools.count()
PROMPT = "You are a helpful assistant."


@pytest.fixture(scope="module")
def server(kind, start, model):
    with start(kind, "--llm-base-url", model.url, "--llm-model", "scripted") as s:
        yield s


@pytest.fixture(autouse=True)
def calm(model):
    model.answer = ModelServer().answer
    model.script()
    model.requests.clear()


def user(text):
    return {"role": "user", "content": text}


def ask(server, body, path="/invocations", status=200, **kw):
    r = server.request("POST", path, body, **kw)
    assert r.status == status, r
    return r.json


def text(reply):
    if "choices" in reply:
        return reply["choices"][0]["message"]["content"]
    return reply["messages"][-1]["content"] if "messages" in reply else reply["output"][-1]["content"][0]["text"]


def sent(model):
    return [m["content"] for m in model.requests[-1]["messages"]]


def frames(server, body, path="/invocations"):
    """What a stream says, and that it has no line but data: and blank ones."""
    r = server.request("POST", path, {**body, "stream": True})
    assert r.status == 200 and r.headers["content-type"].startswith("text/event-stream"), r
    lines = r.body.decode().split("\n")
    assert all(not x or x.startswith("data: ") for x in lines)
    data = [x[6:] for x in lines if x]
    assert data[-1] == "[DONE]"
    return [json.loads(x) for x in data[:-1]]


def thread():
    return f"t-{next(NAMES)}"


FORMS = [lambda text: {"input": [user(text)]}, lambda text: {"messages": [user(text)]}]


@pytest.mark.parametrize("form", FORMS)
def test_a_thread_goes_on(server, model, form):
    first = ask(server, form("My cat is called Ada."))
    t = first["custom_outputs"]["thread_id"]
    assert len(t) == 36 and text(first) == "You said: My cat is called Ada."
    again = ask(server, {**form("What is she called?"), "custom_inputs": {"thread_id": t}})
    assert again["custom_outputs"] == {"thread_id": t}
    assert sent(model) == [PROMPT, "My cat is called Ada.", "You said: My cat is called Ada.", "What is she called?"]
    other = ask(server, {**form("What is she called?"), "context": {"conversation_id": thread()}})
    assert other["custom_outputs"]["thread_id"] != t and len(sent(model)) == 2


def test_the_seeds_request(server, model):
    r = ask(server, {"messages": [user("Who committed the latest malware threat?")], "custom_inputs": {"thread_id": "conversation-123"}})
    assert r["custom_outputs"] == {"thread_id": "conversation-123"} and r["choices"][0]["finish_reason"] == "stop"
    ask(server, {"messages": [user("What was their IP address?")], "custom_inputs": {"thread_id": "conversation-123"}})
    assert "Who committed the latest malware threat?" in sent(model)


@pytest.mark.parametrize("form", FORMS)
def test_streams(server, model, form):
    model.answer = lambda body: "Green tea, I believe."
    t = thread()
    events = frames(server, {**form("What do I drink?"), "custom_inputs": {"session_id": t}})
    assert events[-1]["custom_outputs"] == {"thread_id": t, "session_id": t}
    if "choices" in events[0]:
        assert "".join(e["choices"][0]["delta"].get("content", "") for e in events) == "Green tea, I believe."
    else:
        done = [e for e in events if e["type"] == "response.output_item.done"]
        assert done[-1]["custom_outputs"]["thread_id"] == t and events[-1]["type"] == "response.completed"
        assert {e["item_id"] for e in events if e["type"] == "response.output_text.delta"} == {done[0]["item"]["id"]}
        assert done[0]["item"]["content"][0]["text"] == "Green tea, I believe."
    ask(server, {**form("And now?"), "custom_inputs": {"thread_id": t}})
    assert sent(model) == [PROMPT, "What do I drink?", "Green tea, I believe.", "And now?"]


@pytest.mark.parametrize("form", FORMS)
def test_an_error_in_the_middle(server, model, form):
    model.answer = lambda body: "one two three four"
    model.script("error:2")
    events = frames(server, {**form("count"), "custom_inputs": {"thread_id": (t := thread())}})
    assert set(events[-1]["error"]) == {"message", "type", "code"}
    ask(server, {**form("go on"), "custom_inputs": {"thread_id": t}})
    assert sent(model) == [PROMPT, "count", "one two", "go on"]


def test_a_conversation_sent_whole_each_time(server, model):
    t, history = thread(), []
    for word in ("one", "two", "three"):
        history.append(user(word))
        r = ask(server, {"input": history, "custom_inputs": {"thread_id": t}})
        history += r["output"]
        assert len(sent(model)) == len(history)
    items = server.request("GET", f"/v1/conversations/{t}/items?order=asc").json["data"]
    assert [x["content"][0]["text"] for x in items] == ["one", "You said: one", "two", "You said: two", "three", "You said: three"]


def tool(name, **arguments):
    return {"id": f"call_{next(NAMES)}", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}


def with_a_tool(body):
    """Looks something up before it answers."""
    if body["messages"][-1]["role"] == "tool" or not body.get("tools"):
        return f"Answer {sum(m['role'] == 'user' for m in body['messages'])}."
    return {"content": "Let me see.", "tool_calls": [tool("get_user_memory", query="tea")]}


def shown(reply):
    """What a stock caller sends back of a reply."""
    if "output" in reply:
        return reply["output"]
    return [{"role": "assistant", "content": text(reply)}]


@pytest.mark.parametrize("key", ["input", "messages"])
@pytest.mark.parametrize("last", [100, 3])
def test_resent_with_tools(server, model, key, last):
    """Calls of the server's tools are in the thread, and shown to one kind of caller: neither doubles the thread."""
    model.answer, t, history = with_a_tool, thread(), []
    for n in range(1, 5):
        history.append(user(f"question {n}"))
        r = ask(server, {key: history[-last:], "custom_inputs": {"thread_id": t}, "context": {"user_id": "ann"}})
        assert text(r).endswith(f"Answer {n}."), r
        history += shown(r)
        asked = [m["content"] for m in model.requests[-1]["messages"] if m["role"] == "user"]
        assert asked == [f"question {i}" for i in range(max(1, n - 4), n + 1)][-len(asked):] and len(asked) == len(set(asked))
    items = server.request("GET", f"/v1/conversations/{t}/items?order=asc&limit=100").json["data"]
    assert [x["content"][0]["text"] for x in items if x.get("role") == "user"] == [f"question {i}" for i in range(1, 5)]
    assert len(items) == 4 * 5


@pytest.mark.parametrize("had", [None, "one", "one two", "one two three"])
def test_resent_after_an_answer_that_broke_off(server, model, had):
    """The caller has less of it, or more, or nothing."""
    t = thread()
    model.answer = lambda body: "one two three four"
    model.script("cut:2")
    frames(server, {"input": [user("count")], "custom_inputs": {"thread_id": t}})
    model.answer = lambda body: "well"
    history = [user("count"), *([{"role": "assistant", "content": had}] if had else []), user("go on")]
    ask(server, {"input": history, "custom_inputs": {"thread_id": t}})
    assert sent(model) == [PROMPT, "count", "one two", "go on"]


def test_more_than_the_window(kind, start, model):
    """A conversation longer than what is looked at of the thread."""
    with start(kind, "--llm-base-url", model.url, "--llm-model", "scripted", "--memory-max-history", "2") as s:
        model.answer, t, history = with_a_tool, thread(), []
        for n in range(8):
            history.append(user(f"question {n}"))
            history += shown(ask(s, {"messages": history, "custom_inputs": {"thread_id": t}}))
        items = s.request("GET", f"/v1/conversations/{t}/items?order=asc&limit=100").json["data"]
        assert [x["content"][0]["text"] for x in items if x.get("role") == "user"] == [f"question {i}" for i in range(8)]


@pytest.mark.parametrize("form", FORMS)
def test_trace_id(server, form):
    want = {"x-mlflow-return-trace-id": "true"}
    whole = server.request("POST", "/invocations", form("hi"), want)
    assert whole.json["metadata"] == {"trace_id": "tr-" + whole.headers["x-cenote-trace"]}
    r = server.request("POST", "/invocations", {**form("hi"), "stream": True, "metadata": {"k": "v"}}, want)
    lines = [x[6:] for x in r.body.decode().split("\n") if x]
    assert lines[-1] == "[DONE]" and json.loads(lines[-2]) == {"trace_id": "tr-" + r.headers["x-cenote-trace"]}
    assert "trace_id" not in json.dumps(ask(server, form("hi")))


def test_whose_body_it_is(server, model):
    """At the root /responses is of OpenAI's clients and of callers of agents."""
    agent = ask(server, {"input": [user("hi")]}, "/responses")
    assert "thread_id" in agent["custom_outputs"]
    assert "thread_id" in ask(server, {"model": "apps/mine", "input": [user("hi")]}, "/responses")["custom_outputs"]
    assert "thread_id" in ask(server, {"model": "scripted", "input": [user("hi")], "custom_inputs": {}}, "/responses")["custom_outputs"]
    assert "custom_outputs" not in ask(server, {"model": "scripted", "input": [user("hi")]}, "/responses")
    assert "error" in ask(server, {"model": "other", "input": [user("hi")]}, "/responses", 404)
    bad = ask(server, {"input": [], "custom_inputs": {}}, "/responses", 400)
    assert bad["detail"] == bad["error"]["message"]


@pytest.mark.stores("sqlite")
def test_mlflow_itself(kind, server, start, model):
    """MLflow's deployments client against each form of replies, and its types over whole replies and every event."""
    model.answer = with_a_tool
    about = {"custom_inputs": {"thread_id": "m"}, "context": {"user_id": "ann"}}
    with start(kind, "--llm-base-url", model.url, "--llm-model", "scripted", "--mlflow-chat-reply", "messages") as other:
        calls = [{"host": host.url, "inputs": {key: [user("hi")], **about, "metadata": {"k": "v"}}, "form": form, "stream": stream}
                 for host, key, form in ((server, "input", "responses"), (server, "messages", "choices"), (other, "messages", "chat"))
                 for stream in (False, True)]
        r = subprocess.run([sys.executable, HERE / "mlflow_caller.py"], input=json.dumps({"calls": calls}), capture_output=True, text=True, timeout=WORK,
                           env=clean_env(DATABRICKS_HOST=server.url, DATABRICKS_TOKEN="x", MLFLOW_DISABLE_TELEMETRY="true"))
    assert r.returncode == 0, r.stderr
    came = json.loads(r.stdout)
    assert not [x["error"] for x in came if "error" in x]
    response, events, choices, chunks, messages, frames = (x.get("reply", x.get("events")) for x in came)
    assert [x["type"] for x in response["output"]] == ["message", "function_call", "function_call_output", "message"]
    assert [e["item"]["id"] for e in events if e["type"] == "response.output_item.done"] == [x["id"] for x in events[-1]["response"]["output"]]
    assert text(choices) == "Let me see.\n\nAnswer 3." and text(messages) == "Let me see.\n\nAnswer 1."
    assert all(x["custom_outputs"] == {"thread_id": "m"} for x in (response, events[-1], choices, chunks[-1], messages, frames[-1]))
    assert len({f["delta"]["id"] for f in frames}) == 1 and frames[-1]["finish_reason"] == "stop"
    assert "".join(f["delta"]["content"] for f in frames) == "Let me see.\n\nAnswer 2."


def test_who_asks(kind, start, model):
    """A key of a user: another id in the body is refused, and so is a thread of somebody else; in a stream, too."""
    with start(kind, "--auth", "keys", "--llm-base-url", model.url, "--llm-model", "scripted") as s:
        keys = {}
        for name in ("ann", "bob"):
            made = json.loads(s.run("key", "create", "--json", "--name", name, "--tenant", "acme", "--for-user", name, check=0).stdout)
            keys[name] = {"Authorization": f"Bearer {made.get('key') or made['secret']}"}

        def as_(name, status, **more):
            r = s.request("POST", "/invocations", {"input": [user("Which tea?")], **more}, keys[name])
            assert r.status == status, r
            return r

        s.request("PUT", "/store/items", {"namespace": ["user_memories", "ann"], "key": "k", "value": {"tea": "green"}}, keys["ann"])
        t = as_("ann", 200, context={"user_id": "ann"}).json["custom_outputs"]["thread_id"]
        assert "green" in model.requests[-1]["messages"][0]["content"]
        for more in ({"context": {"user_id": "ann"}}, {"custom_inputs": {"user_id": "ann"}}, {"user": "ann"}, {"context": {"user_id": "ann"}, "stream": True}):
            assert "detail" in as_("bob", 403, **more).json
        before = len(model.requests)
        for more in ({"custom_inputs": {"thread_id": t}}, {"context": {"conversation_id": t}, "stream": True}, {"custom_inputs": {"session_id": t}}):
            assert as_("bob", 404, **more).json.keys() == {"detail"}
        assert len(model.requests) == before
        assert as_("bob", 200).headers["x-cenote-memories"] == "0" and "green" not in json.dumps(model.requests[-1])


def test_without_tables(model, pg_url):
    """The tables are gone: the chat answers, and says in header, log and figures that it has no memory."""
    import psycopg

    with Server("--llm-base-url", model.url, "--llm-model", "scripted", store=pg_url) as s:
        ask(s, {"input": [user("hi")], "custom_inputs": {"thread_id": "t"}})
        with psycopg.connect(pg_url, autocommit=True) as db:
            for (name,) in db.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall():
                db.execute(f'DROP TABLE IF EXISTS public."{name}" CASCADE')
        for form in FORMS:
            r = s.request("POST", "/invocations", {**form("still there?"), "custom_inputs": {"thread_id": "t"}})
            assert r.status == 200 and text(r.json) == "You said: still there?" and r.json["custom_outputs"] == {"thread_id": "t"}, r
            assert r.headers["x-cenote-stateless"] == "true"
        assert s.logged("Memory unavailable, using stateless mode")
        assert "\ncenote_assistant_stateless_total 2" in s.request("GET", "/metrics").body.decode()


@pytest.mark.parametrize("key", ["input", "messages"])
def test_a_question_sent_again_with_its_answer_there(server, model, key):
    """The answer was lost, or another one is wanted: the thread is not doubled, and the model sees what came before the question."""
    model.answer, t, history = with_a_tool, thread(), []
    for n in (1, 2):
        history.append(user(f"question {n}"))
        r = ask(server, {key: history, "custom_inputs": {"thread_id": t}, "context": {"user_id": "ann"}})
        history += shown(r) if n == 1 else []
    model.requests.clear()
    ask(server, {key: history, "custom_inputs": {"thread_id": t}, "context": {"user_id": "ann"}})
    asked = [m for m in model.requests[0]["messages"] if m["role"] == "user"]
    assert [m["content"] for m in asked] == ["question 1", "question 2"] and model.requests[0]["messages"][-1] == asked[-1]
    items = server.request("GET", f"/v1/conversations/{t}/items?order=asc&limit=100").json["data"]
    assert [x["content"][0]["text"] for x in items if x.get("role") == "user"] == ["question 1", "question 2"] and len(items) == 5 + 9
    history += [*shown(r), user("question 3")]
    ask(server, {key: history, "custom_inputs": {"thread_id": t}, "context": {"user_id": "ann"}})
    items = server.request("GET", f"/v1/conversations/{t}/items?order=asc&limit=100").json["data"]
    assert [x["content"][0]["text"] for x in items if x.get("role") == "user"] == ["question 1", "question 2", "question 3"]
