/* See pg_world.h. */
#include "pg_world.h"

#include <unistd.h>

const char *url;
char schema[32], app[32];
PGconn *side;

static const struct pg_stmt TWICE = {0, LANE_POINT, "twice", "SELECT $1::int8 * 2"};
static const struct pg_stmt INVERSE = {1, LANE_POINT, "inverse", "SELECT 1 / $1::int8"};
const struct pg_stmt SLEEP = {2, LANE_SEARCH, "sleep", "SELECT pg_sleep($1)"};
const struct pg_stmt POINT_SLEEP = {3, LANE_POINT, "point_sleep", "SELECT pg_sleep($1)"};
const struct pg_stmt WRITE = {4, LANE_WRITE, "write",
			      "WITH j AS (INSERT INTO @cenote_journal(op, step) VALUES($1, 0))"
			      " INSERT INTO @effect(n) SELECT $2::int8 FROM pg_sleep($3)"};

/* ---------------------------------------------------------------- the world */

struct world W;

PGresult *sql(const char *fmt, ...)
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

long number(const char *fmt, const char *arg)
{
	PGresult *r = sql(fmt, arg);
	long n = strtol(PQgetvalue(r, 0, 0), NULL, 10);
	PQclear(r);
	return n;
}

long effects(void)
{
	return number("SELECT count(*) FROM %s.effect", schema);
}

long backends(void)
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

void begin(struct pg_options o)
{
	while (backends()) /* of the test before */
		;
	PQclear(sql("TRUNCATE %s.effect, %s.cenote_journal", schema, schema));
	open_url(url, &o);
}

struct pg_proxy *proxy;

void end(void)
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
int world_teardown(void **state)
{
	(void)state;
	fiber_set_deadline(NEVER);
	if (W.s.target)
		end();
	return 0;
}

/* The figure of a line of the metrics that begins so. */
long figure(const char *line)
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

enum err twice(int64_t n)
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

enum err inverse(int64_t n)
{
	struct pg_params p;
	PGresult *r;
	pg_params_init(&p);
	pg_i64(&p, n);
	enum err e = pg_query(&W.t, &INVERSE, &p, &r);
	PQclear(r);
	return e;
}

enum err pause_for(const struct pg_stmt *st, double s)
{
	struct pg_params p;
	PGresult *r;
	pg_params_init(&p);
	pg_f64(&p, s);
	enum err e = pg_query(&W.t, st, &p, &r);
	PQclear(r);
	return e;
}

enum err write_one(int64_t n, double s, bool *repeated)
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

void crowd_run(struct crowd c)
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

/* ---------------------------------------------------------------- behind a proxy */

void proxy_before(enum pg_proxy_mode mode, char *to, size_t size)
{
	char *err = NULL;
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
	snprintf(to, size, "host=127.0.0.1 port=%d user='%s' dbname='%s' password='%s' gssencmode=disable", pg_proxy_port(proxy),
		 user, db, password);
	PQconninfoFree(all);
}

void begin_behind(struct pg_options o, enum pg_proxy_mode mode)
{
	char to[512];
	proxy_before(mode, to, sizeof to);
	PQclear(sql("TRUNCATE %s.effect, %s.cenote_journal", schema, schema));
	open_url(to, &o);
}

uint64_t took_ms(uint64_t since)
{
	return (clock_mono_ns() - since) / MS;
}

/* ---------------------------------------------------------------- main */

static void tables(void)
{
	PQclear(sql("CREATE SCHEMA %s", schema));
	PQclear(sql("CREATE TABLE %s.cenote_journal(op bigint, step int, CONSTRAINT cenote_journal_pkey PRIMARY KEY(op, step))",
		    schema));
	PQclear(sql("CREATE TABLE %s.effect(n bigint)", schema));
	PQclear(sql("CREATE TABLE %s.pair(id bigint PRIMARY KEY, n bigint)", schema));
	PQclear(sql("INSERT INTO %s.pair VALUES(1, 0), (2, 0)", schema));
}

int world_main(int argc, char **argv, int (*run)(void), int (*bench)(int argc, char **argv))
{
	bool counts = argc > 1 && bench && strcmp(argv[1], "bench") == 0;
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
	if (argc > 1 && !counts)
		cmocka_set_test_filter(argv[1]);
	int failed = counts ? bench(argc, argv) : run();
	PQclear(PQexec(side, "SET client_min_messages = error"));
	PQclear(sql("DROP SCHEMA %s CASCADE", schema));
	PQfinish(side);
	return failed;
}
