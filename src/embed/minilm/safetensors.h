/* Reader of safetensors files: 8 bytes (little-endian) with the length of a JSON header, the header, and behind it the tensors'
 * bytes. Source: the description of the format in the README of github.com/huggingface/safetensors.
 *
 * What the header claims is checked against the file before anything is believed: the tensors lie inside the file, each has exactly
 * the bytes that its shape asks for, and together they have the bytes that there are. Nothing is allocated but nodes for the
 * header's own text (at most SAFETENSORS_HEADER_MAX bytes).
 *
 * Thread safety: immutable once parsed. */
#ifndef CENOTE_EMBED_MINILM_SAFETENSORS_H
#define CENOTE_EMBED_MINILM_SAFETENSORS_H

#include "base/arena.h"

#define SAFETENSORS_HEADER_MAX (1u << 20) /* bytes */
#define SAFETENSORS_RANK_MAX 8u
#define SAFETENSORS_ARENA ((size_t)24 << 20) /* enough for any header of that length */

struct tensor {
	struct str name;
	struct str dtype; /* "F32", as the header has it; one that is known */
	uint32_t rank;
	uint64_t shape[SAFETENSORS_RANK_MAX];
	struct str data; /* slice of the file */
};
struct safetensors {
	struct tensor *v; /* in the header's order */
	size_t n;
};

/* file must outlive what is found in it. E_CORRUPT: the diagnostic says what is wrong, and names the tensor; E_LIMIT: the header is
 * too long. */
enum err safetensors_parse(struct arena *a, struct str file, struct safetensors *out) MUST_CHECK;
/* NULL when there is none. */
const struct tensor *safetensors_find(const struct safetensors *s, struct str name);
/* The numbers of the tensor `name`, which must be F32 of just that shape (rank 1 or 2; rows 0: rank 1) and aligned to 4 bytes;
 * E_CORRUPT otherwise. */
enum err safetensors_f32(const struct safetensors *s, struct str name, uint64_t rows, uint64_t cols, const float **out) MUST_CHECK;

#endif
