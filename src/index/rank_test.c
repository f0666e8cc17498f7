/* The ranker: every feature with a small example worked out by hand, the sum, candidates of large scopes, edge cases. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "index/rank.h"

static struct arena a;
static struct scope *scope;
static int64_t next_id;

static int setup(void **state)
{
	(void)state;
	arena_init(&a, (size_t)256 << 20);
	scope = scope_new(true);
	next_id = 1;
	return scope ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	scope_free(scope);
	arena_release(&a);
	return 0;
}

static int64_t at_day(int y, unsigned m, unsigned d)
{
	return clock_days(y, m, d) * 86400000000 + 3600000000;
}

static int64_t say_at(const char *thread, const char *role, const char *name, const char *content, int64_t time_us)
{
	struct doc_message_in in = {str_c(content), str_c(name), str_c(role), time_us};
	struct str doc;

	assert_int_equal(doc_of_message(&a, lang_find(STR("english")), &in, &doc), OK);
	assert_int_equal(scope_add(scope, next_id, doc, str_c(thread)), OK);
	return next_id++;
}

static int64_t say(const char *thread, const char *name, const char *content)
{
	return say_at(thread, "person", name, content, 0);
}

static struct rank_result ask_with(struct rank_request rq)
{
	struct rank_result res;

	assert_int_equal(scope_commit(scope), OK);
	assert_int_equal(scope_order_make(scope), OK);
	if (!rq.want)
		rq.want = 100;
	rq.langs = 1u << lang_find(STR("english"))->id;
	assert_int_equal(rank_messages(scope, &a, &rq, &res), OK);
	for (size_t i = 0; i < res.n; i++) {
		assert_true(res.r[i].score >= 0 && res.r[i].score <= 1);
		assert_true(i == 0 || res.r[i - 1].score >= res.r[i].score);
	}
	return res;
}

static struct rank_result ask(const char *question)
{
	return ask_with((struct rank_request){.query = str_c(question)});
}

static const struct ranked *of(const struct rank_result *res, int64_t id)
{
	for (size_t i = 0; i < res->n; i++)
		if (res->r[i].id == id)
			return &res->r[i];
	fail_msg("message %d is not in the answer", (int)id);
	return NULL;
}

#define assert_feature(res, id, feature, want) assert_float_equal(of(&(res), (id))->f[feature], (want), 1e-6)

static void test_lex_and_pair(void **state)
{
	int64_t both = say("t", "", "red house"), apart = say("t", "", "house red"), one = say("t", "", "blue house"),
		none = say("t", "", "green garden");
	struct rank_result res = ask("the red house");
	/* N = 4, every length 2: bm of a term with tf 1 is its idf. */
	double red = log(1 + (4 - 2 + .5) / 2.5), house = log(1 + (4 - 3 + .5) / 3.5), pair = log(1 + (4 - 1 + .5) / 1.5);

	(void)state;
	assert_feature(res, both, RF_LEX, 1);
	assert_feature(res, apart, RF_LEX, 1);
	assert_feature(res, one, RF_LEX, house / (red + house));
	assert_feature(res, none, RF_LEX, 0);
	assert_feature(res, both, RF_PAIR, pair / (red + house));
	assert_feature(res, apart, RF_PAIR, 0);
	assert_int_equal(res.r[0].id, both);
	assert_false(res.roles);
	assert_int_equal(res.terms_n, 2);
}

static void test_passages_count_for_themselves(void **state)
{
	char text[4000];
	size_t n = 0;
	int64_t long_one, short_one;
	struct rank_result res;

	(void)state;
	for (int i = 0; i < 285; i++)
		n += (size_t)snprintf(text + n, sizeof text - n, "%s ", i == 100 ? "needle" : "hay");
	long_one = say("t", "", text);
	short_one = say("t", "", "needle");
	res = ask("needle");
	assert_int_equal(scope->rows, 4);
	assert_feature(res, short_one, RF_LEX, 1);
	assert_true(of(&res, long_one)->f[RF_LEX] > 0.3); /* as a passage of 95 words, not as a text of 285 */
}

static void test_neighbours(void **state)
{
	int64_t first = say("t", "", "needle in the hay?"), second = say("t", "", "yes indeed"),
		third = say("t", "", "lovely weather"), fourth = say("t", "", "quite so"), other = say("u", "", "another thread");
	struct rank_result res = ask("needle");

	(void)state;
	assert_feature(res, first, RF_LEX, 1);
	assert_feature(res, second, RF_ANSWER, 1); /* what comes before ends in a question mark */
	assert_feature(res, third, RF_ANSWER, 0);
	assert_feature(res, third, RF_PREV2, 1);
	assert_feature(res, second, RF_PREV2, 0);
	assert_feature(res, first, RF_ASK, 1);
	assert_feature(res, second, RF_ASK, 0);
	/* cover: in the passage or two beside it, never across a thread's border. */
	assert_feature(res, first, RF_COVER, 1);
	assert_feature(res, third, RF_COVER, 1);
	assert_feature(res, fourth, RF_COVER, 0);
	assert_feature(res, other, RF_COVER, 0);
	assert_feature(res, other, RF_PREV2, 0);
}

static void test_cover_is_a_share(void **state)
{
	int64_t x = say("t", "", "red sky"), y = say("t", "", "a house"), z = say("u", "", "house alone");
	struct rank_result res = ask("red house nosuchword");
	double red = log(1 + (3 - 1 + .5) / 1.5), house = log(1 + (3 - 2 + .5) / 2.5);

	(void)state;
	assert_feature(res, x, RF_COVER, 1); /* words that the scope lacks do not count */
	assert_feature(res, y, RF_COVER, 1);
	assert_feature(res, z, RF_COVER, house / (red + house));
}

static void test_sessions(void **state)
{
	int64_t hot = say("hot", "", "needle needle thread"), hot2 = say("hot", "", "other words"),
		warm = say("warm", "", "needle work"), warm2 = say("warm", "", "some words fill"),
		cold = say("cold", "", "nothing here");
	struct rank_result res = ask("needle");
	/* Lengths as the scope has counted them; tf of the word in each thread. */
	double len[3], parts[3] = {0}, avg = 0;
	const uint32_t tf[3] = {2, 1, 0};

	(void)state;
	for (int t = 0; t < 3; t++) {
		len[t] = (double)scope->order->thread_length[t];
		avg += len[t] / 3;
	}
	for (int t = 0; t < 3; t++)
		parts[t] = log(1 + (3 - 2 + .5) / 2.5) * tf[t] * 1.9 / (tf[t] + 0.9 * (0.6 + 0.4 * len[t] / avg));
	assert_feature(res, hot, RF_SESS, 1);
	assert_feature(res, hot2, RF_SESS, 1);
	assert_feature(res, warm, RF_SESS, parts[1] / parts[0]);
	assert_feature(res, warm2, RF_SESS, parts[1] / parts[0]);
	assert_feature(res, cold, RF_SESS, 0);
}

static void test_single_session(void **state)
{
	int64_t x = say("t", "", "needle"), y = say("t", "", "thread");
	struct rank_result res = ask("needle");

	(void)state;
	assert_feature(res, x, RF_SESS, 0);
	assert_feature(res, y, RF_SESS, 0);
}

static void test_dates(void **state)
{
	int64_t on = say_at("t", "person", "", "one", at_day(2024, 5, 12)),
		after = say_at("t", "person", "", "two", at_day(2024, 5, 19)),
		before = say_at("t", "person", "", "three", at_day(2024, 5, 8)), undated = say("t", "", "four"),
		year = say_at("t", "person", "", "five", at_day(2023, 5, 12));
	struct rank_result res = ask("what happened on 12 May 2024");

	(void)state;
	assert_int_equal(res.spans_n, 1);
	assert_feature(res, on, RF_DATE, 1);
	assert_feature(res, after, RF_DATE, exp(-1));
	assert_feature(res, before, RF_DATE, exp(-2));
	assert_feature(res, undated, RF_DATE, 0);
	assert_true(of(&res, year)->f[RF_DATE] < 1e-9);
	/* Date words are no terms: only "happened" is left. */
	assert_int_equal(res.terms_n, 1);
	res = ask("what happened on May 12th"); /* every year of the scope */
	assert_int_equal(res.spans_n, 2);
	assert_feature(res, year, RF_DATE, 1);
	assert_feature(res, on, RF_DATE, 1);
	/* The date in words is part of the text. */
	res = ask("2024");
	assert_true(of(&res, on)->f[RF_LEX] > 0);
}

static void test_when(void **state)
{
	int64_t timed = say("t", "", "we went last summer"), plain = say("t", "", "we went there");
	struct rank_result res = ask("When did we go?");

	(void)state;
	assert_feature(res, timed, RF_WHEN, 1);
	assert_feature(res, plain, RF_WHEN, 0);
	res = ask("Where did we go?");
	assert_feature(res, timed, RF_WHEN, 0);
}

static void test_speakers(void **state)
{
	int64_t ann = say("t", "Ann Lee", "I bought a boat"), bob = say("t", "Bob Lee", "I bought a car");
	struct rank_result res = ask("What did Ann buy?");

	(void)state;
	assert_feature(res, ann, RF_SPK, 1);
	assert_feature(res, bob, RF_SPK, 0);
	for (size_t i = 0; i < res.terms_n; i++)
		assert_float_equal(res.terms[i].weight, str_eq(res.terms[i].text, STR("ann")) ? 0.5 : 1.0, 0);
	res = ask("What did Ann and Bob buy?"); /* two are named */
	assert_feature(res, ann, RF_SPK, 0);
	assert_feature(res, bob, RF_SPK, 0);
	res = ask("What did Lee buy?"); /* which of them? */
	assert_feature(res, ann, RF_SPK, 0);
	res = ask("What did Bob Lee buy?");
	assert_feature(res, bob, RF_SPK, 1);
	assert_feature(res, ann, RF_SPK, 0);
}

static void test_roles(void **state)
{
	int64_t user = say_at("t", "user", "", "Is the needle sharp?", 0),
		reply = say_at("t", "assistant", "", "the needle is sharp", 0), tool = say_at("t", "tool", "", "needle", 0);
	struct rank_result res = ask("needle");
	const struct ranked *u = of(&res, user);

	(void)state;
	assert_true(res.roles);
	assert_feature(res, user, RF_USER, 1);
	assert_feature(res, reply, RF_USER, 0);
	assert_feature(res, tool, RF_USER, 0);
	/* With roles cover, answer, ask and spk weigh nothing. */
	assert_float_equal(u->sum,
			   3.7 * u->f[RF_LEX] + 1.5 * u->f[RF_PAIR] + 0.9 * u->f[RF_PREV2] + 0.8 * u->f[RF_SESS] +
				   3.9 * u->f[RF_DATE] + 0.9 * u->f[RF_WHEN] + 2.6 * u->f[RF_USER],
			   1e-12);
	assert_int_equal(res.r[0].id, user);
	/* What the assistant has said is not to be looked for among the user's messages. */
	res = ask("what did you say of the needle");
	assert_feature(res, user, RF_USER, 0);
	assert_feature(res, reply, RF_USER, 0);
	for (int f = 0; f < RF_COUNT; f++) {
		bool applies = rank_applies((enum rank_feature)f, true), words = f != RF_V && f != RF_VNEXT;

		assert_true(applies || rank_applies((enum rank_feature)f, false));
		assert_true((res.weights[f] != 0) == (applies && words));
	}
}

static void test_sum_without_roles(void **state)
{
	int64_t x = say("t", "Ann", "Where is the needle?"), y = say("t", "Bob", "the needle lies here");
	struct rank_result res = ask("needle of Ann");

	(void)state;
	for (int64_t id = x; id <= y; id++) {
		const struct ranked *r = of(&res, id);

		assert_float_equal(r->sum,
				   3.7 * r->f[RF_LEX] + 1.5 * r->f[RF_PAIR] + 0.9 * r->f[RF_PREV2] + 0.8 * r->f[RF_SESS] +
					   3.9 * r->f[RF_DATE] + 0.9 * r->f[RF_WHEN] + 3.6 * r->f[RF_COVER] +
					   3.1 * r->f[RF_ANSWER] - 2.3 * r->f[RF_ASK] + 1.2 * r->f[RF_SPK],
				   1e-12);
	}
}

static void test_ties_older_first(void **state)
{
	int64_t late = say_at("a", "person", "", "same words", at_day(2024, 2, 1)),
		early = say_at("b", "person", "", "same words", at_day(2024, 1, 1));
	struct rank_result res = ask("nosuchword");

	(void)state;
	assert_int_equal(res.n, 2);
	assert_int_equal(res.r[0].id, early);
	assert_int_equal(res.r[1].id, late);
	assert_false(res.newest_first);
}

static void test_no_words_newest_first(void **state)
{
	int64_t old = say_at("a", "person", "", "x", at_day(2024, 1, 1)),
		young = say_at("a", "person", "", "y", at_day(2024, 3, 1)),
		mid = say_at("b", "person", "", "z", at_day(2024, 2, 1));
	struct rank_result res = ask("what was the");

	(void)state;
	assert_true(res.newest_first);
	assert_int_equal(res.r[0].id, young);
	assert_int_equal(res.r[1].id, mid);
	assert_int_equal(res.r[2].id, old);
	assert_true(res.r[0].score > res.r[1].score);
}

static void test_restrictions(void **state)
{
	struct str threads[] = {STR("b"), STR("nosuch")};
	int64_t jan = say_at("a", "person", "", "needle", at_day(2024, 1, 5)),
		feb = say_at("b", "person", "", "needle", at_day(2024, 2, 5)), none = say("b", "", "needle");
	struct rank_result res;

	(void)state;
	res = ask_with((struct rank_request){.query = STR("needle"), .threads = threads, .threads_n = 2});
	assert_int_equal(res.n, 2);
	(void)of(&res, feb);
	(void)of(&res, none);
	res = ask_with((struct rank_request){.query = STR("needle"), .from_us = at_day(2024, 2, 1)});
	assert_int_equal(res.n, 1);
	assert_int_equal(res.r[0].id, feb);
	res = ask_with((struct rank_request){.query = STR("needle"), .to_us = at_day(2024, 1, 5)});
	assert_int_equal(res.n, 1);
	assert_int_equal(res.r[0].id, jan);
	res = ask_with((struct rank_request){.query = STR("needle"), .want = 1});
	assert_int_equal(res.n, 1);
	assert_int_equal(res.candidates, 3);
}

static void test_empty_scope(void **state)
{
	struct rank_result res = ask("needle");

	(void)state;
	assert_int_equal(res.n, 0);
	assert_int_equal(res.terms_n, 1);
}

static void test_removed_speakers_do_not_count(void **state)
{
	int64_t ann = say("t", "Ann Lee", "I bought a boat"), bob = say("t", "Bob Lee", "I bought a car");
	struct rank_result res;

	(void)state;
	assert_int_equal(scope_commit(scope), OK);
	assert_int_equal(scope_remove(scope, bob), OK);
	res = ask("what did Lee buy");
	assert_feature(res, ann, RF_SPK, 1);
}

/* Above 1,000 messages only the best of each arm are ranked; what stands at the head does not change. */
static void test_large_scope(void **state)
{
	struct rank_result res;
	char text[64];
	int64_t best = 0;

	(void)state;
	for (int i = 0; i < 3000; i++) {
		int64_t id;

		snprintf(text, sizeof text, "topic%d word%d filler", i % 7, i % 100);
		id = say_at(i % 2 ? "a" : "b", "user", "", text, at_day(2024, 1, 1) + (int64_t)i * 3600000000);
		if (i == 1234)
			best = say_at("a", "user", "", "topic3 word34 needle", at_day(2024, 6, 1));
		(void)id;
	}
	res = ask_with((struct rank_request){.query = STR("topic3 needle"), .want = 10});
	assert_int_equal(res.n, 10);
	assert_int_equal(res.candidates, RANK_PER_ARM);
	assert_int_equal(res.r[0].id, best);
	res = ask_with((struct rank_request){.query = STR("topic3 on 1 March 2024"), .want = 100});
	assert_int_equal(res.n, 100);
	assert_true(res.candidates > 4 * 100);
	/* Nothing matches: as many as asked for all the same. */
	res = ask_with((struct rank_request){.query = STR("nosuchword"), .want = 10});
	assert_int_equal(res.n, 10);
	/* No words: all are looked at, newest first. */
	res = ask_with((struct rank_request){.query = STR(""), .want = 5});
	assert_true(res.newest_first);
	assert_int_equal(res.n, 5);
	assert_int_equal(res.r[0].id, best);
}

static void test_cost(void **state)
{
	struct rank_result res;
	char text[64];
	uint64_t t0;

	(void)state;
	for (int i = 0; i < 900; i++) {
		snprintf(text, sizeof text, "topic%d word%d filler and more talk about place%d", i % 7, i % 100, i % 31);
		say_at(i % 20 < 10 ? "a" : "b", "user", "", text, at_day(2024, 1, 1) + (int64_t)i * 3600000000);
	}
	res = ask("topic3 word34 place4");
	t0 = clock_mono_ns();
	for (int i = 0; i < 200; i++)
		res = ask_with((struct rank_request){.query = STR("topic3 word34 place4"), .want = 10});
	print_message("ranking 900 messages: %.0f us\n", (double)(clock_mono_ns() - t0) / 200.0 / 1000.0);
	assert_int_equal(res.n, 10);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_lex_and_pair),
		TEST(test_passages_count_for_themselves),
		TEST(test_neighbours),
		TEST(test_cover_is_a_share),
		TEST(test_sessions),
		TEST(test_single_session),
		TEST(test_dates),
		TEST(test_when),
		TEST(test_speakers),
		TEST(test_roles),
		TEST(test_sum_without_roles),
		TEST(test_ties_older_first),
		TEST(test_no_words_newest_first),
		TEST(test_restrictions),
		TEST(test_empty_scope),
		TEST(test_removed_speakers_do_not_count),
		TEST(test_large_scope),
		TEST(test_cost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
