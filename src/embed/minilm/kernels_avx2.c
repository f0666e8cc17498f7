/* The form for AVX2 with FMA. Products of 8 bits are made in 16, where pairs of them can be added without loss; the instruction
 * that multiplies bytes (vpmaddubsw) would saturate. */
#include "embed/minilm/kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define FORM __attribute__((target("avx2,fma")))
#define LANES 8
typedef __m256 vf;
typedef int16_t q_t;

FORM static inline vf vmax(vf a, vf b)
{
	return _mm256_max_ps(a, b);
}
FORM static inline vf vmin(vf a, vf b)
{
	return _mm256_min_ps(a, b);
}
FORM static inline float vsum(vf v)
{
	__m128 x = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));

	x = _mm_add_ps(x, _mm_movehl_ps(x, x));
	return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}
FORM static inline float vtop(vf v)
{
	__m128 x = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));

	x = _mm_max_ps(x, _mm_movehl_ps(x, x));
	return _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)));
}
FORM static inline float vlow(vf v)
{
	__m128 x = _mm_min_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));

	x = _mm_min_ps(x, _mm_movehl_ps(x, x));
	return _mm_cvtss_f32(_mm_min_ss(x, _mm_movehdup_ps(x)));
}

#include "embed/minilm/kernels_impl.h"

#define TILE_ROWS 3 /* times 16 outputs: 12 sums, a vector of weights and an activation fit the 16 registers */

#define THREE(i, ...)                                                                                                              \
	{                                                                                                                          \
		TWO(i, __VA_ARGS__) ONCE(i, 2, __VA_ARGS__)                                                                        \
	}

/* Four pairs of sums for four outputs each: adds the pairs, two vectors to one, outputs in order. */
INLINE __m256i join(__m256i a, __m256i b)
{
	return _mm256_permute4x64_epi64(_mm256_hadd_epi32(a, b), 0xd8);
}

INLINE __m256i four_words(const int16_t *p)
{
	int64_t four;

	memcpy(&four, p, sizeof four);
	return _mm256_set1_epi64x(four);
}

/* 16 of the panel's outputs in one group for `rows` rows. */
INLINE void group_tile(const int8_t *w, const int16_t *q, size_t k, size_t n4, const float *scale, const float *lift,
		       const struct quant *at, size_t per_row, float *out, size_t stride, const size_t rows)
{
	__m256i sum[TILE_ROWS][4];

	THREE(r, FOUR(c, sum[r][c] = _mm256_setzero_si256();))
	for (size_t i = 0; i < n4; i++, w += 4 * KERNEL_PANEL) {
		__m256i a[TILE_ROWS];

		THREE(r, if (r < rows) a[r] = four_words(q + r * k + i * 4);)
		FOUR(c, {
			__m256i p = _mm256_cvtepi8_epi16(_mm_load_si128((const __m128i *)(const void *)(w + c * 16)));

			THREE(r, if (r < rows) sum[r][c] = _mm256_add_epi32(sum[r][c], _mm256_madd_epi16(a[r], p));)
		})
	}
	TWO(c, {
		vf t = load(scale + c * 8), l = load(lift + c * 8);

		THREE(
			r, if (r < rows) {
				float *to = out + r * stride + c * 8;
				vf x = _mm256_cvtepi32_ps(join(sum[r][2 * c], sum[r][2 * c + 1]));

				store(to, load(to) + (at[r * per_row].scale * (x * t) + at[r * per_row].lo * l));
			})
	})
}

INLINE void panel_tile(const struct packed *w, size_t p, const int16_t *q, const struct quant *at, float *out, const size_t rows)
{
	size_t per_row = kernel_groups(w->k);

	for (size_t r = 0; r < rows; r++)
		memcpy(out + r * w->n, w->bias + p * KERNEL_PANEL, KERNEL_PANEL * sizeof *out);
	for (size_t g = 0; g < per_row; g++) {
		size_t k = g * KERNEL_GROUP, end = k + KERNEL_GROUP < w->k ? k + KERNEL_GROUP : w->k;
		const int8_t *from = w->w + (p * w->k + k) * KERNEL_PANEL;

		for (size_t c = 0; c < KERNEL_PANEL; c += 16) {
			size_t of = (p * per_row + g) * KERNEL_PANEL + c;

			group_tile(from + c * 4, q + k, w->k, (end - k) / 4, w->scale + of, w->lift + of, at + g, per_row, out + c,
				   w->n, rows);
		}
	}
}

FORM static void gemm8(const struct packed *w, const void *from, const struct quant *groups, size_t rows, float *out)
{
	size_t per_row = kernel_groups(w->k), panels = w->n / KERNEL_PANEL;

	for (size_t p = 0; p < panels; p++)
		for (size_t r = 0; r < rows; r += TILE_ROWS) {
			const int16_t *q = (const int16_t *)from + r * w->k;
			const struct quant *at = groups + r * per_row;
			float *to = out + r * w->n + p * KERNEL_PANEL;

			if (rows - r >= TILE_ROWS)
				panel_tile(w, p, q, at, to, TILE_ROWS);
			else if (rows - r == 2)
				panel_tile(w, p, q, at, to, 2);
			else
				panel_tile(w, p, q, at, to, 1);
		}
}

const struct kernels kernels_avx2 = {"avx2", quantise, gemm8, gemm32, attention, norm, gelu, widen, narrow};
#endif
