#!/usr/bin/env python3
"""The kill test. Several connections write through HTTP; the server is killed with SIGKILL at a random moment and started again. Then

 - every item whose write was acknowledged is there, byte for byte, in its last acknowledged state or a later one that was under way;
 - every item whose write was not acknowledged is there wholly or not at all;
 - of a request that stores several messages or several items (atomic), all are there or none;
 - the database passes SQLite's integrity check (at the end).

    kill.py --rounds 30 [--seed N] [--connections 12]        prints "ok round N ..." or "not ok round N ...", then "N passed, N failed"
"""
import argparse
import asyncio
import collections
import json
import pathlib
import random
import sqlite3
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "wire"))
from server import Server  # noqa: E402


class Gone(Exception):
    """The connection ended before a whole answer came."""


class Connection:
    """One kept-alive HTTP/1.1 connection, just enough of it."""

    def __init__(self, server):
        self.server = server

    async def open(self):
        self.reader, self.writer = await asyncio.open_connection(self.server.host, self.server.port, limit=1 << 22)

    def close(self):
        self.writer.close()

    async def ask(self, method, path, body=b""):
        return (await self.ask_many([(method, path, body)]))[0]

    async def ask_many(self, requests):
        """Pipelined: all requests, then all answers in order. Raises Gone with .answers = those that came."""
        answers = []
        try:
            self.writer.write(b"".join(
                b"%s %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" %
                (m.encode(), p.encode(), len(b), b) for m, p, b in requests))
            await self.writer.drain()
            for _ in requests:
                head = await self.reader.readuntil(b"\r\n\r\n")
                status, length = int(head[9:12]), 0
                for line in head.split(b"\r\n"):
                    if line.lower().startswith(b"content-length:"):
                        length = int(line[15:])
                answers.append((status, await self.reader.readexactly(length)))
        except (OSError, asyncio.IncompleteReadError) as e:
            gone = Gone(str(e))
            gone.answers = answers
            raise gone from None
        return answers


class Truth:
    """What may be in the store: per (namespace, key) the last acknowledged value, and the values under way since (None: deleted)."""

    def __init__(self):
        self.acked, self.maybe = {}, collections.defaultdict(list)
        self.groups = {}  # name -> (acknowledged, size); m-...: messages of a thread, b-...: items of an atomic batch

    def begin(self, ident, value):
        self.maybe[ident].append(value)

    def acknowledge(self, ident, value):
        self.acked[ident] = value
        self.maybe.pop(ident, None)

    def allowed(self, ident):
        return [self.acked.get(ident)] + self.maybe.get(ident, [])

    def settle(self, ident, value):
        """Seen after a restart: from now on it has to stay."""
        self.acked[ident] = value
        self.maybe.pop(ident, None)


def make_value(rng, name):
    """JSON with spellings that only survive when the bytes are kept."""
    words = " ".join(rng.choice(("boat", "harbour", "Brücke", "rye", "starter", "ferry", "walnut", "lamp", "\\u00e9t\\u00e9", "🌉"))
                     for _ in range(rng.randrange(1, 120)))
    return ('{ "name":"%s","n":%d.0e1 , "text":"%s","list":[ 1,2.50,true ]}' % (name, rng.randrange(10**6), words)).encode()


async def write_for_ever(server, truth, rng, me, round_no, counts):
    c = Connection(server)
    await c.open()
    n = 0
    space = f"crash.c{me}"
    labels = space.split(".")
    try:
        while True:
            kind = rng.random()
            n += 1
            if kind < 0.1:  # several messages, or several items, in one request
                name = f"{'m' if kind < 0.05 else 'b'}-r{round_no}-c{me}-{n}"
                size = rng.randrange(2, 9)
                truth.groups[name] = (False, size)
                if name[0] == "m":
                    path, body = "/cenote/v1/messages", {"messages": [
                        {"thread": name, "user": "crash", "role": "user", "content": f"{name} {i} ferry"} for i in range(size)]}
                else:
                    path, body = "/cenote/v1/batch?atomic=true", {"operations": [
                        {"op": "put", "namespace": ["batch"], "key": f"{name}-{i}", "value": {"of": name}} for i in range(size)]}
                status, answer = await c.ask("POST", path, json.dumps(body).encode())
                if status != 200:
                    raise RuntimeError(f"{path}: {status} {answer[:300]!r}")
                truth.groups[name] = (True, size)
                counts["acked"] += 1
                continue
            if kind < 0.22:  # overwrite or delete one of few keys, again and again
                ident = (space, f"hot{rng.randrange(4)}")
                value = None if rng.random() < 0.2 else make_value(rng, f"{round_no}-{n}")
                truth.begin(ident, value)
                if value is None:
                    status, answer = await c.ask("DELETE", "/store/items",
                                                 json.dumps({"namespace": labels, "key": ident[1]}).encode())
                else:
                    status, answer = await c.ask("PUT", "/store/items", put_body(labels, ident[1], value))
                if status != 204:
                    raise RuntimeError(f"{status} {answer[:300]!r}")
                truth.acknowledge(ident, value)
                counts["acked"] += 1
                continue
            # new items, some of them pipelined
            many = [((space, f"r{round_no}-{n}-{i}"), make_value(rng, f"{round_no}-{n}-{i}")) for i in range(rng.choice((1, 1, 1, 4)))]
            for ident, value in many:
                truth.begin(ident, value)
            try:
                answers = await c.ask_many([("PUT", "/store/items", put_body(labels, i[1], v)) for i, v in many])
            except Gone as e:
                answers = e.answers
            for (ident, value), (status, answer) in zip(many, answers):
                if status != 204:
                    raise RuntimeError(f"{status} {answer[:300]!r}")
                truth.acknowledge(ident, value)
                counts["acked"] += 1
            if len(answers) < len(many):
                return
    except Gone:
        return
    finally:
        c.close()


def put_body(labels, key, value):
    return b'{"namespace":%s,"key":"%s","value":%s}' % (json.dumps(labels).encode(), key.encode(), value)


async def verify(server, truth, idents, groups, at_once=8, pipeline=16):
    """Reads every ident and group back; returns the list of what is wrong."""
    wrong = []
    work = collections.deque([idents[i:i + pipeline] for i in range(0, len(idents), pipeline)])

    async def items():
        c = Connection(server)
        await c.open()
        while work:
            part = work.popleft()
            answers = await c.ask_many([("GET", f"/store/items?namespace={ns}&key={key}", b"") for ns, key in part])
            for ident, (status, body) in zip(part, answers):
                allowed = truth.allowed(ident)
                if status == 200 and body == b"null":
                    seen = None
                elif status == 200:
                    seen = next((v for v in allowed if v is not None and b'"value":' + v in body), body)
                else:
                    seen = b"%d " % status + body
                if seen in allowed:
                    truth.settle(ident, seen)
                else:
                    wrong.append(f"{ident}: {seen[:200] if seen else 'is missing'}; acknowledged {(truth.acked.get(ident) or b'')[:200]}")
        c.close()

    left = collections.deque(groups)

    async def messages():
        c = Connection(server)
        await c.open()
        while left:
            name = left.popleft()
            acked, size = truth.groups[name]
            if name[0] == "m":
                status, body = await c.ask("GET", f"/cenote/v1/threads/{name}/messages?limit=100")
                got = len(json.loads(body)["data"]) if status == 200 else 0
            else:
                gets = [("GET", f"/store/items?namespace=batch&key={name}-{i}", b"") for i in range(size)]
                answers = await c.ask_many(gets)
                status = max(a[0] for a in answers)
                got = sum(b'"of":"%s"' % name.encode() in body.replace(b" ", b"") for _, body in answers)
            if status not in (200, 404) or got not in ((size,) if acked else (0, size)):
                wrong.append(f"{name}: {got} of {size} are there, acknowledged: {acked} ({status})")
            else:
                truth.groups[name] = (got == size, size) if got else (acked, size)
        c.close()

    await asyncio.gather(*[items() for _ in range(at_once)], messages(), messages())
    return wrong


async def one_round(server, truth, rng, round_no, connections):
    counts = collections.Counter()
    before = len(truth.acked)
    known = list(truth.acked)
    tasks = [asyncio.create_task(write_for_ever(server, truth, random.Random(rng.random()), i, round_no, counts))
             for i in range(connections)]
    await asyncio.sleep(rng.uniform(0.02, 0.6))  # the moment of the kill; nothing waits for it
    server.process.kill()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    server.kill()
    started = time.monotonic()
    server.start()
    recovery = time.monotonic() - started
    wrong = [f"while writing: {e}" for e in ended if isinstance(e, Exception)]
    # All of this round, and a sample of what was there before.
    idents = [i for i in truth.maybe if i not in truth.acked]
    fresh = [i for i in truth.acked if i[1].startswith((f"r{round_no}-", "hot"))]
    idents += fresh + rng.sample(known, min(500, len(known)))
    groups = [g for g in truth.groups if g.startswith((f"m-r{round_no}-", f"b-r{round_no}-"))]
    wrong += await verify(server, truth, list(dict.fromkeys(idents)), groups)
    return wrong, counts["acked"], recovery, before


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--rounds", type=int, default=30)
    p.add_argument("--seed", type=int, default=None)
    p.add_argument("--connections", type=int, default=12)
    a = p.parse_args()
    seed = a.seed if a.seed is not None else random.SystemRandom().randrange(2**31)
    print(f"seed {seed}", flush=True)
    rng, truth, passed, failed = random.Random(seed), Truth(), 0, 0
    server = Server()
    loop = asyncio.new_event_loop()
    try:
        server.start()
        for n in range(1, a.rounds + 1):
            wrong, acked, recovery, _ = loop.run_until_complete(one_round(server, truth, rng, n, a.connections))
            passed, failed = passed + (not wrong), failed + bool(wrong)
            print(f"{'not ok' if wrong else 'ok'} round {n}: {acked} acknowledged, restart {recovery * 1000:.0f} ms", flush=True)
            for w in wrong[:10]:
                print("    " + w, flush=True)
        everything = loop.run_until_complete(verify(server, truth, list(truth.acked), list(truth.groups)))
        code = server.stop()
        if code != 0:
            everything.append(f"SIGTERM ended it with {code}")
        for path in (server.folder / "data").rglob("*"):
            if path.is_file() and path.read_bytes()[:15] == b"SQLite format 3":
                db = sqlite3.connect(path)
                result = db.execute("pragma integrity_check").fetchone()[0]
                db.close()
                if result != "ok":
                    everything.append(f"{path.name}: {result}")
        print(f"{'not ok' if everything else 'ok'} at the end: {len(truth.acked)} items, {len(truth.groups)} threads and batches", flush=True)
        for w in everything[:10]:
            print("    " + w, flush=True)
        passed, failed = passed + (not everything), failed + bool(everything)
    finally:
        loop.close()
        server.kill()
        server.remove()
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
