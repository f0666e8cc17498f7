"""Vectors in the background: made of whatever is written, durable, changed with the model, and never in the way when the encoder fails.

The encoder is the scripted service of embed_server.py: texts that are equal have equal vectors, all others are as good as unrelated."""
import json
import os
import pathlib
import random
import re
import subprocess
import threading
import time
import urllib.parse

import pytest

from embed_server import EmbedServer
from server import PATIENCE

API = "/cenote/v1"
DIMS = 32
SHORT = {"CENOTE_EMBED_QUESTION_TIMEOUT": "200ms"}  # where the encoder does not answer


def settings(service, **more):
    return {"CENOTE_EMBED_KIND": "remote", "CENOTE_EMBED_BASE_URL": service.url, "CENOTE_EMBED_MODEL": service.model,
            "CENOTE_EMBED_TIMEOUT": "2s", "CENOTE_EMBED_QUESTION_TIMEOUT": "20s", **more}


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
    """The state, once no text waits for its vector."""
    end = time.monotonic() + PATIENCE
    while True:
        r = s.request("GET", f"{API}/vectors?wait=indexed")
        assert r.status == 200 and time.monotonic() < end, r
        if r.json["pending"] == 0:
            return r.json


def until(s, what, wait=PATIENCE):
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


def test_writes_never_wait(kind, start, service):
    with start(kind, env=settings(service, **SHORT)) as s:
        writes_never_wait(s, service)


def writes_never_wait(s, service):
    put(s, "k0", "first of all", wait=True)
    settled(s)
    service.gate = threading.Event()
    begun = time.monotonic()
    for i in range(50):
        assert put(s, f"k{i}", f"number {i} zebra").status in (200, 201)
    assert say(s, ["zebra message"]).json["stored"] == 1
    assert time.monotonic() - begun < 15
    found = recall(s, "zebra message", mode="words")
    assert "zebra message" in texts(found) and found["pending"] > 0
    # A question that the encoder does not answer in time goes by words, and says so.
    found = recall(s, "zebra message")
    assert found["mode"] == "words" and "zebra message" in texts(found) and found["note"]
    r = put(s, "late", "who waits is told", wait=True, wait_ms=100)
    assert r.status == 201 and r.json["indexed"] is False and r.json["note"]
    service.gate.set()
    service.gate = None
    x = settled(s)  # what is pending is what the worker has seen: of writes that come slowly a part
    assert x["done"] == 52


def by_meaning(s, query):
    """Items, by their vectors alone: asked again when the encoder was too slow for a short question time-out."""
    end = time.monotonic() + PATIENCE
    while True:
        r = s.request("POST", f"{API}/recall", {"query": query, "user": "ann", "mode": "vectors", "kinds": ["item"]})
        assert time.monotonic() < end and r.status in (200, 503, 504), r
        if r.status == 200:
            return r.json


# What the service does, and what is then said of it.
FAULTS = {"hang": "time", "429": "429", "429:1": "429", "500": "answered 500", "503": "answered 503", "401": "refused the key", "404": "no model",
          "reset": "", "html": "JSON", "cut": "JSON", "short": "broke off", "huge": "", "nan": "", "inf": "", "null": "", "zero": "",
          "count": "", "dims": "dimension"}
KEY = "sk-not-to-be-seen-7781"
SECRET = "marzipan"  # in every text


def doctor(s):
    r = s.run("doctor", "-o", "ndjson")
    return {f["check"]: f for f in map(json.loads, r.stdout.splitlines())}["vectors"], r


def in_trouble(s, service, fault, words, n):
    """Writes, search by words and what is said, while every request fails that way. n: texts there were before; returns how many there are."""
    service.stay(fault)
    begun = time.monotonic()
    for i in range(4):
        assert put(s, f"{fault}{i}", f"{SECRET} {fault} item {i}").status == 201
    assert say(s, [f"{SECRET} {fault} message"], thread=fault).json["stored"] == 1
    assert time.monotonic() - begun < 15, "writes do not wait"
    r = put(s, f"{fault}4", f"{SECRET} {fault} item 4", wait=True, wait_ms=8000)
    assert r.status == 201 and r.json["indexed"] is False and r.json["note"], (fault, r)
    for mode in ("words", "auto"):
        found = recall(s, f"{fault} message", mode=mode)
        assert f"{SECRET} {fault} message" in texts(found), (fault, found)
        assert found["mode"] == "words" and found["pending"] == 6, (fault, found)
        assert mode == "words" or "by words alone" in found["note"], (fault, found)
    x = until(s, lambda x: x["trouble"] and x["pending"] == 6)
    assert words in x["trouble"] and service.url.split("/")[2] in x["trouble"], (fault, x)
    assert (x["pending"], x["refused"], x["done"]) == (6, 0, n), (fault, x)
    assert s.request("GET", "/readyz").status == 200
    return n + 6, x["trouble"]


def test_faults(kind, start, service):
    """Whatever the service does, for however long: nothing waits for it, all is said and no secrets are, and then nothing is missing."""
    service.key = KEY
    with start(kind, env=settings(service, CENOTE_EMBED_TIMEOUT="500ms", CENOTE_EMBED_API_KEY=KEY, **SHORT)) as s:
        put(s, "k0", f"{SECRET} before the trouble", wait=True)
        settled(s)
        n = 1
        for fault, words in FAULTS.items():
            n, trouble = in_trouble(s, service, fault, words, n)
            metrics = s.request("GET", "/metrics").body.decode()
            assert "cenote_vectors_pending 6" in metrics and "cenote_vectors_failures_total 0" not in metrics, (fault, metrics)
            if kind == "sqlite" and fault in ("hang", "500", "nan"):
                check, r = doctor(s)
                assert check["status"] == "warn" and words in check["text"] and trouble[:20] in check["text"], check
                assert KEY not in r.stdout + r.stderr and SECRET not in r.stdout + r.stderr
            assert KEY not in metrics + trouble and SECRET not in metrics + trouble
            service.script()
            x = until(s, lambda x: x["pending"] == 0)
            assert (x["done"], x["refused"], x["trouble"]) == (n, 0, None), (fault, x)
            text = f"{SECRET} {fault} item 2"
            assert texts(by_meaning(s, text))[0] == text
        log = "".join(s.log)
        assert log.count("vectors could not be made") >= len(FAULTS)
        assert KEY not in log and SECRET not in log


@pytest.mark.parametrize("fault", ["shuffled", "base64", "noindex", "slow", "double"])
def test_odd_but_right(s, service, fault):
    """Answers that are unusual and hold good vectors, if only for one text at a time: each text gets its own."""
    service.stay(fault)
    lines = [f"line {i} of {fault}" for i in range(40)]
    assert say(s, lines, wait=True, timeout=60).json["indexed"] is True
    if fault == "slow":
        service.stay("ok")  # in small pieces it may take longer than a question has
    for i in (0, 17, 39):
        assert texts(recall(s, lines[i], mode="vectors"))[0] == lines[i]


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
        env = settings(e, **SHORT)
    with start(kind, env=env) as s:  # nobody listens there any more
        assert s.request("GET", "/readyz").status == 200
        assert say(s, ["written all the same"]).json["stored"] == 1
        r = put(s, "k", "and this", wait=True)
        assert r.status == 201 and r.json["indexed"] is False
        for mode in ("words", "auto"):
            found = recall(s, "written same", mode=mode)
            assert "written all the same" in texts(found) and found["mode"] == "words"
            assert found["pending"] == 2, "there is no model in use yet, and no text has its vector"
            assert ("note" in found) == (mode == "auto" or len(found["results"]) < 10)
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
        acknowledged, rng = [], random.Random(kind)
        for turn in range(4):
            for i in range(40):
                text = f"turn {turn} message {i}"
                if say(s, [text]).status == 200:
                    acknowledged.append(text)
                put(s, f"k{i}", f"turn {turn} item {i}")
            have, stop_at = state(s)["done"], time.monotonic() + rng.random() * 0.2
            assert have <= 80 * 4
            while time.monotonic() < stop_at:  # at any point of making, keeping, walking
                state(s)
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
        lines, rng = [f"message number {i}" for i in range(300)], random.Random(kind)
        say(s, lines, wait=True)
        before = recall(s, lines[77], mode="vectors")
        s.stop()
        s.env.update(settings(second, CENOTE_EMBED_BATCH="4", CENOTE_EMBED_CONCURRENCY="1"))
        for _ in range(3):
            s.start()
            left = rng.randrange(40, 300)
            until(s, lambda x: x["pending"] < left)
            s.kill()
        s.start()
        x = until(s, lambda x: x["model"] == "second/16" and x["next"] is None and x["counted"] and x["pending"] == 0)
        assert x["done"] == 300
        after = recall(s, lines[77], mode="vectors")
        assert texts(before)[0] == texts(after)[0] == lines[77]


def test_killed_while_all_are_made_again(kind, start, service):
    with start(kind, env=settings(service, CENOTE_EMBED_BATCH="4", CENOTE_EMBED_CONCURRENCY="1")) as s:
        lines, rng = [f"message number {i}" for i in range(200)], random.Random(kind)
        say(s, lines, wait=True)
        s.run("reindex", check=0)
        for _ in range(3):
            left = rng.randrange(20, 200)
            until(s, lambda x: x["reindexing"] and x["pending"] < left or not x["reindexing"])
            s.kill()
            s.start()
        x = until(s, lambda x: x["counted"] and x["pending"] == 0 and not x["reindexing"])
        assert x["done"] == 200
        assert texts(recall(s, lines[77], mode="vectors"))[0] == lines[77]


def test_change_of_model_serves_meanwhile(kind, start):
    """One service with two models: the old one answers questions until the new one has all, and no answer is ever an error."""
    with EmbedServer(dims=DIMS, model="first") as e, start(kind, env=settings(e)) as s:
        lines = [f"message number {i}" for i in range(400)]
        say(s, lines, wait=True)
        s.stop()
        e.models = {"first": DIMS, "second": 48}
        s.env.update(settings(e, CENOTE_EMBED_MODEL="second", CENOTE_EMBED_BATCH="2", CENOTE_EMBED_CONCURRENCY="1"))
        s.start()
        seen, end = [], time.monotonic() + PATIENCE
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


@pytest.fixture
def own_certificate(tmp_path):
    """Signed by itself: (certificate, key)."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=own",
                    "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


@pytest.mark.stores("sqlite")
def test_own_certificate(kind, start, own_certificate, tmp_path):
    """A service whose certificate the system does not know is trusted by embed.ca_file, and by nothing else."""
    with EmbedServer(dims=DIMS, model="first", certificate=own_certificate) as e:
        with start(kind, env=settings(e)) as s:
            r = put(s, "k", "not trusted", wait=True, wait_ms=5000)
            assert r.json["indexed"] is False and "certificate" in state(s)["trouble"], (r, state(s))
            assert e.requests == [], "nothing was said to it"
            s.stop()
            s.env["CENOTE_EMBED_CA_FILE"] = str(own_certificate[0])
            s.start()
            assert settled(s)["done"] == 1 and e.requests
        nothing = tmp_path / "nothing.pem"
        nothing.write_text("no certificate\n")
        for path, why in ((nothing, "has no certificate"), (tmp_path / "missing.pem", "cannot be read")):
            with pytest.raises(RuntimeError, match=why), start(kind, env=settings(e, CENOTE_EMBED_CA_FILE=str(path))):
                pass


@pytest.mark.stores("sqlite")
def test_a_long_queue(kind, start, service, tmp_path):
    """Many texts without a vector, from before: a new one does not wait for them, memory does not grow with them, a restart goes on."""
    count, path = 20_000, tmp_path / "items.jsonl"
    path.write_text("".join('{"namespace":["q"],"key":"k%d","value":{"text":"number %d"}}\n' % (i, i) for i in range(count)))
    memory = lambda: int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{s.process.pid}/status").read_text())[1]) >> 10  # noqa: E731
    with start(kind, env={"CENOTE_EMBED_KIND": "off"}) as s:
        s.run("import", path, check=0)
        s.stop()
        s.env.pop("CENOTE_EMBED_KIND")
        s.env.update(settings(service, CENOTE_EMBED_BATCH="8"))
        service.gate = threading.Event()
        s.start()
        x = until(s, lambda x: x["pending"] > 0)
        service.gate.set()
        until(s, lambda x: x["done"] > 0)
        before = memory()
        assert put(s, "new", "a new one", wait=True, wait_ms=20000).json["indexed"] is True
        x = state(s)
        assert x["pending"] > count // 2 and x["lag_ms"] > 0 and not x["counted"], x
        assert texts(recall(s, "a new one", mode="vectors", kinds=["item"]))[:1] == ["a new one"]
        s.kill()
        s.start()
        x = until(s, lambda x: x["counted"] and x["pending"] == 0)
        # Sanitizers keep what was freed.
        assert x["done"] == count + 1 and (memory() < before + 60 or os.environ.get("SANITIZER_RUNTIME"))
        assert sum(len(b["input"]) for b in service.requests) < count + 3000
