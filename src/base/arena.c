/* Arenas: a list of blocks, the newest small one being filled from the front.
 *
 * Invariants
 *  1. cur..end lies in the newest small block (BLOCK bytes, from the cache); an allocation that is too big for a small block has a
 *     block of its own, so that small blocks are filled to the end.
 *  2. Under AddressSanitizer everything in a block that is not handed out is poisoned, and GAP bytes stay poisoned between two
 *     allocations.
 *  3. A thread's cache holds at most CACHE_MAX blocks; they are freed when the thread ends. */
#include "base/arena.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#endif
#ifdef WITH_ASAN
#include <sanitizer/asan_interface.h>
#define POISON(p, n) ASAN_POISON_MEMORY_REGION((p), (n))
#define UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION((p), (n))
#define GAP 16
#else
#define POISON(p, n) ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
#define GAP 0
#endif

#define ALIGN ((size_t)16)
#define BLOCK ((size_t)4096)
#define CACHE_MAX 64u

struct arena_block {
	struct arena_block *next;
	size_t size; /* the whole block, this head included; BLOCK for small ones */
};
#define HEAD sizeof(struct arena_block)
_Static_assert(HEAD % 16 == 0, "what follows the head must be aligned");

static _Thread_local struct arena_block *cache;
static _Thread_local unsigned cached;
static _Thread_local bool watched; /* the destructor is armed for this thread */
static pthread_key_t cache_key;
static pthread_once_t cache_once = PTHREAD_ONCE_INIT;
static bool have_key;

static void cache_free(void *unused)
{
	while (cache) {
		struct arena_block *b = cache;

		cache = b->next;
		UNPOISON(b, b->size);
		free(b);
	}
	cached = 0;
	/* Another destructor may still release an arena: then the cache arms itself again. */
	watched = false;
}

static void cache_setup(void)
{
	have_key = pthread_key_create(&cache_key, cache_free) == 0;
}

static char *data_of(struct arena_block *b)
{
	return (char *)b + HEAD;
}

static struct arena_block *block_new(size_t size)
{
	struct arena_block *b = NULL;

	if (size == BLOCK && cache) {
		b = cache;
		cache = b->next;
		cached--;
	} else {
		b = malloc(size);
		if (!b)
			return NULL;
		b->size = size;
		POISON(data_of(b), size - HEAD);
	}
	return b;
}

static void block_free(struct arena_block *b)
{
	if (b->size == BLOCK && cached < CACHE_MAX) {
		if (!watched) {
			pthread_once(&cache_once, cache_setup);
			watched = have_key && pthread_setspecific(cache_key, &cache_key) == 0;
		}
		if (watched) {
			POISON(data_of(b), BLOCK - HEAD);
			b->next = cache;
			cache = b;
			cached++;
			return;
		}
	}
	UNPOISON(b, b->size);
	free(b);
}

void arena_init(struct arena *a, size_t ceiling)
{
	*a = (struct arena){.ceiling = ceiling};
}

void arena_release(struct arena *a)
{
	while (a->head) {
		struct arena_block *b = a->head;

		a->head = b->next;
		block_free(b);
	}
	a->cur = a->end = NULL;
	a->used = 0;
}

void arena_clear(struct arena *a)
{
	struct arena_block *kept = NULL;

	while (a->head) {
		struct arena_block *b = a->head;

		a->head = b->next;
		if (!kept && b->size == BLOCK)
			kept = b;
		else
			block_free(b);
	}
	a->cur = a->end = NULL;
	a->used = 0;
	if (kept) {
		kept->next = NULL;
		a->head = kept;
		a->cur = data_of(kept);
		a->end = (char *)kept + BLOCK;
		a->used = HEAD;
		POISON(a->cur, BLOCK - HEAD);
	}
}

static size_t rounded(size_t n)
{
	return n ? (n + ALIGN - 1) & ~(ALIGN - 1) : ALIGN;
}

static void *too_much(const struct arena *a, size_t n)
{
	(void)err_set(E_LIMIT, "the request needs more memory than it may use (%zu bytes more, limit %zu)", n, a->ceiling);
	return NULL;
}

static void *alloc_slow(struct arena *a, size_t n, size_t need)
{
	bool small = need + GAP <= BLOCK - HEAD;
	struct arena_block *b;

	/* used <= ceiling holds, so the subtraction is safe. */
	if (need > SIZE_MAX / 2 || need + HEAD > a->ceiling - a->used)
		return too_much(a, n);
	b = block_new(small ? BLOCK : HEAD + need + GAP);
	if (!b) {
		(void)err_set(E_LIMIT, "out of memory (%zu bytes wanted)", n);
		return NULL;
	}
	b->next = a->head;
	a->head = b;
	a->used += need + HEAD;
	if (small) {
		a->cur = data_of(b) + need + GAP;
		a->end = (char *)b + BLOCK;
	}
	UNPOISON(data_of(b), n);
	return data_of(b);
}

bool arena_has(const struct arena *a, struct str s)
{
	return a->end && s.p >= a->end - (BLOCK - HEAD) && s.p + s.n <= a->cur;
}

void *arena_alloc(struct arena *a, size_t n)
{
	size_t need = rounded(n);
	void *p;

	if (n > SIZE_MAX / 2)
		return too_much(a, n);
	if (need + GAP > (size_t)(a->end - a->cur))
		return alloc_slow(a, n, need);
	if (need > a->ceiling - a->used)
		return too_much(a, n);
	p = a->cur;
	a->cur += need + GAP;
	a->used += need;
	UNPOISON(p, n);
	return p;
}

void *arena_zalloc(struct arena *a, size_t n)
{
	void *p = arena_alloc(a, n);

	if (p)
		memset(p, 0, n);
	return p;
}

void *arena_array(struct arena *a, size_t count, size_t size)
{
	size_t n;

	if (__builtin_mul_overflow(count, size, &n))
		return too_much(a, SIZE_MAX);
	return arena_alloc(a, n);
}

/* A block of its own that is the newest one can be handed to realloc, which moves big ones without copying. */
static void *grow_block(struct arena *a, size_t old_n, size_t new_n)
{
	size_t extra = rounded(new_n) - rounded(old_n), size = HEAD + rounded(new_n) + GAP;
	struct arena_block *b;

	if (extra > a->ceiling - a->used)
		return too_much(a, new_n - old_n);
	b = realloc(a->head, size);
	if (!b) {
		(void)err_set(E_LIMIT, "out of memory (%zu bytes wanted)", new_n);
		return NULL;
	}
	b->size = size;
	a->head = b;
	a->used += extra;
	UNPOISON(data_of(b), new_n);
	POISON(data_of(b) + new_n, size - HEAD - new_n);
	return data_of(b);
}

void *arena_grow(struct arena *a, void *p, size_t old_n, size_t new_n)
{
	void *fresh;

	if (!p)
		return arena_alloc(a, new_n);
	if (new_n <= old_n)
		return p;
	if (new_n > SIZE_MAX / 2)
		return too_much(a, new_n);
	if ((char *)p + rounded(old_n) + GAP == a->cur) {
		size_t extra = rounded(new_n) - rounded(old_n);

		if (extra <= (size_t)(a->end - a->cur)) {
			if (extra > a->ceiling - a->used)
				return too_much(a, new_n - old_n);
			a->cur += extra;
			a->used += extra;
			UNPOISON(p, new_n);
			return p;
		}
	} else if (a->head && a->head->size != BLOCK && p == data_of(a->head) && a->head->size == HEAD + rounded(old_n) + GAP &&
		   HEAD + rounded(new_n) + GAP != BLOCK) {
		return grow_block(a, old_n, new_n);
	}
	fresh = arena_alloc(a, new_n);
	if (fresh && old_n)
		memcpy(fresh, p, old_n);
	return fresh;
}

struct str arena_str(struct arena *a, struct str s)
{
	char *p = s.n < SIZE_MAX ? arena_alloc(a, s.n + 1) : NULL;

	if (!p)
		return (struct str){NULL, 0};
	if (s.n)
		memcpy(p, s.p, s.n);
	p[s.n] = 0;
	return (struct str){p, s.n};
}

char *arena_cstr(struct arena *a, struct str s)
{
	/* The copy is ours: taking the const off is safe. */
	return (char *)(uintptr_t)arena_str(a, s).p;
}

struct str arena_printf(struct arena *a, const char *fmt, ...)
{
	va_list ap;
	char *p;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0)
		return (struct str){NULL, 0};
	p = arena_alloc(a, (size_t)n + 1);
	if (!p)
		return (struct str){NULL, 0};
	va_start(ap, fmt);
	vsnprintf(p, (size_t)n + 1, fmt, ap);
	va_end(ap);
	return (struct str){p, (size_t)n};
}
