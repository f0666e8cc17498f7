/* What the files of recall share: gathering (recall.c), items (recall_items.c), the answer (recall_answer.c), explanations
 * (recall_explain.c). Private to core. */
#ifndef CENOTE_CORE_RECALL_IMPL_H
#define CENOTE_CORE_RECALL_IMPL_H

#include "core/items_search.h"
#include "core/memory_impl.h"
#include "core/recall.h"
#include "core/words_impl.h"

struct item_candidate {
	struct item_hit hit;
	double sum, score; /* of features times weights; sum as a share of the greatest */
	struct str ns, key;
	int64_t updated_us;
	uint64_t hash;	  /* of the value */
	struct item item; /* as it was read to be screened; id 0: it is to be read again */
};
struct candidate {
	double score;
	const struct ranked *message; /* or */
	const struct item_candidate *item;
	size_t place; /* among its kind */
};
struct recaller {
	struct memory *m;
	struct arena *a;
	const struct recall_request *rq;
	const struct principal *who;
	struct meaning meaning;
	struct rank_request rank_rq;
	struct rank_result ranked;
	size_t keep;	    /* messages that are ranked for the answer */
	bool messages_cut;  /* there are others */
	size_t passed_over; /* items of the namespace that is searched that say the same as a better one */
	struct item_candidate *items;
	size_t items_n, items_cap, items_bytes; /* bytes: of the values kept */
	uint64_t pending, messages_pending;
	bool items_repeated;	       /* some were passed over */
	bool items_cut;		       /* looking ended at so many that say the same: there may be others */
	bool items_newest;	       /* nothing to look for: items by update */
	bool items_late;	       /* there is a namespace too large to be read in time: by words */
	bool items_wordless;	       /* there is one whose words are not in memory: by meaning */
	bool items_loading;	       /* there is one that is being read into memory: by words */
	uint64_t cache_needed;	       /* index.cache for the largest of those too large; 0: not known */
	bool items_by_meaning;	       /* vectors counted in at least one namespace */
	double item_weights[RF_COUNT]; /* as used */
	double best, lowest, highest;  /* what the items' lex and v are made of, over all namespaces */
};

/* recall_items.c: fills items, best first. */
enum err recall_items(struct recaller *r) MUST_CHECK;
/* Kinds, expiry, time, filter, and what a bound principal may see. */
enum err recall_item_passes(const struct recaller *r, struct arena *scratch, const struct item *it, bool *passes) MUST_CHECK;
/* How many candidates are needed. */
size_t recall_items_needed(const struct recall_request *rq);
void recall_items_order(struct recaller *r);
/* recall_as_of.c: the same, as of rq->as_of_us. */
enum err recall_items_as_of(struct recaller *r, const struct str *namespaces, size_t n) MUST_CHECK;
/* recall_answer.c: chooses among messages and items. *more: repetitions took the place of messages that were not looked at. */
enum err recall_answer(struct recaller *r, struct recall_hit **out, size_t *n, bool *more) MUST_CHECK;
/* recall_explain.c */
enum err recall_explain(struct recaller *r, const struct candidate *c, struct str *out) MUST_CHECK;

#endif
