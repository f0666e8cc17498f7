"""What the kill test does under thread names: checkpoints with pending writes, forks, prunes, session entries. After a restart

 - the latest acknowledged checkpoint of a thread is there, or a later one that was under way; its values, parents and pending writes are whole;
 - of a request with several checkpoints, all are there or none; what prune kept is whole;
 - the entries of a session are the acknowledged ones in order, followed at most by those of one request that was under way.
"""
import json
import struct

PATH = "/cenote/v1/checkpoints"


def frames(ops, blobs=()):
    head = json.dumps({"ops": ops}, separators=(",", ":")).encode()
    return struct.pack("<I", len(head)) + head + b"".join(blobs)


def unframe(body):
    n, = struct.unpack_from("<I", body)
    return json.loads(body[4:4 + n])["results"], memoryview(body)[4 + n:]


def checkpoint_id(n):
    return f"1f1e{n >> 28 & 0xffff:04x}-{n >> 12 & 0xffff:04x}-6{n & 0xfff:03x}-8000-0123456789ab"


def value(name, n):
    """Grows with n and shares its beginning with the value before, so that the compact layout has something to share."""
    return b"".join(b"%s message %d of a talk about boats; " % (name.encode(), i) for i in range(n + 1))


class Thread:
    """One writer's thread and what is known of it."""

    def __init__(self, name):
        self.name, self.n = name, 0
        self.acked = -1     # greatest number acknowledged
        self.tried = -1     # greatest number sent
        self.kept = {}      # numbers that must be there: number -> parent number or None
        self.unsure = set()  # numbers that may be gone or there: pruned by a request that was not answered
        self.items = 0
        self.entries = []  # (items of a request, acknowledged)

    def put_op(self, n, parent):
        """The operation and the bytes of its value; with a pending write."""
        ident, version = checkpoint_id(n), f"{n + 1:032}.0"
        body = value(self.name, n)
        ops = [{"op": "put", "thread": self.name, "ns": "", "id": ident, "parent": None if parent is None else checkpoint_id(parent),
                "checkpoint": {"v": 4, "id": ident, "ts": "", "channel_values": {"n": n}, "channel_versions": {"messages": version, "n": version},
                               "versions_seen": {}}, "metadata": {"step": n, "source": "loop"},
                "values": [["messages", version, "bytes", len(body)]]},
               {"op": "writes", "thread": self.name, "ns": "", "id": ident, "task_id": "task", "writes": [[0, "messages", "bytes", 5]]}]
        return ops, [body, b"ahoy%d" % (n % 10)]


async def write(load, c, rng, thread):
    """One request of a writer; whether it was acknowledged."""
    kind = rng.random()
    if kind < 0.3:
        return await add_entries(load, c, rng, thread)
    if kind < 0.4 and len(thread.kept) > 3:
        return await prune(load, c, thread)
    count, ops, blobs, new = rng.choice((1, 1, 3)), [], [], []
    # A parent is one that is there: of a name that may be pruned by now nobody could say what it should be.
    there = sorted(set(thread.kept) - thread.unsure)
    for _ in range(count):
        # mostly the next step; sometimes a fork of an older one
        latest = new[-1][0] if new else thread.acked if thread.acked in there else None
        parent = rng.choice(there) if there and rng.random() < 0.15 else latest
        more, bytes_ = thread.put_op(thread.n, parent)
        ops, blobs = ops + more, blobs + bytes_
        new.append((thread.n, parent))
        thread.n += 1
    thread.tried = thread.n - 1
    status, body = await c.ask("POST", PATH, frames(ops, blobs))
    if status == 200:  # neighbours are one transaction: all have the same error
        errors = [r["error"] for r in unframe(body)[0] if "ok" not in r]
        if errors:
            status, body = errors[0]["status"], json.dumps(errors[0]).encode()
    if not load.done(c, (status, body), 200):
        return False
    thread.kept.update(new)
    thread.acked = thread.n - 1
    return True


async def prune(load, c, thread):
    head = max(thread.kept)
    # What an unanswered request of before had stored may be the head.
    thread.unsure |= set(thread.kept) - ({head} if head == thread.tried else set())
    status, body = await c.ask("POST", PATH, frames([{"op": "prune", "threads": [thread.name]}]))
    if not load.done(c, (status, body), 200):
        return False
    assert "ok" in unframe(body)[0][0], body[:300]
    thread.kept = {head: None} if head == thread.tried else {}
    thread.unsure = set() if head == thread.tried else {head}
    return True


async def add_entries(load, c, rng, thread):
    count = rng.randrange(1, 4)
    items = [{"role": "user", "content": f"{thread.name} {thread.items + i}"} for i in range(count)]
    thread.items += count
    thread.entries.append((items, False))
    if not load.done(c, await c.ask("POST", f"/cenote/v1/sessions/{thread.name}/items", json.dumps({"items": items}).encode()), 200):
        return False
    thread.entries[-1] = (items, True)
    return True


def split(shape, blobs):
    """Replaces the lengths at the ends of elements by their bytes, in order of mention."""
    at = 0
    for key in ("values", "writes"):
        for element in shape.get(key, []):
            element[-1], at = bytes(blobs[at:at + element[-1]]), at + element[-1]
    return at


async def check(c, thread):
    """Yields what is wrong, and takes what is there for the truth from now on."""
    status, body = await c.ask("POST", PATH, frames([{"op": "list", "thread": thread.name}]))
    if status != 200:
        yield f"{thread.name}: {status} {body[:200]!r}"
        return
    results, blobs = unframe(body)
    tuples, at, seen = results[0]["ok"]["tuples"], 0, {}
    for t in tuples:
        at += split(t, blobs[at:])
        n = t["metadata"]["step"]
        seen[n] = t
        if t["id"] != checkpoint_id(n) or t["checkpoint"]["id"] != t["id"]:
            yield f"{thread.name}: {t['id']} is not {n}"
        if [v[3] for v in t["values"]] != [value(thread.name, n)]:
            yield f"{thread.name}: the value of {n} is not whole"
        if [w[5] for w in t["writes"]] != [b"ahoy%d" % (n % 10)]:
            yield f"{thread.name}: the pending writes of {n} are not whole"
    for n in thread.kept:
        if n not in seen and n not in thread.unsure:
            yield f"{thread.name}: {n} was acknowledged and is missing"
    head = max(seen, default=-1)
    if head < thread.acked:
        yield f"{thread.name}: the head is {head}, acknowledged {thread.acked}"
    ids = {t["id"] for t in tuples}
    for n, t in seen.items():
        if n in thread.kept and n not in thread.unsure and t["parent"] and t["parent"] not in ids:
            yield f"{thread.name}: the parent of {n} is gone and still named"
    thread.kept = {n: None for n in seen}
    thread.unsure, thread.acked, thread.n = set(), head, max(thread.n, head + 1)
    thread.tried = head
    status, body = await c.ask("GET", f"/cenote/v1/sessions/{thread.name}/items")
    got, at = json.loads(body)["data"] if status == 200 else [], 0
    for items, acked in thread.entries:
        if got[at:at + len(items)] == items:
            at += len(items)
        elif acked:
            yield f"{thread.name}: entry {items[0]} was acknowledged and is missing, or not in its place"
    if at != len(got):
        yield f"{thread.name}: entry {got[at]} was not expected there"
    thread.entries = [([item], True) for item in got]
