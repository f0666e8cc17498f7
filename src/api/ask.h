/* Asking the assistant over HTTP: what protocols share, whichever form they have. A protocol reads a body into a struct ask with
 * these functions, takes the turn with response_run or completion_run, and writes its own errors. */
#ifndef CENOTE_API_ASK_H
#define CENOTE_API_ASK_H

#include "base/json/json.h"
#include "core/assistant.h"
#include "http/server.h"

#define ASK_PARAMS_MAX 16

/* Who answers. Must live as long as the router. */
struct ask_service {
	struct memory *memory;
	struct assistant *assistant;
};

/* A turn as it is read from a body. */
struct ask {
	struct http_req *rq;
	struct arena *a;
	struct ask_service *service;
	struct assistant_turn turn;
	struct llm_param params[ASK_PARAMS_MAX];
	bool stream, usage;
	bool data_only;		   /* a stream has no other lines than "data:" */
	bool tell_trace;	   /* the caller wants the trace's id (x-mlflow-return-trace-id) */
	struct str custom_outputs; /* JSON of a member of the answer, and of a stream's last events; "" : none */
	int64_t began_s;	   /* Unix time */
	struct str id;		   /* of the response or completion */
	bool begun;		   /* a stream's first bytes have gone out */
	bool more;		   /* a text is complete, and another one may follow */
	bool hide;		   /* calls of our tools are not shown */
};

/* ---- ask.c ---- */
/* Begins a turn: members that all bodies have (user, stream, temperature, top_p, parallel_tool_calls). E_NOT_FOUND: there is no
 * model. ctx is the struct ask_service. */
enum err ask_begin(struct ask *k, struct http_req *rq, void *ctx, struct jval body) MUST_CHECK;
/* The model that a body names, if any, must be the one that there is; E_NOT_FOUND. "none": the turn only listens. */
#define ASK_NOBODY "none"
enum err ask_model(struct ask *k, struct jval model) MUST_CHECK;
/* The name of who answers, for answers. */
struct str ask_answerer(const struct ask *k);
/* A user that a body names; null: none. E_INVALID names `field`. */
enum err ask_user(struct ask *k, struct jval user, const char *field) MUST_CHECK;
/* Adds a parameter of the model as it came; null and absent are none. */
enum err ask_param(struct ask *k, struct jval v, const char *name) MUST_CHECK;
enum err ask_param_json(struct ask *k, const char *name, struct str json) MUST_CHECK;
/* A boolean member; absent and null: dflt. E_INVALID names it. */
enum err ask_bool(struct jval body, const char *name, bool dflt, bool *out) MUST_CHECK;
/* Begins the trace of the turn, with the step of finding the thread, unless there is one that has not ended. ask_begin does; a turn
 * that is taken a second time has another one. */
void ask_trace(struct ask *k);
/* Takes the turn, traced. */
enum err ask_turn(struct ask *k) MUST_CHECK;
/* For on_item of a turn in forms that do not show calls of our tools: texts before and after those are one message (more). */
enum err ask_on_item(void *ctx, const struct assistant_item *it) MUST_CHECK;
/* "data: " JSON and a blank line; event: "" none. Begins the answer when it has not begun. */
enum err ask_send(struct ask *k, const char *event, struct buf *json) MUST_CHECK;
/* The end of a stream, with the trace's id when it is wanted, and data: [DONE]. */
void ask_done(struct ask *k);
/* Breaks a stream off: json as its last event, nothing when whoever asked has gone. */
void ask_break(struct ask *k, enum err e, struct buf *json);
/* The whole answer. */
enum err ask_whole(struct ask *k, const struct buf *json) MUST_CHECK;
/* A member metadata: what the caller sent, and the trace's id when it is wanted; none when there is neither and dflt is "". */
void ask_metadata(const struct ask *k, struct jw *w, struct jval sent, const char *dflt);
/* A member custom_outputs, when there is one. */
void ask_custom(const struct ask *k, struct jw *w);

/* ---- ask_items.c: a body in the form of Responses ---- */
enum err ask_responses_body(struct ask *k, struct jval body) MUST_CHECK;
/* ---- ask_messages.c: a body in the form of chat completions ---- */
enum err ask_chat_body(struct ask *k, struct jval body) MUST_CHECK;

#endif
