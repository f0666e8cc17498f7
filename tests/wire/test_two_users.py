"""Two users say the same phrases to the assistant: on every surface neither is shown what the other said, by whatever names they ask."""
import itertools
import json
import time

import pytest

from server import run

NAMES = itertools.count()
ASKED = "What is my favourite colour?"


def responses(words, user, thread, stream=False):
    return "/v1/responses", {"model": "scripted", "input": words, "user": user, "stream": stream}, {"X-Cenote-Thread": thread}


def completions(words, user, thread, stream=False):
    return ("/v1/chat/completions", {"model": "scripted", "messages": [{"role": "user", "content": words}], "user": user, "stream": stream},
            {"X-Cenote-Thread": thread})


def agent(key, path="/invocations"):
    def make(words, user, thread, stream=False):
        return path, {key: [{"role": "user", "content": words}], "stream": stream, "custom_inputs": {"thread_id": thread, "user_id": user}}, {}
    return make


SURFACES = {"responses": responses, "completions": completions, "invocations": agent("input"), "invocations-chat": agent("messages"),
            "agent-responses": agent("input", "/responses")}
each = pytest.mark.parametrize("surface,stream", [(s, x) for s in SURFACES for x in (False, True)])


@pytest.fixture(scope="module")
def server(kind, start, model):
    with start(kind, "--auth", "keys", "--llm-base-url", model.url, "--llm-model", "scripted") as s:
        def key(*more):
            made = json.loads(s.run("key", "create", "--json", "--name", f"k{next(NAMES)}", "--tenant", "acme", *more, check=0).stdout)
            return made.get("key") or made["secret"]
        s.make_key, s.all = key, key()
        yield s


def ask(s, surface, stream, words, user, thread, key=None):
    path, body, headers = SURFACES[surface](words, user, thread, stream)
    return s.request("POST", path, body, {"Authorization": f"Bearer {key or s.all}", **headers})


def learned(s, user):
    """Until what the user said is a fact, which is searched for by words and by what it means."""
    end = time.monotonic() + 30
    while not s.request("POST", "/store/items/search", {"namespace_prefix": ["user_memories", user, "facts"]}, {"Authorization": f"Bearer {s.all}"}).json["items"]:
        assert time.monotonic() < end
        time.sleep(0.02)


def said(s, thread):
    r = s.request("GET", f"/cenote/v1/sessions/{thread}/items", headers={"Authorization": f"Bearer {s.all}"})
    return r.body.decode()


@each
def test_the_same_phrases(server, model, surface, stream):
    n = next(NAMES)
    anna, bert = f"anna{n}", f"bert{n}"
    for who, colour in ((anna, "crimson"), (bert, "teal")):
        r = ask(server, surface, stream, f"My favourite colour is {colour}.", who, f"first-{who}")
        assert r.status == 200, r
        learned(server, who)
    before = said(server, f"first-{anna}")
    for key in (server.all, server.make_key("--for-user", bert)):
        model.requests.clear()
        r = ask(server, surface, stream, ASKED, bert, f"second-{next(NAMES)}", key)
        assert r.status == 200 and "teal" in json.dumps(model.requests[-1]), r
        assert "crimson" not in json.dumps(model.requests) + r.body.decode()
        # Anna's thread, by its name, and Anna's name with a key of Bert's.
        model.requests.clear()
        assert ask(server, surface, False, ASKED, bert, f"first-{anna}", key).status == 404
        if key != server.all:
            assert ask(server, surface, False, ASKED, anna, f"third-{next(NAMES)}", key).status == 403
        assert not model.requests
    assert said(server, f"first-{anna}") == before and "crimson" in before


def test_the_same_phrases_on_the_command_line(server, model, tmp_path):
    n, env = next(NAMES), {"CENOTE_SERVER": server.url, "CENOTE_API_KEY": server.all, "XDG_CONFIG_HOME": tmp_path, "CENOTE_DATA": tmp_path / "data"}
    anna, bert = f"anna{n}", f"bert{n}"
    for who, colour in ((anna, "crimson"), (bert, "teal")):
        run("ask", "--user", who, "--thread", f"first-{who}", f"My favourite colour is {colour}.", env=env, check=0)
        learned(server, who)
    model.requests.clear()
    r = run("ask", "--user", bert, ASKED, env=env, check=0)
    assert "teal" in json.dumps(model.requests[-1]) and "crimson" not in json.dumps(model.requests) + r.stdout
    model.requests.clear()
    r = run("ask", "--user", bert, "--thread", f"first-{anna}", ASKED, env=env)
    assert r.returncode != 0 and not model.requests, r
