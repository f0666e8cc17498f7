/* LD_PRELOAD shim that makes a disk or a clock misbehave below an unchanged program, and well again while it runs.
 *
 * FAILIO_CONTROL names a file of one struct failio_control, mapped shared by this shim and by the test that steers it. Only regular
 * files whose path begins with FAILIO_PREFIX are touched. Writing 0 into an errno field removes the cause.
 *
 *   cc -shared -fPIC -O1 failio.c -o failio.so -ldl
 *   FAILIO_CONTROL=ctl FAILIO_PREFIX=/path/of/store LD_PRELOAD=./failio.so cenote serve ... */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct failio_control {		     /* tests/crash/failio.py packs the same: 8 signed 64-bit integers, then counters */
	_Atomic int64_t write_errno; /* 0: writes work */
	_Atomic int64_t write_after; /* this many writes still work first */
	_Atomic int64_t sync_errno;  /* fsync, fdatasync */
	_Atomic int64_t sync_after;
	_Atomic int64_t read_errno; /* read, pread */
	_Atomic int64_t read_after;
	_Atomic int64_t short_writes;		      /* 1: a write above 512 bytes writes half */
	_Atomic int64_t clock_offset;		      /* seconds added to CLOCK_REALTIME */
	_Atomic int64_t writes, syncs, reads, failed; /* seen so far */
};

static struct failio_control *ctl;
static const char *prefix;

__attribute__((constructor)) static void failio_start(void)
{
	const char *path = getenv("FAILIO_CONTROL");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;

	prefix = getenv("FAILIO_PREFIX");
	if (fd < 0)
		return;
	void *p = mmap(NULL, sizeof *ctl, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (p != MAP_FAILED)
		ctl = p;
}

/* The file behind fd is one that the test wants to fail. */
static int concerns(int fd)
{
	char link[64], path[4096];
	struct stat st;

	if (!ctl || !prefix || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
		return 0;
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, path, sizeof path - 1);
	if (n <= 0)
		return 0;
	path[n] = '\0';
	return strncmp(path, prefix, strlen(prefix)) == 0;
}

/* Counts one call; nonzero = fail with this errno. */
static int verdict(_Atomic int64_t *seen, _Atomic int64_t *errnum, _Atomic int64_t *after)
{
	int64_t e = atomic_load(errnum);

	atomic_fetch_add(seen, 1);
	if (!e || atomic_fetch_sub(after, 1) > 0)
		return 0;
	atomic_fetch_add(&ctl->failed, 1);
	return (int)e;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define FAIL_IF(kind, kinds)                                                                                                       \
	if (concerns(fd)) {                                                                                                        \
		int e_ = verdict(&ctl->kinds, &ctl->kind##_errno, &ctl->kind##_after);                                             \
		if (e_) {                                                                                                          \
			errno = e_;                                                                                                \
			return -1;                                                                                                 \
		}                                                                                                                  \
	}
#define SHORTEN(n)                                                                                                                 \
	if ((n) > 512 && ctl && atomic_load(&ctl->short_writes) && concerns(fd))                                                   \
		(n) /= 2;

ssize_t write(int fd, const void *p, size_t n)
{
	FAIL_IF(write, writes)
	SHORTEN(n)
	return REAL(write)(fd, p, n);
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
	FAIL_IF(write, writes)
	SHORTEN(n)
	return REAL(pwrite)(fd, p, n, at);
}

ssize_t pwrite64(int fd, const void *p, size_t n, off64_t at)
{
	FAIL_IF(write, writes)
	SHORTEN(n)
	return REAL(pwrite64)(fd, p, n, at);
}

ssize_t writev(int fd, const struct iovec *v, int n)
{
	FAIL_IF(write, writes)
	return REAL(writev)(fd, v, n);
}

int ftruncate(int fd, off_t n)
{
	FAIL_IF(write, writes)
	return REAL(ftruncate)(fd, n);
}

int ftruncate64(int fd, off64_t n)
{
	FAIL_IF(write, writes)
	return REAL(ftruncate64)(fd, n);
}

int fsync(int fd)
{
	FAIL_IF(sync, syncs)
	return REAL(fsync)(fd);
}

int fdatasync(int fd)
{
	FAIL_IF(sync, syncs)
	return REAL(fdatasync)(fd);
}

ssize_t read(int fd, void *p, size_t n)
{
	FAIL_IF(read, reads)
	return REAL(read)(fd, p, n);
}

ssize_t pread(int fd, void *p, size_t n, off_t at)
{
	FAIL_IF(read, reads)
	return REAL(pread)(fd, p, n, at);
}

ssize_t pread64(int fd, void *p, size_t n, off64_t at)
{
	FAIL_IF(read, reads)
	return REAL(pread64)(fd, p, n, at);
}

int clock_gettime(clockid_t id, struct timespec *ts)
{
	int r = REAL(clock_gettime)(id, ts);

	if (r == 0 && ctl && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
		ts->tv_sec += atomic_load(&ctl->clock_offset);
	return r;
}
