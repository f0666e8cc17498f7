/* What the files of core/extract share: the queue and the worker (extract.c), rules (extract_rules.c), the model
 * (extract_model.c). Private to core. */
#ifndef CENOTE_CORE_EXTRACT_IMPL_H
#define CENOTE_CORE_EXTRACT_IMPL_H

#include "core/extract.h"
#include "core/learn.h"
#include "core/llm.h"

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
