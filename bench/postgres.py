"""The rows on PostgreSQL: a server of their own (tools/pg, default durability), a fresh database per row; LangGraph's PostgresStore on the
same tables in the same run, called in-process by 8 threads with a connection each."""
import json
import pathlib
import subprocess
import tempfile
import threading
import time

from load import HERE, SECONDS, Words, row, rss, say, value_1k, values_file, wrk
from server import Server

TOOL = HERE.parent / "tools" / "pg"
THREADS = 8
cluster = {}


def url(name):
    """A fresh database on the benchmark's server."""
    import psycopg
    if not cluster:
        cluster["dir"] = tempfile.mkdtemp(prefix="cenote-bench-pg-")
        cluster["url"] = subprocess.run([TOOL, "start", cluster["dir"]], check=True, capture_output=True, text=True).stdout.split()[-1]
    with psycopg.connect(cluster["url"], autocommit=True) as c:
        cluster["version"] = c.execute("show server_version").fetchone()[0]
        c.execute(f"drop database if exists {name}")
        c.execute(f"create database {name}")
    return cluster["url"].rsplit("/", 1)[0] + "/" + name


def stop():
    if cluster:
        subprocess.run([TOOL, "stop", cluster["dir"]], check=False, capture_output=True)
        subprocess.run(["rm", "-rf", cluster["dir"]], check=False)
        cluster.clear()


def described():
    return f", PostgreSQL {cluster['version']} as installed (fsync and synchronous_commit on)" if "version" in cluster else ""


def peer(database, work, seconds):
    """Calls a second of work(store, thread, number) by 8 threads on the real PostgresStore."""
    from langgraph.store.postgres import PostgresStore
    counts = [0] * THREADS
    with PostgresStore.from_conn_string(database, pool_config={"min_size": THREADS, "max_size": THREADS}) as store:
        store.setup()
        end = time.monotonic() + seconds

        def loop(me):
            while time.monotonic() < end:
                work(store, me, counts[me])
                counts[me] += 1

        threads = [threading.Thread(target=loop, args=(i,)) for i in range(THREADS)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    return sum(counts) / seconds


def filled(s, folder, count, spread, name="g", extra=None):
    """count items of 1 KB in `spread` namespaces (bench, name<i>), keys k<i>; then statistics for the planner, as autovacuum makes them."""
    import psycopg
    w, path = Words(3), folder / "items.jsonl"
    with open(path, "w") as f:
        for i in range(count):
            value = json.loads(value_1k(w, i))
            value.update(extra(i) if extra else {})
            ns = f"{name}{i % spread}" if spread else name
            f.write(json.dumps({"namespace": ["bench", ns], "key": f"k{i}", "value": value}) + "\n")
    s.run("import", path, check=0)
    with psycopg.connect(s.store, autocommit=True) as c:
        c.execute("vacuum analyze")


def get(folder):
    count, where = 10_000, url("bench_get")
    with Server(folder=folder / "pg-get", store=where) as s:
        filled(s, folder, count, 50)
        wrk(s, "get.lua", 2, CENOTE_BENCH_KEYS=count)
        rate, p50, p99 = wrk(s, "get.lua", CENOTE_BENCH_KEYS=count)
    theirs = peer(where, lambda st, me, n: st.get(("bench", f"g{(n * 7 + me) % 50}"), f"k{(n * 7 + me) % 50 + 50 * (n % 200)}"), min(SECONDS, 10))
    row("PostgreSQL: GET over HTTP", f"{rate:,}/s, p50 {p50:.1f} ms, p99 {p99:.1f} ms", "25,000/s, p99 10 ms", rate >= 25_000 and p99 <= 10)
    row("PostgreSQL: GET against PostgresStore.get, 8 threads", f"{rate / theirs:.1f} times ({theirs:,.0f}/s)", "10 times", rate >= 10 * theirs)


def put(folder):
    values, where = values_file(folder), url("bench_put")
    parsed = [json.loads(x) for x in values.read_text().splitlines()[:200]]
    with Server(folder=folder / "pg-put", store=where) as s:
        wrk(s, "put.lua", 2, CENOTE_BENCH_VALUES=values)
        rate, p50, p99 = wrk(s, "put.lua", CENOTE_BENCH_VALUES=values)
    theirs = peer(url("bench_put_peer"), lambda st, me, n: st.put(("bench", f"n{n % 50}"), f"{me}-{n}", parsed[n % 200]), min(SECONDS, 10))
    row("PostgreSQL: PUT over HTTP, durable", f"{rate:,}/s, p50 {p50:.1f} ms, p99 {p99:.1f} ms", "10,000/s, p99 25 ms", rate >= 10_000 and p99 <= 25)
    row("PostgreSQL: PUT against PostgresStore.put, 8 threads", f"{rate / theirs:.1f} times ({theirs:,.0f}/s)", "3 times", rate >= 3 * theirs)


def search(folder):
    """Filtered searches, limit 10, one item in five matches: in 50 namespaces of 200 items, and in one of 10,000."""
    for name, spread in (("200", 50), ("10,000", 1)):
        where = url("bench_search")
        with Server(folder=folder / f"pg-search-{spread}", store=where) as s:
            filled(s, folder, 10_000, spread, extra=lambda i: {"kind": f"c{i // 50 % 5}"})
            wrk(s, "filter.lua", 2, CENOTE_BENCH_SPREAD=spread)
            rate, p50, p99 = wrk(s, "filter.lua", CENOTE_BENCH_SPREAD=spread)
        theirs = peer(where, lambda st, me, n: st.search(("bench", f"g{n % spread}"), filter={"kind": f"c{n % 5}"}, limit=10),
                      min(SECONDS, 10))
        row(f"PostgreSQL: search with a filter, limit 10, {name} items in the namespace, against PostgresStore.search",
            f"{rate / theirs:.1f} times ({rate:,}/s, p99 {p99:.1f} ms; {theirs:,.0f}/s)", "5 times", rate >= 5 * theirs)


def words(folder):
    w, questions = Words(9), folder / "questions.txt"
    questions.write_text("".join(w.question(5) + "\n" for _ in range(2000)))
    with Server(folder=folder / "pg-words", store=url("bench_words")) as s:
        filled(s, folder, 10_000, 0, name="words")
        answer = s.request("POST", "/store/items/search", {"namespace_prefix": ["bench", "words"], "limit": 10,
                                                           "query": questions.read_text().splitlines()[0]}).json
        assert len(answer["items"]) == 10, "the questions find something"
        wrk(s, "search.lua", 2, CENOTE_BENCH_QUESTIONS=questions)
        rate, p50, p99 = wrk(s, "search.lua", CENOTE_BENCH_QUESTIONS=questions)
    row("PostgreSQL: word search, 10,000 items, 5-word questions, limit 10", f"{rate:,}/s, p50 {p50:.1f} ms, p99 {p99:.1f} ms", "1,500/s",
        rate >= 1500)


def lanes(folder):
    """A point read by one client, alone and while 4 clients search without a pause: by words, with a filter that one item in five passes, and
    with one that one in 500 passes, which reads the whole scope (10,000 items) each time and keeps both cores busy."""
    questions = folder / "questions.txt"
    w = Words(9)
    questions.write_text("".join(w.question(5) + "\n" for _ in range(2000)))
    with Server(folder=folder / "pg-lanes", store=url("bench_lanes")) as s:
        filled(s, folder, 10_000, 1, extra=lambda i: {"kind": f"c{i // 50 % 5}", "rare": f"c{i % 500}"})
        filled(s, folder, 10_000, 0, name="words")
        wrk(s, "get.lua", 2, connections=1, CENOTE_BENCH_KEYS=10_000, CENOTE_BENCH_SPREAD=1)
        alone = wrk(s, "get.lua", connections=1, CENOTE_BENCH_KEYS=10_000, CENOTE_BENCH_SPREAD=1)
        for what, script, env in (("by words", "search.lua", {"CENOTE_BENCH_QUESTIONS": questions}),
                                  ("with a filter", "filter.lua", {"CENOTE_BENCH_SPREAD": 1}),
                                  ("with a filter that reads all", "filter.lua", {"CENOTE_BENCH_SPREAD": 1, "CENOTE_BENCH_KINDS": 500,
                                                                                 "CENOTE_BENCH_FIELD": "rare"})):
            result = []
            t = threading.Thread(target=lambda: result.append(wrk(s, script, SECONDS + 2, connections=4, **env)))
            t.start()
            time.sleep(1)  # load of the other kind is on
            beside = wrk(s, "get.lua", connections=1, CENOTE_BENCH_KEYS=10_000, CENOTE_BENCH_SPREAD=1)
            t.join()
            row(f"PostgreSQL: p99 of a point read while 4 clients search {what}, against alone",
                f"{beside[2] / alone[2]:.1f} times ({beside[2]:.2f} ms against {alone[2]:.2f} ms; searches {result[0][0]:,}/s)", "5 times",
                beside[2] <= 5 * alone[2])


def memory(folder):
    with Server("--pg-pool-max", "16", folder=folder / "pg-memory", store=url("bench_memory")) as s:
        filled(s, folder, 10_000, 50)
        wrk(s, "get.lua", connections=256, CENOTE_BENCH_KEYS=10_000)
        wrk(s, "put.lua", connections=256, CENOTE_BENCH_VALUES=values_file(folder))
        wrk(s, "filter.lua", connections=256, CENOTE_BENCH_SPREAD=50)
        after = rss(s)
        import psycopg
        with psycopg.connect(s.store) as c:
            open_ = c.execute("select count(*) from pg_stat_activity where application_name = 'cenote'").fetchone()[0]
    row("PostgreSQL: resident memory after load from 256 connections", f"{after:.0f} MB ({open_} connections to the database)", "40 MB", after <= 40)


ROWS = {"pg-get": get, "pg-put": put, "pg-search": search, "pg-words": words, "pg-lanes": lanes, "pg-memory": memory}
