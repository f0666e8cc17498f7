/* The SQLite driver's entry. A store is a directory: lock, keys.sqlite, tenants/NAME.sqlite, cenote.sock. See docs/store-sqlite.md.
 */
#ifndef CENOTE_STORE_SQLITE_SQLITE_H
#define CENOTE_STORE_SQLITE_SQLITE_H

#include "store/open.h"

/* Opens the store in directory path (made when missing). vfs: name of a registered SQLite VFS, NULL for the default one; the fault
 * tests name theirs. */
enum err sqlite_store_open(struct str path, const struct store_options *opt, const char *vfs, struct store **out) MUST_CHECK;

#endif
