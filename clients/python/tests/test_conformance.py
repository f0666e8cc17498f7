"""langgraph-checkpoint-conformance in full: every capability detected, every one of its tests run and passed."""
import asyncio

import pytest
from langgraph.checkpoint.conformance import checkpointer_test, validate

from cenote import AsyncCenoteSaver, CenoteSaver

TESTS = {"put": 17, "put_writes": 10, "get_tuple": 10, "list": 16, "delete_thread": 5, "delete_for_runs": 7, "copy_thread": 8, "prune": 8}


@pytest.mark.stores("sqlite", "postgres", "postgres-compact")
@pytest.mark.parametrize("saver_class", [CenoteSaver, AsyncCenoteSaver])
def test_conformance(server, saver_class):
    @checkpointer_test(name="cenote")
    async def cenote():
        async with saver_class.connect(server.url) as saver:
            yield saver

    report = asyncio.run(validate(cenote))
    seen = {}
    for capability in TESTS:
        r = report.results[capability]
        assert r.detected, f"{capability} is not seen"
        assert r.passed, (capability, r.failures)
        seen[capability] = r.tests_passed
    assert seen == TESTS
