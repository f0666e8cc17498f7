/* Opening the assistant and its models. */
#include "daemon/assist.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/secret.h"
#include "llm/chat.h"

/* ------------------------------------------------------------------- headers */

/* Reads the headers with their secrets into h; wipe_headers ends them. */
static enum err read_headers(const struct config *c, struct arena *a, struct outbound_header *h, size_t *n)
{
	for (*n = 0; *n < c->llm_headers.n; ++*n) {
		struct str text = c->llm_headers.v[*n], name, value;
		char *secret;

		TRY(llm_header_check(text));
		(void)str_cut(text, '=', &name, &value);
		if (value.n && value.p[0] == '$') {
			const char *of = arena_cstr(a, str_sub(value, 1, value.n)), *var = of ? getenv(of) : NULL;

			if (!var)
				return err_set(E_INVALID, "llm.headers: %.*s is to be the variable %.*s, which is not set",
					       STR_ARG(name), STR_ARG(value));
			value = arena_str(a, str_c(var));
		} else if (value.n && value.p[0] == '@') {
			const char *path = arena_cstr(a, str_sub(value, 1, value.n));

			if (!path)
				return E_NOMEM;
			enum err e = secret_file_read(path, &secret);

			if (e != OK)
				return err_wrap(e, "llm.headers: %.*s", STR_ARG(name));
			value = arena_str(a, str_c(secret));
			secret_free(secret);
		} else {
			value = arena_str(a, value);
		}
		h[*n] = (struct outbound_header){name, value};
		if (!value.p)
			return E_NOMEM;
	}
	return OK;
}

static void wipe_headers(struct outbound_header *h, size_t n)
{
	for (size_t i = 0; i < n; i++)
		explicit_bzero((char *)(uintptr_t)h[i].value.p, h[i].value.n);
}

/* -------------------------------------------------------------------- models */

static enum err open_one(const struct chat_options *common, struct str model, struct llm **out)
{
	struct chat_options opt = *common;

	opt.model = model;
	TRY(chat_open(&opt, out));
	LOG(LOG_INFO, "llm", "model", LF_STR("url", opt.base_url), LF_STR("model", model));
	return OK;
}

/* The model of that name: the chat model when it is the same, or none is named. */
static enum err open_named(const struct chat_options *common, struct str model, struct llm *chat, struct llm **out)
{
	*out = chat;
	return model.n && !str_eq(model, chat->model) ? open_one(common, model, out) : OK;
}

static enum err open_models(const struct config *c, struct arena *a, struct assist *out)
{
	struct outbound_header headers[CHAT_HEADERS_MAX];
	enum err e;
	struct llm_param defaults[2];
	struct chat_options opt = {
		.base_url = c->llm_base_url,
		.api_key = c->llm_api_key,
		.concurrency = (unsigned)c->llm_concurrency,
		.timeout_ms = (uint32_t)c->llm_timeout,
		.idle_ms = (uint32_t)c->llm_idle_timeout,
		.completion_tokens = c->llm_token_limit == TOKENS_COMPLETION,
		.usage = c->llm_stream_usage,
		.whole = !c->llm_streaming,
		.headers = headers,
		.defaults = defaults,
	};

	if (c->llm_headers.n > CHAT_HEADERS_MAX)
		return err_set(E_INVALID, "llm.headers has more than %d headers", CHAT_HEADERS_MAX);
	CHECK(read_headers(c, a, headers, &opt.headers_n));
	if (c->llm_temperature.n)
		defaults[opt.defaults_n++] = (struct llm_param){"temperature", c->llm_temperature};
	if (c->llm_max_tokens)
		defaults[opt.defaults_n++] =
			(struct llm_param){"max_tokens", arena_printf(a, "%lld", (long long)c->llm_max_tokens)};
	CHECK(open_one(&opt, c->llm_model, &out->llm));
	out->extract = out->summary = out->llm;
	CHECK(open_named(&opt, c->llm_extract_model, out->llm, &out->extract));
	e = open_named(&opt, c->llm_summary_model, out->llm, &out->summary);
out:
	wipe_headers(headers, opt.headers_n);
	return e;
}

/* ----------------------------------------------------------------- assistant */

static enum err open_learner(const struct config *c, struct memory *m, struct tracer *tr, struct assist *out)
{
	_Static_assert((int)EXTRACTING_RULES == (int)EXTRACT_RULES && (int)EXTRACTING_MODEL == (int)EXTRACT_MODEL, "same order");
	struct extract_options opt = {
		.memory = m,
		.mode = config_layer(c, "long_term") ? (enum extract_mode)c->memory_extract : EXTRACT_OFF,
		.llm = out->extract,
		.summary = c->memory_summary == SUMMARY_ON ? out->summary : NULL,
		.window = (uint32_t)c->memory_max_history,
		.tracer = tr,
		.tokens = (uint32_t)c->memory_history_tokens,
	};

	/* Rules need no model. */
	if (!out->llm && opt.mode == EXTRACT_MODEL) {
		LOG(LOG_WARN, "extract", "memory.extract is model, but there is none: nothing is learnt from turns");
		opt.mode = EXTRACT_OFF;
	}
	if (opt.mode == EXTRACT_OFF && !opt.summary)
		return OK;
	return extract_new(&opt, &out->learner);
}

static enum err open_all(const struct config *c, struct arena *a, struct memory *m, struct tracer *tr, struct assist *out)
{
	struct assistant_options opt = {
		.memory = m,
		.why = "set llm.base_url and llm.model (on Databricks: DATABRICKS_HOST and DATABRICKS_TOKEN)",
		.system_prompt = c->llm_system_prompt,
		.max_history = (uint32_t)c->memory_max_history,
		.history_tokens = (uint32_t)c->memory_history_tokens,
		.recall_limit = config_layer(c, "long_term") ? (uint32_t)c->memory_recall : 0,
		.no_threads = !config_layer(c, "short_term"),
		.recall_tokens = (uint32_t)c->memory_recall_tokens,
		.step_ms = (uint32_t)c->memory_step_timeout,
		.tracer = tr,
		.max_steps = (uint32_t)c->tools_max_steps,
		.tool_timeout_ms = (uint32_t)c->tools_timeout,
		.tool_result = (size_t)c->tools_max_result,
	};

	if (c->llm_base_url.n)
		TRY(open_models(c, a, out));
	opt.llm = out->llm;
	TRY(open_learner(c, m, tr, out));
	opt.extract = out->learner;
	TRY(tools_open(c, m, &out->tools));
	opt.tools = out->tools.box;
	if (out->tools.mcp)
		opt.more_tools[opt.more_tools_n++] = mcp_source(out->tools.mcp);
	if (out->tools.uc)
		opt.more_tools[opt.more_tools_n++] = uc_source(out->tools.uc);
	TRY(assistant_new(&opt, &out->assistant));
	out->service = (struct ask_service){.memory = m, .assistant = out->assistant};
	return OK;
}

enum err assist_open(const struct config *c, struct memory *m, struct tracer *tr, struct assist *out)
{
	struct arena a;
	enum err e;

	*out = (struct assist){.llm = NULL};
	arena_init(&a, (size_t)4 << 20);
	e = open_all(c, &a, m, tr, out);
	arena_release(&a);
	if (e != OK) {
		struct diag d = *diag_get();

		assist_close(out);
		*diag_get() = d;
	}
	return e;
}

void assist_close(struct assist *as)
{
	assistant_free(as->assistant);
	extract_free(as->learner);
	if (as->summary != as->llm)
		llm_close(as->summary);
	if (as->extract != as->llm)
		llm_close(as->extract);
	llm_close(as->llm);
	tools_close(&as->tools);
	*as = (struct assist){.llm = NULL};
}
