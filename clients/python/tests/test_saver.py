"""CenoteSaver: what goes in comes out, in both kinds of methods, also where JSON, jsonb or msgpack would change it."""
import asyncio
import copy
import enum
import math
import uuid

import pytest
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.base.id import uuid6
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.serde.types import _DeltaSnapshot

from cenote import AsyncCenoteSaver, CenoteSaver, Client, ConflictError, InvalidRequestError, NotFoundError


def config(thread, ns="", checkpoint_id=None, **more):
    conf = {"thread_id": thread, "checkpoint_ns": ns, **more}
    if checkpoint_id:
        conf["checkpoint_id"] = checkpoint_id
    return {"configurable": conf}


def checkpoint(values, saver, step=0, versions=None):
    c = empty_checkpoint()
    c["v"] = 4
    c["id"] = str(uuid6(clock_seq=step))
    c["channel_values"] = values
    c["channel_versions"] = versions or {k: saver.get_next_version(None, None) for k in values}
    return c


def put(saver, thread, values, parent=None, ns="", metadata=None, step=0):
    c = checkpoint(values, saver, step)
    return saver.put(config(thread, ns, parent), c, metadata or {"source": "loop", "step": step}, c["channel_versions"])


class Colour(str, enum.Enum):
    RED = "red"


EXACT = {
    "none": None, "true": True, "int": 7, "int64": 2**63 - 1, "int64-": -(2**63), "huge": 2**70, "huge-": -(2**64), "float": 1.5,
    "whole": 3.0, "tiny": 5e-324, "below": 9999999999999998.0, "1e16": 1e16, "1e300": 1e300, "minus zero": -0.0, "zero": 0.0,
    "inf": math.inf, "-inf": -math.inf, "text": "é€😀", "nul": "a\0b", "surrogate": "a\ud800b", "list": [1, "\0", None], "bytes": b"\0\xff",
    "bytearray": bytearray(b"ab"), "dict": {"a": {1: 2}}, "tuple": {"t": (1, 2)}, "set": {1, 2}, "uuid": uuid.UUID(int=5), "empty": "",
    "names \"\\\n": "x", "empty list": [],
}


def same(a, b):
    return type(a) is type(b) and (a == b or (a != a and b != b)) and (not isinstance(a, float) or math.copysign(1, a) == math.copysign(1, b))


def test_values_come_back_as_they_were(saver, thread):
    put(saver, thread, EXACT)
    got = saver.get_tuple(config(thread)).checkpoint["channel_values"]
    assert list(got) != [] and set(got) == set(EXACT)
    for name, v in EXACT.items():
        back = got[name]
        if name == "tuple":
            back = {"t": tuple(back["t"])}  # msgpack has one kind of sequence
        assert same(v, back), (name, v, back)


def test_nan_comes_back(saver, thread):
    put(saver, thread, {"x": math.nan, "y": [math.nan]})
    got = saver.get_tuple(config(thread)).checkpoint["channel_values"]
    assert math.isnan(got["x"]) and math.isnan(got["y"][0])


def test_values_that_are_unchanged_need_not_be_new(saver, thread):
    """The next checkpoint refers to the same version of a channel: its value is there already, in the JSON or beside it."""
    first = checkpoint(dict(EXACT), saver)
    at = saver.put(config(thread), first, {}, first["channel_versions"])
    second = checkpoint(dict(EXACT), saver, 1, first["channel_versions"])
    saver.put(at, second, {}, {})
    got = saver.get_tuple(config(thread)).checkpoint["channel_values"]
    got["tuple"] = {"t": (1, 2)}
    assert all(same(v, got[k]) for k, v in EXACT.items())


def test_subclasses_of_plain_types_keep_their_type(server, thread):
    serde = JsonPlusSerializer(allowed_msgpack_modules=[(Colour.__module__, "Colour")])
    with CenoteSaver.connect(server.url, serde=serde) as saver:
        put(saver, thread, {"colour": Colour.RED})
        got = saver.get_tuple(config(thread)).checkpoint["channel_values"]["colour"]
        assert got is Colour.RED


def test_unknown_types_are_not_made(saver, thread):
    put(saver, thread, {"colour": Colour.RED})
    got = saver.get_tuple(config(thread)).checkpoint["channel_values"]["colour"]
    assert got == "red" and type(got) is str


def test_metadata(saver, thread):
    meta = {"source": "loop", "step": 3, "parents": {"": "p"}, "writes": {"gone": 1}, "nul": "a\0b", "deep": {"nul": ["\0c"], "bad": "\ud800", "nan": math.nan},
            "big": 2**70, "who": "ann"}
    c = checkpoint({}, saver)
    saver.put({"configurable": {"thread_id": thread, "checkpoint_ns": "", "tag": "x\0y", "who": "not this", "__private": 1, "flag": True, "n": 1.5, "obj": [1]},
               "metadata": {"run": "r1", "langgraph_step": 5}}, c, meta, {})
    got = saver.get_tuple(config(thread)).metadata
    assert got == {"source": "loop", "step": 3, "parents": {"": "p"}, "nul": "ab", "deep": {"nul": ["c"], "bad": got["deep"]["bad"], "nan": None},
                   "big": 2**70, "who": "ann", "tag": "xy", "flag": True, "n": 1.5, "run": "r1"}
    assert "\ufffd" in got["deep"]["bad"]


def test_config_and_parent(saver, thread):
    a = put(saver, thread, {"x": [1]})
    assert set(a["configurable"]) == {"thread_id", "checkpoint_ns", "checkpoint_id"}
    b = saver.put({"configurable": {**a["configurable"], "__pregel_x": object(), "other": 1}}, checkpoint({"x": [2]}, saver, 1), {}, {})
    got = saver.get_tuple(config(thread, __pregel_task_id="x"))
    assert got.config == b and got.parent_config == a
    assert saver.get_tuple(a).parent_config is None
    assert saver.get_tuple(config("no such thread")) is None
    assert saver.get_tuple(config(thread, "other:ns")) is None
    assert saver.get_tuple(config(thread, "", str(uuid6()))) is None


def test_thread_ids_that_are_no_texts(saver):
    n = uuid.uuid4()
    at = put(saver, n, {"x": [1]})
    assert at["configurable"]["thread_id"] is n
    assert saver.get_tuple(config(str(n))).checkpoint["channel_values"] == {"x": [1]}
    saver.delete_thread(n)
    assert saver.get_tuple(config(n)) is None


def test_writes(saver, thread):
    at = put(saver, thread, {})
    saver.put_writes(at, [("a", None), ("b", {"k": (1,)}), ("__error__", "boom")], "t2", "~p, 2")
    saver.put_writes(at, [("a", b"x")], "t1", "~p, 1")
    saver.put_writes(at, [], "t3")
    saver.put_writes(at, [("a", "late")], "t1", "~p, 1")  # stays as it was
    saver.put_writes(at, [("__interrupt__", 1)], "t1")
    saver.put_writes(at, [("__interrupt__", 2)], "t1")  # special alone: replaced
    got = saver.get_tuple(at).pending_writes
    assert got == [("t1", "__interrupt__", 2), ("t1", "a", b"x"), ("t2", "__error__", "boom"), ("t2", "a", None), ("t2", "b", {"k": [1]})]
    with pytest.raises(ValueError, match="checkpoint_id"):
        saver.put_writes(config(thread), [("a", 1)], "t")


def test_writes_before_their_checkpoint(saver, thread):
    c = checkpoint({}, saver)
    saver.put_writes(config(thread, "", c["id"]), [("a", 1)], "t")
    assert saver.get_tuple(config(thread)) is None
    saver.put(config(thread), c, {}, {})
    assert saver.get_tuple(config(thread)).pending_writes == [("t", "a", 1)]


def test_sends_of_the_old_format(saver, thread):
    at = put(saver, thread, {})
    saver.put_writes(at, [("__pregel_tasks", {"n": 2}), ("__pregel_tasks", {"n": 3})], "b")
    saver.put_writes({"configurable": {**at["configurable"], "checkpoint_ns": "sub:1"}}, [("__pregel_tasks", {"n": 1})], "a")
    c = checkpoint({"x": 1}, saver, 1)
    c["v"] = 3
    saver.put(at, c, {}, c["channel_versions"])
    for got in (saver.get_tuple(config(thread)), next(saver.list(config(thread)))):
        assert got.checkpoint["channel_values"] == {"x": 1, "__pregel_tasks": [{"n": 1}, {"n": 2}, {"n": 3}]}
        assert got.checkpoint["channel_versions"]["__pregel_tasks"] == c["channel_versions"]["x"]


def test_list(saver, thread):
    at, ids = None, []
    for i in range(130):
        at = put(saver, thread, {"x": [i]}, at and at["configurable"]["checkpoint_id"], metadata={"step": i, "odd": i % 2, "deep": {"a": [i]}}, step=i)
        ids.append(at["configurable"]["checkpoint_id"])
    sub = put(saver, thread, {}, ns="sub")["configurable"]["checkpoint_id"]
    new = ids[::-1]

    def names(*a, **kw):
        return [t.config["configurable"]["checkpoint_id"] for t in saver.list(*a, **kw)]

    root = config(thread)
    assert names(root) == new
    assert names({"configurable": {"thread_id": thread}}) == [sub] + new
    assert names(config(thread, "sub")) == [sub] and names(config(thread, "none")) == []
    assert names(root, limit=0) == []
    for n in (1, 50, 51, 120, 130, 1000):
        assert names(root, limit=n) == new[:n]
    assert names(root, before=config(thread, "", ids[5])) == new[-5:]
    assert names(root, before=config(thread), limit=2) == new[:2]
    assert names(root, before=config(thread, "", ids[0])) == []
    assert names(root, filter={"odd": 1}, limit=3) == [n for i, n in enumerate(new) if i % 2 == 0][:3]
    assert names(root, filter={"deep": {"a": [7]}}) == [ids[7]]
    assert names(root, filter={"odd": "1"}) == [] and names(root, filter={}) == new
    assert names(config(thread, "", ids[3])) == [ids[3]]
    assert [n for n in names(None, filter={"deep": {"a": [7]}}) if n in ids] == [ids[7]]
    got = next(saver.list(root))
    assert got.checkpoint["channel_values"] == {"x": [129]} and got.parent_config["configurable"]["checkpoint_id"] == ids[128]


def test_sync_and_async_are_the_same(server, thread):
    async def run():
        async with AsyncCenoteSaver.connect(server.url) as s:
            c = checkpoint({"x": [1]}, s)
            at = await s.aput(config(thread), c, {"step": 1}, c["channel_versions"])
            await s.aput_writes(at, [("a", 1)], "t")
            one = await s.aget_tuple(config(thread))
            many = [t async for t in s.alist(config(thread))]
            history = await s.aget_delta_channel_history(config=at, channels=["x"])
            with pytest.raises(NotImplementedError, match="CenoteSaver"):
                s.get_tuple(config(thread))
            return one, many, history

    one, many, history = asyncio.run(run())
    with CenoteSaver.connect(server.url) as s:
        assert s.get_tuple(config(thread)) == one
        assert list(s.list(config(thread))) == many == [one]
        assert s.get_delta_channel_history(config=one.config, channels=["x"]) == history == {"x": {"writes": []}}


def test_one_saver_in_threads_and_loops(saver, thread):
    at = put(saver, thread, {"x": [1]})

    async def read():
        return [t.config for t in await asyncio.gather(*(saver.aget_tuple(config(thread)) for _ in range(20)))]

    assert asyncio.run(read()) == [at] * 20
    assert asyncio.run(read()) == [at] * 20  # another loop
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        assert [t.config for t in pool.map(saver.get_tuple, [config(thread)] * 50)] == [at] * 50


def test_copies_share_the_connections(saver, thread):
    put(saver, thread, {"x": [1]})
    twin = copy.copy(saver)
    assert twin.client is saver.client
    assert twin.get_tuple(config(thread)) == saver.get_tuple(config(thread))
    more = saver.with_allowlist({(Colour.__module__, "Colour")})
    put(more, thread + "-c", {"c": Colour.RED})
    assert more.get_tuple(config(thread + "-c")).checkpoint["channel_values"]["c"] is Colour.RED
    assert saver.get_tuple(config(thread + "-c")).checkpoint["channel_values"]["c"] == "red"


def test_whole_threads(saver, thread):
    a = put(saver, thread, {"x": [1]}, metadata={"run_id": thread + "r1"})
    b = put(saver, thread, {"x": [2]}, a["configurable"]["checkpoint_id"], metadata={"run_id": thread + "r2"}, step=1)
    saver.put_writes(b, [("x", 1)], "t", "~p")
    before = list(saver.list(config(thread)))
    saver.copy_thread(thread, thread + "-copy")
    twin = list(saver.list(config(thread + "-copy")))
    assert [t.checkpoint for t in twin] == [t.checkpoint for t in before]
    assert [t.pending_writes for t in twin] == [t.pending_writes for t in before]
    with pytest.raises(ConflictError):
        saver.copy_thread(thread, thread + "-copy")
    with pytest.raises(NotFoundError):
        saver.copy_thread(thread + "-none", thread + "-other")
    saver.delete_for_runs([thread + "r1"])
    got = list(saver.list(config(thread)))
    assert [t.config for t in got] == [b] and got[0].parent_config is None and got[0].checkpoint["channel_values"] == {"x": [2]}
    saver.prune([thread + "-copy"])
    assert [t.checkpoint["channel_values"] for t in saver.list(config(thread + "-copy"))] == [{"x": [2]}]
    saver.prune([thread + "-copy"], strategy="delete")
    assert list(saver.list(config(thread + "-copy"))) == []
    saver.delete_thread(thread)
    saver.delete_thread(thread)
    assert saver.get_tuple(config(thread)) is None
    saver.delete_for_runs([])
    saver.prune([])
    for call in (lambda: saver.prune(thread), lambda: saver.delete_for_runs(thread)):
        with pytest.raises(TypeError):
            call()
    with pytest.raises(ValueError, match="strategy"):
        saver.prune([thread], strategy="keep_all")


def test_repeating_changes_nothing(saver, thread):
    c = checkpoint({"x": [1]}, saver)
    for _ in range(3):
        at = saver.put(config(thread), c, {"step": 1}, c["channel_versions"])
        saver.put_writes(at, [("a", 1), ("b", 2)], "t")
    assert len(list(saver.list(config(thread)))) == 1
    assert saver.get_tuple(at).pending_writes == [("t", "a", 1), ("t", "b", 2)]


def test_delta_snapshots_are_values_of_their_own(saver, thread):
    put(saver, thread, {"d": _DeltaSnapshot([1, 2])})
    assert saver.get_tuple(config(thread)).checkpoint["channel_values"] == {"d": _DeltaSnapshot([1, 2])}


def test_versions(saver):
    v = [None]
    for _ in range(3):
        v.append(saver.get_next_version(v[-1], None))
    assert v[1] < v[2] < v[3] and v[3].split(".")[0] == f"{3:032}"
    assert saver.get_next_version(41, None).startswith(f"{42:032}.")
    assert saver.get_next_version(None, None) != saver.get_next_version(None, None)


def test_64_mib(saver, thread):
    big = bytes(range(256)) * (1 << 18)
    at = put(saver, thread, {"big": big, "small": [1]})
    saver.put_writes(at, [("big", big)], "t")
    got = saver.get_tuple(config(thread))
    assert got.checkpoint["channel_values"]["big"] == big and got.pending_writes[0][2] == big

    async def read():
        return await saver.aget_tuple(config(thread))

    assert asyncio.run(read()).checkpoint["channel_values"]["big"] == big
    saver.delete_thread(thread)


@pytest.mark.parametrize("bad, field", [
    ({"thread_id": "t" * 5000}, "/ops/0/thread"), ({"thread_id": "a\0b"}, "/ops/0/thread"), ({"thread_id": ""}, "/ops/0/thread"),
    ({"thread_id": "t", "checkpoint_ns": "n" * 5000}, "/ops/0/ns"), ({"thread_id": "t", "checkpoint_id": "i" * 300}, "/ops/0/id"),
])
def test_names_that_are_not_allowed(saver, bad, field):
    with pytest.raises(InvalidRequestError) as e:
        saver.get_tuple({"configurable": bad})
    assert e.value.field == field and isinstance(e.value, ValueError) and e.value.request_id


def test_a_lone_surrogate_in_a_name_is_refused(saver):
    with pytest.raises(InvalidRequestError):
        saver.get_tuple(config("a\ud800"))


def test_without_thread_id(saver):
    for call in (lambda: saver.get_tuple({"configurable": {}}), lambda: saver.put({"configurable": {"checkpoint_ns": ""}}, empty_checkpoint(), {}, {})):
        with pytest.raises(ValueError, match="thread_id"):
            call()


def test_a_client_is_shared_and_not_closed(server, thread):
    with Client(server.url) as client:
        with CenoteSaver(client) as s:
            put(s, thread, {"x": [1]})
        assert CenoteSaver(client).get_tuple(config(thread)).checkpoint["channel_values"] == {"x": [1]}


def test_users_do_not_see_each_other(server, thread):
    with CenoteSaver.connect(server.url, user="ann") as ann, CenoteSaver.connect(server.url, user="bob") as bob:
        at = put(ann, thread, {"x": [1]})
        assert bob.get_tuple(config(thread)) is None and list(bob.list(config(thread))) == []
        with pytest.raises(ConflictError):
            put(bob, thread, {"x": [2]})
        with pytest.raises(ConflictError):
            bob.put_writes(at, [("x", 1)], "t")
        bob.delete_thread(thread)
        bob.prune([thread], strategy="delete")
        assert ann.get_tuple(config(thread)).checkpoint["channel_values"] == {"x": [1]}
