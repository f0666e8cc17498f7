/* The items of an answer: what each namespace finds, those that exist, are in the range of time and pass the filter, in one order.
 */
#include <math.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"
#include "core/recall_impl.h"
#include "index/rank_items.h"

#define FETCH_STEP 256
#define SCRATCH_ROOM ((size_t)256 << 20)
/* So many that say the same as a better one are passed over in a namespace, then what was found is the answer. */
#define PASSED_OVER_MAX 10000
/* Values of so many bytes are kept from screening for the answer; of the rest those that it needs are read again. */
#define KEPT_BYTES ((size_t)1 << 20)

/* Without a namespace a bound principal searches everything and keeps what is its own. */
static bool may_see(const struct recaller *r, struct str ns)
{
	return !r->who->user_bound || principal_namespace(r->who, ns) == OK;
}

static bool in_time(const struct recall_request *rq, int64_t us)
{
	return (!rq->from_us || us >= rq->from_us) && (!rq->to_us || us <= rq->to_us);
}

static bool of_kind(const struct recall_request *rq, const struct item *it)
{
	return rq->want_items == rq->want_facts || (it->fact ? rq->want_facts : rq->want_items);
}

enum err recall_item_passes(const struct recaller *r, struct arena *scratch, const struct item *it, bool *passes)
{
	int64_t omit_us = memory_omit_us(r->m);

	*passes = false;
	if (it->id == 0 || (omit_us > 0 && it->expires_us > 0 && it->expires_us < omit_us) || !may_see(r, it->ns) ||
	    !in_time(r->rq, it->updated_us) || !of_kind(r->rq, it))
		return OK;
	*passes = true;
	return r->rq->filter ? filter_match(r->rq->filter, scratch, it->value, passes) : OK;
}

/* Overlapping namespaces find an item twice. */
static bool have_item(const struct recaller *r, int64_t id)
{
	for (size_t i = 0; i < r->items_n; i++)
		if (r->items[i].hit.id == id)
			return true;
	return false;
}

/* Does a better one of this namespace, from place `from` on, have the same value? One that is only near to it is kept: the better
 * one may be too long for the budget. */
static bool same_value(const struct recaller *r, size_t from, uint64_t hash)
{
	for (size_t i = from; r->m->opt.near > 0 && i < r->items_n; i++)
		if (r->items[i].hash == hash)
			return true;
	return false;
}

/* The item itself, unless there are too many bytes of them. */
static enum err keep_value(struct recaller *r, struct item_candidate *c, const struct item *it)
{
	if (r->items_bytes + it->value.n > KEPT_BYTES)
		return OK;
	c->item = *it;
	c->item.ns = c->ns;
	c->item.key = c->key;
	c->item.value = arena_str(r->a, it->value);
	r->items_bytes += it->value.n;
	return c->item.value.p ? OK : E_NOMEM;
}

static enum err keep_item(struct recaller *r, const struct item *it, const struct item_hit *hit, uint64_t hash)
{
	struct item_candidate *c;

	if (r->items_n == r->items_cap) {
		size_t cap = r->items_cap ? r->items_cap * 2 : 32;

		c = arena_grow(r->a, r->items, r->items_cap * sizeof *c, cap * sizeof *c);
		if (!c)
			return E_NOMEM;
		r->items = c;
		r->items_cap = cap;
	}
	c = &r->items[r->items_n];
	*c = (struct item_candidate){.hit = *hit, .ns = arena_str(r->a, it->ns), .key = arena_str(r->a, it->key)};
	c->updated_us = it->updated_us;
	c->hash = hash;
	c->hit.words = arena_str(r->a, hit->words);
	if (!c->ns.p || !c->key.p || !c->hit.words.p)
		return E_NOMEM;
	r->items_n++;
	return keep_value(r, c, it);
}

/* Keeps a hit that passes; *kept: counts it, unless a better one from place `from` on says the same. */
static enum err keep_unrepeated(struct recaller *r, const struct item *it, const struct item_hit *h, size_t from, size_t *kept)
{
	uint64_t hash = hash64(it->value);
	bool same = same_value(r, from, hash);

	r->passed_over += same || h->like;
	r->items_repeated |= same || h->like;
	*kept += !same && !h->like;
	return same || have_item(r, h->id) ? OK : keep_item(r, it, h, hash);
}

/* Of hits, best first, keeps those that pass until `want` are kept and the last group of equal scores is complete. scratch: for
 * what is read of a few of them at a time; nothing else may lie in it. */
static enum err screen(struct recaller *r, struct arena *scratch, const struct items_found *found, size_t want, size_t *kept)
{
	struct store *s = memory_store(r->m);
	size_t from = r->items_n;
	/* Mostly all pass, and one more tells that the scores are not equal any more. */
	size_t fetch = want < FETCH_STEP ? want + 1 : FETCH_STEP;
	int64_t ids[FETCH_STEP];
	double last = 0;

	for (size_t at = 0, step; at < found->n; at += step) {
		struct item *items;

		arena_clear(scratch);
		step = found->n - at < fetch ? found->n - at : fetch;
		fetch = FETCH_STEP;
		items = ARENA_ARRAY(scratch, struct item, step);
		if (!items)
			return E_NOMEM;
		for (size_t i = 0; i < step; i++)
			ids[i] = found->v[at + i].id;
		TRY(s->ops->item_by_id(s, scratch, r->who, ids, step, items));
		for (size_t i = 0; i < step; i++) {
			const struct item_hit *h = &found->v[at + i];
			bool passes;

			if (*kept >= want && h->score < last)
				return OK;
			TRY(recall_item_passes(r, scratch, &items[i], &passes));
			if (!passes)
				continue;
			TRY(keep_unrepeated(r, &items[i], h, from, kept));
			last = h->score;
		}
		if (r->passed_over > PASSED_OVER_MAX)
			return OK;
	}
	return OK;
}

/* What lex and v are made of, over all namespaces. */
static void take_range(struct recaller *r, const struct items_found *f)
{
	r->best = fmax(r->best, f->best);
	for (int x = 0; x < RF_COUNT; x++)
		r->item_weights[x] = f->by_meaning || !r->items_by_meaning ? f->weights[x] : r->item_weights[x];
	if (!f->by_meaning)
		return;
	r->lowest = r->items_by_meaning ? fmin(r->lowest, f->lowest) : f->lowest;
	r->highest = fmax(r->highest, f->highest);
	r->items_by_meaning = true;
}

/* How many are needed: some more than wanted, to take the place of repetitions and of what a budget has no room for. */
size_t recall_items_needed(const struct recall_request *rq)
{
	return (size_t)rq->limit * (rq->budget_tokens ? 4 : 1) + rq->limit / 2 + 8;
}

static enum err count_all(void *ctx, const struct scope *s, const struct vector_scope *v)
{
	struct recaller *r = ctx;

	(void)v;
	r->pending += s->docs;
	return OK;
}

/* Will many of the hits be left out? Facts may be few among items, items are not expected to be few among facts. */
static bool screens(const struct recaller *r, struct str prefix)
{
	const struct recall_request *rq = r->rq;

	return rq->filter || rq->from_us || rq->to_us || (rq->want_facts && !rq->want_items) ||
	       (r->who->user_bound && prefix.n == 0);
}

static enum err find_in_namespace(struct recaller *r, struct str prefix, const struct vector_question *question)
{
	struct items_query q = {.prefix = prefix,
				.query = r->rq->query,
				.model = r->meaning.model,
				.question = question,
				.mode = r->rq->mode,
				.weights = r->m->opt.weights,
				.near = r->m->opt.near,
				.want = recall_items_needed(r->rq),
				.explain = r->rq->explain};
	size_t kept, before = r->items_n, want = q.want;
	struct items_found found;
	struct arena scratch, values;
	bool skipped;
	enum err e;

	arena_init(&scratch, SCRATCH_ROOM);
	arena_init(&values, SCRATCH_ROOM);
	if (screens(r, prefix))
		q.want *= 4;
	for (;;) {
		CHECK(items_search(r->m, &scratch, r->who, &q, &found));
		if (found.no_words) {
			r->items_newest = true;
			break;
		}
		kept = 0;
		r->items_n = before;
		r->passed_over = 0;
		CHECK(screen(r, &values, &found, want, &kept));
		/* By words alone a filter may leave few, and others pass it that say the same in other words. */
		if (found.late && screens(r, prefix) && kept < r->rq->limit && !q.patient) {
			q.patient = true;
			arena_clear(&scratch);
			continue;
		}
		r->items_cut |= kept < want && r->passed_over > PASSED_OVER_MAX;
		if (kept >= want || found.complete || r->items_cut)
			break;
		q.want = q.want * 4 > found.n * 2 ? q.want * 4 : found.n * 2;
		arena_clear(&scratch);
	}
	r->pending += found.pending;
	r->items_late |= found.late;
	r->items_loading |= found.loading;
	r->items_wordless |= found.wordless;
	r->cache_needed = found.cache_needed > r->cache_needed ? found.cache_needed : r->cache_needed;
	if (!found.no_words)
		take_range(r, &found);
	if (r->meaning.waiting)
		e = words_with_scope(memory_words(r->m), r->a, r->who, &(struct doc_scope){.kind = DOC_ITEM, .prefix = prefix},
				     count_all, r, &skipped);
out:
	arena_release(&values);
	arena_release(&scratch);
	return e;
}

/* ------------------------------------------------------------- newest first */

struct newest {
	struct recaller *r;
	struct arena scratch;
	size_t kept, from;
	enum err err;
	struct diag diag;
};

static bool on_newest(void *ctx, const struct item *it)
{
	struct newest *n = ctx;
	bool passes = false;

	arena_clear(&n->scratch);
	n->err = recall_item_passes(n->r, &n->scratch, it, &passes);
	if (n->err == OK && passes) {
		struct item_hit hit = {.id = it->id, .cosine = NAN, .words = STR("")};

		n->err = keep_unrepeated(n->r, it, &hit, n->from, &n->kept);
	}
	if (n->err != OK)
		n->diag = *diag_get();
	n->r->items_cut |= n->r->passed_over > PASSED_OVER_MAX;
	return n->err == OK && n->kept < recall_items_needed(n->r->rq) && !n->r->items_cut;
}

static enum err newest_in_namespace(struct recaller *r, struct str prefix)
{
	struct store *s = memory_store(r->m);
	struct newest n = {.r = r, .from = r->items_n};
	enum err e;

	r->passed_over = 0;
	arena_init(&n.scratch, SCRATCH_ROOM);
	e = s->ops->item_scan(s, r->who, prefix, memory_omit_us(r->m), NULL, on_newest, &n);
	if (e == OK && n.err != OK) {
		*diag_get() = n.diag;
		e = n.err;
	}
	arena_release(&n.scratch);
	return e;
}

/* -------------------------------------------------------------------- order */

static int cmp_place(const struct item_candidate *x, const struct item_candidate *y)
{
	int c = str_cmp(x->ns, y->ns);

	return c ? c : str_cmp(x->key, y->key);
}

static int cmp_sum(const void *a, const void *b)
{
	const struct item_candidate *x = a, *y = b;

	if (x->sum != y->sum)
		return x->sum > y->sum ? -1 : 1;
	return cmp_place(x, y);
}

static int cmp_updated(const void *a, const void *b)
{
	const struct item_candidate *x = a, *y = b;

	if (x->updated_us != y->updated_us)
		return x->updated_us > y->updated_us ? -1 : 1;
	return cmp_place(x, y);
}

/* Each namespace's search has its own M and its own range of cosines; in one answer they must be one. */
static void weigh(struct recaller *r, struct item_candidate *c)
{
	struct item_hit *h = &c->hit;

	h->lex = r->best > 0 ? h->bm25 / r->best : 0;
	h->v = h->lex;
	if (!isnan(h->cosine))
		h->v = rank_items_v(h->cosine, r->lowest, r->highest);
	c->sum = h->lex * r->item_weights[RF_LEX] + h->v * r->item_weights[RF_V];
}

void recall_items_order(struct recaller *r)
{
	size_t n = r->items_n;

	if (n == 0)
		return;
	if (r->items_newest) {
		qsort(r->items, n, sizeof *r->items, cmp_updated);
		for (size_t i = 0; i < n; i++)
			r->items[i].score = 1.0 - (double)i / (double)n;
		return;
	}
	for (size_t i = 0; i < n; i++)
		weigh(r, &r->items[i]);
	qsort(r->items, n, sizeof *r->items, cmp_sum);
	for (size_t i = 0; i < n; i++)
		r->items[i].score = r->items[0].sum > 0 ? r->items[i].sum / r->items[0].sum : 0;
}

enum err recall_items(struct recaller *r)
{
	static const struct str everything = STR_INIT("");
	const struct str *ns = r->rq->namespaces_n ? r->rq->namespaces : &everything;
	size_t n = r->rq->namespaces_n ? r->rq->namespaces_n : 1;
	const struct vector_question *question;

	if (n > RECALL_NAMESPACES_MAX)
		return err_field(E_INVALID, "/namespaces", -1, "at most %d namespaces, got %zu", RECALL_NAMESPACES_MAX, n);
	for (size_t i = 0; r->rq->namespaces_n && i < n; i++)
		TRY(principal_namespace(r->who, ns[i]));
	if (r->rq->as_of_us && r->rq->as_of_us < clock_wall_us())
		return recall_items_as_of(r, ns, n);
	TRY(meaning_of(&r->meaning, r->a, r->rq->query, &question));
	for (size_t i = 0; i < n; i++)
		TRY(find_in_namespace(r, ns[i], question));
	for (size_t i = 0; r->items_newest && i < n; i++)
		TRY(newest_in_namespace(r, ns[i]));
	recall_items_order(r);
	return OK;
}
