/* For the tests of rt/ only: run a function in a fiber of a fresh loop until the last fiber has ended. */
#ifndef CENOTE_RT_TESTING_H
#define CENOTE_RT_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "rt/internal.h"
#include "rt/wait.h"
#include "rt/work.h"

#ifdef RT_VALGRIND
#include <valgrind/valgrind.h>
#define ON_VALGRIND RUNNING_ON_VALGRIND
#else
#define ON_VALGRIND 0
#endif

/* In fibers, because cmocka's own leave by longjmp, which must not cross stacks. */
#define EXPECT(cond)                                                                                                               \
	do {                                                                                                                       \
		if (!(cond)) {                                                                                                     \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #cond);                                         \
			abort();                                                                                                   \
		}                                                                                                                  \
	} while (0)
#define SPAWN(fn, arg) EXPECT(fiber_spawn((fn), (arg), NULL, NULL) == OK)

struct in_loop {
	void (*fn)(void *arg);
	void *arg;
};

static inline void in_loop_start(void *arg)
{
	struct in_loop *in = arg;
	SPAWN(in->fn, in->arg);
}

/* fn(arg) in a fiber of l; returns when that fiber and all it spawned have ended. */
static inline void run_on(struct loop *l, void (*fn)(void *arg), void *arg)
{
	struct in_loop in = {fn, arg};
	struct loop_task t = {.fn = in_loop_start, .arg = &in};

	loop_post(l, &t);
	loop_stop(l);
	loop_run(l);
}

static inline void run_in_loop(void (*fn)(void *arg), void *arg)
{
	struct loop *l;

	EXPECT(loop_new(&l) == OK);
	run_on(l, fn, arg);
	EXPECT(loop_fibers(l) == 0);
	loop_free(l);
}

static inline uint64_t soon(unsigned ms)
{
	return clock_mono_ns() + (uint64_t)ms * 1000000u;
}

#endif
