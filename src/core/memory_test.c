/* Items: put, get, delete, time to live, search and listing, each over the in-memory store. */
#include "base/clock.h"
#include "core/testing.h"

static void put_get_delete(void **state)
{
	struct bench b;
	struct op_put op = {.ns = STR("a.b"), .key = STR("k"), .value = STR(" {\"x\" : 1.50}\n"), .ttl_minutes = TTL_DEFAULT};
	struct op_get get = {.ns = STR("a.b"), .key = STR("k")};
	int64_t created;

	bench_init(&b);
	OKAY(memory_put(b.m, &b.a, &ann, &op));
	assert_false(op.existed);
	assert_int_equal(op.version, 1);
	OKAY(memory_get(b.m, &b.a, &ann, &get));
	assert_true(get.found);
	assert_true(str_eq(get.item.value, STR("{\"x\" : 1.50}"))); /* the bytes that came, without blanks around */
	created = get.item.created_us;
	op.value = STR("{\"x\":2}");
	OKAY(memory_put(b.m, &b.a, &ann, &op));
	assert_true(op.existed);
	assert_int_equal(op.version, 2);
	OKAY(memory_get(b.m, &b.a, &ann, &get));
	assert_int_equal(get.item.created_us, created);
	assert_true(get.item.updated_us > created);
	op.value = (struct str){0};
	OKAY(memory_put(b.m, &b.a, &ann, &op));
	assert_true(op.existed);
	OKAY(memory_get(b.m, &b.a, &ann, &get));
	assert_false(get.found);
	OKAY(memory_put(b.m, &b.a, &ann, &op));
	assert_false(op.existed);
	bench_release(&b);
}

static void put_refuses(void **state)
{
	static const struct {
		struct str ns, key, value;
		double ttl;
		enum err e;
	} rows[] = {
		{STR_INIT(""), STR_INIT("k"), STR_INIT("{}"), 0, E_INVALID},
		{STR_INIT("a..b"), STR_INIT("k"), STR_INIT("{}"), 0, E_INVALID},
		{STR_INIT("a"), STR_INIT(""), STR_INIT("{}"), 0, E_INVALID},
		{STR_INIT("a"), STR_INIT("k"), STR_INIT("[]"), 0, E_INVALID},
		{STR_INIT("a"), STR_INIT("k"), STR_INIT("5"), 0, E_INVALID},
		{STR_INIT("a"), STR_INIT("k"), STR_INIT(""), 0, E_INVALID},
		{STR_INIT("a"), STR_INIT("k"), STR_INIT("{\"a\":1,\"a\":2}"), 0, E_INVALID},
		{STR_INIT("a"), STR_INIT("k"), STR_INIT("{}"), -2, E_INVALID},
		{STR_INIT("a"), STR_INIT("k"), STR_INIT("{}"), 1e300, E_INVALID},
		{STR_INIT("a"), STR_INIT("k"), STR_INIT("{}"), 0, OK},
	};
	struct bench b;
	char *deep, *big;

	bench_init(&b);
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct op_put op = {.ns = rows[i].ns, .key = rows[i].key, .value = rows[i].value, .ttl_minutes = rows[i].ttl};

		FAILS(memory_put(b.m, &b.a, &ann, &op), rows[i].e);
	}
	deep = arena_alloc(&b.a, 64 * 6 + 2);
	for (int i = 0; i < 65; i++)
		memcpy(deep + i * 5, "{\"a\":", 5);
	struct str text = arena_printf(&b.a, "%.*s1%.*s", 65 * 5, deep, 65,
				       "}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}");
	struct op_put op = {.ns = STR("a"), .key = STR("k"), .value = text};

	FAILS(memory_put(b.m, &b.a, &ann, &op), E_INVALID);
	assert_int_equal(diag_get()->kind, ERR_SYNTAX);
	big = arena_alloc(&b.a, VALUE_MAX_BYTES + 1);
	memset(big, ' ', VALUE_MAX_BYTES + 1);
	memcpy(big, "{}", 2);
	op.value = str_of(big, VALUE_MAX_BYTES + 1);
	FAILS(memory_put(b.m, &b.a, &ann, &op), E_LIMIT);
	assert_int_equal(diag_get()->kind, ERR_SIZE);
	op.value.n--;
	OKAY(memory_put(b.m, &b.a, &ann, &op));
	bench_release(&b);
}

static void rights_and_isolation(void **state)
{
	struct bench b;
	struct op_put op = {.ns = STR("a"), .key = STR("k"), .value = STR("{}")};
	struct op_get get = {.ns = STR("a"), .key = STR("k")};
	struct op_search all = {.limit = 10};
	struct op_list names = {.limit = 10};

	bench_init(&b);
	put(&b, "a", "k", "{\"of\":\"ann\"}");
	put_as(&b, &other, "a", "k", "{\"of\":\"other\"}");
	put_as(&b, &other, "o", "k", "{\"of\":\"other\"}");
	put_as(&b, &bound, "m.bob-at-example-com", "k", "{\"of\":\"bob\"}");
	assert_string_equal(value_as(&b, &ann, "a", "k"), "{\"of\":\"ann\"}");
	assert_string_equal(value_as(&b, &other, "a", "k"), "{\"of\":\"other\"}");
	assert_string_equal(value_as(&b, &ann, "o", "k"), "");
	OKAY(memory_search(b.m, &b.a, &other, &all));
	assert_int_equal(all.n, 2);
	for (size_t i = 0; i < all.n; i++)
		assert_true(str_eq(all.hits[i].item.value, STR("{\"of\":\"other\"}")));
	all.query = STR("ann bob");
	OKAY(memory_search(b.m, &b.a, &other, &all));
	assert_int_equal(all.n, 0);
	OKAY(memory_list(b.m, &b.a, &ann, &names));
	assert_int_equal(names.n, 2);

	FAILS(memory_put(b.m, &b.a, &reader, &op), E_DENIED);
	FAILS(memory_put(b.m, &b.a, NULL, &op), E_DENIED);
	FAILS(memory_put(b.m, &b.a, &bound, &op), E_DENIED);
	FAILS(memory_get(b.m, &b.a, &bound, &get), E_DENIED);
	FAILS(memory_get(b.m, &b.a, NULL, &get), E_DENIED);
	all.query = (struct str){0};
	FAILS(memory_search(b.m, &b.a, &bound, &all), E_DENIED);
	all.prefix = STR("m");
	FAILS(memory_search(b.m, &b.a, &bound, &all), E_DENIED);
	all.prefix = STR("m.bob-at-example-com");
	OKAY(memory_search(b.m, &b.a, &bound, &all));
	assert_int_equal(all.n, 1);
	FAILS(memory_list(b.m, &b.a, &bound, &names), E_DENIED);
	names.prefix = STR("*.bob-at-example-com");
	OKAY(memory_list(b.m, &b.a, &bound, &names));
	assert_int_equal(names.n, 1);
	bench_release(&b);
}

/* ------------------------------------------------------------ time to live */

static void put_ttl(struct bench *b, const char *key, double minutes, int64_t updated_us)
{
	struct op_put op = {.ns = STR("t"), .key = str_c(key), .value = STR("{\"w\":\"word\"}"), .ttl_minutes = minutes};

	op.updated_us = updated_us;
	OKAY(memory_put(b->m, &b->a, &ann, &op));
}

static struct item get_item(struct bench *b, const char *key, enum tri refresh)
{
	struct op_get get = {.ns = STR("t"), .key = str_c(key), .refresh = refresh};

	OKAY(memory_get(b->m, &b->a, &ann, &get));
	assert_true(get.found);
	return get.item;
}

static void reads_refresh(void **state)
{
	struct bench b;
	int64_t long_ago = clock_wall_us() - 30 * 60000000ll, before, refreshed;

	bench_init(&b);
	put_ttl(&b, "k", 60, long_ago);
	put_ttl(&b, "half", 0.5, 0);
	put_ttl(&b, "none", 0, 0);
	before = get_item(&b, "k", TRI_NO).expires_us;
	assert_int_equal(before, long_ago + 60 * 60000000ll);
	assert_int_equal(get_item(&b, "k", TRI_NO).expires_us, before);
	get_item(&b, "k", TRI_UNSET); /* the option says refresh */
	refreshed = get_item(&b, "k", TRI_NO).expires_us;
	assert_true(refreshed > before + 20 * 60000000ll);
	assert_int_equal(get_item(&b, "k", TRI_NO).updated_us, long_ago);
	assert_int_equal(get_item(&b, "k", TRI_NO).version, 1);
	assert_true(get_item(&b, "half", TRI_YES).expires_us > clock_wall_us() + 20000000);
	assert_int_equal(get_item(&b, "none", TRI_YES).expires_us, 0);
	put_ttl(&b, "k", 0, 0); /* a put without clears it */
	assert_int_equal(get_item(&b, "k", TRI_YES).expires_us, 0);
	bench_release(&b);
}

static void a_search_refreshes_in_one_write(void **state)
{
	struct bench b;
	int64_t long_ago = clock_wall_us() - 30 * 60000000ll;
	struct op_search s = {.prefix = STR("t"), .limit = 2, .refresh = TRI_YES};
	unsigned calls;

	bench_init(&b);
	put_ttl(&b, "a", 60, long_ago);
	put_ttl(&b, "b", 60, long_ago + 1);
	put_ttl(&b, "c", 60, long_ago + 2);
	calls = fake_store_write_calls(b.store);
	OKAY(memory_search(b.m, &b.a, &ann, &s));
	assert_int_equal(s.n, 2);
	assert_int_equal(fake_store_write_calls(b.store), calls + 1);
	assert_true(get_item(&b, "c", TRI_NO).expires_us > clock_wall_us() + 50 * 60000000ll);
	assert_true(get_item(&b, "a", TRI_NO).expires_us < clock_wall_us() + 40 * 60000000ll);
	s.refresh = TRI_NO;
	OKAY(memory_search(b.m, &b.a, &ann, &s));
	assert_int_equal(fake_store_write_calls(b.store), calls + 1);
	bench_release(&b);
}

static void expired_items(void **state)
{
	struct memory_options opt = {.omit_expired = true, .default_ttl_minutes = 7, .languages = STR("english")};
	int64_t long_ago = clock_wall_us() - 60 * 60000000ll;

	for (int omit = 0; omit < 2; omit++) {
		struct op_search s = {.limit = 10}, q = {.limit = 10, .query = STR("word")};
		struct op_get get = {.ns = STR("t"), .key = STR("old")};
		struct bench b;

		opt.omit_expired = omit;
		bench_options(&b, &opt);
		put_ttl(&b, "old", 1, long_ago);
		put_ttl(&b, "new", TTL_DEFAULT, 0);
		assert_true(get_item(&b, "new", TRI_NO).ttl_minutes == 7);
		OKAY(memory_get(b.m, &b.a, &ann, &get));
		assert_int_equal(get.found, !omit);
		OKAY(memory_search(b.m, &b.a, &ann, &s));
		assert_int_equal(s.n, omit ? 1 : 2);
		OKAY(memory_search(b.m, &b.a, &ann, &q));
		assert_int_equal(q.n, omit ? 1 : 2);
		bench_release(&b);
	}
}

/* ------------------------------------------------------------------- search */

static void fill(struct bench *b, int n)
{
	for (int i = 0; i < n; i++) {
		char key[16], value[64];

		snprintf(key, sizeof key, "k%03d", i);
		snprintf(value, sizeof value, "{\"text\":\"apple %s\",\"n\":%d}", i % 2 ? "pear" : "plum plum", i);
		put(b, i % 3 ? "s.x" : "s.y", key, value);
	}
	put(b, "sx", "sibling", "{\"text\":\"apple\",\"n\":1}");
	put(b, "s%", "wild", "{\"text\":\"apple\",\"n\":1}");
}

/* Every page of a search, one after the other, gives exactly the items of one large page. */
static void pages_agree(struct bench *b, const char *query, const char *filter, size_t expected)
{
	struct op_search all = {.prefix = STR("s"), .limit = 1000, .query = str_c(query)};
	size_t seen = 0;

	OKAY(filter_compile(&b->a, filter ? parsed(&b->a, filter) : (struct jval){0}, "", &all.filter));
	OKAY(memory_search(b->m, &b->a, &ann, &all));
	assert_int_equal(all.n, expected);
	for (uint32_t offset = 0;; offset += 7) {
		struct op_search page = all;

		page.limit = 7;
		page.offset = offset;
		OKAY(memory_search(b->m, &b->a, &ann, &page));
		for (size_t i = 0; i < page.n; i++, seen++)
			assert_int_equal(page.hits[i].item.id, all.hits[seen].item.id);
		if (page.n < 7)
			break;
	}
	assert_int_equal(seen, expected);
}

static void pages_with_filters(void **state)
{
	struct bench b;

	bench_init(&b);
	fill(&b, 200);
	pages_agree(&b, NULL, NULL, 200);
	pages_agree(&b, NULL, "{\"n\":{\"$gte\":150}}", 50);
	pages_agree(&b, NULL, "{\"n\":-1}", 0);
	pages_agree(&b, "apple", NULL, 200);
	pages_agree(&b, "plum", NULL, 100);
	/* What the filter keeps lies at the end of the ranking: the search has to go on. */
	pages_agree(&b, "plum apple", "{\"text\":\"apple pear\"}", 100);
	pages_agree(&b, "plum apple", "{\"n\":{\"$gt\":190}}", 9);
	pages_agree(&b, "plum apple", "{\"n\":-1}", 0);
	pages_agree(&b, "nothing", NULL, 0);
	bench_release(&b);
}

static void order_and_scores(void **state)
{
	struct op_search s = {.prefix = STR("s"), .limit = 100};
	struct bench b;

	bench_init(&b);
	fill(&b, 20);
	OKAY(memory_search(b.m, &b.a, &ann, &s));
	for (size_t i = 1; i < s.n; i++)
		assert_true(s.hits[i - 1].item.updated_us > s.hits[i].item.updated_us);
	assert_false(s.hits[0].scored);
	s.query = STR("plums");
	s.explain = true;
	OKAY(memory_search(b.m, &b.a, &ann, &s));
	assert_int_equal(s.n, 10);
	for (size_t i = 0; i < s.n; i++) {
		assert_true(s.hits[i].scored && s.hits[i].score > 0);
		assert_true(s.hits[i].explain.n > 2);
		if (i == 0)
			continue;
		assert_true(s.hits[i - 1].score >= s.hits[i].score);
		if (s.hits[i - 1].score == s.hits[i].score) { /* then by namespace and key */
			int c = str_cmp(s.hits[i - 1].item.ns, s.hits[i].item.ns);

			assert_true(c < 0 || (c == 0 && str_cmp(s.hits[i - 1].item.key, s.hits[i].item.key) < 0));
		}
	}
	bench_release(&b);
}

static void search_limits(void **state)
{
	struct op_search s = {.prefix = STR("s"), .limit = 0};
	struct bench b;

	bench_init(&b);
	FAILS(memory_search(b.m, &b.a, &ann, &s), E_INVALID);
	s.limit = 1001;
	FAILS(memory_search(b.m, &b.a, &ann, &s), E_INVALID);
	s.limit = 10;
	s.offset = 1000001;
	FAILS(memory_search(b.m, &b.a, &ann, &s), E_INVALID);
	s.offset = 0;
	s.prefix = STR("a..b");
	FAILS(memory_search(b.m, &b.a, &ann, &s), E_INVALID);
	bench_release(&b);
}

static void unindexed_items_are_not_found_by_words(void **state)
{
	struct op_put op = {.ns = STR("s"), .key = STR("k"), .value = STR("{\"text\":\"apple\"}"), .index = TRI_NO};
	struct op_search s = {.prefix = STR("s"), .limit = 10, .query = STR("apple")};
	struct bench b;

	bench_init(&b);
	OKAY(memory_put(b.m, &b.a, &ann, &op));
	OKAY(memory_search(b.m, &b.a, &ann, &s));
	assert_int_equal(s.n, 0);
	op.index = TRI_UNSET;
	OKAY(memory_put(b.m, &b.a, &ann, &op));
	OKAY(memory_search(b.m, &b.a, &ann, &s));
	assert_int_equal(s.n, 1);
	bench_release(&b);
}

static void store_errors_come_through(void **state)
{
	struct op_search s = {.prefix = STR("s"), .limit = 10};
	struct op_put op = {.ns = STR("s"), .key = STR("k"), .value = STR("{}")};
	struct bench b;

	bench_init(&b);
	fake_store_fail(b.store, E_IO, 2);
	FAILS(memory_search(b.m, &b.a, &ann, &s), E_IO);
	FAILS(memory_put(b.m, &b.a, &ann, &op), E_IO);
	OKAY(memory_put(b.m, &b.a, &ann, &op));
	bench_release(&b);
}

/* --------------------------------------------------------------- namespaces */

static void listing(void **state)
{
	static const char *const namespaces[] = {"a",	  "a.b",   "a.b.c", "a-b",   "a-b.d",	 "b.x.end",
						 "c.end", "c.x.y", "ab.c",  "a.q.c", "users.u1", "users.u1.notes"};
	static const struct {
		const char *prefix, *suffix;
		uint32_t depth, limit, offset;
		const char *after, *expected;
	} rows[] = {
		{"", "", 0, 100, 0, "", "a a-b a-b.d a.b a.b.c a.q.c ab.c b.x.end c.end c.x.y users.u1 users.u1.notes"},
		{"a", "", 0, 100, 0, "", "a a.b a.b.c a.q.c"},
		{"a.b", "", 0, 100, 0, "", "a.b a.b.c"},
		{"a.*", "", 0, 100, 0, "", "a.b a.b.c a.q.c"},
		{"a.*.c", "", 0, 100, 0, "", "a.b.c a.q.c"},
		{"*.b", "", 0, 100, 0, "", "a.b a.b.c"},
		{"*", "", 0, 100, 0, "", "a a-b a-b.d a.b a.b.c a.q.c ab.c b.x.end c.end c.x.y users.u1 users.u1.notes"},
		{"*.*.*", "", 0, 100, 0, "", "a.b.c a.q.c b.x.end c.x.y users.u1.notes"},
		{"", "end", 0, 100, 0, "", "b.x.end c.end"},
		{"", "*.c", 0, 100, 0, "", "a.b.c a.q.c ab.c"},
		{"a", "c", 0, 100, 0, "", "a.b.c a.q.c"},
		{"a.b.c", "a.b.c", 0, 100, 0, "", "a.b.c"},
		{"", "a.b.c.d", 0, 100, 0, "", ""},
		{"", "", 1, 100, 0, "", "a a-b ab b c users"},
		{"", "", 2, 100, 0, "", "a a-b a-b.d a.b a.q ab.c b.x c.end c.x users.u1"},
		{"", "c", 1, 100, 0, "", "a ab"}, /* conditions come before the cut */
		{"", "", 1, 2, 1, "", "a-b ab"},
		{"", "", 0, 3, 2, "", "a-b.d a.b a.b.c"},
		{"", "", 0, 2, 0, "a.b", "a.b.c a.q.c"},
		{"", "", 1, 2, 0, "a-b", "ab b"},
		{"", "", 0, 10, 100, "", ""},
		{"nothing", "", 0, 10, 0, "", ""},
	};
	struct bench b;

	bench_init(&b);
	for (size_t i = 0; i < sizeof namespaces / sizeof namespaces[0]; i++) {
		put(&b, namespaces[i], "k", "{}");
		put(&b, namespaces[i], "l", "{}");
	}
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct op_list op = {str_c(rows[i].prefix), str_c(rows[i].suffix), rows[i].depth,
				     rows[i].limit,	    rows[i].offset,	   str_c(rows[i].after)};
		struct buf out;

		OKAY(memory_list(b.m, &b.a, &ann, &op));
		buf_init(&out, &b.a, 4096);
		for (size_t k = 0; k < op.n; k++) {
			if (k)
				buf_byte(&out, ' ');
			buf_str(&out, op.names[k]);
		}
		buf_byte(&out, 0);
		assert_string_equal(out.p, rows[i].expected);
	}
	bench_release(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(put_get_delete),
		cmocka_unit_test(put_refuses),
		cmocka_unit_test(rights_and_isolation),
		cmocka_unit_test(reads_refresh),
		cmocka_unit_test(a_search_refreshes_in_one_write),
		cmocka_unit_test(expired_items),
		cmocka_unit_test(pages_with_filters),
		cmocka_unit_test(order_and_scores),
		cmocka_unit_test(search_limits),
		cmocka_unit_test(unindexed_items_are_not_found_by_words),
		cmocka_unit_test(store_errors_come_through),
		cmocka_unit_test(listing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
