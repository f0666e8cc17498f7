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

#define OPTIONAL (R_BODY | R_BODY_OPTIONAL | ANY)
static const struct http_route thread_routes[] = {
	{"POST", "/threads", lg_thread_create, RIGHT_WRITE, OPTIONAL, "langgraphCreateThread"},
	{"POST", "/threads/search", lg_threads_search, RIGHT_READ, OPTIONAL, "langgraphSearchThreads"},
	{"POST", "/threads/count", lg_threads_count, RIGHT_READ, OPTIONAL, "langgraphCountThreads"},
	{"POST", "/threads/prune", lg_threads_prune, RIGHT_WRITE, R_BODY | ANY, "langgraphPruneThreads"},
	{"GET", "/threads/{thread_id}", lg_thread_get, RIGHT_READ, 0, "langgraphGetThread"},
	{"PATCH", "/threads/{thread_id}", lg_thread_update, RIGHT_WRITE, R_BODY | ANY, "langgraphUpdateThread"},
	{"DELETE", "/threads/{thread_id}", lg_thread_delete, RIGHT_WRITE, 0, "langgraphDeleteThread"},
	{"POST", "/threads/{thread_id}/copy", lg_thread_copy, RIGHT_WRITE, 0, "langgraphCopyThread"},
	{"GET", "/threads/{thread_id}/storage", lg_thread_storage, RIGHT_READ, 0, "langgraphThreadStorage"},
	{"GET", "/threads/{thread_id}/state", lg_state_get, RIGHT_READ, 0, "langgraphGetState"},
	{"POST", "/threads/{thread_id}/state", lg_state_update, RIGHT_WRITE, R_BODY | ANY, "langgraphUpdateState"},
	{"PATCH", "/threads/{thread_id}/state", lg_no_state_metadata, RIGHT_WRITE, OPTIONAL, "langgraphPatchState"},
	{"POST", "/threads/{thread_id}/state/checkpoint", lg_state_find, RIGHT_READ, R_BODY | ANY, "langgraphFindState"},
	{"GET", "/threads/{thread_id}/state/{checkpoint_id}", lg_state_at, RIGHT_READ, 0, "langgraphGetStateAt"},
	{"POST", "/threads/{thread_id}/history", lg_history_post, RIGHT_READ, OPTIONAL, "langgraphPostHistory"},
	{"GET", "/threads/{thread_id}/history", lg_history_get, RIGHT_READ, 0, "langgraphGetHistory"},
	{"GET", "/threads/{thread_id}/runs", lg_empty_list, RIGHT_READ, 0, "langgraphListRuns"},
	{"POST", "/threads/{thread_id}/runs", lg_no_graphs, RIGHT_READ, OPTIONAL, "langgraphCreateRun"},
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
