/* Words: scopes from the cache, caught up with the store; searching items. See words.h for what holds.
 *
 * Invariants
 *  1. No lock is held across a call of the store or a wait; what needs a lock and takes above a millisecond runs on the CPU pool.
 *  2. A scope is changed only together with its cursor, under the write lock, and only from the cursor at which the changes were
 * asked for (apply): so changes are neither lost nor applied over newer ones.
 *  3. A scope that a change could not be applied to is dropped and loaded again. */
#include "core/words_impl.h"

#include <stdlib.h>

#include "base/heap.h"
#include "index/order.h"
#include "rt/wait.h"
#include "rt/work.h"

/* Scopes of more rows are worked on in the CPU pool: searching items, and ranking messages, which takes longer. */
#define LARGE_ROWS 20000u
#define LARGE_MESSAGES 4000u
/* Changes of more bytes are applied in the CPU pool. */
#define LARGE_CHANGES (64u << 10)
/* After a load of more bytes of documents free memory goes back to the system. */
#define LARGE_LOAD (512u << 10)
/* Messages of one user are ranked in memory, cached or not. */
#define UNCACHED_MAX ((size_t)1 << 30)
#define TRIES_MAX 100
#define TASK_ROOM ((size_t)64 << 10)
#define TASK_MS 120000 /* reading a scope into memory goes on for so long at most */
#define POLL_MAX_NS UINT64_C(50000000)
/* More changes than this are not collected: the scope is read again. */
#define CHANGES_ROOM ((size_t)64 << 20)

enum err words_new(struct store *store, size_t cache_bytes, struct str languages, struct words **out)
{
	struct words *w = calloc(1, sizeof *w);
	enum err e;

	if (!w)
		return err_set(E_LIMIT, "out of memory");
	w->store = store;
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->idle, NULL);
	CHECK(words_languages_parse(w, languages));
	if (cache_bytes) {
		w->cache = cache_new(cache_bytes);
		if (!w->cache) {
			e = err_set(E_LIMIT, "out of memory");
			goto out;
		}
	}
	*out = w;
	return OK;
out:
	words_free(w);
	return e;
}

void words_free(struct words *w)
{
	if (!w)
		return;
	atomic_store(&w->stopping, true);
	pthread_mutex_lock(&w->lock);
	while (w->loading)
		pthread_cond_wait(&w->idle, &w->lock);
	pthread_mutex_unlock(&w->lock);
	pthread_cond_destroy(&w->idle);
	pthread_mutex_destroy(&w->lock);
	cache_free(w->cache);
	free(w->rules);
	free(w->text);
	free(w);
}

void words_metrics(struct words *w, struct buf *out)
{
	struct cache_stats s = {0};

	if (w->cache)
		cache_stats(w->cache, &s);
	buf_printf(out,
		   "# HELP cenote_word_index_bytes Memory that the cache of word indexes takes.\n"
		   "# TYPE cenote_word_index_bytes gauge\ncenote_word_index_bytes %zu\n"
		   "# HELP cenote_word_index_scopes Scopes in the cache.\n"
		   "# TYPE cenote_word_index_scopes gauge\ncenote_word_index_scopes %zu\n"
		   "# HELP cenote_word_index_hits_total Searches that found their scope in memory.\n"
		   "# TYPE cenote_word_index_hits_total counter\ncenote_word_index_hits_total %llu\n"
		   "# HELP cenote_word_index_misses_total Searches that had to read their scope from the store.\n"
		   "# TYPE cenote_word_index_misses_total counter\ncenote_word_index_misses_total %llu\n"
		   "# HELP cenote_word_index_evictions_total Scopes that made room for others.\n"
		   "# TYPE cenote_word_index_evictions_total counter\ncenote_word_index_evictions_total %llu\n",
		   s.bytes, s.entries, (unsigned long long)s.hits, (unsigned long long)s.misses, (unsigned long long)s.evictions);
}

/* ----------------------------------------------------------------- loading */

struct waiter {
	struct list node;
	struct event ev;
	bool loader;
	enum err err; /* of the load, for the one that began it */
	struct diag diag;
};

struct load {
	const struct words *w;
	const struct principal *who;
	const struct doc_scope *scope;
	size_t limit; /* of the scope's bytes */
	struct scope *s;
	struct vector_scope *v;
	struct marks marks;
	uint64_t cursor, doc_bytes, docs;
	struct cache_entry *en; /* whose waiters are looked after; NULL: none */
	bool too_large;
	struct remake remake;
	enum err err;
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

/* Keeps the vector of a document, in a scope that is made when the first one comes. A blob that is damaged, or of other dimensions
 * than the rest, counts as none: the document is found by words. */
static enum err take_vector(struct vector_scope **vs, int64_t id, struct str blob)
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

/* Codes instead of vectors, and no marks: changes will make the words again. */
static enum err keep_codes(struct vector_scope **v, struct marks *marks)
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
		TRY(keep_codes(&l->v, &l->marks));
	l->too_large = estimate(l) > l->limit;
	if (l->too_large && l->en && l->docs)
		atomic_store(&l->en->item_bytes, estimate(l) / l->docs + 1);
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
			TRY(take_vector(&l->v, d->id, d->vector));
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

static void load_drop(struct load *l)
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
		load_drop(l);
	if (l->doc_bytes > LARGE_LOAD) /* making the segments took several times their room */
		heap_trim();
	return e;
}

/* A fresh scope from the store; l->s stays NULL when it is too large. */
static enum err load(struct load *l)
{
	l->remake = (struct remake){.w = l->w, .who = l->who, .kind = l->scope->kind};
	l->s = scope_new(l->scope->kind == DOC_MESSAGE);
	if (!l->s)
		return err_set(E_LIMIT, "out of memory for the word index");
	return work_run(load_run, l);
}

/* What an entry had. */
struct former {
	struct scope *scope;
	struct vector_scope *vectors;
	struct marks marks;
};

/* Empties the entry, or fills it with what was loaded, and hands out what it had before, which is to be freed: but a scope that is
 * being merged is left to the merger. Write lock. */
static struct former swap_scope(struct cache_entry *en, const struct load *l)
{
	struct former old = {en->scope, en->vectors, en->marks};

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

static void former_free(struct former *f)
{
	scope_free(f->scope);
	vector_scope_free(f->vectors);
	marks_release(&f->marks);
}

static size_t entry_bytes(const struct cache_entry *en)
{
	return (en->scope ? scope_bytes(en->scope) : 0) + vectors_bytes(en->vectors) + marks_bytes(&en->marks);
}

static void install(struct words *w, struct cache_entry *en, struct load *l)
{
	struct former old;
	size_t bytes;

	pthread_rwlock_wrlock(&en->lock);
	old = swap_scope(en, l);
	atomic_store(&en->cursor, l->cursor);
	atomic_store(&en->too_large, l->s ? 0 : l->doc_bytes + 1);
	bytes = entry_bytes(en);
	pthread_rwlock_unlock(&en->lock);
	former_free(&old);
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
	enum err e = load(&l);

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

/* Has the entry's scope loaded, in the background, and waits for it. */
static enum err load_entry(struct words *w, struct cache_entry *en, const struct principal *who, const struct doc_scope *scope,
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

/* ------------------------------------------------------------- catching up */

struct changes {
	const struct words *w;
	struct arena *a;
	struct doc_change *v;
	size_t n, cap, bytes;
	bool with_vectors;
	struct remake remake;
	enum err err;
	struct diag diag;
};

static enum err changes_add(void *ctx, const struct doc_change *d)
{
	struct changes *c = ctx;
	struct doc_change *copy;

	if (c->n == c->cap) {
		size_t cap = c->cap ? c->cap * 2 : 16;

		c->v = arena_grow(c->a, c->v, c->cap * sizeof *c->v, cap * sizeof *c->v);
		if (!c->v)
			return E_NOMEM;
		c->cap = cap;
	}
	copy = &c->v[c->n];
	*copy = (struct doc_change){.id = d->id, .removed = d->removed || d->terms.n == 0, .mark = d->mark};
	if (!copy->removed) {
		copy->terms = arena_str(c->a, d->terms);
		copy->lang_ns = arena_str(c->a, d->lang_ns);
		copy->vector = arena_str(c->a, d->vector);
		if (!copy->terms.p || !copy->lang_ns.p || !copy->vector.p)
			return E_NOMEM;
	}
	c->bytes += d->terms.n + d->vector.n + sizeof *d;
	c->n++;
	return OK;
}

static bool on_change(void *ctx, const struct doc_change *d)
{
	struct changes *c = ctx;

	c->err = !d->removed && remake_needed(c->w, d) ? remake_add(&c->remake, d) : changes_add(c, d);
	if (c->err != OK)
		c->diag = *diag_get();
	return c->err == OK;
}

struct apply {
	struct cache_entry *en;
	struct scope *s;
	struct changes *c;
	uint64_t from, to;
	size_t limit; /* above it vectors become codes */
	bool applied, merge;
	size_t bytes;
	struct merge_plan plan;
};

/* A document as it is now, where the scope has a model: its words only when they are others than before. */
static enum err apply_with_vector(struct cache_entry *en, const struct doc_change *d)
{
	uint64_t mark = d->removed ? 0 : doc_mark(d->terms);

	if (d->removed) {
		TRY(scope_remove(en->scope, d->id));
		marks_remove(&en->marks, d->id);
	} else if (!marks_has(&en->marks, d->id, mark)) {
		TRY(scope_add(en->scope, d->id, d->terms, d->lang_ns));
		if (!vector_scope_coded(en->vectors))
			TRY(marks_put(&en->marks, d->id, mark));
	}
	if (!d->removed && d->vector.n > 0 && d->mark == mark)
		return take_vector(&en->vectors, d->id, d->vector);
	if (en->vectors)
		(void)vector_scope_remove(en->vectors, d->id);
	return OK;
}

static enum err apply_changes(struct cache_entry *en, const struct changes *c)
{
	for (size_t i = 0; i < c->n; i++) {
		const struct doc_change *d = &c->v[i];

		if (c->with_vectors)
			TRY(apply_with_vector(en, d));
		else
			TRY(d->removed ? scope_remove(en->scope, d->id) : scope_add(en->scope, d->id, d->terms, d->lang_ns));
	}
	return scope_commit(en->scope);
}

static enum err apply_run(void *arg)
{
	struct apply *ap = arg;
	struct cache_entry *en = ap->en;
	struct former gone = {0};
	enum err e = OK;

	pthread_rwlock_wrlock(&en->lock);
	ap->s = en->scope;
	if (ap->s && atomic_load(&en->cursor) == ap->from) {
		e = apply_changes(en, ap->c);
		if (e == OK && !ap->s->messages && en->vectors && !vector_scope_coded(en->vectors) && entry_bytes(en) > ap->limit)
			e = keep_codes(&en->vectors, &en->marks);
		if (e == OK) {
			atomic_store(&en->cursor, ap->to);
			atomic_store(&en->rows, ap->s->rows + 1);
			ap->bytes = entry_bytes(en);
			ap->applied = true;
			ap->merge = scope_merge_plan(ap->s, &ap->plan);
		} else {
			gone = swap_scope(en, NULL);
		}
	}
	pthread_rwlock_unlock(&en->lock);
	former_free(&gone);
	return e;
}

/* Joins segments as planned; the scope cannot be freed by anybody else meanwhile. */
static enum err merge_run(void *arg)
{
	struct apply *ap = arg;
	enum err e = scope_merge_run(&ap->plan);
	struct scope *gone = NULL;

	pthread_rwlock_wrlock(&ap->en->lock);
	scope_merge_install(ap->s, &ap->plan, e == OK);
	ap->bytes = entry_bytes(ap->en);
	if (ap->s->orphan)
		gone = ap->s;
	pthread_rwlock_unlock(&ap->en->lock);
	if (gone)
		ap->bytes = 0;
	scope_free(gone);
	return e;
}

/* A plan that was made is carried out even when the pool is full: nobody else could take the scope out of its state. */
static enum err merge_planned(struct apply *ap)
{
	enum err e = work_run(merge_run, ap);

	if (ap->plan.n > 0 && (e == E_BUSY || e == E_CANCELLED || e == E_TIMEOUT))
		e = merge_run(ap);
	return e;
}

/* Drops the entry's scope unless it has moved on from the cursor `from`. */
static void drop(struct words *w, struct cache_entry *en, uint64_t from, uint64_t too_large)
{
	struct former old = {0};
	bool dropped = false;

	pthread_rwlock_wrlock(&en->lock);
	if (en->scope && atomic_load(&en->cursor) == from) {
		old = swap_scope(en, NULL);
		atomic_store(&en->too_large, too_large);
		dropped = true;
	}
	pthread_rwlock_unlock(&en->lock);
	former_free(&old);
	if (dropped)
		cache_charge(w->cache, en, 0);
}

/* *retry: somebody else has moved the scope on, so that these changes may not be in it. */
static enum err apply(struct words *w, struct cache_entry *en, struct changes *c, uint64_t from, uint64_t to, bool *retry)
{
	struct apply ap = {.en = en, .c = c, .from = from, .to = to, .limit = cache_ceiling(w->cache)};

	TRY(c->bytes > LARGE_CHANGES || atomic_load(&en->rows) > LARGE_ROWS ? work_run(apply_run, &ap) : apply_run(&ap));
	*retry = !ap.applied;
	if (!ap.applied)
		return OK;
	if (ap.merge)
		TRY(merge_planned(&ap));
	if (ap.bytes == 0)
		return OK;
	if (ap.bytes > cache_ceiling(w->cache))
		drop(w, en, to, ap.bytes * 2);
	else
		cache_charge(w->cache, en, ap.bytes);
	return OK;
}

/* Applies what has changed in the store since the scope's cursor. */
static enum err catch_up(struct words *w, struct cache_entry *en, const struct principal *who, const struct doc_scope *scope,
			 bool *retry)
{
	struct store *st = w->store;
	struct arena scratch;
	struct changes c = {
		.w = w, .a = &scratch, .with_vectors = scope->model.n > 0, .remake = {.w = w, .who = who, .kind = scope->kind}};
	uint64_t from = atomic_load(&en->cursor), to = from, expected = from;
	enum err e;

	*retry = false;
	arena_init(&scratch, CHANGES_ROOM);
	e = st->ops->doc_changes(st, who, scope, &to, on_change, &c);
	if (c.err != OK) {
		*diag_get() = c.diag;
		e = c.err;
	}
	if (e == E_CONFLICT || c.err == E_LIMIT) { /* the driver has forgotten, or there are too many: read all of it again */
		drop(w, en, from, 0);
		e = OK;
		goto out;
	}
	if (e != OK)
		goto out;
	CHECK(remake_all(&c.remake, changes_add, &c));
	if (c.n > 0)
		e = apply(w, en, &c, from, to, retry);
	else if (to != from)
		(void)atomic_compare_exchange_strong(&en->cursor, &expected, to);
out:
	remake_release(&c.remake);
	arena_release(&scratch);
	return e;
}

/* ----------------------------------------------------- running under the lock */

struct under_lock {
	struct cache_entry *en;
	enum err (*fn)(void *ctx, const struct scope *s, const struct vector_scope *v);
	void *ctx;
	bool done;
};

static enum err under_lock_run(void *arg)
{
	struct under_lock *u = arg;
	enum err e = OK;

	pthread_rwlock_rdlock(&u->en->lock);
	if (u->en->scope && u->en->scope->messages && !scope_order_current(u->en->scope)) {
		pthread_rwlock_unlock(&u->en->lock);
		pthread_rwlock_wrlock(&u->en->lock);
		if (u->en->scope)
			e = scope_order_make(u->en->scope);
		pthread_rwlock_unlock(&u->en->lock);
		return e;
	}
	if (u->en->scope) {
		e = u->fn(u->ctx, u->en->scope, u->en->vectors);
		u->done = true;
	}
	pthread_rwlock_unlock(&u->en->lock);
	return e;
}

static enum err with_entry(struct words *w, struct cache_entry *en, const struct principal *who, const struct doc_scope *scope,
			   struct under_lock *u, bool *too_large)
{
	bool missed = false, retry, gave_up;

	u->en = en;
	for (int i = 0; i < TRIES_MAX && !u->done; i++) {
		*too_large = false;
		if (!atomic_load(&en->rows)) {
			*too_large = atomic_load(&en->too_large) != 0;
			if (*too_large)
				break;
			/* Another one's load may have begun before this search did: catch up below all the same. */
			TRY(load_entry(w, en, who, scope, &gave_up));
			missed = true;
			if (gave_up) {
				*too_large = true;
				break;
			}
			if (!atomic_load(&en->rows))
				continue;
		}
		TRY(catch_up(w, en, who, scope, &retry));
		if (!retry)
			TRY(atomic_load(&en->rows) > (scope->kind == DOC_MESSAGE ? LARGE_MESSAGES : LARGE_ROWS)
				    ? work_run(under_lock_run, u)
				    : under_lock_run(u));
	}
	cache_count(w->cache, !missed && !*too_large);
	if (!u->done && !*too_large)
		return err_set(E_BUSY, "the word index changes faster than it can be read");
	return OK;
}

/* Messages that do not fit the cache: a scope for this one question. */
static enum err with_private_scope(struct words *w, const struct principal *who, const struct doc_scope *scope,
				   struct under_lock *u, struct cache_entry *cached)
{
	struct load l = {.w = w, .who = who, .scope = scope, .limit = UNCACHED_MAX};
	struct cache_entry en = {.scope = NULL};
	enum err e;

	TRY(load(&l));
	if (!l.s)
		return err_set(E_LIMIT, "the messages of this user are too many to be ranked in memory");
	pthread_rwlock_init(&en.lock, NULL);
	en.scope = l.s;
	en.vectors = l.v;
	en.marks = l.marks;
	if (cached && entry_bytes(&en) < cache_ceiling(w->cache) / 2)
		atomic_store(&cached->too_large, 0); /* it has shrunk */
	u->en = &en;
	e = l.s->rows > LARGE_MESSAGES ? work_run(under_lock_run, u) : under_lock_run(u);
	l.s = en.scope;
	load_drop(&l);
	pthread_rwlock_destroy(&en.lock);
	return e;
}

static struct str scope_key(struct arena *a, const struct principal *who, const struct doc_scope *scope)
{
	/* A change of the model in use is a change of the entries: those by the former model are not looked at any more and go. */
	return arena_printf(a, "%.*s\n%c%.*s\n%.*s", STR_ARG(who->tenant), scope->kind == DOC_ITEM ? 'i' : 'm',
			    STR_ARG(scope->model), STR_ARG(scope->prefix));
}

enum err words_with_scope(struct words *w, struct arena *a, const struct principal *who, const struct doc_scope *scope,
			  enum err (*fn)(void *ctx, const struct scope *s, const struct vector_scope *v), void *ctx, bool *skipped)
{
	struct under_lock u = {.fn = fn, .ctx = ctx};
	struct cache_entry *en = NULL;
	struct str key;
	bool too_large;
	enum err e = OK;

	*skipped = false;
	TRY(principal_check(who, RIGHT_READ));
	if (w->cache) {
		key = scope_key(a, who, scope);
		if (!key.p)
			return E_NOMEM;
		en = cache_acquire(w->cache, key);
		if (!en)
			return err_set(E_LIMIT, "out of memory for the word index");
		e = with_entry(w, en, who, scope, &u, &too_large);
	}
	if (e == OK && !u.done && scope->kind == DOC_MESSAGE)
		e = with_private_scope(w, who, scope, &u, en);
	*skipped = e == OK && !u.done;
	if (en)
		cache_release(w->cache, en);
	return e;
}

/* --------------------------------------------------------------- searching */

struct search {
	const struct words *w;
	struct arena *a;
	struct str query;
	size_t want;
	bool explain;
	struct query_term *q;
	size_t q_n;
	struct word_hit *hits;
	size_t n, total;
	uint64_t docs; /* of the scope */
};

enum err words_explain(struct arena *a, const struct query_term *q, size_t q_n, const uint32_t *tf, uint32_t len,
		       const struct bm25 *c, struct str *out)
{
	struct buf b;
	struct jw w;

	buf_init(&b, a, (size_t)1 << 20);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "words");
	jw_arr(&w);
	for (size_t t = 0; t < q_n; t++) {
		if (tf[t] == 0)
			continue;
		jw_obj(&w);
		jw_key(&w, "term");
		jw_str(&w, q[t].text);
		jw_key(&w, "idf");
		jw_double(&w, q[t].idf);
		jw_key(&w, "tf");
		jw_u64(&w, tf[t]);
		jw_key(&w, "contribution");
		jw_double(&w, bm25_part(c, q[t].weight * q[t].idf, tf[t], len));
		jw_end_obj(&w);
	}
	jw_end_arr(&w);
	jw_key(&w, "length");
	jw_u64(&w, len);
	jw_key(&w, "average_length");
	jw_double(&w, c->average);
	jw_end_obj(&w);
	*out = buf_slice(&b);
	return b.err;
}

static enum err hits_of(struct search *s, const struct scored *best, size_t n)
{
	s->hits = ARENA_ARRAY(s->a, struct word_hit, n);
	if (!s->hits)
		return E_NOMEM;
	for (size_t i = 0; i < n; i++)
		s->hits[i] = (struct word_hit){.id = best[i].id, .score = best[i].score, .explain = STR("")};
	s->n = n;
	return OK;
}

static enum err explain_from_scope(struct search *s, const struct scope *sc, const struct bm25 *c)
{
	uint32_t tf[QUESTION_TERMS_MAX], len;

	for (size_t i = 0; i < s->n; i++)
		if (scope_term_counts(sc, s->hits[i].id, s->q, s->q_n, tf, &len))
			TRY(words_explain(s->a, s->q, s->q_n, tf, len, c, &s->hits[i].explain));
	return OK;
}

static enum err search_scope(void *ctx, const struct scope *sc, const struct vector_scope *v)
{
	struct search *s = ctx;
	uint32_t langs = scope_langs(sc);
	size_t slots = scope_row_slots(sc), n;
	struct scored *best;
	struct bm25 c;
	double *score;
	enum err e;

	(void)v;
	s->docs = sc->docs;
	TRY(question_terms(s->a, langs ? langs : s->w->langs, s->query, &s->q, &s->q_n));
	if (s->q_n == 0)
		return OK;
	score = calloc(slots + 1, sizeof *score);
	if (!score)
		return err_set(E_LIMIT, "out of memory while searching");
	scope_query_prepare(sc, s->q, s->q_n, &c);
	scope_score(sc, s->q, s->q_n, &c, score, NULL);
	CHECK(scope_best(sc, score, s->want, TOP_EXTRA, s->a, &best, &n, &s->total));
	CHECK(hits_of(s, best, n));
	if (s->explain)
		CHECK(explain_from_scope(s, sc, &c));
out:
	free(score);
	return e;
}

struct scan_job {
	struct search *s;
	const struct principal *who;
	const struct doc_scope *scope;
	struct scan_result r;
};

static enum err scan_run(void *arg)
{
	struct scan_job *j = arg;
	struct search *s = j->s;

	return words_scan(s->w, s->a, j->who, j->scope, s->q, s->q_n, s->want, s->explain, &j->r);
}

/* The same answer without the cache. *bytes: of the scope's documents. */
static enum err search_by_scan(struct search *s, const struct principal *who, const struct doc_scope *scope, uint64_t *bytes)
{
	struct scan_job j = {.s = s, .who = who, .scope = scope};
	uint32_t tf[QUESTION_TERMS_MAX];
	size_t used = 0;

	TRY(question_terms(s->a, s->w->langs, s->query, &s->q, &s->q_n));
	if (s->q_n == 0)
		return OK;
	TRY(work_run(scan_run, &j));
	*bytes = j.r.bytes;
	s->docs = j.r.docs;
	TRY(hits_of(s, j.r.best, j.r.n));
	s->total = j.r.total;
	for (size_t i = 0; s->explain && i < s->n; i++) {
		for (size_t t = 0; t < s->q_n; t++)
			tf[t] = j.r.tf[i * s->q_n + t];
		TRY(words_explain(s->a, s->q, s->q_n, tf, j.r.len[i], &j.r.figures, &s->hits[i].explain));
	}
	for (size_t t = 0; t < s->q_n; t++)
		used += !j.r.langs || (s->q[t].langs & j.r.langs);
	s->q_n = used;
	return OK;
}

struct words_fit words_fit(struct words *w, struct arena *a, const struct principal *who, const struct doc_scope *scope)
{
	struct str key = w->cache ? scope_key(a, who, scope) : STR("");
	struct cache_entry *en = key.n ? cache_acquire(w->cache, key) : NULL;
	struct words_fit fit = {.loading = false};

	if (!en)
		return fit;
	fit.loading = cache_loading(w->cache, en);
	fit.late_docs = atomic_load(&en->late_docs);
	fit.item_bytes = atomic_load(&en->item_bytes);
	cache_release(w->cache, en);
	return fit;
}

void words_set_late(struct words *w, struct arena *a, const struct principal *who, const struct doc_scope *scope, uint64_t docs)
{
	struct str key = w->cache ? scope_key(a, who, scope) : STR("");
	struct cache_entry *en = key.n ? cache_acquire(w->cache, key) : NULL;

	if (!en)
		return;
	atomic_store(&en->late_docs, docs);
	if (docs == 0) /* it is another size now: perhaps it fits */
		atomic_store(&en->too_large, 0);
	cache_release(w->cache, en);
}

void words_maybe_fits(struct words *w, struct arena *a, const struct principal *who, const struct doc_scope *scope, uint64_t bytes)
{
	struct str key = w->cache ? scope_key(a, who, scope) : STR("");
	struct cache_entry *en = key.n ? cache_acquire(w->cache, key) : NULL;

	if (!en)
		return;
	if (bytes < atomic_load(&en->too_large) / 2)
		atomic_store(&en->too_large, 0);
	cache_release(w->cache, en);
}

enum err words_find(struct words *w, struct arena *a, const struct principal *who, const struct doc_scope *scope, struct str query,
		    size_t want, bool explain, bool cached, struct words_found *out)
{
	struct search s = {.w = w, .a = a, .query = query, .want = want, .explain = explain};
	uint64_t bytes = UINT64_MAX;
	bool skipped = true;

	*out = (struct words_found){.n = 0};
	if (scope->kind != DOC_ITEM)
		return err_set(E_INTERNAL, "words_search is for items, messages are ranked by recall");
	if (cached)
		TRY(words_with_scope(w, a, who, scope, search_scope, &s, &skipped));
	if (skipped) {
		TRY(search_by_scan(&s, who, scope, &bytes));
		words_maybe_fits(w, a, who, scope, bytes);
	}
	*out = (struct words_found){s.hits, s.n, s.total, (unsigned)s.q_n, s.docs};
	return OK;
}

enum err words_search(struct words *w, struct arena *a, const struct principal *who, const struct doc_scope *scope,
		      struct str query, size_t want, bool explain, struct word_hit **out, size_t *n, size_t *total,
		      unsigned *terms_used)
{
	struct words_found f;

	*out = NULL;
	*n = 0;
	if (total)
		*total = 0;
	TRY(words_find(w, a, who, scope, query, want, explain, true, &f));
	*out = f.hits;
	*n = f.n;
	if (total)
		*total = f.total;
	*terms_used = f.terms;
	return OK;
}
