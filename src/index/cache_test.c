/* The scope cache: ceiling, order of eviction, holders, loaders; and threads that use one entry at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "index/cache.h"

static struct str key(char *room, int i)
{
	return str_of(room, (size_t)snprintf(room, 32, "tenant\ni%d", i));
}

static size_t entries(struct cache *c)
{
	struct cache_stats s;

	cache_stats(c, &s);
	return s.entries;
}

static void test_same_entry(void **state)
{
	struct cache *c = cache_new(1 << 20);
	struct cache_entry *x = cache_acquire(c, STR("a")), *y = cache_acquire(c, STR("a")), *z = cache_acquire(c, STR("b"));

	(void)state;
	assert_ptr_equal(x, y);
	assert_ptr_not_equal(x, z);
	assert_null(x->scope);
	cache_release(c, x);
	cache_release(c, y);
	cache_release(c, z);
	assert_int_equal(entries(c), 2);
	cache_free(c);
}

static void test_least_recently_used_goes(void **state)
{
	struct cache *c = cache_new(10000);
	struct cache_stats stats;
	struct cache_entry *e;
	char room[32];

	(void)state;
	for (int i = 0; i < 4; i++) {
		e = cache_acquire(c, key(room, i));
		e->scope = scope_new(false);
		cache_charge(c, e, 2000);
		cache_release(c, e);
	}
	assert_int_equal(entries(c), 4);
	e = cache_acquire(c, key(room, 0)); /* used again */
	assert_non_null(e->scope);
	cache_release(c, e);
	e = cache_acquire(c, key(room, 9));
	cache_charge(c, e, 2000);
	cache_release(c, e);
	cache_stats(c, &stats);
	assert_true(stats.bytes <= 10000);
	assert_true(stats.evictions >= 1);
	e = cache_acquire(c, key(room, 0));
	assert_non_null(e->scope);
	cache_release(c, e);
	e = cache_acquire(c, key(room, 1));
	assert_null(e->scope); /* was the oldest: made anew */
	cache_release(c, e);
	cache_free(c);
}

static void test_held_entries_stay(void **state)
{
	struct cache *c = cache_new(5000);
	struct cache_entry *held = cache_acquire(c, STR("held")), *e;
	struct cache_stats stats;
	char room[32];

	(void)state;
	held->scope = scope_new(false);
	cache_charge(c, held, 4500);
	for (int i = 0; i < 10; i++) {
		e = cache_acquire(c, key(room, i));
		cache_charge(c, e, 3000);
		cache_release(c, e);
	}
	e = cache_acquire(c, STR("held"));
	assert_ptr_equal(e, held);
	assert_non_null(e->scope);
	cache_release(c, e);
	cache_charge(c, held, 6000); /* above the ceiling alone */
	cache_release(c, held);
	cache_stats(c, &stats);
	assert_true(stats.bytes <= 5000);
	e = cache_acquire(c, STR("held"));
	assert_null(e->scope);
	cache_release(c, e);
	cache_free(c);
}

static void test_one_loader(void **state)
{
	struct cache *c = cache_new(1 << 20);
	struct cache_entry *e = cache_acquire(c, STR("a"));
	struct list w1, w2, woken;
	int n = 0;

	(void)state;
	list_init(&w1);
	list_init(&w2);
	assert_true(cache_load_begin(c, e, &w1));
	assert_false(cache_load_begin(c, e, &w1));
	assert_false(cache_load_begin(c, e, &w2));
	cache_load_end(c, e, &woken);
	LIST_EACH (node, &woken) {
		assert_true(node == &w1 || node == &w2);
		list_del(node);
		n++;
	}
	assert_int_equal(n, 2);
	assert_true(cache_load_begin(c, e, &w1));
	cache_load_end(c, e, &woken);
	assert_true(list_empty(&woken));
	cache_release(c, e);
	cache_free(c);
}

/* Threads acquire, add under the write lock, read under the read lock, charge and release, with far more scopes than fit. */
static struct cache *shared;
static struct str one_doc;

static void *hammer(void *arg)
{
	uint64_t seed = 1 + (uint64_t)(uintptr_t)arg;
	char room[32];

	for (int i = 0; i < 3000; i++) {
		struct cache_entry *e;
		size_t bytes;

		seed = seed * 6364136223846793005u + 1442695040888963407u;
		e = cache_acquire(shared, key(room, (int)(seed >> 60)));
		if (!e)
			abort();
		if (seed >> 40 & 1) {
			pthread_rwlock_wrlock(&e->lock);
			if (!e->scope)
				e->scope = scope_new(false);
			if (scope_add(e->scope, (int64_t)(seed >> 50 & 63), one_doc, STR("")) != OK || scope_commit(e->scope) != OK)
				abort();
			bytes = scope_bytes(e->scope);
			pthread_rwlock_unlock(&e->lock);
			cache_charge(shared, e, bytes);
		} else {
			pthread_rwlock_rdlock(&e->lock);
			if (e->scope && e->scope->docs != e->scope->rows)
				abort();
			pthread_rwlock_unlock(&e->lock);
		}
		cache_count(shared, seed & 1);
		cache_release(shared, e);
	}
	return NULL;
}

static void test_threads(void **state)
{
	struct str text = STR("a few words to be found");
	struct cache_stats stats;
	struct arena a;
	pthread_t th[4];

	(void)state;
	arena_init(&a, 1 << 20);
	assert_int_equal(doc_of_texts(&a, lang_find(STR("english")), &text, 1, &one_doc), OK);
	shared = cache_new(12000);
	for (uintptr_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&th[i], NULL, hammer, (void *)i), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(th[i], NULL);
	cache_stats(shared, &stats);
	assert_true(stats.bytes <= 12000);
	assert_int_equal(stats.hits + stats.misses, 12000);
	assert_true(stats.evictions > 0);
	cache_free(shared);
	arena_release(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_entry),	  cmocka_unit_test(test_least_recently_used_goes),
		cmocka_unit_test(test_held_entries_stay), cmocka_unit_test(test_one_loader),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
