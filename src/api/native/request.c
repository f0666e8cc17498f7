/* Reading requests of the native API: bodies, members, parameters. Every refusal names its field as a JSON pointer or a parameter.
 */
#include <stdio.h>

#include "api/native/impl.h"
#include "base/clock.h"
#include "core/parse.h"

static const char *pointer(char out[160], const char *at, const char *name)
{
	snprintf(out, 160, "%.100s/%.50s", at, name);
	return out;
}

enum err nv_bad(const char *field, const char *why)
{
	const char *name = strrchr(field, '/');

	return err_field(E_INVALID, field, -1, "%s %s", name ? name + 1 : field, why);
}

static enum err bad_at(const char *at, const char *name, const char *why)
{
	char field[160];

	return nv_bad(pointer(field, at, name), why);
}

enum err nv_body(struct http_req *rq, const struct str *names, size_t n, struct json *doc)
{
	bool strict;

	TRY(rq_query_bool(rq, "strict", false, &strict));
	TRY(parse_body(rq_arena(rq), rq_body(rq), doc));
	if (!j_is(json_root(doc), JSON_OBJECT))
		return err_set(E_INVALID, "the body must be a JSON object");
	return strict ? j_only(json_root(doc), names, n) : OK;
}

enum err nv_str(struct arena *a, struct jval obj, const char *at, const char *name, struct str *out)
{
	struct jval v = j_get(obj, str_c(name));

	*out = (struct str){0};
	if (j_null(v))
		return OK;
	if (!j_is(v, JSON_STRING))
		return bad_at(at, name, "must be a string");
	*out = j_str(a, v);
	return out->p ? OK : E_NOMEM;
}

enum err nv_uint(struct jval obj, const char *at, const char *name, int64_t min, int64_t max, int64_t dflt, uint32_t *out)
{
	struct jval v = j_get(obj, str_c(name));
	char field[160];
	int64_t n;

	*out = (uint32_t)dflt;
	if (j_null(v))
		return OK;
	if (!j_i64(v, &n))
		return bad_at(at, name, "must be an integer");
	if (n < min || n > max)
		return err_field(E_INVALID, pointer(field, at, name), -1, "%s must be %lld..%lld, got %lld", name, (long long)min,
				 (long long)max, (long long)n);
	*out = (uint32_t)n;
	return OK;
}

enum err nv_bool(struct jval obj, const char *at, const char *name, bool *given, bool *out)
{
	struct jval v = j_get(obj, str_c(name));

	*given = !j_null(v);
	*out = false;
	if (*given && !j_bool(v, out))
		return bad_at(at, name, "must be true or false");
	return OK;
}

enum err nv_time(struct arena *a, struct jval obj, const char *at, const char *name, int64_t *out)
{
	struct str s;

	*out = 0;
	TRY(nv_str(a, obj, at, name, &s));
	if (s.p && clock_parse(s, out) != OK)
		return bad_at(at, name, "must be RFC 3339, such as 2026-08-20T07:02:48Z");
	return OK;
}

enum err nv_ns(struct arena *a, struct jval obj, const char *at, const char *name, struct str *out)
{
	struct jval v = j_get(obj, str_c(name));
	char field[160];

	*out = STR("");
	if (j_null(v))
		return OK;
	pointer(field, at, name);
	if (!j_is(v, JSON_STRING))
		return ns_from_json(a, v, field, out);
	*out = j_str(a, v);
	return out->p ? ns_check(*out, field, true) : E_NOMEM;
}

enum err nv_query_ns(struct http_req *rq, const char *name, bool allow_empty, struct str *out)
{
	struct str *labels;
	struct buf b;
	size_t n;

	*out = STR("");
	TRY(rq_query_all(rq, name, &labels, &n));
	if (n == 1)
		*out = labels[0];
	if (n < 2)
		return ns_check(*out, name, allow_empty);
	buf_init(&b, rq_arena(rq), 2 * NS_MAX_BYTES);
	for (size_t i = 0; i < n; i++) {
		if (labels[i].n == 0 || str_chr(labels[i], '.', 0) >= 0)
			return nv_bad(name, "given more than once is one label each, not empty and without dots");
		if (i > 0)
			buf_byte(&b, '.');
		buf_str(&b, labels[i]);
	}
	if (b.err != OK)
		return nv_bad(name, "is too long");
	*out = buf_slice(&b);
	return ns_check(*out, name, allow_empty);
}

void nv_etag(struct http_req *rq, int64_t version)
{
	char text[32];

	snprintf(text, sizeof text, "\"%lld\"", (long long)version);
	rs_header(rq, "ETag", str_c(text));
}

void nv_answer(struct http_req *rq, enum err e, const struct buf *b)
{
	if (e == OK)
		e = b->err;
	if (e == OK)
		rs_json(rq, 200, buf_slice(b));
	else
		rs_error(rq, e);
}
