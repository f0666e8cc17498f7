/* Containment: what PostgreSQL answers for the same pairs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/json/json.h"

static const struct {
	const char *a, *b;
	bool yes;
} cases[] = {
	{"{}", "{}", true},
	{"{\"a\":1}", "{}", true},
	{"{\"a\":1,\"b\":2}", "{\"b\":2}", true},
	{"{\"a\":1}", "{\"a\":2}", false},
	{"{\"a\":9}", "{\"a\":9.0}", true},
	{"{\"a\":\"9\"}", "{\"a\":9}", false},
	{"{\"\\u0061\":1}", "{\"a\":1}", true},
	{"{\"a\":null}", "{\"a\":null}", true},
	{"{}", "{\"a\":null}", false},
	{"{\"a\":{\"b\":1,\"c\":2}}", "{\"a\":{\"c\":2}}", true},
	{"{\"a\":{\"b\":1}}", "{\"a\":{}}", true},
	{"{\"a\":1}", "{\"a\":{}}", false},
	{"{\"a\":[]}", "{\"a\":{}}", false},
	{"{\"a\":[1,2]}", "{\"a\":1}", false},
	{"{\"a\":[1,2]}", "{\"a\":[2]}", true},
	{"{\"a\":[1,2]}", "{\"a\":[2,1,2]}", true},
	{"{\"a\":[1]}", "{\"a\":[1,1]}", true},
	{"{\"a\":[{\"x\":1,\"y\":2}]}", "{\"a\":[{\"x\":1}]}", true},
	{"{\"a\":[{\"x\":1},{\"y\":2}]}", "{\"a\":[{\"x\":1,\"y\":2}]}", false},
	{"[1,[2,3]]", "[2]", false},
	{"[1,[2,3]]", "[[2]]", true},
	{"[[1]]", "[[]]", true},
	{"{\"a\":[[\"x\"]]}", "{\"a\":[\"x\"]}", false},
	{"[1]", "1", true},
	{"[\"a\"]", "\"a\"", true},
	{"[[1]]", "1", false},
	{"1", "[1]", false},
	{"1", "1.0", true},
	{"true", "false", false},
};

static void as_jsonb(void **state)
{
	struct arena a;
	struct json x, y;

	arena_init(&a, 1 << 20);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		assert_int_equal(json_parse(&a, str_c(cases[i].a), NULL, &x), OK);
		assert_int_equal(json_parse(&a, str_c(cases[i].b), NULL, &y), OK);
		if (j_contains(json_root(&x), json_root(&y)) != cases[i].yes)
			fail_msg("%s @> %s is not %d", cases[i].a, cases[i].b, cases[i].yes);
	}
	arena_release(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(as_jsonb)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
