"""How many connections the server has to its database, whatever the load; and where its settings may come from."""
import concurrent.futures
import contextlib
import json
import os
import pathlib
import sys
import threading
import time
import urllib.parse

import psycopg
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "crash"))
from load import Load  # noqa: E402
from server import PATIENCE, Server  # noqa: E402


def held(s, url):
    """Connections to the database that the process has: the server still counts those that are ending."""
    sockets, port = set(), f":{urllib.parse.urlsplit(url).port:04X}"
    for fd in pathlib.Path(f"/proc/{s.process.pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            sockets.add(os.readlink(fd))
    lines = [x.split() for x in pathlib.Path(f"/proc/{s.process.pid}/net/tcp").read_text().splitlines()[1:]]
    return sum(x[2].endswith(port) and x[3] == "01" and f"socket:[{x[9]}]" in sockets for x in lines)


class Watch:
    """Counts our connections to the database, every 5 ms, until it is stopped: by what the server says, or by `count`."""

    def __init__(self, url, count=None):
        self.seen, self.end, self.url = set(), threading.Event(), url
        self.thread = threading.Thread(target=self.ask if count else self.look)
        self.count = count

    def ask(self):
        while not self.end.is_set():
            self.seen.add(self.count())
            time.sleep(0.005)

    def look(self):
        with psycopg.connect(self.url, autocommit=True) as c:
            while not self.end.is_set():
                self.seen.add(c.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'cenote' AND datname ="
                                        " current_database()").fetchone()[0])
                time.sleep(0.005)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.end.set()
        self.thread.join()


def busy(s, seconds=2):
    """All kinds of requests at once."""
    stop = threading.Event()

    def searches():
        while not stop.is_set():
            assert s.request("POST", "/store/items/search", {"namespace_prefix": ["load"], "query": "something"}).status == 200
            assert s.request("POST", "/store/namespaces", {}).status == 200

    threads = [threading.Thread(target=searches) for _ in range(4)]
    with Load(s, threads=12) as load:
        for t in threads:
            t.start()
        time.sleep(seconds)
        stop.set()
        for t in threads:
            t.join()
    assert not load.failed(), load.failed()[:3]
    return load


@pytest.mark.parametrize("least,most", [(1, 1), (2, 2), (2, 3), (4, 9)])
def test_pool_stays_within_both(pg_url, least, most):
    with Server(store=pg_url, env={"DB_POOL_MIN_SIZE": least, "DB_POOL_MAX_SIZE": most}) as s:
        s.request("GET", "/readyz")
        end = time.monotonic() + 10
        with psycopg.connect(pg_url, autocommit=True) as c:  # the least there are come without a request for each
            while c.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'cenote' AND datname = current_database()"
                            ).fetchone()[0] < least:
                assert time.monotonic() < end
                time.sleep(0.01)
        with Watch(pg_url) as w:
            busy(s).check_stored(pg_url)
        assert min(w.seen) >= least and max(w.seen) <= most, w.seen


def test_no_pool(pg_url):
    """USE_NULLPOOL: a connection for each use, none kept."""
    with Server(store=pg_url, env={"USE_NULLPOOL": "true", "DB_POOL_MAX_SIZE": 4}) as s:
        with Watch(pg_url, lambda: held(s, pg_url)) as w:
            busy(s).check_stored(pg_url)
        assert max(w.seen) <= 4, w.seen
        # Those of fast statements come and go between two looks; these wait.
        end = time.monotonic() + PATIENCE
        with psycopg.connect(pg_url) as holder, concurrent.futures.ThreadPoolExecutor(8) as pool:
            holder.execute("LOCK TABLE store")
            answers = [pool.submit(s.request, "POST", "/store/items/search", {"namespace_prefix": ["load"]}) for _ in range(8)]
            while not (n := held(s, pg_url)):
                assert time.monotonic() < end
                time.sleep(0.01)
            assert n <= 4
            holder.rollback()
            assert [a.result().status for a in answers] == [200] * 8
        with psycopg.connect(pg_url, autocommit=True) as c:
            while c.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'cenote' AND datname = current_database()"
                            ).fetchone()[0]:
                assert time.monotonic() < end
                time.sleep(0.01)


@pytest.mark.parametrize("lane", ["search", "point", "write"])
def test_who_waits_for_a_lock_waits_alone(pg_url, lane):
    """What a stranger's lock holds up, of whichever kind, has a connection for itself: nothing else is sent behind it."""
    with Server("--pg-pool-max", "12", store=pg_url) as s, psycopg.connect(pg_url) as holder, concurrent.futures.ThreadPoolExecutor(1) as pool:
        said = {"items": [{"type": "message", "role": "user", "content": "hello"}]}
        talk = f"/v1/conversations/{s.request('POST', '/v1/conversations', said).json['id']}/items"
        one = f"{talk}/{s.request('GET', talk).json['data'][0]['id']}"
        item = {"namespace": ["e"], "key": "k"}
        assert s.request("PUT", "/store/items", item | {"value": {"n": 1}}).status == 204
        waiting, other = {"search": (("POST", "/store/items/search", {"namespace_prefix": ["e"]}), ("GET", talk)),
                          "point": (("GET", "/store/items?namespace=e&key=k"), ("GET", one)),
                          "write": (("PUT", "/store/items", item | {"value": {"n": 2}}), ("POST", talk, said))}[lane]
        holder.execute("LOCK TABLE store IN ACCESS EXCLUSIVE MODE")
        held_up = pool.submit(s.request, *waiting)
        end = time.monotonic() + PATIENCE
        with psycopg.connect(pg_url, autocommit=True) as c:
            while not c.execute("SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'store'::regclass AND NOT granted)").fetchone()[0]:
                assert time.monotonic() < end
                time.sleep(0.01)
        for _ in range(3):
            assert s.request(*other).status == 200
        assert not held_up.done()
        holder.rollback()
        assert held_up.result().status in (200, 204)


@pytest.mark.parametrize("how", ["DATABASE_URL", "LAKEBASE", "PG"])
def test_where_the_store_comes_from(pg_url, how, tmp_path):
    """The environment of others names the database; nothing is written to a file."""
    u = urllib.parse.urlsplit(pg_url)
    env = {"DATABASE_URL": {"DATABASE_URL": pg_url},
           "LAKEBASE": {"LAKEBASE_HOST": f"{u.hostname}:{u.port}", "LAKEBASE_DATABASE": u.path[1:], "LAKEBASE_USER": u.username,
                        "LAKEBASE_PASSWORD": "any"},
           "PG": {"PGHOST": u.hostname, "PGPORT": u.port, "PGDATABASE": u.path[1:], "PGUSER": u.username}}[how]
    if how == "LAKEBASE":
        env["PGPORT"], env["LAKEBASE_HOST"] = u.port, u.hostname

    class FromEnvironment(Server):
        def command(self):
            full = super().command()
            at = full.index("--store")
            return full[:at] + full[at + 2:]

    with FromEnvironment(folder=tmp_path, env=env) as s:
        assert s.request("PUT", "/store/items", {"namespace": ["e"], "key": "k", "value": {"v": how}}).status == 204
        with psycopg.connect(pg_url) as c:
            assert c.execute("SELECT value->>'v' FROM store WHERE prefix = 'e'").fetchone()[0] == how
    assert not list(tmp_path.rglob("*.sqlite"))


def test_figures_of_the_tables(pg_url):
    with Server(store=pg_url) as s:
        assert s.request("PUT", "/store/items", {"namespace": ["e"], "key": "k", "value": {}}).status == 204
        end = time.monotonic() + 10
        while True:  # the sweeper looks at the tables when it begins
            text = s.request("GET", "/metrics").body.decode()
            figures = dict(line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
            if int(figures['cenote_pg_table_bytes{table="store"}']) > 0:
                break
            assert time.monotonic() < end
            time.sleep(0.05)
        assert int(figures['cenote_pg_table_bytes{table="cenote_item"}']) > 0 and figures["cenote_store_up"] == "1"
        assert s.request("GET", "/cenote/v1/stats").json["items"] == 1


def statements(s):
    return [x for x in map(json.loads, (line for line in s.log if line.startswith("{"))) if x["msg"] == "statement"]


@pytest.mark.parametrize("on", [True, False])
def test_statements_in_the_log(pg_url, on):
    """Each statement's text and time with pg.log_statements, failed ones with their code, and never what it was given."""
    with Server(*(["--pg-log-statements"] if on else []), store=pg_url) as s:
        where = "/cenote/v1/items?namespace=orchard&key=quince"
        assert s.request("PUT", where, {"text": "marmalade"}).status in (200, 201, 204)
        assert s.request("GET", where).json["value"] == {"text": "marmalade"}
        if on:
            with psycopg.connect(pg_url) as other:
                other.execute("ALTER TABLE store RENAME TO elsewhere")
                other.commit()
                assert s.request("GET", where).status >= 500
                other.execute("ALTER TABLE elsewhere RENAME TO store")
                other.commit()
        s.stop()
        logged = statements(s)
        assert bool(logged) == on
        if on:
            (put, *_), (get, *_) = ([x for x in logged if x["statement"] == n] for n in ("put", "item_get"))
            assert "INSERT INTO" in put["sql"] and "$1" in put["sql"] and "SELECT" in get["sql"] and get["rows"] == 1
            assert all(0 <= x["duration_ms"] < 60000 and x["logger"] == "store.postgres" for x in logged)
            assert [x["sqlstate"] for x in logged if "sqlstate" in x][:1] == ["42P01"]
        assert not [x for x in s.log if any(word in x for word in ("orchard", "quince", "marmalade"))]
