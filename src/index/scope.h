/* Scopes: the inverted index of the documents of one scope, kept up to date by small changes.
 *
 * A scope is a few segments of falling size. New documents go into a builder, scope_commit makes a segment of them and joins small
 * ones at the end; larger joins are done in three steps so that only short ones need the lock: plan (locked), run (not locked),
 * install (locked).
 *
 * Thread safety: whoever owns the scope keeps a read-write lock. Functions that take a const scope may run in parallel under the
 * read lock, all others need the write lock, scope_merge_run none.
 *
 *  1. A live document is in exactly one segment; an older state of it is dead.
 *  2. Counts (rows, length, documents per language and role) are those of the live documents.
 *  3. Scores depend on the set of live documents only, not on how they lie in segments. */
#ifndef CENOTE_INDEX_SCOPE_H
#define CENOTE_INDEX_SCOPE_H

#include "base/map.h"
#include "index/bm25.h"
#include "index/doc.h"
#include "index/lang.h"
#include "index/segment.h"

#define SCOPE_SEGMENTS_MAX 48

struct speaker {
	uint32_t hash;
	uint8_t terms_n;
	uint32_t terms[DOC_NAME_TERMS];
};

struct scope_order; /* messages in order of threads, see rank.c */

struct scope {
	bool messages;
	struct segment *segs[SCOPE_SEGMENTS_MAX];
	unsigned segs_n;
	uint64_t docs, rows, length;
	uint32_t lang_docs[LANG_MAX];
	uint32_t role_docs[ROLE_PERSON + 1];
	uint64_t version;   /* +1 by every commit that changed something */
	struct map threads; /* thread id -> number + 1 */
	uint32_t threads_n;
	struct speaker *speakers;
	uint32_t speakers_n, speakers_cap;
	struct builder builder;
	bool merging;
	unsigned merge_from, merge_to;
	bool orphan; /* dropped while it was being merged: whoever merges frees it */
	struct scope_order *order;
};

struct scope *scope_new(bool messages); /* NULL: out of memory */
void scope_free(struct scope *s);
size_t scope_bytes(const struct scope *s);

/* Adds or replaces. thread: of a message. A damaged document counts as one without terms. */
enum err scope_add(struct scope *s, int64_t id, struct str doc, struct str thread) MUST_CHECK;
enum err scope_remove(struct scope *s, int64_t id) MUST_CHECK;
/* Makes what was added and removed visible. */
enum err scope_commit(struct scope *s) MUST_CHECK;
/* Is the document in it? */
bool scope_has(const struct scope *s, int64_t id);

struct merge_plan {
	struct segment *segs[SCOPE_SEGMENTS_MAX];
	uint64_t *dead[SCOPE_SEGMENTS_MAX];
	unsigned n;
	struct segment *merged;
};
/* False when there is nothing to merge or it is being done. A plan made must be installed (or given up: ok = false). */
bool scope_merge_plan(struct scope *s, struct merge_plan *plan);
enum err scope_merge_run(struct merge_plan *plan) MUST_CHECK;
void scope_merge_install(struct scope *s, struct merge_plan *plan, bool ok);
/* All of it at once, for a scope that nobody else sees yet. */
enum err scope_merge_all(struct scope *s) MUST_CHECK;

/* ---- scoring */
struct query_term {
	uint32_t id;
	double weight;
	uint32_t langs; /* languages that make this term of the question; 0: all */
	struct str text;
	/* filled by scope_query_prepare */
	uint64_t df;
	double idf;
};
/* Live rows that hold the term. */
uint64_t scope_df(const struct scope *s, uint32_t term);
/* Mask of the languages of live documents. */
uint32_t scope_langs(const struct scope *s);
/* df and idf of the terms; *c: the scope's figures. */
void scope_query_prepare(const struct scope *s, struct query_term *q, size_t n, struct bm25 *c);
/* Total rows including dead ones: size of the arrays below. Row r of segment i is at (rows of the segments before i) + r. */
size_t scope_row_slots(const struct scope *s);
/* score[row] += parts of the terms (ascending by id); mask (may be NULL): bit of the term's place in q, for the first 64. Dead rows
 * stay 0. */
void scope_score(const struct scope *s, const struct query_term *q, size_t n, const struct bm25 *c, double *score, uint64_t *mask);

/* The place of an item's row in these arrays; false: the scope does not have it. */
bool scope_slot(const struct scope *s, int64_t id, uint32_t *slot);

/* The best `want` documents of an item scope, best first (equal: lower id first), and those equal to the last of them, `extra` at
 * most. */
struct scored {
	double score;
	int64_t id;
};
enum err scope_best(const struct scope *s, const double *score, size_t want, size_t extra, struct arena *a, struct scored **out,
		    size_t *n, size_t *total) MUST_CHECK;
/* Frequency of each term in a document of one row, for explanations; false when it is not there. */
bool scope_term_counts(const struct scope *s, int64_t id, const struct query_term *q, size_t n, uint32_t *tf, uint32_t *len);

int scored_cmp(const void *a, const void *b);

#endif
