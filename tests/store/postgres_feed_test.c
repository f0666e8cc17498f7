/* Finding what others wrote into the shared tables, on a real server: the one in CENOTE_TEST_PG, in a schema of our own. Without
 * the variable the program is skipped (exit 77).
 *
 * "Others" are plain connections that write the table store as any client may. The server may have other users at the same time:
 * then what follows may be found one question later than it would be alone, within the 2 s that docs/store-postgres.md promises
 * (bounds.h says when they are strict). */
#include <libpq-fe.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bounds.h"
#include "store/open.h"
#include "store/postgres/pg_feed.h"
#include "suite.h"

#define PROMISE_MS AT_MOST(2000)
#define DOCS_MAX 4096

static const struct principal me = {.tenant = STR_INIT("default"), .rights = RIGHT_ALL, .id = STR_INIT("test")};
static const char *url;
static char schema[64];
static struct store *A, *B; /* two processes' worth */
static PGconn *X, *Y;	    /* others */

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

static PGresult *query(PGconn *c, const char *sql)
{
	PGresult *r = PQexec(c, sql);

	if (PQresultStatus(r) != PGRES_COMMAND_OK && PQresultStatus(r) != PGRES_TUPLES_OK)
		fail_msg("%s: %s", sql, PQerrorMessage(c));
	return r;
}

static void sql(PGconn *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void sql(PGconn *c, const char *fmt, ...)
{
	char text[2048];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	PQclear(query(c, text));
}

static long long number(PGconn *c, const char *text)
{
	PGresult *r = query(c, text);
	long long v = PQntuples(r) ? strtoll(PQgetvalue(r, 0, 0), NULL, 10) : -1;

	PQclear(r);
	return v;
}

static struct store *opened(const char *where)
{
	struct store_options opt = {.durable = true, .pg.schema = str_c(schema)};
	struct store *s;

	if (store_open(str_c(where), &opt, &s) != OK)
		fail_msg("%s", diag_get()->text);
	return s;
}

static int setup(void **state)
{
	(void)state;
	X = connection();
	Y = connection();
	sql(X, "DROP SCHEMA IF EXISTS \"%s\" CASCADE", schema);
	sql(X, "DROP SCHEMA IF EXISTS \"%s_neighbour\" CASCADE", schema);
	A = opened(url);
	B = opened(url);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	A->ops->close(A);
	B->ops->close(B);
	PQfinish(Y);
	sql(X, "DROP SCHEMA IF EXISTS \"%s\" CASCADE", schema);
	sql(X, "DROP SCHEMA IF EXISTS \"%s_neighbour\" CASCADE", schema);
	PQfinish(X);
	return 0;
}

static struct item_write a_put(const char *ns, const char *key, const char *terms)
{
	return (struct item_write){.op = W_PUT, .ns = str_c(ns), .key = str_c(key), .value = STR("{}"), .terms = str_c(terms)};
}

static void write_to(struct store *s, struct item_write w)
{
	assert_ok(s->ops->item_write(s, &me, &w, 1, false));
	assert_int_equal(w.err, OK);
}

static void put_to(struct store *s, const char *ns, const char *key, const char *terms)
{
	write_to(s, a_put(ns, key, terms));
}

static void del_from(struct store *s, const char *ns, const char *key)
{
	write_to(s, (struct item_write){.op = W_DELETE, .ns = str_c(ns), .key = str_c(key)});
}

static void insert(PGconn *c, const char *ns, const char *key)
{
	sql(c, "INSERT INTO store(prefix, key, value) VALUES ('%s', '%s', '{\"t\": 1}')", ns, key);
}

/* What a reader knows. An item whose document is still to be made has the terms "?". */
struct mirror {
	struct store *s;
	struct doc_scope scope;
	uint64_t cursor;
	size_t n;
	unsigned scans;
	struct doc {
		int64_t id, version;
		char terms[24], where[24];
	} d[DOCS_MAX];
};

static bool learn(void *ctx, const struct doc_change *c)
{
	struct mirror *m = ctx;
	size_t i = 0;

	while (i < m->n && m->d[i].id != c->id)
		i++;
	if (c->removed) {
		if (i < m->n)
			m->d[i] = m->d[--m->n];
		return true;
	}
	if (i == DOCS_MAX)
		abort();
	if (i == m->n)
		m->n++;
	m->d[i].id = c->id;
	m->d[i].version = c->version;
	snprintf(m->d[i].terms, sizeof m->d[i].terms, "%.*s", STR_ARG(c->terms.p[0] ? c->terms : STR("?")));
	snprintf(m->d[i].where, sizeof m->d[i].where, "%.*s", STR_ARG(c->lang_ns));
	return true;
}

static void scan_all(struct mirror *m)
{
	m->n = 0;
	m->scans++;
	assert_ok(m->s->ops->doc_scan(m->s, &me, &m->scope, &m->cursor, learn, m));
}

static struct mirror *mirror_of(struct store *s, const char *prefix)
{
	struct mirror *m = calloc(1, sizeof *m);

	assert_non_null(m);
	m->s = s;
	m->scope = (struct doc_scope){DOC_ITEM, str_c(prefix)};
	scan_all(m);
	return m;
}

static void follow(struct mirror *m)
{
	enum err e = m->s->ops->doc_changes(m->s, &me, &m->scope, &m->cursor, learn, m);

	if (e == E_CONFLICT)
		scan_all(m);
	else if (e != OK)
		fail_msg("%s", diag_get()->text);
}

static bool knows(const struct mirror *m, const char *where, const char *terms)
{
	for (size_t i = 0; i < m->n; i++)
		if (strcmp(m->d[i].terms, terms) == 0 && strcmp(m->d[i].where, where) == 0)
			return true;
	return false;
}

/* Asks until it holds: others' writes are found by the first question or, when one was answered just before, within the promise. */
#define UNTIL(m, expr)                                                                                                             \
	do {                                                                                                                       \
		uint64_t until_ = deadline_in_ms(PROMISE_MS);                                                                      \
		do                                                                                                                 \
			follow(m);                                                                                                 \
		while (!(expr) && clock_mono_ns() < until_);                                                                       \
		if (!(expr))                                                                                                       \
			fail_msg("not found within %u ms: %s", (unsigned)PROMISE_MS, #expr);                                       \
	} while (0)

static double metric(struct store *s, const char *name)
{
	struct buf b;
	double v = -1;

	buf_init(&b, NULL, 1 << 20);
	pg_feed_metrics(pg_of(s), &b);
	buf_byte(&b, 0);
	for (const char *at = b.p; at && (at = strstr(at, name)); at++)
		if ((at == b.p || at[-1] == '\n') && at[strlen(name)] == ' ')
			v = strtod(at + strlen(name), NULL);
	buf_release(&b);
	assert_true(v >= 0);
	return v;
}

static double verifications(struct store *s)
{
	return metric(s, "cenote_pg_verify_seconds_count");
}

static struct pg_tenant *tenant_of(struct store *s)
{
	struct pg_tenant *t;

	assert_ok(pg_tenant_get(pg_of(s), &me, RIGHT_READ, false, &t));
	assert_non_null(t);
	return t;
}

/* After all has been looked at, every row of store has its row, with its mark, and none is left over. */
static void tables_agree(void)
{
	uint64_t until = deadline_in_ms(PROMISE_MS);
	bool exact;

	do
		assert_ok(pg_verify(tenant_of(A), STR(""), &exact));
	while (!exact && clock_mono_ns() < until);
	assert_true(exact);
	assert_int_equal(number(X, "SELECT count(*) FROM store s FULL JOIN cenote_item c ON c.prefix = s.prefix AND c.key = s.key"
				   " WHERE c.mark IS DISTINCT FROM s.xmin"),
			 0);
}

/* --------------------------------------------------------------------- others */

static void others_rows_are_found(void **state)
{
	(void)state;
	struct mirror *m;

	insert(X, "n", "before");
	insert(X, "n.sub", "below");
	insert(X, "other", "elsewhere");
	m = mirror_of(A, "n");
	assert_int_equal(m->n, 2);
	put_to(A, "n", "mine", "mine");
	insert(X, "n", "late");
	insert(X, "nn", "not below n");
	UNTIL(m, m->n == 4);
	assert_true(knows(m, "n", "mine") && knows(m, "n.sub", "?"));
	/* Changed: its document is to be made again, under the same number. */
	sql(X, "UPDATE store SET value = '{\"t\": 2}' WHERE key = 'mine'");
	UNTIL(m, !knows(m, "n", "mine"));
	assert_int_equal(m->n, 4);
	put_to(A, "n", "mine", "again");
	UNTIL(m, knows(m, "n", "again"));
	/* Only its time to live. */
	sql(X, "UPDATE store SET expires_at = now() + interval '1 hour', ttl_minutes = 60 WHERE key = 'mine'");
	UNTIL(m, !knows(m, "n", "again"));
	sql(X, "DELETE FROM store WHERE key IN ('mine', 'late')");
	UNTIL(m, m->n == 2);
	/* Deleted and inserted again in one transaction. */
	sql(X, "BEGIN; DELETE FROM store WHERE key = 'before'; INSERT INTO store(prefix, key, value) VALUES ('n', 'before', '{}');"
	       " INSERT INTO store(prefix, key, value) VALUES ('n', 'more', '{}'); COMMIT");
	UNTIL(m, m->n == 3);
	sql(X, "TRUNCATE store");
	UNTIL(m, m->n == 0);
	free(m);
}

static void version_of_an_adopted_item(void **state)
{
	(void)state;
	struct arena a;
	struct item it, before;
	bool found;
	struct mirror *m;

	arena_init(&a, 1 << 20);
	insert(X, "n", "k");
	sql(X, "UPDATE store SET ttl_minutes = 7");
	assert_ok(A->ops->item_get(A, &a, &me, STR("n"), STR("k"), 0, &before, &found));
	assert_true(found);
	m = mirror_of(A, "n");
	assert_int_equal(m->n, 1);
	assert_ok(A->ops->item_get(A, &a, &me, STR("n"), STR("k"), 0, &it, &found));
	assert_true(found && it.id == m->d[0].id && it.version == before.version && it.ttl_minutes == 7);
	free(m);
	arena_release(&a);
}

static void open_transactions(void **state)
{
	(void)state;
	struct mirror *m = mirror_of(A, "n");

	sql(X, "BEGIN");
	insert(X, "n", "held");
	insert(Y, "n", "other"); /* a later one that ends earlier */
	UNTIL(m, m->n == 1);
	for (int i = 0; i < 5; i++) {
		put_to(A, "n", "mine", i % 2 ? "odd" : "even");
		follow(m);
		assert_int_equal(m->n, 2);
	}
	sql(X, "COMMIT");
	UNTIL(m, m->n == 3);
	sql(X, "BEGIN");
	insert(X, "n", "never");
	follow(m);
	sql(X, "ROLLBACK");
	follow(m);
	assert_int_equal(m->n, 3);
	free(m);
	tables_agree();
}

static void savepoints(void **state)
{
	(void)state;
	struct mirror *m = mirror_of(A, "n");

	sql(X, "BEGIN");
	sql(X, "SAVEPOINT a");
	insert(X, "n", "one");
	sql(X, "RELEASE a");
	follow(m);
	sql(X, "SAVEPOINT b");
	insert(X, "n", "two");
	sql(X, "ROLLBACK TO b");
	follow(m);
	insert(X, "n", "three");
	for (int i = 0; i < 3; i++) {
		insert(Y, "elsewhere", (char[]){(char)('a' + i), 0});
		follow(m);
	}
	assert_int_equal(m->n, 0);
	sql(X, "COMMIT");
	UNTIL(m, m->n == 2);
	free(m);
	tables_agree();
}

/* Rows that somebody has locked are left, and nobody waits for them. */
static void locked_rows(void **state)
{
	(void)state;
	struct mirror *m = mirror_of(A, "n");
	uint64_t begun;

	put_to(A, "n", "k", "k");
	put_to(A, "n", "gone", "gone");
	UNTIL(m, m->n == 2);
	sql(X, "UPDATE store SET value = '{\"t\": 2}' WHERE key = 'k'");
	sql(X, "DELETE FROM store WHERE key = 'gone'");
	sql(X, "BEGIN");
	sql(X, "SELECT FROM store WHERE key = 'k' FOR UPDATE");
	/* What a put of ours does to a row that another has deleted. */
	sql(Y, "BEGIN");
	sql(Y, "INSERT INTO store(prefix, key, value) VALUES ('n', 'gone', '{\"back\": true}')");
	sql(Y, "UPDATE cenote_item SET mark = pg_current_xact_id()::xid, terms = 'back' WHERE key = 'gone'");
	begun = clock_mono_ns();
	for (int i = 0; i < 5; i++)
		follow(m);
	assert_true(clock_mono_ns() - begun < AT_MOST(5000) * UINT64_C(1000000)); /* nobody lets go before */
	assert_true(knows(m, "n", "k") && knows(m, "n", "gone"));
	sql(Y, "COMMIT");
	sql(X, "ROLLBACK");
	UNTIL(m, knows(m, "n", "?"));
	assert_int_equal(number(X, "SELECT count(*) FROM cenote_item WHERE key = 'gone' AND terms = 'back'"), 1);
	tables_agree();
	free(m);
}

/* ------------------------------------------------------------------ processes */

static void two_processes(void **state)
{
	(void)state;
	struct mirror *a = mirror_of(A, ""), *b = mirror_of(B, "n");

	put_to(A, "n", "1", "one");
	put_to(A, "m", "2", "two");
	follow(b); /* at once: nothing is to be compared for that */
	assert_true(b->n == 1 && knows(b, "n", "one"));
	put_to(B, "n", "1", "uno");
	put_to(B, "n", "3", "three");
	follow(a);
	assert_true(a->n == 3 && knows(a, "n", "uno") && knows(a, "n", "three") && knows(a, "m", "two"));
	del_from(A, "n", "1");
	del_from(B, "m", "2");
	follow(a);
	follow(b);
	assert_true(a->n == 1 && b->n == 1 && knows(b, "n", "three"));
	/* What one takes in, the other sees. */
	insert(X, "n", "foreign");
	UNTIL(a, a->n == 2);
	UNTIL(b, b->n == 2);
	free(a);
	free(b);
}

/* Everything else that a Cenote writes. */
static void other_writes(struct store *s, const char *name)
{
	struct item_write taken = a_put("n", "taken", "x"), again = a_put("n", "taken", "x");
	struct message m = {
		.thread = str_c(name), .mid = STR("1"), .role = STR("user"), .content = STR("c"), .terms = STR("t"), .id = 0};
	struct key_record k = {.id = STR("01234567"), .tenant = STR("default"), .created_us = 1};
	struct doc_kept kept = {.terms = STR("t2")};

	again.cond = IF_ABSENT;
	assert_ok(s->ops->item_write(s, &me, &taken, 1, false));
	assert_ok(s->ops->item_write(s, &me, &again, 1, false)); /* fails alone */
	assert_int_equal(again.err, E_CONFLICT);
	assert_ok(s->ops->message_append(s, &me, &m, 1));
	assert_ok(s->ops->message_append(s, &me, &m, 1)); /* there already */
	kept.id = m.id;
	assert_ok(s->ops->doc_keep(s, &me, DOC_MESSAGE, &kept, 1));
	assert_ok(s->ops->threads->remove(s, &me, str_c(name), THREAD_ALL));
	assert_ok(s->ops->meta_put(s, &me, STR("m"), STR("v")));
	assert_ok(s->ops->key_put(s, &k));
}

static void put_elsewhere(const char *key)
{
	static const struct principal they = {.tenant = STR_INIT("neighbour"), .rights = RIGHT_ALL, .id = STR_INIT("test")};
	struct item_write w = {.op = W_PUT, .ns = STR("n"), .key = str_c(key), .value = STR("{}"), .terms = STR("")};
	assert_ok(A->ops->item_write(A, &they, &w, 1, false));
}

/* As long as only Cenotes write, to whatever tenant, nothing is compared. Others on the same server may make it necessary; then it
 * is tried again. */
static void own_writes_cost_no_comparison(void **state)
{
	(void)state;
	static const char count[] = "SELECT count(DISTINCT xid) FROM cenote_journal",
			  /* Transactions that have ended; -1 while one runs. */
		ended[] =
			"SELECT CASE WHEN pg_snapshot_xmin(s) = pg_snapshot_xmax(s) THEN pg_snapshot_xmax(s)::text::bigint ELSE -1"
			" END FROM pg_current_snapshot() s";
	struct mirror *a = mirror_of(A, "n"), *b = mirror_of(B, "n");

	put_elsewhere("first"); /* makes the schema */
	for (int attempt = 0; attempt < 100; attempt++) {
		double done;
		long long ours, all;
		char key[24];
		unsigned removed;
		int64_t next;

		all = number(X, ended);
		ours = number(X, count);
		follow(a);
		follow(b);
		done = verifications(A) + verifications(B);
		for (int i = 0; i < 4; i++) {
			snprintf(key, sizeof key, "%d.%d", attempt, i);
			put_to(i % 2 ? A : B, "n", key, "x");
			put_to(i % 2 ? B : A, "n", key, "y");
			write_to(A, (struct item_write){.op = W_TOUCH, .ns = STR("n"), .key = str_c(key)});
			del_from(B, "n", key);
			write_to(A, (struct item_write){.op = W_TOUCH, .ns = STR("n"), .key = STR("absent")});
			other_writes(A, key);
			put_elsewhere(key);
			follow(a);
			follow(b);
		}
		assert_ok(A->ops->sweep(A, 1, 10, &removed, &next));
		follow(a);
		if (all < 0 || number(X, ended) - all != number(X, count) - ours)
			continue;
		assert_true(verifications(A) + verifications(B) == done);
		free(a);
		free(b);
		return;
	}
	free(a);
	free(b);
	print_message("other users of the server never left it alone for a moment\n");
	skip();
}

/* ------------------------------------------------------------------------ stress */

enum { KEYS = 24, ROUNDS = 150 };
struct stress {
	int kind;
	atomic_int *left;
};

static void other_client(PGconn *c, uint32_t dice, int i)
{
	char key[8];

	snprintf(key, sizeof key, "k%u", dice % KEYS);
	if (i % 11 == 0)
		sql(c,
		    "BEGIN; SAVEPOINT a; INSERT INTO store(prefix, key, value) VALUES ('s', '%s', '{}') ON CONFLICT (prefix, key)"
		    " DO UPDATE SET value = '{\"sub\": %d}'; RELEASE a; COMMIT",
		    key, i);
	else if (i % 3 == 0)
		sql(c, "DELETE FROM store WHERE prefix = 's' AND key = '%s'", key);
	else
		sql(c,
		    "INSERT INTO store(prefix, key, value) VALUES ('s', '%s', '{}') ON CONFLICT (prefix, key) DO UPDATE SET"
		    " value = '{\"n\": %d}', updated_at = now()",
		    key, i);
}

static void our_client(struct store *s, uint32_t dice, int i)
{
	char key[8], terms[24];

	snprintf(key, sizeof key, "k%u", dice % KEYS);
	snprintf(terms, sizeof terms, "%c%d", s == A ? 'a' : 'b', i);
	if (i % 4 == 3)
		del_from(s, "s", key);
	else
		put_to(s, "s", key, terms);
}

/* Reads, which takes in what is others', and keeps documents for it. */
static void our_reader(struct mirror *m)
{
	struct arena a;
	struct item it;

	follow(m);
	arena_init(&a, 1 << 20);
	for (size_t i = 0; i < m->n; i++) {
		if (strcmp(m->d[i].terms, "?") != 0)
			continue;
		assert_ok(m->s->ops->item_by_id(m->s, &a, &me, &m->d[i].id, 1, &it));
		struct doc_kept kept = {it.id, it.version, STR("made")};
		if (it.id && it.version == m->d[i].version)
			assert_ok(m->s->ops->doc_keep(m->s, &me, DOC_ITEM, &kept, 1));
	}
	arena_release(&a);
}

static void *stress_run(void *arg)
{
	struct stress *x = arg;
	uint32_t seed = (uint32_t)x->kind + 1;
	PGconn *c = x->kind < 2 ? connection() : NULL;
	struct mirror *m = x->kind >= 4 ? mirror_of(x->kind == 4 ? A : B, "s") : NULL;

	for (int i = 0; m ? atomic_load(x->left) > 0 : i < ROUNDS; i++) {
		seed = seed * 1664525u + 1013904223u;
		if (c)
			other_client(c, seed >> 8, i);
		else if (!m)
			our_client(x->kind == 2 ? A : B, seed >> 8, i);
		else
			our_reader(m);
	}
	if (!m)
		atomic_fetch_sub(x->left, 1);
	PQfinish(c);
	free(m);
	return NULL;
}

static bool same(const struct mirror *a, const struct mirror *b)
{
	for (size_t i = 0; i < a->n; i++) {
		size_t j = 0;

		while (j < b->n && (b->d[j].id != a->d[i].id || strcmp(b->d[j].where, a->d[i].where) != 0))
			j++;
		if (j == b->n)
			return false;
	}
	return a->n == b->n;
}

static void all_at_once(void **state)
{
	(void)state;
	struct mirror *a = mirror_of(A, "s"), *b = mirror_of(B, "s"), *fresh;
	atomic_int left = 4;
	struct stress x[6];
	pthread_t t[6];
	long long rows;

	for (int i = 0; i < 6; i++) {
		x[i] = (struct stress){i, &left};
		assert_int_equal(pthread_create(&t[i], NULL, stress_run, &x[i]), 0);
	}
	while (atomic_load(&left) > 0) {
		follow(a);
		follow(b);
	}
	for (int i = 0; i < 6; i++)
		pthread_join(t[i], NULL);
	rows = number(X, "SELECT count(*) FROM store WHERE prefix = 's'");
	/* Each follows only its own feed; the tables agree when both have found all. */
	UNTIL(a, a->n == (size_t)rows);
	UNTIL(b, b->n == (size_t)rows);
	UNTIL(a, number(X, "SELECT count(*) FROM store s FULL JOIN cenote_item c ON c.prefix = s.prefix AND c.key = s.key WHERE"
			   " c.mark IS DISTINCT FROM s.xmin") == 0);
	tables_agree();
	follow(b);
	fresh = mirror_of(B, "s");
	assert_true(same(a, fresh) && same(b, fresh));
	/* A document of ours belongs to the value of ours, or was made for an adopted one. */
	assert_int_equal(number(X,
				"SELECT count(*) FROM store s JOIN cenote_item c USING (prefix, key) WHERE c.terms IS NOT NULL AND"
				" (c.terms = 'made') <> (c.version = c.mark::text::bigint << 20)"),
			 0);
	free(a);
	free(b);
	free(fresh);
}

/* Whoever was told of a write finds it with the next question, whatever others ask meanwhile: the shared statement begins after
 * the question. */
static void *write_and_ask(void *arg)
{
	char ns[16], terms[24];
	struct mirror *m;

	snprintf(ns, sizeof ns, "w%d", *(int *)arg);
	m = mirror_of(A, ns);
	for (int i = 0; i < 60; i++) {
		snprintf(terms, sizeof terms, "t%d", i);
		put_to(i % 2 ? A : B, ns, "k", terms);
		follow(m);
		if (!knows(m, ns, terms))
			abort();
	}
	free(m);
	return NULL;
}

static void shared_questions(void **state)
{
	(void)state;
	enum { N = 8 };
	pthread_t t[N];
	int me_[N];

	for (int i = 0; i < N; i++) {
		me_[i] = i;
		assert_int_equal(pthread_create(&t[i], NULL, write_and_ask, &me_[i]), 0);
	}
	for (int i = 0; i < N; i++)
		pthread_join(t[i], NULL);
}

/* ------------------------------------------------------------------------ purging */

static void purged_rows(void **state)
{
	(void)state;
	struct mirror *a = mirror_of(A, "n"), *b;
	bool more;

	put_to(B, "n", "k", "x");
	put_to(B, "n", "l", "y");
	follow(a);
	assert_int_equal(a->n, 2);
	put_to(B, "n", "k", "late"); /* A sleeps from here on */
	b = mirror_of(B, "n");
	follow(b);
	b->scans = a->scans = 0;
	assert_ok(pg_purge(tenant_of(A), &more));
	assert_int_equal(number(X, "SELECT count(*) FROM cenote_meta WHERE name = 'purged'"), 0); /* all are young */
	sql(X, "UPDATE cenote_journal SET at = at - interval '11 minutes'");
	put_to(B, "n", "m", "z");
	assert_ok(pg_purge(tenant_of(B), &more));
	assert_false(more);
	assert_int_equal(number(X, "SELECT count(*) FROM cenote_meta WHERE name = 'purged'"), 1);
	assert_true(number(X, "SELECT count(*) FROM cenote_journal") <= 3); /* the last put, and the purge itself */
	follow(b);
	assert_int_equal(b->scans, 0); /* had seen all of it */
	assert_true(knows(b, "n", "z") && knows(b, "n", "late"));
	follow(a);
	assert_int_equal(a->scans, 1); /* was told to read again */
	assert_true(a->n == 3 && knows(a, "n", "late"));
	put_to(B, "n", "m", "zz");
	follow(a);
	assert_int_equal(a->scans, 1);
	assert_true(knows(a, "n", "zz"));
	/* What a snapshot saw running may have been removed only after a long sleep. */
	struct pg_feed *f = tenant_of(A)->feed;
	sql(X, "BEGIN");
	insert(X, "elsewhere", "open");
	insert(Y, "elsewhere", "done");
	follow(a);
	assert_true(f->snap.xmin < f->snap.xmax);
	sql(Y, "UPDATE cenote_meta SET value = '%llu' WHERE name = 'purged'", (unsigned long long)f->snap.xmin);
	follow(a);
	assert_int_equal(a->scans, 1);
	sql(Y, "UPDATE cenote_meta SET value = '%llu' WHERE name = 'purged'", (unsigned long long)f->snap.xmin);
	f->taken_ns -= UINT64_C(600) * 1000000000;
	follow(a);
	assert_int_equal(a->scans, 2);
	sql(X, "ROLLBACK");
	free(a);
	free(b);
}

/* Few rows, but of more documents than the ring holds: not all are read, and nobody takes those that were for all. */
static void more_than_the_ring_holds(void **state)
{
	(void)state;
	struct mirror *a = mirror_of(A, "n");

	put_to(A, "n", "k", "x");
	follow(a);
	a->scans = 0;
	sql(X, "INSERT INTO cenote_journal(op, step, kind, ids, names) SELECT -n, 0, 'i', array_agg(1000000000 + 1000 * n + k), "
	       "'{}' FROM"
	       " generate_series(1, 90) n, generate_series(1, 1000) k GROUP BY n");
	put_to(B, "n", "l", "y");
	follow(a);
	assert_int_equal(a->scans, 1);
	assert_true(a->n == 2 && knows(a, "n", "y"));
	put_to(B, "n", "m", "z");
	follow(a);
	assert_int_equal(a->scans, 1);
	assert_true(knows(a, "n", "z"));
	free(a);
}

/* Sweeps go on as long as there are old rows, however many a minute brings. */
static void purged_under_load(void **state)
{
	(void)state;
	int64_t next_us, now_us;
	unsigned removed;

	put_to(A, "n", "k", "x");
	sql(X, "INSERT INTO cenote_journal(op, step, kind, ids, names) SELECT -n, 0, 'x', '{}', '{}' FROM generate_series(1, "
	       "120000) n");
	sql(X, "UPDATE cenote_journal SET at = at - interval '11 minutes'");
	do {
		now_us = clock_wall_us();
		assert_ok(A->ops->sweep(A, now_us, 100, &removed, &next_us));
	} while (next_us > 0 && next_us <= now_us);
	assert_int_equal(number(X, "SELECT count(*) FROM cenote_journal WHERE op < 0"), 0);
}

/* ---------------------------------------------------------------------- refusals */

static void where_nothing_can_be_written(void **state)
{
	(void)state;
	char where[512];
	struct store *s;
	struct mirror *m;
	bool exact;

	put_to(A, "n", "mine", "mine");
	snprintf(where, sizeof where, "%s%coptions=-c%%20default_transaction_read_only%%3Don", url, strchr(url, '?') ? '&' : '?');
	s = opened(where);
	m = mirror_of(s, "n");
	assert_int_equal(m->n, 1);
	assert_ok(pg_verify(tenant_of(s), STR("n"), &exact));
	insert(X, "n", "foreign");
	follow(m); /* answers from what is indexed */
	assert_int_equal(m->n, 1);
	UNTIL(m, metric(s, "cenote_pg_unadopted") == 1);
	assert_ok(pg_verify(tenant_of(s), STR("n"), &exact));
	assert_false(exact);
	/* Another process takes the row in; that is seen by this one. */
	struct mirror *a = mirror_of(A, "n");
	assert_int_equal(a->n, 2);
	UNTIL(m, m->n == 2);
	UNTIL(m, metric(s, "cenote_pg_unadopted") == 0);
	s->ops->close(s);
	free(m);
	free(a);
}

static void many_of_others(void **state)
{
	(void)state;
	struct arena a;
	struct mirror *m;

	/* More than one comparison returns, in more than one chunk. */
	sql(X, "INSERT INTO store(prefix, key, value) SELECT 'big.' || i %% 7, 'k' || i, '{}' FROM generate_series(1, 23000) i");
	arena_init(&a, 1 << 20);
	m = mirror_of(A, "small"); /* does not take in what lies elsewhere */
	assert_int_equal(number(X, "SELECT count(*) FROM cenote_item"), 0);
	bool exact;
	assert_ok(pg_verify(tenant_of(A), STR("big"), &exact));
	assert_true(exact);
	assert_int_equal(number(X, "SELECT count(*) FROM cenote_item"), 23000);
	assert_true(metric(A, "cenote_pg_adopted_total") == 23000);
	tables_agree();
	sql(X, "DELETE FROM store WHERE prefix = 'big.3'");
	sql(X, "UPDATE store SET value = '[]' WHERE prefix = 'big.4'");
	uint64_t until = deadline_in_ms(PROMISE_MS);
	do
		assert_ok(pg_verify(tenant_of(A), STR("big"), &exact));
	while (!exact && clock_mono_ns() < until);
	assert_true(exact);
	tables_agree();
	free(m);
	arena_release(&a);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(others_rows_are_found),
		T(version_of_an_adopted_item),
		T(open_transactions),
		T(savepoints),
		T(locked_rows),
		T(two_processes),
		T(own_writes_cost_no_comparison),
		T(all_at_once),
		T(shared_questions),
		T(purged_rows),
		T(purged_under_load),
		T(more_than_the_ring_holds),
		T(where_nothing_can_be_written),
		T(many_of_others),
	};

	url = getenv("CENOTE_TEST_PG");
	if (!url || !*url) {
		fprintf(stderr, "CENOTE_TEST_PG is not set: skipped\n");
		return 77;
	}
	log_set_level(LOG_WARN);
	snprintf(schema, sizeof schema, "feed%ld", (long)getpid());
	return cmocka_run_group_tests_name("feed on PostgreSQL", tests, NULL, NULL);
}
