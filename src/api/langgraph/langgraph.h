/* LangGraph's HTTP API as the stock SDK clients use it (contracts: langgraph 6): the store and threads wholly, updates of
 * state as far as they need no graph; system routes; short answers for what Cenote does not offer. Errors are {"detail": "one
 * sentence"}. */
#ifndef CENOTE_API_LANGGRAPH_H
#define CENOTE_API_LANGGRAPH_H

#include "core/memory.h"
#include "http/server.h"

/* m must live as long as the router. */
enum err api_langgraph_add(struct http_router *r, struct memory *m) MUST_CHECK;

#endif
