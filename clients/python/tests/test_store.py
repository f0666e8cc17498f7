"""CenoteStore beside LangGraph's own stores: the same calls, the same answers."""
import asyncio
import contextlib
import json
import random

import pytest
from langgraph.store.base import GetOp, InvalidNamespaceError, ListNamespacesOp, MatchCondition, PutOp, SearchOp
from langgraph.store.memory import InMemoryStore
from langgraph.store.postgres import PostgresStore

from cenote import AsyncCenoteStore, CenoteStore


@pytest.fixture
def store(server):
    with CenoteStore.connect(server.url) as s:
        yield s


@pytest.fixture
def ns(thread):
    return ("t", thread)


def plain(result):
    """Without times, as those of two stores differ."""
    if isinstance(result, list):
        return [plain(r) for r in result]
    if hasattr(result, "namespace"):
        return (result.namespace, result.key, result.value, getattr(result, "score", None))
    return result


def text(hit):
    return json.dumps(hit, sort_keys=True)


def random_ops(rng, ns):
    def name():
        return ns + tuple(rng.choice("abc") for _ in range(rng.randrange(1, 3)))

    ops = []
    for _ in range(rng.randrange(1, 6)):
        what = rng.randrange(8)
        if what < 3:
            ops.append(PutOp(name(), rng.choice("xyz"), {"n": rng.randrange(3), "t": rng.choice(["u", "v"]), "d": {"e": rng.randrange(2)}}))
        elif what == 3:
            ops.append(PutOp(name(), rng.choice("xyz"), None))
        elif what == 4:
            ops.append(GetOp(name(), rng.choice("xyz")))
        elif what < 7:
            filters = [None, {}, {"n": 1}, {"t": "u", "n": {"$gte": 1}}, {"n": {"$ne": 1}}, {"t": {"$eq": "v"}}]
            ops.append(SearchOp(ns + (rng.choice([(), ("a",)])), rng.choice(filters), limit=rng.choice([0, 2, 50]), offset=rng.randrange(3)))
        else:
            ways = [(), (MatchCondition("prefix", ns),), (MatchCondition("prefix", ns + ("*",)), MatchCondition("suffix", ("a",)))]
            ops.append(ListNamespacesOp(rng.choice(ways) or (MatchCondition("prefix", ns),), rng.choice([None, 2, 3]), limit=rng.choice([1, 100]),
                                        offset=rng.randrange(2)))
    return ops


@pytest.mark.parametrize("seed", range(3))
def test_random_batches_beside_the_others(store, pg_url, ns, seed):
    """The same batches on all three. Searches without a query come in the order of changes: ties are sorted away."""
    rng = random.Random(seed)
    with PostgresStore.from_conn_string(pg_url) as theirs:
        theirs.setup()
        memory = InMemoryStore()
        for _ in range(40):
            ops = random_ops(rng, ns)
            mine = store.batch(ops)
            for other, name in ((theirs, "PostgresStore"), (memory, "InMemoryStore")):
                got = other.batch(ops)
                for op, a, b in zip(ops, mine, got):
                    a, b = plain(a), plain(b)
                    if isinstance(op, ListNamespacesOp) and other is memory:
                        continue  # its namespaces outlive their items
                    if isinstance(op, SearchOp):
                        assert len(a) == len(b), (name, op, a, b)
                        if op.limit == 50 and op.offset == 0:
                            assert sorted(map(text, a)) == sorted(map(text, b)), (name, op)
                    else:
                        assert a == b, (name, op, a, b)


def test_methods(store, ns):
    assert store.get(ns, "k") is None
    store.put(ns, "k", {"a": [1, 2.5, None, True, "é"], "big": 2**70, "f": 1.0, "m": -0.5})
    item = store.get(ns, "k")
    assert item.value == {"a": [1, 2.5, None, True, "é"], "big": 2**70, "f": 1.0, "m": -0.5} and item.namespace == ns and item.key == "k"
    assert item.created_at.tzinfo is not None and item.created_at <= item.updated_at
    first = item.created_at
    store.put(ns, "k", {"b": 1})
    assert store.get(ns, "k").value == {"b": 1} and store.get(ns, "k").created_at == first
    store.put(ns + ("c",), "k2", {"b": 2})
    assert [i.key for i in store.search(ns, filter={"b": 2})] == ["k2"]
    assert [i.key for i in store.search(ns)] == ["k2", "k"]
    assert store.list_namespaces(prefix=ns) == [ns, ns + ("c",)] and store.list_namespaces(prefix=ns, max_depth=2) == [ns]
    store.delete(ns, "k")
    store.delete(ns, "k")
    assert store.get(ns, "k") is None


def test_words(store, ns):
    store.put(ns, "tea", {"text": "Ann drinks green tea in the morning"})
    store.put(ns, "car", {"text": "the car is red"}, index=["text"])
    store.put(ns, "hidden", {"text": "green tea, too"}, index=False)
    hits = store.search(ns, query="which tea?")
    assert [h.key for h in hits] == ["tea"] and hits[0].score > 0


def test_batch_order(store, ns):
    got = store.batch([PutOp(ns, "k", {"n": 1}), GetOp(ns, "k"), SearchOp(ns), PutOp(ns, "k", {"n": 2}), ListNamespacesOp((MatchCondition("prefix", ns),))])
    assert got == [None, None, [], None, []]
    assert store.get(ns, "k").value == {"n": 2}
    assert store.batch([]) == [] and store.batch([SearchOp(ns, limit=0)]) == [[]]


def test_a_failed_batch_writes_nothing(store, ns):
    with pytest.raises(ValueError) as e:
        store.batch([PutOp(ns, "k", {"n": 1}), PutOp(ns, "", {"n": 1})])
    assert "/operations/1" in (e.value.field or "")
    assert store.get(ns, "k") is None


def test_conditions_of_one_kind_hold_together(store, ns):
    for labels in (("a", "b"), ("a", "c"), ("b", "b")):
        store.put(ns + labels, "k", {})
    def names(*conditions):
        return [n[2:] for n in store.batch([ListNamespacesOp((MatchCondition("prefix", ns),) + conditions)])[0]]

    assert names(MatchCondition("prefix", ns + ("*", "b"))) == [("a", "b"), ("b", "b")]
    assert names(MatchCondition("prefix", ns + ("*", "b")), MatchCondition("prefix", ns + ("a",))) == [("a", "b")]
    assert names(MatchCondition("prefix", ("other",))) == []
    assert names(MatchCondition("suffix", ("c",)), MatchCondition("suffix", ("a", "*"))) == [("a", "c")]
    assert names(MatchCondition("suffix", ("c",)), MatchCondition("suffix", ("b",))) == []


def test_more_than_a_page(store, ns):
    store.batch([PutOp(ns, f"k{i}", {"i": i}) for i in range(2500)])
    assert len({i.key for i in store.search(ns, limit=5000)}) == 2500
    assert len(store.search(ns, limit=1500, offset=1200)) == 1300
    with pytest.raises(ValueError):
        store.search(ns, limit=2_000_000)
    with pytest.raises(ValueError):
        store.search(ns, limit=-1)


def test_ttl(server, ns):
    with CenoteStore.connect(server.url, ttl={"default_ttl": 10}) as s:
        assert s.supports_ttl
        s.put(ns, "default", {})
        s.put(ns, "never", {}, ttl=None)
        s.put(ns, "own", {}, ttl=0.5)
        assert [ttl_of(server, ns, k) for k in ("default", "never", "own")] == [10, None, 0.5]
        s.put(ns, "own", {})
        assert ttl_of(server, ns, "own") == 10
        with pytest.raises(ValueError, match="ttl"):
            s.put(ns, "own", {}, ttl=0)


def ttl_of(server, ns, key):
    return server.request("GET", f"/cenote/v1/items?namespace={'.'.join(ns)}&key={key}&refresh_ttl=false").json.get("ttl_minutes")


@pytest.mark.stores("sqlite")
def test_the_servers_default_ttl(start, kind, ns):
    with start(kind, "--ttl-default", "7m") as server:
        with CenoteStore.connect(server.url) as s:
            s.put(ns, "a", {})
            s.put(ns, "never", {}, ttl=None)
            asyncio.run(s.aput(ns, "b", {}))

        async def run():
            async with AsyncCenoteStore.connect(server.url) as s:
                await s.aput(ns, "c", {})
                await asyncio.to_thread(s.put, ns, "d", {})
                await asyncio.to_thread(s.put, ns, "never too", {}, ttl=None)

        asyncio.run(run())
        assert [ttl_of(server, ns, k) for k in ("a", "never", "b", "c", "d", "never%20too")] == [7, None, 7, 7, 7, None]


def test_what_is_refused(store, ns):
    for bad in (("a.b",), ("",), ("a", 1), ("a\0",)):
        for call in (lambda: store.get(bad, "k"), lambda: store.put(bad, "k", {}), lambda: store.search(bad), lambda: store.batch([GetOp(bad, "k")])):
            with pytest.raises(InvalidNamespaceError):
                call()
    for bad in ((), ("langgraph", "a")):
        with pytest.raises(InvalidNamespaceError):
            store.put(bad, "k", {})
    for call in (lambda: store.search(ns, filter={"a": {"$in": [1]}}), lambda: store.put(ns, "k", {"nan": float("nan")}), lambda: store.put(ns, "k" * 2000, {}),
                 lambda: store.list_namespaces(max_depth=0)):
        with pytest.raises(ValueError):
            call()
    with pytest.raises(TypeError):
        store.put(ns, "k", {"o": object()})
    with pytest.raises(ValueError):
        store.put(ns, "k", {"s": "\ud800"})
    assert store.search(ns) == []


def test_async(server, ns):
    async def run(cls):
        async with cls.connect(server.url) as s:
            await s.aput(ns, "k", {"a": 1})
            assert (await s.aget(ns, "k")).value == {"a": 1}
            assert [i.key for i in await s.asearch(ns)] == ["k"]
            assert await s.alist_namespaces(prefix=ns) == [ns]
            got = await asyncio.gather(*(s.aget(ns, k) for k in ("k", "none", "k")), s.asearch(ns, limit=1))
            assert [g and g.key for g in got[:3]] == ["k", None, "k"] and len(got[3]) == 1
            await s.adelete(ns, "k")
            assert await s.aget(ns, "k") is None
            with pytest.raises(InvalidNamespaceError):
                await s.aget(("a.b",), "k")

    asyncio.run(run(CenoteStore))
    asyncio.run(run(AsyncCenoteStore))


def test_operations_of_one_turn_are_one_request(server, ns):
    async def run():
        async with AsyncCenoteStore.connect(server.url) as s:
            sent = []
            ask = s.client.arequest

            async def counted(*a, **kw):
                sent.append(a)
                return await ask(*a, **kw)

            s.client.arequest = counted
            await asyncio.gather(*(s.aput(ns, f"k{i}", {"i": i}) for i in range(50)))
            assert len(sent) == 1
            await asyncio.gather(*(s.aget(ns, "k1") for _ in range(50)))
            assert len(sent) == 2 and sent[1][2].count(b'"op"') == 1
            with contextlib.suppress(asyncio.InvalidStateError):
                s.get(ns, "k1")
                raise AssertionError("a call that would wait for itself")

    asyncio.run(run())
