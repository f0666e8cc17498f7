/* A window over a stream, grown only when one piece does not fit. */
#include "cli/source.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define WINDOW ((size_t)1 << 20)

void source_fd(struct source *s, int fd)
{
	*s = (struct source){.fd = fd, .own = true};
}

void source_mem(struct source *s, struct str bytes)
{
	/* Only read from: nothing is ever filled in, because eof is set. */
	*s = (struct source){.fd = -1, .buf = (char *)bytes.p, .cap = bytes.n, .end = bytes.n, .eof = true};
}

void source_release(struct source *s)
{
	if (s->own)
		free(s->buf);
	s->buf = NULL;
}

static enum err fill(struct source *s)
{
	if (s->at > 0) {
		memmove(s->buf, s->buf + s->at, s->end - s->at);
		s->end -= s->at;
		s->at = 0;
	}
	if (s->end == s->cap) {
		size_t cap = s->cap ? s->cap * 2 : WINDOW;
		if (cap > 2 * SOURCE_PIECE_MAX)
			return err_set(E_LIMIT, "a piece of more than %zu MiB", SOURCE_PIECE_MAX >> 20);
		char *p = realloc(s->buf, cap);
		if (p == NULL)
			return err_set(E_LIMIT, "out of memory");
		s->buf = p;
		s->cap = cap;
	}
	ssize_t n;
	do
		n = read(s->fd, s->buf + s->end, s->cap - s->end);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return err_set(E_IO, "cannot read: %s", strerror(errno));
	s->end += (size_t)n;
	s->eof = n == 0;
	return OK;
}

enum err source_line(struct source *s, struct str *line, bool *more)
{
	size_t looked = 0;
	for (;;) {
		size_t have = s->end - s->at;
		char *nl = have > looked ? memchr(s->buf + s->at + looked, '\n', have - looked) : NULL;
		if (nl || s->eof) {
			size_t n = nl ? (size_t)(nl - (s->buf + s->at)) : have;
			*more = nl || n > 0;
			*line = str_of(s->buf ? s->buf + s->at : "", n);
			s->line += *more;
			source_skip(s, n + (nl != NULL));
			return OK;
		}
		looked = have;
		if (have > SOURCE_PIECE_MAX)
			return err_set(E_LIMIT, "line %llu is longer than %zu MiB", (unsigned long long)s->line + 1,
				       SOURCE_PIECE_MAX >> 20);
		TRY(fill(s));
	}
}

enum err source_peek(struct source *s, size_t n, struct str *avail)
{
	while (s->end - s->at < n && !s->eof)
		TRY(fill(s));
	*avail = str_of(s->buf ? s->buf + s->at : "", s->end - s->at);
	return OK;
}

void source_skip(struct source *s, size_t n)
{
	s->at += n;
	s->consumed += n;
}
