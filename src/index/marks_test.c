/* The table of marks against a plain array, through many random changes. */
#include "index/marks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

/* Ids that differ in high bits only, as those of several kinds may. */
#define NAME(i) ((int64_t)((i) % 25) << 40 | (int64_t)((i) / 25))

static uint64_t next_random(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x;
}

static void like_an_array(void **state)
{
	enum { IDS = 500, STEPS = 200000 };
	static uint64_t mark[IDS];
	static bool there[IDS];
	uint64_t x = 88172645463325252u;
	struct marks m;
	size_t n = 0;

	(void)state;
	marks_init(&m);
	assert_false(marks_has(&m, 1, 1));
	marks_remove(&m, 1);
	for (int i = 0; i < STEPS; i++) {
		size_t id = next_random(&x) % IDS;

		if (next_random(&x) % 3) {
			mark[id] = next_random(&x) % 4; /* 0 is a mark like any other */
			there[id] = true;
			assert_int_equal(marks_put(&m, NAME(id), mark[id]), OK);
		} else {
			there[id] = false;
			marks_remove(&m, NAME(id));
		}
		if (i % 1000 != 0)
			continue;
		n = 0;
		for (size_t k = 0; k < IDS; k++) {
			n += there[k];
			assert_int_equal(marks_has(&m, NAME(k), mark[k]), there[k]);
			assert_false(marks_has(&m, NAME(k), 77));
		}
		assert_int_equal(m.n, n);
	}
	assert_true(marks_bytes(&m) >= n * 16);
	marks_release(&m);
	assert_int_equal(marks_bytes(&m), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(like_an_array),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
