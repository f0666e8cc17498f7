/* Layout of the store's files and its history: a list of steps, step k brings a file of version k to version k + 1.
 *
 * Invariants
 *  1. A file under its final name is complete: it is made under another name, synced and renamed.
 *  2. The version in cenote_meta is changed in the same transaction as the tables.
 *  3. A file of a newer version, or one without cenote_meta, is left untouched. */
#include "store/sqlite/sq.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static const char meta_table[] = "CREATE TABLE cenote_meta(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
				 "INSERT INTO cenote_meta VALUES('schema', '0'), ('clean', '1');";

/* `terms` stands before `value`, so that reading it does not walk the overflow pages of a long value; expires_us = 0 means never.
 */
static const char *const tenant_steps[] = {
	"CREATE TABLE cenote_value(name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;"
	"CREATE TABLE cenote_namespace(id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE);"
	"CREATE TABLE cenote_item(id INTEGER PRIMARY KEY, ns INTEGER NOT NULL, version INTEGER NOT NULL, created_us INTEGER NOT "
	"NULL,"
	" updated_us INTEGER NOT NULL, ttl_minutes REAL NOT NULL, expires_us INTEGER NOT NULL, terms BLOB NOT NULL, key TEXT NOT "
	"NULL,"
	" value TEXT NOT NULL);"
	"CREATE UNIQUE INDEX cenote_item_key ON cenote_item(ns, key);"
	"CREATE INDEX cenote_item_updated ON cenote_item(ns, updated_us);"
	"CREATE INDEX cenote_item_expires ON cenote_item(expires_us) WHERE expires_us > 0;"
	"CREATE TABLE cenote_thread(id INTEGER PRIMARY KEY, thread TEXT NOT NULL UNIQUE, usr TEXT NOT NULL, created_us INTEGER NOT "
	"NULL,"
	" updated_us INTEGER NOT NULL, messages INTEGER NOT NULL);"
	"CREATE INDEX cenote_thread_usr ON cenote_thread(usr, thread);"
	"CREATE TABLE cenote_message(id INTEGER PRIMARY KEY, thread_id INTEGER NOT NULL, pos INTEGER NOT NULL, time_us INTEGER NOT "
	"NULL,"
	" mid TEXT NOT NULL, role TEXT NOT NULL, name TEXT NOT NULL, terms BLOB NOT NULL, content TEXT NOT NULL, metadata TEXT NOT "
	"NULL);"
	"CREATE UNIQUE INDEX cenote_message_pos ON cenote_message(thread_id, pos);"
	"CREATE UNIQUE INDEX cenote_message_mid ON cenote_message(thread_id, mid);",
	/* entries of sessions (entries.c) */
	"ALTER TABLE cenote_thread ADD COLUMN entries INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE cenote_thread ADD COLUMN once BLOB;"
	"ALTER TABLE cenote_thread ADD COLUMN once_us INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE cenote_thread ADD COLUMN once_id INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE cenote_thread ADD COLUMN once_n INTEGER NOT NULL DEFAULT 0;"
	"CREATE TABLE cenote_entry(id INTEGER PRIMARY KEY, thread_id INTEGER NOT NULL, created_us INTEGER NOT NULL, data TEXT NOT "
	"NULL);"
	"CREATE INDEX cenote_entry_thread ON cenote_entry(thread_id);"
	/* the registry: what every kind of write counts; what only thread_put writes lies apart, because it may be long */
	"ALTER TABLE cenote_thread ADD COLUMN checkpoints INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE cenote_thread ADD COLUMN state_us INTEGER NOT NULL DEFAULT 0;"
	"CREATE TABLE cenote_record(thread_id INTEGER PRIMARY KEY, version INTEGER NOT NULL, ttl_minutes REAL NOT NULL, "
	"ttl_strategy "
	"INTEGER NOT NULL, metadata TEXT NOT NULL, config TEXT NOT NULL);"
	/* checkpoints (ckpt.h) */
	"CREATE TABLE cenote_scope(id INTEGER PRIMARY KEY, thread_id INTEGER NOT NULL, ns TEXT NOT NULL);"
	"CREATE UNIQUE INDEX cenote_scope_ns ON cenote_scope(thread_id, ns);"
	"CREATE TABLE cenote_checkpoint(id INTEGER PRIMARY KEY, scope INTEGER NOT NULL, parent INTEGER NOT NULL, marks INTEGER NOT "
	"NULL, cid TEXT NOT NULL, run, body BLOB);"
	"CREATE UNIQUE INDEX cenote_checkpoint_cid ON cenote_checkpoint(scope, cid);"
	"CREATE INDEX cenote_checkpoint_all ON cenote_checkpoint(cid);"
	"CREATE INDEX cenote_checkpoint_parent ON cenote_checkpoint(parent) WHERE parent > 0;"
	"CREATE INDEX cenote_checkpoint_run ON cenote_checkpoint(run) WHERE run IS NOT NULL;"
	"CREATE TABLE cenote_pending(checkpoint INTEGER NOT NULL, task NOT NULL, data BLOB NOT NULL, PRIMARY KEY(checkpoint, "
	"task)) "
	"WITHOUT ROWID;"
	"CREATE TABLE cenote_stream(id INTEGER PRIMARY KEY, scope INTEGER NOT NULL, head, channel TEXT NOT NULL);"
	"CREATE UNIQUE INDEX cenote_stream_channel ON cenote_stream(scope, channel);"
	"CREATE TABLE cenote_version(stream INTEGER NOT NULL, version NOT NULL, type NOT NULL, form INTEGER NOT NULL, size INTEGER "
	"NOT "
	"NULL, data BLOB NOT NULL, PRIMARY KEY(stream, version)) WITHOUT ROWID;"
	"CREATE TABLE cenote_chunk(id INTEGER PRIMARY KEY, data BLOB NOT NULL);",
	/* vectors of documents (vectors.c) */
	"CREATE TABLE cenote_model(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, n INTEGER NOT NULL);"
	"CREATE TABLE cenote_vector(id INTEGER PRIMARY KEY, mark INTEGER NOT NULL, data BLOB NOT NULL);",
	/* facts (facts.c) */
	"ALTER TABLE cenote_item ADD COLUMN fact INTEGER;"
	"ALTER TABLE cenote_item ADD COLUMN valid_from_us INTEGER;"
	"ALTER TABLE cenote_item ADD COLUMN valid_to_us INTEGER;"
	"CREATE TABLE cenote_fact(ns INTEGER NOT NULL, recorded_from_us INTEGER NOT NULL, recorded_to_us INTEGER NOT NULL, fact "
	"INTEGER NOT NULL, valid_from_us INTEGER, valid_to_us INTEGER, ended_us INTEGER, expires_us INTEGER NOT NULL, key TEXT NOT "
	"NULL, superseded_by TEXT NOT NULL, terms BLOB NOT NULL, value TEXT NOT NULL);"
	"CREATE UNIQUE INDEX cenote_fact_name ON cenote_fact(ns, key, recorded_from_us);"
	"CREATE INDEX cenote_fact_expires ON cenote_fact(expires_us) WHERE expires_us > 0;",
	/* texts of entries and checkpoints, for recall (texts.c) */
	"CREATE TABLE cenote_text(id INTEGER PRIMARY KEY, thread_id INTEGER NOT NULL, source INTEGER NOT NULL, ref INTEGER NOT "
	"NULL,"
	" pos INTEGER NOT NULL, time_us INTEGER NOT NULL, mark INTEGER NOT NULL, mid TEXT NOT NULL, role TEXT NOT NULL, name TEXT "
	"NOT"
	" NULL, terms BLOB NOT NULL, content TEXT NOT NULL);"
	"CREATE INDEX cenote_text_thread ON cenote_text(thread_id, source, ref);"
	"CREATE TABLE cenote_text_seen(thread_id INTEGER PRIMARY KEY, seen TEXT NOT NULL);",
};
static const char *const keys_steps[] = {
	"CREATE TABLE cenote_key(id TEXT PRIMARY KEY, hash BLOB NOT NULL, name TEXT NOT NULL, tenant TEXT NOT NULL, usr TEXT NOT "
	"NULL,"
	" rights INTEGER NOT NULL, created_us INTEGER NOT NULL, expires_us INTEGER NOT NULL, revoked_us INTEGER NOT NULL,"
	" used_us INTEGER NOT NULL) WITHOUT ROWID;",
};

static const char *const *steps_of(const struct tenant *t, int64_t *n)
{
	*n = t->keys ? (int64_t)(sizeof keys_steps / sizeof *keys_steps) : (int64_t)(sizeof tenant_steps / sizeof *tenant_steps);
	return t->keys ? keys_steps : tenant_steps;
}

enum err schema_version(struct conn *c, int64_t *version)
{
	int64_t tables = 0, newest;
	steps_of(c->t, &newest);
	TRY(conn_int(c, "SELECT count(*) FROM sqlite_schema WHERE name = 'cenote_meta'", &tables));
	if (tables == 0)
		return err_set(E_CORRUPT,
			       "%s is not a file of this store (it has no table cenote_meta); move it away to start anew",
			       c->t->base);
	TRY(conn_int(c, "SELECT CAST(value AS INTEGER) FROM cenote_meta WHERE name = 'schema'", version));
	if (*version > newest)
		return err_set(
			E_CORRUPT,
			"%s was written by a newer release (layout %lld, this one knows up to %lld); use that release or restore "
			"an older backup",
			c->t->base, (long long)*version, (long long)newest);
	if (*version < 0)
		return err_set(E_CORRUPT, "%s has an impossible layout version; restore it from a backup", c->t->base);
	return OK;
}

static enum err step(struct conn *c, const char *text, int64_t version)
{
	char mark[96];
	enum err e = conn_exec(c, text);
	snprintf(mark, sizeof mark, "UPDATE cenote_meta SET value = '%lld' WHERE name = 'schema'", (long long)version);
	return e == OK ? conn_exec(c, mark) : e;
}

enum err schema_migrate(struct conn *c)
{
	int64_t n, v = 0;
	const char *const *steps = steps_of(c->t, &n);
	TRY(schema_version(c, &v));
	for (; v < n; v++) {
		TRY(conn_exec(c, "BEGIN IMMEDIATE"));
		enum err e = step(c, steps[v], v + 1);
		if (e == OK)
			e = conn_exec(c, "COMMIT");
		if (e != OK) {
			if (!sqlite3_get_autocommit(c->db))
				(void)sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
			return err_wrap(e, "bringing %s from layout %lld to %lld", c->t->base, (long long)v, (long long)v + 1);
		}
	}
	return OK;
}

enum err schema_check(struct conn *c)
{
	int64_t clean = 0, pages = 0, version = 0;
	TRY(schema_version(c, &version));
	TRY(conn_int(c, "SELECT value = '1' FROM cenote_meta WHERE name = 'clean'", &clean));
	if (clean)
		return OK;
	TRY(conn_int(c, "PRAGMA page_count", &pages));
	uint64_t from = clock_mono_ns();
	sqlite3_stmt *st = NULL;
	/* The full check also compares tables with their indexes; too slow for large files. */
	const char *text = pages < 16384 ? "PRAGMA integrity_check(1)" : "PRAGMA quick_check(1)";
	int rc = sqlite3_prepare_v2(c->db, text, -1, &st, NULL);
	bool good = false;
	if (rc == SQLITE_OK && (rc = sqlite3_step(st)) == SQLITE_ROW) {
		good = str_eq(col_str(st, 0), STR("ok"));
		rc = SQLITE_DONE;
	}
	enum err e = rc == SQLITE_DONE ? OK : conn_error(c, rc);
	sqlite3_finalize(st);
	LOG(LOG_INFO, "store", "the last stop was not clean: file checked", LF_C("file", c->t->base), LF_INT("pages", pages),
	    LF_MS("ms", (double)(clock_mono_ns() - from) / 1e6));
	if (e == OK && !good)
		e = err_set(E_CORRUPT,
			    "the store file %s is damaged (its check after an unclean stop failed); restore it from a backup, or "
			    "move it away to start anew",
			    c->t->base);
	return e;
}

enum err schema_use_wal(struct conn *c)
{
	sqlite3_stmt *st = NULL;
	bool wal = false;
	int rc = sqlite3_prepare_v2(c->db, "PRAGMA journal_mode = WAL", -1, &st, NULL);
	/* To the end: the mode is committed after the row. */
	while (rc == SQLITE_OK || rc == SQLITE_ROW) {
		rc = sqlite3_step(st);
		if (rc == SQLITE_ROW)
			wal = str_eq(col_str(st, 0), STR("wal"));
	}
	enum err e = rc == SQLITE_DONE ? OK : conn_error(c, rc);
	sqlite3_finalize(st);
	if (e == OK && !wal)
		e = err_set(E_IO, "the file system does not allow SQLite's write-ahead log for %s", c->t->base);
	return e;
}

/* The whole file, in the end one without a WAL beside it. */
static enum err fill(struct tenant *t, const char *path)
{
	struct conn *c;
	enum err e;
	TRY(conn_open(t, path, CONN_CREATE, &c));
	CHECK(conn_exec(c, "BEGIN IMMEDIATE"));
	CHECK(conn_exec(c, meta_table));
	CHECK(conn_exec(c, "COMMIT"));
	CHECK(schema_migrate(c));
	/* Last: only the two version bytes of the header change, in a synced transaction of the rollback journal. */
	CHECK(schema_use_wal(c));
out:
	if (e == OK)
		sqlite3_db_config(c->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
	conn_close(c);
	return e;
}

static enum err sync_dir(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *dir = slash ? strndup(path, (size_t)(slash - path)) : NULL;
	int fd = dir ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	enum err e = OK;
	if (fd < 0 || fsync(fd) != 0)
		e = err_set(E_IO, "the store's folder could not be synced: %s", strerror(errno));
	if (fd >= 0)
		close(fd);
	free(dir);
	return e;
}

static void unlink_all(char *path, size_t n)
{
	static const char *const tails[] = {"", "-journal", "-wal", "-shm"};
	for (unsigned i = 0; i < sizeof tails / sizeof *tails; i++) {
		snprintf(path + n, 16, "%s", tails[i]);
		unlink(path);
	}
	path[n] = 0;
}

enum err schema_create(struct tenant *t)
{
	size_t n = strlen(t->path) + 4;
	char *tmp = malloc(n + 16);
	struct stat st;
	enum err e;
	if (!tmp)
		return err_set(E_LIMIT, "out of memory in the store");
	snprintf(tmp, n + 1, "%s.new", t->path);
	unlink_all(tmp, n);
	CHECK(fill(t, tmp));
	snprintf(tmp + n, 16, "-wal");
	bool wal_left = stat(tmp, &st) == 0 && st.st_size > 0;
	tmp[n] = 0;
	if (wal_left || chmod(tmp, 0600) != 0 || rename(tmp, t->path) != 0)
		e = err_set(E_IO, "the store file %s could not be made: %s", t->base,
			    wal_left ? "its log was left behind" : strerror(errno));
	else
		e = sync_dir(t->path);
out:
	if (e != OK)
		unlink_all(tmp, n);
	free(tmp);
	return e;
}
