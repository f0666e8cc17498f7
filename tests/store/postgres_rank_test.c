/* Ranking is the same on both drivers, bit by bit: for items that went through Cenote, and for those that another client wrote into
 * the shared table. On the server in CENOTE_TEST_PG; without the variable the program is skipped (exit 77). */
#include "base/test_util.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "bounds.h"
#include "core/memory.h"
#include "store/postgres/pg.h"
#include "temp_store.h"

enum { ITEMS = 300, QUERIES = 50, LIMIT = 40 };
static const struct principal me = {.tenant = STR_INIT("default"), .rights = RIGHT_ALL, .id = STR_INIT("test")};
static const char *url;
static char schema[2][64];

/* Where the items are: SQLite, PostgreSQL through Cenote, PostgreSQL written by another client. */
enum { SQLITE, OURS, THEIRS, PLACES };
struct place {
	struct store *s;
	struct memory *m;
} P[PLACES];
static PGconn *X;
static struct arena a;

static const char *const words[] = {"Berlin",	  "meeting",   "coffee", "planning", "gardens",	    "running",	      "daughter",
				    "Caf\\u00e9", "blue",      "house",	 "houses",   "train",	    "learned",	      "Kubernetes",
				    "budget",	  "quarterly", "dogs",	 "dog",	     "allergic",    "peanuts",	      "likes",
				    "prefers",	  "morning",   "2024",	 "12.5",     "na\\u00efve", "\\ud83d\\ude00", "deploying",
				    "team",	  "the",       "and",	 "not"};
#define WORDS (sizeof words / sizeof words[0])

static uint32_t dice(uint32_t sides)
{
	static uint32_t seed = 42;

	seed = seed * 1664525u + 1013904223u;
	return (seed >> 8) % sides;
}

static const char *word(void)
{
	return words[dice(WORDS)];
}

/* Values of many shapes: nested, arrays, numbers, empty, keys in any order. */
static struct str value(int i)
{
	struct buf b;

	buf_init(&b, &a, 1 << 20);
	buf_printf(&b, "{\"z%d\":%d,\"text\":\"", i % 5, i);
	for (uint32_t n = dice(40) + (uint32_t)(i % 13 == 0) * 300; n > 0; n--)
		buf_printf(&b, "%s%s", word(), dice(9) ? " " : ". ");
	buf_printf(&b, "\",\"about\":{\"name\":\"%s %s\",\"tags\":[\"%s\",%u,null,true,{\"deep\":\"%s\"}]}", word(), word(), word(),
		   dice(1000), word());
	if (i % 4 == 0)
		buf_printf(&b, ",\"%s\":\"%s\"", i % 8 ? "extra" : "A key", word());
	buf_lit(&b, "}");
	assert_int_equal(b.err, OK);
	return buf_slice(&b);
}

static void put(struct memory *m, struct str ns, struct str key, struct str v)
{
	struct op_put op = {.ns = ns, .key = key, .value = v, .ttl_minutes = TTL_DEFAULT};

	OKAY(memory_put(m, &a, &me, &op));
}

static void write_as_other(struct str ns, struct str key, struct str v)
{
	const char *const args[] = {arena_cstr(&a, ns), arena_cstr(&a, key), arena_cstr(&a, v)};
	PGresult *r =
		PQexecParams(X,
			     arena_cstr(&a, arena_printf(&a,
							 "INSERT INTO \"%s\".store(prefix, key, value) VALUES ($1, $2, $3::jsonb)"
							 " ON CONFLICT (prefix, key) DO UPDATE SET value = excluded.value",
							 schema[1])),
			     3, NULL, args, NULL, NULL, 0);

	if (PQresultStatus(r) != PGRES_COMMAND_OK)
		fail_msg("%s", PQerrorMessage(X));
	PQclear(r);
}

static void put_everywhere(int i)
{
	struct str ns = arena_printf(&a, "notes.u%d", i % 3), key = arena_printf(&a, "k%d", i), v = value(i);

	put(P[SQLITE].m, ns, key, v);
	put(P[OURS].m, ns, key, v);
	write_as_other(ns, key, v);
}

/* What others wrote is found at once or, when the scope was looked at just before, within 2 s. */
static void settle(void)
{
	uint64_t until = deadline_in_ms(AT_MOST(2000));
	struct pg_tenant *t;
	bool exact = false;

	OKAY(pg_tenant_get(pg_of(P[THEIRS].s), &me, RIGHT_READ, false, &t));
	while (!exact && clock_mono_ns() < until)
		OKAY(pg_verify(t, STR(""), &exact));
	assert_true(exact);
}

static int by_score(const void *x, const void *y)
{
	const struct hit *g = x, *h = y;
	int c = (g->score < h->score) - (g->score > h->score);

	return c ? c : str_cmp(g->item.key, h->item.key);
}

/* Hits of the same score may stand in the order of their times, which differ; the last score is cut off at the limit. */
static size_t search(int place, struct str prefix, struct str query, struct hit **hits)
{
	struct op_search op = {.prefix = prefix, .limit = LIMIT, .query = query, .refresh = TRI_NO};

	OKAY(memory_search(P[place].m, &a, &me, &op));
	*hits = op.hits;
	if (op.n)
		qsort(op.hits, op.n, sizeof *op.hits, by_score);
	return op.n;
}

static size_t compare(struct str prefix, struct str query)
{
	struct hit *want, *got;
	size_t n = search(SQLITE, prefix, query, &want);

	for (int k = OURS; k < PLACES; k++) {
		assert_int_equal(search(k, prefix, query, &got), n);
		for (size_t i = 0; i < n; i++) {
			assert_int_equal(want[i].scored, got[i].scored);
			if (memcmp(&want[i].score, &got[i].score, sizeof(double)) != 0)
				fail_msg("\"%.*s\", hit %zu: %.17g %.17g", STR_ARG(query), i, want[i].score, got[i].score);
			if ((n < LIMIT || want[i].score > want[n - 1].score) && !str_eq(want[i].item.key, got[i].item.key))
				fail_msg("\"%.*s\", hit %zu: %.*s %.*s", STR_ARG(query), i, STR_ARG(want[i].item.key),
					 STR_ARG(got[i].item.key));
		}
	}
	return n;
}

static struct str query(void)
{
	struct buf b;

	buf_init(&b, &a, 4096);
	for (uint32_t n = 1 + dice(5); n > 0; n--) {
		const char *w = word();

		buf_printf(&b, "%s ", w[0] == '\\' || strchr(w, '\\') ? "caf\u00e9" : w);
	}
	return buf_slice(&b);
}

static void same_everywhere(void **state)
{
	size_t hits = 0;

	(void)state;
	for (int i = 0; i < ITEMS; i++)
		put_everywhere(i);
	for (int round = 0; round < 2; round++) {
		settle();
		for (int i = 0; i < QUERIES / 2; i++)
			hits += compare(i % 3 ? STR("notes") : STR("notes.u1"), query());
		for (int i = 0; i < ITEMS; i += 7) /* new states of some */
			put_everywhere(i);
	}
	assert_true(hits > QUERIES * 5);
}

/* ------------------------------------------------------------------------ frame */

static void drop(void)
{
	PQclear(PQexec(X, "SET client_min_messages = error"));
	for (int i = 0; i < 2; i++)
		PQclear(PQexec(X, arena_cstr(&a, arena_printf(&a, "DROP SCHEMA IF EXISTS \"%s\" CASCADE", schema[i]))));
}

static int setup(void **state)
{
	struct memory_options opt = {.languages = STR("english")};

	(void)state;
	arena_init(&a, (size_t)512 << 20);
	X = PQconnectdb(url);
	assert_int_equal(PQstatus(X), CONNECTION_OK);
	drop();
	temp_new();
	OKAY(temp_open(NULL, &P[SQLITE].s));
	for (int i = 0; i < 2; i++) {
		struct store_options so = {.durable = true, .pg.schema = str_c(schema[i])};

		OKAY(store_open(str_c(url), &so, &P[OURS + i].s));
	}
	for (int i = 0; i < PLACES; i++) {
		/* One without a cache: each search reads all documents. */
		opt.index_cache_bytes = i == THEIRS ? 0 : (size_t)8 << 20;
		OKAY(memory_new(P[i].s, &opt, &P[i].m));
	}
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (int i = 0; i < PLACES; i++) {
		memory_free(P[i].m);
		P[i].s->ops->close(P[i].s);
	}
	drop();
	PQfinish(X);
	temp_remove();
	arena_release(&a);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(same_everywhere, setup, teardown)};

	url = getenv("CENOTE_TEST_PG");
	if (!url || !*url) {
		fprintf(stderr, "CENOTE_TEST_PG is not set: skipped\n");
		return 77;
	}
	log_set_level(LOG_WARN);
	for (int i = 0; i < 2; i++)
		snprintf(schema[i], sizeof schema[i], "rank%ld_%d", (long)getpid(), i);
	return cmocka_run_group_tests_name("ranking on both drivers", tests, NULL, NULL);
}
