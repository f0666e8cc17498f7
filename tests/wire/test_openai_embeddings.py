"""The stock `openai` client against /v1/embeddings and /v1/models: with the built-in encoder, and with a scripted service behind Cenote that
hangs, fails and lies."""
import asyncio
import base64
import json
import math
import os
import pathlib
import struct
import subprocess
import threading
import time

import openai
import pytest

from embed_server import EmbedServer, vector
from server import TREE, Server, binary, clean_env

KEY = "sk-very-secret"
SECRET = "the words of a user"


def model_dir():
    """The folder of models: build/models, as `make model` fills it, or what CENOTE_EMBED_MODEL_DIR or CENOTE_MODEL_DIR says."""
    return os.environ.get("CENOTE_EMBED_MODEL_DIR") or os.environ.get("CENOTE_MODEL_DIR") or str(TREE / "build" / "models")


def client(s, **kw):
    return openai.OpenAI(base_url=s.url + "/v1", api_key="none", max_retries=0, **kw)


def close(a, b):
    return len(a) == len(b) and all(abs(x - y) < 1e-6 for x, y in zip(a, b))


def dot(a, b):
    return sum(x * y for x, y in zip(a, b))


@pytest.fixture
def service():
    with EmbedServer(key=KEY) as s:
        yield s


def in_front(service, timeout):
    """A server in front of the scripted service, without a cache, so that each request gets there."""
    return Server("--embed-base-url", service.url, "--embed-model", "scripted", "--embed-cache-bytes", "0", "--embed-timeout", timeout,
                  env={"CENOTE_EMBED_API_KEY": KEY})


@pytest.fixture
def remote(service):
    with in_front(service, "20s") as s:
        yield s


@pytest.fixture
def hasty(service):
    """For a service that does not answer: otherwise a test that is held up would be told that, too."""
    with in_front(service, "1s") as s:
        yield s


# ---------------------------------------------------------------- the built-in encoder

@pytest.fixture(scope="module")
def builtin():
    have = pathlib.Path(model_dir())
    if not any((p / "model.safetensors").exists() for p in (have, have / "minilm")):
        if os.environ.get("REQUIRE_ALL", "0") == "1":
            pytest.fail(f"the model is not in {have}: make model")
        pytest.skip(f"the model is not in {have}: make model")
    with Server("--embed-model-dir", str(have), "--embed-kind", "minilm") as s:
        yield s


def test_builtin_encoder(builtin):
    c = client(builtin)
    models = c.models.list().data
    assert len(models) == 1 and models[0].owned_by == "cenote" and models[0].object == "model"
    name = models[0].id
    assert c.models.retrieve(name).id == name
    r = c.embeddings.create(model=name, input=["A cat sat on the mat.", "A feline was sitting on a rug.", "Interest rates rose again."])
    v = [d.embedding for d in r.data]
    assert [d.index for d in r.data] == [0, 1, 2] and r.model == name and r.usage.prompt_tokens == r.usage.total_tokens > 10
    assert all(len(x) == 384 and abs(dot(x, x) - 1) < 1e-5 for x in v)
    assert dot(v[0], v[1]) > 0.5 > dot(v[0], v[2]) + 0.2
    assert close(c.embeddings.create(model=name, input="A cat sat on the mat.", encoding_format="float", dimensions=384).data[0].embedding, v[0])


def test_builtin_takes_any_text(builtin):
    c = client(builtin)
    name = c.models.list().data[0].id
    texts = ["", " \n", "...", "\U0001f6a4" * 500, "猫が座った", "word " * 20000, "a\u0000b", "x" * 5000]
    r = c.embeddings.create(model=name, input=texts)
    assert all(len(d.embedding) == 384 and abs(dot(d.embedding, d.embedding) - 1) < 1e-5 for d in r.data)
    with pytest.raises(openai.BadRequestError, match="384"):
        c.embeddings.create(model=name, input="x", dimensions=256)


def test_builtin_async_and_large(builtin):
    async def run():
        c = openai.AsyncOpenAI(base_url=builtin.url + "/v1", api_key="none", max_retries=0)
        name = (await c.models.list()).data[0].id
        both = await asyncio.gather(*[c.embeddings.create(model=name, input=[f"text {i % 40} of {k}" for i in range(200)]) for k in (1, 2)])
        await c.close()
        return both
    for r in asyncio.run(run()):
        assert len(r.data) == 200 and r.data[3].embedding == r.data[43].embedding != r.data[4].embedding


# ------------------------------------------------------------------ a service behind it

def test_service(remote, service):
    c = client(remote)
    assert [m.id for m in c.models.list()] == ["scripted"]
    r = c.embeddings.create(model="scripted", input=["hello", "there"])
    assert close(r.data[0].embedding, vector("hello", 8)) and close(r.data[1].embedding, vector("there", 8))
    assert r.usage.prompt_tokens == 2
    for fault in ("shuffled", "base64", "noindex", "slow"):
        service.script(fault)
        r = c.embeddings.create(model="scripted", input=["a", "b", "c"], encoding_format="float")
        assert [close(d.embedding, vector(t, 8)) for d, t in zip(r.data, "abc")] == [True] * 3, fault
    assert service.headers[-1]["Authorization"] == f"Bearer {KEY}"
    assert service.requests[-1] == {"input": ["a", "b", "c"], "model": "scripted", "encoding_format": "float"}


def test_base64_is_little_endian_float32(remote):
    raw = remote.request("POST", "/v1/embeddings", {"model": "scripted", "input": "x", "encoding_format": "base64"}).json
    assert close(struct.unpack("<8f", base64.b64decode(raw["data"][0]["embedding"])), vector("x", 8))


def test_many_texts_go_in_batches(remote, service):
    r = client(remote).embeddings.create(model="scripted", input=[f"t{i}" for i in range(2048)])
    assert len(r.data) == 2048 and close(r.data[2047].embedding, vector("t2047", 8))
    assert [len(q["input"]) for q in service.requests] == [96] * 21 + [32]
    with pytest.raises(openai.BadRequestError, match="2048"):
        client(remote).embeddings.create(model="scripted", input=["t"] * 2049)


def test_what_passes_is_tried_again(remote, hasty, service):
    for faults in (["500", "reset"], ["429:0", "503"], ["cut", "short"], ["html", "502"], ["hang"], ["nan", "408"]):
        c = client(hasty if "hang" in faults else remote)
        service.script(*faults)
        before = len(service.requests)
        assert close(c.embeddings.create(model="scripted", input="again").data[0].embedding, vector("again", 8)), faults
        assert len(service.requests) == before + len(faults) + 1


@pytest.mark.parametrize("fault,status,part,asked", [
    ("500", 502, "answered 500", 3), ("reset", 502, "127.0.0.1", 3), ("hang", 504, "did not answer in time", 3),
    ("cut", 502, "no JSON", 3), ("short", 502, "broke off", 3), ("503", 503, "answered 503", 3), ("429:3600", 503, "too many requests", 1),
    ("nan", 502, "no JSON", 3), ("nan64", 502, "not a finite number", 1), ("zero", 502, "length 0", 1), ("dims", 502, "7 dimensions", 1),
    ("count", 502, "1 vectors for 2 texts", 1), ("double", 502, "twice", 1), ("huge", 502, "larger than", 1),
    ("401", 502, "embed.api_key", 1), ("404", 502, "no model", 1), ("plain400", 400, "too long for this model", 1),
    ("echo", 400, "refused the texts", 1), ("key", 400, "refused the texts", 1)])
def test_what_does_not_pass(request, service, fault, status, part, asked):
    remote = request.getfixturevalue("hasty" if fault == "hang" else "remote")
    service.script(*[fault] * 3)
    r = remote.request("POST", "/v1/embeddings", {"model": "scripted", "input": [SECRET, "x"]})
    assert r.status == status and part in r.json["error"]["message"], r
    assert len(service.requests) == asked
    for where in (r.body.decode(), "".join(remote.log)):
        assert KEY not in where and SECRET not in where
    if fault == "429:3600":
        assert r.headers["retry-after"] == "3600"
    service.script()
    assert remote.request("POST", "/v1/embeddings", {"model": "scripted", "input": SECRET}).status == 200


def test_other_requests_go_on_meanwhile(service):
    """A service that hangs holds up no loop: with one loop, writes and searches are answered at once."""
    with Server("--embed-base-url", service.url, "--embed-model", "scripted", "--http-loops", "1", "--embed-concurrency", "2",
                env={"CENOTE_EMBED_API_KEY": KEY}) as s:
        service.gate = threading.Event()
        threads = [threading.Thread(target=s.request, args=("POST", "/v1/embeddings", {"model": "scripted", "input": f"q{i}"}))
                   for i in range(8)]
        for t in threads:
            t.start()
        while service.now < 2:
            time.sleep(0.005)
        begun = time.monotonic()
        for i in range(50):
            assert s.request("PUT", "/store/items", {"namespace": ["n"], "key": f"k{i}", "value": {"text": "boat"}}).status == 204
        assert s.request("POST", "/store/items/search", {"namespace_prefix": ["n"], "query": "boat"}).json["items"]
        assert time.monotonic() - begun < 15
        assert service.now == 2  # no more than the limit
        service.gate.set()
        for t in threads:
            t.join()
        # Each is asked once; who makes the items' vectors may have begun, too.
        asked = sorted(text for r in service.requests for text in r["input"] if text[0] == "q")
        assert service.most == 2 and asked == [f"q{i}" for i in range(8)]


def test_one_question_at_once_is_asked_once(service):
    with Server("--embed-base-url", service.url, "--embed-model", "scripted", env={"CENOTE_EMBED_API_KEY": KEY}) as s:
        service.gate = threading.Event()
        out = []
        threads = [threading.Thread(target=lambda: out.append(client(s).embeddings.create(model="scripted", input="same"))) for _ in range(6)]
        for t in threads:
            t.start()
        while service.now < 1:
            time.sleep(0.005)
        service.gate.set()
        for t in threads:
            t.join()
        assert len(service.requests) == 1 and len(out) == 6
        assert all(close(r.data[0].embedding, vector("same", 8)) for r in out)
        metrics = s.request("GET", "/metrics").body.decode()
        assert 'cenote_embed_cache_total{result="miss"} 1\n' in metrics
        assert 'cenote_embed_duration_seconds_count{embedder="remote"} 1\n' in metrics


def test_a_client_that_leaves_frees_its_place(service):
    with Server("--embed-base-url", service.url, "--embed-model", "scripted", "--embed-concurrency", "1", "--embed-cache-bytes", "0",
                env={"CENOTE_EMBED_API_KEY": KEY}) as s:
        service.gate = threading.Event()
        with pytest.raises(openai.APITimeoutError):
            client(s, timeout=0.3).embeddings.create(model="scripted", input="x")
        service.gate.set()
        assert client(s, timeout=20).embeddings.create(model="scripted", input="y").data


def test_dims_are_asked_for():
    with EmbedServer(dims=4, longer=16) as service, Server("--embed-base-url", service.url, "--embed-model", "scripted",
                                                           "--embed-dims", "4") as s:
        r = client(s).embeddings.create(model="scripted", input=["a"], dimensions=4)
        assert close(r.data[0].embedding, vector("a", 4))
        assert ["dimensions" in q for q in service.requests] == [False, True]


def test_a_service_that_is_not_there():
    with Server("--embed-base-url", "http://127.0.0.1:1/v1", "--embed-model", "m") as s:
        with pytest.raises(openai.InternalServerError, match="not reachable"):
            client(s).embeddings.create(model="m", input="x")
        assert s.request("PUT", "/store/items", {"namespace": ["n"], "key": "k", "value": {"text": "boat"}}).status == 204
        assert s.request("GET", "/readyz").status == 200


# ------------------------------------------------------------------------- none, wrong

def test_without_an_encoder():
    with Server("--embed-kind", "off") as s:
        c = client(s)
        assert c.models.list().data == []
        with pytest.raises(openai.NotFoundError) as e:
            c.embeddings.create(model="m", input="x")
        assert e.value.code == "model_not_found" and "embed.kind" in e.value.message
        assert s.logged("words alone")
    with Server() as s:
        with pytest.raises(openai.NotFoundError, match="cenote model add minilm.*embed.base_url"):
            client(s).embeddings.create(model="m", input="x")


def test_rights_and_refusals(service):
    with Server("--auth", "keys", "--embed-base-url", service.url, "--embed-model", "scripted", env={"CENOTE_EMBED_API_KEY": KEY}) as s:
        with pytest.raises(openai.AuthenticationError):
            client(s).embeddings.create(model="scripted", input="x")
        made = json.loads(s.run("key", "create", "--json", "--name", "r", "--rights", "read", check=0).stdout)
        c = openai.OpenAI(base_url=s.url + "/v1", api_key=made.get("key") or made["secret"], max_retries=0)
        assert c.embeddings.create(model="scripted", input="x").data
        for kw, kind, part in (({"input": [[1, 2]]}, openai.BadRequestError, "tokens"), ({"input": [5]}, openai.BadRequestError, "tokens"),
                               ({"input": []}, openai.BadRequestError, "1 to 2048"), ({"model": "x"}, openai.NotFoundError, "scripted"),
                               ({"dimensions": 3}, openai.BadRequestError, "8 dimensions")):
            with pytest.raises(kind, match=part):
                c.embeddings.create(**{"model": "scripted", "input": "x", **kw})
        with pytest.raises(openai.NotFoundError):
            c.models.retrieve("org/other")


def test_settings_are_checked(tmp_path):
    for args, part in ((["--embed-kind", "remote"], "embed.base_url"), (["--embed-base-url", "ftp://x", "--embed-model", "m"], "http://"),
                       (["--embed-base-url", "http://u:pw@h/v1", "--embed-model", "m"], "user or password"),
                       (["--embed-base-url", "http://h/v1"], "embed.model"), (["--embed-kind", "minilm"], "cenote model add minilm"),
                       (["--embed-concurrency", "0"], "1..256")):
        r = subprocess.run([binary(), "serve", "--listen", "127.0.0.1:0", *args], env=clean_env(CENOTE_DATA=tmp_path), capture_output=True,
                           text=True, timeout=60)
        assert r.returncode in (2, 3) and part in r.stderr and "pw" not in r.stderr.replace("password", ""), (args, r)


def test_the_key_is_never_shown(remote):
    r = remote.run("config", "print", "--all", check=0)
    assert KEY not in r.stdout and "api_key" in r.stdout
    assert KEY not in remote.request("GET", "/cenote/v1/admin/config").body.decode()
    assert KEY not in remote.request("GET", "/metrics").body.decode()
