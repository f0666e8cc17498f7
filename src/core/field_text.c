/* Index paths of LangGraph and the texts that lie at them, as its Python computes them. */
#include "core/field_text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"

#define PATH_DEPTH_MAX 64
#define TEXT_MAX ((size_t)64 << 20)

struct found {
	struct arena *a;
	struct str *v;
	size_t n, cap;
};

static enum err add(struct found *f, struct str text)
{
	if (!text.p)
		return E_NOMEM;
	if (f->n == FIELD_TEXTS_MAX)
		return OK;
	if (f->n == f->cap) {
		size_t cap = f->cap ? f->cap * 2 : 4;
		struct str *v = arena_grow(f->a, f->v, f->cap * sizeof *v, cap * sizeof *v);

		if (!v)
			return E_NOMEM;
		f->v = v;
		f->cap = cap;
	}
	f->v[f->n++] = text;
	return OK;
}

/* ---------------------------------------------------------------- Python's numbers */

/* repr() of a float: the fewest digits that read back as the same, with an exponent below 1e-4 and from 1e16 on. */
static void float_repr(struct buf *b, double d)
{
	char digits[40];
	int sign = d < 0 || (d == 0 && signbit(d)), precision = 0, exponent, n = 0;

	if (!isfinite(d)) { /* only "1e999", which Python reads as infinity */
		buf_lit(b, d < 0 ? "-Infinity" : "Infinity");
		return;
	}
	do {
		snprintf(digits, sizeof digits, "%.*e", precision, fabs(d));
	} while (strtod(digits, NULL) != fabs(d) && ++precision < 18);
	exponent = (int)strtol(strchr(digits, 'e') + 1, NULL, 10);
	for (const char *p = digits; *p != 'e'; p++)
		if (*p >= '0' && *p <= '9')
			digits[n++] = *p;
	buf_lit(b, sign ? "-" : "");
	if (exponent < -4 || exponent >= 16) {
		buf_printf(b, n > 1 ? "%c.%.*se%c%02d" : "%c%.*se%c%02d", digits[0], n - 1, digits + 1, exponent < 0 ? '-' : '+',
			   abs(exponent));
	} else if (exponent < 0) {
		buf_printf(b, "0.%.*s%.*s", -exponent - 1, "0000", n, digits);
	} else {
		for (int i = 0; i <= exponent || i < n; i++) {
			if (i == exponent + 1)
				buf_byte(b, '.');
			buf_byte(b, i < n ? digits[i] : '0');
		}
		if (n <= exponent + 1)
			buf_lit(b, ".0");
	}
}

static void number(struct buf *b, struct jval v)
{
	struct str raw = j_raw(v);
	bool is_int = true;
	double d = 0;

	for (size_t i = 0; i < raw.n; i++)
		is_int = is_int && raw.p[i] != '.' && raw.p[i] != 'e' && raw.p[i] != 'E';
	if (str_eq(raw, STR("-0")))
		buf_byte(b, '0');
	else if (is_int || !j_double(v, &d))
		buf_str(b, raw);
	else
		float_repr(b, d);
}

/* ---------------------------------------------------------------- Python's JSON */

static void quoted(struct buf *b, struct str s)
{
	buf_byte(b, '"');
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];
		const char *at = c ? strchr("\"\\\n\r\t\f\b", c) : NULL;

		if (at)
			buf_printf(b, "\\%c", "\"\\nrtfb"[at - "\"\\\n\r\t\f\b"]);
		else if ((unsigned char)c < 0x20)
			buf_printf(b, "\\u%04x", (unsigned)(unsigned char)c);
		else
			buf_byte(b, c);
	}
	buf_byte(b, '"');
}

struct member {
	struct str name;
	struct jval value;
};

/* By code point, which is the order of the bytes of UTF-8. */
static int by_name(const void *x, const void *y)
{
	return str_cmp(((const struct member *)x)->name, ((const struct member *)y)->name);
}

static enum err dump(struct arena *a, struct buf *b, struct jval v);

/* Depth: that of the value, which the parser has limited. */
static enum err dump_object(struct arena *a, struct buf *b, struct jval v)
{
	uint32_t n = j_node(v)->count;
	struct member *m = ARENA_ARRAY(a, struct member, n + 1);
	struct j_iter it = j_iter(v);
	struct jval key;
	uint32_t k = 0;

	if (!m)
		return E_NOMEM;
	while (k < n && j_next(&it, &key, &m[k].value)) {
		m[k].name = j_str(a, key);
		if (!m[k++].name.p)
			return E_NOMEM;
	}
	qsort(m, k, sizeof *m, by_name);
	buf_byte(b, '{');
	for (uint32_t i = 0; i < k; i++) {
		buf_lit(b, i ? ", " : "");
		quoted(b, m[i].name);
		buf_lit(b, ": ");
		TRY(dump(a, b, m[i].value));
	}
	buf_byte(b, '}');
	return OK;
}

static enum err dump_array(struct arena *a, struct buf *b, struct jval v)
{
	struct j_iter it = j_iter(v);
	struct jval key, child;
	bool first = true;

	buf_byte(b, '[');
	while (j_next(&it, &key, &child)) {
		buf_lit(b, first ? "" : ", ");
		TRY(dump(a, b, child));
		first = false;
	}
	buf_byte(b, ']');
	return OK;
}

static enum err dump(struct arena *a, struct buf *b, struct jval v)
{
	struct str s;

	switch (j_type(v)) {
	case JSON_OBJECT:
		return dump_object(a, b, v);
	case JSON_ARRAY:
		return dump_array(a, b, v);
	case JSON_STRING:
		s = j_str(a, v);
		if (!s.p)
			return E_NOMEM;
		quoted(b, s);
		return OK;
	case JSON_NUMBER:
		number(b, v);
		return OK;
	default:
		buf_str(b, j_raw(v)); /* true, false, null */
		return OK;
	}
}

static enum err add_json(struct found *f, struct jval v)
{
	struct buf b;

	buf_init(&b, f->a, TEXT_MAX);
	TRY(dump(f->a, &b, v));
	return b.err == OK ? add(f, buf_slice(&b)) : E_NOMEM;
}

/* What a path has led to. */
static enum err leaf(struct found *f, struct jval v)
{
	struct buf b;

	switch (j_type(v)) {
	case JSON_STRING:
		return add(f, j_str(f->a, v));
	case JSON_TRUE:
		return add(f, STR("True"));
	case JSON_FALSE:
		return add(f, STR("False"));
	case JSON_NUMBER:
		buf_init(&b, f->a, TEXT_MAX);
		number(&b, v);
		return b.err == OK ? add(f, buf_slice(&b)) : E_NOMEM;
	case JSON_OBJECT:
	case JSON_ARRAY:
		return add_json(f, v);
	default:
		return OK;
	}
}

/* ------------------------------------------------------------------- paths */

/* The next part of a path: a name, "[...]" or "{...}"; false at the end. Dots separate; empty parts are skipped. */
static bool next_part(struct str *path, struct str *part)
{
	unsigned depth = 1;
	char open, close;
	size_t i;

	while (path->n && path->p[0] == '.')
		*path = str_sub(*path, 1, path->n);
	if (path->n == 0)
		return false;
	open = path->p[0];
	if (open != '[' && open != '{') {
		for (i = 0; i < path->n && path->p[i] != '.' && path->p[i] != '[' && path->p[i] != '{'; i++)
			;
	} else {
		close = open == '[' ? ']' : '}';
		for (i = 1; i < path->n && depth > 0; i++)
			depth += path->p[i] == open ? 1u : path->p[i] == close ? -1u : 0u;
	}
	*part = str_sub(*path, 0, i);
	*path = str_sub(*path, i, path->n);
	return true;
}

static bool bracketed(struct str part, char open, char close)
{
	return part.n >= 2 && part.p[0] == open && part.p[part.n - 1] == close;
}

static enum err follow(struct found *f, struct jval v, struct str path, unsigned depth);

static enum err each(struct found *f, struct jval v, struct str rest, unsigned depth)
{
	struct j_iter it = j_iter(v);
	struct jval key, child;

	while (j_next(&it, &key, &child) && f->n < FIELD_TEXTS_MAX)
		TRY(follow(f, child, rest, depth + 1));
	return OK;
}

static enum err at_index(struct found *f, struct jval v, struct str index, struct str rest, unsigned depth)
{
	struct j_iter it = j_iter(v);
	struct jval key, child;
	int64_t want, i = 0;

	if (!j_is(v, JSON_ARRAY))
		return OK;
	if (str_eq(index, STR("*")))
		return each(f, v, rest, depth);
	if (!str_int(str_trim(index), INT32_MIN, INT32_MAX, &want))
		return OK;
	want += want < 0 ? (int64_t)j_node(v)->count : 0;
	for (; j_next(&it, &key, &child); i++)
		if (i == want)
			return follow(f, child, rest, depth + 1);
	return OK;
}

/* "{a,b.c}": the members that there are, whatever follows it in the path. */
static enum err several(struct found *f, struct jval v, struct str list)
{
	struct str names, part;
	bool more = true;

	while (j_is(v, JSON_OBJECT) && more) {
		struct jval at = v;
		bool any = false;

		more = str_cut(list, ',', &names, &list);
		names = str_trim(names);
		while (j_ok(at) && next_part(&names, &part)) {
			at = j_is(at, JSON_OBJECT) ? j_get(at, part) : (struct jval){0};
			any = true;
		}
		if (any && j_ok(at))
			TRY(leaf(f, at));
	}
	return OK;
}

static enum err follow(struct found *f, struct jval v, struct str path, unsigned depth)
{
	struct str part;

	if (depth > PATH_DEPTH_MAX)
		return OK;
	if (!next_part(&path, &part))
		return leaf(f, v);
	if (bracketed(part, '[', ']'))
		return at_index(f, v, str_sub(part, 1, part.n - 1), path, depth);
	if (bracketed(part, '{', '}'))
		return several(f, v, str_sub(part, 1, part.n - 1));
	if (str_eq(part, STR("*")))
		return j_is(v, JSON_OBJECT) || j_is(v, JSON_ARRAY) ? each(f, v, path, depth) : OK;
	v = j_is(v, JSON_OBJECT) ? j_get(v, part) : (struct jval){0};
	return j_ok(v) ? follow(f, v, path, depth + 1) : OK;
}

/* ------------------------------------------------------------------- names */

enum err field_texts(struct arena *a, const struct json *value, struct str path, bool dollar, struct str **out, size_t *n)
{
	struct found f = {.a = a};
	struct str rest = path, part;
	bool whole = !next_part(&rest, &part) || (dollar && str_eq(path, STR("$")));

	TRY(whole ? add_json(&f, json_root(value)) : follow(&f, json_root(value), path, 0));
	*out = f.v;
	*n = f.n;
	return OK;
}

enum err field_name(struct arena *a, struct str path, size_t i, size_t n, struct str *out)
{
	*out = n > 1 ? arena_printf(a, "%.*s.%zu", STR_ARG(path), i) : arena_str(a, path);
	return out->p ? OK : E_NOMEM;
}

enum err field_text_of(struct arena *a, const struct json *value, struct str name, struct str *out, bool *found)
{
	struct str *texts;
	size_t n, dot = name.n;
	int64_t i;

	TRY(field_texts(a, value, name, true, &texts, &n));
	*found = n == 1;
	if (*found)
		*out = texts[0];
	while (dot > 0 && name.p[dot - 1] != '.')
		dot--;
	if (*found || dot == 0 || !str_int(str_sub(name, dot, name.n), 0, FIELD_TEXTS_MAX, &i))
		return OK;
	TRY(field_texts(a, value, str_sub(name, 0, dot - 1), true, &texts, &n));
	*found = n > 1 && (size_t)i < n;
	if (*found)
		*out = texts[i];
	return OK;
}
