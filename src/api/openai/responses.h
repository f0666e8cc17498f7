/* A response and its events. */
#ifndef CENOTE_API_OPENAI_RESPONSES_H
#define CENOTE_API_OPENAI_RESPONSES_H

#include "api/openai/ask.h"

enum response_status { RESPONSE_IN_PROGRESS, RESPONSE_COMPLETED, RESPONSE_INCOMPLETE, RESPONSE_FAILED };
struct response {
	struct ask *ask;
	struct jval body;  /* of the request */
	uint64_t sequence; /* number of the next event */
	bool text;	   /* the message's item has been announced */
};
/* The response's object; the text of an error is the diagnostic's. */
void response_write(const struct response *r, enum response_status status, struct jw *w);
/* What a whole answer comes to. */
enum response_status response_status(const struct response *r);

/* ---- responses_stream.c: contracts openai 6.2 ---- */
enum err response_on_text(void *ctx, struct str piece); /* llm_text_fn; ctx is the struct response */
/* All that is left of a turn that went well. */
enum err response_stream_end(struct response *r) MUST_CHECK;
/* The error's event and response.failed. */
void response_stream_fail(struct response *r, enum err e);

#endif
