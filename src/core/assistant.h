/* The assistant: a turn of a conversation whose history, facts and memories live in the store.
 *
 * A turn is this sequence: keep what came -> load the thread's last messages -> recall what the question brings up -> prompt ->
 * model -> the tools that it wants called, and the model again -> keep the answer. What came is kept before the model is asked, so
 * nothing typed is lost because a model failed. When the store fails the turn goes on without memory, and says so. Thread-safe;
 * results live in the caller's arena. */
#ifndef CENOTE_CORE_ASSISTANT_H
#define CENOTE_CORE_ASSISTANT_H

#include "core/extract.h"
#include "core/llm.h"
#include "core/recall.h"
#include "core/trace.h"
#include "core/tool.h"

#define ASSISTANT_HISTORY_MAX 10000
#define TOOL_SOURCES_MAX 2
#define ASSISTANT_ITEMS_MAX 10000 /* that come with one turn */

struct assistant_options {
	struct memory *memory; /* must outlive the assistant, as must the model */
	struct llm *llm;       /* NULL: there is none */
	const char *why;       /* then: a sentence that says why, and which setting gives one. Static */
	struct str system_prompt;
	uint32_t max_history;	 /* messages of the thread in a prompt, the new ones included; 1..ASSISTANT_HISTORY_MAX */
	uint32_t history_tokens; /* that they may take, about; 0: any. What came with a turn is sent whatever it takes */
	uint32_t recall_limit;	 /* memories in a prompt; 0: none */
	uint32_t recall_tokens;	 /* that they may take; 0: any */
	uint32_t step_ms;	 /* for each step that asks the store; 0: the request's own deadline alone */
	bool no_threads;	 /* turns neither read nor keep their threads */
	struct tracer *tracer;	 /* of turns; must outlive the assistant; NULL: none */
	struct toolbox tools;	 /* that the model may have called here; none of them need be there */
	/* Beside them, as they are when a turn begins, with names that differ from each other and from those; they must outlive the
	 * assistant. */
	struct tool_source *more_tools[TOOL_SOURCES_MAX];
	size_t more_tools_n;
	uint32_t max_steps; /* answers with calls of them in one turn; 0: none are offered */
	uint32_t tool_timeout_ms;
	size_t tool_result;	 /* bytes of what one of them answers; the rest is cut */
	struct extract *extract; /* what is done behind turns: facts, summaries. NULL: nothing; else it outlives the assistant */
};
struct assistant;
enum err assistant_new(const struct assistant_options *opt, struct assistant **out) MUST_CHECK;
void assistant_free(struct assistant *as);
/* The model's name; .p NULL: there is none, *why says why. */
struct str assistant_model(const struct assistant *as, const char **why);

/* Whether turns have threads. */
bool assistant_keeps(const struct assistant *as);

/* An item of a turn's output. */
struct assistant_item {
	enum { ITEM_MESSAGE, ITEM_CALL, ITEM_OUTPUT } kind;
	struct str json, id;
	struct str text;	     /* of a message, or an output */
	const struct llm_call *call; /* of a call, or of the call that an output answers */
	bool ours;		     /* a tool of the toolbox, which has been called here */
};

struct assistant_turn {
	struct str thread; /* "" : none; nothing is loaded or kept */
	bool own_thread;   /* the caller named none: it was made for this turn */
	/* Nothing is in the thread yet (else E_CONFLICT, and nothing is kept): what comes is the whole conversation, and goes to
	 * the model whole, as without a thread. */
	bool fresh;
	int64_t upto;	 /* the thread's history ends with this entry; 0: it is all of it. E_NOT_FOUND when it is not there */
	int64_t behind;	 /* the entry that must be the thread's newest when what came is kept: else E_CONFLICT, and nothing is; 0:
			    any */
	struct str user; /* "" : the principal's. E_DENIED when the principal is bound to another one */
	const struct str *items; /* JSON objects in the form of Responses items (contracts: openai 5), as sessions keep them */
	size_t items_n;
	/* The items are a whole conversation that the caller sends again each time: those that the thread's end has already are not
	 * kept twice. */
	bool resent;
	bool keep; /* else the thread is only read */
	/* Nobody answers: what came is kept and looked through, and memories has what it brings up, of this thread, too. */
	bool listen;
	/* As in entry_append: what names this call, 32 bytes or ""; again: it may be one that was made before, of which what came
	 * has been kept, and must not be kept twice. */
	struct str once;
	bool again;	 /* then an answer that was kept, too, is given once more (given), and the model is not asked */
	struct str away; /* why the store could not be asked for the thread just now; the turn does not wait for it again. "" : it
			    could */
	struct str instructions; /* the system message; .p NULL: the configured one */
	struct str tools;   /* of the caller, in the chat form; "" : none. Their calls end the turn and are part of the answer */
	bool no_toolbox;    /* offer only these */
	uint32_t max_calls; /* of tools of ours in this turn, those beyond are answered that they were not made; 0: any */
	const struct llm_param *params;
	size_t params_n;
	bool explain;	       /* the memories say why they are among them */
	struct str message_id; /* of the text that comes; "" : made. Each text that an answer of several steps has gets its own */
	llm_text_fn on_text;   /* NULL: whole */
	/* NULL: none. Called for each item as soon as it is complete, in their order. An error
	 * ends the turn. Not called for what is left of an answer that broke off. */
	enum err (*on_item)(void *ctx, const struct assistant_item *item);
	/* NULL: none. Called when what came has been kept (came says as what), before the model is asked. An error ends the turn,
	 * but for an outage, which makes it stateless. */
	enum err (*on_kept)(void *ctx);
	void *ctx; /* of these */
	/* By assistant_trace; else the turn makes it, when there is a tracer. It has ended when the turn has; what is to be said of
	 * the request must be said before. */
	struct trace *trace;
	struct trace_span *resolve; /* its step of finding out who asks in which thread, which the turn ends */
	/* out */
	/* The last answer of the model, with the texts of all (an empty line between two), the tokens of all, and the calls of the
	 * caller's tools. */
	struct llm_answer answer;
	struct str *output; /* items: messages, function_call and, for tools of ours, function_call_output */
	size_t output_n;
	size_t steps, calls_n;	     /* answers of the model; calls of our tools */
	struct recall_hit *memories; /* those in the prompt, best first */
	size_t memories_n;
	bool given;	      /* the answer is that of an earlier call; its tokens are not known */
	struct str stateless; /* "" : memory worked; else the sentence that says why it did not */
	/* Numbers of entries of the thread: what came, and what the turn has added to it so far. */
	int64_t *came, *added;
	size_t came_n, added_n;
};
/* E_INVALID: an item or the model refuses (kind ERR_SIZE: longer than the model's window); E_NOT_FOUND with field "model": there is
 * no model; with "thread": it is somebody else's; E_DENIED; E_UPSTREAM, E_BUSY, E_TIMEOUT: the model; E_CANCELLED; what on_text
 * returned. When an answer broke off, what there is of it is kept with status "incomplete", and output has it. */
enum err assistant_turn(struct assistant *as, struct arena *a, const struct principal *who, struct assistant_turn *t) MUST_CHECK;

/* Begins the trace of a turn with the step "resolve", for callers that look for the thread before the turn. traceparent,
 * tracestate: as in trace_begin. */
void assistant_trace(struct assistant *as, struct arena *a, const struct principal *who, struct str traceparent,
		     struct str tracestate, struct assistant_turn *t);
/* Around a step that asks the store for a turn: waits between the two end by the step's deadline. assistant_stepped takes what
 * assistant_step gave and what the step returned, and returns that: of a late step E_TIMEOUT with a sentence that says so. */
uint64_t assistant_step(const struct assistant *as) MUST_CHECK;
enum err assistant_stepped(const struct assistant *as, uint64_t before, enum err e) MUST_CHECK;

/* Whether an item of an output is a call of a tool of ours, or the output of one. */
bool assistant_made(struct str item);

/* Is the store's error (whose diagnostic is the current one) an outage, with which a turn goes on without memory? What is refused
 * is none, nor is OK. */
bool assistant_outage(enum err e);

/* cenote_assistant_*: turns, failures, turns without memory. */
void assistant_metrics(struct buf *out);

#endif
