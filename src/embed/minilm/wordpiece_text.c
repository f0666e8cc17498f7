/* Characters as the reference tokenizer sees them, by the Unicode data of utf8proc. The reference knows the general categories of
 * Unicode 8.0 only; what became punctuation, an accent or a control character later it takes for a part of words.
 *
 * Left out, since no id depends on it: the order of several accents on one letter (all of them go, but for a few that no
 * vocabulary has: such words are [UNK]), and letters whose lower case is younger than the library (the same). Every code point was
 * compared with the reference; wordpiece_test.c repeats all but the uniform planes. */
#include "embed/minilm/wordpiece_text.h"

#include <utf8proc.h>

const uint8_t wordpiece_ascii[128] = {
	/* clang-format off */
	[0x00 ... 0x08] = WORDPIECE_DROPPED, ['\t' ... '\n'] = WORDPIECE_SPACE, [0x0b ... 0x0c] = WORDPIECE_DROPPED,
	['\r'] = WORDPIECE_SPACE, [0x0e ... 0x1f] = WORDPIECE_DROPPED, [' '] = WORDPIECE_SPACE,
	['!' ... '/'] = WORDPIECE_PUNCT, ['0' ... '9'] = WORDPIECE_LETTER, [':' ... '@'] = WORDPIECE_PUNCT,
	['A' ... 'Z'] = WORDPIECE_LETTER, ['[' ... '`'] = WORDPIECE_PUNCT, ['a' ... 'z'] = WORDPIECE_LETTER,
	['{' ... '~'] = WORDPIECE_PUNCT, [0x7f] = WORDPIECE_DROPPED,
	/* clang-format on */
};

struct range {
	uint32_t from, to;
};

/* Younger than Unicode 8.0, or of another category there: punctuation, accents (Mn) and format characters in these ranges are parts
 * of words to the reference. Everything else of those categories is as utf8proc says. */
static bool unknown_to_reference(uint32_t cp)
{
	static const struct range young[] = {
		{0x061d, 0x061d},   {0x07fd, 0x07fd},	{0x0890, 0x08e2},   {0x09fd, 0x09fe},	{0x0a76, 0x0a76},
		{0x0afa, 0x0aff},   {0x0b55, 0x0b55},	{0x0c04, 0x0c3c},   {0x0c77, 0x0c77},	{0x0c84, 0x0c84},
		{0x0d00, 0x0d00},   {0x0d3b, 0x0d3c},	{0x0d81, 0x0d81},   {0x0eba, 0x0eba},	{0x0ece, 0x0ece},
		{0x180f, 0x1886},   {0x1abf, 0x1ace},	{0x1b7d, 0x1b7e},   {0x1df6, 0x1dfb},	{0x2e43, 0x2e5d},
		{0xa82c, 0xa82c},   {0xa8c5, 0xa8c5},	{0xa8ff, 0xa8ff},   {0xa9bd, 0xa9bd},	{0x10d24, 0x10f89},
		{0x11070, 0x11074}, {0x110c2, 0x110cd}, {0x111cf, 0x111cf}, {0x1123e, 0x11241}, {0x1133b, 0x1133b},
		{0x11438, 0x1145e}, {0x11660, 0x1166c}, {0x116b9, 0x116b9}, {0x1182f, 0x11fff}, {0x12ff1, 0x13455},
		{0x16e97, 0x16f4f}, {0x16fe2, 0x16fe4}, {0x1cf00, 0x1cf46}, {0x1e000, 0x1e4ef}, {0x1e944, 0x1e95f},
	};
	size_t lo = 0, hi = sizeof young / sizeof young[0];

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (cp > young[mid].to)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < sizeof young / sizeof young[0] && cp >= young[lo].from;
}

static enum wordpiece_class classify(uint32_t cp)
{
	enum wordpiece_class cls;

	if (cp < 0x80)
		return (enum wordpiece_class)wordpiece_ascii[cp];
	if (cp == 0x166d || cp == 0x111c9) /* a sign of Canadian syllabics, one of Sharada: punctuation then, other things today */
		return WORDPIECE_PUNCT;
	if (cp == 0x1734) /* Hanunoo's vowel killer: a spacing mark today */
		return WORDPIECE_DROPPED;
	switch (utf8proc_category((utf8proc_int32_t)cp)) {
	case UTF8PROC_CATEGORY_ZS:
	case UTF8PROC_CATEGORY_ZL:
	case UTF8PROC_CATEGORY_ZP:
		return WORDPIECE_SPACE;
	case UTF8PROC_CATEGORY_CC:
	case UTF8PROC_CATEGORY_CF:
	case UTF8PROC_CATEGORY_CO:
	case UTF8PROC_CATEGORY_MN:
		cls = WORDPIECE_DROPPED;
		break;
	case UTF8PROC_CATEGORY_PC:
	case UTF8PROC_CATEGORY_PD:
	case UTF8PROC_CATEGORY_PS:
	case UTF8PROC_CATEGORY_PE:
	case UTF8PROC_CATEGORY_PI:
	case UTF8PROC_CATEGORY_PF:
	case UTF8PROC_CATEGORY_PO:
		cls = WORDPIECE_PUNCT;
		break;
	default:
		return WORDPIECE_LETTER;
	}
	return unknown_to_reference(cp) ? WORDPIECE_LETTER : cls;
}

/* The reference's ranges, with its 2B920 where Unicode's block E begins at 2B820. */
static bool is_chinese(uint32_t cp)
{
	static const struct range han[] = {{0x3400, 0x4dbf},   {0x4e00, 0x9fff},   {0xf900, 0xfaff},   {0x20000, 0x2a6df},
					   {0x2a700, 0x2b73f}, {0x2b740, 0x2b81f}, {0x2b920, 0x2ceaf}, {0x2f800, 0x2fa1f}};

	if (cp < 0x3400)
		return false;
	for (size_t i = 0; i < sizeof han / sizeof han[0]; i++)
		if (cp >= han[i].from && cp <= han[i].to)
			return true;
	return false;
}

#define REPLACEMENT 0xfffdu

void wordpiece_char(uint32_t cp, struct wordpiece_chars *out)
{
	utf8proc_int32_t d[WORDPIECE_CHARS_MAX];
	enum wordpiece_class cls = cp == REPLACEMENT ? WORDPIECE_DROPPED : classify(cp);
	utf8proc_ssize_t n;
	int boundclass = 0;

	out->n = 0;
	out->chinese = is_chinese(cp);
	if (cls == WORDPIECE_DROPPED)
		return;
	if (cls == WORDPIECE_SPACE) {
		out->cp[0] = ' ';
		out->cls[0] = WORDPIECE_SPACE;
		out->n = 1;
		return;
	}
	n = utf8proc_decompose_char((utf8proc_int32_t)cp, d, WORDPIECE_CHARS_MAX, UTF8PROC_DECOMPOSE, &boundclass);
	if (n < 0 || n > WORDPIECE_CHARS_MAX) { /* not a character: the caller decodes strictly */
		out->chinese = false;
		return;
	}
	for (utf8proc_ssize_t i = 0; i < n; i++) {
		cls = classify((uint32_t)d[i]);
		if (cls == WORDPIECE_DROPPED)
			continue;
		out->cp[out->n] = (uint32_t)utf8proc_tolower(d[i]);
		out->cls[out->n++] = (uint8_t)cls;
	}
}
