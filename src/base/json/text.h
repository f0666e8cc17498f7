/* The contents of JSON strings behind their escapes, and tables of the keys of one object. Inside of base/json. All functions take
 * nodes that the reader has accepted. */
#ifndef CENOTE_BASE_JSON_TEXT_H
#define CENOTE_BASE_JSON_TEXT_H

#include "base/json/json.h"

/* What stands between the quotes, escapes as they are. */
static inline struct str json_inner(const struct json_node *s)
{
	return str_of(s->raw.p + 1, s->raw.n - 2);
}
/* The value of four hex digits, or -1. */
int32_t json_hex4(const char *p);
/* Unescapes into out, which has room for the inner text (it never becomes longer); returns the length. */
size_t json_unescape(const struct json_node *s, char *out);
/* Compares by code points: <0, 0, >0. */
int json_text_cmp(const struct json_node *a, const struct json_node *b);
bool json_text_is(const struct json_node *a, struct str plain);
static inline bool json_text_eq(const struct json_node *a, const struct json_node *b)
{
	if (!a->escaped && !b->escaped)
		return str_eq(a->raw, b->raw);
	return json_text_cmp(a, b) == 0;
}

/* Objects with more members than this get a table instead of comparing every pair. */
#define JSON_PAIRS_MAX 16u
#define JSON_NO_KEY UINT32_MAX

/* A hash table from keys to the indices of key nodes; the memory is the caller's. */
struct json_keys {
	uint32_t *slots;
	size_t cap; /* a power of two, at least twice the members */
};
size_t json_keys_cap(uint32_t members);
void json_keys_init(struct json_keys *k, uint32_t *memory, uint32_t members);
/* Enters the key node; returns the index of an equal one that was there (and is replaced), or JSON_NO_KEY. */
uint32_t json_keys_put(struct json_keys *k, const struct json_node *nodes, uint32_t key);
uint32_t json_keys_find(const struct json_keys *k, const struct json_node *nodes, const struct json_node *key);

#endif
