/* See index/rank_items_coded.h. Arrays over all rows come from the heap, the rest from the arena. */
#include "index/rank_items_coded.h"

#include <math.h>
#include <stdlib.h>

#define MARGIN 3 /* standard deviations */

static double v_of(const struct coded_items *c, double cosine)
{
	return rank_items_v(cosine, c->lowest, c->highest);
}

/* False: the question says nothing about the item. As index/rank_items.c has it. */
static bool sum_up(const struct rank_items_request *rq, const struct coded_items *c, struct ranked_item *r)
{
	r->lex = c->best > 0 ? r->bm25 / c->best : 0;
	if (isnan(r->cosine) && (rq->by_vectors || r->lex <= 0))
		return false;
	r->v = isnan(r->cosine) ? r->lex : v_of(c, r->cosine);
	r->sum = (rq->by_vectors ? 0 : rq->lex * r->lex) + rq->v * r->v;
	return true;
}

static int cmp(const void *x, const void *y)
{
	const struct ranked_item *a = &((const struct coded_item *)x)->r, *b = &((const struct coded_item *)y)->r;

	if (a->sum != b->sum)
		return a->sum > b->sum ? -1 : 1;
	return (a->id > b->id) - (a->id < b->id);
}

/* ---------------------------------------------------------------- the best of all rows */

/* A heap with the worst on top. */
struct best {
	struct coded_item *v;
	size_t n, cap;
	bool full;
};

static bool worse(const struct coded_item *a, const struct coded_item *b)
{
	return cmp(a, b) > 0;
}

static void offer(struct best *h, const struct coded_item *c)
{
	size_t i, child;

	if (h->n < h->cap) {
		for (i = h->n++; i > 0 && worse(c, &h->v[(i - 1) / 2]); i = (i - 1) / 2)
			h->v[i] = h->v[(i - 1) / 2];
		h->v[i] = *c;
		return;
	}
	h->full = true;
	if (!worse(&h->v[0], c))
		return;
	for (i = 0; (child = 2 * i + 1) < h->n; i = child) {
		child += child + 1 < h->n && worse(&h->v[child + 1], &h->v[child]);
		if (!worse(&h->v[child], c))
			break;
		h->v[i] = h->v[child];
	}
	h->v[i] = *c;
}

/* Keeps the rows of the highest (sign 1) or lowest (-1) estimates, in falling order. */
struct edge {
	float v[CODED_EDGES];
	uint32_t row[CODED_EDGES];
	size_t n;
};

static void edge_put(struct edge *e, float v, uint32_t row)
{
	size_t i;

	if (e->n == CODED_EDGES && v <= e->v[CODED_EDGES - 1])
		return;
	for (i = e->n < CODED_EDGES ? e->n++ : CODED_EDGES - 1; i > 0 && e->v[i - 1] < v; i--) {
		e->v[i] = e->v[i - 1];
		e->row[i] = e->row[i - 1];
	}
	e->v[i] = v;
	e->row[i] = row;
}

static void find_edges(const struct vector_scope *vs, const float *est, struct coded_items *out)
{
	struct edge e[2] = {{.n = 0}, {.n = 0}};

	for (uint32_t row = 0; row < vs->rows; row++) {
		edge_put(&e[0], est[row], row);
		edge_put(&e[1], -est[row], row);
	}
	for (int k = 0; k < 2; k++) {
		for (size_t i = 0; i < e[k].n; i++)
			out->edges[k][i] = vector_scope_id(vs, e[k].row[i]);
		out->edges_n[k] = e[k].n;
	}
	out->highest = e[0].n ? fmax(0, (double)e[0].v[0]) : 0;
	out->lowest = e[1].n ? fmax(0, -(double)e[1].v[0]) : 0;
}

static void take_rows(const struct scope *s, const struct rank_items_request *rq, const double *bm, const float *est,
		      struct coded_items *out, struct best *best)
{
	uint32_t hint = 0;
	size_t slot = 0;

	for (unsigned i = 0; i < s->segs_n; i++) {
		const struct segment *seg = s->segs[i];

		for (uint32_t row = 0; row < seg->rows; row++, slot++) {
			struct coded_item c = {.r = {.id = seg->ids[row], .bm25 = bm[slot]}};
			int64_t at;

			if (segment_row_dead(seg, row))
				continue;
			at = vector_scope_row_near(rq->vectors, c.r.id, &hint);
			c.r.cosine = at < 0 ? NAN : (double)est[at];
			c.known = at < 0;
			if (sum_up(rq, out, &c.r))
				offer(best, &c);
		}
	}
}

enum err rank_items_coded(const struct scope *s, struct arena *a, const struct rank_items_request *rq, struct coded_items *out)
{
	size_t slots = scope_row_slots(s), cap = rq->want < slots ? rq->want : slots;
	struct best best = {.v = ARENA_ARRAY(a, struct coded_item, cap + 1), .cap = cap};
	struct vector_code_question q;
	double *bm;
	float *est;

	*out = (struct coded_items){.n = 0};
	if (!best.v)
		return E_NOMEM;
	TRY(vector_code_question(a, rq->question, rq->vectors->centre, &q));
	out->error = vector_code_error(rq->question->dims) * q.distance * rq->vectors->spread;
	bm = calloc(slots + 1, sizeof *bm);
	est = malloc(((size_t)rq->vectors->rows + 1) * sizeof *est);
	if (!bm || !est) {
		free(bm);
		free(est);
		return err_set(E_LIMIT, "out of memory while ranking items");
	}
	scope_score(s, rq->q, rq->q_n, rq->figures, bm, NULL);
	for (size_t i = 0; i < slots; i++)
		out->best = fmax(out->best, bm[i]);
	vector_scope_estimate(rq->vectors, &q, est);
	find_edges(rq->vectors, est, out);
	if (cap)
		take_rows(s, rq, bm, est, out, &best);
	free(bm);
	free(est);
	if (best.n)
		qsort(best.v, best.n, sizeof *best.v, cmp);
	out->v = best.v;
	out->n = best.n;
	out->complete = !best.full;
	return OK;
}

/* ---------------------------------------------------------------- with cosines that are known */

size_t rank_items_settle(const struct rank_items_request *rq, struct coded_items *c, size_t want, size_t *at, size_t max)
{
	double last = -INFINITY, reach = MARGIN * c->error * rq->v / (c->highest - c->lowest + 1e-9);
	size_t known = 0, n = 0;

	for (size_t i = 0; i < c->n; i++)
		(void)sum_up(rq, c, &c->v[i].r);
	if (c->n)
		qsort(c->v, c->n, sizeof *c->v, cmp);
	for (size_t i = 0; i < c->n && known < want; i++)
		if (c->v[i].known) {
			known++;
			last = c->v[i].r.sum;
		}
	if (known < want)
		last = -INFINITY;
	for (size_t i = 0; i < c->n && n < max && c->v[i].r.sum + reach >= last; i++)
		if (!c->v[i].known)
			at[n++] = i;
	return n;
}
