/* The admin threads: what blocks on a connection of its own (DDL, looking at the catalog). Started when asked for, at most three at
 * a time, so that one long task (an index being built) does not hold up the others.
 *
 * Invariants
 *  1. A task is in x->admin (under amu) or in the hands of one thread; that thread sets its event, or frees it when nobody waits.
 *  2. Its caller's deadline is the thread's (fiber_deadline) while it runs; one that comes too late is not begun.
 *  3. A task that nobody waits for has no deadline; it is cancelled, or not begun, when the store is closed. */
#include "store/postgres/exec.h"

#include <signal.h>

#define ADMINS (sizeof((struct pg_exec *)0)->admins / sizeof(pthread_t))

struct task {
	struct list node;
	enum err (*fn)(PGconn *c, void *arg);
	void *arg;
	uint64_t deadline;
	bool alone; /* nobody waits for it */
	enum err err;
	struct diag diag;
	struct event ev;
};

/* The thread's own, while it runs a task that nobody waits for. */
static __thread struct pg_exec *closing;
#define LOOK_MS 200 /* how soon such a task ends when the store is closed */

static enum err task_run(struct pg *s, struct task *t)
{
	uint64_t until, connect = deadline_in_ms(s->connect_ms);
	PGconn *c = NULL;
	enum err e = OK;
	if (clock_mono_ns() >= t->deadline)
		e = err_set(E_TIMEOUT, "the deadline passed while others used the administrative connections");
	else if (closing && atomic_load(&closing->aquit))
		e = err_set(E_CANCELLED, "the store is being closed");
	if (e == OK)
		e = pg_target_connect(s->target, connect < t->deadline ? connect : t->deadline, closing ? &closing->aquit : NULL,
				      &c, &until);
	if (e == OK || t->alone) /* who waits for nothing has to be told by its function */
		e = t->fn(c, t->arg);
	PQfinish(c);
	return e;
}

static void *admin_main(void *arg)
{
	struct pg_exec *x = arg;
	pthread_mutex_lock(&x->amu);
	for (;;) {
		if (!list_empty(&x->admin)) {
			struct task *t = CONTAINER(x->admin.next, struct task, node);
			list_del(&t->node);
			x->admins_queued--;
			pthread_mutex_unlock(&x->amu);
			fiber_set_deadline(t->deadline);
			closing = t->alone ? x : NULL;
			t->err = task_run(x->s, t);
			if (t->alone) {
				free(t);
			} else {
				if (t->err != OK)
					t->diag = *diag_get();
				event_set(&t->ev);
			}
			pthread_mutex_lock(&x->amu);
			continue;
		}
		if (atomic_load(&x->aquit))
			break;
		x->admins_idle++;
		pthread_cond_wait(&x->acv, &x->amu);
		x->admins_idle--;
	}
	pthread_mutex_unlock(&x->amu);
	return NULL;
}

static bool thread_start(struct pg_exec *x)
{
	sigset_t all, old;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	bool up = pthread_create(&x->admins[x->admins_n], NULL, admin_main, x) == 0;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	x->admins_n += up;
	return up;
}

static enum err hand_over(struct pg_exec *x, struct task *t)
{
	pthread_mutex_lock(&x->amu);
	bool refused = atomic_load(&x->aquit);
	/* An idle thread that has been woken is idle until it runs: those that wait already have it. */
	if (!refused && x->admins_queued >= x->admins_idle && x->admins_n < ADMINS && !thread_start(x) && !x->admins_n)
		refused = true;
	if (!refused) {
		list_add_tail(&x->admin, &t->node);
		x->admins_queued++;
	}
	pthread_mutex_unlock(&x->amu);
	if (refused)
		return err_set(E_BUSY, "the store is being closed, or no thread can be started");
	pthread_cond_signal(&x->acv);
	return OK;
}

enum err pg_admin_later(struct pg *s, enum err (*fn)(PGconn *c, void *arg), void *arg)
{
	struct task *t = malloc(sizeof *t);
	if (!t)
		return err_set(E_LIMIT, "out of memory in the store");
	*t = (struct task){.fn = fn, .arg = arg, .deadline = NEVER, .alone = true};
	enum err e = hand_over(s->exec, t);
	if (e != OK)
		free(t);
	return e;
}

enum err pg_admin(struct pg *s, enum err (*fn)(PGconn *c, void *arg), void *arg)
{
	struct pg_exec *x = s->exec;
	struct task t = {.fn = fn, .arg = arg, .deadline = fiber_deadline()};
	if (fiber_cancelled())
		return err_set(E_CANCELLED, "the request was cancelled before its turn");
	event_init(&t.ev);
	TRY(hand_over(x, &t));
	event_wait(&t.ev);
	if (t.err != OK)
		*diag_get() = t.diag;
	return t.err;
}

void pg_admin_stop(struct pg_exec *x)
{
	pthread_mutex_lock(&x->amu);
	atomic_store(&x->aquit, true);
	pthread_mutex_unlock(&x->amu);
	pthread_cond_broadcast(&x->acv);
	for (unsigned i = 0; i < x->admins_n; i++)
		pthread_join(x->admins[i], NULL);
	x->admins_n = 0;
}

/* ---------------------------------------------------------------- statements */

enum err pg_wait_answer(PGconn *c)
{
	while (PQisBusy(c)) {
		enum err e = wait_fd(PQsocket(c), WAIT_READ, closing ? deadline_in_ms(LOOK_MS) : NEVER, NULL);
		if (closing && e == E_TIMEOUT) {
			if (!atomic_load(&closing->aquit))
				continue;
			e = err_set(E_CANCELLED, "the store is being closed");
		}
		if (e != OK) {
			struct diag d = *diag_get();
			pg_cancel_drop(pg_cancel_start(c));
			*diag_get() = d;
			return e;
		}
		if (!PQconsumeInput(c))
			return pg_error(NULL, c);
	}
	return OK;
}

enum err pg_sql(PGconn *c, const char *sql, PGresult **res)
{
	PGresult *last = NULL, *r;
	enum err e = OK;
	if (!PQsendQuery(c, sql))
		return pg_error(NULL, c);
	while ((e = pg_wait_answer(c)) == OK && (r = PQgetResult(c))) {
		ExecStatusType status = PQresultStatus(r);
		PQclear(last);
		last = r;
		if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK && status != PGRES_EMPTY_QUERY)
			break;
	}
	if (e == OK && r) {
		e = pg_error(r, c);
		struct diag d = *diag_get();
		while (pg_wait_answer(c) == OK && (r = PQgetResult(c)))
			PQclear(r);
		*diag_get() = d;
	}
	if (e == OK && !last)
		e = pg_error(NULL, c);
	if (res)
		*res = e == OK ? last : NULL;
	if (!res || e != OK)
		PQclear(last);
	return e;
}
