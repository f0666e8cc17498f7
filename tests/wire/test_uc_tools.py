"""Functions of Unity Catalog as tools, by settings alone: what the model is offered, which statement a call becomes, and what is told of failures."""
import contextlib
import json
import re
import socket
import struct
import time

import openai
import pytest

from server import PATIENCE
from test_tools import Script, call, offered, outputs, with_tools
from uc_server import TOKEN, Failed, Table, Workspace, function

pytestmark = pytest.mark.stores("sqlite")
ADD = function("main.tools.add", {"a": "int", "q": "string", "b": ("int", "5"), "c": ("string", "'x'")}, "INT")
THREATS = function("main.cyber.get_cyber_threat_info", {"threat_type": "string"}, "TABLE_TYPE", "The latest threats of a type.")
KINDS = function("main.tools.kinds", {"n": "decimal(10,2)", "list": "array<struct<a:int,b:string>>", "raw": "binary", "any": "variant", "day": "date", "yes": "boolean"})
NAMES = ["main.tools.add", "main.cyber.get_cyber_threat_info", "main.tools.kinds"]
TOOLS = [n.replace(".", "__") for n in NAMES]


@pytest.fixture(scope="module")
def uc():
    with Workspace(ADD, THREATS, KINDS) as w:
        yield w


class Opened:
    def __init__(self, server, model):
        self.server, self.model, self.logged = server, model, server.logged

    def metric(self, name):
        return float(re.search(rf"^cenote_uc_{name} (.*)$", self.server.request("GET", "/metrics").body.decode(), re.M).group(1))

    def until(self, what):
        deadline = time.monotonic() + PATIENCE
        while not what():
            assert time.monotonic() < deadline, "".join(self.server.log[-20:])
            time.sleep(0.02)
        return self

    def ask(self, *calls, **more):
        """Outputs of the calls of one turn."""
        Script(self.model, *([list(calls)] if calls else []), "Done.")
        with openai.OpenAI(api_key="x", base_url=self.server.url + "/v1", max_retries=0) as c:
            r = c.responses.create(model="scripted", input="go", **more)
        assert r.status == "completed" and r.output_text.endswith("Done.")
        return outputs(r)


def settings(port, *names, **more):
    return {"DATABRICKS_HOST": f"http://127.0.0.1:{port}/?o=1", "DATABRICKS_TOKEN": TOKEN, "DATABRICKS_WAREHOUSE_ID": "abc123",
            "CENOTE_TOOLS_UC_FUNCTIONS": ",".join(names), **more}


@pytest.fixture(scope="module")
def opening(start, model):
    @contextlib.contextmanager
    def opening(env, *args):
        with with_tools(start, "sqlite", model, *args, env=env) as s:
            yield Opened(s, model)

    return opening


@pytest.fixture(scope="module")
def opened(opening, uc):
    with opening(settings(uc.port, *NAMES), "--tools-max-result", "1KiB") as o:
        yield o.until(lambda: o.metric("functions_offered") == 3)


@pytest.fixture(autouse=True)
def calm(model, uc):
    model.script()
    model.requests.clear()
    uc.statements.clear()
    uc.cancelled.clear()
    uc.seen.clear()
    uc.contexts.clear()
    uc.fault, uc.carry_out, uc.pending = lambda method, path: None, lambda statement, values: "fine", 0


def test_by_the_file_of_an_agent(opening, uc, model, tmp_path):
    """config.yaml as an agent has it: the model is offered what the catalog says, a call is a statement with parameters, its answer goes back."""
    config = tmp_path / "config.yaml"
    config.write_text("llm_prompt_template: Call main__tools__add for sums.\nuc_tool_names: [main.tools.add]\ntools.uc_warehouse_id: abc123\n")
    with opening({"DATABRICKS_HOST": uc.url, "DATABRICKS_TOKEN": TOKEN}, "--config", str(config)) as o:
        o.until(lambda: o.metric("functions_offered") == 1)
        assert uc.seen == [("GET", "/api/2.1/unity-catalog/functions/main.tools.add")]
        uc.carry_out = lambda statement, values: int(values["a"]) + 35
        assert o.ask(call("main__tools__add", {"a": 7.0, "q": "x"})) == ["42"]
        assert model.requests[-1]["messages"][0]["content"].startswith("Call main__tools__add")
        assert model.requests[-1]["tools"] == [{"type": "function", "function": {"name": "main__tools__add", "description": "of a test", "parameters": {
            "type": "object", "required": ["a", "q"], "additionalProperties": False, "properties": {
                "a": {"type": "integer", "minimum": -2**31, "maximum": 2**31 - 1, "description": "the a"}, "q": {"type": "string", "description": "the q"},
                "b": {"type": "integer", "minimum": -2**31, "maximum": 2**31 - 1, "description": "the b (default: 5)"},
                "c": {"type": "string", "description": "the c (default: 'x')"}}}}}]
        assert "42" in json.dumps(model.requests[-1]["messages"][-1])
        (s,) = uc.statements
        assert s["warehouse_id"] == "abc123" and s["statement"] == "SELECT `main`.`tools`.`add`(:a, :q)" and s["on_wait_timeout"] == "CONTINUE"
        assert s["parameters"] == [{"name": "a", "value": "7", "type": "INT"}, {"name": "q", "value": "x", "type": "STRING"}]
        assert o.logged("a function of Unity Catalog", "main__tools__add") and TOKEN not in "".join(o.server.log) + json.dumps(model.requests)


def test_arguments(opened, uc):
    """What a model writes is a value and nothing else; what does not fit is not sent."""
    hostile = "x'); DROP TABLE t; -- ` :a \\ \n é\0"
    out = opened.ask(call(TOOLS[0], {"a": 1e3, "q": hostile, "c": hostile}, "a"),
                     call(TOOLS[2], {"n": 1.50, "list": [{"a": 1, "b": hostile}], "raw": "QUJD", "any": {"x": [hostile]}, "day": "2026-01-02", "yes": True}, "b"),
                     call(TOOLS[0], {"a": "1", "q": ""}, "c"), call(TOOLS[0], {"a": 2**31, "q": ""}, "d"), call(TOOLS[0], {"q": ""}, "e"),
                     call(TOOLS[0], {"a": 1, "q": "", "`z`": 1}, "f"))
    assert out[:2] == ["fine", "fine"] and len(uc.statements) == 2
    for o, why in zip(out[2:], ["a must be of type integer", "a must be at most", "a is missing", "there is no argument `z`"]):
        assert o.startswith(f"Error: {TOOLS[0]}: ") and why in o
    one, two = uc.statements
    assert one["statement"] == "SELECT `main`.`tools`.`add`(:a, :q, `c` => :c)"
    assert [p["value"] for p in one["parameters"]] == ["1000", hostile, hostile]
    assert two["statement"] == ("SELECT `main`.`tools`.`kinds`(:n, from_json(:list, 'array<struct<a:int,b:string>>'), unbase64(:raw), parse_json(:any), :day, :yes)")
    values = {p["name"]: (p["type"], p["value"]) for p in two["parameters"]}
    assert json.loads(values.pop("list")[1]) == [{"a": 1, "b": hostile}] and json.loads(values.pop("any")[1]) == {"x": [hostile]}
    assert values == {"n": ("DECIMAL(10,2)", "1.5"), "raw": ("STRING", "QUJD"), "day": ("DATE", "2026-01-02"), "yes": ("BOOLEAN", "true")}


def test_tables(opened, uc):
    columns = {"id": "LONG", "when": "TIMESTAMP", "open": "BOOLEAN", "tags": "ARRAY", "odd": "DOUBLE"}
    uc.pending, uc.carry_out = 2, lambda *a: Table(columns, [["7", "2026", "true", '["a"]', "1.5"]], [["8", None, None, "no json", "NaN"]])
    (out,) = opened.ask(call(TOOLS[1], {"threat_type": "malware"}))
    assert uc.statements[0]["statement"] == "SELECT * FROM `main`.`cyber`.`get_cyber_threat_info`(:threat_type)"
    assert json.loads(out) == [{"id": 7, "when": "2026", "open": True, "tags": ["a"], "odd": 1.5}, {"id": 8, "when": None, "open": None, "tags": "no json", "odd": "NaN"}]
    assert [p for m, p in uc.seen] == ["/api/2.0/sql/statements"] + 2 * ["/api/2.0/sql/statements/01ef-0"] + ["/api/2.0/sql/statements/01ef-0/result/chunks/1"]
    uc.pending, uc.carry_out = 0, lambda *a: Table({"x": "STRING"}, [["é" * 100]] * 3, [["é" * 100]] * 200, [["never read"]])
    (out,) = opened.ask(call(TOOLS[1], {"threat_type": "x"}))
    rows, note = out.rsplit("\n", 1)
    assert len(json.loads(rows)) == 4 and note == "[the first 4 rows of 204]" and len(out.encode()) <= 1024 and uc.seen[-1][1].endswith("chunks/1")
    uc.carry_out = lambda *a: Table({"x": "INT"}, [["1"], ["2"]], truncated=True)
    assert opened.ask(call(TOOLS[1], {"threat_type": "x"})) == ['[{"x":1},\n{"x":2}]\n[the first 2 rows; there are more]']
    for result, said in [(Table({"x": "INT"}), "[]"), (Table({"x": "STRING"}, [["y" * 2000]]), '[{"x":"' + "y" * 1017 + "\n[cut after 1024 bytes]"),
                         (Table({"x": "INT"}, [["1", "2"]]), f"Error: {TOOLS[1]}: {NAMES[1]}: a row of the workspace's answer does not have its columns")]:
        uc.carry_out = lambda *a: result
        assert opened.ask(call(TOOLS[1], {"threat_type": "x"})) == [said]


@pytest.mark.parametrize("result, said", [
    ("NULL", "null"), ("", "(the function's answer is empty)"), (TOKEN, "Error: main__tools__add: main.tools.add: the workspace's answer repeats the token"),
    (Failed("BAD_REQUEST", "[DIVIDE_BY_ZERO] Division by zero.\nSQLSTATE: 22012"), "Error: main__tools__add: main.tools.add: the statement failed (BAD_REQUEST): [DIVIDE_BY_ZERO] Division"),
    (Failed("BAD_REQUEST", "[INSUFFICIENT_PERMISSIONS] no EXECUTE", "42501"), "Error: main__tools__add: main.tools.add: the workspace does not allow this (BAD_REQUEST): [INSUF"),
    (Failed("UNKNOWN", "the token is " + TOKEN), "Error: main__tools__add: main.tools.add: "), ("é" * 600, "é" * 512 + "\n[cut after 1024 bytes]")])
def test_results(opened, uc, result, said):
    uc.carry_out = lambda *a: result
    (out,) = opened.ask(call(TOOLS[0], {"a": 1, "q": "x"}))
    assert out.startswith(said) and "\n" not in out.removesuffix("\n[cut after 1024 bytes]") and TOKEN not in out and not uc.cancelled


DENIED = {"error_code": "PERMISSION_DENIED", "message": "User does not have EXECUTE on Function 'main.tools.add'."}


@pytest.mark.parametrize("status, body, said", [
    (403, DENIED, "the workspace does not allow this (403 PERMISSION_DENIED): User does not have EXECUTE on Function 'main.tools.add'."),
    (400, DENIED, "the workspace does not allow this (400 PERMISSION_DENIED): "), (401, b"UNAUTHENTICATED: expired", "the workspace refuses the token (401 UNAUTHENTICATED): expired"),
    (404, {"error_code": "NOT_FOUND", "message": "no warehouse"}, "the workspace does not know this (404 NOT_FOUND): no warehouse"), (500, b"<html><pre>boom</pre>", "refuses this (500)"),
    (307, b"", "a redirect, which is not followed"), (200, b"[]", "no JSON object"), (200, b"{}", "no id of the statement"), (200, b'{"statement_id":"a/../b"}', "no id of the statement"),
    (200, {"statement_id": "a", "status": {"state": "ODD"}}, "no state of the statement"), (400, {"error": "bad " + TOKEN}, "the workspace refuses this (400)")])
def test_refusals(opened, uc, status, body, said):
    """The error names the function, and the turn goes on."""
    uc.fault = lambda method, path: (status, {"Location": "http://169.254.169.254/"}, body)
    (out,) = opened.ask(call(TOOLS[0], {"a": 1, "q": "x"}))
    assert out.startswith("Error: main__tools__add: main.tools.add: ") and said in out and TOKEN not in out and len(uc.seen) == 1


def test_the_trace_goes_on(opened, uc):
    uc.pending = 1
    parent = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01"
    opened.ask(call(TOOLS[1], {"threat_type": "x"}), extra_headers={"traceparent": parent})
    assert uc.contexts == [parent] * 2 and [m for m, _ in uc.seen] == ["POST", "GET"]


def test_throttling(opened, uc):
    left = [(429, {"Retry-After-Ms": "1"}, b""), (503, {"Retry-After-Ms": "1"}, {"error_code": "TEMPORARILY_UNAVAILABLE", "message": "m"})]
    uc.fault = lambda method, path: left.pop(0) if left else None
    assert opened.ask(call(TOOLS[0], {"a": 1, "q": "x"})) == ["fine"] and len(uc.seen) == 3 and len(uc.statements) == 1
    uc.fault = lambda method, path: (429, {"Retry-After": "3000"}, {"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "slow down"})
    assert "too many requests, or is not ready (429 REQUEST_LIMIT_EXCEEDED): slow down" in opened.ask(call(TOOLS[0], {"a": 1, "q": "x"}))[0] and len(uc.seen) == 4


def test_slow_ones_are_cancelled(opening, uc, model):
    """At the end of the call's time, and when nobody waits for it any more."""
    with opening(settings(uc.port, NAMES[0]), "--tools-uc-timeout", "3s") as o:
        o.until(lambda: o.metric("functions_offered") == 1)
        uc.carry_out = lambda *a: None
        assert o.ask(call(TOOLS[0], {"a": 1, "q": "x"})) == ["Error: main__tools__add: it did not answer within 3000 ms"]
        uc.until(lambda: uc.cancelled == ["01ef-0"])
        assert len([1 for m, p in uc.seen if p.endswith("/01ef-0")]) >= 2
    with opening(settings(uc.port, NAMES[0]), "--tools-timeout", "10m") as o:
        o.until(lambda: o.metric("functions_offered") == 1)
        Script(model, [call(TOOLS[0], {"a": 1, "q": "x"})], "Done.")
        uc.seen.clear()
        body = json.dumps({"input": "go", "stream": True})
        with socket.create_connection((o.server.host, o.server.port)) as s:
            s.sendall(f"POST /v1/responses HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
            uc.until(lambda: any(p.endswith("/01ef-1") for m, p in uc.seen))
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        uc.until(lambda: uc.cancelled == ["01ef-0", "01ef-1"])


def test_what_is_not_there_at_the_start(opening, model):
    """Nothing waits for a workspace. A function that it does not know, or has no form for, is left out and comes when it can."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    with opening(settings(port, *NAMES, "main.tools.later", "main.tools.odd")) as o:
        o.until(lambda: o.metric("failures_total") >= 2)
        o.ask()
        assert not offered(model) and o.metric("functions") == 5 and o.metric("functions_offered") == 0
        assert len(o.logged("does not say what functions are", "not reachable")) == 1
        odd = function("main.tools.odd", {"x": "interval day"})
        with Workspace(ADD, THREATS, KINDS, odd, port=port) as w:
            o.until(lambda: o.metric("functions_offered") == 3)
            assert o.logged("is not offered", "main.tools.later", "does not exist") and o.logged("is not offered", "main.tools.odd", "its parameter x: there is no argument for the type interval day")
            w.functions["main.tools.later"] = function("main.tools.later", {}, comment="")
            o.until(lambda: o.metric("functions_offered") == 4)
            o.ask()
            assert offered(model) == TOOLS + ["main__tools__later"]
            assert model.requests[-1]["tools"][-1]["function"] == {"name": "main__tools__later", "description": "The function main.tools.later.", "parameters": {
                "type": "object", "properties": {}, "additionalProperties": False}}
            assert o.ask(call("main__tools__later")) == ["fine"] and w.statements[-1]["statement"] == "SELECT `main`.`tools`.`later`()"
            assert len(o.logged("is not offered", "main.tools.odd")) == 1
        # What is known of them stays; a call says what is wrong.
        assert "main.tools.add: " in o.ask(call(TOOLS[0], {"a": 1, "q": "x"}))[0] and offered(model)


def test_one_that_the_workspace_fails_at(opening, uc, model):
    uc.fault = lambda method, path: (500, {}, b"") if "broken" in path else None
    with opening(settings(uc.port, "main.tools.broken", *NAMES)) as o:
        o.until(lambda: o.metric("functions_offered") == 3)
        o.ask()
        assert offered(model) == TOOLS and len(o.logged("does not say what functions are", "main.tools.broken", "500")) >= 1


def test_one_question(uc, model, tmp_path):
    """Without a server nothing runs in the background: the turn asks for the functions itself."""
    from server import run
    Script(model, [call(TOOLS[0], {"a": 1, "q": "x"})], "Added.")
    r = run("ask", "--llm-base-url", model.url, "--llm-model", "scripted", "go", check=0,
            env={**settings(uc.port, NAMES[0]), "CENOTE_STORE": f"sqlite:{tmp_path / 'data'}", "CENOTE_DATA": tmp_path / "data"})
    assert "Added." in r.stdout and len(uc.statements) == 1


@pytest.mark.parametrize("env, part", [
    ({"DATABRICKS_HOST": ""}, "needs tools.uc_host (or DATABRICKS_HOST)"), ({"DATABRICKS_TOKEN": ""}, "needs tools.uc_token"),
    ({"DATABRICKS_WAREHOUSE_ID": ""}, "needs tools.uc_warehouse_id"), ({"DATABRICKS_WAREHOUSE_ID": "a b"}, "must be the id of a SQL warehouse"),
    ({"DATABRICKS_HOST": "http://workspace.example.com"}, "must be https://HOST: a token is not sent in the clear"), ({"DATABRICKS_HOST": "ftp://x"}, "must be https://HOST"),
    ({"CENOTE_TOOLS_UC_HOST": "https://other.example.com"}, ""), ({"CENOTE_TOOLS_UC_FUNCTIONS": "main.tools"}, '"main.tools" must be CATALOG.SCHEMA.FUNCTION'),
    ({"CENOTE_TOOLS_UC_FUNCTIONS": "main.tools.*"}, '"main.tools.*" stands for a whole schema: name its functions one by one'),
    ({"CENOTE_TOOLS_UC_FUNCTIONS": "a.b.c,a__b.c"}, '"a__b.c" must be'), ({"CENOTE_TOOLS_UC_FUNCTIONS": "a.b.c,a.b__c.d,a__b.c.d"}, "the model would know as a__b__c__d"),
    ({"CENOTE_TOOLS_UC_FUNCTIONS": ",".join(f"a.b.f{i}" for i in range(65))}, "more than 64 functions")])
def test_wrong_settings(opening, env, part):
    """A host of one's own goes with a token of one's own: that of the environment belongs to the environment's host."""
    with pytest.raises(RuntimeError) as e, opening({**settings(1, "main.tools.add"), **env}):
        pass
    assert (part or "needs tools.uc_token") in str(e.value) and TOKEN not in str(e.value)
