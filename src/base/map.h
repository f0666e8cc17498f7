/* Hash map from byte strings to pointers; open addressing, keys copied. For tables that live long (namespaces, tenants, scopes).
 * Not thread-safe. */
#ifndef CENOTE_BASE_MAP_H
#define CENOTE_BASE_MAP_H

#include "base/err.h"

struct map_slot;
struct map {
	struct map_slot *slots;
	size_t cap, count, filled; /* filled counts tombstones too */
};

void map_init(struct map *m);
void map_release(struct map *m); /* frees keys and the table, not the values */
/* NULL when absent. */
void *map_get(const struct map *m, struct str key);
/* Inserts or replaces; *old (may be NULL) gets the former value. E_LIMIT when memory is short. */
enum err map_put(struct map *m, struct str key, void *value, void **old) MUST_CHECK;
/* Returns the removed value or NULL. */
void *map_del(struct map *m, struct str key);
/* Iteration: start with *it = 0; false at the end. The map must not be changed meanwhile. */
bool map_next(const struct map *m, size_t *it, struct str *key, void **value);

#endif
