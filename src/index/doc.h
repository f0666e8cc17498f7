/* Index documents: what the ranker needs to know of one text, packed into bytes that are kept beside the item or message and never
 * interpreted by a store driver. Pure computation; thread-safe.
 *
 * A document states the version of the analysis and the language it was made with; a reader that meets another version or language
 * analyses the text again. Terms are the hash32 of stems. */
#ifndef CENOTE_INDEX_DOC_H
#define CENOTE_INDEX_DOC_H

#include "base/buf.h"

struct lang; /* stemmer, stop words, month names, time words */
/* "english", "german", ... as Snowball names them, or "none" (no stemming, no stop words); NULL when unknown. */
const struct lang *lang_find(struct str name);
const char *lang_name(const struct lang *l);
/* Comma-separated names for diagnostics and help. */
const char *lang_all(void);

/* One passage of plain text pieces (an item's value). */
enum err doc_of_texts(struct arena *a, const struct lang *l, const struct str *texts, size_t n, struct str *out) MUST_CHECK;

struct doc_message_in {
	struct str content, name, role;
	int64_t time_us; /* 0: none */
};
/* A message: passages of at most 95 words, pairs, flags (design/ranking.md section 5). */
enum err doc_of_message(struct arena *a, const struct lang *l, const struct doc_message_in *in, struct str *out) MUST_CHECK;

#endif
