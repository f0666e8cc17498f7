/* Removing checkpoints, in the writer's transaction: their rows and pending writes, and what only they referred to (ckpt_free.c).
 * Parents that went become none; placeholders that nobody names any more go. When nothing remains, the namespace goes, and with the
 * last one the thread's row, unless something else lies under the name. Removing is no change that a time to live counts from. */
#include "rt/fiber.h"
#include "store/sqlite/ckpt.h"

struct remove_arg {
	const struct principal *who;
	struct str thread;
	const struct ckpt_ref *refs; /* by namespace */
	size_t n;
	struct ckpt_removed out;
};

enum err ckpt_run(struct conn *c, enum stmt which, int64_t id)
{
	enum err e;
	sqlite3_stmt *st = conn_stmt(c, which, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, id);
	return conn_run(c, which);
}

enum err ckpt_drop_thread(struct conn *c, int64_t thread, int64_t *scopes)
{
	static const enum stmt all[] = {ST_DROP_CHUNKS,	 ST_DROP_VERSIONS, ST_DROP_STREAMS,
					ST_DROP_PENDING, ST_DROP_CKPTS,	   ST_DROP_SCOPES};
	for (unsigned i = 0; i < sizeof all / sizeof *all; i++)
		TRY(ckpt_run(c, all[i], thread));
	*scopes = sqlite3_changes64(c->db);
	return OK;
}

/* ---------------------------------------------------------------- rows */

static enum err ckpt_scope(struct conn *c, int64_t thread, struct str ns, int64_t *out)
{
	enum err e;
	bool row;
	*out = 0;
	sqlite3_stmt *st = conn_stmt(c, ST_SCOPE_FIND, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, thread);
	bind_str(st, 2, ns);
	TRY(conn_step(c, st, &row));
	if (row) {
		*out = col_i64(st, 0);
		sqlite3_reset(st);
	}
	return OK;
}

/* A placeholder that neither a child nor writes name goes. */
static enum err drop_bare(struct conn *c, int64_t id)
{
	return id ? ckpt_run(c, ST_CKPT_DEL_BARE, id) : OK;
}

/* Frees what only this row refers to, as long as it is there. *parent: its parent; *body: it is a checkpoint. */
static enum err row_free(struct conn *c, struct arena *a, int64_t scope, int64_t id, int64_t *parent, bool *body,
			 struct ckpt_removed *out)
{
	enum err e;
	bool row;
	sqlite3_stmt *st = conn_stmt(c, ST_CKPT_BODY_OF, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, id);
	TRY(conn_step(c, st, &row));
	if (!row)
		return err_set(E_INTERNAL, "a checkpoint has vanished while it was removed");
	*body = sqlite3_column_type(st, 0) != SQLITE_NULL;
	*parent = col_i64(st, 1);
	struct str copy = *body ? arena_str(a, col_str(st, 0)) : STR("");
	sqlite3_reset(st);
	if (!copy.p)
		return E_NOMEM;
	return *body ? ckpt_free(c, a, scope, copy, out) : OK;
}

/* The checkpoint itself and its writes. */
static enum err row_remove(struct conn *c, struct arena *a, int64_t scope, int64_t id, struct ckpt_removed *out)
{
	struct ckpt_pending *w;
	size_t n, bytes;
	int64_t parent;
	bool body;
	TRY(row_free(c, a, scope, id, &parent, &body, out));
	TRY(pending_read(c, a, id, &w, &n, &bytes));
	out->checkpoints++;
	out->writes += (int64_t)n;
	out->bytes += (int64_t)bytes;
	if (n)
		TRY(ckpt_run(c, ST_PENDING_DEL, id));
	TRY(ckpt_run(c, ST_CKPT_DEL, id));
	TRY(ckpt_run(c, ST_CKPT_ORPHANS, id));
	return drop_bare(c, parent);
}

/* What is not copied: the row becomes a placeholder, which goes too when no child names it. */
static enum err row_empty(struct conn *c, struct arena *a, int64_t scope, int64_t id)
{
	struct ckpt_removed out = {0};
	int64_t parent;
	bool body;
	TRY(row_free(c, a, scope, id, &parent, &body, &out));
	TRY(ckpt_run(c, ST_PENDING_DEL, id));
	TRY(ckpt_run(c, ST_CKPT_EMPTY, id));
	TRY(drop_bare(c, id));
	return drop_bare(c, parent);
}

/* A namespace that has neither checkpoints nor early writes goes, with whatever nobody could reach. */
static enum err drop_empty(struct conn *c, int64_t scope)
{
	static const enum stmt all[] = {ST_SCOPE_CHUNKS, ST_SCOPE_VERSIONS, ST_SCOPE_STREAMS, ST_SCOPE_DEL};
	enum err e;
	bool row;
	sqlite3_stmt *st = conn_stmt(c, ST_SCOPE_USED, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, scope);
	TRY(conn_step(c, st, &row));
	if (row) {
		sqlite3_reset(st);
		return OK;
	}
	image_forget(c, scope);
	for (unsigned i = 0; i < sizeof all / sizeof *all; i++)
		TRY(ckpt_run(c, all[i], scope));
	return OK;
}

/* ---------------------------------------------------------------- a part of a copy */

static enum err others(struct conn *c, int64_t scope, const struct map *keep, struct arena *a, int64_t **out, size_t *n)
{
	enum err e;
	bool row;
	size_t cap = 0;
	*out = NULL;
	*n = 0;
	sqlite3_stmt *st = conn_stmt(c, ST_CKPTS_CIDS, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, scope);
	for (;;) {
		TRY(conn_step(c, st, &row));
		if (!row)
			return OK;
		if (map_get(keep, col_str(st, 1)))
			continue;
		if (*n == cap) {
			size_t more = cap ? cap * 2 : 64;
			*out = arena_grow(a, *out, cap * sizeof **out, more * sizeof **out);
			cap = more;
		}
		if (!*out) {
			sqlite3_reset(st);
			return E_NOMEM;
		}
		(*out)[(*n)++] = col_i64(st, 0);
	}
}

static enum err scope_keep(struct conn *c, struct arena *a, int64_t scope, const struct map *keep)
{
	struct arena list;
	int64_t *v;
	size_t n;
	arena_init(&list, 256u << 20);
	enum err e = others(c, scope, keep, &list, &v, &n);
	for (size_t i = 0; i < n && e == OK; i++) {
		e = row_empty(c, a, scope, v[i]);
		arena_clear(a);
	}
	arena_release(&list);
	return e == OK ? drop_empty(c, scope) : e;
}

static enum err keep_in(struct conn *c, struct arena *a, int64_t scope, struct str ns, const struct ckpt_ref *refs, size_t n)
{
	struct map keep;
	enum err e = OK;
	map_init(&keep);
	for (size_t i = 0; i < n && e == OK; i++)
		if (str_eq(refs[i].ns, ns))
			e = map_put(&keep, refs[i].id, &keep, NULL);
	if (e == OK)
		e = scope_keep(c, a, scope, &keep);
	map_release(&keep);
	return e;
}

struct scope_name {
	int64_t id;
	struct str ns;
};

static enum err scopes_of(struct conn *c, struct arena *a, int64_t thread, struct scope_name **out, size_t *n)
{
	enum err e;
	bool row;
	size_t cap = 0;
	*out = NULL;
	*n = 0;
	sqlite3_stmt *st = conn_stmt(c, ST_SCOPES_IN, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, thread);
	for (;;) {
		TRY(conn_step(c, st, &row));
		if (!row)
			return OK;
		if (*n == cap) {
			size_t more = cap ? cap * 2 : 8;
			*out = arena_grow(a, *out, cap * sizeof **out, more * sizeof **out);
			cap = more;
		}
		struct scope_name *x = *out ? &(*out)[(*n)++] : NULL;
		if (x)
			*x = (struct scope_name){col_i64(st, 0), arena_str(a, col_str(st, 1))};
		if (!x || !x->ns.p) {
			sqlite3_reset(st);
			return E_NOMEM;
		}
	}
}

enum err ckpt_keep_only(struct conn *c, int64_t thread, const struct ckpt_ref *refs, size_t n)
{
	struct arena names, a;
	struct scope_name *v;
	size_t k;
	enum err e;
	arena_init(&names, 256u << 20);
	arena_init(&a, 2 * PACK_ROOM);
	CHECK(scopes_of(c, &names, thread, &v, &k));
	for (size_t i = 0; i < k; i++)
		CHECK(keep_in(c, &a, v[i].id, v[i].ns, refs, n));
out:
	arena_release(&a);
	arena_release(&names);
	return e;
}

/* ---------------------------------------------------------------- removing */

/* Those of one namespace. */
static enum err scope_remove(struct conn *c, struct arena *a, int64_t scope, const struct ckpt_ref *refs, size_t n,
			     struct ckpt_removed *out)
{
	enum err e = OK;
	for (size_t i = 0; i < n && e == OK; i++) {
		int64_t id;
		bool body;
		e = ckpt_number(c, scope, refs[i].id, &id, &body);
		if (e == OK && body)
			e = row_remove(c, a, scope, id, out);
		arena_clear(a);
	}
	return e == OK ? drop_empty(c, scope) : e;
}

static enum err thread_less(struct conn *c, int64_t thread, int64_t n)
{
	enum err e;
	sqlite3_stmt *st = conn_stmt(c, ST_THREAD_FEWER, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, thread);
	sqlite3_bind_int64(st, 2, n);
	TRY(conn_run(c, ST_THREAD_FEWER));
	return sq_thread_drop_bare(c, thread);
}

static enum err remove_all(struct conn *c, struct remove_arg *x, int64_t thread)
{
	struct arena a;
	enum err e = OK;
	arena_init(&a, 2 * PACK_ROOM);
	for (size_t i = 0, k; i < x->n && e == OK; i = k) {
		int64_t scope = 0;
		for (k = i + 1; k < x->n && str_eq(x->refs[k].ns, x->refs[i].ns); k++)
			;
		e = ckpt_scope(c, thread, x->refs[i].ns, &scope);
		if (e != OK || !scope)
			continue;
		e = scope_remove(c, &a, scope, x->refs + i, k - i, &x->out);
	}
	arena_release(&a);
	return e == OK && x->out.checkpoints ? thread_less(c, thread, x->out.checkpoints) : e;
}

static enum err apply_remove(struct writer *w, struct conn *c, struct wop *op)
{
	struct remove_arg *x = op->arg;
	enum err e;
	bool row;
	(void)w;
	x->out = (struct ckpt_removed){0};
	sqlite3_stmt *st = conn_stmt(c, ST_THREAD_FIND, &e);
	if (!st)
		return e;
	bind_str(st, 1, x->thread);
	TRY(conn_step(c, st, &row));
	if (!row)
		return OK;
	int64_t thread = col_i64(st, 0);
	bool seen = principal_sees(x->who, col_str(st, 1));
	sqlite3_reset(st);
	if (!seen)
		return OK;
	e = remove_all(c, x, thread);
	if (e != OK)
		c->failed = true;
	return e;
}

static int by_ns(const void *a, const void *b)
{
	return str_cmp(((const struct ckpt_ref *)a)->ns, ((const struct ckpt_ref *)b)->ns);
}

enum err sq_ckpt_remove(struct store *s, const struct principal *who, struct str thread, const struct ckpt_ref *refs, size_t n,
			struct ckpt_removed *out)
{
	struct remove_arg x = {.who = who, .thread = thread, .n = n};
	struct wop op = {.apply = apply_remove, .arg = &x, .writes = 4 * n};
	*out = (struct ckpt_removed){0};
	TRY(tenant_get(sq_of(s), who, RIGHT_WRITE, false, &op.t));
	if (!op.t || n == 0)
		return OK;
	struct ckpt_ref *v = calloc(n, sizeof *v);
	if (!v)
		return err_set(E_LIMIT, "out of memory in the store");
	memcpy(v, refs, n * sizeof *v);
	qsort(v, n, sizeof *v, by_ns);
	x.refs = v;
	op.deadline = fiber_deadline();
	enum err e = queue_submit(sq_of(s), &op);
	free(v);
	if (e == OK)
		*out = x.out;
	return e;
}
