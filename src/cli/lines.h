/* Lines that somebody types: edited on a terminal that can do it (libedit), with a history that outlives the process, else as they
 * come. Not thread-safe: one reader, the main thread. */
#ifndef CENOTE_CLI_LINES_H
#define CENOTE_CLI_LINES_H

#include "base/arena.h"

#define LINE_MAX_BYTES ((size_t)1 << 20)

struct lines;
enum line_got {
	LINE_READ,
	LINE_END,     /* of the input; Ctrl-D */
	LINE_STOPPED, /* a signal came; interrupt_take() says which */
};
struct lines_options {
	bool edit;		  /* stdin and stdout are a terminal that takes control sequences */
	bool prompts;		  /* else nothing is written */
	const char *history;	  /* file of earlier lines, made with mode 0600 when it is not there; NULL: none is kept */
	const char *const *words; /* what Tab completes at a line's beginning; ends with NULL. NULL: nothing */
};
/* A history that cannot be read or written is left alone: *note then says why (in static memory), else it is NULL. */
enum err lines_open(const struct lines_options *opt, struct lines **out, const char **note) MUST_CHECK;
void lines_close(struct lines *l);
/* The next line without its end, valid until the next call. E_LIMIT: longer than LINE_MAX_BYTES (the rest of it is skipped); E_IO.
 */
enum err lines_next(struct lines *l, const char *prompt, enum line_got *got, struct str *line) MUST_CHECK;
/* Puts a line into the history, unless it is blank or begins with a blank. */
void lines_remember(struct lines *l, struct str line);
/* $XDG_STATE_HOME/cenote/history, with its folders made; E_IO, E_INVALID (no home). */
enum err lines_history_path(struct arena *a, struct str *out) MUST_CHECK;

#endif
