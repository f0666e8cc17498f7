/* What the files of api/langgraph share. */
#ifndef CENOTE_API_LANGGRAPH_IMPL_H
#define CENOTE_API_LANGGRAPH_IMPL_H

#include "api/langgraph/langgraph.h"
#include "base/json/json.h"

/* store.c; ctx is the struct memory. */
void lg_item_put(struct http_req *rq, void *ctx);
void lg_item_get(struct http_req *rq, void *ctx);
void lg_item_delete(struct http_req *rq, void *ctx);
void lg_items_search(struct http_req *rq, void *ctx);
void lg_namespaces(struct http_req *rq, void *ctx);

/* system.c */
void lg_ok(struct http_req *rq, void *ctx);
void lg_info(struct http_req *rq, void *ctx);
void lg_empty_list(struct http_req *rq, void *ctx); /* [] */
void lg_zero(struct http_req *rq, void *ctx);	    /* 0 */
/* http_error_fn: {"detail": "..."}. */
const char *lg_error(struct http_req *rq, int status, struct buf *b);

#endif
