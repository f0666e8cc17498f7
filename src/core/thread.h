/* Threads: names under which messages, checkpoints and session entries lie; and sessions, which are threads with entries.
 * Thread-safe; results live in the arena. */
#ifndef CENOTE_CORE_THREAD_H
#define CENOTE_CORE_THREAD_H

#include "core/memory.h"
#include "core/session.h"
#include "core/thread_store.h"

#define ENTRY_MAX_BYTES (8u << 20)
#define ENTRIES_PER_CALL 10000
#define ENTRIES_PAGE_BYTES ((size_t)4 << 20)
#define THREAD_METADATA_MAX (64u << 10)

/* 1..THREAD_MAX_BYTES bytes of UTF-8 without U+0000. */
enum err thread_check(struct str thread, const char *field) MUST_CHECK;
/* The one order in which a request's thread is found (contracts: product S3-15): custom_inputs.thread_id, else the conversation's
 * id, else a new UUID. "" and .p NULL count as absent. *made: it is a new one. Every surface uses this. */
enum err thread_resolve(struct arena *a, struct str custom_thread_id, struct str conversation_id, struct str *out,
			bool *made) MUST_CHECK;

enum err thread_get(struct memory *m, struct arena *a, const struct principal *who, struct str thread, struct thread_info *out,
		    bool *found) MUST_CHECK;
/* IF_ABSENT: E_CONFLICT when it exists. r->user "" : the principal's. */
enum err thread_put(struct memory *m, const struct principal *who, struct thread_record *r, enum write_if cond) MUST_CHECK;
/* Shallow merge of members into metadata (null values stay null), and ttl_minutes (< 0: leave); repeats on conflict. E_NOT_FOUND.
 */
enum err thread_update(struct memory *m, struct arena *a, const struct principal *who, struct str thread, struct jval metadata,
		       double ttl_minutes, enum thread_ttl strategy, struct thread_info *out) MUST_CHECK;
/* Everything under the name; E_NOT_FOUND. */
enum err thread_remove(struct memory *m, const struct principal *who, struct str thread) MUST_CHECK;
/* What its checkpoints take; E_NOT_FOUND. */
enum err thread_storage(struct memory *m, struct arena *a, const struct principal *who, struct str thread,
			struct ckpt_storage *out) MUST_CHECK;

enum thread_status { THREAD_IDLE, THREAD_BUSY, THREAD_INTERRUPTED, THREAD_FAILED };
enum thread_status thread_status(const struct thread_info *t);
const char *thread_status_name(enum thread_status s); /* "idle", "busy", "interrupted", "error" */
enum thread_sort { SORT_CREATED, SORT_UPDATED, SORT_STATE, SORT_ID, SORT_STATUS };
struct thread_search {
	struct jval metadata, values; /* containment; absent (JSON null or none): all */
	const struct str *ids;
	size_t ids_n; /* 0: all */
	bool by_status;
	enum thread_status status;
	enum thread_sort sort;
	bool ascending;
	size_t limit, offset;  /* limit 0: count only */
	bool checkpoints_only; /* threads of graphs: with checkpoints or made by thread_put */
	/* out */
	struct thread_info *v;
	size_t n, total;
};
enum err thread_search(struct memory *m, struct arena *a, const struct principal *who, struct thread_search *q) MUST_CHECK;

/* Sessions. Entries must be JSON objects of at most ENTRY_MAX_BYTES; each error names "/items/3". The JSON may have what Python's
 * json writes besides RFC 8259 only when it was written by another program. */
enum err entries_append(struct memory *m, struct arena *a, const struct principal *who, struct entry_append *e) MUST_CHECK;
/* The newest `limit` readable ones (0: none, SIZE_MAX: all) in order, oldest first. An unknown session has none. */
enum err entries_tail(struct memory *m, struct arena *a, const struct principal *who, struct str thread, size_t limit,
		      struct session_entry **out, size_t *n) MUST_CHECK;
/* The same of the session as it was when `upto` was its newest entry (0: as it is; else E_NOT_FOUND: that is not there), in at most
 * max_bytes of data, but one at least. *full: an older one was left out for that. limit >= 1. */
enum err entries_recent(struct memory *m, struct arena *a, const struct principal *who, struct str thread, int64_t upto,
			size_t limit, size_t max_bytes, struct session_entry **out, size_t *n, bool *full) MUST_CHECK;
/* For those who send a long tail piece by piece: the entry behind which it begins (0: at the start). found = false: it is empty. */
enum err entries_tail_from(struct memory *m, const struct principal *who, struct str thread, size_t limit, int64_t *after,
			   bool *found) MUST_CHECK;
/* A page: readable entries, at most q->limit of them and about ENTRIES_PAGE_BYTES (at least one); *more: there are others behind.
 * E_NOT_FOUND: unknown session or cursor. */
enum err entries_page(struct memory *m, struct arena *a, const struct principal *who, const struct entry_list *q,
		      struct session_entry **out, size_t *n, bool *more) MUST_CHECK;
enum err entries_pop(struct memory *m, struct arena *a, const struct principal *who, struct str thread, struct session_entry *out,
		     bool *found) MUST_CHECK;
enum err entries_clear(struct memory *m, const struct principal *who, struct str thread) MUST_CHECK;
/* Clears the session and appends, at once. */
enum err entries_replace(struct memory *m, const struct principal *who, struct entry_append *e) MUST_CHECK;
/* Removes the session: entries, and the record unless messages or checkpoints lie under the name. E_NOT_FOUND: it has neither
 * entries nor a record. */
enum err entries_remove(struct memory *m, struct arena *a, const struct principal *who, struct str thread) MUST_CHECK;
/* One entry by its id; E_NOT_FOUND, also when it is unreadable. */
enum err entries_get(struct memory *m, struct arena *a, const struct principal *who, struct str thread, int64_t id,
		     struct session_entry *out) MUST_CHECK;
enum err entries_delete(struct memory *m, const struct principal *who, struct str thread, int64_t id) MUST_CHECK;
/* As the driver gives them, unreadable ones too. */
enum err entries_walk(struct memory *m, const struct principal *who, const struct entry_list *q, entry_fn fn, void *ctx) MUST_CHECK;

#endif
