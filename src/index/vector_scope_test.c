/* Vector scopes against a plain reference: the original floats in an array, ranked in double precision. */
#include <math.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/test_util.h"
#include "index/vector_scope.h"

static uint64_t seed;
static struct arena arena, scratch;

static int setup(void **state)
{
	seed = 88172645463325252u;
	arena_init(&arena, (size_t)256 << 20);
	arena_init(&scratch, (size_t)64 << 20);
	return 0;
}

static int teardown(void **state)
{
	arena_release(&arena);
	arena_release(&scratch);
	return 0;
}

static uint32_t random_below(uint32_t n)
{
	return (uint32_t)(test_random(&seed) >> 33) % n;
}

/* Mean 0, variance 1/dims, roughly normal: a vector of these has about length 1. */
static void random_vector(float *v, uint32_t dims)
{
	for (uint32_t i = 0; i < dims; i++) {
		double sum = 0;

		for (int k = 0; k < 4; k++)
			sum += (double)(test_random(&seed) >> 40) / (1 << 24) - 0.5;
		v[i] = (float)(sum * sqrt(3.0 / dims));
	}
}

/* ---------------------------------------------------------------- reference */

struct reference {
	uint32_t dims, n;
	float *v;    /* n vectors */
	bool *there; /* by id, which is the index */
	bool (*allow)(void *ctx, int64_t id);
	double *cosines;
};

static struct reference reference_new(uint32_t dims, uint32_t n)
{
	struct reference r = {dims,
			      n,
			      ARENA_ARRAY(&arena, float, (size_t)dims *n),
			      arena_zalloc(&arena, n),
			      NULL,
			      ARENA_ARRAY(&arena, double, n)};

	assert_true(r.v && r.there && r.cosines);
	return r;
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

/* The best of all that are there and allowed; returns how many (at most want). */
static size_t reference_best(struct reference *r, const float *q, size_t want, struct scored *out, double *lowest)
{
	struct scored *all = ARENA_ARRAY(&scratch, struct scored, r->n);
	size_t n = 0;

	for (uint32_t i = 0; i < r->n; i++)
		if (r->there[i] && (!r->allow || r->allow(NULL, i)))
			all[n++] = (struct scored){exact_cosine(q, r->v + (size_t)i * r->dims, r->dims), i};
	qsort(all, n, sizeof *all, scored_cmp);
	*lowest = n ? all[n - 1].score : 0;
	n = n < want ? n : want;
	memcpy(out, all, n * sizeof *out);
	return n;
}

static void put(struct vector_scope *s, struct reference *r, uint32_t id)
{
	struct vector v;
	struct str blob;

	assert_int_equal(vector_pack(&scratch, r->v + (size_t)id * r->dims, r->dims, &blob), OK);
	assert_int_equal(vector_unpack(blob, &v), OK);
	assert_int_equal(vector_scope_put(s, id, &v), OK);
	r->there[id] = true;
	arena_clear(&scratch);
}

static size_t common(const struct scored *a, const struct scored *b, size_t n)
{
	size_t same = 0;

	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < n; j++)
			same += a[i].id == b[j].id;
	return same;
}

#define WANT 10

/* Searches and compares; returns how many of the reference's hits are there. */
static size_t check_search(const struct vector_scope *s, struct reference *r, const float *question, const struct vector_filter *f,
			   size_t *of)
{
	struct scored want[WANT];
	struct vector_question q;
	struct vector_found found;
	double lowest;
	size_t n = reference_best(r, question, WANT, want, &lowest), same;

	assert_int_equal(vector_question_make(&scratch, question, r->dims, &q), OK);
	assert_int_equal(vector_scope_search(s, &scratch, &q, f, WANT, &found), OK);
	assert_int_equal(found.n, n);
	for (size_t i = 0; i < n; i++) {
		assert_true(fabs(found.hits[i].score - want[i].score) < 5e-5);
		assert_true(i == 0 || scored_cmp(&found.hits[i - 1], &found.hits[i]) < 0);
	}
	assert_true(fabs(found.lowest - lowest) < 4e-3);
	assert_true(found.highest == (n ? found.hits[0].score : 0));
	same = common(found.hits, want, n);
	*of += n;
	arena_clear(&scratch);
	return same;
}

/* ---------------------------------------------------------------- tests */

/* Clusters, as texts about the same things make them: cosines of neighbours lie close. */
static void recall_in_clusters(void **state)
{
	static const struct {
		uint32_t dims, n, clusters;
		double spread;
	} kinds[] = {{384, 1200, 1200, 1}, {384, 1200, 12, 0.5}, {384, 1200, 3, 0.1}, {64, 1000, 10, 0.3}, {1000, 300, 3, 0.3}};

	for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
		struct reference r = reference_new(kinds[k].dims, kinds[k].n);
		struct vector_scope *s = vector_scope_new(r.dims);
		float *centres = ARENA_ARRAY(&arena, float, (size_t)kinds[k].clusters *r.dims),
		      *q = ARENA_ARRAY(&arena, float, r.dims);
		size_t same = 0, of = 0;

		for (uint32_t c = 0; c < kinds[k].clusters; c++)
			random_vector(centres + (size_t)c * r.dims, r.dims);
		for (uint32_t i = 0; i < r.n; i++) {
			const float *centre = centres + (size_t)random_below(kinds[k].clusters) * r.dims;
			float *v = r.v + (size_t)i * r.dims;

			random_vector(v, r.dims);
			for (uint32_t d = 0; d < r.dims; d++)
				v[d] = centre[d] + (float)kinds[k].spread * v[d];
			put(s, &r, i);
		}
		for (int round = 0; round < 10; round++) {
			const float *centre = centres + (size_t)random_below(kinds[k].clusters) * r.dims;

			random_vector(q, r.dims);
			for (uint32_t d = 0; d < r.dims; d++)
				q[d] = centre[d] + (float)kinds[k].spread * q[d];
			same += check_search(s, &r, q, NULL, &of);
		}
		assert_int_equal(of, 100);
		assert_true(same >= 99);
		vector_scope_free(s);
		arena_clear(&arena);
	}
}

static bool divisible_by_7(void *ctx, int64_t id)
{
	return id % 7 == 0;
}

/* Puts, replacements and removals at random, over the ends of blocks (512 rows of 8192 dimensions), with searches between them. */
static void changes_at_random(void **state)
{
	static const uint32_t dims[] = {1, 5, 64, 8192};

	for (size_t d = 0; d < sizeof dims / sizeof *dims; d++) {
		struct reference r = reference_new(dims[d], dims[d] == 8192 ? 560 : 300);
		struct vector_scope *s = vector_scope_new(dims[d]);
		uint32_t live = 0, rounds = dims[d] == 8192 ? 1200 : 2000;
		float *q = ARENA_ARRAY(&arena, float, dims[d]);
		size_t same = 0, of = 0;

		for (uint32_t i = 0; i < rounds; i++) {
			uint32_t id = i < rounds / 2 ? i % r.n : random_below(r.n);

			if (i > rounds * 4 / 5 || (i > rounds / 4 && random_below(3) == 0)) {
				assert_int_equal(vector_scope_remove(s, id), r.there[id]);
				live -= r.there[id];
				r.there[id] = false;
			} else {
				live += !r.there[id];
				random_vector(r.v + (size_t)id * r.dims, r.dims);
				put(s, &r, id);
			}
			assert_int_equal(s->rows, live);
			assert_int_equal(vector_scope_row(s, id) >= 0, r.there[id]);
			if (i % (rounds / 10) == 0) {
				random_vector(q, r.dims);
				same += check_search(s, &r, q, NULL, &of);
			}
		}
		for (uint32_t id = 0; id < r.n; id++)
			assert_int_equal(vector_scope_row(s, id) >= 0, r.there[id]);
		assert_true(dims[d] == 1 || same + same / 50 >= of);
		for (uint32_t id = 0; id < r.n; id++)
			vector_scope_remove(s, id);
		assert_int_equal(s->rows, 0);
		assert_true(s->blocks_n <= 1);
		vector_scope_free(s);
		arena_clear(&arena);
	}
}

static struct vector_scope *filled(struct reference *r)
{
	struct vector_scope *s = vector_scope_new(r->dims);

	for (uint32_t i = 0; i < r->n; i++) {
		random_vector(r->v + (size_t)i * r->dims, r->dims);
		put(s, r, i);
	}
	return s;
}

/* Never fewer than are allowed, by either way of saying it and both. */
static void filters(void **state)
{
	struct reference r = reference_new(70, 1000);
	struct vector_scope *s = filled(&r);
	struct vector_filter f = {0};
	int64_t ids[1003];
	size_t n = 0, same = 0, of = 0;
	float q[70];

	for (int64_t id = -3; id < 1000; id++) /* -3..-1 are not there */
		if (id < 300 ? id % 7 == 0 || id < 0 : id > 900)
			ids[n++] = id;
	random_vector(q, 70);
	r.allow = divisible_by_7;
	f.allow = divisible_by_7;
	same += check_search(s, &r, q, &f, &of);
	assert_int_equal(vector_scope_mark(s, &arena, ids, n, (uint64_t **)&f.rows), OK);
	for (uint32_t id = 0; id < r.n; id++)
		r.there[id] = id < 300 ? id % 7 == 0 : id > 900;
	same += check_search(s, &r, q, &f, &of);
	f.allow = r.allow = NULL;
	same += check_search(s, &r, q, &f, &of);
	assert_int_equal(same, of);
	assert_int_equal(of, 30);
	assert_int_equal(vector_scope_mark(s, &arena, ids, 5, (uint64_t **)&f.rows), OK); /* -3 -2 -1 0 7 */
	for (uint32_t id = 0; id < r.n; id++)
		r.there[id] = id == 0 || id == 7;
	of = 0;
	assert_int_equal(check_search(s, &r, q, &f, &of), 2);
	assert_int_equal(of, 2);
	vector_scope_free(s);
}

struct part {
	struct vector_scan scan;
	uint32_t from, to;
};
static void *run_part(void *p)
{
	struct part *part = p;

	vector_scan_run(&part->scan, part->from, part->to);
	return NULL;
}

static void parts_give_the_same(void **state)
{
	struct reference r = reference_new(96, 3000);
	struct vector_scope *s = filled(&r);
	const struct vector_kernel *all[VECTOR_KERNELS_MAX];
	struct vector_found whole, joined;
	struct vector_question q;
	struct part parts[3];
	struct vector_scan scans[3];
	pthread_t threads[3];
	float v[96];

	random_vector(v, 96);
	assert_int_equal(vector_question_make(&arena, v, 96, &q), OK);
	assert_int_equal(vector_scope_search(s, &arena, &q, NULL, 50, &whole), OK);
	for (size_t k = 0, kernels = vector_kernels(all); k < kernels; k++) {
		q.kernel = all[k];
		for (uint32_t i = 0; i < 3; i++) {
			parts[i].from = i == 0 ? 0 : i == 1 ? 777 : 2049;
			parts[i].to = i == 0 ? 777 : i == 1 ? 2049 : UINT32_MAX;
			assert_int_equal(vector_scan_init(&parts[i].scan, &arena, s, &q, NULL, 50), OK);
			assert_int_equal(pthread_create(&threads[i], NULL, run_part, &parts[i]), 0);
		}
		for (uint32_t i = 0; i < 3; i++) {
			pthread_join(threads[i], NULL);
			scans[i] = parts[i].scan;
		}
		assert_int_equal(vector_scan_join(scans, 3, &arena, &joined), OK);
		assert_int_equal(joined.n, 50);
		assert_memory_equal(joined.hits, whole.hits, 50 * sizeof *whole.hits);
		assert_true(joined.highest == whole.highest && joined.lowest == whole.lowest);
	}
	vector_scope_free(s);
}

static void order_does_not_matter(void **state)
{
	struct reference r = reference_new(32, 500);
	struct vector_scope *s = filled(&r), *other = vector_scope_new(32);
	struct vector_found a, b;
	struct vector_question q;

	for (uint32_t i = 500; i-- > 0;)
		put(other, &r, i);
	assert_int_equal(vector_question_make(&arena, r.v, 32, &q), OK);
	assert_int_equal(vector_scope_search(s, &arena, &q, NULL, 100, &a), OK);
	assert_int_equal(vector_scope_search(other, &arena, &q, NULL, 100, &b), OK);
	assert_memory_equal(a.hits, b.hits, 100 * sizeof *a.hits);
	assert_int_equal(a.hits[0].id, 0);
	assert_true(a.hits[0].score > 0.99999);
	vector_scope_free(s);
	vector_scope_free(other);
}

/* More that are alike than candidates fit: the lowest ids, and whatever is better than they. */
static void many_alike(void **state)
{
	struct vector_scope *s = vector_scope_new(8);
	float same[8] = {1, 2, 3, 4, 5, 6, 7, 8}, near[8] = {1, 2, 3, 4, 5, 6, 7, 12}, q[8] = {1, 2, 3, 4, 5, 6, 7, 16};
	struct vector_question question;
	struct vector_found found;
	struct vector v, w;
	struct str blob, blob2;

	assert_int_equal(vector_pack(&arena, same, 8, &blob), OK);
	assert_int_equal(vector_pack(&arena, near, 8, &blob2), OK);
	assert_int_equal(vector_unpack(blob, &v), OK);
	assert_int_equal(vector_unpack(blob2, &w), OK);
	for (int64_t i = 0; i < 40000; i++)
		assert_int_equal(vector_scope_put(s, 40000 - i, &v), OK);
	assert_int_equal(vector_scope_put(s, 1234, &w), OK);
	assert_int_equal(vector_question_make(&arena, q, 8, &question), OK);
	assert_int_equal(vector_scope_search(s, &arena, &question, NULL, 4, &found), OK);
	assert_int_equal(found.n, 4);
	assert_int_equal(found.hits[0].id, 1234);
	for (int64_t i = 1; i < 4; i++)
		assert_int_equal(found.hits[i].id, i);
	vector_scope_free(s);
}

static void cosines_of_a_list(void **state)
{
	struct reference r = reference_new(33, 300);
	struct vector_scope *s = filled(&r);
	int64_t ids[] = {5, 299, 300, -1, INT64_MAX, INT64_MIN, 5};
	struct vector_question q, wrong;
	struct vector_found found;
	struct vector v;
	double out[7];

	assert_int_equal(vector_question_make(&arena, r.v, 33, &q), OK);
	assert_int_equal(vector_scope_cosines(s, &q, ids, 7, out), OK);
	for (int i = 0; i < 7; i++) {
		bool there = ids[i] >= 0 && ids[i] < 300;

		assert_int_equal(isnan(out[i]) != 0, !there);
		if (there)
			assert_true(fabs(out[i] - exact_cosine(r.v, r.v + ids[i] * 33, 33)) < 5e-5);
	}
	assert_int_equal(vector_scope_search(s, &arena, &q, NULL, 300, &found), OK);
	assert_int_equal(found.n, 300);
	for (size_t i = 0; i < found.n; i++) {
		assert_int_equal(vector_scope_cosines(s, &q, &found.hits[i].id, 1, out), OK);
		assert_true(out[0] == found.hits[i].score);
	}
	assert_true(vector_scope_get(s, 7, &v));
	assert_int_equal(vector_question_like(&arena, &v, &q), OK);
	assert_int_equal(vector_scope_search(s, &arena, &q, NULL, 1, &found), OK);
	assert_int_equal(found.hits[0].id, 7);
	assert_false(vector_scope_get(s, 300, &v));
	assert_int_equal(vector_question_make(&arena, r.v, 32, &wrong), OK);
	assert_int_equal(vector_scope_cosines(s, &wrong, ids, 7, out), E_INVALID);
	vector_scope_free(s);
}

static void limits(void **state)
{
	struct vector_scope *s = vector_scope_new(4);
	float a[4] = {1, 0, 0, 0};
	struct vector_question q, wrong;
	struct vector_found found;
	struct vector v;
	struct str blob;

	assert_int_equal(vector_question_make(&arena, a, 4, &q), OK);
	assert_int_equal(vector_question_make(&arena, a, 3, &wrong), OK);
	assert_int_equal(vector_scope_search(s, &arena, &q, NULL, 10, &found), OK); /* an empty scope */
	assert_int_equal(found.n, 0);
	assert_true(found.highest == 0 && found.lowest == 0);
	assert_false(vector_scope_remove(s, 1));
	assert_int_equal(vector_pack(&arena, a, 3, &blob), OK);
	assert_int_equal(vector_unpack(blob, &v), OK);
	assert_int_equal(vector_scope_put(s, 1, &v), E_INVALID);
	assert_int_equal(s->rows, 0);
	assert_int_equal(vector_pack(&arena, a, 4, &blob), OK);
	assert_int_equal(vector_unpack(blob, &v), OK);
	assert_int_equal(vector_scope_put(s, INT64_MIN, &v), OK);
	assert_int_equal(vector_scope_search(s, &arena, &q, NULL, VECTOR_WANT_MAX, &found), OK);
	assert_int_equal(found.n, 1);
	assert_int_equal(found.hits[0].id, INT64_MIN);
	assert_int_equal(vector_scope_search(s, &arena, &q, NULL, 0, &found), E_INVALID);
	assert_int_equal(vector_scope_search(s, &arena, &q, NULL, VECTOR_WANT_MAX + 1, &found), E_INVALID);
	assert_int_equal(vector_scope_search(s, &arena, &wrong, NULL, 10, &found), E_INVALID);
	vector_scope_free(s);
}

static void memory_is_counted(void **state)
{
	struct vector_scope *s = vector_scope_new(384);
	struct vector v;
	struct str blob;
	float a[384] = {1};
	size_t empty = vector_scope_bytes(s), peak;

	assert_int_equal(vector_pack(&arena, a, 384, &blob), OK);
	assert_int_equal(vector_unpack(blob, &v), OK);
	assert_int_equal(vector_scope_put(s, 0, &v), OK);
	assert_true(vector_scope_bytes(s) - empty < 8 * 1024);
	for (int64_t i = 1; i < 32000; i++)
		assert_int_equal(vector_scope_put(s, i, &v), OK);
	peak = vector_scope_bytes(s);
	assert_true(peak > (size_t)32000 * 780 && peak < (size_t)32000 * 820);
	for (int64_t i = 31999; i > 0; i--)
		assert_true(vector_scope_remove(s, i));
	assert_true(vector_scope_bytes(s) < peak / 2);
	vector_scope_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(recall_in_clusters, setup, teardown),
		cmocka_unit_test_setup_teardown(changes_at_random, setup, teardown),
		cmocka_unit_test_setup_teardown(filters, setup, teardown),
		cmocka_unit_test_setup_teardown(parts_give_the_same, setup, teardown),
		cmocka_unit_test_setup_teardown(order_does_not_matter, setup, teardown),
		cmocka_unit_test_setup_teardown(many_alike, setup, teardown),
		cmocka_unit_test_setup_teardown(cosines_of_a_list, setup, teardown),
		cmocka_unit_test_setup_teardown(limits, setup, teardown),
		cmocka_unit_test_setup_teardown(memory_is_counted, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
