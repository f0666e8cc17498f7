/* Listing checkpoints, newest first, in pages. A page is a statement that gives the rows' names by index where a thread is given,
 * with their pending writes; then, of those that are not known from before (ckpt_known.c), another one gives the rows and the
 * values that they refer to, each once whatever number of rows does.
 *
 * Invariants
 *  1. A page's rows without values take about PAGE_BYTES at most, and so do its values and its writes; the first row is always
 * whole. A row that has lost a value to the limit is not given but begins the next page.
 *  2. A checkpoint that has gone between the two is not given.
 *  3. fn is called on the loop's thread only for small pages. */
#include "store/postgres/ckpt.h"

#include "rt/work.h"

#define PAGE_FIRST 32
#define PAGE_MAX 1000
#define PAGE_BYTES "8388608"
#define PAGE_KNOWN_BYTES 8388608
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
#define ROW PG_CP_ROW ", c.xmin AS made, c.ctid AS place"
#define NEWEST(ns, up)                                                                                                             \
	"(SELECT " ROW " FROM @checkpoints c WHERE c.thread_id = $1::text AND c.checkpoint_ns = " ns up                            \
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
	"q AS (SELECT " ROW " FROM @checkpoints c WHERE ($2::text IS NULL OR c.checkpoint_ns = $2::text) AND " WANTED up           \
	" AND " SEEN_EACH " ORDER BY c.checkpoint_id DESC, c.thread_id, c.checkpoint_ns" ROWS ")"
/* What a list asks for first: names, each row's version, pending writes; whether one namespace of the thread has all writes. */
/* clang-format off */
#define PAGE(rows, one_ns)                                                                                                         \
	"WITH RECURSIVE " rows ", d AS MATERIALIZED (SELECT q.thread_id, q.checkpoint_ns, q.checkpoint_id, q.made, q.place, CASE WHEN $8::bool THEN " \
	PG_CP_PENDING_OF("w.thread_id = q.thread_id AND w.checkpoint_ns = q.checkpoint_ns AND w.checkpoint_id = q.checkpoint_id")   \
	" END AS writes FROM q CROSS JOIN " PG_CP_PATH_ELSE "), e AS (SELECT d.*, coalesce(sum(pg_column_size(d.writes)) OVER (ROWS" \
	" BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) + pg_column_size(d.writes) > " PAGE_BYTES ", false) AS cut FROM d)"          \
	" SELECT e.thread_id, e.checkpoint_ns, e.checkpoint_id, e.made, e.place, e.cut, CASE WHEN NOT e.cut THEN e.writes END, "    \
	one_ns " FROM e"
/* clang-format on */
#define ONE_NS "CASE WHEN $7::bool AND $8::bool THEN " PG_CP_ONE_NS("$1::text") " END"
enum { L_THREAD, L_NS, L_ID, L_MADE, L_PLACE, L_CUT, L_WRITES, L_ONE_NS };

/* By how much of the name is given, and whether there is an upper bound. */
enum { BY_NS, BY_THREAD, BY_NOTHING };
const struct pg_stmt pg_ckpt_pages[3][2] = {
	[BY_NS] = {{ST_CKPT_LIST, LANE_SEARCH, "checkpoint_list", PAGE(OF_NS(""), ONE_NS)},
		   {ST_CKPT_LIST_UP, LANE_SEARCH, "checkpoint_list_before", PAGE(OF_NS(UP), ONE_NS)}},
	[BY_THREAD] = {{ST_CKPT_LIST_THREAD, LANE_SEARCH, "checkpoint_list_thread", PAGE(OF_THREAD(""), ONE_NS)},
		       {ST_CKPT_LIST_THREAD_UP, LANE_SEARCH, "checkpoint_list_thread_before", PAGE(OF_THREAD(UP), ONE_NS)}},
	[BY_NOTHING] = {{ST_CKPT_LIST_ALL, LANE_SCAN, "checkpoint_list_all", PAGE(OF_ALL(""), "NULL::bool")},
			{ST_CKPT_LIST_ALL_UP, LANE_SCAN, "checkpoint_list_all_before", PAGE(OF_ALL(UP), "NULL::bool")}}};

/* And then of the rows that it does not know the rest: $1 threads, $2 namespaces, $3 ids, $4 owners, $5 with values. Rows, and
 * values, each once whatever number of rows refers to it.
 *
 * A row is looked for as the first that is not before it, in the order of the primary key: so that key's index is used. By "=" the
 * planner takes the thread's index for as good while its statistics are of a time when the tables were small, and reads the whole
 * thread for each row. */
#define VERSIONS PG_CP_VERSIONS("c.checkpoint")
const struct pg_stmt pg_ckpt_rows = {
	ST_CKPT_ROWS, LANE_SEARCH, "checkpoint_rows",
	"WITH c AS MATERIALIZED (SELECT u.ord, sum(pg_column_size(c.checkpoint) + pg_column_size(c.metadata)) OVER (ORDER BY u.ord"
	" ROWS UNBOUNDED PRECEDING) AS upto, c.* FROM unnest((SELECT $1::text[]), (SELECT $2::text[]), (SELECT $3::text[])) WITH"
	" ORDINALITY AS u(thread, ns, id, ord) CROSS JOIN LATERAL (SELECT " PG_CP_ROW ", c.xmin AS made, c.ctid AS place FROM"
	" @checkpoints c WHERE (c.thread_id, c.checkpoint_ns, c.checkpoint_id) >= (u.thread, u.ns, u.id) ORDER BY c.thread_id,"
	" c.checkpoint_ns, c.checkpoint_id LIMIT 1) c "
	"WHERE c.thread_id = u.thread AND c.checkpoint_ns = u.ns AND c.checkpoint_id = u.id AND " PG_CP_SEEN(
		"c.thread_id",
		4) "),"
		   " r AS (SELECT k.first, k.ords, b.channel, b.version, b.type, b.blob FROM (SELECT c.thread_id, "
		   "c.checkpoint_ns, v.key,"
		   " v.value, min(c.ord) AS first, array_agg(c.ord) AS ords FROM c CROSS JOIN LATERAL " VERSIONS
		   " v WHERE (SELECT $5::bool)"
		   " GROUP BY v.key, v.value, c.thread_id, c.checkpoint_ns) k CROSS JOIN LATERAL (SELECT * FROM "
		   "@checkpoint_blobs b WHERE (b.thread_id, b.checkpoint_ns, b.channel, b.version) >= (k.thread_id, "
		   "k.checkpoint_ns, k.key, k.value) ORDER BY b.thread_id, b.checkpoint_ns, b.channel, b.version LIMIT 1) b"
		   " WHERE b.thread_id = k.thread_id AND b.checkpoint_ns = k.checkpoint_ns AND b.channel = k.key AND "
		   "b.version = k.value AND b.type <> 'empty'),"
		   " s AS (SELECT r.*, r.first > 1 AND sum(octet_length(r.blob)) OVER (ORDER BY r.first ROWS UNBOUNDED "
		   "PRECEDING) > " PAGE_BYTES " AS cut FROM r)"
		   " SELECT c.ord, NULL::bigint[], c.parent_checkpoint_id, NULL::text, NULL::text, NULL::bytea, c.ord "
		   "> 1 AND c.upto > " PAGE_BYTES ", CASE WHEN c.ord = 1 OR c.upto <= " PAGE_BYTES
		   " THEN c.checkpoint END, c.metadata, c.made, c.place FROM c"
		   " UNION ALL SELECT s.first, s.ords, s.channel, s.version, s.type, CASE WHEN NOT s.cut THEN s.blob "
		   "END, s.cut, NULL, NULL, NULL, NULL FROM s"};
enum { R_ORD, R_ORDS, R_TEXT, R_VERSION, R_TYPE, R_BLOB, R_CUT, R_CHECKPOINT, R_METADATA, R_MADE, R_PLACE };

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
	struct pg_tenant *t;
	const PGresult *r; /* names */
	PGresult *rest;	   /* of those that were not known */
	struct ckpt *v;
	struct pg_row_version *versions;
	size_t rows;   /* that the server gave: one more than was asked for, if there is one */
	size_t n;      /* of these, to be given */
	size_t whole;  /* of these the first so many have all there is to them */
	size_t *asked; /* places of those not known */
	size_t asked_n;
	size_t bytes;
};

static enum err no_memory(void)
{
	return err_set(E_LIMIT, "out of memory");
}

static enum err page_names(struct page *p, size_t rows)
{
	const PGresult *r = p->r;
	for (size_t i = 0; i < rows; i++) {
		struct ckpt *c = &p->v[i];
		int row = (int)i;
		struct str made = pg_get_str(r, row, L_MADE), place = pg_get_str(r, row, L_PLACE);
		if (pg_get_bool(r, row, L_CUT)) {
			p->whole = i < p->whole ? i : p->whole;
			break;
		}
		*c = (struct ckpt){
			.thread = pg_get_str(r, row, L_THREAD), .ns = pg_get_str(r, row, L_NS), .id = pg_get_str(r, row, L_ID)};
		p->versions[i].epoch = pg_ckpt_epoch(p->t->s, c->thread);
		if (made.n == sizeof p->versions->made && place.n == sizeof p->versions->place) {
			memcpy(p->versions[i].made, made.p, made.n);
			memcpy(p->versions[i].place, place.p, place.n);
		}
		TRY(pg_ckpt_pending(&p->a, r, row, L_WRITES, false, &c->writes, &c->writes_n));
		p->bytes += (size_t)PQgetlength(r, row, L_WRITES);
	}
	return OK;
}

/* Where the next row is the parent, its writes hold the sends, if one namespace has all writes of the thread. */
static enum err page_sends(struct page *p)
{
	for (size_t i = 0; i < p->whole && i + 1 < p->rows; i++) {
		struct ckpt *c = &p->v[i];
		const struct ckpt *parent = c + 1;
		if (!pg_get_bool(p->r, (int)i, L_ONE_NS) || !str_eq(parent->id, c->parent) || !str_eq(parent->ns, c->ns))
			continue;
		c->sends_known = true;
		for (size_t k = 0; k < parent->writes_n; k++) {
			if (!str_eq(parent->writes[k].channel, STR("__pregel_tasks")))
				continue;
			if (!c->sends)
				c->sends = arena_alloc(&p->a, parent->writes_n * sizeof *c->sends);
			if (!c->sends)
				return no_memory();
			c->sends[c->sends_n++] = parent->writes[k];
		}
	}
	return OK;
}

/* What is known already, as much as belongs into a page. */
static void page_known(struct page *p, bool values)
{
	size_t bytes = 0;
	for (size_t i = 0; i < p->whole; i++) {
		struct ckpt *c = &p->v[i];
		if (i > 0 && bytes > PAGE_KNOWN_BYTES) {
			p->whole = i;
			return;
		}
		if (!pg_ckpt_known(p->t, &p->a, &p->versions[i], c)) {
			p->asked[p->asked_n++] = i;
			continue;
		}
		bytes += c->checkpoint.n + c->metadata.n;
		for (size_t k = 0; k < c->values_n; k++)
			bytes += c->values[k].bytes.n;
		if (!values)
			c->values_n = 0;
	}
	p->bytes += bytes;
}

static enum err page_ask(struct page *p, const struct listing *x)
{
	struct pg_params q;
	pg_params_init(&q);
	for (unsigned part = 0; part < 3; part++) {
		pg_array(&q, PG_TEXTS, p->asked_n);
		for (size_t i = 0; i < p->asked_n; i++) {
			const struct ckpt *c = &p->v[p->asked[i]];
			pg_el_str(&q, part == 0 ? c->thread : part == 1 ? c->ns : c->id);
		}
		pg_array_end(&q);
	}
	pg_owners(&q, x->who);
	pg_bool(&q, x->q->want & CK_VALUES);
	return pg_query(x->t, &pg_ckpt_rows, &q, &p->rest);
}

static struct ckpt *asked_for(struct page *p, int64_t ord, size_t *at)
{
	*at = p->asked[ord - 1];
	return &p->v[*at];
}

/* How many values each has, and which are cut. */
static void rest_count(struct page *p)
{
	for (int i = 0; i < PQntuples(p->rest); i++) {
		struct pg_array ords;
		int64_t ord;
		size_t at;
		(void)asked_for(p, pg_get_i64(p->rest, i, R_ORD), &at);
		if (pg_get_bool(p->rest, i, R_CUT) && at < p->whole)
			p->whole = at;
		if (pg_is_null(p->rest, i, R_ORDS))
			continue;
		pg_get_array(p->rest, i, R_ORDS, &ords);
		while (pg_next_i64(&ords, &ord))
			asked_for(p, ord, &at)->values_n++;
	}
}

static void rest_row(struct page *p, int i)
{
	const PGresult *r = p->rest;
	struct pg_array ords;
	int64_t ord;
	size_t at;
	struct ckpt *c = asked_for(p, pg_get_i64(r, i, R_ORD), &at);
	if (pg_is_null(r, i, R_ORDS)) {
		c->parent = pg_get_str(r, i, R_TEXT);
		c->checkpoint = pg_get_json(r, i, R_CHECKPOINT);
		c->metadata = pg_get_json(r, i, R_METADATA);
		memcpy(p->versions[at].made, PQgetvalue(r, i, R_MADE), sizeof p->versions[at].made);
		memcpy(p->versions[at].place, PQgetvalue(r, i, R_PLACE), sizeof p->versions[at].place);
		return;
	}
	pg_get_array(r, i, R_ORDS, &ords);
	while (pg_next_i64(&ords, &ord)) {
		c = asked_for(p, ord, &at);
		c->values[c->values_n++] = (struct ckpt_value){pg_get_str(r, i, R_TEXT), pg_get_str(r, i, R_VERSION),
							       pg_get_str(r, i, R_TYPE), pg_get_str(r, i, R_BLOB)};
	}
}

static enum err page_rest(struct page *p, bool values)
{
	rest_count(p);
	for (size_t i = 0; i < p->asked_n; i++) {
		struct ckpt *c = &p->v[p->asked[i]];
		c->values = arena_alloc(&p->a, (c->values_n + 1) * sizeof *c->values);
		if (!c->values)
			return no_memory();
		c->values_n = 0;
	}
	for (int i = 0; i < PQntuples(p->rest); i++) {
		rest_row(p, i);
		p->bytes += (size_t)PQgetlength(p->rest, i, R_BLOB) + (size_t)PQgetlength(p->rest, i, R_CHECKPOINT) +
			    (size_t)PQgetlength(p->rest, i, R_METADATA);
	}
	for (size_t i = 0; i < p->asked_n; i++) {
		struct ckpt *c = &p->v[p->asked[i]];
		pg_ckpt_sort_values(c);
		if (values && p->asked[i] < p->whole && c->checkpoint.n)
			pg_ckpt_know(p->t, c, &p->versions[p->asked[i]]);
	}
	return OK;
}

static enum err page_make(struct page *p, const struct listing *x, const PGresult *r, size_t wanted)
{
	bool values = x->q->want & CK_VALUES;
	size_t rows = (size_t)PQntuples(r), n = rows < wanted ? rows : wanted;
	*p = (struct page){.t = x->t, .r = r, .rows = rows, .n = n, .whole = n};
	arena_init(&p->a, 64u << 20);
	p->v = arena_zalloc(&p->a, (rows + 1) * sizeof *p->v);
	p->versions = arena_zalloc(&p->a, (rows + 1) * sizeof *p->versions);
	p->asked = arena_alloc(&p->a, (rows + 1) * sizeof *p->asked);
	if (!p->v || !p->versions || !p->asked)
		return no_memory();
	TRY(page_names(p, rows));
	page_known(p, values);
	if (p->asked_n > 0) {
		TRY(page_ask(p, x));
		TRY(page_rest(p, values));
	}
	return values ? page_sends(p) : OK;
}

static void page_release(struct page *p)
{
	PQclear(p->rest);
	arena_release(&p->a);
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
		if (g->p->v[i].checkpoint.n) /* else it has gone meanwhile */
			x->more = x->fn(x->ctx, &g->p->v[i]);
	return OK;
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
	enum err e = page_make(&p, x, r, rows);
	if (e == OK && (x->q->want & CK_SIZES))
		e = sizes(x, &p);
	if (e == OK)
		e = p.bytes > DIRECT_BYTES ? work_run(give_task, &g) : give_task(&g);
	if (e == OK && x->more && p.whole > 0) {
		const struct ckpt *last = &p.v[p.whole - 1];
		x->after_id = last->id;
		x->after_thread = last->thread;
		x->after_ns = last->ns;
		for (size_t i = 0; i < p.whole; i++)
			x->left -= p.v[i].checkpoint.n > 0;
	}
	x->more = x->more && p.whole > 0 && x->left > 0 && (p.n == rows || p.whole < p.n);
	x->page = p.whole == rows && 2 * x->page <= PAGE_MAX ? 2 * x->page : x->page;
	page_release(&p);
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
		const struct pg_stmt *st = page_params(&p, &x, rows + 1); /* the last one's parent may hold its sends */
		e = pg_query(x.t, st, &p, &r);
		if (e == OK)
			e = give_page(&x, r, rows);
	}
	PQclear(x.last);
	return e;
}
