"""The index of vectors in PostgreSQL (pgvector's HNSW): namespaces whose vectors do not fit index.cache are found by words and by meaning as if
they did. The encoder is the scripted service of embed_server.py, whose vectors a test can compute."""
import concurrent.futures
import contextlib
import json
import threading
import time

import psycopg
import pytest

from embed_server import EmbedServer, vector
from pgbouncer import PgBouncer
from postgres import database
from server import PATIENCE, Server
from test_large_scope import API, figure, post, searched, settings, value

DIMS, ITEMS = 256, 1500
HELD = "80KiB"  # the words of so many items, but not codes of their vectors besides
ENOUGH = {"CENOTE_PG_HNSW": "500"}
INDEXES = "SELECT c.relname, i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE c.relname LIKE 'cenote_hnsw_%' ORDER BY 1"


@pytest.fixture(scope="module")
def service():
    with EmbedServer(dims=DIMS) as s:
        yield s


@contextlib.contextmanager
def serving(url, service, *args, **env):
    with Server(*args, store=url, env=settings(service, **{"CENOTE_INDEX_CACHE": HELD} | ENOUGH | env), listen="127.0.0.1:0") as s:
        yield s


def load(s):
    for at in range(0, ITEMS, 250):
        post(s, f"{API}/batch?wait=indexed", {"operations": [
            {"op": "put", "namespace": ["n", "ab"[i % 2]], "key": f"k{i}", "value": value(i), "index": ["text"]} for i in range(at, at + 250)]})


@pytest.fixture(scope="module")
def house(pg_server, service):
    """(server, database) with an index that is ready."""
    with database(pg_server) as url, psycopg.connect(url, autocommit=True) as db:
        db.execute("CREATE EXTENSION vector")
        with serving(url, service) as s:
            load(s)
            ready(s, db)
            yield s, db


@pytest.fixture(scope="module")
def fits(service):
    with Server(env=settings(service), listen="127.0.0.1:0") as s:
        load(s)
        yield s


def until(what, wait=PATIENCE):
    end = time.monotonic() + wait
    while not (x := what()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)
    return x


def scans(db):
    return db.execute("SELECT coalesce(sum(idx_scan), 0) FROM pg_stat_user_indexes WHERE indexrelname LIKE 'cenote_hnsw_%'").fetchone()[0]


def ask(s, query, limit=20, **kw):
    return post(s, f"{API}/recall", {"query": query, "kinds": ["item"], "namespaces": [["n"]], "limit": limit, "explain": True, **kw})


def ready(s, db):
    """Questions have the index made; it is ready when they are answered by it."""
    before = scans(db)
    until(lambda: ask(s, "river boat 7") and all(valid for _, valid in db.execute(INDEXES)) and scans(db) > before)


def keys(r):
    return [h["key"] for h in r["results"]]


QUERIES = ["river boat 7", "a storm over the garden", "the", "nothing of these", "winter", *(value(i)["text"] for i in range(0, 200, 20))]


def test_as_if_it_fitted(house, fits):
    s, db = house
    before, same, asked = scans(db), 0, 0
    for q in QUERIES:
        for kw in ({}, {"mode": "vectors"}, {"mode": "words"}, {"limit": 200}):
            a, b = ask(s, q, **kw), ask(fits, q, **kw)
            assert (a["mode"], a["pending"], a.get("note")) == (b["mode"], b["pending"], b.get("note")), (q, kw)
            by_key = {h["key"]: h for h in b["results"]}
            for h in a["results"]:
                x = by_key.get(h["key"])
                asked += 1
                same += x is not None and abs(x["score"] - h["score"]) < 1e-6 and x["explain"] == h["explain"]
        assert len(searched(s, q, 100)) == 100
    assert same >= 0.99 * asked
    until(lambda: scans(db) > before)
    # Filters and namespaces leave no fewer than there are.
    for q in QUERIES[:5]:
        assert len(keys(ask(s, q, 15, filter={"kind": "rare"}))) == len(searched(s, q, 15, filter={"kind": "rare"})) == 15
        assert set(keys(ask(s, q, 15, namespaces=[["n", "a"]]))) <= {f"k{i}" for i in range(0, ITEMS, 2)}
        assert len(keys(ask(s, q, 15, namespaces=[["n", "a"]]))) == 15


def test_doctor_shows_it(house):
    s, _ = house
    found = [json.loads(line) for line in s.run("doctor", "-o", "ndjson").stdout.splitlines()]
    (one,) = [f for f in found if f["check"] == "hnsw"]
    assert one["status"] == "ok" and "cenote_hnsw_" in one["place"] and one["data"]["valid"] is True and one["data"]["bytes"] > 100000


def test_by_the_computed_vectors(house):
    s, _ = house
    known = {f"k{i}": vector(value(i)["text"], DIMS) for i in range(ITEMS)}
    right = 0
    for n in range(20):
        q = f"question {n}"
        v = vector(q, DIMS)
        best = sorted(known, key=lambda k: -sum(a * b for a, b in zip(v, known[k])))[:10]
        right += len(set(keys(ask(s, q, 10, mode="vectors"))) & set(best))
    assert right >= 0.98 * 200


def test_what_changes_counts_at_once(pg_server, service):
    with database(pg_server) as url, psycopg.connect(url, autocommit=True) as db:
        db.execute("CREATE EXTENSION vector")
        with serving(url, service) as s:
            load(s)
            ready(s, db)
            before = scans(db)
            for i in range(5):
                post(s, f"{API}/batch?wait=indexed", {"operations": [
                    {"op": "put", "namespace": ["n", "a"], "key": f"k{2 * i}", "value": {"text": f"quite another text {i}"}, "index": ["text"]},
                    {"op": "put", "namespace": ["n", "b"], "key": f"new{i}", "value": {"text": f"never seen before {i}"}, "index": ["text"]},
                    {"op": "delete", "namespace": ["n", "b"], "key": f"k{2 * i + 1}"}]})
                for mode in ("vectors", "auto"):
                    assert keys(ask(s, f"quite another text {i}", mode=mode))[0] == f"k{2 * i}"
                    assert keys(ask(s, f"never seen before {i}", mode=mode))[0] == f"new{i}"
                    assert f"k{2 * i + 1}" not in keys(ask(s, value(2 * i + 1)["text"], 100, mode=mode))
                    assert f"k{2 * i}" not in keys(ask(s, value(2 * i)["text"], 5, mode=mode))
            until(lambda: scans(db) > before)
            # A text that has changed has no vector until it is encoded: that of the former one is not taken for it.
            assert keys(ask(s, value(100)["text"], 5, mode="vectors"))[0] == "k100"
            service.gate = threading.Event()
            for text in (value(100)["text"], "what nobody encodes"):  # the question's vector is known
                post(s, f"{API}/batch", {"operations": [{"op": "put", "namespace": ["n", "a"], "key": "k100", "value": {"text": text}, "index": ["text"]}]})
            assert "k100" not in keys(ask(s, value(100)["text"], 5, mode="vectors"))
            service.gate.set()
            service.gate = None
            until(lambda: keys(ask(s, "what nobody encodes", mode="vectors"))[:1] == ["k100"])


def key(s, tenant, *more):
    made = json.loads(s.run("key", "create", "--json", "--name", "-".join((tenant, *more[1:])), "--tenant", tenant, *more, check=0).stdout)
    return {"Authorization": f"Bearer {made['key']}"}


def test_nobody_sees_anothers(pg_server, service):
    """Tenants, users and namespaces: what is nearest belongs to somebody else."""
    tenants = {"one": "amber", "two": "basalt"}
    with database(pg_server) as url, psycopg.connect(url, autocommit=True) as db:
        db.execute("CREATE EXTENSION vector")
        with serving(url, service, "--auth", "keys") as s:
            keyed = {}
            for name, word in tenants.items():
                keyed[name] = key(s, name)
                for user in ("ann", "bob"):
                    keyed[name, user] = key(s, name, "--for-user", user)
                for at in range(0, ITEMS, 250):
                    r = s.request("POST", f"{API}/batch?wait=indexed", {"operations": [
                        {"op": "put", "namespace": ["users", ("ann", "bob")[i % 2]], "key": f"k{i}", "value": {"text": f"{word} {value(i)['text']} {('ann', 'bob')[i % 2]}"},
                         "index": ["text"]} for i in range(at, at + 250)]}, headers=keyed[name])
                    assert r.status == 200, r

            def found(who, namespace, query, mode):
                r = s.request("POST", f"{API}/recall", {"query": query, "kinds": ["item"], "limit": 60, "mode": mode,
                                                        **({"namespaces": [namespace]} if namespace else {})}, headers=keyed[who])
                assert r.status == 200, r
                return r.json["results"]

            until(lambda: [found(t, ["users"], "river", "auto") for t in tenants] and len(s.logged("an index of vectors is ready", wait=0)) == 2)
            before = scans(db)
            for mode in ("vectors", "auto"):
                for i in range(0, 40, 7):
                    for name in tenants:
                        other = tenants["two" if name == "one" else "one"]
                        for user in ("ann", "bob"):
                            # The text of somebody else's item, word for word.
                            query = f"{other} {value(i)['text']} {user}"
                            for who, namespace in ((name, ["users"]), ((name, user), ["users", user]), ((name, user), None)):
                                hits = found(who, namespace, query, mode)
                                assert hits and all(h["text"].startswith(tenants[name]) for h in hits)
                                assert who == name or all(h["namespace"][:2] == ["users", user] for h in hits)
            until(lambda: scans(db) > before)


def test_lost_and_made_again(pg_server, service):
    with database(pg_server) as url, psycopg.connect(url, autocommit=True) as db:
        db.execute("CREATE EXTENSION vector")
        with serving(url, service) as s:
            load(s)
            ready(s, db)
            want = keys(ask(s, QUERIES[1]))
            # Somebody removes it, and what it is made with.
            db.execute("DROP EXTENSION vector CASCADE")
            assert len(keys(ask(s, QUERIES[1]))) == 20
            db.execute("CREATE EXTENSION vector")
            assert s.logged("is not as it was")
        # An attempt that was interrupted has left one that is not valid.
        name = "cenote_hnsw_1"
        with serving(url, service) as s:
            ready(s, db)
            assert [n for n, _ in db.execute(INDEXES)] == [name]
            s.kill()
            db.execute(f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{name}'::regclass")
            old = db.execute(f"SELECT '{name}'::regclass::oid").fetchone()
            s.start()
            ready(s, db)
            assert db.execute(f"SELECT '{name}'::regclass::oid").fetchone() != old
            assert keys(ask(s, QUERIES[1])) == want


def test_killed_while_it_is_made(pg_server, service):
    """The server goes away in the middle: with kill -9 and by SIGTERM. The next one has it made."""
    with database(pg_server) as url, psycopg.connect(url, autocommit=True) as db, psycopg.connect(url) as holder:
        db.execute("CREATE EXTENSION vector")
        with serving(url, service) as s:
            load(s)
            for end in (s.kill, s.stop):
                holder.execute("LOCK TABLE cenote_vector IN ROW EXCLUSIVE MODE")  # whoever builds waits for this transaction
                ask(s, "river boat 7")
                until(lambda: ask(s, "river boat 7") and db.execute("SELECT 1 FROM pg_stat_progress_create_index WHERE phase LIKE 'waiting%'").fetchall())
                began = time.monotonic()
                end()
                assert end == s.kill or time.monotonic() - began < 20
                holder.rollback()
                s.start()
            ready(s, db)
            assert all(v for _, v in db.execute(INDEXES))
            assert len(keys(ask(s, "river boat 7"))) == 20


@pytest.mark.parametrize("connecting", [False, True])
def test_ends_while_it_is_looked_for(pg_server, service, connecting):
    """What nobody waits for does not hold up the end of the server, though the database does not answer it: its question, or its connection.

    No statement of ours but that one reads pg_extension. A connection reads it when it is the first since a VACUUM of certain catalogs."""
    with database(pg_server) as url, psycopg.connect(url, autocommit=True) as db, psycopg.connect(url) as holder:
        db.execute("CREATE EXTENSION vector")
        with serving(url, service, CENOTE_PG_CONNECT_TIMEOUT="60s") as s:
            load(s)
            holder.execute("LOCK TABLE pg_catalog.pg_extension IN ACCESS EXCLUSIVE MODE")
            if connecting:
                db.execute("VACUUM pg_catalog.pg_attribute, pg_catalog.pg_class, pg_catalog.pg_proc")
            until(lambda: ask(s, "river boat 7") and db.execute("SELECT 1 FROM pg_locks WHERE relation = 'pg_extension'::regclass AND NOT granted").fetchall())
            began = time.monotonic()
            assert s.stop() == 0
            assert time.monotonic() - began < 15  # the statement itself would end after 31 s, the login after 60
            holder.rollback()


def test_two_servers(pg_server, service):
    """Both are asked at once: one index comes of it, and both use it; also through a pooler by transactions."""
    with database(pg_server) as url, psycopg.connect(url, autocommit=True) as db, PgBouncer(url) as bouncer:
        db.execute("CREATE EXTENSION vector")
        with serving(url, service) as a, serving(bouncer.url, service) as b:
            load(a)
            with concurrent.futures.ThreadPoolExecutor(2) as pool:
                list(pool.map(lambda s: ready(s, db), (a, b)))
            assert [valid for _, valid in db.execute(INDEXES)] == [True]
            assert keys(ask(a, QUERIES[1])) == keys(ask(b, QUERIES[1]))


@pytest.mark.parametrize("pooled", [False, True])
def test_sessions_of_a_pooler_are_left_alone(pg_server, service, pooled):
    """A long statement has no limit on a session of ours; one of a pooler's is others' in the next moment."""
    with database(pg_server) as url, psycopg.connect(url, autocommit=True) as db:
        db.execute(f"ALTER DATABASE {db.info.dbname} SET statement_timeout = '7min'")  # before the pooler has a session
        db.execute("CREATE EXTENSION vector; CREATE SCHEMA seen; CREATE TABLE seen.limits(value text)")
        db.execute("""CREATE FUNCTION seen.note() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN IF current_query() LIKE '%INDEX%cenote_hnsw%' THEN
 INSERT INTO seen.limits VALUES (current_setting('statement_timeout')); END IF; END $$""")
        db.execute("CREATE EVENT TRIGGER note ON ddl_command_start WHEN TAG IN ('CREATE INDEX') EXECUTE FUNCTION seen.note()")
        with PgBouncer(url) as bouncer, serving(bouncer.url if pooled else url, service) as s:
            load(s)
            ready(s, db)
        assert {v for v, in db.execute("SELECT value FROM seen.limits")} == {"7min" if pooled else "0"}


def test_where_there_is_none(pg_server, service):
    """Without pgvector, and where it is not wanted, the answers are those of before, and nothing is made."""
    with database(pg_server) as url, psycopg.connect(url, autocommit=True) as db:
        with serving(url, service) as s:
            load(s)
            until(lambda: len(keys(ask(s, "river boat 7"))) == 20 and s.logged("there is no index of vectors", "pgvector is not installed", wait=0))
            want = keys(ask(s, "river boat 7"))
        db.execute("CREATE EXTENSION vector")
        for env in ({"CENOTE_PG_HNSW": "0"}, {"CENOTE_PG_HNSW": "1000000"}, {"CENOTE_PG_MIGRATE": "false"}):
            with serving(url, service, **env) as s:
                for _ in range(3):
                    assert keys(ask(s, "river boat 7")) == want
                assert figure(s, "cenote_word_index_misses_total") > 0
        assert db.execute(INDEXES).fetchall() == []


def test_another_model(pg_server, service):
    """The index is the model's: another one has its own, and the former goes with its vectors."""
    with database(pg_server) as url, psycopg.connect(url, autocommit=True) as db, EmbedServer(dims=64, model="second") as other:
        db.execute("CREATE EXTENSION vector")
        with serving(url, service) as s:
            load(s)
            ready(s, db)
        with serving(url, other, CENOTE_INDEX_CACHE="64KiB") as s:
            until(lambda: s.request("GET", f"{API}/vectors?wait=indexed").json["model"] == "second/64")
            ready(s, db)
            q = value(7)["text"]
            assert keys(ask(s, q, mode="vectors"))[0] == "k7"
