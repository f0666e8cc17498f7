/* What the files of the YAML reader share. */
#ifndef CENOTE_DAEMON_YAML_IMPL_H
#define CENOTE_DAEMON_YAML_IMPL_H

#include <yaml.h>

#include "daemon/config.h"

struct reader {
	yaml_parser_t parser;
	yaml_event_t ev; /* the event under way; valid when have */
	bool have;
	struct config *c;
	struct str file;
	struct problems *p;
	bool seen[CONFIG_ROWS_MAX]; /* per row: duplicates */
	bool stop;		    /* a problem after which the rest makes no sense */
	struct str groups[64];
	size_t groups_n;
};

/* ---- yaml.c ---- */
/* The next event; false at a syntax error or at something that is not allowed anywhere. */
bool yaml_next(struct reader *r);
/* Steps over the value that has begun (the event under way), however deep. */
bool yaml_skip(struct reader *r);
/* A problem at the event under way, which ends the reading. */
void yaml_refuse(struct reader *r, struct str key, const char *what);
struct str yaml_scalar_text(const struct reader *r);

/* ---- yaml_json.c ---- */
/* The value that has begun, as JSON; false: it was refused. */
bool yaml_json(struct reader *r, struct str key, struct buf *out);
/* The keys of the mapping that has begun whose values are not false; what stands below one is warned of. */
bool yaml_words(struct reader *r, struct str key, struct str *texts, size_t most, size_t *n);

#endif
