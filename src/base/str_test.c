/* Slices and the intrusive list. */
#include "base/test_util.h"

#include "base/list.h"
#include "base/str.h"

static void compares(void **state)
{
	assert_true(str_eq(STR(""), str_of(NULL, 0)));
	assert_true(str_eq(STR("abc"), STR("abc")));
	assert_false(str_eq(STR("abc"), STR("abd")));
	assert_false(str_eq(STR("abc"), STR("ab")));
	assert_true(str_cmp(STR("ab"), STR("abc")) < 0);
	assert_true(str_cmp(STR("b"), STR("abc")) > 0);
	assert_int_equal(str_cmp(STR(""), str_of(NULL, 0)), 0);
	/* Bytes are unsigned: a two-byte character sorts behind ASCII. */
	assert_true(str_cmp(STR("z"), STR("\xc3\xa9")) < 0);
	assert_true(str_starts(STR("abc"), STR("ab")));
	assert_true(str_starts(STR("abc"), STR("")));
	assert_false(str_starts(STR("a"), STR("ab")));
	assert_true(str_ends(STR("abc"), STR("bc")));
	assert_false(str_ends(STR("abc"), STR("ab")));
	assert_true(str_ieq(STR("Content-Type"), STR("content-TYPE")));
	assert_false(str_ieq(STR("a["), STR("A{")));
	assert_false(str_ieq(STR("a"), STR("ab")));
}

static void cuts(void **state)
{
	struct str head, tail;

	assert_str(str_sub(STR("abcdef"), 2, 4), "cd");
	assert_str(str_sub(STR("abc"), 2, 99), "c");
	assert_str(str_sub(STR("abc"), 5, 2), "");
	assert_str(str_sub(str_of(NULL, 0), 0, 1), "");
	assert_str(str_trim(STR(" \t a b\r\n")), "a b");
	assert_str(str_trim(STR("  ")), "");
	assert_true(str_cut(STR("a=b=c"), '=', &head, &tail));
	assert_str(head, "a");
	assert_str(tail, "b=c");
	assert_false(str_cut(STR("abc"), '=', &head, &tail));
	assert_str(head, "abc");
	assert_str(tail, "");
	assert_true(str_cut(STR("="), '=', &head, &tail));
	assert_int_equal(head.n + tail.n, 0);
	assert_false(str_cut(str_of(NULL, 0), '=', &head, &tail));
	assert_int_equal(str_chr(STR("abcabc"), 'b', 2), 4);
	assert_int_equal(str_chr(STR("abc"), 'a', 1), -1);
	assert_int_equal(str_chr(STR("abc"), 'a', 7), -1);
}

static void reads_integers(void **state)
{
	static const char *const wrong[] = {
		"", "-", "+1", " 1", "1 ", "1.0", "0x1", "9223372036854775808", "-9223372036854775809", "--1"};
	int64_t v = 77;

	assert_true(str_int(STR("0"), INT64_MIN, INT64_MAX, &v) && v == 0);
	assert_true(str_int(STR("-0"), INT64_MIN, INT64_MAX, &v) && v == 0);
	assert_true(str_int(STR("0042"), INT64_MIN, INT64_MAX, &v) && v == 42);
	assert_true(str_int(STR("9223372036854775807"), INT64_MIN, INT64_MAX, &v) && v == INT64_MAX);
	assert_true(str_int(STR("-9223372036854775808"), INT64_MIN, INT64_MAX, &v) && v == INT64_MIN);
	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
		assert_false(str_int(str_c(wrong[i]), INT64_MIN, INT64_MAX, &v));
	assert_true(str_int(STR("10"), 1, 10, &v) && v == 10);
	assert_false(str_int(STR("11"), 1, 10, &v));
	assert_false(str_int(STR("0"), 1, 10, &v));
	assert_int_equal(v, 10);
}

static void measures_distance(void **state)
{
	char longer[200];

	assert_int_equal(str_distance(STR(""), STR("")), 0);
	assert_int_equal(str_distance(STR("abc"), STR("")), 3);
	assert_int_equal(str_distance(STR(""), STR("abc")), 3);
	assert_int_equal(str_distance(STR("limit"), STR("limit")), 0);
	assert_int_equal(str_distance(STR("limit"), STR("limti")), 1);
	assert_int_equal(str_distance(STR("limit"), STR("Limits")), 1);
	assert_int_equal(str_distance(STR("kitten"), STR("sitting")), 3);
	assert_int_equal(str_distance(STR("ab"), STR("ba")), 1);
	memset(longer, 'x', sizeof longer);
	assert_int_equal(str_distance(str_of(longer, sizeof longer), STR("")), 64);
}

struct thing {
	int id;
	struct list link;
};

static void links(void **state)
{
	struct list all;
	struct thing things[4];
	int seen = 0;

	list_init(&all);
	assert_true(list_empty(&all));
	for (int i = 0; i < 4; i++) {
		things[i].id = i;
		list_add_tail(&all, &things[i].link);
	}
	LIST_EACH (at, &all) {
		struct thing *t = CONTAINER(at, struct thing, link);

		assert_int_equal(t->id, seen++);
		/* The one at hand may be taken out on the way. */
		if (t->id % 2)
			list_del(at);
	}
	assert_int_equal(seen, 4);
	list_add_head(&all, &things[3].link);
	assert_int_equal(CONTAINER(all.next, struct thing, link)->id, 3);
	assert_int_equal(CONTAINER(all.prev, struct thing, link)->id, 2);
	list_del(&things[0].link);
	list_del(&things[2].link);
	list_del(&things[3].link);
	assert_true(list_empty(&all));
	list_del(&things[1].link);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(compares),	     cmocka_unit_test(cuts),  cmocka_unit_test(reads_integers),
		cmocka_unit_test(measures_distance), cmocka_unit_test(links),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
