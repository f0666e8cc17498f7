/* Searching items: newest first without a query, best first with one; then the filter, then the page.
 *
 * Invariants
 *  1. A page never runs dry while matching items are left: with a filter (or expired hits) the word search is widened until the
 * page is full or the index has no more.
 *  2. Order with a query: score descending, then namespace, then key. Without: the store's (update descending, namespace, key).
 * Both are total, so pages neither overlap nor leave gaps.
 *  3. Nothing but items below the prefix is ever looked at: the store and the word scope are asked with it. */
#include "core/memory_impl.h"

#include <stdlib.h>

#include "base/clock.h"
#include "core/items_search.h"

enum { SEARCH_LIMIT_MAX = 1000, OFFSET_MAX = 1000000, FETCH_STEP = 256 };
/* Room for the values that are looked at on the way; cleared after every step. */
static const size_t scratch_bytes = (size_t)64 << 20;
/* Room for the hits of one round of the word search; a filter that nothing passes makes it look at every hit there is. */
static const size_t round_bytes = (size_t)256 << 20;

static bool is_expired(const struct item *it, int64_t omit_us)
{
	return omit_us > 0 && it->expires_us > 0 && it->expires_us < omit_us;
}

static enum err copy_hit(struct arena *a, const struct item *it, struct hit *out)
{
	out->item = *it;
	out->item.ns = arena_str(a, it->ns);
	out->item.key = arena_str(a, it->key);
	out->item.value = arena_str(a, it->value);
	return out->item.ns.p && out->item.key.p && out->item.value.p ? OK : E_NOMEM;
}

/* --------------------------------------------------------- without a query */

struct scan {
	struct op_search *op;
	struct arena *a; /* of the request: its owner waits while the scan runs */
	struct arena scratch;
	uint32_t skip;
	enum err err;
	struct diag diag; /* of err: the scan may run on another thread */
};

static enum err scan_one(struct scan *s, const struct item *it, bool *full)
{
	bool match = true;

	if (s->op->filter) {
		arena_clear(&s->scratch);
		TRY(filter_match(s->op->filter, &s->scratch, it->value, &match));
	}
	if (!match)
		return OK;
	if (s->skip > 0) {
		s->skip--;
		return OK;
	}
	TRY(copy_hit(s->a, it, &s->op->hits[s->op->n]));
	s->op->n++;
	*full = s->op->n == s->op->limit;
	return OK;
}

static bool on_item(void *ctx, const struct item *it)
{
	struct scan *s = ctx;
	bool full = false;

	s->err = scan_one(s, it, &full);
	if (s->err != OK)
		s->diag = *diag_get();
	return s->err == OK && !full;
}

static enum err search_newest(struct memory *m, struct arena *a, const struct principal *who, struct op_search *op)
{
	struct scan s = {.op = op, .a = a, .skip = op->offset};
	struct scan_hint hint = {0};
	enum err e;

	TRY(filter_contains(op->filter, a, &hint.contains));
	/* How many are left by conditions that the store is not told of is not known. */
	if (!op->filter || hint.contains.n > 0)
		hint.want = (size_t)op->offset + op->limit;
	arena_init(&s.scratch, scratch_bytes);
	e = m->store->ops->item_scan(m->store, who, op->prefix, memory_omit_us(m), &hint, on_item, &s);
	if (e == OK && s.err != OK) {
		*diag_get() = s.diag;
		e = s.err;
	}
	arena_release(&s.scratch);
	return e;
}

/* ------------------------------------------------------------ with a query */

struct candidate {
	const struct item_hit *hit;
	struct str ns, key;
};

struct ranking {
	struct memory *m;
	struct arena *a; /* of the request: only the page goes there */
	const struct principal *who;
	struct op_search *op;
	struct arena scratch, round;
	struct items_found items;
	struct candidate *found;
	size_t n;
};

static int by_score(const void *x, const void *y)
{
	const struct candidate *a = x, *b = y;
	int c;

	if (a->hit->score != b->hit->score)
		return a->hit->score > b->hit->score ? -1 : 1;
	c = str_cmp(a->ns, b->ns);
	return c ? c : str_cmp(a->key, b->key);
}

/* Looks at some of the hits: those that exist, are not expired and pass the filter become candidates. */
static enum err screen(struct ranking *r, const struct item_hit *hits, size_t n, int64_t omit_us)
{
	int64_t ids[FETCH_STEP];
	struct item *items;

	arena_clear(&r->scratch);
	items = ARENA_ARRAY(&r->scratch, struct item, n);
	if (!items)
		return E_NOMEM;
	for (size_t i = 0; i < n; i++)
		ids[i] = hits[i].id;
	TRY(r->m->store->ops->item_by_id(r->m->store, &r->scratch, r->who, ids, n, items));
	for (size_t i = 0; i < n; i++) {
		struct candidate *c = &r->found[r->n];
		bool match = true;

		if (items[i].id == 0 || is_expired(&items[i], omit_us))
			continue;
		TRY(filter_match(r->op->filter, &r->scratch, items[i].value, &match));
		if (!match)
			continue;
		*c = (struct candidate){&hits[i], arena_str(&r->round, items[i].ns), arena_str(&r->round, items[i].key)};
		if (!c->ns.p || !c->key.p)
			return E_NOMEM;
		r->n++;
	}
	return OK;
}

/* How many hits one step fetches: small while nothing has to be skipped, so that a short page does not read 256 values. */
static size_t step_size(const struct op_search *op, size_t left)
{
	size_t step = op->filter || op->offset > 0 ? FETCH_STEP : (size_t)op->limit + 8;

	if (step > FETCH_STEP)
		step = FETCH_STEP;
	return step < left ? step : left;
}

/* Screens hits, best first, until there are enough candidates and the last score group is complete. */
static enum err screen_all(struct ranking *r, const struct item_hit *hits, size_t n, size_t need)
{
	int64_t omit_us = memory_omit_us(r->m);
	size_t at = 0;

	r->n = 0;
	r->found = ARENA_ARRAY(&r->round, struct candidate, n + 1);
	if (!r->found)
		return E_NOMEM;
	while (at < n) {
		size_t step = step_size(r->op, n - at);

		if (r->n >= need && hits[at].score < r->found[r->n - 1].hit->score)
			break;
		TRY(screen(r, hits + at, step, omit_us));
		at += step;
	}
	if (r->n > 0)
		qsort(r->found, r->n, sizeof *r->found, by_score);
	return OK;
}

static enum err explain_hit(const struct ranking *r, const struct item_hit *h, struct str *out)
{
	struct buf b;
	struct jw w;

	buf_init(&b, r->a, (size_t)1 << 20);
	jw_init(&w, &b);
	jw_obj(&w);
	items_explain(&w, h, r->items.weights, r->items.best);
	jw_end_obj(&w);
	*out = buf_slice(&b);
	return b.err == OK ? OK : err_set(E_LIMIT, "the explanation of a hit is too large");
}

/* Fetches the page; what was deleted since it was screened is left out. */
static enum err fetch_page(struct ranking *r)
{
	struct op_search *op = r->op;
	size_t count = op->offset >= r->n ? 0 : r->n - op->offset;
	int64_t *ids;
	struct item *items;

	if (count > op->limit)
		count = op->limit;
	ids = ARENA_ARRAY(r->a, int64_t, count + 1);
	items = ARENA_ARRAY(r->a, struct item, count + 1);
	if (!ids || !items)
		return E_NOMEM;
	for (size_t i = 0; i < count; i++)
		ids[i] = r->found[op->offset + i].hit->id;
	TRY(r->m->store->ops->item_by_id(r->m->store, r->a, r->who, ids, count, items));
	for (size_t i = 0; i < count; i++) {
		const struct item_hit *h = r->found[op->offset + i].hit;
		struct str explain = {0};

		if (items[i].id == 0)
			continue;
		if (op->explain)
			TRY(explain_hit(r, h, &explain));
		op->hits[op->n++] = (struct hit){items[i], true, h->score, explain};
	}
	return OK;
}

/* *ignored: there is nothing to look for in the query. */
static enum err search_best(struct memory *m, struct arena *a, const struct principal *who, struct op_search *op, bool *ignored)
{
	struct ranking r = {.m = m, .a = a, .who = who, .op = op};
	size_t need = (size_t)op->offset + op->limit;
	struct items_query q = {.prefix = op->prefix, .query = op->query, .weights = m->opt.weights, .explain = op->explain};
	struct meaning meaning;
	enum err e;

	*ignored = false;
	q.want = op->filter ? need * 4 : need;
	arena_init(&r.scratch, scratch_bytes);
	arena_init(&r.round, round_bytes);
	CHECK(meaning_begin(&meaning, m, a, who, RANK_AUTO));
	CHECK(meaning_of(&meaning, a, op->query, &q.question));
	q.model = meaning.model;
	for (;;) {
		CHECK(items_search(m, &r.round, who, &q, &r.items));
		if (r.items.no_words) {
			*ignored = true;
			goto out;
		}
		CHECK(screen_all(&r, r.items.v, r.items.n, need));
		/* By words alone a filter may leave few, and others pass it that say the same in other words. */
		if (r.items.late && op->filter && r.n < need && !q.patient) {
			q.patient = true;
			arena_clear(&r.round);
			continue;
		}
		if (r.n >= need || r.items.complete || r.items.n == 0)
			break;
		atomic_fetch_add_explicit(&m->widened, 1, memory_order_relaxed);
		q.want = q.want * 4 > r.items.n * 2 ? q.want * 4 : r.items.n * 2;
		arena_clear(&r.round);
	}
	e = fetch_page(&r);
out:
	arena_release(&r.scratch);
	arena_release(&r.round);
	return e;
}

static enum err search_check(const struct principal *who, const struct op_search *op)
{
	TRY(principal_check(who, RIGHT_READ));
	TRY(ns_check(op->prefix, "namespace_prefix", true));
	TRY(principal_namespace(who, op->prefix));
	if (op->limit < 1 || op->limit > SEARCH_LIMIT_MAX)
		return err_field(E_INVALID, "limit", -1, "limit must be 1..%d, got %u", SEARCH_LIMIT_MAX, op->limit);
	if (op->offset > OFFSET_MAX)
		return err_field(E_INVALID, "offset", -1, "offset must be 0..%d, got %u", OFFSET_MAX, op->offset);
	return OK;
}

enum err memory_search(struct memory *m, struct arena *a, const struct principal *who, struct op_search *op)
{
	struct item **items;
	bool newest = !op->query.p;

	op->n = 0;
	op->hits = NULL;
	TRY(search_check(who, op));
	atomic_fetch_add_explicit(&m->ops[OP_SEARCH], 1, memory_order_relaxed);
	op->hits = arena_zalloc(a, op->limit * sizeof *op->hits);
	if (!op->hits)
		return E_NOMEM;
	/* A query without words (only stop words, only punctuation) says nothing about items, unless it has a vector: it counts as
	 * none. */
	if (!newest)
		TRY(search_best(m, a, who, op, &newest));
	if (newest)
		TRY(search_newest(m, a, who, op));
	if (op->n == 0 || !memory_refreshes(m, op->refresh))
		return OK;
	items = ARENA_ARRAY(a, struct item *, op->n);
	if (!items)
		return E_NOMEM;
	for (size_t i = 0; i < op->n; i++)
		items[i] = &op->hits[i].item;
	return memory_touch(m, a, who, items, op->n);
}
