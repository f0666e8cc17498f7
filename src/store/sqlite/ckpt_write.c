/* Writing checkpoints and pending writes: what can be done on the caller's thread (cutting, naming, compressing) is done there, the
 * writer only looks up numbers and adds rows.
 *
 * Invariants
 *  1. Everything that can refuse a call is looked at before its first row is written; a failure after that loses the transaction
 *     (c->failed). So calls need no savepoint.
 *  2. A thread's row is there when the first row under it is written; it belongs to the user of who wrote first. */
#include "rt/fiber.h"
#include "rt/work.h"
#include "store/sqlite/ckpt.h"

#define INLINE_BYTES (64u << 10) /* more is prepared on the CPU pool */

struct change_in {
	const struct ckpt_change *ch;
	struct str body, run; /* run.p NULL: none */
	struct value_in *values;
	struct pending_in pending;
};
struct write_arg {
	struct sq *s;
	struct tenant *t;
	const struct principal *who;
	const struct ckpt_change *c;
	size_t n;
	struct arena *a;
	struct change_in *in;
};

/* ---------------------------------------------------------------- the caller's share */

static enum err run_of(struct arena *a, struct str metadata, struct str *out)
{
	struct json doc;
	TRY(json_parse(a, metadata, &pack_json, &doc));
	struct jval run = j_get(json_root(&doc), STR("run_id"));
	*out = (struct str){0};
	if (!j_is(run, JSON_STRING))
		return OK;
	*out = j_str(a, run);
	return out->p ? OK : E_NOMEM;
}

static enum err prepare_one(struct write_arg *x, const struct ckpt_change *ch, struct change_in *in)
{
	*in = (struct change_in){.ch = ch};
	if (ch->op == CK_WRITES)
		return pending_prepare(x->a, ch, &in->pending);
	TRY(pack_body(x->a, ch->checkpoint, ch->metadata, &in->body));
	TRY(run_of(x->a, ch->metadata, &in->run));
	in->values = ARENA_ARRAY(x->a, struct value_in, ch->values_n + 1);
	if (!in->values)
		return E_NOMEM;
	for (size_t i = 0; i < ch->values_n; i++)
		TRY(value_prepare(x->s, x->t, x->a, ch->thread, ch->ns, &ch->values[i], &in->values[i]));
	return OK;
}

static enum err prepare(void *arg)
{
	struct write_arg *x = arg;
	for (size_t i = 0; i < x->n; i++)
		TRY(prepare_one(x, &x->c[i], &x->in[i]));
	return OK;
}

/* ---------------------------------------------------------------- the writer's */

/* Where a change goes. thread 0: the thread is not there yet; scope 0: nor is the namespace. */
struct place {
	struct str thread_name, ns_name;
	int64_t thread, scope;
	bool looked;
	/* what the thread's row has to be told */
	int64_t more, state_us, now;
};

static enum err place_find(struct conn *c, const struct principal *who, const struct ckpt_change *ch, struct place *p)
{
	enum err e = OK;
	bool row;
	sqlite3_stmt *st = conn_stmt(c, ST_PLACE_FIND, &e);
	if (!st)
		return e;
	*p = (struct place){.thread_name = ch->thread, .ns_name = ch->ns, .looked = true};
	bind_str(st, 1, ch->thread);
	bind_str(st, 2, ch->ns);
	TRY(conn_step(c, st, &row));
	if (!row)
		return OK;
	p->thread = col_i64(st, 0);
	p->scope = col_i64(st, 2);
	if (!principal_sees(who, col_str(st, 1)))
		e = err_set(E_CONFLICT, "the thread belongs to another user; nothing was stored");
	sqlite3_reset(st);
	return e;
}

static enum err place_make(struct conn *c, const struct principal *who, struct place *p)
{
	enum err e;
	sqlite3_stmt *st;
	if (!p->thread) {
		if (!(st = conn_stmt(c, ST_THREAD_ADD, &e)))
			return e;
		p->thread = c->t->next_thread++;
		sqlite3_bind_int64(st, 1, p->thread);
		bind_str(st, 2, p->thread_name);
		bind_str(st, 3, who->user);
		sqlite3_bind_int64(st, 4, clock_unique_us());
		TRY(conn_run(c, ST_THREAD_ADD));
	}
	if (!p->scope) {
		if (!(st = conn_stmt(c, ST_SCOPE_ADD, &e)))
			return e;
		p->scope = c->t->next_scope++;
		sqlite3_bind_int64(st, 1, p->scope);
		sqlite3_bind_int64(st, 2, p->thread);
		bind_str(st, 3, p->ns_name);
		TRY(conn_run(c, ST_SCOPE_ADD));
	}
	return OK;
}

/* Count and times into the thread's row. */
static enum err place_save(struct conn *c, struct place *p)
{
	enum err e;
	if (!p->now)
		return OK;
	sqlite3_stmt *st = conn_stmt(c, ST_THREAD_NOTE, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, p->thread);
	sqlite3_bind_int64(st, 2, p->more);
	sqlite3_bind_int64(st, 3, p->now);
	sqlite3_bind_int64(st, 4, p->state_us);
	p->more = p->state_us = p->now = 0;
	return conn_run(c, ST_THREAD_NOTE);
}

enum err ckpt_number(struct conn *c, int64_t scope, struct str id, int64_t *out, bool *body)
{
	enum err e;
	bool row;
	*out = 0;
	*body = false;
	sqlite3_stmt *st = conn_stmt(c, ST_CKPT_FIND, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, scope);
	bind_str(st, 2, id);
	TRY(conn_step(c, st, &row));
	if (!row)
		return OK;
	*out = col_i64(st, 0);
	*body = col_i64(st, 1) != 0;
	sqlite3_reset(st);
	return OK;
}

static void bind_body(sqlite3_stmt *st, int i, const struct change_in *in, uint8_t room[16])
{
	if (in && in->run.p)
		bind_uuid(st, i, in->run, room);
	else
		sqlite3_bind_null(st, i);
	if (in)
		bind_bytes(st, i + 1, in->body);
	else
		sqlite3_bind_null(st, i + 1);
}

/* in NULL: a placeholder. */
static enum err row_add(struct conn *c, int64_t scope, struct str id, int64_t parent, const struct change_in *in, int64_t *out)
{
	enum err e;
	uint8_t room[16];
	sqlite3_stmt *st = conn_stmt(c, ST_CKPT_ADD, &e);
	if (!st)
		return e;
	*out = c->t->next_checkpoint++;
	sqlite3_bind_int64(st, 1, *out);
	sqlite3_bind_int64(st, 2, scope);
	sqlite3_bind_int64(st, 3, parent);
	bind_str(st, 4, id);
	bind_body(st, 5, in, room);
	return conn_run(c, ST_CKPT_ADD);
}

/* The number of a row with this id, made as a placeholder when there is none. */
static enum err named(struct conn *c, int64_t scope, struct str id, int64_t *out)
{
	bool body;
	TRY(ckpt_number(c, scope, id, out, &body));
	return *out ? OK : row_add(c, scope, id, 0, NULL, out);
}

static enum err put_row(struct conn *c, struct arena *a, struct place *p, const struct change_in *in)
{
	enum err e;
	uint8_t room[16];
	int64_t id, parent = 0;
	bool body;
	TRY(ckpt_number(c, p->scope, in->ch->id, &id, &body));
	if (!body && in->ch->parent.n)
		TRY(named(c, p->scope, in->ch->parent, &parent));
	p->more += !body;
	if (body)
		image_forget(c, p->scope);
	else
		TRY(image_added(c, a, p->scope, in->ch->checkpoint));
	if (!id && !str_eq(in->ch->parent, in->ch->id))
		return row_add(c, p->scope, in->ch->id, parent, in, &id);
	if (!id)
		id = parent; /* its own parent: the placeholder is itself */
	sqlite3_stmt *st = conn_stmt(c, body ? ST_CKPT_AGAIN : ST_CKPT_SET, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, id);
	bind_body(st, 2, in, room);
	if (!body)
		sqlite3_bind_int64(st, 4, parent);
	return conn_run(c, body ? ST_CKPT_AGAIN : ST_CKPT_SET);
}

static enum err put_writes(struct conn *c, struct arena *a, struct place *p, const struct change_in *in)
{
	enum err e;
	int64_t id;
	int marks;
	if (in->ch->writes_n == 0)
		return OK;
	TRY(named(c, p->scope, in->ch->id, &id));
	TRY(pending_store(c, a, id, &in->pending, &marks));
	if (!marks)
		return OK;
	sqlite3_stmt *st = conn_stmt(c, ST_CKPT_MARK, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, id);
	sqlite3_bind_int(st, 2, marks);
	return conn_run(c, ST_CKPT_MARK);
}

static bool at_place(const struct place *p, const struct ckpt_change *ch)
{
	return p->looked && str_eq(p->thread_name, ch->thread) && str_eq(p->ns_name, ch->ns);
}

static enum err apply_one(struct conn *c, struct arena *a, const struct principal *who, struct place *p, const struct change_in *in)
{
	if (in->ch->op == CK_WRITES && in->ch->writes_n == 0)
		return OK;
	if (!at_place(p, in->ch)) {
		TRY(place_save(c, p));
		TRY(place_find(c, who, in->ch, p));
	}
	TRY(place_make(c, who, p));
	p->now = clock_unique_us();
	if (in->ch->op == CK_WRITES)
		return put_writes(c, a, p, in);
	TRY(put_row(c, a, p, in));
	for (size_t i = 0; i < in->ch->values_n; i++)
		TRY(value_store(c, a, p->scope, &in->values[i]));
	if (in->ch->ns.n == 0)
		p->state_us = p->now;
	return OK;
}

static enum err apply_checkpoints(struct writer *w, struct conn *c, struct wop *op)
{
	struct write_arg *x = op->arg;
	struct place p = {0};
	struct arena a;
	enum err e = OK;
	(void)w;
	for (size_t i = 0; i < x->n; i++) /* may all of them be written? */
		if (!at_place(&p, &x->c[i]))
			TRY(place_find(c, x->who, &x->c[i], &p));
	if (x->n > 1)
		p = (struct place){0};
	arena_init(&a, 2 * PACK_ROOM);
	for (size_t i = 0; i < x->n && e == OK; i++) {
		e = apply_one(c, &a, x->who, &p, &x->in[i]);
		arena_clear(&a);
	}
	if (e == OK)
		e = place_save(c, &p);
	arena_release(&a);
	if (e != OK)
		c->failed = true;
	return e;
}

static size_t weigh(const struct ckpt_change *c)
{
	size_t sum = c->checkpoint.n + c->metadata.n + 256;
	for (size_t i = 0; i < c->values_n; i++)
		sum += c->values[i].bytes.n + 64;
	for (size_t i = 0; i < c->writes_n; i++)
		sum += c->writes[i].bytes.n + 64;
	return sum;
}

enum err sq_ckpt_write(struct store *s, const struct principal *who, const struct ckpt_change *c, size_t n)
{
	struct arena a;
	struct write_arg x = {.s = sq_of(s), .who = who, .c = c, .n = n, .a = &a};
	struct wop op = {.apply = apply_checkpoints, .arg = &x, .writes = n};
	enum err e;
	TRY(principal_check(who, RIGHT_WRITE));
	if (n == 0)
		return OK;
	TRY(tenant_get(x.s, who, RIGHT_WRITE, true, &op.t));
	x.t = op.t;
	for (size_t i = 0; i < n; i++) {
		op.bytes += weigh(&c[i]);
		op.writes += c[i].values_n + c[i].writes_n;
	}
	arena_init(&a, 4 * op.bytes + (64u << 20));
	x.in = ARENA_ARRAY(&a, struct change_in, n);
	e = !x.in ? E_NOMEM : op.bytes > INLINE_BYTES ? work_run(prepare, &x) : prepare(&x);
	if (e == OK) {
		op.deadline = fiber_deadline();
		e = queue_submit(x.s, &op);
	}
	arena_release(&a);
	return e;
}
