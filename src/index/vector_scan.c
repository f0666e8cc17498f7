/* Searching the vectors of a scope: the scan, the candidates, the exact ranking of these. */
#include "index/vector_block.h"

#include <math.h>
#include <stdlib.h>

#include "index/top.h"

#define CANDIDATES_MAX 16384 /* or 4 times what is wanted, if that is more */
#define SPARSE 16	     /* so many marked rows of a chunk or fewer are looked at one by one */
/* In standard deviations of a coarse score's error, how far a score may lie below the best and its vector still be one of these:
 * below coarse scores while collecting, below exact ones while ranking. Generous, since of thousands of vectors that are nearly
 * alike the largest errors count, and the question's error is common to these. */
#define COLLECT 8
#define STOP 5
#define AHEAD 2 /* rows that are fetched while another one is worked on */

enum err vector_scope_mark(const struct vector_scope *s, struct arena *a, const int64_t *ids, size_t n, uint64_t **rows)
{
	uint64_t *bits = arena_zalloc(a, ((size_t)s->rows + 63) / 64 * sizeof *bits);

	if (!bits)
		return E_NOMEM;
	for (size_t i = 0; i < n; i++) {
		int64_t row = vector_scope_row(s, ids[i]);

		if (row >= 0)
			bits[row / 64] |= (uint64_t)1 << row % 64;
	}
	*rows = bits;
	return OK;
}

static enum err question_fits(const struct vector_scope *s, const struct vector_question *q)
{
	if (q->dims != s->dims)
		return err_set(E_INVALID, "a question of %u dimensions for vectors of %u", q->dims, s->dims);
	return OK;
}

static double row_cosine(const struct vector_scope *s, const struct vector_question *q, uint32_t row)
{
	struct vector_row r = vector_row_at(s, row);

	return vector_cosine(q, r.block->high + r.i * s->size, r.block->low + r.i * s->size, r.block->scales[r.i]);
}

/* Has a row fetched into the processor's cache. */
static void row_ahead(const struct vector_scope *s, uint32_t row)
{
	struct vector_row r = vector_row_at(s, row);

	for (size_t at = 0; at < s->size; at += 64) {
		__builtin_prefetch(r.block->high + r.i * s->size + at);
		__builtin_prefetch(r.block->low + r.i * s->size + at);
	}
}

/* Standard deviation of the error of a coarse score. Rounding the components of one unit vector to steps errs by step / sqrt(12)
 * each, and the sum of these errors times the components of another unit vector by as much. The rows' steps are taken as the
 * largest. */
static double deviation(const struct vector_scope *s, const struct vector_question *q)
{
	double row = 256 * (double)s->scale_max, question = q->coarse_scale;

	return sqrt((row * row + question * question) / 12);
}

/* ---------------------------------------------------------------- candidates */

/* Negative: a comes before b, that is, it is the better one. */
static int before(const void *left, const void *right)
{
	const struct vector_candidate *a = left, *b = right;

	if (a->score != b->score)
		return a->score > b->score ? -1 : 1;
	return a->id < b->id ? -1 : a->id > b->id;
}

static struct vector_candidate middle_of(struct vector_candidate x, struct vector_candidate y, struct vector_candidate z)
{
	if (before(&x, &y) < 0)
		return before(&y, &z) < 0 ? y : before(&x, &z) < 0 ? z : x;
	return before(&x, &z) < 0 ? x : before(&y, &z) < 0 ? z : y;
}

/* Moves the best `want` of n to the front (quickselect). */
static void select_best(struct vector_candidate *c, size_t n, size_t want)
{
	while (n > 1 && want < n) {
		struct vector_candidate pivot = middle_of(c[0], c[n / 2], c[n - 1]), t;
		size_t i = 0, j = n - 1;

		for (;;) {
			while (before(&c[i], &pivot) < 0)
				i++;
			while (before(&pivot, &c[j]) < 0)
				j--;
			if (i >= j)
				break;
			t = c[i];
			c[i] = c[j];
			c[j] = t;
			if (before(&c[i], &c[j]) == 0)
				j--;
		}
		/* The pivot lies at i now, what is better lies before it. */
		if (want <= i) {
			n = i;
		} else {
			c += i + 1;
			n -= i + 1;
			want -= i + 1;
		}
	}
}

static size_t drop_below(struct vector_candidate *c, size_t n, float floor)
{
	size_t kept = 0;

	for (size_t i = 0; i < n; i++)
		if (c[i].score >= floor)
			c[kept++] = c[i];
	return kept;
}

static float lowest_score(const struct vector_candidate *c, size_t n)
{
	float lowest = INFINITY;

	for (size_t i = 0; i < n; i++)
		lowest = c[i].score < lowest ? c[i].score : lowest;
	return lowest;
}

/* Makes room in a full list. */
static void prune(struct vector_scan *scan)
{
	size_t half = scan->cap - scan->cap / 2;

	scan->n = drop_below(scan->list, scan->n, scan->floor);
	if (scan->n <= half)
		return;
	select_best(scan->list, scan->n, half);
	scan->n = half;
	scan->floor = lowest_score(scan->list, half);
}

static void consider(struct vector_scan *scan, struct vector_candidate c)
{
	const struct vector_filter *f = scan->filter;
	bool good = c.score >= scan->floor, worst = !scan->any || before(&scan->worst, &c) < 0;
	float floor;

	if (!good && !worst)
		return;
	if (f && f->allow && !f->allow(f->ctx, c.id))
		return;
	if (worst) {
		scan->worst = c;
		scan->any = true;
	}
	if (!good)
		return;
	if (scan->n == scan->cap)
		prune(scan);
	scan->list[scan->n++] = c;
	top_put(scan->top, &scan->top_n, scan->want, (double)c.score);
	floor = (float)(scan->top[0] - scan->reach);
	if (scan->top_n == scan->want && floor > scan->floor)
		scan->floor = floor;
}

/* ---------------------------------------------------------------- the scan */

static float score_of(const struct vector_scan *scan, struct vector_row at, uint32_t i, int32_t dot)
{
	return (float)dot * at.block->scales[at.i + i] * scan->factor;
}

/* Rows [row, row + n) of one block. */
static void scan_all(struct vector_scan *scan, uint32_t row, uint32_t n)
{
	float floor = scan->floor, lowest = scan->any ? scan->worst.score : INFINITY;
	const struct vector_question *q = scan->question;
	size_t size = scan->scope->size;
	struct vector_row at = vector_row_at(scan->scope, row);
	const float *scales = at.block->scales + at.i;
	float scores[VECTOR_CHUNK], factor = scan->factor;
	uint8_t notable[VECTOR_CHUNK] = {0};
	int32_t dots[VECTOR_CHUNK];

	q->kernel->scan(at.block->high + at.i * size, n, size, q->coarse, q->coarse_sum, dots);
	for (uint32_t i = 0; i < n; i++)
		scores[i] = (float)dots[i] * scales[i] * factor;
	/* Hardly any row is notable: eight of them are passed over at a time. */
	for (uint32_t i = 0; i < n; i++)
		notable[i] = (uint8_t)(scores[i] >= floor) | (uint8_t)(scores[i] <= lowest);
	for (uint32_t i = 0; i < n; i += 8) {
		uint64_t eight;

		memcpy(&eight, notable + i, sizeof eight);
		for (uint32_t k = i; eight && k < i + 8; k++)
			if (notable[k])
				consider(scan, (struct vector_candidate){scores[k], row + k, at.block->ids[at.i + k]});
	}
}

/* Rows [row, row + n) as far as their bits are set; bit 0 of `bits` is that of `row`. */
static void scan_marked(struct vector_scan *scan, uint32_t row, uint32_t n, uint64_t bits)
{
	const struct vector_question *q = scan->question;
	size_t size = scan->scope->size;
	struct vector_row at = vector_row_at(scan->scope, row);
	const uint8_t *rows = at.block->high + at.i * size;
	bool sparse = __builtin_popcountll(bits) <= SPARSE;
	int32_t dots[VECTOR_CHUNK];

	if (bits && !sparse)
		q->kernel->scan(rows, n, size, q->coarse, q->coarse_sum, dots);
	for (; bits; bits &= bits - 1) {
		uint32_t i = (uint32_t)__builtin_ctzll(bits);

		if (sparse)
			q->kernel->scan(rows + i * size, 1, size, q->coarse, q->coarse_sum, &dots[i]);
		consider(scan, (struct vector_candidate){score_of(scan, at, i, dots[i]), row + i, at.block->ids[at.i + i]});
	}
}

void vector_scan_run(struct vector_scan *scan, uint32_t from, uint32_t to)
{
	const uint64_t *marks = scan->filter ? scan->filter->rows : NULL;
	uint32_t n;

	to = to < scan->scope->rows ? to : scan->scope->rows;
	for (uint32_t row = from; row < to; row += n) {
		n = VECTOR_CHUNK - row % VECTOR_CHUNK; /* a chunk never crosses the end of a block */
		n = n < to - row ? n : to - row;
		if (marks) {
			uint64_t bits = marks[row / 64] >> row % 64;

			scan_marked(scan, row, n, n < 64 ? bits & (((uint64_t)1 << n) - 1) : bits);
		} else
			scan_all(scan, row, n);
	}
}

enum err vector_scan_init(struct vector_scan *scan, struct arena *a, const struct vector_scope *s, const struct vector_question *q,
			  const struct vector_filter *filter, size_t want)
{
	size_t cap = want * 4 > CANDIDATES_MAX ? want * 4 : CANDIDATES_MAX;

	TRY(question_fits(s, q));
	if (want < 1 || want > VECTOR_WANT_MAX)
		return err_set(E_INVALID, "%zu hits wanted of a vector search, allowed are 1 to %u", want, VECTOR_WANT_MAX);
	if (cap > s->rows)
		cap = s->rows ? s->rows : 1;
	if (want > cap)
		want = cap;
	*scan = (struct vector_scan){.scope = s, .question = q, .filter = filter, .want = want, .cap = cap};
	scan->factor = (float)(256 * q->coarse_scale);
	scan->floor = -INFINITY;
	scan->reach = COLLECT * deviation(s, q);
	scan->list = ARENA_ARRAY(a, struct vector_candidate, cap);
	scan->top = ARENA_ARRAY(a, double, want);
	return scan->list && scan->top ? OK : E_NOMEM;
}

/* ---------------------------------------------------------------- the answer */

/* All candidates of the parts that are within reach, best first. */
static enum err gather(const struct vector_scan *parts, size_t n, struct arena *a, struct vector_candidate **out, size_t *out_n)
{
	struct vector_candidate *all;
	float floor = -INFINITY;
	size_t count = 0;

	for (size_t i = 0; i < n; i++) {
		count += parts[i].n;
		floor = parts[i].floor > floor ? parts[i].floor : floor;
	}
	all = ARENA_ARRAY(a, struct vector_candidate, count);
	if (!all)
		return E_NOMEM;
	count = 0;
	for (size_t i = 0; i < n; i++) {
		if (parts[i].n)
			memcpy(all + count, parts[i].list, parts[i].n * sizeof *all);
		count += parts[i].n;
	}
	count = drop_below(all, count, floor);
	if (count > parts[0].want) {
		select_best(all, count, parts[0].want);
		floor = (float)((double)lowest_score(all, parts[0].want) - parts[0].reach);
		count = drop_below(all, count, floor);
	}
	if (count)
		qsort(all, count, sizeof *all, before);
	*out = all;
	*out_n = count;
	return OK;
}

/* Exact cosines of candidates from the best on, until none that is left can be among the best. */
static enum err rank_exactly(const struct vector_scan *scan, const struct vector_candidate *c, size_t n, struct arena *a,
			     struct vector_found *out)
{
	double error = STOP * deviation(scan->scope, scan->question), *top = ARENA_ARRAY(a, double, scan->want);
	size_t top_n = 0;

	out->hits = ARENA_ARRAY(a, struct scored, n);
	if (!top || !out->hits)
		return E_NOMEM;
	for (size_t i = 0; i < n; i++) {
		double cosine;

		if (i + AHEAD < n)
			row_ahead(scan->scope, c[i + AHEAD].row);
		if (top_n == scan->want && (double)c[i].score < top[0] - error)
			break;
		cosine = row_cosine(scan->scope, scan->question, c[i].row);
		top_put(top, &top_n, scan->want, cosine);
		out->hits[out->n++] = (struct scored){cosine, c[i].id};
	}
	if (out->n)
		qsort(out->hits, out->n, sizeof *out->hits, scored_cmp);
	out->n = out->n < scan->want ? out->n : scan->want;
	return OK;
}

enum err vector_scan_join(const struct vector_scan *parts, size_t n, struct arena *a, struct vector_found *out)
{
	const struct vector_scan *lowest = NULL;
	struct vector_candidate *all;
	size_t count;

	*out = (struct vector_found){0};
	TRY(gather(parts, n, a, &all, &count));
	TRY(rank_exactly(&parts[0], all, count, a, out));
	for (size_t i = 0; i < n; i++)
		if (parts[i].any && (!lowest || before(&lowest->worst, &parts[i].worst) < 0))
			lowest = &parts[i];
	if (!lowest)
		return OK;
	out->highest = out->hits[0].score;
	out->lowest = row_cosine(lowest->scope, lowest->question, lowest->worst.row);
	return OK;
}

enum err vector_scope_search(const struct vector_scope *s, struct arena *a, const struct vector_question *q,
			     const struct vector_filter *filter, size_t want, struct vector_found *out)
{
	struct vector_scan scan;

	TRY(vector_scan_init(&scan, a, s, q, filter, want));
	vector_scan_run(&scan, 0, s->rows);
	return vector_scan_join(&scan, 1, a, out);
}

enum err vector_scope_cosines(const struct vector_scope *s, const struct vector_question *q, const int64_t *ids, size_t n,
			      double *out)
{
	TRY(question_fits(s, q));
	for (size_t i = 0; i < n; i++) {
		int64_t row = vector_scope_row(s, ids[i]);

		out[i] = row < 0 ? NAN : row_cosine(s, q, (uint32_t)row);
	}
	return OK;
}
