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

/* Four bytes of activations, for every lane. */
INLINE vi four_bytes(const uint8_t *p)
{
	int32_t four;

	memcpy(&four, p, sizeof four);
	return (vi){0} + four;
}

INLINE vi weights_at(const int8_t *p)
{
	vi v;

	memcpy(&v, p, sizeof v);
	return v;
}

/* sum += products of unsigned a and signed p. Not by the intrinsic: gcc 12 then moves each sum to another register and to the stack
 * whenever it has changed, which takes twice the time. */
INLINE vi dot(vi sum, vi a, vi p)
{
	__asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(p));
	return sum;
}

INLINE void give(vi sum, const float *scale, const float *lift, const struct quant *at, float *out)
{
	store(out, load(out) + (at->scale * (__builtin_convertvector(sum, vf) * load(scale)) + at->lo * load(lift)));
}

/* One group of one panel for `rows` rows: sums, then their share of the output. */
INLINE void group_tile(const int8_t *w, const uint8_t *q, size_t k, size_t n4, const float *scale, const float *lift,
		       const struct quant *at, size_t per_row, float *out, size_t stride, const size_t rows)
{
	vi sum[TILE_ROWS][4];

	SIX(r, FOUR(c, sum[r][c] = (vi){0};))
	for (size_t i = 0; i < n4; i++, w += 4 * KERNEL_PANEL) {
		vi p0 = weights_at(w), p1 = weights_at(w + 64), p2 = weights_at(w + 128), p3 = weights_at(w + 192);

		SIX(
			r, if (r < rows) {
				vi a = four_bytes(q + r * k + i * 4);

				sum[r][0] = dot(sum[r][0], a, p0);
				sum[r][1] = dot(sum[r][1], a, p1);
				sum[r][2] = dot(sum[r][2], a, p2);
				sum[r][3] = dot(sum[r][3], a, p3);
			})
	}
	SIX(r, if (r < rows) FOUR(c, give(sum[r][c], scale + c * 16, lift + c * 16, at + r * per_row, out + r * stride + c * 16);))
}

INLINE void panel_tile(const struct packed *w, size_t p, const uint8_t *q, const struct quant *at, float *out, const size_t rows)
{
	size_t per_row = kernel_groups(w->k);

	for (size_t r = 0; r < rows; r++)
		memcpy(out + r * w->n, w->bias + p * KERNEL_PANEL, KERNEL_PANEL * sizeof *out);
	for (size_t g = 0; g < per_row; g++) {
		size_t k = g * KERNEL_GROUP, end = k + KERNEL_GROUP < w->k ? k + KERNEL_GROUP : w->k,
		       of = (p * per_row + g) * KERNEL_PANEL;

		group_tile(w->w + (p * w->k + k) * KERNEL_PANEL, q + k, w->k, (end - k) / 4, w->scale + of, w->lift + of, at + g,
			   per_row, out, w->n, rows);
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
