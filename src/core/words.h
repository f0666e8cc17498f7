/* Words: the word index over a store. Builds index documents at write time; at search time keeps scopes in the index/ scope cache
 * up to date from the store's change feed and ranks by BM25 (k1 0.9, b 0.4). Thread-safe.
 *
 * Invariant: the answer of words_search is a function of the documents that the store holds when the call begins; a cached scope, a
 * fresh scan, and a scope too large for the cache (scanned each time) give the same ids and the same scores, bit by bit. */
#ifndef CENOTE_CORE_WORDS_H
#define CENOTE_CORE_WORDS_H

#include "base/json/json.h"
#include "core/store.h"
#include "index/doc.h"

struct words;
/* languages: "english" or "english,notes.de=german"; E_INVALID names the part that is wrong and the languages there are. */
enum err words_new(struct store *store, size_t cache_bytes, struct str languages, struct words **out) MUST_CHECK;
void words_free(struct words *w);
/* The language configured for a namespace: longest prefix of whole labels wins. */
const struct lang *words_language(const struct words *w, struct str ns);

/* Index document of an item's value: member names, strings and numbers of the whole value (paths NULL) or of the named paths
 * (LangGraph's path grammar: contracts/langgraph 4.7). */
enum err words_item_doc(const struct words *w, struct arena *a, struct str ns, const struct json *value, const struct str *paths,
			size_t paths_n, struct str *terms) MUST_CHECK;
/* The same of a value as the store has it. One that is beyond the limits of base/json (another program wrote it, or the database
 * writes it out longer than it came) has no terms, and is not found by words. */
enum err words_stored_doc(const struct words *w, struct arena *a, struct str ns, struct str value, const struct str *paths,
			  size_t paths_n, struct str *terms) MUST_CHECK;
/* Is it the value that could not be read, rather than that memory is short? e: what json_parse gave, with its diagnostic. */
bool words_beyond(enum err e);
/* The texts that such a document is made of, in their order: member names, strings and numbers. */
enum err words_item_texts(struct arena *a, const struct json *value, const struct str *paths, size_t paths_n, struct str **out,
			  size_t *n) MUST_CHECK;

struct word_hit {
	int64_t id;
	double score;	    /* raw BM25, > 0 */
	struct str explain; /* JSON: {"words":[{"term","idf","tf","contribution"}...],"length":n,"average_length":x}, when asked */
};
/* The best `want` documents of the scope that contain a query term, best first, together with all that tie with the last of them
 * (at most 4096 more); *total (may be NULL) = how many contain one at all. No query terms left after analysis: n = 0 and
 * *terms_used = 0. */
enum err words_search(struct words *w, struct arena *a, const struct principal *who, const struct doc_scope *scope,
		      struct str query, size_t want, bool explain, struct word_hit **out, size_t *n, size_t *total,
		      unsigned *terms_used) MUST_CHECK;
/* Hits, misses, bytes, scopes in Prometheus text. */
void words_metrics(struct words *w, struct buf *out);

#endif
