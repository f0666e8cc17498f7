/* UTF-8: every code point there and back, every kind of wrong sequence. */
#include "base/test_util.h"

#include "base/utf8.h"

static void every_code_point(void **state)
{
	for (uint32_t cp = 0; cp <= 0x110010; cp++) {
		bool wrong = (cp >= 0xd800 && cp <= 0xdfff) || cp > 0x10ffff;
		char out[4];
		unsigned n = utf8_put(out, cp);
		size_t i = 0;

		if (wrong) {
			assert_int_equal(n, 0);
			continue;
		}
		assert_int_equal(n, cp < 0x80 ? 1 : cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4);
		assert_int_equal(utf8_next(str_of(out, n), &i), cp);
		assert_int_equal(i, n);
		assert_true(utf8_valid(str_of(out, n)));
		/* Cut off anywhere it is wrong. */
		for (unsigned k = 1; k < n; k++)
			assert_int_equal(utf8_check(str_of(out, k)), 0);
	}
	assert_int_equal(utf8_put((char[4]){0}, UINT32_MAX), 0);
}

static void finds_the_first_wrong_byte(void **state)
{
	static const struct {
		const char *text;
		size_t at;
	} cases[] = {
		{"", 0},
		{"plain ascii that is longer than a word or two", 45},
		{"caf\xc3\xa9", 5},
		{"caf\xc3", 3},
		{"caf\xc3\xa9 and then some more text\xff and more", 29},
		{"\x80", 0},
		{"a\xbf", 1},
		{"\xc0\x80", 0},	     /* overlong NUL */
		{"\xc1\xbf", 0},	     /* overlong ASCII */
		{"\xe0\x80\x80", 0},	     /* overlong */
		{"\xe0\x9f\xbf", 0},	     /* overlong */
		{"\xe0\xa0\x80", 3},	     /* U+0800 */
		{"\xed\x9f\xbf", 3},	     /* U+D7FF */
		{"\xed\xa0\x80", 0},	     /* surrogate */
		{"\xed\xbf\xbf", 0},	     /* surrogate */
		{"\xee\x80\x80", 3},	     /* U+E000 */
		{"\xf0\x80\x80\x80", 0},     /* overlong */
		{"\xf0\x8f\xbf\xbf", 0},     /* overlong */
		{"\xf0\x90\x80\x80", 4},     /* U+10000 */
		{"\xf4\x8f\xbf\xbf", 4},     /* U+10FFFF */
		{"\xf4\x90\x80\x80", 0},     /* above */
		{"\xf5\x80\x80\x80", 0},     /* above */
		{"\xf8\x88\x80\x80\x80", 0}, /* five bytes */
		{"\xe2\x82\xac\xe2\x82", 3}, /* cut */
		{"\xe2\x28\xa1", 0},	     /* second byte is ASCII */
		{"\xe2\x82\x28", 0},	     /* third byte is ASCII */
		{"12345678\xc3\xa9"
		 "12345678\xed\xa0\x80",
		 18},
	};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		assert_int_equal(utf8_check(str_c(cases[i].text)), cases[i].at);
	assert_int_equal(utf8_check(str_of(NULL, 0)), 0);
	assert_int_equal(utf8_check(str_of("a\0b", 3)), 3);
}

static void steps_over_wrong_bytes(void **state)
{
	struct str s = STR("a\xff\xc3\xa9\xc3");
	size_t i = 0;

	assert_int_equal(utf8_next(s, &i), 'a');
	assert_int_equal(utf8_next(s, &i), -1);
	assert_int_equal(utf8_next(s, &i), 0xe9);
	assert_int_equal(utf8_next(s, &i), -1);
	assert_int_equal(i, s.n);
}

static void cuts_between_characters(void **state)
{
	struct str s = STR("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z");
	static const size_t want[] = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 11, 11};

	for (size_t n = 0; n < sizeof want / sizeof want[0]; n++)
		assert_int_equal(utf8_cut(s, n).n, want[n]);
	/* What is no UTF-8 is cut at the byte. */
	assert_int_equal(utf8_cut(STR("\x80\x80\x80\x80\x80\x80\x80\x80"), 6).n, 6);
	assert_int_equal(utf8_cut(str_of(NULL, 0), 5).n, 0);
}

static void knows_what_is_not_seen(void **state)
{
	static const int32_t acting[] = {0x7f, 0x85, 0x9f, 0x61c, 0x200e, 0x2028, 0x202e, 0x2066, 0x2069, 0xfff9};
	static const int32_t unseen[] = {0xad,	 0x34f,	  0x115f,  0x17b5,  0x180b,  0x180e, 0x200b, 0x200c,
					 0x200d, 0x2060,  0x2064,  0x206f,  0x3164,  0xfe00, 0xfe0f, 0xfeff,
					 0xffa0, 0x1bca0, 0x1d173, 0xe0001, 0xe007f, 0xe01ef};
	static const int32_t seen[] = {-1,     'a',    ' ',    0xa0,   0xac,	0xe9,	 0x61b,	  0x600,
				       0x1161, 0x180a, 0x200a, 0x2010, 0x2027,	0x202f,	 0x205f,  0x2070,
				       0x20ac, 0xfdff, 0xfe10, 0xfffd, 0x1f600, 0xe1000, 0x10ffff};
	(void)state;

	for (size_t i = 0; i < sizeof acting / sizeof *acting; i++)
		assert_true(utf8_acts(acting[i]) && utf8_unseen(acting[i]));
	for (size_t i = 0; i < sizeof unseen / sizeof *unseen; i++)
		assert_true(!utf8_acts(unseen[i]) && utf8_unseen(unseen[i]));
	for (size_t i = 0; i < sizeof seen / sizeof *seen; i++)
		assert_false(utf8_acts(seen[i]) || utf8_unseen(seen[i]));
	/* What acts is never seen. */
	for (int32_t cp = 0; cp <= 0x10ffff; cp++)
		assert_true(!utf8_acts(cp) || utf8_unseen(cp));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_code_point),	  cmocka_unit_test(finds_the_first_wrong_byte),
		cmocka_unit_test(steps_over_wrong_bytes), cmocka_unit_test(cuts_between_characters),
		cmocka_unit_test(knows_what_is_not_seen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
