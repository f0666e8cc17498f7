/* Codes of vectors: estimates err as they should, by every form of the scan, and a scope of codes follows every change. */
#include <math.h>
#include <stdlib.h>

#include "base/test_util.h"
#include "index/vector_scope.h"

#define ROWS 3000

static struct arena arena;
static uint64_t seed;

static int setup(void **state)
{
	(void)state;
	seed = 88172645463325252u;
	arena_init(&arena, (size_t)64 << 20);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	arena_release(&arena);
	return 0;
}

static float random_part(void)
{
	return (float)((double)(test_random(&seed) >> 40) / (1 << 23) - 1);
}

/* sparse: all but one component in 16 is 0, which signs alone would say nothing about. */
static void random_vector(float *x, uint32_t dims, bool sparse)
{
	for (uint32_t i = 0; i < dims; i++)
		x[i] = sparse && i % 16 ? 0 : random_part();
}

static struct vector packed(const float *x, uint32_t dims)
{
	struct vector v;
	struct str blob;

	assert_int_equal(vector_pack(&arena, x, dims, &blob), OK);
	assert_int_equal(vector_unpack(blob, &v), OK);
	return v;
}

static double cosine(const float *a, const float *b, uint32_t dims)
{
	double ab = 0, aa = 0, bb = 0;

	for (uint32_t i = 0; i < dims; i++) {
		ab += (double)a[i] * (double)b[i];
		aa += (double)a[i] * (double)a[i];
		bb += (double)b[i] * (double)b[i];
	}
	return ab / sqrt(aa * bb);
}

/* The estimates of ROWS vectors that are more or less near to the question: no bias, and an error as promised. common: what all
 * of them and the question have in common, as long as what is their own; then the codes are made of a scope that has a centre. */
static void errors_of(uint32_t dims, bool sparse, bool common)
{
	struct vector_scope *s = common ? vector_scope_new(dims) : vector_scope_new_coded(dims);
	float *shared = arena_zalloc(&arena, dims * sizeof *shared);
	float *q = ARENA_ARRAY(&arena, float, dims), *x = ARENA_ARRAY(&arena, float, dims), *est = ARENA_ARRAY(&arena, float, ROWS);
	double *right = ARENA_ARRAY(&arena, double, ROWS), sum = 0, squares = 0, error = vector_code_error(dims);
	struct vector_question question;
	struct vector_code_question code;

	assert_non_null(s);
	if (common)
		random_vector(shared, dims, sparse);
	random_vector(q, dims, sparse);
	for (uint32_t i = 0; i < dims; i++)
		q[i] += shared[i];
	for (uint32_t row = 0; row < ROWS; row++) {
		struct vector v;

		random_vector(x, dims, sparse);
		for (uint32_t i = 0; i < dims; i++)
			x[i] += common ? shared[i] : q[i] * (float)(row % 4) / 3;
		v = packed(x, dims);
		right[row] = cosine(q, x, dims);
		assert_int_equal(vector_scope_put(s, row + 1, &v), OK);
	}
	if (common)
		assert_int_equal(vector_scope_code(&s), OK);
	assert_int_equal(vector_question_make(&arena, q, dims, &question), OK);
	assert_int_equal(vector_code_question(&arena, &question, s->centre, &code), OK);
	assert_true(common ? s->spread < 0.9 : s->spread == 1);
	error *= s->spread * code.distance;
	vector_scope_estimate(s, &code, est);
	for (uint32_t row = 0; row < ROWS; row++) {
		double d = (double)est[row] - right[row];

		assert_int_equal(vector_scope_row(s, row + 1), row);
		sum += d;
		squares += d * d;
		assert_true(fabs(d) < 6 * error);
	}
	assert_true(fabs(sum / ROWS) < error / 3);
	assert_true(sqrt(squares / ROWS) < 1.2 * error);
	vector_scope_free(s);
}

static void estimates(void **state)
{
	(void)state;
	errors_of(384, false, false);
	errors_of(384, true, false);
	errors_of(768, false, false);
	errors_of(100, false, false);
	errors_of(1536, true, false);
	errors_of(384, false, true);
	errors_of(100, true, true);
}

/* The row of an id has the code of the vector that was put last. */
static void check_rows(const struct vector_scope *s, struct vector *const *v, int64_t n, uint32_t dims)
{
	float *scratch = ARENA_ARRAY(&arena, float, dims), *est = ARENA_ARRAY(&arena, float, s->rows + 1);
	uint64_t *code = ARENA_ARRAY(&arena, uint64_t, vector_code_words(dims));
	float *q = ARENA_ARRAY(&arena, float, dims), one;
	struct vector_question question;
	struct vector_code_question asked;
	uint32_t rows = 0, hint = 0;

	random_vector(q, dims, false);
	assert_int_equal(vector_question_make(&arena, q, dims, &question), OK);
	assert_int_equal(vector_code_question(&arena, &question, s->centre, &asked), OK);
	vector_scope_estimate(s, &asked, est);
	for (int64_t id = 1; id <= n; id++) {
		int64_t row = vector_scope_row_near(s, id, &hint);
		struct vector_code_row of;

		assert_true(row == vector_scope_row(s, id));
		assert_true((row >= 0) == (v[id] != NULL));
		if (!v[id])
			continue;
		assert_true(vector_scope_id(s, (uint32_t)row) == id);
		of = vector_code_make(v[id], s->centre, scratch, code);
		vector_code_scan(&asked, code, &of, 1, &one);
		assert_true(one == est[row]);
		rows++;
	}
	assert_int_equal(rows, s->rows);
}

static void changes(void **state)
{
	enum { IDS = 400, DIMS = 70 };
	static struct vector *v[IDS + 1];
	struct vector_scope *s = vector_scope_new(DIMS);
	float x[DIMS];
	size_t whole;

	(void)state;
	memset(v, 0, sizeof v);
	for (int step = 0; step < 6000; step++) {
		int64_t id = 1 + (int64_t)(test_random(&seed) % IDS);

		if (step == 2000) {
			whole = vector_scope_bytes(s);
			assert_false(vector_scope_coded(s));
			assert_int_equal(vector_scope_code(&s), OK);
			assert_true(vector_scope_coded(s) && vector_scope_bytes(s) * 4 < whole);
		}
		if (step == 4000)
			assert_int_equal(vector_scope_sort(&s), OK);
		for (uint32_t row = 1; step == 4000 && row < s->rows; row++)
			assert_true(vector_scope_id(s, row - 1) < vector_scope_id(s, row));
		if (step >= 2000 && step % 500 == 0)
			check_rows(s, v, IDS, DIMS);
		if (test_random(&seed) % 3 == 0 || (step > 5000 && step < 5900)) {
			assert_true(vector_scope_remove(s, id) == (v[id] != NULL));
			v[id] = NULL;
			continue;
		}
		random_vector(x, DIMS, false);
		v[id] = ARENA_ARRAY(&arena, struct vector, 1);
		*v[id] = packed(x, DIMS);
		assert_int_equal(vector_scope_put(s, id, v[id]), OK);
	}
	check_rows(s, v, IDS, DIMS);
	vector_scope_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(estimates, setup, teardown),
		cmocka_unit_test_setup_teardown(changes, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
