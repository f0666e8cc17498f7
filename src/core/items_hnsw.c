/* See core/items_hnsw.h.
 *
 * Invariants
 *  1. Cosines are those of the stored vectors, by the arithmetic of a cached scope; the index only says which to look at.
 *  2. Each item is in `v` once. Those of the index come first, in order of their ids.
 *  3. No lock is held across a call of the store. */
#include "core/items_hnsw.h"

#include <math.h>
#include <stdlib.h>

struct hnsw_list {
	struct items_hnsw *x;
	size_t most; /* length of either list */
	struct arena a;
	struct ranked_item *v;
	size_t n, near; /* the first `near` are the index's */
	size_t nearest; /* rows that it gave */
	double last;	/* cosine of the farthest among the nearest */
	/* words */
	bool has_words, by_words; /* the scope is in memory; the question has words */
	double worst;		  /* BM25 of the last in the list, 0: the list is whole */
	uint8_t *planes;
};

/* ----------------------------------------------------------------- vectors */

/* NaN: there is none of its present text, or it is damaged. */
static double cosine_of(const struct hnsw_list *l, struct str blob)
{
	const struct vector_question *q = l->x->q->question;
	struct vector v;

	return vector_load(blob, q->dims, l->planes, &v) ? vector_cosine(q, v.high, v.low, v.scale) : NAN;
}

static int by_id(const void *x, const void *y)
{
	const struct ranked_item *a = x, *b = y;

	return (a->id > b->id) - (a->id < b->id);
}

static enum err ask(struct hnsw_list *l, const struct hnsw_question *q, struct hnsw_row **rows, size_t *n)
{
	struct store *s = l->x->words->store;

	return s->ops->hnsw->find(s, &l->a, l->x->who, q, &l->x->ready, rows, n);
}

/* The nearest into the list, and the range of cosines. */
static enum err find_near(struct hnsw_list *l)
{
	struct items_hnsw *x = l->x;
	struct hnsw_question q = {.prefix = x->scope->prefix,
				  .model = x->scope->model,
				  .v = x->q->question,
				  .nearest = l->most,
				  .farthest = ITEMS_HNSW_EDGE};
	struct hnsw_row *rows;
	double highest = 0, lowest = INFINITY;
	size_t n;

	TRY(ask(l, &q, &rows, &n));
	if (!x->ready)
		return OK;
	l->v = ARENA_ARRAY(&l->a, struct ranked_item, 2 * l->most + 1);
	if (!l->v)
		return E_NOMEM;
	l->last = INFINITY;
	for (size_t i = 0; i < n; i++) {
		double cosine = cosine_of(l, rows[i].data);

		l->nearest += rows[i].why == HNSW_NEAREST;
		if (isnan(cosine))
			continue;
		highest = fmax(highest, cosine);
		lowest = fmin(lowest, cosine);
		if (rows[i].why != HNSW_NEAREST || l->n == l->most)
			continue;
		l->last = fmin(l->last, cosine);
		l->v[l->n++] = (struct ranked_item){.id = rows[i].id, .cosine = cosine};
	}
	qsort(l->v, l->n, sizeof *l->v, by_id);
	l->near = l->n;
	x->r.highest = highest;
	x->r.lowest = fmin(highest, fmax(0, lowest));
	return OK;
}

/* The vectors of those that only the words have found. */
static enum err find_rest(struct hnsw_list *l)
{
	size_t n = l->n - l->near, got;
	int64_t *ids = ARENA_ARRAY(&l->a, int64_t, n + 1);
	struct hnsw_question q = {
		.prefix = l->x->scope->prefix, .model = l->x->scope->model, .v = l->x->q->question, .ids = ids, .ids_n = n};
	struct hnsw_row *rows;
	struct ranked_item *rest = l->v + l->near, *at;

	if (n == 0)
		return OK;
	if (!ids)
		return E_NOMEM;
	qsort(rest, n, sizeof *rest, by_id);
	for (size_t i = 0; i < n; i++)
		ids[i] = rest[i].id;
	TRY(ask(l, &q, &rows, &got));
	for (size_t i = 0; i < got && l->x->ready; i++) {
		at = bsearch(&(struct ranked_item){.id = rows[i].id}, rest, n, sizeof *rest, by_id);
		if (at)
			at->cosine = cosine_of(l, rows[i].data);
	}
	return OK;
}

/* ------------------------------------------------------------------- words */

/* Under the scope's lock: the best by words, and the BM25 of the nearest. */
static enum err on_words(void *ctx, const struct scope *s, const struct vector_scope *none)
{
	struct hnsw_list *l = ctx;
	struct items_hnsw *x = l->x;
	uint32_t langs = scope_langs(s), slot;
	struct query_term *terms;
	struct scored *best;
	struct bm25 figures;
	size_t n, best_n, total;
	double *score;
	enum err e;

	(void)none;
	l->has_words = true;
	x->docs = s->docs;
	TRY(question_terms(&l->a, langs ? langs : x->words->langs, x->q->query, &terms, &n));
	if (n == 0)
		return OK;
	l->by_words = x->q->mode != RANK_BY_VECTORS;
	score = calloc(scope_row_slots(s) + 1, sizeof *score);
	if (!score)
		return err_set(E_LIMIT, "out of memory while searching");
	scope_query_prepare(s, terms, n, &figures);
	scope_score(s, terms, n, &figures, score, NULL);
	CHECK(scope_best(s, score, l->by_words ? l->most : 1, 0, &l->a, &best, &best_n, &total));
	for (size_t i = 0; i < l->near; i++)
		if (scope_slot(s, l->v[i].id, &slot))
			l->v[i].bm25 = score[slot];
	for (size_t i = 0; i < best_n && i < l->most && l->by_words; i++)
		if (!bsearch(&(struct ranked_item){.id = best[i].id}, l->v, l->near, sizeof *l->v, by_id))
			l->v[l->n++] = (struct ranked_item){.id = best[i].id, .bm25 = best[i].score, .cosine = NAN};
	x->r.best = best_n ? best[0].score : 0;
	l->worst = l->by_words && total > best_n ? best[best_n - 1].score : 0;
out:
	free(score);
	return e;
}

static enum err find_words(struct hnsw_list *l)
{
	struct items_hnsw *x = l->x;
	struct doc_scope without = *x->scope;
	bool skipped;

	if (x->q->mode == RANK_BY_VECTORS && !x->q->explain)
		return OK;
	without.model = STR(""); /* so it may fit */
	return words_with_scope(x->words, x->arena, x->who, &without, on_words, l, &skipped);
}

/* ------------------------------------------------------------------ ranking */

static int by_sum(const void *x, const void *y)
{
	const struct ranked_item *a = x, *b = y;

	if (a->sum != b->sum)
		return a->sum > b->sum ? -1 : 1;
	return by_id(a, b);
}

static double v_of(const struct rank_items_result *r, double cosine)
{
	return rank_items_v(cosine, r->lowest, r->highest);
}

/* The question asks for words, and there are none to be had. */
static bool is_wordless(const struct hnsw_list *l)
{
	return !l->has_words && l->x->q->mode != RANK_BY_VECTORS;
}

/* Weights of words and vectors. */
static double lex_weight(const struct hnsw_list *l)
{
	return l->by_words ? l->x->lex : 0;
}

static double v_weight(const struct hnsw_list *l)
{
	return is_wordless(l) ? 1 : l->x->v;
}

static void rank(struct hnsw_list *l)
{
	struct items_hnsw *x = l->x;
	bool alone = x->q->mode == RANK_BY_VECTORS;
	double lex = lex_weight(l), v = v_weight(l);
	size_t n = 0;

	for (size_t i = 0; i < l->n; i++) {
		struct ranked_item *r = &l->v[i];

		r->lex = x->r.best > 0 ? r->bm25 / x->r.best : 0;
		if (isnan(r->cosine) && (alone || r->lex <= 0))
			continue;
		r->v = isnan(r->cosine) ? r->lex : v_of(&x->r, r->cosine);
		r->sum = lex * r->lex + v * r->v;
		l->v[n++] = *r;
	}
	l->n = n;
	qsort(l->v, l->n, sizeof *l->v, by_sum);
}

/* The index gave fewer than asked for although there are more: a namespace that it lets too few of through. */
static bool falls_short(const struct hnsw_list *l)
{
	uint64_t docs = l->has_words ? l->x->docs : l->x->least;

	return l->nearest < l->most && l->nearest * 2 < docs;
}

/* Could there be an item in neither list with a sum above that of the last one wanted? */
static bool is_settled(const struct hnsw_list *l)
{
	const struct items_hnsw *x = l->x;
	bool whole = l->nearest < l->most;
	double lex = l->by_words && x->r.best > 0 ? l->worst / x->r.best : 0;
	double v = fmax(whole ? 0 : v_of(&x->r, l->last), lex); /* without a vector v is lex */

	if (whole && lex <= 0)
		return true;
	return l->n >= x->q->want && l->v[x->q->want - 1].sum >= lex_weight(l) * lex + v_weight(l) * v;
}

static enum err take(struct hnsw_list *l)
{
	struct rank_items_result *r = &l->x->r;

	r->r = ARENA_ARRAY(l->x->arena, struct ranked_item, l->n + 1);
	if (!r->r)
		return E_NOMEM;
	memcpy(r->r, l->v, l->n * sizeof *l->v);
	r->n = l->n;
	r->complete = l->nearest < l->most && l->worst <= 0;
	l->x->wordless = is_wordless(l);
	return OK;
}

/* *settled: they are long enough, or of no use. */
static enum err lists(struct hnsw_list *l, bool *settled)
{
	struct items_hnsw *x = l->x;

	*settled = true;
	l->n = l->near = l->nearest = 0;
	l->has_words = l->by_words = false;
	l->worst = 0;
	x->r = (struct rank_items_result){.n = 0};
	TRY(find_near(l));
	if (!x->ready)
		return OK;
	TRY(find_words(l));
	TRY(find_rest(l));
	x->ready = x->ready && !falls_short(l);
	if (!x->ready)
		return OK;
	rank(l);
	*settled = is_settled(l) || l->most >= ITEMS_HNSW_LAST;
	return *settled ? take(l) : OK;
}

enum err items_hnsw(struct items_hnsw *x)
{
	struct hnsw_list l = {.x = x, .most = ITEMS_HNSW_FIRST};
	bool settled = false;
	enum err e = OK;

	x->ready = false;
	if (x->q->want > ITEMS_HNSW_LAST) /* a filter that passes few: they are looked for by reading */
		return OK;
	while (l.most < x->q->want)
		l.most *= 2;
	l.planes = vector_planes(x->q->question->dims);
	if (!l.planes)
		return err_set(E_LIMIT, "out of memory while searching");
	arena_init(&l.a, 2 * HNSW_ROWS_MAX * (vector_blob_bytes(VECTOR_DIMS_MAX) + 256));
	while (e == OK && !settled) {
		arena_clear(&l.a);
		e = lists(&l, &settled);
		l.most *= 4;
		l.most = l.most < ITEMS_HNSW_LAST ? l.most : ITEMS_HNSW_LAST;
	}
	arena_release(&l.a);
	free(l.planes);
	return e;
}
