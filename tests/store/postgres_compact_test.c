/* The compact layout of checkpoints on PostgreSQL, beyond the conformance suite: what is shared, what is freed, two processes on
 * one thread (two stores of one database), which layout a schema has. Needs a server: CENOTE_TEST_PG; else skipped (77). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <libpq-fe.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/arena.h"
#include "core/thread_store.h"
#include "store/open.h"

static const char *url;
static char schema[64];
static struct store *S, *T; /* T: another process's */
static PGconn *db;
static struct arena scratch;
static const struct principal ME = {.tenant = STR_INIT("default"), .rights = RIGHT_ALL, .id = STR_INIT("test")};

#define assert_ok(expr)                                                                                                            \
	do {                                                                                                                       \
		enum err got_ = (expr);                                                                                            \
		if (got_ != OK)                                                                                                    \
			fail_msg("%s: %s (%s)", #expr, err_name(got_), diag_get()->text);                                          \
	} while (0)

/* ---------------------------------------------------------------- vocabulary */

static int64_t number(const char *sql)
{
	PGresult *r = PQexec(db, sql);
	ExecStatusType st = PQresultStatus(r);
	if (st != PGRES_TUPLES_OK && st != PGRES_COMMAND_OK)
		fail_msg("%s: %s", sql, PQerrorMessage(db));
	int64_t v = PQntuples(r) > 0 ? strtoll(PQgetvalue(r, 0, 0), NULL, 10) : 0;
	PQclear(r);
	return v;
}

static void drop(void)
{
	char text[200];
	snprintf(text, sizeof text, "DROP SCHEMA IF EXISTS \"%s\" CASCADE", schema);
	(void)number(text);
}

static enum err open_as(enum ckpt_layout layout, struct store **out)
{
	struct store_options opt = {.durable = true, .pg.schema = str_c(schema), .layout = layout};
	return store_open(str_c(url), &opt, out);
}

static int begin(void **state)
{
	(void)state;
	drop();
	arena_init(&scratch, 64u << 20);
	if (open_as(CKPT_LAYOUT_COMPACT, &S) != OK || open_as(CKPT_LAYOUT_COMPACT, &T) != OK) {
		fprintf(stderr, "%s\n", diag_get()->text);
		return -1;
	}
	return 0;
}

static int end(void **state)
{
	(void)state;
	if (S)
		S->ops->close(S);
	if (T)
		T->ops->close(T);
	S = T = NULL;
	arena_release(&scratch);
	drop();
	return 0;
}

enum { SAID = 200000 };
static char said[SAID];

static void talk(void)
{
	uint64_t x = 42;
	for (size_t i = 0; i < SAID; i++)
		said[i] = (char)('a' + ((x = x * UINT64_C(6364136223846793005) + 1) >> 33) % 26);
}

/* Checkpoint i of the thread: the first n bytes of the talk, whose third byte says how long it is. */
static enum err put(struct store *s, const char *thread, int i, size_t n)
{
	char id[16], parent[16], version[64], json[200], *own = malloc(n);
	memcpy(own, said, n);
	own[2] = (char)i;
	snprintf(id, sizeof id, "%06d", i);
	snprintf(parent, sizeof parent, "%06d", i - 1);
	snprintf(version, sizeof version, "%032d.0.%016d", i, i);
	snprintf(json, sizeof json, "{\"v\":4,\"channel_versions\":{\"m\":\"%s\"}}", version);
	struct ckpt_value v = {STR("m"), str_c(version), STR("msgpack"), str_of(own, n)};
	struct ckpt_change c = {.op = CK_PUT,
				.thread = str_c(thread),
				.ns = STR(""),
				.id = str_c(id),
				.parent = i ? str_c(parent) : STR(""),
				.checkpoint = str_c(json),
				.metadata = STR("{}"),
				.values = &v,
				.values_n = 1};
	enum err e = s->ops->checkpoints->write(s, &ME, &c, 1);
	free(own);
	return e;
}

static bool whole(struct store *s, const char *thread, int i, size_t n)
{
	struct ckpt c;
	bool found;
	char id[16];
	snprintf(id, sizeof id, "%06d", i);
	struct ckpt_query q = {.thread = str_c(thread), .ns = STR(""), .id = str_c(id), .want = CK_VALUES};
	arena_clear(&scratch);
	assert_ok(s->ops->checkpoints->get(s, &scratch, &ME, &q, &c, &found));
	if (!found)
		return false;
	assert_int_equal(c.values_n, 1);
	assert_int_equal(c.values[0].bytes.n, n);
	for (size_t k = 0; k < n; k++)
		if (c.values[0].bytes.p[k] != (k == 2 ? (char)i : said[k]))
			fail_msg("checkpoint %d differs at %zu", i, k);
	return true;
}

static enum err forget(struct store *s, const char *thread, int i, struct ckpt_removed *out)
{
	char id[16];
	snprintf(id, sizeof id, "%06d", i);
	struct ckpt_ref ref = {STR(""), str_c(id)};
	return s->ops->checkpoints->remove(s, &ME, str_c(thread), &ref, 1, out);
}

#define TABLE(name) "\"%s\".cenote_" name
/* Chunks that no version names, and places of runs without a chunk. */
static void nothing_lost_nothing_left(void)
{
	char text[1200];
	snprintf(text, sizeof text,
		 "WITH named AS (SELECT DISTINCT (v.stream << 28) + n AS id FROM " TABLE(
			 "version") " v, generate_series(1, cardinality("
				    "v.runs), 2) i, generate_series(v.runs[i], v.runs[i + 1]) n) SELECT (SELECT count(*) FROM "
				    "named WHERE id NOT IN (SELECT id"
				    " FROM " TABLE("chunk") ")) + (SELECT count(*) FROM " TABLE(
					    "chunk") " WHERE id NOT IN (SELECT id FROM named))",
		 schema, schema, schema);
	assert_int_equal(number(text), 0);
}

static int64_t rows(const char *table)
{
	char text[200];
	snprintf(text, sizeof text, "SELECT count(*) FROM \"%s\".%s", schema, table);
	return number(text);
}

static void nothing_at_all(void)
{
	static const char *const all[] = {"cenote_checkpoint_ns", "cenote_checkpoint", "cenote_pending", "cenote_stream",
					  "cenote_version",	  "cenote_chunk",      "cenote_thread"};
	for (unsigned i = 0; i < sizeof all / sizeof *all; i++)
		if (rows(all[i]) != 0)
			fail_msg("%s has rows left", all[i]);
}

static int64_t stored(const char *thread)
{
	struct ckpt_storage s;
	assert_ok(S->ops->checkpoints->storage(S, &scratch, &ME, str_c(thread), &s));
	return s.value_bytes;
}

/* ---------------------------------------------------------------- tests */

static void what_grows_costs_what_was_added(void **state)
{
	(void)state;
	const size_t from = 100000, step = 1000;
	assert_ok(put(S, "t", 0, from));
	int64_t first = stored("t");
	for (int i = 1; i <= 50; i++)
		assert_ok(put(S, "t", i, from + (size_t)i * step));
	/* each: its 1000 letters (of 26: 0.6 bytes each at best), once more what was the last chunk, and little else */
	assert_true(stored("t") - first < 50 * 4000);
	for (int i = 0; i <= 50; i++)
		assert_true(whole(T, "t", i, from + (size_t)i * step));
	/* what grew is one run of numbers */
	char text[300];
	snprintf(text, sizeof text, "SELECT max(cardinality(runs)) FROM " TABLE("version"), schema);
	assert_int_equal(number(text), 2);
	nothing_lost_nothing_left();
}

/* A store that has not written the thread before learns what is there from the database. */
static void another_process_shares(void **state)
{
	(void)state;
	for (int i = 0; i < 20; i++)
		assert_ok(put(i % 2 ? T : S, "t", i, 50000 + (size_t)i * 1000));
	nothing_lost_nothing_left();
	/* 69 KB of letters once, and for each version its last chunk */
	assert_true(stored("t") < 160000);
	for (int i = 0; i < 20; i++)
		assert_true(whole(i % 2 ? S : T, "t", i, 50000 + (size_t)i * 1000));
}

static void removal_frees(void **state)
{
	struct ckpt_removed gone;
	(void)state;
	for (int i = 0; i < 30; i++)
		assert_ok(put(S, "t", i, 20000 + (size_t)i * 700));
	for (int i = 0; i < 30; i += 2) {
		assert_ok(forget(i % 4 ? S : T, "t", i, &gone));
		assert_int_equal(gone.checkpoints, 1);
		assert_int_equal(gone.values, 1);
		nothing_lost_nothing_left();
	}
	for (int i = 0; i < 30; i++)
		assert_int_equal(whole(S, "t", i, 20000 + (size_t)i * 700), i % 2);
	/* it goes on from what is left */
	assert_ok(put(S, "t", 30, 60000));
	assert_true(whole(T, "t", 30, 60000));
	for (int i = 1; i < 30; i += 2)
		assert_ok(forget(T, "t", i, &gone));
	assert_true(whole(S, "t", 30, 60000));
	nothing_lost_nothing_left();
	assert_ok(forget(S, "t", 30, &gone));
	nothing_at_all();
}

static void threads_go_wholly(void **state)
{
	struct ckpt_pending w = {
		.task_id = STR("a"), .task_path = STR(""), .channel = STR("__interrupt__"), .type = STR("json"), .bytes = STR("1")};
	struct ckpt_change c = {.op = CK_WRITES, .thread = STR("t"), .ns = STR("x"), .id = STR("1"), .writes = &w, .writes_n = 1};
	(void)state;
	assert_ok(S->ops->checkpoints->write(S, &ME, &c, 1));
	for (int i = 0; i < 5; i++)
		assert_ok(put(S, "t", i, 9000 + (size_t)i * 900));
	assert_ok(S->ops->checkpoints->copy(S, &ME, STR("t"), STR("u"), NULL, 0));
	nothing_lost_nothing_left();
	assert_ok(T->ops->threads->remove(T, &ME, STR("t"), THREAD_ALL));
	assert_true(whole(S, "u", 4, 12600));
	/* the name is used again: what was known of it counts no more */
	assert_ok(put(S, "t", 0, 9000));
	assert_true(whole(T, "t", 0, 9000));
	nothing_lost_nothing_left();
	assert_ok(S->ops->threads->remove(S, &ME, STR("t"), THREAD_ALL));
	assert_ok(S->ops->threads->remove(S, &ME, STR("u"), THREAD_ALL));
	nothing_at_all();
}

/* ---------------------------------------------------------------- at once */

enum { MANY = 60 };
struct side {
	struct store *s;
	int from; /* checkpoints from, from + 2, .. */
	enum err err;
	char text[512];
};

static void *writer(void *arg)
{
	struct side *x = arg;
	for (int i = x->from; i < MANY && x->err == OK; i += 2)
		x->err = put(x->s, "t", i, 3000 + (size_t)i * 500);
	if (x->err != OK)
		snprintf(x->text, sizeof x->text, "%s", diag_get()->text);
	return NULL;
}

/* Removes what is there, oldest first, until the 40 oldest are gone. */
static void *remover(void *arg)
{
	struct side *x = arg;
	struct ckpt_removed gone;
	for (int i = 0; i < 40 && x->err == OK;) {
		x->err = forget(x->s, "t", i, &gone);
		i += gone.checkpoints > 0;
	}
	if (x->err != OK)
		snprintf(x->text, sizeof x->text, "%s", diag_get()->text);
	return NULL;
}

static void at_once(void *(*const *fn)(void *), struct side *v, int n)
{
	pthread_t t[4];
	for (int i = 0; i < n; i++)
		assert_int_equal(pthread_create(&t[i], NULL, fn[i], &v[i]), 0);
	for (int i = 0; i < n; i++)
		pthread_join(t[i], NULL);
	for (int i = 0; i < n; i++)
		if (v[i].err != OK)
			fail_msg("%d: %s", i, v[i].text);
}

static void two_writers(void **state)
{
	void *(*const fn[])(void *) = {writer, writer};
	struct side v[] = {{S, 0, OK, ""}, {T, 1, OK, ""}};
	(void)state;
	at_once(fn, v, 2);
	for (int i = 0; i < MANY; i++)
		assert_true(whole(S, "t", i, 3000 + (size_t)i * 500));
	nothing_lost_nothing_left();
}

static void removal_beside_writers(void **state)
{
	void *(*const fn[])(void *) = {writer, writer, remover};
	struct side v[] = {{S, 0, OK, ""}, {T, 1, OK, ""}, {T, 0, OK, ""}};
	(void)state;
	at_once(fn, v, 3);
	for (int i = 0; i < MANY; i++)
		assert_int_equal(whole(S, "t", i, 3000 + (size_t)i * 500), i >= 40);
	nothing_lost_nothing_left();
}

/* A lease of somebody who is gone holds others up for two seconds at most; one that is over, not at all. */
static void leases_end(void **state)
{
	char text[300];
	(void)state;
	assert_ok(put(S, "t", 0, 3000));
	snprintf(text, sizeof text,
		 "UPDATE " TABLE("checkpoint_ns") " SET lease_by = 1, lease_to = clock_timestamp() + interval '0.2 s'", schema);
	(void)number(text);
	assert_ok(put(S, "t", 1, 4000));
	snprintf(text, sizeof text, "SELECT count(*) FROM " TABLE("checkpoint_ns") " WHERE lease_by IS NULL", schema);
	assert_int_equal(number(text), 1);
	assert_true(whole(T, "t", 1, 4000));
}

/* ---------------------------------------------------------------- layouts */

static void refused(enum ckpt_layout layout, const char *word)
{
	struct store *s;
	assert_int_equal(open_as(layout, &s), E_CONFLICT);
	if (!strstr(diag_get()->text, word) || !strstr(diag_get()->text, "cenote copy"))
		fail_msg("\"%s\" does not say what to do", diag_get()->text);
}

static void one_layout_a_schema(void **state)
{
	struct ckpt_removed gone;
	struct store *s;
	(void)state;
	char text[300];
	snprintf(text, sizeof text, "SELECT count(*) FROM pg_tables WHERE schemaname = '%s' AND tablename LIKE 'checkpoint%%'",
		 schema);
	assert_int_equal(number(text), 0); /* LangGraph's are not made */
	assert_ok(put(S, "t", 0, 3000));
	refused(CKPT_LAYOUT_AUTO, "set it to compact");
	refused(CKPT_LAYOUT_LANGGRAPH, "set it to compact");
	/* without checkpoints it may change */
	assert_ok(forget(S, "t", 0, &gone));
	assert_ok(open_as(CKPT_LAYOUT_LANGGRAPH, &s));
	assert_ok(put(s, "t", 0, 3000));
	s->ops->close(s);
	refused(CKPT_LAYOUT_COMPACT, "set it to langgraph");
}

static void only_where_it_is_wanted(void **state)
{
	struct store *s;
	char text[300];
	(void)state;
	end(NULL);
	arena_init(&scratch, 64u << 20);
	assert_ok(open_as(CKPT_LAYOUT_AUTO, &s));
	snprintf(text, sizeof text,
		 "SELECT count(*) FROM pg_class WHERE relnamespace = '\"%s\"'::regnamespace AND relname ~"
		 " '^cenote_(checkpoint|stream|version|chunk|pending)'",
		 schema);
	assert_int_equal(number(text), 0);
	s->ops->close(s);
	assert_ok(open_as(CKPT_LAYOUT_COMPACT, &S)); /* the tables are added */
	assert_ok(put(S, "t", 0, 3000));
	assert_true(whole(S, "t", 0, 3000));
}

static void migrated(void **state)
{
	struct store_options opt = {.pg.schema = str_c(schema), .layout = CKPT_LAYOUT_COMPACT};
	struct store *s;
	(void)state;
	end(NULL);
	arena_init(&scratch, 64u << 20);
	opt.pg.no_ddl = true;
	assert_int_equal(store_open(str_c(url), &opt, &s), E_CONFLICT);
	assert_ok(store_migrate(str_c(url), &opt, STR("default"), false, NULL, NULL));
	assert_ok(store_open(str_c(url), &opt, &S));
	assert_ok(put(S, "t", 0, 3000));
	assert_true(whole(S, "t", 0, 3000));
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, begin, end)
	const struct CMUnitTest tests[] = {
		TEST(what_grows_costs_what_was_added),
		TEST(another_process_shares),
		TEST(removal_frees),
		TEST(threads_go_wholly),
		TEST(two_writers),
		TEST(removal_beside_writers),
		TEST(leases_end),
		TEST(one_layout_a_schema),
		TEST(only_where_it_is_wanted),
		TEST(migrated),
	};
	url = getenv("CENOTE_TEST_PG");
	if (!url || !*url) {
		fprintf(stderr, "CENOTE_TEST_PG is not set: skipped\n");
		return 77;
	}
	snprintf(schema, sizeof schema, "compact%ld", (long)getpid());
	talk();
	db = PQconnectdb(url);
	if (PQstatus(db) != CONNECTION_OK) {
		fprintf(stderr, "%s", PQerrorMessage(db));
		return 1;
	}
	PQclear(PQexec(db, "SET client_min_messages = error"));
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	PQfinish(db);
	return failed;
}
