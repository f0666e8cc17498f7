/* What is particular to the SQLite driver: its directory and lock, files of other versions, damaged files, unclean stops, many
 * tenants, fibers, the log's size, and SIGKILL in the middle of writing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <semaphore.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "core/fact_store.h"
#include "rt/fiber.h"
#include "rt/work.h"
#include "store/sqlite/sqlite.h"
#include "temp_store.h"

static const struct principal ALICE = {.tenant = STR_INIT("alice"), .rights = RIGHT_ALL};
static const struct principal BOB = {.tenant = STR_INIT("bob"), .rights = RIGHT_ALL};
static struct store *S;

static int setup(void **state)
{
	(void)state;
	temp_new();
	assert_int_equal(temp_open(NULL, &S), OK);
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
	temp_remove();
	return 0;
}

static void open_again(void)
{
	shut();
	assert_int_equal(temp_open(NULL, &S), OK);
}

static enum err put_as(const struct principal *who, const char *key, const char *value)
{
	struct item_write w = {.op = W_PUT, .ns = STR("n"), .key = str_c(key), .value = str_c(value), .terms = STR("t")};
	return S->ops->item_write(S, who, &w, 1, false);
}

/* -1: error; 0: absent; else 1, and the value is as given. */
static int has(const struct principal *who, const char *key, const char *value)
{
	struct arena a;
	struct item it;
	bool found;
	arena_init(&a, 8 << 20);
	int r = S->ops->item_get(S, &a, who, STR("n"), str_c(key), 0, &it, &found) != OK ? -1 : found;
	if (r == 1)
		assert_true(str_eq(it.value, str_c(value)));
	arena_release(&a);
	return r;
}

/* Runs SQL on a closed store's file. */
static void sql(const char *file, const char *text)
{
	sqlite3 *db;
	assert_int_equal(sqlite3_open(temp_path(file), &db), SQLITE_OK);
	if (sqlite3_exec(db, text, NULL, NULL, NULL) != SQLITE_OK)
		fail_msg("%s: %s", text, sqlite3_errmsg(db));
	sqlite3_close(db);
}

static void urls(void **state)
{
	(void)state;
	struct arena a;
	struct store *s;
	struct store_options opt = {.durable = true};
	arena_init(&a, 1 << 16);
	assert_true(str_eq(store_socket_path(&a, STR("sqlite:/x/y/")), STR("/x/y/cenote.sock")));
	assert_true(str_eq(store_socket_path(&a, STR("other:/x")), STR("")));
	assert_int_equal(store_open(STR("other:/x"), &opt, &s), E_INVALID);
	assert_int_equal(store_open(STR("/x"), &opt, &s), E_INVALID);
	assert_int_equal(store_open(STR("sqlite:"), &opt, &s), E_INVALID);
	assert_int_equal(store_open(STR("sqlite:/dev/null/x"), &opt, &s), E_IO);
	assert_null(s);
	arena_release(&a);
}

static unsigned mode_of(const char *name)
{
	struct stat st;
	return stat(temp_path(name), &st) == 0 ? st.st_mode & 0777 : 0;
}

static void files_and_lock(void **state)
{
	(void)state;
	struct store *other;
	char want[64];
	struct stat st;
	assert_int_equal(has(&ALICE, "k", ""), 0);
	assert_int_equal(mode_of("tenants/alice.sqlite"), 0); /* reading makes no file */
	assert_int_equal(put_as(&ALICE, "k", "{}"), OK);
	assert_int_equal(mode_of("tenants"), 0700);
	assert_int_equal(mode_of("tenants/alice.sqlite"), 0600);
	assert_int_equal(mode_of("tenants/alice.sqlite-wal"), 0600);
	assert_int_equal(mode_of("lock"), 0600);
	assert_int_equal(temp_open(NULL, &other), E_BUSY);
	snprintf(want, sizeof want, "process %ld", (long)getpid());
	assert_non_null(strstr(diag_get()->text, want));
	shut();
	assert_int_not_equal(stat(temp_path("tenants/alice.sqlite-wal"), &st), 0); /* a clean stop leaves one file */
	assert_int_equal(temp_open(NULL, &S), OK);
	assert_int_equal(has(&ALICE, "k", "{}"), 1);
}

static void makes_its_directories(void **state)
{
	(void)state;
	struct store *s;
	struct store_options opt = {.durable = false};
	char path[600];
	snprintf(path, sizeof path, "%s/deep/er", temp_dir);
	assert_int_equal(sqlite_store_open(str_c(path), &opt, NULL, &s), OK);
	s->ops->close(s);
	assert_int_equal(mode_of("deep/er"), 0700);
}

static void newer_version(void **state)
{
	(void)state;
	assert_int_equal(put_as(&ALICE, "k", "{}"), OK);
	assert_int_equal(put_as(&BOB, "k", "{}"), OK);
	shut();
	sql("tenants/alice.sqlite", "UPDATE cenote_meta SET value = '999' WHERE name = 'schema'");
	open_again();
	assert_int_equal(has(&ALICE, "k", "{}"), -1);
	assert_int_equal(diag_get()->code, E_CORRUPT);
	assert_non_null(strstr(diag_get()->text, "newer"));
	assert_int_equal(put_as(&ALICE, "k", "{}"), E_CORRUPT);
	assert_int_equal(has(&BOB, "k", "{}"), 1); /* the others go on */
	assert_int_equal(S->ops->ping(S), OK);
	shut();
	sql("tenants/alice.sqlite", "UPDATE cenote_meta SET value = '5' WHERE name = 'schema'");
	open_again();
	assert_int_equal(has(&ALICE, "k", "{}"), 1);
}

/* A file that stopped before the first step, as one of an older release would: the steps are run. */
static void migrates(void **state)
{
	(void)state;
	shut();
	sql("tenants/alice.sqlite", "CREATE TABLE cenote_meta(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
				    "INSERT INTO cenote_meta VALUES('schema', '0'), ('clean', '1')");
	open_again();
	assert_int_equal(has(&ALICE, "k", ""), 0);
	assert_int_equal(put_as(&ALICE, "k", "{}"), OK);
	assert_int_equal(has(&ALICE, "k", "{}"), 1);
}

static bool take_doc(void *ctx, const struct doc_change *d)
{
	*(struct doc_vector *)ctx = (struct doc_vector){.id = d->id, .mark = d->mark};
	return false;
}

/* A file of the layout before vectors, with an item: it gets the tables, and the item a vector. */
static void gets_vectors(void **state)
{
	(void)state;
	struct doc_vector v = {0}, kept = {0};
	assert_int_equal(put_as(&ALICE, "k", "{}"), OK);
	shut();
	sql("tenants/alice.sqlite",
	    "DROP TABLE cenote_text; DROP TABLE cenote_text_seen; DROP TABLE cenote_fact; ALTER TABLE cenote_item DROP COLUMN fact;"
	    "ALTER TABLE cenote_item DROP COLUMN valid_from_us; ALTER TABLE cenote_item DROP COLUMN valid_to_us;"
	    "DROP TABLE cenote_vector; DROP TABLE cenote_model; UPDATE cenote_meta SET value = '2' WHERE name = 'schema'");
	open_again();
	assert_int_equal(has(&ALICE, "k", "{}"), 1);
	assert_int_equal(S->ops->doc_walk(S, &ALICE, DOC_ITEM, STR("m"), 0, 10, take_doc, &v), OK);
	assert_true(v.id > 0 && v.mark == 0);
	v.mark = 7;
	v.data = STR("vector");
	assert_int_equal(S->ops->vector_put(S, &ALICE, DOC_ITEM, STR("m"), &v, 1), OK);
	open_again();
	assert_int_equal(S->ops->doc_walk(S, &ALICE, DOC_ITEM, STR("m"), 0, 10, take_doc, &kept), OK);
	assert_true(kept.id == v.id && kept.mark == 7);
}

static void foreign_file(void **state)
{
	(void)state;
	shut();
	sql("tenants/alice.sqlite", "CREATE TABLE mine(x)");
	open_again();
	assert_int_equal(put_as(&ALICE, "k", "{}"), E_CORRUPT);
	assert_non_null(strstr(diag_get()->text, "alice.sqlite"));
	shut();
	sql("tenants/alice.sqlite", "INSERT INTO mine VALUES(1)"); /* untouched */
}

static void scribble(const char *name, off_t at, size_t n)
{
	char junk[4096];
	memset(junk, 0xA7, sizeof junk);
	int fd = open(temp_path(name), O_WRONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, junk, n, at), (ssize_t)n);
	close(fd);
}

static void damaged_file(void **state)
{
	(void)state;
	char key[32];
	for (int i = 0; i < 300; i++) {
		snprintf(key, sizeof key, "k%d", i);
		assert_int_equal(put_as(&ALICE, key, "{\"text\":\"some words to fill a page or two with something\"}"), OK);
	}
	assert_int_equal(put_as(&BOB, "k", "{}"), OK);
	shut();
	/* As after an unclean stop: the flag is cleared; then the pages of a table are overwritten. */
	sql("tenants/alice.sqlite", "UPDATE cenote_meta SET value = '0' WHERE name = 'clean'");
	for (int page = 20; page < 24; page++)
		scribble("tenants/alice.sqlite", 4096 * page, 4096);
	open_again();
	assert_int_equal(has(&ALICE, "k1", ""), -1);
	assert_int_equal(diag_get()->code, E_CORRUPT);
	assert_non_null(strstr(diag_get()->text, "alice.sqlite"));
	assert_null(strstr(diag_get()->text, temp_dir));
	assert_int_equal(put_as(&ALICE, "k1", "{}"), E_CORRUPT);
	assert_int_equal(has(&BOB, "k", "{}"), 1);
	shut();
	scribble("tenants/alice.sqlite", 0, 100); /* not even a database any more */
	open_again();
	assert_int_equal(has(&ALICE, "k1", ""), -1);
	assert_int_equal(diag_get()->code, E_CORRUPT);
}

static void scribble_root_of(const char *file, const char *table)
{
	char text[128];
	sqlite3_stmt *st;
	sqlite3 *db;
	snprintf(text, sizeof text, "SELECT rootpage FROM sqlite_master WHERE name = '%s'", table);
	assert_int_equal(sqlite3_open(temp_path(file), &db), SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(db, text, -1, &st, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(st), SQLITE_ROW);
	off_t page = sqlite3_column_int(st, 0);
	sqlite3_finalize(st);
	sqlite3_close(db);
	scribble(file, (page - 1) * 4096, 4096);
}

static enum err met_damage[4];

static void near_damage(void *arg)
{
	int i = (int)(intptr_t)arg;
	const char *key = (const char *const[]){"k0", "k1", "k2", "k3"}[i];
	met_damage[i] = i == 1 ? S->ops->meta_put(S, &ALICE, STR("name"), STR("value")) : put_as(&ALICE, key, "{}");
}

static void spawn_near_damage(void *arg)
{
	(void)arg;
	for (long i = 0; i < 4; i++)
		assert_int_equal(fiber_spawn(near_damage, (void *)(intptr_t)i, NULL, NULL), OK);
	loop_stop(loop_current());
}

/* Four writes in one transaction (they are queued within one tick), one of which needs a damaged page. */
static void damaged_page(void **state)
{
	struct loop_task task = {.fn = spawn_near_damage};
	struct loop *l;
	(void)state;
	assert_int_equal(put_as(&ALICE, "k", "{}"), OK);
	shut();
	scribble_root_of("tenants/alice.sqlite", "cenote_value");
	open_again();
	assert_int_equal(has(&ALICE, "k", "{}"), 1); /* opened before, since only ops of one tick wait for each other */
	assert_int_equal(loop_new(&l), OK);
	loop_post(l, &task);
	loop_run(l);
	loop_free(l);
	for (int i = 0; i < 4; i++)
		assert_int_equal(met_damage[i], i == 1 ? E_CORRUPT : OK);
	open_again();
	assert_int_equal(has(&ALICE, "k0", "{}"), 1);
	assert_int_equal(has(&ALICE, "k2", "{}"), 1);
	assert_int_equal(has(&ALICE, "k3", "{}"), 1);
}

static bool count_state(void *ctx, const struct fact_state *s)
{
	(void)s;
	++*(int *)ctx;
	return true;
}

static int history_of(const char *key)
{
	int n = 0;
	assert_int_equal(S->ops->facts->history(S, &ALICE, STR("n"), str_c(key), 0, 0, 10, count_state, &n), OK);
	return n;
}

/* What expires next is known again after a restart, also when no item does: only the history of one. */
static void history_expires_after_a_restart(void **state)
{
	struct fact_put f = {.valid_from_us = FACT_NONE, .valid_to_us = FACT_NONE, .by = STR("x")};
	struct item_write w[2] = {
		{.op = W_PUT, .ns = STR("n"), .key = STR("k"), .value = STR("{}"), .terms = STR("t"), .fact = &f},
		{.op = W_RETIRE, .ns = STR("n"), .key = STR("k"), .fact = &f, .updated_us = 2000000},
	};
	int64_t next = -1;
	unsigned removed;
	(void)state;
	w[0].updated_us = 1000000;
	w[0].ttl_minutes = 10;
	assert_int_equal(S->ops->item_write(S, &ALICE, w, 2, true), OK);
	assert_int_equal(has(&ALICE, "k", "{}"), 0);
	assert_int_equal(history_of("k"), 1);
	open_again();
	assert_int_equal(S->ops->sweep(S, 601000000, 100, &removed, &next), OK);
	assert_int_equal(next, 601000000);
	assert_int_equal(history_of("k"), 1);
	assert_int_equal(S->ops->sweep(S, 601000002, 100, &removed, &next), OK);
	assert_int_equal(next, 0);
	assert_int_equal(history_of("k"), 0);
}

static void ids_are_not_reused(void **state)
{
	(void)state;
	struct arena a;
	struct item it;
	bool found;
	int64_t last = 0;
	arena_init(&a, 1 << 20);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(put_as(&ALICE, "k", "{}"), OK);
		assert_int_equal(S->ops->item_get(S, &a, &ALICE, STR("n"), STR("k"), 0, &it, &found), OK);
		assert_true(found && it.id > last);
		last = it.id;
		struct item_write d = {.op = W_DELETE, .ns = STR("n"), .key = STR("k")};
		assert_int_equal(S->ops->item_write(S, &ALICE, &d, 1, false), OK);
	}
	arena_release(&a);
}

/* More tenants than connections are kept. */
static void many_tenants(void **state)
{
	(void)state;
	enum { N = 40 };
	char name[16];
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < N; i++) {
			snprintf(name, sizeof name, "t%d", i);
			struct principal p = {.tenant = str_c(name), .rights = RIGHT_ALL};
			if (round)
				assert_int_equal(has(&p, "k0", name), 1);
			assert_int_equal(put_as(&p, round ? "k1" : "k0", name), OK);
			assert_int_equal(has(&p, round ? "k1" : "k0", name), 1);
		}
	}
	open_again();
	for (int i = 0; i < N; i++) {
		snprintf(name, sizeof name, "t%d", i);
		struct principal p = {.tenant = str_c(name), .rights = RIGHT_ALL};
		assert_int_equal(has(&p, "k1", name), 1);
	}
}

/* ---------------------------------------------------------------- fibers */

static int finished;

static void fiber_main(void *arg)
{
	char key[32], value[32];
	long me = (long)(intptr_t)arg;
	for (int i = 0; i < 50; i++) {
		snprintf(key, sizeof key, "f%ld", me);
		snprintf(value, sizeof value, "{\"i\":%d}", i);
		assert_int_equal(put_as(me % 2 ? &ALICE : &BOB, key, value), OK);
		assert_int_equal(has(me % 2 ? &ALICE : &BOB, key, value), 1);
	}
	finished++;
}

static void spawn_all(void *arg)
{
	(void)arg;
	for (long i = 0; i < 32; i++)
		assert_int_equal(fiber_spawn(fiber_main, (void *)(intptr_t)i, NULL, NULL), OK);
	loop_stop(loop_current());
}

static void fibers_share_commits(void **state)
{
	(void)state;
	struct loop *l;
	struct loop_task task = {.fn = spawn_all};
	struct buf b;
	finished = 0;
	assert_int_equal(loop_new(&l), OK);
	loop_post(l, &task);
	loop_run(l);
	loop_free(l);
	assert_int_equal(finished, 32);
	buf_init(&b, NULL, 1 << 16);
	S->ops->metrics(S, &b);
	buf_byte(&b, 0);
	const char *at = strstr(b.p, "cenote_sqlite_commits_total ");
	assert_non_null(at);
	assert_true(strtol(at + 28, NULL, 10) < 32 * 50 / 2); /* many writes per commit */
	buf_release(&b);
}

/* A pool of one thread is busy when the tenant's opening is queued behind, and what keeps it busy then wants that tenant: what a
 * search does that loads the words of a tenant nobody has used yet. */
static sem_t opening_queued;
static enum err opener;
static int opener_found, reader_found;

static enum err read_when_queued(void *arg)
{
	(void)arg;
	while (sem_wait(&opening_queued) != 0)
		;
	reader_found = has(&ALICE, "k", "{}");
	return OK;
}

static void busy_fiber(void *arg)
{
	(void)arg;
	assert_int_equal(work_run(read_when_queued, NULL), OK);
}

static void opening_fiber(void *arg)
{
	(void)arg;
	fiber_set_deadline(deadline_in_ms(20000)); /* so that the test fails, not hangs */
	opener_found = has(&ALICE, "k", "{}");
	opener = opener_found < 0 ? diag_get()->code : OK;
}

static void let_go_fiber(void *arg)
{
	(void)arg;
	sem_post(&opening_queued);
}

static void spawn_in_order(void *arg)
{
	(void)arg;
	assert_int_equal(fiber_spawn(busy_fiber, NULL, NULL, NULL), OK);
	assert_int_equal(fiber_spawn(opening_fiber, NULL, NULL, NULL), OK);
	assert_int_equal(fiber_spawn(let_go_fiber, NULL, NULL, NULL), OK);
	loop_stop(loop_current());
}

static void opening_does_not_wait_for_the_pool(void **state)
{
	struct loop_task task = {.fn = spawn_in_order};
	struct loop *l;
	unsigned threads = work_threads();
	(void)state;
	assert_int_equal(put_as(&ALICE, "k", "{}"), OK);
	open_again();
	work_stop();
	work_set_threads(1);
	sem_init(&opening_queued, 0, 0);
	assert_int_equal(loop_new(&l), OK);
	loop_post(l, &task);
	loop_run(l);
	loop_free(l);
	work_stop();
	work_set_threads(threads);
	sem_destroy(&opening_queued);
	assert_int_equal(opener, OK);
	assert_int_equal(opener_found, 1);
	assert_int_equal(reader_found, 1);
}

/* ---------------------------------------------------------------- the log's size */

static void log_stays_small(void **state)
{
	(void)state;
	static char value[8000];
	struct store_options opt = {.durable = true, .wal_limit_bytes = 1 << 20};
	struct store_stats st;
	shut();
	assert_int_equal(sqlite_store_open(str_c(temp_dir), &opt, NULL, &S), OK);
	memset(value, 'x', sizeof value - 1);
	value[0] = '{';
	value[sizeof value - 2] = '}';
	for (int i = 0; i < 2000; i++) {
		char key[32];
		snprintf(key, sizeof key, "k%d", i % 100);
		assert_int_equal(put_as(&ALICE, key, value), OK);
		if (i % 10 == 0)
			assert_int_equal(has(&ALICE, key, value), 1); /* a reader that keeps its snapshot */
	}
	assert_int_equal(S->ops->stats(S, &ALICE, &st), OK);
	assert_true(st.bytes_wal < 3 << 20);
	assert_true(st.bytes_data > 0);
}

static bool slow_reader(void *ctx, const struct item *it)
{
	int *n = ctx;
	char key[32];
	(void)it;
	/* Writes while the scan holds its snapshot: they are not held up, and the scan does not see them. */
	snprintf(key, sizeof key, "during%d", *n);
	assert_int_equal(put_as(&ALICE, key, "{}"), OK);
	assert_int_equal(has(&ALICE, key, "{}"), 1);
	return ++*n < 1000;
}

static void scans_do_not_stop_writes(void **state)
{
	(void)state;
	int n = 0;
	for (int i = 0; i < 20; i++) {
		char key[32];
		snprintf(key, sizeof key, "before%d", i);
		assert_int_equal(put_as(&ALICE, key, "{}"), OK);
	}
	assert_int_equal(S->ops->item_scan(S, &ALICE, STR(""), 0, NULL, slow_reader, &n), OK);
	assert_int_equal(n, 20);
}

static void deadlines(void **state)
{
	(void)state;
	assert_int_equal(put_as(&ALICE, "k", "{}"), OK);
	fiber_set_deadline(1);
	assert_int_equal(put_as(&ALICE, "late", "{}"), E_TIMEOUT);
	fiber_set_deadline(NEVER);
	assert_int_equal(has(&ALICE, "late", ""), 0);
}

/* ---------------------------------------------------------------- SIGKILL */

static void value_of(char *out, size_t n, long i)
{
	int k = snprintf(out, n, "{\"i\":%ld,\"p\":\"", i);
	size_t len = 20 + (size_t)(i * 37 % 3000);
	memset(out + k, 'a' + (int)(i % 26), len);
	memcpy(out + k + len, "\"}", 3);
}

/* Writes until it is killed, and tells the number of each item after it was answered. A process of its own (this program with
 * --write DIR), because a forked one with threads is nothing that ThreadSanitizer knows. */
static void child(const char *dir, int fd)
{
	char key[32], value[4096];
	snprintf(temp_dir, sizeof temp_dir, "%s", dir);
	if (temp_open(NULL, &S) != OK)
		_exit(2);
	for (int32_t i = 0;; i++) {
		snprintf(key, sizeof key, "k%d", (int)i);
		value_of(value, sizeof value, i);
		if (put_as(&ALICE, key, value) != OK || write(fd, &i, sizeof i) != sizeof i)
			_exit(3);
	}
}

static char program[1024]; /* of this test */

static int32_t kill_after(int32_t answers)
{
	int fds[2], status;
	int32_t i = -1, last = -1;
	assert_int_equal(pipe(fds), 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		dup2(fds[1], 3);
		execl(program, program, "--write", temp_dir, (char *)NULL);
		_exit(4);
	}
	close(fds[1]);
	while (read(fds[0], &i, sizeof i) == sizeof i) {
		last = i;
		if (last == answers)
			kill(pid, SIGKILL);
	}
	close(fds[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	return last;
}

static void killed_while_writing(void **state)
{
	(void)state;
	shut();
	for (int round = 0; round < 6; round++) {
		char key[32], value[4096];
		int32_t last = kill_after(17 + round * 61);
		assert_int_equal(temp_open(NULL, &S), OK);
		for (long i = 0; i <= last; i++) {
			snprintf(key, sizeof key, "k%ld", i);
			value_of(value, sizeof value, i);
			assert_int_equal(has(&ALICE, key, value), 1);
		}
		snprintf(key, sizeof key, "k%ld", (long)last + 1);
		value_of(value, sizeof value, last + 1L);
		assert_true(has(&ALICE, key, value) >= 0); /* there, and then whole, or not */
		shut();
		assert_int_equal(unlink(temp_path("tenants/alice.sqlite")), 0);
	}
	assert_int_equal(temp_open(NULL, &S), OK);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "--write") == 0)
		child(argv[2], 3);
	if (readlink("/proc/self/exe", program, sizeof program - 1) < 0)
		return 1;
	const struct CMUnitTest tests[] = {
		T(urls),
		T(files_and_lock),
		T(makes_its_directories),
		T(newer_version),
		T(gets_vectors),
		T(migrates),
		T(foreign_file),
		T(damaged_file),
		T(damaged_page),
		T(history_expires_after_a_restart),
		T(ids_are_not_reused),
		T(many_tenants),
		T(fibers_share_commits),
		T(opening_does_not_wait_for_the_pool),
		T(log_stays_small),
		T(scans_do_not_stop_writes),
		T(deadlines),
		T(killed_while_writing),
	};
	log_set_level((enum log_level)(LOG_ERROR + 1)); /* damage and kills are expected */
	return cmocka_run_group_tests_name("sqlite", tests, NULL, NULL);
}
