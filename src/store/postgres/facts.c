/* Facts: reading what was known before (core/fact_store.h), and putting it back (import). The statements that write items move
 * states there: put_sql.c.
 *
 * Invariants
 *  1. An item is a fact while cenote_item.fact is its version and mark its row's xmin: every put of ours gives it another version,
 * and a row that another program wrote has another xmin; so validity is never that of an earlier value.
 *  2. What has gone from the history stays gone: a key that is deleted, here or (once that is noticed) by another program, or that
 *     has expired, loses its states in the statement that removes its row of cenote_item. */
#include "store/postgres/pg.h"

#define PAGE 200 /* rows of a page; LIMIT of the texts */
#define PAGE_TEXT "200"
#define KEEP_ROWS 500

#define COLUMNS                                                                                                                    \
	"f.prefix, f.key, f.value, f.recorded_from, f.recorded_to, f.fact, f.valid_from, f.valid_to, f.ended, f.expires_at,"       \
	" f.superseded_by, f.terms FROM @cenote_fact f"
#define BY_NAME "f.prefix USING ~<~, f.key USING ~<~, f.recorded_from"

/* $3 before, $4 omit expired before (NULL: no), $5 limit */
static const struct pg_stmt st_history = {
	ST_FACT_HISTORY, LANE_SEARCH, "fact_history",
	"SELECT " COLUMNS
	" WHERE f.prefix = $1 AND f.key = $2 AND ($3::timestamptz IS NULL OR f.recorded_from < $3::timestamptz) AND"
	" (f.expires_at < $4::timestamptz) IS NOT TRUE ORDER BY f.recorded_from DESC LIMIT $5::bigint"};
/* $1..$3 the scope; strictly after ($4, $5, $6; NULL: from $4, $5 on); $7 known at (NULL: whenever), $8 omit expired before */
static const struct pg_stmt st_walk = {
	ST_FACT_WALK, LANE_SEARCH, "fact_walk",
	"SELECT " COLUMNS " WHERE " PG_BELOW(
		"f.prefix", 1, 2,
		3) " AND f.prefix ~>=~ $4 AND (f.prefix ~>~ $4 OR f.key ~>~ $5 OR"
		   " f.key = $5 AND ($6::timestamptz IS NULL OR f.recorded_from > $6::timestamptz)) AND ($7::timestamptz IS NULL OR"
		   " f.recorded_from <= $7::timestamptz AND f.recorded_to > $7::timestamptz) AND (f.expires_at < $8::timestamptz) "
		   "IS NOT TRUE"
		   " ORDER BY " BY_NAME " LIMIT " PAGE_TEXT};
/* $13 op */
static const struct pg_stmt st_keep = {
	ST_FACT_KEEP, LANE_WRITE, "fact_keep",
	"WITH j AS (INSERT INTO @cenote_journal(op, step, kind, ids, names) VALUES ($13::bigint, 0, 'i', '{}', '{}')), k AS (INSERT"
	" INTO @cenote_fact(prefix, key, recorded_from, recorded_to, fact, valid_from, valid_to, ended, expires_at, superseded_by,"
	" terms, value) SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::int[]::bool[],"
	" $6::timestamptz[], $7::timestamptz[], $8::timestamptz[], $9::timestamptz[], $10::text[], $11::bytea[], $12::jsonb[])"
	" ON CONFLICT (prefix text_pattern_ops, key text_pattern_ops, recorded_from) DO NOTHING RETURNING 1)"
	" SELECT count(*) FROM k"};

static void state(const PGresult *r, int row, struct fact_state *f)
{
	*f = (struct fact_state){
		.ns = pg_get_str(r, row, 0),
		.key = pg_get_str(r, row, 1),
		.value = pg_get_json(r, row, 2),
		.recorded_from_us = pg_get_time(r, row, 3),
		.recorded_to_us = pg_get_time(r, row, 4),
		.fact = pg_get_bool(r, row, 5),
		.valid_from_us = pg_get_instant(r, row, 6),
		.valid_to_us = pg_get_instant(r, row, 7),
		.ended_us = pg_get_instant(r, row, 8),
		.expires_us = pg_get_time(r, row, 9),
		.by = pg_get_str(r, row, 10),
		.terms = pg_get_str(r, row, 11),
	};
}

static enum err pg_fact_history(struct store *s, const struct principal *who, struct str ns, struct str key, int64_t before_us,
				int64_t omit_us, size_t limit, fact_fn fn, void *ctx)
{
	struct pg_tenant *t;
	struct pg_params p;
	struct fact_state f;
	PGresult *r;
	TRY(pg_tenant_get(pg_of(s), who, RIGHT_READ, false, &t));
	if (!t)
		return OK;
	pg_params_init(&p);
	pg_text(&p, ns);
	pg_text(&p, key);
	pg_time(&p, before_us);
	pg_time(&p, omit_us);
	pg_i64(&p, (int64_t)limit);
	TRY(pg_query(t, &st_history, &p, &r));
	for (int i = 0; i < PQntuples(r); i++) {
		state(r, i, &f);
		if (!fn(ctx, &f))
			break;
	}
	PQclear(r);
	return OK;
}

/* ---------------------------------------------------------------- walking */

struct walk {
	struct pg_tenant *t;
	struct str prefix;
	struct buf place; /* (ns, key, us) to go on after */
	size_t ns_n;
	int64_t us, at_us, omit_us;
	bool fresh; /* from the scope's beginning */
	fact_fn fn;
	void *ctx;
};

static enum err page(struct walk *x, bool *more)
{
	struct str at = buf_slice(&x->place);
	struct fact_state f = {.ns = STR("")};
	struct pg_params p;
	PGresult *r;
	bool go = true;
	enum err e = OK;
	pg_params_init(&p);
	pg_scope(&p, x->prefix);
	pg_text(&p, str_sub(at, 0, x->ns_n));
	pg_text(&p, str_sub(at, x->ns_n, at.n));
	if (x->fresh)
		pg_null(&p, PG_TIMESTAMPTZ);
	else
		pg_time(&p, x->us);
	pg_time(&p, x->at_us);
	pg_time(&p, x->omit_us);
	TRY(pg_query(x->t, &st_walk, &p, &r));
	int n = PQntuples(r);
	for (int i = 0; i < n && go; i++) {
		state(r, i, &f);
		go = x->fn(x->ctx, &f);
	}
	*more = go && n == PAGE;
	if (*more) {
		buf_clear(&x->place);
		buf_str(&x->place, f.ns);
		buf_str(&x->place, f.key);
		x->ns_n = f.ns.n;
		x->us = f.recorded_from_us;
		x->fresh = false;
		e = x->place.err;
	}
	PQclear(r);
	return e;
}

static enum err walk(struct walk *x, struct store *s, const struct principal *who, struct str ns, struct str key)
{
	bool more = true;
	enum err e = OK;
	TRY(pg_tenant_get(pg_of(s), who, RIGHT_READ, false, &x->t));
	if (!x->t)
		return OK;
	buf_init(&x->place, NULL, 1u << 20);
	buf_str(&x->place, ns);
	buf_str(&x->place, key);
	x->ns_n = ns.n;
	e = x->place.err;
	while (e == OK && more)
		e = page(x, &more);
	buf_release(&x->place);
	return e;
}

static enum err pg_fact_known_at(struct store *s, const struct principal *who, struct str prefix, int64_t at_us, int64_t omit_us,
				 fact_fn fn, void *ctx)
{
	struct walk x = {.prefix = prefix, .at_us = at_us, .omit_us = omit_us, .fresh = true, .fn = fn, .ctx = ctx};
	return walk(&x, s, who, STR(""), STR(""));
}

static enum err pg_fact_walk(struct store *s, const struct principal *who, struct str prefix, struct str after_ns,
			     struct str after_key, int64_t after_us, fact_fn fn, void *ctx)
{
	struct walk x = {.prefix = prefix, .us = after_us, .fresh = after_key.n == 0, .fn = fn, .ctx = ctx};
	return walk(&x, s, who, after_ns, after_key);
}

/* ---------------------------------------------------------------- keeping */

#define EACH(p, type, call)                                                                                                        \
	do {                                                                                                                       \
		pg_array(p, type, n);                                                                                              \
		for (size_t i = 0; i < n; i++)                                                                                     \
			call;                                                                                                      \
		pg_array_end(p);                                                                                                   \
	} while (0)

static void keep_params(struct pg_params *p, const struct fact_state *v, size_t n, int64_t op)
{
	pg_params_init(p);
	EACH(p, PG_TEXTS, pg_el_str(p, v[i].ns));
	EACH(p, PG_TEXTS, pg_el_str(p, v[i].key));
	EACH(p, PG_TIMESTAMPTZS, pg_el_instant(p, v[i].recorded_from_us));
	EACH(p, PG_TIMESTAMPTZS, pg_el_instant(p, v[i].recorded_to_us));
	EACH(p, PG_INT4S, pg_el_i32(p, v[i].fact));
	EACH(p, PG_TIMESTAMPTZS, pg_el_instant(p, v[i].valid_from_us));
	EACH(p, PG_TIMESTAMPTZS, pg_el_instant(p, v[i].valid_to_us));
	EACH(p, PG_TIMESTAMPTZS, pg_el_instant(p, v[i].ended_us));
	EACH(p, PG_TIMESTAMPTZS, pg_el_time(p, v[i].expires_us));
	EACH(p, PG_TEXTS, pg_el_str(p, v[i].by));
	EACH(p, PG_BYTEAS, pg_el_str(p, v[i].terms));
	EACH(p, PG_JSONBS, pg_el_json(p, v[i].value));
	pg_i64(p, op);
}

static enum err pg_fact_keep(struct store *s, const struct principal *who, const struct fact_state *v, size_t n, size_t *stored)
{
	struct pg_tenant *t;
	*stored = 0;
	TRY(principal_check(who, RIGHT_WRITE));
	TRY(pg_tenant_get(pg_of(s), who, RIGHT_WRITE, n > 0, &t));
	for (size_t at = 0, k; at < n; at += k) {
		struct pg_params p;
		PGresult *r;
		bool repeated;
		k = n - at < KEEP_ROWS ? n - at : KEEP_ROWS;
		keep_params(&p, v + at, k, pg_new_op());
		TRY(pg_write(t, &st_keep, &p, &r, &repeated));
		if (!repeated) /* else their number is lost */
			*stored += (size_t)pg_get_i64(r, 0, 0);
		PQclear(r);
	}
	return OK;
}

const struct fact_ops pg_fact_ops = {
	.history = pg_fact_history, .known_at = pg_fact_known_at, .walk = pg_fact_walk, .keep = pg_fact_keep};
