#include "core/testing.h"

static void from_json(void **state)
{
	static const struct {
		const char *json, *text, *field; /* field: of the refusal, then text is NULL */
	} rows[] = {
		{"[]", "", NULL},
		{"[\"a\"]", "a", NULL},
		{"[\"a\",\"b c\",\"\xc3\xa9\"]", "a.b c.\xc3\xa9", NULL},
		{"[\"a\",\"*\"]", "a.*", NULL},
		{"[\"%_\\\\\"]", "%_\\", NULL},
		{"[\"a\",\"\"]", NULL, "/namespace/1"},
		{"[\"a.b\"]", NULL, "/namespace/0"},
		{"[\"a\\u0000\"]", NULL, "/namespace/0"},
		{"[1]", NULL, "/namespace/0"},
		{"[null]", NULL, "/namespace/0"},
		{"[[\"a\"]]", NULL, "/namespace/0"},
		{"\"a\"", NULL, "/namespace"},
		{"{}", NULL, "/namespace"},
	};
	struct arena a;

	arena_init(&a, 1 << 20);
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct str ns;
		enum err e = ns_from_json(&a, parsed(&a, rows[i].json), "/namespace", &ns);

		if (rows[i].text) {
			OKAY(e);
			assert_true(str_eq(ns, str_c(rows[i].text)));
		} else {
			FAILS(e, E_INVALID);
			assert_string_equal(diag_get()->field, rows[i].field);
		}
	}
	FAILS(ns_from_json(&a, (struct jval){0}, "/namespace", &(struct str){0}), E_INVALID);
	arena_release(&a);
}

static void text_is_checked(void **state)
{
	static const char *const bad[] = {".", "a.", ".a", "a..b", "a\xff", "\xed\xa0\x80"};

	OKAY(ns_check(STR("a"), "ns", false));
	OKAY(ns_check(STR("a.b.c"), "ns", false));
	OKAY(ns_check(STR(""), "ns", true));
	FAILS(ns_check(STR(""), "ns", false), E_INVALID);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		FAILS(ns_check(str_c(bad[i]), "ns", true), E_INVALID);
	FAILS(ns_check(str_of("a\0", 2), "ns", true), E_INVALID);
}

static void sizes(void **state)
{
	struct arena a;
	struct buf b;

	arena_init(&a, 1 << 20);
	for (int n = NS_MAX_LABELS; n <= NS_MAX_LABELS + 1; n++) {
		buf_init(&b, &a, 1 << 16);
		for (int i = 0; i < n; i++)
			buf_lit(&b, i ? ".l" : "l");
		FAILS(ns_check(buf_slice(&b), "ns", false), n > NS_MAX_LABELS ? E_INVALID : OK);
	}
	for (size_t n = 256; n <= 257; n++) {
		char label[300];

		memset(label, 'x', n);
		FAILS(ns_check(str_of(label, n), "ns", false), n > 256 ? E_INVALID : OK);
	}
	buf_init(&b, &a, 1 << 16);
	for (int i = 0; i < 9; i++) {
		if (i)
			buf_byte(&b, '.');
		for (int j = 0; j < 240; j++)
			buf_byte(&b, 'x');
	}
	FAILS(ns_check(buf_slice(&b), "ns", false), E_INVALID);
	arena_release(&a);
}

static void back_to_json(void **state)
{
	static const struct {
		const char *text, *json;
	} rows[] = {{"", "[]"}, {"a", "[\"a\"]"}, {"a.b.c", "[\"a\",\"b\",\"c\"]"}, {"q\"uote.x", "[\"q\\\"uote\",\"x\"]"}};
	struct arena a;

	arena_init(&a, 1 << 20);
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct buf b;
		struct jw w;

		buf_init(&b, &a, 4096);
		jw_init(&w, &b);
		ns_to_json(&w, str_c(rows[i].text));
		assert_true(str_eq(buf_slice(&b), str_c(rows[i].json)));
	}
	arena_release(&a);
}

static void keys(void **state)
{
	char long_key[KEY_MAX_BYTES + 1];

	memset(long_key, 'k', sizeof long_key);
	OKAY(key_check(STR("a.b/c d"), "key"));
	OKAY(key_check(str_of(long_key, KEY_MAX_BYTES), "key"));
	FAILS(key_check(str_of(long_key, KEY_MAX_BYTES + 1), "key"), E_INVALID);
	FAILS(key_check(STR(""), "key"), E_INVALID);
	FAILS(key_check(str_of("a\0b", 3), "key"), E_INVALID);
	FAILS(key_check(STR("\xff"), "key"), E_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(from_json), cmocka_unit_test(text_is_checked),
		cmocka_unit_test(sizes),     cmocka_unit_test(back_to_json),
		cmocka_unit_test(keys),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
