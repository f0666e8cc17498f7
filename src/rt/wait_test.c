/* The waits, in a fiber and outside a loop; events against their setters. */
#include "rt/testing.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- descriptors ---- */

static void writer(void *arg)
{
	int fd = *(int *)arg;

	EXPECT(wait_fd(fd, WAIT_WRITE, NEVER, NULL) == OK);
	EXPECT(write(fd, "hello", 5) == 5);
}

/* The same code in a fiber and outside. */
static void talk(int fds[2], bool in_fiber)
{
	unsigned ready = 0;
	char buf[8];

	EXPECT(wait_fd(fds[0], WAIT_READ | WAIT_WRITE, NEVER, &ready) == OK && ready == WAIT_WRITE);
	EXPECT(wait_fd(fds[0], WAIT_READ, soon(1), &ready) == E_TIMEOUT);
	EXPECT(diag_get()->code == E_TIMEOUT && diag_get()->text[0]);
	EXPECT(wait_fd(fds[0], WAIT_READ, 0, NULL) == E_TIMEOUT);
	if (in_fiber)
		SPAWN(writer, &fds[1]);
	else
		writer(&fds[1]);
	EXPECT(wait_fd(fds[0], WAIT_READ, NEVER, &ready) == OK && ready == WAIT_READ);
	EXPECT(read(fds[0], buf, sizeof buf) == 5 && memcmp(buf, "hello", 5) == 0);
	close(fds[1]);
	EXPECT(wait_fd(fds[0], WAIT_READ, NEVER, &ready) == OK && (ready & WAIT_READ));
	EXPECT(read(fds[0], buf, sizeof buf) == 0);
	close(fds[0]);
	EXPECT(wait_fd(fds[0], WAIT_READ, NEVER, &ready) == E_IO);
	EXPECT(wait_fd(fds[0], 0, NEVER, &ready) == E_INTERNAL);
}

static void talk_in_fiber(void *arg)
{
	talk(arg, true);
}

static void test_fd(void **state)
{
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	talk(fds, false);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	run_in_loop(talk_in_fiber, fds);
}

/* Regular files are always ready; a pipe without reader is an error, reported as ready. */
static void odd(void *arg)
{
	unsigned ready = 0;
	int fd = open("/proc/self/exe", O_RDONLY), fds[2];

	EXPECT(fd >= 0);
	EXPECT(wait_fd(fd, WAIT_READ, NEVER, &ready) == OK && ready == WAIT_READ);
	close(fd);
	EXPECT(pipe(fds) == 0);
	close(fds[0]);
	EXPECT(wait_fd(fds[1], WAIT_WRITE, NEVER, &ready) == OK && ready == WAIT_WRITE);
	close(fds[1]);
}

static void test_odd(void **state)
{
	odd(NULL);
	run_in_loop(odd, NULL);
}

static void twice_second(void *arg)
{
	EXPECT(wait_fd(*(int *)arg, WAIT_READ, NEVER, NULL) == E_IO);
}

static void twice(void *arg)
{
	int fds[2];

	EXPECT(pipe(fds) == 0);
	struct fiber *f;
	EXPECT(fiber_spawn(writer, &fds[1], &f, NULL) == OK && f);
	SPAWN(twice_second, &fds[1]); /* one watch per descriptor */
	EXPECT(wait_fd(fds[0], WAIT_READ, NEVER, NULL) == OK);
	close(fds[0]);
	close(fds[1]);
}

static void test_twice(void **state)
{
	run_in_loop(twice, NULL);
}

static void sleeps(void *arg)
{
	uint64_t at = soon(2);

	EXPECT(wait_until(at) == OK && clock_mono_ns() >= at);
	fiber_set_deadline(soon(1));
	EXPECT(wait_until(soon(60000)) == E_TIMEOUT);
	fiber_set_deadline(NEVER);
}

static void test_sleep(void **state)
{
	sleeps(NULL);
	run_in_loop(sleeps, NULL);
}

/* ---- events ---- */

#define PAIRS 4u

/* Waiter and setter meet over and over; the event's memory is spoilt as soon as event_wait has returned. */
struct pair {
	_Atomic(struct event *) slot;
	unsigned rounds, delay, thread;
	pthread_t setter;
};

static void *setter(void *arg)
{
	struct pair *p = arg;

	for (unsigned i = 0; i < p->rounds; i++) {
		struct event *ev;
		while (!(ev = atomic_exchange_explicit(&p->slot, NULL, memory_order_acquire)))
			sched_yield();
		for (volatile unsigned spin = i % 97; spin > 0; spin--)
			;
		event_set(ev);
	}
	return NULL;
}

static void waiter(void *arg)
{
	struct pair *p = arg;

	for (unsigned i = 0; i < p->rounds; i++) {
		struct event ev;
		event_init(&ev);
		EXPECT(!event_is_set(&ev));
		atomic_store_explicit(&p->slot, &ev, memory_order_release);
		if (i % 5 == 0)
			sched_yield();
		event_wait(&ev);
		EXPECT(event_is_set(&ev));
		memset((void *)&ev, 0xa5, sizeof ev);
		__asm__ volatile("" ::"r"(&ev) : "memory");
	}
}

static void *waiter_thread(void *arg)
{
	waiter(arg);
	return NULL;
}

static unsigned pair_rounds(void)
{
	if (ON_VALGRIND)
		return 250;
#if defined(RT_TSAN) || defined(RT_ASAN)
	return 25000 / 4;
#else
	return 25000;
#endif
}

static void pairs_start(struct pair *p)
{
	for (unsigned i = 0; i < PAIRS; i++) {
		p[i].rounds = pair_rounds();
		atomic_init(&p[i].slot, NULL);
		EXPECT(pthread_create(&p[i].setter, NULL, setter, &p[i]) == 0);
	}
}

static void waiters(void *arg)
{
	struct pair *p = arg;

	for (unsigned i = 0; i < PAIRS; i++)
		SPAWN(waiter, &p[i]);
}

static void test_event_race_fibers(void **state)
{
	struct pair p[PAIRS];

	pairs_start(p);
	uint64_t t0 = clock_mono_ns();
	run_in_loop(waiters, p); /* the loop is freed while setters may still be returning */
	print_message("event wait and set across threads, 4 pairs: %.0f ns each\n",
		      (double)(clock_mono_ns() - t0) / (PAIRS * (double)pair_rounds()));
	for (unsigned i = 0; i < PAIRS; i++)
		pthread_join(p[i].setter, NULL);
}

static void test_event_race_threads(void **state)
{
	struct pair p[PAIRS];
	pthread_t t[PAIRS];

	pairs_start(p);
	for (unsigned i = 0; i < PAIRS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, waiter_thread, &p[i]), 0);
	for (unsigned i = 0; i < PAIRS; i++) {
		pthread_join(t[i], NULL);
		pthread_join(p[i].setter, NULL);
	}
}

/* One thread sets many events at once, as a writer does after a commit: one wake-up for all. */
#define BATCH 64u

struct batch {
	struct event ev[BATCH];
	atomic_uint parked;
	unsigned rounds;
	pthread_t setter;
	struct event start;
};

static void batch_one(void *arg)
{
	event_wait(arg);
}

static void *batch_setter(void *arg)
{
	struct batch *b = arg;

	for (unsigned r = 0; r < b->rounds; r++) {
		while (atomic_load_explicit(&b->parked, memory_order_acquire) != r + 1)
			sched_yield();
		for (unsigned i = 0; i < BATCH; i++)
			event_set(&b->ev[i]);
		event_set(&b->start);
	}
	return NULL;
}

static void batch_main(void *arg)
{
	struct batch *b = arg;

	for (unsigned r = 0; r < b->rounds; r++) {
		for (unsigned i = 0; i < BATCH; i++) {
			event_init(&b->ev[i]);
			SPAWN(batch_one, &b->ev[i]);
		}
		event_init(&b->start);
		atomic_store_explicit(&b->parked, r + 1, memory_order_release);
		event_wait(&b->start); /* set last, posted last: the others have been woken before */
	}
}

static void test_event_batch(void **state)
{
	struct batch b = {.rounds = ON_VALGRIND ? 10 : 1000};

	assert_int_equal(pthread_create(&b.setter, NULL, batch_setter, &b), 0);
	uint64_t t0 = clock_mono_ns();
	run_in_loop(batch_main, &b);
	print_message("event set from another thread, %u at once: %.0f ns each, spawn and end of the fiber included\n", BATCH,
		      (double)(clock_mono_ns() - t0) / (BATCH * (double)b.rounds));
	pthread_join(b.setter, NULL);
}

static void set_before(void *arg)
{
	struct event ev;

	event_init(&ev);
	event_set(&ev);
	EXPECT(event_is_set(&ev));
	event_wait(&ev); /* does not park */
}

static void test_event_set_before(void **state)
{
	set_before(NULL);
	run_in_loop(set_before, NULL);
}

/* ---- what must be done anyway ---- */

struct shielded {
	struct fiber *f;
	bool ended;
};

static enum err sleep_on(void *arg)
{
	(void)arg;
	EXPECT(!fiber_cancelled());
	TRY(wait_until(soon(5)));
	return wait_until(soon(5));
}

static enum err sleep_long(void *arg)
{
	(void)arg;
	return wait_until(soon(10000));
}

static void given_up(void *arg)
{
	struct shielded *s = arg;

	EXPECT(wait_until(soon(10000)) == E_CANCELLED);
	EXPECT(wait_shielded(NEVER, sleep_on, NULL) == OK);
	EXPECT(fiber_cancelled() && wait_until(soon(1)) == E_CANCELLED);
	EXPECT(wait_shielded(soon(5), sleep_long, NULL) == E_TIMEOUT);
	s->ended = true;
}

static void given_up_meanwhile(void *arg)
{
	struct shielded *s = arg;

	fiber_set_deadline(0);
	EXPECT(wait_shielded(NEVER, sleep_on, NULL) == OK);
	EXPECT(wait_until(soon(1)) == E_CANCELLED);
	EXPECT(fiber_deadline() == 0);
	s->ended = true;
}

static void shield(void *arg)
{
	void (*const fns[])(void *) = {given_up, given_up_meanwhile};

	for (size_t i = 0; i < 2; i++) {
		struct shielded s = {.f = NULL};

		EXPECT(fiber_spawn(fns[i], &s, &s.f, NULL) == OK);
		fiber_cancel(s.f);
		while (!s.ended)
			EXPECT(wait_until(soon(1)) == OK);
	}
	(void)arg;
}

static void test_shield(void **state)
{
	run_in_loop(shield, NULL);
	assert_int_equal(wait_shielded(soon(2), sleep_long, NULL), E_TIMEOUT);
	assert_int_equal(wait_until(soon(1)), OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fd),
		cmocka_unit_test(test_odd),
		cmocka_unit_test(test_twice),
		cmocka_unit_test(test_sleep),
		cmocka_unit_test(test_event_set_before),
		cmocka_unit_test(test_event_race_fibers),
		cmocka_unit_test(test_event_race_threads),
		cmocka_unit_test(test_event_batch),
		cmocka_unit_test(test_shield),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
