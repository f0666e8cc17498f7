/* The messages of a scope in the order of their threads, so that neighbours stand beside each other. Made from the scope when it
 * has changed; read-only afterwards. */
#ifndef CENOTE_INDEX_ORDER_H
#define CENOTE_INDEX_ORDER_H

#include "index/scope.h"

struct order_message {
	int64_t id;
	const struct doc_facts *facts;
	uint32_t row, rows; /* among the scope's row slots */
};
struct scope_order {
	uint64_t version; /* the scope's when this was made */
	uint32_t n, threads;
	struct order_message *m;
	uint64_t *thread_length; /* in stems, by number of the thread */
	uint32_t *thread_messages;
	uint32_t live_threads;
	int64_t first_us, last_us; /* of the messages that have a time; first > last: none has */
	uint8_t *speaker_live;	   /* by number of the speaker */
};
/* Brings scope->order up to date (write lock). Current ones are left alone. */
enum err scope_order_make(struct scope *s) MUST_CHECK;
static inline bool scope_order_current(const struct scope *s)
{
	return s->order && s->order->version == s->version;
}
void scope_order_free(struct scope_order *o);
size_t scope_order_bytes(const struct scope_order *o);

#endif
