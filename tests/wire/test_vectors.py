"""Vectors in the background: made of whatever is written, durable, changed with the model, and never in the way when the encoder fails.

The encoder is the scripted service of embed_server.py: texts that are equal have equal vectors, all others are as good as unrelated."""
import json
import threading
import time
import urllib.parse

import pytest

from embed_server import EmbedServer

API = "/cenote/v1"
DIMS = 32


def settings(service, **more):
    return {"CENOTE_EMBED_KIND": "remote", "CENOTE_EMBED_BASE_URL": service.url, "CENOTE_EMBED_MODEL": service.model,
            "CENOTE_EMBED_TIMEOUT": "2s", "CENOTE_EMBED_QUESTION_TIMEOUT": "200ms", **more}


def put(s, key, text, ns="n", wait=False, **query):
    query = {"namespace": ns, "key": key, **({"wait": "indexed"} if wait else {}), **query}
    return s.request("PUT", f"{API}/items?{urllib.parse.urlencode(query)}", {"text": text})


def say(s, texts, thread="t", user="ann", wait=False, **kw):
    body = {"messages": [{"thread": thread, "user": user, "role": "user", "id": f"{thread}-{t}", "content": t} for t in texts]}
    return s.request("POST", f"{API}/messages" + ("?wait=indexed" if wait else ""), body, **kw)


def recall(s, query, **kw):
    r = s.request("POST", f"{API}/recall", {"query": query, "user": "ann", **kw})
    assert r.status == 200, r
    return r.json


def state(s):
    return s.request("GET", f"{API}/vectors").json


def settled(s):
    r = s.request("GET", f"{API}/vectors?wait=indexed")
    assert r.status == 200, r
    return r.json


def until(s, what, wait=20):
    """The state, once it is so. Each look waits in the server, or for a moment."""
    end = time.monotonic() + wait
    while True:
        x = s.request("GET", f"{API}/vectors?wait=indexed&wait_ms=50").json
        if what(x):
            return x
        assert time.monotonic() < end, x


def texts(found):
    return [h["text"] for h in found["results"]]


@pytest.fixture
def service():
    with EmbedServer(dims=DIMS, model="first") as e:
        yield e


@pytest.fixture
def s(kind, start, service):
    with start(kind, env=settings(service)) as server:
        yield server


def test_wait_indexed(s, service):
    assert put(s, "k1", "apples and pears", wait=True).json["indexed"] is True
    assert say(s, ["one two", "three four"], wait=True).json == {"stored": 2, "unchanged": 0, "indexed": True}
    ops = [{"op": "put", "namespace": ["n"], "key": f"b{i}", "value": {"text": f"batch {i}"}} for i in range(100)]
    assert s.request("POST", f"{API}/batch?wait=indexed", {"operations": ops}).json["indexed"] is True
    x = state(s)
    assert (x["model"], x["documents"], x["done"], x["pending"], x["refused"]) == (f"first/{DIMS}", 103, 103, 0, 0)
    assert x["counted"] and x["next"] is None and x["trouble"] is None
    assert s.request("GET", f"{API}/stats").json["background"]["vectors"]["done"] == 103
    assert "indexed" not in put(s, "k2", "without").json
    for query, field in (("wait=embedded", "wait"), ("wait_ms=5", "wait_ms"), ("wait=indexed&wait_ms=0", "wait_ms")):
        r = s.request("PUT", f"{API}/items?namespace=n&key=k&{query}", {"a": 1})
        assert r.status == 422 and r.json["errors"][0]["field"] == field, r


def test_found_by_meaning(s, service):
    """A scripted encoder sees the same meaning only in equal texts; stop words are no words to the word index."""
    say(s, ["where are you", "the other thing", "something else entirely"], wait=True)
    put(s, "k", "is it not so", wait=True)
    found = recall(s, "where are you", mode="vectors", kinds=["message"])
    assert found["mode"] == "vectors" and texts(found)[0] == "where are you"
    found = recall(s, "is it not so", mode="vectors", kinds=["item"])
    assert texts(found)[0] == "is it not so"
    found = recall(s, "something else entirely")
    assert found["mode"] == "auto" and found["pending"] == 0 and texts(found)[0] == "something else entirely"
    assert recall(s, "something else entirely", mode="words")["mode"] == "words"


def test_writes_never_wait(s, service):
    put(s, "k0", "first of all", wait=True)
    service.gate = threading.Event()
    begun = time.monotonic()
    for i in range(50):
        assert put(s, f"k{i}", f"number {i} zebra").status in (200, 201)
    assert say(s, ["zebra message"]).json["stored"] == 1
    assert time.monotonic() - begun < 5
    found = recall(s, "zebra message", mode="words")
    assert "zebra message" in texts(found) and found["pending"] > 0
    # A question that the encoder does not answer in time goes by words, and says so.
    found = recall(s, "zebra message")
    assert found["mode"] == "words" and "zebra message" in texts(found) and found["note"]
    r = put(s, "late", "who waits is told", wait=True, wait_ms=100)
    assert r.status == 201 and r.json["indexed"] is False and r.json["note"]
    service.gate.set()
    service.gate = None
    x = until(s, lambda x: x["pending"] == 0)
    assert x["done"] == 52


@pytest.mark.parametrize("fault", ["500", "429:1", "503", "reset", "cut", "short", "nan", "zero", "count", "double", "html"])
def test_faults_pass(s, service, fault):
    """The service fails for a while, in every way: writes and search go on, and then everything is there."""
    put(s, "k0", "before the trouble", wait=True)
    service.script(*[fault] * 4)
    for i in range(5):
        assert put(s, f"k{i}", f"in trouble {i}").status in (200, 201)
    assert texts(recall(s, "trouble 3", mode="words"))
    x = until(s, lambda x: x["pending"] == 0 and x["done"] == 5, 30)
    assert x["refused"] == 0 and x["trouble"] is None


def test_wrong_dims_are_no_end(s, service):
    put(s, "k0", "before the trouble", wait=True)
    service.script(*["dims"] * 6)
    r = put(s, "k1", "while the dimensions are wrong", wait=True)
    assert r.status == 201
    assert r.json["indexed"] is False and "dimension" in r.json["note"] or r.json["indexed"] is True
    until(s, lambda x: x["pending"] == 0 and x["done"] == 2)


def test_a_service_that_is_down(kind, start):
    with EmbedServer(dims=DIMS, model="first") as e:
        url = e.url
        env = settings(e)
    with start(kind, env=env) as s:  # nobody listens there any more
        assert s.request("GET", "/readyz").status == 200
        assert say(s, ["written all the same"]).json["stored"] == 1
        r = put(s, "k", "and this", wait=True)
        assert r.status == 201 and r.json["indexed"] is False
        assert "written all the same" in texts(recall(s, "written same"))
        assert url.split("//")[1].split("/")[0] in state(s)["trouble"]
        metrics = s.request("GET", "/metrics").body.decode()
        assert "cenote_vectors_failures_total 0" not in metrics and "cenote_vectors_pending" in metrics


def test_refused_and_odd_texts(s, service):
    odd = ["", " ", "...", "\u0001", "漢字だけ", "👩‍👩‍👧‍👦", "\u202eright to left", "x" * 1000000, "ÆØÅ " * 2000]
    for i, t in enumerate(odd):
        assert put(s, f"odd{i}", t).status == 201
    assert say(s, ["🦊", "1 2 3"]).status == 200
    x = settled(s)
    assert x["pending"] == 0 and x["refused"] == 0
    assert max(len(t) for body in service.requests for t in body["input"]) <= 32 << 10
    # A text that the service refuses for good is left alone, the others in the same call are not.
    service.script("plain400", "plain400")
    put(s, "r0", "refused")
    x = settled(s)
    assert x["pending"] == 0 and x["refused"] == 1
    n = len(service.requests)
    assert put(s, "r1", "not refused", wait=True).json["indexed"] is True
    assert all("refused" != t for body in service.requests[n:] for t in body["input"])
    assert put(s, "r0", "now it is another text", wait=True).json["indexed"] is True
    assert state(s)["refused"] in (0, 1) and state(s)["pending"] == 0


def test_survives_a_restart(kind, start, service, request):
    with start(kind, env=settings(service)) as s:
        service.gate = threading.Event()
        say(s, [f"message {i}" for i in range(200)])
        for i in range(20):
            put(s, f"k{i}", f"item {i}")
        begun = time.monotonic()
        assert s.stop() == 0  # while the encoder hangs
        assert time.monotonic() - begun < 10
        service.gate.set()
        service.gate = None
        s.start()
        x = settled(s)
        assert (x["done"], x["pending"]) == (220, 0)
        n = len(service.requests)
        s.stop()
        s.start()
        assert settled(s)["done"] == 220
        again = [t for b in service.requests[n:] for t in b["input"]]
        assert set(again) <= {"dimensions"}, again  # nothing is made twice; the model is only asked for its dimensions


def test_killed_while_embedding(kind, start, service):
    """Nothing that was acknowledged is lost, everything gets its vector, and none is made of another text."""
    with start(kind, env=settings(service, CENOTE_EMBED_BATCH="4", CENOTE_EMBED_CONCURRENCY="2")) as s:
        acknowledged = []
        for turn in range(4):
            for i in range(40):
                text = f"turn {turn} message {i}"
                if say(s, [text]).status == 200:
                    acknowledged.append(text)
                put(s, f"k{i}", f"turn {turn} item {i}")
            have = state(s)["done"]
            assert have <= 80 * 4
            s.kill()
            s.start()
        x = settled(s)
        assert x["pending"] == 0 and x["done"] == len(acknowledged) + 40
        for text in [*acknowledged[::16], "turn 3 item 7"]:
            found = recall(s, text, mode="vectors", kinds=["item" if "item" in text else "message"])
            assert texts(found)[0] == text, found
            assert found["pending"] == 0


def test_killed_while_changing_the_model(kind, start, service):
    with EmbedServer(dims=16, model="second") as second, start(kind, env=settings(service)) as s:
        lines = [f"message number {i}" for i in range(300)]
        say(s, lines, wait=True)
        before = recall(s, lines[77], mode="vectors")
        s.stop()
        s.env.update(settings(second, CENOTE_EMBED_BATCH="4", CENOTE_EMBED_CONCURRENCY="1"))
        for _ in range(3):
            s.start()
            until(s, lambda x: x["pending"] < 300)
            s.kill()
        s.start()
        x = until(s, lambda x: x["model"] == "second/16" and x["next"] is None and x["pending"] == 0)
        assert x["done"] == 300
        after = recall(s, lines[77], mode="vectors")
        assert texts(before)[0] == texts(after)[0] == lines[77]


def test_change_of_model_serves_meanwhile(kind, start):
    """One service with two models: the old one answers questions until the new one has all, and no answer is ever an error."""
    with EmbedServer(dims=DIMS, model="first") as e, start(kind, env=settings(e)) as s:
        lines = [f"message number {i}" for i in range(400)]
        say(s, lines, wait=True)
        s.stop()
        e.models = {"first": DIMS, "second": 48}
        s.env.update(settings(e, CENOTE_EMBED_MODEL="second", CENOTE_EMBED_BATCH="2", CENOTE_EMBED_CONCURRENCY="1"))
        s.start()
        seen, end = [], time.monotonic() + 30
        while not seen or seen[-1] != "second/48":
            x = state(s)
            if x["model"]:
                seen.append(x["model"])
            found = recall(s, lines[123])
            assert texts(found)[0] == lines[123]
            assert found["mode"] in ("auto", "words")
            if x["model"] == f"first/{DIMS}" and x["next"]:
                assert x["next"] == "second/48"
                assert texts(recall(s, lines[5], mode="vectors"))[0] == lines[5]
            assert time.monotonic() < end, (x, seen)
        assert seen[0] == f"first/{DIMS}" and len(set(seen)) == 2
        x = settled(s)
        assert (x["model"], x["next"], x["done"], x["pending"]) == ("second/48", None, 400, 0)


def test_reindex(kind, start, service):
    with start(kind, env=settings(service)) as s:
        say(s, [f"message number {i}" for i in range(50)], wait=True)
        n = sum(len(b["input"]) for b in service.requests)
        x = json.loads(s.run("reindex", "--status", "-o", "json", check=0).stdout)
        assert (x["done"], x["documents"]) == (50, 50)
        assert sum(len(b["input"]) for b in service.requests) <= n + 1
        x = json.loads(s.run("reindex", "--wait", "-o", "json", check=0).stdout)
        assert (x["done"], x["pending"], x["reindexing"]) == (50, 0, False)
        assert sum(len(b["input"]) for b in service.requests) >= n + 50
        # It needs the right admin, which requests over TCP without a key do not have.
        assert s.request("POST", f"{API}/vectors/reindex", {}).status == 403


@pytest.mark.stores("sqlite")
def test_doctor_says_how_far_they_are(s, service):
    say(s, ["one", "two"], wait=True)
    r = s.run("doctor", "-o", "ndjson")
    found = {f["check"]: f for f in map(json.loads, r.stdout.splitlines())}
    assert found["vectors"]["status"] == "ok" and "2 of 2 texts" in found["vectors"]["text"], r
    service.script(*["plain400"] * 40)
    say(s, ["three"], wait=True)
    r = s.run("doctor", "-o", "ndjson")
    found = {f["check"]: f for f in map(json.loads, r.stdout.splitlines())}
    assert found["vectors"]["status"] == "warn" and "1 were refused" in found["vectors"]["text"], r


def test_vectors_go_with_their_texts(s, service):
    say(s, ["one", "two"], thread="a", wait=True)
    say(s, ["three"], thread="b", wait=True)
    put(s, "k", "four", wait=True)
    assert state(s)["done"] == 4
    assert s.request("DELETE", f"{API}/threads/a").status == 204
    assert s.request("DELETE", f"{API}/items?namespace=n&key=k").status == 204
    x = settled(s)
    assert (x["done"], x["pending"]) == (1, 0)


def test_users_and_tenants_stay_apart(kind, start, service):
    with start(kind, env=settings(service)) as s:
        say(s, ["the secret of ann"], user="ann", wait=True)
        say(s, ["bob's own words"], thread="u", user="bob", wait=True)
        r = s.request("POST", f"{API}/recall", {"query": "the secret of ann", "user": "bob", "mode": "vectors"})
        assert "the secret of ann" not in texts(r.json)


def test_without_an_encoder(kind, start):
    with start(kind, env={"CENOTE_EMBED_KIND": "off"}) as s:
        assert put(s, "k", "hello there", wait=True).json["indexed"] is True
        x = state(s)
        assert x["model"] is None and x["documents"] == x["pending"] == 0
        assert s.request("POST", f"{API}/recall", {"query": "hello", "mode": "vectors"}).status == 422
        assert recall(s, "hello there")["mode"] == "words"
