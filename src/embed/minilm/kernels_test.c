/* Each form of the encoder's arithmetic against plain sums in double precision, and so against each other. */
#include <math.h>
#include <stdlib.h>

#include "base/test_util.h"
#include "embed/minilm/kernels.h"

static const struct kernels *forms[KERNEL_FORMS];
static size_t forms_n;
static uint64_t seed = 7;

#define EACH_FORM(k)                                                                                                               \
	for (size_t f_ = 0; f_ < forms_n; f_++)                                                                                    \
		for (const struct kernels *k = forms[f_]; k; k = NULL)

/* -1..1 */
static float number(void)
{
	return (float)((double)(test_random(&seed) >> 40) / 8388608.0 - 1);
}

static float *numbers(size_t n, float scale)
{
	float *v = calloc(n, sizeof *v);

	assert_non_null(v);
	for (size_t i = 0; i < n; i++)
		v[i] = number() * scale;
	return v;
}

static void *aligned(size_t n)
{
	void *p = NULL;

	assert_int_equal(posix_memalign(&p, KERNEL_ALIGN, n), 0);
	memset(p, 0, n);
	return p;
}

static void test_list(void **state)
{
	assert_ptr_equal(kernels_choose(), forms[0]);
	assert_string_equal(forms[forms_n - 1]->name, "portable");
}

/* ---- products of 8 bits ---- */

struct ints {
	uint32_t n, k;
	int8_t *p; /* n rows of k, not packed */
	struct packed packed;
};

static void make_ints(struct ints *m, uint32_t n, uint32_t k)
{
	size_t groups = kernel_groups(k);

	*m = (struct ints){n,
			   k,
			   malloc((size_t)n * k),
			   {n, k, aligned((size_t)n * k), aligned(n * groups * 4), aligned(n * groups * 4), aligned(n * 4)}};
	assert_non_null(m->p);
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t j = 0; j < k; j++) {
			/* The largest products are among them: nothing may saturate. */
			int8_t x = i % 16 == 0 ? 127 : i % 16 == 1 ? -127 : (int8_t)(test_random(&seed) % 255 - 127);
			size_t at =
				(i / KERNEL_PANEL * KERNEL_PANEL * k) + j / 4 * (4 * KERNEL_PANEL) + i % KERNEL_PANEL * 4 + j % 4;

			m->p[i * k + j] = x;
			m->packed.w[at] = x;
		}
	for (uint32_t i = 0; i < n; i++) {
		m->packed.bias[i] = number();
		for (size_t g = 0; g < groups; g++) {
			size_t of = (i / KERNEL_PANEL * groups + g) * KERNEL_PANEL + i % KERNEL_PANEL;
			int sum = 0;

			for (size_t j = g * KERNEL_GROUP; j < k && j < (g + 1) * KERNEL_GROUP; j++)
				sum += m->p[i * k + j];
			m->packed.scale[of] = 0.01f + fabsf(number()) / 100;
			m->packed.lift[of] = m->packed.scale[of] * (float)sum;
		}
	}
}

static void free_ints(struct ints *m)
{
	free(m->p);
	free(m->packed.w);
	free(m->packed.scale);
	free(m->packed.lift);
	free(m->packed.bias);
}

/* What row x times weights i must give, when x is quantised group by group to the nearest of 256 steps. */
static double product_of(const struct ints *m, const float *x, uint32_t i)
{
	size_t groups = kernel_groups(m->k);
	double out = m->packed.bias[i];

	for (size_t g = 0; g < groups; g++) {
		size_t end = (g + 1) * KERNEL_GROUP < m->k ? (g + 1) * KERNEL_GROUP : m->k;
		double lo = INFINITY, hi = -INFINITY, sum = 0;

		for (size_t j = g * KERNEL_GROUP; j < end; j++) {
			lo = x[j] < lo ? x[j] : lo;
			hi = x[j] > hi ? x[j] : hi;
		}
		for (size_t j = g * KERNEL_GROUP; j < end; j++)
			sum += (hi > lo ? lo + nearbyint((x[j] - lo) * 255 / (hi - lo)) * (hi - lo) / 255 : lo) *
			       m->p[i * m->k + j];
		out += sum * m->packed.scale[(i / KERNEL_PANEL * groups + g) * KERNEL_PANEL + i % KERNEL_PANEL];
	}
	return out;
}

static void check_gemm8(const struct ints *m, const float *x, size_t rows)
{
	float *out = calloc(rows * m->n + 1, sizeof *out);
	void *q = malloc(rows * m->k * KERNEL_QUANT_BYTES);
	struct quant *groups = calloc(rows * kernel_groups(m->k), sizeof *groups);

	EACH_FORM(k)
	{
		out[rows * m->n] = 42;
		k->quantise(x, rows, m->k, q, groups);
		k->gemm8(&m->packed, q, groups, rows, out);
		assert_true(out[rows * m->n] == 42);
		for (size_t r = 0; r < rows; r++)
			for (uint32_t i = 0; i < m->n; i++) {
				double want = product_of(m, x + r * m->k, i);

				/* A number in the middle of two steps may go either way: a step times a weight. */
				if (!(fabs(out[r * m->n + i] - want) < 0.05 + fabs(want) * 1e-4))
					fail_msg("%s: %zu rows, %u x %u, row %zu, output %u: %g, not %g", k->name, rows, m->n, m->k,
						 r, i, (double)out[r * m->n + i], want);
			}
	}
	free(out);
	free(q);
	free(groups);
}

static void test_gemm8(void **state)
{
	static const uint32_t sizes[][2] = {{64, 64}, {128, 192}, {64, 128}, {64, 384}};

	for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
		struct ints m;
		float *x;

		make_ints(&m, sizes[s][0], sizes[s][1]);
		x = numbers(13 * m.k, 3);
		for (uint32_t j = 0; j < m.k; j++)
			x[m.k + j] = 0.75f; /* a row without any difference */
		for (size_t rows = 1; rows <= 13; rows++)
			check_gemm8(&m, x, rows);
		free(x);
		free_ints(&m);
	}
}

static void test_narrow(void **state)
{
	float w[128] = {0};
	int8_t p[128];
	int32_t sum, want;

	EACH_FORM(k)
	{
		float t;

		for (size_t i = 0; i < 128; i++)
			w[i] = number();
		w[5] = -2;
		t = k->narrow(w, 128, p, &sum);
		assert_float_equal(t, 2.0 / 127, 1e-8);
		assert_int_equal(p[5], -127);
		want = 0;
		for (size_t i = 0; i < 128; i++) {
			assert_true(fabsf(w[i] - t * p[i]) <= t * 0.501f);
			want += p[i];
		}
		assert_int_equal(sum, want);
		w[127] = INFINITY;
		assert_true(isnan(k->narrow(w, 128, p, &sum)));
		w[127] = NAN;
		assert_true(isnan(k->narrow(w, 128, p, &sum)));
		memset(w, 0, sizeof w);
		w[3] = 1e-42f; /* nothing to speak of: zeros, not infinities */
		t = k->narrow(w, 128, p, &sum);
		assert_true(t >= 0 && t < 1e-30f);
		assert_int_equal(sum, 0);
		for (size_t i = 0; i < 128; i++)
			assert_int_equal(p[i], 0);
	}
}

/* ---- the rest ---- */

static void test_gemm32(void **state)
{
	enum { N = 64, K = 192, ROWS = 7, STRIDE = 80 };
	float *w = numbers((size_t)N * K, 1), *bias = numbers(N, 1), *x = numbers((size_t)ROWS * K, 1), out[ROWS * STRIDE];
	struct dense d = {N, K, w, bias};

	EACH_FORM(k)
	for (size_t rows = 1; rows <= ROWS; rows++) {
		memset(out, 0, sizeof out);
		k->gemm32(&d, x, rows, out, STRIDE);
		for (size_t r = 0; r < ROWS; r++)
			for (size_t i = 0; i < STRIDE; i++) {
				double want = i < N && r < rows ? bias[i] : 0;

				for (size_t j = 0; j < K && i < N && r < rows; j++)
					want += (double)w[i * K + j] * x[r * K + j];
				assert_true(fabs(out[r * STRIDE + i] - want) < 1e-4);
			}
	}
	free(w);
	free(bias);
	free(x);
}

/* One number of one head, in double. */
static double attended(const float *qkv, size_t n, size_t hidden, size_t head, size_t h, size_t row, size_t d)
{
	double score[KERNEL_TEXT_MAX], top = -INFINITY, sum = 0, out = 0;

	for (size_t j = 0; j < n; j++) {
		score[j] = 0;
		for (size_t i = 0; i < head; i++)
			score[j] += (double)qkv[row * 3 * hidden + h * head + i] * qkv[j * 3 * hidden + hidden + h * head + i];
		score[j] /= sqrt((double)head);
		top = score[j] > top ? score[j] : top;
	}
	for (size_t j = 0; j < n; j++) {
		sum += exp(score[j] - top);
		out += exp(score[j] - top) * qkv[j * 3 * hidden + 2 * hidden + h * head + d];
	}
	return out / sum;
}

static void check_attention(size_t tokens, size_t heads, size_t head)
{
	size_t hidden = heads * head;
	float *qkv = numbers(tokens * 3 * hidden, 4), *out = calloc(tokens * hidden, sizeof *out);
	float *room = calloc(KERNEL_ATTENTION_ROOM, sizeof *room);

	EACH_FORM(k)
	{
		k->attention(&(struct attention){qkv, out, tokens, hidden, heads, room});
		/* Every token, a few of its numbers. */
		for (size_t row = 0; row < tokens; row++)
			for (size_t at = row % 7; at < hidden; at += 11)
				assert_true(fabs(out[row * hidden + at] -
						 attended(qkv, tokens, hidden, head, at / head, row, at % head)) < 1e-4);
	}
	free(qkv);
	free(out);
	free(room);
}

static void test_attention(void **state)
{
	static const size_t tokens[] = {1, 2, 3, 4, 5, 15, 16, 17, 33, 64};

	for (size_t i = 0; i < sizeof tokens / sizeof tokens[0]; i++) {
		check_attention(tokens[i], 4, 16);
		check_attention(tokens[i], 2, 32);
		check_attention(tokens[i], 2, 48);
	}
	check_attention(KERNEL_TEXT_MAX, 1, 64);
	check_attention(9, 1, KERNEL_HEAD_MAX);
}

static void test_norm(void **state)
{
	enum { N = 192, ROWS = 3 };
	float *x = numbers((size_t)ROWS * N, 5), *add = numbers((size_t)ROWS * N, 5), *gain = numbers(N, 1), *shift = numbers(N, 1);

	x[7] = 200; /* as some channels are */
	EACH_FORM(k)
	{
		float out[ROWS * N];

		memcpy(out, x, sizeof out);
		k->norm(out, add, ROWS, N, gain, shift, 1e-12f);
		for (size_t r = 0; r < ROWS; r++) {
			double mean = 0, square = 0;

			for (size_t i = r * N; i < (r + 1) * N; i++)
				mean += ((double)x[i] + add[i]) / N;
			for (size_t i = r * N; i < (r + 1) * N; i++)
				square += ((double)x[i] + add[i] - mean) * ((double)x[i] + add[i] - mean) / N;
			for (size_t i = 0; i < N; i++) {
				double want = ((double)x[r * N + i] + add[r * N + i] - mean) / sqrt(square + 1e-12);

				assert_true(fabs(out[r * N + i] - (want * gain[i] + shift[i])) < 1e-4);
			}
		}
	}
	free(x);
	free(add);
	free(gain);
	free(shift);
}

static void test_gelu(void **state)
{
	EACH_FORM(k)
	for (int at = -1600; at < 1600; at++) {
		float v[16];

		for (int i = 0; i < 16; i++)
			v[i] = (float)(at + i / 16.0) / 200;
		k->gelu(v, 16);
		for (int i = 0; i < 16; i++) {
			double x = (double)(float)((float)(at + i / 16.0) / 200), want = x / 2 * (1 + erf(x / sqrt(2)));

			if (!(fabs(v[i] - want) < 1e-6))
				fail_msg("%s: gelu(%g) is off by %g", k->name, x, v[i] - want);
		}
	}
	EACH_FORM(k)
	{
		float v[16] = {-1000, 1000, -88, 88, -14, 14, 0, -0.0f};

		k->gelu(v, 16);
		assert_float_equal(v[0], 0, 1e-6);
		assert_float_equal(v[1], 1000, 1e-3);
		assert_float_equal(v[2], 0, 1e-6);
		assert_float_equal(v[3], 88, 1e-4);
		assert_true(v[6] == 0 && v[7] == 0);
	}
}

static void test_widen(void **state)
{
	int8_t p[64];
	float add[64], out[64];

	for (int i = 0; i < 64; i++) {
		p[i] = (int8_t)(i * 4 - 127);
		add[i] = number();
	}
	EACH_FORM(k)
	{
		k->widen(p, 0.5f, add, 64, out);
		for (int i = 0; i < 64; i++)
			assert_float_equal(out[i], p[i] * 0.5 + add[i], 1e-5);
	}
}

static int setup(void **state)
{
	forms_n = kernels_list(forms);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_list),   cmocka_unit_test(test_gemm8),	 cmocka_unit_test(test_narrow),
		cmocka_unit_test(test_gemm32), cmocka_unit_test(test_attention), cmocka_unit_test(test_norm),
		cmocka_unit_test(test_gelu),   cmocka_unit_test(test_widen),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
