"""Memory for AI agents, kept by a Cenote server.

- `CenoteSaver`, `AsyncCenoteSaver`: LangGraph checkpoints (threads, interrupts, time travel)
- `CenoteStore`, `AsyncCenoteStore`: LangGraph's long-term store
- `LongTermMemory`, `AsyncLongTermMemory`: what is known about users, by key and by meaning
- `CenoteSession`: sessions of the OpenAI Agents SDK
- `thread_messages`, `athread_messages`: what was said in a thread, as the messages of a LangGraph state
- `make_predict_fn`: the function that evaluation runs call, for any agent
- `Client`: the connections to one server, to be shared by the above
"""

from cenote._errors import (
    AuthenticationError,
    CenoteError,
    ConfigurationMismatch,
    ConflictError,
    ConnectionFailed,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    ServerError,
    TimeoutExceeded,
)
from cenote._http import Client
from cenote.long_term import AsyncLongTermMemory, LongTermMemory, MemoryItem, user_namespace
from cenote.messages import athread_messages, thread_messages
from cenote.predict import make_predict_fn
from cenote.saver import AsyncCenoteSaver, CenoteSaver
from cenote.session import CenoteSession
from cenote.store import AsyncCenoteStore, CenoteStore

__all__ = [
    "AsyncCenoteSaver",
    "AsyncCenoteStore",
    "AsyncLongTermMemory",
    "AuthenticationError",
    "CenoteError",
    "CenoteSaver",
    "CenoteSession",
    "CenoteStore",
    "Client",
    "ConfigurationMismatch",
    "ConflictError",
    "ConnectionFailed",
    "InvalidRequestError",
    "LongTermMemory",
    "MemoryItem",
    "NotFoundError",
    "PermissionDeniedError",
    "ServerError",
    "TimeoutExceeded",
    "athread_messages",
    "make_predict_fn",
    "thread_messages",
    "user_namespace",
]
__version__ = "0.1.0"
