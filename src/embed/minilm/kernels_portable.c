/* The form for any processor: vectors of 16 bytes, which compilers turn into what there is. */
#include "embed/minilm/kernels.h"

#define FORM
#define LANES 4
typedef float vf __attribute__((vector_size(16)));
typedef int32_t mask_t __attribute__((vector_size(16)));
typedef uint8_t q_t;

static inline vf choose(mask_t m, vf yes, vf no)
{
	return (vf)(((mask_t)yes & m) | ((mask_t)no & ~m));
}
static inline vf vmax(vf a, vf b)
{
	return choose(a > b, a, b);
}
static inline vf vmin(vf a, vf b)
{
	return choose(a < b, a, b);
}
static inline float vsum(vf v)
{
	return (v[0] + v[2]) + (v[1] + v[3]);
}
static inline float vtop(vf v)
{
	float a = v[0] > v[1] ? v[0] : v[1], b = v[2] > v[3] ? v[2] : v[3];

	return a > b ? a : b;
}
static inline float vlow(vf v)
{
	float a = v[0] < v[1] ? v[0] : v[1], b = v[2] < v[3] ? v[2] : v[3];

	return a < b ? a : b;
}

#include "embed/minilm/kernels_impl.h"

/* Four activations for four outputs at a time: a product of 8 bits each fits in 16. */
static void panel_row(const int8_t *w, const uint8_t *q, size_t n4, int32_t sum[KERNEL_PANEL])
{
	for (size_t i = 0; i < n4; i++, w += 4 * KERNEL_PANEL, q += 4)
		for (size_t c = 0; c < KERNEL_PANEL; c++) {
			const int8_t *p = w + c * 4;

			sum[c] += (int16_t)(p[0] * q[0]) + (int16_t)(p[1] * q[1]) + (int16_t)(p[2] * q[2]) + (int16_t)(p[3] * q[3]);
		}
}

static void gemm8(const struct packed *w, const void *from, const struct quant *groups, size_t rows, float *out)
{
	size_t per_row = kernel_groups(w->k), panels = w->n / KERNEL_PANEL;

	for (size_t p = 0; p < panels; p++)
		for (size_t r = 0; r < rows; r++) {
			const uint8_t *q = (const uint8_t *)from + r * w->k;
			const struct quant *at = groups + r * per_row;
			float *to = out + r * w->n + p * KERNEL_PANEL;

			memcpy(to, w->bias + p * KERNEL_PANEL, KERNEL_PANEL * sizeof *to);
			for (size_t g = 0; g < per_row; g++) {
				size_t from_k = g * KERNEL_GROUP, end = from_k + KERNEL_GROUP < w->k ? from_k + KERNEL_GROUP : w->k;
				const float *scale = w->scale + (p * per_row + g) * KERNEL_PANEL;
				const float *lift = w->lift + (p * per_row + g) * KERNEL_PANEL;
				int32_t sum[KERNEL_PANEL] = {0};

				panel_row(w->w + (p * w->k + from_k) * KERNEL_PANEL, q + from_k, (end - from_k) / 4, sum);
				for (size_t c = 0; c < KERNEL_PANEL; c++)
					to[c] += at[g].scale * ((float)sum[c] * scale[c]) + at[g].lo * lift[c];
			}
		}
}

const struct kernels kernels_portable = {"portable", quantise, gemm8, gemm32, attention, norm, gelu, widen, narrow};
