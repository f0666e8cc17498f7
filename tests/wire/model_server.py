"""A scripted model server on a port of its own, in OpenAI's form of chat completions: says what the test wants said, records what it got.

    with ModelServer() as m:
        m.answer = lambda body: "text"        # or {"content": .., "tool_calls": [..], "finish_reason": ..}; "echo" of the last message by default
        m.script("500", "429:0", "cut:3")     # what the next requests get, one each; then all is well again
        m.requests                            # bodies that came, newest last

Faults: ok, STATUS or STATUS:SECONDS (with Retry-After), hang (until the server ends), reset, cut:N (a stream that ends after N words), error:N (an error
event after N words), hang:N (silence after N words), window (400 as for a conversation that is too long). While `gate` is a threading.Event that is not
set, a stream waits after its first word."""
import json
import socket
import struct
import threading

from stub import Stub


def echo(body):
    content = body["messages"][-1].get("content")
    return f"You said: {content if isinstance(content, str) else json.dumps(content)}"


class ModelServer(Stub):
    def __init__(self, model="scripted", key=None):
        self.model, self.key, self.answer, self.gate = model, key, echo, None
        self.requests, self.headers, self.todo = [], [], []
        self.lock, self.over = threading.Lock(), threading.Event()

    def script(self, *faults):
        with self.lock:
            self.todo = list(faults)

    def __enter__(self):
        super().__enter__()
        self.url += "/v1"
        return self

    def __exit__(self, *exc):
        self.over.set()
        if self.gate:
            self.gate.set()
        super().__exit__(*exc)

    # ------------------------------------------------------------------ answers

    def handle(self, h):
        body = json.loads(self.body(h))
        with self.lock:
            self.requests.append(body)
            self.headers.append(dict(h.headers))
            fault = self.todo.pop(0) if self.todo else "ok"
        if not h.path.endswith("/chat/completions"):
            return self.send(h, 404, {"error": {"message": "no such path"}})
        if self.key and h.headers.get("Authorization") != f"Bearer {self.key}":
            return self.send(h, 401, {"error": {"message": f"{h.headers.get('Authorization')} is no key of ours"}})
        if fault == "hang":
            self.over.wait()
            return None
        if fault == "reset":
            h.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            h.close_connection = True
            return None
        if fault == "window":
            return self.send(h, 400, {"error": {"message": "This model's maximum context length is 8 tokens", "code": "context_length_exceeded"}})
        if fault[0].isdigit():
            status, _, seconds = fault.partition(":")
            return self.send(h, int(status), {"error": {"message": "scripted"}}, {"Retry-After": seconds} if seconds else {})
        said = self.answer(body)
        said = {"content": said} if isinstance(said, str) else said
        return self.stream(h, body, said, fault) if body.get("stream") else self.whole(h, body, said)

    def finish(self, said):
        return said.get("finish_reason", "tool_calls" if said.get("tool_calls") else "stop")

    def usage(self, body, said):
        return {"prompt_tokens": len(body["messages"]), "completion_tokens": len((said.get("content") or "").split()), "total_tokens": 0}

    def whole(self, h, body, said):
        message = {"role": "assistant", "content": said.get("content")}
        if said.get("tool_calls"):
            message["tool_calls"] = said["tool_calls"]
        self.send(h, 200, {"id": "x", "object": "chat.completion", "model": self.model, "usage": self.usage(body, said),
                           "choices": [{"index": 0, "message": message, "finish_reason": self.finish(said)}]})

    def stream(self, h, body, said, fault):
        kind, _, after = fault.partition(":")
        h.send_response(200)
        h.send_header("Content-Type", "text/event-stream")
        h.send_header("Transfer-Encoding", "chunked")
        h.end_headers()

        def write(data):
            h.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
            h.wfile.flush()

        def send(delta, reason=None):
            chunk = {"id": "x", "object": "chat.completion.chunk", "model": self.model,
                     "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}
            write(f"data: {json.dumps(chunk)}\n\n".encode())

        words = (said.get("content") or "").split(" ")
        send({"role": "assistant", "content": ""})
        for i, word in enumerate(words):
            if kind in ("cut", "error", "hang") and i == int(after):
                if kind == "hang":
                    self.over.wait()
                if kind == "error":
                    write(b'data: {"error": {"message": "out of order"}}\n\n')
                h.wfile.write(b"0\r\n\r\n")
                return
            send({"content": word if i == 0 else " " + word})
            if i == 0 and self.gate:
                self.gate.wait()
        for i, call in enumerate(said.get("tool_calls", [])):
            text = call["function"]["arguments"]
            send({"tool_calls": [{"index": i, **call, "function": {"name": call["function"]["name"], "arguments": text[:3]}}]})
            send({"tool_calls": [{"index": i, "function": {"arguments": text[3:]}}]})
        send({}, self.finish(said))
        if body.get("stream_options", {}).get("include_usage"):
            write(f"data: {json.dumps({'choices': [], 'usage': self.usage(body, said)})}\n\n".encode())
        write(b"data: [DONE]\n\n")
        h.wfile.write(b"0\r\n\r\n")

    def send(self, h, status, body, headers=None):
        data = json.dumps(body).encode()
        h.send_response(status)
        h.send_header("Content-Type", "application/json")
        h.send_header("Content-Length", str(len(data)))
        for k, v in (headers or {}).items():
            h.send_header(k, v)
        h.end_headers()
        h.wfile.write(data)
