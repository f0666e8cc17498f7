/* Summaries of long threads: what has fallen out of the window, in some sentences of the model's, kept beside the entries and never
 * instead of them.
 *
 *  1. A thread has one summary, which covers its entries up to one of them. It grows: the old one and what came since make the new
 *     one. Of a long stretch it is made piece by piece.
 *  2. It lies in the small value META_OF_THREAD THREAD. It goes when all entries of the thread do, and when one that it covers is
 *     removed; one whose last entry is not there any more is not used.
 *  3. What is asked of the model, and what it answers, is data.
 *
 * Thread-safe; results live in the arena. */
#ifndef CENOTE_CORE_SUMMARY_H
#define CENOTE_CORE_SUMMARY_H

#include "core/llm.h"
#include "core/memory.h"
#include "core/trace.h"

#define SUMMARY_TEXT_MAX 6000 /* bytes; a longer one is cut */

struct summary {
	int64_t upto;	  /* the entry that it covers last; 0: there is none */
	uint64_t covered; /* entries */
	struct str text;
};
/* upto = 0 when the thread has none that holds. who must see the thread. */
enum err summary_load(struct memory *m, struct arena *a, const struct principal *who, struct str thread,
		      struct summary *out) MUST_CHECK;
struct summary_work {
	size_t keep, least;
	struct trace_span *span; /* that the requests to the model are steps of; NULL: nobody traces */
	/* out */
	unsigned made;		       /* requests to the model */
	int64_t tokens_in, tokens_out; /* of these; -1: the service does not say */
};
/* Covers all but the thread's newest `keep` entries, when at least `least` of those are not covered yet (least >= 1). out: as it is
 * then. Errors: of the store, of the model; what was made until then stays. */
enum err summary_make(struct memory *m, struct llm *l, struct arena *a, const struct principal *who, struct str thread,
		      struct summary_work *w, struct summary *out) MUST_CHECK;

/* An entry is to go (there), or has gone: a summary that covers it goes. Not for whoever does not see the entry. */
enum err summary_forget(struct memory *m, const struct principal *who, struct str thread, int64_t entry, bool there) MUST_CHECK;

#endif
