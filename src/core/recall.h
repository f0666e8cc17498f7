/* Recall: the question's words against the messages and items of a scope, best first (design/ranking.md; words-only weights until
 * vectors exist). */
#ifndef CENOTE_CORE_RECALL_H
#define CENOTE_CORE_RECALL_H

#include "core/session.h"

struct recall_request {
	struct str query;
	const struct str *user; /* NULL: the principal's; a bound principal may name only itself */
	const struct str *threads;
	size_t threads_n;
	const struct str *namespaces; /* text with dots */
	size_t namespaces_n;
	bool want_messages, want_items; /* kinds; both false = both */
	struct filter *filter;		/* items only */
	int64_t from_us, to_us;		/* 0: open */
	uint32_t limit;			/* 1..1000 */
	uint32_t budget_tokens;		/* 0: none; texts are dropped from the end when bytes/4 exceed it */
	bool explain;
	const char **why; /* out, may be NULL: why there are fewer results than limit; NULL when there are not */
};
struct recall_hit {
	bool is_item;
	struct message message; /* when not is_item */
	struct item item;
	double score;	    /* [0, 1] within one answer */
	struct str explain; /* JSON object */
};
enum err recall(struct memory *m, struct arena *a, const struct principal *who, const struct recall_request *rq,
		struct recall_hit **out, size_t *n) MUST_CHECK;

#endif
