/* Facts: what was known before (core/fact_store.h). An item's own row says that it is a fact and when it is true; cenote_fact has
 * the states that were superseded.
 *
 * Invariants
 *  1. Every put sets the item's three columns, so validity is never that of an earlier value.
 *  2. A state moves in the transaction that overwrites or removes the item.
 *  3. cenote_meta has a row 'facts' when the tenant has, or had, a fact; without it no write runs a statement on cenote_fact. The
 *     writer's copy of that (tenant.facts) is forgotten with everything else when a transaction is undone. */
#include "store/sqlite/sq.h"

#include "rt/fiber.h"
#include "rt/work.h"

void fact_bind_time(sqlite3_stmt *st, int i, int64_t us)
{
	if (us == FACT_NONE)
		sqlite3_bind_null(st, i);
	else
		sqlite3_bind_int64(st, i, us);
}

int64_t fact_col_time(sqlite3_stmt *st, int i)
{
	return sqlite3_column_type(st, i) == SQLITE_NULL ? FACT_NONE : col_i64(st, i);
}

/* ---------------------------------------------------------------- writing */

static enum err load(struct conn *c)
{
	int64_t n = 0;
	if (c->t->facts >= 0)
		return OK;
	TRY(conn_int(c, "SELECT count(*) FROM cenote_meta WHERE name = 'facts'", &n));
	c->t->facts = n > 0;
	return OK;
}

static enum err note(struct conn *c)
{
	enum err e;
	TRY(load(c));
	if (c->t->facts)
		return OK;
	sqlite3_stmt *st = conn_stmt(c, ST_META_SET, &e);
	if (!st)
		return e;
	bind_str(st, 1, STR("facts"));
	bind_str(st, 2, STR("1"));
	TRY(conn_run(c, ST_META_SET));
	c->t->facts = 1;
	return OK;
}

enum err fact_retire(struct conn *c, int64_t id, int64_t at_us, const struct fact_put *by, bool superseded)
{
	enum err e;
	TRY(load(c));
	if (!c->t->facts && !superseded)
		return OK;
	sqlite3_stmt *st = conn_stmt(c, ST_FACT_RETIRE, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, id);
	sqlite3_bind_int64(st, 2, at_us);
	fact_bind_time(st, 3, by ? by->valid_from_us : FACT_NONE);
	if (superseded && by)
		bind_str(st, 4, by->by);
	else
		sqlite3_bind_null(st, 4);
	sqlite3_bind_int(st, 5, superseded);
	return conn_run(c, ST_FACT_RETIRE);
}

static enum err trim(struct conn *c, int64_t ns, struct str key)
{
	enum err e;
	sqlite3_stmt *st = conn_stmt(c, ST_FACT_TRIM, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, ns);
	bind_str(st, 2, key);
	sqlite3_bind_int(st, 3, FACT_HISTORY_MAX);
	return conn_run(c, ST_FACT_TRIM);
}

enum err fact_added(struct conn *c, int64_t ns, struct str key)
{
	TRY(note(c));
	return trim(c, ns, key);
}

enum err fact_forget(struct conn *c, int64_t ns, struct str key, bool *any)
{
	enum err e;
	*any = false;
	TRY(load(c));
	if (!c->t->facts)
		return OK;
	sqlite3_stmt *st = conn_stmt(c, ST_FACT_FORGET, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, ns);
	bind_str(st, 2, key);
	TRY(conn_run(c, ST_FACT_FORGET));
	*any = sqlite3_changes(c->db) > 0;
	return OK;
}

enum err fact_forget_of(struct conn *c, int64_t id)
{
	enum err e;
	TRY(load(c));
	if (!c->t->facts)
		return OK;
	sqlite3_stmt *st = conn_stmt(c, ST_FACT_FORGET_OF, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, id);
	return conn_run(c, ST_FACT_FORGET_OF);
}

enum err fact_sweep(struct conn *c, int64_t now_us, unsigned max)
{
	enum err e;
	TRY(load(c));
	if (!c->t->facts)
		return OK;
	sqlite3_stmt *st = conn_stmt(c, ST_FACT_EXPIRED, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, now_us);
	sqlite3_bind_int64(st, 2, max);
	return conn_run(c, ST_FACT_EXPIRED);
}

struct keep_arg {
	const struct fact_state *v;
	size_t n, stored;
};

static enum err keep_one(struct conn *c, const struct feed_name *ns, const struct fact_state *f, size_t *stored)
{
	enum err e;
	sqlite3_stmt *st = conn_stmt(c, ST_FACT_KEEP, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, ns->id);
	sqlite3_bind_int64(st, 2, f->recorded_from_us);
	sqlite3_bind_int64(st, 3, f->recorded_to_us);
	sqlite3_bind_int(st, 4, f->fact);
	fact_bind_time(st, 5, f->valid_from_us);
	fact_bind_time(st, 6, f->valid_to_us);
	fact_bind_time(st, 7, f->ended_us);
	sqlite3_bind_int64(st, 8, f->expires_us);
	bind_str(st, 9, f->key);
	bind_str(st, 10, f->by);
	bind_bytes(st, 11, f->terms);
	bind_str(st, 12, f->value);
	TRY(conn_run(c, ST_FACT_KEEP));
	*stored += (size_t)sqlite3_changes(c->db);
	return trim(c, ns->id, f->key);
}

static enum err apply_keep(struct writer *w, struct conn *c, struct wop *op)
{
	struct keep_arg *a = op->arg;
	a->stored = 0;
	TRY(note(c));
	for (size_t i = 0; i < a->n; i++) {
		struct feed_name *ns;
		enum err e = writer_ns(w, c, a->v[i].ns, true, &ns);
		if (e == OK)
			e = keep_one(c, ns, &a->v[i], &a->stored);
		if (e != OK) {
			c->failed = true;
			return e;
		}
		if (a->v[i].expires_us > 0 && (w->min_expires == 0 || a->v[i].expires_us < w->min_expires))
			w->min_expires = a->v[i].expires_us;
	}
	return OK;
}

static enum err sq_fact_keep(struct store *s, const struct principal *who, const struct fact_state *v, size_t n, size_t *stored)
{
	struct keep_arg arg = {v, n, 0};
	struct wop op = {.apply = apply_keep, .arg = &arg, .writes = n, .deadline = fiber_deadline()};
	*stored = 0;
	TRY(principal_check(who, RIGHT_WRITE));
	if (n == 0)
		return OK;
	for (size_t i = 0; i < n; i++)
		op.bytes += v[i].value.n + v[i].terms.n + v[i].key.n + 64;
	TRY(tenant_get(sq_of(s), who, RIGHT_WRITE, true, &op.t));
	TRY(queue_submit(sq_of(s), &op));
	*stored = arg.stored;
	return OK;
}

/* ---------------------------------------------------------------- reading */

struct read {
	struct sq *s;
	struct tenant *t;
	uint64_t deadline;
	struct str prefix, ns, key; /* key: of a history; or after (ns, key, us) */
	int64_t us, omit_us;
	size_t limit;
	bool known_at;
	fact_fn fn;
	void *ctx;
	struct conn *c;
};

static void state_columns(sqlite3_stmt *st, struct str ns, struct fact_state *f)
{
	*f = (struct fact_state){
		.ns = ns,
		.key = col_str(st, 0),
		.value = col_str(st, 1),
		.recorded_from_us = col_i64(st, 2),
		.recorded_to_us = col_i64(st, 3),
		.fact = col_i64(st, 4) != 0,
		.valid_from_us = fact_col_time(st, 5),
		.valid_to_us = fact_col_time(st, 6),
		.ended_us = fact_col_time(st, 7),
		.expires_us = col_i64(st, 8),
		.by = col_str(st, 9),
		.terms = col_str(st, 10),
	};
}

static enum err give(struct read *x, sqlite3_stmt *st, struct str ns, bool *go)
{
	struct fact_state f;
	bool row;
	for (;;) {
		TRY(conn_step(x->c, st, &row));
		if (!row)
			return OK;
		state_columns(st, ns, &f);
		if (!x->fn(x->ctx, &f)) {
			sqlite3_reset(st);
			*go = false;
			return OK;
		}
	}
}

static enum err read_ns(void *ctx, int64_t id, struct str path, bool *go)
{
	struct read *x = ctx;
	enum err e;
	sqlite3_stmt *st = conn_stmt(x->c, x->known_at ? ST_FACT_KNOWN_AT : ST_FACT_WALK, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, id);
	if (x->known_at) {
		sqlite3_bind_int64(st, 2, x->us);
		sqlite3_bind_int64(st, 3, x->omit_us);
	} else {
		bool first = str_eq(path, x->ns);
		bind_str(st, 2, first ? x->key : STR(""));
		sqlite3_bind_int64(st, 3, first ? x->us : INT64_MIN);
	}
	return give(x, st, path, go);
}

static enum err below_task(void *arg)
{
	struct read *x = arg;
	struct reader *r;
	TRY(reader_begin(x->s, x->t, x->deadline, &r, &x->c));
	return reader_end(x->s, r, x->c, ns_each(x->c, x->prefix, x->known_at ? STR("") : x->ns, read_ns, x));
}

static enum err read_begin(struct read *x, struct store *s, const struct principal *who)
{
	x->s = sq_of(s);
	x->deadline = fiber_deadline();
	return tenant_get(x->s, who, RIGHT_READ, false, &x->t);
}

static enum err history(struct read *x)
{
	enum err e;
	bool go;
	sqlite3_stmt *st = conn_stmt(x->c, ST_FACT_HISTORY, &e);
	if (!st)
		return e;
	bind_str(st, 1, x->ns);
	bind_str(st, 2, x->key);
	sqlite3_bind_int64(st, 3, x->us ? x->us : INT64_MAX);
	sqlite3_bind_int64(st, 4, x->omit_us);
	sqlite3_bind_int64(st, 5, (int64_t)x->limit);
	return give(x, st, x->ns, &go);
}

static enum err history_task(void *arg)
{
	struct read *x = arg;
	struct reader *r;
	TRY(reader_begin(x->s, x->t, x->deadline, &r, &x->c));
	return reader_end(x->s, r, x->c, history(x));
}

static enum err sq_fact_history(struct store *s, const struct principal *who, struct str ns, struct str key, int64_t before_us,
				int64_t omit_us, size_t limit, fact_fn fn, void *ctx)
{
	struct read x = {.ns = ns, .key = key, .us = before_us, .omit_us = omit_us, .limit = limit, .fn = fn, .ctx = ctx};
	TRY(read_begin(&x, s, who));
	return !x.t ? OK : limit <= 64 ? history_task(&x) : work_run(history_task, &x);
}

static enum err sq_fact_known_at(struct store *s, const struct principal *who, struct str prefix, int64_t at_us, int64_t omit_us,
				 fact_fn fn, void *ctx)
{
	struct read x = {.prefix = prefix, .us = at_us, .omit_us = omit_us, .known_at = true, .fn = fn, .ctx = ctx};
	TRY(read_begin(&x, s, who));
	return x.t ? work_run(below_task, &x) : OK;
}

static enum err sq_fact_walk(struct store *s, const struct principal *who, struct str prefix, struct str after_ns,
			     struct str after_key, int64_t after_us, fact_fn fn, void *ctx)
{
	struct read x = {.prefix = prefix, .ns = after_ns, .key = after_key, .us = after_us, .fn = fn, .ctx = ctx};
	TRY(read_begin(&x, s, who));
	return x.t ? work_run(below_task, &x) : OK;
}

const struct fact_ops sq_fact_ops = {
	.history = sq_fact_history, .known_at = sq_fact_known_at, .walk = sq_fact_walk, .keep = sq_fact_keep};
