/* Facts (core/fact_store.h): items that say when they were true, and what was known before. */
#include "suite.h"

#include <stdio.h>
#include <string.h>

#include "core/fact_store.h"

#define F (S->ops->facts)

static struct item_write fact_of(const char *key, const char *value, struct fact_put *f, int64_t from)
{
	struct item_write w = put_of("n", key, value);
	*f = (struct fact_put){.valid_from_us = from, .valid_to_us = FACT_NONE};
	w.fact = f;
	return w;
}

static void put_fact(const char *key, const char *value, int64_t from)
{
	struct fact_put f;
	struct item_write w = fact_of(key, value, &f, from);
	write1(&w);
	assert_int_equal(w.err, OK);
	assert_true(w.changed);
}

static char text[8192];

static bool on_state(void *ctx, const struct fact_state *s)
{
	size_t n = strlen(text);
	(void)ctx;
	char from[32] = "-", to[32] = "-", end[32] = "-";
	if (s->valid_from_us != FACT_NONE)
		snprintf(from, sizeof from, "%lld", (long long)s->valid_from_us);
	if (s->valid_to_us != FACT_NONE)
		snprintf(to, sizeof to, "%lld", (long long)s->valid_to_us);
	if (s->ended_us != FACT_NONE)
		snprintf(end, sizeof end, "%lld", (long long)s->ended_us);
	assert_true(s->recorded_from_us <= s->recorded_to_us);
	snprintf(text + n, sizeof text - n, "%s%.*s:%.*s%s %s..%s/%s by %.*s", n ? ", " : "", STR_ARG(s->ns), STR_ARG(s->key),
		 s->fact ? "" : " item", from, to, end, STR_ARG(s->by));
	return true;
}

static const char *history(const char *key)
{
	text[0] = 0;
	assert_ok(F->history(S, &ALICE, STR("n"), str_c(key), 0, 0, 100, on_state, NULL));
	return text;
}

static const char *known_at(const char *prefix, int64_t us)
{
	text[0] = 0;
	assert_ok(F->known_at(S, &ALICE, str_c(prefix), us, 0, on_state, NULL));
	return text;
}

static const char *walk_states(const char *prefix)
{
	text[0] = 0;
	assert_ok(F->walk(S, &ALICE, str_c(prefix), STR(""), STR(""), 0, on_state, NULL));
	return text;
}

static void an_item_says_when_it_is_true(void **state)
{
	struct fact_put f;
	struct item_write w = fact_of("k", "{\"v\":1}", &f, -86400000000);
	(void)state;
	f.valid_to_us = 0; /* 1970 itself */
	write1(&w);
	struct item it = get_item("n", "k");
	assert_true(it.fact);
	assert_int_equal(it.valid_from_us, -86400000000);
	assert_int_equal(it.valid_to_us, 0);
	put("n", "plain", "{}");
	assert_false(get_item("n", "plain").fact);
	f = (struct fact_put){.valid_from_us = FACT_NONE, .valid_to_us = FACT_NONE};
	write1(&w);
	it = get_item("n", "k");
	assert_true(it.fact && it.valid_from_us == FACT_NONE && it.valid_to_us == FACT_NONE);
	S = suite_driver->reopen(S);
	assert_true(get_item("n", "k").fact);
	assert_string_equal(history("k"), "n:k -86400000000..0/- by k");
}

static void what_is_overwritten_is_kept(void **state)
{
	(void)state;
	put_fact("k", "{\"v\":1}", 1000);
	int64_t first = get_item("n", "k").updated_us;
	put_fact("k", "{\"v\":2}", 2000);
	int64_t second = get_item("n", "k").updated_us;
	/* A correction: nothing ended. */
	put_fact("k", "{\"v\":3}", 500);
	assert_string_equal(history("k"), "n:k 2000..-/- by k, n:k 1000..-/2000 by k");
	assert_string_equal(known_at("n", first), "n:k 1000..-/2000 by k");
	assert_string_equal(known_at("", second - 1), "n:k 1000..-/2000 by k");
	assert_string_equal(known_at("", second), "n:k 2000..-/- by k");
	assert_string_equal(known_at("n", first - 1), "");
	assert_string_equal(known_at("m", second), "");
	/* A put without validity: no fact any more, and what it overwrote is kept; the next keeps nothing. */
	put("n", "k", "{\"v\":4}");
	assert_false(get_item("n", "k").fact);
	put("n", "k", "{\"v\":5}");
	assert_string_equal(history("k"), "n:k 500..-/- by k, n:k 2000..-/- by k, n:k 1000..-/2000 by k");
	/* By every kind of put. */
	put_fact("k", "{\"v\":6}", 6000);
	struct item_write w = put_of("n", "k", "{\"v\":7}");
	w.cond = IF_VERSION;
	w.if_version = get_item("n", "k").version;
	write1(&w);
	assert_int_equal(w.err, OK);
	assert_false(get_item("n", "k").fact);
	put_fact("k", "{\"v\":8}", 8000);
	w = put_of("n", "k", "{\"v\":9}");
	w.keep_newer = true;
	w.updated_us = get_item("n", "k").updated_us + 1;
	write1(&w);
	assert_true(w.changed);
	text[0] = 0;
	assert_ok(F->history(S, &ALICE, STR("n"), STR("k"), 0, 0, 2, on_state, NULL));
	assert_string_equal(text, "n:k 8000..-/- by k, n:k 6000..-/- by k");
}

/* A write that is not made keeps nothing. */
static void refused_writes(void **state)
{
	struct fact_put f;
	struct item_write w;
	(void)state;
	put_fact("k", "{\"v\":1}", 1000);
	w = fact_of("k", "{\"v\":2}", &f, 2000);
	w.cond = IF_ABSENT;
	write1(&w);
	assert_int_equal(w.err, E_CONFLICT);
	w.cond = IF_VERSION;
	w.if_version = 77;
	write1(&w);
	assert_int_equal(w.err, E_CONFLICT);
	w.cond = IF_ANY;
	w.keep_newer = true;
	w.updated_us = 5;
	write1(&w);
	assert_false(w.changed);
	struct item_write two[2] = {fact_of("k", "{\"v\":3}", &f, 3000), put_of("n", "k", "{}")};
	two[1].cond = IF_ABSENT;
	assert_err(E_CONFLICT, S->ops->item_write(S, &ALICE, two, 2, true));
	assert_string_equal(history("k"), "");
	assert_int_equal(get_item("n", "k").valid_from_us, 1000);
}

static void superseding(void **state)
{
	struct fact_put by = {.valid_from_us = 9000, .valid_to_us = FACT_NONE, .by = STR("new")}, f;
	struct item_write w[4] = {
		{.op = W_RETIRE, .ns = STR("n"), .key = STR("old"), .fact = &by, .updated_us = 4000000000000000},
		{.op = W_RETIRE, .ns = STR("n"), .key = STR("plain"), .fact = &by, .updated_us = 4000000000000000},
		{.op = W_RETIRE, .ns = STR("n"), .key = STR("absent"), .fact = &by, .updated_us = 4000000000000000},
		fact_of("new", "{\"v\":2}", &f, 9000)};
	(void)state;
	put_fact("old", "{\"v\":1}", 1000);
	put("n", "plain", "{\"v\":0}");
	assert_ok(S->ops->item_write(S, &ALICE, w, 4, true));
	assert_true(w[0].existed && w[0].changed && !w[2].existed && !w[2].changed);
	assert_string_equal(scan("n"), "n:new");
	assert_string_equal(history("old"), "n:old 1000..-/9000 by new");
	assert_string_equal(history("plain"), "n:plain item -..-/9000 by new");
	assert_string_equal(history("absent"), "");
	assert_string_equal(walk_states(""), "n:old 1000..-/9000 by new, n:plain item -..-/9000 by new");
	assert_string_equal(known_at("", 4000000000000000), "");
	text[0] = 0;
	assert_ok(F->walk(S, &ALICE, STR("n"), STR("n"), STR("old"), 4000000000000000, on_state, NULL));
	assert_string_equal(text, "n:plain item -..-/9000 by new");
	/* The history belongs to its tenant. */
	text[0] = 0;
	assert_ok(F->history(S, &BOB, STR("n"), STR("old"), 0, 0, 10, on_state, NULL));
	assert_ok(F->walk(S, &BOB, STR(""), STR(""), STR(""), 0, on_state, NULL));
	assert_string_equal(text, "");
}

static void deleting_forgets(void **state)
{
	struct item_write d = {.op = W_DELETE, .ns = STR("n"), .key = STR("k")};
	struct fact_put by = {.valid_from_us = FACT_NONE, .valid_to_us = FACT_NONE, .by = STR("x")};
	struct item_write r = {.op = W_RETIRE, .ns = STR("n"), .key = STR("k"), .fact = &by};
	(void)state;
	put_fact("k", "{\"v\":1}", 1000);
	put_fact("k", "{\"v\":2}", 2000);
	put_fact("other", "{\"v\":1}", 1);
	put_fact("other", "{\"v\":2}", 2);
	write1(&d);
	assert_true(d.existed && d.changed && d.forgot);
	assert_string_equal(history("k"), "");
	write1(&d);
	assert_false(d.existed || d.changed || d.forgot);
	/* Of a key that was superseded only the history is there. */
	put_fact("k", "{\"v\":3}", 3000);
	write1(&r);
	assert_string_equal(history("k"), "n:k 3000..-/- by x");
	write1(&d);
	assert_true(!d.existed && d.forgot);
	assert_string_equal(walk_states("n"), "n:other 1..-/2 by other");
}

static void expiry(void **state)
{
	struct fact_put f, by = {.valid_from_us = FACT_NONE, .valid_to_us = FACT_NONE, .by = STR("x")};
	struct item_write w = fact_of("k", "{\"v\":1}", &f, 1000);
	struct item_write r = {.op = W_RETIRE, .ns = STR("n"), .key = STR("gone"), .fact = &by, .updated_us = 2000000};
	int64_t next, at = 1000000 + 600000000;
	unsigned removed;
	(void)state;
	w.ttl_minutes = 10;
	w.updated_us = 1000000;
	write1(&w);
	w.updated_us = 1000001;
	write1(&w);
	w.key = STR("gone");
	w.updated_us = 1000000;
	write1(&w);
	write1(&r);
	assert_string_equal(walk_states(""), "n:gone 1000..-/- by x, n:k 1000..-/- by k");
	text[0] = 0;
	assert_ok(F->history(S, &ALICE, STR("n"), STR("gone"), 0, at + 1, 10, on_state, NULL));
	assert_ok(F->known_at(S, &ALICE, STR("n"), 1500000, at + 1, on_state, NULL));
	assert_string_equal(text, "");
	assert_string_equal(known_at("n", 1500000), "n:gone 1000..-/- by x");
	assert_ok(S->ops->sweep(S, at + 2, 100, &removed, &next));
	assert_int_equal(removed, 1);
	assert_int_equal(next, 0);
	assert_string_equal(walk_states(""), "");
}

static void a_long_history_is_bounded(void **state)
{
	struct fact_put f[FACT_HISTORY_MAX + 3];
	struct item_write w[FACT_HISTORY_MAX + 3];
	size_t n = sizeof f / sizeof *f;
	(void)state;
	for (size_t i = 0; i < n; i++) {
		w[i] = fact_of("k", "{}", &f[i], (int64_t)i);
		w[i].updated_us = 1000 + (int64_t)i;
	}
	for (size_t i = 0; i < n; i += 251)
		assert_ok(S->ops->item_write(S, &ALICE, w + i, n - i < 251 ? n - i : 251, true));
	text[0] = 0;
	assert_ok(F->history(S, &ALICE, STR("n"), STR("k"), 1003, 0, 10, on_state, NULL));
	assert_string_equal(text, "n:k 2..-/3 by k"); /* 0 and 1 are gone */
}

static void kept_states(void **state)
{
	struct fact_state v[3] = {{.ns = STR("n"),
				   .key = STR("k"),
				   .value = STR("{\"v\":1}"),
				   .recorded_from_us = 10,
				   .recorded_to_us = 20,
				   .valid_from_us = 5,
				   .valid_to_us = FACT_NONE,
				   .ended_us = 15,
				   .by = STR("k"),
				   .terms = STR(""),
				   .fact = true}};
	size_t stored;
	(void)state;
	v[1] = v[0];
	v[1].recorded_from_us = 20;
	v[1].recorded_to_us = 30;
	v[2] = v[0]; /* twice in a call */
	assert_ok(F->keep(S, &ALICE, v, 3, &stored));
	assert_int_equal(stored, 2);
	assert_ok(F->keep(S, &ALICE, v, 1, &stored));
	assert_int_equal(stored, 0);
	assert_string_equal(history("k"), "n:k 5..-/15 by k, n:k 5..-/15 by k");
	assert_string_equal(known_at("", 19), "n:k 5..-/15 by k");
	assert_string_equal(scan(""), "");
}

int suite_facts(void)
{
	const struct CMUnitTest tests[] = {
		SUITE_TEST(an_item_says_when_it_is_true),
		SUITE_TEST(what_is_overwritten_is_kept),
		SUITE_TEST(refused_writes),
		SUITE_TEST(superseding),
		SUITE_TEST(deleting_forgets),
		SUITE_TEST(expiry),
		SUITE_TEST(a_long_history_is_bounded),
		SUITE_TEST(kept_states),
	};
	return cmocka_run_group_tests_name("facts", tests, NULL, NULL);
}
