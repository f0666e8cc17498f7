"""`cenote init`: the files of a new assistant have its name everywhere, they start, talk and remember; and nothing is written over or by half."""
import os
import pathlib
import resource
import stat
import subprocess
import sys

import pytest

from model_server import ModelServer
from server import Server, binary, clean_env, run

FILES = {"README.md", "app.yaml", "assistant.py", "config.yaml", ".gitignore", "requirements.txt", "run"}


def files(folder):
    return {p.name for p in folder.iterdir()}


class Project(Server):
    """Started by the project's own script, with `cenote` on the PATH; nothing but its files says where data lies."""

    def __init__(self, where, model, bin):
        super().__init__(env={"CENOTE_LLM_BASE_URL": model.url, "PATH": f"{bin}:{os.environ['PATH']}"})
        self.where = where
        del self.env["CENOTE_DATA"]

    def command(self):
        return [str(self.where / "run"), "--listen", self.listen]


def test_demo(tmp_path):
    """No place for the name is left; it is the title, the app's name and the argument of the deployment."""
    where = tmp_path / "demo"
    r = run("init", "demo", where, check=0)
    assert "demo" in r.stderr and r.stdout == "" and files(where) == FILES
    text = {name: (where / name).read_text() for name in FILES}
    assert not [name for name, t in text.items() if "{{" in t or "}}" in t]
    assert text["README.md"].startswith("# demo - Context-Aware Assistant (L2)\n")
    assert "databricks apps create demo\n" in text["README.md"] and "databricks apps deploy demo --source-code-path" in text["README.md"]
    assert "Your name is \"demo\"." in text["config.yaml"] and "demo" in text["app.yaml"] and "demo" in text["assistant.py"]
    assert stat.S_IMODE((where / "run").stat().st_mode) & 0o111 and not (where / "config.yaml").stat().st_mode & 0o111
    r = run("config", "check", where / "config.yaml", check=0)
    assert "warn" not in r.stderr, r
    compile(text["assistant.py"], "assistant.py", "exec")


def test_it_starts_and_remembers(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "cenote").symlink_to(binary())
    where = tmp_path / "my-app"
    run("init", "my-app", where, check=0)

    def talk(s, *args, stdin):
        return subprocess.run([sys.executable, where / "assistant.py", *args], input=stdin, capture_output=True, text=True, timeout=60,
                              env=clean_env(CENOTE_SERVER=s.url, CENOTE_USER="ann"))

    with ModelServer() as model:
        with Project(where, model, tmp_path / "bin") as s:
            r = talk(s, "one", stdin="My cat is called Ada.\n\nWhat is she called?\n")
            assert r.returncode == 0 and r.stdout == "You said: My cat is called Ada.\nYou said: What is she called?\n", r
            assert "my-app, thread one" in r.stderr
            assert model.requests[-1]["model"] == "databricks-claude-sonnet-4-5" and not model.requests[-1].get("stream")
            r = run("smoke", "--config", where / "config.yaml", "--server", s.url, check=0)
            assert r.stdout == "You said: Who are you?\n"
        assert (where / "data").is_dir()
        settings = (where / "config.yaml").read_text()
        (where / "config.yaml").write_text(settings.replace("streaming: false", "streaming: true"))
        with Project(where, model, tmp_path / "bin") as s:
            talk(s, "one", stdin="Still there?\n")
            sent = [m["content"] for m in model.requests[-1]["messages"]]
            assert sent[0].startswith('You are a helpful assistant. Your name is "my-app".') and sent[1] == "My cat is called Ada."
            assert model.requests[-1]["stream"] is True
            model.script(*["400"] * 3)
            r = talk(s, stdin="x\ny\n")
            assert r.returncode == 0 and "scripted" in r.stderr and r.stdout.endswith("You said: y\n")
            model.script("cut:2")
            r = talk(s, stdin="x\ny\n")
            assert r.returncode == 0 and r.stderr.endswith("broke off\n") and r.stdout == "You said:\nYou said: y\n", r


@pytest.mark.parametrize("name", ["", "a", "A", "Demo", "1demo", "-x", "demo-", "a" * 31, "a b", "a_b", "a.b", "../x", "a/b", "{{ name }}", "a\nb", "démo", "a'b", "a:b"])
def test_names_that_are_none(tmp_path, name):
    r = run("init", "--", name, tmp_path / "x")
    assert r.returncode == 2 and "NAME must be 2 to 30" in r.stderr and files(tmp_path) == set()


def test_names_that_are(tmp_path):
    for name in ("null", "yes", "no", "a1", "a" * 30, "a--b"):
        run("init", name, tmp_path / name, "--quiet", check=0)
        run("config", "check", tmp_path / name / "config.yaml", check=0)


def test_what_is_there_stays(tmp_path):
    """An empty folder is taken, another only with --force, which replaces files of its own names alone."""
    here = tmp_path / "x"
    here.mkdir()
    run("init", "demo", here, check=0)
    (here / "config.yaml").write_text("mine")
    (here / "notes").write_text("mine, too")
    r = run("init", "other", here)
    assert r.returncode == 6 and "--force" in r.stderr and (here / "config.yaml").read_text() == "mine"
    run("init", "other", here, "--force", check=0)
    assert '"other"' in (here / "config.yaml").read_text() and (here / "notes").read_text() == "mine, too" and files(here) == FILES | {"notes"}
    (here / "config.yaml").write_text("mine")
    (here / "run").unlink()
    (here / "run").mkdir()
    r = run("init", "demo", here, "--force")
    assert r.returncode == 6 and "run" in r.stderr and (here / "config.yaml").read_text() == "mine" and ".init" not in str(files(here))
    (tmp_path / "file").write_text("")
    assert run("init", "demo", tmp_path / "file", "--force").returncode == 6
    assert run("init", "demo", tmp_path / "no" / "where").returncode != 0 and not (tmp_path / "no").exists()


@pytest.mark.parametrize("there", [False, True])
def test_a_full_disk(tmp_path, there):
    """What cannot be written whole is not written at all."""
    if there:
        (tmp_path / "demo").mkdir()
    r = subprocess.run([binary(), "init", "demo"], cwd=tmp_path, env=clean_env(), capture_output=True, text=True, timeout=60, restore_signals=False,
                       preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)))
    assert r.returncode not in (0, -25) and "cannot write" in r.stderr, r
    assert files(tmp_path) == ({"demo"} if there else set()) and (not there or files(pathlib.Path(tmp_path / "demo")) == set())
