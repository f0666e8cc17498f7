/* Listing checkpoints of the compact layout, newest first, in pages: rows by index, then, where they are wanted, the values of some
 * rows at a time, as many as fit in about BATCH_BYTES. Metadata is filtered here: it lies compressed. */
#include "store/postgres/compact.h"

#include "rt/work.h"

#define PAGE_FIRST 32
#define PAGE_MAX 512
#define BATCH_MAX 32
#define BATCH_BYTES ((size_t)4 << 20)
#define DIRECT_ROWS 64

/* $1 thread, $2 ns (NULL: all), $3 owners, $4 rows, $5 least id, $6 greatest, $7 itself only behind ($8 thread, $9 ns), $10 with
 * writes. */
#define IN_RANGE                                                                                                                   \
	"c.cid >= $5::text AND c.cid <= $6::text AND (c.cid < $6::text OR NOT $7::bool OR t.thread > $8::text OR (t.thread ="      \
	" $8::text AND n.ns > $9::text))"
#define ORDER " ORDER BY c.cid DESC, t.thread, n.ns LIMIT $4::bigint"
static const struct pg_stmt st_of_thread = {
	ST_COMPACT_LIST, LANE_SEARCH, "compact_list",
	"SELECT " COMPACT_COLUMNS(
		"$10::bool") " FROM @cenote_thread t JOIN @cenote_checkpoint_ns n ON n.thread = t.id AND ($2::text IS NULL"
			     " OR n.ns = $2::text) CROSS JOIN LATERAL (SELECT c.xmin, c.* FROM @cenote_checkpoint c WHERE c.scope "
			     "= n.id AND " IN_RANGE
			     " ORDER BY c.cid DESC LIMIT $4::bigint) c WHERE t.thread = $1::text AND " COMPACT_SEEN(3) ORDER};
static const struct pg_stmt st_of_all = {
	ST_COMPACT_LIST_ALL, LANE_SCAN, "compact_list_all",
	"SELECT " COMPACT_COLUMNS("$10::bool") " FROM @cenote_checkpoint c JOIN @cenote_checkpoint_ns n ON n.id = c.scope JOIN"
					       " @cenote_thread t ON t.id = n.thread WHERE ($1::text IS NULL OR t.thread = "
					       "$1::text) AND ($2::text IS NULL OR n.ns = $2::text)"
					       " AND " IN_RANGE " AND " COMPACT_SEEN(3) ORDER};

struct listing {
	struct pg_tenant *t;
	const struct principal *who;
	const struct ckpt_list *q;
	ckpt_fn fn;
	void *ctx;
	struct json filter;
	struct str after_id, after_thread, after_ns;
	struct arena keep;
	size_t left, page, batch;
	bool more;
	/* of one page */
	struct arena a;
	struct compact_row *v;
	size_t n, read; /* read: rows of which n passed the filter */
	const PGresult *r;
};

/* Behind every id. */
static struct str highest(const struct listing *x)
{
	static const char top[] =
		"\xf4\x8f\xbf\xbf\xf4\x8f\xbf\xbf\xf4\x8f\xbf\xbf\xf4\x8f\xbf\xbf\xf4\x8f\xbf\xbf\xf4\x8f\xbf\xbf";
	const struct str all[] = {x->q->id, x->q->before, x->after_id};
	struct str least = {0};
	for (unsigned i = 0; i < sizeof all / sizeof *all; i++)
		if (all[i].n && (!least.n || str_cmp(all[i], least) < 0))
			least = all[i];
	return least.n ? least : str_of(top, sizeof top - 1);
}

static void page_params(struct pg_params *p, const struct listing *x, size_t rows)
{
	const struct ckpt_list *q = x->q;
	struct str top = highest(x);
	bool after = x->after_id.n && str_eq(top, x->after_id), before = q->before.n && str_eq(top, q->before);
	pg_params_init(p);
	if (q->thread)
		pg_text(p, *q->thread);
	else
		pg_null(p, PG_TEXT);
	if (q->ns)
		pg_text(p, *q->ns);
	else
		pg_null(p, PG_TEXT);
	pg_owners(p, x->who);
	pg_i64(p, (int64_t)rows);
	pg_text(p, q->id);
	pg_text(p, top);
	pg_bool(p, after || before);
	/* nothing is behind the greatest text: with `before` its own row does not count */
	pg_text(p, before ? STR("\xf4\x8f\xbf\xbf\xf4\x8f\xbf\xbf\xf4\x8f\xbf\xbf\xf4\x8f\xbf\xbf\xf4\x8f\xbf\xbf\xf4\x8f\xbf\xbf")
			  : x->after_thread);
	pg_text(p, x->after_ns);
	pg_bool(p, q->want & (CK_WRITES_TOO | CK_SIZES));
}

static enum err passes(struct listing *x, struct str metadata, bool *yes)
{
	struct json doc;
	*yes = true;
	if (!x->q->filter.n)
		return OK;
	if (json_parse(&x->a, metadata, &pack_json, &doc) != OK)
		return err_wrap(E_CORRUPT, "stored metadata");
	*yes = j_contains(json_root(&doc), json_root(&x->filter));
	return OK;
}

static enum err take_rows(void *arg)
{
	struct listing *x = arg;
	bool yes;
	x->read = (size_t)PQntuples(x->r);
	x->n = 0;
	x->v = ARENA_ARRAY(&x->a, struct compact_row, x->read + 1);
	if (!x->v)
		return E_NOMEM;
	for (size_t i = 0; i < x->read; i++) {
		TRY(compact_row_read(&x->a, x->r, (int)i, &x->v[x->n]));
		TRY(passes(x, x->v[x->n].c.metadata, &yes));
		x->n += yes;
	}
	return OK;
}

static enum err remember(struct listing *x)
{
	int last = PQntuples(x->r) - 1;
	if (last < 0)
		return OK;
	arena_clear(&x->keep);
	x->after_id = arena_str(&x->keep, pg_get_str(x->r, last, C_CID));
	x->after_thread = arena_str(&x->keep, pg_get_str(x->r, last, C_THREAD));
	x->after_ns = arena_str(&x->keep, pg_get_str(x->r, last, C_NS));
	return x->after_id.p && x->after_thread.p && x->after_ns.p ? OK : E_NOMEM;
}

static void give(struct listing *x, size_t from, size_t to)
{
	for (size_t i = from; i < to && x->more; i++) {
		if (x->v[i].gone)
			continue;
		if (!(x->q->want & CK_WRITES_TOO))
			x->v[i].c.writes_n = 0;
		x->more = x->fn(x->ctx, &x->v[i].c) && --x->left > 0;
	}
}

struct part {
	struct listing *x;
	size_t from, to;
};

static enum err give_task(void *arg)
{
	const struct part *p = arg;
	give(p->x, p->from, p->to);
	return OK;
}

static enum err give_rows(struct listing *x)
{
	unsigned want = x->q->want;
	for (size_t i = 0, k; i < x->n && x->more; i = k) {
		size_t bytes = 0;
		struct part p = {x, i, 0};
		struct arena a;
		k = want & CK_VALUES ? i + x->batch : x->n;
		k = k < x->n ? k : x->n;
		k = k - i < x->left ? k : i + x->left;
		p.to = k;
		arena_init(&a, 4 * PACK_ROOM);
		enum err e = want & CK_VALUES ? compact_values(x->t, &a, x->v + i, k - i, want, NULL, 0, &bytes) : OK;
		if (e == OK && (want & CK_SIZES))
			e = compact_sizes(x->t, x->v + i, k - i);
		if (e == OK)
			e = bytes > COMPACT_POOL_BYTES || k - i > DIRECT_ROWS ? work_run(give_task, &p) : give_task(&p);
		arena_release(&a);
		TRY(e);
		if (bytes > BATCH_BYTES && x->batch > 1)
			x->batch /= 2;
		else if (bytes < BATCH_BYTES / 4 && x->batch < BATCH_MAX)
			x->batch *= 2;
	}
	return OK;
}

static enum err one_page(struct listing *x)
{
	struct pg_params p;
	PGresult *r;
	size_t rows = x->q->filter.n || x->left > x->page ? x->page : x->left;
	page_params(&p, x, rows);
	TRY(pg_query(x->t, x->q->thread ? &st_of_thread : &st_of_all, &p, &r));
	x->r = r;
	arena_init(&x->a, 4 * PACK_ROOM);
	enum err e = PQntuples(r) > DIRECT_ROWS ? work_run(take_rows, x) : take_rows(x);
	if (e == OK)
		e = remember(x);
	if (e == OK)
		e = give_rows(x);
	x->more = x->more && x->read == rows;
	x->page = 2 * x->page <= PAGE_MAX ? 2 * x->page : x->page;
	arena_release(&x->a);
	PQclear(r);
	return e;
}

static bool possible(const struct listing *x)
{
	const struct ckpt_list *q = x->q;
	const struct str names[] = {q->id,
				    q->before,
				    q->after.id,
				    q->after.thread,
				    q->after.ns,
				    q->thread ? *q->thread : STR(""),
				    q->ns ? *q->ns : STR("")};
	for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
		if (pg_ckpt_unknown(names[i]))
			return false;
	return x->t && q->limit > 0 && !(q->id.n && q->before.n && str_cmp(q->id, q->before) >= 0) &&
	       !(q->id.n && q->after.id.n && str_cmp(q->id, q->after.id) > 0);
}

enum err compact_list(struct store *s, const struct principal *who, const struct ckpt_list *q, ckpt_fn fn, void *ctx)
{
	struct listing x = {
		.who = who, .q = q, .fn = fn, .ctx = ctx, .left = q->limit, .page = PAGE_FIRST, .batch = 2, .more = true};
	struct arena filter;
	enum err e = OK;
	TRY(compact_open(s, who, RIGHT_READ, false, &x.t));
	if (!possible(&x))
		return OK;
	x.after_id = q->after.id;
	x.after_thread = q->after.thread;
	x.after_ns = q->after.ns;
	arena_init(&filter, 64u << 20);
	arena_init(&x.keep, 1u << 20);
	if (q->filter.n)
		e = json_parse(&filter, q->filter, &pack_json, &x.filter);
	while (e == OK && x.more)
		e = one_page(&x);
	arena_release(&x.keep);
	arena_release(&filter);
	return e;
}
