/* The client of a workspace against a scripted one: addresses, refusals, trying again, statements to their end and given up. */
#include "base/test_util.h"

#include <signal.h>

#include "databricks/sql.h"
#include "http/test_peer.h"

#define TOKEN "dapi-very-secret"
/* It ends with its connection. */
#define REPLY(status, more, body) "|HTTP/1.1 " status "\r\n" more "Connection: close\r\n\r\n" body

struct test {
	struct peer peer;
	struct workspace *w;
	void (*fn)(struct test *t);
	uint32_t ms; /* deadline */
	const char *want, *said;
	enum err e;
	bool ended;
};

static void in_fiber(void *arg)
{
	struct test *t = arg;
	uint64_t before = wait_within(deadline_in_ms(t->ms ? t->ms : 20000));

	t->fn(t);
	wait_restore(before);
}

/* fn in a fiber, with a workspace that answers as the script says. */
static void with(struct test *t, const char *const *script, size_t n, void (*fn)(struct test *t))
{
	struct workspace_options wo = {.token = STR(TOKEN), .concurrency = 2};
	char host[64];

	t->peer.script = script;
	t->peer.script_n = n;
	t->fn = fn;
	peer_start(&t->peer);
	snprintf(host, sizeof host, "http://127.0.0.1:%d", t->peer.port);
	wo.host = str_c(host);
	EXPECT(workspace_open(&wo, &t->w) == OK);
	run_in_loop(in_fiber, t);
	workspace_close(t->w);
}

#define N(v) (sizeof(v) / sizeof(v)[0])

/* --------------------------------------------------------------------- addresses */

static void test_hosts(void **state)
{
	static const char *const t[][2] = {
		{"x.cloud.databricks.com", "https://x.cloud.databricks.com"},
		{" https://x.example/?o=7 ", "https://x.example"},
		{"https://x.example:8443///", "https://x.example:8443"},
		{"http://localhost:7/x", "http://localhost:7"},
		{"http://[::1]", "http://[::1]"},
		{"http://x.example", NULL},
		{"http://localhost.example", NULL},
		{"ftp://x", NULL},
		{"", NULL},
		{"https://me:pw@x", NULL},
		{"a b", NULL},
	};
	struct arena a;
	struct str host;
	(void)state;

	arena_init(&a, 65536);
	for (size_t i = 0; i < N(t); i++) {
		enum err e = workspace_host(&a, str_c(t[i][0]), &host);

		if ((e == OK) != (t[i][1] != NULL))
			fail_msg("%s: %s", t[i][0], e == OK ? "accepted" : diag_get()->text);
		if (e == OK)
			assert_str(host, t[i][1]);
	}
	arena_release(&a);
}

/* ---------------------------------------------------------------------- refusals */

static void refused(struct test *t)
{
	struct workspace_request rq = {.method = "GET", .path = STR("/x")};
	struct json doc;
	struct arena a;

	arena_init(&a, WORKSPACE_SCRATCH);
	EXPECT(workspace_call(t->w, &a, &rq, &doc) == t->e);
	EXPECT(strstr(diag_get()->text, t->want) && !strstr(diag_get()->text, TOKEN));
	arena_release(&a);
}

static void test_refusals(void **state)
{
	static const struct {
		const char *answer, *want;
		enum err e;
	} cases[] = {
		{REPLY("403 No", "", "{\"error_code\":\"PERMISSION_DENIED\",\"message\":\"a\\nb\"}"),
		 "does not allow this (403 PERMISSION_DENIED): a b", E_DENIED},
		{REPLY("400 No", "", "{\"error_code\":\"RESOURCE_DOES_NOT_EXIST\"}"), "does not know this (400", E_NOT_FOUND},
		{REPLY("401 No", "", "{\"error\":\"" TOKEN " is bad\"}"), "refuses the token (401)", E_DENIED},
		{REPLY("400 No", "", "INVALID_STATE: stopped"), "refuses this (400 INVALID_STATE): stopped", E_UPSTREAM},
		{REPLY("400 No", "", "{\"detail\":\"d\",\"error_code\":\"x y\"}"), "refuses this (400): d", E_UPSTREAM},
		{REPLY("502 No", "", "<html><title>gone: away</title></html>"), "refuses this (502)", E_UPSTREAM},
		{REPLY("302 Found", "Location: /y\r\n", ""), "redirect", E_UPSTREAM},
		{REPLY("429 No", "Retry-After: 3000\r\n", ""), "too many requests", E_BUSY},
		{REPLY("200 Yes", "", "{\"x\":\"" TOKEN "\"}"), "repeats the token", E_UPSTREAM},
		{REPLY("200 Yes", "", "[1]"), "no JSON object", E_UPSTREAM},
		{REPLY("200 Yes", "", ""), "no JSON object", E_UPSTREAM},
	};
	(void)state;

	for (size_t i = 0; i < N(cases); i++) {
		const char *script[] = {cases[i].answer};
		struct test t = {.want = cases[i].want, .e = cases[i].e};

		with(&t, script, 1, refused);
		assert_int_equal(peer_requests(&t.peer), 1);
		assert_non_null(strstr(t.peer.heads[0], "Authorization: Bearer " TOKEN));
		peer_stop(&t.peer);
	}
}

/* -------------------------------------------------------------------- statements */

static enum err note_row(void *ctx, const struct sql_table *table, struct jval row, bool *enough)
{
	(void)table;
	(void)enough;
	buf_str(ctx, j_raw(row));
	return OK;
}

static void run(struct test *t)
{
	const struct sql_parameter v[] = {{STR_INIT("q"), STR_INIT("STRING"), STR_INIT("it's \"x\"")}};
	const struct sql_statement s = {
		.warehouse = STR("w"), .text = STR("SELECT `f`(:q)"), .v = v, .n = 1, .rows_max = 9, .bytes_max = 99};
	struct sql_table table;
	struct arena a;
	struct buf b;
	enum err e;

	arena_init(&a, WORKSPACE_SCRATCH);
	buf_init(&b, &a, 4096);
	e = sql_run(t->w, &a, &s, note_row, &b, &table);
	buf_byte(&b, 0);
	EXPECT(e == t->e && (e == OK ? strcmp(b.p, t->want) == 0 : strstr(diag_get()->text, t->want) != NULL));
	arena_release(&a);
}

#define ENDED(result)                                                                                                              \
	"={\"statement_id\":\"s-1\",\"status\":{\"state\":\"SUCCEEDED\"},\"manifest\":{\"schema\":{\"columns\":[{\"name\":\"a\","  \
	"\"type_name\":\"INT\"}]}},\"result\":" result "}"
#define RUNS "={\"statement_id\":\"s-1\",\"status\":{\"state\":\"RUNNING\"}}"

static void test_to_its_end(void **state)
{
	static const char *const script[] = {RUNS,
					     REPLY("503 No", "Retry-After-Ms: 1\r\n", ""),
					     RUNS,
					     ENDED("{\"data_array\":[[\"1\"]],\"next_chunk_index\":1}"),
					     "={\"chunk_index\":1,\"next_chunk_index\":2}",
					     "={\"data_array\":[[null]]}"};
	static const char *const paths[] = {"POST /api/2.0/sql/statements HTTP",
					    "GET /api/2.0/sql/statements/s-1 HTTP",
					    "GET /api/2.0/sql/statements/s-1 HTTP",
					    "GET /api/2.0/sql/statements/s-1 HTTP",
					    "GET /api/2.0/sql/statements/s-1/result/chunks/1 HTTP",
					    "GET /api/2.0/sql/statements/s-1/result/chunks/2 HTTP"};
	struct test t = {.want = "[\"1\"][null]"};
	(void)state;

	with(&t, script, N(script), run);
	assert_int_equal(peer_requests(&t.peer), N(paths));
	for (size_t i = 0; i < N(paths); i++)
		if (strncmp(t.peer.heads[i], paths[i], strlen(paths[i])) != 0)
			fail_msg("%s", t.peer.heads[i]);
	assert_string_equal(
		t.peer.bodies[0],
		"{\"warehouse_id\":\"w\",\"statement\":\"SELECT `f`(:q)\",\"parameters\":[{\"name\":\"q\",\"value\":\"it's "
		"\\\"x\\\"\",\"type\":\"STRING\"}],\"wait_timeout\":\"0s\",\"on_wait_timeout\":\"CONTINUE\",\"disposition\":"
		"\"INLINE\",\"format\":\"JSON_ARRAY\",\"row_limit\":9,\"byte_limit\":99}");
	peer_stop(&t.peer);
}

static void test_what_it_ends_with(void **state)
{
	static const struct {
		const char *answer, *want;
		enum err e;
	} cases[] = {
		{ENDED("{}"), "", OK},
		{ENDED("{\"data_array\":{}}"), "no list", E_UPSTREAM},
		{ENDED("{\"data_array\":[[]]}"), "does not have its columns", E_UPSTREAM},
		{ENDED("{\"next_chunk_index\":0}"), "no order", E_UPSTREAM},
		{"={\"statement_id\":\"s\",\"status\":{\"state\":\"FAILED\",\"error\":{\"error_code\":\"BAD_REQUEST\",\"message\":"
		 "\"m\"}}}",
		 "failed (BAD_REQUEST): m", E_UPSTREAM},
		{"={\"statement_id\":\"s\",\"status\":{\"state\":\"FAILED\",\"sql_state\":\"42501\"}}", "does not allow this",
		 E_DENIED},
		{"={\"statement_id\":\"s\",\"status\":{\"state\":\"CLOSED\"}}", "was cancelled", E_UPSTREAM},
		{"={\"statement_id\":\"s\",\"status\":{}}", "no state", E_UPSTREAM},
		{"={\"status\":{\"state\":\"SUCCEEDED\"}}", "no id", E_UPSTREAM},
		{"={\"statement_id\":\"../s\",\"status\":{\"state\":\"RUNNING\"}}", "no id", E_UPSTREAM},
		{"!reset", "", E_UPSTREAM},
	};
	(void)state;

	for (size_t i = 0; i < N(cases); i++) {
		struct test t = {.want = cases[i].want, .e = cases[i].e};

		with(&t, &cases[i].answer, 1, run);
		assert_int_equal(peer_requests(&t.peer), 1); /* a statement is sent once, and one that has ended is not cancelled */
		peer_stop(&t.peer);
	}
}

static void test_given_up(void **state)
{
	static const char *const script[] = {RUNS};
	struct test t = {.want = "", .e = E_TIMEOUT, .ms = 2000};
	unsigned n;
	(void)state;

	with(&t, script, 1, run);
	n = peer_requests(&t.peer);
	assert_true(n >= 3 && n < PEER_SEEN);
	assert_non_null(strstr(t.peer.heads[n - 1], "POST /api/2.0/sql/statements/s-1/cancel HTTP"));
	peer_stop(&t.peer);
}

static void run_to_its_end(void *arg)
{
	struct test *t = arg;

	run(t);
	t->ended = true;
}

/* Whoever asked goes while the statement is on its way: nobody knows its id yet. */
static void leave(struct test *t)
{
	struct fiber *f;

	EXPECT(fiber_spawn(run_to_its_end, t, &f, NULL) == OK);
	while (peer_requests(&t->peer) == 0)
		EXPECT(wait_until(deadline_in_ms(5)) == OK);
	fiber_cancel(f);
	peer_hold(&t->peer, false);
	while (!t->ended)
		EXPECT(wait_until(deadline_in_ms(5)) == OK);
}

static void test_left_behind(void **state)
{
	static const char *const script[] = {RUNS, "={}"};
	struct test t = {.want = "", .e = E_CANCELLED, .peer.held = true};
	(void)state;

	with(&t, script, N(script), leave);
	assert_int_equal(peer_requests(&t.peer), 2);
	assert_non_null(strstr(t.peer.heads[1], "POST /api/2.0/sql/statements/s-1/cancel HTTP"));
	peer_stop(&t.peer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hosts),	   cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_to_its_end), cmocka_unit_test(test_what_it_ends_with),
		cmocka_unit_test(test_given_up),   cmocka_unit_test(test_left_behind),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
