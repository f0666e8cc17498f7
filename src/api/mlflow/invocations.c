/* POST /invocations and POST /responses: a turn in the form that the body has.
 *
 * Callers send their whole conversation again each time, or only its newest message; of either only what is new at the thread's end
 * is kept (assistant_turn.resent). */
#include "api/mlflow/impl.h"

#include "api/completion.h"
#include "api/response.h"
#include "core/parse.h"

/* -------------------------------------------------------------------- reading */

/* What the validators of these callers refuse, so that nobody comes to rely on it. */
static enum err check_metadata(struct jval metadata)
{
	struct jval key, value;

	if (j_null(metadata))
		return OK;
	if (!j_is(metadata, JSON_OBJECT))
		return err_field(E_INVALID, "metadata", -1, "metadata must be an object of strings");
	for (struct j_iter it = j_iter(metadata); j_next(&it, &key, &value);)
		if (!j_is(value, JSON_STRING))
			return err_field(E_INVALID, "metadata", -1, "metadata must be an object of strings");
	return OK;
}

static enum err check_items(struct jval input)
{
	static const char *const unknown[] = {"item_reference", "compaction"};
	struct jval item;
	size_t i = 0;

	if (!j_is(input, JSON_ARRAY))
		return OK;
	for (struct j_iter it = j_iter(input); j_next(&it, NULL, &item); i++) {
		if (!j_is(item, JSON_OBJECT))
			continue; /* told by who reads it */
		if (j_str_eq(j_get(item, STR("role")), STR("tool")))
			return err_field(E_INVALID, "input", -1,
					 "input[%zu].role: a tool's output is an item of type function_call_output", i);
		for (size_t u = 0; u < sizeof unknown / sizeof unknown[0]; u++)
			if (j_str_eq(j_get(item, STR("type")), str_c(unknown[u])))
				return err_field(E_INVALID, "input", -1, "input[%zu].type: %s is not supported", i, unknown[u]);
	}
	return OK;
}

static enum err read_body(struct ask *k, struct http_req *rq, void *ctx, struct jval body)
{
	struct mlflow_thread thread;
	struct jval user;
	const char *field;
	bool background;

	TRY(ask_begin(k, rq, ctx, body));
	k->data_only = true;
	k->tell_trace = str_ieq(rq_header(rq, "x-mlflow-return-trace-id"), STR("true"));
	TRY(ask_bool(body, "background", false, &background));
	if (background)
		return err_field(E_INVALID, "background", -1,
				 "background is not supported: answers are made while you wait, or streamed");
	TRY(check_metadata(j_get(body, STR("metadata"))));
	TRY(mlflow_user(body, &user, &field));
	TRY(ask_user(k, user, field));
	TRY(mlflow_thread(k->a, body, &thread));
	k->turn.thread = thread.id;
	k->turn.own_thread = !thread.named;
	k->custom_outputs = mlflow_outputs(k->a, &thread);
	TRY(ask_bool(body, "store", true, &k->turn.keep));
	k->turn.resent = true;
	return k->custom_outputs.p ? OK : E_NOMEM;
}

static enum err body_of(struct http_req *rq, struct json *doc)
{
	TRY(parse_body(rq_arena(rq), rq_body(rq), doc));
	if (!j_is(json_root(doc), JSON_OBJECT))
		return err_set(E_INVALID, "the body must be a JSON object");
	return OK;
}

bool mlflow_wants(struct http_req *rq)
{
	struct jval root, model;
	struct json doc;

	if (body_of(rq, &doc) != OK)
		return false;
	root = json_root(&doc);
	model = j_get(root, STR("model"));
	return !j_null(j_get(root, STR("custom_inputs"))) || !j_null(j_get(root, STR("context"))) || j_null(model) ||
	       (j_is(model, JSON_STRING) && str_starts(j_raw(model), STR("\"apps/")));
}

/* ------------------------------------------------------------------- answering */

static void refuse(struct http_req *rq, enum err e)
{
	struct diag *d = diag_get();

	if (e == E_INVALID && d->code == e)
		d->kind = ERR_SYNTAX; /* 400: there is no 422 here */
	rs_error(rq, e);
}

/* {"error":{"message","type","code"}}: the form that both MLflow's and OpenAI's clients show. */
static void break_off(struct ask *k, enum err e)
{
	struct buf b;
	struct jw w;

	rs_hide(k->rq, e);
	buf_init(&b, k->a, 16 << 10);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "error");
	jw_obj(&w);
	jw_key(&w, "message");
	jw_cstr(&w, diag_get()->text);
	jw_key(&w, "type");
	jw_cstr(&w, "server_error");
	jw_key(&w, "code");
	jw_cstr(&w, e == E_UPSTREAM ? "upstream_error" : "server_error");
	jw_end_obj(&w);
	ask_custom(k, &w);
	jw_end_obj(&w);
	ask_break(k, e, &b);
}

static void end(struct ask *k, struct http_req *rq, enum err e)
{
	if (e == OK)
		return;
	if (k->begun)
		break_off(k, e);
	else
		refuse(rq, e);
}

static enum err in_responses_form(struct ask *k, struct jval body)
{
	struct response r = {.ask = k, .body = body};

	TRY(check_items(j_get(body, STR("input"))));
	TRY(ask_responses_body(k, body));
	return response_run(&r);
}

static enum err in_chat_form(struct ask *k, struct jval body, const struct mlflow_agent *m)
{
	TRY(ask_chat_body(k, body));
	return m->messages ? mlflow_messages_run(k) : completion_run(k);
}

void mlflow_responses(struct http_req *rq, void *ctx)
{
	struct ask k = {.stream = false};
	struct json doc;
	enum err e;

	CHECK(body_of(rq, &doc));
	CHECK(read_body(&k, rq, ctx, json_root(&doc)));
	e = in_responses_form(&k, json_root(&doc));
out:
	end(&k, rq, e);
}

void mlflow_invocations(struct http_req *rq, void *ctx)
{
	struct ask k = {.stream = false};
	bool input, messages;
	struct json doc;
	enum err e;

	CHECK(body_of(rq, &doc));
	input = !j_null(j_get(json_root(&doc), STR("input")));
	messages = !j_null(j_get(json_root(&doc), STR("messages")));
	if (input == messages) {
		e = err_set(E_INVALID, "the body needs either input (the Responses form) or messages (the chat form)%s",
			    input ? ", it has both" : "");
		goto out;
	}
	CHECK(read_body(&k, rq, ctx, json_root(&doc)));
	e = input ? in_responses_form(&k, json_root(&doc)) : in_chat_form(&k, json_root(&doc), ctx);
out:
	end(&k, rq, e);
}
