/* The PostgreSQL executor against a real server (CENOTE_TEST_PG, a URL; without it the program is skipped, exit 77): many callers,
 * failures among others' statements, backends that are killed, deadlines, deadlocks, a server that is not there or says nothing,
 * poolers, stopping. `postgres_exec_test bench [SECONDS]` counts point reads instead. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <unistd.h>

#include "pg_proxy.h"
#include "store/postgres/pg.h"

#define MS UINT64_C(1000000)
/* Inside fibers and threads, because cmocka's own leave by longjmp. */
#define EXPECT(cond)                                                                                                               \
	do {                                                                                                                       \
		if (!(cond)) {                                                                                                     \
			fprintf(stderr, "%s:%d: not so: %s (%s)\n", __FILE__, __LINE__, #cond, diag_get()->text);                  \
			abort();                                                                                                   \
		}                                                                                                                  \
	} while (0)

static const char *url;
static char schema[32], app[32];
#define ASLEEP "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND application_name = '%s'"
static PGconn *side; /* a connection beside the pool */

static const struct pg_stmt TWICE = {0, LANE_POINT, "twice", "SELECT $1::int8 * 2"};
static const struct pg_stmt INVERSE = {1, LANE_POINT, "inverse", "SELECT 1 / $1::int8"};
static const struct pg_stmt SLEEP = {2, LANE_SEARCH, "sleep", "SELECT pg_sleep($1)"};
static const struct pg_stmt SCAN = {12, LANE_SCAN, "scan", "SELECT pg_sleep($1)"};
static const struct pg_stmt POINT_SLEEP = {3, LANE_POINT, "point_sleep", "SELECT pg_sleep($1)"};
static const struct pg_stmt WRITE = {4, LANE_WRITE, "write",
				     "WITH j AS (INSERT INTO @cenote_journal(op, step) VALUES($1, 0))"
				     " INSERT INTO @effect(n) SELECT $2::int8 FROM pg_sleep($3)"};
static const struct pg_stmt RAISE = {5, LANE_WRITE, "raise", "UPDATE @pair SET n = n + 1 WHERE id = $1"};
static const struct pg_stmt NAP = {6, LANE_WRITE, "nap", "SELECT pg_sleep($1)"};
static const struct pg_stmt FORGET = {7, LANE_POINT, "forget", "DEALLOCATE ALL"};
static const struct pg_stmt ALL = {8, LANE_POINT, "all", "SELECT * FROM @pair ORDER BY id"};
static const struct pg_stmt NUL = {9, LANE_POINT, "nul", "SELECT $1::jsonb ->> 'a'"};
static const struct pg_stmt JOURNAL = {10, LANE_WRITE, "journal", "INSERT INTO @cenote_journal(op, step) VALUES($1, 1)"};
static const struct pg_stmt BIG = {11, LANE_SEARCH, "big", "SELECT repeat('x', $1::int4), $2::text"};

/* ---------------------------------------------------------------- the world */

struct world {
	struct pg s;
	struct pg_tenant t;
};
static struct world W;

static PGresult *sql(const char *fmt, ...)
{
	char text[1024];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	PGresult *r = PQexec(side, text);
	if (PQresultStatus(r) != PGRES_TUPLES_OK && PQresultStatus(r) != PGRES_COMMAND_OK) {
		fprintf(stderr, "%s: %s\n", text, PQerrorMessage(side));
		abort();
	}
	return r;
}

static long number(const char *fmt, const char *arg)
{
	PGresult *r = sql(fmt, arg);
	long n = strtol(PQgetvalue(r, 0, 0), NULL, 10);
	PQclear(r);
	return n;
}

static long effects(void)
{
	return number("SELECT count(*) FROM %s.effect", schema);
}

static long backends(void)
{
	return number("SELECT count(*) FROM pg_stat_activity WHERE application_name = '%s'", app);
}

static void open_url(const char *to, const struct pg_options *o)
{
	memset(&W, 0, sizeof W);
	W.s.opt.pg = *o;
	W.s.opt.pg.application_name = str_c(app);
	W.s.pool_max = o->pool_max ? o->pool_max : 4;
	W.s.pool_min = o->pool_min ? o->pool_min : 2;
	if (W.s.pool_min > W.s.pool_max)
		W.s.pool_min = W.s.pool_max;
	W.s.statement_ms = o->statement_ms ? o->statement_ms : 30000;
	W.s.connect_ms = o->connect_ms ? o->connect_ms : 5000;
	W.s.opt.pg.connect_ms = W.s.connect_ms;
	W.t.s = &W.s;
	W.s.home = &W.t;
	snprintf(W.t.quoted, sizeof W.t.quoted, "\"%s\"", schema);
	EXPECT(pg_target_new(str_c(to), &W.s.opt, &W.s.target) == OK);
	EXPECT(pg_exec_start(&W.s) == OK);
}

static void begin(struct pg_options o)
{
	while (backends()) /* of the test before */
		;
	PQclear(sql("TRUNCATE %s.effect, %s.cenote_journal", schema, schema));
	open_url(url, &o);
}

static struct pg_proxy *proxy;

static void end(void)
{
	pg_exec_stop(&W.s, deadline_in_ms(5000));
	pg_target_free(W.s.target);
	for (unsigned i = 0; i < ST_MAX; i++)
		free(atomic_load(&W.t.sql[i]));
	W.s.target = NULL;
	if (proxy)
		pg_proxy_free(proxy);
	proxy = NULL;
}

/* Of a test that has failed. */
static int teardown(void **state)
{
	(void)state;
	fiber_set_deadline(NEVER);
	if (W.s.target)
		end();
	return 0;
}

/* The figure of a line of the metrics that begins so. */
static long figure(const char *line)
{
	struct buf b;
	buf_init(&b, NULL, 1 << 20);
	pg_exec_metrics(&W.s, &b);
	buf_byte(&b, 0);
	const char *at = strstr(b.p, line);
	while (at && at != b.p && at[-1] != '\n') /* not in a comment */
		at = strstr(at + 1, line);
	EXPECT(at != NULL);
	long v = strtol(at + strlen(line), NULL, 10);
	buf_release(&b);
	return v;
}

static enum err twice(int64_t n)
{
	struct pg_params p;
	PGresult *r;
	pg_params_init(&p);
	pg_i64(&p, n);
	enum err e = pg_query(&W.t, &TWICE, &p, &r);
	if (e == OK)
		EXPECT(pg_get_i64(r, 0, 0) == 2 * n);
	PQclear(r);
	return e;
}

static enum err inverse(int64_t n)
{
	struct pg_params p;
	PGresult *r;
	pg_params_init(&p);
	pg_i64(&p, n);
	enum err e = pg_query(&W.t, &INVERSE, &p, &r);
	PQclear(r);
	return e;
}

static enum err pause_for(const struct pg_stmt *st, double s)
{
	struct pg_params p;
	PGresult *r;
	pg_params_init(&p);
	pg_f64(&p, s);
	enum err e = pg_query(&W.t, st, &p, &r);
	PQclear(r);
	return e;
}

static enum err write_one(int64_t n, double s, bool *repeated)
{
	struct pg_params p;
	PGresult *r;
	pg_params_init(&p);
	pg_i64(&p, pg_new_op());
	pg_i64(&p, n);
	pg_f64(&p, s);
	enum err e = pg_write(&W.t, &WRITE, &p, &r, repeated);
	PQclear(r);
	return e;
}

/* ---------------------------------------------------------------- crowds */

/* fn(i) in n fibers on each of `loops` loops, and in `threads` threads; returns when all have ended. */
struct crowd {
	void (*fn)(unsigned i);
	unsigned fibers, loops, threads;
};
struct member {
	void (*fn)(unsigned i);
	unsigned i, n;
	pthread_t thread;
	struct loop *loop;
	struct loop_task task;
};

static void fiber_main(void *arg)
{
	struct member *m = arg;
	m->fn(m->i++);
}

static void spawn_all(void *arg)
{
	struct member *m = arg;
	for (unsigned i = 0; i < m->n; i++)
		EXPECT(fiber_spawn(fiber_main, m, NULL, NULL) == OK);
}

static void *loop_main(void *arg)
{
	struct member *m = arg;
	EXPECT(loop_new(&m->loop) == OK);
	m->task = (struct loop_task){.fn = spawn_all, .arg = m};
	loop_post(m->loop, &m->task);
	loop_stop(m->loop);
	loop_run(m->loop);
	return NULL;
}

static void *thread_main(void *arg)
{
	struct member *m = arg;
	m->fn(m->i);
	return NULL;
}

static void crowd_run(struct crowd c)
{
	struct member m[64];
	unsigned all = c.loops + c.threads, i = 0;
	EXPECT(all <= 64);
	for (unsigned k = 0; k < all; k++) {
		bool loop = k < c.loops;
		m[k] = (struct member){.fn = c.fn, .i = i, .n = c.fibers};
		i += loop ? c.fibers : 1;
		EXPECT(pthread_create(&m[k].thread, NULL, loop ? loop_main : thread_main, &m[k]) == 0);
	}
	for (unsigned k = 0; k < all; k++) {
		pthread_join(m[k].thread, NULL);
		if (m[k].loop)
			loop_free(m[k].loop);
	}
}

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

/* ---------------------------------------------------------------- killed backends */

static atomic_uint writers;
static atomic_ulong repeats;

static void write_many(unsigned i)
{
	for (int64_t k = 0; k < 125; k++) {
		bool repeated;
		EXPECT(write_one((int64_t)i * 1000 + k, 0, &repeated) == OK);
		atomic_fetch_add(&repeats, repeated);
		EXPECT(twice(k) == OK);
	}
	atomic_fetch_sub(&writers, 1);
}

static void *killer_main(void *arg)
{
	PGconn *c = PQconnectdb(url);
	char text[256];
	unsigned *rounds = arg;
	EXPECT(PQstatus(c) == CONNECTION_OK);
	snprintf(text, sizeof text, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = '%s'",
		 app);
	while (atomic_load(&writers)) {
		PGresult *r = PQexec(c, text);
		EXPECT(PQntuples(r) == 1);
		PQclear(r);
		++*rounds;
		EXPECT(wait_until(clock_mono_ns() + 150 * MS) == OK);
	}
	PQfinish(c);
	return NULL;
}

static void killed_backends(void **state)
{
	pthread_t killer;
	unsigned rounds = 0;
	(void)state;
	begin((struct pg_options){.pool_max = 8});
	atomic_store(&writers, 80);
	atomic_store(&repeats, 0);
	EXPECT(pthread_create(&killer, NULL, killer_main, &rounds) == 0);
	crowd_run((struct crowd){write_many, .fibers = 36, .loops = 2, .threads = 8});
	pthread_join(killer, NULL);
	assert_int_equal(effects(), 10000);
	assert_int_equal(number("SELECT count(DISTINCT n) FROM %s.effect", schema), 10000);
	assert_true(figure("cenote_pg_retries_total{reason=\"connection_lost\"} ") > 0);
	print_message("%u rounds of pg_terminate_backend, %ld retries, %lu writes found done\n", rounds,
		      figure("cenote_pg_retries_total{reason=\"connection_lost\"} "), atomic_load(&repeats));
	end();
}

/* The journal says that it has been done: as when the answer to the first attempt was lost. */
static void repeats_are_recognised(void **state)
{
	struct pg_params p;
	PGresult *r;
	bool repeated;
	int64_t op = pg_new_op();
	(void)state;
	begin((struct pg_options){.pool_max = 2});
	for (unsigned i = 0; i < 2; i++) {
		pg_params_init(&p);
		pg_i64(&p, op);
		pg_i64(&p, 1);
		pg_f64(&p, 0);
		assert_int_equal(pg_write(&W.t, &WRITE, &p, &r, &repeated), OK);
		assert_int_equal(repeated, i);
		assert_true((r == NULL) == (i == 1));
		PQclear(r);
	}
	assert_int_equal(effects(), 1);
	end();
}

/* ---------------------------------------------------------------- deadlines */

static uint64_t took_ms(uint64_t since)
{
	return (clock_mono_ns() - since) / MS;
}

static void read_deadline(void **state)
{
	(void)state;
	begin((struct pg_options){.pool_max = 1});
	assert_int_equal(twice(1), OK);
	for (unsigned i = 0; i < 3; i++) {
		uint64_t t0 = clock_mono_ns();
		fiber_set_deadline(deadline_in_ms(200));
		assert_int_equal(pause_for(&POINT_SLEEP, 60), E_TIMEOUT);
		assert_in_range(took_ms(t0), 200, 1500);
		fiber_set_deadline(NEVER);
		/* The only connection serves again at once, because the statement was cancelled. */
		t0 = clock_mono_ns();
		assert_int_equal(twice(2), OK);
		assert_true(took_ms(t0) < 1500);
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
	assert_in_range(took_ms(t0), 200, 2500);
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
	EXPECT(pause_for(&SLEEP, 60) == E_TIMEOUT);
	EXPECT(took_ms(t0) >= (i == 0 ? 2500 : 300) && took_ms(t0) < 2500 + 1500);
	atomic_fetch_add(&late, strstr(diag_get()->text, "waited for a connection") != NULL);
}

static void queue_deadline(void **state)
{
	(void)state;
	begin((struct pg_options){.pool_max = 1});
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
	assert_in_range(took_ms(t0), 200, 1500);
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
	crowd_run((struct crowd){raise_both, .threads = 2});
	assert_true(figure("cenote_pg_retries_total{reason=\"conflict\"} ") > 0);
	assert_int_equal(number("SELECT sum(n) FROM %s.pair", schema), 4);
	end();
}

/* ---------------------------------------------------------------- lanes */

static atomic_uint sleeping, slept_out;

static void stuck(unsigned i)
{
	if (i < 24) {
		atomic_fetch_add(&sleeping, 1);
		EXPECT(pause_for(&SLEEP, 1.5) == OK);
		atomic_fetch_add(&slept_out, 1);
		return;
	}
	while (atomic_load(&sleeping) < 24 || number(ASLEEP, app) < 2)
		;
	for (int64_t k = 0; k < 200; k++) {
		bool repeated;
		EXPECT(twice(k) == OK);
		EXPECT(write_one(k, 0, &repeated) == OK);
	}
	EXPECT(atomic_load(&slept_out) == 0);
}

static void lanes_do_not_delay(void **state)
{
	(void)state;
	begin((struct pg_options){.pool_max = 4});
	atomic_store(&sleeping, 0);
	atomic_store(&slept_out, 0);
	crowd_run((struct crowd){stuck, .threads = 25});
	end();
}

static void scanning(unsigned i)
{
	if (i < 12) {
		atomic_fetch_add(&sleeping, 1);
		EXPECT(pause_for(&SCAN, 0.3) == OK);
		atomic_fetch_add(&slept_out, 1);
		return;
	}
	while (atomic_load(&sleeping) < 12 || number(ASLEEP, app) < 2)
		;
	for (int k = 0; k < 20; k++) {
		EXPECT(number(ASLEEP, app) <= 2); /* of the four connections for searches */
		EXPECT(pause_for(&SLEEP, 0) == OK);
	}
	EXPECT(atomic_load(&slept_out) < 12);
}

static void scans_leave_room(void **state)
{
	(void)state;
	begin((struct pg_options){.pool_max = 8, .pool_min = 8});
	atomic_store(&sleeping, 0);
	atomic_store(&slept_out, 0);
	crowd_run((struct crowd){scanning, .threads = 13});
	end();
}

/* ---------------------------------------------------------------- a server that is not there */

static void begin_behind(struct pg_options o, enum pg_proxy_mode mode)
{
	char to[512], *err = NULL;
	const char *host = "127.0.0.1", *port = "5432", *user = "", *db = "", *password = "";
	PQconninfoOption *all = PQconninfoParse(url, &err);
	EXPECT(all != NULL);
	for (PQconninfoOption *c = all; c->keyword; c++) {
		const char **which = strcmp(c->keyword, "host") == 0	   ? &host
				     : strcmp(c->keyword, "port") == 0	   ? &port
				     : strcmp(c->keyword, "user") == 0	   ? &user
				     : strcmp(c->keyword, "dbname") == 0   ? &db
				     : strcmp(c->keyword, "password") == 0 ? &password
									   : NULL;
		if (which && c->val)
			*which = c->val;
	}
	proxy = pg_proxy_new(strcmp(host, "localhost") == 0 ? "127.0.0.1" : host, (int)strtol(port, NULL, 10));
	pg_proxy_set(proxy, mode);
	snprintf(to, sizeof to, "host=127.0.0.1 port=%d user='%s' dbname='%s' password='%s' gssencmode=disable",
		 pg_proxy_port(proxy), user, db, password);
	PQconninfoFree(all);
	PQclear(sql("TRUNCATE %s.effect, %s.cenote_journal", schema, schema));
	open_url(to, &o);
}

static void busy_quickly(unsigned i)
{
	bool repeated;
	uint64_t t0 = clock_mono_ns();
	EXPECT((i % 2 ? twice(1) : write_one(1, 0, &repeated)) == E_BUSY);
	EXPECT(diag_get()->retry_after_s == 1);
	EXPECT(took_ms(t0) < 1500);
}

static void not_there(void **state)
{
	(void)state;
	begin_behind((struct pg_options){.pool_max = 4}, PROXY_GONE);
	for (unsigned i = 0; i < 3; i++)
		crowd_run((struct crowd){busy_quickly, .fibers = 8, .loops = 1, .threads = 4});
	pg_proxy_set(proxy, PROXY_OPEN);
	/* Nobody asks for a while: it finds its way back by itself, and at the latest when asked. */
	uint64_t t0 = clock_mono_ns();
	enum err e;
	while ((e = twice(1)) != OK)
		assert_int_equal(e, E_BUSY);
	assert_true(took_ms(t0) < 2000);
	end();
}

static atomic_bool ended;
static atomic_uint served, refused;
static atomic_ulong longest_ms;

static void go_on_reading(unsigned i)
{
	bool repeated;
	while (!atomic_load(&ended)) {
		uint64_t t0 = clock_mono_ns();
		enum err e = i % 2 ? twice(1) : write_one(1, 0, &repeated);
		EXPECT(e == OK || e == E_BUSY);
		if (took_ms(t0) > atomic_load(&longest_ms))
			atomic_store(&longest_ms, took_ms(t0));
		atomic_fetch_add(e == OK ? &served : &refused, 1);
		if (e != OK && strstr(diag_get()->text, "not known"))
			atomic_fetch_add(&late, 1);
	}
}

static void *outage_main(void *arg)
{
	uint64_t *back = arg;
	while (atomic_load(&served) < 100)
		;
	pg_proxy_set(proxy, PROXY_GONE);
	while (atomic_load(&refused) < 100)
		;
	pg_proxy_set(proxy, PROXY_OPEN);
	uint64_t t0 = clock_mono_ns();
	unsigned before = atomic_load(&served);
	while (atomic_load(&served) < before + 100)
		;
	*back = took_ms(t0);
	atomic_store(&ended, true);
	return NULL;
}

static void outage(void **state)
{
	pthread_t thread;
	uint64_t back = 0;
	(void)state;
	begin_behind((struct pg_options){.pool_max = 4}, PROXY_OPEN);
	atomic_store(&ended, false);
	atomic_store(&served, 0);
	atomic_store(&refused, 0);
	atomic_store(&late, 0);
	atomic_store(&longest_ms, 0);
	EXPECT(pthread_create(&thread, NULL, outage_main, &back) == 0);
	crowd_run((struct crowd){go_on_reading, .fibers = 8, .loops = 2, .threads = 2});
	pthread_join(thread, NULL);
	assert_true(back < 2000);
	assert_true(atomic_load(&longest_ms) < 2500);
	print_message("back after %llu ms, longest answer %lu ms, %u writes of unknown end\n", (unsigned long long)back,
		      atomic_load(&longest_ms), atomic_load(&late));
	end();
}

/* Packets are dropped: found out by the deadline; the connection is given up, and the next one serves. */
static void silence(void **state)
{
	bool repeated;
	(void)state;
	begin_behind((struct pg_options){.pool_max = 2, .connect_ms = 1000}, PROXY_OPEN);
	assert_int_equal(twice(1), OK);
	assert_int_equal(write_one(1, 0, &repeated), OK);
	assert_int_equal(pause_for(&SLEEP, 0), OK);
	pg_proxy_set(proxy, PROXY_SILENT);
	uint64_t t0 = clock_mono_ns();
	fiber_set_deadline(deadline_in_ms(300));
	assert_int_equal(twice(1), E_TIMEOUT);
	assert_in_range(took_ms(t0), 300, 1000);
	fiber_set_deadline(deadline_in_ms(300));
	t0 = clock_mono_ns();
	assert_int_equal(write_one(2, 0, &repeated), E_TIMEOUT);
	assert_non_null(strstr(diag_get()->text, "not known"));
	assert_in_range(took_ms(t0), 300, 3500);
	fiber_set_deadline(NEVER);
	/* Without a deadline of its own it is answered when the attempts to connect fail. */
	t0 = clock_mono_ns();
	assert_int_equal(twice(1), E_BUSY);
	assert_true(took_ms(t0) < 5000);
	pg_proxy_set(proxy, PROXY_OPEN);
	t0 = clock_mono_ns();
	while (twice(1) != OK)
		assert_true(took_ms(t0) < 5000);
	end();
}

static atomic_uint found_done;

static void write_unheard(unsigned i)
{
	bool repeated;
	EXPECT(write_one(i, 0, &repeated) == OK);
	atomic_fetch_add(&found_done, repeated);
}

static void *unheard_main(void *arg)
{
	(void)arg;
	crowd_run((struct crowd){write_unheard, .threads = 5});
	return NULL;
}

/* The server has committed, and the answer does not arrive: tried again, it is found to have been done. */
static void lost_answers(void **state)
{
	pthread_t thread;
	bool repeated;
	(void)state;
	begin_behind((struct pg_options){.pool_max = 4}, PROXY_OPEN);
	assert_int_equal(write_one(100, 0, &repeated), OK);
	atomic_store(&found_done, 0);
	pg_proxy_set(proxy, PROXY_DEAF);
	EXPECT(pthread_create(&thread, NULL, unheard_main, NULL) == 0);
	while (effects() == 1)
		;
	pg_proxy_set(proxy, PROXY_CUT);
	pthread_join(thread, NULL);
	assert_true(atomic_load(&found_done) > 0);
	assert_int_equal(effects(), 6);
	end();
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
	assert_in_range(took_ms(t0), 200, 1500);
	fiber_set_deadline(NEVER);
	end();
}

/* ---------------------------------------------------------------- stopping */

static atomic_uint given, unsure;

static void until_refused(unsigned i)
{
	bool repeated;
	EXPECT((i % 2 ? pause_for(&SLEEP, 30) : write_one(i, 30, &repeated)) == E_BUSY);
	EXPECT(strstr(diag_get()->text, "closed"));
	atomic_fetch_add(&given, 1);
	atomic_fetch_add(&unsure, strstr(diag_get()->text, "not known") != NULL);
}

static void *busy_main(void *arg)
{
	(void)arg;
	crowd_run((struct crowd){until_refused, .threads = 30});
	return NULL;
}

static void stop_while_busy(void **state)
{
	pthread_t thread;
	(void)state;
	begin((struct pg_options){.pool_max = 4});
	EXPECT(pthread_create(&thread, NULL, busy_main, NULL) == 0);
	long here = 0;
	while (here != 30)
		here = figure("cenote_pg_jobs_total{lane=\"search\"} ") + figure("cenote_pg_queue{lane=\"search\"} ") +
		       figure("cenote_pg_jobs_total{lane=\"write\"} ") + figure("cenote_pg_queue{lane=\"write\"} ");
	uint64_t t0 = clock_mono_ns();
	pg_exec_stop(&W.s, deadline_in_ms(300));
	assert_in_range(took_ms(t0), 250, 2000);
	pthread_join(thread, NULL);
	assert_int_equal(atomic_load(&given), 30);
	assert_in_range(atomic_load(&unsure), 1, 2); /* the writes that had been sent */
	end();
	while (backends()) /* what they did was cancelled, unless it had not begun when it was to be cancelled */
		;
	assert_true(effects() <= (long)atomic_load(&unsure));
}

/* ---------------------------------------------------------------- counting */

static atomic_ullong reads;

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

/* ---------------------------------------------------------------- */

static void tables(void)
{
	PQclear(sql("CREATE SCHEMA %s", schema));
	PQclear(sql("CREATE TABLE %s.cenote_journal(op bigint, step int, CONSTRAINT cenote_journal_pkey PRIMARY KEY(op, step))",
		    schema));
	PQclear(sql("CREATE TABLE %s.effect(n bigint)", schema));
	PQclear(sql("CREATE TABLE %s.pair(id bigint PRIMARY KEY, n bigint)", schema));
	PQclear(sql("INSERT INTO %s.pair VALUES(1, 0), (2, 0)", schema));
}

int main(int argc, char **argv)
{
#define TEST(f) cmocka_unit_test_teardown(f, teardown)
	static const struct CMUnitTest tests[] = {
		TEST(many_callers),
		TEST(failures_stay_alone),
		TEST(pool_sizes),
		TEST(large_values),
		TEST(killed_backends),
		TEST(repeats_are_recognised),
		TEST(read_deadline),
		TEST(write_deadline),
		TEST(queue_deadline),
		TEST(statement_timeout),
		TEST(cancel_hits_one),
		TEST(deadlocks),
		TEST(lanes_do_not_delay),
		TEST(scans_leave_room),
		TEST(not_there),
		TEST(outage),
		TEST(silence),
		TEST(lost_answers),
		TEST(pooler_forgets),
		TEST(table_altered),
		TEST(names_mean_texts),
		TEST(errors),
		TEST(fibers_on_io),
		TEST(admin),
		TEST(stop_while_busy),
	};
	url = getenv("CENOTE_TEST_PG");
	if (!url || !*url) {
		fprintf(stderr, "CENOTE_TEST_PG is not set: skipped\n");
		return 77;
	}
	snprintf(schema, sizeof schema, "exec%ld", (long)getpid());
	snprintf(app, sizeof app, "exec-test-%ld", (long)getpid());
	side = PQconnectdb(url);
	if (PQstatus(side) != CONNECTION_OK) {
		fprintf(stderr, "%s", PQerrorMessage(side));
		return 1;
	}
	tables();
	log_set_level(LOG_ERROR);
	if (argc > 1 && strcmp(argv[1], "bench") != 0)
		cmocka_set_test_filter(argv[1]);
	int failed = argc > 1 && strcmp(argv[1], "bench") == 0 ? bench(argc, argv)
							       : cmocka_run_group_tests_name("exec", tests, NULL, NULL);
	PQclear(PQexec(side, "SET client_min_messages = error"));
	PQclear(sql("DROP SCHEMA %s CASCADE", schema));
	PQfinish(side);
	return failed;
}
