/* Codes of vectors: one bit a dimension and a factor, from which a cosine can be told to about 0.75 / sqrt(dims) (one standard
 * deviation; 0.038 of 384 dimensions). For scopes whose vectors are too many for memory: the code says which of them to read.
 *
 * A code is the signs of the vector after a fixed rotation, which spreads it over all dimensions whatever it was. The cosine with a
 * question is estimated as <signs, rotated question> / <signs, rotated vector>, which is right on average (RaBitQ: Gao and Long,
 * SIGMOD 2024). The question is kept in 5 bits a dimension; what that adds to the error is small beside it.
 *
 * Codes live in memory only, so that the rotation may change from version to version. Pure functions: thread-safe. */
#ifndef CENOTE_INDEX_VECTOR_CODE_H
#define CENOTE_INDEX_VECTOR_CODE_H

#include "index/vector.h"

#define VECTOR_CODE_PLANES 5

static inline size_t vector_code_words(uint32_t dims)
{
	return ((size_t)dims + 63) / 64;
}
/* One standard deviation of an estimate. */
double vector_code_error(uint32_t dims);
/* Writes the code (vector_code_words) of v; scratch: dims floats. Gives the factor. */
float vector_code_make(const struct vector *v, float *scratch, uint64_t *code);

struct vector_code_question {
	size_t words;
	uint64_t *planes; /* VECTOR_CODE_PLANES words for every word of a code */
	float least, step, sum;
};
enum err vector_code_question(struct arena *a, const struct vector_question *q, struct vector_code_question *out) MUST_CHECK;
/* out[i]: the cosine estimated from code i of n. */
void vector_code_scan(const struct vector_code_question *q, const uint64_t *codes, const float *factors, size_t n, float *out);

#endif
