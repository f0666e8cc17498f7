/* Append-only byte buffer with a ceiling from birth and a sticky error: append as you like, look at err once at the end.
 * Memory from an arena (then no release is needed) or from malloc. Not thread-safe. */
#ifndef CENOTE_BASE_BUF_H
#define CENOTE_BASE_BUF_H

#include "base/arena.h"

struct buf {
	char *p;
	size_t n, cap, ceiling;
	struct arena *arena; /* NULL: heap, release with buf_release */
	enum err err;	     /* OK, or E_LIMIT after an append that did not fit (later appends do nothing) */
};

void buf_init(struct buf *b, struct arena *a, size_t ceiling);
void buf_release(struct buf *b); /* frees heap memory; harmless for arena buffers */
void buf_clear(struct buf *b);
void buf_put(struct buf *b, const void *p, size_t n);
void buf_str(struct buf *b, struct str s);
void buf_lit(struct buf *b, const char *cstr);
void buf_byte(struct buf *b, char c);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_u64(struct buf *b, uint64_t v); /* decimal */
void buf_i64(struct buf *b, int64_t v);
/* LEB128, as used in term blobs. */
void buf_varint(struct buf *b, uint64_t v);
/* Makes room for n more bytes and returns where they go (NULL on error); tell with buf_added how many were used. */
char *buf_room(struct buf *b, size_t n);
void buf_added(struct buf *b, size_t n);
static inline struct str buf_slice(const struct buf *b)
{
	return (struct str){b->p, b->n};
}

/* Reads one LEB128 number at *p (before end) and moves *p; false when it is cut off or longer than 10 bytes. */
bool varint_get(const uint8_t **p, const uint8_t *end, uint64_t *out);

#endif
