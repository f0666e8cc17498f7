/* BM25: what is computed once per query. */
#include "index/bm25.h"

#include <math.h>

struct bm25 bm25_of(uint64_t docs, uint64_t total_length)
{
	struct bm25 c = {.average = docs ? (double)total_length / (double)docs : 0.0};

	c.base = BM25_K1 * (1.0 - BM25_B);
	c.slope = c.average > 0 ? BM25_K1 * BM25_B / c.average : 0.0;
	return c;
}

double bm25_idf(uint64_t docs, uint64_t df)
{
	return log(1.0 + ((double)docs - (double)df + 0.5) / ((double)df + 0.5));
}
