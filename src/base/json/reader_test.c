/* The reader: raw spans, the shape of the tape, positions, limits. */
#include "base/test_util.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json/json.h"

static struct arena arena;

static int setup(void **state)
{
	arena_init(&arena, 64u << 20);
	return 0;
}

static int teardown(void **state)
{
	arena_release(&arena);
	return 0;
}

static struct json parsed(const char *text)
{
	struct json d;

	if (json_parse(&arena, str_c(text), NULL, &d) != OK)
		fail_msg("%s: %s", text, diag_get()->text);
	return d;
}

static void makes_a_tape(void **state)
{
	struct json d = parsed(" {\"a\" : [1, {}], \"b\\n\": \"x\"} ");
	static const struct {
		enum json_type type;
		bool escaped;
		uint32_t next, count;
		const char *raw;
	} want[] = {
		{JSON_OBJECT, false, 7, 2, "{\"a\" : [1, {}], \"b\\n\": \"x\"}"},
		{JSON_STRING, false, 2, 0, "\"a\""},
		{JSON_ARRAY, false, 5, 2, "[1, {}]"},
		{JSON_NUMBER, false, 4, 0, "1"},
		{JSON_OBJECT, false, 5, 0, "{}"},
		{JSON_STRING, true, 6, 0, "\"b\\n\""},
		{JSON_STRING, false, 7, 0, "\"x\""},
	};

	assert_int_equal(d.n, 7);
	for (uint32_t i = 0; i < d.n; i++) {
		assert_int_equal(d.nodes[i].type, want[i].type);
		assert_int_equal(d.nodes[i].escaped, want[i].escaped);
		assert_int_equal(d.nodes[i].next, want[i].next);
		assert_int_equal(d.nodes[i].count, want[i].count);
		assert_str(d.nodes[i].raw, want[i].raw);
		/* Slices of the text, not copies. */
		assert_true(d.nodes[i].raw.p >= d.text.p && d.nodes[i].raw.p + d.nodes[i].raw.n <= d.text.p + d.text.n);
	}
}

static void says_where(void **state)
{
	static const struct {
		const char *text;
		int64_t position;
		const char *sentence;
	} cases[] = {
		{"", 0, "line 1 column 1: expected a value (null, true, false, a number, a string, [ or {), but the text ends"},
		{"{\"a\": 1,\n \"b\" 2}", 14, "line 2 column 6: expected ':' after the key, found '2'"},
		{"[1,\n2,\n\n  x]", 10,
		 "line 4 column 3: expected a value (null, true, false, a number, a string, [ or {), found 'x'"},
		{"[1 2]", 3, "line 1 column 4: expected ',' or ']', found '2'"},
		{"{\"a\":1]", 6, "line 1 column 7: expected ',' or '}', found ']'"},
		{"{\"a\":1,}", 7, "line 1 column 8: expected a key in quotes, found '}'"},
		{"[1", 2, "line 1 column 3: expected ',' or ']', but the text ends"},
		{"[\"\xc3\xa9\", \"\\x\"]", 9,
		 "line 1 column 9: expected one of \" \\ / b f n r t u after the backslash, found 'x'"},
		{"[\"ab", 1, "line 1 column 2: a string that begins here has no end"},
		{"\"a\nb\"", 2, "line 1 column 3: a control character in a string must be escaped"},
		{"\"a\xff\"", 2, "line 1 column 3: not valid UTF-8"},
		{"01", 0, "line 1 column 1: a number must not begin with 0"},
		{"-x", 1, "line 1 column 2: expected a digit, found 'x'"},
		{"1.", 2, "line 1 column 3: expected a digit after the decimal point, but the text ends"},
		{"1e+", 3, "line 1 column 4: expected a digit in the exponent, but the text ends"},
		{"{} 1", 3, "line 1 column 4: expected the end of the text after the value, found '1'"},
		{"\xef\xbb\xbf{}", 0, "line 1 column 1: the text begins with a byte order mark, which JSON does not allow"},
		{"\"\\u12\"", 1, "line 1 column 2: \\u must be followed by four hexadecimal digits"},
		{"\"\\udc00\"", 1, "line 1 column 2: a low surrogate escape without a high one before it"},
		{"\"\\ud800\"", 1, "line 1 column 2: a high surrogate escape without a low one behind it"},
		{"{\"a\":1,\n\"a\":2}", 8, "line 2 column 1: the key \"a\" stands twice in one object"},
		{"[\x01]", 1, "line 1 column 2: expected a value (null, true, false, a number, a string, [ or {), found byte 0x01"},
	};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct json d;

		assert_int_equal(json_parse(&arena, str_c(cases[i].text), NULL, &d), E_INVALID);
		assert_string_equal(diag_get()->text + strlen("JSON, "), cases[i].sentence);
		assert_int_equal(diag_get()->position, cases[i].position);
		assert_null(d.nodes);
	}
}

static struct str nested(char open, char close, size_t depth)
{
	char *p = arena_alloc(&arena, depth * 2 + 1);

	memset(p, open, depth);
	memset(p + depth, close, depth);
	return str_of(p, depth * 2);
}

static void limits_depth(void **state)
{
	struct json_limits lim = json_default_limits;
	struct json d;

	assert_int_equal(json_parse(&arena, nested('[', ']', 64), NULL, &d), OK);
	assert_int_equal(json_parse(&arena, nested('[', ']', 65), NULL, &d), E_LIMIT);
	assert_string_equal(diag_get()->text, "JSON, line 1 column 65: nested too deep (limit 64)");
	assert_int_equal(diag_get()->kind, ERR_SYNTAX);
	assert_int_equal(json_parse(&arena, nested('[', ']', 1000000), NULL, &d), E_LIMIT);
	lim.depth = 1000000;
	lim.nodes = 2000000;
	assert_int_equal(json_parse(&arena, nested('[', ']', 100000), &lim, &d), OK);
	assert_int_equal(d.n, 100000);
	lim.depth = 0;
	assert_int_equal(json_parse(&arena, STR("1"), &lim, &d), OK);
	assert_int_equal(json_parse(&arena, STR("[]"), &lim, &d), E_LIMIT);
	lim.depth = 1;
	assert_int_equal(json_parse(&arena, STR("[1,2]"), &lim, &d), OK);
	assert_int_equal(json_parse(&arena, STR("[1,{}]"), &lim, &d), E_LIMIT);
	/* Depth is nesting, not the number of containers. */
	lim.depth = 2;
	assert_int_equal(json_parse(&arena, STR("[[],[],[],{},{}]"), &lim, &d), OK);
}

static void limits_nodes_and_bytes(void **state)
{
	struct json_limits lim = json_default_limits;
	struct arena small;
	struct json d;
	struct buf b;

	lim.nodes = 4;
	assert_int_equal(json_parse(&arena, STR("[1,2,3]"), &lim, &d), OK);
	assert_int_equal(json_parse(&arena, STR("[1,2,3,4]"), &lim, &d), E_LIMIT);
	assert_non_null(strstr(diag_get()->text, "too many values (limit 4)"));
	/* Keys count. */
	assert_int_equal(json_parse(&arena, STR("{\"a\":1}"), &lim, &d), OK);
	assert_int_equal(json_parse(&arena, STR("{\"a\":1,\"b\":2}"), &lim, &d), E_LIMIT);
	lim.nodes = 0;
	assert_int_equal(json_parse(&arena, STR("1"), &lim, &d), E_LIMIT);
	lim = json_default_limits;
	lim.bytes = 5;
	assert_int_equal(json_parse(&arena, STR("12345"), &lim, &d), OK);
	assert_int_equal(json_parse(&arena, STR("123456"), &lim, &d), E_LIMIT);
	assert_int_equal(diag_get()->kind, ERR_SIZE);
	assert_non_null(strstr(diag_get()->text, "limit 5"));

	buf_init(&b, &arena, 8u << 20);
	buf_byte(&b, '[');
	for (int i = 0; i < 199998; i++)
		buf_lit(&b, "1,");
	buf_lit(&b, "1]");
	assert_int_equal(json_parse(&arena, buf_slice(&b), NULL, &d), OK);
	assert_int_equal(d.n, 200000);
	assert_int_equal(d.nodes[0].count, 199999);
	b.n--;
	buf_lit(&b, ",1]");
	assert_int_equal(json_parse(&arena, buf_slice(&b), NULL, &d), E_LIMIT);

	arena_init(&small, 10000);
	assert_int_equal(json_parse(&small, buf_slice(&b), NULL, &d), E_LIMIT);
	arena_release(&small);
}

static void allows_duplicates_when_told(void **state)
{
	struct json_limits lim = json_default_limits;
	struct json d;
	int64_t v;

	lim.flags = JSON_DUP_OK;
	assert_int_equal(json_parse(&arena, STR("{\"a\":1,\"b\":2,\"\\u0061\":3}"), &lim, &d), OK);
	assert_int_equal(d.nodes[0].count, 3);
	assert_true(j_i64(j_get(json_root(&d), STR("a")), &v) && v == 3);
}

static struct str many_keys(size_t n, const char *extra)
{
	struct buf b;

	buf_init(&b, &arena, 32u << 20);
	buf_byte(&b, '{');
	for (size_t i = 0; i < n; i++)
		buf_printf(&b, "\"%s%zu\":%zu,", i % 3 ? "key" : "k\\u0065y", i, i);
	buf_printf(&b, "%s}", extra);
	return buf_slice(&b);
}

static void finds_duplicates_of_many(void **state)
{
	struct json d;

	assert_int_equal(json_parse(&arena, many_keys(50000, "\"last\":1"), NULL, &d), OK);
	assert_int_equal(d.nodes[0].count, 50001);
	assert_int_equal(json_parse(&arena, many_keys(50000, "\"key49998\":1"), NULL, &d), E_INVALID);
	assert_int_equal(json_parse(&arena, many_keys(50000, "\"k\\u0065y0\":1"), NULL, &d), E_INVALID);
	assert_non_null(strstr(diag_get()->text, "stands twice"));
	for (size_t n = 10; n < 40; n++) {
		assert_int_equal(json_parse(&arena, many_keys(n, "\"last\":1"), NULL, &d), OK);
		assert_int_equal(json_parse(&arena, many_keys(n, "\"key9\":1"), NULL, &d), E_INVALID);
		assert_int_equal(json_parse(&arena, many_keys(n, "\"key4\":1"), NULL, &d), E_INVALID);
	}
	/* Escaped keys beyond the small buffer. */
	struct buf b;
	buf_init(&b, &arena, 1u << 20);
	buf_byte(&b, '{');
	for (int i = 0; i < 20; i++)
		buf_printf(&b, "\"\\n%01000d\":1,", i);
	buf_printf(&b, "\"\\u000a%01000d\":1}", 7);
	assert_int_equal(json_parse(&arena, buf_slice(&b), NULL, &d), E_INVALID);
}

/* The usual size of a request; says how long it takes. */
static void is_fast(void **state)
{
	uint64_t best = NEVER;
	struct arena a;
	struct json d;
	struct buf b;

	buf_init(&b, &arena, 1u << 16);
	buf_lit(&b, "{\"namespace\": [\"users\", \"u1\"], \"key\": \"k\", \"value\": {\"messages\": [");
	while (b.n < 2400)
		buf_printf(&b,
			   "%s{\"role\": \"user\", \"content\": \"A walk along the lake \\u2014 then a caf\xc3\xa9\", \"n\": 42}",
			   b.p[b.n - 1] == '[' ? "" : ", ");
	buf_lit(&b, "]}}");
	arena_init(&a, 1u << 20);
	for (int round = 0; round < 20; round++) {
		uint64_t start = clock_mono_ns(), took;

		for (int i = 0; i < 200; i++) {
			arena_clear(&a);
			assert_int_equal(json_parse(&a, buf_slice(&b), NULL, &d), OK);
		}
		took = (clock_mono_ns() - start) / 200;
		best = took < best ? took : best;
	}
	arena_release(&a);
	print_message("%zu bytes, %u nodes: %llu ns\n", b.n, d.n, (unsigned long long)best);
	/* Wide enough for sanitizers, valgrind and a busy machine; a reader that is not linear would take milliseconds. */
	assert_true(best < 2000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(makes_a_tape, setup, teardown),
		cmocka_unit_test_setup_teardown(says_where, setup, teardown),
		cmocka_unit_test_setup_teardown(limits_depth, setup, teardown),
		cmocka_unit_test_setup_teardown(limits_nodes_and_bytes, setup, teardown),
		cmocka_unit_test_setup_teardown(allows_duplicates_when_told, setup, teardown),
		cmocka_unit_test_setup_teardown(finds_duplicates_of_many, setup, teardown),
		cmocka_unit_test_setup_teardown(is_fast, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
