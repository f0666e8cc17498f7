/* Items by words and by meaning where the scope's vectors are in memory as codes only: those that may be among the best are read
 * from the store. Private to core. See index/rank_items_coded.h. */
#ifndef CENOTE_CORE_ITEMS_CODED_H
#define CENOTE_CORE_ITEMS_CODED_H

#include "core/items_search.h"
#include "core/words_impl.h"
#include "index/rank_items_coded.h"

/* So many vectors are read for a question at most, and that many at a time. */
#define ITEMS_CODED_MAX 9000
#define ITEMS_CODED_STEP 1000

struct items_coded {
	const struct words *words;
	const struct principal *who;
	const struct doc_scope *scope;
	const struct items_query *q;
	struct arena *arena;
	struct rank_items_request rq;
	struct coded_items c; /* as rank_items_coded left them */
	size_t read;	      /* vectors that were asked for */
};
/* Reads vectors until the order of the first q->want is settled, or ITEMS_CODED_MAX were read; c is the answer then, the cosines of
 * what was not read estimated. No lock may be held. */
enum err items_coded_settle(struct items_coded *x) MUST_CHECK;

#endif
