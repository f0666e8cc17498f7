/* Which lines of a message get out: so many per second and message, the others are counted. Inside of base/log.c; a header of its
 * own so that it can be tested with a clock that the test moves. Not thread-safe: the caller holds a lock.
 *
 * Invariants
 *  1. Of one message at most LOG_LIMIT_LINES lines are let through in LOG_LIMIT_NS from the first one.
 *  2. Every line that was not let through is counted once in what log_limit_report gives out.
 *  3. When more messages are under way than there are slots, those without a slot share the last one looked at. */
#ifndef CENOTE_BASE_LOG_LIMIT_H
#define CENOTE_BASE_LOG_LIMIT_H

#include "base/log.h"

#define LOG_LIMIT_LINES 20u
#define LOG_LIMIT_NS 1000000000u
#define LOG_LIMIT_SLOTS 128u

struct log_limit_slot {
	uint64_t id; /* hash of the message, 0: free */
	uint64_t since_ns;
	uint32_t lines, left_out;
	char msg[64]; /* the beginning, for the report */
	enum log_level level;
};
struct log_limit {
	struct log_limit_slot slots[LOG_LIMIT_SLOTS];
	unsigned owing; /* slots with left_out > 0 */
};

/* True when this line may be written. */
bool log_limit_pass(struct log_limit *l, enum log_level level, const char *msg, uint64_t now_ns);
/* Takes out one message whose second is over and of which lines were left out; false when there is none (cheap then). */
bool log_limit_report(struct log_limit *l, uint64_t now_ns, struct log_limit_slot *out);

#endif
