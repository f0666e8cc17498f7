/* The part of vectors in the ranking of messages: which are nearest, v and the next message's v, and leaving out what says the same
 * again. See index/rank_impl.h. */
#include <math.h>
#include <stdlib.h>

#include "index/rank_impl.h"
#include "index/vector_near.h"

/* ------------------------------------------------------------ do they count? */

/* Messages of the admitted ones that have a vector. */
static size_t count_vectors(const struct ranker *k)
{
	size_t n = 0;

	for (uint32_t i = 0; i < k->o->n; i++)
		n += k->admitted[i] && vector_scope_row(k->rq->vectors, k->o->m[i].id) >= 0;
	return n;
}

enum err rank_vectors_begin(struct ranker *k)
{
	const struct rank_request *rq = k->rq;
	size_t have;

	k->out->mode = RANK_BY_WORDS;
	if (rq->mode == RANK_BY_VECTORS)
		k->out->mode = RANK_BY_VECTORS;
	if (rq->mode == RANK_BY_WORDS || !rq->vectors || !rq->question || rq->vectors->rows == 0)
		return OK;
	if (rq->question->dims != rq->vectors->dims)
		return err_set(E_INVALID, "a question of %u dimensions for vectors of %u", rq->question->dims, rq->vectors->dims);
	have = count_vectors(k);
	if (have == 0 || (rq->mode == RANK_AUTO && have * 2 < k->out->admitted))
		return OK;
	k->out->mode = rq->mode;
	k->cosine = malloc(((size_t)k->o->n + 1) * sizeof *k->cosine);
	if (!k->cosine)
		return rank_no_memory();
	for (uint32_t i = 0; i < k->o->n; i++)
		k->cosine[i] = NAN;
	return OK;
}

/* ------------------------------------------------------------------ nearest */

/* A bit for each vector whose message is admitted. */
static enum err mark_admitted(const struct ranker *k, uint64_t **rows)
{
	const struct vector_scope *vs = k->rq->vectors;

	*rows = calloc(((size_t)vs->rows + 63) / 64, sizeof **rows);
	if (!*rows)
		return rank_no_memory();
	for (uint32_t i = 0; i < k->o->n; i++) {
		int64_t row = k->admitted[i] ? vector_scope_row(vs, k->o->m[i].id) : -1;

		if (row >= 0)
			(*rows)[row / 64] |= (uint64_t)1 << row % 64;
	}
	return OK;
}

static int cmp_id(const void *a, const void *b)
{
	const struct scored *x = a, *y = b;

	return (x->id > y->id) - (x->id < y->id);
}

enum err rank_nearest(struct ranker *k, size_t want, uint32_t **out, size_t *n)
{
	struct vector_filter filter = {0};
	struct vector_found found;
	uint64_t *rows;
	enum err e;

	*out = NULL;
	*n = 0;
	TRY(mark_admitted(k, &rows));
	filter.rows = rows;
	want = want < VECTOR_WANT_MAX ? want : VECTOR_WANT_MAX;
	e = vector_scope_search(k->rq->vectors, k->a, k->rq->question, &filter, want, &found);
	free(rows);
	if (e != OK || found.n == 0)
		return e;
	*out = ARENA_ARRAY(k->a, uint32_t, found.n);
	if (!*out)
		return E_NOMEM;
	qsort(found.hits, found.n, sizeof *found.hits, cmp_id);
	for (uint32_t i = 0; i < k->o->n; i++) {
		struct scored key = {0, k->o->m[i].id};

		if (k->admitted[i] && bsearch(&key, found.hits, found.n, sizeof key, cmp_id))
			(*out)[(*n)++] = i;
	}
	return OK;
}

/* ----------------------------------------------------------------------- v */

static bool followed(const struct ranker *k, uint32_t i)
{
	return i + 1 < k->o->n && k->o->m[i + 1].facts->thread == k->o->m[i].facts->thread;
}

static enum err measure(struct ranker *k, uint32_t i)
{
	if (!isnan(k->cosine[i]))
		return OK;
	return vector_scope_cosines(k->rq->vectors, k->rq->question, &k->o->m[i].id, 1, &k->cosine[i]);
}

enum err rank_vectors_measure(struct ranker *k)
{
	double sum = 0;
	size_t have = 0;

	if (!k->cosine)
		return OK;
	k->lowest = INFINITY;
	k->highest = 0;
	for (size_t p = 0; p < k->picked_n; p++) {
		uint32_t i = k->picked[p];
		double c;

		TRY(measure(k, i));
		if (followed(k, i))
			TRY(measure(k, i + 1));
		c = fmax(0, k->cosine[i]); /* 0 for NaN */
		if (isnan(k->cosine[i]))
			continue;
		k->lowest = fmin(k->lowest, c);
		k->highest = fmax(k->highest, c);
	}
	for (size_t p = 0; p < k->picked_n; p++)
		if (!isnan(k->cosine[k->picked[p]])) {
			sum += rank_v(k, k->picked[p]);
			have++;
		}
	k->mean = have ? sum / (double)have : 0;
	return OK;
}

double rank_v(const struct ranker *k, uint32_t i)
{
	double v;

	if (isnan(k->cosine[i]))
		return k->mean;
	v = (fmax(0, k->cosine[i]) - k->lowest) / (k->highest - k->lowest + 1e-9);
	/* What follows a candidate may lie outside of the candidates' range. */
	return v < 0 ? 0 : v > 1 ? 1 : v;
}

double rank_vnext(const struct ranker *k, uint32_t i)
{
	return followed(k, i) ? rank_v(k, i + 1) : 0;
}

/* --------------------------------------------------------------- repetitions */

enum err rank_unrepeated(struct ranker *k, struct ranked *r, size_t n, size_t keep, size_t *taken)
{
	struct vector_near kept;
	size_t at = 0;

	keep = keep < n ? keep : n;
	*taken = keep;
	if (!k->cosine || k->rq->near <= 0)
		return OK;
	TRY(vector_near_init(&kept, k->a, k->rq->vectors->dims, k->rq->near, keep < RANK_NEAR_MAX ? keep : RANK_NEAR_MAX));
	for (size_t i = 0; i < n && at < keep; i++) {
		ptrdiff_t like = -1;
		struct vector v;
		bool has = vector_scope_get(k->rq->vectors, r[i].id, &v);

		if (has)
			TRY(vector_near_find(&kept, &v, &like));
		if (like >= 0) {
			k->out->repeated++;
			continue;
		}
		if (has)
			(void)vector_near_keep(&kept, &v);
		r[at++] = r[i];
	}
	*taken = at;
	return OK;
}
