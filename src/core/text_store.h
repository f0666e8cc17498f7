/* The port's third part: texts of threads, for recall. What was said in sessions (entries) and in the state of graphs (messages in
 * checkpoints) is kept a second time, as documents that recall finds like messages. They are made by core/texts.c and belong to
 * what they were made of; nobody else reads or writes them. Rules 1-12 of core/store.h and core/thread_store.h hold here too.
 *
 * 13. A text is found through doc_scan, doc_changes, doc_walk (DOC_MESSAGE), vector_put, doc_keep and message_by_id, and through
 *     nothing else: listings, counts, exports and copies of messages do not know it. Its id is TEXT_ID_FIRST or above, those of
 *     messages are below.
 * 14. Texts of a thread belong to its user. They go in the same transaction as what they were made of when the thread or a part of
 *     it is removed, and when entries are removed through this store. */
#ifndef CENOTE_CORE_TEXT_STORE_H
#define CENOTE_CORE_TEXT_STORE_H

#include "core/store.h"

#define TEXT_ID_FIRST (INT64_C(1) << 45)
enum text_source { TEXT_ENTRY = 1, TEXT_CHECKPOINT = 2 };

/* A text as it is stored. Ids grow with the position within (thread, source). */
struct text_known {
	int64_t id, ref, pos;
	struct str mid;
	uint64_t mark;
};
struct text {
	int64_t id;  /* 0: a new one, behind those that are there; else this one gets the new words */
	int64_t ref; /* the entry it was made of; 0: of a checkpoint */
	int64_t pos, time_us;
	uint64_t mark; /* whatever tells the caller that nothing has changed */
	struct str mid, role, name, content, terms;
};
struct text_change {
	struct str thread, user; /* user: the thread's, as it was read; E_CONFLICT when it has another one, or is gone */
	enum text_source source;
	const int64_t *gone; /* ids to be removed */
	size_t gone_n;
	const struct text *v;
	size_t n;
	struct str seen; /* kept with the thread; .p NULL: as it was */
};
#define TEXT_SEEN_MAX 256
#define TEXTS_PER_CALL 256 /* gone_n and n */
/* The seen of a thread, for comparing all threads with what was made of them. */
typedef bool (*text_seen_fn)(void *ctx, struct str thread, struct str seen);

struct text_ops {
	/* "" : none. */
	enum err (*seen)(struct store *s, struct arena *a, const struct principal *who, struct str thread,
			 struct str *seen) MUST_CHECK;
	/* All of a thread, by id. */
	enum err (*known)(struct store *s, struct arena *a, const struct principal *who, struct str thread, enum text_source source,
			  struct text_known **out, size_t *n) MUST_CHECK;
	/* One transaction, a change for the feed. E_DENIED for a bound principal, as in all calls here. */
	enum err (*put)(struct store *s, const struct principal *who, const struct text_change *c) MUST_CHECK;
	/* Removes all texts of a thread and its seen. only_orphans: unless something lies under the name. */
	enum err (*drop)(struct store *s, const struct principal *who, struct str thread, bool only_orphans) MUST_CHECK;
	/* Threads with a seen, strictly after `after` in the order of bytes, at most limit. */
	enum err (*walk)(struct store *s, const struct principal *who, struct str after, size_t limit, text_seen_fn fn,
			 void *ctx) MUST_CHECK;
};

#endif
