/* What commands say of facts: times and superseded keys of a put, and the time that a question asks about. */
#ifndef CENOTE_CLI_FACTS_H
#define CENOTE_CLI_FACTS_H

#include "base/json/json.h"
#include "cli/cmd.h"

/* --valid-from, --valid-to, --supersedes: whether they are times in RFC 3339, and at most SUPERSEDES_MAX keys. */
enum err fact_flags_check(const struct call *c) MUST_CHECK;
/* path with them as parameters, for PUT /items. Its p is NULL when memory is short. */
struct str fact_query(struct call *c, struct str path);
/* The same as members of an object that has members already, for an operation of a batch. */
void fact_members(const struct call *c, struct buf *b);
/* --as-of, checked; its p is NULL when it is not given. */
enum err fact_as_of(const struct call *c, struct str *out) MUST_CHECK;

#endif
