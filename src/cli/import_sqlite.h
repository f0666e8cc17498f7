/* Importing SQLite files of LangGraph's savers and of the Agents SDK's sessions. What is in the store already is seen and left
 * alone, so the same file can be imported again, also after an interruption. */
#ifndef CENOTE_CLI_IMPORT_SQLITE_H
#define CENOTE_CLI_IMPORT_SQLITE_H

#include "cli/peer.h"
#include "cli/progress.h"
#include "store/sqlite/foreign.h"

/* What happens to something of the same name and other content. ASKED_NOTHING: checkpoints are replaced, sessions reported. */
enum on_conflict { CONFLICT_REPLACE, CONFLICT_SKIP, CONFLICT_FAIL, CONFLICT_ASKED_NOTHING };

struct sqlite_import {
	struct call *c;
	struct http_client *http; /* NULL: dry run */
	const char *file;
	enum on_conflict on_conflict;
	bool stop; /* at the first bad row */
	struct progress *bar;
	/* out, over all files */
	uint64_t stored, unchanged, failed;
	bool conflict; /* what was told last was one */
	/* of this file */
	uint64_t bytes, rows, seen;
};
/* E_CANCELLED: interrupted, or stopped at a bad row. */
enum err import_sqlite(struct sqlite_import *im) MUST_CHECK;

/* ---- between import_sqlite.c and its parts ---- */

/* Tells what the diagnostic says of n records; E_CANCELLED: that is the end. */
enum err sqlite_bad(struct sqlite_import *im, uint64_t n, const char *where, ...) __attribute__((format(printf, 3, 4))) MUST_CHECK;
/* A row was read: progress, and whether to go on. */
enum err sqlite_row(struct sqlite_import *im) MUST_CHECK;
/* One request. refused: the server takes what was sent for wrong, and the diagnostic says why; every other failure is an error. */
enum err sqlite_call(struct sqlite_import *im, struct arena *a, const char *method, struct str path, const char *type,
		     struct str body, struct http_reply *r, bool *refused) MUST_CHECK;
/* Whether an answer of this status is about what was sent. */
bool sqlite_refused(int status);

enum err import_checkpoints(struct sqlite_import *im, struct foreign *f) MUST_CHECK;
enum err import_sessions(struct sqlite_import *im, struct foreign *f) MUST_CHECK;

#endif
