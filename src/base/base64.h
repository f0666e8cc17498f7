/* Base64 with padding (RFC 4648, section 4). Thread-safe. */
#ifndef CENOTE_BASE_BASE64_H
#define CENOTE_BASE_BASE64_H

#include "base/buf.h"

/* Bytes of the text of n bytes. */
static inline size_t base64_size(size_t n)
{
	return (n + 2) / 3 * 4;
}
/* Appends. */
void base64_put(struct buf *out, const void *p, size_t n);
/* Strict: alphabet, padding, no leftover bits; false otherwise. *n in: room of out, out: bytes. */
bool base64_decode(struct str s, uint8_t *out, size_t *n);

#endif
