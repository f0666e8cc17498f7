/* See core/items_search.h. */
#include "core/items_search.h"

#include <math.h>

#include "base/clock.h"
#include "core/items_coded.h"
#include "core/items_hnsw.h"
#include "core/items_scan.h"
#include "core/memory_impl.h"
#include "core/vectors.h"
#include "core/words_impl.h"
#include "index/rank_items.h"
#include "index/vector_near.h"
#include "rt/wait.h"
#include "rt/work.h"

struct job {
	struct words *w;
	struct arena *a;
	const struct items_query *q;
	struct items_found *out;
	struct items_coded coded;
	bool has_codes; /* coded is filled in and to be settled */
	bool done;
};

static enum err explain_words(struct job *j, const struct scope *s, const struct query_term *q, size_t q_n, const struct bm25 *c)
{
	uint32_t tf[QUESTION_TERMS_MAX], len;

	for (size_t i = 0; i < j->out->n; i++)
		if (j->out->v[i].bm25 > 0 && scope_term_counts(s, j->out->v[i].id, q, q_n, tf, &len))
			TRY(words_explain(j->a, q, q_n, tf, len, c, &j->out->v[i].words));
	return OK;
}

static enum err take_ranked(struct job *j, const struct rank_items_result *res)
{
	struct items_found *out = j->out;

	double most = out->weights[RF_LEX] + out->weights[RF_V];

	out->v = ARENA_ARRAY(j->a, struct item_hit, res->n + 1);
	if (!out->v)
		return E_NOMEM;
	for (size_t i = 0; i < res->n; i++) {
		const struct ranked_item *r = &res->r[i];

		out->v[i] = (struct item_hit){r->id, most > 0 ? r->sum / most : 0, r->bm25, r->cosine, r->lex, r->v, 0, STR("")};
	}
	out->n = res->n;
	out->complete = res->complete;
	out->by_meaning = true;
	out->best = res->best;
	out->lowest = res->lowest;
	out->highest = res->highest;
	return OK;
}

/* Marks those of the best hits that are near to a better one. */
struct near {
	struct vector_near kept;
	int64_t ids[RANK_NEAR_MAX]; /* of these */
};

static size_t near_most(const struct job *j)
{
	return j->out->n < RANK_NEAR_MAX ? j->out->n : RANK_NEAR_MAX;
}

/* Hits come best first. v: in padded planes. */
static enum err near_to(struct near *x, struct item_hit *h, const struct vector *v)
{
	ptrdiff_t at;

	TRY(vector_near_find(&x->kept, v, &at));
	if (at >= 0) {
		h->like = x->ids[at];
		return OK;
	}
	x->ids[x->kept.n] = h->id;
	(void)vector_near_keep(&x->kept, v);
	return OK;
}

static enum err mark_like(struct job *j, const struct vector_scope *vs)
{
	struct near x;
	struct vector v;

	TRY(vector_near_init(&x.kept, j->a, vs->dims, j->q->near, near_most(j)));
	for (size_t i = 0; i < near_most(j); i++)
		if (vector_scope_get(vs, j->out->v[i].id, &v))
			TRY(near_to(&x, &j->out->v[i], &v));
	return OK;
}

/* The same with vectors from the store. */
static enum err mark_like_stored(struct job *j, const struct principal *who, const struct doc_scope *scope)
{
	struct store *s = j->w->store;
	struct near x;
	struct doc_vector stored[RANK_NEAR_MAX];
	size_t n = near_most(j), size = vector_size(j->q->question->dims);
	uint8_t *planes = ARENA_ARRAY(j->a, uint8_t, 2 * size);
	int64_t ids[RANK_NEAR_MAX];
	struct vector v;

	if (!planes)
		return E_NOMEM;
	TRY(vector_near_init(&x.kept, j->a, j->q->question->dims, j->q->near, n));
	for (size_t i = 0; i < n; i++)
		ids[i] = j->out->v[i].id;
	TRY(s->ops->vector_get(s, j->a, who, scope->kind, scope->model, ids, n, stored));
	memset(planes, VECTOR_ZERO, 2 * size);
	for (size_t i = 0; i < n; i++) {
		/* Gone since, or made again by now: then it is not compared. */
		if (!isnan(j->out->v[i].cosine) && vector_load(stored[i].data, j->q->question->dims, planes, &v))
			TRY(near_to(&x, &j->out->v[i], &v));
	}
	return OK;
}

/* The first step of index/rank_items_coded.h. */
static enum err rank_codes(struct job *j, const struct scope *s, const struct rank_items_request *rq)
{
	j->coded.rq = *rq;
	j->coded.rq.want = rq->want + TOP_EXTRA > ITEMS_CODED_MAX ? rq->want + TOP_EXTRA : ITEMS_CODED_MAX;
	j->has_codes = true;
	return rank_items_coded(s, j->a, &j->coded.rq, &j->coded.c);
}

static enum err search_by_meaning(void *ctx, const struct scope *s, const struct vector_scope *vectors)
{
	struct job *j = ctx;
	const struct items_query *q = j->q;
	bool alone = q->mode == RANK_BY_VECTORS;
	uint32_t langs = scope_langs(s);
	struct rank_items_request rq;
	struct rank_items_result res;
	struct query_term *terms;
	struct bm25 figures;
	size_t n;

	j->out->pending = !vectors ? s->docs : s->docs > vectors->rows ? s->docs - vectors->rows : 0;
	if (!q->question || !vectors || (!alone && !rank_items_ready(s, vectors)))
		return OK;
	if (vectors->dims != q->question->dims)
		return err_set(E_INTERNAL, "a question of %u dimensions for vectors of %u", q->question->dims, vectors->dims);
	TRY(question_terms(j->a, langs ? langs : j->w->langs, q->query, &terms, &n));
	scope_query_prepare(s, terms, n, &figures);
	rq = (struct rank_items_request){
		terms, n,	&figures, vectors, q->question, j->out->weights[RF_LEX], j->out->weights[RF_V],
		alone, q->want, TOP_EXTRA};
	if (vector_scope_coded(vectors))
		return rank_codes(j, s, &rq);
	TRY(rank_items(s, j->a, &rq, &res));
	TRY(take_ranked(j, &res));
	if (q->near > 0)
		TRY(mark_like(j, vectors));
	j->done = true;
	return q->explain ? explain_words(j, s, terms, n, &figures) : OK;
}

/* Explains hits of a scope that was ranked by codes, by its figures as they are now. */
static enum err explain_later(void *ctx, const struct scope *s, const struct vector_scope *vectors)
{
	struct job *j = ctx;
	uint32_t langs = scope_langs(s);
	struct query_term *terms;
	struct bm25 figures;
	size_t n;

	(void)vectors;
	TRY(question_terms(j->a, langs ? langs : j->w->langs, j->q->query, &terms, &n));
	scope_query_prepare(s, terms, n, &figures);
	return explain_words(j, s, terms, n, &figures);
}

/* The second step: what is in memory are codes. */
static enum err search_by_codes(struct job *j, const struct principal *who, const struct doc_scope *scope)
{
	struct items_coded *x = &j->coded;
	struct rank_items_result r = {.n = 0};
	bool skipped;

	x->words = j->w;
	x->who = who;
	x->scope = scope;
	x->q = j->q;
	x->arena = j->a;
	TRY(items_coded_settle(x));
	r.r = ARENA_ARRAY(j->a, struct ranked_item, x->c.n + 1);
	if (!r.r)
		return E_NOMEM;
	for (size_t i = 0; i < x->c.n; i++)
		if (!isnan(x->c.v[i].r.cosine) || (x->c.v[i].r.lex > 0 && !x->rq.by_vectors))
			r.r[r.n++] = x->c.v[i].r;
	r.complete = x->c.complete;
	r.best = x->c.best;
	r.lowest = x->c.lowest;
	r.highest = x->c.highest;
	TRY(take_ranked(j, &r));
	j->out->by_codes = true;
	j->done = true;
	if (j->q->near > 0)
		TRY(mark_like_stored(j, who, scope));
	if (!j->q->explain)
		return OK;
	return words_with_scope(j->w, j->a, who, scope, explain_later, j, &skipped);
}

static enum err search_by_words(struct job *j, const struct principal *who, const struct doc_scope *scope, bool cached,
				uint64_t *docs)
{
	const struct items_query *q = j->q;
	struct items_found *out = j->out;
	struct words_found f;

	TRY(words_find(j->w, j->a, who, scope, q->query, q->want, q->explain, cached, &f));
	out->v = ARENA_ARRAY(j->a, struct item_hit, f.n + 1);
	if (!out->v)
		return E_NOMEM;
	out->best = f.n ? f.hits[0].score : 0;
	for (size_t i = 0; i < f.n; i++)
		out->v[i] = (struct item_hit){
			f.hits[i].id, f.hits[i].score, f.hits[i].score, NAN, f.hits[i].score / out->best, 0, 0, f.hits[i].explain};
	out->n = f.n;
	out->complete = f.n >= f.total;
	out->no_words = f.terms == 0;
	*docs = f.docs;
	out->weights[RF_LEX] = 1;
	out->weights[RF_V] = 0;
	return OK;
}

static enum err scan_run(void *arg)
{
	struct items_scan *s = arg;

	return items_scan(s);
}

static uint64_t scan_until(const struct items_query *q)
{
	const uint64_t spare = ITEMS_SCAN_SPARE_MS * UINT64_C(1000000);
	uint64_t patient = deadline_in_ms(ITEMS_SCAN_PATIENT_MS), callers;

	if (q->mode == RANK_BY_VECTORS)
		return NEVER;
	if (!q->patient)
		return deadline_in_ms(ITEMS_SCAN_MS);
	callers = wait_within(NEVER); /* only to learn it */
	wait_restore(callers);
	return callers - spare < patient ? callers - spare : patient;
}

/* The scope does not fit the cache. */
static enum err search_by_scan(struct job *j, const struct principal *who, const struct doc_scope *scope)
{
	struct items_found *out = j->out;
	struct items_scan s = {.words = j->w,
			       .who = who,
			       .scope = scope,
			       .q = j->q,
			       .arena = j->a,
			       .lex = out->weights[RF_LEX],
			       .v = out->weights[RF_V],
			       .room = ITEMS_SCAN_ROOM};
	uint32_t tf[QUESTION_TERMS_MAX];

	s.until = scan_until(j->q);
	TRY(work_run(scan_run, &s));
	out->late = s.late;
	if (s.late)
		return OK;
	words_maybe_fits(j->w, j->a, who, scope, s.bytes);
	words_set_docs(j->w, j->a, who, scope, s.docs);
	out->pending = s.docs - s.vectors;
	if (!s.ready)
		return OK;
	TRY(take_ranked(j, &s.r));
	j->done = true;
	if (j->q->near > 0)
		TRY(mark_like_stored(j, who, scope));
	for (size_t i = 0; j->q->explain && i < out->n; i++) {
		for (size_t t = 0; t < s.terms_n; t++)
			tf[t] = s.tf[i * s.terms_n + t];
		if (out->v[i].bm25 > 0)
			TRY(words_explain(j->a, s.terms, s.terms_n, tf, s.len[i], &s.figures, &out->v[i].words));
	}
	return OK;
}

/* By an index of vectors in the store, where it has one of the scope and the scope is large enough for it. */
static enum err search_by_hnsw(struct job *j, const struct principal *who, const struct doc_scope *scope,
			       const struct words_fit *fit)
{
	const struct hnsw_ops *ops = j->w->store->ops->hnsw;
	struct items_found *out = j->out;
	struct doc_scope without = *scope;
	struct items_hnsw x = {.words = j->w,
			       .who = who,
			       .scope = scope,
			       .q = j->q,
			       .arena = j->a,
			       .lex = out->weights[RF_LEX],
			       .v = out->weights[RF_V],
			       .least = fit->least_docs};
	bool skipped;

	if (!ops || fit->least_docs < ops->least(j->w->store))
		return OK;
	TRY(items_hnsw(&x));
	if (!x.ready)
		return OK;
	if (x.wordless) {
		out->weights[RF_LEX] = 0;
		out->weights[RF_V] = 1;
	}
	TRY(take_ranked(j, &x.r));
	out->by_hnsw = true;
	out->wordless = x.wordless;
	j->done = true;
	if (j->q->near > 0)
		TRY(mark_like_stored(j, who, scope));
	without.model = STR("");
	return j->q->explain && !x.wordless ? words_with_scope(j->w, j->a, who, &without, explain_later, j, &skipped) : OK;
}

static void choose_weights(struct items_found *out, const struct items_query *q)
{
	const struct rank_weights *w = q->weights ? q->weights : rank_weights_default();
	bool alone = q->mode == RANK_BY_VECTORS;

	out->weights[RF_LEX] = alone ? 0 : w->of[RANK_ITEMS][RF_LEX];
	out->weights[RF_V] = alone ? 1 : w->of[RANK_ITEMS][RF_V];
}

/* After it could not be searched by meaning in time: that is not tried again until the scope is a quarter larger or smaller. */
static void remember_late(struct job *j, const struct principal *who, const struct doc_scope *scope, const struct words_fit *fit,
			  uint64_t docs)
{
	uint64_t was = fit->late_docs, apart = was > docs ? was - docs : docs - was;

	j->out->cache_needed = fit->item_bytes * docs + fit->item_bytes * docs / 8;
	words_set_docs(j->w, j->a, who, scope, docs);
	if (was == 0)
		words_set_late(j->w, j->a, who, scope, docs ? docs : 1);
	else if (apart * 4 > was)
		words_set_late(j->w, j->a, who, scope, 0);
}

/* A scope that is not in memory. */
static enum err search_outside(struct job *j, const struct principal *who, const struct doc_scope *scope)
{
	struct words_fit fit = words_fit(j->w, j->a, who, scope);
	struct doc_scope without = *scope;
	uint64_t docs;

	j->out->loading = fit.loading;
	if (j->q->question && !fit.loading)
		TRY(search_by_hnsw(j, who, scope, &fit));
	if (j->done)
		return OK;
	if (j->q->question && (j->q->mode == RANK_BY_VECTORS || j->q->patient || (!fit.loading && fit.late_docs == 0)))
		TRY(search_by_scan(j, who, scope));
	else
		j->out->late = j->q->question && !fit.loading;
	if (j->done || j->q->mode == RANK_BY_VECTORS) {
		j->out->complete |= !j->done;
		return OK;
	}
	without.model = STR(""); /* so it may fit; but it is not loaded twice at a time */
	TRY(search_by_words(j, who, &without, !fit.loading, &docs));
	if (j->out->late)
		remember_late(j, who, scope, &fit, docs);
	return OK;
}

enum err items_search(struct memory *m, struct arena *a, const struct principal *who, const struct items_query *q,
		      struct items_found *out)
{
	struct job j = {.w = memory_words(m), .a = a, .q = q, .out = out};
	struct doc_scope scope = {.kind = DOC_ITEM, .prefix = q->prefix, .model = q->model};
	bool skipped = false;
	uint64_t docs;

	*out = (struct items_found){0};
	choose_weights(out, q);
	if (q->model.n)
		TRY(words_with_scope(j.w, a, who, &scope, search_by_meaning, &j, &skipped));
	if (j.has_codes)
		TRY(search_by_codes(&j, who, &scope));
	if (j.done)
		return OK;
	if (skipped) {
		TRY(search_outside(&j, who, &scope));
		if (out->by_hnsw || out->late || out->loading) /* how many of them are of the scope, nobody counts */
			out->pending = (uint64_t)vectors_waiting(memory_vectors(m), who);
		return OK;
	}
	if (q->mode == RANK_BY_VECTORS) {
		out->complete = true; /* nothing has a vector yet */
		return OK;
	}
	return search_by_words(&j, who, &scope, true, &docs);
}

static void explain_feature(struct jw *w, enum rank_feature f, double value, double weight)
{
	if (weight == 0)
		return;
	jw_key(w, rank_feature_name(f));
	jw_obj(w);
	jw_key(w, "value");
	jw_double(w, value);
	jw_key(w, "weight");
	jw_double(w, weight);
	jw_key(w, "contribution");
	jw_double(w, value * weight);
	jw_end_obj(w);
}

void items_explain(struct jw *w, const struct item_hit *h, const double *weights, double best)
{
	jw_key(w, "features");
	jw_obj(w);
	explain_feature(w, RF_LEX, h->lex, weights[RF_LEX]);
	explain_feature(w, RF_V, h->v, weights[RF_V]);
	jw_end_obj(w);
	jw_key(w, "sum");
	jw_double(w, h->lex * weights[RF_LEX] + h->v * weights[RF_V]);
	if (!isnan(h->cosine)) {
		jw_key(w, "cosine");
		jw_double(w, h->cosine);
	}
	jw_key(w, "bm25");
	jw_double(w, h->bm25);
	jw_key(w, "best");
	jw_double(w, best);
	if (h->words.n > 0) {
		jw_key(w, "detail");
		jw_raw(w, h->words);
	}
}
