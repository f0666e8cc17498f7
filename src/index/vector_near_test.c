/* What was kept is found as by exact cosines of all pairs, whatever lies how near. */
#include <math.h>

#include "base/test_util.h"
#include "index/vector_near.h"
#include "index/vector_scope.h"

static struct arena arena;
static uint64_t seed;

static int setup(void **state)
{
	seed = 88172645463325252u;
	arena_init(&arena, (size_t)64 << 20);
	return 0;
}

static int teardown(void **state)
{
	arena_release(&arena);
	return 0;
}

static float random_part(void)
{
	return (float)((double)(test_random(&seed) >> 40) / (1 << 23) - 1);
}

/* n vectors around a few centres, more or less close to these; one in eight is a spike: few components, large steps. */
static struct vector_scope *clusters(uint32_t dims, uint32_t n)
{
	struct vector_scope *s = vector_scope_new(dims);
	float *centre = ARENA_ARRAY(&arena, float, 4 * (size_t)dims), *x = ARENA_ARRAY(&arena, float, dims);

	assert_non_null(s);
	assert_non_null(centre);
	assert_non_null(x);
	for (uint32_t i = 0; i < 4 * dims; i++)
		centre[i] = random_part();
	for (uint32_t id = 1; id <= n; id++) {
		float spread = (float)(test_random(&seed) >> 33 & 255) / 256.0f;
		struct vector v;
		struct str blob;

		for (uint32_t i = 0; i < dims; i++)
			x[i] = centre[id % 4 * dims + i] + spread * random_part();
		if (id % 8 == 0)
			x[id / 8 % dims] = 40;
		assert_int_equal(vector_pack(&arena, x, dims, &blob), OK);
		assert_int_equal(vector_unpack(blob, &v), OK);
		assert_int_equal(vector_scope_put(s, id, &v), OK);
	}
	return s;
}

static double exact(const struct vector_scope *s, int64_t kept, int64_t id)
{
	struct vector_question q;
	struct vector k, v;

	assert_true(vector_scope_get(s, kept, &k));
	assert_true(vector_scope_get(s, id, &v));
	assert_int_equal(vector_question_like(&arena, &k, &q), OK);
	return vector_cosine(&q, v.high, v.low, v.scale);
}

/* Returns how many were near to one before. */
static unsigned compare(const struct vector_scope *s, double least, size_t cap)
{
	int64_t ids[64];
	size_t n = 0;
	unsigned near = 0;
	struct vector_near w;

	assert_int_equal(vector_near_init(&w, &arena, s->dims, least, cap), OK);
	for (int64_t id = 1; id <= (int64_t)s->rows; id++) {
		ptrdiff_t want = -1, at;
		struct vector v;

		for (size_t k = 0; k < n && want < 0; k++)
			if (exact(s, ids[k], id) >= least)
				want = (ptrdiff_t)k;
		assert_true(vector_scope_get(s, id, &v));
		assert_int_equal(vector_near_find(&w, &v, &at), OK);
		assert_int_equal(at, want);
		near += at >= 0;
		if (at < 0) {
			assert_int_equal(vector_near_keep(&w, &v), n < cap);
			if (n < cap)
				ids[n++] = id;
		}
	}
	return near;
}

static void test_as_by_exact_cosines(void **state)
{
	static const uint32_t dims[] = {1, 3, 64, 100, 384, 1000};

	for (size_t i = 0; i < sizeof dims / sizeof dims[0]; i++) {
		struct vector_scope *s = clusters(dims[i], 60);

		for (int t = 0; t < 6; t++)
			(void)compare(s, 0.5 + 0.1 * t, 64);
		assert_true(compare(s, 0.8, 64) > 5);
		assert_true(compare(s, -1, 64) == 59);
		assert_true(compare(s, 2, 64) == 0);
		vector_scope_free(s);
		arena_clear(&arena);
	}
}

/* A pair is near at its very cosine and not above it. */
static void test_border(void **state)
{
	struct vector_scope *s = clusters(384, 40);

	for (int64_t id = 2; id <= 40; id++) {
		double c = exact(s, 1, id);
		struct vector first, v;
		ptrdiff_t at;

		assert_true(vector_scope_get(s, 1, &first));
		assert_true(vector_scope_get(s, id, &v));
		for (int above = 0; above < 2; above++) {
			struct vector_near w;

			assert_int_equal(vector_near_init(&w, &arena, 384, above ? nextafter(c, 2) : c, 1), OK);
			assert_true(vector_near_keep(&w, &first));
			assert_int_equal(vector_near_find(&w, &v, &at), OK);
			assert_int_equal(at, above ? -1 : 0);
		}
	}
	vector_scope_free(s);
}

static void test_no_room(void **state)
{
	struct vector_scope *s = clusters(64, 20);

	(void)compare(s, 0.99, 3);
	assert_int_equal(compare(s, -1, 0), 0);
	vector_scope_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_as_by_exact_cosines, setup, teardown),
		cmocka_unit_test_setup_teardown(test_border, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_room, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
