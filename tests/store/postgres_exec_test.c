/* The PostgreSQL executor against a real server (pg_world.h): many callers, failures among others' statements, deadlines,
 * deadlocks, lanes, poolers. `postgres_exec_test bench [SECONDS]` counts point reads instead. What happens when things break is in
 * postgres_outage_test.c. */
#include <unistd.h>

#include "pg_world.h"

#define WAITING "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'advisory' AND application_name = '%s'"

static const struct pg_stmt RAISE = {5, LANE_WRITE, "raise", "UPDATE @pair SET n = n + 1 WHERE id = $1"};
static const struct pg_stmt NAP = {6, LANE_WRITE, "nap", "SELECT pg_sleep($1)"};
static const struct pg_stmt FORGET = {7, LANE_POINT, "forget", "DEALLOCATE ALL"};
static const struct pg_stmt ALL = {8, LANE_POINT, "all", "SELECT * FROM @pair ORDER BY id"};
static const struct pg_stmt NUL = {9, LANE_POINT, "nul", "SELECT $1::jsonb ->> 'a'"};
static const struct pg_stmt JOURNAL = {10, LANE_WRITE, "journal", "INSERT INTO @cenote_journal(op, step) VALUES($1, 1)"};
/* They wait as long as the other client holds the lock of that number. */
static const struct pg_stmt HELD = {13, LANE_SEARCH, "held", "SELECT pg_advisory_xact_lock_shared($1)"};
static const struct pg_stmt HELD_SCAN = {14, LANE_SCAN, "held_scan", "SELECT pg_advisory_xact_lock_shared($1)"};
static const struct pg_stmt BIG = {11, LANE_SEARCH, "big", "SELECT repeat('x', $1::int4), $2::text"};

/* ---------------------------------------------------------------- many callers */

static void read_many(unsigned i)
{
	for (int64_t k = 0; k < 100; k++)
		EXPECT(twice((int64_t)i * 1000 + k) == OK);
}

static void many_callers(void **state)
{
	(void)state;
	begin((struct pg_options){.pool_max = 4});
	crowd_run((struct crowd){read_many, .fibers = 32, .loops = 2, .threads = 8});
	assert_int_equal(figure("cenote_pg_jobs_total{lane=\"point\"} "), 72 * 100);
	assert_true(figure("cenote_pg_units_total{lane=\"point\"} ") < 72 * 100);
	assert_int_equal(figure("cenote_pg_prepared "), 1);
	end();
}

static void fail_among(unsigned i)
{
	for (int64_t k = 0; k < 60; k++) {
		if ((i + (unsigned)k) % 7 == 0) {
			EXPECT(inverse(0) == E_INVALID);
			EXPECT(strstr(diag_get()->text, "division by zero"));
		} else {
			EXPECT(twice(k) == OK);
		}
	}
}

static void failures_stay_alone(void **state)
{
	(void)state;
	begin((struct pg_options){.pool_max = 1});
	crowd_run((struct crowd){fail_among, .fibers = 24, .loops = 2, .threads = 2});
	assert_true(figure("cenote_pg_retries_total{reason=\"aborted_by_other\"} ") > 0);
	end();
}

static atomic_uint most;

static void read_and_count(unsigned i)
{
	for (int64_t k = 0; k < 20; k++) {
		bool repeated;
		EXPECT(twice(k) == OK);
		EXPECT(write_one((int64_t)i * 100 + k, 0, &repeated) == OK && !repeated);
		EXPECT(pause_for(&SLEEP, 0) == OK);
		if (i == 0) {
			unsigned n = (unsigned)backends();
			if (n > atomic_load(&most))
				atomic_store(&most, n);
		}
	}
}

static long units(void)
{
	return figure("cenote_pg_units_total{lane=\"point\"} ") + figure("cenote_pg_units_total{lane=\"search\"} ") +
	       figure("cenote_pg_units_total{lane=\"write\"} ");
}

static void pool_sizes(void **state)
{
	static const struct pg_options o[] = {{.pool_max = 1},
					      {.pool_max = 2},
					      {.pool_max = 3},
					      {.pool_max = 9},
					      {.pool_max = 2, .no_pool = true},
					      {.pool_max = 1, .no_pool = true}};
	(void)state;
	for (unsigned i = 0; i < sizeof o / sizeof *o; i++) {
		atomic_store(&most, 0);
		begin(o[i]);
		crowd_run((struct crowd){read_and_count, .fibers = 4, .loops = 1, .threads = 3});
		assert_int_equal(effects(), 7 * 20);
		if (o[i].no_pool) /* the server may be slower to end a backend than we are to use the next */
			assert_int_equal(figure("cenote_pg_connects_total{result=\"ok\"} "), units());
		else
			assert_in_range(atomic_load(&most), 1, o[i].pool_max);
		end();
	}
}

static void big_both_ways(unsigned i)
{
	char *text = malloc(3 << 20);
	struct pg_params p;
	PGresult *r;
	EXPECT(text != NULL);
	memset(text, 'a' + (int)(i % 26), 3 << 20);
	pg_params_init(&p);
	pg_i32(&p, 2 << 20);
	pg_text(&p, (struct str){text, 3 << 20});
	EXPECT(pg_query(&W.t, &BIG, &p, &r) == OK);
	EXPECT(pg_get_str(r, 0, 0).n == 2 << 20);
	EXPECT(str_eq(pg_get_str(r, 0, 1), (struct str){text, 3 << 20}));
	PQclear(r);
	free(text);
}

static void large_values(void **state)
{
	(void)state;
	begin((struct pg_options){.pool_max = 2});
	crowd_run((struct crowd){big_both_ways, .fibers = 6, .loops = 2});
	end();
}

/* ---------------------------------------------------------------- deadlines */

static void read_deadline(void **state)
{
	(void)state;
	begin((struct pg_options){.pool_max = 1});
	assert_int_equal(twice(1), OK);
	for (unsigned i = 0; i < 3; i++) {
		uint64_t t0 = clock_mono_ns();
		fiber_set_deadline(deadline_in_ms(200));
		assert_int_equal(pause_for(&POINT_SLEEP, 60), E_TIMEOUT);
		assert_in_range(took_ms(t0), 200, AT_MOST(1500));
		fiber_set_deadline(NEVER);
		/* The only connection serves again at once, because the statement was cancelled. */
		t0 = clock_mono_ns();
		assert_int_equal(twice(2), OK);
		assert_true(took_ms(t0) < AT_MOST(1500));
	}
	assert_true(figure("cenote_pg_cancels_total ") >= 3);
	assert_int_equal(backends(), 1);
	end();
}

static void write_deadline(void **state)
{
	bool repeated;
	(void)state;
	begin((struct pg_options){.pool_max = 2});
	uint64_t t0 = clock_mono_ns();
	fiber_set_deadline(deadline_in_ms(200));
	assert_int_equal(write_one(1, 60, &repeated), E_TIMEOUT);
	assert_non_null(strstr(diag_get()->text, "nothing was written"));
	assert_in_range(took_ms(t0), 200, AT_MOST(2500));
	fiber_set_deadline(NEVER);
	assert_int_equal(write_one(2, 0, &repeated), OK);
	assert_int_equal(effects(), 1);
	end();
}

static atomic_uint late;

static void wait_in_line(unsigned i)
{
	fiber_set_deadline(deadline_in_ms(i == 0 ? 2500 : 300));
	uint64_t t0 = clock_mono_ns();
	EXPECT(pause_for(&SLEEP, 120) == E_TIMEOUT);
	EXPECT(took_ms(t0) >= (i == 0 ? 2500 : 300) && took_ms(t0) < AT_MOST(2500 + 1500));
	atomic_fetch_add(&late, strstr(diag_get()->text, "waited for a connection") != NULL);
}

static void queue_deadline(void **state)
{
	(void)state;
	begin((struct pg_options){.pool_max = 1, .statement_ms = 120000});
	atomic_store(&late, 0);
	crowd_run((struct crowd){wait_in_line, .threads = 40});
	assert_true(atomic_load(&late) > 0); /* more than two units of 8 */
	assert_int_equal(twice(1), OK);
	end();
}

static void statement_timeout(void **state)
{
	(void)state;
	begin((struct pg_options){.pool_max = 1, .statement_ms = 250});
	uint64_t t0 = clock_mono_ns();
	assert_int_equal(pause_for(&SLEEP, 60), E_TIMEOUT);
	assert_in_range(took_ms(t0), 200, AT_MOST(1500));
	assert_int_equal(twice(1), OK);
	end();
}

/* Those that share the unit with one that is cancelled get their answers. */
static void mixed_sleeps(unsigned i)
{
	if (i % 4 == 0) {
		fiber_set_deadline(deadline_in_ms(150));
		EXPECT(pause_for(&SLEEP, 60) == E_TIMEOUT);
	} else {
		EXPECT(pause_for(&SLEEP, 0.02) == OK);
	}
}

static void cancel_hits_one(void **state)
{
	(void)state;
	begin((struct pg_options){.pool_max = 1});
	crowd_run((struct crowd){mixed_sleeps, .fibers = 16, .loops = 1});
	end();
}

/* ---------------------------------------------------------------- collisions */

static void raise_both(unsigned i)
{
	struct pg_params p[4] = {{{0}}};
	struct pg_step step[4] = {{&JOURNAL, &p[0], NULL}, {&RAISE, &p[1], NULL}, {&NAP, &p[2], NULL}, {&RAISE, &p[3], NULL}};
	struct pg_job j = {.t = &W.t, .steps = step, .n = 4, .lane = LANE_WRITE, .write = true};
	pg_i64(&p[0], pg_new_op());
	pg_i64(&p[1], i % 2 ? 1 : 2);
	pg_f64(&p[2], 0.3);
	pg_i64(&p[3], i % 2 ? 2 : 1);
	EXPECT(pg_run(&j) == OK && !j.repeated);
	EXPECT(strcmp(PQcmdTuples(step[3].res), "1") == 0);
	pg_job_clear(&j);
	for (unsigned k = 0; k < 4; k++)
		pg_params_release(&p[k]);
}

static void deadlocks(void **state)
{
	(void)state;
	begin((struct pg_options){.pool_min = 8, .pool_max = 8});
	while (figure("cenote_pg_connections{lane=\"write\"} ") < 2)
		;
	PQclear(sql("UPDATE %s.pair SET n = 0", schema));
	/* They collide when both begin within the nap of 0.3 s. */
	long rounds = 0;
	do {
		crowd_run((struct crowd){raise_both, .threads = 2});
		rounds++;
	} while (rounds < 20 && figure("cenote_pg_retries_total{reason=\"conflict\"} ") == 0);
	assert_true(figure("cenote_pg_retries_total{reason=\"conflict\"} ") > 0);
	assert_int_equal(number("SELECT sum(n) FROM %s.pair", schema), 4 * rounds);
	end();
}

/* ---------------------------------------------------------------- lanes */

static atomic_uint stuck_n, free_n;

/* One of those that are stuck until the other client lets them go. */
static void be_stuck(const struct pg_stmt *st)
{
	struct pg_params p;
	PGresult *r;
	pg_params_init(&p);
	pg_i64(&p, getpid());
	atomic_fetch_add(&stuck_n, 1);
	EXPECT(pg_query(&W.t, st, &p, &r) == OK);
	PQclear(r);
	atomic_fetch_add(&free_n, 1);
}

static void until_stuck(unsigned n)
{
	while (atomic_load(&stuck_n) < n || number(WAITING, app) < 2)
		;
}

static void let_go(void)
{
	EXPECT(atomic_load(&free_n) == 0);
	PQclear(sql("SELECT pg_advisory_unlock(%ld)", (long)getpid()));
}

/* Runs them while the other client holds the lock. What waits in vain for those that are stuck fails when their statements time
 * out. */
static void run_stuck(struct pg_options o, struct crowd c)
{
	begin(o);
	atomic_store(&stuck_n, 0);
	atomic_store(&free_n, 0);
	PQclear(sql("SELECT pg_advisory_lock(%ld)", (long)getpid()));
	crowd_run(c);
	end();
}

static void stuck(unsigned i)
{
	if (i < 24) {
		be_stuck(&HELD);
		return;
	}
	until_stuck(24);
	for (int64_t k = 0; k < 200; k++) {
		bool repeated;
		EXPECT(twice(k) == OK);
		EXPECT(write_one(k, 0, &repeated) == OK);
	}
	let_go();
}

static void lanes_do_not_delay(void **state)
{
	(void)state;
	run_stuck((struct pg_options){.pool_max = 4, .statement_ms = 120000}, (struct crowd){stuck, .threads = 25});
}

static void scanning(unsigned i)
{
	if (i < 12) {
		be_stuck(&HELD_SCAN);
		return;
	}
	until_stuck(12);
	for (int k = 0; k < 20; k++) {
		EXPECT(number(WAITING, app) <= 2); /* of the four connections for searches */
		EXPECT(pause_for(&SLEEP, 0) == OK);
	}
	let_go();
}

static void scans_leave_room(void **state)
{
	(void)state;
	run_stuck((struct pg_options){.pool_max = 8, .pool_min = 8, .statement_ms = 120000},
		  (struct crowd){scanning, .threads = 13});
}

/* ---------------------------------------------------------------- prepared statements */

static void forget_all(void)
{
	struct pg_params p;
	PGresult *r;
	pg_params_init(&p);
	assert_int_equal(pg_query(&W.t, &FORGET, &p, &r), OK);
	PQclear(r);
}

/* A pooler that does not keep prepared statements: they are gone when they are used next. */
static void pooler_forgets(void **state)
{
	(void)state;
	begin((struct pg_options){.pool_max = 1});
	assert_int_equal(twice(1), OK);
	assert_int_equal(figure("cenote_pg_prepared "), 1);
	forget_all();
	crowd_run((struct crowd){read_many, .fibers = 4, .loops = 1});
	assert_int_equal(figure("cenote_pg_prepared "), 0);
	end();
	begin((struct pg_options){.pool_max = 1, .prepare = PG_PREPARE_ON});
	assert_int_equal(twice(1), OK);
	forget_all();
	assert_int_equal(twice(1), E_INTERNAL);
	assert_non_null(strstr(diag_get()->text, "pg.prepare"));
	end();
	begin((struct pg_options){.pool_max = 1, .prepare = PG_PREPARE_OFF});
	assert_int_equal(twice(1), OK);
	forget_all();
	assert_int_equal(twice(1), OK);
	end();
}

/* Behind a pooler, a name that we have prepared may reach a backend where somebody else has given it to another tenant's statement:
 * seen here as two tenants with one number. A name must not stand for two texts. */
static void names_mean_texts(void **state)
{
	static struct pg_tenant other;
	struct pg_params p;
	PGresult *r;
	(void)state;
	PQclear(sql("CREATE SCHEMA %s_other", schema));
	PQclear(sql("CREATE TABLE %s_other.pair AS SELECT 7::bigint AS id, 7::bigint AS n", schema));
	begin((struct pg_options){.pool_max = 1});
	other.s = &W.s;
	snprintf(other.quoted, sizeof other.quoted, "\"%s_other\"", schema);
	for (unsigned i = 0; i < 4; i++) {
		struct pg_tenant *t = i % 2 ? &other : &W.t;
		pg_params_init(&p);
		assert_int_equal(pg_query(t, &ALL, &p, &r), OK);
		assert_int_equal(pg_get_i64(r, 0, 0), i % 2 ? 7 : 1);
		PQclear(r);
	}
	end();
	free(atomic_load(&other.sql[ALL.id]));
	PQclear(sql("DROP SCHEMA %s_other CASCADE", schema));
}

static int columns(void)
{
	struct pg_params p;
	PGresult *r;
	pg_params_init(&p);
	assert_int_equal(pg_query(&W.t, &ALL, &p, &r), OK);
	int n = PQnfields(r);
	PQclear(r);
	return n;
}

static void table_altered(void **state)
{
	(void)state;
	begin((struct pg_options){.pool_max = 1});
	assert_int_equal(columns(), 2);
	PQclear(sql("ALTER TABLE %s.pair ADD COLUMN more int", schema));
	assert_int_equal(columns(), 3);
	assert_int_equal(figure("cenote_pg_retries_total{reason=\"plan\"} "), 1);
	PQclear(sql("ALTER TABLE %s.pair DROP COLUMN more", schema));
	assert_int_equal(columns(), 2);
	end();
}

/* ---------------------------------------------------------------- errors */

static void errors(void **state)
{
	static const struct {
		const char *code;
		enum err err;
		unsigned retry;
	} cases[] = {{"22P05", E_INVALID, 0}, {"22P02", E_INVALID, 0}, {"22021", E_INVALID, 0},	 {"22003", E_INVALID, 0},
		     {"54000", E_INVALID, 0}, {"42501", E_DENIED, 0},  {"28P01", E_DENIED, 0},	 {"28000", E_DENIED, 0},
		     {"53100", E_LIMIT, 0},   {"53200", E_LIMIT, 0},   {"53300", E_BUSY, 1},	 {"25006", E_BUSY, 1},
		     {"57014", E_TIMEOUT, 0}, {"57P01", E_BUSY, 1},    {"57P03", E_BUSY, 1},	 {"55P03", E_BUSY, 1},
		     {"40001", E_BUSY, 1},    {"40P01", E_BUSY, 1},    {"08006", E_BUSY, 1},	 {"", E_BUSY, 1},
		     {"42P01", E_CORRUPT, 0}, {"3F000", E_CORRUPT, 0}, {"XX000", E_INTERNAL, 0}, {"42601", E_INTERNAL, 0}};
	struct pg_params p;
	PGresult *r;
	(void)state;
	for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
		assert_int_equal(pg_error_state(cases[i].code, "first line\nsecond line"), cases[i].err);
		assert_non_null(strstr(diag_get()->text, "first line"));
		assert_null(strstr(diag_get()->text, "second"));
		assert_int_equal(diag_get()->retry_after_s, cases[i].retry);
		bool locked = strcmp(cases[i].code, "55P03") == 0;
		assert_int_equal(diag_get()->kind, cases[i].err == E_LIMIT ? ERR_QUOTA : locked ? ERR_LOCKED : ERR_PLAIN);
	}
	begin((struct pg_options){.pool_max = 2});
	pg_params_init(&p);
	pg_json(&p, STR("{\"a\":\"\\u0000\"}"));
	assert_int_equal(pg_query(&W.t, &NUL, &p, &r), E_INVALID);
	assert_null(r);
	assert_non_null(strstr(diag_get()->text, "NUL"));
	end();
}

/* ---------------------------------------------------------------- the io thread's fibers, admin */

static struct event io_done;

static void on_io(void *arg)
{
	EXPECT(loop_current() == pg_io_loop(&W.s));
	EXPECT(twice(21) == OK);
	EXPECT(inverse(0) == E_INVALID);
	*(int *)arg = 1;
	event_set(&io_done);
}

static void fibers_on_io(void **state)
{
	int ran = 0;
	(void)state;
	begin((struct pg_options){.pool_max = 2});
	event_init(&io_done);
	assert_int_equal(pg_io_spawn(&W.s, on_io, &ran), OK);
	event_wait(&io_done);
	assert_int_equal(ran, 1);
	end();
}

static enum err admin_fn(PGconn *c, void *arg)
{
	PGresult *r;
	TRY(pg_sql(c, "SELECT 1; SELECT 2", &r));
	EXPECT(strcmp(PQgetvalue(r, 0, 0), "2") == 0);
	PQclear(r);
	TRY(pg_sql(c, "SELECT", NULL));
	return pg_sql(c, arg, NULL);
}

static void admin_many(unsigned i)
{
	EXPECT(pg_admin(&W.s, admin_fn, "SELECT 3") == OK);
	EXPECT(pg_admin(&W.s, admin_fn, "SELECT 1/0") == E_INVALID);
}

static void admin(void **state)
{
	(void)state;
	begin((struct pg_options){.pool_max = 1});
	crowd_run((struct crowd){admin_many, .fibers = 4, .loops = 1, .threads = 2});
	uint64_t t0 = clock_mono_ns();
	fiber_set_deadline(deadline_in_ms(200));
	assert_int_equal(pg_admin(&W.s, admin_fn, "SELECT pg_sleep(60)"), E_TIMEOUT);
	assert_in_range(took_ms(t0), 200, AT_MOST(1500));
	fiber_set_deadline(NEVER);
	end();
}

/* ---------------------------------------------------------------- counting */

static atomic_ullong reads;
static atomic_bool ended;

static void read_on(unsigned i)
{
	(void)i;
	while (!atomic_load_explicit(&ended, memory_order_relaxed)) {
		EXPECT(twice(1) == OK);
		atomic_fetch_add_explicit(&reads, 1, memory_order_relaxed);
	}
}

static void *clock_main(void *arg)
{
	EXPECT(wait_until(clock_mono_ns() + *(uint64_t *)arg) == OK);
	atomic_store(&ended, true);
	return NULL;
}

static int bench(int argc, char **argv)
{
	uint64_t ns = (uint64_t)(argc > 2 ? strtol(argv[2], NULL, 10) : 3) * 1000 * MS;
	unsigned fibers = argc > 3 ? (unsigned)strtol(argv[3], NULL, 10) : 32,
		 pool = argc > 4 ? (unsigned)strtol(argv[4], NULL, 10) : 8;
	pthread_t thread;
	begin((struct pg_options){.pool_max = pool});
	EXPECT(twice(1) == OK);
	uint64_t t0 = clock_mono_ns();
	EXPECT(pthread_create(&thread, NULL, clock_main, &ns) == 0);
	crowd_run((struct crowd){read_on, .fibers = fibers, .loops = 2});
	pthread_join(thread, NULL);
	double s = (double)(clock_mono_ns() - t0) / 1e9;
	printf("%.0f point reads/s with 2 loops of %u fibers, %ld connections, %.1f reads a unit\n",
	       (double)atomic_load(&reads) / s, fibers, backends(),
	       (double)figure("cenote_pg_jobs_total{lane=\"point\"} ") / (double)figure("cenote_pg_units_total{lane=\"point\"} "));
	end();
	return 0;
}

static int run(void)
{
	static const struct CMUnitTest tests[] = {TEST(many_callers),	TEST(failures_stay_alone), TEST(pool_sizes),
						  TEST(large_values),	TEST(read_deadline),	   TEST(write_deadline),
						  TEST(queue_deadline), TEST(statement_timeout),   TEST(cancel_hits_one),
						  TEST(deadlocks),	TEST(lanes_do_not_delay),  TEST(scans_leave_room),
						  TEST(pooler_forgets), TEST(table_altered),	   TEST(names_mean_texts),
						  TEST(errors),		TEST(fibers_on_io),	   TEST(admin)};
	return cmocka_run_group_tests_name("exec", tests, NULL, NULL);
}

int main(int argc, char **argv)
{
	return world_main(argc, argv, run, bench);
}
