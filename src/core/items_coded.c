/* See core/items_coded.h. */
#include "core/items_coded.h"

#include <math.h>
#include <stdlib.h>

struct id_at {
	int64_t id;
	size_t at;
};
struct reading {
	struct items_coded *x;
	uint8_t *planes;
	struct arena vectors;
	double highest, lowest; /* of all cosines that were read */
	int64_t ids[ITEMS_CODED_STEP];
	struct doc_vector v[ITEMS_CODED_STEP];
	size_t at[ITEMS_CODED_STEP];
	struct id_at sorted[ITEMS_CODED_STEP];
};

/* NaN: there is none any more, or it is damaged. */
static double cosine_of(struct reading *r, struct str blob)
{
	const struct vector_question *q = r->x->q->question;
	struct vector v;
	double cosine;

	if (!vector_load(blob, q->dims, r->planes, &v))
		return NAN;
	cosine = vector_cosine(q, v.high, v.low, v.scale);
	r->highest = fmax(r->highest, cosine);
	r->lowest = fmin(r->lowest, cosine);
	return cosine;
}

/* r->ids -> r->v */
static enum err read_some(struct reading *r, size_t n)
{
	struct items_coded *x = r->x;
	struct store *s = x->words->store;

	x->read += n;
	arena_clear(&r->vectors);
	return s->ops->vector_get(s, &r->vectors, x->who, x->scope->kind, x->scope->model, r->ids, n, r->v);
}

/* The range of cosines: from those that seem to be at its ends. */
static enum err read_edges(struct reading *r)
{
	struct coded_items *c = &r->x->c;
	size_t n = 0;

	for (int k = 0; k < 2; k++)
		for (size_t i = 0; i < c->edges_n[k]; i++)
			r->ids[n++] = c->edges[k][i];
	TRY(read_some(r, n));
	for (size_t i = 0; i < n; i++)
		(void)cosine_of(r, r->v[i].data);
	return OK;
}

static int by_id(const void *x, const void *y)
{
	const struct id_at *a = x, *b = y;

	return (a->id > b->id) - (a->id < b->id);
}

/* In the order of their ids, as stores keep them. */
static void sort_wanted(struct reading *r, size_t n)
{
	for (size_t i = 0; i < n; i++)
		r->sorted[i] = (struct id_at){r->x->c.v[r->at[i]].r.id, r->at[i]};
	qsort(r->sorted, n, sizeof *r->sorted, by_id);
	for (size_t i = 0; i < n; i++)
		r->at[i] = r->sorted[i].at;
}

static enum err read_wanted(struct reading *r, size_t n)
{
	struct coded_items *c = &r->x->c;

	sort_wanted(r, n);
	for (size_t i = 0; i < n; i++)
		r->ids[i] = c->v[r->at[i]].r.id;
	TRY(read_some(r, n));
	for (size_t i = 0; i < n; i++) {
		struct coded_item *it = &c->v[r->at[i]];

		it->known = true;
		it->r.cosine = cosine_of(r, r->v[i].data);
		if (isnan(it->r.cosine)) /* as an item without a vector; by vectors alone it comes last */
			it->r.sum = it->r.v = 0;
	}
	return OK;
}

static enum err settle(struct reading *r)
{
	struct items_coded *x = r->x;
	struct coded_items *c = &x->c;
	size_t n = 0;

	TRY(read_edges(r));
	do {
		if (r->highest >= r->lowest) {
			c->highest = fmax(0, r->highest);
			c->lowest = fmin(c->highest, fmax(0, r->lowest));
		}
		n = rank_items_settle(&x->rq, c, x->q->want, r->at, ITEMS_CODED_STEP);
		n = n < ITEMS_CODED_MAX - x->read ? n : ITEMS_CODED_MAX - x->read;
		if (n)
			TRY(read_wanted(r, n));
	} while (n);
	return OK;
}

enum err items_coded_settle(struct items_coded *x)
{
	struct reading *r = malloc(sizeof *r);
	enum err e;

	if (!r)
		return err_set(E_LIMIT, "out of memory while searching");
	*r = (struct reading){.x = x, .highest = -INFINITY, .lowest = INFINITY};
	arena_init(&r->vectors, 2 * ITEMS_CODED_STEP * (vector_blob_bytes(VECTOR_DIMS_MAX) + 64));
	r->planes = vector_planes(x->q->question->dims);
	if (!r->planes) {
		e = err_set(E_LIMIT, "out of memory while searching");
		goto out;
	}
	x->read = 0;
	e = settle(r);
out:
	arena_release(&r->vectors);
	free(r->planes);
	free(r);
	return e;
}
