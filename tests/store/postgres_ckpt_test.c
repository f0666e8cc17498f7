/* Checkpoints on LangGraph's tables, on a real server: the one in CENOTE_TEST_PG, in a schema of our own. Without the variable the
 * program is skipped (exit 77). What every driver has to do is in the conformance suite; here are plans, gathering, what other
 * programs write, and what happens at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "store/open.h"
#include "store/postgres/ckpt.h"
#include "store/postgres/gather.h"

#define assert_ok(expr)                                                                                                            \
	do {                                                                                                                       \
		if ((expr) != OK)                                                                                                  \
			fail_msg("%s: %s", #expr, diag_get()->text);                                                               \
	} while (0)
#define assert_str(want, got)                                                                                                      \
	do {                                                                                                                       \
		struct str w_ = (want), g_ = (got);                                                                                \
		if (!str_eq(w_, g_))                                                                                               \
			fail_msg("line %d: expected \"%.*s\", got \"%.*s\"", __LINE__, STR_ARG(w_), STR_ARG(g_));                  \
	} while (0)

#define ROOT(u, b)                                                                                                                 \
	{                                                                                                                          \
		.tenant = STR_INIT("default"), .user = STR_INIT(u), .user_bound = b, .rights = RIGHT_ALL, .id = STR_INIT("test")   \
	}
static const struct principal ME = ROOT("", false), ANN = ROOT("ann", true), BEA = ROOT("bea", true), AS_ANN = ROOT("ann", false);
static const char *url;
static char schema[64];
static struct store *S;
static PGconn *X, *watch; /* other clients */
static struct arena mem;

/* ---------------------------------------------------------------- vocabulary */

static PGresult *query(const char *sql)
{
	PGresult *r = PQexec(X, sql);
	if (PQresultStatus(r) != PGRES_COMMAND_OK && PQresultStatus(r) != PGRES_TUPLES_OK)
		fail_msg("%.300s: %s", sql, PQerrorMessage(X));
	return r;
}

static void sql(const char *text)
{
	PQclear(query(text));
}

static long number(const char *text)
{
	PGresult *r = query(text);
	long v = strtol(PQgetvalue(r, 0, 0), NULL, 10);
	PQclear(r);
	return v;
}

static PGconn *client(void)
{
	char text[160];
	PGconn *c = PQconnectdb(url);
	if (PQstatus(c) != CONNECTION_OK)
		fail_msg("%s", PQerrorMessage(c));
	snprintf(text, sizeof text, "SET client_min_messages = error; SET search_path = \"%s\"", schema);
	PQclear(PQexec(c, text));
	return c;
}

static void drop(void)
{
	char text[160];
	snprintf(text, sizeof text, "DROP SCHEMA IF EXISTS \"%s\" CASCADE", schema);
	sql(text);
}

static int setup(void **state)
{
	struct store_options opt = {.durable = true, .pg.schema = str_c(schema)};
	(void)state;
	arena_init(&mem, (size_t)1 << 30);
	X = client();
	watch = client();
	drop();
	if (store_open(str_c(url), &opt, &S) != OK)
		fail_msg("%s", diag_get()->text);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	S->ops->close(S);
	drop();
	PQfinish(X);
	PQfinish(watch);
	arena_release(&mem);
	return 0;
}

/* A checkpoint whose channel c has the version v. */
static struct ckpt_change put_of(const char *thread, const char *id, const struct ckpt_value *v)
{
	struct str json = v ? arena_printf(&mem, "{\"v\":4,\"id\":\"%s\",\"channel_versions\":{\"%.*s\":\"%.*s\"}}", id,
					   STR_ARG(v->channel), STR_ARG(v->version))
			    : arena_printf(&mem, "{\"v\":4,\"id\":\"%s\",\"channel_versions\":{}}", id);
	return (struct ckpt_change){.op = CK_PUT,
				    .thread = str_c(thread),
				    .id = str_c(id),
				    .checkpoint = json,
				    .metadata = STR("{}"),
				    .values = v,
				    .values_n = v != NULL};
}

static struct ckpt_change writes_of(const char *thread, const char *id, const struct ckpt_pending *w, size_t n, bool replace)
{
	return (struct ckpt_change){
		.op = CK_WRITES, .thread = str_c(thread), .id = str_c(id), .writes = w, .writes_n = n, .replace = replace};
}

static enum err write_as(const struct principal *who, const struct ckpt_change *c, size_t n)
{
	return S->ops->checkpoints->write(S, who, c, n);
}

static bool get_as(const struct principal *who, const char *thread, const char *id, struct ckpt *out)
{
	const struct ckpt_query q = {.thread = str_c(thread), .id = str_c(id), .want = CK_VALUES | CK_WRITES_TOO};
	bool found;
	assert_ok(S->ops->checkpoints->get(S, &mem, who, &q, out, &found));
	return found;
}

static struct ckpt must_get(const char *thread, const char *id)
{
	struct ckpt c;
	assert_true(get_as(&ME, thread, id, &c));
	return c;
}

struct writer {
	pthread_t thread;
	const struct principal *who;
	struct ckpt_change c;
	enum err err;
	char text[512];
};

static void *writer_main(void *arg)
{
	struct writer *x = arg;
	x->err = write_as(x->who ? x->who : &ME, &x->c, 1);
	snprintf(x->text, sizeof x->text, "%s", diag_get()->text);
	return NULL;
}

static void begin(struct writer *x, struct ckpt_change c)
{
	x->c = c;
	assert_int_equal(pthread_create(&x->thread, NULL, writer_main, x), 0);
}

static enum err join(struct writer *x)
{
	pthread_join(x->thread, NULL);
	return x->err;
}

static void wait_waiting(unsigned calls, unsigned batches)
{
	uint64_t until = deadline_in_ms(10000);
	for (unsigned b;;) {
		unsigned n = gather_waiting(pg_of(S)->gathers[GATHER_CHECKPOINTS], &b);
		if (n >= calls && b >= batches)
			return;
		if (clock_mono_ns() > until)
			fail_msg("%u writes wait in %u batches, expected %u in %u", n, b, calls, batches);
		poll(NULL, 0, 1);
	}
}

/* ---------------------------------------------------------------- plans */

/* The plan of a statement, as the server tells it. */
static const char *plan(const struct pg_stmt *st, const char *types, const char *args)
{
	struct buf b;
	buf_init(&b, &mem, 1u << 20);
	buf_printf(&b, "PREPARE p(%s) AS ", types);
	for (const char *c = st->sql; *c; c++)
		if (*c != '@' || c[1] < 'a' || c[1] > 'z') /* the search path has our schema */
			buf_byte(&b, *c);
	buf_byte(&b, 0);
	sql(b.p);
	buf_clear(&b);
	buf_printf(&b, "EXPLAIN (ANALYZE, TIMING OFF, COSTS OFF, SUMMARY OFF) EXECUTE p(%s)", args);
	buf_byte(&b, 0);
	PGresult *r = query(b.p);
	buf_clear(&b);
	for (int i = 0; i < PQntuples(r); i++)
		buf_printf(&b, "%s\n", PQgetvalue(r, i, 0));
	buf_byte(&b, 0);
	PQclear(r);
	sql("DEALLOCATE p");
	assert_int_equal(b.err, OK);
	return b.p;
}

/* The most rows that any node of the plan has read ("rows=N loops=M", "Rows Removed by ...: N"). */
static long most_rows(const char *text)
{
	long most = 0;
	for (const char *p = strstr(text, "rows="); p; p = strstr(p, "rows=")) {
		char *end;
		long rows = strtol(p + 5, &end, 10), loops = strncmp(end, " loops=", 7) == 0 ? strtol(end + 7, NULL, 10) : 1;
		most = rows * loops > most ? rows * loops : most;
		p = end;
	}
	for (const char *p = strstr(text, "Rows Removed by"); p; p = strstr(p + 1, "Rows Removed by")) {
		long removed = strtol(strchr(p, ':') + 1, NULL, 10);
		most = removed > most ? removed : most;
	}
	return most;
}

static void check_plans(const char *when)
{
	static const char get[] = "text, text, text[], text[], bool, bool",
			  get_id[] = "text, text, text[], text[], bool, bool, text",
			  page[] = "text, text, text[], bigint, text, jsonb, bool, bool",
			  up[] = "text, text, text[], bigint, text, jsonb, bool, bool, text, bool, text, text",
			  walk[] = "text, text, text, text[], text[]", sends[] = "text, text[], text[]",
			  rows[] = "text[], text[], text[], text[], bool";
	const struct {
		const struct pg_stmt *st;
		const char *types, *args;
		long most; /* rows that a node may read, in all its loops */
	} cases[] = {
		{&pg_ckpt_latest[0], get, "'big', '', NULL, NULL, true, true", 3},
		{&pg_ckpt_latest[1], get, "'big', '', NULL, NULL, true, true", 3},
		{&pg_ckpt_latest[0], get, "'big', '', '{ann,\"\"}', '{a}', true, true", 3},
		{&pg_ckpt_named[0], get_id, "'big', '', NULL, NULL, true, true, 'c01777'", 3},
		{&pg_ckpt_named[1], get_id, "'big', '', NULL, NULL, true, true, 'c01777'", 3},
		{&pg_ckpt_rows, rows, "'{big,big}', '{\"\",\"\"}', '{c01777,c01778}', NULL, true", 8},
		{&pg_ckpt_pages[0][0], page, "'big', '', NULL, 20, '', NULL, true, true", 80},
		{&pg_ckpt_pages[0][1], up, "'big', '', NULL, 1, '', NULL, true, true, 'c07000', false, '', ''", 6},
		{&pg_ckpt_pages[0][1], up, "'big', '', NULL, 9, 'c07000', NULL, true, true, 'c07000', true, '', ''", 6},
		{&pg_ckpt_pages[0][1], up, "'big', '', NULL, 2, '', '{\"m\": 3}', true, true, 'c07000', false, '', ''", 25},
		{&pg_ckpt_pages[1][0], page, "'big', NULL, NULL, 20, '', NULL, true, true", 80},
		{&pg_ckpt_pages[1][1], up, "'big', NULL, NULL, 1, '', NULL, true, true, 'c07000', false, '', ''", 10},
		{&pg_ckpt_walk, walk, "'big', '', 'c01777', '{a,b}', NULL", 10},
		{&pg_ckpt_old_sends, sends, "'big', '{c01777}', NULL", 4},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const char *text = plan(cases[i].st, cases[i].types, cases[i].args);
		/* A thread's record is asked for by the key; its table is empty. */
		const char *seq = strstr(text, "Seq Scan on checkpoint");
		if (seq || most_rows(text) > cases[i].most || strstr(text, "JIT")) {
			fputs(text, stderr);
			fail_msg("%s: %s (%s) reads %ld rows, %ld are enough", when, cases[i].st->name, cases[i].args,
				 most_rows(text), cases[i].most);
		}
	}
}

/* No scan of a table, whatever is known of it, nor of a long thread; with and without the parameters known. */
static void plans(void **state)
{
	(void)state;
	sql("CREATE FUNCTION fill(t text, n int) RETURNS void LANGUAGE sql AS $$"
	    " INSERT INTO checkpoints(thread_id, checkpoint_id, parent_checkpoint_id, checkpoint, metadata) SELECT t, 'c' ||"
	    " lpad(i::text, 5, '0'), 'c' || lpad((i - 1)::text, 5, '0'), jsonb_build_object('v', 4 - 3 * (i % 2), "
	    "'channel_versions',"
	    " jsonb_build_object('a', i::text, 'b', (i / 5)::text, 'c', '1')), jsonb_build_object('m', i % 10)"
	    " FROM generate_series(1, n) i;"
	    " INSERT INTO checkpoint_blobs SELECT t, '', 'a', i::text, 'msgpack', 'x' FROM generate_series(1, n) i;"
	    " INSERT INTO checkpoint_blobs SELECT t, '', 'b', (i / 5)::text, 'msgpack', 'x' FROM generate_series(1, n, 5) i;"
	    " INSERT INTO checkpoint_writes SELECT t, '', 'c' || lpad(i::text, 5, '0'), 'task', 0, 'a', 'msgpack', 'x', ''"
	    " FROM generate_series(1, n) i $$");
	for (int custom = 0; custom < 2; custom++) {
		sql(custom ? "SET plan_cache_mode = force_custom_plan" : "SET plan_cache_mode = force_generic_plan");
		sql("TRUNCATE checkpoints, checkpoint_blobs, checkpoint_writes");
		sql("SELECT fill('big', 8000)");
		check_plans("without statistics");
		sql("SELECT fill('t' || i, 5) FROM generate_series(1, 2000) i");
		sql("ANALYZE checkpoints, checkpoint_blobs, checkpoint_writes");
		check_plans("with statistics");
	}
}

/* ---------------------------------------------------------------- gathering */

/* Both gather threads wait behind rows that another client has, so that what comes now goes into one batch. They give way after
 * half a second. */
static void hold(struct writer x[2])
{
	const struct ckpt_change a = put_of("hold0", "1", NULL), b = put_of("hold1", "1", NULL);
	assert_ok(write_as(&ME, &a, 1));
	assert_ok(write_as(&ME, &b, 1));
	sql("BEGIN; SELECT 1 FROM checkpoints WHERE thread_id LIKE 'hold%' FOR UPDATE");
	begin(&x[0], a);
	wait_waiting(1, 1);
	begin(&x[1], b);
	wait_waiting(2, 2);
}

static void let_go(struct writer x[2])
{
	sql("COMMIT");
	assert_int_equal(join(&x[0]), OK);
	assert_int_equal(join(&x[1]), OK);
}

static unsigned long long figure(const char *name)
{
	struct buf b;
	buf_init(&b, &mem, 1u << 20);
	pg_ckpt_metrics(pg_of(S), &b);
	buf_byte(&b, 0);
	const char *at = strstr(b.p, name);
	assert_non_null(at);
	return strtoull(at + strlen(name), NULL, 10);
}

enum { N = 9 };
static void one_bad_among_many(void **state)
{
	(void)state;
	struct writer held[2] = {0}, x[N] = {0};
	struct ckpt_value v[N];
	char names[N][8];
	hold(held);
	unsigned long long batches = figure("\ncenote_pg_checkpoint_batches_total ");
	for (unsigned i = 0; i < N; i++) {
		snprintf(names[i], sizeof names[i], "t%u", i);
		v[i] = (struct ckpt_value){STR("c"), STR("1"), STR("bytes"), str_c(names[i])};
		struct ckpt_change c = put_of(names[i], "1", &v[i]);
		if (i == 4)
			c.metadata = STR("{\"a\":\"\\u0000\"}");
		begin(&x[i], c);
		wait_waiting(3 + i, 0);
	}
	let_go(held);
	for (unsigned i = 0; i < N; i++) {
		assert_int_equal(join(&x[i]), i == 4 ? E_INVALID : OK);
		struct ckpt c;
		assert_int_equal(get_as(&ME, names[i], "", &c), i != 4);
		if (i != 4)
			assert_str(str_c(names[i]), c.values[0].bytes);
	}
	assert_non_null(strstr(x[4].text, "\\u0000"));
	assert_int_equal(number("SELECT count(*) FROM checkpoint_blobs"), N - 1);
	assert_true(figure("\ncenote_pg_checkpoint_batches_total ") - batches < N / 2);
}

/* The same rows by many at once, in one transaction and in several. */
static void same_rows_in_one_batch(void **state)
{
	(void)state;
	struct writer held[2] = {0}, x[N] = {0};
	char values[N][8];
	struct ckpt_pending w[N];
	hold(held);
	for (unsigned i = 0; i < N; i++) {
		snprintf(values[i], sizeof values[i], "%u", i);
		w[i] = (struct ckpt_pending){.task_id = STR("task"),
					     .channel = STR("c"),
					     .type = STR("bytes"),
					     .bytes = str_c(values[i]),
					     .idx = (int)i % 2};
		begin(&x[i], i % 3 == 0 ? put_of("t", "1", NULL) : writes_of("t", "1", &w[i], 1, i % 3 == 1));
		wait_waiting(3 + i, 0);
	}
	let_go(held);
	for (unsigned i = 0; i < N; i++)
		assert_int_equal(join(&x[i]), OK);
	struct ckpt c = must_get("t", "1");
	assert_int_equal(c.writes_n, 2);
	/* Of those that replace (1, 4, 7) the last, in the order in which they came. */
	assert_str(STR("4"), c.writes[0].bytes);
	assert_str(STR("7"), c.writes[1].bytes);
}

/* A stranger's lock stops only those that want that row. */
static void locked_row(void **state)
{
	(void)state;
	struct writer x[6] = {0};
	char names[6][8];
	const struct ckpt_change c = put_of("t3", "1", NULL);
	assert_ok(write_as(&ME, &c, 1));
	sql("BEGIN; SELECT 1 FROM checkpoints WHERE thread_id = 't3' FOR UPDATE");
	for (unsigned i = 0; i < 6; i++) {
		snprintf(names[i], sizeof names[i], "t%u", i);
		begin(&x[i], put_of(names[i], "1", NULL));
	}
	for (unsigned i = 0; i < 6; i++)
		if (i != 3)
			assert_int_equal(join(&x[i]), OK);
	sql("COMMIT");
	assert_int_equal(join(&x[3]), OK);
}

/* What changes several times within one call is at the end what the changes one by one would leave. */
static void merged(void **state)
{
	(void)state;
	const struct ckpt_value one = {STR("c"), STR("1"), STR("bytes"), STR("first")},
				two = {STR("c"), STR("1"), STR("bytes"), STR("second")};
	struct ckpt_pending a = {.task_id = STR("a"),
				 .channel = STR("x"),
				 .type = STR("bytes"),
				 .bytes = STR("1"),
				 .task_path = STR("p")},
			    b = a;
	b.bytes = STR("2");
	struct ckpt_change c[] = {put_of("t", "1", &one),
				  put_of("t", "1", &two),
				  writes_of("t", "1", &a, 1, true),
				  writes_of("t", "1", &b, 1, true),
				  writes_of("t", "1", &a, 1, false),
				  put_of("u", "1", &two)};
	c[0].parent = STR("0");
	c[1].parent = STR("00");
	c[1].metadata = STR("{\"last\":1}");
	for (int again = 0; again < 2; again++) {
		assert_ok(write_as(&ME, c, 6));
		struct ckpt t = must_get("t", "");
		assert_str(STR("0"), t.parent);
		assert_str(STR("{\"last\": 1}"), t.metadata);
		assert_int_equal(t.values_n, 1);
		assert_str(STR("first"), t.values[0].bytes);
		assert_int_equal(t.writes_n, 1);
		assert_str(STR("2"), t.writes[0].bytes);
	}
	assert_int_equal(number("SELECT count(*) FROM cenote_thread"), 0);
	assert_int_equal(number("SELECT count(*) FROM cenote_journal WHERE kind = 'c' AND ids = '{}'"),
			 number("SELECT count(*) FROM cenote_journal"));
}

/* ---------------------------------------------------------------- users */

static void users(void **state)
{
	(void)state;
	const struct ckpt_change mine = put_of("ann's", "1", NULL), foreign = put_of("foreign", "2", NULL);
	struct ckpt c;
	assert_ok(write_as(&ANN, &mine, 1));
	assert_true(get_as(&ANN, "ann's", "", &c) && get_as(&AS_ANN, "ann's", "", &c) && get_as(&ME, "ann's", "", &c));
	assert_false(get_as(&BEA, "ann's", "", &c));
	assert_int_equal(write_as(&BEA, &mine, 1), E_CONFLICT);
	assert_ok(write_as(&ME, &mine, 1));
	assert_ok(write_as(&AS_ANN, &mine, 1));
	sql("INSERT INTO checkpoints(thread_id, checkpoint_id, checkpoint) VALUES ('foreign', '1', '{}')");
	assert_int_equal(write_as(&ANN, &foreign, 1), E_CONFLICT); /* nobody's */
	assert_false(get_as(&ANN, "foreign", "", &c));
	assert_int_equal(number("SELECT count(*) FROM checkpoints WHERE thread_id = 'foreign'"), 1);
	assert_ok(write_as(&AS_ANN, &foreign, 1));
	assert_true(get_as(&AS_ANN, "foreign", "2", &c) && get_as(&ME, "foreign", "2", &c));
	assert_false(get_as(&ANN, "foreign", "2", &c) || get_as(&BEA, "foreign", "2", &c));
	assert_int_equal(number("SELECT count(*) FROM cenote_thread WHERE thread = 'foreign' AND usr = ''"), 1);
	sql("INSERT INTO checkpoints(thread_id, checkpoint_id, checkpoint) VALUES ('ann''s', '2', '{}')"); /* in her thread: hers */
	assert_true(get_as(&ANN, "ann's", "2", &c));
}

/* Two users take a new thread at once, in one batch: one of them has it. */
static void one_takes_it(void **state)
{
	(void)state;
	struct writer held[2] = {0}, x[4] = {0};
	struct ckpt c;
	hold(held);
	for (unsigned i = 0; i < 4; i++) {
		x[i].who = i % 2 ? &BEA : &ANN;
		begin(&x[i], put_of("new", i < 2 ? "1" : "2", NULL));
		wait_waiting(3 + i, 0);
	}
	let_go(held);
	for (unsigned i = 0; i < 4; i++)
		(void)join(&x[i]);
	assert_int_equal(x[0].err == OK, x[2].err == OK);
	assert_int_equal(x[1].err == OK, x[3].err == OK);
	assert_int_equal(x[0].err == OK, x[1].err == E_CONFLICT);
	assert_int_equal(get_as(&ANN, "new", "", &c), x[0].err == OK);
	assert_int_equal(get_as(&BEA, "new", "", &c), x[1].err == OK);
}

/* ---------------------------------------------------------------- rows of others */

static bool count_it(void *ctx, const struct ckpt *c)
{
	(void)c;
	++*(size_t *)ctx;
	return true;
}

/* Whatever is in the tables, the rest can be read. */
static void odd_rows(void **state)
{
	(void)state;
	sql("INSERT INTO checkpoints(thread_id, checkpoint_id, parent_checkpoint_id, checkpoint, metadata) VALUES"
	    " ('t', '1', '', '{\"channel_versions\": [1]}', '[]'), ('t', '2', '2', '\"text\"', 'null'), ('t', '3', '4',"
	    " '{\"channel_versions\": {\"a\": 1.50, \"b\": null, \"c\": {\"x\": 1}, \"d\": 7}}', '{\"run_id\": 5}'),"
	    " ('t', '4', '3', '{\"channel_versions\": 3}', '3')");
	sql("INSERT INTO checkpoint_blobs VALUES ('t', '', 'a', '1.50', 'json', NULL), ('t', '', 'c', '{\"x\": 1}', 'json', 'x'),"
	    " ('t', '', 'd', '7', 'empty', 'never seen')");
	sql("INSERT INTO checkpoint_writes(thread_id, checkpoint_id, task_id, idx, channel, type, blob) VALUES ('t', '3', '', -9, "
	    "'a', NULL, '')");
	struct ckpt c = must_get("t", "3");
	assert_int_equal(c.values_n, 2);
	assert_true(str_eq(c.values[0].channel, STR("a")) && c.values[0].bytes.n == 0 && str_eq(c.values[1].channel, STR("c")));
	assert_true(c.writes_n == 1 && c.writes[0].type.n == 0 && c.writes[0].idx == -9);
	assert_str(STR("\"text\""), must_get("t", "2").checkpoint);
	assert_str(STR(""), must_get("t", "1").parent);
	const struct str thread = STR("t"), run = STR("5");
	const struct ckpt_list l = {.thread = &thread, .limit = 10, .want = CK_VALUES | CK_WRITES_TOO | CK_SIZES};
	size_t n = 0;
	assert_ok(S->ops->checkpoints->list(S, &ME, &l, count_it, &n));
	assert_int_equal(n, 4);
	struct ckpt_history h = {.channel = STR("q")};
	const struct ckpt_query q = {.thread = thread, .id = STR("4")}; /* 4 -> 3 -> 4: a loop */
	assert_ok(S->ops->checkpoints->history(S, &mem, &ME, &q, &h, 1));
	assert_true(!h.seeded && h.writes_n == 0);
	n = 0;
	assert_ok(S->ops->checkpoints->by_run(S, &ME, &run, 1, count_it, &n));
	assert_int_equal(n, 0);
	const struct ckpt_ref refs[] = {{STR(""), STR("1")}, {STR(""), STR("3")}};
	struct ckpt_removed gone;
	assert_ok(S->ops->checkpoints->remove(S, &ME, thread, refs, 2, &gone));
	assert_true(gone.checkpoints == 2 && gone.values == 2 && gone.writes == 1);
	assert_int_equal(number("SELECT count(*) FROM checkpoint_blobs"), 0);
	assert_ok(S->ops->checkpoints->copy(S, &ME, thread, STR("u"), NULL, 0));
	assert_str(STR("\"text\""), must_get("u", "2").checkpoint);
}

/* ---------------------------------------------------------------- what lists have read */

struct listed {
	size_t n, values, writes, sends;
	struct str metadata, value, parent; /* of the last */
};

static bool take_listed(void *ctx, const struct ckpt *c)
{
	struct listed *x = ctx;
	x->n++;
	x->values += c->values_n;
	x->writes += c->writes_n;
	x->sends += c->sends_n;
	x->metadata = arena_str(&mem, c->metadata);
	x->parent = arena_str(&mem, c->parent);
	x->value = arena_str(&mem, c->values_n ? c->values[0].bytes : STR(""));
	return true;
}

static struct listed list_as(const struct principal *who, const char *thread)
{
	const struct str t = str_c(thread);
	const struct ckpt_list l = {.thread = &t, .limit = 10, .want = CK_VALUES | CK_WRITES_TOO};
	struct listed x = {0};
	assert_ok(S->ops->checkpoints->list(S, who, &l, take_listed, &x));
	return x;
}

/* A list that was read before is no older than the tables, whoever wrote to them. */
static void lists_again(void **state)
{
	(void)state;
	static const struct principal other = {.tenant = STR_INIT("other"), .rights = RIGHT_ALL, .id = STR_INIT("test")};
	const struct ckpt_value v = {STR("c"), STR("1"), STR("bytes"), STR("first")};
	const struct ckpt_pending w = {.task_id = STR("a"), .channel = STR("x"), .type = STR("bytes"), .bytes = STR("1")};
	struct ckpt_change c = put_of("t", "1", &v), late = writes_of("t", "1", &w, 1, false);
	c.parent = STR("0");
	assert_ok(write_as(&ME, &c, 1));
	for (int i = 0; i < 3; i++) {
		struct listed x = list_as(&ME, "t");
		assert_true(x.n == 1 && x.values == 1 && x.writes == 0);
		assert_str(STR("first"), x.value);
		assert_str(STR("0"), x.parent);
		assert_int_equal(list_as(&BEA, "t").n, 0); /* not hers, known or not */
		assert_int_equal(list_as(&other, "t").n, 0);
	}
	assert_ok(write_as(&ME, &late, 1));
	assert_int_equal(list_as(&ME, "t").writes, 1);
	sql("UPDATE checkpoints SET metadata = '{\"by\": \"another\"}'");
	assert_str(STR("{\"by\": \"another\"}"), list_as(&ME, "t").metadata);
	/* The same names again, with another value, by one who removes all first. */
	sql("BEGIN; DELETE FROM checkpoints; DELETE FROM checkpoint_blobs; INSERT INTO checkpoint_blobs VALUES ('t', '', 'c', '1', "
	    "'bytes', 'second'); INSERT INTO checkpoints(thread_id, checkpoint_id, checkpoint) VALUES ('t', '1',"
	    " '{\"v\": 4, \"channel_versions\": {\"c\": \"1\"}}'); COMMIT");
	struct listed x = list_as(&ME, "t");
	assert_str(STR("second"), x.value);
	assert_str(STR(""), x.parent);
	sql("DELETE FROM checkpoints");
	assert_int_equal(list_as(&ME, "t").n, 0);
}

/* A version whose value comes with a later checkpoint; sends that come late. */
static void lists_of_parts(void **state)
{
	(void)state;
	const struct ckpt_value v = {STR("c"), STR("1"), STR("bytes"), STR("late")};
	const struct ckpt_pending w = {
		.task_id = STR("a"), .channel = STR("__pregel_tasks"), .type = STR("bytes"), .bytes = STR("1")};
	struct ckpt_change c = put_of("t", "1", &v), d = put_of("t", "2", &v), sends = writes_of("t", "1", &w, 1, false), odd;
	struct ckpt got;
	c.values_n = 0;
	d.parent = STR("1");
	d.checkpoint = STR("{\"v\":3,\"channel_versions\":{\"c\":\"1\"}}");
	assert_ok(write_as(&ME, &c, 1));
	assert_int_equal(list_as(&ME, "t").values, 0);
	assert_ok(write_as(&ME, &d, 1));
	for (int i = 0; i < 2; i++) {
		struct listed x = list_as(&ME, "t");
		assert_true(x.n == 2 && x.values == 2 && x.sends == 0);
		got = must_get("t", "2");
		assert_true(got.sends_known == (i > 0) && got.sends_n == 0);
	}
	assert_ok(write_as(&ME, &sends, 1));
	assert_int_equal(list_as(&ME, "t").sends, 1);
	got = must_get("t", "2");
	assert_true(got.sends_known && got.sends_n == 1);
	assert_int_equal(must_get("t", "1").sends_n, 0);
	/* In two namespaces: then they are asked for on their own. */
	odd = sends;
	odd.ns = STR("x");
	assert_ok(write_as(&ME, &odd, 1));
	assert_false(must_get("t", "2").sends_known);
	struct ckpt_sends all = {.id = STR("1")};
	assert_ok(S->ops->checkpoints->sends(S, &mem, &ME, STR("t"), &all, 1));
	assert_int_equal(all.n, 2);
}

/* ---------------------------------------------------------------- large values */

static bool weigh(void *ctx, const struct ckpt *c)
{
	size_t *sum = ctx;
	for (size_t i = 0; i < c->values_n; i++)
		*sum += c->values[i].bytes.n;
	return true;
}

/* Pages end where they are full; a row is whole all the same. */
static void large_values(void **state)
{
	(void)state;
	const size_t sizes[] = {5u << 20, 70u << 20, 1, 5u << 20, 5u << 20, 9u << 20, 3};
	size_t all = 0, sum = 0, n = 0;
	char id[8];
	for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		char *p = malloc(sizes[i]);
		assert_non_null(p);
		memset(p, (int)('a' + i), sizes[i]);
		snprintf(id, sizeof id, "%u", i);
		const struct ckpt_value v = {STR("c"), str_c(id), STR("bytes"), str_of(p, sizes[i])};
		const struct ckpt_change c = put_of("t", id, &v);
		assert_ok(write_as(&ME, &c, 1));
		struct ckpt back = must_get("t", id);
		assert_true(back.values_n == 1 && str_eq(back.values[0].bytes, v.bytes));
		free(p);
		arena_clear(&mem);
		all += sizes[i];
	}
	const struct str thread = STR("t");
	struct ckpt_list l = {.thread = &thread, .limit = 100, .want = CK_VALUES};
	assert_ok(S->ops->checkpoints->list(S, &ME, &l, weigh, &sum));
	assert_int_equal(sum, all);
	l.want = 0;
	assert_ok(S->ops->checkpoints->list(S, &ME, &l, count_it, &n));
	assert_int_equal(n, sizeof sizes / sizeof *sizes);
}

/* ---------------------------------------------------------------- at once */

enum { HANDS = 6, ROUNDS = 40 };
struct hand {
	pthread_t thread;
	unsigned i;
	enum err err;
	char text[512];
};

/* Puts a checkpoint that shares a value with others, and removes an older one, whoever's. */
static void *hand_main(void *arg)
{
	struct hand *h = arg;
	for (unsigned r = 0; r < ROUNDS && h->err == OK; r++) {
		char id[24], old[24], version[8], json[160];
		snprintf(id, sizeof id, "%04u-%u", r, h->i);
		snprintf(old, sizeof old, "%04u-%u", r / 2, (h->i + 1) % HANDS);
		snprintf(version, sizeof version, "%u", r / 3);
		snprintf(json, sizeof json, "{\"channel_versions\":{\"c\":\"%s\"}}", version);
		const struct ckpt_value v = {STR("c"), str_c(version), STR("bytes"), str_c(version)};
		const struct ckpt_change c = {.op = CK_PUT,
					      .thread = STR("t"),
					      .id = str_c(id),
					      .checkpoint = str_c(json),
					      .metadata = STR("{}"),
					      .values = &v,
					      .values_n = 1};
		const struct ckpt_ref ref = {STR(""), str_c(old)};
		struct ckpt_removed gone;
		h->err = write_as(&ME, &c, 1);
		if (h->err == OK && r % 2)
			h->err = S->ops->checkpoints->remove(S, &ME, STR("t"), &ref, 1, &gone);
	}
	snprintf(h->text, sizeof h->text, "%s", diag_get()->text);
	return NULL;
}

/* No remaining checkpoint has lost its value, and none is left that no checkpoint refers to. */
static void puts_and_removals(void **state)
{
	(void)state;
	struct hand h[HANDS] = {0};
	for (unsigned i = 0; i < HANDS; i++) {
		h[i].i = i;
		assert_int_equal(pthread_create(&h[i].thread, NULL, hand_main, &h[i]), 0);
	}
	for (unsigned i = 0; i < HANDS; i++) {
		pthread_join(h[i].thread, NULL);
		if (h[i].err != OK)
			fail_msg("%s", h[i].text);
	}
	assert_int_equal(number("SELECT count(*) FROM checkpoints c WHERE NOT EXISTS (SELECT FROM checkpoint_blobs b WHERE "
				"b.channel = 'c' AND"
				" b.version = c.checkpoint -> 'channel_versions' ->> 'c')"),
			 0);
	assert_int_equal(
		number("SELECT count(*) FROM checkpoint_blobs b WHERE NOT EXISTS (SELECT FROM checkpoints c WHERE b.version ="
		       " c.checkpoint -> 'channel_versions' ->> 'c')"),
		0);
	assert_true(number("SELECT count(*) FROM checkpoints") > 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {T(plans),
					   T(one_bad_among_many),
					   T(same_rows_in_one_batch),
					   T(locked_row),
					   T(merged),
					   T(users),
					   T(one_takes_it),
					   T(odd_rows),
					   T(large_values),
					   T(puts_and_removals),
					   T(lists_again),
					   T(lists_of_parts)};
	url = getenv("CENOTE_TEST_PG");
	if (!url || !*url) {
		fprintf(stderr, "CENOTE_TEST_PG is not set: skipped\n");
		return 77;
	}
	snprintf(schema, sizeof schema, "ckpt%ld", (long)getpid());
	return cmocka_run_group_tests(tests, NULL, NULL);
}
