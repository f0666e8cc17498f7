"""The rows on search by meaning: `recall` over HTTP in a scope of 10,000 items beside Chroma on the same vectors, `recall-put`, what a write waits for when
vectors are made of it, and `recall-memory`, what 100,000 items with their vectors take. The encoder is the built-in one."""
import array
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time

from load import HERE, SECONDS, Words, row, rss, say, wrk
from server import Server

MODELS = HERE.parent / "build" / "models"
ITEMS, USERS, DIMS = 10_000, 10, 384
PACKAGES = ("chromadb==1.5.9", "onnx==1.23.2")


def server(folder, kind="minilm"):
    subprocess.run(["make", "-s", "-C", HERE.parent, "model"], check=True)
    return Server(folder=folder, env={"CENOTE_EMBED_KIND": kind, "CENOTE_EMBED_MODEL_DIR": MODELS, "CENOTE_LOG_LEVEL": "warn"})


def fill(s, folder, count, length, seed=11):
    w, path = Words(seed), folder / "recall.jsonl"
    texts = [w.text(length) for _ in range(count)]
    path.write_text("".join('{"namespace":["bench","recall"],"key":"k%d","value":{"text":"%s"}}\n' % x for x in enumerate(texts)))
    s.run("import", path, check=0, timeout=600)
    began = time.monotonic()
    s.run("reindex", "--wait", check=0, timeout=3600)
    say(f"{count:,} texts of {length} characters: vectors after {time.monotonic() - began:.0f} s")
    return texts


def recall(folder):
    w, questions = Words(12), folder / "recall.questions"
    questions.write_text("".join(w.question(8) + "\n" for _ in range(200)))
    with server(folder / "recall") as s:
        texts = fill(s, folder, ITEMS, 200)
        answer = s.request("POST", "/cenote/v1/recall", {"query": questions.read_text().splitlines()[0], "kinds": ["item"],
                                                        "namespaces": [["bench", "recall"]]}).json
        assert answer["mode"] == "auto" and answer["pending"] == 0 and len(answer["results"]) == 10, answer
        wrk(s, "recall.lua", 2, connections=2, CENOTE_BENCH_QUESTIONS=questions, CENOTE_BENCH_UNIQUE=1)
        rate, p50, p99 = wrk(s, "recall.lua", connections=2, CENOTE_BENCH_QUESTIONS=questions, CENOTE_BENCH_UNIQUE=1)
        row(f"recall over HTTP, {ITEMS:,} items, question not cached, 2 connections", f"{rate:,}/s, p50 {p50:.1f} ms, p99 {p99:.1f} ms",
            "250/s, p50 9 ms, p99 25 ms", rate >= 250 and p50 <= 9 and p99 <= 25)
        wrk(s, "recall.lua", 2, CENOTE_BENCH_QUESTIONS=questions)
        cached, p50, p99 = wrk(s, "recall.lua", CENOTE_BENCH_QUESTIONS=questions)
        row(f"recall over HTTP, {ITEMS:,} items, question cached", f"{cached:,}/s, p50 {p50:.1f} ms, p99 {p99:.1f} ms", "3,000/s", cached >= 3000)
        mine = rss(s)
        vectors = []
        for at in range(0, ITEMS, 1000):
            data = s.request("POST", "/v1/embeddings", {"model": "all-MiniLM-L6-v2", "input": texts[at:at + 1000], "encoding_format": "float"}).json["data"]
            vectors += [d["embedding"] for d in data]
    peer = chroma(folder, vectors)
    row("the same against Chroma, filter by user: rate", f"{cached / peer['rate']:.0f} times ({peer['rate']:.0f}/s)", "10 times", cached >= 10 * peer["rate"])
    row("the same: memory, Chroma being given its questions as vectors", f"1/{peer['rss'] / mine:.1f} ({mine:.0f} MB, {peer['rss']:.0f} MB)", "1/4",
        4 * mine <= peer["rss"])
    row("the same: memory, Chroma encoding them as we do (onnxruntime, int8)", f"1/{peer['encoding'] / mine:.1f} ({mine:.0f} MB, {peer['encoding']:.0f} MB)", "1/4",
        4 * mine <= peer["encoding"])


def chroma(folder, vectors):
    """In a process of its own, with packages of its own."""
    env = HERE.parent / "build" / ".venv-chroma"
    if not (env / "ok").exists() or (env / "ok").read_text() != str(PACKAGES):
        subprocess.run([sys.executable, "-m", "venv", env], check=True)
        subprocess.run([env / "bin" / "pip", "install", "-q", "--disable-pip-version-check", *PACKAGES], check=True)
        (env / "ok").write_text(str(PACKAGES))
    graphs = "import sys; sys.path.insert(0, sys.argv[1]); from onnx_peer import models; models(*sys.argv[2:])"
    subprocess.run([env / "bin" / "python", "-c", graphs, HERE, MODELS / "minilm", folder], check=True, stderr=subprocess.DEVNULL)
    path = folder / "vectors.f32"
    path.write_bytes(b"".join(array.array("f", v).tobytes() for v in vectors))
    r = subprocess.run([env / "bin" / "python", __file__, path, folder / "chroma", folder / "fused-int8.onnx"], stdout=subprocess.PIPE, text=True, check=True,
                       env={**os.environ, "ANONYMIZED_TELEMETRY": "False"})
    return json.loads(r.stdout.splitlines()[-1])


def resident():
    return next(int(x.split()[1]) for x in open("/proc/self/status") if x.startswith("VmRSS")) / 1024


def chroma_main(vectors, where, encoder):
    """Its memory is not to be that of the vectors as Python's objects: they are mapped, and what is asked and added is a copy of a few."""
    import chromadb
    import numpy
    v = numpy.memmap(vectors, dtype=numpy.float32, mode="r").reshape(-1, DIMS)
    c = chromadb.PersistentClient(path=where).create_collection("bench", metadata={"hnsw:space": "cosine"})
    for at in range(0, len(v), 1000):
        part = range(at, min(at + 1000, len(v)))
        c.add(ids=[str(i) for i in part], embeddings=numpy.array(v[part.start:part.stop]), metadatas=[{"user": f"u{i % USERS}"} for i in part])
    n, end = 0, time.monotonic() + 8
    began = time.monotonic()
    while time.monotonic() < end:
        c.query(query_embeddings=numpy.array(v[n * 37 % len(v)])[None], n_results=10, where={"user": f"u{n % USERS}"})
        n += 1
    rate = n / (time.monotonic() - began)
    del v
    given = resident()
    import onnxruntime
    s = onnxruntime.InferenceSession(encoder, providers=["CPUExecutionProvider"])
    for n in range(500):
        pieces = numpy.array([[101, *range(2000 + n, 2008 + n), 102]])
        c.query(query_embeddings=s.run(None, {"ids": pieces})[0], n_results=10, where={"user": f"u{n % USERS}"})
    print(json.dumps({"rate": rate, "rss": given, "encoding": resident()}))


# ------------------------------------------------------------- what a write waits for

async def put(r, w, i, text):
    body = json.dumps({"text": f"{i} {text}"}).encode()
    began = time.perf_counter()
    w.write(b"PUT /cenote/v1/items?namespace=bench.put&key=k%d HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            % (i, len(body)) + body)
    head = await r.readuntil(b"\r\n\r\n")
    await r.readexactly(int(next(x for x in head.lower().split(b"\r\n") if x.startswith(b"content-length")).split(b":")[1]))
    assert head[9:12] in (b"200", b"201"), head
    return (time.perf_counter() - began) * 1000


async def paced(s, rate, seconds, first, texts, lanes=8):
    took, start = [], time.perf_counter()

    async def lane(k):
        r, w = await asyncio.open_connection(s.host, s.port)
        for i in range(k, int(rate * seconds), lanes):
            wait = start + i / rate - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            took.append(await put(r, w, first + i, texts[i % len(texts)]))
        w.close()

    await asyncio.gather(*[lane(k) for k in range(lanes)])
    return statistics.quantiles(took, n=100)[98]


# The 99th percentile of a run is the disk's mood more than anything: of neighbouring runs without vectors one has twice the other's.
PAIRS = 9


def recall_put(folder):
    w, rate = Words(13), 300
    texts = [w.text(120) for _ in range(500)]
    pairs = []
    for n in range(PAIRS):
        p99 = {}
        for kind in ("off", "minilm") if n % 2 == 0 else ("minilm", "off"):
            with server(folder / f"put-{n}-{kind}", kind) as s:
                asyncio.run(paced(s, rate, 1, 10**6, texts))
                p99[kind] = asyncio.run(paced(s, rate, SECONDS, 0, texts))
        say(f"off {p99['off']:.2f} ms, on {p99['minilm']:.2f} ms")
        pairs.append(p99)
    off, on = (statistics.median(p[k] for p in pairs) for k in ("off", "minilm"))
    row(f"PUT at {rate}/s with vectors being made, p99 of the answer against without", f"{on / off:.2f} times ({on:.2f} ms, {off:.2f} ms; medians of {PAIRS})",
        "1.2 times", on <= 1.2 * off)


def recall_memory(folder):
    with server(folder / "recall-memory") as s:
        fill(s, folder, 100_000, 100)
        answer = s.request("POST", "/cenote/v1/recall", {"query": "where is the boat", "kinds": ["item"]}).json
        assert answer["mode"] == "auto" and answer["pending"] == 0, answer
        used = rss(s)
    row("resident memory with the encoder and 100,000 items, after a recall", f"{used:.0f} MB", "220 MB", used <= 220)


ROWS = {"recall": recall, "recall-put": recall_put, "recall-memory": recall_memory}

if __name__ == "__main__":
    chroma_main(*sys.argv[1:])
