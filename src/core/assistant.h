/* The assistant: a turn of a conversation whose history, facts and memories live in the store.
 *
 * A turn is this sequence: keep what came -> load the thread's last messages -> recall what the question brings up -> prompt ->
 * model -> keep the answer. What came is kept before the model is asked, so nothing typed is lost because a model failed. When the
 * store fails the turn goes on without memory, and says so. Thread-safe; results live in the caller's arena. */
#ifndef CENOTE_CORE_ASSISTANT_H
#define CENOTE_CORE_ASSISTANT_H

#include "core/llm.h"
#include "core/recall.h"

#define ASSISTANT_HISTORY_MAX 10000
#define ASSISTANT_ITEMS_MAX 10000 /* that come with one turn */

struct assistant_options {
	struct memory *memory; /* must outlive the assistant, as must the model */
	struct llm *llm;       /* NULL: there is none */
	const char *why;       /* then: a sentence that says why, and which setting gives one. Static */
	struct str system_prompt;
	uint32_t max_history;	/* messages of the thread in a prompt, the new ones included; 1..ASSISTANT_HISTORY_MAX */
	uint32_t recall_limit;	/* memories in a prompt; 0: none */
	uint32_t recall_tokens; /* that they may take; 0: any */
};
struct assistant;
enum err assistant_new(const struct assistant_options *opt, struct assistant **out) MUST_CHECK;
void assistant_free(struct assistant *as);
/* The model's name; .p NULL: there is none, *why says why. */
struct str assistant_model(const struct assistant *as, const char **why);

struct assistant_turn {
	struct str thread;	 /* "" : none; nothing is loaded or kept */
	struct str user;	 /* "" : the principal's. E_DENIED when the principal is bound to another one */
	const struct str *items; /* JSON objects in the form of Responses items (contracts: openai 5), as sessions keep them */
	size_t items_n;
	/* The items are a whole conversation that the caller sends again each time: those that the thread's end has already are not
	 * kept twice. */
	bool resent;
	bool keep;		 /* else the thread is only read */
	struct str instructions; /* the system message; .p NULL: the configured one */
	struct str tools;	 /* of the caller, in the chat form; "" : none. Their calls are part of the answer */
	const struct llm_param *params;
	size_t params_n;
	struct str message_id; /* of the answer's text; "" : made */
	llm_text_fn on_text;   /* NULL: whole */
	void *ctx;
	/* out */
	struct llm_answer answer;
	struct str *output; /* items: a message unless the answer has no text, a function_call for each call */
	size_t output_n;
	struct recall_hit *memories; /* those in the prompt, best first */
	size_t memories_n;
	struct str stateless; /* "" : memory worked; else the sentence that says why it did not */
};
/* E_INVALID: an item or the model refuses (kind ERR_SIZE: longer than the model's window); E_NOT_FOUND with field "model": there is
 * no model; E_DENIED; E_UPSTREAM, E_BUSY, E_TIMEOUT: the model; E_CANCELLED; what on_text returned. When an answer broke off, what
 * there is of it is kept with status "incomplete", and output has it. */
enum err assistant_turn(struct assistant *as, struct arena *a, const struct principal *who, struct assistant_turn *t) MUST_CHECK;

/* cenote_assistant_*: turns, failures, turns without memory. */
void assistant_metrics(struct buf *out);

#endif
