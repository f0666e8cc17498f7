/* Questions: a query's text to what is looked for - terms, pairs, dates, openings. Pure computation; thread-safe. */
#ifndef CENOTE_INDEX_QUESTION_H
#define CENOTE_INDEX_QUESTION_H

#include "index/scope.h"

#define QUESTION_TERMS_MAX 256 /* distinct; further ones are not looked at */

/* Distinct terms of text in all languages of the mask, ascending by id, weight 1. */
enum err question_terms(struct arena *a, uint32_t langs, struct str text, struct query_term **out, size_t *n) MUST_CHECK;
/* Ids of adjacent stems, the same way; text is "first second". */
enum err question_pairs(struct arena *a, uint32_t langs, struct str text, struct query_term **out, size_t *n) MUST_CHECK;

struct span { /* days since 1970-01-01, both inclusive */
	int64_t from, to;
};
#define QUESTION_SPANS_MAX 128
/* Dates named in text: "12 May [2024]", "May 12[th] [2024]", "May [2024]" with the month names of the languages; without a year one
 * for each year of [first_year, last_year]. *rest: the text with the dates blanked out. */
enum err question_dates(struct arena *a, uint32_t langs, struct str text, int first_year, int last_year, struct span **out,
			size_t *n, struct str *rest) MUST_CHECK;
/* 1 inside a span, falling off after and faster before; the best over the spans; 0 without spans. */
double date_closeness(const struct span *spans, size_t n, int64_t day);
/* Text without the words that give one of these terms (and a possessive "'s" behind them): names, before text is encoded. The text
 * itself when nothing else is in it. Only the first 1024 words are looked at. */
enum err question_without(struct arena *a, uint32_t langs, struct str text, const uint32_t *ids, size_t n,
			  struct str *out) MUST_CHECK;
/* Begins like a question for a time. */
bool question_asks_when(struct arena *a, uint32_t langs, struct str text);
/* Asks for what the assistant has said ("what did you recommend", "your list"; not "can you recommend"), where the language has
 * such phrases. Only the first 1024 words are looked at. */
bool question_asks_told(struct arena *a, uint32_t langs, struct str text);

#endif
