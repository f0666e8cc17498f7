"""Cenote and LangGraph's own PostgresStore on the same tables: each sees what the other writes, changes and deletes."""
import asyncio
import concurrent.futures
import contextlib
import datetime
import math
import threading
import time

import psycopg
import pytest
from langgraph.store.base import GetOp, ListNamespacesOp, MatchCondition, PutOp, SearchOp
from langgraph.store.postgres import AsyncPostgresStore, PostgresStore
from langgraph_sdk import get_sync_client

from postgres import database, setup_all
from server import FULL, WORK, Server

pytestmark = pytest.mark.stores("postgres")
V = "/cenote/v1"


class House:
    """One database with everybody on it: Cenote, its stock client, both stores of LangGraph, and a plain connection."""

    def __init__(self, url, stack):
        self.url = url
        with PostgresStore.from_conn_string(url) as s:
            s.setup()
        self.server = stack.enter_context(Server("--ttl-sweep-interval", "1s", store=url))
        self.cenote = get_sync_client(url=self.server.url).store
        self.db = stack.enter_context(psycopg.connect(url, autocommit=True))
        self.sync = stack.enter_context(PostgresStore.from_conn_string(url))
        self.async_ = stack.enter_context(contextlib.closing(AsyncPeer(url)))

    def words(self, ns, query, **kw):
        return {i["key"] for i in self.cenote.search_items(ns, query=query, limit=100, **kw)["items"]}

    def finds(self, ns, query, *want, **kw):
        """These keys and no others by those words: at once on a quiet machine, later where comparing the tables takes so long that it rests between."""
        end = time.monotonic() + (0 if FULL else 30)
        while (found := self.words(ns, query, **kw)) != set(want):
            assert time.monotonic() < end, found

    def row(self, ns, key):
        return self.db.execute("SELECT expires_at, ttl_minutes, created_at, updated_at FROM store WHERE prefix = %s AND key = %s",
                               (".".join(ns), key)).fetchone()


class AsyncPeer:
    """AsyncPostgresStore, which lives in an event loop, with the face of PostgresStore."""

    def __init__(self, url):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.context = AsyncPostgresStore.from_conn_string(url)
        self.store = self.call(self.context.__aenter__())

    def call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(60)

    def close(self):
        self.call(self.context.__aexit__(None, None, None))
        self.store = None

        async def rest():
            left = asyncio.all_tasks() - {asyncio.current_task()}
            for t in left:
                t.cancel()
            await asyncio.gather(*left, return_exceptions=True)

        self.call(rest())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(60)
        self.loop.close()

    def __getattr__(self, name):
        method = getattr(self.store, name if name in ("sweep_ttl", "setup") else "a" + name)
        return lambda *a, **k: self.call(method(*a, **k))


@pytest.fixture(scope="module")
def house(kind, pg_server):
    with contextlib.ExitStack() as stack:
        yield House(stack.enter_context(database(pg_server)), stack)


@pytest.fixture(params=["sync", "async"])
def peer(house, request):
    return house.sync if request.param == "sync" else house.async_


VALUES = {
    "empty": {},
    "nested": {"deep": {"er": [{"list": [1, [2, [3, []]], {}]}, None, True, False]}, "": "", " ": " ", "null": None},
    "unicode": {"text": "Brücke 🌉 ‏עברית‎ e\u0301 \u2028\u2029 \ufeff \ufffd \U0010ffff", "ключ": "значение", "💧": ["💧"], "\u0001": "\u0001\u007f\u0085"},
    "escapes": {"q": "\"\\/\b\f\n\r\t", "sql": "'; DROP TABLE store; --", "like": "%_\\", "json": '{"a":1}', "at": "@store @@ $1 %s {} {0}"},
    "numbers": {"big": 2**53 + 1, "bigger": -(2**63), "huge": 10**40 + 7, "third": 1 / 3, "pi": math.pi, "tiny": 5e-324, "half": 0.5,
                "negative": -17, "zero": 0, "max": 1.7976931348623157e308, "e": 1.5e300},
    "large": {"text": "wörter und worte " * 5000, "list": list(range(3000))},
}


def same(a, b):
    """Equal JSON; a float may have come back as the integer that jsonb writes for it."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float) != isinstance(b, float):
        return not isinstance(a, (bool, str)) and not isinstance(b, (bool, str)) and float(a) == float(b)
    return type(a) is type(b) and a == b


@pytest.mark.parametrize("name", VALUES)
def test_values(house, peer, ns, name):
    value, ask = VALUES[name], house.server.request  # not the stock client: its JSON has no integers above 64 bits
    assert ask("PUT", "/store/items", {"namespace": ns, "key": "ours", "value": value}).status == 204
    peer.put(tuple(ns), "theirs", value)
    for key in ("ours", "theirs"):
        there, here = peer.get(tuple(ns), key), ask("GET", f"/store/items?namespace={'.'.join(ns)}&key={key}").json
        assert same(there.value, value) and same(here["value"], value), key
        assert same(there.value, here["value"]), "both read the same"
        assert there.namespace == tuple(ns) and here["namespace"] == ns and there.key == here["key"] == key
        for t in ("created_at", "updated_at"):
            assert getattr(there, t) == datetime.datetime.fromisoformat(here[t]), t
    assert {i.key for i in peer.search(tuple(ns))} == {"ours", "theirs"}
    assert {i["key"] for i in house.cenote.search_items(ns)["items"]} == {"ours", "theirs"}


@pytest.mark.parametrize("label", ["a b", "ü", "💧", "%2E", "a&b", "a_b", "%", "\\", "x'y", "x\"y", "{}", "@store", "NULL", "e\u0301", "line\nbreak"])
def test_odd_names(house, peer, ns, label):
    """As label and as key, in both directions, and never more than what was asked for."""
    house.cenote.put_item([*ns, label], label, {"by": "cenote"})
    peer.put((*ns, label, "below"), label, {"by": "peer"})
    peer.put((*ns, "x" + label), label, {"by": "sibling"})
    assert peer.get((*ns, label), label).value == {"by": "cenote"}
    assert house.cenote.get_item([*ns, label, "below"], label)["value"] == {"by": "peer"}
    here = house.cenote.search_items([*ns, label])["items"]
    assert sorted(i["value"]["by"] for i in here) == sorted(i.value["by"] for i in peer.search((*ns, label))) == ["cenote", "peer"]
    house.finds([*ns, label], "peer sibling", label)
    house.cenote.delete_item([*ns, label, "below"], label)
    peer.delete((*ns, label), label)
    assert house.cenote.search_items([*ns, label])["items"] == [] and peer.search((*ns, label)) == []


def test_change_and_delete(house, peer, ns):
    t = tuple(ns)
    house.cenote.put_item(ns, "k", {"v": 1})
    made = house.cenote.get_item(ns, "k")["created_at"]
    peer.put(t, "k", {"v": 2})
    second = house.cenote.get_item(ns, "k")
    assert second["value"] == {"v": 2} and second["created_at"] == made and second["updated_at"] > made
    house.cenote.put_item(ns, "k", {"v": 3})
    third = peer.get(t, "k")
    assert third.value == {"v": 3} and third.created_at == datetime.datetime.fromisoformat(made)
    assert third.updated_at > datetime.datetime.fromisoformat(second["updated_at"])
    peer.delete(t, "k")
    assert house.cenote.get_item(ns, "k") is None
    house.cenote.delete_item(ns, "k")
    peer.put(t, "k", {"v": 4})
    assert house.cenote.get_item(ns, "k")["value"] == {"v": 4}
    house.cenote.delete_item(ns, "k")
    assert peer.get(t, "k") is None and peer.search(t) == []


def test_newest_first_whoever_wrote(house, peer, ns):
    for i in range(12):
        if i % 2:
            peer.put(tuple(ns), f"k{i}", {"i": i})
        else:
            house.cenote.put_item(ns, f"k{i}", {"i": i})
    wanted = [f"k{i}" for i in range(11, -1, -1)]
    assert [i["key"] for i in house.cenote.search_items(ns, limit=100)["items"]] == wanted == [i.key for i in peer.search(tuple(ns), limit=100)]
    assert [i["key"] for i in house.cenote.search_items(ns, limit=5, offset=4)["items"]] == wanted[4:9]


def test_one_batch_of_theirs_sees_ours(house, peer, ns):
    house.cenote.put_item(ns, "a", {"n": 1})
    t = tuple(ns)
    got, found, spaces, none = peer.batch([GetOp(t, "a"), SearchOp(t), ListNamespacesOp(match_conditions=(MatchCondition("prefix", t),)),
                                           PutOp(t, "b", {"n": 2})])
    assert got.value == {"n": 1} and [i.key for i in found] == ["a"] and spaces == [t] and none is None
    assert house.cenote.get_item(ns, "b")["value"] == {"n": 2}


FILTERS = [{"n": 9}, {"n": {"$ne": 9}}, {"s": "9"}, {"flag": True}, {"tags": ["a", "b"]}, {"o": {"$eq": {"x": 1}}}, {"n": None}, {"absent": 1},
           {"s": "é", "n": 100}, {"n": 2**53 + 1}]


def test_filters(house, peer, ns):
    values = [{"n": 9}, {"n": 9.0, "s": "9"}, {"n": "9"}, {"n": None}, {}, {"tags": ["a", "b"]}, {"tags": ["b", "a"]}, {"flag": True},
              {"flag": False}, {"s": "é", "n": 100}, {"o": {"x": 1}}, {"n": 2**53 + 1}, {"n": 2**53}]
    for i, v in enumerate(values):
        if i % 2:
            peer.put(tuple(ns), f"k{i:02}", v)
        else:
            house.cenote.put_item(ns, f"k{i:02}", v)
    for flt in FILTERS:
        here = sorted(i["key"] for i in house.cenote.search_items(ns, filter=flt, limit=100)["items"])
        assert here == sorted(i.key for i in peer.search(tuple(ns), filter=flt, limit=100)), flt


def test_namespaces(house, peer, ns):
    for i, path in enumerate((("a",), ("a", "b"), ("a", "c", "d"), ("b",), ("b", "a"), ("é", "a"), ("a", "b", "x", "y"))):
        if i % 2:
            peer.put((*ns, *path), "k", {})
        else:
            house.cenote.put_item([*ns, *path], "k", {})
    for kw in ({}, {"max_depth": 3}, {"suffix": ["a"]}, {"limit": 2, "offset": 2}, {"suffix": ["*", "a"]}, {"max_depth": 4, "limit": 3}):
        theirs = peer.list_namespaces(prefix=tuple(ns), **{k: tuple(v) if isinstance(v, list) else v for k, v in kw.items()})
        assert [tuple(n) for n in house.cenote.list_namespaces(prefix=ns, **kw)["namespaces"]] == theirs, kw
    peer.delete((*ns, "a", "c", "d"), "k")
    assert [*ns, "a", "c", "d"] not in house.cenote.list_namespaces(prefix=ns)["namespaces"]


# ---- life times ---------------------------------------------------------------------------------------------------------------------


def left(row):
    """Minutes until the row of store expires."""
    return (row[0] - datetime.datetime.now(datetime.timezone.utc)).total_seconds() / 60


def age(house, ns, minutes):
    """As if the items had been put so long ago."""
    house.db.execute("UPDATE store SET expires_at = expires_at - make_interval(mins => %s) WHERE prefix = %s", (minutes, ".".join(ns)))


def test_ttl_is_shared(house, peer, ns):
    t = tuple(ns)
    house.cenote.put_item(ns, "ours", {"v": 1}, ttl=60)
    peer.put(t, "theirs", {"v": 1}, ttl=60)
    for key in ("ours", "theirs"):
        row = house.row(ns, key)
        assert row[1] == 60 and 59 < left(row) <= 60, key
    age(house, ns, 30)
    for key in ("ours", "theirs"):
        assert peer.get(t, key, refresh_ttl=False) and house.cenote.get_item(ns, key, refresh_ttl=False)
        assert left(house.row(ns, key)) < 31, "nothing refreshed it"
    assert peer.get(t, "ours", refresh_ttl=True)
    assert house.cenote.get_item(ns, "theirs", refresh_ttl=True)
    for key in ("ours", "theirs"):
        assert 59 < left(house.row(ns, key)) <= 60.1, f"{key}: a read of the other side began its life anew"
    age(house, ns, 30)
    house.cenote.search_items(ns, refresh_ttl=True)
    assert all(59 < left(house.row(ns, key)) <= 60.1 for key in ("ours", "theirs"))
    age(house, ns, 30)
    peer.search(t, refresh_ttl=True)
    assert all(59 < left(house.row(ns, key)) <= 60.1 for key in ("ours", "theirs"))
    assert house.cenote.get_item(ns, "ours")["updated_at"] == house.cenote.get_item(ns, "ours")["created_at"], "reading is no update"


def test_ttl_is_taken_over_and_cleared(house, peer, ns):
    t = tuple(ns)
    house.cenote.put_item(ns, "k", {"v": 1}, ttl=60)
    peer.put(t, "k", {"v": 2}, ttl=10)
    age(house, ns, 5)
    assert house.cenote.get_item(ns, "k", refresh_ttl=True)["value"] == {"v": 2}
    assert 9 < left(house.row(ns, "k")) <= 10.1, "the ttl of the last writer counts"
    house.cenote.put_item(ns, "k", {"v": 3})
    assert house.row(ns, "k")[:2] == (None, None)
    peer.put(t, "k", {"v": 4}, ttl=7)
    assert house.row(ns, "k")[1] == 7
    peer.put(t, "k", {"v": 5})
    assert house.cenote.get_item(ns, "k", refresh_ttl=True)["value"] == {"v": 5}
    assert house.row(ns, "k")[:2] == (None, None), "and stays without"


def test_fractions_of_a_minute(house, peer, ns):
    house.cenote.put_item(ns, "k", {}, ttl=0.5)
    row = house.row(ns, "k")
    assert row[1] == 1 and 0.4 < left(row) <= 0.5, "the column is an INT: at least 1, or a read of theirs would end the item's life"
    assert peer.get(tuple(ns), "k", refresh_ttl=True).value == {}
    assert 0.9 < left(house.row(ns, "k")) <= 1.01
    house.cenote.put_item(ns, "k", {}, ttl=2.25)
    assert house.row(ns, "k")[1] == 3
    age(house, ns, 1)
    assert house.cenote.get_item(ns, "k", refresh_ttl=True)["value"] == {}


@pytest.mark.parametrize("who", ["cenote", "peer"])
def test_expired(house, peer, ns, who):
    t = tuple(ns)
    house.cenote.put_item(ns, "ours", {"text": "marmalade"}, ttl=60)
    peer.put(t, "theirs", {"text": "marmalade"}, ttl=60)
    peer.put(t, "stays", {"text": "marmalade"})
    house.finds(ns, "marmalade", "ours", "theirs", "stays", refresh_ttl=False)
    age(house, ns, 61)
    assert house.cenote.get_item(ns, "ours", refresh_ttl=False) is None and house.cenote.get_item(ns, "theirs", refresh_ttl=False) is None
    house.finds(ns, "marmalade", "stays", refresh_ttl=False)
    assert [i["key"] for i in house.cenote.search_items(ns)["items"]] == ["stays"]
    if who == "peer":
        peer.sweep_ttl()
    else:
        until = time.monotonic() + 20
        while house.row(ns, "ours") or house.row(ns, "theirs"):
            assert time.monotonic() < until, "Cenote sweeps what has expired, whoever wrote it"
    assert house.row(ns, "ours") is None and house.row(ns, "theirs") is None and house.row(ns, "stays")
    assert [i.key for i in peer.search(t)] == ["stays"]
    house.finds(ns, "marmalade", "stays")


# ---- word search over what others write ---------------------------------------------------------------------------------------------


def test_words_of_theirs_at_once(house, peer, ns):
    t = tuple(ns)
    house.cenote.put_item(ns, "ours", {"text": "the boat lies at berth fourteen"})
    house.finds(ns, "boats", "ours")
    peer.put(t, "theirs", {"text": "another boat, called Heron"})
    house.finds(ns, "boats", "ours", "theirs")
    peer.put(t, "ours", {"text": "now about rye bread"})
    house.finds(ns, "boats", "theirs")
    house.finds(ns, "bread", "ours")
    peer.delete(t, "theirs")
    house.finds(ns, "boats")
    for i in range(30):
        peer.put((*t, f"s{i}"), "k", {"text": f"harbour number{i}"})
        house.finds([*ns, f"s{i}"], f"number{i}", "k")
        house.finds(ns, f"number{i}", "k")
        peer.put((*t, f"s{i}"), "k", {"text": f"quay digit{i}"})
        house.finds(ns, f"number{i}")
        house.finds(ns, f"digit{i}", "k")
        if i % 3 == 0:
            peer.delete((*t, f"s{i}"), "k")
            house.finds(ns, f"digit{i}")
    house.finds(ns, "quay", "k")
    assert len(house.cenote.search_items(ns, query="quay", limit=100)["items"]) == 20


def test_same_ranking_whoever_wrote(house, peer, ns):
    texts = ["boat", "boat boat harbour", "harbour light", "boat in the harbour at night", "rye bread and a boat", "nothing of it", "harbour"]
    for i, text in enumerate(texts):
        house.cenote.put_item([*ns, "ours"], f"k{i}", {"text": text})
        peer.put((*ns, "theirs"), f"k{i}", {"text": text})
    for w in ("ours", "theirs"):
        house.finds([*ns, w], "boat harbour", "k0", "k1", "k2", "k3", "k4", "k6")
    a, b = ([(i["key"], i["score"]) for i in house.cenote.search_items([*ns, w], query="boat harbour")["items"]] for w in ("ours", "theirs"))
    assert a == b and len(a) == 6


def put_sql(db, ns, key, text):
    db.execute("INSERT INTO store(prefix, key, value) VALUES (%s, %s, jsonb_build_object('text', %s::text)) ON CONFLICT (prefix, key) DO UPDATE "
               "SET value = excluded.value, updated_at = now()", (".".join(ns), key, text))


def test_transactions_of_others(house, ns):
    """Long ones, rolled back ones, savepoints: what is committed is found, what is not is not."""
    with psycopg.connect(house.url) as long:
        put_sql(long, ns, "long", "walnut")
        put_sql(house.db, ns, "short", "walnut")
        house.finds(ns, "walnut", "short")
        for i in range(20):  # others come and go meanwhile
            put_sql(house.db, ns, f"s{i}", f"pecan{i}")
            house.cenote.put_item(ns, f"c{i}", {"text": f"almond{i}"})
            house.finds(ns, f"pecan{i}", f"s{i}")
            assert house.words(ns, f"almond{i}") == {f"c{i}"}
        long.commit()
        house.finds(ns, "walnut", "short", "long")
        put_sql(long, ns, "undone", "walnut")
        long.execute("DELETE FROM store WHERE prefix = %s", (".".join(ns),))
        long.rollback()
        house.finds(ns, "walnut", "short", "long")
        put_sql(long, ns, "outer", "walnut")
        long.execute("SAVEPOINT a")
        put_sql(long, ns, "undone", "walnut")
        long.execute("ROLLBACK TO a")
        put_sql(long, ns, "inner", "walnut")
        long.execute("SAVEPOINT b")
        put_sql(long, ns, "inner", "chestnut")
        long.execute("RELEASE b")
        long.commit()
        house.finds(ns, "walnut", "short", "long", "outer")
        house.finds(ns, "chestnut", "inner")


def test_bulk_changes_of_others(house, ns):
    name = ".".join(ns)
    house.db.execute("INSERT INTO store(prefix, key, value) SELECT %s, 'k' || i, jsonb_build_object('text', 'plain w' || i) "
                     "FROM generate_series(1, 500) i", (name,))
    house.finds(ns, "w77", "k77")
    house.cenote.put_item(ns, "k77", {"text": "quince now"})
    house.db.execute("UPDATE store SET value = jsonb_build_object('text', 'changed ' || key) WHERE prefix = %s AND key <> 'k77'", (name,))
    house.finds(ns, "w78")
    house.finds(ns, "quince", "k77")
    assert "k78" in house.words(ns, "k78")
    house.db.execute("UPDATE store SET key = 'moved-' || key WHERE prefix = %s AND key IN ('k1', 'k2', 'k77')", (name,))
    house.finds(ns, "quince", "moved-k77")
    assert house.cenote.get_item(ns, "k77") is None
    with house.db.transaction():  # gone and there again in one transaction
        house.db.execute("DELETE FROM store WHERE prefix = %s AND key = 'k3'", (name,))
        put_sql(house.db, ns, "k3", "phoenix")
    house.finds(ns, "phoenix", "k3")
    house.db.execute("SELECT 1 FROM store WHERE prefix = %s FOR UPDATE", (name,))
    house.db.execute("VACUUM (FULL, FREEZE) store")
    house.finds(ns, "phoenix", "k3")
    house.db.execute("DELETE FROM store WHERE prefix = %s", (name,))
    house.finds(ns, "changed phoenix quince")
    assert house.cenote.search_items(ns)["items"] == []


def test_etag_and_their_changes(house, peer, ns):
    path = f"{V}/items?namespace={'.'.join(ns)}&key=k"
    ask = house.server.request
    peer.put(tuple(ns), "k", {"v": 1})
    tag = ask("GET", path).headers["etag"]
    assert ask("GET", path, headers={"If-None-Match": tag}).status == 304
    r = ask("PUT", path, {"v": 2}, {"If-Match": tag})
    assert r.status in (200, 201, 204), r
    tag = r.headers["etag"]
    peer.put(tuple(ns), "k", {"v": 3})
    assert ask("PUT", path, {"v": 4}, {"If-Match": tag}).status == 412, "they changed it meanwhile"
    assert ask("DELETE", path, headers={"If-Match": tag}).status == 412
    house.words(ns, "anything")  # their row is adopted, if it was not before
    tag = ask("GET", path).headers["etag"]
    assert ask("DELETE", path, headers={"If-Match": tag}).status == 204
    assert peer.get(tuple(ns), "k") is None
    assert ask("PUT", path, {"v": 5}, {"If-None-Match": "*"}).status in (200, 201, 204)
    peer.delete(tuple(ns), "k")
    assert ask("PUT", path, {"v": 6}, {"If-None-Match": "*"}).status in (200, 201, 204), "the row that they deleted is no obstacle"
    peer.put(tuple(ns), "new", {"v": 7})
    r = ask("PUT", path.replace("key=k", "key=new"), {"v": 8}, {"If-None-Match": "*"})
    assert r.status == 412 and peer.get(tuple(ns), "new").value == {"v": 7}


def test_nul_is_refused_whole(house, peer, ns):
    house.cenote.put_item(ns, "k", {"v": 1})
    r = house.server.request("PUT", "/store/items", {"namespace": ns, "key": "k", "value": {"v": "a\u0000b"}})
    assert r.status == 422 and "detail" in r.json, r
    assert peer.get(tuple(ns), "k").value == {"v": 1}


# ---- many, and all at once ----------------------------------------------------------------------------------------------------------


def test_concurrent_writers(house, peer, ns):
    """Cenote and two PostgresStores write the same keys, and keys of their own; then everybody sees the same, and words agree with it."""
    t, stop, wrong = tuple(ns), threading.Event(), []
    hot = [f"hot{i}" for i in range(5)]

    def ours(me):
        client = get_sync_client(url=house.server.url).store
        for n in range(60):
            client.put_item(ns, hot[n % 5], {"text": f"by cenote{me} turn{n}"})
            client.put_item(ns, f"c{me}-{n}", {"text": "solo cenote"})
            if n % 7 == 0:
                client.delete_item(ns, hot[(n + me) % 5])

    def theirs(me):
        with PostgresStore.from_conn_string(house.url) as store:
            for n in range(60):
                store.batch([PutOp(t, hot[n % 5], {"text": f"by peer{me} turn{n}"}), PutOp(t, f"p{me}-{n}", {"text": "solo peer"})])
                if n % 11 == 0:
                    store.delete(t, hot[(n + me) % 5])

    def search():
        client = get_sync_client(url=house.server.url).store
        while not stop.is_set():
            for item in client.search_items(ns, query="solo", limit=100)["items"]:
                if not item["value"]["text"].startswith("solo"):
                    wrong.append(item)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        looking = pool.submit(search)
        work = [pool.submit(ours, i) for i in range(3)] + [pool.submit(theirs, i) for i in range(3)]
        for w in work:
            w.result(WORK)
        stop.set()
        looking.result(60)
    assert not wrong
    here = {i["key"]: i["value"] for p in range(0, 500, 100) for i in house.cenote.search_items(ns, limit=100, offset=p)["items"]}
    there = {i.key: i.value for i in peer.search(t, limit=1000)}
    assert here == there and len(here) >= 360
    for who in ("cenote0", "cenote1", "cenote2", "peer0", "peer1", "peer2"):
        house.finds(ns, who, *[k for k in hot if k in there and f"by {who} " in there[k]["text"]])
    assert house.cenote.search_items(ns, query="solo", limit=1, offset=359)["items"] and \
        not house.cenote.search_items(ns, query="solo", limit=1, offset=360)["items"]


def test_thousands(house, peer, ns):
    """A database that both have filled: everything is there on both sides, and goes from both sides."""
    t = tuple(ns)
    for base in range(0, 3000, 500):
        peer.batch([PutOp((*t, f"p{i % 10}"), f"k{i}", {"text": f"peer item word{i}", "i": i}) for i in range(base, base + 500)])
        r = house.server.request("POST", f"{V}/batch", {"operations": [
            {"op": "put", "namespace": [*ns, f"c{i % 10}"], "key": f"k{i}", "value": {"text": f"cenote item word{i}", "i": i}}
            for i in range(base, base + 500)]})
        assert r.status == 200 and {x["status"] for x in r.json["results"]} == {201}, r

    def everything():
        here = {(tuple(i["namespace"]), i["key"]) for p in range(0, 6100, 100)
                for i in house.cenote.search_items(ns, limit=100, offset=p)["items"]}
        assert here == {(i.namespace, i.key) for i in peer.search(t, limit=10_000)}
        return len(here)

    assert everything() == 6000
    for i in (0, 1499, 2999):
        found = house.cenote.search_items(ns, query=f"word{i}")["items"]
        assert {tuple(x["namespace"][len(ns):]) for x in found} == {(f"p{i % 10}",), (f"c{i % 10}",)}
    assert house.cenote.search_items(ns, query="item", limit=1, offset=5999)["items"]
    assert not house.cenote.search_items(ns, query="item", limit=1, offset=6000)["items"]
    peer.batch([PutOp((*t, f"{w}{i % 10}"), f"k{i}", None) for w in "pc" for i in range(1000)])
    assert everything() == 4000
    assert not house.cenote.search_items(ns, query="item", limit=1, offset=4000)["items"]
    assert house.cenote.search_items(ns, query="word999")["items"] == [] and len(house.cenote.search_items(ns, query="word1000")["items"]) == 2
    peer.batch([PutOp((*t, f"{w}{i % 10}"), f"k{i}", {"text": f"rewritten{i}"}) for w in "pc" for i in range(1000, 2000)])
    assert house.cenote.search_items(ns, query="word1500")["items"] == [] and len(house.cenote.search_items(ns, query="rewritten1500")["items"]) == 2
    assert len(house.cenote.list_namespaces(prefix=ns)["namespaces"]) == 20


# ---- the tables ---------------------------------------------------------------------------------------------------------------------

CATALOG = """
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND c.relname NOT LIKE 'cenote%%' ORDER BY 1, a.attnum"""
INDEXES = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename NOT LIKE 'cenote%%' ORDER BY 1"


def tables(url):
    with psycopg.connect(url) as db:
        return [db.execute(q).fetchall() for q in (CATALOG, INDEXES, "SELECT v FROM store_migrations ORDER BY 1",
                                                   "SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal AND tgrelid = 'store'::regclass")]


def test_same_tables_either_way(pg_server):
    """What Cenote makes in an empty database is what setup() makes; each finds nothing left to do after the other."""
    with database(pg_server) as first, database(pg_server) as second:
        with PostgresStore.from_conn_string(first) as theirs:
            setup_all(first)
            wanted = tables(first)
            theirs.put(("before",), "k", {"text": "kept through the first start"})
            with Server(store=first) as s:
                client = get_sync_client(url=s.url).store
                assert [i["key"] for i in client.search_items(["before"], query="kept")["items"]] == ["k"]
                client.put_item(["before"], "k2", {})
            assert tables(first) == wanted, "adopted as it was"
            theirs.setup()
            assert tables(first) == wanted and len(theirs.search(("before",))) == 2
        with Server(store=second) as s:
            client = get_sync_client(url=s.url).store
            client.put_item(["before"], "k", {"v": 1})
            made = tables(second)
            with PostgresStore.from_conn_string(second) as theirs:
                theirs.setup()
                assert tables(second) == made == wanted
                assert theirs.get(("before",), "k").value == {"v": 1}
                theirs.put(("before",), "k", {"v": 2})
            assert client.get_item(["before"], "k")["value"] == {"v": 2}


def test_beside_their_vectors(pg_url):
    """A store with embeddings of another model: their vector search finds what they index; what Cenote changes or deletes is gone from there, since its
    vector would be that of the former value."""
    index = {"dims": 2, "embed": lambda texts: [[1.0, len(t) / 1000] for t in texts]}
    with PostgresStore.from_conn_string(pg_url, index=index) as theirs:
        theirs.setup()
        theirs.put(("v",), "a", {"text": "walnut"})
        theirs.put(("v",), "b", {"text": "rye"})
        with Server(store=pg_url) as s:
            client = get_sync_client(url=s.url).store
            assert [i["key"] for i in client.search_items(["v"], query="walnuts")["items"]] == ["a"]
            client.put_item(["v"], "b", {"text": "rye bread"})
            client.delete_item(["v"], "a")
            assert theirs.search(("v",), query="walnut") == []
            assert [i.key for i in theirs.search(("v",))] == ["b"]
            assert theirs.get(("v",), "b").value == {"text": "rye bread"}
