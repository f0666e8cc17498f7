/* The compact layout as a whole: its tables are there, and no other layout's checkpoints are.
 *
 * One tenant has one layout: what lies in LangGraph's tables would not be seen in the compact layout, and the other way round. So a
 * tenant that has checkpoints of the other is refused when it is opened. */
#include "store/postgres/compact.h"

#include "store/postgres/catalog.h"

/* $1 schema: which of the tables are there and ours to use; whether there is another layout's. */
static const struct pg_stmt st_tables = {
	ST_COMPACT_TABLES, LANE_POINT, "compact_tables",
	"SELECT count(*) FILTER (WHERE c.relname ~ '^cenote_' AND has_table_privilege(c.oid, 'SELECT') AND "
	"has_table_privilege(c.oid,"
	" 'INSERT') AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE')), count(*) FILTER (WHERE "
	"c.relname ="
	" 'cenote_checkpoint' AND has_table_privilege(c.oid, 'SELECT')) > 0, count(*) FILTER (WHERE c.relname = 'checkpoints' AND"
	" has_table_privilege(c.oid, 'SELECT')) > 0 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = "
	"c.relnamespace"
	" WHERE n.nspname = $1::text AND c.relkind IN ('r', 'p') AND has_schema_privilege(n.oid, 'USAGE') AND c.relname IN"
	" ('cenote_checkpoint_ns', 'cenote_checkpoint', 'cenote_pending', 'cenote_stream', 'cenote_version', 'cenote_chunk',"
	" 'checkpoints')"};
#define TABLES_N 6
static const struct pg_stmt st_any_compact = {ST_COMPACT_ANY, LANE_POINT, "compact_any",
					      "SELECT EXISTS (SELECT FROM @cenote_checkpoint)"};
static const struct pg_stmt st_any_langgraph = {ST_COMPACT_ANY_OTHER, LANE_POINT, "compact_any_other",
						"SELECT EXISTS (SELECT FROM @checkpoints)"};

static enum err any(struct pg_tenant *t, const struct pg_stmt *st, bool *yes)
{
	struct pg_params p;
	PGresult *r;
	pg_params_init(&p);
	TRY(pg_query(t, st, &p, &r));
	*yes = pg_get_bool(r, 0, 0);
	PQclear(r);
	return OK;
}

struct found {
	bool whole, compact, langgraph;
};

static enum err look(struct pg_tenant *t, struct found *out)
{
	struct pg_params p;
	PGresult *r;
	pg_params_init(&p);
	pg_text(&p, str_c(t->schema));
	TRY(pg_query(t, &st_tables, &p, &r));
	*out = (struct found){pg_get_i64(r, 0, 0) == TABLES_N, pg_get_bool(r, 0, 1), pg_get_bool(r, 0, 2)};
	PQclear(r);
	return OK;
}

static enum err make_task(PGconn *c, void *arg)
{
	const struct pg_tenant *t = arg;
	const struct pg_ensure ask = {
		.schema = str_c(t->schema), .tenant = str_c(t->name), .make = !t->s->opt.pg.no_ddl, .compact = true};
	return pg_schema_ensure(c, &ask);
}

enum err compact_settle(struct pg_tenant *t)
{
	bool compact = t->s->opt.layout == CKPT_LAYOUT_COMPACT, others = false;
	struct found f;
	TRY(look(t, &f));
	if (compact && f.langgraph)
		TRY(any(t, &st_any_langgraph, &others));
	if (!compact && f.compact)
		TRY(any(t, &st_any_compact, &others));
	if (others && compact)
		return err_set(E_CONFLICT,
			       "schema %s has checkpoints in LangGraph's tables, and checkpoints.layout is compact; set it to "
			       "langgraph, or "
			       "copy the store to another one in the compact layout with `cenote copy`",
			       t->quoted);
	if (others)
		return err_set(
			E_CONFLICT,
			"schema %s has checkpoints in the compact layout, and checkpoints.layout is langgraph (or auto); set it to "
			"compact, or copy the store to another one with `cenote copy`",
			t->quoted);
	if (!compact)
		return OK;
	if (!f.whole) {
		TRY(pg_admin(t->s, make_task, t));
		TRY(look(t, &f));
	}
	if (!f.whole)
		return err_set(E_CONFLICT, "the tables of the compact layout in schema %s are not there; run `cenote migrate`",
			       t->quoted);
	t->has = (t->has & ~(unsigned)PG_HAS_CP) | PG_HAS_COMPACT;
	return OK;
}

const struct checkpoint_ops pg_compact_ops = {
	.write = compact_write,
	.get = compact_get,
	.list = compact_list,
	.sends = compact_sends,
	.history = compact_history,
	.remove = compact_remove,
	.copy = compact_copy,
	.by_run = compact_by_run,
	.storage = compact_storage,
};
