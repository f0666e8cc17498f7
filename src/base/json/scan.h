/* Scanning of string contents, shared by the reader and the writer: finds the next byte that is not plain ASCII text. */
#ifndef CENOTE_BASE_JSON_SCAN_H
#define CENOTE_BASE_JSON_SCAN_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* Neither a control character, nor a quotation mark, nor a backslash, nor part of a longer UTF-8 sequence. */
static inline bool scan_is_plain(unsigned char c)
{
	return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

/* The first byte in [p, end) that is not plain, or end. */
static inline const char *scan_plain(const char *p, const char *end)
{
#ifdef __SSE2__
	const __m128i quote = _mm_set1_epi8('"'), backslash = _mm_set1_epi8('\\'), blank = _mm_set1_epi8(0x20);

	while (end - p >= 16) {
		__m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
		/* Signed comparison: bytes from 0x80 on are negative, so one test finds them and the control characters. */
		__m128i odd = _mm_or_si128(_mm_cmplt_epi8(v, blank),
					   _mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, backslash)));
		unsigned mask = (unsigned)_mm_movemask_epi8(odd);

		if (mask)
			return p + __builtin_ctz(mask);
		p += 16;
	}
#else
	const uint64_t ones = 0x0101010101010101u, high = 0x8080808080808080u;

	while (end - p >= 8) {
		uint64_t v, q, b;

		memcpy(&v, p, sizeof v);
		q = v ^ ones * '"';
		b = v ^ ones * '\\';
		/* For each byte: x - k borrows into the top bit when x < k; false alarms only cost the slow loop. */
		if (((v - ones * 0x20) | (q - ones) | (b - ones) | v) & high)
			break;
		p += 8;
	}
#endif
	while (p < end && scan_is_plain((unsigned char)*p))
		p++;
	return p;
}

#endif
