/* Vectors on PostgreSQL where others are at work: rows that somebody holds, documents that go while their vectors come, other
 * processes and clients. On a real server: the one in CENOTE_TEST_PG, in a schema of our own. Without the variable the program is
 * skipped (exit 77).
 *
 * Invariant behind all of it: a vector that is there has its document. */
#include <libpq-fe.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "bounds.h"
#include "store/open.h"
#include "suite.h"

static const struct principal me = {.tenant = STR_INIT("default"), .rights = RIGHT_ALL, .id = STR_INIT("test")};
static const char *url;
static char schema[64];
static struct store *A, *B; /* two processes' worth */
static PGconn *X, *Y;	    /* X: another client; Y: looks */

/* ------------------------------------------------------------------ vocabulary */

static PGconn *connection(void)
{
	char text[128];
	PGconn *c = PQconnectdb(url);
	if (PQstatus(c) != CONNECTION_OK)
		fail_msg("%s", PQerrorMessage(c));
	PQclear(PQexec(c, "SET client_min_messages = error"));
	snprintf(text, sizeof text, "SET search_path = \"%s\"", schema);
	PQclear(PQexec(c, text));
	return c;
}

static PGresult *query(PGconn *c, const char *fmt, va_list ap)
{
	char text[2048];
	vsnprintf(text, sizeof text, fmt, ap);
	PGresult *r = PQexec(c, text);
	if (PQresultStatus(r) != PGRES_COMMAND_OK && PQresultStatus(r) != PGRES_TUPLES_OK)
		fail_msg("%s: %s", text, PQerrorMessage(c));
	return r;
}

static void sql(PGconn *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void sql(PGconn *c, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	PQclear(query(c, fmt, ap));
	va_end(ap);
}

static long long number(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static long long number(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	PGresult *r = query(Y, fmt, ap);
	va_end(ap);
	long long v = PQntuples(r) ? strtoll(PQgetvalue(r, 0, 0), NULL, 10) : -1;
	PQclear(r);
	return v;
}

static struct store *opened(void)
{
	struct store_options opt = {.durable = true, .pg.schema = str_c(schema)};
	struct store *s;
	if (store_open(str_c(url), &opt, &s) != OK)
		fail_msg("%s", diag_get()->text);
	return s;
}

static int setup(void **state)
{
	(void)state;
	X = connection();
	Y = connection();
	sql(X, "DROP SCHEMA IF EXISTS \"%s\" CASCADE", schema);
	A = opened();
	B = opened();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	A->ops->close(A);
	B->ops->close(B);
	PQfinish(Y);
	sql(X, "DROP SCHEMA IF EXISTS \"%s\" CASCADE", schema);
	PQfinish(X);
	return 0;
}

static enum err write_doc(struct store *s, enum write_op op, const char *key, const char *terms)
{
	struct item_write w = {.op = op, .ns = STR("n"), .key = str_c(key), .value = STR("{}"), .terms = str_c(terms)};
	enum err e = s->ops->item_write(s, &me, &w, 1, false);
	return e == OK ? w.err : e;
}

static int64_t id_of(const char *key)
{
	return number("SELECT id FROM cenote_item WHERE key = '%s'", key);
}

static enum err keep(struct store *s, const char *model, const int64_t *ids, size_t n)
{
	struct doc_vector v[8];
	for (size_t i = 0; i < n; i++)
		v[i] = (struct doc_vector){ids[i], 7, STR("vector")};
	return s->ops->vector_put(s, &me, DOC_ITEM, str_c(model), v, n);
}

static long long kept(void)
{
	return number("SELECT count(*) FROM cenote_vector");
}

static void none_without_document(void)
{
	assert_int_equal(number("SELECT count(*) FROM cenote_vector v WHERE (kind = 'i' AND NOT EXISTS (SELECT FROM cenote_item c"
				" WHERE c.id = v.id AND c.terms IS DISTINCT FROM '')) OR (kind = 'm' AND NOT EXISTS (SELECT FROM"
				" cenote_message c WHERE c.id = v.id)) OR NOT EXISTS (SELECT FROM cenote_model m WHERE m.id ="
				" v.model)"),
			 0);
}

/* ------------------------------------------------------- one call in a thread */

struct call {
	enum { PUTS, DELETES, UNINDEXES } what;
	const char *key;
	int64_t ids[8];
	size_t n;
	enum err err;
	atomic_bool done;
	pthread_t thread;
};

static void *call_main(void *arg)
{
	struct call *c = arg;
	if (c->what == PUTS)
		c->err = keep(A, "m", c->ids, c->n);
	else
		c->err = write_doc(A, c->what == DELETES ? W_DELETE : W_PUT, c->key, "");
	atomic_store(&c->done, true);
	return NULL;
}

static void begin(struct call *c)
{
	assert_int_equal(pthread_create(&c->thread, NULL, call_main, c), 0);
}

/* Until a statement of Cenote's waits for a lock of X. */
static void until_it_waits(const struct call *c)
{
	uint64_t until = deadline_in_ms(20000);
	while (number("SELECT count(*) FROM pg_stat_activity WHERE %d = ANY(pg_blocking_pids(pid))", PQbackendPID(X)) == 0) {
		assert_false(atomic_load(&c->done));
		assert_true(clock_mono_ns() < until);
		sched_yield();
	}
}

static void end(struct call *c)
{
	pthread_join(c->thread, NULL);
	if (c->err != OK)
		fail_msg("%s", err_name(c->err));
}

/* --------------------------------------------------------------------- tests */

/* A row that somebody changes at this moment: its vector is kept when he is done, the others' before. */
static void waits_for_one_alone(void **state)
{
	(void)state;
	struct call c = {.what = PUTS, .n = 3};
	assert_ok(write_doc(A, W_PUT, "a", "a"));
	assert_ok(write_doc(A, W_PUT, "b", "b"));
	assert_ok(write_doc(A, W_PUT, "c", "c"));
	c.ids[0] = id_of("c");
	c.ids[1] = id_of("a");
	c.ids[2] = id_of("b");
	sql(X, "BEGIN; UPDATE cenote_item SET version = version + 1 WHERE key = 'b'");
	begin(&c);
	until_it_waits(&c);
	assert_int_equal(kept(), 2); /* nobody waits for b's turn with a and c in his hands */
	sql(X, "COMMIT");
	end(&c);
	assert_int_equal(kept(), 3);
	none_without_document();
}

static void gone_while_it_waited(void **state)
{
	(void)state;
	struct call c = {.what = PUTS, .n = 1};
	assert_ok(write_doc(A, W_PUT, "a", "a"));
	c.ids[0] = id_of("a");
	sql(X, "BEGIN; DELETE FROM store WHERE key = 'a'; DELETE FROM cenote_item WHERE key = 'a'");
	begin(&c);
	until_it_waits(&c);
	sql(X, "COMMIT");
	end(&c);
	assert_int_equal(kept(), 0);
}

/* Somebody who does not let go: the call gives up soon, and a later one does it. */
static void held_for_long(void **state)
{
	(void)state;
	assert_ok(write_doc(A, W_PUT, "a", "a"));
	int64_t id = id_of("a");
	sql(X, "BEGIN; SELECT FROM cenote_item FOR UPDATE");
	assert_err(E_BUSY, keep(A, "m", &id, 1));
	sql(X, "COMMIT");
	assert_ok(keep(A, "m", &id, 1));
	assert_int_equal(kept(), 1);
}

/* A vector that is being written (by X, as another process would) while its item is deleted, or no longer indexed: it goes, too. */
static void written_while_item_goes(void **state)
{
	(void)state;
	struct call calls[2] = {{.what = DELETES, .key = "a"}, {.what = UNINDEXES, .key = "a"}};
	for (int i = 0; i < 2; i++) {
		assert_ok(write_doc(A, W_PUT, "a", "a"));
		assert_ok(write_doc(A, W_PUT, "b", "b"));
		int64_t id = id_of("a"), other = id_of("b");
		assert_ok(keep(A, "m", &other, 1));
		sql(X,
		    "BEGIN; SELECT FROM cenote_item WHERE key = 'a' FOR SHARE; INSERT INTO cenote_vector SELECT m.id, 'i', %lld, "
		    "7, "
		    "'v' FROM cenote_model m",
		    (long long)id);
		begin(&calls[i]);
		until_it_waits(&calls[i]);
		sql(X, "COMMIT");
		end(&calls[i]);
		assert_int_equal(kept(), 1);
		none_without_document();
	}
}

static bool nothing(void *ctx, const struct doc_change *d)
{
	(void)ctx;
	(void)d;
	return true;
}

/* Other clients delete rows of store: the vectors go when that is found. */
static void others_delete(void **state)
{
	(void)state;
	struct doc_scope scope = {.kind = DOC_ITEM, .model = STR("m")};
	uint64_t cursor, until = deadline_in_ms(AT_MOST(2000));
	assert_ok(write_doc(A, W_PUT, "a", "a"));
	assert_ok(write_doc(A, W_PUT, "b", "b"));
	int64_t ids[2] = {id_of("a"), id_of("b")};
	assert_ok(keep(A, "m", ids, 2));
	sql(X, "DELETE FROM store WHERE key = 'a'");
	do
		assert_ok(A->ops->doc_scan(A, &me, &scope, &cursor, nothing, NULL));
	while (kept() > 1 && clock_mono_ns() < until);
	assert_int_equal(kept(), 1);
	none_without_document();
}

struct last {
	unsigned n;
	struct doc_vector v;
};
static bool take(void *ctx, const struct doc_change *d)
{
	struct last *l = ctx;
	l->n++;
	l->v = (struct doc_vector){.id = d->id, .mark = d->vector.n ? d->mark : 0};
	return true;
}

/* Another process keeps vectors, and drops models. */
static void other_processes(void **state)
{
	(void)state;
	struct doc_scope scope = {.kind = DOC_ITEM, .model = STR("m")};
	struct last l = {0};
	uint64_t cursor;
	bool left = true;
	assert_ok(write_doc(A, W_PUT, "a", "a"));
	int64_t id = id_of("a");
	assert_ok(A->ops->doc_scan(A, &me, &scope, &cursor, take, &l));
	assert_true(l.n == 1 && l.v.mark == 0);
	assert_ok(keep(B, "m", &id, 1));
	l.n = 0;
	assert_ok(A->ops->doc_changes(A, &me, &scope, &cursor, take, &l));
	assert_true(l.n == 1 && l.v.id == id && l.v.mark == 7);
	assert_ok(B->ops->vector_drop(B, &me, STR("m"), 10, &left));
	assert_false(left);
	assert_int_equal(number("SELECT count(*) FROM cenote_model"), 0);
	assert_ok(keep(A, "m", &id, 1)); /* the model has a new number */
	assert_int_equal(kept(), 1);
	none_without_document();
}

/* Two processes keep and drop, a third deletes and writes, all at once: what is left is sound. */
struct hand {
	int which;
	struct store *s;
	pthread_t thread;
};
static atomic_int failures;

static void *hand_main(void *arg)
{
	struct hand *h = arg;
	char key[8];
	for (int i = 0; i < 120; i++) {
		enum err e = OK;
		bool left;
		int64_t ids[8];
		snprintf(key, sizeof key, "k%d", i * 7 % 8);
		for (int k = 0; k < 8; k++)
			ids[k] = 1 + (i * 5 + k * 3) % 200;
		if (h->which == 0)
			e = write_doc(h->s, i % 3 == 2 ? W_DELETE : W_PUT, key, i % 5 == 4 ? "" : "t");
		else if (i % 40 == 39)
			e = h->s->ops->vector_drop(h->s, &me, STR("m"), 3, &left);
		else
			e = keep(h->s, i % 2 ? "m" : "other", ids, 8);
		if (e != OK)
			atomic_fetch_add(&failures, 1);
	}
	return NULL;
}

static void all_at_once(void **state)
{
	(void)state;
	struct hand h[4] = {{.which = 0, .s = A}, {.which = 1, .s = A}, {.which = 1, .s = B}, {.which = 0, .s = B}};
	atomic_store(&failures, 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&h[i].thread, NULL, hand_main, &h[i]), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(h[i].thread, NULL);
	assert_int_equal(atomic_load(&failures), 0);
	none_without_document();
}

/* Long vectors lie in their rows as they are. */
static void long_vectors(void **state)
{
	(void)state;
	enum { BYTES = 8 + 2 * 3072 };
	char *data = calloc(1, BYTES);
	assert_non_null(data);
	data[0] = 1;
	assert_ok(write_doc(A, W_PUT, "a", "a"));
	struct doc_vector v = {id_of("a"), 7, str_of(data, BYTES)};
	assert_ok(A->ops->vector_put(A, &me, DOC_ITEM, STR("m"), &v, 1));
	assert_int_equal(number("SELECT pg_column_size(data) FROM cenote_vector"), BYTES + 4);
	assert_int_equal(number("SELECT pg_relation_size(reltoastrelid) FROM pg_class WHERE oid = 'cenote_vector'::regclass"), 0);
	free(data);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(waits_for_one_alone), TEST(gone_while_it_waited), TEST(held_for_long), TEST(written_while_item_goes),
		TEST(others_delete),	   TEST(other_processes),      TEST(all_at_once),   TEST(long_vectors),
	};
	url = getenv("CENOTE_TEST_PG");
	if (!url || !*url) {
		fprintf(stderr, "CENOTE_TEST_PG is not set: skipped\n");
		return 77;
	}
	snprintf(schema, sizeof schema, "vectors%ld", (long)getpid());
	return cmocka_run_group_tests_name("postgres vectors", tests, NULL, NULL);
}
