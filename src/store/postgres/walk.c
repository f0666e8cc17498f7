/* item_walk: the items below a prefix by (namespace, key), bytes compared, strictly behind a place.
 *
 * When the feed says that cenote_item is exact below the prefix, its unique index has that order and a page costs what it holds:
 * the rest of the namespace that the place is in, then the namespaces behind it. Else the names come from `store`, which has no
 * index in byte order by key: a list of names costs a look at what is left of one namespace.
 *
 * An export walks in pieces, and each is a call of its own. What others write is looked for when a walk begins, and then every two
 * seconds, not before every piece.
 *
 * Invariant: the place is (from, key): what is due are the items of namespace `from` with a key behind it (at it, when fresh), and
 * all in namespaces of the scope behind `from`. */
#include "base/hash.h"
#include "store/postgres/read.h"

/* $2 $3 range of the namespaces below the prefix ($1, which `from` has taken in), $4 from, $5 key, $6 the same or NULL (then the
 * item itself is due, too), $7 how many. */
#define IN_FROM " c WHERE c.prefix = $4 AND c.key ~>=~ $5 AND (c.key <> $6) IS NOT FALSE"
#define BEHIND_FROM " c WHERE c.prefix ~>~ $4 AND c.prefix ~>=~ $2 AND c.prefix ~<~ $3"
#define BY_NAME(x) x ".prefix USING ~<~, " x ".key USING ~<~"
#define BOTH(n, select)                                                                                                            \
	"SELECT q.* FROM ((" PG_FIRST(n, select IN_FROM, BY_NAME) ") UNION ALL (" PG_FIRST(                                        \
		n, select BEHIND_FROM, BY_NAME) ")) q"                                                                             \
						" ORDER BY " BY_NAME("q") " LIMIT $7"
#define PAGE                                                                                                                       \
	BOTH(512,                                                                                                                  \
	     "SELECT c.prefix, c.key, c.id, c.mark, c.version, c.ttl_minutes, c.fact, c.valid_from, c.valid_to FROM @cenote_item")
#define BY_NAME_C BY_NAME("c")
/* A row of cenote_item whose item is gone is a row of the page, too, so that the place moves on: its name is in the last columns.
 */
const struct pg_stmt pg_walk_page = {
	ST_WALK,
	LANE_SEARCH,
	"item_walk",
	"SELECT " PG_ITEM_COLUMNS ", c.prefix, c.key FROM (" PAGE ") c LEFT JOIN LATERAL " PG_STORE_OF_C " ON true"
	" ORDER BY " BY_NAME_C,
};
enum { COL_NS = PG_ITEM_COLUMNS_N, COL_KEY };
const struct pg_stmt pg_walk_list = {
	ST_WALK_ALL,
	LANE_SCAN,
	"item_walk_list",
	BOTH(16384, "SELECT c.prefix, c.key FROM @store"),
};
#define LIST_MIN 1024
#define LIST_MAX 16384
#define TRUSTED_NS UINT64_C(2000000000)

struct walk {
	struct pg_giver g;
	struct str prefix;
	struct buf place; /* from and key, one behind the other */
	size_t from_n;
	bool fresh;
};

static enum err go_on(struct walk *x, struct str ns, struct str key)
{
	buf_clear(&x->place);
	buf_str(&x->place, ns);
	buf_str(&x->place, key);
	x->from_n = ns.n;
	x->fresh = false;
	return x->place.err;
}

/* The place for "behind (ns, key)", at the scope's beginning at the earliest; false: nothing of the scope is behind it. */
static bool begin(struct walk *x, struct str ns, struct str key, enum err *e)
{
	struct str p = x->prefix;
	bool below = p.n == 0 || (str_starts(ns, p) && (ns.n == p.n || ns.p[p.n] == '.'));
	*e = OK;
	if (below) {
		*e = go_on(x, ns, key);
		return true;
	}
	if (str_cmp(ns, p) > 0 && (!str_starts(ns, p) || (unsigned char)ns.p[p.n] > '.'))
		return false;
	*e = go_on(x, p, STR(""));
	if (str_cmp(ns, p) > 0) { /* between P and what begins with "P." */
		buf_byte(&x->place, '.');
		x->from_n++;
		*e = x->place.err;
	}
	x->fresh = true;
	return true;
}

static enum err query(struct walk *x, const struct pg_stmt *st, unsigned n, PGresult **r)
{
	struct pg_params p;
	struct str at = buf_slice(&x->place), key = str_sub(at, x->from_n, at.n);
	pg_params_init(&p);
	pg_scope(&p, x->prefix);
	pg_text(&p, str_sub(at, 0, x->from_n));
	pg_text(&p, key);
	if (x->fresh)
		pg_null(&p, PG_TEXT);
	else
		pg_text(&p, key);
	pg_i64(&p, n);
	return pg_query(x->g.t, st, &p, r);
}

static enum err walk_pages(struct walk *x)
{
	bool more = true;
	while (more && !x->g.stopped) {
		unsigned n = x->g.page;
		PGresult *r;
		TRY(query(x, &pg_walk_page, n, &r));
		enum err e = pg_give(&x->g, r, PQntuples(r));
		more = (unsigned)PQntuples(r) == n;
		if (e == OK && more)
			e = go_on(x, pg_get_str(r, (int)n - 1, COL_NS), pg_get_str(r, (int)n - 1, COL_KEY));
		PQclear(r);
		TRY(e);
	}
	return OK;
}

static enum err walk_list(struct walk *x)
{
	unsigned n = LIST_MIN;
	bool more = true;
	while (more && !x->g.stopped) {
		PGresult *r;
		TRY(query(x, &pg_walk_list, n, &r));
		enum err e = pg_give_named(&x->g, r);
		more = (unsigned)PQntuples(r) == n;
		if (e == OK && more)
			e = go_on(x, pg_get_str(r, (int)n - 1, 0), pg_get_str(r, (int)n - 1, 1));
		PQclear(r);
		TRY(e);
		n = n * 4 > LIST_MAX ? LIST_MAX : n * 4;
	}
	return OK;
}

/* Whether cenote_item may be walked; begins: no piece went before. */
static enum err is_exact(struct pg_tenant *t, struct str prefix, bool begins, bool *exact)
{
	uint64_t scope = hash64_seeded(prefix);
	*exact = !begins && atomic_load(&t->walk_scope) == scope && clock_mono_ns() < atomic_load(&t->walk_until) &&
		 atomic_load(&t->walk_scope) == scope;
	if (*exact)
		return OK;
	TRY(pg_verify(t, prefix, exact));
	if (*exact) {
		atomic_store(&t->walk_scope, 0);
		atomic_store(&t->walk_until, clock_mono_ns() + TRUSTED_NS);
		atomic_store(&t->walk_scope, scope);
	}
	return OK;
}

enum err pg_item_walk(struct store *s, const struct principal *who, struct str prefix, struct str after_ns, struct str after_key,
		      item_fn fn, void *ctx)
{
	struct walk x = {.g = {.fn = fn, .ctx = ctx, .page = 256}, .prefix = prefix};
	bool exact;
	enum err e;
	TRY(pg_tenant_get(pg_of(s), who, RIGHT_READ, false, &x.g.t));
	if (!x.g.t)
		return OK;
	buf_init(&x.place, NULL, 1u << 20);
	if (begin(&x, after_ns, after_key, &e)) {
		CHECK(e);
		CHECK(is_exact(x.g.t, prefix, after_ns.n == 0 && after_key.n == 0, &exact));
		e = exact ? walk_pages(&x) : walk_list(&x);
	}
out:
	buf_release(&x.place);
	return e;
}
