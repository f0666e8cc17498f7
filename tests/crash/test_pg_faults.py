"""What goes wrong between a server and its PostgreSQL, each provoked with the real thing. CENOTE_FAULTS_FULL=1 makes the long ones as long
as the product's promise says (`make faults-full`)."""
import contextlib
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time

import psycopg
import pytest

from load import Load
from pgbouncer import PgBouncer
from postgres import Postgres, database, with_database
from server import FULL, PATIENCE, Server, at_most


def seconds(full, short):
    return full if FULL else short


@pytest.fixture(scope="module")
def pg():
    """A server that these tests may stop and start; durable, as installed."""
    with Postgres(deadlock_timeout="200ms") as p:
        yield p


@pytest.fixture
def db(pg):
    with database(pg.url) as url:
        yield url


def put(s, key, value=None, ns="f", **more):
    return s.request("PUT", "/store/items", {"namespace": [ns], "key": key, "value": value or {"v": key}, **more})


def get(s, key, ns="f"):
    return s.request("GET", f"/store/items?namespace={ns}&key={key}")


def found(s, query, ns="f"):
    r = s.request("POST", "/store/items/search", {"namespace_prefix": [ns], "query": query, "limit": 100})
    assert r.status == 200, r
    return [i["key"] for i in r.json["items"]]


def clear_error(r, *words):
    text = r.json["detail"]
    assert len(text) > 15 and all(w in text for w in words), text
    return text


def wait_until(what, true, limit=PATIENCE):
    end = time.monotonic() + limit
    while not true():
        assert time.monotonic() < end, f"{what} did not come within {limit} s"
        time.sleep(0.02)


def backends(c):
    return [r[0] for r in c.execute("SELECT pid FROM pg_stat_activity WHERE application_name = 'cenote' AND datname = current_database()")]


# ---------------------------------------------------------------- the server goes away

def test_immediate_stop_under_load(pg, db):
    with Server("--http-request-timeout", "8s", store=db) as s:
        pid = s.process.pid
        with Load(s) as load:
            time.sleep(seconds(3, 1))
            pg.stop("immediate")
            stopped = time.monotonic()
            time.sleep(seconds(5, 2))
            pg.start()
            back = time.monotonic()
            time.sleep(4)
            wait_until("service", lambda: load.first_success_after(back) is not None)
        assert s.process.pid == pid and s.process.poll() is None, "without a restart of ours"
        during = [a for a in load.answers if stopped < a[3] - a[2] and a[3] < back]
        assert during, "there were requests in the gap"
        assert {a[1] for a in load.failed()} <= {503, 504}, load.statuses()
        for what, status, took, _, retry, body in load.failed():
            assert status == 504 or (retry is not None and int(retry) >= 1), "503 says when to come again"
            assert took < 12, f"{what} took {took:.1f} s of 8"
            assert b"detail" in body
        first = load.first_success_after(back)
        assert first < at_most(2), f"service came back {first} s after the database"
        assert load.check_stored(db)
        assert s.request("GET", "/readyz").status == 200


def test_backends_terminated(pg, db):
    """20 a second, at random: nobody notices, and every put happened exactly once."""
    with Server(store=db) as s, psycopg.connect(db, autocommit=True) as c:
        killed, rnd = 0, random.Random(4)
        with Load(s) as load:
            began = time.monotonic()
            while time.monotonic() - began < seconds(30, 6) or killed <= seconds(400, 60):
                assert time.monotonic() - began < 120, f"{killed} connections were there to be killed"
                pids = backends(c)
                if pids:
                    killed += c.execute("SELECT pg_terminate_backend(%s)", (rnd.choice(pids),)).fetchone()[0]
                time.sleep(0.05)
        assert not load.failed(), (len(load.failed()), load.failed()[:3])
        rows = load.check_stored(db)
        assert len(rows) == len(load.acknowledged)
        again = c.execute("SELECT count(*) FROM cenote_item WHERE prefix = 'load' AND version <> 1").fetchone()[0]
        assert again == 0, f"{again} puts were done twice"


def test_too_many_connections(pg, db):
    """53300 at every login, and the connections there were are gone."""
    role = f"crowd{os.getpid()}"
    with psycopg.connect(db, autocommit=True) as c:
        c.execute(f"CREATE ROLE {role} LOGIN; GRANT ALL ON SCHEMA public TO {role}")
        try:
            with Server(store=db.replace("postgres@", f"{role}@")) as s:
                assert put(s, "a").status == 204
                c.execute(f"ALTER ROLE {role} CONNECTION LIMIT 0")
                for pid in backends(c):
                    c.execute("SELECT pg_terminate_backend(%s)", (pid,))
                for call in (lambda: put(s, "b"), lambda: get(s, "a")):
                    began = time.monotonic()
                    r = call()
                    assert r.status == 503 and int(r.headers.get("retry-after", 0)) >= 1, (r, r.headers)
                    clear_error(r, "connections")
                    assert time.monotonic() - began < 10, "not as long as a request may take"
                assert s.request("GET", "/readyz").status == 503
                c.execute(f"ALTER ROLE {role} CONNECTION LIMIT -1")
                wait_until("service", lambda: put(s, "b").status == 204, at_most(5))
                assert get(s, "a").json["value"] == {"v": "a"}
        finally:
            c.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


# ---------------------------------------------------------------- between the two

def test_pgbouncer(pg, db):
    """Transaction mode, fewer connections than clients; prepared statements are not to be had there."""
    with PgBouncer(db) as bouncer, Server("--pg-pool-max", "6", store=bouncer.url) as s:
        with Load(s, threads=16) as load:
            for n in range(seconds(200, 40)):
                key = f"k{n}"
                assert put(s, key, {"text": f"marmalade number {n}"}).status == 204
                assert get(s, key).json["value"]["text"].endswith(str(n))
            assert len(found(s, "marmalade")) == seconds(100, 40)
            batch = s.request("POST", "/cenote/v1/batch", {"atomic": True, "operations": [
                {"op": "put", "namespace": ["f"], "key": f"b{i}", "value": {"i": i}} for i in range(50)]})
            assert batch.status == 200, batch
            lines = "".join(json.dumps({"thread_id": "t", "id": f"m{i}", "role": "user", "content": f"hello {i}", "user": "u"}) + "\n" for i in range(20))
            r = s.request("POST", "/cenote/v1/import", lines.encode(), headers={"Content-Type": "application/x-ndjson"})
            assert r.status == 200, r
        assert not load.failed(), load.failed()[:3]
        load.check_stored(db)


def command_of(folder, word):
    """A password command that prints what the file holds, and counts its calls."""
    (folder / "word").write_text(word)
    path = folder / "command"
    path.write_text(f"#!/bin/sh\necho x >> '{folder}/calls'\ncat '{folder}/word'\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("source", ["command", "file"])
def test_password_rotated(source, tmp_path):
    with Postgres(password="root-word") as own, database(own.url) as db:
        with psycopg.connect(db, autocommit=True) as c:
            c.execute("CREATE ROLE app LOGIN PASSWORD 'first-word'; GRANT ALL ON SCHEMA public TO app")
            where = db.replace("postgres:root-word@", "app@")
            path = command_of(tmp_path, "first-word")
            (tmp_path / "word").chmod(0o600)
            setting = ("--pg-password-command", str(path)) if source == "command" else ("--pg-password-file", str(tmp_path / "word"))
            with Server(*setting, "--pg-password-life", "1h", store=where) as s, Load(s) as load:
                for n in range(seconds(6, 3)):
                    time.sleep(0.5)
                    word = f"word-{n}"
                    with c.transaction():  # nobody can log in with the one while the file has the other
                        c.execute("LOCK TABLE pg_authid IN ACCESS EXCLUSIVE MODE")
                        c.execute(f"ALTER ROLE app PASSWORD '{word}'")
                        (tmp_path / "next").write_text(word)
                        (tmp_path / "next").chmod(0o600)
                        (tmp_path / "next").rename(tmp_path / "word")
                    for pid in backends(c):
                        c.execute("SELECT pg_terminate_backend(%s)", (pid,))
                time.sleep(0.5)
                load.stop()
                assert not load.failed(), load.failed()[:3]
                load.check_stored(db)
                assert not any("word-" in line or "first-word" in line for line in s.log), "a password is in the log"


class Authority:
    """A certificate authority of the test's own."""

    def __init__(self, folder, name):
        self.folder, self.name = folder, name
        self.key, self.cert = folder / f"{name}.key", folder / f"{name}.crt"
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", f"/CN={name}",
                     "-keyout", self.key, "-out", self.cert)

    def openssl(self, *args):
        subprocess.run(["openssl", *map(str, args)], check=True, capture_output=True)

    def issue(self, to, host="127.0.0.1"):
        """A key and a certificate for the host, as to/server.key and to/server.crt."""
        key, csr, crt = (self.folder / f"server.{x}" for x in ("key", "csr", "crt"))
        kind = "IP" if host[0].isdigit() else "DNS"
        (self.folder / "ext").write_text(f"subjectAltName={kind}:{host}\n")
        self.openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={host}", "-keyout", key, "-out", csr)
        self.openssl("x509", "-req", "-in", csr, "-CA", self.cert, "-CAkey", self.key, "-CAcreateserial", "-days", "2", "-extfile",
                     self.folder / "ext", "-out", crt)
        for path in (key, crt):
            target = to / path.name
            shutil.copy(path, target)
            target.chmod(0o644)


def refused(s):
    """What is said to a put, which must not be done."""
    r = put(s, "c")
    assert r.status == 503, r
    return clear_error(r)


def test_new_certificate(db, tmp_path):
    """TLS ends at PgBouncer (in session mode), because the wheel's server is built without it: what we verify is the same."""
    ours, other = Authority(tmp_path, "ours"), Authority(tmp_path, "other")
    certs = pathlib.Path(tempfile.mkdtemp(prefix="cenote-tls-"))
    certs.chmod(0o755)
    ours.issue(certs)
    tls = {"client_tls_sslmode": "require", "client_tls_key_file": certs / "server.key", "client_tls_cert_file": certs / "server.crt"}
    try:
        with PgBouncer(db, pool_mode="session", **tls) as bouncer:
            with Server(store=f"{bouncer.url}?sslmode=verify-full&sslrootcert={ours.cert}") as s:
                assert put(s, "a").status == 204
                ours.issue(certs)
                bouncer.restart()
                wait_until("service with the new certificate", lambda: put(s, "b").status == 204, at_most(5))
                for issuer, host in ((other, "127.0.0.1"), (ours, "db.example")):  # not by ours; by ours, for somebody else
                    issuer.issue(certs, host)
                    bouncer.restart()
                    wait_until("the certificate's name in the error", lambda: "certificate" in refused(s), at_most(5))
                    assert get(s, "a").status == 503
                ours.issue(certs)
                bouncer.restart()
                wait_until("service again", lambda: put(s, "d").status == 204, at_most(5))
                assert [(get(s, k).json or {}).get("key") for k in "abcd"] == ["a", "b", None, "d"]
    finally:
        shutil.rmtree(certs, ignore_errors=True)


def namespaces():
    """Whether network namespaces can be made and entered here."""
    probe = f"cnp{os.getpid()}"
    try:
        return os.geteuid() == 0 and subprocess.run(["ip", "netns", "add", probe], capture_output=True).returncode == 0 and \
            subprocess.run(["ip", "netns", "exec", probe, "true"], capture_output=True).returncode == 0
    except OSError:
        return False
    finally:
        subprocess.run(["ip", "netns", "del", probe], capture_output=True)


@pytest.fixture
def far():
    """(host address, namespace, cut, heal): a network namespace whose only way to the host can be cut without a sound."""
    if not namespaces():
        pytest.skip("no network namespaces here; test_silent_connection is what can be done without")
    name, n = f"cn{os.getpid()}", os.getpid() % 200
    host, guest = f"10.{n}.77.1", f"10.{n}.77.2"

    def ip(*args):
        subprocess.run(["ip", *args], check=True, capture_output=True)

    ip("netns", "add", name)
    try:
        ip("link", "add", f"{name}h", "type", "veth", "peer", "name", f"{name}g", "netns", name)
        ip("addr", "add", f"{host}/24", "dev", f"{name}h")
        ip("link", "set", f"{name}h", "up")
        ip("-n", name, "addr", "add", f"{guest}/24", "dev", f"{name}g")
        ip("-n", name, "link", "set", f"{name}g", "up")
        ip("-n", name, "link", "set", "lo", "up")
        yield host, name, lambda: ip("link", "set", f"{name}h", "down"), lambda: ip("link", "set", f"{name}h", "up")
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True)
        subprocess.run(["ip", "link", "del", f"{name}h"], capture_output=True)


def silence_is_noticed(ask, cut, heal):
    """ask(method, key) -> (status, body): answers in time while nothing comes back, and service afterwards."""
    assert ask("PUT", "a")[0] == 204 and ask("GET", "a")[0] == 200
    cut()
    for method in ("GET", "PUT", "GET"):
        began = time.monotonic()
        status, body = ask(method, "a")
        assert status in (503, 504) and time.monotonic() - began < 10, (method, status, time.monotonic() - began)
        assert b"detail" in body
    heal()
    wait_until("service", lambda: ask("PUT", "b")[0] == 204, at_most(10))  # an answer that fails takes 3 s
    assert ask("GET", "a")[0] == 200


def test_silent_connection(db):
    """The other end accepts what is sent and says nothing: a pooler that is stopped (SIGSTOP)."""
    with PgBouncer(db) as bouncer:
        with Server("--http-request-timeout", "3s", "--pg-connect-timeout", "1s", store=bouncer.url) as s:
            def ask(method, key):
                r = put(s, key) if method == "PUT" else get(s, key)
                return r.status, r.body

            silence_is_noticed(ask, lambda: bouncer.process.send_signal(signal.SIGSTOP), lambda: bouncer.process.send_signal(signal.SIGCONT))


def test_blackholed_connection(far):
    """Packets vanish: no refusal, no reset. Requests go through the unix socket, which the namespace does not touch."""
    host, namespace, cut, heal = far
    with Postgres(listen_addresses="*") as own:
        with open(own.folder / "data" / "pg_hba.conf", "a") as f:
            f.write("host all all 10.0.0.0/8 trust\n")
        own.stop()
        own.start()
        with database(own.url) as db:
            where = db.replace("127.0.0.1", host)
            folder = pathlib.Path(tempfile.mkdtemp(prefix="cenote-far-"))
            with Server("--listen", f"unix:{folder}/s", "--http-request-timeout", "3s", "--pg-connect-timeout", "1s", folder=folder, store=where,
                        wrapper=["ip", "netns", "exec", namespace]) as s:
                s.unix = str(folder / "s")
                silence_is_noticed(lambda method, key: over_unix(s, method, key), cut, heal)
            shutil.rmtree(folder, ignore_errors=True)


def over_unix(s, method, key):
    import http.client
    import socket

    class Unix(http.client.HTTPConnection):
        def connect(self):
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(20)
            self.sock.connect(s.unix)

    c = Unix("localhost")
    if method == "PUT":
        c.request("PUT", "/store/items", json.dumps({"namespace": ["f"], "key": key, "value": {"v": key}}), {"Content-Type": "application/json"})
    else:
        c.request("GET", f"/store/items?namespace=f&key={key}")
    r = c.getresponse()
    body = r.read()
    c.close()
    return r.status, body


# ---------------------------------------------------------------- inside the server

def test_statement_timeout(pg, db):
    with Server("--pg-statement-timeout", "700ms", store=db) as s, psycopg.connect(db) as c:
        assert put(s, "a").status == 204
        c.execute("LOCK TABLE store IN ACCESS EXCLUSIVE MODE")
        for call in (lambda: get(s, "a"), lambda: put(s, "b"), lambda: s.request("POST", "/store/items/search", {"namespace_prefix": ["f"]})):
            began = time.monotonic()
            r = call()
            assert r.status in (503, 504) and time.monotonic() - began < 4, r  # 503: locked
            clear_error(r)
        c.rollback()
        assert get(s, "a").status == 200 and get(s, "b").json is None, "what timed out was not written"
        with psycopg.connect(db, autocommit=True) as look:
            wait_until("the end of what timed out", lambda: look.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'cenote' AND datname = current_database() AND state = 'active'"
            ).fetchone()[0] == 0, at_most(1))


def test_deadlock(pg, db):
    """Somebody else locks our rows in the other order; the server picks us as the victim: tried again, nobody notices."""
    with Server(store=db) as s, psycopg.connect(db) as c:
        assert put(s, "a").status == 204 and put(s, "b").status == 204
        c.execute("SET deadlock_timeout = '20s'")
        c.execute("UPDATE store SET value = '{\"v\": \"other\"}' WHERE key = 'b'")
        result = []
        ops = [{"op": "put", "namespace": ["f"], "key": k, "value": {"v": f"ours {k}"}} for k in "ab"]
        t = threading.Thread(target=lambda: result.append(s.request("POST", "/cenote/v1/batch", {"atomic": True, "operations": ops})))
        t.start()
        with psycopg.connect(db, autocommit=True) as look:
            wait_until("our write waits", lambda: look.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'cenote' AND wait_event_type = 'Lock'").fetchone()[0] > 0)
            before = look.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").fetchone()[0]
            c.execute("UPDATE store SET value = '{\"v\": \"other\"}' WHERE key = 'a'")
            c.commit()
            t.join(20)
            assert result and result[0].status == 200, result
            wait_until("the deadlock in the statistics", lambda: look.execute(
                "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").fetchone()[0] > before)
        assert [get(s, k).json["value"]["v"] for k in "ab"] == ["ours a", "ours b"]


def test_serialization_failure(pg, db):
    """Cenote asks for an isolation that has none of them; a trigger may say so all the same. Once: a sequence forgets nothing."""
    with Server(store=db) as s, psycopg.connect(db, autocommit=True) as c:
        assert put(s, "a").status == 204
        c.execute("CREATE SEQUENCE attempts")
        c.execute("""CREATE FUNCTION collide() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF nextval('attempts') = 1 THEN
 RAISE EXCEPTION 'could not serialize access' USING ERRCODE = '40001'; END IF; RETURN NEW; END $$""")
        c.execute("CREATE TRIGGER collide BEFORE UPDATE ON store FOR EACH ROW EXECUTE FUNCTION collide()")
        assert put(s, "a", {"v": "ours"}).status == 204
        assert c.execute("SELECT last_value FROM attempts").fetchone()[0] == 2
        assert get(s, "a").json["value"] == {"v": "ours"}


def test_full_disk(pg):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="cenote-full-"))
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", folder], capture_output=True).returncode != 0:
        folder.rmdir()
        pytest.skip("no small disk can be mounted here")
    try:
        (folder / "space").mkdir()
        shutil.chown(folder / "space", (pg.folder / "data").stat().st_uid)
        folder.chmod(0o755)
        with psycopg.connect(pg.url, autocommit=True) as c:
            c.execute(f"CREATE TABLESPACE small LOCATION '{folder}/space'")
            c.execute("CREATE DATABASE small TABLESPACE small TEMPLATE template0")
        db = with_database(pg.url, "small")
        with Server(store=db) as s:
            stored, r = [], None
            rnd = random.Random(1)
            for i in range(400):
                r = put(s, f"k{i}", {"v": rnd.randbytes(60_000).hex()})
                if r.status != 204:
                    break
                stored.append(f"k{i}")
            assert r.status == 507, r
            clear_error(r, "full")
            assert stored and get(s, stored[0]).status == 200, "reading goes on"
            assert get(s, f"k{len(stored)}").json is None, "what was refused is not there"
            subprocess.run(["mount", "-o", "remount,size=200m", folder], check=True)
            assert put(s, "after").status == 204
            for k in stored:
                assert get(s, k).json is not None
    finally:
        with psycopg.connect(pg.url, autocommit=True) as c:
            c.execute("DROP DATABASE IF EXISTS small WITH (FORCE)")
            c.execute("DROP TABLESPACE IF EXISTS small")
        subprocess.run(["umount", folder], check=False)
        folder.rmdir()


def test_read_only(pg, db):
    with Server(store=db) as s, psycopg.connect(db, autocommit=True) as c:
        assert put(s, "a", {"text": "marmalade"}).status == 204
        c.execute(f'ALTER DATABASE "{c.info.dbname}" SET default_transaction_read_only = on')
        for pid in backends(c):
            c.execute("SELECT pg_terminate_backend(%s)", (pid,))
        r = put(s, "b")
        assert r.status == 503, r
        clear_error(r, "read")
        assert get(s, "a").status == 200 and found(s, "marmalade") == ["a"], "reading goes on"
        c.execute("SET default_transaction_read_only = off")
        c.execute(f'ALTER DATABASE "{c.info.dbname}" RESET default_transaction_read_only')
        for pid in backends(c):
            c.execute("SELECT pg_terminate_backend(%s)", (pid,))
        # A login that was under way is read only still.
        wait_until("writing", lambda: put(s, "b", {"text": "more marmalade"}).status == 204, at_most(2))
        assert sorted(found(s, "marmalade")) == ["a", "b"]


# ---------------------------------------------------------------- two of us

def test_two_servers_one_database(pg, db):
    """Both write the same keys without a pause: each key ends as the last acknowledged write of one of them, no deadlock, and both see it."""
    keys, last = [f"k{i}" for i in range(20)], {}
    with Server(store=db) as a, Server(store=db) as b:
        stop, failed = threading.Event(), []

        def work(s, me):
            rnd, n = random.Random(me), 0
            while not stop.is_set():
                key = rnd.choice(keys)
                value = {"v": f"{me} {n}"}
                r = put(s, key, value)
                if r.status != 204:
                    failed.append(r)
                last[me, key] = value
                n += 1

        def batches(s, me):
            rnd, n = random.Random(me), 0
            while not stop.is_set():
                some = rnd.sample(keys, 8)
                ops = [{"op": "put", "namespace": ["f"], "key": k, "value": {"v": f"{me} {n}"}} for k in some]
                r = s.request("POST", "/cenote/v1/batch", {"atomic": True, "operations": ops})
                if r.status != 200:
                    failed.append(r)
                for k in some:
                    last[me, k] = {"v": f"{me} {n}"}
                n += 1

        threads = [threading.Thread(target=f, args=(s, f"{name}{f.__name__}{i}")) for name, s in (("a", a), ("b", b))
                   for f in (work, batches) for i in range(3)]
        for t in threads:
            t.start()
        time.sleep(seconds(20, 4))
        stop.set()
        for t in threads:
            t.join(30)
        assert not failed, failed[:3]
        for key in keys:
            candidates = [v for (me, k), v in last.items() if k == key]
            seen = get(a, key).json["value"]
            assert seen in candidates, (key, seen)
            assert get(b, key).json["value"] == seen
        with psycopg.connect(db) as c:
            time.sleep(1)  # statistics of idle backends
            assert c.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").fetchone()[0] == 0
        assert put(a, "word", {"text": "quince"}).status == 204
        assert found(b, "quince") == ["word"], "the other one's put is found at the next search"
        assert b.request("DELETE", "/store/items", {"namespace": ["f"], "key": "word"}).status == 204
        assert found(a, "quince") == []
