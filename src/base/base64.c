/* Base64, a table each way. */
#include "base/base64.h"

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_put(struct buf *out, const void *p, size_t n)
{
	const uint8_t *in = p;
	size_t size = base64_size(n);
	char *o = buf_room(out, size);

	if (!o)
		return;
	for (; n >= 3; n -= 3, in += 3, o += 4) {
		o[0] = letters[in[0] >> 2];
		o[1] = letters[(in[0] & 3) << 4 | in[1] >> 4];
		o[2] = letters[(in[1] & 15) << 2 | in[2] >> 6];
		o[3] = letters[in[2] & 63];
	}
	if (n) {
		o[0] = letters[in[0] >> 2];
		o[1] = letters[(in[0] & 3) << 4 | (n == 2 ? in[1] >> 4 : 0)];
		o[2] = n == 2 ? letters[(in[1] & 15) << 2] : '=';
		o[3] = '=';
	}
	buf_added(out, size);
}

static int value_of(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool base64_decode(struct str s, uint8_t *out, size_t *n)
{
	size_t pad = s.n && s.p[s.n - 1] == '=' ? (s.n > 1 && s.p[s.n - 2] == '=' ? 2 : 1) : 0, bytes;
	uint32_t bits = 0;

	if (s.n % 4 != 0)
		return false;
	bytes = s.n / 4 * 3 - pad;
	if (bytes > *n)
		return false;
	for (size_t i = 0, o = 0; i < s.n - pad; i++) {
		int v = value_of(s.p[i]);

		if (v < 0)
			return false;
		bits = bits << 6 | (uint32_t)v;
		if (i % 4 > 0)
			out[o++] = (uint8_t)(bits >> (6 - 2 * (i % 4)));
	}
	/* What padding cuts off must be zero. */
	if (pad && (bits & (pad == 2 ? 15u : 3u)))
		return false;
	*n = bytes;
	return true;
}
