/* The protocols that ask the assistant, and the one path that two of them have. */
#include "daemon/agents.h"

#include <stdlib.h>

#include "api/openai/openai.h"

/* Each body goes to the protocol that it is written in. */
static void root_responses(struct http_req *rq, void *ctx)
{
	struct mlflow_agent *m = ctx;

	if (mlflow_wants(rq))
		mlflow_responses(rq, m);
	else
		oa_responses(rq, &m->service);
}

/* Before the body is read nobody knows whose it is: {"detail", "error"} is what either reads. */
static const char *root_error(struct http_req *rq, int status, struct buf *b)
{
	struct buf other;
	const char *type;

	buf_init(&other, rq_arena(rq), (size_t)64 << 10);
	type = oa_error(rq, status, &other);
	(void)mlflow_error(rq, status, b);
	if (b->n && other.n > 2 && other.err == OK) {
		b->n--; /* its brace */
		buf_byte(b, ',');
		buf_str(b, str_sub(buf_slice(&other), 1, other.n));
	}
	return type;
}

static const struct http_route root[] = {
	{"POST", "/responses", root_responses, RIGHT_READ | RIGHT_WRITE, R_BODY | R_STREAM_OUT | R_LONG, "createAgentResponse"}};

enum err agents_add(struct http_router *r, const struct config *c, const struct ask_service *service, struct agents *out)
{
	const char *name = getenv("DATABRICKS_APP_NAME");

	out->mlflow = (struct mlflow_agent){
		.service = *service,
		.name = str_c(name ? name : "cenote"),
		.messages = c->mlflow_chat_reply == CHAT_MESSAGES,
	};
	TRY(api_openai_assistant_add(r, &out->mlflow.service));
	TRY(api_mlflow_add(r, &out->mlflow));
	return http_router_add(r, "/responses", root, 1, &out->mlflow, root_error);
}
