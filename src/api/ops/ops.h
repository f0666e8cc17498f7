/* Operational routes: health, metrics, the API's description (contracts: operations 4, 5). None but /metrics needs authentication.
 */
#ifndef CENOTE_API_OPS_H
#define CENOTE_API_OPS_H

#include <stdatomic.h>

#include "core/memory.h"
#include "http/server.h"

/* Fill in before api_ops_add; it must live as long as the router. Zero is a good start for everything but memory. */
struct api_ops {
	struct memory *memory;
	atomic_bool ready;			     /* the program's own word: true from the time it serves until it drains */
	atomic_bool no_metrics;			     /* /metrics answers 404 */
	void (*metrics)(void *arg, struct buf *out); /* more figures in Prometheus text, with their HELP and TYPE; may be NULL */
	void *metrics_arg;
	/* private: the last look at the store, taken at most once a second */
	atomic_bool started;
	atomic_uint_fast64_t asked_at_ns;
	atomic_int ping; /* enum err of the last ping */
	atomic_int_fast64_t ping_us;
};
enum err api_ops_add(struct http_router *r, struct api_ops *o) MUST_CHECK;
/* The description as it is served at /openapi.json. */
struct str api_openapi(void);

#endif
