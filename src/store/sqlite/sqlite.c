/* The store as a whole: its directory, the lock that keeps other processes out, and the table of operations.
 *
 * Invariants
 *  1. The lock file is locked before any other file is opened, and until the last of them is closed.
 *  2. Database files are opened by SQLite only: closing a descriptor of our own would drop SQLite's POSIX locks. */
#include "store/sqlite/sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/sqlite/sq.h"

static void sq_close(struct store *s);

static const struct store_ops ops = {
	.name = "sqlite",
	.close = sq_close,
	.ping = sq_ping,
	.item_get = sq_item_get,
	.item_write = sq_item_write,
	.item_scan = sq_item_scan,
	.item_walk = sq_item_walk,
	.item_by_id = sq_item_by_id,
	.namespaces = sq_namespaces,
	.sweep = sq_sweep,
	.doc_scan = sq_doc_scan,
	.doc_changes = sq_doc_changes,
	.vector_put = sq_vector_put,
	.doc_walk = sq_doc_walk,
	.vector_get = sq_vector_get,
	.doc_lacking = sq_doc_lacking,
	.vector_models = sq_vector_models,
	.vector_drop = sq_vector_drop,
	.message_append = sq_message_append,
	.message_list = sq_message_list,
	.message_by_id = sq_message_by_id,
	.thread_list = sq_thread_list,
	.threads = &sq_thread_ops,
	.checkpoints = &sq_checkpoint_ops,
	.facts = &sq_fact_ops,
	.texts = &sq_text_ops,
	.stats = sq_stats,
	.tenants = sq_tenants,
	.key_put = sq_key_put,
	.key_get = sq_key_get,
	.key_list = sq_key_list,
	.meta_get = sq_meta_get,
	.meta_put = sq_meta_put,
	.meta_walk = sq_meta_walk,
	.metrics = sq_metrics,
};

/* Before SQLite is used for the first time: without its statistics of memory every allocation is spared a global mutex. */
static void sqlite_once(void)
{
	sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
	sqlite3_initialize();
}

/* ---------------------------------------------------------------- directory and lock */

static enum err make_dir(const char *path)
{
	if (mkdir(path, 0700) == 0 || errno == EEXIST)
		return OK;
	return err_set(errno == ENOSPC ? E_LIMIT : E_IO, "the folder %s could not be made: %s", path, strerror(errno));
}

/* The directory and those above it. */
static enum err make_dirs(char *path)
{
	for (char *p = strchr(path + 1, '/'); p; p = strchr(p + 1, '/')) {
		*p = 0;
		enum err e = access(path, F_OK) == 0 ? OK : make_dir(path);
		*p = '/';
		TRY(e);
	}
	return make_dir(path);
}

static enum err busy(struct sq *s)
{
	char text[32] = "";
	ssize_t n = pread(s->lock_fd, text, sizeof text - 1, 0);
	struct str pid = n > 0 ? str_trim(str_of(text, (size_t)n)) : STR("");
	int64_t v;
	if (str_int(pid, 1, INT32_MAX, &v))
		return err_set(E_BUSY, "the store %s is in use by process %lld; talk to it, or stop it first", s->dir,
			       (long long)v);
	return err_set(E_BUSY, "the store %s is in use by another process", s->dir);
}

static enum err lock(struct sq *s, uint32_t busy_ms)
{
	uint64_t until = deadline_in_ms(busy_ms);
	char *path, text[32];
	if (asprintf(&path, "%s/lock", s->dir) < 0)
		return err_set(E_LIMIT, "out of memory in the store");
	s->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	int why = errno;
	free(path);
	if (s->lock_fd < 0)
		return err_set(E_IO, "the lock file in %s could not be opened: %s", s->dir, strerror(why));
	while (flock(s->lock_fd, LOCK_EX | LOCK_NB) != 0) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return err_set(E_IO, "the store %s could not be locked: %s", s->dir, strerror(errno));
		if (busy_ms == 0 || clock_mono_ns() >= until)
			return busy(s);
		TRY(wait_until(deadline_in_ms(20)));
	}
	int n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
	if (ftruncate(s->lock_fd, 0) != 0 || pwrite(s->lock_fd, text, (size_t)n, 0) != n)
		LOG(LOG_WARN, "store", "the process id could not be written into the lock file", LF_C("why", strerror(errno)));
	return OK;
}

/* ---------------------------------------------------------------- life */

static void init_sync(struct sq *s)
{
	pthread_mutexattr_t ma;
	pthread_condattr_t ca;
	pthread_mutexattr_init(&ma);
	pthread_mutexattr_settype(&ma, PTHREAD_MUTEX_ADAPTIVE_NP); /* held for a few instructions each */
	pthread_condattr_init(&ca);
	pthread_condattr_setclock(&ca, CLOCK_MONOTONIC);
	pthread_mutex_init(&s->tmu, &ma);
	pthread_mutex_init(&s->rmu, &ma);
	pthread_mutex_init(&s->qmu, &ma);
	pthread_mutex_init(&s->fail_mu, &ma);
	pthread_cond_init(&s->qcv, &ca);
	pthread_cond_init(&s->warden_cv, &ca);
	pthread_mutexattr_destroy(&ma);
	pthread_condattr_destroy(&ca);
}

/* Undoes what sqlite_store_open did, as far as it came. */
static void destroy(struct sq *s)
{
	size_t it = 0;
	struct str name;
	void *t;
	readers_free(s); /* first: then the writer's connections are the last and may remove their logs */
	writer_stop(s);
	images_drop(s, NULL);
	chunk_cache_free(s);
	while (map_next(&s->tenants, &it, &name, &t))
		tenant_free(t);
	map_release(&s->tenants);
	tenant_free(s->keys);
	if (s->lock_fd >= 0)
		close(s->lock_fd);
	pthread_mutex_destroy(&s->tmu);
	pthread_mutex_destroy(&s->rmu);
	pthread_mutex_destroy(&s->qmu);
	pthread_mutex_destroy(&s->fail_mu);
	pthread_cond_destroy(&s->qcv);
	pthread_cond_destroy(&s->warden_cv);
	free(s->dir);
	free(s);
}

static void sq_close(struct store *s)
{
	destroy(sq_of(s));
}

static enum err open_files(struct sq *s, uint32_t busy_ms)
{
	char *path;
	TRY(make_dirs(s->dir));
	TRY(lock(s, busy_ms));
	if (asprintf(&path, "%s/tenants", s->dir) < 0)
		return err_set(E_LIMIT, "out of memory in the store");
	enum err e = make_dir(path);
	free(path);
	TRY(e);
	TRY(chunk_cache_new(s));
	TRY(tenants_load(s));
	TRY(tenant_new(s, STR("keys"), true, &s->keys));
	if (access(s->keys->path, F_OK) == 0)
		atomic_store(&s->keys->state, T_UNKNOWN);
	return writer_start(s);
}

enum err sqlite_store_open(struct str path, const struct store_options *opt, const char *vfs, struct store **out)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	*out = NULL;
	while (path.n > 1 && path.p[path.n - 1] == '/')
		path.n--;
	if (path.n == 0 || path.n > 3000 || memchr(path.p, 0, path.n))
		return err_field(E_INVALID, "store", -1, "sqlite: needs the path of a directory, as in sqlite:/var/lib/cenote");
	pthread_once(&once, sqlite_once);
	struct sq *s = calloc(1, sizeof *s);
	if (!s || !(s->dir = strndup(path.p, path.n))) {
		free(s);
		return err_set(E_LIMIT, "out of memory in the store");
	}
	s->base.ops = &ops;
	s->vfs = vfs;
	s->lock_fd = -1;
	s->durable = opt->durable;
	s->cache_bytes = opt->cache_bytes;
	s->wal_limit_pages = (opt->wal_limit_bytes ? opt->wal_limit_bytes : 8u << 20) / 4096;
	s->queue_max = opt->queue_max ? opt->queue_max : 20000;
	s->q_end = &s->q_head;
	list_init(&s->open_tenants);
	list_init(&s->images);
	map_init(&s->tenants);
	init_sync(s);
	enum err e = open_files(s, opt->busy_ms);
	if (e != OK) {
		struct diag d = *diag_get();
		destroy(s);
		*diag_get() = d;
		return e;
	}
	*out = &s->base;
	return OK;
}
