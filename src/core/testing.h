/* What the unit tests of core share: one arena, one in-memory store with a memory over it, principals, short forms. */
#ifndef CENOTE_CORE_TESTING_H
#define CENOTE_CORE_TESTING_H

#include <stdio.h>
#include <stdlib.h>

#include "base/test_util.h"
#include "core/fake_store.h"
#include "core/memory.h"

#define FAILS(expr, code) assert_string_equal(err_name(expr), err_name(code))

static const struct principal ann
	__attribute__((unused)) = {.tenant = STR_INIT("default"), .rights = RIGHT_ALL, .id = STR_INIT("local")};
static const struct principal other
	__attribute__((unused)) = {.tenant = STR_INIT("other"), .rights = RIGHT_ALL, .id = STR_INIT("local")};
static const struct principal bound __attribute__((unused)) = {.tenant = STR_INIT("default"),
							       .user = STR_INIT("bob@example.com"),
							       .user_bound = true,
							       .rights = RIGHT_READ | RIGHT_WRITE,
							       .id = STR_INIT("k1")};
static const struct principal reader
	__attribute__((unused)) = {.tenant = STR_INIT("default"), .rights = RIGHT_READ, .id = STR_INIT("k2")};

struct bench {
	struct arena a;
	struct store *store;
	struct memory *m;
};

static inline void bench_options(struct bench *b, const struct memory_options *opt)
{
	arena_init(&b->a, (size_t)256 << 20);
	b->store = fake_store_new();
	OKAY(memory_new(b->store, opt, &b->m));
}

static inline void bench_init(struct bench *b)
{
	struct memory_options opt = {.refresh_on_read = true, .languages = STR("english"), .index_cache_bytes = (size_t)8 << 20};

	bench_options(b, &opt);
}

static inline void bench_release(struct bench *b)
{
	memory_free(b->m);
	b->store->ops->close(b->store);
	arena_release(&b->a);
}

static inline void put_as(struct bench *b, const struct principal *who, const char *ns, const char *key, const char *value)
{
	struct op_put op = {.ns = str_c(ns), .key = str_c(key), .value = str_c(value), .ttl_minutes = TTL_DEFAULT};

	OKAY(memory_put(b->m, &b->a, who, &op));
}

static inline void put(struct bench *b, const char *ns, const char *key, const char *value)
{
	put_as(b, &ann, ns, key, value);
}

/* The stored value, "" when there is none. */
static inline const char *value_as(struct bench *b, const struct principal *who, const char *ns, const char *key)
{
	struct op_get op = {.ns = str_c(ns), .key = str_c(key), .refresh = TRI_NO};

	OKAY(memory_get(b->m, &b->a, who, &op));
	return op.found ? arena_cstr(&b->a, op.item.value) : "";
}

/* Nested deeper than Cenote's own writes may be. */
static inline struct str too_deep(struct arena *a)
{
	char text[1024] = "{\"t\":\"common\",\"a\":";
	size_t n = strlen(text);

	memset(text + n, '[', 100);
	memset(text + n + 100, ']', 100);
	text[n + 200] = '}';
	return arena_str(a, str_of(text, n + 201));
}

/* As another client of the database writes: with this document, or without one. */
static inline void put_raw(struct bench *b, const char *ns, const char *key, struct str value, struct str terms)
{
	struct item_write w = {.op = W_PUT, .ns = str_c(ns), .key = str_c(key), .value = value, .terms = terms};

	OKAY(b->store->ops->item_write(b->store, &ann, &w, 1, true));
}

static inline struct jval parsed(struct arena *a, const char *text)
{
	struct json *doc = ARENA_NEW(a, struct json);

	OKAY(json_parse(a, str_c(text), NULL, doc));
	return json_root(doc);
}

#endif
