/* See index/rank_items.h. The array over all rows comes from the heap, the rest from the arena. */
#include "index/rank_items.h"

#include <math.h>
#include <stdlib.h>

#define PER_ARM 200

struct pool {
	const struct scope *s;
	const struct rank_items_request *rq;
	struct rank_items_result *out;
	struct arena *a;
	double *bm; /* over row slots */
	struct ranked_item *r;
	size_t n;
	double bound; /* no item outside has a greater sum */
	bool complete;
};

bool rank_items_ready(const struct scope *s, const struct vector_scope *vectors)
{
	return vectors && vectors->rows > 0 && (uint64_t)vectors->rows * 2 >= s->docs;
}

static double v_of(const struct rank_items_result *res, double cosine)
{
	double v = (fmax(0, cosine) - res->lowest) / (res->highest - res->lowest + 1e-9);

	return v < 0 ? 0 : v > 1 ? 1 : v;
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

/* The best of each arm, an item of both once; *bound of what is in neither. */
static enum err take_arms(struct pool *p, size_t per_arm)
{
	const struct rank_items_request *rq = p->rq;
	struct vector_found found;
	struct scored *lex;
	size_t lex_n, total, n = 0;
	double rest_lex, rest_v;

	TRY(scope_best(p->s, p->bm, per_arm, 0, p->a, &lex, &lex_n, &total));
	TRY(vector_scope_search(rq->vectors, p->a, rq->question, NULL, per_arm, &found));
	p->out->best = lex_n ? lex[0].score : 0;
	p->out->highest = fmax(0, found.highest);
	p->out->lowest = fmax(0, found.lowest);
	p->r = ARENA_ARRAY(p->a, struct ranked_item, lex_n + found.n + 1);
	if (!p->r)
		return E_NOMEM;
	for (size_t i = 0; i < lex_n; i++)
		p->r[n++].id = lex[i].id;
	for (size_t i = 0; i < found.n; i++)
		p->r[n++].id = found.hits[i].id;
	p->n = n;
	rest_lex = lex_n < per_arm ? 0 : lex_of(p->out, lex[lex_n - 1].score);
	rest_v = found.n < per_arm ? 0 : v_of(p->out, found.hits[found.n - 1].score);
	/* What has no vector has v = lex. */
	p->bound = rq->lex * rest_lex + rq->v * fmax(rest_v, rest_lex);
	p->complete = lex_n < per_arm && found.n < per_arm;
	return OK;
}

/* Every item, for questions that want so many. */
static enum err take_all(struct pool *p)
{
	struct vector_found found;
	double best = 0;
	size_t slot = 0;

	TRY(vector_scope_search(p->rq->vectors, p->a, p->rq->question, NULL, 1, &found));
	p->r = ARENA_ARRAY(p->a, struct ranked_item, p->s->docs + 1);
	if (!p->r)
		return E_NOMEM;
	p->n = 0;
	for (unsigned i = 0; i < p->s->segs_n; i++)
		for (uint32_t row = 0; row < p->s->segs[i]->rows; row++, slot++)
			if (!segment_row_dead(p->s->segs[i], row)) {
				best = fmax(best, p->bm[slot]);
				p->r[p->n++].id = p->s->segs[i]->ids[row];
			}
	p->out->best = best;
	p->out->highest = fmax(0, found.highest);
	p->out->lowest = fmax(0, found.lowest);
	p->bound = 0;
	p->complete = true;
	return OK;
}

/* ------------------------------------------------------------------ features */

/* Fills in the features; leaves out repetitions, what has just gone, and what the question says nothing about. */
static enum err measure(struct pool *p)
{
	const struct rank_items_request *rq = p->rq;
	size_t n = 0;

	if (p->n)
		qsort(p->r, p->n, sizeof *p->r, cmp_id);
	for (size_t i = 0; i < p->n; i++) {
		struct ranked_item *r = &p->r[n];
		uint32_t slot;

		if (n > 0 && p->r[i].id == p->r[n - 1].id)
			continue;
		*r = (struct ranked_item){.id = p->r[i].id};
		if (!scope_slot(p->s, r->id, &slot))
			continue;
		TRY(vector_scope_cosines(rq->vectors, rq->question, &r->id, 1, &r->cosine));
		r->bm25 = p->bm[slot];
		r->lex = lex_of(p->out, r->bm25);
		if (isnan(r->cosine) && (rq->by_vectors || r->lex <= 0))
			continue;
		r->v = isnan(r->cosine) ? r->lex : v_of(p->out, r->cosine);
		r->sum = (rq->by_vectors ? 0 : rq->lex * r->lex) + rq->v * r->v;
		n++;
	}
	p->n = n;
	if (n)
		qsort(p->r, n, sizeof *p->r, cmp_sum);
	return OK;
}

static bool decided(const struct pool *p)
{
	return p->complete || (p->n >= p->rq->want && p->r[p->rq->want - 1].sum > p->bound);
}

static enum err find_best(struct pool *p)
{
	size_t slots = scope_row_slots(p->s), per_arm = p->rq->want * 4 > PER_ARM ? p->rq->want * 4 : PER_ARM;

	for (;; per_arm *= 4) {
		bool all = per_arm >= slots || per_arm > VECTOR_WANT_MAX;

		TRY(all ? take_all(p) : take_arms(p, per_arm));
		TRY(measure(p));
		if (decided(p))
			return OK;
	}
}

enum err rank_items(const struct scope *s, struct arena *a, const struct rank_items_request *rq, struct rank_items_result *out)
{
	struct pool p = {.s = s, .rq = rq, .out = out, .a = a};
	size_t n;
	enum err e;

	*out = (struct rank_items_result){0};
	p.bm = calloc(scope_row_slots(s) + 1, sizeof *p.bm);
	if (!p.bm)
		return err_set(E_LIMIT, "out of memory while ranking items");
	scope_score(s, rq->q, rq->q_n, rq->figures, p.bm, NULL);
	e = rq->want ? find_best(&p) : OK;
	free(p.bm);
	if (e != OK)
		return e;
	for (n = p.n < rq->want ? p.n : rq->want; n > 0 && n < p.n && n < rq->want + rq->extra; n++)
		if (p.r[n].sum < p.r[n - 1].sum)
			break;
	out->r = p.r;
	out->n = n;
	out->complete = p.complete && n == p.n;
	return OK;
}
