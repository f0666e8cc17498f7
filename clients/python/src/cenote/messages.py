"""What was said in a thread, as the messages of a LangGraph state.

    if not graph.get_state(config).values:
        graph.update_state(config, {"messages": thread_messages(client, "conversation-1")})

So a graph goes on with what was begun in `cenote chat`, over /v1/responses or in a session of the Agents SDK. LangChain is not needed to
import this module: the messages are those of chat completions, which `add_messages` and chat models take.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from cenote import _json
from cenote._errors import NotFoundError
from cenote._http import Client
from cenote.session import _segment

_PAGE = 100  # as many items as the server gives at once
_ROLES = ("user", "assistant", "system", "developer")
_TEXTS = ("input_text", "output_text", "text", "summary_text")


def _part(part: Any) -> Any:
    """A part of a message's content, as chat completions have it; what they do not have stays as it is."""
    if not isinstance(part, dict):
        return part
    kind = part.get("type")
    if kind in _TEXTS:
        return {"type": "text", "text": part.get("text") or ""}
    if kind == "refusal":
        return {"type": "text", "text": part.get("refusal") or ""}
    if kind == "input_image" and isinstance(part.get("image_url"), str):
        return {"type": "image_url", "image_url": {k: v for k, v in (("url", part["image_url"]), ("detail", part.get("detail"))) if v is not None}}
    if kind == "input_file":
        return {"type": "file", "file": {k: v for k, v in part.items() if k != "type"}}
    return part


def _content(content: Any) -> Any:
    """A text where there is nothing but texts, else a list of parts."""
    if not isinstance(content, list):
        return content if isinstance(content, str) else "" if content is None else json.dumps(content, ensure_ascii=False)
    parts = [{"type": "text", "text": p} if isinstance(p, str) else _part(p) for p in content]
    if all(isinstance(p, dict) and p.get("type") == "text" for p in parts):
        return "".join(p["text"] for p in parts)
    return parts


def _arguments(text: Any) -> str:
    """The arguments of a call, which must be a JSON object where messages are made of it."""
    try:
        if isinstance(json.loads(text, strict=False), dict):
            return text
    except (TypeError, ValueError):
        pass  # as a model wrote it: kept as text
    return json.dumps({"arguments": text}, ensure_ascii=False)


def _is_call(item: dict[str, Any]) -> bool:
    return item.get("type") == "function_call" and isinstance(item.get("call_id"), str) and isinstance(item.get("name"), str)


def _answers(items: list[Any]) -> dict[int, dict[str, Any]]:
    """The output of each call that has one, by the call's position. Ids of calls may come again in later turns."""
    waiting: dict[str, list[int]] = {}
    found: dict[int, dict[str, Any]] = {}
    for i, item in enumerate(items):
        if _is_call(item):
            waiting.setdefault(item["call_id"], []).append(i)
        elif item.get("type") == "function_call_output" and waiting.get(str(item.get("call_id"))):
            found[waiting[item["call_id"]].pop()] = item
    return found


def _said(item: dict[str, Any]) -> dict[str, Any]:
    message = {"role": item["role"], "content": _content(item.get("content")), "id": item["id"]}
    if item["role"] == "assistant" and item.get("status") == "incomplete":
        message["response_metadata"] = {"status": "incomplete"}
    return message


def _call(item: dict[str, Any]) -> dict[str, Any]:
    return {"id": item["call_id"], "type": "function", "function": {"name": item["name"], "arguments": _arguments(item.get("arguments"))}}


def _messages(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Items of a conversation, the oldest first, as messages."""
    answers = _answers(items)
    out: list[dict[str, Any]] = []
    asking: dict[str, Any] | None = None  # the message of the assistant that calls belong to
    outputs: list[dict[str, Any]] = []  # of its calls: they follow it at once

    def close() -> None:
        nonlocal asking
        if asking is not None and (asking["content"] or asking.get("tool_calls")):
            out.append(asking)
            out.extend(outputs)
        asking = None
        outputs.clear()

    for i, item in enumerate(items):
        if item.get("type") == "message" and item.get("role") in _ROLES:
            close()
            if item["role"] == "assistant":
                asking = _said(item)
            else:
                out.append(_said(item))
        elif i in answers:
            if asking is None or (outputs and items[i - 1].get("type") == "function_call_output"):
                close()
                asking = {"role": "assistant", "content": "", "id": item["id"]}
            asking.setdefault("tool_calls", []).append(_call(item))
            outputs.append({"role": "tool", "content": _content(answers[i].get("output")), "tool_call_id": item["call_id"], "name": item["name"],
                            "id": answers[i]["id"]})
    close()
    return out


def _newest(messages: list[dict[str, Any]], limit: int | None) -> list[dict[str, Any]]:
    """The newest `limit`; an output whose call is not among them would be refused by models."""
    if limit is None or len(messages) <= limit:
        return messages
    first = len(messages) - limit
    while first < len(messages) and messages[first]["role"] == "tool":
        first += 1
    return messages[first:]


class _Reader:
    """Pages of a conversation, the newest items first, until there is enough."""

    def __init__(self, thread_id: str, limit: int | None) -> None:
        if not isinstance(thread_id, str) or not thread_id:
            raise ValueError("thread_id must be a text that is not empty")
        if limit is not None and limit < 0:
            raise ValueError(f"limit must be 0 or above, got {limit}")
        self.limit = limit
        self.items: list[dict[str, Any]] = []
        self.messages: list[dict[str, Any]] = []
        self._path = f"/v1/conversations/{_segment(thread_id)}/items?order=desc&limit={_PAGE}"
        self.path: str | None = self._path

    def take(self, body: bytes) -> None:
        page = _json.loads_exact(body)
        self.items.extend(page["data"])
        self.path = f"{self._path}&after={quote(page['last_id'], safe='')}" if page.get("has_more") else None
        if self.path is None or self.limit is not None:
            self.messages = _messages(self.items[::-1])
            # One more than is wanted: the oldest may lack what stands on the next page.
            if self.limit is not None and len(self.messages) > self.limit:
                self.path = None

    def missing(self, error: NotFoundError) -> None:
        """A conversation that is not there has no messages; any other 404 is an error."""
        if "error" not in error.problem:
            raise error
        self.path, self.messages = None, []

    def result(self) -> list[dict[str, Any]]:
        return _newest(self.messages, self.limit)


def thread_messages(client: Client | str | None, thread_id: str, *, limit: int | None = None) -> list[dict[str, Any]]:
    """The messages of a thread's conversation, the oldest first: what a state's `messages` channel (`add_messages`) takes.

    Args:
        client: the server's `Client`, or its URL. Its `user`, or the user of its key, is whose thread it must be.
        thread_id: the thread's name: that of a chat, a conversation, a session.
        limit: at most so many, the newest; None: all.

    Each has `role`, `content` and the `id` of its item, so that what is put into a state twice is there once. Calls of tools stand in
    `tool_calls` of the assistant's message, their outputs follow it as messages of the role `tool`; a call without an output is left out, and an
    output without its call. An answer that broke off has what there was of it and `response_metadata` `{"status": "incomplete"}`; one that broke off
    before its first word is left out, as are items of other kinds (reasoning). A thread that is not there, or is somebody else's, has no messages.

    Raises:
        ValueError: an empty thread_id, a negative limit.
        CenoteError: as every call of the client.
    """
    if not isinstance(client, Client):
        with Client(client) as own:
            return thread_messages(own, thread_id, limit=limit)
    reader = _Reader(thread_id, limit)
    while reader.path is not None:
        try:
            reader.take(client.request("GET", reader.path))
        except NotFoundError as e:
            reader.missing(e)
    return reader.result()


async def athread_messages(client: Client | str | None, thread_id: str, *, limit: int | None = None) -> list[dict[str, Any]]:
    """`thread_messages` in an event loop."""
    if not isinstance(client, Client):
        async with Client(client) as own:
            return await athread_messages(own, thread_id, limit=limit)
    reader = _Reader(thread_id, limit)
    while reader.path is not None:
        try:
            reader.take(await client.arequest("GET", reader.path))
        except NotFoundError as e:
            reader.missing(e)
    return reader.result()
