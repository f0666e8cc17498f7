/* The event loop: a uv loop, tasks posted by other threads, end-of-tick hooks and the watchdog.
 *
 * A tick is: uv's callbacks (descriptors, the deadline timer, signals), then - in uv's prepare phase, right before the next poll -
 * the posted tasks, the ready fibers and the hooks, repeated until nothing is left to run.
 *
 * Invariants
 *  1. posts is a stack that any thread pushes to and only the loop empties, at once, reversing it: order per thread is kept.
 *  2. Whoever pushes onto the empty stack from another thread wakes the loop; the loop's own thread does not need to, because the
 * loop looks at the stack again before it polls.
 *  3. A thread inside loop_post is counted in posting until it has touched the loop for the last time; loop_free waits for zero. So
 * a task may lead to the end of the loop while the thread that posted it is still returning.
 *  4. A tick is bounded: after ROUNDS_MAX rounds the hooks run and the loop polls without blocking, so that ready fibers cannot
 * starve descriptors.
 */
#include "rt/internal.h"

#include <sched.h>

#define ROUNDS_MAX 16
#define TICK_SLOW_NS 1000000u

_Thread_local struct rt_thread rt_thread = {.deadline = NEVER, .worker = -1};

void rt_die(const char *what, const char *file, int line)
{
	fprintf(stderr, "cenote: internal error: %s (%s:%d)\n", what, file, line);
	abort();
}

#ifdef CENOTE_WATCHDOG
void watch_end(struct loop *l, const char *name, uint64_t since)
{
	uint64_t took = clock_mono_ns() - since;
	l->tick_ns += took;
	if (took > l->slowest_ns) {
		l->slowest_ns = took;
		l->slowest = name;
	}
}

static void watch_tick(struct loop *l)
{
	if (l->tick_ns > TICK_SLOW_NS && !l->background) {
		l->slow_ticks++;
		if (l->tick_ns > l->longest_ns)
			l->longest_ns = l->tick_ns;
		LOG(LOG_WARN, "rt.watchdog", "tick above 1 ms", LF_MS("tick_ms", (double)l->tick_ns / 1e6),
		    LF_C("slowest", l->slowest), LF_MS("slowest_ms", (double)l->slowest_ns / 1e6));
	}
	l->tick_ns = l->slowest_ns = 0;
	l->slowest = NULL;
}
#else
static void watch_tick(struct loop *l)
{
	(void)l;
}
#endif

uint64_t loop_slow_ticks(const struct loop *l, uint64_t *longest_ns)
{
	if (longest_ns)
		*longest_ns = l->longest_ns;
	return l->slow_ticks;
}

static bool posts_pending(struct loop *l)
{
	return atomic_load_explicit(&l->posts, memory_order_relaxed) != NULL;
}

static void posts_run(struct loop *l)
{
	if (!posts_pending(l))
		return;
	struct loop_task *t = atomic_exchange_explicit(&l->posts, NULL, memory_order_acquire);
	struct loop_task *in_order = NULL;
	while (t) {
		struct loop_task *next = t->next;
		t->next = in_order;
		in_order = t;
		t = next;
	}
	while (in_order) {
		t = in_order;
		in_order = t->next; /* t is the caller's again once fn has it */
		uint64_t since = watch_begin();
		t->fn(t->arg);
		watch_end(l, "post", since);
	}
}

static void hooks_run(struct loop *l)
{
	struct list todo;

	l->hook_added = false;
	if (list_empty(&l->hooks))
		return;
	/* Through a list of its own, so that a hook may remove any hook, itself included. */
	list_add_head(&l->hooks, &todo);
	list_del(&l->hooks);
	while (!list_empty(&todo)) {
		struct loop_hook *h = CONTAINER(todo.next, struct loop_hook, node);
		list_del(&h->node);
		list_add_tail(&l->hooks, &h->node);
		uint64_t since = watch_begin();
		h->fn(h->arg);
		watch_end(l, "hook", since);
	}
}

static void on_idle(uv_idle_t *h)
{
	(void)h;
}

/* Posts, fibers and hooks until nothing is left to run; a hook that another hook (or a fiber that it ran) has added is run in this
 * tick too, because what it is to flush would else lie until something wakes the loop. True when it gave up before that. */
static bool settle(struct loop *l)
{
	for (unsigned round = 0; round < ROUNDS_MAX; round++) {
		posts_run(l);
		fiber_run_ready(l);
		if (!list_empty(&l->ready) || posts_pending(l))
			continue;
		hooks_run(l);
		if (list_empty(&l->ready) && !posts_pending(l) && !l->hook_added)
			return false;
	}
	hooks_run(l); /* what they flush must not wait for those that never rest */
	return true;
}

static bool finished(struct loop *l)
{
	return l->fibers == 0 && !posts_pending(l) && atomic_load(&l->stop);
}

static void on_prepare(uv_prepare_t *h)
{
	struct loop *l = h->data;

	if (settle(l))
		uv_idle_start(&l->idle, on_idle);
	else
		uv_idle_stop(&l->idle);
	if (finished(l))
		uv_stop(&l->uv); /* the poll that follows does not block, and uv_run returns after it */
	due_arm(l);
	watch_tick(l);
}

static void on_wake(uv_async_t *h)
{
	(void)h; /* the posts run in the prepare phase, which always follows */
}

enum err loop_new(struct loop **out)
{
	struct loop *l = calloc(1, sizeof *l);
	int r;

	if (!l)
		return err_set(E_LIMIT, "no memory for an event loop");
	r = uv_loop_init(&l->uv);
	if (r < 0) {
		free(l);
		return err_set(E_IO, "cannot make an event loop: %s", uv_strerror(r));
	}
	r = uv_async_init(&l->uv, &l->wake, on_wake);
	if (r < 0) {
		uv_loop_close(&l->uv);
		free(l);
		return err_set(E_IO, "cannot make the wake-up of an event loop: %s", uv_strerror(r));
	}
	uv_prepare_init(&l->uv, &l->prepare);
	uv_idle_init(&l->uv, &l->idle);
	uv_timer_init(&l->uv, &l->timer);
	l->uv.data = l->prepare.data = l->timer.data = l;
	uv_prepare_start(&l->prepare, on_prepare);
	list_init(&l->hooks);
	list_init(&l->ready);
	list_init(&l->pool);
	l->armed_ms = UINT64_MAX;
	*out = l;
	return OK;
}

static void poster_done(struct loop *l)
{
	atomic_fetch_sub_explicit(&l->posting, 1, memory_order_release);
}

void loop_free(struct loop *l)
{
	if (!l)
		return;
	RT_ASSERT(rt_thread.loop != l, "loop_free inside loop_run");
	RT_ASSERT(l->fibers == 0, "loop_free with fibers alive");
	while (atomic_load_explicit(&l->posting, memory_order_acquire) != 0)
		sched_yield();
	uv_close((uv_handle_t *)&l->wake, NULL);
	uv_close((uv_handle_t *)&l->prepare, NULL);
	uv_close((uv_handle_t *)&l->idle, NULL);
	uv_close((uv_handle_t *)&l->timer, NULL);
	loop_signals_close(l);
	int r = UV_EBUSY;
	for (unsigned i = 0; i < 8 && r == UV_EBUSY; i++) {
		uv_run(&l->uv, UV_RUN_NOWAIT);
		r = uv_loop_close(&l->uv);
	}
	RT_ASSERT(r == 0, "loop_free before every loop_poll was freed");
	fiber_pool_free(l);
	free(l->heap);
	free(l);
}

void loop_run(struct loop *l)
{
	RT_ASSERT(rt_thread.loop == NULL, "loop_run inside loop_run");
	rt_thread.loop = l;
	fiber_thread_enter(l);
	do {
		uv_run(&l->uv, UV_RUN_DEFAULT);
		settle(l); /* what the last poll brought */
	} while (!finished(l));
	atomic_store(&l->stop, false);
	rt_thread.loop = NULL;
}

void loop_stop(struct loop *l)
{
	atomic_fetch_add_explicit(&l->posting, 1, memory_order_relaxed);
	atomic_store(&l->stop, true);
	uv_async_send(&l->wake);
	poster_done(l);
}

struct loop *loop_current(void)
{
	return rt_thread.loop;
}

unsigned loop_index(const struct loop *l)
{
	return l->index;
}

void loop_set_index(struct loop *l, unsigned index)
{
	l->index = index;
}

void loop_set_background(struct loop *l)
{
	l->background = true;
}

unsigned loop_fibers(const struct loop *l)
{
	return l->fibers;
}

void loop_post(struct loop *l, struct loop_task *t)
{
	bool own = rt_thread.loop == l;

	if (!own)
		atomic_fetch_add_explicit(&l->posting, 1, memory_order_relaxed);
	struct loop_task *head = atomic_load_explicit(&l->posts, memory_order_relaxed);
	do
		t->next = head;
	while (!atomic_compare_exchange_weak_explicit(&l->posts, &head, t, memory_order_release, memory_order_relaxed));
	if (own)
		return;
	if (!head)
		uv_async_send(&l->wake);
	poster_done(l);
}

void loop_hook_add(struct loop *l, struct loop_hook *h)
{
	list_add_tail(&l->hooks, &h->node);
	l->hook_added = true;
}

void loop_hook_del(struct loop_hook *h)
{
	list_del(&h->node);
}
