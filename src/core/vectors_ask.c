/* Vectors of questions: by the model in use, whichever encoder that has. */
#include "base/clock.h"
#include "core/vectors_impl.h"
#include "rt/wait.h"

#include <stdio.h>

/* The model that a question has to be encoded with. */
static enum err in_use(struct vectors *v, const struct principal *who, struct vtenant **t, char *model)
{
	TRY(principal_check(who, RIGHT_READ));
	TRY(vectors_tenant(v, who->tenant, t));
	TRY(vectors_learn(v, *t, false));
	pthread_mutex_lock(&v->lock);
	memcpy(model, (*t)->model, MODEL_ROOM);
	pthread_mutex_unlock(&v->lock);
	return OK;
}

bool vectors_wanted(const struct vectors *v)
{
	return v && v->embedder;
}

enum err vectors_model(struct vectors *v, struct arena *a, const struct principal *who, struct str *model)
{
	char name[MODEL_ROOM];
	struct vtenant *t;

	*model = STR("");
	if (!v || !v->embedder)
		return OK;
	TRY(in_use(v, who, &t, name));
	*model = arena_str(a, str_c(name));
	return model->p ? OK : E_NOMEM;
}

/* The encoder of a model; NULL: there is none. release it. */
static struct embedder *encoder_of(struct vectors *v, const char *model, struct former **f)
{
	struct embedder *e = NULL;

	*f = NULL;
	if (vectors_own(v, str_c(model)))
		return v->opt.asker;
	pthread_mutex_lock(&v->lock);
	LIST_EACH (node, &v->formers) {
		struct former *x = CONTAINER(node, struct former, node);

		if (x->e && strcmp(x->model, model) == 0) {
			x->users++;
			*f = x;
			e = x->e;
		}
	}
	pthread_mutex_unlock(&v->lock);
	return e;
}

static void release(struct vectors *v, struct former *f)
{
	if (!f)
		return;
	pthread_mutex_lock(&v->lock);
	f->users--;
	pthread_mutex_unlock(&v->lock);
}

static enum err pausing(struct vectors *v)
{
	char why[sizeof v->question.text];
	enum err e = OK;

	pthread_mutex_lock(&v->lock);
	if (v->question.until > clock_mono_ns()) {
		e = v->question.err;
		memcpy(why, v->question.text, sizeof why);
	}
	pthread_mutex_unlock(&v->lock);
	return e == OK ? OK : err_set(e, "%s", why);
}

void vectors_answered(struct vectors *v, uint64_t ns)
{
	if (ns < (uint64_t)v->opt.question_ms * 1000000)
		trouble_over(v, &v->question);
}

enum err vectors_question(struct vectors *v, struct arena *a, const struct principal *who, struct str model, struct str text,
			  const struct trace_span *span, float **out, uint32_t *dims)
{
	char name[MODEL_ROOM];
	struct embed_vectors got = {0};
	struct embedder *enc;
	struct former *f;
	uint64_t before;
	enum err e;

	*out = NULL;
	*dims = 0;
	if (!v || !v->embedder)
		return OK;
	TRY(principal_check(who, RIGHT_READ));
	if (model.n == 0 || model.n >= sizeof name)
		return OK;
	memcpy(name, model.p, model.n);
	name[model.n] = 0;
	enc = encoder_of(v, name, &f);
	if (!enc)
		return OK;
	CHECK(pausing(v));
	before = wait_within(deadline_in_ms(v->opt.question_ms));
	e = embed_encode_traced(enc, a, &text, 1, span, &got);
	wait_restore(before);
	if (e == OK) {
		trouble_over(v, &v->question);
		*out = got.v;
		*dims = got.dims;
	} else if (e != E_CANCELLED && e != E_INVALID) {
		trouble_note(v, &v->question, e, 250, 30000);
	}
out:
	release(v, f);
	return e;
}
