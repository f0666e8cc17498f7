/* What a search by meaning needs besides the words: whose vectors, and the question as one of them. Private to core. */
#ifndef CENOTE_CORE_MEANING_H
#define CENOTE_CORE_MEANING_H

#include "core/memory.h"
#include "core/trace.h"
#include "index/rank.h"

struct meaning {
	struct memory *m;
	const struct principal *who;
	enum rank_mode mode; /* as asked for */
	struct str model; /* in use when the search began, "" : none. Scopes are asked for with it whatever the mode, so that there
			     is one of each in the cache */
	struct trace_span *span; /* the search's, for the step of the encoder; NULL: nobody traces */
	bool failed;		 /* the encoder did not answer: the search went by words */
	bool waiting;		 /* there is an encoder, but no model in use yet: no text has its vector, and each is pending */
};
/* E_INVALID: by vectors alone where there is no encoder. */
enum err meaning_begin(struct meaning *x, struct memory *m, struct arena *a, const struct principal *who,
		       enum rank_mode mode) MUST_CHECK;
/* The text as a question to the model's vectors, into the arena; *out NULL: go by words. An encoder that does not answer is an
 * error only where vectors alone were asked for. */
enum err meaning_of(struct meaning *x, struct arena *a, struct str text, const struct vector_question **out) MUST_CHECK;

#endif
