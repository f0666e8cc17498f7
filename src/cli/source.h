/* Where an import reads from: a descriptor or bytes in memory, by lines or by pieces, with a ceiling on what is held. */
#ifndef CENOTE_CLI_SOURCE_H
#define CENOTE_CLI_SOURCE_H

#include "base/arena.h"

/* Longest line, and largest conversation of a chat export. */
#define SOURCE_PIECE_MAX ((size_t)64 << 20)

struct source {
	int fd;	   /* -1: memory only */
	char *buf; /* the window */
	size_t cap, at, end;
	bool own, eof;
	uint64_t consumed; /* bytes handed out so far */
	uint64_t line;	   /* number of the line handed out last, 1.. */
};

void source_fd(struct source *s, int fd);
void source_mem(struct source *s, struct str bytes);
void source_release(struct source *s); /* does not close the descriptor */
/* The next line without its end; *more = false at the end. Valid until the next call. E_LIMIT: too long. E_IO. */
enum err source_line(struct source *s, struct str *line, bool *more) MUST_CHECK;
/* Makes at least n bytes available at the front if there are so many; *avail is what there is. Does not consume. */
enum err source_peek(struct source *s, size_t n, struct str *avail) MUST_CHECK;
void source_skip(struct source *s, size_t n);

#endif
