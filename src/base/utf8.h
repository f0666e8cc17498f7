/* UTF-8, strict as RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF. Thread-safe. */
#ifndef CENOTE_BASE_UTF8_H
#define CENOTE_BASE_UTF8_H

#include "base/err.h"

/* Offset of the first byte that is not part of a valid sequence, or s.n when all is valid. Fast over ASCII. */
size_t utf8_check(struct str s);
static inline bool utf8_valid(struct str s)
{
	return utf8_check(s) == s.n;
}
/* Decodes one code point at *i (< s.n) and moves *i; -1 for an invalid sequence (moves one byte). */
int32_t utf8_next(struct str s, size_t *i);
/* Writes 1..4 bytes; returns how many; 0 for a surrogate or above U+10FFFF. */
unsigned utf8_put(char out[4], uint32_t cp);
/* Whether a code point from U+007F on acts on the text around it instead of being seen: controls, separators of lines, marks that
 * turn the direction. Nothing that is shown needs them as they are. */
bool utf8_acts(int32_t cp);
/* Those, and what is not seen at all: all that Unicode calls default ignorable (joiners, invisible operators, variation selectors,
 * tags, fillers), and annotations. Emoji and words of some scripts are made with joiners and selectors. */
bool utf8_unseen(int32_t cp);
/* The longest prefix of at most n bytes that does not cut a character. */
struct str utf8_cut(struct str s, size_t n);

#endif
