/* Reading checkpoints of the compact layout: one, and the values of some. */
#include "store/postgres/compact.h"

#include "rt/work.h"

enum err compact_open(struct store *s, const struct principal *who, unsigned right, bool create, struct pg_tenant **t)
{
	TRY(pg_tenant_get(pg_of(s), who, right, create, t));
	if (*t && pg_ckpt_unknown(who->user))
		*t = NULL;
	return OK;
}

enum err compact_row_read(struct arena *a, const PGresult *r, int row, struct compact_row *out)
{
	struct str body = pg_get_str(r, row, C_BODY);
	*out = (struct compact_row){
		.scope = pg_get_i64(r, row, C_SCOPE),
		.xmin = pg_get_i64(r, row, C_XMIN),
		.row_bytes = body.n + (size_t)PQgetlength(r, row, C_CID),
		.c = {.thread = arena_str(a, pg_get_str(r, row, C_THREAD)),
		      .ns = arena_str(a, pg_get_str(r, row, C_NS)),
		      .id = arena_str(a, pg_get_str(r, row, C_CID)),
		      .parent = arena_str(a, pg_get_str(r, row, C_PARENT))},
	};
	if (!out->c.thread.p || !out->c.ns.p || !out->c.id.p || !out->c.parent.p)
		return E_NOMEM;
	out->c.bytes = out->row_bytes;
	TRY(pack_unbody(a, body, &out->c.checkpoint, &out->c.metadata));
	return compact_pending_read(a, r, row, C_WRITES, &out->c.writes, &out->c.writes_n, &out->c.bytes);
}

/* ---------------------------------------------------------------- values */

/* $1 scope, $2 channel, $3 version; $4 scope, $5 id, $6 xmin of the rows that refer to them: those that are there no more have
 * negative numbers. */
static const struct pg_stmt st_values = {
	ST_COMPACT_VALUES, LANE_POINT, "compact_values",
	"SELECT x.ord, v.type, v.data, v.chunks FROM unnest((SELECT $1::bigint[]), (SELECT $2::text[]), (SELECT $3::bytea[])) WITH "
	"ORDINALITY AS x(scope, "
	"channel,"
	" version, ord) CROSS JOIN LATERAL (SELECT s.id FROM @cenote_stream s WHERE s.scope = x.scope AND s.channel = x.channel "
	"LIMIT 1) s"
	" CROSS JOIN LATERAL (SELECT v.type, v.data, CASE WHEN v.runs IS NOT NULL THEN " COMPACT_CHUNKS(
		"s.id",
		"v.runs") " END AS chunks FROM @cenote_version v WHERE v.stream = s.id AND v.version = x.version LIMIT 1) v"
			  " WHERE v.type <> " COMPACT_EMPTY " UNION ALL SELECT -x.ord, NULL, NULL, NULL FROM unnest((SELECT "
			  "$4::bigint[]), (SELECT $5::text[]), (SELECT $6::bigint[])) WITH"
			  " ORDINALITY AS x(scope, cid, xmin, ord) WHERE NOT EXISTS (SELECT FROM @cenote_checkpoint c WHERE "
			  "c.scope ="
			  " x.scope AND c.cid = x.cid AND c.xmin::text::bigint = x.xmin)"};
enum { V_ORD, V_TYPE, V_DATA, V_CHUNKS };

struct wanted {
	size_t row;
	struct compact_chan c;
};
struct filling {
	struct arena *a;
	struct compact_row *v;
	size_t n;
	const struct str *only;
	size_t only_n;
	struct wanted *w;
	size_t w_n, w_cap;
	const PGresult *r;
	size_t bytes;
};

static bool among(struct str channel, const struct str *only, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (str_eq(only[i], channel))
			return true;
	return n == 0;
}

static enum err want_row(struct filling *f, size_t row)
{
	struct compact_chan *c;
	size_t n;
	TRY(compact_channels(f->a, f->v[row].c.checkpoint, &c, &n));
	f->v[row].c.values = ARENA_ARRAY(f->a, struct ckpt_value, n + 1);
	f->v[row].c.values_n = 0;
	if (!f->v[row].c.values)
		return E_NOMEM;
	for (size_t i = 0; i < n; i++) {
		if (!among(c[i].channel, f->only, f->only_n) || pg_ckpt_unknown(c[i].channel))
			continue;
		if (f->w_n == f->w_cap) {
			size_t cap = f->w_cap ? f->w_cap * 2 : 32;
			f->w = arena_grow(f->a, f->w, f->w_cap * sizeof *f->w, cap * sizeof *f->w);
			if (!f->w)
				return E_NOMEM;
			f->w_cap = cap;
		}
		f->w[f->w_n++] = (struct wanted){row, c[i]};
	}
	return OK;
}

static enum err lost(void)
{
	return err_set(E_CORRUPT, "a channel's value in the compact layout is damaged");
}

static enum err put_together(struct filling *f, int row, struct str *out)
{
	struct str data = pg_get_str(f->r, row, V_DATA), ends, chunk;
	struct pg_array chunks;
	struct buf b;
	uint64_t size;
	if (pg_is_null(f->r, row, V_CHUNKS))
		return pack_expand(f->a, data, PACK_ROOM, out);
	const uint8_t *p = (const uint8_t *)data.p, *end = p + data.n;
	if (!varint_get(&p, end, &size) || size > PACK_ROOM)
		return lost();
	TRY(pack_expand(f->a, str_of((const char *)p, (size_t)(end - p)), PACK_ROOM, &ends));
	if (ends.n < 16 || ends.n > size)
		return lost();
	buf_init(&b, f->a, size + 64);
	if (!buf_room(&b, size + 1))
		return b.err;
	buf_str(&b, str_sub(ends, 0, 16)); /* the first chunk, whose length is fixed (pack.h) */
	pg_get_array(f->r, row, V_CHUNKS, &chunks);
	while (pg_next_str(&chunks, &chunk))
		TRY(pack_expand_to(&b, chunk, size - b.n));
	if (b.n + ends.n - 16 != size)
		return lost();
	buf_str(&b, str_sub(ends, 16, ends.n));
	*out = buf_slice(&b);
	return b.err;
}

static int by_channel(const void *a, const void *b)
{
	return str_cmp(((const struct ckpt_value *)a)->channel, ((const struct ckpt_value *)b)->channel);
}

static enum err take_values(void *arg)
{
	struct filling *f = arg;
	for (int i = 0; i < PQntuples(f->r); i++) {
		int64_t ord = pg_get_i64(f->r, i, V_ORD);
		if (ord < 0) {
			f->v[-ord - 1].gone = true;
			continue;
		}
		const struct wanted *w = &f->w[ord - 1];
		struct compact_row *row = &f->v[w->row];
		struct ckpt_value *v = &row->c.values[row->c.values_n];
		*v = (struct ckpt_value){.channel = w->c.channel,
					 .version = w->c.text,
					 .type = arena_str(f->a, compact_type_text(pg_get_str(f->r, i, V_TYPE)))};
		if (!v->type.p)
			return E_NOMEM;
		TRY(put_together(f, i, &v->bytes));
		f->bytes += v->bytes.n;
		row->c.values_n++;
	}
	for (size_t i = 0; i < f->n; i++)
		if (f->v[i].c.values_n > 1)
			qsort(f->v[i].c.values, f->v[i].c.values_n, sizeof *f->v[i].c.values, by_channel);
	return OK;
}

static void values_params(struct pg_params *p, const struct filling *f)
{
	pg_params_init(p);
	pg_array(p, PG_INT8S, f->w_n);
	for (size_t i = 0; i < f->w_n; i++)
		pg_el_i64(p, f->v[f->w[i].row].scope);
	pg_array_end(p);
	for (unsigned version = 0; version < 2; version++) {
		pg_array(p, version ? PG_BYTEAS : PG_TEXTS, f->w_n);
		for (size_t i = 0; i < f->w_n; i++)
			pg_el_str(p, version ? f->w[i].c.version : f->w[i].c.channel);
		pg_array_end(p);
	}
	pg_array(p, PG_INT8S, f->n);
	for (size_t i = 0; i < f->n; i++)
		pg_el_i64(p, f->v[i].scope);
	pg_array_end(p);
	pg_array(p, PG_TEXTS, f->n);
	for (size_t i = 0; i < f->n; i++)
		pg_el_str(p, f->v[i].c.id);
	pg_array_end(p);
	pg_array(p, PG_INT8S, f->n);
	for (size_t i = 0; i < f->n; i++)
		pg_el_i64(p, f->v[i].xmin);
	pg_array_end(p);
}

static enum err fill(struct pg_tenant *t, struct filling *f)
{
	struct pg_params p;
	PGresult *r;
	size_t bytes = 0;
	f->w_n = 0;
	for (size_t i = 0; i < f->n; i++)
		TRY(want_row(f, i));
	values_params(&p, f);
	TRY(pg_query(t, &st_values, &p, &r));
	f->r = r;
	for (int i = 0; i < PQntuples(r); i++)
		bytes += (size_t)PQgetlength(r, i, V_CHUNKS) + (size_t)PQgetlength(r, i, V_DATA);
	enum err e = bytes > COMPACT_POOL_BYTES ? work_run(take_values, f) : take_values(f);
	PQclear(r);
	return e;
}

/* ---------------------------------------------------------------- rows again */

/* $1 scope, $2 id, $3 with writes. */
static const struct pg_stmt st_again = {
	ST_COMPACT_AGAIN, LANE_POINT, "compact_again",
	"SELECT " COMPACT_COLUMNS(
		"$3::bool") " FROM @cenote_checkpoint c JOIN @cenote_checkpoint_ns n ON n.id ="
			    " c.scope JOIN @cenote_thread t ON t.id = n.thread WHERE c.scope = $1::bigint AND c.cid = $2::text"};

static enum err row_again(struct pg_tenant *t, struct arena *a, struct compact_row *row, unsigned want)
{
	struct pg_params p;
	PGresult *r;
	pg_params_init(&p);
	pg_i64(&p, row->scope);
	pg_text(&p, row->c.id);
	pg_bool(&p, want & (CK_WRITES_TOO | CK_SIZES));
	TRY(pg_query(t, &st_again, &p, &r));
	enum err e = OK;
	row->gone = PQntuples(r) == 0;
	if (!row->gone)
		e = compact_row_read(a, r, 0, row);
	PQclear(r);
	return e;
}

enum err compact_values(struct pg_tenant *t, struct arena *a, struct compact_row *v, size_t n, unsigned want,
			const struct str *only, size_t only_n, size_t *bytes)
{
	struct filling f = {.a = a, .v = v, .n = n, .only = only, .only_n = only_n};
	if (n == 0)
		return OK;
	TRY(fill(t, &f));
	for (size_t i = 0; i < n; i++) {
		for (unsigned k = 0; k < COMPACT_TRIES && v[i].gone; k++) {
			struct filling one = {.a = a, .v = &v[i], .n = 1, .only = only, .only_n = only_n};
			TRY(row_again(t, a, &v[i], want));
			if (v[i].gone)
				break;
			TRY(fill(t, &one));
		}
	}
	if (bytes)
		*bytes += f.bytes;
	return OK;
}

/* ---------------------------------------------------------------- get */

/* $1 thread, $2 ns, $3 owners, $4 with writes, $5 id. */
#define GET(where)                                                                                                                 \
	"SELECT " COMPACT_COLUMNS(                                                                                                 \
		"$4::bool") " FROM @cenote_thread t JOIN @cenote_checkpoint_ns n ON n.thread = t.id AND n.ns = $2::text"           \
			    " CROSS JOIN LATERAL (SELECT c.xmin, c.* FROM @cenote_checkpoint c WHERE c.scope = n.id" where         \
			    " ORDER BY c.cid DESC LIMIT 1) c WHERE t.thread = $1::text AND " COMPACT_SEEN(3)
static const struct pg_stmt st_latest = {ST_COMPACT_LATEST, LANE_POINT, "compact_latest", GET("")};
static const struct pg_stmt st_by_id = {ST_COMPACT_BY_ID, LANE_POINT, "compact_by_id", GET(" AND c.cid = $5::text")};

enum err compact_get_row(struct pg_tenant *t, struct arena *a, const struct principal *who, const struct ckpt_query *q,
			 struct compact_row *out, bool *found)
{
	struct pg_params p;
	PGresult *r;
	enum err e = OK;
	pg_params_init(&p);
	pg_text(&p, q->thread);
	pg_text(&p, q->ns);
	pg_owners(&p, who);
	pg_bool(&p, q->want & (CK_WRITES_TOO | CK_SIZES));
	if (q->id.n)
		pg_text(&p, q->id);
	TRY(pg_query(t, q->id.n ? &st_by_id : &st_latest, &p, &r));
	*found = PQntuples(r) > 0;
	if (*found)
		e = compact_row_read(a, r, 0, out);
	PQclear(r);
	return e;
}

enum err compact_get(struct store *s, struct arena *a, const struct principal *who, const struct ckpt_query *q, struct ckpt *out,
		     bool *found)
{
	struct pg_tenant *t;
	struct compact_row row;
	*found = false;
	TRY(compact_open(s, who, RIGHT_READ, false, &t));
	if (!t || pg_ckpt_unknown(q->thread) || pg_ckpt_unknown(q->ns) || pg_ckpt_unknown(q->id))
		return OK;
	for (unsigned i = 0; i < COMPACT_TRIES; i++) {
		TRY(compact_get_row(t, a, who, q, &row, found));
		if (!*found)
			return OK;
		if (q->want & CK_VALUES)
			TRY(compact_values(t, a, &row, 1, q->want, q->channels, q->channels_n, NULL));
		if (!row.gone) /* else, without an id, another is the latest now */
			break;
		*found = false;
		if (q->id.n)
			return OK;
	}
	if (*found && (q->want & CK_SIZES))
		TRY(compact_sizes(t, &row, 1));
	*out = row.c;
	if (!(q->want & CK_WRITES_TOO))
		out->writes_n = 0;
	return OK;
}

/* ---------------------------------------------------------------- others */

static const struct pg_stmt st_sends = {
	ST_COMPACT_SENDS, LANE_POINT, "compact_sends",
	"SELECT x.ord, " COMPACT_WRITES(
		"n.id",
		"x.cid") " FROM @cenote_thread t JOIN @cenote_checkpoint_ns n ON n.thread = t.id CROSS JOIN"
			 " unnest((SELECT $2::text[])) WITH ORDINALITY AS x(cid, ord) WHERE t.thread = $1::text AND " COMPACT_SEEN(
				 3)};

/* Those of the writes that are sends. */
static enum err add_sends(struct arena *a, struct ckpt_sends *x, const struct ckpt_pending *w, size_t n)
{
	struct ckpt_pending *v = arena_grow(a, x->v, x->n * sizeof *v, (x->n + n) * sizeof *v);
	if (!v)
		return E_NOMEM;
	x->v = v;
	for (size_t i = 0; i < n; i++)
		if (str_eq(w[i].channel, STR("__pregel_tasks")))
			x->v[x->n++] = w[i];
	return OK;
}

enum err compact_sends(struct store *s, struct arena *a, const struct principal *who, struct str thread, struct ckpt_sends *out,
		       size_t n)
{
	struct pg_tenant *t;
	struct pg_params p;
	PGresult *r;
	enum err e = OK;
	for (size_t i = 0; i < n; i++)
		out[i] = (struct ckpt_sends){.id = out[i].id};
	TRY(compact_open(s, who, RIGHT_READ, false, &t));
	if (!t || n == 0 || pg_ckpt_unknown(thread))
		return OK;
	pg_params_init(&p);
	pg_text(&p, thread);
	pg_array(&p, PG_TEXTS, n);
	for (size_t i = 0; i < n; i++)
		pg_el_str(&p, pg_ckpt_unknown(out[i].id) ? STR("") : out[i].id);
	pg_array_end(&p);
	pg_owners(&p, who);
	TRY(pg_query(t, &st_sends, &p, &r));
	for (int i = 0; i < PQntuples(r) && e == OK; i++) {
		struct ckpt_pending *w;
		size_t k;
		e = compact_pending_read(a, r, i, 1, &w, &k, NULL);
		if (e == OK && k)
			e = add_sends(a, &out[pg_get_i64(r, i, 0) - 1], w, k);
	}
	PQclear(r);
	for (size_t i = 0; i < n; i++)
		pack_pending_sort(out[i].v, out[i].n);
	return e;
}

static const struct pg_stmt st_by_run = {
	ST_COMPACT_BY_RUN, LANE_SEARCH, "compact_by_run",
	"SELECT t.thread, n.ns, c.cid FROM @cenote_checkpoint c JOIN @cenote_checkpoint_ns n ON n.id = c.scope JOIN @cenote_thread "
	"t ON"
	" t.id = n.thread WHERE c.run = ANY($1::bytea[]) AND " COMPACT_SEEN(2) " ORDER BY t.thread, n.ns, c.cid"};

enum err compact_by_run(struct store *s, const struct principal *who, const struct str *ids, size_t n, ckpt_fn fn, void *ctx)
{
	struct pg_tenant *t;
	struct pg_params p;
	struct arena a;
	PGresult *r;
	TRY(compact_open(s, who, RIGHT_READ, false, &t));
	if (!t || n == 0)
		return OK;
	arena_init(&a, 64u << 20);
	pg_params_init(&p);
	pg_array(&p, PG_BYTEAS, n);
	for (size_t i = 0; i < n; i++) {
		struct str run = compact_uuid(&a, ids[i]);
		pg_el_str(&p, run.p ? run : STR(""));
	}
	pg_array_end(&p);
	pg_owners(&p, who);
	arena_release(&a);
	TRY(pg_query(t, &st_by_run, &p, &r));
	for (int i = 0; i < PQntuples(r); i++) {
		struct ckpt c = {.thread = pg_get_str(r, i, 0), .ns = pg_get_str(r, i, 1), .id = pg_get_str(r, i, 2)};
		if (!fn(ctx, &c))
			break;
	}
	PQclear(r);
	return OK;
}
