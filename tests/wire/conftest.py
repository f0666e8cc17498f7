"""Fixtures: one open server for most tests, one with keys for those about isolation; a namespace of its own for every test.

Tests that ask for a server run once for each store: SQLite and PostgreSQL, or those that @pytest.mark.stores(...) names;
"postgres-schema" is PostgreSQL with another pg.schema, "postgres-bouncer" PostgreSQL behind PgBouncer in transaction mode,
"postgres-compact" PostgreSQL with checkpoints in the compact layout.
CENOTE_TEST_STORES=sqlite,postgres leaves others out. CENOTE_TEST_HALF=1 runs what needs no PostgreSQL, 2 what does: two processes at a time, which
share nothing."""
import asyncio
import contextlib
import itertools
import os
import sys
import pathlib

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.path.append(str(HERE.parents[1] / "clients" / "python" / "src"))  # at the end: tests of the installed package come with their own
from model_server import ModelServer  # noqa: E402
from pgbouncer import PgBouncer, installed  # noqa: E402
from postgres import database, pg_server, pg_url  # noqa: E402,F401
from server import Server  # noqa: E402

_names = itertools.count()
STORES = ("sqlite", "postgres", "postgres-schema", "postgres-bouncer", "postgres-compact")


def pytest_configure(config):
    config.addinivalue_line("markers", "stores(names...): the stores that the test runs on")


def pytest_generate_tests(metafunc):
    if "kind" in metafunc.fixturenames:
        mark = metafunc.definition.get_closest_marker("stores")
        allowed = os.environ.get("CENOTE_TEST_STORES", ",".join(STORES)).split(",")
        metafunc.parametrize("kind", [k for k in (mark.args if mark else STORES[:2]) if k in allowed], indirect=True, scope="session")


def needs_postgres(item):
    kind = getattr(item, "callspec", None) and item.callspec.params.get("kind")
    return kind.startswith("postgres") if kind else bool({"pg_server", "pg_url"} & set(item.fixturenames)) or item.path.name.startswith("test_pg_")


def pytest_collection_modifyitems(config, items):
    half = os.environ.get("CENOTE_TEST_HALF")
    if half:
        others = [i for i in items if needs_postgres(i) != (half == "2")]
        items[:] = [i for i in items if needs_postgres(i) == (half == "2")]
        config.hook.pytest_deselected(items=others)


@pytest.fixture(scope="session")
def kind(request):
    """The store's name, one of STORES."""
    return request.param


@pytest.fixture(scope="module")
def model():
    """A scripted model server."""
    with ModelServer() as m:
        yield m


@pytest.fixture(scope="session")
def start(request):
    """start(kind, *args): a context with a server of its own on an empty store of that kind."""

    @contextlib.contextmanager
    def start(kind, *args, **kw):
        with contextlib.ExitStack() as stack:
            if kind != "sqlite":
                kw["store"] = stack.enter_context(database(request.getfixturevalue("pg_server")))
            if kind == "postgres-bouncer":
                if not installed() and os.environ.get("REQUIRE_ALL", "0") != "1":
                    pytest.skip("pgbouncer is not installed")
                kw["store"] = stack.enter_context(PgBouncer(kw["store"])).url
            if kind == "postgres-schema":
                kw["env"] = {"CENOTE_PG_SCHEMA": "Other one", **kw.get("env", {})}
            if kind == "postgres-compact":
                kw["env"] = {"CENOTE_CHECKPOINTS_LAYOUT": "compact", **kw.get("env", {})}
            yield stack.enter_context(Server(*args, **kw))

    return start


@pytest.fixture(scope="session")
def server(kind, start):
    with start(kind) as s:
        yield s


@pytest.fixture
def fresh(kind, start):
    """A server with an empty store, for tests that count or import."""
    with start(kind) as s:
        yield s


@pytest.fixture
def ns(request):
    return ["t", f"{request.node.originalname.replace('_', '-')}-{next(_names)}"]


class Sync:
    """The stock clients behind one face: calls return results, whichever client is below."""

    def __init__(self, url, **kw):
        from langgraph_sdk import get_sync_client
        self.client = get_sync_client(url=url, **kw)

    def __getattr__(self, name):
        return getattr(self.client.store, name)

    def close(self):
        pass


class Async:
    def __init__(self, url, **kw):
        from langgraph_sdk import get_client
        self.loop = asyncio.new_event_loop()
        self.client = get_client(url=url, **kw)

    def __getattr__(self, name):
        call = getattr(self.client.store, name)
        return lambda *a, **k: self.loop.run_until_complete(call(*a, **k))

    def close(self):
        self.loop.run_until_complete(self.client.aclose())
        self.loop.close()


CLIENTS = {"sync": Sync, "async": Async}


@pytest.fixture(params=["sync", "async"])
def store(server, request):
    c = CLIENTS[request.param](server.url)
    yield c
    c.close()
