"""Load on a server in threads, and a record of what was answered: for tests that break something meanwhile.

Every thread puts keys of its own, one after another, each once, and reads one that was acknowledged before. `answers` has (what, status,
seconds, when, retry_after); status 0: the connection broke."""
import http.client
import json
import threading
import time


class Load:
    def __init__(self, server, threads=8, namespace="load", timeout=30, pause=0.0):
        self.server, self.namespace, self.timeout, self.pause = server, namespace, timeout, pause
        self.answers, self.acknowledged, self.refused = [], {}, {}
        self.lock, self.ending = threading.Lock(), threading.Event()
        self.threads = [threading.Thread(target=self.work, args=(i,), daemon=True) for i in range(threads)]

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.ending.set()
        for t in self.threads:
            t.join(self.timeout + 10)
            assert not t.is_alive(), "a request hung"

    def work(self, me):
        conn, mine, n = None, [], 0
        while not self.ending.is_set():
            key = f"{me}-{n}"
            conn, status, _ = self.call(conn, "put", "PUT", "/store/items", {"namespace": [self.namespace], "key": key, "value": {"v": key}})
            with self.lock:
                (self.acknowledged if status == 204 else self.refused)[key] = key
            if status == 204:
                mine.append(key)
            n += 1
            if mine:
                key = mine[(n * 7919) % len(mine)]
                conn, status, body = self.call(conn, "get", "GET", f"/store/items?namespace={self.namespace}&key={key}")
                if status == 200:
                    item = json.loads(body)
                    assert item and item["value"] == {"v": key}, f"{key} was acknowledged and is not there: {body!r}"
            if self.pause:
                time.sleep(self.pause)
        if conn:
            conn.close()

    def call(self, conn, what, method, path, body=None):
        began, retry, data = time.monotonic(), None, b""
        try:
            if conn is None:
                conn = http.client.HTTPConnection(self.server.host, self.server.port, timeout=self.timeout)
            conn.request(method, path, json.dumps(body) if body else None, {"Content-Type": "application/json"} if body else {})
            r = conn.getresponse()
            data, status, retry = r.read(), r.status, r.headers.get("Retry-After")
        except (OSError, http.client.HTTPException):
            status = 0
            conn = None
        now = time.monotonic()
        with self.lock:
            self.answers.append((what, status, now - began, now, retry, data if status not in (200, 204) else b""))
        return conn, status, data

    # ---- what it saw
    def failed(self):
        return [a for a in self.answers if a[1] not in (200, 204)]

    def statuses(self):
        return sorted({a[1] for a in self.answers})

    def slowest(self):
        return max(a[2] for a in self.answers)

    def first_success_after(self, when):
        """Seconds from `when` to the first successful put that began after it; None: there was none."""
        times = [a[3] - when for a in self.answers if a[0] == "put" and a[1] == 204 and a[3] - a[2] > when]
        return min(times) if times else None

    def check_stored(self, database, schema="public"):
        """Every acknowledged item is in the table, once, with its value; and nothing that was never sent."""
        import psycopg
        with psycopg.connect(database) as c:
            rows = dict(c.execute(f'SELECT key, value->>\'v\' FROM "{schema}".store WHERE prefix = %s', (self.namespace,)).fetchall())
        missing = [k for k in self.acknowledged if rows.get(k) != k]
        assert not missing, f"{len(missing)} acknowledged items are missing or differ: {missing[:5]}"
        strange = [k for k in rows if k not in self.acknowledged and k not in self.refused]
        assert not strange, strange[:5]
        return rows
