/* The route table of Cenote's own API. */
#include "api/native/impl.h"

static const struct http_route routes[] = {
	{"GET", "/cenote/v1/items", nv_item_get, RIGHT_READ, 0, "getItem"},
	{"PUT", "/cenote/v1/items", nv_item_put, RIGHT_WRITE, R_BODY, "putItem"},
	{"GET", "/cenote/v1/items/history", nv_item_history, RIGHT_READ, 0, "getItemHistory"},
	{"DELETE", "/cenote/v1/items", nv_item_delete, RIGHT_WRITE, 0, "deleteItem"},
	/* What an operation needs is checked where it is done: a batch of reads needs no right to write. */
	{"POST", "/cenote/v1/batch", nv_batch, RIGHT_READ, R_BODY, "batch"},
	{"POST", "/cenote/v1/checkpoints", nv_checkpoints, RIGHT_READ, R_BODY | R_RAW_BODY | R_LARGE_BODY, "checkpoints"},
	{"POST", "/cenote/v1/messages", nv_messages, RIGHT_WRITE, R_BODY, "appendMessages"},
	{"GET", "/cenote/v1/threads", nv_threads, RIGHT_READ, 0, "listThreads"},
	{"GET", "/cenote/v1/threads/{id}/messages", nv_thread_messages, RIGHT_READ, 0, "listMessages"},
	{"GET", "/cenote/v1/threads/{id}", nv_thread_info, RIGHT_READ, 0, "getThread"},
	{"DELETE", "/cenote/v1/threads/{id}", nv_thread_delete, RIGHT_WRITE, 0, "deleteThread"},
	{"GET", "/cenote/v1/threads/{id}/checkpoints", nv_thread_history, RIGHT_READ, 0, "listCheckpoints"},
	{"GET", "/cenote/v1/threads/{id}/state", nv_thread_state, RIGHT_READ, 0, "getState"},
	{"POST", "/cenote/v1/threads/{id}/fork", nv_thread_fork, RIGHT_WRITE, R_BODY, "forkThread"},
	{"POST", "/cenote/v1/threads/prune", nv_threads_prune, RIGHT_WRITE, R_BODY, "pruneThreads"},
	{"GET", "/cenote/v1/threads/{id}/export", nv_thread_export, RIGHT_READ, R_STREAM_OUT, "exportThread"},
	{"POST", "/cenote/v1/threads/import", nv_thread_import, RIGHT_WRITE, R_BODY | R_RAW_BODY | R_LARGE_BODY, "importThread"},
	{"GET", "/cenote/v1/sessions", nv_sessions, RIGHT_READ, 0, "listSessions"},
	{"DELETE", "/cenote/v1/sessions/{id}", nv_session_clear, RIGHT_WRITE, 0, "clearSession"},
	{"POST", "/cenote/v1/sessions/{id}/items", nv_session_append, RIGHT_WRITE, R_BODY, "appendSessionItems"},
	{"GET", "/cenote/v1/sessions/{id}/items", nv_session_items, RIGHT_READ, R_STREAM_OUT, "listSessionItems"},
	{"POST", "/cenote/v1/sessions/{id}/pop", nv_session_pop, RIGHT_WRITE, R_BODY | R_BODY_OPTIONAL, "popSessionItem"},
	{"POST", "/cenote/v1/recall", nv_recall, RIGHT_READ, R_BODY, "recall"},
	{"GET", "/cenote/v1/entities", nv_entities, RIGHT_READ, 0, "listEntities"},
	{"POST", "/cenote/v1/entities", nv_entity_put, RIGHT_WRITE, R_BODY, "putEntity"},
	{"DELETE", "/cenote/v1/entities", nv_entity_delete, RIGHT_WRITE, 0, "deleteEntity"},
	{"GET", "/cenote/v1/entities/graph", nv_entity_graph, RIGHT_READ, 0, "getEntityGraph"},
	{"POST", "/cenote/v1/entities/relations", nv_entity_link, RIGHT_WRITE, R_BODY, "linkEntities"},
	{"DELETE", "/cenote/v1/entities/relations", nv_entity_unlink, RIGHT_WRITE, 0, "unlinkEntities"},
	{"GET", "/cenote/v1/namespaces", nv_namespaces, RIGHT_READ, 0, "listNamespaces"},
	{"GET", "/cenote/v1/stats", nv_stats, RIGHT_READ, 0, "getStats"},
	{"GET", "/cenote/v1/vectors", nv_vectors, RIGHT_READ, 0, "getVectors"},
	{"POST", "/cenote/v1/vectors/reindex", nv_reindex, RIGHT_ADMIN, R_BODY | R_BODY_OPTIONAL, "reindexVectors"},
	{"POST", "/cenote/v1/import", nv_import, RIGHT_WRITE, R_BODY | R_RAW_BODY, "importLines"},
	{"GET", "/cenote/v1/export", nv_export, RIGHT_READ, R_STREAM_OUT, "exportLines"},
};

enum err api_native_add(struct http_router *r, struct memory *m)
{
	return http_router_add(r, "/cenote/v1", routes, sizeof routes / sizeof routes[0], m, NULL);
}
