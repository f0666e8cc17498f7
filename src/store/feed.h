/* The change feed of a tenant, shared by the drivers: a bounded ring in memory of which documents changed, for the word index.
 * Thread-safe; waits for nothing. */
#ifndef CENOTE_STORE_FEED_H
#define CENOTE_STORE_FEED_H

#include <pthread.h>
#include <stdatomic.h>

#include "core/store.h"

/* A name with its meaning for a change: namespace of items, user and thread of messages. Counted references. */
struct feed_name {
	atomic_uint refs;
	int64_t id; /* of the namespace */
	struct str scope, lang_ns;
	char bytes[];
};
struct feed_name *feed_name_new(int64_t id, struct str scope, struct str lang_ns); /* NULL: no memory */
void feed_name_ref(struct feed_name *n);
void feed_name_drop(struct feed_name *n); /* NULL is harmless */

struct feed_entry {
	uint64_t what; /* id << 2 | removed << 1 | message */
	struct feed_name *name;
};
struct feed {
	pthread_mutex_t mu;
	struct feed_entry *ring;
	size_t cap;    /* power of two, at most FEED_MAX */
	uint64_t tail; /* first change still known; changes are numbered tail .. head - 1 */
	_Atomic uint64_t head;
	atomic_bool wanted; /* somebody has a cursor: record names */
};
#define FEED_MAX 65536u
void feed_init(struct feed *f);
void feed_release(struct feed *f);
/* Where a scan starts: before its snapshot is taken. From now on changes are recorded. */
uint64_t feed_start(struct feed *f);
/* Takes over the names' references. recorded: the entries are there, else only their number counts and older cursors get
 * E_CONFLICT. */
void feed_publish(struct feed *f, const struct feed_entry *e, size_t n, bool recorded);
/* Forgets all entries; older cursors get E_CONFLICT. */
void feed_drop(struct feed *f);
struct feed_hit {
	int64_t id;
	struct feed_name *name; /* a reference */
};
/* The changes of a scope since *cursor, by id, each once; the caller drops the names and frees. */
enum err feed_since(struct feed *f, const struct doc_scope *scope, uint64_t *cursor, struct feed_hit **out, size_t *n) MUST_CHECK;
bool ns_below(struct str ns, struct str prefix);

#endif
