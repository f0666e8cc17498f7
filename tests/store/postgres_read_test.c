/* Reading items that other clients wrote, on a real server: the one in CENOTE_TEST_PG, in a schema of our own. Without the variable
 * the program is skipped (exit 77).
 *
 * Every scan and walk is made by two stores: A, which may take rows in and then uses cenote_item's indexes, and R, whose session is
 * read-only, so that it has to read `store` itself. Both must give what a plain sort gives. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/json/json.h"
#include "store/open.h"
#include "store/postgres/read.h"

#define assert_ok(expr)                                                                                                            \
	do {                                                                                                                       \
		if ((expr) != OK)                                                                                                  \
			fail_msg("%s: %s", #expr, diag_get()->text);                                                               \
	} while (0)

static const struct principal me = {.tenant = STR_INIT("default"), .rights = RIGHT_ALL, .id = STR_INIT("test")};
static const char *url;
static char schema[64];
static struct store *A, *R;
static PGconn *X; /* another client */
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

/* As a client that knows nothing of Cenote; times as PostgreSQL reads them, NULL for none. */
static void insert(const char *ns, const char *key, const char *value, const char *created, const char *updated,
		   const char *expires)
{
	const char *v[] = {ns, key, value, created, updated, expires};
	PGresult *r = PQexecParams(X,
				   "INSERT INTO store(prefix, key, value, created_at, updated_at, expires_at) VALUES ($1, $2, $3,"
				   " $4, $5, $6) ON CONFLICT (prefix, key) DO UPDATE SET value = excluded.value,"
				   " updated_at = excluded.updated_at",
				   6, NULL, v, NULL, NULL, 0);
	if (PQresultStatus(r) != PGRES_COMMAND_OK)
		fail_msg("%s", PQerrorMessage(X));
	PQclear(r);
}

static struct store *opened(const char *conninfo)
{
	struct store_options opt = {.durable = true, .pg.schema = str_c(schema)};
	struct store *s;
	if (store_open(str_c(conninfo), &opt, &s) != OK)
		fail_msg("%s", diag_get()->text);
	return s;
}

static void drop(void)
{
	char text[160];
	snprintf(text, sizeof text, "DROP SCHEMA IF EXISTS \"%s\" CASCADE", schema);
	sql(text);
}

static int setup(void **state)
{
	char text[512];
	(void)state;
	arena_init(&mem, (size_t)256 << 20);
	X = PQconnectdb(url);
	if (PQstatus(X) != CONNECTION_OK)
		fail_msg("%s", PQerrorMessage(X));
	sql("SET client_min_messages = error");
	drop();
	A = opened(url);
	snprintf(text, sizeof text, "%s%coptions=-c%%20default_transaction_read_only%%3Don", url, strchr(url, '?') ? '&' : '?');
	R = opened(text);
	snprintf(text, sizeof text, "SET search_path = \"%s\"", schema);
	sql(text);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	A->ops->close(A);
	R->ops->close(R);
	drop();
	PQfinish(X);
	arena_release(&mem);
	return 0;
}

static bool get(struct store *s, const char *ns, const char *key, int64_t omit_us, struct item *it)
{
	bool found;
	assert_ok(s->ops->item_get(s, &mem, &me, str_c(ns), str_c(key), omit_us, it, &found));
	return found;
}

static void assert_json(const char *want, struct str got)
{
	struct json x, y;
	assert_ok(json_parse(&mem, str_c(want), NULL, &x));
	assert_ok(json_parse(&mem, got, NULL, &y));
	if (!j_equal(json_root(&x), json_root(&y)))
		fail_msg("%s came back as %.*s", want, STR_ARG(got));
}

/* "ns:key|ns:key", up to `most` items. */
struct got {
	struct buf b;
	unsigned n, most;
};

static void got_init(struct got *l, unsigned most)
{
	buf_init(&l->b, &mem, 64u << 20);
	l->n = 0;
	l->most = most;
}

static bool add(struct got *l, struct str ns, struct str key)
{
	buf_printf(&l->b, "%s%.*s:%.*s", l->n ? "|" : "", STR_ARG(ns), STR_ARG(key));
	return ++l->n < l->most;
}

static bool add_item(void *ctx, const struct item *it)
{
	return add(ctx, it->ns, it->key);
}

static bool add_name(void *ctx, struct str name)
{
	return add(ctx, name, STR(""));
}

static const char *ended(struct got *l)
{
	buf_byte(&l->b, 0);
	assert_int_equal(l->b.err, OK);
	return l->b.p;
}

static const char *scan(struct store *s, const char *prefix, int64_t omit_us, const struct scan_hint *hint, unsigned most)
{
	struct got l;
	got_init(&l, most);
	assert_ok(s->ops->item_scan(s, &me, str_c(prefix), omit_us, hint, add_item, &l));
	return ended(&l);
}

static const char *walk(struct store *s, const char *prefix, const char *ns, const char *key, unsigned most)
{
	struct got l;
	got_init(&l, most);
	assert_ok(s->ops->item_walk(s, &me, str_c(prefix), str_c(ns), str_c(key), add_item, &l));
	return ended(&l);
}

static const char *names(struct store *s, const char *prefix)
{
	struct got l;
	got_init(&l, UINT32_MAX);
	assert_ok(s->ops->namespaces(s, &me, str_c(prefix), add_name, &l));
	return ended(&l);
}

/* Both stores give `want`. */
static void both_scan(const char *want, const char *prefix)
{
	assert_string_equal(scan(R, prefix, 0, NULL, UINT32_MAX), want);
	assert_string_equal(scan(A, prefix, 0, NULL, UINT32_MAX), want);
}

static void both_walk(const char *want, const char *prefix)
{
	assert_string_equal(walk(R, prefix, "", "", UINT32_MAX), want);
	assert_string_equal(walk(A, prefix, "", "", UINT32_MAX), want);
}

/* ---------------------------------------------------------------- rows of others */

/* What another client commits is there for the next read, whatever it did. */
static void read_at_once(void **state)
{
	struct item it;
	int64_t version;
	(void)state;
	insert("a.b", "1", "{\"v\": 1}", "2024-05-01 00:00:00Z", "2024-05-01 00:00:01Z", NULL);
	assert_true(get(A, "a.b", "1", 0, &it));
	assert_json("{\"v\":1}", it.value);
	assert_true(it.created_us == INT64_C(1714521600000000) && it.updated_us == it.created_us + 1000000);
	assert_true(it.expires_us == 0 && it.ttl_minutes == 0 && it.version > 0);
	version = it.version;
	both_scan("a.b:1", "");
	assert_true(get(A, "a.b", "1", 0, &it) && it.id > 0); /* taken in by the scan */
	assert_true(it.version == version);
	insert("a.b", "2", "{}", "2024-05-01 00:00:00Z", "2024-05-02 00:00:00Z", NULL);
	both_scan("a.b:2|a.b:1", "a");
	both_walk("a.b:1|a.b:2", "a");
	insert("a.b", "1", "{\"v\": 2}", "2024-05-01 00:00:00Z", "2024-05-03 00:00:00Z", NULL);
	both_scan("a.b:1|a.b:2", "a.b");
	assert_true(get(A, "a.b", "1", 0, &it));
	assert_json("{\"v\":2}", it.value);
	assert_true(it.version != version);
	sql("UPDATE store SET prefix = 'a' WHERE key = '2'");
	both_scan("a.b:1|a:2", "a");
	assert_string_equal(names(A, "a"), "a:|a.b:");
	sql("DELETE FROM store WHERE key = '1'");
	both_scan("a:2", "");
	both_walk("a:2", "");
	assert_string_equal(names(A, ""), "a:");
	assert_false(get(A, "a.b", "1", 0, &it));
	sql("TRUNCATE store");
	both_scan("", "");
	both_walk("", "");
	assert_string_equal(names(A, ""), "");
}

static void times_that_are_none(void **state)
{
	struct item it;
	(void)state;
	insert("t", "both-null", "{}", NULL, NULL, NULL);
	insert("t", "null", "{}", "2024-05-01 00:00:00Z", NULL, NULL);
	insert("t", "never", "{}", "2024-01-01 00:00:00Z", "infinity", "infinity");
	insert("t", "always", "{}", "-infinity", "-infinity", "-infinity");
	insert("t", "new", "{}", "2024-06-01 00:00:00Z", "2024-06-01 00:00:00Z", "2024-06-02 00:00:00Z");
	insert("t", "old", "{}", "1969-07-20 00:00:00Z", "1969-07-20 00:00:00Z", NULL);
	both_scan("t:never|t:new|t:null|t:both-null|t:old|t:always", "t");
	for (unsigned most = 1; most < 6; most++)
		assert_string_equal(scan(A, "t", 0, NULL, most), scan(R, "t", 0, NULL, most));
	assert_true(get(A, "t", "both-null", 1, &it));
	assert_true(it.created_us == 0 && it.updated_us == 0 && it.expires_us == 0);
	assert_true(get(A, "t", "null", 1, &it) && it.updated_us == it.created_us);
	assert_true(get(A, "t", "never", INT64_MAX - 1, &it) && it.expires_us == INT64_MAX);
	assert_true(get(A, "t", "always", 0, &it) && !get(A, "t", "always", 2, &it));
	assert_true(get(A, "t", "new", INT64_C(1717286400000000), &it) && !get(A, "t", "new", INT64_C(1717286400000001), &it));
	for (int i = 0; i < 2; i++) {
		struct store *s = i ? A : R;
		assert_string_equal(scan(s, "t", INT64_C(1717286400000000), NULL, 9), "t:never|t:new|t:null|t:both-null|t:old");
		assert_string_equal(scan(s, "t", INT64_C(1717286400000001), NULL, 9), "t:never|t:null|t:both-null|t:old");
	}
}

static void values_come_back(void **state)
{
	static const char *const values[] = {
		"{\"n\": 123456789012345678901234567890.12345678901234567890, \"e\": 1e300, \"m\": -1.5e-200}",
		"{\"s\": \"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0001\\ud83d\\ude00 \xF0\x9F\x98\x80\", \"\": {\"\": []}}",
		"{\"a\": [1, [2, [3, [null, true, false, {}]]]], \"\\u00e9\": \"e\\u0301\"}",
	};
	struct item it;
	char key[16];
	(void)state;
	for (unsigned i = 0; i < sizeof values / sizeof *values; i++) {
		snprintf(key, sizeof key, "%u", i);
		insert("v", key, values[i], "2024-05-01Z", "2024-05-01Z", NULL);
		assert_true(get(A, "v", key, 0, &it));
		assert_json(values[i], it.value);
	}
	sql("UPDATE store SET ttl_minutes = 7 WHERE key = '0'");
	assert_true(get(A, "v", "0", 0, &it) && it.ttl_minutes > 6.9 && it.ttl_minutes < 7.1);
}

/* ---------------------------------------------------------------- against a plain sort */

enum { ROWS = 3000 };
struct row {
	char ns[40], key[24];
	int64_t at;
	bool even;
};
static struct row rows[ROWS];
static size_t n_rows;

static int by_name(const void *x, const void *y)
{
	const struct row *a = x, *b = y;
	int c = strcmp(a->ns, b->ns);
	return c ? c : strcmp(a->key, b->key);
}

static int newest(const void *x, const void *y)
{
	const struct row *a = x, *b = y;
	return a->at != b->at ? (a->at > b->at ? -1 : 1) : by_name(x, y);
}

static bool below(const struct row *r, const char *prefix)
{
	size_t n = strlen(prefix);
	return n == 0 || (strncmp(r->ns, prefix, n) == 0 && (!r->ns[n] || r->ns[n] == '.'));
}

/* What a scan or a walk should give; even: only items with {"even": true}. */
static const char *expected(const char *prefix, bool even, const char *ns, const char *key, unsigned most)
{
	struct row after = {0};
	struct got l;
	bool go = true;
	got_init(&l, most);
	snprintf(after.ns, sizeof after.ns, "%s", ns);
	snprintf(after.key, sizeof after.key, "%s", key);
	for (size_t i = 0; i < n_rows && go; i++)
		if (below(&rows[i], prefix) && (!even || rows[i].even) && (!*ns || by_name(&rows[i], &after) > 0))
			go = add(&l, str_c(rows[i].ns), str_c(rows[i].key));
	return ended(&l);
}

static uint32_t seed = 4711;

static uint32_t dice(uint32_t sides)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 12) % sides;
}

static const char *const odd[] = {"a",
				  "a.b",
				  "a.bc",
				  "a.b.c",
				  "a-b",
				  "a/b",
				  "a%",
				  "a_",
				  "a.%",
				  "a._b",
				  "A.b",
				  "a\\",
				  "a\\.b",
				  "a'b",
				  "a\"b",
				  "a.b/",
				  "a b",
				  "\xC3\xA4",
				  "\xF0\x9F\x98\x80.x",
				  "",
				  "a.\n",
				  "many",
				  "many.x",
				  "*",
				  "a..b",
				  "\xEF\xBF\xBF",
				  "@store.@@",
				  "\xF4\x8F\xBF\xBF.x",
				  "$1"};
enum { N_ODD = sizeof odd / sizeof *odd };

/* Rows of all kinds of names, thousands of one time in one namespace, and more namespaces below "many" than a first page looks
 * into. */
static void fill(void)
{
	sql("BEGIN");
	n_rows = 0;
	for (size_t i = 0; i < ROWS; i++) {
		struct row *r = &rows[n_rows];
		char value[64], at[48];
		uint32_t kind = dice(10);
		if (kind < 4)
			snprintf(r->ns, sizeof r->ns, "%s", odd[dice(N_ODD)]);
		else if (kind < 7)
			snprintf(r->ns, sizeof r->ns, "a.b");
		else
			snprintf(r->ns, sizeof r->ns, "many.%u", dice(60));
		snprintf(r->key, sizeof r->key, "%s%zu", dice(3) ? "k" : dice(2) ? "\xC3\xA9'%" : "K_\\", i);
		r->even = dice(40) == 0;
		r->at = kind >= 4 && kind < 7 ? 1000 : 990 + (int64_t)dice(kind == 9 ? 3 : 2000);
		snprintf(value, sizeof value, "{\"even\": %s, \"i\": %zu}", r->even ? "true" : "false", i);
		snprintf(at, sizeof at, "epoch");
		snprintf(at, sizeof at, "1970-01-01 00:00:00.%06dZ", (int)r->at);
		insert(r->ns, r->key, value, at, at, NULL);
		n_rows++;
	}
	sql("COMMIT");
}

static void scans(void **state)
{
	static const unsigned most[] = {1, 10, 11, 100, 101, 700, UINT32_MAX};
	static const char *const more[] = {"a.b.c.d", "many.7", "nothing", "a.", "b"};
	(void)state;
	fill();
	qsort(rows, n_rows, sizeof *rows, newest);
	for (unsigned i = 0; i < 2 * (N_ODD + 5); i++) {
		struct store *s = i < N_ODD + 5 ? R : A; /* R first: when A has taken the rows in, R has nothing to miss */
		unsigned at = i % (N_ODD + 5);
		const char *p = at < N_ODD ? odd[at] : more[at - N_ODD];
		arena_clear(&mem);
		for (unsigned k = 0; k < sizeof most / sizeof *most; k++) {
			struct scan_hint hint = {most[k], STR("")}, even = {most[k] % 1000, STR("{\"even\":true}")};
			const char *want = expected(p, false, "", "", most[k]), *some = expected(p, true, "", "", most[k]);
			assert_string_equal(scan(s, p, 0, k % 2 ? &hint : NULL, most[k]), want);
			assert_string_equal(scan(s, p, 0, &even, most[k]), some);
		}
		/* So the first half was the right path for sure; the second is the fast one. */
		if (at == N_ODD + 4)
			assert_int_equal(number("SELECT count(*) FROM cenote_item"),
					 s == R ? 0 : number("SELECT count(*) FROM store"));
	}
}

static void walks(void **state)
{
	static const char *const from[][2] = {{"", ""},		 {"a", ""},    {"a", "k5"},   {"a.b", "k20"}, {"a.b", "\xC3\xA9"},
					      {"a.bb", "x"},	 {"a-", "zz"}, {"a.zz", "z"}, {"b", ""},      {"many", "k"},
					      {"many.30", "k1"}, {"a/", ""},   {"a.", ""}};
	static const unsigned most[] = {1, 255, 256, 257, 900, UINT32_MAX};
	(void)state;
	fill();
	qsort(rows, n_rows, sizeof *rows, by_name);
	for (unsigned i = 0; i < 2 * N_ODD; i++)
		for (unsigned f = 0; f < sizeof from / sizeof *from; f++) {
			const char *p = odd[i % N_ODD];
			unsigned m = most[(i + f) % 6];
			arena_clear(&mem);
			assert_string_equal(walk(i < N_ODD ? R : A, p, from[f][0], from[f][1], m),
					    expected(p, false, from[f][0], from[f][1], m));
		}
}

static void namespaces(void **state)
{
	(void)state;
	fill();
	qsort(rows, n_rows, sizeof *rows, by_name);
	for (unsigned i = 0; i < N_ODD; i++) {
		struct got l;
		const struct row *last = NULL;
		arena_clear(&mem);
		got_init(&l, UINT32_MAX);
		for (size_t k = 0; k < n_rows; k++)
			if (below(&rows[k], odd[i]) && (!last || strcmp(last->ns, rows[k].ns) != 0)) {
				last = &rows[k];
				add(&l, str_c(last->ns), STR(""));
			}
		assert_string_equal(names(A, odd[i]), ended(&l));
	}
	/* More than one statement's worth. */
	sql("INSERT INTO store(prefix, key, value) SELECT 'ns.' || i, 'k', '{}' FROM generate_series(1, 1500) i");
	struct got l;
	got_init(&l, UINT32_MAX);
	assert_ok(A->ops->namespaces(A, &me, STR("ns"), add_name, &l));
	assert_int_equal(l.n, 1500);
}

static void by_id(void **state)
{
	enum { N = 300 };
	static struct item out[N];
	static int64_t ids[N];
	(void)state;
	sql("INSERT INTO store(prefix, key, value) SELECT 'n', 'k' || i, jsonb_build_object('i', i) FROM generate_series(1, 300) "
	    "i");
	scan(A, "", 0, NULL, UINT32_MAX);
	for (int i = 0; i < N; i++) {
		struct item it;
		char key[16];
		snprintf(key, sizeof key, "k%d", i * 7 % N + 1);
		assert_true(get(A, "n", key, 0, &it));
		ids[i] = it.id;
	}
	sql("DELETE FROM store WHERE key IN ('k1', 'k8')"); /* i = 0, 1 */
	ids[2] = -5;
	ids[4] = ids[3];
	sql("UPDATE store SET value = '{\"i\": 0}' WHERE key = 'k36'"); /* i = 5 */
	for (int which = 0; which < 2; which++) {
		struct store *s = which ? A : R;
		assert_ok(s->ops->item_by_id(s, &mem, &me, ids, N, out));
		assert_true(out[0].id == 0 && out[1].id == 0 && out[2].id == 0);
		assert_true(out[3].id == ids[3] && out[4].id == ids[3] && str_eq(out[4].key, STR("k22")));
		assert_json("{\"i\": 0}", out[5].value);
		for (int i = 5; i < N; i++) {
			char key[16];
			snprintf(key, sizeof key, "k%d", i * 7 % N + 1);
			assert_true(out[i].id == ids[i]);
			assert_true(str_eq(str_c(key), out[i].key));
		}
	}
}

static bool weigh(void *ctx, const struct item *it)
{
	*(size_t *)ctx += it->value.n;
	return true;
}

/* Pages shrink for large values; all of them come. */
static void large_values(void **state)
{
	(void)state;
	sql("INSERT INTO store(prefix, key, value) SELECT 'l', 'k' || i, jsonb_build_object('v', repeat('x', CASE WHEN i % 40 = 0 "
	    "THEN"
	    " 2000000 ELSE 10 END)) FROM generate_series(1, 1200) i");
	for (int which = 0; which < 2; which++) {
		struct store *s = which ? A : R;
		size_t a = 0, b = 0;
		assert_ok(s->ops->item_scan(s, &me, STR(""), 0, NULL, weigh, &a));
		assert_ok(s->ops->item_walk(s, &me, STR(""), STR(""), STR(""), weigh, &b));
		assert_int_equal(a, b);
		assert_int_equal(a, 30 * (2000000 + 9) + 1170 * (10 + 9));
	}
}

/* ---------------------------------------------------------------- plans */

/* The generic plan of a statement, as the server tells it. */
static const char *plan(const struct pg_stmt *st, const char *types, const char *args)
{
	struct buf b;
	buf_init(&b, &mem, 1u << 20);
	buf_printf(&b, "PREPARE p(%s) AS ", types);
	for (const char *c = st->sql; *c; c++) {
		if (*c == '@' && c[1] == '@')
			buf_byte(&b, *c++);
		else if (*c != '@') /* the search path has our schema */
			buf_byte(&b, *c);
	}
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
		long rows_n = strtol(p + 5, &end, 10), loops = strncmp(end, " loops=", 7) == 0 ? strtol(end + 7, NULL, 10) : 1;
		most = rows_n * loops > most ? rows_n * loops : most;
		p = end;
	}
	for (const char *p = strstr(text, "Rows Removed by"); p; p = strstr(p + 1, "Rows Removed by")) {
		long removed = strtol(strchr(p, ':') + 1, NULL, 10);
		most = removed > most ? removed : most;
	}
	return most;
}

struct plan_case {
	const struct pg_stmt *st;
	const char *types, *args;
	long most; /* rows that a node may read, in all its loops */
	const char *uses;
};

static void check_plans(const char *when)
{
#define SCOPE(p) "'" p "', '" p ".', '" p "/'"
	static const char scope_types[] = "text, text, text, timestamptz, jsonb",
			  list_types[] = "text, text, text, timestamptz, text, text, bigint",
			  all_types[] = "text, text, text, timestamptz, text, text, bigint, timestamptz, jsonb",
			  walk_types[] = "text, text, text, text, text, text, bigint";
	static const struct plan_case cases[] = {
		{&pg_get_one, "text, text", "'big', 'k77'", 1, "store_pkey"},
		{&pg_get_by_id, "bigint[]", "'{5,77,1234}'", 3, "cenote_item_pkey"},
		{&pg_rows_named, "text[], text[]", "'{big,big}', '{k7,k8}'", 2, "store_pkey"},
		{&pg_list_namespaces, "text, text, text, text, bool", SCOPE("big") ", 'big', true", 2, "store_prefix_idx"},
		{&pg_scan_few, scope_types, SCOPE("big") ", NULL, NULL", 12, "Index Scan Backward using cenote_item_recent"},
		{&pg_scan_few, scope_types, SCOPE("big") ", now(), '{\"five\": 1}'", 60,
		 "Index Scan Backward using cenote_item_recent"},
		/* Nothing passes: without statistics the look for `cut` reads the scope, as what follows does, too. */
		{&pg_scan_few, scope_types, SCOPE("big") ", now(), '{\"five\": 9}'", 20000,
		 "Index Scan Backward using cenote_item_recent"},
		{&pg_scan_more, scope_types, SCOPE("big") ", NULL, NULL", 102, "Index Scan Backward using cenote_item_recent"},
		{&pg_scan_few, scope_types, SCOPE("few") ", NULL, NULL", 220, "Index Scan Backward using cenote_item_recent"},
		{&pg_scan_list, list_types, SCOPE("big") ", 'infinity', '', NULL, 512", 600, "cenote_item_recent"},
		{&pg_scan_list_all, all_types, SCOPE("few") ", 'infinity', '', NULL, 10, NULL, NULL", 4000, "store_prefix_idx"},
		{&pg_walk_page, walk_types, SCOPE("big") ", 'big', 'k5', 'k5', 256", 513, "cenote_item_name"},
		{&pg_walk_page, walk_types, "'', '', U&'\\+10FFFF', 'few.1', 'k5', 'k5', 256", 513, "cenote_item_name"},
		{&pg_walk_list, walk_types, SCOPE("few") ", 'few.1', '', NULL, 256", 4000, "store_prefix_idx"},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const struct plan_case *c = &cases[i];
		const char *text = plan(c->st, c->types, c->args);
		if (strstr(text, "Seq Scan") || !strstr(text, c->uses) || most_rows(text) > c->most || strstr(text, "JIT")) {
			fputs(text, stderr);
			fail_msg("%s: %s (%s) reads %ld rows, %ld are enough, by %s", when, c->st->name, c->args, most_rows(text),
				 c->most, c->uses);
		}
	}
}

/* The statements' plans for any parameter: no scan of a table, nothing sorted that the index has in order. */
static void plans(void **state)
{
	(void)state;
	sql("INSERT INTO store(prefix, key, value, updated_at) SELECT 'big', 'k' || i, jsonb_build_object('five', i % 5), "
	    "timestamptz "
	    "'2024-01-01' + i * interval '1 second' FROM generate_series(1, 20000) i");
	sql("INSERT INTO store(prefix, key, value, updated_at) SELECT 'few.' || i % 20, 'k' || i, jsonb_build_object('five', i % "
	    "5), "
	    "timestamptz '2024-01-01' + i * interval '1 second' FROM generate_series(1, 4000) i");
	sql("INSERT INTO cenote_item(mark, version, updated_at, prefix, key) SELECT xmin, 1, updated_at, prefix, key FROM store");
	sql("SET plan_cache_mode = force_generic_plan");
	check_plans("without statistics");
	sql("ANALYZE store");
	sql("ANALYZE cenote_item");
	check_plans("with statistics");
	sql("SET plan_cache_mode = force_custom_plan");
	check_plans("with statistics, planned for the parameters");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(read_at_once),
		TEST(times_that_are_none),
		TEST(values_come_back),
		TEST(scans),
		TEST(walks),
		TEST(namespaces),
		TEST(by_id),
		TEST(large_values),
		TEST(plans),
	};
	url = getenv("CENOTE_TEST_PG");
	if (!url || !*url) {
		fprintf(stderr, "CENOTE_TEST_PG is not set: skipped\n");
		return 77;
	}
	snprintf(schema, sizeof schema, "read%ld", (long)getpid());
	return cmocka_run_group_tests_name("postgres reads", tests, NULL, NULL);
}
