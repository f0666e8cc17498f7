/* See foreign.h.
 *
 * Invariants
 *  1. The database and its WAL are never written to. A file in WAL mode without a WAL beside it is opened as immutable, so that
 *     SQLite makes no files beside it either; foreign_settled says whether that was true until the end. With a WAL its index is
 * used as it lies there, and SQLite makes one (NAME-shm) only when it is missing.
 *  2. Everything is read in one transaction.
 *  3. Tables are found by their columns, and columns are addressed by name. Views and virtual tables are not looked at, and nothing
 *     that the file defines is trusted to run.
 *  4. Texts of the file are data: they reach SQL only as parameters, or as names quoted by SQLite's own %w. */
#include "store/sqlite/foreign.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { BUSY_MS = 5000, PAIRS_MAX = 16, SHOWN_MAX = 8 };
#define ROW_MAX ((size_t)2 << 30)

/* A pair of tables of sessions. */
struct pair {
	char *messages;
	bool by_time;  /* SQLAlchemySession orders by time first */
	bool branches; /* message_structure refers to it */
};

struct foreign {
	char *path;
	sqlite3 *db;
	bool immutable;
	struct stat was;
	bool has_path; /* column writes.task_path */
	struct pair pairs[PAIRS_MAX];
	size_t pairs_n;
};

/* ------------------------------------------------------------------- errors */

static enum err failed(const struct foreign *f, int rc)
{
	const char *what = sqlite3_errstr(rc);

	switch (rc & 0xff) {
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return err_set(E_CORRUPT, "%s is damaged (%s)", f->path, what);
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return err_set(E_BUSY, "%s is locked by another program", f->path);
	case SQLITE_NOMEM:
	case SQLITE_TOOBIG:
		return err_set(E_LIMIT, "%s: %s", f->path, what);
	case SQLITE_READONLY:
		return err_set(E_IO, "%s was left in the middle of a change; open it once with the program that wrote it", f->path);
	case SQLITE_CANTOPEN:
	case SQLITE_PERM:
		return err_set(E_IO, "%s or its WAL cannot be opened (%s)", f->path, what);
	case SQLITE_IOERR:
		return err_set(E_IO, "%s cannot be read (%s, code %d)", f->path, what, rc);
	default:
		return err_set(E_INVALID, "%s: %s", f->path, f->db ? sqlite3_errmsg(f->db) : what);
	}
}

static struct str text_at(sqlite3_stmt *st, int i)
{
	const char *p = (const char *)sqlite3_column_text(st, i);

	return str_of(p ? p : "", p ? (size_t)sqlite3_column_bytes(st, i) : 0);
}

static struct str blob_at(sqlite3_stmt *st, int i)
{
	const char *p = sqlite3_column_blob(st, i);

	return str_of(p ? p : "", p ? (size_t)sqlite3_column_bytes(st, i) : 0);
}

/* Takes text, which sqlite3_mprintf has made. */
static enum err prepare(const struct foreign *f, char *text, sqlite3_stmt **out)
{
	int rc = text ? sqlite3_prepare_v2(f->db, text, -1, out, NULL) : SQLITE_NOMEM;

	sqlite3_free(text);
	return rc == SQLITE_OK ? OK : failed(f, rc);
}

static enum err count_of(const struct foreign *f, char *text, uint64_t *n)
{
	sqlite3_stmt *st = NULL;
	enum err e = prepare(f, text, &st);
	int rc;

	if (e == OK && (rc = sqlite3_step(st)) != SQLITE_ROW)
		e = failed(f, rc);
	if (e == OK)
		*n += (uint64_t)sqlite3_column_int64(st, 0);
	sqlite3_finalize(st);
	return e;
}

/* ------------------------------------------------------------------- opening */

/* PATH with what a URI gives a meaning to encoded, then the parameters. */
static char *uri_of(const char *path, const char *parameters)
{
	size_t n = strlen(path), more = strlen(parameters), at = 0;
	char *uri = malloc(n * 3 + more + 8);

	if (!uri)
		return NULL;
	memcpy(uri, "file:", 5);
	at = 5;
	if (path[0] == '/' && path[1] == '/') /* would name a host */
		while (path[1] == '/')
			path++;
	for (; *path; path++) {
		if (strchr("?#%", *path))
			at += (size_t)snprintf(uri + at, 4, "%%%02X", (unsigned char)*path);
		else
			uri[at++] = *path;
	}
	memcpy(uri + at, parameters, more + 1);
	return uri;
}

static bool beside(const char *path, const char *suffix, struct stat *st)
{
	char *name = sqlite3_mprintf("%s%s", path, suffix);
	bool there = name && stat(name, st) == 0;

	sqlite3_free(name);
	return there;
}

static bool wal_mode(const char *path)
{
	unsigned char head[20] = {0};
	FILE *in = fopen(path, "rbe");
	bool wal = in && fread(head, 1, sizeof head, in) == sizeof head && head[18] == 2 && head[19] == 2;

	if (in)
		fclose(in);
	return wal;
}

static bool has_wal(const char *path)
{
	struct stat st;

	return beside(path, "-wal", &st) && st.st_size > 0;
}

static enum err connect(struct foreign *f)
{
	struct stat st;
	const char *parameters = "?mode=ro";
	char *uri;
	int rc;

	if (stat(f->path, &f->was) != 0)
		return err_set(errno == ENOENT ? E_NOT_FOUND : E_IO, "%s: %s", f->path, strerror(errno));
	f->immutable = wal_mode(f->path) && !has_wal(f->path);
	if (f->immutable)
		parameters = "?mode=ro&immutable=1";
	else if (has_wal(f->path) && beside(f->path, "-shm", &st))
		parameters = "?mode=ro&readonly_shm=1";
	uri = uri_of(f->path, parameters);
	if (!uri)
		return err_set(E_LIMIT, "out of memory");
	rc = sqlite3_open_v2(uri, &f->db, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX, NULL);
	free(uri);
	if (rc != SQLITE_OK)
		return failed(f, rc);
	sqlite3_extended_result_codes(f->db, 1);
	sqlite3_db_config(f->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	sqlite3_db_config(f->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
	sqlite3_busy_timeout(f->db, BUSY_MS);
	rc = sqlite3_exec(f->db, "PRAGMA query_only = 1; PRAGMA cell_size_check = 1; BEGIN", NULL, NULL, NULL);
	return rc == SQLITE_OK ? OK : failed(f, rc);
}

enum err foreign_settled(struct foreign *f)
{
	struct stat now;

	if (!f->immutable)
		return OK; /* read under SQLite's locks */
	if (stat(f->path, &now) == 0 && now.st_size == f->was.st_size && now.st_mtim.tv_sec == f->was.st_mtim.tv_sec &&
	    now.st_mtim.tv_nsec == f->was.st_mtim.tv_nsec && !has_wal(f->path))
		return OK;
	return err_set(E_BUSY, "%s was written to while it was read; import it again", f->path);
}

/* ------------------------------------------------------------ what is in it */

/* A table's columns, as far as they tell what it is. */
enum {
	C_THREAD = 1u << 0,
	C_NS = 1u << 1,
	C_ID = 1u << 2,
	C_PARENT = 1u << 3,
	C_TYPE = 1u << 4,
	C_CHECKPOINT = 1u << 5,
	C_METADATA = 1u << 6,
	C_TASK = 1u << 7,
	C_IDX = 1u << 8,
	C_CHANNEL = 1u << 9,
	C_VALUE = 1u << 10,
	C_PATH = 1u << 11,
	C_ROW = 1u << 12,
	C_SESSION = 1u << 13,
	C_DATA = 1u << 14,
	C_MESSAGE = 1u << 15,
	C_BRANCH = 1u << 16,
	C_SEQUENCE = 1u << 17,
	C_CREATED = 1u << 18,

	CHECKPOINTS = C_THREAD | C_NS | C_ID | C_PARENT | C_TYPE | C_CHECKPOINT | C_METADATA,
	WRITES = C_THREAD | C_NS | C_ID | C_TASK | C_IDX | C_CHANNEL | C_TYPE | C_VALUE,
	MESSAGES = C_ROW | C_SESSION | C_DATA,
	STRUCTURE = C_SESSION | C_MESSAGE | C_BRANCH | C_SEQUENCE,
};
static const char *const column_names[] = {
	"thread_id", "checkpoint_ns",	"checkpoint_id", "parent_checkpoint_id",
	"type",	     "checkpoint",	"metadata",	 "task_id",
	"idx",	     "channel",		"value",	 "task_path",
	"id",	     "session_id",	"message_data",	 "message_id",
	"branch_id", "sequence_number", "created_at",
};

struct found {
	char *name;
	unsigned columns;
	bool varchar; /* session_id is one */
};

struct tables {
	struct foreign *f;
	unsigned kinds;
	bool checkpoints, writes, shallow, own, structure;
	char shown[200];
	size_t shown_n;
};

static bool named(const struct found *t, const char *name)
{
	return sqlite3_stricmp(t->name, name) == 0;
}

static bool has(const struct found *t, unsigned columns)
{
	return (t->columns & columns) == columns;
}

static enum err take_table(struct tables *k, const struct found *t)
{
	struct foreign *f = k->f;
	size_t at = strlen(k->shown);

	if (named(t, "checkpoints")) {
		k->checkpoints = has(t, CHECKPOINTS);
		k->shallow = !has(t, C_ID);
	} else if (named(t, "writes") && has(t, WRITES)) {
		k->writes = true;
		f->has_path = has(t, C_PATH);
	} else if (named(t, "message_structure") && has(t, STRUCTURE)) {
		k->structure = true;
	} else if (has(t, MESSAGES)) {
		if (f->pairs_n == PAIRS_MAX)
			return err_set(E_LIMIT, "%s has more than %d tables of session items", f->path, PAIRS_MAX);
		f->pairs[f->pairs_n].by_time = t->varchar && has(t, C_CREATED);
		f->pairs[f->pairs_n].messages = strdup(t->name);
		if (!f->pairs[f->pairs_n++].messages)
			return err_set(E_LIMIT, "out of memory");
	}
	k->own = k->own || named(t, "cenote_meta");
	if (k->shown_n++ < SHOWN_MAX)
		snprintf(k->shown + at, sizeof k->shown - at, "%s%.40s", at ? ", " : "", t->name);
	return OK;
}

static enum err each_table(struct tables *k)
{
	sqlite3_stmt *st = NULL;
	struct found t = {0};
	int rc = SQLITE_DONE;
	enum err e =
		prepare(k->f,
			sqlite3_mprintf("SELECT m.name, p.name, p.type FROM sqlite_schema m JOIN pragma_table_info(m.name) p "
					"WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite\\_%%' ESCAPE '\\' AND m.sql NOT LIKE "
					"'CREATE VIRTUAL%%' ORDER BY m.name, p.cid"),
			&st);

	while (e == OK && (rc = sqlite3_step(st)) == SQLITE_ROW) {
		const char *table = (const char *)sqlite3_column_text(st, 0), *column = (const char *)sqlite3_column_text(st, 1),
			   *type = (const char *)sqlite3_column_text(st, 2);

		if (!table || !column)
			continue;
		if (t.name && strcmp(t.name, table) != 0) {
			e = take_table(k, &t);
			free(t.name);
			t = (struct found){0};
		}
		if (e == OK && !t.name && !(t.name = strdup(table)))
			e = err_set(E_LIMIT, "out of memory");
		for (size_t i = 0; i < sizeof column_names / sizeof column_names[0]; i++)
			if (sqlite3_stricmp(column, column_names[i]) == 0)
				t.columns |= 1u << i;
		if (type && sqlite3_stricmp(column, "session_id") == 0)
			t.varchar = sqlite3_strnicmp(type, "VARCHAR", 7) == 0;
	}
	if (e == OK && rc != SQLITE_DONE)
		e = failed(k->f, rc);
	if (e == OK && t.name)
		e = take_table(k, &t);
	free(t.name);
	sqlite3_finalize(st);
	return e;
}

/* Which table of items the branches are about. */
static enum err find_owner(struct foreign *f)
{
	sqlite3_stmt *st = NULL;
	int rc = SQLITE_DONE;
	enum err e = prepare(f,
			     sqlite3_mprintf("SELECT \"table\" FROM pragma_foreign_key_list('message_structure') WHERE \"from\" = "
					     "'message_id'"),
			     &st);

	while (e == OK && (rc = sqlite3_step(st)) == SQLITE_ROW) {
		const char *owner = (const char *)sqlite3_column_text(st, 0);

		for (size_t i = 0; owner && i < f->pairs_n; i++)
			f->pairs[i].branches = f->pairs[i].branches || sqlite3_stricmp(f->pairs[i].messages, owner) == 0;
	}
	if (e == OK && rc != SQLITE_DONE)
		e = failed(f, rc);
	sqlite3_finalize(st);
	return e;
}

static enum err examine(struct foreign *f, unsigned *kinds)
{
	struct tables k = {.f = f};

	TRY(each_table(&k));
	if (k.structure)
		TRY(find_owner(f));
	*kinds = (k.checkpoints && k.writes ? FOREIGN_CHECKPOINTS : 0u) | (f->pairs_n ? FOREIGN_SESSIONS : 0u);
	if (k.own)
		return err_set(E_INVALID, "%s is a file of a Cenote store: `cenote copy` takes it elsewhere", f->path);
	if (*kinds)
		return OK;
	if (k.shallow)
		return err_set(E_INVALID, "%s is of a saver that keeps no history (checkpoints has no checkpoint_id)", f->path);
	if (k.shown_n == 0)
		return err_set(E_INVALID, "%s is a SQLite file without tables", f->path);
	return err_set(
		E_INVALID,
		"%s is a SQLite file, but neither of LangGraph's SqliteSaver (tables checkpoints and writes) nor of the Agents "
		"SDK's SQLiteSession (agent_messages); it has %s%s",
		f->path, k.shown, k.shown_n > SHOWN_MAX ? ", ..." : "");
}

enum err foreign_open(const char *path, struct foreign **out, unsigned *kinds)
{
	struct foreign *f = calloc(1, sizeof *f);
	enum err e;

	*out = NULL;
	if (f)
		f->path = strdup(path);
	if (!f || !f->path) {
		free(f);
		return err_set(E_LIMIT, "out of memory");
	}
	CHECK(connect(f));
	e = examine(f, kinds);
out:
	if (e != OK) {
		foreign_close(f);
		return e;
	}
	*out = f;
	return OK;
}

void foreign_close(struct foreign *f)
{
	if (!f)
		return;
	sqlite3_close(f->db);
	for (size_t i = 0; i < f->pairs_n; i++)
		free(f->pairs[i].messages);
	free(f->path);
	free(f);
}

/* -------------------------------------------------------------- checkpoints */

/* The writes of the checkpoint whose key st has in its first three columns. */
static enum err read_writes(struct foreign *f, struct arena *a, sqlite3_stmt *key, sqlite3_stmt *st, struct foreign_checkpoint *c)
{
	struct ckpt_pending *v = NULL;
	size_t n = 0, cap = 0;
	int rc;

	for (int i = 0; i < 3; i++)
		if ((rc = sqlite3_bind_value(st, i + 1, sqlite3_column_value(key, i))) != SQLITE_OK)
			return failed(f, rc);
	while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
		if (n == cap) {
			size_t more = cap ? cap * 2 : 16;

			v = arena_grow(a, v, cap * sizeof *v, more * sizeof *v);
			cap = more;
		}
		if (!v)
			return E_NOMEM;
		v[n] = (struct ckpt_pending){.task_id = arena_str(a, text_at(st, 0)),
					     .idx = sqlite3_column_int(st, 1),
					     .channel = arena_str(a, text_at(st, 2)),
					     .type = arena_str(a, text_at(st, 3)),
					     .bytes = arena_str(a, blob_at(st, 4)),
					     .task_path = arena_str(a, text_at(st, 5))};
		if (!v[n].task_id.p || !v[n].channel.p || !v[n].type.p || !v[n].bytes.p || !v[n].task_path.p)
			return E_NOMEM;
		n++;
	}
	sqlite3_reset(st);
	c->writes = v;
	c->writes_n = n;
	return rc == SQLITE_DONE ? OK : failed(f, rc);
}

static enum err each_checkpoint(struct foreign *f, sqlite3_stmt *st, sqlite3_stmt *writes, bool stored, foreign_checkpoint_fn fn,
				void *ctx)
{
	enum err e = OK;
	struct arena a;
	int rc = SQLITE_DONE;

	arena_init(&a, ROW_MAX);
	while (e == OK && (rc = sqlite3_step(st)) == SQLITE_ROW) {
		struct foreign_checkpoint c = {
			.thread = text_at(st, 0), .ns = text_at(st, 1), .id = text_at(st, 2), .stored = stored};

		if (stored) {
			c.parent = text_at(st, 3);
			c.type = text_at(st, 4);
			c.body = blob_at(st, 5);
			c.metadata = blob_at(st, 6);
		}
		e = read_writes(f, &a, st, writes, &c);
		if (e != OK)
			e = err_wrap(e, "thread %.*s, checkpoint %.*s", STR_ARG(c.thread), STR_ARG(c.id));
		else
			e = fn(ctx, &c);
		arena_clear(&a);
	}
	arena_release(&a);
	return e == OK && rc != SQLITE_DONE ? failed(f, rc) : e;
}

#define ONLY_WRITES                                                                                                                \
	"FROM (SELECT DISTINCT thread_id, checkpoint_ns, checkpoint_id FROM main.writes) w WHERE NOT EXISTS (SELECT 1 FROM "       \
	"main.checkpoints c WHERE c.thread_id = w.thread_id AND c.checkpoint_ns = w.checkpoint_ns AND c.checkpoint_id = "          \
	"w.checkpoint_id)"

enum err foreign_checkpoints(struct foreign *f, foreign_checkpoint_fn fn, void *ctx)
{
	sqlite3_stmt *writes = NULL, *st = NULL, *orphans = NULL;
	enum err e;

	CHECK(prepare(f,
		      sqlite3_mprintf("SELECT task_id, idx, channel, type, value, %s FROM main.writes WHERE thread_id = ?1 AND "
				      "checkpoint_ns = ?2 AND checkpoint_id = ?3 ORDER BY task_id, idx",
				      f->has_path ? "task_path" : "''"),
		      &writes));
	CHECK(prepare(f,
		      sqlite3_mprintf("SELECT thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, "
				      "metadata FROM main.checkpoints ORDER BY thread_id, checkpoint_ns, checkpoint_id"),
		      &st));
	CHECK(prepare(f, sqlite3_mprintf("SELECT thread_id, checkpoint_ns, checkpoint_id " ONLY_WRITES), &orphans));
	CHECK(each_checkpoint(f, st, writes, true, fn, ctx));
	e = each_checkpoint(f, orphans, writes, false, fn, ctx);
out:
	sqlite3_finalize(orphans);
	sqlite3_finalize(st);
	sqlite3_finalize(writes);
	return e;
}

/* ------------------------------------------------------------------ sessions */

/* Sessions without branches have no row in message_structure. */
#define WITHOUT_BRANCHES "NOT EXISTS (SELECT 1 FROM main.message_structure x WHERE x.session_id = m.session_id)"
#define WITH_BRANCHES "FROM main.message_structure x JOIN main.\"%w\" m ON m.id = x.message_id AND m.session_id = x.session_id"

static enum err each_item(struct foreign *f, char *text, foreign_item_fn fn, void *ctx)
{
	sqlite3_stmt *st = NULL;
	enum err e = prepare(f, text, &st);
	int rc = SQLITE_DONE;

	while (e == OK && (rc = sqlite3_step(st)) == SQLITE_ROW) {
		struct foreign_item i = {.session = text_at(st, 0), .branch = text_at(st, 1), .row = sqlite3_column_int64(st, 2)};

		if (sqlite3_column_type(st, 3) == SQLITE_TEXT)
			i.data = text_at(st, 3);
		e = fn(ctx, &i);
	}
	sqlite3_finalize(st);
	return e == OK && rc != SQLITE_DONE ? failed(f, rc) : e;
}

enum err foreign_items(struct foreign *f, foreign_item_fn fn, void *ctx)
{
	for (size_t i = 0; i < f->pairs_n; i++) {
		const struct pair *p = &f->pairs[i];

		TRY(each_item(f,
			      sqlite3_mprintf("SELECT m.session_id, '', m.id, m.message_data FROM main.\"%w\" m WHERE %s "
					      "ORDER BY m.session_id, %sm.id",
					      p->messages, p->branches ? WITHOUT_BRANCHES : "true",
					      p->by_time ? "m.created_at, " : ""),
			      fn, ctx));
		if (!p->branches)
			continue;
		TRY(each_item(f,
			      sqlite3_mprintf("SELECT x.session_id, iif(x.branch_id = 'main', '', x.branch_id), m.id, "
					      "m.message_data " WITH_BRANCHES
					      " ORDER BY x.session_id, x.branch_id <> 'main', x.branch_id, "
					      "x.sequence_number",
					      p->messages),
			      fn, ctx));
	}
	return OK;
}

enum err foreign_count(struct foreign *f, enum foreign_kind kind, uint64_t *n)
{
	*n = 0;
	if (kind == FOREIGN_CHECKPOINTS) {
		TRY(count_of(f, sqlite3_mprintf("SELECT count(*) FROM main.checkpoints"), n));
		return count_of(f, sqlite3_mprintf("SELECT count(*) " ONLY_WRITES), n);
	}
	for (size_t i = 0; i < f->pairs_n; i++) {
		const struct pair *p = &f->pairs[i];

		TRY(count_of(f,
			     sqlite3_mprintf("SELECT count(*) FROM main.\"%w\" m WHERE %s", p->messages,
					     p->branches ? WITHOUT_BRANCHES : "true"),
			     n));
		if (p->branches)
			TRY(count_of(f, sqlite3_mprintf("SELECT count(*) " WITH_BRANCHES, p->messages), n));
	}
	return OK;
}
