/* Segments: memory layout, look-up, making one of new documents, merging several. */
#include "index/segment.h"

#include <stdlib.h>

#include "index/text.h"

static enum err no_memory(void)
{
	return err_set(E_LIMIT, "out of memory for the word index");
}

void segment_free(struct segment *s)
{
	if (!s)
		return;
	free(s->posts);
	free(s->block);
	free(s);
}

static size_t words_of(uint32_t rows)
{
	return ((size_t)rows + 63) / 64;
}

/* One block for all arrays but the postings, largest alignment first. */
static struct segment *segment_alloc(uint32_t docs, uint32_t rows, uint32_t terms, bool facts)
{
	struct segment *s = calloc(1, sizeof *s);
	size_t many = docs != rows, bytes;
	char *p;

	if (!s)
		return NULL;
	bytes = docs * sizeof *s->ids + (facts ? docs * sizeof *s->facts : 0) + words_of(rows) * sizeof *s->dead +
		(many ? docs + 1 : 0) * sizeof *s->first + rows * sizeof *s->len + ((size_t)terms * 3 + 1) * sizeof *s->terms +
		docs;
	p = s->block = calloc(1, bytes);
	if (!p) {
		free(s);
		return NULL;
	}
	s->docs = docs;
	s->rows = rows;
	s->terms_n = terms;
	s->bytes = bytes + sizeof *s;
	s->ids = (int64_t *)(void *)p;
	p += docs * sizeof *s->ids;
	if (facts) {
		s->facts = (struct doc_facts *)(void *)p;
		p += docs * sizeof *s->facts;
	}
	s->dead = (uint64_t *)(void *)p;
	p += words_of(rows) * sizeof *s->dead;
	if (many) {
		s->first = (uint32_t *)(void *)p;
		p += (docs + 1) * sizeof *s->first;
	}
	s->len = (uint32_t *)(void *)p;
	s->terms = s->len + rows;
	s->df = s->terms + terms;
	s->offs = s->df + terms;
	s->lang = (uint8_t *)(s->offs + terms + 1);
	return s;
}

ptrdiff_t segment_find(const struct segment *s, int64_t id)
{
	size_t lo = 0, hi = s->docs;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (s->ids[mid] < id)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == s->docs || s->ids[lo] != id || segment_row_dead(s, segment_first(s, (uint32_t)lo)))
		return -1;
	return (ptrdiff_t)lo;
}

void segment_kill(struct segment *s, uint32_t doc)
{
	uint32_t end = s->first ? s->first[doc + 1] : doc + 1;

	for (uint32_t r = segment_first(s, doc); r < end; r++)
		s->dead[r / 64] |= (uint64_t)1 << (r % 64);
	s->dead_docs++;
}

struct postings segment_postings(const struct segment *s, uint32_t term)
{
	size_t lo = 0, hi = s->terms_n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (s->terms[mid] < term)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == s->terms_n || s->terms[lo] != term)
		return (struct postings){0};
	return (struct postings){.p = s->posts + s->offs[lo], .end = s->posts + s->offs[lo + 1], .df = s->df[lo]};
}

/* ------------------------------------------------------------ a new segment */

void builder_release(struct builder *b)
{
	free(b->docs);
	free(b->len);
	free(b->posts);
	memset(b, 0, sizeof *b);
}

static bool grow(void **p, size_t need, size_t *cap, size_t size)
{
	size_t more = *cap ? *cap : 64;
	void *q;

	while (more < need)
		more *= 2;
	if (more == *cap)
		return true;
	q = realloc(*p, more * size);
	if (!q)
		return false;
	*p = q;
	*cap = more;
	return true;
}

enum err builder_doc(struct builder *b, const struct new_doc *d)
{
	size_t cap = b->docs_cap;

	if (b->docs_n == b->docs_cap) {
		if (!grow((void **)&b->docs, (size_t)b->docs_n + 1, &cap, sizeof *b->docs))
			return no_memory();
		b->docs_cap = (uint32_t)cap;
	}
	b->docs[b->docs_n] = *d;
	b->docs[b->docs_n].first = b->rows;
	b->docs[b->docs_n++].rows = 0;
	return OK;
}

enum err builder_row(struct builder *b, uint32_t len)
{
	size_t cap = b->rows_cap;

	if (b->rows == b->rows_cap) {
		if (!grow((void **)&b->len, (size_t)b->rows + 1, &cap, sizeof *b->len))
			return no_memory();
		b->rows_cap = (uint32_t)cap;
	}
	b->docs[b->docs_n - 1].rows++;
	b->len[b->rows++] = len;
	return OK;
}

enum err builder_post(struct builder *b, uint32_t term, uint32_t tf)
{
	if (b->posts_n == b->posts_cap && !grow((void **)&b->posts, b->posts_n + 1, &b->posts_cap, sizeof *b->posts))
		return no_memory();
	b->posts[b->posts_n++] = (uint64_t)term << 32 | (uint64_t)(b->rows - 1) << 12 | tf;
	return OK;
}

static uint8_t *put_posting(uint8_t *p, uint32_t gap, uint32_t tf)
{
	uint64_t v = (uint64_t)gap << 1 | (tf > 1);

	for (; v >= 128; v >>= 7)
		*p++ = (uint8_t)(v | 128);
	*p++ = (uint8_t)v;
	if (tf > 1) {
		if (tf >= 128)
			*p++ = (uint8_t)(tf | 128);
		*p++ = (uint8_t)(tf >= 128 ? tf >> 7 : tf);
	}
	return p;
}
#define POSTING_MAX (5 + 2)

struct order {
	int64_t id;
	uint32_t at;
};

static int cmp_order(const void *x, const void *y)
{
	const struct order *a = x, *b = y;

	if (a->id != b->id)
		return a->id < b->id ? -1 : 1;
	return (a->at > b->at) - (a->at < b->at);
}

/* The documents that stay, in order of id, into order[]; those removed into removed[]. */
static void choose_docs(struct builder *b, struct order *order, uint32_t *n, int64_t *removed, uint32_t *removed_n)
{
	bool sorted = true;
	uint32_t kept = 0;

	for (uint32_t i = 0; i < b->docs_n; i++) {
		order[i] = (struct order){b->docs[i].id, i};
		sorted &= i == 0 || order[i - 1].id < order[i].id;
	}
	if (!sorted)
		qsort(order, b->docs_n, sizeof *order, cmp_order);
	for (uint32_t i = 0; i < b->docs_n; i++) {
		if (i + 1 < b->docs_n && order[i + 1].id == order[i].id)
			continue; /* a later one wins */
		if (b->docs[order[i].at].rows == 0)
			removed[(*removed_n)++] = order[i].id;
		else
			order[kept++] = order[i];
	}
	*n = kept;
}

/* Gives rows their new numbers, drops the postings of rows that go, and sorts by (term, row). */
static enum err sort_posts(struct builder *b, const struct order *order, uint32_t n)
{
	uint64_t *tmp = malloc((b->posts_n + 1) * sizeof *tmp);
	uint32_t *map = malloc(((size_t)b->rows + 1) * sizeof *map), next = 0;
	bool moved = false;
	size_t kept = 0;

	if (!tmp || !map) {
		free(tmp);
		free(map);
		return no_memory();
	}
	memset(map, 0xff, ((size_t)b->rows + 1) * sizeof *map);
	for (uint32_t i = 0; i < n; i++) {
		const struct new_doc *d = &b->docs[order[i].at];

		moved |= d->first != next;
		for (uint32_t r = 0; r < d->rows; r++)
			map[d->first + r] = next++;
	}
	if (moved || next != b->rows) {
		for (size_t i = 0; i < b->posts_n; i++) {
			uint32_t row = (uint32_t)(b->posts[i] >> 12) & (BUILDER_ROWS_MAX - 1);

			if (map[row] != UINT32_MAX)
				b->posts[kept++] = (b->posts[i] & ~(uint64_t)0xfffff000) | (uint64_t)map[row] << 12;
		}
		b->posts_n = kept;
	}
	sort_u64(b->posts, tmp, b->posts_n, moved ? 12 : 32, 64);
	free(tmp);
	free(map);
	return OK;
}

static enum err pack_posts(struct segment *s, const uint64_t *posts, size_t n)
{
	uint8_t *p = s->posts = malloc(n * POSTING_MAX + 1), *shrunk;
	uint32_t t = 0, row = 0;

	if (!p)
		return no_memory();
	for (size_t i = 0; i < n; i++) {
		uint32_t term = (uint32_t)(posts[i] >> 32), r = (uint32_t)(posts[i] >> 12) & (BUILDER_ROWS_MAX - 1);

		if (i == 0 || term != s->terms[t - 1]) {
			s->terms[t] = term;
			s->offs[t++] = (uint32_t)(p - s->posts);
			row = 0;
		}
		s->df[t - 1]++;
		p = put_posting(p, r - row, (uint32_t)posts[i] & 4095);
		row = r;
	}
	s->offs[t] = (uint32_t)(p - s->posts);
	s->bytes += s->offs[t];
	shrunk = realloc(s->posts, s->offs[t] + 1);
	if (shrunk)
		s->posts = shrunk;
	return OK;
}

static struct segment *segment_of(const struct builder *b, const struct order *order, uint32_t n, bool facts)
{
	uint32_t rows = 0, terms = 0, row = 0;
	struct segment *s;

	for (uint32_t i = 0; i < n; i++)
		rows += b->docs[order[i].at].rows;
	for (size_t i = 0; i < b->posts_n; i++)
		terms += i == 0 || b->posts[i] >> 32 != b->posts[i - 1] >> 32;
	s = segment_alloc(n, rows, terms, facts);
	if (!s)
		return NULL;
	for (uint32_t i = 0; i < n; i++) {
		const struct new_doc *d = &b->docs[order[i].at];

		s->ids[i] = d->id;
		s->lang[i] = d->lang;
		if (facts)
			s->facts[i] = d->facts;
		if (s->first)
			s->first[i] = row;
		memcpy(s->len + row, b->len + d->first, d->rows * sizeof *s->len);
		row += d->rows;
	}
	if (s->first)
		s->first[n] = row;
	return s;
}

enum err builder_finish(struct builder *b, bool facts, struct segment **out, int64_t **removed, uint32_t *removed_n)
{
	struct order *order = malloc(((size_t)b->docs_n + 1) * sizeof *order);
	uint32_t n = 0;
	enum err e = OK;

	*out = NULL;
	*removed = malloc(((size_t)b->docs_n + 1) * sizeof **removed);
	*removed_n = 0;
	if (!order || !*removed) {
		e = no_memory();
		goto out;
	}
	choose_docs(b, order, &n, *removed, removed_n);
	if (n == 0)
		goto out;
	CHECK(sort_posts(b, order, n));
	*out = segment_of(b, order, n, facts);
	if (!*out) {
		e = no_memory();
		goto out;
	}
	CHECK(pack_posts(*out, b->posts, b->posts_n));
out:
	if (e != OK) {
		segment_free(*out);
		free(*removed);
		*out = NULL;
		*removed = NULL;
	}
	free(order);
	builder_release(b);
	return e;
}

/* ------------------------------------------------------------------ merging */

struct merge {
	struct segment *const *s;
	uint64_t *const *dead;
	unsigned n;
	uint32_t *map[MERGE_MAX]; /* old row -> new row, UINT32_MAX: dead */
	uint32_t at[MERGE_MAX];
	uint32_t docs, rows;
	struct segment *out;
};

static bool doc_dead(const struct merge *m, unsigned i, uint32_t doc)
{
	uint32_t row = segment_first(m->s[i], doc);

	return m->dead[i][row / 64] >> (row % 64) & 1;
}

/* Segment whose next live document has the smallest id, or -1. */
static int smallest(struct merge *m)
{
	int best = -1;

	for (unsigned i = 0; i < m->n; i++) {
		while (m->at[i] < m->s[i]->docs && doc_dead(m, i, m->at[i]))
			m->at[i]++;
		if (m->at[i] < m->s[i]->docs && (best < 0 || m->s[i]->ids[m->at[i]] < m->s[best]->ids[m->at[best]]))
			best = (int)i;
	}
	return best;
}

static void merge_count(struct merge *m)
{
	for (unsigned i = 0; i < m->n; i++)
		for (uint32_t d = 0; d < m->s[i]->docs; d++)
			if (!doc_dead(m, i, d)) {
				m->docs++;
				m->rows += (m->s[i]->first ? m->s[i]->first[d + 1] : d + 1) - segment_first(m->s[i], d);
			}
}

static void merge_docs(struct merge *m)
{
	struct segment *o = m->out;
	uint32_t doc = 0, row = 0;
	int i;

	while ((i = smallest(m)) >= 0) {
		const struct segment *s = m->s[i];
		uint32_t d = m->at[i]++, end = s->first ? s->first[d + 1] : d + 1;

		o->ids[doc] = s->ids[d];
		o->lang[doc] = s->lang[d];
		if (o->facts)
			o->facts[doc] = s->facts[d];
		if (o->first)
			o->first[doc] = row;
		for (uint32_t r = segment_first(s, d); r < end; r++) {
			m->map[i][r] = row;
			o->len[row++] = s->len[r];
		}
		doc++;
	}
	if (o->first)
		o->first[doc] = row;
}

/* Postings of the smallest term that is left, in the new rows; false at the end. */
struct gathered {
	uint64_t *posts, *tmp; /* row << 12 | tf */
	size_t n, cap;
	uint32_t term;
};

static bool gather(struct merge *m, struct gathered *g, bool *failed)
{
	bool any = false, sorted = true;

	for (unsigned i = 0; i < m->n; i++)
		if (m->at[i] < m->s[i]->terms_n && (!any || m->s[i]->terms[m->at[i]] < g->term)) {
			g->term = m->s[i]->terms[m->at[i]];
			any = true;
		}
	g->n = 0;
	for (unsigned i = 0; any && i < m->n; i++) {
		const struct segment *s = m->s[i];
		uint32_t t = m->at[i];
		struct postings it;

		if (t >= s->terms_n || s->terms[t] != g->term)
			continue;
		m->at[i]++;
		if (!grow((void **)&g->posts, g->n + s->df[t], &g->cap, sizeof *g->posts)) {
			*failed = true;
			return false;
		}
		it = (struct postings){.p = s->posts + s->offs[t], .end = s->posts + s->offs[t + 1]};
		while (postings_next(&it)) {
			uint32_t row = m->map[i][it.row];

			if (row == UINT32_MAX)
				continue;
			sorted &= g->n == 0 || g->posts[g->n - 1] >> 12 < row;
			g->posts[g->n++] = (uint64_t)row << 12 | it.tf;
		}
	}
	if (!sorted) {
		g->tmp = malloc(g->n * sizeof *g->tmp);
		if (!g->tmp) {
			*failed = true;
			return false;
		}
		sort_u64(g->posts, g->tmp, g->n, 12, 48);
		free(g->tmp);
	}
	return any;
}

struct packed {
	uint32_t *terms, *df, *offs;
	uint32_t n;
	uint8_t *posts;
	size_t posts_n, posts_cap;
};

static enum err merge_posts(struct merge *m, struct packed *k)
{
	struct gathered g = {0};
	bool failed = false;

	memset(m->at, 0, sizeof m->at);
	while (gather(m, &g, &failed)) {
		uint8_t *p;
		uint32_t row = 0;

		if (g.n == 0)
			continue;
		failed = !grow((void **)&k->posts, k->posts_n + g.n * POSTING_MAX + 1, &k->posts_cap, 1);
		if (failed)
			break;
		k->terms[k->n] = g.term;
		k->df[k->n] = (uint32_t)g.n;
		k->offs[k->n++] = (uint32_t)k->posts_n;
		p = k->posts + k->posts_n;
		for (size_t i = 0; i < g.n; i++) {
			uint32_t r = (uint32_t)(g.posts[i] >> 12);

			p = put_posting(p, r - row, (uint32_t)g.posts[i] & 4095);
			row = r;
		}
		k->posts_n = (size_t)(p - k->posts);
		if (k->posts_n > UINT32_MAX) {
			failed = true;
			break;
		}
	}
	free(g.posts);
	return failed ? no_memory() : OK;
}

static enum err merge_make(struct merge *m, struct packed *k)
{
	size_t terms = 0;
	uint8_t *shrunk;

	for (unsigned i = 0; i < m->n; i++) {
		terms += m->s[i]->terms_n;
		m->map[i] = malloc(((size_t)m->s[i]->rows + 1) * sizeof *m->map[i]);
		if (!m->map[i])
			return no_memory();
		memset(m->map[i], 0xff, ((size_t)m->s[i]->rows + 1) * sizeof *m->map[i]);
	}
	k->terms = malloc((terms * 3 + 1) * sizeof *k->terms);
	if (!k->terms)
		return no_memory();
	k->df = k->terms + terms;
	k->offs = k->df + terms;
	/* Documents first: they give the rows their numbers. The block is made again when the number of terms is known. */
	m->out = segment_alloc(m->docs, m->rows, 0, m->s[0]->facts != NULL);
	if (!m->out)
		return no_memory();
	merge_docs(m);
	TRY(merge_posts(m, k));
	struct segment *o = segment_alloc(m->docs, m->rows, k->n, m->s[0]->facts != NULL);
	if (!o)
		return no_memory();
	memcpy(o->block, m->out->block, (size_t)((char *)m->out->terms - (char *)m->out->block));
	memcpy(o->lang, m->out->lang, m->docs);
	segment_free(m->out);
	m->out = o;
	memcpy(o->terms, k->terms, k->n * sizeof *o->terms);
	memcpy(o->df, k->df, k->n * sizeof *o->df);
	memcpy(o->offs, k->offs, k->n * sizeof *o->offs);
	o->offs[k->n] = (uint32_t)k->posts_n;
	o->bytes += k->posts_n;
	shrunk = realloc(k->posts, k->posts_n + 1);
	o->posts = shrunk ? shrunk : k->posts;
	k->posts = NULL;
	return o->posts ? OK : no_memory();
}

enum err segment_merge(struct segment *const *s, uint64_t *const *dead, unsigned n, struct segment **out)
{
	struct merge m = {.s = s, .dead = dead, .n = n};
	struct packed k = {0};
	enum err e = OK;

	*out = NULL;
	if (n == 0 || n > MERGE_MAX)
		return err_set(E_INTERNAL, "cannot merge %u segments", n);
	merge_count(&m);
	if (m.docs > 0)
		e = merge_make(&m, &k);
	for (unsigned i = 0; i < n; i++)
		free(m.map[i]);
	free(k.terms);
	free(k.posts);
	if (e == OK)
		*out = m.out;
	else
		segment_free(m.out);
	return e;
}
