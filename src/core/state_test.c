/* What is shown of values and states: bytes of LangGraph's serializer, malformed and hostile ones, ThreadState, tasks of subgraphs.
 */
#include "core/testing.h"

#include <stdlib.h>

#include "core/msgpack_json.h"
#include "core/state.h"
#include "core/state_vectors.h"

static struct arena arena;

static int setup(void **state)
{
	arena_init(&arena, (size_t)256 << 20);
	return 0;
}

static int teardown(void **state)
{
	arena_release(&arena);
	return 0;
}

static unsigned digit(char c)
{
	static const char digits[] = "0123456789abcdef";
	const char *at = strchr(digits, c);

	assert_true(c && at);
	return (unsigned)(at - digits);
}

static struct str unhex(const char *hex)
{
	size_t n = strlen(hex) / 2;
	char *p = arena_alloc(&arena, n);

	for (size_t i = 0; i < n; i++)
		p[i] = (char)(digit(hex[2 * i]) << 4 | digit(hex[2 * i + 1]));
	return str_of(p, n);
}

static struct str shown(const char *type, struct str bytes)
{
	struct buf b;
	struct jw w;

	buf_init(&b, &arena, (size_t)128 << 20);
	jw_init(&w, &b);
	ckpt_value_json(&w, str_c(type), bytes);
	assert_int_equal(b.err, OK);
	return buf_slice(&b);
}

static struct jval parse_deep(struct str text)
{
	const struct json_limits lim = {.depth = 128, .nodes = 1000000, .bytes = (size_t)64 << 20, .flags = JSON_DUP_OK};
	struct json *doc = ARENA_NEW(&arena, struct json);

	if (json_parse(&arena, text, &lim, doc) != OK)
		fail_msg("not JSON: %s: %.200s", diag_get()->text, text.p);
	return json_root(doc);
}

static void check(const char *name, const char *type, struct str bytes, const char *want)
{
	struct str got = shown(type, bytes);

	if (!j_equal(parse_deep(got), parse_deep(str_c(want))))
		fail_msg("%s: %.*s, wanted %s", name, STR_ARG(got), want);
}

/* A member of what is shown, as text; fails when there is none. */
static const char *error_of(struct str got)
{
	struct jval e = j_get(parse_deep(got), STR("error"));

	if (!j_is(e, JSON_STRING))
		fail_msg("no error: %.200s", got.p);
	return arena_cstr(&arena, j_str(&arena, e));
}

static void as_langgraph_wrote_it(void **state)
{
	assert_true(sizeof vectors / sizeof *vectors > 50);
	for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++)
		check(vectors[i].name, "msgpack", unhex(vectors[i].hex), vectors[i].json);
}

/* Contracts: langgraph 3.1. */
static void vectors_of_the_contract(void **state)
{
	static const struct {
		const char *hex, *json;
	} v[] = {
		{"a2c3a9", "\"é\""},
		{"cb3ff8000000000000", "1.5"},
		{"c3", "true"},
		{"810102", "{\"1\":2}"},
		{"92019102", "[1,[2]]"},
		{"d5079101", "[1]"},
		{"d80093a86275696c74696e73a37365749103", "[3]"},
		{"c71a0193af6c616e6767726170682e7479706573a453656e6492a16e80", "{\"node\":\"n\",\"arg\":{}}"},
	};

	for (size_t i = 0; i < sizeof v / sizeof *v; i++)
		check(v[i].hex, "msgpack", unhex(v[i].hex), v[i].json);
}

static void other_types(void **state)
{
	check("null", "null", STR(""), "null");
	check("text", "bytes", STR("plain\ttext \xc3\xa9"), "\"plain\\ttext é\"");
	check("bytes", "bytes", STR("\xff\x00"), "{\"type\":\"bytes\",\"bytes\":2}");
	check("bytearray", "bytearray", STR("\x01"), "{\"type\":\"bytearray\",\"bytes\":1}");
	check("encrypted", "msgpack+aes", STR("0123"), "{\"type\":\"msgpack+aes\",\"bytes\":4}");
	check("pickle", "pickle", STR("cos\nsystem\n"), "{\"type\":\"pickle\",\"bytes\":11}");
	check("unknown", "no \"such\" type", STR(""), "{\"type\":\"no \\\"such\\\" type\",\"bytes\":0}");
	check("json", "json", STR(" {\"lc\":1,\"type\":\"constructor\",\"id\":[\"x\"],\"kwargs\":{\"content\":\"hi\"}} "),
	      "{\"lc\":1,\"type\":\"constructor\",\"id\":[\"x\"],\"kwargs\":{\"content\":\"hi\"}}");
	check("json undefined", "json", STR("{\"lc\":2,\"type\":\"undefined\"}"), "{\"lc\":2,\"type\":\"undefined\"}");
	assert_non_null(error_of(shown("json", STR("{\"a\":NaN}"))));
	assert_non_null(error_of(shown("json", STR(""))));
	assert_non_null(error_of(shown("json", STR("[1] [2]"))));
}

static void malformed(void **state)
{
	static const char *const hex[] = {
		"",	      "c1",	      "92",	      "9201",	"a5616263",   "cb3ff8",	      "c4",
		"c405ff",     "c70500",	      "d9",	      "dcffff", "ddffffffff", "ddfffffffe01", "dfffffffff",
		"df7fffffff", "dbffffffff61", "c9ffffffff00", "0102",	"81a161",     "8101",	      "d5",
		"c6ffffffff", "de000101",     "c0c0",	      "91c1",
	};

	for (size_t i = 0; i < sizeof hex / sizeof *hex; i++) {
		struct str bytes = unhex(hex[i]), got = shown("msgpack", bytes);
		int64_t n;

		error_of(got);
		assert_true(j_str_eq(j_get(parse_deep(got), STR("type")), STR("msgpack")));
		assert_true(j_i64(j_get(parse_deep(got), STR("bytes")), &n) && (size_t)n == bytes.n);
	}
	/* What is wrong inside an extension leaves the rest to be seen. */
	check("inside", "msgpack", unhex("92d405c001"),
	      "[{\"type\":\"ext 5\",\"bytes\":1,\"error\":\"an object is an array of module, class and content\"},1]");
	assert_true(str_starts(shown("msgpack", unhex("92d505910201")), STR("[{\"type\":\"ext 5\",\"bytes\":2,\"error\":")));
	/* a Send with four arguments */
	check("send", "msgpack", unhex("c71b0193af6c616e6767726170682e7479706573a453656e649401020304"),
	      "{\"type\":\"ext 1\",\"bytes\":27,\"error\":\"a Send has two or three arguments\"}");
}

static struct str repeated(const char *head, size_t times, const char *end)
{
	struct buf b;

	buf_init(&b, &arena, (size_t)64 << 20);
	for (size_t i = 0; i < times; i++)
		buf_str(&b, unhex(head));
	buf_str(&b, unhex(end));
	assert_int_equal(b.err, OK);
	return buf_slice(&b);
}

/* n extensions of a code, one in the other. */
static struct str nested_exts(uint8_t code, size_t n)
{
	struct str in = STR("\xc0");

	for (size_t i = 0; i < n; i++) {
		char *p = arena_alloc(&arena, in.n + 6);

		p[0] = (char)0xc9;
		for (int k = 0; k < 4; k++)
			p[1 + k] = (char)(in.n >> (24 - 8 * k));
		p[5] = (char)code;
		memcpy(p + 6, in.p, in.n);
		in = str_of(p, in.n + 6);
	}
	return in;
}

static void depth(void **state)
{
	assert_true(str_starts(shown("msgpack", repeated("91", 60, "c0")), STR("[[[[")));
	for (size_t n = 70; n <= 1000000; n *= 100) {
		assert_string_equal(error_of(shown("msgpack", repeated("91", n, "c0"))), "nested deeper than 64");
		assert_string_equal(error_of(shown("msgpack", repeated("81c0", n, "c0"))), "nested deeper than 64");
		assert_string_equal(error_of(shown("msgpack", repeated("81", n, "c0c0"))), "nested deeper than 64");
	}
	check("60 snapshots", "msgpack", nested_exts(7, 60), "null");
	assert_true(shown("msgpack", nested_exts(7, 2000)).n < 1000);
	assert_non_null(error_of(shown("json", repeated("5b", 100, "31"))));
}

/* Output stays a small multiple of input, whatever is claimed. */
static void no_amplification(void **state)
{
	/* 60 maps as keys of each other, the text of each quoted in that of the next */
	struct str keys = repeated("81", 60, "a3222222");
	struct buf b;

	buf_init(&b, &arena, (size_t)1 << 20);
	buf_str(&b, keys);
	for (int i = 0; i < 60; i++)
		buf_byte(&b, (char)0xc0);
	assert_true(shown("msgpack", buf_slice(&b)).n < 70000);
	/* a million booleans */
	buf_init(&b, &arena, (size_t)8 << 20);
	buf_str(&b, unhex("dd000f4240"));
	for (int i = 0; i < 1000000; i++)
		buf_byte(&b, (char)0xc2);
	assert_int_equal(shown("msgpack", buf_slice(&b)).n, 6000001);
}

static void too_large_is_said(void **state)
{
	const size_t n = (size_t)17 << 20;
	char *p = arena_alloc(&arena, n + 5);
	struct str got;

	memcpy(p, "\xdb", 1);
	for (int k = 0; k < 4; k++)
		p[1 + k] = (char)(n >> (24 - 8 * k));
	memset(p + 5, 'x', n);
	got = shown("msgpack", str_of(p, n + 5));
	assert_string_equal(error_of(got), "too large to be shown");
	p[4 + n] = '"';
	p[4] = '"';
	error_of(shown("json", str_of(p + 4, n + 1)));
}

/* ------------------------------------------------------------------- states */

static const struct ckpt_value channel_values[] = {
	{STR_INIT("__start__"), STR_INIT("1"), STR_INIT("msgpack"), STR_INIT("\xc0")},
	{STR_INIT("branch:to:a"), STR_INIT("1"), STR_INIT("msgpack"), STR_INIT("\xc0")},
	{STR_INIT("list"), STR_INIT("2"), STR_INIT("msgpack"), STR_INIT("\x92\x01\x02")},
	{STR_INIT("over"), STR_INIT("2"), STR_INIT("json"), STR_INIT("{\"new\":true}")},
};
static const struct ckpt_pending pending[] = {
	{STR_INIT("t1"), STR_INIT("~__pregel_pull, ask"), STR_INIT("__interrupt__"), STR_INIT("json"),
	 STR_INIT("[{\"id\":\"i1\",\"value\":1}, {\"id\":\"i2\",\"value\":2}]"), -3},
	{STR_INIT("t2"), STR_INIT("~__pregel_pull, work"), STR_INIT("__error__"), STR_INIT("msgpack"), STR_INIT("\xa4oops"), -1},
	{STR_INIT("t3"), STR_INIT("~__pregel_pull, done"), STR_INIT("list"), STR_INIT("msgpack"), STR_INIT("\x90"), 0},
};

static struct ckpt example(void)
{
	return (struct ckpt){.thread = STR("t"),
			     .ns = STR(""),
			     .id = STR("1f0b7d5e-7c6a-6c50-8003-0123456789ab"),
			     .checkpoint =
				     STR("{\"v\":4,\"ts\":\"2026-08-20T07:02:48.123456+00:00\",\"channel_values\":"
					 "{\"n\":1.50,\"over\":\"old\",\"__x\":1,\"branch:to:b\":null,\"text\":\"\\u0041\"}}"),
			     .metadata = STR("{\"step\":3}"),
			     .values = (struct ckpt_value *)channel_values,
			     .values_n = sizeof channel_values / sizeof *channel_values,
			     .writes = (struct ckpt_pending *)pending,
			     .writes_n = sizeof pending / sizeof *pending};
}

static void state_is(const struct ckpt *c, const struct str *want, size_t n, const char *json)
{
	struct buf b;
	struct jw w;

	buf_init(&b, &arena, 1 << 20);
	jw_init(&w, &b);
	ckpt_state_json(&w, &arena, c, want, n);
	assert_int_equal(b.err, OK);
	if (!j_equal(parse_deep(buf_slice(&b)), parse_deep(str_c(json))))
		fail_msg("%.*s, wanted %s", STR_ARG(buf_slice(&b)), json);
}

static void thread_state(void **state)
{
	const struct str select[] = {STR("values.list"), STR("next"), STR("values.none"), STR("unknown")};
	const struct str both[] = {STR("values.n"), STR("values")};
	struct ckpt c = example();

	state_is(
		&c, NULL, 0,
		"{\"values\":{\"n\":1.5,\"text\":\"A\",\"list\":[1,2],\"over\":{\"new\":true}},\"next\":[],\"tasks\":[],"
		"\"metadata\":{\"step\":3},\"created_at\":\"2026-08-20T07:02:48.123456+00:00\",\"checkpoint\":{\"thread_id\":\"t\","
		"\"checkpoint_ns\":\"\",\"checkpoint_id\":\"1f0b7d5e-7c6a-6c50-8003-0123456789ab\"},\"parent_checkpoint\":null,"
		"\"interrupts\":[{\"id\":\"i1\",\"value\":1},{\"id\":\"i2\",\"value\":2}]}");
	state_is(&c, select, 4, "{\"values\":{\"list\":[1,2]},\"next\":[]}");
	state_is(&c, both, 2, "{\"values\":{\"n\":1.5,\"text\":\"A\",\"list\":[1,2],\"over\":{\"new\":true}}}");
	c.parent = STR("p");
	c.ns = STR("a:b");
	state_is(&c, (const struct str[]){STR("parent_checkpoint")}, 1,
		 "{\"parent_checkpoint\":{\"thread_id\":\"t\",\"checkpoint_ns\":\"a:b\",\"checkpoint_id\":\"p\"}}");
	c.checkpoint = STR("not JSON");
	c.writes_n = 0;
	state_is(&c, (const struct str[]){STR("values"), STR("interrupts")}, 2,
		 "{\"values\":{\"list\":[1,2],\"over\":{\"new\":true}},\"interrupts\":[]}");
}

static void none_yet(void **state)
{
	struct buf b;
	struct jw w;

	buf_init(&b, &arena, 1 << 20);
	jw_init(&w, &b);
	ckpt_state_none_json(&w, STR("t"));
	assert_true(str_eq(buf_slice(&b), STR("{\"values\":{},\"next\":[],\"tasks\":[],\"metadata\":null,\"created_at\":null,"
					      "\"checkpoint\":null,\"parent_checkpoint\":null,\"interrupts\":[]}")));
}

static void interrupts_by_task(void **state)
{
	struct ckpt c = example();
	struct buf b;
	struct jw w;

	buf_init(&b, &arena, 1 << 20);
	jw_init(&w, &b);
	ckpt_interrupts_by_task_json(&w, &c);
	check("by task", "json", buf_slice(&b), "{\"t1\":[{\"id\":\"i1\",\"value\":1},{\"id\":\"i2\",\"value\":2}]}");
}

static void put_checkpoint(struct bench *b, const char *ns, const char *id, const char *checkpoint)
{
	struct ckpt_change c = {.op = CK_PUT,
				.thread = STR("t"),
				.ns = str_c(ns),
				.id = str_c(id),
				.checkpoint = str_c(checkpoint),
				.metadata = STR("{}")};

	OKAY(ckpt_write(b->m, &b->a, &ann, &c, 1));
}

static void put_pending(struct bench *b, const char *ns, const char *id, const char *task, const char *path, const char *channel)
{
	const struct ckpt_pending p = {str_c(task), str_c(path), str_c(channel), STR("msgpack"), STR("\x91\x81\xa5value\x01"), -3};
	struct ckpt_change c = {.op = CK_WRITES,
				.thread = STR("t"),
				.ns = str_c(ns),
				.id = str_c(id),
				.writes = &p,
				.writes_n = 1,
				.replace = true};

	OKAY(ckpt_write(b->m, &b->a, &ann, &c, 1));
}

/* An interrupted node with a subgraph, in it another; and a Send, whose node the value of __pregel_tasks tells. */
static void subgraphs(void **state)
{
	const struct ckpt_query q = {.thread = STR("t"), .want = CK_VALUES | CK_WRITES_TOO};
	struct ckpt_task *tasks;
	struct ckpt_full full;
	struct bench b;
	bool found;
	size_t n;

	bench_init(&b);
	put_checkpoint(&b, "", "1", "{\"v\":4,\"channel_values\":{\"__pregel_tasks\":null},\"channel_versions\":{}}");
	put_pending(&b, "", "1", "u1", "~__pregel_pull, outer", "__interrupt__");
	put_pending(&b, "", "1", "u3", "~__pregel_push, 0000000000, 0000000000", "__error__");
	put_pending(&b, "", "1", "u4", "", "__interrupt__");
	put_checkpoint(&b, "outer:u1", "2", "{\"v\":4,\"channel_values\":{\"deep\":1}}");
	put_pending(&b, "outer:u1", "2", "u2", "~__pregel_pull, inner", "__interrupt__");
	put_checkpoint(&b, "outer:u1|inner:u2", "3", "{\"v\":4,\"channel_values\":{\"deeper\":2}}");
	OKAY(ckpt_get(b.m, &b.a, &ann, &q, &full, &found));
	assert_true(found);
	OKAY(ckpt_tasks(b.m, &b.a, &ann, &full.c, &tasks, &n));
	assert_int_equal(n, 3);
	for (size_t i = 0; i < n; i++) {
		struct ckpt_task *t = &tasks[i];

		if (str_eq(t->id, STR("u1"))) {
			assert_true(str_eq(t->name, STR("outer")) && t->sub && !t->error);
			assert_int_equal(t->tasks_n, 1);
			assert_true(str_eq(t->tasks[0].name, STR("inner")) && t->tasks[0].sub);
			assert_true(str_eq(t->tasks[0].sub->ns, STR("outer:u1|inner:u2")));
		} else {
			assert_true(t->name.n == 0 && !t->sub);
			assert_int_equal(t->error != NULL, str_eq(t->id, STR("u3")));
		}
	}
	OKAY(ckpt_tasks(b.m, &b.a, &other, &full.c, &tasks, &n));
	for (size_t i = 0; i < n; i++)
		assert_null(tasks[i].sub); /* another tenant's */
	bench_release(&b);
}

static void sends_have_names(void **state)
{
	const struct ckpt_value value = {STR("__pregel_tasks"), STR("1"), STR("json"),
					 STR("[{\"node\":\"zero\",\"args\":{}},{\"node\":\"one\",\"args\":{}}]")};
	const struct ckpt_pending p = {
		STR("t"), STR("~__pregel_push, 0000000001, 0000000000"), STR("__interrupt__"), STR("json"), STR("[]"), -3};
	struct ckpt c = example();
	struct ckpt_task *tasks;
	struct bench b;
	size_t n;

	bench_init(&b);
	c.values = (struct ckpt_value *)&value;
	c.values_n = 1;
	c.writes = (struct ckpt_pending *)&p;
	c.writes_n = 1;
	OKAY(ckpt_tasks(b.m, &b.a, &ann, &c, &tasks, &n));
	assert_int_equal(n, 1);
	assert_true(str_eq(tasks[0].name, STR("one")));
	bench_release(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(as_langgraph_wrote_it),
		cmocka_unit_test(vectors_of_the_contract),
		cmocka_unit_test(other_types),
		cmocka_unit_test(malformed),
		cmocka_unit_test(depth),
		cmocka_unit_test(no_amplification),
		cmocka_unit_test(too_large_is_said),
		cmocka_unit_test(thread_state),
		cmocka_unit_test(none_yet),
		cmocka_unit_test(interrupts_by_task),
		cmocka_unit_test(subgraphs),
		cmocka_unit_test(sends_have_names),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
