/* What MLflow's and Databricks' callers of agents call: POST /invocations in the Responses form and in the chat form, POST
 * /responses, GET /ping and /agent/info (contracts: mlflow 1). GET /health is the operations' own, in the form they read. A request
 * goes on in the thread that it names, or in a new one, whose name every reply has. Errors are {"detail": text}. */
#ifndef CENOTE_API_MLFLOW_H
#define CENOTE_API_MLFLOW_H

#include "api/ask.h"

/* Must live as long as the router. */
struct mlflow_agent {
	struct ask_service service; /* first: what routes that ask get */
	struct str name;	    /* in /agent/info */
	bool messages;		    /* a body with messages is answered with messages, not with choices */
};
/* All but /responses at the root, where OpenAI's clients have one, too. */
enum err api_mlflow_add(struct http_router *r, struct mlflow_agent *m) MUST_CHECK;

/* ---- POST /responses at the root, for the wiring ---- */
/* Whether the body is of a caller of agents: it has custom_inputs or context, or names no model, or the model of an app. */
bool mlflow_wants(struct http_req *rq);
void mlflow_responses(struct http_req *rq, void *ctx); /* ctx: struct mlflow_agent */
const char *mlflow_error(struct http_req *rq, int status, struct buf *b);

#endif
