/* Text analysis: text to term ids. Fold (NFKC, case, combining marks off), split at what is neither letter nor digit, drop stop
 * words, stem. Scripts written without spaces between words become character bigrams.
 *
 * Thread-safe: stemmers, the cache of stems and the cache of folded characters belong to the thread and are freed when it ends.
 *
 *  1. The same text and language give the same ids, whatever was analysed before (the caches only save time).
 *  2. An id is the hash32 of a stem's bytes; a token of more than TOKEN_MAX bytes is not stemmed.
 *  3. Invalid UTF-8 separates words, it never makes the analysis fail. */
#ifndef CENOTE_INDEX_TEXT_H
#define CENOTE_INDEX_TEXT_H

#include "base/buf.h"
#include "index/lang.h"

#define TOKEN_MAX 64

#define TERM_BIGRAM 1u /* of a script without spaces: makes no pairs */

/* Growing list of term ids in text order; heap, reused. */
struct terms {
	uint32_t *ids;
	uint8_t *flags;
	size_t n, cap;
	bool failed;   /* memory was short; the list is not complete */
	bool has_time; /* a time word of the language, or a year, was met */
};
void terms_init(struct terms *t);
void terms_release(struct terms *t);
void terms_clear(struct terms *t);

/* Appends the terms of text. */
void text_analyse(const struct lang *l, struct str text, struct terms *out);

/* The same for a question: with the stems' bytes, in text order, repetitions included. */
struct text_word {
	uint32_t id;
	uint8_t flags;
	struct str stem;
};
enum err text_words(struct arena *a, const struct lang *l, struct str text, struct text_word **out, size_t *n) MUST_CHECK;

/* Lower case, compatibility forms and marks folded, everything else kept as it is (blanks, punctuation): for comparing names and
 * openings. */
struct str text_fold(struct arena *a, struct str text);
/* True for a character of a script that is written without spaces between words. */
bool text_no_spaces(uint32_t cp);

/* The calling thread's scratch lists, emptied: valid until the next call on this thread. NULL when memory is short. */
struct terms *text_scratch(void);
/* Sorts n ids; tmp has room for n more. */
void sort_u32(uint32_t *v, uint32_t *tmp, size_t n);
void sort_u64(uint64_t *v, uint64_t *tmp, size_t n, unsigned from_bit, unsigned to_bit);

#endif
