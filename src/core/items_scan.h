/* Items by words and by meaning in a scope that does not fit the cache: documents and vectors are read from the store once, and the
 * answer is that of the ranker over a cached scope (index/rank_items.h). Private to core.
 *
 * Memory: 20 bytes and 2 for each term of the question for every item that has one of its words, up to `room`; and the best. Where
 * that is too little, the scope is read three times instead: for the figures and the range of cosines, for the highest BM25, for
 * the sums. Stops when the store does, at the deadline, or when who asked has gone; and gives up at a time of its own, so that
 * whoever asks can go by words instead. */
#ifndef CENOTE_CORE_ITEMS_SCAN_H
#define CENOTE_CORE_ITEMS_SCAN_H

#include "core/items_search.h"
#include "core/words_impl.h"
#include "index/rank_items.h"

#define ITEMS_SCAN_ROOM ((size_t)64 << 20)
#define ITEMS_SCAN_MS 3000	    /* reading goes on for so long at most */
#define ITEMS_SCAN_PATIENT_MS 20000 /* and where a filter leaves too few otherwise */
#define ITEMS_SCAN_SPARE_MS 2000    /* of the caller's time, to go by words after all */

struct items_scan {
	const struct words *words;
	const struct principal *who;
	const struct doc_scope *scope; /* names a model */
	const struct items_query *q;   /* with a question */
	double lex, v;		       /* weights */
	size_t room;
	struct arena *arena; /* for the results */
	uint64_t until;	     /* monotonic; NEVER: no end */
	/* results */
	uint64_t docs, vectors, bytes; /* of the scope; bytes: of its documents */
	bool late;		       /* it took too long and was given up */
	bool ready;		       /* there are enough vectors to go by, and it was not late; else all below is empty */
	struct query_term *terms;
	size_t terms_n;
	struct bm25 figures;
	struct rank_items_result r; /* r.n: more than q->want, since reading again costs more */
	uint16_t *tf;		    /* r.n * terms_n: how often each term is in an item */
	uint32_t *len;
};
/* Runs on the calling thread: on the CPU pool. */
enum err items_scan(struct items_scan *s) MUST_CHECK;

#endif
