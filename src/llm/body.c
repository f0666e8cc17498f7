/* The body of POST /chat/completions: only what is configured or asked for, since some services refuse members that they do not
 * know (contracts: openai 9). */
#include <stdio.h>
#include <strings.h>

#include "base/hash.h"
#include "base/json/json.h"
#include "base/utf8.h"
#include "llm/impl.h"

#define ID_MAX 64 /* bytes of a call's id on Databricks */

static const char *const roles[] = {"system", "user", "assistant", "tool"};

/* ---------------------------------------------------------- what Databricks takes */

/* Whether the word stands in the model's name, in small letters or capitals. */
static bool named(const struct chat_body *how, const char *word)
{
	size_t n = strlen(word);

	for (size_t i = 0; i + n <= how->model.n; i++)
		if (strncasecmp(how->model.p + i, word, n) == 0)
			return true;
	return false;
}

/* A call and its output name the same id: a long one is cut in the same way wherever it stands, and ends with a hash of the whole,
 * so that two that begin alike stay two. */
static void write_id(struct jw *w, const struct chat_body *how, struct str id)
{
	char cut[ID_MAX + 1];
	struct str head = utf8_cut(id, ID_MAX - 16);

	if (!how->databricks || id.n <= ID_MAX) {
		jw_str(w, id);
		return;
	}
	snprintf(cut, sizeof cut, "%.*s%016llx", STR_ARG(head), (unsigned long long)hash64(id));
	jw_cstr(w, cut);
}

/* A tool without the member strict of its function. */
static enum err write_lax(struct jw *w, struct arena *a, struct jval v, bool function)
{
	struct jval key, value;

	jw_obj(w);
	for (struct j_iter it = j_iter(v); j_next(&it, &key, &value);) {
		struct str name = j_str(a, key);

		if (!name.p)
			return E_NOMEM;
		if (function && str_eq(name, STR("strict")))
			continue;
		jw_key_str(w, name);
		if (!function && str_eq(name, STR("function")) && j_is(value, JSON_OBJECT))
			TRY(write_lax(w, a, value, true));
		else
			jw_raw(w, j_raw(value));
	}
	jw_end_obj(w);
	return OK;
}

/* Of its models only OpenAI's know strict, and the others refuse it; the Agents SDK sends it with every tool. */
static enum err write_tools(struct jw *w, const struct chat_body *how, struct str tools)
{
	const struct json_limits lim = {256, 4000000, tools.n, JSON_DUP_OK};
	struct arena *a = w->b->arena;
	struct jval tool;
	struct json doc;

	jw_key(w, "tools");
	if (!how->databricks || named(how, "gpt")) {
		jw_raw(w, tools);
		return OK;
	}
	TRY(json_parse(a, tools, &lim, &doc));
	jw_arr(w);
	for (struct j_iter it = j_iter(json_root(&doc)); j_next(&it, NULL, &tool);) {
		if (j_is(tool, JSON_OBJECT))
			TRY(write_lax(w, a, tool, false));
		else
			jw_raw(w, j_raw(tool));
	}
	jw_end_arr(w);
	return OK;
}

/* -------------------------------------------------------------------- messages */

static void write_calls(struct jw *w, const struct chat_body *how, const struct llm_message *m)
{
	jw_key(w, "tool_calls");
	jw_arr(w);
	for (size_t i = 0; i < m->calls_n; i++) {
		const struct llm_call *c = &m->calls[i];

		jw_obj(w);
		jw_key(w, "id");
		write_id(w, how, c->id);
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
	else if (how->databricks && named(how, "claude"))
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
		write_calls(w, how, m);
	if (m->role == LLM_TOOL) {
		jw_key(w, "tool_call_id");
		write_id(w, how, m->call_id);
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
	if (rq->tools.n)
		TRY(write_tools(&w, how, rq->tools));
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
