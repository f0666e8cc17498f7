/* One connection in pipeline mode: units go out, results come in and are put into the jobs' steps.
 *
 * Invariants
 *  1. Units are answered in the order they were sent; the first of c->units is the one whose results come now.
 *  2. For every want there is one result and then a NULL; for a unit's Sync one result and no NULL.
 *  3. A statement is in ready when the server has said so; while its preparation is under way (pending), other units send it
 *     unnamed: so whether a preparation works out decides about its own unit only.
 *  4. What the loop watches is a descriptor of our own for the socket: libpq closes its own when it likes, and the number may be
 * another thread's socket by the time we know of it. */
#include "base/hash.h"
#include "store/postgres/exec.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* ---------------------------------------------------------------- life */

static bool watch(struct pconn *c)
{
	return loop_poll_set(c->poll, LOOP_READ | (c->writing ? LOOP_WRITE : 0)) == OK;
}

static bool flush(struct pconn *c)
{
	int r = PQflush(c->pg);
	bool writing = r == 1;
	if (r < 0)
		return false;
	if (writing == c->writing)
		return true;
	c->writing = writing;
	return watch(c);
}

static void on_ready(void *arg, unsigned events)
{
	struct pconn *c = arg;
	if (events & LOOP_WRITE) {
		c->writing = true;
		/* The watch pauses after an error of the descriptor; then reading says what is wrong. */
		if (!flush(c) || !watch(c)) {
			pg_conn_lost(c, PQerrorMessage(c->pg));
			return;
		}
	}
	if (events & LOOP_READ) {
		c->heard_ns = c->x->heard_ns = clock_mono_ns();
		c->look = c->tls; /* and once more in a moment */
		pg_conn_receive(c);
	}
}

enum err pg_conn_new(struct pg_exec *x, struct group *g, PGconn *pg, uint64_t until_ns, struct pconn **out)
{
	struct pconn *c = calloc(1, sizeof *c);
	if (!c)
		return err_set(E_LIMIT, "out of memory");
	c->x = x;
	c->g = g;
	c->pg = pg;
	c->fd = fcntl(PQsocket(pg), F_DUPFD_CLOEXEC, 0);
	c->until_ns = until_ns;
	c->made_ns = c->heard_ns = c->idle_ns = clock_mono_ns();
	c->tls = PQsslInUse(pg);
	list_init(&c->node);
	list_init(&c->units);
	enum err e = c->fd < 0 ? err_set(E_BUSY, "the new connection cannot be watched: %s", strerror(errno)) : OK;
	if (e == OK && (PQsetnonblocking(pg, 1) != 0 || PQenterPipelineMode(pg) != 1))
		e = err_set(E_BUSY, "the new connection cannot be used: %s", PQerrorMessage(pg));
	if (e == OK)
		e = loop_poll_new(x->loop, c->fd, "postgres", on_ready, c, &c->poll);
	if (e == OK && !watch(c))
		e = diag_get()->code;
	if (e != OK) {
		pg_conn_unwatch(c);
		free(c);
		return e;
	}
	*out = c;
	return OK;
}

void pg_conn_unwatch(struct pconn *c)
{
	loop_poll_free(c->poll);
	if (c->fd >= 0)
		close(c->fd);
	pg_cancel_drop(c->cancel);
}

void pg_conn_lost(struct pconn *c, const char *why)
{
	char reason[256];
	struct str line = {why, strcspn(why, "\r\n")};
	snprintf(reason, sizeof reason, "%.*s", STR_ARG(line));
	pg_pool_log(c->x, 0, LOG_WARN, "a connection to the database was lost", reason);
	/* Backwards, because each of them puts its jobs in front of the queue. */
	while (!list_empty(&c->units)) {
		struct unit *u = CONTAINER(c->units.prev, struct unit, node);
		list_del(&u->node);
		c->units_n--;
		pg_io_unit_lost(c, u, reason);
	}
	pg_pool_drop(c);
}

/* ---------------------------------------------------------------- sending */

static struct want *expect(struct unit *u, struct want w)
{
	u->w[u->n] = w;
	return &u->w[u->n++];
}

/* Is the preparation under way in this very unit? Then what follows it may use it. */
static bool prepares(const struct unit *u, unsigned slot, unsigned st)
{
	for (unsigned i = 0; i < u->n; i++)
		if (u->w[i].prepare && u->w[i].slot == slot && u->w[i].st == st)
			return true;
	return false;
}

/* A text that names no table is the same, under the same name, for every tenant. */
static unsigned slot_of(const struct pconn *c, const struct pg_job *j, const struct pg_step *s)
{
	return strchr(s->st->sql, '@') ? j->t->slot : pg_home(c->x->s)->slot;
}

/* Whether the statement goes by name; sends its preparation when that is due. */
static bool by_name(struct pconn *c, struct unit *u, struct pg_job *j, const struct pg_step *s, const char *name, const Oid *types,
		    int n, bool *ok)
{
	unsigned slot = slot_of(c, j, s), st = s->st->id;
	uint64_t bit = UINT64_C(1) << st % 64, *ready = &c->ready[slot % PG_SLOTS][st / 64],
		 *pending = &c->pending[slot % PG_SLOTS][st / 64];
	if (!c->x->prepare || slot >= PG_SLOTS || (j->flags & JOB_UNNAMED) || c->x->s->opt.pg.no_pool)
		return false;
	if (*ready & bit)
		return true;
	if (*pending & bit)
		return prepares(u, slot, st);
	*ok = PQsendPrepare(c->pg, name, pg_render(j->t, s->st), n, types) == 1;
	if (!*ok)
		return false;
	*pending |= bit;
	expect(u, (struct want){.prepare = true, .slot = (unsigned char)slot, .st = (unsigned char)st});
	return true;
}

/* The same name is the same text everywhere: behind a pooler a statement of this name may be one that another process, or one
 * before us, has prepared, whose tenants are numbered otherwise. */
static void name_of(const struct pg_job *j, const struct pg_step *s, const Oid *types, int n, char *name, size_t room)
{
	uint64_t text = hash64(str_c(pg_render(j->t, s->st))),
		 kinds = hash64((struct str){(const char *)types, (size_t)n * sizeof *types});
	snprintf(name, room, "c%u_%016llx", (unsigned)s->st->id, (unsigned long long)(text ^ (kinds << 1 | kinds >> 63)));
}

static bool send_step(struct pconn *c, struct unit *u, struct pg_job *j, unsigned i)
{
	const char *values[PG_PARAMS_MAX];
	int lens[PG_PARAMS_MAX], formats[PG_PARAMS_MAX];
	Oid types[PG_PARAMS_MAX];
	const struct pg_step *s = &j->steps[i];
	const struct pg_params *p = s->p;
	int n = p ? (int)p->n : 0;
	char name[40];
	bool ok = true;
	for (int k = 0; k < n; k++) {
		values[k] = p->v[k].len < 0 ? NULL : p->buf.p ? p->buf.p + p->v[k].at : "";
		lens[k] = p->v[k].len;
		formats[k] = !(p->v[k].type & PG_TEXT_FORMAT);
		types[k] = p->v[k].type & ~PG_TEXT_FORMAT;
	}
	name_of(j, s, types, n, name, sizeof name);
	if (by_name(c, u, j, s, name, types, n, &ok)) {
		u->named = true;
		ok = PQsendQueryPrepared(c->pg, name, n, values, lens, formats, 1) == 1;
	} else if (ok) {
		ok = PQsendQueryParams(c->pg, pg_render(j->t, s->st), n, types, values, lens, formats, 1) == 1;
	}
	expect(u, (struct want){.job = j, .step = i, .st_of = s->st});
	return ok;
}

/* A transaction of a tenant that is not the home one also notes its number in the home schema's journal (kind 'x'): there every
 * tenant's sync counts which transactions were ours (sync.c). The operation's number only has to be a new one. */
static const struct pg_stmt home_note = {ST_HOME_NOTE, LANE_WRITE, "home_note",
					 "INSERT INTO @cenote_journal(op, step, kind, ids, names) VALUES ($1, 0, 'x', '{}', '{}')"};

static bool note_at_home(struct pconn *c, struct unit *u, struct pg_job *j)
{
	uint64_t op = htobe64((uint64_t)pg_new_op());
	const char *value = (const char *)&op;
	Oid type = PG_INT8;
	int len = sizeof op, binary = 1;
	const char *sql = pg_render(pg_home(c->x->s), &home_note);
	expect(u, (struct want){.job = j, .note = true, .st_of = &home_note});
	return sql && PQsendQueryParams(c->pg, sql, 1, &type, &value, &len, &binary, 1) == 1;
}

void pg_conn_send(struct pconn *c, struct unit *u)
{
	bool ok = true;
	list_add_tail(&c->units, &u->node);
	c->units_n++;
	c->jobs_n += u->count;
	u->sent_ns = clock_mono_ns();
	LIST_EACH (at, &u->jobs) {
		struct pg_job *j = CONTAINER(at, struct pg_job, node);
		j->unit = u;
		j->tries++;
		for (unsigned i = 0; i < j->n && ok; i++)
			ok = send_step(c, u, j, i);
		if (ok && j->write && j->t != pg_home(c->x->s))
			ok = note_at_home(c, u, j);
		pg_io_at(c->x, j->deadline);
	}
	if (!ok || PQpipelineSync(c->pg) != 1 || !flush(c))
		pg_conn_lost(c, PQerrorMessage(c->pg));
}

/* ---------------------------------------------------------------- receiving */

void pg_unit_forget(struct unit *u, struct pg_job *j)
{
	for (unsigned i = 0; i < u->n; i++)
		if (u->w[i].job == j)
			u->w[i].job = NULL;
	list_del(&j->node);
	j->unit = NULL;
}

static void remember(struct unit *u, struct pg_job *j, const PGresult *r)
{
	const char *state = PQresultErrorField(r, PG_DIAG_SQLSTATE), *name = PQresultErrorField(r, PG_DIAG_CONSTRAINT_NAME);
	u->failed = true;
	if (!j || (j->flags & JOB_FAILED))
		return;
	snprintf(j->sqlstate, sizeof j->sqlstate, "%s", state ? state : "");
	snprintf(j->constraint, sizeof j->constraint, "%s", name ? name : "");
	j->flags |= JOB_FAILED;
	j->err = pg_error(r, NULL);
	j->diag = *diag_get();
}

static void take_prepared(struct pconn *c, struct unit *u, const struct want *w, const PGresult *r)
{
	uint64_t bit = UINT64_C(1) << w->st % 64;
	c->pending[w->slot][w->st / 64] &= ~bit;
	if (PQresultStatus(r) == PGRES_COMMAND_OK)
		c->ready[w->slot][w->st / 64] |= bit;
	else if (PQresultStatus(r) == PGRES_PIPELINE_ABORTED)
		u->failed = true;
	else
		remember(u, w[1].job, r); /* the step that it was for comes next */
}

static void take_step(struct unit *u, const struct want *w, PGresult *r)
{
	struct pg_job *j = w->job;
	ExecStatusType status = PQresultStatus(r);
	if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK) {
		if (!j || w->note) {
			PQclear(r);
			return;
		}
		PQclear(j->steps[w->step].res);
		j->steps[w->step].res = r;
		if (!u->write && j->n == 1) {
			pg_unit_forget(u, j);
			pg_io_answer(j, OK);
		}
		return;
	}
	if (status == PGRES_PIPELINE_ABORTED)
		u->failed = true;
	else
		remember(u, j, r);
	PQclear(r);
}

/* What the server says last before it closes the connection, or libpq when it has found it closed. */
static bool is_last_word(const PGresult *r, char *why, size_t room)
{
	const char *severity = PQresultErrorField(r, PG_DIAG_SEVERITY_NONLOCALIZED);
	if (PQresultStatus(r) != PGRES_FATAL_ERROR)
		return false;
	if (PQresultErrorField(r, PG_DIAG_SQLSTATE) && !(severity && (severity[0] == 'F' || severity[0] == 'P')))
		return false;
	const char *said = PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY);
	snprintf(why, room, "%s", said ? said : PQresultErrorMessage(r));
	return true;
}

static bool is_error(const PGresult *r)
{
	return PQresultStatus(r) == PGRES_FATAL_ERROR;
}

static bool take(struct pconn *c, struct unit *u, PGresult *r, char *why, size_t room)
{
	bool sync = PQresultStatus(r) == PGRES_PIPELINE_SYNC;
	if (is_last_word(r, why, room) || sync != (u->at == u->n && !is_error(r))) {
		if (!*why)
			snprintf(why, room, "the server's answers do not match what was sent");
		PQclear(r);
		return false;
	}
	c->cancel_ns = 0;
	if (sync) {
		c->answered_ns = clock_mono_ns();
		PQclear(r);
		list_del(&u->node);
		c->units_n--;
		c->jobs_n -= u->count;
		pg_io_unit_done(c, u);
		return true;
	}
	c->got = true;
	if (u->at < u->n)
		pg_statement_log(c, u, &u->w[u->at], r);
	if (u->at == u->n) { /* the commit failed */
		LIST_EACH (at, &u->jobs)
			remember(u, CONTAINER(at, struct pg_job, node), r);
		PQclear(r);
	} else if (u->w[u->at].prepare) {
		take_prepared(c, u, &u->w[u->at], r);
		PQclear(r);
	} else {
		take_step(u, &u->w[u->at], r);
	}
	return true;
}

static bool results(struct pconn *c, char *why, size_t room)
{
	while (!list_empty(&c->units) && !PQisBusy(c->pg)) {
		struct unit *u = CONTAINER(c->units.next, struct unit, node);
		PGresult *r = PQgetResult(c->pg);
		if (r && !take(c, u, r, why, room))
			return false;
		if (r)
			continue;
		if (!c->got) {
			snprintf(why, room, "%s", PQerrorMessage(c->pg));
			return false;
		}
		c->got = false;
		if (u->at < u->n)
			u->at++;
	}
	return true;
}

bool pg_conn_late(const struct pconn *c)
{
	if (list_empty(&c->units))
		return false;
	const struct unit *u = CONTAINER(c->units.next, struct unit, node);
	const struct want *w = &u->w[u->at];
	if (u->at < u->n && w->prepare)
		w++;
	if (u->at < u->n)
		return !w->job || (w->job->flags & JOB_EXPIRED);
	return list_empty(&u->jobs) || (CONTAINER(u->jobs.next, struct pg_job, node)->flags & JOB_EXPIRED);
}

void pg_conn_receive(struct pconn *c)
{
	char why[256] = "";
	/* Twice with TLS: what did not fit the first time lies in the TLS layer, where the socket does not announce it. */
	bool up = PQconsumeInput(c->pg) == 1 && (!c->tls || PQconsumeInput(c->pg) == 1);
	if (!results(c, why, sizeof why)) {
		pg_conn_lost(c, *why ? why : PQerrorMessage(c->pg));
		return;
	}
	if (!up || PQstatus(c->pg) != CONNECTION_OK) {
		pg_conn_lost(c, PQerrorMessage(c->pg));
		return;
	}
	if (list_empty(&c->units)) {
		/* What the server says unasked (a notice, its last word) is dealt with inside. */
		(void)PQisBusy(c->pg);
		return;
	}
	if (c->look || pg_conn_late(c))
		pg_io_at(c->x, clock_mono_ns() + (c->look ? 1 : 20) * PG_MS);
}
