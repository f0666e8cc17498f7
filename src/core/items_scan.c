/* See core/items_scan.h.
 *
 * Invariants
 *  1. Sums are made of figures that are all known: a pass keeps what a later step needs for that, and nothing is dropped before by
 *     a sum that might still grow. Items without a word of the question are the exception: they differ by their cosines alone.
 *  2. What is written while passes go on counts as each pass finds it; the figures stay those of the first. */
#include "core/items_scan.h"

#include <math.h>
#include <stdlib.h>

#include "base/clock.h"

#define NONE UINT32_MAX
#define LOOK_STEP 256 /* documents from one look at the clock to the next */

enum pass_kind { GATHER, HIGHEST, SUMS };

struct kept {
	struct ranked_item r;
	uint32_t slot; /* of its counts, NONE: they are all 0 */
};
/* The best by (sum, id), the worst on top. */
struct heap {
	struct kept *v;
	size_t n, cap, offered;
};
/* An item with a word of the question. */
struct row {
	int64_t id;
	double cosine;
};
/* The document that a pass is at. */
struct seen {
	int64_t id;
	double cosine; /* NaN: no vector */
	uint32_t len;
	bool matches;
	uint16_t tf[QUESTION_TERMS_MAX];
};
struct pass {
	struct items_scan *s;
	enum pass_kind kind;
	uint64_t looked, length, df[QUESTION_TERMS_MAX];
	uint32_t langs;
	/* GATHER */
	struct row *rows;
	size_t rows_n, rows_cap;
	bool overflow;
	float coarse; /* the lowest cosine by the high plane, as a scan in memory has it, and its item */
	int64_t coarse_id;
	struct heap best;
	/* Counts: of rows, in SUMS of those in the heap */
	uint16_t *tf;
	uint32_t *len;
	uint32_t spare;
	uint8_t *planes;
	struct remake remake;
	enum err err;
	struct diag diag;
};

static enum err no_memory(void)
{
	return err_set(E_LIMIT, "out of memory while searching");
}

/* --------------------------------------------------------------- the heap */

static bool worse(const struct ranked_item *a, const struct ranked_item *b)
{
	return a->sum != b->sum ? a->sum < b->sum : a->id > b->id;
}

static void sink(struct heap *h, struct kept k)
{
	size_t i = 0, c;

	for (; (c = 2 * i + 1) < h->n; i = c) {
		c += c + 1 < h->n && worse(&h->v[c + 1].r, &h->v[c].r);
		if (!worse(&h->v[c].r, &k.r))
			break;
		h->v[i] = h->v[c];
	}
	h->v[i] = k;
}

/* The slot that is free afterwards; NONE: none is. */
static uint32_t offer(struct heap *h, struct ranked_item r, uint32_t slot)
{
	struct kept k = {r, slot};
	size_t i;

	h->offered++;
	if (h->n == h->cap) {
		if (!worse(&h->v[0].r, &r))
			return slot;
		slot = h->v[0].slot;
		sink(h, k);
		return slot;
	}
	for (i = h->n++; i > 0 && worse(&r, &h->v[(i - 1) / 2].r); i = (i - 1) / 2)
		h->v[i] = h->v[(i - 1) / 2];
	h->v[i] = k;
	return NONE;
}

/* Best first. */
static void heap_sort(struct heap *h)
{
	size_t n = h->n;

	while (h->n > 1) {
		struct kept worst = h->v[0], last = h->v[--h->n];

		sink(h, last);
		h->v[h->n] = worst;
	}
	h->n = n;
}

/* ------------------------------------------------------------ one document */

static double bm25_of_item(const struct items_scan *s, const uint16_t *tf, uint32_t len)
{
	double sum = 0;

	for (size_t t = 0; t < s->terms_n; t++)
		if (tf[t])
			sum += bm25_part(&s->figures, s->terms[t].weight * s->terms[t].idf, tf[t], len);
	return sum;
}

/* As index/rank_items.c has it. False: the question says nothing about the item. */
static bool sum_up(const struct items_scan *s, int64_t id, double bm25, double cosine, struct ranked_item *out)
{
	const struct rank_items_result *r = &s->r;
	bool alone = s->q->mode == RANK_BY_VECTORS;

	*out = (struct ranked_item){.id = id, .bm25 = bm25, .cosine = cosine, .lex = r->best > 0 ? bm25 / r->best : 0};
	if (isnan(cosine) && (alone || out->lex <= 0))
		return false;
	out->v = isnan(cosine) ? out->lex : rank_items_v(cosine, r->lowest, r->highest);
	out->sum = (alone ? 0 : s->lex * out->lex) + s->v * out->v;
	return true;
}

/* A vector that is damaged, of an earlier text, or of other dimensions counts as none. */
static double cosine_of(struct pass *p, const struct doc_change *d)
{
	const struct vector_question *q = p->s->q->question;
	struct vector v;
	double cosine;
	float coarse;
	int32_t dot;

	if (d->vector.n == 0 || d->mark != doc_mark(d->terms) || !vector_load(d->vector, q->dims, p->planes, &v))
		return NAN;
	cosine = vector_cosine(q, v.high, v.low, v.scale);
	if (p->kind != GATHER)
		return cosine;
	q->kernel->scan(v.high, 1, vector_size(q->dims), q->coarse, q->coarse_sum, &dot);
	coarse = (float)dot * v.scale * (float)(256 * q->coarse_scale);
	if (p->s->vectors == 0 || coarse < p->coarse || (coarse == p->coarse && d->id > p->coarse_id)) {
		p->coarse = coarse;
		p->coarse_id = d->id;
		p->s->r.lowest = fmax(0, cosine);
	}
	p->s->r.highest = fmax(p->s->r.highest, cosine);
	p->s->vectors++;
	return cosine;
}

static enum err more_rows(struct pass *p)
{
	size_t cap = p->rows_cap ? p->rows_cap * 2 : 1024, terms = p->s->terms_n;
	struct row *rows = realloc(p->rows, cap * sizeof *rows);
	uint32_t *len;
	uint16_t *tf;

	if (!rows)
		return no_memory();
	p->rows = rows;
	len = realloc(p->len, cap * sizeof *len);
	if (!len)
		return no_memory();
	p->len = len;
	tf = realloc(p->tf, cap * (terms ? terms : 1) * sizeof *tf); /* a size of 0 would free it */
	if (!tf)
		return no_memory();
	p->tf = tf;
	p->rows_cap = cap;
	return OK;
}

static enum err gather(struct pass *p, const struct seen *d)
{
	size_t terms = p->s->terms_n;

	if (!d->matches) { /* the higher cosine has the higher sum, whatever the range will be */
		if (!isnan(d->cosine))
			(void)offer(&p->best, (struct ranked_item){.id = d->id, .sum = fmax(0, d->cosine), .cosine = d->cosine},
				    NONE);
		return OK;
	}
	p->overflow = p->overflow || (p->rows_n + 1) * (sizeof *p->rows + sizeof *p->len + terms * sizeof *p->tf) > p->s->room;
	if (p->overflow)
		return OK;
	if (p->rows_n == p->rows_cap)
		TRY(more_rows(p));
	p->rows[p->rows_n] = (struct row){d->id, d->cosine};
	p->len[p->rows_n] = d->len;
	memcpy(p->tf + p->rows_n * terms, d->tf, terms * sizeof *p->tf);
	p->rows_n++;
	return OK;
}

static void take_sum(struct pass *p, const struct seen *d)
{
	struct items_scan *s = p->s;
	struct ranked_item r;

	if (!sum_up(s, d->id, bm25_of_item(s, d->tf, d->len), d->cosine, &r))
		return;
	memcpy(p->tf + (size_t)p->spare * s->terms_n, d->tf, s->terms_n * sizeof *p->tf);
	p->len[p->spare] = d->len;
	p->spare = offer(&p->best, r, p->spare);
	if (p->spare == NONE)
		p->spare = (uint32_t)p->best.n;
}

static enum err see_doc(void *ctx, const struct doc_change *c)
{
	struct pass *p = ctx;
	struct items_scan *s = p->s;
	struct seen d = {.id = c->id};
	uint32_t lang = words_count(c->terms, s->terms, s->terms_n, d.tf, &d.len);

	for (size_t t = 0; t < s->terms_n; t++)
		d.matches = d.matches || d.tf[t];
	d.cosine = p->kind == HIGHEST ? NAN : cosine_of(p, c);
	if (p->kind == SUMS) {
		take_sum(p, &d);
		return OK;
	}
	if (p->kind == HIGHEST) {
		s->r.best = fmax(s->r.best, bm25_of_item(s, d.tf, d.len));
		return OK;
	}
	s->docs++;
	s->bytes += c->terms.n;
	p->langs |= 1u << lang;
	p->length += d.len;
	for (size_t t = 0; t < s->terms_n; t++)
		p->df[t] += d.tf[t] > 0;
	return gather(p, &d);
}

/* -------------------------------------------------------------- the passes */

static bool on_doc(void *ctx, const struct doc_change *d)
{
	struct pass *p = ctx;

	if (d->removed || d->terms.n == 0)
		return true;
	if (p->looked++ % LOOK_STEP == 0 && clock_mono_ns() >= p->s->until) {
		p->s->late = true;
		return false;
	}
	p->err = remake_needed(p->s->words, d) ? remake_add(&p->remake, d) : see_doc(p, d);
	if (p->err != OK)
		p->diag = *diag_get();
	return p->err == OK;
}

static enum err run_pass(struct pass *p, enum pass_kind kind)
{
	struct store *st = p->s->words->store;
	struct doc_scope scope = *p->s->scope;
	uint64_t cursor;

	p->kind = kind;
	if (kind == HIGHEST)
		scope.model = STR("");
	remake_release(&p->remake);
	TRY(st->ops->doc_scan(st, p->s->who, &scope, &cursor, on_doc, p));
	if (p->err != OK) {
		*diag_get() = p->diag;
		return p->err;
	}
	return p->s->late ? OK : remake_all(&p->remake, see_doc, p);
}

/* Terms of languages that no document is in do not count. */
static void use_figures(struct pass *p)
{
	struct items_scan *s = p->s;

	s->figures = bm25_of(s->docs, p->length);
	for (size_t t = 0; t < s->terms_n; t++) {
		bool present = s->terms[t].langs == 0 || (s->terms[t].langs & p->langs);

		s->terms[t].df = present ? p->df[t] : 0;
		s->terms[t].idf = present ? bm25_idf(s->docs, p->df[t]) : 0;
	}
}

/* All that has a word of the question is in memory: its sums, and of the rest the best by cosine. */
static enum err sums_of_rows(struct pass *p)
{
	struct heap rest = p->best;
	struct items_scan *s = p->s;
	struct ranked_item r;

	p->best = (struct heap){.v = malloc(rest.cap * sizeof *rest.v), .cap = rest.cap};
	if (!p->best.v) {
		p->best = rest;
		return no_memory();
	}
	for (size_t i = 0; i < p->rows_n; i++)
		s->r.best = fmax(s->r.best, bm25_of_item(s, p->tf + i * s->terms_n, p->len[i]));
	for (size_t i = 0; i < p->rows_n; i++)
		if (sum_up(s, p->rows[i].id, bm25_of_item(s, p->tf + i * s->terms_n, p->len[i]), p->rows[i].cosine, &r))
			(void)offer(&p->best, r, (uint32_t)i);
	for (size_t i = 0; i < rest.n; i++)
		if (sum_up(s, rest.v[i].r.id, 0, rest.v[i].r.cosine, &r))
			(void)offer(&p->best, r, NONE);
	p->best.offered += rest.offered - rest.n;
	free(rest.v);
	return OK;
}

static void rows_free(struct pass *p)
{
	free(p->rows);
	free(p->tf);
	free(p->len);
	p->rows = NULL;
	p->tf = NULL;
	p->len = NULL;
}

static enum err sums_by_reading(struct pass *p)
{
	rows_free(p);
	p->best.n = p->best.offered = 0;
	p->tf = malloc((p->best.cap + 1) * p->s->terms_n * sizeof *p->tf);
	p->len = malloc((p->best.cap + 1) * sizeof *p->len);
	if (!p->tf || !p->len)
		return no_memory();
	TRY(run_pass(p, HIGHEST));
	return p->s->late ? OK : run_pass(p, SUMS);
}

static enum err take_results(struct pass *p, struct arena *a)
{
	struct items_scan *s = p->s;
	size_t n = p->best.n;

	heap_sort(&p->best);
	s->r.r = ARENA_ARRAY(a, struct ranked_item, n + 1);
	s->tf = arena_zalloc(a, (n * s->terms_n + 1) * sizeof *s->tf);
	s->len = arena_zalloc(a, (n + 1) * sizeof *s->len);
	if (!s->r.r || !s->tf || !s->len)
		return E_NOMEM;
	for (size_t i = 0; i < n; i++) {
		const struct kept *k = &p->best.v[i];

		s->r.r[i] = k->r;
		if (k->slot == NONE || s->terms_n == 0)
			continue;
		memcpy(s->tf + i * s->terms_n, p->tf + (size_t)k->slot * s->terms_n, s->terms_n * sizeof *s->tf);
		s->len[i] = p->len[k->slot];
	}
	s->r.n = n;
	s->r.complete = p->best.offered == n;
	return OK;
}

enum err items_scan(struct items_scan *s)
{
	bool alone = s->q->mode == RANK_BY_VECTORS;
	struct pass *p = calloc(1, sizeof *p);
	enum err e;

	if (!p)
		return no_memory();
	*p = (struct pass){.s = s, .remake = {.w = s->words, .who = s->who, .kind = s->scope->kind}};
	CHECK(question_terms(s->arena, s->words->langs, s->q->query, &s->terms, &s->terms_n));
	/* More than wanted: a filter may pass few of them, and to read the scope again costs more than some thousand hits. */
	p->best.cap = (s->q->want < UINT32_MAX / 2 ? s->q->want : UINT32_MAX / 2) + TOP_EXTRA;
	p->best.v = malloc(p->best.cap * sizeof *p->best.v);
	p->planes = vector_planes(s->q->question->dims);
	if (!p->best.v || !p->planes) {
		e = no_memory();
		goto out;
	}
	CHECK(run_pass(p, GATHER));
	s->ready = !s->late && s->vectors > 0 && (alone || s->vectors * 2 >= s->docs);
	if (!s->ready)
		goto out;
	use_figures(p);
	CHECK(p->overflow ? sums_by_reading(p) : sums_of_rows(p));
	s->ready = !s->late;
	if (!s->ready)
		goto out;
	e = take_results(p, s->arena);
out:
	rows_free(p);
	free(p->best.v);
	free(p->planes);
	remake_release(&p->remake);
	free(p);
	return e;
}
