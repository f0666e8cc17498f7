/* What entries of sessions and values of channels say. Whatever the bytes are, nothing is executed, and what is not understood says
 * nothing. */
#include <stdio.h>

#include "base/hash.h"
#include "base/utf8.h"
#include "core/checkpoint.h"
#include "core/texts_impl.h"

/* Of a value as JSON; longer ones say nothing. */
#define VALUE_MAX ((size_t)32 << 20)

static const struct json_limits limits = {.depth = 128, .nodes = 4000000, .bytes = VALUE_MAX, .flags = JSON_DUP_OK};

static struct str text_of(struct arena *a, struct jval obj, struct str member)
{
	struct jval v = j_get(obj, member);

	return j_is(v, JSON_STRING) ? j_str(a, v) : STR("");
}

/* ------------------------------------------------------------------ content */

/* Parts that are said; reasoning, images, calls are not. */
static bool is_text_part(struct jval part)
{
	struct jval type = j_get(part, STR("type"));

	return j_null(type) || j_str_eq(type, STR("text")) || j_str_eq(type, STR("input_text")) ||
	       j_str_eq(type, STR("output_text"));
}

static enum err parts(struct arena *a, struct jval list, struct str *out)
{
	struct j_iter it = j_iter(list);
	struct jval part;
	struct buf b;

	buf_init(&b, a, VALUE_MAX);
	while (j_next(&it, NULL, &part)) {
		struct str s = STR("");

		if (j_is(part, JSON_STRING))
			s = j_str(a, part);
		else if (j_is(part, JSON_OBJECT) && is_text_part(part))
			s = text_of(a, part, STR("text"));
		if (s.n && b.n)
			buf_byte(&b, '\n');
		buf_str(&b, s);
	}
	*out = buf_slice(&b);
	return b.err;
}

static enum err content_of(struct arena *a, struct jval v, struct str *out)
{
	*out = STR("");
	if (j_is(v, JSON_STRING))
		*out = j_str(a, v);
	else if (j_is(v, JSON_ARRAY))
		TRY(parts(a, v, out));
	*out = utf8_cut(*out, TEXT_MAX_BYTES);
	if (str_trim(*out).n == 0)
		*out = STR("");
	return OK;
}

/* ------------------------------------------------------------------ entries */

static struct str role_of(struct str s)
{
	static const struct str known[][2] = {
		{STR_INIT("user"), STR_INIT("user")},
		{STR_INIT("human"), STR_INIT("user")},
		{STR_INIT("HumanMessage"), STR_INIT("user")},
		{STR_INIT("HumanMessageChunk"), STR_INIT("user")},
		{STR_INIT("assistant"), STR_INIT("assistant")},
		{STR_INIT("ai"), STR_INIT("assistant")},
		{STR_INIT("AIMessage"), STR_INIT("assistant")},
		{STR_INIT("AIMessageChunk"), STR_INIT("assistant")},
		{STR_INIT("tool"), STR_INIT("tool")},
		{STR_INIT("ToolMessage"), STR_INIT("tool")},
		{STR_INIT("ToolMessageChunk"), STR_INIT("tool")},
		{STR_INIT("function"), STR_INIT("tool")},
		{STR_INIT("FunctionMessage"), STR_INIT("tool")},
	};

	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
		if (str_eq(s, known[i][0]))
			return known[i][1];
	return STR("");
}

enum err said_by_entry(struct arena *a, struct str data, struct said *out)
{
	struct json doc;
	struct jval e, type;
	bool output;

	*out = (struct said){STR(""), STR(""), STR(""), STR("")};
	if (data.n > VALUE_MAX || json_parse(a, data, &limits, &doc) != OK) {
		diag_clear();
		return OK;
	}
	e = json_root(&doc);
	type = j_get(e, STR("type"));
	output = j_str_eq(type, STR("function_call_output")) || j_str_eq(type, STR("custom_tool_call_output"));
	out->role = output ? STR("tool") : role_of(text_of(a, e, STR("role")));
	if (out->role.n == 0 || (!output && !j_null(type) && !j_str_eq(type, STR("message"))))
		return OK;
	out->name = text_of(a, e, STR("name"));
	return content_of(a, j_get(e, output ? STR("output") : STR("content")), &out->content);
}

/* ------------------------------------------------------------------- values */

/* The members of a message, wherever its form has them, and its role ("" : not one that is recalled). */
static struct jval members_of(struct arena *a, struct jval v, struct str *role, bool *message)
{
	struct jval kwargs = j_get(v, STR("kwargs")), id = j_get(v, STR("id")), data = j_get(v, STR("data")), last;
	struct str type = text_of(a, v, STR("type"));
	struct str class = STR("");

	if (str_eq(type, STR("constructor")) && j_is(kwargs, JSON_OBJECT)) {
		for (struct j_iter it = j_iter(id); j_is(id, JSON_ARRAY) && j_next(&it, NULL, &last);)
			class = j_is(last, JSON_STRING) ? j_str(a, last) : STR("");
		*role = role_of(class);
		*message = str_ends(class, STR("Message")) || str_ends(class, STR("MessageChunk"));
		return kwargs;
	}
	v = j_is(data, JSON_OBJECT) && !j_null(j_get(data, STR("content"))) ? data : v;
	if (type.n == 0)
		type = text_of(a, v, STR("role"));
	if (str_eq(type, STR("message")) || str_eq(type, STR("chat")))
		type = text_of(a, v, STR("role"));
	*role = role_of(type);
	*message = !j_null(j_get(v, STR("content"))) &&
		   (role->n || str_eq(type, STR("system")) || str_eq(type, STR("developer")) || str_eq(type, STR("remove")));
	return v;
}

static enum err add(struct arena *a, struct said_list *l, const struct said *s)
{
	if (l->n == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 64;
		struct said *v = arena_grow(a, l->v, l->cap * sizeof *v, cap * sizeof *v);

		if (!v)
			return E_NOMEM;
		l->v = v;
		l->cap = cap;
	}
	l->v[l->n++] = *s;
	return OK;
}

/* A message without an id is known by what it says, and by how often that was said before. */
static enum err name_it(struct arena *a, const struct said_list *l, struct said *s)
{
	unsigned before = 0;

	s->nameless = hash64(s->content) ^ hash64(s->role) * 31;
	for (size_t i = 0; i < l->n; i++)
		before += l->v[i].nameless == s->nameless;
	s->mid = before ? arena_printf(a, "text-%016llx-%u", (unsigned long long)s->nameless, before)
			: arena_printf(a, "text-%016llx", (unsigned long long)s->nameless);
	return s->mid.p ? OK : E_NOMEM;
}

static enum err add_message(struct arena *a, struct said_list *l, struct jval v, struct str role)
{
	struct said s = {.role = role, .mid = text_of(a, v, STR("id")), .name = text_of(a, v, STR("name"))};

	TRY(content_of(a, j_get(v, STR("content")), &s.content));
	if (s.content.n == 0)
		return OK;
	if (!s.mid.p || !s.name.p || !s.content.p)
		return E_NOMEM;
	s.name = utf8_cut(s.name, 256);
	if (s.mid.n == 0 || s.mid.n > 256)
		TRY(name_it(a, l, &s));
	return add(a, l, &s);
}

/* Every member must be a message. */
static bool is_list(struct arena *a, struct jval list)
{
	struct j_iter it = j_iter(list);
	struct jval v;
	struct str role;
	bool message = false;

	if (!j_is(list, JSON_ARRAY))
		return false;
	while (j_next(&it, NULL, &v)) {
		message = false;
		if (j_is(v, JSON_OBJECT))
			(void)members_of(a, v, &role, &message);
		if (!message)
			return false;
	}
	return message;
}

enum err said_by_json(struct arena *a, struct str json, struct said_list *list)
{
	struct json doc;
	struct jval root, v;
	struct j_iter it;
	size_t skip;

	if (json.n > VALUE_MAX || json_parse(a, json, &limits, &doc) != OK) {
		diag_clear();
		return OK;
	}
	root = json_root(&doc);
	if (!is_list(a, root))
		return OK;
	skip = j_node(root)->count > TEXT_LIST_MAX ? j_node(root)->count - TEXT_LIST_MAX : 0;
	for (it = j_iter(root); j_next(&it, NULL, &v);) {
		struct str role;
		bool message;

		if (skip) {
			skip--;
			continue;
		}
		v = members_of(a, v, &role, &message);
		if (role.n)
			TRY(add_message(a, list, v, role));
	}
	return OK;
}

enum err said_by_value(struct arena *a, struct str type, struct str bytes, struct said_list *list)
{
	struct buf b;
	struct jw w;
	enum err e;

	if (!str_eq(type, STR("msgpack")) && !str_eq(type, STR("json")))
		return OK;
	if (bytes.n == 0 || bytes.n > VALUE_MAX)
		return OK;
	buf_init(&b, a, 2 * VALUE_MAX);
	jw_init(&w, &b);
	ckpt_value_json(&w, type, bytes);
	e = b.err;
	if (e == OK)
		e = said_by_json(a, buf_slice(&b), list);
	return e;
}
