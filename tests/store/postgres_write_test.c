/* Writing items on PostgreSQL, beyond what the conformance suite asks of every driver: versions under concurrency, rows that other
 * clients change, repeated attempts, batches of many callers with a bad row or a locked one in them, two stores on one schema.
 * Needs a server: CENOTE_TEST_PG; else skipped (77). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <libpq-fe.h>
#include <poll.h>
#include <unistd.h>

#include "store/postgres/gather.h"
#include "store/postgres/write.h"

static const char *url;
static char schema[64];
static struct store *S;
static PGconn *other; /* another client */
static PGconn *watch; /* never in a transaction */
static const struct principal ME = {.tenant = STR_INIT("default"), .rights = RIGHT_ALL, .id = STR_INIT("test")};

#define assert_ok(expr)                                                                                                            \
	do {                                                                                                                       \
		enum err got_ = (expr);                                                                                            \
		if (got_ != OK)                                                                                                    \
			fail_msg("%s: %s (%s)", #expr, err_name(got_), diag_get()->text);                                          \
	} while (0)

/* ---------------------------------------------------------------- vocabulary */

static PGconn *client(void)
{
	char text[128];
	PGconn *c = PQconnectdb(url);
	if (PQstatus(c) != CONNECTION_OK) {
		fprintf(stderr, "%s", PQerrorMessage(c));
		abort();
	}
	snprintf(text, sizeof text, "SET client_min_messages = error; SET search_path = \"%s\"", schema);
	PQclear(PQexec(c, text));
	return c;
}

/* Runs SQL as another client; the first value of the answer as text, valid until the next call on this thread. */
static const char *sql_on(PGconn *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static const char *sql_on(PGconn *c, const char *fmt, ...)
{
	static _Thread_local char out[512];
	char text[2048];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	PGresult *r = PQexec(c, text);
	ExecStatusType st = PQresultStatus(r);
	if (st != PGRES_TUPLES_OK && st != PGRES_COMMAND_OK)
		fail_msg("%s: %s", text, PQerrorMessage(c));
	snprintf(out, sizeof out, "%s", PQntuples(r) > 0 && !PQgetisnull(r, 0, 0) ? PQgetvalue(r, 0, 0) : "");
	PQclear(r);
	return out;
}
#define sql(...) sql_on(other, __VA_ARGS__)
static int64_t to_number(const char *text)
{
	return strtoll(text, NULL, 10);
}
#define number(...) to_number(sql(__VA_ARGS__))

static struct store *must_open(void)
{
	struct store_options opt = {.durable = true, .pg.schema = str_c(schema)};
	struct store *s;
	if (store_open(str_c(url), &opt, &s) != OK) {
		fprintf(stderr, "%s\n", diag_get()->text);
		abort();
	}
	return s;
}

static int setup(void **state)
{
	(void)state;
	other = client();
	watch = client();
	sql("DROP SCHEMA IF EXISTS \"%s\" CASCADE", schema);
	S = must_open();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	S->ops->close(S);
	sql("DROP SCHEMA IF EXISTS \"%s\" CASCADE", schema);
	PQfinish(other);
	PQfinish(watch);
	return 0;
}

static struct item_write put_of(const char *key, const char *value)
{
	return (struct item_write){.op = W_PUT, .ns = STR("n"), .key = str_c(key), .value = str_c(value), .terms = STR("t")};
}

static enum err write_on(struct store *s, struct item_write *w, size_t n, bool atomic)
{
	return s->ops->item_write(s, &ME, w, n, atomic);
}
#define write_n(w, n, atomic) write_on(S, w, n, atomic)

static int64_t put(const char *key, const char *value)
{
	struct item_write w = put_of(key, value);
	assert_ok(write_n(&w, 1, false));
	assert_int_equal(w.err, OK);
	return w.version;
}

/* Waits until so many sessions wait for a lock; fails after 10 s. */
static void wait_blocked(int n)
{
	uint64_t until = deadline_in_ms(10000);
	while (to_number(sql_on(
		       watch,
		       "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
		       " AND state = 'active' AND query LIKE '%%\"%s\"%%'",
		       schema)) < n) {
		if (clock_mono_ns() > until)
			fail_msg("nobody waits for a lock");
		poll(NULL, 0, 2);
	}
}

/* A write on a thread of its own. */
struct writer {
	pthread_t thread;
	struct item_write w[2];
	size_t n;
	bool atomic;
	uint32_t ms; /* deadline, 0: none */
	enum err err;
	char text[512];
};

static void *writer_main(void *arg)
{
	struct writer *x = arg;
	if (x->ms)
		fiber_set_deadline(deadline_in_ms(x->ms));
	x->err = write_n(x->w, x->n, x->atomic);
	snprintf(x->text, sizeof x->text, "%s", diag_get()->text);
	fiber_set_deadline(NEVER);
	return NULL;
}

static void begin(struct writer *x, struct item_write w)
{
	x->w[0] = w;
	x->n = 1;
	assert_int_equal(pthread_create(&x->thread, NULL, writer_main, x), 0);
}

static void join(struct writer *x)
{
	pthread_join(x->thread, NULL);
}

/* Until so many calls are queued or on their way, in so many batches (0: any number). */
static void wait_waiting(unsigned calls, unsigned batches)
{
	uint64_t until = deadline_in_ms(10000);
	for (unsigned b;;) {
		unsigned n = gather_waiting(pg_of(S)->gathers[GATHER_ITEMS], &b);
		if (n >= calls && (batches == 0 || b >= batches))
			return;
		if (clock_mono_ns() > until)
			fail_msg("%u writes wait in %u batches, expected %u in %u", n, b, calls, batches);
		poll(NULL, 0, 1);
	}
}

/* ---------------------------------------------------------------- many threads */

enum { THREADS = 64, ROUNDS = 40, KEYS = 13 };
struct shared {
	atomic_int seen[KEYS][THREADS * ROUNDS + 1]; /* who had the version, +1 */
	atomic_int bad, created[KEYS];
	atomic_int next;
};

static void *overlapping(void *arg)
{
	struct shared *sh = arg;
	int me = atomic_fetch_add(&sh->next, 1);
	char key[16], value[64];
	for (int i = 0; i < ROUNDS; i++) {
		int k = (me * 7 + i) % KEYS;
		snprintf(key, sizeof key, "k%d", k);
		snprintf(value, sizeof value, "{\"who\":%d}", me * ROUNDS + i + 1);
		struct item_write w = put_of(key, value);
		if (write_n(&w, 1, i % 2) != OK || w.err != OK || !w.changed || w.version < 1 || w.version > THREADS * ROUNDS ||
		    w.existed != (w.version > 1)) {
			atomic_fetch_add(&sh->bad, 1);
			continue;
		}
		atomic_fetch_add(&sh->created[k], w.version == 1);
		if (atomic_exchange(&sh->seen[k][w.version], me * ROUNDS + i + 1) != 0)
			atomic_fetch_add(&sh->bad, 1);
	}
	return NULL;
}

static void versions_under_concurrency(void **state)
{
	(void)state;
	struct shared *sh = calloc(1, sizeof *sh);
	pthread_t t[THREADS];
	int64_t total = 0;
	assert_non_null(sh);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, overlapping, sh), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(atomic_load(&sh->bad), 0);
	for (int k = 0; k < KEYS; k++) {
		int64_t last = number("SELECT version FROM cenote_item WHERE prefix = 'n' AND key = 'k%d'", k);
		assert_int_equal(atomic_load(&sh->created[k]), 1);
		for (int64_t v = 1; v <= last; v++)
			assert_true(atomic_load(&sh->seen[k][v]) != 0);
		assert_int_equal(number("SELECT value->'who' FROM store WHERE prefix = 'n' AND key = 'k%d'", k),
				 atomic_load(&sh->seen[k][last]));
		total += last;
	}
	assert_int_equal(total, THREADS * ROUNDS);
	assert_int_equal(number("SELECT count(*) FROM store s JOIN cenote_item c USING (prefix, key) WHERE c.mark = s.xmin"), KEYS);
	assert_int_equal(number("SELECT sum(cardinality(ids)) FROM cenote_journal"), THREADS * ROUNDS);
	assert_true(number("SELECT count(*) FROM cenote_journal") < THREADS * ROUNDS); /* they went together */
	free(sh);
}

struct two {
	struct store *s;
	unsigned seed;
	atomic_int *bad;
};

/* Everything that writes, on keys that both stores use, in no order. */
static void *mixed(void *arg)
{
	struct two *x = arg;
	uint32_t r = x->seed * 2654435761u + 1;
	char keys[6][16];
	for (int i = 0; i < 60; i++) {
		struct item_write w[6];
		size_t n = 1 + (r >> 28) % 6;
		for (size_t k = 0; k < n; k++) {
			r = r * 1664525 + 1013904223;
			snprintf(keys[k], sizeof keys[k], "m%u", (r >> 20) % 11);
			w[k] = put_of(keys[k], "{\"x\":1}");
			w[k].ttl_minutes = 3;
			w[k].keep_newer = (r >> 8) % 16 == 0;
			w[k].op = (r >> 12) % 8 == 0 ? W_DELETE : (r >> 12) % 8 == 1 ? W_TOUCH : W_PUT;
			if ((r >> 4) % 16 == 0)
				w[k].cond = IF_ABSENT;
		}
		enum err e = write_on(x->s, w, n, (r >> 16) % 2);
		if (e != OK && e != E_CONFLICT) {
			print_error("%s: %s\n", err_name(e), diag_get()->text);
			atomic_fetch_add(x->bad, 1);
		}
	}
	return NULL;
}

static void two_stores(void **state)
{
	(void)state;
	struct store *s2 = must_open();
	struct two x[16];
	pthread_t t[16];
	atomic_int bad = 0;
	for (unsigned i = 0; i < 16; i++) {
		x[i] = (struct two){i % 2 ? s2 : S, i + 1, &bad};
		assert_int_equal(pthread_create(&t[i], NULL, mixed, &x[i]), 0);
	}
	for (int i = 0; i < 16; i++)
		pthread_join(t[i], NULL);
	s2->ops->close(s2);
	assert_int_equal(atomic_load(&bad), 0);
	assert_int_equal(number("SELECT count(*) FROM store s FULL JOIN cenote_item c USING (prefix, key)"
				" WHERE c.mark = s.xmin IS NOT TRUE"),
			 0);
}

/* Sessions of this program hold their statistics back until they end. */
static int64_t deadlocks(void)
{
	return number("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()");
}

static void *puts_in_any_order(void *arg)
{
	struct two *x = arg;
	uint32_t r = x->seed * 2654435761u + 1;
	char keys[40][16];
	struct item_write w[40];
	for (int i = 0; i < 40; i++) {
		size_t n = 0;
		for (uint32_t k = 0, from = r >> 16; k < 40; k++) {
			r = r * 1664525 + 1013904223;
			if ((r >> 20) % 2)
				continue;
			snprintf(keys[n], sizeof keys[n], "d%u", (from + k * 17) % 40);
			w[n] = put_of(keys[n], "{}");
			n++;
		}
		if (n > 0 && write_on(x->s, w, n, true) != OK) {
			print_error("%s\n", diag_get()->text);
			atomic_fetch_add(x->bad, 1);
		}
	}
	return NULL;
}

static void puts_do_not_deadlock(void **state)
{
	(void)state;
	struct store *s2 = must_open();
	struct two x[8];
	pthread_t t[8];
	atomic_int bad = 0;
	int64_t before = deadlocks();
	for (unsigned i = 0; i < 8; i++) {
		x[i] = (struct two){i % 2 ? s2 : S, i + 1, &bad};
		assert_int_equal(pthread_create(&t[i], NULL, puts_in_any_order, &x[i]), 0);
	}
	for (int i = 0; i < 8; i++)
		pthread_join(t[i], NULL);
	s2->ops->close(s2);
	S->ops->close(S);
	uint64_t until = deadline_in_ms(10000);
	while (number("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%%INSERT INTO \"%s\"%%' AND pid <> pg_backend_pid()",
		      schema) > 0) {
		assert_true(clock_mono_ns() < until);
		poll(NULL, 0, 5);
	}
	sql("SELECT pg_stat_clear_snapshot()");
	int64_t after = deadlocks();
	S = must_open();
	assert_int_equal(atomic_load(&bad), 0);
	assert_int_equal(after, before);
}

/* ---------------------------------------------------------------- other clients */

static void foreign_change(void **state)
{
	(void)state;
	assert_int_equal(put("k", "{\"v\":1}"), 1);
	sql("UPDATE store SET value = '{\"v\":2}' WHERE key = 'k'");
	int64_t theirs = number("SELECT xmin::text::bigint << 20 FROM store WHERE key = 'k'");
	struct item_write w = put_of("k", "{\"v\":3}");
	w.cond = IF_VERSION;
	w.if_version = 1;
	assert_ok(write_n(&w, 1, false));
	assert_true(w.err == E_CONFLICT && w.existed && !w.changed);
	assert_true(w.version == theirs);
	w.if_version = theirs;
	assert_ok(write_n(&w, 1, true));
	assert_true(w.err == OK && w.changed && w.version == theirs + 1);
	assert_int_equal(number("SELECT value->'v' FROM store WHERE key = 'k'"), 3);
	/* A row that only they know. */
	sql("INSERT INTO store(prefix, key, value, ttl_minutes) VALUES('n', 'x', '{}', 7)");
	theirs = number("SELECT xmin::text::bigint << 20 FROM store WHERE key = 'x'");
	struct item_write t = {.op = W_TOUCH, .ns = STR("n"), .key = STR("x")};
	assert_ok(write_n(&t, 1, false));
	assert_true(t.existed && t.changed && t.version == theirs);
	assert_int_equal(number("SELECT c.version FROM cenote_item c JOIN store s USING (prefix, key) WHERE key = 'x'"
				" AND c.mark = s.xmin AND c.ttl_minutes = 7 AND terms IS NULL AND s.expires_at > now()"
				" + interval '6 minutes'"),
			 theirs);
	assert_int_equal(number("SELECT count(*) FROM cenote_journal j JOIN cenote_item c ON c.id = ANY(j.ids) WHERE key = 'x'"),
			 1);
	int64_t v = put("x", "{}");
	assert_true(v == theirs + 1);
	assert_true(put("x", "{}") == v + 1);
	/* They delete and insert again. */
	sql("DELETE FROM store WHERE key = 'k'");
	sql("INSERT INTO store(prefix, key, value) VALUES('n', 'k', '{}')");
	struct item_write d = {.op = W_DELETE, .ns = STR("n"), .key = STR("k"), .cond = IF_VERSION, .if_version = v};
	assert_ok(write_n(&d, 1, false));
	assert_int_equal(d.err, E_CONFLICT);
	d.if_version = number("SELECT xmin::text::bigint << 20 FROM store WHERE key = 'k'");
	assert_ok(write_n(&d, 1, false));
	assert_true(d.err == OK && d.changed);
	assert_int_equal(number("SELECT count(*) FROM store s FULL JOIN cenote_item c USING (prefix, key) WHERE key = 'k'"), 0);
}

/* A condition waits for whoever has the row, and sees what that one did. */
static void condition_waits(void **state)
{
	(void)state;
	struct writer x = {0};
	struct item_write w = put_of("k", "{\"v\":3}");
	w.cond = IF_VERSION;
	w.if_version = put("k", "{\"v\":1}");
	sql("BEGIN; UPDATE store SET value = '{\"v\":2}' WHERE key = 'k'");
	begin(&x, w);
	wait_blocked(1);
	sql("COMMIT");
	join(&x);
	assert_int_equal(x.err, OK);
	assert_int_equal(x.w[0].err, E_CONFLICT);
	assert_int_equal(number("SELECT value->'v' FROM store WHERE key = 'k'"), 2);
	/* A touch changes the row, but not its version. */
	w.if_version = put("k", "{\"v\":4}");
	sql("BEGIN; UPDATE store SET expires_at = now() + interval '1 hour' WHERE key = 'k';"
	    "UPDATE cenote_item SET mark = pg_current_xact_id()::xid WHERE key = 'k'");
	begin(&x, w);
	wait_blocked(1);
	sql("COMMIT");
	join(&x);
	assert_int_equal(x.err, OK);
	assert_int_equal(x.w[0].err, OK);
	assert_true(x.w[0].version == w.if_version + 1);
	assert_int_equal(number("SELECT value->'v' FROM store WHERE key = 'k'"), 3);
	/* Two want to be the first. */
	sql("BEGIN; INSERT INTO store(prefix, key, value) VALUES('n', 'new', '{}')");
	w = put_of("new", "{}");
	w.cond = IF_ABSENT;
	begin(&x, w);
	wait_blocked(1);
	sql("COMMIT");
	join(&x);
	assert_true(x.err == OK && x.w[0].err == E_CONFLICT && x.w[0].existed && !x.w[0].changed);
	sql("BEGIN; DELETE FROM store WHERE key = 'new'");
	begin(&x, w);
	wait_blocked(1);
	sql("COMMIT");
	join(&x);
	assert_true(x.err == OK && x.w[0].err == OK && x.w[0].changed);
}

static void times_and_ttl(void **state)
{
	(void)state;
	struct item_write w = put_of("k", "{}");
	w.ttl_minutes = 0.5;
	assert_ok(write_n(&w, 1, false));
	assert_string_equal(sql("SELECT s.ttl_minutes || ' ' || c.ttl_minutes || ' ' || (s.expires_at - s.updated_at) FROM store s"
				" JOIN cenote_item c USING (prefix, key)"),
			    "1 0.5 00:00:30");
	char created[64];
	snprintf(created, sizeof created, "%s", sql("SELECT created_at FROM store"));
	put("k", "{}");
	assert_string_equal(sql("SELECT created_at FROM store"), created);
	assert_int_equal(number("SELECT count(*) FROM store WHERE created_at < updated_at AND ttl_minutes IS NULL AND expires_at IS"
				" NULL"),
			 1);
	w.created_us = 1000000;
	w.updated_us = 1000000;
	w.ttl_minutes = 1e300;
	assert_ok(write_n(&w, 1, false));
	assert_string_equal(sql("SELECT extract(epoch FROM created_at)::bigint || ' ' || ttl_minutes FROM store"), "1 2147483647");
	sql("UPDATE store SET created_at = NULL, updated_at = NULL");
	w = put_of("k", "{\"v\":1}");
	w.keep_newer = true;
	w.updated_us = 5000000;
	assert_ok(write_n(&w, 1, false));
	assert_true(w.changed);
	assert_string_equal(
		sql("SELECT extract(epoch FROM created_at)::bigint || ' ' || extract(epoch FROM updated_at)::bigint FROM"
		    " store"),
		"5 5");
}

/* ---------------------------------------------------------------- calls of many */

static void atomic_undoes_all(void **state)
{
	(void)state;
	put("x", "{\"v\":1}");
	char before[512];
	const char *all =
		"SELECT string_agg(s::text || c::text, ';' ORDER BY c.id) FROM store s JOIN cenote_item c USING (prefix, key)";
	snprintf(before, sizeof before, "%s", sql("%s", all));
	struct item_write w[5] = {put_of("a", "{}"),
				  put_of("x", "{\"v\":2}"),
				  put_of("a", "{\"v\":2}"),
				  {.op = W_DELETE, .ns = STR("n"), .key = STR("x"), .cond = IF_VERSION, .if_version = 1},
				  put_of("b", "{}")};
	assert_int_equal(write_n(w, 5, true), E_CONFLICT);
	assert_int_equal(diag_get()->kind, ERR_PRECONDITION);
	assert_string_equal(diag_get()->text, "the item exists in version 2"); /* the call's own put made it so */
	assert_int_equal(w[3].err, E_CONFLICT);
	for (int i = 0; i < 5; i++)
		assert_false(w[i].changed);
	assert_true(w[0].err == OK && w[1].err == OK && w[4].err == OK);
	assert_string_equal(sql("%s", all), before);
	w[3].if_version = 2;
	assert_ok(write_n(w, 5, true));
	assert_true(w[0].version == 1 && w[1].version == 2 && w[2].version == 2 && w[3].changed && w[4].version == 1);
	assert_string_equal(sql("SELECT string_agg(key || value::text, ' ' ORDER BY key) FROM store"), "a{\"v\": 2} b{}");
}

static void large_calls(void **state)
{
	(void)state;
	enum { N = 2500, BIG = 6000 };
	struct item_write *w = calloc(N + 1, sizeof *w);
	char(*keys)[16] = calloc(N, sizeof *keys), *value = malloc(BIG);
	assert_true(w && keys && value);
	memset(value, 'x', BIG);
	memcpy(value, "{\"v\":\"", 6);
	memcpy(value + BIG - 2, "\"}", 2);
	for (int i = 0; i < N; i++) {
		snprintf(keys[i], sizeof keys[i], "k%d", i * 7919 % N);
		w[i] = put_of(keys[i], "{}");
		w[i].value = str_of(value, BIG); /* 15 MB in all */
	}
	w[N] = put_of("k7", "{}");
	w[N].cond = IF_ABSENT;
	assert_int_equal(write_n(w, N + 1, true), E_CONFLICT);
	assert_int_equal(w[N].err, E_CONFLICT);
	assert_int_equal(number("SELECT count(*) FROM store"), 0);
	assert_int_equal(number("SELECT count(*) FROM cenote_item"), 0);
	assert_ok(write_n(w, N + 1, false));
	assert_true(w[N].err == E_CONFLICT && w[N].existed && w[N].version == 1);
	for (int i = 0; i < N; i++)
		assert_true(w[i].changed && !w[i].existed && w[i].version == 1);
	assert_int_equal(number("SELECT count(*) FROM store s JOIN cenote_item c USING (prefix, key) WHERE c.mark = s.xmin"), N);
	assert_int_equal(number("SELECT count(DISTINCT xid) FROM cenote_journal"), 1);
	for (int i = 0; i < N; i++)
		w[i].op = W_DELETE;
	assert_ok(write_n(w, N, true));
	assert_int_equal(number("SELECT count(*) FROM store"), 0);
	assert_int_equal(number("SELECT count(*) FROM cenote_item"), 0);
	free(w);
	free(keys);
	free(value);
}

static void refused_values(void **state)
{
	(void)state;
	static const char *const bad[] = {"{\"a\":\"\\u0000\"}",  "{\"a\\u0000\":1}",	     "{\"a\":\"\\ud800\"}",
					  "{\"a\":\"\\udc00x\"}", "{\"a\":\"\\\\\\u0000\"}", "{\"a\":1e400000}",
					  "{\"a\":-1e-400000}"};
	static const char *const good[] = {"{\"a\":\"\\\\u0000\"}", "{\"a\":\"\\ud83d\\ude00\"}", "{\"a\":1e300}",
					   "{\"a\":123456789012345678901234567890.5}"};
	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct item_write w[2] = {put_of("good", "{}"), put_of("bad-one", bad[i])};
		if (write_n(w, 2, false) != E_INVALID)
			fail_msg("%s: %s", bad[i], diag_get()->text);
		assert_false(w[0].changed || w[1].changed);
		if (write_n(w + 1, 1, true) != E_INVALID || !strstr(diag_get()->text, "bad-one"))
			fail_msg("%s: %s", bad[i], diag_get()->text);
	}
	assert_int_equal(number("SELECT count(*) FROM store"), 0);
	for (unsigned i = 0; i < sizeof good / sizeof *good; i++)
		put("k", good[i]);
}

/* ---------------------------------------------------------------- attempts that are repeated */

static void exactly_once(void **state)
{
	(void)state;
	struct item_write w = put_of("k", "{}");
	struct pg_row row, *rows[1] = {&row};
	struct pg_params p;
	struct pg_step step = {.st = pg_write_stmt(ST_PUT), .p = &p};
	struct pg_job j = {.t = pg_home(pg_of(S)), .steps = &step, .n = 1, .lane = LANE_WRITE, .write = true};
	struct pg_seen seen;
	pg_row_init(&row, &w, 0);
	row.step_rows = 1;
	int64_t op = pg_new_op();
	pg_params_init(&p);
	pg_write_params(&p, op, 0, false, rows, 1);
	assert_ok(pg_run(&j));
	assert_false(j.repeated);
	pg_write_result(step.res, rows, 1);
	assert_true(w.changed && w.version == 1);
	pg_job_clear(&j);
	struct pg_job again = {.t = j.t, .steps = &step, .n = 1, .lane = LANE_WRITE, .write = true};
	assert_ok(pg_run(&again));
	assert_true(again.repeated);
	pg_params_release(&p);
	assert_int_equal(number("SELECT version FROM cenote_item"), 1);
	w.changed = false;
	pg_params_init(&p);
	pg_look_params(&p, op, rows, 1);
	PGresult *res;
	assert_ok(pg_query(j.t, &pg_write_look, &p, &res));
	pg_look_result(res, &seen, 1);
	PQclear(res);
	assert_true(seen.known && seen.done && seen.done_n == 1 && seen.updated == row.updated);
	pg_recall(&row, &seen, false);
	assert_true(w.changed && !w.existed && w.version == 1 && w.err == OK);
}

/* ---------------------------------------------------------------- batches */

/* Both gather threads are held, so that what comes now goes into one batch: by a trigger that waits until another client lets go,
 * since a wait for a row's lock would be given up after a while (lock_timeout). */
static void hold(struct writer x[2])
{
	put("hold0", "{}");
	put("hold1", "{}");
	sql("CREATE FUNCTION held() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN WHILE NOT"
	    " pg_try_advisory_xact_lock_shared(hashtext(TG_TABLE_SCHEMA)) LOOP PERFORM pg_sleep(0.02); END LOOP; RETURN NEW; END'");
	sql("CREATE TRIGGER held BEFORE UPDATE ON store FOR EACH ROW WHEN (NEW.key LIKE 'hold%%') EXECUTE FUNCTION held()");
	sql("SELECT pg_advisory_lock(hashtext('%s'))", schema);
	begin(&x[0], put_of("hold0", "{}"));
	wait_waiting(1, 1);
	begin(&x[1], put_of("hold1", "{}"));
	wait_waiting(2, 2);
}

static void let_go(struct writer x[2])
{
	sql("SELECT pg_advisory_unlock(hashtext('%s'))", schema);
	join(&x[0]);
	join(&x[1]);
	assert_true(x[0].err == OK && x[1].err == OK);
}

static void one_bad_row(void **state)
{
	(void)state;
	struct writer held[2] = {0}, x[9] = {0};
	char keys[9][8];
	hold(held);
	for (unsigned i = 0; i < 9; i++) {
		snprintf(keys[i], sizeof keys[i], "k%u", i);
		begin(&x[i], put_of(keys[i], i == 4 ? "{\"a\":1e400000}" : "{}"));
		wait_waiting(3 + i, 0);
	}
	let_go(held);
	for (unsigned i = 0; i < 9; i++) {
		join(&x[i]);
		assert_int_equal(x[i].err, i == 4 ? E_INVALID : OK);
		assert_true(x[i].w[0].changed == (i != 4));
	}
	assert_non_null(strstr(x[4].text, "k4"));
	assert_int_equal(number("SELECT count(*) FROM store WHERE key LIKE 'k%%'"), 8);
}

/* Whatever the server has against one of them (a trigger, a policy): the others need not have it. */
static void one_that_a_trigger_refuses(void **state)
{
	(void)state;
	struct writer held[2] = {0}, x[4] = {0};
	char keys[4][8];
	sql("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not this one'; END $$");
	sql("CREATE TRIGGER refuse BEFORE INSERT ON store FOR EACH ROW WHEN (NEW.key = 'k2') EXECUTE FUNCTION refuse()");
	hold(held);
	for (unsigned i = 0; i < 4; i++) {
		snprintf(keys[i], sizeof keys[i], "k%u", i);
		begin(&x[i], put_of(keys[i], "{}"));
		wait_waiting(3 + i, 0);
	}
	let_go(held);
	for (unsigned i = 0; i < 4; i++) {
		join(&x[i]);
		assert_int_equal(x[i].err, i == 2 ? E_INTERNAL : OK);
	}
	assert_non_null(strstr(x[2].text, "not this one"));
	assert_int_equal(number("SELECT count(*) FROM store WHERE key LIKE 'k%%'"), 3);
}

/* Rights on LangGraph's vectors, or their table, go while several batches with a step for them are on their way. */
static void foreign_vectors_go(void **state)
{
	(void)state;
	struct writer held[2] = {0};
	sql("CREATE TABLE store_vectors(prefix text, key text)");
	atomic_store(&pg_home(pg_of(S))->foreign, true);
	hold(held);
	sql("ALTER TABLE store_vectors RENAME TO store_vectors_before");
	let_go(held);
	assert_false(atomic_load(&pg_home(pg_of(S))->foreign));
	assert_int_equal(number("SELECT count(*) FROM cenote_item WHERE key LIKE 'hold%%' AND version = 2"), 2);
}

static void same_name_in_one_batch(void **state)
{
	(void)state;
	struct writer held[2] = {0}, x[4] = {0};
	bool seen[5] = {0};
	hold(held);
	for (unsigned i = 0; i < 4; i++) {
		begin(&x[i], put_of("k", "{}"));
		wait_waiting(3 + i, 0);
	}
	let_go(held);
	for (unsigned i = 0; i < 4; i++) {
		join(&x[i]);
		assert_true(x[i].err == OK && x[i].w[0].version >= 1 && x[i].w[0].version <= 4 && !seen[x[i].w[0].version]);
		seen[x[i].w[0].version] = true;
	}
}

/* A stranger's lock stops only those that want that row. */
static void locked_row(void **state)
{
	(void)state;
	struct writer held[2] = {0}, x[6] = {0};
	char keys[6][8];
	PGconn *c = client();
	put("k3", "{}");
	sql_on(c, "BEGIN; SELECT 1 FROM store WHERE key = 'k3' FOR UPDATE");
	hold(held);
	for (unsigned i = 0; i < 6; i++) {
		snprintf(keys[i], sizeof keys[i], "k%u", i);
		begin(&x[i], put_of(keys[i], "{\"v\":1}"));
		wait_waiting(3 + i, 0);
	}
	let_go(held);
	for (unsigned i = 0; i < 6; i++) {
		if (i == 3)
			continue;
		join(&x[i]);
		assert_true(x[i].err == OK && x[i].w[0].version == 1);
	}
	sql_on(c, "COMMIT");
	join(&x[3]);
	assert_true(x[3].err == OK && x[3].w[0].version == 2);
	PQfinish(c);
}

static void deadlines(void **state)
{
	(void)state;
	struct writer held[2] = {0}, x = {.ms = 30}, y = {.ms = 150};
	hold(held);
	begin(&x, put_of("waits", "{}"));
	join(&x); /* while the others are still held */
	assert_int_equal(x.err, E_TIMEOUT);
	assert_non_null(strstr(x.text, "nothing was written"));
	let_go(held);
	assert_int_equal(number("SELECT count(*) FROM store WHERE key = 'waits'"), 0);
	int64_t version = put("locked", "{}");
	sql("BEGIN; SELECT 1 FROM store WHERE key = 'locked' FOR UPDATE");
	begin(&y, put_of("locked", "{\"v\":1}"));
	join(&y);
	assert_int_equal(y.err, E_TIMEOUT);
	sql("COMMIT");
	assert_true(put("locked", "{}") == version + 1);
}

static void queue_is_bounded(void **state)
{
	(void)state;
	struct store_options opt = {.durable = true, .pg.schema = str_c(schema), .queue_max = 2};
	struct writer held[2] = {0};
	S->ops->close(S);
	assert_ok(store_open(str_c(url), &opt, &S));
	hold(held);
	struct item_write w = put_of("k", "{}");
	assert_int_equal(write_n(&w, 1, false), E_BUSY);
	assert_int_equal(diag_get()->retry_after_s, 1);
	let_go(held);
	put("k", "{}");
}

/* ---------------------------------------------------------------- sweeping */

static void sweeps_skip_locked(void **state)
{
	(void)state;
	unsigned removed;
	int64_t next;
	struct item_write w[3] = {put_of("a", "{}"), put_of("b", "{}"), put_of("c", "{}")};
	for (int i = 0; i < 3; i++)
		w[i].expires_us = 1000 + i;
	assert_ok(write_n(w, 3, true));
	sql("INSERT INTO store(prefix, key, value, expires_at) VALUES('n', 'theirs', '{}', 'epoch')");
	sql("BEGIN; SELECT 1 FROM store WHERE key = 'b' FOR UPDATE");
	assert_ok(S->ops->sweep(S, 5000, 100, &removed, &next));
	assert_int_equal(removed, 3);
	assert_int_equal(next, 5000 + 1000000); /* a second later */
	int64_t rows = number("SELECT count(*) FROM cenote_journal");
	assert_ok(S->ops->sweep(S, 5000, 100, &removed, &next));
	assert_int_equal(number("SELECT count(*) FROM cenote_journal"), rows);
	sql("COMMIT");
	assert_ok(S->ops->sweep(S, 5000, 100, &removed, &next));
	assert_int_equal(removed, 1);
	assert_int_equal(next, 0);
	assert_int_equal(number("SELECT count(*) FROM store"), 0);
	assert_int_equal(number("SELECT count(*) FROM cenote_item"), 0);
	assert_int_equal(number("SELECT sum(cardinality(ids)) FROM cenote_journal WHERE ids[1] < 0"), 3);
}

/* Another process has made the tenant; this one has never heard of it. */
static void sweeps_tenants_of_others(void **state)
{
	(void)state;
	static const struct principal them = {.tenant = STR_INIT("them"), .rights = RIGHT_ALL, .id = STR_INIT("test")};
	struct store *s2 = must_open();
	struct item_write w = put_of("a", "{}");
	unsigned removed;
	int64_t next;
	w.expires_us = 1000;
	assert_ok(s2->ops->item_write(s2, &them, &w, 1, true));
	s2->ops->close(s2);
	assert_ok(S->ops->sweep(S, 5000, 100, &removed, &next));
	assert_int_equal(removed, 1);
	/* What is not there needs no schema to be missing. */
	struct principal nobody = them;
	nobody.tenant = STR("nobody");
	struct item_write d[2] = {{.op = W_DELETE, .ns = STR("n"), .key = STR("k")},
				  {.op = W_DELETE, .ns = STR("n"), .key = STR("k"), .cond = IF_VERSION, .if_version = 1}};
	assert_ok(S->ops->item_write(S, &nobody, d, 2, false));
	assert_true(!d[0].existed && !d[0].changed && d[0].err == OK && d[1].err == E_CONFLICT);
	assert_int_equal(S->ops->item_write(S, &nobody, d, 2, true), E_CONFLICT);
	assert_int_equal(number("SELECT count(*) FROM pg_namespace WHERE nspname = '%s_nobody'", schema), 0);
	sql("DROP SCHEMA \"%s_them\" CASCADE", schema);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(versions_under_concurrency),
		TEST(two_stores),
		TEST(puts_do_not_deadlock),
		TEST(foreign_change),
		TEST(condition_waits),
		TEST(times_and_ttl),
		TEST(atomic_undoes_all),
		TEST(large_calls),
		TEST(refused_values),
		TEST(exactly_once),
		TEST(one_bad_row),
		TEST(one_that_a_trigger_refuses),
		TEST(foreign_vectors_go),
		TEST(same_name_in_one_batch),
		TEST(locked_row),
		TEST(deadlines),
		TEST(queue_is_bounded),
		TEST(sweeps_skip_locked),
		TEST(sweeps_tenants_of_others),
	};
	url = getenv("CENOTE_TEST_PG");
	if (!url || !*url) {
		fprintf(stderr, "CENOTE_TEST_PG is not set: skipped\n");
		return 77;
	}
	log_set_level(LOG_WARN);
	snprintf(schema, sizeof schema, "write%ld", (long)getpid());
	return cmocka_run_group_tests_name("postgres writes", tests, NULL, NULL);
}
