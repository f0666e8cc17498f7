/* The candidates of a ranking of messages (design "ranking", section 6): all of a small scope, of a large one the union of the best
 * by words, by date and by vector. */
#include <stdlib.h>

#include "index/rank_impl.h"

struct arm {
	double *v;
	uint32_t *i;
	size_t n, cap;
};

static bool arm_worse(const struct arm *h, size_t x, size_t y)
{
	return h->v[x] != h->v[y] ? h->v[x] < h->v[y] : h->i[x] > h->i[y];
}

static void arm_swap(struct arm *h, size_t x, size_t y)
{
	double v = h->v[x];
	uint32_t i = h->i[x];

	h->v[x] = h->v[y];
	h->i[x] = h->i[y];
	h->v[y] = v;
	h->i[y] = i;
}

/* Keeps the best: a heap with the worst on top; of equals the earlier message is better. */
static void arm_offer(struct arm *h, double v, uint32_t i)
{
	size_t at;

	if (h->n < h->cap) {
		at = h->n++;
		h->v[at] = v;
		h->i[at] = i;
		for (; at > 0 && arm_worse(h, at, (at - 1) / 2); at = (at - 1) / 2)
			arm_swap(h, at, (at - 1) / 2);
		return;
	}
	if (v < h->v[0] || (v == h->v[0] && i > h->i[0]))
		return;
	h->v[0] = v;
	h->i[0] = i;
	for (at = 0;;) {
		size_t c = 2 * at + 1;

		if (c + 1 < h->n && arm_worse(h, c + 1, c))
			c++;
		if (c >= h->n || !arm_worse(h, c, at))
			return;
		arm_swap(h, at, c);
		at = c;
	}
}

/* Index of the arms: by words, by date. What vectors bring comes from their own search. */
enum { BY_LEX, BY_DATE, ARMS };

static enum err arms_init(struct arm *arms, size_t cap)
{
	for (int x = 0; x < ARMS; x++) {
		arms[x].cap = cap;
		arms[x].v = malloc(cap * sizeof *arms[x].v);
		arms[x].i = malloc(cap * sizeof *arms[x].i);
		if (!arms[x].v || !arms[x].i)
			return rank_no_memory();
	}
	return OK;
}

static void fill_arms(const struct ranker *k, struct arm *arms)
{
	for (uint32_t i = 0; i < k->o->n; i++) {
		double date;

		if (!k->admitted[i])
			continue;
		if (k->lex[i] > 0)
			arm_offer(&arms[BY_LEX], k->lex[i], i);
		date = k->out->spans_n ? rank_date(k, i) : 0;
		if (date > 0.5)
			arm_offer(&arms[BY_DATE], date, i);
	}
}

static void take(struct ranker *k, uint8_t *seen, uint32_t i)
{
	if (!seen[i]++)
		k->picked[k->picked_n++] = i;
}

static enum err pick_from_arms(struct ranker *k)
{
	size_t per_arm = k->rq->want * 4 > RANK_PER_ARM ? k->rq->want * 4 : RANK_PER_ARM, nearest_n = 0;
	uint8_t *seen = calloc((size_t)k->o->n + 1, 1);
	struct arm arms[ARMS] = {0};
	uint32_t *nearest = NULL;
	enum err e = OK;

	if (!seen) {
		e = rank_no_memory();
		goto out;
	}
	CHECK(arms_init(arms, per_arm));
	if (k->cosine)
		CHECK(rank_nearest(k, per_arm, &nearest, &nearest_n));
	if (k->out->mode != RANK_BY_VECTORS)
		fill_arms(k, arms);
	for (int x = 0; x < ARMS; x++)
		for (size_t j = 0; j < arms[x].n; j++)
			take(k, seen, arms[x].i[j]);
	for (size_t j = 0; j < nearest_n; j++)
		take(k, seen, nearest[j]);
	/* Not enough to answer with: fill up with the latest of the rest. */
	for (uint32_t i = k->o->n; i-- > 0 && k->picked_n < k->rq->want && k->out->mode != RANK_BY_VECTORS;)
		if (k->admitted[i])
			take(k, seen, i);
out:
	for (int x = 0; x < ARMS; x++) {
		free(arms[x].v);
		free(arms[x].i);
	}
	free(seen);
	return e;
}

enum err rank_pick(struct ranker *k)
{
	bool by_vectors = k->out->mode == RANK_BY_VECTORS;

	k->picked = malloc(((size_t)k->o->n + 1) * sizeof *k->picked);
	if (!k->picked)
		return rank_no_memory();
	if (by_vectors && !k->cosine)
		return OK; /* nothing has a vector yet */
	if (k->out->admitted >= RANK_WHOLE_BELOW && !k->out->newest_first)
		return pick_from_arms(k);
	for (uint32_t i = 0; i < k->o->n; i++)
		if (k->admitted[i] && (!by_vectors || vector_scope_row(k->rq->vectors, k->o->m[i].id) >= 0))
			k->picked[k->picked_n++] = i;
	return OK;
}
