/* `cenote chat` and `cenote ask`: what their files share. Everything goes through the HTTP API of the server that cli/peer.h finds
 * or starts, so that a thread is the same one wherever it is continued. */
#ifndef CENOTE_CLI_CHAT_H
#define CENOTE_CLI_CHAT_H

#include "cli/lines.h"
#include "cli/peer.h"

#define CHAT_THREAD_MAX 256
#define CHAT_MODEL_MAX 256

/* What a number in /forget and /resume stands for. */
struct chat_ref {
	struct str thread;  /* "" : an item */
	struct str ns, key; /* of the item; the namespace with dots */
};
struct chat_list {
	struct arena arena;
	struct chat_ref *v;
	size_t n;
};

struct chat {
	struct call *c;
	struct http_client *http; /* asks as the user, waits as long as a model may take */
	struct lines *in;	  /* NULL: `ask` */
	struct arena a;		  /* of one line; cleared before the next */
	bool json, people;	  /* an event a line; a terminal reads stdout */
	bool typed;		  /* and somebody types there */
	bool keep;
	char thread[CHAT_THREAD_MAX + 1];
	bool resumed;			/* the thread is known to be there */
	struct str user;		/* "" : the credential's, which the first answer tells */
	char model[CHAT_MODEL_MAX + 1]; /* the one that answers; "" : there is none */
	struct chat_list memories;	/* shown last, with numbers */
	struct chat_list threads;
	struct arena why_arena;
	struct str why;	  /* JSON: the array of memories of the last answer; .p NULL: there was no answer yet */
	struct str trace; /* of the last answer, in why_arena; "" : none */
	struct str away;  /* why it was given without memory, in why_arena; "" : memory was there */
	bool told;	  /* how to get a model */
	int code;	  /* exit code of the first thing that failed */
};

/* ---- chat_talk.c ---- */
/* One line said: an answer, or without a model what memory recalls. E_CANCELLED: stopped by a signal; what came is kept. */
enum err chat_say(struct chat *ch, struct str line) MUST_CHECK;
/* Learns whether the server has a chat model; fails when it cannot be asked. */
enum err chat_find_model(struct chat *ch) MUST_CHECK;
/* GET, POST and the like; the answer's JSON in ch->a. body .p NULL: none. */
enum err chat_call(struct chat *ch, const char *method, struct str path, struct str body, struct jval *out) MUST_CHECK;

/* ---- chat_commands.c ---- */
/* A line that begins with a slash. *quit: the session ends. */
enum err chat_command(struct chat *ch, struct str line, bool *quit) MUST_CHECK;
void chat_new_thread(struct chat *ch);
/* "/help" and the like, ending with NULL. */
const char *const *chat_command_words(void);
/* Goes on with a thread that is there; says so. E_NOT_FOUND. */
enum err chat_resume(struct chat *ch, struct str thread) MUST_CHECK;

/* ---- chat_text.c: what reaches the terminal ---- */
/* Text as a terminal may have it: control characters (but line feeds and tabs), C1 controls and those that change the direction of
 * text become blanks; carriage returns go. s is valid UTF-8, which the pieces of a stream are, too. */
void chat_clean(struct buf *out, struct str s);
/* The same on one line of at most width characters (0: any). */
void chat_clean_line(struct buf *out, struct str s, size_t width);
/* JSON with the characters escaped that chat_clean takes out. */
void chat_clean_json(struct buf *out, struct str json);
/* To stdout, at once. */
enum err chat_print(struct buf *b) MUST_CHECK;
enum err chat_puts(struct str cleaned) MUST_CHECK;
/* A sentence for the person at the terminal, dim; with --json an event "notice"; else on stderr, unless --quiet. */
enum err chat_notice(struct chat *ch, const char *fmt, ...) __attribute__((format(printf, 2, 3))) MUST_CHECK;
/* {"event":NAME,"thread":..., and what follows }; chat_event_end prints it. */
void chat_event(struct chat *ch, struct buf *b, struct jw *w, const char *name);
enum err chat_event_end(struct buf *b, struct jw *w) MUST_CHECK;
/* Lines of memories as recall gives them (an array of hits), numbered from 1; explain: with the features that made each score. */
enum err chat_show_memories(struct chat *ch, struct jval hits, bool explain) MUST_CHECK;
/* "[2 memories: tea 0.91, thread 0199.. 0.42; /why]" */
enum err chat_hint_memories(struct chat *ch, struct jval hits) MUST_CHECK;
/* Remembers them under their numbers. */
enum err chat_number_memories(struct chat *ch, struct jval hits) MUST_CHECK;
struct str chat_member(struct arena *a, struct jval v, const char *name); /* a string, else "" */

int run_chat(struct call *c);
int run_ask(struct call *c);

#endif
