"""What was said in sessions and in the state of graphs is recalled like messages: written through Cenote, and by other programs into the same
database; per user and tenant; after a kill; without being seen anywhere else."""
import asyncio
import json
import time
from typing import Annotated, TypedDict

import psycopg
import pytest
from agents.extensions.memory import SQLAlchemySession
from langchain_core.messages import AIMessage, HumanMessage, RemoveMessage, SystemMessage, ToolMessage
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages

from embed_server import EmbedServer
from frames import PATH, TYPE, frames, put_op
from postgres import database
from server import PATIENCE, Server
from test_openai_embeddings import model_dir
from test_model import real

from cenote import CenoteSaver, CenoteSession, Client

pytestmark = pytest.mark.stores("sqlite", "postgres", "postgres-compact")
API = "/cenote/v1"


class State(TypedDict):
    messages: Annotated[list, add_messages]
    notes: list


def graph(saver, *replies):
    """Answers each message with the next of the replies."""
    def bot(state):
        return {"messages": [replies[sum(m.type == "human" for m in state["messages"]) - 1]]}

    return StateGraph(State).add_node("bot", bot).add_edge(START, "bot").compile(checkpointer=saver)


def config(thread):
    return {"configurable": {"thread_id": thread}}


def ask(s, method, path, body=None, headers=None):
    r = s.request(method, path, body, headers)
    assert r.status in (200, 201, 204), r
    return r.json if r.body else None


def put_json(thread, messages):
    op, blobs = put_op(thread, 1, value=json.dumps(messages).encode())
    op["values"][0][2] = "json"
    return frames([op], blobs)


def settle(s, headers=None):
    """Until everything is indexed, whoever wrote it."""
    ask(s, "GET", f"{API}/vectors?wait=indexed", headers=headers)


def hits(s, query, headers=None, **kw):
    return ask(s, "POST", f"{API}/recall", {"query": query, "kinds": ["message"], **kw}, headers)["results"]


def found(s, query, headers=None, **kw):
    """Hits with a word of the question: what stands beside one in its thread is found, too."""
    words = query.lower().split()
    return {(h["thread"], h["role"], h["text"]) for h in hits(s, query, headers, **kw) if any(w in h["text"].lower() for w in words)}


def stats(s):
    return ask(s, "GET", f"{API}/stats")


@pytest.fixture
def own(kind, start):
    with start(kind) as s:
        yield s


# ---- what is found -------------------------------------------------------------------------------------------------------------------


def test_a_graph(own):
    with CenoteSaver.connect(own.url) as saver:
        g = graph(saver, AIMessage("Ouagadougou it is", id="a1"), AIMessage([{"type": "text", "text": "The Volta rivers"}], id="a2"))
        g.invoke({"messages": [SystemMessage("be terse about rivers"), HumanMessage("Capital of Burkina Faso?", id="h1")]}, config("g"))
        g.invoke({"messages": [HumanMessage("Which rivers rise there?", id="h2")]}, config("g"))
        settle(own)
        assert found(own, "Burkina Faso capital") >= {("g", "user", "Capital of Burkina Faso?")}
        assert {(h["id"], h["text"]) for h in hits(own, "rivers")} >= {("h2", "Which rivers rise there?"), ("a2", "The Volta rivers")}
        assert not any("terse" in h["text"] for h in hits(own, "be terse about rivers", limit=50)), "what the system says is not recalled"
        st = stats(own)
        assert (st["messages"], st["background"]["texts"]["texts"], st["background"]["texts"]["waiting"]) == (0, 4, 0)
        # one document, in however many checkpoints it lies; times, explanations and budgets as for messages
        assert [h["id"] for h in hits(own, "Burkina Faso", limit=50)].count("h1") == 1
        [h] = [h for h in hits(own, "Burkina Faso", explain=True) if h["id"] == "h1"]
        assert h["time"] and h["explain"]["features"]["lex"]["value"] > 0 and h["name"] is None
        assert hits(own, "Burkina Faso", time={"to": "2001-01-01T00:00:00Z"}) == []
        assert len(hits(own, "rivers", budget_tokens=5)) == 1
        # the head counts: removed, edited
        g.update_state(config("g"), {"messages": [RemoveMessage(id="h1"), AIMessage("Bamako, I was mistaken", id="a1")]})
        settle(own)
        assert found(own, "Burkina Faso") == set() and found(own, "Ouagadougou") == set()
        assert found(own, "Bamako mistaken") == {("g", "assistant", "Bamako, I was mistaken")}
        assert stats(own)["background"]["texts"]["texts"] == 3
        # removing takes them along at once
        saver.delete_thread("g")
        assert found(own, "Bamako rivers") == set() and stats(own)["background"]["texts"]["texts"] == 0


def test_tools_ids_and_other_channels(own):
    with CenoteSaver.connect(own.url) as saver:
        g = graph(saver, ToolMessage("the thermometer says 31 degrees", tool_call_id="c", name="weather", id="t"))
        g.invoke({"messages": [HumanMessage("how warm, dear thermometer")], "notes": [{"type": "text", "text": "a thermometer is no message"}]}, config("tools"))
    settle(own)
    got = hits(own, "thermometer", limit=20)
    assert {(h["role"], h["name"]) for h in got} == {("user", None), ("tool", "weather")}, got
    # plain messages, and what LangGraph.js writes as JSON
    js = [{"lc": 1, "type": "constructor", "id": ["langchain_core", "messages", "HumanMessage"],
           "kwargs": {"content": "a barometer from JavaScript", "id": "js1"}},
          {"lc": 1, "type": "constructor", "id": ["langchain_core", "messages", "AIMessage"], "kwargs": {"content": "barometer indeed", "id": "js2"}}]
    assert own.request("POST", PATH, put_json("js", js), TYPE).status == 200
    settle(own)
    assert {(h["id"], h["role"]) for h in hits(own, "barometer")} == {("js1", "user"), ("js2", "assistant")}
    # The same ids again, as where two channels hold the messages: each is one text.
    twice = [{"role": role, "content": f"a hygrometer, {i}", "id": f"h{i}"} for i, role in enumerate(("user", "assistant", "user"))] * 2
    assert own.request("POST", PATH, put_json("twice", twice), TYPE).status == 200
    settle(own)
    assert sorted(h["id"] for h in hits(own, "hygrometer", threads=["twice"])) == ["h0", "h1", "h2"]
    assert {h["id"] for h in hits(own, "barometer", threads=["js"])} == {"js1", "js2"}, "nothing else has gone"


def test_a_session(own):
    client = Client(own.url)
    session = CenoteSession("s", client)
    run = asyncio.new_event_loop().run_until_complete
    run(session.add_items([{"role": "user", "content": "My heron nests at Windermere"},
                           {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Herons like that lake"}]},
                           {"type": "function_call", "call_id": "c", "name": "nests", "arguments": "{\"heron\": 1}"},
                           {"type": "function_call_output", "call_id": "c", "output": "two heron chicks"},
                           {"type": "reasoning", "summary": [{"type": "summary_text", "text": "the heron thinks"}]}]))
    settle(own)
    assert found(own, "heron") == {("s", "user", "My heron nests at Windermere"), ("s", "tool", "two heron chicks"), ("s", "assistant", "Herons like that lake")}
    assert found(own, "heron", threads=["other"]) == set() and len(found(own, "heron", threads=["s"])) == 3
    run(session.add_items([{"role": "user", "content": "A kingfisher came, too"}]))
    settle(own)
    assert found(own, "kingfisher") == {("s", "user", "A kingfisher came, too")}
    assert run(session.pop_item())["content"] == "A kingfisher came, too"
    assert found(own, "kingfisher") == set(), "at once"
    run(session.clear_session())
    assert found(own, "heron") == set(), "at once"
    # conversations are threads with entries
    made = ask(own, "POST", "/v1/conversations", {"items": [{"type": "message", "role": "user", "content": "an osprey over the loch"}]})
    settle(own)
    assert found(own, "osprey") == {(made["id"], "user", "an osprey over the loch")}
    item = ask(own, "GET", f"/v1/conversations/{made['id']}/items")["data"][0]["id"]
    ask(own, "DELETE", f"/v1/conversations/{made['id']}/items/{item}")
    assert found(own, "osprey") == set()


def test_nothing_else_shows_them(own):
    ask(own, "POST", f"{API}/messages", {"messages": [{"thread": "both", "role": "user", "id": "n", "content": "a native pelican"}]})
    ask(own, "POST", f"{API}/sessions/both/items", {"items": [{"role": "user", "content": "a pelican of the session"}]})
    settle(own)
    assert len(found(own, "pelican")) == 2
    listed = ask(own, "GET", f"{API}/threads/both/messages")
    assert [m["id"] for m in listed["data"]] == ["n"]
    assert stats(own)["messages"] == 1
    exported = own.request("GET", f"{API}/threads/both/export")
    assert exported.status == 200 and exported.body.count(b"a native pelican") <= 1 and exported.body.count(b"pelican of the session") == 1
    # the native part goes, the other stays; all goes with the thread
    ask(own, "DELETE", f"{API}/threads/both")
    assert found(own, "pelican") == set()


# ---- who finds it --------------------------------------------------------------------------------------------------------------------


def test_users_and_tenants(kind, start):
    with start(kind, "--auth", "keys") as s:
        def key(*args):
            made = json.loads(s.run("key", "create", "--json", *args, check=0).stdout)
            return {"Authorization": f"Bearer {made.get('key') or made['secret']}"}

        acme, bolt = key("--name", "a", "--tenant", "acme"), key("--name", "b", "--tenant", "bolt")
        ann = key("--name", "ann", "--tenant", "acme", "--for-user", "ann@example.com")
        bob = key("--name", "bob", "--tenant", "acme", "--for-user", "bob")
        for who, name in ((ann, "ann"), (bob, "bob"), (acme, "nobody"), (bolt, "bolt")):
            ask(s, "POST", f"{API}/sessions/s-{name}/items", {"items": [{"role": "user", "content": f"the walrus of {name}"}]}, who)
            body = put_json(f"g-{name}", [{"role": "user", "content": f"the walrus graph of {name}", "id": name}])
            assert s.request("POST", PATH, body, {**TYPE, **who}).status == 200
        for who in (acme, bolt):
            settle(s, who)

        def seen(who, **kw):
            return {h["thread"] for h in hits(s, "walrus", who, limit=50, **kw)}

        everyone = [f"{k}-{n}" for k in "sg" for n in ("ann", "bob", "nobody", "bolt")]
        assert seen(ann) == {"s-ann", "g-ann"} == seen(ann, threads=everyone)
        assert seen(bob) == {"s-bob", "g-bob"} == seen(bob, threads=everyone)
        assert seen(bolt) == {"s-bolt", "g-bolt"} == seen(bolt, threads=everyone) and seen(bolt, user="ann@example.com") == set()
        assert seen(acme) == {"s-nobody", "g-nobody"} and seen(acme, user="bob") == {"s-bob", "g-bob"}
        r = s.request("POST", f"{API}/recall", {"query": "walrus", "user": "ann@example.com"}, bob)
        assert r.status == 403, r
        # what one removes, by names that another knows, stays the other's
        assert s.request("DELETE", f"{API}/threads/s-ann", None, bob).status == 404
        assert s.request("DELETE", f"{API}/sessions/s-ann", None, bob).status in (204, 404)
        assert seen(ann) == {"s-ann", "g-ann"}
        for thread in ("s-ann", "g-ann"):
            assert s.request("DELETE", f"{API}/threads/{thread}", None, ann).status == 204
        assert seen(ann) == set() and seen(acme, user="ann@example.com") == set()


# ---- kills, other programs, the setting ----------------------------------------------------------------------------------------------


def test_a_kill_before_indexing(own):
    """What was acknowledged is indexed after the next start."""
    with CenoteSaver.connect(own.url) as saver:
        for i in range(20):
            graph(saver, AIMessage(f"narwhal answer {i}", id=f"a{i}")).invoke({"messages": [HumanMessage(f"narwhal question {i}", id=f"h{i}")]}, config(f"k{i}"))
        ask(own, "POST", f"{API}/sessions/k/items", {"items": [{"role": "user", "content": "narwhal in a session"}]})
        own.kill()
    own.start()
    settle(own)
    assert len(hits(own, "narwhal", limit=100)) == 41 and stats(own)["background"]["texts"]["texts"] == 41


@pytest.mark.stores("postgres")
def test_long_names_of_others(pg_server):
    """Names of threads that are longer than ours may be, and alike in their first 1024 bytes."""
    with database(pg_server) as url, PostgresSaver.from_conn_string(url) as theirs:
        theirs.setup()
        names = ["x" * n for n in (300, 1024, 1025, 1500)]
        g = graph(theirs, AIMessage("hello", id="a"))
        for name in names:
            g.invoke({"messages": [HumanMessage(f"ibex of {len(name)}", id="h")]}, config(name))
        with Server(store=url) as s:
            settle(s)
            assert {t for t, _, _ in found(s, "ibex")} == set(names)


@pytest.mark.stores("postgres")
def test_rows_of_others(pg_server):
    with database(pg_server) as url, PostgresSaver.from_conn_string(url) as theirs, psycopg.connect(url, autocommit=True) as db:
        theirs.setup()
        run = asyncio.new_event_loop().run_until_complete
        session = SQLAlchemySession.from_url("theirs", url=url.replace("postgresql://", "postgresql+psycopg://"), create_tables=True)
        run(session.add_items([{"role": "user", "content": "a marmot before the start"}]))
        g = graph(theirs, AIMessage("the marmot whistles", id="a"), AIMessage("it hibernates", id="b"))
        g.invoke({"messages": [HumanMessage("does a marmot sing?", id="h")]}, config("graph"))
        with Server(store=url) as s:
            settle(s)
            assert found(s, "marmot") == {("theirs", "user", "a marmot before the start"), ("graph", "user", "does a marmot sing?"),
                                          ("graph", "assistant", "the marmot whistles")}
            listed = {t["thread"] for t in ask(s, "GET", f"{API}/threads")["data"]}
            assert listed == {"theirs", "graph"}
            run(session.add_items([{"role": "user", "content": "a chinchilla while it runs"}]))
            g.invoke({"messages": [HumanMessage("and the chinchilla in winter?", id="h2")]}, config("graph"))
            settle(s)
            assert {t for t, _, _ in found(s, "chinchilla")} == {"theirs", "graph"}
            run(session.pop_item())
            theirs.delete_thread("graph")
            settle(s)
            assert found(s, "chinchilla") == set() and found(s, "marmot") == {("theirs", "user", "a marmot before the start")}
            run(session.clear_session())
            settle(s)
            assert found(s, "marmot") == set() and stats(s)["background"]["texts"]["texts"] == 0
            assert db.execute("SELECT count(*) FROM cenote_text").fetchone() == (0,)
            assert ask(s, "GET", f"{API}/threads")["data"] == [], "nothing is left under a name that others removed"
        run(session._engine.dispose())


def test_the_setting(own):
    ask(own, "POST", f"{API}/sessions/s/items", {"items": [{"role": "user", "content": "an okapi"}]})
    settle(own)
    assert len(found(own, "okapi")) == 1
    assert b"cenote_texts_added_total 1\n" in own.request("GET", "/metrics").body
    own.stop()
    own.env["CENOTE_RECALL_THREADS"] = "false"
    own.start()
    settle(own)
    assert stats(own)["background"]["texts"]["on"] is False
    end = time.monotonic() + PATIENCE
    while stats(own)["background"]["texts"]["texts"] > 0:
        assert time.monotonic() < end, stats(own)
    assert found(own, "okapi") == set()


# ---- by meaning ----------------------------------------------------------------------------------------------------------------------


def test_by_meaning(kind, start):
    """The built-in encoder; words of the question are in none of the texts."""
    real()
    with start(kind, env={"CENOTE_EMBED_KIND": "minilm", "CENOTE_EMBED_MODEL_DIR": model_dir()}) as s:
        with CenoteSaver.connect(s.url) as saver:
            graph(saver, AIMessage("Congratulations on the puppy!", id="a")).invoke({"messages": [HumanMessage("We adopted a young beagle", id="h")]}, config("g"))
        ask(s, "POST", f"{API}/sessions/s/items", {"items": [{"role": "user", "content": "Interest rates rose again"}, {"role": "user", "content": "My flight leaves at noon"}]})
        # an item's write waits for what was said before it, too
        assert ask(s, "PUT", f"{API}/items?namespace=n&key=k&wait=indexed", {"text": "the printer is out of paper"})["indexed"] is True
        st = stats(s)["background"]
        assert (st["texts"]["texts"], st["vectors"]["documents"], st["vectors"]["done"], st["pending"]) == (4, 5, 5, 0), st
        for question, thread, text in (("What kind of pet do they have?", "g", "We adopted a young beagle"), ("money borrowing costs", "s", "Interest rates rose again"),
                                       ("when will you travel by airplane", "s", "My flight leaves at noon")):
            for mode in ("auto", "vectors"):
                best = hits(s, question, mode=mode)[0]
                assert (best["thread"], best["text"]) == (thread, text) or (mode == "auto" and best["thread"] == thread), (question, mode, best)
        # what is removed takes its vector along
        assert s.request("DELETE", f"{API}/threads/g").status == 204
        settle(s)
        assert ask(s, "GET", f"{API}/vectors")["documents"] == 3
        assert all(h["thread"] == "s" for h in hits(s, "What kind of pet do they have?", mode="vectors"))


def test_texts_that_have_no_vector_yet(kind, start):
    """pending counts them while the service fails, and from the start of the process on."""
    with EmbedServer(dims=8) as service, start(kind, env={"CENOTE_EMBED_KIND": "remote", "CENOTE_EMBED_BASE_URL": service.url, "CENOTE_EMBED_MODEL": service.model,
                                                         "CENOTE_EMBED_TIMEOUT": "1s", "CENOTE_EMBED_QUESTION_TIMEOUT": "20s"}) as s:
        service.stay("500")
        ask(s, "POST", f"{API}/sessions/s/items", {"items": [{"role": "user", "content": f"quokka {i}"} for i in range(7)]})
        assert s.request("POST", PATH, put_json("g", [{"role": "user", "content": "quokka of the graph"}]), TYPE).status == 200
        late = s.request("PUT", f"{API}/items?namespace=n&key=k&wait=indexed&wait_ms=300", {"text": "an item"})
        assert late.json["indexed"] is False, late
        end = time.monotonic() + PATIENCE
        while stats(s)["background"]["texts"]["texts"] < 8 or stats(s)["background"]["pending"] < 9:
            assert time.monotonic() < end, stats(s)
        assert len(found(s, "quokka")) == 8, "found by words meanwhile"
        s.kill()
        s.start()
        assert ask(s, "GET", f"{API}/vectors")["pending"] == 9, "before the service has answered"
        service.stay("ok")
        settle(s)
        state = ask(s, "GET", f"{API}/vectors")
        assert (state["documents"], state["done"], state["pending"]) == (9, 9, 0), state
        assert hits(s, "quokka 3", mode="vectors")[0]["text"] == "quokka 3"


# ---- pruned, copied, exported, erased ------------------------------------------------------------------------------------------------


def turns(s, thread, *contents, headers=None):
    """Checkpoints of a list that grows."""
    said = []
    for n, content in enumerate(contents):
        said.append({"role": "user", "content": content, "id": f"{thread}-{n}"})
        op, blobs = put_op(thread, n, value=json.dumps(said).encode())
        op["values"][0][2] = "json"
        assert s.request("POST", PATH, frames([op], blobs), {**TYPE, **(headers or {})}).status == 200


def test_pruned_forked_copied(own):
    turns(own, "p", "an ibex at dawn", "an ibex at noon", "an ibex at dusk")
    settle(own)
    everything = {("p", "user", t) for t in ("an ibex at dawn", "an ibex at noon", "an ibex at dusk")}
    assert found(own, "ibex") == everything
    # the newest stays, and says all of it
    ask(own, "POST", f"{API}/threads/prune", {"threads": ["p"], "keep_last": 1})
    settle(own)
    assert found(own, "ibex") == everything and stats(own)["background"]["texts"]["texts"] == 3
    # both are found in their thread; what they say is the same, and recall gives it once
    ask(own, "POST", f"{API}/threads/p/fork", {"to": "q"})
    made = own.request("POST", "/threads", {}).json["thread_id"]
    turns(own, made, "an ibex of the copied one")
    copied = ask(own, "POST", f"/threads/{made}/copy")["thread_id"]
    settle(own)
    assert found(own, "ibex", threads=["q"]) == {("q", role, text) for _, role, text in everything}
    assert found(own, "ibex copied", threads=[copied]) == {(copied, "user", "an ibex of the copied one")}
    # whichever of them goes takes its own along
    ask(own, "POST", f"{API}/threads/prune", {"threads": ["p"], "strategy": "delete"})
    own.request("DELETE", f"/threads/{made}")
    assert found(own, "ibex", threads=["p", made]) == set()
    assert found(own, "ibex", threads=["q"]) == {("q", role, text) for _, role, text in everything}
    assert found(own, "ibex copied", threads=[copied]) == {(copied, "user", "an ibex of the copied one")}
    settle(own)
    assert stats(own)["background"]["texts"]["texts"] == 4


def test_exported_and_imported(own):
    turns(own, "e", "a tapir in the river")
    ask(own, "POST", f"{API}/sessions/e/items", {"items": [{"role": "user", "content": "a tapir in the session"}]})
    settle(own)
    whole = own.request("GET", f"{API}/threads/e/export").body
    assert whole.count(b"a tapir in the session") == 1, "texts are not exported a second time"
    assert b"tapir" not in own.request("GET", f"{API}/export").body, "nor are they messages"
    ask(own, "DELETE", f"{API}/threads/e")
    settle(own)
    assert found(own, "tapir") == set()
    r = own.request("POST", f"{API}/threads/import?to=i", whole, {"Content-Type": "application/x-ndjson"})
    assert r.status in (200, 201), r
    settle(own)
    assert found(own, "tapir") == {("i", "user", "a tapir in the river"), ("i", "user", "a tapir in the session")}


def test_idle_threads_are_deleted(kind, start):
    """Their own time to live, in the background: nothing of them is found afterwards, not as text and not as vector."""
    with EmbedServer(dims=8) as service, start(kind, "--retention-interval", "1s", env={
            "CENOTE_EMBED_KIND": "remote", "CENOTE_EMBED_BASE_URL": service.url, "CENOTE_EMBED_MODEL": service.model}) as s:
        made = s.request("POST", "/threads", {"ttl": {"ttl": 60, "strategy": "delete"}}).json["thread_id"]
        turns(s, made, "a dodo for a moment")
        turns(s, "stays", "a dodo for ever")
        settle(s)
        assert ("stays", "user", "a dodo for ever") in found(s, "dodo")
        assert s.request("PATCH", f"/threads/{made}", {"ttl": {"ttl": 0.02, "strategy": "delete"}}).status == 200
        end = time.monotonic() + PATIENCE
        while s.request("GET", f"/threads/{made}").status != 404:
            assert time.monotonic() < end, "it is still there"
        assert found(s, "dodo") == {("stays", "user", "a dodo for ever")}
        settle(s)
        state = ask(s, "GET", f"{API}/vectors")
        assert (stats(s)["background"]["texts"]["texts"], state["documents"], state["pending"]) == (1, 1, 0), state


def test_everything_of_a_user(kind, start):
    """Removing all threads of a user leaves no text, no vector, no mark of them; others' stay."""
    with start(kind, "--auth", "keys") as s:
        def key(*args):
            made = json.loads(s.run("key", "create", "--json", *args, check=0).stdout)
            return {"Authorization": f"Bearer {made.get('key') or made['secret']}"}

        admin = key("--name", "a", "--tenant", "acme")
        users = {name: key("--name", name, "--tenant", "acme", "--for-user", name) for name in ("ann", "bob")}
        for name, who in users.items():
            for i in range(3):
                turns(s, f"g{i}-{name}", f"the manatee {i} of {name}", headers=who)
                ask(s, "POST", f"{API}/sessions/s{i}-{name}/items", {"items": [{"role": "user", "content": f"the manatee entry {i} of {name}"}]}, who)
        settle(s, admin)
        assert len(found(s, "manatee", admin, user="ann", limit=50)) == len(found(s, "manatee", users["bob"], limit=50)) == 6
        listed = [t["thread"] for t in ask(s, "GET", f"{API}/threads?user=ann", headers=admin)["data"]]
        assert len(listed) == 6
        for thread in listed:
            assert s.request("DELETE", f"{API}/threads/{thread}", None, admin).status == 204
        assert found(s, "manatee", admin, user="ann", limit=50) == set() == found(s, "manatee", users["ann"], limit=50)
        settle(s, admin)
        assert len(found(s, "manatee", users["bob"], limit=50)) == 6
        assert ask(s, "GET", f"{API}/stats", headers=admin)["background"]["texts"]["texts"] == 6
        # one who writes under the name again begins anew
        turns(s, "g0-ann", "a manatee of bob's now", headers=users["bob"])
        settle(s, admin)
        assert found(s, "manatee", users["ann"]) == set() and ("g0-ann", "user", "a manatee of bob's now") in found(s, "manatee", users["bob"], limit=50)
