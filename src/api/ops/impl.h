/* What the files of api/ops share. */
#ifndef CENOTE_API_OPS_IMPL_H
#define CENOTE_API_OPS_IMPL_H

#include "api/ops/ops.h"

/* ctx is the struct api_ops. */
void ops_livez(struct http_req *rq, void *ctx);
void ops_readyz(struct http_req *rq, void *ctx);
void ops_startupz(struct http_req *rq, void *ctx);
void ops_health(struct http_req *rq, void *ctx);
void ops_metrics(struct http_req *rq, void *ctx);
void ops_openapi(struct http_req *rq, void *ctx);

/* The store as it was at the last look, at most a second ago: OK or why it does not answer. */
enum err ops_store_state(struct api_ops *o, double *ms);
/* process_* in Prometheus text. */
void ops_process_metrics(struct buf *out);

#endif
