/* Segments: an immutable inverted index of some documents, in as few bytes as may be. Rows are passages; an item is one row, a
 * message one or several.
 *
 *  1. Nothing of a segment changes after it was made but which rows are dead; documents are in ascending order of id, each once.
 *  2. rows of document d: [first[d], first[d + 1]), or just row d when first is NULL. Every document has at least one row.
 *  3. terms are ascending; the postings of terms[i] are the bytes [offs[i], offs[i + 1]) and name df[i] rows in ascending order,
 * dead ones included, as varint((row - row before) << 1 | tf > 1) [varint tf]. Not locked: see scope.h. */
#ifndef CENOTE_INDEX_SEGMENT_H
#define CENOTE_INDEX_SEGMENT_H

#include "base/err.h"

/* What the ranker knows of a message without reading it. */
struct doc_facts {
	int64_t time_us;
	uint32_t thread;  /* number in the scope's table */
	uint16_t speaker; /* number in the scope's table + 1; 0: none */
	uint8_t role, ask;
	uint8_t facts; /* FACT_... of doc.h */
};

struct segment {
	uint32_t docs, rows, terms_n;
	uint32_t dead_docs;
	int64_t *ids;
	struct doc_facts *facts; /* NULL: items */
	uint64_t *dead;		 /* bit per row */
	uint32_t *first;
	uint32_t *len; /* of a row, in stems */
	uint32_t *terms, *offs, *df;
	uint8_t *lang;
	uint8_t *posts;
	size_t bytes; /* memory held */
	void *block;
};

void segment_free(struct segment *s);

static inline uint32_t segment_first(const struct segment *s, uint32_t doc)
{
	return s->first ? s->first[doc] : doc;
}
static inline bool segment_row_dead(const struct segment *s, uint32_t row)
{
	return s->dead[row / 64] >> (row % 64) & 1;
}
/* Index of the document, or -1; dead ones are not found. */
ptrdiff_t segment_find(const struct segment *s, int64_t id);
void segment_kill(struct segment *s, uint32_t doc);

/* Postings of a term; p == end when there are none. */
struct postings {
	const uint8_t *p, *end;
	uint32_t row, tf;
	uint32_t df;
};
struct postings segment_postings(const struct segment *s, uint32_t term);
static inline bool postings_next(struct postings *it)
{
	uint64_t v;
	unsigned shift;

	if (it->p == it->end)
		return false;
	v = *it->p++;
	if (v & 128) {
		v &= 127;
		for (shift = 7; *it->p & 128; shift += 7)
			v |= (uint64_t)(*it->p++ & 127) << shift;
		v |= (uint64_t)*it->p++ << shift;
	}
	it->row += (uint32_t)(v >> 1);
	it->tf = 1;
	if (v & 1) {
		it->tf = *it->p++;
		if (it->tf & 128)
			it->tf = (it->tf & 127) | (uint32_t)*it->p++ << 7;
	}
	return true;
}

/* ---- making: documents in any order; of several with one id the last wins. */
struct new_doc {
	int64_t id;
	uint32_t first, rows; /* rows = 0: the document was removed */
	uint8_t lang;
	struct doc_facts facts;
};
#define BUILDER_POSTS_MAX (1u << 20)
#define BUILDER_ROWS_MAX (1u << 20) /* a row number must fit 20 bits */
struct builder {
	struct new_doc *docs;
	uint32_t docs_n, docs_cap;
	uint32_t *len;
	uint32_t rows, rows_cap;
	uint64_t *posts; /* term << 32 | row << 12 | tf */
	size_t posts_n, posts_cap;
};
void builder_release(struct builder *b);
enum err builder_doc(struct builder *b, const struct new_doc *d) MUST_CHECK;
enum err builder_row(struct builder *b, uint32_t len) MUST_CHECK;
enum err builder_post(struct builder *b, uint32_t term, uint32_t tf) MUST_CHECK; /* for the row added last */
/* Empties the builder. *out = NULL when no document is left. *removed (heap, the caller's; may be empty): ids that were last
 * removed. */
enum err builder_finish(struct builder *b, bool facts, struct segment **out, int64_t **removed, uint32_t *removed_n) MUST_CHECK;

/* One segment of the documents of n, without those dead in dead[i] (a copy of s[i]->dead). *out = NULL when none is left. */
enum err segment_merge(struct segment *const *s, uint64_t *const *dead, unsigned n, struct segment **out) MUST_CHECK;
#define MERGE_MAX 64

#endif
