/* What config.json says about a model, and which models can be run: BERT encoders with absolute positions and the exact gelu. */
#ifndef CENOTE_EMBED_MINILM_CONFIG_H
#define CENOTE_EMBED_MINILM_CONFIG_H

#include "base/arena.h"

struct bert_shape {
	uint32_t layers, hidden, heads, inner; /* inner: numbers between the two products of the feed-forward part */
	uint32_t vocabulary, positions, types;
	float eps; /* of the layer norms */
};

/* text: config.json. E_CORRUPT: no JSON, or a value is missing or odd; E_INVALID: a model of another architecture or size. Both
 * with a sentence that says what is read instead. */
enum err bert_config(struct arena *a, struct str text, struct bert_shape *out) MUST_CHECK;
/* text: 1_Pooling/config.json. E_INVALID unless the mean of the tokens is taken, and nothing else. */
enum err bert_pooling(struct arena *a, struct str text) MUST_CHECK;

#endif
