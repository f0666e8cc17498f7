/* Hash map, open addressing with linear probing and tombstones.
 *
 * Invariants
 *  1. cap is 0 or a power of two; filled (live slots and tombstones) never exceeds 3/4 of cap, so every probe ends at an empty
 * slot.
 *  2. A live slot owns its copy of the key; a tombstone has none.
 *  3. The hash is seeded once per process at random: whoever chooses the keys cannot choose collisions. */
#include "base/map.h"

#include <stdlib.h>

#include "base/hash.h"

struct map_slot {
	char *key; /* NULL: empty or tombstone */
	size_t n;
	uint64_t hash;
	void *value;
	bool dead;
};

void map_init(struct map *m)
{
	*m = (struct map){0};
}

void map_release(struct map *m)
{
	for (size_t i = 0; i < m->cap; i++)
		free(m->slots[i].key);
	free(m->slots);
	*m = (struct map){0};
}

static struct map_slot *find(const struct map *m, struct str key, uint64_t hash)
{
	if (!m->cap)
		return NULL;
	for (size_t i = hash & (m->cap - 1);; i = (i + 1) & (m->cap - 1)) {
		struct map_slot *s = &m->slots[i];

		if (s->key && s->hash == hash && str_eq(str_of(s->key, s->n), key))
			return s;
		if (!s->key && !s->dead)
			return NULL;
	}
}

void *map_get(const struct map *m, struct str key)
{
	struct map_slot *s = m->count ? find(m, key, hash64_seeded(key)) : NULL;

	return s ? s->value : NULL;
}

static struct map_slot *free_slot(struct map_slot *slots, size_t cap, uint64_t hash)
{
	size_t i = hash & (cap - 1);

	while (slots[i].key)
		i = (i + 1) & (cap - 1);
	return &slots[i];
}

/* Room for one more: a table of the right size without tombstones when the old one is too full. */
static enum err make_room(struct map *m)
{
	struct map_slot *slots;
	size_t cap = 16;

	if (m->cap && m->filled + 1 <= m->cap / 4 * 3)
		return OK;
	while (cap / 2 < m->count + 1)
		cap *= 2;
	slots = calloc(cap, sizeof *slots);
	if (!slots)
		return err_set(E_LIMIT, "out of memory (a table of %zu entries)", cap);
	for (size_t i = 0; i < m->cap; i++)
		if (m->slots[i].key)
			*free_slot(slots, cap, m->slots[i].hash) = m->slots[i];
	free(m->slots);
	m->slots = slots;
	m->cap = cap;
	m->filled = m->count;
	return OK;
}

enum err map_put(struct map *m, struct str key, void *value, void **old)
{
	uint64_t hash = hash64_seeded(key);
	struct map_slot *s = find(m, key, hash);
	char *copy;

	if (old)
		*old = s ? s->value : NULL;
	if (s) {
		s->value = value;
		return OK;
	}
	TRY(make_room(m));
	copy = malloc(key.n + 1);
	if (!copy)
		return err_set(E_LIMIT, "out of memory (a key of %zu bytes)", key.n);
	if (key.n)
		memcpy(copy, key.p, key.n);
	copy[key.n] = 0;
	s = free_slot(m->slots, m->cap, hash);
	if (!s->dead)
		m->filled++;
	*s = (struct map_slot){.key = copy, .n = key.n, .hash = hash, .value = value};
	m->count++;
	return OK;
}

void *map_del(struct map *m, struct str key)
{
	struct map_slot *s = m->count ? find(m, key, hash64_seeded(key)) : NULL;
	void *value;

	if (!s)
		return NULL;
	value = s->value;
	free(s->key);
	*s = (struct map_slot){.dead = true};
	m->count--;
	return value;
}

bool map_next(const struct map *m, size_t *it, struct str *key, void **value)
{
	while (*it < m->cap) {
		const struct map_slot *s = &m->slots[(*it)++];

		if (!s->key)
			continue;
		if (key)
			*key = str_of(s->key, s->n);
		if (value)
			*value = s->value;
		return true;
	}
	return false;
}
