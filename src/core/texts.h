/* Texts of threads: what sessions (entries) and states of graphs (messages in checkpoints) say becomes documents that recall finds
 * like messages, in the background, one worker per process (texts_forever).
 *
 *  1. A write never waits for it, and never fails because of it.
 *  2. What is to be done lies in the store alone: with each thread is kept what it looked like when its texts were made (seen), and
 * a thread that looks different has to be done again. So it survives a restart, rows that other programs wrote are found, and two
 * processes on one store do at worst the same work twice.
 *  3. What a thread says is what its entries say and what the lists of messages in the latest checkpoint of namespace "" say. A
 *     message that lies in many checkpoints is one text; one that was removed or changed there is removed or changed here.
 *  4. A text belongs to its thread's user, and is found by whoever may see that user's messages.
 *  5. Another program's change that leaves the number of entries and checkpoints and all times as they were is not seen.
 *
 * Thread-safe, but for new and free. Every function but new takes t NULL: then there are no texts, and nothing to wait for. */
#ifndef CENOTE_CORE_TEXTS_H
#define CENOTE_CORE_TEXTS_H

#include "core/text_store.h"

struct memory;
struct texts;
struct texts_options {
	bool off; /* none are made, and those that are there are removed */
	/* After how long all threads are compared again, for what was written by other programs or in ways that do not call
	 * texts_wake; 0: 2000. At least fifty times as long as comparing took. */
	uint32_t poll_ms;
	uint32_t gather_ms; /* changes are waited for so long, to be done together; 0: 300 */
};
enum err texts_new(struct store *store, const struct texts_options *opt, struct texts **out) MUST_CHECK;
void texts_free(struct texts *t); /* the worker must have ended */
/* The worker: runs in a fiber of a loop that it may keep busy, until that is cancelled (E_CANCELLED). Without one, whoever calls
 * texts_wait does its work. */
enum err texts_forever(struct texts *t, struct memory *m) MUST_CHECK;

/* After a write of entries or checkpoints of this thread. Cheap, never waits. */
void texts_wake(struct texts *t, struct str tenant, struct str thread);
/* Returns when the texts of every thread of the tenant that texts_wake had named before the call are as the thread is; everything:
 * of every thread there was, whoever wrote it. E_TIMEOUT after ms (0: never) or by the fiber's deadline. */
enum err texts_wait(struct texts *t, struct memory *m, const struct principal *who, uint32_t ms, bool everything) MUST_CHECK;

struct texts_state {
	bool on;
	bool compared;	 /* all threads have been compared since the start of the process */
	int64_t waiting; /* threads known to wait */
	int64_t lag_ms;	 /* how long the first of them has been waiting */
};
void texts_state(struct texts *t, const struct principal *who, struct texts_state *out);
void texts_metrics(struct texts *t, struct buf *out);

#endif
