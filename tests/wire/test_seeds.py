"""Four agents as people write them, from the first word to the last: an assistant on the command line, a security agent behind /invocations, long-term
memory with its tools, a stateful agent that prepares each turn from both memories and keeps what came of it. What each part does in every case is
proven in test_chat, test_mlflow_agent, test_tools and test_remember; here the parts play together, as the agents' own documents promise."""
import json
import uuid

import psycopg
import pytest

from cenote import LongTermMemory, make_predict_fn
from model_server import ModelServer
from server import run
from test_remember import until


@pytest.fixture
def model():
    with ModelServer(key="dapi-token") as m:
        yield m


def serve(start, kind, model, config, *args):
    """With the model where Databricks has it: two variables and nothing else say where."""
    return start(kind, "--config", str(config), *args, env={"DATABRICKS_HOST": model.url.removesuffix("/v1"), "DATABRICKS_TOKEN": "dapi-token"})


def said(body):
    """What a model sees of the conversation: role and text, without the prompt."""
    return [(m["role"], m["content"]) for m in body["messages"] if m["role"] != "system"]


def prompt(body):
    return body["messages"][0]["content"]


def call(name, **arguments):
    return {"id": f"call_{uuid.uuid4().hex[:8]}", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}


def results(body):
    """Results of tools since the last question, without the label that says what they are."""
    found = []
    for m in body["messages"]:
        found = [] if m["role"] == "user" else found + [m["content"].split("\n", 1)[1]] if m["role"] == "tool" else found
    return found


def rows(s, sql, *args):
    with psycopg.connect(s.store) as db:
        return db.execute(sql, args).fetchall()


# ------------------------------------------------- an assistant that remembers conversations


def test_a_context_aware_assistant(kind, start, model, tmp_path):
    """Made by `cenote init`, talked with on the command line."""
    def assistant(body):
        if body["messages"][-1]["content"] != "What is my cat called?":
            return "Noted."
        return "Ada." if "my cat is called Ada" in json.dumps(body["messages"]) else "I do not know."

    def talk(*lines):
        r = run("chat", "--user", "ann", "--json", env={"CENOTE_SERVER": s.url, "XDG_CONFIG_HOME": tmp_path, "XDG_STATE_HOME": tmp_path}, stdin="\n".join(lines))
        events = [json.loads(x) for x in r.stdout.splitlines()]
        return events[0]["thread"], [e["text"] for e in events if e["event"] == "answer"], [e["detail"] for e in events if e["event"] == "error"]

    model.answer = assistant
    run("init", "demo", tmp_path / "demo", check=0)
    with serve(start, kind, model, tmp_path / "demo" / "config.yaml") as s:
        # Context-aware: the second turn's request holds the first; the model, its prompt and whether it streams are those of the file.
        first, answers, _ = talk("Hello, my cat is called Ada. I live in Rome.", "What is my cat called?")
        assert answers == ["Noted.", "Ada."]
        asked = model.requests[-1]
        assert said(asked) == [("user", "Hello, my cat is called Ada. I live in Rome."), ("assistant", "Noted."), ("user", "What is my cat called?")]
        assert asked["model"] == "databricks-claude-sonnet-4-5" and not asked.get("stream") and prompt(asked).startswith("You are a helpful assistant.")
        # One id from start to end: two messages are four rows; and one trace for each turn, with that id.
        shown = s.run("sessions", "show", first, "--user", "ann", "-o", "ndjson", check=0).stdout.splitlines()
        assert [json.loads(x)["role"] for x in shown] == ["user", "assistant"] * 2
        traced = lambda: [json.loads(x) for x in s.run("traces", "--server", s.url, check=0).stdout.splitlines()]  # noqa: E731
        until(lambda: [x["thread"] for x in traced() if x["name"] == "turn"] == [first] * 2)
        # The next start has a new id, and knows what was learnt in the first: with its source, and in a table of its own.
        fact = until(lambda: s.run("get", "user_memories.ann.facts", "home").stdout)
        assert json.loads(fact)["text"] == "The user lives in Rome." and json.loads(fact)["source"]["thread"] == first
        second, answers, _ = talk("Which city do I live in?")
        assert second != first and said(model.requests[-1]) == [("user", "Which city do I live in?")]
        assert "The user lives in Rome." in prompt(model.requests[-1])
        if kind == "postgres":
            assert rows(s, "SELECT value->>'value' FROM store WHERE prefix = 'user_memories.ann.facts' AND key = 'home'") == [("Rome",)]
            assert rows(s, "SELECT count(*) FROM agent_messages WHERE session_id = %s", first) == [(4,)]
            assert rows(s, "SELECT count(*) FROM agent_messages WHERE message_data::text LIKE '%%The user lives in%%'") == [(0,)]
        # Of 30 messages and a question the model gets the newest 20; and when that is too much, it is said what helps.
        talk(*(f"message {i}" for i in range(16)))
        assert len(said(model.requests[-1])) == 20 and said(model.requests[-1])[-1] == ("user", "message 15")
        model.script("window")
        _, answers, errors = talk("too long")
        assert answers == [] and "lower memory.max_history" in errors[0]


# ------------------------------------------------------- a security agent, by thread id


def test_a_security_agent(kind, start, model, tmp_path):
    """Two tools, one thread: the second question is understood by what the first has found, also after a restart; on another thread it is not."""
    def agent(body):
        found = results(body)
        if "IP address" in [t for r, t in said(body) if r == "user"][-1]:
            before = [t for r, t in said(body) if r == "tool" and '"hostname"' in t]
            return f"It was {json.loads(before[-1].split(chr(10), 1)[1])[0]['source_ip']}." if before else "Whose?"
        if not found:
            return {"content": None, "tool_calls": [call("get_cyber_threat_info", threat_type="malware")]}
        if len(found) == 1:
            return {"content": None, "tool_calls": [call("get_user_info", source_ip=json.loads(found[0])[0]["source_ip"])]}
        return f"It was {json.loads(found[1])[0]['name']}."

    def predict(request):
        r = s.request("POST", "/invocations", request)
        assert r.status == 200, r
        return r.json["choices"][0]["message"]["content"], r.json["custom_outputs"]["thread_id"]

    model.answer = agent
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"llm_model_serving_endpoint_name": "databricks-claude-3-7-sonnet", "llm_prompt_template": "Cybersecurity assistant prompt..."}))
    with serve(start, kind, model, config, "--tools-samples") as s:
        s.run("demo", "tools", check=0)
        assert predict({"messages": [{"role": "user", "content": "Who committed the latest malware threat?"}], "custom_inputs": {"thread_id": "conversation-123"}}) \
            == ("It was Priya Raman.", "conversation-123")
        assert prompt(model.requests[0]) == "Cybersecurity assistant prompt..." and model.requests[0]["model"] == "databricks-claude-3-7-sonnet"
        assert s.stop() == 0
        s.start()
        assert predict({"messages": [{"role": "user", "content": "What was their IP address?"}], "custom_inputs": {"thread_id": "conversation-123"}}) \
            == ("It was 10.20.2.91.", "conversation-123")
        assert said(model.requests[-1])[0] == ("user", "Who committed the latest malware threat?")
        answer, other = predict({"messages": [{"role": "user", "content": "What was their IP address?"}]})
        assert answer == "Whose?" and uuid.UUID(other) and said(model.requests[-1]) == [("user", "What was their IP address?")]
        # The conversation can be looked at: questions, calls with their outputs, answers.
        shown = [json.loads(x) for x in s.run("sessions", "show", "conversation-123", "-o", "ndjson", check=0).stdout.splitlines()]
        assert [x.get("name") or x["role"] for x in shown] == ["user", *["get_cyber_threat_info"] * 2, *["get_user_info"] * 2, "assistant", "user", "assistant"]


# ------------------------------------------------------------------ long-term memory


def test_long_term_memory_and_its_tools(kind, start, model, tmp_path):
    """What a program saves, the agent finds with its tools, and the other way round; texts to the letter; nobody else's."""
    def use(user, *calls):
        """One turn in which the agent makes these calls: their outputs."""
        model.answer = lambda body: "Done." if results(body) else {"content": None, "tool_calls": list(calls)}
        r = s.request("POST", "/v1/responses", {"input": "go on", "user": user})
        assert r.status == 200, r
        return [x["output"] for x in r.json["output"] if x["type"] == "function_call_output"]

    me, other = "user@example.com", "user.example@com"
    workspace = {"workspace_id": "12345", "workspace_name": "Production", "preference_date": "2025-01-15"}
    (tmp_path / "config.yaml").write_text("model:\n  endpoint: databricks-claude-sonnet-4-5\n")
    with serve(start, kind, model, tmp_path / "config.yaml") as s, LongTermMemory(instance_name="health_monitor_lakebase", url=s.url) as memory:
        memory.setup()
        assert use(me, call("get_user_memory", query="workspace")) == ["No memories found for this user."]
        assert memory.save_memory(user_id=me, memory_key="preferred_workspace", memory_data=workspace) == "Successfully saved memory with key 'preferred_workspace'"
        (item,) = memory.search_memories(user_id=me, query="What workspace does the user prefer?", limit=5)
        assert (item.key, item.value) == ("preferred_workspace", workspace) and item.to_dict().keys() == {"key", "value", "score"}
        assert use(me, call("get_user_memory", query="Which workspace?")) == [f"- [preferred_workspace]: {json.dumps(workspace)}"]
        *saved, broken = use(me, call("save_user_memory", memory_key="tea", memory_data_json='{"kind": "green", "größe": 3}'),
                             call("save_user_memory", memory_key="list", memory_data_json="[1]"), call("save_user_memory", memory_key="broken", memory_data_json="{x"))
        assert saved == ["Successfully saved memory with key 'tea'", "Error: Memory data must be a JSON object (dictionary)"]
        assert broken.startswith("Error: Invalid JSON - ") and "column 2" in broken
        assert memory.get_memory(me, "tea") == {"kind": "green", "größe": 3} and memory.get_memory(me, "list") is memory.get_memory(me, "broken") is None
        # The next session needs no tool for it; another user gets nothing, whatever is asked for, and can take nothing away.
        s.request("POST", "/v1/responses", {"input": "Which tea kind?", "user": me})
        assert "green" in prompt(model.requests[-1])
        assert use(other, call("get_user_memory", query="workspace tea", user_id=me), call("delete_user_memory", memory_key="tea")) == [
            "No memories found for this user.", "Successfully deleted memory with key 'tea'"]
        assert "green" not in json.dumps(model.requests[-1]) and memory.get_memory(me, "tea")
        about = {t["function"]["name"]: t["function"]["description"] for t in model.requests[-2]["tools"]}
        assert "forget" in about["delete_user_memory"]
        assert use(me, call("delete_user_memory", memory_key="tea")) == ["Successfully deleted memory with key 'tea'"]
        assert memory.get_memory(me, "tea") is None
        assert memory.delete_memory(me, "preferred_workspace") == "Successfully deleted memory with key 'preferred_workspace'"
        assert use(me, call("get_user_memory", query="Which workspace?")) == ["No memories found for this user."]


# ------------------------------------------------------- a stateful agent with both memories


def test_a_stateful_agent(kind, start, model, tmp_path):
    """Before the model: the thread and what is known of the user; after it: both are richer. The reply says the thread, a stream in its last event."""
    def invoke(text, user="ann", **more):
        body = {"input": [{"role": "user", "content": text}], "context": {"user_id": user, **more.pop("context", {})}, **more}
        r = s.request("POST", "/invocations", body)
        assert r.status == 200, r
        if "stream" not in more:
            return r.json["output"][-1]["content"][0]["text"], r.json["custom_outputs"]["thread_id"]
        *_, last = (json.loads(x[6:]) for x in r.body.decode().splitlines() if x.startswith("data: {"))
        return last["response"]["output"][-1]["content"][0]["text"], last["custom_outputs"]["thread_id"]

    (tmp_path / "agent.yaml").write_text("agent:\n  memory: [short_term, long_term]\n")
    with serve(start, kind, model, tmp_path / "agent.yaml") as s:
        # Which thread: custom_inputs, else the context's conversation, else a new one; what is empty does not count.
        for inputs, conversation, expected in (({"thread_id": "a"}, "b", "a"), ({}, "b", "b"), ({"thread_id": ""}, "b", "b"), ({"thread_id": None}, "b", "b"),
                                               (None, "b", "b"), ({"thread_id": ""}, "", None), (None, None, None)):
            _, thread = invoke("hello", "zoe", custom_inputs=inputs, context={"conversation_id": conversation})
            assert thread == expected if expected else uuid.UUID(thread)
        # A turn leaves its messages in the thread and what was learnt of the user beside it; sending the thread back goes on.
        answer, thread = invoke("I live in Lisbon, and I prefer aisle seats.")
        assert answer == "You said: I live in Lisbon, and I prefer aisle seats."
        until(lambda: s.run("get", "user_memories.ann.facts", "home").stdout)
        _, same = invoke("And now?", custom_inputs={"thread_id": thread}, stream=True)
        assert same == thread and [t for _, t in said(model.requests[-1])] == ["I live in Lisbon, and I prefer aisle seats.", answer, "And now?"]
        shown = s.run("sessions", "show", thread, "--user", "ann", "-o", "ndjson", check=0).stdout.splitlines()
        assert [json.loads(x)["role"] for x in shown] == ["user", "assistant"] * 2
        # Another session of the same user: five memories of the nine and more go into the instructions; of somebody else's none.
        with LongTermMemory(url=s.url) as memory:
            for i in range(8):
                memory.save_memory("ann", f"trip{i}", {"text": f"Ann flew from Lisbon to city {i}"})
        for streamed in ({}, {"stream": True}):
            invoke("Which city do I live in, Lisbon?", **streamed)
            told = prompt(model.requests[-1])
            memories = told.split("<memory>\n")[1].split("\n</memory>")[0].splitlines()
            assert len(memories) == 5 and "The user lives in Lisbon." in told and len(said(model.requests[-1])) == 1
            invoke("Which city do I live in?", "bob", **streamed)  # what he himself says is recalled the second time
            assert "Lisbon" not in prompt(model.requests[-1])
        if kind == "postgres":
            assert rows(s, "SELECT count(*) FROM agent_messages WHERE session_id = %s", thread) == [(4,)]
            assert rows(s, "SELECT count(*) FROM store WHERE prefix LIKE 'user\\_memories.ann%%' AND key = 'home'") == [(1,)]
        assert make_predict_fn(s.url)({"question": "Are you there?"}) == "You said: Are you there?"
