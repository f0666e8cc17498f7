/* One event loop per thread (libuv underneath; uv.h is included nowhere else). A loop runs ready fibers until all are parked, then
 * the end-of-tick hooks, then polls.
 *
 * Thread safety: everything is for the loop's own thread, except loop_post and loop_stop.
 *
 * Invariants
 *  1. A fiber belongs to the loop that spawned it and runs on no other thread.
 *  2. Tick hooks run after every batch of callbacks and ready fibers, before the loop polls again; a hook may ready fibers, which
 *     run before the poll.
 *  3. In debug builds a tick longer than 1 ms is counted and logged (rt.watchdog), with the slowest callback's name. */
#ifndef CENOTE_RT_LOOP_H
#define CENOTE_RT_LOOP_H

#include "base/clock.h"
#include "base/err.h"
#include "base/list.h"

struct loop;

enum err loop_new(struct loop **out) MUST_CHECK;
void loop_free(struct loop *l); /* after loop_run has returned; asserts that no fiber is left */
/* Runs until loop_stop and until the last fiber has ended. */
void loop_run(struct loop *l);
void loop_stop(struct loop *l); /* any thread */
/* The loop that runs on this thread, or NULL. */
struct loop *loop_current(void);
/* A small number 0.. for tables per loop (metrics, read connections); set by the owner. */
unsigned loop_index(const struct loop *l);
void loop_set_index(struct loop *l, unsigned index);

/* A loop whose thread nobody waits for, for work in the background: it may be kept busy. work_run calls fn on that thread instead
 * of on the CPU pool (its other fibers wait meanwhile), and the watchdog looks away. Before the loop runs. */
void loop_set_background(struct loop *l);

/* Runs fn(arg) on the loop's thread soon. The task is the caller's memory, free again when fn is called. Any thread. Posts from one
 * thread keep their order; many posts cost one wake-up. */
struct loop_task {
	struct loop_task *next;
	void (*fn)(void *arg);
	void *arg;
};
void loop_post(struct loop *l, struct loop_task *t);

/* Called at the end of every tick until removed. */
struct loop_hook {
	struct list node;
	void (*fn)(void *arg);
	void *arg;
};
void loop_hook_add(struct loop *l, struct loop_hook *h);
void loop_hook_del(struct loop_hook *h);

#define LOOP_READ 1u
#define LOOP_WRITE 2u
/* Watches a descriptor, which becomes non-blocking. The callback gets the events that are ready (or LOOP_READ|LOOP_WRITE on an
 * error of the descriptor; then the watch pauses until the next loop_poll_set). One watch per descriptor and loop at a time,
 * wait_fd included. */
struct loop_poll;
enum err loop_poll_new(struct loop *l, int fd, const char *name, void (*fn)(void *arg, unsigned events), void *arg,
		       struct loop_poll **out) MUST_CHECK;
enum err loop_poll_set(struct loop_poll *p, unsigned events) MUST_CHECK; /* 0: pause */
void loop_poll_free(struct loop_poll *p);				 /* does not close the descriptor */

/* One-shot timer, re-armed by loop_timer_set; NEVER stops it. Does not keep the loop alive. */
struct loop_timer;
enum err loop_timer_new(struct loop *l, const char *name, void (*fn)(void *arg), void *arg, struct loop_timer **out) MUST_CHECK;
void loop_timer_set(struct loop_timer *t, uint64_t at_ns);
void loop_timer_free(struct loop_timer *t);

/* Calls fn on this loop when the process gets the signal. */
enum err loop_signal(struct loop *l, int signum, void (*fn)(void *arg, int signum), void *arg) MUST_CHECK;

/* Debug watchdog: ticks above 1 ms seen so far on this loop, and the longest in ns (0 in release builds). */
uint64_t loop_slow_ticks(const struct loop *l, uint64_t *longest_ns);
/* Fibers alive on this loop. */
unsigned loop_fibers(const struct loop *l);

#endif
