/* A SQLite VFS that fails on demand. */
#include "fault_vfs.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <string.h>

const char *const fault_names[FAULT_KINDS] = {"write", "short write", "disk full", "sync", "read"};

static atomic_int armed = -1, left, hits;
static atomic_bool sticky_fault;

void fault_arm(enum fault_kind kind, int nth, bool sticky)
{
	atomic_store(&left, nth);
	atomic_store(&hits, 0);
	atomic_store(&sticky_fault, sticky);
	atomic_store(&armed, (int)kind);
}

bool fault_disarm(void)
{
	atomic_store(&armed, -1);
	return atomic_load(&hits) > 0;
}

static bool due(int kind)
{
	if (atomic_load(&armed) != kind)
		return false;
	int n = atomic_fetch_sub(&left, 1);
	if (n > 1 || (n < 1 && !atomic_load(&sticky_fault)))
		return false;
	atomic_fetch_add(&hits, 1);
	return true;
}

static pthread_mutex_t hang_mu = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t hang_cv = PTHREAD_COND_INITIALIZER;
static bool hang, hanging;

void fault_hang(void)
{
	pthread_mutex_lock(&hang_mu);
	hang = true;
	pthread_mutex_unlock(&hang_mu);
}

void fault_hangs(void)
{
	pthread_mutex_lock(&hang_mu);
	while (!hanging)
		pthread_cond_wait(&hang_cv, &hang_mu);
	pthread_mutex_unlock(&hang_mu);
}

void fault_release(void)
{
	pthread_mutex_lock(&hang_mu);
	hang = false;
	pthread_cond_broadcast(&hang_cv);
	pthread_mutex_unlock(&hang_mu);
}

static void perhaps_hang(void)
{
	pthread_mutex_lock(&hang_mu);
	while (hang) {
		hanging = true;
		pthread_cond_broadcast(&hang_cv);
		pthread_cond_wait(&hang_cv, &hang_mu);
	}
	hanging = false;
	pthread_mutex_unlock(&hang_mu);
}

struct file {
	sqlite3_file base;
	sqlite3_file *real; /* behind this struct */
};

static sqlite3_file *real(sqlite3_file *f)
{
	return ((struct file *)(void *)f)->real;
}

static int f_close(sqlite3_file *f)
{
	return real(f)->pMethods->xClose(real(f));
}
static int f_read(sqlite3_file *f, void *p, int n, sqlite3_int64 at)
{
	if (due(FAULT_READ))
		return SQLITE_IOERR_READ;
	return real(f)->pMethods->xRead(real(f), p, n, at);
}
static int f_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at)
{
	if (due(FAULT_WRITE))
		return SQLITE_IOERR_WRITE;
	bool full = due(FAULT_FULL);
	if (full || due(FAULT_SHORT)) {
		if (n > 1)
			(void)real(f)->pMethods->xWrite(real(f), p, n / 2, at);
		return full ? SQLITE_FULL : SQLITE_IOERR_WRITE;
	}
	return real(f)->pMethods->xWrite(real(f), p, n, at);
}
static int f_truncate(sqlite3_file *f, sqlite3_int64 n)
{
	return real(f)->pMethods->xTruncate(real(f), n);
}
static int f_sync(sqlite3_file *f, int flags)
{
	perhaps_hang();
	if (due(FAULT_SYNC))
		return SQLITE_IOERR_FSYNC;
	return real(f)->pMethods->xSync(real(f), flags);
}
static int f_size(sqlite3_file *f, sqlite3_int64 *n)
{
	return real(f)->pMethods->xFileSize(real(f), n);
}
static int f_lock(sqlite3_file *f, int level)
{
	return real(f)->pMethods->xLock(real(f), level);
}
static int f_unlock(sqlite3_file *f, int level)
{
	return real(f)->pMethods->xUnlock(real(f), level);
}
static int f_check(sqlite3_file *f, int *out)
{
	return real(f)->pMethods->xCheckReservedLock(real(f), out);
}
static int f_control(sqlite3_file *f, int op, void *arg)
{
	return real(f)->pMethods->xFileControl(real(f), op, arg);
}
static int f_sector(sqlite3_file *f)
{
	return real(f)->pMethods->xSectorSize(real(f));
}
static int f_device(sqlite3_file *f)
{
	return real(f)->pMethods->xDeviceCharacteristics(real(f));
}
static int f_shm_map(sqlite3_file *f, int region, int size, int extend, void volatile **out)
{
	return real(f)->pMethods->xShmMap(real(f), region, size, extend, out);
}
static int f_shm_lock(sqlite3_file *f, int offset, int n, int flags)
{
	return real(f)->pMethods->xShmLock(real(f), offset, n, flags);
}
/* A barrier of our own: ThreadSanitizer would take the one below, which ends in a jump to unlock, for an unlock of ours. */
static void f_shm_barrier(sqlite3_file *f)
{
	static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
	(void)f;
	pthread_mutex_lock(&mu);
	pthread_mutex_unlock(&mu);
}
static int f_shm_unmap(sqlite3_file *f, int del)
{
	return real(f)->pMethods->xShmUnmap(real(f), del);
}

static const sqlite3_io_methods methods = {
	2,	   f_close,  f_read,   f_write,	  f_truncate, f_sync,	     f_size,	  f_lock, f_unlock, f_check,
	f_control, f_sector, f_device, f_shm_map, f_shm_lock, f_shm_barrier, f_shm_unmap, NULL,	  NULL,
};

static int v_open(sqlite3_vfs *v, const char *name, sqlite3_file *f, int flags, int *out)
{
	sqlite3_vfs *below = v->pAppData;
	struct file *x = (struct file *)(void *)f;
	x->real = (sqlite3_file *)(void *)(x + 1);
	memset(x->real, 0, (size_t)below->szOsFile);
	int rc = below->xOpen(below, name, x->real, flags, out);
	x->base.pMethods = x->real->pMethods ? &methods : NULL;
	return rc;
}

static int v_delete(sqlite3_vfs *v, const char *name, int sync)
{
	sqlite3_vfs *below = v->pAppData;
	return below->xDelete(below, name, sync);
}
static int v_access(sqlite3_vfs *v, const char *name, int flags, int *out)
{
	sqlite3_vfs *below = v->pAppData;
	return below->xAccess(below, name, flags, out);
}
static int v_full(sqlite3_vfs *v, const char *name, int n, char *out)
{
	sqlite3_vfs *below = v->pAppData;
	return below->xFullPathname(below, name, n, out);
}

void fault_register(void)
{
	static sqlite3_vfs vfs;
	sqlite3_vfs *below = sqlite3_vfs_find(NULL);
	vfs = *below; /* randomness, sleep, time: as they are; they do not look at their vfs argument's file fields */
	vfs.pNext = NULL;
	vfs.zName = "fault";
	vfs.pAppData = below;
	vfs.szOsFile = (int)sizeof(struct file) + below->szOsFile;
	vfs.xOpen = v_open;
	vfs.xDelete = v_delete;
	vfs.xAccess = v_access;
	vfs.xFullPathname = v_full;
	sqlite3_vfs_register(&vfs, 0);
}
