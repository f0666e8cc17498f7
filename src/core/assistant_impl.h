/* What the files of the assistant share. */
#ifndef CENOTE_CORE_ASSISTANT_IMPL_H
#define CENOTE_CORE_ASSISTANT_IMPL_H

#include "core/assistant.h"

/* ---- assistant_prompt.c: from items to what a model is sent ---- */
struct prompt {
	struct arena *a;
	struct llm_message *v; /* [0] is the system message's place */
	size_t n;
	struct llm_call *calls;
	size_t calls_n;
	struct str question; /* text of the last message of a user; "" : none */
};
/* Messages for the items, oldest first; strict: an item that is none is E_INVALID and named, else it is passed over. What a model
 * cannot be sent (reasoning and the like) is left out, as are calls without an output and outputs without a call. At most `most`
 * messages, the newest, none of them a tool's output that has lost its call. */
enum err prompt_items(struct arena *a, const struct str *items, size_t n, size_t strict_from, size_t most,
		      struct prompt *out) MUST_CHECK;
/* Puts the system message in front: the instructions, and behind them the memories as data. */
enum err prompt_system(struct prompt *p, struct str instructions, const struct recall_hit *memories, size_t n) MUST_CHECK;
/* What two items have in common that say the same: role and text of a message, else the JSON. In a. */
enum err prompt_key(struct arena *a, struct str item, struct str *out) MUST_CHECK;

/* ---- assistant_items.c: from answers to items ---- */
enum err answer_items(struct arena *a, const struct llm_answer *answer, struct str message_id, struct str **out,
		      size_t *n) MUST_CHECK;
/* "msg_" and 32 hex digits, as for other prefixes. */
struct str item_id(struct arena *a, const char *prefix);

#endif
