/* POST /chat/completions (contracts: openai 7). This API has no conversations: the thread is metadata.thread_id,
 * metadata.session_id, or the header X-Cenote-Thread; without one nothing is kept. Clients send their whole history again each
 * time; of it only what is new at the thread's end is kept. */
#include <stdio.h>

#include "api/openai/ask.h"
#include "base/uuid7.h"

enum { MESSAGES_MAX = ASSISTANT_ITEMS_MAX };

/* -------------------------------------------------------------------- reading */

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

/* The thread, by the one order that every surface has; none is made. */
static enum err read_thread(struct ask *k, struct jval metadata)
{
	static const struct str names[] = {STR_INIT("thread_id"), STR_INIT("session_id")};
	struct str header = rq_header(k->rq, "X-Cenote-Thread"), thread = STR("");

	if (!j_null(metadata) && !j_is(metadata, JSON_OBJECT))
		return err_field(E_INVALID, "/metadata", -1, "metadata must be an object");
	for (size_t i = 0; i < 2 && !thread.n; i++)
		if (j_is(j_get(metadata, names[i]), JSON_STRING))
			thread = j_str(k->a, j_get(metadata, names[i]));
	k->turn.thread = thread.n ? thread : header.n ? header : STR("");
	k->turn.keep = k->turn.resent = k->turn.thread.n > 0;
	return OK;
}

static enum err read_body(struct ask *k, struct http_req *rq, void *ctx, struct jval body)
{
	static const char *const as_they_are[] = {
		"stop", "seed", "response_format", "tool_choice", "presence_penalty", "frequency_penalty", "reasoning_effort"};
	struct jval most = j_get(body, STR("max_completion_tokens")), tools = j_get(body, STR("tools"));
	int64_t n = 1;

	TRY(ask_begin(k, rq, ctx, body));
	TRY(read_thread(k, j_get(body, STR("metadata"))));
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

/* -------------------------------------------------------------------- writing */

static const char *finish_name(enum llm_finish f)
{
	return f == LLM_LENGTH ? "length" : f == LLM_CALLS ? "tool_calls" : f == LLM_FILTER ? "content_filter" : "stop";
}

static void head(struct jw *w, const struct ask *k, const char *object)
{
	const char *why;

	jw_obj(w);
	jw_key(w, "id");
	jw_str(w, k->id);
	jw_key(w, "object");
	jw_cstr(w, object);
	jw_key(w, "created");
	jw_i64(w, k->began_s);
	jw_key(w, "model");
	jw_str(w, assistant_model(k->ctx->assistant, &why));
}

static void write_usage(struct jw *w, const struct llm_answer *x)
{
	jw_key(w, "usage");
	if (x->tokens_in < 0 || x->tokens_out < 0) {
		jw_null(w);
		return;
	}
	jw_obj(w);
	jw_key(w, "prompt_tokens");
	jw_i64(w, x->tokens_in);
	jw_key(w, "completion_tokens");
	jw_i64(w, x->tokens_out);
	jw_key(w, "total_tokens");
	jw_i64(w, x->tokens_in + x->tokens_out);
	jw_end_obj(w);
}

static void write_calls(struct jw *w, const struct llm_answer *x, bool indexed)
{
	jw_key(w, "tool_calls");
	jw_arr(w);
	for (size_t i = 0; i < x->calls_n; i++) {
		jw_obj(w);
		if (indexed) {
			jw_key(w, "index");
			jw_u64(w, i);
		}
		jw_key(w, "id");
		jw_str(w, x->calls[i].id);
		jw_key(w, "type");
		jw_cstr(w, "function");
		jw_key(w, "function");
		jw_obj(w);
		jw_key(w, "name");
		jw_str(w, x->calls[i].name);
		jw_key(w, "arguments");
		jw_str(w, x->calls[i].arguments);
		jw_end_obj(w);
		jw_end_obj(w);
	}
	jw_end_arr(w);
}

static void write_whole(struct ask *k, struct buf *b)
{
	const struct llm_answer *x = &k->turn.answer;
	struct jw w;

	jw_init(&w, b);
	head(&w, k, "chat.completion");
	jw_key(&w, "choices");
	jw_arr(&w);
	jw_obj(&w);
	jw_key(&w, "index");
	jw_i64(&w, 0);
	jw_key(&w, "message");
	jw_obj(&w);
	jw_key(&w, "role");
	jw_cstr(&w, "assistant");
	jw_key(&w, "content");
	if (x->text.n || !x->calls_n)
		jw_str(&w, x->text);
	else
		jw_null(&w);
	jw_key(&w, "refusal");
	jw_null(&w);
	if (x->calls_n)
		write_calls(&w, x, false);
	jw_end_obj(&w);
	jw_key(&w, "logprobs");
	jw_null(&w);
	jw_key(&w, "finish_reason");
	jw_cstr(&w, finish_name(x->finish));
	jw_end_obj(&w);
	jw_end_arr(&w);
	write_usage(&w, x);
	jw_end_obj(&w);
}

/* --------------------------------------------------------------------- stream */

enum delta { ROLE, TEXT, CALLS, END };

static enum err chunk(struct ask *k, enum delta what, struct str text)
{
	const struct llm_answer *x = &k->turn.answer;
	struct buf b;
	struct jw w;

	buf_init(&b, NULL, 16 * LLM_ANSWER_MAX);
	jw_init(&w, &b);
	head(&w, k, "chat.completion.chunk");
	jw_key(&w, "choices");
	jw_arr(&w);
	jw_obj(&w);
	jw_key(&w, "index");
	jw_i64(&w, 0);
	jw_key(&w, "delta");
	jw_obj(&w);
	if (what == ROLE) {
		jw_key(&w, "role");
		jw_cstr(&w, "assistant");
	}
	if (what == ROLE || what == TEXT) {
		jw_key(&w, "content");
		jw_str(&w, text);
	}
	if (what == CALLS)
		write_calls(&w, x, true);
	jw_end_obj(&w);
	jw_key(&w, "finish_reason");
	if (what == END)
		jw_cstr(&w, finish_name(x->finish));
	else
		jw_null(&w);
	jw_end_obj(&w);
	jw_end_arr(&w);
	jw_end_obj(&w);
	enum err e = ask_send(k, "", &b);
	buf_release(&b);
	return e;
}

static enum err begin(struct ask *k)
{
	return k->begun ? OK : chunk(k, ROLE, STR(""));
}

static enum err on_text(void *ctx, struct str piece)
{
	struct ask *k = ctx;

	TRY(begin(k));
	return chunk(k, TEXT, piece);
}

static enum err usage_chunk(struct ask *k)
{
	struct buf b;
	struct jw w;

	buf_init(&b, k->a, 4096);
	jw_init(&w, &b);
	head(&w, k, "chat.completion.chunk");
	jw_key(&w, "choices");
	jw_raw(&w, STR("[]"));
	write_usage(&w, &k->turn.answer);
	jw_end_obj(&w);
	return ask_send(k, "", &b);
}

static enum err end_stream(struct ask *k)
{
	TRY(begin(k));
	if (k->turn.answer.calls_n)
		TRY(chunk(k, CALLS, STR("")));
	TRY(chunk(k, END, STR("")));
	return k->usage ? usage_chunk(k) : OK;
}

/* An error in the middle: {"error":{..}}, which these clients raise. */
static void break_off(struct ask *k, enum err e)
{
	struct buf b;

	if (e == E_CANCELLED) {
		rs_abort(k->rq);
		return;
	}
	buf_init(&b, k->a, 4096);
	(void)oa_error(k->rq, http_status(e, diag_get()->kind), &b);
	if (ask_send(k, "", &b) == OK)
		ask_done(k);
	else
		rs_abort(k->rq);
}

void oa_chat(struct http_req *rq, void *ctx)
{
	struct ask k = {.stream = false};
	char id[UUID_TEXT + 1];
	struct json doc;
	struct buf b;
	enum err e;

	CHECK(oa_body(rq, &doc));
	CHECK(read_body(&k, rq, ctx, json_root(&doc)));
	uuid7_new(id);
	k.id = arena_printf(k.a, "chatcmpl-%s", id);
	CHECK(k.id.p ? OK : E_NOMEM);
	k.turn.on_text = k.stream ? on_text : NULL;
	k.turn.ctx = &k;
	CHECK(assistant_turn(k.ctx->assistant, k.a, rq_principal(rq), &k.turn));
	if (k.stream) {
		CHECK(end_stream(&k));
		ask_done(&k);
		return;
	}
	buf_init(&b, k.a, 16 * LLM_ANSWER_MAX);
	write_whole(&k, &b);
	ask_headers(&k);
	oa_answer(rq, OK, &b);
	return;
out:
	if (k.begun) {
		break_off(&k, e);
	} else {
		k.rq = rq;
		k.a = rq_arena(rq);
		ask_fail(&k, e);
	}
}
