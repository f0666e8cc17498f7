/* What a body in the form of chat completions asks for: messages, tools, parameters (contracts: openai 7). */
#include "api/ask.h"

#include <stdio.h>

enum { MESSAGES_MAX = ASSISTANT_ITEMS_MAX };

/* ------------------------------------------------------------------ messages */

struct items {
	struct str *v;
	size_t n;
	struct buf system; /* texts of the messages that begin the conversation */
	bool begun;	   /* another role has come */
};

static enum err bad(size_t i, const char *what)
{
	char field[40];

	snprintf(field, sizeof field, "/messages/%zu", i);
	return err_field(E_INVALID, field, -1, "messages[%zu]%s", i, what);
}

static enum err push(struct items *x, struct buf *b)
{
	x->v[x->n++] = buf_slice(b);
	return b->err;
}

/* {"role","content"} as it came. */
static enum err push_message(struct arena *a, struct items *x, struct jval role, struct jval content)
{
	struct buf b;

	buf_init(&b, a, (size_t)64 << 20);
	buf_lit(&b, "{\"role\":");
	buf_str(&b, j_raw(role));
	buf_lit(&b, ",\"content\":");
	buf_str(&b, j_raw(content));
	buf_byte(&b, '}');
	return push(x, &b);
}

static enum err push_call(struct arena *a, struct items *x, struct jval call, size_t i)
{
	struct jval id = j_get(call, STR("id")), f = j_get(call, STR("function")), name = j_get(f, STR("name")),
		    args = j_get(f, STR("arguments"));
	struct buf b;

	if (!j_is(id, JSON_STRING) || !j_is(name, JSON_STRING) || !j_is(args, JSON_STRING))
		return bad(i, ".tool_calls: each needs id, function.name and function.arguments as strings");
	buf_init(&b, a, (size_t)64 << 20);
	buf_printf(&b, "{\"type\":\"function_call\",\"call_id\":%.*s,\"name\":%.*s,\"arguments\":", STR_ARG(j_raw(id)),
		   STR_ARG(j_raw(name)));
	buf_str(&b, j_raw(args));
	buf_byte(&b, '}');
	return push(x, &b);
}

static enum err push_output(struct arena *a, struct items *x, struct jval m, size_t i)
{
	struct jval id = j_get(m, STR("tool_call_id")), content = j_get(m, STR("content"));
	struct buf b;

	if (!j_is(id, JSON_STRING) || j_null(content))
		return bad(i, " of role tool needs tool_call_id and content");
	buf_init(&b, a, (size_t)64 << 20);
	buf_printf(&b, "{\"type\":\"function_call_output\",\"call_id\":%.*s,\"output\":", STR_ARG(j_raw(id)));
	buf_str(&b, j_raw(content));
	buf_byte(&b, '}');
	return push(x, &b);
}

static enum err read_system(struct arena *a, struct items *x, struct jval content, size_t i)
{
	struct jval part;

	if (j_is(content, JSON_STRING)) {
		buf_lit(&x->system, x->system.n ? "\n\n" : "");
		buf_str(&x->system, j_str(a, content));
		return x->system.err;
	}
	if (!j_is(content, JSON_ARRAY))
		return bad(i, ".content must be a text or a list of parts");
	for (struct j_iter it = j_iter(content); j_next(&it, NULL, &part);) {
		struct jval text = j_get(part, STR("text"));

		if (!j_is(text, JSON_STRING))
			return bad(i, ".content: a system message takes parts of type text only");
		buf_lit(&x->system, x->system.n ? "\n\n" : "");
		buf_str(&x->system, j_str(a, text));
	}
	return x->system.err;
}

static enum err read_message(struct arena *a, struct items *x, struct jval m, size_t i)
{
	struct jval role = j_get(m, STR("role")), content = j_get(m, STR("content")), calls = j_get(m, STR("tool_calls")), call;

	if (!j_is(m, JSON_OBJECT) || !j_is(role, JSON_STRING))
		return bad(i, " must be an object with a role");
	if ((j_str_eq(role, STR("system")) || j_str_eq(role, STR("developer"))) && !x->begun)
		return read_system(a, x, content, i);
	x->begun = true;
	if (j_str_eq(role, STR("tool")))
		return push_output(a, x, m, i);
	if (!j_str_eq(role, STR("user")) && !j_str_eq(role, STR("assistant")) && !j_str_eq(role, STR("system")) &&
	    !j_str_eq(role, STR("developer")))
		return bad(i, ".role must be system, developer, user, assistant or tool");
	if (j_is(content, JSON_STRING) || j_is(content, JSON_ARRAY))
		TRY(push_message(a, x, role, content));
	else if (!j_null(content) || !j_is(calls, JSON_ARRAY))
		return bad(i, ".content must be a text or a list of parts");
	if (!j_is(calls, JSON_ARRAY))
		return OK;
	for (struct j_iter it = j_iter(calls); j_next(&it, NULL, &call);)
		TRY(push_call(a, x, call, i));
	return OK;
}

static enum err read_messages(struct ask *k, struct jval list)
{
	struct items x = {.n = 0};
	struct jval m, call;
	size_t room = 1, i = 0;

	if (!j_is(list, JSON_ARRAY) || j_node(list)->count < 1 || j_node(list)->count > MESSAGES_MAX)
		return err_field(E_INVALID, "/messages", -1, "messages must be a list of 1 to %d messages", MESSAGES_MAX);
	for (struct j_iter it = j_iter(list); j_next(&it, NULL, &m);) {
		call = j_get(m, STR("tool_calls"));
		room += 1 + (j_is(call, JSON_ARRAY) ? j_node(call)->count : 0);
	}
	x.v = ARENA_ARRAY(k->a, struct str, room);
	if (!x.v)
		return E_NOMEM;
	buf_init(&x.system, k->a, (size_t)16 << 20);
	for (struct j_iter it = j_iter(list); j_next(&it, NULL, &m);)
		TRY(read_message(k->a, &x, m, i++));
	if (x.n == 0)
		return err_field(E_INVALID, "/messages", -1, "messages has nothing but system messages");
	k->turn.items = x.v;
	k->turn.items_n = x.n;
	if (x.system.n)
		k->turn.instructions = buf_slice(&x.system);
	return OK;
}

/* ---------------------------------------------------------------------- body */

enum err ask_chat_body(struct ask *k, struct jval body)
{
	static const char *const as_they_are[] = {
		"stop", "seed", "response_format", "tool_choice", "presence_penalty", "frequency_penalty", "reasoning_effort"};
	struct jval most = j_get(body, STR("max_completion_tokens")), tools = j_get(body, STR("tools"));
	int64_t n = 1;

	if (!j_null(j_get(body, STR("n"))) && (!j_i64(j_get(body, STR("n")), &n) || n != 1))
		return err_field(E_INVALID, "/n", -1, "n must be 1: one answer is made for a request");
	if (j_null(most))
		most = j_get(body, STR("max_tokens"));
	if (!j_null(most) && (!j_i64(most, &n) || n < 1))
		return err_field(E_INVALID, "/max_tokens", -1, "max_tokens must be a whole number from 1");
	TRY(ask_param(k, most, "max_tokens"));
	for (size_t i = 0; i < sizeof as_they_are / sizeof as_they_are[0]; i++)
		TRY(ask_param(k, j_get(body, str_c(as_they_are[i])), as_they_are[i]));
	if (!j_null(tools) && !j_is(tools, JSON_ARRAY))
		return err_field(E_INVALID, "/tools", -1, "tools must be a list");
	if (j_is(tools, JSON_ARRAY) && j_node(tools)->count)
		k->turn.tools = j_raw(tools);
	TRY(ask_bool(j_get(body, STR("stream_options")), "include_usage", false, &k->usage));
	return read_messages(k, j_get(body, STR("messages")));
}
