/* What a body in the form of Responses asks for: input, tools, format, instructions (contracts: openai 6.1). */
#include "api/ask.h"

#include <stdio.h>

#include "api/items_in.h"

/* --------------------------------------------------------------------- input */

/* A text is a message of the user. */
static enum err read_input(struct ask *k, struct jval input)
{
	struct entry_append list = {.n = 0};
	struct str *v;
	struct buf b;

	if (j_is(input, JSON_STRING)) {
		buf_init(&b, k->a, (size_t)64 << 20);
		buf_lit(&b, "{\"role\":\"user\",\"content\":");
		buf_str(&b, j_raw(input));
		buf_byte(&b, '}');
		v = ARENA_ARRAY(k->a, struct str, 1);
		if (!v)
			return E_NOMEM;
		v[0] = buf_slice(&b);
		k->turn.items = v;
		k->turn.items_n = 1;
		return b.err;
	}
	if (!j_is(input, JSON_ARRAY) || j_node(input)->count == 0)
		return err_field(E_INVALID, "/input", -1, "input must be a text, or a list of at least one item");
	TRY(items_read(k->rq, input, "input", &list));
	v = ARENA_ARRAY(k->a, struct str, list.n);
	if (!v)
		return E_NOMEM;
	for (size_t i = 0; i < list.n; i++)
		v[i] = list.v[i].data;
	k->turn.items = v;
	k->turn.items_n = list.n;
	return OK;
}

/* --------------------------------------------------------------------- tools */

/* The flat form of a function into the nested one of chat completions. */
static enum err write_tool(struct buf *b, struct jval tool, size_t i)
{
	static const char *const members[] = {"name", "description", "parameters", "strict"};
	bool first = true;
	char field[32];

	snprintf(field, sizeof field, "/tools/%zu", i);
	if (!j_str_eq(j_get(tool, STR("type")), STR("function")))
		return err_field(E_INVALID, field, -1,
				 "tools[%zu]: only tools of type function are supported, which the caller runs", i);
	if (!j_is(j_get(tool, STR("name")), JSON_STRING))
		return err_field(E_INVALID, field, -1, "tools[%zu].name must be a string", i);
	buf_lit(b, "{\"type\":\"function\",\"function\":{");
	for (size_t m = 0; m < sizeof members / sizeof members[0]; m++) {
		struct jval v = j_get(tool, str_c(members[m]));

		if (j_null(v))
			continue;
		buf_printf(b, "%s\"%s\":", first ? "" : ",", members[m]);
		buf_str(b, j_raw(v));
		first = false;
	}
	buf_lit(b, "}}");
	return b->err;
}

static enum err read_tools(struct ask *k, struct jval tools)
{
	struct jval tool;
	struct buf b;
	size_t i = 0;

	if (j_null(tools) || (j_is(tools, JSON_ARRAY) && j_node(tools)->count == 0))
		return OK;
	if (!j_is(tools, JSON_ARRAY))
		return err_field(E_INVALID, "/tools", -1, "tools must be a list");
	buf_init(&b, k->a, (size_t)16 << 20);
	buf_byte(&b, '[');
	for (struct j_iter it = j_iter(tools); j_next(&it, NULL, &tool);) {
		if (i)
			buf_byte(&b, ',');
		TRY(write_tool(&b, tool, i++));
	}
	buf_byte(&b, ']');
	k->turn.tools = buf_slice(&b);
	return b.err;
}

static enum err read_choice(struct ask *k, struct jval choice)
{
	struct jval name = j_get(choice, STR("name"));

	if (!j_is(choice, JSON_OBJECT))
		return ask_param(k, choice, "tool_choice");
	if (!j_is(name, JSON_STRING))
		return err_field(E_INVALID, "/tool_choice", -1, "tool_choice must be none, auto, required, or name a function");
	return ask_param_json(k, "tool_choice",
			      arena_printf(k->a, "{\"type\":\"function\",\"function\":{\"name\":%.*s}}", STR_ARG(j_raw(name))));
}

static enum err read_format(struct ask *k, struct jval format)
{
	static const char *const members[] = {"name", "description", "schema", "strict"};
	struct jval type = j_get(format, STR("type"));
	struct buf b;
	bool first = true;

	if (j_null(format) || j_str_eq(type, STR("text")))
		return OK;
	if (j_str_eq(type, STR("json_object")))
		return ask_param_json(k, "response_format", STR("{\"type\":\"json_object\"}"));
	if (!j_str_eq(type, STR("json_schema")))
		return err_field(E_INVALID, "/text/format", -1, "text.format.type must be text, json_object or json_schema");
	buf_init(&b, k->a, (size_t)16 << 20);
	buf_lit(&b, "{\"type\":\"json_schema\",\"json_schema\":{");
	for (size_t m = 0; m < sizeof members / sizeof members[0]; m++) {
		struct jval v = j_get(format, str_c(members[m]));

		if (j_null(v))
			continue;
		buf_printf(&b, "%s\"%s\":", first ? "" : ",", members[m]);
		buf_str(&b, j_raw(v));
		first = false;
	}
	buf_lit(&b, "}}");
	TRY(b.err);
	return ask_param_json(k, "response_format", buf_slice(&b));
}

enum err ask_responses_body(struct ask *k, struct jval body)
{
	struct jval most = j_get(body, STR("max_output_tokens")), instructions = j_get(body, STR("instructions"));
	struct jval calls = j_get(body, STR("max_tool_calls"));
	int64_t n;

	if (!j_null(instructions) && !j_is(instructions, JSON_STRING))
		return err_field(E_INVALID, "/instructions", -1, "instructions must be a string");
	if (j_is(instructions, JSON_STRING))
		k->turn.instructions = j_str(k->a, instructions);
	if (!j_null(most) && (!j_i64(most, &n) || n < 1))
		return err_field(E_INVALID, "/max_output_tokens", -1, "max_output_tokens must be a whole number from 1");
	if (!j_null(calls) && (!j_i64(calls, &n) || n < 1))
		return err_field(E_INVALID, "/max_tool_calls", -1, "max_tool_calls must be a whole number from 1");
	if (!j_null(calls))
		k->turn.max_calls = n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
	TRY(ask_param(k, most, "max_tokens"));
	TRY(ask_param(k, j_get(j_get(body, STR("reasoning")), STR("effort")), "reasoning_effort"));
	TRY(read_tools(k, j_get(body, STR("tools"))));
	TRY(read_choice(k, j_get(body, STR("tool_choice"))));
	TRY(read_format(k, j_get(j_get(body, STR("text")), STR("format"))));
	return read_input(k, j_get(body, STR("input")));
}
