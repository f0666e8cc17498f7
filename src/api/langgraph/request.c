/* Reading requests of LangGraph's protocol, and ending them. null counts as absent; unknown members are ignored. What cannot be
 * parsed is 400, a wrong field is 422 and is named. */
#include "api/langgraph/impl.h"
#include "base/clock.h"
#include "core/parse.h"

enum err lg_object(struct http_req *rq, struct json *doc)
{
	TRY(parse_body(rq_arena(rq), rq_body(rq), doc));
	if (!j_is(json_root(doc), JSON_OBJECT))
		return err_set(E_INVALID, "the body must be a JSON object");
	return OK;
}

enum err lg_object_or_none(struct http_req *rq, struct json *doc)
{
	if (str_trim(rq_body(rq)).n > 0)
		return lg_object(rq, doc);
	return json_parse(rq_arena(rq), STR("{}"), NULL, doc);
}

enum err lg_bad(const char *field, const char *why)
{
	return err_field(E_INVALID, field, -1, "%s %s", field + 1, why);
}

enum err lg_string(struct arena *a, struct jval v, const char *field, struct str *out)
{
	if (!j_is(v, JSON_STRING))
		return lg_bad(field, "must be a string");
	*out = j_str(a, v);
	return out->p ? OK : E_NOMEM;
}

enum err lg_text(struct arena *a, struct jval v, const char *field, struct str *out)
{
	*out = STR("");
	return j_null(v) ? OK : lg_string(a, v, field, out);
}

enum err lg_uint(struct jval v, const char *field, int64_t min, int64_t max, uint32_t dflt, uint32_t *out)
{
	int64_t n;

	*out = dflt;
	if (j_null(v))
		return OK;
	if (!j_i64(v, &n) || n < min || n > max)
		return err_field(E_INVALID, field, -1, "%s must be an integer from %lld to %lld", field + 1, (long long)min,
				 (long long)max);
	*out = (uint32_t)n;
	return OK;
}

enum err lg_choice(struct jval v, const char *field, const char *const *names, int dflt, int *out)
{
	struct buf b;
	enum err e;

	*out = dflt;
	if (j_null(v))
		return OK;
	for (int i = 0; names[i]; i++)
		if (j_is(v, JSON_STRING) && j_str_eq(v, str_c(names[i]))) {
			*out = i;
			return OK;
		}
	buf_init(&b, NULL, 400);
	for (int i = 0; names[i]; i++)
		buf_printf(&b, "%s%s", i > 0 ? ", " : "", names[i]);
	e = err_field(E_INVALID, field, -1, "%s must be one of %.*s", field + 1, STR_ARG(buf_slice(&b)));
	buf_release(&b);
	return e;
}

enum err lg_strings(struct arena *a, struct jval v, const char *field, size_t max, struct str **out, size_t *n)
{
	struct jval s;

	*out = NULL;
	*n = 0;
	if (j_null(v))
		return OK;
	if (!j_is(v, JSON_ARRAY))
		return lg_bad(field, "must be an array of strings");
	if (j_node(v)->count > max)
		return err_field(E_INVALID, field, -1, "%s has %u elements, at most %zu are allowed", field + 1, j_node(v)->count,
				 max);
	*out = ARENA_ARRAY(a, struct str, j_node(v)->count + 1);
	if (!*out)
		return E_NOMEM;
	for (struct j_iter it = j_iter(v); j_next(&it, NULL, &s); (*n)++)
		TRY(lg_string(a, s, field, &(*out)[*n]));
	return OK;
}

void lg_time(struct jw *w, int64_t us)
{
	char text[CLOCK_TEXT_MAX];

	jw_str(w, str_of(text, clock_format(us, CLOCK_MICROS_OFFSET, text)));
}

void lg_answer(struct http_req *rq, enum err e, const struct buf *b)
{
	if (e == OK)
		e = b->err;
	if (e == OK)
		rs_json(rq, 200, buf_slice(b));
	else
		rs_error(rq, e);
}
