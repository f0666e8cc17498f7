/* Scopes against a plain reference: the same documents in an array, scored one by one. Scores must be the same bits. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/hash.h"
#include "index/order.h"
#include "index/question.h"

static uint64_t seed = 88172645463325252u;

static uint32_t random_below(uint32_t n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)(seed >> 33) % n;
}

/* ---------------------------------------------------------------- reference */

#define IDS 3000
static struct str docs[IDS]; /* by id; .p NULL: not there */
static struct arena a, scratch;

struct doc_terms {
	uint32_t len, tf[8];
};

static struct doc_terms read_doc(struct str doc, const struct query_term *q, size_t n)
{
	struct doc_terms out = {0};
	struct doc_reader r;
	struct doc_head h;
	uint32_t id, tf;

	assert_int_equal(doc_open(doc, &r, &h), DOC_GOOD);
	assert_true(doc_passage(&r, &out.len));
	while (doc_term(&r, &id, &tf))
		for (size_t t = 0; t < n; t++)
			if (q[t].id == id)
				out.tf[t] = tf;
	return out;
}

/* Scores of all ids, 0 for what is not there or has no term. */
static void reference(const struct query_term *q, size_t n, double *score)
{
	uint64_t count = 0, length = 0, df[8] = {0};
	struct bm25 c;

	for (int i = 0; i < IDS; i++) {
		struct doc_terms d;

		if (!docs[i].p)
			continue;
		d = read_doc(docs[i], q, n);
		count++;
		length += d.len;
		for (size_t t = 0; t < n; t++)
			df[t] += d.tf[t] > 0;
	}
	c = bm25_of(count, length);
	for (int i = 0; i < IDS; i++) {
		struct doc_terms d;

		score[i] = 0;
		if (!docs[i].p)
			continue;
		d = read_doc(docs[i], q, n);
		for (size_t t = 0; t < n; t++)
			if (d.tf[t])
				score[i] += bm25_part(&c, q[t].weight * bm25_idf(count, df[t]), d.tf[t], d.len);
	}
}

/* ------------------------------------------------------------------ helpers */

/* Words w0.. with falling frequency. */
static struct str random_text(struct arena *to)
{
	struct buf b;
	uint32_t words = random_below(60);

	buf_init(&b, to, 4096);
	for (uint32_t i = 0; i < words; i++) {
		uint32_t r = random_below(1000);

		buf_printf(&b, "w%u ", r * r / 2000);
	}
	return buf_slice(&b);
}

static struct str random_doc(void)
{
	struct str text = random_text(&scratch), doc;

	assert_int_equal(doc_of_texts(&a, lang_find(STR("english")), &text, 1, &doc), OK);
	return doc;
}

static void check_scope(struct scope *s)
{
	static double want[IDS];
	double *score = calloc(scope_row_slots(s) + 1, sizeof *score);
	struct query_term *q;
	struct scored *best;
	size_t n, best_n, total, matching = 0;
	struct bm25 c;
	struct str text = arena_printf(&scratch, "w%u w%u w%u w%u nosuchword", random_below(20), random_below(400),
				       random_below(400), random_below(400));

	assert_int_equal(question_terms(&scratch, 1u << lang_find(STR("english"))->id, text, &q, &n), OK);
	assert_true(n <= 5);
	reference(q, n, want);
	scope_query_prepare(s, q, n, &c);
	scope_score(s, q, n, &c, score, NULL);
	assert_int_equal(scope_best(s, score, IDS, 0, &scratch, &best, &best_n, &total), OK);
	for (int i = 0; i < IDS; i++)
		matching += want[i] > 0;
	assert_int_equal(total, matching);
	assert_int_equal(best_n, matching);
	for (size_t i = 0; i < best_n; i++) {
		uint32_t tf[8], len;
		struct doc_terms d = read_doc(docs[best[i].id], q, n);

		assert_true(best[i].score == want[best[i].id]); /* bit by bit */
		assert_true(i == 0 || scored_cmp(&best[i - 1], &best[i]) < 0);
		assert_true(scope_term_counts(s, best[i].id, q, n, tf, &len));
		assert_int_equal(len, d.len);
		assert_memory_equal(tf, d.tf, n * sizeof *tf);
	}
	/* A short list is the head of the long one, ties included. */
	for (size_t k = 1; k < 20 && k <= matching; k += 6) {
		struct scored *few;
		size_t few_n, ties = k;

		while (ties < best_n && best[ties].score == best[k - 1].score)
			ties++;
		assert_int_equal(scope_best(s, score, k, 4096, &scratch, &few, &few_n, &total), OK);
		assert_int_equal(few_n, ties);
		assert_memory_equal(few, best, few_n * sizeof *few);
	}
	free(score);
}

static void check_counts(const struct scope *s)
{
	uint64_t n = 0;

	for (int i = 0; i < IDS; i++) {
		n += docs[i].p != NULL;
		assert_int_equal(scope_has(s, i), docs[i].p != NULL);
	}
	assert_int_equal(s->docs, n);
	assert_int_equal(s->rows, n);
	assert_int_equal(s->lang_docs[lang_find(STR("english"))->id], n);
}

static void random_change(struct scope *s)
{
	int64_t id = random_below(IDS);

	if (random_below(4) == 0) {
		docs[id] = (struct str){NULL, 0};
		assert_int_equal(scope_remove(s, id), OK);
	} else {
		docs[id] = random_doc();
		assert_int_equal(scope_add(s, id, docs[id], STR("")), OK);
	}
}

/* A merge in three steps with changes in between, as it happens beside searches. */
static void merge_with_changes(struct scope *s, unsigned *merges)
{
	struct merge_plan plan, second;

	if (!scope_merge_plan(s, &plan))
		return;
	assert_false(scope_merge_plan(s, &second));
	++*merges;
	assert_int_equal(scope_merge_run(&plan), OK);
	for (int i = 0; i < 30; i++) {
		random_change(s);
		if (i % 7 == 0)
			assert_int_equal(scope_commit(s), OK);
	}
	assert_int_equal(scope_commit(s), OK);
	check_scope(s);
	scope_merge_install(s, &plan, true);
}

static int setup(void **state)
{
	(void)state;
	arena_init(&a, (size_t)1 << 30);
	arena_init(&scratch, (size_t)256 << 20);
	memset(docs, 0, sizeof docs);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	arena_release(&a);
	arena_release(&scratch);
	return 0;
}

static void test_random_changes(void **state)
{
	struct scope *s = scope_new(false);
	unsigned merges = 0;

	(void)state;
	assert_non_null(s);
	check_scope(s);
	for (int round = 0; round < 150; round++) {
		uint32_t n = 1 + random_below(round % 10 == 0 ? 600 : 12);

		for (uint32_t i = 0; i < n; i++)
			random_change(s);
		assert_int_equal(scope_commit(s), OK);
		if (round % 5 == 0) {
			check_counts(s);
			check_scope(s);
		}
		merge_with_changes(s, &merges);
		if (round % 5 == 0) {
			check_counts(s);
			check_scope(s);
		}
		assert_true(s->segs_n < 24);
		arena_clear(&scratch);
	}
	assert_true(merges > 3);
	assert_int_equal(scope_merge_all(s), OK);
	assert_int_equal(s->segs_n, 1);
	check_counts(s);
	check_scope(s);
	/* Everything goes. */
	for (int i = 0; i < IDS; i++) {
		assert_int_equal(scope_remove(s, i), OK);
		docs[i] = (struct str){NULL, 0};
	}
	assert_int_equal(scope_commit(s), OK);
	check_counts(s);
	check_scope(s);
	scope_free(s);
}

/* Loading in chunks that overflow the builder gives the same as one by one. */
static void test_load(void **state)
{
	struct scope *s = scope_new(false), *t = scope_new(false);

	(void)state;
	for (int round = 0; round < 3; round++)
		for (int i = IDS - 1; i >= 0; i--) { /* descending: rows are put in order */
			docs[i] = random_doc();
			assert_int_equal(scope_add(s, i, docs[i], STR("")), OK);
			assert_int_equal(scope_add(t, i, docs[i], STR("")), OK);
			if (i % 100 == 0)
				assert_int_equal(scope_commit(t), OK);
		}
	assert_int_equal(scope_merge_all(s), OK);
	check_counts(s);
	check_counts(t);
	check_scope(s);
	check_scope(t);
	assert_true(scope_bytes(s) < IDS * 200);
	scope_free(s);
	scope_free(t);
}

static void test_overflowing_builder(void **state)
{
	struct scope *s = scope_new(false);
	struct str doc = random_doc();

	(void)state;
	for (int i = 0; i < 60000; i++)
		assert_int_equal(scope_add(s, i, doc, STR("")), OK);
	assert_int_equal(scope_merge_all(s), OK);
	assert_int_equal(s->docs, 60000);
	assert_int_equal(s->segs_n, 1);
	scope_free(s);
}

static void test_damaged_document(void **state)
{
	struct scope *s = scope_new(false);

	(void)state;
	assert_int_equal(scope_add(s, 1, STR("\x01\x01\x00\xff"), STR("")), OK);
	assert_int_equal(scope_add(s, 2, STR("zzzz"), STR("")), OK);
	assert_int_equal(scope_commit(s), OK);
	assert_int_equal(s->docs, 2);
	assert_int_equal(s->length, 0);
	scope_free(s);
}

static struct str message(const char *text, const char *role)
{
	struct doc_message_in in = {str_c(text), STR(""), str_c(role), 0};
	struct str doc;

	assert_int_equal(doc_of_message(&a, lang_find(STR("english")), &in, &doc), OK);
	return doc;
}

/* Messages of several threads, arriving mixed, stand in order of thread and id. */
static void test_order(void **state)
{
	struct scope *s = scope_new(true);
	char long_text[2000];

	(void)state;
	for (size_t i = 0; i + 2 < sizeof long_text; i += 2)
		memcpy(long_text + i, "x ", 3);
	for (int i = 0; i < 300; i++) {
		int id = (i * 7) % 300;

		assert_int_equal(scope_add(s, id, message(id % 5 ? "short" : long_text, id % 2 ? "user" : "assistant"),
					   arena_printf(&a, "t%d", id % 4)),
				 OK);
		if (i % 50 == 49)
			assert_int_equal(scope_commit(s), OK);
	}
	for (int i = 0; i < 300; i += 10)
		assert_int_equal(scope_remove(s, i), OK);
	assert_int_equal(scope_commit(s), OK);
	assert_int_equal(scope_order_make(s), OK);
	assert_true(scope_order_current(s));
	assert_int_equal(s->order->n, 270);
	assert_int_equal(s->order->live_threads, 4);
	assert_int_equal(s->role_docs[ROLE_USER], 150);
	assert_int_equal(s->role_docs[ROLE_ASSISTANT], 120);
	for (uint32_t i = 0; i < s->order->n; i++) {
		const struct order_message *m = &s->order->m[i], *before = i ? m - 1 : NULL;

		assert_int_equal(m->rows, m->id % 5 ? 1 : 11);
		if (before && before->facts->thread == m->facts->thread) {
			assert_int_equal(m->id % 4, before->id % 4);
			assert_true(before->id < m->id);
		} else if (before)
			assert_true(before->facts->thread < m->facts->thread);
	}
	assert_int_equal(scope_add(s, 1000, message("late", "user"), STR("t0")), OK);
	assert_int_equal(scope_commit(s), OK);
	assert_false(scope_order_current(s));
	scope_free(s);
}

static void test_cost(void **state)
{
	struct scope *s = scope_new(false);
	uint64_t t0;
	int rounds = 500;

	(void)state;
	for (int i = 0; i < 10000; i++) {
		arena_clear(&scratch);
		assert_int_equal(scope_add(s, i, random_doc(), STR("")), OK);
	}
	assert_int_equal(scope_merge_all(s), OK);
	t0 = clock_mono_ns();
	for (int i = 0; i < rounds; i++) {
		double *score = calloc(scope_row_slots(s) + 1, sizeof *score);
		struct query_term *q;
		struct scored *best;
		struct bm25 c;
		size_t n, m, total;

		arena_clear(&scratch);
		assert_int_equal(question_terms(&scratch, scope_langs(s), STR("w1 w17 w99 w203 w371"), &q, &n), OK);
		scope_query_prepare(s, q, n, &c);
		scope_score(s, q, n, &c, score, NULL);
		assert_int_equal(scope_best(s, score, 10, 4096, &scratch, &best, &m, &total), OK);
		free(score);
	}
	print_message("search in 10,000 documents: %.1f us; %.1f bytes a document\n",
		      (double)(clock_mono_ns() - t0) / rounds / 1000.0, (double)scope_bytes(s) / 10000.0);
	scope_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_random_changes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_load, setup, teardown),
		cmocka_unit_test_setup_teardown(test_overflowing_builder, setup, teardown),
		cmocka_unit_test_setup_teardown(test_damaged_document, setup, teardown),
		cmocka_unit_test_setup_teardown(test_order, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cost, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
