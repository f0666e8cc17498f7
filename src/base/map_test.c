/* The hash map against a plain array of what must be in it. */
#include "base/test_util.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/map.h"

static void puts_gets_deletes(void **state)
{
	int one = 1, two = 2;
	void *old = &one;
	struct map m;

	map_init(&m);
	assert_null(map_get(&m, STR("a")));
	assert_null(map_del(&m, STR("a")));
	assert_int_equal(map_put(&m, STR("a"), &one, &old), OK);
	assert_null(old);
	assert_ptr_equal(map_get(&m, STR("a")), &one);
	assert_int_equal(map_put(&m, STR("a"), &two, &old), OK);
	assert_ptr_equal(old, &one);
	assert_int_equal(map_put(&m, STR(""), &one, NULL), OK);
	assert_ptr_equal(map_get(&m, str_of(NULL, 0)), &one);
	assert_int_equal(map_put(&m, str_of("a\0b", 3), &one, NULL), OK);
	assert_ptr_equal(map_get(&m, STR("a")), &two);
	assert_int_equal(m.count, 3);
	assert_ptr_equal(map_del(&m, STR("a")), &two);
	assert_null(map_get(&m, STR("a")));
	assert_int_equal(m.count, 2);
	map_release(&m);
	assert_null(map_get(&m, STR("")));
	map_release(&m);
}

#define KEYS 3000

static void name(char *out, size_t room, size_t i)
{
	snprintf(out, room, "key-%zu", i);
}

static void agrees_with_an_array(void **state)
{
	static uintptr_t want[KEYS];
	uint64_t seed = 7;
	struct map m;
	char key[32];
	size_t count = 0, it = 0, seen = 0;
	struct str k;
	void *v;

	map_init(&m);
	memset(want, 0, sizeof want);
	for (int step = 0; step < 200000; step++) {
		size_t i = test_random(&seed) % KEYS;

		name(key, sizeof key, i);
		if (test_random(&seed) % 3) {
			uintptr_t value = test_random(&seed) | 1;

			assert_int_equal(map_put(&m, str_c(key), (void *)value, &v), OK);
			assert_true((uintptr_t)v == want[i]);
			want[i] = value;
		} else {
			assert_true((uintptr_t)map_del(&m, str_c(key)) == want[i]);
			want[i] = 0;
		}
		assert_true(m.filled <= m.cap / 4 * 3);
	}
	for (size_t i = 0; i < KEYS; i++) {
		name(key, sizeof key, i);
		assert_true((uintptr_t)map_get(&m, str_c(key)) == want[i]);
		count += want[i] != 0;
	}
	assert_int_equal(m.count, count);
	while (map_next(&m, &it, &k, &v)) {
		assert_true(str_starts(k, STR("key-")));
		assert_ptr_equal(map_get(&m, k), v);
		seen++;
	}
	assert_int_equal(seen, count);
	assert_true(m.cap <= 16384);
	map_release(&m);
}

/* Coming and going at a constant size must not make the table grow without end. */
static void lives_with_tombstones(void **state)
{
	struct map m;
	char key[32];

	map_init(&m);
	for (size_t i = 0; i < 100000; i++) {
		name(key, sizeof key, i);
		assert_int_equal(map_put(&m, str_c(key), &m, NULL), OK);
		if (i >= 10) {
			name(key, sizeof key, i - 10);
			assert_ptr_equal(map_del(&m, str_c(key)), &m);
		}
	}
	assert_int_equal(m.count, 10);
	assert_true(m.cap <= 64);
	map_release(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(puts_gets_deletes),
		cmocka_unit_test(agrees_with_an_array),
		cmocka_unit_test(lives_with_tombstones),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
