/* What the files of core/extract share: the queue and its workers (extract.c), notes of what is to be done (extract_note.c), the
 * work itself (extract_work.c) by rules (extract_rules.c) or by a model (extract_model.c). Private to core. */
#ifndef CENOTE_CORE_EXTRACT_IMPL_H
#define CENOTE_CORE_EXTRACT_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/list.h"
#include "core/extract.h"
#include "core/learn.h"
#include "core/llm.h"
#include "core/thread.h"

#define EXTRACT_ROOM ((size_t)128 << 20)

/* ---- extract.c: the queue */
enum kind { DO_TURN, DO_SUMMARY };
struct job {
	struct list node;
	enum kind kind;
	char tenant[64];
	char *user;
	char *lane;			  /* what must not be done at once: the user, or the thread */
	char *name;			  /* of the small value; DO_SUMMARY: the thread */
	char mark[TRACEPARENT_BYTES + 1]; /* of the turn's trace; "" : none */
	uint64_t since_ns;
	uint64_t later_ns; /* not before then */
	unsigned failed;
	bool working;
};
struct extract {
	struct extract_options opt;
	int wake_fd;
	pthread_mutex_t lock;
	struct list jobs; /* lock: in the order of their coming; those in work, too */
	size_t jobs_n;
	bool found_first; /* lock: somebody has looked into the store */
	uint64_t find_at; /* lock */
	_Atomic uint64_t turns, dropped, malformed, repaired, ungrounded, failures, added, merged, superseded, entities, relations,
		summaries, summary_failures;
};
/* What a job is made of. */
struct order {
	enum kind kind;
	struct str tenant, user, name, mark;
};
/* Puts it into the list, unless it is there. A turn that is in work is not done again; a summary that is may be out of date by now.
 */
void extract_put(struct extract *x, const struct order *o);

/* ---- extract_note.c */
/* Who works for the tenant: not bound to a user, and named so in logs. */
struct principal extract_worker(struct str tenant);
/* A note's JSON; E_CORRUPT: it is none. */
enum err extract_read_note(struct arena *a, struct str value, struct jval *root, struct str *thread, struct str *user,
			   int64_t *at) MUST_CHECK;
/* What a user has typed in an entry; "" : it is no message of one. */
enum err extract_typed(struct arena *a, struct str data, struct str *out) MUST_CHECK;

/* ---- extract_work.c */
struct doing {
	struct extract *x;
	struct arena a;
	struct principal who;
	struct str thread, user;
	int64_t last; /* the last entry of the turn's input that is still there; 0: none is */
	struct str *said;
	struct learn_source *from;
	size_t n;
	struct trace_span *root; /* of the work's trace */
	bool begun;		 /* there was something to do */
};
/* E_CANCELLED, and what `temporary` of extract.c names: it is tried again. */
enum err extract_do_turn(struct extract *x, const struct job *j, struct doing *d) MUST_CHECK;
enum err extract_do_summary(struct extract *x, const struct job *j, struct doing *d) MUST_CHECK;

/* ---- extract_rules.c: pure */
#define RULES_TEXT_MAX 20000 /* bytes of a message that are looked at */
#define RULES_FACTS_MAX 32   /* of one message; what comes behind is left */
/* Facts that the text states about who wrote it, in the words of a small set of patterns. Adds to out, whose arrays are in a. */
enum err rules_find(struct arena *a, struct str text, struct learned *out) MUST_CHECK;
/* Whether there is one; without making it. */
bool rules_apply(struct str text);

/* ---- extract_model.c */
struct extract_turn {
	struct str user, assistant;	       /* what both said; assistant "" : not known */
	const struct entity_relation *related; /* of the user, as is known; the last ones are told */
	size_t related_n;
	int64_t time_us;
};
struct extract_reply {
	bool repaired, malformed; /* asked again; and then not to be used, either */
	uint64_t ungrounded;	  /* facts and entities that the user's words do not have, left out */
};
/* What a model finds in a turn. The requests are steps of span, which may be NULL. Malformed twice: OK, malformed is set and out is
 * empty. Errors: those of llm_chat. */
enum err extract_ask(struct llm *l, struct arena *a, struct trace_span *span, const struct extract_turn *turn,
		     const struct known_fact *known, size_t known_n, struct learned *out, struct extract_reply *reply) MUST_CHECK;
/* The answer's JSON, checked against the schema; E_INVALID says what is wrong. */
enum err extract_read(struct arena *a, struct str text, struct str user, struct learned *out, uint64_t *ungrounded) MUST_CHECK;

/* ---- extract_trace.c: the trace of the work, which may be NULL everywhere */
/* Its root; mark: trace_mark of the turn that the work is behind. */
struct trace_span *work_begin(struct tracer *tr, struct arena *a, const struct principal *who, const char *name, struct str mark);
/* What was learned in this step. */
void work_counted(struct trace_span *s, const struct learn_counts *c);
/* Ends the trace, of work for that user's thread. A trace that is not ended is of nothing that was done, and goes nowhere. Returns
 * e. */
enum err work_end(struct trace_span *root, enum err e, struct str user, struct str thread);

#endif
