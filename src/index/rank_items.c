/* See index/rank_items.h. The array over all rows comes from the heap, the rest from the arena. */
#include "index/rank_items.h"

#include <math.h>
#include <stdlib.h>

#include "index/scores.h"
#include "index/top.h"

#define PER_ARM 100

struct pool {
	const struct scope *s;
	const struct rank_items_request *rq;
	struct rank_items_result *out;
	struct arena *a;
	double *bm;	/* over row slots */
	uint8_t *taken; /* the same */
	struct ranked_item *r;
	size_t n, cap;
	double rest_v;	/* no vector outside of the pool has more */
	double rest_bm; /* no document outside of it has more */
	bool complete;	/* every item with a vector is in it */
};

bool rank_items_ready(const struct scope *s, const struct vector_scope *vectors)
{
	return vectors && vectors->rows > 0 && (uint64_t)vectors->rows * 2 >= s->docs;
}

double rank_items_v(double cosine, double lowest, double highest)
{
	double v = (fmax(0, cosine) - lowest) / (highest - lowest + 1e-9);

	return v < 0 ? 0 : v > 1 ? 1 : v;
}

static double v_of(const struct rank_items_result *res, double cosine)
{
	return rank_items_v(cosine, res->lowest, res->highest);
}

static double lex_of(const struct rank_items_result *res, double bm25)
{
	return res->best > 0 ? bm25 / res->best : 0;
}

static int cmp_id(const void *a, const void *b)
{
	const struct ranked_item *x = a, *y = b;

	return (x->id > y->id) - (x->id < y->id);
}

static int cmp_sum(const void *a, const void *b)
{
	const struct ranked_item *x = a, *y = b;

	if (x->sum != y->sum)
		return x->sum > y->sum ? -1 : 1;
	return cmp_id(a, b);
}

/* ---------------------------------------------------------------- candidates */

static enum err room(struct pool *p, size_t more)
{
	struct ranked_item *r;

	if (p->n + more <= p->cap)
		return OK;
	r = arena_grow(p->a, p->r, p->cap * sizeof *r, (p->n + more) * 2 * sizeof *r);
	if (!r)
		return E_NOMEM;
	p->r = r;
	p->cap = (p->n + more) * 2;
	return OK;
}

/* Adds an item with its features, unless it is there, or the question says nothing about it. cosine: NULL when it is not known. */
static enum err add(struct pool *p, int64_t id, uint32_t slot, const double *cosine)
{
	const struct rank_items_request *rq = p->rq;
	struct ranked_item *r;

	if (p->taken[slot])
		return OK;
	p->taken[slot] = 1;
	TRY(room(p, 1));
	r = &p->r[p->n];
	*r = (struct ranked_item){.id = id, .bm25 = p->bm[slot], .lex = lex_of(p->out, p->bm[slot])};
	if (cosine)
		r->cosine = *cosine;
	else
		TRY(vector_scope_cosines(rq->vectors, rq->question, &id, 1, &r->cosine));
	if (isnan(r->cosine) && (rq->by_vectors || r->lex <= 0))
		return OK;
	r->v = isnan(r->cosine) ? r->lex : v_of(p->out, r->cosine);
	r->sum = (rq->by_vectors ? 0 : rq->lex * r->lex) + rq->v * r->v;
	p->n++;
	return OK;
}

/* The best of each arm; what has just gone is left out. */
static enum err take_arms(struct pool *p, size_t per_arm)
{
	struct vector_found found;
	struct scored *lex;
	size_t lex_n, total;
	uint32_t slot;

	TRY(scope_best(p->s, p->bm, per_arm, 0, p->a, &lex, &lex_n, &total));
	TRY(vector_scope_search(p->rq->vectors, p->a, p->rq->question, NULL, per_arm, &found));
	p->out->best = lex_n ? lex[0].score : 0;
	p->out->highest = fmax(0, found.highest);
	p->out->lowest = fmax(0, found.lowest);
	TRY(room(p, lex_n + found.n));
	for (size_t i = 0; i < found.n; i++)
		if (scope_slot(p->s, found.hits[i].id, &slot))
			TRY(add(p, found.hits[i].id, slot, &found.hits[i].score));
	for (size_t i = 0; i < lex_n; i++)
		if (scope_slot(p->s, lex[i].id, &slot))
			TRY(add(p, lex[i].id, slot, NULL));
	p->rest_bm = lex_n < per_arm ? 0 : lex[lex_n - 1].score;
	p->complete = found.n < per_arm;
	p->rest_v = p->complete ? 0 : v_of(p->out, found.hits[found.n - 1].score);
	return OK;
}

/* Every item. */
static enum err take_all(struct pool *p)
{
	size_t slot = 0;

	for (unsigned i = 0; i < p->s->segs_n; i++)
		for (uint32_t row = 0; row < p->s->segs[i]->rows; row++, slot++)
			if (!segment_row_dead(p->s->segs[i], row))
				TRY(add(p, p->s->segs[i]->ids[row], (uint32_t)slot, NULL));
	return OK;
}

/* Every item whose lex is above 0 and at least that. */
static enum err take_rows(struct pool *p, double least)
{
	/* A little less than the BM25 of that lex: what is not above it need not be divided. */
	double above = least > 0 ? least * p->out->best * (1 - 1e-9) : 0;
	size_t base = 0;

	if (above >= p->rest_bm)
		return OK;
	for (unsigned i = 0; i < p->s->segs_n; base += p->s->segs[i++]->rows) {
		const struct segment *seg = p->s->segs[i];

		for (uint32_t at = 0, n; at < seg->rows; at += n) {
			n = seg->rows - at < SCORES_BLOCK ? seg->rows - at : SCORES_BLOCK;
			if (scores_above(p->bm + base + at, n, above) == 0)
				continue;
			for (uint32_t row = at; row < at + n; row++)
				if (p->bm[base + row] > above && lex_of(p->out, p->bm[base + row]) >= least)
					TRY(add(p, seg->ids[row], (uint32_t)(base + row), NULL));
		}
	}
	return OK;
}

/* The sum that the want-th of the pool has; -INFINITY when there are fewer. want > 0. */
static enum err nth_sum(struct pool *p, size_t want, double *sum)
{
	double *top;
	size_t n = 0;

	*sum = -INFINITY;
	if (p->n < want)
		return OK;
	top = ARENA_ARRAY(p->a, double, want);
	if (!top)
		return E_NOMEM;
	for (size_t i = 0; i < p->n; i++)
		top_put(top, &n, want, p->r[i].sum);
	*sum = top[0];
	return OK;
}

/* Brings the best to the front, in order: `want` of them and what is equal to the last one. Returns how many these are. */
static enum err best_first(struct pool *p, size_t want, size_t *n)
{
	double least;
	size_t front = 0;

	TRY(nth_sum(p, want, &least));
	for (size_t i = 0; i < p->n; i++)
		if (p->r[i].sum >= least) {
			struct ranked_item t = p->r[front];

			p->r[front++] = p->r[i];
			p->r[i] = t;
		}
	if (front)
		qsort(p->r, front, sizeof *p->r, cmp_sum);
	*n = front;
	return OK;
}

/* What is not in the arms has at most rest_v (or, without a vector, its lex): with the sum of the last one wanted this says how
 * much lex an item must have to come before it. */
static enum err find_best(struct pool *p, size_t *n)
{
	const struct rank_items_request *rq = p->rq;
	size_t per_arm = rq->want * 2 > PER_ARM ? rq->want * 2 : PER_ARM;
	bool all = per_arm > VECTOR_WANT_MAX;
	double last = 0, least = 0;

	TRY(take_arms(p, all ? 1 : per_arm));
	if (!all && p->n >= rq->want)
		TRY(nth_sum(p, rq->want, &last));
	if (rq->lex > 0)
		least = fmin((last - rq->v * p->rest_v) / rq->lex, last / (rq->lex + rq->v));
	/* A little less: the same sum, reached by another way of rounding, must not be missed. */
	TRY(all ? take_all(p) : take_rows(p, least - 1e-9));
	p->complete = all || (p->complete && least <= 0);
	return best_first(p, rq->want, n);
}

enum err rank_items(const struct scope *s, struct arena *a, const struct rank_items_request *rq, struct rank_items_result *out)
{
	struct pool p = {.s = s, .rq = rq, .out = out, .a = a};
	size_t best = 0, n;
	enum err e;

	*out = (struct rank_items_result){0};
	p.bm = calloc(scope_row_slots(s) + 1, sizeof *p.bm);
	p.taken = calloc(scope_row_slots(s) + 1, 1);
	if (!p.bm || !p.taken) {
		free(p.bm);
		free(p.taken);
		return err_set(E_LIMIT, "out of memory while ranking items");
	}
	scope_score(s, rq->q, rq->q_n, rq->figures, p.bm, NULL);
	e = rq->want ? find_best(&p, &best) : OK;
	free(p.bm);
	free(p.taken);
	if (e != OK)
		return e;
	n = best < rq->want + rq->extra ? best : rq->want + rq->extra;
	out->r = p.r;
	out->n = n;
	out->complete = p.complete && n == p.n;
	return OK;
}
