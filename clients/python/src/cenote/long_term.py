"""Long-term memory: what is known about a user, across conversations, on a Cenote server.

    memory = LongTermMemory()
    memory.save_memory("user@example.com", "preferred_workspace", {"workspace_id": "12345"})
    memory.search_memories("user@example.com", "What workspace does the user prefer?")

What holds:
 1. Memories are items of the store, in a namespace of their user: `CenoteStore` and LangGraph's own stores see the same ones.
 2. By the default rule two user ids never share a namespace, and none lies within another's (`user_namespace`).
 3. Nothing is connected before the first call; after it the connections are kept.
 4. The server owns its store and its encoder. Names given here choose neither. They are compared with what the server says: `setup` raises
    where they differ, any other first call logs it once.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from langgraph.store.base import GetOp, Op, PutOp, SearchItem, SearchOp

from cenote import _json
from cenote._errors import CenoteError, ConfigurationMismatch, NotFoundError, PermissionDeniedError
from cenote._http import Client
from cenote._trace import span
from cenote.store import _PATH, _TYPE, _decode, _encode

_log = logging.getLogger("cenote")
_ROOT = "user_memories"
_ASK_AGAIN = 60.0  # seconds after which a server without an encoder is asked whether it has one by now
_WAIT_MAX = 600.0

_T = TypeVar("_T")
_said: set[tuple[Any, ...]] = set()  # what has been logged in this process; memories may be made for every request


# -------------------------------------------------------------------- namespaces


def _dashes(user_id: str) -> str:
    return user_id.replace(".", "-").replace("@", "-at-")


def _reversible(user_id: str) -> tuple[str, ...]:
    label = _dashes(user_id)
    if "-" not in user_id and "~" not in user_id and label.replace("-at-", "@").replace("-", ".") == user_id:
        return (label,)
    # Another id might have this label, too: the id itself comes first, in a form with "~", which no label of the above has.
    # ("%" would be a wildcard to programs that search the table with LIKE.) The label follows, because by it the server knows the
    # namespaces that a key bound to this user reaches.
    return (user_id.replace("~", "~7E").replace(".", "~2E").replace("-", "~2D"), label)


UserRule = Callable[[str], "tuple[str, ...]"]
_RULES: dict[str, UserRule] = {
    "reversible": _reversible,
    "replace": lambda user_id: (_dashes(user_id),),
    "replace_dots": lambda user_id: (user_id.replace(".", "-"),),
}


def _rule(given: str | UserRule) -> UserRule:
    if callable(given):
        return given
    if given not in _RULES:
        raise ValueError(f"user_rule must be {', '.join(map(repr, _RULES))} or a function, got {given!r}")
    return _RULES[given]


def user_namespace(user_id: str, rule: str | UserRule = "reversible") -> tuple[str, ...]:
    """The namespace of a user's memories: `("user_memories", label)`.

    Args:
        user_id: not empty.
        rule: how the label is made of the id. "reversible": `.` becomes `-` and `@` becomes `-at-` where that can be undone, as in
            `user@example.com`, `user-at-example-com`. Where it cannot (ids with `-` or `~`, or with `.at.`), a label with the id itself comes
            before it, with `~2D`, `~2E`, `~7E` for `-`, `.`, `~`: `("user_memories", "a~2Db", "a-b")`. So no two ids share a namespace.
            "replace": the same replacements for every id, as other software has it: `a.b` and `a-b` are one user.
            "replace_dots": only `.` becomes `-`.
            A function: makes a tuple of labels of the id. That different ids get different labels is up to it.

    Raises:
        TypeError, ValueError: the id is no text, or empty; an unknown rule; what a function gave is no tuple of labels.
    """
    if not isinstance(user_id, str):
        raise TypeError(f"user_id must be a text, got {type(user_id).__name__}")
    if not user_id:
        raise ValueError("user_id must not be empty")
    labels = _rule(rule)(user_id)
    # Without a label of the user's own the namespace would be everybody's.
    if not isinstance(labels, tuple) or not labels or not all(isinstance(x, str) and x for x in labels):
        raise ValueError(f"user_rule must give a tuple of labels that are not empty, got {labels!r}")
    return (_ROOT, *labels)


# ---------------------------------------------------------------------- settings


@dataclass
class MemoryItem:
    """A memory that was found.

    Attributes:
        key: its name among the user's memories.
        value: the object that was saved.
        score: higher is better, among the hits of one search; None where the server has no encoder, so that meaning does not count.
    """

    key: str
    value: dict[str, Any]
    score: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The three as a dict, ready for JSON."""
        return {"key": self.key, "value": self.value, "score": self.score}


def _setting(settings: Any, name: str, variable: str) -> Any:
    """Of the settings' object (attribute or member), else of the environment, else None. An empty text counts as none."""
    value = settings.get(name) if isinstance(settings, Mapping) else getattr(settings, name, None)
    return value if value not in (None, "") else os.environ.get(variable) or None


def _dims(value: Any, where: str) -> int | None:
    if value is None:
        return None
    try:
        n = int(value) if isinstance(value, str) else value
    except ValueError:
        n = 0
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise ValueError(f"{where} must be a number of dimensions above 0, got {value!r}")
    return n


class _Request(NamedTuple):
    method: str
    path: str
    body: bytes | None = None


_Steps = Generator[_Request, bytes, _T]  # what is asked, what is answered, and what comes of it: the same for threads and event loops


def _say_once(level: int, what: tuple[Any, ...], text: str) -> None:
    if what not in _said:
        if len(_said) < 1000:
            _said.add(what)
        _log.log(level, "%s", text)


class _Memory:
    """What both classes share: settings, requests, answers."""

    def __init__(self, instance_name: str | None = None, embedding_endpoint: str | None = None, embedding_dims: int | None = None, *,
                 oauth_token: str | None = None, url: str | None = None, client: Client | None = None, settings: Any = None,
                 user_rule: str | UserRule | None = None, ttl: float | None = None, index_wait: float = 2.0, **options: Any) -> None:
        self._named = instance_name is not None
        self.instance_name: str | None = instance_name if self._named else _setting(settings, "lakebase_instance_name", "LAKEBASE_INSTANCE_NAME")
        self.embedding_endpoint: str | None = (embedding_endpoint if embedding_endpoint is not None
                                               else _setting(settings, "embedding_endpoint", "EMBEDDING_ENDPOINT"))
        self.embedding_dims = (_dims(embedding_dims, "embedding_dims") if embedding_dims is not None
                               else _dims(_setting(settings, "embedding_dims", "EMBEDDING_DIMS"), "the setting embedding_dims"))
        self.user_rule = user_rule or _setting(settings, "cenote_user_rule", "CENOTE_USER_RULE") or "reversible"
        _rule(self.user_rule)
        if ttl is not None and not ttl > 0:
            raise ValueError(f"ttl must be above 0 minutes, got {ttl!r}")
        if not 0 <= index_wait <= _WAIT_MAX:
            raise ValueError(f"index_wait must be 0 to {_WAIT_MAX:.0f} seconds, got {index_wait!r}")
        self.ttl, self.index_wait = ttl, index_wait
        self.get_failures = 0
        self._lock = threading.Lock()
        self._encoders: list[str] | None = None  # what the server encodes with; None: not asked yet
        self._asked = 0.0
        if client is not None and (url is not None or oauth_token is not None or options):
            raise ValueError("a client has its URL, key and options already: give either client, or url, oauth_token and options")
        if oauth_token is not None:
            # Nothing else may take its place: the request would be made in the name of the service.
            if not oauth_token:
                raise ValueError("oauth_token must not be empty")
            if options.get("api_key") is not None:
                raise ValueError("give either oauth_token or api_key")
            options["api_key"] = oauth_token
        self._owns = client is None
        self.client = Client(url, **options) if client is None else client  # connects when it is first asked for something
        if self._owns:
            weakref.finalize(self, self.client.close)  # a memory that was made for one request ends with it

    def __repr__(self) -> str:
        return f"<cenote.{type(self).__name__} {self.client.url}>"

    def namespace(self, user_id: str) -> tuple[str, ...]:
        """Where the user's memories lie, by the rule of this memory: see `user_namespace`."""
        return user_namespace(user_id, self.user_rule)

    # -------------------------------------------------------------- the server

    def _differs(self, dims: int | None) -> str | None:
        """What is not as it was asked for, in one sentence. dims: what the server's vectors have, None when not known."""
        models = self._encoders or []
        wanted = f"embedding_endpoint {self.embedding_endpoint!r}" if self.embedding_endpoint else "embedding_dims"
        wanted += f" with {self.embedding_dims} dimensions" if self.embedding_dims else ""
        has = f"the server at {self.client.url} "
        if not models and (self.embedding_endpoint or self.embedding_dims):
            return f"{wanted} was asked for, but {has}has no encoder and searches by words alone; its settings embed.* give it one"
        shown = " and ".join(map(repr, models)) + (f" ({dims} dimensions)" if dims else "")
        if self.embedding_endpoint and self.embedding_endpoint not in models:
            return f"{wanted} was asked for, but {has}encodes with {shown}; its setting embed.model says what with"
        if self.embedding_dims and dims and dims != self.embedding_dims:
            return f"{wanted} was asked for, but {has}encodes with {shown}; its settings embed.model and embed.dims say how"
        return None

    def _serving_dims(self) -> _Steps[int | None]:
        """Dimensions of the vectors in use, without asking the encoder; None when there are none yet, or the key may not know."""
        try:
            model = _json.loads_exact((yield _Request("GET", "/cenote/v1/vectors")))["model"]
        except PermissionDeniedError:
            return None
        name, _, dims = (model or "").rpartition("/")
        return int(dims) if name in (self._encoders or ()) and dims.isdigit() else None

    def _encoded_dims(self) -> _Steps[int | None]:
        """Dimensions of a vector that is made now."""
        model = self.embedding_endpoint or (self._encoders or [""])[0]
        try:
            body = yield _Request("POST", "/v1/embeddings", _json.dumps_exact({"model": model, "input": "dimensions"}))
        except NotFoundError:
            return None  # has just been changed
        return len(_json.loads_exact(body)["data"][0]["embedding"])

    def _ask_models(self) -> _Steps[None]:
        models = _json.loads_exact((yield _Request("GET", "/v1/models")))["data"]
        self._encoders, self._asked = [m["id"] for m in models if m.get("kind") != "chat"], time.monotonic()

    def _open(self) -> _Steps[None]:
        """Before the first call: looks at what the server is, and says what is not as it was asked for."""
        first = self._encoders is None
        if not first and (self._encoders or time.monotonic() < self._asked + _ASK_AGAIN):
            return
        yield from self._ask_models()
        names = (self.client.url, self.embedding_endpoint, self.embedding_dims)
        if first:
            self._say_instance()
        if first and (self.embedding_endpoint or self.embedding_dims) and names not in _said:
            different = self._differs((yield from self._serving_dims()) if self._encoders else None)
            if different:
                _say_once(logging.WARNING, names, different)

    def _say_instance(self) -> None:
        if self.instance_name:
            _say_once(logging.WARNING if self._named else logging.INFO, (self.client.url, self.instance_name),
                      f"instance_name {self.instance_name!r} chooses no database: memories are kept by the server at {self.client.url}, in its store")

    def _batch(self, op: Op, query: str = "") -> _Steps[Any]:
        request, counts = _encode([op])
        if request is None:  # a search for 0 hits
            return []
        body = yield _Request("POST", _PATH + query, request)
        return _decode(body, [op], counts)[0]

    # -------------------------------------------------------------- operations

    def _setup(self) -> _Steps[None]:
        with span("setup_memory_store", "MEMORY", instance_name=self.instance_name, embedding_endpoint=self.embedding_endpoint) as s:
            yield from self._check_and_make()
            s.set_outputs({"status": "success"})

    def _check_and_make(self) -> _Steps[None]:
        yield from self._ask_models()
        dims = (yield from self._serving_dims()) if self._encoders else None
        if dims is None and self.embedding_dims and self._encoders and self.embedding_endpoint in (None, *self._encoders):
            dims = yield from self._encoded_dims()
        different = self._differs(dims)
        if different:
            raise ConfigurationMismatch(different)
        self._say_instance()
        # A tenant's tables are made by its first write; where they are there, nothing is left of this one.
        where: tuple[str, ...] = (_ROOT,)
        try:
            yield from self._batch(PutOp(where, "setup", {}, False, 1.0))
            yield from self._batch(PutOp(where, "setup", None))
        except PermissionDeniedError:
            # The key is bound to a user, or only reads: the tables are whoever's who writes first. That it may read is seen here.
            yield _Request("GET", "/cenote/v1/threads?limit=1")

    def _save(self, user_id: str, memory_key: str, memory_data: dict[str, Any]) -> _Steps[str]:
        if not isinstance(memory_data, dict):
            raise TypeError(f"memory_data must be a dict, got {type(memory_data).__name__}")
        op = PutOp(self.namespace(user_id), memory_key, memory_data, None, self.ttl)
        request, counts = _encode([op])
        about = {"user_id": user_id, "memory_key": memory_key, "data_keys": list(memory_data)}
        with span("save_memory", "MEMORY", **about) as s:
            yield from self._open()
            with span("store_put", "CHAIN", **about) as put:
                yield from self._put(op, request, counts)
                put.set_outputs({"status": "success"})
            s.set_outputs({"status": "success"})
        return f"Successfully saved memory with key '{memory_key}'"

    def _put(self, op: PutOp, request: bytes | None, counts: Any) -> _Steps[None]:
        wait = f"&wait=indexed&wait_ms={max(1, round(self.index_wait * 1000))}" if self.index_wait else ""
        body = yield _Request("POST", _PATH + wait, request)
        _decode(body, [op], counts)
        answer = _json.loads_exact(body) if wait else {}
        if answer.get("indexed") is False:
            _log.info("memory %r is saved, and is found by words until it has its vector: %s", op.key, answer.get("note"))

    def _search(self, user_id: str, query: str, limit: int) -> _Steps[list[MemoryItem]]:
        op = SearchOp(self.namespace(user_id), None, limit, 0, query)
        _encode([op])
        about = {"user_id": user_id, "query": query, "limit": limit}
        with span("search_memories", "RETRIEVER", **about) as s:
            yield from self._open()
            with span("store_search", "CHAIN", **about) as search:
                hits: list[SearchItem] = list((yield from self._batch(op)))
                found = {"result_count": len(hits), "keys": [h.key for h in hits]}
                search.set_outputs(found)
            s.set_outputs(found)
        by_meaning = bool(self._encoders)
        return [MemoryItem(h.key, h.value, float(h.score) if by_meaning and h.score is not None else None) for h in hits]

    def _get(self, user_id: str, memory_key: str) -> _Steps[dict[str, Any] | None]:
        with span("get_memory", "MEMORY", user_id=user_id, memory_key=memory_key) as s:
            yield from self._open()
            item = yield from self._batch(GetOp(self.namespace(user_id), memory_key))
            s.set_outputs({"status": "success", "found": item is not None})
        return item.value if item else None

    def _get_failed(self, memory_key: str, error: Exception) -> None:
        with self._lock:
            self.get_failures += 1
        _log.warning("memory %r could not be read and counts as absent: %s: %s", memory_key, type(error).__name__, error,
                     exc_info=None if isinstance(error, CenoteError) else error)

    def _delete(self, user_id: str, memory_key: str) -> _Steps[str]:
        op = PutOp(self.namespace(user_id), memory_key, None)
        _encode([op])
        with span("delete_memory", "MEMORY", user_id=user_id, memory_key=memory_key) as s:
            yield from self._open()
            yield from self._batch(op)
            s.set_outputs({"status": "success"})
        return f"Successfully deleted memory with key '{memory_key}'"


# ----------------------------------------------------------------------- classes


class LongTermMemory(_Memory):
    """Long-term memory of users: JSON objects under keys, found by meaning and by words. For threads; `AsyncLongTermMemory` is for event loops.

    Args:
        instance_name: name of the database instance; else `settings.lakebase_instance_name`, else LAKEBASE_INSTANCE_NAME of the environment. The
            server has its database already (its setting `store`), so this name chooses nothing, which is logged once.
        embedding_endpoint: name of the embedding model; else `settings.embedding_endpoint`, else EMBEDDING_ENDPOINT of the environment.
            It must be the one that the server encodes with (its setting `embed.model`): see `setup`.
        embedding_dims: dimensions of its vectors; else `settings.embedding_dims`, else EMBEDDING_DIMS of the environment. See `setup`.
        oauth_token: the user's token, in whose name requests are made: sent as the bearer token, and CENOTE_API_KEY does not count. The
            server gives a token that is bound to a user that user's memories alone.
        url: the server's URL; with `options` as `Client` has them (api_key, user, timeout, retries, headers, ssl_context).
        client: the server's `Client`, to be shared, instead of the three above.
        settings: an object, or a mapping, with the settings named here.
        user_rule: how a user's id becomes a namespace: see `user_namespace`; else `settings.cenote_user_rule`, else CENOTE_USER_RULE of the
            environment, else "reversible", by which no two users share one.
        ttl: minutes after which a memory that is neither saved again nor read is removed; None: what the server is configured for, which is
            never unless it says otherwise.
        index_wait: seconds that `save_memory` waits, after the memory is durable, until it is found by meaning; 0: not at all.

    What is given counts, then the settings, then the environment. Nothing is connected before the first call. Connections end with the memory, so
    that one may be made for each request, with the caller's token; `with` and `close` end them earlier.

    Attributes:
        get_failures: how many calls of `get_memory` gave None because of an error.

    Raises:
        ValueError: an argument is malformed; every method also for a user's id or a key that is empty or malformed.
        CenoteError: every method but `get_memory`, when the server cannot be reached or refuses.
    """

    def __enter__(self) -> LongTermMemory:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """Closes the memory's client, if it is its own."""
        if self._owns:
            self.client.close()

    def _run(self, steps: _Steps[_T]) -> _T:
        answer: bytes | None = None
        error: CenoteError | None = None
        with contextlib.closing(steps):  # what is given up ends its spans here, not whenever it is collected
            while True:
                try:
                    ask = steps.throw(error) if error else steps.send(answer)  # type: ignore[arg-type]
                except StopIteration as end:
                    result: _T = end.value
                    return result
                answer, error = None, None
                try:
                    answer = self.client.request(ask.method, ask.path, ask.body, _TYPE if ask.body is not None else None)
                except CenoteError as e:
                    error = e

    def setup(self) -> None:
        """Checks the server, and has tables and indexes made where they are not there yet. Any number of times, with the same outcome.

        Raises:
            ConfigurationMismatch: the server encodes with another model than embedding_endpoint, in other dimensions than embedding_dims, or
                not at all; it says what is configured on both sides.
        """
        self._run(self._setup())

    def save_memory(self, user_id: str, memory_key: str, memory_data: dict[str, Any]) -> str:
        """Saves an object under a key of the user, in place of an earlier one. Durable when it returns.

        Returns:
            "Successfully saved memory with key '...'".
        """
        return self._run(self._save(user_id, memory_key, memory_data))

    def search_memories(self, user_id: str, query: str, limit: int = 5) -> list[MemoryItem]:
        """The user's memories that have most to do with the query, best first, at most `limit`. An empty query: the latest first."""
        return self._run(self._search(user_id, query, limit))

    def get_memory(self, user_id: str, memory_key: str) -> dict[str, Any] | None:
        """The object under a key of the user; None when there is none, and also when the server cannot say: that is logged (logger `cenote`) and
        counted in `get_failures`."""
        self.namespace(user_id)  # a malformed id is the caller's error
        try:
            return self._run(self._get(user_id, memory_key))
        except Exception as e:
            self._get_failed(memory_key, e)
            return None

    def delete_memory(self, user_id: str, memory_key: str) -> str:
        """Removes what lies under a key of the user; that there is nothing is no error.

        Returns:
            "Successfully deleted memory with key '...'".
        """
        return self._run(self._delete(user_id, memory_key))


class AsyncLongTermMemory(_Memory):
    """`LongTermMemory` for event loops: the same arguments, the same methods as coroutines. What has connections of its own must be closed, by
    `async with` or `aclose`."""

    async def __aenter__(self) -> AsyncLongTermMemory:
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes the memory's client, if it is its own."""
        if self._owns:
            await self.client.aclose()

    async def _run(self, steps: _Steps[_T]) -> _T:
        answer: bytes | None = None
        error: CenoteError | None = None
        with contextlib.closing(steps):  # what is given up ends its spans here, not whenever it is collected
            while True:
                try:
                    ask = steps.throw(error) if error else steps.send(answer)  # type: ignore[arg-type]
                except StopIteration as end:
                    result: _T = end.value
                    return result
                answer, error = None, None
                try:
                    answer = await self.client.arequest(ask.method, ask.path, ask.body, _TYPE if ask.body is not None else None)
                except CenoteError as e:
                    error = e

    async def setup(self) -> None:
        """See `LongTermMemory.setup`."""
        await self._run(self._setup())

    async def save_memory(self, user_id: str, memory_key: str, memory_data: dict[str, Any]) -> str:
        """See `LongTermMemory.save_memory`."""
        return await self._run(self._save(user_id, memory_key, memory_data))

    async def search_memories(self, user_id: str, query: str, limit: int = 5) -> list[MemoryItem]:
        """See `LongTermMemory.search_memories`."""
        return await self._run(self._search(user_id, query, limit))

    async def get_memory(self, user_id: str, memory_key: str) -> dict[str, Any] | None:
        """See `LongTermMemory.get_memory`."""
        self.namespace(user_id)
        try:
            return await self._run(self._get(user_id, memory_key))
        except Exception as e:
            self._get_failed(memory_key, e)
            return None

    async def delete_memory(self, user_id: str, memory_key: str) -> str:
        """See `LongTermMemory.delete_memory`."""
        return await self._run(self._delete(user_id, memory_key))
