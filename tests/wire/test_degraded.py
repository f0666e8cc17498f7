"""A turn when something is down: the encoder, or the database. The model answers all the same, soon, and what is missing is said."""
import json
import time

import openai
import psycopg
import pytest

from cenote import LongTermMemory
from embed_server import EmbedServer
from model_server import ModelServer, echo
from postgres import Postgres
from server import Server, run
from terminal import Terminal

SOON = 20  # seconds; a sanitizer and a busy machine included


@pytest.fixture(scope="module")
def model_server():
    with ModelServer() as m:
        yield m


@pytest.fixture
def model(model_server):
    model_server.answer = echo
    return model_server


def connect(s):
    return openai.OpenAI(api_key="x", base_url=s.url + "/v1", max_retries=0)


def ask(client, text, streamed=False, **kw):
    """Text of the answer, headers, seconds."""
    began = time.monotonic()
    r = client.responses.with_raw_response.create(model="scripted", input=text, stream=streamed, **kw)
    answer = "".join(e.delta for e in r.parse() if e.type == "response.output_text.delta") if streamed else r.parse().output_text
    return answer, {k.lower(): v for k, v in r.headers.items()}, time.monotonic() - began


@pytest.mark.parametrize("fault", ["500", "hang"])
def test_encoder_down(kind, start, model, fault):
    """Memories are found by words, and the turn does not wait for the encoder long."""
    with EmbedServer() as encoder, start(kind, "--embed-kind", "remote", "--embed-base-url", encoder.url, "--embed-model", "scripted", "--embed-dims", "8",
                                         "--llm-base-url", model.url, "--llm-model", "scripted") as s:
        with LongTermMemory(url=s.url) as memory:
            memory.save_memory("ann", "tea", {"drinks": "green tea"})
        encoder.stay(fault)
        with connect(s) as client:
            answer, headers, seconds = ask(client, "Which tea do I drink?", user="ann")
        assert answer == "You said: Which tea do I drink?" and seconds < SOON
        assert "x-cenote-stateless" not in headers and "green tea" in model.requests[-1]["messages"][0]["content"]


@pytest.mark.parametrize("streamed", [False, True])
def test_database_down(model, streamed):
    """Without the database the model answers without memory and says so; when it is back, the thread goes on from what it has."""
    with Postgres(fsync="off") as pg, Server("--llm-base-url", model.url, "--llm-model", "scripted", store=pg.url) as s, connect(s) as client:
        talk = client.conversations.create().id
        assert ask(client, "My cat is called Ada.", conversation=talk)[0]
        pg.stop("immediate")
        answer, headers, seconds = ask(client, "Are you there?", streamed, conversation=talk, user="ann")
        assert answer == "You said: Are you there?" and headers["x-cenote-stateless"] == "true" and seconds < SOON
        assert [m["content"] for m in model.requests[-1]["messages"]][1:] == ["Are you there?"]
        assert s.logged("Memory unavailable, using stateless mode")
        pg.start()
        end = time.monotonic() + 30
        while s.request("GET", "/readyz").status != 200:
            assert time.monotonic() < end
            time.sleep(0.1)
        answer, headers, _ = ask(client, "And now?", streamed, conversation=talk)
        assert "x-cenote-stateless" not in headers
        assert [m["content"] for m in model.requests[-1]["messages"]][1:] == ["My cat is called Ada.", "You said: My cat is called Ada.", "And now?"]


def test_the_command_line_says_so(model):
    """`cenote ask` and `cenote chat` tell that an answer was given without memory: below it, on stderr over a pipe, as a member of the event with --json."""
    with Postgres(fsync="off") as pg, Server("--llm-base-url", model.url, "--llm-model", "scripted", store=pg.url) as s, Server(store=pg.url) as mute:
        def command(*args, server=s, **kw):
            r = run(*args, "--server", server.url, "--user", "ann", check=0, **kw)
            return r.stdout, r.stderr

        def events(name, *args, **kw):
            return [e for e in map(json.loads, command(*args, "--json", **kw)[0].splitlines()) if e["event"] == name]

        away = "Memory unavailable, using stateless mode: "
        assert command("ask", "Are you there?") == ("You said: Are you there?\n", "")
        assert [e["stateless"] for e in events("answer", "ask", "hi")] == [None]
        pg.stop("immediate")
        out, err = command("ask", "Are you there?")
        assert out == "You said: Are you there?\n" and away in err
        out, err = command("chat", stdin="one\ntwo\n/why\n")
        assert out == "You said: one\nYou said: two\n" and err.count(away) == 3
        for args in (("ask", "hi"), ("chat",)):
            (answer,) = events("answer", *args, stdin="hi\n")
            assert answer["text"] == "You said: hi" and answer["stateless"].startswith(away) and answer["memories"] == []
        with Terminal("chat", "--server", s.url, "--user", "ann") as t:
            t.expect("> ")
            t.type("hello")
            t.expect(r"You said: hello\s+\[" + away)
            assert t.leave() == 0
        # Where no model answers, nothing recalled is not nothing known.
        out, err = command("chat", server=mute, stdin="one\n")
        assert out == "" and away in err and "nothing is recalled" not in err
        (recall,) = events("recall", "ask", "hi", server=mute)
        assert recall["stateless"].startswith(away)


@pytest.mark.parametrize("table, late", [("store", "recall"), ("agent_messages", "get")])
def test_a_step_that_is_slow(model, table, late):
    """A step that the database does not answer in memory.step_timeout is given up, long before the statement's own deadline, and the turn says so."""
    # What is done behind a turn waits for the lock, too: it must not have all connections.
    with Postgres(fsync="off") as pg, Server("--llm-base-url", model.url, "--llm-model", "scripted", "--memory-step-timeout", "3s", "--pg-statement-timeout",
                                             "10m", "--pg-pool-max", "12", store=pg.url) as s, connect(s) as client, psycopg.connect(pg.url) as other:
        talk = {"extra_headers": {"X-Cenote-Thread": "talk"}}
        with LongTermMemory(url=s.url) as memory:
            memory.save_memory("ann", "tea", {"drinks": "green tea"})
        assert "x-cenote-stateless" not in ask(client, "My cat is called Ada.", user="ann", **talk)[1]
        other.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        answer, headers, seconds = ask(client, "Which tea?", user="ann", **talk)
        assert answer == "You said: Which tea?" and headers["x-cenote-stateless"] == "true" and seconds < SOON
        trace = s.request("GET", f"/cenote/v1/traces/{headers['x-cenote-trace']}").json
        (step,) = [x for x in trace["spans"] if x["name"] == late]
        assert step["state"] == "ERROR" and step["error"] == "the store did not answer within 3000 ms (memory.step_timeout)"
        assert step["error"] in trace["spans"][0]["attributes"]["cenote.stateless"] and trace["state"] == "OK"
        assert "green tea" not in model.requests[-1]["messages"][0]["content"]
        assert ("Ada" in str(model.requests[-1]["messages"])) == (late == "recall")  # what was there before stays
        other.rollback()
        answer, headers, _ = ask(client, "Which tea do I drink?", user="ann", **talk)
        assert "x-cenote-stateless" not in headers and "green tea" in model.requests[-1]["messages"][0]["content"]


def serves(s):
    """Waits until the store answers."""
    end = time.monotonic() + 30
    while s.request("GET", "/cenote/v1/items?namespace=a&key=b").status != 404:
        assert time.monotonic() < end
        time.sleep(0.05)


def said(client, talk):
    return [c.text for item in client.conversations.items.list(talk, order="asc", limit=100) for c in item.content]


def test_database_hangs(model):
    """A database that says nothing is waited for once in a turn, and by the turns that follow hardly at all; what was typed is kept if it comes back in time."""
    with Postgres(fsync="off") as pg, Server("--llm-base-url", model.url, "--llm-model", "scripted", "--pg-statement-timeout", "2s", "--pg-connect-timeout",
                                             "1s", store=pg.url) as s, connect(s) as client:
        talk = client.conversations.create().id
        assert ask(client, "My cat is called Ada.", conversation=talk, user="ann")[0]
        with pg.silent():
            began = time.monotonic()
            for i, steps in enumerate((["turn", "resolve", "prompt", "chat scripted", "save"], ["turn", "resolve", "get", "prompt", "chat scripted", "save"]) * 2):
                where = {"extra_headers": {"X-Cenote-Thread": talk}} if "get" in steps else {"conversation": talk}
                answer, headers, _ = ask(client, f"Question {i}", i > 1, user="ann", **where)
                assert answer == f"You said: Question {i}" and headers["x-cenote-stateless"] == "true"
                trace = s.request("GET", f"/cenote/v1/traces/{headers['x-cenote-trace']}").json
                assert [x["name"] for x in trace["spans"]] == steps  # the last one is short
            assert time.monotonic() - began < SOON
        serves(s)
        answer, headers, _ = ask(client, "And now?", conversation=talk, user="ann")
        assert "x-cenote-stateless" not in headers
        assert [m["content"] for m in model.requests[-1]["messages"]][1:3] == ["My cat is called Ada.", "You said: My cat is called Ada."]

        def back_in_time(body):
            pg.awake()
            serves(s)
            return "Here I am."

        with pg.silent():
            model.answer = back_in_time
            answer, headers, _ = ask(client, "Are you there?", True, conversation=talk, user="ann")
        assert answer == "Here I am." and headers["x-cenote-stateless"] == "true"
        end = time.monotonic() + 30
        while (all_said := said(client, talk))[-2:] != ["Are you there?", "Here I am."]:
            assert time.monotonic() < end, all_said
            time.sleep(0.1)
        assert all(all_said.count(x) == 1 for x in all_said), "something was kept twice"
