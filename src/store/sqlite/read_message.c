/* Reads of conversations. Threads that the principal may not see (principal_sees) do not exist for it. */
#include "store/sqlite/sq.h"

#include "rt/fiber.h"
#include "rt/work.h"

#define INLINE_ROWS 64u

struct reading {
	struct sq *s;
	struct tenant *t;
	const struct principal *who;
	uint64_t deadline;
	/* list */
	struct str thread;
	int64_t from;
	size_t limit;
	message_fn message_fn;
	void *ctx;
	/* by id */
	struct arena *a;
	const int64_t *ids;
	size_t n;
	struct message *out;
};

static enum err not_found(void)
{
	return err_set(E_NOT_FOUND, "there is no such thread");
}

static int64_t sql_limit(size_t n)
{
	return n > INT64_MAX ? INT64_MAX : (int64_t)n;
}

/* The columns that the two statements share. */
static void message_columns(sqlite3_stmt *st, struct message *m)
{
	*m = (struct message){
		.id = col_i64(st, 0),
		.pos = col_i64(st, 1),
		.time_us = col_i64(st, 2),
		.mid = col_str(st, 3),
		.role = col_str(st, 4),
		.name = col_str(st, 5),
		.content = col_str(st, 6),
		.metadata = col_str(st, 7),
		.terms = col_str(st, 8),
		.stored = true,
	};
}

/* ---------------------------------------------------------------- messages of a thread */

static enum err list_rows(struct conn *c, const struct reading *x, int64_t thread_id, struct str user)
{
	enum err e;
	bool row;
	sqlite3_stmt *st = conn_stmt(c, ST_MESSAGE_LIST, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, thread_id);
	sqlite3_bind_int64(st, 2, x->from);
	sqlite3_bind_int64(st, 3, sql_limit(x->limit));
	for (;;) {
		struct message m;
		TRY(conn_step(c, st, &row));
		if (!row)
			return OK;
		message_columns(st, &m);
		m.thread = x->thread;
		m.user = user;
		if (!x->message_fn(x->ctx, &m))
			break;
	}
	sqlite3_reset(st);
	return OK;
}

static enum err list(struct conn *c, const struct reading *x)
{
	enum err e;
	bool row;
	sqlite3_stmt *st = conn_stmt(c, ST_THREAD_GET, &e);
	if (!st)
		return e;
	bind_str(st, 1, x->thread);
	TRY(conn_step(c, st, &row));
	if (!row)
		return not_found();
	struct str user = col_str(st, 1);
	e = !principal_sees(x->who, user) ? not_found() : list_rows(c, x, col_i64(st, 0), user);
	sqlite3_reset(st);
	return e;
}

static enum err list_task(void *arg)
{
	const struct reading *x = arg;
	struct reader *r;
	struct conn *c;
	TRY(reader_begin(x->s, x->t, x->deadline, &r, &c));
	return reader_end(x->s, r, c, list(c, x));
}

enum err sq_message_list(struct store *s, const struct principal *who, struct str thread, int64_t from, size_t limit, message_fn fn,
			 void *ctx)
{
	struct reading x = {.s = sq_of(s),
			    .who = who,
			    .deadline = fiber_deadline(),
			    .thread = thread,
			    .from = from,
			    .limit = limit,
			    .message_fn = fn,
			    .ctx = ctx};
	TRY(tenant_get(sq_of(s), who, RIGHT_READ, false, &x.t));
	if (!x.t)
		return not_found();
	return limit <= INLINE_ROWS ? list_task(&x) : work_run(list_task, &x);
}

/* ---------------------------------------------------------------- by id */

static enum err keep_message(struct arena *a, struct message *m)
{
	struct str *const all[] = {&m->thread, &m->mid, &m->user, &m->role, &m->name, &m->content, &m->metadata, &m->terms};
	for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
		*all[i] = arena_str(a, *all[i]);
		if (!all[i]->p)
			return E_NOMEM;
	}
	return OK;
}

static enum err one_by_id(struct conn *c, const struct reading *x, size_t i)
{
	enum err e;
	bool row;
	sqlite3_stmt *st = conn_stmt(c, x->ids[i] < TEXT_ID_FIRST ? ST_MESSAGE_BY_ID : ST_TEXT_BY_ID, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, x->ids[i]);
	TRY(conn_step(c, st, &row));
	if (!row)
		return OK;
	if (principal_sees(x->who, col_str(st, 10))) {
		message_columns(st, &x->out[i]);
		x->out[i].thread = col_str(st, 9);
		x->out[i].user = col_str(st, 10);
		e = keep_message(x->a, &x->out[i]);
	}
	sqlite3_reset(st);
	return e;
}

static enum err by_id_task(void *arg)
{
	const struct reading *x = arg;
	struct reader *r;
	struct conn *c;
	enum err e = OK;
	TRY(reader_begin(x->s, x->t, x->deadline, &r, &c));
	for (size_t i = 0; i < x->n && e == OK; i++)
		e = one_by_id(c, x, i);
	return reader_end(x->s, r, c, e);
}

enum err sq_message_by_id(struct store *s, struct arena *a, const struct principal *who, const int64_t *ids, size_t n,
			  struct message *out)
{
	struct reading x = {.s = sq_of(s), .who = who, .deadline = fiber_deadline(), .a = a, .ids = ids, .n = n, .out = out};
	if (n)
		memset(out, 0, n * sizeof *out);
	TRY(tenant_get(sq_of(s), who, RIGHT_READ, false, &x.t));
	if (!x.t)
		return OK;
	return n <= INLINE_ROWS ? by_id_task(&x) : work_run(by_id_task, &x);
}
