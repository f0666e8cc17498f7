/* Copies of threads: every row again with numbers that are moved by a fixed distance for each table, so that what refers to what
 * stays as it is; chunk lists name chunks within their stream and need no change. A copy of a part is made of the whole, from which
 * the rest is removed in the same transaction; a parent that is not copied stays a name (placeholder). */
#include "rt/fiber.h"
#include "store/sqlite/ckpt.h"

struct copy_arg {
	const struct principal *who;
	struct str from, to;
	const struct ckpt_ref *refs;
	size_t n;
	bool all;
};

/* Distances between the numbers of the source and those of the copy. */
struct moves {
	int64_t from, to; /* threads */
	int64_t scope, checkpoint, stream;
};

static enum err distance(struct conn *c, enum stmt which, int64_t thread, int64_t *next, int64_t *out)
{
	enum err e;
	bool row;
	*out = 0;
	sqlite3_stmt *st = conn_stmt(c, which, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, thread);
	TRY(conn_step(c, st, &row));
	if (!row)
		return OK;
	if (sqlite3_column_type(st, 0) != SQLITE_NULL) {
		*out = *next - col_i64(st, 0);
		*next += col_i64(st, 1) - col_i64(st, 0) + 1;
	}
	sqlite3_reset(st);
	return OK;
}

static enum err copy_rows(struct conn *c, const struct moves *m)
{
	static const enum stmt all[] = {ST_COPY_SCOPES,	 ST_COPY_CKPTS,	   ST_COPY_PENDING,
					ST_COPY_STREAMS, ST_COPY_VERSIONS, ST_COPY_CHUNKS};
	enum err e;
	for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
		sqlite3_stmt *st = conn_stmt(c, all[i], &e);
		if (!st)
			return e;
		const int64_t v[] = {m->from, m->to, m->scope, m->checkpoint, m->stream};
		for (int k = 0; k < sqlite3_bind_parameter_count(st) && k < 5; k++)
			sqlite3_bind_int64(st, k + 1, v[k]);
		TRY(conn_run(c, all[i]));
	}
	return OK;
}

struct end {
	bool row, seen;
	int64_t id, state_us;
	struct str user;
	bool used; /* has checkpoints or early writes */
};

static enum err end_find(struct conn *c, struct arena *a, const struct principal *who, struct str thread, struct end *x)
{
	enum err e;
	*x = (struct end){0};
	sqlite3_stmt *st = conn_stmt(c, ST_COPY_END, &e);
	if (!st)
		return e;
	bind_str(st, 1, thread);
	TRY(conn_step(c, st, &x->row));
	if (!x->row)
		return OK;
	x->id = col_i64(st, 0);
	x->user = arena_str(a, col_str(st, 1));
	x->state_us = col_i64(st, 2);
	x->used = col_i64(st, 3) != 0;
	x->seen = principal_sees(who, x->user);
	sqlite3_reset(st);
	return x->user.p ? OK : E_NOMEM;
}

static enum err may_copy(const struct end *from, const struct end *to)
{
	if (!from->row || !from->seen || !from->used)
		return err_set(E_NOT_FOUND, "there is no such thread");
	if (to->row && (!to->seen || !str_eq(to->user, from->user)))
		return err_set(E_CONFLICT, "the target belongs to another user; nothing was copied");
	if (to->row && to->used)
		return err_set(E_CONFLICT, "the target has checkpoints already; nothing was copied");
	return OK;
}

/* The target's row, with what was counted. */
static enum err target_make(struct conn *c, const struct copy_arg *x, const struct end *from, struct end *to)
{
	enum err e;
	if (to->row)
		return OK;
	sqlite3_stmt *st = conn_stmt(c, ST_THREAD_ADD, &e);
	if (!st)
		return e;
	to->id = c->t->next_thread++;
	sqlite3_bind_int64(st, 1, to->id);
	bind_str(st, 2, x->to);
	bind_str(st, 3, from->user);
	sqlite3_bind_int64(st, 4, clock_unique_us());
	return conn_run(c, ST_THREAD_ADD);
}

static enum err target_count(struct conn *c, const struct end *from, const struct end *to)
{
	enum err e;
	sqlite3_stmt *st = conn_stmt(c, ST_COPY_COUNT, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, to->id);
	sqlite3_bind_int64(st, 2, clock_unique_us());
	sqlite3_bind_int64(st, 3, from->state_us);
	return conn_run(c, ST_COPY_COUNT);
}

static enum err copy(struct conn *c, const struct copy_arg *x, const struct end *from, struct end *to)
{
	struct tenant *t = c->t;
	struct moves m = {.from = from->id};
	TRY(target_make(c, x, from, to));
	m.to = to->id;
	TRY(distance(c, ST_COPY_SPAN_SCOPES, from->id, &t->next_scope, &m.scope));
	TRY(distance(c, ST_COPY_SPAN_CKPTS, from->id, &t->next_checkpoint, &m.checkpoint));
	TRY(distance(c, ST_COPY_SPAN_STREAMS, from->id, &t->next_stream, &m.stream));
	TRY(copy_rows(c, &m));
	if (!x->all)
		TRY(ckpt_keep_only(c, to->id, x->refs, x->n));
	return target_count(c, from, to);
}

static enum err apply_copy(struct writer *w, struct conn *c, struct wop *op)
{
	struct copy_arg *x = op->arg;
	struct end from, to;
	struct arena a;
	enum err e;
	(void)w;
	arena_init(&a, 1u << 20);
	CHECK(end_find(c, &a, x->who, x->from, &from));
	CHECK(end_find(c, &a, x->who, x->to, &to));
	CHECK(may_copy(&from, &to));
	e = copy(c, x, &from, &to);
	if (e != OK)
		c->failed = true;
out:
	arena_release(&a);
	return e;
}

enum err sq_ckpt_copy(struct store *s, const struct principal *who, struct str from, struct str to, const struct ckpt_ref *refs,
		      size_t n)
{
	struct copy_arg x = {.who = who, .from = from, .to = to, .refs = refs, .n = n, .all = !refs};
	struct wop op = {.apply = apply_copy, .arg = &x, .writes = 256};
	TRY(tenant_get(sq_of(s), who, RIGHT_WRITE, false, &op.t));
	if (!op.t)
		return err_set(E_NOT_FOUND, "there is no such thread");
	op.deadline = fiber_deadline();
	return queue_submit(sq_of(s), &op);
}
