/* A response and its events. */
#ifndef CENOTE_API_RESPONSE_H
#define CENOTE_API_RESPONSE_H

#include "api/ask.h"

enum response_status { RESPONSE_IN_PROGRESS, RESPONSE_COMPLETED, RESPONSE_INCOMPLETE, RESPONSE_FAILED };
struct response {
	struct ask *ask;
	struct jval body;    /* of the request */
	uint64_t sequence;   /* number of the next event */
	size_t index;	     /* place of the next item in the output */
	bool text;	     /* that item is a message, and has been announced */
	struct str previous; /* the response that this one follows; "" : none */
	bool kept;	     /* it can be found by its id, be it as one that has not ended */
	bool unnamed;	     /* the caller did not name the thread: it is not shown */
	bool bare;	     /* to be written without what was said */
	int64_t ended_s;     /* Unix time; 0: the turn is not over */
	/* NULL: none. Called when the turn is over, with what it has come to, before its last word goes out; gives what the caller
	 * is told. */
	enum err (*on_end)(struct response *r, enum err e);
};
/* The response's object; the text of an error is the diagnostic's. */
void response_write(const struct response *r, enum response_status status, struct jw *w);
/* What a whole answer comes to. */
enum response_status response_status(const struct response *r);

/* Takes the turn and answers it, whole or streamed. When it fails nothing has been sent, or a stream has begun (ask.begun), which
 * the caller breaks off. */
enum err response_run(struct response *r) MUST_CHECK;

/* ---- response_stream.c: contracts openai 6.2, mlflow 1.4 ---- */
enum err response_on_text(void *ctx, struct str piece); /* llm_text_fn; ctx is the struct response */
/* As assistant_turn.on_item; ctx is the struct response. */
enum err response_on_item(void *ctx, const struct assistant_item *item);
/* All that is left of a turn that went well. */
enum err response_stream_end(struct response *r) MUST_CHECK;
/* The event of the diagnostic's error, and response.failed. */
enum err response_stream_error(struct response *r) MUST_CHECK;
enum err response_stream_failed(struct response *r) MUST_CHECK;

#endif
