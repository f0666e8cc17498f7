/* What checkpoints take in the compact layout: of one what it does not share with its parent, of a thread by channel. */
#include "store/postgres/compact.h"

#include "rt/work.h"

/* $1 scope, $2 id. */
static const struct pg_stmt st_bodies = {
	ST_COMPACT_BODIES, LANE_SEARCH, "compact_bodies",
	"SELECT x.ord, c.body FROM unnest($1::bigint[], $2::text[]) WITH ORDINALITY AS x(scope, cid, ord)"
	" JOIN @cenote_checkpoint c ON c.scope = x.scope AND c.cid = x.cid"};
/* $1 which, $2 scope, $3 channel, $4 version, $5 the parent's (NULL: none). */
static const struct pg_stmt st_own = {
	ST_COMPACT_OWN, LANE_SEARCH, "compact_own",
	"SELECT x.which, sum(octet_length(v.data) + coalesce((SELECT sum(octet_length(k.data)) FROM (SELECT DISTINCT k.id, k.data "
	"FROM"
	" generate_series(1, cardinality(v.runs), 2) i CROSS JOIN LATERAL (SELECT k.id, k.data FROM @cenote_chunk k WHERE k.id "
	"BETWEEN"
	" (s.id << 28) + v.runs[i] AND (s.id << 28) + v.runs[i + 1] OFFSET 0) k WHERE v.runs IS NOT NULL) k WHERE NOT EXISTS "
	"(SELECT FROM"
	" generate_series(1, cardinality(o.runs), 2) j WHERE o.runs IS NOT NULL AND k.id - (s.id << 28) BETWEEN o.runs[j] AND"
	" o.runs[j + 1])), 0))::bigint FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bytea[], $5::bytea[]) AS x(which, "
	"scope,"
	" channel, version, other) JOIN @cenote_stream s ON s.scope = x.scope AND s.channel = x.channel JOIN @cenote_version v ON "
	"v.stream"
	" = s.id AND v.version = x.version LEFT JOIN @cenote_version o ON o.stream = s.id AND o.version = x.other GROUP BY "
	"x.which"};

struct own {
	size_t row;
	struct str channel, version, other;
};
struct sizing {
	struct arena a;
	struct compact_row *v;
	size_t n;
	const PGresult *parents;
	struct own *w;
	size_t w_n, cap;
};

static enum err parent_of(struct sizing *x, size_t row, struct compact_chan **out, size_t *n)
{
	struct str checkpoint, metadata;
	*n = 0;
	for (int i = 0; i < PQntuples(x->parents); i++) {
		if (pg_get_i64(x->parents, i, 0) != (int64_t)row + 1)
			continue;
		TRY(pack_unbody(&x->a, pg_get_str(x->parents, i, 1), &checkpoint, &metadata));
		return compact_channels(&x->a, checkpoint, out, n);
	}
	return OK;
}

static enum err own_task(void *arg)
{
	struct sizing *x = arg;
	struct compact_chan *mine, *its = NULL;
	size_t n, its_n;
	for (size_t row = 0; row < x->n; row++) {
		if (x->v[row].gone)
			continue;
		TRY(compact_channels(&x->a, x->v[row].c.checkpoint, &mine, &n));
		TRY(parent_of(x, row, &its, &its_n));
		for (size_t i = 0; i < n; i++) {
			struct own w = {row, mine[i].channel, mine[i].version, {0}};
			for (size_t k = 0; k < its_n; k++)
				if (str_eq(its[k].channel, w.channel))
					w.other = its[k].version;
			if (str_eq(w.other, w.version) || pg_ckpt_unknown(w.channel))
				continue;
			if (x->w_n == x->cap) {
				size_t cap = x->cap ? x->cap * 2 : 32;
				x->w = arena_grow(&x->a, x->w, x->cap * sizeof *x->w, cap * sizeof *x->w);
				if (!x->w)
					return E_NOMEM;
				x->cap = cap;
			}
			x->w[x->w_n++] = w;
		}
	}
	return OK;
}

static void own_params(struct pg_params *p, const struct sizing *x)
{
	pg_params_init(p);
	for (unsigned scope = 0; scope < 2; scope++) {
		pg_array(p, PG_INT8S, x->w_n);
		for (size_t i = 0; i < x->w_n; i++)
			pg_el_i64(p, scope ? x->v[x->w[i].row].scope : (int64_t)x->w[i].row);
		pg_array_end(p);
	}
	pg_array(p, PG_TEXTS, x->w_n);
	for (size_t i = 0; i < x->w_n; i++)
		pg_el_str(p, x->w[i].channel);
	pg_array_end(p);
	for (unsigned other = 0; other < 2; other++) {
		pg_array(p, PG_BYTEAS, x->w_n);
		for (size_t i = 0; i < x->w_n; i++)
			if (other && !x->w[i].other.p)
				pg_el_null(p);
			else
				pg_el_str(p, other ? x->w[i].other : x->w[i].version);
		pg_array_end(p);
	}
}

static enum err own_sums(struct pg_tenant *t, struct sizing *x)
{
	struct pg_params p;
	PGresult *r;
	own_params(&p, x);
	TRY(pg_query(t, &st_own, &p, &r));
	for (int i = 0; i < PQntuples(r); i++)
		x->v[pg_get_i64(r, i, 0)].c.bytes += (size_t)pg_get_i64(r, i, 1);
	PQclear(r);
	return OK;
}

enum err compact_sizes(struct pg_tenant *t, struct compact_row *v, size_t n)
{
	struct sizing x = {.v = v, .n = n};
	struct pg_params p;
	PGresult *r;
	if (n == 0)
		return OK;
	pg_params_init(&p);
	pg_array(&p, PG_INT8S, n);
	for (size_t i = 0; i < n; i++)
		pg_el_i64(&p, v[i].scope);
	pg_array_end(&p);
	pg_array(&p, PG_TEXTS, n);
	for (size_t i = 0; i < n; i++)
		pg_el_str(&p, v[i].c.parent);
	pg_array_end(&p);
	TRY(pg_query(t, &st_bodies, &p, &r));
	x.parents = r;
	arena_init(&x.a, PACK_ROOM);
	enum err e = n > 4 ? work_run(own_task, &x) : own_task(&x);
	if (e == OK && x.w_n)
		e = own_sums(t, &x);
	arena_release(&x.a);
	PQclear(r);
	return e;
}

/* ---------------------------------------------------------------- a thread */

/* $1 thread, $2 owners. Kinds: 0 checkpoints, 1 a channel, 2 writes of a task. */
#define SCOPES                                                                                                                     \
	"n AS MATERIALIZED (SELECT n.id FROM @cenote_thread t JOIN @cenote_checkpoint_ns n ON n.thread = t.id WHERE t.thread = "   \
	"$1::text"                                                                                                                 \
	" AND " COMPACT_SEEN(2) ")"
static const struct pg_stmt st_storage = {
	ST_COMPACT_STORAGE, LANE_SEARCH, "compact_storage",
	"WITH " SCOPES
	" SELECT 0 AS kind, ''::text AS name, count(*) AS n, coalesce(sum(octet_length(c.body) + octet_length(c.cid)),"
	" 0)::bigint AS bytes, NULL::bytea AS data FROM n JOIN @cenote_checkpoint c ON c.scope = n.id"
	" UNION ALL (SELECT 1, s.channel::text, sum((SELECT count(*) FILTER (WHERE v.type <> " COMPACT_EMPTY
	") FROM @cenote_version v WHERE v.stream = s.id))::bigint, sum((SELECT coalesce(sum(octet_length(v.data)), 0) FROM "
	"@cenote_version v"
	" WHERE v.stream = s.id) + (SELECT coalesce(sum(octet_length(k.data)), 0) FROM @cenote_chunk k WHERE k.id BETWEEN (s.id << "
	"28) AND"
	" (s.id << 28) + 268435455))::bigint, NULL FROM n JOIN @cenote_stream s ON s.scope = n.id GROUP BY s.channel ORDER BY "
	"s.channel)"
	" UNION ALL SELECT 2, '', 0, 0, p.data FROM n JOIN @cenote_pending p ON p.scope = n.id"};

struct adding {
	const PGresult *r;
	struct arena *a;
	struct ckpt_storage *out;
};

static enum err add_writes(struct ckpt_storage *out, struct str data)
{
	struct ckpt_pending *w = NULL;
	struct arena a;
	size_t n = 0;
	arena_init(&a, PACK_ROOM);
	enum err e = pack_unpending(&a, data, STR(""), &w, &n);
	arena_release(&a);
	out->writes += (int64_t)n;
	out->write_bytes += (int64_t)data.n;
	return e;
}

static enum err add_task(void *arg)
{
	const struct adding *x = arg;
	struct ckpt_storage *o = x->out;
	o->channels = ARENA_ARRAY(x->a, struct ckpt_channel_size, (size_t)PQntuples(x->r) + 1);
	if (!o->channels)
		return E_NOMEM;
	for (int i = 0; i < PQntuples(x->r); i++) {
		int64_t kind = pg_get_i64(x->r, i, 0), n = pg_get_i64(x->r, i, 2), bytes = pg_get_i64(x->r, i, 3);
		if (kind == 0) {
			o->checkpoints = n;
			o->checkpoint_bytes = bytes;
		} else if (kind == 2) {
			TRY(add_writes(o, pg_get_str(x->r, i, 4)));
		} else if (n > 0) {
			struct ckpt_channel_size *c = &o->channels[o->channels_n++];
			*c = (struct ckpt_channel_size){arena_str(x->a, pg_get_str(x->r, i, 1)), n, bytes};
			if (!c->channel.p)
				return E_NOMEM;
			o->values += n;
			o->value_bytes += bytes;
		}
	}
	return OK;
}

enum err compact_storage(struct store *s, struct arena *a, const struct principal *who, struct str thread, struct ckpt_storage *out)
{
	struct adding x = {.a = a, .out = out};
	struct pg_tenant *t;
	struct pg_params p;
	PGresult *r;
	*out = (struct ckpt_storage){0};
	TRY(compact_open(s, who, RIGHT_READ, false, &t));
	if (!t || pg_ckpt_unknown(thread))
		return OK;
	pg_params_init(&p);
	pg_text(&p, thread);
	pg_owners(&p, who);
	TRY(pg_query(t, &st_storage, &p, &r));
	x.r = r;
	enum err e = work_run(add_task, &x);
	PQclear(r);
	return e;
}
