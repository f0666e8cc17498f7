/* A cache in front of an encoder: vectors of texts by content, below a ceiling of memory, least recently used first to go.
 * Thread-safe.
 *
 * A call asks the encoder only for the texts that are not there, each once. Vectors of calls with many texts (EMBED_CACHE_WARM and
 * more, as indexing makes them) are put at the cold end, so that they do not drive out the questions that are asked again. Several
 * calls for one same text at once make one call of the encoder. */
#ifndef CENOTE_EMBED_CACHE_H
#define CENOTE_EMBED_CACHE_H

#include "base/buf.h"
#include "core/embed.h"

#define EMBED_CACHE_WARM 16

/* Owns inner: closes it with itself, or when this fails. bytes: ceiling of all entries; 0: inner itself is given back. */
enum err embed_cache_open(struct embedder *inner, size_t bytes, struct embedder **out) MUST_CHECK;

struct embed_cache_stats {
	uint64_t hits, misses, shared, evictions; /* shared: answered by a call for the same text that was under way */
	size_t bytes, entries;
};
/* e must be what embed_cache_open gave; false: it has no cache. */
bool embed_cache_stats(struct embedder *e, struct embed_cache_stats *out);

#endif
