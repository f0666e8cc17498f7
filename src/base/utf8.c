/* UTF-8, strict. The decoder of utf8_seq.h says what is valid; everything else is built on it. */
#include "base/utf8.h"

#include "base/utf8_seq.h"

size_t utf8_check(struct str s)
{
	const unsigned char *p = (const unsigned char *)s.p;
	size_t i = 0;

	while (i < s.n) {
		uint32_t cp;
		unsigned len;

		if (p[i] < 0x80) {
			uint64_t word;

			i++;
			while (s.n - i >= sizeof word) {
				memcpy(&word, p + i, sizeof word);
				if (word & 0x8080808080808080u)
					break;
				i += sizeof word;
			}
			continue;
		}
		len = utf8_sequence(p + i, s.n - i, &cp);
		if (!len)
			return i;
		i += len;
	}
	return s.n;
}

int32_t utf8_next(struct str s, size_t *i)
{
	uint32_t cp = 0;
	unsigned len = utf8_sequence((const unsigned char *)s.p + *i, s.n - *i, &cp);

	*i += len ? len : 1;
	return len ? (int32_t)cp : -1;
}

unsigned utf8_put(char out[4], uint32_t cp)
{
	if (cp < 0x80) {
		out[0] = (char)cp;
		return 1;
	}
	if (cp < 0x800) {
		out[0] = (char)(0xc0 | cp >> 6);
		out[1] = (char)(0x80 | (cp & 0x3f));
		return 2;
	}
	if (cp < 0x10000) {
		if (cp >= 0xd800 && cp <= 0xdfff)
			return 0;
		out[0] = (char)(0xe0 | cp >> 12);
		out[1] = (char)(0x80 | (cp >> 6 & 0x3f));
		out[2] = (char)(0x80 | (cp & 0x3f));
		return 3;
	}
	if (cp > 0x10ffff)
		return 0;
	out[0] = (char)(0xf0 | cp >> 18);
	out[1] = (char)(0x80 | (cp >> 12 & 0x3f));
	out[2] = (char)(0x80 | (cp >> 6 & 0x3f));
	out[3] = (char)(0x80 | (cp & 0x3f));
	return 4;
}

struct range {
	int32_t from, to;
};

static bool within(const struct range *v, size_t n, int32_t cp)
{
	for (size_t i = 0; i < n && cp >= v[i].from; i++)
		if (cp <= v[i].to)
			return true;
	return false;
}

/* Both in order. */
bool utf8_acts(int32_t cp)
{
	static const struct range v[] = {{0x7f, 0x9f},	   {0x61c, 0x61c},   {0x200e, 0x200f},
					 {0x2028, 0x202e}, {0x2066, 0x2069}, {0xfff9, 0xfffb}};

	return within(v, sizeof v / sizeof v[0], cp);
}

bool utf8_unseen(int32_t cp)
{
	static const struct range v[] = {
		{0x7f, 0x9f},	  {0xad, 0xad},	    {0x34f, 0x34f},   {0x61c, 0x61c},	  {0x115f, 0x1160},   {0x17b4, 0x17b5},
		{0x180b, 0x180f}, {0x200b, 0x200f}, {0x2028, 0x202e}, {0x2060, 0x206f},	  {0x3164, 0x3164},   {0xfe00, 0xfe0f},
		{0xfeff, 0xfeff}, {0xffa0, 0xffa0}, {0xfff0, 0xfffb}, {0x1bca0, 0x1bca3}, {0x1d173, 0x1d17a}, {0xe0000, 0xe0fff}};

	return within(v, sizeof v / sizeof v[0], cp);
}

struct str utf8_cut(struct str s, size_t n)
{
	size_t back = 0;

	if (n >= s.n)
		return s;
	/* At most three continuation bytes can belong to the character that would be cut; more of them is not UTF-8 anyway. */
	while (back < 4 && back < n && ((unsigned char)s.p[n - back] & 0xc0) == 0x80)
		back++;
	if (back == 4)
		back = 0;
	return str_sub(s, 0, n - back);
}
