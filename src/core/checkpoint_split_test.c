/* Checkpoints of LangGraph's SQLite savers taken apart: which values stay JSON, which become bytes, under which version; and what
 * is refused with which words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "core/checkpoint_split.h"

static struct arena arena;

static int setup(void **state)
{
	arena_init(&arena, (size_t)256 << 20);
	return 0;
}

static int teardown(void **state)
{
	arena_release(&arena);
	return 0;
}

static struct ckpt_split split(const char *type, struct str blob)
{
	struct ckpt_split out;

	if (ckpt_split(&arena, str_c(type), blob, &out) != OK)
		fail_msg("%s", diag_get()->text);
	return out;
}

static void is_json(struct str got, const char *want)
{
	if (!str_eq(got, str_c(want)))
		fail_msg("%.*s, wanted %s", STR_ARG(got), want);
}

static void is_value(const struct ckpt_split *s, size_t i, const char *channel, const char *version, const char *type,
		     struct str bytes)
{
	assert_true(i < s->values_n);
	assert_true(str_eq(s->values[i].channel, str_c(channel)));
	assert_true(str_eq(s->values[i].version, str_c(version)));
	assert_true(str_eq(s->values[i].type, str_c(type)));
	assert_true(str_eq(s->values[i].bytes, bytes));
}

/* {"channel_values": {c: VALUE}, "channel_versions": {c: "1"}} */
#define ONE(value) STR("\202\256channel_values\201\241c" value "\260channel_versions\201\241c\2411")
#define INLINE(text) "{\"channel_values\":{\"c\":" text "},\"channel_versions\":{\"c\":\"1\"}}"
#define APART "{\"channel_values\":{},\"channel_versions\":{\"c\":\"1\"}}"

static void scalars(void **state)
{
	static const struct {
		struct str blob;
		const char *want;
		struct str bytes; /* of the value; n 0: it stays in the JSON */
	} t[] = {
		{ONE("\300"), INLINE("null"), {0}},
		{ONE("\303"), INLINE("true"), {0}},
		{ONE("\007"), INLINE("7"), {0}},
		{ONE("\377"), INLINE("-1"), {0}},
		{ONE("\317\177\377\377\377\377\377\377\377"), INLINE("9223372036854775807"), {0}},
		{ONE("\317\200\000\000\000\000\000\000\000"), APART, STR("\317\200\000\000\000\000\000\000\000")},
		{ONE("\313\077\370\000\000\000\000\000\000"), INLINE("1.5"), {0}},
		/* A whole float stays a float for who reads the JSON. */
		{ONE("\313\100\000\000\000\000\000\000\000"), INLINE("2.0"), {0}},
		{ONE("\313\200\000\000\000\000\000\000\000"), APART, STR("\313\200\000\000\000\000\000\000\000")}, /* -0.0 */
		{ONE("\313\103\101\303\171\067\340\200\000"), APART, STR("\313\103\101\303\171\067\340\200\000")}, /* 1e16 */
		{ONE("\313\177\370\000\000\000\000\000\000"), APART, STR("\313\177\370\000\000\000\000\000\000")}, /* NaN */
		{ONE("\242\303\251"), INLINE("\"\303\251\""), {0}},
		{ONE("\242a\000"), APART, STR("\242a\000")},
		{ONE("\241\377"), APART, STR("\241\377")},
	};

	for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
		struct ckpt_split s = split("msgpack", t[i].blob);

		is_json(s.checkpoint, t[i].want);
		assert_int_equal(s.values_n, t[i].bytes.n > 0);
		if (t[i].bytes.n)
			is_value(&s, 0, "c", "1", "msgpack", t[i].bytes);
	}
}

static void containers(void **state)
{
	struct ckpt_split s = split("msgpack", ONE("\222\001\221\300"));

	is_json(s.checkpoint, APART);
	is_value(&s, 0, "c", "1", "msgpack", STR("\222\001\221\300"));
	s = split("msgpack", ONE("\304\003a\000b"));
	is_json(s.checkpoint, APART);
	is_value(&s, 0, "c", "1", "bytes", STR("a\000b"));
	s = split("msgpack", ONE("\325\007\221\001"));
	is_json(s.checkpoint, INLINE("true"));
	is_value(&s, 0, "c", "1", "msgpack", STR("\325\007\221\001"));
	s = split("msgpack", ONE("\324\052\001"));
	is_json(s.checkpoint, APART);
	is_value(&s, 0, "c", "1", "msgpack", STR("\324\052\001"));
}

/* Versions may be numbers and may stand behind the values; members nobody knows stay; without a version a value stays JSON. */
static void whole(void **state)
{
	struct ckpt_split s =
		split("msgpack",
		      STR("\207\241v\001\242id\241x\256channel_values\203\241a\221\001\241b\221\002\241c\201\241k\220\260channel_"
			  "versions\202\241a\003\241b\313\100\004\000\000\000\000\000\000\255versions_"
			  "seen\201\241n\201\241a\002\255pending_sends\220\241z\222\302\313\077\360\000\000\000\000\000\000"));

	is_json(s.checkpoint, "{\"v\":1,\"id\":\"x\",\"channel_values\":{\"c\":{\"k\":[]}},\"channel_versions\":{\"a\":3,\"b\":2.5}"
			      ",\"versions_seen\":{\"n\":{\"a\":2}},\"pending_sends\":[],\"z\":[false,1.0]}");
	assert_int_equal(s.values_n, 2);
	is_value(&s, 0, "a", "3", "msgpack", STR("\221\001"));
	is_value(&s, 1, "b", "2.5", "msgpack", STR("\221\002"));
}

static void json_checkpoints(void **state)
{
	/* A lone surrogate and NaN stay in values as they were. */
	struct ckpt_split s =
		split("json",
		      STR("{\"v\": 4, \"channel_values\": {\"m\": [ {\"lc\":1, \"t\":\"\\ud83d \\ud83d\\ude00\"} ], \"n\": NaN, "
			  "\"w\": \"x\\ud800\\u0000\"}, \"channel_versions\": {\"m\": 2, \"n\": \"1.5\"}, \"versions_seen\": {}}"));

	is_json(s.checkpoint, "{\"v\":4,\"channel_values\":{\"w\":\"x\\ufffd\"},\"channel_versions\":{\"m\": 2, \"n\": "
			      "\"1.5\"},\"versions_seen\":{}}");
	assert_int_equal(s.values_n, 2);
	is_value(&s, 0, "m", "2", "json", STR("[ {\"lc\":1, \"t\":\"\\ud83d \\ud83d\\ude00\"} ]"));
	is_value(&s, 1, "n", "1.5", "json", STR("NaN"));
	is_json(split("json", STR("{\"channel_values\":null}")).checkpoint, "{\"channel_values\":null}");
}

static void metadata(void **state)
{
	static const struct {
		const char *in, *out;
	} t[] = {
		{"", "{}"},
		{"{\"step\": -1, \"x\": 1.0}", "{\"step\": -1, \"x\": 1.0}"},
		{"{\"a\":NaN,\"b\":[-Infinity,Infinity,-2]}", "{\"a\":null,\"b\":[null,null,-2]}"},
		{"{\"NaN\":\"NaN \\\" NaN -Infinity\"}", "{\"NaN\":\"NaN \\\" NaN -Infinity\"}"},
		{"{\"a\":\"\\u0000b\\\\u0000\\uD83D\\uDE00\\uD83D\\uD83D\\u0041\"}",
		 "{\"a\":\"b\\\\u0000\\uD83D\\uDE00\\ufffd\\ufffd\\u0041\"}"},
	};
	struct str out;

	for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
		if (ckpt_split_metadata(&arena, str_c(t[i].in), &out) != OK)
			fail_msg("%s: %s", t[i].in, diag_get()->text);
		is_json(out, t[i].out);
	}
	assert_int_equal(ckpt_split_metadata(&arena, STR("[]"), &out), E_INVALID);
	assert_int_equal(ckpt_split_metadata(&arena, STR("{\"a\":-1Infinity}"), &out), E_INVALID);
	assert_int_equal(ckpt_split_metadata(&arena, STR("{\"a\":NaN5}"), &out), E_INVALID);
	assert_int_equal(ckpt_split_metadata(&arena, STR("{\"a\":\"\\"), &out), E_INVALID);
	assert_int_equal(ckpt_split_metadata(&arena, STR("{\"a\":\377}"), &out), E_INVALID);
}

static void refusals(void **state)
{
	static const struct {
		const char *type;
		struct str blob;
		const char *why;
	} t[] = {
		{"msgpack+aes", STR("\200"), "encrypted"},
		{"pickle", STR("\200"), "pickle"},
		{"", STR("\200"), "of type \"\""},
		{"msgpack", STR(""), "cut off"},
		{"msgpack", STR("\220"), "no map"},
		{"msgpack", STR("\200\200"), "follows"},
		{"msgpack", STR("\201\001\002"), "key"},
		{"msgpack", STR("\202\241a\001\241a\001"), "twice"},
		{"msgpack", STR("\201\241v\324\001\001"), "v: a value that JSON does not have"},
		{"msgpack", STR("\201\241v\312\177\200\000\000"), "number"},
		{"msgpack", STR("\201\241v\201\001\001"), "key"},
		{"msgpack", STR("\201\256channel_values\221\001"), "channel_values is no map"},
		{"msgpack", STR("\201\256channel_values\201\241c\324\007\001"), "channel c has no version"},
		{"msgpack", STR("\201\256channel_values\201\241c\222\001"), "left"},
		{"json", STR("[]"), "no object"},
		{"json", STR("{\"channel_values\":3}"), "channel_values"},
		{"json", STR("{"), ""},
	};
	struct ckpt_split out;

	for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
		if (ckpt_split(&arena, str_c(t[i].type), t[i].blob, &out) == OK)
			fail_msg("%zu was accepted", i);
		if (!strstr(diag_get()->text, t[i].why))
			fail_msg("%zu: %s, wanted %s", i, diag_get()->text, t[i].why);
	}
}

static void deep(void **state)
{
	char blob[3 + 2000];
	struct ckpt_split out;

	memcpy(blob, "\201\241v", 3);
	memset(blob + 3, 0x91, 1999);
	blob[3 + 1999] = 1;
	assert_int_equal(ckpt_split(&arena, STR("msgpack"), str_of(blob, sizeof blob), &out), E_LIMIT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(scalars, setup, teardown),
		cmocka_unit_test_setup_teardown(containers, setup, teardown),
		cmocka_unit_test_setup_teardown(whole, setup, teardown),
		cmocka_unit_test_setup_teardown(json_checkpoints, setup, teardown),
		cmocka_unit_test_setup_teardown(metadata, setup, teardown),
		cmocka_unit_test_setup_teardown(refusals, setup, teardown),
		cmocka_unit_test_setup_teardown(deep, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
