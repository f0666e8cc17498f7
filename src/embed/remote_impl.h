/* What the files of the driver for services share. */
#ifndef CENOTE_EMBED_REMOTE_IMPL_H
#define CENOTE_EMBED_REMOTE_IMPL_H

#include "core/embed.h"

/* Reads {"data":[{"index","embedding"}..],"usage"?} of n texts: numbers or base64 of little-endian float32, in any order.
 * *dims 0: becomes what the answer has; else every vector must have so many. out: room for n times EMBED_DIMS_MAX is not needed, it
 * is allocated in a: n times *dims, each vector of length 1, in the order of the texts. scratch holds the parsed text. E_UPSTREAM:
 * no JSON (cut off); E_CORRUPT: wrong count, index, dimensions, not finite, length 0. No text is quoted. */
enum err remote_answer(struct arena *scratch, struct arena *a, struct str body, size_t n, uint32_t *dims, float **out,
		       uint64_t *tokens) MUST_CHECK;

#endif
