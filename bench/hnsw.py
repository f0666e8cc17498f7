"""The row `recall-larger`: a namespace on PostgreSQL whose vectors do not fit index.cache (BENCH_LARGER items of 384 dimensions, 300,000 unless
given), asked by words and by meaning: with codes of the vectors in memory, by the index in the database (pg.hnsw), and read for each question.
The vectors are written into the tables as the server writes them: groups around directions of their own, with as much noise; a question is one
of these directions. What is found is compared with all of them."""
import os
import statistics
import struct
import time

import numpy as np
import psycopg
import xxhash

import postgres
from embed_server import EmbedServer, vector
from load import Words, row, rss, say
from server import Server

ITEMS = int(os.environ.get("BENCH_LARGER", 300_000))
DIMS, GROUPS, QUESTIONS = 384, 2000, 40


def blobs(m):
    """src/index/vector.h"""
    scale = np.abs(m).max(1) / 32639
    v = np.rint(m / scale[:, None]).astype(int)
    high = np.floor((v + 128) / 256).astype(int)
    planes = np.concatenate([high + 128, v - 256 * high + 128], 1).astype(np.uint8)
    return [struct.pack("<BBHf", 1, 0, DIMS, s) + p.tobytes() for s, p in zip(scale, planes)]


def write_vectors(db, model):
    """Of every item; returns their ids and vectors, of length 1."""
    number = db.execute("INSERT INTO cenote_model(name) VALUES (%s) RETURNING id", (model,)).fetchone()[0]
    centres, rng = np.array([vector(f"group {i}", DIMS) for i in range(GROUPS)]), np.random.default_rng(7)
    ids, out = [], np.empty((ITEMS, DIMS), np.float32)
    with psycopg.connect(db.info.dsn) as reader, reader.cursor("items") as cursor, db.cursor() as c:
        cursor.itersize = 5000
        cursor.execute("SELECT id, terms, xmin::text::bigint FROM cenote_item ORDER BY id")
        with c.copy("COPY cenote_vector(model, kind, id, mark, data, stamp) FROM STDIN") as copy:
            while rows := cursor.fetchmany(5000):
                m = centres[rng.integers(0, GROUPS, len(rows))] + rng.standard_normal((len(rows), DIMS)) / DIMS ** 0.5
                m /= np.linalg.norm(m, axis=1, keepdims=True)
                out[len(ids):len(ids) + len(rows)] = m
                ids += [r[0] for r in rows]
                for (i, terms, stamp), blob in zip(rows, blobs(m)):
                    copy.write_row((number, "i", i, struct.unpack("<q", struct.pack("<Q", xxhash.xxh3_64_intdigest(terms)))[0], blob, stamp))
    db.execute("ANALYZE cenote_vector; ANALYZE cenote_item; ANALYZE store")
    return np.array(ids), out


def ask(s, n, mode):
    began = time.monotonic()
    r = s.request("POST", "/cenote/v1/recall", {"query": f"group {n}", "kinds": ["item"], "namespaces": [["bench"]], "limit": 10, "mode": mode}, timeout=300).json
    return (time.monotonic() - began) * 1000, r


def measured(s, keys, nearest):
    """(least and median ms of questions by both, share of the exact 10 nearest that vectors alone found)"""
    for i in range(5):
        ask(s, 500 + i, "auto")
    times = [ask(s, n, "auto") for n in range(QUESTIONS)]
    assert all(r["mode"] == "auto" and not r.get("note") for _, r in times), times[0][1]
    found = sum(len({h["key"] for h in ask(s, n, "vectors")[1]["results"]} & {keys[i] for i in nearest[n]}) for n in range(QUESTIONS))
    return min(t for t, _ in times), statistics.median(t for t, _ in times), found / QUESTIONS / 10


def recall_larger(folder):
    w, path, url = Words(21), folder / "larger.jsonl", postgres.url("larger")
    with open(path, "w", buffering=1 << 20) as f:
        f.writelines('{"namespace":["bench","larger"],"key":"k%d","value":{"text":"%s"}}\n' % (i, w.text(60)) for i in range(ITEMS))
    with psycopg.connect(url, autocommit=True) as db, EmbedServer(dims=DIMS) as service:
        db.execute("CREATE EXTENSION vector")
        env = {"CENOTE_LOG_LEVEL": "info"}
        with Server(store=url, env=env) as s:
            s.run("import", path, check=0, timeout=3600)
        ids, vectors = write_vectors(db, f"scripted/{DIMS}")
        questions = np.array([vector(f"group {n}", DIMS) for n in range(QUESTIONS)], np.float32)
        keys = dict(db.execute("SELECT id, key FROM cenote_item"))
        nearest = [ids[np.argpartition(-(vectors @ q), 10)[:10]] for q in questions]
        say(f"{ITEMS:,} items with vectors of {DIMS} dimensions in PostgreSQL")
        env |= {"CENOTE_EMBED_KIND": "remote", "CENOTE_EMBED_BASE_URL": service.url, "CENOTE_EMBED_MODEL": service.model}
        codes, words = f"{(ITEMS * 160 >> 20) + 8}MiB", f"{ITEMS * 100 >> 10}KiB"
        ways = [("codes in memory", codes, "0"), ("the index in the database", words, "1000"), ("read for the question", "0", "0")]
        for what, cache, hnsw in ways:
            with Server(store=url, env=env | {"CENOTE_INDEX_CACHE": cache, "CENOTE_PG_HNSW": hnsw}) as s:
                s.request("GET", "/cenote/v1/vectors?wait=indexed", timeout=600)
                began = time.monotonic()
                while ask(s, 999, "auto")[1].get("note") and time.monotonic() - began < 600:
                    time.sleep(0.5)
                if hnsw != "0":
                    while not s.logged("an index of vectors is ready", wait=0):
                        ask(s, 999, "auto")
                        time.sleep(0.5)
                        assert time.monotonic() - began < 7200
                    say(f"made in {time.monotonic() - began:.0f} s, " + db.execute(
                        "SELECT round(pg_relation_size(oid) / 1e6) || ' MB' FROM pg_class WHERE relname LIKE 'cenote_hnsw_%'").fetchone()[0])
                try:
                    least, median, found = measured(s, keys, nearest)
                except AssertionError as e:
                    row(f"recall among {ITEMS:,} items on PostgreSQL, {what}", f"by words alone: {str(e)[-200:]}", "-", True)
                    continue
                row(f"recall among {ITEMS:,} items on PostgreSQL, {what} (index.cache {cache})",
                    f"{least:.1f} ms, median {median:.1f} ms, {100 * found:.1f} % of the nearest 10, {rss(s):.0f} MB", "-", True)


ROWS = {"recall-larger": recall_larger}
