"""PostgreSQL for tests: a server by tools/pg, databases of their own, and the fixtures pg_server and pg_url (import them in conftest).

As a program, `postgres.py COMMAND...` runs the command with CENOTE_TEST_DATABASE set to the URL of an empty database."""
import contextlib
import itertools
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.parse

import psycopg
import pytest

TOOL = pathlib.Path(__file__).resolve().parents[2] / "tools" / "pg"
_names = itertools.count()


def setup_all(url):
    """Makes the tables that other programs would make: of PostgresStore, PostgresSaver, SQLAlchemySession."""
    import asyncio

    from agents.extensions.memory import SQLAlchemySession
    from langgraph.checkpoint.postgres import PostgresSaver
    from langgraph.store.postgres import PostgresStore
    for kind in (PostgresStore, PostgresSaver):
        with kind.from_conn_string(url) as made:
            made.setup()

    async def sessions():
        s = SQLAlchemySession.from_url("none", url=url.replace("postgresql://", "postgresql+psycopg://"), create_tables=True)
        await s.get_items(1)
        await s.engine.dispose()

    asyncio.run(sessions())


class Postgres:
    """A server of the test's own, to be stopped and started as it likes; also when CENOTE_TEST_PG names one for everybody."""

    def __init__(self, password=None, **conf):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="cenote-pg-"))
        self.password, self.conf, self.url = password, conf, None

    def tool(self, *args):
        env = {k: v for k, v in os.environ.items() if k != "CENOTE_TEST_PG"}
        r = subprocess.run([sys.executable, TOOL, *map(str, args)], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                           timeout=180)
        if r.returncode != 0:
            raise RuntimeError(f"tools/pg {' '.join(map(str, args))}: {r.stderr}")
        return r.stdout.strip()

    def start(self):
        """Also starts it again, on the same port, with what it had."""
        word = ["--password", self.password] if self.password else []
        self.url = self.tool("start", self.folder, *word, *[x for k, v in self.conf.items() for x in ("--conf", f"{k}={v}")])
        return self

    def stop(self, mode="fast"):
        self.tool("stop", self.folder, "-m", mode)

    def signal(self, number):
        """To all of the server's processes, the first one first: a stopped one starts no others."""
        first = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        os.kill(first, number)
        for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                if int(stat.read_text().rpartition(")")[2].split()[1]) == first:
                    os.kill(int(stat.parent.name), number)

    @contextlib.contextmanager
    def silent(self):
        """It takes what is sent, and says nothing; until the end, or until awake() before that."""
        self.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.awake()

    def awake(self):
        self.signal(signal.SIGCONT)

    def log(self):
        return (self.folder / "log").read_text(errors="replace")

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        try:
            self.stop("immediate")
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)


def with_database(url, name):
    return urllib.parse.urlsplit(url)._replace(path="/" + name).geturl()


@contextlib.contextmanager
def database(url):
    """A fresh database on the server; yields its URL, drops it at the end whoever is still connected."""
    name = f"t{os.getpid()}_{next(_names)}"
    with psycopg.connect(url, autocommit=True) as db:
        db.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
    try:
        yield with_database(url, name)
    finally:
        with psycopg.connect(url, autocommit=True) as db:
            db.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@contextlib.contextmanager
def any_server():
    """URL of the server for this run: CENOTE_TEST_PG, or one that is started here. Speed, not durability: nothing crashes it."""
    given = os.environ.get("CENOTE_TEST_PG")
    if given:
        yield given
    else:
        with Postgres(fsync="off") as pg:
            yield pg.url


@pytest.fixture(scope="session")
def pg_server():
    """URL of a PostgreSQL (superuser) that tests share."""
    with any_server() as url:
        yield url


@pytest.fixture
def pg_url(pg_server):
    """URL of a fresh, empty database (superuser)."""
    with database(pg_server) as url:
        yield url


if __name__ == "__main__":
    with any_server() as server, database(server) as url:
        code = subprocess.run(sys.argv[1:], env={**os.environ, "CENOTE_TEST_DATABASE": url}).returncode
    sys.exit(code)
