/* Values of settings: from text to the field of a row and back. Sizes, durations, numbers, words, lists, addresses. */
#include "daemon/config.h"

#include <ctype.h>
#include <inttypes.h>

#include "store/open.h"

struct unit {
	const char *name;
	int64_t factor;
};
/* Largest first: opt_format takes the first that divides the value. */
static const struct unit size_units[] = {{"TiB", INT64_C(1) << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}};
static const struct unit time_units[] = {{"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};

/* number then unit; without a unit bare gives the factor (0: a unit is needed). */
static enum err parse_united(struct str s, const struct unit *u, size_t n, int64_t bare, const char *what, int64_t *out)
{
	size_t digits = 0;
	while (digits < s.n && s.p[digits] >= '0' && s.p[digits] <= '9')
		digits++;
	int64_t v;
	struct str name = str_sub(s, digits, s.n);
	if (!str_int(str_sub(s, 0, digits), 0, INT64_MAX, &v))
		return err_set(E_INVALID, "%s", what);
	int64_t factor = name.n == 0 ? (v == 0 ? 1 : bare) : 0;
	for (size_t i = 0; i < n && factor == 0; i++)
		if (str_eq(name, str_c(u[i].name)))
			factor = u[i].factor;
	if (factor == 0)
		return err_set(E_INVALID, "%s", what);
	if (__builtin_mul_overflow(v, factor, out))
		return err_set(E_INVALID, "is too large");
	return OK;
}

enum err parse_size(struct str s, int64_t *out)
{
	return parse_united(s, size_units, 5, 1, "must be a size such as 64KiB, 8MiB, 1GiB or a number of bytes", out);
}

enum err parse_duration(struct str s, int64_t *ms)
{
	return parse_united(s, time_units, 5, 0, "must be a duration such as 250ms, 30s, 5m, 12h, 7d", ms);
}

static enum err parse_number(enum opt_type t, struct str s, int64_t *out)
{
	if (t == OPT_SIZE)
		return parse_size(s, out);
	if (t == OPT_DURATION)
		return parse_duration(s, out);
	if (!str_int(s, INT64_MIN, INT64_MAX, out))
		return err_set(E_INVALID, "must be a whole number");
	return OK;
}

static enum err in_range(const struct opt *o, int64_t v)
{
	if (o->range == NULL)
		return OK;
	const char *dots = strstr(o->range, "..");
	int64_t lo, hi;
	TRY(parse_number(o->type, str_of(o->range, (size_t)(dots - o->range)), &lo));
	TRY(parse_number(o->type, str_c(dots + 2), &hi));
	return v < lo || v > hi ? err_set(E_INVALID, "must be %s", o->range) : OK;
}

static enum err parse_bool(struct str s, bool *out)
{
	static const char *const yes[] = {"true", "yes", "on", "1"}, *const no[] = {"false", "no", "off", "0"};
	for (size_t i = 0; i < 4; i++) {
		if (str_ieq(s, str_c(yes[i])) || str_ieq(s, str_c(no[i]))) {
			*out = str_ieq(s, str_c(yes[i]));
			return OK;
		}
	}
	return err_set(E_INVALID, "must be true or false (also yes, no, on, off, 1, 0)");
}

static enum err parse_enum(const struct opt *o, struct str s, int64_t *out)
{
	struct str rest = str_c(o->range), word;
	int64_t i = 0;
	for (bool more = true; more; i++) {
		more = str_cut(rest, '|', &word, &rest);
		if (str_eq(word, s)) {
			*out = i;
			return OK;
		}
	}
	return err_set(E_INVALID, "must be one of %s", o->range);
}

/* ADDR:PORT, [ADDR6]:PORT, unix:PATH; the address itself is left to the socket calls. */
static enum err check_addr(struct str s)
{
	if (str_starts(s, STR("unix:"))) {
		if (s.n < 6 || s.n - 5 > 107)
			return err_set(E_INVALID, "unix:PATH needs a path of 1 to 107 bytes");
		return OK;
	}
	ptrdiff_t colon = -1;
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] == ':')
			colon = (ptrdiff_t)i;
	int64_t port;
	if (colon <= 0 || !str_int(str_sub(s, (size_t)colon + 1, s.n), 0, 65535, &port))
		return err_set(E_INVALID, "must be ADDR:PORT with a port of 0..65535, [ADDR6]:PORT or unix:PATH");
	struct str host = str_sub(s, 0, (size_t)colon);
	if (host.p[0] == '[' ? host.p[host.n - 1] != ']' : str_chr(host, ':', 0) >= 0)
		return err_set(E_INVALID, "an IPv6 address is written in brackets: [::1]:8000");
	return OK;
}

static enum err check_url(const struct opt *o, struct str s)
{
	if (s.n == 0)
		return OK;
	if (strcmp(o->key, "server") == 0) {
		if (!str_starts(s, STR("http://")) && !str_starts(s, STR("https://")) && !str_starts(s, STR("unix:")))
			return err_set(E_INVALID, "must be http://HOST:PORT, https://HOST or unix:PATH");
		return OK;
	}
	if (str_starts(s, STR("postgresql://")) || str_starts(s, STR("postgres://")))
		return OK; /* libpq judges the rest when it is opened */
	if (!str_starts(s, STR("sqlite:")))
		return err_set(E_INVALID, "must be sqlite:PATH or postgresql://...");
	return s.n > 7 ? OK : err_set(E_INVALID, "sqlite: needs a path behind it");
}

static enum err check_text(struct str s, bool lines)
{
	for (size_t i = 0; i < s.n; i++)
		if (((unsigned char)s.p[i] < 0x20 && !(lines && (s.p[i] == '\n' || s.p[i] == '\t'))) || s.p[i] == 0x7f)
			return err_set(E_INVALID, "must not contain control characters");
	return OK;
}

static enum err add_words(const struct opt *o, struct arena *a, struct str text, struct str_list *l)
{
	struct str rest = text, word;
	for (bool more = true; more;) {
		more = str_cut(rest, ',', &word, &rest);
		word = str_trim(word);
		if (word.n == 0)
			continue;
		TRY(check_text(word, false));
		if (o->type == OPT_ADDR)
			TRY(check_addr(word));
		if (l->n >= 256)
			return err_set(E_INVALID, "has more than 256 entries");
		struct str *v = arena_grow(a, l->v, l->n * sizeof *v, (l->n + 1) * sizeof *v);
		if (v == NULL)
			return E_NOMEM;
		l->v = v;
		l->v[l->n] = arena_str(a, word);
		if (l->v[l->n].p == NULL)
			return E_NOMEM;
		l->n++;
	}
	return OK;
}

enum err opt_parse(const struct opt *o, struct arena *a, const struct str *texts, size_t n, void *field)
{
	if (o->type == OPT_LIST || o->type == OPT_ADDR) {
		struct str_list l = {0};
		for (size_t i = 0; i < n; i++)
			TRY(add_words(o, a, texts[i], &l));
		if (o->type == OPT_ADDR && l.n == 0)
			return err_set(E_INVALID, "needs at least one address");
		*(struct str_list *)field = l;
		return OK;
	}
	if (n != 1)
		return err_set(E_INVALID, "takes one value, not a list");
	struct str s = texts[0], copy;
	int64_t v;
	bool b = false;
	switch (o->type) {
	case OPT_BOOL:
		TRY(parse_bool(s, &b));
		*(bool *)field = b;
		return OK;
	case OPT_ENUM:
		TRY(parse_enum(o, s, &v));
		*(int64_t *)field = v;
		return OK;
	case OPT_INT:
	case OPT_SIZE:
	case OPT_DURATION:
		TRY(parse_number(o->type, s, &v));
		TRY(in_range(o, v));
		*(int64_t *)field = v;
		return OK;
	default:
		TRY(check_text(s, o->attr & OPT_LINES));
		if (o->type == OPT_URL)
			TRY(check_url(o, s));
		copy = arena_str(a, s);
		if (copy.p == NULL)
			return E_NOMEM;
		*(struct str *)field = copy;
		return OK;
	}
}

static void format_united(int64_t v, const struct unit *u, size_t n, struct buf *out)
{
	size_t i;
	if (v == 0)
		i = n == 5 && u == time_units ? 3 : n - 1; /* 0s, 0B */
	else
		for (i = 0; v % u[i].factor != 0; i++)
			;
	buf_printf(out, "%" PRId64 "%s", v / u[i].factor, u[i].name);
}

void opt_format(const struct opt *o, const void *field, struct buf *out)
{
	switch (o->type) {
	case OPT_BOOL:
		buf_lit(out, *(const bool *)field ? "true" : "false");
		break;
	case OPT_INT:
		buf_i64(out, *(const int64_t *)field);
		break;
	case OPT_SIZE:
		format_united(*(const int64_t *)field, size_units, 5, out);
		break;
	case OPT_DURATION:
		format_united(*(const int64_t *)field, time_units, 5, out);
		break;
	case OPT_ENUM: {
		struct str rest = str_c(o->range), word = rest;
		for (int64_t i = *(const int64_t *)field; i >= 0; i--)
			str_cut(rest, '|', &word, &rest);
		buf_str(out, word);
		break;
	}
	case OPT_LIST:
	case OPT_ADDR: {
		const struct str_list *l = field;
		for (size_t i = 0; i < l->n; i++) {
			buf_lit(out, i ? ", " : "");
			buf_str(out, l->v[i]);
		}
		break;
	}
	case OPT_SECRET:
		buf_lit(out, ((const struct str *)field)->n ? "(set)" : "");
		break;
	case OPT_URL:
		store_url_redact(*(const struct str *)field, out);
		break;
	default:
		buf_str(out, *(const struct str *)field);
	}
}

bool opt_equal(const struct opt *o, const void *x, const void *y)
{
	switch (o->type) {
	case OPT_BOOL:
		return *(const bool *)x == *(const bool *)y;
	case OPT_INT:
	case OPT_SIZE:
	case OPT_DURATION:
	case OPT_ENUM:
		return *(const int64_t *)x == *(const int64_t *)y;
	case OPT_LIST:
	case OPT_ADDR: {
		const struct str_list *p = x, *q = y;
		if (p->n != q->n)
			return false;
		for (size_t i = 0; i < p->n; i++)
			if (!str_eq(p->v[i], q->v[i]))
				return false;
		return true;
	}
	default:
		return str_eq(*(const struct str *)x, *(const struct str *)y);
	}
}
