/* Cenote's own API below /cenote/v1 (contracts: native, operations 3). Errors are RFC 9457 problems. */
#ifndef CENOTE_API_NATIVE_H
#define CENOTE_API_NATIVE_H

#include "core/memory.h"
#include "http/server.h"

/* m must live as long as the router. */
enum err api_native_add(struct http_router *r, struct memory *m) MUST_CHECK;

/* The last traces of turns. tr must live as long as the router; NULL: there are none. */
struct tracer;
enum err api_native_traces_add(struct http_router *r, struct tracer *tr) MUST_CHECK;

#endif
