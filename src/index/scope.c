/* Scopes: bookkeeping of documents and segments, and scoring of items. Ranking of messages is in rank.c. */
#include "index/scope.h"

#include <math.h>
#include <stdlib.h>

#include "index/order.h"
#include "index/scores.h"
#include "index/top.h"

/* Joins up to this many bytes are done within scope_commit (well below 1 ms). */
#define INLINE_MERGE_BYTES (48u << 10)

static enum err no_memory(void)
{
	return err_set(E_LIMIT, "out of memory for the word index");
}

struct scope *scope_new(bool messages)
{
	struct scope *s = calloc(1, sizeof *s);

	if (!s)
		return NULL;
	s->messages = messages;
	map_init(&s->threads);
	return s;
}

void scope_free(struct scope *s)
{
	if (!s)
		return;
	for (unsigned i = 0; i < s->segs_n; i++)
		segment_free(s->segs[i]);
	builder_release(&s->builder);
	map_release(&s->threads);
	free(s->speakers);
	scope_order_free(s->order);
	free(s);
}

size_t scope_bytes(const struct scope *s)
{
	size_t n = sizeof *s + s->threads.cap * 64 + s->speakers_cap * sizeof *s->speakers + scope_order_bytes(s->order);

	for (unsigned i = 0; i < s->segs_n; i++)
		n += s->segs[i]->bytes;
	return n;
}

/* ----------------------------------------------------------------- changes */

static enum err thread_number(struct scope *s, struct str thread, uint32_t *out)
{
	uintptr_t have = (uintptr_t)map_get(&s->threads, thread);

	if (!have) {
		have = ++s->threads_n;
		TRY(map_put(&s->threads, thread, (void *)have, NULL));
	}
	*out = (uint32_t)(have - 1);
	return OK;
}

#define SPEAKERS_MAX 4096u /* more than that are not told apart */

static enum err speaker_number(struct scope *s, const struct doc_head *h, uint16_t *out)
{
	struct speaker *more;

	*out = 0;
	if (!(h->facts & FACT_SPEAKER))
		return OK;
	for (uint32_t i = s->speakers_n; i-- > 0;)
		if (s->speakers[i].hash == h->speaker) {
			*out = (uint16_t)(i + 1);
			return OK;
		}
	if (s->speakers_n == SPEAKERS_MAX)
		return OK;
	if (s->speakers_n == s->speakers_cap) {
		uint32_t cap = s->speakers_cap ? s->speakers_cap * 2 : 4;

		more = realloc(s->speakers, cap * sizeof *more);
		if (!more)
			return no_memory();
		s->speakers = more;
		s->speakers_cap = cap;
	}
	more = &s->speakers[s->speakers_n++];
	more->hash = h->speaker;
	more->terms_n = (uint8_t)h->name_terms_n;
	memcpy(more->terms, h->name_terms, sizeof more->terms);
	*out = (uint16_t)s->speakers_n;
	return OK;
}

static bool find(const struct scope *s, int64_t id, unsigned *seg, uint32_t *doc)
{
	for (unsigned i = s->segs_n; i-- > 0;) {
		ptrdiff_t d = segment_find(s->segs[i], id);

		if (d >= 0) {
			*seg = i;
			*doc = (uint32_t)d;
			return true;
		}
	}
	return false;
}

bool scope_has(const struct scope *s, int64_t id)
{
	unsigned seg;
	uint32_t doc;

	return find(s, id, &seg, &doc);
}

/* Adds (sign 1) or takes away (-1) a document's share of the counts. */
static void count_doc(struct scope *s, const struct segment *seg, uint32_t doc, int sign)
{
	uint32_t first = segment_first(seg, doc), end = seg->first ? seg->first[doc + 1] : doc + 1;

	for (uint32_t r = first; r < end; r++)
		s->length += (uint64_t)(int64_t)sign * seg->len[r];
	s->rows += (uint64_t)(int64_t)sign * (end - first);
	s->docs += (uint64_t)(int64_t)sign;
	s->lang_docs[seg->lang[doc]] += (uint32_t)sign;
	if (seg->facts)
		s->role_docs[seg->facts[doc].role] += (uint32_t)sign;
}

static void kill(struct scope *s, int64_t id)
{
	unsigned seg;
	uint32_t doc;

	if (find(s, id, &seg, &doc)) {
		count_doc(s, s->segs[seg], doc, -1);
		segment_kill(s->segs[seg], doc);
	}
}

/* Turns what the builder holds into a segment. */
static enum err flush(struct scope *s)
{
	struct segment *fresh;
	int64_t *removed;
	uint32_t removed_n;

	if (s->builder.docs_n == 0)
		return OK;
	if (s->segs_n == SCOPE_SEGMENTS_MAX)
		return err_set(E_INTERNAL, "too many segments in a word index");
	TRY(builder_finish(&s->builder, s->messages, &fresh, &removed, &removed_n));
	for (uint32_t i = 0; i < removed_n; i++)
		kill(s, removed[i]);
	free(removed);
	if (!fresh)
		return OK;
	for (uint32_t d = 0; s->docs > 0 && d < fresh->docs; d++)
		kill(s, fresh->ids[d]);
	for (uint32_t d = 0; d < fresh->docs; d++)
		count_doc(s, fresh, d, 1);
	s->segs[s->segs_n++] = fresh;
	return OK;
}

static enum err add_rows(struct scope *s, struct doc_reader *r)
{
	uint32_t len, id, tf;

	while (doc_passage(r, &len)) {
		TRY(builder_row(&s->builder, len));
		while (doc_term(r, &id, &tf))
			TRY(builder_post(&s->builder, id, tf));
		while (s->messages && doc_pair(r, &id, &tf))
			TRY(builder_post(&s->builder, id, tf));
	}
	return OK;
}

static enum err merge_tail(struct scope *s, bool all_that_may);

enum err scope_add(struct scope *s, int64_t id, struct str doc, struct str thread)
{
	struct new_doc d = {.id = id};
	struct doc_reader r;
	struct doc_head h;
	enum doc_state state = doc_open(doc, &r, &h);
	uint32_t before = s->builder.rows;

	if (s->builder.posts_n > 0 &&
	    (s->builder.posts_n + doc.n > BUILDER_POSTS_MAX || s->builder.rows + h.passages > BUILDER_ROWS_MAX)) {
		TRY(flush(s));
		if (s->segs_n + 2 > SCOPE_SEGMENTS_MAX)
			TRY(merge_tail(s, true));
		before = 0;
	}
	if (state == DOC_GOOD) {
		d.lang = h.lang ? h.lang->id : 0;
		d.facts = (struct doc_facts){.time_us = h.time_us, .role = h.role, .ask = h.ask, .facts = h.facts};
	}
	if (s->messages) {
		TRY(thread_number(s, thread, &d.facts.thread));
		TRY(speaker_number(s, &h, &d.facts.speaker));
	}
	TRY(builder_doc(&s->builder, &d));
	if (state == DOC_GOOD)
		TRY(add_rows(s, &r));
	if (s->builder.rows == before)
		TRY(builder_row(&s->builder, 0));
	return OK;
}

enum err scope_remove(struct scope *s, int64_t id)
{
	struct new_doc d = {.id = id};

	return builder_doc(&s->builder, &d);
}

/* ----------------------------------------------------------------- merging */

/* Segments up to here are being merged by somebody and must stay where they are. */
static unsigned movable_from(const struct scope *s)
{
	return s->merging ? s->merge_to : 0;
}

/* First segment of the tail that wants to be one: each at most twice as large as all after it. */
static unsigned tail_from(const struct scope *s, size_t *bytes)
{
	unsigned i = s->segs_n;

	*bytes = 0;
	if (i == 0)
		return 0;
	*bytes = s->segs[--i]->bytes;
	while (i > movable_from(s) && s->segs[i - 1]->bytes <= 2 * *bytes)
		*bytes += s->segs[--i]->bytes;
	return i;
}

static enum err merge_range(struct scope *s, unsigned from)
{
	uint64_t *dead[SCOPE_SEGMENTS_MAX];
	struct segment *merged;

	for (unsigned i = from; i < s->segs_n; i++)
		dead[i - from] = s->segs[i]->dead;
	TRY(segment_merge(s->segs + from, dead, s->segs_n - from, &merged));
	for (unsigned i = from; i < s->segs_n; i++)
		segment_free(s->segs[i]);
	s->segs_n = from;
	if (merged)
		s->segs[s->segs_n++] = merged;
	return OK;
}

/* Joins the tail as far as that is quick; with all_that_may also when it is not. */
static enum err merge_tail(struct scope *s, bool all_that_may)
{
	size_t bytes;
	unsigned from;

	if (all_that_may) {
		from = movable_from(s);
	} else {
		from = tail_from(s, &bytes);
		while (from + 1 < s->segs_n && bytes > INLINE_MERGE_BYTES)
			bytes -= s->segs[from++]->bytes;
	}
	return s->segs_n - from >= 2 ? merge_range(s, from) : OK;
}

enum err scope_commit(struct scope *s)
{
	if (s->builder.docs_n == 0)
		return OK;
	s->version++;
	TRY(flush(s));
	return merge_tail(s, s->segs_n + 4 > SCOPE_SEGMENTS_MAX);
}

enum err scope_merge_all(struct scope *s)
{
	if (s->builder.docs_n > 0)
		s->version++;
	TRY(flush(s));
	return s->segs_n >= 2 ? merge_range(s, 0) : OK;
}

#define DEAD_WORTH_IT 256u

bool scope_merge_plan(struct scope *s, struct merge_plan *plan)
{
	size_t bytes;
	unsigned from = tail_from(s, &bytes);
	bool wanted;

	memset(plan, 0, sizeof *plan);
	if (s->merging || s->segs_n == 0)
		return false;
	wanted = s->segs_n - from >= 2 && bytes > INLINE_MERGE_BYTES;
	for (unsigned i = 0; i < s->segs_n; i++)
		if (s->segs[i]->dead_docs > DEAD_WORTH_IT && s->segs[i]->dead_docs > s->segs[i]->docs / 4) {
			from = from < i ? from : i;
			wanted = true;
			break;
		}
	if (!wanted)
		return false;
	for (unsigned i = from; i < s->segs_n; i++) {
		size_t n = ((size_t)s->segs[i]->rows + 63) / 64 * sizeof(uint64_t);
		uint64_t *copy = malloc(n + 1);

		if (!copy) { /* another time */
			while (plan->n > 0)
				free(plan->dead[--plan->n]);
			return false;
		}
		memcpy(copy, s->segs[i]->dead, n);
		plan->segs[plan->n] = s->segs[i];
		plan->dead[plan->n++] = copy;
	}
	s->merging = true;
	s->merge_from = from;
	s->merge_to = s->segs_n;
	return true;
}

enum err scope_merge_run(struct merge_plan *plan)
{
	return segment_merge(plan->segs, plan->dead, plan->n, &plan->merged);
}

/* What died while the merge went on dies in the merged segment too. */
static void carry_deaths(struct merge_plan *plan)
{
	for (unsigned i = 0; i < plan->n; i++) {
		const struct segment *s = plan->segs[i];

		for (uint32_t d = 0; plan->merged && d < s->docs; d++) {
			uint32_t row = segment_first(s, d);
			ptrdiff_t at;

			if (!segment_row_dead(s, row) || plan->dead[i][row / 64] >> (row % 64) & 1)
				continue;
			at = segment_find(plan->merged, s->ids[d]);
			if (at >= 0)
				segment_kill(plan->merged, (uint32_t)at);
		}
	}
}

void scope_merge_install(struct scope *s, struct merge_plan *plan, bool ok)
{
	unsigned from = s->merge_from, put = plan->merged ? 1 : 0;

	if (ok) {
		carry_deaths(plan);
		for (unsigned i = 0; i < plan->n; i++)
			segment_free(plan->segs[i]);
		memmove(s->segs + from + put, s->segs + s->merge_to, (s->segs_n - s->merge_to) * sizeof(struct segment *));
		s->segs_n -= plan->n - put;
		if (put)
			s->segs[from] = plan->merged;
		s->version++; /* rows have other numbers now */
	}
	for (unsigned i = 0; i < plan->n; i++)
		free(plan->dead[i]);
	s->merging = false;
	plan->n = 0;
}

/* ----------------------------------------------------------------- scoring */

uint64_t scope_df(const struct scope *s, uint32_t term)
{
	uint64_t df = 0;

	for (unsigned i = 0; i < s->segs_n; i++) {
		struct postings it = segment_postings(s->segs[i], term);

		if (s->segs[i]->dead_docs == 0) {
			df += it.df;
			continue;
		}
		while (postings_next(&it))
			df += !segment_row_dead(s->segs[i], it.row);
	}
	return df;
}

uint32_t scope_langs(const struct scope *s)
{
	uint32_t mask = 0;

	for (unsigned i = 0; i < LANG_MAX; i++)
		if (s->lang_docs[i])
			mask |= 1u << i;
	return mask;
}

void scope_query_prepare(const struct scope *s, struct query_term *q, size_t n, struct bm25 *c)
{
	*c = bm25_of(s->rows, s->length);
	for (size_t i = 0; i < n; i++) {
		q[i].df = scope_df(s, q[i].id);
		q[i].idf = bm25_idf(s->rows, q[i].df);
	}
}

size_t scope_row_slots(const struct scope *s)
{
	size_t n = 0;

	for (unsigned i = 0; i < s->segs_n; i++)
		n += s->segs[i]->rows;
	return n;
}

void scope_score(const struct scope *s, const struct query_term *q, size_t n, const struct bm25 *c, double *score, uint64_t *mask)
{
	for (size_t t = 0; t < n; t++) {
		double w = q[t].weight * q[t].idf;
		size_t base = 0;

		if (q[t].df == 0)
			continue;
		for (unsigned i = 0; i < s->segs_n; base += s->segs[i++]->rows) {
			const struct segment *seg = s->segs[i];
			struct postings it = segment_postings(seg, q[t].id);

			while (postings_next(&it)) {
				if (seg->dead_docs && segment_row_dead(seg, it.row))
					continue;
				score[base + it.row] += bm25_part(c, w, it.tf, seg->len[it.row]);
				if (mask && t < 64)
					mask[base + it.row] |= (uint64_t)1 << t;
			}
		}
	}
}

int scored_cmp(const void *a, const void *b)
{
	const struct scored *x = a, *y = b;

	if (x->score != y->score)
		return x->score > y->score ? -1 : 1;
	return (x->id > y->id) - (x->id < y->id);
}

/* The scores that may be among the best, in the order of their rows. */
struct best_rows {
	struct arena *a;
	struct best_row {
		double score;
		size_t slot;
	} * v;
	size_t n, cap, want;
	double *heap; /* of the `want` highest */
	size_t heap_n;
	double above; /* what is not above it does not count: 0, then a little less than the lowest in the full heap */
};

static void best_drop(struct best_rows *b)
{
	size_t kept = 0;

	for (size_t i = 0; i < b->n; i++)
		if (b->v[i].score > b->above)
			b->v[kept++] = b->v[i];
	b->n = kept;
}

static enum err best_room(struct best_rows *b)
{
	size_t cap = b->cap ? b->cap * 2 : 4 * SCORES_BLOCK;

	b->v = arena_grow(b->a, b->v, b->cap * sizeof *b->v, cap * sizeof *b->v);
	if (!b->v)
		return E_NOMEM;
	b->cap = cap;
	return OK;
}

static enum err best_add(struct best_rows *b, double score, size_t slot)
{
	if (b->n == b->cap) {
		best_drop(b);
		if (b->n * 2 >= b->cap)
			TRY(best_room(b));
	}
	b->v[b->n++] = (struct best_row){score, slot};
	top_put(b->heap, &b->heap_n, b->want, score);
	if (b->heap_n == b->want)
		b->above = nextafter(b->heap[0], 0);
	return OK;
}

/* All scores that are not below the want-th highest, all above 0 if these are fewer. *total: scores above 0. */
static enum err best_rows(struct best_rows *b, const double *score, size_t slots, size_t *total)
{
	for (size_t at = 0; at < slots; at += SCORES_BLOCK) {
		size_t n = slots - at < SCORES_BLOCK ? slots - at : SCORES_BLOCK, some = scores_above(score + at, n, 0);

		*total += some;
		if (some == 0 || (b->above > 0 && scores_above(score + at, n, b->above) == 0))
			continue;
		for (size_t r = at; r < at + n; r++)
			if (score[r] > b->above)
				TRY(best_add(b, score[r], r));
	}
	best_drop(b);
	return OK;
}

enum err scope_best(const struct scope *s, const double *score, size_t want, size_t extra, struct arena *a, struct scored **out,
		    size_t *n, size_t *total)
{
	size_t slots = scope_row_slots(s), base = 0;
	struct best_rows b = {.a = a, .want = want < slots ? want : slots};

	*out = NULL;
	*n = *total = 0;
	if (b.want == 0)
		return OK;
	b.heap = ARENA_ARRAY(a, double, b.want);
	if (!b.heap)
		return E_NOMEM;
	TRY(best_rows(&b, score, slots, total));
	*out = ARENA_ARRAY(a, struct scored, b.n);
	if (!*out)
		return E_NOMEM;
	for (size_t i = 0, seg = 0; i < b.n; i++) {
		while (b.v[i].slot - base >= s->segs[seg]->rows)
			base += s->segs[seg++]->rows;
		(*out)[i] = (struct scored){b.v[i].score, s->segs[seg]->ids[b.v[i].slot - base]};
	}
	if (b.n)
		qsort(*out, b.n, sizeof **out, scored_cmp);
	*n = b.n < want + extra ? b.n : want + extra;
	return OK;
}

bool scope_slot(const struct scope *s, int64_t id, uint32_t *slot)
{
	unsigned seg;
	uint32_t doc;

	if (!find(s, id, &seg, &doc))
		return false;
	*slot = segment_first(s->segs[seg], doc);
	for (unsigned i = 0; i < seg; i++)
		*slot += s->segs[i]->rows;
	return true;
}

bool scope_term_counts(const struct scope *s, int64_t id, const struct query_term *q, size_t n, uint32_t *tf, uint32_t *len)
{
	unsigned seg;
	uint32_t doc, row;

	if (!find(s, id, &seg, &doc))
		return false;
	row = segment_first(s->segs[seg], doc);
	*len = s->segs[seg]->len[row];
	for (size_t t = 0; t < n; t++) {
		struct postings it = segment_postings(s->segs[seg], q[t].id);

		tf[t] = 0;
		while (postings_next(&it))
			if (it.row >= row) {
				tf[t] = it.row == row ? it.tf : 0;
				break;
			}
	}
	return true;
}
