/* Questions: terms in several languages, dates, openings. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/hash.h"
#include "index/question.h"

static struct arena a;

static int setup(void **state)
{
	(void)state;
	arena_init(&a, 16 << 20);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	arena_release(&a);
	return 0;
}

static uint32_t bit(const char *name)
{
	return 1u << lang_find(str_c(name))->id;
}

static bool has(const struct query_term *q, size_t n, const char *stem)
{
	for (size_t i = 0; i < n; i++)
		if (q[i].id == hash32(str_c(stem)) && str_eq(q[i].text, str_c(stem)))
			return true;
	return false;
}

static void test_terms(void **state)
{
	struct query_term *q;
	size_t n;

	(void)state;
	assert_int_equal(question_terms(&a, bit("english"), STR("Dogs and dogs, the running dog"), &q, &n), OK);
	assert_int_equal(n, 2);
	assert_true(q[0].id < q[1].id);
	assert_true(has(q, n, "dog") && has(q, n, "run"));
	assert_float_equal(q[0].weight, 1, 0);
	/* Two languages: the union; "die" is a stop word of one of them only. */
	assert_int_equal(question_terms(&a, bit("english") | bit("german"), STR("die katzen"), &q, &n), OK);
	assert_int_equal(n, 3);
	assert_true(has(q, n, "die") && has(q, n, "katz") && has(q, n, "katzen"));
	assert_int_equal(question_terms(&a, bit("english"), STR("what is the"), &q, &n), OK);
	assert_int_equal(n, 0);
}

static void test_too_many_terms(void **state)
{
	struct query_term *q;
	struct buf b;
	size_t n;

	(void)state;
	buf_init(&b, &a, 1 << 20);
	for (int i = 0; i < 1000; i++)
		buf_printf(&b, "x%d ", i);
	assert_int_equal(question_terms(&a, bit("none"), buf_slice(&b), &q, &n), OK);
	assert_int_equal(n, QUESTION_TERMS_MAX);
	assert_true(has(q, n, "x0"));
	assert_false(has(q, n, "x999"));
}

static void test_pairs(void **state)
{
	struct query_term *q;
	size_t n;

	(void)state;
	assert_int_equal(question_pairs(&a, bit("english"), STR("the red house of cards"), &q, &n), OK);
	assert_int_equal(n, 2);
	for (size_t i = 0; i < n; i++)
		assert_true(q[i].id == doc_pair_id(hash32(STR("red")), hash32(STR("hous"))) ||
			    q[i].id == doc_pair_id(hash32(STR("hous")), hash32(STR("card"))));
	assert_int_equal(question_pairs(&a, bit("english"), STR("東京都"), &q, &n), OK);
	assert_int_equal(n, 0);
}

static int64_t day(int y, unsigned m, unsigned d)
{
	return clock_days(y, m, d);
}

static void test_dates(void **state)
{
	static const struct {
		const char *lang, *text;
		int y;
		unsigned m, d; /* y 0: no date; d 0: the whole month */
		const char *rest;
	} rows[] = {
		{"english", "What happened on 12 May 2024?", 2024, 5, 12, "What happened on            ?"},
		{"english", "What happened on May 12, 2024?", 2024, 5, 12, "What happened on             ?"},
		{"english", "on May 12th", 2023, 5, 12, "on         "},
		{"english", "the 3rd of March 2022 it rained", 2022, 3, 3, NULL},
		{"english", "in May 2024", 2024, 5, 0, "in         "},
		{"english", "in december", 2023, 12, 0, NULL},
		{"english", "you may 12 times", 0, 0, 0, "you may 12 times"},
		{"english", "may 2024", 0, 0, 0, NULL},
		{"english", "February 29", 0, 0, 0, NULL}, /* 2023 has none */
		{"english", "February 29 2024", 2024, 2, 29, NULL},
		{"english", "no date 12 2024", 0, 0, 0, "no date 12 2024"},
		{"german", "Was war am 3. M\xc3\xa4rz 2024?", 2024, 3, 3, NULL},
		{"french", "le 1er ao\xc3\xbbt 2024", 2024, 8, 1, NULL},
		{"spanish", "el 5 de mayo de 2024", 2024, 5, 5, NULL},
		{"russian", "\x35 \xd0\xbc\xd0\xb0\xd1\x8f 2024", 2024, 5, 5, NULL},
		{"none", "12 May 2024", 0, 0, 0, NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct span *s;
		struct str rest;
		size_t n;

		assert_int_equal(question_dates(&a, bit(rows[i].lang), str_c(rows[i].text), 2023, 2023, &s, &n, &rest), OK);
		if (n != (rows[i].y != 0))
			fail_msg("\"%s\": %zu dates", rows[i].text, n);
		if (n) {
			assert_int_equal(s[0].from, day(rows[i].y, rows[i].m, rows[i].d ? rows[i].d : 1));
			assert_int_equal(s[0].to, rows[i].d ? s[0].from
							    : day(rows[i].m == 12 ? rows[i].y + 1 : rows[i].y,
								  rows[i].m == 12 ? 1 : rows[i].m + 1,
								  1) - 1);
		}
		if (rows[i].rest && !str_eq(rest, str_c(rows[i].rest)))
			fail_msg("\"%s\": rest \"%.*s\"", rows[i].text, STR_ARG(rest));
	}
}

static void test_every_year(void **state)
{
	struct span *s;
	struct str rest;
	size_t n;

	(void)state;
	assert_int_equal(question_dates(&a, bit("english"), STR("May 12"), 2020, 2024, &s, &n, &rest), OK);
	assert_int_equal(n, 5);
	assert_int_equal(s[4].from, day(2024, 5, 12));
	/* No message has a time: no years, no dates; the words go all the same. */
	assert_int_equal(question_dates(&a, bit("english"), STR("May 12"), 1, 0, &s, &n, &rest), OK);
	assert_int_equal(n, 0);
	assert_int_equal(question_dates(&a, bit("english"), STR("May 12"), -5000, 5000, &s, &n, &rest), OK);
	assert_int_equal(n, QUESTION_SPANS_MAX);
}

static void test_closeness(void **state)
{
	struct span s[2] = {{100, 110}, {200, 200}};

	(void)state;
	assert_float_equal(date_closeness(s, 1, 100), 1, 0);
	assert_float_equal(date_closeness(s, 1, 110), 1, 0);
	assert_float_equal(date_closeness(s, 1, 117), exp(-1), 1e-15);
	assert_float_equal(date_closeness(s, 1, 96), exp(-2), 1e-15);
	assert_float_equal(date_closeness(s, 2, 200), 1, 0);
	assert_float_equal(date_closeness(s, 0, 100), 0, 0);
}

static void test_asks_when(void **state)
{
	static const struct {
		const char *lang, *text;
		bool yes;
	} rows[] = {
		{"english", "When did she leave?", true},
		{"english", "  how long did it take", true},
		{"english", "What date was it", true},
		{"english", "whenever you like", false},
		{"english", "What dates", false},
		{"english", "And when?", false},
		{"english", "when", true},
		{"german", "Wann war das?", true},
		{"german", "Wie lange?", true},
		{"german", "When was it", false},
		{"spanish", "Cu\xc3\xa1ndo fue", true},
		{"none", "when", false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		if (question_asks_when(&a, bit(rows[i].lang), str_c(rows[i].text)) != rows[i].yes)
			fail_msg("\"%s\" in %s", rows[i].text, rows[i].lang);
}

static void test_asks_told(void **state)
{
	static const struct {
		const char *lang, *text;
		bool yes;
	} rows[] = {
		{"english", "Which library did you suggest for charts?", true},
		{"english", "remind me of your recipe", true},
		{"english", "The book You Recommended", true},
		{"english", "In our previous chat, what was the third step?", true},
		{"english", "Can you tell me where I parked?", false},
		{"english", "Do you remember my sister's name?", false},
		{"english", "What did yourk say", false},
		{"english", "who told thee", false},
		{"english", "Which resistor do I need, according to you?", true},
		{"english", "Can you remind me of the shop with the milkshakes?", true},
		{"english", "Can you recommend a lens? Do you think that I need one?", false},
		{"english", "could you list what you listed before", true},
		{"english", "What have I told you about my car, if you remember?", false},
		{"english", "What do you know about me", false},
		{"english", "you", true},
		{"english", "can you", false},
		{"english", "can your list", true},
		{"english", "", false},
		{"german", "did you say so", false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		if (question_asks_told(&a, bit(rows[i].lang), str_c(rows[i].text)) != rows[i].yes)
			fail_msg("\"%s\" in %s", rows[i].text, rows[i].lang);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_terms),	  cmocka_unit_test(test_too_many_terms), cmocka_unit_test(test_pairs),
		cmocka_unit_test(test_dates),	  cmocka_unit_test(test_every_year),	 cmocka_unit_test(test_closeness),
		cmocka_unit_test(test_asks_when), cmocka_unit_test(test_asks_told),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
