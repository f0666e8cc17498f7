"""LangGraph's vectors on PostgreSQL: what PostgresStore has embedded is not embedded again, and what Cenote writes is found by an unmodified
PostgresStore.search(query=...).

The encoder is the scripted service of embed_server.py: equal texts have equal vectors, all others are as good as unrelated. So rows that are equal
were made of the same text, and requests that did not come were not needed. Our own server embeds for PostgresStore, too."""
import contextlib
import json
import random
import time
import urllib.parse

import psycopg
import pytest
from langgraph.store.postgres import PostgresStore
from psycopg.types.json import Jsonb

from embed_server import EmbedServer, vector
from postgres import database
from server import PATIENCE, Server

API = "/cenote/v1"
DIMS = 32


@contextlib.contextmanager
def serving(url, service, *args, **env):
    env = {"CENOTE_EMBED_KIND": "remote", "CENOTE_EMBED_BASE_URL": service.url, "CENOTE_EMBED_MODEL": service.model,
           "CENOTE_EMBED_CACHE_BYTES": "0", **env}
    server = Server(*args, store=url, env=env, listen="127.0.0.1:0").start()
    try:
        yield server
    finally:
        server.stop()


def embedding(server):
    """The function for PostgresStore: what our server's /v1/embeddings says."""
    def embed(texts):
        r = server.request("POST", "/v1/embeddings", {"model": "first", "input": list(texts)})
        assert r.status == 200, r
        return [x["embedding"] for x in r.json["data"]]
    return embed


def direct(texts):
    return [vector(t, DIMS) for t in texts]


def another(texts):
    """Of another model: the same numbers in another order."""
    return [v[1:] + v[:1] for v in direct(texts)]


@contextlib.contextmanager
def theirs(url, embed=direct, dims=DIMS, schema=None, **index):
    """A PostgresStore whose tables are made; in a schema of its own by the search path."""
    url += f"?options=-csearch_path%3D{schema},public" if schema else ""
    with PostgresStore.from_conn_string(url, index={"dims": dims, "embed": embed, **index}) as store:
        store.setup()
        yield store


def put(s, key, value, ns="n", wait=True, **query):
    query = {"namespace": ns, "key": key, **({"wait": "indexed"} if wait else {}), **query}
    r = s.request("PUT", f"{API}/items?{urllib.parse.urlencode(query, doseq=True)}", value)
    assert r.status in (200, 201), r
    return r


def batch(s, *ops):
    r = s.request("POST", f"{API}/batch?wait=indexed", {"operations": list(ops)})
    assert r.status == 200, r
    return r


def settled(s):
    r = s.request("GET", f"{API}/vectors?wait=indexed")
    assert r.status == 200, r
    return r.json


def recall(s, query, ns="n", **kw):
    r = s.request("POST", f"{API}/recall", {"query": query, "kinds": ["item"], "namespaces": [[ns]], "mode": "vectors", **kw})
    assert r.status == 200, r
    return r.json["results"]


def dumped(value):
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def rows(db, ns, key=None, schema="public"):
    q = f'SELECT key, field_name, embedding::real[] FROM "{schema}".store_vectors WHERE prefix = %s ORDER BY 1, 2'
    return [(k, f, v) for k, f, v in db.execute(q, (ns,)).fetchall() if key in (None, k)]


def until(what, wait=PATIENCE):
    """Each look is a statement or a request, which takes its time."""
    end = time.monotonic() + wait
    while True:
        x = what()
        if x:
            return x
        assert time.monotonic() < end, "it did not come"


def metric(s, name):
    for line in s.request("GET", "/metrics").body.decode().splitlines():
        if line.startswith(name + " "):
            return float(line.split()[1])
    raise AssertionError(name)


@pytest.fixture
def service():
    with EmbedServer(dims=DIMS, model="first") as e:
        yield e


@pytest.fixture
def db(pg_url):
    with psycopg.connect(pg_url, autocommit=True) as c:
        c.execute("CREATE EXTENSION IF NOT EXISTS vector")
        yield c


def asked(service):
    return [t for r in service.requests for t in r["input"]]


@pytest.mark.parametrize("vector_type", ["vector", "halfvec"])
def test_both_directions(pg_url, db, service, vector_type):
    words = [f"{a} {b}" for a in ("red", "green", "blue", "old", "new") for b in ("house", "garden", "river", "stone")]
    with theirs(pg_url, ann_index_config={"kind": "hnsw", "vector_type": vector_type}) as store:
        for i, w in enumerate(words):
            store.put(("n",), f"p{i}", {"text": w})
        with serving(pg_url, service) as s:
            assert settled(s)["done"] == len(words)
            assert metric(s, "cenote_vectors_taken_total") == len(words)
            assert metric(s, "cenote_vectors_made_total") == 0
            assert len(set(asked(service)) - {"dimensions"}) <= 8, "only what was compared was encoded"
            for i, w in enumerate(words):
                best = recall(s, dumped({"text": w}), limit=1)
                assert best[0]["key"] == f"p{i}" and best[0]["score"] > 0.3, best
            # the document of an item that others wrote is made by the first search by words; the vector stays its vector
            assert s.request("POST", f"{API}/recall", {"query": "green garden", "kinds": ["item"], "namespaces": [["n"]], "mode": "words"}).json["results"]
            assert recall(s, dumped({"text": words[7]}), limit=1)[0]["key"] == "p7"
            # and back: what Cenote writes
            put(s, "c1", {"text": "yellow boat"})
            put(s, "p3", {"text": "purple boat"})
            assert [f for _, f, _ in rows(db, "n", "c1")] == ["$"]
            store.embeddings.func = embedding(s)
            for key, text in (("c1", "yellow boat"), ("p3", "purple boat"), ("p7", words[7])):
                hit = store.search(("n",), query=dumped({"text": text}), limit=3)[0]
                assert hit.key == key and hit.value == {"text": text} and hit.score > 0.99
            assert all(h.score < 0.9 for h in store.search(("n",), query=dumped({"text": words[3]}), limit=3)), "no stale hit"
            # hits are equal by both sides' own searches
            for text in ("yellow boat", "purple boat", words[0]):
                q = dumped({"text": text})
                assert store.search(("n",), query=q, limit=1)[0].key == \
                    (recall(s, q, limit=1)[0]["key"] if not text.endswith("boat") else recall(s, text, limit=1)[0]["key"])
            # PostgresStore updates what Cenote wrote
            store.put(("n",), "c1", {"text": "orange boat"})
            settled(s)
            assert recall(s, dumped({"text": "orange boat"}), limit=1)[0]["key"] == "c1"
            assert store.search(("n",), query=dumped({"text": "orange boat"}), limit=1)[0].key == "c1"
            # index=false, deletion, not indexed by them
            batch(s, {"op": "put", "namespace": ["n"], "key": "p3", "value": {"text": "purple boat"}, "index": False},
                  {"op": "delete", "namespace": ["n"], "key": "c1"},
                  {"op": "put", "namespace": ["n"], "key": "c2", "value": {"text": "unseen"}, "index": False})
            store.put(("n",), "p4", {"text": "not indexed"}, index=False)
            store.put(("n",), "x1", {"text": "not indexed"}, index=False)
            put(s, "c3", {"text": "last"})
            settled(s)
            left = {k for k, _, _ in rows(db, "n")}
            assert left & {"p3", "c1", "c2", "c3", "x1"} == {"c3"}


VALUES = [
    {"text": "plain"},
    {"b": 1, "a": 2, "ä": 3, "B": 4, "": 5, "aa": [], "c": {}},
    {"text": "quote \" back \\ slash / tab\t nl\n cr\r \b\f \x01 \x1f \x7f é 漢字 😀  "},
    {"n": [0, -1, 1.0, 1.5, 0.1, 1e-5, 0.0001, 123456789.125, 12345678901234567890, -2.5e-7, 3.14159, 100.0]},
    {"t": True, "f": False, "z": None, "l": [None, True, "x", 2]},
    {"list": [{"name": "one", "tags": ["a", "b"]}, {"name": "two", "tags": []}, {"other": 1}], "title": "T"},
    {"deep": {"a": {"b": {"c": "leaf"}}}, "text": ["x"], "meta": {"x": {"y": 1.5}}},
    {"a.b": "dotted", "a": {"b": "nested"}, "$": "dollar", "list": "no list"},
    {},
]
PATHS = [None, ["$"], ["text"], ["n[*]"], ["n", "n[0]", "n[-1]", "n[99]"], ["list[*].name"], ["list[*].tags[*]", "title"], ["list[*].*"],
         ["{text,deep.a.b,meta.x}"], ["*"], ["deep.a.b.c", "deep.a", "deep.a.b.c.d"], ["a.b", "a"], ["t", "f", "z", "l[*]"], [""], ["..text."],
         ["l[1]", "l[ 2 ]", "[0]", "text[0"], ["list[*]", "{title}.ignored"]]


def test_rows_are_those_of_postgres_store(pg_url, db, service):
    """Whatever the value and the paths: the same rows, by name and vector."""
    with theirs(pg_url, fields=["text", "meta.x", "$"]) as store, serving(pg_url, service, CENOTE_PG_VECTOR_FIELDS="text,meta.x,$") as s:
        ops = []
        for i, value in enumerate(VALUES):
            for j, paths in enumerate(PATHS):
                store.put(("theirs",), f"{i}-{j}", value, index=paths)
                ops.append({"op": "put", "namespace": ["ours"], "key": f"{i}-{j}", "value": value, **({"index": paths} if paths else {})})
        for at in range(0, len(ops), 100):
            batch(s, *ops[at:at + 100])
        want = rows(db, "theirs")
        settled(s)
        got = rows(db, "ours")
        assert [(k, f) for k, f, _ in got] == [(k, f) for k, f, _ in want]
        for k in {k for k, _, _ in want}:
            i, j = map(int, k.split("-"))
            pairs = [(f, x, y) for (_, f, x), (_, _, y) in zip([r for r in got if r[0] == k], [r for r in want if r[0] == k], strict=True)]
            if PATHS[j] and any(p.endswith("*") for p in PATHS[j]):  # members of an object: in an order that jsonb does not keep
                pairs = [("*", x, y) for x, y in zip(sorted(x for _, x, _ in pairs), sorted(y for _, _, y in pairs), strict=True)]
            for f, x, y in pairs:
                assert sum(a * b for a, b in zip(x, y, strict=True)) > 0.999, (VALUES[i], PATHS[j], f)
        # another path, fewer texts: what was there before does not stay
        for value, names in (({"list": [{"name": "only"}]}, ["list[*].name"]), ({"list": []}, [])):
            batch(s, {"op": "put", "namespace": ["ours"], "key": "5-5", "value": value, "index": ["list[*].name"]})
            assert [f for _, f, _ in rows(db, "ours", "5-5")] == names


def test_several_fields_are_one_vector(pg_url, service):
    """Of an item with several rows ours is the one between them: each of its texts finds it."""
    with theirs(pg_url, fields=["title", "body"]) as store:
        for i in range(12):
            store.put(("n",), f"k{i}", {"title": f"title {i}", "body": f"body {i}"})
        with serving(pg_url, service) as s:
            settled(s)
            assert metric(s, "cenote_vectors_taken_total") == 12 and metric(s, "cenote_vectors_made_total") == 0
            for i in range(12):
                assert recall(s, f"title {i}", limit=1)[0]["key"] == recall(s, f"body {i}", limit=1)[0]["key"] == f"k{i}"


def doctor(url, tmp_path):
    import subprocess

    from server import binary, clean_env
    r = subprocess.run([binary(), "doctor", "--store", url, "--json"], env=clean_env(CENOTE_DATA=tmp_path, XDG_CONFIG_HOME=tmp_path),
                       capture_output=True, text=True, timeout=60)
    return [f for f in json.loads(r.stdout) if f["check"] == "vectors"]


def test_another_model(pg_url, db, service, tmp_path):
    """The same number of dimensions, but not our vectors: theirs are left alone, ours are made, nothing is written, and it is said once."""
    with theirs(pg_url, another) as store:
        for i in range(6):
            store.put(("n",), f"k{i}", {"text": f"text {i}"})
        before = rows(db, "n")
        with serving(pg_url, service) as s:
            settled(s)
            assert metric(s, "cenote_vectors_taken_total") == 0 and metric(s, "cenote_vectors_made_total") == 6
            put(s, "c1", {"text": "ours"})
            settled(s)
            assert recall(s, "text 3", limit=1)[0]["key"] == "k3"
            assert rows(db, "n") == before
            said = s.logged("not of the model in use")
            assert len(said) == 1 and "WARN" in said[0].upper(), said
            # what is written over is not found by its old text, whatever the model
            put(s, "k0", {"text": "new"})
            assert rows(db, "n") == before[1:]
        found = doctor(pg_url, tmp_path)
        assert [f["status"] for f in found] == ["warn"] and "not of the model in use" in found[0]["text"], found


def test_other_dimensions(pg_url, db, service, tmp_path):
    with theirs(pg_url, lambda ts: [vector(t, 8) for t in ts], dims=8) as store:
        store.put(("n",), "k", {"text": "some words"})
        with serving(pg_url, service) as s:
            settled(s)
            put(s, "c", {"text": "ours"})
            assert recall(s, "some words", limit=1)[0]["key"] == "k"
            assert recall(s, "ours", limit=1)[0]["key"] == "c"
            assert [k for k, _, _ in rows(db, "n")] == ["k"]
            assert s.logged("vector(8)")
        found = doctor(pg_url, tmp_path)
        assert len(found) == 1 and "vector(8)" in found[0]["text"], found


def test_empty_table(pg_url, db, service):
    """Without a vector of theirs nothing says whose model it is: auto waits for one, and then writes all; on does not wait; off does nothing."""
    with theirs(pg_url) as store:
        with serving(pg_url, service, CENOTE_PG_VECTORS="off") as s:
            put(s, "c1", {"text": "one"})
        with serving(pg_url, service) as s:
            put(s, "c2", {"text": "two"})
            settled(s)
            assert rows(db, "n") == []
            store.put(("m",), "p", {"text": "theirs"})
            until(lambda: {k for k, _, _ in rows(db, "n")} == {"c1", "c2"})
            assert store.search(("n",), query=dumped({"text": "one"}), limit=1)[0].key == "c1"
        store.delete(("m",), "p")
        with serving(pg_url, service) as s:  # it was verified before
            put(s, "c3", {"text": "three"})
            until(lambda: rows(db, "n", "c3"))
        db.execute("DELETE FROM store_vectors")
        db.execute("DELETE FROM cenote_value")
        with serving(pg_url, service, CENOTE_PG_VECTORS="on") as s:
            until(lambda: {k for k, _, _ in rows(db, "n")} == {"c1", "c2", "c3"})


def test_tables_that_come_later(pg_url, db, service):
    """A server that is there before PostgresStore.setup()."""
    with serving(pg_url, service) as s:
        put(s, "c1", {"text": "one"})
        assert db.execute("SELECT to_regclass('store_vectors'), to_regclass('vector_migrations')").fetchone() == (None, None)
        with theirs(pg_url) as store:
            store.put(("n",), "p1", {"text": "theirs"})
            until(lambda: rows(db, "n", "c1"))
            settled(s)
            assert recall(s, dumped({"text": "theirs"}), limit=1)[0]["key"] == "p1"
            put(s, "p1", {"text": "ours now"})
            assert store.search(("n",), query=dumped({"text": "ours now"}), limit=1)[0].key == "p1"
        # and that go again
        db.execute("DROP TABLE store_vectors")
        put(s, "c2", {"text": "two"})
        assert recall(s, "two", limit=1)[0]["key"] == "c2"


def test_rights(pg_url, pg_server, db, service, tmp_path):
    """What the role may not do on store_vectors is said, and everything else goes on; `cenote grants` gives it."""
    import subprocess

    from server import binary, clean_env
    role = f"app_{random.randrange(10**9)}"
    env = clean_env(CENOTE_DATA=tmp_path, XDG_CONFIG_HOME=tmp_path)
    with theirs(pg_url) as store:
        for i in range(4):
            store.put(("n",), f"p{i}", {"text": f"text {i}"})
        subprocess.run([binary(), "migrate", "--store", pg_url], env=env, check=True, capture_output=True, timeout=60)
        db.execute(f"CREATE ROLE {role} LOGIN")
        try:
            subprocess.run([binary(), "grants", role, "--run", "--store", pg_url], env=env, check=True, capture_output=True, timeout=60)
            db.execute(f"REVOKE INSERT, UPDATE, DELETE ON store_vectors FROM {role}")
            url = urllib.parse.urlsplit(pg_url)
            theirs_url = url._replace(netloc=f"{role}@{url.netloc.rpartition('@')[2]}").geturl()
            with serving(theirs_url, service) as s:
                settled(s)
                assert metric(s, "cenote_vectors_taken_total") == 4
                put(s, "c1", {"text": "ours"})
                assert rows(db, "n", "c1") == []
                assert s.logged("GRANT SELECT, INSERT, UPDATE, DELETE ON")
                found = doctor(theirs_url, tmp_path)
                assert len(found) == 1 and found[0]["status"] == "warn" and "GRANT" in found[0]["fix"], found
                subprocess.run([binary(), "grants", role, "--run", "--store", pg_url], env=env, check=True, capture_output=True, timeout=60)
                until(lambda: rows(db, "n", "c1"))
                # taken away while it is in use: the write is done all the same
                db.execute(f"REVOKE ALL ON store_vectors FROM {role}")
                put(s, "p1", {"text": "written"})
                batch(s, {"op": "put", "namespace": ["n"], "key": "p2", "value": {"text": "both"}},
                      {"op": "put", "namespace": ["n"], "key": "p3", "value": {"text": "both"}})
                assert s.request("GET", f"{API}/items?namespace=n&key=p1").json["value"] == {"text": "written"}
        finally:
            db.execute(f"DROP OWNED BY {role}")
            db.execute(f"DROP ROLE {role}")


def test_another_schema(pg_url, db, service):
    db.execute("CREATE SCHEMA app")
    with theirs(pg_url, schema="app") as store:
        store.put(("n",), "p1", {"text": "theirs"})
        with serving(pg_url, service, CENOTE_PG_SCHEMA="app") as s:
            settled(s)
            assert metric(s, "cenote_vectors_taken_total") == 1
            put(s, "c1", {"text": "ours"})
            assert [f for _, f, _ in rows(db, "n", "c1", "app")] == ["$"]
            assert store.search(("n",), query=dumped({"text": "ours"}), limit=1)[0].key == "c1"


def test_in_the_middle(pg_url, db, service):
    """Killed at any moment, and with an item that somebody holds: in the end every item has its rows, of its text of then."""
    rng = random.Random(7)
    with theirs(pg_url) as store:
        store.put(("n",), "p", {"text": "theirs"})
        want = {}
        for _ in range(3):
            with serving(pg_url, service) as s:
                for i in range(60):
                    key, text = f"c{rng.randrange(40)}", f"text {rng.randrange(1000)}"
                    put(s, key, {"text": text}, wait=False)
                    want[key] = text
                s.kill()
        with serving(pg_url, service) as s, psycopg.connect(pg_url) as other:
            other.execute("SELECT FROM store WHERE key = 'c1' FOR UPDATE")
            until(lambda: len(rows(db, "n")) >= len(want))
            other.rollback()
            until(lambda: len(rows(db, "n")) == len(want) + 1)
            assert settled(s)["pending"] == 0
            for k, f, v in rows(db, "n"):
                text = dumped({"text": want.get(k, "theirs")})
                assert f == "$" and sum(a * b for a, b in zip(v, vector(text, DIMS), strict=True)) > 0.999, k


def test_values_beyond_the_limits(pg_url, db, service):
    """Values nested deeper, with more members or longer than Cenote reads, the last by jsonb's writing numbers out: they are not found, and keep
    nothing else from being found."""
    deep = "end"
    for _ in range(100):
        deep = [deep]
    with theirs(pg_url) as store:
        with serving(pg_url, service) as s:
            store.put(("n",), "deep", {"text": "deep", "a": deep})
            store.put(("n",), "many", {"text": "many", "a": list(range(200001))}, index=False)
            put(s, "long", {"text": "long", "a": [1e300] * 30000}, wait=False)
            put(s, "good", {"text": "good words"}, wait=False)
            x = settled(s)
            assert x["pending"] == 0 and x["trouble"] is None, x
            assert [r["key"] for r in recall(s, "good words", mode="words")][:1] == ["good"]
            assert recall(s, "good words")[0]["key"] == "good"
            put(s, "deep", {"text": "deep no more"})
            assert recall(s, "deep no more", mode="words")[0]["key"] == "deep"
            assert settled(s)["pending"] == 0


def test_samples_that_are_refused(pg_url, db, service):
    """Texts of theirs that our service refuses say nothing of the model: by the others it is judged. Where there are no others, ours are made."""
    service.refuses = "forbidden"
    with theirs(pg_url) as store:
        store.put(("n",), "a", {"text": "forbidden"})
        with serving(pg_url, service) as s:
            put(s, "ours", {"text": "made all the same"})
            assert recall(s, "made all the same", mode="words")[0]["key"] == "ours"
            x = settled(s)
            assert (x["done"], x["refused"], x["pending"], x["trouble"]) == (1, 1, 0, None)
            store.put(("n",), "b", {"text": "allowed"})
            until(lambda: metric(s, "cenote_vectors_taken_total") >= 1)
            until(lambda: len(rows(db, "n", "ours")) == 1)
