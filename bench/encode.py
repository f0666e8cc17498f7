"""The row `encode`: the built-in encoder against onnxruntime on the same weights (onnx_peer.py: plain and fused graph, float32 and dynamic int8;
the best of them counts), in turns within one run: a question of 16 word pieces on one core, and texts of 32 on two cores in calls of 64.
[CLS] and [SEP] come on top. Ours starts from text, the peer from numbers of word pieces, of equal length, without a mask."""
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time

QUESTION, TEXT, TEXTS = 16, 32, 128
ROUNDS = int(os.environ.get("BENCH_ROUNDS", 12))
PACKAGES = ("numpy==2.4.6", "onnx==1.23.2", "onnxruntime==1.31.1")


def encode(folder):
    from load import HERE, row, say
    tree = HERE.parent
    env, model = tree / "build" / ".venv-encode", os.environ.get("CENOTE_MODEL_DIR")
    if not (env / "ok").exists():
        subprocess.run([sys.executable, "-m", "venv", env], check=True)
        subprocess.run([env / "bin" / "pip", "install", "-q", "--disable-pip-version-check", *PACKAGES], check=True)
        (env / "ok").touch()
    if not model:
        subprocess.run(["make", "-s", "-C", tree, "model"], check=True)
        model = tree / "build" / "models" / "minilm"
    subprocess.run(["ninja", "-C", tree / "build", "tests/bench-encode"], check=True, stdout=subprocess.DEVNULL)
    r = subprocess.run([env / "bin" / "python", __file__, tree / "build" / "tests" / "bench-encode", model], stdout=subprocess.PIPE, text=True, check=True)
    r = json.loads(r.stdout)
    for what in ("question", "batch"):
        say(f"{what}: " + "; ".join(f"{k} {v}" for k, v in r[what].items()))
    (median, least), best = r["question"].pop("cenote"), min(r["question"].values(), key=lambda x: x[0])
    row(f"encode a question of {QUESTION} word pieces, one core", f"{median:.2f} ms median, {least:.2f} least", "6 ms", median <= 6)
    row("the same against onnxruntime", f"{best[0] / median:.2f} times as fast ({best[0]:.2f} ms median, {best[1]:.2f} least)", "1.0 times", median <= best[0])
    ours, best = r["batch"].pop("cenote"), max(r["batch"].values())
    row(f"encode texts of {TEXT} word pieces in calls of 64, two cores", f"{ours / best:.2f} times onnxruntime's rate ({ours:.0f}/s, {best:.0f}/s)",
        "1.2 times", ours >= 1.2 * best)
    row("cosine with onnxruntime in float32, least of the texts", f"{r['cosine']:.4f}", "0.995", r["cosine"] >= 0.995)
    name, opened, first, before, after = r["start"]
    row(f"load {name}, least of 5", f"{float(opened):.0f} ms to open, {float(first):.0f} ms to the first vector, {(int(after) - int(before)) / 1024:.0f} MB", "150 ms",
        float(opened) + float(first) <= 150)


ROWS = {"encode": encode}


class Ours:
    def __init__(self, program, model):
        self.p = subprocess.Popen([program, model, "int8"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, command, lines=1):
        self.p.stdin.write(command + "\n")
        self.p.stdin.flush()
        return [self.p.stdout.readline().split() for _ in range(lines)]


def texts(vocabulary, count, pieces):
    """Texts of just so many pieces, and their numbers: of words that are a piece each."""
    words = [i for i, w in enumerate(vocabulary) if w.isascii() and w.isalpha() and w.islower() and len(w) > 2]
    rng = random.Random(4)
    ids = [[vocabulary.index("[CLS]"), *rng.choices(words, k=pieces), vocabulary.index("[SEP]")] for _ in range(count)]
    return [" ".join(vocabulary[i] for i in row[1:-1]) for row in ids], ids


def question(ours, sessions, ids, n=40):
    """{name: (median, least)} in ms; turns of n."""
    took = {"cenote": [], **{name: [] for name in sessions}}
    for _ in range(ROUNDS):
        took["cenote"].append([float(x) / 1000 for x in ours.ask(f"one {n}")[0]])
        for name, s in sessions.items():
            t = []
            for _ in range(n):
                began = time.perf_counter()
                s.run(None, {"ids": ids})
                t.append((time.perf_counter() - began) * 1000)
            took[name].append((statistics.median(t), min(t)))
        time.sleep(0.02)
    return {name: (round(statistics.median(t[0] for t in v), 3), round(min(t[1] for t in v), 3)) for name, v in took.items()}


def batch(ours, sessions, ids):
    """{name: best rate of all texts}, three tries of each a round; the peer gets calls of 8, 32 and 64."""
    rate = {"cenote": 0, **{name: 0 for name in sessions}}
    for _ in range(ROUNDS):
        rate["cenote"] = max(rate["cenote"], float(ours.ask("batch 3")[0][0]))
        for name, s in sessions.items():
            for size in (8, 32, 64):
                began = time.perf_counter()
                for at in range(0, TEXTS, size):
                    s.run(None, {"ids": ids[at:at + size]})
                rate[name] = max(rate[name], TEXTS / (time.perf_counter() - began))
            time.sleep(0.02)  # its threads go on looking for work for a moment
    return {name: round(v, 1) for name, v in rate.items()}


def main():
    import logging
    import numpy as np
    from onnx_peer import models, session
    logging.disable(logging.WARNING)
    program, model = sys.argv[1:]
    vocabulary = (pathlib.Path(model) / "vocab.txt").read_text().splitlines()
    with tempfile.TemporaryDirectory() as folder:
        made, out = models(model, folder), {}
        everywhere = os.sched_getaffinity(0)
        out["start"] = min((Ours(program, model).ask("start")[0] for _ in range(5)), key=lambda x: float(x[1]) + float(x[2]))
        ours = Ours(program, model)
        lines, ids = texts(vocabulary, TEXTS, TEXT)
        path = pathlib.Path(folder) / "texts"
        path.write_text("".join(t + "\n" for t in lines))
        ours.ask(f"texts {path}")
        sessions = {name: session(p, 2) for name, p in made.items()}
        ids = np.array(ids)
        out["batch"] = batch(ours, sessions, ids)
        got = np.array(ours.ask("vectors", TEXTS), dtype=np.float64)
        out["cosine"] = float((got[:64] * sessions["plain fp32"].run(None, {"ids": ids[:64]})[0]).sum(1).min())
        del sessions
        os.sched_setaffinity(0, {min(everywhere)})
        os.sched_setaffinity(ours.p.pid, {min(everywhere)})
        lines, ids = texts(vocabulary, 1, QUESTION)
        path.write_text(lines[0] + "\n")
        ours.ask(f"texts {path}")
        out["question"] = question(ours, {name: session(p, 1) for name, p in made.items()}, np.array(ids))
    print(json.dumps(out))


if __name__ == "__main__":
    main()
