/* Cancelling: PQcancel makes a connection of its own and waits for its end, without a limit of time; so each request has a thread,
 * which nobody waits for. What it needs is its own: a request that hangs (packets dropped) outlives the connection and the store.
 *
 * Invariant: the try is freed by the later of its thread and its owner. */
#include "store/postgres/exec.h"

#include <signal.h>

struct pg_cancel_try {
	PGcancel *c;
	atomic_int refs;
	_Atomic uint64_t ended_ns;
};

void pg_cancel_drop(struct pg_cancel_try *t)
{
	if (!t || atomic_fetch_sub(&t->refs, 1) > 1)
		return;
	PQfreeCancel(t->c);
	free(t);
}

static void *try_main(void *arg)
{
	struct pg_cancel_try *t = arg;
	char why[256];
	/* What comes of it is seen on the connection, or is not: then its owner gives it up. */
	(void)PQcancel(t->c, why, sizeof why);
	atomic_store(&t->ended_ns, clock_mono_ns());
	pg_cancel_drop(t);
	return NULL;
}

static bool thread_start(struct pg_cancel_try *t)
{
	pthread_attr_t attr;
	pthread_t id;
	sigset_t all, old;
	if (pthread_attr_init(&attr) != 0)
		return false;
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	bool up = pthread_create(&id, &attr, try_main, t) == 0;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return up;
}

struct pg_cancel_try *pg_cancel_start(PGconn *c)
{
	struct pg_cancel_try *t = calloc(1, sizeof *t);
	if (!t)
		return NULL;
	t->c = PQgetCancel(c);
	atomic_init(&t->refs, 2);
	if (t->c && thread_start(t))
		return t;
	atomic_store(&t->refs, 1);
	pg_cancel_drop(t);
	return NULL;
}

uint64_t pg_cancel_ended(const struct pg_cancel_try *t)
{
	return atomic_load(&t->ended_ns);
}
