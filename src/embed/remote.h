/* Encoder by service: any that speaks OpenAI's POST /embeddings (OpenAI, Azure-like gateways, Databricks serving endpoints, vLLM,
 * Ollama, llama.cpp, TEI ...; contracts: openai 8, 9). */
#ifndef CENOTE_EMBED_REMOTE_H
#define CENOTE_EMBED_REMOTE_H

#include "core/embed.h"

#define REMOTE_BATCH 96		   /* texts of a request unless it is said otherwise */
#define REMOTE_BATCH_DATABRICKS 20 /* what Databricks' own client sends */
#define REMOTE_TRIES 3

struct remote_options {
	struct str base_url; /* "https://HOST/v1": /embeddings is put behind it */
	struct str model;
	struct str api_key;	 /* "": none is sent */
	struct str ca_file;	 /* as outbound_options' */
	uint32_t dims;		 /* 0: what the first answer has */
	uint32_t batch;		 /* texts of a request, 0: 96, or 20 for Databricks */
	unsigned concurrency;	 /* requests under way */
	uint32_t timeout_ms;	 /* for one try */
	uint32_t backoff_ms;	 /* before the second try, doubled for the third, half of it by chance; 0: 250 */
	uint32_t retry_after_ms; /* longest Retry-After that is obeyed; 0: 60 s. A longer one is E_BUSY at once */
};
/* Asks nothing yet: a service that is down does not keep a server from starting. The strings are copied. */
enum err remote_open(const struct remote_options *opt, struct embedder **out) MUST_CHECK;

#endif
