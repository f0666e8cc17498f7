/* Fibers: stackful, cooperative, one loop each. Code in a fiber is plain sequential C; only the calls of rt/wait.h and rt/work.h
 * park it. Each fiber has its own diagnostic and its own log context. Stacks (256 KiB, guard page below) are mmap'd and pooled per
 * loop; switches are announced to AddressSanitizer and ThreadSanitizer. */
#ifndef CENOTE_RT_FIBER_H
#define CENOTE_RT_FIBER_H

#include "rt/loop.h"

struct fiber;

/* Starts fn(arg) in a new fiber on the current loop and runs it at once, on the caller's thread, until it parks or ends.
 * Returns E_LIMIT when no stack can be had, else OK; *ended (may be NULL) tells whether fn has returned already. When it has not,
 * *out (may be NULL) names the fiber until fn returns. */
enum err fiber_spawn(void (*fn)(void *arg), void *arg, struct fiber **out, bool *ended) MUST_CHECK;
/* The running fiber, or NULL. */
struct fiber *fiber_current(void);
/* Asks it to stop: every cancellable wait, now and later, returns E_CANCELLED. Loop's thread only. */
void fiber_cancel(struct fiber *f);
bool fiber_cancelled(void); /* of the running fiber; false outside */
/* Gives back the memory that deeper calls of the running fiber have used of its stack; for one that waits long, in thousands.
 * Outside a fiber: nothing. */
void fiber_stack_release(void);
/* The deadline every wait of this fiber respects besides its own (the earlier wins). Outside a fiber: kept per thread. NEVER at
 * start. */
void fiber_set_deadline(uint64_t at_ns);
uint64_t fiber_deadline(void);

#endif
