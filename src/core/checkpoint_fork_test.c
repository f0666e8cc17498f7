/* Forks and updates without a graph: what is new, what stays, what is refused; msgpack byte for byte. */
#include "base/hash.h"
#include "core/checkpoint_testing.h"

static struct jval json_of(struct bench *b, struct str text)
{
	return parsed(&b->a, arena_cstr(&b->a, text));
}

static struct str member(struct bench *b, struct str object, const char *name)
{
	struct jval v = j_get(json_of(b, object), str_c(name));

	return j_ok(v) ? j_raw(v) : STR("");
}

static void is(struct str got, const char *want)
{
	if (!str_eq(got, str_c(want)))
		fail_msg("\"%.*s\", expected \"%s\"", STR_ARG(got), want);
}

#define V1 "00000000000000000000000000000001.0000000000000001"
#define V2 "00000000000000000000000000000002.0000000000000001"

/* An ordinary thread of Python: scalars inline, a list as a blob, a consumed channel. */
static struct str ordinary(struct bench *b)
{
	struct ckpt_value v = {STR("list"), STR(V1), STR("msgpack"), STR("\x92\x01\x02")};
	struct str id = ck_plain(b, "t", "", STR(""), 3, "");

	ck_put(b, &ann, STR("t"), STR(""), id, STR(""),
	       STR("{\"v\":4,\"id\":\"x\",\"ts\":\"2020\",\"channel_values\":{\"n\":1,\"s\":\"a\"},\"channel_versions\":{\"n\":"
		   "\"" V1 "\",\"s\":\"" V2 "\",\"list\":\"" V1 "\",\"__start__\":\"" V1
		   "\"},\"versions_seen\":{\"node\":{\"n\":\"" V1 "\"}},\"odd\":[1,{\"k\":null}]}"),
	       STR("{\"source\":\"loop\",\"step\":3,\"parents\":{\"p\":\"q\"},\"run_id\":\"r\",\"user_id\":\"u\",\"writes\":{}}"),
	       &v, 1);
	return id;
}

static struct ckpt_full fork_of(struct bench *b, const char *ns, struct str id)
{
	struct ckpt_ref ref = {str_c(ns), id};
	char new_id[37];

	OKAY(ckpt_fork(b->m, &b->a, &ann, STR("t"), &ref, new_id));
	struct ckpt_full c = ck_get(b, "t", ns, STR(""));
	assert_true(str_eq(c.c.id, str_c(new_id)));
	return c;
}

static void a_fork_is_the_same_state(void **state)
{
	struct bench b;
	struct str id;

	bench_init(&b);
	id = ordinary(&b);
	ck_plain(&b, "t", "", id, 4, "");
	struct ckpt_full c = fork_of(&b, "", id);
	is(member(&b, c.c.checkpoint, "channel_versions"),
	   "{\"n\":\"" V1 "\",\"s\":\"" V2 "\",\"list\":\"" V1 "\",\"__start__\":\"" V1 "\"}");
	is(member(&b, c.c.checkpoint, "channel_values"), "{\"n\":1,\"s\":\"a\"}");
	is(member(&b, c.c.checkpoint, "odd"), "[1,{\"k\":null}]");
	is(member(&b, c.c.checkpoint, "v"), "4");
	assert_true(j_str_eq(j_get(json_of(&b, c.c.checkpoint), STR("id")), c.c.id));
	assert_true(member(&b, c.c.checkpoint, "ts").n > 20);
	assert_int_equal(c.c.values_n, 1);
	is(c.c.values[0].bytes, "\x92\x01\x02");
	is(c.c.metadata, "{\"source\":\"fork\",\"step\":4,\"parents\":{\"p\":\"q\"},\"user_id\":\"u\"}");
	assert_true(str_eq(c.c.parent, id));
	assert_memory_equal(c.c.id.p + 19, "8004", 4);
	/* Of the head, when none is named. */
	struct ckpt_full d = fork_of(&b, "", STR(""));
	assert_true(str_eq(d.c.parent, c.c.id));
	is(member(&b, d.c.metadata, "step"), "5");
	bench_release(&b);
}

static void a_fork_does_not_take_the_sources_writes(void **state)
{
	static const char meta[] = "{\"step\":1,\"counters_since_delta_snapshot\":{\"d\":[1,1],\"never\":[0,0]}}";
	struct bench b;
	struct str root, id;

	bench_init(&b);
	root = ck_plain(&b, "t", "", STR(""), 0, "");
	id = ck_plain(&b, "t", "", root, 1, "");
	ck_put(&b, &ann, STR("t"), STR(""), id, root,
	       STR("{\"v\":4,\"channel_values\":{},\"channel_versions\":{\"d\":\"" V1 "\"}}"), str_c(meta), NULL, 0);
	ck_write(&b, "t", "", root, "k", "d", "first");
	ck_write(&b, "t", "", id, "k", "d", "second");
	struct ckpt_full c = fork_of(&b, "", id);
	assert_true(str_eq(c.c.parent, root));
	struct ckpt_query q = {.thread = STR("t"), .ns = STR(""), .id = c.c.id};
	struct ckpt_history h = {.channel = STR("d")};
	OKAY(ckpt_history(b.m, &b.a, &ann, &q, &h, 1));
	assert_int_equal(h.writes_n, 1);
	is(h.writes[0].bytes, "first");
	is(member(&b, c.c.metadata, "counters_since_delta_snapshot"), "{\"d\":[1,1],\"never\":[0,0]}");
	/* With a value of its own it is rebuilt from nothing else. */
	struct ckpt_value v = {STR("d"), STR(V1), STR("msgpack"), STR("\xd5\x07\x91\x01")};
	ck_put(&b, &ann, STR("t"), STR(""), id, root,
	       STR("{\"v\":4,\"channel_values\":{\"d\":true},\"channel_versions\":{\"d\":\"" V1 "\"}}"), str_c(meta), &v, 1);
	c = fork_of(&b, "", id);
	assert_true(str_eq(c.c.parent, id));
	assert_int_equal(c.c.values_n, 1);
	/* The old format takes sends from its parent. */
	ck_put(&b, &ann, STR("t"), STR("s"), STR("1"), STR("0"), STR("{\"v\":2}"), STR("{}"), NULL, 0);
	ck_write(&b, "t", "s", STR("0"), "k", "__pregel_tasks", "send");
	ck_write(&b, "t", "s", STR("1"), "k", "__pregel_tasks", "later");
	c = fork_of(&b, "s", STR("1"));
	assert_true(str_eq(c.c.parent, STR("0")));
	assert_int_equal(c.sends_n, 1);
	is(c.sends[0].bytes, "send");
	is(member(&b, c.c.checkpoint, "v"), "2");
	bench_release(&b);
}

static void forks_of_what_is_not_there(void **state)
{
	struct bench b;
	struct ckpt_ref ref = {STR(""), STR("none")};
	char id[37];

	bench_init(&b);
	ordinary(&b);
	FAILS(ckpt_fork(b.m, &b.a, &ann, STR("t"), &ref, id), E_NOT_FOUND);
	FAILS(ckpt_fork(b.m, &b.a, &ann, STR("u"), &ref, id), E_NOT_FOUND);
	ref.id = STR("");
	FAILS(ckpt_fork(b.m, &b.a, &other, STR("t"), &ref, id), E_NOT_FOUND);
	FAILS(ckpt_fork(b.m, &b.a, &bound, STR("t"), &ref, id), E_NOT_FOUND);
	FAILS(ckpt_fork(b.m, &b.a, &reader, STR("t"), &ref, id), E_DENIED);
	ck_put(&b, &ann, STR("t"), STR(""), STR("zz"), STR(""), STR("{}"), STR("{}"), NULL, 0);
	FAILS(ckpt_fork(b.m, &b.a, &ann, STR("t"), &ref, id), E_CONFLICT);
	bench_release(&b);
}

/* ---------------------------------------------------------------- update */

static struct ckpt_full update(struct bench *b, const char *values, const char *as_node)
{
	struct ckpt_ref ref = {STR(""), STR("")};
	char id[37];

	OKAY(ckpt_update(b->m, &b->a, &ann, STR("t"), &ref, parsed(&b->a, values), str_c(as_node), id));
	return ck_get(b, "t", "", str_c(id));
}

static void refuses(struct bench *b, const char *values, const char *field, const char *says)
{
	struct ckpt_ref ref = {STR(""), STR("")};
	char id[37];

	FAILS(ckpt_update(b->m, &b->a, &ann, STR("t"), &ref, parsed(&b->a, values), STR(""), id), E_INVALID);
	assert_string_equal(diag_get()->field, field);
	if (!strstr(diag_get()->text, says))
		fail_msg("\"%s\" does not say \"%s\"", diag_get()->text, says);
}

static void an_update_overwrites(void **state)
{
	struct bench b;
	struct str id;

	bench_init(&b);
	id = ordinary(&b);
	struct ckpt_full c = update(&b, "{\"s\":\"b\\\"\",\"list\":[3,{\"k\":[]}],\"new\":null,\"big\":1e17}", "node");
	struct jval versions = json_of(&b, member(&b, c.c.checkpoint, "channel_versions"));
	struct str v = j_str(&b.a, j_get(versions, STR("s")));

	assert_int_equal(v.n, 49);
	assert_memory_equal(v.p, "00000000000000000000000000000003.", 33);
	for (size_t i = 33; i < v.n; i++)
		assert_true(v.p[i] >= '0' && v.p[i] <= '9');
	assert_true(j_str_eq(j_get(versions, STR("list")), v) && j_str_eq(j_get(versions, STR("new")), v));
	assert_true(j_str_eq(j_get(versions, STR("n")), STR(V1)));
	is(member(&b, c.c.checkpoint, "channel_values"), "{\"n\":1,\"new\":null,\"s\":\"b\\\"\"}");
	is(member(&b, c.c.checkpoint, "updated_channels"), "null");
	is(member(&b, c.c.checkpoint, "versions_seen"), "{\"node\":{\"n\":\"" V1 "\"}}");
	is(c.c.metadata, "{\"source\":\"update\",\"step\":4,\"as_node\":\"node\",\"parents\":{\"p\":\"q\"},\"user_id\":\"u\"}");
	assert_true(str_eq(c.c.parent, id));
	assert_int_equal(c.c.values_n, 2);
	is(c.c.values[0].channel, "big");
	assert_memory_equal(c.c.values[0].bytes.p, "\xcb\x43\x76\x34\x57\x85\xd8\xa0\x00", 9);
	is(c.c.values[1].channel, "list");
	is(c.c.values[1].type, "msgpack");
	is(c.c.values[1].bytes, "\x92\x03\x81\xa1k\x90");
	/* What the source has is as it was. */
	is(ck_get(&b, "t", "", id).c.values[0].bytes, "\x92\x01\x02");
	/* A text with U+0000 is none for jsonb. */
	c = update(&b, "{\"s\":\"a\\u0000\"}", "");
	is(member(&b, c.c.checkpoint, "channel_values"), "{\"n\":1,\"new\":null}");
	assert_int_equal(c.c.values_n, 3);
	assert_int_equal(c.c.values[2].bytes.n, 3);
	bench_release(&b);
}

static void what_needs_a_reducer_is_refused(void **state)
{
	struct ckpt_value v[] = {
		{STR("messages"), STR("1"), STR("msgpack"), STR("\x92\x01\xc7\x01\x05\x90")},
		{STR("secret"), STR("1"), STR("msgpack+aes"), STR("xxxx")},
		{STR("snapshot"), STR("1"), STR("msgpack"), STR("\xd5\x07\x91\x01")},
		{STR("js"), STR("1"), STR("json"), STR("[{\"lc\":1,\"type\":\"constructor\",\"id\":[],\"kwargs\":{}}]")},
		{STR("plain"), STR("1"), STR("msgpack"), STR("\x91\x81\xa1k\xc7\x01\x05\x90")}};
	struct bench b;
	struct ckpt_full *rows;

	bench_init(&b);
	ck_put(&b, &ann, STR("t"), STR(""), STR("1"), STR(""),
	       STR("{\"v\":4,\"channel_values\":{\"snapshot\":true},\"channel_versions\":{\"messages\":\"1\",\"secret\":\"1\","
		   "\"snapshot\":\"1\",\"js\":"
		   "\"1\",\"d\":\"1\",\"plain\":\"1\"}}"),
	       STR("{\"counters_since_delta_snapshot\":{\"d\":[1,1]}}"), v, sizeof v / sizeof *v);
	refuses(&b, "{\"messages\":[]}", "/values/messages", "update_state of the graph");
	refuses(&b, "{\"secret\":1}", "/values/secret", "encrypted");
	refuses(&b, "{\"snapshot\":1}", "/values/snapshot", "delta channel");
	refuses(&b, "{\"js\":1}", "/values/js", "messages");
	refuses(&b, "{\"d\":1}", "/values/d", "delta channel");
	refuses(&b, "{\"__start__\":1}", "/values/__start__", "LangGraph's own");
	refuses(&b, "{\"branch:to:x\":1}", "/values/branch:to:x", "LangGraph's own");
	refuses(&b, "{\"n\":[123456789012345678901234567890]}", "/values/n", "64 bits");
	refuses(&b, "[]", "/values", "object");
	assert_int_equal(ck_rows(&b, &ann, "t", NULL, &rows), 1);
	/* Messages deeper inside are nobody's list of messages. */
	update(&b, "{\"plain\":[1]}", "");
	assert_int_equal(ck_rows(&b, &ann, "t", NULL, &rows), 2);
	bench_release(&b);
}

static void threads_of_javascript_get_json(void **state)
{
	struct ckpt_value v = {STR("a"), STR("7"), STR("json"), STR("[1]")};
	struct bench b;

	bench_init(&b);
	ck_put(&b, &ann, STR("t"), STR(""), STR("1"), STR(""), STR("{\"v\":4,\"channel_versions\":{\"a\":7,\"b\":3}}"), STR("{}"),
	       &v, 1);
	struct ckpt_full c = update(&b, "{\"b\":\"x\",\"a\":{\"k\": 1}}", "");
	is(member(&b, c.c.checkpoint, "channel_versions"), "{\"a\":8,\"b\":8}");
	is(member(&b, c.c.checkpoint, "channel_values"), "");
	assert_int_equal(c.c.values_n, 2);
	is(c.c.values[0].type, "json");
	is(c.c.values[0].bytes, "{\"k\": 1}");
	is(c.c.values[0].version, "8");
	is(c.c.values[1].bytes, "\"x\"");
	bench_release(&b);
}

static void a_thread_without_checkpoints_begins(void **state)
{
	struct thread_record r = {.thread = STR("t"), .user = STR(""), .metadata = STR("{}"), .config = STR("")};
	struct ckpt_ref ref = {STR(""), STR("")};
	struct bench b;
	char id[37];

	bench_init(&b);
	FAILS(ckpt_update(b.m, &b.a, &ann, STR("t"), &ref, parsed(&b.a, "{}"), STR(""), id), E_NOT_FOUND);
	OKAY(b.store->ops->threads->put(b.store, &ann, &r, IF_ABSENT));
	struct ckpt_full c = update(&b, "{\"x\":1}", "");
	is(member(&b, c.c.checkpoint, "channel_values"), "{\"x\":1}");
	is(member(&b, c.c.checkpoint, "v"), "4");
	is(c.c.metadata, "{\"source\":\"update\",\"step\":0,\"parents\":{}}");
	assert_int_equal(c.c.parent.n, 0);
	bench_release(&b);
}

/* ---------------------------------------------------------------- msgpack */

static void packs(struct bench *b, const char *json, const char *hex)
{
	struct buf out;
	char got[200];

	buf_init(&out, &b->a, 1 << 20);
	OKAY(msgpack_of_json(&b->a, parsed(&b->a, json), &out));
	assert_true(out.n < 99);
	hex_encode((const uint8_t *)out.p, out.n, got);
	assert_string_equal(got, hex);
}

static void msgpack_byte_for_byte(void **state)
{
	struct bench b;
	struct buf out, json;

	bench_init(&b);
	packs(&b, "null", "c0");
	packs(&b, "[true,false]", "92c3c2");
	packs(&b, "[0,127,128,255,256,65535,65536,4294967295,4294967296]",
	      "99007fcc80ccffcd0100cdffffce00010000ceffffffffcf0000000100000000");
	packs(&b, "[-1,-32,-33,-128,-129,-32768,-32769]", "97ffe0d0dfd080d1ff7fd18000d2ffff7fff");
	packs(&b, "[-2147483648,-2147483649,-9223372036854775808]", "93d280000000d3ffffffff7fffffffd38000000000000000");
	packs(&b, "[9223372036854775807,18446744073709551615]", "92cf7fffffffffffffffcfffffffffffffffff");
	packs(&b, "[1.5,1.0,-0.0,1e2]", "94cb3ff8000000000000cb3ff0000000000000cb8000000000000000cb4059000000000000");
	packs(&b, "\"\xc3\xa9\"", "a2c3a9");
	packs(&b, "\"\"", "a0");
	packs(&b, "{\"a\":{\"b\":[]},\"\\u0000\":\"\"}", "82a16181a16290a100a0");
	packs(&b, "\"1234567890123456789012345678901\"", "bf31323334353637383930313233343536373839303132333435363738393031");
	packs(&b, "\"12345678901234567890123456789012\"", "d9203132333435363738393031323334353637383930313233343536373839303132");
	packs(&b, "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16]", "dc00100102030405060708090a0b0c0d0e0f10");
	/* The long heads. */
	buf_init(&json, &b.a, 1 << 20);
	buf_byte(&json, '"');
	for (int i = 0; i < 70000; i++)
		buf_byte(&json, 'x');
	buf_byte(&json, '"');
	buf_init(&out, &b.a, 1 << 20);
	OKAY(msgpack_of_json(&b.a, json_of(&b, buf_slice(&json)), &out));
	assert_int_equal(out.n, 70005);
	assert_memory_equal(out.p, "\xdb\x00\x01\x11\x70x", 6);
	bench_release(&b);
}

static void looking_for_models(void **state)
{
	assert_true(msgpack_has_models(STR("\x91\xc7\x01\x05\x90")));
	assert_true(msgpack_has_models(STR("\xdc\x00\x02\x82\x01\x02\x03\x92\x01\x02\xd4\x05\x00")));
	assert_false(msgpack_has_models(STR("\x91\x91\xd4\x05\x00")));
	assert_false(msgpack_has_models(STR("\xd4\x05\x00")));
	assert_false(msgpack_has_models(STR("\x90")));
	assert_false(msgpack_has_models(STR("")));
	/* Lengths that are not there. */
	assert_false(msgpack_has_models(STR("\xdd\xff\xff\xff\xff\xdd\xff\xff\xff\xff")));
	assert_false(msgpack_has_models(STR("\x92\xdb\xff\xff\xff\xff\xd4\x05\x00")));
	assert_false(msgpack_has_models(STR("\x92\xdf\xff\xff\xff\xff\xdf\xff\xff\xff\xff\xdf\xff\xff\xff\xff")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_fork_is_the_same_state),
		cmocka_unit_test(a_fork_does_not_take_the_sources_writes),
		cmocka_unit_test(forks_of_what_is_not_there),
		cmocka_unit_test(an_update_overwrites),
		cmocka_unit_test(what_needs_a_reducer_is_refused),
		cmocka_unit_test(threads_of_javascript_get_json),
		cmocka_unit_test(a_thread_without_checkpoints_begins),
		cmocka_unit_test(msgpack_byte_for_byte),
		cmocka_unit_test(looking_for_models),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
