/* The one wait primitive. In a fiber it parks the fiber; outside a loop (command line, unit tests, worker threads) the same call is
 * poll(2). Every wait returns at the earliest of: its deadline, the fiber's deadline (E_TIMEOUT), cancellation (E_CANCELLED). */
#ifndef CENOTE_RT_WAIT_H
#define CENOTE_RT_WAIT_H

#include <stdatomic.h>

#include "base/clock.h"
#include "base/err.h"

#define WAIT_READ 1u
#define WAIT_WRITE 2u
/* Until fd is ready for one of events; *ready (may be NULL) says which. */
enum err wait_fd(int fd, unsigned events, uint64_t deadline_ns, unsigned *ready) MUST_CHECK;
/* Sleeps; OK when the time has come. */
enum err wait_until(uint64_t at_ns) MUST_CHECK;

/* From here on waits end at at_ns at the latest, if that is before the fiber's deadline (outside a fiber: the thread's); returns
 * what wait_restore puts back. */
uint64_t wait_within(uint64_t at_ns);
void wait_restore(uint64_t deadline_ns);
bool wait_expired(void); /* that deadline has passed */

/* For what must be done though the request was given up: calls fn, whose waits end at at_ns at the latest and know nothing of the
 * fiber's own deadline and cancellation, be it from before or from meanwhile. Both hold again afterwards. Returns what fn returned.
 */
enum err wait_shielded(uint64_t at_ns, enum err (*fn)(void *arg), void *arg) MUST_CHECK;

/* A one-shot event that another thread sets: event_init by the waiter, then hand it out, event_wait by the waiter, once; event_set
 * exactly once by the other side, from any thread. The memory is the waiter's.
 *
 *  1. event_wait does not return before event_set has touched the event for the last time; it is therefore not cancellable and has
 * no deadline: whoever offers an operation bounded in time must make the setter come in time (withdraw it from the queue, then
 * set).
 *  2. In a fiber, event_set costs at most one wake-up of the loop, shared by all events set in the meantime. */
struct event {
	atomic_int state;
	void *waiter;  /* rt's own: fiber or futex word */
	void *loop;    /* rt's own */
	void *task[3]; /* rt's own: a struct loop_task */
};
void event_init(struct event *ev);
void event_set(struct event *ev);
void event_wait(struct event *ev);
bool event_is_set(const struct event *ev);

#endif
