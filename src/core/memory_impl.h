/* What the files of core/memory share; private to core. */
#ifndef CENOTE_CORE_MEMORY_IMPL_H
#define CENOTE_CORE_MEMORY_IMPL_H

#include <stdatomic.h>

#include "core/memory.h"

/* Invariants
 *  1. options and store never change after memory_new; everything that does is atomic. So any thread may call.
 *  2. next_expiry_us is at most the earliest expiry that a put of this process has announced since the sweeper last looked; the
 *     sweeper lowers its sleep to it (0: none announced). */
struct memory {
	struct store *store;
	struct words *words;
	struct memory_options opt;
	char *languages; /* own copy of opt.languages */
	_Atomic int64_t next_expiry_us;
	_Atomic uint64_t expired;
	_Atomic uint64_t ops[5]; /* by enum op_kind */
	_Atomic uint64_t widened;
};

/* The time before which an expired item is hidden; 0: never hidden. */
int64_t memory_omit_us(const struct memory *m);
bool memory_refreshes(const struct memory *m, enum tri wanted);
/* Checks a put or delete and makes the write of it (index document included). */
enum err memory_prepare(struct memory *m, struct arena *a, const struct principal *who, const struct op_put *op,
			struct item_write *w) MUST_CHECK;
/* The writes that move what a prepared put supersedes into the history; they go before it in the same call. w gets room in the
 * arena, and the put its time. */
enum err memory_retire(struct arena *a, const struct op_put *op, struct item_write *put, struct item_write **w,
		       size_t *n) MUST_CHECK;
/* Takes the results of a finished write over. */
void memory_finish(struct memory *m, struct op_put *op, const struct item_write *w);
/* Renews the expiry of those items that have one, in one write. */
enum err memory_touch(struct memory *m, struct arena *a, const struct principal *who, struct item **items, size_t n) MUST_CHECK;

#endif
