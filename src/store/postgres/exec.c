/* STAND-IN: one blocking connection under a mutex. Replaced by the executor. */
#include "store/postgres/pg.h"

struct pg_exec {
	pthread_mutex_t mu;
	PGconn *c;
};

enum err pg_exec_start(struct pg *s)
{
	uint64_t until;
	s->exec = calloc(1, sizeof *s->exec);
	if (!s->exec)
		return err_set(E_LIMIT, "out of memory");
	pthread_mutex_init(&s->exec->mu, NULL);
	return pg_target_connect(s->target, deadline_in_ms(5000), &s->exec->c, &until);
}

void pg_exec_stop(struct pg *s, uint64_t deadline)
{
	(void)deadline;
	if (!s->exec)
		return;
	PQfinish(s->exec->c);
	free(s->exec);
	s->exec = NULL;
}

struct loop *pg_io_loop(struct pg *s)
{
	(void)s;
	return NULL;
}

enum err pg_io_spawn(struct pg *s, void (*fn)(void *arg), void *arg)
{
	(void)s;
	(void)fn;
	(void)arg;
	return err_set(E_INTERNAL, "no io loop in the stand-in");
}

void pg_exec_metrics(struct pg *s, struct buf *out)
{
	(void)s;
	(void)out;
}

static enum err one(struct pg_job *j, struct pg_step *st)
{
	const char *values[PG_PARAMS_MAX];
	int lens[PG_PARAMS_MAX], formats[PG_PARAMS_MAX];
	Oid types[PG_PARAMS_MAX];
	struct pg_params *p = st->p;
	const char *sql = pg_render(j->t, st->st);
	unsigned n = p ? p->n : 0;
	if (p && p->buf.err != OK)
		return p->buf.err;
	for (unsigned i = 0; i < n; i++) {
		values[i] = p->v[i].len < 0 ? NULL : p->buf.p ? p->buf.p + p->v[i].at : "";
		lens[i] = p->v[i].len;
		formats[i] = !(p->v[i].type & PG_TEXT_FORMAT);
		types[i] = p->v[i].type & ~PG_TEXT_FORMAT;
	}
	st->res = PQexecParams(j->t->s->exec->c, sql, (int)n, types, values, lens, formats, 1);
	ExecStatusType status = PQresultStatus(st->res);
	if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK)
		return OK;
	const char *state = PQresultErrorField(st->res, PG_DIAG_SQLSTATE),
		   *name = PQresultErrorField(st->res, PG_DIAG_CONSTRAINT_NAME);
	snprintf(j->sqlstate, sizeof j->sqlstate, "%s", state ? state : "");
	snprintf(j->constraint, sizeof j->constraint, "%s", name ? name : "");
	return pg_error(st->res, j->t->s->exec->c);
}

enum err pg_run(struct pg_job *j)
{
	struct pg_exec *x = j->t->s->exec;
	enum err e = OK;
	pthread_mutex_lock(&x->mu);
	if (j->n > 1)
		PQclear(PQexec(x->c, "BEGIN"));
	for (unsigned i = 0; i < j->n && e == OK; i++)
		e = one(j, &j->steps[i]);
	if (j->n > 1)
		PQclear(PQexec(x->c, e == OK ? "COMMIT" : "ROLLBACK"));
	pthread_mutex_unlock(&x->mu);
	if (e != OK && strcmp(j->constraint, "cenote_journal_pkey") == 0) {
		j->repeated = true;
		e = OK;
	}
	if (e != OK || j->repeated)
		pg_job_clear(j);
	return e;
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

enum err pg_admin(struct pg *s, enum err (*fn)(PGconn *c, void *arg), void *arg)
{
	PGconn *c;
	uint64_t until;
	TRY(pg_target_connect(s->target, deadline_in_ms(5000), &c, &until));
	enum err e = fn(c, arg);
	PQfinish(c);
	return e;
}

enum err pg_sql(PGconn *c, const char *sql, PGresult **res)
{
	PGresult *r = PQexec(c, sql);
	ExecStatusType status = PQresultStatus(r);
	enum err e = status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK ? OK : pg_error(r, c);
	if (res && e == OK)
		*res = r;
	else
		PQclear(r);
	return e;
}
