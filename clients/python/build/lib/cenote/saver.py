"""LangGraph's checkpoints on a Cenote server.

    with CenoteSaver.connect("http://127.0.0.1:8000") as saver:
        graph = builder.compile(checkpointer=saver)
        graph.invoke(input, {"configurable": {"thread_id": "t1"}})

What is stored where (values of channels are bytes that the server does not look into):
 1. None, booleans, integers of 64 bits, and strings and floats that jsonb keeps as they are lie in the checkpoint's JSON; everything else is a
    value of its own, written once for a version of its channel, in the form of `serde`.
 2. Strings with U+0000 or lone surrogates, floats such as NaN, -0.0 and those from 1e16 on, and larger integers are values of their own
    too, so that they come back as they were. In metadata, which is JSON alone, U+0000 is removed, a lone surrogate becomes U+FFFD, NaN null.
"""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    get_serializable_checkpoint_metadata,
)
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from cenote import _json
from cenote._errors import ServerError, from_problem
from cenote._http import Client

try:
    from langgraph.checkpoint.serde.types import _DeltaSnapshot
except ImportError:  # before delta channels

    class _DeltaSnapshot:  # type: ignore[no-redef]
        pass


_PATH = "/cenote/v1/checkpoints"
_TYPE = "application/vnd.cenote.frames"
_TASKS = "__pregel_tasks"
_PAGE_FIRST, _PAGE_MAX = 50, 1000


# ----------------------------------------------------------------------- frames


def _pack(op: dict[str, Any], parts: list[bytes]) -> bytes:
    head = _json.dumps_fast({"ops": [op]})
    if head is None:
        # Only what a user's own values are in: a name is refused by the server rather than changed.
        op = {**op, **{k: _json.clean(op[k]) for k in ("metadata", "filter") if op.get(k)}}
        head = _json.dumps_exact({"ops": [op]})
    return b"".join((len(head).to_bytes(4, "little"), head, *parts))


def _unpack(body: bytes) -> tuple[Any, int]:
    """The result of a request's only operation, and where its values begin."""
    end = 4 + int.from_bytes(body[:4], "little")
    if len(body) < 4 or end > len(body):
        raise ServerError("the answer ends within its head")
    result = _json.loads_fast(body[4:end])["results"][0]
    if "ok" not in result:
        problem = result["error"]
        raise from_problem(problem, problem.get("status", 500))
    return result["ok"], end


def _head_exactly(body: bytes) -> Any:
    return _json.loads_exact(body[4:4 + int.from_bytes(body[:4], "little")])["results"][0]["ok"]


class _Listing:
    """The pages of one listing. A page is larger than the one before, as whoever reads on is likely to want all."""

    def __init__(self, op: dict[str, Any], limit: int | None) -> None:
        self._op, self._left, self._size = op, limit, _PAGE_FIRST

    def request(self) -> bytes | None:
        """For the next page; None when there is nothing more to ask for."""
        if self._left is not None and self._left <= 0:
            return None
        want = self._size if self._left is None or self._left > 2 * self._size else self._left
        self._size = min(_PAGE_MAX, self._size * 4)
        return _pack({**self._op, "limit": want}, [])

    def took(self, n: int, cursor: str | None) -> None:
        self._op["cursor"] = cursor
        if cursor is None:
            self._left = 0
        elif self._left is not None:
            self._left -= n


# ----------------------------------------------------------------------- values


def _fits_json(v: Any) -> bool:
    """Whether JSON, as jsonb keeps it, gives the value back as it was."""
    if v is None:
        return True
    t = type(v)
    if t is str:
        if v.isascii():
            return "\0" not in v
        try:
            v.encode()
        except UnicodeEncodeError:
            return False
        return "\0" not in v
    if t is bool:
        return True
    if t is int:
        return -(1 << 63) <= v < (1 << 63)
    if t is float:
        return -1e16 < v < 1e16 and (v != 0.0 or str(v) == "0.0")
    return False  # also subclasses, whose type is worth keeping


def _thread_of(config: RunnableConfig) -> tuple[dict[str, Any], str]:
    conf = config.get("configurable") or {}
    thread = conf.get("thread_id")
    if thread is None:
        raise ValueError('config["configurable"]["thread_id"] is missing: it names the thread whose checkpoints are meant')
    return conf, str(thread)


def _config(thread: str, ns: str, checkpoint_id: str) -> RunnableConfig:
    return {"configurable": {"thread_id": thread, "checkpoint_ns": ns, "checkpoint_id": checkpoint_id}}


def _strict_serde() -> SerializerProtocol:
    """Only types that are known to be harmless, and those of the graph's own schemas, are made again from stored bytes; LangGraph finds the
    latter when a graph is compiled, if it is told that they are wanted. LANGGRAPH_STRICT_MSGPACK decides when it is set."""
    if os.environ.get("LANGGRAPH_STRICT_MSGPACK"):
        return JsonPlusSerializer()
    try:
        from langgraph._internal import _serde

        _serde.STRICT_MSGPACK_ENABLED = True
    except ImportError:
        pass  # no graphs here
    return JsonPlusSerializer(allowed_msgpack_modules=None)


class AsyncCenoteSaver(BaseCheckpointSaver[str]):
    """LangGraph's checkpointer on a Cenote server, for event loops: the `a...` methods alone.

    Args:
        client: the server's `Client`, to be shared, or its URL. With a URL, or none, the saver has a client of its own and `close` closes it.
        serde: how values become bytes; LangGraph's `JsonPlusSerializer` that makes no unknown types (see README) when None.

    Every method may raise `CenoteError`: `ConnectionFailed` and `TimeoutExceeded` after all attempts, `InvalidRequestError` for names or
    sizes beyond the server's limits, `ConflictError` when the thread belongs to another user. Every method may safely be repeated.
    """

    client: Client

    def __init__(self, client: Client | str | None = None, *, serde: SerializerProtocol | None = None) -> None:
        super().__init__(serde=serde or _strict_serde())
        self._owns = not isinstance(client, Client)
        self.client = client if isinstance(client, Client) else Client(client)

    @classmethod
    def connect(cls, url: str | None = None, *, serde: SerializerProtocol | None = None, **options: Any):  # type: ignore[no-untyped-def]
        """A saver with a client of its own, for `with` or `async with`.

        Args:
            url, options: as `Client` has them (api_key, user, timeout, retries, headers, ssl_context).
        """
        saver = cls(Client(url, **options), serde=serde)
        saver._owns = True
        return saver

    async def __aenter__(self):  # type: ignore[no-untyped-def]
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes the saver's client, if it is its own."""
        if self._owns:
            await self.client.aclose()

    # ---------------------------------------------------------------- requests

    def _put_request(self, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata,
                     new_versions: ChannelVersions) -> tuple[bytes, RunnableConfig]:
        conf, thread = _thread_of(config)
        ns = conf.get("checkpoint_ns") or ""
        dumps = self.serde.dumps_typed
        inline: dict[str, Any] = {}
        values: list[tuple[str, str, str, int]] = []
        parts: list[bytes] = []
        for channel, v in checkpoint["channel_values"].items():
            if _fits_json(v):
                inline[channel] = v
                continue
            if isinstance(v, _DeltaSnapshot):
                inline[channel] = True
            if channel in new_versions:
                # msgpack ends at 64 bits, which is where JSON begins to be needed.
                kind, data = ("json", b"%d" % v) if type(v) is int else dumps(v)
                values.append((channel, str(new_versions[channel]), kind, len(data)))
                parts.append(data)
        op: dict[str, Any] = {
            "op": "put", "thread": thread, "ns": ns, "id": checkpoint["id"], "parent": conf.get("checkpoint_id"),
            "checkpoint": {**checkpoint, "channel_values": inline},
            "metadata": get_serializable_checkpoint_metadata(config, metadata), "values": values,
        }
        return _pack(op, parts), _config(conf["thread_id"], ns, checkpoint["id"])

    def _writes_request(self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str) -> bytes:
        conf, thread = _thread_of(config)
        if not conf.get("checkpoint_id"):
            raise ValueError('config["configurable"]["checkpoint_id"] is missing: writes belong to a checkpoint')
        dumps = self.serde.dumps_typed
        rows, parts = [], []
        for i, (channel, v) in enumerate(writes):
            kind, data = dumps(v)
            rows.append((WRITES_IDX_MAP.get(channel, i), channel, kind, len(data)))
            parts.append(data)
        return _pack({"op": "writes", "thread": thread, "ns": conf.get("checkpoint_ns") or "", "id": conf["checkpoint_id"],
                      "task_id": task_id, "task_path": task_path, "writes": rows}, parts)

    @staticmethod
    def _get_request(config: RunnableConfig) -> bytes:
        conf, thread = _thread_of(config)
        return _pack({"op": "get", "thread": thread, "ns": conf.get("checkpoint_ns") or "", "id": conf.get("checkpoint_id")}, [])

    @staticmethod
    def _list_op(config: RunnableConfig | None, filter: dict[str, Any] | None, before: RunnableConfig | None) -> dict[str, Any]:
        op: dict[str, Any] = {"op": "list", "filter": filter or None}
        if config is not None:
            conf, op["thread"] = _thread_of(config)
            op["ns"] = conf.get("checkpoint_ns")
            op["id"] = conf.get("checkpoint_id") or None
        if before is not None:
            op["before"] = (before.get("configurable") or {}).get("checkpoint_id")
        return op

    @staticmethod
    def _history_request(config: RunnableConfig, channels: Sequence[str]) -> bytes:
        conf, thread = _thread_of(config)
        return _pack({"op": "history", "thread": thread, "ns": conf.get("checkpoint_ns") or "", "id": conf.get("checkpoint_id"),
                      "channels": list(dict.fromkeys(channels))}, [])

    @staticmethod
    def _prune_request(thread_ids: Sequence[str], strategy: str) -> bytes | None:
        if isinstance(thread_ids, str):
            raise TypeError("thread_ids is a sequence of thread ids, not one text")
        if strategy not in ("keep_latest", "delete"):
            raise ValueError(f'strategy must be "keep_latest" or "delete", got {strategy!r}')
        threads = [str(t) for t in thread_ids]
        return _pack({"op": "prune", "threads": threads, "strategy": strategy}, []) if threads else None

    @staticmethod
    def _runs_request(run_ids: Sequence[str]) -> bytes | None:
        if isinstance(run_ids, str):
            raise TypeError("run_ids is a sequence of run ids, not one text")
        runs = [str(r) for r in run_ids]
        return _pack({"op": "delete_runs", "runs": runs}, []) if runs else None

    # ----------------------------------------------------------------- answers

    def _tuple(self, t: dict[str, Any], body: bytes, at: int) -> tuple[CheckpointTuple, int]:
        loads = self.serde.loads_typed
        checkpoint, thread, ns = t["checkpoint"], t["thread"], t["ns"]
        values = checkpoint.get("channel_values")
        if values is None:
            values = checkpoint["channel_values"] = {}
        for channel, _, kind, n in t["values"]:
            end = at + n
            values[channel] = loads((kind, body[at:end]))
            at = end
        pending = []
        for task_id, _, _, channel, kind, n in t["writes"]:
            end = at + n
            pending.append((task_id, channel, loads((kind, body[at:end]))))
            at = end
        if "sends" in t:
            sends = []
            for kind, n in t["sends"]:
                sends.append(loads((kind, body[at:at + n])))
                at += n
            versions = checkpoint.setdefault("channel_versions", {})
            values[_TASKS] = sends
            versions[_TASKS] = max(versions.values()) if versions else self.get_next_version(None, None)
        parent = t["parent"]
        return CheckpointTuple(
            _config(thread, ns, t["id"]), checkpoint, t["metadata"], _config(thread, ns, parent) if parent else None, pending,
        ), at

    @staticmethod
    def _has_huge(t: dict[str, Any]) -> bool:
        return _json.huge(t["checkpoint"].get("channel_values")) or _json.huge(t["metadata"])

    def _one(self, body: bytes) -> CheckpointTuple | None:
        t, at = _unpack(body)
        if t is None:
            return None
        if self._has_huge(t):
            t = _head_exactly(body)
        return self._tuple(t, body, at)[0]

    def _many(self, body: bytes) -> tuple[list[CheckpointTuple], str | None]:
        page, at = _unpack(body)
        if any(self._has_huge(t) for t in page["tuples"]):
            page = _head_exactly(body)
        out = []
        for t in page["tuples"]:
            one, at = self._tuple(t, body, at)
            out.append(one)
        return out, page["cursor"]

    def _histories(self, body: bytes) -> dict[str, Any]:
        result, at = _unpack(body)
        if _json.huge([h.get("seed") for h in result["channels"].values()]):
            result = _head_exactly(body)
        loads = self.serde.loads_typed
        out: dict[str, Any] = {}
        for channel, h in result["channels"].items():
            entry: dict[str, Any] = {"writes": []}
            seed = h.get("seed")
            if seed is not None and seed[0] == "json":
                entry["seed"] = seed[1]
            elif seed is not None:
                entry["seed"] = loads((seed[1], body[at:at + seed[2]]))
                at += seed[2]
            for task_id, kind, n in h["writes"]:
                entry["writes"].append((task_id, channel, loads((kind, body[at:at + n]))))
                at += n
            out[channel] = entry
        return out

    # ------------------------------------------------------------- event loops

    async def _acall(self, request: bytes) -> bytes:
        return await self.client.arequest("POST", _PATH, request, _TYPE)

    async def _ado(self, op: dict[str, Any]) -> None:
        _unpack(await self._acall(_pack(op, [])))

    async def aput(self, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata,
                   new_versions: ChannelVersions) -> RunnableConfig:
        """Stores a checkpoint under config's thread; config's checkpoint_id, if any, is its parent. Durable when it returns.

        Returns:
            `{"configurable": {"thread_id", "checkpoint_ns", "checkpoint_id"}}` of the new checkpoint.
        """
        request, out = self._put_request(config, checkpoint, metadata, new_versions)
        await self._acall(request)
        return out

    async def aput_writes(self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = "") -> None:
        """Stores what a task has written from a checkpoint, `[(channel, value)]`. Durable when it returns."""
        if writes:
            await self._acall(self._writes_request(config, writes, task_id, task_path))

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """The checkpoint that config names, or its thread's latest; None when there is none."""
        return self._one(await self._acall(self._get_request(config)))

    async def alist(self, config: RunnableConfig | None, *, filter: dict[str, Any] | None = None, before: RunnableConfig | None = None,
                    limit: int | None = None) -> AsyncIterator[CheckpointTuple]:
        """Checkpoints, the newest first, fetched page by page.

        Args:
            config: of this thread, and namespace and id where it has them; None: of all threads.
            filter: what metadata must contain.
            before: only those older than its checkpoint_id.
            limit: at most so many; None: all.
        """
        listing = _Listing(self._list_op(config, filter, before), limit)
        while request := listing.request():
            tuples, cursor = self._many(await self._acall(request))
            listing.took(len(tuples), cursor)
            for t in tuples:
                yield t

    async def adelete_thread(self, thread_id: str) -> None:
        """Removes all checkpoints and writes of a thread; a thread that is not there is no error."""
        await self._ado({"op": "delete_thread", "thread": str(thread_id)})

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Removes the checkpoints whose metadata has one of these run ids, and their writes."""
        request = self._runs_request(run_ids)
        if request:
            await self._acall(request)

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copies a thread, whole, to a name without checkpoints.

        Raises:
            NotFoundError: there is no such source.
            ConflictError: the target has checkpoints.
        """
        await self._ado({"op": "copy", "from": str(source_thread_id), "to": str(target_thread_id)})

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Removes old checkpoints of threads: all but the newest of each namespace, and what it takes to rebuild that (`keep_latest`), or
        all (`delete`)."""
        request = self._prune_request(thread_ids, strategy)
        if request:
            await self._acall(request)

    async def aget_delta_channel_history(self, *, config: RunnableConfig, channels: Sequence[str]) -> Mapping[str, Any]:
        """What rebuilds delta channels: for each, `{"writes": [(task_id, channel, value)..], "seed"?: value}` of the ancestors of the
        checkpoint that config names, the oldest first."""
        if not channels:
            return {}
        return self._histories(await self._acall(self._history_request(config, channels)))

    # -------------------------------------------------------------------- both

    def get_next_version(self, current: str | int | None, channel: None = None) -> str:  # type: ignore[override]
        """The version after `current`: a count, and a random tail, so that two branches of a thread never share one."""
        if current is None:
            n = 0
        elif isinstance(current, str):
            n = int(current.split(".")[0])
        else:
            n = int(current)
        return f"{n + 1:032}.{random.random():016}"

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        raise self._no_sync()

    def list(self, config, *, filter=None, before=None, limit=None):  # type: ignore[no-untyped-def]
        raise self._no_sync()

    def put(self, config, checkpoint, metadata, new_versions):  # type: ignore[no-untyped-def]
        raise self._no_sync()

    def put_writes(self, config, writes, task_id, task_path=""):  # type: ignore[no-untyped-def]
        raise self._no_sync()

    def delete_thread(self, thread_id: str) -> None:
        raise self._no_sync()

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        raise self._no_sync()

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        raise self._no_sync()

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        raise self._no_sync()

    def get_delta_channel_history(self, *, config: RunnableConfig, channels: Sequence[str]) -> Mapping[str, Any]:
        raise self._no_sync()

    @staticmethod
    def _no_sync() -> NotImplementedError:
        return NotImplementedError("AsyncCenoteSaver is for event loops alone; CenoteSaver has both kinds of methods")


class CenoteSaver(AsyncCenoteSaver):
    """LangGraph's checkpointer on a Cenote server, for threads and for event loops: each method and its `a...` twin. Any number of threads
    and loops may use one saver at once.

        with CenoteSaver.connect("http://127.0.0.1:8000", api_key="...") as saver: ...
        async with CenoteSaver.connect("http://127.0.0.1:8000") as saver: ...
    """

    def __enter__(self) -> CenoteSaver:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """Closes the saver's client, if it is its own."""
        if self._owns:
            self.client.close()

    def _call(self, request: bytes) -> bytes:
        return self.client.request("POST", _PATH, request, _TYPE)

    def _do(self, op: dict[str, Any]) -> None:
        _unpack(self._call(_pack(op, [])))

    def put(self, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata,
            new_versions: ChannelVersions) -> RunnableConfig:
        """See `aput`."""
        request, out = self._put_request(config, checkpoint, metadata, new_versions)
        self._call(request)
        return out

    def put_writes(self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = "") -> None:
        """See `aput_writes`."""
        if writes:
            self._call(self._writes_request(config, writes, task_id, task_path))

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """See `aget_tuple`."""
        return self._one(self._call(self._get_request(config)))

    def list(self, config: RunnableConfig | None, *, filter: dict[str, Any] | None = None, before: RunnableConfig | None = None,
             limit: int | None = None) -> Iterator[CheckpointTuple]:
        """See `alist`."""
        listing = _Listing(self._list_op(config, filter, before), limit)
        while request := listing.request():
            tuples, cursor = self._many(self._call(request))
            listing.took(len(tuples), cursor)
            yield from tuples

    def delete_thread(self, thread_id: str) -> None:
        """See `adelete_thread`."""
        self._do({"op": "delete_thread", "thread": str(thread_id)})

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """See `adelete_for_runs`."""
        request = self._runs_request(run_ids)
        if request:
            self._call(request)

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """See `acopy_thread`."""
        self._do({"op": "copy", "from": str(source_thread_id), "to": str(target_thread_id)})

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """See `aprune`."""
        request = self._prune_request(thread_ids, strategy)
        if request:
            self._call(request)

    def get_delta_channel_history(self, *, config: RunnableConfig, channels: Sequence[str]) -> Mapping[str, Any]:
        """See `aget_delta_channel_history`."""
        return self._histories(self._call(self._history_request(config, channels))) if channels else {}
