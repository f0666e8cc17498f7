/* Reading checkpoints: what is wanted of a row, and one by its id or the newest. */
#include "rt/fiber.h"
#include "rt/work.h"
#include "store/sqlite/ckpt.h"

#define INLINE_BYTES (96u << 10) /* what is longer is put together on the CPU pool */

/* ---------------------------------------------------------------- the parts of a checkpoint */

static bool wanted(struct str channel, const struct str *only, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (str_eq(only[i], channel))
			return true;
	return n == 0;
}

enum err ckpt_value_find(struct conn *c, int64_t scope, const struct pack_channel *x, uint8_t *room, sqlite3_stmt **st, bool *row)
{
	enum err e;
	*st = conn_stmt(c, ST_VALUE_OF, &e);
	if (!*st)
		return e;
	sqlite3_bind_int64(*st, 1, scope);
	bind_str(*st, 2, x->channel);
	bind_version(*st, 3, x->version, room);
	return conn_step(c, *st, row);
}

/* The value of a channel at a version; *there = false: none, or "empty". budget: bytes that may still be read. */
static enum err value_at(struct conn *c, struct arena *a, int64_t scope, const struct pack_channel *x, size_t *budget,
			 struct ckpt_value *out, bool *there)
{
	sqlite3_stmt *st;
	uint8_t *room = arena_alloc(a, VERSION_ROOM(x->version));
	if (!room)
		return E_NOMEM;
	TRY(ckpt_value_find(c, scope, x, room, &st, there));
	if (!*there)
		return OK;
	struct str type = col_type(st, 1);
	size_t size = (size_t)col_i64(st, 3);
	enum err e = OK;
	if (str_eq(type, STR("empty"))) {
		*there = false;
	} else if (size > *budget) {
		e = CKPT_TOO_LONG;
	} else {
		*budget -= size;
		*out = (struct ckpt_value){.channel = x->channel, .version = x->version, .type = arena_str(a, type)};
		e = out->type.p ? value_read(c, a, col_i64(st, 0), (int)col_i64(st, 2), size, col_str(st, 4), &out->bytes)
				: E_NOMEM;
	}
	sqlite3_reset(st);
	return e;
}

enum err ckpt_values(struct conn *c, struct arena *a, struct ckpt_row *r, const struct ckpt_want_in *w)
{
	struct pack_channel *v;
	size_t n;
	bool there;
	TRY(pack_channels(a, r->c.checkpoint, &v, &n));
	r->c.values = ARENA_ARRAY(a, struct ckpt_value, n + 1);
	if (!r->c.values)
		return E_NOMEM;
	for (size_t i = 0; i < n; i++) {
		if (!wanted(v[i].channel, w->channels, w->channels_n))
			continue;
		TRY(value_at(c, a, r->scope, &v[i], w->budget, &r->c.values[r->c.values_n], &there));
		r->c.values_n += there;
	}
	return OK;
}

enum err ckpt_fill(struct conn *c, struct arena *a, struct ckpt_row *r, struct str body, const struct ckpt_want_in *w)
{
	size_t bytes = 0;
	TRY(pack_unbody(a, body, &r->c.checkpoint, &r->c.metadata));
	if (w->want & CK_VALUES)
		TRY(ckpt_values(c, a, r, w));
	if (w->want & (CK_WRITES_TOO | CK_SIZES))
		TRY(pending_read(c, a, r->id, &r->c.writes, &r->c.writes_n, &bytes));
	if (w->want & CK_SIZES) {
		r->c.bytes = bytes + body.n + r->c.id.n;
		TRY(ckpt_own_bytes(c, a, r));
	}
	if (!(w->want & CK_WRITES_TOO)) {
		r->c.writes = NULL;
		r->c.writes_n = 0;
	}
	return OK;
}

/* ---------------------------------------------------------------- get */

struct reading {
	struct sq *s;
	struct tenant *t;
	const struct principal *who;
	uint64_t deadline;
	struct arena *a;
	const struct ckpt_query *q;
	size_t budget;
	/* out */
	struct ckpt *out;
	bool found;
};

/* The row asked for, its names in the arena; the statement stands at it when *row. Columns: id, cid, parent's cid, body, scope,
 * usr, parent. */
static enum err row_of(struct conn *c, struct reading *x, struct ckpt_row *r, sqlite3_stmt **st, bool *row)
{
	const struct ckpt_query *q = x->q;
	enum err e;
	*st = conn_stmt(c, q->id.n ? ST_CKPT_BY_CID : ST_CKPT_LATEST, &e);
	if (!*st)
		return e;
	bind_str(*st, 1, q->thread);
	bind_str(*st, 2, q->ns);
	if (q->id.n)
		bind_str(*st, 3, q->id);
	TRY(conn_step(c, *st, row));
	if (!*row)
		return OK;
	if (!principal_sees(x->who, col_str(*st, 5))) {
		sqlite3_reset(*st);
		*row = false;
		return OK;
	}
	*r = (struct ckpt_row){.id = col_i64(*st, 0),
			       .scope = col_i64(*st, 4),
			       .parent = col_i64(*st, 6),
			       .c = {.thread = arena_str(x->a, q->thread),
				     .ns = arena_str(x->a, q->ns),
				     .id = arena_str(x->a, col_str(*st, 1)),
				     .parent = arena_str(x->a, col_str(*st, 2))}};
	return r->c.thread.p && r->c.ns.p && r->c.id.p && r->c.parent.p ? OK : E_NOMEM;
}

enum err ckpt_find(struct conn *c, const struct principal *who, const struct ckpt_query *q, int64_t *id, int64_t *scope)
{
	enum err e;
	bool row;
	*id = *scope = 0;
	sqlite3_stmt *st = conn_stmt(c, q->id.n ? ST_CKPT_BY_CID : ST_CKPT_LATEST, &e);
	if (!st)
		return e;
	bind_str(st, 1, q->thread);
	bind_str(st, 2, q->ns);
	if (q->id.n)
		bind_str(st, 3, q->id);
	TRY(conn_step(c, st, &row));
	if (!row)
		return OK;
	if (principal_sees(who, col_str(st, 5))) {
		*id = col_i64(st, 0);
		*scope = col_i64(st, 4);
	}
	sqlite3_reset(st);
	return OK;
}

static enum err get(struct conn *c, struct reading *x)
{
	sqlite3_stmt *st;
	struct ckpt_row r;
	struct ckpt_want_in w = {x->q->want, x->q->channels, x->q->channels_n, &x->budget};
	enum err e = row_of(c, x, &r, &st, &x->found);
	if (e == OK && x->found)
		e = ckpt_fill(c, x->a, &r, col_str(st, 3), &w);
	if (st)
		sqlite3_reset(st);
	if (e == OK && x->found)
		*x->out = r.c;
	return e;
}

static enum err get_task(void *arg)
{
	struct reading *x = arg;
	struct reader *r;
	struct conn *c;
	TRY(reader_begin(x->s, x->t, x->deadline, &r, &c));
	return reader_end(x->s, r, c, get(c, x));
}

enum err sq_ckpt_get(struct store *s, struct arena *a, const struct principal *who, const struct ckpt_query *q, struct ckpt *out,
		     bool *found)
{
	struct reading x = {
		.s = sq_of(s), .who = who, .deadline = fiber_deadline(), .a = a, .q = q, .out = out, .budget = INLINE_BYTES};
	*found = false;
	TRY(tenant_get(x.s, who, RIGHT_READ, false, &x.t));
	if (!x.t)
		return OK;
	enum err e = get_task(&x);
	if (e == CKPT_TOO_LONG) {
		x.budget = SIZE_MAX;
		e = work_run(get_task, &x);
	}
	*found = e == OK && x.found;
	return e;
}
