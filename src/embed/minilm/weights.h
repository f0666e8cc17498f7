/* The weights of a model, ready for kernels.h: layers and word embeddings with 8 bits a number, or all as float32 where they lie in
 * the file.
 *
 *  1. With 8 bits the file is read once, front to back as layers need it, and not needed afterwards: what stays is one block of
 *     memory of our own (23 MB for MiniLM). With float32 the file stays mapped.
 *  2. Every number is finite: a tensor with another one is refused by name.
 *  3. While a file is mapped it must not be shortened in place by others (replacing it by another file is fine).
 *
 * Thread safety: immutable once loaded. */
#ifndef CENOTE_EMBED_MINILM_WEIGHTS_H
#define CENOTE_EMBED_MINILM_WEIGHTS_H

#include "embed/minilm/config.h"
#include "embed/minilm/kernels.h"
#include "embed/minilm/safetensors.h"

enum weights_form { WEIGHTS_INT8, WEIGHTS_F32 };

/* A matrix product of the model in either form; qkv has three in float32. */
struct product {
	struct packed packed;
	struct dense dense[3];
	uint32_t parts; /* of dense that are used */
};
struct norm_weights {
	float *gain, *shift;
};
struct layer {
	struct product qkv, mix, up, down;
	struct norm_weights after_mix, after_down;
};
struct weights {
	struct bert_shape shape;
	enum weights_form form;
	uint32_t window;      /* tokens of a text: positions that are kept */
	float *positions;     /* window rows of hidden: position and first type together */
	int8_t *words;	      /* int8: vocabulary rows of hidden */
	float *word_scale;    /* int8: one a row */
	const float *words32; /* float32 */
	struct norm_weights first;
	struct layer *layers;
	uint64_t print; /* fingerprint: of all biases and norms. Other weights, other number */
	/* weights.c's own */
	struct str map;
	char *block;
	size_t block_n, used;
};

/* Maps the file and checks that it is one of this shape; reads no weights but biases and norms. E_IO: it cannot be read; E_CORRUPT.
 */
enum err weights_open(struct weights *w, const char *path, const struct bert_shape *shape, enum weights_form form) MUST_CHECK;
/* Makes it ready for kernels of any form (k does the work); once. E_CORRUPT: a number is not finite. */
enum err weights_load(struct weights *w, const struct kernels *k) MUST_CHECK;
void weights_close(struct weights *w); /* also after a failed open */

#endif
