/* Vectors of documents: kept, removed with what they belong to, counted, and walked through together with their documents.
 *
 * Invariants
 *  1. A vector's id says whose it is: model << 48 | kind << 47 | id of the document. So a model's vectors lie together, in the
 * order of their documents.
 *  2. cenote_model.n is the number of the model's vectors: every statement that adds or removes some is followed, in the same
 *     transaction, by one that counts them.
 *  3. A tenant without vectors has no row in cenote_model, and its writes run no statement of this file. The writer's copy of the
 *     models' ids (tenant.models) is forgotten with everything else when a transaction is undone. */
#include "store/sqlite/sq.h"

#include "rt/fiber.h"
#include "rt/work.h"

#define MODEL_SHIFT 48
#define KIND_BIT (INT64_C(1) << 47)
/* Documents that one call of doc_lacking looks at: some milliseconds. */
#define LACK_STEP 4096

static int64_t base_of(int64_t model, enum doc_kind kind)
{
	return model << MODEL_SHIFT | (kind == DOC_MESSAGE ? KIND_BIT : 0);
}

void doc_vector_columns(sqlite3_stmt *st, int at, struct doc_change *d)
{
	d->vector = col_str(st, at);
	d->mark = (uint64_t)col_i64(st, at + 1);
}

/* -------------------------------------------------------------- the models */

static enum err model_find(struct conn *c, struct str model, int64_t *id)
{
	enum err e;
	bool row;
	sqlite3_stmt *st = conn_stmt(c, ST_MODEL_FIND, &e);
	*id = 0;
	if (!st)
		return e;
	bind_str(st, 1, model);
	TRY(conn_step(c, st, &row));
	if (!row)
		return OK;
	*id = col_i64(st, 0);
	sqlite3_reset(st);
	return OK;
}

enum err vector_base(struct conn *c, struct str model, enum doc_kind kind, int64_t *base)
{
	int64_t id = 0;
	if (model.n)
		TRY(model_find(c, model, &id));
	*base = id ? base_of(id, kind) : -1;
	return OK;
}

/* Fills in the writer's copy. */
static enum err models_load(struct conn *c)
{
	struct tenant *t = c->t;
	enum err e;
	bool row;
	int n = 0;
	if (t->models_n >= 0)
		return OK;
	sqlite3_stmt *st = conn_stmt(c, ST_MODELS, &e);
	if (!st)
		return e;
	for (;;) {
		TRY(conn_step(c, st, &row));
		if (!row)
			break;
		if (n == VECTOR_MODELS_MAX) {
			sqlite3_reset(st);
			return err_set(E_CORRUPT, "%s has vectors of more than %d models", t->base, VECTOR_MODELS_MAX);
		}
		t->models[n++] = col_i64(st, 0);
	}
	t->models_n = n;
	return OK;
}

static enum err model_make(struct conn *c, struct str model, int64_t *id)
{
	struct tenant *t = c->t;
	enum err e;
	TRY(models_load(c));
	TRY(model_find(c, model, id));
	if (*id)
		return OK;
	if (t->models_n == VECTOR_MODELS_MAX)
		return err_set(E_LIMIT, "a tenant has vectors of at most %d models; remove those of one that is no longer used",
			       VECTOR_MODELS_MAX);
	for (int i = 0; i < t->models_n; i++)
		*id = t->models[i] > *id ? t->models[i] : *id;
	if (++*id >= INT64_C(1) << 14)
		return err_set(E_LIMIT, "there are no more numbers for models in %s", t->base);
	sqlite3_stmt *st = conn_stmt(c, ST_MODEL_ADD, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, *id);
	bind_str(st, 2, model);
	TRY(conn_run(c, ST_MODEL_ADD));
	t->models[t->models_n++] = *id;
	return OK;
}

static enum err count(struct conn *c, int64_t model, int64_t more)
{
	enum err e;
	if (more == 0)
		return OK;
	sqlite3_stmt *st = conn_stmt(c, ST_MODEL_COUNT, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, model);
	sqlite3_bind_int64(st, 2, more);
	return conn_run(c, ST_MODEL_COUNT);
}

/* ------------------------------------------------------------------ putting */

struct put_arg {
	enum doc_kind kind;
	struct str model;
	const struct doc_vector *v;
	size_t n;
};

/* Is there such a document? Then the feed is told that it changed. */
static enum err changed(struct writer *w, struct conn *c, enum doc_kind kind, int64_t id, bool *there)
{
	bool message = kind == DOC_MESSAGE;
	struct feed_name *name = NULL;
	enum err e;
	bool text = message && id >= TEXT_ID_FIRST;
	sqlite3_stmt *st = conn_stmt(c, text ? ST_VECTOR_TEXT : message ? ST_VECTOR_MESSAGE : ST_VECTOR_ITEM, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, id);
	TRY(conn_step(c, st, there));
	if (!*there)
		return OK;
	if (w->record && message) {
		name = feed_name_new(0, col_str(st, 0), col_str(st, 1));
		e = name ? OK : err_set(E_LIMIT, "out of memory in the store");
	} else if (w->record) {
		e = writer_ns(w, c, col_str(st, 0), false, &name);
		if (name)
			feed_name_ref(name);
	}
	sqlite3_reset(st);
	if (e == OK && w->record && !name)
		e = err_set(E_CORRUPT, "%s has an item without a namespace", c->t->base);
	if (e == OK)
		e = writer_changed(w, id, message, false, name);
	feed_name_drop(name);
	return e;
}

static void bind_vector(sqlite3_stmt *st, int64_t id, const struct doc_vector *v)
{
	sqlite3_bind_int64(st, 1, id);
	sqlite3_bind_int64(st, 2, (int64_t)v->mark);
	bind_bytes(st, 3, v->data);
}

static enum err put_one(struct conn *c, int64_t id, const struct doc_vector *v, bool *added)
{
	enum err e;
	sqlite3_stmt *st = conn_stmt(c, ST_VECTOR_ADD, &e);
	if (!st)
		return e;
	bind_vector(st, id, v);
	TRY(conn_run(c, ST_VECTOR_ADD));
	*added = sqlite3_changes64(c->db) > 0;
	if (*added)
		return OK;
	st = conn_stmt(c, ST_VECTOR_SET, &e);
	if (!st)
		return e;
	bind_vector(st, id, v);
	return conn_run(c, ST_VECTOR_SET);
}

static enum err put_all(struct writer *w, struct conn *c, const struct put_arg *a, int64_t model)
{
	int64_t more = 0;
	for (size_t i = 0; i < a->n; i++) {
		bool there, added = false;
		TRY(changed(w, c, a->kind, a->v[i].id, &there));
		if (there)
			TRY(put_one(c, base_of(model, a->kind) + a->v[i].id, &a->v[i], &added));
		more += added;
	}
	return count(c, model, more);
}

static enum err apply_put(struct writer *w, struct conn *c, struct wop *op)
{
	const struct put_arg *a = op->arg;
	int64_t model;
	TRY(model_make(c, a->model, &model));
	enum err e = put_all(w, c, a, model);
	if (e != OK) /* some may have been written */
		c->failed = true;
	return e;
}

enum err sq_vector_put(struct store *s, const struct principal *who, enum doc_kind kind, struct str model,
		       const struct doc_vector *v, size_t n)
{
	struct put_arg arg = {kind, model, v, n};
	struct wop op = {.apply = apply_put, .arg = &arg, .writes = n, .deadline = fiber_deadline()};
	TRY(vector_call_check(who, RIGHT_WRITE, model, true));
	TRY(vector_batch_check(v, n));
	for (size_t i = 0; i < n; i++)
		op.bytes += v[i].data.n + 64;
	if (n == 0)
		return OK;
	TRY(tenant_get(sq_of(s), who, RIGHT_WRITE, false, &op.t));
	return op.t ? queue_submit(sq_of(s), &op) : OK; /* without a file there are no documents */
}

/* ----------------------------------------------------------------- removing */

/* Runs the statement for each model with that model's base. */
static enum err remove_by(struct conn *c, enum stmt which, enum doc_kind kind, int64_t id)
{
	enum err e;
	TRY(models_load(c));
	for (int i = 0; i < c->t->models_n; i++) {
		sqlite3_stmt *st = conn_stmt(c, which, &e);
		if (!st)
			return e;
		sqlite3_bind_int64(st, 1, base_of(c->t->models[i], kind));
		sqlite3_bind_int64(st, 2, id);
		TRY(conn_run(c, which));
		TRY(count(c, c->t->models[i], -sqlite3_changes64(c->db)));
	}
	return OK;
}

enum err vectors_removed(struct conn *c, enum doc_kind kind, int64_t id)
{
	return remove_by(c, ST_VECTOR_DEL, kind, id);
}

enum err vectors_removed_thread(struct conn *c, int64_t thread_id)
{
	return remove_by(c, ST_VECTOR_DEL_THREAD, DOC_MESSAGE, thread_id);
}

struct drop_arg {
	struct str model;
	size_t max;
	bool left;
};

static enum err drop_some(struct conn *c, struct drop_arg *a)
{
	enum err e;
	int64_t model;
	a->left = false;
	TRY(model_find(c, a->model, &model));
	if (model == 0)
		return OK;
	sqlite3_stmt *st = conn_stmt(c, ST_VECTOR_DROP, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, base_of(model, DOC_ITEM));
	sqlite3_bind_int64(st, 2, base_of(model + 1, DOC_ITEM));
	sqlite3_bind_int64(st, 3, (int64_t)a->max);
	TRY(conn_run(c, ST_VECTOR_DROP));
	int64_t gone = sqlite3_changes64(c->db);
	if (gone == (int64_t)a->max) {
		a->left = true; /* or just not: the next call will see */
		return count(c, model, -gone);
	}
	st = conn_stmt(c, ST_MODEL_DEL, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, model);
	c->t->models_n = -1;
	return conn_run(c, ST_MODEL_DEL);
}

static enum err apply_drop(struct writer *w, struct conn *c, struct wop *op)
{
	enum err e = drop_some(c, op->arg);
	(void)w;
	if (e != OK)
		c->failed = true;
	return e;
}

enum err sq_vector_drop(struct store *s, const struct principal *who, struct str model, size_t max, bool *left)
{
	struct drop_arg arg = {model, max < VECTOR_BATCH_MAX ? max : VECTOR_BATCH_MAX, false};
	struct wop op = {.apply = apply_drop, .arg = &arg, .writes = arg.max, .deadline = fiber_deadline()};
	*left = false;
	TRY(vector_call_check(who, RIGHT_WRITE, model, true));
	if (max == 0)
		return err_set(E_INVALID, "at least one vector is removed at a time");
	TRY(tenant_get(sq_of(s), who, RIGHT_WRITE, false, &op.t));
	if (!op.t)
		return OK;
	TRY(queue_submit(sq_of(s), &op));
	*left = arg.left;
	return OK;
}

/* ------------------------------------------------------------------ reading */

static enum err models(struct conn *c, void (*fn)(void *ctx, struct str model, int64_t n), void *ctx)
{
	enum err e;
	bool row;
	sqlite3_stmt *st = conn_stmt(c, ST_MODELS, &e);
	if (!st)
		return e;
	for (;;) {
		TRY(conn_step(c, st, &row));
		if (!row)
			return OK;
		if (col_i64(st, 2) > 0)
			fn(ctx, col_str(st, 1), col_i64(st, 2));
	}
}

enum err sq_vector_models(struct store *s, const struct principal *who, void (*fn)(void *ctx, struct str model, int64_t n),
			  void *ctx)
{
	struct tenant *t;
	struct reader *r;
	struct conn *c;
	TRY(tenant_get(sq_of(s), who, RIGHT_READ, false, &t));
	if (!t)
		return OK;
	TRY(reader_begin(sq_of(s), t, fiber_deadline(), &r, &c));
	return reader_end(sq_of(s), r, c, models(c, fn, ctx));
}

struct walk {
	struct sq *s;
	struct tenant *t;
	uint64_t deadline;
	enum doc_kind kind;
	struct str model;
	int64_t after;
	size_t limit;
	doc_fn fn;
	void *ctx;
};

/* One table's documents, as far as limit goes. */
static enum err walk_table(struct conn *c, struct walk *x, enum stmt which, int64_t base, bool *go)
{
	enum err e;
	sqlite3_stmt *st = conn_stmt(c, which, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, x->after);
	sqlite3_bind_int64(st, 2, x->limit < INT64_MAX ? (int64_t)x->limit : INT64_MAX);
	sqlite3_bind_int64(st, 3, base);
	for (;;) {
		bool row;
		TRY(conn_step(c, st, &row));
		if (!row)
			return OK;
		struct doc_change d = {.id = col_i64(st, 0), .terms = col_str(st, 1), .lang_ns = col_str(st, 2)};
		doc_vector_columns(st, 3, &d);
		x->limit--;
		*go = x->fn(x->ctx, &d);
		if (!*go)
			break;
	}
	sqlite3_reset(st);
	return OK;
}

static enum err walk(struct conn *c, struct walk *x)
{
	bool go = true;
	int64_t base;
	TRY(vector_base(c, x->model, x->kind, &base));
	if (x->kind == DOC_ITEM)
		return walk_table(c, x, ST_DOC_WALK_ITEMS, base, &go);
	if (x->after < TEXT_ID_FIRST)
		TRY(walk_table(c, x, ST_DOC_WALK_MESSAGES, base, &go));
	if (!go || x->limit == 0)
		return OK;
	x->after = x->after < TEXT_ID_FIRST ? TEXT_ID_FIRST - 1 : x->after;
	return walk_table(c, x, ST_DOC_WALK_TEXTS, base, &go);
}

static enum err walk_task(void *arg)
{
	struct walk *x = arg;
	struct reader *r;
	struct conn *c;
	TRY(reader_begin(x->s, x->t, x->deadline, &r, &c));
	return reader_end_scan(x->s, r, c, walk(c, x));
}

enum err sq_doc_walk(struct store *s, const struct principal *who, enum doc_kind kind, struct str model, int64_t after,
		     size_t limit, doc_fn fn, void *ctx)
{
	struct walk x = {sq_of(s), NULL, fiber_deadline(), kind, model, after, limit, fn, ctx};
	TRY(vector_call_check(who, RIGHT_READ, model, false));
	TRY(tenant_get(sq_of(s), who, RIGHT_READ, false, &x.t));
	return x.t ? work_run(walk_task, &x) : OK;
}

/* ----------------------------------------------------- what has no vector */

struct lacking {
	struct walk w;
	struct doc_lack *at;
};

static enum err lacking(struct conn *c, struct lacking *x)
{
	enum err e;
	bool row, go = true;
	int64_t base;
	size_t given = 0;
	TRY(vector_base(c, x->w.model, x->w.kind, &base));
	bool message = x->w.kind == DOC_MESSAGE, text = message && x->at->after >= TEXT_ID_FIRST - 1;
	sqlite3_stmt *st = conn_stmt(c, text ? ST_DOC_LACKING_TEXTS : message ? ST_DOC_LACKING_MESSAGES : ST_DOC_LACKING_ITEMS, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, x->at->after);
	sqlite3_bind_int64(st, 2, LACK_STEP);
	sqlite3_bind_int64(st, 3, base);
	while (go && given < x->w.limit) {
		TRY(conn_step(c, st, &row));
		if (!row) {
			x->at->end = x->at->looked < LACK_STEP;
			if (x->at->end && message && !text) { /* after the messages the texts */
				x->at->after = TEXT_ID_FIRST - 1;
				x->at->end = false;
			}
			return OK;
		}
		struct doc_change d = {.id = col_i64(st, 0), .terms = col_str(st, 1), .mark = (uint64_t)col_i64(st, 2)};
		d.has_vector = sqlite3_column_type(st, 2) != SQLITE_NULL;
		x->at->after = d.id;
		x->at->looked++;
		if (d.has_vector && d.mark == doc_mark(d.terms))
			continue;
		given++;
		go = x->w.fn(x->w.ctx, &d);
	}
	sqlite3_reset(st);
	return OK;
}

static enum err lacking_task(void *arg)
{
	struct lacking *x = arg;
	struct reader *r;
	struct conn *c;
	TRY(reader_begin(x->w.s, x->w.t, x->w.deadline, &r, &c));
	return reader_end(x->w.s, r, c, lacking(c, x));
}

enum err sq_doc_lacking(struct store *s, const struct principal *who, enum doc_kind kind, struct str model, struct doc_lack *at,
			size_t limit, doc_fn fn, void *ctx)
{
	struct lacking x = {{sq_of(s), NULL, fiber_deadline(), kind, model, at->after, limit, fn, ctx}, at};
	at->looked = 0;
	at->end = false;
	TRY(vector_call_check(who, RIGHT_READ, model, true));
	TRY(tenant_get(sq_of(s), who, RIGHT_READ, false, &x.w.t));
	at->end = !x.w.t;
	return x.w.t ? work_run(lacking_task, &x) : OK;
}
