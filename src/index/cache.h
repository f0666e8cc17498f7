/* The scope cache: scopes by name, below a ceiling of memory, least recently used go first. Thread-safe; waits for nothing.
 *
 *  1. An entry that somebody holds is neither freed nor evicted; after the last release it may go at any time.
 *  2. entry->scope, vectors, marks and what they point to: read under the read lock, changed under the write lock, never held
 * across a wait. scope NULL: not loaded; then the others are empty.
 *  3. At most one holder of an entry loads it (cache_load_begin .. cache_load_end); the others wait in its list.
 *  4. The sum of the charged bytes of entries that nobody holds never exceeds the ceiling once a call has returned.
 *  5. cursor only moves forward from a point at which scope shows all changes before it. */
#ifndef CENOTE_INDEX_CACHE_H
#define CENOTE_INDEX_CACHE_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/list.h"
#include "index/marks.h"
#include "index/scope.h"
#include "index/vector_scope.h"

struct cache;
struct cache_entry {
	pthread_rwlock_t lock;
	struct scope *scope;
	struct vector_scope
		*vectors;      /* of the scope's documents, NULL: there are none; one whose document has just gone may linger */
	struct marks marks;    /* of the terms that the scope was made of; kept only in scopes with a model */
	_Atomic uint64_t rows; /* of scope, + 1; 0: not loaded. For a look without the lock */
	_Atomic uint64_t cursor;
	_Atomic uint64_t least_docs; /* documents that it had, or more, when it was last looked at and did not fit */
	_Atomic uint64_t item_bytes; /* that it would have taken in memory for each document when it was found too large */
	_Atomic uint64_t late_docs;  /* documents it had when reading it took too long; 0: it did not */
	_Atomic uint64_t load_begun; /* when the load that is going on, or the last one, began (monotonic) */
	_Atomic uint64_t too_large;  /* bytes of documents at which it was found too large for the cache; 0: was not */
	/* The cache's own: */
	struct list lru, waiters;
	struct str key;
	size_t bytes;
	unsigned refs;
	bool loading;
};

struct cache *cache_new(size_t ceiling); /* NULL: out of memory */
void cache_free(struct cache *c);	 /* nobody may hold an entry */
size_t cache_ceiling(const struct cache *c);

/* The entry of that name, made when there is none; NULL: out of memory. */
struct cache_entry *cache_acquire(struct cache *c, struct str key);
void cache_release(struct cache *c, struct cache_entry *e);
/* Charges the entry (which the caller holds) with so many bytes and evicts others as far as needed. */
void cache_charge(struct cache *c, struct cache_entry *e, size_t bytes);
/* True: the caller is to load. False: somebody else does; waiter was put into the list and will be handed out by cache_load_end. */
bool cache_load_begin(struct cache *c, struct cache_entry *e, struct list *waiter);
/* Takes a waiter out of the list. False: it is not in it any more, and will be woken. */
bool cache_load_leave(struct cache *c, const struct cache_entry *e, struct list *waiter);
bool cache_loading(struct cache *c, const struct cache_entry *e);
/* Moves all waiters to *woken, for the caller to wake. */
void cache_load_end(struct cache *c, struct cache_entry *e, struct list *woken);

struct cache_stats {
	uint64_t hits, misses, evictions;
	size_t bytes, entries;
};
void cache_count(struct cache *c, bool hit);
void cache_stats(struct cache *c, struct cache_stats *out);

#endif
