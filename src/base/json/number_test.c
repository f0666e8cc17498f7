/* Numbers: integers in every spelling, doubles against the C library, exact order. */
#include "base/test_util.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json/number.h"

static void reads_integers(void **state)
{
	static const struct {
		const char *text;
		bool ok;
		int64_t v;
	} cases[] = {
		{"0", true, 0},
		{"-0", true, 0},
		{"0.0", true, 0},
		{"0e999999", true, 0},
		{"0.000e-5", true, 0},
		{"42", true, 42},
		{"-42", true, -42},
		{"5.0", true, 5},
		{"5.000000000000000000000000000000000000", true, 5},
		{"1e3", true, 1000},
		{"1E+3", true, 1000},
		{"1000e-3", true, 1},
		{"12.5e1", true, 125},
		{"0.00125e5", true, 125},
		{"9223372036854775807", true, INT64_MAX},
		{"-9223372036854775808", true, INT64_MIN},
		{"9223372036854775807.0", true, INT64_MAX},
		{"922337203685477580.7e1", true, INT64_MAX},
		{"9007199254740993", true, 9007199254740993},
		{"1e18", true, 1000000000000000000},
		{"9223372036854775808", false, 0},
		{"-9223372036854775809", false, 0},
		{"18446744073709551615", false, 0},
		{"18446744073709551616", false, 0},
		{"99999999999999999999", false, 0},
		{"1e19", false, 0},
		{"1e400", false, 0},
		{"1e999999999999999999999999", false, 0},
		{"1e-999999999999999999999999", false, 0},
		{"0.5", false, 0},
		{"1.5", false, 0},
		{"1e-1", false, 0},
		{"12.55e1", false, 0},
		{"5.0000000000000000000000000000000001", false, 0},
	};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		int64_t v = 77;

		if (json_number_i64(str_c(cases[i].text), &v) != cases[i].ok)
			fail_msg("%s", cases[i].text);
		if (cases[i].ok)
			assert_true(v == cases[i].v);
	}
}

static void same_double(const char *text)
{
	double got, want = strtod(text, NULL);
	bool ok = json_number_double(str_c(text), &got);

	if (ok != (bool)isfinite(want) || (ok && memcmp(&got, &want, sizeof got) != 0))
		fail_msg("%s: %.17g, not %.17g", text, got, want);
}

static void reads_doubles(void **state)
{
	static const char *const texts[] = {
		"0",
		"-0",
		"0.0",
		"-0.0e5",
		"1",
		"-1",
		"0.1",
		"1e22",
		"1e23",
		"123456789012345",
		"1234567890123456",
		"9007199254740993",
		"0.30000000000000004",
		"1.7976931348623157e308",
		"1.7976931348623158e308",
		"1.7976931348623159e308",
		"1e308",
		"1e309",
		"-1e400",
		"2.2250738585072014e-308",
		"2.2250738585072011e-308",
		"4.9e-324",
		"2.4703282292062328e-324",
		"2.4703282292062327e-324",
		"1e-400",
		"100000000000000016777215",
		"100000000000000016777216",
		"9007199254740992.999999999999999999999999999999999999999999999999999999999999999999",
		"9007199254740993.000000000000000000000000000000000000000000000000000000000000000000001",
		"0.000000000000000000000000000000000000000000000000000000000000000000000000000000000000001e87",
		"1e99999",
		"1e-99999",
		"12345678901234567890e-20",
		"6.02214076e23",
		"3.141592653589793238462643383279502884197169399375105820974944592307816406286",
	};
	uint64_t seed = 11;

	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
		same_double(texts[i]);
	for (int i = 0; i < 100000; i++) {
		char text[64];
		uint64_t r = test_random(&seed);

		snprintf(text, sizeof text, "%s%llu.%llue%d", r & 1 ? "-" : "",
			 (unsigned long long)(test_random(&seed) >> (r >> 1) % 60),
			 (unsigned long long)(test_random(&seed) >> (r >> 8) % 60), (int)(r >> 32) % 340);
		same_double(text);
	}
	/* Beyond any exponent, without harm. */
	double d;
	assert_false(json_number_double(STR("1e99999999999999999999999999999999"), &d));
	assert_true(json_number_double(STR("1e-99999999999999999999999999999999"), &d) && d == 0);
	assert_true(json_number_double(STR("0e99999999999999999999999999999999"), &d) && d == 0);
}

/* The middle between two doubles written out in full: only the last of some 770 digits decides. */
static void rounds_long_literals(void **state)
{
	static char text[4000];
	double d, low = 2.2250738585072014e-308, high = nextafter(low, 1);
	int n;

	/* 17 more binary digits than a double has are exact in long double's decimal expansion. */
	n = snprintf(text, sizeof text, "%.1090Lf", ((long double)low + (long double)high) / 2);
	assert_true(n > 1000);
	same_double(text);
	assert_true(json_number_double(str_c(text), &d) && d == low);
	text[n - 1] = '1';
	snprintf(text + n, sizeof text - (size_t)n, "%01500d", 0);
	same_double(text);
	memset(text, '0', 3000);
	text[0] = '1';
	text[3000] = 0;
	assert_false(json_number_double(str_c(text), &d));
	memcpy(text + 2994, "e-2990", 7);
	assert_true(json_number_double(str_c(text), &d) && d == 1000);
	memset(text, '0', 3000);
	text[1] = '.';
	memcpy(text + 2990, "5e2985", 7);
	assert_true(json_number_double(str_c(text), &d) && d == 5e-4);
}

static void orders(void **state)
{
	/* Ascending. */
	static const char *const line[] = {
		"-1e999999999999999999999",
		"-1e400",
		"-123456789012345678901234567891",
		"-123456789012345678901234567890",
		"-9007199254740993",
		"-9007199254740992",
		"-10",
		"-9.5",
		"-9",
		"-1",
		"-0.1",
		"-1e-400",
		"0",
		"1e-999999999999999999999",
		"1e-400",
		"0.0999",
		"0.1",
		"0.10000000000000000001",
		"0.11",
		"1",
		"1.0000000000000000000000000000001",
		"2",
		"9",
		"9.5",
		"10",
		"99",
		"100",
		"9007199254740992",
		"9007199254740993",
		"9223372036854775807",
		"9223372036854775808",
		"123456789012345678901234567890",
		"123456789012345678901234567890.5",
		"123456789012345678901234567891",
		"1e400",
		"2e400",
		"1e401",
		"1e999999999999999999999",
	};
	static const char *const same[][2] = {
		{"0", "-0"},	   {"0.0", "0e10"},
		{"-0.0", "0"},	   {"1", "1.0"},
		{"10", "1e1"},	   {"100", "1.0e2"},
		{"0.001", "1e-3"}, {"123456789012345678901234567890", "1.2345678901234567890123456789e29"},
		{"-5", "-5.000"},  {"1E400", "10e399"},
	};
	size_t n = sizeof line / sizeof line[0];

	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < n; j++) {
			int c = json_number_cmp(str_c(line[i]), str_c(line[j]));

			if ((c > 0) - (c < 0) != (i > j) - (i < j))
				fail_msg("%s against %s", line[i], line[j]);
		}
	for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
		assert_int_equal(json_number_cmp(str_c(same[i][0]), str_c(same[i][1])), 0);
		assert_int_equal(json_number_cmp(str_c(same[i][1]), str_c(same[i][0])), 0);
	}
}

static void check_text(double v)
{
	char text[JSON_DOUBLE_TEXT];
	double back;
	size_t n = json_double_text(v, text);

	assert_int_equal(n, strlen(text));
	assert_true(json_number_double(str_c(text), &back));
	assert_memory_equal(&back, &v, sizeof v);
}

static void writes_doubles(void **state)
{
	static const struct {
		double v;
		const char *text;
	} cases[] = {
		{0, "0"},
		{-0.0, "-0"},
		{1, "1"},
		{-1.5, "-1.5"},
		{0.1, "0.1"},
		{0.1 + 0.2, "0.30000000000000004"},
		{1e21, "1e+21"},
		{1e-7, "1e-07"},
		{123456789, "123456789"},
		{5e-324, "4.94065645841247e-324"},
	};
	char text[JSON_DOUBLE_TEXT];
	uint64_t seed = 5;

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		json_double_text(cases[i].v, text);
		assert_string_equal(text, cases[i].text);
		check_text(cases[i].v);
	}
	for (int i = 0; i < 100000; i++) {
		uint64_t bits = test_random(&seed);
		double v;

		memcpy(&v, &bits, sizeof v);
		if (isfinite(v))
			check_text(v);
	}
}

/* Where the decimal point is a comma, JSON still has a point. Skipped when no such locale is installed. */
static void ignores_the_locale(void **state)
{
	static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "fr_FR.utf8", "ps_AF", "ps_AF.UTF-8"};
	const char *set = NULL;
	char text[JSON_DOUBLE_TEXT];
	double d;

	for (size_t i = 0; i < sizeof names / sizeof names[0] && !set; i++)
		set = setlocale(LC_ALL, names[i]);
	if (!set)
		skip();
	json_double_text(1.5, text);
	assert_string_equal(text, "1.5");
	assert_true(json_number_double(STR("3.141592653589793238462643"), &d) && d > 3.1415 && d < 3.1416);
	setlocale(LC_ALL, "C");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_integers), cmocka_unit_test(reads_doubles),  cmocka_unit_test(rounds_long_literals),
		cmocka_unit_test(orders),	  cmocka_unit_test(writes_doubles), cmocka_unit_test(ignores_the_locale),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
