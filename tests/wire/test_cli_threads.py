"""`cenote threads` and `cenote sessions`, and the routes of /cenote/v1/threads below them, against a server on each store."""
import hashlib
import json
import os
import pty
import re
import subprocess

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.types import Interrupt

from frames import Frames, checkpoint_id
from server import binary, clean_env

pytestmark = pytest.mark.stores("sqlite", "postgres")
SERDE = JsonPlusSerializer()
HI, YES, BYE = HumanMessage("hi there", id="m1"), AIMessage("yes?\nmore", id="m2"), HumanMessage("bye", id="m3")
_count = iter(range(10**6))


def lines(r):
    return [json.loads(x) for x in r.stdout.splitlines() if x]


def put(f, thread, n, parent, values, step, versions=None, new=None, ns="", source="loop", **metadata):
    """values: the channels; new: those that get a version of their own (default all); the rest keep theirs. Returns (id, versions)."""
    ident = checkpoint_id(n)
    versions = dict(versions or {})
    rows, blobs = [], []
    for channel, value in values.items():
        if new is not None and channel not in new:
            continue
        versions[channel] = f"{n:032}.{channel}"
        kind, data = SERDE.dumps_typed(value)
        rows.append([channel, versions[channel], kind, len(data)])
        blobs.append(data)
    f.one({"op": "put", "thread": thread, "ns": ns, "id": ident, "parent": parent,
           "checkpoint": {"v": 4, "id": ident, "ts": "2026-11-21T12:40:08.162879+00:00", "channel_values": {}, "channel_versions": versions,
                          "versions_seen": {}},
           "metadata": {"step": step, "source": source, **metadata}, "values": rows}, *blobs)
    return ident, versions


def write(f, thread, ident, task, *rows, ns=""):
    dumped = [(idx, channel, *SERDE.dumps_typed(value)) for idx, channel, value in rows]
    f.one({"op": "writes", "thread": thread, "ns": ns, "id": ident, "task_id": task, "writes": [[i, c, k, len(b)] for i, c, k, b in dumped]},
          *[b for *_, b in dumped])


class Chat:
    """A thread with a fork, a subgraph's namespace, an interrupt, messages and session items.

        c1 - c2 - c3 - c5 (head)
                \\ c4
    """

    def __init__(self, server):
        f = Frames(server)
        self.server, self.name = server, f"chat {next(_count)}/ü"
        self.c1, v = put(f, self.name, 0x10001000, None, {"topic": "birds"}, -1, source="input")
        self.c2, v = put(f, self.name, 0x10002000, self.c1, {"messages": [HI], "topic": "birds"}, 0, v, ["messages"])
        self.c3, v3 = put(f, self.name, 0x10003000, self.c2, {"messages": [HI, YES]}, 1, v)
        self.c4, _ = put(f, self.name, 0x10004000, self.c2, {"messages": [HI, BYE], "topic": "boats"}, 1, v, source="fork")
        self.c5, _ = put(f, self.name, 0x10005000, self.c3, {"messages": [HI, YES, BYE], "n": 5}, 2, v3)
        self.sub, _ = put(f, self.name, 0x10006000, None, {"inner": [1]}, 0, ns="ask:1")
        write(f, self.name, self.c5, "task-1", (-3, "__interrupt__", [Interrupt(value="go on?", id="i1")]))
        write(f, self.name, self.c5, "task-0", (0, "messages", [YES]), (1, "topic", "late"))
        r = server.request("POST", "/cenote/v1/messages", {"messages": [
            {"thread": self.name, "id": "n1", "role": "user", "content": "native words"}]})
        assert r.status == 200, r
        server.run("sessions", "add", self.name, '[{"role":"user","content":"session words"},{"type":"function_call","name":"look","arguments":"{}"}]', check=0)

    def cli(self, *args, **kw):
        return self.server.run(*args, **kw)


@pytest.fixture
def chat(server):
    return Chat(server)


def tty(server, *args, answer=None):
    """(exit code, what a terminal showed)"""
    master, slave = pty.openpty()
    env = clean_env(**{k: v for k, v in server.env.items() if k.startswith(("CENOTE_", "XDG_"))}, CENOTE_STORE=server.store, TERM="dumb")
    p = subprocess.Popen([binary(), *map(str, args)], env=env, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    if answer is not None:
        os.write(master, answer.encode())
    shown = b""
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:
            break
        if not piece:
            break
        shown += piece
    os.close(master)
    return p.wait(60), shown.decode().replace("\r\n", "\n")


# ---------------------------------------------------------------------------------------------------------------------- looking

def test_ls(chat):
    row, = lines(chat.cli("threads", "ls", chat.name, check=0))
    assert (row["thread"], row["messages"], row["checkpoints"], row["entries"]) == (chat.name, 1, 6, 2)
    assert row["status"] == "interrupted" and row["user"] is None and row["ttl"] is None and row["state_at"]
    assert chat.cli("threads", "ls", chat.name[:-2], "-o", "id", check=0).stdout.splitlines() == [chat.name]
    assert lines(chat.cli("threads", "ls", "no such prefix", check=0)) == []
    assert chat.name in chat.cli("threads", "ls", "-o", "table", "--limit", 100000, check=0).stdout


def test_ls_pages_prefix_and_user(server):
    names = [f"many-{i:03}" for i in range(12)] + ["many", "manyx"]
    for n in names:
        r = server.request("POST", "/cenote/v1/messages", {"messages": [
            {"thread": n, "user": "ann" if n == "many-003" else "bob", "role": "user", "content": "x"}]})
        assert r.status == 200, r
    got, cursor = [], ""
    while cursor is not None:
        page = server.request("GET", f"/cenote/v1/threads?prefix=many&limit=5{cursor and '&cursor=' + cursor}").json
        assert len(page["data"]) <= 5
        got += [t["thread"] for t in page["data"]]
        cursor = page["next_cursor"]
    assert got == sorted(names)
    assert [t["thread"] for t in server.request("GET", "/cenote/v1/threads?prefix=many-&user=ann").json["data"]] == ["many-003"]
    assert [r["thread"] for r in lines(server.run("threads", "ls", "many", "--of-user", "ann", check=0))] == ["many-003"]
    assert [r["thread"] for r in lines(server.run("threads", "ls", "many-", "--limit", 3, check=0))] == names[:3]


def test_history_as_a_tree(chat):
    text = chat.cli("threads", "history", chat.name, "-o", "text", check=0).stdout
    shape = [re.split(r"  +", line)[0] for line in text.splitlines()]
    assert shape == ["◉", "│ ●", "● │", "├─╯", "●", "●"], text
    ids = [w for w in text.split() if re.fullmatch(r"[0-9a-f-]{8,36}", w)]
    assert len(set(ids)) == 5 and len(set(map(len, ids))) == 1
    for short, whole in zip(ids, [chat.c5, chat.c4, chat.c3, chat.c2, chat.c1]):
        assert whole.startswith(short)
    assert text.splitlines()[0].endswith("head") and text.count("head") == 1
    assert "step 2" in text.splitlines()[0] and "fork" in text.splitlines()[1]
    assert chat.sub not in text


def test_history_as_data(chat):
    rows = lines(chat.cli("threads", "history", chat.name, check=0))
    assert [r["id"] for r in rows] == [chat.c5, chat.c4, chat.c3, chat.c2, chat.c1]
    assert [r["parent"] for r in rows] == [chat.c3, chat.c2, chat.c2, chat.c1, None]
    assert [r["step"] for r in rows] == [2, 1, 1, 0, -1] and [r["source"] for r in rows][-1] == "input"
    assert all(r["bytes"] > 0 and r["ns"] == "" and r["created_at"].endswith("Z") for r in rows)
    every = lines(chat.cli("threads", "history", chat.name, "--all", check=0))
    assert len(every) == 6 and every[0]["ns"] == "ask:1"
    assert [r["id"] for r in lines(chat.cli("threads", "history", chat.name, "--ns", "ask:1", check=0))] == [chat.sub]
    assert [r["id"] for r in lines(chat.cli("threads", "history", chat.name, "--limit", 2, check=0))] == [chat.c5, chat.c4]
    assert "ask:1" in chat.cli("threads", "history", chat.name, "--all", "-o", "text", check=0).stdout
    chat.cli("threads", "history", "no such thread", check=3)


def test_history_pages(server):
    f = Frames(server)
    name, parent = f"long-{next(_count)}", None
    for i in range(23):
        parent = f.put(name, i + 1, parent=parent)
    got, cursor = [], ""
    path = f"/cenote/v1/threads/{name}/checkpoints"
    while cursor is not None:
        page = server.request("GET", f"{path}?limit=5{cursor and '&cursor=' + cursor}").json
        assert len(page["data"]) <= 5
        got += [c["id"] for c in page["data"]]
        cursor = page["next_cursor"]
    assert got == [checkpoint_id(i + 1) for i in reversed(range(23))]
    cursor = server.request("GET", f"{path}?limit=5").json["next_cursor"]
    assert server.request("GET", f"{path}?limit=5&ns=other&cursor={cursor}").status == 400
    assert server.request("GET", f"{path}?limit=0").status == 422


def test_show(chat):
    text = chat.cli("threads", "show", chat.name, "-o", "text", check=0).stdout
    for words in ("native words", "session words", "→ look({})", "hi there", "yes?", "bye", "n: 5", "interrupted", "go on?", chat.c5):
        assert words in text, (words, text)
    assert re.search(r"^    ai +yes\?\n {13}more$", text, re.M), text
    data = json.loads(chat.cli("threads", "show", chat.name, "--json", check=0).stdout)
    assert data["thread"]["thread"] == chat.name and [m["content"] for m in data["messages"]] == ["native words"]
    assert [e.get("role") for e in data["entries"]] == ["user", None]
    assert [m["content"] for m in data["state"]["values"]["messages"]] == ["hi there", "yes?\nmore", "bye"]
    assert data["state"]["values"]["topic"] == "birds" and data["state"]["interrupts"][0]["value"] == "go on?"
    chat.cli("threads", "show", "no such thread", check=3)


def test_show_at_a_checkpoint(chat):
    short = chat.c2[:18]
    data = json.loads(chat.cli("threads", "show", chat.name, "--checkpoint", short, "--json", check=0).stdout)
    assert data["state"]["checkpoint"]["checkpoint_id"] == chat.c2 and len(data["state"]["values"]["messages"]) == 1
    r = chat.cli("threads", "show", chat.name, "--checkpoint", chat.c2[:5], check=2)
    assert "several checkpoints" in r.stderr
    assert "no checkpoint" in chat.cli("threads", "show", chat.name, "--checkpoint", "ffffffff", check=3).stderr
    chat.cli("threads", "show", chat.name, "--checkpoint", checkpoint_id(0x777), check=3)
    sub = json.loads(chat.cli("threads", "show", chat.name, "--ns", "ask:1", "--json", check=0).stdout)
    assert sub["state"]["values"] == {"inner": [1]}


def test_control_characters_do_not_reach_the_terminal(server):
    f, name = Frames(server), f"esc-{next(_count)}"
    put(f, name, 5, None, {"messages": [HumanMessage("a\x1b]0;owned\x07b\u009bc\rd")], "x\x1b[2J": "\x1b[31m"}, 0)
    text = server.run("threads", "show", name, "-o", "text", check=0).stdout
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\x80-\x9f]", text), ascii(text)
    assert "owned" in text


def test_diff(chat):
    text = chat.cli("threads", "diff", chat.name, chat.c2, chat.c4, "-o", "text", check=0).stdout
    assert "+ messages (1 more)" in text and "bye" in text and "~ topic: birds → boats" in text and "hi there" not in text
    data = json.loads(chat.cli("threads", "diff", chat.name, chat.c1, chat.c5, "--json", check=0).stdout)
    assert (data["from"], data["to"]) == (chat.c1, chat.c5)
    assert set(data["channels"]["added"]) == {"messages", "n"} and data["channels"]["removed"] == {}
    back = json.loads(chat.cli("threads", "diff", chat.name, chat.c5, chat.c1, "--json", check=0).stdout)
    assert set(back["channels"]["removed"]) == {"messages", "n"}
    last = json.loads(chat.cli("threads", "diff", chat.name, "--json", check=0).stdout)
    assert (last["from"], last["to"]) == (chat.c3, chat.c5)
    assert last["channels"]["added"] == {"n": 5} and [m["content"] for m in last["channels"]["appended"]["messages"]] == ["bye"]
    assert json.loads(chat.cli("threads", "diff", chat.name, chat.c4, "--json", check=0).stdout)["to"] == chat.c5
    assert "no channel differs" in chat.cli("threads", "diff", chat.name, chat.c4, chat.c4, "-o", "text", check=0).stdout
    chat.cli("threads", "diff", chat.name, "1f1e0000-ffff", check=3)


# --------------------------------------------------------------------------------------------------------------------- changing

def test_fork_in_place(chat):
    made = json.loads(chat.cli("threads", "fork", chat.name, chat.c2, "--json", check=0).stdout)
    assert made["thread"] == chat.name and made["ns"] == ""
    rows = lines(chat.cli("threads", "history", chat.name, check=0))
    assert rows[0]["id"] == made["checkpoint_id"] and rows[0]["parent"] == chat.c2 and rows[0]["source"] == "fork"
    state = json.loads(chat.cli("threads", "show", chat.name, "--json", check=0).stdout)["state"]
    assert [m["content"] for m in state["values"]["messages"]] == ["hi there"]
    chat.cli("threads", "fork", "no such thread", check=3)
    chat.cli("threads", "fork", chat.name, checkpoint_id(0x777), check=3)


def test_fork_to_another_thread(chat):
    to = chat.name + " copy"
    made = json.loads(chat.cli("threads", "fork", chat.name, chat.c3, "--to", to, "--json", check=0).stdout)
    assert made == {"thread": to, "ns": "", "checkpoint_id": chat.c3}
    assert [r["id"] for r in lines(chat.cli("threads", "history", to, "--all", check=0))] == [chat.c3, chat.c2, chat.c1]
    chat.cli("threads", "fork", chat.name, chat.c3, "--to", to, check=6)
    assert "root" in chat.cli("threads", "fork", chat.name, chat.sub, "--ns", "ask:1", "--to", to + "2", check=2).stderr
    head = json.loads(chat.cli("threads", "fork", chat.name, "--to", to + "3", "--json", check=0).stdout)
    assert head["checkpoint_id"] == chat.c5
    assert len(lines(chat.cli("threads", "history", chat.name, check=0))) == 5, "the source is as it was"


def test_prune(server):
    f = Frames(server)
    tag = f"prune-{next(_count)}-"
    for t in "ab":
        parent = None
        for i in range(10):
            parent = f.put(tag + t, i + 1, parent=parent, value=bytes(1000))
    dry = server.run("threads", "prune", "--prefix", tag, "--keep-last", 3, "--dry-run", check=0)
    assert [(r["thread"], r["checkpoints"]) for r in lines(dry)] == [(tag + "a", 7), (tag + "b", 7)]
    assert "would remove 14 checkpoints of 2 threads" in dry.stderr
    assert len(lines(server.run("threads", "history", tag + "a", check=0))) == 10
    assert "--yes" in server.run("threads", "prune", "--prefix", tag, "--keep-last", 3, check=2).stderr
    done = server.run("threads", "prune", tag + "a", "--keep-last", 3, "--yes", check=0)
    assert [(r["thread"], r["checkpoints"]) for r in lines(done)] == [(tag + "a", 7)]
    assert [r["id"] for r in lines(server.run("threads", "history", tag + "a", check=0))] == [checkpoint_id(i) for i in (10, 9, 8)]
    assert len(lines(server.run("threads", "history", tag + "b", check=0))) == 10
    every = server.run("threads", "prune", tag + "b", "--keep-every", 3, "--yes", check=0)
    left = [r["id"] for r in lines(server.run("threads", "history", tag + "b", check=0))]
    assert lines(every)[0]["checkpoints"] == 10 - len(left) and left[0] == checkpoint_id(10) and 3 <= len(left) <= 5
    server.run("threads", "prune", tag + "b", "--strategy", "keep_latest", "--yes", check=0)
    assert len(lines(server.run("threads", "history", tag + "b", check=0))) == 1
    table = server.run("threads", "prune", tag + "a", "--keep-last", 1, "--dry-run", "-o", "table", check=0).stdout
    assert "CHECKPOINTS" in table and tag + "a" in table


@pytest.mark.parametrize("args, words", [
    (["x"], "say what stays"), (["--keep-last", "1"], "say which"), (["x", "--all", "--keep-last", "1"], "say which"),
    (["x", "--keep-last", "0"], "--keep-last"), (["x", "--strategy", "most"], "strategy"),
    (["x", "--strategy", "delete", "--keep-last", "2"], "delete keeps nothing")])
def test_prune_refusals(server, args, words):
    assert words in server.run("threads", "prune", *args, "--yes", check=2).stderr


@pytest.mark.parametrize("body, field", [
    ({"keep_last": 1}, "/threads"), ({"threads": ["a"], "prefix": "b", "keep_last": 1}, "/threads"), ({"threads": "a", "keep_last": 1}, "/threads"),
    ({"threads": [1], "keep_last": 1}, "/threads/0"), ({"threads": [""], "keep_last": 1}, "/threads/0"), ({"threads": ["a"]}, "/keep_last"),
    ({"threads": ["a"], "keep_last": 0}, "/keep_last"), ({"threads": ["a"], "keep_every": -1}, "/keep_every"),
    ({"threads": ["a"], "keep_days": "x"}, "/keep_days"), ({"threads": ["a"], "strategy": "some"}, "/strategy"),
    ({"threads": ["a"], "keep_last": 1, "after": "b"}, "/after"), ({"threads": ["a"], "keep_last": 1, "dry_run": "yes"}, "/dry_run")])
def test_prune_route_says_what_is_wrong(server, body, field):
    r = server.request("POST", "/cenote/v1/threads/prune", body)
    assert r.status == 422 and r.json["errors"][0]["field"] == field, r


def test_questions_on_a_terminal(server):
    f, name = Frames(server), f"ask-{next(_count)}"
    first = f.put(name, 1)
    f.put(name, 2, parent=first)
    code, shown = tty(server, "threads", "prune", name, "--keep-last", 1, answer="n\n")
    assert code == 1 and "remove 1 checkpoint of 1 thread" in shown and "nothing was done" in shown
    code, shown = tty(server, "threads", "rm", name, answer="n\n")
    assert code == 1 and f"delete the thread {name}" in shown
    assert len(lines(server.run("threads", "history", name, check=0))) == 2
    code, shown = tty(server, "threads", "history", name)
    assert code == 0 and shown.startswith("◉")
    code, shown = tty(server, "threads", "rm", name, answer="y\n")
    assert code == 0
    server.run("threads", "show", name, check=3)


def test_rm(server):
    f, tag = Frames(server), f"rm-{next(_count)}-"
    for t in "abc":
        f.put(tag + t, 1)
    server.run("threads", "rm", tag + "a", check=2)
    assert server.run("threads", "rm", "--prefix", tag, "--dry-run", check=0).stdout.split() == [tag + "a", tag + "b", tag + "c"]
    server.run("threads", "rm", tag + "a", "no such thread", "--yes", check=3)
    assert len(lines(server.run("threads", "ls", tag, check=0))) == 3, "nothing was removed: one of the names is wrong"
    server.run("threads", "rm", tag + "a", "--yes", check=0)
    server.run("threads", "rm", "--prefix", tag, "--yes", check=0)
    assert lines(server.run("threads", "ls", tag, check=0)) == []
    server.run("threads", "rm", "--prefix", "", "--yes", check=2)
    server.run("threads", "rm", "--yes", check=2)


# ------------------------------------------------------------------------------------------------------------- export and import

def test_export_import(chat, tmp_path):
    out = tmp_path / "thread.jsonl"
    chat.cli("threads", "export", chat.name, "--to", out, check=0)
    text = out.read_bytes()
    rows = [json.loads(x) for x in text.splitlines()]
    assert rows[0] == {"cenote_thread": 1, "thread": chat.name} and "record" in rows[1]
    assert rows[-1] == {"sha256": hashlib.sha256(text[:text.rindex(b"\n", 0, -1) + 1]).hexdigest()}
    assert chat.cli("threads", "export", chat.name, check=0).stdout.encode() == text
    assert out.stat().st_mode & 0o777 == 0o600
    values = [v[:2] for r in rows if "checkpoint" in r for v in r["checkpoint"]["values"]]
    assert len(values) == len(set(map(tuple, values))) == 8, "each version once"

    chat.cli("threads", "import", out, check=6)
    to = chat.name + " back"
    made = json.loads(chat.cli("threads", "import", out, "--as", to, "--json", check=0).stdout)
    assert made == {"thread": to, "messages": 1, "entries": 2, "checkpoints": 6}
    again = chat.cli("threads", "export", to, check=0).stdout
    assert again.splitlines()[2:-1] == [x.replace(json.dumps(chat.name, ensure_ascii=False), json.dumps(to, ensure_ascii=False))
                                        for x in text.decode().splitlines()[2:-1]]
    for ident in (chat.c1, chat.c2, chat.c3, chat.c4, chat.c5):
        assert Frames(chat.server).one({"op": "get", "thread": to, "id": ident}) == {
            **Frames(chat.server).one({"op": "get", "thread": chat.name, "id": ident}), "thread": to}
    chat.cli("threads", "rm", chat.name, "--yes", check=0)
    chat.cli("threads", "import", "-", stdin=text.decode(), check=0)
    assert chat.cli("threads", "export", chat.name, check=0).stdout.encode() == text


def test_import_of_what_is_no_export(chat, tmp_path):
    text = chat.cli("threads", "export", chat.name, check=0).stdout
    to = chat.name + " bad"

    def refused(t, words, sign=False):
        if sign:
            t += json.dumps({"sha256": hashlib.sha256(t.encode()).hexdigest()}) + "\n"
        r = chat.server.request("POST", "/cenote/v1/threads/import?to=" + "bad%20one", t.encode(), {"Content-Type": "application/x-ndjson"})
        assert 400 <= r.status < 500 and words in r.json["detail"], r
        assert chat.server.request("GET", "/cenote/v1/threads/bad%20one").status == 404, "nothing of it was stored"

    rows = text.splitlines()
    body = "\n".join(rows[:-1]) + "\n"
    refused("", "last line")
    refused("\n", "last line")
    refused("{}", "last line")
    refused(body, "last line")
    refused(text.replace("native words", "other words"), "checksum")
    refused(text[:-40], "last line")
    refused("".join(x + "\n" for x in rows[1:-1]), "cenote_thread", sign=True)
    refused(body.replace('"cenote_thread":1', '"cenote_thread":2'), "newer program", sign=True)
    refused(rows[0] + "\n", "line 2", sign=True)
    refused(body + '{"what":1}\n', "one member", sign=True)
    refused(body + '{"message":{"role":"user"}}\n', "", sign=True)
    refused(body + "not json\n", f"line {len(rows)}", sign=True)
    refused(body + '{"entry":[1]}\n', "one member", sign=True)
    refused(body + '{"checkpoint":{"ns":"","id":"x","checkpoint":{},"metadata":{},"values":[["a","1","json","%%%"]],"writes":[]}}\n',
            "base64url", sign=True)
    refused(body + '{"checkpoint":{"ns":"","id":"x","checkpoint":{},"metadata":{},"values":[["a","1"]],"writes":[]}}\n', "elements", sign=True)
    refused(body + '{"checkpoint":{"ns":"","checkpoint":{},"metadata":{},"values":[],"writes":[]}}\n', "id", sign=True)
    chat.cli("threads", "import", tmp_path / "none", check=3)
    assert to not in chat.cli("threads", "ls", "-o", "id", "--limit", 1000000, check=0).stdout


def test_export_between_stores(chat, start, tmp_path):
    """A thread goes from either kind of store to a SQLite store and has the same state there."""
    text = chat.cli("threads", "export", chat.name, check=0).stdout
    with start("sqlite") as other:
        other.run("threads", "import", "-", stdin=text, check=0)
        theirs = json.loads(other.run("threads", "show", chat.name, "--json", check=0).stdout)
        ours = json.loads(chat.cli("threads", "show", chat.name, "--json", check=0).stdout)
        assert theirs["state"] == ours["state"] and theirs["entries"] == ours["entries"] and theirs["messages"] == ours["messages"]


# ---------------------------------------------------------------------------------------------------------------------- sessions

def test_sessions(server):
    name = f"session {next(_count)}"
    run = server.run
    run("sessions", "add", name, '{"role":"user","content":"one"}', check=0)
    run("sessions", "add", name, "--role", "assistant", "just words", check=0)
    run("sessions", "add", name, stdin='{"role":"user","content":"two"}\n\n{"role":"user","content":"three"}\n', check=0)
    items = lines(run("sessions", "show", name, check=0))
    assert [(i["role"], i["content"]) for i in items] == [("user", "one"), ("assistant", "just words"), ("user", "two"), ("user", "three")]
    assert [i["content"] for i in lines(run("sessions", "show", name, "--limit", 2, check=0))] == ["two", "three"]
    assert json.loads(run("sessions", "show", name, "--json", check=0).stdout) == items
    assert run("sessions", "show", name, "-o", "text", check=0).stdout.splitlines()[1] == "assistant just words"
    assert name in [r["thread"] for r in lines(run("sessions", "ls", "--limit", 100000, check=0))]
    assert json.loads(run("sessions", "pop", name, check=0).stdout)["content"] == "three"
    run("sessions", "clear", name, check=2)
    run("sessions", "clear", name, "--dry-run", check=0)
    assert len(lines(run("sessions", "show", name, check=0))) == 3
    run("sessions", "clear", name, "--yes", check=0)
    run("sessions", "show", name, check=3)
    run("sessions", "pop", name, check=3)
    run("sessions", "add", name, "again", check=0)
    run("sessions", "rm", name, "--yes", check=0)
    run("sessions", "show", name, check=3)
    assert run("sessions", "add", name, "{oops", check=2).stderr


def test_clear_leaves_the_rest_of_the_thread(chat):
    chat.cli("sessions", "clear", chat.name, "--yes", check=0)
    row, = lines(chat.cli("threads", "ls", chat.name, check=0))
    assert (row["messages"], row["checkpoints"], row["entries"]) == (1, 6, 0)


# --------------------------------------------------------------------------------------------------------- the command line itself

def test_completion_and_help(chat):
    def complete(*words):
        return chat.cli("__complete", len(words) - 1, *words, env={"CENOTE_SERVER": chat.server.url}, check=0).stdout.split("\n")

    assert "show" in complete("cenote", "threads", "s") and "threads" in complete("cenote", "thr")
    assert "--keep-last" in complete("cenote", "threads", "prune", "--keep-l")
    assert chat.name in complete("cenote", "threads", "show", chat.name[:5])
    for command in ("ls", "show", "history", "diff", "fork", "prune", "rm", "export", "import"):
        assert "usage: cenote threads " + command in chat.cli("help", "threads", command, check=0).stdout


def test_a_store_without_a_server(tmp_path, kind, start):
    """The command opens the store itself; a thread made so is there for the next command."""
    from server import run
    env = {"CENOTE_DATA": tmp_path / "data", "XDG_CONFIG_HOME": tmp_path}
    run("sessions", "add", "alone", "words", env=env, check=0)
    assert [r["thread"] for r in lines(run("threads", "ls", env=env, check=0))] == ["alone"]
    assert json.loads(run("threads", "show", "alone", "--json", env=env, check=0).stdout)["state"] is None
    assert lines(run("threads", "history", "alone", env=env, check=0)) == []
    run("threads", "diff", "alone", env=env, check=3)
    assert run("threads", "show", "x" * 300, env=env, check=2).stderr


def test_threads_named_like_routes(server):
    f = Frames(server)
    for name in ("prune", "import"):
        f.put(name, 1)
        assert server.request("GET", f"/cenote/v1/threads/{name}").status == 200
        server.run("threads", "rm", name, "--yes", check=0)


def test_tenants_and_users_are_apart(start, kind):
    with start(kind, "--auth", "keys") as s:
        def key(*args):
            made = json.loads(s.run("key", "create", "--json", *args, check=0).stdout)
            return made.get("key") or made["secret"]

        a, b = key("--name", "a", "--tenant", "acme"), key("--name", "b", "--tenant", "bolt")
        ann, bob = key("--name", "n", "--tenant", "acme", "--for-user", "ann"), key("--name", "o", "--tenant", "acme", "--for-user", "bob")
        read = key("--name", "r", "--tenant", "acme", "--rights", "read")
        f = Frames(s, {"Authorization": f"Bearer {ann}"})
        ident = f.put("anns", 1)
        f.put("anns", 2, parent=ident)

        def ask(k, method, path, body=None):
            return s.request(method, path, body, {"Authorization": f"Bearer {k}"}).status

        exported = s.request("GET", "/cenote/v1/threads/anns/export", headers={"Authorization": f"Bearer {ann}"}).body
        assert ask(ann, "GET", "/cenote/v1/threads/anns") == ask(a, "GET", "/cenote/v1/threads/anns") == 200
        for k in (b, bob):
            assert ask(k, "GET", "/cenote/v1/threads/anns") == 404
            assert ask(k, "GET", "/cenote/v1/threads/anns/checkpoints") == 404
            assert ask(k, "GET", "/cenote/v1/threads/anns/state") == 404
            assert ask(k, "GET", "/cenote/v1/threads/anns/export") == 404
            assert ask(k, "POST", "/cenote/v1/threads/anns/fork", {}) == 404
            assert ask(k, "POST", "/cenote/v1/threads/anns/fork", {"to": "mine"}) == 404
            assert ask(k, "DELETE", "/cenote/v1/threads/anns") == 404
            r = s.request("POST", "/cenote/v1/threads/prune", {"prefix": "", "keep_last": 1}, {"Authorization": f"Bearer {k}"})
            assert r.status == 200 and r.json["total"]["checkpoints"] == 0
            r = s.request("POST", "/cenote/v1/threads/prune", {"threads": ["anns"], "strategy": "delete"}, {"Authorization": f"Bearer {k}"})
            assert r.status in (200, 404) and (r.status == 404 or r.json["total"]["checkpoints"] == 0)
        assert ask(bob, "POST", "/cenote/v1/threads/import", exported) in (403, 409, 422)
        for method, path, body in (("POST", "/cenote/v1/threads/anns/fork", {}), ("POST", "/cenote/v1/threads/prune", {"prefix": "", "keep_last": 1}),
                                   ("POST", "/cenote/v1/threads/import", b"x"), ("DELETE", "/cenote/v1/threads/anns", None)):
            assert ask(read, method, path, body) == 403, (method, path)
        assert len(s.request("GET", "/cenote/v1/threads/anns/checkpoints", headers={"Authorization": f"Bearer {ann}"}).json["data"]) == 2
