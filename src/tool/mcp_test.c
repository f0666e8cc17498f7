/* The client for MCP: events however they are cut, answers to requests, results as text, lists of tools. */
#include "base/test_util.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "http/test_peer.h"
#include "tool/mcp_impl.h"

/* ------------------------------------------------------------------------ events */

static enum err note(void *ctx, struct str data)
{
	buf_str(ctx, data);
	buf_byte(ctx, '|');
	return OK;
}

static void test_events(void **state)
{
	static const char stream[] = ": hello\r\nid: 1\r\ndata:\r\n\r\nevent: message\ndata: {\"a\":\ndata:1}\nretry: 5\n\n\n"
				     "data: 2\r\n\r\ndatum: 3\n\ndata\n\ndata: 4\n";
	struct str s = str_c(stream);
	(void)state;

	for (size_t step = 1; step <= s.n; step++) {
		struct mcp_events ev;
		struct buf seen;

		buf_init(&seen, NULL, 4096);
		mcp_events_init(&ev);
		for (size_t at = 0; at < s.n; at += step)
			OKAY(mcp_events_feed(&ev, str_sub(s, at, at + step), note, &seen));
		assert_str(buf_slice(&seen), "{\"a\":\n1}|2|"); /* an event that does not end is none */
		mcp_events_release(&ev);
		buf_release(&seen);
	}
}

static void test_events_are_bounded(void **state)
{
	static char line[65536];
	const char *const kinds[] = {"x", "data:x\n"};
	(void)state;

	for (size_t k = 0; k < 2; k++) {
		size_t n = strlen(kinds[k]);
		struct mcp_events ev;
		struct buf seen;
		enum err e = OK;

		for (size_t i = 0; i < sizeof line; i++)
			line[i] = kinds[k][i % n];
		buf_init(&seen, NULL, 4096);
		mcp_events_init(&ev);
		for (size_t bytes = 0; e == OK; bytes += sizeof line) {
			assert_true(bytes < 8 * MCP_ANSWER_MAX);
			e = mcp_events_feed(&ev, str_of(line, sizeof line / n * n), note, &seen);
		}
		assert_int_equal(e, E_LIMIT);
		assert_int_equal(seen.n, 0);
		mcp_events_release(&ev);
		buf_release(&seen);
	}
}

/* ----------------------------------------------------------------------- answers */

static void test_answers(void **state)
{
	static const struct {
		const char *text, *want; /* want NULL: it is no answer to this request; "!..": an error with that in it */
	} cases[] = {
		{"{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{\"x\":1}}", "{\"x\":1}"},
		{"{\"id\":7.0,\"result\":{}}", "{}"},
		{"{\"id\":8,\"result\":{}}", NULL},
		{"{\"id\":\"7\",\"result\":{}}", NULL},
		{"{\"id\":7,\"method\":\"ping\"}", NULL},
		{"{\"method\":\"notifications/progress\",\"params\":{}}", NULL},
		{"{\"id\":8,\"error\":{\"code\":1,\"message\":\"of another\"}}", NULL},
		{"[]", NULL},
		{"7", NULL},
		{"{\"id\":7}", "!no result"},
		{"{\"id\":7,\"result\":[]}", "!no result"},
		{"{\"id\":7,\"error\":{\"code\":-32602,\"message\":\"a\\nb\"},\"result\":{}}", "!refuses this (-32602): a b"},
		{"{\"id\":7,\"error\":\"x\"}", "!refuses this (0)"},
		{"{\"id\":null,\"error\":{\"code\":-32700}}", "!refuses this (-32700)"},
		{"{\"error\":{\"message\":\"m\"}}", "!refuses this (0): m"},
		{"{\"id\":7,\"result\":{}", "!cannot be read as JSON"},
		{"", "!cannot be read as JSON"},
	};
	struct arena a;
	(void)state;

	arena_init(&a, 1 << 20);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		const char *want = cases[i].want;
		struct jval result;
		struct json doc;
		bool is;
		enum err e = mcp_answer(&a, str_c(cases[i].text), 7, &doc, &result, &is);

		if (want && want[0] == '!') {
			assert_int_equal(e, E_UPSTREAM);
			assert_false(is);
			if (!strstr(diag_get()->text, want + 1))
				fail_msg("%s: %s", cases[i].text, diag_get()->text);
			continue;
		}
		assert_int_equal(e, OK);
		assert_int_equal(is, want != NULL);
		if (is)
			assert_str(j_raw(result), want);
	}
	arena_release(&a);
}

static void test_results(void **state)
{
	static const struct {
		const char *result, *want; /* "!..": an error with that in it */
	} cases[] = {
		{"{\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\",\"text\":\"b\"}]}", "a\nb"},
		{"{\"content\":[{\"type\":\"text\",\"text\":\"a\"}],\"isError\":false,\"structuredContent\":{}}", "a"},
		{"{\"content\":[{\"type\":\"text\",\"text\":\"a\\nb\"}],\"isError\":true}", "!a b"},
		{"{\"content\":[{\"type\":\"audio\",\"data\":\"QUJD\",\"mimeType\":\"audio/\\u0007wav\"}]}",
		 "[audio, audio/ wav, 3 bytes, not shown]"},
		{"{\"content\":[7,null,{\"type\":\"text\"},{\"type\":\"resource\"}]}",
		 "[content, not shown]\n[content, not shown]\n[text, not shown]\n[resource, not shown]"},
		{"{\"structuredContent\":{\"a\":[1]}}", "{\"a\":[1]}"},
		{"{}", "(the tool's answer is empty)"},
		{"{\"isError\":true}", "!(the tool's answer is empty)"},
		{"{\"isError\":\"yes\",\"content\":[]}", "(the tool's answer is empty)"},
		{"{\"content\":{}}", "!no list"},
		{"{\"content\":[{\"type\":\"text\",\"text\":\"\\u0000\"}]}", "!no text"},
	};
	struct arena a;
	(void)state;

	arena_init(&a, 1 << 20);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct json doc;
		struct str text;

		OKAY(json_parse(&a, str_c(cases[i].result), &json_default_limits, &doc));
		enum err e = mcp_result_text(&a, json_root(&doc), &text);

		if (cases[i].want[0] == '!') {
			assert_int_equal(e, E_UPSTREAM);
			if (!strstr(diag_get()->text, cases[i].want + 1))
				fail_msg("%s: %s", cases[i].result, diag_get()->text);
		} else {
			assert_int_equal(e, OK);
			assert_str(text, cases[i].want);
		}
	}
	arena_release(&a);
}

/* ------------------------------------------------------------------------- lists */

/* Whether a tool with this schema is offered, and what a call with these arguments comes to. */
static enum err call_fits(const char *schema, const char *arguments)
{
	struct mcp_server s = {.name = STR("s"), .prefix = STR("p_"), .timeout_ms = 5};
	struct mcp_list *l;
	struct json doc, args;
	char page[1024];
	struct arena a;
	enum err e;

	snprintf(page, sizeof page, "[{\"name\":\"t\",\"inputSchema\":%s}]", schema);
	struct str pages[] = {STR("[]"), str_c(page)};

	OKAY(mcp_list_make(&s, pages, 2, &l));
	assert_true(l->n <= 1);
	e = l->n ? OK : E_DENIED;
	arena_init(&a, 1 << 20);
	if (l->n) {
		assert_str(l->v[0].tool.name, "p_t");
		assert_str(l->v[0].name, "t");
		assert_str(l->v[0].tool.parameters, schema);
		assert_int_equal(l->v[0].tool.timeout_ms, 5);
		OKAY(json_parse(&a, l->v[0].tool.parameters, &json_default_limits, &doc));
		OKAY(json_parse(&a, str_c(arguments), &json_default_limits, &args));
		e = tool_schema_fits(&a, json_root(&doc), json_root(&args));
	}
	arena_release(&a);
	mcp_list_free(l);
	return e;
}

/* Schemas of others have words that are not known here; those that are known still count. */
static void test_foreign_schemas(void **state)
{
	(void)state;
	assert_int_equal(call_fits("{\"type\":\"object\"}", "{\"x\":1}"), OK);
	assert_int_equal(
		call_fits("{\"$schema\":\"x\",\"type\":\"object\",\"properties\":{\"a\":{\"anyOf\":[{\"$ref\":\"#/$defs/d\"}]},"
			  "\"b\":true,\"c\":{\"type\":\"array\",\"items\":false}},\"additionalProperties\":{\"type\":\"string\"}}",
			  "{\"a\":7,\"b\":[],\"c\":[1],\"d\":2}"),
		OK);
	assert_int_equal(call_fits("{\"type\":\"object\",\"required\":[\"q\"],\"x-y\":1}", "{}"), E_INVALID);
	assert_int_equal(
		call_fits("{\"type\":\"object\",\"properties\":{\"a\":{\"type\":[\"string\",\"null\"],\"pattern\":\"x\"}}}",
			  "{\"a\":1}"),
		E_INVALID);
	assert_int_equal(call_fits("{\"type\":\"object\",\"required\":[7]}", "{}"), E_DENIED);
	assert_int_equal(call_fits("{\"type\":\"object\",\"properties\":[]}", "{}"), E_DENIED);
	assert_int_equal(call_fits("{\"type\":\"object\",\"properties\":{\"a\":7}}", "{}"), E_DENIED);
	assert_int_equal(call_fits("{\"type\":\"object\",\"properties\":{\"a\":{\"minimum\":\"1\"}}}", "{}"), E_DENIED);
	assert_int_equal(call_fits("{\"type\":\"array\"}", "{}"), E_DENIED);
	assert_int_equal(call_fits("true", "{}"), E_DENIED);
	assert_int_equal(call_fits("null", "{}"), E_DENIED);
}

static void test_pages(void **state)
{
	static const char *const bad[] = {"{}", "[", ""};
	struct mcp_server s = {.name = STR("s")};
	struct mcp_list *l;
	struct str page = STR("[7,null,[],{\"name\":[]},{\"name\":\"\"}]");
	(void)state;

	OKAY(mcp_list_make(&s, &page, 1, &l));
	assert_int_equal(l->n, 0);
	mcp_list_free(l);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		page = str_c(bad[i]);
		assert_int_equal(mcp_list_make(&s, &page, 1, &l), E_CORRUPT);
	}
}

/* -------------------------------------------------------------------------- turns */

#define LISTED(id, name)                                                                                                           \
	"={\"jsonrpc\":\"2.0\",\"id\":" id ",\"result\":{\"tools\":[{\"name\":\"mine\",\"inputSchema\":{\"type\":\"object\"}},"    \
	"{\"name\":\"" name "\",\"inputSchema\":{\"type\":\"object\"}}]}}"

static struct http_tools *open_servers(const struct peer *peer)
{
	char path[] = "/tmp/cenote-mcp-XXXXXX", entry[64];
	int fd = mkstemp(path);
	struct str host = {.p = entry};
	struct http_tools_options opt = {.path = path, .allow_hosts = &host, .allow_hosts_n = 1, .max_result = 1000};
	struct http_tools *t;

	assert_true(fd >= 0);
	snprintf(entry, sizeof entry, "127.0.0.1:%u", peer->port);
	host.n = strlen(entry);
	dprintf(fd, "{\"tools\":[{\"mcp\":\"s\",\"url\":\"http://%s/\"}]}", entry);
	close(fd);
	OKAY(http_tools_open(&opt, &t));
	unlink(path);
	return t;
}

/* A turn keeps the tools that it began with, whatever becomes of the server meanwhile. */
static void test_what_a_turn_holds(void **state)
{
	static const char *const script[] = {"={\"id\":1,\"result\":{\"protocolVersion\":\"2025-11-25\"}}",
					     "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n",
					     LISTED("2", "one"),
					     LISTED("3", "one"),
					     LISTED("4", "two"),
					     "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"};
	static const struct tool mine = {.name = STR_INIT("mine")};
	const struct tool *ours[] = {&mine};
	struct peer peer = {.script = script, .script_n = sizeof script / sizeof script[0]};
	struct toolbox box[4];
	void *held[4];
	(void)state;

	peer_start(&peer);
	struct http_tools *t = open_servers(&peer);
	struct tool_source *source = mcp_source(http_tools_servers(t));

	mcp_taken(http_tools_servers(t), (struct toolbox){ours, 1});
	for (size_t i = 0; i < 4; i++) {
		box[i] = source->hold(source, &held[i]);
		t->mcp[0].due = 0;
	}
	assert_ptr_equal(held[0], held[1]); /* nothing has changed */
	assert_int_equal(box[3].n, 0);
	source->let_go(source, held[1]);
	source->let_go(source, held[3]);
	assert_int_equal(box[0].n, 1);
	assert_str(box[0].v[0]->name, "one");
	assert_int_equal(box[2].n, 1);
	assert_str(box[2].v[0]->name, "two");
	source->let_go(source, held[0]);
	assert_str(box[2].v[0]->parameters, "{\"type\":\"object\"}");
	source->let_go(source, held[2]);
	assert_int_equal(t->mcp[0].failed, 1);
	http_tools_close(t);
	peer_stop(&peer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_events),
		cmocka_unit_test(test_events_are_bounded),
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_results),
		cmocka_unit_test(test_foreign_schemas),
		cmocka_unit_test(test_pages),
		cmocka_unit_test(test_what_a_turn_holds),
	};

	log_set_level(LOG_ERROR); /* tools that are left out are named there */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
