/* POST /responses (contracts: openai 6). A conversation's items go before the input; input and output are appended to it. What came
 * is kept before the model is asked, and an answer that broke off is kept as incomplete. */
#include <stdio.h>

#include "api/openai/ask.h"
#include "base/uuid7.h"
#include "api/openai/responses.h"

/* -------------------------------------------------------------------- reading */

static enum err unsupported(struct jval body)
{
	static const struct {
		const char *name, *instead;
	} no[] = {{"previous_response_id", "name the conversation in its place (POST /v1/conversations makes one)"},
		  {"prompt", "send the instructions themselves"}};
	bool background;

	for (size_t i = 0; i < sizeof no / sizeof no[0]; i++)
		if (!j_null(j_get(body, str_c(no[i].name))))
			return err_field(E_INVALID, no[i].name, -1, "%s is not supported: %s", no[i].name, no[i].instead);
	TRY(ask_bool(body, "background", false, &background));
	return background ? err_field(E_INVALID, "/background", -1,
				      "background is not supported: answers are made while you wait, or "
				      "streamed")
			  : OK;
}

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
	TRY(oa_items_read(k->rq, input, "input", &list));
	v = ARENA_ARRAY(k->a, struct str, list.n);
	if (!v)
		return E_NOMEM;
	for (size_t i = 0; i < list.n; i++)
		v[i] = list.v[i].data;
	k->turn.items = v;
	k->turn.items_n = list.n;
	return OK;
}

static enum err read_conversation(struct ask *k, struct jval v)
{
	struct jval id = j_is(v, JSON_OBJECT) ? j_get(v, STR("id")) : v;
	struct thread_info info;

	k->turn.thread = STR("");
	if (j_null(v))
		return OK;
	if (!j_is(id, JSON_STRING))
		return err_field(E_INVALID, "/conversation", -1, "conversation must be an id, or an object with one");
	k->turn.thread = j_str(k->a, id);
	if (!k->turn.thread.p)
		return E_NOMEM;
	return oa_conversation(k->rq, k->ctx->memory, k->turn.thread, &info);
}

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

static enum err read_body(struct ask *k, struct http_req *rq, void *ctx, struct jval body, struct response *r)
{
	struct jval most = j_get(body, STR("max_output_tokens")), instructions = j_get(body, STR("instructions"));
	int64_t n;

	TRY(ask_begin(k, rq, ctx, body));
	TRY(unsupported(body));
	TRY(read_conversation(k, j_get(body, STR("conversation"))));
	TRY(ask_bool(body, "store", true, &k->turn.keep));
	k->turn.keep = k->turn.keep && k->turn.thread.n;
	if (!j_null(instructions) && !j_is(instructions, JSON_STRING))
		return err_field(E_INVALID, "/instructions", -1, "instructions must be a string");
	if (j_is(instructions, JSON_STRING))
		k->turn.instructions = j_str(k->a, instructions);
	if (!j_null(most) && (!j_i64(most, &n) || n < 1))
		return err_field(E_INVALID, "/max_output_tokens", -1, "max_output_tokens must be a whole number from 1");
	TRY(ask_param(k, most, "max_tokens"));
	TRY(ask_param(k, j_get(j_get(body, STR("reasoning")), STR("effort")), "reasoning_effort"));
	TRY(read_tools(k, j_get(body, STR("tools"))));
	TRY(read_choice(k, j_get(body, STR("tool_choice"))));
	TRY(read_format(k, j_get(j_get(body, STR("text")), STR("format"))));
	r->ask = k;
	r->body = body;
	return read_input(k, j_get(body, STR("input")));
}

/* ------------------------------------------------------------------ the answer */

static void echo(struct jw *w, struct jval body, const char *name, const char *dflt)
{
	struct jval v = j_get(body, str_c(name));

	jw_key(w, name);
	jw_raw(w, j_null(v) ? str_c(dflt) : j_raw(v));
}

static void write_usage(struct jw *w, const struct llm_answer *x, bool over)
{
	jw_key(w, "usage");
	if (!over || x->tokens_in < 0 || x->tokens_out < 0) {
		jw_null(w);
		return;
	}
	jw_obj(w);
	jw_key(w, "input_tokens");
	jw_i64(w, x->tokens_in);
	jw_key(w, "input_tokens_details");
	jw_raw(w, STR("{\"cached_tokens\":0,\"cache_write_tokens\":0}"));
	jw_key(w, "output_tokens");
	jw_i64(w, x->tokens_out);
	jw_key(w, "output_tokens_details");
	jw_raw(w, STR("{\"reasoning_tokens\":0}"));
	jw_key(w, "total_tokens");
	jw_i64(w, x->tokens_in + x->tokens_out);
	jw_end_obj(w);
}

static void write_fate(struct jw *w, const struct response *r, enum response_status status)
{
	static const char *const names[] = {"in_progress", "completed", "incomplete", "failed"};
	const struct ask *k = r->ask;

	jw_key(w, "status");
	jw_cstr(w, names[status]);
	jw_key(w, "completed_at");
	if (status == RESPONSE_COMPLETED)
		jw_i64(w, clock_wall_us() / 1000000);
	else
		jw_null(w);
	jw_key(w, "error");
	if (status == RESPONSE_FAILED) {
		jw_obj(w);
		jw_key(w, "code");
		jw_cstr(w, "server_error");
		jw_key(w, "message");
		jw_cstr(w, diag_get()->text);
		jw_end_obj(w);
	} else {
		jw_null(w);
	}
	jw_key(w, "incomplete_details");
	jw_raw(w, status != RESPONSE_INCOMPLETE		? STR("null")
		  : k->turn.answer.finish == LLM_FILTER ? STR("{\"reason\":\"content_filter\"}")
							: STR("{\"reason\":\"max_output_tokens\"}"));
}

void response_write(const struct response *r, enum response_status status, struct jw *w)
{
	const struct ask *k = r->ask;
	const char *why;
	bool over = status != RESPONSE_IN_PROGRESS;

	jw_obj(w);
	jw_key(w, "id");
	jw_str(w, k->id);
	jw_key(w, "object");
	jw_cstr(w, "response");
	jw_key(w, "created_at");
	jw_i64(w, k->began_s);
	write_fate(w, r, status);
	echo(w, r->body, "instructions", "null");
	jw_key(w, "model");
	jw_str(w, assistant_model(k->ctx->assistant, &why));
	jw_key(w, "output");
	jw_arr(w);
	for (size_t i = 0; over && i < k->turn.output_n; i++)
		jw_raw(w, k->turn.output[i]);
	jw_end_arr(w);
	echo(w, r->body, "parallel_tool_calls", "true");
	jw_key(w, "previous_response_id");
	jw_null(w);
	jw_key(w, "conversation");
	if (k->turn.thread.n) {
		jw_obj(w);
		jw_key(w, "id");
		jw_str(w, k->turn.thread);
		jw_end_obj(w);
	} else {
		jw_null(w);
	}
	echo(w, r->body, "reasoning", "{\"effort\":null,\"summary\":null}");
	jw_key(w, "store");
	jw_bool(w, k->turn.keep);
	echo(w, r->body, "temperature", "1.0");
	echo(w, r->body, "top_p", "1.0");
	echo(w, r->body, "text", "{\"format\":{\"type\":\"text\"}}");
	echo(w, r->body, "tool_choice", "\"auto\"");
	echo(w, r->body, "tools", "[]");
	echo(w, r->body, "truncation", "\"disabled\"");
	echo(w, r->body, "max_output_tokens", "null");
	echo(w, r->body, "metadata", "{}");
	echo(w, r->body, "user", "null");
	write_usage(w, &k->turn.answer, over);
	jw_end_obj(w);
}

enum response_status response_status(const struct response *r)
{
	enum llm_finish f = r->ask->turn.answer.finish;

	return f == LLM_LENGTH || f == LLM_FILTER || f == LLM_CUT ? RESPONSE_INCOMPLETE : RESPONSE_COMPLETED;
}

static void answer(struct ask *k, const struct response *r)
{
	struct buf b;
	struct jw w;

	buf_init(&b, k->a, 32 * LLM_ANSWER_MAX);
	jw_init(&w, &b);
	response_write(r, response_status(r), &w);
	ask_headers(k);
	oa_answer(k->rq, OK, &b);
}

void oa_responses(struct http_req *rq, void *ctx)
{
	struct ask k = {.stream = false};
	struct response r = {.ask = &k};
	char id[UUID_TEXT + 1];
	struct json doc;
	enum err e;

	CHECK(oa_body(rq, &doc));
	CHECK(read_body(&k, rq, ctx, json_root(&doc), &r));
	uuid7_new(id);
	k.id = arena_printf(k.a, "resp_%s", id);
	uuid7_new(id);
	k.turn.message_id = arena_printf(k.a, "msg_%s", id);
	CHECK(k.id.p && k.turn.message_id.p ? OK : E_NOMEM);
	if (k.stream) {
		k.turn.on_text = response_on_text;
		k.turn.ctx = &r;
	}
	CHECK(assistant_turn(k.ctx->assistant, k.a, rq_principal(rq), &k.turn));
	if (!k.stream) {
		answer(&k, &r);
		return;
	}
	CHECK(response_stream_end(&r));
	return;
out:
	if (k.begun) {
		response_stream_fail(&r, e);
	} else {
		k.rq = rq;
		k.a = rq_arena(rq);
		ask_fail(&k, e);
	}
}
