"""Memory for AI agents, kept by a Cenote server.

- `CenoteSaver`, `AsyncCenoteSaver`: LangGraph checkpoints (threads, interrupts, time travel)
- `CenoteStore`, `AsyncCenoteStore`: LangGraph's long-term store
- `CenoteSession`: sessions of the OpenAI Agents SDK
- `Client`: the connections to one server, to be shared by the above
"""

from cenote._errors import (
    AuthenticationError,
    CenoteError,
    ConflictError,
    ConnectionFailed,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    ServerError,
    TimeoutExceeded,
)
from cenote._http import Client
from cenote.saver import AsyncCenoteSaver, CenoteSaver
from cenote.session import CenoteSession
from cenote.store import AsyncCenoteStore, CenoteStore

__all__ = [
    "AsyncCenoteSaver",
    "AsyncCenoteStore",
    "AuthenticationError",
    "CenoteError",
    "CenoteSaver",
    "CenoteSession",
    "CenoteStore",
    "Client",
    "ConflictError",
    "ConnectionFailed",
    "InvalidRequestError",
    "NotFoundError",
    "PermissionDeniedError",
    "ServerError",
    "TimeoutExceeded",
]
__version__ = "0.1.0"
