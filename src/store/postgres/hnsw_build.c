/* Making the index of vectors (hnsw.c), on an admin connection, which takes minutes for a million: CREATE INDEX CONCURRENTLY over
 * what a function makes of the stored bytes. So there is one copy of the vectors, and the server itself sees to it that the index
 * has what the table has.
 *
 * Of several Cenotes one builds: the others see that it is being done, or that the name is taken. An index that is there, not valid
 * and not being built is what an attempt that was interrupted has left: it is removed first. Indexes of models that are gone are
 * removed on the way. There is no lock: behind a pooler by transactions it would stay on a connection of the pooler's.
 *
 * statement_timeout is the session's for the time of the statement, since it cannot run in a transaction. Behind a pooler it stays
 * as it is, for the session is not ours alone: if the statement takes longer, the attempt ends with it, and is repeated later. */
#include <stdarg.h>

#include "store/postgres/catalog.h"
#include "store/postgres/hnsw.h"

/* What there is. $1: schema, $2: the model's name */
static const char look_sql[] =
	"SELECT coalesce(m.id, 0), coalesce(e.nspname, ''), coalesce(e.good, false), coalesce(e.extversion, ''), x.oid IS NOT NULL,"
	" coalesce(x.valid, false), p.oid IS NOT NULL, to_regprocedure(format('%%I." PG_HNSW_FIND
	"(int, int, text, text, text, text, text, int, int, bigint[])', n.nspname)) IS NOT NULL AND "
	"to_regprocedure(format('%%I." PG_HNSW_VECTOR "(bytea)', n.nspname)) IS NOT NULL,"
	" pg_is_in_recovery(),"
	" pg_has_role(v.relowner, 'USAGE') AND has_schema_privilege(n.oid, 'CREATE')"
	" FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_class v ON v.relnamespace = n.oid AND v.relname = 'cenote_vector'"
	" LEFT JOIN (SELECT s.nspname, e.extversion, string_to_array(regexp_replace(e.extversion, '[^0-9.].*', ''), '.')::int[] >="
	" '{0,8}' AS good FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace s ON s.oid = e.extnamespace WHERE e.extname ="
	" 'vector') e ON true"
	" LEFT JOIN %s.cenote_model m ON m.name = $2::text"
	" LEFT JOIN LATERAL (SELECT c.oid, i.indisvalid AS valid FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid ="
	" i.indexrelid WHERE i.indrelid = v.oid AND c.relname = 'cenote_hnsw_' || m.id) x ON true"
	" LEFT JOIN LATERAL (SELECT p.relid AS oid FROM pg_catalog.pg_stat_progress_create_index p WHERE p.relid = v.oid LIMIT 1) p"
	" ON true WHERE n.nspname = $1::text";
enum { L_MODEL, L_EXTENSION, L_GOOD, L_VERSION, L_INDEX, L_VALID, L_PROGRESS, L_FUNCTION, L_STANDBY, L_OWNER };

/* Schema, pgvector's schema. The numbers of a blob are as index/vector.h has them. Costs: of one such vector about that of reading
 * five pages. */
static const char vector_sql[] =
	"CREATE OR REPLACE FUNCTION %s." PG_HNSW_VECTOR
	"(data bytea) RETURNS %s.halfvec LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE"
	" COST 2000 SET search_path = pg_catalog, pg_temp AS $$SELECT ARRAY(SELECT 256 * get_byte(data, 7 + i) + get_byte(data, 7 +"
	" (length(data) - 8) / 2 + i) - 32896 FROM generate_series(1, (length(data) - 8) / 2)"
	" i)::%s.halfvec$$";
/* The statement has the model's number and dimensions in its text, so that the index fits it. A filter that lets few vectors
 * through has the search go on until there are enough. The planner may take all items of a small namespace instead, by their index:
 * that is exact. */
#define BELOW PG_BELOW("c.prefix", 2, 3, 4)
static const char find_sql[] =
	"CREATE OR REPLACE FUNCTION %s." PG_HNSW_FIND "(model int, dims int, question text, opposite text, below text, low text,"
	" high text, nearest int, farthest int, ids bigint[]) RETURNS TABLE(why int, id bigint, data bytea, mark bigint, fresh"
	" boolean, terms bytea) LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$"
	"DECLARE chosen text := 'c.id, v.data, v.mark, v.stamp = c.xmin::text::bigint, CASE WHEN v.stamp = c.xmin::text::bigint "
	"THEN"
	" NULL ELSE c.terms END FROM %s.cenote_vector v JOIN %s.cenote_item c ON c.id = v.id WHERE v.model = ' || model || ' AND"
	" v.kind = ''i'' AND c.terms IS DISTINCT FROM ''''';"
	" near text := chosen || ' AND " BELOW " ORDER BY %s." PG_HNSW_VECTOR "(v.data)::%s.halfvec(' || dims || ')"
	" OPERATOR(%s.<=>) $1::%s.halfvec LIMIT $5';"
	"BEGIN"
	" PERFORM set_config('hnsw.iterative_scan', 'relaxed_order', true),"
	" set_config('hnsw.ef_search', LEAST(GREATEST(2 * nearest, 100), 1000)::text, true),"
	" set_config('hnsw.max_scan_tuples', '200000', true);"
	" IF nearest > 0 THEN RETURN QUERY EXECUTE 'SELECT 0, ' || near USING question, below, low, high, nearest; END IF;"
	" IF farthest > 0 THEN RETURN QUERY EXECUTE 'SELECT 1, ' || near USING opposite, below, low, high, farthest; END IF;"
	" IF cardinality(ids) > 0 THEN RETURN QUERY EXECUTE 'SELECT 2, ' || chosen || ' AND v.id = ANY($1)' USING ids; END IF;"
	"END $$";
static const char index_sql[] = "CREATE INDEX CONCURRENTLY cenote_hnsw_%lld ON %s.cenote_vector USING hnsw ((%s." PG_HNSW_VECTOR
				"(data)::%s.halfvec(%u)) %s.halfvec_cosine_ops) WHERE model = %lld AND kind = 'i'";
/* $1: schema */
static const char left_sql[] =
	"SELECT c.relname FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid JOIN pg_catalog.pg_class v "
	"ON"
	" v.oid = i.indrelid JOIN pg_catalog.pg_namespace n ON n.oid = v.relnamespace WHERE n.nspname = $1::text AND v.relname ="
	" 'cenote_vector' AND c.relname ~ '^cenote_hnsw_[0-9]+$' AND NOT EXISTS (SELECT FROM %s.cenote_model m WHERE c.relname ="
	" 'cenote_hnsw_' || m.id)";

struct build {
	struct pg_tenant *t;
	char model[VECTOR_MODEL_NAME_MAX + 1];
	uint32_t dims;
	/* what was found */
	long long number; /* the model's */
	char extension[132];
	bool exists, valid, progress;
	bool functions; /* they are there, and nothing was found to be wrong with them */
	bool lost;	/* in: something was */
	/* out */
	bool ready;
	uint32_t again_ms;
};

static enum err say(PGconn *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static enum err say(PGconn *c, const char *fmt, ...)
{
	char text[4096];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	return n < (int)sizeof text ? pg_sql(c, text, NULL) : err_set(E_LIMIT, "the name of a schema is too long");
}

static bool is(const PGresult *r, int col)
{
	return PQgetvalue(r, 0, col)[0] == 't';
}

/* Why there can be no index here; NULL: there can. */
static const char *obstacle(const struct build *x, const PGresult *r)
{
	if (is(r, L_VALID) && is(r, L_FUNCTION) && is(r, L_GOOD))
		return NULL;
	if (x->extension[0] == 0)
		return "pgvector is not installed in this database";
	if (!is(r, L_GOOD))
		return "pgvector is older than 0.8";
	if (strpbrk(x->t->quoted, "'$") || strpbrk(x->extension, "'$")) /* they are written into functions */
		return "the name of the schema has an ' or a $";
	if (is(r, L_STANDBY))
		return "the server is a standby";
	if (x->t->s->opt.pg.no_ddl)
		return "pg.migrate is off";
	return is(r, L_OWNER) ? NULL : "the role is not the owner of cenote_vector, or may not make functions in its schema";
}

static enum err look(PGconn *c, struct build *x)
{
	const char *values[] = {x->t->schema, x->model};
	const char *why;
	char text[sizeof look_sql + 160];
	PGresult *r;

	snprintf(text, sizeof text, look_sql, x->t->quoted);
	TRY(pg_ask(c, text, 2, values, &r));
	if (PQntuples(r) != 1 || strcmp(PQgetvalue(r, 0, L_MODEL), "0") == 0) {
		PQclear(r);
		return err_set(E_NOT_FOUND, "there are no vectors of the model");
	}
	x->number = strtoll(PQgetvalue(r, 0, L_MODEL), NULL, 10);
	x->exists = is(r, L_INDEX);
	x->valid = is(r, L_VALID);
	x->progress = is(r, L_PROGRESS);
	x->functions = is(r, L_FUNCTION) && !x->lost;
	x->extension[0] = 0;
	if (PQgetvalue(r, 0, L_EXTENSION)[0])
		pg_quote(x->extension, sizeof x->extension, PQgetvalue(r, 0, L_EXTENSION));
	why = obstacle(x, r);
	PQclear(r);
	return why ? err_set(E_CONFLICT, "%s", why) : OK;
}

static enum err make_functions(PGconn *c, const struct build *x)
{
	const char *own = x->t->quoted, *ext = x->extension;

	TRY(say(c, vector_sql, own, ext, ext));
	return say(c, find_sql, own, own, own, own, ext, ext, ext);
}

static enum err remove_index(PGconn *c, const struct build *x, const char *name)
{
	LOG(LOG_INFO, "store", "an index of vectors is removed", LF_C("schema", x->t->schema), LF_C("index", name));
	return say(c, "DROP INDEX CONCURRENTLY IF EXISTS %s.%s", x->t->quoted, name);
}

static enum err remove_left(PGconn *c, const struct build *x)
{
	const char *schema = x->t->schema;
	char text[sizeof left_sql + 160];
	enum err e = OK;
	PGresult *r;

	snprintf(text, sizeof text, left_sql, x->t->quoted);
	TRY(pg_ask(c, text, 1, &schema, &r));
	for (int i = 0; i < PQntuples(r) && e == OK; i++)
		e = remove_index(c, x, PQgetvalue(r, i, 0));
	PQclear(r);
	return e;
}

static enum err make_index(PGconn *c, struct build *x)
{
	const char *own = x->t->quoted, *ext = x->extension;
	uint64_t begun = clock_mono_ns();
	char name[40];

	snprintf(name, sizeof name, "cenote_hnsw_%lld", x->number);
	if (x->exists)
		TRY(remove_index(c, x, name));
	LOG(LOG_INFO, "store", "an index of vectors is being made (HNSW)", LF_C("schema", x->t->schema), LF_C("index", name),
	    LF_C("model", x->model));
	TRY(say(c, index_sql, x->number, own, own, ext, x->dims, ext, x->number));
	LOG(LOG_INFO, "store", "an index of vectors is ready", LF_C("schema", x->t->schema), LF_C("index", name),
	    LF_INT("ms", (int64_t)((clock_mono_ns() - begun) / 1000000)));
	return OK;
}

/* Whether it is the server that we are connected to, and no pooler in between, which has made up a number of its own. */
static enum err is_direct(PGconn *c, bool *direct)
{
	PGresult *r;

	TRY(pg_ask(c, "SELECT pg_backend_pid()", 0, NULL, &r));
	*direct = strtol(PQgetvalue(r, 0, 0), NULL, 10) == PQbackendPID(c);
	PQclear(r);
	return OK;
}

static enum err make_all(PGconn *c, struct build *x)
{
	struct diag d;
	bool direct = false;
	enum err e = is_direct(c, &direct);

	if (e == OK && direct)
		e = pg_sql(c, "SET statement_timeout = 0", NULL);
	if (e == OK)
		e = make_functions(c, x);
	if (e == OK && !x->valid)
		e = make_index(c, x);
	x->ready = e == OK;
	if (e == OK)
		e = remove_left(c, x);
	d = *diag_get();
	if (direct && pg_sql(c, "RESET statement_timeout", NULL) != OK)
		LOG(LOG_DEBUG, "store", "the session ends with its connection", LF_C("reason", diag_get()->text));
	*diag_get() = d;
	return e;
}

/* One tenant's at a time: the admin threads are few, and others have work for them. */
static enum err make(PGconn *c, struct build *x)
{
	atomic_bool *making = &x->t->s->hnsw_making;
	bool busy = false;
	enum err e;

	x->again_ms = PG_HNSW_TURN_MS;
	if (x->progress || !atomic_compare_exchange_strong(making, &busy, true))
		return OK;
	x->again_ms = 0; /* by how often it has failed */
	e = look(c, x);	 /* whoever was building has ended by now */
	if (e == OK && !x->progress)
		e = make_all(c, x);
	atomic_store(making, false);
	return e;
}

static enum err build(PGconn *c, struct build *x)
{
	if (!c)
		return diag_get()->code; /* why there is no connection */
	TRY(look(c, x));
	x->ready = x->valid && x->functions;
	return x->ready ? OK : make(c, x);
}

static enum err build_task(PGconn *c, void *arg)
{
	struct build *x = arg;
	enum err e = build(c, x);

	if (e != OK && e != E_CANCELLED)
		LOG(LOG_WARN, "store", "there is no index of vectors", LF_C("schema", x->t->schema), LF_C("error", err_name(e)),
		    LF_C("reason", diag_get()->text));
	pg_hnsw_looked(x->t, x->ready ? x->number : 0, x->again_ms);
	free(x);
	return e;
}

enum err pg_hnsw_build(struct pg_tenant *t)
{
	struct build *x = calloc(1, sizeof *x);
	enum err e;

	if (!x)
		return err_set(E_LIMIT, "out of memory in the store");
	*x = (struct build){.t = t};
	pthread_mutex_lock(&t->hnsw.mu);
	memcpy(x->model, t->hnsw.model, sizeof x->model);
	x->dims = t->hnsw.dims;
	x->lost = t->hnsw.lost;
	t->hnsw.lost = false;
	pthread_mutex_unlock(&t->hnsw.mu);
	e = pg_admin_later(t->s, build_task, x);
	if (e != OK)
		free(x);
	return e;
}
