/* BM25 as every part of Cenote computes it: k1 0.9, b 0.4, idf ln(1 + (N - df + .5)/(df + .5)), doubles. The expressions stand here
 * once, so that scores are the same bits wherever they are computed; sums run over the terms in ascending order of id. */
#ifndef CENOTE_INDEX_BM25_H
#define CENOTE_INDEX_BM25_H

#include <stdint.h>

#define BM25_K1 0.9
#define BM25_B 0.4

/* Figures of a collection, ready for use. */
struct bm25 {
	double base, slope; /* k1 (1 - b), k1 b / average length */
	double average;
};
struct bm25 bm25_of(uint64_t docs, uint64_t total_length);
double bm25_idf(uint64_t docs, uint64_t df);

/* What one term adds to the score of a document; weighted_idf = w * idf. */
static inline double bm25_part(const struct bm25 *c, double weighted_idf, uint32_t tf, uint32_t length)
{
	double f = (double)tf;

	return weighted_idf * (f * (BM25_K1 + 1.0)) / (f + (c->base + c->slope * (double)length));
}

#endif
