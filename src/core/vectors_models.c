/* Which model is in use, which is being made, and the change from one to the other.
 *
 *   no model --first round--> in use = ours
 *   in use = another's --its encoder can be had--> next = ours --walk done, queues empty--> in use = ours --> the others' vectors
 * go
 *                      --it cannot--> in use = ours (incomplete until the walk is done) */
#include <stdlib.h>

#include "base/clock.h"
#include "base/json/json.h"
#include "base/log.h"
#include "core/vectors_impl.h"
#include "rt/wait.h"

#define META_NAME "vectors"
/* Other models' vectors go so many polls after the change, when other processes have heard of it. */
#define DROP_AFTER_POLLS 3
#define DROP_STEP 500
#define PROBE_MS 10000

/* ------------------------------------------------------- what the store says */

/* {"model":"NAME/DIMS","next":"NAME/DIMS","again":[items,messages]}; next: being made by some process; again: a reindex is under
 * way, and has come so far. */
struct said {
	struct str model, next;
	bool again;
	int64_t from[KINDS];
};

static enum err read_said(struct arena *a, struct str text, struct said *out)
{
	struct json doc;
	struct jval root, again, x;
	size_t k = 0;

	TRY(json_parse(a, text, NULL, &doc));
	root = json_root(&doc);
	out->model = j_str(a, j_get(root, STR("model")));
	out->next = j_str(a, j_get(root, STR("next")));
	again = j_get(root, STR("again"));
	out->again = j_is(again, JSON_ARRAY);
	for (struct j_iter it = j_iter(again); out->again && k < KINDS && j_next(&it, NULL, &x); k++)
		if (!j_i64(x, &out->from[k]))
			out->from[k] = 0;
	return out->model.n < MODEL_ROOM && out->next.n < MODEL_ROOM ? OK : E_CORRUPT;
}

static enum err fetch_said(struct vectors *v, struct arena *a, struct vtenant *t, struct said *out)
{
	struct str text;
	bool found;

	*out = (struct said){.model = STR(""), .next = STR("")};
	TRY(v->store->ops->meta_get(v->store, a, &t->who, STR(META_NAME), &text, &found));
	if (found && read_said(a, text, out) != OK) {
		LOG(LOG_WARN, "core.vectors", "the record of the model in use is damaged; it is made anew",
		    LF_C("tenant", t->name));
		*out = (struct said){.model = STR(""), .next = STR("")};
	}
	if (!out->model.p)
		out->model = STR("");
	if (!out->next.p)
		out->next = STR("");
	return OK;
}

static void take(char *to, struct str s)
{
	if (s.n)
		memcpy(to, s.p, s.n);
	to[s.n] = 0;
}

enum err vectors_learn(struct vectors *v, struct vtenant *t, bool anew)
{
	struct said said;
	struct arena a;
	bool known;
	enum err e;

	pthread_mutex_lock(&v->lock);
	known = t->known;
	pthread_mutex_unlock(&v->lock);
	if (known && !anew)
		return OK;
	arena_init(&a, 64 << 10);
	CHECK(fetch_said(v, &a, t, &said));
	pthread_mutex_lock(&v->lock);
	if (!t->known || anew) {
		/* Another process has changed the model, or was started since and wants another: this one follows. */
		if (t->known && t->model[0] && said.model.n && !str_eq(said.model, str_c(t->model)))
			t->gave_way = true;
		if (t->next[0] && !str_eq(said.next, str_c(t->next))) {
			t->gave_way = true;
			t->next[0] = 0;
		}
		take(t->model, said.model);
		t->others_next = said.next.n > 0 && !str_eq(said.next, str_c(t->next));
		if (!t->known && said.again) {
			t->again = t->again_shown = true;
			for (int k = 0; k < KINDS; k++)
				t->kind[k].again_from = said.from[k];
		}
		t->known = true;
	}
	pthread_mutex_unlock(&v->lock);
out:
	arena_release(&a);
	return e;
}

enum err vectors_tell(struct vectors *v, struct vtenant *t)
{
	struct arena a;
	bool wanted;
	struct buf b;
	struct jw w;
	enum err e;

	arena_init(&a, 64 << 10);
	buf_init(&b, &a, 16 << 10);
	jw_init(&w, &b);
	jw_obj(&w);
	pthread_mutex_lock(&v->lock);
	jw_key(&w, "model");
	jw_cstr(&w, t->model);
	jw_key(&w, "next");
	jw_cstr(&w, t->next);
	wanted = t->again_wanted;
	pthread_mutex_unlock(&v->lock);
	/* When a reindex is to begin, this may be called by who asks for it, and what is the worker's is not looked at. */
	if (wanted || t->again) {
		jw_key(&w, "again");
		jw_arr(&w);
		for (int k = 0; k < KINDS; k++)
			jw_i64(&w, wanted ? 0 : t->kind[k].again_from);
		jw_end_arr(&w);
	}
	jw_end_obj(&w);
	e = b.err == OK ? v->store->ops->meta_put(v->store, &t->who, STR(META_NAME), buf_slice(&b)) : b.err;
	arena_release(&a);
	return e;
}

/* -------------------------------------------------------------- the encoders */

enum err vectors_learn_dims(struct vectors *v, char *key)
{
	static const struct str text = STR_INIT("dimensions");
	struct embed_vectors got;
	struct arena a;
	enum err e;

	vectors_key(v, key);
	if (key[0])
		return OK;
	arena_init(&a, 1 << 20);
	e = embed_encode(v->embedder, &a, &text, 1, &got);
	arena_release(&a);
	vectors_key(v, key);
	if (e == OK && !key[0])
		e = err_set(E_INTERNAL, "an encoder that has answered does not say its dimensions");
	return e;
}

/* Does it answer, with vectors like those that are kept? */
static enum err probe(struct embedder *e, uint32_t dims)
{
	static const struct str text = STR_INIT("dimensions");
	uint64_t before = wait_within(deadline_in_ms(PROBE_MS));
	struct embed_vectors got = {0};
	struct arena a;
	enum err r;

	arena_init(&a, 1 << 20);
	r = embed_encode(e, &a, &text, 1, &got);
	if (r == OK && got.dims != dims)
		r = err_set(E_CORRUPT, "it has %u dimensions now, not %u", (unsigned)got.dims, (unsigned)dims);
	arena_release(&a);
	wait_restore(before);
	return r;
}

static struct former *former_find(struct vectors *v, const char *model)
{
	struct former *found = NULL;

	pthread_mutex_lock(&v->lock);
	LIST_EACH (node, &v->formers) {
		struct former *f = CONTAINER(node, struct former, node);

		if (strcmp(f->model, model) == 0)
			found = f;
	}
	pthread_mutex_unlock(&v->lock);
	return found;
}

/* Can questions still be asked by this model? Opens its encoder, once. */
static bool former_serves(struct vectors *v, const char *model)
{
	struct former *f = former_find(v, model);
	const char *slash = strrchr(model, '/');
	int64_t dims = 0;
	enum err e;

	if (f)
		return f->e != NULL;
	if (!v->opt.open || !slash || !str_int(str_c(slash + 1), 1, EMBED_DIMS_MAX, &dims))
		return false;
	f = calloc(1, sizeof *f);
	if (!f)
		return false;
	memcpy(f->model, model, strlen(model) + 1);
	e = v->opt.open(v->opt.ctx, str_of(model, (size_t)(slash - model)), (uint32_t)dims, &f->e);
	if (e != OK)
		f->e = NULL;
	else
		e = probe(f->e, (uint32_t)dims);
	if (e == E_CANCELLED) {
		embed_close(f->e);
		free(f);
		return false;
	}
	if (e != OK) {
		embed_close(f->e);
		f->e = NULL;
		LOG(LOG_WARN, "core.vectors", "the encoder of the model in use cannot be had: questions are not asked by it",
		    LF_C("model", model), LF_C("reason", diag_get()->text));
	}
	pthread_mutex_lock(&v->lock);
	list_add_tail(&v->formers, &f->node);
	pthread_mutex_unlock(&v->lock);
	return f->e != NULL;
}

static void close_formers(struct vectors *v, const char *model)
{
	struct former *done = NULL;

	pthread_mutex_lock(&v->lock);
	LIST_EACH (node, &v->formers) {
		struct former *f = CONTAINER(node, struct former, node);

		if (strcmp(f->model, model) == 0 && f->users == 0) {
			list_del(&f->node);
			done = f;
		}
	}
	pthread_mutex_unlock(&v->lock);
	if (done)
		embed_close(done->e);
	free(done);
}

static void set_models(struct vectors *v, struct vtenant *t, const char *model, const char *next)
{
	pthread_mutex_lock(&v->lock);
	memmove(t->model, model, strlen(model) + 1);
	memmove(t->next, next, strlen(next) + 1);
	pthread_mutex_unlock(&v->lock);
}

enum err vectors_settle_models(struct vectors *v, struct vtenant *t, const char *key, bool *make)
{
	bool first = !t->looked;

	t->looked = true;
	*make = !t->gave_way;
	if (t->gave_way) {
		(void)former_serves(v, t->model);
		return OK;
	}
	if (first)
		t->drop_at = deadline_in_ms(v->opt.poll_ms * DROP_AFTER_POLLS);
	/* A change to another model that somebody has begun and not finished ends here: who was started last decides. */
	if (strcmp(t->model, key) == 0)
		return first && t->others_next ? vectors_tell(v, t) : OK;
	if (strcmp(t->next, key) == 0)
		return OK;
	if (t->model[0] && former_serves(v, t->model)) {
		LOG(LOG_INFO, "core.vectors", "change of model: vectors are made anew, the old model serves meanwhile",
		    LF_C("tenant", t->name), LF_C("from", t->model), LF_C("to", key));
		set_models(v, t, t->model, key);
	} else {
		if (t->model[0])
			atomic_fetch_add(&v->switches, 1);
		set_models(v, t, key, "");
	}
	t->drop_at = deadline_in_ms(v->opt.poll_ms * DROP_AFTER_POLLS);
	return vectors_tell(v, t);
}

enum err vectors_finish(struct vectors *v, struct vtenant *t, const char *key)
{
	char old[MODEL_ROOM];

	if (t->again) {
		t->again = false;
		LOG(LOG_INFO, "core.vectors", "all vectors have been made again", LF_C("tenant", t->name));
		TRY(vectors_tell(v, t));
	}
	if (strcmp(t->next, key) != 0)
		return OK;
	memcpy(old, t->model, sizeof old);
	set_models(v, t, key, "");
	if (vectors_tell(v, t) != OK) { /* not durable: not done */
		enum err e = diag_get()->code;

		set_models(v, t, old, key);
		return e;
	}
	atomic_fetch_add(&v->switches, 1);
	t->drop_at = deadline_in_ms(v->opt.poll_ms * DROP_AFTER_POLLS);
	LOG(LOG_INFO, "core.vectors", "change of model: done", LF_C("tenant", t->name), LF_C("from", old), LF_C("to", key));
	return OK;
}

/* --------------------------------------------------------- others' vectors */

struct others {
	const struct vtenant *t;
	char model[MODEL_ROOM];
};

static void on_model(void *ctx, struct str model, int64_t n)
{
	struct others *o = ctx;

	if (n == 0 || model.n >= MODEL_ROOM || str_eq(model, str_c(o->t->model)) || str_eq(model, str_c(o->t->next)))
		return;
	memcpy(o->model, model.p, model.n);
	o->model[model.n] = 0;
}

enum err vectors_drop_step(struct vectors *v, struct vtenant *t, bool *more)
{
	struct others o = {.t = t};
	bool left = false;

	*more = false;
	TRY(v->store->ops->vector_models(v->store, &t->who, on_model, &o));
	if (!o.model[0]) {
		t->drop_at = 0;
		return OK;
	}
	TRY(v->store->ops->vector_drop(v->store, &t->who, str_c(o.model), DROP_STEP, &left));
	*more = true;
	if (!left) {
		close_formers(v, o.model);
		LOG(LOG_INFO, "core.vectors", "vectors of a former model are removed", LF_C("tenant", t->name),
		    LF_C("model", o.model));
	}
	return OK;
}
