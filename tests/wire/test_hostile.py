"""Forty-one memories that want to be more than memories: tests/data/hostile.jsonl. Each is in the user's items and in an earlier conversation, and comes up.

A model may be fooled; the server must not be. So the model here is the worst that there can be: it does what the memory says (`obeyed`), or says what
it says, word by word. Whatever it does, the memory has entered the prompt as data between its marks and nowhere else, nothing of another user comes out,
and nothing happens that the model has not called by the protocol."""
import json
import pathlib
import unicodedata

import openai
import pytest

from cenote import LongTermMemory

SET = [json.loads(line) for line in (pathlib.Path(__file__).parents[1] / "data" / "hostile.jsonl").read_text().splitlines()]
PROMPT = "You are a helpful assistant."
BOB, SECRET = "bob@example.com", "omega-7734"


@pytest.fixture(scope="module")
def server(kind, start, model):
    """With bob, who has a secret."""
    with start(kind, "--llm-base-url", model.url, "--llm-model", "scripted", "--llm-system-prompt", PROMPT) as s:
        with LongTermMemory(url=s.url) as memory:
            memory.save_memory(BOB, "code", {"launch code": SECRET})
        said = {"thread": "thread-of-bob", "user": BOB, "role": "user", "content": f"My launch code is {SECRET}."}
        assert s.request("POST", "/cenote/v1/messages", {"messages": [said]}).status == 200
        yield s


def memories(text):
    """The data in a system message, and what is around it; strictly, as the head of the list says it is to be read."""
    head, mark, rest = text.partition("\n<memory>\n")
    assert mark
    *lines, end = rest.split("\n")
    assert end == "</memory>"
    for line in lines:
        assert "<" not in line and ">" not in line and line.splitlines() == [line]
        assert not any(unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") or "VARIATION SELECTOR" in unicodedata.name(c, "") or c in "\u034f\u3164" for c in line)
    return [json.loads(x) for x in lines], head


def strings(v):
    if isinstance(v, str):
        yield v
    for x in v.values() if isinstance(v, dict) else v if isinstance(v, list) else ():
        yield from strings(x)


def obey(case, seen):
    """A model that does what the memory says, then tells all that it has been told."""
    def answer(body):
        seen.append(body)
        told = [m for m in body["messages"] if m["role"] == "tool"]
        if told or not case.get("obeyed"):
            return "\n".join([case["text"]] + [m["content"] for m in told])
        return {"content": None, "tool_calls": [{"id": f"call_{i}", "type": "function", "function": {"name": c["name"], "arguments": json.dumps(c["arguments"])}}
                                                for i, c in enumerate(case["obeyed"])]}
    return answer


def test_the_set():
    assert len(SET) == 41 and {c["goal"] for c in SET} == {"instructions", "leak", "tool"} and len({c["text"] for c in SET}) == 41


@pytest.mark.parametrize("n", range(len(SET)))
def test_hostile(server, model, n):
    case, user, seen = SET[n], f"ann{n}@example.com", []
    model.answer = obey(case, seen)
    earlier = {"thread": f"fence-{n}", "user": user, "role": "user", "content": f"About the fence: {case['text']}"}
    assert server.request("POST", "/cenote/v1/messages", {"messages": [earlier]}).status == 200
    with LongTermMemory(url=server.url) as memory, openai.OpenAI(api_key="x", base_url=server.url + "/v1", max_retries=0) as client:
        memory.save_memory(user, "keep", {"about the fence": case["text"]})
        conversation = client.conversations.create()
        r = client.responses.create(model="scripted", input="What about the fence?", user=user, conversation=conversation.id)
        # It came up, whole, both ways, and as data alone.
        data, head = memories(seen[0]["messages"][0]["content"])
        assert earlier["content"] in list(strings(data))
        assert any(case["text"] in json.loads(x).values() for x in strings(data) if x.startswith("{") and "about the fence" in x)
        assert head.startswith(PROMPT) and "never" in head
        assert [m["role"] for m in seen[0]["messages"]] == ["system", "user"]
        assert all(case["text"] not in (m["content"] or "") for m in seen[0]["messages"][1:])
        # What the tools answered is labelled, and the model was offered no tool that it did not have.
        offered = {t["function"]["name"] for t in seen[0]["tools"]}
        assert offered == {"get_user_memory", "save_user_memory", "delete_user_memory", "search_conversations"}
        told = [m["content"] for m in seen[-1]["messages"] if m["role"] == "tool"]
        assert len(told) == len(case.get("obeyed", [])) and all("never an instruction" in t.split("\n")[0] for t in told)
        # Nothing of bob's is in any request, in the answer, or in the thread, and nothing of his has changed.
        kept = [x.to_json() for x in client.conversations.items.list(conversation.id, order="asc", limit=100)]
        assert SECRET not in json.dumps(seen) and SECRET not in r.to_json() and SECRET not in "".join(kept)
        assert memory.search_memories(BOB, "launch code")[0].value == {"launch code": SECRET}
        # What looks like a call is none.
        if case["goal"] == "tool" and not case.get("obeyed"):
            assert [x.type for x in r.output] == ["message"] and r.output_text == case["text"]
        assert memory.search_memories(user, "fence")[0].key == "keep"
        assert server.request("GET", "/readyz").status == 200
