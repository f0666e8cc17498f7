/* Time: the two clocks, and RFC 3339 text by own arithmetic (no time zone database, no locale, no static buffers). */
#include "base/clock.h"

#include <stdatomic.h>
#include <time.h>

#define DAY_S 86400
#define SECOND_US INT64_C(1000000)
#define YEAR_1_S INT64_C(-62135596800)	   /* 0001-01-01T00:00:00Z */
#define YEAR_10000_S INT64_C(253402300800) /* 10000-01-01T00:00:00Z */

int64_t clock_wall_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * SECOND_US + t.tv_nsec / 1000;
}

int64_t clock_unique_us(void)
{
	static _Atomic int64_t last;
	int64_t wall = clock_wall_us(), was = atomic_load(&last), now;
	do
		now = wall > was ? wall : was + 1;
	while (!atomic_compare_exchange_weak(&last, &was, now));
	return now;
}

uint64_t clock_mono_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t deadline_in_ms(uint32_t ms)
{
	return ms == UINT32_MAX ? NEVER : clock_mono_ns() + (uint64_t)ms * 1000000u;
}

/* Years are counted from March, so that the leap day is the last of its year; eras of 400 years have 146,097 days. */
int64_t clock_days(int year, unsigned month, unsigned day)
{
	int64_t y = (int64_t)year - (month <= 2), era = (y >= 0 ? y : y - 399) / 400;
	unsigned of_era = (unsigned)(y - era * 400);
	unsigned of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;

	return era * 146097 + (int64_t)(of_era * 365 + of_era / 4 - of_era / 100 + of_year) - 719468;
}

void clock_civil(int64_t days, int *year, unsigned *month, unsigned *day)
{
	int64_t z = days + 719468, era = (z >= 0 ? z : z - 146096) / 146097;
	unsigned d = (unsigned)(z - era * 146097);
	unsigned y = (d - d / 1460 + d / 36524 - d / 146096) / 365;
	unsigned of_year = d - (365 * y + y / 4 - y / 100), m = (5 * of_year + 2) / 153;

	*day = of_year - (153 * m + 2) / 5 + 1;
	*month = m < 10 ? m + 3 : m - 9;
	*year = (int)((int64_t)y + era * 400) + (*month <= 2);
}

static char *digits(char *to, uint32_t v, unsigned width)
{
	for (unsigned i = width; i-- > 0; v /= 10)
		to[i] = (char)('0' + v % 10);
	return to + width;
}

size_t clock_format(int64_t us, enum clock_style style, char *out)
{
	int64_t s, days;
	uint32_t fraction, of_day;
	unsigned month, day;
	int year;
	char *to = out;

	/* What has no four-digit year becomes the nearest time that has one. */
	if (us < YEAR_1_S * SECOND_US)
		us = YEAR_1_S * SECOND_US;
	if (us >= YEAR_10000_S * SECOND_US)
		us = YEAR_10000_S * SECOND_US - 1;
	s = us / SECOND_US - (us % SECOND_US < 0);
	fraction = (uint32_t)(us - s * SECOND_US);
	days = s / DAY_S - (s % DAY_S < 0);
	of_day = (uint32_t)(s - days * DAY_S);
	clock_civil(days, &year, &month, &day);
	to = digits(to, (uint32_t)year, 4);
	*to++ = '-';
	to = digits(to, month, 2);
	*to++ = '-';
	to = digits(to, day, 2);
	*to++ = 'T';
	to = digits(to, of_day / 3600, 2);
	*to++ = ':';
	to = digits(to, of_day / 60 % 60, 2);
	*to++ = ':';
	to = digits(to, of_day % 60, 2);
	*to++ = '.';
	to = style == CLOCK_MILLIS_Z ? digits(to, fraction / 1000, 3) : digits(to, fraction, 6);
	if (style == CLOCK_MICROS_OFFSET) {
		memcpy(to, "+00:00", 6);
		to += 6;
	} else {
		*to++ = 'Z';
	}
	*to = 0;
	return (size_t)(to - out);
}

/* A cursor over the text; ok turns false at the first thing that does not fit and stays so. */
struct scan {
	const char *p, *end;
	bool ok;
};

static unsigned number(struct scan *in, unsigned width, unsigned min, unsigned max)
{
	unsigned v = 0;

	for (; width; width--) {
		if (!in->ok || in->p == in->end || *in->p < '0' || *in->p > '9') {
			in->ok = false;
			return min;
		}
		v = v * 10 + (unsigned)(*in->p++ - '0');
	}
	if (v < min || v > max)
		in->ok = false;
	return v;
}

static char one_of(struct scan *in, const char *allowed)
{
	if (!in->ok || in->p == in->end || !*in->p || !strchr(allowed, *in->p)) {
		in->ok = false;
		return 0;
	}
	return *in->p++;
}

static int64_t fraction_us(struct scan *in)
{
	int64_t v = 0;
	unsigned n = 0;

	if (!in->ok || in->p == in->end || *in->p != '.')
		return 0;
	in->p++;
	for (; in->p < in->end && *in->p >= '0' && *in->p <= '9'; in->p++, n++)
		if (n < 6)
			v = v * 10 + (*in->p - '0');
	if (n < 1 || n > 9)
		in->ok = false;
	for (; n < 6; n++)
		v *= 10;
	return v;
}

static int64_t zone_s(struct scan *in)
{
	char sign = one_of(in, "Zz+-");
	int64_t s;

	if (!in->ok || sign == 'Z' || sign == 'z')
		return 0;
	s = number(in, 2, 0, 23) * INT64_C(3600);
	(void)one_of(in, ":");
	s += number(in, 2, 0, 59) * INT64_C(60);
	return sign == '-' ? -s : s;
}

static unsigned month_days(unsigned year, unsigned month)
{
	static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

	return month == 2 && leap ? 29 : days[month - 1];
}

enum err clock_parse(struct str s, int64_t *us)
{
	const char *text = s.p ? s.p : "";
	struct scan in = {text, text + s.n, true};
	unsigned year, month, day, hour, minute, second;
	int64_t fraction, total;

	year = number(&in, 4, 1, 9999);
	(void)one_of(&in, "-");
	month = number(&in, 2, 1, 12);
	(void)one_of(&in, "-");
	day = number(&in, 2, 1, 31);
	if (in.ok && day > month_days(year, month))
		in.ok = false;
	(void)one_of(&in, "Tt ");
	hour = number(&in, 2, 0, 23);
	(void)one_of(&in, ":");
	minute = number(&in, 2, 0, 59);
	(void)one_of(&in, ":");
	second = number(&in, 2, 0, 60);
	fraction = fraction_us(&in);
	if (second == 60) {
		second = 59;
		fraction = SECOND_US - 1;
	}
	total = -zone_s(&in);
	if (in.ok && in.p == in.end) {
		total += clock_days((int)year, month, day) * DAY_S + hour * INT64_C(3600) + minute * INT64_C(60) + second;
		if (total >= YEAR_1_S && total < YEAR_10000_S) {
			*us = total * SECOND_US + fraction;
			return OK;
		}
	}
	return err_set(E_INVALID, "\"%.*s\" is not a time such as 2026-08-20T07:02:48.123Z (RFC 3339)", (int)(s.n < 40 ? s.n : 40),
		       text);
}
