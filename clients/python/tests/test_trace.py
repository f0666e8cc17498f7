"""Spans of LongTermMemory: in a real MLflow, and by what start_span is called with; none where the program has not imported MLflow."""
import asyncio
import contextlib
import contextvars
import inspect
import json
import os
import pathlib
import subprocess
import sys
import sysconfig
import types

import pytest

import cenote
from cenote import AsyncLongTermMemory, CenoteError, LongTermMemory
from collector import MLFLOW, Mlflow

SECRET = "marmalade"
PUT = {"memory_key": "spread", "data_keys": ["likes", "since"]}
ASK = {"query": "What goes on toast?", "limit": 3}
FOUND = {"result_count": 1, "keys": ["spread"]}
SUCCESS = {"status": "success"}


def expected(user):
    """Name, type, inputs, outputs, parent, in the order in which they begin."""
    who = {"user_id": user}
    return [["setup_memory_store", "MEMORY", {"instance_name": None, "embedding_endpoint": None}, SUCCESS, None],
            ["save_memory", "MEMORY", {**who, **PUT}, SUCCESS, None],
            ["store_put", "CHAIN", {**who, **PUT}, SUCCESS, "save_memory"],
            ["search_memories", "RETRIEVER", {**who, **ASK}, FOUND, None],
            ["store_search", "CHAIN", {**who, **ASK}, FOUND, "search_memories"],
            ["get_memory", "MEMORY", {**who, "memory_key": "spread"}, {**SUCCESS, "found": True}, None],
            ["delete_memory", "MEMORY", {**who, "memory_key": "spread"}, SUCCESS, None]]


async def use(memory, user):
    async def done(x):
        return await x if inspect.isawaitable(x) else x

    await done(memory.setup())
    await done(memory.save_memory(user, "spread", {"likes": SECRET + " on toast", "since": 2020}))
    (hit,) = await done(memory.search_memories(user, "What goes on toast?", 3))
    assert SECRET in hit.value["likes"]
    assert (await done(memory.get_memory(user, "spread")))["since"] == 2020
    await done(memory.delete_memory(user, "spread"))


class Recorder(types.ModuleType):
    """A stand-in for the module mlflow: what was begun, and how it ended."""

    def __init__(self):
        super().__init__("mlflow")
        self.spans, self.current = [], contextvars.ContextVar("current", default=None)

    @contextlib.contextmanager
    def start_span(self, name="span", span_type="UNKNOWN"):
        one = [name, span_type, None, None, self.current.get(), "open"]
        self.spans.append(one)
        before = self.current.set(name)
        try:
            yield types.SimpleNamespace(set_inputs=lambda x: one.__setitem__(2, x), set_outputs=lambda x: one.__setitem__(3, x))
            one[5] = "ended"
        except BaseException as e:
            one[5] = type(e).__name__
            raise
        finally:
            self.current.reset(before)


@pytest.fixture
def recorder(monkeypatch):
    r = Recorder()
    monkeypatch.setitem(sys.modules, "mlflow", r)
    return r


@pytest.mark.parametrize("asynchronous", [False, True])
def test_names_types_and_fields(server, thread, recorder, asynchronous):
    async def run():
        if asynchronous:
            async with AsyncLongTermMemory(url=server.url) as m:
                await use(m, thread)
        else:
            with LongTermMemory(url=server.url) as m:
                await use(m, thread)

    asyncio.run(run())
    assert recorder.spans == [[*x, "ended"] for x in expected(thread)]
    assert SECRET not in repr(recorder.spans)


@pytest.mark.stores("sqlite")
def test_what_fails_and_what_is_given_up(server, thread, recorder):
    """A span ends with the call that it is of, and in its context."""
    with LongTermMemory(url="http://127.0.0.1:1", retries=0) as m:
        assert m.get_memory(thread, "spread") is None
        with pytest.raises(CenoteError):
            m.delete_memory(thread, "spread")
    assert [(x[0], x[3], x[5]) for x in recorder.spans] == [("get_memory", None, "ConnectionFailed"), ("delete_memory", None, "ConnectionFailed")]

    async def run():
        async with AsyncLongTermMemory(url=server.url) as m:
            asked = asyncio.Event()

            async def never(*_):
                asked.set()
                await asyncio.Event().wait()

            m.client.arequest = never
            task = asyncio.create_task(m.search_memories(thread, "x"))
            await asked.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert recorder.spans[-1][0] == "search_memories" and recorder.spans[-1][5] == "GeneratorExit"

    asyncio.run(run())


@pytest.mark.stores("sqlite")
def test_nobody_traces(server, thread):
    """MLflow is not imported by this package, though it may be there."""
    assert "mlflow" not in sys.modules
    with LongTermMemory(url=server.url) as m:
        asyncio.run(use(m, thread))
    assert "mlflow" not in sys.modules


REAL = """
import asyncio, json, sys
sys.path += json.loads(sys.argv[1])  # behind MLflow's own packages
import mlflow
from cenote import LongTermMemory
sys.path.insert(0, sys.argv[2])
from test_trace import use
with LongTermMemory(url=sys.argv[3]) as m:
    asyncio.run(use(m, sys.argv[4]))
    with mlflow.start_span("mine"):
        m.get_memory(sys.argv[4], "gone")
mlflow.flush_trace_async_logging()
traces = sorted(mlflow.search_traces(return_type="list"), key=lambda t: t.info.timestamp_ms)
names = {s.span_id: s.name for t in traces for s in t.data.spans}
print(json.dumps([[s.name, s.span_type, s.inputs, s.outputs, names.get(s.parent_id)] for t in traces for s in t.data.spans]))
"""


@pytest.mark.stores("sqlite")
def test_in_mlflow(server, thread, tmp_path):
    if not Mlflow.installed() and os.environ.get("REQUIRE_ALL", "0") != "1":
        pytest.skip("MLflow is not installed: make build/mlflow/ok")
    Mlflow(tmp_path).database()
    here = pathlib.Path(__file__).resolve().parent
    paths = [str(pathlib.Path(cenote.__file__).parents[1]), sysconfig.get_paths()["purelib"], str(here.parents[2] / "tests" / "wire")]
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "MLFLOW"))}
    env["MLFLOW_TRACKING_URI"] = f"sqlite:///{tmp_path}/mlflow.db"
    r = subprocess.run([MLFLOW, "-c", REAL, json.dumps(paths), str(here), server.url, thread], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
    assert r.returncode == 0, r.stderr
    spans = json.loads(r.stdout.splitlines()[-1])
    assert sorted(spans[:7], key=str) == sorted(expected(thread), key=str)
    assert [x[0] for x in spans[7:]] == ["mine", "get_memory"] and spans[8][3] == {**SUCCESS, "found": False} and spans[8][4] == "mine"
    assert SECRET not in r.stdout
