/* A SQLite VFS in front of another that gathers what is written to a write-ahead log, so that a commit costs one or two writes
 * instead of two for every page (header and page). Only writer connections with synchronous=FULL use it: with FULL, SQLite syncs
 * the log before it tells the readers, through the shared wal-index, that the frames are there.
 *
 * Invariants
 *  1. The buffer holds n bytes that follow each other in the file from `at` on; whatever does not continue them is preceded by a
 * flush.
 *  2. Before a sync, a read that touches the buffer, a look at the size, and a truncation, everything is in the file: so what the
 *     connection sees is as if there were no buffer, and what is synced is everything written.
 *  3. A flush that fails empties the buffer and reports the error to the call that caused it; the transaction is then lost and the
 *     writer replaces its connection (heal), as after any error of the disk.
 *  4. What is in the buffer when the file is closed belongs to a transaction that was not committed, and is dropped. */
#include "store/sqlite/sq.h"

/* SQLite's own VFS takes less than 128 KiB in one write. */
#define BUFFER (64 << 10)

struct wal_file {
	sqlite3_file base; /* first */
	sqlite3_file *real;
	sqlite3_int64 at;
	int n;
	char *buf;
};

static struct wal_file *wal_of(sqlite3_file *f)
{
	return (struct wal_file *)(void *)f;
}

static int flush(struct wal_file *w)
{
	int n = w->n;
	w->n = 0;
	return n ? w->real->pMethods->xWrite(w->real, w->buf, n, w->at) : SQLITE_OK;
}

static int on_close(sqlite3_file *f)
{
	struct wal_file *w = wal_of(f);
	free(w->buf);
	w->buf = NULL;
	return w->real->pMethods->xClose(w->real);
}

static int on_read(sqlite3_file *f, void *to, int n, sqlite3_int64 at)
{
	struct wal_file *w = wal_of(f);
	int rc = w->n && at < w->at + w->n && at + n > w->at ? flush(w) : SQLITE_OK;
	return rc == SQLITE_OK ? w->real->pMethods->xRead(w->real, to, n, at) : rc;
}

static int on_write(sqlite3_file *f, const void *from, int n, sqlite3_int64 at)
{
	struct wal_file *w = wal_of(f);
	if (!w->buf)
		w->buf = malloc(BUFFER);
	if (w->n && (at != w->at + w->n || n > BUFFER - w->n)) {
		int rc = flush(w);
		if (rc != SQLITE_OK)
			return rc;
	}
	if (!w->buf || n > BUFFER)
		return w->real->pMethods->xWrite(w->real, from, n, at);
	if (!w->n)
		w->at = at;
	memcpy(w->buf + w->n, from, (size_t)n);
	w->n += n;
	return SQLITE_OK;
}

static int on_truncate(sqlite3_file *f, sqlite3_int64 size)
{
	struct wal_file *w = wal_of(f);
	int rc = flush(w);
	return rc == SQLITE_OK ? w->real->pMethods->xTruncate(w->real, size) : rc;
}

static int on_sync(sqlite3_file *f, int flags)
{
	struct wal_file *w = wal_of(f);
	int rc = flush(w);
	return rc == SQLITE_OK ? w->real->pMethods->xSync(w->real, flags) : rc;
}

static int on_size(sqlite3_file *f, sqlite3_int64 *size)
{
	struct wal_file *w = wal_of(f);
	int rc = flush(w);
	return rc == SQLITE_OK ? w->real->pMethods->xFileSize(w->real, size) : rc;
}

static int on_lock(sqlite3_file *f, int level)
{
	return wal_of(f)->real->pMethods->xLock(wal_of(f)->real, level);
}

static int on_unlock(sqlite3_file *f, int level)
{
	return wal_of(f)->real->pMethods->xUnlock(wal_of(f)->real, level);
}

static int on_reserved(sqlite3_file *f, int *out)
{
	return wal_of(f)->real->pMethods->xCheckReservedLock(wal_of(f)->real, out);
}

static int on_control(sqlite3_file *f, int op, void *arg)
{
	return wal_of(f)->real->pMethods->xFileControl(wal_of(f)->real, op, arg);
}

static int on_sector(sqlite3_file *f)
{
	return wal_of(f)->real->pMethods->xSectorSize(wal_of(f)->real);
}

static int on_traits(sqlite3_file *f)
{
	return wal_of(f)->real->pMethods->xDeviceCharacteristics(wal_of(f)->real);
}

/* Version 1: a log is neither shared memory nor mapped. */
static const sqlite3_io_methods methods = {1,	    on_close,  on_read,	    on_write,	on_truncate, on_sync,	on_size,
					   on_lock, on_unlock, on_reserved, on_control, on_sector,   on_traits, NULL,
					   NULL,    NULL,      NULL,	    NULL,	NULL};

/* ---------------------------------------------------------------- the VFS */

static sqlite3_vfs *under_of(sqlite3_vfs *v)
{
	return v->pAppData;
}

/* All files but logs are the other VFS's own. */
static int vfs_open(sqlite3_vfs *v, sqlite3_filename name, sqlite3_file *f, int flags, int *out)
{
	sqlite3_vfs *under = under_of(v);
	if (!(flags & SQLITE_OPEN_WAL))
		return under->xOpen(under, name, f, flags, out);
	struct wal_file *w = wal_of(f);
	*w = (struct wal_file){.real = (sqlite3_file *)(void *)(w + 1)};
	w->real->pMethods = NULL;
	int rc = under->xOpen(under, name, w->real, flags, out);
	w->base.pMethods = w->real->pMethods ? &methods : NULL;
	return rc;
}

static int vfs_delete(sqlite3_vfs *v, const char *name, int sync_dir)
{
	return under_of(v)->xDelete(under_of(v), name, sync_dir);
}

static int vfs_access(sqlite3_vfs *v, const char *name, int flags, int *out)
{
	return under_of(v)->xAccess(under_of(v), name, flags, out);
}

static int vfs_full_path(sqlite3_vfs *v, const char *name, int n, char *out)
{
	return under_of(v)->xFullPathname(under_of(v), name, n, out);
}

static int vfs_random(sqlite3_vfs *v, int n, char *out)
{
	return under_of(v)->xRandomness(under_of(v), n, out);
}

static int vfs_sleep(sqlite3_vfs *v, int us)
{
	return under_of(v)->xSleep(under_of(v), us);
}

static int vfs_time(sqlite3_vfs *v, double *out)
{
	return under_of(v)->xCurrentTime(under_of(v), out);
}

static int vfs_error(sqlite3_vfs *v, int n, char *out)
{
	return under_of(v)->xGetLastError(under_of(v), n, out);
}

static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;

enum err walbatch_vfs(const char *under_name, const char **out)
{
	enum err e = OK;
	pthread_mutex_lock(&mu);
	sqlite3_vfs *under = sqlite3_vfs_find(under_name), *v;
	char name[80];
	snprintf(name, sizeof name, "cenote-walbatch-%.48s", under ? under->zName : "");
	v = sqlite3_vfs_find(name);
	if (!under) {
		e = err_set(E_INTERNAL, "SQLite has no VFS %s", under_name ? under_name : "at all");
		goto out;
	}
	if (!v) { /* once per process, and never taken back: SQLite keeps the pointer */
		v = calloc(1, sizeof *v + sizeof name);
		if (!v) {
			e = err_set(E_LIMIT, "out of memory in the store");
			goto out;
		}
		char *own = (char *)(v + 1);
		memcpy(own, name, sizeof name);
		*v = (sqlite3_vfs){.iVersion = 1,
				   .szOsFile = (int)sizeof(struct wal_file) + under->szOsFile,
				   .mxPathname = under->mxPathname,
				   .zName = own,
				   .pAppData = under,
				   .xOpen = vfs_open,
				   .xDelete = vfs_delete,
				   .xAccess = vfs_access,
				   .xFullPathname = vfs_full_path,
				   .xRandomness = vfs_random,
				   .xSleep = vfs_sleep,
				   .xCurrentTime = vfs_time,
				   .xGetLastError = vfs_error};
		sqlite3_vfs_register(v, 0);
	}
	*out = v->zName;
out:
	pthread_mutex_unlock(&mu);
	return e;
}
