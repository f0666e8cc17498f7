/* Append-only byte buffer. Grows by doubling, never above its ceiling. */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define FIRST 256u

void buf_init(struct buf *b, struct arena *a, size_t ceiling)
{
	*b = (struct buf){.arena = a, .ceiling = ceiling};
}

void buf_release(struct buf *b)
{
	if (!b->arena)
		free(b->p);
	b->p = NULL;
	b->n = b->cap = 0;
}

void buf_clear(struct buf *b)
{
	b->n = 0;
	b->err = OK;
}

static char *resize(struct buf *b, size_t cap)
{
	if (b->arena)
		return arena_grow(b->arena, b->p, b->cap, cap);
	return realloc(b->p, cap);
}

/* Room for n more bytes; n > cap - n holds on entry. */
static bool grow(struct buf *b, size_t n)
{
	size_t cap = b->cap < FIRST ? FIRST : b->cap;
	char *p;

	if (n > b->ceiling - b->n) {
		b->err = err_set(E_LIMIT, "the output would be longer than %zu bytes", b->ceiling);
		return false;
	}
	while (cap < b->n + n)
		cap = cap > b->ceiling / 2 ? b->ceiling : cap * 2;
	if (cap > b->ceiling)
		cap = b->ceiling;
	p = resize(b, cap);
	if (!p && cap > b->n + n) {
		cap = b->n + n;
		p = resize(b, cap);
	}
	if (!p) {
		b->err = b->arena ? E_LIMIT : err_set(E_LIMIT, "out of memory (%zu bytes wanted)", cap);
		return false;
	}
	b->p = p;
	b->cap = cap;
	return true;
}

char *buf_room(struct buf *b, size_t n)
{
	if (b->err != OK)
		return NULL;
	/* Also for n = 0 the answer must be a valid pointer. */
	if ((n > b->cap - b->n || !b->p) && !grow(b, n))
		return NULL;
	return b->p + b->n;
}

void buf_added(struct buf *b, size_t n)
{
	b->n += n;
}

void buf_put(struct buf *b, const void *p, size_t n)
{
	char *to;

	if (!n)
		return;
	to = buf_room(b, n);
	if (!to)
		return;
	memcpy(to, p, n);
	b->n += n;
}

void buf_str(struct buf *b, struct str s)
{
	buf_put(b, s.p, s.n);
}

void buf_lit(struct buf *b, const char *cstr)
{
	buf_put(b, cstr, strlen(cstr));
}

void buf_byte(struct buf *b, char c)
{
	char *to = buf_room(b, 1);

	if (!to)
		return;
	*to = c;
	b->n++;
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	char small[128], *to;
	int n;

	if (b->err != OK)
		return;
	va_start(ap, fmt);
	n = vsnprintf(small, sizeof small, fmt, ap);
	va_end(ap);
	if (n < 0) {
		b->err = err_set(E_INTERNAL, "a value could not be formatted");
		return;
	}
	if ((size_t)n < sizeof small) {
		buf_put(b, small, (size_t)n);
		return;
	}
	/* vsnprintf wants to write a NUL, which must not count against the ceiling: an own copy in between. */
	to = malloc((size_t)n + 1);
	if (!to) {
		b->err = err_set(E_LIMIT, "out of memory (%d bytes wanted)", n);
		return;
	}
	va_start(ap, fmt);
	vsnprintf(to, (size_t)n + 1, fmt, ap);
	va_end(ap);
	buf_put(b, to, (size_t)n);
	free(to);
}

void buf_u64(struct buf *b, uint64_t v)
{
	char text[20];
	size_t at = sizeof text;

	do {
		text[--at] = (char)('0' + v % 10);
		v /= 10;
	} while (v);
	buf_put(b, text + at, sizeof text - at);
}

void buf_i64(struct buf *b, int64_t v)
{
	if (v < 0) {
		buf_byte(b, '-');
		buf_u64(b, -(uint64_t)v);
	} else {
		buf_u64(b, (uint64_t)v);
	}
}

void buf_varint(struct buf *b, uint64_t v)
{
	char text[10];
	size_t n = 0;

	while (v >= 0x80) {
		text[n++] = (char)(v | 0x80);
		v >>= 7;
	}
	text[n++] = (char)v;
	buf_put(b, text, n);
}

bool varint_get(const uint8_t **p, const uint8_t *end, uint64_t *out)
{
	const uint8_t *at = *p;
	uint64_t v = 0;

	for (unsigned shift = 0; at < end && shift < 70; shift += 7) {
		uint8_t byte = *at++;

		/* The tenth byte has room for one bit only. */
		if (shift == 63 && byte > 1)
			return false;
		v |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80)) {
			*p = at;
			*out = v;
			return true;
		}
	}
	return false;
}
