"""Conversations through the stock openai client, and the Agents SDK's sessions over them."""
import asyncio
import contextlib
import itertools
import json
import socket
import threading

import httpx2
import openai
import psycopg
import pytest
from psycopg import sql
from agents import OpenAIConversationsSession
from agents.extensions.memory import EncryptedSession
from cryptography.fernet import Fernet

from agents_scripted import run, say, sum_turns, think

EVERYWHERE = pytest.mark.stores("sqlite", "postgres", "postgres-schema", "postgres-bouncer")
NAMES = itertools.count()
FAKE = "__fake_id__"


class Plain:
    """The sync client."""

    def __init__(self, url, **kw):
        self.client = openai.OpenAI(api_key="x", base_url=url, **{"max_retries": 0, **kw})

    def __call__(self, what):
        return what

    def all(self, pages):
        return list(pages)

    def close(self):
        self.client.close()


class Looped:
    """The async client on a loop of its own."""

    def __init__(self, url, **kw):
        self.loop = asyncio.new_event_loop()
        self.client = openai.AsyncOpenAI(api_key="x", base_url=url, **{"max_retries": 0, **kw})

    def __call__(self, what):
        return self.loop.run_until_complete(what)

    def all(self, pages):
        async def gather():
            return [x async for x in pages]
        return self.loop.run_until_complete(gather())

    def close(self):
        self.loop.run_until_complete(self.client.close())
        self.loop.close()


@pytest.fixture(params=[Plain, Looped], ids=["sync", "async"])
def api(server, request):
    a = request.param(server.url + "/v1")
    yield a
    a.close()


@pytest.fixture
def sync(server):
    a = Plain(server.url + "/v1")
    yield a
    a.close()


@pytest.fixture
def conv(sync):
    return sync.client.conversations.create(items=[]).id


def user(text):
    return {"role": "user", "content": text}


def texts(items):
    return [i.content[0].text for i in items]


# ------------------------------------------------------------------- routes


def test_create_retrieve_update_delete(api):
    convs = api.client.conversations
    made = api(convs.create(metadata={"topic": "demo"}, items=[user("one"), user("two")]))
    assert made.object == "conversation" and made.id.startswith("conv_") and len(made.id) <= 64 and made.metadata == {"topic": "demo"}
    assert made.created_at > 1_700_000_000
    assert api(convs.retrieve(made.id)) == made
    changed = api(convs.update(made.id, metadata={"a": "b"}))
    assert changed.metadata == {"a": "b"} and changed.id == made.id and changed.created_at == made.created_at
    assert api(convs.update(made.id, metadata=None)).metadata == {}
    assert texts(api.all(convs.items.list(made.id, order="asc"))) == ["one", "two"]
    gone = api(convs.delete(made.id))
    assert (gone.id, gone.object, gone.deleted) == (made.id, "conversation.deleted", True)
    for what in (lambda: convs.retrieve(made.id), lambda: convs.delete(made.id), lambda: convs.update(made.id, metadata={}),
                 lambda: convs.items.create(made.id, items=[user("x")])):
        with pytest.raises(openai.NotFoundError):
            api(what())
    with pytest.raises(openai.NotFoundError):
        api.all(convs.items.list(made.id))
    assert api(convs.create()).id != api(convs.create(items=None)).id


@pytest.mark.parametrize("base", ["", "/v1", "/v1/", "/serving-endpoints"])
def test_wherever_the_base_url_points(server, base):
    a = Plain(server.url + base)
    c = a.client.conversations.create(items=[user("hi")])
    (item,) = a.client.conversations.items.list(c.id)
    assert a.client.conversations.items.retrieve(item.id, conversation_id=c.id).content[0].text == "hi"
    assert a.client.conversations.items.delete(item.id, conversation_id=c.id).id == c.id
    assert a.client.conversations.update(c.id, metadata={"x": "y"}).metadata == {"x": "y"}
    assert list(a.client.conversations.items.list(c.id)) == []
    assert a.client.conversations.delete(c.id).deleted
    a.close()


@EVERYWHERE
def test_items(api, conv):
    items = api.client.conversations.items
    added = api(items.create(conv, items=[
        user("Hello"), {"role": "assistant", "content": "Hi 🌉", "id": FAKE},
        {"type": "function_call", "call_id": "c1", "name": "add", "arguments": "{}", "id": FAKE},
        {"type": "function_call_output", "call_id": "c1", "output": "3"},
        {"type": "reasoning", "id": "rs_own", "summary": [], "encrypted_content": "s"}], include=["reasoning.encrypted_content"]))
    assert added.object == "list" and added.has_more is False and len(added.data) == 5
    assert (added.first_id, added.last_id) == (added.data[0].id, "rs_own")
    first = added.data[0].model_dump(exclude_unset=True)
    assert first == {"type": "message", "id": added.data[0].id, "status": "completed", "role": "user",
                     "content": [{"type": "input_text", "text": "Hello"}]}
    assert added.data[1].model_dump(exclude_unset=True)["content"] == [
        {"type": "output_text", "text": "Hi 🌉", "annotations": [], "logprobs": []}]
    assert [i.id.split("_")[0] for i in added.data] == ["msg", "msg", "fc", "fc", "rs"]
    assert len({i.id for i in added.data}) == 5 and all(len(i.id) <= 64 for i in added.data)
    for i in added.data:
        assert api(items.retrieve(i.id, conversation_id=conv)) == i
    assert api.all(items.list(conv, order="asc")) == added.data
    assert api.all(items.list(conv)) == added.data[::-1]
    left = api(items.delete(added.data[1].id, conversation_id=conv))
    assert left.id == conv and left.object == "conversation"
    assert [i.id for i in api.all(items.list(conv, order="asc"))] == [i.id for k, i in enumerate(added.data) if k != 1]
    with pytest.raises(openai.NotFoundError):
        api(items.delete(added.data[1].id, conversation_id=conv))


@EVERYWHERE
def test_pages(api, conv):
    items = api.client.conversations.items
    want = [f"n{i}" for i in range(230)]
    api(items.create(conv, items=[user(t) for t in want]))  # far more than 20 in one call
    assert texts(api.all(items.list(conv, order="asc"))) == want
    assert texts(api.all(items.list(conv))) == want[::-1]
    assert texts(api.all(items.list(conv, limit=7, order="asc"))) == want
    page = api(items.list(conv, limit=100000, order="asc"))
    assert len(page.data) == 100 and page.has_more is True and page.first_id == page.data[0].id and page.last_id == page.data[99].id
    page = api(items.list(conv))
    assert texts(page.data) == want[:-21:-1] and page.has_more is True
    page = api(items.list(conv, after=page.last_id, limit=2, order="desc"))
    assert texts(page.data) == ["n209", "n208"]
    page = api(items.list(conv, after=page.data[0].id, order="asc", limit=100))
    assert texts(page.data) == want[210:] and page.has_more is False
    page = api(items.list(conv, after=page.last_id, order="asc"))
    assert page.data == [] and page.has_more is False and page.first_id == page.last_id == ""


def test_an_exact_page_ends(sync, conv):
    items = sync.client.conversations.items
    items.create(conv, items=[user(str(i)) for i in range(20)])
    assert items.list(conv).has_more is False and items.list(conv, limit=19).has_more is True


def test_own_ids_are_unique(sync, conv):
    """The oldest entry that says an id has it; the others get one of their own, on every page."""
    items = sync.client.conversations.items
    rs = {"type": "reasoning", "summary": []}
    items.create(conv, items=[{**rs, "id": "rs_a"}, {**rs, "id": "rs_b"}] + [user(str(i)) for i in range(25)])
    second = items.create(conv, items=[{**rs, "id": "rs_a"}, {**rs, "id": "rs_c"}, {**rs, "id": "rs_c"}, {**rs, "id": FAKE},
                                       {**rs, "id": FAKE}, {**rs, "id": "x" * 65}]).data
    assert second[1].id == "rs_c" and len({i.id for i in second} | {"rs_a", "rs_b"}) == 8
    for order in ("asc", "desc"):
        for limit in (3, 20, 100):
            ids = [i.id for i in items.list(conv, order=order, limit=limit)]
            assert len(ids) == len(set(ids)) == 33 and ids.count("rs_a") == ids.count("rs_c") == 1
            assert (ids if order == "asc" else ids[::-1])[:2] == ["rs_a", "rs_b"]
    assert items.retrieve(second[0].id, conversation_id=conv).type == "reasoning"
    items.delete("rs_a", conversation_id=conv)
    ids = [i.id for i in items.list(conv, order="asc")]
    assert ids[0] == "rs_b" and ids[26] == "rs_a"  # the next one has it now, under its made id it is there all the same
    assert items.retrieve(second[0].id, conversation_id=conv).type == "reasoning"


def test_a_reference_keeps_what_it_refers_to(sync, conv):
    items = sync.client.conversations.items
    items.create(conv, items=[{"type": "reasoning", "id": "rs_1", "summary": []}, user("x"), {"type": "item_reference", "id": "rs_1"}])
    page = items.list(conv, limit=1)
    assert page.data[0].to_dict() == {"type": "item_reference", "id": "rs_1"} and page.last_id != "rs_1"
    assert [i.type for i in items.list(conv, limit=1)] == ["item_reference", "message", "reasoning"]
    assert items.retrieve("rs_1", conversation_id=conv).type == "reasoning"


def test_any_object_is_an_item(server, sync, conv):
    stored = [{"__enc__": 1, "v": 1, "kid": "k", "payload": "p"}, {}, {"type": None}, {"type": "from_tomorrow", "deep": [[[1.0]]]},
              {"content": "no role"}, {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"q": "x"}}]
    added = sync.client.conversations.items.create(conv, items=stored)
    shown = [{k: v for k, v in i.to_dict().items() if k != "id"} for i in added.data]
    assert shown == [{k: v for k, v in i.items() if k != "id"} for i in stored]
    assert server.request("GET", f"/cenote/v1/sessions/{conv}/items").json["data"] == stored  # kept as they came


def test_a_large_item(api, conv):
    text = "🌉é x" * 150_000  # about 1.2 MB
    items = api.client.conversations.items
    api(items.create(conv, items=[user(text), user("small")]))
    assert texts(api.all(items.list(conv, order="asc"))) == [text, "small"]
    many = [user(f"{i}" + "x" * 300_000) for i in range(20)]
    api(items.create(conv, items=many))
    page = api(items.list(conv, limit=100))
    assert page.has_more and 1 <= len(page.data) < 20  # a page ends at 4 MiB
    assert texts(api.all(items.list(conv, order="asc", limit=100)))[2:] == [i["content"] for i in many]


def test_numbers_and_nulls_come_back_exactly(server, sync, conv):
    raw = b'{"items":[{"type":"x","a":1.0,"b":1e2,"c":null,"d":12345678901234567890,"e":"\\u00e9\\u0000"}]}'
    r = server.request("POST", f"/v1/conversations/{conv}/items", raw, {"Content-Type": "application/json"})
    assert r.status == 200 and b'"type":"x","a":1.0,"b":1e2,"c":null,"d":12345678901234567890,"e":"\\u00e9\\u0000"}' in r.body


# ------------------------------------------------------------------- errors


def test_errors(server, sync, conv):
    items = sync.client.conversations.items
    convs = sync.client.conversations
    many = {f"k{i}": "v" for i in range(17)}
    table = [
        (lambda: items.create(conv, items=[{"role": "nobody", "content": "x"}]), 400, "items[0].role"),
        (lambda: items.create(conv, items=[user("x"), {"role": "user"}]), 400, "items[1].content"),
        (lambda: items.create(conv, items=[{"type": "function_call", "name": "n", "arguments": "{}"}]), 400, "items[0].call_id"),
        (lambda: items.create(conv, items=[5]), 400, "items[0]"),
        (lambda: items.create(conv, items={"a": 1}), 400, "items"),
        (lambda: items.create(conv, items=None), 400, "items"),
        (lambda: items.list(conv, limit=0), 400, "limit"),
        (lambda: items.list(conv, limit=-1), 400, "limit"),
        (lambda: items.list(conv, order="up"), 400, "order"),
        (lambda: items.list(conv, after="msg_none"), 404, "after"),
        (lambda: items.list(conv, after="msg_cn00000000000fffff"), 404, None),
        (lambda: items.retrieve("msg_none", conversation_id=conv), 404, None),
        (lambda: items.retrieve("msg_cn00000000000fffff", conversation_id=conv), 404, None),
        (lambda: items.delete("msg_none", conversation_id=conv), 404, None),
        (lambda: items.list("conv_none"), 404, None),
        (lambda: items.create("conv_none", items=[user("x")]), 404, None),
        (lambda: items.create("conv_none", items=[]), 404, None),
        (lambda: convs.retrieve("conv_none"), 404, None),
        (lambda: convs.retrieve("x" * 257), 400, "conversation_id"),
        (lambda: convs.update(conv, metadata=many), 400, "metadata"),
        (lambda: convs.update(conv, metadata={"k" * 65: "v"}), 400, "metadata"),
        (lambda: convs.update(conv, metadata={"k": "é" * 513}), 400, "metadata"),
        (lambda: convs.update(conv, metadata={"k": 5}), 400, "metadata"),
        (lambda: convs.create(metadata=["k"]), 400, "metadata"),
        (lambda: convs.create(items=[{"role": "x", "content": "y"}]), 400, "items[0].role"),
    ]
    for i, (what, status, param) in enumerate(table):
        with pytest.raises(openai.APIStatusError) as e:
            what()
        e = e.value
        assert (e.status_code, e.type, e.code, e.param) == (status, "invalid_request_error", None, param), (i, e.body)
        assert isinstance(e, {400: openai.BadRequestError, 404: openai.NotFoundError}[status])
        assert e.request_id and e.body["message"] and e.message
    assert convs.update(conv, metadata={"k" * 64: "é" * 512, **{f"k{i}": "v" for i in range(15)}}).metadata["k0"] == "v"
    assert list(items.list(conv)) == []


def test_requests_that_are_none(server, conv):
    for body, status in ((b"{", 400), (b"[]", 400), (b"5", 400), (b'{"items":[{"a":"\\ud83d"}]}', 400), (b"x" * (9 << 20), 413)):
        r = server.request("POST", f"/v1/conversations/{conv}/items", body, {"Content-Type": "application/json"})
        assert r.status == status and r.json["error"]["type"] == "invalid_request_error" and r.headers["x-request-id"], r
    r = server.request("PUT", f"/v1/conversations/{conv}", {})
    assert r.status == 405 and r.json["error"]["message"]
    for method, path in (("POST", "/v1/images"), ("GET", "/responses/none/at/all"), ("GET", "/chat/completions/none"), ("GET", "/serving-endpoints/responses/none/at/all"),
                         ("GET", "/v1/nothing/here"), ("POST", "/v1/completions")):
        r = server.request(method, path, {} if method == "POST" else None)
        assert r.status == 404 and r.json["error"]["type"] == "invalid_request_error", (path, r)
        assert "/v1/conversations" in r.json["error"]["message"] and r.json["error"]["code"] is None


def test_without_a_key(kind, start):
    with start(kind, "--auth", "keys") as s:
        a = Plain(s.url + "/v1")
        with pytest.raises(openai.AuthenticationError) as e:
            a.client.conversations.create()
        assert e.value.code == "invalid_api_key" and e.value.type == "invalid_request_error"
        made = json.loads(s.run("key", "create", "--json", "--name", "r", "--tenant", "t", "--rights", "read", check=0).stdout)
        a.close()
        a = Plain(s.url + "/v1")
        a.client.api_key = made.get("key") or made["secret"]
        with pytest.raises(openai.PermissionDeniedError) as e:
            a.client.conversations.create()
        assert e.value.type == "permission_error"
        a.close()


# ------------------------------------------------------------ repeated calls


def resent(n):
    return {"x-stainless-retry-count": str(n)}


@EVERYWHERE
def test_resent_appends_are_stored_once(sync, conv, server):
    items = sync.client.conversations.items
    first = items.create(conv, items=[user("a"), user("b")])
    again = items.create(conv, items=[user("a"), user("b")], extra_headers=resent(1))
    assert again == first
    assert texts(items.list(conv, order="asc")) == ["a", "b"]
    items.create(conv, items=[user("a"), user("b")])  # said again on purpose
    items.create(conv, items=[user("c")], extra_headers=resent(1))  # of which the first sending never came
    assert texts(items.list(conv, order="asc")) == ["a", "b", "a", "b", "c"]


def test_idempotency_key(sync, conv):
    items, convs = sync.client.conversations.items, sync.client.conversations
    key = {"Idempotency-Key": "k-1"}
    first = items.create(conv, items=[user("a")], extra_headers=key)
    assert items.create(conv, items=[user("a")], extra_headers=key) == first
    items.create(conv, items=[user("a")], extra_headers={"Idempotency-Key": "k-2"})
    items.create(conv, items=[user("other")], extra_headers=key)
    assert texts(items.list(conv, order="asc")) == ["a", "a", "other"]
    made = convs.create(items=[user("x")], metadata={"m": "1"}, extra_headers=key)
    assert convs.create(items=[user("x")], metadata={"m": "1"}, extra_headers=key) == made
    assert convs.create(items=[user("y")], metadata={"m": "1"}, extra_headers=key).id != made.id
    assert texts(items.list(made.id)) == ["x"]
    with pytest.raises(openai.BadRequestError) as e:
        items.create(conv, items=[user("a")], extra_headers={"Idempotency-Key": "k" * 256})
    assert e.value.param == "Idempotency-Key"


def test_resent_deletes_have_deleted(sync, conv):
    items, convs = sync.client.conversations.items, sync.client.conversations
    (item,) = items.create(conv, items=[user("a")]).data
    items.delete(item.id, conversation_id=conv)
    assert items.delete(item.id, conversation_id=conv, extra_headers=resent(1)).id == conv
    convs.delete(conv)
    assert convs.delete(conv, extra_headers=resent(1)).deleted


@contextlib.contextmanager
def loses_answers(server, lose):
    """A proxy that passes requests on, one per connection, and closes the first `lose` POSTs of items without their answer."""
    listener = socket.create_server(("127.0.0.1", 0))
    left = [lose]

    def serve(c):
        with c:
            data = b""
            while b"\r\n\r\n" not in data:
                piece = c.recv(65536)
                if not piece:
                    return
                data += piece
            head, _, body = data.partition(b"\r\n\r\n")
            lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
            n = next((int(line.split(b":")[1]) for line in lines if line.lower().startswith(b"content-length:")), 0)
            while len(body) < n:
                body += c.recv(65536)
            answer = server.raw(b"\r\n".join(lines) + b"\r\nConnection: close\r\n\r\n" + body)
            if lines[0].startswith(b"POST") and b"/items " in lines[0] and left[0] > 0:
                left[0] -= 1
                return
            c.sendall(answer)

    def accept():
        while True:
            try:
                c, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(c,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def test_a_lost_answer_does_not_append_twice(server):
    with loses_answers(server, 2) as url:
        a = Plain(url, max_retries=3)
        conv = a.client.conversations.create().id
        a.client.conversations.items.create(conv, items=[user("a"), user("b")])
        assert texts(a.client.conversations.items.list(conv, order="asc")) == ["a", "b"]
        a.close()


# -------------------------------------------------------- one name, two APIs


@pytest.mark.parametrize("name", ["plain", "a/b", "ü 💧", "%2F", "..", "a?b#c&d", "x" * 256, "conv_", "items"])
def test_any_session_is_a_conversation(server, sync, name):
    import urllib.parse
    name = f"{name[:240]}-{next(NAMES)}"
    path = "/cenote/v1/sessions/" + urllib.parse.quote(name, safe="")
    assert server.request("POST", path + "/items", {"items": [user("from the session")]}).status == 200
    convs = sync.client.conversations
    assert convs.retrieve(name).id == name
    convs.items.create(name, items=[user("from the conversation")])
    assert texts(convs.items.list(name, order="asc")) == ["from the session", "from the conversation"]
    assert server.request("GET", path + "/items").json["data"] == [user("from the session"), user("from the conversation")]
    assert convs.update(name, metadata={"a": "b"}).metadata == {"a": "b"}
    assert server.request("POST", path + "/pop").json["item"] == user("from the conversation")
    convs.delete(name)
    assert server.request("GET", path + "/items").json["data"] == []
    with pytest.raises(openai.NotFoundError):
        convs.retrieve(name)


def test_a_conversation_is_listed_with_the_threads(server, sync):
    conv = sync.client.conversations.create(items=[user("x"), user("y")]).id

    def listed(what):
        found, cursor = {}, ""
        while True:
            page = server.request("GET", f"/cenote/v1/{what}?limit=1000{cursor}").json
            found.update({t["thread"]: t for t in page["data"]})
            if not page["has_more"]:
                return found
            cursor = "&cursor=" + page["next_cursor"]

    assert listed("sessions")[conv]["entries"] == 2 and listed("threads")[conv]["entries"] == 2


def test_conversations_do_not_see_each_other(sync):
    convs = sync.client.conversations
    a, b = (convs.create(items=[user(t)]).id for t in "ab")
    assert texts(convs.items.list(a)) == ["a"] and texts(convs.items.list(b)) == ["b"]
    (item,) = convs.items.list(a)
    for call in (convs.items.retrieve, convs.items.delete):
        with pytest.raises(openai.NotFoundError):
            call(item.id, conversation_id=b)
    with pytest.raises(openai.NotFoundError):
        convs.items.list(b, after=item.id)
    convs.delete(b)
    assert texts(convs.items.list(a)) == ["a"]


# ------------------------------------------------------------------ isolation


@pytest.fixture(scope="module")
def house(kind, start):
    with start(kind, "--auth", "keys") as s:
        def key(*args):
            made = json.loads(s.run("key", "create", "--json", *args, check=0).stdout)
            return made.get("key") or made["secret"]

        s.keys = {"ann": key("--name", "ann", "--tenant", "acme", "--for-user", "ann"),
                  "bob": key("--name", "bob", "--tenant", "acme", "--for-user", "bob"),
                  "all": key("--name", "all", "--tenant", "acme"), "bolt": key("--name", "bolt", "--tenant", "bolt")}
        yield s


@EVERYWHERE
@pytest.mark.parametrize("who", ["bob", "bolt"])
def test_nobody_reaches_anothers(house, who):
    def ask(key, method, path, body=None):
        return house.request(method, path, body, {"Authorization": "Bearer " + house.keys[key], **resent(0)})

    conv = ask("ann", "POST", "/v1/conversations", {"items": [user("secret-of-ann")], "metadata": {"m": "secret-of-ann"}}).json["id"]
    item = ask("ann", "GET", f"/v1/conversations/{conv}/items").json["data"][0]["id"]
    before = ask("all", "GET", f"/v1/conversations/{conv}/items").json
    c, s = f"/v1/conversations/{conv}", f"/cenote/v1/sessions/{conv}"
    for method, path, body in (("GET", c, None), ("POST", c, {"metadata": {"a": "b"}}), ("DELETE", c, None), ("GET", c + "/items", None),
                               ("POST", c + "/items", {"items": [user("x")]}), ("POST", c + "/items", {"items": []}),
                               ("GET", f"{c}/items?after={item}", None),
                               ("GET", f"{c}/items/{item}", None), ("DELETE", f"{c}/items/{item}", None)):
        r = ask(who, method, path, body)
        assert r.status == 404 and r.json["error"]["type"] == "invalid_request_error" and b"secret-of-ann" not in r.body, (method, path, r)
    assert ask(who, "GET", s + "/items").json == {"data": []}
    assert ask(who, "POST", s + "/pop").json == {"item": None}
    assert ask(who, "DELETE", s).status == 204
    if who == "bob":  # of another tenant's the name is free
        for body in ({"items": [user("x")]}, {"items": [user("x")], "replace": True}):
            r = ask(who, "POST", s + "/items", body)
            assert r.status == 409 and b"secret-of-ann" not in r.body, r
    else:
        assert ask(who, "POST", s + "/items", {"items": [user("x")]}).status == 200
        assert ask(who, "DELETE", s).status == 204
    assert conv not in ask(who, "GET", "/cenote/v1/sessions?limit=1000").body.decode()
    assert ask("all", "GET", f"/v1/conversations/{conv}/items").json == before
    assert ask("ann", "GET", c).json["metadata"] == {"m": "secret-of-ann"}
    assert conv in ask("ann", "GET", "/cenote/v1/sessions?limit=1000").body.decode()


# ------------------------------------------------------------- the Agents SDK


def client(server, **kw):
    return openai.AsyncOpenAI(api_key="x", base_url=server.url + "/v1", **kw)


def brief(items):
    return [i["content"][0]["text"] if i.get("type") == "message" else i["type"] for i in items]


@EVERYWHERE
def test_runner(server):
    async def go():
        s = OpenAIConversationsSession(openai_client=client(server))
        await run(s, "1+2?", *sum_turns(1))
        assert s.session_id.startswith("conv_")
        model = await run(s, "and 5+2?", *sum_turns(5))
        want = ["1+2?", "function_call", "function_call_output", "3 é 🌉", "and 5+2?", "function_call", "function_call_output", "7 é 🌉"]
        assert brief(await s.get_items()) == want
        assert brief(await s.get_items(limit=3)) == want[-3:]
        assert await s.get_items(limit=0) == []
        # What the model was given: the history, then the new input
        assert len(model.seen[0]) == 5 and model.seen[0][1]["call_id"] == model.seen[0][2]["call_id"] == "call_1"
        assert model.seen[0][2]["output"] == "3"
        assert brief([await s.pop_item()]) == ["7 é 🌉"]
        assert brief(await s.get_items()) == want[:-1]
        # Another instance with the same id goes on
        other = OpenAIConversationsSession(conversation_id=s.session_id, openai_client=client(server))
        await run(other, "thanks", [say("you are welcome")])
        assert brief(await s.get_items())[-2:] == ["thanks", "you are welcome"]
        old = s.session_id
        await s.clear_session()
        assert await other._openai_client.conversations.create() and await s.get_items() == [] and s.session_id != old
        with pytest.raises(openai.NotFoundError):
            await other.get_items()
    asyncio.run(go())


def test_runner_with_reasoning_and_ids(server):
    async def go():
        s = OpenAIConversationsSession(openai_client=client(server))
        await run(s, "think", [think("rs_1", "sealed"), say("done", id="msg_of_the_model")])
        items = await s.get_items()
        assert [i["type"] for i in items] == ["message", "reasoning", "message"]
        assert items[1]["id"] == "rs_1" and items[1]["encrypted_content"] == "sealed"
        model = await run(s, "again", [think("rs_2", "sealed"), say("done")])
        assert [i["id"] for i in model.seen[0] if i.get("type") == "reasoning"] == ["rs_1"]
        popped = [await s.pop_item() for _ in range(5)]
        assert [p["type"] for p in popped] == ["message", "reasoning", "message", "message", "reasoning"]
        assert brief(await s.get_items()) == ["think"]
        assert brief([await s.pop_item()]) == ["think"] and await s.pop_item() is None
    asyncio.run(go())


@EVERYWHERE
def test_25_items(server):
    async def go():
        s = OpenAIConversationsSession(openai_client=client(server))
        await s.add_items([user(f"n{i}") for i in range(25)])
        assert brief(await s.get_items()) == [f"n{i}" for i in range(25)]
        assert brief(await s.get_items(limit=3)) == ["n22", "n23", "n24"]
        assert brief(await s.get_items(limit=22)) == [f"n{i}" for i in range(3, 25)]
        assert brief([await s.pop_item()]) == ["n24"]
        assert brief(await s.get_items(limit=1)) == ["n23"]
    asyncio.run(go())


@EVERYWHERE
def test_killed_between_the_parts(kind, start):
    """25 items go out as 20 and 5: what was answered is there after SIGKILL, and what was not can be sent again."""
    with start(kind) as s:
        posts = []

        async def kill(response):
            if response.request.method == "POST" and response.request.url.path.endswith("/items"):
                await response.aread()
                posts.append(response.status_code)
                s.kill()

        async def go():
            http = openai.DefaultAsyncHttpxClient(event_hooks={"response": [kill]})
            session = OpenAIConversationsSession(openai_client=client(s, http_client=http))
            await session.get_items()
            with pytest.raises(openai.APIConnectionError):
                await session.add_items([user(f"n{i}") for i in range(25)])
            assert posts == [200]
            s.start()
            again = OpenAIConversationsSession(conversation_id=session.session_id, openai_client=client(s))
            assert brief(await again.get_items()) == [f"n{i}" for i in range(20)]
            # The first part over again, as a client does that got no answer, changes nothing; also after a restart.
            await again._openai_client.conversations.items.create(
                session.session_id, items=[user(f"n{i}") for i in range(20)], extra_headers=resent(1))
            await again.add_items([user(f"n{i}") for i in range(20, 25)])
            assert brief(await again.get_items()) == [f"n{i}" for i in range(25)]

        asyncio.run(go())


def locked():
    request = httpx2.Request("POST", "http://model/v1/responses")
    body = {"message": "locked", "type": "invalid_request_error", "param": None, "code": "conversation_locked"}
    return openai.BadRequestError("locked", response=httpx2.Response(400, request=request, json={"error": body}), body=body)


def test_a_failed_turn_loses_nothing(server):
    async def go():
        s = OpenAIConversationsSession(openai_client=client(server))
        await run(s, "first", [say("one")])
        with pytest.raises(RuntimeError):
            await run(s, "second", RuntimeError("the model broke"))
        assert brief(await s.get_items()) == ["first", "one", "second"]  # stored before the model was called
        await run(s, "third", locked(), [say("three")])
        assert brief(await s.get_items())[-2:] == ["third", "three"]
        assert brief(await s.get_items())[:3] == ["first", "one", "second"]
    asyncio.run(go())


def test_encrypted(server):
    async def go():
        key = Fernet.generate_key().decode()
        plain = OpenAIConversationsSession(openai_client=client(server))
        await plain.get_items()
        s = EncryptedSession(plain.session_id, plain, key)
        await run(s, "1+2?", *sum_turns(1))
        items = await s.get_items()
        assert [i.get("type", "message") for i in items] == ["message", "function_call", "function_call_output", "message"]
        assert items[0]["content"] == "1+2?" and items[3]["content"][0]["text"] == "3 é 🌉"
        stored = server.request("GET", f"/v1/conversations/{plain.session_id}/items").json["data"]
        assert len(stored) == 4 and all(set(i) == {"id", "__enc__", "v", "kid", "payload"} for i in stored)
        model = await run(s, "and 5+2?", *sum_turns(5))
        assert len(model.seen[0]) == 5
        assert (await s.get_items(limit=2))[0]["output"] == "7"
        assert (await s.pop_item())["content"][0]["text"] == "7 é 🌉"
        assert len(await s.get_items()) == 7
        stranger = EncryptedSession(plain.session_id, plain, Fernet.generate_key().decode())
        assert await stranger.get_items() == []
        await s.clear_session()
    asyncio.run(go())


@pytest.mark.stores("postgres")
def test_a_session_that_others_hold(fresh):
    """Who cannot have the session's lock in time is told so in the way that the Agents SDK understands, and nothing is written."""
    conv = Plain(fresh.url + "/v1")
    name = conv.client.conversations.create(items=[user("one")]).id
    assert fresh.stop() == 0
    with psycopg.connect(fresh.store, autocommit=True) as db:
        db.execute(sql.SQL("ALTER DATABASE {} SET lock_timeout = '200ms'").format(sql.Identifier(db.info.dbname)))
    fresh.start()
    a = Plain(fresh.url + "/v1")
    with psycopg.connect(fresh.store) as db:
        assert db.execute("SELECT 1 FROM agent_sessions WHERE session_id = %s FOR UPDATE", [name]).fetchone() == (1,)
        with pytest.raises(openai.BadRequestError) as e:
            a.client.conversations.items.create(name, items=[user("two")])
        assert e.value.code == "conversation_locked" and e.value.type == "invalid_request_error"
        assert texts(a.client.conversations.items.list(name)) == ["one"]  # who only reads need not wait
    a.client.conversations.items.create(name, items=[user("two")])
    assert texts(a.client.conversations.items.list(name, order="asc")) == ["one", "two"]
    a.close()
    conv.close()
