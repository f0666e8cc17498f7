/* The log of statements (pg.log_statements): each one's text and how long its answer took, without what it was given. Statements
 * of a unit are answered together, at its Sync: the time is the unit's. */
#include "store/postgres/exec.h"

/* Units lie one behind the other on a connection: this one's turn came when the one before it was answered. */
static double milliseconds(const struct pconn *c, const struct unit *u)
{
	uint64_t from = c->answered_ns > u->sent_ns ? c->answered_ns : u->sent_ns;

	return (double)(clock_mono_ns() - from) / 1e6;
}

/* Of a job that is still there; the texts of a tenant that nobody waits for may have gone. */
static const char *text_of(const struct pconn *c, const struct want *w)
{
	const char *sql = !w->job ? NULL : w->note ? pg_render(pg_home(c->x->s), w->st_of) : pg_render(w->job->t, w->st_of);

	return sql ? sql : w->st_of->sql;
}

void pg_statement_log(struct pconn *c, const struct unit *u, const struct want *w, const PGresult *r)
{
	const char *state = PQresultErrorField(r, PG_DIAG_SQLSTATE);

	if (!c->x->s->opt.pg.log_statements || log_get_level() > LOG_INFO)
		return;
	if (!w->prepare && PQresultStatus(r) != PGRES_PIPELINE_ABORTED) {
		const struct log_field fields[] = {LF_C("statement", w->st_of->name), LF_MS("duration_ms", milliseconds(c, u)),
						   LF_INT("rows", PQntuples(r)), LF_C("sql", text_of(c, w)),
						   LF_C("sqlstate", state ? state : "")};

		log_collect(&c->x->log, LOG_INFO, "store.postgres", "statement", fields,
			    sizeof fields / sizeof fields[0] - (state ? 0 : 1));
	}
}
