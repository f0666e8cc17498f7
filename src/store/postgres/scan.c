/* item_scan: the items below a prefix, newest first.
 *
 * When the feed says that cenote_item is exact below the prefix (pg_verify), its index (prefix, updated_at) gives the order:
 *  - own(): the usual search, of a namespace with nothing below, is one statement that reads the index from its newest end.
 *  - first(): else, one statement. It goes from namespace to namespace below the prefix by the index, takes the
 *    newest few of each, and keeps the newest of all. More than MANY of them is too much for that: then, and for what comes after
 *    the first page,
 *  - rest(): the names of the items in order, some thousands at a time, and the items by name in pages (rows.c). So a scan to the
 *    end costs one sort per thousands of names, not one per page, however many items were written at one time.
 * When it is not exact, or hardly anything passes the filter, the names come from `store` itself, which is right always, but reads
 * the scope.
 *
 * Invariants
 *  1. The order is (time descending, namespace, key), bytes compared; a row that another client left without an
 *     update time counts as of its creation, without that as of 1970. Each statement goes on strictly behind the last name of the
 *     one before, so no item comes twice and none that stays as it is is left out.
 *  2. No statement's cost hangs on the planner's idea of a parameter: filters have a neutral weight, limits see PG_FIRST. */
#include "base/hash.h"
#include "store/postgres/read.h"

#define FEW 10
#define MORE 100
#define MANY 33		   /* namespaces that the first page looks into, at most */
#define LIST_MAX 16384	   /* LIMIT in the text of the lists */
#define TIME_MAX INT64_MAX /* infinity */

/* $4 omit expired before (NULL: no), $5 what values contain (NULL: anything). CASE, because the planner takes it for one half: a
 * guess of "hardly any" for @> would make it sort the scope instead of following the index. */
#define WANTED(omit, having)                                                                                                       \
	"(s.expires_at < $" #omit ") IS NOT TRUE AND CASE WHEN $" #having "::jsonb IS NULL THEN true ELSE s.value @@> $" #having   \
	" END"
#define NEWEST(x) x ".at DESC, " x ".prefix USING ~<~, " x ".key USING ~<~"

/* $1..$3 the scope. n: the namespaces, one look-up each, begun with the prefix itself; it ends with NULL, or after 34. h: of each
 * the newest that pass, of all those the newest; WITH TIES leaves the order within one time to the sort. No namespace is looked
 * through further than 512 items: where few pass, reading the scope of `store` in one go is ten times faster than row by row. cut:
 * the latest time at which a namespace was left like that, when hits are as old: only what is newer is known to be the newest. */
#define NAMESPACES                                                                                                                 \
	"WITH RECURSIVE n(prefix, i) AS (SELECT $1::text, 1 UNION ALL"                                                             \
	" SELECT (SELECT c.prefix FROM @cenote_item c WHERE c.prefix ~>=~ $2 AND c.prefix ~>~ n.prefix AND c.prefix ~<~ $3"        \
	" ORDER BY c.prefix USING ~<~ LIMIT 1), n.i + 1 FROM n WHERE n.prefix IS NOT NULL AND n.i < 34),"                          \
	" p AS (SELECT prefix FROM n WHERE prefix IS NOT NULL LIMIT 34), many(n) AS (SELECT count(*) FROM p)"
#define BY_TIME(x) x ".updated_at DESC"
#define NEWEST_OF_P PG_FIRST(512, "SELECT c.* FROM @cenote_item c WHERE c.prefix = p.prefix", BY_TIME)
#define PASSING(few)                                                                                                               \
	"SELECT " PG_ITEM_COLUMNS ", c.updated_at AS at FROM (" NEWEST_OF_P ") c CROSS JOIN LATERAL " PG_STORE_OF_C                \
	" WHERE " WANTED(4, 5) " ORDER BY " BY_TIME("c") " FETCH FIRST " #few " ROWS WITH TIES"
#define NEWEST_X NEWEST("x")
#define NEWEST_H NEWEST("h")
#define HITS(few)                                                                                                                  \
	"h AS (SELECT x.* FROM p CROSS JOIN LATERAL (" PASSING(few) ") x WHERE (SELECT n FROM many) < 34 ORDER BY " NEWEST_X       \
								    " LIMIT " #few ")"
#define CUT(few)                                                                                                                   \
	"SELECT max(l.updated_at) FROM p CROSS JOIN LATERAL (SELECT c.updated_at FROM @cenote_item c WHERE c.prefix = p.prefix"    \
	" AND c.updated_at >= (SELECT CASE WHEN count(*) < " #few " THEN '-infinity'::timestamptz ELSE min(at) END FROM h)"        \
	" ORDER BY c.updated_at DESC OFFSET (SELECT 511) LIMIT 1) l"
#define FIRST(hits, cut)                                                                                                           \
	NAMESPACES ", " hits " SELECT h.*, many.n, CASE WHEN many.n < 34 THEN (" cut ") END FROM many LEFT JOIN h ON true"         \
		   " ORDER BY " NEWEST_H
const struct pg_stmt pg_scan_few = {ST_SCAN_FEW, LANE_SEARCH, "item_scan_few", FIRST(HITS(10), CUT(10))};
const struct pg_stmt pg_scan_more = {ST_SCAN_MORE, LANE_SEARCH, "item_scan_more", FIRST(HITS(100), CUT(100))};
enum { COL_AT = PG_ITEM_COLUMNS_N, COL_NAMESPACES, COL_CUT };

/* $1..$3 the scope, $4 and $5 as above: the namespace $1 alone, and whether there are others below it (then that is not enough). */
#define NEWEST_OF_1 PG_FIRST(512, "SELECT c.* FROM @cenote_item c WHERE c.prefix = $1", BY_TIME)
#define OWN(few)                                                                                                                   \
	"SELECT x.*, EXISTS (SELECT FROM @cenote_item b WHERE b.prefix ~>=~ $2 AND b.prefix ~>~ $1 AND b.prefix ~<~ $3)"           \
	" FROM (SELECT " PG_ITEM_COLUMNS ", c.updated_at AS at FROM (" NEWEST_OF_1 ") c CROSS JOIN LATERAL " PG_STORE_OF_C         \
	" WHERE " WANTED(4, 5) " ORDER BY " BY_TIME("c") " FETCH FIRST " #few " ROWS WITH TIES) x ORDER BY x.at DESC,"             \
							 " x.key USING ~<~ LIMIT " #few
const struct pg_stmt pg_scan_own_few = {ST_SCAN_OWN_FEW, LANE_SEARCH, "item_scan_own_few", OWN(10)};
const struct pg_stmt pg_scan_own_more = {ST_SCAN_OWN_MORE, LANE_SEARCH, "item_scan_own_more", OWN(100)};
enum { COL_OTHERS = PG_ITEM_COLUMNS_N + 1 };

/* Names behind ($4, $5, $6), $7 of them: prefix, key, time; of the namespace itself in the order of the index, of those below
 * sorted. */
#define BEHIND(time, x)                                                                                                            \
	time " <= $4 AND (" time " < $4 OR " x ".prefix ~>~ $5 OR " x ".prefix = $5 AND (" x ".key ~>~ $6) IS NOT FALSE)"
#define BY_TIME_NAME(x) x ".updated_at DESC, " x ".prefix USING ~<~, " x ".key USING ~<~"
#define NAMES(where) "SELECT c.prefix, c.key, c.updated_at FROM @cenote_item c WHERE " where " AND " BEHIND("c.updated_at", "c")
#define OF_P PG_FIRST(16384, NAMES("c.prefix = $1"), BY_TIME_NAME)
#define BELOW_P PG_FIRST(16384, NAMES("c.prefix ~>=~ $2 AND c.prefix ~<~ $3 AND c.prefix <> $1"), BY_TIME_NAME)
#define BY_TIME_NAME_Q BY_TIME_NAME("q")
const struct pg_stmt pg_scan_list = {
	ST_SCAN_LIST,
	LANE_SEARCH,
	"item_list",
	"SELECT q.* FROM ((" OF_P ") UNION ALL (" BELOW_P ")) q ORDER BY " BY_TIME_NAME_Q " LIMIT $7",
};
/* As adoption (verify.c) has it for rows without a time. */
#define TIME "coalesce(s.updated_at, s.created_at, 'epoch')"
#define IN_SCOPE PG_BELOW("s.prefix", 1, 2, 3) " AND " BEHIND(TIME, "s") " AND " WANTED(8, 9)
#define NEWEST_Q NEWEST("q")
const struct pg_stmt pg_scan_list_all = {
	ST_SCAN_LIST_ALL,
	LANE_SCAN,
	"item_list_all",
	"SELECT q.prefix, q.key, q.at FROM (SELECT s.prefix, s.key, " TIME " AS at FROM @store s WHERE " IN_SCOPE
	" ORDER BY 3 DESC, s.prefix USING ~<~, s.key USING ~<~ LIMIT 16384) q ORDER BY " NEWEST_Q " LIMIT $7",
};

struct scan {
	struct pg_giver g;
	struct str prefix, contains;
	size_t want;
	/* Behind which item it goes on; the names are in place. */
	int64_t at; /* as PostgreSQL has it */
	size_t ns_n;
	struct buf place;
	bool begun;
};

/* A time as it came (pg_get_i64 gives it raw), infinities included. */
static void raw_time(struct pg_params *p, int64_t v)
{
	pg_i64(p, v);
	if (p->n)
		p->v[p->n - 1].type = PG_TIMESTAMPTZ;
}

static void contains(struct pg_params *p, const struct scan *x)
{
	if (x->contains.n)
		pg_json(p, x->contains);
	else
		pg_null(p, PG_JSONB);
}

static enum err remember(struct scan *x, const PGresult *r, int row, int col_at)
{
	struct str ns = pg_get_str(r, row, 0);
	buf_clear(&x->place);
	buf_str(&x->place, ns);
	buf_str(&x->place, pg_get_str(r, row, 1));
	x->ns_n = ns.n;
	x->at = pg_get_i64(r, row, col_at);
	x->begun = true;
	return x->place.err;
}

static void page_params(struct scan *x, struct pg_params *p)
{
	pg_params_init(p);
	pg_scope(p, x->prefix);
	pg_time(p, x->g.omit_us);
	contains(p, x);
}

static bool wants_few(const struct scan *x)
{
	return x->want > 0 && x->want <= FEW;
}

/* The namespaces that were found to have others below lately, by hash: for them own() is not tried. */
static _Atomic uint64_t *parent_slot(struct scan *x, uint64_t *hash)
{
	*hash = hash64(x->prefix) | 1;
	return &x->g.t->parents[*hash >> 1 & (sizeof x->g.t->parents / sizeof *x->g.t->parents - 1)];
}

/* *done: the page was full, or else nothing was given and another way has to be taken. */
static enum err take_own(struct scan *x, const PGresult *r, bool *done)
{
	uint64_t hash;
	_Atomic uint64_t *slot = parent_slot(x, &hash);
	int n = PQntuples(r);
	if (n > 0 && pg_get_bool(r, 0, COL_OTHERS))
		atomic_store_explicit(slot, hash, memory_order_relaxed);
	else
		*done = n == (wants_few(x) ? FEW : MORE);
	if (!*done)
		return OK;
	TRY(pg_give(&x->g, r, n));
	return remember(x, r, n - 1, COL_AT);
}

/* The statement goes out together with the question whether cenote_item is exact. Its snapshot is younger than the call; if nothing
 * had to be compared, nobody else had written when the call began, and what it read is right. Else its rows are thrown away. */
static enum err own(struct scan *x, bool *exact, bool *done)
{
	struct pg_params p;
	struct pg_step step = {.st = wants_few(x) ? &pg_scan_own_few : &pg_scan_own_more, .p = &p};
	struct pg_job j = {.t = x->g.t, .steps = &step, .n = 1, .lane = LANE_SEARCH};
	bool was = false;
	page_params(x, &p);
	enum err e = pg_begin(&j);
	if (e == OK) {
		enum err v = pg_verify_was(x->g.t, x->prefix, exact, &was);
		struct diag d = *diag_get();
		e = pg_end(&j);
		if (v != OK) {
			*diag_get() = d;
			e = v;
		}
	}
	if (e == OK && *exact && was)
		e = take_own(x, step.res, done);
	pg_job_clear(&j);
	pg_params_release(&p);
	return e;
}

/* How many rows of a first page are known to be the newest of all. */
static int certain(const PGresult *r)
{
	int n = PQntuples(r);
	if (n == 1 && pg_is_null(r, 0, 0)) /* none; the row has only the figures */
		return 0;
	while (n > 0 && !pg_is_null(r, 0, COL_CUT) && pg_get_i64(r, n - 1, COL_AT) <= pg_get_i64(r, 0, COL_CUT))
		n--;
	return n;
}

/* The first page; *more: there may be items behind it. */
static enum err first(struct scan *x, bool *more)
{
	bool few = wants_few(x);
	struct pg_params p;
	PGresult *r;
	enum err e;
	page_params(x, &p);
	TRY(pg_query(x->g.t, few ? &pg_scan_few : &pg_scan_more, &p, &r));
	int n = certain(r);
	*more = n == (few ? FEW : MORE) || !pg_is_null(r, 0, COL_CUT) || pg_get_i64(r, 0, COL_NAMESPACES) > MANY;
	e = pg_give(&x->g, r, n);
	if (e == OK && n > 0)
		e = remember(x, r, n - 1, COL_AT);
	PQclear(r);
	return e;
}

/* Names behind the place, n of them at most. */
static enum err names(struct scan *x, const struct pg_stmt *st, size_t n, PGresult **r)
{
	struct pg_params p;
	struct str at = buf_slice(&x->place);
	pg_params_init(&p);
	pg_scope(&p, x->prefix);
	raw_time(&p, x->begun ? x->at : TIME_MAX);
	pg_text(&p, str_sub(at, 0, x->ns_n));
	if (x->begun)
		pg_text(&p, str_sub(at, x->ns_n, at.n));
	else
		pg_null(&p, PG_TEXT);
	pg_i64(&p, (int64_t)n);
	if (st == &pg_scan_list_all) {
		pg_time(&p, x->g.omit_us);
		contains(&p, x);
	}
	return pg_query(x->g.t, st, &p, r);
}

static enum err rest(struct scan *x, const struct pg_stmt *st)
{
	size_t n = x->begun || x->want == 0 ? 8 * x->g.page : x->want;
	bool more = true;
	while (more && !x->g.stopped) {
		PGresult *r;
		enum err e;
		n = n > LIST_MAX ? LIST_MAX : n;
		TRY(names(x, st, n, &r));
		e = pg_give_named(&x->g, r);
		more = (size_t)PQntuples(r) == n;
		if (e == OK && more)
			e = remember(x, r, (int)n - 1, 2);
		PQclear(r);
		TRY(e);
		n *= 8;
	}
	return OK;
}

static enum err scan(struct scan *x)
{
	bool exact, more = true, full = false;
	uint64_t hash, parent = atomic_load_explicit(parent_slot(x, &hash), memory_order_relaxed);
	if (x->want > 0 && x->want <= MORE && parent != hash)
		TRY(own(x, &exact, &full));
	else
		TRY(pg_verify(x->g.t, x->prefix, &exact));
	if (!exact)
		return rest(x, &pg_scan_list_all);
	if (!full && x->want <= MORE)
		TRY(first(x, &more));
	return more && !x->g.stopped ? rest(x, x->contains.n ? &pg_scan_list_all : &pg_scan_list) : OK;
}

enum err pg_item_scan(struct store *s, const struct principal *who, struct str prefix, int64_t omit_us,
		      const struct scan_hint *hint, item_fn fn, void *ctx)
{
	struct scan x = {.g = {.omit_us = omit_us, .fn = fn, .ctx = ctx, .page = 64}, .prefix = prefix};
	TRY(pg_tenant_get(pg_of(s), who, RIGHT_READ, false, &x.g.t));
	if (!x.g.t)
		return OK;
	if (hint) {
		x.want = hint->want;
		x.contains = hint->contains;
	}
	buf_init(&x.place, NULL, 1u << 20);
	enum err e = scan(&x);
	buf_release(&x.place);
	return e;
}
