/* What the forms of kernels.h have in common, written for vectors of LANES numbers. A form defines before it includes this file
 *
 *   FORM       attributes of its functions (which instructions they may use)
 *   LANES      4, 8 or 16
 *   vmax, vmin, vsum, vtop, vlow    of vf: the larger, the smaller; over the lanes: sum, maximum, minimum
 *   q_t        the type of a quantised activation
 *
 * and gets quantise, gemm32, attention, norm, gelu, widen and narrow; gemm8 is the form's own. Memory is read and written
 * unaligned. */
#include <math.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline)) FORM

/* Loops written out, so that sums[i][j] are registers whatever the compiler and its level of optimisation. */
#define ONCE(i, value, ...)                                                                                                        \
	{                                                                                                                          \
		enum { i = value };                                                                                                \
		__VA_ARGS__                                                                                                        \
	}
#define TWO(i, ...)                                                                                                                \
	{                                                                                                                          \
		ONCE(i, 0, __VA_ARGS__) ONCE(i, 1, __VA_ARGS__)                                                                    \
	}
#define FOUR(i, ...)                                                                                                               \
	{                                                                                                                          \
		TWO(i, __VA_ARGS__) ONCE(i, 2, __VA_ARGS__) ONCE(i, 3, __VA_ARGS__)                                                \
	}
#define SIX(i, ...)                                                                                                                \
	{                                                                                                                          \
		FOUR(i, __VA_ARGS__) ONCE(i, 4, __VA_ARGS__) ONCE(i, 5, __VA_ARGS__)                                               \
	}

typedef int32_t vi __attribute__((vector_size(4 * LANES)));
typedef int8_t vb __attribute__((vector_size(LANES)));
typedef q_t vq __attribute__((vector_size(sizeof(q_t) * LANES)));

#define TINY 1e-30f /* below, its reciprocal times 255 would not be finite */

INLINE vf load(const float *p)
{
	vf v;

	memcpy(&v, p, sizeof v);
	return v;
}
INLINE void store(float *p, vf v)
{
	memcpy(p, &v, sizeof v);
}
INLINE vf all(float x)
{
	return x - (vf){0};
}
INLINE vf bits(vi v)
{
	return (vf)v;
}

/* e^x for x <= 88; what is below -87 counts as -87. 2^n times the Taylor series to the sixth power on |r| <= ln 2 / 2: relative
 * error below 3e-7. */
INLINE vf exp_of(vf x)
{
	const float round = 12582912.0f; /* 1.5 * 2^23: adding it leaves the nearest integer in the low bits */
	vf n, r, p;

	x = vmax(x, all(-87.0f));
	n = x * 1.44269504f + round;
	r = x - (n - round) * 0.693145752f;
	r = r - (n - round) * 1.42860677e-6f;
	p = 1.0f / 120 + r * (1.0f / 720);
	p = 1.0f / 24 + r * p;
	p = 1.0f / 6 + r * p;
	p = 0.5f + r * p;
	p = 1.0f + r * p;
	p = 1.0f + r * p;
	return p * bits(((vi)n - 0x4b400000 + 127) << 23);
}

/* x Phi(x) = max(x, 0) - |x| erfc(|x| / sqrt 2) / 2, with erfc from Abramowitz and Stegun 7.1.26 (absolute error 1.5e-7). */
INLINE vf gelu_of(vf x)
{
	vf z = vmax(x, -x) * 0.707106781f, t = 1.0f / (1.0f + 0.3275911f * z), p;

	p = -1.453152027f + t * 1.061405429f;
	p = 1.421413741f + t * p;
	p = -0.284496736f + t * p;
	p = 0.254829592f + t * p;
	return vmax(x, all(0)) - z * 0.707106781f * (t * p * exp_of(-z * z));
}

FORM static void gelu(float *x, size_t n)
{
	for (size_t i = 0; i < n; i += LANES)
		store(x + i, gelu_of(load(x + i)));
}

FORM static void widen(const int8_t *p, float scale, const float *add, size_t n, float *out)
{
	for (size_t i = 0; i < n; i += LANES) {
		vb b;

		memcpy(&b, p + i, sizeof b);
		store(out + i, __builtin_convertvector(b, vf) * scale + load(add + i));
	}
}

FORM static float narrow(const float *w, size_t n, int8_t *p, int32_t *sum)
{
	const float round = 12582912.0f;
	vf top = {0}, nothing = {0};
	vi total = {0};
	float most, inv;

	for (size_t i = 0; i < n; i += LANES) {
		vf x = load(w + i);

		top = vmax(top, vmax(x, -x));
		nothing += x - x; /* 0, or NaN when x is not finite */
	}
	*sum = 0;
	most = vtop(top);
	if (!(vsum(nothing) == 0))
		return NAN;
	inv = most > TINY ? 127.0f / most : 0;
	for (size_t i = 0; i < n; i += LANES) {
		vi v = (vi)(load(w + i) * inv + round) - 0x4b400000;
		vb b = __builtin_convertvector(v, vb);

		total += v;
		memcpy(p + i, &b, sizeof b);
	}
	for (size_t l = 0; l < LANES; l++)
		*sum += total[l];
	return most / 127.0f;
}

FORM static void norm(float *x, const float *add, size_t rows, size_t n, const float *gain, const float *shift, float eps)
{
	for (size_t r = 0; r < rows; r++, x += n) {
		vf sum = {0}, square = {0};
		float mean, inv;

		if (add) {
			for (size_t i = 0; i < n; i += LANES)
				store(x + i, load(x + i) + load(add + i));
			add += n;
		}
		for (size_t i = 0; i < n; i += LANES)
			sum += load(x + i);
		mean = vsum(sum) / (float)n;
		for (size_t i = 0; i < n; i += LANES) {
			vf d = load(x + i) - mean;

			square += d * d;
		}
		inv = 1.0f / sqrtf(vsum(square) / (float)n + eps);
		for (size_t i = 0; i < n; i += LANES)
			store(x + i, (load(x + i) - mean) * inv * load(gain + i) + load(shift + i));
	}
}

FORM static void quantise(const float *x, size_t rows, size_t k, void *to, struct quant *groups)
{
	const float round = 12582912.0f;
	q_t *q = to;

	for (size_t r = 0; r < rows; r++, x += k, q += k)
		for (size_t g = 0; g < k; g += KERNEL_GROUP) {
			size_t end = g + KERNEL_GROUP < k ? g + KERNEL_GROUP : k;
			vf top = load(x + g), low = top;
			float lo, span, inv;

			for (size_t i = g + LANES; i < end; i += LANES) {
				top = vmax(top, load(x + i));
				low = vmin(low, load(x + i));
			}
			lo = vlow(low);
			span = vtop(top) - lo;
			inv = span > TINY ? 255.0f / span : 0;
			*groups++ = (struct quant){span / 255.0f, lo};
			for (size_t i = g; i < end; i += LANES) {
				vi v = (vi)((load(x + i) - lo) * inv + round) & 255;
				vq b = __builtin_convertvector(v, vq);

				memcpy(q + i, &b, sizeof b);
			}
		}
}

/* rows x cols outputs at once: the dot product of each row of x with each row of w. */
INLINE void dense_tile(const struct dense *w, const float *x, size_t col, float *out, size_t stride, const size_t rows)
{
	const float *at = w->w + col * w->k;
	vf acc[4][4] = {{{0}}};

	for (size_t i = 0; i < w->k; i += LANES) {
		vf in[4];

		FOUR(r, if (r < rows) in[r] = load(x + r * w->k + i);)
		FOUR(c, vf weight = load(at + c * w->k + i); FOUR(r, if (r < rows) acc[r][c] += in[r] * weight;))
	}
	FOUR(r, if (r < rows) FOUR(c, out[r * stride + col + c] = vsum(acc[r][c]) + w->bias[col + c];))
}

FORM static void gemm32(const struct dense *w, const float *x, size_t rows, float *out, size_t stride)
{
	for (size_t col = 0; col < w->n; col += 4) {
		size_t r = 0;

		for (; r + 4 <= rows; r += 4)
			dense_tile(w, x + r * w->k, col, out + r * stride, stride, 4);
		for (; r < rows; r++)
			dense_tile(w, x + r * w->k, col, out + r * stride, stride, 1);
	}
}

/* Scores of four queries against `wide` keys (a multiple of LANES), turned: keys[d * wide + j]. */
INLINE void scores_of(const float *const q[4], const float *keys, size_t wide, size_t head, float *scores)
{
	for (size_t j = 0; j < wide; j += LANES) {
		vf acc[4] = {{0}};

		for (size_t d = 0; d < head; d++) {
			vf k = load(keys + d * wide + j);

			FOUR(r, acc[r] += q[r][d] * k;)
		}
		FOUR(r, store(scores + r * wide + j, acc[r]);)
	}
}

/* e^(scale (x - max)), 0 behind n; returns 1 / sum. */
INLINE float softmax(float *x, size_t n, size_t wide, float scale)
{
	vf top, sum = {0};
	float most;

	for (size_t j = n; j < wide; j++)
		x[j] = -INFINITY;
	top = load(x);
	for (size_t j = LANES; j < wide; j += LANES)
		top = vmax(top, load(x + j));
	most = vtop(top);
	for (size_t j = 0; j < wide; j += LANES)
		store(x + j, exp_of((load(x + j) - most) * scale));
	for (size_t j = n; j < wide; j++)
		x[j] = 0;
	for (size_t j = 0; j < wide; j += LANES)
		sum += load(x + j);
	return 1.0f / vsum(sum);
}

/* Two vectors of the weighted sum of values, for four queries. */
INLINE void mix_of(const float *p, size_t wide, const float *inv, const float *v, size_t stride, size_t n, float *const out[4],
		   const size_t vectors)
{
	vf acc[4][2] = {{{0}}};

	for (size_t j = 0; j < n; j++)
		TWO(
			c, if (c < vectors) {
				vf value = load(v + j * stride + c * LANES);

				FOUR(r, acc[r][c] += p[r * wide + j] * value;)
			})
	FOUR(r, TWO(c, if (c < vectors) store(out[r] + c * LANES, acc[r][c] * inv[r]);))
}

FORM static void attend(const struct attention *t, size_t h, const float *keys, float *scores, size_t wide)
{
	size_t head = t->hidden / t->heads, stride = 3 * t->hidden, last = t->tokens - 1;
	const float *base = t->qkv + h * head;
	float scale = 1.0f / sqrtf((float)head);

	for (size_t i = 0; i < t->tokens; i += 4) {
		const float *q[4];
		float *out[4], inv[4];

		/* What is missing to four is the last one again. */
		for (size_t r = 0; r < 4; r++) {
			size_t row = i + r < last ? i + r : last;

			q[r] = base + row * stride;
			out[r] = t->out + row * t->hidden + h * head;
		}
		scores_of(q, keys, wide, head, scores);
		for (size_t r = 0; r < 4; r++)
			inv[r] = softmax(scores + r * wide, t->tokens, wide, scale);
		for (size_t d = 0; d < head; d += LANES * 2) {
			float *to[4] = {out[0] + d, out[1] + d, out[2] + d, out[3] + d};
			const float *v = base + 2 * t->hidden + d;

			if (d + LANES < head)
				mix_of(scores, wide, inv, v, stride, t->tokens, to, 2);
			else
				mix_of(scores, wide, inv, v, stride, t->tokens, to, 1);
		}
	}
}

FORM static void attention(const struct attention *t)
{
	size_t head = t->hidden / t->heads, wide = (t->tokens + LANES - 1) / LANES * LANES;
	float *keys = t->room, *scores = t->room + KERNEL_HEAD_MAX * KERNEL_TEXT_MAX;

	for (size_t h = 0; h < t->heads; h++) {
		const float *from = t->qkv + t->hidden + h * head;

		for (size_t d = 0; d < head; d++)
			memset(keys + d * wide + t->tokens, 0, (wide - t->tokens) * sizeof *keys);
		for (size_t j = 0; j < t->tokens; j++)
			for (size_t d = 0; d < head; d++)
				keys[d * wide + j] = from[j * 3 * t->hidden + d];
		attend(t, h, keys, scores, wide);
	}
}
