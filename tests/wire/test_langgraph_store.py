"""The store protocol as the unmodified Python SDK uses it, sync and async; and side by side with LangGraph's own stores."""
import contextlib
import datetime
import json

import pytest
from langgraph.store.base import GetOp, PutOp, SearchOp
from langgraph.store.memory import InMemoryStore
from langgraph.store.sqlite import SqliteStore
from langgraph_sdk.errors import BadRequestError, UnprocessableEntityError

pytestmark = pytest.mark.stores("sqlite", "postgres", "postgres-schema", "postgres-bouncer")


def keys(answer):
    return [i["key"] for i in answer["items"]]


def test_put_get_delete(store, ns):
    value = {"text": "Zwei Brücken über die Spree 🌉", "n": 3, "deep": {"list": [1, 2.5, None, True, "x"]}, "empty": {}, "": ""}
    assert store.put_item(ns, "k", value) is None
    item = store.get_item(ns, "k")
    assert item["namespace"] == ns and item["key"] == "k" and item["value"] == value
    assert set(item) == {"namespace", "key", "value", "created_at", "updated_at"}
    for t in ("created_at", "updated_at"):
        at = datetime.datetime.fromisoformat(item[t])
        assert at.utcoffset() == datetime.timedelta(0)
        assert abs(at - datetime.datetime.now(datetime.timezone.utc)) < datetime.timedelta(minutes=2)
    assert store.delete_item(ns, "k") is None
    assert store.get_item(ns, "k") is None
    assert store.delete_item(ns, "k") is None, "deleting what is not there is no error"


def test_missing_is_none(store, ns):
    assert store.get_item(ns, "nothing") is None


def test_overwrite_keeps_created_at(store, ns):
    store.put_item(ns, "k", {"v": 1})
    first = store.get_item(ns, "k")
    store.put_item(ns, "k", {"v": 2})
    second = store.get_item(ns, "k")
    assert second["value"] == {"v": 2}
    assert second["created_at"] == first["created_at"]
    assert second["updated_at"] > first["updated_at"]


@pytest.mark.parametrize("key", ["a b", "a/b", "ü", "💧", "a.b", "%2E", "..", "k" * 1024, "a&b=c", "+", "\"quoted\"", "line\nbreak"])
def test_odd_keys(store, ns, key):
    store.put_item(ns, key, {"k": key})
    assert store.get_item(ns, key)["value"] == {"k": key}
    assert keys(store.search_items(ns)) == [key]
    store.delete_item(ns, key)
    assert store.get_item(ns, key) is None


@pytest.mark.parametrize("label", ["a b", "ü", "💧", "%2E", "a&b", "*", "a_b", "%", "\\"])
def test_odd_labels(store, ns, label):
    store.put_item([*ns, label], "k", {"l": label})
    assert store.get_item([*ns, label], "k")["namespace"] == [*ns, label]
    assert keys(store.search_items([*ns, label])) == ["k"]


def test_numbers_survive(store, ns):
    value = {"big": 2**53 + 1, "long": -(2**63), "f": 0.1, "e": 1.5e300, "neg": -0.0, "zero": 0}
    store.put_item(ns, "k", value)
    got = store.get_item(ns, "k")["value"]
    assert {**got, "e": float(got["e"])} == value, "jsonb writes a float as large as this as an integer"


def test_value_bytes_survive(server, ns, kind):
    raw = b'{ "z":1.0e2 ,\t"a":[ 1,2 ],"s":"\\u00e9\\/","n":1.10}'
    body = b'{"namespace":["' + '","'.join(ns).encode() + b'"],"key":"k","value":' + raw + b"}"
    assert server.request("PUT", "/store/items", body, {"Content-Type": "application/json"}).status == 204
    r = server.request("GET", f"/store/items?namespace={'.'.join(ns)}&key=k")
    assert raw in r.body if kind == "sqlite" else r.json["value"] == json.loads(raw), "PostgreSQL keeps the JSON, not its spelling"


def test_search_order_limit_offset(store, ns):
    for i in range(15):
        store.put_item(ns, f"k{i}", {"i": i})
    assert keys(store.search_items(ns)) == [f"k{i}" for i in range(14, 4, -1)], "newest update first, ten unless asked"
    assert keys(store.search_items(ns, limit=3, offset=12)) == ["k2", "k1", "k0"]
    assert keys(store.search_items(ns, limit=3, offset=15)) == []
    store.put_item(ns, "k3", {"i": 3})
    assert keys(store.search_items(ns, limit=2)) == ["k3", "k14"]
    assert all(i["score"] is None for i in store.search_items(ns)["items"])


def test_prefix_is_whole_labels(store, ns):
    store.put_item([*ns, "a"], "in", {})
    store.put_item([*ns, "a", "b"], "below", {})
    store.put_item([*ns, "ab"], "sibling", {})
    store.put_item([*ns, "a_"], "underscore", {})
    assert sorted(keys(store.search_items([*ns, "a"]))) == ["below", "in"]
    assert sorted(keys(store.search_items(ns))) == ["below", "in", "sibling", "underscore"]
    assert keys(store.search_items([*ns, "a_"])) == ["underscore"], "no wildcards in a prefix"


def test_word_search(store, ns):
    store.put_item(ns, "boat", {"text": "The boat is called Heron and lies at berth fourteen"})
    store.put_item(ns, "bread", {"text": "Rye bread: feed the starter in the evening"})
    store.put_item(ns, "both", {"text": "Bread for the boat trip"})
    found = store.search_items(ns, query="Where do the boats lie?")["items"]
    assert [i["key"] for i in found] == ["boat", "both"]
    assert all(isinstance(i["score"], float) and i["score"] > 0 for i in found)
    assert found[0]["score"] >= found[1]["score"]
    assert keys(store.search_items(ns, query="zeppelin")) == []
    assert keys(store.search_items(ns, query="bread", limit=1)) == keys(store.search_items(ns, query="bread"))[:1]
    assert keys(store.search_items(ns, query="bread", limit=1, offset=1)) == keys(store.search_items(ns, query="bread"))[1:2]
    assert keys(store.search_items(ns, query="boat", filter={"text": {"$gt": "C"}})) == ["boat"]
    store.delete_item(ns, "boat")
    assert keys(store.search_items(ns, query="heron")) == []
    store.put_item(ns, "bread", {"text": "now about herons"})
    assert keys(store.search_items(ns, query="heron")) == ["bread"], "what was written is found at once"
    assert keys(store.search_items(ns, query="starter")) == []


def test_index_false_and_paths(store, ns):
    store.put_item(ns, "hidden", {"text": "marmalade"}, index=False)
    store.put_item(ns, "title", {"title": "marmalade", "body": "quince"}, index=["title"])
    assert keys(store.search_items(ns, query="marmalade")) == ["title"]
    assert keys(store.search_items(ns, query="quince")) == []
    assert sorted(keys(store.search_items(ns))) == ["hidden", "title"]


def test_ttl_is_accepted(store, ns):
    store.put_item(ns, "k", {"v": 1}, ttl=60)
    assert store.get_item(ns, "k", refresh_ttl=True)["value"] == {"v": 1}
    assert store.get_item(ns, "k", refresh_ttl=False)["value"] == {"v": 1}
    assert keys(store.search_items(ns, refresh_ttl=True)) == ["k"]


def test_errors_as_the_client_shows_them(store, ns):
    with pytest.raises(BadRequestError):
        store.put_item([], "k", {})
    with pytest.raises(UnprocessableEntityError) as e:
        store.put_item([*ns, ""], "k", {})
    assert "label" in str(e.value) or "namespace" in str(e.value)
    with pytest.raises(UnprocessableEntityError):
        store.put_item(ns, "k", [1, 2])
    with pytest.raises(UnprocessableEntityError):
        store.search_items(ns, filter={"a": {"$foo": 1}})
    with pytest.raises(UnprocessableEntityError):
        store.search_items(ns, limit=0)
    with pytest.raises(UnprocessableEntityError):
        store.search_items(ns, offset=-1)
    with pytest.raises(UnprocessableEntityError):
        store.list_namespaces(max_depth=0)
    assert store.get_item(ns, "k") is None, "nothing was written"


def test_list_namespaces(store, ns):
    for path in (["a"], ["a", "b"], ["a", "b", "c"], ["b"], ["b", "c"]):
        store.put_item([*ns, *path], "k", {})
        store.put_item([*ns, *path], "k2", {})

    def listed(**kw):
        return [n[len(ns):] for n in store.list_namespaces(**kw)["namespaces"]]

    assert listed(prefix=ns) == [["a"], ["a", "b"], ["a", "b", "c"], ["b"], ["b", "c"]]
    assert listed(prefix=ns, suffix=["c"]) == [["a", "b", "c"], ["b", "c"]]
    assert listed(prefix=[*ns, "*", "b"]) == [["a", "b"], ["a", "b", "c"]]
    assert listed(prefix=[*ns, "*"], suffix=["*", "c"]) == [["a", "b", "c"], ["b", "c"]]
    assert listed(prefix=ns, max_depth=3) == [["a"], ["b"]]
    assert listed(prefix=ns, limit=2, offset=1) == [["a", "b"], ["a", "b", "c"]]
    store.delete_item([*ns, "b"], "k")
    store.delete_item([*ns, "b"], "k2")
    assert listed(prefix=[*ns, "b"]) == [["b", "c"]], "an emptied namespace is gone"


# ---- side by side with LangGraph's own stores, where those two agree --------------------------------------------------------------

VALUES = [
    {"n": 9}, {"n": 9.0, "s": "9"}, {"n": "9"}, {"n": None}, {}, {"n": 10, "tags": ["a", "b"]}, {"n": -1.5, "s": "abc"},
    {"flag": True}, {"flag": False}, {"s": "x"}, {"s": "y", "n": 100}, {"tags": ["b", "a"]}, {"o": {"x": 1}},
]
FILTERS = [
    None, {}, {"n": 9}, {"n": {"$gt": 8}}, {"n": {"$gte": 9, "$lt": 100}}, {"n": {"$lte": 9}}, {"s": "x"}, {"s": "9"},
    {"s": {"$eq": "abc"}}, {"flag": True}, {"tags": ["a", "b"]}, {"n": 100, "s": "y"}, {"absent": 1},
]


@pytest.fixture(params=["memory", "sqlite"])
def peer(request, tmp_path):
    with open_peer(request.param, tmp_path) as p:
        yield p


@contextlib.contextmanager
def open_peer(which, folder):
    if which == "memory":
        yield InMemoryStore()
    else:
        with SqliteStore.from_conn_string(str(folder / "peer.db")) as s:
            s.setup()
            yield s


def agreed():
    """(peer, filter, values) where the peer says what the contract says. Not asked: SqliteStore for equality of numbers, booleans and
    lists (it compares their texts, 9 is not 9.0) and order of what is no number (it casts); InMemoryStore for that order (it raises)."""
    numbers = [v for v in VALUES if isinstance(v.get("n"), (int, float))]
    for flt in FILTERS:
        compares = any(isinstance(c, dict) for c in (flt or {}).values())
        ordered = compares and any(c.keys() & {"$gt", "$gte", "$lt", "$lte"} for c in flt.values())
        yield pytest.param("memory", flt, numbers if ordered else VALUES, id=f"memory {flt}")
        if not flt or not ("flag" in flt or "tags" in flt or flt.get("n") == 9):
            yield pytest.param("sqlite", flt, [v for v in VALUES if v in numbers or "n" not in v] if compares else VALUES, id=f"sqlite {flt}")


@pytest.mark.parametrize("which,flt,values", list(agreed()))
def test_filter_as_peer(store, ns, which, flt, values, tmp_path):
    with open_peer(which, tmp_path) as peer:
        for i, v in enumerate(values):
            store.put_item(ns, f"k{i:02}", v)
            peer.put(tuple(ns), f"k{i:02}", v)
        ours = {i["key"] for i in store.search_items(ns, filter=flt, limit=100)["items"]}
        theirs = {i.key for i in peer.search(tuple(ns), filter=flt, limit=100)}
    assert ours == theirs


def test_namespaces_as_peer(store, peer, ns):
    paths = [("a",), ("a", "b"), ("a", "c", "d"), ("b",), ("b", "a"), ("é", "a"), ("a", "b", "x", "y")]
    for p in paths:
        store.put_item([*ns, *p], "k", {"p": list(p)})
        peer.put((*ns, *p), "k", {"p": list(p)})
    for kw in ({}, {"max_depth": 3}, {"suffix": ["a"]}, {"limit": 2, "offset": 2}, {"suffix": ["*", "a"]}, {"max_depth": 4, "limit": 3}):
        peer_kw = {k: (tuple(v) if isinstance(v, list) else v) for k, v in kw.items()}
        ours = [tuple(n) for n in store.list_namespaces(prefix=ns, **kw)["namespaces"]]
        theirs = peer.list_namespaces(prefix=tuple(ns), **peer_kw)
        assert ours == theirs, kw


def test_sequence_as_peer(store, peer, ns):
    """A fixed history of puts, overwrites and deletes ends in the same items in the same order."""
    steps = [("put", f"k{i * 7 % 10}", {"i": i}) for i in range(40)] + [("del", f"k{i}", None) for i in (2, 5, 5)] + \
        [("put", "k5", {"again": True})]
    for what, key, value in steps:
        if what == "put":
            store.put_item(ns, key, value)
            peer.put(tuple(ns), key, value)
        else:
            store.delete_item(ns, key)
            peer.delete(tuple(ns), key)
    ours = {i["key"]: i["value"] for i in store.search_items(ns, limit=100)["items"]}
    theirs = {i.key: i.value for i in peer.search(tuple(ns), limit=100)}
    assert ours == theirs
    for key in [f"k{i}" for i in range(11)]:
        mine, other = store.get_item(ns, key), peer.get(tuple(ns), key)
        assert (mine and mine["value"]) == (other and other.value)


def test_batch_order_as_peer(server, peer, ns):
    """One batch: reads come before writes, and the last of several puts to one key wins, as in the peer's batch."""
    theirs = peer.batch([PutOp(tuple(ns), "k", {"v": 1}), GetOp(tuple(ns), "k"), PutOp(tuple(ns), "k", {"v": 2}),
                         SearchOp(tuple(ns))])
    assert theirs[1] is None and list(theirs[3]) == []
    assert peer.get(tuple(ns), "k").value == {"v": 2}
    name = ".".join(ns)
    r = server.request("POST", "/cenote/v1/batch", {"operations": [
        {"op": "put", "namespace": ns, "key": "k", "value": {"v": 1}}, {"op": "get", "namespace": ns, "key": "k"},
        {"op": "put", "namespace": ns, "key": "k", "value": {"v": 2}}, {"op": "search", "namespace": ns}]})
    assert r.status == 200, r
    assert r.json["results"][1]["status"] == 404 and r.json["results"][3]["items"] == []
    assert server.request("GET", f"/store/items?namespace={name}&key=k").json["value"] == {"v": 2}
