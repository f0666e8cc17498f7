/* Vectors of encoders as small integers: making them, reading them, questions to compare them with.
 *
 * Only the direction of a vector is kept, since all comparing is by cosine: x / |x| is close to scale * v, where v are 16-bit
 * integers, the largest of them +-VECTOR_LEVELS. v = 256 * high + low; high (-127..127) and low (-128..127) lie in two planes of
 * bytes. A search reads the high plane of every vector and the low plane of few. Error of a cosine between unit vectors of 384
 * dimensions: one standard deviation is about 4e-4 by the high plane, 2e-6 by both.
 *
 * Zero, NaN and infinity: a vector with a component that is not finite, or with none that is not zero, has no direction and is
 * refused with E_INVALID. Any other length is taken, however small or large.
 *
 * Pure functions of their arguments: thread-safe. */
#ifndef CENOTE_INDEX_VECTOR_H
#define CENOTE_INDEX_VECTOR_H

#include "base/arena.h"
#include "index/vector_kernels.h"

#define VECTOR_DIMS_MAX 8192
#define VECTOR_PAD 64 /* planes in memory are filled up to a multiple of this with the byte that stands for 0 */
#define VECTOR_ZERO 128
#define VECTOR_LEVELS 32639 /* 127 * 256 + 127 */

/* Bytes of a padded plane. */
static inline size_t vector_size(uint32_t dims)
{
	return ((size_t)dims + VECTOR_PAD - 1) / VECTOR_PAD * VECTOR_PAD;
}

/* A vector as it lies in a blob; the planes are not padded. Valid as long as the blob. */
struct vector {
	uint32_t dims;
	float scale;
	const uint8_t *high, *low; /* dims bytes each; a byte u stands for u - 128 */
};

/* The blob of a vector, as stores keep it (little-endian):
 *
 *     0  1  version, VECTOR_VERSION
 *     1  1  0
 *     2  2  dims, 1..VECTOR_DIMS_MAX
 *     4  4  scale, IEEE 754 single precision
 *     8  dims  high plane
 *        dims  low plane; the largest magnitude of a component is VECTOR_LEVELS
 *
 * Stored blobs are read by later versions: a change of the format is a new version. */
#define VECTOR_VERSION 1
#define VECTOR_HEAD 8
static inline size_t vector_blob_bytes(uint32_t dims)
{
	return VECTOR_HEAD + 2 * (size_t)dims;
}
/* v: dims floats. E_INVALID: no such number of dimensions, or a vector without direction; E_LIMIT: memory. */
enum err vector_pack(struct arena *a, const float *v, uint32_t dims, struct str *blob) MUST_CHECK;
/* *out points into blob. E_CORRUPT: another version, another number of bytes, or not what vector_pack makes: its
 * largest component, and its length (within 1 %). */
enum err vector_unpack(struct str blob, struct vector *out) MUST_CHECK;
/* The same into padded planes: 2 * vector_size(dims) bytes, the padding already VECTOR_ZERO; out->high and ->low point there.
 * False, and no error: it is damaged, or has other dimensions. */
bool vector_load(struct str blob, uint32_t dims, uint8_t *planes, struct vector *out);
/* Memory for them; NULL: out of memory. The caller frees it. */
uint8_t *vector_planes(uint32_t dims);
/* The vector of length 1 that it stands for; out: v->dims floats. */
void vector_floats(const struct vector *v, float *out);

/* What vectors are compared with. */
struct vector_question {
	uint32_t dims;
	int8_t *coarse;	     /* vector_size(dims) values -127..127 */
	int32_t coarse_sum;  /* of these */
	double coarse_scale; /* coarse times this has length 1, nearly */
	int16_t *fine;	     /* as many values -VECTOR_FINE..VECTOR_FINE */
	double fine_scale;   /* fine times this has length 1 */
	const struct vector_kernel *kernel;
};
/* The question lives in the arena. Errors as of vector_pack. */
enum err vector_question_make(struct arena *a, const float *v, uint32_t dims, struct vector_question *out) MUST_CHECK;
/* The question that asks for what is near to a kept vector. */
enum err vector_question_like(struct arena *a, const struct vector *v, struct vector_question *out) MUST_CHECK;
/* Cosine (-1..1) of the question and a vector in padded planes; the same bits by every kernel. */
double vector_cosine(const struct vector_question *q, const uint8_t *high, const uint8_t *low, float scale);

#endif
