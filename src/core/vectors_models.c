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

/* Another process has changed the model, or was started since and wants another. What a process of the same model has done is this
 * one's own; a record that names no model is damaged. lock */
static bool gives_way(const struct vectors *v, const struct vtenant *t, const struct said *said)
{
	if (said->model.n == 0 || vectors_own(v, said->model) || vectors_own(v, said->next))
		return false;
	return (t->model[0] && !str_eq(said->model, str_c(t->model))) || (t->next[0] && !str_eq(said->next, str_c(t->next)));
}

/* lock */
static void take_said(struct vectors *v, struct vtenant *t, const struct said *said)
{
	if (t->known && vectors_own(v, said->model)) {
		t->gave_way = false;
		/* A process of the same model has brought the change to its end; should it end itself, this one removes the rest.
		 */
		if (!str_eq(said->model, str_c(t->model)))
			t->drop_at = deadline_in_ms(v->opt.poll_ms * DROP_AFTER_POLLS);
	}
	if (!str_eq(said->next, str_c(t->next)))
		t->next[0] = 0;
	take(t->model, said->model);
	t->others_next = said->next.n > 0 && !str_eq(said->next, str_c(t->next));
	if (!t->known && said->again) {
		t->again = t->again_shown = true;
		for (int k = 0; k < KINDS; k++)
			t->kind[k].again_from = said->from[k];
	}
	t->known = true;
}

enum err vectors_learn(struct vectors *v, struct vtenant *t, bool anew)
{
	struct said said;
	struct arena a;
	bool known, gave_way = false;
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
		gave_way = t->known && !t->gave_way && gives_way(v, t, &said);
		take_said(v, t, &said);
		t->gave_way |= gave_way;
	}
	pthread_mutex_unlock(&v->lock);
	if (gave_way)
		LOG(LOG_INFO, "core.vectors", "another process has changed the model in use: this one follows",
		    LF_C("tenant", t->name), LF_STR("model", said.model), LF_STR("next", said.next));
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

/* Opens the encoder of a model, if there is one to be had, and sees whether it answers. */
static enum err former_open(struct vectors *v, struct former *f)
{
	const char *slash = strrchr(f->model, '/');
	struct embedder *enc = NULL;
	int64_t dims = 0;
	enum err e;

	if (!v->opt.open || !slash || !str_int(str_c(slash + 1), 1, EMBED_DIMS_MAX, &dims))
		return err_set(E_NOT_FOUND, "there is no encoder of this name");
	TRY(v->opt.open(v->opt.ctx, str_of(f->model, (size_t)(slash - f->model)), (uint32_t)dims, &enc));
	e = probe(enc, (uint32_t)dims);
	if (e != OK) {
		embed_close(enc);
		return e;
	}
	pthread_mutex_lock(&v->lock);
	f->e = enc;
	pthread_mutex_unlock(&v->lock);
	return OK;
}

/* A service may be down for a moment, or be started later than this process; one that answers that it has no such model is settled.
 */
static bool may_come(enum err e)
{
	return (e == E_BUSY || e == E_TIMEOUT || e == E_UPSTREAM) && diag_get()->kind != ERR_ABSENT;
}

static struct former *former_add(struct vectors *v, const char *model)
{
	struct former *f = calloc(1, sizeof *f);

	if (!f)
		return NULL;
	memcpy(f->model, model, strlen(model) + 1);
	f->until = deadline_in_ms(v->former_ms);
	pthread_mutex_lock(&v->lock);
	list_add_tail(&v->formers, &f->node);
	pthread_mutex_unlock(&v->lock);
	return f;
}

/* Can questions still be asked by this model? Opens its encoder, once. While that may come yet: why it does not answer, of
 * may_come. */
static enum err former_serves(struct vectors *v, const char *model, bool *serves)
{
	struct former *f = former_find(v, model);
	enum err e;

	*serves = f && f->e;
	if (f && (f->e || f->settled))
		return OK;
	if (!f)
		f = former_add(v, model);
	if (!f)
		return err_set(E_LIMIT, "out of memory for the encoder of the model in use");
	e = former_open(v, f);
	*serves = e == OK;
	if (e == OK || e == E_CANCELLED)
		return e;
	if (may_come(e) && clock_mono_ns() < f->until)
		return err_wrap(e, "the encoder of the model in use, %s, does not answer", model);
	f->settled = true;
	LOG(LOG_WARN, "core.vectors", "the encoder of the model in use cannot be had: questions are not asked by it",
	    LF_C("model", model), LF_C("reason", diag_get()->text));
	return OK;
}

/* lock */
static bool in_use_anywhere(const struct vectors *v, const char *model)
{
	struct str name;
	size_t it = 0;
	void *t;

	while (map_next(&v->tenants, &it, &name, &t))
		if (strcmp(((const struct vtenant *)t)->model, model) == 0)
			return true;
	return false;
}

/* When the last tenant has left the model. */
static void close_formers(struct vectors *v, const char *model)
{
	struct former *done = NULL;

	pthread_mutex_lock(&v->lock);
	LIST_EACH (node, &v->formers) {
		struct former *f = CONTAINER(node, struct former, node);

		if (strcmp(f->model, model) == 0 && f->users == 0 && !in_use_anywhere(v, model)) {
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

/* Writes down a change of the models; what could not be written is not so. */
static enum err tell_models(struct vectors *v, struct vtenant *t, const char *model, const char *next)
{
	char old_model[MODEL_ROOM], old_next[MODEL_ROOM];
	enum err e;

	memcpy(old_model, t->model, sizeof old_model);
	memcpy(old_next, t->next, sizeof old_next);
	set_models(v, t, model, next);
	e = vectors_tell(v, t);
	if (e != OK)
		set_models(v, t, old_model, old_next);
	return e;
}

/* From the model in use, another's, to this process's. */
static enum err change_models(struct vectors *v, struct vtenant *t, const char *key)
{
	char from[MODEL_ROOM];
	bool serves = false;

	memcpy(from, t->model, sizeof from);
	v->no_encoder = true;
	if (from[0])
		TRY(former_serves(v, from, &serves));
	v->no_encoder = false;
	TRY(tell_models(v, t, serves ? from : key, serves ? key : ""));
	t->drop_at = deadline_in_ms(v->opt.poll_ms * DROP_AFTER_POLLS);
	if (serves)
		LOG(LOG_INFO, "core.vectors", "change of model: vectors are made anew, the old model serves meanwhile",
		    LF_C("tenant", t->name), LF_C("from", from), LF_C("to", key));
	else if (from[0])
		atomic_fetch_add(&v->switches, 1);
	return OK;
}

enum err vectors_settle_models(struct vectors *v, struct vtenant *t, const char *key, bool *make)
{
	bool serves;

	*make = !t->gave_way;
	if (t->gave_way) {
		t->looked = true;
		if (former_serves(v, t->model, &serves) == E_CANCELLED)
			return E_CANCELLED;
		diag_clear(); /* by words meanwhile */
		return OK;
	}
	if (!t->looked) {
		t->drop_at = deadline_in_ms(v->opt.poll_ms * DROP_AFTER_POLLS);
		/* A change to another model that somebody has begun and not finished ends here: who was started last decides. */
		if (strcmp(t->model, key) == 0 && t->others_next)
			TRY(vectors_tell(v, t));
		t->looked = true;
	}
	return strcmp(t->model, key) == 0 || strcmp(t->next, key) == 0 ? OK : change_models(v, t, key);
}

enum err vectors_finish(struct vectors *v, struct vtenant *t, const char *key)
{
	char old[MODEL_ROOM];
	enum err e;

	if (t->again) {
		t->again = false;
		e = vectors_tell(v, t);
		t->again = e != OK;
		TRY(e);
		LOG(LOG_INFO, "core.vectors", "all vectors have been made again", LF_C("tenant", t->name));
	}
	if (strcmp(t->next, key) != 0)
		return OK;
	memcpy(old, t->model, sizeof old);
	TRY(tell_models(v, t, key, ""));
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

/* Does a process of another model change the models by now, or has it? Then this one drops nothing. */
static enum err in_the_making(struct vectors *v, struct vtenant *t, bool *is)
{
	struct said said;
	struct arena a;
	enum err e;

	arena_init(&a, 64 << 10);
	e = fetch_said(v, &a, t, &said);
	*is = e == OK && (!str_eq(said.model, str_c(t->model)) || said.next.n > 0);
	arena_release(&a);
	return e;
}

enum err vectors_drop_step(struct vectors *v, struct vtenant *t, bool *more)
{
	struct others o = {.t = t};
	bool left = false, makes;

	*more = false;
	TRY(v->store->ops->vector_models(v->store, &t->who, on_model, &o));
	if (!o.model[0]) {
		t->drop_at = 0;
		return OK;
	}
	/* Looked at after them: what others make was said before the first of its vectors was kept. */
	TRY(in_the_making(v, t, &makes));
	if (makes) {
		t->drop_at = deadline_in_ms(v->opt.poll_ms * DROP_AFTER_POLLS);
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
