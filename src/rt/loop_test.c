/* The loop: posts, hooks, descriptors, timers, signals, end, watchdog. */
#include "rt/testing.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- posts ---- */

#define POSTERS 4u

struct post {
	struct loop_task task;
	unsigned thread, number;
};
static struct {
	struct loop *loop;
	unsigned per_thread;
	unsigned seen[POSTERS];
	unsigned total;
	bool in_order;
} posts;

static void on_post(void *arg)
{
	struct post *p = arg;

	posts.in_order &= posts.seen[p->thread] == p->number;
	posts.seen[p->thread]++;
	free(p); /* the memory is the caller's again */
	if (++posts.total == POSTERS * posts.per_thread)
		loop_stop(posts.loop);
}

static void *poster(void *arg)
{
	for (unsigned i = 0; i < posts.per_thread; i++) {
		struct post *p = calloc(1, sizeof *p);
		EXPECT(p);
		p->thread = (unsigned)(uintptr_t)arg;
		p->number = i;
		p->task.fn = on_post;
		p->task.arg = p;
		loop_post(posts.loop, &p->task);
	}
	return NULL;
}

static void test_posts(void **state)
{
	pthread_t t[POSTERS];

	memset(&posts, 0, sizeof posts);
	posts.per_thread = ON_VALGRIND ? 1000 : 25000;
	posts.in_order = true;
	assert_int_equal(loop_new(&posts.loop), OK);
	for (unsigned i = 0; i < POSTERS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, poster, (void *)(uintptr_t)i), 0);
	loop_run(posts.loop);
	/* Freed while the last poster may still be returning from loop_post. */
	loop_free(posts.loop);
	for (unsigned i = 0; i < POSTERS; i++)
		pthread_join(t[i], NULL);
	assert_true(posts.in_order);
	assert_int_equal(posts.total, POSTERS * posts.per_thread);
}

/* ---- hooks ---- */

static struct {
	struct loop_hook hook[3];
	struct loop_task again;
	struct loop *loop;
	struct event ev;
	int fds[2];
	unsigned calls[3], queued, flushed, posted;
	bool woken, polled;
} hk;

static void hook_flush(void *arg)
{
	hk.calls[0]++;
	hk.flushed += hk.queued;
	hk.queued = 0;
	if (hk.flushed == 1 && !event_is_set(&hk.ev))
		event_set(&hk.ev); /* readies the fiber, which runs before the poll */
}

static void hook_once(void *arg)
{
	hk.calls[1]++;
	loop_hook_del(&hk.hook[1]); /* itself */
	loop_hook_del(&hk.hook[2]); /* and the next */
}

static void hook_never(void *arg)
{
	hk.calls[2]++;
}

static void hook_fiber(void *arg)
{
	hk.queued++;
	event_wait(&hk.ev);
	EXPECT(!hk.polled && hk.flushed == 1);
	hk.queued++;
	hk.woken = true;
	EXPECT(wait_fd(hk.fds[0], WAIT_READ, NEVER, NULL) == OK);
	hk.polled = true;
	EXPECT(hk.flushed == 2 && hk.queued == 0); /* flushed before the poll */
}

static void test_hooks(void **state)
{
	memset(&hk, 0, sizeof hk);
	assert_int_equal(loop_new(&hk.loop), OK);
	assert_int_equal(pipe(hk.fds), 0);
	assert_int_equal(write(hk.fds[1], "x", 1), 1);
	event_init(&hk.ev);
	void (*fn[3])(void *) = {hook_flush, hook_once, hook_never};
	for (unsigned i = 0; i < 3; i++) {
		hk.hook[i].fn = fn[i];
		loop_hook_add(hk.loop, &hk.hook[i]);
	}
	run_on(hk.loop, hook_fiber, NULL);
	assert_true(hk.woken && hk.polled);
	assert_true(hk.calls[0] >= 2);
	assert_int_equal(hk.calls[1], 1);
	assert_int_equal(hk.calls[2], 0);
	loop_hook_del(&hk.hook[0]);
	loop_free(hk.loop);
	close(hk.fds[0]);
	close(hk.fds[1]);
}

/* A hook that is added while hooks run must run before the poll: here nothing else would ever wake the loop. */
static struct {
	struct loop *loop;
	struct loop_hook first, second;
	struct event ev;
} late;

static void late_second(void *arg)
{
	loop_hook_del(&late.second);
	event_set(&late.ev);
}

static void late_first(void *arg)
{
	loop_hook_del(&late.first);
	late.second.fn = late_second;
	loop_hook_add(late.loop, &late.second);
}

static void late_fiber(void *arg)
{
	event_init(&late.ev);
	event_wait(&late.ev);
}

static void test_late_hook(void **state)
{
	memset(&late, 0, sizeof late);
	assert_int_equal(loop_new(&late.loop), OK);
	late.first.fn = late_first;
	loop_hook_add(late.loop, &late.first);
	run_on(late.loop, late_fiber, NULL);
	loop_free(late.loop);
}

/* A task that posts itself again for ever must not starve descriptors. */
static void on_again(void *arg)
{
	hk.posted++;
	if (!hk.polled)
		loop_post(hk.loop, &hk.again);
}

static void starve_fiber(void *arg)
{
	hk.again = (struct loop_task){.fn = on_again};
	loop_post(hk.loop, &hk.again);
	EXPECT(wait_fd(hk.fds[0], WAIT_READ, NEVER, NULL) == OK);
	EXPECT(wait_until(soon(1)) == OK);
	hk.polled = true;
}

static void test_starve(void **state)
{
	memset(&hk, 0, sizeof hk);
	assert_int_equal(loop_new(&hk.loop), OK);
	assert_int_equal(pipe(hk.fds), 0);
	assert_int_equal(write(hk.fds[1], "x", 1), 1);
	run_on(hk.loop, starve_fiber, NULL);
	assert_true(hk.polled && hk.posted > 0);
	loop_free(hk.loop);
	close(hk.fds[0]);
	close(hk.fds[1]);
}

/* ---- descriptors ---- */

static struct {
	struct loop *loop;
	struct loop_poll *poll;
	int fds[2];
	unsigned calls, events;
} pl;

static void on_poll(void *arg, unsigned events)
{
	char c;

	EXPECT(arg == &pl);
	EXPECT(fiber_current() == NULL && loop_current() == pl.loop);
	pl.calls++;
	pl.events |= events;
	if (events & LOOP_READ) {
		EXPECT(read(pl.fds[0], &c, 1) == 1);
		loop_poll_free(pl.poll); /* from its own callback */
		loop_stop(pl.loop);
		return;
	}
	EXPECT(loop_poll_set(pl.poll, LOOP_READ) == OK); /* was writable; from now on only reading */
	EXPECT(write(pl.fds[1], "x", 1) == 1);
}

static void test_poll(void **state)
{
	memset(&pl, 0, sizeof pl);
	assert_int_equal(loop_new(&pl.loop), OK);
	loop_set_index(pl.loop, 3);
	assert_int_equal(loop_index(pl.loop), 3);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pl.fds), 0);
	assert_int_equal(loop_poll_new(pl.loop, pl.fds[0], "test", on_poll, &pl, &pl.poll), OK);
	assert_int_equal(loop_poll_set(pl.poll, 0), OK);
	assert_int_equal(loop_poll_set(pl.poll, LOOP_READ | LOOP_WRITE), OK);
	loop_run(pl.loop);
	assert_int_equal(pl.calls, 2);
	assert_int_equal(pl.events, LOOP_READ | LOOP_WRITE);
	close(pl.fds[0]);
	close(pl.fds[1]);
	struct loop_poll *none;
	assert_int_equal(loop_poll_new(pl.loop, pl.fds[0], "test", on_poll, &pl, &none), E_IO);
	assert_non_null(strstr(diag_get()->text, "cannot watch descriptor"));
	loop_free(pl.loop);
}

/* ---- timers ---- */

static struct {
	struct loop *loop;
	struct loop_timer *a, *b, *never, *tiny[200];
	uint64_t a_at;
	unsigned a_calls, b_calls, tiny_calls;
	uint64_t last;
} tm;

static void on_a(void *arg)
{
	EXPECT(clock_mono_ns() >= tm.a_at);
	if (++tm.a_calls == 3) {
		loop_timer_free(tm.a); /* from its own callback */
		tm.a = NULL;
		loop_timer_set(tm.b, 0); /* in the past: soon */
		return;
	}
	tm.a_at = soon(1);
	loop_timer_set(tm.a, tm.a_at);
}

static void on_b(void *arg)
{
	if (++tm.b_calls < 3)
		loop_timer_set(tm.b, 0); /* at once again, without blocking the loop */
	else
		loop_stop(tm.loop);
}

static void on_never(void *arg)
{
	EXPECT(!"a stopped timer fired");
}

static void test_timers(void **state)
{
	memset(&tm, 0, sizeof tm);
	assert_int_equal(loop_new(&tm.loop), OK);
	assert_int_equal(loop_timer_new(tm.loop, "a", on_a, NULL, &tm.a), OK);
	assert_int_equal(loop_timer_new(tm.loop, "b", on_b, NULL, &tm.b), OK);
	assert_int_equal(loop_timer_new(tm.loop, "never", on_never, NULL, &tm.never), OK);
	loop_timer_set(tm.never, 0);
	loop_timer_set(tm.never, NEVER);
	tm.a_at = soon(1);
	loop_timer_set(tm.a, tm.a_at);
	loop_run(tm.loop);
	assert_int_equal(tm.a_calls, 3);
	assert_int_equal(tm.b_calls, 3);
	/* A timer far away does not keep the loop. */
	loop_timer_set(tm.b, soon(3600000));
	loop_stop(tm.loop);
	loop_run(tm.loop);
	loop_timer_free(tm.b);
	loop_timer_free(tm.never);
	loop_free(tm.loop);
}

static void on_tiny(void *arg)
{
	uint64_t at = *(uint64_t *)arg;

	EXPECT(at >= tm.last && at <= clock_mono_ns());
	tm.last = at;
	if (++tm.tiny_calls == 100)
		loop_stop(tm.loop);
}

/* The heap: 200 timers in a scrambled order, every second one taken out again. */
static void test_heap(void **state)
{
	static uint64_t at[200];
	uint64_t base = clock_mono_ns();

	memset(&tm, 0, sizeof tm);
	assert_int_equal(loop_new(&tm.loop), OK);
	for (unsigned i = 0; i < 200; i++) {
		at[i] = base + (i * 7919u % 200u) * 10000u;
		assert_int_equal(loop_timer_new(tm.loop, "tiny", on_tiny, &at[i], &tm.tiny[i]), OK);
		loop_timer_set(tm.tiny[i], at[i]);
	}
	for (unsigned i = 0; i < 200; i += 2)
		loop_timer_set(tm.tiny[i], NEVER);
	for (size_t i = 0; i < tm.loop->heap_n; i++) {
		assert_int_equal(tm.loop->heap[i]->pos, i + 1);
		assert_true(i == 0 || tm.loop->heap[(i - 1) / 2]->at <= tm.loop->heap[i]->at);
	}
	loop_run(tm.loop);
	assert_int_equal(tm.tiny_calls, 100);
	for (unsigned i = 0; i < 200; i++)
		loop_timer_free(tm.tiny[i]);
	assert_int_equal(tm.loop->heap_n, 0);
	loop_free(tm.loop);
}

/* ---- signals, end ---- */

static unsigned signals;

static void on_signal(void *arg, int signum)
{
	EXPECT(signum == SIGUSR1);
	signals++;
	loop_stop(arg);
}

static void test_signal(void **state)
{
	struct loop *l;

	assert_int_equal(loop_new(&l), OK);
	assert_int_equal(loop_signal(l, SIGUSR1, on_signal, l), OK);
	assert_int_equal(loop_signal(l, SIGKILL, on_signal, l), E_INVALID);
	kill(getpid(), SIGUSR1);
	loop_run(l);
	assert_int_equal(signals, 1);
	loop_free(l);
}

static struct event hold;
static bool held_ended;

static void held(void *arg)
{
	event_wait(&hold);
	held_ended = true;
}

static void *release(void *arg)
{
	loop_stop(arg); /* stop first: the loop goes on, because a fiber is left */
	for (unsigned i = 0; i < 100; i++)
		sched_yield();
	event_set(&hold);
	return NULL;
}

static void start_held(void *arg)
{
	SPAWN(held, NULL);
}

static void test_end(void **state)
{
	struct loop *l;
	pthread_t t;
	struct loop_task task = {.fn = start_held};

	assert_int_equal(loop_new(&l), OK);
	event_init(&hold);
	loop_post(l, &task);
	assert_int_equal(pthread_create(&t, NULL, release, l), 0);
	loop_run(l);
	assert_true(held_ended);
	assert_int_equal(loop_fibers(l), 0);
	loop_free(l);
	pthread_join(t, NULL);
}

/* ---- watchdog ---- */

static void busy(void *arg)
{
	uint64_t end = soon(2);
	while (clock_mono_ns() < end)
		;
}

static void test_watchdog(void **state)
{
	struct loop *l;
	uint64_t longest = 1;

	log_set_level(LOG_ERROR);
	assert_int_equal(loop_new(&l), OK);
	run_on(l, busy, NULL);
	uint64_t n = loop_slow_ticks(l, &longest);
#ifdef CENOTE_WATCHDOG
	assert_true(n >= 1 && longest >= 2000000);
#else
	assert_true(n == 0 && longest == 0);
#endif
	loop_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_posts),	 cmocka_unit_test(test_hooks),	cmocka_unit_test(test_late_hook),
		cmocka_unit_test(test_starve),	 cmocka_unit_test(test_poll),	cmocka_unit_test(test_timers),
		cmocka_unit_test(test_heap),	 cmocka_unit_test(test_signal), cmocka_unit_test(test_end),
		cmocka_unit_test(test_watchdog),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
