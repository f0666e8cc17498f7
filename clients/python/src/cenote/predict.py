"""`predict_fn(inputs) -> str`, the function that evaluation runs call, for any agent.

    predict_fn = make_predict_fn("http://127.0.0.1:8000")     # Cenote's own assistant
    predict_fn = make_predict_fn(agent)                       # an agent of the OpenAI Agents SDK, LangGraph or MLflow, or a function
    predict_fn({"question": "Which tea do I drink?"})

None of these frameworks is needed to import this module.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from cenote import _json
from cenote._http import Client

PredictFn = Callable[[dict[str, Any]], str]


def _get(obj: Any, name: str) -> Any:
    return obj.get(name) if isinstance(obj, dict) else getattr(obj, name, None)


def _content(content: Any) -> str:
    """The text of a message's content: a text, or parts with texts."""
    if isinstance(content, str):
        return content
    texts = [p if isinstance(p, str) else _get(p, "text") for p in content or []]
    return "".join(t for t in texts if isinstance(t, str))


def _text(answer: Any) -> str:
    """What an answer says, whichever form it has."""
    if answer is None or isinstance(answer, str):
        return answer or ""
    final = _get(answer, "final_output")  # Agents SDK
    if final is not None:
        return str(final)
    output = _get(answer, "output")  # Responses
    if isinstance(output, str):
        return output
    if isinstance(output, list):
        return "\n".join(filter(None, (_content(_get(x, "content")) for x in output if _get(x, "type") == "message")))
    choices = _get(answer, "choices")  # chat completions
    if choices:
        return _content(_get(_get(choices[0], "message"), "content"))
    messages = _get(answer, "messages")  # LangGraph, MLflow's chat agents
    if messages:
        return _content(_get(messages[-1], "content"))
    content = _get(answer, "content")
    return _content(content) if content is not None else str(answer)


def _asked_of(client: Client) -> Callable[[str], Any]:
    def ask(question: str) -> Any:
        body = _json.dumps_exact({"input": [{"role": "user", "content": question}], "store": False})
        return json.loads(client.request("POST", "/invocations", body, "application/json", repeat=False))

    return ask


def _run(agent: Any) -> Callable[[str], Any]:
    """How this agent is asked. TypeError: it is nothing that can be."""
    if isinstance(agent, str):
        return _asked_of(Client(agent))
    if isinstance(agent, Client):
        return _asked_of(agent)
    if type(agent).__module__.split(".")[0] == "agents":

        def run(question: str) -> Any:
            from agents import Runner

            return Runner.run_sync(agent, question)

        return run
    if callable(getattr(agent, "invoke", None)):
        return lambda question: agent.invoke({"messages": [{"role": "user", "content": question}]})
    if callable(getattr(agent, "predict", None)):
        return lambda question: agent.predict({"input": [{"role": "user", "content": question}]})
    if callable(agent):
        return lambda question: agent(question)
    raise TypeError(f"make_predict_fn takes an agent with invoke or predict, one of the OpenAI Agents SDK, a function, or a server's URL, "
                    f"not {type(agent).__name__}")


def make_predict_fn(agent: Any) -> PredictFn:
    """The function that evaluation runs call with `{"question": ...}`, and that answers with a text.

    Args:
        agent: an `Agent` of the OpenAI Agents SDK; whatever has `invoke` (LangGraph) or `predict` (MLflow); a function from the question to
            an answer; or a server's URL or `Client`, whose assistant is asked (nothing is kept).

    A missing question is the empty text. What the agent raises is raised.
    """
    run = _run(agent)

    def predict_fn(inputs: dict[str, Any]) -> str:
        return _text(run((inputs or {}).get("question") or ""))

    return predict_fn
