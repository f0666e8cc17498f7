"""`cenote chat` and `cenote ask`: on a terminal, over a pipe, with a server and on the store itself; and X-Cenote-Why under them."""
import json
import os
import signal
import stat
import subprocess
import threading
import time

import openai
import pytest

from cenote import LongTermMemory
from model_server import ModelServer
from server import PATIENCE, binary, run
from terminal import Terminal

VOICE = "llm.base_url"


@pytest.fixture(scope="module")
def model():
    with ModelServer(key="sk-model") as m:
        yield m


@pytest.fixture(autouse=True)
def calm(request):
    m = request.getfixturevalue("model") if "model" in request.fixturenames else None
    if m:
        m.answer, m.gate = ModelServer().answer, None
        m.script()
        m.requests.clear()
    yield


@pytest.fixture(scope="module")
def server(kind, start, model):
    with start(kind, "--llm-base-url", model.url, "--llm-model", "scripted", env={"CENOTE_LLM_API_KEY": "sk-model"}) as s:
        yield s


@pytest.fixture
def client(server):
    with openai.OpenAI(api_key="x", base_url=server.url + "/v1", max_retries=0) as c:
        yield c


def settings(where, tmp_path, model=None):
    """The environment of a command: of a server, or of a store of its own with or without a model."""
    env = {"XDG_CONFIG_HOME": tmp_path, "XDG_STATE_HOME": tmp_path / "state", "CENOTE_DATA": tmp_path / "data"}
    if where:
        env["CENOTE_SERVER"] = where.url
    elif model:
        env |= {"CENOTE_LLM_BASE_URL": model.url, "CENOTE_LLM_MODEL": "scripted", "CENOTE_LLM_API_KEY": "sk-model"}
    return env


def events(r):
    return [json.loads(x) for x in r.stdout.splitlines()]


def of(r, name):
    return [e for e in events(r) if e["event"] == name]


def kept(client, thread):
    return [(x.role, x.content[0].text) for x in client.conversations.items.list(thread, order="asc", limit=100)]


def until(check):
    end = time.monotonic() + PATIENCE
    while not (got := check()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return got


# --------------------------------------------------------------------- a terminal


def test_a_conversation(server, client, model, tmp_path):
    """One id from the start on; the first word shows before the last is there; the next start has a new id."""
    env = settings(server, tmp_path)
    with Terminal("chat", "--user", "ann", env=env) as t:
        thread = t.expect(r"New thread (\S+)\.").group(1)
        t.expect("> ")
        model.answer, model.gate = lambda body: "Grüße, \x1b]0;owned\x07 Ada\u202e \x9b31m.", threading.Event()
        t.type("My cat is called Ada ünd Bo.")
        t.expect("Grüße,")
        assert "Ada\n" not in t.text()[t.at:] and not model.gate.is_set()
        model.gate.set()
        t.expect(r"Ada")
        t.expect("> ")
        model.answer, model.gate = lambda body: "Ada.", None
        t.type("What is my cat called?")
        t.expect("Ada.\n")
        t.expect("> ")
        assert t.leave() == 0
    assert b"\x1b]0" not in t.raw and b"\x07" not in t.raw and "\u202e".encode() not in t.raw and "\x9b".encode() not in t.raw
    assert [m["content"] for m in model.requests[-1]["messages"]][1] == "My cat is called Ada ünd Bo."
    assert [r for r, _ in kept(client, thread)] == ["user", "assistant", "user", "assistant"]
    history = tmp_path / "state" / "cenote" / "history"
    assert history.read_text() == "My cat is called Ada ünd Bo.\nWhat is my cat called?\n"
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    with Terminal("chat", "--user", "ann", env=env) as t:
        assert t.expect(r"New thread (\S+)\.").group(1) != thread
        t.expect("> ")
        os.write(t.lead, b"\x1b[A")  # the line before, of another process
        t.expect("What is my cat called")
        t.type("")
        t.expect("Ada.\n|You said: What")
        t.type("/quit")
        assert t.end() == 0


def test_ctrl_c(server, client, model, tmp_path):
    """It stops the answer and keeps the session and what came of it; then a line; then the chat."""
    with Terminal("chat", "--user", "ann", env=settings(server, tmp_path)) as t:
        thread = t.expect(r"New thread (\S+)\.").group(1)
        t.expect("> ")
        model.answer, model.gate = lambda body: "one " + "two " * 20000, threading.Event()
        t.type("count")
        t.expect("one")
        t.key("c")
        t.expect("stopped")
        t.expect("> ")
        until(lambda: ("assistant", "one") in kept(client, thread))  # though the model says nothing more
        assert [x.status for x in client.conversations.items.list(thread, order="asc")] == ["completed", "incomplete"]
        model.answer, model.gate = lambda body: "Well.", None
        t.type("go on")
        t.expect("Well.")
        t.expect("> ")
        os.write(t.lead, b"half a li")
        t.expect("half a li")
        t.key("c")
        t.expect("once more")
        t.expect("> ")
        t.type("whole")
        t.expect("Well.")
        t.expect("> ")
        t.key("c")
        t.expect("once more")
        t.key("c")
        assert t.end() == 130
    assert [x for r, x in kept(client, thread) if r == "user"] == ["count", "go on", "whole"]


@pytest.mark.stores("sqlite")
def test_the_daemon_goes(start, kind, model, tmp_path):
    """A chat through the store's socket: when the daemon has ended, the store is opened here, and the thread goes on."""
    with start(kind, "--llm-base-url", model.url, "--llm-model", "scripted", env={"CENOTE_LLM_API_KEY": "sk-model"}) as s:
        env = {**settings(None, tmp_path, model), "CENOTE_DATA": s.folder / "data"}
        with Terminal("chat", "--user", "ann", env=env) as t:
            t.expect("; server unix:.*> ")
            t.type("one")
            t.expect("You said: one.*> ")
            t.process.send_signal(signal.SIGSTOP)
            s.stop()
            t.process.send_signal(signal.SIGCONT)
            t.type("two")
            t.expect("not reachable.*opened here now.*> ")
            t.type("two")
            t.expect("You said: two.*> ")
            t.type("/quit")
            assert t.end() == 0
    assert [m["content"] for m in model.requests[-1]["messages"]][1:] == ["one", "You said: one", "two"]


@pytest.mark.stores("sqlite")
def test_nobody_reads(server, model, tmp_path):
    """stdout is closed after the first line: the chat ends, and what was said until then is kept."""
    env = {**os.environ, **{k: str(v) for k, v in settings(server, tmp_path).items()}}
    r = subprocess.run(["sh", "-c", 'yes hello | (timeout 20 "$0" chat --user ann --json; echo $? >&2) | head -1', binary()], env=env,
                       capture_output=True, text=True, timeout=60)
    assert json.loads(r.stdout)["event"] == "thread" and r.stderr.strip().splitlines()[-1] == "141", r


@pytest.mark.stores("sqlite")
def test_terminated(server, model, tmp_path):
    model.answer, model.gate = lambda body: "one two", threading.Event()
    with Terminal("chat", "--user", "ann", env=settings(None, tmp_path, model)) as t:
        t.expect("> ")
        t.type("count")
        t.expect("one")
        t.process.send_signal(signal.SIGTERM)
        assert t.end() == 143
    assert not (tmp_path / "data" / "cenote.sock").exists() and run("stats", env=settings(None, tmp_path)).returncode == 0


def test_commands(server, client, model, tmp_path):
    with LongTermMemory(url=server.url) as memory:
        memory.save_memory("eve", "tea", {"text": "Eve drinks green tea \x1b[31m"})
        memory.save_memory("eve", "dog", {"text": "Eve's dog is called Rex"})
    with Terminal("chat", "--user", "eve", env=settings(server, tmp_path)) as t:
        first = t.expect(r"New thread (\S+)\.").group(1)
        t.expect("> ")

        def say(line, pattern):
            t.type(line)
            m = t.expect(pattern)
            t.expect("> ")
            return m

        say("/why", "no answer in this chat yet")
        say("Which tea do I drink?", r"You said: Which tea do I drink\?\n\[1 memory: Eve drinks green tea.* 1.00 - /why\]")
        say("/why", r"1 memory went into.*1\. 1\.000  Eve drinks green tea .*from user_memories\.eve / tea, 20\d\d-.*made of lex 1\.000")
        say("Say more", "You said: Say more")
        fork = say("/fork 1", rf"2 items of {first} taken along.*going on in thread (\S+)").group(1)
        assert kept(client, fork) == kept(client, first)[:2] and len(kept(client, first)) == 4
        say("And here?", "You said: And here")
        assert [m["content"] for m in model.requests[-1]["messages"]][1:] == ["Which tea do I drink?", "You said: Which tea do I drink?", "And here?"]
        say("/new", r"new thread (\S+)")
        say("/threads", rf"1\. {fork}  4 items, .*Which tea do I drink\?\n  2\. {first}  4 items")
        say("/resume 2", rf"Say more.*going on with thread {first}")
        say("/resume nothing", "there is no conversation")
        say("/memories", r"1\. Eve.*2\. Eve")
        say("/memories dog", r"1\. .*dog is called Rex")
        t.type("/forget dog")
        t.expect(r"forget user_memories\.eve / dog\? \[y/N\] ")
        t.type("n")
        t.expect("nothing was forgotten.*> ")
        say("/memories dog", "")
        t.type("/forget 1")
        t.expect(r"\[y/N\] ")
        t.type("y")
        t.expect("forgotten: user_memories.eve / dog.*> ")
        say("/forget dog", "not found|no such|there is no")
        say("/model", "model scripted")
        say("/model scripted", "model scripted")
        say("/model other", 'there is no chat model "other": a server has one, this one "scripted"; its setting llm.model names it')
        say(f"/export {tmp_path}/x.jsonl", "lines")
        say("/hlep", "did you mean /help")
        say("/help", "/forget WHICH.*/why")
        os.write(t.lead, b"/mem\t")
        t.expect("ories ")
        say("dog", "nothing is kept")
        say("//etc/hosts", "You said: /etc/hosts")
        t.type('"""one')
        t.expect(r"\.\.\. ")
        t.type('two"""')
        t.expect("> ")
        t.type("/quit")
        assert t.end() == 0
    assert kept(client, first)[-2] == ("user", "one\ntwo")
    assert b"\x1b[31m" not in t.raw.replace(b"\x1b[31mcenote", b"")
    assert '"type":"thread"' in (tmp_path / "x.jsonl").read_text().replace(" ", "") or (tmp_path / "x.jsonl").stat().st_size > 200
    assert stat.S_IMODE((tmp_path / "x.jsonl").stat().st_mode) == 0o600
    with LongTermMemory(url=server.url) as memory:
        assert memory.get_memory("eve", "dog") is None


@pytest.mark.stores("sqlite")
@pytest.mark.parametrize("how", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_without_colours(server, model, tmp_path, how):
    """Nothing but text, though libedit may place the cursor where the terminal can do that."""
    with Terminal("chat", "--user", "ann", env={**settings(server, tmp_path), **how}) as t:
        t.expect("> ")
        t.type("hello")
        t.expect("You said: hello")
        t.expect("> ")
        assert t.leave() == 0
    assert not [x for x in t.raw.split(b"\x1b[")[1:] if x.split(b"m")[0].replace(b";", b"").isdigit()]
    assert "TERM" not in how or b"\x1b" not in t.raw


# ------------------------------------------------------------------------- a pipe


def test_over_a_pipe(server, client, model, tmp_path):
    env = settings(server, tmp_path)
    r = run("chat", "--user", "ann", env=env, stdin="one\n\n  two  \n", check=0)
    assert r.stdout == "You said: one\nYou said: two\n" and r.stderr == ""
    r = run("chat", "--user", "ann", "--json", env=env, stdin="one two\n/threads\n", check=0)
    assert events(r)[0]["event"] == "thread" and "".join(e["text"] for e in of(r, "delta")) == "You said: one two"
    (answer,) = of(r, "answer")
    assert answer["text"] == "You said: one two" and answer["status"] == "completed" and answer["model"] == "scripted"
    assert of(r, "threads")[0]["data"][0]["thread"] == answer["thread"]
    again = run("chat", "--user", "ann", "--json", "--thread", answer["thread"], env=env, stdin="three\n", check=0)
    assert events(again)[0]["resumed"] is True and len(kept(client, answer["thread"])) == 4
    model.script(*["500"] * 3)
    r = run("chat", "--user", "ann", "--json", "--thread", "by-name", env=env, stdin="first\nsecond\n", check=5)
    assert of(r, "error")[0]["error"] == "upstream" and of(r, "answer")[0]["text"] == "You said: second"
    assert kept(client, "by-name") == [("user", "first"), ("user", "second"), ("assistant", "You said: second")]


def test_ask(server, client, model, tmp_path):
    env = settings(server, tmp_path)
    assert run("ask", "--user", "ann", "how", "much?", env=env, check=0).stdout == "You said: how much?\n"
    assert run("ask", "--user", "ann", "-", env=env, stdin="from\nstdin\n", check=0).stdout == "You said: from\nstdin\n"
    run("ask", "--user", "ann", "--thread", "asked", "one", env=env, check=0)
    r = run("ask", "--user", "ann", "--thread", "asked", "--json", "two", env=env, check=0)
    assert of(r, "answer")[0]["thread"] == "asked" and len(kept(client, "asked")) == 4
    model.requests.clear()
    run("ask", "--user", "ann", "--thread", "asked", "--no-store", "three", env=env, check=0)
    assert len(model.requests[0]["messages"]) == 6 and len(kept(client, "asked")) == 4
    assert run("ask", "", env=env).returncode == 2 and run("ask", env=env).returncode == 2
    model.script(*["400"] * 3)
    r = run("ask", "--user", "ann", "x", env=env)
    assert r.returncode == 2 and r.stdout == "" and "scripted" in r.stderr
    model.script("cut:2")
    r = run("ask", "--user", "ann", "x", env=env)
    assert r.returncode == 5 and r.stdout == "You said:\n" and r.stderr.startswith("cenote: ask: ")


def test_ask_is_interrupted(server, model, tmp_path):
    model.answer, model.gate = lambda body: "one two", threading.Event()
    with Terminal("ask", "--user", "ann", "count", env=settings(server, tmp_path)) as t:
        t.expect("one")
        t.key("c")
        assert t.end() == 130


@pytest.mark.stores("sqlite")
def test_refused(start, kind, tmp_path):
    nobody = {"XDG_CONFIG_HOME": tmp_path, "CENOTE_SERVER": "http://127.0.0.1:9"}
    for cmd in (["chat"], ["ask", "x"]):
        r = run(*cmd, env=nobody, stdin="x\n")
        assert r.returncode == 5 and "not reachable" in r.stderr
    with start(kind, "--auth", "keys") as s:
        for cmd in (["chat"], ["ask", "x"]):
            r = run(*cmd, "--key", "cn_wrong", env={"XDG_CONFIG_HOME": tmp_path, "CENOTE_SERVER": s.url}, stdin="x\n")
            assert r.returncode == 4 and "cn_wrong" not in r.stderr, r
        key = s.run("key", "create", "--for-user", "ann", "--json").stdout
        env = {"XDG_CONFIG_HOME": tmp_path, "CENOTE_SERVER": s.url, "CENOTE_API_KEY": json.loads(key)["key"]}
        run("chat", env=env, stdin="The boat is called Heron.\n", check=0)
        r = run("chat", "--user", "bob", env=env, stdin="x\n")
        assert r.returncode == 4 and "another user" in r.stderr


def test_two_users(server, model, tmp_path):
    """Neither by a thread's name nor by a command does one see what is the other's."""
    env = settings(server, tmp_path)
    run("chat", "--user", "zoe", "--thread", "zoes", env=env, stdin="My secret is blue.\n", check=0)
    with LongTermMemory(url=server.url) as memory:
        memory.save_memory("zoe", "secret", {"text": "Zoe's secret is blue"})
    model.requests.clear()
    for thread in ([], ["--thread", "zoes"]):
        r = run("chat", "--user", "max", "--json", "--yes", *thread, env=env,
                stdin=f"What is the secret?\n/why\n/resume zoes\n/threads\n/memories secret\n/forget secret\n/export {tmp_path}/x\n/fork\n")
        assert "blue" not in r.stdout and "blue" not in json.dumps(model.requests), r
        assert ("zoes" in [e["detail"] for e in of(r, "error")][0]) if not thread else of(r, "error")[0]["error"] == "not_found"
        assert not (tmp_path / "x").exists() or b"blue" not in (tmp_path / "x").read_bytes()
    r = run("ask", "--user", "max", "--thread", "zoes", "--no-store", "What is the secret?", env=env)
    assert "blue" not in r.stdout and "blue" not in json.dumps(model.requests)
    with LongTermMemory(url=server.url) as memory:
        assert memory.get_memory("zoe", "secret")
    assert "zoes" in run("__complete", "3", "cenote", "chat", "--thread", "zo", env=env, check=0).stdout.split()


# ---------------------------------------------------------------- without a model


@pytest.mark.stores("sqlite")
@pytest.mark.parametrize("served", [False, True])
def test_no_model(start, kind, tmp_path, served):
    """What is typed is kept and shows what memory recalls; and which setting gives it a voice. Others are not recalled."""
    import contextlib
    with contextlib.ExitStack() as stack:
        env = settings(stack.enter_context(start(kind)) if served else None, tmp_path)
        run("put", "user_memories.ann", "tea", '{"text":"Ann drinks green tea"}', env=env, check=0)
        run("put", "user_memories.bob", "tea", '{"text":"Bob drinks no tea"}', env=env, check=0)
        r = run("chat", "--user", "ann", "--thread", "t1", env=env, stdin="Which tea do I drink?\n/why\nxyzzy\n", check=0)
        assert "Ann drinks green tea" in r.stdout and "Bob" not in r.stdout and "user_memories.ann / tea" in r.stdout and "made of" in r.stdout
        assert r.stderr.count(VOICE) == 1 and "DATABRICKS_HOST" in r.stderr
        r = run("sessions", "show", "t1", "--user", "ann", "-o", "ndjson", env=env, check=0)
        assert [(x["role"], x["content"]) for x in map(json.loads, r.stdout.splitlines())] == [("user", "Which tea do I drink?"), ("user", "xyzzy")]
        r = run("ask", "--user", "ann", "--json", "tea?", env=env, check=0)
        assert "tea" in [m["key"] for m in of(r, "recall")[0]["memories"]] and VOICE in of(r, "notice")[0]["text"]
        with Terminal("chat", "--user", "ann", env=env) as t:
            t.expect("no model")
            t.expect("> ")
            t.type("green tea")
            t.expect(r"1\. \d\.\d\d\d  .*tea.*" + VOICE)
            t.expect("> ")
            if not served:  # others reach the store through the chat
                assert "Ann" in run("get", "user_memories.ann", "tea", env=env, check=0).stdout
            assert t.leave() == 0


@pytest.mark.stores("sqlite")
def test_on_the_store_itself(model, kind, tmp_path):
    """No server: the assistant runs in the process; the next chat knows what the one before was told."""
    env = settings(None, tmp_path, model)
    run("chat", "--user", "ann", env=env, stdin="My boat is called Heron.\n", check=0)
    model.requests.clear()
    r = run("chat", "--user", "ann", "--json", env=env, stdin="What is my boat called?\n", check=0)
    assert "Heron" in model.requests[0]["messages"][0]["content"]
    assert "Heron" in of(r, "answer")[0]["memories"][0]["text"]


# ------------------------------------------------------------------- X-Cenote-Why


def test_why_over_http(server, client, model):
    with LongTermMemory(url=server.url) as memory:
        memory.save_memory("kim", "tea", {"text": "Kim drinks green tea"})
        memory.save_memory("lee", "tea", {"text": "Lee drinks no tea"})
    ask = {"model": "scripted", "input": "Which tea do I drink?", "user": "kim"}
    why = {"extra_headers": {"X-Cenote-Why": "true"}}
    own = client.responses.create(**ask, **why).model_extra["cenote"]
    assert own["user"] == "kim" and own["stateless"] is None and [m["key"] for m in own["memories"]] == ["tea"]
    (m,) = own["memories"]
    assert m["namespace"] == ["user_memories", "kim"] and m["score"] == 1 and m["time"] and m["explain"]["features"]["lex"]["contribution"] > 0
    with client.responses.stream(**ask, **why) as stream:
        seen = list(stream)
        assert stream.get_final_response().model_extra["cenote"]["memories"] == own["memories"]
    assert seen[0].response.model_extra["cenote"]["memories"] == own["memories"]
    assert "cenote" not in client.responses.create(**ask).model_extra
    assert "cenote" not in client.responses.create(**ask, extra_headers={"X-Cenote-Why": "false"}).model_extra
    with pytest.raises(openai.BadRequestError) as e:
        client.responses.create(**ask, extra_headers={"X-Cenote-Why": "yes"})
    assert "X-Cenote-Why" in e.value.message


def test_one_thread_on_every_surface(server, client, model, tmp_path):
    """Begun in a chat, gone on with over HTTP, read as a session and a thread; the header makes a thread that is not there."""
    r = run("chat", "--user", "ann", "--json", env=settings(server, tmp_path), stdin="My cat is called Ada.\n", check=0)
    thread = events(r)[0]["thread"]
    assert client.conversations.retrieve(thread).id == thread
    client.responses.create(model="scripted", input="Two", conversation=thread, user="ann")
    client.responses.create(model="scripted", input="Three", user="ann", extra_headers={"X-Cenote-Thread": thread})
    client.chat.completions.create(model="scripted", messages=[{"role": "user", "content": "Four"}], user="ann", metadata={"thread_id": thread})
    assert [m["content"] for m in model.requests[-1]["messages"]][1:] == [
        "My cat is called Ada.", "You said: My cat is called Ada.", "Two", "You said: Two", "Three", "You said: Three", "Four"]
    made = client.responses.create(model="scripted", input="x", extra_headers={"X-Cenote-Thread": "made-by-header"})
    assert made.conversation.id == "made-by-header" and made.store and len(kept(client, "made-by-header")) == 2
    r = run("sessions", "show", thread, "-o", "ndjson", env=settings(server, tmp_path), check=0)
    assert len(r.stdout.splitlines()) == 8


def test_a_graph_goes_on(server, client, model, tmp_path):
    """LangGraph with the chat's thread as its own: its state begins empty, takes along what was said, and what its node asks the assistant goes on
    in the conversation, which the chat then resumes."""
    from typing import Annotated, TypedDict

    from cenote import CenoteSaver, Client, thread_messages
    from langgraph.graph import START, StateGraph
    from langgraph.graph.message import add_messages

    class State(TypedDict):
        messages: Annotated[list, add_messages]

    def answer(state, config):
        r = client.responses.create(model="scripted", input=state["messages"][-1].content, user="ann", conversation=config["configurable"]["thread_id"])
        return {"messages": [("assistant", r.output_text)]}

    env = settings(server, tmp_path)
    thread = events(run("chat", "--user", "ann", "--json", env=env, stdin="My cat is called Ada.\n", check=0))[0]["thread"]
    with Client(server.url, user="ann") as c:
        graph = StateGraph(State).add_node("answer", answer).add_edge(START, "answer").compile(checkpointer=CenoteSaver(c))
        config = {"configurable": {"thread_id": thread}}
        assert graph.get_state(config).values == {}
        graph.update_state(config, {"messages": thread_messages(c, thread)})
        state = graph.invoke({"messages": [("user", "What is she called?")]}, config)
        assert [m.content for m in state["messages"]] == ["My cat is called Ada.", "You said: My cat is called Ada.", "What is she called?",
                                                          "You said: What is she called?"]
    assert [m["content"] for m in model.requests[-1]["messages"]][1:] == [m.content for m in state["messages"][:-1]]
    run("chat", "--user", "ann", "--thread", thread, env=env, stdin="And now?\n", check=0)
    assert [m["content"] for m in model.requests[-1]["messages"]][1:] == [m.content for m in state["messages"]] + ["And now?"]
    shown = run("threads", "show", thread, "-o", "text", env=env, check=0).stdout
    assert "And now?" in shown and "messages" in shown


def test_tools_are_shown(server, model, tmp_path):
    """A tool that the server runs is told on the terminal, with its arguments as text."""
    call = {"id": "call_1", "type": "function", "function": {"name": "get_user_memory", "arguments": '{"query": "tea\\u001b[31m"}'}}
    model.answer = lambda body: "None." if body["messages"][-1]["role"] == "tool" else {"content": "Let me look.", "tool_calls": [call]}
    with Terminal("chat", "--user", "ann", env=settings(server, tmp_path)) as t:
        t.expect("> ")
        t.type("Which tea?")
        t.expect(r"Let me look\.\n-> get_user_memory\(.*tea.*\)\nNone\.\n")
        t.expect("> ")
        t.type("/why")
        t.expect("trace [0-9a-f]{32}")
        t.expect("> ")
        assert t.leave() == 0
    model.answer = lambda body: "None." if body["messages"][-1]["role"] == "tool" else {"content": "Let me look. ", "tool_calls": [call]}
    r = run("ask", "--user", "ann", "tea?", env=settings(server, tmp_path), check=0)
    assert "None." in r.stdout and "get_user_memory" in r.stderr and "get_user_memory" not in r.stdout
