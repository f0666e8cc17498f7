/* The statements that write items: their texts, parameters and results.
 *
 * All rows of a statement travel as arrays, one per column. No statement may become quadratic when the planner believes that an
 * array has 10 elements and it has 1,000: nested loops are only made over indexes. Where rows that a RETURNING gives have to find
 * their element again, an array in the same order (ST_PUT) or a FULL JOIN (which PostgreSQL only does by hash or merge) does it.
 *
 * Invariants
 *  1. A row of cenote_item is written after the row of store that it belongs to, in the same statement: its mark is that row's
 * xmin.
 *  2. ST_PUT_VERSION, ST_DELETE and ST_TOUCH run behind pg_write_lock in the same transaction. So their snapshot is younger than
 * the locks: what they read of store and cenote_item is the newest there is, and stays so.
 *  3. Each inserts its journal row whatever it did: by that an attempt that is repeated is recognised. */
#include "store/postgres/write.h"

#define XID "pg_current_xact_id()::xid"
/* A version for a row of which we know none: those of other clients, see pg.h. */
#define XID_VERSION "pg_current_xact_id()::xid::text::bigint << 20"
#define STORED_VERSION "CASE WHEN c.mark = s.xmin THEN c.version ELSE s.xmin::text::bigint << 20 END"
#define STORED_TTL "CASE WHEN c.mark = s.xmin THEN c.ttl_minutes ELSE coalesce(s.ttl_minutes, 0)::float8 END"
#define STORED(x)                                                                                                                  \
	" LEFT JOIN @store s ON s.prefix = " x ".prefix AND s.key = " x ".key LEFT JOIN @cenote_item c ON c.prefix = " x           \
	".prefix AND c.key = " x ".key"
#define TTL_INT(ttl) "CASE WHEN " ttl " > 0 THEN least(ceil(" ttl "), 2147483647)::int END"

/* $1 op, $2 step, $3 guard, $4 given, $5 prefix, $6 key, $7 value, $8 created, $9 updated, $10 expires, $11 ttl, $12 terms */
#define INSERT_STORE                                                                                                               \
	"s AS (INSERT INTO @store AS t(prefix, key, value, created_at, updated_at, expires_at, ttl_minutes)"                       \
	" SELECT prefix, key, value, created, updated, expires, " TTL_INT(                                                         \
		"ttl") " FROM unnest($5::text[], $6::text[], $7::jsonb[], $8::timestamptz[], $9::timestamptz[], "                  \
		       "$10::timestamptz[],"                                                                                       \
		       " $11::float8[]) AS x(prefix, key, value, created, updated, expires, ttl) ON CONFLICT (prefix, key) DO "
#define UPDATE_STORE                                                                                                               \
	"UPDATE SET value = excluded.value,"                                                                                       \
	" created_at = CASE WHEN $4::bool THEN excluded.created_at ELSE coalesce(t.created_at, excluded.created_at) END,"          \
	" updated_at = excluded.updated_at, expires_at = excluded.expires_at, ttl_minutes = excluded.ttl_minutes"
#define ITEM_COLUMNS "@cenote_item AS i(mark, version, updated_at, ttl_minutes, prefix, key, terms)"
#define NEXT_VERSION(ins) "CASE WHEN " ins " THEN 1 ELSE " XID_VERSION " END"
#define ON_ITEM " ON CONFLICT (prefix text_pattern_ops, key text_pattern_ops) DO UPDATE SET mark = excluded.mark,"
#define UPDATE_ITEM(version)                                                                                                       \
	ON_ITEM " version = " version                                                                                              \
		", updated_at = excluded.updated_at, ttl_minutes = excluded.ttl_minutes, terms = excluded.terms,"                  \
		" fact = CASE WHEN i.fact = i.version THEN 0 END RETURNING id, prefix, version, terms, updated_at, fact"
/* Facts that were overwritten (fact = 0, above) go into the history as this statement's snapshot still has them. Behind
 * pg_write_lock that is the newest state; else somebody may have overwritten it in between, and what is there of it stays. */
#define FACT_COLUMNS                                                                                                               \
	"@cenote_fact(prefix, key, recorded_from, recorded_to, fact, valid_from, valid_to, ended, expires_at, superseded_by, "     \
	"terms, value)"
#define FACT_ONCE " ON CONFLICT (prefix text_pattern_ops, key text_pattern_ops, recorded_from) DO NOTHING"
#define KEEP_FACTS                                                                                                                 \
	", h AS (INSERT INTO " FACT_COLUMNS " SELECT o.prefix, o.key, t.updated_at, greatest(c.updated_at, t.updated_at), true,"   \
	" o.valid_from, o.valid_to, NULL, t.expires_at, o.key, coalesce(o.terms, ''), t.value FROM c CROSS JOIN LATERAL (SELECT"   \
	" i.* FROM @cenote_item i WHERE i.id = c.id LIMIT 1) o CROSS JOIN LATERAL (SELECT q.*, q.xmin FROM @store q WHERE"         \
	" q.prefix = o.prefix AND q.key = o.key LIMIT 1) t WHERE c.fact = 0 AND o.mark = t.xmin AND o.fact = o.version" FACT_ONCE  \
	")"
#define VERSION_AFTER "CASE WHEN excluded.version = 1 THEN 1 ELSE i.version + 1 END"
#define JOURNAL "INSERT INTO @cenote_journal(op, step, kind, ids, names)"
#define CHANGED_IDS "coalesce(array_agg(CASE WHEN terms = '' THEN -id ELSE id END), '{}')"
#define NAMES "coalesce(array_agg(prefix), '{}')"
#define GUARD(holds) "$2::int / CASE WHEN $3::bool AND NOT (" holds ") THEN 0 ELSE 1 END"

/* As above; ins of the n-th row of s belongs to the n-th element, because each element gives one row. */
static const struct pg_stmt st_put = {
	ST_PUT, LANE_WRITE, "put",
	"WITH " INSERT_STORE UPDATE_STORE " RETURNING xmax = 0 AS ins), c AS (INSERT INTO " ITEM_COLUMNS " SELECT " XID
	", " NEXT_VERSION(
		"a.ins[x.n::int]") ", x.updated, x.ttl, x.prefix, x.key, x.terms"
				   " FROM (SELECT array_agg(ins) AS ins FROM s) a,"
				   " unnest($5::text[], $6::text[], $9::timestamptz[], $11::float8[], $12::bytea[]) WITH ORDINALITY"
				   " AS x(prefix, key, updated, ttl, terms, n)" UPDATE_ITEM(
					   VERSION_AFTER) ")" KEEP_FACTS " " JOURNAL
							  " SELECT $1::bigint, $2::int, 'i', " CHANGED_IDS ", " NAMES
							  " FROM c RETURNING (SELECT array_agg(version) FROM c)"};

/* Those where a row may be left alone. */
#define PUT_SOME(conflict, guard)                                                                                                  \
	"WITH " INSERT_STORE conflict                                                                                              \
	" RETURNING prefix, key, xmax = 0 AS ins), y AS MATERIALIZED (SELECT prefix, key, x.updated, x.ttl, x.terms, x.n, s.ins"   \
	" FROM unnest($5::text[], $6::text[], $9::timestamptz[], $11::float8[], $12::bytea[]) WITH ORDINALITY"                     \
	" AS x(prefix, key, updated, ttl, terms, n) FULL JOIN s USING (prefix, key)), c AS (INSERT INTO " ITEM_COLUMNS             \
	" SELECT " XID ", " NEXT_VERSION("ins") ", updated, ttl, prefix, key, terms FROM y WHERE ins IS NOT NULL" UPDATE_ITEM(     \
		VERSION_AFTER) ")" KEEP_FACTS " " JOURNAL                                                                          \
			       " SELECT $1::bigint, " GUARD(guard) ", 'i', " CHANGED_IDS ", " NAMES                                \
								   " FROM c RETURNING (SELECT array_agg(n) FROM y WHERE ins IS "   \
								   "NOT NULL), (SELECT array_agg(version) FROM c)"

static const struct pg_stmt st_put_newer = {
	ST_PUT_NEWER, LANE_WRITE, "put_newer",
	PUT_SOME(UPDATE_STORE " WHERE t.updated_at IS NULL OR t.updated_at < excluded.updated_at", "true")};
static const struct pg_stmt st_put_absent = {ST_PUT_ABSENT, LANE_WRITE, "put_absent",
					     PUT_SOME("NOTHING", "(SELECT count(*) FROM c) = cardinality($5)")};

/* $13 newer, $14 want */
static const struct pg_stmt st_put_version = {
	ST_PUT_VERSION, LANE_WRITE, "put_version",
	"WITH o AS MATERIALIZED (SELECT q.*, version = want AS ok, version = want AND (NOT $13::bool OR stored IS NULL OR stored <"
	" updated) AS go FROM (SELECT x.*, s.key IS NOT NULL AS found, coalesce(" STORED_VERSION ", 0) AS version,"
	" s.updated_at AS stored FROM unnest($5::text[], $6::text[], $7::jsonb[], $8::timestamptz[], $9::timestamptz[],"
	" $10::timestamptz[], $11::float8[], $12::bytea[], $14::bigint[]) WITH ORDINALITY"
	" AS x(prefix, key, value, created, updated, expires, ttl, terms, want, n)" STORED(
		"x") ") q),"
		     " u AS (UPDATE @store t SET value = o.value, created_at = CASE WHEN $4::bool THEN o.created ELSE "
		     "coalesce(t.created_at,"
		     " o.created) END, updated_at = o.updated, expires_at = o.expires, ttl_minutes = " TTL_INT(
			     "o.ttl") " FROM o WHERE t.prefix = o.prefix AND t.key = o.key AND o.go"
				      " RETURNING o.prefix, o.key, o.version + 1 AS version, o.updated, o.ttl, o.terms),"
				      " c AS (INSERT INTO " ITEM_COLUMNS " SELECT " XID
				      ", version, updated, ttl, prefix, key, terms FROM u" UPDATE_ITEM(
					      "excluded.version") ")" KEEP_FACTS ", j AS (" JOURNAL
								  " SELECT $1::bigint, " GUARD(
									  "SELECT bool_and(ok) FROM o") ", 'i', " CHANGED_IDS
													", " NAMES
													" FROM c) SELECT found, "
													"version, ok, go FROM o "
													"ORDER BY n"};

/* $4 prefix, $5 key, $6 want: NULL any, 0 absent, else the version */
#define LOOK_FIRST(columns)                                                                                                        \
	"WITH o AS MATERIALIZED (SELECT q.*, CASE WHEN want IS NULL THEN true WHEN want = 0 THEN NOT found ELSE version = want"    \
	" END AS ok FROM (SELECT x.*, s.key IS NOT NULL AS found, coalesce(" STORED_VERSION ", 0) AS version, " columns            \
	" FROM unnest($4::text[], $5::text[], $6::bigint[]) WITH ORDINALITY AS x(prefix, key, want, n)" STORED("x") ") q)"

static const struct pg_stmt st_delete = {
	ST_DELETE, LANE_WRITE, "delete",
	LOOK_FIRST(
		"c.id") ", d AS (DELETE FROM @store t USING o WHERE t.prefix = o.prefix AND t.key = o.key AND o.found AND o.ok"
			" RETURNING o.id), c AS (DELETE FROM @cenote_item i USING d WHERE i.id = d.id RETURNING i.id, i.prefix), h "
			"AS (DELETE FROM @cenote_fact f USING o WHERE f.prefix = o.prefix AND f.key = o.key AND o.ok RETURNING "
			"o.n), j "
			"AS (" JOURNAL " SELECT $1::bigint, " GUARD(
				"SELECT bool_and(ok) FROM o") ", 'i', coalesce(array_agg(-id), '{}'), " NAMES
							      " FROM c) SELECT found, version, ok, found AND ok, n IN "
							      "(SELECT n FROM h) FROM o ORDER BY n"};

/* Columns of a fact, or of another item, that another one supersedes. */
#define RETIRED(x) "CASE WHEN (c.mark = s.xmin AND c.fact = c.version) IS TRUE THEN c." x " END"
/* $7 when, $8 by what, $9 valid from when */
static const struct pg_stmt st_retire = {
	ST_RETIRE, LANE_WRITE, "retire",
	"WITH o AS MATERIALIZED (SELECT x.*, s.key IS NOT NULL AS found, coalesce(" STORED_VERSION
	", 0) AS version, c.id, s.value, coalesce(s.updated_at, s.created_at, 'epoch') AS updated, s.expires_at, (c.mark = s.xmin "
	"AND"
	" c.fact = c.version) IS TRUE AS fact, " RETIRED("valid_from") " AS valid_from, " RETIRED(
		"valid_to") " AS valid_to, coalesce(CASE WHEN c.mark = s.xmin THEN c.terms END, '') AS terms FROM "
			    "unnest($4::text[],"
			    " $5::text[], $6::bigint[], $7::timestamptz[], $8::text[], $9::timestamptz[]) WITH ORDINALITY"
			    " AS x(prefix, key, want, at, by, since, n)" STORED(
				    "x") "), h AS (INSERT INTO " FACT_COLUMNS
					 " SELECT prefix, key, updated, greatest(at, updated), fact, valid_from, valid_to, CASE "
					 "WHEN valid_to IS NULL AND"
					 " (valid_from IS NULL OR valid_from < since) THEN since END, expires_at, by, terms, value "
					 "FROM o WHERE found" FACT_ONCE "), d AS (DELETE FROM @store t USING o WHERE t.prefix = "
					 "o.prefix AND t.key = o.key AND o.found RETURNING o.id),"
					 " c AS (DELETE FROM @cenote_item i USING d WHERE i.id = d.id RETURNING i.id, i.prefix), j "
					 "AS (" JOURNAL " SELECT $1::bigint, " GUARD(
						 "true") ", 'i', coalesce(array_agg(-id), '{}'), " NAMES
							 " FROM c) SELECT found, version, true, found FROM o ORDER BY n"};

/* Behind the statement that put them, in its transaction: these are facts. $1 prefix, $2 key, $3 updated, $4 valid from, $5 valid
 * to. What they have overwritten was valid until then; of a long history the oldest states go. Every look at the history is an
 * ordered one with a bound, which is made over its index however small the planner believes the table to be: what has just been
 * kept is the newest state, and of those to go the scan passes the ones that stay, once. */
#define STATES_OF_U "f.prefix = u.prefix AND f.key = u.key"
const struct pg_stmt pg_fact_set = {
	ST_FACT_SET, LANE_WRITE, "fact_set",
	"WITH x AS MATERIALIZED (SELECT x.*, i.id FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[],"
	" $5::timestamptz[]) AS x(prefix, key, updated, since, until) CROSS JOIN LATERAL (SELECT c.id FROM @cenote_item c WHERE"
	" c.prefix = x.prefix AND c.key = x.key AND c.updated_at = x.updated AND c.mark = " XID
	" LIMIT 1) i), u AS (UPDATE @cenote_item c SET fact = c.version, valid_from = x.since, valid_to = x.until FROM x WHERE"
	" c.id = x.id RETURNING c.prefix, c.key, c.updated_at, x.since), e AS (UPDATE @cenote_fact f SET ended = y.since FROM"
	" (SELECT u.since, o.at FROM u CROSS JOIN LATERAL (SELECT f.ctid AS at FROM @cenote_fact f WHERE " STATES_OF_U
	" AND f.recorded_to = u.updated_at AND f.superseded_by = f.key AND f.valid_to IS NULL AND (f.valid_from IS NULL OR"
	" f.valid_from < u.since) ORDER BY f.recorded_from DESC LIMIT 1) o WHERE u.since IS NOT NULL) y WHERE f.ctid = y.at)"
	" DELETE FROM @cenote_fact WHERE ctid = ANY (ARRAY(SELECT o.at FROM u CROSS JOIN LATERAL (SELECT f.ctid AS at FROM"
	" @cenote_fact f WHERE " STATES_OF_U " ORDER BY f.recorded_from DESC OFFSET " PG_FACT_MAX ") o))"};

/* $7 now. A row of another client is adopted on the way, without a document: else its version would change with its xmin. */
static const struct pg_stmt st_touch = {
	ST_TOUCH, LANE_WRITE, "touch",
	LOOK_FIRST(STORED_TTL
		   " AS ttl") ", u AS (UPDATE @store t SET expires_at = $7::timestamptz + make_interval(secs =>"
			      " least(o.ttl * 60, 4e12 - extract(epoch FROM $7::timestamptz)::float8))"
			      " FROM o WHERE t.prefix = o.prefix AND t.key = o.key AND o.ok AND o.ttl > 0"
			      " RETURNING o.prefix, o.key, o.version, o.ttl, coalesce(t.updated_at, $7::timestamptz) AS updated),"
			      " c AS (INSERT INTO " ITEM_COLUMNS " SELECT " XID
			      ", version, updated, ttl, prefix, key, NULL::bytea FROM u" ON_ITEM
			      " version = excluded.version, updated_at = excluded.updated_at, ttl_minutes = excluded.ttl_minutes,"
			      " terms = CASE WHEN i.version = excluded.version THEN i.terms END RETURNING id, prefix, terms), j AS "
			      "(" JOURNAL " SELECT $1::bigint, " GUARD(
				      "SELECT bool_and(ok) FROM o") ", 'i', " CHANGED_IDS ", " NAMES
								    " FROM c WHERE terms IS NULL) SELECT found, version, ok, ok "
								    "AND ttl > 0 IS TRUE FROM o ORDER BY n"};

const struct pg_stmt pg_write_patience = {ST_WRITE_PATIENCE, LANE_WRITE, "write_patience",
					  "SELECT set_config('lock_timeout', '500ms', true)"};

const struct pg_stmt pg_write_lock = {ST_WRITE_LOCK, LANE_WRITE, "write_lock",
				      "SELECT 1 FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS x(prefix, key, n)"
				      " JOIN @store s ON s.prefix = x.prefix AND s.key = x.key ORDER BY x.n FOR UPDATE OF s"};

/* $1 op, $2 prefix, $3 key, $4 step */
const struct pg_stmt pg_write_look = {
	ST_WRITE_LOOK, LANE_POINT, "write_look",
	"SELECT s.key IS NOT NULL, coalesce(" STORED_VERSION ", 0), s.updated_at, " STORED_TTL ", j.op IS NOT NULL,"
	" coalesce(c.id = ANY(j.ids) OR -c.id = ANY(j.ids), false), coalesce(cardinality(j.ids), 0)"
	" FROM unnest($2::text[], $3::text[], $4::int[]) WITH ORDINALITY AS x(prefix, key, step, n)" STORED(
		"x") " LEFT JOIN @cenote_journal j ON j.op = $1::bigint AND j.step = x.step ORDER BY x.n"};

const struct pg_stmt *pg_write_stmt(enum pg_st st)
{
	switch (st) {
	case ST_PUT_NEWER:
		return &st_put_newer;
	case ST_PUT_ABSENT:
		return &st_put_absent;
	case ST_PUT_VERSION:
		return &st_put_version;
	case ST_DELETE:
		return &st_delete;
	case ST_TOUCH:
		return &st_touch;
	case ST_RETIRE:
		return &st_retire;
	default:
		return &st_put;
	}
}

/* ---------------------------------------------------------------- rows */

/* Time of expiry; 0 without a ttl, and never so far away that it overflows. */
static int64_t expiry(int64_t from_us, double ttl_minutes)
{
	if (!(ttl_minutes > 0))
		return 0;
	double us = ttl_minutes * 60e6, most = 4e18 - (double)from_us;
	int64_t at = from_us + (int64_t)(us < most ? us : most);
	return at > 0 ? at : 1;
}

static enum pg_st statement_of(const struct item_write *w)
{
	if (w->op == W_DELETE)
		return ST_DELETE;
	if (w->op == W_TOUCH)
		return ST_TOUCH;
	if (w->op == W_RETIRE)
		return ST_RETIRE;
	if (w->cond == IF_VERSION)
		return ST_PUT_VERSION;
	if (w->cond == IF_ABSENT)
		return ST_PUT_ABSENT;
	return w->keep_newer ? ST_PUT_NEWER : ST_PUT;
}

void pg_row_init(struct pg_row *r, struct item_write *w, uint32_t at)
{
	int64_t now = clock_unique_us();
	*r = (struct pg_row){.w = w, .st = statement_of(w), .at = at, .first = at, .updated = now};
	if (w->op == W_RETIRE && w->updated_us)
		r->updated = w->updated_us;
	if (w->op != W_PUT)
		return;
	r->given = w->created_us != 0;
	r->updated = w->updated_us ? w->updated_us : now;
	r->created = w->created_us ? w->created_us : r->updated < now ? r->updated : now;
	r->expires = w->expires_us ? w->expires_us : expiry(r->updated, w->ttl_minutes);
}

int pg_row_cmp(const struct pg_row *a, const struct pg_row *b)
{
	int c = str_cmp(a->w->ns, b->w->ns);
	return c ? c : str_cmp(a->w->key, b->w->key);
}

bool pg_row_alike(const struct pg_row *a, const struct pg_row *b)
{
	return a->st == b->st && a->given == b->given && (a->st != ST_PUT_VERSION || a->w->keep_newer == b->w->keep_newer);
}

bool pg_rows_end_documents(struct pg_row *const *rows, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (rows[i]->w->op == W_DELETE || rows[i]->w->op == W_RETIRE ||
		    (rows[i]->w->op == W_PUT && rows[i]->w->terms.n == 0))
			return true;
	return false;
}

/* ---------------------------------------------------------------- parameters */

void pg_names_params(struct pg_params *p, struct pg_row *const *rows, size_t n)
{
	pg_array(p, PG_TEXTS, n);
	for (size_t i = 0; i < n; i++)
		pg_el_str(p, rows[i]->w->ns);
	pg_array_end(p);
	pg_array(p, PG_TEXTS, n);
	for (size_t i = 0; i < n; i++)
		pg_el_str(p, rows[i]->w->key);
	pg_array_end(p);
}

#define TIMES(p, field)                                                                                                            \
	do {                                                                                                                       \
		pg_array(p, PG_TIMESTAMPTZS, n);                                                                                   \
		for (size_t i_ = 0; i_ < n; i_++)                                                                                  \
			pg_el_time(p, rows[i_]->field);                                                                            \
		pg_array_end(p);                                                                                                   \
	} while (0)

static void put_params(struct pg_params *p, struct pg_row *const *rows, size_t n)
{
	pg_bool(p, rows[0]->given);
	pg_names_params(p, rows, n);
	pg_array(p, PG_JSONBS, n);
	for (size_t i = 0; i < n; i++)
		pg_el_json(p, rows[i]->w->value);
	pg_array_end(p);
	TIMES(p, created);
	TIMES(p, updated);
	TIMES(p, expires);
	pg_array(p, PG_FLOAT8S, n);
	for (size_t i = 0; i < n; i++)
		pg_el_f64(p, rows[i]->w->ttl_minutes > 0 ? rows[i]->w->ttl_minutes : 0);
	pg_array_end(p);
	pg_array(p, PG_BYTEAS, n);
	for (size_t i = 0; i < n; i++)
		pg_el_str(p, rows[i]->w->terms);
	pg_array_end(p);
}

static void want_params(struct pg_params *p, struct pg_row *const *rows, size_t n)
{
	pg_array(p, PG_INT8S, n);
	for (size_t i = 0; i < n; i++) {
		const struct item_write *w = rows[i]->w;
		if (w->cond == IF_ANY)
			pg_el_null(p);
		else
			pg_el_i64(p, w->cond == IF_ABSENT ? 0 : w->if_version > 0 ? w->if_version : -1);
	}
	pg_array_end(p);
}

static void retire_params(struct pg_params *p, struct pg_row *const *rows, size_t n)
{
	TIMES(p, updated);
	pg_array(p, PG_TEXTS, n);
	for (size_t i = 0; i < n; i++)
		pg_el_str(p, rows[i]->w->fact->by);
	pg_array_end(p);
	pg_array(p, PG_TIMESTAMPTZS, n);
	for (size_t i = 0; i < n; i++)
		pg_el_instant(p, rows[i]->w->fact->valid_from_us);
	pg_array_end(p);
}

void pg_write_params(struct pg_params *p, int64_t op, int step, bool guard, struct pg_row *const *rows, size_t n)
{
	pg_i64(p, op);
	pg_i32(p, step);
	pg_bool(p, guard);
	if (rows[0]->w->op == W_PUT) {
		put_params(p, rows, n);
		if (rows[0]->st != ST_PUT_VERSION)
			return;
		pg_bool(p, rows[0]->w->keep_newer);
		want_params(p, rows, n);
		return;
	}
	pg_names_params(p, rows, n);
	want_params(p, rows, n);
	if (rows[0]->st == ST_TOUCH)
		pg_time(p, rows[0]->updated);
	if (rows[0]->st == ST_RETIRE)
		retire_params(p, rows, n);
}

void pg_fact_params(struct pg_params *p, struct pg_row *const *rows, size_t n)
{
	pg_names_params(p, rows, n);
	TIMES(p, updated);
	pg_array(p, PG_TIMESTAMPTZS, n);
	for (size_t i = 0; i < n; i++)
		pg_el_instant(p, rows[i]->w->fact->valid_from_us);
	pg_array_end(p);
	pg_array(p, PG_TIMESTAMPTZS, n);
	for (size_t i = 0; i < n; i++)
		pg_el_instant(p, rows[i]->w->fact->valid_to_us);
	pg_array_end(p);
}

void pg_look_params(struct pg_params *p, int64_t op, struct pg_row *const *rows, size_t n)
{
	pg_i64(p, op);
	pg_names_params(p, rows, n);
	pg_array(p, PG_INT4S, n);
	for (size_t i = 0; i < n; i++)
		pg_el_i32(p, rows[i]->step);
	pg_array_end(p);
}

/* ---------------------------------------------------------------- results */

bool pg_holds(struct item_write *w, bool found, int64_t version)
{
	if (w->cond == IF_ANY || (w->cond == IF_ABSENT ? !found : found && version == w->if_version))
		return true;
	w->err = found ? err_kind(E_CONFLICT, ERR_PRECONDITION, "the item exists in version %lld", (long long)version)
		       : err_kind(E_CONFLICT, ERR_PRECONDITION, "the item does not exist");
	return false;
}

static void landed(struct item_write *w, int64_t version)
{
	w->changed = true;
	w->version = version;
	w->existed = version != 1;
}

/* Those that are not in the answer existed: changed stays false, and whoever wants to know more looks. */
static void put_result(const PGresult *res, struct pg_row *const *rows, size_t n, bool some)
{
	struct pg_array at = {0}, versions;
	int64_t i = 0, version;
	pg_get_array(res, 0, some, &versions);
	if (some)
		pg_get_array(res, 0, 0, &at);
	while (pg_next_i64(&versions, &version)) {
		if (some ? !pg_next_i64(&at, &i) : !++i)
			break;
		if (i >= 1 && (size_t)i <= n)
			landed(rows[i - 1]->w, version);
	}
}

static void row_result(const PGresult *res, int row, struct pg_row *r)
{
	struct item_write *w = r->w;
	w->existed = pg_get_bool(res, row, 0);
	w->version = pg_get_i64(res, row, 1);
	w->changed = pg_get_bool(res, row, 3);
	if (!pg_get_bool(res, row, 2) && !pg_holds(w, w->existed, w->version))
		return;
	if (w->changed && w->op == W_PUT)
		w->version++;
	if (w->changed && (w->op == W_DELETE || w->op == W_RETIRE))
		w->version = 0;
	if (w->op == W_DELETE)
		w->forgot = pg_get_bool(res, row, 4);
}

void pg_write_result(const PGresult *res, struct pg_row *const *rows, size_t n)
{
	bool some = rows[0]->st == ST_PUT_NEWER || rows[0]->st == ST_PUT_ABSENT;
	if (rows[0]->st == ST_PUT || some) {
		put_result(res, rows, n, some);
		return;
	}
	for (size_t i = 0; i < n && (int)i < PQntuples(res); i++)
		row_result(res, (int)i, rows[i]);
}

void pg_look_result(const PGresult *res, struct pg_seen *out, size_t n)
{
	for (size_t i = 0; i < n && (int)i < PQntuples(res); i++) {
		int row = (int)i;
		out[i] = (struct pg_seen){.found = pg_get_bool(res, row, 0),
					  .version = pg_get_i64(res, row, 1),
					  .updated = pg_get_time(res, row, 2),
					  .ttl_minutes = pg_get_f64(res, row, 3),
					  .known = pg_get_bool(res, row, 4),
					  .done = pg_get_bool(res, row, 5),
					  .done_n = pg_get_i64(res, row, 6)};
	}
}
