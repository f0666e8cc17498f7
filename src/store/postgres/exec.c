/* The executor as callers see it: a job is handed to the io thread and waited for; starting, stopping, figures. How it works is in
 * exec.h.
 *
 * Invariants
 *  1. Jobs that the fibers of a loop hand over within one tick reach the io thread together, at the end of the tick: one lock, one
 *     wake-up, and few units instead of many.
 *  2. After closed is set (under mu) nothing is put into in; whoever finds it set answers its jobs itself. */
#include "store/postgres/exec.h"

#include <signal.h>

/* ---------------------------------------------------------------- handing over */

static void refuse_closed(struct list *jobs)
{
	while (!list_empty(jobs)) {
		struct pg_job *j = CONTAINER(jobs->next, struct pg_job, node);
		list_del(&j->node);
		j->err = err_set(E_BUSY, "the store is being closed");
		j->diag = *diag_get();
		event_set(&j->ev);
	}
}

static void push(struct pg_exec *x, struct list *jobs)
{
	pthread_mutex_lock(&x->mu);
	bool closed = x->closed, wake = !closed && !x->woken;
	if (!closed) {
		struct list *first = jobs->next;
		list_del(jobs); /* the ring without its head, put in whole */
		first->prev->next = &x->in;
		x->in.prev->next = first;
		struct list *last = first->prev;
		first->prev = x->in.prev;
		x->in.prev = last;
	}
	if (wake) {
		x->woken = true;
		loop_post(x->loop, &x->wake);
	}
	pthread_mutex_unlock(&x->mu);
	if (closed)
		refuse_closed(jobs);
}

/* What the fibers of this thread's loop have handed over in this tick. */
static _Thread_local struct {
	struct pg_exec *x;
	struct list jobs;
	struct loop_hook hook;
} tick;

static void on_tick_end(void *arg)
{
	struct pg_exec *x = tick.x;
	(void)arg;
	loop_hook_del(&tick.hook);
	tick.x = NULL;
	push(x, &tick.jobs);
}

static void hand_over(struct pg_exec *x, struct pg_job *j)
{
	if (!fiber_current() || (tick.x && tick.x != x)) {
		struct list one;
		list_init(&one);
		list_add_tail(&one, &j->node);
		push(x, &one);
		return;
	}
	if (!tick.x) {
		tick.x = x;
		list_init(&tick.jobs);
		tick.hook.fn = on_tick_end;
		loop_hook_add(loop_current(), &tick.hook);
	}
	list_add_tail(&tick.jobs, &j->node);
}

/* ---------------------------------------------------------------- jobs */

static enum err job_check(struct pg_job *j)
{
	uint64_t now = clock_mono_ns(), end = now + j->t->s->statement_ms * PG_MS;
	j->deadline = fiber_deadline() < end ? fiber_deadline() : end;
	j->repeated = false;
	j->sqlstate[0] = j->constraint[0] = 0;
	j->err = OK;
	j->unit = NULL;
	j->until = now;
	j->tries = j->flags = 0;
	for (unsigned i = 0; i < j->n; i++) {
		j->steps[i].res = NULL;
		if (j->steps[i].p && j->steps[i].p->buf.err != OK)
			return err_set(j->steps[i].p->buf.err, "the parameters of one statement are too large");
		if (!pg_render(j->t, j->steps[i].st))
			return err_set(E_LIMIT, "out of memory");
	}
	if (fiber_cancelled())
		return err_set(E_CANCELLED, "the request was cancelled before its statement was sent");
	if (now >= j->deadline)
		return err_set(E_TIMEOUT, "the deadline passed before the statement was sent");
	return OK;
}

enum err pg_begin(struct pg_job *j)
{
	struct pg_exec *x = j->t->s->exec;
	enum err e = job_check(j);
	if (e != OK)
		return j->err = e;
	atomic_fetch_add(&x->callers, 1);
	event_init(&j->ev);
	list_init(&j->node);
	hand_over(x, j);
	return OK;
}

enum err pg_end(struct pg_job *j)
{
	event_wait(&j->ev);
	atomic_fetch_sub(&j->t->s->exec->callers, 1);
	if (j->err != OK)
		*diag_get() = j->diag;
	return j->err;
}

enum err pg_run(struct pg_job *j)
{
	TRY(pg_begin(j));
	return pg_end(j);
}

void pg_job_clear(struct pg_job *j)
{
	for (unsigned i = 0; i < j->n; i++) {
		PQclear(j->steps[i].res);
		j->steps[i].res = NULL;
	}
}

static enum err single(struct pg_tenant *t, const struct pg_stmt *st, struct pg_params *p, bool write, PGresult **res,
		       bool *repeated)
{
	struct pg_step step = {.st = st, .p = p};
	struct pg_job j = {.t = t, .steps = &step, .n = 1, .lane = st->lane, .write = write};
	enum err e = pg_run(&j);
	pg_params_release(p);
	*res = step.res;
	if (repeated)
		*repeated = j.repeated;
	return e;
}

enum err pg_query(struct pg_tenant *t, const struct pg_stmt *st, struct pg_params *p, PGresult **res)
{
	return single(t, st, p, false, res, NULL);
}

enum err pg_write(struct pg_tenant *t, const struct pg_stmt *st, struct pg_params *p, PGresult **res, bool *repeated)
{
	return single(t, st, p, true, res, repeated);
}

/* ---------------------------------------------------------------- fibers on the io thread */

struct loop *pg_io_loop(struct pg *s)
{
	return s->exec->loop;
}

struct start {
	struct loop_task task;
	void (*fn)(void *arg);
	void *arg;
	enum err err;
	struct diag diag;
	struct event ev;
};

static void on_start(void *arg)
{
	struct start *st = arg;
	st->err = fiber_spawn(st->fn, st->arg, NULL, NULL);
	st->diag = *diag_get();
	event_set(&st->ev);
}

enum err pg_io_spawn(struct pg *s, void (*fn)(void *arg), void *arg)
{
	struct loop *l = s->exec->loop;
	struct start st = {.fn = fn, .arg = arg};
	if (loop_current() == l)
		return fiber_spawn(fn, arg, NULL, NULL);
	st.task = (struct loop_task){.fn = on_start, .arg = &st};
	event_init(&st.ev);
	loop_post(l, &st.task);
	event_wait(&st.ev);
	if (st.err != OK)
		*diag_get() = st.diag;
	return st.err;
}

/* ---------------------------------------------------------------- start and stop */

static void *io_main(void *arg)
{
	struct pg_exec *x = arg;
	loop_run(x->loop);
	return NULL;
}

static enum err threads_start(struct pg_exec *x)
{
	sigset_t all, old;
	/* Signals are the main thread's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	enum err e = pg_pool_start(x);
	if (e == OK) {
		int rc = pthread_create(&x->io_thread, NULL, io_main, x);
		if (rc != 0)
			e = err_set(E_LIMIT, "cannot start a thread: %s", strerror(rc));
		x->io_up = rc == 0;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return e;
}

static void exec_free(struct pg_exec *x)
{
	pg_pool_join(x);
	pg_io_free(x);
	pthread_cond_destroy(&x->acv);
	pthread_mutex_destroy(&x->amu);
	pthread_mutex_destroy(&x->mu);
	free(x);
}

enum err pg_exec_start(struct pg *s)
{
	struct pg_exec *x = calloc(1, sizeof *x);
	if (!x)
		return err_set(E_LIMIT, "out of memory");
	x->s = s;
	x->prepare = s->opt.pg.prepare != PG_PREPARE_OFF;
	atomic_store(&x->figures.prepared, x->prepare);
	pthread_mutex_init(&x->mu, NULL);
	pthread_mutex_init(&x->amu, NULL);
	pthread_cond_init(&x->acv, NULL);
	list_init(&x->admin);
	enum err e = pg_io_new(x);
	if (e == OK)
		e = threads_start(x);
	if (e != OK) {
		exec_free(x);
		return e;
	}
	s->exec = x;
	return OK;
}

void pg_exec_stop(struct pg *s, uint64_t deadline)
{
	struct pg_exec *x = s->exec;
	if (!x)
		return;
	pg_admin_stop(x);
	x->halt_at = deadline;
	loop_post(x->loop, &x->halt);
	pthread_join(x->io_thread, NULL);
	/* Those whose jobs have just been answered are still on their way out. */
	while (atomic_load(&x->callers))
		if (wait_until(clock_mono_ns() + PG_MS) != OK)
			break;
	s->exec = NULL;
	exec_free(x);
}

/* ---------------------------------------------------------------- figures */

static void head(struct buf *out, const char *name, const char *type, const char *help)
{
	buf_printf(out, "# HELP cenote_pg_%s %s\n# TYPE cenote_pg_%s %s\n", name, help, name, type);
}

static void by_lane(struct buf *out, const char *name, atomic_ullong *v)
{
	static const char *const lanes[LANES] = {
		[LANE_POINT] = "point", [LANE_SEARCH] = "search", [LANE_SCAN] = "scan", [LANE_WRITE] = "write"};
	for (unsigned i = 0; i < LANES; i++)
		buf_printf(out, "cenote_pg_%s{lane=\"%s\"} %llu\n", name, lanes[i], atomic_load(&v[i]));
}

static void single_figure(struct buf *out, const char *name, const char *type, const char *help, unsigned long long v)
{
	head(out, name, type, help);
	buf_printf(out, "cenote_pg_%s %llu\n", name, v);
}

void pg_exec_metrics(struct pg *s, struct buf *out)
{
	static const char *const reasons[AGAINS] = {[AGAIN_LOST] = "connection_lost",	      [AGAIN_CONFLICT] = "conflict",
						    [AGAIN_UNNAMED] = "unprepared",	      [AGAIN_PLAN] = "plan",
						    [AGAIN_CANCELLED] = "cancelled_by_other", [AGAIN_ABORTED] = "aborted_by_other"};
	struct pg_exec *x = s->exec;
	head(out, "connections", "gauge", "Connections to the database, by the lanes they serve.");
	for (unsigned i = 0; i < x->groups_n; i++)
		buf_printf(out, "cenote_pg_connections{lane=\"%s\"} %u\n", x->groups[i].name, atomic_load(&x->figures.open[i]));
	head(out, "queue", "gauge", "Jobs that wait for a connection.");
	by_lane(out, "queue", x->figures.queued);
	head(out, "units_total", "counter", "Implicit transactions sent: what lies between two Syncs.");
	by_lane(out, "units_total", x->figures.units);
	head(out, "jobs_total", "counter", "Jobs sent; with units_total: jobs per transaction.");
	by_lane(out, "jobs_total", x->figures.jobs);
	head(out, "retries_total", "counter", "Jobs sent again, by reason.");
	for (unsigned i = AGAIN_LOST; i < AGAINS; i++)
		buf_printf(out, "cenote_pg_retries_total{reason=\"%s\"} %llu\n", reasons[i], atomic_load(&x->figures.retries[i]));
	head(out, "connects_total", "counter", "Logins of the pool, by result.");
	buf_printf(out, "cenote_pg_connects_total{result=\"ok\"} %llu\ncenote_pg_connects_total{result=\"failed\"} %llu\n",
		   atomic_load(&x->figures.connected), atomic_load(&x->figures.refused));
	single_figure(out, "cancels_total", "counter", "Statements that the server was told to cancel.",
		      atomic_load(&x->figures.cancels));
	single_figure(out, "prepared", "gauge", "1 while prepared statements are used.", atomic_load(&x->figures.prepared));
}
