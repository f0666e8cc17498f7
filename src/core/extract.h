/* Work behind a turn: what its user stated becomes facts and entities (core/learn.h), what fell out of the window a summary
 * (core/summary.h). No turn waits for it.
 *
 *  1. Turns whose words are to be looked at lie in the store, as small values "turn:ENTRY" with the thread, the user and the
 * numbers of the entries, and no words; each is written before the model is asked and removed when all of it has been kept. So a
 * killed process loses none, and doing one twice changes nothing.
 *  2. Only what a user typed is looked at, and only of turns that have a user and are kept.
 *  3. Turns of one user are done in their order, those of different users at once when there are several workers.
 *  4. A model or a store that cannot be reached is asked again later; what it fails at again and again is left for longer, up to
 * nine minutes, and holds up no other user's; a turn that cannot be done, or that is older than a week, is dropped and counted.
 *
 * Thread-safe, but for new and free. Every function but new takes x NULL: then there is nothing to do. */
#ifndef CENOTE_CORE_EXTRACT_H
#define CENOTE_CORE_EXTRACT_H

#include "core/llm.h"
#include "core/memory.h"
#include "core/summary.h"
#include "core/thread_store.h"
#include "core/trace.h"

#define EXTRACT_WORKERS 4	  /* that are of use with a model; by rules one is */
#define EXTRACT_WAITING_MAX 10000 /* turns; more are dropped and counted */

enum extract_mode { EXTRACT_OFF, EXTRACT_RULES, EXTRACT_MODEL };
struct extract_options {
	struct memory *memory;
	enum extract_mode mode;
	struct llm *llm;       /* of EXTRACT_MODEL; must outlive it, as must the memory */
	struct llm *summary;   /* NULL: no summaries are made */
	uint32_t window;       /* messages that a prompt has: memory.max_history, */
	uint32_t tokens;       /* and that they may take: memory.history_tokens; 0: any */
	struct tracer *tracer; /* of the work; must outlive it; NULL: none */
};
struct extract;
enum err extract_new(const struct extract_options *opt, struct extract **out) MUST_CHECK;
void extract_free(struct extract *x); /* the workers must have ended */
/* A worker: runs in a fiber until that is cancelled (E_CANCELLED). The first one finds what an earlier process left. */
enum err extract_forever(struct extract *x) MUST_CHECK;
/* Does what waits, one thing; *any: there was something. For those who have no worker. */
enum err extract_step(struct extract *x, bool *any) MUST_CHECK;
/* Finds in the store what waits there of all tenants, of this process or of others; younger ones than ms are left to theirs. */
enum err extract_find(struct extract *x, uint32_t ms) MUST_CHECK;

/* What the work is behind. */
struct extract_turn_of {
	struct str thread;
	struct trace *trace; /* which the trace of the work names; NULL: none */
};
/* Between these two lies the turn. note: its entries, as kept with their ids, may have something in them: out is the turn's name,
 * "" when they have not, in a. What cannot be noted is counted, and is no error of the turn; what the store
 * said to it is returned. */
enum err extract_note(struct extract *x, struct arena *a, const struct principal *who, const struct extract_turn_of *turn,
		      const struct session_entry *v, size_t n, struct str *out);
/* The turn has ended. name "" : nothing was noted. cut: the thread is longer than the window. */
void extract_ready(struct extract *x, struct arena *a, const struct principal *who, const struct extract_turn_of *turn,
		   struct str name, bool cut);

/* Whether summaries are made. */
bool extract_sums_up(const struct extract *x);
/* summary_make by the model for summaries, counted. Only where summaries are made. */
enum err extract_sum_up(struct extract *x, struct arena *a, const struct principal *who, struct str thread, struct summary_work *w,
			struct summary *out) MUST_CHECK;
/* cenote_extract_*, cenote_summary_*. */
void extract_metrics(struct extract *x, struct buf *out);

#endif
