/* Hashes against published vectors; encodings there and back. */
#include "base/test_util.h"

#include <stdlib.h>

#include "base/hash.h"

static void is_stable(void **state)
{
	/* Stored in databases: these values must never change. */
	assert_true(hash64(STR("")) == UINT64_C(0x2d06800538d394c2));
	assert_true(hash32(STR("")) == 0x38d394c2u);
	assert_true(hash64(str_of(NULL, 0)) == hash64(STR("")));
	assert_true(hash64(STR("hike")) == hash64(str_of("hiker", 4)));
	assert_true(hash32(STR("hike")) == (uint32_t)hash64(STR("hike")));
	assert_true(hash64(STR("hike")) != hash64(STR("hikes")));
	assert_true(hash64_seeded(STR("hike")) == hash64_seeded(str_of("hiker", 4)));
}

static void check_sha(struct str s, const char *want)
{
	uint8_t out[SHA256_BYTES];
	char hex[SHA256_HEX + 1];
	struct sha256 h;

	sha256_of(s, out);
	hex_encode(out, sizeof out, hex);
	assert_string_equal(hex, want);
	sha256_init(&h);
	for (size_t i = 0; i < s.n; i++)
		sha256_add(&h, s.p + i, 1);
	sha256_add(&h, NULL, 0);
	sha256_end(&h, out);
	hex_encode(out, sizeof out, hex);
	assert_string_equal(hex, want);
}

static void sha256_vectors(void **state)
{
	check_sha(STR(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	check_sha(str_of(NULL, 0), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	check_sha(STR("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	check_sha(STR("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
		  "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

static void hmac_vectors(void **state)
{
	uint8_t out[SHA256_BYTES], key[131];
	char hex[SHA256_HEX + 1];

	hmac256(STR("Jefe"), STR("what do ya want for nothing?"), out);
	hex_encode(out, sizeof out, hex);
	assert_string_equal(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
	memset(key, 0xaa, sizeof key);
	hmac256(str_of((char *)key, sizeof key), STR("Test Using Larger Than Block-Size Key - Hash Key First"), out);
	hex_encode(out, sizeof out, hex);
	assert_string_equal(hex, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
	hmac256(str_of(NULL, 0), str_of(NULL, 0), out);
	hex_encode(out, sizeof out, hex);
	assert_string_equal(hex, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

static void hex(void **state)
{
	uint8_t out[3] = {0};

	assert_true(hex_decode(STR("00fFa5"), out, 3));
	assert_int_equal(out[0], 0);
	assert_int_equal(out[1], 255);
	assert_int_equal(out[2], 0xa5);
	assert_false(hex_decode(STR("00ff"), out, 3));
	assert_false(hex_decode(STR("00fff"), out, 2));
	assert_false(hex_decode(STR("00fg"), out, 2));
	assert_true(hex_decode(STR(""), out, 0));
}

static void base64url(void **state)
{
	static const struct {
		const char *plain, *text;
	} cases[] = {{"", ""},		 {"f", "Zg"},	       {"fo", "Zm8"},	      {"foo", "Zm9v"},
		     {"foob", "Zm9vYg"}, {"fooba", "Zm9vYmE"}, {"foobar", "Zm9vYmFy"}};
	static const char *const wrong[] = {"Z", "Zg==", "Zh", "Zm9", "Zm+v", "Zm/v", "Zm 9", "Zm9vY"};
	uint8_t bytes[300], back[300];
	char text[404];
	uint64_t seed = 9;
	size_t n;

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		assert_int_equal(base64url_encode((const uint8_t *)cases[i].plain, strlen(cases[i].plain), text),
				 strlen(cases[i].text));
		assert_string_equal(text, cases[i].text);
	}
	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
		n = sizeof back;
		assert_false(base64url_decode(str_c(wrong[i]), back, &n));
	}
	for (size_t len = 0; len < sizeof bytes; len++) {
		for (size_t i = 0; i < len; i++)
			bytes[i] = (uint8_t)test_random(&seed);
		n = base64url_encode(bytes, len, text);
		assert_null(strpbrk(text, "+/="));
		assert_int_equal(strlen(text), n);
		if (len) {
			size_t short_of = len - 1;

			assert_false(base64url_decode(str_of(text, n), back, &short_of));
		}
		size_t room = len;
		assert_true(base64url_decode(str_of(text, n), back, &room));
		assert_int_equal(room, len);
		assert_memory_equal(bytes, back, len);
	}
}

static void secrets(void **state)
{
	assert_true(secret_eq("abc", "abc", 3));
	assert_false(secret_eq("abc", "abd", 3));
	assert_true(secret_eq("abc", "abd", 2));
	assert_true(secret_eq(NULL, NULL, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(is_stable), cmocka_unit_test(sha256_vectors), cmocka_unit_test(hmac_vectors),
		cmocka_unit_test(hex),	     cmocka_unit_test(base64url),      cmocka_unit_test(secrets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
