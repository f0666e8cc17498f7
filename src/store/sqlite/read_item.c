/* Reads of items: one by name, many by id, walks in order of name, the list of namespaces. A get runs on the caller's thread (some
 * microseconds); what may be long runs on the CPU pool. */
#include "store/sqlite/sq.h"

#include "rt/fiber.h"
#include "rt/work.h"

void item_columns(sqlite3_stmt *st, struct str ns, struct item *out)
{
	*out = (struct item){
		.id = col_i64(st, 0),
		.version = col_i64(st, 1),
		.created_us = col_i64(st, 2),
		.updated_us = col_i64(st, 3),
		.ttl_minutes = sqlite3_column_double(st, 4),
		.expires_us = col_i64(st, 5),
		.key = col_str(st, 6),
		.value = col_str(st, 7),
		.fact = sqlite3_column_type(st, 8) != SQLITE_NULL,
		.valid_from_us = fact_col_time(st, 9),
		.valid_to_us = fact_col_time(st, 10),
		.ns = ns,
	};
}

static enum err keep(struct arena *a, struct str *s)
{
	*s = arena_str(a, *s);
	return s->p ? OK : E_NOMEM;
}

static enum err keep_item(struct arena *a, struct item *it)
{
	TRY(keep(a, &it->ns));
	TRY(keep(a, &it->key));
	return keep(a, &it->value);
}

static enum err get(struct conn *c, struct arena *a, struct str ns, struct str key, int64_t omit, struct item *out, bool *found)
{
	enum err e;
	bool row;
	sqlite3_stmt *st = conn_stmt(c, ST_ITEM_GET, &e);
	if (!st)
		return e;
	bind_str(st, 1, ns);
	bind_str(st, 2, key);
	TRY(conn_step(c, st, &row));
	if (!row)
		return OK;
	item_columns(st, ns, out);
	*found = !item_omitted(out, omit);
	e = *found ? keep_item(a, out) : OK;
	sqlite3_reset(st);
	return e;
}

enum err sq_item_get(struct store *s, struct arena *a, const struct principal *who, struct str ns, struct str key, int64_t omit,
		     struct item *out, bool *found)
{
	struct tenant *t;
	struct reader *r;
	struct conn *c;
	*found = false;
	*out = (struct item){0};
	TRY(tenant_get(sq_of(s), who, RIGHT_READ, false, &t));
	if (!t)
		return OK;
	TRY(reader_begin(sq_of(s), t, fiber_deadline(), &r, &c));
	return reader_end(sq_of(s), r, c, get(c, a, ns, key, omit, out, found));
}

/* ---------------------------------------------------------------- by id */

struct by_id {
	struct sq *s;
	struct tenant *t;
	uint64_t deadline;
	struct arena *a;
	const int64_t *ids;
	size_t n;
	struct item *out;
};

static enum err one_by_id(struct conn *c, struct arena *a, int64_t id, struct item *out)
{
	enum err e;
	bool row;
	sqlite3_stmt *st = conn_stmt(c, ST_ITEM_BY_ID, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, id);
	TRY(conn_step(c, st, &row));
	if (!row)
		return OK;
	item_columns(st, col_str(st, ITEM_COLUMNS_N), out);
	e = keep_item(a, out);
	sqlite3_reset(st);
	return e;
}

static enum err by_id_task(void *arg)
{
	struct by_id *x = arg;
	struct reader *r;
	struct conn *c;
	enum err e = OK;
	TRY(reader_begin(x->s, x->t, x->deadline, &r, &c));
	for (size_t i = 0; i < x->n && e == OK; i++)
		e = one_by_id(c, x->a, x->ids[i], &x->out[i]);
	return reader_end(x->s, r, c, e);
}

enum err sq_item_by_id(struct store *s, struct arena *a, const struct principal *who, const int64_t *ids, size_t n,
		       struct item *out)
{
	struct by_id x = {.s = sq_of(s), .deadline = fiber_deadline(), .a = a, .ids = ids, .n = n, .out = out};
	if (n)
		memset(out, 0, n * sizeof *out);
	TRY(tenant_get(sq_of(s), who, RIGHT_READ, false, &x.t));
	if (!x.t)
		return OK;
	return n <= 64 ? by_id_task(&x) : work_run(by_id_task, &x);
}

/* ---------------------------------------------------------------- namespaces */

/* The bounds "P." and "P/" ('/' follows '.'), between which all that begins with "P." lies. */
struct range {
	char low[4096], high[4096];
	size_t n;
};

/* False: nothing lies below a prefix that is too long. */
static bool range_of(struct str prefix, struct range *r)
{
	if (prefix.n + 1 > sizeof r->low)
		return false;
	memcpy(r->low, prefix.p, prefix.n);
	memcpy(r->high, prefix.p, prefix.n);
	r->low[prefix.n] = '.';
	r->high[prefix.n] = '/';
	r->n = prefix.n + 1;
	return true;
}

/* The parameters of NS_BELOW. */
static void bind_range(sqlite3_stmt *st, struct str prefix, struct str from, const struct range *r)
{
	bind_str(st, 1, str_cmp(from, prefix) > 0 ? from : prefix);
	bind_str(st, 4, prefix);
	bind_str(st, 2, str_of(r->low, r->n));
	bind_str(st, 3, str_of(r->high, r->n));
}

enum err ns_each(struct conn *c, struct str prefix, struct str from, ns_fn fn, void *ctx)
{
	struct range r;
	enum err e = OK;
	bool row, go = true;
	if (prefix.n && !range_of(prefix, &r))
		return OK;
	sqlite3_stmt *st = conn_stmt(c, prefix.n ? ST_NS_BELOW : ST_NS_ALL, &e);
	if (!st)
		return e;
	if (prefix.n)
		bind_range(st, prefix, from, &r);
	else
		bind_str(st, 1, from);
	while (go) {
		TRY(conn_step(c, st, &row));
		if (!row)
			return OK;
		e = fn(ctx, col_i64(st, 0), col_str(st, 1), &go);
		if (e != OK)
			break;
	}
	sqlite3_reset(st);
	return e;
}

struct names {
	struct sq *s;
	struct tenant *t;
	uint64_t deadline;
	struct str prefix;
	name_fn fn;
	void *ctx;
};

static enum err list_names(struct conn *c, const struct names *x)
{
	struct range r;
	enum err e = OK;
	bool row = true;
	if (x->prefix.n && !range_of(x->prefix, &r))
		return OK;
	sqlite3_stmt *st = conn_stmt(c, x->prefix.n ? ST_NS_LIVE_BELOW : ST_NS_LIVE_ALL, &e);
	if (!st)
		return e;
	if (x->prefix.n)
		bind_range(st, x->prefix, STR(""), &r);
	do {
		TRY(conn_step(c, st, &row));
	} while (row && x->fn(x->ctx, col_str(st, 0)));
	sqlite3_reset(st);
	return OK;
}

static enum err names_task(void *arg)
{
	struct names *x = arg;
	struct reader *r;
	struct conn *c;
	TRY(reader_begin(x->s, x->t, x->deadline, &r, &c));
	return reader_end(x->s, r, c, list_names(c, x));
}

enum err sq_namespaces(struct store *s, const struct principal *who, struct str prefix, name_fn fn, void *ctx)
{
	struct names x = {.s = sq_of(s), .deadline = fiber_deadline(), .prefix = prefix, .fn = fn, .ctx = ctx};
	TRY(tenant_get(sq_of(s), who, RIGHT_READ, false, &x.t));
	return x.t ? work_run(names_task, &x) : OK;
}

/* ---------------------------------------------------------------- walk */

/* A walk may last as long as its reader likes (an export), so it does not insist on one snapshot: when it has kept one for 100 ms
 * and there were commits, it takes a new one and goes on after the last item. */
struct walk {
	struct sq *s;
	struct tenant *t;
	uint64_t deadline;
	struct str prefix, after_ns, after_key; /* moved along; in `place` */
	item_fn fn;
	void *ctx;
	struct conn *c;
	uint64_t renew_at;
	bool stopped, again;
	struct buf place;
};

static bool stale(struct walk *x)
{
	return clock_mono_ns() >= x->renew_at && atomic_load(&x->t->seq) != x->c->seq;
}

static enum err remember(struct walk *x, struct str ns, struct str key)
{
	buf_clear(&x->place);
	buf_str(&x->place, ns);
	buf_str(&x->place, key);
	x->after_ns = str_of(x->place.p, ns.n);
	x->after_key = str_of(x->place.p + ns.n, key.n);
	return x->place.err;
}

static enum err walk_ns(void *ctx, int64_t id, struct str path, bool *go)
{
	struct walk *x = ctx;
	enum err e;
	bool row, first = str_eq(path, x->after_ns);
	enum stmt which = first ? ST_ITEM_WALK_AFTER : ST_ITEM_WALK;
	sqlite3_stmt *st = conn_stmt(x->c, which, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, id);
	if (first)
		bind_str(st, 2, x->after_key);
	for (unsigned n = 1;; n++) {
		struct item it;
		TRY(conn_step(x->c, st, &row));
		if (!row)
			return OK;
		item_columns(st, path, &it);
		x->stopped = !x->fn(x->ctx, &it);
		x->again = !x->stopped && n % 256 == 0 && stale(x);
		if (x->again)
			e = remember(x, path, it.key);
		if (x->stopped || x->again)
			break;
	}
	*go = false;
	sqlite3_reset(st);
	return e;
}

static enum err walk_task(void *arg)
{
	struct walk *x = arg;
	struct reader *r;
	enum err e;
	TRY(reader_begin(x->s, x->t, x->deadline, &r, &x->c));
	do {
		x->again = false;
		x->renew_at = clock_mono_ns() + 100000000;
		e = ns_each(x->c, x->prefix, x->after_ns, walk_ns, x);
		if (e == OK && x->again)
			e = reader_renew(x->c);
	} while (e == OK && x->again);
	return reader_end_scan(x->s, r, x->c, e);
}

enum err sq_item_walk(struct store *s, const struct principal *who, struct str prefix, struct str after_ns, struct str after_key,
		      item_fn fn, void *ctx)
{
	struct walk x = {.s = sq_of(s),
			 .deadline = fiber_deadline(),
			 .prefix = prefix,
			 .after_ns = after_ns,
			 .after_key = after_key,
			 .fn = fn,
			 .ctx = ctx};
	TRY(tenant_get(sq_of(s), who, RIGHT_READ, false, &x.t));
	if (!x.t)
		return OK;
	buf_init(&x.place, NULL, 1u << 20);
	enum err e = work_run(walk_task, &x);
	buf_release(&x.place);
	return e;
}
