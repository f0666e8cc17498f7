/* Index paths of LangGraph and the texts that lie at them, as its Python computes them. */
#include "core/field_text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/list.h"
#include "core/field_path.h"

#define TEXT_MAX ((size_t)64 << 20)

struct found {
	struct arena *a;
	struct str *v;
	size_t n, cap;
	struct field_walk walk;
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
static enum err leaf_text(struct found *f, struct jval v)
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

static enum err leaf(void *ctx, struct jval v)
{
	struct field_walk *w = ctx;
	struct found *f = CONTAINER(w, struct found, walk);

	TRY(leaf_text(f, v));
	w->enough = f->n >= FIELD_TEXTS_MAX;
	return OK;
}

/* ------------------------------------------------------------------- names */

enum err field_texts(struct arena *a, const struct json *value, struct str path, bool dollar, struct str **out, size_t *n)
{
	struct found f = {.a = a, .walk = {.leaf = leaf, .ctx = &f.walk}};
	struct str rest = path, part;
	bool whole = !field_path_next(&rest, &part) || (dollar && str_eq(path, STR("$")));

	TRY(whole ? add_json(&f, json_root(value)) : field_path_walk(&f.walk, json_root(value), path));
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
