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

/* Sums of a group are below 2^24 (128 * 255 * 127), so float32 adds them exactly; without an instruction for products of bytes that
 * is faster than integers (10 against 7 products a nanosecond with SSE2). */
#define TILE 4 /* rows */

/* The weights of one group of one panel as rows of KERNEL_PANEL numbers, one for each input. */
static void spread(const int8_t *w, size_t n, float *to)
{
	for (size_t i = 0; i < n; i++, to += KERNEL_PANEL)
		for (size_t c = 0; c < KERNEL_PANEL; c++) {
			size_t four = i / 4, at = four * (4 * KERNEL_PANEL) + c * 4 + i % 4;

			to[c] = w[at];
		}
}

/* Sums of TILE rows for 2 * LANES outputs, then their share of the output. */
static void group_tile(const float *w, const float *const q[TILE], size_t n, const float *scale, const float *lift,
		       const struct quant *const at[TILE], float *const out[TILE])
{
	vf sum[TILE][2] = {{{0}}};

	for (size_t i = 0; i < n; i++, w += KERNEL_PANEL) {
		vf w0 = load(w), w1 = load(w + LANES);

		FOUR(r, sum[r][0] += q[r][i] * w0; sum[r][1] += q[r][i] * w1;)
	}
	FOUR(r, TWO(c, {
		     float *to = out[r] + c * LANES;

		     store(to,
			   load(to) + (at[r]->scale * (sum[r][c] * load(scale + c * LANES)) + at[r]->lo * load(lift + c * LANES)));
	     }))
}

/* One group of one panel, for all rows. */
static void group_rows(const struct packed *w, size_t p, size_t g, const uint8_t *from, const struct quant *groups, size_t rows,
		       float *out)
{
	size_t per_row = kernel_groups(w->k), k = g * KERNEL_GROUP, left = w->k - k, n = left < KERNEL_GROUP ? left : KERNEL_GROUP;
	size_t of = (p * per_row + g) * KERNEL_PANEL;
	float wide[KERNEL_GROUP * KERNEL_PANEL], q[TILE][KERNEL_GROUP], unused[KERNEL_PANEL] = {0};

	spread(w->w + (p * w->k + k) * KERNEL_PANEL, n, wide);
	for (size_t r = 0; r < rows; r += TILE) {
		const struct quant *at[TILE];
		const float *in[TILE];
		float *to[TILE];

		/* What is missing to four is the last row again, for nobody. */
		for (size_t i = 0; i < TILE; i++) {
			size_t row = r + i < rows ? r + i : rows - 1;

			for (size_t j = 0; j < n; j++)
				q[i][j] = from[row * w->k + k + j];
			in[i] = q[i];
			at[i] = groups + row * per_row + g;
			to[i] = r + i < rows ? out + row * w->n + p * KERNEL_PANEL : unused;
		}
		for (size_t c = 0; c < KERNEL_PANEL; c += 2 * LANES) {
			float *part[TILE] = {to[0] + c, to[1] + c, to[2] + c, to[3] + c};

			group_tile(wide + c, in, n, w->scale + of + c, w->lift + of + c, at, part);
		}
	}
}

static void gemm8(const struct packed *w, const void *from, const struct quant *groups, size_t rows, float *out)
{
	for (size_t r = 0; r < rows; r++)
		memcpy(out + r * w->n, w->bias, w->n * sizeof *out);
	for (size_t p = 0; p < w->n / KERNEL_PANEL; p++)
		for (size_t g = 0; g < kernel_groups(w->k); g++)
			group_rows(w, p, g, from, groups, rows, out);
}

const struct kernels kernels_portable = {"portable", quantise, gemm8, gemm32, attention, norm, gelu, widen, narrow};
