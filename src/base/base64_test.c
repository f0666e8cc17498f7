/* Base64: the vectors of RFC 4648, every length, what is not base64. */
#include "base/base64.h"
#include "base/test_util.h"

static void test_vectors(void **state)
{
	static const char *const v[][2] = {{"", ""},
					   {"f", "Zg=="},
					   {"fo", "Zm8="},
					   {"foo", "Zm9v"},
					   {"foob", "Zm9vYg=="},
					   {"fooba", "Zm9vYmE="},
					   {"foobar", "Zm9vYmFy"}};

	(void)state;
	for (size_t i = 0; i < sizeof v / sizeof v[0]; i++) {
		struct buf b;
		uint8_t out[16];
		size_t n = sizeof out;

		buf_init(&b, NULL, 64);
		base64_put(&b, v[i][0], strlen(v[i][0]));
		assert_int_equal(b.err, OK);
		assert_true(str_eq(buf_slice(&b), str_c(v[i][1])));
		assert_int_equal(b.n, base64_size(strlen(v[i][0])));
		assert_true(base64_decode(str_c(v[i][1]), out, &n));
		assert_true(str_eq(str_of((char *)out, n), str_c(v[i][0])));
		buf_release(&b);
	}
}

static void test_every_byte(void **state)
{
	uint8_t in[256], out[256];
	struct buf b;

	(void)state;
	for (int i = 0; i < 256; i++)
		in[i] = (uint8_t)(i * 7 + 3);
	buf_init(&b, NULL, 1024);
	for (size_t len = 0; len <= 256; len++) {
		size_t n = len;

		buf_clear(&b);
		base64_put(&b, in, len);
		assert_true(base64_decode(buf_slice(&b), out, &n));
		assert_int_equal(n, len);
		assert_memory_equal(in, out, len);
		if (len) {
			n = len - 1;
			assert_false(base64_decode(buf_slice(&b), out, &n)); /* no room */
		}
	}
	buf_release(&b);
}

static void test_refused(void **state)
{
	static const char *const bad[] = {
		"Z",	"Zg",	 "Zg=",	 "Zg===",	    "Z===", "====", "Zh==", "Zm9=", "Zg==Zg==", "Zm9v ", "Zm-v",
		"Zm_v", "Zm\n=", "=Zg=", "\xff\xff\xff\xff"};

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		uint8_t out[32];
		size_t n = sizeof out;

		if (base64_decode(str_c(bad[i]), out, &n))
			fail_msg("%s was taken", bad[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_every_byte),
		cmocka_unit_test(test_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
