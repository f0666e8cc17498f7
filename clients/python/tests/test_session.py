"""CenoteSession beside the SDK's own SQLiteSession, and in runs of an agent."""
import asyncio
import random
import subprocess
import sys

import pytest

from cenote import CenoteSession, Client, InvalidRequestError

import agents  # noqa: E402
ITEMS = [
    {"role": "user", "content": "hello"}, {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "c1", "output": "1"}, {"role": "assistant", "content": [{"type": "output_text", "text": "é😀"}]},
    {"n": 1.0, "big": 2**70, "nul": None, "zero": -0.0, "e": 1e300, "text": "a\0b", "order": {"b": 1, "a": 2}},
]


def with_session(server, fn, name):
    async def run():
        async with Client(server.url) as client:
            return await fn(CenoteSession(name, client))

    return asyncio.run(run())


def test_protocol(server, thread):
    async def run(s):
        assert isinstance(s, agents.memory.Session)
        assert await s.get_items() == [] and await s.pop_item() is None
        await s.clear_session()
        await s.add_items([])
        await s.add_items(ITEMS)
        got = await s.get_items()
        assert got == ITEMS and str(got) == str(ITEMS)
        assert await s.get_items(2) == ITEMS[-2:] and await s.get_items(0) == [] and await s.get_items(99) == ITEMS
        assert await s.pop_item() == ITEMS[-1]
        assert await s.get_items() == ITEMS[:-1]
        with pytest.raises(ValueError):
            await s.get_items(-1)
        s.session_settings = agents.memory.SessionSettings(limit=1)
        assert await s.get_items() == ITEMS[3:4] and await s.get_items(2) == ITEMS[2:4]
        s.session_settings = None
        await s.replace_items(ITEMS[:1])
        assert await s.get_items() == ITEMS[:1]
        with pytest.raises(InvalidRequestError) as e:
            await s.add_items([{"a": 1}, 5])
        assert e.value.field == "/items/1"
        with pytest.raises(ValueError):
            await s.add_items([{"nan": float("nan")}])
        assert await s.get_items() == ITEMS[:1]
        await s.clear_session()
        assert await s.get_items() == []

    with_session(server, run, thread)


def test_made_names(server):
    """Without a name a session makes one, which finds it again."""

    async def run(s):
        assert s.session_id and s.session_id != CenoteSession(None, s.client).session_id
        await s.add_items(ITEMS[:2])
        assert await CenoteSession(s.session_id, s.client).get_items() == ITEMS[:2]
        with pytest.raises(ValueError):
            CenoteSession("", s.client)

    with_session(server, run, None)


@pytest.mark.parametrize("name", ["a/b", "..", ".", "?x=1", "é😀", "%2F", " ", "a" * 256])
def test_names(server, name):
    async def run(s):
        await s.add_items(ITEMS[:1])
        assert await s.get_items() == ITEMS[:1]
        await s.clear_session()

    with_session(server, run, name)


def test_beside_the_sdk(server, thread):
    rng = random.Random(5)

    async def run(mine):
        theirs = agents.SQLiteSession(thread)
        for i in range(150):
            what = rng.randrange(10)
            if what < 4:
                items = [{"role": "user", "content": f"{i} {k}"} for k in range(rng.randrange(4))]
                await mine.add_items(items)
                await theirs.add_items(items)
            elif what < 6:
                assert await mine.pop_item() == await theirs.pop_item()
            elif what == 6 and rng.random() < 0.2:
                await mine.clear_session()
                await theirs.clear_session()
            limit = rng.choice([None, 0, 1, 3, 100])
            assert await mine.get_items(limit) == await theirs.get_items(limit)

    with_session(server, run, thread)


def test_a_run_of_an_agent(server, thread):
    from agents import Agent, Runner, function_tool
    from agents.items import ModelResponse
    from agents.models.interface import Model
    from agents.usage import Usage
    from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText

    class Scripted(Model):
        """Calls the tool, then says what it was given."""

        def __init__(self):
            self.seen = []

        async def get_response(self, system_instructions, input, *a, **kw):
            self.seen.append(list(input))
            if "function_call_output" in str(input[-1]):
                text = ResponseOutputText(type="output_text", text="22 degrees", annotations=[])
                out = ResponseOutputMessage(id="m1", type="message", role="assistant", status="completed", content=[text])
            else:
                out = ResponseFunctionToolCall(type="function_call", call_id=f"c{len(self.seen)}", name="weather", arguments="{}")
            return ModelResponse(output=[out], usage=Usage(), response_id=None)

        def stream_response(self, *a, **kw):
            raise NotImplementedError

    @function_tool
    def weather() -> str:
        return "22"

    agents.set_tracing_disabled(True)

    async def run(mine):
        theirs = agents.SQLiteSession(thread)
        histories = []
        for session in (mine, theirs):
            model = Scripted()
            agent = Agent(name="a", model=model, tools=[weather])
            for question in ("how warm?", "and now?"):
                result = await Runner.run(agent, question, session=session)
                assert result.final_output == "22 degrees"
            histories.append((await session.get_items(), model.seen))
        assert len(histories[0][0]) == 8 and histories[0] == histories[1]

    with_session(server, run, thread)


def test_the_sdk_is_not_imported():
    code = "import sys, cenote; sys.exit(any(m == 'agents' or m.startswith('agents.') for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
