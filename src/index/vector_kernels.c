/* Dot products of bytes: portable, AVX2, AVX-512 with VNNI.
 *
 * The processor multiplies unsigned by signed bytes. Rows are therefore kept as u = value + 128, and what that adds to a product,
 * 128 times the sum of the question, is the same for all rows of a scan. Rows are read one after the other, not side by side: one
 * stream of addresses is what the processor fetches best (two streams of 768 bytes a row took three times as long). */
#include "index/vector_kernels.h"

#include <pthread.h>

static void scan_portable(const uint8_t *rows, size_t n, size_t size, const int8_t *question, int32_t sum, int32_t *out)
{
	for (size_t i = 0; i < n; i++, rows += size) {
		int32_t dot = -128 * sum;

		for (size_t d = 0; d < size; d++)
			dot += (int32_t)rows[d] * question[d];
		out[i] = dot;
	}
}

static int64_t fine_portable(const uint8_t *row, size_t size, const int16_t *question)
{
	int64_t dot = 0;

	for (size_t at = 0; at < size; at += 64) {
		int32_t part = 0;

		for (size_t d = at; d < at + 64; d++)
			part += ((int32_t)row[d] - 128) * question[d];
		dot += part;
	}
	return dot;
}

static const struct vector_kernel portable = {"portable", scan_portable, fine_portable};

#if defined(__x86_64__)
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))
#define AVX512 __attribute__((target("avx2,avx512f,avx512bw,avx512vnni")))
#define AHEAD                                                                                                                      \
	8192 /* bytes: what lies this far ahead is fetched while this is worked on (may be past the end, which is harmless)        \
	      */

/* ---------------------------------------------------------------- AVX2 */

AVX2 static inline int32_t add_up8(__m256i v)
{
	__m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));

	s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
	s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1));
	return _mm_cvtsi128_si32(s);
}

/* |row| times the question with the row's signs: the sum of two products is at most 2 * 128 * 127, which fits 16 bits. The rows'
 * offset is taken off first, so the sum of the question is not needed. */
AVX2 static inline __m256i add_product(__m256i sum, const uint8_t *row, __m256i question)
{
	__m256i v = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(const void *)row), _mm256_set1_epi8((char)0x80));
	__m256i two = _mm256_maddubs_epi16(_mm256_abs_epi8(v), _mm256_sign_epi8(question, v));

	return _mm256_add_epi32(sum, _mm256_madd_epi16(two, _mm256_set1_epi16(1)));
}

AVX2 static void scan_avx2(const uint8_t *rows, size_t n, size_t size, const int8_t *question, int32_t sum, int32_t *out)
{
	for (size_t i = 0; i < n; i++, rows += size) {
		__m256i a = _mm256_setzero_si256(), b = a;

		for (size_t at = 0; at < size; at += 64) {
			_mm_prefetch((const char *)rows + at + AHEAD, _MM_HINT_T0);
			a = add_product(a, rows + at, _mm256_loadu_si256((const __m256i *)(const void *)(question + at)));
			b = add_product(b, rows + at + 32, _mm256_loadu_si256((const __m256i *)(const void *)(question + at + 32)));
		}
		out[i] = add_up8(_mm256_add_epi32(a, b));
	}
}

AVX2 static int64_t fine_avx2(const uint8_t *row, size_t size, const int16_t *question)
{
	const __m256i middle = _mm256_set1_epi16(128);
	__m256i a = _mm256_setzero_si256(), b = a;
	int32_t lanes[8];
	int64_t dot = 0;

	for (size_t at = 0; at < size; at += 32) {
		__m256i v0 = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(const void *)(row + at)));
		__m256i v1 = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(const void *)(row + at + 16)));
		__m256i q0 = _mm256_loadu_si256((const __m256i *)(const void *)(question + at));
		__m256i q1 = _mm256_loadu_si256((const __m256i *)(const void *)(question + at + 16));

		a = _mm256_add_epi32(a, _mm256_madd_epi16(_mm256_sub_epi16(v0, middle), q0));
		b = _mm256_add_epi32(b, _mm256_madd_epi16(_mm256_sub_epi16(v1, middle), q1));
	}
	_mm256_storeu_si256((__m256i *)(void *)lanes, a);
	for (int i = 0; i < 8; i++)
		dot += lanes[i];
	_mm256_storeu_si256((__m256i *)(void *)lanes, b);
	for (int i = 0; i < 8; i++)
		dot += lanes[i];
	return dot;
}

static const struct vector_kernel avx2 = {"avx2", scan_avx2, fine_avx2};

/* ---------------------------------------------------------------- AVX-512 */

AVX512 static inline __m512i load64(const void *p)
{
	return _mm512_loadu_si512(p);
}

/* The four sums, in order. */
AVX512 static inline __m128i add_up_four(__m512i a, __m512i b, __m512i c, __m512i d)
{
	__m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
	__m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
	__m512i all = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
	__m256i half = _mm256_add_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1));

	return _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
}

AVX512 static inline __m512i one_row(const uint8_t *row, size_t size, const int8_t *question)
{
	__m512i a = _mm512_setzero_si512(), b = a;
	size_t at = 0;

	for (; at + 128 <= size; at += 128) {
		_mm_prefetch((const char *)row + at + AHEAD, _MM_HINT_T0);
		_mm_prefetch((const char *)row + at + AHEAD + 64, _MM_HINT_T0);
		a = _mm512_dpbusd_epi32(a, load64(row + at), load64(question + at));
		b = _mm512_dpbusd_epi32(b, load64(row + at + 64), load64(question + at + 64));
	}
	if (at < size)
		a = _mm512_dpbusd_epi32(a, load64(row + at), load64(question + at));
	return _mm512_add_epi32(a, b);
}

AVX512 static void scan_avx512(const uint8_t *rows, size_t n, size_t size, const int8_t *question, int32_t sum, int32_t *out)
{
	const __m128i offset = _mm_set1_epi32(-128 * sum);
	size_t i = 0;

	for (; i + 4 <= n; i += 4, rows += 4 * size) {
		__m512i a = one_row(rows, size, question), b = one_row(rows + size, size, question);
		__m512i c = one_row(rows + 2 * size, size, question), d = one_row(rows + 3 * size, size, question);

		_mm_storeu_si128((__m128i *)(void *)(out + i), _mm_add_epi32(add_up_four(a, b, c, d), offset));
	}
	for (; i < n; i++, rows += size)
		out[i] = _mm512_reduce_add_epi32(one_row(rows, size, question)) - 128 * sum;
}

AVX512 static int64_t fine_avx512(const uint8_t *row, size_t size, const int16_t *question)
{
	const __m512i middle = _mm512_set1_epi16(128);
	__m512i a = _mm512_setzero_si512();

	for (size_t at = 0; at < size; at += 32) {
		__m512i v = _mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i *)(const void *)(row + at)));

		a = _mm512_add_epi32(a, _mm512_madd_epi16(_mm512_sub_epi16(v, middle), load64(question + at)));
	}
	a = _mm512_add_epi64(_mm512_cvtepi32_epi64(_mm512_castsi512_si256(a)),
			     _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64(a, 1)));
	return _mm512_reduce_add_epi64(a);
}

static const struct vector_kernel avx512 = {"avx512-vnni", scan_avx512, fine_avx512};
#endif

size_t vector_kernels(const struct vector_kernel *out[VECTOR_KERNELS_MAX])
{
	size_t n = 0;

	out[n++] = &portable;
#if defined(__x86_64__)
	__builtin_cpu_init();
	if (__builtin_cpu_supports("avx2"))
		out[n++] = &avx2;
	if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
	    __builtin_cpu_supports("avx512vnni"))
		out[n++] = &avx512;
#endif
	return n;
}

static const struct vector_kernel *chosen;

static void choose(void)
{
	const struct vector_kernel *all[VECTOR_KERNELS_MAX];

	chosen = all[vector_kernels(all) - 1];
}

const struct vector_kernel *vector_kernel(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, choose);
	return chosen;
}
