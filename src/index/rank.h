/* The ranker of messages: the features of design "ranking", words only, over one scope. Pure computation; needs the scope's read
 * lock and a current order (order.h). */
#ifndef CENOTE_INDEX_RANK_H
#define CENOTE_INDEX_RANK_H

#include "base/clock.h"
#include "index/order.h"
#include "index/question.h"

enum rank_feature { RF_LEX, RF_PAIR, RF_PREV2, RF_SESS, RF_DATE, RF_WHEN, RF_COVER, RF_ANSWER, RF_ASK, RF_SPK, RF_USER, RF_COUNT };
const char *rank_feature_name(enum rank_feature f);
/* Weight without vectors; 0 when the feature does not apply to scopes with (without) roles. */
double rank_weight(enum rank_feature f, bool roles);

#define RANK_WHOLE_BELOW 1000 /* admitted messages; more are reached through the best of each arm */
#define RANK_PER_ARM 200      /* at least, and 4 times the results asked for */

struct ranked;
/* Whether anything in the question speaks for it: a word, a pair, a neighbour, its conversation, a date, a speaker. Its role and
 * its form alone do not. */
bool rank_evidence(const struct ranked *m);

struct rank_request {
	struct str query;
	const struct str *threads; /* NULL: all */
	size_t threads_n;
	int64_t from_us, to_us; /* 0: open; both inclusive */
	size_t want;
	uint32_t langs; /* used when the scope is empty */
};
struct ranked {
	int64_t id, time_us;
	double sum;   /* of feature times weight */
	double score; /* [0, 1]: sum between the least (or 0, if that is less) and the highest of all candidates */
	double f[RF_COUNT];
};
struct rank_result {
	struct ranked *r;
	size_t n;
	size_t admitted, candidates;
	bool roles;
	bool newest_first;	  /* no words and no date in the question */
	struct query_term *terms; /* prepared, ascending by id */
	size_t terms_n;
	struct span *spans;
	size_t spans_n;
	uint64_t messages, passages;
};
enum err rank_messages(const struct scope *s, struct arena *a, const struct rank_request *rq, struct rank_result *out) MUST_CHECK;

#endif
