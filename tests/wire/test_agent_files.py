"""Configuration files as agents have them: taken as they are, mapped onto the settings; what cannot be honoured is said."""
import json
import urllib.parse

import pytest

from model_server import ModelServer
from server import Server

CHAT = """model:
  endpoint: databricks-claude-sonnet-4-5
  streaming: false  # Enable for token-by-token
  system_prompt: |
    You are a helpful assistant...

memory:
  max_history: 20  # Number of messages in context window
"""
LANGGRAPH = {
    "llm_model_serving_endpoint_name": "databricks-claude-3-7-sonnet",
    "llm_prompt_template": "Cybersecurity assistant prompt...",
    "conn_db_name": "databricks_postgres",
    "conn_ssl_mode": "require",
    "conn_host": "your-lakebase-instance.database.cloud.databricks.com",
    "instance_name": "your-lakebase-instance-name",
}
AGENT = """agent:
  name: loyalty-assistant
  memory: [short_term]
  benchmark_seeds:
    seed_examples:
      - question: How many points do I have?
        expected: points
governance:
  verification:
    smoke_test_question: Are you there?
"""


@pytest.fixture
def model():
    with ModelServer() as m:
        yield m


def write(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return ["--config", str(path)]


def ask(s, body):
    r = s.request("POST", "/invocations", body)
    assert r.status == 200, r
    return r


@pytest.mark.stores("sqlite")
@pytest.mark.parametrize("streaming", [False, True])
def test_of_a_chat(kind, start, model, tmp_path, streaming):
    text = CHAT.replace("streaming: false", f"streaming: {str(streaming).lower()}")
    with start(kind, *write(tmp_path, text), "--llm-base-url", model.url) as s:
        r = ask(s, {"input": [{"role": "user", "content": "one two three"}], "stream": True})
        assert r.body.count(b"output_text.delta") == (5 if streaming else 1) and b"You said: one two three" in r.body
    body = model.requests[-1]
    assert body["model"] == "databricks-claude-sonnet-4-5" and body.get("stream", False) is streaming
    assert body["messages"][0] == {"role": "system", "content": "You are a helpful assistant...\n"}


@pytest.mark.stores("sqlite")
def test_of_a_chat_without_a_server_of_models(kind, start, tmp_path):
    with start(kind, *write(tmp_path, CHAT)) as s:
        assert s.request("GET", "/readyz").status == 200


class FromFile(Server):
    """The file alone says where the store is."""

    def command(self):
        c = super().command()
        at = c.index("--store")
        return c[:at] + c[at + 2:]


def test_of_a_langgraph_agent(model, tmp_path, pg_url):
    """Its database without TLS is refused, as conn_ssl_mode says; with another mode it serves, and says what it does not use."""
    u = urllib.parse.urlsplit(pg_url)
    here = {**LANGGRAPH, "conn_host": f"{u.hostname}:{u.port}", "conn_db_name": u.path[1:]}
    path = tmp_path / "config.json"

    def served(config):
        path.write_text(json.dumps(config, indent=4))
        return FromFile("--config", str(path), "--llm-base-url", model.url, env={"PGUSER": u.username})

    with pytest.raises(RuntimeError) as e, served(here):
        pass
    assert "SSL" in str(e.value) or "TLS" in str(e.value)
    with served({**here, "conn_ssl_mode": "disable"}) as s:
        ask(s, {"messages": [{"role": "user", "content": "hi"}], "custom_inputs": {"thread_id": "conversation-123"}})
        assert s.logged("instance_name", "conn_host")
    assert model.requests[-1]["model"] == "databricks-claude-3-7-sonnet"
    assert model.requests[-1]["messages"][0]["content"] == "Cybersecurity assistant prompt..."


@pytest.mark.stores("sqlite")
def test_of_an_agent(kind, start, model, tmp_path):
    """Layers: without long_term nothing of the user comes along; without short_term no thread goes on."""
    config = write(tmp_path, AGENT)
    for layers, memories, turns in (("[short_term]", 0, 4), ("{long_term: true}", 1, 2)):
        (tmp_path / "config.yaml").write_text(AGENT.replace("[short_term]", layers))
        with start(kind, *config, "--llm-base-url", model.url, "--llm-model", "scripted") as s:
            assert s.logged("agent.name")
            s.request("PUT", "/store/items", {"namespace": ["user_memories", "ann"], "key": "k", "value": {"tea": "green tea"}})
            for word in ("tea?", "more tea?"):
                r = ask(s, {"input": [{"role": "user", "content": word}], "context": {"user_id": "ann", "conversation_id": "c"}})
            assert r.json["custom_outputs"] == {"thread_id": "c"} and r.headers["x-cenote-memories"] == str(memories)
            assert len(model.requests[-1]["messages"]) == turns


@pytest.mark.stores("sqlite")
def test_models_and_headers(kind, start, model, tmp_path):
    (tmp_path / "team").write_text("secret-team\n")
    (tmp_path / "team").chmod(0o600)
    env = {"CENOTE_LLM_HEADERS": f"X-Org=org, X-Team=@{tmp_path}/team, X-Var=$OF_MINE", "OF_MINE": "secret-var", "CENOTE_LLM_TEMPERATURE": "0.25",
           "CENOTE_LLM_MAX_TOKENS": "77"}
    with start(kind, "--llm-base-url", model.url, "--llm-model", "scripted", env=env) as s:
        ask(s, {"input": "hi", "temperature": 0.5})
        assert "secret" not in "".join(s.log)
    h = model.headers[-1]
    assert (h["X-Org"], h["X-Team"], h["X-Var"]) == ("org", "secret-team", "secret-var")
    assert (model.requests[-1]["temperature"], model.requests[-1]["max_tokens"]) == (0.5, 77)
    with pytest.raises(RuntimeError) as e, start(kind, "--llm-base-url", model.url, "--llm-model", "x", env={"CENOTE_LLM_HEADERS": "X-Var=$NOT_THERE"}):
        pass
    assert "$NOT_THERE" in str(e.value) and "not set" in str(e.value)


@pytest.mark.stores("sqlite")
def test_smoke_and_evaluate(kind, start, model, tmp_path):
    """The agent's file has the question of the one and the set of the other; both leave nothing behind."""
    config = write(tmp_path, AGENT)
    with start(kind, "--llm-base-url", model.url, "--llm-model", "scripted") as s:
        r = s.run("smoke", *config, "--server", s.url, check=0)
        assert r.stdout == "You said: Are you there?\n"
        assert s.run("smoke", "--json", "Hi?", "--server", s.url, check=0).stdout == '{"question":"Hi?","answer":"You said: Hi?"}\n'
        r = s.run("evaluate", *config, "--json", "--server", s.url, check=0)
        assert json.loads(r.stdout) == [{"met": True, "question": "How many points do I have?", "answer": "You said: How many points do I have?",
                                         "error": None}] and "1 of 1 met (100 %)" in r.stderr
        model.answer = lambda body: "Nobody knows."
        s.run("evaluate", *config, "--server", s.url, check=1)
        s.run("evaluate", *config, "--least", "0", "--server", s.url, check=0)
        model.script("400", "400")
        assert "scripted" in s.run("smoke", "x", "--server", s.url, check=1).stderr
        r = s.run("evaluate", *config, "--json", "--server", s.url, check=1)
        assert json.loads(r.stdout)[0]["met"] is False and "scripted" in json.loads(r.stdout)[0]["error"]
        model.answer = lambda body: ""
        assert "empty" in s.run("smoke", "x", "--server", s.url, check=1).stderr
        s.run("smoke", "--server", s.url, check=2)
        s.run("evaluate", "--server", s.url, check=2)
        assert s.request("POST", "/threads/search", {}).json == []
    s.run("smoke", "x", "--server", s.url, check=1)
