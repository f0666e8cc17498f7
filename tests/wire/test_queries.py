"""Every query of docs/queries.md runs on a database in use, and finds what is there."""
import pathlib
import re

import psycopg
import pytest

from frames import Frames, put_op

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "queries.md"
QUERIES = re.findall(r"```sql\n(.*?)```", PAGE.read_text(), re.S)


@pytest.fixture(scope="module")
def used(kind, start):
    """A thread `t` of four steps with a fork and an interrupt, a session, an item."""
    with start(kind) as s:
        f, last = Frames(s), None
        for n in range(4):
            last = f.put("t", n, parent=last, metadata={"source": "input" if n % 2 == 0 else "loop"})
        f.put("t", 9, parent=last)
        op, blobs = put_op("t", 10, parent=last)
        f.one(op, *blobs)
        f.one({"op": "writes", "thread": "t", "ns": "", "id": op["id"], "task_id": "x", "writes": [[-3, "__interrupt__", "msgpack", 1]]}, b"\xc0")
        r = s.request("POST", "/cenote/v1/sessions/s1/items", {"items": [{"role": "user", "content": "hi"}, {"type": "function_call", "name": "f",
                                                                         "call_id": "c", "arguments": "{}"}]})
        assert r.status == 200, r
        assert s.request("PUT", "/store/items", {"namespace": ["a"], "key": "k", "value": {}}).status == 204
        yield s


@pytest.mark.stores("postgres")
@pytest.mark.parametrize("query", QUERIES, ids=range(len(QUERIES)))
def test_query(used, query):
    with psycopg.connect(used.store, row_factory=psycopg.rows.dict_row) as c:
        c.execute("set transaction read only")
        rows = c.execute(query).fetchall()
    assert rows, query
    for want, column in (({"thread_id": "t", "turns": 2, "checkpoints": 6, "last_step": 10}, "turns"),
                         ({"session_id": "s1", "entries": 2, "from_user": 1, "tool_calls": 1}, "from_user"),
                         ({"thread_id": "t", "branches": 2}, "branches"), ({"channel": "__interrupt__"}, "task_path"),
                         ({"thread_id": "t", "versions": 6}, "versions"), ({"prefix": "a", "items": 1}, "items")):
        if column in rows[0]:
            assert want.items() <= rows[0].items()
