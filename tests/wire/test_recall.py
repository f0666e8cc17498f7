"""Recall by words and meaning over HTTP: the same on every store, taken apart, within a budget, by the settings.

The encoder is the scripted service of embed_server.py: texts that are equal have equal vectors, all others are as good as unrelated."""
import json
import math
import pathlib

import pytest

from embed_server import EmbedServer, vector
from server import run

API = "/cenote/v1"
DIMS = 24
DATA = pathlib.Path(__file__).resolve().parents[2] / "bench" / "recall" / "data" / "dev"


@pytest.fixture(scope="module")
def service():
    with EmbedServer(dims=DIMS) as s:
        yield s


def settings(service, **more):
    return {"CENOTE_EMBED_KIND": "remote", "CENOTE_EMBED_BASE_URL": service.url, "CENOTE_EMBED_MODEL": service.model,
            "CENOTE_EMBED_QUESTION_TIMEOUT": "20s", **more}


def post(s, path, body):
    r = s.request("POST", f"{API}/{path}", body)
    assert r.status == 200, r
    return r.json


def recall(s, query, **kw):
    return post(s, "recall", {"query": query, "user": "u", **kw})


def say(s, texts, **kw):
    post(s, "messages?wait=indexed", {"messages": [
        {"thread": "t", "user": "u", "role": "person", "name": "Ann", "id": f"m{i}", "content": t, **kw} for i, t in enumerate(texts)]})


def load(s, n):
    """A part of a long conversation, items of other messages, and all their vectors."""
    lines = [json.loads(x) for x in (DATA / "people" / "wrentobi" / "messages.jsonl").read_text(encoding="utf-8").splitlines()]
    post(s, "messages?wait=indexed", {"messages": [m | {"user": "u"} for m in lines[:n]]})
    post(s, "batch?wait=indexed", {"operations": [
        {"op": "put", "namespace": ["n", m["thread"]], "key": m["id"], "value": {"text": m["content"]}} for m in lines[n:]]})


QUESTIONS = ["What did Tobi see on the river in October?", "Femi", "who broke the van's head gasket?", "what was the", "", "zzz yyy",
             "Where does Wren live, and since when?"]


def ranking(s, question, **kw):
    r = recall(s, question, limit=50, **kw)
    return r["mode"], [(h["kind"], h["id"], round(h["score"], 9)) for h in r["results"]]


@pytest.mark.stores("sqlite")
def test_the_same_order_on_both_stores(start, kind, service):
    """The same ids, order and scores, whatever holds the texts."""
    with start("sqlite", env=settings(service)) as one, start("postgres", env=settings(service)) as two:
        for s in (one, two):
            load(s, 150)
        for q in QUESTIONS:
            for kw in ({}, {"mode": "words"}, {"mode": "vectors"}, {"kinds": ["item"], "namespaces": [["n", "wrentobi-s09"], ["n", "wrentobi-s10"]]},
                       {"kinds": ["message"], "time": {"from": "2024-10-01T00:00:00Z"}}):
                assert ranking(one, q, **kw) == ranking(two, q, **kw), (q, kw)
        assert one.request("POST", "/store/items/search", {"namespace_prefix": ["n"], "query": QUESTIONS[2], "limit": 40}).json["items"]
        keys = [[(i["key"], i["score"]) for i in s.request("POST", "/store/items/search", {"namespace_prefix": ["n"], "query": QUESTIONS[2], "limit": 40})
                 .json["items"]] for s in (one, two)]
        assert keys[0] == keys[1] and len(keys[0]) == 40


def test_modes(start, kind, service):
    with start(kind, env=settings(service)) as s:
        say(s, ["the boat is called Windflower", "nice weather", "tea at five"])
        # By meaning alone: what equals the question.
        r = recall(s, "tea at five", mode="vectors")
        assert r["mode"] == "vectors" and r["results"][0]["text"] == "tea at five" and r["pending"] == 0
        assert recall(s, "boat")["mode"] == "auto"
        r = recall(s, "boat", mode="words")
        assert r["mode"] == "words" and r["results"][0]["id"] == "m0"
        assert s.request("POST", f"{API}/recall", {"query": "x", "mode": "both"}).status == 422


def test_explanations_add_up(start, kind, service):
    """Every feature's value times its weight is its contribution, and their sum the hit's; v is made of the cosines."""
    with start(kind, env=settings(service)) as s:
        load(s, 60)
        r = recall(s, QUESTIONS[0], limit=60, kinds=["message"], explain=True)
        sums = []
        for h in r["results"]:
            e = h["explain"]
            assert math.isclose(sum(f["contribution"] for f in e["features"].values()), e["sum"], abs_tol=1e-9)
            assert all(math.isclose(f["value"] * f["weight"], f["contribution"], abs_tol=1e-12) for f in e["features"].values())
            assert e["features"]["v"]["weight"] == 3.4 and e["features"]["vnext"]["weight"] == 1.2
            # The question is encoded without the names of those who speak.
            q = vector(QUESTIONS[0].replace("Tobi", ""), DIMS)
            assert math.isclose(e["cosine"], sum(x * y for x, y in zip(q, vector(h["text"], DIMS))), abs_tol=1e-4)
            sums.append(e["sum"])
        assert sums == sorted(sums, reverse=True) and len(sums) > 30
        for h in recall(s, "river", kinds=["item"], explain=True)["results"]:
            f = h["explain"]["features"]
            assert set(f) == {"lex", "v"} and math.isclose(f["lex"]["contribution"] + f["v"]["contribution"], h["explain"]["sum"], abs_tol=1e-9)


def test_budget(start, kind, service):
    """As much as fits, best first; what does not fit leaves room for what does."""
    with start(kind, env=settings(service)) as s:
        say(s, ["boat " * 400, "the boat is red", "the boat is old", "a boat"])
        r = recall(s, "boat", budget_tokens=10)
        assert len(r["results"]) == 3 and "budget_tokens" in r["note"]
        assert sum(math.ceil(len(h["text"]) / 4) for h in r["results"]) <= 10
        assert len(recall(s, "boat", budget_tokens=1000)["results"]) == 4


def test_the_same_is_said_once(start, kind, service):
    with start(kind, env=settings(service)) as s:
        say(s, ["see you at the harbour", "see you at the harbour", "rain again"])
        r = recall(s, "harbour", kinds=["message"])
        assert [h["text"] for h in r["results"]].count("see you at the harbour") == 1 and "say the same" in r["note"]
    with start(kind, env=settings(service, CENOTE_RECALL_NEAR="0")) as s:
        say(s, ["see you at the harbour", "see you at the harbour", "rain again"])
        assert len(recall(s, "harbour", kinds=["message"])["results"]) == 3


@pytest.mark.stores("sqlite")
def test_weights(start, kind, service):
    with start(kind, env=settings(service, CENOTE_RECALL_WEIGHTS_FULL="v=9.5,lex=0", CENOTE_RECALL_WEIGHTS_WORDS="lex=1.25")) as s:
        say(s, ["the boat is red", "nice weather"])
        f = recall(s, "boat", explain=True)["results"][0]["explain"]["features"]
        assert f["v"]["weight"] == 9.5 and "lex" not in f and f["cover"]["weight"] == 3.3
        f = recall(s, "boat", explain=True, mode="words")["results"][0]["explain"]["features"]
        assert f["lex"]["weight"] == 1.25 and "v" not in f
    p = run("serve", "--store", "sqlite:/nonexistent/x", "--recall-weights-full", "vv=1", check=2)
    assert '"vv" is not a feature' in p.stderr and "vnext" in p.stderr
