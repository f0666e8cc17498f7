/* What differs between two states of a thread: channel by channel. Pure. */
#ifndef CENOTE_CLI_THREAD_DIFF_H
#define CENOTE_CLI_THREAD_DIFF_H

#include "base/json/json.h"

enum diff_kind { DIFF_ADDED, DIFF_REMOVED, DIFF_CHANGED, DIFF_APPENDED };
struct diff_channel {
	enum diff_kind kind;
	struct str channel;
	struct jval from, to; /* absent where there is none */
	uint32_t kept;	      /* APPENDED: so many elements were there before, and are the same */
};
/* from, to: objects of channels ("values" of a state); others count as empty. In order of the channels' names. */
enum err thread_diff(struct arena *a, struct jval from, struct jval to, struct diff_channel **out, size_t *n) MUST_CHECK;
/* {"added":{..},"removed":{..},"changed":{ch:{"from","to"}},"appended":{ch:[..]}} */
void diff_json(struct jw *w, const struct diff_channel *d, size_t n);

#endif
