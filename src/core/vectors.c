/* The table of tenants, from beginning to end; waking the worker; trouble with the encoder. */
#include "core/vectors_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "core/words.h"

#define POLL_MS 2000
#define QUESTION_MS 3000

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
	v->read_room = READ_ROOM;
	v->former_ms = FORMER_MS;
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
	if (words_new(store, 0, v->opt.languages, &v->words) != OK) {
		enum err e = diag_get()->code;

		vectors_free(v);
		return e;
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
	vectors_foreign_free(&t->foreign);
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
	words_free(v->words);
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

bool vectors_own(const struct vectors *v, struct str model)
{
	size_t n = strlen(v->name);
	char own[MODEL_ROOM];

	vectors_key(v, own);
	return own[0] ? str_eq(model, str_c(own)) : model.n > n && memcmp(model.p, v->name, n) == 0 && model.p[n] == '/';
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

void vectors_wake_worker(struct vectors *v, bool now)
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
	vectors_wake_worker(v, false);
}

/* ----------------------------------------------------------------- trouble */

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
