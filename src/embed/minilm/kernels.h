/* The arithmetic of the encoder, in three forms: portable C, AVX2, AVX-512 with VNNI. kernels_choose takes the best that the
 * processor has. All forms give the same sums of products of integers, and the same floating-point results within rounding.
 *
 * Eight-bit products. A row of activations is cut into groups of KERNEL_GROUP numbers; a group is x = lo + s q with q in 0..255.
 * A row of weights is cut the same way; a group is w = t p with p in -127..127. So
 *
 *     sum x w = sum over groups of  s t (sum q p)  +  lo t (sum p)
 *
 * where t (sum p) is known when weights are packed (`lift`). Groups, rather than a scale for a row, because a few channels of
 * BERT's layers are ten times larger than the rest (docs/design/encoder.md has the figures).
 *
 * Packed weights: panels of KERNEL_PANEL outputs; a panel holds for each 4 inputs the 4 weights of each of its outputs in turn.
 *
 * Nothing here allocates, waits or fails. Thread-safe. Every number of inputs and outputs is a multiple of KERNEL_PANEL. */
#ifndef CENOTE_EMBED_MINILM_KERNELS_H
#define CENOTE_EMBED_MINILM_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#define KERNEL_PANEL 64u
#define KERNEL_GROUP 128u
#define KERNEL_HEAD_MAX 128u  /* numbers of a head of attention, a multiple of 16 */
#define KERNEL_TEXT_MAX 256u  /* tokens of a text */
#define KERNEL_QUANT_BYTES 2u /* room for each quantised activation; a form may use less */
#define KERNEL_ALIGN 64u      /* of packed weights */

static inline size_t kernel_groups(size_t k)
{
	return (k + KERNEL_GROUP - 1) / KERNEL_GROUP;
}

/* How a group of activations is to be read. */
struct quant {
	float scale, lo;
};

/* A layer of n outputs and k inputs. */
struct packed {
	uint32_t n, k;
	int8_t *w;    /* n times k, in panels */
	float *scale; /* t: for each panel, for each group, for each of its outputs */
	float *lift;  /* t (sum p), likewise */
	float *bias;  /* n */
};

struct dense {
	uint32_t n, k;
	const float *w; /* n rows of k */
	const float *bias;
};

/* One text for attention: tokens rows of queries, keys and values side by side (3 * hidden numbers), out: rows of hidden. */
struct attention {
	const float *qkv;
	float *out;
	size_t tokens; /* 1..KERNEL_TEXT_MAX */
	size_t hidden, heads;
	float *room; /* KERNEL_ATTENTION_ROOM numbers */
};
#define KERNEL_ATTENTION_ROOM ((KERNEL_HEAD_MAX + 4u) * KERNEL_TEXT_MAX)

struct kernels {
	const char *name;
	/* rows of k numbers to q (KERNEL_QUANT_BYTES each at most; only for gemm8 of the same form) and one quant a group. */
	void (*quantise)(const float *x, size_t rows, size_t k, void *q, struct quant *groups);
	/* out (rows of w->n) = x w + bias. */
	void (*gemm8)(const struct packed *w, const void *q, const struct quant *groups, size_t rows, float *out);
	/* The same from and with float32; the rows of out begin `stride` numbers apart. */
	void (*gemm32)(const struct dense *w, const float *x, size_t rows, float *out, size_t stride);
	/* softmax(q k' / sqrt(head)) v for each head. */
	void (*attention)(const struct attention *t);
	/* x = norm(x + add) * gain + shift, row by row; add may be NULL. */
	void (*norm)(float *x, const float *add, size_t rows, size_t n, const float *gain, const float *shift, float eps);
	/* x * Phi(x), the exact form with erf; absolute error below 1e-6 for |x| < 8. */
	void (*gelu)(float *x, size_t n);
	/* out = p * scale + add; n numbers. */
	void (*widen)(const int8_t *p, float scale, const float *add, size_t n, float *out);
	/* n numbers to p in -127..127 with one scale, which is returned: NaN when a number is not finite. *sum: of p. */
	float (*narrow)(const float *w, size_t n, int8_t *p, int32_t *sum);
};

/* Never NULL. */
const struct kernels *kernels_choose(void);
/* Every form that this processor can run, the best first; for tests. Returns how many (at least 1). */
#define KERNEL_FORMS 3u
size_t kernels_list(const struct kernels *out[KERNEL_FORMS]);

extern const struct kernels kernels_portable;
#if defined(__x86_64__)
extern const struct kernels kernels_avx2, kernels_avx512;
#endif

#endif
