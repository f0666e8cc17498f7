"""A stub of a Databricks workspace: says what functions of Unity Catalog are, and carries SQL statements out as the test wants it. Records what it got.

    with Workspace(function("main.tools.add", {"a": "int", "b": ("int", "5")}, "int")) as w:
        w.carry_out = lambda statement, values: 7          # a value, a Table, Failed(..), or None: it runs until it is cancelled
        w.fault = lambda method, path: (503, {"Retry-After": "1"}, b"")     # or None: all is well
        w.pending = 2                                      # so often a statement is looked at before it has ended
        w.statements                                       # bodies of submitted statements, newest last
        w.cancelled                                        # ids of those that were cancelled"""
import json
import threading
import urllib.parse

from server import PATIENCE
from stub import Stub

TOKEN = "dapi-secret-1234"


def function(full, parameters, data_type="STRING", comment="of a test"):
    """parameters: {name: type, or (type, default)}"""
    listed = []
    for i, (name, t) in enumerate(parameters.items()):
        t, default = t if isinstance(t, tuple) else (t, None)
        listed.append({"name": name, "type_text": t, "type_name": t.split("<")[0].split("(")[0].upper(), "position": i, "comment": f"the {name}",
                       **({"parameter_default": default} if default is not None else {})})
    return {"full_name": full, "comment": comment, "data_type": data_type, "full_data_type": data_type, "input_params": {"parameters": listed}}


class Table:
    """columns: {name: type_name}; chunks: lists of rows of texts and None."""

    def __init__(self, columns, *chunks, truncated=False):
        self.columns, self.chunks, self.truncated = columns, list(chunks) or [[]], truncated


class Failed:
    def __init__(self, code, message, sql_state="XX000"):
        self.status = {"state": "FAILED", "error": {"error_code": code, "message": message}, "sql_state": sql_state}


class Workspace(Stub):
    def __init__(self, *functions, port=0):
        self.functions, self.port = {f["full_name"]: f for f in functions}, port
        self.fault, self.carry_out, self.pending = lambda method, path: None, lambda statement, values: "fine", 0
        self.lock, self.over = threading.Condition(), False
        self.seen, self.statements, self.cancelled, self.running, self.contexts = [], [], [], {}, []

    def __exit__(self, *exc):
        self.over = True
        super().__exit__(*exc)

    def until(self, what, wait=PATIENCE):
        """Waits until what() is so, which every request may have changed."""
        with self.lock:
            assert self.lock.wait_for(what, wait), (self.seen[-20:], self.statements)

    def send(self, h, status, body, headers=None):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        h.send_response(status)
        for k, v in {"Content-Type": "application/json", "Content-Length": str(len(data)), **(headers or {})}.items():
            h.send_header(k, v)
        h.end_headers()
        h.wfile.write(data)

    def handle(self, h):
        body = self.body(h)
        if self.over:  # a connection that was kept
            h.close_connection = True
            return
        path = urllib.parse.unquote(h.path)
        with self.lock:
            self.seen.append((h.command, path))
            self.contexts.append(h.headers.get("traceparent"))
            answer = self.fault(h.command, path) or self.answer(h, path, json.loads(body) if body else None)
            self.lock.notify_all()
        self.send(h, answer[0], answer[2], answer[1])

    def answer(self, h, path, body):
        def refused(status, code, message):
            return status, {}, {"error_code": code, "message": message, "details": []}

        if h.headers.get("Authorization") != f"Bearer {TOKEN}":
            return refused(401, "UNAUTHENTICATED", f"{h.headers.get('Authorization')} is no token of ours")
        kind, _, rest = path.removeprefix("/api/").partition("/functions/")
        if kind == "2.1/unity-catalog":
            f = self.functions.get(rest)
            return (200, {}, f) if f else refused(404, "RESOURCE_DOES_NOT_EXIST", f"Function '{rest}' does not exist.")
        if h.command == "POST" and path == "/api/2.0/sql/statements":
            return 200, {}, self.submit(body)
        part = path.removeprefix("/api/2.0/sql/statements/").split("/")
        if part[0] not in self.running:
            return refused(404, "NOT_FOUND", "no such statement")
        if h.command == "POST" and part[1:] == ["cancel"]:
            self.cancelled.append(part[0])
            return 200, {}, {}
        if part[1:2] == ["result"]:
            return 200, {}, self.chunk(self.running[part[0]][1], int(part[3]))
        return 200, {}, self.look(part[0])

    def submit(self, body):
        id = f"01ef-{len(self.statements)}"
        self.statements.append(body)
        # What a warehouse would refuse: markers without a value, and values that are not asked for.
        values = {p["name"]: p["value"] for p in body["parameters"]}
        assert all(f":{name}" in body["statement"] for name in values)
        self.running[id] = [self.pending, self.carry_out(body["statement"], values)]
        return self.look(id)

    def look(self, id):
        left, result = self.running[id]
        if left or result is None:
            self.running[id][0] = max(left - 1, 0)
            return {"statement_id": id, "status": {"state": "RUNNING" if left != self.pending else "PENDING"}}
        if isinstance(result, Failed):
            return {"statement_id": id, "status": result.status}
        table = result if isinstance(result, Table) else Table({"value": "STRING"}, [[None if result == "NULL" else str(result)]])
        self.running[id][1] = table
        columns = [{"name": n, "position": i, "type_name": t, "type_text": t} for i, (n, t) in enumerate(table.columns.items())]
        return {"statement_id": id, "status": {"state": "SUCCEEDED"}, "result": self.chunk(table, 0),
                "manifest": {"format": "JSON_ARRAY", "schema": {"column_count": len(columns), "columns": columns}, "truncated": table.truncated,
                             "total_row_count": sum(map(len, table.chunks)), "total_chunk_count": len(table.chunks)}}

    def chunk(self, table, i):
        rows = table.chunks[i]
        more = {"next_chunk_index": i + 1, "next_chunk_internal_link": "/x"} if i + 1 < len(table.chunks) else {}
        return {"chunk_index": i, "row_count": len(rows), **({"data_array": rows} if rows else {}), **more}
