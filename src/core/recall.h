/* Recall: a question against the messages and items of a scope, best first, by words and by meaning (design/ranking.md). */
#ifndef CENOTE_CORE_RECALL_H
#define CENOTE_CORE_RECALL_H

#include "core/session.h"
#include "core/trace.h"
#include "index/rank.h"

#define RECALL_LIMIT_MAX 1000
#define RECALL_NAMESPACES_MAX 64

struct recall_request {
	struct str query;
	const struct str *user;	   /* NULL: the principal's; a bound principal may name only itself */
	const struct str *threads; /* n = 0: all; namespaces likewise */
	size_t threads_n;
	const struct str *namespaces; /* text with dots, at most RECALL_NAMESPACES_MAX */
	size_t namespaces_n;
	bool want_messages, want_items, want_facts; /* kinds (items: those that are no facts); all false = all */
	struct filter *filter;			    /* items only */
	int64_t from_us, to_us;			    /* 0: open, both inclusive: of a message's time, of an item's last change */
	int64_t as_of_us; /* 0: now. What was known then of items and facts: recall_as_of.c; to_us must not be later */
	uint32_t limit;	  /* 1..1000 */
	/* 0: none. Results are taken by score as long as their texts fit together; what does not fit is passed over, and a lower
	 * one that fits is taken in its place. A text counts recall_tokens of it: an estimate that errs to the safe side. */
	uint32_t budget_tokens;
	enum rank_mode mode; /* RANK_BY_VECTORS without an encoder: E_INVALID */
	bool explain;
	struct trace_span *span; /* that this is a step of; NULL: nobody traces */
	/* out, may be NULL */
	const char **why;     /* why there are fewer results than limit, or not by meaning; NULL: neither */
	enum rank_mode *used; /* RANK_AUTO: words and vectors */
	uint64_t *pending; /* texts of the scopes looked at that have no vector yet by the model in use, 0 when there is none; for
			    * namespaces that are not in memory: of the tenant */
};
struct recall_hit {
	bool is_item;
	struct message message; /* when not is_item */
	struct item item;
	double score;	    /* [0, 1] within one answer */
	struct str explain; /* JSON object */
};
/* Of results that say the same (equal texts, or vectors with a cosine of at least memory_options.near) only the best is given. */
enum err recall(struct memory *m, struct arena *a, const struct principal *who, const struct recall_request *rq,
		struct recall_hit **out, size_t *n) MUST_CHECK;

/* About how many tokens a model counts in a text: a quarter of its ASCII characters, and each other character as one; rounded up.
 */
uint32_t recall_tokens(struct str text);

#endif
