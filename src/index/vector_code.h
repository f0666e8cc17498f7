/* Codes of vectors: one bit a dimension and two numbers, from which a cosine can be told to about 0.75 / sqrt(dims) (one standard
 * deviation; 0.038 of 384 dimensions) times the distances of both from the centre of the codes. For scopes whose vectors are too
 * many for memory: the code says which of them to read.
 *
 * The centre is the mean of many vectors of the scope, or 0. A code is the signs of what is left of the vector without it, after a
 * fixed rotation, which spreads that over all dimensions whatever it was. With r and p for what is left of the vector and of the
 * question, c for the centre, and s for the signs of r, the cosine is <r, p> + <r, c> + <c, question>; the last two are known, and
 * <r, p> is estimated as <s, p> |r|^2 / <s, r>, which is right on average (RaBitQ: Gao and Long, SIGMOD 2024). Embeddings mostly
 * have much in common: that part then costs no precision. The question is kept in 5 bits a dimension; what that adds to the error
 * is small beside it.
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
/* One standard deviation of an estimate at distance 1 of both. */
double vector_code_error(uint32_t dims);
/* Turns dims floats as the vectors of codes are turned; centres are means that were. */
void vector_code_rotate(float *x, uint32_t dims);
struct vector_code_row {
	float factor, shift; /* |r|^2 / <s, r>; <r, c> */
};
/* Writes the code (vector_code_words) of v around a centre of dims floats; scratch: as many. */
struct vector_code_row vector_code_make(const struct vector *v, const float *centre, float *scratch, uint64_t *code);

struct vector_code_question {
	size_t words;
	uint64_t *planes; /* VECTOR_CODE_PLANES words for every word of a code */
	float least, step, sum;
	float base;	 /* <c, question> */
	double distance; /* |p| */
};
enum err vector_code_question(struct arena *a, const struct vector_question *q, const float *centre,
			      struct vector_code_question *out) MUST_CHECK;
/* out[i]: the cosine estimated from code i of n. */
void vector_code_scan(const struct vector_code_question *q, const uint64_t *codes, const struct vector_code_row *rows, size_t n,
		      float *out);

#endif
