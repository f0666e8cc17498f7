/* The driver: a folder becomes an embedder, texts become vectors, alone and many at once; and with the real weights, when
 * CENOTE_MODEL_DIR names their folder, vectors close to those of the reference. */
#include <math.h>

#include "embed/minilm/minilm.h"
#include "embed/minilm/reference_vectors.h"
#include "embed/minilm/testing.h"
#include "rt/fiber.h"
#include "rt/loop.h"
#include "rt/work.h"

#define REFERENCES (sizeof reference_texts / sizeof reference_texts[0])
#define MANY 150

static char folder[64];
static struct arena a;

static int setup(void **state)
{
	arena_init(&a, (size_t)64 << 20);
	tiny_make(folder);
	return 0;
}

static int teardown(void **state)
{
	work_stop();
	tiny_remove(folder);
	arena_release(&a);
	return 0;
}

static struct embedder *open_tiny(void)
{
	struct embedder *e = NULL;

	if (minilm_open(str_c(folder), &e) != OK)
		fail_msg("%s", diag_get()->text);
	assert_int_equal(e->dims, TINY_HIDDEN);
	assert_true(str_starts(e->model, STR("bert-192-")));
	assert_true(e->batch > 0 && e->batch <= EMBED_BATCH_MAX);
	return e;
}

/* Texts of 0 to 60 letters, so that some are longer than the window of 40. */
static void make_texts(struct str *texts, size_t n)
{
	uint64_t seed = 3;

	for (size_t i = 0; i < n; i++) {
		size_t len = test_random(&seed) % 61;
		char *p = arena_alloc(&a, len + 1);

		assert_non_null(p);
		for (size_t j = 0; j < len; j++)
			p[j] = j % 5 == 4 ? ' ' : (char)('a' + test_random(&seed) % 26);
		texts[i] = str_of(p, len);
	}
}

static void close_to(const float *v, const float *w, size_t n)
{
	double length = 0;

	for (size_t i = 0; i < n; i++) {
		length += (double)v[i] * v[i];
		assert_float_equal(v[i], w[i], 1e-5);
	}
	assert_true(fabs(length - 1) < 1e-5);
}

struct run {
	struct embedder *e;
	struct loop *loop;
	struct str texts[MANY];
	struct embed_vectors out[2];
	enum err err[2];
	int left;
};

static void call(struct run *r, int i)
{
	struct arena own;

	arena_init(&own, (size_t)64 << 20);
	r->err[i] = embed_encode(r->e, &own, r->texts, MANY, &r->out[i]);
	if (r->err[i] == OK) { /* beyond the fiber's own memory */
		float *v = malloc(MANY * TINY_HIDDEN * sizeof *v);

		if (v)
			memcpy(v, r->out[i].v, MANY * TINY_HIDDEN * sizeof *v);
		r->out[i].v = v;
	}
	arena_release(&own);
	if (--r->left == 0)
		loop_stop(r->loop);
}

static void first(void *arg)
{
	call(arg, 0);
}

static void second(void *arg)
{
	call(arg, 1);
}

static void start(void *arg)
{
	struct run *r = arg;

	if (fiber_spawn(first, r, NULL, NULL) != OK || fiber_spawn(second, r, NULL, NULL) != OK)
		abort();
}

static void run_fibers(struct run *r)
{
	struct loop_task t = {.fn = start, .arg = r};

	r->left = 2;
	assert_int_equal(loop_new(&r->loop), OK);
	loop_post(r->loop, &t);
	loop_run(r->loop);
	loop_free(r->loop);
}

/* Two calls at once from fibers, on several threads of the pool, give what one text after the other gives. */
static void test_many(void **state)
{
	static struct run r;
	uint64_t tokens = 0;

	work_set_threads(3);
	r.e = open_tiny();
	make_texts(r.texts, MANY);
	run_fibers(&r);
	assert_int_equal(r.err[0], OK);
	assert_int_equal(r.err[1], OK);
	for (size_t i = 0; i < MANY; i++) {
		struct embed_vectors one;

		assert_int_equal(embed_encode(r.e, &a, &r.texts[i], 1, &one), OK);
		assert_true(one.tokens >= 2 && one.tokens <= 40);
		tokens += one.tokens;
		close_to(r.out[0].v + i * TINY_HIDDEN, one.v, TINY_HIDDEN);
		close_to(r.out[1].v + i * TINY_HIDDEN, one.v, TINY_HIDDEN);
	}
	assert_true(r.out[0].tokens == tokens && r.out[1].tokens == tokens);
	free(r.out[0].v);
	free(r.out[1].v);
	embed_close(r.e);
}

static void test_odd_calls(void **state)
{
	static struct str many[EMBED_BATCH_MAX + 1];
	struct embedder *e = open_tiny();
	struct embed_vectors out;
	struct arena small;

	assert_int_equal(embed_encode(e, &a, many, 0, &out), OK);
	assert_int_equal(out.n, 0);
	assert_int_equal(embed_encode(e, &a, many, EMBED_BATCH_MAX + 1, &out), E_LIMIT);
	assert_int_equal(embed_encode(e, &a, many, 70, &out), OK); /* empty texts have a vector */
	for (size_t i = 0; i < 70; i++)
		close_to(out.v + i * TINY_HIDDEN, out.v, TINY_HIDDEN);
	arena_init(&small, 4096);
	assert_int_equal(embed_encode(e, &small, many, 70, &out), E_LIMIT);
	arena_release(&small);
	embed_close(e);
}

/* A long text counts as its beginning. */
static void test_window(void **state)
{
	struct embedder *e = open_tiny();
	struct embed_vectors out;
	struct str texts[2];
	char *p = malloc(3000000);

	assert_non_null(p);
	memset(p, 'b', 3000000);
	for (size_t i = 1; i < 3000000; i += 2)
		p[i] = ' ';
	texts[0] = str_of(p, 3000000);
	texts[1] = str_of(p, 38 * 2);
	assert_int_equal(embed_encode(e, &a, texts, 2, &out), OK);
	assert_int_equal(out.tokens, 80);
	close_to(out.v, out.v + TINY_HIDDEN, TINY_HIDDEN);
	free(p);
	embed_close(e);
}

/* Numbers of large tensors are looked at when the first text comes; every call says what is wrong. */
static void test_damaged(void **state)
{
	struct embed_vectors out;
	struct embedder *e;
	static struct run r;

	tiny_weights(folder, NULL, "encoder.layer.1.intermediate.dense.weight");
	e = open_tiny();
	for (int i = 0; i < 2; i++) {
		assert_int_equal(embed_encode(e, &a, &STR("a"), 1, &out), E_CORRUPT);
		assert_non_null(strstr(diag_get()->text, "encoder.layer.1.intermediate.dense.weight"));
	}
	r.e = e;
	make_texts(r.texts, MANY);
	run_fibers(&r);
	assert_int_equal(r.err[0], E_CORRUPT);
	assert_int_equal(r.err[1], E_CORRUPT);
	embed_close(e);
	tiny_weights(folder, NULL, NULL);
}

static void expect_open(enum err want, const char *says)
{
	struct embedder *e;

	assert_int_equal(minilm_open(str_c(folder), &e), want);
	if (!strstr(diag_get()->text, says))
		fail_msg("\"%s\" does not say \"%s\"", diag_get()->text, says);
}

static void test_files(void **state)
{
	struct embedder *e;
	char path[128];

	tiny_write(folder, "vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n", 24);
	expect_open(E_CORRUPT, "vocab.txt has 4 entries, the model 64");
	tiny_write(folder, "vocab.txt", "\xff\n", 2);
	expect_open(E_CORRUPT, "vocab.txt");
	tiny_write(folder, "config.json", "{}", 2);
	expect_open(E_CORRUPT, "config.json: model_type");
	snprintf(path, sizeof path, "%s/config.json", folder);
	assert_int_equal(unlink(path), 0);
	expect_open(E_NOT_FOUND, "config.json is missing");
	tiny_remove(folder);
	expect_open(E_NOT_FOUND, "config.json is missing");
	assert_int_equal(minilm_open(STR("/dev/null"), &e), E_IO);
	tiny_make(folder);
	snprintf(path, sizeof path, "%s/1_Pooling", folder);
	assert_int_equal(mkdir(path, 0700), 0);
	tiny_write(path, "config.json", "{\"pooling_mode_cls_token\":true}", 31);
	expect_open(E_INVALID, "1_Pooling/config.json");
}

static void check_reference(struct embedder *e, double least)
{
	struct str texts[REFERENCES];
	struct embed_vectors out;

	for (size_t i = 0; i < REFERENCES; i++)
		texts[i] = str_c(reference_texts[i]);
	assert_string_equal(e->model.p, MINILM_MODEL);
	assert_int_equal(e->dims, 384);
	assert_int_equal(embed_encode(e, &a, texts, REFERENCES, &out), OK);
	for (size_t i = 0; i < REFERENCES; i++) {
		double cos = cosine(out.v + i * 384, reference_vectors[i], 384);

		if (!(cos >= least))
			fail_msg("text %zu: cosine %.6f, at least %.6f", i, cos, least);
	}
	embed_close(e);
}

static void test_reference(void **state)
{
	const char *dir = getenv("CENOTE_MODEL_DIR");
	struct embedder *e;

	if (!dir || !*dir) {
		print_message("CENOTE_MODEL_DIR is not set\n");
		skip();
	}
	if (minilm_open(str_c(dir), &e) != OK)
		fail_msg("%s", diag_get()->text);
	check_reference(e, 0.995);
	assert_int_equal(minilm_open_f32(str_c(dir), &e), OK);
	check_reference(e, 1 - 1e-4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_many),	cmocka_unit_test(test_odd_calls), cmocka_unit_test(test_window),
		cmocka_unit_test(test_damaged), cmocka_unit_test(test_files),	  cmocka_unit_test(test_reference),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
