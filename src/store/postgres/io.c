/* The io thread: queues by lane, deadlines, and what becomes of a job whose unit has ended. How units are made is in dispatch.c.
 *
 * Invariants
 *  1. A job is sent at most PG_TRIES times, and never after its deadline.
 *  2. An answer that says that nothing was written is true: of a write that has been in flight without an answer (JOB_UNKNOWN) it
 *     is not said. Nor is it given an SQLSTATE that says so (a lock, a cancelled statement): callers would write anew.
 *  3. The timer is set for the earliest moment at which something has to be done about a job or a connection, or earlier. */
#include "store/postgres/exec.h"

#include "base/uuid7.h"

#define UNREACHABLE_WAIT (1000 * PG_MS) /* for a connection, after attempts have failed */
#define MUTE_WAIT (250 * PG_MS)		/* ... without any answer: the next one will take long */
#define FIRST_WAIT (100 * PG_MS)	/* for the lock of an attempt that nobody hears of any more */

/* ---------------------------------------------------------------- answers */

void pg_io_answer(struct pg_job *j, enum err e)
{
	j->err = e;
	if (e != OK)
		j->diag = *diag_get();
	if (e != OK || j->repeated)
		pg_job_clear(j);
	event_set(&j->ev);
}

void pg_io_refuse(struct pg_job *j, enum err code, const char *why)
{
	char text[400];
	snprintf(text, sizeof text, "%s", why);
	if (pg_writes(j))
		err_set(code, "%s; %s", text,
			j->flags & JOB_UNKNOWN ? "whether the write was done is not known" : "nothing was written");
	else
		err_set(code, "%s", text);
	diag_get()->retry_after_s = code == E_BUSY;
	pg_io_answer(j, code);
}

/* With the server's words. */
static void answer_failed(struct pg_job *j)
{
	/* What the database denies to our role is no denial of what the client asked for. */
	enum err e = j->err == E_DENIED ? E_UPSTREAM : j->err;
	*diag_get() = j->diag;
	diag_get()->code = e;
	pg_io_answer(j, e);
}

/* While attempts to connect fail, nobody waits long for the next. */
static bool is_stranded(const struct pg_exec *x, enum pg_lane lane)
{
	return x->fails && x->of_lane[lane]->open == 0 && !pg_may_borrow(x);
}

/* When such a job is told. */
static uint64_t stranded_at(const struct pg_exec *x, const struct pg_job *j)
{
	return j->until + (x->mute ? MUTE_WAIT : UNREACHABLE_WAIT);
}

static void enqueue(struct pg_exec *x, struct pg_job *j, bool first)
{
	struct lane *l = &x->lanes[j->lane];
	if (first)
		list_add_head(&l->jobs, &j->node);
	else
		list_add_tail(&l->jobs, &j->node);
	l->n++;
	j->until = clock_mono_ns();
	pg_io_at(x, j->deadline);
	if (is_stranded(x, j->lane))
		pg_io_at(x, stranded_at(x, j));
}

/* Once more, if that is possible. The job is in no list; its unit is not looked at any more. */
static void again(struct pg_exec *x, struct pg_job *j, enum pg_again why, const char *reason)
{
	uint64_t now = clock_mono_ns();
	char text[300];
	if (why == AGAIN_ABORTED)
		j->tries--; /* it has not been tried */
	if (j->tries >= PG_TRIES) {
		if (j->flags & JOB_FAILED) {
			answer_failed(j);
			return;
		}
		snprintf(text, sizeof text, "the connection to the database was lost %u times: %.200s", j->tries, reason);
		pg_io_refuse(j, E_BUSY, text);
		return;
	}
	if (now >= j->deadline) {
		pg_io_refuse(j, E_TIMEOUT, "the deadline passed before the statement could be sent again");
		return;
	}
	pg_count(&x->figures.retries[why], 1);
	pg_job_clear(j);
	j->flags &= ~(unsigned)(JOB_FAILED | JOB_EXPIRED);
	j->sqlstate[0] = j->constraint[0] = 0;
	if (why != AGAIN_CONFLICT || !pg_writes(j)) {
		enqueue(x, j, true);
		return;
	}
	/* Two that have collided do not start again at the same moment. */
	unsigned char dice;
	random_bytes(&dice, 1);
	j->until = now + dice * (10 * PG_MS) / 256;
	list_add_tail(&x->paused, &j->node);
	pg_io_at(x, j->until);
}

/* ---------------------------------------------------------------- what becomes of a job */

static bool cancelled_lately(const struct pconn *c)
{
	uint64_t ended = c->cancel ? pg_cancel_ended(c->cancel) : 0;
	return c->cancel && (!ended || clock_mono_ns() - ended < PG_GIVE_UP);
}

/* False: prepared statements are wanted in any case. */
static bool prepare_no_more(struct pg_exec *x, const char *why)
{
	if (x->s->opt.pg.prepare == PG_PREPARE_ON)
		return false;
	if (x->prepare)
		LOG(LOG_WARN, "store.postgres",
		    "prepared statements are given up: a pooler is in between (pg.prepare: off says so)", LF_C("reason", why));
	x->prepare = false;
	atomic_store(&x->figures.prepared, 0);
	return true;
}

/* What to do about the server's error; AGAIN_NO: tell the caller. */
static enum pg_again judge(struct pconn *c, const struct unit *u, struct pg_job *j)
{
	enum pg_again what = pg_again(j->sqlstate, j->diag.text, u->named);
	if (what == AGAIN_UNNAMED && !prepare_no_more(c->x, j->diag.text))
		return AGAIN_NO;
	if (what == AGAIN_PLAN)
		j->flags |= JOB_UNNAMED;
	if (what == AGAIN_CANCELLED && ((j->flags & JOB_EXPIRED) || !cancelled_lately(c)))
		return AGAIN_NO;
	/* Read-only, perhaps because another server has become the primary: a new connection finds that one. */
	bool stale = strcmp(j->sqlstate, "25006") == 0 && clock_mono_ns() - c->made_ns > 5000 * PG_MS;
	if (what == AGAIN_PLAN || what == AGAIN_LOST || stale)
		c->retire = true;
	return what;
}

/* The end is not known, in our words. */
static void refuse_unsure(struct pg_job *j, const char *why)
{
	j->sqlstate[0] = j->constraint[0] = 0;
	pg_io_refuse(j, E_TIMEOUT, why);
}

/* A lock is in the way of a write that has been sent before. It may be that of the attempt whose answer was lost, and which commits
 * in a moment: the same job once more, which then finds itself in the journal. That is no further try. */
static void wait_for_first(struct pg_exec *x, struct pg_job *j)
{
	uint64_t until = clock_mono_ns() + FIRST_WAIT;
	if (until >= j->deadline) {
		refuse_unsure(j, "the deadline passed while a lock was held, perhaps by an attempt whose answer was lost");
		return;
	}
	pg_count(&x->figures.retries[AGAIN_LOST], 1);
	pg_job_clear(j);
	j->tries--;
	j->flags &= ~(unsigned)(JOB_FAILED | JOB_EXPIRED);
	j->flags |= JOB_ALONE;
	j->sqlstate[0] = j->constraint[0] = 0;
	j->until = until;
	list_add_tail(&x->paused, &j->node);
	pg_io_at(x, until);
}

static void settle(struct pconn *c, struct unit *u, struct pg_job *j)
{
	list_del(&j->node);
	j->unit = NULL;
	if (!(j->flags & JOB_FAILED)) {
		if (!u->failed) {
			pg_io_answer(j, OK);
			return;
		}
		j->flags |= JOB_ALONE;
		again(c->x, j, AGAIN_ABORTED, "");
		return;
	}
	if (j->write && strcmp(j->sqlstate, "23505") == 0 && strcmp(j->constraint, "cenote_journal_pkey") == 0) {
		j->repeated = true;
		pg_io_answer(j, OK);
		return;
	}
	if (j->write && (j->flags & JOB_UNKNOWN) && strcmp(j->sqlstate, "55P03") == 0) {
		wait_for_first(c->x, j);
		return;
	}
	enum pg_again what = judge(c, u, j);
	bool cancelled = strcmp(j->sqlstate, "57014") == 0;
	if (what != AGAIN_NO)
		again(c->x, j, what, j->diag.text);
	else if (cancelled && (j->flags & JOB_UNKNOWN))
		refuse_unsure(j, "the database cancelled the statement when it was sent again");
	else if ((j->flags & JOB_EXPIRED) && cancelled)
		pg_io_refuse(j, E_TIMEOUT, "the deadline passed while the database worked on the write");
	else
		answer_failed(j);
}

static void scan_ended(struct pconn *c, const struct unit *u)
{
	if (u->lane != LANE_SCAN)
		return;
	c->x->scans--;
	c->scanning = false;
}

void pg_io_unit_done(struct pconn *c, struct unit *u)
{
	scan_ended(c, u);
	/* Backwards, because those that are sent again go to the front of the queue. */
	while (!list_empty(&u->jobs))
		settle(c, u, CONTAINER(u->jobs.prev, struct pg_job, node));
	free(u);
	if (list_empty(&c->units))
		c->idle_ns = clock_mono_ns();
	if (c->x->s->opt.pg.no_pool)
		c->retire = true;
}

void pg_io_unit_lost(struct pconn *c, struct unit *u, const char *why)
{
	scan_ended(c, u);
	while (!list_empty(&u->jobs)) {
		struct pg_job *j = CONTAINER(u->jobs.prev, struct pg_job, node);
		list_del(&j->node);
		j->unit = NULL;
		if (pg_writes(j))
			j->flags |= JOB_UNKNOWN;
		j->flags &= ~(unsigned)JOB_FAILED;
		if (j->flags & JOB_EXPIRED)
			pg_io_refuse(j, E_TIMEOUT, "the deadline passed, and the connection to the database was lost");
		else
			again(c->x, j, AGAIN_LOST, why);
	}
	free(u);
}

/* ---------------------------------------------------------------- time */

void pg_io_at(struct pg_exec *x, uint64_t at_ns)
{
	if (at_ns >= x->timer_at)
		return;
	x->timer_at = at_ns;
	loop_timer_set(x->timer, at_ns);
}

static void sooner(uint64_t *next, uint64_t at)
{
	if (at < *next)
		*next = at;
}

static void refuse_unreachable(struct pg_exec *x, struct pg_job *j)
{
	/* A refused login is the operator's to mend, not the client's: E_DENIED would blame the wrong one. */
	enum err e = x->fail == E_TIMEOUT || x->fail == E_DENIED ? E_BUSY : x->fail;
	pg_io_refuse(j, e, x->fail_diag.text);
}

static uint64_t queued_due(struct pg_exec *x, uint64_t now)
{
	uint64_t next = NEVER;
	for (unsigned i = 0; i < LANES; i++) {
		bool unreachable = is_stranded(x, (enum pg_lane)i);
		LIST_EACH (at, &x->lanes[i].jobs) {
			struct pg_job *j = CONTAINER(at, struct pg_job, node);
			bool late = now >= j->deadline, stranded = unreachable && now >= stranded_at(x, j);
			if (!late && !stranded) {
				sooner(&next, j->deadline);
				if (unreachable)
					sooner(&next, stranded_at(x, j));
				continue;
			}
			pg_unqueue(&x->lanes[i], j);
			if (late)
				pg_io_refuse(j, E_TIMEOUT,
					     "the deadline passed while the statement waited for a connection to the database");
			else
				refuse_unreachable(x, j);
		}
	}
	return next;
}

static uint64_t paused_due(struct pg_exec *x, uint64_t now)
{
	uint64_t next = NEVER;
	LIST_EACH (at, &x->paused) {
		struct pg_job *j = CONTAINER(at, struct pg_job, node);
		if (now < j->until) {
			sooner(&next, j->until);
			continue;
		}
		list_del(&j->node);
		enqueue(x, j, true);
	}
	return next;
}

/* A job in flight; returns when to look again. */
static uint64_t flying_due(struct unit *u, struct pg_job *j, uint64_t now)
{
	if (now < (j->flags & JOB_EXPIRED ? j->until : j->deadline))
		return j->flags & JOB_EXPIRED ? j->until : j->deadline;
	if (pg_writes(j) && !(j->flags & JOB_EXPIRED)) {
		j->flags |= JOB_EXPIRED;
		j->until = now + PG_GIVE_UP;
		return j->until;
	}
	pg_unit_forget(u, j);
	if (pg_writes(j))
		j->flags |= JOB_UNKNOWN;
	pg_io_refuse(j, E_TIMEOUT,
		     pg_writes(j) ? "the deadline passed, and the database does not answer"
				  : "the deadline passed before the database answered");
	return NEVER;
}

/* No connection has said anything since the cancel was sent, which went by one of its own: nobody has answered that, either. */
static bool is_silent(const struct pconn *c)
{
	return c->cancel && !pg_cancel_ended(c->cancel) && c->x->heard_ns < c->cancel_ns;
}

/* The backend works on what nobody waits for: it is told to stop; when it says nothing then, it is given up. */
static uint64_t late_due(struct pconn *c, uint64_t now)
{
	const struct unit *u = CONTAINER(c->units.next, struct unit, node);
	uint64_t from = c->heard_ns + (u->at == u->n ? 1000 : 20) * PG_MS;
	if (c->cancel_ns && now >= c->cancel_ns + PG_GIVE_UP) {
		if (is_silent(c))
			c->x->silent_ns = c->cancel_ns;
		pg_conn_lost(c, "the server says nothing any more");
		return NEVER;
	}
	if (c->cancel_ns)
		return c->cancel_ns + PG_GIVE_UP;
	if (now < from)
		return from;
	pg_cancel_drop(c->cancel);
	c->cancel = pg_cancel_start(c->pg);
	c->cancel_ns = now;
	pg_count(&c->x->figures.cancels, 1);
	return now + PG_GIVE_UP;
}

static uint64_t conns_due(struct group *g, uint64_t now)
{
	uint64_t next = NEVER;
	LIST_EACH (at, &g->conns) {
		struct pconn *c = CONTAINER(at, struct pconn, node);
		LIST_EACH (ut, &c->units) {
			struct unit *u = CONTAINER(ut, struct unit, node);
			LIST_EACH (jt, &u->jobs)
				sooner(&next, flying_due(u, CONTAINER(jt, struct pg_job, node), now));
		}
		if (pg_conn_late(c))
			sooner(&next, late_due(c, now));
	}
	return next;
}

static void look_again(struct group *g)
{
	LIST_EACH (at, &g->conns) {
		struct pconn *c = CONTAINER(at, struct pconn, node);
		if (c->look) {
			c->look = false;
			pg_conn_receive(c);
		}
	}
}

static void on_timer(void *arg)
{
	struct pg_exec *x = arg;
	uint64_t now = clock_mono_ns(), next = NEVER;
	x->timer_at = NEVER;
	for (unsigned i = 0; i < x->groups_n; i++)
		look_again(&x->groups[i]);
	for (unsigned i = 0; i < x->groups_n; i++)
		sooner(&next, conns_due(&x->groups[i], now));
	if (x->silent_ns)
		pg_pool_silent(x, x->silent_ns);
	x->silent_ns = 0;
	sooner(&next, paused_due(x, now));
	sooner(&next, queued_due(x, now));
	sooner(&next, pg_pool_due(x, now));
	if (x->stop_at && now >= x->stop_at)
		pg_io_refuse_all(x);
	else if (x->stop_at)
		sooner(&next, x->stop_at);
	if (next != NEVER)
		pg_io_at(x, next > now ? next : now + PG_MS);
}

/* ---------------------------------------------------------------- in and out */

void pg_io_unreachable(struct pg_exec *x)
{
	for (unsigned i = 0; i < LANES; i++) {
		if (!is_stranded(x, (enum pg_lane)i))
			continue;
		LIST_EACH (at, &x->lanes[i].jobs) {
			struct pg_job *j = CONTAINER(at, struct pg_job, node);
			pg_unqueue(&x->lanes[i], j);
			refuse_unreachable(x, j);
		}
	}
}

static void refuse_list(struct list *jobs)
{
	LIST_EACH (at, jobs) {
		struct pg_job *j = CONTAINER(at, struct pg_job, node);
		if (j->unit)
			pg_unit_forget(j->unit, j);
		else
			list_del(&j->node);
		pg_io_refuse(j, E_BUSY, "the store is being closed");
	}
}

void pg_io_refuse_all(struct pg_exec *x)
{
	for (unsigned i = 0; i < LANES; i++) {
		refuse_list(&x->lanes[i].jobs);
		x->lanes[i].n = 0;
	}
	refuse_list(&x->paused);
	for (unsigned i = 0; i < x->groups_n; i++)
		LIST_EACH (at, &x->groups[i].conns)
			LIST_EACH (ut, &CONTAINER(at, struct pconn, node)->units) {
				struct unit *u = CONTAINER(ut, struct unit, node);
				LIST_EACH (jt, &u->jobs) {
					struct pg_job *j = CONTAINER(jt, struct pg_job, node);
					if (pg_writes(j))
						j->flags |= JOB_UNKNOWN;
				}
				refuse_list(&u->jobs);
			}
}

static void on_wake(void *arg)
{
	struct pg_exec *x = arg;
	struct list in;
	pthread_mutex_lock(&x->mu);
	list_add_head(&x->in, &in);
	list_del(&x->in);
	x->woken = false;
	pthread_mutex_unlock(&x->mu);
	while (!list_empty(&in)) {
		struct pg_job *j = CONTAINER(in.next, struct pg_job, node);
		list_del(&j->node);
		enqueue(x, j, false);
	}
}

static bool is_quiet(const struct pg_exec *x)
{
	bool quiet = list_empty(&x->paused);
	for (unsigned i = 0; i < LANES; i++)
		quiet = quiet && !x->lanes[i].n;
	for (unsigned i = 0; i < x->groups_n; i++)
		LIST_EACH (at, &x->groups[i].conns) {
			const struct pconn *c = CONTAINER(at, struct pconn, node);
			LIST_EACH (ut, &c->units)
				quiet = quiet && list_empty(&CONTAINER(ut, struct unit, node)->jobs);
		}
	return quiet;
}

/* Nothing left to answer: the connections are closed, then the loop ends. */
static void stop_step(struct pg_exec *x)
{
	if (!x->copen_no && is_quiet(x))
		pg_pool_quit(x);
	if (!x->copen_no || x->total || x->requests || x->stopped)
		return;
	x->stopped = true;
	loop_stop(x->loop);
}

static void on_halt(void *arg)
{
	struct pg_exec *x = arg;
	pthread_mutex_lock(&x->mu);
	x->closed = true;
	pthread_mutex_unlock(&x->mu);
	on_wake(x); /* what came before that */
	x->stop_at = x->halt_at ? x->halt_at : 1;
	pg_io_at(x, x->stop_at);
}

static void on_tick_end(void *arg)
{
	struct pg_exec *x = arg;
	for (unsigned i = 0; i < x->groups_n; i++)
		pg_dispatch(x, &x->groups[i]);
	pg_pool_tend(x);
	for (unsigned i = 0; i < LANES; i++)
		atomic_store_explicit(&x->figures.queued[i], x->lanes[i].n, memory_order_relaxed);
	for (unsigned i = 0; i < x->groups_n; i++)
		atomic_store_explicit(&x->figures.open[i], x->groups[i].open, memory_order_relaxed);
	if (x->stop_at)
		stop_step(x);
	if (x->log.n)
		log_flush(&x->log);
}

enum err pg_io_new(struct pg_exec *x)
{
	for (unsigned i = 0; i < LANES; i++)
		list_init(&x->lanes[i].jobs);
	list_init(&x->paused);
	list_init(&x->in);
	buf_init(&x->log, NULL, LOG_PENDING_MAX);
	x->timer_at = NEVER;
	x->wake = (struct loop_task){.fn = on_wake, .arg = x};
	x->halt = (struct loop_task){.fn = on_halt, .arg = x};
	x->hook = (struct loop_hook){.fn = on_tick_end, .arg = x};
	TRY(loop_new(&x->loop));
	loop_hook_add(x->loop, &x->hook);
	return loop_timer_new(x->loop, "postgres", on_timer, x, &x->timer);
}

void pg_io_free(struct pg_exec *x)
{
	if (!x->loop)
		return;
	loop_timer_free(x->timer);
	loop_hook_del(&x->hook);
	log_flush(&x->log);
	buf_release(&x->log);
	loop_free(x->loop);
	x->loop = NULL;
}
