"""Connections to a server: HTTP/1.1 over sockets that are kept open, for threads and for event loops, with repetition.

One `Client` serves any number of threads and event loops at once. No thread is made, nothing is looked up per call. A thread takes a
connection that is free, or opens one; tasks of an event loop do the same with connections of that loop.

What is sent again, and when:
 1. An attempt whose connection broke, or could not be made, or whose answer was 429, 502, 503 or 504, is repeated up to `retries` times, with
    growing pauses (or what Retry-After says), as long as the call's `timeout` lasts.
 2. A kept connection that the server has closed meanwhile costs no attempt and no pause.
 3. A call that must not be done twice (`repeat=False`) is repeated only where the server cannot have done it: the connection was not made,
    or the answer was 429 or 503.
"""

from __future__ import annotations

import asyncio
import os
import random
import select
import socket
import ssl
import threading
import time
import weakref
from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from cenote._errors import CenoteError, ConnectionFailed, ServerError, TimeoutExceeded, from_answer

_RECV = 1 << 16
_HEAD_MAX = 1 << 16
_JOINED = 1 << 17  # up to here head and body go out in one piece
_IDLE_MAX = 64  # connections that are kept, per client and per event loop
_CONNECTIONS_MAX = 64  # at once, per event loop
_RETRIED = frozenset((429, 502, 503, 504))
_NOT_DONE = frozenset((429, 503))


class Answer(NamedTuple):
    status: int
    headers: dict[bytes, bytes]  # names in lower case
    body: bytes


class _Broken(OSError):
    """The connection ended before the answer did. started: some of the answer had come."""

    def __init__(self, text: str, started: bool) -> None:
        super().__init__(text)
        self.started = started


class _Reader:
    """Makes an answer of the bytes of a connection; what follows the answer is an error."""

    __slots__ = ("_buf", "_head", "_length", "_status", "_chunks", "keep", "_bodyless")

    def __init__(self) -> None:
        self._buf = bytearray()
        self._head: dict[bytes, bytes] | None = None
        self._length: int | None = None  # None: to the end of the connection, -1: chunked
        self._status = 0
        self._chunks: bytearray | None = None
        self.keep = True

    @property
    def started(self) -> bool:
        return self._head is not None or bool(self._buf)

    @property
    def missing(self) -> int:
        """Bytes of the body that are still to come, 0 when not known."""
        return max(0, self._length - len(self._buf)) if self._head is not None and self._length else 0

    def feed(self, data: bytes | memoryview) -> Answer | None:
        if self._head is None and not self._buf and type(data) is bytes:
            # Nearly always the whole answer comes at once: then nothing is copied but the body.
            end = data.find(b"\r\n\r\n")
            if end >= 0:
                self._parse_head(data[:end])
                if self._length is not None and self._length >= 0 and self._status >= 200 and len(data) == end + 4 + self._length:
                    return Answer(self._status, self._head, data[end + 4:])  # type: ignore[arg-type]
                data = data[end + 4:]
        self._buf += data
        return self._advance()

    def _advance(self) -> Answer | None:
        while self._head is None or self._status < 200:
            self._head = None
            end = self._buf.find(b"\r\n\r\n")
            if end < 0:
                if len(self._buf) > _HEAD_MAX:
                    raise ServerError("the head of the server's answer does not end")
                return None
            self._parse_head(bytes(self._buf[:end]))
            del self._buf[:end + 4]
        if self._length == -1:
            return self._advance_chunks()
        if self._length is None or len(self._buf) < self._length:
            return None
        if len(self._buf) > self._length:
            raise ServerError("more came from the server than it had announced")
        return Answer(self._status, self._head, bytes(self._buf))

    def _parse_head(self, head: bytes) -> None:
        lines = head.split(b"\r\n")
        first = lines[0]
        if not first.startswith(b"HTTP/1.") or not first[9:12].isdigit():
            raise ServerError("what answered does not speak HTTP/1.1")
        self._status = int(first[9:12])
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(b":")
            headers[name.lower()] = value.strip()
        self._head = headers
        connection = headers.get(b"connection", b"").lower()
        self.keep = first.startswith(b"HTTP/1.1") and connection != b"close"
        length = headers.get(b"content-length")
        if self._status in (204, 304):
            self._length = 0
        elif headers.get(b"transfer-encoding", b"").lower() == b"chunked":
            self._length = -1
            self._chunks = bytearray()
        elif length is not None:
            if not length.isdigit():
                raise ServerError("the Content-Length of the server's answer is not a number")
            self._length = int(length)
        elif self._status >= 200:
            self._length = None
            self.keep = False

    def _advance_chunks(self) -> Answer | None:
        assert self._head is not None and self._chunks is not None
        at = 0
        while True:
            line = self._buf.find(b"\r\n", at)
            if line < 0:
                break
            try:
                n = int(bytes(self._buf[at:line]).split(b";")[0], 16)
            except ValueError:
                raise ServerError("a chunk of the server's answer has no length") from None
            if n == 0:
                # Trailers end with an empty line.
                end = line if self._buf[line:line + 4] == b"\r\n\r\n" else self._buf.find(b"\r\n\r\n", line)
                if end < 0:
                    break
                if len(self._buf) > end + 4:
                    raise ServerError("more came from the server than it had announced")
                return Answer(self._status, self._head, bytes(self._chunks))
            if len(self._buf) < line + 2 + n + 2:
                break
            self._chunks += self._buf[line + 2:line + 2 + n]
            at = line + 2 + n + 2
        del self._buf[:at]
        return None

    def eof(self) -> Answer:
        """The connection has ended."""
        if self._head is not None and self._status >= 200 and self._length is None:
            return Answer(self._status, self._head, bytes(self._buf))
        raise _Broken("the server closed the connection before it had answered", self.started)


class _Call:
    """The attempts of one call: how long they may take, whether there is another, and after which pause."""

    __slots__ = ("deadline", "_left", "_timeout", "_pause", "_repeat")

    def __init__(self, client: Client, repeat: bool) -> None:
        self._timeout = client.timeout
        self.deadline = time.monotonic() + client.timeout
        self._left = client.retries
        self._pause = 0.05
        self._repeat = repeat

    def remaining(self) -> float:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise self.expired()
        return left

    def expired(self) -> TimeoutExceeded:
        return TimeoutExceeded(f"the server did not answer within {self._timeout:g} s")

    def _next(self, wanted: float | None, error: CenoteError) -> float:
        pause = wanted if wanted is not None else self._pause * (0.5 + random.random())
        self._pause = min(2.0, self._pause * 2)
        self._left -= 1
        if self._left < 0 or time.monotonic() + pause >= self.deadline:
            raise error
        return pause

    def failed(self, cause: BaseException, sent: bool) -> float:
        """The pause after an attempt that had no answer."""
        if isinstance(cause, TimeoutError):
            raise self.expired() from cause
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise ConnectionFailed(f"the server's certificate is not accepted: {cause.verify_message}") from cause
        error = ConnectionFailed(f"no connection to the server: {cause}")
        error.__cause__ = cause
        if sent and not self._repeat:
            raise error
        return self._next(None, error)

    def refused(self, answer: Answer) -> float | None:
        """The pause after an answer that asks to come again; None: it is the answer of the call."""
        if answer.status not in _RETRIED or not (self._repeat or answer.status in _NOT_DONE):
            return None
        wanted = answer.headers.get(b"retry-after", b"")
        pause = float(wanted) if wanted.isdigit() and len(wanted) < 7 else None
        try:
            return self._next(pause, CenoteError(""))
        except CenoteError:
            return None


class _Target(NamedTuple):
    host: str
    port: int
    base: str  # prefix of paths, without a slash at its end
    tls: ssl.SSLContext | None
    head: bytes  # header lines of every request


def _check_header(name: str, value: str) -> str:
    if any(ord(c) < 32 or ord(c) == 127 for c in name + value):
        raise ValueError(f"{name} must not have control characters")
    return value


def _target(url: str, api_key: str | None, user: str | None, headers: Mapping[str, str], context: ssl.SSLContext | None) -> _Target:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"the server's URL must be http://HOST[:PORT] or https://HOST[:PORT], got {url!r}")
    if parts.query or parts.fragment or parts.username is not None:
        raise ValueError("the server's URL has no query, fragment or user; the key is api_key")
    tls = (context or ssl.create_default_context()) if parts.scheme == "https" else None
    port = parts.port or (443 if tls else 80)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    lines = {"Host": host if parts.port is None else f"{host}:{port}", "User-Agent": "cenote-python/0.1.0"}
    if api_key:
        lines["Authorization"] = f"Bearer {api_key}"
    if user:
        lines["X-Cenote-User"] = user
    lines.update(headers)
    head = "".join(f"{name}: {_check_header(name, value)}\r\n" for name, value in lines.items())
    return _Target(parts.hostname, port, parts.path.rstrip("/"), tls, head.encode())


class _Connection:
    """A socket of a thread."""

    __slots__ = ("sock",)

    def __init__(self, target: _Target, timeout: float) -> None:
        sock = socket.create_connection((target.host, target.port), timeout)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.sock = target.tls.wrap_socket(sock, server_hostname=target.host) if target.tls else sock
        except BaseException:
            sock.close()
            raise

    def gone(self) -> bool:
        """The server has closed it, or said something that nobody asked for."""
        if not hasattr(select, "poll"):
            return bool(select.select([self.sock], [], [], 0)[0])
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        return bool(poll.poll(0))

    def exchange(self, head: bytes, body: bytes, call: _Call) -> tuple[Answer, bool]:
        sock = self.sock
        sock.settimeout(call.remaining())
        if len(body) <= _JOINED:
            sock.sendall(head + body)
        else:
            sock.sendall(head)
            sock.sendall(body)
        reader = _Reader()
        size = _RECV
        while True:
            data = sock.recv(size)
            if not data:
                return reader.eof(), False
            answer = reader.feed(data)
            if answer is not None:
                return answer, reader.keep
            size = min(1 << 22, max(_RECV, reader.missing))
            sock.settimeout(call.remaining())

    def close(self) -> None:
        self.sock.close()


class _Protocol(asyncio.Protocol):
    """A connection of an event loop."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.closed = False
        self.keep = True
        self._reader = _Reader()
        self._waiter: asyncio.Future[Answer] | None = None

    @property
    def gone(self) -> bool:
        """Closed, or about to be."""
        return self.closed or self.transport is None or self.transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        if self._waiter is None or self._waiter.done():
            self.close()  # nobody asked
            return
        try:
            answer = self._reader.feed(data)
        except CenoteError as e:
            self._fail(e)
            return
        if answer is not None:
            self.keep = self._reader.keep
            self._waiter.set_result(answer)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.closed = True
        if self._waiter is None or self._waiter.done():
            return
        if exc is not None and not isinstance(exc, OSError):
            self._fail(exc)
            return
        try:
            answer = self._reader.eof()
        except _Broken as e:
            self._waiter.set_exception(_Broken(str(exc or e), e.started))
        else:
            self.keep = False
            self._waiter.set_result(answer)

    def _fail(self, e: BaseException) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(e)
        self.close()

    def _expire(self) -> None:
        self._fail(TimeoutError())

    async def exchange(self, head: bytes, body: bytes, call: _Call) -> Answer:
        if self.gone:  # nobody would tell the waiter any more
            raise _Broken("the server closed the connection before it was asked", False)
        assert self.transport is not None
        loop = asyncio.get_running_loop()
        timer = loop.call_later(call.remaining(), self._expire)
        self._reader = _Reader()
        self._waiter = loop.create_future()
        if len(body) <= _JOINED:
            self.transport.write(head + body)
        else:
            self.transport.write(head)
            self.transport.write(body)
        try:
            return await self._waiter
        except asyncio.CancelledError:
            self.close()  # the answer would be somebody else's
            raise
        finally:
            timer.cancel()
            self._waiter = None

    def close(self) -> None:
        self.closed = True
        if self.transport is not None:
            self.transport.abort()


class _Loop:
    """What a client has in one event loop."""

    __slots__ = ("idle", "room")

    def __init__(self) -> None:
        self.idle: deque[_Protocol] = deque()
        self.room = asyncio.Semaphore(_CONNECTIONS_MAX)


_clients: weakref.WeakSet[Client] = weakref.WeakSet()


class Client:
    """The connections to one server, for any number of savers, stores, sessions, threads and event loops.

    Args:
        url: `http://HOST:PORT` or `https://...`, with a path when the server lies below one; else CENOTE_SERVER of the environment, else
            `http://127.0.0.1:8000`.
        api_key: sent as a bearer token; else CENOTE_API_KEY of the environment, else none.
        user: whose memory it is, where the key is not bound to a user (X-Cenote-User).
        timeout: seconds that a call may take with all its attempts, above 0.
        retries: further attempts when the server cannot be reached, restarts or is busy; 0 for none.
        headers: further header lines of every request.
        ssl_context: for https, instead of the system's certificates.

    Raises:
        ValueError: an argument is malformed.
    """

    def __init__(self, url: str | None = None, *, api_key: str | None = None, user: str | None = None, timeout: float = 60.0,
                 retries: int = 5, headers: Mapping[str, str] | None = None, ssl_context: ssl.SSLContext | None = None) -> None:
        if not timeout > 0:
            raise ValueError(f"timeout must be above 0 seconds, got {timeout!r}")
        if retries < 0:
            raise ValueError(f"retries must be 0 or above, got {retries!r}")
        self.url = url or os.environ.get("CENOTE_SERVER") or "http://127.0.0.1:8000"
        self.timeout = float(timeout)
        self.retries = int(retries)
        self._target = _target(self.url, api_key or os.environ.get("CENOTE_API_KEY"), user, headers or {}, ssl_context)
        self._heads: dict[tuple[str, str, str | None], bytes] = {}
        self._idle: deque[_Connection] = deque()
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Loop] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()
        self._closed = False
        _clients.add(self)

    def __repr__(self) -> str:
        return f"<cenote.Client {self.url}>"

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.aclose()

    def close(self) -> None:
        """Closes the connections of threads. Calls that come later fail; those under way end as they would have."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    async def aclose(self) -> None:
        """Closes the connections of threads, and of the running event loop."""
        self.close()
        mine = self._loops.pop(asyncio.get_running_loop(), None)
        while mine is not None and mine.idle:
            mine.idle.pop().close()
        await asyncio.sleep(0)  # transports close in the next tick

    def _head(self, method: str, path: str, content_type: str | None, length: int | None, extra: str) -> bytes:
        first = self._heads.get((method, path, content_type))
        if first is None:
            text = f"{method} {self._target.base}{path} HTTP/1.1\r\n".encode("ascii") + self._target.head
            if content_type:
                text += f"Content-Type: {content_type}\r\n".encode("ascii")
            first = text
            if "?" not in path and len(self._heads) < 1000:
                self._heads[method, path, content_type] = first
        if length is None:
            return first + extra.encode() + b"\r\n"
        return b"%s%sContent-Length: %d\r\n\r\n" % (first, extra.encode(), length)

    # ---------------------------------------------------------------- threads

    def request(self, method: str, path: str, body: bytes | None = None, content_type: str | None = None, *, repeat: bool = True,
                extra: str = "") -> bytes:
        """One call; returns the body of the answer.

        Args:
            path: percent-encoded, with the query.
            repeat: False: must not be done twice.
            extra: further header lines, each with CR LF.

        Raises:
            CenoteError: see there.
        """
        call = _Call(self, repeat)
        head = self._head(method, path, content_type, None if body is None else len(body), extra)
        while True:
            try:
                answer = self._attempt(head, body or b"", call, repeat)
            except CenoteError:
                raise
            except _Unsent as e:
                pause: float | None = call.failed(e.cause, False)
            except OSError as e:
                pause = call.failed(e, True)
            else:
                if answer.status < 300:
                    return answer.body
                pause = call.refused(answer)
                if pause is None:
                    raise from_answer(*answer)
            time.sleep(pause)

    def _attempt(self, head: bytes, body: bytes, call: _Call, repeat: bool) -> Answer:
        while True:
            if self._closed:
                raise CenoteError("the client is closed")
            conn, kept = None, False
            try:
                conn = self._idle.pop()
                kept = True
            except IndexError:
                conn = self._open(call)
            try:
                if kept and not repeat and conn.gone():
                    raise _Broken("closed while idle", False)
                answer, keep = conn.exchange(head, body, call)
            except BaseException as e:
                conn.close()
                # A kept connection that ended before any of the answer came was closed by the server while it was idle.
                if kept and isinstance(e, (_Broken, ConnectionError)) and not getattr(e, "started", False) and \
                        (repeat or str(e) == "closed while idle"):
                    continue
                raise
            if keep and not self._closed and len(self._idle) < _IDLE_MAX:
                self._idle.append(conn)
            else:
                conn.close()
            return answer

    def _open(self, call: _Call) -> _Connection:
        try:
            return _Connection(self._target, call.remaining())
        except OSError as e:
            raise _Unsent(e) from e

    # ------------------------------------------------------------ event loops

    async def arequest(self, method: str, path: str, body: bytes | None = None, content_type: str | None = None, *, repeat: bool = True,
                       extra: str = "") -> bytes:
        """`request` for event loops."""
        call = _Call(self, repeat)
        head = self._head(method, path, content_type, None if body is None else len(body), extra)
        mine = self._of_loop()
        while True:
            try:
                async with mine.room:
                    answer = await self._aattempt(mine, head, body or b"", call, repeat)
            except CenoteError:
                raise
            except _Unsent as e:
                pause: float | None = call.failed(e.cause, False)
            except OSError as e:
                pause = call.failed(e, True)
            else:
                if answer.status < 300:
                    return answer.body
                pause = call.refused(answer)
                if pause is None:
                    raise from_answer(*answer)
            await asyncio.sleep(pause)

    def _of_loop(self) -> _Loop:
        loop = asyncio.get_running_loop()
        mine = self._loops.get(loop)
        if mine is None:
            with self._lock:
                mine = self._loops.setdefault(loop, _Loop())
        return mine

    async def _aattempt(self, mine: _Loop, head: bytes, body: bytes, call: _Call, repeat: bool) -> Answer:
        while True:
            if self._closed:
                raise CenoteError("the client is closed")
            if not repeat:
                # Two turns of the loop: it has then seen which kept connections were closed by the server.
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            conn = None
            while mine.idle and conn is None:
                conn = mine.idle.pop()
                if conn.gone:
                    conn = None
            kept = conn is not None
            if conn is None:
                conn = await self._aopen(call)
            try:
                answer = await conn.exchange(head, body, call)
            except _Broken as e:
                conn.close()
                if kept and repeat and not e.started:
                    continue
                raise
            if conn.keep and not conn.gone and not self._closed and len(mine.idle) < _IDLE_MAX:
                mine.idle.append(conn)
            else:
                conn.close()
            return answer

    async def _aopen(self, call: _Call) -> _Protocol:
        target = self._target
        loop = asyncio.get_running_loop()
        try:
            _, conn = await asyncio.wait_for(
                loop.create_connection(_Protocol, target.host, target.port, ssl=target.tls), call.remaining())
        except asyncio.TimeoutError as e:
            raise call.expired() from e
        except OSError as e:
            raise _Unsent(e) from e
        return conn


class _Unsent(Exception):
    """No connection was made."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(str(cause))
        self.cause = cause


def _forget_connections() -> None:
    """In a child process: the parent goes on using the connections."""
    for client in list(_clients):
        client._idle = deque()
        client._loops = weakref.WeakKeyDictionary()
        client._lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_connections)
