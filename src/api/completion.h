/* An answer in the form of chat completions. */
#ifndef CENOTE_API_COMPLETION_H
#define CENOTE_API_COMPLETION_H

#include "api/ask.h"

/* Takes the turn and answers it, whole or streamed. When it fails nothing has been sent, or a stream has begun (ask.begun), which
 * the caller breaks off. */
enum err completion_run(struct ask *k) MUST_CHECK;
const char *completion_finish(enum llm_finish f); /* the name of a finish_reason */
/* The calls of an answer, as tool_calls has them; indexed: as in a stream. */
void completion_calls(struct jw *w, const struct llm_answer *x, bool indexed);
/* prompt_tokens and so on, or null. */
void completion_usage(struct jw *w, const struct llm_answer *x);

#endif
