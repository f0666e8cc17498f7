"""Sessions of the OpenAI Agents SDK on a Cenote server.

    session = CenoteSession("conversation-1", "http://127.0.0.1:8000")
    await Runner.run(agent, "Hello", session=session)

The SDK itself is not needed to import this module: a session is whatever has these four methods.
"""

from __future__ import annotations

import uuid
from typing import Any
from urllib.parse import quote

from cenote import _json
from cenote._http import Client

_TYPE = "application/json"


def _segment(text: str) -> str:
    """A path segment; "." and ".." would mean something else on the way."""
    return text.replace(".", "%2E") if text in (".", "..") else quote(text, safe="")


def _limit(given: int | None, settings: Any) -> int | None:
    if given is None and settings is not None:
        given = settings.get("limit") if isinstance(settings, dict) else settings.limit
    if given is not None and given < 0:
        raise ValueError(f"limit must be 0 or above, got {given}")
    return given


class CenoteSession:
    """The history of one conversation, as JSON objects in the form of Responses input items.

    Args:
        session_id: the session's name; also the name of its thread in Cenote. New ones come to be with their first item. None: a new
            one is made, and stands in `session_id`.
        client: the server's `Client`, to be shared by many sessions, or its URL; with a URL, or none, the session has a client of its own.
        session_settings: the SDK's `SessionSettings` (or None): its `limit` holds for `get_items` without one.

    Every method may raise `CenoteError`: `ConnectionFailed` and `TimeoutExceeded` after all attempts, `InvalidRequestError` for items that
    are no JSON objects or too large, `ConflictError` when the session belongs to another user.
    """

    def __init__(self, session_id: str | None = None, client: Client | str | None = None, *, session_settings: Any = None) -> None:
        if session_id is None:
            session_id = str(uuid.uuid4())
        if not isinstance(session_id, str) or not session_id:
            raise ValueError("session_id must be a text that is not empty")
        self.session_id = session_id
        self.session_settings = session_settings
        self._owns = not isinstance(client, Client)
        self.client = client if isinstance(client, Client) else Client(client)
        self._path = f"/cenote/v1/sessions/{_segment(session_id)}"

    async def __aenter__(self) -> CenoteSession:
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes the session's client, if it is its own."""
        if self._owns:
            await self.client.aclose()

    async def get_items(self, limit: int | None = None) -> list[Any]:
        """The items, the oldest first.

        Args:
            limit: only the newest so many; None: what the settings say, else all.

        Raises:
            ValueError: a negative limit.
        """
        wanted = _limit(limit, self.session_settings)
        body = await self.client.arequest("GET", f"{self._path}/items" + (f"?limit={wanted}" if wanted is not None else ""))
        return _json.loads_exact(body)["data"]

    async def add_items(self, items: list[Any]) -> None:
        """Appends items in order, all or none; durable when it returns. A repeated attempt does not append twice."""
        if items:
            await self._append(items, replace=False)

    async def replace_items(self, items: list[Any]) -> None:
        """Puts items in the place of the whole history, at once: what a compaction needs."""
        await self._append(items, replace=True)

    async def _append(self, items: list[Any], *, replace: bool) -> None:
        request: dict[str, Any] = {"items": list(items)}
        if replace:
            request["replace"] = True
        await self.client.arequest("POST", f"{self._path}/items", _json.dumps_exact(request), _TYPE,
                                   extra=f"Idempotency-Key: {uuid.uuid4().hex}\r\n")

    async def pop_item(self) -> Any | None:
        """Removes the newest item and returns it; None when there is none.

        Raises:
            ConnectionFailed: also when the connection broke after the request was sent: the item may be gone.
        """
        return _json.loads_exact(await self.client.arequest("POST", f"{self._path}/pop", b"{}", _TYPE, repeat=False))["item"]

    async def clear_session(self) -> None:
        """Removes all items; a session that is not there is no error."""
        await self.client.arequest("DELETE", self._path)
