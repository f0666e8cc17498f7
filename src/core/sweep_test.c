/* The sweeper, in a thread of its own as in the daemon in a fiber: it removes what has expired, wakes early for what a put
 * announces, and goes on after an error of the store. */
#include <pthread.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "core/testing.h"
#include "rt/wait.h"

struct sweeper {
	struct memory *m;
	uint32_t interval_ms;
	enum err e;
};

static void *sweep(void *arg)
{
	struct sweeper *s = arg;

	s->e = memory_sweep_forever(s->m, s->interval_ms);
	return NULL;
}

static void put_expiring(struct bench *b, int i, int64_t expires_us)
{
	struct op_put op = {.ns = STR("t"),
			    .key = arena_printf(&b->a, "k%d", i),
			    .value = STR("{}"),
			    .ttl_minutes = 1,
			    .updated_us = expires_us - 60000000};

	OKAY(memory_put(b->m, &b->a, &ann, &op));
}

/* Waits until the store holds n items; gives up after ten seconds. */
static void until_items(struct bench *b, int64_t n)
{
	struct store_stats st = {.items = -1};

	for (int i = 0; i < 5000 && st.items != n; i++) {
		OKAY(b->store->ops->stats(b->store, &ann, &st));
		OKAY(wait_until(deadline_in_ms(2)));
	}
	assert_int_equal(st.items, n);
}

static void removes_what_has_expired(void **state)
{
	struct bench b;
	struct sweeper s = {.interval_ms = 600000};
	pthread_t thread;
	int64_t now = clock_wall_us();

	bench_init(&b);
	for (int i = 0; i < 1200; i++)
		put_expiring(&b, i, now - 1000000 - i);
	for (int i = 1200; i < 1210; i++)
		put_expiring(&b, i, now + 3600000000ll);
	fake_store_fail_sweep(b.store, E_IO); /* the first try fails; it goes on */
	s.m = b.m;
	assert_int_equal(pthread_create(&thread, NULL, sweep, &s), 0);
	until_items(&b, 10);
	/* The interval is ten minutes; a put that expires sooner is not made to wait for it. */
	put_expiring(&b, 5000, clock_wall_us() + 300000);
	until_items(&b, 11);
	until_items(&b, 10);
	put_expiring(&b, 5001, clock_wall_us() + 100000);
	fake_store_fail_sweep(b.store, E_CANCELLED); /* what the sweeper meets when it wakes for it */
	assert_int_equal(pthread_join(thread, NULL), 0);
	FAILS(s.e, E_CANCELLED);
	bench_release(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(removes_what_has_expired),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
