/* Sending an import: two lanes, each with its own connection and thread, one request under way in each while the next is filled. A
 * record's lane follows from its `order`, so what must keep its order does.
 *
 * Thread safety: push, safe, flush and the rest are for one thread; the lanes' threads report under a mutex. */
#ifndef CENOTE_CLI_LANES_H
#define CENOTE_CLI_LANES_H

#include "cli/peer.h"
#include "cli/readers.h"

#define LANES 2

/* Where records came from, for what is said about them; must stay as long as the lanes. */
struct origin_file {
	const char *file, *unit; /* unit: "line" or "conversation" */
};

struct lanes;
struct lanes_options {
	struct str path; /* "/cenote/v1/import?..." */
	/* One bad line; called under the lanes' lock, from any thread. False: stop. */
	bool (*bad)(void *ctx, const struct origin_file *from, uint64_t unit, struct str detail, struct str field);
	void *ctx;
};
struct lanes_totals {
	uint64_t stored, unchanged, failed;
};

enum err lanes_new(struct call *c, const struct lanes_options *o, struct lanes **out) MUST_CHECK;
/* Waits when both buffers of the lane are full. The error of a request that failed comes out of a later push or flush. E_CANCELLED:
 * bad() said stop. */
enum err lanes_push(struct lanes *l, const struct record *r, const struct origin_file *from) MUST_CHECK;
/* Sends what is left and waits for all answers. */
enum err lanes_flush(struct lanes *l) MUST_CHECK;
/* Every record of a unit up to this one is durable (or was reported as bad). now: the unit being read, of the only file since the
 * last flush. */
uint64_t lanes_safe(struct lanes *l, uint64_t now);
struct lanes_totals lanes_totals(struct lanes *l);
/* Drops what was not sent, waits for what is under way. */
void lanes_free(struct lanes *l);

#endif
