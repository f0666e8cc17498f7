/* Vectors that were kept, and whether another one is near to one of them: for leaving out what says the same again.
 *
 * Nearly all pairs are far from near, and their high planes alone prove it: the cosine of these errs by no more than a bound that
 * is added to it. The exact cosine (vector_cosine with the kept vector as the question) is computed of the rest only, so the answer
 * is the same as by exact cosines alone.
 *
 * Not for several threads at once. */
#ifndef CENOTE_INDEX_VECTOR_NEAR_H
#define CENOTE_INDEX_VECTOR_NEAR_H

#include "index/vector.h"

struct near_kept;
struct vector_near {
	struct arena *a;
	uint32_t dims;
	size_t size, n, cap;
	double least;	     /* a cosine of at least this is near */
	uint8_t *high, *low; /* the kept ones' planes, one after the other */
	int8_t *coarse;	     /* the one that is looked for */
	int32_t *dots;	     /* cap */
	struct near_kept *kept;
};

/* At most cap vectors of dims are kept, in memory of the arena. */
enum err vector_near_init(struct vector_near *w, struct arena *a, uint32_t dims, double least, size_t cap) MUST_CHECK;
/* *at: of the kept vectors that v is near to the one that was kept first, by its number from 0; -1: none. v: in padded planes
 * (vector_scope_get), of the same dimensions, of length 1 within 1 %. */
enum err vector_near_find(struct vector_near *w, const struct vector *v, ptrdiff_t *at) MUST_CHECK;
/* Keeps a copy of v; false: there is no room. */
bool vector_near_keep(struct vector_near *w, const struct vector *v);

#endif
