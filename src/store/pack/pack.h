/* How the compact layout keeps what successive versions of a channel have in common only once. Pure functions, thread-safe.
 *
 * A value is cut into chunks at places that its content decides (a gear hash over the last bytes), after a first chunk of fixed
 * length, because the head of a msgpack array holds its length. A chunk is named by the first 16 bytes of its SHA-256; a stream
 * (one channel of a thread and namespace) stores each chunk once, compressed. A version is then the list of its chunks' numbers
 * within the stream. A list that grew at its end costs the chunks behind the last cut, and its list. */
#ifndef CENOTE_STORE_PACK_H
#define CENOTE_STORE_PACK_H

#include "base/arena.h"
#include "base/buf.h"

#define PACK_NAME 16
/* Values up to this size are kept whole, compressed. */
#define PACK_WHOLE 512

struct pack_chunk {
	uint8_t name[PACK_NAME];
	struct str bytes; /* in the value */
};
/* Cuts and names. Mean size grows with the value's: 512 bytes below 256 KiB, 2 KiB below 4 MiB, 16 KiB above. At least one chunk.
 */
enum err pack_cut(struct arena *a, struct str value, struct pack_chunk **out, size_t *n) MUST_CHECK;

/* Compressed form: a byte that says how (0: as is), the length, the bytes; zstd with a dictionary of what checkpoints of LangGraph
 * say again and again (dict.h; its text must never change, it is part of the stored format: a new one gets a new number). */
enum err pack_squeeze(struct arena *a, struct str raw, struct str *out) MUST_CHECK;
/* E_CORRUPT when it is not such a form, or longer than max. */
enum err pack_expand(struct arena *a, struct str squeezed, size_t max, struct str *out) MUST_CHECK;
/* Appends to b (whose limit holds). */
enum err pack_expand_to(struct buf *b, struct str squeezed, size_t max) MUST_CHECK;

/* A list of chunk numbers (1..) as bytes: differences, runs; and back. E_CORRUPT. */
enum err pack_list(struct arena *a, const int64_t *ids, size_t n, struct str *out) MUST_CHECK;
enum err pack_unlist(struct arena *a, struct str list, int64_t **ids, size_t *n) MUST_CHECK;

#endif
