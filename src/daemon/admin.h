/* Routes of the running program itself, below /cenote/v1: API keys, log level, effective configuration (right admin), and the
 * progress of imports (right write), which lies in the store so that it is forgotten with it. */
#ifndef CENOTE_DAEMON_ADMIN_H
#define CENOTE_DAEMON_ADMIN_H

#include "daemon/auth.h"
#include "daemon/config.h"

struct admin {
	struct store *store;
	struct auth *auth;
	const struct config *cfg;
};
/* a must live as long as the router. */
enum err admin_add(struct http_router *r, struct admin *a) MUST_CHECK;

#endif
