/* JSON schema, as far as parameters of functions need it; see tool.h for the words. Pure computation; depth and size are bounded by
 * those of the parsed texts. */
#include <stdio.h>

#include "core/tool.h"

enum { PATH_MAX_BYTES = 120 };

static const char *const type_names[] = {"object", "array", "string", "number", "integer", "boolean", "null"};
enum { TYPES = sizeof type_names / sizeof type_names[0] };

/* A place in an argument or a schema, for sentences. */
struct place {
	const struct place *up;
	struct str name; /* .p NULL: an index */
	size_t index;
};

static const char *say(const struct place *p, char out[PATH_MAX_BYTES])
{
	const struct place *chain[8];
	size_t n = 0, at = 0;

	for (; p && n < sizeof chain / sizeof chain[0]; p = p->up)
		chain[n++] = p;
	out[0] = 0;
	while (n-- > 0 && at < PATH_MAX_BYTES) {
		struct str name = str_sub(chain[n]->name, 0, 40);

		if (chain[n]->name.p)
			at += (size_t)snprintf(out + at, PATH_MAX_BYTES - at, "%s%.*s", at ? "." : "", STR_ARG(name));
		else
			at += (size_t)snprintf(out + at, PATH_MAX_BYTES - at, "[%zu]", chain[n]->index);
	}
	return out;
}

/* -------------------------------------------------------------------- fitting */

static bool is_type(struct jval v, struct str type)
{
	int64_t whole;

	switch (j_type(v)) {
	case JSON_OBJECT:
		return str_eq(type, STR("object"));
	case JSON_ARRAY:
		return str_eq(type, STR("array"));
	case JSON_STRING:
		return str_eq(type, STR("string"));
	case JSON_NUMBER:
		return str_eq(type, STR("number")) || (str_eq(type, STR("integer")) && j_i64(v, &whole));
	case JSON_TRUE:
	case JSON_FALSE:
		return str_eq(type, STR("boolean"));
	case JSON_NULL:
		return str_eq(type, STR("null"));
	}
	return false;
}

static enum err fits_type(struct arena *a, struct jval type, struct jval v, const struct place *at)
{
	char path[PATH_MAX_BYTES];
	struct jval one;

	if (!j_ok(type))
		return OK;
	if (j_is(type, JSON_STRING)) {
		struct str name = j_str(a, type);

		if (!name.p)
			return E_NOMEM;
		return is_type(v, name) ? OK : err_set(E_INVALID, "%s must be of type %.*s", say(at, path), STR_ARG(name));
	}
	for (struct j_iter it = j_iter(type); j_next(&it, NULL, &one);) {
		struct str name = j_str(a, one);

		if (!name.p)
			return E_NOMEM;
		if (is_type(v, name))
			return OK;
	}
	return err_set(E_INVALID, "%s must be of one of the types %.*s", say(at, path), STR_ARG(str_sub(j_raw(type), 0, 200)));
}

static enum err fits_enum(struct jval list, struct jval v, const struct place *at)
{
	char path[PATH_MAX_BYTES];
	struct jval one;

	if (!j_ok(list))
		return OK;
	for (struct j_iter it = j_iter(list); j_next(&it, NULL, &one);)
		if (j_equal(one, v))
			return OK;
	return err_set(E_INVALID, "%s must be one of %.*s", say(at, path), STR_ARG(str_sub(j_raw(list), 0, 200)));
}

/* Characters of a text. */
static int64_t characters(struct str s)
{
	int64_t n = 0;

	for (size_t i = 0; i < s.n; i++)
		n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
	return n;
}

/* Whether the number lies within schema[low] .. schema[high]. */
static enum err fits_range(struct jval schema, const char *low, const char *high, double v, const char *what,
			   const struct place *at)
{
	char path[PATH_MAX_BYTES];
	double limit;

	if (j_double(j_get(schema, str_c(low)), &limit) && v < limit)
		return err_set(E_INVALID, "%s must%s be at least %g", say(at, path), what, limit);
	if (j_double(j_get(schema, str_c(high)), &limit) && v > limit)
		return err_set(E_INVALID, "%s must%s be at most %g", say(at, path), what, limit);
	return OK;
}

static enum err fits(struct arena *a, struct jval schema, struct jval v, const struct place *at);

static enum err fits_object(struct arena *a, struct jval schema, struct jval v, const struct place *at)
{
	struct jval properties = j_get(schema, STR("properties")), required = j_get(schema, STR("required")), key, member;
	char path[PATH_MAX_BYTES];
	bool more = true;

	if (j_ok(required))
		for (struct j_iter it = j_iter(required); j_next(&it, NULL, &key);) {
			const struct place p = {at, j_str(a, key), 0};

			if (!p.name.p)
				return E_NOMEM;
			if (!j_ok(j_get(v, p.name)))
				return err_set(E_INVALID, "%s is missing", say(&p, path));
		}
	(void)j_bool(j_get(schema, STR("additionalProperties")), &more);
	for (struct j_iter it = j_iter(v); j_next(&it, &key, &member);) {
		const struct place p = {at, j_str(a, key), 0};
		struct jval sub;

		if (!p.name.p)
			return E_NOMEM;
		sub = j_get(properties, p.name);
		if (j_ok(sub))
			TRY(fits(a, sub, member, &p));
		else if (!more)
			return err_set(E_INVALID, "there is no argument %s", say(&p, path));
	}
	return OK;
}

static enum err fits_array(struct arena *a, struct jval schema, struct jval v, const struct place *at)
{
	struct jval items = j_get(schema, STR("items")), one;
	struct place p = {at, {NULL, 0}, 0};

	TRY(fits_range(schema, "minItems", "maxItems", j_node(v)->count, " have a number of elements that must", at));
	if (j_is(items, JSON_OBJECT))
		for (struct j_iter it = j_iter(v); j_next(&it, NULL, &one); p.index++)
			TRY(fits(a, items, one, &p));
	return OK;
}

static enum err fits(struct arena *a, struct jval schema, struct jval v, const struct place *at)
{
	double number;

	TRY(fits_type(a, j_get(schema, STR("type")), v, at));
	TRY(fits_enum(j_get(schema, STR("enum")), v, at));
	if (j_is(v, JSON_STRING)) {
		struct str s = j_str(a, v);

		if (!s.p)
			return E_NOMEM;
		return fits_range(schema, "minLength", "maxLength", (double)characters(s), " have a length that must", at);
	}
	if (j_double(v, &number))
		return fits_range(schema, "minimum", "maximum", number, "", at);
	if (j_is(v, JSON_OBJECT))
		return fits_object(a, schema, v, at);
	return j_is(v, JSON_ARRAY) ? fits_array(a, schema, v, at) : OK;
}

enum err tool_schema_fits(struct arena *a, struct jval schema, struct jval value)
{
	const struct place top = {NULL, STR_INIT("arguments"), 0};

	return fits(a, schema, value, j_is(value, JSON_OBJECT) ? NULL : &top);
}

/* ------------------------------------------------------------------- checking */

static enum err check(struct arena *a, struct jval s, const struct place *at, bool foreign);

static enum err wrong(const struct place *at, const char *word, const char *what)
{
	const struct place p = {at, str_c(word), 0};
	char path[PATH_MAX_BYTES];

	return err_set(E_INVALID, "%s %s", say(&p, path), what);
}

static bool known_type(struct jval v)
{
	for (size_t i = 0; i < TYPES; i++)
		if (j_str_eq(v, str_c(type_names[i])))
			return true;
	return false;
}

static enum err check_type(struct jval type, const struct place *at)
{
	static const char allowed[] = "must be object, array, string, number, integer, boolean or null, or a list of these";
	struct jval one;

	if (!j_ok(type) || known_type(type))
		return OK;
	if (!j_is(type, JSON_ARRAY) || j_node(type)->count == 0)
		return wrong(at, "type", allowed);
	for (struct j_iter it = j_iter(type); j_next(&it, NULL, &one);)
		if (!known_type(one))
			return wrong(at, "type", allowed);
	return OK;
}

static enum err check_properties(struct arena *a, struct jval properties, const struct place *at, bool foreign)
{
	const struct place p = {at, STR_INIT("properties"), 0};
	struct jval key, sub;

	if (!j_ok(properties))
		return OK;
	if (!j_is(properties, JSON_OBJECT))
		return wrong(at, "properties", "must be an object");
	for (struct j_iter it = j_iter(properties); j_next(&it, &key, &sub);) {
		const struct place member = {&p, j_str(a, key), 0};

		if (!member.name.p)
			return E_NOMEM;
		TRY(check(a, sub, &member, foreign));
	}
	return OK;
}

static enum err check_required(struct arena *a, struct jval s, const struct place *at, bool foreign)
{
	struct jval required = j_get(s, STR("required")), properties = j_get(s, STR("properties")), one;

	if (!j_ok(required))
		return OK;
	if (!j_is(required, JSON_ARRAY))
		return wrong(at, "required", "must be a list of names");
	for (struct j_iter it = j_iter(required); j_next(&it, NULL, &one);) {
		struct str name = j_is(one, JSON_STRING) ? j_str(a, one) : STR("");

		if (!name.p)
			return E_NOMEM;
		if (!j_is(one, JSON_STRING) || (!foreign && !j_ok(j_get(properties, name))))
			return wrong(at, "required", "names something that is not among the properties");
	}
	return OK;
}

static enum err check_words(struct jval s, const struct place *at)
{
	static const char *const words[] = {
		"type",	       "properties", "required",  "items",     "enum",	   "additionalProperties",
		"minimum",     "maximum",    "minLength", "maxLength", "minItems", "maxItems",
		"description", "title",	     "default",	  "examples",  "format"};
	char path[PATH_MAX_BYTES];
	struct jval key;

	for (struct j_iter it = j_iter(s); j_next(&it, &key, NULL);) {
		size_t i = 0;

		while (i < sizeof words / sizeof words[0] && !j_str_eq(key, str_c(words[i])))
			i++;
		if (i == sizeof words / sizeof words[0])
			return err_set(E_INVALID,
				       "%s has the word %.*s, which is not supported; there are type, properties, required, items, "
				       "enum, additionalProperties, minimum, maximum, minLength, maxLength, minItems, maxItems, "
				       "description, title, default, examples, format",
				       say(at, path), STR_ARG(str_sub(j_raw(key), 0, 40)));
	}
	return OK;
}

/* Whether others may write v where we want something else: what is passed over then. */
static bool passed_over(struct jval v, bool foreign)
{
	return foreign && !j_is(v, JSON_OBJECT);
}

static enum err check(struct arena *a, struct jval s, const struct place *at, bool foreign)
{
	static const char *const numbers[] = {"minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems"};
	struct jval items = j_get(s, STR("items")), v;
	char path[PATH_MAX_BYTES];
	bool flag;

	if (foreign && j_ok(s) && j_bool(s, &flag))
		return OK;
	if (!j_is(s, JSON_OBJECT))
		return err_set(E_INVALID, "%s must be a schema, an object", say(at, path));
	if (!foreign)
		TRY(check_words(s, at));
	TRY(check_type(j_get(s, STR("type")), at));
	TRY(check_properties(a, j_get(s, STR("properties")), at, foreign));
	TRY(check_required(a, s, at, foreign));
	if (j_ok(items) && !passed_over(items, foreign)) {
		const struct place p = {at, STR_INIT("items"), 0};

		TRY(check(a, items, &p, foreign));
	}
	v = j_get(s, STR("enum"));
	if (j_ok(v) && (!j_is(v, JSON_ARRAY) || j_node(v)->count == 0))
		return wrong(at, "enum", "must be a list of values");
	v = j_get(s, STR("additionalProperties"));
	if (j_ok(v) && !foreign && !j_bool(v, &flag))
		return wrong(at, "additionalProperties", "must be true or false");
	for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
		if (j_ok(j_get(s, str_c(numbers[i]))) && !j_is(j_get(s, str_c(numbers[i])), JSON_NUMBER))
			return wrong(at, numbers[i], "must be a number");
	return OK;
}

static enum err check_whole(struct arena *a, struct jval schema, const char *name, bool foreign)
{
	const struct place top = {NULL, str_c(name), 0};

	TRY(check(a, schema, &top, foreign));
	return j_str_eq(j_get(schema, STR("type")), STR("object")) ? OK : wrong(&top, "type", "must be object");
}

enum err tool_schema_check(struct arena *a, struct jval schema, const char *name)
{
	return check_whole(a, schema, name, false);
}

enum err tool_schema_check_foreign(struct arena *a, struct jval schema, const char *name)
{
	return check_whole(a, schema, name, true);
}

/* ---------------------------------------------------------------------- tools */

bool tool_name_ok(struct str name)
{
	if (name.n < 1 || name.n > TOOL_NAME_MAX)
		return false;
	for (size_t i = 0; i < name.n; i++) {
		char c = name.p[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-'))
			return false;
	}
	return true;
}

const struct tool *toolbox_find(const struct toolbox *box, struct str name)
{
	for (size_t i = 0; i < box->n; i++)
		if (str_eq(box->v[i]->name, name))
			return box->v[i];
	return NULL;
}

void tool_write(const struct tool *t, struct buf *out)
{
	buf_lit(out, "{\"type\":\"function\",\"function\":{\"name\":");
	json_quote(out, t->name);
	buf_lit(out, ",\"description\":");
	json_quote(out, t->description);
	buf_lit(out, ",\"parameters\":");
	buf_str(out, t->parameters);
	buf_lit(out, "}}");
}
