/* How the rows of a vector scope lie in memory; for vector_scope.c and vector_scan.c only. */
#ifndef CENOTE_INDEX_VECTOR_BLOCK_H
#define CENOTE_INDEX_VECTOR_BLOCK_H

#include "index/vector_scope.h"

#define VECTOR_CHUNK 64 /* rows that are scanned at a time: a word of a bitmap. A full block is a multiple of it */

struct vector_block {
	uint8_t *high, *low; /* cap padded planes each; coded: codes, NULL */
	int64_t *ids;
	float *scales;		       /* coded: NULL */
	struct vector_code_row *codes; /* coded: what belongs to each code; else NULL */
	uint32_t cap;
};

struct vector_row {
	struct vector_block *block;
	uint32_t i;
};
static inline struct vector_row vector_row_at(const struct vector_scope *s, uint32_t row)
{
	return (struct vector_row){&s->blocks[row / s->per_block], row % s->per_block};
}

#endif
