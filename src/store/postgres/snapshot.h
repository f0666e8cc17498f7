/* Arithmetic on pg_snapshot: which transactions a snapshot takes for ended, and how many ended between two. Pure computation.
 *
 * A snapshot is xmin:xmax:xip. Every transaction below xmin has ended, none at or above xmax counts as ended, and of those between,
 * the ones in xip had not ended. Numbers are 64 bits wide and never come again. Subtransactions are not in xip: one whose number
 * lies below xmax counts as ended, even while its parent goes on. */
#ifndef CENOTE_STORE_PG_SNAPSHOT_H
#define CENOTE_STORE_PG_SNAPSHOT_H

#include <stdlib.h>

#include "base/err.h"

struct pg_snapshot {
	uint64_t xmin, xmax;
	uint64_t *xip; /* ascending, each in [xmin, xmax) */
	size_t n;
};
/* Reads the server's text form; E_CORRUPT when it is none. *out is to be released, also after an error. */
enum err pg_snapshot_parse(struct str text, struct pg_snapshot *out) MUST_CHECK;
void pg_snapshot_release(struct pg_snapshot *s);
/* Has xid ended, as s sees it? */
bool pg_snapshot_sees(const struct pg_snapshot *s, uint64_t xid);
/* How many transactions b takes for ended and a does not. */
uint64_t pg_snapshot_ended(const struct pg_snapshot *a, const struct pg_snapshot *b);
/* Was b taken after a, or at the same time? Of two snapshots of one server one sees all that the other does. */
bool pg_snapshot_not_before(const struct pg_snapshot *b, const struct pg_snapshot *a);

#endif
