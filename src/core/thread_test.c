/* Threads: names, resolution, records under versions, search: containment, status, sorting, paging, who sees what. */
#include "core/testing.h"

#include <pthread.h>

#include "base/uuid7.h"
#include "core/checkpoint.h"
#include "core/thread.h"

static struct bench b;

static int setup(void **state)
{
	bench_init(&b);
	return 0;
}

static int teardown(void **state)
{
	bench_release(&b);
	return 0;
}

static void make_as(const struct principal *who, const char *name, const char *metadata)
{
	struct thread_record r = {.thread = str_c(name), .metadata = str_c(metadata)};

	OKAY(thread_put(b.m, who, &r, IF_ABSENT));
}

static void make(const char *name, const char *metadata)
{
	make_as(&ann, name, metadata);
}

static struct thread_info info_of(const char *name)
{
	struct thread_info t;
	bool found;

	OKAY(thread_get(b.m, &b.a, &ann, str_c(name), &t, &found));
	if (!found)
		fail_msg("no thread %s", name);
	return t;
}

static void checkpoint(const char *thread, const char *id, const char *values)
{
	struct ckpt_change c = {.op = CK_PUT, .thread = str_c(thread), .ns = STR(""), .id = str_c(id), .metadata = STR("{}")};

	c.checkpoint = arena_printf(&b.a, "{\"v\":4,\"channel_values\":%s,\"channel_versions\":{}}", values);
	OKAY(ckpt_write(b.m, &b.a, &ann, &c, 1));
}

static void pending(const char *thread, const char *id, const char *channel)
{
	const struct ckpt_pending p = {STR("task"), STR(""), str_c(channel), STR("json"), STR("[]"), -3};
	struct ckpt_change c = {.op = CK_WRITES,
				.thread = str_c(thread),
				.ns = STR(""),
				.id = str_c(id),
				.writes = &p,
				.writes_n = 1,
				.replace = true};

	OKAY(ckpt_write(b.m, &b.a, &ann, &c, 1));
}

/* ----------------------------------------------------------- names, records */

static void names(void **state)
{
	char longest[THREAD_MAX_BYTES + 1];

	memset(longest, 'x', sizeof longest);
	OKAY(thread_check(STR("a/../b \xf0\x9f\x92\xa7%2E"), "t"));
	OKAY(thread_check(str_of(longest, THREAD_MAX_BYTES), "t"));
	FAILS(thread_check(str_of(longest, sizeof longest), "/t"), E_INVALID);
	assert_string_equal(diag_get()->field, "/t");
	FAILS(thread_check(STR(""), "t"), E_INVALID);
	FAILS(thread_check(STR("a\0b"), "t"), E_INVALID);
	FAILS(thread_check(STR("\xff"), "t"), E_INVALID);
	FAILS(thread_check(STR("\xed\xa0\x80"), "t"), E_INVALID);
}

static void resolution(void **state)
{
	static const struct {
		struct str custom, conversation;
		const char *want; /* NULL: a new one */
	} cases[] = {
		{STR_INIT("c"), STR_INIT("v"), "c"}, {STR_INIT("c"), {NULL, 0}, "c"},	 {STR_INIT(""), STR_INIT("v"), "v"},
		{{NULL, 0}, STR_INIT("v"), "v"},     {STR_INIT(""), STR_INIT(""), NULL}, {{NULL, 0}, {NULL, 0}, NULL},
	};
	struct str first = STR("");

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct str got;
		bool made;

		OKAY(thread_resolve(&b.a, cases[i].custom, cases[i].conversation, &got, &made));
		assert_int_equal(made, cases[i].want == NULL);
		if (cases[i].want) {
			assert_true(str_eq(got, str_c(cases[i].want)));
			continue;
		}
		assert_true(uuid_valid(got) && !str_eq(got, first));
		first = got;
	}
	bool made;
	struct str got;
	FAILS(thread_resolve(&b.a, STR("a\0b"), STR("v"), &got, &made), E_INVALID);
}

static void records(void **state)
{
	struct thread_record r = {.thread = STR("t"), .metadata = STR("{\"a\":1}"), .ttl_minutes = 5};
	struct thread_info t;
	bool found;

	OKAY(thread_put(b.m, &ann, &r, IF_ABSENT));
	FAILS(thread_put(b.m, &ann, &r, IF_ABSENT), E_CONFLICT);
	t = info_of("t");
	assert_true(str_eq(t.metadata, STR("{\"a\":1}")) && t.ttl_minutes == 5 && t.version == 1);
	OKAY(thread_get(b.m, &b.a, &other, STR("t"), &t, &found));
	assert_false(found);
	FAILS(thread_get(b.m, &b.a, &ann, STR(""), &t, &found), E_INVALID);
	OKAY(thread_remove(b.m, &ann, STR("t")));
	FAILS(thread_remove(b.m, &ann, STR("t")), E_NOT_FOUND);
}

static void refused_records(void **state)
{
	char big[THREAD_METADATA_MAX + 64];
	struct thread_record r = {.thread = STR("t")};
	struct str *const bad[] = {&r.metadata, &r.config};

	for (size_t i = 0; i < 2; i++) {
		*bad[i] = STR("[1]");
		FAILS(thread_put(b.m, &ann, &r, IF_ABSENT), E_INVALID);
		*bad[i] = STR("{");
		FAILS(thread_put(b.m, &ann, &r, IF_ABSENT), E_INVALID);
		snprintf(big, sizeof big, "{\"a\":\"%0*d\"}", THREAD_METADATA_MAX, 0);
		*bad[i] = str_c(big);
		FAILS(thread_put(b.m, &ann, &r, IF_ABSENT), E_INVALID);
		*bad[i] = STR("");
	}
	r.ttl_minutes = -1;
	FAILS(thread_put(b.m, &ann, &r, IF_ABSENT), E_INVALID);
	r.ttl_minutes = 1e300;
	FAILS(thread_put(b.m, &ann, &r, IF_ABSENT), E_INVALID);
	r.ttl_minutes = 0;
	FAILS(thread_put(b.m, &reader, &r, IF_ABSENT), E_DENIED);
	r.user = STR("carol");
	FAILS(thread_put(b.m, &bound, &r, IF_ABSENT), E_DENIED);
	FAILS(thread_remove(b.m, &reader, STR("t")), E_DENIED);
}

static void updates(void **state)
{
	struct thread_info t;

	make("t", "{\"a\":1,\"b\":{\"x\":1},\"c\":3}");
	OKAY(thread_update(b.m, &b.a, &ann, STR("t"), parsed(&b.a, "{\"b\":null,\"d\":4,\"a\":{\"y\":2}}"), -1, TTL_DELETE, &t));
	assert_string_equal(arena_cstr(&b.a, t.metadata), "{\"a\":{\"y\":2},\"b\":null,\"c\":3,\"d\":4}");
	assert_int_equal(t.version, 2);
	OKAY(thread_update(b.m, &b.a, &ann, STR("t"), (struct jval){0}, 7, TTL_KEEP_LATEST, &t));
	assert_true(t.ttl_minutes == 7 && t.ttl_strategy == TTL_KEEP_LATEST);
	assert_string_equal(arena_cstr(&b.a, t.metadata), "{\"a\":{\"y\":2},\"b\":null,\"c\":3,\"d\":4}");
	OKAY(thread_update(b.m, &b.a, &ann, STR("t"), parsed(&b.a, "{}"), -1, TTL_DELETE, &t));
	assert_true(t.ttl_minutes == 7 && t.ttl_strategy == TTL_KEEP_LATEST);
	FAILS(thread_update(b.m, &b.a, &ann, STR("none"), parsed(&b.a, "{}"), -1, TTL_DELETE, &t), E_NOT_FOUND);
	FAILS(thread_update(b.m, &b.a, &other, STR("t"), parsed(&b.a, "{}"), -1, TTL_DELETE, &t), E_NOT_FOUND);
	FAILS(thread_update(b.m, &b.a, &ann, STR("t"), parsed(&b.a, "[]"), -1, TTL_DELETE, &t), E_INVALID);
	/* one that a saver made has no record yet */
	checkpoint("saved", "1", "{}");
	OKAY(thread_update(b.m, &b.a, &ann, STR("saved"), parsed(&b.a, "{\"k\":1}"), -1, TTL_DELETE, &t));
	assert_string_equal(arena_cstr(&b.a, t.metadata), "{\"k\":1}");
	assert_int_equal(t.checkpoints, 1);
}

enum { WRITERS = 4, EACH = 10 };

static void *writer(void *arg)
{
	struct arena a;

	arena_init(&a, 64 << 20);
	for (int i = 0; i < EACH; i++) {
		struct str text = arena_printf(&a, "{\"w%d_%d\":1}", (int)(intptr_t)arg, i);
		struct thread_info t;

		arena_cstr(&a, text);
		OKAY(thread_update(b.m, &a, &ann, STR("shared"), parsed(&a, text.p), -1, TTL_DELETE, &t));
	}
	arena_release(&a);
	return NULL;
}

/* Members that are merged at the same time are all there. */
static void no_lost_update(void **state)
{
	pthread_t threads[WRITERS];
	struct thread_info t;
	struct json doc;

	make("shared", "{}");
	for (intptr_t i = 0; i < WRITERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, writer, (void *)i), 0);
	for (int i = 0; i < WRITERS; i++)
		pthread_join(threads[i], NULL);
	t = info_of("shared");
	OKAY(json_parse(&b.a, t.metadata, NULL, &doc));
	assert_int_equal(j_node(json_root(&doc))->count, WRITERS * EACH);
}

/* ------------------------------------------------------------------- search */

static struct thread_search search_as(const struct principal *who, struct thread_search q)
{
	if (q.limit == 0)
		q.limit = 1000;
	OKAY(thread_search(b.m, &b.a, who, &q));
	return q;
}

/* The names found, in order, joined with blanks. */
static const char *found(struct thread_search q)
{
	struct buf out;

	q = search_as(&ann, q);
	buf_init(&out, &b.a, 1 << 20);
	for (size_t i = 0; i < q.n; i++) {
		buf_lit(&out, i > 0 ? " " : "");
		buf_str(&out, q.v[i].thread);
	}
	buf_byte(&out, 0);
	return out.p;
}

static void by_metadata(void **state)
{
	make("a", "{\"n\":1,\"tags\":[\"x\",\"y\"],\"deep\":{\"k\":1,\"l\":2}}");
	make("b", "{\"n\":1.0}");
	make("c", "{\"n\":\"1\"}");
#define META(text) (struct thread_search){.metadata = parsed(&b.a, text), .sort = SORT_ID, .ascending = true}
	assert_string_equal(found(META("{}")), "a b c");
	assert_string_equal(found(META("null")), "a b c");
	assert_string_equal(found(META("{\"n\":1}")), "a b");
	assert_string_equal(found(META("{\"tags\":[\"y\"]}")), "a");
	assert_string_equal(found(META("{\"deep\":{\"l\":2}}")), "a");
	assert_string_equal(found(META("{\"deep\":{\"l\":3}}")), "");
	assert_string_equal(found(META("{\"none\":null}")), "");
	struct thread_search q = META("[]");
	FAILS(thread_search(b.m, &b.a, &ann, &q), E_INVALID);
}

static void by_values(void **state)
{
	checkpoint("a", "1", "{\"topic\":\"boats\",\"n\":1}");
	checkpoint("a", "2", "{\"topic\":\"bread\",\"n\":2}");
	checkpoint("b", "1", "{\"topic\":\"boats\",\"__hidden\":1}");
	make("c", "{}");
#define VALUES(text) (struct thread_search){.values = parsed(&b.a, text), .sort = SORT_ID, .ascending = true}
	assert_string_equal(found(VALUES("{}")), "a b c");
	assert_string_equal(found(VALUES("{\"topic\":\"boats\"}")), "b"); /* the head's, not the history's */
	assert_string_equal(found(VALUES("{\"topic\":\"bread\",\"n\":2}")), "a");
	assert_string_equal(found(VALUES("{\"__hidden\":1}")), "");
}

static void too_large_patterns(void **state)
{
	struct thread_search q = {0};
	struct buf text;

	buf_init(&text, &b.a, 1 << 20);
	buf_lit(&text, "{\"a\":[0");
	for (int i = 0; i < 2000; i++)
		buf_lit(&text, ",1");
	buf_lit(&text, "]}");
	buf_byte(&text, 0);
	q.values = parsed(&b.a, text.p);
	FAILS(thread_search(b.m, &b.a, &ann, &q), E_INVALID);
	assert_string_equal(diag_get()->field, "/values");
}

static void by_status_and_kind(void **state)
{
	struct message said = {.thread = STR("talk"),
			       .user = STR(""),
			       .role = STR("user"),
			       .content = STR("hi"),
			       .mid = STR("1"),
			       .name = STR(""),
			       .metadata = STR("")};
	size_t stored, unchanged;

	checkpoint("idle", "1", "{}");
	checkpoint("asks", "1", "{}");
	pending("asks", "1", "__interrupt__");
	checkpoint("fails", "1", "{}");
	pending("fails", "1", "__error__");
	make("made", "{}");
	OKAY(session_append(b.m, &b.a, &ann, &said, 1, &stored, &unchanged));
#define STATUS(s)                                                                                                                  \
	(struct thread_search){.by_status = true, .status = (s), .sort = SORT_ID, .ascending = true, .checkpoints_only = true}
	assert_string_equal(found(STATUS(THREAD_INTERRUPTED)), "asks");
	assert_string_equal(found(STATUS(THREAD_FAILED)), "fails");
	assert_string_equal(found(STATUS(THREAD_BUSY)), "");
	assert_string_equal(found(STATUS(THREAD_IDLE)), "idle made");
	assert_string_equal(found((struct thread_search){.sort = SORT_STATUS, .ascending = true, .checkpoints_only = true}),
			    "fails idle made asks");
	assert_string_equal(found((struct thread_search){.sort = SORT_STATUS, .checkpoints_only = true}), "asks idle made fails");
	assert_string_equal(found((struct thread_search){.sort = SORT_ID, .ascending = true}), "asks fails idle made talk");
}

static void sorting_and_paging(void **state)
{
	struct thread_info t;

	make("b", "{}");
	make("a", "{}");
	make("c", "{}");
	checkpoint("b", "1f0b7d5e-7c6a-6c50-8003-0123456789ab", "{}");
	OKAY(thread_update(b.m, &b.a, &ann, STR("a"), parsed(&b.a, "{}"), -1, TTL_DELETE, &t));
	assert_string_equal(found((struct thread_search){0}), "c a b");
	assert_string_equal(found((struct thread_search){.ascending = true}), "b a c");
	assert_string_equal(found((struct thread_search){.sort = SORT_UPDATED}), "a b c");
	assert_string_equal(found((struct thread_search){.sort = SORT_UPDATED, .ascending = true}), "c b a");
	assert_string_equal(found((struct thread_search){.sort = SORT_STATE}),
			    "b a c"); /* equal ones by name, in both directions */
	assert_string_equal(found((struct thread_search){.sort = SORT_STATE, .ascending = true}), "a c b");
	assert_string_equal(found((struct thread_search){.sort = SORT_ID}), "c b a");
	assert_string_equal(found((struct thread_search){.sort = SORT_ID, .ascending = true, .limit = 2}), "a b");
	assert_string_equal(found((struct thread_search){.sort = SORT_ID, .ascending = true, .limit = 2, .offset = 2}), "c");
	assert_string_equal(found((struct thread_search){.sort = SORT_ID, .ascending = true, .offset = 9}), "");
	assert_int_equal(search_as(&ann, (struct thread_search){.limit = 1}).total, 3);
	assert_int_equal(search_as(&ann, (struct thread_search){.offset = 1}).total, 3);
}

static void by_ids(void **state)
{
	const struct str ids[] = {STR("c"), STR("none"), STR("a"), STR("c")};

	make("a", "{\"n\":1}");
	make("b", "{}");
	make("c", "{}");
	assert_string_equal(found((struct thread_search){.ids = ids, .ids_n = 4, .sort = SORT_ID, .ascending = true}), "a c");
	assert_string_equal(found((struct thread_search){.ids = ids, .ids_n = 4, .metadata = parsed(&b.a, "{\"n\":1}")}), "a");
}

static void who_sees_what(void **state)
{
	const struct principal bob = {
		.tenant = STR("default"), .user = STR("bob@example.com"), .rights = RIGHT_ALL, .id = STR("k")};
	const struct principal carol = {.tenant = STR("default"), .user = STR("carol"), .rights = RIGHT_ALL, .id = STR("k")};
	const struct str ids[] = {STR("bobs"), STR("nobodys")};
	struct thread_search q = {.sort = SORT_ID, .ascending = true};
	struct thread_info t;

	make("nobodys", "{}");
	make_as(&bob, "bobs", "{}");
	make_as(&carol, "carols", "{}");
	make_as(&other, "others", "{}");
	assert_string_equal(found(q), "bobs carols nobodys");
	assert_int_equal(search_as(&bob, q).total, 2); /* and nobody's */
	assert_int_equal(search_as(&bound, q).total, 1);
	assert_true(str_eq(search_as(&bound, q).v[0].thread, STR("bobs")));
	assert_int_equal(search_as(&other, q).total, 1);
	q.ids = ids;
	q.ids_n = 2;
	assert_int_equal(search_as(&carol, q).total, 1);
	assert_int_equal(search_as(&other, q).total, 0);
	FAILS(thread_update(b.m, &b.a, &carol, STR("bobs"), parsed(&b.a, "{}"), -1, TTL_DELETE, &t), E_NOT_FOUND);
	FAILS(thread_remove(b.m, &carol, STR("bobs")), E_NOT_FOUND);
	FAILS(thread_remove(b.m, &other, STR("bobs")), E_NOT_FOUND);
	FAILS(thread_search(b.m, &b.a, NULL, &q), E_DENIED);
}

static void storage(void **state)
{
	struct ckpt_storage s;

	make("t", "{}");
	checkpoint("t", "1", "{}");
	pending("t", "1", "x");
	OKAY(thread_storage(b.m, &b.a, &ann, STR("t"), &s));
	assert_int_equal(s.checkpoints, 1);
	assert_int_equal(s.writes, 1);
	assert_true(s.checkpoint_bytes > 0);
	FAILS(thread_storage(b.m, &b.a, &ann, STR("none"), &s), E_NOT_FOUND);
	FAILS(thread_storage(b.m, &b.a, &other, STR("t"), &s), E_NOT_FOUND);
}

/* Pages of names beyond the first, in one search. */
static void many(void **state)
{
	char name[32], metadata[32];
	struct thread_search q = {.sort = SORT_CREATED, .limit = 10, .offset = 5};

	for (int i = 0; i < 10000; i++) {
		snprintf(name, sizeof name, "t%d", i * 7919 % 10000);
		snprintf(metadata, sizeof metadata, "{\"n\":%d}", i % 10);
		make(name, metadata);
	}
	q.metadata = parsed(&b.a, "{\"n\":3}");
	q = search_as(&ann, q);
	assert_int_equal(q.total, 1000);
	assert_int_equal(q.n, 10);
	for (int i = 0; i < 10; i++) {
		snprintf(name, sizeof name, "t%d", (9993 - 10 * (5 + i)) * 7919 % 10000);
		assert_true(str_eq(q.v[i].thread, str_c(name)));
	}
}

/* More metadata than is kept during a search. */
static void much_metadata(void **state)
{
	static char metadata[60000 + 16];
	struct thread_search q = {.sort = SORT_ID, .ascending = true};
	char name[32];

	for (int i = 0; i < 700; i++) {
		snprintf(name, sizeof name, "t%03d", i);
		snprintf(metadata, sizeof metadata, "{\"a\":\"%060000d\"}", i);
		make(name, metadata);
	}
	q = search_as(&ann, q);
	assert_int_equal(q.n, 700);
	for (int i = 0; i < 700; i++) {
		snprintf(name, sizeof name, "t%03d", i);
		assert_true(str_eq(q.v[i].thread, str_c(name)));
		assert_int_equal(q.v[i].metadata.n, 60008);
		snprintf(name, sizeof name, "%03d\"}", i);
		assert_true(str_ends(q.v[i].metadata, str_c(name)));
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {T(names),
					   T(resolution),
					   T(records),
					   T(refused_records),
					   T(updates),
					   T(no_lost_update),
					   T(by_metadata),
					   T(by_values),
					   T(too_large_patterns),
					   T(by_status_and_kind),
					   T(sorting_and_paging),
					   T(by_ids),
					   T(who_sees_what),
					   T(storage),
					   T(many),
					   T(much_metadata)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
