#!/usr/bin/env python3
"""The kill test. Several connections write through HTTP; the server is killed with SIGKILL at a random moment and started again. Then

 - every item whose write was acknowledged is there, byte for byte, in its last acknowledged state or a later one that was under way;
 - every item whose write was not acknowledged is there wholly or not at all;
 - of a request that stores several messages or several items (atomic), all are there or none;
 - what lies under thread names is as threads.py says;
 - the database passes SQLite's integrity check (at the end).

On PostgreSQL (--store postgres; JSON for JSON, not byte for byte) rounds take turns: the daemon is killed; the database server is stopped with
`pg_ctl stop -m immediate` under load and started again, while the daemon goes on; both at once. While the database is away every request is
answered in time, by 503 with Retry-After; when it is back the daemon serves within 2 s. At the end each row is marked as the daemon's own.

    kill.py --rounds 30 [--seed N] [--connections 12] [--store sqlite|postgres] [--gap SECONDS]
                                  prints "ok round N ..." or "not ok round N ...", then "N passed, N failed"
"""
import argparse
import asyncio
import collections
import contextlib
import json
import pathlib
import random
import sqlite3
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "wire"))
from server import Server  # noqa: E402
import threads  # noqa: E402


class Gone(Exception):
    """The connection ended before a whole answer came."""


ANSWER_IN = 15  # seconds that any request may take, whatever has been stopped
SERVED_IN = 2   # seconds after the database has come back


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
                b"%s %s HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s" %
                (m.encode(), p.encode(), b"application/vnd.cenote.frames" if p == threads.PATH else b"application/json", len(b), b) for m, p, b in requests))
            async with asyncio.timeout(ANSWER_IN):
                await self.writer.drain()
                for _ in requests:
                    answers.append(await self.answer())
        except TimeoutError:
            raise RuntimeError(f"{requests[len(answers)][:2]}: no answer in {ANSWER_IN} s") from None
        except (OSError, asyncio.IncompleteReadError) as e:
            gone = Gone(str(e))
            gone.answers = answers
            raise gone from None
        return answers

    async def answer(self):
        head = await self.reader.readuntil(b"\r\n\r\n")
        status, length, retry = int(head[9:12]), 0, False
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line[15:])
            retry |= line.startswith(b"retry-after:")
        body = await self.reader.readexactly(length)
        if status == 503 and not retry:
            raise RuntimeError(f"503 without Retry-After: {body[:300]!r}")
        return status, body


class Truth:
    """What may be in the store: per (namespace, key) the last acknowledged value, and the values under way since (None: deleted)."""

    def __init__(self):
        self.acked, self.maybe = {}, collections.defaultdict(list)
        self.threads = {}  # of each connection
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


class Load:
    """What the writers of a round share."""

    def __init__(self, server, truth, round_no):
        self.server, self.truth, self.round_no = server, truth, round_no
        self.away = False  # 503 is a good answer
        self.over = False  # the round ends without a kill
        self.counts = collections.Counter()

    def done(self, c, answer, good):
        """Whether it was acknowledged; a refusal is fine only when the database was away at some time of it."""
        status, body = answer
        if status == good:
            self.counts["acked"] += 1
            return True
        if status != 503 or not (self.away or c.was_away):
            raise RuntimeError(f"{status} {body[:300]!r}")
        self.counts["refused"] += 1
        return False


async def write_until(load, rng, me):
    """Until the server is gone or the round is over."""
    c = Connection(load.server)
    await c.open()
    n = 0
    try:
        while not load.over:
            n += 1
            kind = rng.random()
            c.was_away = load.away
            if kind > 0.7:
                name = f"w{me}-{load.round_no // 10}"  # a new thread every ten rounds
                good = await threads.write(load, c, rng, load.truth.threads.setdefault(name, threads.Thread(name)))
            elif kind < 0.1:
                good = await write_group(load, c, rng, f"{'m' if kind < 0.05 else 'b'}-r{load.round_no}-c{me}-{n}")
            elif kind < 0.22:
                good = await write_hot(load, c, rng, f"crash.c{me}", n)
            else:
                good = await write_new(load, c, rng, f"crash.c{me}", n)
            if not good:
                await asyncio.sleep(0.02)  # a client that was refused does not come back at once
    except Gone:
        return
    finally:
        c.close()


async def write_group(load, c, rng, name):
    """Several messages, or several items, in one request."""
    size = rng.randrange(2, 9)
    load.truth.groups[name] = (False, size)
    if name[0] == "m":
        path, body = "/cenote/v1/messages", {"messages": [
            {"thread": name, "user": "crash", "role": "user", "content": f"{name} {i} ferry"} for i in range(size)]}
    else:
        path, body = "/cenote/v1/batch?atomic=true", {"operations": [
            {"op": "put", "namespace": ["batch"], "key": f"{name}-{i}", "value": {"of": name}} for i in range(size)]}
    good = load.done(c, await c.ask("POST", path, json.dumps(body).encode()), 200)
    if good:
        load.truth.groups[name] = (True, size)
    return good


async def write_hot(load, c, rng, space, n):
    """Overwrites or deletes one of few keys, again and again."""
    ident, labels = (space, f"hot{rng.randrange(4)}"), space.split(".")
    value = None if rng.random() < 0.2 else make_value(rng, f"{load.round_no}-{n}")
    load.truth.begin(ident, value)
    if value is None:
        answer = await c.ask("DELETE", "/store/items", json.dumps({"namespace": labels, "key": ident[1]}).encode())
    else:
        answer = await c.ask("PUT", "/store/items", put_body(labels, ident[1], value))
    good = load.done(c, answer, 204)
    if good:
        load.truth.acknowledge(ident, value)
    return good


async def write_new(load, c, rng, space, n):
    """New items, some of them pipelined."""
    many = [((space, f"r{load.round_no}-{n}-{i}"), make_value(rng, f"{load.round_no}-{n}-{i}")) for i in range(rng.choice((1, 1, 1, 4)))]
    for ident, value in many:
        load.truth.begin(ident, value)
    try:
        answers = await c.ask_many([("PUT", "/store/items", put_body(space.split("."), i[1], v)) for i, v in many])
    except Gone as e:
        answers = e.answers
    good = True
    for (ident, value), answer in zip(many, answers):
        if load.done(c, answer, 204):
            load.truth.acknowledge(ident, value)
        else:
            good = False
    if len(answers) < len(many):
        raise Gone("in the middle of a pipeline")
    return good


def put_body(labels, key, value):
    return b'{"namespace":%s,"key":"%s","value":%s}' % (json.dumps(labels).encode(), key.encode(), value)


def is_in(server, value, body):
    """SQLite gives the bytes back, PostgreSQL's jsonb the same JSON."""
    if server.store.startswith("sqlite"):
        return b'"value":' + value in body
    return json.loads(body)["value"] == json.loads(value)


async def verify(server, truth, idents, groups, named_threads, at_once=8, pipeline=16):
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
                    seen = next((v for v in allowed if v is not None and is_in(server, v, body)), body)
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

    async def named():
        c = Connection(server)
        await c.open()
        for thread in named_threads:
            wrong.extend([w async for w in threads.check(c, thread)])
        c.close()

    await asyncio.gather(*[items() for _ in range(at_once)], messages(), messages(), named())
    return wrong


def let_finish(pg):
    """What a killed daemon has sent the database goes on until it notices: until then an unanswered write may still happen."""
    import psycopg
    with psycopg.connect(pg.url, autocommit=True) as db:
        while db.execute("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()").fetchone()[0]:
            pass


async def served_again(server):
    """Seconds until a put is acknowledged."""
    began = time.monotonic()
    c = Connection(server)
    await c.open()
    while (await c.ask("PUT", "/store/items", put_body(["probe"], "k", b"{}")))[0] != 204:
        if time.monotonic() - began > 60:
            break
        await asyncio.sleep(0.01)
    c.close()
    return time.monotonic() - began


async def one_round(server, truth, rng, round_no, connections, pg, gap):
    """Returns (what is wrong, acknowledged, what happened, seconds of recovery)."""
    load = Load(server, truth, round_no)
    known = list(truth.acked)
    what = ("daemon", "database", "daemon", "database", "both")[round_no % 5] if pg else "daemon"
    tasks = [asyncio.create_task(write_until(load, random.Random(rng.random()), i)) for i in range(connections)]
    await asyncio.sleep(rng.uniform(0.02, 0.6))  # the moment of the kill; nothing waits for it
    wrong, recovery = [], 0.0
    if what != "daemon":
        load.away = True
        await asyncio.to_thread(pg.stop, "immediate")
        await asyncio.sleep(gap if gap is not None else rng.uniform(0.0, 0.5))
    if what != "database":
        server.process.kill()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        server.kill()
    if what != "daemon":
        await asyncio.to_thread(pg.start)
    elif pg:
        await asyncio.to_thread(let_finish, pg)
    if what != "database":
        began = time.monotonic()
        server.start()
        recovery = time.monotonic() - began
    else:
        recovery = await served_again(server)
        if recovery > SERVED_IN:
            wrong.append(f"served again only {recovery:.1f} s after the database was back")
        load.away = False
        await asyncio.sleep(rng.uniform(0.05, 0.3))  # some more load, that has to succeed
        load.over = True
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    wrong += [f"while writing: {e!r}" for e in ended if isinstance(e, Exception)]
    # All of this round, and a sample of what was there before.
    idents = [i for i in truth.maybe if i not in truth.acked]
    fresh = [i for i in truth.acked if i[1].startswith((f"r{round_no}-", "hot"))]
    idents += fresh + rng.sample(known, min(500, len(known)))
    groups = [g for g in truth.groups if g.startswith((f"m-r{round_no}-", f"b-r{round_no}-"))]
    mine = [t for t in truth.threads.values() if t.name.endswith(f"-{round_no // 10}")]
    wrong += await verify(server, truth, list(dict.fromkeys(idents)), groups, mine)
    return wrong, load.counts, what, recovery


def sound_sqlite(server):
    for path in (server.folder / "data").rglob("*"):
        if path.is_file() and path.read_bytes()[:15] == b"SQLite format 3":
            with contextlib.closing(sqlite3.connect(path)) as db:
                result = db.execute("pragma integrity_check").fetchone()[0]
            if result != "ok":
                yield f"{path.name}: {result}"


def sound_postgres(server):
    """Nobody else has written: every row of store is described by a row of cenote_item of the same transaction, and the other way round."""
    import psycopg
    with psycopg.connect(server.store) as db:
        n = db.execute("SELECT count(*) FROM store s FULL JOIN cenote_item c USING (prefix, key) WHERE c.mark IS DISTINCT FROM s.xmin").fetchone()[0]
        if n:
            yield f"{n} rows of store and cenote_item do not belong together"
        n = db.execute("SELECT count(*) FROM cenote_thread t WHERE t.messages <> (SELECT count(*) FROM cenote_message m WHERE m.thread_id = t.id)"
                       ).fetchone()[0]
        if n:
            yield f"{n} threads count their messages wrongly"


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--rounds", type=int, default=30)
    p.add_argument("--seed", type=int, default=None)
    p.add_argument("--connections", type=int, default=12)
    p.add_argument("--store", choices=("sqlite", "postgres"), default="sqlite")
    p.add_argument("--layout", choices=("auto", "langgraph", "compact"), default="auto", help="of checkpoints")
    p.add_argument("--gap", type=float, help="seconds for which the database is away; some tenths, at random, unless given")
    a = p.parse_args()
    seed = a.seed if a.seed is not None else random.SystemRandom().randrange(2**31)
    print(f"seed {seed}", flush=True)
    with contextlib.ExitStack() as stack:
        pg, store = None, None
        if a.store == "postgres":
            from postgres import Postgres
            pg = stack.enter_context(Postgres())
            store = pg.url
        loop = stack.enter_context(contextlib.closing(asyncio.new_event_loop()))
        server = Server(store=store, env={"CENOTE_CHECKPOINTS_LAYOUT": a.layout})
        stack.callback(server.remove)
        stack.callback(server.kill)
        passed, failed = rounds(server, pg, loop, a, random.Random(seed))
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


def rounds(server, pg, loop, a, rng):
    truth, passed, failed = Truth(), 0, 0
    server.start()
    for n in range(1, a.rounds + 1):
        wrong, counts, what, recovery = loop.run_until_complete(one_round(server, truth, rng, n, a.connections, pg, a.gap))
        passed, failed = passed + (not wrong), failed + bool(wrong)
        refused = f", {counts['refused']} refused" if counts["refused"] else ""
        print(f"{'not ok' if wrong else 'ok'} round {n}: {counts['acked']} acknowledged{refused}, {what} again after {recovery * 1000:.0f} ms",
              flush=True)
        for w in wrong[:10]:
            print("    " + w, flush=True)
    everything = loop.run_until_complete(verify(server, truth, list(truth.acked), list(truth.groups), truth.threads.values()))
    code = server.stop()
    if code != 0:
        everything.append(f"SIGTERM ended it with {code}")
    everything += sound_postgres(server) if pg else sound_sqlite(server)
    print(f"{'not ok' if everything else 'ok'} at the end: {len(truth.acked)} items, {len(truth.groups)} groups, {len(truth.threads)} threads", flush=True)
    for w in everything[:10]:
        print("    " + w, flush=True)
    return passed + (not everything), failed + bool(everything)


if __name__ == "__main__":
    sys.exit(main())
