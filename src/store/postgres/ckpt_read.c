/* Reading one checkpoint, and what is asked of many without their values.
 *
 * The latest is the greatest id by the column's collation, as PostgresSaver has it: index order. For the ids that LangGraph makes
 * (UUIDs in lower case) that is the order of their bytes under every collation. */
#include "store/postgres/ckpt.h"

#define WRITES_ORDER "task_path COLLATE \"C\", w.task_id COLLATE \"C\", w.idx"

/* $1 thread, $2 ns, $3 owners, $4 channels or NULL, $5 with values, $6 with writes, $7 id. One row. Writes are read in the order of
 * the primary key, so that no other index looks as good; what their order should be is for us to make. */
#define SEEN PG_CP_SEEN("$1::text", 3)
#define VERSIONS PG_CP_VERSIONS("c.checkpoint")
#define OLD PG_CP_OLD("c.checkpoint")
#define GET(where, order, sends)                                                                                                   \
	"SELECT c.checkpoint_id, c.parent_checkpoint_id, c.checkpoint, c.metadata, CASE WHEN $5::bool THEN ARRAY(SELECT"           \
	" ROW(b.channel, b.version, b.type, b.blob) FROM " VERSIONS " k CROSS JOIN LATERAL (SELECT * FROM @checkpoint_blobs b"     \
	" WHERE b.thread_id = $1::text AND b.checkpoint_ns = $2::text AND b.channel = k.key AND b.version = k.value LIMIT 1) b"    \
	" WHERE b.type <> 'empty' AND ($4::text[] IS NULL OR k.key = ANY($4::text[]))) END,"                                       \
	" CASE WHEN $6::bool THEN " PG_CP_PENDING_OF("w.thread_id = $1::text AND w.checkpoint_ns = $2::text AND w.checkpoint_id "  \
						     "= c.checkpoint_id") " END, " OLD " IS FALSE" sends                           \
									  " FROM @checkpoints c CROSS JOIN " PG_CP_PATH_ELSE       \
									  " WHERE c.thread_id = $1::text AND c.checkpoint_ns = "   \
									  "$2::text" where " AND " SEEN order " LIMIT 1"
#define LATEST(sends) GET("", " ORDER BY c.checkpoint_id DESC", sends)
#define NAMED(sends) GET(" AND c.checkpoint_id = $7::text", "", sends)
/* clang-format off */
#define SENDS                                                                                                                      \
	", CASE WHEN c.parent_checkpoint_id <> '' AND " OLD " AND " PG_CP_ONE_NS("$1::text") " THEN "                               \
	PG_CP_PENDING_OF("w.thread_id = $1::text AND w.checkpoint_ns = " PG_CP_EDGE("$1::text", "ASC")                              \
			 " AND w.checkpoint_id = c.parent_checkpoint_id AND w.channel = '__pregel_tasks'") " END"
/* clang-format on */
const struct pg_stmt pg_ckpt_latest[2] = {{ST_CKPT_LATEST, LANE_POINT, "checkpoint_latest", LATEST("")},
					  {ST_CKPT_LATEST_OLD, LANE_POINT, "checkpoint_latest_old", LATEST(SENDS)}};
const struct pg_stmt pg_ckpt_named[2] = {{ST_CKPT_BY_ID, LANE_POINT, "checkpoint_by_id", NAMED("")},
					 {ST_CKPT_BY_ID_OLD, LANE_POINT, "checkpoint_by_id_old", NAMED(SENDS)}};
enum { G_ID, G_PARENT, G_CHECKPOINT, G_METADATA, G_VALUES, G_WRITES, G_NEW, G_SENDS };

/* What each of some checkpoints costs alone, as stored: its row, its writes, values whose version its parent has not. */
static const struct pg_stmt st_sizes = {
	ST_CKPT_SIZES, LANE_SEARCH, "checkpoint_sizes",
	"SELECT u.ord, pg_column_size(c.checkpoint)::bigint + pg_column_size(c.metadata) + 150 + coalesce((SELECT"
	" sum(pg_column_size(w.blob) + 150) FROM @checkpoint_writes w WHERE w.thread_id = u.thread AND w.checkpoint_ns = u.ns AND"
	" w.checkpoint_id = u.id), 0)::bigint + coalesce((SELECT sum(pg_column_size(b.blob) + 100) FROM " VERSIONS " k CROSS JOIN"
	" LATERAL (SELECT * FROM @checkpoint_blobs b WHERE b.thread_id = u.thread AND b.checkpoint_ns = u.ns AND b.channel = k.key"
	" AND b.version = k.value LIMIT 1) b WHERE p.checkpoint -> 'channel_versions' ->> k.key IS DISTINCT FROM k.value),"
	" 0)::bigint FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS u(thread, ns, id, ord)"
	" CROSS JOIN LATERAL (SELECT * FROM @checkpoints c WHERE c.thread_id = u.thread AND c.checkpoint_ns = u.ns AND"
	" c.checkpoint_id = u.id LIMIT 1) c LEFT JOIN LATERAL (SELECT * FROM @checkpoints p WHERE p.thread_id = u.thread AND"
	" p.checkpoint_ns = u.ns AND p.checkpoint_id = c.parent_checkpoint_id LIMIT 1) p ON true"};

/* Namespace after namespace by the primary key: there is no index on checkpoint_id. */
const struct pg_stmt pg_ckpt_old_sends = {
	ST_CKPT_SENDS, LANE_POINT, "checkpoint_sends",
	"WITH RECURSIVE n(ns) AS ((SELECT checkpoint_ns FROM @checkpoint_writes WHERE thread_id = $1::text ORDER BY checkpoint_ns"
	" LIMIT 1) UNION ALL SELECT (SELECT x.checkpoint_ns FROM @checkpoint_writes x WHERE x.thread_id = $1::text AND"
	" x.checkpoint_ns > n.ns ORDER BY x.checkpoint_ns LIMIT 1) FROM n WHERE n.ns IS NOT NULL)"
	" SELECT u.ord - 1, w.task_id, w.task_path, w.idx, w.channel, w.type, w.blob FROM n, unnest($2::text[]) WITH ORDINALITY"
	" AS u(id, ord), " PG_CP_PATH_ELSE " CROSS JOIN LATERAL (SELECT task_id, task_path, idx, channel, type, blob FROM"
	" @checkpoint_writes WHERE thread_id = $1::text AND checkpoint_ns = n.ns AND checkpoint_id = u.id"
	" AND channel = '__pregel_tasks' OFFSET 0) w WHERE n.ns IS NOT NULL AND " PG_CP_SEEN("$1::text",
											     3) " ORDER BY u.ord, w." WRITES_ORDER};

static const struct pg_stmt st_by_run = {
	ST_CKPT_BY_RUN, LANE_SCAN, "checkpoint_by_run",
	"SELECT c.thread_id, c.checkpoint_ns, c.checkpoint_id FROM @checkpoints c WHERE c.metadata ->> 'run_id' = ANY($1::text[]) "
	"AND"
	" jsonb_typeof(c.metadata -> 'run_id') = 'string'"
	" AND " PG_CP_SEEN("c.thread_id", 2) " ORDER BY c.thread_id, c.checkpoint_ns, c.checkpoint_id"};

static const struct pg_stmt st_storage = {
	ST_CKPT_STORAGE, LANE_SEARCH, "checkpoint_storage",
	"WITH b AS (SELECT channel, count(*) FILTER (WHERE type <> 'empty') AS n, sum(pg_column_size(blob))::bigint AS bytes"
	" FROM @checkpoint_blobs WHERE thread_id = $1::text AND " PG_CP_SEEN(
		"$1::text", 2) " GROUP BY channel),"
			       " c AS (SELECT count(*) AS n, coalesce(sum(pg_column_size(checkpoint) + pg_column_size(metadata)), "
			       "0)::bigint AS bytes FROM"
			       " @checkpoints WHERE thread_id = $1::text AND " PG_CP_SEEN(
				       "$1::text", 2) "),"
						      " w AS (SELECT count(*) AS n, coalesce(sum(pg_column_size(blob)), 0)::bigint "
						      "AS bytes FROM @checkpoint_writes WHERE"
						      " thread_id = $1::text AND " PG_CP_SEEN(
							      "$1::text",
							      2) ")"
								 " SELECT c.n, c.bytes, w.n, w.bytes, b.channel, b.n, "
								 "coalesce(b.bytes, 0) FROM c CROSS JOIN w LEFT JOIN b ON b.n > 0"
								 " ORDER BY b.channel COLLATE \"C\""};

/* ---------------------------------------------------------------- one */

static int value_cmp(const void *a, const void *b)
{
	return str_cmp(((const struct ckpt_value *)a)->channel, ((const struct ckpt_value *)b)->channel);
}

static int write_cmp(const void *a, const void *b)
{
	const struct ckpt_pending *x = a, *y = b;
	int c = str_cmp(x->task_path, y->task_path);
	c = c ? c : str_cmp(x->task_id, y->task_id);
	return c ? c : (x->idx > y->idx) - (x->idx < y->idx);
}

void pg_ckpt_sort_values(struct ckpt *c)
{
	if (c->values_n > 1)
		qsort(c->values, c->values_n, sizeof *c->values, value_cmp);
}

static enum err no_room(void)
{
	return err_set(E_LIMIT, "the checkpoint is too large for this request");
}

static enum err keep(struct arena *a, struct str *s)
{
	*s = arena_str(a, *s);
	return s->p ? OK : no_room();
}

enum err pg_ckpt_keep(struct arena *a, struct ckpt *c)
{
	struct str *const all[] = {&c->thread, &c->ns, &c->id, &c->parent, &c->checkpoint, &c->metadata};
	for (unsigned i = 0; i < sizeof all / sizeof *all; i++)
		TRY(keep(a, all[i]));
	return OK;
}

static enum err keep_write(struct arena *a, struct ckpt_pending *w)
{
	struct str *const all[] = {&w->task_id, &w->task_path, &w->channel, &w->type, &w->bytes};
	for (unsigned i = 0; i < sizeof all / sizeof *all; i++)
		TRY(keep(a, all[i]));
	return OK;
}

static enum err read_values(struct arena *a, const PGresult *r, struct ckpt *out)
{
	struct pg_array all;
	struct str c[4];
	if (pg_is_null(r, 0, G_VALUES))
		return OK;
	pg_get_array(r, 0, G_VALUES, &all);
	out->values = arena_alloc(a, (size_t)(all.n + 1) * sizeof *out->values);
	if (!out->values)
		return no_room();
	while (pg_next_record(&all, c, 4)) {
		for (unsigned i = 0; i < 4; i++)
			TRY(keep(a, &c[i]));
		out->values[out->values_n++] = (struct ckpt_value){.channel = c[0], .version = c[1], .type = c[2], .bytes = c[3]};
	}
	pg_ckpt_sort_values(out);
	return OK;
}

enum err pg_ckpt_pending(struct arena *a, const PGresult *r, int row, int col, bool copy, struct ckpt_pending **out, size_t *n)
{
	struct pg_array all;
	struct str c[6];
	*n = 0;
	if (pg_is_null(r, row, col))
		return OK;
	pg_get_array(r, row, col, &all);
	*out = arena_alloc(a, (size_t)(all.n + 1) * sizeof **out);
	if (!*out)
		return no_room();
	while (pg_next_record(&all, c, 6)) {
		struct ckpt_pending w = {.task_id = c[0],
					 .task_path = c[1],
					 .channel = c[3],
					 .type = c[4],
					 .bytes = c[5],
					 .idx = (int32_t)pg_bytes_i64(c[2])};
		if (copy)
			TRY(keep_write(a, &w));
		(*out)[(*n)++] = w;
	}
	if (*n > 1)
		qsort(*out, *n, sizeof **out, write_cmp);
	return OK;
}

static enum err read_one(struct arena *a, const PGresult *r, const struct ckpt_query *q, struct ckpt *out)
{
	*out = (struct ckpt){.thread = q->thread,
			     .ns = q->ns,
			     .id = pg_get_str(r, 0, G_ID),
			     .parent = pg_get_str(r, 0, G_PARENT),
			     .checkpoint = pg_get_json(r, 0, G_CHECKPOINT),
			     .metadata = pg_get_json(r, 0, G_METADATA),
			     .sends_known = PQnfields(r) > G_SENDS && !pg_is_null(r, 0, G_SENDS)};
	TRY(pg_ckpt_keep(a, out));
	TRY(read_values(a, r, out));
	TRY(pg_ckpt_pending(a, r, 0, G_WRITES, true, &out->writes, &out->writes_n));
	return PQnfields(r) > G_SENDS ? pg_ckpt_pending(a, r, 0, G_SENDS, true, &out->sends, &out->sends_n) : OK;
}

static void get_params(struct pg_params *p, const struct principal *who, const struct ckpt_query *q)
{
	pg_params_init(p);
	pg_text(p, q->thread);
	pg_text(p, q->ns);
	pg_owners(p, who);
	if (q->channels_n) {
		pg_array(p, PG_TEXTS, q->channels_n);
		for (size_t i = 0; i < q->channels_n; i++)
			pg_el_str(p, q->channels[i]);
		pg_array_end(p);
	} else {
		pg_null(p, PG_TEXTS);
	}
	pg_bool(p, q->want & CK_VALUES);
	pg_bool(p, q->want & CK_WRITES_TOO);
	if (q->id.n)
		pg_text(p, q->id);
}

enum err pg_ckpt_get(struct store *s, struct arena *a, const struct principal *who, const struct ckpt_query *q, struct ckpt *out,
		     bool *found)
{
	struct pg_tenant *t;
	struct pg_params p;
	PGresult *r;
	*found = false;
	TRY(pg_ckpt_open(s, who, RIGHT_READ, false, &t));
	if (!t || pg_ckpt_unknown(q->thread) || pg_ckpt_unknown(q->ns) || pg_ckpt_unknown(q->id) || pg_ckpt_unknown(who->user))
		return OK;
	TRY(pg_ckpt_names(q->channels, q->channels_n));
	get_params(&p, who, q);
	bool old = q->want & CK_VALUES && pg_ckpt_was_old(t->s, q->thread);
	TRY(pg_query(t, &(q->id.n ? pg_ckpt_named : pg_ckpt_latest)[old], &p, &r));
	enum err e = OK;
	if (PQntuples(r) > 0) {
		e = read_one(a, r, q, out);
		*found = e == OK;
		pg_ckpt_set_old(t->s, q->thread, !pg_get_bool(r, 0, G_NEW));
	}
	PQclear(r);
	return e == OK && *found && (q->want & CK_SIZES) ? pg_ckpt_sizes(t, &out, 1) : e;
}

enum err pg_ckpt_sizes(struct pg_tenant *t, struct ckpt *const *v, size_t n)
{
	struct pg_params p;
	PGresult *r;
	pg_params_init(&p);
	for (unsigned col = 0; col < 3; col++) {
		pg_array(&p, PG_TEXTS, n);
		for (size_t i = 0; i < n; i++)
			pg_el_str(&p, col == 0 ? v[i]->thread : col == 1 ? v[i]->ns : v[i]->id);
		pg_array_end(&p);
	}
	TRY(pg_query(t, &st_sizes, &p, &r));
	for (int i = 0; i < PQntuples(r); i++)
		v[pg_get_i64(r, i, 0) - 1]->bytes = (size_t)pg_get_i64(r, i, 1);
	PQclear(r);
	return OK;
}

/* ---------------------------------------------------------------- others */

/* Rows come in the order of ids: those of one are next to each other. */
static enum err take_sends(struct arena *a, const PGresult *r, struct ckpt_sends *out, size_t n)
{
	int rows = PQntuples(r);
	struct ckpt_pending *all = arena_alloc(a, (size_t)(rows ? rows : 1) * sizeof *all);
	if (!all)
		return no_room();
	for (int i = 0; i < rows; i++) {
		struct ckpt_sends *of = &out[pg_get_i64(r, i, 0)];
		if (of->n++ == 0)
			of->v = &all[i];
		all[i] = (struct ckpt_pending){.task_id = pg_get_str(r, i, 1),
					       .task_path = pg_get_str(r, i, 2),
					       .idx = (int32_t)pg_get_i64(r, i, 3),
					       .channel = pg_get_str(r, i, 4),
					       .type = pg_get_str(r, i, 5),
					       .bytes = pg_get_str(r, i, 6)};
		TRY(keep_write(a, &all[i]));
	}
	return OK;
}

enum err pg_ckpt_sends(struct store *s, struct arena *a, const struct principal *who, struct str thread, struct ckpt_sends *out,
		       size_t n)
{
	struct pg_tenant *t;
	struct pg_params p;
	PGresult *r;
	for (size_t i = 0; i < n; i++)
		out[i].n = 0;
	TRY(pg_ckpt_open(s, who, RIGHT_READ, false, &t));
	if (!t || pg_ckpt_unknown(thread) || pg_ckpt_unknown(who->user))
		return OK;
	pg_params_init(&p);
	pg_text(&p, thread);
	pg_array(&p, PG_TEXTS, n);
	for (size_t i = 0; i < n; i++)
		pg_el_str(&p, pg_ckpt_unknown(out[i].id) ? STR("") : out[i].id);
	pg_array_end(&p);
	pg_owners(&p, who);
	TRY(pg_query(t, &pg_ckpt_old_sends, &p, &r));
	enum err e = take_sends(a, r, out, n);
	PQclear(r);
	return e;
}

enum err pg_ckpt_by_run(struct store *s, const struct principal *who, const struct str *ids, size_t n, ckpt_fn fn, void *ctx)
{
	struct pg_tenant *t;
	struct pg_params p;
	PGresult *r;
	TRY(pg_ckpt_open(s, who, RIGHT_READ, false, &t));
	if (!t || n == 0 || pg_ckpt_unknown(who->user))
		return OK;
	TRY(pg_ckpt_names(ids, n));
	pg_params_init(&p);
	pg_array(&p, PG_TEXTS, n);
	for (size_t i = 0; i < n; i++)
		pg_el_str(&p, ids[i]);
	pg_array_end(&p);
	pg_owners(&p, who);
	TRY(pg_query(t, &st_by_run, &p, &r));
	for (int i = 0; i < PQntuples(r); i++) {
		struct ckpt c = {.thread = pg_get_str(r, i, 0), .ns = pg_get_str(r, i, 1), .id = pg_get_str(r, i, 2)};
		if (!fn(ctx, &c))
			break;
	}
	PQclear(r);
	return OK;
}

enum err pg_ckpt_storage(struct store *s, struct arena *a, const struct principal *who, struct str thread, struct ckpt_storage *out)
{
	struct pg_tenant *t;
	struct pg_params p;
	PGresult *r;
	enum err e = OK;
	*out = (struct ckpt_storage){0};
	TRY(pg_ckpt_open(s, who, RIGHT_READ, false, &t));
	if (!t || pg_ckpt_unknown(thread) || pg_ckpt_unknown(who->user))
		return OK;
	pg_params_init(&p);
	pg_text(&p, thread);
	pg_owners(&p, who);
	TRY(pg_query(t, &st_storage, &p, &r));
	out->checkpoints = pg_get_i64(r, 0, 0);
	out->checkpoint_bytes = pg_get_i64(r, 0, 1);
	out->writes = pg_get_i64(r, 0, 2);
	out->write_bytes = pg_get_i64(r, 0, 3);
	int n = pg_is_null(r, 0, 4) ? 0 : PQntuples(r);
	out->channels = arena_alloc(a, (size_t)(n ? n : 1) * sizeof *out->channels);
	if (!out->channels)
		e = no_room();
	for (int i = 0; i < n && e == OK; i++) {
		struct ckpt_channel_size *c = &out->channels[out->channels_n++];
		*c = (struct ckpt_channel_size){pg_get_str(r, i, 4), pg_get_i64(r, i, 5), pg_get_i64(r, i, 6)};
		out->values += c->versions;
		out->value_bytes += c->bytes;
		e = keep(a, &c->channel);
	}
	PQclear(r);
	return e;
}
