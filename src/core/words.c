/* Words: scopes from the cache, caught up with the store; searching items. See words.h for what holds.
 *
 * Invariants
 *  1. No lock is held across a call of the store or a wait; what needs a lock and takes above a millisecond runs on the CPU pool.
 *  2. A scope is changed only together with its cursor, under the write lock, and only from the cursor at which the changes were
 * asked for (apply): so changes are neither lost nor applied over newer ones.
 *  3. A scope that a change could not be applied to is dropped and loaded again. */
#include "core/words_impl.h"

#include <stdlib.h>

#include "index/order.h"
#include "rt/work.h"

/* Scopes of more rows are worked on in the CPU pool: searching items, and ranking messages, which takes longer. */
#define LARGE_ROWS 20000u
#define LARGE_MESSAGES 4000u
/* Changes of more bytes are applied in the CPU pool. */
#define LARGE_CHANGES (64u << 10)
/* Messages of one user are ranked in memory, cached or not. */
#define UNCACHED_MAX ((size_t)1 << 30)
#define TRIES_MAX 100
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
		return words_take_vector(&en->vectors, d->id, d->vector);
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
	struct words_former gone = {0};
	enum err e = OK;

	pthread_rwlock_wrlock(&en->lock);
	ap->s = en->scope;
	if (ap->s && atomic_load(&en->cursor) == ap->from) {
		e = apply_changes(en, ap->c);
		if (e == OK && !ap->s->messages && en->vectors && !vector_scope_coded(en->vectors) &&
		    words_entry_bytes(en) > ap->limit)
			e = words_keep_codes(&en->vectors, &en->marks);
		if (e == OK) {
			atomic_store(&en->cursor, ap->to);
			atomic_store(&en->rows, ap->s->rows + 1);
			ap->bytes = words_entry_bytes(en);
			ap->applied = true;
			ap->merge = scope_merge_plan(ap->s, &ap->plan);
		} else {
			gone = words_swap_scope(en, NULL);
		}
	}
	pthread_rwlock_unlock(&en->lock);
	words_former_free(&gone);
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
	ap->bytes = words_entry_bytes(ap->en);
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
	struct words_former old = {0};
	bool dropped = false;

	pthread_rwlock_wrlock(&en->lock);
	if (en->scope && atomic_load(&en->cursor) == from) {
		old = words_swap_scope(en, NULL);
		atomic_store(&en->too_large, too_large);
		dropped = true;
	}
	pthread_rwlock_unlock(&en->lock);
	words_former_free(&old);
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
	struct changes c = {.w = w,
			    .a = &scratch,
			    .with_vectors = scope->model.n > 0,
			    .remake = {.w = w, .who = who, .kind = scope->kind, .changes = true}};
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
	e = remake_all(&c.remake, changes_add, &c);
	if (e == E_LIMIT) { /* too many, as above */
		drop(w, en, from, 0);
		e = OK;
		goto out;
	}
	if (e == OK && c.n > 0)
		e = apply(w, en, &c, from, to, retry);
	else if (e == OK && to != from)
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
			TRY(words_load_entry(w, en, who, scope, &gave_up));
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

	TRY(words_load(&l));
	if (!l.s)
		return err_set(E_LIMIT, "the messages of this user are too many to be ranked in memory");
	pthread_rwlock_init(&en.lock, NULL);
	en.scope = l.s;
	en.vectors = l.v;
	en.marks = l.marks;
	if (cached && words_entry_bytes(&en) < cache_ceiling(w->cache) / 2)
		atomic_store(&cached->too_large, 0); /* it has shrunk */
	u->en = &en;
	e = l.s->rows > LARGE_MESSAGES ? work_run(under_lock_run, u) : under_lock_run(u);
	l.s = en.scope;
	words_load_drop(&l);
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
	fit.least_docs = atomic_load(&en->least_docs);
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

void words_set_docs(struct words *w, struct arena *a, const struct principal *who, const struct doc_scope *scope, uint64_t docs)
{
	struct str key = w->cache ? scope_key(a, who, scope) : STR("");
	struct cache_entry *en = key.n ? cache_acquire(w->cache, key) : NULL;

	if (!en)
		return;
	atomic_store(&en->least_docs, docs);
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
