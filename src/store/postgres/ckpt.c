/* What checkpoints on LangGraph's tables share: whether the tables are there, who may reach what.
 *
 * The tables are looked at when a tenant's first checkpoint is asked for, by one statement, and made then when they are missing and
 * that may be done. Without them the rest of the store works.
 *
 * Invariants
 *  1. cp_ready, once set, stays; a table that goes away later is an error of the statement (E_CORRUPT).
 *  2. cp_path is looked at again every second as long as the column is not there: LangGraph's setup() may add it at any time. */
#include "store/postgres/ckpt.h"

#include "store/postgres/catalog.h"

#define LOOK_AGAIN_NS UINT64_C(1000000000)

static const struct pg_stmt st_look = {
	ST_CKPT_LOOK, LANE_POINT, "checkpoint_look",
	"SELECT count(*) FILTER (WHERE x.c <> 'task_path' AND has_schema_privilege(n.oid, 'USAGE')"
	" AND has_table_privilege(k.oid, 'SELECT') AND has_table_privilege(k.oid, 'INSERT')"
	" AND has_table_privilege(k.oid, 'UPDATE') AND has_table_privilege(k.oid, 'DELETE')), count(*) FILTER (WHERE x.c ="
	" 'task_path') FROM (VALUES " PG_CP_COLUMNS ", ('checkpoint_writes', 'task_path', 'text')) x(t, c, y)"
	" JOIN pg_catalog.pg_class k ON k.relname = x.t AND k.relkind IN ('r', 'p') JOIN pg_catalog.pg_namespace n"
	" ON n.oid = k.relnamespace AND n.nspname = $1::text JOIN pg_catalog.pg_attribute a ON a.attrelid = k.oid"
	" AND a.attname = x.c AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid = x.y::regtype"};

static enum err look(struct pg_tenant *t, bool *there)
{
	struct pg_params p;
	PGresult *r;
	pg_params_init(&p);
	pg_text(&p, str_c(t->schema));
	TRY(pg_query(t, &st_look, &p, &r));
	*there = pg_get_i64(r, 0, 0) == PG_CP_COLUMNS_N;
	if (*there) {
		atomic_store(&t->cp_path, pg_get_i64(r, 0, 1) > 0);
		atomic_store(&t->cp_looked_ns, clock_mono_ns());
		atomic_store_explicit(&t->cp_ready, true, memory_order_release);
	}
	PQclear(r);
	return OK;
}

static enum err make_task(PGconn *c, void *arg)
{
	const struct pg_tenant *t = arg;
	const struct pg_ensure ask = {
		.schema = str_c(t->schema), .tenant = str_c(t->name), .make = !t->s->opt.pg.no_ddl, .checkpoints = true};
	return pg_schema_ensure(c, &ask);
}

/* What was answered a moment ago is answered again: every try is a login and a dozen questions. */
static bool failed_lately(struct pg_tenant *t, enum err *e)
{
	pthread_mutex_lock(&t->s->tmu);
	bool lately = t->cp_failed_ns && clock_mono_ns() - t->cp_failed_ns < LOOK_AGAIN_NS;
	if (lately) {
		*diag_get() = t->cp_failure;
		*e = t->cp_failure.code;
	}
	pthread_mutex_unlock(&t->s->tmu);
	return lately;
}

static enum err make(struct pg_tenant *t)
{
	enum err e;
	bool there = false;
	if (failed_lately(t, &e))
		return e;
	e = pg_admin(t->s, make_task, t);
	if (e == OK)
		e = look(t, &there);
	if (e == OK && !there)
		e = err_set(E_CONFLICT, "the checkpoint tables in schema %s are not there; run `cenote migrate`", t->quoted);
	if (e == E_DENIED) /* to our role, not to who asks */
		e = diag_get()->code = E_UPSTREAM;
	if (e != OK && e != E_TIMEOUT && e != E_CANCELLED) {
		pthread_mutex_lock(&t->s->tmu);
		t->cp_failed_ns = clock_mono_ns();
		t->cp_failure = *diag_get();
		pthread_mutex_unlock(&t->s->tmu);
	}
	return e;
}

enum err pg_ckpt_open(struct store *s, const struct principal *who, unsigned right, bool create, struct pg_tenant **out)
{
	struct pg_tenant *t;
	bool there;
	TRY(pg_tenant_get(pg_of(s), who, right, create, out));
	t = *out;
	if (!t)
		return OK;
	if (atomic_load_explicit(&t->cp_ready, memory_order_acquire)) {
		if (atomic_load(&t->cp_path) || clock_mono_ns() - atomic_load(&t->cp_looked_ns) < LOOK_AGAIN_NS)
			return OK;
		return look(t, &there);
	}
	TRY(look(t, &there));
	return there ? OK : make(t);
}

void pg_owners(struct pg_params *p, const struct principal *who)
{
	if (!who->user_bound && who->user.n == 0) {
		pg_null(p, PG_TEXTS);
		return;
	}
	pg_array(p, PG_TEXTS, who->user_bound ? 1 : 2);
	pg_el_str(p, who->user);
	if (!who->user_bound)
		pg_el_str(p, STR(""));
	pg_array_end(p);
}

bool pg_ckpt_unknown(struct str s)
{
	return s.n > 0 && memchr(s.p, 0, s.n);
}

enum err pg_ckpt_names(const struct str *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (pg_ckpt_unknown(v[i]))
			return err_set(E_INVALID, "a name holds the character U+0000, which PostgreSQL cannot store");
	return OK;
}
