"""The rows on the assistant, with a model server that thinks for no time (turns.c): what a turn costs beside the bare call of the model, how soon the first
word of an answer is handed on, 2,000 streams at once, and turns per second. Model server, clients and Cenote share the machine."""
import contextlib
import json
import subprocess

from load import HERE, SECONDS, Words, row, rss, say
from postgres import url
from server import Server

MODELS = HERE.parent / "build" / "models"
MEMORIES, STREAMS, CLIENTS = 10_000, 2000, 64
PROGRAM = HERE.parent / "build" / "tests" / "bench-turns"


@contextlib.contextmanager
def model(words=20, gap_ms=0):
    """Its port."""
    subprocess.run(["ninja", "-C", HERE.parent / "build", "tests/bench-turns"], check=True, stdout=subprocess.DEVNULL)
    p = subprocess.Popen([PROGRAM, "model", str(words), str(gap_ms)], stdout=subprocess.PIPE, text=True)
    try:
        yield int(p.stdout.readline())
    finally:
        p.kill()
        p.wait()


def load(port, connections, seconds, path, body, header=""):
    r = subprocess.run([PROGRAM, "load", str(port), str(connections), str(seconds), path, body, header], stdout=subprocess.PIPE, text=True, check=True)
    r = json.loads(r.stdout)
    if r["errors"] or not r["requests"]:
        raise RuntimeError(f"turns: {r}")
    return r


def server(folder, port, encoder=False, **kw):
    if encoder:
        subprocess.run(["make", "-s", "-C", HERE.parent, "model"], check=True)
    return Server("--llm-base-url", f"http://127.0.0.1:{port}/v1", "--llm-model", "bench", folder=folder,
                  env={"CENOTE_EMBED_KIND": "minilm" if encoder else "off", "CENOTE_EMBED_MODEL_DIR": MODELS, "CENOTE_LOG_LEVEL": "warn"}, **kw)


def remember(s, folder):
    """Memories of one user."""
    w, path = Words(21), folder / "memories.jsonl"
    with open(path, "w") as f:
        for i in range(MEMORIES):
            f.write('{"namespace":["user_memories","ann"],"key":"k%d","value":{"text":"%s"}}\n' % (i, w.text(200)))
    s.run("import", path, check=0, timeout=600)


def turn(folder):
    """One client. Each question is another one, so that it is encoded."""
    question = Words(22).question(8)
    bare_body = json.dumps({"model": "bench", "messages": [{"role": "system", "content": "x" * 3000}, {"role": "user", "content": question}]})
    body = json.dumps({"model": "bench", "user": "ann", "input": question + " @N"})
    with model() as port:
        bare = load(port, 1, SECONDS / 3, "/v1/chat/completions", bare_body)["took"]["p50"]
        for encoder, most in ((False, 3), (True, 12)):
            with server(folder / f"turn{encoder}", port, encoder) as s:
                remember(s, folder)
                if encoder:
                    s.run("reindex", "--wait", check=0, timeout=3600)
                r = s.request("POST", "/v1/responses", {"model": "bench", "user": "ann", "input": question})
                assert int(r.headers["x-cenote-memories"]) > 0, "memories are in the prompt"
                load(s.port, 1, 1, "/v1/responses", body, "X-Cenote-Thread: warm")
                took = load(s.port, 1, SECONDS / 2, "/v1/responses", body, "X-Cenote-Thread: turn")["took"]
            over = took["p50"] - bare
            row(f"a turn with recall among {MEMORIES:,} memories, kept, encoder {'on' if encoder else 'off'}: over the bare call of the model",
                f"p50 {over:.1f} ms (p99 {took['p99']:.1f} ms whole; the bare call {bare:.2f} ms)", f"p50 {most} ms", over <= most)


def first(folder):
    """Eight clients, answers of 10 words with 5 ms between them: the cores are not full, so what is seen is the way and not the queue."""
    with model(10, 5) as port, server(folder / "first", port) as s:
        body = json.dumps({"model": "bench", "input": "go", "stream": True})
        load(s.port, 8, 2, "/v1/responses", body)
        r = load(s.port, 8, SECONDS, "/v1/responses", body)["first"]
        bare = load(port, 8, 3, "/v1/chat/completions", json.dumps({"stream": True, "messages": []}).replace(": ", ":"))["first"]
    row("first word of a streamed answer: from the model to the client, 8 clients", f"p50 {r['p50']:.2f} ms, p99 {r['p99']:.2f} ms (without Cenote p99 {bare['p99']:.2f} ms)",
        "p99 2 ms", r["p99"] <= 2)


def streams(folder):
    with model(20, 400) as port, server(folder / "streams", port) as s:
        body = json.dumps({"model": "bench", "input": "go", "stream": True})
        load(s.port, 1, 0, "/v1/responses", body)
        p = subprocess.Popen([PROGRAM, "load", str(s.port), str(STREAMS), "0", "/v1/responses", body, "X-Cenote-Thread: stream-@C"], stdout=subprocess.PIPE, text=True)
        most = 0
        while True:
            try:
                out, _ = p.communicate(timeout=0.2)
                break
            except subprocess.TimeoutExpired:
                most = max(most, rss(s))
        r = json.loads(out)
        assert p.returncode == 0 and not r["errors"], out
    say(f"{STREAMS:,} streams: {r}")
    row(f"{STREAMS:,} streams at once, each kept in a thread of its own: resident memory", f"{most:.0f} MB ({r['requests']:,} whole answers of 8 s in {r['seconds']:.1f} s)",
        "250 MB", r["requests"] == STREAMS and most <= 250)


def turns(folder):
    for name, least, kw in (("SQLite", 1500, {}), ("PostgreSQL", 1000, {"store": True})):
        with model() as port, server(folder / name, port, store=url("bench_turns") if kw else None) as s:
            body = json.dumps({"model": "bench", "input": "What is new, number @N?"})
            load(s.port, CLIENTS, 2, "/v1/responses", body, "X-Cenote-Thread: warm-@C")
            r = load(s.port, CLIENTS, SECONDS, "/v1/responses", body, "X-Cenote-Thread: turn-@C")
        rate = r["requests"] / r["seconds"]
        row(f"turns kept in {CLIENTS} threads by {CLIENTS} clients, history of 20, no encoder, {name}", f"{rate:,.0f}/s, p50 {r['took']['p50']:.1f} ms, p99 {r['took']['p99']:.1f} ms",
            f"{least:,}/s", rate >= least)


ROWS = {"turn": turn, "first-word": first, "streams": streams, "turns": turns}
