/* Vectors as small integers: precision, what is refused, blobs byte by byte, and kernels against plain arithmetic. */
#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "base/test_util.h"
#include "index/vector.h"

static uint64_t seed = 88172645463325252u;
static struct arena arena;

static int setup(void **state)
{
	arena_init(&arena, (size_t)16 << 20);
	return 0;
}

static int teardown(void **state)
{
	arena_release(&arena);
	return 0;
}

/* -1..1, roughly normal. */
static float random_float(void)
{
	double sum = 0;

	for (int i = 0; i < 4; i++)
		sum += (double)(test_random(&seed) >> 40) / (1 << 24) - 0.5;
	return (float)(sum / 2);
}

static float *random_vector(uint32_t dims)
{
	float *v = ARENA_ARRAY(&arena, float, dims);

	for (uint32_t i = 0; i < dims; i++)
		v[i] = random_float();
	return v;
}

static double exact_cosine(const float *a, const float *b, uint32_t dims)
{
	double dot = 0, aa = 0, bb = 0;

	for (uint32_t i = 0; i < dims; i++) {
		dot += (double)a[i] * (double)b[i];
		aa += (double)a[i] * (double)a[i];
		bb += (double)b[i] * (double)b[i];
	}
	return dot / sqrt(aa) / sqrt(bb);
}

/* Padded copies of both planes. */
static void pad(const struct vector *v, uint8_t **high, uint8_t **low)
{
	size_t size = vector_size(v->dims);

	*high = arena_alloc(&arena, size);
	*low = arena_alloc(&arena, size);
	memset(*high, VECTOR_ZERO, size);
	memset(*low, VECTOR_ZERO, size);
	memcpy(*high, v->high, v->dims);
	memcpy(*low, v->low, v->dims);
}

static struct vector packed(const float *v, uint32_t dims)
{
	struct vector out;
	struct str blob;

	assert_int_equal(vector_pack(&arena, v, dims, &blob), OK);
	assert_int_equal(blob.n, vector_blob_bytes(dims));
	assert_int_equal(vector_unpack(blob, &out), OK);
	assert_int_equal(out.dims, dims);
	return out;
}

static void keeps_cosines(void **state)
{
	static const uint32_t dims[] = {1, 2, 3, 63, 64, 65, 384, 1000, 1536, 8191, 8192};
	double worst = 0;

	for (size_t d = 0; d < sizeof dims / sizeof *dims; d++)
		for (int round = 0; round < 20; round++) {
			float *a = random_vector(dims[d]), *b = random_vector(dims[d]);
			struct vector v = packed(a, dims[d]);
			struct vector_question q;
			uint8_t *high, *low;
			double error;

			assert_int_equal(vector_question_make(&arena, b, dims[d], &q), OK);
			pad(&v, &high, &low);
			error = fabs(vector_cosine(&q, high, low, v.scale) - exact_cosine(a, b, dims[d]));
			worst = error > worst ? error : worst;
			arena_clear(&arena);
		}
	assert_true(worst < 1e-4);
	assert_true(worst > 0);
}

static void floats_come_back_with_length_1(void **state)
{
	float a[384], back[384], *v = random_vector(384);
	double length = 0;
	struct vector x;

	memcpy(a, v, sizeof a);
	for (int i = 0; i < 384; i++)
		a[i] *= 123.5f;
	x = packed(a, 384);
	vector_floats(&x, back);
	for (int i = 0; i < 384; i++)
		length += (double)back[i] * (double)back[i];
	assert_true(fabs(sqrt(length) - 1) < 1e-5);
	assert_true(exact_cosine(a, back, 384) > 0.9999999);
}

static void any_length_is_taken(void **state)
{
	static const float factors[] = {FLT_MIN, 1e-45f, 1e-30f, 1, 1e30f, 1e38f};
	static const float v[4] = {1, -2, 3, 0};

	for (size_t f = 0; f < sizeof factors / sizeof *factors; f++) {
		float a[4];
		struct vector_question q;
		struct vector x;
		uint8_t *high, *low;

		for (int i = 0; i < 4; i++)
			a[i] = v[i] * factors[f];
		x = packed(a, 4);
		assert_int_equal(vector_question_make(&arena, a, 4, &q), OK);
		pad(&x, &high, &low);
		assert_true(fabs(vector_cosine(&q, high, low, x.scale) - 1) < 1e-4);
	}
}

static void what_has_no_direction_is_refused(void **state)
{
	static const float wrong[] = {NAN, INFINITY, -INFINITY};
	float a[3] = {0, -0.f, 0};
	struct vector_question q;
	struct str blob;

	assert_int_equal(vector_pack(&arena, a, 3, &blob), E_INVALID);
	assert_int_equal(vector_question_make(&arena, a, 3, &q), E_INVALID);
	for (size_t i = 0; i < 3; i++) {
		a[0] = 1;
		a[2] = wrong[i];
		assert_int_equal(vector_pack(&arena, a, 3, &blob), E_INVALID);
		assert_non_null(strstr(diag_get()->text, "component 2"));
		assert_int_equal(vector_question_make(&arena, a, 3, &q), E_INVALID);
	}
	a[2] = 1;
	assert_int_equal(vector_pack(&arena, a, 0, &blob), E_INVALID);
	assert_int_equal(vector_pack(&arena, a, VECTOR_DIMS_MAX + 1, &blob), E_INVALID);
	assert_int_equal(vector_question_make(&arena, a, 0, &q), E_INVALID);
}

static void a_blob_byte_by_byte(void **state)
{
	/* The length is 5: 4/5 = scale * 32639; 3/4 of 32639 is 24479.25 = 95 * 256 + 159 -> 96 * 256 - 97. */
	static const float v[3] = {3, -4, 0};
	static const uint8_t planes[] = {128 + 96, 128 - 127, 128, 128 - 97, 128 - 127, 128};
	uint8_t head[VECTOR_HEAD] = {1, 0, 3, 0};
	float scale = (float)(0.8 / 32639);
	uint32_t bits;
	struct str blob;

	memcpy(&bits, &scale, sizeof bits);
	for (int i = 0; i < 4; i++)
		head[4 + i] = (uint8_t)(bits >> 8 * i);
	assert_int_equal(vector_pack(&arena, v, 3, &blob), OK);
	assert_int_equal(blob.n, sizeof head + sizeof planes);
	assert_memory_equal(blob.p, head, sizeof head);
	assert_memory_equal(blob.p + sizeof head, planes, sizeof planes);
}

static void expect_corrupt(struct str good, size_t at, int byte, size_t n, const char *why)
{
	char *copy = malloc(n + 1); /* on its own, so that reading past it is found */
	struct vector v;

	assert_non_null(copy);
	memset(copy, 0, n + 1);
	memcpy(copy, good.p, n < good.n ? n : good.n);
	if (byte >= 0)
		copy[at] = (char)byte;
	assert_int_equal(vector_unpack(str_of(copy, n), &v), E_CORRUPT);
	assert_non_null(strstr(diag_get()->text, why));
	free(copy);
}

static void damaged_blobs(void **state)
{
	float *v = random_vector(384);
	struct vector x;
	struct str b;

	assert_int_equal(vector_pack(&arena, v, 384, &b), OK);
	for (size_t n = 0; n < b.n; n++)
		expect_corrupt(b, 0, -1, n, n < VECTOR_HEAD ? "cut off" : "instead of 776");
	expect_corrupt(b, 0, -1, b.n + 1, "instead of 776");
	expect_corrupt(b, 0, 0, b.n, "version 0.0");
	expect_corrupt(b, 0, 2, b.n, "version 2.0");
	expect_corrupt(b, 1, 1, b.n, "version 1.1");
	expect_corrupt(b, 3, 0x20, b.n, "8320 dimensions");
	expect_corrupt(b, 3, 0, b.n, "instead of 264");
	expect_corrupt(b, 7, 0xff, b.n, "length 1");		     /* a scale below 0, or not a number */
	expect_corrupt(b, 7, 0x7f, b.n, "length 1");		     /* too large */
	expect_corrupt(b, 7, 0, b.n, "length 1");		     /* too small */
	expect_corrupt(b, VECTOR_HEAD, 0, b.n, "largest component"); /* -128 */
	for (uint32_t i = 0; i < 384; i++) {
		uint8_t high = (uint8_t)b.p[VECTOR_HEAD + i];

		if (high == 1 || high == 255) /* the largest itself (seldom others as large), made small */
			expect_corrupt(b, VECTOR_HEAD + i, 128, b.n, "stored vector");
	}
	assert_int_equal(vector_unpack(b, &x), OK);
}

static void kernels_agree_with_arithmetic(void **state)
{
	static const size_t sizes[] = {64, 128, 192, 384, 448, 1536, 8192};
	const struct vector_kernel *all[VECTOR_KERNELS_MAX];
	size_t kernels = vector_kernels(all);

	assert_ptr_equal(vector_kernel(), all[kernels - 1]);
	assert_string_equal(all[0]->name, "portable");
	for (size_t z = 0; z < sizeof sizes / sizeof *sizes; z++)
		for (size_t n = 0; n <= 7; n++) {
			size_t size = sizes[z];
			uint8_t *rows = aligned_alloc(64, (n + 1) * size);
			int8_t *q = malloc(size);
			int16_t *fine = malloc(size * sizeof *fine);
			int32_t sum = 0, out[7];

			assert_true(rows && q && fine);
			for (size_t i = 0; i < (n + 1) * size; i++) /* row 0 at the lower end, row 1 at the upper */
				rows[i] = i < size ? 0 : i < 2 * size ? 255 : (uint8_t)(test_random(&seed) >> 32);
			for (size_t i = 0; i < size; i++) {
				q[i] = n & 1 ? -127 : (int8_t)((int)(test_random(&seed) >> 33) % 255 - 127);
				fine[i] = n & 1 ? -VECTOR_FINE
						: (int16_t)((int)(test_random(&seed) >> 33) % (2 * VECTOR_FINE + 1) - VECTOR_FINE);
				sum += q[i];
			}
			for (size_t k = 0; k < kernels; k++) {
				all[k]->scan(rows, n, size, q, sum, out);
				for (size_t r = 0; r <= n; r++) {
					int64_t coarse = 0, exact = 0;

					for (size_t i = 0; i < size; i++) {
						coarse += (rows[r * size + i] - 128) * q[i];
						exact += (rows[r * size + i] - 128) * fine[i];
					}
					if (r < n)
						assert_int_equal(out[r], coarse);
					assert_int_equal(all[k]->fine(rows + r * size, size, fine), exact);
				}
			}
			free(rows);
			free(q);
			free(fine);
		}
}

static void a_question_like_a_vector(void **state)
{
	float *a = random_vector(100), *b = random_vector(100);
	struct vector x = packed(a, 100), y = packed(b, 100);
	struct vector_question q;
	uint8_t *high, *low;

	assert_int_equal(vector_question_like(&arena, &x, &q), OK);
	pad(&y, &high, &low);
	assert_true(fabs(vector_cosine(&q, high, low, y.scale) - exact_cosine(a, b, 100)) < 1e-4);
	pad(&x, &high, &low);
	assert_true(fabs(vector_cosine(&q, high, low, x.scale) - 1) < 1e-6);
}

static void memory_short(void **state)
{
	float v[8] = {1};
	struct vector_question q;
	struct arena small;
	struct str blob;

	arena_init(&small, 8);
	assert_int_equal(vector_pack(&small, v, 8, &blob), E_LIMIT);
	assert_int_equal(vector_question_make(&small, v, 8, &q), E_LIMIT);
	arena_release(&small);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(keeps_cosines, setup, teardown),
		cmocka_unit_test_setup_teardown(floats_come_back_with_length_1, setup, teardown),
		cmocka_unit_test_setup_teardown(any_length_is_taken, setup, teardown),
		cmocka_unit_test_setup_teardown(what_has_no_direction_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(a_blob_byte_by_byte, setup, teardown),
		cmocka_unit_test_setup_teardown(damaged_blobs, setup, teardown),
		cmocka_unit_test_setup_teardown(kernels_agree_with_arithmetic, setup, teardown),
		cmocka_unit_test_setup_teardown(a_question_like_a_vector, setup, teardown),
		cmocka_unit_test_setup_teardown(memory_short, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
