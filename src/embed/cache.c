/* The cache of vectors. One mutex guards the table, the list and the counts; it is never held while the encoder works.
 *
 * Invariants
 *  1. An entry is in the table exactly when it is in the list; the sum of all charges is `bytes` and at most `ceiling` when a call
 *     returns.
 *  2. A key is the SHA-256 of the text. One cache has one encoder, hence one model; all its vectors have the encoder's dimensions.
 *  3. A flight is in the table of flights from the time its leader misses until it lands. Those who wait hold descriptors of their
 * own; the leader wakes each of them, whatever came of it, and whoever finds nothing in the cache then asks for itself.
 *  4. A waiter leaves the list of its flight under the mutex before its descriptor is closed. */
#include "embed/cache.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/list.h"
#include "base/map.h"
#include "rt/wait.h"
#include "rt/work.h"

struct entry {
	struct list node;
	uint8_t key[SHA256_BYTES];
	uint32_t dims;
	float v[];
};
/* What an entry costs besides itself: its place in the table with the copied key, and the heap's own. */
#define ENTRY_COST 160
/* Bytes that are hashed where the caller is: some 0.1 ms. */
#define HASH_HERE ((size_t)64 << 10)

struct flight {
	struct list waiters;
};
struct waiter {
	struct list node;
	int fd;
};

struct ecache {
	struct embedder base;
	struct embedder *inner;
	pthread_mutex_t lock;
	struct map table, flights;
	struct list lru; /* most recently used first */
	size_t ceiling, bytes;
	struct embed_cache_stats stats;
};

static struct str key_of(const uint8_t *k)
{
	return str_of((const char *)k, SHA256_BYTES);
}

static size_t charge_of(const struct entry *e)
{
	return sizeof *e + (size_t)e->dims * sizeof(float) + ENTRY_COST;
}

/* ------------------------------------------------------------- under the lock */

static void drop(struct ecache *c, struct entry *e)
{
	list_del(&e->node);
	(void)map_del(&c->table, key_of(e->key));
	c->bytes -= charge_of(e);
	free(e);
}

static bool look_up(struct ecache *c, const uint8_t *key, float *to, uint32_t dims)
{
	struct entry *e = map_get(&c->table, key_of(key));

	if (!e || e->dims != dims)
		return false;
	memcpy(to, e->v, (size_t)dims * sizeof(float));
	list_del(&e->node);
	list_add_head(&c->lru, &e->node);
	return true;
}

static void keep(struct ecache *c, const uint8_t *key, const float *v, uint32_t dims, bool warm)
{
	size_t size = sizeof(struct entry) + (size_t)dims * sizeof(float), charge = size + ENTRY_COST;
	struct entry *e;

	if (charge > c->ceiling || map_get(&c->table, key_of(key)))
		return;
	while (c->bytes + charge > c->ceiling) {
		drop(c, CONTAINER(c->lru.prev, struct entry, node));
		c->stats.evictions++;
	}
	e = malloc(size);
	if (!e)
		return;
	memcpy(e->key, key, SHA256_BYTES);
	e->dims = dims;
	memcpy(e->v, v, (size_t)dims * sizeof(float));
	if (map_put(&c->table, key_of(key), e, NULL) != OK) {
		free(e);
		return;
	}
	if (warm)
		list_add_head(&c->lru, &e->node);
	else
		list_add_tail(&c->lru, &e->node);
	c->bytes += charge;
}

/* ------------------------------------------------------------------- flights */

/* True: the caller leads. False: *w waits for the flight that is under way, or (fd -1) waiting is not possible. */
static bool take_off(struct ecache *c, const uint8_t *key, struct flight *mine, struct waiter *w)
{
	struct flight *f = map_get(&c->flights, key_of(key));

	w->fd = -1;
	if (!f) {
		list_init(&mine->waiters);
		return map_put(&c->flights, key_of(key), mine, NULL) == OK;
	}
	w->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w->fd >= 0)
		list_add_tail(&f->waiters, &w->node);
	return false;
}

static void land(struct ecache *c, const uint8_t *key, struct flight *mine)
{
	uint64_t one = 1;

	(void)map_del(&c->flights, key_of(key));
	LIST_EACH (node, &mine->waiters) {
		struct waiter *w = CONTAINER(node, struct waiter, node);
		ssize_t wrote;

		list_del(node);
		wrote = write(w->fd, &one, sizeof one);
		(void)wrote; /* an eventfd at 0 always takes it */
	}
}

static enum err wait_landing(struct ecache *c, struct waiter *w)
{
	enum err e = wait_fd(w->fd, WAIT_READ, NEVER, NULL);

	pthread_mutex_lock(&c->lock);
	list_del(&w->node); /* harmless when the leader has done so */
	pthread_mutex_unlock(&c->lock);
	close(w->fd);
	return e;
}

/* ------------------------------------------------------------------ encoding */

static uint32_t known_dims(struct ecache *c)
{
	return __atomic_load_n(&c->base.dims, __ATOMIC_ACQUIRE);
}

/* Before what was encoded is kept: whoever finds an entry knows how long it is. */
static void learn_dims(struct ecache *c)
{
	uint32_t dims = __atomic_load_n(&c->inner->dims, __ATOMIC_ACQUIRE);

	if (dims) /* another call may have learned them since this one looked */
		__atomic_store_n(&c->base.dims, dims, __ATOMIC_RELEASE);
}

/* Room for n vectors; dims 0 (nothing was encoded yet): none. */
static enum err room_for(struct arena *a, size_t n, uint32_t dims, struct embed_vectors *out)
{
	*out = (struct embed_vectors){.v = dims ? arena_array(a, n * dims, sizeof(float)) : NULL, .dims = dims, .n = n};
	return dims && !out->v ? E_NOMEM : OK;
}

/* One text: the way of questions. */
static enum err encode_one(struct ecache *c, struct arena *a, const struct str *text, const uint8_t *key,
			   const struct trace_span *span, struct embed_vectors *out)
{
	struct flight mine;
	struct waiter w;
	bool waited = false, hit, lead = false;
	enum err e;

	TRY(room_for(a, 1, known_dims(c), out));
	for (;;) {
		pthread_mutex_lock(&c->lock);
		if (out->dims != known_dims(c)) { /* learned since: what was asked for may be here now */
			pthread_mutex_unlock(&c->lock);
			TRY(room_for(a, 1, known_dims(c), out));
			continue;
		}
		hit = out->dims && look_up(c, key, out->v, out->dims);
		if (!hit)
			lead = take_off(c, key, &mine, &w);
		if (hit && waited)
			c->stats.shared++;
		else if (hit)
			c->stats.hits++;
		else if (lead || w.fd < 0)
			c->stats.misses++;
		pthread_mutex_unlock(&c->lock);
		if (hit)
			return OK;
		if (lead || w.fd < 0)
			break;
		TRY(wait_landing(c, &w));
		waited = true;
	}
	e = embed_encode_traced(c->inner, a, text, 1, span, out);
	learn_dims(c);
	pthread_mutex_lock(&c->lock);
	if (e == OK)
		keep(c, key, out->v, out->dims, true);
	if (lead)
		land(c, key, &mine);
	pthread_mutex_unlock(&c->lock);
	return e;
}

struct many {
	struct ecache *c;
	struct arena *a;
	const struct str *texts;
	size_t n;
	uint8_t (*keys)[SHA256_BYTES];
	size_t *from;	     /* per text: its place in `missing`, SIZE_MAX: was found */
	struct str *missing; /* each text once */
	const struct trace_span *span;
	size_t missing_n;
};

/* Which texts the encoder has to be asked for; what is there already goes to out. */
static enum err sift(struct many *m, struct embed_vectors *out)
{
	struct ecache *c = m->c;
	struct map first;	   /* key -> place + 1, of this call */
	uint32_t dims = out->dims; /* what there is room for, whatever is known by now */
	enum err e = OK;

	map_init(&first);
	pthread_mutex_lock(&c->lock);
	for (size_t i = 0; i < m->n && e == OK; i++) {
		uintptr_t place = (uintptr_t)map_get(&first, key_of(m->keys[i]));

		m->from[i] = SIZE_MAX;
		if (dims && look_up(c, m->keys[i], out->v + i * dims, dims)) {
			c->stats.hits++;
			continue;
		}
		if (place == 0) {
			m->missing[m->missing_n++] = m->texts[i];
			place = m->missing_n;
			e = map_put(&first, key_of(m->keys[i]), (void *)place, NULL);
			c->stats.misses++;
		}
		m->from[i] = place - 1;
	}
	pthread_mutex_unlock(&c->lock);
	map_release(&first);
	return e;
}

static enum err encode_many(struct many *m, struct embed_vectors *out)
{
	struct ecache *c = m->c;
	bool warm = m->n < EMBED_CACHE_WARM;
	struct embed_vectors got = {0};

	TRY(room_for(m->a, m->n, known_dims(c), out));
	TRY(sift(m, out));
	if (m->missing_n == 0)
		return OK;
	TRY(embed_encode_traced(c->inner, m->a, m->missing, m->missing_n, m->span, &got));
	learn_dims(c);
	if (!out->v)
		TRY(room_for(m->a, m->n, got.dims, out));
	out->tokens = got.tokens;
	pthread_mutex_lock(&c->lock);
	for (size_t i = 0; i < m->n; i++) {
		if (m->from[i] == SIZE_MAX)
			continue;
		memcpy(out->v + i * got.dims, got.v + m->from[i] * got.dims, (size_t)got.dims * sizeof(float));
		keep(c, m->keys[i], out->v + i * got.dims, got.dims, warm);
	}
	pthread_mutex_unlock(&c->lock);
	return OK;
}

static enum err hash_all(void *arg)
{
	struct many *m = arg;

	for (size_t i = 0; i < m->n; i++)
		sha256_of(m->texts[i], m->keys[i]);
	return OK;
}

static enum err encode(struct embedder *e, struct arena *a, const struct str *texts, size_t n, const struct trace_span *span,
		       struct embed_vectors *out)
{
	struct ecache *c = CONTAINER(e, struct ecache, base);
	struct many m = {.c = c, .a = a, .texts = texts, .n = n, .span = span};
	size_t bytes = 0;

	*out = (struct embed_vectors){.dims = known_dims(c)};
	if (n == 0)
		return OK;
	if (n > EMBED_BATCH_MAX)
		return err_set(E_LIMIT, "%zu texts at once, allowed are %d", n, EMBED_BATCH_MAX);
	m.keys = arena_array(a, n, SHA256_BYTES);
	m.from = ARENA_ARRAY(a, size_t, n);
	m.missing = ARENA_ARRAY(a, struct str, n);
	if (!m.keys || !m.from || !m.missing)
		return E_NOMEM;
	for (size_t i = 0; i < n; i++)
		bytes += texts[i].n;
	TRY(bytes > HASH_HERE ? work_run(hash_all, &m) : hash_all(&m));
	return n == 1 ? encode_one(c, a, texts, m.keys[0], span, out) : encode_many(&m, out);
}

static void close_cache(struct embedder *e)
{
	struct ecache *c = CONTAINER(e, struct ecache, base);

	LIST_EACH (node, &c->lru)
		drop(c, CONTAINER(node, struct entry, node));
	map_release(&c->table);
	map_release(&c->flights);
	pthread_mutex_destroy(&c->lock);
	embed_close(c->inner);
	free(c);
}

static const struct embed_ops ops = {.encode = encode, .close = close_cache};

enum err embed_cache_open(struct embedder *inner, size_t bytes, struct embedder **out)
{
	struct ecache *c;

	*out = inner;
	if (bytes == 0)
		return OK;
	c = calloc(1, sizeof *c);
	if (!c) {
		embed_close(inner);
		return err_set(E_LIMIT, "out of memory for the cache of vectors");
	}
	c->base = *inner;
	c->base.ops = &ops;
	c->inner = inner;
	c->ceiling = bytes;
	pthread_mutex_init(&c->lock, NULL);
	map_init(&c->table);
	map_init(&c->flights);
	list_init(&c->lru);
	*out = &c->base;
	return OK;
}

bool embed_cache_stats(struct embedder *e, struct embed_cache_stats *out)
{
	struct ecache *c;

	if (e->ops != &ops)
		return false;
	c = CONTAINER(e, struct ecache, base);
	pthread_mutex_lock(&c->lock);
	*out = c->stats;
	out->bytes = c->bytes;
	out->entries = c->table.count;
	pthread_mutex_unlock(&c->lock);
	return true;
}
