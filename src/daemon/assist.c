/* Opening the assistant. */
#include "daemon/assist.h"

#include "base/log.h"
#include "llm/chat.h"

static enum err open_model(const struct config *c, struct llm **out)
{
	const struct chat_options opt = {
		.base_url = c->llm_base_url,
		.model = c->llm_model,
		.api_key = c->llm_api_key,
		.concurrency = (unsigned)c->llm_concurrency,
		.timeout_ms = (uint32_t)c->llm_timeout,
		.idle_ms = (uint32_t)c->llm_idle_timeout,
		.completion_tokens = c->llm_token_limit == TOKENS_COMPLETION,
		.usage = c->llm_stream_usage,
	};
	TRY(chat_open(&opt, out));
	LOG(LOG_INFO, "llm", "model server", LF_STR("url", c->llm_base_url), LF_STR("model", c->llm_model));
	return OK;
}

enum err assist_open(const struct config *c, struct memory *m, struct assist *out)
{
	struct assistant_options opt = {
		.memory = m,
		.why = "set llm.base_url and llm.model (on Databricks: DATABRICKS_HOST and DATABRICKS_TOKEN)",
		.system_prompt = c->llm_system_prompt,
		.max_history = (uint32_t)c->memory_max_history,
		.recall_limit = (uint32_t)c->memory_recall,
		.recall_tokens = (uint32_t)c->memory_recall_tokens,
	};
	*out = (struct assist){.llm = NULL};
	if (c->llm_base_url.n)
		TRY(open_model(c, &out->llm));
	opt.llm = out->llm;
	enum err e = assistant_new(&opt, &out->assistant);
	if (e != OK)
		assist_close(out);
	out->openai = (struct openai_assistant){m, out->assistant};
	return e;
}

void assist_close(struct assist *as)
{
	assistant_free(as->assistant);
	llm_close(as->llm);
	*as = (struct assist){.llm = NULL};
}
