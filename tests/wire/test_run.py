"""`./run` as a newcomer uses it: the server with the example data, and the three things that it prints to try, pasted."""
import os
import re
import shutil
import signal
import subprocess
import sys

import pytest

from server import TREE, binary, clean_env

READY = "cenote: listening on http://"


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    if os.path.realpath(binary()) != os.path.realpath(TREE / "build" / "cenote"):
        pytest.skip("./run starts build/cenote")
    data = tmp_path_factory.mktemp("run") / "data"
    env = clean_env(CENOTE_DATA=data, NO_INSTALL="1", PIP_DISABLE_PIP_VERSION_CHECK="1")
    p = subprocess.Popen([str(TREE / "run"), "--listen", "127.0.0.1:0"], env=env, cwd=TREE, stdout=subprocess.PIPE,
                         stderr=subprocess.DEVNULL, text=True)
    text = ""
    for line in p.stdout:
        text += line
        if line.startswith("Ctrl-C"):
            break
    yield text, env
    p.send_signal(signal.SIGTERM)
    assert p.wait(60) == 0
    p.stdout.close()


def paragraphs(text):
    return [x for x in text.split("\n\n") if x.strip()]


def paste(command, env):
    r = subprocess.run(command, shell=True, cwd=TREE, env=env, capture_output=True, text=True, timeout=300)
    assert r.returncode == 0, (command, r)
    return r.stdout


def test_the_curl_line(started):
    text, env = started
    out = paste(next(x for x in paragraphs(text) if x.startswith("curl ")), env)
    assert "walnut" in out.lower()


def test_the_search_line(started):
    text, env = started
    line = next(x for x in paragraphs(text) if "run search" in x)
    assert "ferry" in paste(line, env).lower()


def test_the_python_snippet(started):
    """Pasted as it is, but that the packages come from the test's own environment, which has them."""
    text, env = started
    snippet = next(x for x in paragraphs(text) if "langgraph_sdk" in x)
    made, _, rest = snippet.partition("/bin/python -c ")
    assert "python3 -m venv" in made and "pip" in made and "langgraph-sdk" in made
    assert "boat" in paste(f"{sys.executable} -c {rest}", env)


def test_chat_talks_from_memory(started, tmp_path):
    """Beside the server, and on data of its own that it makes; without a model it says what is recalled."""
    _, env = started
    for e in (env, {**env, "CENOTE_DATA": str(tmp_path / "data")}):
        r = subprocess.run([str(TREE / "run"), "chat"], env=e, input="what am I allergic to?\n", capture_output=True, text=True, timeout=300)
        assert r.returncode == 0 and "walnut" in r.stdout.lower() and "llm.base_url" in r.stderr, r
    r = subprocess.run([str(TREE / "run"), "chat", "--user", "sam"], env=env, input="walnuts?\n", capture_output=True, text=True, timeout=120)
    assert r.returncode == 0 and "walnut" not in r.stdout.lower(), r


def test_run_passes_arguments_on(started):
    _, env = started
    r = subprocess.run([str(TREE / "run"), "ls", "notes.nora"], env=env, capture_output=True, text=True, timeout=120)
    assert r.returncode == 0 and "island" in r.stdout
    r = subprocess.run([str(TREE / "run"), "get", "nothing", "here"], env=env, capture_output=True, text=True, timeout=120)
    assert r.returncode == 3
    assert re.search(r"cenote: get: ", r.stderr)


def test_nothing_is_left_in_the_tree(started):
    if not shutil.which("git") or not (TREE / ".git").exists():
        pytest.skip("no git")
    r = subprocess.run(["git", "status", "--porcelain", "--", "examples", ".cenote"], cwd=TREE, capture_output=True, text=True)
    assert not [x for x in r.stdout.splitlines() if x.startswith("??")], r.stdout
