/* LangGraph's vectors: rows of store_vectors, as PostgresStore with an index configuration writes and searches them (contracts:
 * langgraph 2.2, 4.4, 4.7). core/foreign_vectors.h says what they are to us.
 *
 * Invariants
 *  1. Nothing of theirs is made or changed but rows; where the table is not there, is laid out in another way, or may not be used,
 *     everything else works.
 *  2. A row belongs to the item as it is when it is not older than the item's updated_at. PostgresStore writes both in one
 *     transaction, with its time; rows of ours are never older than the item that they were made of.
 *  3. A put of ours removes the item's rows in its transaction (pg_foreign_gone) while `foreign` is set: that is known before the
 *     tenant is READY, and looked at again by whoever asks for pg_foreign_look. Lost rights end it, not the put (pg_foreign_lost).
 *  4. Rows are written while the item is locked (FOR SHARE) and has the version that they were made of. Items that somebody has
 *     locked are left: nobody waits with locks in hand, but for another that writes rows of the same item.
 *  5. An item whose version is a multiple of 2^20 was written last by another client (verify.c); any other one by a Cenote. */
#include "core/foreign_vectors.h"

#include <stdarg.h>

#include "store/postgres/pg.h"

#define OTHERS "c.version & 1048575 = 0"
#define WINDOW 2000
#define OF_ITEM_MAX 64 /* rows of an item that are read */

/* $1 schema. One row, when there is a table of that name. */
const char pg_foreign_look_sql[] =
	"SELECT k.relkind IN ('r', 'p'), coalesce((SELECT regexp_replace(format_type(a.atttypid, a.atttypmod), '^.*[.]', '') FROM"
	" pg_catalog.pg_attribute a WHERE a.attrelid = k.oid AND a.attname = 'embedding' AND NOT a.attisdropped), ''),"
	" has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(k.oid, 'SELECT'),"
	" has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(k.oid, 'SELECT') AND has_table_privilege(k.oid, 'INSERT')"
	" AND has_table_privilege(k.oid, 'UPDATE') AND has_table_privilege(k.oid, 'DELETE'),"
	" 6 = (SELECT count(*) FROM (VALUES ('prefix', 'text'), ('key', 'text'), ('field_name', 'text'), ('embedding', ''),"
	" ('created_at', 'timestamp with time zone'), ('updated_at', 'timestamp with time zone')) w(c, y) JOIN"
	" pg_catalog.pg_attribute a ON a.attrelid = k.oid AND a.attname = w.c AND NOT a.attisdropped AND w.y IN ('',"
	" format_type(a.atttypid, a.atttypmod))) AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = k.oid"
	" AND a.attnum > 0 AND NOT a.attisdropped AND a.attnotnull AND NOT a.atthasdef AND a.attidentity = '' AND a.attname NOT IN"
	" ('prefix', 'key', 'field_name', 'embedding')),"
	" EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = k.oid AND i.indisunique AND i.indisvalid AND i.indpred IS"
	" NULL AND i.indnkeyatts = 3 AND '{field_name,key,prefix}' = (SELECT array_agg(a.attname::text ORDER BY a.attname) FROM"
	" pg_catalog.pg_attribute a WHERE a.attrelid = k.oid AND a.attnum = ANY(i.indkey[0:2]))),"
	" EXISTS (SELECT FROM pg_catalog.pg_index i JOIN pg_catalog.pg_opclass o ON o.oid = i.indclass[0] WHERE i.indrelid = k.oid"
	" AND o.opcname ~ '_cosine_ops$'), greatest(k.reltuples, 0)::float8"
	" FROM pg_catalog.pg_class k JOIN pg_catalog.pg_namespace n ON n.oid = k.relnamespace WHERE n.nspname = $1::text AND"
	" k.relname = 'store_vectors'";
static const struct pg_stmt st_look = {ST_FOREIGN_LOOK, LANE_POINT, "foreign_look", pg_foreign_look_sql};
enum { L_TABLE, L_TYPE, L_READ, L_WRITE, L_COLUMNS, L_UNIQUE, L_COSINE, L_ROWS }; /* doctor.c reads them, too */

/* $1: percent of the pages */
static const struct pg_stmt st_sample = {
	ST_FOREIGN_SAMPLE, LANE_SEARCH, "foreign_sample",
	"WITH k AS ((SELECT prefix, key, field_name FROM @store_vectors ORDER BY prefix, key, field_name LIMIT 100) UNION"
	" (SELECT prefix, key, field_name FROM @store_vectors ORDER BY prefix DESC, key DESC, field_name DESC LIMIT 100) UNION"
	" (SELECT prefix, key, field_name FROM @store_vectors TABLESAMPLE SYSTEM ($1::float8) LIMIT 300))"
	" SELECT coalesce(c.id, 0), v.field_name, v.embedding::real[], s.prefix, s.key, s.value FROM k JOIN @store_vectors v ON"
	" v.prefix = k.prefix AND v.key = k.key AND v.field_name = k.field_name JOIN @store s ON s.prefix = k.prefix AND s.key ="
	" k.key LEFT JOIN @cenote_item c ON c.prefix = k.prefix AND c.key = k.key AND c.mark = s.xmin WHERE v.updated_at >="
	" s.updated_at AND v.embedding IS NOT NULL AND (c.id IS NULL OR " OTHERS ") AND octet_length(s.value::text) < 20000"
	" ORDER BY md5(k.prefix || ' ' || k.key || ' ' || k.field_name) LIMIT 64"};
static const struct pg_stmt st_of_items = {
	ST_FOREIGN_OF, LANE_SEARCH, "foreign_of_items",
	"SELECT c.id, v.field_name, v.embedding::real[] FROM unnest($1::bigint[]) i(id) JOIN @cenote_item c ON c.id = i.id JOIN"
	" @store s ON s.prefix = c.prefix AND s.key = c.key AND s.xmin = c.mark CROSS JOIN LATERAL (SELECT y.field_name,"
	" y.embedding FROM @store_vectors y WHERE y.prefix = s.prefix AND y.key = s.key AND y.updated_at >= s.updated_at AND"
	" y.embedding IS NOT NULL LIMIT 64) v WHERE " OTHERS " ORDER BY c.id, v.field_name"};
enum { F_ITEM, F_FIELD, F_VECTOR, F_PREFIX, F_KEY, F_VALUE };

/* The items of a window w, and how far it goes. $1: at most so many */
#define LACKING(window)                                                                                                            \
	"WITH w AS MATERIALIZED (" window "), x AS (SELECT w.id, w.version, s.value, w.terms FROM w JOIN @store s ON s.prefix ="   \
	" w.prefix AND s.key = w.key AND s.xmin = w.mark WHERE w.terms <> '' AND w.version & 1048575 <> 0 AND NOT EXISTS (SELECT"  \
	" FROM @store_vectors v WHERE v.prefix = w.prefix AND v.key = w.key AND v.updated_at >= s.updated_at) ORDER BY w.id LIMIT" \
	" $1::bigint) SELECT e.last, e.n, x.id, x.version, x.value, x.terms FROM (SELECT coalesce(max(id), 0) AS last, count(*)"   \
	" AS n FROM w) e LEFT JOIN x ON true ORDER BY x.id"
#define ITEM_COLUMNS "c.id, c.mark, c.version, c.prefix, c.key, c.terms"
static const struct pg_stmt st_lacking_walk = {
	ST_FOREIGN_LACKING, LANE_SEARCH, "foreign_lacking",
	LACKING("SELECT " ITEM_COLUMNS " FROM @cenote_item c WHERE c.id > $2::bigint ORDER BY c.id LIMIT 2000")};
static const struct pg_stmt st_lacking_of = {
	ST_FOREIGN_LACKING_OF, LANE_SEARCH, "foreign_lacking_of",
	LACKING("SELECT " ITEM_COLUMNS " FROM unnest($2::bigint[]) i(id) JOIN @cenote_item c ON c.id = i.id")};
enum { K_LAST, K_N, K_ID, K_VERSION, K_VALUE, K_TERMS };

/* $1 op, $2 items, $3 their versions, $4 item of each row, $5 its field, $6 its vector */
static const struct pg_stmt st_put = {
	ST_FOREIGN_PUT, LANE_WRITE, "foreign_put",
	"WITH l AS MATERIALIZED (SELECT c.id, s.prefix, s.key, s.updated_at FROM unnest($2::bigint[], $3::bigint[]) i(id, version)"
	" JOIN @cenote_item c ON c.id = i.id AND c.version = i.version JOIN @store s ON s.prefix = c.prefix AND s.key = c.key AND"
	" s.xmin = c.mark ORDER BY s.prefix USING ~<~, s.key USING ~<~ FOR SHARE OF s SKIP LOCKED),"
	" r AS MATERIALIZED (SELECT l.prefix, l.key, x.field, x.v::real[] AS v, greatest(now(), l.updated_at) AS at FROM l JOIN"
	" unnest($4::bigint[], $5::text[], $6::text[]) x(id, field, v) ON x.id = l.id),"
	" d AS (DELETE FROM @store_vectors v USING l WHERE v.prefix = l.prefix AND v.key = l.key AND NOT EXISTS (SELECT FROM r"
	" WHERE r.prefix = v.prefix AND r.key = v.key AND r.field = v.field_name)),"
	" p AS (INSERT INTO @store_vectors(prefix, key, field_name, embedding, created_at, updated_at) SELECT prefix, key, field,"
	" v, at, at FROM r ORDER BY prefix USING ~<~, key USING ~<~, field USING ~<~ ON CONFLICT (prefix, key, field_name) DO"
	" UPDATE SET embedding = excluded.embedding, updated_at = excluded.updated_at)"
	" INSERT INTO @cenote_journal(op, step, kind, ids, names) SELECT $1::bigint, 0, 'i', '{}', '{}' RETURNING (SELECT"
	" array_agg(id) FROM l)"};

/* An item that is not indexed has its number negative. Rows are found by their index, one item at a time, and removed by their
 * places: who could change them needs the item, which is locked. */
const struct pg_stmt pg_foreign_gone = {
	ST_FOREIGN_GONE, LANE_WRITE, "foreign_gone",
	"DELETE FROM @store_vectors v WHERE v.ctid = ANY(ARRAY(SELECT x.place FROM @cenote_journal j CROSS JOIN unnest(j.ids) u(id)"
	" JOIN @cenote_item c ON c.id = abs(u.id) CROSS JOIN LATERAL (SELECT y.ctid AS place FROM @store_vectors y WHERE y.prefix ="
	" c.prefix AND y.key = c.key LIMIT 100000) x WHERE j.op = $1::bigint AND j.step = ANY($2::int[])))"};

/* ---------------------------------------------------------------- looking */

static void trouble(struct foreign_look *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void trouble(struct foreign_look *l, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(l->trouble, sizeof l->trouble, fmt, ap);
	va_end(ap);
}

/* "vector(384)", "halfvec(384)". */
static uint32_t dims_of(struct str type)
{
	struct str name, rest;
	int64_t n;
	if (!str_cut(type, '(', &name, &rest) || rest.n == 0 || rest.p[rest.n - 1] != ')' ||
	    !(str_eq(name, STR("vector")) || str_eq(name, STR("halfvec"))))
		return 0;
	return str_int(str_sub(rest, 0, rest.n - 1), 1, INT32_MAX, &n) ? (uint32_t)n : 0;
}

static void look_row(const struct pg_tenant *t, const PGresult *r, struct foreign_look *l)
{
	struct str type = pg_get_str(r, 0, L_TYPE);
	snprintf(l->type, sizeof l->type, "%.*s", STR_ARG(type));
	l->dims = dims_of(type);
	l->cosine = pg_get_bool(r, 0, L_COSINE);
	l->there = pg_get_bool(r, 0, L_TABLE) && pg_get_bool(r, 0, L_COLUMNS) && pg_get_bool(r, 0, L_UNIQUE) && l->dims > 0;
	l->read = l->there && pg_get_bool(r, 0, L_READ);
	l->write = l->there && pg_get_bool(r, 0, L_WRITE);
	if (!l->there)
		trouble(l, "the table store_vectors in schema %s is not as LangGraph's PostgresStore makes it; it is left alone",
			t->quoted);
	else if (!l->write)
		trouble(l,
			"the role may not %s %s.store_vectors; as its owner run: GRANT SELECT, INSERT, UPDATE, DELETE ON "
			"%s.store_vectors TO the role",
			l->read ? "write" : "read", t->quoted, t->quoted);
}

static enum err look(struct pg_tenant *t, struct foreign_look *l, double *rows)
{
	struct pg_params p;
	PGresult *r;
	*l = (struct foreign_look){0};
	*rows = 0;
	if (t->s->opt.pg.no_vectors)
		return OK;
	pg_params_init(&p);
	pg_text(&p, str_c(t->schema));
	TRY(pg_query(pg_home(t->s), &st_look, &p, &r));
	if (PQntuples(r) == 1) {
		look_row(t, r, l);
		*rows = pg_get_f64(r, 0, L_ROWS);
	}
	PQclear(r);
	atomic_store(&t->foreign, l->write);
	return OK;
}

enum err pg_foreign_look(struct pg_tenant *t)
{
	struct foreign_look l;
	double rows;
	return look(t, &l, &rows);
}

bool pg_foreign_lost(struct pg_tenant *t, const char *sqlstate)
{
	if (strncmp(sqlstate, "42", 2) != 0)
		return false;
	/* Once for all that were on their way with the statement. */
	if (atomic_exchange(&t->foreign, false))
		LOG(LOG_WARN, "store", "store_vectors cannot be written any more; items are written without it",
		    LF_C("schema", t->schema), LF_C("sqlstate", sqlstate));
	return true;
}

/* Vectors are made by the process itself, of all users' texts. NULL (OK): there is no such tenant. */
static enum err tenant(struct store *s, const struct principal *who, unsigned right, struct pg_tenant **t)
{
	if (who && who->user_bound)
		return err_set(E_DENIED, "this key is bound to a user and may not work on everybody's vectors");
	return pg_tenant_get(pg_of(s), who, right, false, t);
}

static enum err foreign_look(struct store *s, const struct principal *who, struct foreign_look *out)
{
	struct pg_tenant *t;
	double rows;
	*out = (struct foreign_look){0};
	TRY(tenant(s, who, RIGHT_READ, &t));
	return t ? look(t, out, &rows) : OK;
}

/* ---------------------------------------------------------------- reading */

/* real[] as PostgreSQL sends it, into floats (which is made larger as needed). 0: it is not a vector. */
static uint32_t read_floats(const PGresult *r, int row, int col, float **v, size_t *cap)
{
	struct pg_array a;
	struct str s;
	uint32_t n = 0;
	pg_get_array(r, row, col, &a);
	if (a.n < 1 || a.n > VECTOR_BATCH_MAX * 16)
		return 0;
	if ((size_t)a.n > *cap) {
		float *grown = realloc(*v, (size_t)a.n * sizeof *grown);
		if (!grown)
			return 0;
		*v = grown;
		*cap = (size_t)a.n;
	}
	while (pg_next_str(&a, &s) && s.n == 4) {
		const unsigned char *p = (const unsigned char *)s.p;
		uint32_t bits = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
		memcpy(&(*v)[n++], &bits, sizeof bits);
	}
	return n;
}

static void give(const PGresult *r, foreign_field_fn fn, void *ctx)
{
	size_t cap = 0;
	float *v = NULL;
	bool more = true;
	for (int i = 0; i < PQntuples(r) && more; i++) {
		struct foreign_field f = {.item = pg_get_i64(r, i, F_ITEM), .field = pg_get_str(r, i, F_FIELD)};
		f.dims = read_floats(r, i, F_VECTOR, &v, &cap);
		f.v = v;
		if (PQnfields(r) > F_VALUE) {
			f.ns = pg_get_str(r, i, F_PREFIX);
			f.key = pg_get_str(r, i, F_KEY);
			f.value = pg_get_json(r, i, F_VALUE);
		}
		if (f.dims)
			more = fn(ctx, &f);
	}
	free(v);
}

static enum err foreign_sample(struct store *s, const struct principal *who, foreign_field_fn fn, void *ctx)
{
	struct foreign_look l;
	struct pg_tenant *t;
	struct pg_params p;
	PGresult *r;
	double rows;
	TRY(tenant(s, who, RIGHT_READ, &t));
	if (!t)
		return OK;
	TRY(look(t, &l, &rows));
	if (!l.read)
		return OK;
	pg_params_init(&p);
	pg_f64(&p, rows > 10000 ? 1e6 / rows : 100);
	TRY(pg_query(t, &st_sample, &p, &r));
	give(r, fn, ctx);
	PQclear(r);
	return OK;
}

static void ids_param(struct pg_params *p, const int64_t *ids, size_t n)
{
	pg_array(p, PG_INT8S, n);
	for (size_t i = 0; i < n; i++)
		pg_el_i64(p, ids[i]);
	pg_array_end(p);
}

static enum err foreign_of_items(struct store *s, const struct principal *who, const int64_t *ids, size_t n, foreign_field_fn fn,
				 void *ctx)
{
	struct pg_tenant *t;
	struct pg_params p;
	PGresult *r;
	TRY(tenant(s, who, RIGHT_READ, &t));
	if (!t || n == 0)
		return OK;
	pg_params_init(&p);
	ids_param(&p, ids, n);
	TRY(pg_query(t, &st_of_items, &p, &r));
	give(r, fn, ctx);
	PQclear(r);
	return OK;
}

static enum err foreign_lacking(struct store *s, const struct principal *who, const int64_t *ids, size_t n, size_t most,
				int64_t *after, bool *end, foreign_item_fn fn, void *ctx)
{
	struct pg_tenant *t;
	struct pg_params p;
	PGresult *r;
	bool more = true;
	*end = true;
	TRY(tenant(s, who, RIGHT_READ, &t));
	if (!t || (ids && n == 0))
		return OK;
	pg_params_init(&p);
	pg_i64(&p, (int64_t)most);
	if (ids)
		ids_param(&p, ids, n);
	else
		pg_i64(&p, *after);
	TRY(pg_query(t, ids ? &st_lacking_of : &st_lacking_walk, &p, &r));
	int rows = PQntuples(r);
	bool full = rows > 0 && !pg_is_null(r, 0, K_ID) && (size_t)rows >= most;
	*end = !full && (ids || rows == 0 || pg_get_i64(r, 0, K_N) < WINDOW);
	for (int i = 0; i < rows && more && !pg_is_null(r, i, K_ID); i++) {
		const struct foreign_item it = {.id = pg_get_i64(r, i, K_ID),
						.version = pg_get_i64(r, i, K_VERSION),
						.value = pg_get_json(r, i, K_VALUE),
						.terms = pg_get_str(r, i, K_TERMS)};
		more = fn(ctx, &it);
	}
	if (rows > 0)
		*after = full ? pg_get_i64(r, rows - 1, K_ID) : pg_get_i64(r, 0, K_LAST);
	PQclear(r);
	return OK;
}

/* ---------------------------------------------------------------- writing */

static void vector_param(struct pg_params *p, struct buf *text, const float *v, uint32_t dims)
{
	buf_clear(text);
	for (uint32_t i = 0; i < dims; i++)
		buf_printf(text, "%c%.9g", i ? ',' : '{', (double)v[i]);
	buf_byte(text, '}');
	pg_el_str(p, text->err == OK ? buf_slice(text) : STR("{}"));
}

#define EACH_ROW(put, n, i, k)                                                                                                     \
	for (size_t i = 0; i < (n); i++)                                                                                           \
		for (size_t k = 0; k < (put)[i].n; k++)

static enum err put_params(struct pg_params *p, const struct foreign_put *v, size_t n, uint32_t dims)
{
	struct buf text;
	size_t rows = 0;
	pg_params_init(p);
	pg_i64(p, pg_new_op());
	pg_array(p, PG_INT8S, n);
	for (size_t i = 0; i < n; i++) {
		pg_el_i64(p, v[i].id);
		rows += v[i].n;
	}
	pg_array_end(p);
	pg_array(p, PG_INT8S, n);
	for (size_t i = 0; i < n; i++)
		pg_el_i64(p, v[i].version);
	pg_array_end(p);
	pg_array(p, PG_INT8S, rows);
	EACH_ROW(v, n, i, k)
	pg_el_i64(p, v[i].id);
	pg_array_end(p);
	pg_array(p, PG_TEXTS, rows);
	EACH_ROW(v, n, i, k)
	pg_el_str(p, v[i].rows[k].field);
	pg_array_end(p);
	buf_init(&text, NULL, 1 << 20);
	pg_array(p, PG_TEXTS, rows);
	EACH_ROW(v, n, i, k)
	vector_param(p, &text, v[i].rows[k].v, dims);
	pg_array_end(p);
	enum err e = text.err == OK ? OK : err_set(E_LIMIT, "out of memory in the store");
	buf_release(&text);
	return e;
}

static void mark_done(const PGresult *r, struct foreign_put *v, size_t n)
{
	struct pg_array a;
	int64_t id;
	pg_get_array(r, 0, 0, &a);
	while (pg_next_i64(&a, &id))
		for (size_t i = 0; i < n; i++)
			v[i].done = v[i].done || v[i].id == id;
}

static enum err foreign_put(struct store *s, const struct principal *who, struct foreign_put *v, size_t n, uint32_t dims)
{
	struct pg_tenant *t;
	struct pg_params p;
	PGresult *r = NULL;
	bool repeated;
	for (size_t i = 0; i < n; i++)
		v[i].done = false;
	TRY(tenant(s, who, RIGHT_WRITE, &t));
	if (!t || n == 0)
		return OK;
	enum err e = put_params(&p, v, n, dims);
	if (e != OK) {
		pg_params_release(&p);
		return e;
	}
	TRY(pg_write(t, &st_put, &p, &r, &repeated));
	if (!repeated) /* else whoever asks what is lacking will see */
		mark_done(r, v, n);
	PQclear(r);
	return OK;
}

const struct foreign_vector_ops pg_foreign_vector_ops = {.look = foreign_look,
							 .sample = foreign_sample,
							 .of_items = foreign_of_items,
							 .lacking = foreign_lacking,
							 .put = foreign_put};
