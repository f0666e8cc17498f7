/* What is JSON and what is not: one line per case. An accepted text must also survive being written again. */
#include "base/test_util.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/json/json.h"

struct json_case {
	const char *p;
	size_t n;
};
#define C(lit)                                                                                                                     \
	{                                                                                                                          \
		(lit), sizeof(lit) - 1                                                                                             \
	}

static const struct json_case accepted[] = {
	/* words */
	C("null"),
	C("true"),
	C("false"),
	/* whitespace */
	C(" null"),
	C("null "),
	C("\t\n\r null\r\n\t "),
	C("[ ]"),
	C("{ }"),
	C("[\n]"),
	C("{\t}"),
	C(" [ 1 , 2 ] "),
	C(" { \"a\" : 1 , \"b\" : 2 } "),
	C("[1,\n2\r\n,\t3]"),
	C("{\"a\"\n:\n1}"),
	/* numbers */
	C("0"),
	C("-0"),
	C("1"),
	C("-1"),
	C("10"),
	C("123456789012345678901234567890"),
	C("-9223372036854775808"),
	C("18446744073709551615"),
	C("18446744073709551616"),
	C("0.0"),
	C("0.5"),
	C("-0.5"),
	C("1.25"),
	C("1.000000000000000000000000000001"),
	C("0e0"),
	C("0e1"),
	C("0e+1"),
	C("0e-1"),
	C("0E5"),
	C("1e5"),
	C("1E5"),
	C("1e+5"),
	C("1e-5"),
	C("1E+05"),
	C("1e00"),
	C("-1.5e10"),
	C("1.5E-10"),
	C("1e400"),
	C("-1e400"),
	C("1e-400"),
	C("1e99999999999999999999999999"),
	C("123e-10000000"),
	C("2.2250738585072011e-308"),
	C("4.9e-324"),
	C("1.7976931348623157e308"),
	C("0.1e1"),
	C("[-0,-0.0,0.00]"),
	C("[1.0,10.01]"),
	C("20e1"),
	/* strings */
	C("\"\""),
	C("\"a\""),
	C("\"a b\""),
	C("\"\\\"\""),
	C("\"\\\\\""),
	C("\"\\/\""),
	C("\"/\""),
	C("\"\\b\\f\\n\\r\\t\""),
	C("\"\\u0000\""),
	C("\"\\u001f\""),
	C("\"\\u0041\""),
	C("\"\\u00e9\""),
	C("\"\\u00E9\""),
	C("\"\\uFFFF\""),
	C("\"\\ufffe\""),
	C("\"\\uFDD0\""),
	C("\"\\ud7ff\""),
	C("\"\\ue000\""),
	C("\"\\ud83d\\ude00\""),
	C("\"\\uD83D\\uDE00\""),
	C("\"\\ud800\\udc00\""),
	C("\"\\udbff\\udfff\""),
	C("\"a\\ud83d\\ude00b\""),
	C("\"\\u0022\""),
	C("\"\\u005c\""),
	C("\"\\\\u0041\""),
	C("\"\\\\\\\\\""),
	C("\"\\\\\\\"\""),
	C("\"\x7f\""),
	C("\"\xc2\x80\""),
	C("\"\xc3\xa9\""),
	C("\"\xdf\xbf\""),
	C("\"\xe0\xa0\x80\""),
	C("\"\xe2\x82\xac\""),
	C("\"\xed\x9f\xbf\""),
	C("\"\xee\x80\x80\""),
	C("\"\xef\xbf\xbd\""),
	C("\"\xef\xbf\xbf\""),
	C("\"\xef\xbb\xbf\""),
	C("\"\xf0\x90\x80\x80\""),
	C("\"\xf0\x9f\x98\x80\""),
	C("\"\xf4\x8f\xbf\xbf\""),
	C("\"\xe2\x80\xa8\""),
	C("\"\xe2\x80\xa9\""),
	C("\"a string of more than sixteen bytes, so that the fast path is taken\""),
	C("\"a string of more than sixteen bytes \xc3\xa9 with an accent in the middle\""),
	C("\"a string of more than sixteen bytes \\n with an escape in the middle\""),
	C("\"0123456789abcde\""),
	C("\"0123456789abcdef\""),
	C("\"0123456789abcdefg\""),
	C("\"\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e\""),
	/* arrays */
	C("[]"),
	C("[null]"),
	C("[1,2,3]"),
	C("[[]]"),
	C("[[],[]]"),
	C("[[[[[]]]]]"),
	C("[{}]"),
	C("[\"a\",null,true,false,1,{},[]]"),
	C("[1,1,1]"),
	/* objects */
	C("{}"),
	C("{\"\":0}"),
	C("{\"a\":null}"),
	C("{\"a\":1,\"b\":2}"),
	C("{\"a\":{\"a\":{\"a\":{}}}}"),
	C("{\"a\":[],\"b\":{}}"),
	C("{\"a\":1,\"A\":2}"),
	C("{\"a\":1,\"a \":2}"),
	C("{\"\\u0061\":1,\"b\":2}"),
	C("{\"a\\u0000b\":1,\"a\":2}"),
	C("{\"\xc3\xa9\":1,\"e\\u0301\":2}"),
	C("{\"k1\":1,\"k2\":2,\"k3\":3,\"k4\":4,\"k5\":5,\"k6\":6,\"k7\":7,\"k8\":8,\"k9\":9,\"k10\":10,\"k11\":11,\"k12\":12,"
	  "\"k13\":13,\"k14\":14,\"k15\":15,\"k16\":16,\"k17\":17}"),
	C("{\"x\":{\"a\":1},\"y\":{\"a\":1}}"),
	C("[{\"a\":1},{\"a\":1}]"),
	C("{\"__proto__\":1,\"constructor\":2}"),
};

static const struct json_case refused[] = {
	/* nothing, or not one value */
	C(""),
	C(" "),
	C("\n"),
	C("\0"),
	C("null null"),
	C("1 2"),
	C("[] []"),
	C("{}{}"),
	C("[]x"),
	C("null,"),
	C(",null"),
	C("1]"),
	C("]"),
	C("}"),
	C(":"),
	C(","),
	C("null\0"),
	C("\"a\"\"b\""),
	/* byte order marks and other encodings */
	C("\xef\xbb\xbfnull"),
	C("\xef\xbb\xbf{}"),
	C("\xff\xfe{\0}\0"),
	C("\xfe\xff\0{\0}"),
	C("{\0}\0"),
	/* whitespace that is none */
	C("\vnull"),
	C("\fnull"),
	C("\xc2\xa0null"),
	C("\xe2\x80\xa8null"),
	C("[1\f]"),
	C("\xe2\x81\xa0null"),
	/* words */
	C("nul"),
	C("nulll"),
	C("Null"),
	C("NULL"),
	C("tru"),
	C("truee"),
	C("True"),
	C("fals"),
	C("False"),
	C("n"),
	C("t"),
	C("f"),
	C("[nul]"),
	C("[truth]"),
	C("undefined"),
	C("NaN"),
	C("nan"),
	C("Infinity"),
	C("-Infinity"),
	C("inf"),
	C("None"),
	C("a"),
	/* numbers */
	C("-"),
	C("+"),
	C("+1"),
	C("--1"),
	C("-+1"),
	C("01"),
	C("00"),
	C("-01"),
	C("-00"),
	C("007"),
	C("012.5"),
	C("1."),
	C("0."),
	C("-1."),
	C(".5"),
	C("-.5"),
	C("1.e5"),
	C(".e1"),
	C("1e"),
	C("1e+"),
	C("1e-"),
	C("1E"),
	C("0e"),
	C("1.5e"),
	C("1e5.5"),
	C("1e+-5"),
	C("1ee5"),
	C("1.2.3"),
	C("1..2"),
	C("0x10"),
	C("0b1"),
	C("0o7"),
	C("1_000"),
	C("1,000"),
	C("1 000"),
	C("1f"),
	C("1a"),
	C("-a"),
	C("- 1"),
	C("1e 5"),
	C("[1.]"),
	C("[01]"),
	C("[-]"),
	C("\xef\xbc\x91"),
	/* strings: delimiters */
	C("\""),
	C("\"a"),
	C("a\""),
	C("'a'"),
	C("`a`"),
	C("\"a\\\""),
	C("\"\\\\\\\""),
	C("[\"a]"),
	C("\"a\nb\""),
	C("\"a\rb\""),
	C("\"a\tb\""),
	C("\"\0\""),
	C("\"a\0b\""),
	C("\"\x01\""),
	C("\"\x1f\""),
	C("\"\x08\""),
	C("\"0123456789abcdef\n0123456789abcdef\""),
	C("\"0123456789abcdef0123456789abcdef"),
	/* strings: escapes */
	C("\"\\\""),
	C("\"\\"),
	C("\"\\a\""),
	C("\"\\v\""),
	C("\"\\0\""),
	C("\"\\x41\""),
	C("\"\\'\""),
	C("\"\\ \""),
	C("\"\\\n\""),
	C("\"\\\0\""),
	C("\"\\B\""),
	C("\"\\N\""),
	C("\"\\U0041\""),
	C("\"\\u\""),
	C("\"\\u0\""),
	C("\"\\u00\""),
	C("\"\\u004\""),
	C("\"\\u004"),
	C("\"\\u"),
	C("\"\\u004g\""),
	C("\"\\u 041\""),
	C("\"\\u+041\""),
	C("\"\\u-041\""),
	C("\"\\u{41}\""),
	C("\"\\u004\xc3\xa9\""),
	C("\"\\\xc3\xa9\""),
	/* strings: surrogates */
	C("\"\\ud800\""),
	C("\"\\udbff\""),
	C("\"\\udc00\""),
	C("\"\\udfff\""),
	C("\"\\ud83d\""),
	C("\"\\ude00\\ud83d\""),
	C("\"\\ud83d\\ud83d\""),
	C("\"\\ud83dx\""),
	C("\"\\ud83d\\n\""),
	C("\"\\ud83d\\u0041\""),
	C("\"\\ud83d\\u\""),
	C("\"\\ud83d\\ude0\""),
	C("\"\\ud83d\\ude0g\""),
	C("\"\\ud83d ude00\""),
	C("\"\\ud83d\\\\ude00\""),
	C("\"\\ud83d"),
	C("\"\\ud83d\\"),
	C("\"\\ud83d\\u"),
	C("{\"\\ud800\":1}"),
	/* strings: UTF-8 */
	C("\"\x80\""),
	C("\"\xbf\""),
	C("\"\xc3\""),
	C("\"\xc3"),
	C("\"\xc3\xc3\""),
	C("\"\xc3\xa9\xa9\""),
	C("\"\xc0\x80\""),
	C("\"\xc0\xaf\""),
	C("\"\xc1\xbf\""),
	C("\"\xe0\x80\x80\""),
	C("\"\xe0\x80\xaf\""),
	C("\"\xe0\x9f\xbf\""),
	C("\"\xe2\x82\""),
	C("\"\xe2\x82"),
	C("\"\xe2\""),
	C("\"\xe2\x28\xa1\""),
	C("\"\xed\xa0\x80\""),
	C("\"\xed\xad\xbf\""),
	C("\"\xed\xb0\x80\""),
	C("\"\xed\xbf\xbf\""),
	C("\"\xed\xa0\xbd\xed\xb8\x80\""),
	C("\"\xf0\x80\x80\x80\""),
	C("\"\xf0\x8f\xbf\xbf\""),
	C("\"\xf0\x9f\x98\""),
	C("\"\xf0\x9f\""),
	C("\"\xf0\""),
	C("\"\xf4\x90\x80\x80\""),
	C("\"\xf5\x80\x80\x80\""),
	C("\"\xf7\xbf\xbf\xbf\""),
	C("\"\xf8\x88\x80\x80\x80\""),
	C("\"\xfc\x84\x80\x80\x80\x80\""),
	C("\"\xfe\""),
	C("\"\xff\""),
	C("\"0123456789abcdef0123456789\xff\""),
	C("\"\xe9\""),
	C("{\"\xff\":1}"),
	C("[\xff]"),
	C("\xc3\xa9"),
	/* arrays */
	C("["),
	C("[1"),
	C("[1,"),
	C("[,"),
	C("[,]"),
	C("[1,]"),
	C("[,1]"),
	C("[1,,2]"),
	C("[1 2]"),
	C("[1;2]"),
	C("[1:2]"),
	C("[\"a\":1]"),
	C("[1}"),
	C("[[]"),
	C("[]]"),
	C("[1,2"),
	C("[null"),
	C("(1)"),
	C("[...]"),
	C("[*]"),
	C("[1,[2}]"),
	/* objects */
	C("{"),
	C("{\"a\""),
	C("{\"a\":"),
	C("{\"a\":1"),
	C("{\"a\":1,"),
	C("{,}"),
	C("{\"a\"}"),
	C("{\"a\":}"),
	C("{:1}"),
	C("{\"a\":1,}"),
	C("{,\"a\":1}"),
	C("{\"a\":1,,\"b\":2}"),
	C("{\"a\" 1}"),
	C("{\"a\":1 \"b\":2}"),
	C("{\"a\":1;\"b\":2}"),
	C("{\"a\"::1}"),
	C("{\"a\":1:2}"),
	C("{\"a\",\"b\"}"),
	C("{\"a\"=1}"),
	C("{\"a\":1]"),
	C("{a:1}"),
	C("{'a':1}"),
	C("{1:1}"),
	C("{null:1}"),
	C("{true:1}"),
	C("{[]:1}"),
	C("{{}:1}"),
	C("{\"a\":1}}"),
	C("{\"a\":{}"),
	C("{\"a\":1 2}"),
	C("{{}}"),
	/* what other languages allow */
	C("// c\nnull"),
	C("null // c"),
	C("/* c */ null"),
	C("[1 /* c */]"),
	C("# c\nnull"),
	C("{\"a\":1} // c"),
	C("[1,2,3,]"),
	C("{\"a\":+1}"),
	C("[1,\\u002c2]"),
	C("\\u005b]"),
	C("<null/>"),
	C("--- null"),
	/* duplicate keys */
	C("{\"a\":1,\"a\":1}"),
	C("{\"a\":1,\"a\":2}"),
	C("{\"a\":1,\"b\":2,\"a\":3}"),
	C("{\"\":1,\"\":2}"),
	C("{\"a\":1,\"\\u0061\":2}"),
	C("{\"\\u0061\":1,\"a\":2}"),
	C("{\"\\u0061\":1,\"\\u0061\":2}"),
	C("{\"/\":1,\"\\/\":2}"),
	C("{\"\xc3\xa9\":1,\"\\u00e9\":2}"),
	C("{\"\xf0\x9f\x98\x80\":1,\"\\ud83d\\ude00\":2}"),
	C("{\"x\":{\"a\":1,\"a\":2}}"),
	C("[{\"a\":1,\"a\":2}]"),
	C("{\"k1\":1,\"k2\":2,\"k3\":3,\"k4\":4,\"k5\":5,\"k6\":6,\"k7\":7,\"k8\":8,\"k9\":9,\"k10\":10,\"k11\":11,\"k12\":12,"
	  "\"k13\":13,\"k14\":14,\"k15\":15,\"k16\":16,\"k17\":17,\"k1\":18}"),
	C("{\"k1\":1,\"k2\":2,\"k3\":3,\"k4\":4,\"k5\":5,\"k6\":6,\"k7\":7,\"k8\":8,\"k9\":9,\"k10\":10,\"k11\":11,\"k12\":12,"
	  "\"k13\":13,\"k14\":14,\"k15\":15,\"k16\":16,\"k17\":17,\"k\\u0031\\u0037\":18}"),
};

/* An exact copy on the heap: reading one byte too far is seen by the sanitizers. */
static char *exact(const struct json_case *c)
{
	char *copy = malloc(c->n ? c->n : 1);

	assert_non_null(copy);
	memcpy(copy, c->p, c->n);
	return copy;
}

static void accepts(void **state)
{
	struct arena a;

	arena_init(&a, 1u << 20);
	for (size_t i = 0; i < sizeof accepted / sizeof accepted[0]; i++) {
		char *copy = exact(&accepted[i]);
		struct str text = str_of(copy, accepted[i].n);
		struct json d;

		if (json_parse(&a, text, NULL, &d) != OK)
			fail_msg("refused: %s (%s)", accepted[i].p, diag_get()->text);
		assert_str(j_raw(json_root(&d)), arena_cstr(&a, str_trim(text)));
		assert_int_equal(d.nodes[0].next, d.n);
		assert_true(j_equal(json_root(&d), json_root(&d)));
		free(copy);
		arena_clear(&a);
	}
	arena_release(&a);
}

static void refuses(void **state)
{
	struct arena a;

	arena_init(&a, 1u << 20);
	for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
		char *copy = exact(&refused[i]);
		struct json d;

		diag_clear();
		if (json_parse(&a, str_of(copy, refused[i].n), NULL, &d) == OK)
			fail_msg("accepted: %s", refused[i].p);
		assert_int_equal(diag_get()->code, E_INVALID);
		assert_int_equal(diag_get()->kind, ERR_SYNTAX);
		assert_in_range(diag_get()->position, 0, refused[i].n);
		assert_true(strncmp(diag_get()->text, "JSON, line ", 11) == 0);
		free(copy);
		arena_clear(&a);
	}
	arena_release(&a);
}

/* Every prefix of an accepted text is refused, unless it is a number or blanks were cut off. */
static void refuses_what_is_cut_off(void **state)
{
	struct arena a;

	arena_init(&a, 1u << 20);
	for (size_t i = 0; i < sizeof accepted / sizeof accepted[0]; i++) {
		struct str text = str_trim(str_of(accepted[i].p, accepted[i].n));

		if (text.p[0] == '-' || (text.p[0] >= '0' && text.p[0] <= '9'))
			continue;
		for (size_t n = 0; n < text.n; n++) {
			struct json_case part = {text.p, n};
			char *copy = exact(&part);
			struct json d;

			assert_int_equal(json_parse(&a, str_of(copy, n), NULL, &d), E_INVALID);
			free(copy);
			arena_clear(&a);
		}
	}
	arena_release(&a);
}

/* In the middle of something larger every case means the same. */
static void means_the_same_inside(void **state)
{
	struct arena a;
	struct json d;

	arena_init(&a, 1u << 20);
	for (size_t i = 0; i < sizeof accepted / sizeof accepted[0]; i++) {
		struct str text = arena_printf(&a, "{\"k\":[0,%.*s,{}]}", STR_ARG(str_of(accepted[i].p, accepted[i].n)));

		assert_int_equal(json_parse(&a, text, NULL, &d), OK);
		arena_clear(&a);
	}
	arena_release(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accepts),
		cmocka_unit_test(refuses),
		cmocka_unit_test(refuses_what_is_cut_off),
		cmocka_unit_test(means_the_same_inside),
	};

	_Static_assert(sizeof accepted / sizeof accepted[0] + sizeof refused / sizeof refused[0] >= 350, "the table shrank");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
