"""What tests of sessions share: a model that says what a script tells it, and an agent with one tool around it."""
import agents
from agents import Agent, Model, ModelResponse, Runner, Usage, function_tool
from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText, ResponseReasoningItem

agents.set_tracing_disabled(True)


def say(text, id="__fake_id__"):
    return ResponseOutputMessage(id=id, type="message", role="assistant", status="completed",
                                 content=[ResponseOutputText(text=text, type="output_text", annotations=[], logprobs=[])])


def call(name, arguments, call_id, id="__fake_id__"):
    return ResponseFunctionToolCall(id=id, call_id=call_id, name=name, arguments=arguments, type="function_call")


def think(id, secret):
    return ResponseReasoningItem(id=id, type="reasoning", summary=[], encrypted_content=secret)


class Scripted(Model):
    """Each turn: a list of output items, or an exception to raise. What it was given is in self.seen."""

    def __init__(self, *turns):
        self.turns, self.seen = list(turns), []

    async def get_response(self, system_instructions, input, *args, **kw):
        self.seen.append(input)
        turn = self.turns.pop(0)
        if isinstance(turn, Exception):
            raise turn
        return ModelResponse(output=turn, usage=Usage(), response_id=None)

    def stream_response(self, *args, **kw):
        raise NotImplementedError("the tests do not stream")


@function_tool
def add(a: int, b: int) -> str:
    return str(a + b)


async def run(session, text, *turns):
    """One run of an agent on the session; returns the model, which has seen what it was given."""
    model = Scripted(*turns)
    agent = Agent(name="calculator", instructions="Add.", model=model, tools=[add])
    model.result = await Runner.run(agent, text, session=session)
    return model


def sum_turns(n):
    """A turn with a call of the tool, then the answer."""
    return [call("add", f'{{"a":{n},"b":2}}', f"call_{n}")], [say(f"{n + 2} é 🌉")]
