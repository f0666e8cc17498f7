"""The command line as scripts use it: through the socket of a running server, over HTTP, and on the store itself when none runs."""
import hashlib
import json
import os
import pathlib
import pty
import signal
import subprocess

import pytest

from server import TREE, Server, binary, clean_env, run

DATA = TREE / "tests" / "data"
ITEMS = DATA / "items.jsonl"


@pytest.fixture(params=["embedded", "socket", "http"])
def cli(request, tmp_path):
    """cli(*args) with the three ways to a store: opening it, a server's socket, a server's address."""
    env = {"CENOTE_DATA": tmp_path / "data", "XDG_CONFIG_HOME": tmp_path}
    if request.param == "embedded":
        yield lambda *a, **k: run(*a, env={**env, **k.pop("env", {})}, **k)
        return
    with Server(folder=tmp_path) as s:
        more = {"CENOTE_SERVER": s.url, "CENOTE_DATA": tmp_path / "nothing"} if request.param == "http" else {}
        yield lambda *a, **k: run(*a, env={**env, **more, **k.pop("env", {})}, **k)


@pytest.fixture
def local(tmp_path):
    """The command line alone on a store of its own."""
    return lambda *a, **k: run(*a, env={"CENOTE_DATA": tmp_path / "data", "XDG_CONFIG_HOME": tmp_path, **k.pop("env", {})}, **k)


def lines(r):
    return [json.loads(x) for x in r.stdout.splitlines() if x]


def test_put_get_rm(cli):
    cli("put", "a.b", "k", '{"v":1.50}', check=0)
    assert json.loads(cli("get", "a.b", "k", check=0).stdout) == {"v": 1.5}
    assert cli("get", "a.b", "k", check=0).stdout.strip() == '{"v":1.50}', "the bytes as they were stored"
    item = json.loads(cli("get", "a.b", "k", "--json", check=0).stdout)
    assert item["namespace"] == ["a", "b"] and item["key"] == "k" and item["value"] == {"v": 1.5}
    cli("put", "a.b", "text", "just words", check=0)
    assert json.loads(cli("get", "a.b", "text", check=0).stdout) == {"text": "just words"}
    cli("put", "a.b", "piped", stdin='{"from":"stdin"}', check=0)
    assert json.loads(cli("get", "a.b", "piped", check=0).stdout) == {"from": "stdin"}
    cli("put", "a.b", "k", "{}", "--if-absent", check=6)
    cli("rm", "a.b", "k", "--yes", check=0)
    r = cli("get", "a.b", "k", check=3)
    assert r.stdout == "" and r.stderr.startswith("cenote: get:")


def test_rm_needs_yes_without_a_terminal(cli):
    cli("put", "a", "k", "{}", check=0)
    r = cli("rm", "a", "k", check=2)
    assert "--yes" in r.stderr
    cli("rm", "a", "--recursive", "--dry-run", check=0)
    cli("get", "a", "k", check=0)
    cli("rm", "a", "--recursive", "--yes", check=0)
    cli("get", "a", "k", check=3)


def test_ls(cli):
    for ns in ("a", "a.b", "c"):
        cli("put", ns, "k", "{}", check=0)
    assert [n["namespace"] for n in lines(cli("ls", check=0))] == [["a"], ["a", "b"], ["c"]]
    items = lines(cli("ls", "a", "-o", "ndjson", check=0))
    assert sorted(".".join(i["namespace"]) for i in items) == ["a", "a.b"]
    assert json.loads(cli("ls", "--json", check=0).stdout)


def test_search_finds_items_and_messages(cli):
    cli("put", "notes.nora", "boat", '{"text":"The boat lies at berth fourteen"}', check=0)
    cli("import", "-", stdin='{"thread":"t","user":"nora","role":"user","content":"My boat is called Heron"}\n', check=0)
    hits = lines(cli("search", "name of the boats", "-o", "ndjson", "--user", "nora", check=0))
    assert {h.get("kind") for h in hits} == {"item", "message"}, hits
    only = lines(cli("search", "boats", "-o", "ndjson", "--kind", "items", "--namespace", "notes", check=0))
    assert [h["key"] for h in only] == ["boat"]
    none = cli("search", "zeppelin", check=0)
    assert none.stdout.strip() in ("", "[]") and "nothing else in the scope" in none.stderr
    assert not cli("search", "zeppelin", "--quiet", check=0).stderr


def test_facts(cli):
    cli("put", "team.x", "lead", "Ann leads the team", "--valid-from", "2019-01-01T00:00:00Z", check=0)
    cli("put", "team.x", "note a&b", "a note about the team", check=0)
    first = json.loads(cli("get", "team.x", "lead", "--json", check=0).stdout)
    assert first["fact"] and first["valid_from"] == "2019-01-01T00:00:00.000Z" and first["valid_to"] is None
    assert lines(cli("history", "team.x", "lead", check=0)) == []
    cli("put", "team.x", "lead", "Bea leads the team", "--valid-from", "2024-01-01T00:00:00+02:00", "--supersedes", "note a&b",
        "--supersedes", "none", check=0)
    cli("put", "team.x", "lead", "Cid leads the team", "--valid-to", "2030-01-01T00:00:00Z", check=0)
    states = lines(cli("history", "team.x", "lead", check=0))
    assert [(s["value"]["text"].split()[0], s["valid_from"], s["valid_to"]) for s in states] == [
        ("Bea", "2023-12-31T22:00:00.000Z", None), ("Ann", "2019-01-01T00:00:00.000Z", "2023-12-31T22:00:00.000Z")]
    assert json.loads(cli("history", "team.x", "lead", "--limit", "1", "--json", check=0).stdout) == states[:1]
    assert [s["superseded_by"] for s in lines(cli("history", "team.x", "note a&b", check=0))] == ["lead"]
    then = states[1]["recorded_from"]
    assert json.loads(cli("get", "team.x", "lead", "--as-of", then, check=0).stdout) == {"text": "Ann leads the team"}
    cli("get", "team.x", "lead", "--as-of", "2001-01-01T00:00:00Z", check=3)
    hits = lambda *a: [h["text"] for h in lines(cli("search", "who leads the team", "-o", "ndjson", *a, check=0))]  # noqa: E731
    assert hits() == hits("-n", "team") == hits("--kind", "facts") == hits("--kind", "items") == ["Cid leads the team"]
    assert hits("-n", "team", "--as-of", then) == ["Ann leads the team"]
    # A condition that does not hold leaves what would be superseded.
    cli("put", "team.x", "lead", "{}", "--if-absent", "--supersedes", "none", check=6)
    cli("put", "team.x", "other", "stays", check=0)
    cli("put", "team.x", "lead", "{}", "--if-absent", "--supersedes", "other", check=6)
    cli("get", "team.x", "other", check=0)
    cli("put", "team.x", "next", "Dee leads the team", "--if-absent", "--supersedes", "lead", check=0)
    cli("get", "team.x", "lead", check=3)
    assert len(lines(cli("history", "team.x", "lead", check=0))) == 3


def test_facts_wrong_usage(local):
    for args in (("put", "a", "k", "{}", "--valid-from", "2024"), ("put", "a", "k", "{}", "--valid-to", "soon"), ("put", "a", "k", "{}", "--supersedes", ""),
                 ("get", "a", "k", "--as-of", "then"), ("search", "x", "--as-of", ""), ("history", "a..b", "k"), ("history", "a"),
                 ("put", "a", "k", "{}", *["--supersedes", "x"] * 65)):
        r = local(*args, check=2)
        assert any(a in r.stderr for a in ("--valid", "--as-of", "--supersedes", "NAMESPACE", "history")), r.stderr
    r = local("put", "a", "k", "{}", "--valid-from", "2024-01-02T00:00:00Z", "--valid-to", "2024-01-01T00:00:00Z", check=2)
    assert "valid_to" in r.stderr
    local("put", "a", "k", "{}", *["--supersedes", "x"] * 64, check=0)


def test_wrong_usage(local):
    r = local("serach", "x", check=2)
    assert "search" in r.stderr, "names the closest command"
    r = local("search", "x", "--limti", "3", check=2)
    assert "--limit" in r.stderr
    local("search", "x", "--limit", "0", check=2)
    local("get", "a", check=2)
    local("put", "a..b", "k", "{}", check=2)
    r = local("put", "a", "k", '{"broken":', check=2)
    assert r.stderr.startswith("cenote: put:")
    r = local("get", "a", "k", "--json", check=3)
    assert json.loads(r.stderr.strip().splitlines()[-1]), "an error is JSON with --json"


def test_not_reachable_and_denied(local, tmp_path):
    r = local("stats", "--server", "http://127.0.0.1:9", check=5)
    assert "not reachable" in r.stderr and "127.0.0.1" in r.stderr
    with Server("--auth", "keys") as s:
        local("stats", "--server", s.url, check=4)
        local("stats", "--server", s.url, "--key", "cn_00000000_" + "a" * 43, check=4)
        key = json.loads(s.run("key", "create", "--name", "t", "--json", check=0).stdout)
        text = key.get("key") or key.get("secret")
        local("stats", "--server", s.url, "--key", text, check=0)
        local("stats", "--server", s.url, env={"CENOTE_API_KEY": text}, check=0)


def test_version_help_completion(local):
    assert "0.1.0" in local("version", check=0).stdout
    assert json.loads(local("version", "--json", check=0).stdout)["version"].startswith("0.1.0")
    out = local("help", check=0).stdout
    for word in ("serve", "put", "get", "search", "ls", "rm", "import", "export", "stats", "key", "config", "version"):
        assert word in out
    assert "--on-error" in local("import", "--help", check=0).stdout
    assert "complete" in local("completion", "bash", check=0).stdout
    assert "search" in local("__complete", "1", "cenote", "sea", check=0).stdout.split()


def test_config(local, tmp_path):
    good = tmp_path / "good.yaml"
    good.write_text("http:\n  max_body: 1MiB\n")
    local("config", "check", good, check=0)
    out = local("config", "print", "--config", good, "--origin", check=0).stdout
    assert "max_body" in out and "good.yaml" in out
    bad = tmp_path / "bad.yaml"
    bad.write_text("http:\n  max_bdy: 1MiB\nlisten: nowhere\n")
    r = local("config", "check", bad, check=2)
    assert "bad.yaml:2:" in r.stdout + r.stderr and "max_body" in r.stdout + r.stderr
    out = local("config", "print", env={"CENOTE_HTTP_MAX_BODY": "2MiB"}, check=0).stdout
    assert "2MiB" in out or "2097152" in out
    out = local("config", "print", "--http-max-body", "3MiB", env={"CENOTE_HTTP_MAX_BODY": "2MiB"}, check=0).stdout
    assert "3MiB" in out or "3145728" in out, "a flag wins over the environment"


def test_stats_json(cli):
    cli("put", "a", "k", "{}", check=0)
    stats = json.loads(cli("stats", "--json", check=0).stdout)
    assert stats["items"] == 1


# ---- import and export ------------------------------------------------------------------------------------------------------------

def exported(cli, *args):
    return cli("export", *args, check=0).stdout


def body(text):
    return [json.loads(x) for x in text.splitlines()[1:-1]]


def test_import_items_keeps_bytes_and_times(cli):
    r = cli("import", ITEMS, check=0)
    out = exported(cli)
    raw = out.splitlines()[1:-1]
    assert '"value":{"text":"alpha", "n":1.50}' in raw[0]
    items = [json.loads(x) for x in raw]
    assert items[1]["created_at"].startswith("2026-01-02T03:04:05") and items[1]["updated_at"].startswith("2026-02-03T04:05:06.789")
    assert items[2]["ttl_minutes"] == 525600
    again = cli("import", ITEMS, check=0)
    assert exported(cli) == out, "importing the same again changes nothing"
    assert r.returncode == again.returncode == 0


def test_export_import_export_is_the_same_bytes(cli, tmp_path):
    cli("import", TREE / "examples" / "messages.jsonl", TREE / "examples" / "notes.jsonl", check=0)
    cli("import", ITEMS, check=0)
    first = exported(cli)
    head, tail = json.loads(first.splitlines()[0]), json.loads(first.splitlines()[-1])
    assert head["cenote_export"] == 1
    assert len(first.splitlines()) == 2 + 339 + 100 + 3
    digest = [v for v in tail.values() if isinstance(v, str) and len(v) == 64]
    whole = "".join(first.splitlines(keepends=True)[:-1])
    assert digest and digest[0] in (hashlib.sha256(whole.encode()).hexdigest(),
                                    hashlib.sha256("".join(whole.splitlines(keepends=True)[1:]).encode()).hexdigest())
    file = tmp_path / "export.jsonl"
    file.write_text(first)
    other = {"CENOTE_DATA": tmp_path / "other", "CENOTE_SERVER": ""}
    cli("import", file, env=other, check=0)
    assert exported(lambda *a, **k: cli(*a, env=other, **k)) == first


def test_export_pipes_into_import(cli, tmp_path):
    cli("import", ITEMS, check=0)
    text = exported(cli)
    other = {"CENOTE_DATA": tmp_path / "piped", "CENOTE_SERVER": ""}
    cli("import", "-", stdin=text, env=other, check=0)
    assert cli("export", env=other, check=0).stdout == text


def test_damaged_export_is_refused(cli, tmp_path):
    cli("import", ITEMS, check=0)
    text = exported(cli)
    file = tmp_path / "damaged.jsonl"
    file.write_text(text.replace("alpha", "alphq"))
    other = {"CENOTE_DATA": tmp_path / "fresh", "CENOTE_SERVER": ""}
    r = cli("import", file, env=other)
    assert r.returncode in (1, 2) and ("checksum" in r.stderr.lower() or "sha-256" in r.stderr.lower()), r
    assert body(cli("export", env=other, check=0).stdout) == [], "nothing was stored"


def test_bad_line_is_named(cli, tmp_path):
    file = tmp_path / "bad.jsonl"
    good = '{"namespace":["x"],"key":"%s","value":{}}\n'
    file.write_text(good % "a" + '{"namespace":["x"],"key":"b","value":[]}\n' + good % "c" + "{not json}\n" + good % "d")
    r = cli("import", file, check=2)
    assert "bad.jsonl: line 2: " in r.stderr
    r = cli("import", file, check=2)
    assert "bad.jsonl: line 2: " in r.stderr, "the same again is the same error: nothing was passed over in silence"
    r = cli("import", "--on-error", "skip", file, check=7)
    assert "bad.jsonl: line 2: " in r.stderr and "bad.jsonl: line 4: " in r.stderr, r
    assert sorted(i["key"] for i in body(exported(cli))) == ["a", "c", "d"]


def test_unknown_member(cli, tmp_path):
    file = tmp_path / "more.jsonl"
    file.write_text('{"namespace":["x"],"key":"a","value":{},"colour":"red"}\n')
    r = cli("import", file, check=2)
    assert "colour" in r.stderr
    cli("import", "--lenient", file, check=0)
    cli("get", "x", "a", check=0)


def test_on_conflict(cli, tmp_path):
    line = '{"namespace":["x"],"key":"a","value":{"v":%d},"updated_at":"2026-01-0%dT00:00:00Z"}\n'
    file = tmp_path / "one.jsonl"
    file.write_text(line % (1, 1))
    cli("import", file, check=0)
    file.write_text(line % (2, 2))
    cli("import", "--on-conflict", "skip", file, check=0)
    assert json.loads(cli("get", "x", "a").stdout) == {"v": 1}
    r = cli("import", "--on-conflict", "fail", file)
    assert r.returncode in (6, 7), r
    cli("import", "--on-conflict", "replace", file, check=0)
    assert json.loads(cli("get", "x", "a").stdout) == {"v": 2}


def test_dry_run_stores_nothing(cli):
    cli("import", "--dry-run", ITEMS, check=0)
    assert body(exported(cli)) == []


def test_chatgpt_export(cli):
    cli("import", DATA / "conversations.json", "--user", "nora", check=0)
    msgs = body(exported(cli))
    texts = [m["content"] for m in msgs if m["role"] in ("user", "assistant")]
    assert "Which paint for a wooden boat?" in texts
    assert any("Three thin coats." in t and "A day between them." in t for t in texts)
    assert not any("given up" in t for t in texts), "only the branch that was kept"
    assert "Sort [3,1,2] please — schnell!" in texts
    assert any("What bird is this?" in t for t in texts)
    assert all(m["user"] == "nora" for m in msgs)
    assert len({m["thread"] for m in msgs}) == 3
    first = next(m for m in msgs if m["content"].startswith("Which paint"))
    assert first["time"].startswith("2026-02-02T02:40:01")
    before = exported(cli)
    cli("import", DATA / "conversations.json", "--user", "nora", check=0)
    assert exported(cli) == before


def test_folder_of_documents(cli):
    cli("import", DATA / "notes", "--namespace", "docs", check=0)
    items = body(exported(cli))
    texts = json.dumps(items)
    assert "Berth fourteen" in texts and "Turn it in April" in texts and "two paragraphs" in texts
    assert "not text" not in texts, "a picture is no document"
    berth = next(i for i in items if "Berth fourteen" in json.dumps(i["value"]))
    assert "boat.md" in json.dumps(berth) and "Berth" in json.dumps(berth["value"]), "path and heading are kept"
    assert not any(i["value"].get("heading") == "this is no heading, it is code" for i in items)
    assert all(i["namespace"][0] == "docs" for i in items)
    before = exported(cli)
    cli("import", DATA / "notes", "--namespace", "docs", check=0)
    assert exported(cli) == before
    hits = lines(cli("search", "when does the mast stay", "-o", "ndjson", "--kind", "items", check=0))
    assert "Winter" in json.dumps(hits[0])


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_interrupted_import_resumes(tmp_path, how):
    """Stopped in the middle, started again: all there, once, and the part that was there is not read as new."""
    file = tmp_path / "many.jsonl"
    count = 60_000
    with open(file, "w") as f:
        for i in range(count):
            f.write('{"namespace":["m"],"key":"k%d","value":{"n":%d,"text":"the %dth boat of the harbour"}}\n' % (i, i, i))
    env = clean_env(CENOTE_DATA=tmp_path / "data", XDG_CONFIG_HOME=tmp_path)
    with Server(folder=tmp_path) as s:
        p = subprocess.Popen([binary(), "import", str(file)], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        while p.poll() is None:
            if s.request("GET", "/cenote/v1/stats").json["items"] > 0:
                p.send_signal(how)
                break
        code = p.wait(60)
        p.stderr.close()
        assert code in (-9, 130, 0)
        there = s.request("GET", "/cenote/v1/stats").json["items"]
        r = s.run("import", file, check=0)
        assert s.request("GET", "/cenote/v1/stats").json["items"] == count
        if code != 0:
            assert 0 < there < count
        assert r.returncode == 0
        assert s.request("GET", f"/store/items?namespace=m&key=k{count - 1}").json["value"]["n"] == count - 1


def test_broken_pipe_is_quiet(local):
    local("import", TREE / "examples" / "messages.jsonl", check=0)
    env = clean_env(**{"CENOTE_DATA": local.__closure__[0].cell_contents / "data"})
    p = subprocess.run(f"'{binary()}' export | head -n 1 >/dev/null; exit ${{PIPESTATUS[0]}}", shell=True, executable="/bin/bash", env=env,
                       capture_output=True, text=True)
    assert p.returncode in (0, 141) and p.stderr == "", p


def test_export_to_a_file(local, tmp_path):
    local("import", ITEMS, check=0)
    local("export", "--to", tmp_path / "out.jsonl", check=0)
    assert (tmp_path / "out.jsonl").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "out.jsonl").read_text() == local("export", check=0).stdout


def test_table_and_colour_on_a_terminal(tmp_path):
    env = clean_env(CENOTE_DATA=tmp_path / "data", XDG_CONFIG_HOME=tmp_path, TERM="xterm", COLUMNS=100)
    run("put", "a", "k", '{"text":"boat"}', env={"CENOTE_DATA": tmp_path / "data"}, check=0)

    def on_terminal(**more):
        lead, follow = pty.openpty()
        p = subprocess.Popen([binary(), "ls", "a"], env={**env, **more}, stdout=follow, stderr=subprocess.DEVNULL,
                             stdin=subprocess.DEVNULL)
        os.close(follow)
        out = b""
        while True:
            try:
                piece = os.read(lead, 65536)
            except OSError:
                break
            if not piece:
                break
            out += piece
        os.close(lead)
        assert p.wait(60) == 0
        return out

    out = on_terminal()
    assert b"k" in out and not out.lstrip().startswith(b"{"), "a table, not JSON"
    assert b"\x1b[" not in on_terminal(NO_COLOR="1")
    assert b"\x1b[" not in on_terminal(TERM="dumb")


def test_keys(local, tmp_path):
    made = json.loads(local("key", "create", "--name", "app", "--tenant", "acme", "--for-user", "ann", "--rights", "read", "--json",
                            check=0).stdout)
    secret = made.get("key") or made.get("secret")
    assert secret.startswith("cn_") and len(secret) == 3 + 8 + 1 + 43
    listed = local("key", "list", "--json", check=0).stdout
    assert made["id"] in listed and secret.rsplit("_", 1)[1] not in listed and "acme" in listed
    for p in (tmp_path / "data").rglob("*"):
        if p.is_file():
            assert secret.encode()[12:] not in p.read_bytes(), "only a hash is kept"
    local("key", "revoke", made["id"], check=2)
    local("key", "revoke", made["id"], "--yes", check=0)
    local("key", "revoke", "00000000", "--yes", check=3)


def test_man_pages(local):
    page = local("help", "--man", "cenote", check=0).stdout
    assert page.startswith(".TH CENOTE 1")
    assert pathlib.Path(binary()).exists()
