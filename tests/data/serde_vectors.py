"""Makes src/core/state_vectors.h and the corpus of the fuzz target msgpack: values as LangGraph's Python serializer writes them, with
the JSON that people are to see. The JSON is what LangGraph itself shows (the serializer's hook for JSON), except where it shows
nothing or an object of Python's: Send, bytes, NaN, arrays of numpy that are no numbers.

Run with langgraph 1.2.22 and numpy installed: python tests/data/serde_vectors.py"""
import collections
import dataclasses
import datetime
import decimal
import enum
import ipaddress
import json
import math
import pathlib
import re
import typing
import uuid
import zoneinfo

import numpy as np
import ormsgpack
import pydantic
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer, _msgpack_ext_hook_to_json
from langgraph.checkpoint.serde.types import _DeltaSnapshot
from langgraph.types import Interrupt, Send

TREE = pathlib.Path(__file__).resolve().parents[2]


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Boat:
    name: str
    crew: list


class Point(typing.NamedTuple):
    x: int
    y: float


class Model(pydantic.BaseModel):
    a: int
    deep: dict


VALUES = {
    "none_inside": [None], "true": True, "text": "é", "float": 1.5, "ints": [0, 127, 128, 255, 256, 65535, 65536, 2**32, 2**53 + 1, 2**63, 2**64 - 1],
    "negative": [-1, -32, -33, -128, -129, -32768, -32769, -2**31, -2**31 - 1, -2**63], "int_keys": {1: 2}, "tuples": [1, (2,)],
    "other_keys": {True: 1, None: 2, 1.5: 3, -7: 4}, "long_text": "x" * 300, "longer_text": "y" * 70000, "many": list(range(70000)),
    "map16": {f"k{i}": i for i in range(20)}, "empty": {"l": [], "d": {}, "s": ""}, "controls": "\x00\x1f\"\\\n\x7f",
    "uuid": uuid.UUID("0193f5a0-1111-7222-8333-444455556666"), "decimal": decimal.Decimal("1.10"), "set": {3}, "frozenset": frozenset({"a"}),
    "deque": collections.deque([1, 2]), "ip4": ipaddress.ip_address("10.0.0.1"), "ip6": ipaddress.ip_network("fd00::/8"),
    "zone": zoneinfo.ZoneInfo("Europe/Berlin"), "enum": Colour.RED, "secret": pydantic.SecretStr("s"), "path": pathlib.Path("/a/b"),
    "regex": re.compile("a+", re.I), "timedelta": datetime.timedelta(days=1, seconds=2), "date": datetime.date(2026, 8, 20),
    "utc": datetime.timezone.utc, "time": datetime.time(7, 2, 48), "datetime": datetime.datetime(2026, 8, 20, 7, 2, 48, 123456, datetime.timezone.utc),
    "namedtuple": Point(1, 2.5), "dataclass": Boat("Heron", [uuid.UUID(int=7)]), "model": Model(a=1, deep={"u": uuid.UUID(int=8)}),
    "exception": ValueError("no"), "human": HumanMessage("hello", id="1"), "ai": AIMessage("", tool_calls=[{"name": "f", "args": {"x": 1}, "id": "c"}]),
    "messages": [HumanMessage("a", id="h"), ToolMessage("r", tool_call_id="c", id="t")], "interrupt": [Interrupt(value={"question": "sure?"}, id="i1")],
    "np_int": np.array([[1, 2], [3, 4]], dtype="<i4"), "np_big": np.array([1, -2], dtype=">i8"), "np_float": np.array([0.5, -1.25], dtype="<f4"),
    "np_half": np.array([0.5, 65504, 2**-20], dtype="<f2"), "np_bool": np.array([True, False]), "np_fortran": np.asfortranarray([[1, 2, 3], [4, 5, 6]]),
    "np_text": np.array(["a", "éb"]), "np_scalar": np.array(5), "np_3d": np.arange(8, dtype="u1").reshape(2, 2, 2), "surrogate": "\ud800",
}
# What LangGraph's own hook does not show as JSON.
SHOWN = {
    "delta": (_DeltaSnapshot([1]), [1]),
    "delta_in_map": ({"d": _DeltaSnapshot({"x": uuid.UUID(int=2)})}, {"d": {"x": str(uuid.UUID(int=2))}}),
    "send": (Send("n", {}), {"node": "n", "arg": {}}),
    "sends": ([Send("n", {"i": uuid.UUID(int=9)})], [{"node": "n", "arg": {"i": str(uuid.UUID(int=9))}}]),
    "nan": ([math.nan, math.inf], [None, None]),
    "bytes_inside": ({"b": b"\x00\xff", "t": b"text"}, {"b": {"type": "bytes", "bytes": 2}, "t": "text"}),
    "np_complex": (np.array([1j]), None),
    "np_empty": (np.zeros((3, 0)), None),
}


def np_ext(*a):
    return ormsgpack.packb(ormsgpack.Ext(6, ormsgpack.packb([a[0], a[1], "C", a[2]])))


RAW = {
    "tuple_key": (b"\x81\x92\x01\x02\x03", {"[1,2]": 3}), "uuid_key": (b"\x81" + ormsgpack.packb(ormsgpack.Ext(0, ormsgpack.packb(["uuid", "UUID", "0" * 31 + "1"]))) + b"\x01",
                                                                    {str(uuid.UUID(int=1)): 1}),
    "bin_key": (b"\x81\xc4\x01a\x01", {"a": 1}), "float32": (b"\xca\x3f\xc0\x00\x00", 1.5), "unknown_ext": (b"\xd4\x2a\x00", {"type": "ext 42", "bytes": 1}),
    "timestamp": (b"\xd6\xff\x00\x00\x00\x01", {"type": "ext -1", "bytes": 4}), 
    "np_claims": (np_ext("<i4", [2**32 - 1, 2], b"\0"), None), "np_rows": (np_ext("<i4", [2**31, 0], b""), None),
    "np_dims": (np_ext("|u1", [1] * 31, b"\1"), None), "np_short": (np_ext("<i4", [2], b"1234567"), None),
    "np_dtype": (np_ext("<M8[ns]", [1], b"12345678"), None), "np_huge_item": (np_ext("<U65536", [1], b"1234"), None),
}


def shown(data):
    return ormsgpack.unpackb(data, ext_hook=_msgpack_ext_hook_to_json, option=ormsgpack.OPT_NON_STR_KEYS)


def ext_size(data):
    return len(ormsgpack.unpackb(data, ext_hook=lambda code, payload: payload))


def keys_as_json(v):
    """Member names that are no text, as JSON's."""
    if isinstance(v, dict):
        return {k if isinstance(k, str) else json.dumps(k): keys_as_json(x) for k, x in v.items()}
    return [keys_as_json(x) for x in v] if isinstance(v, (list, tuple)) else v


def vectors():
    serde = JsonPlusSerializer()
    for name, v in VALUES.items():
        kind, data = serde.dumps_typed(v)
        assert kind == "msgpack", name
        yield name, data, keys_as_json(shown(data))
    for name, (v, want) in SHOWN.items():
        kind, data = serde.dumps_typed(v)
        yield name, data, want if want is not None else {"type": "numpy", "bytes": ext_size(data)}
    for name, (data, want) in RAW.items():
        yield name, data, want if want is not None else {"type": "numpy", "bytes": ext_size(data)}


def c_text(s):
    out = ""
    for b in s.encode():
        c = chr(b)
        hexed = not 32 <= b < 127
        out += f"\\{b:03o}" if hexed else {'"': '\\"', "\\": "\\\\", "?": "\\?"}.get(c, c)
    return out


def main():
    corpus = TREE / "tests/fuzz/corpus/msgpack"
    corpus.mkdir(parents=True, exist_ok=True)
    out = ["/* Made by tests/data/serde_vectors.py: what LangGraph's Python serializer writes, and what people are to see of it. */",
           "static const struct {", "\tconst char *name, *hex, *json;", "} vectors[] = {"]
    for name, data, want in vectors():
        text = json.dumps(want, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        if len(data) < 4000:
            out.append(f'\t{{"{name}", "{data.hex()}",\n\t "{c_text(text)}"}},')
            (corpus / name).write_bytes(data)
    out += ["};", ""]
    (TREE / "src/core/state_vectors.h").write_text("\n".join(out))


main()
