/* Tokenizer tables in several scripts, stop words, stems, limits, threads. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/hash.h"
#include "index/text.h"

static const struct lang *lang(const char *name)
{
	const struct lang *l = lang_find(str_c(name));

	assert_non_null(l);
	return l;
}

/* Stems of a text with bars between them. */
static struct str stems(struct arena *a, const char *language, struct str text)
{
	struct text_word *w;
	struct terms t;
	struct buf b;
	size_t n;

	assert_int_equal(text_words(a, lang(language), text, &w, &n), OK);
	buf_init(&b, a, 1 << 20);
	terms_init(&t);
	text_analyse(lang(language), text, &t);
	assert_false(t.failed);
	assert_int_equal(t.n, n);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(t.ids[i], w[i].id);
		assert_int_equal(t.flags[i], w[i].flags);
		if (i)
			buf_byte(&b, '|');
		buf_str(&b, w[i].stem);
	}
	terms_release(&t);
	return buf_slice(&b);
}

static void expect(const char *language, const char *text, const char *want)
{
	struct arena a;
	struct str got;

	arena_init(&a, 1 << 22);
	got = stems(&a, language, str_c(text));
	if (!str_eq(got, str_c(want)))
		fail_msg("%s: \"%s\" gives \"%.*s\", expected \"%s\"", language, text, STR_ARG(got), want);
	arena_release(&a);
}

static void test_splitting(void **state)
{
	(void)state;
	expect("none", "", "");
	expect("none", "  ,.-  ", "");
	expect("none", "Hello, World!", "hello|world");
	expect("none", "preferred_workspace=12345", "preferred|workspace|12345");
	expect("none", "don't 3.14 a-b", "don|t|3|14|a|b");
	expect("none", "x\xff\xfey", "x|y");
	expect("none", "tail\xc3", "tail");
}

static void test_folding(void **state)
{
	(void)state;
	expect("none", "Caf\xc3\xa9 CAFE\xcc\x81 cafe", "cafe|cafe|cafe");
	expect("none",
	       "Stra\xc3\x9f"
	       "e STRASSE",
	       "strasse|strasse");
	expect("none", "\xef\xbc\xa1\xef\xbc\xa2\xef\xbc\x91", "ab1"); /* full width */
	expect("none", "\xef\xac\x81n", "fin");			       /* ligature fi */
	expect("none", "\xc3\x85ngstr\xc3\xb6m", "angstrom");
	expect("none", "\xce\x9f\xce\x94\xce\x9f\xce\xa3 \xce\xbf\xce\xb4\xcf\x8c\xcf\x82", "οδοσ|οδοσ"); /* final sigma, tonos */
	expect("none",
	       "\xe2\x80\x9cquoted\xe2\x80\x9d\xe2\x80\x94"
	       "dash",
	       "quoted|dash");
	expect("none", "\xd0\x9c\xd0\xbe\xd0\xb9 \xd0\xbc\xd0\xbe\xd0\xb8\xcc\x86 \xd1\x91\xd0\xbb\xd0\xba\xd0\xb0",
	       "мой|мой|елка");
	expect("none",
	       "zero\xe2\x80\x8bwidth so\xc2\xad"
	       "ft",
	       "zerowidth|soft");
}

static void test_scripts_without_spaces(void **state)
{
	(void)state;
	expect("none", "東京都", "東京|京都");
	expect("none", "猫", "猫");
	expect("none", "私はAIが好き", "私は|ai|が好|好き");
	expect("none", "ガイド", "ガイ|イド");
	expect("none", "か\xe3\x82\x99く", "がく"); /* voicing mark as a character of its own */
	expect("none", "ｶﾞｲ", "ガイ");		    /* half width */
	expect("none", "日本。東京", "日本|東京");
	expect("none", "\xe0\xb8\x81\xe0\xb8\xb2\xe0\xb9\x81", "\xe0\xb8\x81\xe0\xb8\xb2|\xe0\xb8\xb2\xe0\xb9\x81");
	expect("none", "한국어 텍스트", "한국어|텍스트");
}

static void test_other_scripts(void **state)
{
	(void)state;
	expect("none", "\xe0\xa4\xb9\xe0\xa4\xbf\xe0\xa4\x82\xe0\xa4\xa6\xe0\xa5\x80", "हिंदी");	      /* vowel signs stay */
	expect("none", "\xd8\xa7\xd9\x84\xd8\xb3\xd9\x8e\xd9\x91\xd9\x84\xd8\xa7\xd9\x85", "السلام"); /* points go */
	expect("none", "\xd7\xa9\xd6\xb8\xd7\x9c\xd7\x95\xd6\xb9\xd7\x9d", "שלום");
}

static void test_stop_words_and_stems(void **state)
{
	static const struct {
		const char *lang, *text, *want;
	} rows[] = {
		{"english", "What are the running dogs doing in their houses?", "run|dog|hous"},
		{"english", "The fairly connected connections", "fair|connect|connect"},
		{"english", "I don't can't won't it's", ""},
		{"german", "Die Katzen sind in den Häusern", "katz|haus"},
		{"german", "für über würde", ""},
		{"french", "Les éléments sont élevés", "element|elev"},
		{"spanish", "Los niños están corriendo en las calles", "nin|corr|call"},
		{"italian", "I ragazzi sono nelle città", "ragazz|citt"},
		{"portuguese", "As crianças estavam nas casas", "crianc|estav|cas"},
		{"dutch", "De huizen van de buren", "huiz|bur"},
		{"swedish", "Flickorna är i husen", "flick|hus"},
		{"norwegian", "Jentene er i husene", "jent|hus"},
		{"danish", "Pigerne er i husene", "pig|hus"},
		{"finnish", "Minä olen talossa", "talo"},
		{"russian", "Новый дом и новая книга", "нов|дом|нов|книг"},
		{"none", "The dogs are running", "the|dogs|are|running"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		expect(rows[i].lang, rows[i].text, rows[i].want);
}

static void test_time_words(void **state)
{
	static const struct {
		const char *lang, *text;
		bool time;
	} rows[] = {
		{"english", "we met Yesterday", true}, {"english", "back in 2023", true}, {"english", "we met", false},
		{"english", "12345", false},	       {"german", "gestern abend", true}, {"german", "am Abend", false},
		{"none", "yesterday", false},
	};
	struct terms t;

	(void)state;
	terms_init(&t);
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		terms_clear(&t);
		text_analyse(lang(rows[i].lang), str_c(rows[i].text), &t);
		assert_int_equal(t.has_time, rows[i].time);
	}
	terms_release(&t);
}

static void test_long_tokens(void **state)
{
	char text[2000];
	struct terms t;

	(void)state;
	/* Above TOKEN_MAX bytes a token is hashed as it is. */
	memset(text, 'a', sizeof text);
	memcpy(text + TOKEN_MAX + 1 - 3, "ing", 3);
	terms_init(&t);
	text_analyse(lang("english"), str_of(text, TOKEN_MAX + 1), &t);
	assert_int_equal(t.n, 1);
	assert_int_equal(t.ids[0], hash32(str_of(text, TOKEN_MAX + 1)));
	/* Very long ones: one term each, different ones differ, also in their middle. */
	terms_clear(&t);
	memset(text, 'b', sizeof text);
	text_analyse(lang("english"), str_of(text, 1999), &t);
	text[700] = 'c';
	text_analyse(lang("english"), str_of(text, 1999), &t);
	text_analyse(lang("english"), str_of(text, 1998), &t);
	assert_int_equal(t.n, 3);
	assert_int_not_equal(t.ids[0], t.ids[1]);
	assert_int_not_equal(t.ids[1], t.ids[2]);
	terms_release(&t);
}

/* The cache of stems never changes a result, however many words have passed. */
static void test_cache_does_not_matter(void **state)
{
	struct terms first, again, filler;
	char word[32];

	(void)state;
	terms_init(&first);
	terms_init(&again);
	terms_init(&filler);
	text_analyse(lang("english"), STR("running houses the connection of dogs"), &first);
	for (int i = 0; i < 50000; i++) {
		snprintf(word, sizeof word, "word%dings", i * 7919);
		terms_clear(&filler);
		text_analyse(lang(i % 2 ? "english" : "german"), str_c(word), &filler);
		assert_int_equal(filler.n, 1);
	}
	text_analyse(lang("english"), STR("running houses the connection of dogs"), &again);
	assert_int_equal(first.n, again.n);
	assert_memory_equal(first.ids, again.ids, first.n * sizeof *first.ids);
	terms_release(&first);
	terms_release(&again);
	terms_release(&filler);
}

static void *analyse_in_thread(void *arg)
{
	struct terms *t = arg;

	for (int i = 0; i < 200; i++) {
		terms_clear(t);
		text_analyse(lang_find(STR("english")), STR("Threads are stemming the same words, again and again"), t);
		text_analyse(lang_find(STR("russian")), STR("\xd0\xbd\xd0\xbe\xd0\xb2\xd1\x8b\xd0\xb9"), t);
	}
	return NULL;
}

static void test_threads(void **state)
{
	struct terms t[4];
	pthread_t th[4];

	(void)state;
	for (int i = 0; i < 4; i++) {
		terms_init(&t[i]);
		assert_int_equal(pthread_create(&th[i], NULL, analyse_in_thread, &t[i]), 0);
	}
	for (int i = 0; i < 4; i++) {
		pthread_join(th[i], NULL);
		assert_int_equal(t[i].n, t[0].n);
		assert_memory_equal(t[i].ids, t[0].ids, t[0].n * sizeof(uint32_t));
	}
	for (int i = 0; i < 4; i++)
		terms_release(&t[i]);
}

static void test_languages(void **state)
{
	size_t n;
	const struct lang *all = lang_table(&n);

	(void)state;
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(all[i].id, i);
		assert_ptr_equal(lang_find(str_c(all[i].name)), &all[i]);
		assert_non_null(strstr(lang_all(), lang_name(&all[i])));
	}
	assert_ptr_equal(lang_find(STR("English")), lang_find(STR("english")));
	assert_null(lang_find(STR("klingon")));
	assert_null(lang_by_id(200));
}

static void test_sorting(void **state)
{
	uint32_t v[1000], tmp[1000];
	uint64_t w[1000], wtmp[1000], x = 88172645463325252u;

	(void)state;
	for (size_t n = 0; n < 1000; n += n < 40 ? 1 : 97) {
		for (size_t i = 0; i < n; i++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			v[i] = (uint32_t)x;
			w[i] = x;
		}
		sort_u32(v, tmp, n);
		sort_u64(w, wtmp, n, 0, 64);
		for (size_t i = 1; i < n; i++) {
			assert_true(v[i - 1] <= v[i]);
			assert_true(w[i - 1] <= w[i]);
		}
	}
}

/* What a word costs; printed, not judged. */
static void test_cost(void **state)
{
	static const char text[] = "The assistant remembered that the meeting with the design team had been moved to Thursday "
				   "afternoon, because two of the "
				   "engineers were travelling. She asked whether somebody could bring the printed drafts, and he "
				   "promised to send the figures "
				   "before lunch. Nothing else was decided, apart from the colour of the new cover and a list of "
				   "open questions for the vendor. ";
	struct terms t;
	uint64_t t0;
	size_t words = 0;

	(void)state;
	for (const char *p = text; *p; p++)
		words += *p == ' ';
	terms_init(&t);
	text_analyse(lang("english"), STR(text), &t);
	t0 = clock_mono_ns();
	for (int i = 0; i < 2000; i++) {
		terms_clear(&t);
		text_analyse(lang("english"), STR(text), &t);
	}
	print_message("analysis: %.1f ns a word\n", (double)(clock_mono_ns() - t0) / 2000.0 / (double)words);
	terms_release(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_splitting),
		cmocka_unit_test(test_folding),
		cmocka_unit_test(test_scripts_without_spaces),
		cmocka_unit_test(test_other_scripts),
		cmocka_unit_test(test_stop_words_and_stems),
		cmocka_unit_test(test_time_words),
		cmocka_unit_test(test_long_tokens),
		cmocka_unit_test(test_cache_does_not_matter),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_languages),
		cmocka_unit_test(test_sorting),
		cmocka_unit_test(test_cost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
