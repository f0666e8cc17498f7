"""The form of POST /cenote/v1/checkpoints (docs/checkpoints.md), by hand: for tests that must not depend on an adapter."""
import json
import struct

PATH = "/cenote/v1/checkpoints"
TYPE = {"Content-Type": "application/vnd.cenote.frames"}


def frames(ops, blobs=()):
    head = json.dumps({"ops": ops}, separators=(",", ":")).encode()
    return struct.pack("<I", len(head)) + head + b"".join(blobs)


def unframe(body):
    """(results, the bytes behind the head)"""
    n, = struct.unpack_from("<I", body)
    return json.loads(body[4:4 + n])["results"], memoryview(body)[4 + n:]


def with_bytes(tuples, blobs):
    """Replaces the lengths at the ends of elements by their bytes."""
    at = 0
    for t in tuples:
        for element in [*t["values"], *t["writes"], *t.get("sends", [])]:
            element[-1], at = bytes(blobs[at:at + element[-1]]), at + element[-1]
    assert at == len(blobs)
    return tuples


def checkpoint_id(n, tail="0123456789ab"):
    """A UUIDv6 that grows with n."""
    return f"1f1e{n >> 28 & 0xffff:04x}-{n >> 12 & 0xffff:04x}-6{n & 0xfff:03x}-8000-{tail}"


def put_op(thread, n, parent=None, ns="", value=b"x", metadata=None, tail="0123456789ab", channel="messages"):
    """(operation, [bytes]): a checkpoint with one value of its own version."""
    ident, version = checkpoint_id(n, tail), f"{n + 1:032}.{tail}"
    return {"op": "put", "thread": thread, "ns": ns, "id": ident, "parent": parent,
            "checkpoint": {"v": 4, "id": ident, "ts": "2026-11-21T12:40:08.162879+00:00", "channel_values": {},
                           "channel_versions": {channel: version}, "versions_seen": {}},
            "metadata": {"step": n, "source": "loop", **(metadata or {})}, "values": [[channel, version, "bytes", len(value)]]}, [value]


class Frames:
    """Calls of the protocol on a Server."""

    def __init__(self, server, headers=None):
        self.server, self.headers = server, headers or {}

    def send(self, ops, blobs=()):
        r = self.server.request("POST", PATH, frames(ops, blobs), {**TYPE, **self.headers})
        assert r.status == 200, r
        return unframe(r.body)

    def one(self, op, *blobs):
        """The result of one operation; tuples with their bytes."""
        results, rest = self.send([op], blobs)
        result = results[0]["ok"]
        if op["op"] == "get" and result:
            with_bytes([result], rest)
        elif op["op"] == "list":
            with_bytes(result["tuples"], rest)
        return result

    def put(self, thread, n, **kw):
        op, blobs = put_op(thread, n, **kw)
        self.one(op, *blobs)
        return op["id"]
