/* The vectors of one scope: exact search by cosine among all of them, or among some.
 *
 * A search reads the high plane of every vector (the scan), collects those that may be among the best although their cosine by this
 * plane errs, and ranks these by both planes. Usually these are some dozens; in clusters of thousands of vectors that are nearly
 * alike they may be all of a cluster, up to 16,384. A scan can be cut into parts that run on several threads; vector_scan_join
 * makes one answer of the parts.
 *
 * Thread safety: as scope.h: whoever owns the scope keeps a read-write lock. Functions that take a const scope may run in parallel
 * under the read lock, all others need the write lock. Parts of one search must run under one and the same hold of it, since a
 * change moves rows.
 *
 * Memory: 2 * vector_size(dims) + 12 bytes a vector (768 + 12 of 384 dimensions), and 5 to 11 for finding it by id. Up to 4 MiB a
 * plane the arrays double as they grow, after that they grow by blocks of 4 MiB, which are counted whole and used as they fill.
 *
 *  1. All vectors of a scope have the same number of dimensions, and every id is in it once.
 *  2. Rows 0..rows-1 are all live; every block but the last is full. Removing moves the last row into the gap.
 *  3. An answer depends on the set of vectors only, not on the order of rows, nor on how a scan was cut (unless more candidates
 *     than fit are nearly alike).
 *  4. A coded scope keeps a code of each vector (index/vector_code.h: dims / 8 + 8 bytes) instead of its planes. Of the functions
 * below only those that change it, vector_scope_bytes, vector_scope_row and those of codes may be used with it. */
#ifndef CENOTE_INDEX_VECTOR_SCOPE_H
#define CENOTE_INDEX_VECTOR_SCOPE_H

#include "index/scope.h"
#include "index/vector_code.h"

#define VECTOR_ROWS_MAX (1u << 28)
#define VECTOR_WANT_MAX (1u << 16)

struct vector_block;
struct vector_scope {
	uint32_t dims, rows;
	uint32_t per_block; /* rows of a full block, a multiple of 64 */
	size_t size;	    /* of a padded plane; of a code */
	float *scratch;	    /* coded: dims; else NULL */
	float *centre;	    /* of codes: dims; else NULL */
	double spread;	    /* coded: how far from the centre vectors are, root of the mean square; 1 with a centre of 0 */
	struct vector_block *blocks;
	uint32_t blocks_n, blocks_cap;
	uint32_t *slots; /* hash table: row + 1, 0: empty */
	uint32_t slots_cap;
	float scale_max; /* of all that were ever put */
	size_t bytes;
};

/* dims: 1..VECTOR_DIMS_MAX, anything else is a fault of the caller's. NULL: out of memory. */
struct vector_scope *vector_scope_new(uint32_t dims);
/* A coded one. */
struct vector_scope *vector_scope_new_coded(uint32_t dims);
static inline bool vector_scope_coded(const struct vector_scope *s)
{
	return s && s->scratch;
}
/* Puts a coded scope of the same vectors into the place of one that is not. E_LIMIT: memory; then nothing has changed. */
enum err vector_scope_code(struct vector_scope **s) MUST_CHECK;
void vector_scope_free(struct vector_scope *s);
/* Memory held. */
size_t vector_scope_bytes(const struct vector_scope *s);

/* Adds or replaces; copies v, which must not lie in this scope. E_INVALID: of other dimensions; E_LIMIT: memory, or
 * VECTOR_ROWS_MAX; then nothing has changed. */
enum err vector_scope_put(struct vector_scope *s, int64_t id, const struct vector *v) MUST_CHECK;
/* False: it was not there. */
bool vector_scope_remove(struct vector_scope *s, int64_t id);
/* The row of a vector, -1: it has none. Rows stay until the scope changes. */
int64_t vector_scope_row(const struct vector_scope *s, int64_t id);
/* The vector itself (its planes are padded); valid until the scope changes. False: it has none. */
bool vector_scope_get(const struct vector_scope *s, int64_t id, struct vector *out);

/* ---- codes */

/* Puts one with its rows in the order of ids into the place of a coded scope. E_LIMIT: memory; then nothing has changed. */
enum err vector_scope_sort(struct vector_scope **s) MUST_CHECK;
/* out[row]: the cosine of each row, estimated. */
void vector_scope_estimate(const struct vector_scope *s, const struct vector_code_question *q, float *out);
int64_t vector_scope_id(const struct vector_scope *s, uint32_t row);
/* As vector_scope_row; *hint: where it may be found, becomes the row after it. Quick for ids in the order in which they were put.
 */
int64_t vector_scope_row_near(const struct vector_scope *s, int64_t id, uint32_t *hint);

/* ---- searching */

/* Which vectors count; all fields NULL: all. Both: those that both let through. */
struct vector_filter {
	const uint64_t *rows;		      /* bit per row, (rows + 63) / 64 words; rows of words that are 0 are not read */
	bool (*allow)(void *ctx, int64_t id); /* asked only for what would be among the best, or the worst; on several threads when
						 the parts are */
	void *ctx;
};
/* A bitmap of those ids that are in the scope, for vector_filter.rows. */
enum err vector_scope_mark(const struct vector_scope *s, struct arena *a, const int64_t *ids, size_t n, uint64_t **rows) MUST_CHECK;

struct vector_candidate {
	float score; /* cosine by the high planes */
	uint32_t row;
	int64_t id;
};
/* One part of a search. */
struct vector_scan {
	const struct vector_scope *scope;
	const struct vector_question *question;
	const struct vector_filter *filter;
	size_t want, cap, n;
	struct vector_candidate *list; /* cap: candidates, all those >= floor among them */
	double *top;		       /* want: heap of the best scores, the lowest on top */
	size_t top_n;
	double reach; /* so far below top[0] a score may lie and its vector still be a candidate */
	float floor, factor;
	bool any;
	struct vector_candidate worst; /* of all that count */
};
/* filter: NULL, or one that lives as long as the scan. want: 1..VECTOR_WANT_MAX, how many hits at most. E_INVALID: want, or a
 * question of other dimensions; E_LIMIT: memory. */
enum err vector_scan_init(struct vector_scan *scan, struct arena *a, const struct vector_scope *s, const struct vector_question *q,
			  const struct vector_filter *filter, size_t want) MUST_CHECK;
/* Looks at rows [from, to), at most to the last. Allocates nothing. */
void vector_scan_run(struct vector_scan *scan, uint32_t from, uint32_t to);

struct vector_found {
	struct scored *hits;	/* by cosine, best first; equal: lower id first */
	size_t n;		/* min(want, vectors that count) */
	double highest, lowest; /* cosines of all that count (lowest: within 0.003); 0 when there are none */
};
/* Joins n >= 1 parts that were initialised alike and together looked at each row once. */
enum err vector_scan_join(const struct vector_scan *parts, size_t n, struct arena *a, struct vector_found *out) MUST_CHECK;
/* The three above on one thread. */
enum err vector_scope_search(const struct vector_scope *s, struct arena *a, const struct vector_question *q,
			     const struct vector_filter *filter, size_t want, struct vector_found *out) MUST_CHECK;

/* out[i] = cosine of the question and the vector of ids[i], as a search would give it; NaN: it has none. E_INVALID: a question of
 * other dimensions. */
enum err vector_scope_cosines(const struct vector_scope *s, const struct vector_question *q, const int64_t *ids, size_t n,
			      double *out) MUST_CHECK;

#endif
