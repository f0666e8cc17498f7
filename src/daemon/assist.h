/* The assistant of a server: its model by the settings llm.*, its memory by memory.*. */
#ifndef CENOTE_DAEMON_ASSIST_H
#define CENOTE_DAEMON_ASSIST_H

#include "api/ask.h"
#include "daemon/config.h"
#include "daemon/toolbox.h"

struct assist {
	struct llm *llm; /* the chat model; NULL: no model server is configured */
	/* For facts and for summaries; the chat model itself unless another is named. NULL when llm is. */
	struct llm *extract, *summary;
	struct tools tools;
	struct extract *learner; /* NULL: no model, or neither memory.extract nor memory.summary */
	struct assistant *assistant;
	struct ask_service service; /* what protocols ask */
};
/* The memory must outlive it, as must c. On error there is nothing to close. */
enum err assist_open(const struct config *c, struct memory *m, struct tracer *tr, struct assist *out) MUST_CHECK;
void assist_close(struct assist *as);

#endif
