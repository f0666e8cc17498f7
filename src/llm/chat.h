/* Chat models behind OpenAI's API of chat completions (contracts: openai 9): OpenAI, Databricks serving, vLLM, Ollama, llama.cpp.
 */
#ifndef CENOTE_LLM_CHAT_H
#define CENOTE_LLM_CHAT_H

#include "core/llm.h"

#define CHAT_TRIES 3

struct chat_options {
	struct str base_url, model, api_key; /* api_key "" : none is sent */
	unsigned concurrency;		     /* requests under way, 1..4096 */
	uint32_t timeout_ms;		     /* of a whole answer */
	uint32_t idle_ms;		     /* of silence: until the headers, and between two pieces */
	bool completion_tokens;		     /* max_completion_tokens in the place of max_tokens */
	bool usage;			     /* asks for the usage of streamed answers (stream_options) */
	uint32_t backoff_ms;		     /* before the second try; 0: 500 */
};
/* The texts are copied. E_INVALID names the setting llm.* that is wrong. */
enum err chat_open(const struct chat_options *opt, struct llm **out) MUST_CHECK;

#endif
