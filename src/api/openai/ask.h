/* What the routes that ask the assistant share: Responses and chat completions. */
#ifndef CENOTE_API_OPENAI_ASK_H
#define CENOTE_API_OPENAI_ASK_H

#include "api/openai/impl.h"
#include "core/assistant.h"

#define ASK_PARAMS_MAX 16

/* A turn as it is read from a body. */
struct ask {
	struct http_req *rq;
	struct arena *a;
	struct openai_assistant *ctx;
	struct assistant_turn turn;
	struct llm_param params[ASK_PARAMS_MAX];
	bool stream, usage;
	int64_t began_s; /* Unix time */
	struct str id;	 /* of the response or completion */
	bool begun;	 /* a stream's first bytes have gone out */
};

/* Members of the body that both routes have: model, user, stream, temperature, top_p, parallel_tool_calls. */
enum err ask_begin(struct ask *k, struct http_req *rq, void *ctx, struct jval body) MUST_CHECK;
/* Adds a parameter of the model as it came; null and absent are none. */
enum err ask_param(struct ask *k, struct jval v, const char *name) MUST_CHECK;
enum err ask_param_json(struct ask *k, const char *name, struct str json) MUST_CHECK;
/* A boolean member; absent and null: dflt. E_INVALID names it. */
enum err ask_bool(struct jval body, const char *name, bool dflt, bool *out) MUST_CHECK;
/* What the model's failure is to a client: too long for the window is 400 context_length_exceeded. */
void ask_fail(struct ask *k, enum err e);
/* "data: " JSON and a blank line; event: "" none. Begins the answer when it has not begun. */
enum err ask_send(struct ask *k, const char *event, struct buf *json) MUST_CHECK;
/* The end of a stream, with data: [DONE]. */
void ask_done(struct ask *k);
/* X-Cenote-Memories: how many memories were in the prompt; X-Cenote-Stateless: why there were none. */
void ask_headers(struct ask *k);

#endif
