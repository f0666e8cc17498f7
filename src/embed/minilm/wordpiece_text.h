/* What the tokenizer of BERT makes of a single character. Thread-safe. */
#ifndef CENOTE_EMBED_MINILM_WORDPIECE_TEXT_H
#define CENOTE_EMBED_MINILM_WORDPIECE_TEXT_H

#include "base/str.h"

enum wordpiece_class {
	WORDPIECE_DROPPED, /* nothing: a control character, an accent */
	WORDPIECE_SPACE,   /* a word ends */
	WORDPIECE_PUNCT,   /* a word of its own */
	WORDPIECE_LETTER,  /* part of a word, whatever it is */
};

/* A canonical decomposition has at most 4 code points. */
#define WORDPIECE_CHARS_MAX 4
struct wordpiece_chars {
	unsigned n;   /* 0: nothing */
	bool chinese; /* what it became is a word of its own */
	uint32_t cp[WORDPIECE_CHARS_MAX];
	uint8_t cls[WORDPIECE_CHARS_MAX]; /* SPACE, PUNCT or LETTER */
};

/* The class of an ASCII character; a LETTER becomes lower case by itself. */
extern const uint8_t wordpiece_ascii[128];
/* What a code point becomes: cleaned, decomposed, without accents, in lower case. */
void wordpiece_char(uint32_t cp, struct wordpiece_chars *out);

#endif
