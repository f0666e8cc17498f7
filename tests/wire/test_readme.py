"""What the README and the pages of docs/ show in Python and JavaScript runs as it stands there: every fenced block is a program of its own, given to a
server on PostgreSQL that has a model. Changed are addresses alone, and with a Node.js before 20 how the SDK is loaded: its modules need a later one."""
import os
import pathlib
import re
import subprocess
import sys

import pytest

from model_server import ModelServer
from server import TREE, clean_env

pytestmark = pytest.mark.stores("postgres")
FENCE = re.compile(r"^( *)```(python|js)\n(.*?)^ *```$", re.M | re.S)
SNIPPETS = [pytest.param(m[2], m[3], id=f"{page.name}:{text.count(chr(10), 0, m.start()) + 1}")
            for page in (TREE / "README.md", *sorted((TREE / "docs").glob("*.md"))) for text in [page.read_text()] for m in FENCE.finditer(text)]
SDK = re.compile(r'^import (\{.*\}) from "@langchain/langgraph-sdk";$', re.M)
MODULES = pathlib.Path(os.environ.get("CENOTE_NODE_MODULES", TREE / "build" / "js" / "node_modules"))


@pytest.fixture(scope="module")
def server(kind, start):
    """With the model NAME, and the talk of ann's that docs/chat.md goes on with."""
    with ModelServer() as m, start(kind, "--llm-base-url", m.url, "--llm-model", "NAME") as s:
        first = {"input": "Which tea do I drink?", "user": "ann"}
        assert s.request("POST", "/v1/responses", first, {"X-Cenote-Thread": "THREAD"}).status == 200
        yield s


def test_there_are_some():
    ids = [p.id for p in SNIPPETS]
    assert sum(i.startswith("README.md") for i in ids) >= 7 and {p.values[0] for p in SNIPPETS} == {"python", "js"}


@pytest.mark.parametrize("language, text", SNIPPETS)
def test_it_runs(server, tmp_path, language, text):
    text = text.replace("http://127.0.0.1:8000", server.url).replace("postgresql://app@db.example/app", server.store)
    assert ":8000" not in text and ".example/" not in text  # nobody else's server
    if language == "js":
        (tmp_path / "node_modules").symlink_to(MODULES)
        if int(subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout[1:].split(".")[0]) < 20:
            text = SDK.sub(r'import { createRequire } from "node:module";\nconst \1 = createRequire(import.meta.url)("@langchain/langgraph-sdk");', text)
    file = tmp_path / ("snippet.mjs" if language == "js" else "snippet.py")
    file.write_text(text)
    env = clean_env(PYTHONPATH=TREE / "clients" / "python" / "src", OPENAI_AGENTS_DISABLE_TRACING="1")
    r = subprocess.run(["node" if language == "js" else sys.executable, file], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120)
    assert r.returncode == 0 and "Traceback" not in r.stderr, r.stderr
    if "print(" in text or "console.log(" in text:
        assert r.stdout.strip() not in ("", "[]", "None"), r
