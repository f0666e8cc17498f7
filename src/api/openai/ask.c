/* Asking the assistant in OpenAI's manners: what Responses and chat completions have in common. */
#include "api/openai/ask.h"

#include "base/clock.h"

#define MODEL_MAX 256
#define USER_MAX 256

static enum err known_model(struct ask *k, struct jval model)
{
	const char *why;
	struct str have = assistant_model(k->ctx->assistant, &why), want;

	if (!have.p)
		return err_field(E_NOT_FOUND, "model", -1, "this server has no chat model: %s", why);
	if (j_null(model))
		return OK;
	if (!j_is(model, JSON_STRING))
		return err_field(E_INVALID, "/model", -1, "model must be a string");
	want = j_str(k->a, model);
	if (!want.p)
		return E_NOMEM;
	if (!str_eq(want, have))
		return err_field(E_NOT_FOUND, "model", -1, "there is no chat model \"%.*s\"; there is \"%.*s\"",
				 STR_ARG(str_sub(want, 0, MODEL_MAX)), STR_ARG(have));
	return OK;
}

enum err ask_bool(struct jval body, const char *name, bool dflt, bool *out)
{
	struct jval v = j_get(body, str_c(name));

	*out = dflt;
	if (j_null(v) || j_bool(v, out))
		return OK;
	return err_field(E_INVALID, name, -1, "%s must be true or false", name);
}

enum err ask_param_json(struct ask *k, const char *name, struct str json)
{
	if (k->turn.params_n == ASK_PARAMS_MAX)
		return err_set(E_LIMIT, "more than %d parameters for the model", ASK_PARAMS_MAX);
	if (!json.p)
		return E_NOMEM;
	k->params[k->turn.params_n++] = (struct llm_param){name, json};
	return OK;
}

enum err ask_param(struct ask *k, struct jval v, const char *name)
{
	return j_null(v) ? OK : ask_param_json(k, name, j_raw(v));
}

static enum err number_param(struct ask *k, struct jval body, const char *name, double min, double max)
{
	struct jval v = j_get(body, str_c(name));
	double d;

	if (j_null(v))
		return OK;
	if (!j_double(v, &d) || d < min || d > max)
		return err_field(E_INVALID, name, -1, "%s must be a number from %g to %g", name, min, max);
	return ask_param(k, v, name);
}

enum err ask_begin(struct ask *k, struct http_req *rq, void *ctx, struct jval body)
{
	struct jval user = j_get(body, STR("user"));

	k->rq = rq;
	k->a = rq_arena(rq);
	k->ctx = ctx;
	k->began_s = clock_wall_us() / 1000000;
	k->turn.params = k->params;
	TRY(known_model(k, j_get(body, STR("model"))));
	if (!j_null(user)) {
		k->turn.user = j_is(user, JSON_STRING) ? j_str(k->a, user) : STR("");
		if (!j_is(user, JSON_STRING) || k->turn.user.n > USER_MAX)
			return err_field(E_INVALID, "/user", -1, "user must be a string of at most %d bytes", USER_MAX);
	}
	TRY(ask_bool(body, "stream", false, &k->stream));
	TRY(number_param(k, body, "temperature", 0, 2));
	TRY(number_param(k, body, "top_p", 0, 1));
	return ask_param(k, j_get(body, STR("parallel_tool_calls")), "parallel_tool_calls");
}

/* -------------------------------------------------------------------- answers */

void ask_headers(struct ask *k)
{
	char text[24];
	struct buf b;

	buf_init(&b, k->a, sizeof text + 8);
	buf_u64(&b, k->turn.memories_n);
	rs_header(k->rq, "X-Cenote-Memories", buf_slice(&b));
	if (k->turn.stateless.n)
		rs_header(k->rq, "X-Cenote-Stateless", STR("true"));
}

void ask_fail(struct ask *k, enum err e)
{
	struct buf none;

	buf_init(&none, k->a, 1);
	oa_answer_write(k->rq, e, &none);
}

enum err ask_send(struct ask *k, const char *event, struct buf *json)
{
	struct buf b;

	TRY(json->err);
	if (!k->begun) {
		rs_header(k->rq, "Cache-Control", STR("no-cache"));
		ask_headers(k);
		TRY(rs_begin(k->rq, 200, "text/event-stream"));
		k->begun = true;
	}
	buf_init(&b, NULL, json->n + 256);
	if (event[0])
		buf_printf(&b, "event: %s\n", event);
	buf_lit(&b, "data: ");
	buf_str(&b, buf_slice(json));
	buf_lit(&b, "\n\n");
	enum err e = b.err == OK ? rs_write(k->rq, buf_slice(&b)) : b.err;
	buf_release(&b);
	return e;
}

void ask_done(struct ask *k)
{
	if (rs_write(k->rq, STR("data: [DONE]\n\n")) == OK)
		rs_end(k->rq);
	else
		rs_abort(k->rq);
}
