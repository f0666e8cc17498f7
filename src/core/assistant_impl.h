/* What the files of the assistant share. */
#ifndef CENOTE_CORE_ASSISTANT_IMPL_H
#define CENOTE_CORE_ASSISTANT_IMPL_H

#include "core/assistant.h"
#include "core/thread.h"

/* ---- assistant_prompt.c: from items to what a model is sent ---- */
struct prompt {
	struct arena *a;
	struct llm_message *v; /* [0] is the system message's place */
	size_t n;
	struct llm_call *calls;
	size_t calls_n;
	struct str question; /* text of the last message of a user; "" : none */
	size_t fresh;	     /* messages of what came with this turn, at the end */
	bool cut;	     /* `most`, or a budget, has left some out */
	struct str summary;  /* what stands for them; "" : nothing */
};
/* Messages for the items, oldest first; strict: an item that is none is E_INVALID and named, else it is passed over. What a model
 * cannot be sent (reasoning and the like) is left out, as are calls without an output and outputs without a call; the other outputs
 * stand directly behind their calls, which a late one brings down to its place. At most `most` messages, the newest, none of them a
 * tool's output that has lost its call. */
enum err prompt_items(struct arena *a, const struct str *items, size_t n, size_t strict_from, size_t most,
		      struct prompt *out) MUST_CHECK;
/* Leaves out the oldest messages beyond so many tokens, about (0: any): never what came with this turn, nor the call whose output
 * that is. */
enum err prompt_within(struct prompt *p, uint32_t tokens) MUST_CHECK;
/* How many of the newest entries are within so many tokens; at least one. */
enum err prompt_window(struct arena *a, const struct session_entry *v, size_t n, uint32_t tokens, size_t *out) MUST_CHECK;
/* Puts the system message in front: the instructions, and behind them the summary and the memories as data. */
enum err prompt_system(struct prompt *p, struct str instructions, const struct recall_hit *memories, size_t n) MUST_CHECK;
/* A JSON string in which no character stands as it is that could end a line or a mark, or is not seen: whatever it says, it cannot
 * end the marks that it stands between. */
void prompt_data(struct buf *b, struct str s);
/* What two items have in common that say the same: role and text of a message, else the JSON. In a. */
enum err prompt_key(struct arena *a, struct str item, struct str *out) MUST_CHECK;
/* The keys of what a thread has, for finding there what a caller sends again. `shown`: as callers of chat completions see it, who
 * are not shown calls of our tools, and have the texts before and after them as one; else as it is. cut: that is an answer that
 * broke off, of which the caller may have more, less or nothing. made: it is of the assistant, not of a caller. v, cut and made
 * have room for n. */
enum err prompt_keys_seen(struct arena *a, const struct session_entry *past, size_t n, bool shown, struct str *v, bool *cut,
			  bool *made, size_t *keys) MUST_CHECK;
/* How many of the entries there are up to the last one that came from a caller, with it: a message, or the output of a tool of
 * theirs. */
enum err prompt_asked(struct arena *a, const struct session_entry *past, size_t n, size_t *out) MUST_CHECK;
/* How many there are without the answers at the end; calls that led to them stay, with their outputs. */
enum err prompt_unanswered(struct arena *a, const struct session_entry *past, size_t n, size_t *out) MUST_CHECK;

/* ---- assistant_resent.c ---- */
/* Of items that are sent again each time: */
struct resent {
	size_t had;  /* how many the thread has already: the longest beginning that is the thread's end */
	size_t upto; /* of past, what was said before what is asked now: without an answer to it that is there already */
	bool again;  /* all of them, and an answer to the last */
};
/* Past is the thread's last entries, `more`: there are others before them. */
enum err resent_count(struct arena *a, const struct session_entry *past, size_t past_n, bool more, const struct str *items,
		      size_t n, struct resent *out) MUST_CHECK;
/* The arguments of a call, or {} when they are no object, which some services refuse. .p NULL: out of memory. */
struct str prompt_arguments(struct arena *a, struct str text);
/* The answer of a tool as the model is told it: labelled. In a. */
struct str prompt_result(struct arena *a, struct str tool, struct str answer);

/* ---- assistant_trace.c: what is said of a turn's steps ---- */
/* Each pair begins and ends a span; the second one returns e. The turn's own ends the trace. */
struct turn;
struct trace_span *trace_turn(struct turn *x); /* the root, which has begun: who asks in which thread is known */
enum err trace_turned(struct trace_span *s, struct arena *a, enum err e, const struct assistant_turn *t);
enum err trace_prompted(struct turn *x, enum err e); /* ends x->step */
struct trace_span *trace_recall(struct trace_span *parent, struct str question, uint32_t limit);
void trace_documents(struct trace_span *s, const struct recall_hit *hits, size_t n);
enum err trace_recalled(struct trace_span *s, struct arena *a, enum err e, const struct recall_hit *hits, size_t n);
/* Asks the model within a span of its own below parent. */
enum err trace_chat(struct trace_span *parent, struct arena *a, struct llm *llm, struct llm_request *rq,
		    struct llm_answer *out) MUST_CHECK;
struct trace_span *trace_tool(struct trace *t, const struct llm_call *c);
enum err trace_tooled(struct trace_span *s, enum err e, struct str answer);
void trace_counted(struct trace_span *s, const char *key, size_t n);

/* ---- assistant_items.c: from answers to items ---- */
/* What marks a call that was made here, and its output (contracts: openai 5). */
#define MADE_BY "cenote"
/* Each makes it->json and it->id of what else it has. */
enum err item_message(struct arena *a, const struct llm_answer *answer, struct str id, struct assistant_item *it) MUST_CHECK;
enum err item_call(struct arena *a, struct assistant_item *it) MUST_CHECK;
enum err item_output(struct arena *a, struct assistant_item *it) MUST_CHECK;
/* Two texts, one behind the other, of any bytes; .p NULL: out of memory. */
struct str item_joined(struct arena *a, struct str one, const char *between, struct str two);
/* "msg_" and 32 hex digits, as for other prefixes. */
struct str item_id(struct arena *a, const char *prefix);

/* ---- assistant.c ---- */
#define TURN_ROOM ((size_t)256 << 20)
#define HISTORY_BYTES ((size_t)32 << 20) /* of the thread's entries in a prompt; services take requests of about as many */

struct assistant {
	struct assistant_options opt;
	struct arena arena;
};

struct turn {
	struct assistant *as;
	struct arena *a;
	struct principal who; /* as the user of the turn */
	struct assistant_turn *t;
	/* What is sent to the model and loaded for it: a conversation with images may have many times the bytes of its request,
	 * whose arena has no room for that. Ends with the turn; nothing of what the caller gets lies in it. See turn_room. */
	struct arena room;
	/* The thread may have entries before those of past; it has, which were left out because of HISTORY_BYTES. */
	bool past_more, past_full;
	struct session_entry *past;
	size_t past_n;	 /* what the model is told of them, */
	size_t past_all; /* and what there is: behind the question may be an earlier answer to it */
	size_t fresh;	 /* the first item that is new */
	size_t bytes;	 /* of items and history, whose reading is left to the CPU pool when they are many */
	bool answered;	 /* all that came, and an answer to it, were there before */
	bool kept;	 /* what came is in the store */
	bool away;	 /* the store did not answer: it is not waited for again, but for LATE_MS */
	bool late;	 /* what came is not in the store, and keeping it is tried at the end of the turn; */
	bool tried;	 /* it was tried before, and may have been done all the same */
	/* The entry that stands in the thread for a streamed answer until that is there, 0: none. Of a process that is killed
	 * meanwhile it is what remains: an answer that is incomplete. */
	int64_t stand_in;
	struct prompt prompt;
	struct trace_span *step; /* "prompt", while that is put together */
	struct str noted;	 /* what extract_note has given; "" : nothing */
};
#define ROOM_FROM ((size_t)64 << 10)
/* Where the prompt and the history are: in the request's arena, when they are small. */
static inline struct arena *turn_room(struct turn *x)
{
	return x->bytes < ROOM_FROM ? x->a : &x->room;
}
/* OK when the turn can go on without what failed: the store is down, which the turn then says. */
enum err turn_go_on(struct turn *x, enum err e) MUST_CHECK;
/* Appends to the thread, in the place of the stand-in; with a new one behind them when more is to come. once, look: as in
 * entry_append. */
enum err turn_append(struct turn *x, const struct str *items, size_t n, bool more, struct entry_append *add) MUST_CHECK;
/* For what is written though the request was given up, and for all that is written once the store has not answered. */
#define LAST_WRITE_MS 10000
#define LATE_MS 1000
#define LATE_ANSWER_MS 5000 /* where the question is there already */
uint64_t turn_last_write(const struct turn *x);
void turn_broken_off(void); /* counts one */

/* ---- assistant_again.c: calls that are made again after their answer was kept ---- */
/* The last of what came is entry past[from - 1], and this call is one that was made before. When a whole answer stands behind it,
 * that is the turn's (given), and nobody is to be asked; else what there is of one is not told the model. */
enum err again_find(struct turn *x, size_t from) MUST_CHECK;
/* Hands that answer on, as if it had just been made. */
enum err again_give(struct turn *x) MUST_CHECK;

/* ---- assistant_summary.c: threads that are longer than the window, and prompts that are longer than the model's ---- */
/* After the prompt was built: gives it the summary of what fell out, when there is one. */
enum err turn_summary(struct turn *x) MUST_CHECK;
/* After the model has refused a prompt because of its length (e): whether the turn may try a shorter one, for which it then makes
 * place: *most messages and a summary of those before. Asks the model for the summary. */
bool turn_shorten(struct turn *x, enum err e, size_t *most);

/* ---- assistant_tools.c: the model, and the tools that it wants called ---- */
enum err turn_answer(struct turn *x) MUST_CHECK;
/* cenote_assistant_tool_*. */
void tools_metrics(struct buf *out);

#endif
