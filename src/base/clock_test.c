/* Time and its text. */
#include "base/test_util.h"

#include <time.h>

#include "base/clock.h"

static void formats(void **state)
{
	static const struct {
		int64_t us;
		enum clock_style style;
		const char *text;
	} cases[] = {
		{0, CLOCK_MICROS_OFFSET, "1970-01-01T00:00:00.000000+00:00"},
		{0, CLOCK_MILLIS_Z, "1970-01-01T00:00:00.000Z"},
		{1787209368123456, CLOCK_MICROS_OFFSET, "2026-08-20T07:02:48.123456+00:00"},
		{1787209368123456, CLOCK_MILLIS_Z, "2026-08-20T07:02:48.123Z"},
		{1787209368123456, CLOCK_MICROS_Z, "2026-08-20T07:02:48.123456Z"},
		{1787209368123999, CLOCK_MILLIS_Z, "2026-08-20T07:02:48.123Z"},
		{-1, CLOCK_MICROS_Z, "1969-12-31T23:59:59.999999Z"},
		{951782400000000, CLOCK_MILLIS_Z, "2000-02-29T00:00:00.000Z"},
		{-62135596800000000, CLOCK_MICROS_Z, "0001-01-01T00:00:00.000000Z"},
		{253402300799999999, CLOCK_MICROS_Z, "9999-12-31T23:59:59.999999Z"},
		{INT64_MAX, CLOCK_MICROS_Z, "9999-12-31T23:59:59.999999Z"},
		{INT64_MIN, CLOCK_MICROS_Z, "0001-01-01T00:00:00.000000Z"},
	};
	char text[CLOCK_TEXT_MAX];

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		assert_int_equal(clock_format(cases[i].us, cases[i].style, text), strlen(cases[i].text));
		assert_string_equal(text, cases[i].text);
	}
}

static void parses(void **state)
{
	static const struct {
		const char *text;
		int64_t us;
	} cases[] = {
		{"1970-01-01T00:00:00Z", 0},
		{"1970-01-01t00:00:00z", 0},
		{"1970-01-01 00:00:00Z", 0},
		{"2026-08-20T07:02:48.123456+00:00", 1787209368123456},
		{"2026-08-20T07:02:48.123456789Z", 1787209368123456},
		{"2026-08-20T07:02:48.1Z", 1787209368100000},
		{"2026-08-20T09:02:48.123456+02:00", 1787209368123456},
		{"2026-08-19T19:32:48.123456-11:30", 1787209368123456},
		{"2026-08-20T07:02:48-00:00", 1787209368000000},
		{"2016-12-31T23:59:60Z", 1483228799999999},
		{"2016-12-31T23:59:60.5Z", 1483228799999999},
		{"2000-02-29T00:00:00Z", 951782400000000},
		{"0001-01-01T00:00:00Z", -62135596800000000},
		{"9999-12-31T23:59:59.999999999Z", 253402300799999999},
		{"1969-12-31T23:59:59.999999Z", -1},
	};
	static const char *const wrong[] = {
		"",
		"2026",
		"2026-08-20",
		"2026-08-20T07:02:48",
		"2026-08-20T07:02Z",
		"2026-13-20T07:02:48Z",
		"2026-00-20T07:02:48Z",
		"2026-02-29T07:02:48Z",
		"1900-02-29T00:00:00Z",
		"2026-04-31T00:00:00Z",
		"2026-08-00T07:02:48Z",
		"2026-08-20T24:00:00Z",
		"2026-08-20T07:60:48Z",
		"2026-08-20T07:02:61Z",
		"2026-08-20T07:02:48.Z",
		"2026-08-20T07:02:48.1234567890Z",
		"2026-08-20T07:02:48,1Z",
		"2026-08-20T07:02:48+0000",
		"2026-08-20T07:02:48+24:00",
		"2026-08-20T07:02:48+00:60",
		"2026-08-20T07:02:48+00",
		"2026-08-20T07:02:48Z ",
		" 2026-08-20T07:02:48Z",
		"2026-08-20T07:02:48ZZ",
		"2026-8-20T07:02:48Z",
		"02026-08-20T07:02:48Z",
		"0000-01-01T00:00:00Z",
		"-026-01-01T00:00:00Z",
		"2026/08/20T07:02:48Z",
		"2026-08-20X07:02:48Z",
		"0001-01-01T00:00:00+00:01",
		"9999-12-31T23:59:59-00:01",
		"2026-08-20T07:02:48.1.2Z",
	};
	int64_t us;

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		assert_int_equal(clock_parse(str_c(cases[i].text), &us), OK);
		assert_true(us == cases[i].us);
	}
	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
		us = 77;
		assert_int_equal(clock_parse(str_c(wrong[i]), &us), E_INVALID);
		assert_int_equal(us, 77);
	}
	assert_int_equal(clock_parse(str_of(NULL, 0), &us), E_INVALID);
	assert_int_equal(clock_parse(str_of("2026-08-20T07:02:48\0", 20), &us), E_INVALID);
}

static void round_trips(void **state)
{
	uint64_t seed = 3;

	for (int i = 0; i < 100000; i++) {
		int64_t us = (int64_t)(test_random(&seed) % 315537897600000000u) - 62135596800000000, back;
		char text[CLOCK_TEXT_MAX];

		clock_format(us, i % 2 ? CLOCK_MICROS_Z : CLOCK_MICROS_OFFSET, text);
		assert_int_equal(clock_parse(str_c(text), &back), OK);
		assert_true(back == us);
	}
}

/* The C library knows the calendar too. */
static void agrees_with_the_library(void **state)
{
	for (int64_t days = -719162; days <= 2932896; days += 13) {
		time_t t = (time_t)(days * 86400);
		struct tm tm;
		unsigned month, day;
		int year;

		assert_non_null(gmtime_r(&t, &tm));
		clock_civil(days, &year, &month, &day);
		assert_int_equal(year, tm.tm_year + 1900);
		assert_int_equal(month, tm.tm_mon + 1);
		assert_int_equal(day, tm.tm_mday);
		assert_int_equal(clock_days(year, month, day), days);
	}
}

static void moves_on(void **state)
{
	uint64_t before = clock_mono_ns();

	assert_true(clock_mono_ns() >= before);
	assert_true(clock_wall_us() > INT64_C(1577836800000000));
	assert_true(deadline_in_ms(UINT32_MAX) == NEVER);
	assert_in_range(deadline_in_ms(0), before, before + 60000000000u);
	assert_true(deadline_in_ms(1000) >= before + 1000000000u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(formats),     cmocka_unit_test(parses),
		cmocka_unit_test(round_trips), cmocka_unit_test(agrees_with_the_library),
		cmocka_unit_test(moves_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
