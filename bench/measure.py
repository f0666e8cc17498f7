"""Measures the table of figures: each row starts its own server on a fresh store in $TMPDIR (or /tmp), which is removed again.

Load comes from wrk on the same machine (closed loop, 64 connections, one thread: it shares the cores with the server), the import from the
command line. The peers are LangGraph's SqliteStore and PostgresStore called in-process by 8 threads. Rows that begin with pg- run on a
PostgreSQL of their own (postgres.py)."""
import json
import os
import pathlib
import platform
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from load import CONNECTIONS, ITEMS, SECONDS, Words, items_file, rows, row, rss, say, value_1k, values_file, wrk
from server import Server, binary, run
import assistant
import backlog
import encode
import hnsw
import meaning
import postgres
import threads
import vectors


def peer_puts(folder, seconds):
    from langgraph.store.sqlite import SqliteStore
    w = Words(3)
    values = [json.loads(value_1k(w, i)) for i in range(200)]
    with SqliteStore.from_conn_string(str(folder / "peer.db")) as store:
        store.setup()
        mode = store.conn.execute("pragma journal_mode").fetchone()[0], store.conn.execute("pragma synchronous").fetchone()[0]
        counts, end = [0] * 8, time.monotonic() + seconds

        def work(me):
            n = 0
            while time.monotonic() < end:
                store.put(("bench", f"n{n % 50}"), f"{me}-{n}", values[n % 200])
                n += 1
            counts[me] = n

        threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    say(f"peer: journal {mode[0]}, synchronous {mode[1]}")
    return sum(counts) / seconds


def put(folder):
    values = values_file(folder)
    with Server(folder=folder / "put") as s:
        wrk(s, "put.lua", 2, CENOTE_BENCH_VALUES=values)
        rate, p50, p99 = wrk(s, "put.lua", CENOTE_BENCH_VALUES=values)
    peer = peer_puts(folder, min(SECONDS, 10))
    row("PUT over HTTP, durable", f"{rate:,}/s, p50 {p50:.1f} ms, p99 {p99:.1f} ms", "20,000/s, p99 15 ms", rate >= 20_000 and p99 <= 15)
    row("PUT against LangGraph SqliteStore.put, 8 threads", f"{rate / peer:.1f} times ({peer:,.0f}/s)", "6 times", rate >= 6 * peer)


def get(folder):
    count, w = 10_000, Words(3)
    path = folder / "get.jsonl"
    with open(path, "w") as f:
        for i in range(count):
            f.write('{"namespace":["bench","g%d"],"key":"k%d","value":%s}\n' % (i % 50, i, value_1k(w, i)))
    with Server(folder=folder / "get") as s:
        s.run("import", path, check=0)
        wrk(s, "get.lua", 2, CENOTE_BENCH_KEYS=count)
        rate, p50, p99 = wrk(s, "get.lua", CENOTE_BENCH_KEYS=count)
    row("GET over HTTP", f"{rate:,}/s, p50 {p50:.1f} ms, p99 {p99:.1f} ms", "50,000/s, p99 4 ms", rate >= 50_000 and p99 <= 4)


def search(folder):
    w = Words(9)
    path, questions = folder / "search.jsonl", folder / "questions.txt"
    with open(path, "w") as f:
        for i in range(10_000):
            f.write('{"namespace":["bench","words"],"key":"k%d","value":%s}\n' % (i, value_1k(w, i)))
    questions.write_text("".join(w.question(5) + "\n" for _ in range(2000)))
    with Server(folder=folder / "search") as s:
        s.run("import", path, check=0)
        answer = s.request("POST", "/store/items/search", {"namespace_prefix": ["bench", "words"], "limit": 10,
                                                           "query": questions.read_text().splitlines()[0]}).json
        assert len(answer["items"]) == 10, "the questions find something"
        wrk(s, "search.lua", 2, CENOTE_BENCH_QUESTIONS=questions)
        rate, p50, p99 = wrk(s, "search.lua", CENOTE_BENCH_QUESTIONS=questions)
    row("word search, 10,000 items, 5-word questions, limit 10", f"{rate:,}/s, p50 {p50:.1f} ms, p99 {p99:.1f} ms",
        "4,000/s, p99 20 ms", rate >= 4000 and p99 <= 20)


def imported(folder):
    """A store with ITEMS items, made once for several rows; returns it and the seconds that the import took."""
    where = folder / "million"
    if not where.exists():
        path = items_file(folder / "items.jsonl", ITEMS)
        say(f"{path.stat().st_size / 1e6:.0f} MB of JSON Lines written")
        where.mkdir()
        started = time.monotonic()
        run("import", path, env={"CENOTE_DATA": where / "data", "XDG_CONFIG_HOME": folder}, check=0, timeout=3600)
        imported.seconds = time.monotonic() - started
        path.unlink()
    return where, imported.seconds


def import_(folder):
    _, seconds = imported(folder)
    row(f"import of {ITEMS:,} items of 300 bytes", f"{ITEMS / seconds:,.0f}/s ({seconds:.1f} s)", "40,000/s", ITEMS / seconds >= 40_000)


def start(folder):
    where, _ = imported(folder)
    took = []
    for _ in range(7):
        s = Server(folder=where)
        began = time.monotonic()
        s.start()
        r = s.request("GET", "/store/items?namespace=bench.u1&key=k00000001")
        took.append((time.monotonic() - began) * 1000)
        assert r.json["value"]["n"] == 1
        s.stop()
    cold = ""
    try:
        os.sync()
        pathlib.Path("/proc/sys/vm/drop_caches").write_text("3")
        began = time.monotonic()
        s = Server(folder=where).start()
        s.request("GET", "/store/items?namespace=bench.u1&key=k00000001")
        cold = f"; {(time.monotonic() - began) * 1000:.0f} ms with cold file caches"
        s.stop()
    except OSError:
        pass
    row(f"start to first answer, {ITEMS:,} items", f"{statistics.median(took):.0f} ms{cold}", "200 ms", statistics.median(took) <= 200)


def memory(folder):
    with Server(folder=folder / "idle") as s:
        s.request("GET", "/ok")
        idle = rss(s)
    path = items_file(folder / "memory.jsonl", ITEMS)
    w = Words(5)
    with Server(folder=folder / "memory") as s:
        s.run("import", path, check=0, timeout=3600)
        path.unlink()
        after_puts = rss(s)
        import http.client
        conn = http.client.HTTPConnection(s.host, s.port)
        for i in range(10_000):
            conn.request("POST", "/store/items/search", json.dumps({"namespace_prefix": ["bench", f"u{i % 100}"], "limit": 10,
                                                                   "query": w.question(5)}))
            r = conn.getresponse()
            assert r.status == 200
            r.read()
        conn.close()
        after = rss(s)
    row(f"resident memory: idle / after {ITEMS:,} items put and 10,000 searched",
        f"{idle:.1f} MB / {after:.0f} MB (after the puts: {after_puts:.0f} MB)", "12 MB / 300 MB", idle <= 12 and after <= 300)


def growth(folder):
    where = folder / "growth"
    where.mkdir()
    values = values_file(folder)
    # measured here, right before, so that both figures see the same machine
    with Server(folder=folder / "empty") as s:
        wrk(s, "put.lua", 2, CENOTE_BENCH_VALUES=values)
        empty_rate = wrk(s, "put.lua", CENOTE_BENCH_VALUES=values)[0]
    for part in ("x", "y"):
        path = items_file(folder / "growth.jsonl", ITEMS, part)
        run("import", path, env={"CENOTE_DATA": where / "data", "XDG_CONFIG_HOME": folder}, check=0, timeout=3600)
        path.unlink()
    with Server(folder=where) as s:
        wrk(s, "put.lua", 2, CENOTE_BENCH_VALUES=values)
        rate = wrk(s, "put.lua", CENOTE_BENCH_VALUES=values)[0]
        scattered = wrk(s, "put.lua", CENOTE_BENCH_VALUES=values, CENOTE_BENCH_RANDOM=1)[0]
    row(f"PUT rate at {2 * ITEMS:,} items against an empty store",
        f"{rate / empty_rate:.2f} ({rate:,}/s against {empty_rate:,}/s); then with keys in random order {scattered:,}/s", "0.7",
        rate >= 0.7 * empty_rate)


ROWS = {"put": put, "get": get, "search": search, "import": import_, "start": start, "memory": memory, "growth": growth,
        **postgres.ROWS, **threads.ROWS, **vectors.ROWS, **encode.ROWS, **meaning.ROWS, **hnsw.ROWS, "backlog": backlog.backlog, **assistant.ROWS}


def main():
    wanted = sys.argv[1:] or list(ROWS)
    unknown = [w for w in wanted if w not in ROWS]
    if unknown:
        sys.exit(f"bench/run: no row {unknown[0]}; there are: {' '.join(ROWS)}")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="cenote-bench-"))
    try:
        for name in wanted:
            say(f"--- {name}")
            ROWS[name](folder)
    finally:
        postgres.stop()
        shutil.rmtree(folder, ignore_errors=True)
    version = subprocess.run([binary(), "version"], capture_output=True, text=True).stdout.split("\n")[0]
    model = next((x.split(":")[1].strip() for x in open("/proc/cpuinfo") if x.startswith("model name")), platform.machine())
    print(f"{version}; {os.cpu_count()} cores ({model}), Linux {platform.release()}, SQLite of the peer {sqlite3.sqlite_version}; "
          f"{CONNECTIONS} connections, {SECONDS} s per figure{postgres.described()}\n")
    print("| what | measured | at least / at most | met |\n|---|---|---|---|")
    for what, figure, target, met in rows:
        print(f"| {what} | {figure} | {target} | {'yes' if met else 'no'} |")


if __name__ == "__main__":
    main()
