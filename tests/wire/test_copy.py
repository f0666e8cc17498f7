"""`cenote copy` between stores of both kinds: everything arrives and is compared, interrupted copies go on, what cannot be kept is told."""
import contextlib
import decimal
import json
import signal
import sqlite3
import subprocess
import time

import psycopg
import pytest

from server import Server, binary, clean_env, run
from test_pg_sessions import sorted_otherwise

AWAY = "2026-01-02T03:04:05.000006Z"


@pytest.fixture
def cli(tmp_path):
    return lambda *a, **k: run(*a, env={"CENOTE_DATA": tmp_path / "none", "XDG_CONFIG_HOME": tmp_path}, **k)


def start_copy(tmp_path, *args):
    env = clean_env(CENOTE_DATA=tmp_path / "none", XDG_CONFIG_HOME=tmp_path)
    return subprocess.Popen([binary(), "copy", *args], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True)


def item(ns, key, value, **more):
    raw = value if isinstance(value, str) else json.dumps(value)
    rest = "".join(f',{json.dumps(k)}:{json.dumps(v)}' for k, v in more.items())
    return f'{{"namespace":{json.dumps(ns)},"key":{json.dumps(key)},"value":{raw}{rest}}}'


ODD = [
    item(["odd"], "big", '{"a":123456789012345678901234567890.10,"b":1e300,"c":-0.0,"d":[0.1,1E2,-5],"e":1e-9}'),
    item(["odd"], "order", '{"z":1,"a":{"y":null,"b":true},"\\u00e9":"\\ud83d\\ude00 \\"q\\" \\u2028"}'),
    item(["odd", "käse 😀"], "ключ/ %_\\", {"text": "odd names"}),
    item(["odd"], "times", {"t": 1}, created_at="2025-01-02T03:04:05.000006Z", updated_at=AWAY),
    item(["odd"], "ttl", {"t": 1}, created_at=AWAY, updated_at=AWAY, ttl_minutes=5256000.5),
    item(["odd"], "refreshed", {"t": 1}, created_at=AWAY, updated_at=AWAY, ttl_minutes=3000000, expires_at="2040-01-01T00:00:00.123456Z"),
    item(["odd"], "deep", '{"a":' * 40 + "{}" + "}" * 40),
    item(["odd"], "large", {"text": "word " * 100000}),
]


def fill(cli, url, items=3000, messages=700):
    lines = ODD + [item(["a", f"n{i % 13}"], f"k{i}", {"text": f"hello {i}", "n": i * 1.5}, **({"ttl_minutes": 5000.25} if i % 5 == 0 else {}))
                   for i in range(items)]
    lines += [json.dumps({"thread": f"t{i % 40}", "id": f"m{i}", "user": f"u{i % 40 % 3}", "role": "user", "content": f"good morning {i} \t é",
                          "time": "2026-03-04T05:06:07.000008Z", "metadata": {"b": 1, "a": [1.50]}}) for i in range(messages)]
    cli("import", "--store", url, "-", stdin="\n".join(lines), check=0)
    return len(ODD) + items


def export(cli, url):
    """Every line as it means."""
    out = cli("export", "--store", url, check=0).stdout.rstrip("\n").split("\n")[1:-1]
    return [json.loads(line, parse_float=lambda s: decimal.Decimal(s).normalize(), parse_int=lambda s: decimal.Decimal(s).normalize())
            for line in out]


def copied(r):
    return {t["tenant"]: t for t in json.loads(r.stdout)}


def copy(cli, *args, check=0):
    r = cli("copy", *args, "--json", check=check)
    return copied(r)["default"], r


def test_sqlite_to_sqlite(cli, tmp_path):
    a, b = f"sqlite:{tmp_path / 'a'}", f"sqlite:{tmp_path / 'b'}"
    n = fill(cli, a)
    t, _ = copy(cli, a, b, "--dry-run")
    assert t["copied"] == n and t["messages_copied"] == 700 and t["equal"] is None
    assert not (tmp_path / "b").exists(), "a dry run makes nothing"
    t, _ = copy(cli, a, b)
    assert t["copied"] == t["items"] == n and t["messages_copied"] == 700 and t["equal"] is True
    assert t["count_from"] == t["count_to"] == n + 700 and t["checksum_from"] == t["checksum_to"]
    assert cli("export", "--store", a, check=0).stdout == cli("export", "--store", b, check=0).stdout, "byte by byte"
    t, _ = copy(cli, a, b)
    assert t["unchanged"] == n and t["copied"] == t["messages_copied"] == 0 and t["equal"] is True
    assert "hello 7" in cli("search", "--store", b, "hello 7", check=0).stdout


def test_there_and_back(cli, tmp_path, pg_url):
    a, b = f"sqlite:{tmp_path / 'a'}", f"sqlite:{tmp_path / 'b'}"
    n = fill(cli, a)
    there, _ = copy(cli, a, pg_url)
    back, _ = copy(cli, pg_url, b)
    for t in there, back:
        assert t["copied"] == n and t["messages_copied"] == 700 and t["equal"] is True and t["count_from"] == n + 700
    assert there["checksum_to"] == back["checksum_from"] == back["checksum_to"], "the checksum does not depend on the store"
    assert export(cli, a) == export(cli, b)
    again, _ = copy(cli, a, pg_url)
    assert again["unchanged"] == n and again["copied"] == 0 and again["equal"] is True
    with psycopg.connect(pg_url) as db:
        assert db.execute("SELECT count(*) FROM cenote_item c JOIN store s USING (prefix, key) WHERE c.mark = s.xmin").fetchone()[0] == n
        assert db.execute("SELECT count(*) FROM cenote_value WHERE name LIKE 'copy:%'").fetchone()[0] == 0, "no note is left"


def test_history_of_facts(cli, tmp_path, pg_url):
    """States come along, more than a page of them and once; what the target cannot keep is told, the rest is there."""
    a, b = f"sqlite:{tmp_path / 'a'}", f"sqlite:{tmp_path / 'b'}"
    state = lambda k, i, **more: json.dumps({  # noqa: E731
        "namespace": ["past", "x"], "key": k, "value": {"v": i}, "recorded_from": f"2020-01-01T{i:02d}:00:00Z",
        "recorded_to": f"2020-01-01T{i + 1:02d}:00:00Z", "superseded_by": "other", **more}) + "\n"
    cli("import", "-", "--store", a, stdin="".join(state(f"k{k:02d}", i) for k in range(60) for i in range(20)), check=0)
    for i in range(3):
        cli("put", "past.x", "now", f"v{i}", "--valid-from", f"202{i}-01-01T00:00:00Z", "--store", a, check=0)
    dry, _ = copy(cli, a, pg_url, "--dry-run")
    assert dry["states"] == dry["states_copied"] == 60 * 20 + 2
    there, _ = copy(cli, a, pg_url)
    back, _ = copy(cli, pg_url, b)
    for t in there, back:
        assert t["equal"] and t["copied"] == 1 and t["states"] == t["states_copied"] == 60 * 20 + 2 and t["count_from"] == t["count_to"] == 60 * 20 + 3
    assert there["checksum_to"] == back["checksum_to"]
    assert len(export(cli, a)) == 60 * 20 + 3 and export(cli, a) == export(cli, b)
    dry, _ = copy(cli, a, pg_url, "--dry-run")
    again, _ = copy(cli, a, pg_url)
    for t in dry, again:
        assert t["states"] == 60 * 20 + 2 and t["copied"] == t["states_copied"] == 0, t
    assert again["equal"] and len(export(cli, pg_url)) == 60 * 20 + 3
    # What has come since: the fact of the target goes into its history as it went into the source's.
    cli("put", "past.x", "now", "v3", "--valid-from", "2023-01-01T00:00:00Z", "--store", a, check=0)
    for to in pg_url, b:
        t, _ = copy(cli, a, to)
        assert t["equal"] and t["copied"] == 1 and t["states"] == 60 * 20 + 3, t
        assert export(cli, to) == export(cli, a)


def test_states_are_compared_in_one_order(cli, tmp_path, pg_server):
    """Names that sort otherwise by words than by bytes, in a database that sorts by words."""
    a, b = f"sqlite:{tmp_path / 'a'}", f"sqlite:{tmp_path / 'b'}"
    spaces = [["a", "b"], ["a-b"], ["a b"], ["a"], ["A"], ["ab"], ["\u00e4", "x"], ["\U0001f600"], ["Z", "a"]]
    lines = [json.dumps({"namespace": ns, "key": k, "value": {"v": i}, "recorded_from": f"2020-01-01T{i:02d}:00:00Z",
                         "recorded_to": f"2020-01-01T{i + 1:02d}:00:00Z", "superseded_by": "other"})
             for ns in spaces for k in ("b", "B", "a-c", "a c", "ac", "\u00fc", "_") for i in range(20)]
    cli("import", "-", "--store", a, stdin="\n".join(lines), check=0)
    with sorted_otherwise(pg_server) as url:
        for source, target in ((a, url), (url, b)):
            t, _ = copy(cli, source, target)
            assert t["equal"] is True and t["states"] == t["states_copied"] == t["count_to"] == len(lines) and t["only_in_target"] == 0, t
    assert export(cli, a) == export(cli, b)


def test_other_states_are_told(cli, tmp_path, pg_url):
    """The comparison looks at the history, and at when a fact was true."""
    a, b = f"sqlite:{tmp_path / 'a'}", f"sqlite:{tmp_path / 'b'}"
    for i in range(3):
        cli("put", "past.x", "home", f"v{i}", "--valid-from", f"202{i}-01-01T00:00:00Z", "--store", a, check=0)
    for to in pg_url, b:
        assert copy(cli, a, to)[0]["equal"] is True
    with psycopg.connect(pg_url, autocommit=True) as db:
        assert db.execute("""UPDATE cenote_fact SET value = '{"text":"v9"}' WHERE value = '{"text":"v1"}'""").rowcount == 1
    with contextlib.closing(sqlite3.connect(tmp_path / "b" / "tenants" / "default.sqlite")) as db, db:
        assert db.execute("UPDATE cenote_fact SET valid_from_us = valid_from_us + 1 WHERE recorded_from_us = (SELECT min(recorded_from_us) FROM cenote_fact)").rowcount == 1
    for to in pg_url, b:
        t, r = copy(cli, a, to, check=1)
        assert t["equal"] is False and t["differ"] == 1 and t["count_from"] == t["count_to"] == 3
        assert [(e["what"], e["namespace"], e["key"], e["reason"]) for e in t["errors"]] == [("differs", ["past", "x"], "home", "is another one in the target")]
        assert "state past.x home: is another one in the target" in r.stderr
    # What only the target has, stays and is counted.
    cli("import", "-", "--store", b, check=0, stdin=json.dumps({
        "namespace": ["past", "x"], "key": "own", "value": {}, "recorded_from": "2020-01-01T00:00:00Z", "recorded_to": "2020-01-02T00:00:00Z",
        "superseded_by": "other"}))
    assert copy(cli, a, b, check=1)[0]["only_in_target"] == 1


def test_a_fact_and_an_item_are_not_the_same(cli, tmp_path):
    """Equal in all but when they were true: the target becomes as the source is, whichever of them is the fact."""
    plain = {"namespace": ["n"], "key": "k", "value": {"v": 1}, "created_at": AWAY, "updated_at": AWAY}
    fact = {**plain, "fact": True, "valid_from": "2025-01-01T00:00:00Z"}
    for n, (source, target) in enumerate(((plain, fact), (fact, plain), (fact, {**fact, "valid_to": "2025-02-01T00:00:00Z"}))):
        a, b = f"sqlite:{tmp_path / f'a{n}'}", f"sqlite:{tmp_path / f'b{n}'}"
        cli("import", "-", "--store", a, stdin=json.dumps(source), check=0)
        cli("import", "-", "--store", b, stdin=json.dumps(target), check=0)
        t, _ = copy(cli, a, b)
        assert t["copied"] == 1 and t["equal"] is True
        assert [x for x in export(cli, b) if "recorded_to" not in x] == export(cli, a)
        assert copy(cli, a, b)[0]["unchanged"] == 1


def test_states_that_cannot_be_kept(cli, tmp_path, pg_url):
    a = f"sqlite:{tmp_path / 'a'}"
    state = lambda k, i, **more: json.dumps({  # noqa: E731
        "namespace": ["past", "x"], "key": k, "value": {"v": i}, "recorded_from": f"2020-01-01T{i:02d}:00:00Z",
        "recorded_to": f"2020-01-01T{i + 1:02d}:00:00Z", "superseded_by": "other", **more}) + "\n"
    cli("import", "-", "--store", a, stdin="".join(state("k", i) for i in range(20)), check=0)
    cli("import", "-", "--store", a, stdin=state("odd", 1, value={"text": "\0"}), check=0)
    t, r = copy(cli, a, pg_url, check=7)
    assert t["failed"] == 1 and t["equal"] is True and t["states"] == 21 and t["states_copied"] == 20, t
    assert [(e["what"], e["key"]) for e in t["errors"]] == [("failed", "odd")] and "state past.x odd: " in r.stderr
    assert len(export(cli, pg_url)) == 20


def test_rows_of_other_clients(cli, tmp_path, pg_url):
    """What LangGraph's PostgresStore writes, with the defaults of the table."""
    a, b = f"sqlite:{tmp_path / 'a'}", f"sqlite:{tmp_path / 'b'}"
    fill(cli, a, items=10, messages=0)
    copy(cli, a, pg_url)
    with psycopg.connect(pg_url, autocommit=True) as db:
        db.execute("""INSERT INTO store(prefix, key, value) VALUES ('other.x', 'new', '{"t":"walrus"}')""")
        db.execute("""INSERT INTO store(prefix, key, value, created_at, updated_at, expires_at, ttl_minutes)
                      VALUES ('other.x', 'ttl', '{"n":1.0}', now(), now(), now() + interval '7 minutes', 7)""")
        db.execute("""INSERT INTO store(prefix, key, value, created_at, updated_at) VALUES ('other.x', 'bare', '{}', NULL, NULL)""")
        db.execute("""UPDATE store SET value = '{"t":"penguin"}', updated_at = now() WHERE key = 'k3'""")
    t, _ = copy(cli, pg_url, b)
    assert t["copied"] == len(ODD) + 13 and t["equal"] is True and t["differ"] == 0
    assert json.loads(cli("get", "--store", b, "a.n3", "k3", check=0).stdout) == {"t": "penguin"}
    got = json.loads(cli("get", "--store", b, "other.x", "ttl", "--json", check=0).stdout)
    assert got["value"] == {"n": 1.0}
    assert "walrus" in cli("search", "--store", b, "walrus", check=0).stdout


def test_tenants_and_keys(cli, tmp_path, pg_url):
    a, b = tmp_path / "a", tmp_path / "b"
    with Server("--auth", "keys", folder=tmp_path / "s", store=f"sqlite:{a}") as s:
        keys = {}
        for tenant in "acme", "bolt", "default":
            keys[tenant] = json.loads(s.run("key", "create", "--tenant", tenant, "--json", check=0).stdout)["key"]
        for tenant, key in keys.items():
            body = "\n".join(item(["n"], f"{tenant}{i}", {"of": tenant}) for i in range(20))
            body += "\n" + json.dumps({"thread": "t", "id": "1", "role": "user", "content": tenant})
            r = s.request("POST", "/cenote/v1/import", body.encode(), {"Authorization": f"Bearer {key}", "Content-Type": "application/x-ndjson"})
            assert r.status == 200 and r.json["stored"] == 21, r
    only = copied(cli("copy", f"sqlite:{a}", f"sqlite:{tmp_path / 'c'}", "--tenant", "bolt", "--tenant", "acme", "--json", check=0))
    assert set(only) == {"acme", "bolt"}
    assert "no tenant" in cli("copy", f"sqlite:{a}", f"sqlite:{tmp_path / 'c'}", "--tenant", "cave", check=3).stderr
    there = copied(cli("copy", f"sqlite:{a}", pg_url, "--json", check=0))
    back = copied(cli("copy", pg_url, f"sqlite:{b}", "--json", check=0))
    for r in there, back:
        assert set(r) == {"acme", "bolt", "default"}
        assert all(t["copied"] == 20 and t["messages_copied"] == 1 and t["keys"] == 1 and t["equal"] is True for t in r.values()), r
    with Server("--auth", "keys", folder=tmp_path / "s", store=f"sqlite:{b}") as s:
        for tenant, key in keys.items():
            r = s.request("GET", f"/store/items?namespace=n&key={tenant}7", headers={"Authorization": f"Bearer {key}"})
            assert r.status == 200 and r.json["value"] == {"of": tenant}, r
            other = "acme" if tenant != "acme" else "bolt"
            assert s.request("GET", f"/store/items?namespace=n&key={other}7", headers={"Authorization": f"Bearer {key}"}).json is None


def test_what_cannot_be_kept(cli, tmp_path, pg_url):
    a = f"sqlite:{tmp_path / 'a'}"
    n = fill(cli, a, items=1200, messages=10)
    bad = [item(["bad"], "nul", '{"t":"a\\u0000b"}'), item(["bad", "two"], "key", '{"\\u0000":1}'), item(["bad"], "huge", '{"n":1e200000}')]
    talk = [json.dumps({"thread": "t1", "id": "nul", "user": "u1", "role": "user", "content": "a\0b"})]
    cli("import", "--store", a, "-", stdin="\n".join(bad + talk), check=0)
    t, r = copy(cli, a, pg_url, check=7)
    assert t["copied"] == n and t["failed"] == 4 and t["messages_copied"] == 10 and t["equal"] is True
    told = {(tuple(e.get("namespace", [e.get("thread")])), e.get("key", e.get("id"))): e for e in t["errors"]}
    assert set(told) == {(("bad",), "nul"), (("bad", "two"), "key"), (("bad",), "huge"), (("t1",), "nul")}
    assert all(e["what"] == "failed" and e["reason"] for e in told.values())
    assert "u0000" in told[("bad",), "nul"]["reason"] and "bad.two key: " in r.stderr
    t, _ = copy(cli, a, pg_url, check=7)
    assert t["failed"] == 4 and t["unchanged"] == n


def test_newer_stays(cli, tmp_path, pg_url):
    a = f"sqlite:{tmp_path / 'a'}"
    cli("put", "--store", a, "n", "k", '{"v":1}', check=0)
    cli("put", "--store", a, "n", "other", '{"v":1}', check=0)
    copy(cli, a, pg_url)
    cli("put", "--store", pg_url, "n", "k", '{"v":2}', check=0)
    cli("put", "--store", pg_url, "n", "own", '{"v":3}', check=0)
    cli("put", "--store", a, "n", "other", '{"v":4}', check=0)
    t, _ = copy(cli, a, pg_url)
    assert (t["newer"], t["copied"], t["only_in_target"], t["equal"]) == (1, 1, 1, True)
    assert json.loads(cli("get", "--store", pg_url, "n", "k", check=0).stdout) == {"v": 2}
    assert json.loads(cli("get", "--store", pg_url, "n", "other", check=0).stdout) == {"v": 4}


TRIGGER = """CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {} RETURN NEW; END $$;
             CREATE TRIGGER meddle BEFORE INSERT ON store FOR EACH ROW EXECUTE FUNCTION meddle()"""


def with_trigger(cli, pg_url, body):
    cli("ls", "--store", pg_url, check=0)  # makes the tables
    with psycopg.connect(pg_url, autocommit=True) as db:
        db.execute(TRIGGER.format(body))


def test_differences_are_found(cli, tmp_path, pg_url):
    a = f"sqlite:{tmp_path / 'a'}"
    fill(cli, a, items=600, messages=5)
    with_trigger(cli, pg_url, """IF NEW.key = 'k77' THEN NEW.value = '{"changed":"behind its back"}'; END IF;""")
    t, r = copy(cli, a, pg_url, check=1)
    assert t["equal"] is False and t["differ"] == 1 and t["checksum_from"] != t["checksum_to"]
    assert "a.n12 k77: is another one in the target" in r.stderr and "the stores differ" in r.stderr
    t, _ = copy(cli, a, pg_url, "--no-verify")
    assert t["equal"] is None
    b = tmp_path / "b"
    cli("put", "--store", f"sqlite:{b}", "n", "own", "{}", check=0)
    with sqlite3.connect(b / "tenants" / "default.sqlite") as db:
        db.execute("""CREATE TRIGGER meddle AFTER INSERT ON cenote_item WHEN NEW.key = 'k78'
                      BEGIN UPDATE cenote_item SET value = '{"behind":1}' WHERE id = NEW.id; END""")
    t, r = copy(cli, a, f"sqlite:{b}", check=1)
    assert t["equal"] is False and t["differ"] == 1 and "a.n0 k78: is another one in the target" in r.stderr
    t, _ = copy(cli, a, f"sqlite:{b}")
    assert t["copied"] == 1 and t["unchanged"] == t["items"] - 1 and t["equal"] is True, "the same time and another value: mended"


def parked(db):
    """Waits until somebody waits for the advisory lock 1, which this connection holds."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if db.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 1 AND NOT granted AND"
                      " database = (SELECT oid FROM pg_database WHERE datname = current_database())").fetchone()[0]:
            return
        time.sleep(0.02)
    raise AssertionError("the copy never came so far")


# Long enough on the way that the place is noted, then halted in the middle.
HALT = "IF NEW.key = 'k13' THEN PERFORM pg_sleep(1.1); END IF; IF NEW.key = 'k2904' THEN PERFORM pg_advisory_xact_lock(1); END IF;"


@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_goes_on(cli, tmp_path, pg_url, sig):
    a = f"sqlite:{tmp_path / 'a'}"
    n = fill(cli, a)
    with_trigger(cli, pg_url, HALT)
    with psycopg.connect(pg_url, autocommit=True) as db:
        db.execute("SELECT pg_advisory_lock(1)")
        p = start_copy(tmp_path, a, pg_url)
        try:
            parked(db)
            p.send_signal(sig)
            if sig == signal.SIGKILL:
                p.wait(30)
            db.execute("SELECT pg_advisory_unlock(1)")
            _, said = p.communicate(timeout=60)
        finally:
            p.kill()
        assert p.returncode == {signal.SIGKILL: -9, signal.SIGINT: 130, signal.SIGTERM: 143}[sig], said
        if sig != signal.SIGKILL:
            assert "goes on from there" in said
        # The statement that was under way when the copy was killed ends by itself.
        while db.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'cenote' AND datname = current_database()").fetchone()[0]:
            time.sleep(0.02)
        before = db.execute("SELECT count(*) FROM store").fetchone()[0]
        note = json.loads(bytes(db.execute("SELECT value FROM cenote_value WHERE name LIKE 'copy:%'").fetchone()[0]))
        assert 0 < before < n and 0 < note["items"] <= before and note["stage"] == 0
    t, r = copy(cli, a, pg_url)
    assert "goes on after" in r.stderr and t["resumed"] is True
    assert t["items"] == n and t["copied"] + t["unchanged"] == n and t["messages_copied"] == 700 and t["equal"] is True
    assert t["count_from"] == n + 700


def test_refusals(cli, tmp_path):
    a, b = f"sqlite:{tmp_path / 'a'}", f"sqlite:{tmp_path / 'b'}"
    assert "no store at" in cli("copy", a, b, check=3).stderr
    assert not (tmp_path / "a").exists() and not (tmp_path / "b").exists()
    cli("put", "--store", a, "n", "k", "{}", check=0)
    assert "the same store" in cli("copy", a, f"sqlite:{tmp_path / 'b' / '..' / 'a'}" if (tmp_path / "b").exists() else a + "/", check=2).stderr
    assert "given as" in cli("copy", "mysql://x", b, check=2).stderr
    cli("copy", a, check=2)
    with Server(folder=tmp_path / "s", store=a):
        said = cli("copy", a, b, check=5).stderr
        assert "FROM" in said and "stop the server" in said
    copy(cli, a, b)
