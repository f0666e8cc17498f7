/* Lists of checkpoints, newest first.
 *
 * Of one namespace: a walk through the index (scope, cid). Of a thread: a leg for each namespace, merged by a heap; so a call costs
 * a search for each namespace and one for each row that it gives. Of all threads: a walk through the index of ids, which passes
 * over what the principal may not see. */
#include "rt/fiber.h"
#include "rt/work.h"
#include "store/sqlite/ckpt.h"

#define INLINE_ROWS 4u

struct leg {
	int64_t scope, id; /* id: of its next row */
	struct str ns, cid;
};

struct listing {
	struct sq *s;
	struct tenant *t;
	const struct principal *who;
	uint64_t deadline;
	const struct ckpt_list *q;
	ckpt_fn fn;
	void *ctx;
	struct json filter;
	bool filtered;
	struct arena keep, row; /* row: cleared after each */
	size_t given, looked;
	size_t budget;
	bool stop;
	/* by_run */
	const struct str *ids;
	size_t ids_n;
};

/* ---------------------------------------------------------------- containment, as jsonb's @> has it */

static bool contains(struct jval big, struct jval small);

static bool some_contains(struct jval array, struct jval small)
{
	struct j_iter it = j_iter(array);
	struct jval v;
	while (j_next(&it, NULL, &v))
		if (contains(v, small))
			return true;
	return false;
}

static bool contains(struct jval big, struct jval small)
{
	struct jval key, v;
	if (j_type(small) != JSON_OBJECT && j_type(small) != JSON_ARRAY)
		return j_equal(big, small);
	if (j_type(big) != j_type(small))
		return false;
	struct j_iter it = j_iter(small);
	if (j_type(small) == JSON_ARRAY) {
		while (j_next(&it, NULL, &v))
			if (!some_contains(big, v))
				return false;
		return true;
	}
	while (j_next(&it, &key, &v)) {
		struct arena a;
		arena_init(&a, 16u << 20);
		struct str name = j_str(&a, key);
		struct jval there = name.p ? j_get(big, name) : (struct jval){0};
		arena_release(&a);
		if (!j_ok(there) || !contains(there, v))
			return false;
	}
	return true;
}

/* ---------------------------------------------------------------- one row */

static enum err passes(struct listing *x, struct str metadata, bool *yes)
{
	struct json doc;
	*yes = true;
	if (!x->filtered)
		return OK;
	if (json_parse(&x->row, metadata, &pack_json, &doc) != OK)
		return err_wrap(E_CORRUPT, "stored metadata");
	*yes = contains(json_root(&doc), json_root(&x->filter));
	return OK;
}

static enum err fill(struct conn *c, struct listing *x, struct ckpt_row *r, sqlite3_stmt *st)
{
	struct ckpt_want_in w = {.want = x->q->want, .budget = &x->budget};
	struct ckpt_row probe = *r;
	size_t no = 0;
	bool yes;
	if (x->filtered) {
		struct ckpt_want_in head = {.budget = &no};
		TRY(ckpt_fill(c, &x->row, &probe, col_str(st, 2), &head));
		TRY(passes(x, probe.c.metadata, &yes));
		if (!yes)
			return OK;
	}
	r->parent = col_i64(st, 0);
	r->c.parent = col_str(st, 1);
	TRY(ckpt_fill(c, &x->row, r, col_str(st, 2), &w));
	x->stop = !x->fn(x->ctx, &r->c) || ++x->given >= x->q->limit;
	return OK;
}

/* r: names and number. */
static enum err give(struct conn *c, struct listing *x, struct ckpt_row *r)
{
	enum err e;
	bool row;
	if (++x->looked % 256 == 0 && clock_mono_ns() >= x->deadline)
		return err_set(E_TIMEOUT, "the deadline passed while checkpoints were listed");
	sqlite3_stmt *st = conn_stmt(c, ST_CKPT_ROW, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, r->id);
	TRY(conn_step(c, st, &row));
	if (!row)
		return OK;
	e = fill(c, x, r, st);
	sqlite3_reset(st);
	arena_clear(&x->row);
	return e;
}

/* ---------------------------------------------------------------- where a walk begins */

static bool below(struct str id, struct str bound)
{
	return bound.n == 0 || str_cmp(id, bound) < 0;
}

/* The greatest id that can be asked for; n 0: any. */
static struct str highest(const struct ckpt_list *q)
{
	const struct str all[] = {q->id, q->before, q->after.id};
	struct str least = {0};
	for (unsigned i = 0; i < sizeof all / sizeof *all; i++)
		if (all[i].n && (!least.n || str_cmp(all[i], least) < 0))
			least = all[i];
	return least;
}

/* An empty blob is behind every text. */
static void bind_bound(sqlite3_stmt *st, int i, struct str bound)
{
	if (bound.n)
		bind_str(st, i, bound);
	else
		sqlite3_bind_zeroblob(st, i, 0);
}

/* Is the row among those asked for, as far as its names tell? *end: nor is any after it. */
static bool in_range(const struct ckpt_list *q, struct str thread, struct str ns, struct str id, bool *end)
{
	*end = q->id.n && str_cmp(id, q->id) < 0;
	if ((q->id.n && !str_eq(id, q->id)) || !below(id, q->before))
		return false;
	if (!q->after.id.n || str_cmp(id, q->after.id) < 0)
		return true;
	int c = str_cmp(thread, q->after.thread);
	return str_eq(id, q->after.id) && (c > 0 || (c == 0 && str_cmp(ns, q->after.ns) > 0));
}

/* ---------------------------------------------------------------- one namespace */

static enum err walk_scope(struct conn *c, struct listing *x, int64_t scope, struct str ns)
{
	enum err e = OK;
	bool row, end;
	sqlite3_stmt *st = conn_stmt(c, ST_CKPT_OF_SCOPE, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, scope);
	bind_bound(st, 2, highest(x->q));
	while (e == OK && !x->stop) {
		TRY(conn_step(c, st, &row));
		if (!row)
			return OK;
		struct ckpt_row r = {
			.id = col_i64(st, 0), .scope = scope, .c = {.thread = *x->q->thread, .ns = ns, .id = col_str(st, 1)}};
		if (in_range(x->q, r.c.thread, ns, r.c.id, &end))
			e = give(c, x, &r);
		else if (end)
			break;
	}
	sqlite3_reset(st);
	return e;
}

/* ---------------------------------------------------------------- several namespaces */

/* Its next row: the first at or below bound, which itself is left out when it was given already. false: no more. */
static enum err leg_next(struct conn *c, struct listing *x, struct leg *g, struct str bound, bool again, bool *more)
{
	enum err e = OK;
	bool end = false;
	sqlite3_stmt *st = conn_stmt(c, ST_CKPT_OF_SCOPE, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, g->scope);
	bind_bound(st, 2, bound);
	for (*more = true; *more;) {
		TRY(conn_step(c, st, more));
		if (!*more)
			return OK;
		struct str cid = col_str(st, 1);
		if (again && str_eq(cid, bound))
			continue;
		if (in_range(x->q, *x->q->thread, g->ns, cid, &end))
			break;
		*more = !end;
	}
	g->id = col_i64(st, 0);
	g->cid = arena_str(&x->keep, col_str(st, 1));
	sqlite3_reset(st);
	return g->cid.p ? OK : E_NOMEM;
}

static bool before(const struct leg *a, const struct leg *b)
{
	int c = str_cmp(a->cid, b->cid);
	return c > 0 || (c == 0 && str_cmp(a->ns, b->ns) < 0);
}

static void sift(struct leg *v, size_t n, size_t i)
{
	for (size_t k; (k = 2 * i + 1) < n; i = k) {
		if (k + 1 < n && before(&v[k + 1], &v[k]))
			k++;
		if (!before(&v[k], &v[i]))
			return;
		struct leg t = v[i];
		v[i] = v[k];
		v[k] = t;
	}
}

static enum err merge(struct conn *c, struct listing *x, struct leg *v, size_t n)
{
	size_t live = 0;
	bool more;
	for (size_t i = 0; i < n; i++) {
		TRY(leg_next(c, x, &v[i], highest(x->q), false, &more));
		if (more)
			v[live++] = v[i];
	}
	for (size_t i = live; i-- > 0;)
		sift(v, live, i);
	while (live && !x->stop) {
		struct ckpt_row r = {
			.id = v[0].id, .scope = v[0].scope, .c = {.thread = *x->q->thread, .ns = v[0].ns, .id = v[0].cid}};
		TRY(give(c, x, &r));
		if (x->stop)
			break;
		TRY(leg_next(c, x, &v[0], v[0].cid, true, &more));
		if (!more)
			v[0] = v[--live];
		sift(v, live, 0);
	}
	return OK;
}

/* The namespaces asked for of a thread that the principal may see; none when it may not. */
static enum err legs(struct conn *c, struct listing *x, struct leg **out, size_t *n)
{
	enum err e;
	bool row;
	size_t cap = 0;
	*out = NULL;
	*n = 0;
	sqlite3_stmt *st = conn_stmt(c, ST_SCOPES, &e);
	if (!st)
		return e;
	bind_str(st, 1, *x->q->thread);
	for (;;) {
		TRY(conn_step(c, st, &row));
		if (!row)
			return OK;
		if (!principal_sees(x->who, col_str(st, 2)))
			break;
		if (x->q->ns && !str_eq(*x->q->ns, col_str(st, 1)))
			continue;
		if (*n == cap) {
			size_t room = cap ? cap * 2 : 8;
			struct leg *v = arena_grow(&x->keep, *out, cap * sizeof *v, room * sizeof *v);
			if (!v)
				goto full;
			*out = v;
			cap = room;
		}
		(*out)[*n] = (struct leg){.scope = col_i64(st, 0), .ns = arena_str(&x->keep, col_str(st, 1))};
		if (!(*out)[(*n)++].ns.p)
			goto full;
	}
	sqlite3_reset(st);
	return OK;
full:
	sqlite3_reset(st);
	return E_NOMEM;
}

/* ---------------------------------------------------------------- all threads */

static enum err walk_all(struct conn *c, struct listing *x)
{
	enum err e = OK;
	bool row, end;
	sqlite3_stmt *st = conn_stmt(c, ST_CKPT_OF_ALL, &e);
	if (!st)
		return e;
	bind_bound(st, 1, highest(x->q));
	while (e == OK && !x->stop) {
		TRY(conn_step(c, st, &row));
		if (!row)
			return OK;
		struct ckpt_row r = {.id = col_i64(st, 0),
				     .scope = col_i64(st, 2),
				     .c = {.thread = col_str(st, 4), .ns = col_str(st, 3), .id = col_str(st, 1)}};
		bool fits = in_range(x->q, r.c.thread, r.c.ns, r.c.id, &end);
		if (fits && (!x->q->ns || str_eq(*x->q->ns, r.c.ns)) && principal_sees(x->who, col_str(st, 5)))
			e = give(c, x, &r);
		else if (end)
			break;
	}
	sqlite3_reset(st);
	return e;
}

static enum err list(struct conn *c, struct listing *x)
{
	struct leg *v;
	size_t n;
	if (!x->q->thread)
		return walk_all(c, x);
	TRY(legs(c, x, &v, &n));
	return n == 1 ? walk_scope(c, x, v[0].scope, v[0].ns) : merge(c, x, v, n);
}

static enum err list_task(void *arg)
{
	struct listing *x = arg;
	struct reader *r;
	struct conn *c;
	arena_init(&x->keep, 256u << 20);
	arena_init(&x->row, 2 * PACK_ROOM);
	enum err e = OK;
	x->filtered = x->q->filter.n > 0;
	if (x->filtered)
		e = json_parse(&x->keep, x->q->filter, &pack_json, &x->filter);
	if (e == OK)
		e = reader_begin(x->s, x->t, x->deadline, &r, &c);
	if (e == OK)
		e = reader_end(x->s, r, c, list(c, x));
	arena_release(&x->row);
	arena_release(&x->keep);
	return e;
}

enum err sq_ckpt_list(struct store *s, const struct principal *who, const struct ckpt_list *q, ckpt_fn fn, void *ctx)
{
	struct listing x = {
		.s = sq_of(s), .who = who, .deadline = fiber_deadline(), .q = q, .fn = fn, .ctx = ctx, .budget = SIZE_MAX};
	TRY(tenant_get(x.s, who, RIGHT_READ, false, &x.t));
	return x.t ? work_run(list_task, &x) : OK;
}

/* ---------------------------------------------------------------- by run */

static enum err of_run(struct conn *c, struct listing *x, struct str run)
{
	enum err e;
	bool row;
	uint8_t room[16];
	sqlite3_stmt *st = conn_stmt(c, ST_CKPT_OF_RUN, &e);
	if (!st)
		return e;
	bind_uuid(st, 1, run, room);
	while (!x->stop) {
		TRY(conn_step(c, st, &row));
		if (!row)
			return OK;
		struct ckpt ck = {.thread = col_str(st, 2), .ns = col_str(st, 1), .id = col_str(st, 0)};
		if (principal_sees(x->who, col_str(st, 3)))
			x->stop = !x->fn(x->ctx, &ck);
	}
	sqlite3_reset(st);
	return OK;
}

static enum err run_task(void *arg)
{
	struct listing *x = arg;
	struct reader *r;
	struct conn *c;
	enum err e = OK;
	TRY(reader_begin(x->s, x->t, x->deadline, &r, &c));
	for (size_t i = 0; i < x->ids_n && e == OK && !x->stop; i++)
		e = of_run(c, x, x->ids[i]);
	return reader_end(x->s, r, c, e);
}

enum err sq_ckpt_by_run(struct store *s, const struct principal *who, const struct str *ids, size_t n, ckpt_fn fn, void *ctx)
{
	struct listing x = {.s = sq_of(s), .who = who, .deadline = fiber_deadline(), .fn = fn, .ctx = ctx, .ids = ids, .ids_n = n};
	TRY(tenant_get(x.s, who, RIGHT_READ, false, &x.t));
	return x.t && n ? work_run(run_task, &x) : OK;
}
