/* The UTF-8 decoder itself, inline for the scanners of base/. Others use base/utf8.h. */
#ifndef CENOTE_BASE_UTF8_SEQ_H
#define CENOTE_BASE_UTF8_SEQ_H

#include <stddef.h>
#include <stdint.h>

/* Length of the valid sequence at p (n > 0 bytes are there), 0 when it is invalid or cut off; *cp gets the code point. */
static inline unsigned utf8_sequence(const unsigned char *p, size_t n, uint32_t *cp)
{
	unsigned char lead = p[0];

	if (lead < 0x80) {
		*cp = lead;
		return 1;
	}
	if (lead < 0xc2)
		return 0; /* a continuation byte, or an overlong form of ASCII */
	if (n < 2 || (p[1] & 0xc0) != 0x80)
		return 0;
	if (lead < 0xe0) {
		*cp = (uint32_t)(lead & 0x1f) << 6 | (p[1] & 0x3f);
		return 2;
	}
	if (n < 3 || (p[2] & 0xc0) != 0x80)
		return 0;
	if (lead < 0xf0) {
		*cp = (uint32_t)(lead & 0x0f) << 12 | (uint32_t)(p[1] & 0x3f) << 6 | (p[2] & 0x3f);
		return *cp >= 0x800 && (*cp < 0xd800 || *cp > 0xdfff) ? 3 : 0;
	}
	if (lead > 0xf4 || n < 4 || (p[3] & 0xc0) != 0x80)
		return 0;
	*cp = (uint32_t)(lead & 0x07) << 18 | (uint32_t)(p[1] & 0x3f) << 12 | (uint32_t)(p[2] & 0x3f) << 6 | (p[3] & 0x3f);
	return *cp >= 0x10000 && *cp <= 0x10ffff ? 4 : 0;
}

#endif
