/* Items as they come with a request: what is checked of them. */
#include "api/items_in.h"

#include <stdio.h>

static bool is_text(struct jval v)
{
	return j_is(v, JSON_STRING);
}

bool item_is_message(struct jval item)
{
	struct jval type = j_get(item, STR("type"));

	if (j_null(type))
		return is_text(j_get(item, STR("role")));
	return j_str_eq(type, STR("message"));
}

static enum err refuse(struct item_place at, const char *name, const char *why)
{
	char field[80];

	snprintf(field, sizeof field, "/%s/%zu%s%s", at.list, at.index, name[0] ? "/" : "", name);
	return err_field(E_INVALID, field, -1, "%s[%zu]%s%s %s", at.list, at.index, name[0] ? "." : "", name, why);
}

static enum err check_message(struct jval item, struct item_place at)
{
	static const struct str roles[] = {STR_INIT("user"), STR_INIT("assistant"), STR_INIT("system"), STR_INIT("developer"),
					   STR_INIT("tool"), STR_INIT("unknown"),   STR_INIT("critic"), STR_INIT("discriminator")};
	struct jval role = j_get(item, STR("role")), v = j_get(item, STR("content")), one;
	bool known = false;

	for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++)
		known = known || (is_text(role) && j_str_eq(role, roles[i]));
	if (!known)
		return refuse(at, "role",
			      "must be one of user, assistant, system, developer, tool, unknown, critic, discriminator");
	if (!is_text(v) && !j_is(v, JSON_ARRAY))
		return refuse(at, "content", "must be a string or an array of parts");
	for (struct j_iter it = j_iter(v); j_is(v, JSON_ARRAY) && j_next(&it, NULL, &one);)
		if (!j_is(one, JSON_OBJECT))
			return refuse(at, "content", "must have objects as its parts");
	return OK;
}

enum err item_check(struct jval item, struct item_place at)
{
	static const char *const texts[] = {"call_id", "name", "arguments"};
	struct jval type;

	if (!j_is(item, JSON_OBJECT))
		return refuse(at, "", "must be an object");
	type = j_get(item, STR("type"));
	if (!j_null(type) && !is_text(type))
		return refuse(at, "type", "must be a string");
	if (item_is_message(item))
		return check_message(item, at);
	if (!j_is(type, JSON_STRING) || !j_str_eq(type, STR("function_call")))
		return OK;
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
		if (!is_text(j_get(item, str_c(texts[i]))))
			return refuse(at, texts[i], "must be a string");
	return OK;
}

enum err items_read(struct http_req *rq, struct jval list, const char *name, struct entry_append *out)
{
	struct jval v;
	char field[32];

	snprintf(field, sizeof field, "/%s", name);
	if (!j_is(list, JSON_ARRAY))
		return err_field(E_INVALID, field, -1, "%s must be an array of items", name);
	if (j_node(list)->count > ENTRIES_PER_CALL)
		return err_field(E_INVALID, field, -1, "%s may have %d elements, it has %u", name, ENTRIES_PER_CALL,
				 j_node(list)->count);
	out->v = ARENA_ARRAY(rq_arena(rq), struct session_entry, j_node(list)->count + 1);
	if (!out->v)
		return E_NOMEM;
	for (struct j_iter it = j_iter(list); j_next(&it, NULL, &v); out->n++) {
		TRY(item_check(v, (struct item_place){name, out->n}));
		out->v[out->n] = (struct session_entry){.data = j_raw(v)};
	}
	return OK;
}
