/* See background.h. The fiber is spawned and cancelled by tasks on its own loop; the loop ends when the fiber has. */
#include "daemon/background.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "rt/fiber.h"

/* Far below the others, but not so far that it could not finish what it does under a lock (as it might when it were SCHED_IDLE). */
#define NICE 10
/* Longer than others' slices: then whoever wakes up takes the processor at once instead of waiting for the end of this thread's
 * slice, up to 3 ms each time. Linux since 6.12; earlier ones take no notice, and let a thread of this priority wait sooner anyway.
 */
#define SLICE_NS 20000000u

struct background {
	const char *name;
	void (*fn)(void *arg);
	void *arg;
	struct loop *loop;
	struct fiber *fiber; /* loop's thread only; NULL: not begun, or ended */
	pthread_t thread;
	struct loop_task start, stop;
};

static void run(void *arg)
{
	struct background *b = arg;

	b->fn(b->arg);
	b->fiber = NULL;
}

static void on_start(void *arg)
{
	struct background *b = arg;
	struct fiber *f = NULL;
	bool ended = false;

	if (fiber_spawn(run, b, &f, &ended) != OK)
		LOG(LOG_ERROR, "background", "work in the background cannot be started", LF_C("what", b->name),
		    LF_C("err", diag_get()->text));
	else if (!ended)
		b->fiber = f;
}

static void on_stop(void *arg)
{
	struct background *b = arg;

	if (b->fiber)
		fiber_cancel(b->fiber);
	loop_stop(b->loop);
}

/* sched_setattr(2), which the C library does not declare everywhere. */
struct attributes {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

static void give_way(const struct background *b)
{
	struct attributes a = {.size = sizeof a, .policy = SCHED_OTHER, .nice = NICE, .runtime = SLICE_NS};

	if (syscall(SYS_sched_setattr, 0, &a, 0u) != 0 && setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), NICE) != 0)
		LOG(LOG_INFO, "background", "the priority of a thread cannot be lowered", LF_C("what", b->name));
}

static void *thread_main(void *arg)
{
	struct background *b = arg;

	give_way(b);
	loop_run(b->loop);
	return NULL;
}

enum err background_start(const char *name, void (*fn)(void *arg), void *arg, struct background **out)
{
	struct background *b = calloc(1, sizeof *b);
	sigset_t all, old;
	int rc;

	*out = NULL;
	if (!b)
		return err_set(E_LIMIT, "out of memory");
	b->name = name;
	b->fn = fn;
	b->arg = arg;
	enum err e = loop_new(&b->loop);
	if (e != OK) {
		free(b);
		return e;
	}
	loop_set_background(b->loop);
	b->start = (struct loop_task){.fn = on_start, .arg = b};
	loop_post(b->loop, &b->start);
	/* Signals are the main thread's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&b->thread, NULL, thread_main, b);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc != 0) {
		/* The loop runs what was posted before it can be freed: let it end at once. */
		b->start.fn = on_stop;
		loop_run(b->loop);
		loop_free(b->loop);
		free(b);
		return err_set(E_LIMIT, "cannot start a thread: %s", strerror(rc));
	}
	*out = b;
	return OK;
}

void background_stop(struct background *b)
{
	if (!b)
		return;
	b->stop = (struct loop_task){.fn = on_stop, .arg = b};
	loop_post(b->loop, &b->stop);
	pthread_join(b->thread, NULL);
	loop_free(b->loop);
	free(b);
}
