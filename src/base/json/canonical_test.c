/* The one form of a value. */
#include "base/test_util.h"

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

static const char *canonical(const char *text)
{
	struct json_limits lim = {.depth = 64, .nodes = 10000, .bytes = 1u << 20, .flags = JSON_DUP_OK};
	struct json doc;
	struct buf b;

	assert_int_equal(json_parse(&arena, str_c(text), &lim, &doc), OK);
	buf_init(&b, &arena, 1u << 20);
	assert_int_equal(json_canonical(&arena, json_root(&doc), &b), OK);
	buf_byte(&b, 0);
	return b.p;
}

static void numbers(void **state)
{
	static const char *const all[][2] = {
		{"0", "0"},
		{"-0", "0"},
		{"-0.0e9", "0"},
		{"1", "1"},
		{"10", "1e1"},
		{"1.0", "1"},
		{"1e0", "1"},
		{"0.1", "1e-1"},
		{"1.50", "15e-1"},
		{"15e-1", "15e-1"},
		{"-12.340e+5", "-1234e3"},
		{"100000000000000000000", "1e20"},
		{"1e400", "1e400"},
		{"0.000001", "1e-6"},
		{"9007199254740993", "9007199254740993"},
		{"1E20", "1e20"},
	};

	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		assert_string_equal(canonical(all[i][0]), all[i][1]);
}

static void values(void **state)
{
	assert_string_equal(canonical(" { \"b\" : [ 1.0 , true , null ], \"a\" : { } } "), "{\"a\":{},\"b\":[1,true,null]}");
	assert_string_equal(canonical("{\"\\u0061\":\"\\u00e9\\/\",\"B\":\"\"}"), "{\"B\":\"\",\"a\":\"\xc3\xa9/\"}");
	assert_string_equal(canonical("{\"a\":1,\"b\":2,\"a\":3}"), "{\"a\":3,\"b\":2}");
	assert_string_equal(canonical("[]"), "[]");
	assert_string_equal(canonical("\"\\ud83d\\ude00\""), "\"\xf0\x9f\x98\x80\"");
	assert_string_equal(canonical("{\"aa\":1,\"b\":2,\"a\":3}"), "{\"a\":3,\"aa\":1,\"b\":2}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(numbers), cmocka_unit_test(values)};

	return cmocka_run_group_tests(tests, setup, teardown);
}
