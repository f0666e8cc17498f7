"""What can go wrong. Every error is a `CenoteError`; each is also the built-in exception that fits it."""

from __future__ import annotations

import json
from typing import Any


class CenoteError(Exception):
    """An operation failed.

    Attributes:
        status: HTTP status, None when no answer came.
        field: what of the request was wrong, as a JSON pointer or a parameter's name; None when it was not one field.
        request_id: names the request in the server's log; None when no answer came.
        problem: the server's whole answer (RFC 9457), {} when there was none.
    """

    def __init__(self, message: str, *, status: int | None = None, problem: dict[str, Any] | None = None,
                 request_id: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.problem = problem or {}
        self.request_id = request_id or self.problem.get("request_id")
        errors = self.problem.get("errors")
        self.field: str | None = errors[0].get("field") if isinstance(errors, list) and errors else None


class ConnectionFailed(CenoteError, ConnectionError):
    """The server could not be reached, or went away before it answered, also when asked again."""


class TimeoutExceeded(CenoteError, TimeoutError):
    """No answer within the client's timeout, all attempts together."""


class InvalidRequestError(CenoteError, ValueError):
    """The server did not accept what was sent (400, 413, 422): see `field`."""


class AuthenticationError(CenoteError, PermissionError):
    """No API key, or a wrong one (401)."""


class PermissionDeniedError(CenoteError, PermissionError):
    """The API key is not allowed to do this (403)."""


class NotFoundError(CenoteError, LookupError):
    """What was named does not exist, or belongs to somebody else (404)."""


class ConflictError(CenoteError):
    """It exists already, belongs to another user, or has changed meanwhile (409, 412)."""


class ConfigurationMismatch(CenoteError, ValueError):
    """The server is configured otherwise than was asked for: it encodes with another model, or in other dimensions, or not at all."""


class ServerError(CenoteError):
    """The server failed (5xx), or what answered is no Cenote server."""


_BY_STATUS: dict[int, type[CenoteError]] = {
    400: InvalidRequestError, 413: InvalidRequestError, 415: InvalidRequestError, 422: InvalidRequestError,
    401: AuthenticationError, 403: PermissionDeniedError, 404: NotFoundError, 409: ConflictError, 412: ConflictError,
}


def from_problem(problem: dict[str, Any], status: int, request_id: str | None = None) -> CenoteError:
    """The exception for a problem that the server reported."""
    kind = _BY_STATUS.get(status, ServerError if status >= 500 else CenoteError)
    text = problem.get("detail") or problem.get("title") or f"the server answered with status {status}"
    error = kind(str(text), status=status, problem=problem, request_id=request_id)
    if error.field:
        error.args = (f"{error.args[0]} ({error.field})",)
    return error


def from_answer(status: int, headers: dict[bytes, bytes], body: bytes) -> CenoteError:
    """The exception for an answer that is not a success."""
    try:
        problem = json.loads(body)
    except ValueError:
        problem = None
    if isinstance(problem, dict) and isinstance(problem.get("error"), dict):  # as /v1 has it, in OpenAI's form
        problem = {"detail": problem["error"].get("message"), **problem}
    if not isinstance(problem, dict):
        problem = {"detail": f"the server answered with status {status}"}
        if body and headers.get(b"content-type", b"").startswith(b"text/plain"):
            problem["detail"] += ": " + body[:200].decode("utf-8", "replace").strip()
    request_id = headers.get(b"x-request-id")
    return from_problem(problem, status, request_id.decode("latin-1") if request_id else None)
