/* Chat models behind OpenAI's API of chat completions (contracts: openai 9): OpenAI, Databricks serving, vLLM, Ollama, llama.cpp.
 */
#ifndef CENOTE_LLM_CHAT_H
#define CENOTE_LLM_CHAT_H

#include "core/llm.h"
#include "http/outbound.h"

#define CHAT_TRIES 3
#define CHAT_HEADERS_MAX 32
#define CHAT_DEFAULTS_MAX 8

struct chat_options {
	struct str base_url, model, api_key; /* api_key "" : none is sent */
	unsigned concurrency;		     /* requests under way, 1..4096 */
	uint32_t timeout_ms;		     /* of a whole answer */
	uint32_t idle_ms;		     /* of silence: until the headers, and between two pieces */
	bool completion_tokens;		     /* max_completion_tokens in the place of max_tokens */
	bool whole;			     /* asks for answers whole, and hands them on in one piece */
	bool usage;			     /* asks for the usage of streamed answers (stream_options) */
	uint32_t backoff_ms;		     /* before the second try; 0: 500 */
	/* Sent with every request. Their values are secrets: no sentence has them. */
	const struct outbound_header *headers;
	size_t headers_n; /* at most CHAT_HEADERS_MAX */
	/* Parameters of requests that do not say them themselves. */
	const struct llm_param *defaults;
	size_t defaults_n; /* at most CHAT_DEFAULTS_MAX */
};
/* The texts are copied. E_INVALID names the setting llm.* that is wrong. */
enum err chat_open(const struct chat_options *opt, struct llm **out) MUST_CHECK;

#endif
