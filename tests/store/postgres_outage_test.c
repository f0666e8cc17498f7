/* The PostgreSQL executor when things break: backends that are killed, a server that is not there or says nothing, answers that get
 * lost, stopping in the middle (pg_world.h says against what). */
#include <poll.h>

#include "pg_world.h"

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

static atomic_uint late;

/* ---------------------------------------------------------------- a server that is not there */

static void busy_quickly(unsigned i)
{
	bool repeated;
	uint64_t t0 = clock_mono_ns();
	EXPECT((i % 2 ? twice(1) : write_one(1, 0, &repeated)) == E_BUSY);
	EXPECT(diag_get()->retry_after_s == 1);
	EXPECT(took_ms(t0) < AT_MOST(1500));
}

static void not_there(void **state)
{
	(void)state;
	begin_behind((struct pg_options){.pool_max = 4, .connect_ms = 60000}, PROXY_GONE);
	for (unsigned i = 0; i < 3; i++)
		crowd_run((struct crowd){busy_quickly, .fibers = 8, .loops = 1, .threads = 4});
	pg_proxy_set(proxy, PROXY_OPEN);
	/* Nobody asks for a while: it finds its way back by itself, and at the latest when asked. */
	uint64_t t0 = clock_mono_ns();
	enum err e;
	while ((e = twice(1)) != OK)
		assert_int_equal(e, E_BUSY);
	assert_true(took_ms(t0) < AT_MOST(2000));
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

/* Lets the others run: under valgrind one thread runs at a time. */
static void reaches(atomic_uint *figure, unsigned n)
{
	while (atomic_load(figure) < n)
		poll(NULL, 0, 1);
}

static void *outage_main(void *arg)
{
	uint64_t *back = arg;
	reaches(&served, 100);
	pg_proxy_set(proxy, PROXY_GONE);
	reaches(&refused, 100);
	pg_proxy_set(proxy, PROXY_OPEN);
	uint64_t t0 = clock_mono_ns();
	unsigned before = atomic_load(&served);
	reaches(&served, before + 100);
	*back = took_ms(t0);
	atomic_store(&ended, true);
	return NULL;
}

static void outage(void **state)
{
	pthread_t thread;
	uint64_t back = 0;
	(void)state;
	begin_behind((struct pg_options){.pool_max = 4, .connect_ms = 60000}, PROXY_OPEN);
	atomic_store(&ended, false);
	atomic_store(&served, 0);
	atomic_store(&refused, 0);
	atomic_store(&late, 0);
	atomic_store(&longest_ms, 0);
	EXPECT(pthread_create(&thread, NULL, outage_main, &back) == 0);
	crowd_run((struct crowd){go_on_reading, .fibers = 8, .loops = 2, .threads = 2});
	pthread_join(thread, NULL);
	assert_true(back < AT_MOST(2000));
	assert_true(atomic_load(&longest_ms) < AT_MOST(2500));
	print_message("back after %llu ms, longest answer %lu ms, %u writes of unknown end\n", (unsigned long long)back,
		      atomic_load(&longest_ms), atomic_load(&late));
	end();
}

static void until_it_serves(void)
{
	uint64_t t0 = clock_mono_ns();
	while (twice(1) != OK)
		assert_true(took_ms(t0) < AT_MOST(5000));
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
	assert_in_range(took_ms(t0), 300, AT_MOST(1000));
	/* Their only connection is the one that says nothing: the write is not sent. */
	fiber_set_deadline(deadline_in_ms(300));
	t0 = clock_mono_ns();
	assert_int_equal(write_one(2, 0, &repeated), E_TIMEOUT);
	assert_non_null(strstr(diag_get()->text, "nothing was written"));
	assert_in_range(took_ms(t0), 300, AT_MOST(1000));
	fiber_set_deadline(NEVER);
	/* Without a deadline of its own it is answered when the attempts to connect fail. */
	t0 = clock_mono_ns();
	assert_int_equal(twice(1), E_BUSY);
	assert_true(took_ms(t0) < AT_MOST(5000));
	pg_proxy_set(proxy, PROXY_OPEN);
	until_it_serves();
	end();
}

/* The first that meets the silence is a write. */
static void silence_after_a_write(void **state)
{
	bool repeated;
	(void)state;
	begin_behind((struct pg_options){.pool_max = 2, .connect_ms = 1000}, PROXY_OPEN);
	assert_int_equal(write_one(1, 0, &repeated), OK);
	pg_proxy_set(proxy, PROXY_SILENT);
	uint64_t t0 = clock_mono_ns();
	fiber_set_deadline(deadline_in_ms(300));
	assert_int_equal(write_one(2, 0, &repeated), E_TIMEOUT);
	assert_non_null(strstr(diag_get()->text, "not known"));
	assert_in_range(took_ms(t0), 300, AT_MOST(3500));
	fiber_set_deadline(NEVER);
	pg_proxy_set(proxy, PROXY_OPEN);
	until_it_serves();
	end();
}

/* Nor does it answer the request to cancel: then no other connection is waited for, and no login. */
static void silence_of_all(void **state)
{
	bool repeated;
	(void)state;
	begin_behind((struct pg_options){.pool_max = 4, .connect_ms = 60000}, PROXY_OPEN);
	assert_int_equal(twice(1), OK);
	assert_int_equal(write_one(1, 0, &repeated), OK);
	pg_proxy_set(proxy, PROXY_SILENT);
	fiber_set_deadline(deadline_in_ms(300));
	assert_int_equal(twice(1), E_TIMEOUT);
	fiber_set_deadline(NEVER);
	uint64_t t0 = clock_mono_ns();
	assert_int_equal(write_one(2, 0, &repeated), E_BUSY);
	assert_non_null(strstr(diag_get()->text, "does not answer; whether the write was done is not known"));
	assert_int_equal(write_one(3, 0, &repeated), E_BUSY);
	assert_non_null(strstr(diag_get()->text, "does not answer; nothing was written"));
	assert_int_equal(twice(1), E_BUSY);
	assert_true(took_ms(t0) < AT_MOST(5000));
	pg_proxy_set(proxy, PROXY_CUT);
	until_it_serves();
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

/* As writes of items do: who waits for a lock is told after a fifth of a second. */
static const struct pg_stmt IMPATIENT = {5, LANE_WRITE, "impatient", "SELECT set_config('lock_timeout', '200ms', true)"};
static const struct pg_stmt NOTE = {6, LANE_WRITE, "note", "INSERT INTO @cenote_journal(op, step) VALUES($1, 0)"};
static const struct pg_stmt SLOW = {7, LANE_WRITE, "slow", "INSERT INTO @effect(n) SELECT 1 FROM pg_sleep($1)"};
struct slow_write {
	uint64_t within_ms;
	double s;
	enum err err;
	struct pg_job j;
	struct diag diag;
};

static void *slow_main(void *arg)
{
	struct slow_write *w = arg;
	struct pg_params p[3];
	struct pg_step steps[] = {{.st = &IMPATIENT, .p = &p[0]}, {.st = &NOTE, .p = &p[1]}, {.st = &SLOW, .p = &p[2]}};
	for (unsigned i = 0; i < 3; i++)
		pg_params_init(&p[i]);
	pg_i64(&p[1], pg_new_op());
	pg_f64(&p[2], w->s);
	w->j = (struct pg_job){.t = &W.t, .steps = steps, .n = 3, .lane = LANE_WRITE, .write = true};
	fiber_set_deadline(deadline_in_ms(w->within_ms));
	w->err = pg_run(&w->j);
	w->diag = *diag_get();
	pg_job_clear(&w->j);
	for (unsigned i = 0; i < 3; i++)
		pg_params_release(&p[i]);
	return NULL;
}

/* The connection goes while the server works on the write, which it will finish. */
static void cut_within(struct slow_write *w)
{
	pthread_t thread;
	bool repeated;
	begin_behind((struct pg_options){.pool_max = 4}, PROXY_OPEN);
	assert_int_equal(write_one(100, 0, &repeated), OK);
	EXPECT(pthread_create(&thread, NULL, slow_main, w) == 0);
	while (number("SELECT count(*) FROM pg_stat_activity WHERE application_name = '%s' AND wait_event = 'PgSleep'", app) == 0)
		;
	pg_proxy_set(proxy, PROXY_CUT);
	pthread_join(thread, NULL);
}

/* What is sent again runs into the locks of the first attempt: that is no answer, as callers would take it for "nothing was done".
 */
static void locks_of_the_first(void **state)
{
	struct slow_write w = {.within_ms = 30000, .s = 3}, over = {.within_ms = 4000, .s = 60};
	(void)state;
	cut_within(&w);
	assert_int_equal(w.err, OK);
	assert_true(w.j.repeated);
	assert_int_equal(effects(), 2);
	end();
	cut_within(&over);
	assert_int_equal(over.err, E_TIMEOUT);
	assert_string_equal(over.j.sqlstate, "");
	assert_non_null(strstr(over.diag.text, "whether the write was done is not known"));
	end();
	while (backends()) /* the first attempt's */
		PQclear(sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '%s'", app));
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
	/* Those that have just been sent may stand in both figures for a moment. */
	for (unsigned looks = 0; looks < 5; poll(NULL, 0, 1)) {
		long here = figure("cenote_pg_jobs_total{lane=\"search\"} ") + figure("cenote_pg_queue{lane=\"search\"} ") +
			    figure("cenote_pg_jobs_total{lane=\"write\"} ") + figure("cenote_pg_queue{lane=\"write\"} ");
		looks = here == 30 ? looks + 1 : 0;
	}
	uint64_t t0 = clock_mono_ns();
	pg_exec_stop(&W.s, deadline_in_ms(300));
	assert_in_range(took_ms(t0), 250, AT_MOST(2000));
	pthread_join(thread, NULL);
	assert_int_equal(atomic_load(&given), 30);
	assert_in_range(atomic_load(&unsure), 1, 2); /* the writes that had been sent */
	end();
	while (backends()) /* what they did was cancelled, unless it had not begun when it was to be cancelled */
		;
	assert_true(effects() <= (long)atomic_load(&unsure));
}

static int run(void)
{
	static const struct CMUnitTest tests[] = {TEST(killed_backends),
						  TEST(repeats_are_recognised),
						  TEST(not_there),
						  TEST(outage),
						  TEST(silence),
						  TEST(silence_after_a_write),
						  TEST(silence_of_all),
						  TEST(lost_answers),
						  TEST(locks_of_the_first),
						  TEST(stop_while_busy)};
	return cmocka_run_group_tests_name("outage", tests, NULL, NULL);
}

int main(int argc, char **argv)
{
	return world_main(argc, argv, run, NULL);
}
