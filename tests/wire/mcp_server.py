"""A scripted MCP server on a port of its own (streamable HTTP): offers what the test wants offered, records what it got.

    with McpServer(tool("echo")) as m:
        m.call = lambda name, arguments: "text"    # or a result {"content": ..}, or {"error": {..}} in its place
        m.streamed = True                          # answers as events, between others
        m.fault = lambda method: (500, {}, b"")    # or None: all is well; method is that of the message, or DELETE
        m.sessions.clear()                         # those that there are have expired
        m.seen                                     # [(method, params, headers)], newest last
    m.ids                                      # the id of the last request with that method"""
import json
import threading
import uuid

from stub import Stub

OBJECT = {"type": "object", "properties": {}}


def tool(name, schema=None, description="of a test"):
    return {"name": name, "description": description, "inputSchema": schema or OBJECT}


class McpServer(Stub):
    def __init__(self, *tools, port=0):
        self.tools, self.port, self.page, self.version = list(tools), port, 2, "2025-06-18"
        self.streamed, self.fault, self.call = False, lambda method: None, lambda name, arguments: name
        self.sessions, self.seen, self.ids, self.over = set(), [], {}, threading.Event()

    def __exit__(self, *exc):
        self.over.set()
        super().__exit__(*exc)

    def methods(self):
        return [m for m, *_ in self.seen]

    def send(self, h, status, headers=None, body=b""):
        h.send_response(status)
        for k, v in {"Content-Length": str(len(body)), **(headers or {})}.items():
            h.send_header(k, v)
        h.end_headers()
        h.wfile.write(body)

    def handle(self, h):
        message = {"method": "DELETE"} if h.command == "DELETE" else json.loads(self.body(h))
        if self.over.is_set():  # a connection that was kept
            h.close_connection = True
            return None
        method, session = message["method"], h.headers.get("Mcp-Session-Id")
        self.ids[method] = message.get("id")
        self.seen.append((method, message.get("params"), dict(h.headers)))
        fault = self.fault(method)
        if fault:
            return self.send(h, *fault)
        if method == "initialize":
            session = uuid.uuid4().hex
            self.sessions.add(session)
            return self.answer(h, message, {"protocolVersion": self.version, "capabilities": {"tools": {}}, "serverInfo": {"name": "s", "version": "1"}},
                               {"Mcp-Session-Id": session})
        if session not in self.sessions:
            return self.send(h, 404, {}, b'{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Session not found"}}')
        if method == "DELETE":
            self.sessions.discard(session)
            return self.send(h, 200)
        if "id" not in message:
            return self.send(h, 202)
        return self.answer(h, message, getattr(self, method.replace("/", "_"))(message["params"]))

    def tools_list(self, params):
        at = int(params.get("cursor", 0))
        more = at + self.page < len(self.tools)
        return {"tools": self.tools[at:at + self.page], **({"nextCursor": str(at + self.page)} if more else {})}

    def tools_call(self, params):
        r = self.call(params["name"], params["arguments"])
        return {"content": [{"type": "text", "text": r}]} if isinstance(r, str) else r

    def answer(self, h, message, result, headers=None):
        body = {"jsonrpc": "2.0", "id": message["id"], **({"error": result["error"]} if "error" in result else {"result": result})}
        if not self.streamed:
            return self.send(h, 200, {"Content-Type": "application/json", **(headers or {})}, json.dumps(body).encode())
        h.send_response(200)
        for k, v in {"Content-Type": "text/event-stream; charset=utf-8", "Transfer-Encoding": "chunked", **(headers or {})}.items():
            h.send_header(k, v)
        h.end_headers()

        def write(text):
            h.wfile.write(b"%x\r\n%b\r\n" % (len(text.encode()), text.encode()))
            h.wfile.flush()

        note = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "busy"}}
        write(f": hello\r\nid: 1\r\ndata:\r\n\r\nevent: message\r\ndata: {json.dumps(note)}\r\n\r\n")
        write(f'event: message\ndata: {json.dumps({"jsonrpc": "2.0", "id": message["id"], "method": "ping"})}\n\n')
        text = "".join(f"data: {line}\n" for line in json.dumps(body, indent=1).split("\n")) + "\n"
        write(text[:len(text) // 2])
        write(text[len(text) // 2:])
        self.over.wait(60)  # the stream stays open; the answer is there all the same
        return None
