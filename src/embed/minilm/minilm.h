/* The built-in encoder as a driver of core/embed.h: a folder with a BERT sentence model (all-MiniLM-L6-v2) becomes an embedder.
 *
 * The folder holds config.json, vocab.txt and model.safetensors, and may hold 1_Pooling/config.json. Everything but the numbers of
 * the large tensors is checked when it is opened (about 5 ms); they are read and packed when the first text comes
 * (docs/design/encoder.md has times and sizes), so that a process that never encodes has neither their memory nor their time.
 *
 * embedder.model is MINILM_MODEL for the original weights; for others "bert-<dims>-<fingerprint>", so that vectors of different
 * weights are never compared. */
#ifndef CENOTE_EMBED_MINILM_MINILM_H
#define CENOTE_EMBED_MINILM_MINILM_H

#include "core/embed.h"

#define MINILM_MODEL "all-MiniLM-L6-v2"

/* E_NOT_FOUND: a file is not there; E_CORRUPT, E_INVALID, E_LIMIT, E_IO: it cannot be used, the sentence says which and why. */
enum err minilm_open(struct str folder, struct embedder **out) MUST_CHECK;
/* The same with every number as float32 (90 MB of file mapped, five times slower): what 8 bits are compared with. */
enum err minilm_open_f32(struct str folder, struct embedder **out) MUST_CHECK;

#endif
