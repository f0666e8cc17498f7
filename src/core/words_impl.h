/* What the files of core/words share with each other and with core/recall.c; private to core. */
#ifndef CENOTE_CORE_WORDS_IMPL_H
#define CENOTE_CORE_WORDS_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "core/words.h"
#include "index/cache.h"
#include "index/vector_scope.h"
#include "index/question.h"

struct lang_rule {
	struct str ns;
	const struct lang *lang;
};
/* Never changes after words_new, but for the cache, which is thread-safe, and what says how loading goes. */
struct words {
	struct store *store;
	struct cache *cache;	 /* NULL: none */
	char *text;		 /* of the rules */
	struct lang_rule *rules; /* rules[0]: the default */
	size_t rules_n;
	pthread_mutex_t lock;
	pthread_cond_t idle;
	unsigned loading;      /* loads that go on, under the lock */
	_Atomic bool stopping; /* they are to end */
	uint32_t langs;	       /* mask of the languages that are configured */
};

enum err words_languages_parse(struct words *w, struct str languages) MUST_CHECK;

/* Documents whose analysis is not the configured one, made again from what the store holds. */
struct remake {
	const struct words *w;
	const struct principal *who;
	enum doc_kind kind;
	struct remake_entry {
		int64_t id, version;
		char *doc; /* the old document when it says which paths were indexed, else NULL */
		size_t doc_n;
	} * v;
	size_t n, cap;
	bool changes; /* fn is told of those without terms as well */
	size_t room;  /* for one batch; 0: enough for any */
};
/* Does the document have to be made again? Empty ones (not indexed) do not. */
bool remake_needed(const struct words *w, const struct doc_change *d);
enum err remake_add(struct remake *r, const struct doc_change *d) MUST_CHECK;
/* Calls fn with each document that still exists and has terms. */
enum err remake_all(struct remake *r, enum err (*fn)(void *ctx, const struct doc_change *d), void *ctx) MUST_CHECK;
void remake_release(struct remake *r);

#define TOP_EXTRA 4096
#define WORDS_LOAD_MS 3000 /* whoever asks for items waits so long for a scope to be loaded */

/* What each term adds to the BM25 of a document that has them tf times, as JSON. */
enum err words_explain(struct arena *a, const struct query_term *q, size_t q_n, const uint32_t *tf, uint32_t len,
		       const struct bm25 *c, struct str *out) MUST_CHECK;

/* How often each of the terms (ascending by id) is in an item's index document, and its length; 0 in one that cannot be read. Gives
 * the id of its language. */
uint32_t words_count(struct str terms, const struct query_term *q, size_t q_n, uint16_t *tf, uint32_t *len);

/* Scores a scope while scanning it, in bounded memory. q: terms of all configured languages. */
struct scan_result {
	struct scored *best;
	size_t n, total;
	uint32_t langs; /* of the documents */
	uint64_t bytes; /* of all documents */
	uint64_t docs;
	struct bm25 figures;
	/* with counts: */
	uint16_t *tf; /* n * terms, in the order of best */
	uint32_t *len;
};
enum err words_scan(const struct words *w, struct arena *a, const struct principal *who, const struct doc_scope *scope,
		    struct query_term *q, size_t q_n, size_t want, bool counts, struct scan_result *out) MUST_CHECK;

/* Runs fn under the read lock of the scope as the store has it now; for messages with a current order. Loads it, keeps it in the
 * cache when it fits. v: the vectors of its documents by the model that the scope names, NULL: there are none (yet), or it names
 * none; an id in it may have left the scope. *skipped (items only): the scope does not fit the cache, and fn was not called. */
enum err words_with_scope(struct words *w, struct arena *a, const struct principal *who, const struct doc_scope *scope,
			  enum err (*fn)(void *ctx, const struct scope *s, const struct vector_scope *v), void *ctx,
			  bool *skipped) MUST_CHECK;
/* Of a scope that words_with_scope skipped. */
struct words_fit {
	bool loading;	     /* it is being read into memory just now */
	uint64_t late_docs;  /* documents it had when reading it for a question took too long; 0: it never did */
	uint64_t item_bytes; /* about what a document would take in the cache; 0: not known */
	uint64_t least_docs; /* it has so many documents, or more; 0: not known */
};
struct words_fit words_fit(struct words *w, struct arena *a, const struct principal *who, const struct doc_scope *scope);
/* How many it has was seen. */
void words_set_docs(struct words *w, struct arena *a, const struct principal *who, const struct doc_scope *scope, uint64_t docs);
void words_set_late(struct words *w, struct arena *a, const struct principal *who, const struct doc_scope *scope, uint64_t docs);

/* words_search, and how many documents the scope has. cached false: from the store, whatever is in memory. */
struct words_found {
	struct word_hit *hits;
	size_t n, total;
	unsigned terms;
	uint64_t docs;
};
enum err words_find(struct words *w, struct arena *a, const struct principal *who, const struct doc_scope *scope, struct str query,
		    size_t want, bool explain, bool cached, struct words_found *out) MUST_CHECK;
/* A scope that was found too large for the cache was read, and its documents have so many bytes: if it has shrunk, the next search
 * tries to load it. */
void words_maybe_fits(struct words *w, struct arena *a, const struct principal *who, const struct doc_scope *scope, uint64_t bytes);

/* -------------------------------------------------------- words_load.c, for words.c */

/* A scope being read. */
struct load {
	const struct words *w;
	const struct principal *who;
	const struct doc_scope *scope;
	size_t limit; /* of the scope's bytes */
	struct scope *s;
	struct vector_scope *v;
	struct marks marks;
	uint64_t cursor, doc_bytes, docs;
	struct cache_entry *en; /* whose waiters are looked after; NULL: none */
	bool too_large;
	struct remake remake;
	enum err err;
	struct diag diag;
};
/* A fresh scope from the store; l->s stays NULL when it is too large. The caller sets w to limit, and en. */
enum err words_load(struct load *l) MUST_CHECK;
/* Frees what was loaded. */
void words_load_drop(struct load *l);

/* Has the entry's scope loaded, in the background, and waits for it; *gave_up: items, and it takes too long. */
enum err words_load_entry(struct words *w, struct cache_entry *en, const struct principal *who, const struct doc_scope *scope,
			  bool *gave_up) MUST_CHECK;

/* What an entry had. */
struct words_former {
	struct scope *scope;
	struct vector_scope *vectors;
	struct marks marks;
};
/* Empties the entry (l NULL), or fills it with what was loaded, and hands out what it had before, which is to be freed: but a scope
 * that is being merged is left to the merger. Write lock. */
struct words_former words_swap_scope(struct cache_entry *en, const struct load *l) MUST_CHECK;
void words_former_free(struct words_former *f);
/* Memory that the entry takes. Read lock. */
size_t words_entry_bytes(const struct cache_entry *en);
/* Keeps the vector of a document, in a scope that is made when the first one comes. A blob that is damaged, or of other dimensions
 * than the rest, counts as none: the document is found by words. */
enum err words_take_vector(struct vector_scope **vs, int64_t id, struct str blob) MUST_CHECK;
/* Codes instead of vectors, and no marks: changes will make the words again. */
enum err words_keep_codes(struct vector_scope **v, struct marks *marks) MUST_CHECK;

#endif
