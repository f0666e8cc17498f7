/* Word search in a scope that is not kept in memory: two passes over the documents, the first for the figures of the scope
 * (documents, length, df), the second for the scores; memory is bounded by the number of hits asked for.
 *
 * The figures that scores are made from must be those of the very documents that are scored: the second pass counts too, and when
 * its figures differ (somebody wrote in between), it is repeated with the new ones. */
#include "core/words_impl.h"

#include <stdlib.h>

#define PASSES_MAX 6

struct figures {
	uint64_t docs, length, bytes;
	uint32_t langs;
	uint64_t df[QUESTION_TERMS_MAX];
};

struct kept {
	struct scored s;
	uint32_t slot; /* of its counts */
};

struct pass {
	const struct words *w;
	struct query_term *q;
	size_t q_n;
	struct figures seen;
	bool scoring;
	struct bm25 c;
	/* The best, a heap with the worst on top. */
	struct kept *heap;
	size_t heap_n, heap_cap, total;
	uint16_t *tf; /* heap_cap + 1 slots of q_n counts, or NULL */
	uint32_t *len, spare;
	struct remake remake;
	enum err err;
	struct diag diag;
};

static bool worse(const struct kept *a, const struct kept *b)
{
	return scored_cmp(&a->s, &b->s) > 0;
}

static void heap_sink(struct pass *p, struct kept k)
{
	size_t i = 0;

	for (;;) {
		size_t c = 2 * i + 1;

		if (c + 1 < p->heap_n && worse(&p->heap[c + 1], &p->heap[c]))
			c++;
		if (c >= p->heap_n || !worse(&p->heap[c], &k))
			break;
		p->heap[i] = p->heap[c];
		i = c;
	}
	p->heap[i] = k;
}

static void heap_offer(struct pass *p, struct scored s, const uint16_t *tf, uint32_t len)
{
	struct kept k = {s, p->spare};
	size_t i;

	if (p->heap_n == p->heap_cap && (p->heap_cap == 0 || !worse(&p->heap[0], &k)))
		return;
	if (p->tf) {
		memcpy(p->tf + (size_t)k.slot * p->q_n, tf, p->q_n * sizeof *tf);
		p->len[k.slot] = len;
	}
	if (p->heap_n == p->heap_cap) {
		p->spare = p->heap[0].slot;
		heap_sink(p, k);
		return;
	}
	for (i = p->heap_n++; i > 0 && worse(&k, &p->heap[(i - 1) / 2]); i = (i - 1) / 2)
		p->heap[i] = p->heap[(i - 1) / 2];
	p->heap[i] = k;
	p->spare = (uint32_t)p->heap_n;
}

static void score_doc(struct pass *p, int64_t id, const uint16_t *tf, uint32_t len)
{
	double sum = 0;

	for (size_t t = 0; t < p->q_n; t++)
		if (tf[t])
			sum += bm25_part(&p->c, p->q[t].weight * p->q[t].idf, tf[t], len);
	if (sum > 0) {
		p->total++;
		heap_offer(p, (struct scored){sum, id}, tf, len);
	}
}

uint32_t words_count(struct str terms, const struct query_term *q, size_t q_n, uint16_t *tf, uint32_t *len)
{
	struct doc_reader r;
	struct doc_head h;
	uint32_t id, f;
	size_t t = 0;

	*len = 0;
	memset(tf, 0, q_n * sizeof *tf);
	if (doc_open(terms, &r, &h) != DOC_GOOD)
		return 0;
	if (doc_passage(&r, len))
		while (t < q_n && doc_term(&r, &id, &f)) {
			while (t < q_n && q[t].id < id)
				t++;
			if (t < q_n && q[t].id == id)
				tf[t] = (uint16_t)f;
		}
	return h.lang ? h.lang->id : 0;
}

/* One document: counts it and, in the second pass, scores it. */
static enum err see_doc(void *ctx, const struct doc_change *d)
{
	struct pass *p = ctx;
	uint16_t tf[QUESTION_TERMS_MAX];
	uint32_t len;

	p->seen.docs++;
	p->seen.bytes += d->terms.n;
	p->seen.langs |= 1u << words_count(d->terms, p->q, p->q_n, tf, &len);
	p->seen.length += len;
	for (size_t t = 0; t < p->q_n; t++)
		p->seen.df[t] += tf[t] > 0;
	if (p->scoring)
		score_doc(p, d->id, tf, len);
	return OK;
}

static bool on_doc(void *ctx, const struct doc_change *d)
{
	struct pass *p = ctx;

	if (d->removed || d->terms.n == 0)
		return true;
	p->err = remake_needed(p->w, d) ? remake_add(&p->remake, d) : see_doc(p, d);
	if (p->err != OK)
		p->diag = *diag_get();
	return p->err == OK;
}

static enum err run_pass(struct pass *p, const struct principal *who, const struct doc_scope *scope)
{
	struct store *s = p->w->store;
	uint64_t cursor;

	memset(&p->seen, 0, sizeof p->seen);
	remake_release(&p->remake);
	p->heap_n = p->total = 0;
	p->spare = 0;
	p->err = OK;
	TRY(s->ops->doc_scan(s, who, scope, &cursor, on_doc, p));
	if (p->err != OK) {
		*diag_get() = p->diag;
		return p->err;
	}
	return remake_all(&p->remake, see_doc, p);
}

static bool same_figures(const struct figures *a, const struct figures *b, size_t q_n)
{
	return a->docs == b->docs && a->length == b->length && a->langs == b->langs &&
	       memcmp(a->df, b->df, q_n * sizeof *a->df) == 0;
}

/* Terms of languages that no document is in do not count. */
static void use_figures(struct pass *p, const struct figures *f)
{
	p->c = bm25_of(f->docs, f->length);
	for (size_t t = 0; t < p->q_n; t++) {
		bool present = p->q[t].langs == 0 || (p->q[t].langs & f->langs);

		p->q[t].df = present ? f->df[t] : 0;
		p->q[t].idf = present ? bm25_idf(f->docs, f->df[t]) : 0;
	}
}

static enum err take_results(struct pass *p, struct arena *a, size_t want, bool counts, struct scan_result *out)
{
	size_t n = p->heap_n;

	/* The worst goes to the end, again and again. */
	while (p->heap_n > 1) {
		struct kept worst = p->heap[0], last = p->heap[--p->heap_n];

		heap_sink(p, last);
		p->heap[p->heap_n] = worst;
	}
	while (n > want && (want == 0 || p->heap[n - 1].s.score < p->heap[want - 1].s.score))
		n--;
	out->best = ARENA_ARRAY(a, struct scored, n + 1);
	out->tf = ARENA_ARRAY(a, uint16_t, counts ? n * p->q_n + 1 : 1);
	out->len = ARENA_ARRAY(a, uint32_t, n + 1);
	if (!out->best || !out->tf || !out->len)
		return E_NOMEM;
	for (size_t i = 0; i < n; i++) {
		out->best[i] = p->heap[i].s;
		if (!counts)
			continue;
		memcpy(out->tf + i * p->q_n, p->tf + (size_t)p->heap[i].slot * p->q_n, p->q_n * sizeof *p->tf);
		out->len[i] = p->len[p->heap[i].slot];
	}
	out->n = n;
	out->total = p->total;
	out->langs = p->seen.langs;
	out->bytes = p->seen.bytes;
	out->docs = p->seen.docs;
	out->figures = p->c;
	return OK;
}

enum err words_scan(const struct words *w, struct arena *a, const struct principal *who, const struct doc_scope *scope,
		    struct query_term *q, size_t q_n, size_t want, bool counts, struct scan_result *out)
{
	struct pass p = {.w = w, .q = q, .q_n = q_n, .remake = {.w = w, .who = who, .kind = scope->kind}};
	struct figures *used = calloc(1, sizeof *used);
	enum err e = OK;

	if (want > UINT32_MAX / 2)
		want = UINT32_MAX / 2;
	p.heap_cap = want + TOP_EXTRA;
	p.heap = malloc(p.heap_cap * sizeof *p.heap);
	if (counts) {
		p.tf = malloc((p.heap_cap + 1) * (q_n + 1) * sizeof *p.tf);
		p.len = malloc((p.heap_cap + 1) * sizeof *p.len);
	}
	if (!used || !p.heap || (counts && (!p.tf || !p.len))) {
		e = err_set(E_LIMIT, "out of memory while searching");
		goto out;
	}
	CHECK(run_pass(&p, who, scope));
	p.scoring = true;
	for (int i = 0; i < PASSES_MAX; i++) {
		*used = p.seen;
		use_figures(&p, used);
		CHECK(run_pass(&p, who, scope));
		if (same_figures(used, &p.seen, q_n))
			break;
	}
	e = take_results(&p, a, want, counts, out);
out:
	free(used);
	free(p.heap);
	free(p.tf);
	free(p.len);
	remake_release(&p.remake);
	return e;
}
