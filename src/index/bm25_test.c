/* BM25 against the formula written out again in the plainest way. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "index/bm25.h"

static void test_idf(void **state)
{
	(void)state;
	assert_float_equal(bm25_idf(10, 1), log(1 + (10 - 1 + .5) / 1.5), 1e-15);
	assert_float_equal(bm25_idf(10, 10), log(1 + .5 / 10.5), 1e-15);
	assert_true(bm25_idf(1, 1) > 0);
	assert_true(bm25_idf(1000000000, 1000000000) > 0);
	assert_true(bm25_idf(10, 0) > bm25_idf(10, 1));
}

static void test_part(void **state)
{
	struct bm25 c = bm25_of(4, 40);

	(void)state;
	assert_float_equal(c.average, 10, 0);
	for (uint32_t tf = 1; tf < 20; tf++)
		for (uint32_t len = 1; len < 60; len += 7)
			assert_float_equal(bm25_part(&c, 2.0, tf, len),
					   2.0 * (tf * 1.9) / (tf + 0.9 * (1 - 0.4 + 0.4 * len / 10.0)), 1e-12);
}

static void test_empty(void **state)
{
	struct bm25 c = bm25_of(0, 0), d = bm25_of(3, 0);

	(void)state;
	assert_true(isfinite(bm25_part(&c, 1, 1, 1)));
	assert_true(isfinite(bm25_part(&d, 1, 1, 0)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_idf), cmocka_unit_test(test_part), cmocka_unit_test(test_empty)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
