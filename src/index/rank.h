/* The ranker of messages: the features of design "ranking" over one scope, by words and, where there are vectors, by meaning. Pure
 * computation; needs the scope's read lock and a current order (order.h). */
#ifndef CENOTE_INDEX_RANK_H
#define CENOTE_INDEX_RANK_H

#include "base/clock.h"
#include "index/order.h"
#include "index/question.h"
#include "index/vector_scope.h"

enum rank_feature {
	RF_LEX,
	RF_PAIR,
	RF_PREV2,
	RF_SESS,
	RF_DATE,
	RF_WHEN,
	RF_V,
	RF_VNEXT,
	RF_COVER,
	RF_ANSWER,
	RF_ASK,
	RF_SPK,
	RF_USER,
	RF_COUNT
};
const char *rank_feature_name(enum rank_feature f);
/* Whether the feature counts in scopes with (without) roles. */
bool rank_applies(enum rank_feature f, bool roles);

/* The weights of one linear form each: messages with vectors, messages without, items. */
enum rank_form { RANK_FULL, RANK_WORDS, RANK_ITEMS, RANK_FORMS };
struct rank_weights {
	double of[RANK_FORMS][RF_COUNT];
};
#define RANK_WEIGHT_MAX 1000.0
/* Those of the design. */
const struct rank_weights *rank_weights_default(void);
/* One weight from "name=number", -1000..1000, of items 0..1000. E_INVALID: says what is wrong, and which features the form has. */
enum err rank_weight_set(struct rank_weights *w, enum rank_form form, struct str assignment) MUST_CHECK;

#define RANK_WHOLE_BELOW 1000 /* admitted messages; more are reached through the best of each arm */
#define RANK_PER_ARM 200      /* at least, and 4 times the results asked for */
#define RANK_NEAR_MAX 200     /* results that others are compared with, to leave out what says the same again */

/* By what messages are compared with the question. RANK_AUTO: words and vectors, when at least half of the admitted messages have
 * one (else an encoder that has only begun would favour what it has seen), words alone otherwise. */
enum rank_mode { RANK_AUTO, RANK_BY_WORDS, RANK_BY_VECTORS /* alone; messages without one are left out */ };

struct rank_request {
	struct str query;
	const struct str *threads; /* NULL: all */
	size_t threads_n;
	int64_t from_us, to_us; /* 0: open; both inclusive */
	size_t want;		/* decides how many candidates there are */
	size_t keep;		/* how many are returned at most, 0: want */
	uint32_t langs;		/* used when the scope is empty */
	enum rank_mode mode;
	const struct rank_weights *weights;	/* NULL: the default ones */
	const struct vector_scope *vectors;	/* of the same messages, by id; NULL: none */
	const struct vector_question *question; /* NULL: words alone. Of other dimensions than vectors: E_INVALID */
	double near; /* what has at least this cosine with one of the best RANK_NEAR_MAX results is not returned; 0: all are */
};
struct ranked {
	int64_t id, time_us;
	double sum;    /* of feature times weight */
	double score;  /* [0, 1]: sum between the least (or 0, if that is less) and the highest of all candidates */
	double cosine; /* with the question; NaN: no vector, or none were asked for */
	double f[RF_COUNT];
};
/* Whether anything in the question speaks for it: a word, a pair, a neighbour, its conversation, a date, a speaker, a direction in
 * common. Its role and its form alone do not. */
bool rank_evidence(const struct ranked *m);

struct rank_result {
	struct ranked *r;
	size_t n;
	size_t admitted, candidates;
	size_t repeated; /* candidates left out because they are near to a better one */
	bool roles;
	bool newest_first;	  /* no words, no date and no vector in the question */
	enum rank_mode mode;	  /* what was done: RANK_AUTO means words and vectors */
	double weights[RF_COUNT]; /* as they were used; 0: the feature does not apply */
	struct query_term *terms; /* prepared, ascending by id */
	size_t terms_n;
	struct span *spans;
	size_t spans_n;
	uint64_t messages, passages;
};
enum err rank_messages(const struct scope *s, struct arena *a, const struct rank_request *rq, struct rank_result *out) MUST_CHECK;

/* The question as it is to be encoded: without the names of the scope's speakers. Points into query or the arena. */
enum err rank_question_text(const struct scope *s, struct arena *a, struct str query, struct str *out) MUST_CHECK;

#endif
