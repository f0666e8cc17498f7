/* What the files of api/mlflow share. */
#ifndef CENOTE_API_MLFLOW_IMPL_H
#define CENOTE_API_MLFLOW_IMPL_H

#include "api/mlflow/mlflow.h"

/* ---- thread.c: contracts mlflow 1.3 ---- */
struct mlflow_thread {
	struct str id;
	bool named;   /* by the caller; else it is new */
	bool session; /* under session_id */
};
/* The thread of a body: custom_inputs.thread_id, custom_inputs.session_id, context.conversation_id, or a new one; null and empty
 * texts count as absent. E_INVALID names a member of another type. In a. */
enum err mlflow_thread(struct arena *a, struct jval body, struct mlflow_thread *out) MUST_CHECK;
/* context.user_id, else custom_inputs.user_id; .doc NULL: neither. *field names it. */
enum err mlflow_user(struct jval body, struct jval *user, const char **field) MUST_CHECK;
/* {"thread_id"} of replies, with session_id when it came under that name. In a; .p NULL: out of memory. */
struct str mlflow_outputs(struct arena *a, const struct mlflow_thread *t);

/* ---- messages.c: the chat form's own reply, contracts mlflow 1.2 ---- */
/* As completion_run. */
enum err mlflow_messages_run(struct ask *k) MUST_CHECK;

/* ---- invocations.c ---- */
void mlflow_invocations(struct http_req *rq, void *ctx);

#endif
