/* The routes of MLflow's agents, and what they say of themselves. */
#include "api/mlflow/impl.h"

/* Whose forms are spoken, for callers that ask. */
#define MLFLOW_VERSION "3.18.0"

const char *mlflow_error(struct http_req *rq, int status, struct buf *b)
{
	const char *text = diag_get()->text;
	struct jw w;

	(void)rq;
	(void)status;
	jw_init(&w, b);
	jw_obj(&w);
	jw_key(&w, "detail");
	jw_cstr(&w, text[0] ? text : "The request was refused");
	jw_end_obj(&w);
	return "application/json";
}

static void ping(struct http_req *rq, void *ctx)
{
	(void)ctx;
	rs_send(rq, 200, "application/json", STR("\n"));
}

static void info(struct http_req *rq, void *ctx)
{
	const struct mlflow_agent *m = ctx;
	struct buf b;
	struct jw w;

	buf_init(&b, rq_arena(rq), 16 << 10);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "name");
	jw_str(&w, m->name);
	jw_key(&w, "use_case");
	jw_cstr(&w, "agent");
	jw_key(&w, "mlflow_version");
	jw_cstr(&w, MLFLOW_VERSION);
	jw_key(&w, "agent_api");
	jw_cstr(&w, "responses");
	jw_end_obj(&w);
	if (b.err == OK)
		rs_json(rq, 200, buf_slice(&b));
	else
		rs_error(rq, b.err);
}

#define ASKS R_BODY | R_STREAM_OUT | R_LONG
static const struct http_route invocations[] = {
	{"POST", "/invocations", mlflow_invocations, RIGHT_READ | RIGHT_WRITE, ASKS, "mlflowInvocations"},
};
/* Where MLflow's deployments client for Databricks posts to; the endpoint's name is any. */
static const struct http_route serving[] = {
	{"POST", "/serving-endpoints/{name}/invocations", mlflow_invocations, RIGHT_READ | RIGHT_WRITE, ASKS,
	 "mlflowServingInvocations"},
};
static const struct http_route pings[] = {{"GET", "/ping", ping, 0, R_PUBLIC | R_QUIET, "mlflowPing"}};
static const struct http_route agent[] = {{"GET", "/agent/info", info, RIGHT_READ, 0, "mlflowAgentInfo"}};

enum err api_mlflow_add(struct http_router *r, struct mlflow_agent *m)
{
	TRY(http_router_add(r, "/invocations", invocations, 1, m, mlflow_error));
	TRY(http_router_add(r, "/serving-endpoints/", serving, 1, m, mlflow_error));
	TRY(http_router_add(r, "/ping", pings, 1, m, mlflow_error));
	return http_router_add(r, "/agent", agent, 1, m, mlflow_error);
}
