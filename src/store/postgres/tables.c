/* Sizes of the tables for /metrics: looked at once a minute by the sweeper, over all tenants that are in use, and kept. */
#include "store/postgres/pg.h"

static const char *const names[PG_TABLES] = {
	"store",	  "store_vectors",	  "cenote_item",       "cenote_journal",    "cenote_thread",
	"cenote_message", "checkpoints",	  "checkpoint_blobs",  "checkpoint_writes", "agent_sessions",
	"agent_messages", "cenote_checkpoint_ns", "cenote_checkpoint", "cenote_pending",    "cenote_stream",
	"cenote_version", "cenote_chunk",	  "cenote_vector"};

static const struct pg_stmt st_tables = {
	ST_TABLES, LANE_SEARCH, "tables",
	"SELECT relname::text, pg_total_relation_size(relid), n_live_tup, n_dead_tup FROM pg_stat_user_tables WHERE schemaname = $1"
	" AND relname IN ('store', 'store_vectors', 'cenote_item', 'cenote_journal', 'cenote_thread', 'cenote_message',"
	" 'checkpoints', 'checkpoint_blobs', 'checkpoint_writes', 'agent_sessions', 'agent_messages', 'cenote_checkpoint_ns',"
	" 'cenote_checkpoint', 'cenote_pending', 'cenote_stream', 'cenote_version', 'cenote_chunk', 'cenote_vector')"};

static void add(struct pg_table_figures *sum, const PGresult *r, int row)
{
	for (unsigned i = 0; i < PG_TABLES; i++) {
		if (!str_eq(str_c(names[i]), pg_get_str(r, row, 0)))
			continue;
		sum[i].bytes += pg_get_i64(r, row, 1);
		sum[i].live += pg_get_i64(r, row, 2);
		sum[i].dead += pg_get_i64(r, row, 3);
	}
}

enum err pg_tables_look(struct pg *s, struct pg_tenant *const *tenants, size_t n)
{
	struct pg_table_figures sum[PG_TABLES] = {0};
	for (size_t i = 0; i < n; i++) {
		struct pg_params p;
		PGresult *r;
		pg_params_init(&p);
		pg_text(&p, str_c(tenants[i]->schema));
		TRY(pg_query(tenants[i], &st_tables, &p, &r));
		for (int row = 0; row < PQntuples(r); row++)
			add(sum, r, row);
		PQclear(r);
	}
	pthread_mutex_lock(&s->tmu);
	memcpy(s->tables, sum, sizeof sum);
	pthread_mutex_unlock(&s->tmu);
	return OK;
}

void pg_tables_metrics(struct pg *s, struct buf *out)
{
	struct pg_table_figures now[PG_TABLES];
	pthread_mutex_lock(&s->tmu);
	memcpy(now, s->tables, sizeof now);
	pthread_mutex_unlock(&s->tmu);
	buf_lit(out,
		"# HELP cenote_pg_table_bytes Size of a table with its indexes, over all tenants in use; looked at once a minute.\n"
		"# TYPE cenote_pg_table_bytes gauge\n");
	for (unsigned i = 0; i < PG_TABLES; i++)
		buf_printf(out, "cenote_pg_table_bytes{table=\"%s\"} %lld\n", names[i], (long long)now[i].bytes);
	buf_lit(out, "# HELP cenote_pg_table_rows Rows by the server's statistics.\n# TYPE cenote_pg_table_rows gauge\n");
	for (unsigned i = 0; i < PG_TABLES; i++)
		buf_printf(out,
			   "cenote_pg_table_rows{table=\"%s\",state=\"live\"} "
			   "%lld\ncenote_pg_table_rows{table=\"%s\",state=\"dead\"} %lld\n",
			   names[i], (long long)now[i].live, names[i], (long long)now[i].dead);
}
