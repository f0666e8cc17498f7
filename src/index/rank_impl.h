/* What the files of the ranker share; private to them. Arrays over all rows and messages come from the heap: the arena of a request
 * has a ceiling that a large scope would break. */
#ifndef CENOTE_INDEX_RANK_IMPL_H
#define CENOTE_INDEX_RANK_IMPL_H

#include "index/rank.h"

struct ranker {
	const struct scope *s;
	const struct scope_order *o;
	const struct rank_request *rq;
	struct rank_result *out;
	struct arena *a;
	struct query_term *q, *pairs;
	size_t q_n, pairs_n;
	bool asks_when, asks_told;
	uint16_t speaker; /* the one that the question names; 0: none or several */
	double best;	  /* M */
	double idf_sum;	  /* of the terms that the scope has */
	/* over row slots */
	double *bm, *bm_pair;
	uint64_t *mask;
	/* over messages, in the scope's order */
	double *lex;
	uint8_t *admitted;
	double *cosine; /* NULL: no vectors in use; NaN: has none, or not of a candidate nor its next */
	/* over threads */
	double *sess;
	uint8_t *thread_wanted; /* NULL: all */
	uint32_t *picked;
	size_t picked_n;
	double lowest, highest, mean; /* of max(0, cosine): least of the candidates, greatest of all, mean v of the candidates */
};

enum err rank_no_memory(void);
/* Closeness of message i to the dates of the question. */
double rank_date(const struct ranker *k, uint32_t i);

/* rank_pick.c: chooses the candidates. */
enum err rank_pick(struct ranker *k) MUST_CHECK;

/* rank_vector.c */
/* Decides whether vectors count. */
enum err rank_vectors_begin(struct ranker *k) MUST_CHECK;
/* The admitted messages nearest to the question, `want` at most, as indexes into the order, ascending. */
enum err rank_nearest(struct ranker *k, size_t want, uint32_t **out, size_t *n) MUST_CHECK;
/* Cosines of the candidates and what follows each, and what v is made of. */
enum err rank_vectors_measure(struct ranker *k) MUST_CHECK;
/* v of message i, which is a candidate or follows one. */
double rank_v(const struct ranker *k, uint32_t i);
/* v of what follows message i in its thread, 0 when nothing does. */
double rank_vnext(const struct ranker *k, uint32_t i);
/* Of n messages, best first, takes those that are not near to a better one, until `keep` are taken: moves them to the front. */
enum err rank_unrepeated(struct ranker *k, struct ranked *r, size_t n, size_t keep, size_t *taken) MUST_CHECK;

#endif
