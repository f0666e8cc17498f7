/* The port to a store: what a driver (store/sqlite, store/postgres) has to offer. Core is the only caller.
 *
 * Rules that hold for every driver, tested by tests/store/ (one suite for all):
 *  1. Tenant is part of every call (who->tenant); a driver keeps tenants apart by file or schema, never by a WHERE alone.
 *  2. What a write call has answered OK is durable, wholly; what it has answered with an error did not happen, wholly.
 *  3. After a write was answered, every read that begins later, on any thread, sees it.
 *  4. Namespaces travel as text with dots ("a.b"); "" is the empty namespace and, as a prefix, everything. Prefix P covers P and
 * what begins with "P." - whole labels, bytes compared as they are.
 *  5. Values go in and come out as the same bytes (SQLite) or as the same JSON (jsonb on PostgreSQL).
 *  6. Times are microseconds UTC. The driver stamps writes with a clock that never repeats within the process (so that "newest
 * first" is a total order); a caller may give its own times (import).
 *  7. Results live in the arena. Callbacks get slices valid only during the call, and may stop the walk by returning false.
 *  8. Calls may park the fiber (rt/wait.h) and respect fiber_deadline(). Outside a loop they block. */
#ifndef CENOTE_CORE_STORE_H
#define CENOTE_CORE_STORE_H

#include "base/arena.h"
#include "base/buf.h"
#include "core/principal.h"

/* ------------------------------------------------------------------ items */

struct item {
	int64_t id; /* the driver's; stays the same while (ns, key) exists */
	struct str ns, key, value;
	int64_t created_us, updated_us;
	double ttl_minutes; /* 0: none */
	int64_t expires_us; /* 0: never */
	int64_t version;    /* 1 at creation, +1 by every put */
	/* core/fact_store.h: it is a fact; when it is true, FACT_NONE: not said. Of items that are none these are not set. */
	bool fact;
	int64_t valid_from_us, valid_to_us;
};

enum write_op {
	W_PUT,
	W_DELETE, /* with the key's history */
	W_TOUCH,  /* expires = now + ttl; nothing else changes */
	W_RETIRE, /* moves the item into the history (fact is set); nothing when there is none */
};
struct fact_put;
enum write_if { IF_ANY, IF_ABSENT, IF_VERSION };

struct item_write {
	enum write_op op;
	enum write_if cond;
	int64_t if_version;
	struct str ns, key;
	struct str value;   /* PUT: a JSON object, verified by core */
	struct str terms;   /* PUT: the index document (index/doc.h), "" : not indexed */
	double ttl_minutes; /* PUT: 0 clears */
	int64_t created_us; /* PUT: 0 = now, or what is stored already */
	int64_t updated_us; /* PUT: 0 = now */
	int64_t expires_us; /* PUT: 0 = updated + ttl */
	bool keep_newer;    /* PUT (import): leave the stored item when its updated_us is not older: result.changed = false */
	const struct fact_put *fact; /* PUT: it is a fact; RETIRE: what supersedes it. updated_us of a RETIRE is its time */
	/* results */
	enum err err; /* CONFLICT (with ERR_PRECONDITION) when cond does not hold, else OK */
	bool existed, changed;
	bool forgot; /* DELETE: the key had a history, which is gone */
	int64_t version;
};

typedef bool (*item_fn)(void *ctx, const struct item *it);

/* What a driver may make use of in a scan; whoever gives it checks every item all the same. */
struct scan_hint {
	size_t want;	     /* about so many items that match will be taken; 0: not known */
	struct str contains; /* JSON object: wanted items contain it (as jsonb @> has it); "" : nothing known */
};

/* -------------------------------------------------- the word index's source */

enum doc_kind { DOC_ITEM, DOC_MESSAGE };
struct doc_change {
	int64_t id;
	bool removed;	    /* then terms is empty */
	struct str terms;   /* index document (index/doc.h) as it was given to the write */
	struct str lang_ns; /* namespace (items) or thread id (messages) it lies in */
	int64_t version;    /* of the item that terms were stored with, for doc_keep; 0: not known, or a message */
	/* When the scope names a model: the blob (index/vector.h) that is kept for this document by that model, "" : none. It
	 * counts only while mark is doc_mark(terms): else it is that of an earlier text. */
	struct str vector;
	uint64_t mark;
	bool has_vector; /* of doc_lacking, which gives mark but not vector: one is kept, of an earlier text */
	uint64_t stamp;	 /* the driver's, for doc_vector.stamp: says as which row the document was read; 0: not known */
};
typedef bool (*doc_fn)(void *ctx, const struct doc_change *d);
/* A document that core has made of an item or message which came without one (another client wrote it), or with an outdated one. */
struct doc_kept {
	int64_t id, version; /* of the item it was made of, which is also that of the document it replaces; messages: 0 */
	struct str terms;
};
/* A scope of the index: items below a namespace prefix, or messages of one user ("" : of threads without a user). */
struct doc_scope {
	enum doc_kind kind;
	struct str prefix; /* DOC_ITEM: namespace prefix; DOC_MESSAGE: user */
	struct str model;  /* whose vectors come along; "" : none do */
	bool every_user;   /* DOC_MESSAGE: all users' messages, for background work; prefix does not count; never for a bound
			      principal */
};

/* -------------------------------------------------- vectors of documents
 *
 * A document (an item's or a message's) may have one vector per model. Vectors are made in the background of the texts, after the
 * write was answered. A vector belongs to the document's terms by its mark: whoever reads compares, so that a text that changed in
 * the meantime never has an older one's vector. */
struct doc_vector {
	int64_t id;
	uint64_t mark;	 /* doc_mark of the terms that it was made for */
	struct str data; /* blob of index/vector.h */
	uint64_t stamp;	 /* that came with those terms; 0: not known. Only makes doc_lacking cheap, never changes what it gives */
};
#define VECTOR_BATCH_MAX 4096 /* of one call of vector_put or vector_drop */
/* What drivers check of a call for vectors: the right, nobody bound to a user (they are made by the process itself, of all users'
 * texts), the model's name (VECTOR_MODEL_NAME_MAX bytes, none 0). named: it must not be empty. E_DENIED, E_INVALID. */
#define VECTOR_MODEL_NAME_MAX 512
enum err vector_call_check(const struct principal *who, unsigned right, struct str model, bool named) MUST_CHECK;
/* And of what vector_put is to keep: at most VECTOR_BATCH_MAX (E_LIMIT), none of them empty (E_INVALID). */
enum err vector_batch_check(const struct doc_vector *v, size_t n) MUST_CHECK;
/* A search for documents without a current vector, in order of their ids, piece by piece. */
struct doc_lack {
	int64_t after;	 /* in, out: all documents up to here have been looked at */
	uint64_t looked; /* out: so many by this call, or more */
	bool end;	 /* out: there are no more */
};
/* The hash of an index document (base/hash.h, not seeded: it is stored). */
uint64_t doc_mark(struct str terms);

/* ------------------------------------------------------------- messages */

struct message {
	int64_t id;						     /* the driver's */
	struct str thread, mid, user, role, name, content, metadata; /* metadata: JSON object or "" */
	int64_t time_us;					     /* 0: none given */
	int64_t pos;						     /* 0.. within the thread */
	struct str terms;					     /* in: index document */
	bool stored; /* out of append: false = was there already (same thread and mid) */
};
typedef bool (*message_fn)(void *ctx, const struct message *m);

/* What lies under a thread's name (core/thread_store.h). Threads that only another program wrote have no record: times are then
 * those in checkpoint ids (UUIDv6) or rows, 0 where there are none. */
struct thread_info {
	struct str thread, user;
	int64_t messages, checkpoints, entries;
	int64_t created_us, updated_us; /* updated: the last change of anything under it */
	int64_t state_us;		/* the last checkpoint of ns "" ; 0: none */
	struct str metadata, config;	/* JSON objects, "" : {} */
	double ttl_minutes;
	int ttl_strategy;	 /* enum thread_ttl */
	int64_t version;	 /* of the record; 0: none */
	bool interrupted, error; /* the head of ns "" has pending writes __interrupt__, __error__ */
};
typedef bool (*thread_fn)(void *ctx, const struct thread_info *t);

/* ---------------------------------------------------------------- keys */

struct key_record {
	struct str id;	  /* 8 hex */
	uint8_t hash[32]; /* SHA-256 of the secret part */
	struct str name, tenant, user;
	unsigned rights;
	int64_t created_us, expires_us, revoked_us, used_us; /* 0: never */
};
typedef bool (*key_fn)(void *ctx, const struct key_record *k);

/* --------------------------------------------------------------- statistics */

struct store_stats {
	int64_t items, namespaces, threads, messages, checkpoints, entries, bytes_data, bytes_wal, expiring, queue_depth;
	int64_t texts; /* core/text_store.h */
};
typedef bool (*name_fn)(void *ctx, struct str name);
typedef bool (*value_fn)(void *ctx, struct str name, struct str value);
#define META_OF_THREAD "thread:"
#define META_OF_ENTRY "entry:"

struct thread_ops;
struct checkpoint_ops;
struct fact_ops;
struct text_ops;
struct foreign_vector_ops;
struct hnsw_ops;
struct store {
	const struct store_ops *ops;
};

struct store_ops {
	const char *name;		/* "sqlite" */
	void (*close)(struct store *s); /* drains, syncs, releases; no call may be under way */
	/* OK when the store answers; E_BUSY/E_IO with the reason otherwise. Cheap; for readiness. */
	enum err (*ping)(struct store *s) MUST_CHECK;

	/* One item; *found = false (OK) when absent or expired_before_us > 0 and it expired before that. */
	enum err (*item_get)(struct store *s, struct arena *a, const struct principal *who, struct str ns, struct str key,
			     int64_t omit_expired_us, struct item *out, bool *found) MUST_CHECK;
	/* n writes in order in one transaction. atomic: a condition that does not hold undoes all (returns E_CONFLICT, that write's
	 * err says which); else it fails alone. Returns OK when the transaction is durable. */
	enum err (*item_write)(struct store *s, const struct principal *who, struct item_write *w, size_t n,
			       bool atomic) MUST_CHECK;
	/* Items below prefix, newest update first, then ns, key. Values are read only while fn goes on. fn gets slices valid during
	 * the call. May run on the CPU pool: fn must not wait. hint may be NULL; a driver may leave out items that do not contain
	 * hint->contains. */
	enum err (*item_scan)(struct store *s, const struct principal *who, struct str prefix, int64_t omit_expired_us,
			      const struct scan_hint *hint, item_fn fn, void *ctx) MUST_CHECK;
	/* Items below prefix in order of (ns, key), strictly after (after_ns, after_key); for export and paging. */
	enum err (*item_walk)(struct store *s, const struct principal *who, struct str prefix, struct str after_ns,
			      struct str after_key, item_fn fn, void *ctx) MUST_CHECK;
	/* Items by id, into the arena, in the order asked; out[i].id = 0 where it is gone. */
	enum err (*item_by_id)(struct store *s, struct arena *a, const struct principal *who, const int64_t *ids, size_t n,
			       struct item *out) MUST_CHECK;
	/* Distinct namespaces that hold at least one item and lie below prefix, in byte order. */
	enum err (*namespaces)(struct store *s, const struct principal *who, struct str prefix, name_fn fn, void *ctx) MUST_CHECK;
	/* Deletes up to max items that expired before now over all tenants; *next_us = when the next one expires (0: none known).
	 */
	enum err (*sweep)(struct store *s, int64_t now_us, unsigned max, unsigned *removed, int64_t *next_us) MUST_CHECK;

	/* All documents of a scope. *cursor becomes a point from which doc_changes continues without a gap. */
	enum err (*doc_scan)(struct store *s, const struct principal *who, const struct doc_scope *scope, uint64_t *cursor,
			     doc_fn fn, void *ctx) MUST_CHECK;
	/* Changes of the scope since *cursor (moved forward); a document may come more than once, its state is the newest.
	 * E_CONFLICT when the driver no longer knows (then scan again). Cheap when nothing has changed: called before every search.
	 */
	enum err (*doc_changes)(struct store *s, const struct principal *who, const struct doc_scope *scope, uint64_t *cursor,
				doc_fn fn, void *ctx) MUST_CHECK;

	/* Keeps documents that were made for items or messages whose document was missing or outdated, so that it need not be done
	 * again; those whose item has another version by now are ignored. A kept document is not a change (no feed entry). May be
	 * NULL; may fail without harm. */
	enum err (*doc_keep)(struct store *s, const struct principal *who, enum doc_kind kind, const struct doc_kept *v,
			     size_t n) MUST_CHECK;

	/* Keeps vectors of a model, each replacing the document's former one of that model; of documents that are gone nothing is
	 * kept. Durable when answered; after an error some may have been kept. A change for the feed. Vectors go with their
	 * document (item deleted, replaced by one that is not indexed, expired; message or thread removed). The call may share its
	 * transaction with other writes, which are answered with it: some dozens at a time hold them up least; at most
	 * VECTOR_BATCH_MAX. E_DENIED for a bound principal, as in doc_walk and vector_drop. E_LIMIT: vectors of more than 64
	 * models. */
	enum err (*vector_put)(struct store *s, const struct principal *who, enum doc_kind kind, struct str model,
			       const struct doc_vector *v, size_t n) MUST_CHECK;
	/* Documents of the tenant in order of their ids, strictly after `after`, at most limit, whatever their namespace or user,
	 * with terms, and vector and mark of the model. For background work: how far along it is, what is missing. */
	enum err (*doc_walk)(struct store *s, const struct principal *who, enum doc_kind kind, struct str model, int64_t after,
			     size_t limit, doc_fn fn, void *ctx) MUST_CHECK;
	/* Of the documents with terms after *at, in order of their ids, at most limit that have no vector by the model, or only an
	 * earlier text's; of them terms, mark, has_vector, version and stamp. A call looks at a bounded number of documents, so it
	 * may find none before the end. So a process that starts learns what is missing without being given what is not. */
	enum err (*doc_lacking)(struct store *s, const struct principal *who, enum doc_kind kind, struct str model,
				struct doc_lack *at, size_t limit, doc_fn fn, void *ctx) MUST_CHECK;
	/* Vectors of documents by the model, into the arena, in the order asked; data "" where there is none. */
	enum err (*vector_get)(struct store *s, struct arena *a, const struct principal *who, enum doc_kind kind, struct str model,
			       const int64_t *ids, size_t n, struct doc_vector *out) MUST_CHECK;
	/* Names of models that have vectors in the tenant, and how many. */
	enum err (*vector_models)(struct store *s, const struct principal *who, void (*fn)(void *ctx, struct str model, int64_t n),
				  void *ctx) MUST_CHECK;
	/* Removes up to max vectors of a model (1.., above VECTOR_BATCH_MAX as that); *left: there may be more. For models that
	 * nobody searches with any more: no change for the feed. */
	enum err (*vector_drop)(struct store *s, const struct principal *who, struct str model, size_t max, bool *left) MUST_CHECK;

	/* Appends in order, in one transaction. A thread belongs to the user of its first message; a message for another user is
	 * E_CONFLICT and nothing is stored. A message whose (thread, mid) exists is left alone: stored = false. pos is assigned. */
	enum err (*message_append)(struct store *s, const struct principal *who, struct message *m, size_t n) MUST_CHECK;
	/* Messages of a thread by pos, from pos >= from, at most limit. E_NOT_FOUND: no such thread (or another user's, if who is
	 * bound). */
	enum err (*message_list)(struct store *s, const struct principal *who, struct str thread, int64_t from, size_t limit,
				 message_fn fn, void *ctx) MUST_CHECK;
	enum err (*message_by_id)(struct store *s, struct arena *a, const struct principal *who, const int64_t *ids, size_t n,
				  struct message *out) MUST_CHECK;
	/* Threads of every kind in byte order of their names, strictly after `after`; of one user when user.p is not NULL. */
	enum err (*thread_list)(struct store *s, const struct principal *who, const struct str *user, struct str after,
				size_t limit, thread_fn fn, void *ctx) MUST_CHECK;
	/* Removing threads: thread_ops.remove. */
	const struct thread_ops *threads;		  /* core/thread_store.h */
	const struct checkpoint_ops *checkpoints;	  /* core/thread_store.h */
	const struct fact_ops *facts;			  /* core/fact_store.h */
	const struct text_ops *texts;			  /* core/text_store.h; NULL: entries and checkpoints are not recalled */
	const struct foreign_vector_ops *foreign_vectors; /* core/foreign_vectors.h; NULL: the driver knows none */
	const struct hnsw_ops *hnsw;			  /* core/hnsw_store.h; NULL: the driver has none */

	enum err (*stats)(struct store *s, const struct principal *who, struct store_stats *out) MUST_CHECK;
	enum err (*tenants)(struct store *s, name_fn fn, void *ctx) MUST_CHECK;

	/* API keys; not of a tenant but of the store. Only the daemon's auth and the key command call these. */
	enum err (*key_put)(struct store *s, const struct key_record *k) MUST_CHECK; /* inserts or replaces by id */
	enum err (*key_get)(struct store *s, struct arena *a, struct str id, struct key_record *out, bool *found) MUST_CHECK;
	enum err (*key_list)(struct store *s, key_fn fn, void *ctx) MUST_CHECK;

	/* Small durable values of the process ("import:HASH" -> offset); per tenant. An empty value deletes. The one whose name is
	 * META_OF_THREAD and a thread's name goes in the same transaction when all entries of the thread are removed; the one whose
	 * name is META_OF_ENTRY and an entry's number (in decimal digits) goes with that entry, however it is removed here. */
	enum err (*meta_get)(struct store *s, struct arena *a, const struct principal *who, struct str name, struct str *out,
			     bool *found) MUST_CHECK;
	enum err (*meta_put)(struct store *s, const struct principal *who, struct str name, struct str value) MUST_CHECK;
	/* Those whose names begin with prefix (1.. ASCII bytes), in byte order of the names, strictly after `after` ("" : from the
	 * start), at most limit. */
	enum err (*meta_walk)(struct store *s, const struct principal *who, struct str prefix, struct str after, size_t limit,
			      value_fn fn, void *ctx) MUST_CHECK;

	/* Driver's figures in Prometheus text (without HELP/TYPE duplicates); may be NULL. */
	void (*metrics)(struct store *s, struct buf *out);
};

#endif
