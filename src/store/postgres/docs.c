/* The word index's source: all documents of a scope, what has changed since, and keeping documents that core made. Items and
 * messages with an empty document are none; one that is still to be made (NULL: another client wrote the item) is given as one zero
 * byte, an outdated document, so that core makes it.
 *
 * Invariant: what a scan's pages do not show because it changed behind them is in the ring after the scan's cursor, as the cursor
 * is taken before the first page. */
#include "store/postgres/pg_feed.h"

#define ITEMS_PAGE 2000
#define MESSAGES_PAGE 1000
#define IDS_PAGE 2000

/* A page begins with the row that the last one ended with. */
static const struct pg_stmt st_items = {
	ST_DOC_ITEMS, LANE_SEARCH, "doc_items",
	"SELECT id, terms, prefix, key FROM @cenote_item WHERE prefix ~>=~ $1 AND prefix ~<~ $3 AND (prefix = $1 OR prefix ~>=~ $2)"
	" AND (prefix, key) ~>=~ ($4, $5) ORDER BY prefix USING ~<~, key USING ~<~ LIMIT 2000"};
static const struct pg_stmt st_messages = {
	ST_DOC_MESSAGES, LANE_SEARCH, "doc_messages",
	"SELECT m.id, m.terms, t.thread, m.pos FROM @cenote_thread t JOIN @cenote_message m ON m.thread_id = t.id AND m.pos > CASE"
	" WHEN t.thread = $2 THEN $3 ELSE -1 END WHERE t.usr = $1 AND t.thread >= $2 ORDER BY t.thread, m.pos LIMIT 1000"};
static const struct pg_stmt st_item_by_id = {
	ST_DOC_ITEM_BY_ID, LANE_SEARCH, "doc_item_by_id",
	"SELECT c.id, c.terms, c.prefix FROM unnest($1::bigint[]) i(id) JOIN @cenote_item c ON c.id = i.id ORDER BY c.id"};
static const struct pg_stmt st_message_by_id = {
	ST_DOC_MESSAGE_BY_ID, LANE_SEARCH, "doc_message_by_id",
	"SELECT m.id, m.terms, t.thread FROM unnest($1::bigint[]) i(id) JOIN @cenote_message m ON m.id = i.id JOIN @cenote_thread t"
	" ON t.id = m.thread_id ORDER BY m.id"};
enum { D_ID, D_TERMS, D_WHERE, D_KEY, D_POS = D_KEY };

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
	if (scope->kind == DOC_MESSAGE && who && who->user_bound && !str_eq(scope->prefix, who->user))
		return err_set(E_DENIED, "this key may only read messages of its own user");
	return OK;
}

static struct str terms_of(const PGresult *r, int row)
{
	return pg_is_null(r, row, D_TERMS) ? STR("\0") : pg_get_str(r, row, D_TERMS);
}

/* ----------------------------------------------------------------- a scan */

static void give(struct docs *x, const PGresult *r, int row)
{
	struct doc_change d = {.id = pg_get_i64(r, row, D_ID), .terms = terms_of(r, row), .lang_ns = pg_get_str(r, row, D_WHERE)};

	if (d.terms.n)
		x->stopped = !x->fn(x->ctx, &d);
}

/* One page after the last row of *last, which it replaces; NULL at the end. */
static enum err item_page(struct docs *x, PGresult **last)
{
	PGresult *old = *last, *r;
	int at = old ? PQntuples(old) - 1 : 0, row = 0, n;
	struct str prefix = old ? pg_get_str(old, at, D_WHERE) : x->scope->prefix, key = old ? pg_get_str(old, at, D_KEY) : STR("");
	struct pg_params p;

	pg_params_init(&p);
	pg_scope(&p, x->scope->prefix);
	pg_text(&p, prefix);
	pg_text(&p, key);
	TRY(pg_query(x->t, &st_items, &p, &r));
	n = PQntuples(r);
	if (old && n && str_eq(pg_get_str(r, 0, D_WHERE), prefix) && str_eq(pg_get_str(r, 0, D_KEY), key))
		row = 1;
	for (; row < n && !x->stopped; row++)
		give(x, r, row);
	PQclear(old);
	*last = r;
	if (n < ITEMS_PAGE || x->stopped) {
		PQclear(r);
		*last = NULL;
	}
	return OK;
}

static enum err message_page(struct docs *x, PGresult **last)
{
	PGresult *old = *last, *r;
	int at = old ? PQntuples(old) - 1 : 0, n;
	struct pg_params p;

	pg_params_init(&p);
	pg_text(&p, x->scope->prefix);
	pg_text(&p, old ? pg_get_str(old, at, D_WHERE) : STR(""));
	pg_i64(&p, old ? pg_get_i64(old, at, D_POS) : -1);
	TRY(pg_query(x->t, &st_messages, &p, &r));
	n = PQntuples(r);
	for (int row = 0; row < n && !x->stopped; row++)
		give(x, r, row);
	PQclear(old);
	*last = r;
	if (n < MESSAGES_PAGE || x->stopped) {
		PQclear(r);
		*last = NULL;
	}
	return OK;
}

/* A tenant without a schema has had no changes: its cursor is 0, which its feed, once there, does not know. */
enum err pg_doc_scan(struct store *s, const struct principal *who, const struct doc_scope *scope, uint64_t *cursor, doc_fn fn,
		     void *ctx)
{
	struct docs x = {.scope = scope, .fn = fn, .ctx = ctx};
	PGresult *last = NULL;
	enum err e;
	bool exact;

	*cursor = 0;
	TRY(pg_tenant_get(pg_of(s), who, RIGHT_READ, false, &x.t));
	TRY(check_scope(who, scope));
	if (!x.t)
		return OK;
	TRY(scope->kind == DOC_ITEM ? pg_verify(x.t, scope->prefix, &exact) : pg_sync(x.t));
	*cursor = feed_start(&x.t->feed->ring);
	do {
		e = scope->kind == DOC_ITEM ? item_page(&x, &last) : message_page(&x, &last);
	} while (e == OK && last);
	PQclear(last);
	return e;
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
	TRY(pg_query(x->t, x->scope->kind == DOC_ITEM ? &st_item_by_id : &st_message_by_id, &p, &r));
	rows = PQntuples(r);
	for (size_t i = 0; i < n && !x->stopped; i++) {
		struct doc_change d = {.id = h[i].id, .lang_ns = h[i].name->lang_ns};

		if (row < rows && pg_get_i64(r, row, D_ID) == d.id) {
			d.terms = terms_of(r, row);
			d.lang_ns = pg_get_str(r, row++, D_WHERE);
		}
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
	for (size_t at = 0; at < n && e == OK && !x.stopped; at += IDS_PAGE)
		e = report(&x, hits + at, n - at < IDS_PAGE ? n - at : IDS_PAGE);
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
