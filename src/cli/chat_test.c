/* What a terminal gets to see of what others say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "cli/chat.h"

static struct arena a;

static struct str cleaned(struct str s)
{
	struct buf b;

	buf_init(&b, &a, 1 << 20);
	chat_clean(&b, s);
	assert_int_equal(b.err, OK);
	return buf_slice(&b);
}

static struct str line(struct str s, size_t width)
{
	struct buf b;

	buf_init(&b, &a, 1 << 20);
	chat_clean_line(&b, s, width);
	assert_int_equal(b.err, OK);
	return buf_slice(&b);
}

static void assert_str(struct str got, const char *want)
{
	assert_int_equal(got.n, strlen(want));
	assert_memory_equal(got.p ? got.p : "", want, got.n);
}

static void test_controls_become_blanks(void **state)
{
	(void)state;
	assert_str(cleaned(STR("a\tb\r\nc")), "a\tb\nc");
	assert_str(cleaned(STR("\033]0;title\007x\177y\b")), " ]0;title x y ");
	assert_str(cleaned(str_of("a\0b", 3)), "a b");
	assert_str(cleaned(STR("\xc2\x9b"
			       "31m \xc2\xa0 \xe2\x80\xae \xe2\x81\xa6")),
		   " 31m \xc2\xa0    ");
	assert_str(cleaned(STR("Gr\xc3\xbc\xc3\x9f"
			       "e \xf0\x9f\x8c\x89")),
		   "Gr\xc3\xbc\xc3\x9f"
		   "e \xf0\x9f\x8c\x89");
	/* Bytes that are no UTF-8, a C1 control as one byte among them. */
	assert_str(cleaned(STR("\x9b"
			       "31m\xff\xc3")),
		   " 31m  ");
}

static void test_lines_are_cut(void **state)
{
	(void)state;
	assert_str(line(STR("  two\nlines\tand\x1b more "), 0), "two lines and  more");
	assert_str(line(STR("\xc3\xa4\xc3\xb6\xc3\xbc"), 3), "\xc3\xa4\xc3\xb6\xc3\xbc");
	assert_str(line(STR("\xc3\xa4\xc3\xb6\xc3\xbcx"), 3), "\xc3\xa4\xc3\xb6\xe2\x80\xa6");
	assert_str(line(STR(""), 1), "");
}

static void test_json_says_the_same(void **state)
{
	struct json doc;
	struct buf b;
	struct str raw = STR("{\"t\":\"\x7f \xc2\x9b \xe2\x80\xae \xc3\xbc \\u001b\"}");

	(void)state;
	buf_init(&b, &a, 1 << 20);
	chat_clean_json(&b, raw);
	assert_str(buf_slice(&b), "{\"t\":\"\\u007f \\u009b \\u202e \xc3\xbc \\u001b\"}");
	assert_int_equal(json_parse(&a, buf_slice(&b), NULL, &doc), OK);
	assert_str(j_str(&a, j_get(json_root(&doc), STR("t"))), "\x7f \xc2\x9b \xe2\x80\xae \xc3\xbc \x1b");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_controls_become_blanks), cmocka_unit_test(test_lines_are_cut),
					   cmocka_unit_test(test_json_says_the_same)};
	int rc;

	arena_init(&a, 16 << 20);
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	arena_release(&a);
	return rc;
}
