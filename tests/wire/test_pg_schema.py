"""Cenote's tables beside LangGraph's: a fresh schema is the very catalog that setup() leaves, and what setup() has made is
adopted without a row changing. And the commands about them: migrate, grants, doctor."""
import concurrent.futures
import json
import os
import urllib.parse

import psycopg
import sqlalchemy
import pytest
from langgraph.store.postgres import PostgresStore

from pgbouncer import PgBouncer, installed
from postgres import Postgres, database, setup_all
from server import Server, run

CATALOG = """
SELECT 'column', a.attrelid::regclass || '.' || a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull::text, a.attnum::text, a.attcollation::text,
       coalesce(pg_get_expr(d.adbin, d.adrelid), '')
FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = ANY(%(tables)s::regclass[]) AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL SELECT 'index', indexdef, '', '', '', '', '' FROM pg_indexes WHERE schemaname = 'public' AND NOT starts_with(tablename, 'cenote_')
UNION ALL SELECT 'constraint', conname, pg_get_constraintdef(oid), conrelid::regclass::text, '', '', ''
FROM pg_constraint WHERE conrelid = ANY(%(tables)s::regclass[])
UNION ALL SELECT 'row', v::text, '', '', '', '', '' FROM store_migrations
UNION ALL SELECT 'row', 'checkpoint ' || v::text, '', '', '', '', '' FROM checkpoint_migrations
ORDER BY 1, 2, 3, 4
"""


TABLES = ["store", "store_migrations", "checkpoint_migrations", "checkpoints", "checkpoint_blobs", "checkpoint_writes", "agent_sessions", "agent_messages"]


def catalog(url):
    with psycopg.connect(url) as db:
        return db.execute(CATALOG, {"tables": TABLES}).fetchall()


def rows(url):
    with psycopg.connect(url) as db:
        return db.execute("SELECT s.xmin::text, s.ctid::text, s.prefix, s.key, s.value::text, s.created_at, s.updated_at FROM store s"
                          " ORDER BY prefix, key").fetchall()


def setup_to(url, version):
    """setup() as a release that knew only the migrations up to version."""
    with PostgresStore.from_conn_string(url) as s:
        s.MIGRATIONS = s.MIGRATIONS[:version + 1]
        s.setup()


@pytest.fixture(scope="module")
def pg_server():
    """Of its own: the one that tests share has fsync off, which the doctor complains about."""
    with Postgres() as pg:
        yield pg.url


@pytest.fixture
def twin(pg_server):
    with database(pg_server) as url:
        yield url


@pytest.fixture
def cli(pg_url, tmp_path):
    """cli(*args) on the fresh database; also with another store=."""
    def call(*args, store=pg_url, **kw):
        return run(*args, env={"CENOTE_DATA": tmp_path / "data", "XDG_CONFIG_HOME": tmp_path, "CENOTE_STORE": store}, **kw)
    return call


def as_role(url, role):
    u = urllib.parse.urlsplit(url)
    return u._replace(netloc=f"{role}@{u.hostname}:{u.port}").geturl()


@pytest.fixture
def role(pg_url):
    """A role that may log in, and nothing else."""
    name = "schema role-1"
    with psycopg.connect(pg_url, autocommit=True) as db:
        db.execute(f'DROP ROLE IF EXISTS "{name}"')
        db.execute(f'CREATE ROLE "{name}" LOGIN')
        yield name
        db.execute(f'DROP OWNED BY "{name}"')
        db.execute(f'DROP ROLE "{name}"')


def url_of(url, role):
    return as_role(url, urllib.parse.quote(role))


def test_fresh_is_what_setup_makes(cli, pg_url, twin):
    setup_all(twin)
    assert cli("migrate").returncode == 0
    assert catalog(pg_url) == catalog(twin)
    before = catalog(pg_url)
    setup_all(pg_url)  # has nothing to do
    assert catalog(pg_url) == before
    with PostgresStore.from_conn_string(pg_url) as s:
        s.put(("a", "b"), "k", {"x": 1}, ttl=5)
        assert s.get(("a", "b"), "k").value == {"x": 1}


@pytest.mark.parametrize("version", range(4))
def test_adopts_every_version(cli, pg_url, twin, version):
    setup_all(twin)
    setup_to(pg_url, version)
    with psycopg.connect(pg_url, autocommit=True) as db:
        db.execute("INSERT INTO store(prefix, key, value) SELECT 'ns.' || i % 7, 'k' || i, jsonb_build_object('text', 'number ' || i)"
                   " FROM generate_series(1, 100) i")
    before = rows(pg_url)
    with Server(store=pg_url) as s:
        assert s.request("GET", "/readyz").status == 200
        assert catalog(pg_url) == catalog(twin)
        assert rows(pg_url) == before
        found = run("get", "ns.3", "k3", env={"CENOTE_SERVER": s.url})
        assert json.loads(found.stdout) == {"text": "number 3"}
    setup_all(pg_url)
    assert catalog(pg_url) == catalog(twin)


def test_starts_beside_setup(pg_url, cli, twin):
    """Cenotes and LangGraph's setup(), which takes no lock, all at once on an empty database."""
    setup_all(twin)

    def langgraph(_):
        try:
            setup_all(pg_url)
        except (psycopg.Error, sqlalchemy.exc.SQLAlchemyError):
            pass  # it does not mind races; whoever lost starts again

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        ours = [pool.submit(cli, "ls") for _ in range(5)]
        theirs = [pool.submit(langgraph, i) for i in range(3)]
        for x in theirs:
            x.result()
        for x in ours:
            assert x.result().returncode == 0, x.result().stderr
    assert cli("migrate").returncode == 0
    setup_all(pg_url)
    assert catalog(pg_url) == catalog(twin)


def test_refuses_what_it_does_not_know(cli, pg_url):
    with psycopg.connect(pg_url, autocommit=True) as db:
        db.execute("CREATE TABLE store(namespace_path text, key text, value jsonb, PRIMARY KEY(namespace_path, key))")
    before = run("ls", env={"CENOTE_STORE": pg_url})
    assert before.returncode == 6 and "LangGraph.js" in before.stderr and "pg.schema" in before.stderr
    assert cli("migrate").returncode == 6
    with psycopg.connect(pg_url) as db:
        assert db.execute("SELECT count(*) FROM pg_class WHERE starts_with(relname, 'cenote_')").fetchone() == (0,)


def test_dry_run_is_a_script(cli, pg_url, twin):
    r = cli("migrate", "--dry-run")
    assert r.returncode == 0
    with psycopg.connect(pg_url, autocommit=True) as db:
        assert db.execute("SELECT to_regclass('store')").fetchone() == (None,)
        db.execute(r.stdout)
    again = cli("migrate")
    assert again.returncode == 0 and again.stdout == "" and "nothing to do" in again.stderr
    setup_all(twin)
    assert catalog(pg_url) == catalog(twin)


def test_owner_migrates_role_serves(cli, pg_url, role):
    """Provisioning is a step of its own; the server's role has no right to make anything."""
    theirs = url_of(pg_url, role)
    assert cli("migrate").returncode == 0
    assert cli("migrate", "--tenant", "acme").returncode == 0
    refused = cli("ls", store=theirs)
    assert refused.returncode == 4 and "GRANT" in refused.stderr
    script = cli("grants", role)
    assert script.returncode == 0 and "DELETE" in script.stdout and "ALTER DEFAULT PRIVILEGES" in script.stdout
    with psycopg.connect(pg_url, autocommit=True) as db:
        db.execute(script.stdout)
    assert cli("migrate", store=theirs).returncode == 0
    with Server(store=theirs) as s:
        def c(*a):
            return run(*a, env={"CENOTE_SERVER": s.url})
        assert c("put", "a", "k", '{"x": 1}').returncode == 0
        assert json.loads(c("get", "a", "k").stdout) == {"x": 1}
        assert c("search", "x").returncode == 0
        assert c("rm", "a", "k", "--yes").returncode == 0
        assert c("get", "a", "k").returncode == 3


def test_grants_that_have_no_effect(cli, pg_url, role):
    assert cli("migrate").returncode == 0
    assert cli("grants", role, "--run").returncode == 0
    r = cli("grants", role, "--run", store=url_of(pg_url, role))
    assert r.returncode == 4
    assert cli("grants", "nobody at all").returncode == 3


def findings(r):
    return [json.loads(x) for x in r.stdout.splitlines() if x]


def test_doctor(cli, pg_url, role):
    assert cli("migrate").returncode == 0
    r = cli("doctor", "--json")
    assert r.returncode == 0, r.stdout
    found = json.loads(r.stdout)
    assert {f["check"] for f in found} >= {"sources", "connection", "tls", "pooler", "clock", "role", "schema", "rights", "journal", "mode",
                                           "settings", "connections", "extensions", "tables", "bloat", "indexes", "locks"}
    assert all(f["status"] != "fail" for f in found)
    first = next(f for f in found if f["check"] == "connection")
    assert first["data"]["version"].startswith(first["text"].split()[1])
    assert "env CENOTE_STORE" in found[0]["text"]

    r = cli("doctor", url_of(pg_url, role), "-o", "ndjson")
    assert r.returncode == 1
    fixes = [f["fix"] for f in findings(r) if f["check"] == "rights" and f["status"] == "fail"]
    with psycopg.connect(pg_url, autocommit=True) as db:
        for statement in fixes:
            db.execute(statement)
    assert cli("doctor", url_of(pg_url, role)).returncode == 0

    assert "STATUS" in cli("doctor", "-o", "table").stdout


def one(r, check, status):
    return [f for f in findings(r) if f["check"] == check and f["status"] == status]


def test_isolation_is_ours(cli, pg_url):
    """Whatever the database says; where a pooler keeps what we say from the server, it does not begin."""
    assert cli("migrate").returncode == 0
    with psycopg.connect(pg_url, autocommit=True) as db:
        db.execute("ALTER DATABASE %s SET default_transaction_isolation = 'repeatable read'" % db.info.dbname)
    r = cli("doctor", "--json")
    assert r.returncode == 0 and "default_transaction_isolation is read committed" in [f["text"] for f in json.loads(r.stdout)], r.stdout
    assert cli("put", "n/k", "{}").returncode == 0
    if not installed():
        pytest.skip("there is no PgBouncer")
    with PgBouncer(pg_url) as bouncer:
        r = cli("put", "n/k", "{}", store=bouncer.url)
        assert r.returncode != 0 and "SET default_transaction_isolation = 'read committed'" in r.stderr, r.stderr
        r = cli("doctor", bouncer.url, "-o", "ndjson")
        assert r.returncode == 1
        fix = next(f["fix"] for f in findings(r) if f["status"] == "fail" and f["fix"].startswith("ALTER ROLE"))
        with psycopg.connect(pg_url, autocommit=True) as db:
            name = db.info.user
            try:
                db.execute(fix)
                with PgBouncer(pg_url) as anew:
                    assert cli("put", "n/k", "{}", store=anew.url).returncode == 0
            finally:
                db.execute(f'ALTER ROLE "{name}" RESET default_transaction_isolation')


def test_doctor_sees_what_is_wrong(cli, pg_url):
    assert cli("migrate").returncode == 0
    with psycopg.connect(pg_url, autocommit=True) as db, psycopg.connect(pg_url) as holder, psycopg.connect(pg_url) as waiter:
        db.execute("ALTER TABLE store SET (autovacuum_enabled = false)")
        db.execute("INSERT INTO store(prefix, key, value) SELECT 'a', i::text, '{}' FROM generate_series(1, 20000) i")
        db.execute("DELETE FROM store WHERE key::int > 5000")
        db.execute("SELECT pg_stat_force_next_flush()")
        db.execute("ALTER DATABASE %s SET synchronous_commit = off" % db.info.dbname)
        pid = holder.info.backend_pid
        holder.execute("LOCK TABLE store")
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(waiter.execute, "SELECT count(*) FROM store")
            while not db.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()[0]:
                pass
            r = cli("doctor", "--pg-pool-max", "900")
            holder.rollback()
            waiting.result()
    assert r.returncode == 0  # they are warnings
    assert one(r, "bloat", "warn")[0]["fix"] == "VACUUM (ANALYZE) public.store"
    assert f"held by {pid}" in one(r, "locks", "warn")[0]["text"]
    assert one(r, "settings", "warn")[0]["place"] == "synchronous_commit"
    assert "pg.pool.max is 900" in one(r, "connections", "warn")[0]["text"]


def test_doctor_behind_a_pooler(pg_url, cli):
    from pgbouncer import PgBouncer, installed
    if not installed() and os.environ.get("REQUIRE_ALL", "0") != "1":
        pytest.skip("pgbouncer is not installed")
    with PgBouncer(pg_url) as b:
        assert cli("migrate", store=b.url).returncode == 0
        assert cli("migrate", "--tenant", "acme", store=b.url).returncode == 0
        for _ in range(2):
            r = cli("doctor", store=b.url)
            assert r.returncode == 0
            assert one(r, "pooler", "ok")[0]["data"]["by_transaction"] is True
        r = cli("doctor", "--pg-prepare", "on", store=b.url)
        lost = one(r, "pooler", "ok") == []
        assert r.returncode == (1 if lost else 0)


def test_doctor_without_a_server(cli):
    r = cli("doctor", "postgresql://nobody:hunter2@127.0.0.1:1/nothing")
    assert r.returncode == 5
    assert "hunter2" not in r.stdout + r.stderr
    assert findings(r)[-1]["status"] == "fail"


def test_doctor_and_migrate_on_sqlite(tmp_path):
    env = {"CENOTE_DATA": tmp_path / "data", "XDG_CONFIG_HOME": tmp_path}
    assert run("doctor", env=env).returncode == 3
    assert run("put", "a", "k", "{}", env=env).returncode == 0
    r = run("doctor", env=env)
    assert r.returncode == 0
    assert {f["check"] for f in findings(r)} == {"sources", "disk", "lock", "tenant", "encoder"}
    assert "default.sqlite: layout " in run("migrate", env=env).stdout
    assert run("grants", "x", env=env).returncode == 2
    with Server(folder=tmp_path):
        r = run("doctor", env=env)
        assert r.returncode == 0 and "in use by process" in r.stdout
        assert run("migrate", env=env).returncode == 5
    file = tmp_path / "data" / "tenants" / "default.sqlite"
    text = bytearray(file.read_bytes())
    text[4096:12288] = b"\xff" * 8192
    file.write_bytes(text)
    r = run("doctor", env=env)
    assert r.returncode == 1 and any(f["status"] == "fail" for f in findings(r))
