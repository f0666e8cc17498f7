/* See core/normal.h. */
#include "core/normal.h"

#include "base/buf.h"
#include "base/utf8.h"
#include "index/fold.h"

static bool is_blank(int32_t cp)
{
	return cp == ' ' || (cp >= '\t' && cp <= '\r') || cp == 0xa0 || cp == 0x3000 || (cp >= 0x2000 && cp <= 0x200a);
}

/* What stands between words of names keeps them apart ("C++" is not "C"), so of ASCII only case goes. */
static void put_char(struct buf *b, uint32_t cp)
{
	struct folded f;
	char out[4];

	if (cp == 0x2019 || cp == 0x2018)
		cp = '\'';
	if (cp < 0x80) {
		buf_byte(b, (char)(cp >= 'A' && cp <= 'Z' ? cp + 32 : cp));
		return;
	}
	fold_char(cp, &f);
	for (unsigned i = 0; i < f.n; i++)
		if (f.cls[i] == CHAR_SEPARATOR)
			buf_byte(b, ' ');
		else if (f.cls[i] != CHAR_DROPPED)
			buf_put(b, out, utf8_put(out, f.cp[i]));
}

struct str normal_text(struct arena *a, struct str s)
{
	struct buf b;
	bool blank = false;

	buf_init(&b, a, 16 * s.n + 16);
	for (size_t i = 0; i < s.n;) {
		int32_t cp = utf8_next(s, &i);

		if (cp < 0)
			continue;
		if (is_blank(cp)) {
			blank = b.n > 0;
			continue;
		}
		if (blank)
			buf_byte(&b, ' ');
		blank = false;
		put_char(&b, (uint32_t)cp);
	}
	while (b.n > 0 && b.p[b.n - 1] && strchr(" .!;,", b.p[b.n - 1]))
		b.n--;
	return b.err == OK ? (b.n ? buf_slice(&b) : STR("")) : (struct str){0};
}

static bool in_word(struct str s, size_t i)
{
	unsigned char c = i < s.n ? (unsigned char)s.p[i] : ' ';

	return c >= 0x80 || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z');
}

bool normal_within(struct str whole, struct str part)
{
	const char *at = whole.p, *end = whole.p + whole.n;

	if (part.n == 0)
		return false;
	for (; at && (at = memmem(at, (size_t)(end - at), part.p, part.n)); at++) {
		size_t from = (size_t)(at - whole.p), to = from + part.n;

		/* Scripts without blanks have no borders that could be told. */
		bool begins = from == 0 || !in_word(whole, from - 1) || !in_word(whole, from) || (part.p[0] & 0x80);
		bool ends = !in_word(whole, to) || !in_word(whole, to - 1) || (part.p[part.n - 1] & 0x80);

		if (begins && ends)
			return true;
	}
	return false;
}
