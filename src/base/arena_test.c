/* Arenas: ceiling, alignment, growth in place, the block cache, poisoning. */
#include "base/test_util.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/arena.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

static void aligns_and_counts(void **state)
{
	struct arena a;
	char *p, *q;

	arena_init(&a, 4096);
	assert_int_equal(a.used, 0);
	p = arena_alloc(&a, 1);
	q = arena_alloc(&a, 17);
	assert_non_null(p);
	assert_non_null(q);
	assert_int_equal((uintptr_t)p % 16, 0);
	assert_int_equal((uintptr_t)q % 16, 0);
	assert_true(q >= p + 16);
	assert_in_range(a.used, 48, 96);
	assert_non_null(arena_alloc(&a, 0));
	arena_release(&a);
	assert_int_equal(a.used, 0);
	/* Released arenas can be used again. */
	assert_non_null(arena_alloc(&a, 10));
	arena_release(&a);
}

static void keeps_its_ceiling(void **state)
{
	struct arena a;
	volatile size_t most = SIZE_MAX;
	size_t got = 0;

	arena_init(&a, 100000);
	diag_clear();
	while (arena_alloc(&a, 1000)) {
		got += 1000;
		assert_true(a.used <= a.ceiling);
	}
	assert_int_equal(diag_get()->code, E_LIMIT);
	assert_non_null(strstr(diag_get()->text, "100000"));
	assert_in_range(got, 95000, 100000);
	assert_null(arena_alloc(&a, 1u << 20));
	arena_release(&a);
	arena_init(&a, 1u << 20);
	/* Not known to the compiler, which would complain. */
	assert_null(arena_alloc(&a, most - 7));
	assert_null(arena_alloc(&a, most / 2));
	assert_null(arena_array(&a, most / 4, 8));
	assert_null(arena_array(&a, most >> 30, most >> 30));
	assert_null(arena_grow(&a, NULL, 0, most));
	assert_null(arena_alloc(&a, (1u << 20) + 1));
	assert_non_null(arena_alloc(&a, 1u << 19));
	assert_true(a.used <= a.ceiling);
	arena_release(&a);
	arena_init(&a, 0);
	assert_null(arena_alloc(&a, 1));
	arena_release(&a);
}

static void grows(void **state)
{
	struct arena a;
	size_t n = 10;
	char *p, *q, *other;

	arena_init(&a, 8u << 20);
	p = arena_alloc(&a, n);
	memset(p, 'x', n);
	/* The last allocation stays where it is as long as the block has room. */
	q = arena_grow(&a, p, n, 1000);
	assert_ptr_equal(p, q);
	memset(q, 'y', 1000);
	other = arena_alloc(&a, 16);
	memset(other, 'z', 16);
	q = arena_grow(&a, q, 1000, 2000);
	assert_ptr_not_equal(p, q);
	for (size_t i = 0; i < 1000; i++)
		assert_int_equal(q[i], 'y');
	assert_ptr_equal(arena_grow(&a, q, 2000, 100), q);
	assert_non_null(arena_grow(&a, NULL, 0, 5));
	/* A large one doubles many times, with small ones between. */
	n = 64;
	p = arena_alloc(&a, n);
	memset(p, 'a', n);
	while (n < (1u << 20)) {
		p = arena_grow(&a, p, n, n * 2);
		assert_non_null(p);
		assert_int_equal((uintptr_t)p % 16, 0);
		memset(p + n, 'a', n);
		n *= 2;
		assert_non_null(arena_alloc(&a, 8));
	}
	for (size_t i = 0; i < n; i++)
		assert_int_equal(p[i], 'a');
	diag_clear();
	assert_null(arena_grow(&a, p, n, 64u << 20));
	assert_int_equal(diag_get()->code, E_LIMIT);
	assert_int_equal(p[n - 1], 'a');
	for (size_t i = 0; i < 16; i++)
		assert_int_equal(other[i], 'z');
	arena_release(&a);
}

static void grows_large_blocks_without_waste(void **state)
{
	struct arena a;
	size_t n = 32768;
	char *p;

	arena_init(&a, (4u << 20) + 4096);
	p = arena_alloc(&a, n);
	memset(p, 1, n);
	for (; n < (4u << 20); n *= 2) {
		p = arena_grow(&a, p, n, n * 2);
		assert_non_null(p);
		memset(p + n, 1, n);
	}
	for (size_t i = 0; i < n; i += 997)
		assert_int_equal(p[i], 1);
	arena_release(&a);
}

static void clears(void **state)
{
	struct arena a;
	char *first;

	arena_init(&a, 1u << 20);
	first = arena_alloc(&a, 100);
	for (int i = 0; i < 100; i++)
		assert_non_null(arena_alloc(&a, 5000));
	assert_non_null(arena_alloc(&a, 100000));
	arena_clear(&a);
	assert_true(a.used < 100);
	assert_non_null(arena_alloc(&a, 100));
	arena_clear(&a);
	arena_clear(&a);
	(void)first;
	arena_release(&a);
	arena_clear(&a);
	arena_release(&a);
}

static void copies_text(void **state)
{
	struct arena a;
	struct str s;
	char *c;
	int *zeros;

	arena_init(&a, 1u << 16);
	s = arena_str(&a, STR("hello"));
	assert_str(s, "hello");
	assert_int_equal(s.p[5], 0);
	s = arena_str(&a, str_of(NULL, 0));
	assert_non_null(s.p);
	assert_int_equal(s.n, 0);
	c = arena_cstr(&a, str_of("abcdef", 3));
	assert_string_equal(c, "abc");
	s = arena_printf(&a, "%s-%d", "x", 42);
	assert_str(s, "x-42");
	assert_int_equal(s.p[s.n], 0);
	zeros = arena_zalloc(&a, 100 * sizeof *zeros);
	for (int i = 0; i < 100; i++)
		assert_int_equal(zeros[i], 0);
	arena_release(&a);
	arena_init(&a, 32);
	assert_null(arena_str(&a, STR("a text that is longer than the ceiling allows")).p);
	assert_null(arena_cstr(&a, STR("a text that is longer than the ceiling allows")));
	assert_null(arena_printf(&a, "%080d", 1).p);
	arena_release(&a);
}

static const void *use_some(void)
{
	struct arena all[3];

	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 3; i++) {
			arena_init(&all[i], 64u << 20);
			for (int k = 0; k < 200; k++) {
				char *p = arena_alloc(&all[i], 12000);

				if (!p)
					return "full";
				memset(p, k, 12000);
			}
		}
		for (int i = 0; i < 3; i++)
			arena_release(&all[i]);
	}
	return NULL;
}

static void *use_many(void *unused)
{
	return (void *)(uintptr_t)use_some();
}

/* The cache of every thread is given back at its end; leak checkers tell when it is not. */
static void caches_per_thread(void **state)
{
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, use_many, NULL), 0);
	for (int i = 0; i < 4; i++) {
		void *failed;

		pthread_join(threads[i], &failed);
		assert_null(failed);
	}
	assert_null(use_many(NULL));
}

static void poisons(void **state)
{
#ifdef __SANITIZE_ADDRESS__
	struct arena a;
	char *p, *q, *big;

	arena_init(&a, 1u << 20);
	p = arena_alloc(&a, 13);
	q = arena_alloc(&a, 16);
	assert_false(__asan_address_is_poisoned(p + 12));
	assert_true(__asan_address_is_poisoned(p + 13));
	assert_false(__asan_address_is_poisoned(q + 15));
	assert_true(__asan_address_is_poisoned(q + 16));
	big = arena_alloc(&a, 50000);
	assert_false(__asan_address_is_poisoned(big + 49999));
	assert_true(__asan_address_is_poisoned(big + 50000));
	big = arena_grow(&a, big, 50000, 60001);
	assert_false(__asan_address_is_poisoned(big + 60000));
	assert_true(__asan_address_is_poisoned(big + 60001));
	arena_clear(&a);
	assert_true(__asan_address_is_poisoned(p));
	p = arena_alloc(&a, 8);
	assert_false(__asan_address_is_poisoned(p));
	arena_release(&a);
	assert_true(__asan_address_is_poisoned(p));
#else
	skip();
#endif
}

/* Random sizes, grown at random; every byte keeps its value. */
static void holds_what_was_written(void **state)
{
	struct {
		unsigned char *p;
		size_t n;
	} kept[256] = {0};
	uint64_t seed = 42;
	struct arena a;

	arena_init(&a, 32u << 20);
	for (int round = 0; round < 3000; round++) {
		size_t i = test_random(&seed) % 256, n = test_random(&seed) % (round % 50 ? 700 : 40000);
		unsigned char *p;

		p = kept[i].p && n > kept[i].n && round % 3 ? arena_grow(&a, kept[i].p, kept[i].n, n) : arena_alloc(&a, n);
		assert_non_null(p);
		memset(p, (int)i, n);
		kept[i].p = p;
		kept[i].n = n;
		assert_true(a.used <= a.ceiling);
	}
	for (size_t i = 0; i < 256; i++)
		for (size_t k = 0; k < kept[i].n; k++)
			assert_int_equal(kept[i].p[k], i);
	arena_release(&a);
}

/* What is said to be inside is: no byte before the block's first or behind what was handed out. */
static void test_has(void **state)
{
	struct arena a;
	(void)state;

	arena_init(&a, 1 << 20);
	assert_false(arena_has(&a, STR("x")));
	char *first = arena_alloc(&a, 16);
	assert_true(arena_has(&a, str_of(first, 16)));
	assert_false(arena_has(&a, str_of(first - 1, 16)));
	assert_false(arena_has(&a, str_of(first - 4096, 16)));
	assert_false(arena_has(&a, str_of(first, 4096)));
	char *large = arena_alloc(&a, 100000);
	assert_false(arena_has(&a, str_of(large, 16))); /* another block: not known */
	for (int i = 0; i < 2000; i++) {
		char *p = arena_alloc(&a, 16);

		assert_true(arena_has(&a, str_of(p, 16)));
	}
	assert_false(arena_has(&a, str_of(first, 16))); /* its block is full */
	arena_release(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_has),
		cmocka_unit_test(aligns_and_counts),
		cmocka_unit_test(keeps_its_ceiling),
		cmocka_unit_test(grows),
		cmocka_unit_test(grows_large_blocks_without_waste),
		cmocka_unit_test(clears),
		cmocka_unit_test(copies_text),
		cmocka_unit_test(caches_per_thread),
		cmocka_unit_test(poisons),
		cmocka_unit_test(holds_what_was_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
