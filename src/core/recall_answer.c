/* The answer: messages and items in one order, without repetitions, within the budget, with their texts. */
#include <stdlib.h>

#include "base/hash.h"
#include "core/recall_impl.h"

/* Texts are read in steps of so many hits, and reading ends when so many bytes were read for nothing. */
#define STEP 64
#define WASTE_MAX ((size_t)16 << 20)

uint32_t recall_tokens(struct str text)
{
	uint64_t ascii = 0, other = 0;

	for (size_t i = 0; i < text.n; i++) {
		ascii += (unsigned char)text.p[i] < 0x80;
		other += (unsigned char)text.p[i] >= 0xc0; /* the first byte of a longer character */
	}
	ascii = (ascii + 3) / 4 + other;
	return ascii < UINT32_MAX ? (uint32_t)ascii : UINT32_MAX;
}

static int cmp_candidate(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;

	if (x->score != y->score)
		return x->score > y->score ? -1 : 1;
	if (!x->message != !y->message)
		return x->message ? -1 : 1;
	return (x->place > y->place) - (x->place < y->place);
}

static enum err choose(struct recaller *r, struct candidate **out, size_t *n)
{
	struct candidate *c = ARENA_ARRAY(r->a, struct candidate, r->ranked.n + r->items_n + 1);
	size_t total = 0;

	if (!c)
		return E_NOMEM;
	/* The linear score is above 0 for every message of a user: without this, a question about nothing would find anything. */
	for (size_t i = 0; i < r->ranked.n; i++)
		if (r->ranked.newest_first || rank_evidence(&r->ranked.r[i]))
			c[total++] = (struct candidate){.score = r->ranked.r[i].score, .message = &r->ranked.r[i], .place = i};
	for (size_t i = 0; i < r->items_n; i++)
		c[total++] = (struct candidate){.score = r->items[i].score, .item = &r->items[i], .place = i};
	if (total)
		qsort(c, total, sizeof *c, cmp_candidate);
	*out = c;
	*n = total;
	return OK;
}

/* The texts of some candidates, as far as they are not there already; what has gone in the meantime keeps id 0. */
static enum err read_texts(struct recaller *r, const struct candidate *c, size_t n, struct recall_hit *hits)
{
	struct store *s = memory_store(r->m);
	struct message *msgs = ARENA_ARRAY(r->a, struct message, n);
	struct item *items = ARENA_ARRAY(r->a, struct item, n);
	int64_t ids[STEP];
	size_t k = 0;

	if (!msgs || !items)
		return E_NOMEM;
	for (size_t i = 0; i < n; i++)
		if (c[i].message)
			ids[k++] = c[i].message->id;
	if (k)
		TRY(s->ops->message_by_id(s, r->a, r->who, ids, k, msgs));
	for (size_t i = k = 0; i < n; i++)
		if (c[i].message)
			hits[i].message = msgs[k++];
	for (size_t i = k = 0; i < n; i++)
		if (c[i].item && !c[i].item->item.id)
			ids[k++] = c[i].item->hit.id;
	if (k)
		TRY(s->ops->item_by_id(s, r->a, r->who, ids, k, items));
	for (size_t i = k = 0; i < n; i++)
		if (c[i].item) {
			hits[i].is_item = true;
			hits[i].item = c[i].item->item.id ? c[i].item->item : items[k++];
		}
	return OK;
}

/* ----------------------------------------------------------------- choosing */

struct answer {
	struct recaller *r;
	struct recall_hit *hits;
	uint64_t *hashes; /* of the texts taken */
	int64_t *items;	  /* ids of the items taken */
	size_t n, items_n, waste;
	uint64_t tokens;
	bool repeated, too_long;
};

static struct str text_of(const struct recall_hit *h)
{
	return h->is_item ? h->item.value : h->message.content;
}

/* Does a better hit say the same? Messages that are near to a better one have been left out by the ranker. */
static bool repeats(const struct answer *w, const struct recall_hit *h, const struct item_candidate *item, uint64_t hash)
{
	if (w->r->m->opt.near <= 0)
		return false;
	for (size_t i = 0; i < w->n; i++)
		if (w->hashes[i] == hash && w->hits[i].is_item == h->is_item && str_eq(text_of(&w->hits[i]), text_of(h)))
			return true;
	for (size_t i = 0; item && item->hit.like && i < w->items_n; i++)
		if (w->items[i] == item->hit.like)
			return true;
	return false;
}

static enum err take(struct answer *w, const struct candidate *c, struct recall_hit *h)
{
	uint32_t budget = w->r->rq->budget_tokens, tokens = budget ? recall_tokens(text_of(h)) : 0;
	uint64_t hash;

	if ((h->is_item ? h->item.id : h->message.id) == 0)
		return OK;
	hash = hash64(text_of(h));
	if (repeats(w, h, c->item, hash)) {
		w->repeated = true;
		w->waste += text_of(h).n;
		return OK;
	}
	if (budget && w->tokens + tokens > budget) {
		w->too_long = true;
		w->waste += text_of(h).n;
		return OK;
	}
	h->score = c->score;
	h->explain = STR("");
	if (w->r->rq->explain)
		TRY(recall_explain(w->r, c, &h->explain));
	if (h->is_item)
		w->items[w->items_n++] = h->item.id;
	w->tokens += tokens;
	w->hashes[w->n] = hash;
	w->hits[w->n++] = *h;
	return OK;
}

static enum err take_best(struct answer *w, const struct candidate *c, size_t n)
{
	const struct recall_request *rq = w->r->rq;

	for (size_t at = 0, step; at < n && w->n < rq->limit && w->waste < WASTE_MAX; at += step) {
		struct recall_hit *some;

		if (rq->budget_tokens && w->tokens >= rq->budget_tokens)
			return OK;
		step = rq->limit - w->n < STEP ? rq->limit - w->n : STEP;
		step = step < n - at ? step : n - at;
		some = arena_zalloc(w->r->a, step * sizeof *some);
		if (!some)
			return E_NOMEM;
		TRY(read_texts(w->r, c + at, step, some));
		for (size_t i = 0; i < step && w->n < rq->limit; i++)
			TRY(take(w, &c[at + i], &some[i]));
	}
	return OK;
}

/* NUL-terminated; p NULL: out of memory. */
static struct str late_note(const struct recaller *r)
{
	static const char what[] =
		"; a namespace is too large to be read for its meaning in time, so it was searched by words alone";
	uint64_t mib = (r->cache_needed >> 20) + 1;

	if (!r->items_late)
		return STR("");
	if (r->cache_needed == 0)
		return arena_printf(r->a, "%s (index.cache does not hold it)", what);
	return arena_printf(r->a, "%s: index.cache would have to be about %llu MiB to hold it", what, (unsigned long long)mib);
}

/* What there is to say about the answer; NULL: nothing. */
static enum err explain_lack(const struct answer *w, const char **why)
{
	const struct recaller *r = w->r;
	bool lacks = w->n < r->rq->limit, tokens = lacks && w->too_long;
	bool repeated = lacks && (w->repeated || r->ranked.repeated > 0 || r->items_repeated),
	     cut = r->items_cut || r->messages_cut || w->waste >= WASTE_MAX;
	struct str late = late_note(r), s;

	if (!late.p)
		return E_NOMEM;
	s = arena_printf(r->a, "%s%s%s%s%s%s%s%s",
			 r->meaning.waiting && r->rq->mode != RANK_BY_WORDS && r->pending + r->messages_pending
				 ? "; no text has been embedded yet, so this was found by words alone"
				 : "",
			 r->meaning.failed ? "; the encoder does not answer, so this was found by words alone" : "",
			 r->items_loading ? "; a namespace is still being read into memory, so it was searched by words alone" : "",
			 late.p,
			 r->items_wordless
				 ? "; the words of a namespace are not in memory (index.cache), so it was searched by meaning alone"
				 : "",
			 tokens ? "; the texts of other results do not fit into budget_tokens" : "",
			 repeated ? "; results that say the same as a better one are left out" : "",
			 lacks && !tokens && !cut
				 ? "; nothing else in the scope has to do with the words, dates and speakers of the question"
				 : "");

	if (!s.p)
		return E_NOMEM;
	*why = s.n ? arena_cstr(r->a, str_sub(s, 2, s.n)) : NULL;
	return s.n && !*why ? E_NOMEM : OK;
}

enum err recall_answer(struct recaller *r, struct recall_hit **out, size_t *n, bool *more)
{
	struct answer w = {.r = r};
	struct candidate *c;
	const char *why;
	size_t total;

	TRY(choose(r, &c, &total));
	w.hits = arena_zalloc(r->a, (r->rq->limit + 1) * sizeof *w.hits);
	w.hashes = ARENA_ARRAY(r->a, uint64_t, r->rq->limit + 1);
	w.items = ARENA_ARRAY(r->a, int64_t, r->rq->limit + 1);
	if (!w.hits || !w.hashes || !w.items)
		return E_NOMEM;
	TRY(take_best(&w, c, total));
	*more = w.repeated && !w.too_long && w.n < r->rq->limit && w.waste < WASTE_MAX && r->messages_cut;
	TRY(explain_lack(&w, &why));
	if (r->rq->why)
		*r->rq->why = why;
	if (r->rq->pending)
		*r->rq->pending = r->pending + r->messages_pending;
	if (r->rq->used) {
		bool meaning = r->items_by_meaning || (r->ranked.r && r->ranked.mode != RANK_BY_WORDS);

		*r->rq->used = r->rq->mode == RANK_BY_VECTORS ? RANK_BY_VECTORS : meaning ? RANK_AUTO : RANK_BY_WORDS;
	}
	*out = w.hits;
	*n = w.n;
	return OK;
}
