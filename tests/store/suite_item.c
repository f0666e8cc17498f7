/* Rules of items: versions, conditions, atomicity, expiry, order, prefixes, odd bytes, sizes, concurrency. */
#include "suite.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static void put_get_delete(void **state)
{
	(void)state;
	assert_int_equal(get("a.b", "k").n, 0);
	put("a.b", "k", "{\"n\":1}");
	assert_value(STR("{\"n\":1}"), get("a.b", "k"));
	assert_int_equal(get("a", "k").n, 0);
	assert_int_equal(get("a.b", "K").n, 0);
	put("a.b", "k", "{\"n\":2}");
	assert_value(STR("{\"n\":2}"), get("a.b", "k"));
	del("a.b", "k");
	assert_int_equal(get("a.b", "k").n, 0);
	struct item_write w = {.op = W_DELETE, .ns = STR("a.b"), .key = STR("k")};
	write1(&w);
	assert_false(w.existed || w.changed);
	w.ns = STR("never.seen");
	write1(&w);
	assert_false(w.existed || w.changed);
	assert_string_equal(names(""), "");
}

static void versions_and_times(void **state)
{
	(void)state;
	put("n", "k", "{}");
	struct item a = get_item("n", "k");
	assert_int_equal(a.version, 1);
	assert_true(a.id > 0 && a.created_us > 0);
	assert_true(a.created_us <= a.updated_us);
	struct item_write w = put_of("n", "k", "{\"x\":1}");
	write1(&w);
	assert_true(w.existed && w.changed);
	assert_int_equal(w.version, 2);
	struct item b = get_item("n", "k");
	assert_int_equal(b.id, a.id);
	assert_int_equal(b.version, 2);
	assert_int_equal(b.created_us, a.created_us);
	assert_true(b.updated_us > a.updated_us);
	del("n", "k");
	put("n", "k", "{}");
	struct item c = get_item("n", "k");
	assert_int_equal(c.version, 1);
	assert_int_not_equal(c.id, a.id); /* ids are not used again */
	assert_true(c.created_us > b.updated_us);
}

static void given_times(void **state)
{
	(void)state;
	struct item_write w = put_of("n", "k", "{}");
	w.created_us = 1000;
	w.updated_us = 2000;
	w.expires_us = 3000;
	w.ttl_minutes = 5;
	write1(&w);
	struct item a = get_item("n", "k");
	assert_int_equal(a.created_us, 1000);
	assert_int_equal(a.updated_us, 2000);
	assert_int_equal(a.expires_us, 3000);
	w = put_of("n", "k", "{}");
	w.updated_us = 2500;
	w.ttl_minutes = 0.5;
	write1(&w);
	a = get_item("n", "k");
	assert_int_equal(a.created_us, 1000);
	assert_int_equal(a.updated_us, 2500);
	assert_int_equal(a.expires_us, 2500 + 30000000);
	assert_true(a.ttl_minutes > 0.49 && a.ttl_minutes < 0.51);
}

static void keep_newer(void **state)
{
	(void)state;
	struct item_write w = put_of("n", "k", "{\"v\":1}");
	w.keep_newer = true;
	w.updated_us = 2000;
	write1(&w);
	assert_true(!w.existed && w.changed);
	w.value = STR("{\"v\":2}");
	write1(&w);
	assert_true(w.existed && !w.changed);
	assert_int_equal(w.version, 1);
	w.updated_us = 1999;
	write1(&w);
	assert_false(w.changed);
	assert_value(STR("{\"v\":1}"), get("n", "k"));
	w.updated_us = 2001;
	write1(&w);
	assert_true(w.changed);
	assert_value(STR("{\"v\":2}"), get("n", "k"));
}

static void conditions(void **state)
{
	(void)state;
	struct item_write w = put_of("n", "k", "{\"v\":1}");
	w.cond = IF_VERSION;
	w.if_version = 1;
	write1(&w);
	assert_int_equal(w.err, E_CONFLICT);
	assert_int_equal(get("n", "k").n, 0);
	w.cond = IF_ABSENT;
	write1(&w);
	assert_int_equal(w.err, OK);
	write1(&w);
	assert_int_equal(w.err, E_CONFLICT);
	assert_true(w.existed && !w.changed);
	assert_int_equal(w.version, 1);
	w.cond = IF_VERSION;
	w.if_version = 2;
	write1(&w);
	assert_int_equal(w.err, E_CONFLICT);
	w.if_version = 1;
	w.value = STR("{\"v\":2}");
	write1(&w);
	assert_int_equal(w.err, OK);
	assert_int_equal(w.version, 2);
	struct item_write d = {.op = W_DELETE, .ns = STR("n"), .key = STR("k"), .cond = IF_VERSION, .if_version = 1};
	write1(&d);
	assert_int_equal(d.err, E_CONFLICT);
	assert_value(STR("{\"v\":2}"), get("n", "k"));
	d.if_version = 2;
	write1(&d);
	assert_true(d.err == OK && d.changed);
	assert_int_equal(get("n", "k").n, 0);
}

static void many_in_order(void **state)
{
	(void)state;
	struct item_write w[4] = {put_of("n", "a", "{\"v\":1}"),
				  put_of("n", "a", "{\"v\":2}"),
				  {.op = W_DELETE, .ns = STR("n"), .key = STR("a")},
				  put_of("n", "a", "{\"v\":3}")};
	w[1].cond = IF_ABSENT; /* fails alone */
	assert_ok(S->ops->item_write(S, &ALICE, w, 4, false));
	assert_int_equal(w[1].err, E_CONFLICT);
	assert_true(w[0].err == OK && w[2].err == OK && w[3].err == OK);
	assert_value(STR("{\"v\":3}"), get("n", "a"));
	assert_int_equal(w[3].version, 1);
}

static void atomic_calls(void **state)
{
	(void)state;
	put("n", "x", "{\"v\":0}");
	struct item_write w[3] = {put_of("n", "a", "{\"v\":1}"), put_of("other", "b", "{\"v\":1}"), put_of("n", "x", "{\"v\":1}")};
	w[2].cond = IF_ABSENT;
	assert_err(E_CONFLICT, S->ops->item_write(S, &ALICE, w, 3, true));
	assert_int_equal(diag_get()->kind, ERR_PRECONDITION);
	assert_int_equal(w[2].err, E_CONFLICT);
	assert_false(w[0].changed || w[1].changed || w[2].changed);
	assert_string_equal(scan(""), "n:x");
	assert_string_equal(names(""), "n");
	w[2].cond = IF_VERSION;
	w[2].if_version = 1;
	assert_ok(S->ops->item_write(S, &ALICE, w, 3, true));
	assert_string_equal(scan(""), "n:x other:b n:a");
	/* A single write that does not hold its condition, atomic. */
	struct item_write one = put_of("n", "x", "{}");
	one.cond = IF_ABSENT;
	assert_err(E_CONFLICT, S->ops->item_write(S, &ALICE, &one, 1, true));
	assert_ok(S->ops->item_write(S, &ALICE, NULL, 0, true));
}

static void expiry(void **state)
{
	(void)state;
	struct arena a;
	struct item it;
	bool found;
	unsigned removed;
	int64_t next;
	struct item_write w = put_of("n", "k", "{}");
	w.ttl_minutes = 10;
	w.updated_us = 1000000;
	write1(&w);
	int64_t at = 1000000 + 600000000;
	assert_int_equal(get_item("n", "k").expires_us, at);
	put("n", "stays", "{}");
	arena_init(&a, 1 << 20);
	assert_ok(S->ops->item_get(S, &a, &ALICE, STR("n"), STR("k"), at, &it, &found));
	assert_true(found);
	assert_ok(S->ops->item_get(S, &a, &ALICE, STR("n"), STR("k"), at + 1, &it, &found));
	assert_false(found);
	arena_release(&a);
	assert_ok(S->ops->sweep(S, at, 100, &removed, &next));
	assert_int_equal(removed, 0);
	assert_true(next == at);
	assert_ok(S->ops->sweep(S, at + 1, 100, &removed, &next));
	assert_int_equal(removed, 1);
	assert_int_equal(next, 0);
	assert_string_equal(scan(""), "n:stays");
}

static void touching(void **state)
{
	(void)state;
	struct item_write t = {.op = W_TOUCH, .ns = STR("n"), .key = STR("k")};
	write1(&t);
	assert_false(t.existed || t.changed);
	put("n", "k", "{}");
	write1(&t);
	assert_true(t.existed && !t.changed); /* no ttl */
	struct item_write w = put_of("n", "k", "{}");
	w.ttl_minutes = 10;
	w.expires_us = 5;
	write1(&w);
	struct item before = get_item("n", "k");
	write1(&t);
	assert_true(t.existed && t.changed);
	struct item after = get_item("n", "k");
	assert_true(after.expires_us >= before.updated_us + 600000000);
	assert_int_equal(after.updated_us, before.updated_us);
	assert_int_equal(after.version, before.version);
	put("n", "k", "{}"); /* a put without ttl clears it */
	after = get_item("n", "k");
	assert_true(after.expires_us == 0 && after.ttl_minutes == 0);
	w.ttl_minutes = 1e300; /* never overflows */
	w.expires_us = 0;
	write1(&w);
	assert_true(get_item("n", "k").expires_us > 3000000000000000000);
}

static void sweeping_is_bounded(void **state)
{
	(void)state;
	unsigned removed;
	int64_t next;
	char key[16];
	for (int i = 0; i < 25; i++) {
		snprintf(key, sizeof key, "k%02d", i);
		struct item_write w = put_of("n", key, "{}");
		w.expires_us = 1000 + i;
		write1(&w);
	}
	assert_ok(S->ops->sweep(S, 1020, 10, &removed, &next));
	assert_int_equal(removed, 10);
	assert_int_equal(next, 1010);
	assert_ok(S->ops->sweep(S, 1020, 100, &removed, &next));
	assert_int_equal(removed, 10);
	assert_int_equal(next, 1020);
	struct item_write w = put_of("n", "early", "{}");
	w.expires_us = 7;
	write1(&w);
	assert_ok(S->ops->sweep(S, 8, 100, &removed, &next));
	assert_int_equal(removed, 1);
	assert_int_equal(next, 1020);
	assert_string_equal(scan("n"), "n:k24 n:k23 n:k22 n:k21 n:k20");
}

static bool three(void *ctx, const struct item *it)
{
	(void)it;
	return ++*(int *)ctx < 3;
}

static void scan_order(void **state)
{
	(void)state;
	static const struct {
		const char *ns, *key;
		int64_t at;
	} in[] = {{"b", "1", 100}, {"a", "2", 100}, {"a", "1", 100}, {"a.x", "9", 300},
		  {"a", "3", 50},  {"b", "0", 200}, {"a", "0", 100}};
	for (unsigned i = 0; i < sizeof in / sizeof *in; i++) {
		struct item_write w = put_of(in[i].ns, in[i].key, "{}");
		w.updated_us = in[i].at;
		write1(&w);
	}
	assert_string_equal(scan(""), "a.x:9 b:0 a:0 a:1 a:2 b:1 a:3");
	assert_string_equal(scan("a"), "a.x:9 a:0 a:1 a:2 a:3");
	assert_string_equal(scan("b"), "b:0 b:1");
	assert_string_equal(scan("c"), "");
	put("b", "new", "{}");
	struct item_write w = put_of("a", "3", "{}");
	write1(&w);
	assert_string_equal(scan(""), "a:3 b:new a.x:9 b:0 a:0 a:1 a:2 b:1");
	int n = 0;
	assert_ok(S->ops->item_scan(S, &ALICE, STR(""), 0, NULL, three, &n));
	assert_int_equal(n, 3);
}

/* Many of one time, many namespaces, against a plain sort. */
struct expected {
	int64_t at;
	char ns[8], key[16];
};
static int by_order(const void *a, const void *b)
{
	const struct expected *x = a, *y = b;
	if (x->at != y->at)
		return x->at > y->at ? -1 : 1;
	int c = strcmp(x->ns, y->ns);
	return c ? c : strcmp(x->key, y->key);
}
struct check {
	const struct expected *e;
	size_t at, n;
};
static bool same(void *ctx, const struct item *it)
{
	struct check *c = ctx;
	assert_true(c->at < c->n);
	assert_str(str_c(c->e[c->at].ns), it->ns);
	assert_str(str_c(c->e[c->at].key), it->key);
	assert_true(it->updated_us == c->e[c->at].at);
	c->at++;
	return true;
}

static void scan_order_many(void **state)
{
	(void)state;
	enum { N = 3000 };
	static struct expected e[N];
	static struct item_write w[N];
	uint32_t x = 12345;
	for (int i = 0; i < N; i++) {
		x = x * 1664525 + 1013904223;
		e[i].at = 1000 + (i % 3 ? x >> 20 : (x >> 24) % 3);
		snprintf(e[i].ns, sizeof e[i].ns, "n%u", (x >> 8) % 37);
		snprintf(e[i].key, sizeof e[i].key, "k%04d", i);
		w[i] = put_of(e[i].ns, e[i].key, "{}");
		w[i].updated_us = e[i].at;
	}
	assert_ok(S->ops->item_write(S, &ALICE, w, N, false));
	qsort(e, N, sizeof *e, by_order);
	struct check c = {e, 0, N};
	assert_ok(S->ops->item_scan(S, &ALICE, STR(""), 0, NULL, same, &c));
	assert_int_equal(c.at, N);
}

static void prefixes(void **state)
{
	(void)state;
	static const char *const all[] = {"a",	"a.b", "a.b.c", "ab",	 "a-b", "a/b", "a%",	     "a%.b",
					  "a_", "aXb", "a\\",	"a\\.b", "A",	"a b", "\xC3\xA4.b", ""};
	for (unsigned i = 0; i < sizeof all / sizeof *all; i++)
		put(all[i], "k", "{}");
	assert_string_equal(names("a"), "a a.b a.b.c");
	assert_string_equal(names("a.b"), "a.b a.b.c");
	assert_string_equal(names("a."), "");
	assert_string_equal(names("a%"), "a% a%.b");
	assert_string_equal(names("a_"), "a_");
	assert_string_equal(names("a\\"), "a\\ a\\.b");
	assert_string_equal(names("\xC3\xA4"), "\xC3\xA4.b");
	assert_string_equal(names("zz"), "");
	assert_string_equal(names(""), " A a a b a% a%.b a-b a.b a.b.c a/b aXb a\\ a\\.b a_ ab \xC3\xA4.b" + 1);
	assert_string_equal(walk("a", "", ""), "a:k a.b:k a.b.c:k");
	assert_string_equal(walk("a%", "", ""), "a%:k a%.b:k");
	del("a.b", "k");
	assert_string_equal(names("a"), "a a.b.c");
	assert_string_equal(scan("a"), "a.b.c:k a:k");
}

static bool first_name(void *ctx, struct str name)
{
	(void)name;
	++*(int *)ctx;
	return false;
}

static void names_stop_early(void **state)
{
	(void)state;
	int n = 0;
	put("a", "k", "{}");
	put("b", "k", "{}");
	assert_ok(S->ops->namespaces(S, &ALICE, STR(""), first_name, &n));
	assert_int_equal(n, 1);
}

static void walk_pages(void **state)
{
	(void)state;
	static const char *const in[][2] = {{"a", "1"}, {"a", "2"},  {"a.b", "1"}, {"a.b", "\xF0\x9F\x98\x80"},
					    {"b", "x"}, {"", "root"}};
	for (unsigned i = 0; i < sizeof in / sizeof *in; i++)
		put(in[i][0], in[i][1], "{}");
	assert_string_equal(walk("", "", ""), ":root a:1 a:2 a.b:1 a.b:\xF0\x9F\x98\x80 b:x");
	assert_string_equal(walk("", "a", "1"), "a:2 a.b:1 a.b:\xF0\x9F\x98\x80 b:x");
	assert_string_equal(walk("", "a", "2"), "a.b:1 a.b:\xF0\x9F\x98\x80 b:x");
	assert_string_equal(walk("", "a.a", "zz"), "a.b:1 a.b:\xF0\x9F\x98\x80 b:x");
	assert_string_equal(walk("a", "a.b", "1"), "a.b:\xF0\x9F\x98\x80");
	assert_string_equal(walk("a", "0", ""), "a:1 a:2 a.b:1 a.b:\xF0\x9F\x98\x80");
	assert_string_equal(walk("a", "b", ""), "");
	assert_string_equal(walk("", "b", "x"), "");
	int n = 0;
	assert_ok(S->ops->item_walk(S, &ALICE, STR(""), STR(""), STR(""), three, &n));
	assert_int_equal(n, 3);
}

static void by_id(void **state)
{
	(void)state;
	struct arena a;
	struct item out[4];
	put("a", "1", "{\"v\":1}");
	put("a.b", "2", "{\"v\":2}");
	put("a", "3", "{\"v\":3}");
	int64_t ids[4] = {get_item("a", "3").id, 0, get_item("a", "1").id, get_item("a.b", "2").id};
	ids[1] = ids[0] + 1000;
	del("a", "1");
	arena_init(&a, 1 << 20);
	assert_ok(S->ops->item_by_id(S, &a, &ALICE, ids, 4, out));
	assert_true(out[0].id == ids[0] && out[1].id == 0 && out[2].id == 0 && out[3].id == ids[3]);
	assert_value(STR("{\"v\":3}"), out[0].value);
	assert_str(STR("a.b"), out[3].ns);
	assert_str(STR("2"), out[3].key);
	assert_ok(S->ops->item_by_id(S, &a, &ALICE, NULL, 0, NULL));
	arena_release(&a);
}

static void odd_bytes(void **state)
{
	(void)state;
	static const char *const keys[] = {
		"'; DROP TABLE x; --", "\x01\x02\x7f", "a\nb\tc", "\xC3\xA9", "e\xCC\x81", "\xF0\x9F\x92\xA9", " lead", "trail ",
		"%_\\*?[]{}",	       "\xEF\xBF\xBF", "0",	  "00",	      "1e5"};
	char value[64];
	enum { N = sizeof keys / sizeof *keys };
	for (unsigned i = 0; i < N; i++) {
		snprintf(value, sizeof value, "{\"i\": %u , \"\\u00e9\":1.0e+2}", i);
		put(keys[(i + 1) % N], keys[i], value);
	}
	for (unsigned i = 0; i < N; i++) {
		snprintf(value, sizeof value, "{\"i\": %u , \"\\u00e9\":1.0e+2}", i);
		assert_value(str_c(value), get(keys[(i + 1) % N], keys[i]));
	}
}

static void big_values(void **state)
{
	(void)state;
	static const size_t sizes[] = {0, 1, 4000, 4061, 4062, 8192, 65536, 1000000, (4u << 20) - 10};
	char *p = malloc(4u << 20), key[32];
	assert_non_null(p);
	for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		size_t n = 8 + sizes[i];
		memset(p, 'a' + (int)i, n);
		memcpy(p, "{\"v\":\"", 6);
		memcpy(p + n - 2, "\"}", 2);
		snprintf(key, sizeof key, "k%zu", n);
		struct item_write w = {
			.op = W_PUT, .ns = STR("big"), .key = str_c(key), .value = str_of(p, n), .terms = STR("terms")};
		write1(&w);
		assert_value(str_of(p, n), get("big", key));
	}
	free(p);
}

static bool count(void *ctx, const struct item *it)
{
	(void)it;
	++*(int *)ctx;
	return true;
}

static void ten_thousand(void **state)
{
	(void)state;
	enum { N = 10000 };
	struct item_write *w = calloc(N, sizeof *w);
	char(*keys)[16] = calloc(N, sizeof *keys);
	int n = 0;
	assert_true(w && keys);
	for (int i = 0; i < N; i++) {
		snprintf(keys[i], sizeof keys[i], "k%d", i * 7919 % N);
		w[i] = put_of("many", keys[i], "{\"v\":1}");
	}
	assert_ok(S->ops->item_write(S, &ALICE, w, N, true));
	for (int i = 0; i < N; i++)
		assert_true(w[i].err == OK && w[i].changed && !w[i].existed);
	assert_ok(S->ops->item_walk(S, &ALICE, STR("many"), STR(""), STR(""), count, &n));
	assert_int_equal(n, N);
	n = 0;
	S = suite_driver->reopen(S);
	assert_ok(S->ops->item_scan(S, &ALICE, STR(""), 0, NULL, count, &n));
	assert_int_equal(n, N);
	free(w);
	free(keys);
}

static void durable(void **state)
{
	(void)state;
	put("a", "k", "{\"v\":1}");
	put("a", "gone", "{}");
	del("a", "gone");
	struct item before = get_item("a", "k");
	S = suite_driver->reopen(S);
	struct item after = get_item("a", "k");
	assert_int_equal(after.version, before.version);
	assert_int_equal(after.created_us, before.created_us);
	assert_int_equal(after.updated_us, before.updated_us);
	assert_value(STR("{\"v\":1}"), after.value);
	assert_string_equal(scan(""), "a:k");
}

static void *worker(void *arg)
{
	int me = *(int *)arg;
	struct arena a;
	char key[32], value[64];
	arena_init(&a, 1 << 20);
	for (int i = 0; i < 60; i++) {
		struct item it;
		bool found;
		snprintf(key, sizeof key, "k%d", i % 7);
		snprintf(value, sizeof value, "{\"who\":%d,\"i\":%d}", me, i);
		char ns[16];
		snprintf(ns, sizeof ns, "w%d", me);
		struct item_write w = put_of(ns, key, value);
		enum err e = S->ops->item_write(S, &ALICE, &w, 1, false);
		if (e == OK)
			e = S->ops->item_get(S, &a, &ALICE, str_c(ns), str_c(key), 0, &it, &found);
		if (e != OK || w.err != OK || !found || !suite_same(str_c(value), it.value) || w.version != i / 7 + 1) {
			arena_release(&a);
			return (void *)1;
		}
		arena_clear(&a);
	}
	arena_release(&a);
	return NULL;
}

static void concurrent(void **state)
{
	(void)state;
	pthread_t t[8];
	int me[8], n = 0;
	for (int i = 0; i < 8; i++) {
		me[i] = i;
		assert_int_equal(pthread_create(&t[i], NULL, worker, &me[i]), 0);
	}
	for (int i = 0; i < 8; i++) {
		void *bad;
		pthread_join(t[i], &bad);
		assert_null(bad);
	}
	assert_ok(S->ops->item_scan(S, &ALICE, STR(""), 0, NULL, count, &n));
	assert_int_equal(n, 56);
}

int suite_items(void)
{
	const struct CMUnitTest tests[] = {
		SUITE_TEST(put_get_delete), SUITE_TEST(versions_and_times),  SUITE_TEST(given_times),  SUITE_TEST(keep_newer),
		SUITE_TEST(conditions),	    SUITE_TEST(many_in_order),	     SUITE_TEST(atomic_calls), SUITE_TEST(expiry),
		SUITE_TEST(touching),	    SUITE_TEST(sweeping_is_bounded), SUITE_TEST(scan_order),   SUITE_TEST(scan_order_many),
		SUITE_TEST(prefixes),	    SUITE_TEST(names_stop_early),    SUITE_TEST(walk_pages),   SUITE_TEST(by_id),
		SUITE_TEST(odd_bytes),	    SUITE_TEST(big_values),	     SUITE_TEST(ten_thousand), SUITE_TEST(durable),
		SUITE_TEST(concurrent),
	};
	return cmocka_run_group_tests_name("items", tests, NULL, NULL);
}
