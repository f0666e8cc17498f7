/* The writer: commas, escapes, and that everything it writes reads back the same. */
#include "base/test_util.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json/json.h"
#include "base/utf8.h"

static void puts_commas(void **state)
{
	struct buf b;
	struct jw w;

	buf_init(&b, NULL, 4096);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "a");
	jw_i64(&w, -1);
	jw_key(&w, "b");
	jw_arr(&w);
	jw_u64(&w, UINT64_MAX);
	jw_null(&w);
	jw_bool(&w, true);
	jw_bool(&w, false);
	jw_arr(&w);
	jw_end_arr(&w);
	jw_obj(&w);
	jw_end_obj(&w);
	jw_end_arr(&w);
	jw_key_str(&w, STR("c\""));
	jw_raw(&w, STR("{\"raw\" : 1.50}"));
	jw_key(&w, "d");
	jw_cstr(&w, "x\ny");
	jw_key(&w, "e");
	jw_double(&w, 0.5);
	jw_key(&w, "f");
	jw_obj(&w);
	jw_key(&w, "g");
	jw_str(&w, STR(""));
	jw_end_obj(&w);
	jw_end_obj(&w);
	assert_int_equal(b.err, OK);
	assert_int_equal(w.depth, 0);
	assert_str(buf_slice(&b),
		   "{\"a\":-1,\"b\":[18446744073709551615,null,true,false,[],{}],\"c\\\"\":{\"raw\" : 1.50},\"d\":\"x\\ny\","
		   "\"e\":0.5,\"f\":{\"g\":\"\"}}");
	buf_release(&b);
}

static void writes_numbers(void **state)
{
	struct buf b;
	struct jw w;

	buf_init(&b, NULL, 4096);
	jw_init(&w, &b);
	jw_arr(&w);
	jw_double(&w, 1e300);
	jw_double(&w, (double)NAN);
	jw_double(&w, (double)INFINITY);
	jw_double(&w, -(double)INFINITY);
	jw_double(&w, -0.25);
	jw_i64(&w, INT64_MIN);
	jw_end_arr(&w);
	assert_str(buf_slice(&b), "[1e+300,null,null,null,-0.25,-9223372036854775808]");
	buf_release(&b);
}

static void quotes(void **state)
{
	static const struct {
		struct str s;
		const char *json;
	} cases[] = {
		{STR_INIT(""), "\"\""},
		{STR_INIT("abc"), "\"abc\""},
		{STR_INIT("\"\\/"), "\"\\\"\\\\/\""},
		{STR_INIT("\b\f\n\r\t"), "\"\\b\\f\\n\\r\\t\""},
		{STR_INIT("\0\x01\x1f\x7f"), "\"\\u0000\\u0001\\u001f\x7f\""},
		{STR_INIT("caf\xc3\xa9 \xf0\x9f\x98\x80"), "\"caf\xc3\xa9 \xf0\x9f\x98\x80\""},
		{STR_INIT("a\xff"
			  "b"),
		 "\"a\xef\xbf\xbd"
		 "b\""},
		{STR_INIT("\xc3"), "\"\xef\xbf\xbd\""},
		{STR_INIT("\xed\xa0\x80"), "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
		{STR_INIT("0123456789abcdef0123456789abcdef\n0123456789abcdef"),
		 "\"0123456789abcdef0123456789abcdef\\n0123456789abcdef\""},
	};
	struct buf b;

	buf_init(&b, NULL, 4096);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		buf_clear(&b);
		json_quote(&b, cases[i].s);
		assert_str(buf_slice(&b), cases[i].json);
	}
	buf_clear(&b);
	json_quote(&b, str_of(NULL, 0));
	assert_str(buf_slice(&b), "\"\"");
	buf_release(&b);
}

/* Any valid text comes back as it was; any bytes at all give valid JSON. */
static void reads_back(void **state)
{
	uint64_t seed = 17;
	struct arena a;

	arena_init(&a, 1u << 20);
	for (int round = 0; round < 20000; round++) {
		char bytes[200];
		size_t n = test_random(&seed) % 100, len = 0;
		bool valid = round % 2;
		struct json d;
		struct buf b;

		while (len < n) {
			uint64_t r = test_random(&seed);

			if (!valid)
				bytes[len++] = (char)r;
			else
				len += utf8_put(bytes + len, (uint32_t)(r >> 8) % ((r & 3) == 0	  ? 0x110000
										   : (r & 3) == 1 ? 0x800
												  : 0x80));
		}
		buf_init(&b, &a, 1u << 16);
		json_quote(&b, str_of(bytes, len));
		assert_int_equal(json_parse(&a, buf_slice(&b), NULL, &d), OK);
		if (valid) {
			assert_true(j_str_eq(json_root(&d), str_of(bytes, len)));
			assert_true(str_eq(j_str(&a, json_root(&d)), str_of(bytes, len)));
		}
		arena_clear(&a);
	}
	arena_release(&a);
}

static void has_a_ceiling(void **state)
{
	struct buf b;
	struct jw w;

	buf_init(&b, NULL, 10);
	jw_init(&w, &b);
	jw_arr(&w);
	for (int i = 0; i < 100; i++)
		jw_cstr(&w, "text\n");
	jw_end_arr(&w);
	assert_int_equal(b.err, E_LIMIT);
	assert_true(b.n <= 10);
	buf_release(&b);
	buf_init(&b, NULL, 1000);
	jw_init(&w, &b);
	for (int i = 0; i < 64; i++)
		jw_arr(&w);
	assert_int_equal(b.err, OK);
	jw_i64(&w, 1);
	jw_i64(&w, 2);
	jw_arr(&w);
	assert_int_equal(b.err, E_LIMIT);
	for (int i = 0; i < 65; i++)
		jw_end_arr(&w);
	assert_int_equal(w.depth, 0);
	buf_release(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(puts_commas), cmocka_unit_test(writes_numbers), cmocka_unit_test(quotes),
		cmocka_unit_test(reads_back),  cmocka_unit_test(has_a_ceiling),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
