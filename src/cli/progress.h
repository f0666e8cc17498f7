/* Progress of a long command on stderr: a bar on a terminal (after half a second), else a line every 5 s, or JSON once a second. */
#ifndef CENOTE_CLI_PROGRESS_H
#define CENOTE_CLI_PROGRESS_H

#include "cli/cmd.h"

struct progress {
	enum { PROGRESS_NONE, PROGRESS_BAR, PROGRESS_LINES, PROGRESS_JSON } how;
	const char *what; /* "import" */
	const char *name; /* of the file */
	uint64_t begun_ns, next_ns;
	uint64_t total; /* bytes, 0: unknown */
	bool shown;
};

/* how: value of --progress, NULL: auto. */
enum err progress_begin(struct progress *p, const struct call *c, const char *what, const char *how) MUST_CHECK;
/* The next file of the command. */
void progress_file(struct progress *p, const char *name, uint64_t total_bytes);
/* Cheap; shows something when it is time. count: records of the command so far, bytes: of this file. */
void progress_tick(struct progress *p, uint64_t count, uint64_t bytes);
/* Takes the bar away, so that other lines can be written. */
void progress_clear(struct progress *p);

#endif
