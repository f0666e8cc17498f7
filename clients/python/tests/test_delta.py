"""History of delta channels: what the server walks equals what the base class finds with one get_tuple per ancestor."""
import asyncio
import random

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.serde.types import _DeltaSnapshot
from test_saver import checkpoint, config

CHANNELS = ["plain", "delta", "inline", "never"]


def grow(saver, thread, rng, n, ns=""):
    """A random tree of checkpoints; their configs."""
    ats = []
    versions = {c: None for c in CHANNELS}
    for step in range(n):
        values = {}
        parent = rng.choice(ats[-3:]) if ats and rng.random() < 0.9 else None
        for c in CHANNELS[:3]:
            versions[c] = saver.get_next_version(versions[c], None)
        if rng.random() < 0.2:
            values["delta"] = _DeltaSnapshot([step])
        if rng.random() < 0.15:
            values["plain"] = {"step": step}
        if rng.random() < 0.15:
            values["inline"] = rng.choice([0, "", False, step, 2.5])
        c = checkpoint(values, saver, step % 8000, {k: v for k, v in versions.items() if v})
        at = saver.put(config(thread, ns, parent and parent["configurable"]["checkpoint_id"]), c, {"step": step}, c["channel_versions"])
        ats.append(at)
        for task in range(rng.randrange(3)):
            writes = [(rng.choice(CHANNELS[:3]), (step, task, i)) for i in range(rng.randrange(4))]
            saver.put_writes(at, writes, f"{rng.random()}", rng.choice(["", "~b", "~a", "~Z"]))
    return ats


def test_the_same_as_the_base_class(saver, thread):
    rng = random.Random(7)
    for round in range(8):
        name, ns = f"{thread}-{round}", rng.choice(["", "sub:1"])
        for at in grow(saver, name, rng, 25, ns)[::4] + [config(name, ns)]:
            want = BaseCheckpointSaver.get_delta_channel_history(saver, config=at, channels=CHANNELS)
            assert saver.get_delta_channel_history(config=at, channels=CHANNELS) == want
            assert asyncio.run(saver.aget_delta_channel_history(config=at, channels=CHANNELS)) == want


def test_edges(saver, thread):
    assert saver.get_delta_channel_history(config=config(thread), channels=[]) == {}
    assert saver.get_delta_channel_history(config=config(thread), channels=["a"]) == {"a": {"writes": []}}
    assert saver.get_delta_channel_history(config=config(thread), channels=["a", "b", "a"]) == {"a": {"writes": []}, "b": {"writes": []}}
    a = saver.put(config(thread), checkpoint({"big": 2**70}, saver), {}, {"big": "1"})
    b = saver.put(a, checkpoint({}, saver, 1), {}, {})
    saver.put_writes(a, [("big", "of the seed's own")], "t")
    saver.put_writes(b, [("big", "pending")], "t")
    got = saver.get_delta_channel_history(config=b, channels=["big"])
    assert got["big"]["writes"] == [("t", "big", "of the seed's own")]


def test_pruning_leaves_what_rebuilds(saver, thread):
    rng = random.Random(11)
    for round in range(6):
        name = f"{thread}-{round}"
        grow(saver, name, rng, 20)
        head = saver.get_tuple(config(name))
        before = saver.get_delta_channel_history(config=head.config, channels=CHANNELS)
        saver.prune([name])
        after = saver.get_tuple(config(name))
        assert after.checkpoint == head.checkpoint and after.pending_writes == head.pending_writes
        kept = {c for c in CHANNELS[:3] if c not in head.checkpoint["channel_values"]}
        history = saver.get_delta_channel_history(config=head.config, channels=CHANNELS)
        for c in kept:
            if "seed" in before[c] and isinstance(before[c]["seed"], _DeltaSnapshot):
                assert history[c] == before[c], (name, c)
