"""Fixtures: one open server for most tests, one with keys for those about isolation; a namespace of its own for every test."""
import asyncio
import itertools
import sys
import pathlib

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from server import Server  # noqa: E402

_names = itertools.count()


@pytest.fixture(scope="session")
def server():
    with Server() as s:
        yield s


@pytest.fixture
def fresh():
    """A server with an empty store, for tests that count or import."""
    with Server() as s:
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
