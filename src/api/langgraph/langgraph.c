/* The route table of the LangGraph protocol. */
#include "api/langgraph/impl.h"

#define ANY R_ANY_TYPE
#define TABLE(t) (t), sizeof(t) / sizeof((t)[0])

static const struct http_route store_routes[] = {
	{"PUT", "/store/items", lg_item_put, RIGHT_WRITE, R_BODY | ANY, "langgraphPutItem"},
	{"GET", "/store/items", lg_item_get, RIGHT_READ, 0, "langgraphGetItem"},
	{"DELETE", "/store/items", lg_item_delete, RIGHT_WRITE, R_BODY | ANY, "langgraphDeleteItem"},
	{"POST", "/store/items/search", lg_items_search, RIGHT_READ, R_BODY | ANY, "langgraphSearchItems"},
	{"POST", "/store/namespaces", lg_namespaces, RIGHT_READ, R_BODY | ANY, "langgraphListNamespaces"},
};

static const struct http_route ok_routes[] = {
	{"GET", "/ok", lg_ok, 0, R_PUBLIC | R_QUIET, "langgraphOk"},
};

static const struct http_route info_routes[] = {
	{"GET", "/info", lg_info, 0, R_PUBLIC | R_QUIET, "langgraphInfo"},
};

/* Cenote runs no graphs, and says so: clients that look around find nothing, quietly. */
static const struct http_route assistant_routes[] = {
	{"POST", "/assistants/search", lg_empty_list, RIGHT_READ, R_BODY | R_BODY_OPTIONAL | ANY, "langgraphSearchAssistants"},
	{"POST", "/assistants/count", lg_zero, RIGHT_READ, R_BODY | R_BODY_OPTIONAL | ANY, "langgraphCountAssistants"},
};

static const struct http_route thread_routes[] = {
	{"GET", "/threads/{thread_id}/runs", lg_empty_list, RIGHT_READ, 0, "langgraphListRuns"},
};

static const struct http_route run_routes[] = {
	{"POST", "/runs/crons/search", lg_empty_list, RIGHT_READ, R_BODY | R_BODY_OPTIONAL | ANY, "langgraphSearchCrons"},
	{"POST", "/runs/crons/count", lg_zero, RIGHT_READ, R_BODY | R_BODY_OPTIONAL | ANY, "langgraphCountCrons"},
};

enum err api_langgraph_add(struct http_router *r, struct memory *m)
{
	TRY(http_router_add(r, "/store", TABLE(store_routes), m, lg_error));
	TRY(http_router_add(r, "/ok", TABLE(ok_routes), m, lg_error));
	TRY(http_router_add(r, "/info", TABLE(info_routes), m, lg_error));
	TRY(http_router_add(r, "/assistants", TABLE(assistant_routes), m, lg_error));
	TRY(http_router_add(r, "/threads", TABLE(thread_routes), m, lg_error));
	return http_router_add(r, "/runs", TABLE(run_routes), m, lg_error);
}
