/* What is particular to checkpoints in the compact layout: versions share chunks, freeing leaves exactly what is referred to, also
 * after failures of the disk and in a process that begins anew, and files of the release before are brought up to date. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "core/thread_store.h"
#include "fault_vfs.h"
#include "store/pack/pack.h"
#include "store/sqlite/sqlite.h"
#include "temp_store.h"

static const struct principal ALICE = {.tenant = STR_INIT("alice"), .rights = RIGHT_ALL};
static struct store *S;
static struct arena scratch;
static uint64_t seed;

#define assert_ok(expr)                                                                                                            \
	do {                                                                                                                       \
		enum err got_ = (expr);                                                                                            \
		if (got_ != OK)                                                                                                    \
			fail_msg("%s: %s (%s)", #expr, err_name(got_), diag_get()->text);                                          \
	} while (0)

static int setup(void **state)
{
	(void)state;
	temp_new();
	arena_init(&scratch, 256u << 20);
	assert_ok(temp_open(NULL, &S));
	return 0;
}

static void shut(void)
{
	if (S)
		S->ops->close(S);
	S = NULL;
}

static int teardown(void **state)
{
	(void)state;
	shut();
	arena_release(&scratch);
	temp_remove();
	return 0;
}

static unsigned rnd(unsigned n)
{
	seed ^= seed >> 12;
	seed ^= seed << 25;
	seed ^= seed >> 27;
	return (unsigned)((seed * UINT64_C(2685821657736338717)) >> 33) % n;
}

/* ---------------------------------------------------------------- a chat: one value that grows */

enum { CHAT = 400, ROOM = 1 << 20 };
static char *said;		/* all that is said, after a head of three bytes that depends on the length */
static size_t length[CHAT + 1]; /* of version i */

static void chat_make(size_t mean)
{
	static const char *const words[] = {"the ",
					    "agent ",
					    "content ",
					    "additional_kwargs ",
					    "\x85\xa4type\xa2"
					    "ai",
					    "response_metadata "};
	size_t n = 3;
	said = malloc(ROOM);
	assert_non_null(said);
	seed = 20;
	for (int i = 0; i <= CHAT; i++) {
		size_t until = n + mean / 2 + rnd((unsigned)mean);
		while (n < until && n + 32 < ROOM) {
			n += (size_t)snprintf(said + n, 32, "%s%u ", words[rnd(6)], rnd(1000000));
		}
		length[i] = n;
	}
}

static void head_of(int version)
{
	said[0] = (char)0xdc;
	said[1] = (char)(version >> 8);
	said[2] = (char)version;
}

static enum err say(const char *thread, int i)
{
	char id[16], parent[16], version[64], json[200];
	head_of(i);
	snprintf(id, sizeof id, "%06d", i);
	snprintf(parent, sizeof parent, "%06d", i - 1);
	snprintf(version, sizeof version, "%032d.0.%016d", i, i);
	snprintf(json, sizeof json, "{\"v\":4,\"channel_versions\":{\"messages\":\"%s\"}}", version);
	struct ckpt_value v = {STR("messages"), str_c(version), STR("msgpack"), str_of(said, length[i])};
	struct ckpt_change c = {.op = CK_PUT,
				.thread = str_c(thread),
				.ns = STR(""),
				.id = str_c(id),
				.parent = i ? str_c(parent) : STR(""),
				.checkpoint = str_c(json),
				.metadata = STR("{}"),
				.values = &v,
				.values_n = 1};
	return S->ops->checkpoints->write(S, &ALICE, &c, 1);
}

static bool said_so(const char *thread, int i)
{
	struct ckpt c;
	bool found;
	char id[16];
	snprintf(id, sizeof id, "%06d", i);
	struct ckpt_query q = {.thread = str_c(thread), .ns = STR(""), .id = str_c(id), .want = CK_VALUES};
	arena_clear(&scratch);
	assert_ok(S->ops->checkpoints->get(S, &scratch, &ALICE, &q, &c, &found));
	if (!found)
		return false;
	assert_int_equal(c.values_n, 1);
	head_of(i);
	assert_true(str_eq(c.values[0].bytes, str_of(said, length[i])));
	return true;
}

static int64_t stored(const char *thread)
{
	struct ckpt_storage s;
	assert_ok(S->ops->checkpoints->storage(S, &scratch, &ALICE, str_c(thread), &s));
	return s.value_bytes;
}

static void forget(const char *thread, int from, int to)
{
	struct ckpt_ref refs[CHAT];
	char ids[CHAT][16];
	struct ckpt_removed gone;
	size_t n = 0;
	for (int i = from; i < to; i++) {
		snprintf(ids[n], sizeof ids[n], "%06d", i);
		refs[n] = (struct ckpt_ref){STR(""), str_c(ids[n])};
		n++;
	}
	assert_ok(S->ops->checkpoints->remove(S, &ALICE, str_c(thread), refs, n, &gone));
	assert_int_equal(gone.checkpoints, n);
	assert_int_equal(gone.values, n);
}

/* ---------------------------------------------------------------- what the file has */

static sqlite3 *db;

static int64_t number(const char *sql)
{
	sqlite3_stmt *st;
	assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &st, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(st), SQLITE_ROW);
	int64_t v = sqlite3_column_int64(st, 0);
	sqlite3_finalize(st);
	return v;
}

static void mark(int64_t stream, int64_t n)
{
	sqlite3_stmt *st;
	assert_int_equal(sqlite3_prepare_v2(db, "INSERT OR IGNORE INTO live VALUES(?1)", -1, &st, NULL), SQLITE_OK);
	sqlite3_bind_int64(st, 1, stream << 28 | n);
	assert_int_equal(sqlite3_step(st), SQLITE_DONE);
	sqlite3_finalize(st);
}

static void mark_list(int64_t stream, struct str list, bool tree)
{
	int64_t *ids;
	size_t n;
	assert_ok(pack_unlist(&scratch, list, &ids, &n));
	for (size_t i = 0; i < n; i++) {
		mark(stream, ids[i]);
		if (!tree || i == 0)
			continue;
		sqlite3_stmt *st;
		assert_int_equal(sqlite3_prepare_v2(db, "SELECT data FROM cenote_chunk WHERE id = ?1", -1, &st, NULL), SQLITE_OK);
		sqlite3_bind_int64(st, 1, stream << 28 | ids[i]);
		assert_int_equal(sqlite3_step(st), SQLITE_ROW);
		mark_list(stream, str_of(sqlite3_column_blob(st, 0), (size_t)sqlite3_column_bytes(st, 0)), false);
		sqlite3_finalize(st);
	}
}

/* Closes the store and looks at its file: every chunk that a list names is there, and there is none besides; nothing hangs in the
 * air. */
static void check_file(void)
{
	sqlite3_stmt *st;
	shut();
	assert_int_equal(sqlite3_open(temp_path("tenants/alice.sqlite"), &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "CREATE TEMP TABLE live(id INTEGER PRIMARY KEY)", NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(db, "SELECT stream, form, data FROM cenote_version WHERE form > 0", -1, &st, NULL),
			 SQLITE_OK);
	while (sqlite3_step(st) == SQLITE_ROW)
		mark_list(sqlite3_column_int64(st, 0), str_of(sqlite3_column_blob(st, 2), (size_t)sqlite3_column_bytes(st, 2)),
			  sqlite3_column_int(st, 1) == 2);
	sqlite3_finalize(st);
	static const char *const nothing[] = {
		"SELECT count(*) FROM live WHERE id NOT IN (SELECT id FROM cenote_chunk)",
		"SELECT count(*) FROM cenote_chunk WHERE id NOT IN (SELECT id FROM live)",
		"SELECT count(*) FROM cenote_version WHERE stream NOT IN (SELECT id FROM cenote_stream)",
		"SELECT count(*) FROM cenote_stream WHERE scope NOT IN (SELECT id FROM cenote_scope)",
		"SELECT count(*) FROM cenote_stream WHERE id NOT IN (SELECT stream FROM cenote_version)",
		"SELECT count(*) FROM cenote_stream x WHERE head IS NOT NULL AND NOT EXISTS (SELECT 1 FROM cenote_version WHERE "
		"stream "
		"= x.id AND version = head)",
		"SELECT count(*) FROM cenote_scope WHERE id NOT IN (SELECT scope FROM cenote_checkpoint)",
		"SELECT count(*) FROM cenote_scope WHERE thread_id NOT IN (SELECT id FROM cenote_thread)",
		"SELECT count(*) FROM cenote_checkpoint WHERE scope NOT IN (SELECT id FROM cenote_scope)",
		"SELECT count(*) FROM cenote_checkpoint WHERE parent <> 0 AND parent NOT IN (SELECT id FROM cenote_checkpoint)",
		"SELECT count(*) FROM cenote_checkpoint c WHERE body IS NULL AND NOT EXISTS (SELECT 1 FROM cenote_checkpoint WHERE "
		"parent = c.id) AND NOT EXISTS (SELECT 1 FROM cenote_pending WHERE checkpoint = c.id)",
		"SELECT count(*) FROM cenote_pending WHERE checkpoint NOT IN (SELECT id FROM cenote_checkpoint)",
		"SELECT count(*) FROM cenote_thread t WHERE checkpoints <> (SELECT count(*) FROM cenote_scope s JOIN "
		"cenote_checkpoint c "
		"ON c.scope = s.id WHERE s.thread_id = t.id AND c.body IS NOT NULL)",
	};
	for (size_t i = 0; i < sizeof nothing / sizeof *nothing; i++)
		if (number(nothing[i]) != 0)
			fail_msg("%lld: %s", (long long)number(nothing[i]), nothing[i]);
	sqlite3_close(db);
	assert_ok(temp_open(NULL, &S));
}

/* ---------------------------------------------------------------- tests */

/* The cost of a chat is linear: of twice as many turns about twice as much, and a small part of what the values have. */
static void versions_share(void **state)
{
	(void)state;
	int64_t half = 0, whole, raw = 0;
	chat_make(600);
	for (int i = 0; i < CHAT; i++) {
		assert_ok(say("t", i));
		raw += (int64_t)length[i];
		if (i == CHAT / 2 - 1)
			half = stored("t");
	}
	whole = stored("t");
	assert_true(whole < half * 5 / 2);
	assert_true(whole * 80 < raw);
	for (int i = 0; i < CHAT; i += 7)
		assert_true(said_so("t", i));
	check_file();
	assert_true(said_so("t", CHAT - 1));
	free(said);
}

/* A store that was opened anew finds the chunks that are there. */
static void shares_after_a_restart(void **state)
{
	(void)state;
	chat_make(600);
	for (int i = 0; i < 200; i++)
		assert_ok(say("t", i));
	int64_t before = stored("t");
	for (int i = 200; i < 210; i++) {
		shut();
		assert_ok(temp_open(NULL, &S));
		assert_ok(say("t", i));
	}
	assert_true(stored("t") - before < 10 * 3000); /* the value has 120 KB */
	check_file();
	free(said);
}

static void freeing(void **state)
{
	(void)state;
	chat_make(400);
	for (int i = 0; i < 300; i++)
		assert_ok(say("t", i));
	forget("t", 0, 299);
	assert_true(said_so("t", 299));
	assert_true(stored("t") < (int64_t)length[299]);
	check_file();
	assert_ok(say("t", 300)); /* the cache knows what went */
	assert_true(said_so("t", 300) && said_so("t", 299));
	forget("t", 299, 300);
	assert_true(said_so("t", 300));
	assert_ok(say("t", 299));
	assert_true(said_so("t", 300) && said_so("t", 299));
	check_file();
	forget("t", 299, 301);
	check_file();
	struct thread_info t;
	bool found;
	assert_ok(S->ops->threads->get(S, &scratch, &ALICE, STR("t"), &t, &found));
	assert_false(found);
	free(said);
}

/* Removal of any checkpoints in any order, between puts and restarts. */
static void freeing_at_random(void **state)
{
	(void)state;
	bool there[CHAT] = {false};
	chat_make(500);
	int rounds = 24 / (int)temp_slowness();
	for (int round = 0; round < rounds; round++) {
		for (int k = 0; k < 25; k++) {
			int i = (int)rnd(CHAT);
			if (!there[i])
				assert_ok(say("t", i));
			there[i] = true;
		}
		for (int k = 0; k < 20; k++) {
			int i = (int)rnd(CHAT);
			if (there[i])
				forget("t", i, i + 1);
			there[i] = false;
		}
		for (int i = 0; i < CHAT; i++)
			assert_int_equal(said_so("t", i), there[i]);
		if (round % 4 == 0)
			check_file();
	}
	assert_ok(S->ops->checkpoints->copy(S, &ALICE, STR("t"), STR("u"), NULL, 0));
	check_file();
	assert_ok(S->ops->threads->remove(S, &ALICE, STR("t"), THREAD_ALL));
	for (int i = 0; i < CHAT; i++)
		assert_int_equal(said_so("u", i), there[i]);
	check_file();
	free(said);
}

/* The Nth operation on the disk fails while a chat goes on and forgets: what failed did not happen, what the cache has learned in
 * it is forgotten. */
static void faults(void **state)
{
	(void)state;
	static const enum fault_kind kinds[] = {FAULT_FULL, FAULT_SYNC, FAULT_WRITE};
	struct store_options opt = {.durable = true, .wal_limit_bytes = 64 << 10, .cache_bytes = 64 << 10};
	int steps = temp_slowness() > 3 ? 13 : 39;
	shut();
	chat_make(500);
	for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
		int i = 0;
		char thread[16];
		snprintf(thread, sizeof thread, "t%zu", k);
		assert_ok(sqlite_store_open(str_c(temp_dir), &opt, "fault", &S));
		for (int nth = 1; nth <= steps; nth++, i++) {
			fault_arm(kinds[k], nth % 13 + 1, false);
			while (say(thread, i) != OK)
				;
			struct ckpt_removed gone;
			char id[16];
			snprintf(id, sizeof id, "%06d", i - 3);
			struct ckpt_ref ref = {STR(""), str_c(id)};
			while (S->ops->checkpoints->remove(S, &ALICE, str_c(thread), &ref, 1, &gone) != OK)
				;
			fault_disarm();
			assert_true(said_so(thread, i));
			assert_true(i < 3 || !said_so(thread, i - 3));
			assert_true(i < 2 || (said_so(thread, i - 1) && said_so(thread, i - 2)));
		}
		check_file();
		shut();
	}
	assert_ok(temp_open(NULL, &S));
	for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
		char thread[16];
		snprintf(thread, sizeof thread, "t%zu", k);
		assert_true(said_so(thread, steps - 1) && !said_so(thread, steps - 4));
	}
	free(said);
}

/* A file as the first layout left it, with a conversation in it. */
static void first_layout(void **state)
{
	(void)state;
	static const char *const old =
		"CREATE TABLE cenote_meta(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
		"INSERT INTO cenote_meta VALUES('schema', '1'), ('clean', '1');"
		"CREATE TABLE cenote_value(name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;"
		"CREATE TABLE cenote_namespace(id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE);"
		"CREATE TABLE cenote_item(id INTEGER PRIMARY KEY, ns INTEGER NOT NULL, version INTEGER NOT NULL, created_us "
		"INTEGER NOT "
		"NULL, updated_us INTEGER NOT NULL, ttl_minutes REAL NOT NULL, expires_us INTEGER NOT NULL, terms BLOB NOT NULL, "
		"key "
		"TEXT NOT NULL, value TEXT NOT NULL);"
		"CREATE UNIQUE INDEX cenote_item_key ON cenote_item(ns, key);"
		"CREATE INDEX cenote_item_updated ON cenote_item(ns, updated_us);"
		"CREATE INDEX cenote_item_expires ON cenote_item(expires_us) WHERE expires_us > 0;"
		"CREATE TABLE cenote_thread(id INTEGER PRIMARY KEY, thread TEXT NOT NULL UNIQUE, usr TEXT NOT NULL, created_us "
		"INTEGER "
		"NOT NULL, updated_us INTEGER NOT NULL, messages INTEGER NOT NULL);"
		"CREATE INDEX cenote_thread_usr ON cenote_thread(usr, thread);"
		"CREATE TABLE cenote_message(id INTEGER PRIMARY KEY, thread_id INTEGER NOT NULL, pos INTEGER NOT NULL, time_us "
		"INTEGER "
		"NOT NULL, mid TEXT NOT NULL, role TEXT NOT NULL, name TEXT NOT NULL, terms BLOB NOT NULL, content TEXT NOT NULL, "
		"metadata TEXT NOT NULL);"
		"CREATE UNIQUE INDEX cenote_message_pos ON cenote_message(thread_id, pos);"
		"CREATE UNIQUE INDEX cenote_message_mid ON cenote_message(thread_id, mid);"
		"INSERT INTO cenote_thread VALUES(7, 't', '', 10, 20, 1);"
		"INSERT INTO cenote_message VALUES(3, 7, 0, 5, 'm', 'user', '', x'', 'hello', '');";
	struct thread_info t;
	bool found;
	shut();
	assert_int_equal(sqlite3_open(temp_path("tenants/alice.sqlite"), &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, old, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	assert_ok(temp_open(NULL, &S));
	assert_ok(S->ops->threads->get(S, &scratch, &ALICE, STR("t"), &t, &found));
	assert_true(found && t.messages == 1 && t.checkpoints == 0 && t.entries == 0 && t.created_us == 10 && t.updated_us == 20);
	chat_make(500);
	assert_ok(say("t", 0));
	assert_true(said_so("t", 0));
	assert_ok(S->ops->threads->get(S, &scratch, &ALICE, STR("t"), &t, &found));
	assert_true(t.messages == 1 && t.checkpoints == 1 && t.version == 0);
	assert_ok(S->ops->threads->remove(S, &ALICE, STR("t"), THREAD_MESSAGES));
	assert_true(said_so("t", 0));
	check_file();
	free(said);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(versions_share), T(shares_after_a_restart), T(freeing), T(freeing_at_random), T(faults), T(first_layout),
	};
	fault_register();
	log_set_level((enum log_level)(LOG_ERROR + 1)); /* faults are expected */
	return cmocka_run_group_tests_name("sqlite checkpoints", tests, NULL, NULL);
}
