/* The way to the writer: ops queued by fibers and threads, taken by the one writer thread.
 *
 * Invariants
 *  1. An op is in at most one place: a loop's pending list, the queue, or the writer's hands. Whoever takes it out of a list under
 * the lock is the one that sets its event.
 *  2. Writes that the fibers of a loop queue within one tick reach the writer together, at the end of the tick: one wake-up, and
 * one transaction instead of a small one followed by a large one.
 *  3. An op whose deadline passes while the writer is stuck (a disk that does not answer) is withdrawn by the warden thread; one
 * that the writer has taken is answered by the writer alone. */
#include "store/sqlite/sq.h"

#include <time.h>

#include "rt/fiber.h"

/* What the fibers of this thread's loop have queued in this tick. */
static _Thread_local struct {
	struct sq *s;
	struct wop *head, **end;
	unsigned n;
	struct loop_hook hook;
} pending;

static void push(struct sq *s, struct wop *head, struct wop **end, unsigned n)
{
	pthread_mutex_lock(&s->qmu);
	*s->q_end = head;
	s->q_end = end;
	s->q_n += n;
	bool wake = s->w_sleeps, watch = s->warden_sleeps && !wake;
	if (wake)
		s->w_sleeps = false;
	if (watch)
		s->warden_sleeps = false;
	pthread_mutex_unlock(&s->qmu);
	if (wake)
		pthread_cond_signal(&s->qcv);
	if (watch)
		pthread_cond_signal(&s->warden_cv);
}

static void on_tick_end(void *arg)
{
	(void)arg;
	loop_hook_del(&pending.hook);
	struct sq *s = pending.s;
	pending.s = NULL;
	push(s, pending.head, pending.end, pending.n);
}

static void push_at_tick_end(struct sq *s, struct wop *op)
{
	if (pending.s && pending.s != s) {
		push(s, op, &op->next, 1);
		return;
	}
	if (!pending.s) {
		pending.s = s;
		pending.head = NULL;
		pending.end = &pending.head;
		pending.n = 0;
		pending.hook.fn = on_tick_end;
		loop_hook_add(loop_current(), &pending.hook);
	}
	*pending.end = op;
	pending.end = &op->next;
	pending.n++;
}

enum err queue_submit(struct sq *s, struct wop *op)
{
	op->next = NULL;
	op->err = OK;
	if (fiber_cancelled())
		return err_set(E_CANCELLED, "the request was cancelled before its write began");
	if (op->deadline != NEVER && clock_mono_ns() >= op->deadline)
		return err_set(E_TIMEOUT, "the deadline passed before the write began");
	if (atomic_fetch_add(&s->q_waiting, 1) >= s->queue_max) {
		atomic_fetch_sub(&s->q_waiting, 1);
		enum err e = err_set(E_BUSY, "%u writes are waiting for the disk; try again in a second", s->queue_max);
		diag_get()->retry_after_s = 1;
		return e;
	}
	event_init(&op->ev);
	if (fiber_current())
		push_at_tick_end(s, op);
	else
		push(s, op, &op->next, 1);
	event_wait(&op->ev);
	if (op->err != OK)
		*diag_get() = op->diag;
	return op->err;
}

/* Takes the ops out of the queue whose deadline has passed. */
static void withdraw(struct sq *s)
{
	uint64_t now = clock_mono_ns();
	struct wop *late = NULL;
	pthread_mutex_lock(&s->qmu);
	for (struct wop **at = &s->q_head, *op; (op = *at);) {
		if (op->deadline > now) {
			at = &op->next;
			continue;
		}
		*at = op->next;
		if (s->q_end == &op->next)
			s->q_end = at;
		op->next = late;
		late = op;
		s->q_n--;
	}
	pthread_mutex_unlock(&s->qmu);
	for (struct wop *next; late; late = next) {
		next = late->next;
		late->err = err_set(E_TIMEOUT, "the deadline passed while the write waited for the disk; nothing was written");
		late->diag = *diag_get();
		atomic_fetch_sub(&s->q_waiting, 1);
		s->n_withdrawn++;
		event_set(&late->ev);
	}
}

/* Sleeps while nothing is queued; while something is, looks every 100 ms for ops that wait too long. */
void *queue_warden(void *arg)
{
	struct sq *s = arg;
	pthread_mutex_lock(&s->qmu);
	while (!s->stop) {
		if (!s->q_head) {
			s->warden_sleeps = true;
			pthread_cond_wait(&s->warden_cv, &s->qmu);
			s->warden_sleeps = false;
			continue;
		}
		/* Under steady load the queue is seldom empty here, so pushes seldom have to signal. */
		struct timespec ts;
		clock_gettime(CLOCK_MONOTONIC, &ts);
		ts.tv_nsec += 100000000;
		if (ts.tv_nsec >= 1000000000) {
			ts.tv_nsec -= 1000000000;
			ts.tv_sec++;
		}
		pthread_cond_timedwait(&s->warden_cv, &s->qmu, &ts);
		pthread_mutex_unlock(&s->qmu);
		withdraw(s);
		pthread_mutex_lock(&s->qmu);
	}
	pthread_mutex_unlock(&s->qmu);
	return NULL;
}
