/* What the files of rt/ share; no other folder includes this. The loop's state, the fiber's, the heap of deadlines, the context
 * switch. */
#ifndef CENOTE_RT_INTERNAL_H
#define CENOTE_RT_INTERNAL_H

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>
#include <uv.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "rt/fiber.h"
#include "rt/loop.h"

#if defined(__SANITIZE_ADDRESS__)
#define RT_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define RT_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define RT_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define RT_TSAN 1
#endif
#endif

/* Where valgrind's header is installed, stacks are announced to it; the requests cost a few instructions per new stack. */
#if defined(__has_include)
#if __has_include(<valgrind/valgrind.h>)
#define RT_VALGRIND 1
#endif
#endif

/* Broken invariants end the process in every build: what would follow is a jump into a stack that is gone. */
#define RT_ASSERT(cond, what)                                                                                                      \
	do {                                                                                                                       \
		if (__builtin_expect(!(cond), 0))                                                                                  \
			rt_die((what), __FILE__, __LINE__);                                                                        \
	} while (0)
_Noreturn void rt_die(const char *what, const char *file, int line);

/* ---- deadlines (due.c): one heap per loop, one uv timer for its top ---- */

/* Embedded in what waits for a moment: a parked fiber or a loop_timer. */
struct due {
	uint64_t at;		      /* valid while queued */
	size_t pos;		      /* 1-based place in the heap; 0: not queued */
	void (*fn)(struct due *self); /* called on the loop, no longer queued */
};
/* Room for one more due, so that due_set cannot fail. Paired with due_unreserve. */
enum err due_reserve(struct loop *l) MUST_CHECK;
void due_unreserve(struct loop *l);
void due_set(struct loop *l, struct due *d, uint64_t at); /* queues or moves; NEVER takes it out */
void due_cancel(struct loop *l, struct due *d);
void due_arm(struct loop *l); /* before the poll: sees to it that the loop wakes for the earliest */
void due_on_timer(uv_timer_t *t);

/* ---- contexts (fiber.c) ---- */

struct ctx {
	ucontext_t uc;
#ifdef RT_ASAN
	void *fake;
	const void *bottom;
	size_t size;
#endif
#ifdef RT_TSAN
	void *tsan;
#endif
};

enum fiber_state { FIBER_FREE, FIBER_RUNNING, FIBER_PARKED, FIBER_READY, FIBER_ENDED };

/* Lives at the upper end of its own stack's mapping. */
struct fiber {
	struct ctx ctx;
	struct ctx *back; /* who resumed it, while it runs */
	struct loop *loop;
	struct list node; /* in loop->ready or loop->pool */
	void (*fn)(void *arg);
	void *arg;
	enum fiber_state state;
	bool cancelled;
	bool cancelled_since; /* while it was shielded */
	unsigned shields;     /* calls of wait_shielded it is in */
	bool cancellable;     /* the wait it is parked in */
	enum err result;      /* why it was woken */
	uint64_t deadline;
	struct due due;
	const struct log_field *log;
	size_t log_n;
	void *map; /* the mapping, guard included */
#ifdef RT_VALGRIND
	unsigned stack_id;
#endif
	struct diag diag;
};

/* Parks the running fiber until fiber_wake, or E_TIMEOUT at at_ns, or (cancellable) E_CANCELLED at once when it was or is
 * cancelled. */
enum err fiber_park(uint64_t at_ns, bool cancellable) MUST_CHECK;
/* Puts off cancellation; returns what fiber_unshield puts back. Outside a fiber: nothing. */
bool fiber_shield(void);
void fiber_unshield(bool cancelled);
/* Makes a parked fiber ready with this result; nothing when it is not parked (the first reason to wake wins). Loop's thread only.
 */
void fiber_wake(struct fiber *f, enum err result);
/* Resumes what is ready now; what gets ready meanwhile is left for the next call. */
void fiber_run_ready(struct loop *l);
void fiber_thread_enter(struct loop *l);
void fiber_pool_free(struct loop *l);
/* Writes the sentence for E_TIMEOUT or E_CANCELLED and returns it. */
enum err fiber_wait_failed(enum err e);

/* ---- the loop (loop.c, handles.c) ---- */

struct loop {
	uv_loop_t uv;
	uv_async_t wake;
	uv_prepare_t prepare;
	uv_idle_t idle;	  /* active: do not block in the next poll */
	uv_timer_t timer; /* for the top of the heap */
	_Atomic(struct loop_task *) posts;
	atomic_uint posting; /* threads inside loop_post or loop_stop */
	atomic_bool stop;
	struct list hooks;
	bool hook_added; /* since the hooks began to run last */
	bool background; /* its thread may be kept busy */
	struct list ready;
	struct list pool; /* fibers' stacks to use again */
	unsigned pooled, fibers, index;
	struct due **heap;
	size_t heap_n, heap_cap, heap_reserved;
	uint64_t armed_ms; /* when timer will fire, UINT64_MAX: not armed */
	struct ctx main;   /* the loop's own context while a fiber runs */
	struct ctx *from;  /* who switched last; for AddressSanitizer */
	struct loop_sig *signals;
	uint64_t tick_ns, slowest_ns, longest_ns, slow_ticks; /* watchdog */
	const char *slowest;
};

struct rt_thread {
	struct loop *loop; /* the one loop_run runs here */
	struct fiber *fiber;
	uint64_t deadline; /* of waits outside a fiber */
	int worker;	   /* pool thread's number or -1 */
};
extern _Thread_local struct rt_thread rt_thread;

void loop_signals_close(struct loop *l);

/* Around every callback: the watchdog's measure. Costs nothing in release builds. */
#ifdef CENOTE_WATCHDOG
static inline uint64_t watch_begin(void)
{
	return clock_mono_ns();
}
void watch_end(struct loop *l, const char *name, uint64_t since);
#else
static inline uint64_t watch_begin(void)
{
	return 0;
}
static inline void watch_end(struct loop *l, const char *name, uint64_t since)
{
	(void)l, (void)name, (void)since;
}
#endif

#endif
