/* Asking the assistant: the members that bodies share, and how answers leave. */
#include "api/ask.h"

#include "base/clock.h"

#define MODEL_MAX 256
#define USER_MAX 256

enum err ask_model(struct ask *k, struct jval model)
{
	const char *why;
	struct str have = assistant_model(k->service->assistant, &why), want;

	if (j_null(model) || k->turn.listen)
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

struct str ask_answerer(const struct ask *k)
{
	const char *why;

	return k->turn.listen ? STR(ASK_NOBODY) : assistant_model(k->service->assistant, &why);
}

enum err ask_user(struct ask *k, struct jval user, const char *field)
{
	if (j_null(user))
		return OK;
	k->turn.user = j_is(user, JSON_STRING) ? j_str(k->a, user) : STR("");
	if (!j_is(user, JSON_STRING) || k->turn.user.n > USER_MAX)
		return err_field(E_INVALID, field, -1, "%s must be a string of at most %d bytes", field, USER_MAX);
	return k->turn.user.p ? OK : E_NOMEM;
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

/* X-Cenote-Tools: which tools of ours, and whether their calls are shown. The Agents SDK takes every call that it is shown for one
 * of its own, and ends the run. */
static enum err read_toolbox(struct ask *k)
{
	struct str v = rq_header(k->rq, "X-Cenote-Tools");

	k->hide = v.n ? str_eq(v, STR("hidden")) : str_starts(rq_header(k->rq, "User-Agent"), STR("Agents/"));
	k->turn.no_toolbox = str_eq(v, STR("off"));
	if (!v.n || k->hide || k->turn.no_toolbox || str_eq(v, STR("shown")))
		return OK;
	return err_field(E_INVALID, "X-Cenote-Tools", -1, "the header X-Cenote-Tools must be shown, hidden or off");
}

/* X-Cenote-Why: responses say which memories went into them. */
static enum err read_why(struct ask *k)
{
	struct str why = rq_header(k->rq, "X-Cenote-Why");

	k->turn.explain = str_ieq(why, STR("true"));
	if (why.n && !k->turn.explain && !str_ieq(why, STR("false")))
		return err_field(E_INVALID, "X-Cenote-Why", -1, "the header X-Cenote-Why must be true or false");
	return OK;
}

enum err ask_begin(struct ask *k, struct http_req *rq, void *ctx, struct jval body)
{
	const char *why;

	k->rq = rq;
	k->a = rq_arena(rq);
	k->service = ctx;
	k->began_s = clock_wall_us() / 1000000;
	k->turn.params = k->params;
	ask_trace(k);
	TRY(read_toolbox(k));
	TRY(read_why(k));
	k->turn.listen = j_str_eq(j_get(body, STR("model")), STR(ASK_NOBODY));
	if (!k->turn.listen && !assistant_model(k->service->assistant, &why).p)
		return err_field(E_NOT_FOUND, "model", -1, "this server has no chat model: %s", why);
	TRY(ask_user(k, j_get(body, STR("user")), "user"));
	TRY(ask_bool(body, "stream", false, &k->stream));
	TRY(number_param(k, body, "temperature", 0, 2));
	TRY(number_param(k, body, "top_p", 0, 1));
	return ask_param(k, j_get(body, STR("parallel_tool_calls")), "parallel_tool_calls");
}

/* The turn is traced, in the caller's trace when it names one (traceparent): the answer says where (X-Cenote-Trace). */
void ask_trace(struct ask *k)
{
	if (!k->turn.trace || k->turn.trace->closed)
		assistant_trace(k->service->assistant, k->a, rq_principal(k->rq), rq_header(k->rq, "traceparent"),
				rq_header(k->rq, "tracestate"), &k->turn);
}

enum err ask_turn(struct ask *k)
{
	ask_trace(k);
	if (k->turn.trace)
		rs_trace(k->rq, str_c(k->turn.trace->hex));
	return assistant_turn(k->service->assistant, k->a, rq_principal(k->rq), &k->turn);
}

/* -------------------------------------------------------------------- answers */

/* X-Cenote-Memories: how many memories were in the prompt; X-Cenote-Stateless: that there could be none. */
static void write_headers(struct ask *k)
{
	char text[24];
	struct buf b;

	buf_init(&b, k->a, sizeof text + 8);
	buf_u64(&b, k->turn.memories_n);
	rs_header(k->rq, "X-Cenote-Memories", buf_slice(&b));
	if (k->turn.stateless.n)
		rs_header(k->rq, "X-Cenote-Stateless", STR("true"));
}

enum err ask_whole(struct ask *k, const struct buf *json)
{
	TRY(json->err);
	write_headers(k);
	rs_json(k->rq, 200, buf_slice(json));
	return OK;
}

void ask_custom(const struct ask *k, struct jw *w)
{
	if (!k->custom_outputs.n)
		return;
	jw_key(w, "custom_outputs");
	jw_raw(w, k->custom_outputs);
}

enum err ask_send(struct ask *k, const char *event, struct buf *json)
{
	struct buf b;

	TRY(json->err);
	if (!k->begun) {
		rs_header(k->rq, "Cache-Control", STR("no-cache"));
		write_headers(k);
		TRY(rs_begin(k->rq, 200, "text/event-stream"));
		k->begun = true;
	}
	buf_init(&b, NULL, json->n + 256);
	if (event[0] && !k->data_only)
		buf_printf(&b, "event: %s\n", event);
	buf_lit(&b, "data: ");
	buf_str(&b, buf_slice(json));
	buf_lit(&b, "\n\n");
	enum err e = b.err == OK ? rs_write(k->rq, buf_slice(&b)) : b.err;
	buf_release(&b);
	return e;
}

enum err ask_on_item(void *ctx, const struct assistant_item *it)
{
	struct ask *k = ctx;

	k->more = k->more || (it->kind == ITEM_MESSAGE && it->text.n);
	return OK;
}

/* As MLflow names it; "" : not wanted, or there is none. */
static struct str trace_id(const struct ask *k)
{
	struct str id = k->tell_trace ? rq_trace(k->rq) : STR("");

	return id.n ? arena_printf(k->a, "tr-%.*s", STR_ARG(id)) : STR("");
}

void ask_metadata(const struct ask *k, struct jw *w, struct jval sent, const char *dflt)
{
	struct str id = trace_id(k);
	struct jval key, value;

	if (!id.n) {
		if (!j_null(sent) || dflt[0]) {
			jw_key(w, "metadata");
			jw_raw(w, j_null(sent) ? str_c(dflt) : j_raw(sent));
		}
		return;
	}
	jw_key(w, "metadata");
	jw_obj(w);
	for (struct j_iter it = j_iter(sent); j_is(sent, JSON_OBJECT) && j_next(&it, &key, &value);) {
		if (j_str_eq(key, STR("trace_id")))
			continue;
		jw_key_str(w, j_str(k->a, key));
		jw_raw(w, j_raw(value));
	}
	jw_key(w, "trace_id");
	jw_str(w, id);
	jw_end_obj(w);
}

void ask_done(struct ask *k)
{
	struct str id = trace_id(k);

	if (id.n) {
		struct str frame = arena_printf(k->a, "data: {\"trace_id\":\"%.*s\"}\n\n", STR_ARG(id));

		if (!frame.p || rs_write(k->rq, frame) != OK) {
			rs_abort(k->rq);
			return;
		}
	}
	if (rs_write(k->rq, STR("data: [DONE]\n\n")) == OK)
		rs_end(k->rq);
	else
		rs_abort(k->rq);
}

void ask_break(struct ask *k, enum err e, struct buf *json)
{
	if (e != E_CANCELLED && ask_send(k, "", json) == OK)
		ask_done(k);
	else
		rs_abort(k->rq);
}
