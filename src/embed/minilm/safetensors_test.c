/* Headers of safetensors files, good and bad. */
#include "base/test_util.h"
#include "embed/minilm/safetensors.h"

static struct arena a;
static char room[4096] __attribute__((aligned(8)));

/* A file with that header and n bytes behind it; one that ends in a space gets more of them, so that what follows is aligned. */
static struct str file_of(const char *header, size_t n)
{
	size_t len = strlen(header);

	memset(room, ' ', sizeof room);
	memset(room, 0, 8);
	memcpy(room + 8, header, len);
	if (str_ends(str_c(header), STR(" ")))
		len = (len + 7) / 8 * 8;
	room[0] = (char)(len & 255);
	room[1] = (char)(len >> 8);
	return str_of(room, 8 + len + n);
}

static void refuse(struct str file, const char *says)
{
	struct safetensors s;

	arena_clear(&a);
	if (safetensors_parse(&a, file, &s) == OK)
		fail_msg("taken, but should say \"%s\"", says);
	if (!strstr(diag_get()->text, says))
		fail_msg("\"%s\" does not say \"%s\"", diag_get()->text, says);
}

static void test_good(void **state)
{
	struct str file =
		file_of("{\"__metadata__\":{\"format\":\"pt\"},\"a\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
			"\"b\\n\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[24,32]},"
			"\"empty\":{\"dtype\":\"F16\",\"shape\":[4,0],\"data_offsets\":[32,32]}} ",
			32);
	const float *v;
	struct safetensors s;

	arena_clear(&a);
	assert_int_equal(safetensors_parse(&a, file, &s), OK);
	assert_int_equal(s.n, 3);
	assert_int_equal(safetensors_find(&s, STR("b\n"))->data.n, 8);
	assert_null(safetensors_find(&s, STR("c")));
	assert_int_equal(safetensors_f32(&s, STR("a"), 2, 3, &v), OK);
	assert_ptr_equal(v, file.p + file.n - 32);
	assert_int_equal(safetensors_f32(&s, STR("a"), 3, 2, &v), E_CORRUPT);
	assert_int_equal(safetensors_f32(&s, STR("a"), 0, 6, &v), E_CORRUPT);
	assert_non_null(strstr(diag_get()->text, "tensor a has not the shape [6]"));
	assert_int_equal(safetensors_f32(&s, STR("empty"), 4, 0, &v), E_CORRUPT);
	assert_non_null(strstr(diag_get()->text, "F16"));
	assert_int_equal(safetensors_f32(&s, STR("c"), 0, 1, &v), E_CORRUPT);
	assert_non_null(strstr(diag_get()->text, "tensor c is missing"));
}

static void test_not_aligned(void **state)
{
	struct str file = file_of("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4);
	const float *v;
	struct safetensors s;

	arena_clear(&a);
	assert_int_equal(safetensors_parse(&a, file, &s), OK);
	assert_int_equal(((uintptr_t)file.p + file.n) % 4, 2);
	assert_int_equal(safetensors_f32(&s, STR("a"), 0, 1, &v), E_CORRUPT);
	assert_non_null(strstr(diag_get()->text, "multiple of 4"));
}

static void test_bad_headers(void **state)
{
	static const struct {
		const char *header, *says;
		size_t n;
	} cases[] = {
		{"", "no JSON", 0},
		{"[]", "no JSON object", 0},
		{"{\"a\":1}", "tensor a: dtype", 0},
		{"{\"a\":{}}", "tensor a: dtype", 0},
		{"{\"a\":{\"dtype\":\"F33\",\"shape\":[],\"data_offsets\":[0,4]}}", "unknown dtype F33", 4},
		{"{\"a\":{\"dtype\":\"F32\",\"shape\":3,\"data_offsets\":[0,4]}}", "shape must be a list", 4},
		{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", "at most 8", 4},
		{"{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", "no number from 0", 4},
		{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1.5],\"data_offsets\":[0,4]}}", "no number from 0", 4},
		{"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", "does not fit its shape", 4},
		{"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4],\"data_offsets\":[0,0]}}", "does not fit its shape",
		 0},
		{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}", "[begin, end]", 4},
		{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", "ends before it begins", 4},
		{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}}", "an offset", 4},
		{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[1,99999999999999999999]}}", "an offset", 4},
		{"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", "cut off", 7},
		{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", "8 follow the header", 8},
		{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"a\":1}", "no JSON", 4},
		{"{\"a\":{\"dtype\":\"F32\",\"shape\":[[[[1]]]],\"data_offsets\":[0,4]}}", "no JSON", 4},
	};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		refuse(file_of(cases[i].header, cases[i].n), cases[i].says);
}

static void test_bad_lengths(void **state)
{
	struct str file;

	refuse(STR("1234567"), "7 bytes and no header");
	refuse(str_of("\xff\xff\xff\xff\xff\xff\xff\xff{}", 10), "the header claims 18446744073709551615 bytes");
	file = file_of("{}", 0);
	room[0] = 3;
	refuse(file, "only 2 follow");
}

static int setup(void **state)
{
	arena_init(&a, SAFETENSORS_ARENA);
	return 0;
}

static int teardown(void **state)
{
	arena_release(&a);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_not_aligned),
		cmocka_unit_test(test_bad_headers),
		cmocka_unit_test(test_bad_lengths),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
