"""JSON as fast as it goes: orjson where it is installed, the standard library where it is not or where orjson would change a value."""

from __future__ import annotations

import enum
import json
import math
import uuid
from typing import Any

try:
    import orjson
except ImportError:
    orjson = None  # type: ignore[assignment]

_HUGE = 1.8446744073709552e19  # orjson reads integers from here on as floats


def _default(o: Any) -> Any:
    """What orjson writes by itself."""
    if isinstance(o, uuid.UUID):
        return str(o)
    if isinstance(o, enum.Enum):
        return o.value
    raise TypeError(f"{type(o).__name__} is not JSON")


def dumps_exact(o: Any) -> bytes:
    """Every value as it is.

    Raises:
        ValueError: NaN and infinities, which JSON does not have.
        TypeError: something that is not JSON.
    """
    return json.dumps(o, separators=(",", ":"), allow_nan=False, default=_default).encode()


loads_exact = json.loads


def clean(o: Any) -> Any:
    """The nearest that PostgreSQL's jsonb can hold: strings without U+0000, lone surrogates as U+FFFD, NaN and infinities as null."""
    if isinstance(o, str):
        return o.replace("\0", "").encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    if isinstance(o, float):
        return o if math.isfinite(o) else None
    if isinstance(o, dict):
        return {clean(k): clean(v) for k, v in o.items()}
    if isinstance(o, (list, tuple)):
        return [clean(v) for v in o]
    return o


if orjson is not None:
    _OPTIONS = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME

    def dumps_fast(o: Any) -> bytes | None:
        """None when the slow way is needed."""
        try:
            text = orjson.dumps(o, option=_OPTIONS)
        except TypeError:
            return None
        return None if b"\\u0000" in text else text

    loads_fast = orjson.loads
else:

    def dumps_fast(o: Any) -> bytes | None:
        """None when the slow way is needed."""
        try:
            text = json.dumps(o, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_default).encode()
        except (TypeError, ValueError):
            return None
        return None if b"\\u0000" in text else text

    loads_fast = json.loads


def huge(o: Any) -> bool:
    """Whether a value read by loads_fast may have been an integer that became a float."""
    t = type(o)
    if t is float:
        return not -_HUGE < o < _HUGE
    if t is dict:
        o = o.values()
    elif t is not list:
        return False
    for v in o:
        t = type(v)
        if t is not str and t is not int and huge(v):
            return True
    return False
