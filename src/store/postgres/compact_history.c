/* What rebuilds delta channels in the compact layout: ancestors are read some at a time, until every channel has its seed. The
 * namespace must not have changed meanwhile (rev); else it is read again. */
#include "store/postgres/compact.h"

#include "rt/work.h"

#define STEP_FIRST 16
#define STEP_MAX 256

/* $1 scope, $2 id, $3 how many: the checkpoint, then its ancestors. */
static const struct pg_stmt st_line = {
	ST_COMPACT_LINE, LANE_SEARCH, "compact_line",
	"WITH RECURSIVE w AS (SELECT c.cid, c.parent, c.body, c.xmin::text::bigint AS xmin, 1 AS depth FROM @cenote_checkpoint c "
	"WHERE c.scope"
	" = $1::bigint AND c.cid = $2::text UNION ALL SELECT p.cid, p.parent, p.body, p.xmin, w.depth + 1 FROM w CROSS JOIN "
	"LATERAL (SELECT"
	" c.cid, c.parent, c.body, c.xmin::text::bigint AS xmin FROM @cenote_checkpoint c WHERE c.scope = $1::bigint AND c.cid = "
	"w.parent"
	" LIMIT 1) p WHERE w.depth < $3::int) SELECT t.thread, n.ns, w.cid, w.parent, w.body, n.id, w.xmin, " COMPACT_WRITES(
		"n.id",
		"w.cid") ", n.rev FROM w JOIN @cenote_checkpoint_ns n ON n.id = $1::bigint JOIN @cenote_thread t ON t.id = n.thread"
			 " ORDER BY w.depth"};

/* Writes of one channel under one ancestor; the ancestor read next is older. */
struct piece {
	struct piece *older;
	const struct ckpt_pending *w;
	size_t n;
};
struct walk {
	struct pg_tenant *t;
	struct arena *a;
	struct ckpt_history *out;
	struct piece **oldest;
	size_t *sum;
	size_t n, open;
	struct map seen;
	int64_t rev;
	bool moved;
	const PGresult *r;
	struct compact_row *rows;
	size_t rows_n;
};

static enum err take_writes(struct walk *x, size_t i, const struct ckpt *c)
{
	struct ckpt_pending *w = NULL;
	size_t k = 0;
	for (size_t j = 0; j < c->writes_n; j++)
		k += str_eq(c->writes[j].channel, x->out[i].channel);
	if (!k)
		return OK;
	struct piece *p = ARENA_NEW(x->a, struct piece);
	if (!p || !(w = ARENA_ARRAY(x->a, struct ckpt_pending, k)))
		return E_NOMEM;
	for (size_t j = 0; j < c->writes_n; j++)
		if (str_eq(c->writes[j].channel, x->out[i].channel))
			w[p->n++] = c->writes[j];
	p->w = w;
	p->older = x->oldest[i];
	x->oldest[i] = p;
	x->sum[i] += k;
	return OK;
}

/* A stored value beats an inline one. The row has the values of all channels that were open. */
static void take_seed(struct walk *x, size_t i, const struct ckpt *c, struct jval values)
{
	struct ckpt_history *h = &x->out[i];
	for (size_t k = 0; k < c->values_n && !h->seeded; k++)
		if (str_eq(c->values[k].channel, h->channel)) {
			h->seed = c->values[k];
			h->seeded = true;
		}
	struct jval v = !h->seeded && j_is(values, JSON_OBJECT) ? j_get(values, h->channel) : (struct jval){0};
	if (j_ok(v) && !j_null(v)) {
		h->seed = (struct ckpt_value){.channel = h->channel, .version = STR(""), .type = STR(""), .bytes = j_raw(v)};
		h->seeded = true;
	}
	x->open -= h->seeded;
}

static enum err visit(struct walk *x, struct compact_row *row)
{
	struct json *doc = ARENA_NEW(x->a, struct json);
	struct str *open = ARENA_ARRAY(x->a, struct str, x->n);
	size_t n = 0;
	if (!doc || !open)
		return E_NOMEM;
	for (size_t i = 0; i < x->n; i++)
		if (!x->out[i].seeded)
			open[n++] = x->out[i].channel;
	if (json_parse(x->a, row->c.checkpoint, &pack_json, doc) != OK)
		return err_wrap(E_CORRUPT, "a stored checkpoint");
	struct jval versions = j_get(json_root(doc), STR("channel_versions")),
		    values = j_get(json_root(doc), STR("channel_values"));
	bool any = false;
	for (size_t i = 0; i < n; i++)
		any = any || (j_is(versions, JSON_OBJECT) && j_ok(j_get(versions, open[i])));
	if (any)
		TRY(compact_values(x->t, x->a, row, 1, 0, open, n, NULL));
	x->moved = x->moved || row->gone;
	for (size_t i = 0; i < x->n; i++) {
		if (x->out[i].seeded)
			continue;
		TRY(take_writes(x, i, &row->c));
		take_seed(x, i, &row->c, values);
	}
	return OK;
}

static enum err rows_task(void *arg)
{
	struct walk *x = arg;
	x->rows_n = (size_t)PQntuples(x->r);
	x->rows = ARENA_ARRAY(x->a, struct compact_row, x->rows_n + 1);
	if (!x->rows)
		return E_NOMEM;
	for (size_t i = 0; i < x->rows_n; i++)
		TRY(compact_row_read(x->a, x->r, (int)i, &x->rows[i]));
	return OK;
}

/* The line from this checkpoint on, itself included. */
static enum err line(struct walk *x, int64_t scope, struct str id, size_t most)
{
	struct pg_params p;
	PGresult *r;
	enum err e;
	pg_params_init(&p);
	pg_i64(&p, scope);
	pg_text(&p, id);
	pg_i32(&p, (int32_t)most);
	TRY(pg_query(x->t, &st_line, &p, &r));
	x->r = r;
	CHECK(work_run(rows_task, x));
	if (x->rows_n) {
		int64_t rev = pg_get_i64(r, 0, C_COLUMNS);
		x->moved = x->moved || (x->rev && rev != x->rev);
		x->rev = rev;
	}
out:
	PQclear(r);
	return e;
}

static enum err follow(struct walk *x, int64_t scope, struct str id)
{
	size_t most = STEP_FIRST;
	bool first = true;
	while (id.n && x->open && !x->moved) {
		TRY(line(x, scope, id, most));
		id = STR("");
		for (size_t i = 0; i < x->rows_n && x->open; i++) {
			struct str name = x->rows[i].c.id;
			if (map_get(&x->seen, name))
				return OK; /* parents form a loop */
			TRY(map_put(&x->seen, name, x, NULL));
			if (!first)
				TRY(visit(x, &x->rows[i]));
			first = false;
			id = x->rows[i].c.parent;
		}
		if (x->rows_n < most)
			break;
		most = most * 2 < STEP_MAX ? most * 2 : STEP_MAX;
	}
	return OK;
}

static enum err gather(struct walk *x)
{
	for (size_t i = 0; i < x->n; i++) {
		struct ckpt_history *h = &x->out[i];
		h->writes = ARENA_ARRAY(x->a, struct ckpt_pending, x->sum[i] + 1);
		if (!h->writes)
			return E_NOMEM;
		for (const struct piece *p = x->oldest[i]; p; p = p->older) {
			memcpy(h->writes + h->writes_n, p->w, p->n * sizeof *p->w);
			h->writes_n += p->n;
		}
	}
	return OK;
}

static enum err once(struct walk *x, int64_t scope, struct str id)
{
	for (size_t i = 0; i < x->n; i++)
		x->out[i] = (struct ckpt_history){.channel = x->out[i].channel};
	x->oldest = arena_zalloc(x->a, (x->n + 1) * sizeof *x->oldest);
	x->sum = arena_zalloc(x->a, (x->n + 1) * sizeof *x->sum);
	if (!x->oldest || !x->sum)
		return E_NOMEM;
	x->open = x->n;
	x->rev = 0;
	x->moved = false;
	map_init(&x->seen);
	enum err e = follow(x, scope, id);
	map_release(&x->seen);
	/* the last look, so that all of it was of one rev */
	if (e == OK && x->rev && !x->moved)
		e = line(x, scope, id, 1);
	return e == OK && !x->moved ? gather(x) : e;
}

enum err compact_history(struct store *s, struct arena *a, const struct principal *who, const struct ckpt_query *q,
			 struct ckpt_history *out, size_t n)
{
	struct walk x = {.a = a, .out = out, .n = n};
	struct ckpt_query head = {.thread = q->thread, .ns = q->ns, .id = q->id};
	struct compact_row row;
	bool found;
	for (size_t i = 0; i < n; i++)
		out[i] = (struct ckpt_history){.channel = out[i].channel};
	TRY(compact_open(s, who, RIGHT_READ, false, &x.t));
	if (!x.t || n == 0 || pg_ckpt_unknown(q->thread) || pg_ckpt_unknown(q->ns) || pg_ckpt_unknown(q->id))
		return OK;
	for (unsigned i = 0; i < COMPACT_TRIES; i++) {
		TRY(compact_get_row(x.t, a, who, &head, &row, &found));
		if (!found)
			return OK;
		TRY(once(&x, row.scope, row.c.id));
		if (!x.moved)
			return OK;
	}
	return err_set(E_BUSY, "the thread is written to all the time, its history cannot be read; try again");
}
