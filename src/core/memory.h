/* Long-term memory: items (namespace, key, value) with expiry and word search. Sits between the protocols and the store port:
 * checks names and limits, builds index documents, ranks, filters. Everything here works inside a fiber or outside a loop.
 *
 * A `struct memory` lives as long as the process; thread-safe. Results live in the caller's arena. */
#ifndef CENOTE_CORE_MEMORY_H
#define CENOTE_CORE_MEMORY_H

#include "base/json/json.h"
#include "core/filter.h"
#include "core/store.h"

struct vectors;
struct texts;
struct rank_weights;
struct memory_options {
	size_t index_cache_bytes;	    /* ceiling of the scope cache; 0 = no cache (every search scans) */
	bool refresh_on_read;		    /* default of refresh_ttl when a request does not say */
	double default_ttl_minutes;	    /* for puts that do not mention ttl; 0 = none */
	bool omit_expired;		    /* hide what has expired but is not swept yet */
	const struct rank_weights *weights; /* index/rank.h; NULL: the default ones. Must outlive the memory */
	double near;		 /* recall: results of at least this cosine with a better one are left out; 0: none are */
	struct vectors *vectors; /* core/vectors.h; NULL: none. Must outlive the memory */
	struct texts *texts;	 /* core/texts.h; NULL: entries and checkpoints are not recalled. Must outlive the memory */
	struct str languages;	 /* "english" or "english,notes.de=german": language of the longest namespace prefix that matches */
};

struct memory;
enum err memory_new(struct store *store, const struct memory_options *opt, struct memory **out) MUST_CHECK;
void memory_free(struct memory *m);
struct store *memory_store(struct memory *m);
/* The word index over the store; lives as long as m. */
struct words;
struct words *memory_words(struct memory *m);
/* The vectors of what it holds, for search by meaning; NULL: there are none. */
struct vectors *memory_vectors(struct memory *m);
/* The texts of its threads; NULL: there are none. */
struct texts *memory_texts(struct memory *m);
/* Tells the sweeper that something expires at this time (writes through other modules of core). */
void memory_expires(struct memory *m, int64_t expires_us);
void memory_metrics(struct memory *m, struct buf *out);

/* Limits: namespace 1..32 labels of 1..256 bytes, whole at most 2048; key 1..1024 bytes; value at most 4 MiB, depth 64. */
#define NS_MAX_LABELS 32
#define NS_MAX_BYTES 2048
#define KEY_MAX_BYTES 1024
#define VALUE_MAX_BYTES (4u << 20)

/* A JSON array of labels to text with dots. Checks: each label a non-empty string without '.', U+0000 (field gets "/namespace/2").
 * Empty array gives "". What LangGraph's put refuses besides (empty, first label "langgraph") is its protocol's business. */
enum err ns_from_json(struct arena *a, struct jval v, const char *field, struct str *out) MUST_CHECK;
/* Text with dots, checked label by label. */
enum err ns_check(struct str ns, const char *field, bool allow_empty) MUST_CHECK;
/* 1..KEY_MAX_BYTES bytes of UTF-8 without U+0000. */
enum err key_check(struct str key, const char *field) MUST_CHECK;
/* As a JSON array of labels. */
void ns_to_json(struct jw *w, struct str ns);

enum { TTL_DEFAULT = -1 }; /* ttl not mentioned: the configured default */

enum op_kind { OP_GET, OP_SEARCH, OP_LIST_NAMESPACES, OP_PUT, OP_DELETE };
enum tri { TRI_UNSET, TRI_NO, TRI_YES };

struct op_get {
	struct str ns, key;
	enum tri refresh;
	/* out */
	bool found;
	struct item item;
};
struct op_put { /* also delete: value.p == NULL */
	struct str ns, key, value;
	double ttl_minutes;	       /* TTL_DEFAULT, 0 = none */
	enum tri index;		       /* NO: not indexed */
	const struct str *index_paths; /* NULL: whole value */
	size_t index_paths_n;
	enum write_if cond;
	int64_t if_version;
	int64_t created_us, updated_us, expires_us; /* import; 0 = now */
	bool keep_newer;
	/* It is a fact (core/fact_store.h): when it is true (FACT_NONE: not said), and the keys of the namespace that it takes the
	 * place of (they go into the history). E_INVALID: it ends before it begins; supersedes of more than SUPERSEDES_MAX keys, or
	 * of what is no fact. */
	bool fact;
	int64_t valid_from_us, valid_to_us;
	const struct str *supersedes;
	size_t supersedes_n;
	/* out */
	bool existed, changed;
	int64_t version;
	size_t superseded; /* keys that there were */
	bool forgot;	   /* delete: the key had a history, which is gone */
};
#define SUPERSEDES_MAX 64
struct hit {
	struct item item;
	bool scored;
	double score;
	struct str explain; /* JSON object, when asked */
};
struct op_search {
	struct str prefix;
	struct filter *filter;	/* NULL: all */
	uint32_t limit, offset; /* limit 1..1000 */
	struct str query;	/* .p NULL: none */
	enum tri refresh;
	bool explain;
	/* out */
	struct hit *hits;
	size_t n;
};
struct op_list {
	struct str prefix, suffix; /* with "*" labels; "" none */
	uint32_t max_depth;	   /* 0: none */
	uint32_t limit, offset;
	struct str after; /* strictly after this name; "" : from the start */
	/* out */
	struct str *names;
	size_t n;
};
struct op {
	enum op_kind kind;
	union {
		struct op_get get;
		struct op_put put;
		struct op_search search;
		struct op_list list;
	};
	enum err err;	   /* out: of this op; diag of the first that failed is the call's */
	struct diag *diag; /* out, in the arena: the diagnostic of err; NULL when OK */
};

enum err memory_get(struct memory *m, struct arena *a, const struct principal *who, struct op_get *op) MUST_CHECK;
enum err memory_put(struct memory *m, struct arena *a, const struct principal *who, struct op_put *op) MUST_CHECK;
enum err memory_search(struct memory *m, struct arena *a, const struct principal *who, struct op_search *op) MUST_CHECK;
enum err memory_list(struct memory *m, struct arena *a, const struct principal *who, struct op_list *op) MUST_CHECK;
/* OK when every op was tried (look at each op's err); else nothing of the batch was written, and an atomic batch names the op that
 * failed. LangGraph's batch: all gets, then searches, then lists, then puts and deletes in one transaction; of several puts to one
 * (ns, key) the last wins; reads never see the batch's own puts. atomic as in store item_write. At most 10,000 ops. */
enum err memory_batch(struct memory *m, struct arena *a, const struct principal *who, struct op *ops, size_t n,
		      bool atomic) MUST_CHECK;

/* Background expiry; call from a fiber of one loop (or once from the command line). Sleeps as long as nothing can expire, at most
 * interval; returns E_CANCELLED when the fiber is cancelled. */
enum err memory_sweep_forever(struct memory *m, uint32_t interval_ms) MUST_CHECK;

#endif
