/* Entries of sessions: appended in order, read by ranges of their ids, taken from the end.
 *
 * Invariants
 *  1. Within a thread the order is that of the ids, which only the writer gives out, ascending and never twice.
 *  2. cenote_thread.entries is the number of rows of cenote_entry with its id; both change in one transaction.
 *  3. once names the last append of the thread and is gone with the next one: whose ids were once_id .. once_id + once_n - 1, at
 *     once_us.
 *  4. An op that refuses has changed nothing: everything that can refuse is looked at before the first row is written, and an error
 *     behind that loses the transaction (or_lost). */
#include "store/sqlite/sq.h"

#include "rt/fiber.h"
#include "rt/work.h"

#define INLINE_ROWS 64u
#define ONCE_US INT64_C(600000000) /* for how long a repeated call is recognised */

struct session {
	bool row, seen; /* seen: the principal may reach it */
	int64_t id, entries;
	int64_t once_us, once_id, once_n;
	bool once_same;
};

static enum err not_found(void)
{
	return err_set(E_NOT_FOUND, "there is no such session");
}

/* For what has begun to change rows: on an error half an op is in the transaction, which cannot be kept. */
static enum err or_lost(struct conn *c, enum err e)
{
	if (e != OK)
		c->failed = true;
	return e;
}

/* once: what to compare with. */
static enum err session_find(struct conn *c, const struct principal *who, struct str thread, struct str once, struct session *x)
{
	enum err e;
	*x = (struct session){0};
	sqlite3_stmt *st = conn_stmt(c, ST_SESSION_FIND, &e);
	if (!st)
		return e;
	bind_str(st, 1, thread);
	TRY(conn_step(c, st, &x->row));
	if (!x->row)
		return OK;
	x->id = col_i64(st, 0);
	x->seen = principal_sees(who, col_str(st, 1));
	x->entries = col_i64(st, 2);
	x->once_same = once.n > 0 && str_eq(once, col_str(st, 3));
	x->once_us = col_i64(st, 4);
	x->once_id = col_i64(st, 5);
	x->once_n = col_i64(st, 6);
	sqlite3_reset(st);
	return OK;
}

/* ---------------------------------------------------------------- writing */

struct entry_arg {
	const struct principal *who;
	struct str thread;
	struct entry_append *append; /* append, clear */
	int64_t id;		     /* entry_delete */
	struct arena *a;	     /* pop */
	struct session_entry *out;
	bool found;
};

static enum err session_add(struct conn *c, struct str thread, struct str user, struct session *x)
{
	enum err e;
	sqlite3_stmt *st = conn_stmt(c, ST_SESSION_ADD, &e);
	if (!st)
		return e;
	*x = (struct session){.row = true, .seen = true, .id = c->t->next_thread++};
	sqlite3_bind_int64(st, 1, x->id);
	bind_str(st, 2, thread);
	bind_str(st, 3, user);
	sqlite3_bind_int64(st, 4, clock_unique_us());
	return conn_run(c, ST_SESSION_ADD);
}

/* Count, time and once as they are now; same: once is the one that is there. */
static enum err session_set(struct conn *c, const struct session *x, struct str once, bool same)
{
	enum err e;
	sqlite3_stmt *st = conn_stmt(c, ST_SESSION_SET, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, x->id);
	sqlite3_bind_int64(st, 2, clock_unique_us());
	sqlite3_bind_int64(st, 3, x->entries);
	if (once.n)
		bind_bytes(st, 4, once);
	else
		sqlite3_bind_null(st, 4);
	sqlite3_bind_int64(st, 5, x->once_us);
	sqlite3_bind_int64(st, 6, x->once_id);
	sqlite3_bind_int64(st, 7, x->once_n);
	sqlite3_bind_int(st, 8, same);
	return conn_run(c, ST_SESSION_SET);
}

/* The same session one entry shorter; its once stays what it was. */
static enum err session_less(struct conn *c, struct str thread)
{
	enum err e;
	sqlite3_stmt *st = conn_stmt(c, ST_SESSION_LESS, &e);
	if (!st)
		return e;
	bind_str(st, 1, thread);
	sqlite3_bind_int64(st, 2, clock_unique_us());
	return conn_run(c, ST_SESSION_LESS);
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

static enum err entry_add(struct conn *c, const struct session *x, struct session_entry *v, int64_t now)
{
	enum err e;
	sqlite3_stmt *st = conn_stmt(c, ST_ENTRY_ADD, &e);
	if (!st)
		return e;
	v->id = c->t->next_entry++;
	v->created_us = now;
	v->unreadable = false;
	sqlite3_bind_int64(st, 1, v->id);
	sqlite3_bind_int64(st, 2, x->id);
	sqlite3_bind_int64(st, 3, now);
	bind_str(st, 4, v->data);
	return conn_run(c, ST_ENTRY_ADD);
}

static enum err add_all(struct conn *c, struct session *x, struct entry_append *a)
{
	int64_t now = clock_unique_us();
	for (size_t i = 0; i < a->n; i++)
		TRY(entry_add(c, x, &a->v[i], now));
	x->entries += (int64_t)a->n;
	if (a->same_call && !a->once.n)
		return session_set(c, x, a->once, true);
	x->once_us = a->once.n ? now : 0;
	x->once_id = a->n ? a->v[0].id : 0;
	x->once_n = (int64_t)a->n;
	return session_set(c, x, a->once, false);
}

/* Is it the last append over again? Then the answer is the one of then. */
static bool repeats(const struct session *x, struct entry_append *a)
{
	if (!a->look || !x->once_same || (a->n && x->once_n != (int64_t)a->n) || clock_unique_us() - x->once_us > ONCE_US)
		return false;
	for (size_t i = 0; i < a->n; i++) {
		a->v[i].id = x->once_id + (int64_t)i;
		a->v[i].created_us = x->once_us;
	}
	a->repeated = true;
	return true;
}

static enum err foreign(void)
{
	return err_set(E_CONFLICT, "the session belongs to another user; nothing was changed");
}

static enum err entry_there(struct conn *c, const struct session *x, int64_t id, bool *there)
{
	enum err e;
	sqlite3_stmt *st = conn_stmt(c, ST_ENTRY_GET, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, x->id);
	sqlite3_bind_int64(st, 2, id);
	TRY(conn_step(c, st, there));
	if (*there)
		sqlite3_reset(st);
	return OK;
}

static enum err entry_gone(struct conn *c, const struct session *x, int64_t id)
{
	TRY(run_id(c, ST_ENTRY_DEL, id));
	TRY(run_id(c, ST_VALUE_OF_ENTRY_DEL, id));
	return texts_removed(c, x->id, TEXT_ENTRY, id);
}

/* The entry, and the session without it. */
static enum err entry_out(struct conn *c, const struct session *x, struct str thread, int64_t id)
{
	TRY(entry_gone(c, x, id));
	return session_less(c, thread);
}

static enum err newest_is(struct conn *c, const struct session *x, int64_t id)
{
	enum err e;
	bool row = false;
	sqlite3_stmt *st = x->row ? conn_stmt(c, ST_ENTRIES_DOWN, &e) : NULL;
	if (x->row && !st)
		return e;
	if (st) {
		sqlite3_bind_int64(st, 1, x->id);
		sqlite3_bind_int64(st, 2, INT64_MAX);
		sqlite3_bind_int64(st, 3, 1);
		TRY(conn_step(c, st, &row));
	}
	bool is = row && col_i64(st, 0) == id;
	if (row)
		sqlite3_reset(st);
	return is ? OK : err_set(E_CONFLICT, "the session has gone on; nothing was changed");
}

static enum err append_checked(struct conn *c, const struct principal *who, struct entry_append *a, struct session *s)
{
	bool there;
	if (!s->row)
		TRY(session_add(c, a->thread, who->user, s));
	if (a->instead) {
		TRY(entry_there(c, s, a->instead, &there));
		if (there)
			TRY(entry_gone(c, s, a->instead));
		s->entries -= there;
	}
	return add_all(c, s, a);
}

static enum err apply_append(struct writer *w, struct conn *c, struct wop *op)
{
	struct entry_arg *x = op->arg;
	struct entry_append *a = x->append;
	struct session s;
	(void)w;
	a->repeated = false;
	TRY(session_find(c, x->who, a->thread, a->once, &s));
	if (s.row && !s.seen)
		return a->must_exist ? not_found() : foreign();
	if (!s.row && a->must_exist)
		return not_found();
	if ((s.row && repeats(&s, a)) || !a->n)
		return OK;
	if (a->wants_empty && s.entries > 0)
		return err_set(E_CONFLICT, "the session has entries");
	if (a->behind)
		TRY(newest_is(c, &s, a->behind));
	return or_lost(c, append_checked(c, x->who, a, &s));
}

static enum err clear_checked(struct conn *c, const struct entry_arg *x, struct session *s)
{
	struct entry_append *a = x->append;
	if (s->row) {
		TRY(run_id(c, ST_VALUE_OF_ENTRIES_DEL, s->id));
		TRY(run_id(c, ST_ENTRY_DEL_THREAD, s->id));
		TRY(texts_removed(c, s->id, TEXT_ENTRY, 0));
		s->entries = 0;
	}
	if (a && !s->row)
		TRY(session_add(c, x->thread, x->who->user, s));
	if (a)
		return add_all(c, s, a);
	if (!s->row)
		return OK;
	s->once_us = s->once_id = s->once_n = 0;
	TRY(session_set(c, s, (struct str){0}, false));
	return sq_thread_drop_bare(c, s->id);
}

static enum err apply_clear(struct writer *w, struct conn *c, struct wop *op)
{
	struct entry_arg *x = op->arg;
	struct entry_append *a = x->append;
	struct session s;
	(void)w;
	if (a)
		a->repeated = false;
	TRY(session_find(c, x->who, x->thread, a ? a->once : (struct str){0}, &s));
	if (s.row && !s.seen)
		return a ? foreign() : OK;
	if (s.row && a && repeats(&s, a))
		return OK;
	if (!s.row && a && a->must_exist)
		return not_found();
	return or_lost(c, clear_checked(c, x, &s));
}

static void entry_columns(sqlite3_stmt *st, struct session_entry *v)
{
	*v = (struct session_entry){.id = col_i64(st, 0), .created_us = col_i64(st, 1), .data = col_str(st, 2)};
}

static enum err keep(struct arena *a, struct session_entry *v)
{
	v->data = arena_str(a, v->data);
	return v->data.p ? OK : E_NOMEM;
}

static enum err apply_pop(struct writer *w, struct conn *c, struct wop *op)
{
	struct entry_arg *x = op->arg;
	struct session s;
	enum err e;
	(void)w;
	x->found = false;
	TRY(session_find(c, x->who, x->thread, (struct str){0}, &s));
	if (!s.row || !s.seen)
		return OK;
	sqlite3_stmt *st = conn_stmt(c, ST_ENTRIES_DOWN, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, s.id);
	sqlite3_bind_int64(st, 2, INT64_MAX);
	sqlite3_bind_int64(st, 3, 1);
	TRY(conn_step(c, st, &x->found));
	if (!x->found)
		return OK;
	entry_columns(st, x->out);
	e = keep(x->a, x->out);
	sqlite3_reset(st);
	TRY(e);
	return or_lost(c, entry_out(c, &s, x->thread, x->out->id));
}

static enum err apply_entry_delete(struct writer *w, struct conn *c, struct wop *op)
{
	struct entry_arg *x = op->arg;
	struct session s;
	bool there;
	(void)w;
	TRY(session_find(c, x->who, x->thread, (struct str){0}, &s));
	if (!s.row || !s.seen)
		return not_found();
	TRY(entry_there(c, &s, x->id, &there));
	if (!there)
		return err_set(E_NOT_FOUND, "the session has no such entry");
	return or_lost(c, entry_out(c, &s, x->thread, x->id));
}

/* create: the tenant, when it has no file yet; else *none tells that there is nothing to work on. */
static enum err submit(struct store *s, struct entry_arg *x, struct wop *op, bool create, bool *none)
{
	op->arg = x;
	op->deadline = fiber_deadline();
	TRY(tenant_get(sq_of(s), x->who, RIGHT_WRITE, create, &op->t));
	*none = !op->t;
	return *none ? OK : queue_submit(sq_of(s), op);
}

static void weigh(const struct entry_append *a, struct wop *op)
{
	op->writes = a->n + 1;
	for (size_t i = 0; i < a->n; i++)
		op->bytes += a->v[i].data.n + 32;
}

enum err sq_append(struct store *s, const struct principal *who, struct entry_append *a)
{
	struct entry_arg x = {.who = who, .thread = a->thread, .append = a};
	struct wop op = {.apply = apply_append};
	bool none;
	a->repeated = false;
	if (a->n == 0 && !a->look) /* creates nothing */
		return principal_check(who, RIGHT_WRITE);
	weigh(a, &op);
	TRY(submit(s, &x, &op, !a->must_exist, &none));
	return none ? not_found() : OK;
}

enum err sq_clear(struct store *s, const struct principal *who, struct str thread, struct entry_append *with)
{
	struct entry_arg x = {.who = who, .thread = thread, .append = with};
	struct wop op = {.apply = apply_clear, .writes = 2};
	bool none;
	if (with)
		weigh(with, &op);
	return submit(s, &x, &op, with != NULL, &none);
}

enum err sq_pop(struct store *s, struct arena *a, const struct principal *who, struct str thread, struct session_entry *out,
		bool *found)
{
	struct entry_arg x = {.who = who, .thread = thread, .a = a, .out = out};
	struct wop op = {.apply = apply_pop, .writes = 1};
	bool none;
	*found = false;
	TRY(submit(s, &x, &op, false, &none));
	*found = !none && x.found;
	return OK;
}

enum err sq_entry_delete(struct store *s, const struct principal *who, struct str thread, int64_t id)
{
	struct entry_arg x = {.who = who, .thread = thread, .id = id};
	struct wop op = {.apply = apply_entry_delete, .writes = 1};
	bool none;
	TRY(submit(s, &x, &op, false, &none));
	return none ? not_found() : OK;
}

/* ---------------------------------------------------------------- reading */

struct reading {
	struct sq *s;
	struct tenant *t;
	const struct principal *who;
	uint64_t deadline;
	struct str thread;
	/* entries */
	const struct entry_list *q;
	entry_fn fn;
	void *ctx;
	/* entry */
	struct arena *a;
	int64_t id;
	struct session_entry *out;
	bool found;
};

/* The thread's number; E_NOT_FOUND for those who may not see it, too. */
static enum err thread_id(struct conn *c, const struct reading *x, int64_t *id)
{
	struct session s;
	TRY(session_find(c, x->who, x->thread, (struct str){0}, &s));
	*id = s.id;
	return s.row && s.seen ? OK : not_found();
}

static enum err entry_at(struct conn *c, int64_t thread, int64_t id, sqlite3_stmt **st, bool *row)
{
	enum err e;
	*st = conn_stmt(c, ST_ENTRY_GET, &e);
	if (!*st)
		return e;
	sqlite3_bind_int64(*st, 1, thread);
	sqlite3_bind_int64(*st, 2, id);
	return conn_step(c, *st, row);
}

static enum err rows(struct conn *c, const struct reading *x, int64_t thread)
{
	const struct entry_list *q = x->q;
	enum err e;
	bool row;
	sqlite3_stmt *st = conn_stmt(c, q->newest_first ? ST_ENTRIES_DOWN : ST_ENTRIES_UP, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, thread);
	sqlite3_bind_int64(st, 2, q->after ? q->after : q->newest_first ? INT64_MAX : 0);
	sqlite3_bind_int64(st, 3, q->limit > INT64_MAX ? INT64_MAX : (int64_t)q->limit);
	for (;;) {
		struct session_entry v;
		TRY(conn_step(c, st, &row));
		if (!row)
			return OK;
		entry_columns(st, &v);
		if (!x->fn(x->ctx, &v))
			break;
	}
	sqlite3_reset(st);
	return OK;
}

static enum err entries(struct conn *c, const struct reading *x)
{
	int64_t thread;
	sqlite3_stmt *st;
	bool row;
	TRY(thread_id(c, x, &thread));
	if (x->q->after) {
		TRY(entry_at(c, thread, x->q->after, &st, &row));
		if (!row)
			return err_set(E_NOT_FOUND, "the session has no such entry");
		sqlite3_reset(st);
	}
	return rows(c, x, thread);
}

static enum err entries_task(void *arg)
{
	const struct reading *x = arg;
	struct reader *r;
	struct conn *c;
	TRY(reader_begin(x->s, x->t, x->deadline, &r, &c));
	return reader_end(x->s, r, c, entries(c, x));
}

enum err sq_entries(struct store *s, const struct principal *who, const struct entry_list *q, entry_fn fn, void *ctx)
{
	struct reading x = {
		.s = sq_of(s), .who = who, .deadline = fiber_deadline(), .thread = q->thread, .q = q, .fn = fn, .ctx = ctx};
	TRY(tenant_get(sq_of(s), who, RIGHT_READ, false, &x.t));
	if (!x.t)
		return not_found();
	return q->limit <= INLINE_ROWS ? entries_task(&x) : work_run(entries_task, &x);
}

static enum err entry(struct conn *c, struct reading *x)
{
	int64_t thread;
	sqlite3_stmt *st;
	enum err e = thread_id(c, x, &thread);
	if (e == E_NOT_FOUND)
		return OK;
	TRY(e);
	TRY(entry_at(c, thread, x->id, &st, &x->found));
	if (!x->found)
		return OK;
	entry_columns(st, x->out);
	e = keep(x->a, x->out);
	sqlite3_reset(st);
	return e;
}

enum err sq_entry(struct store *s, struct arena *a, const struct principal *who, struct str thread, int64_t id,
		  struct session_entry *out, bool *found)
{
	struct reading x = {
		.s = sq_of(s), .who = who, .deadline = fiber_deadline(), .thread = thread, .a = a, .id = id, .out = out};
	struct reader *r;
	struct conn *c;
	*found = false;
	TRY(tenant_get(sq_of(s), who, RIGHT_READ, false, &x.t));
	if (!x.t)
		return OK;
	TRY(reader_begin(x.s, x.t, x.deadline, &r, &c));
	TRY(reader_end(x.s, r, c, entry(c, &x)));
	*found = x.found;
	return OK;
}
