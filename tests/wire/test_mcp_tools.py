"""Tools of MCP servers that the file of the tools names: what the model is offered of them, what becomes of calls, and of servers that are not as they should be."""
import json
import re
import socket
import time

import openai
import pytest

from mcp_server import McpServer, tool
from server import PATIENCE
from test_tools import Script, call, offered, outputs, with_tools

pytestmark = pytest.mark.stores("sqlite")
KEY = "sk-mcp-1234"
CITY = {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "required": ["city"], "$defs": {"d": {"type": "integer"}},
        "properties": {"city": {"type": "string", "minLength": 2}, "days": {"anyOf": [{"$ref": "#/$defs/d"}, {"type": "null"}]}, "any": True}}


@pytest.fixture(scope="module")
def mcp():
    with McpServer(tool("forecast", CITY), tool("echo"), tool("hidden"), tool("get_user_memory")) as m:
        yield m


def entry(m, **kw):
    return {"mcp": "docs", "url": f"http://{m.host}/mcp?x=1", "headers": {"Authorization": {"env": "DOCS_KEY", "prefix": "Bearer "}}, **kw}


class Opened:
    def __init__(self, server, model):
        self.server, self.model = server, model

    def metric(self, name, of="docs"):
        return float(re.search(rf'^cenote_tool_server_{name}{{server="{of}"}} (.*)$', self.server.request("GET", "/metrics").body.decode(), re.M).group(1))

    def until(self, what):
        deadline = time.monotonic() + PATIENCE
        while not what():
            assert time.monotonic() < deadline, "".join(self.server.log[-20:])
            time.sleep(0.02)

    def ask(self, *calls, user="ann"):
        """Outputs of the calls of one turn."""
        Script(self.model, *([list(calls)] if calls else []), "Done.")
        with openai.OpenAI(api_key="x", base_url=self.server.url + "/v1", max_retries=0) as c:
            return outputs(c.responses.create(model="scripted", input="go", **({"user": user} if user else {})))

    def logged(self, *parts, **how):
        return self.server.logged(*parts, **how)


@pytest.fixture(scope="module")
def opening(start, model, tmp_path_factory):
    import contextlib

    @contextlib.contextmanager
    def opening(hosts, *entries, args=()):
        path = tmp_path_factory.mktemp("tools") / "tools.json"
        path.write_text(json.dumps({"tools": list(entries)}))
        with with_tools(start, "sqlite", model, "--tools-file", str(path), "--tools-allow-hosts", hosts, *args,
                        env={"DOCS_KEY": KEY}) as s:
            yield Opened(s, model)

    return opening


@pytest.fixture(scope="module")
def opened(opening, mcp):
    with opening(mcp.host, entry(mcp, timeout_ms=3000), args=("--tools-max-result", "1KiB")) as o:
        o.until(lambda: o.metric("up") == 1)
        yield o


@pytest.fixture(autouse=True)
def calm(model, mcp):
    model.script()
    model.requests.clear()
    mcp.seen.clear()
    mcp.streamed, mcp.fault, mcp.call = False, lambda method: None, lambda name, arguments: name


def test_what_is_offered(opening, mcp, model):
    mcp.streamed = True
    with opening(mcp.host, entry(mcp, prefix="docs_", tools=["forecast", "get_user_memory", "gone"])) as o:
        o.until(lambda: o.metric("up") == 1)
        assert o.metric("tools") == 2 and o.metric("failures_total") == 0
        assert mcp.methods() == ["initialize", "notifications/initialized", "tools/list", "tools/list"]
        assert mcp.seen[0][1]["protocolVersion"] == "2025-11-25" and mcp.seen[0][1]["capabilities"] == {}
        assert all(h["Authorization"] == f"Bearer {KEY}" and "text/event-stream" in h["Accept"] for *_, h in mcp.seen)
        assert all(h["MCP-Protocol-Version"] == "2025-06-18" and h["Mcp-Session-Id"] in mcp.sessions for *_, h in mcp.seen[1:])
        assert [p.get("cursor") for m, p, _ in mcp.seen if m == "tools/list"] == [None, "2"]
        assert o.logged("gone", "docs") and not o.logged("hidden", wait=0)
        o.ask(user=None)
        assert offered(model) == ["docs_forecast", "docs_get_user_memory"]
        assert model.requests[-1]["tools"][0]["function"] == {"name": "docs_forecast", "description": "of a test", "parameters": CITY}
        assert o.ask(call("docs_forecast", {"city": "Rome"})) == ["forecast"]
        assert KEY not in "".join(o.server.log) + json.dumps(model.requests)


@pytest.mark.parametrize("streamed", [False, True])
def test_calls(opened, mcp, model, streamed):
    mcp.streamed = streamed
    mcp.call = lambda name, arguments: json.dumps([name, arguments])
    out = opened.ask(call("forecast", {"city": "Rome/é\"", "days": None, "more": [1.50]}, "a"), call("forecast", {"city": "R"}, "b"), call("forecast", {}, "c"),
                     call("echo", {}, "d"), user=None)
    assert json.loads(out[0]) == ["forecast", {"city": "Rome/é\"", "days": None, "more": [1.5]}] and json.loads(out[3]) == ["echo", {}]
    assert out[1].startswith("Error: forecast: city must") and "at least 2" in out[1]
    assert "city is missing" in out[2] and mcp.methods() == ["tools/call"] * 2
    # A name that is ours already stays ours, and the log says so.
    opened.ask(call("get_user_memory", {"query": "x"}))
    assert offered(model).count("get_user_memory") == 1 and mcp.methods() == ["tools/call"] * 2
    assert len(opened.logged("not offered", "get_user_memory", "already")) == 1
    # Where there is no user the name is not there, since ours is not.
    assert offered(model, 0) == ["forecast", "echo", "hidden"]


def text(s):
    return {"type": "text", "text": s}


@pytest.mark.parametrize("result, said", [
    ({"content": [text("one"), text("two")], "structuredContent": {"x": 1}}, "one\ntwo"),
    ({"content": [text("No such city: Rom\n" + "x" * 600)], "isError": True}, "Error: echo: No such city: Rom xxx"),
    ({"error": {"code": -32602, "message": "Unknown tool: echo"}}, "Error: echo: the server refuses this (-32602): Unknown tool: echo"),
    ({"content": [text("see:"), {"type": "image", "data": "QUJD" * 100, "mimeType": "image/png"}, {"type": "resource_link", "uri": "file:///a\nb", "name": "n"},
                  {"type": "resource", "resource": {"uri": "file:///c", "text": "inside"}}, {"type": "resource", "resource": {"uri": "file:///d", "blob": "QUJD"}}, {}]},
     "see:\n[image, image/png, 300 bytes, not shown]\n[resource_link n file:///a b, not shown]\ninside\n[resource file:///d, 3 bytes, not shown]\n[content, not shown]"),
    ({"content": [], "structuredContent": {"days": [1, 2]}}, '{"days": [1, 2]}'), ({"content": []}, "(the tool's answer is empty)"),
    ({"content": "x"}, "Error: echo: the server's result has content that is no list"), ({"content": [text("a\0b")]}, "Error: echo: the answer is no text"),
    ({"content": [text("é" * 3000)]}, "é" * 512 + "\n[cut after 1024 bytes]"), ({"content": [text("the key is " + KEY)]}, "Error: echo: the answer repeats the server's secret"),
    ({"error": {"code": 1, "message": KEY}}, "Error: echo: the answer repeats the server's secret"), ({"content": [text("x" * (5 << 20))]}, "Error: echo: the answer has more than")])
@pytest.mark.parametrize("streamed", [False, True])
def test_results(opened, mcp, result, said, streamed):
    mcp.streamed, mcp.call = streamed, lambda *a: result
    (out,) = opened.ask(call("echo"))
    if said.startswith("{"):  # as the server has it, blanks and all
        out = json.dumps(json.loads(out))
    assert (out == said if not said.startswith("Error") else out.startswith(said)) and KEY not in out and len(out) < 1200
    assert mcp.methods() == ["tools/call"], "nothing is tried again that the server has taken"


JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize("status, headers, body, said", [
    (401, {}, b'{"error": {"message": "token has expired"}}', "the service answered 401, which refuses the credential: token has expired"),
    (403, {"WWW-Authenticate": 'Bearer error="insufficient_scope"'}, b"", "the service answered 403, which does not allow this"),
    (400, {}, b'{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"bad"}}', "the service answered 400: bad"), (500, {}, b"boom" * (2 << 20), "the service answered 500"),
    (307, {"Location": "http://169.254.169.254/"}, b"", "a redirect, which is not followed"), (200, JSON, b'{"jsonrpc":', "cannot be read as JSON"),
    (200, {"Content-Type": "text/html"}, b"<html>", "neither with JSON nor with a stream"), (200, JSON, b'{"jsonrpc":"2.0","id":0,"result":{}}', "ended without a result"),
    (200, JSON, b"[]", "ended without a result"), (202, {}, b"", "neither with JSON nor"), (200, {"Content-Type": "text/event-stream"}, b"data: {}\n\n", "ended without a result"),
    (200, {"Content-Type": "text/event-stream"}, b"data: x\n\n", "cannot be read as JSON"), (200, JSON, b"{" * 100000, "cannot be read as JSON")])
def test_faults(opened, mcp, status, headers, body, said):
    mcp.fault = lambda method: (status, headers, body)
    (out,) = opened.ask(call("echo"))
    assert out.startswith("Error: echo: ") and said in out and len(mcp.seen) == 1


def test_a_call_that_does_not_end(opening, mcp, model):
    with opening(mcp.host, entry(mcp, timeout_ms=3000)) as o:
        o.until(lambda: o.metric("up") == 1)
        mcp.call = lambda *a: mcp.over.wait(60) or "late"
        assert o.ask(call("echo")) == ["Error: echo: it did not answer within 3000 ms"]
        # It is told that nobody waits any more.
        o.until(lambda: mcp.methods()[-2:] == ["tools/call", "notifications/cancelled"])
        assert mcp.seen[-1][1] == {"requestId": mcp.ids["tools/call"]}


def test_sessions_that_have_expired(opened, mcp):
    mcp.sessions.clear()
    assert opened.ask(call("echo"), call("echo", {}, "b")) == ["echo", "echo"]
    assert mcp.methods() == ["tools/call", "initialize", "notifications/initialized", "tools/call", "tools/call"]
    mcp.seen.clear()
    mcp.fault = lambda method: (404, {}, b"") if method == "tools/call" else None
    assert "the service answered 404" in opened.ask(call("echo"))[0]
    assert mcp.methods() == ["tools/call", "initialize", "notifications/initialized", "tools/call"], "once, and then it is an error"
    mcp.fault = lambda method: None
    assert opened.ask(call("echo")) == ["echo"]


def test_who_asks(opening, mcp, model):
    """With the user in a header each call has a session of its own, and nobody else is offered the tools."""
    mcp.sessions.clear()
    with opening(mcp.host, entry(mcp, headers={"X-User": {"principal": "user"}})) as o:
        o.until(lambda: o.metric("up") == 1)
        assert all("X-User" not in h for *_, h in mcp.seen)
        mcp.seen.clear()
        assert o.ask(call("echo"), user="ann") == o.ask(call("echo"), user="bob") == ["echo"]
        one = ["initialize", "notifications/initialized", "tools/call", "DELETE"]
        assert mcp.methods() == 2 * one and [h["X-User"] for *_, h in mcp.seen] == ["ann"] * 4 + ["bob"] * 4
        ids = [h.get("Mcp-Session-Id") for *_, h in mcp.seen]
        assert len(set(ids)) == 3 and len(mcp.sessions) == 1, "they are ended; the one that is left has listed the tools"
        o.ask(user=None)
        assert not offered(model)


def test_tools_that_cannot_be(opening, model):
    bad = [{}, {"name": 7}, tool("get weather"), tool("x" * 65), {"name": "bare"}, tool("text", {"type": "string"}), tool("big", {"type": "object", "description": "x" * 40000}),
           tool("typo", {"type": "object", "properties": {"a": {"type": "text"}}}), tool("required", {"type": "object", "required": [1]}), tool("fine"), tool("fine")]
    with McpServer(*bad) as one, McpServer(tool("fine"), tool("long", description="é" * 3000), *[tool(f"t{i}") for i in range(70)]) as two:
        two.page = 100
        with opening(f"{one.host},{two.host}", entry(one), entry(two, mcp="more")) as o:
            o.until(lambda: o.metric("up") + o.metric("up", "more") == 2)
            assert o.metric("tools") == 1 and o.metric("tools", "more") == 64
            o.ask(user=None)
            assert offered(model) == ["fine", "long"] + [f"t{i}" for i in range(62)]
            assert model.requests[-1]["tools"][1]["function"]["description"] == "é" * 1024
            for name, why in [("get weather", "A-Z a-z"), ("x" * 64, "A-Z a-z"), ("bare", "no inputSchema"), ("text", "must be object"), ("big", "32 KiB"),
                              ("typo", "inputSchema.properties.a.type"), ("required", "required"), ("t63", "more than 64")]:
                assert len(o.logged("not offered", name, why)) == 1, name
            assert o.logged("not offered", "docs", "two of this name") and len(o.logged("not offered", "more", "fine", "already")) == 1


def test_a_server_that_comes_later(opening, model):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    with opening(f"127.0.0.1:{port}", {"mcp": "docs", "url": f"http://127.0.0.1:{port}/mcp"}) as o:
        o.until(lambda: o.metric("failures_total") >= 2)
        o.ask(user=None)
        assert not offered(model) and o.metric("up") == 0
        assert len(o.logged("does not say which tools", "docs", "not reachable")) == 1
        with McpServer(tool("echo"), port=port) as m:
            o.until(lambda: o.metric("up") == 1)
            assert o.ask(call("echo"), user=None) == ["echo"]
        assert o.ask(call("echo"), user=None)[0].startswith("Error: echo: ")


@pytest.mark.parametrize("break_it", ["endless", "cursor", "version", "session", "list"])
def test_lists_that_cannot_be(opening, break_it):
    said = {"endless": "does not end", "cursor": "does not end", "version": "no revision of MCP", "session": "session id has characters", "list": "list of tools is none"}
    with McpServer(*[tool(f"t{i}") for i in range(100)]) as m:
        if break_it == "endless":
            m.tools_list = lambda params: {"tools": [], "nextCursor": str(len(m.seen))}
        elif break_it == "cursor":
            m.tools_list = lambda params: {"tools": [], "nextCursor": "same"}
        elif break_it == "version":
            m.version = "2026-07-28"
        elif break_it == "list":
            m.tools_list = lambda params: {"tools": {}}
        else:
            m.fault = lambda method: (200, {**JSON, "Mcp-Session-Id": "a b"}, json.dumps({"jsonrpc": "2.0", "id": len(m.seen), "result": {"protocolVersion": m.version}}).encode())
        with opening(m.host, entry(m)) as o:
            o.until(lambda: o.metric("failures_total") >= 1)
            assert o.metric("up") == 0 and o.logged("does not say which tools", said[break_it])
            assert len(m.seen) < 50


def test_one_question(mcp, model, tmp_path):
    """Without a server nothing runs in the background: the turn asks for the tools itself."""
    from server import run
    path = tmp_path / "tools.json"
    path.write_text(json.dumps({"tools": [entry(mcp)]}))
    Script(model, [call("echo")], "Echoed.")
    r = run("ask", "--llm-base-url", model.url, "--llm-model", "scripted", "--tools-file", path, "--tools-allow-hosts", mcp.host, "go", check=0,
            env={"DOCS_KEY": KEY, "CENOTE_STORE": f"sqlite:{tmp_path / 'data'}", "CENOTE_DATA": tmp_path / "data"})
    assert "Echoed." in r.stdout and mcp.methods()[-1] == "tools/call"


@pytest.mark.parametrize("change, part", [
    ({"url": "http://169.254.169.254/mcp"}, "is not in tools.allow_hosts"), ({"mcp": "a b"}, "mcp, the server's name, must be"), ({"mcp": 7}, "mcp must be a text"),
    ({"name": "x"}, "name"), ({"tools": []}, "a list of 1 to 64 names"), ({"tools": [1]}, "the name of a tool must be a text"), ({"prefix": "a."}, "prefix must be 1 to 32"),
    ({"headers": {"Mcp-Session-Id": "x"}}, "the protocol sets it"), ({"headers": {"X-Token": "t"}}, "must not stand here with its value"), ({"timeout_ms": 1}, "from 10 to 600000")])
def test_wrong_declarations(opening, change, part):
    with pytest.raises(RuntimeError) as e:
        with opening("docs.example.com", {"mcp": "docs", "url": "https://docs.example.com/mcp", **change}):
            pass
    assert part in str(e.value) and re.search(r"tools\.json:1:\d+: ", str(e.value))


def test_two_of_a_name(opening):
    with pytest.raises(RuntimeError, match='there is an MCP server "a" already'):
        with opening("x.example.com", *[{"mcp": "a", "url": "https://x.example.com/"}] * 2):
            pass


@pytest.mark.parametrize("whole", [True, False])
def test_the_server_of_the_python_package(opening, model, whole):
    """Written by others: mcp's own server, with answers as JSON and as streams."""
    import threading
    import uvicorn
    from mcp.server.mcpserver import MCPServer
    from mcp.server.mcpserver.exceptions import ToolError

    theirs = MCPServer("theirs", log_level="ERROR")

    @theirs.tool()
    def add(a: int, b: int = 2) -> int:
        """Adds."""
        if a < 0:
            raise ToolError("a must not be below 0")
        return a + b

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{s.getsockname()[1]}"
        app = uvicorn.Server(uvicorn.Config(theirs.streamable_http_app(json_response=whole), log_level="error", timeout_graceful_shutdown=1))
        s.listen()
        thread = threading.Thread(target=app.run, kwargs={"sockets": [s]}, daemon=True)
        thread.start()
        try:
            with opening(host, {"mcp": "theirs", "url": f"http://{host}/mcp", "prefix": "x_"}) as o:
                o.until(lambda: o.metric("up", "theirs") == 1)
                out = o.ask(call("x_add", {"a": 40}), call("x_add", {"a": -1}, "b"), call("x_add", {"a": "x"}, "c"), user=None)
                assert offered(model) == ["x_add"] and out[0] == "42"
                assert out[1].startswith("Error: x_add: ") and "a must not be below 0" in out[1] and "a must be of type integer" in out[2]
        finally:
            app.should_exit = True
            thread.join(20)
