"""Servers for the tests, as the wire tests have them: each test that asks for one runs on SQLite and on PostgreSQL."""
import importlib.util
import itertools
import pathlib
import sys

import pytest

WIRE = pathlib.Path(__file__).resolve().parents[3] / "tests" / "wire"
sys.path.insert(0, str(WIRE))
spec = importlib.util.spec_from_file_location("wire_conftest", WIRE / "conftest.py")
wire = importlib.util.module_from_spec(spec)
spec.loader.exec_module(wire)

pytest_configure = wire.pytest_configure
pytest_generate_tests = wire.pytest_generate_tests
kind, start, server, fresh, pg_server, pg_url = wire.kind, wire.start, wire.server, wire.fresh, wire.pg_server, wire.pg_url

_names = itertools.count()


@pytest.fixture
def thread(request):
    """A thread's name of the test's own."""
    return f"{request.node.originalname}-{next(_names)}"


@pytest.fixture
def saver(server):
    from cenote import CenoteSaver

    with CenoteSaver.connect(server.url) as s:
        yield s
