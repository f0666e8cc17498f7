/* The ranker of items: the linear form of design "ranking" with the features that an item has, lex and v. Pure computation; needs
 * the scope's read lock.
 *
 *  1. lex = BM25 / M, M the greatest BM25 of the scope. v = (max(0, cosine) - lowest) / (highest - lowest), of the scope's cosines.
 * An item that has no vector yet has v = lex: it is found by its words as well as if its meaning fitted as much.
 *  2. Neither depends on how many results are wanted, so the order is one for all pages. The best are exact: candidates are the
 * best by words and the best by vector, and as many of them as it takes until nothing else can come before the last one wanted. */
#ifndef CENOTE_INDEX_RANK_ITEMS_H
#define CENOTE_INDEX_RANK_ITEMS_H

#include "index/rank.h"

struct rank_items_request {
	const struct query_term *q; /* prepared (scope_query_prepare) */
	size_t q_n;
	const struct bm25 *figures;
	const struct vector_scope *vectors;
	const struct vector_question *question; /* of the same dimensions */
	double lex, v;				/* weights, >= 0 */
	bool by_vectors;			/* v alone, and only items that have one */
	size_t want, extra;			/* those equal to the last one wanted come along, `extra` at most */
};
struct ranked_item {
	int64_t id;
	double sum;    /* of feature times weight */
	double bm25;   /* 0: no word of the question is in it */
	double cosine; /* NaN: no vector */
	double lex, v;
};
struct rank_items_result {
	struct ranked_item *r; /* by sum; equal: lower id first */
	size_t n;
	bool complete;		      /* there are no others */
	double best, lowest, highest; /* M, and what v is made of */
};
/* The feature v of a cosine: its place between the lowest and the highest of the scope, 0..1. */
double rank_items_v(double cosine, double lowest, double highest);
/* True when there are vectors of at least half of the documents: else words alone are the better guide (see enum rank_mode). */
bool rank_items_ready(const struct scope *s, const struct vector_scope *vectors);
enum err rank_items(const struct scope *s, struct arena *a, const struct rank_items_request *rq,
		    struct rank_items_result *out) MUST_CHECK;

#endif
