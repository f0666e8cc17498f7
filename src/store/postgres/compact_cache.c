/* Which chunks the streams of a namespace have, by name, and in which order the calls of this process go.
 *
 * Invariants
 *  1. The map and the list are changed with mu held; what an entry says, only by whoever has the turn of its thread.
 *  2. An entry says what the database held at its rev, or is not known. After a write that failed it is forgotten.
 *  3. Entries in use are not thrown out. */
#include "base/hash.h"
#include "store/postgres/compact.h"

#define CACHE_BYTES (64u << 20)
#define STRIPES 256

struct compact_known {
	uint8_t name[PACK_NAME];
	uint32_t n; /* 0: free */
};
struct waiter {
	struct list node;
	struct event ev;
};
struct compact_cache {
	pthread_mutex_t mu;
	struct map scopes;
	struct list lru; /* most recently used first */
	size_t bytes;
	bool held[STRIPES];
	struct list waiters[STRIPES];
};

enum err compact_cache_new(struct pg *s)
{
	struct compact_cache *k = calloc(1, sizeof *k);
	if (!k)
		return err_set(E_LIMIT, "out of memory in the store");
	pthread_mutex_init(&k->mu, NULL);
	map_init(&k->scopes);
	list_init(&k->lru);
	for (unsigned i = 0; i < STRIPES; i++)
		list_init(&k->waiters[i]);
	s->compact = k;
	return OK;
}

/* ---------------------------------------------------------------- turns */

void compact_turn_add(struct compact_turns *x, const struct pg_tenant *t, struct str thread)
{
	uint64_t h = (hash64_seeded(thread) ^ hash64_seeded(str_c(t->name))) % STRIPES;
	x->v[h / 8] |= (uint8_t)(1u << h % 8);
}

static bool has(const struct compact_turns *x, unsigned i)
{
	return x->v[i / 8] >> i % 8 & 1;
}

/* In ascending order: two calls do not wait for each other. */
void compact_turns_begin(struct pg *s, const struct compact_turns *x)
{
	struct compact_cache *k = s->compact;
	for (unsigned i = 0; i < STRIPES; i++) {
		struct waiter w;
		if (!has(x, i))
			continue;
		pthread_mutex_lock(&k->mu);
		bool wait = k->held[i];
		k->held[i] = true;
		if (wait) {
			event_init(&w.ev);
			list_add_tail(&k->waiters[i], &w.node);
		}
		pthread_mutex_unlock(&k->mu);
		if (wait)
			event_wait(&w.ev); /* the turn is handed over */
	}
}

void compact_turns_end(struct pg *s, const struct compact_turns *x)
{
	struct compact_cache *k = s->compact;
	for (unsigned i = 0; i < STRIPES; i++) {
		struct waiter *next = NULL;
		if (!has(x, i))
			continue;
		pthread_mutex_lock(&k->mu);
		if (!list_empty(&k->waiters[i])) {
			next = CONTAINER(k->waiters[i].next, struct waiter, node);
			list_del(&next->node);
		} else {
			k->held[i] = false;
		}
		pthread_mutex_unlock(&k->mu);
		if (next)
			event_set(&next->ev);
	}
}

/* ---------------------------------------------------------------- streams */

void compact_stream_unload(struct compact_stream *x)
{
	free(x->v);
	x->v = NULL;
	x->cap = x->count = 0;
	x->loaded = false;
}

void compact_scope_forget(struct compact_scope *x)
{
	for (size_t i = 0; i < x->n; i++) {
		compact_stream_unload(&x->v[i]);
		free((char *)(uintptr_t)x->v[i].channel.p);
	}
	x->n = 0;
	x->id = x->rev = 0;
	x->known = false;
}

enum err compact_stream_get(struct compact_scope *x, struct str channel, bool make, struct compact_stream **out)
{
	*out = NULL;
	for (size_t i = 0; i < x->n; i++)
		if (str_eq(x->v[i].channel, channel))
			*out = &x->v[i];
	if (*out || !make)
		return OK;
	if (x->n == x->cap) {
		size_t cap = x->cap ? x->cap * 2 : 8;
		struct compact_stream *v = realloc(x->v, cap * sizeof *v);
		if (!v)
			return err_set(E_LIMIT, "out of memory in the store");
		x->v = v;
		x->cap = cap;
	}
	char *name = malloc(channel.n + 1);
	if (!name)
		return err_set(E_LIMIT, "out of memory in the store");
	if (channel.n)
		memcpy(name, channel.p, channel.n);
	*out = &x->v[x->n++];
	**out = (struct compact_stream){.channel = str_of(name, channel.n), .next = 1};
	return OK;
}

static struct compact_known *slot(const struct compact_stream *x, const uint8_t *name)
{
	uint64_t h;
	memcpy(&h, name, sizeof h);
	for (size_t i = h & (x->cap - 1);; i = (i + 1) & (x->cap - 1))
		if (x->v[i].n == 0 || memcmp(x->v[i].name, name, PACK_NAME) == 0)
			return &x->v[i];
}

int64_t compact_number(const struct compact_stream *x, const uint8_t *name)
{
	return x->cap ? slot(x, name)->n : 0;
}

enum err compact_learn(struct compact_stream *x, const uint8_t *name, int64_t n)
{
	if (x->count * 4 >= x->cap * 3) {
		struct compact_stream y = *x;
		y.cap = x->cap ? x->cap * 2 : 64;
		y.v = calloc(y.cap, sizeof *y.v);
		if (!y.v)
			return err_set(E_LIMIT, "out of memory in the store");
		for (size_t i = 0; i < x->cap; i++)
			if (x->v[i].n)
				*slot(&y, x->v[i].name) = x->v[i];
		free(x->v);
		*x = y;
	}
	struct compact_known *at = slot(x, name);
	x->count += at->n == 0;
	memcpy(at->name, name, PACK_NAME);
	at->n = (uint32_t)n;
	return OK;
}

/* ---------------------------------------------------------------- entries */

static size_t weight(const struct compact_scope *x)
{
	size_t sum = sizeof *x + x->key.n + x->cap * sizeof *x->v + 128;
	for (size_t i = 0; i < x->n; i++)
		sum += x->v[i].cap * sizeof *x->v[i].v + x->v[i].channel.n;
	return sum;
}

/* Under mu. */
static void drop(struct compact_cache *k, struct compact_scope *x)
{
	k->bytes -= x->weight;
	map_del(&k->scopes, x->key);
	list_del(&x->lru);
	compact_scope_forget(x);
	free(x->v);
	free((char *)(uintptr_t)x->key.p);
	free(x);
}

void compact_cache_free(struct pg *s)
{
	struct compact_cache *k = s->compact;
	if (!k)
		return;
	while (!list_empty(&k->lru))
		drop(k, CONTAINER(k->lru.next, struct compact_scope, lru));
	map_release(&k->scopes);
	pthread_mutex_destroy(&k->mu);
	free(k);
	s->compact = NULL;
}

/* Tenant (the pointer), length of the thread's name, the name, the namespace. malloc'd. */
static struct str key_make(const struct pg_tenant *t, struct str thread, struct str ns)
{
	uint32_t len = (uint32_t)thread.n;
	size_t n = sizeof t + sizeof len;
	char *p = malloc(n + thread.n + ns.n);
	if (!p)
		return (struct str){0};
	memcpy(p, &t, sizeof t);
	memcpy(p + sizeof t, &len, sizeof len);
	if (thread.n)
		memcpy(p + n, thread.p, thread.n);
	if (ns.n)
		memcpy(p + n + thread.n, ns.p, ns.n);
	return str_of(p, n + thread.n + ns.n);
}

/* Under mu; owns key. */
static enum err enter(struct compact_cache *k, struct str key, struct compact_scope **out)
{
	struct compact_scope *x = *out = calloc(1, sizeof *x);
	enum err e = x ? map_put(&k->scopes, key, x, NULL) : err_set(E_LIMIT, "out of memory in the store");
	if (e != OK) {
		free(x);
		free((char *)(uintptr_t)key.p);
		return e;
	}
	x->key = key;
	x->weight = weight(x);
	k->bytes += x->weight;
	list_add_head(&k->lru, &x->lru);
	return OK;
}

enum err compact_scope_take(struct pg_tenant *t, struct str thread, struct str ns, struct compact_scope **out)
{
	struct compact_cache *k = t->s->compact;
	struct str key = key_make(t, thread, ns);
	enum err e = OK;
	if (!key.p)
		return err_set(E_LIMIT, "out of memory in the store");
	pthread_mutex_lock(&k->mu);
	*out = map_get(&k->scopes, key);
	if (*out) {
		free((char *)(uintptr_t)key.p);
		list_del(&(*out)->lru);
		list_add_head(&k->lru, &(*out)->lru);
	} else {
		e = enter(k, key, out);
	}
	if (e == OK)
		(*out)->users++;
	pthread_mutex_unlock(&k->mu);
	return e;
}

void compact_scope_give(struct pg *s, struct compact_scope *x)
{
	struct compact_cache *k = s->compact;
	pthread_mutex_lock(&k->mu);
	size_t now = weight(x);
	k->bytes += now - x->weight;
	x->weight = now;
	x->users--;
	for (struct list *n = k->lru.prev, *prev; k->bytes > CACHE_BYTES && n != &k->lru; n = prev) {
		prev = n->prev;
		struct compact_scope *old = CONTAINER(n, struct compact_scope, lru);
		if (old->users == 0)
			drop(k, old);
	}
	pthread_mutex_unlock(&k->mu);
}
