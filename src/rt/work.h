/* The CPU pool: for what takes above 1 ms, and for what blocks. In a fiber work_run parks it and runs fn on a pool thread; outside
 * a loop it just calls fn. fn must not touch the loop, and must not use waits that need a fiber; it has its own diagnostic, which
 * is copied to the caller's when fn returns an error. It runs under the caller's log context and deadline (fiber_deadline). */
#ifndef CENOTE_RT_WORK_H
#define CENOTE_RT_WORK_H

#include "base/err.h"

/* Returns what fn returned. Not cancellable once begun; E_CANCELLED / E_TIMEOUT only if it was withdrawn before it began. E_BUSY
 * when more than 1024 are queued. */
enum err work_run(enum err (*fn)(void *arg), void *arg) MUST_CHECK;
/* Begins fn on a pool thread and does not wait for it; without a deadline and a log context. Outside a fiber it just calls fn. What
 * fn uses must outlive it. E_BUSY as above, E_LIMIT: memory; then fn is not called. */
enum err work_start(enum err (*fn)(void *arg), void *arg) MUST_CHECK;
/* 0.. for the pool thread that calls it, -1 elsewhere: index for per-thread resources. */
int work_thread_index(void);
/* Threads in the pool (fixed at first use: number of cores, at least 2, or what work_set_threads said before). */
unsigned work_threads(void);
void work_set_threads(unsigned n);
/* Lets what is queued finish and joins the threads; for the end of the process. A later work_run starts them again. Not from a
 * fiber. */
void work_stop(void);

#endif
