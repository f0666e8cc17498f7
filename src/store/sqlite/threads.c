/* The registry of threads: one row for each name under which anything lies, and the record that thread_put writes.
 *
 * Invariants
 *  1. cenote_thread has a row for every thread with messages, checkpoints, pending writes, entries or a record; what counts them
 *     changes in the transaction that changes them.
 *  2. cenote_record has a row for those that thread_put has written. It lies apart because the thread's row is written with every
 *     checkpoint, and a record may be long.
 *  3. A thread's user never changes. */
#include "rt/fiber.h"
#include "rt/work.h"
#include "store/sqlite/ckpt.h"

#define INLINE_ROWS 64u

static enum err not_found(void)
{
	return err_set(E_NOT_FOUND, "there is no such thread");
}

static void columns(sqlite3_stmt *st, struct thread_info *t)
{
	int marks = sqlite3_column_int(st, 13);
	*t = (struct thread_info){
		.thread = col_str(st, 0),
		.user = col_str(st, 1),
		.messages = col_i64(st, 2),
		.checkpoints = col_i64(st, 3),
		.entries = col_i64(st, 4),
		.created_us = col_i64(st, 5),
		.updated_us = col_i64(st, 6),
		.state_us = col_i64(st, 7),
		.version = col_i64(st, 8),
		.ttl_minutes = sqlite3_column_double(st, 9),
		.ttl_strategy = sqlite3_column_int(st, 10),
		.metadata = col_str(st, 11),
		.config = col_str(st, 12),
		.interrupted = (marks & MARK_INTERRUPT) != 0,
		.error = (marks & MARK_ERROR) != 0,
	};
}

/* ---------------------------------------------------------------- reading */

struct reading {
	struct sq *s;
	struct tenant *t;
	const struct principal *who;
	uint64_t deadline;
	enum stmt which;
	struct str user, after;
	size_t limit;
	thread_fn fn;
	void *ctx;
};

static enum err keep(struct arena *a, struct thread_info *t)
{
	struct str *const all[] = {&t->thread, &t->user, &t->metadata, &t->config};
	for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
		*all[i] = arena_str(a, *all[i]);
		if (!all[i]->p)
			return E_NOMEM;
	}
	return OK;
}

static enum err get(struct conn *c, struct arena *a, const struct principal *who, struct str thread, struct thread_info *out,
		    bool *found)
{
	enum err e;
	sqlite3_stmt *st = conn_stmt(c, ST_THREAD_ROW, &e);
	if (!st)
		return e;
	bind_str(st, 1, thread);
	TRY(conn_step(c, st, found));
	if (!*found)
		return OK;
	columns(st, out);
	*found = principal_sees(who, out->user);
	if (*found)
		e = keep(a, out);
	sqlite3_reset(st);
	return e;
}

static enum err sq_thread_get(struct store *s, struct arena *a, const struct principal *who, struct str thread,
			      struct thread_info *out, bool *found)
{
	struct sq *q = sq_of(s);
	struct tenant *t;
	struct reader *r;
	struct conn *c;
	*found = false;
	TRY(tenant_get(q, who, RIGHT_READ, false, &t));
	if (!t)
		return OK;
	TRY(reader_begin(q, t, fiber_deadline(), &r, &c));
	return reader_end(q, r, c, get(c, a, who, thread, out, found));
}

static enum err list(struct conn *c, const struct reading *x)
{
	enum err e;
	bool row;
	sqlite3_stmt *st = conn_stmt(c, x->which, &e);
	if (!st)
		return e;
	bind_str(st, 1, x->after);
	sqlite3_bind_int64(st, 2, x->limit > INT64_MAX ? INT64_MAX : (int64_t)x->limit);
	if (x->which != ST_THREADS)
		bind_str(st, 3, x->user);
	for (;;) {
		struct thread_info t;
		TRY(conn_step(c, st, &row));
		if (!row)
			return OK;
		columns(st, &t);
		if (!x->fn(x->ctx, &t))
			break;
	}
	sqlite3_reset(st);
	return OK;
}

static enum err list_task(void *arg)
{
	const struct reading *x = arg;
	struct reader *r;
	struct conn *c;
	TRY(reader_begin(x->s, x->t, x->deadline, &r, &c));
	return reader_end(x->s, r, c, list(c, x));
}

enum err sq_thread_list(struct store *s, const struct principal *who, const struct str *user, struct str after, size_t limit,
			thread_fn fn, void *ctx)
{
	struct reading x = {.s = sq_of(s),
			    .who = who,
			    .deadline = fiber_deadline(),
			    .which = ST_THREADS,
			    .after = after,
			    .limit = limit,
			    .fn = fn,
			    .ctx = ctx};
	TRY(tenant_get(x.s, who, RIGHT_READ, false, &x.t));
	if (!x.t || limit == 0)
		return OK;
	if (user && user->p) {
		if (!principal_sees(who, *user))
			return OK;
		x.which = ST_THREADS_OF;
		x.user = *user;
	} else if (who->user_bound) {
		x.which = ST_THREADS_OF;
		x.user = who->user;
	} else if (who->user.n) {
		x.which = ST_THREADS_SEEN;
		x.user = who->user;
	}
	return limit <= INLINE_ROWS ? list_task(&x) : work_run(list_task, &x);
}

/* ---------------------------------------------------------------- writing */

struct thread_arg {
	const struct principal *who;
	struct str thread;
	struct thread_record *r;
	enum write_if cond;
	unsigned parts;
};

struct thread_row {
	bool row, seen;
	int64_t id, messages, checkpoints, entries, version; /* version 0: no record */
	struct str user;				     /* heap */
};

static enum err row_find(struct conn *c, const struct principal *who, struct str thread, struct arena *a, struct thread_row *t)
{
	enum err e;
	*t = (struct thread_row){0};
	sqlite3_stmt *st = conn_stmt(c, ST_REGISTRY_FIND, &e);
	if (!st)
		return e;
	bind_str(st, 1, thread);
	TRY(conn_step(c, st, &t->row));
	if (!t->row)
		return OK;
	t->id = col_i64(st, 0);
	t->user = arena_str(a, col_str(st, 1));
	t->seen = principal_sees(who, t->user);
	t->messages = col_i64(st, 2);
	t->checkpoints = col_i64(st, 3);
	t->entries = col_i64(st, 4);
	t->version = col_i64(st, 5);
	sqlite3_reset(st);
	return t->user.p ? OK : E_NOMEM;
}

static enum err run_id(struct conn *c, enum stmt which, int64_t id)
{
	enum err e;
	sqlite3_stmt *st = conn_stmt(c, which, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, id);
	return conn_run(c, which);
}

/* Does the condition hold? */
static enum err may_put(const struct thread_arg *x, const struct thread_row *t)
{
	if (t->row && !t->seen)
		return err_set(E_CONFLICT, "the thread belongs to another user; nothing was changed");
	if (x->cond == IF_ABSENT && t->row)
		return err_set(E_CONFLICT, "the thread exists");
	if (x->cond == IF_VERSION && x->r->version != t->version) {
		if (t->version)
			return err_set(E_CONFLICT, "the thread's record is in version %lld", (long long)t->version);
		return err_set(E_CONFLICT, "the thread has no record");
	}
	return OK;
}

static enum err record_set(struct conn *c, const struct thread_row *t, const struct thread_record *r)
{
	enum err e;
	sqlite3_stmt *st = conn_stmt(c, ST_RECORD_SET, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, t->id);
	sqlite3_bind_int64(st, 2, t->version + 1);
	sqlite3_bind_double(st, 3, r->ttl_minutes);
	sqlite3_bind_int64(st, 4, r->ttl_strategy);
	bind_str(st, 5, r->metadata.n ? r->metadata : STR("{}"));
	bind_str(st, 6, r->config.n ? r->config : STR("{}"));
	return conn_run(c, ST_RECORD_SET);
}

static enum err put(struct conn *c, const struct thread_arg *x, struct thread_row *t)
{
	enum err e;
	enum stmt which = t->row ? ST_THREAD_NOTE : ST_THREAD_ADD;
	sqlite3_stmt *st = conn_stmt(c, which, &e);
	if (!st)
		return e;
	if (!t->row)
		t->id = c->t->next_thread++;
	sqlite3_bind_int64(st, 1, t->id);
	if (t->row) {
		sqlite3_bind_int64(st, 2, 0);
		sqlite3_bind_int64(st, 3, clock_unique_us());
		sqlite3_bind_int64(st, 4, 0);
	} else {
		bind_str(st, 2, x->thread);
		bind_str(st, 3, x->r->user);
		sqlite3_bind_int64(st, 4, clock_unique_us());
	}
	TRY(conn_run(c, which));
	return record_set(c, t, x->r);
}

static enum err apply_put(struct writer *w, struct conn *c, struct wop *op)
{
	struct thread_arg *x = op->arg;
	struct thread_row t;
	struct arena a;
	enum err e;
	(void)w;
	arena_init(&a, 1u << 20);
	CHECK(row_find(c, x->who, x->thread, &a, &t));
	CHECK(may_put(x, &t));
	e = put(c, x, &t);
	if (e != OK)
		c->failed = true;
	else
		x->r->version = t.version + 1;
out:
	arena_release(&a);
	return e;
}

static enum err sq_thread_put(struct store *s, const struct principal *who, struct thread_record *r, enum write_if cond)
{
	struct thread_record copy = *r; /* the group may run again: version is in and out */
	struct thread_arg x = {.who = who, .thread = r->thread, .r = &copy, .cond = cond};
	struct wop op = {.apply = apply_put, .arg = &x, .writes = 1, .bytes = r->metadata.n + r->config.n + 128};
	TRY(tenant_get(sq_of(s), who, RIGHT_WRITE, true, &op.t));
	if (who->user_bound && !str_eq(r->user, who->user))
		return err_set(E_DENIED, "this key may only make threads of its own user");
	op.deadline = fiber_deadline();
	TRY(queue_submit(sq_of(s), &op));
	r->version = copy.version;
	return OK;
}

/* ---------------------------------------------------------------- removing */

static enum err remove_parts(struct writer *w, struct conn *c, const struct thread_arg *x, const struct thread_row *t, bool *any)
{
	int64_t n = 0;
	*any = false;
	if ((x->parts & THREAD_MESSAGES) && t->messages) {
		TRY(apply_messages_removed(w, c, t->id, t->user, x->thread, &n));
		*any = true;
	}
	if (x->parts & THREAD_CHECKPOINTS) {
		TRY(ckpt_drop_thread(c, t->id, &n));
		TRY(texts_removed(c, t->id, TEXT_CHECKPOINT, 0));
		*any = *any || n > 0;
	}
	if ((x->parts & THREAD_ENTRIES) && t->entries) {
		TRY(run_id(c, ST_VALUE_OF_ENTRIES_DEL, t->id));
		TRY(run_id(c, ST_ENTRY_DEL_THREAD, t->id));
		TRY(texts_removed(c, t->id, TEXT_ENTRY, 0));
		*any = true;
	}
	if ((x->parts & THREAD_RECORD) && t->version) {
		TRY(run_id(c, ST_RECORD_DEL, t->id));
		*any = true;
	}
	/* all parts are gone although nothing was counted: the row itself was what there was */
	*any = *any || x->parts == THREAD_ALL;
	return OK;
}

static enum err counts_clear(struct conn *c, int64_t id, unsigned parts)
{
	enum err e;
	sqlite3_stmt *st = conn_stmt(c, ST_THREAD_LESS, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, id);
	sqlite3_bind_int(st, 2, (parts & THREAD_MESSAGES) != 0);
	sqlite3_bind_int(st, 3, (parts & THREAD_CHECKPOINTS) != 0);
	sqlite3_bind_int(st, 4, (parts & THREAD_ENTRIES) != 0);
	sqlite3_bind_int64(st, 5, clock_unique_us());
	TRY(conn_run(c, ST_THREAD_LESS));
	return sq_thread_drop_bare(c, id);
}

static enum err apply_remove(struct writer *w, struct conn *c, struct wop *op)
{
	struct thread_arg *x = op->arg;
	struct thread_row t;
	struct arena a;
	enum err e;
	bool any = false;
	arena_init(&a, 1u << 20);
	CHECK(row_find(c, x->who, x->thread, &a, &t));
	if (!t.row || !t.seen)
		CHECK(not_found());
	e = remove_parts(w, c, x, &t, &any);
	if (e == OK && any)
		e = counts_clear(c, t.id, x->parts);
	if (e != OK)
		c->failed = true;
	else if (!any)
		e = not_found();
out:
	arena_release(&a);
	return e;
}

static enum err sq_thread_remove(struct store *s, const struct principal *who, struct str thread, unsigned parts)
{
	struct thread_arg x = {.who = who, .thread = thread, .parts = parts};
	struct wop op = {.apply = apply_remove, .arg = &x, .writes = 64};
	TRY(tenant_get(sq_of(s), who, RIGHT_WRITE, false, &op.t));
	if (!op.t)
		return not_found();
	op.deadline = fiber_deadline();
	return queue_submit(sq_of(s), &op);
}

/* Texts are told from by the name of their thread, so they go before its row. */
enum err sq_thread_drop_bare(struct conn *c, int64_t id)
{
	enum err e;
	bool bare;
	sqlite3_stmt *st = conn_stmt(c, ST_THREAD_BARE, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, id);
	TRY(conn_step(c, st, &bare));
	if (!bare)
		return OK;
	sqlite3_reset(st);
	TRY(texts_removed(c, id, 0, 0));
	return run_id(c, ST_THREAD_DEL_BARE, id);
}

const struct thread_ops sq_thread_ops = {
	.get = sq_thread_get,
	.put = sq_thread_put,
	.remove = sq_thread_remove,
	.append = sq_append,
	.entries = sq_entries,
	.entry = sq_entry,
	.pop = sq_pop,
	.entry_delete = sq_entry_delete,
	.clear = sq_clear,
};
