/* Folding of single characters. Thread-safe: the cache is the caller's. */
#ifndef CENOTE_INDEX_FOLD_H
#define CENOTE_INDEX_FOLD_H

#include "base/str.h"

enum char_class {
	CHAR_SEPARATOR,
	CHAR_WORD,
	CHAR_NO_SPACES, /* of a script written without spaces between words */
	CHAR_DROPPED,	/* a combining mark or something invisible: the word goes on without it */
};

#define FOLD_MAX 32 /* code points that one may fold to (the longest, U+FDFA, gives 18) */
struct folded {
	unsigned n;
	uint32_t cp[FOLD_MAX];
	uint8_t cls[FOLD_MAX];
};
/* What a code point folds to; n = 0: nothing (dropped). */
void fold_char(uint32_t cp, struct folded *out);
bool fold_no_spaces(uint32_t cp);
/* Kana with a voicing mark behind it, as one character; base itself when they do not compose. */
uint32_t fold_voiced(uint32_t base, uint32_t mark);

#endif
