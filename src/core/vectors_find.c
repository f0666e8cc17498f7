/* Which documents need a vector: what the feed brings goes into a queue; what was there before, or is too much for the queue, is
 * found by a walk through all documents in the order of their ids. */
#include "core/vectors_impl.h"

#include <stdlib.h>

#include "base/clock.h"
#include "index/doc.h"

/* -------------------------------------------------------------------- queue */

/* Fills in what has to be known of the document later; memory of ->doc is malloc's, or the arena's. */
static enum err todo_of(const struct doc_change *d, struct arena *a, struct todo *out)
{
	struct doc_reader r;
	struct doc_head h;

	*out = (struct todo){.id = d->id,
			     .since_us = clock_wall_us(),
			     .mark = doc_mark(d->terms),
			     .version = d->version,
			     .replaces = d->vector.n > 0 || d->has_vector,
			     .stamp = d->stamp};
	if (doc_open(d->terms, &r, &h) != DOC_GOOD)
		return OK;
	out->lang = h.lang;
	if (!r.has_paths)
		return OK;
	out->doc = a ? arena_alloc(a, d->terms.n) : malloc(d->terms.n);
	if (!out->doc)
		return err_set(E_LIMIT, "out of memory for texts that wait for their vectors");
	memcpy(out->doc, d->terms.p, d->terms.n);
	out->doc_n = d->terms.n;
	return OK;
}

enum err queue_add(struct queue *q, const struct doc_change *d)
{
	if (q->at + q->n == q->cap) {
		if (q->at > 0) {
			memmove(q->v, q->v + q->at, q->n * sizeof *q->v);
			q->at = 0;
		}
		if (q->n == q->cap) {
			size_t cap = q->cap ? q->cap * 2 : 64;
			struct todo *v = realloc(q->v, cap * sizeof *v);

			if (!v)
				return err_set(E_LIMIT, "out of memory for texts that wait for their vectors");
			q->v = v;
			q->cap = cap;
		}
	}
	TRY(todo_of(d, NULL, &q->v[q->at + q->n]));
	q->replacing += q->v[q->at + q->n].replaces;
	q->n++;
	return OK;
}

void queue_drop(struct queue *q, size_t n)
{
	size_t kept = 0;

	/* From the last to the first: those that stay move up to the rest. */
	for (size_t i = n; i-- > 0;) {
		struct todo *x = &q->v[q->at + i];

		if (x->again) {
			x->again = false;
			q->v[q->at + n - ++kept] = *x;
			continue;
		}
		q->replacing -= x->replaces;
		free(x->doc);
	}
	n -= kept;
	q->at += n;
	q->n -= n;
	q->seq += n;
	if (q->n == 0)
		q->at = 0;
}

void queue_release(struct queue *q)
{
	for (size_t i = 0; i < q->n; i++)
		free(q->v[q->at + i].doc);
	q->seq += q->n;
	free(q->v);
	*q = (struct queue){.seq = q->seq};
}

/* ---------------------------------------------------------------- following */

struct finder {
	struct kind_state *k;
	struct str model;
	size_t queue_max;
	bool *gap;
	/* the walk's */
	struct arena *a;
	struct todo *v;
	size_t n, most, seen;
	int64_t last;
	enum err err;
	struct diag diag;
};

static bool needs_vector(const struct finder *f, const struct doc_change *d)
{
	uint64_t mark;

	if (d->removed || d->terms.n == 0)
		return false;
	mark = doc_mark(d->terms);
	if (d->vector.n > 0 && d->mark == mark && !(f->a && d->id > f->k->again_from))
		return false;
	return !marks_has(&f->k->refused, d->id, mark);
}

static bool on_change(void *ctx, const struct doc_change *d)
{
	struct finder *f = ctx;
	struct kind_state *k = f->k;

	if (d->removed) {
		marks_remove(&k->refused, d->id);
		marks_remove(&k->odd, d->id);
	}
	if (!needs_vector(f, d))
		return true;
	if (k->queue.n < f->queue_max) {
		f->err = queue_add(&k->queue, d);
	} else {
		*f->gap = true;
		if (!k->walking || d->id <= k->after) {
			k->walking = true;
			k->after = d->id - 1;
		}
	}
	if (f->err != OK)
		f->diag = *diag_get();
	return f->err == OK;
}

/* From here on the feed tells what changes; what is there already is walked through. */
static bool no_document(void *ctx, const struct doc_change *d)
{
	(void)ctx;
	(void)d;
	return false;
}

static enum err begin(struct vectors *v, struct vtenant *t, const struct doc_scope *scope, struct kind_state *k)
{
	TRY(v->store->ops->doc_scan(v->store, &t->who, scope, &k->cursor, no_document, NULL));
	k->following = true;
	k->walking = true;
	t->gap = true;
	k->after = 0;
	k->walked = 0;
	return OK;
}

enum err vectors_follow(struct vectors *v, struct vtenant *t, enum doc_kind kind, struct str model)
{
	struct kind_state *k = &t->kind[kind];
	struct doc_scope scope = {.kind = kind, .prefix = STR(""), .model = model, .every_user = true};
	struct finder f = {.k = k, .model = model, .queue_max = v->queue_max, .gap = &t->gap};
	enum err e;

	if (!k->following)
		return begin(v, t, &scope, k);
	e = v->store->ops->doc_changes(v->store, &t->who, &scope, &k->cursor, on_change, &f);
	if (f.err != OK) {
		*diag_get() = f.diag;
		return f.err;
	}
	if (e == E_CONFLICT) /* the driver has forgotten */
		return begin(v, t, &scope, k);
	return e;
}

/* --------------------------------------------------------------------- walk */

/* So many documents are read at a time: with their vectors some 250 KB. */
#define WALK_STEP 256

static bool on_walk(void *ctx, const struct doc_change *d)
{
	struct finder *f = ctx;

	if (f->n == f->most)
		return false;
	f->seen++;
	f->last = d->id;
	if (!needs_vector(f, d))
		return true;
	f->err = todo_of(d, f->a, &f->v[f->n]);
	if (f->err != OK)
		f->diag = *diag_get();
	else
		f->n++;
	return f->err == OK;
}

/* All vectors are made again: each document is looked at. */
static enum err walk_all(struct vectors *v, struct vtenant *t, enum doc_kind kind, struct finder *f, bool *end)
{
	TRY(v->store->ops->doc_walk(v->store, &t->who, kind, f->model, f->last, WALK_STEP, on_walk, f));
	*end = f->seen == 0;
	return OK;
}

/* The store gives what lacks a vector; each start looks through everything that way. */
static enum err walk_lacking(struct vectors *v, struct vtenant *t, enum doc_kind kind, struct finder *f, bool *end)
{
	struct doc_lack at = {.after = f->last};

	TRY(v->store->ops->doc_lacking(v->store, &t->who, kind, f->model, &at, f->most, on_walk, f));
	if (f->err == OK)
		f->last = at.after;
	f->seen = (size_t)at.looked;
	*end = at.end;
	return OK;
}

enum err vectors_walk(struct vectors *v, struct vtenant *t, enum doc_kind kind, struct str model, struct arena *a, size_t most,
		      struct todo **out, size_t *n, int64_t *last, bool *end)
{
	struct kind_state *k = &t->kind[kind];
	struct finder f = {.k = k, .model = model, .a = a, .most = most, .last = k->after};

	f.v = ARENA_ARRAY(a, struct todo, most);
	if (!f.v)
		return E_NOMEM;
	TRY((k->again_from < INT64_MAX ? walk_all : walk_lacking)(v, t, kind, &f, end));
	if (f.err != OK) {
		*diag_get() = f.diag;
		return f.err;
	}
	*out = f.v;
	*n = f.n;
	*last = f.last;
	k->stepped = (int64_t)f.seen;
	return OK;
}
