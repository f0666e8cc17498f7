/* Arenas: memory that is given back all at once. Every request has one, with a ceiling. Not thread-safe; one owner at a time.
 *
 * Invariants
 *  1. used <= ceiling; an allocation that would break this returns NULL and sets the diagnostic to E_LIMIT.
 *  2. Memory is aligned to 16 bytes and not cleared, unless asked.
 *  3. Blocks come from a small per-thread cache of 4 KiB blocks, larger ones from malloc; arena_clear keeps the first block. */
#ifndef CENOTE_BASE_ARENA_H
#define CENOTE_BASE_ARENA_H

#include "base/err.h"

struct arena_block;
struct arena {
	struct arena_block *head;
	char *cur, *end;
	size_t used;	/* bytes handed out, blocks' overhead included */
	size_t ceiling; /* bytes */
};

void arena_init(struct arena *a, size_t ceiling);
void arena_release(struct arena *a);
/* Everything handed out is gone; the arena can be used again. */
void arena_clear(struct arena *a);

/* NULL when the ceiling is reached or memory is short (diagnostic E_LIMIT). n = 0 gives a valid pointer. */
void *arena_alloc(struct arena *a, size_t n) __attribute__((malloc, alloc_size(2)));
void *arena_zalloc(struct arena *a, size_t n) __attribute__((malloc, alloc_size(2)));
/* count * size with overflow check. */
void *arena_array(struct arena *a, size_t count, size_t size) __attribute__((alloc_size(2, 3)));
/* Grows p (old_n bytes, or NULL) to new_n; in place when p was the last allocation. */
void *arena_grow(struct arena *a, void *p, size_t old_n, size_t new_n);
/* Copies; a NUL is put behind the copy, outside n. On failure .p is NULL and .n 0 (also for an empty s: p is not NULL). */
struct str arena_str(struct arena *a, struct str s);
char *arena_cstr(struct arena *a, struct str s);
/* Certainly lies in the arena: in the block that is being filled. false says nothing. */
bool arena_has(const struct arena *a, struct str s);
struct str arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define ARENA_NEW(a, type) ((type *)arena_zalloc((a), sizeof(type)))
#define ARENA_ARRAY(a, type, n) ((type *)arena_array((a), (n), sizeof(type)))
/* The error to return after an arena function gave NULL. */
#define E_NOMEM E_LIMIT

#endif
