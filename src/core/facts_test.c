/* Facts over the in-memory store: putting, history, as of a time, who may; and that store's own part of it. */
#include "core/facts.h"
#include "core/portable.h"
#include "core/testing.h"

#define T0 INT64_C(1600000000000000) /* times of writing, given: in order, and not those of the test */

static struct op_put fact(const char *key, const char *value, int64_t from, int64_t written)
{
	return (struct op_put){.ns = STR("n.bob"),
			       .key = str_c(key),
			       .value = str_c(value),
			       .fact = true,
			       .valid_from_us = from,
			       .valid_to_us = FACT_NONE,
			       .updated_us = written};
}

static void put_fact(struct bench *b, const char *key, const char *value, int64_t from, int64_t written)
{
	struct op_put op = fact(key, value, from, written);

	OKAY(memory_put(b->m, &b->a, &ann, &op));
}

/* "value from..to/ended by key" of each state. */
static const char *states(struct bench *b, const char *key, int64_t before_us, uint32_t limit, bool *more)
{
	struct fact_history h = {.ns = STR("n.bob"), .key = str_c(key), .before_us = before_us, .limit = limit};
	struct str s = STR("");

	OKAY(facts_history(b->m, &b->a, &ann, &h));
	for (size_t i = 0; i < h.n; i++)
		s = arena_printf(&b->a, "%.*s%s%.*s %d..%d by %.*s", STR_ARG(s), i ? ", " : "", STR_ARG(h.v[i].value),
				 (int)h.v[i].valid_from_us, h.v[i].ended_us == FACT_NONE ? -1 : (int)h.v[i].ended_us,
				 STR_ARG(h.v[i].by));
	if (more)
		*more = h.more;
	return arena_cstr(&b->a, s);
}

static const char *as_of(struct bench *b, const char *key, int64_t at)
{
	struct op_get op = {.ns = STR("n.bob"), .key = str_c(key), .refresh = TRI_NO};

	OKAY(facts_get_as_of(b->m, &b->a, &ann, &op, at));
	return op.found ? arena_cstr(&b->a, op.item.value) : "-";
}

static void history_and_times(void **state)
{
	struct bench b;
	bool more;

	bench_init(&b);
	for (int i = 0; i < 4; i++)
		put_fact(&b, "k", (const char *[]){"{\"v\":0}", "{\"v\":1}", "{\"v\":2}", "{\"v\":3}"}[i], 10 * i, T0 + 100 * i);
	assert_string_equal(states(&b, "k", 0, 2, &more), "{\"v\":2} 20..30 by k, {\"v\":1} 10..20 by k");
	assert_true(more);
	assert_string_equal(states(&b, "k", T0 + 100, 2, &more), "{\"v\":0} 0..10 by k");
	assert_false(more);
	assert_string_equal(as_of(&b, "k", T0 - 1), "-");
	assert_string_equal(as_of(&b, "k", T0), "{\"v\":0}");
	assert_string_equal(as_of(&b, "k", T0 + 199), "{\"v\":1}");
	assert_string_equal(as_of(&b, "k", T0 + 300), "{\"v\":3}");
	/* An ordinary put ends being one, and its own value leaves nothing behind. */
	put(&b, "n.bob", "k", "{\"v\":4}");
	put(&b, "n.bob", "k", "{\"v\":5}");
	assert_string_equal(states(&b, "k", 0, 1, &more), "{\"v\":3} 30..-1 by k");
	assert_string_equal(states(&b, "none", 0, 1, &more), "");
	bench_release(&b);
}

static void superseding_and_forgetting(void **state)
{
	static const struct str keys[] = {STR_INIT("old"), STR_INIT("plain"), STR_INIT("none"), STR_INIT("old"), STR_INIT("new")};
	struct bench b;
	struct op_put op = fact("new", "{\"v\":1}", 50, T0 + 100), del = {.ns = STR("n.bob"), .key = STR("old")};

	bench_init(&b);
	put_fact(&b, "old", "{\"v\":0}", 10, T0);
	put(&b, "n.bob", "plain", "{}");
	op.supersedes = keys;
	op.supersedes_n = 5;
	op.cond = IF_VERSION; /* which does not hold: nothing is superseded */
	op.if_version = 7;
	FAILS(memory_put(b.m, &b.a, &ann, &op), E_CONFLICT);
	assert_string_equal(value_as(&b, &ann, "n.bob", "old"), "{\"v\":0}");
	assert_string_equal(states(&b, "old", 0, 9, NULL), "");
	op.cond = IF_ABSENT;
	OKAY(memory_put(b.m, &b.a, &ann, &op));
	assert_int_equal(op.superseded, 2);
	assert_string_equal(value_as(&b, &ann, "n.bob", "old"), "");
	assert_string_equal(value_as(&b, &ann, "n.bob", "new"), "{\"v\":1}");
	assert_string_equal(states(&b, "old", 0, 9, NULL), "{\"v\":0} 10..50 by new");
	OKAY(memory_put(b.m, &b.a, &ann, &del));
	assert_true(del.forgot && !del.existed);
	assert_string_equal(states(&b, "old", 0, 9, NULL), "");
	OKAY(memory_put(b.m, &b.a, &ann, &del));
	assert_false(del.forgot);
	bench_release(&b);
}

static void what_is_refused(void **state)
{
	struct str many[SUPERSEDES_MAX + 1], empty = STR("");
	struct bench b;
	struct op_put op = fact("k", "{}", 20, 0);
	struct fact_history h = {.ns = STR("n.bob"), .key = STR("k"), .limit = 1};
	struct op_get get = {.ns = STR("n.bob"), .key = STR("k")};

	bench_init(&b);
	op.valid_to_us = 19;
	FAILS(memory_put(b.m, &b.a, &ann, &op), E_INVALID);
	assert_string_equal(diag_get()->field, "valid_to");
	op.valid_to_us = 20;
	for (size_t i = 0; i <= SUPERSEDES_MAX; i++)
		many[i] = STR("x");
	op.supersedes = many;
	op.supersedes_n = SUPERSEDES_MAX + 1;
	FAILS(memory_put(b.m, &b.a, &ann, &op), E_INVALID);
	op.supersedes_n--;
	op.fact = false;
	FAILS(memory_put(b.m, &b.a, &ann, &op), E_INVALID);
	op.fact = true;
	op.supersedes = &empty;
	op.supersedes_n = 1;
	FAILS(memory_put(b.m, &b.a, &ann, &op), E_INVALID);
	assert_string_equal(value_as(&b, &ann, "n.bob", "k"), "");
	op.supersedes_n = 0;
	FAILS(memory_put(b.m, &b.a, &reader, &op), E_DENIED);
	h.limit = 0;
	FAILS(facts_history(b.m, &b.a, &ann, &h), E_INVALID);
	h.limit = 1001;
	FAILS(facts_history(b.m, &b.a, &ann, &h), E_INVALID);
	h.limit = 1;
	OKAY(memory_put(b.m, &b.a, &ann, &op));
	OKAY(memory_put(b.m, &b.a, &ann, &op));
	/* A user's key reaches only what has the user's id in it; another tenant has a history of its own. */
	FAILS(facts_history(b.m, &b.a, &bound, &h), E_DENIED);
	FAILS(facts_get_as_of(b.m, &b.a, &bound, &get, INT64_MAX - 1), E_DENIED);
	OKAY(facts_history(b.m, &b.a, &other, &h));
	assert_int_equal(h.n, 0);
	OKAY(facts_history(b.m, &b.a, &reader, &h));
	assert_int_equal(h.n, 1);
	bench_release(&b);
}

static void a_long_history(void **state)
{
	struct fact_history h = {.ns = STR("n.bob"), .key = STR("k"), .limit = 1000};
	struct bench b;

	bench_init(&b);
	for (int i = 0; i < FACT_HISTORY_MAX + 5; i++)
		put_fact(&b, "k", "{}", i, T0 + i);
	OKAY(facts_history(b.m, &b.a, &ann, &h));
	assert_int_equal(h.n, FACT_HISTORY_MAX);
	assert_false(h.more);
	assert_int_equal(h.v[0].valid_from_us, FACT_HISTORY_MAX + 3);
	assert_int_equal(h.v[h.n - 1].valid_from_us, 4);
	bench_release(&b);
}

/* More than a chunk of an export: items and states come whole, once, and in order. */
static void there_and_back(void **state)
{
	enum { KEYS = 30, STATES = 40 };
	struct export_state st = {.items = true}, again = {.items = true};
	struct import_result r;
	struct buf x, y;
	struct bench b, c;
	char key[8];

	bench_init(&b);
	bench_init(&c);
	for (int k = 0; k < KEYS; k++) {
		snprintf(key, sizeof key, "k%02d", k);
		for (int i = 0; i <= STATES; i++)
			put_fact(&b, key, "{ \"a\":\n1}", i, T0 + i);
	}
	buf_init(&x, NULL, (size_t)64 << 20);
	buf_init(&y, NULL, (size_t)64 << 20);
	for (int chunks = 0; !st.done; chunks++) {
		OKAY(portable_export(b.m, &ann, &st, &x));
		assert_true(chunks < 10);
	}
	assert_int_equal(st.lines, KEYS * (STATES + 1));
	OKAY(portable_import(c.m, &c.a, &ann, buf_slice(&x), IMPORT_REPLACE, false, &r));
	assert_int_equal(r.stored, KEYS * (STATES + 1));
	while (!again.done)
		OKAY(portable_export(c.m, &ann, &again, &y));
	assert_true(str_eq(buf_slice(&x), buf_slice(&y)));
	OKAY(portable_import(c.m, &c.a, &ann, buf_slice(&x), IMPORT_REPLACE, false, &r));
	assert_int_equal(r.unchanged, KEYS * (STATES + 1));
	buf_release(&x);
	buf_release(&y);
	bench_release(&b);
	bench_release(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(history_and_times), cmocka_unit_test(superseding_and_forgetting),
		cmocka_unit_test(what_is_refused),   cmocka_unit_test(a_long_history),
		cmocka_unit_test(there_and_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
