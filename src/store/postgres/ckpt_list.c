/* Listing checkpoints, newest first, in pages. A page is one statement: the rows first, by index where a thread is given, then the
 * values that these rows refer to, each once whatever number of rows does, and their writes.
 *
 * Invariants
 *  1. A page's rows without values take about PAGE_BYTES at most, and so do its values and writes; the first row is always whole. A
 *     row that has lost a value to the limit is not given but begins the next page.
 *  2. fn is called on the loop's thread only for small pages. */
#include "store/postgres/ckpt.h"

#include "rt/work.h"

#define PAGE_FIRST 32
#define PAGE_MAX 1000
#define PAGE_BYTES "8388608"
#define DIRECT_BYTES (64u << 10) /* what the loop's thread is trusted with */

/* $1 thread, $2 ns (NULL: all), $3 owners, $4 rows, $5 id ("" : any), $6 filter (NULL: all), $7 with values, $8 with writes; with
 * an upper bound: $9 id, $10 whether rows of the same id behind ($11 thread, $12 ns) count.
 *
 * The planner has to see no difference between one list and another, or it plans each anew, which takes longer than to run it: so
 * rows come in index order from a subquery of their own, conditions come after, and what would shrink its estimate is hidden in a
 * subquery, too. */
#define UP                                                                                                                         \
	" AND c.checkpoint_id <= $9::text AND (c.checkpoint_id < $9::text OR ($10::bool AND (c.thread_id, c.checkpoint_ns) >"      \
	" ($11::text, $12::text)))"
#define WANTED "($5::text = '' OR c.checkpoint_id = $5::text) AND ($6::jsonb IS NULL OR c.metadata @> $6::jsonb)"
#define NEWEST(ns, up)                                                                                                             \
	"(SELECT " PG_CP_ROW " FROM @checkpoints c WHERE c.thread_id = $1::text AND c.checkpoint_ns = " ns up                      \
	" ORDER BY c.checkpoint_id DESC LIMIT CASE WHEN $5::text <> '' THEN 1 END) c WHERE " WANTED
#define SEEN PG_CP_SEEN("$1::text", 3)
#define SEEN_EACH PG_CP_SEEN("c.thread_id", 3)
#define ROWS " LIMIT (SELECT $4::bigint)"
#define OF_NS(up) "q AS (SELECT c.* FROM " NEWEST("$2::text", up) " AND " SEEN ROWS ")"
/* Namespaces of the thread one after the other by the primary key, of each the newest rows. */
#define OF_THREAD(up)                                                                                                              \
	"n(ns) AS ((SELECT checkpoint_ns FROM @checkpoints WHERE thread_id = $1::text ORDER BY checkpoint_ns LIMIT 1) UNION ALL"   \
	" SELECT (SELECT x.checkpoint_ns FROM @checkpoints x WHERE x.thread_id = $1::text AND x.checkpoint_ns > n.ns ORDER BY"     \
	" x.checkpoint_ns LIMIT 1) FROM n WHERE n.ns IS NOT NULL), q AS (SELECT c.* FROM n CROSS JOIN LATERAL (SELECT c.* "        \
	"FROM " NEWEST("n.ns", up) ROWS ") c WHERE n.ns IS NOT NULL AND " SEEN                                                     \
					" ORDER BY c.checkpoint_id DESC, c.checkpoint_ns" ROWS ")"
#define OF_ALL(up)                                                                                                                 \
	"q AS (SELECT " PG_CP_ROW " FROM @checkpoints c WHERE ($2::text IS NULL OR c.checkpoint_ns = $2::text) AND " WANTED up     \
	" AND " SEEN_EACH " ORDER BY c.checkpoint_id DESC, c.thread_id, c.checkpoint_ns" ROWS ")"
#define VERSIONS PG_CP_VERSIONS("c.checkpoint")
#define OLD PG_CP_OLD("c.checkpoint")
#define PAGE(rows)                                                                                                                 \
	"WITH RECURSIVE " rows ", c AS MATERIALIZED (SELECT row_number() OVER () AS ord, sum(pg_column_size(q.checkpoint) +"       \
	" pg_column_size(q.metadata)) OVER (ROWS UNBOUNDED PRECEDING) AS upto, q.* FROM q),"                                       \
	" r AS (SELECT 1 AS kind, k.first, k.ords, b.channel, b.version, b.type, NULL::text AS task, NULL::text AS path,"          \
	" NULL::int AS idx, b.blob FROM (SELECT c.thread_id, c.checkpoint_ns, v.key, v.value, min(c.ord) AS first,"                \
	" array_agg(c.ord) AS ords FROM c CROSS JOIN LATERAL " VERSIONS " v WHERE (SELECT $7::bool) GROUP BY v.key, v.value,"      \
	" c.thread_id, c.checkpoint_ns) k CROSS JOIN LATERAL (SELECT * FROM @checkpoint_blobs b WHERE b.thread_id = k.thread_id"   \
	" AND b.checkpoint_ns = k.checkpoint_ns AND b.channel = k.key AND b.version = k.value LIMIT 1) b WHERE b.type <> 'empty'"  \
	" UNION ALL SELECT 2, c.ord, NULL, w.channel, NULL, w.type, w.task_id, w.task_path, w.idx, w.blob FROM c CROSS "           \
	"JOIN " PG_CP_PATH_ELSE                                                                                                    \
	" CROSS JOIN LATERAL (SELECT task_id, task_path, idx, channel, type, blob FROM @checkpoint_writes WHERE"                   \
	" thread_id = c.thread_id AND checkpoint_ns = c.checkpoint_ns AND checkpoint_id = c.checkpoint_id ORDER BY task_id, idx"   \
	" OFFSET 0) w WHERE (SELECT $8::bool)), s AS (SELECT r.*, r.first > 1 AND sum(octet_length(r.blob)) OVER (ORDER BY"        \
	" r.first ROWS UNBOUNDED PRECEDING) > " PAGE_BYTES " AS cut FROM r)"                                                       \
	" SELECT 0 AS kind, c.ord, NULL::bigint[], c.thread_id, c.checkpoint_ns, c.checkpoint_id, c.parent_checkpoint_id,"         \
	" NULL::text, CASE WHEN " OLD " IS FALSE THEN 1 END, NULL::bytea, c.ord > 1 AND c.upto > " PAGE_BYTES                      \
	", CASE WHEN c.ord = 1 OR c.upto <= " PAGE_BYTES " THEN c.checkpoint END, c.metadata FROM c"                               \
	" UNION ALL SELECT s.kind, s.first, s.ords, s.channel, s.version, s.type, s.task, s.path, s.idx, CASE WHEN NOT s.cut THEN" \
	" s.blob END, s.cut, NULL, NULL FROM s"
enum { L_KIND, L_ORD, L_ORDS, L_TEXT, L_VERSION, L_TYPE, L_TASK, L_PATH, L_IDX, L_BLOB, L_CUT, L_CHECKPOINT, L_METADATA };

/* By how much of the name is given, and whether there is an upper bound. */
enum { BY_NS, BY_THREAD, BY_NOTHING };
const struct pg_stmt pg_ckpt_pages[3][2] = {
	[BY_NS] = {{ST_CKPT_LIST, LANE_SEARCH, "checkpoint_list", PAGE(OF_NS(""))},
		   {ST_CKPT_LIST_UP, LANE_SEARCH, "checkpoint_list_before", PAGE(OF_NS(UP))}},
	[BY_THREAD] = {{ST_CKPT_LIST_THREAD, LANE_SEARCH, "checkpoint_list_thread", PAGE(OF_THREAD(""))},
		       {ST_CKPT_LIST_THREAD_UP, LANE_SEARCH, "checkpoint_list_thread_before", PAGE(OF_THREAD(UP))}},
	[BY_NOTHING] = {{ST_CKPT_LIST_ALL, LANE_SCAN, "checkpoint_list_all", PAGE(OF_ALL(""))},
			{ST_CKPT_LIST_ALL_UP, LANE_SCAN, "checkpoint_list_all_before", PAGE(OF_ALL(UP))}}};

struct listing {
	struct pg_tenant *t;
	const struct principal *who;
	const struct ckpt_list *q;
	ckpt_fn fn;
	void *ctx;
	struct str after_id, after_thread, after_ns; /* in last */
	PGresult *last;				     /* of the page before */
	size_t left, page, given;
	bool more;
};

static void optional(struct pg_params *p, const struct str *s)
{
	if (s)
		pg_text(p, *s);
	else
		pg_null(p, PG_TEXT);
}

static const struct pg_stmt *page_params(struct pg_params *p, const struct listing *x, size_t rows)
{
	const struct ckpt_list *q = x->q;
	bool going_on = x->after_id.n > 0, one = q->id.n > 0, up = going_on || one || q->before.n > 0;
	pg_params_init(p);
	optional(p, q->thread);
	optional(p, q->ns);
	pg_owners(p, x->who);
	pg_i64(p, (int64_t)rows);
	pg_text(p, q->id);
	if (q->filter.n)
		pg_json(p, q->filter);
	else
		pg_null(p, PG_JSONB);
	pg_bool(p, q->want & CK_VALUES);
	pg_bool(p, q->want & CK_WRITES_TOO);
	if (up) { /* what was given lies below q->before; everything lies behind the thread "" */
		pg_text(p, one ? q->id : going_on ? x->after_id : q->before);
		pg_bool(p, going_on || one);
		pg_text(p, x->after_thread);
		pg_text(p, x->after_ns);
	}
	return &pg_ckpt_pages[!q->thread ? BY_NOTHING : !q->ns ? BY_THREAD : BY_NS][up];
}

/* ---------------------------------------------------------------- a page's rows to checkpoints */

struct page {
	struct arena a;
	const PGresult *r;
	struct ckpt *v;
	size_t n;     /* rows */
	size_t whole; /* of these the first so many have all their values */
};

static size_t ord_of(const PGresult *r, int row)
{
	return (size_t)pg_get_i64(r, row, L_ORD) - 1;
}

/* How many values and writes each has, and which are cut. */
static void page_count(struct page *p)
{
	for (int i = 0; i < PQntuples(p->r); i++) {
		int64_t kind = pg_get_i64(p->r, i, L_KIND), ord;
		struct pg_array ords;
		if (pg_get_bool(p->r, i, L_CUT) && ord_of(p->r, i) < p->whole)
			p->whole = ord_of(p->r, i);
		if (kind == 2)
			p->v[ord_of(p->r, i)].writes_n++;
		if (kind != 1)
			continue;
		pg_get_array(p->r, i, L_ORDS, &ords);
		while (pg_next_i64(&ords, &ord))
			p->v[ord - 1].values_n++;
	}
}

static enum err page_room(struct page *p)
{
	for (size_t i = 0; i < p->n; i++) {
		struct ckpt *c = &p->v[i];
		c->values = arena_alloc(&p->a, (c->values_n + 1) * sizeof *c->values);
		c->writes = arena_alloc(&p->a, (c->writes_n + 1) * sizeof *c->writes);
		if (!c->values || !c->writes)
			return err_set(E_LIMIT, "out of memory");
		c->values_n = c->writes_n = 0;
	}
	return OK;
}

static void page_row(struct page *p, int i)
{
	const PGresult *r = p->r;
	struct ckpt *c = &p->v[ord_of(r, i)];
	struct pg_array ords;
	int64_t ord;
	switch (pg_get_i64(r, i, L_KIND)) {
	case 0:
		c->no_sends = !pg_is_null(r, i, L_IDX);
		c->thread = pg_get_str(r, i, L_TEXT);
		c->ns = pg_get_str(r, i, L_VERSION);
		c->id = pg_get_str(r, i, L_TYPE);
		c->parent = pg_get_str(r, i, L_TASK);
		c->checkpoint = pg_get_json(r, i, L_CHECKPOINT);
		c->metadata = pg_get_json(r, i, L_METADATA);
		return;
	case 1:
		pg_get_array(r, i, L_ORDS, &ords);
		while (pg_next_i64(&ords, &ord)) {
			c = &p->v[ord - 1];
			c->values[c->values_n++] = (struct ckpt_value){pg_get_str(r, i, L_TEXT), pg_get_str(r, i, L_VERSION),
								       pg_get_str(r, i, L_TYPE), pg_get_str(r, i, L_BLOB)};
		}
		return;
	default:
		c->writes[c->writes_n++] = (struct ckpt_pending){.task_id = pg_get_str(r, i, L_TASK),
								 .task_path = pg_get_str(r, i, L_PATH),
								 .channel = pg_get_str(r, i, L_TEXT),
								 .type = pg_get_str(r, i, L_TYPE),
								 .bytes = pg_get_str(r, i, L_BLOB),
								 .idx = (int32_t)pg_get_i64(r, i, L_IDX)};
	}
}

static enum err page_make(struct page *p, const PGresult *r)
{
	arena_init(&p->a, 64u << 20);
	p->r = r;
	p->n = 0;
	for (int i = 0; i < PQntuples(r); i++)
		p->n += pg_get_i64(r, i, L_KIND) == 0;
	p->whole = p->n;
	p->v = arena_alloc(&p->a, (p->n + 1) * sizeof *p->v);
	if (!p->v)
		return err_set(E_LIMIT, "out of memory");
	memset(p->v, 0, p->n * sizeof *p->v);
	page_count(p);
	TRY(page_room(p));
	for (int i = 0; i < PQntuples(r); i++)
		page_row(p, i);
	for (size_t i = 0; i < p->n; i++)
		pg_ckpt_sort(&p->v[i]);
	return OK;
}

/* ---------------------------------------------------------------- giving */

struct give {
	struct listing *x;
	const struct page *p;
};

static enum err give_task(void *arg)
{
	const struct give *g = arg;
	struct listing *x = g->x;
	for (size_t i = 0; i < g->p->whole && x->more; i++)
		x->more = x->fn(x->ctx, &g->p->v[i]);
	return OK;
}

static size_t weight(const PGresult *r)
{
	size_t bytes = 0;
	for (int i = 0; i < PQntuples(r); i++)
		bytes += (size_t)PQgetlength(r, i, L_BLOB) + (size_t)PQgetlength(r, i, L_CHECKPOINT) +
			 (size_t)PQgetlength(r, i, L_METADATA);
	return bytes;
}

static enum err sizes(const struct listing *x, const struct page *p)
{
	struct ckpt *v[PAGE_MAX];
	for (size_t i = 0; i < p->whole; i++)
		v[i] = &p->v[i];
	return p->whole ? pg_ckpt_sizes(x->t, v, p->whole) : OK;
}

/* r is a page that was asked for with so many rows. */
static enum err give_page(struct listing *x, PGresult *r, size_t rows)
{
	struct page p;
	struct give g = {x, &p};
	size_t bytes = weight(r);
	enum err e = page_make(&p, r);
	if (e == OK && (x->q->want & CK_SIZES))
		e = sizes(x, &p);
	if (e == OK)
		e = bytes > DIRECT_BYTES ? work_run(give_task, &g) : give_task(&g);
	if (e == OK && x->more && p.whole > 0) {
		const struct ckpt *last = &p.v[p.whole - 1];
		x->after_id = last->id;
		x->after_thread = last->thread;
		x->after_ns = last->ns;
		x->left -= p.whole;
	}
	x->more = x->more && p.whole > 0 && x->left > 0 && (p.n == rows || p.whole < p.n);
	x->page = p.whole == rows && 2 * x->page <= PAGE_MAX ? 2 * x->page : x->page;
	arena_release(&p.a);
	PQclear(x->last);
	x->last = r;
	return e;
}

enum err pg_ckpt_list(struct store *s, const struct principal *who, const struct ckpt_list *q, ckpt_fn fn, void *ctx)
{
	struct listing x = {.who = who, .q = q, .fn = fn, .ctx = ctx, .left = q->limit, .page = PAGE_FIRST, .more = true};
	enum err e = OK;
	TRY(pg_ckpt_open(s, who, RIGHT_READ, false, &x.t));
	const struct str names[] = {q->id,
				    q->before,
				    q->after.id,
				    q->after.thread,
				    q->after.ns,
				    q->thread ? *q->thread : STR(""),
				    q->ns ? *q->ns : STR(""),
				    who->user};
	for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
		if (!x.t || pg_ckpt_unknown(names[i]))
			return OK;
	if (q->id.n && q->before.n && str_cmp(q->id, q->before) >= 0)
		return OK;
	x.after_id = q->after.id;
	x.after_thread = q->after.thread;
	x.after_ns = q->after.ns;
	while (e == OK && x.more) {
		size_t rows = x.left < x.page ? x.left : x.page;
		struct pg_params p;
		PGresult *r;
		const struct pg_stmt *st = page_params(&p, &x, rows);
		e = pg_query(x.t, st, &p, &r);
		if (e == OK)
			e = give_page(&x, r, rows);
	}
	PQclear(x.last);
	return e;
}
