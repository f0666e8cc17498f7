/* Numbers of JSON. A literal is taken apart into sign, significant digits and a power of ten, so that comparing and reading
 * integers is exact; only json_number_double rounds, once. */
#include "base/json/number.h"

#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

/* The value is 0.d1d2d3... * 10^point, where the d are the digits in [p, end) without the decimal point, d1 != 0 and the last one
 * != 0. digits = 0: zero. */
struct decimal {
	bool negative;
	const char *p, *end;
	size_t digits;
	int64_t point;
};

/* Exponents beyond this are all the same: no other part of a text in memory can outweigh them. */
#define EXPONENT_MAX (INT64_MAX / 4)

static int64_t exponent_of(const char *p, const char *end)
{
	bool negative = *p == '-';
	int64_t v = 0;

	if (*p == '-' || *p == '+')
		p++;
	for (; p < end; p++)
		if (v < EXPONENT_MAX / 10)
			v = v * 10 + (*p - '0');
		else
			v = EXPONENT_MAX;
	return negative ? -v : v;
}

static void take_apart(struct str raw, struct decimal *d)
{
	const char *p = raw.p, *end = raw.p + raw.n, *dot = NULL, *e = end;
	size_t whole; /* digits before the decimal point */

	*d = (struct decimal){.negative = *p == '-'};
	if (d->negative)
		p++;
	for (const char *q = p; q < end; q++) {
		if (*q == '.')
			dot = q;
		if (*q == 'e' || *q == 'E') {
			e = q;
			break;
		}
	}
	whole = (size_t)((dot ? dot : e) - p);
	d->point = (int64_t)whole;
	d->p = p;
	d->end = e;
	while (d->p < d->end && (*d->p == '0' || *d->p == '.')) {
		if (*d->p == '0')
			d->point--;
		d->p++;
	}
	while (d->end > d->p && (d->end[-1] == '0' || d->end[-1] == '.'))
		d->end--;
	d->digits = (size_t)(d->end - d->p);
	if (dot && dot >= d->p && dot < d->end)
		d->digits--;
	if (d->digits && e < end)
		d->point += exponent_of(e + 1, end);
}

/* The next digit, leaving out the decimal point; p < end. */
static unsigned digit(const char **p)
{
	if (**p == '.')
		(*p)++;
	return (unsigned)(*(*p)++ - '0');
}

/* Digits only and few of them: the usual case. */
static bool short_int(struct str raw, int64_t *out)
{
	bool negative = raw.p[0] == '-';
	int64_t v = 0;

	if (raw.n > 18)
		return false;
	for (size_t i = negative; i < raw.n; i++) {
		if (raw.p[i] < '0' || raw.p[i] > '9')
			return false;
		v = v * 10 + (raw.p[i] - '0');
	}
	*out = negative ? -v : v;
	return true;
}

bool json_number_i64(struct str raw, int64_t *out)
{
	struct decimal d;
	uint64_t v = 0;

	if (short_int(raw, out))
		return true;
	take_apart(raw, &d);
	/* Not an integer when digits stand behind the point; 19 digits before it always fit into 64 bits without sign. */
	if (d.digits && (d.point < (int64_t)d.digits || d.point > 19))
		return false;
	for (const char *p = d.p; d.digits && p < d.end;)
		v = v * 10 + digit(&p);
	for (int64_t i = (int64_t)d.digits; d.digits && i < d.point; i++)
		v *= 10;
	if (v > (uint64_t)INT64_MAX + d.negative)
		return false;
	*out = (int64_t)(d.negative ? -v : v);
	return true;
}

void json_number_canonical(struct str raw, struct buf *out)
{
	struct decimal d;

	take_apart(raw, &d);
	if (!d.digits) {
		buf_byte(out, '0');
		return;
	}
	if (d.negative)
		buf_byte(out, '-');
	for (const char *p = d.p; p < d.end; p++)
		if (*p != '.')
			buf_byte(out, *p);
	if (d.point != (int64_t)d.digits) {
		buf_byte(out, 'e');
		buf_i64(out, d.point - (int64_t)d.digits);
	}
}

static locale_t c_locale;
static pthread_once_t locale_once = PTHREAD_ONCE_INIT;

static void locale_setup(void)
{
	c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

static double to_double(const char *text)
{
	pthread_once(&locale_once, locale_setup);
	return c_locale ? strtod_l(text, NULL, c_locale) : strtod(text, NULL);
}

/* No double, nor the middle between two, has more significant digits than this; what follows only matters as zero or not. */
#define DIGITS_MAX 780u

static double slow_double(const struct decimal *d)
{
	char text[DIGITS_MAX + 64];
	size_t n = 0;
	int64_t point = d->point;

	/* Far outside of the range of doubles: kept near enough that the library can count with it. */
	if (point > 100000)
		point = 100000;
	if (point < -100000)
		point = -100000;
	if (d->negative)
		text[n++] = '-';
	text[n++] = '0';
	text[n++] = '.';
	for (const char *p = d->p; p < d->end;) {
		if (n >= DIGITS_MAX) {
			text[n++] = '1';
			break;
		}
		text[n++] = (char)('0' + digit(&p));
	}
	snprintf(text + n, sizeof text - n, "e%lld", (long long)point);
	return to_double(text);
}

static const double powers[] = {1e0,  1e1,  1e2,  1e3,	1e4,  1e5,  1e6,  1e7,	1e8,  1e9,  1e10, 1e11,
				1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

bool json_number_double(struct str raw, double *out)
{
	struct decimal d;
	int64_t power;

	take_apart(raw, &d);
	if (!d.digits) {
		*out = d.negative ? -0.0 : 0.0;
		return true;
	}
	power = d.point - (int64_t)d.digits;
	if (d.digits <= 15 && power >= -22 && power <= 22) {
		/* Both operands are exact, so the one operation rounds correctly. */
		uint64_t v = 0;

		for (const char *p = d.p; p < d.end;)
			v = v * 10 + digit(&p);
		*out = power < 0 ? (double)v / powers[-power] : (double)v * powers[power];
		if (d.negative)
			*out = -*out;
		return true;
	}
	*out = slow_double(&d);
	return isfinite(*out);
}

int json_number_cmp(struct str a, struct str b)
{
	struct decimal x, y;
	int64_t i, j;
	int sign;

	if (short_int(a, &i) && short_int(b, &j))
		return (i > j) - (i < j);
	take_apart(a, &x);
	take_apart(b, &y);
	if (!x.digits || !y.digits) {
		if (x.digits)
			return x.negative ? -1 : 1;
		return y.digits ? (y.negative ? 1 : -1) : 0;
	}
	if (x.negative != y.negative)
		return x.negative ? -1 : 1;
	sign = x.negative ? -1 : 1;
	if (x.point != y.point)
		return x.point < y.point ? -sign : sign;
	for (const char *p = x.p, *q = y.p; p < x.end && q < y.end;) {
		unsigned c = digit(&p), d = digit(&q);

		if (c != d)
			return c < d ? -sign : sign;
	}
	if (x.digits != y.digits)
		return x.digits < y.digits ? -sign : sign;
	return 0;
}

/* printf writes the decimal point of the locale, which can be several bytes: whatever stands there becomes a point. */
static size_t plain_point(char *text)
{
	size_t n = 0;
	bool inside = false;

	for (const char *p = text; *p; p++) {
		bool part = (*p >= '0' && *p <= '9') || *p == '-' || *p == '+' || *p == 'e';

		if (part)
			text[n++] = *p;
		else if (!inside)
			text[n++] = '.';
		inside = !part;
	}
	text[n] = 0;
	return n;
}

size_t json_double_text(double v, char out[JSON_DOUBLE_TEXT])
{
	size_t n = 0;

	for (int precision = 15; precision <= 17; precision++) {
		snprintf(out, JSON_DOUBLE_TEXT, "%.*g", precision, v);
		n = plain_point(out);
		if (to_double(out) == v)
			break;
	}
	return n;
}
