/* A BERT encoder with mean pooling: tokens of texts into vectors of length 1.
 *
 *  1. The texts of a batch lie one behind the other, without padding: every matrix product goes over all their rows at once, and
 *     attention over each text's own. A text's vector does not depend on what else is in the batch.
 *  2. A batch and what it needs to be worked on have a fixed size; nothing is allocated while it runs.
 *  3. Every vector given is finite and has length 1.
 *
 * Source of the network: J. Devlin et al., BERT (2018); its layers, names and order are those of config.json and the file of
 * weights. Thread safety: an encoder is immutable; each batch belongs to one thread at a time. */
#ifndef CENOTE_EMBED_MINILM_ENCODER_H
#define CENOTE_EMBED_MINILM_ENCODER_H

#include "embed/minilm/weights.h"

/* A batch is full when it has so many rows: more does not help, and a question may have to wait for a batch before it (9 ms, 28
 * with a text of 256 tokens at its end). */
#define ENCODER_ROWS 128u
#define ENCODER_ROWS_MAX (ENCODER_ROWS - 1 + KERNEL_TEXT_MAX)
#define ENCODER_TEXTS_MAX (ENCODER_ROWS / 2 + 1)

struct encoder {
	const struct weights *weights; /* loaded */
	const struct kernels *k;
};

struct encoder_batch {
	uint32_t rows, texts;
	uint32_t ids[ENCODER_ROWS_MAX]; /* of all texts */
	uint32_t length[ENCODER_TEXTS_MAX];
	float *to[ENCODER_TEXTS_MAX]; /* where each text's vector goes: hidden numbers */
	float *room;
};

/* E_LIMIT: no memory. */
enum err encoder_batch_new(const struct encoder *e, struct encoder_batch **out) MUST_CHECK;
void encoder_batch_free(struct encoder_batch *b);
/* Where the ids of the next text go, at most weights->window, and taking over n of them (1 or more). Only while rows <
 * ENCODER_ROWS. */
static inline uint32_t *encoder_next(struct encoder_batch *b)
{
	return b->ids + b->rows;
}
static inline void encoder_add(struct encoder_batch *b, size_t n, float *to)
{
	b->to[b->texts] = to;
	b->length[b->texts++] = (uint32_t)n;
	b->rows += (uint32_t)n;
}
/* Encodes the texts and empties the batch. E_INTERNAL: an id beyond the vocabulary; E_CORRUPT: the weights lead to no vector. */
enum err encoder_run(const struct encoder *e, struct encoder_batch *b) MUST_CHECK;

#endif
