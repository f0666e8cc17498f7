/* Access, comparison, and members that are not allowed. */
#include "base/test_util.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/json/json.h"

static struct arena arena;

static int setup(void **state)
{
	arena_init(&arena, 256u << 20);
	return 0;
}

static int teardown(void **state)
{
	arena_release(&arena);
	return 0;
}

static struct jval value_of(struct str text, unsigned flags)
{
	struct json_limits lim = {.depth = 64, .nodes = 4000000, .bytes = 64u << 20, .flags = flags};
	struct json *d = ARENA_NEW(&arena, struct json);

	if (json_parse(&arena, text, &lim, d) != OK)
		fail_msg("%.80s: %s", text.p, diag_get()->text);
	return json_root(d);
}

static struct jval value(const char *text)
{
	return value_of(str_c(text), 0);
}

static const struct jval absent = {NULL, 0};

static void looks_up(void **state)
{
	struct jval v = value("{\"a\":1,\"b\":{\"c\":[10,20]},\"\\u0063\":null,\"d\":true,\"e\":false}");
	struct jval key, item;
	struct j_iter it;
	bool truth = false;
	int64_t n;

	assert_true(j_i64(j_get(v, STR("a")), &n) && n == 1);
	assert_true(j_is(j_get(j_get(v, STR("b")), STR("c")), JSON_ARRAY));
	assert_true(j_ok(j_get(v, STR("c"))));
	assert_true(j_null(j_get(v, STR("c"))));
	assert_false(j_ok(j_get(v, STR("x"))));
	assert_true(j_null(j_get(v, STR("x"))));
	assert_false(j_ok(j_get(j_get(v, STR("a")), STR("b"))));
	assert_false(j_ok(j_get(absent, STR("b"))));
	assert_true(j_bool(j_get(v, STR("d")), &truth) && truth);
	assert_true(j_bool(j_get(v, STR("e")), &truth) && !truth);
	assert_false(j_bool(j_get(v, STR("a")), &truth));
	assert_false(j_bool(absent, &truth));
	assert_false(j_is(absent, JSON_NULL));
	assert_false(j_i64(absent, &n));
	assert_false(j_i64(j_get(v, STR("d")), &n));

	it = j_iter(j_get(j_get(v, STR("b")), STR("c")));
	assert_true(j_next(&it, NULL, &item) && j_i64(item, &n) && n == 10);
	assert_true(j_next(&it, &key, &item) && j_i64(item, &n) && n == 20);
	assert_false(j_next(&it, NULL, &item));
	it = j_iter(v);
	assert_true(j_next(&it, &key, &item) && j_str_eq(key, STR("a")));
	assert_true(j_next(&it, &key, NULL) && j_str_eq(key, STR("b")));
	assert_true(j_next(&it, &key, &item) && j_str_eq(key, STR("c")) && j_null(item));
	it = j_iter(j_get(v, STR("a")));
	assert_false(j_next(&it, &key, &item));
	it = j_iter(absent);
	assert_false(j_next(&it, &key, &item));
}

static void unescapes(void **state)
{
	static const struct {
		const char *json, *text;
	} cases[] = {
		{"\"\"", ""},
		{"\"abc\"", "abc"},
		{"\"a\\\"b\\\\c\\/d\"", "a\"b\\c/d"},
		{"\"\\b\\f\\n\\r\\t\"", "\b\f\n\r\t"},
		{"\"\\u0041\\u00e9\\u20AC\"", "A\xc3\xa9\xe2\x82\xac"},
		{"\"x\\ud83d\\ude00y\"", "x\xf0\x9f\x98\x80y"},
		{"\"\\udbff\\udfff\"", "\xf4\x8f\xbf\xbf"},
		{"\"\\\\u0041\"", "\\u0041"},
		{"\"\xc3\xa9\\n\xc3\xa9\"", "\xc3\xa9\n\xc3\xa9"},
		{"\"\\uFFFF\"", "\xef\xbf\xbf"},
	};
	struct arena none;
	struct str s;

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct jval v = value(cases[i].json);

		s = j_str(&arena, v);
		assert_str(s, cases[i].text);
		assert_true(j_str_eq(v, s));
		assert_false(j_str_eq(v, arena_printf(&arena, "%sx", cases[i].text)));
		if (s.n)
			assert_false(j_str_eq(v, str_sub(s, 0, s.n - 1)));
		assert_false(j_str_eq(v, STR("something else that is longer")));
	}
	s = j_str(&arena, value("\"a\\u0000b\""));
	assert_int_equal(s.n, 3);
	assert_memory_equal(s.p, "a\0b", 3);
	/* Without escapes nothing is copied. */
	struct jval plain = value("\"abc\"");
	assert_ptr_equal(j_str(&arena, plain).p, j_raw(plain).p + 1);
	assert_null(j_str(&arena, value("1")).p);
	assert_null(j_str(&arena, absent).p);
	assert_false(j_str_eq(value("1"), STR("1")));
	arena_init(&none, 0);
	assert_null(j_str(&none, value("\"\\n\"")).p);
	assert_non_null(j_str(&none, plain).p);
	arena_release(&none);
}

/* One group per line: all of a group are equal, none equals one of another group. */
static void compares(void **state)
{
	static const char *const groups[][6] = {
		{"null"},
		{"true"},
		{"false"},
		{"0", "-0", "0.0", "0e5", "-0.0e-3"},
		{"9", "9.0", "9e0", "0.9e1", "90e-1", "9.000"},
		{"-9", "-9.0"},
		{"9007199254740993", "9007199254740993.0", "9.007199254740993e15"},
		{"9007199254740992"},
		{"123456789012345678901234567890"},
		{"123456789012345678901234567891"},
		{"0.1", "1e-1", "0.10"},
		{"1e400", "10e399", "0.1e401"},
		{"1e401"},
		{"1e-400", "0.1e-399"},
		{"\"\""},
		{"\"0\""},
		{"\"a\"", "\"\\u0061\""},
		{"\"/\"", "\"\\/\"", "\"\\u002f\"", "\"\\u002F\""},
		{"\"\xf0\x9f\x98\x80\"", "\"\\ud83d\\ude00\""},
		{"\"a\\u0000\""},
		{"[]", "[ ]"},
		{"[1,2]", "[ 1.0, 2e0 ]"},
		{"[2,1]"},
		{"[1,2,3]"},
		{"[[]]"},
		{"{}", "{ }"},
		{"{\"a\":1}", "{\"\\u0061\":1.0}"},
		{"{\"a\":2}"},
		{"{\"b\":1}"},
		{"{\"a\":null}"},
		{"{\"a\":1,\"b\":[1,{\"x\":2,\"y\":3}]}", "{\"b\":[1,{\"y\":3,\"x\":2}],\"a\":1}"},
		{"{\"a\":1,\"b\":[{\"x\":2,\"y\":3},1]}"},
		{"{\"a\":{}}"},
		{"{\"a\":[]}"},
	};
	size_t n = sizeof groups / sizeof groups[0];

	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < 6 && groups[i][k]; k++)
			for (size_t j = 0; j < n; j++)
				for (size_t l = 0; l < 6 && groups[j][l]; l++)
					if (j_equal(value(groups[i][k]), value(groups[j][l])) != (i == j))
						fail_msg("%s and %s", groups[i][k], groups[j][l]);
	assert_true(j_equal(absent, absent));
	assert_false(j_equal(absent, value("null")));
	assert_false(j_equal(value("null"), absent));
}

static struct str object_of(size_t n, bool backwards, size_t odd)
{
	struct buf b;

	buf_init(&b, &arena, 64u << 20);
	buf_byte(&b, '{');
	for (size_t k = 0; k < n; k++) {
		size_t i = backwards ? n - 1 - k : k;

		buf_printf(&b, "%s\"%s%zu\":%zu", k ? "," : "", backwards && i % 5 == 0 ? "\\u006b" : "k", i, i == odd ? 0 : i + 1);
	}
	buf_byte(&b, '}');
	return buf_slice(&b);
}

static void compares_large_objects(void **state)
{
	for (size_t n = 15; n < 19; n++) {
		assert_true(j_equal(value_of(object_of(n, false, n), 0), value_of(object_of(n, true, n), 0)));
		assert_false(j_equal(value_of(object_of(n, false, n), 0), value_of(object_of(n, true, n - 1), 0)));
		assert_false(j_equal(value_of(object_of(n, false, n), 0), value_of(object_of(n + 1, true, n + 1), 0)));
	}
	/* In any order, without comparing every pair: this would take minutes. */
	assert_true(j_equal(value_of(object_of(200000, false, 200000), 0), value_of(object_of(200000, true, 200000), 0)));
	assert_false(j_equal(value_of(object_of(200000, false, 200000), 0), value_of(object_of(200000, true, 77), 0)));
}

static void compares_with_duplicates(void **state)
{
	static const struct {
		const char *a, *b;
		bool equal;
	} cases[] = {
		{"{\"a\":1,\"a\":2}", "{\"a\":2}", true},
		{"{\"a\":1,\"a\":2}", "{\"a\":1}", false},
		{"{\"a\":1,\"a\":2}", "{\"a\":3,\"\\u0061\":2}", true},
		{"{\"a\":1,\"a\":2}", "{\"a\":2,\"b\":1}", false},
		{"{\"a\":2,\"b\":1}", "{\"a\":1,\"a\":2}", false},
		{"{\"a\":1,\"b\":1,\"a\":1}", "{\"b\":1,\"a\":1,\"b\":1}", true},
		{"{\"a\":{\"x\":1,\"x\":2}}", "{\"a\":{\"x\":2}}", true},
	};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct jval a = value_of(str_c(cases[i].a), JSON_DUP_OK), b = value_of(str_c(cases[i].b), JSON_DUP_OK);

		assert_int_equal(j_equal(a, b), cases[i].equal);
		assert_int_equal(j_equal(b, a), cases[i].equal);
	}
	/* 64 levels deep, the same name twice at each: must not take twice as long for every level. */
	struct buf b;
	buf_init(&b, &arena, 1u << 20);
	for (int i = 0; i < 60; i++)
		buf_lit(&b, "{\"a\":0,\"a\":");
	buf_lit(&b, "[ 1 ]");
	for (int i = 0; i < 60; i++)
		buf_byte(&b, '}');
	struct str copy = arena_str(&arena, buf_slice(&b));
	ptrdiff_t blank = str_chr(copy, ' ', 0);
	((char *)(uintptr_t)copy.p)[blank] = '\t';
	assert_true(j_equal(value_of(buf_slice(&b), JSON_DUP_OK), value_of(copy, JSON_DUP_OK)));
}

static void allows_only_known_members(void **state)
{
	const struct str names[] = {STR("limit"), STR("offset"), STR("namespace_prefix"), STR("a/b")};

	assert_int_equal(j_only(value("{}"), names, 4), OK);
	assert_int_equal(j_only(value("{\"limit\":1,\"off\\u0073et\":2,\"a/b\":3}"), names, 4), OK);
	assert_int_equal(j_only(value("{\"limit\":1, \"ofset\":2}"), names, 4), E_INVALID);
	assert_string_equal(diag_get()->text, "unknown member \"ofset\"; did you mean \"offset\"?");
	assert_string_equal(diag_get()->field, "/ofset");
	assert_int_equal(diag_get()->position, 12);
	assert_int_equal(j_only(value("{\"query\":1}"), names, 4), E_INVALID);
	assert_string_equal(diag_get()->text, "unknown member \"query\"; allowed are limit, offset, namespace_prefix, a/b");
	assert_int_equal(j_only(value("{\"x/y~z\":1}"), names, 4), E_INVALID);
	assert_string_equal(diag_get()->field, "/x~1y~0z");
	assert_int_equal(j_only(value("{\"\\u006cimits\":1}"), names, 4), E_INVALID);
	assert_string_equal(diag_get()->text, "unknown member \"limits\"; did you mean \"limit\"?");
	assert_int_equal(j_only(value("{\"x\":1}"), names, 0), E_INVALID);
	assert_string_equal(diag_get()->text, "unknown member \"x\"; none is allowed here");
	/* A name of any length and shape. */
	assert_int_equal(j_only(value_of(arena_printf(&arena, "{\"\\n%0200d/~\xc3\xa9\":1}", 0), 0), names, 4), E_INVALID);
	assert_int_equal(j_only(value_of(arena_printf(&arena, "{\"%s%s%s\":1}", "/~/~/~/~/~/~/~/~/~/~/~/~/~/~/~/~/~/~/~/~",
						      "/~/~/~/~/~/~/~/~/~/~/~/~/~/~/~/~/~/~/~/~", "/~/~"),
					 0),
				names, 4),
			 E_INVALID);
	assert_int_equal(j_only(value("[1]"), names, 0), E_INVALID);
	assert_int_equal(j_only(absent, names, 0), OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(looks_up, setup, teardown),
		cmocka_unit_test_setup_teardown(unescapes, setup, teardown),
		cmocka_unit_test_setup_teardown(compares, setup, teardown),
		cmocka_unit_test_setup_teardown(compares_large_objects, setup, teardown),
		cmocka_unit_test_setup_teardown(compares_with_duplicates, setup, teardown),
		cmocka_unit_test_setup_teardown(allows_only_known_members, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
