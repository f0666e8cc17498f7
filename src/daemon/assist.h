/* The assistant of a server: its model by the settings llm.*, its memory by memory.*. */
#ifndef CENOTE_DAEMON_ASSIST_H
#define CENOTE_DAEMON_ASSIST_H

#include "api/openai/openai.h"
#include "daemon/config.h"

struct assist {
	struct llm *llm; /* NULL: none is configured */
	struct assistant *assistant;
	struct openai_assistant openai;
};
/* The memory must outlive it, as must c. On error there is nothing to close. */
enum err assist_open(const struct config *c, struct memory *m, struct assist *out) MUST_CHECK;
void assist_close(struct assist *as);

#endif
