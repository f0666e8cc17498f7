"""What the benchmarks share: load by wrk, values and items, the table of figures."""
import json
import os
import pathlib
import re
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests" / "wire"), str(HERE.parent / "clients" / "python" / "src")]
from words import Words  # noqa: E402

SECONDS = int(os.environ.get("BENCH_SECONDS", 15))
ITEMS = int(os.environ.get("BENCH_ITEMS", 1_000_000))
CONNECTIONS = 64
rows = []


def say(text):
    print(f"  {text}", file=sys.stderr, flush=True)


def row(what, figure, target, met):
    rows.append((what, figure, target, met))
    say(f"{what}: {figure} (at least/most: {target}){'' if met else '  MISSED'}")


def wrk(server, script, seconds=SECONDS, connections=CONNECTIONS, **env):
    r = subprocess.run(["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(HERE / script), server.url, str(time.time_ns())],
                       capture_output=True, text=True, env={**os.environ, **{k: str(v) for k, v in env.items()}})
    m = re.search(r"RESULT rate (\d+) p50 ([\d.]+) p99 ([\d.]+) errors (\d+)", r.stdout)
    if not m or int(m.group(4)):
        raise RuntimeError(f"wrk: {r.stdout}\n{r.stderr}")
    return int(m.group(1)), float(m.group(2)), float(m.group(3))


def value_1k(w, i):
    """A JSON object of 1,024 bytes."""
    head = {"title": w.text(40), "tags": [w.word(), w.word()], "n": i, "text": ""}
    head["text"] = w.text(1024 - len(json.dumps(head)))
    return json.dumps(head)


def values_file(folder):
    w, path = Words(3), folder / "values.jsonl"
    path.write_text("".join(value_1k(w, i) + "\n" for i in range(2000)))
    return path


def items_file(path, count, name="u", seed=5, spread=100):
    """JSON Lines of items with values of 300 bytes. Texts repeat after 20,000 items but for their number."""
    w = Words(seed)
    texts = [w.text(270) for _ in range(20_000)]
    with open(path, "w", buffering=1 << 20) as f:
        for i in range(count):
            n = f"{i:08d}"
            f.write('{"namespace":["bench","%s%d"],"key":"k%s","value":{"n":%d,"text":"%s"}}\n' %
                    (name, i % spread, n, i, texts[i % 20_000][:300 - 17 - len(str(i))]))
    return path


def rss(server):
    for line in pathlib.Path(f"/proc/{server.process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
