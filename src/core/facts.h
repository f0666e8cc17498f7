/* Facts: what was known of a key before, and at a time. Putting them is memory.h's op_put. */
#ifndef CENOTE_CORE_FACTS_H
#define CENOTE_CORE_FACTS_H

#include "core/fact_store.h"
#include "core/memory.h"

struct fact_history {
	struct str ns, key;
	int64_t before_us; /* states recorded before; 0: all */
	uint32_t limit;	   /* 1..1000 */
	/* out, in the arena */
	struct fact_state *v; /* newest first */
	size_t n;
	bool more;
};
/* The states of a key that were superseded. A key without any gives none. */
enum err facts_history(struct memory *m, struct arena *a, const struct principal *who, struct fact_history *h) MUST_CHECK;

/* The item as it was known at a time: as it is, when it was written by then; else the state of its history (id and version 0). */
enum err facts_get_as_of(struct memory *m, struct arena *a, const struct principal *who, struct op_get *op,
			 int64_t as_of_us) MUST_CHECK;

#endif
