/* Checkpoints that lists have read, so that the next list reads only what it does not know. What a row and the values that it names
 * are does not change without the row being written again, and every writing of a row makes another version of it (xmin, ctid),
 * which each list asks for. Pending writes change without the row: they are not kept here. Also which threads hold checkpoints of
 * the format before 4, whose sends are asked for with the checkpoint.
 *
 * Invariants
 *  1. An entry is given out for the row's version that it was read at only.
 *  2. A checkpoint that names a version without a value may get it later, with another checkpoint, or when a program restores its
 *     tables one by one: such an entry counts until this process writes to the thread (epoch), and for UNSURE_NS.
 *  3. The entries' bytes are at most KNOWN_BYTES; those used longest ago go first. Larger ones than ENTRY_BYTES are not kept.
 *  4. The key names the tenant and all of the checkpoint's name. Whether a reader may reach the thread is the list's to ask.
 *
 * Thread safety: everything under mu, but the hints, which are atomic. */
#include <stdatomic.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/list.h"
#include "core/checkpoint.h"
#include "store/pack/ckpt.h"
#include "store/postgres/ckpt.h"

#define KNOWN_BYTES (16u << 20)
#define ENTRY_BYTES (64u << 10)
#define UNSURE_NS (UINT64_C(5) * 1000000000)
#define HINTS 4096

struct entry {
	struct list node;
	struct pg_row_version version;
	uint64_t until; /* of the monotonic clock; NEVER: it lacks nothing */
	size_t bytes;
	struct str key;
	struct ckpt c; /* values and texts lie behind the entry */
};
struct pg_ckpt_known {
	pthread_mutex_t mu;
	struct map entries;
	struct list lru; /* most recently used first */
	size_t bytes;
	/* By a hash of the thread: 1, a checkpoint of it was of the format before 4; writes of this process. */
	_Atomic uint8_t old[HINTS];
	_Atomic uint32_t epoch[HINTS];
};

enum err pg_ckpt_known_new(struct pg *s)
{
	struct pg_ckpt_known *k = calloc(1, sizeof *k);
	if (!k)
		return err_set(E_LIMIT, "out of memory in the store");
	pthread_mutex_init(&k->mu, NULL);
	map_init(&k->entries);
	list_init(&k->lru);
	s->ckpt_known = k;
	return OK;
}

static void drop(struct pg_ckpt_known *k, struct entry *x)
{
	list_del(&x->node);
	(void)map_del(&k->entries, x->key);
	k->bytes -= x->bytes;
	free(x);
}

void pg_ckpt_known_free(struct pg *s)
{
	struct pg_ckpt_known *k = s->ckpt_known;
	if (!k)
		return;
	while (!list_empty(&k->lru))
		drop(k, CONTAINER(k->lru.next, struct entry, node));
	map_release(&k->entries);
	pthread_mutex_destroy(&k->mu);
	free(k);
	s->ckpt_known = NULL;
}

/* ---------------------------------------------------------------- by thread */

static size_t hint_of(struct str thread)
{
	return hash64_seeded(thread) % HINTS;
}

bool pg_ckpt_was_old(struct pg *s, struct str thread)
{
	return atomic_load_explicit(&s->ckpt_known->old[hint_of(thread)], memory_order_relaxed);
}

void pg_ckpt_set_old(struct pg *s, struct str thread, bool old)
{
	_Atomic uint8_t *at = &s->ckpt_known->old[hint_of(thread)];
	if (atomic_load_explicit(at, memory_order_relaxed) != old)
		atomic_store_explicit(at, old, memory_order_relaxed);
}

uint32_t pg_ckpt_epoch(struct pg *s, struct str thread)
{
	return atomic_load(&s->ckpt_known->epoch[hint_of(thread)]);
}

void pg_ckpt_written(struct pg *s, const struct ckpt_change *c, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (i == 0 || !str_eq(c[i].thread, c[i - 1].thread))
			atomic_fetch_add(&s->ckpt_known->epoch[hint_of(c[i].thread)], 1);
}

/* ---------------------------------------------------------------- entries */

/* None of its parts holds NUL. .p NULL: no memory. */
static struct str key_of(struct arena *a, const struct pg_tenant *t, const struct ckpt *c)
{
	const struct str parts[] = {str_c(t->name), c->thread, c->ns, c->id};
	struct buf b;
	buf_init(&b, a, 1u << 20);
	for (unsigned i = 0; i < 4; i++) {
		buf_str(&b, parts[i]);
		buf_byte(&b, 0);
	}
	return b.err == OK ? buf_slice(&b) : (struct str){0};
}

static bool serves(const struct entry *x, const struct pg_row_version *v)
{
	if (memcmp(x->version.made, v->made, sizeof v->made) != 0 || memcmp(x->version.place, v->place, sizeof v->place) != 0)
		return false;
	return x->until == NEVER || (x->version.epoch == v->epoch && clock_mono_ns() < x->until);
}

bool pg_ckpt_known(struct pg_tenant *t, struct arena *a, const struct pg_row_version *v, struct ckpt *c)
{
	struct pg_ckpt_known *k = t->s->ckpt_known;
	struct str key = key_of(a, t, c);
	struct ckpt got;
	bool found = false;
	if (!key.p)
		return false;
	pthread_mutex_lock(&k->mu);
	struct entry *x = map_get(&k->entries, key);
	if (x && !serves(x, v)) {
		drop(k, x);
		x = NULL;
	}
	if (x && ckpt_dup(a, &x->c, &got) == OK) {
		list_del(&x->node);
		list_add_head(&k->lru, &x->node);
		found = true;
	}
	pthread_mutex_unlock(&k->mu);
	if (found) {
		got.writes = c->writes;
		got.writes_n = c->writes_n;
		got.sends = c->sends;
		got.sends_n = c->sends_n;
		got.sends_known = c->sends_known;
		got.thread = c->thread; /* of the row: a listing goes on from there when the arena has gone */
		got.ns = c->ns;
		got.id = c->id;
		*c = got;
	}
	return found;
}

static bool inline_value(const struct json *doc, struct str channel)
{
	return j_ok(j_get(j_get(json_root(doc), STR("channel_values")), channel));
}

/* Whether each version that the checkpoint names has its value. */
static bool whole(struct arena *a, const struct ckpt *c)
{
	struct pack_channel *v;
	struct json doc;
	size_t n, at = 0;
	if (pack_channels(a, c->checkpoint, &v, &n) != OK || json_parse(a, c->checkpoint, &pack_json, &doc) != OK)
		return false;
	for (size_t i = 0; i < n; i++) {
		while (at < c->values_n && str_cmp(c->values[at].channel, v[i].channel) < 0)
			at++;
		if ((at == c->values_n || !str_eq(c->values[at].channel, v[i].channel)) && !inline_value(&doc, v[i].channel))
			return false;
	}
	return true;
}

/* All texts of an entry, the key among them. */
static size_t texts_of(struct entry *x, struct str **out)
{
	struct str *const all[] = {&x->key, &x->c.thread, &x->c.ns, &x->c.id, &x->c.parent, &x->c.checkpoint, &x->c.metadata};
	size_t n = sizeof all / sizeof *all;
	memcpy(out, all, sizeof all);
	for (size_t i = 0; i < x->c.values_n; i++) {
		struct ckpt_value *v = &x->c.values[i];
		out[n++] = &v->channel;
		out[n++] = &v->version;
		out[n++] = &v->type;
		out[n++] = &v->bytes;
	}
	return n;
}

/* One allocation with everything; NULL: too large, or no memory. */
static struct entry *entry_new(struct arena *a, struct str key, const struct ckpt *c)
{
	struct entry like = {.key = key, .c = *c}, *x;
	struct str **texts = ARENA_ARRAY(a, struct str *, 7 + 4 * c->values_n);
	size_t n, bytes = sizeof *x + c->values_n * sizeof *c->values;
	if (!texts)
		return NULL;
	n = texts_of(&like, texts);
	for (size_t i = 0; i < n; i++)
		bytes += texts[i]->n;
	x = bytes <= ENTRY_BYTES ? malloc(bytes) : NULL;
	if (!x)
		return NULL;
	*x = like;
	x->bytes = bytes;
	x->c.values = (struct ckpt_value *)(void *)(x + 1);
	if (c->values_n)
		memcpy(x->c.values, c->values, c->values_n * sizeof *c->values);
	x->c.writes_n = x->c.sends_n = 0;
	char *at = (char *)(x->c.values + c->values_n);
	(void)texts_of(x, texts);
	for (size_t i = 0; i < n; at += texts[i++]->n) {
		if (texts[i]->n)
			memcpy(at, texts[i]->p, texts[i]->n);
		texts[i]->p = at;
	}
	return x;
}

void pg_ckpt_know(struct pg_tenant *t, const struct ckpt *c, const struct pg_row_version *v)
{
	struct pg_ckpt_known *k = t->s->ckpt_known;
	struct entry *x = NULL, *old;
	struct arena a;
	arena_init(&a, (size_t)64 << 20);
	struct str key = key_of(&a, t, c);
	if (key.p)
		x = entry_new(&a, key, c);
	if (x) {
		x->version = *v;
		x->until = whole(&a, c) ? NEVER : clock_mono_ns() + UNSURE_NS;
	}
	arena_release(&a);
	if (!x)
		return;
	pthread_mutex_lock(&k->mu);
	old = map_get(&k->entries, x->key);
	if (old)
		drop(k, old);
	if (map_put(&k->entries, x->key, x, NULL) == OK) {
		list_add_head(&k->lru, &x->node);
		k->bytes += x->bytes;
		x = NULL;
	}
	while (k->bytes > KNOWN_BYTES)
		drop(k, CONTAINER(k->lru.prev, struct entry, node));
	pthread_mutex_unlock(&k->mu);
	free(x);
}
