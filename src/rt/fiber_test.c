/* Fibers: order, nesting, many at once, cancellation, what each has of its own, the guard below a stack, costs. */
#include "rt/testing.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static char trail[256];

static void mark(const char *what)
{
	size_t n = strlen(trail);
	snprintf(trail + n, sizeof trail - n, "%s ", what);
}

/* ---- order ---- */

struct order {
	struct event a, b;
};

static void order_a(void *arg)
{
	struct order *o = arg;
	mark("a1");
	event_wait(&o->a);
	mark("a2");
}

static void order_b(void *arg)
{
	struct order *o = arg;
	mark("b1");
	event_wait(&o->b);
	mark("b2");
	event_set(&o->a);
	mark("b3");
}

static void order_main(void *arg)
{
	struct order o;
	struct fiber *a, *b;
	bool ended = true;

	event_init(&o.a);
	event_init(&o.b);
	mark("m1");
	EXPECT(fiber_spawn(order_a, &o, &a, &ended) == OK);
	EXPECT(!ended && a != NULL);
	EXPECT(fiber_spawn(order_b, &o, &b, &ended) == OK);
	EXPECT(!ended && b != NULL && b != a);
	mark("m2");
	event_set(&o.b);
	mark("m3");
	EXPECT(loop_fibers(loop_current()) == 3);
	EXPECT(wait_until(soon(1)) == OK); /* o is on this stack */
	EXPECT(loop_fibers(loop_current()) == 1);
}

static void test_order(void **state)
{
	trail[0] = 0;
	run_in_loop(order_main, NULL);
	assert_string_equal(trail, "m1 a1 b1 m2 m3 b2 b3 a2 ");
}

/* ---- nested spawn ---- */

static void nested(void *arg)
{
	unsigned depth = (unsigned)(uintptr_t)arg;
	struct fiber *self = fiber_current(), *child = self;
	bool ended = false;

	EXPECT(self != NULL);
	if (depth == 0)
		return;
	EXPECT(fiber_spawn(nested, (void *)(uintptr_t)(depth - 1), &child, &ended) == OK);
	EXPECT(ended && child == NULL);
	EXPECT(fiber_current() == self);
}

static void nested_main(void *arg)
{
	nested((void *)(uintptr_t)50);
	EXPECT(loop_fibers(loop_current()) == 1);
}

static void test_nested(void **state)
{
	run_in_loop(nested_main, NULL);
	assert_null(fiber_current());
	assert_null(loop_current());
}

/* ---- many ---- */

struct many {
	unsigned n, begun, ended, last;
	struct event *ev;
};

static struct many many;

static void many_one(void *arg)
{
	unsigned i = (unsigned)(uintptr_t)arg;
	char local[512];

	memset(local, (int)(i & 0xff), sizeof local);
	many.begun++;
	event_wait(&many.ev[i]);
	EXPECT(local[0] == (char)(i & 0xff) && local[511] == (char)(i & 0xff));
	EXPECT(many.last + 1 == i || i == 0); /* woken in the order of the sets */
	many.last = i;
	many.ended++;
}

static void many_main(void *arg)
{
	for (unsigned i = 0; i < many.n; i++)
		event_init(&many.ev[i]);
	uint64_t t0 = clock_mono_ns();
	for (unsigned i = 0; i < many.n; i++)
		SPAWN(many_one, (void *)(uintptr_t)i);
	print_message("spawn on a new stack and park: %.0f ns\n", (double)(clock_mono_ns() - t0) / many.n);
	EXPECT(many.begun == many.n && many.ended == 0);
	for (unsigned i = 0; i < many.n; i++)
		event_set(&many.ev[i]);
	EXPECT(many.ended == 0);
}

static void test_many(void **state)
{
	unsigned n = 10000;
#ifdef RT_TSAN
	n = 500; /* each fiber is a thread to ThreadSanitizer, which has room for some thousands */
#endif
	if (ON_VALGRIND)
		n = 500; /* it looks stacks up one by one */
	many = (struct many){.n = n, .ev = calloc(n, sizeof(struct event))};
	assert_non_null(many.ev);
	run_in_loop(many_main, NULL);
	assert_int_equal(many.ended, n);
	free(many.ev);
}

static void noop(void *arg)
{
	++*(unsigned *)arg;
}

static void limit_one(void *arg)
{
	event_wait(arg);
}

static void limit_main(void *arg)
{
	unsigned n = 0;
	struct event *ev = calloc(12001, sizeof *ev);
	enum err e = OK;

	EXPECT(ev);
	for (; n < 12001 && e == OK; n++) {
		event_init(&ev[n]);
		e = fiber_spawn(limit_one, &ev[n], NULL, NULL);
	}
	EXPECT(e == E_LIMIT && strstr(diag_get()->text, "fiber") && diag_get()->code == E_LIMIT);
	for (unsigned i = 0; i + 1 < n; i++)
		event_set(&ev[i]);
	EXPECT(wait_until(soon(1)) == OK);
	unsigned ran = 0;
	SPAWN(noop, &ran);
	EXPECT(ran == 1);
	free(ev);
}

static void test_limit(void **state)
{
#ifdef RT_TSAN
	skip();
#endif
	if (ON_VALGRIND)
		skip();
	run_in_loop(limit_main, NULL);
}

/* ---- cancellation and deadlines ---- */

struct cancel {
	enum { IN_FD, IN_TIME, IN_WORK_QUEUE } kind;
	int fd;
	enum err got, again;
	bool saw;
};

static enum err nothing(void *arg)
{
	return OK;
}

static void cancel_one(void *arg)
{
	struct cancel *c = arg;

	if (c->kind == IN_FD)
		c->got = wait_fd(c->fd, WAIT_READ, NEVER, NULL);
	else
		c->got = wait_until(NEVER);
	c->saw = fiber_cancelled();
	EXPECT(c->got != E_CANCELLED || diag_get()->code == E_CANCELLED);
	c->again = c->kind == IN_WORK_QUEUE ? work_run(nothing, NULL) : wait_until(NEVER);
}

static void cancel_main(void *arg)
{
	int fds[2];
	struct cancel c[3] = {{IN_FD}, {IN_TIME}, {IN_WORK_QUEUE}};
	struct fiber *f[3];

	EXPECT(pipe(fds) == 0);
	c[0].fd = fds[0];
	EXPECT(!fiber_cancelled());
	for (unsigned i = 0; i < 3; i++)
		EXPECT(fiber_spawn(cancel_one, &c[i], &f[i], NULL) == OK && f[i]);
	for (unsigned i = 0; i < 3; i++)
		fiber_cancel(f[i]);
	EXPECT(c[0].got == OK);
	EXPECT(wait_until(soon(1)) == OK);
	for (unsigned i = 0; i < 3; i++)
		EXPECT(c[i].got == E_CANCELLED && c[i].again == E_CANCELLED && c[i].saw);
	close(fds[0]);
	close(fds[1]);
	/* Its own cancellation: the next wait sees it. */
	fiber_cancel(fiber_current());
	EXPECT(fiber_cancelled() && wait_until(soon(10000)) == E_CANCELLED);
}

static void test_cancel(void **state)
{
	run_in_loop(cancel_main, NULL);
}

static void event_one(void *arg)
{
	event_wait(arg);
	EXPECT(event_is_set(arg) && fiber_cancelled());
	mark("set");
}

static void event_cancel_main(void *arg)
{
	struct event ev;
	struct fiber *f;

	event_init(&ev);
	EXPECT(fiber_spawn(event_one, &ev, &f, NULL) == OK);
	fiber_cancel(f); /* an event is not cancellable */
	EXPECT(wait_until(soon(1)) == OK);
	EXPECT(trail[0] == 0);
	event_set(&ev);
	EXPECT(wait_until(soon(1)) == OK);
	EXPECT(strcmp(trail, "set ") == 0);
}

static void test_event_not_cancellable(void **state)
{
	trail[0] = 0;
	run_in_loop(event_cancel_main, NULL);
}

static void deadline_main(void *arg)
{
	int fds[2];
	uint64_t t0 = clock_mono_ns();

	EXPECT(fiber_deadline() == NEVER);
	EXPECT(pipe(fds) == 0);
	EXPECT(wait_fd(fds[0], WAIT_READ, soon(2), NULL) == E_TIMEOUT);
	EXPECT(clock_mono_ns() >= t0 + 2000000 && diag_get()->code == E_TIMEOUT);
	fiber_set_deadline(soon(2));
	uint64_t at = fiber_deadline();
	EXPECT(wait_until(soon(60000)) == E_TIMEOUT && clock_mono_ns() >= at); /* the fiber's own is earlier */
	EXPECT(wait_until(soon(60000)) == E_TIMEOUT);			       /* and has passed now */
	EXPECT(wait_fd(fds[0], WAIT_READ, NEVER, NULL) == E_TIMEOUT);
	EXPECT(work_run(nothing, NULL) == E_TIMEOUT);
	EXPECT(write(fds[1], "x", 1) == 1);
	EXPECT(wait_fd(fds[0], WAIT_READ, NEVER, NULL) == OK); /* what is ready is ready */
	fiber_set_deadline(NEVER);
	EXPECT(wait_until(0) == OK && wait_until(soon(1)) == OK);
	close(fds[0]);
	close(fds[1]);
}

static void test_deadline(void **state)
{
	run_in_loop(deadline_main, NULL);
	assert_true(fiber_deadline() == NEVER);
}

static uint64_t sleepers_base;

/* Woken in the order of their times, whatever the order of the waits. */
static void sleeper_one(void *arg)
{
	char name[8];
	unsigned i = (unsigned)(uintptr_t)arg;

	EXPECT(wait_until(sleepers_base + i * 50000000u) == OK);
	snprintf(name, sizeof name, "%u", i);
	mark(name);
}

static void sleepers_main(void *arg)
{
	static const unsigned order[] = {3, 1, 4, 0, 2};
	sleepers_base = soon(50); /* all wait by then */
	for (unsigned i = 0; i < 5; i++)
		SPAWN(sleeper_one, (void *)(uintptr_t)order[i]);
}

static void test_sleepers(void **state)
{
	trail[0] = 0;
	run_in_loop(sleepers_main, NULL);
	assert_string_equal(trail, "0 1 2 3 4 ");
}

/* ---- what is a fiber's own ---- */

static void own_one(void *arg)
{
	struct event *ev = arg;
	struct log_field mine = LF_INT("n", 2);
	const struct log_field *now;

	EXPECT(diag_get()->code == OK && diag_get()->text[0] == 0 && diag_get()->position == -1);
	EXPECT(log_context_get(&now) == 0);
	EXPECT(err_set(E_CONFLICT, "the child's") == E_CONFLICT);
	log_context(&mine, 1);
	event_wait(ev);
	EXPECT(log_context_get(&now) == 1 && now == &mine);
	EXPECT(diag_get()->code == E_CONFLICT && strcmp(diag_get()->text, "the child's") == 0);
}

static void own_main(void *arg)
{
	struct event ev;
	struct log_field mine = LF_INT("n", 1);
	const struct log_field *now;

	for (unsigned round = 0; round < 3; round++) { /* from the second on with a pooled stack */
		event_init(&ev);
		EXPECT(err_set(E_BUSY, "the parent's") == E_BUSY);
		log_context(&mine, 1);
		SPAWN(own_one, &ev);
		EXPECT(diag_get()->code == E_BUSY && strcmp(diag_get()->text, "the parent's") == 0);
		EXPECT(log_context_get(&now) == 1 && now == &mine);
		event_set(&ev);
		EXPECT(wait_until(soon(1)) == OK);
		EXPECT(diag_get()->code == E_BUSY);
		EXPECT(log_context_get(&now) == 1 && now == &mine);
	}
}

static void test_own(void **state)
{
	const struct log_field *now;

	(void)err_set(E_IO, "the thread's");
	run_in_loop(own_main, NULL);
	assert_int_equal(diag_get()->code, E_IO);
	assert_int_equal(log_context_get(&now), 0);
}

/* ---- the guard ---- */

static __attribute__((noinline)) unsigned dig(unsigned depth)
{
	volatile char local[4096];

	local[0] = (char)depth;
	local[4095] = local[0];
	return depth == 0 ? 0 : dig(depth - 1) + (unsigned)local[4095] + (unsigned)local[0];
}

static void deep(void *arg)
{
	unsigned sum = dig((unsigned)(uintptr_t)arg);
	EXPECT(sum != 1);
}

static void test_guard(void **state)
{
	run_in_loop(deep, (void *)(uintptr_t)20); /* 100 KiB are there */
	fflush(NULL);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		signal(SIGSEGV, SIG_DFL);
		if (!freopen("/dev/null", "w", stderr))
			_exit(3);
		run_in_loop(deep, (void *)(uintptr_t)1000);
		_exit(0);
	}
	int status = 0;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

static void park_1000(void *arg)
{
	struct event *ev = arg;

	for (unsigned i = 0; i < 1000; i++) {
		event_wait(ev);
		event_init(ev);
	}
}

/* Parking and waking the same fiber over and over, from a fiber: each time it comes back here. */
static void again_main(void *arg)
{
	struct event ev;
	unsigned before = loop_fibers(loop_current());

	event_init(&ev);
	SPAWN(park_1000, &ev);
	for (unsigned i = 0; i < 1000; i++) {
		EXPECT(loop_fibers(loop_current()) == before + 1);
		event_set(&ev);
		fiber_run_ready(loop_current());
	}
	EXPECT(loop_fibers(loop_current()) == before);
}

static void test_again(void **state)
{
	run_in_loop(again_main, NULL);
}

/* ---- costs; the figures in docs/rt.md ---- */

#define COST_N 200000u

static void cost_pong(void *arg)
{
	struct event *ev = arg;
	event_wait(ev);
}

static void cost_switches(void *arg)
{
	while (!*(bool *)arg)
		EXPECT(fiber_park(NEVER, false) == OK);
}

static void cost_main(void *arg)
{
	unsigned n = ON_VALGRIND ? 2000 : COST_N, ran = 0;
	bool stop = false;
	struct fiber *f;

	EXPECT(fiber_spawn(cost_switches, &stop, &f, NULL) == OK && f);
	uint64_t t0 = clock_mono_ns();
	for (unsigned i = 0; i < n; i++) {
		fiber_wake(f, OK);
		fiber_run_ready(loop_current());
	}
	print_message("wake and park, two switches: %.0f ns\n", (double)(clock_mono_ns() - t0) / n);
	stop = true;
	fiber_wake(f, OK);
	fiber_run_ready(loop_current());
	t0 = clock_mono_ns();

	for (unsigned i = 0; i < n; i++)
		SPAWN(noop, &ran);
	print_message("spawn and end without parking: %.0f ns\n", (double)(clock_mono_ns() - t0) / n);
	t0 = clock_mono_ns();
	for (unsigned i = 0; i < n; i++) {
		struct event ev;
		event_init(&ev);
		SPAWN(cost_pong, &ev);
		event_set(&ev);
		fiber_run_ready(loop_current());
	}
	print_message("spawn, park, wake on the same thread, end: %.0f ns\n", (double)(clock_mono_ns() - t0) / n);
	EXPECT(ran == n);
}

static void test_costs(void **state)
{
	run_in_loop(cost_main, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_guard), /* first: it forks, and so far there is one thread */
		cmocka_unit_test(test_order),	 cmocka_unit_test(test_nested),	  cmocka_unit_test(test_many),
		cmocka_unit_test(test_limit),	 cmocka_unit_test(test_cancel),	  cmocka_unit_test(test_event_not_cancellable),
		cmocka_unit_test(test_deadline), cmocka_unit_test(test_sleepers), cmocka_unit_test(test_own),
		cmocka_unit_test(test_again),	 cmocka_unit_test(test_costs),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
