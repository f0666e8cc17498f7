"""LangGraph's long-term store on a Cenote server.

    with CenoteStore.connect("http://127.0.0.1:8000") as store:
        store.put(("users", "ann"), "likes", {"text": "tea"})
        store.search(("users",), query="what to drink")

A batch is one request and one transaction: gets, then searches, then listings, then puts and deletes, of which the last for a key counts. What is
searched in and how is the server's configuration, and so is a default time to live, unless `ttl` says otherwise here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from langgraph.store.base import (
    NOT_PROVIDED,
    BaseStore,
    GetOp,
    InvalidNamespaceError,
    Item,
    ListNamespacesOp,
    MatchCondition,
    NotProvided,
    Op,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
    TTLConfig,
    _validate_namespace,
)
from langgraph.store.base.batch import AsyncBatchedBaseStore

from cenote import _json
from cenote._errors import CenoteError, from_problem
from cenote._http import Client

try:
    from langgraph.store.base import validate_op_namespace
except ImportError:  # before langgraph-checkpoint 4.3

    def validate_op_namespace(op: Op) -> None:
        """Labels are texts that are not empty and have neither dot nor U+0000."""
        paths: list[Any] = ([c.path for c in op.match_conditions or ()] if isinstance(op, ListNamespacesOp)
                            else [op.namespace_prefix if isinstance(op, SearchOp) else op.namespace])
        for label in (label for path in paths for label in path):
            if not isinstance(label, str) or not label or "." in label or "\0" in label:
                raise InvalidNamespaceError(f"a label of a namespace must be a text that is not empty and has neither dot nor U+0000, got {label!r}")


_PATH = "/cenote/v1/batch?atomic=true"
_TYPE = "application/json"
_SEARCH_PAGE, _LIST_PAGE, _LIMIT_MAX = 1000, 10000, 1_000_000
_NEVER = float("inf")  # minutes: an explicit ttl=None, as opposed to none given


# --------------------------------------------------------------------- requests


def _pages(op: dict[str, Any], limit: int, offset: int, page: int) -> list[dict[str, Any]]:
    """The operation, in pieces that the server takes; none for a limit of 0."""
    if limit < 0 or offset < 0:
        raise ValueError(f"limit and offset must be 0 or above, got {limit} and {offset}")
    if limit > _LIMIT_MAX:
        raise ValueError(f"limit must be at most {_LIMIT_MAX}, got {limit}")
    return [{**op, "limit": min(page, limit - done), "offset": offset + done} for done in range(0, limit, page)]


def _join(conditions: Iterable[MatchCondition], kind: str) -> tuple[str, ...] | None:
    """All conditions of one kind as one; None when no namespace can meet them all."""
    out: list[str] = []
    for c in conditions:
        if c.match_type not in ("prefix", "suffix"):
            raise ValueError(f'match_type must be "prefix" or "suffix", got {c.match_type!r}')
        if c.match_type != kind:
            continue
        path = list(c.path) if kind == "prefix" else list(reversed(c.path))
        for i, label in enumerate(path):
            if i >= len(out):
                out.append(label)
            elif out[i] == "*":
                out[i] = label
            elif label not in ("*", out[i]):
                return None
    return tuple(out) if kind == "prefix" else tuple(reversed(out))


def _put(op: PutOp) -> dict[str, Any]:
    where = {"namespace": list(op.namespace), "key": str(op.key)}
    if op.value is None:
        return {"op": "delete", **where}
    out: dict[str, Any] = {"op": "put", **where, "value": op.value}
    if op.index is not None:
        out["index"] = op.index if op.index is False else list(op.index)
    if op.ttl is not None:
        if not op.ttl > 0:
            raise ValueError(f"ttl must be above 0 minutes, got {op.ttl}")
        out["ttl_minutes"] = 0 if op.ttl == _NEVER else op.ttl
    return out


def _operations(op: Op) -> list[dict[str, Any]]:
    validate_op_namespace(op)
    if isinstance(op, GetOp):
        return [{"op": "get", "namespace": list(op.namespace), "key": str(op.key), "refresh_ttl": op.refresh_ttl}]
    if isinstance(op, PutOp):
        return [_put(op)]
    if isinstance(op, SearchOp):
        search = {"op": "search", "namespace": list(op.namespace_prefix), "filter": op.filter or None, "query": op.query,
                  "refresh_ttl": op.refresh_ttl}
        return _pages(search, op.limit, op.offset, _SEARCH_PAGE)
    if isinstance(op, ListNamespacesOp):
        prefix, suffix = _join(op.match_conditions or (), "prefix"), _join(op.match_conditions or (), "suffix")
        if prefix is None or suffix is None:
            return []
        names = {"op": "list_namespaces", "prefix": list(prefix), "suffix": list(suffix), "max_depth": op.max_depth}
        return _pages(names, op.limit, op.offset, _LIST_PAGE)
    raise TypeError(f"unknown operation {type(op).__name__}")


def _encode(ops: list[Op]) -> tuple[bytes | None, list[int]]:
    """The request (None: there is nothing to ask), and how many of its operations each op became."""
    out: list[dict[str, Any]] = []
    counts = []
    for op in ops:
        mine = _operations(op)
        out += mine
        counts.append(len(mine))
    return (_json.dumps_exact({"operations": out}) if out else None), counts


# ---------------------------------------------------------------------- answers


def _time(text: str) -> Any:
    """As the items' classes parse it."""
    return text[:-1] + "+00:00" if text.endswith("Z") else text  # Python 3.10 does not know Z


def _item(o: dict[str, Any]) -> Item:
    return Item(value=o["value"], key=o["key"], namespace=tuple(o["namespace"]), created_at=_time(o["created_at"]), updated_at=_time(o["updated_at"]))


def _hit(o: dict[str, Any]) -> SearchItem:
    return SearchItem(tuple(o["namespace"]), o["key"], o["value"], _time(o["created_at"]), _time(o["updated_at"]), o.get("score"))


def _result(op: Op, results: list[dict[str, Any]]) -> Result:
    for r in results:
        status = r.get("status", 500)
        if status >= 400 and not (status == 404 and isinstance(op, (GetOp, PutOp))):
            raise from_problem(r.get("problem") or {}, status)
    if isinstance(op, PutOp):
        return None
    if isinstance(op, GetOp):
        return _item(results[0]["item"]) if results[0]["status"] == 200 else None
    if isinstance(op, SearchOp):
        return [_hit(o) for r in results for o in r["items"]]
    return [tuple(n) for r in results for n in r["namespaces"]]


def _decode(body: bytes, ops: list[Op], counts: list[int]) -> list[Result]:
    results = _json.loads_exact(body)["results"]
    if len(results) != sum(counts):
        raise CenoteError(f"the server gave {len(results)} results for {sum(counts)} operations")
    out, at = [], 0
    for op, n in zip(ops, counts, strict=True):
        out.append(_result(op, results[at:at + n]))
        at += n
    return out


class _Connected:
    """What both stores share: the client and its end."""

    client: Client
    _owns: bool

    @classmethod
    def connect(cls, url: str | None = None, *, ttl: TTLConfig | None = None, **options: Any):  # type: ignore[no-untyped-def]
        """A store with a client of its own, for `with` (CenoteStore) or `async with`.

        Args:
            url, options: as `Client` has them (api_key, user, timeout, retries, headers, ssl_context).
            ttl: see the class.
        """
        store = cls(Client(url, **options), ttl=ttl)  # type: ignore[call-arg]
        store._owns = True
        return store

    async def __aenter__(self):  # type: ignore[no-untyped-def]
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes the store's client, if it is its own."""
        if self._owns:
            await self.client.aclose()

    async def _abatch(self, ops: Iterable[Op]) -> list[Result]:
        ops = list(ops)
        request, counts = _encode(ops)
        if request is None:
            return [_result(op, []) for op in ops]
        return _decode(await self.client.arequest("POST", _PATH, request, _TYPE), ops, counts)


def _ttl(config: TTLConfig | None, ttl: float | None | NotProvided) -> float | None:
    """Minutes for a PutOp: None when nobody said, so that the server's default counts."""
    if ttl is NOT_PROVIDED:
        if not config or "default_ttl" not in config:
            return None
        ttl = config["default_ttl"]
    return _NEVER if ttl is None else ttl  # type: ignore[return-value]


class CenoteStore(_Connected, BaseStore):
    """LangGraph's store on a Cenote server, for threads and for event loops.

    Args:
        client: the server's `Client`, to be shared, or its URL; with a URL, or none, the store has a client of its own and `close` closes it.
        ttl: `default_ttl` (minutes) for puts that do not say, and `refresh_on_read` (True); the server's defaults when None.

    Times to live are in minutes, and may be fractions. Items have times in UTC. Scores are higher for better hits.

    Raises (all methods):
        InvalidNamespaceError: a label is empty, no text, or has a dot.
        InvalidRequestError: what the server does not take, such as an unknown operator in a filter; both are ValueErrors.
        CenoteError: see there.
    """

    supports_ttl = True

    def __init__(self, client: Client | str | None = None, *, ttl: TTLConfig | None = None) -> None:
        self._owns = not isinstance(client, Client)
        self.client = client if isinstance(client, Client) else Client(client)
        self.ttl_config = ttl

    def __enter__(self) -> CenoteStore:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """Closes the store's client, if it is its own."""
        if self._owns:
            self.client.close()

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Operations in one request and transaction; results in their order, None for puts. All fail when one does."""
        ops = list(ops)
        request, counts = _encode(ops)
        if request is None:
            return [_result(op, []) for op in ops]
        return _decode(self.client.request("POST", _PATH, request, _TYPE), ops, counts)

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """See `batch`."""
        return await self._abatch(ops)

    def put(self, namespace: tuple[str, ...], key: str, value: Mapping[str, Any], index: Literal[False] | list[str] | None = None, *,
            ttl: float | None | NotProvided = NOT_PROVIDED) -> None:
        """Stores an item. ttl: minutes, None for ever; not given: the default."""
        super().put(namespace, key, value, index, ttl=_ttl(self.ttl_config, ttl))

    async def aput(self, namespace: tuple[str, ...], key: str, value: Mapping[str, Any], index: Literal[False] | list[str] | None = None, *,
                   ttl: float | None | NotProvided = NOT_PROVIDED) -> None:
        """See `put`."""
        await super().aput(namespace, key, value, index, ttl=_ttl(self.ttl_config, ttl))


class AsyncCenoteStore(_Connected, AsyncBatchedBaseStore):
    """`CenoteStore` for one event loop: operations that are asked for in one turn of the loop go out as one batch, and equal reads among
    them once. Make it inside the loop. Its methods without `a` may be called from other threads.

    An error fails all operations of a batch.
    """

    supports_ttl = True

    def __init__(self, client: Client | str | None = None, *, ttl: TTLConfig | None = None) -> None:
        super().__init__()
        self._owns = not isinstance(client, Client)
        self.client = client if isinstance(client, Client) else Client(client)
        self.ttl_config = ttl

    async def aclose(self) -> None:
        """Ends the batching, and closes the store's client, if it is its own."""
        if self._task is not None:
            self._task.cancel()
        await super().aclose()

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Operations in one request and transaction; results in their order, None for puts. All fail when one does."""
        return await self._abatch(ops)

    async def aput(self, namespace: tuple[str, ...], key: str, value: Mapping[str, Any], index: Literal[False] | list[str] | None = None, *,
                   ttl: float | None | NotProvided = NOT_PROVIDED) -> None:
        """Stores an item. ttl: minutes, None for ever; not given: the default."""
        await super().aput(namespace, key, value, index, ttl=_ttl(self.ttl_config, ttl))

    def put(self, namespace: tuple[str, ...], key: str, value: Mapping[str, Any], index: Literal[False] | list[str] | None = None, *,
            ttl: float | None | NotProvided = NOT_PROVIDED) -> None:
        """See `aput`; for other threads."""
        given = _ttl(self.ttl_config, ttl)
        # On its way to aput the base class makes NOT_PROVIDED None, which aput takes for "for ever": so the operation goes as a batch.
        if given is None:
            _validate_namespace(namespace)
            self.batch([PutOp(namespace, str(key), dict(value), index)])
        else:
            super().put(namespace, key, value, index, ttl=given)
