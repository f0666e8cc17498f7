/* Searching the items below a namespace by words and by meaning: what LangGraph's store search and recall have in common. Private
 * to core. */
#ifndef CENOTE_CORE_ITEMS_SEARCH_H
#define CENOTE_CORE_ITEMS_SEARCH_H

#include "core/meaning.h"
#include "core/words.h"

struct items_query {
	struct str prefix, query, model;
	const struct vector_question *question; /* NULL: words alone */
	enum rank_mode mode;
	const struct rank_weights *weights;
	double near; /* hits are told which better one has a vector of at least this cosine with theirs; 0: they are not */
	size_t want;
	bool explain;
	bool patient; /* the scope is read however long it takes (nearly as long as the caller has): by words too few were found */
};
struct item_hit {
	int64_t id;
	double score; /* by words alone: BM25; else the sum of features times weights, divided by the sum of the weights: 0..1 */
	double bm25;
	double cosine;	  /* NaN: no vector, or none were asked for */
	double lex, v;	  /* features; see index/rank_items.h */
	int64_t like;	  /* a better hit that says nearly the same; 0: none is known */
	struct str words; /* JSON, when explanations are asked for: what each word adds to bm25; "" : none is in it */
};
struct items_found {
	struct item_hit *v; /* by score, best first (equal: by id); those equal to the last one wanted come along */
	size_t n;
	bool complete;		      /* there are no others */
	bool no_words;		      /* nothing to look for: no words in the question, and no vector */
	bool by_meaning;	      /* vectors counted */
	bool by_codes;		      /* what is in memory are codes of them: the vectors of the best were read */
	bool by_hnsw;		      /* the nearest were told by an index in the store */
	bool wordless;		      /* by_hnsw: words did not count: they do not fit the cache, or are being read */
	bool late;		      /* vectors did not: the scope does not fit the cache, and reading it took too long */
	bool loading;		      /* they did not: the scope is being read into memory */
	uint64_t cache_needed;	      /* late: bytes that index.cache would have to have about; 0: not known */
	uint64_t pending;	      /* items of the scope without a vector by the model */
	double weights[RF_COUNT];     /* as used */
	double best, lowest, highest; /* what lex and v are made of */
};
enum err items_search(struct memory *m, struct arena *a, const struct principal *who, const struct items_query *q,
		      struct items_found *out) MUST_CHECK;
/* Members of an object that says why a hit is where it is. */
void items_explain(struct jw *w, const struct item_hit *h, const double *weights, double best);

#endif
