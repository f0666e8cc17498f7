/* The route tables of OpenAI's API, one for each place where it is mounted. */
#include "api/openai/impl.h"

#define TABLE(t) (t), sizeof(t) / sizeof((t)[0])
#define ROUTES(at, op)                                                                                                             \
	{"POST", at "/conversations", oa_conversation_create, RIGHT_WRITE, R_BODY | R_BODY_OPTIONAL, op "CreateConversation"},     \
		{"GET", at "/conversations/{id}", oa_conversation_get, RIGHT_READ, 0, op "GetConversation"},                       \
		{"POST", at "/conversations/{id}", oa_conversation_update, RIGHT_WRITE, R_BODY, op "UpdateConversation"},          \
		{"DELETE", at "/conversations/{id}", oa_conversation_delete, RIGHT_WRITE, 0, op "DeleteConversation"},             \
		{"POST", at "/conversations/{id}/items", oa_items_create, RIGHT_WRITE, R_BODY, op "CreateItems"},                  \
		{"GET", at "/conversations/{id}/items", oa_items_list, RIGHT_READ, 0, op "ListItems"},                             \
		{"GET", at "/conversations/{id}/items/{item}", oa_item_get, RIGHT_READ, 0, op "GetItem"},                          \
	{                                                                                                                          \
		"DELETE", at "/conversations/{id}/items/{item}", oa_item_delete, RIGHT_WRITE, 0, op "DeleteItem"                   \
	}

static const struct http_route v1_routes[] = {ROUTES("/v1", "openai")};
static const struct http_route root_routes[] = {ROUTES("", "openaiRoot")};
static const struct http_route serving_routes[] = {ROUTES("/serving-endpoints", "openaiServing")};

#define MODEL_ROUTES(at, op)                                                                                                       \
	{"POST", at "/embeddings", oa_embeddings, RIGHT_READ, R_BODY | R_STREAM_OUT, op "CreateEmbeddings"},                       \
		{"GET", at "/models", oa_models_list, RIGHT_READ, 0, op "ListModels"},                                             \
	{                                                                                                                          \
		"GET", at "/models/{id...}", oa_model_get, RIGHT_READ, 0, op "GetModel"                                            \
	}

static const struct http_route v1_models[] = {MODEL_ROUTES("/v1", "openai")};
static const struct http_route root_models[] = {MODEL_ROUTES("", "openaiRoot")};
static const struct http_route serving_models[] = {MODEL_ROUTES("/serving-endpoints", "openaiServing")};

enum err api_openai_models_add(struct http_router *r, struct openai_models *m)
{
	TRY(http_router_add(r, "/v1", TABLE(v1_models), m, oa_error));
	TRY(http_router_add(r, "/models", TABLE(root_models), m, oa_error));
	return http_router_add(r, "/serving-endpoints", TABLE(serving_models), m, oa_error);
}

#define ASKS RIGHT_READ | RIGHT_WRITE, R_BODY | R_STREAM_OUT | R_LONG
#define RESPONSES(at, op)                                                                                                          \
	{                                                                                                                          \
		"POST", at "/responses", oa_responses, ASKS, op "CreateResponse"                                                   \
	}
#define STORED(at, op)                                                                                                             \
	{"GET", at "/responses/{id}", oa_response_get, RIGHT_READ, 0, op "GetResponse"},                                           \
		{"DELETE", at "/responses/{id}", oa_response_delete, RIGHT_READ | RIGHT_WRITE, 0, op "DeleteResponse"},            \
		{"GET", at "/responses/{id}/input_items", oa_response_input, RIGHT_READ, 0, op "ListInputItems"},                  \
		{"POST",     at "/responses/{id}/cancel", oa_response_cancel,                                                      \
		 RIGHT_READ, R_BODY | R_BODY_OPTIONAL,	  op "CancelResponse"},                                                    \
		{"POST", at "/responses/compact", oa_responses_compact, RIGHT_READ, R_BODY, op "CompactResponse"},                 \
	{                                                                                                                          \
		"POST", at "/responses/input_tokens", oa_responses_count, RIGHT_READ, R_BODY, op "CountInputTokens"                \
	}
#define CHAT(at, op)                                                                                                               \
	{                                                                                                                          \
		"POST", at "/chat/completions", oa_chat, ASKS, op "CreateChatCompletion"                                           \
	}

static const struct http_route v1_ask[] = {RESPONSES("/v1", "openai"), STORED("/v1", "openai"), CHAT("/v1", "openai")};
static const struct http_route root_ask[] = {CHAT("", "openaiRoot")};
static const struct http_route root_stored[] = {STORED("", "openaiRoot")};
static const struct http_route serving_ask[] = {RESPONSES("/serving-endpoints", "openaiServing"),
						STORED("/serving-endpoints", "openaiServing"),
						CHAT("/serving-endpoints", "openaiServing")};

enum err api_openai_assistant_add(struct http_router *r, struct ask_service *as)
{
	TRY(http_router_add(r, "/v1", TABLE(v1_ask), as, oa_error));
	TRY(http_router_add(r, "/chat", TABLE(root_ask), as, oa_error));
	TRY(http_router_add(r, "/responses", TABLE(root_stored), as, oa_error));
	return http_router_add(r, "/serving-endpoints", TABLE(serving_ask), as, oa_error);
}

enum err api_openai_add(struct http_router *r, struct memory *m)
{
	/* What is not served answers in the form that these clients read, too. */
	static const char *const others[] = {"/responses", "/chat", "/embeddings", "/models"};

	TRY(http_router_add(r, "/v1", TABLE(v1_routes), m, oa_error));
	TRY(http_router_add(r, "/conversations", TABLE(root_routes), m, oa_error));
	TRY(http_router_add(r, "/serving-endpoints", TABLE(serving_routes), m, oa_error));
	for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
		TRY(http_router_add(r, others[i], NULL, 0, NULL, oa_error));
	return OK;
}
