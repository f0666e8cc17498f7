/* What was known at a time: the items that had been written by then and stand as they were, and the states of the history that were
 * known then (core/fact_store.h), ranked by their words in a scope that is made for the question.
 *
 * By words alone: states of the history keep no vectors. An item that is no fact leaves nothing behind when it is overwritten or
 * deleted; so of those only what has not changed since is known.
 *
 * Invariants
 *  1. The scope holds what passes the question's conditions (kinds, times, filter, who asks), and nothing else: what its best are
 *     is the answer, however much does not pass.
 *  2. Items are read before the history: what is superseded in between is found twice, not never. One of the two is dropped.
 *  3. At most AS_OF_ITEMS candidates of AS_OF_BYTES; more is an error, never a part of the answer. */
#include <math.h>
#include <stdlib.h>

#include "base/map.h"
#include "core/fact_store.h"
#include "core/recall_impl.h"

#define AS_OF_ITEMS 20000
#define AS_OF_BYTES ((size_t)64 << 20)

struct past {
	struct recaller *r;
	struct arena all, scratch; /* all: of everything found; scratch: of one look at it */
	struct known {
		struct item it;
		struct str terms;
		bool have_terms;
	} * v;
	size_t n, cap, bytes;
	enum err err;
	struct diag diag;
};

static bool stop(struct past *p, enum err e)
{
	p->err = e;
	if (e != OK)
		p->diag = *diag_get();
	return e == OK;
}

static enum err add(struct past *p, const struct item *it, const struct str *terms)
{
	struct known *k;
	bool passes;

	arena_clear(&p->scratch);
	TRY(recall_item_passes(p->r, &p->scratch, it, &passes));
	if (!passes)
		return OK;
	p->bytes += it->value.n + (terms ? terms->n : 0);
	if (p->n == AS_OF_ITEMS || p->bytes > AS_OF_BYTES)
		return err_field(E_LIMIT, "/as_of", -1,
				 "as_of looks at most at %d items of %zu MiB, and more were known at that time; name a smaller "
				 "namespace, or a filter",
				 AS_OF_ITEMS, AS_OF_BYTES >> 20);
	if (p->n == p->cap) {
		size_t cap = p->cap ? p->cap * 2 : 256;

		k = arena_grow(&p->all, p->v, p->cap * sizeof *k, cap * sizeof *k);
		if (!k)
			return E_NOMEM;
		p->v = k;
		p->cap = cap;
	}
	k = &p->v[p->n++];
	*k = (struct known){.it = *it, .have_terms = terms != NULL};
	k->it.ns = arena_str(&p->all, it->ns);
	k->it.key = arena_str(&p->all, it->key);
	k->it.value = arena_str(&p->all, it->value);
	if (terms)
		k->terms = arena_str(&p->all, *terms);
	return k->it.ns.p && k->it.key.p && k->it.value.p && (!terms || k->terms.p) ? OK : E_NOMEM;
}

static bool on_item(void *ctx, const struct item *it)
{
	struct past *p = ctx;
	struct item live = *it;

	if (it->updated_us > p->r->rq->as_of_us)
		return true;
	live.id = it->id ? it->id : -1; /* written by another program, not numbered yet */
	return stop(p, add(p, &live, NULL));
}

static bool on_state(void *ctx, const struct fact_state *s)
{
	struct past *p = ctx;
	struct item it = fact_state_item(s);

	it.id = -1;
	return stop(p, add(p, &it, &s->terms));
}

/* ---------------------------------------------------------- index documents */

static int by_id(const void *a, const void *b)
{
	const struct known *x = *(struct known *const *)a, *y = *(struct known *const *)b;

	return (x->it.id > y->it.id) - (x->it.id < y->it.id);
}

struct documents {
	struct past *p;
	struct known **v; /* by id */
	size_t n;
};

static bool on_document(void *ctx, const struct doc_change *d)
{
	struct documents *x = ctx;
	struct known wanted = {.it = {.id = d->id}}, *key = &wanted, **at;

	at = x->n ? bsearch(&key, x->v, x->n, sizeof *x->v, by_id) : NULL;
	if (!at)
		return true;
	(*at)->have_terms = !remake_needed(memory_words(x->p->r->m), d);
	if (!(*at)->have_terms)
		return true;
	(*at)->terms = arena_str(&x->p->all, d->terms);
	return stop(x->p, (*at)->terms.p ? OK : E_NOMEM);
}

/* Those of the items from `first` on, as they are stored: what is not to be found by words is not there. */
static enum err read_documents(struct past *p, struct str prefix, size_t first)
{
	struct store *s = memory_store(p->r->m);
	struct doc_scope scope = {.kind = DOC_ITEM, .prefix = prefix, .model = STR("")};
	struct documents x = {.p = p, .v = ARENA_ARRAY(&p->all, struct known *, p->n - first + 1)};
	uint64_t cursor = 0;

	if (!x.v)
		return E_NOMEM;
	for (size_t i = first; i < p->n; i++) {
		if (p->v[i].it.id <= 0)
			continue;
		p->v[i].terms = STR("");
		p->v[i].have_terms = true;
		x.v[x.n++] = &p->v[i];
	}
	if (x.n == 0)
		return OK;
	qsort(x.v, x.n, sizeof *x.v, by_id);
	TRY(s->ops->doc_scan(s, p->r->who, &scope, &cursor, on_document, &x));
	if (p->err == OK)
		return OK;
	*diag_get() = p->diag;
	return p->err;
}

/* ------------------------------------------------------------------ reading */

static enum err ended(struct past *p, enum err e)
{
	if (e != OK || p->err == OK)
		return e;
	*diag_get() = p->diag;
	return p->err;
}

static enum err read_namespace(struct past *p, struct str prefix)
{
	struct store *s = memory_store(p->r->m);
	const struct principal *who = p->r->who;
	int64_t omit_us = memory_omit_us(p->r->m);
	size_t first = p->n;

	TRY(ended(p, s->ops->item_scan(s, who, prefix, omit_us, NULL, on_item, p)));
	TRY(read_documents(p, prefix, first));
	return ended(p, s->ops->facts->known_at(s, who, prefix, p->r->rq->as_of_us, omit_us, on_state, p));
}

/* Is ns at or below prefix? */
static bool below(struct str ns, struct str prefix)
{
	return prefix.n == 0 || (str_starts(ns, prefix) && (ns.n == prefix.n || ns.p[prefix.n] == '.'));
}

static int by_name(const void *a, const void *b)
{
	const struct known *x = a, *y = b;
	int c = str_cmp(x->it.ns, y->it.ns);

	if (c == 0)
		c = str_cmp(x->it.key, y->it.key);
	if (c == 0)
		c = (x->it.updated_us > y->it.updated_us) - (x->it.updated_us < y->it.updated_us);
	return c;
}

/* Of one key, the last that was written by then: once. Numbers them. */
static void settle(struct past *p)
{
	size_t n = 0;

	if (p->n)
		qsort(p->v, p->n, sizeof *p->v, by_name);
	for (size_t i = 0; i < p->n; i++) {
		struct known *k = &p->v[i], *next = i + 1 < p->n ? k + 1 : NULL;

		if (next && str_eq(k->it.ns, next->it.ns) && str_eq(k->it.key, next->it.key))
			continue;
		p->v[n] = *k;
		p->v[n].it.id = (int64_t)n + 1;
		n++;
	}
	p->n = n;
}

/* ------------------------------------------------------------------ ranking */

static enum err keep(struct recaller *r, const struct known *k, const struct item_hit *hit)
{
	struct item_candidate *c = &r->items[r->items_n];

	*c = (struct item_candidate){.hit = *hit, .item = k->it, .updated_us = k->it.updated_us};
	c->item.ns = c->ns = arena_str(r->a, k->it.ns);
	c->item.key = c->key = arena_str(r->a, k->it.key);
	c->item.value = arena_str(r->a, k->it.value);
	if (!c->ns.p || !c->key.p || !c->item.value.p)
		return E_NOMEM;
	r->items_n++;
	return OK;
}

static enum err fill_scope(struct past *p, struct scope *s)
{
	for (size_t i = 0; i < p->n; i++) {
		struct known *k = &p->v[i];

		if (!k->have_terms)
			TRY(words_stored_doc(memory_words(p->r->m), &p->all, k->it.ns, k->it.value, NULL, 0, &k->terms));
		if (k->terms.n > 0)
			TRY(scope_add(s, k->it.id, k->terms, STR("")));
	}
	return scope_commit(s);
}

static enum err best_of(struct past *p, struct scope *s, size_t want)
{
	struct recaller *r = p->r;
	struct words *w = memory_words(r->m);
	uint32_t langs = scope_langs(s), tf[QUESTION_TERMS_MAX], len;
	struct query_term *q;
	struct scored *best;
	struct bm25 c;
	double *score;
	size_t n, total, terms;

	TRY(question_terms(&p->all, langs ? langs : w->langs, r->rq->query, &q, &terms));
	r->items_newest = terms == 0;
	score = arena_zalloc(&p->all, (scope_row_slots(s) + 1) * sizeof *score);
	if (!score)
		return E_NOMEM;
	if (terms == 0)
		return OK;
	scope_query_prepare(s, q, terms, &c);
	scope_score(s, q, terms, &c, score, NULL);
	TRY(scope_best(s, score, want, TOP_EXTRA, &p->all, &best, &n, &total));
	r->items = arena_zalloc(r->a, (n + 1) * sizeof *r->items);
	if (!r->items)
		return E_NOMEM;
	r->best = n ? best[0].score : 0;
	r->item_weights[RF_LEX] = 1;
	for (size_t i = 0; i < n; i++) {
		struct item_hit h = {
			.id = best[i].id, .score = best[i].score, .bm25 = best[i].score, .cosine = NAN, .words = STR("")};

		if (r->rq->explain && scope_term_counts(s, h.id, q, terms, tf, &len))
			TRY(words_explain(r->a, q, terms, tf, len, &c, &h.words));
		TRY(keep(r, &p->v[h.id - 1], &h));
	}
	return OK;
}

static int newest_first(const void *a, const void *b)
{
	const struct known *x = a, *y = b;

	if (x->it.updated_us != y->it.updated_us)
		return x->it.updated_us > y->it.updated_us ? -1 : 1;
	return by_name(a, b);
}

static enum err newest_of(struct past *p, size_t want)
{
	struct recaller *r = p->r;

	want = want < p->n ? want : p->n;
	if (p->n)
		qsort(p->v, p->n, sizeof *p->v, newest_first);
	r->items = arena_zalloc(r->a, (want + 1) * sizeof *r->items);
	if (!r->items)
		return E_NOMEM;
	for (size_t i = 0; i < want; i++)
		TRY(keep(r, &p->v[i], &(struct item_hit){.id = p->v[i].it.id, .cosine = NAN, .words = STR("")}));
	return OK;
}

static enum err rank(struct past *p)
{
	struct scope *s = scope_new(false);
	size_t want = recall_items_needed(p->r->rq);
	enum err e;

	if (!s)
		return err_set(E_LIMIT, "out of memory while searching");
	CHECK(fill_scope(p, s));
	CHECK(best_of(p, s, want));
	if (p->r->items_newest)
		CHECK(newest_of(p, want));
out:
	scope_free(s);
	return e;
}

enum err recall_items_as_of(struct recaller *r, const struct str *namespaces, size_t n)
{
	struct past p = {.r = r};
	enum err e = OK;

	if (r->rq->mode == RANK_BY_VECTORS)
		return err_field(E_INVALID, "/mode", -1,
				 "what was known at a time is found by words; as_of needs mode auto or words");
	arena_init(&p.all, AS_OF_BYTES * 4);
	arena_init(&p.scratch, AS_OF_BYTES);
	for (size_t i = 0; i < n && e == OK; i++) {
		bool covered = false;

		for (size_t k = 0; k < n && !covered; k++)
			covered = k != i && below(namespaces[i], namespaces[k]) && (k < i || !str_eq(namespaces[i], namespaces[k]));
		if (!covered)
			e = read_namespace(&p, namespaces[i]);
	}
	if (e == OK) {
		settle(&p);
		e = rank(&p);
	}
	arena_release(&p.scratch);
	arena_release(&p.all);
	if (e == OK)
		recall_items_order(r);
	return e;
}
