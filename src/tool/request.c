/* From arguments to a request: placeholders of the path and of the body's template, and where the other arguments go.
 *
 * Invariants
 *  1. Arguments never change scheme, host or port: those have no placeholders (declared.c), and what stands in a path or a query is
 *     percent-encoded. A part of a path is never "." or "..", nor empty.
 *  2. A string of the template that is a placeholder alone becomes the argument as it is, of whatever type; within a longer string
 *     its text. A member or an element whose argument is absent is left out. */
#include "http/client.h"
#include "tool/impl.h"

bool placeholder_next(struct str text, size_t *at, size_t *begin, struct str *name)
{
	for (ptrdiff_t open = str_chr(text, '{', *at); open >= 0; open = str_chr(text, '{', (size_t)open + 1)) {
		ptrdiff_t end = str_chr(text, '}', (size_t)open);

		if (end < 0)
			return false;
		*name = str_sub(text, (size_t)open + 1, (size_t)end);
		if (!tool_name_ok(*name))
			continue;
		*begin = (size_t)open;
		*at = (size_t)end + 1;
		return true;
	}
	return false;
}

/* A text as it is, everything else as JSON. */
static struct str text_of(struct arena *a, struct jval v)
{
	return j_is(v, JSON_STRING) ? j_str(a, v) : j_raw(v);
}

static bool takes(struct str template, struct str name)
{
	size_t at = 0, begin;
	struct str one;

	while (placeholder_next(template, &at, &begin, &one))
		if (str_eq(one, name))
			return true;
	return false;
}

/* --------------------------------------------------------------------- path */

static enum err put_encoded(struct buf *b, struct arena *a, struct str value)
{
	struct str s = url_encode(a, value);

	if (!s.p)
		return E_NOMEM;
	buf_str(b, s);
	return b->err;
}

static enum err put_path(const struct http_tool *t, struct arena *a, struct jval arguments, struct buf *b)
{
	ptrdiff_t query = str_chr(t->to.path, '?', 0);
	size_t at = 0, begin, last = 0;
	struct str name;

	while (placeholder_next(t->to.path, &at, &begin, &name)) {
		struct jval v = j_get(arguments, name);
		struct str text = j_null(v) ? STR("") : text_of(a, v);

		if (!text.p)
			return E_NOMEM;
		if ((query < 0 || begin < (size_t)query) && (!text.n || str_eq(text, STR(".")) || str_eq(text, STR(".."))))
			return err_set(E_INVALID, "%.*s must not be empty, \".\" or \"..\": it is a part of a path", STR_ARG(name));
		buf_str(b, str_sub(t->to.path, last, begin));
		TRY(put_encoded(b, a, text));
		last = at;
	}
	buf_str(b, str_sub(t->to.path, last, t->to.path.n));
	return b->err;
}

/* The arguments that nothing else takes. */
static enum err put_query(const struct http_tool *t, struct arena *a, struct jval arguments, struct buf *b)
{
	bool first = str_chr(t->to.path, '?', 0) < 0;
	struct jval key, v;

	for (struct j_iter it = j_iter(arguments); j_next(&it, &key, &v);) {
		struct str name = j_str(a, key), text = text_of(a, v);

		if (!name.p || !text.p)
			return E_NOMEM;
		if (j_null(v) || takes(t->to.path, name))
			continue;
		buf_byte(b, first ? '?' : '&');
		first = false;
		TRY(put_encoded(b, a, name));
		buf_byte(b, '=');
		TRY(put_encoded(b, a, text));
	}
	return b->err;
}

/* --------------------------------------------------------------------- body */

static enum err put_rest(const struct http_tool *t, struct arena *a, struct jval arguments, struct buf *b)
{
	struct jval key, v;
	bool first = true;

	buf_byte(b, '{');
	for (struct j_iter it = j_iter(arguments); j_next(&it, &key, &v);) {
		struct str name = j_str(a, key);

		if (!name.p)
			return E_NOMEM;
		if (takes(t->to.path, name))
			continue;
		buf_lit(b, first ? "" : ",");
		first = false;
		buf_str(b, j_raw(key));
		buf_byte(b, ':');
		buf_str(b, j_raw(v));
	}
	buf_byte(b, '}');
	return b->err;
}

/* The argument that a string of the template stands for, absent when it is another string. *is: it is a placeholder. */
static enum err stands_for(struct arena *a, struct jval v, struct jval arguments, struct jval *out, bool *is)
{
	size_t at = 0, begin;
	struct str text, name;

	*is = false;
	*out = (struct jval){NULL, 0};
	if (!j_is(v, JSON_STRING))
		return OK;
	text = j_str(a, v);
	if (!text.p)
		return E_NOMEM;
	*is = placeholder_next(text, &at, &begin, &name) && begin == 0 && at == text.n;
	if (*is)
		*out = j_get(arguments, name);
	return OK;
}

static enum err put_string(struct arena *a, struct jval v, struct jval arguments, struct buf *b)
{
	struct str text = j_str(a, v), name, value;
	size_t at = 0, begin, last = 0;
	struct buf made;

	if (!text.p)
		return E_NOMEM;
	buf_init(&made, a, (size_t)8 << 20);
	while (placeholder_next(text, &at, &begin, &name)) {
		struct jval arg = j_get(arguments, name);

		buf_str(&made, str_sub(text, last, begin));
		value = j_null(arg) ? STR("") : text_of(a, arg);
		if (!value.p)
			return E_NOMEM;
		buf_str(&made, value);
		last = at;
	}
	buf_str(&made, str_sub(text, last, text.n));
	TRY(made.err);
	json_quote(b, made.n ? buf_slice(&made) : STR(""));
	return b->err;
}

static enum err put_template(struct arena *a, struct jval v, struct jval arguments, struct buf *b)
{
	bool object = j_is(v, JSON_OBJECT), first = true, is;
	struct jval key, one, arg;

	TRY(stands_for(a, v, arguments, &arg, &is));
	if (is) {
		buf_str(b, j_ok(arg) ? j_raw(arg) : STR("null"));
		return b->err;
	}
	if (j_is(v, JSON_STRING))
		return put_string(a, v, arguments, b);
	if (!object && !j_is(v, JSON_ARRAY)) {
		buf_str(b, j_raw(v));
		return b->err;
	}
	buf_byte(b, object ? '{' : '[');
	for (struct j_iter it = j_iter(v); j_next(&it, &key, &one);) {
		TRY(stands_for(a, one, arguments, &arg, &is));
		if (is && !j_ok(arg))
			continue;
		buf_lit(b, first ? "" : ",");
		first = false;
		if (object) {
			buf_str(b, j_raw(key));
			buf_byte(b, ':');
		}
		TRY(put_template(a, one, arguments, b));
	}
	buf_byte(b, object ? '}' : ']');
	return b->err;
}

/* ------------------------------------------------------------------- request */

enum err http_request_make(const struct http_tool *t, struct arena *a, struct jval arguments, struct str *path, struct str *body)
{
	struct buf p, b;
	struct json doc;

	buf_init(&p, a, (size_t)4 << 20);
	buf_init(&b, a, (size_t)16 << 20);
	TRY(put_path(t, a, arguments, &p));
	if (t->body.p) {
		TRY(json_parse(a, t->body, &json_default_limits, &doc));
		TRY(put_template(a, json_root(&doc), arguments, &b));
	} else if (t->sends) {
		TRY(put_rest(t, a, arguments, &b));
	} else {
		TRY(put_query(t, a, arguments, &p));
	}
	*path = buf_slice(&p);
	*body = b.n ? buf_slice(&b) : STR("");
	return OK;
}
