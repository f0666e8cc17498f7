"""Traces of turns: what a real MLflow server shows of a conversation, what any collector gets, what is kept and who may see it, and what never is in one."""
import itertools
import json
import os
import re
import time

import openai
import pytest

from collector import Collector, Mlflow
from embed_server import EmbedServer
from mcp_server import McpServer, tool
from stub import Stub

PARENT = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-03"
SECRET = "marmalade"
SAVE = {"id": "call_1", "type": "function", "function": {"name": "save_user_memory",
                                                         "arguments": json.dumps({"memory_key": "spread", "memory_data_json": f'{{"likes": "{SECRET}"}}'})}}
FIND = {"id": "call_2", "type": "function", "function": {"name": "get_user_memory", "arguments": '{"query": "%s"}' % SECRET}}
DROP = {"id": "call_3", "type": "function", "function": {"name": "delete_user_memory", "arguments": '{"memory_key": "spread"}'}}


def memory_model(body):
    """Saves, then looks, then deletes, then answers."""
    done = sum(m["role"] == "tool" for m in body["messages"])
    last = body["messages"][-1]
    if last["role"] == "user" and "like" not in last["content"]:
        return "You said: " + last["content"]
    return {"tool_calls": [(SAVE, FIND, DROP)[done]]} if done < 3 else f"You like {SECRET}."


@pytest.fixture(autouse=True)
def calm(model):
    model.answer = memory_model
    model.script()
    model.requests.clear()


def ask(s, text, thread="t1", user="ann", headers=None, **more):
    return s.request("POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": text}], "user": user, "metadata": {"thread_id": thread}, **more},
                     headers)


def learned(s):
    """Until what was said has been looked through."""
    end = time.monotonic() + 30
    while "cenote_extract_waiting 0\n" not in s.request("GET", "/metrics").body.decode():
        assert time.monotonic() < end


def options(model, *more):
    return ("--llm-base-url", model.url, "--llm-model", "scripted", *more)


# ------------------------------------------------------------------ MLflow


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory):
    if not Mlflow.installed() and os.environ.get("REQUIRE_ALL", "0") != "1":
        pytest.skip("MLflow is not installed: make build/mlflow/ok")
    with Mlflow(tmp_path_factory.mktemp("mlflow")) as m:
        yield m


@pytest.mark.stores("sqlite")
def test_mlflow_shows_a_conversation(kind, start, model, mlflow):
    exp = mlflow.experiment("a conversation")
    with start(kind, *options(model, "--traces-content", "--traces-timeout", "60s", "--traces-shutdown-timeout", "60s"),
               env={"MLFLOW_TRACKING_URI": mlflow.url + "/", "MLFLOW_EXPERIMENT_ID": exp}) as s:
        assert s.request("PUT", "/cenote/v1/items?namespace=user_memories.ann&key=taste", {"text": "I like quince."}).status in (200, 201, 204)
        first = ask(s, "My cat is called Ada.")
        with openai.OpenAI(api_key="x", base_url=s.url + "/v1", default_headers={"X-Cenote-Thread": "t1"}) as client:
            stream = client.responses.create(model="scripted", input="Do I like quince?", user="ann", stream=True)
            assert any(e.type == "response.completed" for e in stream)
        model.script("400", "400")  # with tools, and without them
        bad = ask(s, "Again?", "t2", "bob")
        joined = ask(s, "Hello", headers={"traceparent": PARENT})
        assert (first.status, bad.status, joined.status) == (200, 400, 200)
        learned(s)
        assert s.stop() == 0  # what waits is sent before the end
        assert not [x for x in s.log if "could not be sent" in x]
    shown = {t["trace_id"]: t for t in mlflow.traces(exp)}
    assert len(shown) == 6 and mlflow.traces(exp, "trace.name = 'setup_memory_store'")
    one = shown["tr-" + first.headers["x-cenote-trace"]]
    # What was learned behind it is found by it, is its user's, and no turn of the session.
    (behind,) = mlflow.traces(exp, f"tags.`cenote.turn` = '{one['trace_id']}'")
    assert behind["tags"]["mlflow.traceName"] == "remember" and behind["trace_metadata"]["mlflow.trace.user"] == "ann"
    assert "mlflow.trace.session" not in behind["trace_metadata"]
    assert one["state"] == "OK" and one["request_preview"] == "My cat is called Ada." and one["response_preview"] == "You said: My cat is called Ada."
    assert one["trace_metadata"]["mlflow.trace.session"] == "t1" and one["trace_metadata"]["mlflow.trace.user"] == "ann"
    assert json.loads(one["trace_metadata"]["mlflow.trace.tokenUsage"])["output_tokens"] == 7 and one["tags"]["cenote.version"]
    assert len(mlflow.traces(exp, "metadata.`mlflow.trace.session` = 't1'")) == 3
    # The refused one says so; its id was in the answer.
    wrong = shown["tr-" + bad.json["error"]["trace_id"]]
    assert wrong["state"] == "ERROR" and wrong["trace_metadata"]["mlflow.trace.user"] == "bob"
    # The caller's trace has the turn below the caller's span.
    spans = mlflow.spans("tr-" + PARENT[3:35])
    root = next(x for x in spans if x["name"] == "turn")
    assert root["parent_span_id"] == "APBnqgupArc=" and joined.headers["x-cenote-trace"] == PARENT[3:35]  # 00f067aa0ba902b7
    # The streamed one with its tools.
    (two,) = [t for t in shown.values() if t.get("request_preview") == "Do I like quince?"]
    spans = mlflow.spans(two["trace_id"])
    kinds = [(x["name"], x["attributes"]["mlflow.spanType"]) for x in spans]
    assert kinds == [("turn", "AGENT"), ("resolve", "CHAIN"), ("get", "MEMORY"), ("save", "MEMORY"), ("prompt", "CHAIN"), ("recall", "RETRIEVER"),
                     ("chat scripted", "CHAT_MODEL"),
                     ("save_user_memory", "TOOL"), ("save_memory", "MEMORY"), ("store_put", "CHAIN"), ("save", "MEMORY"), ("chat scripted", "CHAT_MODEL"),
                     ("get_user_memory", "TOOL"), ("search_memories", "RETRIEVER"), ("store_search", "CHAIN"), ("save", "MEMORY"),
                     ("chat scripted", "CHAT_MODEL"), ("delete_user_memory", "TOOL"), ("delete_memory", "MEMORY"), ("save", "MEMORY"),
                     ("chat scripted", "CHAT_MODEL"), ("save", "MEMORY")]
    chat, recall = spans[6]["attributes"], spans[5]["attributes"]
    assert chat["mlflow.spanInputs"]["messages"][-1]["content"] == "Do I like quince?" and chat["mlflow.llm.model"] == "scripted"
    assert chat["mlflow.spanOutputs"]["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "save_user_memory"
    assert recall["mlflow.spanInputs"] == {"query": "Do I like quince?"}
    (at,) = [i for i, d in enumerate(recall["mlflow.spanOutputs"]) if d.get("id") == "taste"]
    document = recall["mlflow.spanOutputs"][at]
    assert "quince" in document["page_content"] and document["metadata"]["kind"] == "item"
    # OpenInference's words for the same.
    name = f"retrieval.documents.{at}.document."
    assert recall[name + "id"] == "taste" and recall[name + "content"] == json.loads(document["page_content"]) and 0 <= recall[name + "score"] <= 1


# ------------------------------------------------------------- a collector


@pytest.fixture
def collector():
    with Collector() as c:
        yield c


def test_steps_of_memory_without_contents(kind, start, model, collector):
    """Names, types and fields of the memory's steps, on both stores; nothing that was said, unless it is wanted."""
    with start(kind, *options(model, "--traces-endpoint", collector.url + "/v1/traces", "--traces-experiment", "7"),
               env={"CENOTE_TRACES_HEADERS": "X-Key=k%2Cey", "CENOTE_TRACES_TOKEN": "tok-secret"}) as s:
        r = ask(s, f"What do I like? {SECRET}", user="ann@example.com", temperature=0.5, max_tokens=20)
        assert r.status == 200
        spans = {x["name"]: x for x in collector.wait_spans(23)}
        path, headers, _, _ = collector.requests[0]
        body = b"".join(r[2] for r in collector.requests)
        assert path == "/v1/traces" and headers["Content-Type"] == "application/x-protobuf" and headers["x-mlflow-experiment-id"] == "7"
        assert headers["X-Key"] == "k,ey" and headers["Authorization"] == "Bearer tok-secret"
        assert "traceparent" not in {k.lower() for k in headers}
        assert SECRET.encode() not in body and b"What do I" not in body
        log = "".join(s.log)
        assert "tok-secret" not in log and "k,ey" not in log and SECRET not in log
        assert f'"trace_id":"{r.headers["x-cenote-trace"]}"' in log
        out = s.run("config", "print", "--all", env={"CENOTE_TRACES_TOKEN": "tok-secret"}).stdout
        assert "tok-secret" not in out
        while "cenote_traces_queue_length 0\n" not in (metrics := s.request("GET", "/metrics").body.decode()):
            pass  # the answer is on its way
        assert re.search(r"^cenote_traces_exported_total 2$", metrics, re.M) and re.search(r"^cenote_traces_exported_spans_total 23$", metrics, re.M)
    setup = spans.pop("setup_memory_store")  # when the server began
    assert setup["attributes"]["mlflow.spanType"] == "MEMORY" and setup["attributes"]["status"] == "success"
    assert setup["attributes"]["instance_name"].startswith(kind[:6]) and setup["attributes"]["embedding_endpoint"]
    assert {x["trace"] for x in spans.values()} == {r.headers["x-cenote-trace"]}
    root = spans["turn"]
    assert root["parent"] == "" and root["status"] == 1 and root["attributes"]["session.id"] == "t1" and root["attributes"]["user.id"] == "ann@example.com"
    resolve, prompt = spans["resolve"]["attributes"], spans["prompt"]["attributes"]
    assert resolve["cenote.user"] == "ann@example.com" and resolve["cenote.thread"] == "t1" and resolve["cenote.thread_made"] is False
    assert prompt["cenote.messages"] == 2 and prompt["cenote.memories"] == 0 and prompt["cenote.cut"] is False
    parents = {name: next(p["name"] for p in spans.values() if p["id"] == spans[name]["parent"])
               for name in ("resolve", "prompt", "recall", "save_memory", "store_put", "search_memories", "store_search", "delete_memory")}
    assert parents == {"resolve": "turn", "prompt": "turn", "recall": "prompt", "save_memory": "save_user_memory", "store_put": "save_memory", "search_memories": "get_user_memory",
                       "store_search": "search_memories", "delete_memory": "delete_user_memory"}
    put, search, gone = (spans[n]["attributes"] for n in ("store_put", "store_search", "delete_memory"))
    assert put["user_id"] == "ann@example.com" and put["memory_key"] == "spread" and json.loads(put["data_keys"]) == ["likes"] and put["status"] == "success"
    assert search["user_id"] == "ann@example.com" and search["limit"] == 5 and search["result_count"] == 1 and json.loads(search["keys"]) == ["spread"]
    assert "query" not in search and gone["memory_key"] == "spread" and gone["status"] == "success"
    assert all(x["start"] <= x["end"] and root["start"] <= x["start"] and x["end"] <= root["end"] for x in spans.values())
    words_of_others(spans)


def words_of_others(spans):
    """What OpenTelemetry's conventions for generative AI and OpenInference call it; of documents no contents."""
    root, chat, tool, found = (spans[n]["attributes"] for n in ("turn", "chat scripted", "get_user_memory", "search_memories"))
    assert root["gen_ai.operation.name"] == "invoke_agent" and root["gen_ai.conversation.id"] == root["session.id"] and root["openinference.span.kind"] == "AGENT"
    assert chat["gen_ai.operation.name"] == "chat" and chat["gen_ai.provider.name"] == chat["llm.provider"] == "openai"
    assert chat["gen_ai.request.model"] == chat["gen_ai.response.model"] == chat["llm.model_name"] == chat["mlflow.llm.model"] == "scripted"
    tokens = chat["gen_ai.usage.input_tokens"], chat["gen_ai.usage.output_tokens"]
    assert tokens == (chat["llm.token_count.prompt"], chat["llm.token_count.completion"]) and sum(tokens) == chat["llm.token_count.total"] > 0
    assert json.loads(chat["mlflow.chat.tokenUsage"])["total_tokens"] == sum(tokens)
    assert chat["gen_ai.conversation.id"] == "t1" and json.loads(chat["llm.invocation_parameters"]) == {"temperature": 0.5, "max_tokens": 20}
    assert chat["openinference.span.kind"] == "LLM" and tool["openinference.span.kind"] == "TOOL"
    assert tool["tool.name"] == tool["gen_ai.tool.name"] == "get_user_memory" and tool["gen_ai.operation.name"] == "execute_tool"
    assert found["openinference.span.kind"] == "RETRIEVER" and found["retrieval.documents.0.document.id"] == "spread"
    assert not [k for x in spans.values() for k in x["attributes"] if k.endswith("document.content") or k == "retrieval.documents"]


@pytest.mark.stores("sqlite")
def test_callers_traces(kind, start, model, collector):
    """Joined with bit 0 alone; a session only when the caller named the thread; an error that somebody sends on is found again."""
    with start(kind, *options(model), env={"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_EXPORTER_OTLP_HEADERS": "a=b"}) as s:
        off = ask(s, "Hello", headers={"traceparent": PARENT[:-2] + "02"})
        assert off.headers["x-cenote-trace"] == PARENT[3:35]
        no = ask(s, "Hello", headers={"traceparent": PARENT.upper()})
        assert no.headers["x-cenote-trace"] != PARENT[3:35]
        on = s.request("POST", "/invocations", {"input": [{"role": "user", "content": "Hello"}]}, {"traceparent": PARENT, "tracestate": "v=1"})
        assert on.status == 200, on
        # Whatever is asked with a trace is found by it, errors too.
        r = s.request("GET", "/cenote/v1/items?namespace=a&key=b", headers={"traceparent": PARENT})
        assert r.status == 404 and r.json["trace_id"] == PARENT[3:35]
        collector.wait_spans(15)
        s.stop()
        assert sum(PARENT[3:35] in x and '"logger":"http"' in x for x in s.log) == 3
    roots = [x for x in collector.spans() if x["name"] == "turn"]
    assert {x["trace"] for x in roots} == {no.headers["x-cenote-trace"], PARENT[3:35]}
    mine = next(x for x in roots if x["trace"] == PARENT[3:35])
    assert mine["parent"] == PARENT[36:52] and mine["state"] == "v=1" and "session.id" not in mine["attributes"]
    assert collector.requests[0][1]["a"] == "b"


class Service(Stub):
    """An HTTP tool that keeps the headers that came."""

    def __init__(self):
        self.headers = []

    def handle(self, h):
        self.headers.append(dict(h.headers))
        h.send_response(200)
        h.send_header("Content-Length", "2")
        h.end_headers()
        h.wfile.write(b"ok")


def contexts(headers):
    return [(h.get("traceparent"), h.get("tracestate")) for h in ({k.lower(): v for k, v in one.items()} for one in headers)]


@pytest.mark.stores("sqlite")
def test_services_go_on_with_the_trace(kind, start, model, collector, tmp_path):
    """What a step asks of others carries the step's id; where the step is not sent to a collector, the caller's context goes on as it came, or none."""
    def two_tools(body):
        calls = [{"id": f"c{i}", "type": "function", "function": {"name": n, "arguments": "{}"}} for i, n in enumerate(("look", "echo"))]
        return "Well." if any(m["role"] == "tool" for m in body["messages"]) else {"tool_calls": calls}

    model.answer, number = two_tools, itertools.count()
    model.headers.clear()
    collects = ("--traces-endpoint", collector.url + "/v1/traces")
    with Service() as service, McpServer(tool("echo")) as mcp, EmbedServer() as encoder:
        path = tmp_path / "tools.json"
        path.write_text(json.dumps({"tools": [{"name": "look", "description": "d", "url": service.url + "/"}, {"mcp": "m", "url": mcp.url + "/mcp"}]}))
        with_all = options(model, "--tools-file", str(path), "--tools-allow-hosts", f"{service.host},{mcp.host}", "--embed-kind", "remote",
                           "--embed-base-url", encoder.url, "--embed-model", "scripted", "--embed-dims", "8")

        def seen():
            calls = [h for method, _, h in mcp.seen if method == "tools/call"]
            question = [h for body, h in zip(encoder.requests, encoder.headers) if len(body["input"]) == 1 and "do I like" in body["input"][0]]
            got = [contexts(x) for x in (model.headers, service.headers, calls, question)]
            for x in (model.headers, model.requests, service.headers, mcp.seen, encoder.requests, encoder.headers):
                x.clear()
            return got

        def turn(s, **headers):
            assert s.logged("tools of an MCP server")
            assert s.request("PUT", "/cenote/v1/items?namespace=user_memories.ann&key=a&wait=indexed", {"text": "I like quince."}).status in (200, 201)
            return ask(s, f"What do I like, {next(number)}?", headers=headers).headers["x-cenote-trace"]  # vectors of questions are kept

        with start(kind, *with_all, *collects) as s:
            mine = turn(s)
            chats, look, echo, embed = seen()
            joined = turn(s, traceparent=PARENT, tracestate="v=1,w=2")
            theirs = seen()
            assert joined == PARENT[3:35]
            off = turn(s, traceparent=PARENT[:-2] + "00")
            assert off == joined and {c for x in seen() for c in x} == {(PARENT[:-2] + "00", None)}
            s.stop()
        spans = {"00-%s-%s-01" % (x["trace"], x["id"]): x for x in collector.spans()}
        names = [[spans[p]["name"] for p, _ in x] for x in (chats, look, echo, embed)]
        assert names == [["chat scripted", "chat scripted"], ["look"], ["echo"], ["embed"]]
        assert {spans[p]["trace"] for x in (chats, look, echo, embed) for p, _ in x} == {mine} and len(set(chats)) == 2
        assert {state for x in (chats, look, echo, embed) for _, state in x} == {None}
        assert {(spans[p]["trace"], state) for x in theirs for p, state in x} == {(joined, "v=1,w=2")}
        with start(kind, *with_all) as s:  # no collector
            turn(s)
            assert {c for x in seen() for c in x} == {(None, None)}
            turn(s, traceparent=PARENT, tracestate="v=1")
            assert {c for x in seen() for c in x} == {(PARENT[:-2] + "01", "v=1")}


@pytest.mark.stores("sqlite")
def test_a_collector_that_refuses(kind, start, model, collector):
    """What passes is sent later; what is refused is dropped, with what to do about it."""
    with start(kind, *options(model, "--traces-endpoint", collector.url + "/v1/traces")) as s:
        collector.wait(1)  # that the memory was set up
        collector.script(503, 403)
        assert ask(s, "one").status == 200
        collector.wait(3)
        assert ask(s, "two").status == 200
        collector.wait(4)
        s.stop()
    assert [x["status"] for x in collector.spans() if x["name"] == "turn"] == [1]
    log = [json.loads(x) for x in s.log if '"logger":"traces"' in x]
    (refused,) = [x for x in log if "refused" in x["msg"]]
    assert refused["count"] == 1 and "answered 403" in refused["err"] and "MLFLOW_SERVER_ALLOWED_HOSTS" in refused["err"]
    assert [x["status"] for x in log if "they wait" in x["msg"]] == [503]


@pytest.mark.stores("sqlite")
def test_a_collector_that_is_away(kind, start, model):
    """No request waits for it, what does not fit is dropped and counted, it is told once, and the end is not held up."""
    with Collector() as gone:
        url = gone.url
    with start(kind, *options(model, "--traces-endpoint", url + "/v1/traces", "--traces-queue", "3")) as s:
        for i in range(8):
            assert ask(s, f"more {i}").status == 200
        dropped = int(re.search(r'cenote_traces_dropped_total{reason="queue"} (\d+)', s.request("GET", "/metrics").body.decode())[1])
        assert 1 <= dropped <= 6
        assert s.stop() == 0
    log = [json.loads(x) for x in s.log if '"logger":"traces"' in x]
    assert len([x for x in log if "cannot be reached" in x["msg"] and x["url"] == url + "/v1/traces"]) == 1


# ---------------------------------------------------------------- kept


@pytest.mark.stores("sqlite")
def test_who_sees_which(kind, start, model):
    with start(kind, *options(model, "--auth", "keys", "--traces-keep", "3")) as s:
        key = {n: json.loads(s.run("key", "create", "--json", "--name", n, *a, check=0).stdout)["key"]
               for n, a in (("a", ("--tenant", "acme")), ("b", ("--tenant", "bolt")), ("ann", ("--tenant", "acme", "--for-user", "ann")),
                            ("bob", ("--tenant", "acme", "--for-user", "bob")))}
        head = {n: {"Authorization": f"Bearer {k}"} for n, k in key.items()}
        ids = [ask(s, f"Hello {i}", "t-" + who, who, head[who]).headers["x-cenote-trace"] for i, who in enumerate(("ann", "ann", "bob", "ann"))]

        def seen(who, path="/cenote/v1/traces"):
            return [t["trace_id"] for t in s.request("GET", path, headers=head[who]).json["data"]]

        assert seen("a") == ids[:0:-1] and seen("ann") == [ids[3], ids[1]] and seen("bob") == [ids[2]] and seen("b") == []
        assert seen("a", "/cenote/v1/traces?limit=1") == ids[3:]
        for who, want in (("a", 200), ("ann", 404), ("bob", 200), ("b", 404)):
            r = s.request("GET", f"/cenote/v1/traces/tr-{ids[2]}", headers=head[who])
            assert r.status == want, (who, r)
        assert r.status == 404 and "Hello" not in r.body.decode()
        assert s.request("GET", "/cenote/v1/traces/x", headers=head["a"]).status == 422
        assert s.request("GET", f"/cenote/v1/traces/{ids[0]}", headers=head["a"]).status == 404  # there was room for three


@pytest.mark.stores("sqlite")
def test_on_the_command_line(kind, start, model):
    with start(kind, *options(model, "--traces-content")) as s:
        id = ask(s, "What do I like?").headers["x-cenote-trace"]
        listed = s.run("traces", check=0).stdout.splitlines()
        assert len(listed) == 1 and json.loads(listed[0])["trace_id"] == id
        tree = s.run("traces", id, "-o", "text", check=0).stdout
        lines = tree.splitlines()
        assert id in lines[0] and "thread t1" in lines[0] and "user ann" in lines[0]
        assert len(lines) == 23 and lines[1].startswith("turn ") and re.match(r"├─ save_user_memory +TOOL .* [0-9.]+ ms$", lines[8])
        assert re.match(r"│  └─ save_memory +MEMORY ", lines[9]) and re.match(r"│     └─ store_put +CHAIN ", lines[10])
        assert SECRET not in tree and SECRET in s.run("traces", id, "-o", "text", "-v", check=0).stdout
        whole = json.loads(s.run("traces", id, "--json", check=0).stdout)
        assert [x["name"] for x in whole["spans"]][:3] == ["turn", "resolve", "get"] and whole["input_tokens"] > 0
        assert whole["spans"][0]["input"]["input"][0]["content"] == "What do I like?"
        r = s.run("traces", "0" * 31 + "1")
        assert r.returncode == 3 and "traces.keep" in r.stderr
