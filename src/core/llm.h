/* The port of chat models: messages in, an answer out, whole or piece by piece.
 *
 *  1. A call asks one model once. It is tried again only before anything of an answer has been handed on.
 *  2. Calls come from fibers, several at once. Waiting parks the fiber; its deadline and its cancellation end the call.
 *  3. What a model says is data: texts are valid UTF-8 and bounded, a tool call has a name, its arguments are text that may be
 *     anything.
 *  4. Neither messages nor answers reach a log or a diagnostic; of a refusal the service's own sentence does, when it repeats none
 *     of them. */
#ifndef CENOTE_CORE_LLM_H
#define CENOTE_CORE_LLM_H

#include "base/arena.h"

#define LLM_ANSWER_MAX ((size_t)4 << 20) /* bytes of an answer's text, and of the arguments of its calls together */
#define LLM_CALLS_MAX 128		 /* tool calls of an answer */
#define LLM_TOOL_NAME_MAX 128

struct trace_span;

enum llm_role { LLM_SYSTEM, LLM_USER, LLM_ASSISTANT, LLM_TOOL };

/* A tool that the model wants called. */
struct llm_call {
	struct str id, name;
	struct str arguments; /* meant to be a JSON object, as the model wrote it */
};
struct llm_message {
	enum llm_role role;
	struct str text;
	struct str parts;	      /* JSON array of chat parts instead of text (images); "" : text */
	const struct llm_call *calls; /* of LLM_ASSISTANT */
	size_t calls_n;
	struct str call_id; /* of LLM_TOOL: the call that this answers */
};
/* A parameter of the request by its name in the chat API, with its JSON. */
struct llm_param {
	const char *name;
	struct str json;
};

enum llm_finish { LLM_STOP, LLM_LENGTH, LLM_CALLS, LLM_FILTER, LLM_CUT }; /* LLM_CUT: the answer broke off */
struct llm_answer {
	struct str text;
	const struct llm_call *calls;
	size_t calls_n;
	enum llm_finish finish;
	int64_t tokens_in, tokens_out; /* -1: the service does not say */
	struct str model;	       /* as the service names it */
};

/* A piece of the text as it comes. Another error than OK breaks the answer off and is what the call returns. */
typedef enum err (*llm_text_fn)(void *ctx, struct str piece);
struct llm_request {
	const struct llm_message *messages;
	size_t n;
	struct str tools; /* JSON array of {"type":"function","function":{..}}; "" : none */
	const struct llm_param *params;
	size_t params_n;
	/* Parameters that the model has from its settings do not hold: what is asked for is no answer of a conversation, and has a
	 * length of its own. */
	bool no_defaults;
	llm_text_fn on_text; /* NULL: the answer is wanted whole */
	void *ctx;
	const struct trace_span *span; /* the step that this is, whose context the service gets; NULL: nobody traces */
};

struct llm;
struct llm_ops {
	/* out in a. E_INVALID: the service refuses the request (final; kind ERR_SIZE: it is too long for the model's window);
	 * E_UPSTREAM, E_TIMEOUT, E_BUSY: try again later; E_CANCELLED; else what on_text returned. After an error out has what came
	 * until then, with finish LLM_CUT. */
	enum err (*chat)(struct llm *l, struct arena *a, const struct llm_request *rq, struct llm_answer *out) MUST_CHECK;
	void (*close)(struct llm *l);
};
struct llm {
	const struct llm_ops *ops;
	struct str model;
	struct str provider; /* who serves it, in the words of gen_ai.provider.name; "" : not known. Static */
};

static inline enum err llm_chat(struct llm *l, struct arena *a, const struct llm_request *rq, struct llm_answer *out)
{
	return l->ops->chat(l, a, rq, out);
}
static inline void llm_close(struct llm *l)
{
	if (l)
		l->ops->close(l);
}

#endif
