/* See index/vector_code.h. */
#include "index/vector_code.h"

#include <math.h>

#define ROUNDS 2
#define TOP ((1 << VECTOR_CODE_PLANES) - 1)

double vector_code_error(uint32_t dims)
{
	/* sqrt(1 / c^2 - 1) / sqrt(dims - 1), c: the cosine of a vector and its signs, which is about sqrt(2 / pi). */
	return dims > 1 ? fmin(1, 0.7555 / sqrt((double)dims - 1)) : 1;
}

/* ---------------------------------------------------------------- the rotation */

/* Random signs, always the same (splitmix64). */
static uint64_t signs_of(unsigned round, uint32_t word)
{
	uint64_t z = ((uint64_t)round << 32 | word) * UINT64_C(0x9e3779b97f4a7c15) + UINT64_C(0x632be59bd9b4e019);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static void flip(float *x, uint32_t n, unsigned round)
{
	for (uint32_t at = 0; at < n; at += 64) {
		uint64_t bits = signs_of(round, at / 64);

		for (uint32_t i = at; i < n && i < at + 64; i++, bits >>= 1)
			x[i] = bits & 1 ? -x[i] : x[i];
	}
}

/* Walsh-Hadamard; n: a power of two. Lengths stay. */
static void hadamard(float *x, uint32_t n)
{
	float scale = 1 / sqrtf((float)n);

	for (uint32_t half = 1; half < n; half *= 2)
		for (uint32_t at = 0; at < n; at += 2 * half)
			for (uint32_t i = at; i < at + half; i++) {
				float a = x[i], b = x[i + half];

				x[i] = a + b;
				x[i + half] = a - b;
			}
	for (uint32_t i = 0; i < n; i++)
		x[i] *= scale;
}

/* Where dims is no power of two: its first and its last part that are one, which overlap. */
void vector_code_rotate(float *x, uint32_t dims)
{
	uint32_t n = 1;

	while (n * 2 <= dims)
		n *= 2;
	for (unsigned round = 0; round < ROUNDS; round++) {
		flip(x, dims, 2 * round);
		hadamard(x, n);
		if (n == dims)
			continue;
		flip(x, dims, 2 * round + 1);
		hadamard(x + dims - n, n);
	}
}

struct vector_code_row vector_code_make(const struct vector *v, const float *centre, float *scratch, uint64_t *code)
{
	float dot = 0, square = 0, shift = 0;

	vector_floats(v, scratch);
	vector_code_rotate(scratch, v->dims);
	memset(code, 0, vector_code_words(v->dims) * sizeof *code);
	for (uint32_t i = 0; i < v->dims; i++) {
		float left = scratch[i] - centre[i];

		code[i / 64] |= (uint64_t)(left > 0) << i % 64;
		dot += fabsf(left);
		square += left * left;
		shift += left * centre[i];
	}
	return (struct vector_code_row){dot > 0 ? square / dot : 0, shift};
}

/* ---------------------------------------------------------------- questions */

enum err vector_code_question(struct arena *a, const struct vector_question *q, const float *centre,
			      struct vector_code_question *out)
{
	float *x = ARENA_ARRAY(a, float, q->dims), least = INFINITY, most = -INFINITY;

	*out = (struct vector_code_question){.words = vector_code_words(q->dims)};
	out->planes = arena_zalloc(a, out->words * VECTOR_CODE_PLANES * sizeof *out->planes);
	if (!x || !out->planes)
		return E_NOMEM;
	for (uint32_t i = 0; i < q->dims; i++)
		x[i] = (float)(q->fine[i] * q->fine_scale);
	vector_code_rotate(x, q->dims);
	for (uint32_t i = 0; i < q->dims; i++) {
		out->base += x[i] * centre[i];
		x[i] -= centre[i];
		out->distance += (double)x[i] * (double)x[i];
		least = fminf(least, x[i]);
		most = fmaxf(most, x[i]);
		out->sum += x[i];
	}
	out->distance = sqrt(out->distance);
	out->least = least;
	out->step = most > least ? (most - least) / TOP : 1;
	for (uint32_t i = 0; i < q->dims; i++) {
		uint64_t level = (uint64_t)((x[i] - least) / out->step + 0.5f);

		for (unsigned p = 0; p < VECTOR_CODE_PLANES; p++)
			out->planes[i / 64 * VECTOR_CODE_PLANES + p] |= (level >> p & 1) << i % 64;
	}
	return OK;
}

/* ---------------------------------------------------------------- the scan */

/* The sum of the question's components where the code has a 1, twice, less the sum of all, is their product with the signs. */
static inline __attribute__((always_inline)) void scan(const struct vector_code_question *q, const uint64_t *codes,
						       const struct vector_code_row *rows, size_t n, size_t words, float *out)
{
	for (size_t i = 0; i < n; i++, codes += words) {
		const uint64_t *plane = q->planes;
		int ones = 0, levels = 0;

		for (size_t w = 0; w < words; w++, plane += VECTOR_CODE_PLANES) {
			ones += __builtin_popcountll(codes[w]);
			for (int p = 0; p < VECTOR_CODE_PLANES; p++)
				levels += __builtin_popcountll(codes[w] & plane[p]) << p;
		}
		out[i] = (2 * (q->least * (float)ones + q->step * (float)levels) - q->sum) * rows[i].factor + rows[i].shift +
			 q->base;
	}
}

#if defined(__x86_64__)
__attribute__((target("popcnt"))) static void scan_popcnt(const struct vector_code_question *q, const uint64_t *codes,
							  const struct vector_code_row *rows, size_t n, float *out)
{
	if (q->words == 6) /* 384 dimensions: the loop is unrolled */
		scan(q, codes, rows, n, 6, out);
	else
		scan(q, codes, rows, n, q->words, out);
}
#endif

void vector_code_scan(const struct vector_code_question *q, const uint64_t *codes, const struct vector_code_row *rows, size_t n,
		      float *out)
{
#if defined(__x86_64__)
	__builtin_cpu_init();
	if (__builtin_cpu_supports("popcnt")) {
		scan_popcnt(q, codes, rows, n, out);
		return;
	}
#endif
	scan(q, codes, rows, n, q->words, out);
}
