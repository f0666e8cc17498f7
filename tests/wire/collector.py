"""A collector of OTLP over HTTP on a port of its own: keeps what came, refuses on demand; and a real MLflow server (build/mlflow).

    with Collector() as c:
        c.script(503, 429)        # statuses of the next requests; then 200
        c.spans()                 # [{"trace", "id", "parent", "name", "attributes", "status"}], in the order in which they came"""
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import threading

from stub import Stub

TREE = pathlib.Path(__file__).resolve().parents[2]


def fields(data):
    """(number, value) of a protobuf message: ints, and bytes."""
    at = 0

    def varint():
        nonlocal at
        v = shift = 0
        while True:
            b = data[at]
            at += 1
            v |= (b & 127) << shift
            shift += 7
            if b < 128:
                return v

    while at < len(data):
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
        elif key & 7 == 1:
            yield key >> 3, struct.unpack_from("<Q", data, at)[0]
            at += 8
        else:
            assert key & 7 == 2, "a wire type that traces do not use"
            n = varint()
            yield key >> 3, data[at:at + n]
            assert len(data) >= at + n
            at += n


def value(data):
    (n, v), = fields(data)
    if n == 1:
        return v.decode()
    return {2: bool, 3: lambda x: x - (1 << 64) if x >> 63 else x, 4: lambda x: struct.unpack("<d", struct.pack("<Q", x))[0]}[n](v)


def attribute(data):
    f = dict(fields(data))
    return f[1].decode(), value(f[2])


def span(data):
    s = {"attributes": {}, "parent": "", "status": 0, "message": "", "state": ""}
    for n, v in fields(data):
        if n in (1, 2, 4):
            s[{1: "trace", 2: "id", 4: "parent"}[n]] = v.hex()
        elif n in (3, 5):
            s["state" if n == 3 else "name"] = v.decode()
        elif n in (7, 8):
            s["start" if n == 7 else "end"] = v
        elif n == 9:
            key, val = attribute(v)
            assert key not in s["attributes"], f"{key} twice"
            s["attributes"][key] = val
        elif n == 15:
            f = dict(fields(v))
            s["status"], s["message"] = f.get(3, 0), f.get(2, b"").decode()
    return s


class Collector(Stub):
    def __init__(self):
        self.requests, self.todo = [], []  # (path, headers, body)
        self.came = threading.Condition()

    def script(self, *statuses):
        with self.came:
            self.todo = list(statuses)

    def wait(self, n, timeout=30):
        """Until n requests have come."""
        with self.came:
            assert self.came.wait_for(lambda: len(self.requests) >= n, timeout), f"{len(self.requests)} requests came, not {n}"

    def spans(self, taken_only=True):
        got = []
        for _, _, body, status in self.requests:
            if taken_only and status != 200:
                continue
            for _, resource in fields(body):
                for n, scope in fields(resource):
                    got += [span(v) for m, v in fields(scope) if n == 2 and m == 2]
        return got

    def wait_spans(self, n, timeout=30):
        with self.came:
            assert self.came.wait_for(lambda: len(self.spans()) >= n, timeout), f"{len(self.spans())} spans came, not {n}"
        return self.spans()

    def handle(self, h):
        body = self.body(h)
        with self.came:
            status = self.todo.pop(0) if self.todo else 200
            self.requests.append((h.path, dict(h.headers), body, status))
            self.came.notify_all()
        h.send_response(status)
        h.send_header("Content-Length", "0")
        h.end_headers()


# -------------------------------------------------------------------- MLflow

MLFLOW = TREE / "build" / "mlflow" / "bin" / "python"


class Mlflow:
    """A tracking server with an SQLite store of its own in `folder`. The first one ever makes the tables, which takes some seconds; they are kept beside
    the installation as a template."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)

    @staticmethod
    def installed():
        return MLFLOW.exists()

    def env(self):
        return {**{k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "_MLFLOW"))}, "MLFLOW_DISABLE_TELEMETRY": "true",
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{self.folder}/mlflow.db",
                "_MLFLOW_SERVER_ARTIFACT_ROOT": str(self.folder / "artifacts")}

    def database(self):
        template = MLFLOW.parents[1] / "template.db"
        if not template.exists():
            made = self.folder / "template.db"
            subprocess.run([MLFLOW, "-c", "import sys; from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore\n"
                            "SqlAlchemyStore('sqlite:///' + sys.argv[1], sys.argv[2])", made, self.folder / "artifacts"], env=self.env(), check=True,
                           capture_output=True, timeout=300)
            shutil.copy(made, f"{template}.{os.getpid()}")
            os.replace(f"{template}.{os.getpid()}", template)
        shutil.copy(template, self.folder / "mlflow.db")

    def __enter__(self):
        self.database()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
            # The very socket goes to the server: no other program can take the port meanwhile, and connections wait until it accepts.
            free.set_inheritable(True)
            self.log = open(self.folder / "mlflow.log", "wb")
            self.process = subprocess.Popen([MLFLOW, "-m", "uvicorn", "--fd", str(free.fileno()), "mlflow.server.fastapi_app:app"], env=self.env(),
                                            cwd=self.folder, stdout=self.log, stderr=subprocess.STDOUT, pass_fds=[free.fileno()])
        self.url = f"http://127.0.0.1:{self.port}"
        try:
            assert self.call("GET", "/version", raw=True)
        except Exception as e:
            raise RuntimeError((self.folder / "mlflow.log").read_text()[-2000:]) from e
        return self

    def __exit__(self, *exc):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()

    def call(self, method, path, body=None, raw=False):
        conn = http.client.HTTPConnection("127.0.0.1", self.port, timeout=240)
        try:
            conn.request(method, path, json.dumps(body).encode() if body is not None else None, {"Content-Type": "application/json"})
            r = conn.getresponse()
            data = r.read()
            assert r.status == 200, (r.status, data)
            return data if raw else json.loads(data)
        finally:
            conn.close()

    def experiment(self, name):
        return self.call("POST", "/api/2.0/mlflow/experiments/create", {"name": name})["experiment_id"]

    def traces(self, experiment, filter=None):
        return self.call("POST", "/api/3.0/mlflow/traces/search", {
            "locations": [{"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment}}], "max_results": 100,
            **({"filter": filter} if filter else {})}).get("traces", [])

    def spans(self, trace_id):
        t = self.call("GET", f"/api/3.0/mlflow/traces/get?trace_id={trace_id}&allow_partial=true")["trace"]
        return [{**s, "attributes": {a["key"]: plain(a["value"]) for a in s["attributes"]}} for s in t["spans"]]


def plain(v):
    """An AnyValue as JSON."""
    (kind, x), = v.items() or [("string_value", None)]
    if kind == "kvlist_value":
        return {a["key"]: plain(a["value"]) for a in x.get("values", [])}
    if kind == "array_value":
        return [plain(a) for a in x.get("values", [])]
    return x
