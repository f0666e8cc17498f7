"""Sessions in tables that other programs write, too: the Agents SDK's (two of its versions), and the seed's `conversations`."""
import asyncio
import contextlib
import json
import os
import pathlib
import re
import subprocess
import sys
import threading
import time
import urllib.parse

import psycopg
import pytest
from agents.extensions.memory import SQLAlchemySession

from frames import PATH, TYPE, frames, put_op
from pgbouncer import PgBouncer, installed
from postgres import database
from server import WORK, Server, binary, clean_env

pytestmark = pytest.mark.stores("postgres")
HERE = pathlib.Path(__file__).parent
OLD = HERE.parents[1] / "build" / "agents-0.20"
V = "/cenote/v1/sessions"
SEED = """CREATE TABLE conversations (id SERIAL PRIMARY KEY, session_id VARCHAR(255) NOT NULL, role VARCHAR(50) NOT NULL,
 content TEXT NOT NULL, timestamp TIMESTAMP DEFAULT NOW(), metadata JSONB);
CREATE INDEX idx_session ON conversations(session_id)"""


def path(name, rest="/items"):
    return f"{V}/{urllib.parse.quote(name, safe='')}{rest}"


def items(server, name, query=""):
    r = server.request("GET", path(name) + query)
    assert r.status == 200, r
    return r.json["data"]


def add(server, name, what, **more):
    r = server.request("POST", path(name), {"items": what, **more})
    assert r.status == 200, r


def pop(server, name):
    r = server.request("POST", path(name, "/pop"))
    assert r.status == 200, r
    return r.json["item"]


def said(*texts, role="user"):
    return [{"role": role, "content": t} for t in texts]


def sdk(url, name, call, *args):
    """One call of the SDK's session on the same database."""
    async def go():
        s = SQLAlchemySession.from_url(name, url=url.replace("postgresql://", "postgresql+psycopg://"), create_tables=call == "create")
        try:
            return await (s.get_items() if call == "create" else getattr(s, call)(*args))
        finally:
            await s._engine.dispose()

    return asyncio.run(go())


@pytest.fixture
def db(pg_url):
    with psycopg.connect(pg_url, autocommit=True) as c:
        yield c


@pytest.fixture(scope="module")
def old_sdk():
    """Where version 0.20 of the SDK is; its own dependencies are those of the newer one."""
    if not (OLD / "agents").exists():
        subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps", "--target", OLD,
                        "openai-agents==0.20.0"], check=True)
    return OLD


CATALOG = """SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity::text,
 replace(coalesce(pg_get_expr(d.adbin, d.adrelid), ''), 'public.', ''), a.attcollation::regcollation::text FROM pg_class c
 JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
 WHERE c.relname ~ '^(idx_)?agent_' ORDER BY c.relname, a.attnum"""
CONSTRAINTS = """SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid::regclass::text ~ 'agent_' ORDER BY 1"""
INDEXES = """SELECT indexname, indexdef FROM pg_indexes WHERE tablename ~ '^agent_' ORDER BY 1"""


def test_catalog_is_the_sdks(pg_server):
    seen = []
    for cenote in (False, True):
        with database(pg_server) as url:
            if cenote:
                with Server(store=url):
                    pass
            else:
                sdk(url, "s", "create")
            with psycopg.connect(url) as c:
                seen.append([c.execute(q).fetchall() for q in (CATALOG, CONSTRAINTS, INDEXES)])
    assert seen[0] == seen[1] and len(seen[0][0]) > 10 and seen[0][1] and len(seen[0][2]) == 3


class Cenote(threading.Thread):
    """Appends and pops through the server, as agents_writer.py does."""

    def __init__(self, server, session, name, rounds, clear=False):
        super().__init__()
        self.server, self.session, self.name_, self.rounds, self.clear = server, session, name, rounds, clear
        self.appended, self.popped, self.errors = [], [], []

    def run(self):
        for i in range(self.rounds):
            new = said(*(f"{self.name_}-{i}-{k}" for k in range(2)))
            self.call("POST", "/items", {"items": new})
            self.appended += [x["content"] for x in new]
            if i % 3 == 2:
                r = self.call("POST", "/pop")
                self.popped += [r.json["item"]["content"]] if r.status == 200 and r.json["item"] else []
            if self.clear and i % 7 == 6:
                self.call("DELETE", "")

    def call(self, method, rest, body=None):
        r = self.server.request(method, path(self.session, rest), body)
        if r.status >= 300:
            self.errors.append(repr(r))
        return r


def writers(server, url, session, old, rounds, clear=False):
    """Two threads of Cenote and one process of each SDK at once; what the processes said."""
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    ours = [Cenote(server, session, f"c{n}", rounds, clear) for n in range(2)]
    theirs = [subprocess.Popen([sys.executable, HERE / "agents_writer.py", url, session, name, str(rounds), *(["clear"] if clear else [])],
                               stdout=subprocess.PIPE, text=True, env={**env, **({"PYTHONPATH": str(old)} if name == "old" else {})})
              for name in ("old", "new")]
    for t in ours:
        t.start()
    said = [json.loads(p.communicate(timeout=WORK)[0]) for p in theirs]
    for t in ours:
        t.join(WORK)
    assert str(old) in said[0]["file"] and str(old) not in said[1]["file"]
    return ours, said


def test_three_writers_at_once(pg_url, old_sdk):
    with Server(store=pg_url) as server:
        add(server, "s", said("first"))
        ours, theirs = writers(server, pg_url, "s", old_sdk, 40)
        assert [t.errors for t in ours] == [[], []] and [t["errors"] for t in theirs] == [[], []]
        left = [i["content"] for i in items(server, "s")]
        appended = ["first"] + [x for t in ours for x in t.appended] + [x for t in theirs for x in t["appended"]]
        popped = [x for t in ours for x in t.popped] + [x for t in theirs for x in t["popped"]]
        assert sorted(left + popped) == sorted(appended)  # nothing is lost, nothing comes twice
        assert items(server, "s") == sdk(pg_url, "s", "get_items")
        # what one writer appended is in its order
        for name in ("c0", "c1", "old", "new"):
            mine = [tuple(map(int, x.split("-")[1:])) for x in left if x.startswith(name + "-")]
            assert mine == sorted(mine)
        assert pop(server, "s")["content"] == left[-1] and sdk(pg_url, "s", "pop_item")["content"] == left[-2]


def test_with_clears_nothing_of_ours_fails(pg_url, old_sdk):
    with Server(store=pg_url) as server:
        ours, theirs = writers(server, pg_url, "s", old_sdk, 42, clear=True)
        assert [t.errors for t in ours] == [[], []]
        with psycopg.connect(pg_url) as db:
            mine = {pid for pid, in db.execute("SELECT pid FROM pg_stat_activity WHERE application_name = 'cenote'")}
        # Two of theirs may wait for each other: they take no lock on the session.
        assert not [e for t in theirs for e in t["errors"] if "deadlock" in e.lower() and mine & {int(n) for n in re.findall(r"process (\d+)", e.lower())}]
        assert items(server, "s") == sdk(pg_url, "s", "get_items")


def test_each_reads_what_the_other_wrote(pg_url, db):
    odd = [{"role": "user", "content": "1+2? é 💧"}, {"arguments": "{\"a\":1,\"b\":2}", "call_id": "call_1", "name": "add", "type": "function_call",
                                                     "id": "__fake_id__", "provider_data": {"model": "m"}},
           {"call_id": "call_1", "output": "3", "type": "function_call_output"}, {"a": 1.0, "b": None, "c": "\u0000"},
           {"__enc__": 1, "v": 1, "kid": "hkdf-v1", "payload": "gAAAA"}, {"id": "__fake_id__", "content": [], "role": "assistant"}]
    with Server(store=pg_url) as server:
        sdk(pg_url, "theirs", "add_items", odd)
        assert items(server, "theirs") == odd and items(server, "theirs", "?limit=2") == odd[-2:]
        add(server, "theirs", odd)
        assert sdk(pg_url, "theirs", "get_items") == odd + odd == items(server, "theirs")
        add(server, "ours", odd)
        assert sdk(pg_url, "ours", "get_items") == odd
        assert sdk(pg_url, "ours", "pop_item") == odd[-1] and pop(server, "ours") == odd[-2] and items(server, "ours") == odd[:-2]
        assert server.request("DELETE", path("theirs", "")).status == 204
        assert sdk(pg_url, "theirs", "get_items") == [] and db.execute("SELECT session_id FROM agent_sessions").fetchall() == [("ours",)]
        sdk(pg_url, "ours", "clear_session")
        assert items(server, "ours") == []


def test_rows_that_a_compaction_rewrote(pg_url, db):
    """Older times with newer ids: the order is that of time."""
    with Server(store=pg_url) as server:
        add(server, "s", said("1", "2", "3"))
        add(server, "s", said("4"))
        at = db.execute("SELECT created_at FROM agent_messages ORDER BY id").fetchall()[2][0]
        db.execute("DELETE FROM agent_messages WHERE message_data ~ '[123]'")
        db.execute("INSERT INTO agent_messages(session_id, message_data, created_at) VALUES ('s', '{\"type\":\"compaction\"}', %s)", (at,))
        want = [{"type": "compaction"}, *said("4")]
        assert items(server, "s") == want == sdk(pg_url, "s", "get_items")
        add(server, "s", said("5"))
        assert [pop(server, "s") for _ in range(3)] == [*said("5"), *said("4"), {"type": "compaction"}]


def test_rows_that_cannot_be_read(pg_url, db):
    with Server(store=pg_url) as server:
        add(server, "s", said("a"))
        for data in ('{"x": NaN}', '{"x": -Infinity}', "[1]", '"text"', "{", ""):
            db.execute("INSERT INTO agent_messages(session_id, message_data) VALUES ('s', %s)", (data,))
        db.execute("INSERT INTO agent_messages(session_id, message_data) VALUES ('s', %s)", ('{"role": "user", "content": "\\ud83d\\u0000"}',))
        assert items(server, "s") == [*said("a"), *said("\ud83d\u0000")]
        for data in ('{"y": NaN}', "nonsense"):
            db.execute("INSERT INTO agent_messages(session_id, message_data) VALUES ('s', %s)", (data,))
        assert items(server, "s", "?limit=1") == said("\ud83d\u0000")  # N counts readable ones
        assert pop(server, "s") == said("\ud83d\u0000")[0] and pop(server, "s") == said("a")[0] and pop(server, "s") is None
        assert db.execute("SELECT count(*) FROM agent_messages").fetchone() == (8,)  # skipped, kept
        add(server, "s", said("b"))
        assert items(server, "s") == said("b") and pop(server, "s") == said("b")[0]


# ------------------------------------------------------------ conversations


@pytest.fixture
def seeded(db):
    db.execute(SEED)
    for role, text in (("user", "Hello, I am Ann"), ("assistant", "Hi \"Ann\"\n\\ 💧")):
        db.execute("INSERT INTO conversations(session_id, role, content, metadata) VALUES ('u1', %s, %s, '{\"k\": 1}')", (role, text))
    return db


def test_conversations_with_history(pg_url, seeded):
    before = seeded.execute(CATALOG.replace("^(idx_)?agent_", "^(idx_session|conversations)")).fetchall()
    history = [*said("Hello, I am Ann"), *said("Hi \"Ann\"\n\\ 💧", role="assistant")]
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{\"x\": 1.0}"}
    parts = {"role": "user", "content": [{"type": "input_text", "text": "one"}, {"type": "input_text", "text": "two"}], "id": "x"}
    nul = {"role": "user", "content": "a\u0000b"}
    with Server(store=pg_url) as server:
        assert items(server, "u1") == history and items(server, "u1", "?limit=1") == history[1:]
        new = [*said("again"), call, parts, nul, {"role": "system", "content": "s"}, *said("fine", role="assistant")]
        add(server, "u1", new)
        assert items(server, "u1") == history + new  # everything comes back exactly
        rows = seeded.execute("SELECT role, content, metadata IS NULL FROM conversations WHERE session_id = 'u1' ORDER BY id").fetchall()
        assert rows[2:] == [("user", "again", True), ("assistant", rows[3][1], False), ("user", "one\ntwo", False),
                            ("user", "a\ufffdb", False), ("assistant", "s", False), ("assistant", "fine", True)]
        assert json.loads(rows[3][1]) == call
        # the other program goes on
        seeded.execute("INSERT INTO conversations(session_id, role, content) VALUES ('u1', 'user', 'seed')")
        assert items(server, "u1")[-1:] == said("seed") and pop(server, "u1") == said("seed")[0]
        assert pop(server, "u1") == new[-1]
        add(server, "u2", said("new"))
        assert seeded.execute("SELECT role, content FROM conversations WHERE session_id = 'u2'").fetchall() == [("user", "new")]
        assert server.request("DELETE", path("u1", "")).status == 204
        assert items(server, "u1") == [] and items(server, "u2") == said("new")
    assert seeded.execute("SELECT to_regclass('agent_sessions'), to_regclass('agent_messages')").fetchone() == (None, None)
    assert seeded.execute(CATALOG.replace("^(idx_)?agent_", "^(idx_session|conversations)")).fetchall() == before


def test_conversations_beside_the_sdks_tables(pg_url, seeded):
    """A session that has rows only there stays there; what is new goes to the SDK's tables."""
    sdk(pg_url, "s", "create")
    sdk(pg_url, "theirs", "add_items", said("x"))
    with Server(store=pg_url) as server:
        add(server, "u1", said("more"))
        add(server, "theirs", said("y"))
        add(server, "brand new", said("z"))
        assert [i["content"] for i in items(server, "u1")][2:] == ["more"]
        assert sdk(pg_url, "theirs", "get_items") == said("x", "y") and sdk(pg_url, "brand new", "get_items") == said("z")
        assert seeded.execute("SELECT count(*) FROM conversations").fetchone() == (3,)
        assert server.request("DELETE", path("u1", "")).status == 204
        add(server, "u1", said("anew"))
        assert items(server, "u1") == said("anew") == sdk(pg_url, "u1", "get_items")


@pytest.mark.parametrize("ddl", ["CREATE TABLE conversations(id serial PRIMARY KEY, title text)",
                                 SEED.replace("metadata JSONB", "metadata JSONB, owner int NOT NULL"),
                                 SEED.replace("metadata JSONB", "metadata TEXT"),
                                 "CREATE VIEW conversations AS SELECT 1 AS id"])
def test_other_tables_of_that_name_are_left_alone(pg_url, db, ddl):
    db.execute(ddl)
    with Server(store=pg_url) as server:
        add(server, "s", said("a"))
        assert items(server, "s") == said("a") == sdk(pg_url, "s", "get_items")


# ------------------------------------------------------------ other shapes


def test_wider_types_no_key_no_index(pg_url, db):
    db.execute("""CREATE TABLE agent_sessions(session_id text PRIMARY KEY, created_at timestamptz NOT NULL DEFAULT now(),
 updated_at timestamptz NOT NULL DEFAULT now(), extra text);
 CREATE TABLE agent_messages(id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, session_id text NOT NULL, message_data text NOT NULL,
 created_at timestamptz NOT NULL DEFAULT now());
 ALTER SEQUENCE agent_messages_id_seq RESTART 5000000000""")
    with Server(store=pg_url) as server:
        add(server, "s", said("a", "b"))
        add(server, "s", said("c"))
        assert items(server, "s") == said("a", "b", "c") and pop(server, "s") == said("c")[0]
        add(server, "s", said("d"), replace=True)
        assert items(server, "s") == said("d")
        assert server.request("DELETE", path("s", "")).status == 204
        assert db.execute("SELECT (SELECT count(*) FROM agent_messages), (SELECT count(*) FROM agent_sessions)").fetchone() == (0, 0)
        r = subprocess.run([binary(), "doctor", "--store", pg_url], env=clean_env(), capture_output=True, text=True, timeout=60)
        assert "idx_agent_messages_session_time" in r.stdout and "foreign key" in r.stdout


@pytest.mark.parametrize("ddl, word", [
    ("CREATE TABLE agent_messages(id serial PRIMARY KEY, text text)", "no column"),
    ("CREATE TABLE agent_sessions(session_id uuid PRIMARY KEY, created_at timestamp, updated_at timestamp)", "type uuid"),
    ("CREATE TABLE agent_sessions(session_id text, created_at timestamp, updated_at timestamp)", "primary key"),
    ("CREATE VIEW agent_sessions AS SELECT 1 AS x", "not a table")])
def test_tables_that_are_none_of_the_sdks(pg_url, db, ddl, word):
    """The rest of the store works; sessions say why they do not."""
    db.execute(ddl)
    with Server(store=pg_url) as server:
        assert server.request("PUT", "/store/items", {"namespace": ["a"], "key": "k", "value": {}}).status == 204
        r = server.request("POST", path("s"), {"items": said("a")})
        assert r.status == 502 and word in r.json["detail"], r
        assert server.request("GET", "/cenote/v1/threads").status == 200


def test_without_the_right_to_make_tables(pg_url, db):
    """The error has the SQL; after it was run by hand, sessions work."""
    role = "r" + pg_url.rpartition("/")[2]
    with Server(store=pg_url):
        pass
    db.execute("DROP TABLE agent_messages, agent_sessions")
    db.execute(f"CREATE ROLE {role} LOGIN")
    try:
        subprocess.run([binary(), "grants", role, "--run", "--store", pg_url], env=clean_env(), check=True, capture_output=True, timeout=60)
        where = urllib.parse.urlsplit(pg_url)
        theirs = where._replace(netloc=where.netloc.replace(where.netloc.partition("@")[0], role)).geturl()
        with Server(store=theirs) as server:
            r = server.request("POST", path("s"), {"items": said("a")})
            assert r.status == 502 and "CREATE TABLE" in r.json["detail"], r
            assert server.request("GET", path("s")).status == 502
            logged = [json.loads(line) for line in server.logged("agent_sessions") if line.startswith("{")]
        sql = r.json["detail"].partition("CREATE TABLE")
        db.execute(sql[1] + sql[2])
        db.execute(f"REVOKE USAGE, UPDATE ON SEQUENCE agent_messages_id_seq FROM {role}")
        with Server(store=theirs) as server:  # the tables are there, the rights are not
            r = server.request("POST", path("s"), {"items": said("a")})
            assert r.status == 502 and "grants" in r.json["detail"], r
        subprocess.run([binary(), "grants", role, "--run", "--store", pg_url], env=clean_env(), check=True, capture_output=True, timeout=60)
        with Server(store=theirs) as server:
            add(server, "s", said("a"))
            assert items(server, "s") == said("a") == sdk(pg_url, "s", "get_items")
        assert logged and "CREATE INDEX" in json.dumps(logged)
    finally:
        db.execute(f"DROP OWNED BY {role}")
        db.execute(f"DROP ROLE {role}")


def test_through_a_pooler(pg_url):
    if not installed() and os.environ.get("REQUIRE_ALL", "0") != "1":
        pytest.skip("pgbouncer is not installed")
    with PgBouncer(pg_url) as pooler, Server(store=pooler.url) as server:
        add(server, "s", said("a", "b"))
        add(server, "s", said("c"))
        threads = [Cenote(server, "t", f"c{n}", 12, clear=True) for n in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join(60)
        assert [t.errors for t in threads] == [[]] * 4
        assert items(server, "s") == said("a", "b", "c") == sdk(pg_url, "s", "get_items")


def test_pages_through_an_hour_that_comes_twice(pg_url, db):
    """A created_at with a time zone, and a database whose zone puts its clocks back: 2:30 is there twice."""
    db.execute("""CREATE TABLE agent_sessions(session_id varchar PRIMARY KEY, created_at timestamptz NOT NULL DEFAULT now(),
 updated_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE agent_messages(id serial PRIMARY KEY, session_id varchar NOT NULL REFERENCES agent_sessions ON DELETE CASCADE, message_data text NOT NULL,
 created_at timestamptz NOT NULL DEFAULT now()); INSERT INTO agent_sessions VALUES ('s')""")
    db.execute(f"ALTER DATABASE {db.info.dbname} SET timezone = 'Europe/Berlin'")
    for i in range(12):  # every ten minutes from 2:00 to 3:50, summer time at first
        db.execute("INSERT INTO agent_messages(session_id, message_data, created_at) VALUES ('s', %s, timestamptz '2024-10-27 00:00Z' + %s * interval '10 minutes')",
                   (json.dumps({"role": "user", "content": str(i)}), i))
    with Server(store=pg_url) as server:
        for order, want in (("asc", range(12)), ("desc", reversed(range(12)))):
            seen, after = [], ""
            while len(seen) < 20:
                r = server.request("GET", f"/v1/conversations/s/items?limit=1&order={order}" + (f"&after={after}" if after else ""))
                assert r.status == 200, r
                if not r.json["data"]:
                    break
                seen += [i["content"][0]["text"] for i in r.json["data"]]
                after = r.json["last_id"]
            assert seen == [str(i) for i in want]


# ------------------------------------------------------------------ threads


def fill(db, threads, deep):
    """Checkpoints as a saver leaves them: many threads with one, and one with many."""
    db.execute("""INSERT INTO checkpoints(thread_id, checkpoint_ns, checkpoint_id, checkpoint)
 SELECT 'c' || lpad(n::text, 6, '0'), '', '1ef00000-0000-6000-8000-000000000000', '{"v":4}' FROM generate_series(1, %s) n""", (threads,))
    db.execute("""INSERT INTO checkpoints(thread_id, checkpoint_ns, checkpoint_id, checkpoint)
 SELECT 'deep', '', '1ef00000-0000-6000-8000-' || lpad(to_hex(n), 12, '0'), '{"v":4}' FROM generate_series(1, %s) n""", (deep,))
    db.execute("""INSERT INTO agent_sessions(session_id, created_at, updated_at) SELECT 's-' || n, '2025-01-02', '2025-01-03' FROM generate_series(1, %s) n""",
               (threads // 10,))
    db.execute("ANALYZE")


def listing(server, limit):
    """All of them, page by page."""
    out, cursor = [], ""
    while True:
        r = server.request("GET", f"/cenote/v1/threads?limit={limit}" + (f"&cursor={urllib.parse.quote(cursor)}" if cursor else ""))
        assert r.status == 200, r
        out += r.json["data"]
        cursor = r.json.get("next_cursor") or ""
        if not cursor:
            return out


@contextlib.contextmanager
def sorted_otherwise(url):
    """A database whose names sort as words do; where the server cannot (it has neither ICU nor such a locale), one that only says so:
    another spelling of C.UTF-8 is a collation that Cenote does not know."""
    name = f"words{os.getpid()}"
    with psycopg.connect(url, autocommit=True) as c:
        for how in ("LOCALE_PROVIDER icu ICU_LOCALE 'en-US'", "LC_COLLATE 'en_US.utf8' LC_CTYPE 'en_US.utf8'", "LC_COLLATE 'C.Utf-8'"):
            with contextlib.suppress(psycopg.errors.Error):
                c.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' {how}")
                break
        try:
            yield urllib.parse.urlsplit(url)._replace(path="/" + name).geturl()
        finally:
            c.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize("order", ["bytes", "words"])
def test_threads_of_every_program_in_one_listing(pg_server, pg_url, order):
    with sorted_otherwise(pg_server) if order == "words" else contextlib.nullcontext(pg_url) as url, Server(store=url) as server, \
            psycopg.connect(url, autocommit=True) as db:
        fill(db, 10000, 100000)
        add(server, "A mine", said("x"))
        add(server, "c000500x", said("x"))
        want = sorted(["A mine", "c000500x", "deep", *(f"c{n:06}" for n in range(1, 10001)), *(f"s-{n}" for n in range(1, 1001))])
        begun = time.monotonic()
        got = listing(server, 1000)
        took = time.monotonic() - begun
        names = [t["thread"] for t in got]
        assert names == want
        print(f"{order}: {took:.2f} s")
        assert took < 20, took
        begun = time.monotonic()
        r = server.request("GET", "/cenote/v1/threads?limit=10")
        assert r.status == 200 and len(r.json["data"]) == 10 and time.monotonic() - begun < 10


def test_stats_count_what_others_wrote(pg_url, db):
    with Server(store=pg_url) as server:
        add(server, "mine", said("a", "b"))
        sdk(pg_url, "theirs", "add_items", said("c"))
        db.execute("INSERT INTO checkpoints(thread_id, checkpoint_ns, checkpoint_id, checkpoint) VALUES ('t', '', '1', '{}'), ('mine', '', '1', '{}')")
        stats = server.request("GET", "/cenote/v1/stats").json
        assert stats["threads"] == 3 and stats["entries"] == 3 and stats["checkpoints"] == 2, stats


def test_what_others_wrote_is_nobodys(pg_url):
    """A user's own key neither reads it nor makes it the user's by writing to it."""
    sdk(pg_url, "theirs", "create")
    sdk(pg_url, "theirs", "add_items", said("secret"))
    with Server("--auth", "keys", store=pg_url) as server:
        made = json.loads(server.run("key", "create", "--json", "--name", "ann", "--tenant", "default", "--for-user", "ann", check=0).stdout)
        tenant = json.loads(server.run("key", "create", "--json", "--name", "all", "--tenant", "default", check=0).stdout)
        ann = {"Authorization": "Bearer " + (made.get("key") or made["secret"])}
        everybody = {"Authorization": "Bearer " + (tenant.get("key") or tenant["secret"])}
        op, blobs = put_op("theirs", 1)
        tries = [server.request("POST", path("theirs"), {"items": said("mine")}, ann),
                 server.request("POST", PATH, frames([op], blobs), {**ann, **TYPE}),
                 server.request("POST", "/cenote/v1/messages", {"messages": [{"thread": "theirs", "role": "user", "content": "x", "user": "ann"}]}, ann)]
        assert all(r.status in (200, 409) and (r.status == 409 or b"conflict" in r.body) for r in tries), tries
        assert server.request("GET", path("theirs"), headers=ann).json == {"data": []}
        assert server.request("GET", "/cenote/v1/threads", headers=ann).json["data"] == []
        assert server.request("POST", path("theirs", "/pop"), headers=ann).json == {"item": None}
        server.request("DELETE", path("theirs", ""), headers=ann)
        assert server.request("DELETE", "/cenote/v1/threads/theirs", headers=ann).status == 404
        assert server.request("GET", path("theirs"), headers=everybody).json == {"data": said("secret")}
    assert sdk(pg_url, "theirs", "get_items") == said("secret")
