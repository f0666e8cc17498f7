/* The body of POST /chat/completions: only what is configured or asked for, since some services refuse members that they do not
 * know (contracts: openai 9). */
#include "base/json/json.h"
#include "llm/impl.h"

static const char *const roles[] = {"system", "user", "assistant", "tool"};

static void write_calls(struct jw *w, const struct llm_message *m)
{
	jw_key(w, "tool_calls");
	jw_arr(w);
	for (size_t i = 0; i < m->calls_n; i++) {
		const struct llm_call *c = &m->calls[i];

		jw_obj(w);
		jw_key(w, "id");
		jw_str(w, c->id);
		jw_key(w, "type");
		jw_cstr(w, "function");
		jw_key(w, "function");
		jw_obj(w);
		jw_key(w, "name");
		jw_str(w, c->name);
		jw_key(w, "arguments");
		jw_str(w, c->arguments);
		jw_end_obj(w);
		jw_end_obj(w);
	}
	jw_end_arr(w);
}

static void write_content(struct jw *w, const struct chat_body *how, const struct llm_message *m)
{
	jw_key(w, "content");
	if (m->parts.n)
		jw_raw(w, m->parts);
	else if (m->text.n || m->calls_n == 0)
		jw_str(w, m->text);
	else if (how->databricks && memmem(how->model.p, how->model.n, "claude", 6))
		jw_cstr(w, " "); /* refuses an empty one beside calls */
	else
		jw_null(w);
}

static void write_message(struct jw *w, const struct chat_body *how, const struct llm_message *m)
{
	jw_obj(w);
	jw_key(w, "role");
	jw_cstr(w, roles[m->role]);
	write_content(w, how, m);
	if (m->role == LLM_ASSISTANT && m->calls_n)
		write_calls(w, m);
	if (m->role == LLM_TOOL) {
		jw_key(w, "tool_call_id");
		jw_str(w, m->call_id);
	}
	jw_end_obj(w);
}

static void write_param(struct jw *w, const struct chat_body *how, const struct llm_param *p)
{
	jw_key(w, strcmp(p->name, "max_tokens") == 0 && how->completion_tokens ? "max_completion_tokens" : p->name);
	jw_raw(w, p->json);
}

static bool says(const struct llm_request *rq, const char *name)
{
	for (size_t i = 0; i < rq->params_n; i++)
		if (strcmp(rq->params[i].name, name) == 0)
			return true;
	return false;
}

static void write_params(struct jw *w, const struct chat_body *how, const struct llm_request *rq)
{
	for (size_t i = 0; i < rq->params_n; i++)
		write_param(w, how, &rq->params[i]);
	for (size_t i = 0; i < how->defaults_n; i++)
		if (!says(rq, how->defaults[i].name))
			write_param(w, how, &how->defaults[i]);
}

enum err chat_body_write(const struct chat_body *how, const struct llm_request *rq, struct buf *out)
{
	struct jw w;

	jw_init(&w, out);
	jw_obj(&w);
	jw_key(&w, "model");
	jw_str(&w, how->model);
	jw_key(&w, "messages");
	jw_arr(&w);
	for (size_t i = 0; i < rq->n; i++)
		write_message(&w, how, &rq->messages[i]);
	jw_end_arr(&w);
	if (rq->tools.n) {
		jw_key(&w, "tools");
		jw_raw(&w, rq->tools);
	}
	write_params(&w, how, rq);
	if (how->stream) {
		jw_key(&w, "stream");
		jw_bool(&w, true);
	}
	if (how->stream && how->usage) {
		jw_key(&w, "stream_options");
		jw_raw(&w, STR("{\"include_usage\":true}"));
	}
	jw_end_obj(&w);
	return out->err;
}
