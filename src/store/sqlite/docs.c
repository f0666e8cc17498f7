/* The word index's source: all documents of a scope, and what has changed since. Items and messages that were stored without an
 * index document (empty terms) are no documents: a scan leaves them out, the feed reports them as removed. */
#include "store/sqlite/sq.h"

#include "rt/fiber.h"
#include "rt/work.h"

struct docs {
	struct sq *s;
	struct tenant *t;
	uint64_t deadline;
	const struct doc_scope *scope;
	doc_fn fn;
	void *ctx;
	struct conn *c;
	int64_t base; /* of the ids of the model's vectors, -1: none come along */
	bool stopped;
	struct feed_hit *hits;
	size_t n;
};

static enum err check_scope(const struct principal *who, const struct doc_scope *scope)
{
	if (scope->kind == DOC_MESSAGE && who && who->user_bound && (scope->every_user || !str_eq(scope->prefix, who->user)))
		return err_set(E_DENIED, "this key may only read messages of its own user");
	return OK;
}

static enum err scan_ns(void *ctx, int64_t id, struct str path, bool *go)
{
	struct docs *x = ctx;
	enum err e;
	bool row;
	bool with = x->base >= 0;
	sqlite3_stmt *st = conn_stmt(x->c, with ? ST_DOC_ITEMS_VECTOR : ST_DOC_ITEMS, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, id);
	if (with)
		sqlite3_bind_int64(st, 2, x->base);
	while (!x->stopped) {
		TRY(conn_step(x->c, st, &row));
		if (!row)
			return OK;
		struct doc_change d = {.id = col_i64(st, 0), .terms = col_str(st, 1), .lang_ns = path};
		if (with)
			doc_vector_columns(st, 2, &d);
		x->stopped = d.terms.n && !x->fn(x->ctx, &d);
	}
	sqlite3_reset(st);
	*go = false;
	return OK;
}

static enum err scan_messages(struct docs *x)
{
	enum err e;
	bool row;
	bool with = x->base >= 0, all = x->scope->every_user;
	enum stmt which =
		with ? (all ? ST_DOC_MESSAGES_ALL_VECTOR : ST_DOC_MESSAGES_VECTOR) : (all ? ST_DOC_MESSAGES_ALL : ST_DOC_MESSAGES);
	sqlite3_stmt *st = conn_stmt(x->c, which, &e);
	if (!st)
		return e;
	if (!all)
		bind_str(st, 1, x->scope->prefix);
	if (with)
		sqlite3_bind_int64(st, 2, x->base);
	for (;;) {
		TRY(conn_step(x->c, st, &row));
		if (!row)
			return OK;
		struct doc_change d = {.id = col_i64(st, 0), .terms = col_str(st, 1), .lang_ns = col_str(st, 2)};
		if (with)
			doc_vector_columns(st, 3, &d);
		x->stopped = d.terms.n && !x->fn(x->ctx, &d);
		if (x->stopped)
			break;
	}
	sqlite3_reset(st);
	return OK;
}

/* Texts of entries and checkpoints, after the messages. */
static enum err scan_texts(struct docs *x)
{
	enum err e;
	bool row, all = x->scope->every_user;
	sqlite3_stmt *st = x->stopped ? NULL : conn_stmt(x->c, all ? ST_DOC_TEXTS_ALL : ST_DOC_TEXTS, &e);
	if (!st)
		return x->stopped ? OK : e;
	if (!all)
		bind_str(st, 1, x->scope->prefix);
	sqlite3_bind_int64(st, 2, x->base);
	for (;;) {
		TRY(conn_step(x->c, st, &row));
		if (!row)
			return OK;
		struct doc_change d = {.id = col_i64(st, 0), .terms = col_str(st, 1), .lang_ns = col_str(st, 2)};
		if (x->base >= 0)
			doc_vector_columns(st, 3, &d);
		if (d.terms.n && !x->fn(x->ctx, &d))
			break;
	}
	sqlite3_reset(st);
	return OK;
}

static enum err scan_task(void *arg)
{
	struct docs *x = arg;
	struct reader *r;
	TRY(reader_begin(x->s, x->t, x->deadline, &r, &x->c));
	enum err e = vector_base(x->c, x->scope->model, x->scope->kind, &x->base);
	if (e == OK)
		e = x->scope->kind == DOC_MESSAGE ? scan_messages(x) : ns_each(x->c, x->scope->prefix, STR(""), scan_ns, x);
	if (e == OK && x->scope->kind == DOC_MESSAGE)
		e = scan_texts(x);
	return reader_end_scan(x->s, r, x->c, e);
}

/* A tenant without a file has had no changes: its cursor is 0, and its feed will begin there. */
enum err sq_doc_scan(struct store *s, const struct principal *who, const struct doc_scope *scope, uint64_t *cursor, doc_fn fn,
		     void *ctx)
{
	struct docs x = {.s = sq_of(s), .deadline = fiber_deadline(), .scope = scope, .fn = fn, .ctx = ctx};
	*cursor = 0;
	TRY(tenant_get(sq_of(s), who, RIGHT_READ, false, &x.t));
	TRY(check_scope(who, scope));
	if (!x.t)
		return OK;
	*cursor = feed_start(&x.t->feed); /* before the snapshot */
	return work_run(scan_task, &x);
}

/* ---------------------------------------------------------------- changes */

static enum err report(struct docs *x, const struct feed_hit *h)
{
	enum err e;
	bool row;
	bool message = x->scope->kind == DOC_MESSAGE, with = x->base >= 0, text = message && h->id >= TEXT_ID_FIRST;
	enum stmt which = with ? (message ? ST_DOC_MESSAGE_VECTOR : ST_DOC_ITEM_VECTOR) : (message ? ST_DOC_MESSAGE : ST_DOC_ITEM);
	sqlite3_stmt *st = conn_stmt(x->c, text ? ST_DOC_TEXT : which, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, h->id);
	if (with || text)
		sqlite3_bind_int64(st, 2, x->base);
	TRY(conn_step(x->c, st, &row));
	struct doc_change d = {.id = h->id, .lang_ns = h->name->lang_ns};
	if (row) {
		d.terms = col_str(st, 0);
		d.lang_ns = col_str(st, 1);
		if (with)
			doc_vector_columns(st, 2, &d);
	}
	d.removed = d.terms.n == 0;
	x->stopped = !x->fn(x->ctx, &d);
	if (row)
		sqlite3_reset(st);
	return OK;
}

static enum err changes_task(void *arg)
{
	struct docs *x = arg;
	struct reader *r;
	TRY(reader_begin(x->s, x->t, x->deadline, &r, &x->c));
	enum err e = vector_base(x->c, x->scope->model, x->scope->kind, &x->base);
	for (size_t i = 0; i < x->n && e == OK && !x->stopped; i++)
		e = report(x, &x->hits[i]);
	return reader_end(x->s, r, x->c, e);
}

enum err sq_doc_changes(struct store *s, const struct principal *who, const struct doc_scope *scope, uint64_t *cursor, doc_fn fn,
			void *ctx)
{
	struct docs x = {.s = sq_of(s), .deadline = fiber_deadline(), .scope = scope, .fn = fn, .ctx = ctx};
	uint64_t to = *cursor;
	enum err e = OK;
	TRY(tenant_get(sq_of(s), who, RIGHT_READ, false, &x.t));
	TRY(check_scope(who, scope));
	if (!x.t || atomic_load_explicit(&x.t->feed.head, memory_order_acquire) == to)
		return OK;
	TRY(feed_since(&x.t->feed, scope, &to, &x.hits, &x.n));
	if (x.n)
		e = x.n <= 64 ? changes_task(&x) : work_run(changes_task, &x);
	for (size_t i = 0; i < x.n; i++)
		feed_name_drop(x.hits[i].name);
	free(x.hits);
	if (e == OK)
		*cursor = to;
	return e;
}
