/* Slices: a pointer and a length, never owning, never NUL-terminated by contract. A slice lives as long as what it points into.
 * Thread safety: values; as safe as the bytes behind them. */
#ifndef CENOTE_BASE_STR_H
#define CENOTE_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str {
	const char *p; /* may be NULL only when n is 0 */
	size_t n;      /* bytes */
};

/* A slice of a string literal; usable in initialisers as well as in expressions. */
#define STR(lit) ((struct str){(lit), sizeof(lit) - 1})
#define STR_INIT(lit)                                                                                                              \
	{                                                                                                                          \
		(lit), sizeof(lit) - 1                                                                                             \
	}
/* For printf: printf("%.*s", STR_ARG(s)). */
#define STR_ARG(s) ((int)((s).n > INT32_MAX ? INT32_MAX : (s).n)), ((s).p ? (s).p : "")

static inline struct str str_of(const char *p, size_t n)
{
	return (struct str){p, n};
}

/* NULL gives the empty slice. */
static inline struct str str_c(const char *cstr)
{
	return (struct str){cstr, cstr ? strlen(cstr) : 0};
}

static inline bool str_eq(struct str a, struct str b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* Order by bytes (for UTF-8: by code point); a prefix sorts before what it begins. Returns <0, 0, >0. */
static inline int str_cmp(struct str a, struct str b)
{
	size_t n = a.n < b.n ? a.n : b.n;
	int c = n ? memcmp(a.p, b.p, n) : 0;
	return c ? c : (a.n > b.n) - (a.n < b.n);
}

static inline bool str_starts(struct str s, struct str prefix)
{
	return s.n >= prefix.n && (prefix.n == 0 || memcmp(s.p, prefix.p, prefix.n) == 0);
}

static inline bool str_ends(struct str s, struct str suffix)
{
	return s.n >= suffix.n && (suffix.n == 0 || memcmp(s.p + s.n - suffix.n, suffix.p, suffix.n) == 0);
}

/* Bytes [from, to) of s; both are clamped to s.n. */
static inline struct str str_sub(struct str s, size_t from, size_t to)
{
	if (to > s.n)
		to = s.n;
	if (from > to)
		from = to;
	return (struct str){s.p ? s.p + from : NULL, to - from};
}

/* Index of the first byte c at or after from, or -1. */
ptrdiff_t str_chr(struct str s, char c, size_t from);
/* ASCII case-insensitive equality (HTTP header names, booleans, units). */
bool str_ieq(struct str a, struct str b);
/* Without leading and trailing ASCII blanks, tabs, CR, LF. */
struct str str_trim(struct str s);
/* Cuts at the first c: *head is what comes before, *tail what comes after. Without c: head = s, tail empty; returns false. */
bool str_cut(struct str s, char c, struct str *head, struct str *tail);
/* The whole slice as a decimal integer in [min, max], no blanks, no plus sign. False when it is not one. */
bool str_int(struct str s, int64_t min, int64_t max, int64_t *out);
/* Damerau-Levenshtein distance of two short ASCII words (at most 64 bytes each are looked at), for "did you mean". */
unsigned str_distance(struct str a, struct str b);

#endif
