"""A scripted service of embeddings on a port of its own: deterministic vectors, and faults on demand.

    with EmbedServer(dims=8) as s:
        s.script("500", "429:0.2", "ok")      # what the next requests get, one each; then all is well again
        s.stay("nan")                         # what all requests get, until the next script()
        s.requests                            # bodies that came, newest last

Faults: ok, STATUS or STATUS:SECONDS (with Retry-After), hang (until the server ends), reset, cut (truncated JSON, whole body), short (fewer
bytes than announced), nan, inf, null, dims (one value too few), zero, count (one vector too few), double (an index twice), shuffled, base64,
noindex, slow (in small pieces), html, huge, echo (400 that quotes the text), key (400 that quotes the key)."""
import base64
import hashlib
import json
import math
import socket
import struct
import threading

from stub import Stub


def vector(text, dims):
    """Of length 1; the same text gives the same."""
    out, n = [], 0
    while len(out) < dims:
        block = hashlib.sha256(f"{n}:{text}".encode()).digest()
        out += [x / 2**31 for x in struct.unpack("<8i", block)]
        n += 1
    out = out[:dims]
    length = math.sqrt(sum(x * x for x in out))
    return [x / length for x in out]


class EmbedServer(Stub):
    def __init__(self, dims=8, model="scripted", key=None, longer=0, certificate=None):
        """longer: dimensions that the model has when it is not asked for fewer. certificate: (file, key file), then it speaks https."""
        self.certificate = certificate
        self.dims, self.model, self.key, self.longer = dims, model, key, longer
        self.requests, self.headers, self.todo = [], [], []
        self.always = None
        self.lock, self.over = threading.Lock(), threading.Event()
        self.now = self.most = 0
        self.gate = None  # a threading.Event: answers wait for it
        self.refuses = None  # calls with a text that has this in it get 400
        self.models = {}  # others that it has besides, with their dimensions

    def script(self, *faults):
        with self.lock:
            self.todo = list(faults)
            self.always = None

    def stay(self, fault):
        """Until the next script every request gets this."""
        with self.lock:
            self.todo, self.always = [], fault

    def __enter__(self):
        super().__enter__()
        self.url += "/v1"
        return self

    def __exit__(self, *exc):
        self.over.set()
        super().__exit__(*exc)

    # ------------------------------------------------------------------ answers

    def handle(self, h):
        body = json.loads(self.body(h))
        with self.lock:
            self.requests.append(body)
            self.headers.append(dict(h.headers))
            self.now += 1
            self.most = max(self.most, self.now)
            fault = self.todo.pop(0) if self.todo else self.always or "ok"
        try:
            if self.gate:
                self.gate.wait(30)
            self.answer(h, body, fault)
        finally:
            with self.lock:
                self.now -= 1

    def send(self, h, status, body, **headers):
        h.send_response(status)
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}
        for k, v in headers.items():
            h.send_header(k.replace("_", "-"), v)
        h.end_headers()
        h.wfile.write(body)

    def error(self, h, status, message, **headers):
        self.send(h, status, json.dumps({"error": {"message": message, "type": "x"}}).encode(), **headers)

    def answer(self, h, body, fault):
        if self.key and h.headers.get("Authorization") != f"Bearer {self.key}":
            return self.error(h, 401, f"wrong key {h.headers.get('Authorization')}")
        texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
        head, _, rest = fault.partition(":")
        if head.isdigit():
            return self.error(h, int(head), "scripted failure", **({"Retry-After": rest} if rest else {}))
        if fault == "hang":
            self.over.wait(60)
            return None
        if fault == "reset":
            h.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            h.connection.close()
            h.close_connection = True
            return None
        if fault == "html":
            return self.send(h, 200, b"<html>hello</html>", Content_Type="text/html")
        if fault == "echo":
            return self.error(h, 400, f"cannot embed: {texts[0]}")
        if fault == "key":
            return self.error(h, 400, f"key was {h.headers.get('Authorization')}")
        if fault == "plain400":
            return self.error(h, 400, "the input is too long for this model")
        if body["model"] != self.model and body["model"] not in self.models:
            return self.error(h, 404, "no such model")
        if self.refuses and any(self.refuses in t for t in texts):
            return self.error(h, 400, "the input is not allowed")
        return self.vectors(h, body, texts, fault)

    def vectors(self, h, body, texts, fault):
        dims = self.longer if self.longer and "dimensions" not in body else self.models.get(body["model"], self.dims)
        vs = [vector(t, dims) for t in texts]
        if fault == "zero":
            vs[-1] = [0.0] * dims
        if fault == "dims":
            vs[-1] = vs[-1][:-1]
        if fault in ("nan", "inf"):
            vs[-1][0] = float(fault)
        if fault == "null":
            vs[-1][0] = None
        data = [{"object": "embedding", "index": i, "embedding": v} for i, v in enumerate(vs)]
        if fault == "base64":
            for d in data:
                d["embedding"] = base64.b64encode(struct.pack(f"<{dims}f", *d["embedding"])).decode()
        if fault == "nan64":
            for d in data:
                d["embedding"] = base64.b64encode(struct.pack(f"<{dims}f", *([float("nan")] * dims))).decode()
        if fault == "count":
            data = data[:-1]
        if fault == "double":
            for d in data:
                d["index"] = 0
        if fault == "shuffled":
            data.reverse()
        if fault == "noindex":
            for d in data:
                del d["index"]
        out = {"object": "list", "data": data, "model": self.model,
               "usage": {"prompt_tokens": sum(len(t.split()) for t in texts), "total_tokens": 0}}
        text = json.dumps(out).encode()
        if fault == "huge":
            text = b" " * (64 << 20) + text
        if fault == "cut":
            return self.send(h, 200, text[:len(text) // 2])
        if fault == "short":
            self.send(h, 200, text[:len(text) // 2], Content_Length=str(len(text)))
            h.close_connection = True
            return None
        if fault == "slow":
            h.send_response(200)
            h.send_header("Content-Length", str(len(text)))
            h.end_headers()
            for i in range(0, len(text), 16):
                h.wfile.write(text[i:i + 16])
                h.wfile.flush()
            return None
        return self.send(h, 200, text)
