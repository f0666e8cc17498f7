/* Texts of entries and checkpoints, kept for recall (core/text_store.h).
 *
 * Invariants
 *  1. A row of cenote_text has a thread: it goes before the thread's row does (sq_thread_drop_bare), and its vectors with it.
 *  2. Ids begin at TEXT_ID_FIRST, ascend, and are never given out twice within the process.
 *  3. A text of an entry is only written while that entry is there. */
#include "store/sqlite/sq.h"

#include "rt/fiber.h"
#include "rt/work.h"

static enum err check(const struct principal *who)
{
	if (who && who->user_bound)
		return err_set(E_DENIED, "this key is bound to a user and may not work on everybody's texts");
	return OK;
}

/* ---------------------------------------------------------------- inside the writer's transaction */

static enum err run_id(struct conn *c, enum stmt which, int64_t id)
{
	enum err e;
	sqlite3_stmt *st = conn_stmt(c, which, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, id);
	return conn_run(c, which);
}

static enum err remove_one(struct conn *c, int64_t id, struct feed_name *name)
{
	TRY(writer_changed(&c->t->s->w, id, true, true, name));
	TRY(vectors_removed(c, DOC_MESSAGE, id));
	return run_id(c, ST_TEXT_DEL, id);
}

/* The next few of them. */
static enum err some_ids(struct conn *c, int64_t thread_id, int source, int64_t ref, int64_t *ids, size_t *n)
{
	enum err e;
	bool row;
	sqlite3_stmt *st = conn_stmt(c, ST_TEXT_IDS, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, thread_id);
	sqlite3_bind_int(st, 2, source);
	sqlite3_bind_int64(st, 3, ref);
	for (*n = 0;; ids[(*n)++] = col_i64(st, 0)) {
		TRY(conn_step(c, st, &row));
		if (!row)
			return OK;
	}
}

/* Who is told of changes in the thread; *out NULL: it has gone, or nobody listens. */
static enum err place_of(struct conn *c, int64_t thread_id, struct feed_name **out)
{
	enum err e;
	bool row;
	*out = NULL;
	sqlite3_stmt *st = c->t->s->w.record ? conn_stmt(c, ST_TEXT_PLACE, &e) : NULL;
	if (!st)
		return c->t->s->w.record ? e : OK;
	sqlite3_bind_int64(st, 1, thread_id);
	TRY(conn_step(c, st, &row));
	if (!row)
		return err_set(E_CORRUPT, "%s has texts without a thread", c->t->base);
	*out = feed_name_new(0, col_str(st, 1), col_str(st, 0));
	sqlite3_reset(st);
	return *out ? OK : err_set(E_LIMIT, "out of memory in the store");
}

enum err texts_removed(struct conn *c, int64_t thread_id, int source, int64_t ref)
{
	struct feed_name *name = NULL;
	int64_t ids[256]; /* as many as the statement gives */
	size_t n = 0;
	enum err e = OK;
	if (source == 0)
		TRY(run_id(c, ST_TEXT_SEEN_DEL, thread_id));
	if (source != TEXT_CHECKPOINT && ref == 0)
		TRY(run_id(c, ST_VALUE_OF_THREAD_DEL, thread_id));
	do {
		CHECK(some_ids(c, thread_id, source, ref, ids, &n));
		if (n && !name)
			CHECK(place_of(c, thread_id, &name));
		for (size_t i = 0; i < n; i++)
			CHECK(remove_one(c, ids[i], name));
	} while (n > 0);
out:
	feed_name_drop(name);
	return e;
}

struct put_arg {
	const struct text_change *c;
};

static enum err write_one(struct conn *c, const struct text_change *x, int64_t thread_id, const struct text *t,
			  struct feed_name *name)
{
	enum stmt which = t->id ? ST_TEXT_SET : ST_TEXT_ADD;
	int64_t id = t->id ? t->id : c->t->next_text;
	enum err e;
	bool row = true;
	sqlite3_stmt *st;
	if (x->source == TEXT_ENTRY) {
		st = conn_stmt(c, ST_ENTRY_GET, &e);
		if (!st)
			return e;
		sqlite3_bind_int64(st, 1, thread_id);
		sqlite3_bind_int64(st, 2, t->ref);
		TRY(conn_step(c, st, &row));
		if (!row)
			return OK;
		sqlite3_reset(st);
	}
	st = conn_stmt(c, which, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, id);
	sqlite3_bind_int64(st, 2, thread_id);
	sqlite3_bind_int(st, 3, (int)x->source);
	sqlite3_bind_int64(st, 4, t->ref);
	if (!t->id) {
		sqlite3_bind_int64(st, 5, t->pos);
		bind_str(st, 8, t->mid);
	}
	sqlite3_bind_int64(st, 6, t->time_us);
	sqlite3_bind_int64(st, 7, (int64_t)t->mark);
	bind_str(st, 9, t->role);
	bind_str(st, 10, t->name);
	bind_bytes(st, 11, t->terms);
	bind_str(st, 12, t->content);
	TRY(conn_run(c, which));
	if (sqlite3_changes64(c->db) == 0) /* it has gone in the meantime */
		return OK;
	c->t->next_text += !t->id;
	if (t->terms.n == 0)
		TRY(vectors_removed(c, DOC_MESSAGE, id));
	return writer_changed(&c->t->s->w, id, true, t->terms.n == 0, name);
}

/* *id 0: there is no such thread. */
static enum err owner_of(struct conn *c, struct str thread, struct str user, int64_t *id, bool *same)
{
	enum err e;
	bool row;
	*id = 0;
	*same = false;
	sqlite3_stmt *st = conn_stmt(c, ST_TEXT_OWNER, &e);
	if (!st)
		return e;
	bind_str(st, 1, thread);
	TRY(conn_step(c, st, &row));
	if (!row)
		return OK;
	*id = col_i64(st, 0);
	*same = str_eq(col_str(st, 1), user);
	sqlite3_reset(st);
	return OK;
}

static enum err seen_set(struct conn *c, int64_t thread_id, struct str seen)
{
	enum err e;
	sqlite3_stmt *st = conn_stmt(c, ST_TEXT_SEEN_SET, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, thread_id);
	bind_str(st, 2, seen);
	return conn_run(c, ST_TEXT_SEEN_SET);
}

static enum err put_all(struct conn *c, const struct text_change *x, int64_t thread_id)
{
	struct feed_name *name;
	enum err e;
	TRY(place_of(c, thread_id, &name));
	for (size_t i = 0; i < x->gone_n; i++)
		CHECK(remove_one(c, x->gone[i], name));
	for (size_t i = 0; i < x->n; i++)
		CHECK(write_one(c, x, thread_id, &x->v[i], name));
	e = x->seen.p ? seen_set(c, thread_id, x->seen) : OK;
out:
	feed_name_drop(name);
	return e;
}

static enum err apply_put(struct writer *w, struct conn *c, struct wop *op)
{
	const struct text_change *x = ((const struct put_arg *)op->arg)->c;
	int64_t id;
	bool same;
	(void)w;
	TRY(owner_of(c, x->thread, x->user, &id, &same));
	if (!id || !same)
		return err_set(E_CONFLICT, "the thread is gone, or somebody else's");
	enum err e = put_all(c, x, id);
	if (e != OK)
		c->failed = true;
	return e;
}

static enum err sq_text_put(struct store *s, const struct principal *who, const struct text_change *x)
{
	struct put_arg arg = {x};
	struct wop op = {.apply = apply_put, .arg = &arg, .writes = x->n + x->gone_n + 1, .deadline = fiber_deadline()};
	TRY(principal_check(who, RIGHT_WRITE));
	TRY(check(who));
	if (x->n > TEXTS_PER_CALL || x->gone_n > TEXTS_PER_CALL || x->seen.n > TEXT_SEEN_MAX)
		return err_set(E_LIMIT, "at most %d texts are written at once", TEXTS_PER_CALL);
	for (size_t i = 0; i < x->n; i++)
		op.bytes += x->v[i].content.n + x->v[i].terms.n + 128;
	TRY(tenant_get(sq_of(s), who, RIGHT_WRITE, false, &op.t));
	return op.t ? queue_submit(sq_of(s), &op) : err_set(E_CONFLICT, "the thread is gone");
}

struct drop_arg {
	struct str thread;
	bool only_orphans;
};

/* Here a text cannot outlive its thread. */
static enum err apply_drop(struct writer *w, struct conn *c, struct wop *op)
{
	const struct drop_arg *x = op->arg;
	int64_t id;
	bool same;
	(void)w;
	TRY(owner_of(c, x->thread, STR(""), &id, &same));
	if (!id || x->only_orphans)
		return OK;
	enum err e = texts_removed(c, id, 0, 0);
	if (e != OK)
		c->failed = true;
	return e;
}

static enum err sq_text_drop(struct store *s, const struct principal *who, struct str thread, bool only_orphans)
{
	struct drop_arg arg = {thread, only_orphans};
	struct wop op = {.apply = apply_drop, .arg = &arg, .writes = 64, .deadline = fiber_deadline()};
	TRY(principal_check(who, RIGHT_WRITE));
	TRY(check(who));
	TRY(tenant_get(sq_of(s), who, RIGHT_WRITE, false, &op.t));
	return op.t ? queue_submit(sq_of(s), &op) : OK;
}

/* ---------------------------------------------------------------- reading */

struct reading {
	struct sq *s;
	struct tenant *t;
	uint64_t deadline;
	struct arena *a;
	struct str thread;
	enum text_source source;
	struct text_known *v;
	size_t n, limit;
	text_seen_fn fn;
	void *ctx;
};

static enum err seen(struct conn *c, struct arena *a, struct str thread, struct str *out)
{
	enum err e;
	bool row;
	sqlite3_stmt *st = conn_stmt(c, ST_TEXT_SEEN, &e);
	if (!st)
		return e;
	bind_str(st, 1, thread);
	TRY(conn_step(c, st, &row));
	if (!row)
		return OK;
	*out = arena_str(a, col_str(st, 0));
	sqlite3_reset(st);
	return out->p ? OK : E_NOMEM;
}

static enum err sq_text_seen(struct store *s, struct arena *a, const struct principal *who, struct str thread, struct str *out)
{
	struct tenant *t;
	struct reader *r;
	struct conn *c;
	*out = STR("");
	TRY(check(who));
	TRY(tenant_get(sq_of(s), who, RIGHT_READ, false, &t));
	if (!t)
		return OK;
	TRY(reader_begin(sq_of(s), t, fiber_deadline(), &r, &c));
	return reader_end(sq_of(s), r, c, seen(c, a, thread, out));
}

static enum err known(struct conn *c, struct reading *x)
{
	size_t cap = 0;
	enum err e;
	sqlite3_stmt *st = conn_stmt(c, ST_TEXT_KNOWN, &e);
	if (!st)
		return e;
	bind_str(st, 1, x->thread);
	sqlite3_bind_int(st, 2, (int)x->source);
	for (;;) {
		bool row;
		TRY(conn_step(c, st, &row));
		if (!row)
			return OK;
		if (x->n == cap) {
			size_t more = cap ? cap * 2 : 64;
			x->v = arena_grow(x->a, x->v, cap * sizeof *x->v, more * sizeof *x->v);
			cap = more;
		}
		struct str mid = x->v ? arena_str(x->a, col_str(st, 3)) : (struct str){0};
		if (!mid.p) {
			sqlite3_reset(st);
			return E_NOMEM;
		}
		x->v[x->n++] = (struct text_known){col_i64(st, 0), col_i64(st, 1), col_i64(st, 2), mid, (uint64_t)col_i64(st, 4)};
	}
}

static enum err known_task(void *arg)
{
	struct reading *x = arg;
	struct reader *r;
	struct conn *c;
	TRY(reader_begin(x->s, x->t, x->deadline, &r, &c));
	return reader_end(x->s, r, c, known(c, x));
}

static enum err sq_text_known(struct store *s, struct arena *a, const struct principal *who, struct str thread,
			      enum text_source source, struct text_known **out, size_t *n)
{
	struct reading x = {.s = sq_of(s), .deadline = fiber_deadline(), .a = a, .thread = thread, .source = source};
	*out = NULL;
	*n = 0;
	TRY(check(who));
	TRY(tenant_get(sq_of(s), who, RIGHT_READ, false, &x.t));
	if (!x.t)
		return OK;
	TRY(work_run(known_task, &x));
	*out = x.v;
	*n = x.n;
	return OK;
}

static enum err walk(struct conn *c, struct reading *x)
{
	enum err e;
	sqlite3_stmt *st = conn_stmt(c, ST_TEXTS_SEEN, &e);
	if (!st)
		return e;
	bind_str(st, 1, x->thread);
	sqlite3_bind_int64(st, 2, x->limit > INT64_MAX ? INT64_MAX : (int64_t)x->limit);
	for (;;) {
		bool row;
		TRY(conn_step(c, st, &row));
		if (!row)
			return OK;
		if (!x->fn(x->ctx, col_str(st, 0), col_str(st, 1)))
			break;
	}
	sqlite3_reset(st);
	return OK;
}

static enum err walk_task(void *arg)
{
	struct reading *x = arg;
	struct reader *r;
	struct conn *c;
	TRY(reader_begin(x->s, x->t, x->deadline, &r, &c));
	return reader_end(x->s, r, c, walk(c, x));
}

static enum err sq_text_walk(struct store *s, const struct principal *who, struct str after, size_t limit, text_seen_fn fn,
			     void *ctx)
{
	struct reading x = {.s = sq_of(s), .deadline = fiber_deadline(), .thread = after, .limit = limit, .fn = fn, .ctx = ctx};
	TRY(check(who));
	TRY(tenant_get(sq_of(s), who, RIGHT_READ, false, &x.t));
	return x.t ? work_run(walk_task, &x) : OK;
}

const struct text_ops sq_text_ops = {
	.seen = sq_text_seen, .known = sq_text_known, .put = sq_text_put, .drop = sq_text_drop, .walk = sq_text_walk};
