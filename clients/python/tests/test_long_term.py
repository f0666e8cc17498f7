"""LongTermMemory: exact texts, meaning, users apart from each other, settings, and what happens when the server is not as it was asked for."""
import asyncio
import contextlib
import hashlib
import importlib.util
import inspect
import itertools
import json
import logging
import pathlib
import re
import time

import psycopg
import pytest

import cenote.long_term
from cenote import (AsyncLongTermMemory, AuthenticationError, CenoteSession, CenoteStore, Client, ConfigurationMismatch, ConnectionFailed, LongTermMemory,
                    MemoryItem, PermissionDeniedError, ServerError, user_namespace)
from embed_server import EmbedServer
from model_server import ModelServer
from test_http import Script, ok

ANN = "user@example.com"
ENDPOINT, DIMS = "databricks-gte-large-en", 1024
PREFERRED = {"workspace_id": "12345", "workspace_name": "Production", "preference_date": "2025-01-15"}
SAMPLE = {"instance_name": "health_monitor_lakebase", "embedding_endpoint": ENDPOINT, "embedding_dims": DIMS}


class Meaning(EmbedServer):
    """An encoder that knows which words mean the same: a direction for each row, and for each other word one of its own."""

    SAME = ("workspace environment", "prefer favourite likes", "drink beverage tea", "pet dog animal", "alert threshold limit")

    def vectors(self, h, body, texts, fault):
        data = []
        for n, text in enumerate(texts):
            v = [0.0] * self.dims
            v[0] = 0.05
            for word in re.findall("[a-z]+", text.lower()):
                row = next((i for i, words in enumerate(self.SAME) if word in words.split()), None)
                at = 1 + row if row is not None else 16 + int(hashlib.sha256(word.encode()).hexdigest(), 16) % (self.dims - 16)
                v[at] += 1.0 if row is not None else 0.2
            data.append({"object": "embedding", "index": n, "embedding": v})
        self.send(h, 200, json.dumps({"object": "list", "data": data, "model": self.model, "usage": {"prompt_tokens": 1, "total_tokens": 1}}).encode())


def encoder_settings(e):
    return {"CENOTE_EMBED_KIND": "remote", "CENOTE_EMBED_BASE_URL": e.url, "CENOTE_EMBED_MODEL": e.model, "CENOTE_EMBED_TIMEOUT": "5s",
            "CENOTE_EMBED_QUESTION_TIMEOUT": "5s"}


@pytest.fixture(scope="module")
def meaning(kind, start):
    """A server that finds by meaning."""
    with Meaning(dims=DIMS, model=ENDPOINT) as e, start(kind, env=encoder_settings(e)) as s:
        yield s


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch):
    monkeypatch.setattr(cenote.long_term, "_said", set())
    for name in ("LAKEBASE_INSTANCE_NAME", "EMBEDDING_ENDPOINT", "EMBEDDING_DIMS", "CENOTE_USER_RULE", "CENOTE_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def user(thread):
    return f"{thread.replace('_', '')}@example.com".replace("-", ".")


def warnings(caplog):
    return [r.getMessage() for r in caplog.records if r.name == "cenote" and r.levelno >= logging.WARNING]


# -------------------------------------------------------------------- operations


def test_texts_and_values(server, user):
    with LongTermMemory(url=server.url) as m:
        assert m.get_memory(user, "preferred_workspace") is None
        assert m.save_memory(user, "preferred_workspace", {"old": 1}) == "Successfully saved memory with key 'preferred_workspace'"
        assert m.save_memory(user_id=user, memory_key="preferred_workspace", memory_data=PREFERRED) == "Successfully saved memory with key 'preferred_workspace'"
        assert m.get_memory(user, "preferred_workspace") == PREFERRED
        assert [i.key for i in m.search_memories(user, "")] == ["preferred_workspace"]
        assert m.delete_memory(user, "preferred_workspace") == "Successfully deleted memory with key 'preferred_workspace'"
        assert m.get_memory(user, "preferred_workspace") is None and m.search_memories(user, "workspace") == []
        assert m.delete_memory(user, "it's absent") == "Successfully deleted memory with key 'it's absent'"
        assert m.get_failures == 0
        for bad in ([1], "text", None):
            with pytest.raises(TypeError, match="memory_data"):
                m.save_memory(user, "k", bad)
        for bad, error in (("", ValueError), (None, TypeError), ("a\0b", ValueError)):
            for call in (lambda: m.save_memory(bad, "k", {}), lambda: m.search_memories(bad, "q"), lambda: m.delete_memory(bad, "k")):
                with pytest.raises(error):
                    call()
        with pytest.raises(ValueError):
            m.search_memories(user, "q", limit=-1)
        assert m.search_memories(user, "q", limit=0) == []


def test_found_by_meaning(meaning, user):
    with LongTermMemory(url=meaning.url, **SAMPLE) as m:
        m.save_memory(user, "preferred_workspace", PREFERRED)
        m.save_memory(user, "morning", {"text": "green tea at seven"})
        m.save_memory(user, "bello", {"text": "a dog that sleeps on the sofa"})
        m.save_memory(user, "alerts", {"text": "threshold of the disk: 80 %"})
        m.save_memory(user, "team", {"text": "works with Sam and Nora"})
        m.save_memory(user, "car", {"text": "red, parked behind the house"})
        for question, key in (("favourite environment", "preferred_workspace"), ("a hot beverage", "morning"), ("some animal", "bello"), ("which limit?", "alerts")):
            hits = m.search_memories(user, question)
            assert len(hits) == 5 and hits[0].key == key, (question, hits)
            scores = [h.score for h in hits]
            assert scores == sorted(scores, reverse=True) and all(isinstance(s, float) for s in scores)
        first = m.search_memories(user, "favourite environment", limit=1)
        assert len(first) == 1
        assert json.loads(json.dumps(first[0].to_dict())) == {"key": "preferred_workspace", "value": PREFERRED, "score": first[0].score}
        assert m.search_memories("nobody@example.com", "favourite environment") == []


def test_no_score_without_an_encoder(server, user):
    with LongTermMemory(url=server.url) as m:
        m.save_memory(user, "preferred_workspace", PREFERRED)
        (hit,) = m.search_memories(user, "What workspace does the user prefer?")
        assert hit == MemoryItem("preferred_workspace", PREFERRED, None) and hit.to_dict()["score"] is None


def test_async(meaning, user):
    async def run():
        async with AsyncLongTermMemory(url=meaning.url, **SAMPLE) as m:
            await m.setup()
            assert await m.save_memory(user, "k", PREFERRED) == "Successfully saved memory with key 'k'"
            assert await m.get_memory(user, "k") == PREFERRED and await m.get_memory(user, "none") is None
            (hit,) = await m.search_memories(user, "favourite environment", limit=5)
            assert hit.key == "k" and isinstance(hit.score, float)
            assert await m.delete_memory(user, "k") == "Successfully deleted memory with key 'k'"
            assert await m.get_memory(user, "k") is None
        with pytest.raises(ConfigurationMismatch):
            async with AsyncLongTermMemory(url=meaning.url, embedding_dims=3) as m:
                await m.setup()

    asyncio.run(run())


def test_both_classes_are_alike():
    methods = [n for n, f in vars(LongTermMemory).items() if callable(f) and not n.startswith("_") and n != "close"]
    assert methods == ["setup", "save_memory", "search_memories", "get_memory", "delete_memory"]
    for n in methods:
        a, b = getattr(LongTermMemory, n), getattr(AsyncLongTermMemory, n)
        assert inspect.iscoroutinefunction(b) and inspect.signature(a) == inspect.signature(b)


def test_another_session_after_a_restart(kind, start, user):
    with start(kind) as s:
        with LongTermMemory(url=s.url) as m:
            m.save_memory(user, "threshold", {"text": "alert above a threshold of 80 percent"})
        s.stop()
        s.start()
        with LongTermMemory(url=s.url) as m:
            assert [h.key for h in m.search_memories(user, "which threshold?")] == ["threshold"]


# ----------------------------------------------------------------- users' namespaces


def test_the_namespace(server):
    assert user_namespace(ANN) == ("user_memories", "user-at-example-com") == LongTermMemory(url=server.url).namespace(ANN)
    with LongTermMemory(url=server.url) as m, CenoteStore.connect(server.url) as store:
        m.save_memory(ANN, "k", {"a": 1})
        assert store.get(("user_memories", "user-at-example-com"), "k").value == {"a": 1}
        m.delete_memory(ANN, "k")


def test_no_two_users_share_a_namespace():
    """All ids of up to six pieces, so that labels of one and of several pieces meet."""
    seen = {}
    for n in range(1, 7):
        for pieces in itertools.product((".", "@", "-", "at", "~", "2D"), repeat=n):
            user = "".join(pieces)
            space = user_namespace(user)
            assert seen.setdefault(space, user) == user, space
    for space in seen:
        assert all(space[:n] not in seen for n in range(1, len(space))), f"{space} lies within another's"
    # A server gives a key that is bound to a user the namespaces with this label.
    assert all(space[-1] == user.replace(".", "-").replace("@", "-at-") for space, user in seen.items())


def test_users_with_similar_ids_find_their_own(server):
    ids = ["a.b", "a-b", "a~2Db", "a@b", "a-at-b", "a.at.b", "a", "a.", "A.B", "a%b", "aZb", "a_b", "a%", "%", "a*", "a'b", "ä", "a\u0308"]
    with LongTermMemory(url=server.url) as m:
        for user in ids:
            m.save_memory(user, "whose", {"text": "memory", "user": user})
        for user in ids:
            assert [h.value["user"] for h in m.search_memories(user, "memory", limit=50)] == [user]
            assert m.get_memory(user, "whose")["user"] == user
        m.delete_memory("a.b", "whose")
        assert m.get_memory("a.b", "whose") is None and m.get_memory("a-b", "whose")


def test_the_rule_is_a_setting(server, monkeypatch):
    other = {"replace": ("user_memories", "a-b"), "replace_dots": ("user_memories", "a-b")}
    for rule, space in other.items():
        assert user_namespace("a.b", rule) == user_namespace("a-b", rule) == space
    assert user_namespace(ANN, "replace_dots") == ("user_memories", "user@example-com")
    assert user_namespace("ann", lambda user: ("org", user)) == ("user_memories", "org", "ann")
    for bad in (lambda user: (), lambda user: user, lambda user: ("",)):
        with pytest.raises(ValueError, match="user_rule"):
            user_namespace("ann", bad)
    monkeypatch.setenv("CENOTE_USER_RULE", "replace")
    assert LongTermMemory(url=server.url).namespace("a-b") == ("user_memories", "a-b")
    assert LongTermMemory(url=server.url, user_rule="reversible").namespace("a-b") == ("user_memories", "a~2Db", "a-b")
    monkeypatch.setenv("CENOTE_USER_RULE", "other")
    with pytest.raises(ValueError, match="reversible"):
        LongTermMemory(url=server.url)


def keys_of(server):
    def make(*args):
        return json.loads(server.run("key", "create", "--json", *args, check=0).stdout)["key"]

    return make


def test_tokens_of_users(kind, start, monkeypatch):
    """Each memory is made with its caller's token, as in a request handler; the ids have what the default rule encodes."""
    users = ["ann@example.com", "mary-ann@example.com"]
    with Meaning(dims=DIMS, model=ENDPOINT) as e, start(kind, "--auth", "keys", env=encoder_settings(e)) as s:
        key = keys_of(s)
        service = key()
        monkeypatch.setenv("CENOTE_API_KEY", service)
        tokens = {u: key("--for-user", u) for u in users}
        LongTermMemory(url=s.url, **SAMPLE).setup()
        for u in users:
            with LongTermMemory(**SAMPLE, url=s.url, oauth_token=tokens[u]) as m:
                m.setup()
                m.save_memory(u, "preferred_workspace", {**PREFERRED, "user": u})
                (hit,) = m.search_memories(user_id=u, query="favourite environment", limit=5)
                assert hit.value["user"] == u and isinstance(hit.score, float)
                assert m.get_memory(u, "preferred_workspace")["user"] == u
                other = next(x for x in users if x != u)
                for call in (lambda: m.search_memories(other, "workspace"), lambda: m.save_memory(other, "k", {}), lambda: m.delete_memory(other, "k")):
                    with pytest.raises(PermissionDeniedError):
                        call()
                assert m.get_memory(other, "preferred_workspace") is None and m.get_failures == 1
        with LongTermMemory(url=s.url, oauth_token="not a token") as m, pytest.raises(AuthenticationError):
            m.search_memories(ANN, "workspace")
        # The service's key never stands in for a token that is missing.
        with pytest.raises(ValueError, match="oauth_token"):
            LongTermMemory(url=s.url, oauth_token="")
        for more in ({"api_key": service}, {"client": Client(s.url)}):
            with pytest.raises(ValueError, match="either"):
                LongTermMemory(oauth_token=tokens[users[0]], **more)


# ------------------------------------------------------------------- connections


MODELS = ok(b'{"object":"list","data":[]}')
NOTHING = ok(b'{"results":[{"status":200,"items":[]}]}')
ABSENT = ok(b'{"results":[{"status":404,"problem":{}}]}')


def test_opened_at_first_use_then_reused():
    with Script([MODELS, NOTHING, ABSENT, NOTHING]) as script:
        m = LongTermMemory(url=script.url)
        assert script.count == 0
        assert m.search_memories(ANN, "q") == [] and m.get_memory(ANN, "k") is None and m.search_memories(ANN, "q") == []
        assert script.count == 1 and len(script.requests) == 4 and m.get_failures == 0
        client = m.client
        del m
        with pytest.raises(Exception, match="closed"):
            client.request("GET", "/")


def test_an_outage(caplog, user):
    with Script(["drop"]) as script:
        for m in (LongTermMemory(url=script.url, retries=0), LongTermMemory(client=Client(script.url, retries=0))):
            assert m.get_memory(user, "k1") is None and m.get_memory(user, "k2") is None
            assert m.get_failures == 2
            with pytest.raises(ConnectionFailed):
                m.search_memories(user, "q")
            with pytest.raises(ConnectionFailed):
                m.save_memory(user, "k", {})
            with pytest.raises(ValueError):
                m.get_memory("", "k")
    said = warnings(caplog)
    assert len(said) == 4 and "'k1'" in said[0] and "ConnectionFailed" in said[0] and user not in "".join(said)

    async def run():
        async with AsyncLongTermMemory(url=script.url, retries=0) as m:
            assert await m.get_memory(user, "k1") is None and m.get_failures == 1

    asyncio.run(run())
    with Script([MODELS, ok(b"no JSON")]) as script, LongTermMemory(url=script.url) as m:
        assert m.get_memory(user, "k") is None and m.get_failures == 1
    assert caplog.records[-1].exc_info


def test_save_waits_for_meaning_and_no_longer(kind, start, user, caplog):
    """The encoder is stuck: the memory is saved all the same, and is found by words."""
    caplog.set_level(logging.INFO, "cenote")
    with Meaning(dims=DIMS, model=ENDPOINT) as e, start(kind, env={**encoder_settings(e), "CENOTE_EMBED_QUESTION_TIMEOUT": "50ms"}) as s:
        e.script(*["hang"] * 8)
        with LongTermMemory(url=s.url, index_wait=0.01) as m:
            assert m.save_memory(user, "tea", {"text": "green tea"}) == "Successfully saved memory with key 'tea'"
            assert [h.key for h in m.search_memories(user, "tea")] == ["tea"]
        assert any("'tea' is saved" in r.getMessage() for r in caplog.records)


# ---------------------------------------------------------------------- settings


def test_settings(monkeypatch):
    class Settings:
        lakebase_instance_name, embedding_endpoint, embedding_dims = "of-settings", "of-settings", 384

    def names(**kw):
        m = LongTermMemory(url="http://127.0.0.1:1", **kw)
        return m.instance_name, m.embedding_endpoint, m.embedding_dims

    assert names() == (None, None, None)
    monkeypatch.setenv("LAKEBASE_INSTANCE_NAME", "of-environment")
    monkeypatch.setenv("EMBEDDING_ENDPOINT", "of-environment")
    monkeypatch.setenv("EMBEDDING_DIMS", "768")
    assert names() == ("of-environment", "of-environment", 768)
    assert names(settings=Settings()) == names(settings=vars(Settings)) == ("of-settings", "of-settings", 384)
    assert names(settings={"embedding_dims": "512"}) == ("of-environment", "of-environment", 512)
    assert names(settings=Settings(), **SAMPLE) == tuple(SAMPLE.values())
    assert names(instance_name="mine") == ("mine", "of-environment", 768)
    monkeypatch.setenv("EMBEDDING_DIMS", "many")
    with pytest.raises(ValueError, match="many"):
        names()
    for bad in ({"embedding_dims": 0}, {"embedding_dims": True}, {"embedding_dims": -1}, {"ttl": 0}, {"index_wait": -1}, {"index_wait": 1e9}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            LongTermMemory(url="http://127.0.0.1:1", **{"embedding_dims": 3, **bad})
    shown = inspect.getdoc(LongTermMemory)
    for setting in ("lakebase_instance_name", "embedding_endpoint", "embedding_dims"):
        assert setting.removeprefix("lakebase_") + ":" in shown and f"settings.{setting}" in shown and setting.upper() in shown


def test_setup_twice(kind, meaning):
    def look():
        if kind == "sqlite":
            return None
        with psycopg.connect(meaning.store) as c:
            return c.execute("SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2").fetchall(), \
                c.execute("SELECT indexname FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1").fetchall(), \
                c.execute("SELECT count(*) FROM store WHERE prefix = 'user_memories'").fetchone()

    with LongTermMemory(url=meaning.url, **SAMPLE) as m:
        m.save_memory(ANN, "k", PREFERRED)
        before = look()
        assert m.setup() is None and m.setup() is None
        assert look() == before and m.get_memory(ANN, "k") == PREFERRED
        m.delete_memory(ANN, "k")


@pytest.mark.stores("postgres")
def test_setup_makes_a_tenants_tables(kind, start):
    with start(kind, "--auth", "keys") as s:
        with LongTermMemory(url=s.url, oauth_token=keys_of(s)("--tenant", "new")) as m:
            for _ in range(2):
                m.setup()
                with psycopg.connect(s.store) as c:
                    tables = {r[0] for r in c.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public_new'")}
                    assert {"store", "cenote_vector", "agent_sessions"} <= tables
                    assert c.execute("SELECT count(*) FROM public_new.store").fetchone() == (0,)


@pytest.mark.parametrize("named, parts", [
    ({"embedding_dims": 384}, ("384 dimensions", f"{ENDPOINT!r} ({DIMS} dimensions)")),
    ({"embedding_endpoint": ENDPOINT, "embedding_dims": 768}, (f"{ENDPOINT!r} with 768", f"({DIMS} dimensions)")),
    ({"embedding_endpoint": "other-model"}, ("'other-model'", f"encodes with {ENDPOINT!r}")),
])
def test_another_encoder_than_asked_for(meaning, user, caplog, named, parts):
    with LongTermMemory(url=meaning.url, **named) as m:
        m.save_memory(user, "k", {"text": "green tea"})  # works, by the server's encoder; from now on its dimensions are known
        assert m.search_memories(user, "beverage")[0].key == "k"
        with pytest.raises(ConfigurationMismatch) as e:
            m.setup()
        assert all(p in str(e.value) for p in (*parts, meaning.url)), str(e.value)
    caplog.clear()
    cenote.long_term._said.clear()
    for _ in range(3):  # as in a handler, for each request: said once
        with LongTermMemory(url=meaning.url, **named) as m:
            m.search_memories(user, "beverage")
    assert warnings(caplog) == [str(e.value)]


def test_no_encoder_where_one_was_asked_for(server, user, caplog):
    with LongTermMemory(url=server.url, **SAMPLE) as m:
        m.save_memory(user, "k", PREFERRED)
        with pytest.raises(ConfigurationMismatch, match=f"'{ENDPOINT}' with {DIMS} dimensions .* no encoder .* words alone"):
            m.setup()
    assert len(warnings(caplog)) == 2 and "'health_monitor_lakebase' chooses no database" in warnings(caplog)[0]
    with LongTermMemory(url=server.url) as m:
        m.setup()


def test_a_chat_model_is_no_encoder(kind, start, user):
    """A server with a model and no encoder lists the model, too: it encodes nothing, and what words find has no score."""
    with ModelServer() as model, start(kind, "--llm-base-url", model.url, "--llm-model", "scripted") as s, LongTermMemory(url=s.url) as m:
        m.save_memory(user, "k", PREFERRED)
        (hit,) = m.search_memories(user, "What does the user prefer?")
        assert hit.key == "k" and hit.score is None
        for named in ({"embedding_dims": DIMS}, {"embedding_endpoint": "scripted"}):
            with LongTermMemory(url=s.url, **named) as other, pytest.raises(ConfigurationMismatch, match="no encoder"):
                other.setup()


def test_dims_before_there_is_a_vector(kind, start):
    """A new server, and a key that may not see the tenant's figures: the encoder itself is asked."""
    with EmbedServer(dims=8, model="small") as e, start(kind, "--auth", "keys", env=encoder_settings(e)) as s:
        bound = keys_of(s)("--for-user", ANN)
        e.script("500", "500", "500")
        with LongTermMemory(url=s.url, oauth_token=bound, embedding_dims=8, retries=0) as m, pytest.raises(ServerError, match="scripted failure"):
            m.setup()
        for key in (bound, keys_of(s)()):
            with LongTermMemory(url=s.url, oauth_token=key, embedding_endpoint="small", embedding_dims=8) as m:
                m.setup()
            with LongTermMemory(url=s.url, oauth_token=key, embedding_endpoint="small", embedding_dims=9) as m, pytest.raises(ConfigurationMismatch, match="9 .*8"):
                m.setup()


# ----------------------------------------------------------------------- layers


def test_it_outlives_the_thread(server, user, thread):
    async def talk(drop):
        async with Client(server.url, user=user) as client:
            s = CenoteSession(thread, client)
            await (s.clear_session() if drop else s.add_items([{"role": "user", "content": "I take the window seat"}]))

    with LongTermMemory(url=server.url) as m:
        asyncio.run(talk(False))
        m.save_memory(user, "seat", {"text": "window seat", "thread": thread})
        asyncio.run(talk(True))
        assert m.get_memory(user, "seat")["thread"] == thread
        m.delete_memory(user, "seat")
        assert m.get_memory(user, "seat") is None
    with LongTermMemory(url=server.url, ttl=0.002) as m:  # a policy: 0.12 s
        m.save_memory(user, "seat", {"text": "window seat"})
        where = f"/cenote/v1/items?namespace={'.'.join(m.namespace(user))}&key=seat&refresh_ttl=false"
        end = time.monotonic() + 20
        while server.request("GET", where).status != 404:
            assert time.monotonic() < end
        assert m.search_memories(user, "window") == []


def test_three_kinds_of_memory_are_kept_apart(meaning, user, thread):
    """Short-term: messages of threads. Long-term: the user's items. Entities: items of a namespace of their own."""
    text = "Sam keeps a dog"
    entities = ("entities", *user_namespace(user)[1:])
    with CenoteStore.connect(meaning.url) as store, LongTermMemory(url=meaning.url) as m:
        said = {"thread": thread, "user": user, "role": "user", "content": text}
        assert meaning.request("POST", "/cenote/v1/messages", {"messages": [said]}).status == 200
        m.save_memory(user, "fact", {"text": text})
        store.put(entities, "sam", {"text": text, "type": "person"})
        assert meaning.request("GET", "/cenote/v1/vectors?wait=indexed").status == 200
        for question in ("does Sam keep a dog?", "whose animal?"):
            short = meaning.request("POST", "/cenote/v1/recall", {"query": question, "user": user, "kinds": ["message"]}).json["results"]
            assert [(r["kind"], r["thread"], r["text"]) for r in short] == [("message", thread, text)]
            assert [i.key for i in m.search_memories(user, question)] == ["fact"]
            assert [i.key for i in store.search(entities, query=question)] == ["sam"]


@pytest.mark.stores("postgres")
def test_tables_of_both_layers(meaning, user, thread):
    """One turn with a session and a memory: rows in tables of each layer's own."""
    async def turn():
        async with Client(meaning.url, user=user) as client:
            session, memory = CenoteSession(thread, client), AsyncLongTermMemory(client=client)
            assert await memory.search_memories(user, "I like tea") == []
            await session.add_items([{"role": "user", "content": "I like tea"}, {"role": "assistant", "content": "Noted."}])
            await memory.save_memory(user, "tea", {"text": "likes tea"})

    asyncio.run(turn())
    with psycopg.connect(meaning.store) as c:
        def count(sql, *args):
            return c.execute(sql, args).fetchone()[0]

        assert count("SELECT count(*) FROM agent_sessions WHERE session_id = %s", thread) == 1
        assert count("SELECT count(*) FROM agent_messages WHERE session_id = %s", thread) == 2
        space = ".".join(user_namespace(user))
        assert count("SELECT count(*) FROM store WHERE prefix = %s AND key = 'tea'", space) == 1
        tables = {r[0] for r in c.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")}
        assert {"agent_sessions", "agent_messages", "store", "store_migrations", "cenote_vector"} <= tables
        assert count("SELECT count(*) FROM cenote_vector") > 0


# --------------------------------------------------------------------- documents


def test_documents_of_groups(meaning, thread):
    spec = importlib.util.spec_from_file_location("documents", pathlib.Path(__file__).resolve().parents[1] / "examples" / "documents.py")
    documents = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(documents)
    red, blue = f"{thread}-red", f"{thread}-blue"
    with CenoteStore.connect(meaning.url) as store:
        long = "An animal must be on a leash in the park. " + " ".join(f"word{i}" for i in range(150))
        assert documents.store_document(store, red, "rules", "Tea is served at four.\n\n" + long, language="en") == 4
        assert documents.store_document(store, red, "menu", "Soup on Monday.\n\nNo dog in the kitchen.", language="de") == 2
        assert documents.store_document(store, blue, "rules", "The threshold of the alarm is 70 degrees.") == 1
        meaning.request("GET", "/cenote/v1/vectors?wait=indexed")
        assert documents.find(store, red, "which beverage?", limit=1) == [{"text": "Tea is served at four.", "document": "rules", "passage": 0, "language": "en"}]
        assert documents.find(store, red, "a pet", limit=1, language="de")[0]["document"] == "menu"
        assert documents.find(store, red, "a pet", limit=1, document="rules")[0]["passage"] == 1
        # Never across groups, however good the passage of the other one is.
        assert [p["document"] for p in documents.find(store, blue, "which beverage?", limit=50)] in ([], ["rules"])
        assert all("alarm" in p["text"] for p in documents.find(store, blue, "Tea is served at four", limit=50))
        assert not any("alarm" in p["text"] for p in documents.find(store, red, "threshold of the alarm", limit=50))
        # Another version takes the place of all passages of the earlier one.
        assert documents.store_document(store, red, "rules", "Coffee is served at five.") == 1
        assert sorted(h.key for h in store.search(("documents", red), limit=50)) == ["menu#0", "menu#1", "rules#0"]
        assert documents.find(store, red, "Tea is served", limit=50, document="rules")[0]["text"] == "Coffee is served at five."


def test_the_sample(meaning):
    import subprocess
    import sys

    example = pathlib.Path(__file__).resolve().parents[1] / "examples" / "long_term_memory.py"
    r = subprocess.run([sys.executable, "-W", "error::ResourceWarning", example, meaning.url], capture_output=True, text=True, timeout=60)
    assert r.returncode == 0, r.stderr
    out = r.stdout.splitlines()
    assert re.fullmatch(r"Key: preferred_workspace, Score: (0\.[0-9]+|1\.0)", out[0]) and out[1:] == [f"Value: {PREFERRED}", f"Preferred workspace: {PREFERRED}"]
    said = [line for line in r.stderr.splitlines() if "Deprecation" not in line and not line.startswith(" ")]  # LangGraph's own, in some versions
    assert said == [f"instance_name 'health_monitor_lakebase' chooses no database: memories are kept by the server at {meaning.url}, in its store"]
    with LongTermMemory(url=meaning.url) as m, contextlib.suppress(LookupError):
        assert m.get_memory(ANN, "preferred_workspace") is None and m.get_failures == 0
