/* Messages: from JSON and back, default ids, whose they are, idempotence. */
#include "core/session.h"
#include "core/testing.h"

static struct message msg(const char *thread, const char *role, const char *content)
{
	return (struct message){
		.thread = str_c(thread), .role = str_c(role), .content = str_c(content), .mid = STR(""), .user = STR("")};
}

static void append_as(struct bench *b, const struct principal *who, struct message *m, size_t n, size_t stored, size_t unchanged)
{
	size_t s, u;

	OKAY(session_append(b->m, &b->a, who, m, n, &s, &u));
	assert_int_equal(s, stored);
	assert_int_equal(u, unchanged);
}

static void json_both_ways(void **state)
{
	static const char *const same[] = {
		"{\"thread\":\"t\",\"id\":\"m\",\"role\":\"user\",\"content\":\"\"}",
		"{\"thread\":\"t\",\"id\":\"m\",\"user\":\"u\",\"role\":\"person\",\"name\":\"Ann\",\"content\":\"a\\nb \xc3\xa9\","
		"\"time\":\"2026-08-20T07:02:48.123456Z\",\"metadata\":{\"k\": [1.50,  2]}}",
	};
	struct arena a;

	arena_init(&a, 1 << 20);
	for (size_t i = 0; i < 2; i++) {
		struct message m;
		struct buf b;
		struct jw w;

		OKAY(message_from_json(&a, parsed(&a, same[i]), "", true, &m));
		buf_init(&b, &a, 4096);
		jw_init(&w, &b);
		message_to_json(&w, &m);
		assert_true(str_eq(buf_slice(&b), str_c(same[i])));
	}
	arena_release(&a);
}

static void json_refusals(void **state)
{
	static const struct {
		const char *json, *field;
	} rows[] = {
		{"[]", "/m/0"},
		{"{\"role\":\"user\",\"content\":\"x\"}", "/m/0/thread"},
		{"{\"thread\":\"\",\"role\":\"user\",\"content\":\"x\"}", "/m/0/thread"},
		{"{\"thread\":5,\"role\":\"user\",\"content\":\"x\"}", "/m/0/thread"},
		{"{\"thread\":\"a\\u0000\",\"role\":\"user\",\"content\":\"x\"}", "/m/0/thread"},
		{"{\"thread\":\"t\",\"content\":\"x\"}", "/m/0/role"},
		{"{\"thread\":\"t\",\"role\":\"robot\",\"content\":\"x\"}", "/m/0/role"},
		{"{\"thread\":\"t\",\"role\":\"User\",\"content\":\"x\"}", "/m/0/role"},
		{"{\"thread\":\"t\",\"role\":\"user\"}", "/m/0/content"},
		{"{\"thread\":\"t\",\"role\":\"user\",\"content\":null}", "/m/0/content"},
		{"{\"thread\":\"t\",\"role\":\"user\",\"content\":[\"x\"]}", "/m/0/content"},
		{"{\"thread\":\"t\",\"role\":\"user\",\"content\":\"x\",\"time\":\"yesterday\"}", "/m/0/time"},
		{"{\"thread\":\"t\",\"role\":\"user\",\"content\":\"x\",\"time\":5}", "/m/0/time"},
		{"{\"thread\":\"t\",\"role\":\"user\",\"content\":\"x\",\"metadata\":[]}", "/m/0/metadata"},
		{"{\"thread\":\"t\",\"role\":\"user\",\"content\":\"x\",\"user\":{}}", "/m/0/user"},
		{"{\"thread\":\"t\",\"role\":\"user\",\"content\":\"x\",\"more\":1}", "/more"},
	};
	struct arena a;
	struct message m;

	arena_init(&a, 1 << 20);
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		FAILS(message_from_json(&a, parsed(&a, rows[i].json), "/m/0", true, &m), E_INVALID);
		assert_string_equal(diag_get()->field, rows[i].field);
	}
	OKAY(message_from_json(&a, parsed(&a, "{\"thread\":\"t\",\"role\":\"tool\",\"content\":\"\",\"more\":1,\"id\":null}"), "",
			       false, &m));
	arena_release(&a);
}

static void default_ids(void **state)
{
	struct arena a;
	struct message m = msg("t", "user", "hello"), x;
	struct str id, again;

	arena_init(&a, 1 << 20);
	id = message_default_id(&a, &m, 0);
	assert_int_equal(id.n, 32);
	again = message_default_id(&a, &m, 0);
	assert_true(str_eq(id, again));
	x = m;
	x.user = STR("u");
	x.metadata = STR("{}");
	assert_true(str_eq(id, message_default_id(&a, &x, 0)));
	assert_false(str_eq(id, message_default_id(&a, &m, 1)));
	x = m;
	x.thread = STR("t2");
	assert_false(str_eq(id, message_default_id(&a, &x, 0)));
	x = m;
	x.time_us = 1;
	assert_false(str_eq(id, message_default_id(&a, &x, 0)));
	x = m;
	x.name = STR("h");
	x.content = STR("ello");
	assert_false(str_eq(id, message_default_id(&a, &x, 0)));
	/* It is stored: it must never change. */
	assert_true(str_eq(id, STR("6e809a88a1b961a7d4f485f2654157ba")));
	arena_release(&a);
}

static void appending_again_changes_nothing(void **state)
{
	struct bench b;
	struct message first[3], second[3], one;
	struct message *list;
	size_t n;

	bench_init(&b);
	for (int round = 0; round < 2; round++) {
		struct message *m = round ? second : first;

		m[0] = msg("t", "user", "ok");
		m[1] = msg("t", "assistant", "fine");
		m[2] = msg("t", "user", "ok"); /* said twice in one call: two messages */
		append_as(&b, &ann, m, 3, round ? 0 : 3, round ? 3 : 0);
	}
	one = msg("t", "user", "ok");
	one.mid = STR("mine");
	append_as(&b, &ann, &one, 1, 1, 0);
	append_as(&b, &ann, &one, 1, 0, 1);
	OKAY(session_messages(b.m, &b.a, &ann, STR("t"), 0, 100, &list, &n));
	assert_int_equal(n, 4);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(list[i].pos, i);
	assert_true(str_eq(list[3].mid, STR("mine")));
	OKAY(session_messages(b.m, &b.a, &ann, STR("t"), 2, 1, &list, &n));
	assert_int_equal(n, 1);
	assert_int_equal(list[0].pos, 2);
	FAILS(session_messages(b.m, &b.a, &ann, STR("none"), 0, 1, &list, &n), E_NOT_FOUND);
	bench_release(&b);
}

static void whose_messages(void **state)
{
	struct principal named = ann;
	struct bench b;
	struct message m = msg("t1", "user", "x"), theirs = msg("t1", "user", "y");
	struct thread_info *t;
	struct message *list;
	struct str user = STR("carl");
	size_t n, s, u;

	bench_init(&b);
	named.user = STR("carl");
	append_as(&b, &named, &m, 1, 1, 0);
	assert_true(str_eq(m.user, STR("carl")));
	/* The thread is carl's. */
	theirs.user = STR("dora");
	FAILS(session_append(b.m, &b.a, &ann, &theirs, 1, &s, &u), E_CONFLICT);
	m = msg("t2", "user", "x");
	append_as(&b, &bound, &m, 1, 1, 0);
	m = msg("t3", "user", "x");
	m.user = STR("carl");
	FAILS(session_append(b.m, &b.a, &bound, &m, 1, &s, &u), E_DENIED);
	assert_string_equal(diag_get()->field, "/messages/0/user");

	OKAY(session_threads(b.m, &b.a, &ann, NULL, STR(""), 10, &t, &n));
	assert_int_equal(n, 2);
	OKAY(session_threads(b.m, &b.a, &ann, &user, STR(""), 10, &t, &n));
	assert_int_equal(n, 1);
	OKAY(session_threads(b.m, &b.a, &bound, NULL, STR(""), 10, &t, &n));
	assert_int_equal(n, 1);
	assert_true(str_eq(t[0].thread, STR("t2")));
	FAILS(session_threads(b.m, &b.a, &bound, &user, STR(""), 10, &t, &n), E_DENIED);
	FAILS(session_messages(b.m, &b.a, &bound, STR("t1"), 0, 10, &list, &n), E_NOT_FOUND);
	FAILS(session_delete(b.m, &bound, STR("t1")), E_NOT_FOUND);
	FAILS(session_messages(b.m, &b.a, &other, STR("t1"), 0, 10, &list, &n), E_NOT_FOUND);
	FAILS(session_delete(b.m, &other, STR("t1")), E_NOT_FOUND);
	FAILS(session_delete(b.m, &reader, STR("t1")), E_DENIED);
	FAILS(session_append(b.m, &b.a, &reader, &m, 1, &s, &u), E_DENIED);
	OKAY(session_delete(b.m, &ann, STR("t1")));
	FAILS(session_messages(b.m, &b.a, &ann, STR("t1"), 0, 10, &list, &n), E_NOT_FOUND);
	bench_release(&b);
}

static void limits(void **state)
{
	struct bench b;
	struct message m = msg("t", "user", "x");
	char *big;
	size_t s, u;

	bench_init(&b);
	big = arena_alloc(&b.a, MESSAGE_MAX_BYTES + 1);
	memset(big, 'a', MESSAGE_MAX_BYTES + 1);
	m.content = str_of(big, MESSAGE_MAX_BYTES + 1);
	FAILS(session_append(b.m, &b.a, &ann, &m, 1, &s, &u), E_INVALID);
	FAILS(session_append(b.m, &b.a, &ann, &m, MESSAGES_PER_CALL + 1, &s, &u), E_LIMIT);
	OKAY(session_append(b.m, &b.a, &ann, NULL, 0, &s, &u));
	assert_int_equal(s + u, 0);
	bench_release(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(json_both_ways), cmocka_unit_test(json_refusals),
		cmocka_unit_test(default_ids),	  cmocka_unit_test(appending_again_changes_nothing),
		cmocka_unit_test(whose_messages), cmocka_unit_test(limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
