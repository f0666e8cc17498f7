/* The waits: in a fiber they park it, elsewhere they block the thread in poll(2), clock_nanosleep(2) or futex(2).
 *
 * Invariants of an event (struct event in wait.h)
 *  1. state goes IDLE -> SET, or IDLE -> FIBER -> SET, or IDLE -> THREAD -> SET; the first step of the longer ways is the waiter's,
 * with waiter and loop written before it.
 *  2. IDLE -> SET is the setter's last touch. From FIBER, the waiter does not run before the task embedded in the event has run on
 * its loop, and loop_post touches the task last when it pushes it. From THREAD, the waiter sleeps on a word of its own thread, not
 * in the event, and does not look at the event before that word says so.
 *  3. So the event's memory is the waiter's again when event_wait returns, and event_set never reaches into it later. */
#include "rt/wait.h"

#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "rt/internal.h"

_Static_assert(WAIT_READ == LOOP_READ && WAIT_WRITE == LOOP_WRITE, "the same bits");
_Static_assert(sizeof(struct loop_task) <= sizeof(((struct event *)0)->task), "an event has room for its task");

enum { EVENT_IDLE, EVENT_FIBER, EVENT_THREAD, EVENT_SET };

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* ---- descriptors ---- */

struct fd_wait {
	uv_poll_t uv;
	struct fiber *fiber;
	unsigned ready;
};

static void on_ready(uv_poll_t *h, int status, int events)
{
	struct fd_wait *w = h->data;

	if (status < 0)
		w->ready = WAIT_READ | WAIT_WRITE;
	else
		w->ready |= (events & UV_READABLE ? WAIT_READ : 0) | (events & UV_WRITABLE ? WAIT_WRITE : 0);
	uv_poll_stop(h);
	fiber_wake(w->fiber, OK);
}

static void free_wait(uv_handle_t *h)
{
	free(h->data);
}

/* uv frees handles in a later tick, so it is not on the fiber's stack. */
static enum err wait_fd_parked(struct fiber *f, int fd, unsigned events, uint64_t at, unsigned *ready)
{
	struct fd_wait *w = calloc(1, sizeof *w);

	if (!w)
		return err_set(E_LIMIT, "no memory to wait for a descriptor");
	int r = uv_poll_init(&f->loop->uv, &w->uv, fd);
	if (r < 0) {
		free(w);
		if (r == UV_EPERM) { /* a regular file: always ready */
			*ready = events;
			return OK;
		}
		return err_set(E_IO, "cannot wait for descriptor %d: %s", fd, uv_strerror(r));
	}
	w->uv.data = w;
	w->fiber = f;
	r = uv_poll_start(&w->uv, (events & WAIT_READ ? UV_READABLE : 0) | (events & WAIT_WRITE ? UV_WRITABLE : 0), on_ready);
	enum err e = r < 0 ? err_set(E_IO, "cannot wait for descriptor %d: %s", fd, uv_strerror(r)) : fiber_park(at, true);
	*ready = w->ready & events;
	uv_close((uv_handle_t *)&w->uv, free_wait);
	return e;
}

/* timeout until at as poll(2) takes it, rounded up; less than a minute at a time, so that it fits. */
static struct timespec until(uint64_t at)
{
	uint64_t now = clock_mono_ns(), left = at > now ? at - now : 0;

	if (left > UINT64_C(60000000000))
		left = UINT64_C(60000000000);
	return (struct timespec){.tv_sec = (time_t)(left / 1000000000u), .tv_nsec = (long)(left % 1000000000u)};
}

static enum err wait_fd_blocking(int fd, unsigned events, uint64_t at, unsigned *ready)
{
	for (;;) {
		struct pollfd p = {.fd = fd,
				   .events = (short)((events & WAIT_READ ? POLLIN : 0) | (events & WAIT_WRITE ? POLLOUT : 0))};
		struct timespec ts = until(at);
		int n = ppoll(&p, 1, &ts, NULL);
		if (n < 0 && errno != EINTR)
			return err_set(E_IO, "cannot wait for descriptor %d: %s", fd, strerror(errno));
		if (n > 0 && (p.revents & POLLNVAL))
			return err_set(E_IO, "cannot wait for descriptor %d: it is not open", fd);
		if (n > 0) {
			bool error = p.revents & (POLLERR | POLLHUP);
			*ready = (p.revents & POLLIN || error ? WAIT_READ : 0) | (p.revents & POLLOUT || error ? WAIT_WRITE : 0);
			*ready &= events;
			return OK;
		}
		if (clock_mono_ns() >= at)
			return E_TIMEOUT;
	}
}

enum err wait_fd(int fd, unsigned events, uint64_t deadline_ns, unsigned *ready)
{
	struct fiber *f = rt_thread.fiber;
	uint64_t at = earlier(deadline_ns, fiber_deadline());
	unsigned which = 0;
	enum err e;

	if (events == 0 || (events & ~(WAIT_READ | WAIT_WRITE)))
		return err_set(E_INTERNAL, "wait_fd: events %u, allowed are WAIT_READ and WAIT_WRITE", events);
	if (fiber_cancelled())
		e = E_CANCELLED;
	else if (f && (at == NEVER || at > clock_mono_ns()))
		e = wait_fd_parked(f, fd, events, at, &which);
	else
		e = wait_fd_blocking(fd, events, at, &which);
	if (e == E_TIMEOUT || e == E_CANCELLED)
		return fiber_wait_failed(e);
	if (ready)
		*ready = which;
	return e;
}

/* ---- time ---- */

uint64_t wait_within(uint64_t at_ns)
{
	uint64_t before = fiber_deadline();

	fiber_set_deadline(earlier(at_ns, before));
	return before;
}

void wait_restore(uint64_t deadline_ns)
{
	fiber_set_deadline(deadline_ns);
}

enum err wait_shielded(uint64_t at_ns, enum err (*fn)(void *arg), void *arg)
{
	uint64_t before = fiber_deadline();
	bool cancelled = fiber_shield();
	enum err e;

	fiber_set_deadline(at_ns);
	e = fn(arg);
	fiber_set_deadline(before);
	fiber_unshield(cancelled);
	return e;
}

bool wait_expired(void)
{
	uint64_t at = fiber_deadline();

	return at != NEVER && clock_mono_ns() >= at;
}

enum err wait_until(uint64_t at_ns)
{
	uint64_t at = earlier(at_ns, fiber_deadline());

	if (fiber_cancelled())
		return fiber_wait_failed(E_CANCELLED);
	if (at == NEVER || at > clock_mono_ns()) {
		if (rt_thread.fiber) {
			enum err e = fiber_park(at, true);
			if (e == E_CANCELLED)
				return fiber_wait_failed(e);
		} else {
			struct timespec ts = {.tv_sec = (time_t)(at / 1000000000u), .tv_nsec = (long)(at % 1000000000u)};
			while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
				;
		}
	}
	return at_ns <= at ? OK : fiber_wait_failed(E_TIMEOUT);
}

/* ---- events ---- */

/* Each thread sleeps on its own word. A late FUTEX_WAKE on the word of a thread that has ended wakes nobody and touches nothing. */
static _Thread_local atomic_int sleeper;

static void futex(atomic_int *word, int op, int value)
{
	syscall(SYS_futex, word, op | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);
}

void event_init(struct event *ev)
{
	ev->waiter = ev->loop = NULL;
	atomic_init(&ev->state, EVENT_IDLE);
}

static void event_wake(void *arg)
{
	struct event *ev = arg;

	fiber_wake(ev->waiter, OK);
}

void event_set(struct event *ev)
{
	int was = EVENT_IDLE;

	if (atomic_compare_exchange_strong_explicit(&ev->state, &was, EVENT_SET, memory_order_acq_rel, memory_order_acquire))
		return;
	RT_ASSERT(was != EVENT_SET, "an event set twice");
	if (was == EVENT_THREAD) {
		atomic_int *word = ev->waiter;
		atomic_store_explicit(&ev->state, EVENT_SET, memory_order_relaxed);
		atomic_store_explicit(word, 1, memory_order_release);
		futex(word, FUTEX_WAKE, 1);
		return;
	}
	struct loop *l = ev->loop;
	atomic_store_explicit(&ev->state, EVENT_SET, memory_order_relaxed);
	if (l == rt_thread.loop) {
		fiber_wake(ev->waiter, OK);
		return;
	}
	struct loop_task *t = (struct loop_task *)(void *)ev->task;
	t->fn = event_wake;
	t->arg = ev;
	loop_post(l, t);
}

void event_wait(struct event *ev)
{
	struct fiber *f = rt_thread.fiber;
	int was = EVENT_IDLE;

	if (atomic_load_explicit(&ev->state, memory_order_acquire) == EVENT_SET)
		return;
	if (!f)
		atomic_store_explicit(&sleeper, 0, memory_order_relaxed);
	ev->waiter = f ? (void *)f : (void *)&sleeper;
	ev->loop = f ? f->loop : NULL;
	if (!atomic_compare_exchange_strong_explicit(&ev->state, &was, f ? EVENT_FIBER : EVENT_THREAD, memory_order_acq_rel,
						     memory_order_acquire))
		return;
	if (f) {
		enum err e = fiber_park(NEVER, false);
		RT_ASSERT(e == OK, "an event's waiter woken by something else");
		return;
	}
	while (atomic_load_explicit(&sleeper, memory_order_acquire) == 0)
		futex(&sleeper, FUTEX_WAIT, 0);
}

bool event_is_set(const struct event *ev)
{
	return atomic_load_explicit(&ev->state, memory_order_acquire) == EVENT_SET;
}
