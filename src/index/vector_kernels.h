/* The inner loops over vectors of bytes, in the forms that processors have. All forms give the same integers.
 *
 * Sizes are in bytes of a padded vector: a multiple of VECTOR_PAD, at most VECTOR_DIMS_MAX. A byte u of a plane stands for u - 128.
 * Pure functions: thread-safe. */
#ifndef CENOTE_INDEX_VECTOR_KERNELS_H
#define CENOTE_INDEX_VECTOR_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vector_kernel {
	const char *name;
	/* out[i] = the dot product of question (values -127..127) and row i of n rows, one every `size` bytes; sum: of the
	 * question's values. */
	void (*scan)(const uint8_t *rows, size_t n, size_t size, const int8_t *question, int32_t sum, int32_t *out);
	/* The dot product of question (values -VECTOR_FINE..VECTOR_FINE) and one row. */
	int64_t (*fine)(const uint8_t *row, size_t size, const int16_t *question);
};

/* A lane of 32 bits takes two products in every 32 dimensions: 2 * VECTOR_FINE * 128 * VECTOR_DIMS_MAX / 32 < 2^31. */
#define VECTOR_FINE 32767

/* The fastest that this processor has; looked up once. Never NULL. */
const struct vector_kernel *vector_kernel(void);
/* All that this processor has, slowest first; the first is the portable one. */
#define VECTOR_KERNELS_MAX 3
size_t vector_kernels(const struct vector_kernel *out[VECTOR_KERNELS_MAX]);

#endif
