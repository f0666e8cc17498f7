/* The SQLite driver's entry. A store is a directory: lock, keys.sqlite, tenants/NAME.sqlite, cenote.sock. See docs/store-sqlite.md.
 */
#ifndef CENOTE_STORE_SQLITE_SQLITE_H
#define CENOTE_STORE_SQLITE_SQLITE_H

#include "store/open.h"

/* Opens the store in directory path (made when missing). vfs: name of a registered SQLite VFS, NULL for the default one; the fault
 * tests name theirs. */
enum err sqlite_store_open(struct str path, const struct store_options *opt, const char *vfs, struct store **out) MUST_CHECK;

/* doctor.c: see store/open.h. */
enum err sqlite_store_migrate(struct str path, const struct store_options *opt, struct str tenant, bool dry_run, step_fn fn,
			      void *ctx) MUST_CHECK;
enum err sqlite_store_doctor(struct str path, const struct store_options *opt, finding_fn fn, void *ctx) MUST_CHECK;

#endif
