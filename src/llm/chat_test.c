/* The driver for chat models against a scripted server: what it sends, what it takes, what it tries again, what it never says. */
#include "base/hash.h"
#include "base/test_util.h"
#include "http/test_peer.h"
#include "llm/chat.h"
#include "llm/impl.h"
#include "rt/work.h"

#include <signal.h>

#define KEY "sk-very-secret"
#define WORDS "my secret words"
#define HTTP(code, head, body) "HTTP/1.1 " code " X\r\n" head "\r\n" body
#define SSE(body) "|" HTTP("200", "Content-Type: text/event-stream\r\n", body)
#define CHUNK(delta, end) "data: {\"model\":\"m-1\",\"choices\":[{\"index\":0,\"delta\":" delta ",\"finish_reason\":" end "}]}\n\n"
#define WHOLE(message, end)                                                                                                        \
	"={\"model\":\"m-1\",\"choices\":[{\"index\":0,\"message\":" message ",\"finish_reason\":" end                             \
	"}],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2}}"
#define REFUSAL(code, text) "|" HTTP(code, "Connection: close\r\n", "{\"error\":{\"message\":\"" text "\"}}")

struct test {
	struct peer peer;
	struct llm *llm;
	struct arena a;
	bool stream;
	struct buf text; /* what was handed on */
	unsigned pieces;
	enum err stop_with; /* of on_text */
	bool more_time;	    /* on_text gives the fiber another deadline, as writing to a client does */
	void (*fn)(struct test *t);
};

static void in_fiber(void *arg)
{
	struct test *t = arg;

	t->fn(t);
}

static void run(void (*fn)(struct test *t), bool stream, const char *const *script, size_t n)
{
	struct test t = {.fn = fn, .stream = stream};
	static const struct outbound_header headers[] = {{STR_INIT("X-Org"), STR_INIT("org-9")}};
	static const struct llm_param defaults[] = {{"temperature", STR_INIT("0.25")}, {"max_tokens", STR_INIT("77")}};
	struct chat_options opt = {.model = STR("m"),
				   .headers = headers,
				   .headers_n = 1,
				   .defaults = defaults,
				   .defaults_n = 2,
				   .api_key = STR(KEY),
				   .concurrency = 4,
				   .timeout_ms = 60000,
				   .idle_ms = 30000,
				   .usage = true,
				   .backoff_ms = 2};

	t.peer.script = script;
	t.peer.script_n = n;
	peer_start(&t.peer);
	opt.base_url = str_c(t.peer.url);
	arena_init(&t.a, (size_t)64 << 20);
	buf_init(&t.text, NULL, 1 << 20);
	EXPECT(chat_open(&opt, &t.llm) == OK);
	run_in_loop(in_fiber, &t);
	llm_close(t.llm);
	peer_stop(&t.peer);
	buf_release(&t.text);
	arena_release(&t.a);
}
#define RUN(fn, stream, ...)                                                                                                       \
	do {                                                                                                                       \
		static const char *const script_[] = {__VA_ARGS__};                                                                \
		run((fn), (stream), script_, sizeof script_ / sizeof script_[0]);                                                  \
	} while (0)

static enum err on_text(void *ctx, struct str piece)
{
	struct test *t = ctx;

	t->pieces++;
	buf_str(&t->text, piece);
	if (t->more_time)
		fiber_set_deadline(deadline_in_ms(120000 + t->pieces));
	return t->stop_with;
}

static enum err ask(struct test *t, struct llm_answer *out)
{
	static const struct llm_message messages[] = {{.role = LLM_SYSTEM, .text = STR_INIT("be kind")},
						      {.role = LLM_USER, .text = STR_INIT(WORDS)}};
	const struct llm_request rq = {.messages = messages, .n = 2, .on_text = t->stream ? on_text : NULL, .ctx = t};

	return llm_chat(t->llm, &t->a, &rq, out);
}

/* The error and a part of its sentence, which holds neither key nor message. */
static void fails(struct test *t, enum err want, const char *part)
{
	struct llm_answer out;
	enum err e = ask(t, &out);

	if (e != want || !strstr(diag_get()->text, part) || strstr(diag_get()->text, KEY) || strstr(diag_get()->text, WORDS)) {
		fprintf(stderr, "wanted %s (%s), got %s: %s\n", err_name(want), part, err_name(e), diag_get()->text);
		abort();
	}
	EXPECT(out.finish == LLM_CUT);
}

/* ------------------------------------------------------------------ what it sends */

static void sends(struct test *t)
{
	static const struct llm_call call = {STR_INIT("c1"), STR_INIT("add"), STR_INIT("{\"a\":1}")};
	static const struct llm_message messages[] = {
		{.role = LLM_SYSTEM, .text = STR_INIT("be \"kind\"")},
		{.role = LLM_USER, .parts = STR_INIT("[{\"type\":\"text\",\"text\":\"x\"}]")},
		{.role = LLM_ASSISTANT, .calls = &call, .calls_n = 1},
		{.role = LLM_TOOL, .text = STR_INIT("1"), .call_id = STR_INIT("c1")},
	};
	static const struct llm_param params[] = {{"temperature", STR_INIT("0.5")}, {"max_tokens", STR_INIT("9")}};
	const struct llm_request rq = {.messages = messages,
				       .n = 4,
				       .tools = STR("[1]"),
				       .params = params,
				       .params_n = 2,
				       .on_text = t->stream ? on_text : NULL,
				       .ctx = t};
	struct llm_answer out;

	EXPECT(llm_chat(t->llm, &t->a, &rq, &out) == OK);
	EXPECT(strstr(t->peer.heads[0], "POST /v1/chat/completions HTTP/1.1\r\n"));
	EXPECT(strstr(t->peer.heads[0], "\r\nAuthorization: Bearer " KEY) && strstr(t->peer.heads[0], "\r\nX-Org: org-9\r\n"));
#define BODY                                                                                                                       \
	"{\"model\":\"m\",\"messages\":[{\"role\":\"system\",\"content\":\"be \\\"kind\\\"\"},{\"role\":\"user\",\"content\":["    \
	"{\"type\":\"text\",\"text\":\"x\"}]},{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"c1\",\"type\":"   \
	"\"function\",\"function\":{\"name\":\"add\",\"arguments\":\"{\\\"a\\\":1}\"}}]},{\"role\":\"tool\",\"content\":\"1\","    \
	"\"tool_call_id\":\"c1\"}],\"tools\":[1],\"temperature\":0.5,\"max_tokens\":9"
	EXPECT(strcmp(t->peer.bodies[0],
		      t->stream ? BODY ",\"stream\":true,\"stream_options\":{\"include_usage\":true}}" : BODY "}") == 0);
	/* What a request does not say is said by the settings. */
	EXPECT(llm_chat(t->llm, &t->a, &(struct llm_request){.messages = messages, .n = 1, .params = params, .params_n = 1},
			&out) == OK);
	EXPECT(strcmp(t->peer.bodies[1], "{\"model\":\"m\",\"messages\":[{\"role\":\"system\",\"content\":\"be \\\"kind\\\"\"}],"
					 "\"temperature\":0.5,\"max_tokens\":77}") == 0);
	EXPECT(llm_chat(t->llm, &t->a, &(struct llm_request){.messages = messages, .n = 1, .no_defaults = true}, &out) == OK);
	EXPECT(strcmp(t->peer.bodies[2],
		      "{\"model\":\"m\",\"messages\":[{\"role\":\"system\",\"content\":\"be \\\"kind\\\"\"}]}") == 0);
}

static void test_sends(void **state)
{
	(void)state;
	RUN(sends, false, WHOLE("{\"content\":\"x\"}", "\"stop\""), WHOLE("{\"content\":\"x\"}", "\"stop\""));
	RUN(sends, true, SSE(CHUNK("{\"content\":\"x\"}", "\"stop\"") "data: [DONE]\n\n"),
	    WHOLE("{\"content\":\"x\"}", "\"stop\""));
}

/* What endpoints of Databricks refuse is not sent there, and nowhere else is anything left out. */
static void body_is(const char *model, bool databricks, struct str id, const char *want)
{
	static const char tools[] = "[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"strict\":1},"
				    "\"str\\u0069ct\":true}},7]";
	const struct llm_call call = {id, STR("f"), STR("{}")};
	const struct llm_message messages[] = {{.role = LLM_ASSISTANT, .text = STR("x"), .calls = &call, .calls_n = 1},
					       {.role = LLM_TOOL, .text = STR("1"), .call_id = id}};
	const struct llm_request rq = {.messages = messages, .n = 2, .tools = str_c(tools)};
	const struct chat_body how = {.model = str_c(model), .databricks = databricks};
	struct arena a;
	struct buf out;
	char body[2048];

	snprintf(
		body, sizeof body,
		"{\"model\":\"%s\",\"messages\":[{\"role\":\"assistant\",\"content\":\"x\",\"tool_calls\":[{\"id\":\"%s\",\"type\":"
		"\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},{\"role\":\"tool\",\"content\":\"1\",\"tool_"
		"call_id\":"
		"\"%s\"}],\"tools\":%s}",
		model, want, want,
		databricks && !strcasestr(model, "gpt")
			? "[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"strict\":1}}},7]"
			: tools);
	arena_init(&a, 1 << 20);
	buf_init(&out, &a, 1 << 20);
	assert_int_equal(chat_body_write(&how, &rq, &out), OK);
	buf_byte(&out, '\0');
	assert_string_equal(out.p, body);
	arena_release(&a);
}

static void test_databricks(void **state)
{
	static const char *const models[] = {"databricks-claude-sonnet-4-5", "databricks-gpt-5", "My-GPT", "llama"};
	char exact[65], first[81], second[81], want[65];
	(void)state;

	memset(exact, 'i', 64);
	memset(first, 'i', 80);
	memset(second, 'i', 80);
	exact[64] = first[80] = second[80] = '\0';
	second[79] = 'k';
	for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
		body_is(models[i], true, str_c(exact), exact);
		body_is(models[i], false, str_c(exact), exact);
		body_is(models[i], false, str_c(first), first);
	}
	/* Two that begin alike stay two. */
	snprintf(want, sizeof want, "%.48s%016llx", first, (unsigned long long)hash64(str_c(first)));
	body_is("llama", true, str_c(first), want);
	snprintf(want, sizeof want, "%.48s%016llx", second, (unsigned long long)hash64(str_c(second)));
	body_is("llama", true, str_c(second), want);
}

/* ------------------------------------------------------------------ what it takes */

static void is_hello(struct test *t)
{
	struct llm_answer out;

	EXPECT(ask(t, &out) == OK);
	EXPECT(str_eq(out.text, STR("Hello, you")) && out.finish == LLM_STOP && out.calls_n == 0);
	EXPECT(str_eq(out.model, STR("m-1")) && out.tokens_in == 7 && out.tokens_out == 2);
	EXPECT(!t->stream || (str_eq(buf_slice(&t->text), out.text) && t->pieces > 1));
}

#define HELLO_LINES                                                                                                                \
	": a comment\nevent: x\nid: 4\n\n" CHUNK("{\"role\":\"assistant\",\"content\":\"\"}", "null")                              \
		CHUNK("{\"role\":\"assistant\",\"content\":\"Hel\"}",                                                              \
		      "null") "data:{\"choices\":[{\"delta\":{\"content\":["                                                       \
			      "{\"type\":\"reasoning\",\"text\":\"hm\"},{\"type\":\"text\",\"text\":\"lo, \"}]}}]}\r\n\r\n" CHUNK( \
				      "{\"content\":\"you\"}", "\"stop\"") "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7," \
									   "\"completion_tokens\":2}}\n\n"

static void test_takes_text(void **state)
{
	(void)state;
	RUN(is_hello, false, WHOLE("{\"role\":\"assistant\",\"content\":\"Hello, you\"}", "\"stop\""));
	RUN(is_hello, false,
	    WHOLE("{\"content\":[{\"type\":\"text\",\"text\":\"Hello, \"},{\"type\":\"text\",\"text\":\"you\"}]}", "null"));
	RUN(is_hello, true, SSE(HELLO_LINES "data: [DONE]\n\n"));
	RUN(is_hello, true, SSE(HELLO_LINES)); /* the end of the body is one, too */
	/* What is said has its end; then the connection is cut, or nothing comes any more. */
	RUN(is_hello, true, "|" HTTP("200", "Content-Length: 9999\r\n", HELLO_LINES));
	RUN(is_hello, true, HTTP("200", "Content-Length: 9999\r\n", HELLO_LINES));
	RUN(is_hello, true, "~" HTTP("200", "Connection: close\r\nContent-Length: 607\r\n", HELLO_LINES "data: [DONE]\n\n"));
}

/* The time that was given with each piece stays given; and what follows the end is not waited for as an answer is. */
static void keeps_more_time(struct test *t)
{
	uint64_t old = deadline_in_ms(100000), began = clock_mono_ns();

	fiber_set_deadline(old);
	t->more_time = true;
	is_hello(t);
	EXPECT(fiber_deadline() > old && fiber_deadline() != NEVER);
	EXPECT(clock_mono_ns() - began < UINT64_C(15000000000));
	fiber_set_deadline(NEVER);
}

static void test_more_time(void **state)
{
	(void)state;
	RUN(keeps_more_time, true, SSE(HELLO_LINES "data: [DONE]\n\n"));
	RUN(keeps_more_time, true, HTTP("200", "Content-Length: 9999\r\n", HELLO_LINES));
}

static void is_two_calls(struct test *t)
{
	struct llm_answer out;

	EXPECT(ask(t, &out) == OK);
	EXPECT(out.finish == LLM_CALLS && out.calls_n == 2 && out.text.n == 0);
	EXPECT(str_eq(out.calls[0].id, STR("c1")) && str_eq(out.calls[0].name, STR("add")));
	EXPECT(str_eq(out.calls[0].arguments, STR("{\"a\":1}")));
	EXPECT(str_eq(out.calls[1].id, STR("c2")) && str_eq(out.calls[1].name, STR("sub")));
	EXPECT(str_eq(out.calls[1].arguments, STR("{}")));
}

#define CALL(rest) "{\"tool_calls\":[{" rest "}]}"
static void test_takes_calls(void **state)
{
	(void)state;
	RUN(is_two_calls, false,
	    WHOLE("{\"content\":null,\"tool_calls\":[{\"id\":\"c1\",\"function\":{\"name\":\"add\",\"arguments\":\"{\\\"a\\\":1}\"}"
		  "},"
		  "{\"id\":\"c2\",\"function\":{\"name\":\"sub\",\"arguments\":{}}}]}",
		  "\"stop\""));
	/* Ids and names come again and again and are not joined. */
	RUN(is_two_calls, true,
	    SSE(CHUNK(CALL("\"index\":0,\"id\":\"c1\",\"function\":{\"name\":\"add\",\"arguments\":\"{\\\"a\"}"), "null")
			CHUNK(CALL("\"index\":0,\"id\":\"c1\",\"function\":{\"name\":\"add\",\"arguments\":\"\\\":1}\"}"), "null")
				CHUNK(CALL("\"index\":1,\"id\":\"c2\",\"function\":{\"name\":\"sub\"}"),
				      "\"tool_calls\"") "data: [DONE]\n\n"));
	/* No index: a new id opens a new call. */
	RUN(is_two_calls, true,
	    SSE(CHUNK(CALL("\"id\":\"c1\",\"function\":{\"name\":\"add\",\"arguments\":\"{\\\"a\"}"), "null")
			CHUNK(CALL("\"function\":{\"arguments\":\"\\\":1}\"}"), "null")
				CHUNK(CALL("\"id\":\"c2\",\"function\":{\"name\":\"sub\",\"arguments\":\"{}\"}"),
				      "\"tool_calls\"") "data: [DONE]\n\n"));
}

/* ------------------------------------------------------------------ failures */

static void again(struct test *t)
{
	is_hello(t);
	EXPECT(peer_requests(&t->peer) == 3);
}
static void broken_off(struct test *t)
{
	struct llm_answer out;

	EXPECT(ask(t, &out) == E_UPSTREAM && out.finish == LLM_CUT && str_eq(out.text, STR("Hel")));
	EXPECT(peer_requests(&t->peer) == 1); /* something was handed on */
}
static void stopped(struct test *t)
{
	struct llm_answer out;

	t->stop_with = E_CANCELLED;
	EXPECT(ask(t, &out) == E_CANCELLED && out.finish == LLM_CUT && str_eq(out.text, STR("Hel")) &&
	       peer_requests(&t->peer) == 1);
}

static void test_tries_again(void **state)
{
	static const char bad[] = REFUSAL("503", "later"), none[] = "!close", html[] = "=<html>";
	(void)state;
	RUN(again, false, bad, none, WHOLE("{\"content\":\"Hello, you\"}", "\"stop\""));
	RUN(again, false, html, "!reset", WHOLE("{\"content\":\"Hello, you\"}", "\"stop\""));
	RUN(again, true, bad, SSE("data: {\"choices\":"), SSE(HELLO_LINES));
	RUN(again, true, SSE(""), SSE("data: {\"error\":{\"message\":\"no\"}}\n\n"), SSE(HELLO_LINES));
	RUN(broken_off, true, SSE(CHUNK("{\"content\":\"Hel\"}", "null")));
	RUN(broken_off, true, SSE(CHUNK("{\"content\":\"Hel\"}", "null") "data: {\"error\":{\"message\":\"no\"}}\n\n"));
	RUN(stopped, true, SSE(CHUNK("{\"content\":\"Hel\"}", "null") CHUNK("{\"content\":\"lo\"}", "\"stop\"")));
}

static void key(struct test *t)
{
	fails(t, E_UPSTREAM, "refused the key");
}
static void model(struct test *t)
{
	fails(t, E_UPSTREAM, "knows no model \"m\"");
}
static void forbidden(struct test *t)
{
	fails(t, E_UPSTREAM, "Can query");
}
static void words(struct test *t)
{
	fails(t, E_INVALID, "refused the messages (400): temperature is too warm");
	EXPECT(peer_requests(&t->peer) == 1);
}
static void echo(struct test *t)
{
	fails(t, E_INVALID, "refused the messages (400)");
}
static void window(struct test *t)
{
	fails(t, E_INVALID, "memory.max_history");
	EXPECT(diag_get()->kind == ERR_SIZE);
}
static void rate(struct test *t)
{
	fails(t, E_BUSY, "too many requests");
	EXPECT(diag_get()->kind == ERR_RATE && diag_get()->retry_after_s == 90 && peer_requests(&t->peer) == 1);
}
static void no_answer(struct test *t)
{
	fails(t, E_CORRUPT, "choices[0].message");
}
static void nameless(struct test *t)
{
	fails(t, E_CORRUPT, "without a name");
}

/* A caller may look at what came before it. */
static void second_nameless(struct test *t)
{
	struct llm_answer out;

	EXPECT(ask(t, &out) == E_CORRUPT && out.finish == LLM_CUT && out.calls_n == 1);
	EXPECT(str_eq(out.calls[0].id, STR("a")) && str_eq(out.calls[0].name, STR("x")));
}

static void test_refusals(void **state)
{
	(void)state;
	for (int stream = 0; stream < 2; stream++) {
		RUN(key, stream, REFUSAL("401", "bad key " KEY));
		RUN(model, stream, REFUSAL("404", "no"));
		RUN(forbidden, stream, REFUSAL("403", "no"));
		RUN(words, stream, REFUSAL("400", "temperature is too warm"));
		RUN(echo, stream, REFUSAL("400", "I do not like '" WORDS "'"));
		RUN(echo, stream, REFUSAL("400", "who is org-9?"));
		RUN(window, stream, REFUSAL("400", "This model's maximum context length is 8 tokens"));
		RUN(rate, stream, HTTP("429", "Retry-After: 90\r\nContent-Length: 2\r\n", "{}"));
	}
	RUN(no_answer, false, "={\"choices\":[]}");
	RUN(nameless, false, WHOLE("{\"tool_calls\":[{\"id\":\"x\",\"function\":{}}]}", "\"tool_calls\""));
	RUN(second_nameless, false,
	    WHOLE("{\"tool_calls\":[{\"id\":\"a\",\"function\":{\"name\":\"x\"}},{\"id\":\"b\",\"function\":{\"arguments\":\"{}\"}}"
		  "]}",
		  "\"tool_calls\""));
}

static void test_open(void **state)
{
	struct chat_options opt = {
		.base_url = STR("ftp://x"), .model = STR("m"), .concurrency = 1, .timeout_ms = 1000, .idle_ms = 1000};
	struct llm *l;
	(void)state;

	assert_int_equal(chat_open(&opt, &l), E_INVALID);
	assert_non_null(strstr(diag_get()->text, "llm.base_url"));
	opt.base_url = STR("http://127.0.0.1:1/v1");
	opt.model = STR("");
	assert_int_equal(chat_open(&opt, &l), E_INVALID);
	assert_non_null(strstr(diag_get()->text, "llm.model"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_open),	       cmocka_unit_test(test_sends),
					   cmocka_unit_test(test_takes_text),  cmocka_unit_test(test_more_time),
					   cmocka_unit_test(test_takes_calls), cmocka_unit_test(test_tries_again),
					   cmocka_unit_test(test_refusals),    cmocka_unit_test(test_databricks)};
	signal(SIGPIPE, SIG_IGN);
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	work_stop();
	return failed;
}
