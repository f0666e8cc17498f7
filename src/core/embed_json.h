/* Vectors as JSON, for protocols. */
#ifndef CENOTE_CORE_EMBED_JSON_H
#define CENOTE_CORE_EMBED_JSON_H

#include "base/buf.h"
#include "core/embed.h"

/* Appends {"object":"embedding","index":i,"embedding":V} for vectors [from, to), with commas between; V is an array of numbers that
 * read back the same float32, or with packed their little-endian bytes in base64. What takes longer than a loop may stand still
 * runs on the CPU pool. */
enum err embed_json(const struct embed_vectors *v, size_t from, size_t to, bool packed, struct buf *out) MUST_CHECK;

#endif
