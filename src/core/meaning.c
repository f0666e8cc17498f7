/* See core/meaning.h. */
#include "core/meaning.h"

#include "core/vectors.h"

enum err meaning_begin(struct meaning *x, struct memory *m, struct arena *a, const struct principal *who, enum rank_mode mode)
{
	*x = (struct meaning){.m = m, .who = who, .mode = mode, .model = STR("")};
	TRY(vectors_model(memory_vectors(m), a, who, &x->model));
	x->waiting = x->model.n == 0 && vectors_wanted(memory_vectors(m));
	if (mode == RANK_BY_VECTORS && x->model.n == 0)
		return err_field(
			E_INVALID, "/mode", -1,
			"vectors needs an embedder and texts that have been embedded, and there are none; use auto or words");
	return OK;
}

/* Errors that say nothing of the question, so that it may be answered without the encoder. */
static bool encoder_failed(enum err e)
{
	return e == E_UPSTREAM || e == E_TIMEOUT || e == E_BUSY || e == E_CORRUPT || e == E_INVALID || e == E_IO;
}

static enum err ask_encoder(struct meaning *x, struct arena *a, struct str text, float **f, uint32_t *dims)
{
	struct trace_span *s = span_below(x->span, SPAN_EMBEDDING, STR("embed"));
	enum err e;

	span_str(s, "gen_ai.request.model", x->model);
	e = vectors_question(memory_vectors(x->m), a, x->who, x->model, text, s, f, dims);
	if (e == OK && *f)
		span_int(s, "gen_ai.embeddings.dimension.count", *dims);
	return span_end(s, e);
}

enum err meaning_of(struct meaning *x, struct arena *a, struct str text, const struct vector_question **out)
{
	struct vector_question *q;
	uint32_t dims;
	float *f;
	enum err e;

	*out = NULL;
	if (x->mode == RANK_BY_WORDS || x->model.n == 0 || str_trim(text).n == 0)
		return OK;
	q = ARENA_NEW(a, struct vector_question);
	if (!q)
		return E_NOMEM;
	/* By the model that the search began with: another may be in use by now, but these vectors are still there. */
	e = ask_encoder(x, a, text, &f, &dims);
	if (e == OK && f)
		e = vector_question_make(a, f, dims, q);
	if (e != OK && (x->mode == RANK_BY_VECTORS || !encoder_failed(e)))
		return e;
	x->failed |= e != OK || !f;
	diag_clear();
	if (x->failed)
		return x->mode == RANK_BY_VECTORS ? err_set(E_BUSY, "the model of the vectors is being changed") : OK;
	*out = q;
	return OK;
}
