/* POST /responses at the root: OpenAI's clients have one there, and MLflow's callers of agents. */
#ifndef CENOTE_DAEMON_AGENTS_H
#define CENOTE_DAEMON_AGENTS_H

#include "api/mlflow/mlflow.h"
#include "daemon/config.h"

/* Must live as long as the router. */
struct agents {
	struct mlflow_agent mlflow;
};
/* Adds the protocols that ask the assistant. */
enum err agents_add(struct http_router *r, const struct config *c, const struct ask_service *service,
		    struct agents *out) MUST_CHECK;

#endif
