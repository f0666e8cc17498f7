"""A queue of many texts that have no vector yet (row `backlog`): BENCH_ITEMS are imported without an encoder, then a server starts with one -
a service on this machine that answers at once, so that what is measured is the worker and not the encoder. Measured: how long it takes, the
memory of the server, what a new write waits for meanwhile, that a restart in the middle goes on, and what a start costs when nothing is missing.

    backlog.py [ITEMS]        alone, without the table
"""
import json
import os
import pathlib
import statistics
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from load import ITEMS, row, rss, say
from server import Server

DIMS = 16


class Instant:
    """A service of embeddings: one vector for all texts, counted."""

    def __enter__(self):
        outer = self
        self.texts = 0
        one = "[" + ",".join(["0.25"] * DIMS) + "]"
        bodies = {}

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *a):
                pass

            def do_POST(self):
                n = len(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["input"])
                if n not in bodies:
                    bodies[n] = ('{"object":"list","data":[' + ",".join('{"object":"embedding","index":%d,"embedding":%s}' % (i, one)
                                 for i in range(n)) + '],"usage":{"prompt_tokens":%d}}' % n).encode()
                outer.texts += n
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(bodies[n]) + bodies[n])

        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.httpd.daemon_threads = True
        threading.Thread(target=self.httpd.serve_forever, daemon=True).start()
        self.env = {"CENOTE_EMBED_KIND": "remote", "CENOTE_EMBED_BASE_URL": f"http://127.0.0.1:{self.httpd.server_address[1]}/v1",
                    "CENOTE_EMBED_MODEL": "instant"}
        return self

    def __exit__(self, *exc):
        self.httpd.shutdown()
        self.httpd.server_close()


def make(path, count):
    with open(path, "w", buffering=1 << 20) as f:
        for i in range(count):
            f.write('{"namespace":["bench","u%d"],"key":"k%d","value":{"text":"the ferry number %d leaves at %d"}}\n' % (i % 1000, i, i, i % 24))


def state(s):
    return s.request("GET", "/cenote/v1/vectors").json


def cpu(s):
    a = pathlib.Path(f"/proc/{s.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(a[11]) + int(a[12])) / os.sysconf("SC_CLK_TCK")


def until(s, done, seen, wait=7200, write=False):
    """Polls the state; meanwhile the memory, and from time to time a write that waits for its vector."""
    end, n = time.monotonic() + wait, 0
    while True:
        x = state(s)
        seen["rss"] = max(seen["rss"], rss(s))
        seen["lag"] = max(seen["lag"], x["lag_ms"] / 1000)
        if done(x):
            return x
        assert time.monotonic() < end, x
        if write:
            n += 1
            begun = time.monotonic()
            assert s.request("PUT", f"/cenote/v1/items?namespace=new&key=p{n}", {"text": f"acknowledged {n}"}).status == 201
            seen["put"].append(time.monotonic() - begun)
            begun = time.monotonic()
            r = s.request("PUT", f"/cenote/v1/items?namespace=new&key=k{n}&wait=indexed&wait_ms=60000", {"text": f"new {n}"})
            assert r.status == 201 and r.json["indexed"], r
            seen["new"].append(time.monotonic() - begun)
        time.sleep(0.05)


def measure(folder, count, store=None):
    path, seen = folder / "items.jsonl", {"rss": 0, "lag": 0, "put": [], "new": []}
    make(path, count)
    out = {"items": count}
    with Instant() as service, Server(folder=folder / "backlog", store=store, env={"CENOTE_EMBED_KIND": "off"}) as s:
        begun = time.monotonic()
        s.run("import", path, check=0, timeout=1800)
        out["import"] = time.monotonic() - begun
        out["rss_before"] = rss(s)
        s.stop()
        s.env.update(service.env)
        s.start()
        begun = time.monotonic()
        half = until(s, lambda x: x["done"] > count // 2, seen, write=True)
        assert half["pending"] > 0 or count < 200_000, half
        assert s.stop() == 0
        s.start()
        x = until(s, lambda x: x["counted"] and x["pending"] == 0, seen)
        out["seconds"] = time.monotonic() - begun
        extra = len(seen["put"]) + len(seen["new"])
        assert (x["done"], x["refused"]) == (count + extra, 0), x
        out["again"] = service.texts - count - extra
        s.stop()
        n = service.texts
        s.start()
        begun = time.monotonic()
        used = cpu(s)
        until(s, lambda x: x["counted"], seen)
        out["start"], out["start_cpu"], out["start_texts"] = time.monotonic() - begun, cpu(s) - used, service.texts - n
    out.update(rss=seen["rss"], lag=seen["lag"], put=statistics.median(seen["put"]), put_most=max(seen["put"]),
               new=statistics.median(seen["new"]), new_most=max(seen["new"]), writes=len(seen["new"]))
    return out


def backlog(folder):
    m = measure(folder, ITEMS)
    say(json.dumps(m))
    row(f"{m['items']:,} texts without a vector: all made (service that answers at once)", f"{m['seconds']:.0f} s, {m['items'] / m['seconds']:,.0f}/s", "-", True)
    row("memory meanwhile", f"{m['rss']:.0f} MB", "250 MB", m["rss"] <= 250)
    row("a write meanwhile: acknowledged, found by meaning (medians)", f"{m['put'] * 1000:.1f} ms, {m['new'] * 1000:.0f} ms", "20 ms, 1 s",
        m["put"] <= 0.02 and m["new"] <= 1)
    row("made twice because of a restart in the middle", f"{m['again']:,}", "1,000", m["again"] <= 1000)
    row("a start with nothing missing: to know it", f"{m['start']:.1f} s, {m['start_cpu']:.1f} s CPU, {m['start_texts']} texts", "10 s",
        m["start"] <= 10 and m["start_texts"] <= 1)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="cenote-backlog-") as d:
        print(json.dumps(measure(pathlib.Path(d), int(sys.argv[1]) if len(sys.argv) > 1 else ITEMS, os.environ.get("BENCH_STORE"))))
