/* The form for AVX-512 with VNNI: four products of 8 bits added to a sum in one instruction. */
#include "embed/minilm/kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define FORM __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma")))
#define LANES 16
typedef __m512 vf;
typedef uint8_t q_t;

FORM static inline vf vmax(vf a, vf b)
{
	return _mm512_max_ps(a, b);
}
FORM static inline vf vmin(vf a, vf b)
{
	return _mm512_min_ps(a, b);
}
FORM static inline float vsum(vf v)
{
	return _mm512_reduce_add_ps(v);
}
FORM static inline float vtop(vf v)
{
	return _mm512_reduce_max_ps(v);
}
FORM static inline float vlow(vf v)
{
	return _mm512_reduce_min_ps(v);
}

#include "embed/minilm/kernels_impl.h"

#define TILE_ROWS 6 /* times 4 vectors: 24 sums, 4 weights and an activation fit the 32 registers */

/* One group of one panel for `rows` rows: sums, then their share of the output. */
INLINE void group_tile(const int8_t *w, const uint8_t *q, size_t k, size_t n4, const float *scale, const float *lift,
		       const struct quant *at, size_t per_row, float *out, size_t stride, const size_t rows)
{
	__m512i sum[TILE_ROWS][4];

	EACH(r, rows)
		EACH(c, 4)
			sum[r][c] = _mm512_setzero_si512();
	for (size_t i = 0; i < n4; i++, w += 4 * KERNEL_PANEL) {
		__m512i p[4];

		EACH(c, 4)
			p[c] = _mm512_load_si512(w + c * 64);
		EACH(r, rows) {
			int32_t four;
			__m512i a;

			memcpy(&four, q + r * k + i * 4, sizeof four);
			a = _mm512_set1_epi32(four);
			EACH(c, 4)
				sum[r][c] = _mm512_dpbusd_epi32(sum[r][c], a, p[c]);
		}
	}
	EACH(c, 4) {
		vf t = load(scale + c * 16), l = load(lift + c * 16);

		EACH(r, rows) {
			float *to = out + r * stride + c * 16;
			vf add = at[r * per_row].scale * (_mm512_cvtepi32_ps(sum[r][c]) * t) + at[r * per_row].lo * l;

			store(to, load(to) + add);
		}
	}
}

INLINE void panel_tile(const struct packed *w, size_t p, const uint8_t *q, const struct quant *at, float *out, const size_t rows)
{
	size_t per_row = kernel_groups(w->k);

	EACH(r, rows)
		memcpy(out + r * w->n, w->bias + p * KERNEL_PANEL, KERNEL_PANEL * sizeof *out);
	for (size_t g = 0; g < per_row; g++) {
		size_t k = g * KERNEL_GROUP, end = k + KERNEL_GROUP < w->k ? k + KERNEL_GROUP : w->k, of = (p * per_row + g) * KERNEL_PANEL;

		group_tile(w->w + (p * w->k + k) * KERNEL_PANEL, q + k, w->k, (end - k) / 4, w->scale + of, w->lift + of, at + g, per_row,
			   out, w->n, rows);
	}
}

FORM static void gemm8(const struct packed *w, const void *from, const struct quant *groups, size_t rows, float *out)
{
	size_t per_row = kernel_groups(w->k), panels = w->n / KERNEL_PANEL;

	for (size_t p = 0; p < panels; p++)
		for (size_t r = 0; r < rows; r += TILE_ROWS) {
			const uint8_t *q = (const uint8_t *)from + r * w->k;
			const struct quant *at = groups + r * per_row;
			float *to = out + r * w->n + p * KERNEL_PANEL;

			switch (rows - r) {
			case 1:
				panel_tile(w, p, q, at, to, 1);
				break;
			case 2:
				panel_tile(w, p, q, at, to, 2);
				break;
			case 3:
				panel_tile(w, p, q, at, to, 3);
				break;
			case 4:
				panel_tile(w, p, q, at, to, 4);
				break;
			case 5:
				panel_tile(w, p, q, at, to, 5);
				break;
			default:
				panel_tile(w, p, q, at, to, TILE_ROWS);
			}
		}
}

const struct kernels kernels_avx512 = {"avx512", quantise, gemm8, gemm32, attention, norm, gelu, widen, narrow};
#endif
