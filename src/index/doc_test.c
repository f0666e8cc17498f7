/* Index documents: what goes in comes out; damaged bytes are found out, never followed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/hash.h"
#include "index/text.h"

static struct arena a;

static int setup(void **state)
{
	(void)state;
	arena_init(&a, 64u << 20);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	arena_release(&a);
	return 0;
}

static const struct lang *english(void)
{
	return lang_find(STR("english"));
}

/* Terms of the passage under way as "stem:tf" would be hard to name; so: frequency of the stem of a word, 0 when absent. */
static uint32_t tf_of(struct str doc, unsigned passage, const char *stem, bool pair, const char *second)
{
	uint32_t want = hash32(str_c(stem)), id, tf, len, found = 0;
	struct doc_reader r;
	struct doc_head h;

	assert_int_equal(doc_open(doc, &r, &h), DOC_GOOD);
	for (unsigned i = 0; i <= passage; i++)
		assert_true(doc_passage(&r, &len));
	if (pair)
		want = doc_pair_id(want, hash32(str_c(second)));
	while (pair ? doc_pair(&r, &id, &tf) : doc_term(&r, &id, &tf))
		if (id == want)
			found = tf;
	assert_false(r.bad);
	return found;
}

static void test_texts(void **state)
{
	struct str texts[] = {STR("color"), STR("The dogs chase dogs, and the cat"), STR("42")}, doc;
	struct doc_reader r;
	struct doc_head h;
	uint32_t len;

	(void)state;
	assert_int_equal(doc_of_texts(&a, english(), texts, 3, &doc), OK);
	assert_true(doc_valid(doc));
	assert_int_equal(doc_open(doc, &r, &h), DOC_GOOD);
	assert_int_equal(h.version, DOC_VERSION);
	assert_ptr_equal(h.lang, english());
	assert_false(h.is_message);
	assert_int_equal(h.passages, 1);
	assert_true(doc_passage(&r, &len));
	assert_int_equal(len, 6);
	assert_false(doc_passage(&r, &len));
	assert_false(r.bad);
	assert_int_equal(tf_of(doc, 0, "dog", false, NULL), 2);
	assert_int_equal(tf_of(doc, 0, "chase", false, NULL), 1);
	assert_int_equal(tf_of(doc, 0, "42", false, NULL), 1);
	assert_int_equal(tf_of(doc, 0, "the", false, NULL), 0);
	assert_int_equal(doc_of_texts(&a, english(), NULL, 0, &doc), OK);
	assert_true(doc_valid(doc));
}

static void test_paths(void **state)
{
	struct str text = STR("words"), paths[] = {STR("a.b"), STR(""), STR("c[*]")}, doc, *back;
	struct doc_reader r;
	struct doc_head h;
	size_t n;

	(void)state;
	assert_int_equal(doc_of_texts_at(&a, english(), &text, 1, paths, 3, &doc), OK);
	assert_true(doc_valid(doc));
	assert_int_equal(doc_open(doc, &r, &h), DOC_GOOD);
	assert_int_equal(doc_paths(&r, &a, &back, &n), OK);
	assert_int_equal(n, 3);
	for (size_t i = 0; i < 3; i++)
		assert_true(str_eq(back[i], paths[i]));
}

static struct str message(const char *content, const char *name, const char *role, int64_t time_us)
{
	struct doc_message_in in = {str_c(content), str_c(name), str_c(role), time_us};
	struct str doc;

	assert_int_equal(doc_of_message(&a, english(), &in, &doc), OK);
	assert_true(doc_valid(doc));
	return doc;
}

static struct doc_head head_of(struct str doc)
{
	struct doc_reader r;
	struct doc_head h;

	assert_int_equal(doc_open(doc, &r, &h), DOC_GOOD);
	return h;
}

static void test_message(void **state)
{
	int64_t time_us = clock_days(2024, 5, 12) * 86400000000 + 5;
	struct str doc = message("Did Rex chase the cat yesterday? I think so.", "Ann Lee", "person", time_us);
	struct doc_head h = head_of(doc);

	(void)state;
	assert_true(h.is_message);
	assert_int_equal(h.role, ROLE_PERSON);
	assert_int_equal(h.facts, FACT_TIME | FACT_SPEAKER | FACT_TIME_WORD);
	assert_int_equal(h.time_us, time_us);
	assert_int_equal(h.speaker, hash32(STR("ann lee")));
	assert_int_equal(h.name_terms_n, 2);
	assert_int_equal(h.name_terms[0], hash32(STR("ann")));
	/* 32 of 44 characters stand in the question. */
	assert_int_equal(h.ask, (32 * 255 + 22) / 44);
	/* Name, words and date are searchable. */
	assert_int_equal(tf_of(doc, 0, "ann", false, NULL), 1);
	assert_int_equal(tf_of(doc, 0, "chase", false, NULL), 1);
	assert_int_equal(tf_of(doc, 0, "may", false, NULL), 1);
	assert_int_equal(tf_of(doc, 0, "12", false, NULL), 1);
	assert_int_equal(tf_of(doc, 0, "2024", false, NULL), 1);
	/* Pairs skip stop words. */
	assert_int_equal(tf_of(doc, 0, "chase", true, "cat"), 1);
	assert_int_equal(tf_of(doc, 0, "cat", true, "chase"), 0);
}

static void test_facts(void **state)
{
	static const struct {
		const char *content, *role;
		int facts, role_out, ask;
	} rows[] = {
		{"Really?", "user", FACT_QUESTION, ROLE_USER, 255},
		{"Really? \"", "user", FACT_QUESTION, ROLE_USER, 255 * 7 / 9 + 1},
		{"本当？", "assistant", FACT_QUESTION, ROLE_ASSISTANT, 255},
		{"Really? Yes", "system", 0, ROLE_SYSTEM, (7 * 255 + 5) / 11},
		{"Is 3.5 fine?", "tool", FACT_QUESTION, ROLE_TOOL, 255},
		{"no", "judge", 0, ROLE_OTHER, 0},
		{"", "", 0, ROLE_OTHER, 0},
		{"1969 was a year", "user", FACT_TIME_WORD, ROLE_USER, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct doc_head h = head_of(message(rows[i].content, "", rows[i].role, 0));

		assert_int_equal(h.facts, rows[i].facts);
		assert_int_equal(h.role, rows[i].role_out);
		assert_in_range(h.ask + 1, rows[i].ask, rows[i].ask + 2);
		assert_int_equal(h.passages, 1);
	}
	/* Times before 1970, and unpunctuated text of a megabyte in one scan. */
	assert_int_equal(head_of(message("x", "", "user", -5)).time_us, -5);
}

static void test_passages(void **state)
{
	char text[8192];
	size_t n = 0;
	struct str doc;
	struct doc_reader r;
	struct doc_head h;
	uint32_t len, lens[3], k = 0;

	(void)state;
	for (int i = 0; i < 190; i++)
		n += (size_t)snprintf(text + n, sizeof text - n, "w%d ", i);
	assert_int_equal(head_of(message(text, "", "user", 0)).passages, 2);
	n += (size_t)snprintf(text + n, sizeof text - n, "final");
	doc = message(text, "", "user", 0);
	assert_int_equal(doc_open(doc, &r, &h), DOC_GOOD);
	assert_int_equal(h.passages, 3); /* 191 words: 63, 64 and 64 */
	while (doc_passage(&r, &len))
		lens[k++] = len;
	assert_int_equal(k, 3);
	assert_int_equal(lens[0] + lens[1] + lens[2], 191);
	assert_in_range(lens[0], 63, 64);
	assert_in_range(lens[2], 63, 64);
	assert_int_equal(tf_of(doc, 2, "final", false, NULL), 1);
	/* Without spaces between words: 200 characters a passage. */
	n = 0;
	for (int i = 0; i < 450; i++)
		n += (size_t)snprintf(text + n, sizeof text - n, "%s", i % 2 ? "東" : "京");
	assert_int_equal(head_of(message(text, "", "user", 0)).passages, 3);
}

static void test_compact(void **state)
{
	char text[4096];
	size_t n = 0;
	struct str s, doc;

	(void)state;
	for (int i = 0; i < 120; i++)
		n += (size_t)snprintf(text + n, sizeof text - n, "word%d ", i * 37);
	s = str_of(text, n);
	assert_int_equal(doc_of_texts(&a, english(), &s, 1, &doc), OK);
	assert_in_range(doc.n, 120 * 3, 120 * 5);
}

/* Every prefix of a document and every document with one byte changed: reading ends, inside. */
static void test_damage(void **state)
{
	struct str whole = message("When did Ann see the old house, the old house of May?", "Bob", "person", 1715500000000000);
	uint32_t len, id, tf;
	struct doc_reader r;
	struct doc_head h;

	(void)state;
	for (size_t cut = 0; cut < whole.n; cut++) {
		char *copy = malloc(cut + 1); /* so that a sanitizer sees a read behind it */

		memcpy(copy, whole.p, cut);
		assert_false(doc_valid(str_of(copy, cut)));
		free(copy);
	}
	for (size_t at = 0; at < whole.n; at++)
		for (unsigned bit = 0; bit < 8; bit++) {
			char *copy = malloc(whole.n);

			memcpy(copy, whole.p, whole.n);
			copy[at] = (char)(copy[at] ^ 1 << bit);
			if (doc_open(str_of(copy, whole.n), &r, &h) == DOC_GOOD)
				while (doc_passage(&r, &len))
					while (doc_term(&r, &id, &tf) || doc_pair(&r, &id, &tf))
						assert_in_range(tf, 1, DOC_TF_MAX);
			(void)doc_valid(str_of(copy, whole.n));
			free(copy);
		}
	assert_int_equal(doc_open(STR("\x02\x01\x00\x00"), &r, &h), DOC_OUTDATED);
	assert_int_equal(doc_open(STR(""), &r, &h), DOC_BAD);
}

static void test_cost(void **state)
{
	static const char sentence[] =
		"The quarterly report of the northern office lists eleven open orders, two late deliveries and one complaint. ";
	char text[1024];
	struct str s = {text, sizeof text}, doc;
	uint64_t t0;

	(void)state;
	for (size_t i = 0; i < sizeof text; i++)
		text[i] = sentence[i % (sizeof sentence - 1)];
	t0 = clock_mono_ns();
	for (int i = 0; i < 2000; i++) {
		assert_int_equal(doc_of_texts(&a, english(), &s, 1, &doc), OK);
		if (i % 64 == 0)
			arena_clear(&a);
	}
	print_message("index document of 1 KB: %.2f us\n", (double)(clock_mono_ns() - t0) / 2000.0 / 1000.0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_texts),  cmocka_unit_test(test_paths),	cmocka_unit_test(test_message),
		cmocka_unit_test(test_facts),  cmocka_unit_test(test_passages), cmocka_unit_test(test_compact),
		cmocka_unit_test(test_damage), cmocka_unit_test(test_cost),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
