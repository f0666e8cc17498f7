/* item_scan: the items below a prefix, newest first.
 *
 * When the feed says that cenote_item is exact below the prefix (pg_verify), its index (prefix, updated_at) gives the order:
 *  - first(): the usual search is one statement. It goes from namespace to namespace below the prefix by the index, takes the
 * newest few of each, and keeps the newest of all. More than FEW_NAMESPACES of them is too much for that: then, and for what comes
 *    after the first page,
 *  - rest(): the names of the items in order, some thousands at a time, and the items by name in pages (rows.c). So a scan to the
 *    end costs one sort per thousands of names, not one per page, however many items were written at one time.
 * When it is not exact, the names come from `store` itself, which is right always, but sorts the scope.
 *
 * Invariants
 *  1. The order is (time descending, namespace, key), bytes compared; a row without a time comes last. Each statement goes on
 *     strictly behind the last name of the one before, so no item comes twice and none that stays as it is is left out.
 *  2. No statement's cost hangs on the planner's idea of a parameter: limits are constants, and filters have a neutral weight. */
#include "store/postgres/read.h"

#define FEW 10
#define MORE 100
#define FEW_NAMESPACES 32
#define LIST_MAX 16384	   /* LIMIT in the text of the lists */
#define HAVING_MAX 4096	   /* the same for the list with a filter */
#define TIME_MAX INT64_MAX /* infinity */

/* $4 omit expired before (NULL: no), $5 what values contain (NULL: anything). CASE, because the planner takes it for one half: a
 * guess of "hardly any" for @> would make it sort the scope instead of following the index. */
#define WANTED(omit, having)                                                                                                       \
	"(s.expires_at < $" #omit ") IS NOT TRUE AND CASE WHEN $" #having "::jsonb IS NULL THEN true ELSE s.value @> $" #having    \
	" END"
#define NEWEST(x) x ".at DESC, " x ".prefix USING ~<~, " x ".key USING ~<~"

/* $1..$3 the scope. n: the namespaces, one look-up each, begun with the prefix itself; at most FEW_NAMESPACES + 2 rows (i counts
 * them), the last is NULL unless there are too many. WITH TIES leaves the order within one time to the sort of the few. */
#define FIRST(few)                                                                                                                 \
	"WITH RECURSIVE n(prefix, i) AS (SELECT $1::text, 1 UNION ALL"                                                             \
	" SELECT (SELECT c.prefix FROM @cenote_item c WHERE c.prefix ~>=~ $2 AND c.prefix ~>~ n.prefix AND c.prefix ~<~ $3"        \
	" ORDER BY c.prefix USING ~<~ LIMIT 1), n.i + 1 FROM n WHERE n.prefix IS NOT NULL AND n.i < 34)"                           \
	" SELECT h.*, m.i FROM (SELECT max(i) AS i FROM n WHERE prefix IS NOT NULL) m LEFT JOIN (SELECT x.*"                       \
	" FROM (SELECT prefix FROM n WHERE prefix IS NOT NULL LIMIT 33) p CROSS JOIN LATERAL"                                      \
	" (SELECT " PG_ITEM_COLUMNS ", c.updated_at AS at FROM @cenote_item c CROSS JOIN LATERAL " PG_STORE_OF_C                   \
	" WHERE c.prefix = p.prefix AND " WANTED(                                                                                  \
		4, 5) " ORDER BY c.updated_at DESC FETCH FIRST " #few " ROWS WITH TIES) x"                                         \
		      " WHERE (SELECT max(i) FROM n WHERE prefix IS NOT NULL) < 34 ORDER BY " NEWEST("x") " LIMIT " #few           \
													  ") h ON true"            \
													  " ORDER BY " NEWEST("h")
static const struct pg_stmt first_few = {ST_SCAN_FEW, LANE_SEARCH, "item_scan_few", FIRST(10)};
static const struct pg_stmt first_more = {ST_SCAN_MORE, LANE_SEARCH, "item_scan_more", FIRST(100)};
enum { COL_AT = 9, COL_NAMESPACES = 10 };

/* Names behind ($4, $5, $6), $7 of them: prefix, key, time. */
#define BEHIND(time, x)                                                                                                            \
	time " <= $4 AND (" time " < $4 OR " x ".prefix ~>~ $5 OR " x ".prefix = $5 AND (" x ".key ~>~ $6) IS NOT FALSE)"
#define LIST(from, having, max)                                                                                                    \
	"SELECT q.prefix, q.key, q.at FROM ((SELECT c.prefix, c.key, c.updated_at AS at FROM " from                                \
	" WHERE c.prefix = $1 AND " BEHIND("c.updated_at", "c") having                                                             \
		" ORDER BY c.updated_at DESC, c.key USING ~<~ LIMIT " max ") UNION ALL"                                            \
		" (SELECT c.prefix, c.key, c.updated_at AS at FROM " from                                                          \
		" WHERE c.prefix ~>=~ $2 AND c.prefix ~<~ $3 AND c.prefix <> $1 AND " BEHIND("c.updated_at", "c") having           \
		" ORDER BY c.updated_at DESC, c.prefix USING ~<~, c.key USING ~<~ LIMIT " max                                      \
		")) q ORDER BY " NEWEST("q") " LIMIT $7"
static const struct pg_stmt list = {ST_SCAN_LIST, LANE_SEARCH, "item_list", LIST("@cenote_item c", "", "16384")};
static const struct pg_stmt list_having = {
	ST_SCAN_LIST_HAVING,
	LANE_SEARCH,
	"item_list_having",
	LIST("@cenote_item c CROSS JOIN LATERAL " PG_STORE_OF_C, " AND " WANTED(8, 9), "4096"),
};
#define TIME "coalesce(s.updated_at, '-infinity')"
static const struct pg_stmt list_all = {
	ST_SCAN_LIST_ALL,
	LANE_SEARCH,
	"item_list_all",
	"SELECT q.prefix, q.key, q.at FROM (SELECT s.prefix, s.key, " TIME
	" AS at FROM @store s WHERE " PG_BELOW("s.prefix", 1, 2, 3) " AND " BEHIND(TIME, "s") " AND " WANTED(
		8, 9) " ORDER BY 3 DESC, s.prefix USING ~<~, s.key USING ~<~ LIMIT 16384) q"
		      " ORDER BY " NEWEST("q") " LIMIT $7",
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

/* The first page by namespaces; *more: there may be items behind it, or there are too many namespaces and nothing was done. */
static enum err first(struct scan *x, bool *more)
{
	bool few = x->want > 0 && x->want <= FEW;
	struct pg_params p;
	PGresult *r;
	enum err e = OK;
	pg_params_init(&p);
	pg_scope(&p, x->prefix);
	pg_time(&p, x->g.omit_us);
	contains(&p, x);
	TRY(pg_query(x->g.t, few ? &first_few : &first_more, &p, &r));
	int n = PQntuples(r);
	*more = n == (few ? FEW : MORE);
	if (n > 0 && pg_get_i64(r, 0, COL_NAMESPACES) > FEW_NAMESPACES + 1)
		*more = true;
	else
		CHECK(pg_give(&x->g, r));
	if (n > 1 || (n == 1 && !pg_is_null(r, 0, 0)))
		e = remember(x, r, n - 1, COL_AT);
out:
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
	if (st != &list) {
		pg_time(&p, x->g.omit_us);
		contains(&p, x);
	}
	return pg_query(x->g.t, st, &p, r);
}

static enum err rest(struct scan *x, const struct pg_stmt *st)
{
	size_t max = st == &list_having ? HAVING_MAX : LIST_MAX, n = x->begun || x->want == 0 ? 8 * x->g.page : x->want;
	bool more = true;
	while (more && !x->g.stopped) {
		PGresult *r;
		enum err e;
		n = n > max ? max : n;
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
	bool exact, more = true;
	TRY(pg_verify(x->g.t, x->prefix, &exact));
	if (!exact)
		return rest(x, &list_all);
	if (x->want <= MORE)
		TRY(first(x, &more));
	return more && !x->g.stopped ? rest(x, x->contains.n ? &list_having : &list) : OK;
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
