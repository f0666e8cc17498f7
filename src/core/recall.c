/* Recall: messages of one user by the ranker of index/rank.c, items by BM25, both in one answer.
 *
 * Scores are made comparable kind by kind: a message's sum of weighted features is placed between the least (or 0, if that is less)
 * and the highest of all its candidates, an item's BM25 is divided by the highest of its kind. So the best of each kind has 1.
 * Equal scores: messages before items, messages older first, items by namespace and key.
 *
 * Nothing is read from the store to rank messages but the index documents; texts are read for the hits that are returned. */
#include "core/recall.h"

#include <stdlib.h>

#include "core/memory_impl.h"
#include "core/words_impl.h"
#include "index/rank.h"

#define LIMIT_MAX 1000
#define NAMESPACES_MAX 64
#define FETCH_STEP 256
#define SCRATCH_ROOM ((size_t)256 << 20)

struct item_candidate {
	int64_t id;
	double raw, score;
	struct str ns, key, explain;
};
struct candidate {
	double score;
	const struct ranked *message; /* or */
	const struct item_candidate *item;
	size_t place; /* among its kind */
};
struct recaller {
	struct memory *m;
	struct arena *a;
	const struct principal *who;
	const struct recall_request *rq;
	struct rank_request rank_rq;
	struct rank_result ranked;
	struct item_candidate *items;
	size_t items_n, items_cap;
	bool items_newest; /* the question has no words: items by update */
};

/* ---------------------------------------------------------------- messages */

static enum err rank_under_lock(void *ctx, const struct scope *s, const struct vector_scope *v)
{
	struct recaller *r = ctx;

	(void)v;
	return rank_messages(s, r->a, &r->rank_rq, &r->ranked);
}

static enum err recall_user(const struct principal *who, const struct recall_request *rq, struct str *out)
{
	*out = rq->user ? *rq->user : who->user;
	if (who->user_bound && !str_eq(*out, who->user))
		return err_field(E_DENIED, "/user", -1, "the credential belongs to one user and reaches no other's memory");
	return OK;
}

static enum err find_messages(struct recaller *r)
{
	struct words *w = memory_words(r->m);
	struct doc_scope scope = {.kind = DOC_MESSAGE};
	bool skipped;

	TRY(recall_user(r->who, r->rq, &scope.prefix));
	r->rank_rq = (struct rank_request){
		.query = r->rq->query,
		.threads = r->rq->threads_n ? r->rq->threads : NULL,
		.threads_n = r->rq->threads_n,
		.from_us = r->rq->from_us,
		.to_us = r->rq->to_us,
		.want = r->rq->limit,
		.langs = w->langs,
	};
	return words_with_scope(w, r->a, r->who, &scope, rank_under_lock, r, &skipped);
}

/* ------------------------------------------------------------------- items */

/* Without a namespace a bound principal searches everything and keeps what is its own. */
static bool may_see(const struct recaller *r, struct str ns)
{
	return !r->who->user_bound || principal_namespace(r->who, ns) == OK;
}

static enum err item_passes(const struct recaller *r, struct arena *scratch, const struct item *it, bool *passes)
{
	int64_t omit_us = memory_omit_us(r->m);

	*passes = false;
	if (it->id == 0 || (omit_us > 0 && it->expires_us > 0 && it->expires_us < omit_us) || !may_see(r, it->ns))
		return OK;
	*passes = true;
	return r->rq->filter ? filter_match(r->rq->filter, scratch, it->value, passes) : OK;
}

/* Overlapping namespaces find an item twice. */
static bool have_item(const struct recaller *r, int64_t id)
{
	for (size_t i = 0; i < r->items_n; i++)
		if (r->items[i].id == id)
			return true;
	return false;
}

static enum err keep_item(struct recaller *r, const struct item *it, double raw, struct str explain)
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
	*c = (struct item_candidate){.id = it->id, .raw = raw, .ns = arena_str(r->a, it->ns), .key = arena_str(r->a, it->key)};
	c->explain = arena_str(r->a, explain);
	if (!c->ns.p || !c->key.p || !c->explain.p)
		return E_NOMEM;
	r->items_n++;
	return OK;
}

/* Of hits, best first, keeps those that pass until `limit` are kept and the last group of equal scores is complete. */
static enum err screen(struct recaller *r, struct arena *scratch, const struct word_hit *hits, size_t n, size_t *kept)
{
	struct store *s = memory_store(r->m);
	int64_t ids[FETCH_STEP];
	double last = 0;

	for (size_t at = 0; at < n; at += FETCH_STEP) {
		size_t step = n - at < FETCH_STEP ? n - at : FETCH_STEP;
		struct item *items = ARENA_ARRAY(scratch, struct item, step);

		if (!items)
			return E_NOMEM;
		for (size_t i = 0; i < step; i++)
			ids[i] = hits[at + i].id;
		TRY(s->ops->item_by_id(s, scratch, r->who, ids, step, items));
		for (size_t i = 0; i < step; i++) {
			const struct word_hit *h = &hits[at + i];
			bool passes;

			if (*kept >= r->rq->limit && h->score < last)
				return OK;
			TRY(item_passes(r, scratch, &items[i], &passes));
			if (!passes)
				continue;
			if (!have_item(r, h->id))
				TRY(keep_item(r, &items[i], h->score, h->explain));
			++*kept;
			last = h->score;
		}
	}
	return OK;
}

static enum err find_in_namespace(struct recaller *r, struct str prefix)
{
	struct doc_scope scope = {DOC_ITEM, prefix};
	size_t n, total, kept, want = r->rq->limit, before = r->items_n;
	struct word_hit *hits;
	struct arena scratch;
	unsigned terms;
	enum err e;

	arena_init(&scratch, SCRATCH_ROOM);
	if (r->rq->filter || r->who->user_bound)
		want *= 4;
	for (;;) {
		CHECK(words_search(memory_words(r->m), &scratch, r->who, &scope, r->rq->query, want, r->rq->explain, &hits, &n,
				   &total, &terms));
		if (terms == 0) {
			r->items_newest = true;
			break;
		}
		kept = 0;
		r->items_n = before;
		CHECK(screen(r, &scratch, hits, n, &kept));
		if (kept >= r->rq->limit || n >= total)
			break;
		want = want * 4 > n * 2 ? want * 4 : n * 2;
		arena_clear(&scratch);
	}
	e = OK;
out:
	arena_release(&scratch);
	return e;
}

struct newest {
	struct recaller *r;
	struct arena scratch;
	size_t kept;
	enum err err;
	struct diag diag;
};

static bool on_newest(void *ctx, const struct item *it)
{
	struct newest *n = ctx;
	bool passes = false;

	arena_clear(&n->scratch);
	n->err = item_passes(n->r, &n->scratch, it, &passes);
	if (n->err == OK && passes && !have_item(n->r, it->id)) {
		n->err = keep_item(n->r, it, (double)it->updated_us, STR(""));
		n->kept++;
	}
	if (n->err != OK)
		n->diag = *diag_get();
	return n->err == OK && n->kept < n->r->rq->limit;
}

static enum err newest_in_namespace(struct recaller *r, struct str prefix)
{
	struct store *s = memory_store(r->m);
	struct newest n = {.r = r};
	enum err e;

	arena_init(&n.scratch, SCRATCH_ROOM);
	e = s->ops->item_scan(s, r->who, prefix, memory_omit_us(r->m), NULL, on_newest, &n);
	if (e == OK && n.err != OK) {
		*diag_get() = n.diag;
		e = n.err;
	}
	arena_release(&n.scratch);
	return e;
}

static int cmp_item(const void *a, const void *b)
{
	const struct item_candidate *x = a, *y = b;
	int c;

	if (x->raw != y->raw)
		return x->raw > y->raw ? -1 : 1;
	c = str_cmp(x->ns, y->ns);
	return c ? c : str_cmp(x->key, y->key);
}

static enum err find_items(struct recaller *r)
{
	static const struct str everything = STR_INIT("");
	const struct str *ns = r->rq->namespaces_n ? r->rq->namespaces : &everything;
	size_t n = r->rq->namespaces_n ? r->rq->namespaces_n : 1;

	if (n > NAMESPACES_MAX)
		return err_field(E_INVALID, "/namespaces", -1, "at most %d namespaces, got %zu", NAMESPACES_MAX, n);
	for (size_t i = 0; i < n; i++) {
		if (r->rq->namespaces_n)
			TRY(principal_namespace(r->who, ns[i]));
		TRY(find_in_namespace(r, ns[i]));
	}
	for (size_t i = 0; r->items_newest && i < n; i++)
		TRY(newest_in_namespace(r, ns[i]));
	if (r->items_n)
		qsort(r->items, r->items_n, sizeof *r->items, cmp_item);
	for (size_t i = 0; i < r->items_n; i++)
		r->items[i].score = r->items_newest ? 1.0 - (double)i / (double)r->items_n : r->items[i].raw / r->items[0].raw;
	return OK;
}

/* ----------------------------------------------------------------- explain */

static void explain_newest(struct jw *w)
{
	jw_obj(w);
	jw_key(w, "order");
	jw_cstr(w, "newest first");
	jw_key(w, "reason");
	jw_cstr(w, "the question has no words to look for");
	jw_end_obj(w);
}

static void explain_features(struct jw *w, const struct rank_result *res, const struct ranked *m)
{
	jw_key(w, "features");
	jw_obj(w);
	for (int f = 0; f < RF_COUNT; f++) {
		double weight = rank_weight((enum rank_feature)f, res->roles);

		if (weight == 0)
			continue;
		jw_key(w, rank_feature_name((enum rank_feature)f));
		jw_obj(w);
		jw_key(w, "value");
		jw_double(w, m->f[f]);
		jw_key(w, "weight");
		jw_double(w, weight);
		jw_key(w, "contribution");
		jw_double(w, m->f[f] * weight);
		jw_end_obj(w);
	}
	jw_end_obj(w);
}

static void explain_scope(struct jw *w, const struct rank_result *res)
{
	jw_key(w, "terms");
	jw_arr(w);
	for (size_t t = 0; t < res->terms_n; t++) {
		jw_obj(w);
		jw_key(w, "term");
		jw_str(w, res->terms[t].text);
		jw_key(w, "weight");
		jw_double(w, res->terms[t].weight);
		jw_key(w, "idf");
		jw_double(w, res->terms[t].idf);
		jw_key(w, "passages");
		jw_u64(w, res->terms[t].df);
		jw_end_obj(w);
	}
	jw_end_arr(w);
	jw_key(w, "dates");
	jw_u64(w, res->spans_n);
	jw_key(w, "roles");
	jw_bool(w, res->roles);
	jw_key(w, "messages");
	jw_u64(w, res->messages);
	jw_key(w, "passages");
	jw_u64(w, res->passages);
	jw_key(w, "candidates");
	jw_u64(w, res->candidates);
}

static enum err explain_candidate(struct recaller *r, const struct candidate *c, struct str *out)
{
	struct buf b;
	struct jw w;

	buf_init(&b, r->a, (size_t)1 << 20);
	jw_init(&w, &b);
	if (c->message ? r->ranked.newest_first : r->items_newest) {
		explain_newest(&w);
	} else {
		jw_obj(&w);
		if (c->message) {
			explain_features(&w, &r->ranked, c->message);
			jw_key(&w, "sum");
			jw_double(&w, c->message->sum);
			explain_scope(&w, &r->ranked);
		} else {
			jw_key(&w, "bm25");
			jw_double(&w, c->item->raw);
			jw_key(&w, "best");
			jw_double(&w, r->items[0].raw);
			jw_key(&w, "detail");
			jw_raw(&w, c->item->explain);
		}
		jw_end_obj(&w);
	}
	*out = buf_slice(&b);
	return b.err == OK ? OK : err_set(E_LIMIT, "the explanation of a hit is too large");
}

/* ------------------------------------------------------------------ answer */

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
	size_t total = 0;
	struct candidate *c = ARENA_ARRAY(r->a, struct candidate, r->ranked.n + r->items_n + 1);

	if (!c)
		return E_NOMEM;
	/* The linear score is above 0 for every message of a user: without this, a question about nothing would find anything. */
	for (size_t i = 0; i < r->ranked.n; i++)
		if (r->ranked.newest_first || rank_evidence(&r->ranked.r[i]))
			c[total++] = (struct candidate){.score = r->ranked.r[i].score, .message = &r->ranked.r[i], .place = i};
	for (size_t i = 0; i < r->items_n; i++)
		c[total++] = (struct candidate){.score = r->items[i].score, .item = &r->items[i], .place = i};
	qsort(c, total, sizeof *c, cmp_candidate);
	*out = c;
	*n = total < r->rq->limit ? total : r->rq->limit;
	return OK;
}

/* Reads the texts of the chosen; what has gone in the meantime keeps id 0. */
static enum err read_texts(struct recaller *r, const struct candidate *c, size_t n, struct recall_hit *hits)
{
	struct store *s = memory_store(r->m);
	int64_t *ids = ARENA_ARRAY(r->a, int64_t, n + 1);
	struct message *msgs = ARENA_ARRAY(r->a, struct message, n + 1);
	struct item *items = ARENA_ARRAY(r->a, struct item, n + 1);
	size_t k;

	if (!ids || !msgs || !items)
		return E_NOMEM;
	k = 0;
	for (size_t i = 0; i < n; i++)
		if (c[i].message)
			ids[k++] = c[i].message->id;
	if (k)
		TRY(s->ops->message_by_id(s, r->a, r->who, ids, k, msgs));
	k = 0;
	for (size_t i = 0; i < n; i++)
		if (c[i].message)
			hits[i].message = msgs[k++];
	k = 0;
	for (size_t i = 0; i < n; i++)
		if (c[i].item)
			ids[k++] = c[i].item->id;
	if (k)
		TRY(s->ops->item_by_id(s, r->a, r->who, ids, k, items));
	k = 0;
	for (size_t i = 0; i < n; i++)
		if (c[i].item)
			hits[i].item = items[k++];
	return OK;
}

static enum err answer(struct recaller *r, struct recall_hit **out, size_t *n)
{
	struct candidate *c;
	struct recall_hit *hits;
	size_t chosen, bytes = 0;
	const char *why = NULL;

	TRY(choose(r, &c, &chosen));
	hits = arena_zalloc(r->a, (chosen + 1) * sizeof *hits);
	if (!hits)
		return E_NOMEM;
	TRY(read_texts(r, c, chosen, hits));
	*n = 0;
	for (size_t i = 0; i < chosen; i++) {
		struct recall_hit h = hits[i];

		h.is_item = c[i].item != NULL;
		h.score = c[i].score;
		h.explain = STR("");
		if ((h.is_item ? h.item.id : h.message.id) == 0)
			continue;
		bytes += h.is_item ? h.item.value.n : h.message.content.n;
		if (r->rq->budget_tokens && bytes / 4 > r->rq->budget_tokens) {
			why = "the next result would exceed budget_tokens";
			break;
		}
		if (r->rq->explain)
			TRY(explain_candidate(r, &c[i], &h.explain));
		hits[(*n)++] = h;
	}
	if (!why && *n < r->rq->limit)
		why = "nothing else in the scope has to do with the words, dates and speakers of the question";
	if (r->rq->why)
		*r->rq->why = why;
	*out = hits;
	return OK;
}

enum err recall(struct memory *m, struct arena *a, const struct principal *who, const struct recall_request *rq,
		struct recall_hit **out, size_t *n)
{
	struct recaller r = {.m = m, .a = a, .who = who, .rq = rq};
	bool both = !rq->want_messages && !rq->want_items;
	struct str user;

	*out = NULL;
	*n = 0;
	TRY(principal_check(who, RIGHT_READ));
	TRY(recall_user(who, rq, &user));
	if (rq->limit < 1 || rq->limit > LIMIT_MAX)
		return err_field(E_INVALID, "/limit", -1, "limit must be 1..%d, got %u", LIMIT_MAX, rq->limit);
	if (rq->from_us && rq->to_us && rq->from_us > rq->to_us)
		return err_field(E_INVALID, "/time", -1, "time.from is later than time.to");
	if (both || rq->want_messages)
		TRY(find_messages(&r));
	if (both || rq->want_items)
		TRY(find_items(&r));
	return answer(&r, out, n);
}
