/* STAND-IN: connects with the conninfo as it is. Replaced by the connector's parts. */
#include "store/postgres/pg.h"

struct pg_target {
	char *conninfo;
};

enum err pg_target_new(struct str conninfo, const struct store_options *opt, struct pg_target **out)
{
	(void)opt;
	*out = calloc(1, sizeof **out);
	if (!*out || !((*out)->conninfo = strndup(conninfo.p, conninfo.n)))
		return err_set(E_LIMIT, "out of memory");
	return OK;
}

void pg_target_free(struct pg_target *t)
{
	if (t)
		free(t->conninfo);
	free(t);
}

struct str pg_target_text(const struct pg_target *t)
{
	return str_c(t->conninfo);
}

enum err pg_target_connect(struct pg_target *t, uint64_t deadline, PGconn **out, uint64_t *until_ns)
{
	(void)deadline;
	*until_ns = NEVER;
	*out = PQconnectdb(t->conninfo);
	if (PQstatus(*out) == CONNECTION_OK)
		return OK;
	enum err e = err_set(E_BUSY, "%.400s", PQerrorMessage(*out));
	PQfinish(*out);
	*out = NULL;
	return e;
}

enum err pg_error(const PGresult *r, const PGconn *c)
{
	const char *state = r ? PQresultErrorField(r, PG_DIAG_SQLSTATE) : NULL;
	return pg_error_state(state ? state : "", r ? PQresultErrorMessage(r) : PQerrorMessage(c));
}

enum err pg_error_state(const char *sqlstate, const char *sentence)
{
	return err_set(E_INTERNAL, "%s %.400s", sqlstate, sentence);
}
