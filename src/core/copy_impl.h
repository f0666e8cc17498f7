/* What the files of core/copy share; private to core. */
#ifndef CENOTE_CORE_COPY_IMPL_H
#define CENOTE_CORE_COPY_IMPL_H

#include "base/map.h"
#include "core/copy.h"
#include "core/memory_impl.h"
#include "core/session.h"
#include "core/words.h"

#define COPY_PAGE 500
#define COPY_PAGE_BYTES ((size_t)8 << 20)

/* Where a copy stands. Everything before the place has been dealt with.
 *
 * Invariant: the place moves only when what lies before it is durable in the target or among the failed names. */
struct copy_place {
	int64_t begun_us; /* of the first run */
	enum copy_stage { COPY_ITEMS, COPY_MESSAGES, COPY_THREADS, COPY_COMPARE } stage;
	char ns[NS_MAX_BYTES + 1], key[KEY_MAX_BYTES + 1], thread[THREAD_MAX_BYTES + 1];
	size_t ns_n, key_n, thread_n; /* the last item; the thread under way */
	int64_t pos;		      /* of the next message of the thread */
};

struct copy {
	struct store *from, *to; /* to may be NULL */
	struct principal who;
	const struct copy_options *opt;
	struct copy_result *r;
	struct memory *memory; /* over `to` (or from, in a dry run): checks and makes documents */
	struct copy_place at;
	struct arena page, work; /* what a page of the source needs; what its writing needs */
	struct map failed;	 /* names (copy_name) of what could not be stored */
	bool failed_new;	 /* since the last save */
	uint64_t save_at, done, total;
};

/* A name for copy.failed, in the arena. */
struct str copy_name(struct arena *a, enum copy_kind kind, struct str first, struct str second);
bool copy_has_failed(struct copy *c, enum copy_kind kind, struct str first, struct str second);
/* Notes and tells it; the diagnostic has the reason. */
enum err copy_fail(struct copy *c, enum copy_kind kind, struct str first, struct str second) MUST_CHECK;
void copy_tell(struct copy *c, enum copy_what what, enum copy_kind kind, struct str first, struct str second, struct str reason);
/* Whether the error is one of this item alone. */
bool copy_is_local(enum err e);
/* After every page: tick, stop, and now and then (always: when force) the place into the target. */
enum err copy_pause(struct copy *c, bool force) MUST_CHECK;

/* A page-wise walk over the items of a store in order of their names. */
struct copy_row {
	struct item it; /* value is empty unless it is kept */
	uint64_t sum;
};
struct copy_walk {
	struct store *s; /* NULL: no items */
	const struct principal *who;
	bool values, sums; /* keep values; work out sums */
	struct arena a, scratch;
	struct copy_row *v; /* the page */
	size_t n, at, cap, bytes;
	bool end; /* no page after this one */
	enum err err;
	struct diag diag;
	char ns[NS_MAX_BYTES * 2], key[NS_MAX_BYTES * 2]; /* the last row of the page */
	size_t ns_n, key_n;
};
enum err copy_walk_begin(struct copy_walk *w, struct store *s, const struct principal *who, bool values, bool sums,
			 struct str after_ns, struct str after_key) MUST_CHECK;
void copy_walk_end(struct copy_walk *w);
/* The next row, NULL at the end. Rows stay until the call that begins a new page. */
enum err copy_walk_next(struct copy_walk *w, struct copy_row **out) MUST_CHECK;
/* Moves on to the row of that name, passing those before it (*passed counts them); NULL when there is none. */
enum err copy_walk_find(struct copy_walk *w, struct str ns, struct str key, int64_t *passed, struct copy_row **out) MUST_CHECK;

/* Times as every driver can keep them: no item without times, never an expiry at the end of time, a ttl has its expiry. */
void copy_item_times(struct item *it);
/* The checksum of an item and of a message. */
enum err copy_item_sum(struct arena *scratch, const struct item *it, uint64_t *sum) MUST_CHECK;
enum err copy_message_sum(struct arena *scratch, const struct message *m, uint64_t *sum) MUST_CHECK;
/* Comparing: counts both; tells a difference. */
void copy_both(struct copy *c, uint64_t from, uint64_t to);
void copy_differs(struct copy *c, enum copy_kind kind, struct str first, struct str second, const char *reason);

enum err copy_items(struct copy *c) MUST_CHECK;
enum err copy_facts(struct copy *c) MUST_CHECK;
enum err copy_messages(struct copy *c) MUST_CHECK;
enum err copy_threads(struct copy *c) MUST_CHECK;
enum err copy_compare_facts(struct copy *c) MUST_CHECK;
/* One thread's record, checkpoints and entries. changed: the source's thread changed since the copy began. */
enum err copy_compare_thread(struct copy *c, struct str thread, bool changed) MUST_CHECK;
enum err copy_compare(struct copy *c) MUST_CHECK;

#endif
