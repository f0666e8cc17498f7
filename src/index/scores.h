/* Looking through the scores of rows, most of which do not count: a block at a time, by the vectors that every processor has. */
#ifndef CENOTE_INDEX_SCORES_H
#define CENOTE_INDEX_SCORES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define SCORES_BLOCK 64 /* rows that are looked at together: hardly any block has one that counts */

/* How many of n scores are above `bound`. No NaN. */
static inline size_t scores_above(const double *score, size_t n, double bound)
{
	typedef double pair __attribute__((vector_size(16)));
	typedef int64_t counts __attribute__((vector_size(16)));
	pair v[2], limit = {bound, bound};
	counts a = {0, 0}, b = a;
	size_t i = 0, rest = 0;

	for (; i + 4 <= n; i += 4) {
		memcpy(v, score + i, sizeof v);
		a += v[0] > limit; /* -1: it is */
		b += v[1] > limit;
	}
	for (; i < n; i++)
		rest += score[i] > bound;
	a += b;
	return rest - (size_t)(a[0] + a[1]);
}

#endif
