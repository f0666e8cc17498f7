/* The ranker of items (index/rank_items.h) where the scope has codes instead of vectors. Which items are the best is told in two
 * steps, with a reading of vectors from the store between them:
 *
 *  1. rank_items_coded ranks all items by estimated cosines, in one pass over the scope.
 *  2. rank_items_settle ranks these again once some cosines are known, and says which to read next: those that may come before the
 *     last one wanted, their estimates being 3 standard deviations too low. Asked until it wants no more, or until the caller has
 *     read enough, the best are those of rank_items but for what chance puts further off; where thousands of vectors are nearly
 *     alike, or more were to be read than are, those at the end may be others.
 *
 * Pure computation; step 1 needs the scope's read lock, step 2 none. */
#ifndef CENOTE_INDEX_RANK_ITEMS_CODED_H
#define CENOTE_INDEX_RANK_ITEMS_CODED_H

#include "index/rank_items.h"

#define CODED_EDGES 64
struct coded_item {
	struct ranked_item r; /* r.cosine estimated, unless known; NaN: it has no vector */
	bool known;	      /* also when there is nothing to know */
};
struct coded_items {
	struct coded_item *v; /* by sum; equal: lower id first */
	size_t n;
	bool complete; /* there are no others */
	double best;   /* the highest BM25 of the scope */
	double error;  /* of an estimate, one standard deviation */
	double lowest, highest;
	/* Of all vectors, those whose cosines seem to be the highest and the lowest. */
	int64_t edges[2][CODED_EDGES];
	size_t edges_n[2];
};
/* rq->want: of all items the so many best come out at most; rq->extra does not count. */
enum err rank_items_coded(const struct scope *s, struct arena *a, const struct rank_items_request *rq,
			  struct coded_items *out) MUST_CHECK;
/* Sums and order anew, with out->lowest and out->highest as they are. Writes the places of those to be read next, at most max, to
 * at, and returns how many; want: how many items the answer needs. */
size_t rank_items_settle(const struct rank_items_request *rq, struct coded_items *c, size_t want, size_t *at, size_t max);

#endif
