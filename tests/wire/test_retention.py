"""Retention in the background, beside writers: what the rules let go goes, nothing else; a thread's own time to live; a dry run tells and changes
nothing."""
import time

import pytest

from frames import Frames, checkpoint_id
from server import PATIENCE

RULES = "default/chat-: last=1; default/idle-: idle=1; *: days=30"


@pytest.fixture
def house(kind, start):
    with start(kind, "--privacy-retention", RULES, "--retention-interval", "1s") as s:
        yield s


def until(what, seconds=PATIENCE):
    """Waits for what() to be true; nothing tells a client when the background has done its work."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen"


def test_rules_in_the_background(house):
    f = Frames(house)
    # ids of now: days=30 keeps them; ids of frames.py are of the past, but not idle for a day since the thread was just written
    for thread in ("chat-1", "other-1"):
        for n in range(5):
            f.put(thread, n, parent=checkpoint_id(n - 1) if n else None, value=b"v%d" % n)
    until(lambda: len(f.one({"op": "list", "thread": "chat-1"})["tuples"]) == 1)
    left = f.one({"op": "list", "thread": "chat-1"})["tuples"][0]
    assert (left["id"], left["parent"], left["values"][0][3]) == (checkpoint_id(4), None, b"v4")
    metrics = house.request("GET", "/metrics").body.decode()
    assert "cenote_retention_" in metrics
    # A writer goes on with what is there.
    f.put("chat-1", 5, parent=checkpoint_id(4), value=b"v5")
    until(lambda: [t["id"] for t in f.one({"op": "list", "thread": "chat-1"})["tuples"]] == [checkpoint_id(5)])
    assert f.one({"op": "get", "thread": "chat-1"})["values"][0][3] == b"v5"
    assert len(f.one({"op": "list", "thread": "other-1"})["tuples"]) == 5


def test_a_threads_own_time_to_live(house):
    made = house.request("POST", "/threads", {"ttl": {"ttl": 0.001, "strategy": "delete"}, "metadata": {"k": 1}})
    assert made.status == 200, made
    until(lambda: house.request("GET", f"/threads/{made.json['thread_id']}").status == 404)
    stays = house.request("POST", "/threads", {"ttl": {"ttl": 1000}})
    assert house.request("GET", f"/threads/{stays.json['thread_id']}").status == 200


def test_a_dry_run_changes_nothing(server):
    f = Frames(server)
    for n in range(6):
        f.put("dry", n, parent=checkpoint_id(n - 1) if n else None)
    r = server.request("POST", "/cenote/v1/threads/prune", {"threads": ["dry"], "keep_last": 2, "dry_run": True})
    assert r.status == 200 and '"checkpoints":4' in r.body.decode().replace(" ", ""), r
    assert len(f.one({"op": "list", "thread": "dry"})["tuples"]) == 6
    told = server.run("threads", "prune", "dry", "--keep-last", "2", "--dry-run", check=0).stdout
    assert "dry" in told and "4" in told
    assert len(f.one({"op": "list", "thread": "dry"})["tuples"]) == 6
    r = server.request("POST", "/cenote/v1/threads/prune", {"threads": ["dry"], "keep_last": 2})
    assert r.status == 200, r
    assert [t["metadata"]["step"] for t in f.one({"op": "list", "thread": "dry"})["tuples"]] == [5, 4]


@pytest.mark.parametrize("rules", ["nonsense", "default: last=0", "*: weeks=3", "default: last=1 last=2", "*: days=x"])
def test_bad_rules_end_the_start(tmp_path, rules):
    from server import Server
    s = Server("--privacy-retention", rules, folder=tmp_path)
    with pytest.raises(RuntimeError) as e:
        s.start()
    assert "ended with 2" in str(e.value) and "privacy.retention" in str(e.value)
