/* `cenote migrate` and `cenote doctor` on SQLite. Both open the store under its lock, as a server would: so files of a running
 * server are left alone, and what can be said of them is that it runs. */
#include "store/sqlite/sqlite.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "store/sqlite/sq.h"

#define FREE_LEAST (UINT64_C(256) << 20)

/* ---------------------------------------------------------------- migrate */

static enum err version_of(struct tenant *t, int64_t *version)
{
	struct conn *c;
	TRY(conn_open(t, t->path, CONN_READ, &c));
	enum err e = schema_version(c, version);
	conn_close(c);
	return e;
}

static enum err migrate_file(struct tenant *t, bool dry_run, step_fn fn, void *ctx)
{
	char text[160];
	int64_t before, after;
	bool absent;
	TRY(version_of(t, &before));
	after = before;
	if (!dry_run) {
		TRY(tenant_ready(t, false, &absent));
		TRY(version_of(t, &after));
	}
	if (before != after)
		snprintf(text, sizeof text, "layout %" PRId64 ", was %" PRId64, after, before);
	else
		snprintf(text, sizeof text, "layout %" PRId64, after);
	const struct store_step s = {.tenant = str_c(t->keys ? "" : t->name), .place = str_c(t->base), .text = str_c(text)};
	fn(ctx, &s);
	return OK;
}

static enum err dir_there(struct str path)
{
	char *p = strndup(path.p ? path.p : "", path.n);
	struct stat st;
	enum err e = OK;
	if (!p)
		return err_set(E_LIMIT, "out of memory in the store");
	if (stat(p, &st) != 0)
		e = err_set(errno == ENOENT ? E_NOT_FOUND : E_IO, "the store's folder %s cannot be looked at: %s", p,
			    strerror(errno));
	else if (!S_ISDIR(st.st_mode))
		e = err_set(E_INVALID, "%s is not a folder; sqlite: needs the path of one", p);
	free(p);
	return e;
}

enum err sqlite_store_migrate(struct str path, const struct store_options *opt, struct str tenant, bool dry_run, step_fn fn,
			      void *ctx)
{
	struct store *st;
	size_t n;
	enum err e = OK;
	bool found = tenant.n == 0;
	if (dry_run)
		TRY(dir_there(path));
	TRY(sqlite_store_open(path, opt, NULL, &st));
	struct sq *s = (struct sq *)(void *)st;
	struct tenant **all = tenants_all(s, &n);
	for (size_t i = 0; i < n && e == OK; i++) {
		if (tenant.n && !str_eq(tenant, str_c(all[i]->name)))
			continue;
		found = true;
		e = migrate_file(all[i], dry_run, fn, ctx);
	}
	if (e == OK && tenant.n == 0 && access(s->keys->path, F_OK) == 0)
		e = migrate_file(s->keys, dry_run, fn, ctx);
	if (e == OK && !found)
		e = err_set(E_NOT_FOUND, "the store has no tenant %.*s", STR_ARG(tenant));
	free(all);
	struct diag d = *diag_get();
	st->ops->close(st);
	*diag_get() = d;
	return e;
}

/* ----------------------------------------------------------------- doctor */

struct doctor {
	finding_fn fn;
	void *ctx;
};

static void tell(struct doctor *d, enum finding_level level, const char *check, const char *place, const char *fix,
		 const char *data, const char *text)
{
	const struct store_finding f = {level, check, str_c(place), str_c(text), str_c(fix), str_c(data)};
	d->fn(d->ctx, &f);
}

static void disk(struct doctor *d, const char *dir)
{
	struct statvfs v;
	char text[128], data[128];
	if (statvfs(dir, &v) != 0) {
		tell(d, FIND_WARN, "disk", dir, "", "", strerror(errno));
		return;
	}
	uint64_t left = (uint64_t)v.f_bavail * v.f_frsize, size = (uint64_t)v.f_blocks * v.f_frsize;
	bool low = left < FREE_LEAST;
	snprintf(text, sizeof text, "%" PRIu64 " MiB of %" PRIu64 " MiB are free", left >> 20, size >> 20);
	snprintf(data, sizeof data, "{\"free_bytes\":%" PRIu64 ",\"size_bytes\":%" PRIu64 "}", left, size);
	tell(d, low ? FIND_WARN : FIND_OK, "disk", dir, low ? "make room, or move the store to a larger disk" : "", data, text);
}

/* The pages of the file; unlike integrity_check it does not compare tables with their indexes. */
static enum err quick_check(struct conn *c, char *out, size_t max)
{
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(c->db, "PRAGMA quick_check(1)", -1, &st, NULL);
	out[0] = 0;
	if (rc == SQLITE_OK && (rc = sqlite3_step(st)) == SQLITE_ROW) {
		snprintf(out, max, "%.*s", STR_ARG(col_str(st, 0)));
		rc = SQLITE_DONE;
	}
	enum err e = rc == SQLITE_DONE ? OK : conn_error(c, rc);
	sqlite3_finalize(st);
	return e;
}

static enum err examine(struct doctor *d, struct tenant *t)
{
	struct conn *c;
	char text[256], data[160], found[200];
	int64_t version = 0, pages = 0, unused = 0;
	enum err e;
	TRY(conn_open(t, t->path, CONN_READ, &c));
	CHECK(schema_version(c, &version));
	CHECK(conn_int(c, "PRAGMA page_count", &pages));
	CHECK(conn_int(c, "PRAGMA freelist_count", &unused));
	CHECK(quick_check(c, found, sizeof found));
	bool good = strcmp(found, "ok") == 0;
	snprintf(text, sizeof text,
		 good ? "layout %" PRId64 ", %" PRId64 " KiB, the file is whole" : "layout %" PRId64 ", %" PRId64 " KiB: %s",
		 version, pages * 4, found);
	snprintf(data, sizeof data, "{\"layout\":%" PRId64 ",\"pages\":%" PRId64 ",\"free_pages\":%" PRId64 "}", version, pages,
		 unused);
	tell(d, good ? FIND_OK : FIND_FAIL, t->keys ? "keys" : "tenant", t->base,
	     good ? "" : "restore the file from a backup, or move it away to start anew", data, text);
out:
	conn_close(c);
	return e;
}

static void examine_or_tell(struct doctor *d, struct tenant *t)
{
	if (examine(d, t) != OK)
		tell(d, FIND_FAIL, t->keys ? "keys" : "tenant", t->base, "", "", diag_get()->text);
}

enum err sqlite_store_doctor(struct str path, const struct store_options *opt, finding_fn fn, void *ctx)
{
	struct doctor d = {fn, ctx};
	struct store_options once = *opt;
	struct store *st;
	size_t n;
	TRY(dir_there(path));
	once.busy_ms = 0;
	char *dir = strndup(path.p, path.n);
	if (!dir)
		return err_set(E_LIMIT, "out of memory in the store");
	disk(&d, dir);
	enum err e = sqlite_store_open(path, &once, NULL, &st);
	if (e == E_BUSY) {
		tell(&d, FIND_OK, "lock", dir, "stop the server to have the files examined", "", diag_get()->text);
		e = OK;
	} else if (e == OK) {
		struct sq *s = (struct sq *)(void *)st;
		struct tenant **all = tenants_all(s, &n);
		tell(&d, FIND_OK, "lock", dir, "", "", "no server uses the store");
		for (size_t i = 0; i < n; i++)
			examine_or_tell(&d, all[i]);
		if (access(s->keys->path, F_OK) == 0)
			examine_or_tell(&d, s->keys);
		free(all);
		st->ops->close(st);
	}
	free(dir);
	return e;
}
