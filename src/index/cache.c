/* The scope cache. One mutex guards the table, the list and the counts; it is never held while a scope is freed. */
#include "index/cache.h"

#include <stdlib.h>

#include "base/clock.h"

struct cache {
	pthread_mutex_t lock;
	struct map entries;
	struct list lru; /* most recently used first; held ones too */
	size_t ceiling, bytes;
	_Atomic uint64_t hits, misses;
	uint64_t evictions;
};

struct cache *cache_new(size_t ceiling)
{
	struct cache *c = calloc(1, sizeof *c);

	if (!c)
		return NULL;
	pthread_mutex_init(&c->lock, NULL);
	map_init(&c->entries);
	list_init(&c->lru);
	c->ceiling = ceiling;
	return c;
}

static void entry_free(struct cache_entry *e)
{
	scope_free(e->scope);
	vector_scope_free(e->vectors);
	marks_release(&e->marks);
	pthread_rwlock_destroy(&e->lock);
	free((char *)e->key.p);
	free(e);
}

void cache_free(struct cache *c)
{
	if (!c)
		return;
	LIST_EACH (node, &c->lru) {
		list_del(node);
		entry_free(CONTAINER(node, struct cache_entry, lru));
	}
	map_release(&c->entries);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

size_t cache_ceiling(const struct cache *c)
{
	return c->ceiling;
}

static struct cache_entry *entry_new(struct str key)
{
	struct cache_entry *e = calloc(1, sizeof *e);
	char *copy = malloc(key.n + 1);
	pthread_rwlockattr_t attr;

	if (!e || !copy) {
		free(e);
		free(copy);
		return NULL;
	}
	memcpy(copy, key.p, key.n);
	e->key = str_of(copy, key.n);
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&e->lock, &attr);
	pthread_rwlockattr_destroy(&attr);
	list_init(&e->lru);
	list_init(&e->waiters);
	marks_init(&e->marks);
	e->bytes = sizeof *e + key.n * 2;
	return e;
}

/* Takes what must go out of the table, into *gone. Locked. */
static void evict(struct cache *c, struct list *gone)
{
	for (struct list *node = c->lru.prev; c->bytes > c->ceiling && node != &c->lru;) {
		struct cache_entry *e = CONTAINER(node, struct cache_entry, lru);

		node = node->prev;
		if (e->refs)
			continue;
		list_del(&e->lru);
		list_add_tail(gone, &e->lru);
		(void)map_del(&c->entries, e->key);
		c->bytes -= e->bytes;
		c->evictions++;
	}
}

static void free_all(struct list *gone)
{
	LIST_EACH (node, gone) {
		list_del(node);
		entry_free(CONTAINER(node, struct cache_entry, lru));
	}
}

struct cache_entry *cache_acquire(struct cache *c, struct str key)
{
	struct cache_entry *e, *fresh = NULL;

	pthread_mutex_lock(&c->lock);
	e = map_get(&c->entries, key);
	if (!e) {
		e = fresh = entry_new(key);
		if (e && map_put(&c->entries, key, e, NULL) != OK)
			e = NULL;
		else if (e)
			c->bytes += e->bytes;
	}
	if (e) {
		if (c->lru.next != &e->lru) {
			list_del(&e->lru);
			list_add_head(&c->lru, &e->lru);
		}
		e->refs++;
	}
	pthread_mutex_unlock(&c->lock);
	if (!e && fresh)
		entry_free(fresh);
	return e;
}

void cache_release(struct cache *c, struct cache_entry *e)
{
	struct list gone;

	list_init(&gone);
	pthread_mutex_lock(&c->lock);
	e->refs--;
	evict(c, &gone);
	pthread_mutex_unlock(&c->lock);
	free_all(&gone);
}

void cache_charge(struct cache *c, struct cache_entry *e, size_t bytes)
{
	struct list gone;

	bytes += sizeof *e + e->key.n * 2;
	list_init(&gone);
	pthread_mutex_lock(&c->lock);
	c->bytes += bytes - e->bytes;
	e->bytes = bytes;
	evict(c, &gone);
	pthread_mutex_unlock(&c->lock);
	free_all(&gone);
}

bool cache_load_begin(struct cache *c, struct cache_entry *e, struct list *waiter)
{
	bool mine;

	pthread_mutex_lock(&c->lock);
	mine = !e->loading;
	if (mine) {
		e->loading = true;
		atomic_store(&e->load_begun, clock_mono_ns());
	} else {
		list_add_tail(&e->waiters, waiter);
	}
	pthread_mutex_unlock(&c->lock);
	return mine;
}

bool cache_load_leave(struct cache *c, const struct cache_entry *e, struct list *waiter)
{
	bool in = false;

	pthread_mutex_lock(&c->lock);
	for (const struct list *node = e->waiters.next; node != &e->waiters && !in; node = node->next)
		in = node == waiter;
	if (in)
		list_del(waiter);
	pthread_mutex_unlock(&c->lock);
	return in;
}

bool cache_loading(struct cache *c, const struct cache_entry *e)
{
	bool loading;

	pthread_mutex_lock(&c->lock);
	loading = e->loading;
	pthread_mutex_unlock(&c->lock);
	return loading;
}

void cache_load_end(struct cache *c, struct cache_entry *e, struct list *woken)
{
	list_init(woken);
	pthread_mutex_lock(&c->lock);
	e->loading = false;
	LIST_EACH (node, &e->waiters) {
		list_del(node);
		list_add_tail(woken, node);
	}
	pthread_mutex_unlock(&c->lock);
}

void cache_count(struct cache *c, bool hit)
{
	atomic_fetch_add_explicit(hit ? &c->hits : &c->misses, 1, memory_order_relaxed);
}

void cache_stats(struct cache *c, struct cache_stats *out)
{
	pthread_mutex_lock(&c->lock);
	*out = (struct cache_stats){
		.hits = atomic_load_explicit(&c->hits, memory_order_relaxed),
		.misses = atomic_load_explicit(&c->misses, memory_order_relaxed),
		.evictions = c->evictions,
		.bytes = c->bytes,
		.entries = c->entries.count,
	};
	pthread_mutex_unlock(&c->lock);
}
