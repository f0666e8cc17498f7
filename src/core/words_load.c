/* Words: a scope read from the store, at once or in the background, and what a cache entry holds of it. See words.h for what holds.
 *
 * Invariants
 *  1. One loads, the others wait for it; a load goes on whoever of them goes away, and words_free waits for its end.
 *  2. A scope that would take more than its limit is not kept; of items the vectors become codes first.
 *  3. An entry's scope, vectors and marks are changed together, under its write lock. */
#include "core/words_impl.h"

#include <stdlib.h>

#include "base/heap.h"
#include "index/order.h"
#include "rt/wait.h"
#include "rt/work.h"

/* After a load of more bytes of documents free memory goes back to the system. */
#define LARGE_LOAD (512u << 10)
#define TASK_ROOM ((size_t)64 << 10)
#define TASK_MS 120000 /* reading a scope into memory goes on for so long at most */
#define POLL_MAX_NS UINT64_C(50000000)

struct waiter {
	struct list node;
	struct event ev;
	bool loader;
	enum err err; /* of the load, for the one that began it */
	struct diag diag;
};

static size_t vectors_bytes(const struct vector_scope *v)
{
	return v ? vector_scope_bytes(v) : 0;
}

/* What the scope would take about, its builder included as packed. */
static size_t estimate(const struct load *l)
{
	const struct scope *s = l->s;
	size_t n = s->builder.posts_n * 2 + (size_t)s->builder.rows * 12 + vectors_bytes(l->v) + marks_bytes(&l->marks);

	for (unsigned i = 0; i < s->segs_n; i++)
		n += s->segs[i]->bytes;
	return n;
}

/* Does the document bring a vector of just this text? */
static bool has_vector(const struct doc_change *d)
{
	return d->vector.n > 0 && d->mark == doc_mark(d->terms);
}

enum err words_take_vector(struct vector_scope **vs, int64_t id, struct str blob)
{
	struct vector v;

	if (vector_unpack(blob, &v) != OK || (*vs && (*vs)->dims != v.dims)) {
		diag_clear();
		if (*vs)
			(void)vector_scope_remove(*vs, id);
		return OK;
	}
	if (!*vs)
		*vs = vector_scope_new(v.dims);
	if (!*vs)
		return err_set(E_LIMIT, "out of memory for the vectors of a scope");
	return vector_scope_put(*vs, id, &v);
}

enum err words_keep_codes(struct vector_scope **v, struct marks *marks)
{
	TRY(vector_scope_code(v));
	marks_release(marks);
	return OK;
}

static enum err load_fits(struct load *l)
{
	if (estimate(l) <= l->limit)
		return OK;
	if (l->v && !vector_scope_coded(l->v) && !l->s->messages)
		TRY(words_keep_codes(&l->v, &l->marks));
	l->too_large = estimate(l) > l->limit;
	if (l->too_large && l->en && l->docs) {
		atomic_store(&l->en->item_bytes, estimate(l) / l->docs + 1);
		atomic_store(&l->en->least_docs, l->docs);
	}
	return OK;
}

static enum err load_doc(void *ctx, const struct doc_change *d)
{
	struct load *l = ctx;

	if (l->too_large)
		return OK;
	l->doc_bytes += d->terms.n;
	l->docs++;
	TRY(scope_add(l->s, d->id, d->terms, d->lang_ns));
	if (l->scope->model.n) {
		if (!vector_scope_coded(l->v))
			TRY(marks_put(&l->marks, d->id, doc_mark(d->terms)));
		if (has_vector(d))
			TRY(words_take_vector(&l->v, d->id, d->vector));
	}
	return load_fits(l);
}

static bool on_load(void *ctx, const struct doc_change *d)
{
	struct load *l = ctx;

	if (atomic_load_explicit(&l->w->stopping, memory_order_relaxed))
		return false;
	if (d->removed || d->terms.n == 0)
		return true;
	l->err = remake_needed(l->w, d) ? remake_add(&l->remake, d) : load_doc(l, d);
	if (l->err != OK)
		l->diag = *diag_get();
	return l->err == OK && !l->too_large;
}

static enum err load_scope(struct load *l)
{
	struct store *st = l->w->store;

	TRY(st->ops->doc_scan(st, l->who, l->scope, &l->cursor, on_load, l));
	if (l->err != OK) {
		*diag_get() = l->diag;
		return l->err;
	}
	if (atomic_load(&l->w->stopping))
		return err_set(E_BUSY, "the server is about to end");
	if (!l->too_large)
		TRY(remake_all(&l->remake, load_doc, l));
	if (l->too_large)
		return OK;
	TRY(scope_merge_all(l->s));
	if (l->s->messages)
		TRY(scope_order_make(l->s));
	TRY(load_fits(l));
	if (!l->too_large &&
	    vector_scope_coded(l->v)) /* segments have their rows in this order, and both are gone through side by side */
		TRY(vector_scope_sort(&l->v));
	return OK;
}

void words_load_drop(struct load *l)
{
	scope_free(l->s);
	vector_scope_free(l->v);
	marks_release(&l->marks);
	l->s = NULL;
	l->v = NULL;
}

static enum err load_run(void *arg)
{
	struct load *l = arg;
	enum err e = load_scope(l);

	remake_release(&l->remake);
	if (e != OK || l->too_large)
		words_load_drop(l);
	if (l->doc_bytes > LARGE_LOAD) /* making the segments took several times their room */
		heap_trim();
	return e;
}

enum err words_load(struct load *l)
{
	enum err e;

	l->remake = (struct remake){.w = l->w, .who = l->who, .kind = l->scope->kind};
	l->s = scope_new(l->scope->kind == DOC_MESSAGE);
	if (!l->s)
		return err_set(E_LIMIT, "out of memory for the word index");
	e = work_run(load_run, l);
	if (e != OK) /* it may not even have begun */
		words_load_drop(l);
	return e;
}

struct words_former words_swap_scope(struct cache_entry *en, const struct load *l)
{
	struct words_former old = {en->scope, en->vectors, en->marks};

	en->scope = l ? l->s : NULL;
	en->vectors = l ? l->v : NULL;
	marks_init(&en->marks);
	if (l)
		en->marks = l->marks;
	atomic_store(&en->rows, en->scope ? en->scope->rows + 1 : 0);
	if (old.scope && old.scope->merging) {
		old.scope->orphan = true;
		old.scope = NULL;
	}
	return old;
}

void words_former_free(struct words_former *f)
{
	scope_free(f->scope);
	vector_scope_free(f->vectors);
	marks_release(&f->marks);
}

size_t words_entry_bytes(const struct cache_entry *en)
{
	return (en->scope ? scope_bytes(en->scope) : 0) + vectors_bytes(en->vectors) + marks_bytes(&en->marks);
}

/* A scope that is there already was loaded by somebody else and may have been caught up with the store since: searches that have
 * seen that must not find an older one. Who waited for this load catches up as well. */
static void install(struct words *w, struct cache_entry *en, struct load *l)
{
	struct words_former old = {0};
	size_t bytes;

	pthread_rwlock_wrlock(&en->lock);
	if (!en->scope) {
		old = words_swap_scope(en, l);
		atomic_store(&en->cursor, l->cursor);
		atomic_store(&en->too_large, l->s ? 0 : l->doc_bytes + 1);
	} else {
		words_load_drop(l);
	}
	bytes = words_entry_bytes(en);
	pthread_rwlock_unlock(&en->lock);
	words_former_free(&old);
	cache_charge(w->cache, en, bytes);
}

/* A load that goes on whoever waits for it. */
struct task {
	struct words *w;
	struct cache_entry *en; /* held */
	struct arena a;		/* of the copies */
	struct principal who;
	struct doc_scope scope;
};

static struct task *task_new(struct words *w, struct cache_entry *en, const struct principal *who, const struct doc_scope *scope)
{
	struct task *t = calloc(1, sizeof *t);

	if (!t)
		return NULL;
	*t = (struct task){.w = w, .who = *who, .scope = *scope};
	arena_init(&t->a, TASK_ROOM);
	t->who.tenant = arena_str(&t->a, who->tenant);
	t->who.user = arena_str(&t->a, who->user);
	t->who.id = arena_str(&t->a, who->id);
	t->scope.prefix = arena_str(&t->a, scope->prefix);
	t->scope.model = arena_str(&t->a, scope->model);
	t->en = cache_acquire(w->cache, en->key);
	if (!t->who.tenant.p || !t->who.user.p || !t->who.id.p || !t->scope.prefix.p || !t->scope.model.p || t->en != en) {
		if (t->en)
			cache_release(w->cache, t->en);
		arena_release(&t->a);
		free(t);
		return NULL;
	}
	pthread_mutex_lock(&w->lock);
	w->loading++;
	pthread_mutex_unlock(&w->lock);
	return t;
}

/* Tells all who wait. */
static void load_end(struct words *w, struct cache_entry *en, enum err e)
{
	struct list woken;

	cache_load_end(w->cache, en, &woken);
	LIST_EACH (node, &woken) {
		struct waiter *x = CONTAINER(node, struct waiter, node);

		if (x->loader && e != OK) {
			x->err = e;
			x->diag = *diag_get();
		}
		event_set(&x->ev);
	}
}

static void task_free(struct task *t)
{
	struct words *w = t->w;

	cache_release(w->cache, t->en);
	arena_release(&t->a);
	free(t);
	pthread_mutex_lock(&w->lock);
	if (--w->loading == 0)
		pthread_cond_broadcast(&w->idle);
	pthread_mutex_unlock(&w->lock);
}

static enum err task_run(void *arg)
{
	struct task *t = arg;
	struct load l = {.w = t->w, .who = &t->who, .scope = &t->scope, .limit = cache_ceiling(t->w->cache), .en = t->en};
	uint64_t before = wait_within(deadline_in_ms(TASK_MS));
	enum err e = words_load(&l);

	wait_restore(before);
	if (e == OK)
		install(t->w, t->en, &l);
	load_end(t->w, t->en, e);
	task_free(t);
	return OK;
}

/* When whoever asks for items has waited long enough; for messages only the deadline ends it. */
static uint64_t load_until(const struct cache_entry *en)
{
	return atomic_load(&en->load_begun) + WORDS_LOAD_MS * UINT64_C(1000000);
}

/* Until the load has ended, or until it takes too long. A store that hangs must not keep who asks, so this does not rely on being
 * told: it looks, at first often. */
static enum err wait_loaded(struct words *w, struct cache_entry *en, struct waiter *mine, uint64_t until, bool *gave_up)
{
	uint64_t begun = clock_mono_ns(), now = begun, step;
	enum err e = OK;

	while (!event_is_set(&mine->ev) && e == OK && now < until) {
		step = (now - begun) / 4 + 500000;
		e = wait_until(now + (step < POLL_MAX_NS ? step : POLL_MAX_NS));
		now = clock_mono_ns();
	}
	if (!event_is_set(&mine->ev) && cache_load_leave(w->cache, en, &mine->node)) {
		*gave_up = true;
		return e;
	}
	event_wait(&mine->ev);
	if (mine->err != OK)
		*diag_get() = mine->diag;
	return mine->err;
}

enum err words_load_entry(struct words *w, struct cache_entry *en, const struct principal *who, const struct doc_scope *scope,
			  bool *gave_up)
{
	struct waiter mine = {.loader = false};
	struct task *t;
	enum err e;

	*gave_up = false;
	event_init(&mine.ev);
	list_init(&mine.node);
	if (cache_load_begin(w->cache, en, &mine.node)) {
		t = task_new(w, en, who, scope);
		if (!t) {
			load_end(w, en, OK); /* the next one tries */
			return err_set(E_LIMIT, "out of memory for the word index");
		}
		mine.loader = true;
		(void)cache_load_begin(w->cache, en, &mine.node); /* among those who wait */
		e = work_start(task_run, t);
		if (e != OK) {
			load_end(w, en, e);
			task_free(t);
		}
	}
	return wait_loaded(w, en, &mine, scope->kind == DOC_ITEM ? load_until(en) : NEVER, gave_up);
}
