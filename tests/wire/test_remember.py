"""What stays behind a turn, on both stores: facts and entities by rules and by a scripted model, summaries, a killed server, two users."""
import contextlib
import itertools
import json
import time

import openai
import pytest

from model_server import ModelServer
from server import PATIENCE

NAMES = itertools.count()


@contextlib.contextmanager
def running(start, kind, model, *args):
    with start(kind, "--llm-base-url", model.url, "--llm-model", "scripted", *args) as s, \
            openai.OpenAI(api_key="x", base_url=s.url + "/v1", max_retries=0) as client:
        s.client = client
        yield s


@pytest.fixture(scope="module")
def rules(kind, start, model):
    with running(start, kind, model) as s:
        yield s


@pytest.fixture(autouse=True)
def calm(model):
    model.answer = ModelServer().answer
    model.script()
    model.requests.clear()


@pytest.fixture
def user():
    return f"u{next(NAMES)}"


def until(look, what=None):
    """Polls what has no event that a client could wait for."""
    end = time.monotonic() + PATIENCE
    while True:
        found = look()
        if found or time.monotonic() > end:
            assert found, what
            return found
        time.sleep(0.02)


def say(s, user, text, conversation=None):
    c = conversation or s.client.conversations.create().id
    return s.client.responses.create(model="scripted", input=text, user=user, conversation=c).output_text


def fact(s, user, key):
    r = s.request("GET", f"/cenote/v1/items?namespace=user_memories.{user}.facts&key={key}")
    return r.json if r.status == 200 else None


def facts(s, user):
    """Their texts, by key."""
    r = s.request("POST", "/store/items/search", {"namespace_prefix": ["user_memories", user, "facts"], "limit": 100})
    return {i["key"]: i["value"]["text"] for i in r.json["items"]}


def history(s, user, key):
    r = s.request("GET", f"/cenote/v1/items/history?namespace=user_memories.{user}.facts&key={key}")
    return [(x["value"]["value"], x["valid_to"]) for x in r.json["data"]]


def relations(s, user, name, hops=1, as_of=None):
    r = s.request("GET", f"/cenote/v1/entities/graph?user={user}&name={name}&hops={hops}" + (f"&as_of={as_of}" if as_of else ""))
    assert r.status in (200, 404), r
    return r.json.get("relations", [])


def graph(s, user, name, hops=1, as_of=None):
    return {(x["from"]["name"], x["relation"], x["to"]["name"]) for x in relations(s, user, name, hops, as_of)}


def entity(s, user, name, as_of=None):
    r = s.request("GET", f"/cenote/v1/entities?user={user}" + (f"&as_of={as_of}" if as_of else ""))
    return next((e for e in r.json["data"] if e["name"] == name), None)


def recalled(s, user, query, **more):
    """Entities that recall finds."""
    r = s.request("POST", "/cenote/v1/recall", {"query": query, "namespaces": [["user_memories", user, "entities"]], "kinds": ["item", "fact"], **more})
    assert r.status == 200, r
    return {(x["key"], *(y["name"] for y in x["value"]["relations"])) for x in r.json["results"]}


def metric(s, name):
    lines = s.request("GET", "/metrics").body.decode().splitlines()
    return int(next(x.split()[1] for x in lines if x.startswith(name + " ")))


def system(model, n=-1):
    return model.requests[n]["messages"][0]["content"]


def test_a_fact_of_one_session_is_known_in_the_next(rules, model, user):
    c = rules.client.conversations.create().id
    say(rules, user, "Hi! I live in Rome and I'm allergic to peanuts.", c)
    home = until(lambda: fact(rules, user, "home"))
    assert home["value"]["text"] == "The user lives in Rome." and home["value"]["kind"] == "fact" and home["fact"] is True
    source = home["value"]["source"]
    assert source["thread"] == c
    assert rules.client.conversations.items.retrieve(source["item"], conversation_id=c).content[0].text.startswith("Hi! I live in Rome")
    say(rules, user, "Which city do I live in?")
    assert "The user lives in Rome." in system(model) and source["item"] in system(model)
    assert until(lambda: fact(rules, user, "allergy:peanuts"))["value"]["value"] == "yes"


def test_what_is_said_later_supersedes(rules, user):
    c = rules.client.conversations.create().id
    say(rules, user, "I live in Rome.", c)
    until(lambda: fact(rules, user, "home"))
    say(rules, user, "I live in Rome!", c)  # the same again
    say(rules, user, "I've moved to Milan, and I work at Acme.", c)
    until(lambda: "Milan" in fact(rules, user, "home")["value"]["text"])
    (old,) = history(rules, user, "home")
    assert old[0] == "Rome" and old[1] == fact(rules, user, "home")["valid_from"]
    until(lambda: graph(rules, user, "user") == {("user", "lives in", "Milan"), ("user", "works at", "Acme")}, graph(rules, user, "user"))


def test_a_relation_of_the_users_supersedes(rules, model, user):
    """Where the user lived before is history, to be had as of that time; each relation names the turn that says so."""
    c = rules.client.conversations.create().id
    say(rules, user, "I live in Rome.", c)
    until(lambda: graph(rules, user, "user") == {("user", "lives in", "Rome")})
    (rome,), then = relations(rules, user, "user"), entity(rules, user, "user")["updated_at"]
    say(rules, user, "I've moved to Milan.", c)
    until(lambda: graph(rules, user, "user") == {("user", "lives in", "Milan")})
    (milan,) = relations(rules, user, "user")
    for x, words in ((rome, "I live in Rome."), (milan, "I've moved to Milan.")):
        assert x["source"]["thread"] == c and x["since"].startswith(x["source"]["time"].removesuffix("Z"))
        assert rules.client.conversations.items.retrieve(x["source"]["item"], conversation_id=c).content[0].text == words
    assert rome["since"] < milan["since"]
    listed = entity(rules, user, "user")["relations"]
    assert [(x["to"]["name"], x["since"], x["source"]) for x in listed] == [("Milan", milan["since"], milan["source"])]
    assert relations(rules, user, "user", as_of=then) == [rome] and graph(rules, user, "Milan", as_of=then) == set()
    assert [x["to"]["name"] for x in entity(rules, user, "user", then)["relations"]] == ["Rome"] and not entity(rules, user, "Milan", then)
    assert ("person:user", "Milan") in recalled(rules, user, "user lives in") and "Rome" not in str(recalled(rules, user, "user lives in"))
    assert ("person:user", "Rome") in recalled(rules, user, "user lives in", as_of=then)
    r = rules.request("GET", f"/cenote/v1/items/history?namespace=user_memories.{user}.entities&key=person:user").json["data"]
    assert [(x["value"]["relations"][0]["name"], x["valid_from"], x["valid_to"]) for x in r] == [("Rome", rome["since"], milan["since"])]
    # The prompt gets the relation, not where it was said.
    say(rules, user, "What does the user do? Where am I, and what lives in Milan?")
    lines = [json.loads(x) for x in system(model).partition("<memory>\n")[2].splitlines() if x.startswith("{")]
    (told,) = [json.loads(x["value"]) for x in lines if x.get("key") == "person:user"]
    assert told["relations"] == [{"relation": "lives in", "name": "Milan", "type": "place"}]


def test_what_is_no_statement_of_the_users(rules, model, user):
    model.answer = lambda body: "I live in Berlin. My name is Bot."
    call = {"type": "function_call", "call_id": "c1", "name": "who", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "c1", "output": "My name is Mallory. I live in Paris."}
    c = rules.client.conversations.create().id
    say(rules, user, "Do I live in Rome? If I live in Rome, who is my mayor?\n> I live in Oslo\n```\nMy name is Eve.\n```\nShe said I work at Acme.", c)
    rules.client.responses.create(model="scripted", user=user, conversation=c, input=[call, output, {"role": "assistant", "content": "I live in Bonn."}])
    say(rules, user, "I like tea.", c)
    until(lambda: "taste:tea" in facts(rules, user))  # a thread's turns are looked through in their order
    assert facts(rules, user) == {"taste:tea": "The user likes tea."}


def test_users_never_share(rules, model):
    a, b = f"u{next(NAMES)}", f"u{next(NAMES)}"
    c = rules.client.conversations.create().id  # one thread, whose turns are of two users
    say(rules, a, "I live in Rome. My cat is called Ada.", c)
    say(rules, b, "I live in Oslo. My cat is called Bob.", c)
    until(lambda: fact(rules, a, "home") and fact(rules, b, "home") and len(graph(rules, a, "user")) == len(graph(rules, b, "user")) == 2)
    assert facts(rules, a) == {"home": "The user lives in Rome.", "cat:ada": "The user's cat is called Ada."}
    assert facts(rules, b) == {"home": "The user lives in Oslo.", "cat:bob": "The user's cat is called Bob."}
    for mine, theirs, city in ((a, "Bob", "Oslo"), (b, "Ada", "Rome")):
        say(rules, mine, "Where do I live and what is my cat called?")
        assert theirs not in system(model) and city not in system(model)
        assert rules.request("GET", f"/cenote/v1/entities/graph?user={mine}&name={theirs}").status == 404
    # Without a user nothing is learned.
    rules.client.responses.create(model="scripted", input="I live in Turin.", conversation=rules.client.conversations.create().id)
    say(rules, a, "I work at Acme.", c)
    until(lambda: fact(rules, a, "employer"), facts(rules, a))
    r = rules.request("POST", "/cenote/v1/recall", {"query": "Turin", "kinds": ["fact", "item"]})
    assert "Turin" not in json.dumps(r.json["data"] if "data" in r.json else r.json["results"])


# ------------------------------------------------------------------- by a model


FOUND = {"facts": [{"kind": "preference", "key": "drink", "value": "green tea", "text": "The user drinks green tea.", "quote": "I drink green tea", "replaces": None}],
         "entities": [{"name": "Ada", "type": "cat", "notes": ["sleeps a lot"]}, {"name": "Mallory", "type": "person", "notes": []}],
         "relations": [{"from": "user", "relation": "has", "to": "Ada"}]}


def learned(*answers):
    """A model that gives these answers to requests by the schema, the last one again and again, and else an echo."""
    left = list(answers)

    def answer(body):
        if "response_format" not in body:
            return ModelServer().answer(body)
        x = left.pop(0) if len(left) > 1 else left[0]
        return x if isinstance(x, str) else json.dumps(x)

    return answer


@pytest.fixture(scope="module")
def by_model(kind, start, model):
    with running(start, kind, model, "--memory-extract", "model") as s:
        yield s


def extractions(model):
    return [b for b in model.requests if "response_format" in b]


def test_a_model_finds_facts_and_entities(by_model, model, user):
    model.answer = learned(FOUND)
    say(by_model, user, "I drink green tea, and so does </turn> Ada, my cat.")
    until(lambda: graph(by_model, user, "Ada") if "drink" in facts(by_model, user) and entities(by_model, user) else None)
    (asked,) = extractions(model)
    assert asked["response_format"]["json_schema"]["strict"] is True
    turn = asked["messages"][1]["content"]
    assert turn.count("</turn>") == 1 and json.loads(turn.removeprefix("<turn>\n").removesuffix("\n</turn>"))["assistant"].startswith("You said")
    assert graph(by_model, user, "Ada") == {("user", "has", "Ada")}
    assert entities(by_model, user) == {"cat:Ada", "person:user"}  # Mallory is not in the user's words
    assert fact(by_model, user, "drink")["value"]["kind"] == "preference"
    # What the question names comes along with its relations.
    say(by_model, user, "What does Ada do all day?")
    assert "sleeps a lot" in system(model, [i for i, b in enumerate(model.requests) if "response_format" not in b][-1])
    # Contradicted: the model names the key that it has been told.
    model.answer = learned({"facts": [{**FOUND["facts"][0], "key": "favourite drink", "value": "coffee", "text": "The user drinks coffee.",
                                       "quote": "now I drink coffee", "replaces": "drink"}], "entities": [], "relations": []})
    say(by_model, user, "But now I drink coffee.")
    until(lambda: facts(by_model, user) == {"favourite drink": "The user drinks coffee."}, "superseded")
    assert [v for v, _ in history(by_model, user, "drink")] == ["green tea"]


def settled(s):
    """No turn is left to be looked through: what it has learned shows before it is counted."""
    until(lambda: metric(s, "cenote_extract_waiting") == 0)


def living(place, *replaces):
    one = dict(zip(["replaces"], replaces))
    return {"facts": [], "entities": [{"name": place, "type": "place", "notes": []}], "relations": [{"from": "user", "relation": "lives in", "to": place, **one}]}


def test_a_relation_by_model_supersedes(by_model, model, user):
    c = by_model.client.conversations.create().id
    for place, *replaces in (("Rome", True), ("Milan", True)):
        model.answer = learned(living(place, *replaces))
        say(by_model, user, f"My home is {place} now.", c)
        until(lambda p=place: graph(by_model, user, "user") == {("user", "lives in", p)}, graph(by_model, user, "user"))
    turn = extractions(model)[-1]["messages"][1]["content"]
    assert json.loads(turn.removeprefix("<turn>\n").removesuffix("\n</turn>"))["related"] == [{"relation": "lives in", "to": "Rome"}]
    relation = extractions(model)[-1]["response_format"]["json_schema"]["schema"]["properties"]["relations"]["items"]
    assert relation["properties"]["replaces"] == {"type": "boolean"} and "replaces" in relation["required"]
    (milan,) = relations(by_model, user, "user")
    assert by_model.client.conversations.items.retrieve(milan["source"]["item"], conversation_id=c).content[0].text == "My home is Milan now."
    assert "Rome" not in str(recalled(by_model, user, "user lives in"))
    # Several at a time; also of a model that does not say.
    for place, *replaces in (("Oslo", False), ("Bonn",)):
        model.answer = learned(living(place, *replaces))
        say(by_model, user, f"I have a flat in {place}, too.", c)
        until(lambda p=place: ("user", "lives in", p) in graph(by_model, user, "user"))
    assert {x[2] for x in graph(by_model, user, "user")} == {"Milan", "Oslo", "Bonn"}
    # What is not by the schema is asked for again.
    settled(by_model)
    repaired = metric(by_model, "cenote_extract_repaired_total")
    model.answer = learned(living("Bern", "yes"), living("Bern", True))
    say(by_model, user, "I have sold them all and live in Bern.", c)
    until(lambda: graph(by_model, user, "user") == {("user", "lives in", "Bern")}, graph(by_model, user, "user"))
    assert metric(by_model, "cenote_extract_repaired_total") == repaired + 1
    assert "relations.replaces must be true or false" in extractions(model)[-1]["messages"][-1]["content"]


def entities(s, user):
    return {f"{e['type']}:{e['name']}" for e in s.request("GET", f"/cenote/v1/entities?user={user}").json["data"]}


def test_malformed_answers(by_model, model, user):
    settled(by_model)
    repaired, malformed, done = (metric(by_model, f"cenote_extract_{x}_total") for x in ("repaired", "malformed", "turns"))
    model.answer = learned("Sure! Here it is.", FOUND)
    say(by_model, user, "I drink green tea.")
    until(lambda: "drink" in facts(by_model, user))
    first, second = extractions(model)
    assert len(first["messages"]) == 2 and [m["role"] for m in second["messages"]] == ["system", "user", "assistant", "user"]
    model.requests.clear()
    model.answer = learned("{", {"facts": "none"}, FOUND)
    say(by_model, user, "I drink green tea again.")
    until(lambda: metric(by_model, "cenote_extract_turns_total") == done + 2)
    assert len(extractions(model)) == 2
    assert metric(by_model, "cenote_extract_repaired_total") == repaired + 1 and metric(by_model, "cenote_extract_malformed_total") == malformed + 1


def test_made_up_quotes_are_left_out(by_model, model, user):
    settled(by_model)
    before = metric(by_model, "cenote_extract_ungrounded_total"), metric(by_model, "cenote_extract_turns_total")
    model.answer = learned({"facts": [{**FOUND["facts"][0], "quote": "I drink green tea"}], "entities": [], "relations": []})
    say(by_model, user, "What do I drink?")
    until(lambda: metric(by_model, "cenote_extract_turns_total") == before[1] + 1)
    assert facts(by_model, user) == {} and metric(by_model, "cenote_extract_ungrounded_total") == before[0] + 1


def test_killed_between_answer_and_extraction(kind, start, model, user):
    with running(start, kind, model, "--memory-extract", "model") as s:
        model.answer = learned(FOUND)
        model.script("ok", "hang")
        assert say(s, user, "I drink green tea.") == "You said: I drink green tea."
        until(lambda: len(extractions(model)) == 1)
        s.kill()
        s.start()
        until(lambda: facts(s, user) == {"drink": "The user drinks green tea."})
        until(lambda: metric(s, "cenote_extract_waiting") == 0)  # the note goes behind the fact


def test_a_model_that_is_down_is_asked_later(by_model, model, user):
    model.answer = learned(FOUND)
    model.script("ok", *["500"] * 3)
    say(by_model, user, "I drink green tea.")
    until(lambda: "drink" in facts(by_model, user))
    assert len(extractions(model)) == 4


# -------------------------------------------------------------------- summaries


def summing(body):
    """Sums up by counting; answers else with an echo."""
    if body["messages"][0]["content"].startswith("You keep the summary"):
        lines = [json.loads(x) for x in body["messages"][1]["content"].split("\n")[1:-1]]
        old = lines.pop(0)["summary"] + " " if "summary" in lines[0] else ""
        return old + "".join(f"[{x['text']}]" for x in lines if x["role"] == "user")
    return ModelServer().answer(body)


@pytest.fixture(scope="module")
def brief(kind, start, model):
    with running(start, kind, model, "--memory-summary", "on", "--memory-max-history", "4") as s:
        yield s


def test_a_summary_stands_for_what_fell_out(brief, model):
    c = brief.client.conversations.create().id
    model.answer = summing
    made = metric(brief, "cenote_summary_requests_total")
    for i in range(1, 4):
        brief.client.responses.create(model="scripted", input=f"m{i}", conversation=c)
        brief.client.conversations.items.list(c)
    until(lambda: metric(brief, "cenote_summary_requests_total") == made + 1)
    brief.client.responses.create(model="scripted", input="m4", conversation=c)
    sent = [b for b in model.requests if not b["messages"][0]["content"].startswith("You keep")][-1]["messages"]
    assert [m["content"] for m in sent[1:]] == ["You said: m2", "m3", "You said: m3", "m4"]
    assert "<summary>\n\"[m1][m2]\"\n</summary>" in sent[0]["content"]
    # The rows stay; with them the summary goes.
    assert len(list(brief.client.conversations.items.list(c, limit=100))) == 8
    until(lambda: metric(brief, "cenote_summary_requests_total") == made + 2)
    old = [b["messages"][1]["content"] for b in model.requests if b["messages"][0]["content"].startswith("You keep")]
    assert '{"summary":"[m1][m2]"}' in old[1] and "m1" not in old[1].replace('{"summary":"[m1][m2]"}', "")
    items = list(brief.client.conversations.items.list(c, order="asc", limit=100))
    brief.client.conversations.items.delete(items[0].id, conversation_id=c)
    brief.client.responses.create(model="scripted", input="m5", conversation=c)
    assert "<summary>" not in [b for b in model.requests if not b["messages"][0]["content"].startswith("You keep")][-1]["messages"][0]["content"]
    until(lambda: metric(brief, "cenote_summary_requests_total") == made + 3)  # behind that turn: it is not to be the next test's


def test_a_summary_is_not_told_of_what_came_later(brief, model):
    """Who goes on from an older response sees the thread as it was then, and not what the summary has learned since."""
    c = brief.client.conversations.create().id
    model.answer = summing
    made = metric(brief, "cenote_summary_requests_total")
    ids = [brief.client.responses.create(model="scripted", input=f"n{i}", conversation=c).id for i in range(1, 7)]
    until(lambda: metric(brief, "cenote_summary_requests_total") > made)

    def told(previous):
        brief.client.responses.create(model="scripted", input="and now?", previous_response_id=previous, store=False)
        sent = [b for b in model.requests if not b["messages"][0]["content"].startswith("You keep")][-1]["messages"]
        return sent[0]["content"], [m["content"] for m in sent[1:]]

    until(lambda: "[n4]" in told(ids[5])[0])
    system, rest = told(ids[2])
    assert "<summary>" not in system and rest == ["You said: n2", "n3", "You said: n3", "and now?"]


def test_a_summary_of_what_was_too_many_tokens(kind, start, model):
    """memory.history_tokens: of long messages fewer go to the model, and the summary stands for the rest."""
    model.answer = summing
    with running(start, kind, model, "--memory-summary", "on", "--memory-history-tokens", "100") as s:
        c = s.client.conversations.create().id
        made = metric(s, "cenote_summary_requests_total")
        for i in range(1, 4):
            s.client.responses.create(model="scripted", input=f"n{i} " + "x" * 197, conversation=c)
        until(lambda: metric(s, "cenote_summary_requests_total") > made)
        s.client.responses.create(model="scripted", input="now", conversation=c)
        sent = [b for b in model.requests if not b["messages"][0]["content"].startswith("You keep")][-1]["messages"]
        assert [m["content"][:12] for m in sent[1:]] == ["You said: n3", "now"] and "[n1 xxx" in sent[0]["content"]
        assert len(list(s.client.conversations.items.list(c, limit=100))) == 8


def test_too_long_for_the_model(brief, model):
    c = brief.client.conversations.create().id
    model.answer = summing
    brief.client.responses.create(model="scripted", input="m1", conversation=c)
    brief.client.responses.create(model="scripted", input="m2", conversation=c)
    model.requests.clear()
    model.script("window")
    r = brief.client.responses.create(model="scripted", input="m3", conversation=c)
    assert r.output_text == "You said: m3"
    assert [len(b["messages"]) for b in model.requests] == [5, 2, 3]
    assert "[m1]" in system(model) and [m["content"] for m in model.requests[-1]["messages"][1:]] == ["You said: m2", "m3"]
    assert len(list(brief.client.conversations.items.list(c, limit=100))) == 6
    # The turn waited for the summary: it is a step of it, and its tokens (as many as messages) are the turn's.
    (turn,) = [t for t in traces(brief) if t["thread"] == c and t["input_tokens"] == 5]
    spans = brief.request("GET", f"/cenote/v1/traces/{turn['trace_id']}").json["spans"]
    names = {x["span_id"]: x["name"] for x in spans}
    steps = [(x["name"], names.get(x["parent_id"])) for x in spans]
    assert steps == [("turn", None), ("resolve", "turn"), ("get", "turn"), ("save", "turn"), ("prompt", "turn"), ("summary", "prompt"),
                     ("chat scripted", "turn"), ("summarize", "turn"), ("chat scripted", "summarize"), ("prompt", "turn"), ("summary", "prompt"),
                     ("chat scripted", "turn"), ("save", "turn")]
    assert spans[7]["attributes"]["cenote.requests"] == 1 and spans[5]["attributes"]["cenote.covered"] == 0 < spans[10]["attributes"]["cenote.covered"] and r.usage.input_tokens == 5


def traces(s):
    return s.request("GET", "/cenote/v1/traces?limit=100").json["data"]


def test_work_behind_a_turn_has_a_trace(by_model, model, user):
    """One of its own that names the turn's, is its user's, and has the model's step with its tokens."""
    model.answer = learned(FOUND)
    c = by_model.client.conversations.create().id
    r = by_model.client.responses.with_raw_response.create(model="scripted", input="I drink green tea.", user=user, conversation=c)
    (one,) = until(lambda: [t for t in traces(by_model) if t["name"] == "remember" and t["user"] == user])
    whole = by_model.request("GET", f"/cenote/v1/traces/{one['trace_id']}").json
    assert one["thread"] == c and one["state"] == "OK" and whole["turn"] == r.headers["x-cenote-trace"] != one["trace_id"]
    assert [x["name"] for x in whole["spans"]] == ["remember", "get", "chat scripted", "save"]
    assert whole["spans"][3]["attributes"]["cenote.facts"] == 1 and one["input_tokens"] == 2 and "green tea" not in json.dumps(whole)
    turn = by_model.request("GET", f"/cenote/v1/traces/{whole['turn']}").json
    assert turn["turn"] is None and "note" in [x["name"] for x in turn["spans"]]


def test_too_long_without_summaries(rules, model):
    model.script("window")
    with pytest.raises(openai.BadRequestError) as e:
        rules.client.responses.create(model="scripted", input="hi", conversation=rules.client.conversations.create().id)
    assert "lower memory.max_history" in e.value.message and len(model.requests) == 1


# --------------------------------------------------------------------- entities


def test_entities_on_the_command_line(rules, user):
    mine = ("--user", user)
    for a, r, b in (("person:Ada", "works at", "organisation:Acme"), ("person:Bob", "works at", "acme"), ("person:Bob", "likes", "Tea")):
        rules.run("entities", "link", a, r, b, *mine, check=0)
    listed = json.loads(rules.run("entities", "list", "--json", *mine, check=0).stdout)
    assert [(e["type"], e["name"]) for e in listed] == [("organisation", "Acme"), ("person", "Ada"), ("person", "Bob"), ("thing", "Tea")]
    shown = rules.run("entities", "show", "Ada", "--hops", "3", "-o", "text", *mine, check=0).stdout
    assert all(", since 20" in x for x in shown.splitlines() if "--" in x)
    assert [x.split(", since")[0] for x in shown.splitlines()] == ["Ada (person)", "Acme (organisation)", "Bob (person)", "Tea (thing)", "Ada (person) -- works at -> Acme (organisation)",
                                  "Bob (person) -- works at -> Acme (organisation)", "Bob (person) -- likes -> Tea (thing)"]
    assert graph(rules, user, "ADA") == {("Ada", "works at", "Acme")}
    then = entity(rules, user, "Bob")["updated_at"]
    rules.run("entities", "link", "bob", "works at", "Initech", "--replace", *mine, check=0)
    assert ("Bob", "works at", "Initech") in graph(rules, user, "Bob") and ("Bob", "works at", "Acme") not in graph(rules, user, "Bob")
    assert "Acme" in rules.run("entities", "show", "Bob", "--as-of", then, *mine, check=0).stdout
    listed = json.loads(rules.run("entities", "list", "--as-of", then, "--json", *mine, check=0).stdout)
    assert [e["name"] for e in listed] == ["Acme", "Ada", "Bob", "Tea"] and "Initech" not in str(listed)
    assert rules.run("entities", "link", "bob", "likes", "tea", "--remove", "--replace", *mine).returncode != 0
    rules.run("entities", "link", "bob", "likes", "tea", "--remove", *mine, check=0)
    rules.run("entities", "rm", "Acme", "--yes", *mine, check=0)
    assert graph(rules, user, "Bob", 6) == {("Bob", "works at", "Initech")} and rules.run("entities", "show", "Acme", *mine).returncode != 0
    assert rules.run("entities", "list", "--json", check=0).stdout.strip() == "[]"  # the shared ones


@pytest.mark.parametrize("method, path, body, status", [
    ("GET", "/graph?name=", None, 422), ("GET", "/graph?name=nobody", None, 404), ("GET", "/graph?name=x&hops=7", None, 422),
    ("POST", "", {"name": "x" * 257}, 422), ("POST", "", {"name": "x", "notes": ["y" * 501]}, 422), ("POST", "", {"name": "!", "type": "a:b"}, 422),
    ("POST", "/relations", {"from": "a", "to": "b"}, 422),
    ("POST", "/relations", {"from": "a", "relation": "r", "to": "b", "replaces": 1}, 422), ("GET", "?as_of=yesterday", None, 422),
    ("GET", "/graph?name=x&as_of=2026", None, 422), ("POST", "/relations", {"from": "a", "relation": "r" * 65, "to": "b"}, 422),
    ("DELETE", "/relations?from=a", None, 422), ("DELETE", "?name=nobody", None, 404)])
def test_wrong_entities(rules, method, path, body, status):
    r = rules.request(method, "/cenote/v1/entities" + path, body)
    assert r.status == status, r
