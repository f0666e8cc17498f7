/* The word index's source: all documents of a scope, what has changed since, and keeping documents that core made. Items and
 * messages with an empty document are none; one that is still to be made (NULL: another client wrote the item) is given as one zero
 * byte, an outdated document, so that core makes it.
 *
 * Invariant: what a scan's pages do not show because it changed behind them is in the ring after the scan's cursor, as the cursor
 * is taken before the first page. */
#include "store/postgres/pg_feed.h"

#define PAGE 1000

/* A scan takes the numbers first, then their rows by pages. */
static const struct pg_stmt st_items = {
	ST_DOC_ITEMS, LANE_SCAN, "doc_items",
	"SELECT array_agg(id) FROM @cenote_item WHERE " PG_BELOW("prefix", 1, 2, 3) " AND terms IS DISTINCT FROM ''"};
static const struct pg_stmt st_messages = {ST_DOC_MESSAGES, LANE_SCAN, "doc_messages",
					   "SELECT array_agg(d.id) FROM (SELECT m.id FROM @cenote_thread t JOIN @cenote_message m "
					   "ON m.thread_id = t.id WHERE t.usr = $1"
					   " AND m.terms IS DISTINCT FROM '' UNION ALL SELECT x.id FROM @cenote_text x WHERE x.usr "
					   "= $1 AND x.terms IS DISTINCT FROM '')"
					   " d"};
static const struct pg_stmt st_item_by_id = {ST_DOC_ITEM_BY_ID, LANE_SEARCH, "doc_item_by_id",
					     "SELECT c.id, c.terms, c.prefix, c.version FROM unnest($1::bigint[]) i(id) JOIN "
					     "@cenote_item c ON c.id = i.id ORDER BY c.id"};
static const struct pg_stmt st_message_by_id = {
	ST_DOC_MESSAGE_BY_ID, LANE_SEARCH, "doc_message_by_id",
	"SELECT m.id, m.terms, t.thread, 0::bigint FROM unnest($1::bigint[]) i(id) JOIN @cenote_message m ON m.id = i.id"
	" JOIN @cenote_thread t ON t.id = m.thread_id UNION ALL SELECT x.id, x.terms, x.thread, 0::bigint FROM unnest($1::bigint[])"
	" i(id) JOIN @cenote_text x ON x.id = i.id ORDER BY 1"};
static const struct pg_stmt st_messages_all = {
	ST_DOC_MESSAGES_ALL, LANE_SCAN, "doc_messages_all",
	"SELECT array_agg(d.id) FROM (SELECT id FROM @cenote_message WHERE terms IS DISTINCT FROM ''"
	" UNION ALL SELECT id FROM @cenote_text WHERE terms IS DISTINCT FROM '') d"};
/* $2: the model whose vectors come along; PG_VECTOR_OF is read once per document. */
#define VECTOR(kind) PG_VECTOR_OF(kind, "i.id", 2)
static const struct pg_stmt st_item_vector = {ST_DOC_ITEM_VECTOR, LANE_SEARCH, "doc_item_vector",
					      "SELECT c.id, c.terms, c.prefix, c.version, v.data, v.mark, c.xmin::text::bigint "
					      "FROM unnest($1::bigint[]) i(id) JOIN @cenote_item c ON c.id ="
					      " i.id" VECTOR("i") " ORDER BY c.id"};
static const struct pg_stmt st_message_vector = {
	ST_DOC_MESSAGE_VECTOR, LANE_SEARCH, "doc_message_vector",
	"SELECT m.id, m.terms, t.thread, 0::bigint, v.data, v.mark, m.xmin::text::bigint "
	"FROM unnest($1::bigint[]) i(id) JOIN @cenote_message m ON m.id ="
	" i.id JOIN @cenote_thread t ON t.id = m.thread_id" VECTOR(
		"m") " UNION ALL SELECT m.id, m.terms, m.thread, 0::bigint, v.data,"
		     " v.mark, m.xmin::text::bigint FROM unnest($1::bigint[]) i(id) JOIN @cenote_text m"
		     " ON m.id = i.id" VECTOR("m") " ORDER BY 1"};
enum { D_ID, D_TERMS, D_WHERE, D_VERSION, D_VECTOR, D_MARK, D_STAMP };

/* Only rows that nobody works on, and only where the document still belongs to what is stored. */
static const struct pg_stmt st_keep_items = {
	ST_DOC_KEEP, LANE_WRITE, "doc_keep",
	"WITH l AS (SELECT c.id, v.terms FROM unnest($2::bigint[], $3::bigint[], $4::bytea[]) v(id, version, terms)"
	" JOIN @cenote_item c ON c.id = v.id AND c.version = v.version JOIN @store s ON s.prefix = c.prefix AND s.key = c.key"
	" WHERE s.xmin = c.mark ORDER BY c.id FOR NO KEY UPDATE OF c SKIP LOCKED),"
	" u AS (UPDATE @cenote_item c SET terms = l.terms FROM l WHERE c.id = l.id)"
	" INSERT INTO @cenote_journal(op, step, kind, ids, names) SELECT $1, 0, 'i', '{}', '{}' WHERE EXISTS (SELECT FROM l)"};
static const struct pg_stmt st_keep_messages = {
	ST_DOC_KEEP_MESSAGE, LANE_WRITE, "doc_keep_message",
	"WITH l AS (SELECT m.id, v.terms FROM unnest($2::bigint[], $3::bytea[]) v(id, terms) JOIN @cenote_message m ON m.id = v.id"
	" ORDER BY m.id FOR NO KEY UPDATE OF m SKIP LOCKED),"
	" u AS (UPDATE @cenote_message m SET terms = l.terms FROM l WHERE m.id = l.id)"
	" INSERT INTO @cenote_journal(op, step, kind, ids, names) SELECT $1, 0, 'm', '{}', '{}' WHERE EXISTS (SELECT FROM l)"};

struct docs {
	struct pg_tenant *t;
	const struct doc_scope *scope;
	doc_fn fn;
	void *ctx;
	bool stopped;
};

static enum err check_scope(const struct principal *who, const struct doc_scope *scope)
{
	if (scope->kind == DOC_MESSAGE && who && who->user_bound && (scope->every_user || !str_eq(scope->prefix, who->user)))
		return err_set(E_DENIED, "this key may only read messages of its own user");
	return OK;
}

struct doc_change pg_doc_row(const PGresult *r, int row, bool with)
{
	return (struct doc_change){.id = pg_get_i64(r, row, D_ID),
				   .terms = pg_is_null(r, row, D_TERMS) ? STR("\0") : pg_get_str(r, row, D_TERMS),
				   .lang_ns = pg_get_str(r, row, D_WHERE),
				   .version = pg_get_i64(r, row, D_VERSION),
				   .vector = with ? pg_get_str(r, row, D_VECTOR) : STR(""),
				   .mark = with ? (uint64_t)pg_get_i64(r, row, D_MARK) : 0,
				   .stamp = with ? (uint64_t)pg_get_i64(r, row, D_STAMP) : 0};
}

static bool with_vectors(const struct docs *x)
{
	return x->scope->model.n > 0;
}

/* Rows of these documents, in order of their ids. p: the ids. */
static enum err rows_of(struct docs *x, struct pg_params *p, PGresult **r)
{
	bool items = x->scope->kind == DOC_ITEM;

	if (!with_vectors(x))
		return pg_query(x->t, items ? &st_item_by_id : &st_message_by_id, p, r);
	pg_text(p, x->scope->model);
	return pg_query(x->t, items ? &st_item_vector : &st_message_vector, p, r);
}

/* ----------------------------------------------------------------- a scan */

static enum err scan_page(struct docs *x, struct pg_array *ids, size_t n)
{
	struct pg_params p;
	PGresult *r;
	int64_t id;

	pg_params_init(&p);
	pg_array(&p, PG_INT8S, n);
	for (size_t i = 0; i < n && pg_next_i64(ids, &id); i++)
		pg_el_i64(&p, id);
	pg_array_end(&p);
	TRY(rows_of(x, &p, &r));
	for (int row = 0; row < PQntuples(r) && !x->stopped; row++) {
		struct doc_change d = pg_doc_row(r, row, with_vectors(x));

		if (d.terms.n)
			x->stopped = !x->fn(x->ctx, &d);
	}
	PQclear(r);
	return OK;
}

static enum err scan(struct docs *x)
{
	bool items = x->scope->kind == DOC_ITEM;
	struct pg_params p;
	struct pg_array ids;
	PGresult *r;
	enum err e = OK;

	pg_params_init(&p);
	if (items)
		pg_scope(&p, x->scope->prefix);
	else if (!x->scope->every_user)
		pg_text(&p, x->scope->prefix);
	TRY(pg_query(x->t, items ? &st_items : x->scope->every_user ? &st_messages_all : &st_messages, &p, &r));
	pg_get_array(r, 0, 0, &ids);
	while (ids.n > 0 && e == OK && !x->stopped)
		e = scan_page(x, &ids, ids.n < PAGE ? (size_t)ids.n : PAGE);
	PQclear(r);
	return e;
}

/* A tenant without a schema has had no changes: its cursor is 0, which its feed, once there, does not know. */
enum err pg_doc_scan(struct store *s, const struct principal *who, const struct doc_scope *scope, uint64_t *cursor, doc_fn fn,
		     void *ctx)
{
	struct docs x = {.scope = scope, .fn = fn, .ctx = ctx};
	bool exact;

	*cursor = 0;
	TRY(pg_tenant_get(pg_of(s), who, RIGHT_READ, false, &x.t));
	TRY(check_scope(who, scope));
	if (!x.t)
		return OK;
	TRY(scope->kind == DOC_ITEM ? pg_verify(x.t, scope->prefix, &exact) : pg_sync(x.t));
	*cursor = feed_start(&x.t->feed->ring);
	return scan(&x);
}

/* ---------------------------------------------------------------- changes */

/* The hits are in order of their ids, and so are the rows. */
static enum err report(struct docs *x, const struct feed_hit *h, size_t n)
{
	struct pg_params p;
	PGresult *r;
	int row = 0, rows;

	pg_params_init(&p);
	pg_array(&p, PG_INT8S, n);
	for (size_t i = 0; i < n; i++)
		pg_el_i64(&p, h[i].id);
	pg_array_end(&p);
	TRY(rows_of(x, &p, &r));
	rows = PQntuples(r);
	for (size_t i = 0; i < n && !x->stopped; i++) {
		struct doc_change d = {.id = h[i].id, .lang_ns = h[i].name->lang_ns};

		if (row < rows && pg_get_i64(r, row, D_ID) == d.id)
			d = pg_doc_row(r, row++, with_vectors(x));
		d.removed = d.terms.n == 0;
		x->stopped = !x->fn(x->ctx, &d);
	}
	PQclear(r);
	return OK;
}

enum err pg_doc_changes(struct store *s, const struct principal *who, const struct doc_scope *scope, uint64_t *cursor, doc_fn fn,
			void *ctx)
{
	struct docs x = {.scope = scope, .fn = fn, .ctx = ctx};
	struct feed_hit *hits;
	uint64_t to = *cursor;
	size_t n;
	enum err e = OK;
	bool exact;

	TRY(pg_tenant_get(pg_of(s), who, RIGHT_READ, false, &x.t));
	TRY(check_scope(who, scope));
	if (!x.t)
		return OK;
	TRY(scope->kind == DOC_ITEM ? pg_verify(x.t, scope->prefix, &exact) : pg_sync(x.t));
	if (atomic_load_explicit(&x.t->feed->ring.head, memory_order_acquire) == to)
		return OK;
	TRY(feed_since(&x.t->feed->ring, scope, &to, &hits, &n));
	for (size_t at = 0; at < n && e == OK && !x.stopped; at += PAGE)
		e = report(&x, hits + at, n - at < PAGE ? n - at : PAGE);
	for (size_t i = 0; i < n; i++)
		feed_name_drop(hits[i].name);
	free(hits);
	if (e == OK)
		*cursor = to;
	return e;
}

/* ---------------------------------------------------------------- keeping */

enum err pg_doc_keep(struct store *s, const struct principal *who, enum doc_kind kind, const struct doc_kept *v, size_t n)
{
	struct pg_params p;
	struct pg_tenant *t;
	PGresult *r;
	bool repeated;

	TRY(pg_tenant_get(pg_of(s), who, RIGHT_READ, false, &t));
	if (!t || n == 0)
		return OK;
	if (pg_feed_on_standby(t->feed))
		return err_set(E_BUSY, "the server is a standby, which cannot be written to");
	pg_params_init(&p);
	pg_i64(&p, pg_new_op());
	pg_array(&p, PG_INT8S, n);
	for (size_t i = 0; i < n; i++)
		pg_el_i64(&p, v[i].id);
	pg_array_end(&p);
	if (kind == DOC_ITEM) {
		pg_array(&p, PG_INT8S, n);
		for (size_t i = 0; i < n; i++)
			pg_el_i64(&p, v[i].version);
		pg_array_end(&p);
	}
	pg_array(&p, PG_BYTEAS, n);
	for (size_t i = 0; i < n; i++)
		pg_el_str(&p, v[i].terms);
	pg_array_end(&p);
	TRY(pg_write(t, kind == DOC_ITEM ? &st_keep_items : &st_keep_messages, &p, &r, &repeated));
	PQclear(r);
	return OK;
}
