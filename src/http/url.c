/* Percent-encoding of paths and queries. */
#include "http/client.h"

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static bool unreserved(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' ||
	       c == '~';
}

struct str url_encode(struct arena *a, struct str s)
{
	static const char digits[] = "0123456789ABCDEF";
	size_t n = 0;
	char *p;

	for (size_t i = 0; i < s.n; i++)
		n += unreserved((unsigned char)s.p[i]) ? 1 : 3;
	p = arena_alloc(a, n + 1);
	if (!p)
		return (struct str){NULL, 0};
	n = 0;
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (unreserved(c)) {
			p[n++] = (char)c;
		} else {
			p[n++] = '%';
			p[n++] = digits[c >> 4];
			p[n++] = digits[c & 15];
		}
	}
	p[n] = '\0';
	return str_of(p, n);
}

struct str url_decode(struct arena *a, struct str s, bool plus)
{
	size_t n = 0;
	char *p = NULL;

	/* Most need no decoding: then nothing is copied. */
	if (s.n == 0)
		return STR("");
	if (!memchr(s.p, '%', s.n) && !(plus && memchr(s.p, '+', s.n)))
		return memchr(s.p, '\0', s.n) ? (struct str){NULL, 0} : s;
	p = arena_alloc(a, s.n + 1);
	if (!p)
		return (struct str){NULL, 0};
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (c == '%') {
			int hi = i + 2 < s.n ? hex(s.p[i + 1]) : -1;
			int lo = i + 2 < s.n ? hex(s.p[i + 2]) : -1;

			if (hi < 0 || lo < 0)
				return (struct str){NULL, 0};
			c = (char)(hi * 16 + lo);
			i += 2;
		} else if (c == '+' && plus) {
			c = ' ';
		}
		if (c == '\0')
			return (struct str){NULL, 0};
		p[n++] = c;
	}
	p[n] = '\0';
	return str_of(p, n);
}
