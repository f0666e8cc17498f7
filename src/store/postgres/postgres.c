/* The store on PostgreSQL: opening, closing, the table of operations. */
#include "store/postgres/postgres.h"

#include <unistd.h>

#include "store/postgres/compact.h"
#include "store/postgres/gather.h"

#define CLOSE_MS 10000

static void pg_close(struct store *st)
{
	struct pg *s = pg_of(st);
	for (unsigned i = 0; i < GATHER_KINDS; i++)
		gather_stop(s->gathers[i]);
	pg_exec_stop(s, deadline_in_ms(CLOSE_MS));
	compact_cache_free(s);
	pg_ckpt_known_free(s);
	pg_tenants_free(s);
	pg_target_free(s->target);
	pthread_mutex_destroy(&s->tmu);
	free(s);
}

#define OPS(ckpt)                                                                                                                  \
	{                                                                                                                          \
		.name = "postgres", .close = pg_close, .ping = pg_ping, .item_get = pg_item_get, .item_write = pg_item_write,      \
		.item_scan = pg_item_scan, .item_walk = pg_item_walk, .item_by_id = pg_item_by_id, .namespaces = pg_namespaces,    \
		.sweep = pg_sweep, .doc_scan = pg_doc_scan, .doc_changes = pg_doc_changes, .doc_keep = pg_doc_keep,                \
		.vector_put = pg_vector_put, .vector_get = pg_vector_get, .doc_walk = pg_doc_walk, .doc_lacking = pg_doc_lacking,  \
		.vector_models = pg_vector_models, .vector_drop = pg_vector_drop, .message_append = pg_message_append,             \
		.message_list = pg_message_list, .message_by_id = pg_message_by_id, .thread_list = pg_thread_list,                 \
		.threads = &pg_thread_ops, .checkpoints = &(ckpt), .foreign_vectors = &pg_foreign_vector_ops,                      \
		.hnsw = &pg_hnsw_ops, .texts = &pg_text_ops, .facts = &pg_fact_ops, .stats = pg_stats, .tenants = pg_tenants,      \
		.key_put = pg_key_put, .key_get = pg_key_get, .key_list = pg_key_list, .meta_get = pg_meta_get,                    \
		.meta_put = pg_meta_put, .meta_walk = pg_meta_walk, .metrics = pg_metrics,                                         \
	}
/* By the layout of checkpoints. */
static const struct store_ops ops = OPS(pg_checkpoint_ops), compact_ops = OPS(pg_compact_ops);

static enum err take_options(struct pg *s, const struct store_options *opt)
{
	const struct pg_options *o = &opt->pg;
	struct str schema = o->schema.n ? o->schema : STR("public");
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	if (schema.n >= sizeof s->schema)
		return err_field(E_INVALID, "pg.schema", -1, "pg.schema must have at most %zu bytes", sizeof s->schema - 1);
	snprintf(s->schema, sizeof s->schema, "%.*s", STR_ARG(schema));
	s->pool_max = o->pool_max ? o->pool_max : 2 * (unsigned)(cores > 0 ? cores : 1);
	s->pool_min = o->pool_min ? o->pool_min : 2;
	if (s->pool_min > s->pool_max && o->pool_min && o->pool_max)
		return err_field(E_INVALID, "pg.pool.min", -1, "pg.pool.min is %u, above pg.pool.max, %u", s->pool_min,
				 s->pool_max);
	if (s->pool_max < s->pool_min)
		s->pool_max = s->pool_min;
	s->statement_ms = o->statement_ms ? o->statement_ms : 30000;
	s->connect_ms = o->connect_ms ? o->connect_ms : 5000;
	s->opt = *opt;
	return OK;
}

enum err postgres_store_open(struct str conninfo, const struct store_options *opt, struct store **out)
{
	struct pg *s = calloc(1, sizeof *s);
	enum err e;
	*out = NULL;
	if (!s)
		return err_set(E_LIMIT, "out of memory");
	s->base.ops = opt->layout == CKPT_LAYOUT_COMPACT ? &compact_ops : &ops;
	pthread_mutex_init(&s->tmu, NULL);
	map_init(&s->tenants);
	CHECK(take_options(s, opt));
	CHECK(pg_target_new(conninfo, opt, &s->target));
	CHECK(pg_exec_start(s));
	CHECK(gather_start(s, GATHER_ITEMS, &pg_item_gather, &s->gathers[GATHER_ITEMS]));
	CHECK(gather_start(s, GATHER_CHECKPOINTS, &pg_ckpt_gather_ops, &s->gathers[GATHER_CHECKPOINTS]));
	CHECK(compact_cache_new(s));
	CHECK(pg_ckpt_known_new(s));
	CHECK(pg_tenants_start(s));
	*out = &s->base;
	return OK;
out:;
	struct diag d = *diag_get();
	pg_close(&s->base);
	*diag_get() = d;
	return e;
}
