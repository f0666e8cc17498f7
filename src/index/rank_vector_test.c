/* The ranker with vectors: v, vnext and the sum against a plain implementation in doubles, candidates of large scopes, missing
 * vectors, repetitions, modes; items against a ranking of all of them. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "index/rank_items.h"

#define DIMS 48
#define ROOM 4096 /* documents of a test */
/* Cosines of kept vectors err by some 1e-6. */
#define NEAR 2e-4

static struct arena a;
static struct scope *scope;
static struct vector_scope *vectors;
static int64_t next_id;
static uint64_t seed;
static float kept[ROOM][DIMS];
static bool has[ROOM];

static int setup(void **state)
{
	(void)state;
	arena_init(&a, (size_t)512 << 20);
	vectors = vector_scope_new(DIMS);
	next_id = 1;
	seed = 42;
	memset(has, 0, sizeof has);
	scope = NULL;
	return vectors ? 0 : -1;
}

static int setup_messages(void **state)
{
	int r = setup(state);

	scope = scope_new(true);
	return scope ? r : -1;
}

static int setup_items(void **state)
{
	int r = setup(state);

	scope = scope_new(false);
	return scope ? r : -1;
}

static int teardown(void **state)
{
	(void)state;
	scope_free(scope);
	vector_scope_free(vectors);
	arena_release(&a);
	return 0;
}

static uint32_t draw(uint32_t below)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(seed >> 33) % below;
}

static void random_vector(float *v)
{
	for (int d = 0; d < DIMS; d++)
		v[d] = (float)draw(2001) / 1000.0f - 1.0f;
}

static void give(int64_t id, const float *v)
{
	struct str blob;
	struct vector packed;

	memcpy(kept[id], v, sizeof kept[id]);
	has[id] = true;
	assert_int_equal(vector_pack(&a, v, DIMS, &blob), OK);
	assert_int_equal(vector_unpack(blob, &packed), OK);
	assert_int_equal(vector_scope_put(vectors, id, &packed), OK);
}

static double cosine(const float *x, const float *y)
{
	double xy = 0, xx = 0, yy = 0;

	for (int d = 0; d < DIMS; d++) {
		xy += (double)x[d] * (double)y[d];
		xx += (double)x[d] * (double)x[d];
		yy += (double)y[d] * (double)y[d];
	}
	return xy / sqrt(xx * yy);
}

static int64_t say_as(const char *thread, const char *role, const char *name, const char *text, int64_t time_us)
{
	struct doc_message_in in = {str_c(text), str_c(name), str_c(role), time_us};
	struct str doc;

	assert_true(next_id < ROOM);
	assert_int_equal(doc_of_message(&a, lang_find(STR("english")), &in, &doc), OK);
	assert_int_equal(scope_add(scope, next_id, doc, str_c(thread)), OK);
	return next_id++;
}

static struct rank_result ask_with(struct rank_request rq, const float *question)
{
	struct vector_question q;
	struct rank_result res;

	assert_int_equal(scope_commit(scope), OK);
	if (scope->messages)
		assert_int_equal(scope_order_make(scope), OK);
	if (!rq.want)
		rq.want = 100;
	rq.langs = 1u << lang_find(STR("english"))->id;
	rq.vectors = vectors;
	if (question) {
		assert_int_equal(vector_question_make(&a, question, DIMS, &q), OK);
		rq.question = &q;
	}
	assert_int_equal(rank_messages(scope, &a, &rq, &res), OK);
	return res;
}

static const struct ranked *find(const struct rank_result *res, int64_t id)
{
	for (size_t i = 0; i < res->n; i++)
		if (res->r[i].id == id)
			return &res->r[i];
	return NULL;
}

/* --------------------------------------------------- the formulas, plainly */

struct plain {
	double v[ROOM], vnext[ROOM];
};

/* ids first..last are the messages; thread_of gives their threads; all are candidates. */
static void plain_vectors(struct plain *p, const float *question, int64_t last, int (*thread_of)(int64_t id))
{
	double lowest = INFINITY, highest = -INFINITY, sum = 0;
	int n = 0;

	for (int64_t id = 1; id <= last; id++)
		if (has[id]) {
			double c = fmax(0, cosine(kept[id], question));

			lowest = fmin(lowest, c);
			highest = fmax(highest, c);
			n++;
		}
	for (int64_t id = 1; id <= last; id++)
		if (has[id]) {
			p->v[id] = (fmax(0, cosine(kept[id], question)) - lowest) / (highest - lowest + 1e-9);
			sum += p->v[id];
		}
	for (int64_t id = 1; id <= last; id++)
		if (!has[id])
			p->v[id] = sum / n;
	for (int64_t id = 1; id <= last; id++) {
		p->vnext[id] = 0;
		for (int64_t next = id + 1; next <= last; next++)
			if (thread_of(next) == thread_of(id)) {
				p->vnext[id] = p->v[next];
				break;
			}
	}
}

static int by_three(int64_t id)
{
	return (int)(id % 3);
}

static void talk(int n, unsigned without)
{
	static const char *const threads[] = {"a", "b", "c"};
	char text[80];
	float v[DIMS];

	for (int i = 0; i < n; i++) {
		int64_t id;

		snprintf(text, sizeof text, "topic%u word%u place%u%s", draw(7), draw(50), draw(9), draw(4) ? "" : "?");
		id = say_as(threads[by_three(next_id)], "person", i % 2 ? "Ann" : "Bob", text,
			    1700000000000000 + (int64_t)i * 3600000000);
		random_vector(v);
		if (!without || draw(without))
			give(id, v);
	}
}

/* Every message's v, vnext, and the sum of its features by the weights of the design. */
static void check_all(const struct rank_result *res, const struct plain *p, int64_t last)
{
	static const double full[RF_COUNT] = {
		[RF_LEX] = 2.0, [RF_PAIR] = 1.0,  [RF_PREV2] = 0.7, [RF_SESS] = 0.5,   [RF_DATE] = 3.8, [RF_WHEN] = 0.8,
		[RF_V] = 3.4,	[RF_VNEXT] = 1.2, [RF_COVER] = 3.3, [RF_ANSWER] = 2.8, [RF_ASK] = -3.0, [RF_SPK] = 1.2};

	assert_int_equal(res->n, last);
	for (int64_t id = 1; id <= last; id++) {
		const struct ranked *r = find(res, id);
		double sum = 0;

		assert_non_null(r);
		assert_float_equal(r->f[RF_V], p->v[id], NEAR);
		assert_float_equal(r->f[RF_VNEXT], p->vnext[id], NEAR);
		for (int f = 0; f < RF_COUNT; f++)
			sum += full[f] * r->f[f];
		assert_float_equal(r->sum, sum, 1e-9);
		assert_true(has[id] == !isnan(r->cosine));
	}
	for (size_t i = 1; i < res->n; i++)
		assert_true(res->r[i - 1].sum >= res->r[i].sum);
}

static void formulas(void **state)
{
	struct plain *p = calloc(1, sizeof *p);
	struct rank_result res;
	float q[DIMS];

	(void)state;
	talk(300, 0);
	for (int round = 0; round < 5; round++) {
		random_vector(q);
		plain_vectors(p, q, 300, by_three);
		res = ask_with((struct rank_request){.query = STR("topic3 word4 of Ann"), .want = 300}, q);
		assert_int_equal(res.mode, RANK_AUTO);
		check_all(&res, p, 300);
	}
	free(p);
}

static void missing_vectors_get_the_mean(void **state)
{
	struct plain *p = calloc(1, sizeof *p);
	struct rank_result res;
	float q[DIMS];

	(void)state;
	talk(300, 4);
	assert_true(vectors->rows > 150 && vectors->rows < 300);
	random_vector(q);
	plain_vectors(p, q, 300, by_three);
	res = ask_with((struct rank_request){.query = STR("topic3 word4"), .want = 300}, q);
	check_all(&res, p, 300);
	free(p);
}

/* Too few vectors, none, or no question: the weights of words alone, and nothing of vectors in the score. */
static void words_alone(void **state)
{
	struct rank_request rq = {.query = STR("topic3 word4"), .want = 300};
	struct rank_result res;
	float q[DIMS];

	(void)state;
	talk(100, 0);
	for (int64_t id = 1; id <= 51; id++)
		assert_true(vector_scope_remove(vectors, id));
	random_vector(q);
	res = ask_with(rq, q);
	assert_int_equal(res.mode, RANK_BY_WORDS);
	assert_float_equal(res.weights[RF_LEX], 3.7, 0);
	for (size_t i = 0; i < res.n; i++)
		assert_true(res.r[i].f[RF_V] == 0 && res.r[i].f[RF_VNEXT] == 0 && isnan(res.r[i].cosine));
	give(1, q);
	res = ask_with(rq, q);
	assert_int_equal(res.mode, RANK_AUTO);
	assert_float_equal(res.weights[RF_LEX], 2.0, 0);
	assert_int_equal(ask_with(rq, NULL).mode, RANK_BY_WORDS);
	rq.mode = RANK_BY_WORDS;
	assert_int_equal(ask_with(rq, q).mode, RANK_BY_WORDS);
}

static void vectors_alone(void **state)
{
	struct rank_request rq = {.query = STR("topic3 word4"), .want = 300, .mode = RANK_BY_VECTORS};
	struct rank_result res;
	float q[DIMS];

	(void)state;
	talk(100, 3);
	random_vector(q);
	res = ask_with(rq, q);
	assert_int_equal(res.mode, RANK_BY_VECTORS);
	assert_int_equal(res.n, vectors->rows);
	for (size_t i = 1; i < res.n; i++)
		if (cosine(kept[res.r[i - 1].id], q) > 0.001)
			assert_true(cosine(kept[res.r[i - 1].id], q) >= cosine(kept[res.r[i].id], q) - 5e-5);
	/* No vectors at all: nothing is found, not something else. */
	for (int64_t id = 1; id <= 100; id++)
		(void)vector_scope_remove(vectors, id);
	assert_int_equal(ask_with(rq, q).n, 0);
}

static void other_dimensions(void **state)
{
	struct vector_question q;
	struct rank_request rq = {.query = STR("topic3"), .want = 5, .question = &q, .vectors = vectors};
	struct rank_result res;
	float two[2] = {1, 0};

	(void)state;
	talk(20, 0);
	assert_int_equal(scope_commit(scope), OK);
	assert_int_equal(scope_order_make(scope), OK);
	assert_int_equal(vector_question_make(&a, two, 2, &q), OK);
	assert_int_equal(rank_messages(scope, &a, &rq, &res), E_INVALID);
}

/* Without words the vector decides; the times and threads asked for still hold. */
static void no_words(void **state)
{
	struct str threads[] = {STR("b")};
	struct rank_result res;
	float q[DIMS];

	(void)state;
	talk(60, 0);
	random_vector(q);
	give(31, q); /* thread b */
	res = ask_with((struct rank_request){.query = STR("what was the")}, q);
	assert_false(res.newest_first);
	assert_float_equal(find(&res, 31)->f[RF_V], 1, 1e-6);
	assert_true(rank_evidence(find(&res, 31)));
	res = ask_with((struct rank_request){.query = STR("what was the"), .threads = threads, .threads_n = 1}, q);
	assert_int_equal(res.n, 20);
	res = ask_with((struct rank_request){.query = STR("?"), .from_us = 1700000000000000 + (int64_t)50 * 3600000000}, q);
	assert_int_equal(res.n, 10);
	assert_null(find(&res, 31));
}

/* Of a large scope the nearest messages are candidates although no word of the question is in them. */
static void large_scope(void **state)
{
	struct rank_result res;
	float q[DIMS], v[DIMS];

	(void)state;
	talk(2500, 0);
	random_vector(q);
	for (int64_t id = 100; id < 2500; id += 500) {
		memcpy(v, q, sizeof v);
		v[id % DIMS] += 0.3f;
		give(id, v);
	}
	res = ask_with((struct rank_request){.query = STR("nosuchword"), .want = 10}, q);
	assert_true(res.candidates >= RANK_PER_ARM && res.candidates < 2500);
	for (int64_t id = 100; id < 2500; id += 500)
		assert_non_null(find(&res, id));
	/* Only what is admitted: three of the five are of other threads or times. */
	struct str threads[] = {STR("b"), STR("c")};

	res = ask_with((struct rank_request){.query = STR("nosuchword"), .want = 10, .threads = threads, .threads_n = 2}, q);
	for (int64_t id = 100; id < 2500; id += 500)
		assert_true((find(&res, id) != NULL) == (by_three(id) != 0));
	/* The same best by either way: v of a candidate is that of the whole. */
	assert_float_equal(find(&res, 100)->cosine, cosine(kept[100], q), 5e-5);
}

static void repetitions(void **state)
{
	struct rank_request rq = {.query = STR("topic3"), .want = 100, .near = 0.97};
	struct rank_result res;
	float q[DIMS], v[DIMS];

	(void)state;
	talk(30, 0);
	random_vector(q);
	for (int64_t id = 10; id <= 13; id++) { /* say the same, nearly */
		memcpy(v, q, sizeof v);
		v[id % DIMS] += 0.01f;
		give(id, v);
	}
	res = ask_with(rq, q);
	assert_int_equal(res.n, 27);
	assert_int_equal(res.repeated, 3);
	assert_int_equal((find(&res, 10) != NULL) + (find(&res, 11) != NULL) + (find(&res, 12) != NULL) + (find(&res, 13) != NULL),
			 1);
	rq.want = 5; /* their places are taken by others */
	assert_int_equal(ask_with(rq, q).n, 5);
	rq.want = 100;
	rq.near = 0;
	assert_int_equal(ask_with(rq, q).n, 30);
	rq.near = 0.97;
	rq.mode = RANK_BY_WORDS;
	assert_int_equal(ask_with(rq, q).n, 30);
}

static void own_weights(void **state)
{
	struct rank_weights w = *rank_weights_default();
	struct rank_result res;
	float q[DIMS];

	(void)state;
	talk(50, 0);
	random_vector(q);
	for (int f = 0; f < RF_COUNT; f++)
		w.of[RANK_FULL][f] = 0;
	assert_int_equal(rank_weight_set(&w, RANK_FULL, STR("vnext = 2.5")), OK);
	res = ask_with((struct rank_request){.query = STR("topic3"), .weights = &w}, q);
	for (size_t i = 0; i < res.n; i++)
		assert_float_equal(res.r[i].sum, 2.5 * res.r[i].f[RF_VNEXT], 1e-12);
	assert_int_equal(rank_weight_set(&w, RANK_FULL, STR("user=1e3")), E_INVALID);
	assert_int_equal(rank_weight_set(&w, RANK_FULL, STR("user=1000.5")), E_INVALID);
	assert_int_equal(rank_weight_set(&w, RANK_FULL, STR("=1")), E_INVALID);
	assert_int_equal(rank_weight_set(&w, RANK_WORDS, STR("vnext=1")), E_INVALID);
}

static void names_are_taken_out(void **state)
{
	static const struct {
		const char *text, *want;
	} t[] = {
		{"What did Ann buy?", "What did  buy?"},	  {"What is ann's boat called", "What is  boat called"},
		{"Did Ann-Marie Lee sail?", "Did -Marie  sail?"}, {"Ann?", "Ann?"}, /* nothing else is in it */
		{"what did Zoe buy", "what did Zoe buy"},	  {"", ""},
	};

	(void)state;
	(void)say_as("t", "person", "Ann Lee", "hello", 0);
	assert_int_equal(scope_commit(scope), OK);
	assert_int_equal(scope_order_make(scope), OK);
	for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
		struct str out;

		assert_int_equal(rank_question_text(scope, &a, str_c(t[i].text), &out), OK);
		if (!str_eq(out, str_c(t[i].want)))
			fail_msg("\"%s\": \"%.*s\"", t[i].text, STR_ARG(out));
	}
}

/* ------------------------------------------------------------------- items */

static void put_items(int n, unsigned without)
{
	char text[80];
	float v[DIMS];

	for (int i = 0; i < n; i++) {
		struct str t, doc;

		snprintf(text, sizeof text, "topic%u word%u place%u", draw(40), draw(200), draw(9));
		t = str_c(text);
		assert_int_equal(doc_of_texts(&a, lang_find(STR("english")), &t, 1, &doc), OK);
		assert_int_equal(scope_add(scope, next_id, doc, STR("")), OK);
		random_vector(v);
		if (!without || draw(without))
			give(next_id, v);
		next_id++;
	}
	assert_int_equal(scope_commit(scope), OK);
}

static struct rank_items_result rank(const char *query, const float *question, struct rank_items_request rq)
{
	struct rank_items_result res;
	struct vector_question vq;
	struct query_term *terms;
	struct bm25 figures;
	size_t n;

	assert_int_equal(question_terms(&a, scope_langs(scope), str_c(query), &terms, &n), OK);
	scope_query_prepare(scope, terms, n, &figures);
	assert_int_equal(vector_question_make(&a, question, DIMS, &vq), OK);
	rq.q = terms;
	rq.q_n = n;
	rq.figures = &figures;
	rq.vectors = vectors;
	rq.question = &vq;
	assert_int_equal(rank_items(scope, &a, &rq, &res), OK);
	return res;
}

/* However many are wanted, they are the first of the ranking of all. */
static void items_are_exact(void **state)
{
	static const size_t wants[] = {1, 3, 10, 60, 300, 2000};
	float q[DIMS];

	(void)state;
	put_items(3000, 5);
	assert_true(rank_items_ready(scope, vectors));
	for (int round = 0; round < 4; round++) {
		struct rank_items_request rq = {.lex = round == 1 ? 0.1 : 1, .v = round == 2 ? 0.1 : 1, .want = 3000};
		struct rank_items_result all;

		random_vector(q);
		all = rank("topic3 word4 place5", q, rq);
		assert_true(all.complete);
		assert_true(all.n > 2300);
		for (size_t i = 0; i < all.n; i++) {
			const struct ranked_item *r = &all.r[i];

			assert_true(has[r->id] == !isnan(r->cosine));
			if (has[r->id])
				assert_float_equal(r->cosine, cosine(kept[r->id], q), 5e-5);
			assert_float_equal(r->sum, rq.lex * r->bm25 / all.best + rq.v * r->v, 1e-12);
			assert_true(has[r->id] || (r->v == r->lex && r->lex > 0));
		}
		for (size_t w = 0; w < sizeof wants / sizeof wants[0]; w++) {
			struct rank_items_result some;

			rq.want = wants[w];
			rq.extra = 100;
			some = rank("topic3 word4 place5", q, rq);
			assert_true(some.n >= wants[w] && some.n <= wants[w] + 100 && !some.complete);
			assert_float_equal(some.best, all.best, 0);
			for (size_t i = 0; i < some.n; i++) {
				assert_int_equal(some.r[i].id, all.r[i].id);
				assert_true(some.r[i].sum == all.r[i].sum);
			}
		}
	}
}

static void items_by_vectors_alone(void **state)
{
	struct rank_items_result res;
	float q[DIMS];

	(void)state;
	put_items(400, 2);
	random_vector(q);
	res = rank("topic3", q, (struct rank_items_request){.v = 1, .by_vectors = true, .want = 400});
	assert_true(res.complete);
	assert_int_equal(res.n, vectors->rows);
	for (size_t i = 1; i < res.n; i++)
		if (res.r[i - 1].v > 0)
			assert_true(res.r[i - 1].cosine >= res.r[i].cosine);
}

/* Too few have a vector, an empty scope, a vector whose item has gone. */
static void items_at_the_edge(void **state)
{
	struct rank_items_result res;
	float q[DIMS];

	(void)state;
	random_vector(q);
	assert_false(rank_items_ready(scope, vectors));
	put_items(10, 0);
	for (int64_t id = 1; id <= 6; id++)
		assert_true(vector_scope_remove(vectors, id));
	assert_false(rank_items_ready(scope, vectors));
	give(1, q);
	assert_true(rank_items_ready(scope, vectors));
	assert_int_equal(scope_remove(scope, 1), OK);
	assert_int_equal(scope_commit(scope), OK);
	res = rank("nosuchword", q, (struct rank_items_request){.lex = 1, .v = 1, .want = 10});
	assert_int_equal(res.n, 4); /* with neither a word nor a vector there is nothing to say for an item */
	for (size_t i = 0; i < res.n; i++)
		assert_true(res.r[i].id > 6);
	res = rank("", q, (struct rank_items_request){.lex = 1, .v = 1, .want = 0});
	assert_int_equal(res.n, 0);
}

#define MESSAGES(f) cmocka_unit_test_setup_teardown(f, setup_messages, teardown)
#define ITEMS(f) cmocka_unit_test_setup_teardown(f, setup_items, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		MESSAGES(formulas),	    MESSAGES(missing_vectors_get_the_mean),
		MESSAGES(words_alone),	    MESSAGES(vectors_alone),
		MESSAGES(other_dimensions), MESSAGES(no_words),
		MESSAGES(large_scope),	    MESSAGES(repetitions),
		MESSAGES(own_weights),	    MESSAGES(names_are_taken_out),
		ITEMS(items_are_exact),	    ITEMS(items_by_vectors_alone),
		ITEMS(items_at_the_edge),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
