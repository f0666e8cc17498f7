/* Vectors as the rest of core sees them: which model is in use, a question's vector, waking the worker and waiting for it. */
#include "core/vectors_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json/json.h"
#include "base/log.h"
#include "rt/wait.h"

#define POLL_MS 2000
#define QUESTION_MS 3000
#define META_NAME "vectors"

/* ------------------------------------------------------------ beginning, end */

enum err vectors_new(struct store *store, struct embedder *embedder, const struct vectors_options *opt, struct vectors **out)
{
	struct vectors *v;

	*out = NULL;
	if (embedder && embedder->model.n >= sizeof v->name - 16)
		return err_set(E_INVALID, "the name of a model for embeddings has at most %zu bytes", sizeof v->name - 17);
	v = calloc(1, sizeof *v);
	if (!v)
		return err_set(E_LIMIT, "out of memory");
	v->store = store;
	v->embedder = embedder;
	v->queue_max = QUEUE_MAX;
	if (opt)
		v->opt = *opt;
	v->opt.asker = v->opt.asker ? v->opt.asker : embedder;
	v->opt.poll_ms = v->opt.poll_ms ? v->opt.poll_ms : POLL_MS;
	v->opt.question_ms = v->opt.question_ms ? v->opt.question_ms : QUESTION_MS;
	if (embedder)
		memcpy(v->name, embedder->model.p, embedder->model.n);
	pthread_mutex_init(&v->lock, NULL);
	map_init(&v->tenants);
	list_init(&v->formers);
	v->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (v->wake_fd < 0) {
		vectors_free(v);
		return err_set(E_LIMIT, "no descriptor is left for waking the worker of vectors");
	}
	*out = v;
	return OK;
}

static void tenant_free(struct vtenant *t)
{
	for (int k = 0; k < KINDS; k++) {
		queue_release(&t->kind[k].queue);
		marks_release(&t->kind[k].refused);
		marks_release(&t->kind[k].odd);
	}
	free(t->name);
	free(t);
}

void vectors_free(struct vectors *v)
{
	size_t it = 0;
	struct str key;
	void *t;

	if (!v)
		return;
	while (map_next(&v->tenants, &it, &key, &t))
		tenant_free(t);
	map_release(&v->tenants);
	LIST_EACH (node, &v->formers) {
		struct former *f = CONTAINER(node, struct former, node);

		embed_close(f->e);
		free(f);
	}
	if (v->wake_fd >= 0)
		close(v->wake_fd);
	pthread_mutex_destroy(&v->lock);
	free(v);
}

void vectors_key(const struct vectors *v, char *out)
{
	uint32_t dims = v->embedder ? __atomic_load_n(&v->embedder->dims, __ATOMIC_ACQUIRE) : 0;

	out[0] = 0;
	if (dims)
		snprintf(out, MODEL_ROOM, "%s/%u", v->name, dims);
}

/* ----------------------------------------------------------------- tenants */

static struct vtenant *tenant_new(struct str name)
{
	struct vtenant *t = calloc(1, sizeof *t);

	if (!t)
		return NULL;
	t->name = malloc(name.n + 1);
	if (!t->name) {
		free(t);
		return NULL;
	}
	memcpy(t->name, name.p, name.n);
	t->name[name.n] = 0;
	t->who = (struct principal){.tenant = str_of(t->name, name.n), .rights = RIGHT_READ | RIGHT_WRITE, .id = STR("vectors")};
	list_init(&t->waiters);
	t->dirty = true;
	for (int k = 0; k < KINDS; k++)
		t->kind[k].again_from = INT64_MAX;
	return t;
}

/* Under the lock. NULL: out of memory. */
static struct vtenant *tenant_locked(struct vectors *v, struct str name)
{
	struct vtenant *t = map_get(&v->tenants, name);

	if (t)
		return t;
	t = tenant_new(name);
	if (t && map_put(&v->tenants, name, t, NULL) != OK) {
		tenant_free(t);
		t = NULL;
	}
	return t;
}

enum err vectors_tenant(struct vectors *v, struct str name, struct vtenant **out)
{
	pthread_mutex_lock(&v->lock);
	*out = tenant_locked(v, name);
	pthread_mutex_unlock(&v->lock);
	return *out ? OK : err_set(E_LIMIT, "out of memory");
}

enum err vectors_tenants(struct vectors *v, struct arena *a, struct vtenant ***out, size_t *n)
{
	size_t it = 0;
	struct str key;
	void *t;

	*n = 0;
	pthread_mutex_lock(&v->lock);
	*out = ARENA_ARRAY(a, struct vtenant *, v->tenants.count + 1);
	while (*out && map_next(&v->tenants, &it, &key, &t))
		(*out)[(*n)++] = t;
	pthread_mutex_unlock(&v->lock);
	return *out ? OK : E_NOMEM;
}

/* now: even in a pause, since somebody wants to know. */
static void wake_worker(struct vectors *v, bool now)
{
	uint64_t one = 1;
	ssize_t wrote;

	if (atomic_exchange(&v->woken, true) && !now)
		return;
	wrote = write(v->wake_fd, &one, sizeof one);
	(void)wrote; /* an eventfd far from its limit always takes it */
}

void vectors_wake(struct vectors *v, struct str tenant)
{
	struct vtenant *t;

	if (!v || !v->embedder)
		return;
	pthread_mutex_lock(&v->lock);
	t = tenant_locked(v, tenant); /* out of memory: the worker's next look at the store finds it */
	if (t)
		t->dirty = true;
	pthread_mutex_unlock(&v->lock);
	wake_worker(v, false);
}

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

/* -------------------------------------------------------------- for searches */

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

void trouble_note(struct vectors *v, struct trouble *t, enum err e, uint32_t first_ms, uint32_t most_ms)
{
	const struct diag *d = diag_get();
	uint64_t ms;

	pthread_mutex_lock(&v->lock);
	ms = t->failures < 16 ? (uint64_t)first_ms << t->failures : most_ms;
	if (d->code == e && (uint64_t)d->retry_after_s * 1000 > ms)
		ms = (uint64_t)d->retry_after_s * 1000;
	t->until = deadline_in_ms(ms < most_ms ? (uint32_t)ms : most_ms);
	t->failures++;
	t->err = e;
	snprintf(t->text, sizeof t->text, "%s", d->code == e && d->text[0] ? d->text : err_name(e));
	pthread_mutex_unlock(&v->lock);
}

void trouble_over(struct vectors *v, struct trouble *t)
{
	pthread_mutex_lock(&v->lock);
	t->failures = 0;
	t->until = 0;
	t->text[0] = 0;
	pthread_mutex_unlock(&v->lock);
}

/* The encoder of a model; NULL: there is none. release it. */
static struct embedder *encoder_of(struct vectors *v, const char *model, struct former **f)
{
	struct embedder *e = NULL;
	char own[MODEL_ROOM];

	*f = NULL;
	vectors_key(v, own);
	/* Before the first answer of a service its dimensions are not known; the name has to do until then. */
	if (own[0] ? strcmp(own, model) == 0 : strncmp(model, v->name, strlen(v->name)) == 0 && model[strlen(v->name)] == '/')
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

enum err vectors_question(struct vectors *v, struct arena *a, const struct principal *who, struct str model, struct str text,
			  float **out, uint32_t *dims)
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
	take(name, model);
	enc = encoder_of(v, name, &f);
	if (!enc)
		return OK;
	CHECK(pausing(v));
	before = wait_within(deadline_in_ms(v->opt.question_ms));
	e = embed_encode(enc, a, &text, 1, &got);
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

/* ------------------------------------------------------------------ waiting */

static void waiter_end(struct vwaiter *w, enum err e)
{
	uint64_t one = 1;
	ssize_t wrote;

	w->ended = true;
	w->err = e;
	if (e != OK)
		w->diag = *diag_get();
	list_del(&w->node);
	wrote = write(w->fd, &one, sizeof one);
	(void)wrote; /* an eventfd at 0 always takes it */
}

void vectors_settle(struct vectors *v, struct vtenant *t, bool walked)
{
	pthread_mutex_lock(&v->lock);
	LIST_EACH (node, &t->waiters) {
		struct vwaiter *w = CONTAINER(node, struct vwaiter, node);
		bool done = w->armed && walked;

		for (int k = 0; k < KINDS; k++)
			done = done && t->kind[k].queue.seq >= w->seq[k];
		if (done)
			waiter_end(w, OK);
	}
	pthread_mutex_unlock(&v->lock);
}

void vectors_see(struct vectors *v, struct vtenant *t)
{
	pthread_mutex_lock(&v->lock);
	LIST_EACH (node, &t->waiters)
		CONTAINER(node, struct vwaiter, node)->seen = true;
	pthread_mutex_unlock(&v->lock);
}

void vectors_arm(struct vectors *v, struct vtenant *t)
{
	pthread_mutex_lock(&v->lock);
	LIST_EACH (node, &t->waiters) {
		struct vwaiter *w = CONTAINER(node, struct vwaiter, node);

		if (!w->seen || w->armed)
			continue;
		for (int k = 0; k < KINDS; k++)
			w->seq[k] = t->kind[k].queue.seq + t->kind[k].queue.n;
		w->armed = true;
	}
	pthread_mutex_unlock(&v->lock);
}

void vectors_fail_waiters(struct vectors *v, struct vtenant *t, enum err e)
{
	pthread_mutex_lock(&v->lock);
	LIST_EACH (node, &t->waiters)
		waiter_end(CONTAINER(node, struct vwaiter, node), e);
	pthread_mutex_unlock(&v->lock);
}

/* Without a worker the caller does its job; of several one at a time. */
static enum err work_for(struct vectors *v, struct vtenant *t, struct vwaiter *w)
{
	bool more, mine, ended;
	enum err e;

	for (;;) {
		pthread_mutex_lock(&v->lock);
		ended = w->ended || v->running;
		mine = !ended && !v->busy;
		v->busy |= mine;
		pthread_mutex_unlock(&v->lock);
		if (ended)
			return OK;
		if (!mine) {
			TRY(wait_until(deadline_in_ms(1)));
			continue;
		}
		e = vectors_round(v, t, &more);
		pthread_mutex_lock(&v->lock);
		v->busy = false;
		pthread_mutex_unlock(&v->lock);
		if (e != OK)
			return w->ended ? OK : e; /* then it has been told */
		if (wait_expired())
			return err_set(E_TIMEOUT, "not all texts have their vectors yet");
	}
}

static enum err wait_for(struct vectors *v, struct vtenant *t, struct vwaiter *w)
{
	bool running;
	enum err e = OK;

	pthread_mutex_lock(&v->lock);
	list_add_tail(&t->waiters, &w->node);
	t->dirty = true;
	running = v->running;
	pthread_mutex_unlock(&v->lock);
	atomic_fetch_add(&v->waiters, 1);
	if (running)
		wake_worker(v, true);
	else
		e = work_for(v, t, w);
	if (e == OK)
		e = wait_fd(w->fd, WAIT_READ, NEVER, NULL);
	if (e == E_TIMEOUT)
		e = err_set(E_TIMEOUT, "not all texts have their vectors yet");
	pthread_mutex_lock(&v->lock);
	list_del(&w->node);
	if (w->ended) { /* whatever else has happened since */
		e = w->err;
		if (e != OK)
			*diag_get() = w->diag;
	}
	pthread_mutex_unlock(&v->lock);
	atomic_fetch_sub(&v->waiters, 1);
	return e;
}

enum err vectors_wait(struct vectors *v, const struct principal *who, uint32_t ms)
{
	struct vwaiter w = {.fd = -1};
	struct vtenant *t;
	uint64_t before;
	enum err e;

	if (!v || !v->embedder)
		return OK;
	TRY(principal_check(who, 0));
	TRY(vectors_tenant(v, who->tenant, &t));
	w.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w.fd < 0)
		return err_set(E_LIMIT, "no descriptor is left to wait with");
	list_init(&w.node);
	before = wait_within(ms ? deadline_in_ms(ms) : NEVER);
	e = wait_for(v, t, &w);
	wait_restore(before);
	close(w.fd);
	return e;
}

/* -------------------------------------------------------------------- state */

struct models {
	const char *name;
	int64_t n;
};

static void on_model(void *ctx, struct str model, int64_t n)
{
	struct models *m = ctx;

	if (str_eq(model, str_c(m->name)))
		m->n = n;
}

static enum err copy_state(struct vectors *v, struct arena *a, struct vtenant *t, struct vectors_state *out, int64_t *replacing,
			   int64_t *to_walk, int64_t *all)
{
	int64_t now = clock_wall_us();
	char model[MODEL_ROOM], next[MODEL_ROOM], trouble[sizeof v->work.text];

	pthread_mutex_lock(&v->lock);
	memcpy(model, t->model, sizeof model);
	memcpy(next, t->next, sizeof next);
	memcpy(trouble, v->work.text, sizeof trouble);
	out->pending = t->waiting;
	*replacing = t->replacing;
	*to_walk = t->to_walk;
	*all = t->all;
	out->refused = t->refused_n;
	out->counted = t->counted;
	out->again = t->again_shown;
	out->lag_ms = t->oldest_us && now > t->oldest_us ? (now - t->oldest_us) / 1000 : 0;
	pthread_mutex_unlock(&v->lock);
	out->model = arena_str(a, str_c(model));
	out->next = arena_str(a, str_c(next));
	out->trouble = arena_str(a, str_c(trouble));
	return out->model.p && out->next.p && out->trouble.p ? OK : E_NOMEM;
}

enum err vectors_state(struct vectors *v, struct arena *a, const struct principal *who, struct vectors_state *out)
{
	int64_t replacing, to_walk, all;
	struct models m;
	struct vtenant *t;

	*out = (struct vectors_state){.model = STR(""), .next = STR(""), .trouble = STR(""), .counted = true};
	if (!v || !v->embedder)
		return OK;
	TRY(principal_check(who, RIGHT_READ));
	TRY(vectors_tenant(v, who->tenant, &t));
	TRY(vectors_learn(v, t, false));
	TRY(copy_state(v, a, t, out, &replacing, &to_walk, &all));
	m = (struct models){.name = out->next.n ? out->next.p : out->model.p};
	TRY(v->store->ops->vector_models(v->store, &t->who, on_model, &m));
	out->done = m.n > replacing ? m.n - replacing : 0;
	/* What the walk has still to see: made again, or probably missing as far as there are fewer vectors than documents. */
	if (out->again)
		out->done = out->done > to_walk ? out->done - to_walk : 0;
	else if (to_walk > all - m.n)
		to_walk = all > m.n ? all - m.n : 0;
	out->pending += to_walk;
	out->documents = out->done + out->refused + out->pending;
	return OK;
}

enum err vectors_reindex(struct vectors *v, const struct principal *who)
{
	struct vtenant *t;

	if (!v || !v->embedder)
		return err_set(E_INVALID, "there is no encoder, so there are no vectors to be made");
	TRY(principal_check(who, RIGHT_WRITE));
	TRY(vectors_tenant(v, who->tenant, &t));
	TRY(vectors_learn(v, t, false));
	pthread_mutex_lock(&v->lock);
	t->again_wanted = true;
	t->again_shown = true;
	t->counted = false;
	t->dirty = true;
	pthread_mutex_unlock(&v->lock);
	TRY(vectors_tell(v, t));
	wake_worker(v, false);
	return OK;
}

static void total(struct vectors *v, int64_t *waiting, int64_t *lag_ms)
{
	int64_t now = clock_wall_us();
	size_t it = 0;
	struct str key;
	void *p;

	*waiting = *lag_ms = 0;
	pthread_mutex_lock(&v->lock);
	while (map_next(&v->tenants, &it, &key, &p)) {
		const struct vtenant *t = p;
		int64_t ms = t->oldest_us && now > t->oldest_us ? (now - t->oldest_us) / 1000 : 0;

		*waiting += t->waiting + t->to_walk;
		*lag_ms = ms > *lag_ms ? ms : *lag_ms;
	}
	pthread_mutex_unlock(&v->lock);
}

void vectors_metrics(struct vectors *v, struct buf *out)
{
	int64_t waiting, lag_ms;

	if (!v || !v->embedder)
		return;
	total(v, &waiting, &lag_ms);
	buf_printf(out,
		   "# HELP cenote_vectors_pending Texts that have no vector by the model being made yet.\n"
		   "# TYPE cenote_vectors_pending gauge\ncenote_vectors_pending %lld\n"
		   "# HELP cenote_vectors_lag_seconds Age of the oldest text that waits for its vector.\n"
		   "# TYPE cenote_vectors_lag_seconds gauge\ncenote_vectors_lag_seconds %.3f\n",
		   (long long)waiting, (double)lag_ms / 1000);
	buf_printf(out,
		   "# HELP cenote_vectors_made_total Vectors that were made and stored.\n"
		   "# TYPE cenote_vectors_made_total counter\ncenote_vectors_made_total %llu\n"
		   "# HELP cenote_vectors_refused_total Texts that the encoder refused.\n"
		   "# TYPE cenote_vectors_refused_total counter\ncenote_vectors_refused_total %llu\n"
		   "# HELP cenote_vectors_failures_total Attempts that failed and are repeated after a pause.\n"
		   "# TYPE cenote_vectors_failures_total counter\ncenote_vectors_failures_total %llu\n"
		   "# HELP cenote_vectors_switches_total Changes of the model in use.\n"
		   "# TYPE cenote_vectors_switches_total counter\ncenote_vectors_switches_total %llu\n",
		   (unsigned long long)atomic_load(&v->made), (unsigned long long)atomic_load(&v->refused),
		   (unsigned long long)atomic_load(&v->failures), (unsigned long long)atomic_load(&v->switches));
}
