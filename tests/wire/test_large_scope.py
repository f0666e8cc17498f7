"""Items of a scope that does not fit the index cache: found by words and by meaning as if it did, on every store.

The encoder is the scripted service of embed_server.py, whose vectors a test can compute."""
import json
import random

import pytest

from embed_server import EmbedServer, vector

API = "/cenote/v1"
DIMS, ITEMS = 24, 600
WORDS = ["river", "boat", "lamp", "tea", "storm", "apple", "bridge", "north", "garden", "winter"]


@pytest.fixture(scope="module")
def service():
    with EmbedServer(dims=DIMS) as s:
        yield s


def settings(service, **more):
    return {"CENOTE_EMBED_KIND": "remote", "CENOTE_EMBED_BASE_URL": service.url, "CENOTE_EMBED_MODEL": service.model,
            "CENOTE_EMBED_QUESTION_TIMEOUT": "20s", **more}


def post(s, path, body):
    r = s.request("POST", path, body)
    assert r.status == 200, r
    return r.json


def value(i):
    r = random.Random(i)
    return {"text": " ".join(r.choices(WORDS, k=4)) + f" {i}", "kind": "rare" if i % 40 == 0 else "common"}


def load(s):
    for at in range(0, ITEMS, 200):
        post(s, f"{API}/batch?wait=indexed", {"operations": [
            {"op": "put", "namespace": ["n", "ab"[i % 2]], "key": f"k{i}", "value": value(i), "index": ["text"]} for i in range(at, at + 200)]})


def ranking(s, query, **kw):
    r = post(s, f"{API}/recall", {"query": query, "kinds": ["item"], "namespaces": [["n"]], "limit": 50, "explain": True, **kw})
    return r["mode"], r["pending"], r.get("note"), [(h["id"], h["score"], json.dumps(h["explain"], sort_keys=True)) for h in r["results"]]


def searched(s, query, limit, **kw):
    return [(i["key"], i["score"]) for i in post(s, "/store/items/search", {"namespace_prefix": ["n"], "query": query, "limit": limit, **kw})["items"]]


def figure(s, name):
    lines = s.request("GET", "/metrics").body.decode().splitlines()
    return float(next(x for x in lines if x.startswith(name + " ")).split()[-1])


QUERIES = ["river boat 7", "a storm over the garden", "the", "nothing of these", "winter"]


def test_as_if_it_fitted(start, kind, service):
    with start("sqlite", env=settings(service)) as fits, start(kind, env=settings(service, CENOTE_INDEX_CACHE="16KiB")) as s:
        for x in (fits, s):
            load(x)
        for q in QUERIES:
            for kw in ({}, {"mode": "vectors"}, {"mode": "words"}, {"namespaces": [["n", "a"], ["n", "b"]]}, {"limit": 300}):
                assert ranking(s, q, **kw) == ranking(fits, q, **kw), (q, kw)
            assert ranking(s, q)[0] == "auto"
            assert searched(s, q, 400) == searched(fits, q, 400)
            # Few pass the filter, and all of them are found.
            for x in (fits, s):
                assert len(searched(x, q, 15, filter={"kind": "rare"})) == 15
                assert len(ranking(x, q, filter={"kind": "rare"}, limit=15)[3]) == 15
        # What has changed since counts at once: by its words first, then by its meaning.
        for x in (fits, s):
            post(x, f"{API}/batch?wait=indexed", {"operations": [
                {"op": "put", "namespace": ["n", "a"], "key": "k0", "value": {"text": "quite another text"}},
                {"op": "delete", "namespace": ["n", "b"], "key": "k1"}]})
        assert ranking(s, "quite another text") == ranking(fits, "quite another text")
        assert ranking(s, "quite another text")[3][0][0].endswith("k0")
        assert figure(s, "cenote_word_index_hits_total") == 0 < figure(fits, "cenote_word_index_hits_total")


def test_recall_against_brute_force(start, kind, service):
    with start(kind, env=settings(service, CENOTE_INDEX_CACHE="16KiB")) as s:
        load(s)
        known = {f"k{i}": vector(value(i)["text"], DIMS) for i in range(ITEMS)}
        right = 0
        for n in range(20):
            q = f"question {n}"
            v = vector(q, DIMS)
            best = sorted(known, key=lambda k: -sum(a * b for a, b in zip(v, known[k])))[:10]
            r = post(s, f"{API}/recall", {"query": q, "kinds": ["item"], "namespaces": [["n"]], "limit": 10, "mode": "vectors"})
            right += len({h["key"] for h in r["results"]} & set(best))
        assert right >= 0.99 * 200


def test_by_codes(start, kind, service):
    """A cache that holds codes of the vectors but not the vectors: the best are the same, whatever changes, and questions find their scope in memory."""
    with start("sqlite", env=settings(service)) as fits, start(kind, env=settings(service, CENOTE_INDEX_CACHE="96KiB")) as s:
        for x in (fits, s):
            load(x)
        same = asked = 0
        for n in range(3):
            for q in QUERIES:
                for kw in ({}, {"mode": "vectors"}, {"limit": 10}):
                    a, b = ranking(s, q, **kw), ranking(fits, q, **kw)
                    assert a[:3] == b[:3], (q, kw)
                    same += sum(x[0] == y[0] and abs(x[1] - y[1]) < 1e-6 for x, y in zip(a[3], b[3]))
                    asked += len(b[3])
            for x in (fits, s):
                post(x, f"{API}/batch?wait=indexed", {"operations": [
                    {"op": "put", "namespace": ["n", "a"], "key": f"k{n}", "value": {"text": f"quite another text {n}"}, "index": ["text"]}]})
            assert ranking(s, f"quite another text {n}")[3][0][0].endswith(f"k{n}")
        assert same >= 0.98 * asked
        assert figure(s, "cenote_word_index_hits_total") > 10
        assert figure(s, "cenote_word_index_bytes") <= 96 << 10
