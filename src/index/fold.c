/* Folding of single characters with utf8proc: compatibility decomposition, case folding, marks of alphabetic scripts dropped, the
 * rest composed again. */
#include "index/fold.h"

#include <stdlib.h>
#include <utf8proc.h>

struct range {
	uint32_t from, to;
};

static bool in_ranges(const struct range *r, size_t n, uint32_t cp)
{
	for (size_t i = 0; i < n; i++)
		if (cp >= r[i].from && cp <= r[i].to)
			return true;
	return false;
}

bool fold_no_spaces(uint32_t cp)
{
	static const struct range scripts[] = {
		{0x0e00, 0x0eff}, /* Thai, Lao */
		{0x1000, 0x109f}, /* Myanmar */
		{0x1780, 0x17ff}, /* Khmer */
		{0x19e0, 0x19ff}, /* Khmer symbols */
		{0x2e80, 0x2fdf}, /* radicals */
		{0x3005, 0x3007}, /* iteration mark, zero */
		{0x3041, 0x30ff}, /* Hiragana, Katakana */
		{0x31f0, 0x31ff}, /* Katakana extensions */
		{0x3400, 0x4dbf}, /* Han */
		{0x4e00, 0x9fff}, {0xa9e0, 0xa9ff}, {0xaa60, 0xaa7f}, {0xf900, 0xfaff}, {0x1b000, 0x1b16f}, {0x20000, 0x3ffff},
	};
	return cp >= 0x0e00 && in_ranges(scripts, sizeof scripts / sizeof scripts[0], cp);
}

/* Marks whose absence does not change which word it is: accents of Latin, Greek and Cyrillic, vowel points of Hebrew and Arabic.
 * Marks of other scripts are vowels or tones and stay. */
static bool mark_dropped(uint32_t cp)
{
	static const struct range marks[] = {{0x0300, 0x036f}, {0x0483, 0x0489}, {0x0591, 0x05bd}, {0x05bf, 0x05c7},
					     {0x0610, 0x061a}, {0x064b, 0x065f}, {0x0670, 0x0670}, {0x1ab0, 0x1aff},
					     {0x1dc0, 0x1dff}, {0x20d0, 0x20ff}, {0xfe00, 0xfe0f}, {0xfe20, 0xfe2f}};
	return in_ranges(marks, sizeof marks / sizeof marks[0], cp);
}

static enum char_class classify(uint32_t cp)
{
	switch (utf8proc_category((utf8proc_int32_t)cp)) {
	case UTF8PROC_CATEGORY_LU:
	case UTF8PROC_CATEGORY_LL:
	case UTF8PROC_CATEGORY_LT:
	case UTF8PROC_CATEGORY_LM:
	case UTF8PROC_CATEGORY_LO:
	case UTF8PROC_CATEGORY_ND:
	case UTF8PROC_CATEGORY_NL:
	case UTF8PROC_CATEGORY_NO:
	case UTF8PROC_CATEGORY_MC:
	case UTF8PROC_CATEGORY_MN:
	case UTF8PROC_CATEGORY_ME:
		return fold_no_spaces(cp) ? CHAR_NO_SPACES : CHAR_WORD;
	default:
		return CHAR_SEPARATOR;
	}
}

#define CYRILLIC_I 0x0438u
#define CYRILLIC_SHORT_I 0x0439u
#define BREVE 0x0306u

void fold_char(uint32_t cp, struct folded *out)
{
	utf8proc_int32_t d[FOLD_MAX];
	utf8proc_ssize_t n;
	int boundclass = 0;
	size_t kept = 0;

	out->n = 0;
	if (cp >= 0xac00 && cp <= 0xd7a3) { /* Hangul syllables: taking them apart would only have to be undone */
		out->cp[0] = cp;
		out->cls[0] = CHAR_WORD;
		out->n = 1;
		return;
	}
	n = utf8proc_decompose_char((utf8proc_int32_t)cp, d, FOLD_MAX,
				    UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT | UTF8PROC_CASEFOLD | UTF8PROC_IGNORE, &boundclass);
	if (n < 0 || n > FOLD_MAX) { /* not a character */
		out->cp[0] = ' ';
		out->cls[0] = CHAR_SEPARATOR;
		out->n = 1;
		return;
	}
	for (utf8proc_ssize_t i = 0; i < n; i++) {
		uint32_t c = (uint32_t)d[i];

		/* Short i is a letter of its own, and endings of Russian words are told by it. */
		if (c == BREVE && kept > 0 && (uint32_t)d[kept - 1] == CYRILLIC_I)
			d[kept - 1] = (utf8proc_int32_t)CYRILLIC_SHORT_I;
		else if (!mark_dropped(c))
			d[kept++] = d[i];
	}
	if (kept > 1) {
		n = utf8proc_normalize_utf32(d, (utf8proc_ssize_t)kept, UTF8PROC_COMPOSE | UTF8PROC_STABLE);
		kept = n < 0 ? 0 : (size_t)n;
	}
	for (size_t i = 0; i < kept; i++) {
		out->cp[i] = (uint32_t)d[i];
		out->cls[i] = (uint8_t)classify(out->cp[i]);
	}
	out->n = (unsigned)kept;
}

uint32_t fold_voiced(uint32_t base, uint32_t mark)
{
	utf8proc_int32_t d[2] = {(utf8proc_int32_t)base, (utf8proc_int32_t)mark};

	return utf8proc_normalize_utf32(d, 2, UTF8PROC_COMPOSE | UTF8PROC_STABLE) == 1 ? (uint32_t)d[0] : base;
}
