/* What is read along the line of ancestors: the history of delta channels, and the sends of the format before version 4. */
#include "rt/fiber.h"
#include "rt/work.h"
#include "store/sqlite/ckpt.h"

/* Writes of one channel under one ancestor. */
struct piece {
	struct piece *older; /* of the ancestor before: pieces are met newest first */
	struct ckpt_pending *w;
	size_t n;
};
struct track {
	struct piece *oldest; /* met last; its `older` leads back to those met before */
	size_t n;
};

struct walk {
	struct sq *s;
	struct tenant *t;
	const struct principal *who;
	uint64_t deadline;
	struct arena *a;
	const struct ckpt_query *q;
	struct ckpt_history *out;
	size_t n, open; /* open: channels without a seed yet */
	struct track *tracks;
	struct map seen; /* numbers of rows: a loop in the parents ends the walk */
	/* sends */
	struct str thread, id;
	struct ckpt_pending *sends;
	size_t sends_n;
};

/* ---------------------------------------------------------------- history */

static enum err take_writes(struct walk *x, struct track *k, struct str channel, const struct ckpt_pending *w, size_t n)
{
	size_t mine = 0;
	for (size_t i = 0; i < n; i++)
		mine += str_eq(w[i].channel, channel);
	if (!mine)
		return OK;
	struct piece *p = ARENA_NEW(x->a, struct piece);
	if (!p || !(p->w = ARENA_ARRAY(x->a, struct ckpt_pending, mine)))
		return E_NOMEM;
	for (size_t i = 0; i < n; i++)
		if (str_eq(w[i].channel, channel))
			p->w[p->n++] = w[i];
	p->older = k->oldest;
	k->oldest = p;
	k->n += mine;
	return OK;
}

/* Is a value of the channel stored here? A stored one beats an inline one. */
static enum err take_seed(struct conn *c, struct walk *x, const struct ckpt_row *r, struct jval inline_values,
			  struct ckpt_history *h)
{
	size_t all = SIZE_MAX;
	struct ckpt_row probe = *r;
	struct ckpt_want_in w = {CK_VALUES, &h->channel, 1, &all};
	TRY(ckpt_values(c, x->a, &probe, &w));
	if (probe.c.values_n) {
		h->seed = probe.c.values[0];
		h->seeded = true;
		return OK;
	}
	struct jval v = j_is(inline_values, JSON_OBJECT) ? j_get(inline_values, h->channel) : (struct jval){0};
	if (!j_ok(v) || j_null(v))
		return OK;
	h->seed = (struct ckpt_value){.channel = h->channel, .version = STR(""), .type = STR(""), .bytes = j_raw(v)};
	h->seeded = true;
	return OK;
}

static enum err visit(struct conn *c, struct walk *x, struct ckpt_row *r)
{
	struct ckpt_pending *w;
	struct json doc;
	size_t n, bytes;
	TRY(pending_read(c, x->a, r->id, &w, &n, &bytes));
	if (json_parse(x->a, r->c.checkpoint, &pack_json, &doc) != OK)
		return err_wrap(E_CORRUPT, "a stored checkpoint");
	struct jval values = j_get(json_root(&doc), STR("channel_values"));
	for (size_t i = 0; i < x->n; i++) {
		if (x->out[i].seeded)
			continue;
		TRY(take_writes(x, &x->tracks[i], x->out[i].channel, w, n));
		TRY(take_seed(c, x, r, values, &x->out[i]));
		x->open -= x->out[i].seeded;
	}
	return OK;
}

/* The row with this number, its checkpoint read; *there = false: none, a placeholder, or one that was visited. */
static enum err step_to(struct conn *c, struct walk *x, int64_t id, int64_t scope, struct ckpt_row *r, bool *there)
{
	struct str key = str_of((const char *)&id, sizeof id), metadata;
	enum err e;
	*there = false;
	if (!id || map_get(&x->seen, key))
		return OK;
	TRY(map_put(&x->seen, key, x, NULL));
	sqlite3_stmt *st = conn_stmt(c, ST_CKPT_ROW, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, id);
	TRY(conn_step(c, st, there));
	if (!*there)
		return OK;
	*r = (struct ckpt_row){.id = id, .scope = scope, .parent = col_i64(st, 0)};
	if (sqlite3_column_type(st, 2) == SQLITE_NULL)
		*there = false;
	else
		e = pack_unbody(x->a, col_str(st, 2), &r->c.checkpoint, &metadata);
	sqlite3_reset(st);
	return e;
}

static enum err gather(struct walk *x)
{
	for (size_t i = 0; i < x->n; i++) {
		struct ckpt_history *h = &x->out[i];
		size_t k = 0;
		h->writes = ARENA_ARRAY(x->a, struct ckpt_pending, x->tracks[i].n + 1);
		if (!h->writes)
			return E_NOMEM;
		for (struct piece *p = x->tracks[i].oldest; p; p = p->older) {
			memcpy(h->writes + k, p->w, p->n * sizeof *p->w);
			k += p->n;
		}
		h->writes_n = k;
	}
	return OK;
}

static enum err history(struct conn *c, struct walk *x)
{
	struct ckpt_row r;
	bool there;
	int64_t id, scope;
	TRY(ckpt_find(c, x->who, x->q, &id, &scope));
	if (!id)
		return OK;
	TRY(step_to(c, x, id, scope, &r, &there));
	while (there && x->open) {
		TRY(step_to(c, x, r.parent, scope, &r, &there));
		if (there)
			TRY(visit(c, x, &r));
		if (clock_mono_ns() >= x->deadline)
			return err_set(E_TIMEOUT, "the deadline passed while the history of a channel was read");
	}
	return gather(x);
}

static enum err history_task(void *arg)
{
	struct walk *x = arg;
	struct reader *r;
	struct conn *c;
	map_init(&x->seen);
	enum err e = reader_begin(x->s, x->t, x->deadline, &r, &c);
	if (e == OK)
		e = reader_end(x->s, r, c, history(c, x));
	map_release(&x->seen);
	return e;
}

enum err sq_ckpt_history(struct store *s, struct arena *a, const struct principal *who, const struct ckpt_query *q,
			 struct ckpt_history *out, size_t n)
{
	struct walk x = {.s = sq_of(s), .who = who, .deadline = fiber_deadline(), .a = a, .q = q, .out = out, .n = n, .open = n};
	for (size_t i = 0; i < n; i++)
		out[i] = (struct ckpt_history){.channel = out[i].channel};
	TRY(tenant_get(x.s, who, RIGHT_READ, false, &x.t));
	x.tracks = arena_zalloc(a, (n + 1) * sizeof *x.tracks);
	if (!x.tracks)
		return E_NOMEM;
	return x.t && n ? work_run(history_task, &x) : OK;
}

/* ---------------------------------------------------------------- sends */

static enum err take_sends(struct conn *c, struct walk *x, int64_t ckpt, size_t *cap)
{
	struct ckpt_pending *w;
	size_t n, bytes;
	TRY(pending_read(c, x->a, ckpt, &w, &n, &bytes));
	for (size_t i = 0; i < n; i++) {
		if (!str_eq(w[i].channel, STR("__pregel_tasks")))
			continue;
		if (x->sends_n == *cap) {
			size_t more = *cap ? *cap * 2 : 8;
			x->sends = arena_grow(x->a, x->sends, *cap * sizeof *w, more * sizeof *w);
			if (!x->sends)
				return E_NOMEM;
			*cap = more;
		}
		x->sends[x->sends_n++] = w[i];
	}
	return OK;
}

static enum err sends(struct conn *c, struct walk *x)
{
	enum err e = OK;
	bool row;
	size_t cap = 0;
	sqlite3_stmt *st = conn_stmt(c, ST_CKPTS_NAMED, &e);
	if (!st)
		return e;
	bind_str(st, 1, x->thread);
	bind_str(st, 2, x->id);
	while (e == OK) {
		TRY(conn_step(c, st, &row));
		if (!row)
			break;
		if (principal_sees(x->who, col_str(st, 1)))
			e = take_sends(c, x, col_i64(st, 0), &cap);
	}
	if (e != OK)
		sqlite3_reset(st);
	pack_pending_sort(x->sends, x->sends_n);
	return e;
}

static enum err sends_each(struct conn *c, struct walk *x, struct ckpt_sends *out, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		x->id = out[i].id;
		x->sends = NULL;
		x->sends_n = 0;
		TRY(sends(c, x));
		out[i].v = x->sends;
		out[i].n = x->sends_n;
	}
	return OK;
}

enum err sq_ckpt_sends(struct store *s, struct arena *a, const struct principal *who, struct str thread, struct ckpt_sends *out,
		       size_t n)
{
	struct walk x = {.s = sq_of(s), .who = who, .a = a, .thread = thread};
	struct reader *r;
	struct conn *c;
	for (size_t i = 0; i < n; i++)
		out[i].n = 0;
	TRY(tenant_get(x.s, who, RIGHT_READ, false, &x.t));
	if (!x.t)
		return OK;
	TRY(reader_begin(x.s, x.t, fiber_deadline(), &r, &c));
	return reader_end(x.s, r, c, sends_each(c, &x, out, n));
}
