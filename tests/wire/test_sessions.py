"""Sessions: the native routes, and the Agents SDK with CenoteSession beside the SDK's own SQLiteSession."""
import asyncio
import itertools
import json
import threading
import urllib.parse
import uuid

import httpx2
import openai
import pytest
from agents import SQLiteSession, SessionSettings
from agents.extensions.memory import EncryptedSession, SQLAlchemySession
from cryptography.fernet import Fernet

from agents_scripted import call, run, say, sum_turns, think

from cenote import CenoteSession, Client, InvalidRequestError

V = "/cenote/v1/sessions"
NAMES = itertools.count()


@pytest.fixture
def sid():
    return f"session {next(NAMES)}/ü 💧"


def path(name, rest=""):
    return f"{V}/{urllib.parse.quote(name, safe='')}{rest}"


def items(server, name, query=""):
    r = server.request("GET", path(name, "/items") + query)
    assert r.status == 200 and list(r.json) == ["data"], r
    return r.json["data"]


def add(server, name, what, headers=None, **more):
    r = server.request("POST", path(name, "/items"), {"items": what, **more}, headers)
    assert r.status == 200, r
    return r.json


def numbers(a, b):
    return [{"n": i} for i in range(a, b)]


# ------------------------------------------------------------------- routes


def test_append_read_pop_clear(server, sid):
    assert items(server, sid) == [] and server.request("POST", path(sid, "/pop")).json == {"item": None}
    assert add(server, sid, []) == {"stored": 0, "repeated": False}
    assert server.request("GET", V + "?limit=1000").body.decode().count(json.dumps(sid, ensure_ascii=False)) == 0  # nothing was created
    assert add(server, sid, numbers(0, 3)) == {"stored": 3, "repeated": False}
    add(server, sid, numbers(3, 5))
    assert items(server, sid) == numbers(0, 5) and items(server, sid, "?limit=2") == numbers(3, 5)
    assert items(server, sid, "?limit=0") == [] and items(server, sid, "?limit=99999999") == numbers(0, 5)
    assert server.request("POST", path(sid, "/pop")).json == {"item": {"n": 4}}
    assert server.request("POST", path(sid, "/pop"), {}).json == {"item": {"n": 3}}
    assert items(server, sid) == numbers(0, 3)
    assert add(server, sid, [{"new": 1}], replace=True) == {"stored": 1, "repeated": False}
    assert items(server, sid) == [{"new": 1}]
    assert add(server, sid, [], replace=True) == {"stored": 0, "repeated": False} and items(server, sid) == []
    add(server, sid, numbers(0, 1))
    for _ in range(2):
        assert server.request("DELETE", path(sid)).status == 204
    assert items(server, sid) == []


@pytest.mark.parametrize("query", ["?limit=-1", "?limit=x", "?limit=1.5", "?limit=", "?limit=99999999999999999999"])
def test_limits_that_are_none(server, sid, query):
    r = server.request("GET", path(sid, "/items") + query)
    assert r.status == 400 and r.json["errors"][0]["field"] == "limit", r


def test_bytes_stay(server, sid):
    raw = '{ "b" :1.0, "a":1e2,"c":null, "d":"\\u00e9é\\u0000 💧", "e":12345678901234567890 , "id":"__fake_id__"}'
    for _ in range(2):
        r = server.request("POST", path(sid, "/items"), b'{"items":[' + raw.encode() + b"]}", {"Content-Type": "application/json"})
        assert r.status == 200, r
    assert server.request("GET", path(sid, "/items")).body.decode() == f'{{"data":[{raw},{raw}]}}'
    assert server.request("POST", path(sid, "/pop")).body.decode() == f'{{"item":{raw}}}'


def test_refusals(server, sid):
    table = [({"items": [{}, {}, {}, 5]}, 422, "/items/3"), ({"items": [[]]}, 422, "/items/0"), ({"items": {}}, 422, "/items"), ({}, 422, "/items"),
             ({"items": [], "replace": 1}, 422, "/replace"), ([], 422, None), (b"{", 400, None),
             (b'{"items":[{"a":"\\ud83d"}]}', 400, None), (b'{"items":[{"a":NaN}]}', 400, None),
             ({"items": [{}] * 10001}, 413, "/items")]
    for body, status, field in table:
        r = server.request("POST", path(sid, "/items"), body, {"Content-Type": "application/json"})
        assert r.status == status, r
        if field:
            assert r.json["errors"][0]["field"] == field, r
    assert items(server, sid) == []
    for key in ("", "k" * 256):
        r = server.request("POST", path(sid, "/items"), {"items": [{}]}, {"Idempotency-Key": key})
        assert r.status == 422 and r.json["errors"][0]["field"] == "Idempotency-Key", r
    for method, rest, body in (("GET", "/items", None), ("POST", "/items", {"items": [{}]}), ("POST", "/pop", None), ("DELETE", "", None)):
        r = server.request(method, path("x" * 257, rest), body)
        assert r.status == 422, (method, r)
        assert server.request(method, path("ü" * 128, rest), body).status in (200, 204)
    assert server.request("GET", V + "/%ff/items").status == 400


def test_idempotency(server, sid):
    def again(key, what, **more):
        return add(server, sid, what, {"Idempotency-Key": key}, **more)

    assert again("k" * 255, [{"n": 0}]) == {"stored": 1, "repeated": False}
    assert again("k" * 255, [{"n": 0}]) == {"stored": 1, "repeated": True}
    assert again("other", [{"n": 0}])["repeated"] is False
    assert again("other", [{"n": 1}])["repeated"] is False  # another body is another call
    assert items(server, sid) == [{"n": 0}, {"n": 0}, {"n": 1}]
    assert again("r", [{"n": 7}], replace=True)["repeated"] is False
    add(server, sid, [{"n": 8}], {"Idempotency-Key": "s"})
    assert items(server, sid) == [{"n": 7}, {"n": 8}]
    assert add(server, sid + "2", [{"n": 8}], {"Idempotency-Key": "s"})["repeated"] is False  # another session is another call


def test_a_long_session_comes_in_pieces(server, sid):
    what = [{"n": i, "text": "x" * 9000 + "é"} for i in range(2500)]  # 22 MB, more than a request may hold
    for i in range(0, 2500, 500):
        add(server, sid, what[i:i + 500])
    assert items(server, sid) == what
    for limit in (1, 500, 501, 2499, 2500, 2501):
        assert items(server, sid, f"?limit={limit}") == what[-limit:]
    server.request("DELETE", path(sid))


def test_large_entries(server, sid):
    big = {"text": "x" * (7 << 20)}
    add(server, sid, [big])
    add(server, sid, [{"n": 1}])
    add(server, sid, [big])
    assert items(server, sid) == [big, {"n": 1}, big] and items(server, sid, "?limit=2") == [{"n": 1}, big]
    assert server.request("POST", path(sid, "/pop")).json == {"item": big}
    server.request("DELETE", path(sid))


def test_listing(fresh):
    for i in range(7):
        add(fresh, f"s{i}", numbers(0, i + 1))
    r = fresh.request("POST", "/cenote/v1/messages", {"messages": [{"thread": "only messages", "role": "user", "content": "x"}]})
    assert r.status == 200
    page = fresh.request("GET", V + "?limit=4").json
    assert [t["thread"] for t in page["data"]] == ["s0", "s1", "s2", "s3"] and page["has_more"]
    assert [t["entries"] for t in page["data"]] == [1, 2, 3, 4] and page["data"][0]["created_at"]
    page = fresh.request("GET", V + "?limit=4&cursor=" + page["next_cursor"]).json
    assert [t["thread"] for t in page["data"]] == ["s4", "s5", "s6"] and not page["has_more"] and page["next_cursor"] is None
    assert [t["thread"] for t in fresh.request("GET", "/cenote/v1/threads").json["data"]][0] == "only messages"  # one listing shows both


def test_writers_together(server, sid):
    """Appends of several writers do not interleave within a call, nothing is lost, pops take every item once."""
    taken, errors = [], []

    def write(w):
        try:
            for i in range(20):
                add(server, sid, [{"w": w, "i": i, "part": p} for p in range(3)])
        except AssertionError as e:
            errors.append(e)

    threads = [threading.Thread(target=write, args=(w,)) for w in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors
    got = items(server, sid)
    assert len(got) == 240
    for w in range(4):
        assert [(i["i"], i["part"]) for i in got if i["w"] == w] == [(i, p) for i in range(20) for p in range(3)]
    for at in range(0, 240, 3):
        assert len({(i["w"], i["i"]) for i in got[at:at + 3]}) == 1

    def pop():
        while (item := server.request("POST", path(sid, "/pop")).json["item"]) is not None:
            taken.append(json.dumps(item))

    threads = [threading.Thread(target=pop) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(taken) == sorted(json.dumps(i) for i in got)


def test_killed(kind, start):
    """What was answered is there after SIGKILL, and a call sent again after it is recognised."""
    with start(kind) as s:
        add(s, "t", numbers(0, 3), {"Idempotency-Key": "k"})
        s.kill()
        s.start()
        assert items(s, "t") == numbers(0, 3)
        assert add(s, "t", numbers(0, 3), {"Idempotency-Key": "k"})["repeated"] is True
        assert items(s, "t") == numbers(0, 3)


# ---------------------------------------------------------------- with the SDK


async def conversation(session):
    """Some turns; the model sees the same history whatever keeps it."""
    seen = []
    for text, turns in (("1+2?", sum_turns(1)), ("and 5+2?", sum_turns(5)), ("think", [[think("rs_1", "sealed"), say("done", id="msg_model")]]),
                        ("two at once", [[call("add", '{"a":1,"b":1}', "call_a", id="fc_a"), call("add", '{"a":2,"b":2}', "call_b")], [say("2, 4")]]),
                        ("emoji 🌉 \u0000 é", [[say("fine " + "x" * 1_000_000)]])):
        seen.append((await run(session, text, *turns)).seen)
    return seen


def test_equals_a_session_of_the_sdk(server, sid):
    async def go():
        mine, theirs = CenoteSession(sid, server.url), SQLiteSession(sid)
        assert await conversation(mine) == await conversation(theirs)
        want = await theirs.get_items()
        assert len(want) == 19 and await mine.get_items() == want
        for n in (0, 1, 3, 19, 100):
            assert await mine.get_items(n) == await theirs.get_items(n)
        assert json.dumps(await mine.get_items()) == json.dumps(want)  # members in the same order, 1.0 stays 1.0
        for _ in range(4):
            assert await mine.pop_item() == await theirs.pop_item()
        odd = [{"a": 1.0, "b": None, "c": 10**30, "d": [True, {}]}, {}, {"id": "__fake_id__"}, {"id": "__fake_id__"}]
        await mine.add_items(odd)
        await theirs.add_items(odd)
        assert await mine.get_items() == await theirs.get_items()
        await mine.clear_session()
        await theirs.clear_session()
        assert await mine.get_items() == await theirs.get_items() == [] and await mine.pop_item() is await theirs.pop_item() is None
        await mine.aclose()
    asyncio.run(go())


def test_limit_of_the_settings(server, sid):
    async def go():
        s = CenoteSession(sid, server.url, session_settings=SessionSettings(limit=3))
        await s.add_items(numbers(0, 25))
        assert await s.get_items() == numbers(22, 25) and await s.get_items(5) == numbers(20, 25)
        await s.clear_session()
        model = await run(s, "1+2?", *sum_turns(1))
        model = await run(s, "again", [say("no")])
        assert len(model.seen[0]) == 4
        await s.aclose()
    asyncio.run(go())


def test_two_sessions_do_not_see_each_other(server, sid):
    async def go():
        async with Client(server.url) as client:
            a, b = CenoteSession(sid + "a", client), CenoteSession(str(uuid.uuid4()), client)
            await asyncio.gather(conversation(a), run(b, "alone", [say("yes")]))
            assert len(await a.get_items()) == 19 and len(await b.get_items()) == 2
            await b.clear_session()
            assert len(await a.get_items()) == 19 and await b.get_items() == []
    asyncio.run(go())


def locked():
    request = httpx2.Request("POST", "http://model/v1/responses")
    body = {"message": "locked", "type": "invalid_request_error", "param": None, "code": "conversation_locked"}
    return openai.BadRequestError("locked", response=httpx2.Response(400, request=request, json={"error": body}), body=body)


def test_rewind(server, sid):
    """A turn that fails as the model's conversation is locked is taken back and tried again: nothing is there twice."""
    async def go():
        mine, theirs = CenoteSession(sid, server.url), SQLiteSession(sid)
        for s in (mine, theirs):
            await run(s, "first", [say("one")])
            await run(s, "second", locked(), [say("two")])
            with pytest.raises(RuntimeError):
                await run(s, "third", RuntimeError("the model broke"))
        got = await mine.get_items()
        assert got == await theirs.get_items()
        assert [i["content"] for i in got if i.get("role") == "user"] == ["first", "second", "third"]
        await mine.aclose()
    asyncio.run(go())


def test_encrypted(server, sid):
    async def go():
        key = Fernet.generate_key().decode()
        inner = CenoteSession(sid, server.url)
        s, plain = EncryptedSession(sid, inner, key), SQLiteSession(sid)
        assert await conversation(s) == await conversation(plain)
        assert await s.get_items() == await plain.get_items() and await s.get_items(3) == await plain.get_items(3)
        assert all(set(i) == {"__enc__", "v", "kid", "payload"} for i in items(server, sid))
        assert await EncryptedSession(sid, inner, Fernet.generate_key().decode()).get_items() == []
        assert await s.pop_item() == await plain.pop_item()
        await s.clear_session()
        assert items(server, sid) == []
        await inner.aclose()
    asyncio.run(go())


def test_what_json_cannot_say_is_refused(server, sid):
    async def go():
        s = CenoteSession(sid, server.url)
        for odd in ({"a": "\ud83d"}, {"a": float("nan")}):
            with pytest.raises((InvalidRequestError, ValueError)):
                await s.add_items([{"fine": 1}, odd])
        assert await s.get_items() == []
        await s.aclose()
    asyncio.run(go())


# ------------------------------------------------- tables of the SDK (PostgreSQL)


@pytest.mark.stores("postgres")
def test_items_that_the_sdk_wrote(fresh):
    """Lone surrogates and NaN, which Python's json writes: the first are read, the second skipped and kept."""
    async def go():
        url = fresh.store.replace("postgresql://", "postgresql+psycopg://")
        theirs = SQLAlchemySession.from_url("shared", url=url, create_tables=True)
        written = [{"role": "user", "content": "one \ud83d é"}, {"role": "user", "content": float("nan")},
                   {"role": "assistant", "content": "two", "id": "__fake_id__"}]
        await theirs.add_items(written)
        api = openai.OpenAI(api_key="x", base_url=fresh.url + "/v1", max_retries=0)
        shown = fresh.request("GET", "/v1/conversations/shared/items?order=asc").body
        assert b'"text":"one \\ud83d \\u00e9"' in shown and b"NaN" not in shown
        listed = list(api.conversations.items.list("shared", order="asc"))
        assert [i.type for i in listed] == ["message", "message"]
        assert [i["content"] for i in items(fresh, "shared")] == ["one \ud83d é", "two"]
        api.conversations.items.delete(listed[1].id, conversation_id="shared")
        assert len(await theirs.get_items()) == 2
        add(fresh, "shared", [{"role": "user", "content": "from here"}])
        assert (await theirs.get_items())[-1] == {"role": "user", "content": "from here"}
        await theirs._engine.dispose()
    asyncio.run(go())
