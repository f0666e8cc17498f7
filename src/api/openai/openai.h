/* What OpenAI's clients call: conversations and their items, embeddings and models, mounted under /v1, at the root and under
 * /serving-endpoints, as clients put paths behind whatever base URL they were given (contracts: openai 3-5). A conversation is a
 * thread: its items are the session's entries, its metadata the thread's. Errors have OpenAI's form. */
#ifndef CENOTE_API_OPENAI_H
#define CENOTE_API_OPENAI_H

#include "api/ask.h"
#include "core/embed.h"
#include "core/memory.h"
#include "http/server.h"

/* m must live as long as the router. */
enum err api_openai_add(struct http_router *r, struct memory *m) MUST_CHECK;

/* The encoder as OpenAI's clients see it: POST /embeddings, GET /models. Must live as long as the router. */
struct openai_models {
	struct embedder *encoder; /* NULL: there is none */
	struct str chat;	  /* name of the chat model; .p NULL: there is none */
	const char *why;	  /* without an encoder: a sentence that says why, and what would change it */
};
enum err api_openai_models_add(struct http_router *r, struct openai_models *m) MUST_CHECK;

/* The assistant as OpenAI's clients ask it: POST /responses, POST /chat/completions, below /v1 and /serving-endpoints; at the root
 * chat completions alone: its /responses is the wiring's, since other protocols have one there, too. */
enum err api_openai_assistant_add(struct http_router *r, struct ask_service *as) MUST_CHECK;
void oa_responses(struct http_req *rq, void *ctx); /* ctx: struct ask_service */
const char *oa_error(struct http_req *rq, int status, struct buf *b);

#endif
