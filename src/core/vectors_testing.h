/* What tests of vectors share: an encoder that does as it is told, and a store with the work on it, which goes on when somebody
 * waits. */
#ifndef CENOTE_CORE_VECTORS_TESTING_H
#define CENOTE_CORE_VECTORS_TESTING_H

#include <math.h>
#include <pthread.h>

#include "core/session.h"
#include "core/testing.h"
#include "core/vectors_impl.h"
#include "core/words_impl.h"

#define DIMS 8

/* --------------------------------------------------------- a scripted encoder */

struct scripted {
	struct embedder base;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	uint32_t dims, late_dims; /* late: not said before the first answer */
	unsigned calls, texts, closed;
	enum err fail;	    /* every call */
	unsigned fail_n;    /* so many calls, then all is well */
	bool gate, at_gate; /* calls wait until it opens */
	size_t longest;	    /* texts above are refused; 0: none are */
	char last[256];
};

static inline void vector_of(struct str text, uint32_t dims, float *out)
{
	double sum = 0;

	for (uint32_t i = 0; i < dims; i++) {
		out[i] = (float)((double)((text.n * 31 + i * 17 + (text.n ? (unsigned char)text.p[i % text.n] : 1)) % 97) + 1);
		sum += (double)out[i] * out[i];
	}
	for (uint32_t i = 0; i < dims; i++)
		out[i] /= (float)sqrt(sum);
}

static inline bool has(struct str text, const char *word)
{
	return text.n && memmem(text.p, text.n, word, strlen(word)) != NULL;
}

static inline enum err answer(struct scripted *s, const struct str *texts, size_t n)
{
	s->calls++;
	s->texts += (unsigned)n;
	s->at_gate = s->gate;
	pthread_cond_broadcast(&s->cond);
	while (s->gate)
		pthread_cond_wait(&s->cond, &s->lock);
	if (s->fail_n > 0) {
		s->fail_n--;
		return err_set(s->fail, "the encoder was told to fail");
	}
	for (size_t i = 0; i < n; i++) {
		if (has(texts[i], "nonsense"))
			return err_set(E_CORRUPT, "a component is not finite");
		if (has(texts[i], "forbidden") || (s->longest && texts[i].n > s->longest))
			return err_set(E_INVALID, "the service refuses a text");
	}
	if (n)
		snprintf(s->last, sizeof s->last, "%.*s", (int)(texts[n - 1].n < 250 ? texts[n - 1].n : 250), texts[n - 1].p);
	return OK;
}

static inline enum err scripted_encode(struct embedder *base, struct arena *a, const struct str *texts, size_t n,
				       const struct trace_span *span, struct embed_vectors *out)
{
	struct scripted *s = (struct scripted *)base;
	enum err e;
	(void)span;

	pthread_mutex_lock(&s->lock);
	e = answer(s, texts, n);
	pthread_mutex_unlock(&s->lock);
	if (e != OK)
		return e;
	*out = (struct embed_vectors){.v = arena_array(a, n * s->dims, sizeof(float)), .dims = s->dims, .n = n};
	if (!out->v)
		return E_NOMEM;
	for (size_t i = 0; i < n; i++)
		vector_of(texts[i], s->dims, out->v + i * s->dims);
	__atomic_store_n(&s->base.dims, s->dims, __ATOMIC_RELEASE);
	return OK;
}

static inline void scripted_close(struct embedder *base)
{
	((struct scripted *)base)->closed++;
}

static const struct embed_ops scripted_ops = {scripted_encode, scripted_close};

static inline void scripted_init(struct scripted *s, const char *model, uint32_t dims)
{
	*s = (struct scripted){.base = {.ops = &scripted_ops, .model = str_c(model), .dims = dims, .batch = 4}, .dims = dims};
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->cond, NULL);
}

/* ------------------------------------------------------------------ the bench */

struct rig {
	struct bench b;
	struct scripted enc, old;
	bool old_there;
	struct vectors *v;
};

static inline enum err open_old(void *ctx, struct str model, uint32_t dims, struct embedder **out)
{
	struct rig *r = ctx;

	if (!r->old_there || !str_eq(model, r->old.base.model) || dims != r->old.dims)
		return err_set(E_NOT_FOUND, "no such model");
	*out = &r->old.base;
	return OK;
}

/* The process begins: on the store that is there. */
static inline void rig_start(struct rig *r, const char *model, uint32_t dims)
{
	struct vectors_options vo = {.poll_ms = 20, .open = open_old, .ctx = r};
	struct memory_options mo = {.refresh_on_read = true, .languages = STR("english"), .index_cache_bytes = (size_t)8 << 20};

	scripted_init(&r->enc, model, dims);
	OKAY(vectors_new(r->b.store, &r->enc.base, &vo, &r->v));
	mo.vectors = r->v;
	OKAY(memory_new(r->b.store, &mo, &r->b.m));
}

static inline void rig_stop(struct rig *r)
{
	memory_free(r->b.m);
	vectors_free(r->v);
	pthread_mutex_destroy(&r->enc.lock);
	pthread_cond_destroy(&r->enc.cond);
}

static inline void rig_init(struct rig *r)
{
	*r = (struct rig){0};
	arena_init(&r->b.a, (size_t)256 << 20);
	r->b.store = fake_store_new();
	rig_start(r, "first", DIMS);
}

static inline void rig_release(struct rig *r)
{
	rig_stop(r);
	r->b.store->ops->close(r->b.store);
	arena_release(&r->b.a);
}

static inline void say_as(struct rig *r, const struct principal *who, const char *thread, const char *user, const char *text)
{
	struct message m = {.thread = str_c(thread), .user = str_c(user), .role = STR("user"), .content = str_c(text)};
	size_t stored, unchanged;

	OKAY(session_append(r->b.m, &r->b.a, who, &m, 1, &stored, &unchanged));
}

static inline void say(struct rig *r, const char *text)
{
	say_as(r, &ann, "t1", "ann", text);
}

struct counted {
	size_t docs, good, stale;
};

static inline bool on_doc(void *ctx, const struct doc_change *d)
{
	struct counted *c = ctx;

	c->docs++;
	c->good += d->vector.n > 0 && d->mark == doc_mark(d->terms);
	c->stale += d->vector.n > 0 && d->mark != doc_mark(d->terms);
	return true;
}

static inline struct counted count_as(struct rig *r, const struct principal *who, enum doc_kind kind, const char *model)
{
	struct counted c = {0};

	OKAY(r->b.store->ops->doc_walk(r->b.store, who, kind, str_c(model), 0, 100000, on_doc, &c));
	return c;
}

static inline struct counted count(struct rig *r, enum doc_kind kind, const char *model)
{
	return count_as(r, &ann, kind, model);
}

static inline struct vectors_state state_of(struct rig *r)
{
	struct vectors_state s;

	OKAY(vectors_state(r->v, &r->b.a, &ann, &s));
	return s;
}

static const char *in_use(struct rig *r)
{
	struct str model;

	OKAY(vectors_model(r->v, &r->b.a, &ann, &model));
	return model.p;
}

static inline void fill(struct rig *r, int n)
{
	for (int i = 0; i < n; i++) {
		char text[64];

		snprintf(text, sizeof text, "message number %d", i);
		say(r, text);
	}
}

/* One round of the default tenant. */
static inline bool round_once(struct rig *r)
{
	struct vtenant *t;
	bool more;

	OKAY(vectors_tenant(r->v, STR("default"), &t));
	OKAY(vectors_round(r->v, t, &more));
	return more;
}

#endif
