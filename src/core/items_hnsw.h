/* Items by words and by meaning where the scope's vectors do not fit the cache but the store has an index of them
 * (core/hnsw_store.h): the nearest by that index and the best by the words in memory are ranked by their exact cosines and BM25.
 * Private to core.
 *
 * An item that is in neither list has at most the BM25 of the last in the one and the cosine of the last in the other; the lists
 * are made longer until no such item could be among those wanted, or they are as long as they may be. So the answer is that of the
 * ranker over a cached scope (index/rank_items.h), but for what the index misses.
 *
 * Where the words do not fit, either, or are still being read, vectors alone count. */
#ifndef CENOTE_CORE_ITEMS_HNSW_H
#define CENOTE_CORE_ITEMS_HNSW_H

#include "core/hnsw_store.h"
#include "core/items_search.h"
#include "core/words_impl.h"
#include "index/rank_items.h"

#define ITEMS_HNSW_FIRST 256 /* nearest, and best by words, of the first lists */
#define ITEMS_HNSW_LAST 2048 /* and of the last */
#define ITEMS_HNSW_EDGE 64   /* farthest, for the range of cosines */

struct items_hnsw {
	struct words *words;
	const struct principal *who;
	const struct doc_scope *scope; /* names a model */
	const struct items_query *q;   /* with a question */
	struct arena *arena;	       /* for the results */
	double lex, v;		       /* weights */
	uint64_t least;		       /* the scope has so many items, or more */
	/* results */
	bool ready;    /* else there is no index, or it does not find enough: all below is empty */
	bool wordless; /* vectors alone counted */
	uint64_t docs; /* of the scope; 0: not known */
	struct rank_items_result r;
};
enum err items_hnsw(struct items_hnsw *x) MUST_CHECK;

#endif
