"""make_predict_fn: one function for every kind of agent."""
import types

import pytest
from model_server import ModelServer

from cenote import Client, ConnectionFailed, make_predict_fn

MESSAGE = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "green "}, {"type": "output_text", "text": "tea"}]}


class Graph:
    def invoke(self, state):
        return {"messages": [*state["messages"], types.SimpleNamespace(content="to " + state["messages"][0]["content"])]}


class Model:
    def __init__(self, answer):
        self.answer = answer

    def predict(self, request):
        assert request == {"input": [{"role": "user", "content": "q"}]}
        return self.answer


@pytest.mark.parametrize("agent, said", [
    (lambda question: f"to {question}", "to q"), (Graph(), "to q"), (Model({"output": [{"type": "function_call"}, MESSAGE]}), "green tea"),
    (Model(types.SimpleNamespace(output=[types.SimpleNamespace(**MESSAGE)])), "green tea"),
    (Model({"choices": [{"message": {"content": "x"}}]}), "x"), (Model({"output": "x", "custom_outputs": {}}), "x"), (lambda question: None, "")])
def test_agents(agent, said):
    assert make_predict_fn(agent)({"question": "q"}) == said


def test_without_a_question():
    asked = []
    predict_fn = make_predict_fn(lambda question: asked.append(question) or "answer")
    assert predict_fn({}) == predict_fn({"question": None}) == predict_fn({"other": 1}) == "answer"
    assert asked == ["", "", ""]


def test_what_is_no_agent():
    with pytest.raises(TypeError, match="not int"):
        make_predict_fn(3)


def test_agents_sdk(kind, start):
    """An agent of the SDK, whose model is a server here."""
    import openai
    from agents import Agent, OpenAIResponsesModel, set_tracing_disabled

    set_tracing_disabled(True)
    with ModelServer() as m, start(kind, "--llm-base-url", m.url, "--llm-model", "scripted") as s:
        model = OpenAIResponsesModel("scripted", openai.AsyncOpenAI(api_key="x", base_url=s.url + "/v1"))
        assert make_predict_fn(Agent(name="a", model=model))({"question": "Hello?"}) == "You said: Hello?"


def test_servers_assistant(kind, start):
    with ModelServer() as m, start(kind, "--llm-base-url", m.url, "--llm-model", "scripted") as s:
        with Client(s.url, retries=0) as client:
            for agent in (s.url, client):
                assert make_predict_fn(agent)({"question": "Hello?"}) == "You said: Hello?"
                assert make_predict_fn(agent)({}) == "You said: "
            predict_fn = make_predict_fn(client)
            s.stop()
            with pytest.raises(ConnectionFailed):
                predict_fn({})
