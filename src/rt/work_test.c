/* The pool: results and diagnostics, overflow, withdrawal, order of the end. */
#include "rt/testing.h"

#include <pthread.h>
#include <sched.h>

static enum err fails(void *arg)
{
	EXPECT(diag_get()->code == OK); /* its own, clean */
	EXPECT(loop_current() == NULL && fiber_current() == NULL);
	*(int *)arg = work_thread_index();
	return err_field(E_CORRUPT, "/value", 7, "damaged in job %d", 42);
}

static void diag_main(void *arg)
{
	int index = -2;

	(void)err_set(E_BUSY, "from before");
	EXPECT(work_run(fails, &index) == E_CORRUPT);
	EXPECT(index >= 0 && index < (int)work_threads());
	EXPECT(diag_get()->code == E_CORRUPT && diag_get()->position == 7);
	EXPECT(strcmp(diag_get()->text, "damaged in job 42") == 0 && strcmp(diag_get()->field, "/value") == 0);
	EXPECT(work_thread_index() == -1);
}

static void test_diag(void **state)
{
	work_set_threads(2);
	assert_int_equal(work_threads(), 2);
	run_in_loop(diag_main, NULL);
}

static enum err direct(void *arg)
{
	*(int *)arg = work_thread_index();
	return err_set(E_LIMIT, "direct");
}

static void test_outside(void **state)
{
	int index = -2;

	assert_int_equal(work_run(direct, &index), E_LIMIT);
	assert_int_equal(index, -1);
	assert_string_equal(diag_get()->text, "direct");
}

/* ---- many fibers, all results ---- */

static unsigned done_n;
static uint64_t sum;

static enum err square(void *arg)
{
	uint64_t *v = arg;

	*v = *v * *v;
	return OK;
}

static void square_one(void *arg)
{
	uint64_t v = (uintptr_t)arg;

	EXPECT(work_run(square, &v) == OK);
	EXPECT(v == (uint64_t)(uintptr_t)arg * (uintptr_t)arg);
	sum += v;
	done_n++;
}

static void many_main(void *arg)
{
	for (uintptr_t i = 1; i <= 200; i++)
		SPAWN(square_one, (void *)i);
}

static void test_many(void **state)
{
	done_n = 0;
	sum = 0;
	run_in_loop(many_main, NULL);
	assert_int_equal(done_n, 200);
	assert_int_equal(sum, 200u * 201u * 401u / 6u);
}

/* ---- with every thread held ---- */

static struct {
	atomic_uint held;
	struct event release[2];
	unsigned ran, busy, ok;
	enum err got[3];
} gate;

static enum err hold(void *arg)
{
	atomic_fetch_add(&gate.held, 1);
	event_wait(arg); /* on a pool thread: sleeps */
	return OK;
}

static void hold_one(void *arg)
{
	EXPECT(work_run(hold, arg) == OK);
}

static void hold_all(void)
{
	atomic_store(&gate.held, 0);
	for (unsigned i = 0; i < 2; i++) {
		event_init(&gate.release[i]);
		SPAWN(hold_one, &gate.release[i]);
	}
	while (atomic_load(&gate.held) != 2)
		sched_yield();
}

static enum err count(void *arg)
{
	return OK;
}

static void queue_one(void *arg)
{
	enum err e = work_run(count, NULL);

	if (e == OK)
		gate.ok++;
	else if (e == E_BUSY && diag_get()->code == E_BUSY)
		gate.busy++;
}

static void overflow_main(void *arg)
{
	memset(&gate, 0, sizeof gate);
	hold_all();
	for (unsigned i = 0; i < 1024 + 5; i++)
		SPAWN(queue_one, NULL);
	EXPECT(gate.busy == 5 && gate.ok == 0);
	event_set(&gate.release[0]);
	event_set(&gate.release[1]);
}

static void test_overflow(void **state)
{
	if (ON_VALGRIND)
		skip(); /* a thousand stacks, looked up one by one */
	run_in_loop(overflow_main, NULL);
	assert_int_equal(gate.busy, 5);
	assert_int_equal(gate.ok, 1024);
}

/* ---- withdrawn before it began, not withdrawn after ---- */

static enum err never_runs(void *arg)
{
	gate.ran++;
	return OK;
}

static void withdrawn(void *arg)
{
	unsigned i = (unsigned)(uintptr_t)arg;

	if (i == 1)
		fiber_set_deadline(soon(1));
	gate.got[i] = work_run(never_runs, NULL);
	EXPECT(diag_get()->code == gate.got[i]);
}

static void begun(void *arg)
{
	gate.got[2] = work_run(hold, arg);
}

static void withdraw_main(void *arg)
{
	struct fiber *f, *g;
	struct event second;

	memset(&gate, 0, sizeof gate);
	/* One thread held by a fiber that is cancelled after its job began, the other as well. */
	event_init(&gate.release[0]);
	event_init(&second);
	EXPECT(fiber_spawn(begun, &gate.release[0], &g, NULL) == OK && g);
	SPAWN(hold_one, &second);
	while (atomic_load(&gate.held) != 2)
		sched_yield();
	EXPECT(fiber_spawn(withdrawn, (void *)0, &f, NULL) == OK && f);
	SPAWN(withdrawn, (void *)1);
	gate.got[2] = E_COUNT;
	fiber_cancel(f);
	fiber_cancel(g);
	EXPECT(wait_until(soon(3)) == OK);
	EXPECT(gate.got[0] == E_CANCELLED && gate.got[1] == E_TIMEOUT && gate.ran == 0);
	EXPECT(gate.got[2] == E_COUNT); /* still in its job */
	event_set(&gate.release[0]);
	event_set(&second);
	while (gate.got[2] == E_COUNT)
		EXPECT(wait_until(soon(1)) == OK);
	EXPECT(gate.got[2] == OK); /* what fn returned */
}

static void test_withdraw(void **state)
{
	run_in_loop(withdraw_main, NULL);
}

/* ---- background loops ---- */

static enum err on_this_thread(void *arg)
{
	EXPECT(pthread_equal(pthread_self(), *(pthread_t *)arg));
	EXPECT(work_thread_index() == -1);
	EXPECT(fiber_current() == NULL); /* on the thread's own stack, not on the fiber's */
	return err_set(E_BUSY, "what fn said");
}

static void background_main(void *arg)
{
	EXPECT(work_run(on_this_thread, arg) == E_BUSY);
	EXPECT(strcmp(diag_get()->text, "what fn said") == 0);
	fiber_cancel(fiber_current());
	EXPECT(work_run(on_this_thread, arg) == E_CANCELLED);
}

static void test_background(void **state)
{
	pthread_t self = pthread_self();
	struct loop *l;

	assert_int_equal(loop_new(&l), OK);
	loop_set_background(l);
	run_on(l, background_main, &self);
	loop_free(l);
}

static enum err own_deadline(void *arg)
{
	EXPECT(fiber_deadline() == *(uint64_t *)arg);
	return wait_until(NEVER); /* poll(2) on a pool thread, until the caller's deadline */
}

static void deadline_main(void *arg)
{
	uint64_t at = soon(2);

	fiber_set_deadline(at);
	EXPECT(work_run(own_deadline, &at) == E_TIMEOUT);
}

static void test_deadline(void **state)
{
	run_in_loop(deadline_main, NULL);
}

static void test_stop(void **state)
{
	work_stop();
	work_set_threads(3);
	run_in_loop(many_main, NULL); /* starts them again */
	assert_int_equal(work_threads(), 3);
	work_stop();
	work_stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_outside),	   cmocka_unit_test(test_diag),	    cmocka_unit_test(test_many),
		cmocka_unit_test(test_overflow),   cmocka_unit_test(test_withdraw), cmocka_unit_test(test_deadline),
		cmocka_unit_test(test_background), cmocka_unit_test(test_stop),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
