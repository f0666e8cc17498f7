/* What the files of api/openai share. */
#ifndef CENOTE_API_OPENAI_IMPL_H
#define CENOTE_API_OPENAI_IMPL_H

#include "api/openai/openai.h"
#include "base/json/json.h"
#include "core/thread.h"

/* Ceiling of answers; the request's arena is the real limit. */
#define OA_ANSWER_MAX ((size_t)256 << 20)
/* Longest item id: model endpoints of Databricks refuse longer ones. */
#define OA_ID_MAX 64

/* ---- manners.c: errors, bodies, repeated calls, lists ---- */
/* http_error_fn: {"error":{"message","type","param","code"}}. */
const char *oa_error(struct http_req *rq, int status, struct buf *b);
/* Ends with 200 and b, or with the error e (or b's). */
void oa_answer(struct http_req *rq, enum err e, const struct buf *b);
/* As oa_answer, for what changes a conversation: a session that others hold for too long is what the Agents SDK knows as
 * conversation_locked. */
void oa_answer_write(struct http_req *rq, enum err e, const struct buf *b);
/* The body as a JSON object; an absent one is {}. */
enum err oa_body(struct http_req *rq, struct json *doc) MUST_CHECK;
/* The request is sent again by a client that got no answer (x-stainless-retry-count). */
bool oa_resent(struct http_req *rq);
/* The Idempotency-Key; .p NULL when there is none. */
enum err oa_key(struct http_req *rq, struct str *key) MUST_CHECK;
/* SHA-256 over what names a call: its key ("" : none), the conversation and the body; 32 bytes. */
enum err oa_digest(struct http_req *rq, const char *what, struct str key, struct str thread, struct str *out) MUST_CHECK;
/* Closes {"object":"list","data":[ with ],"first_id","last_id","has_more"}. */
void oa_list_end(struct buf *b, struct str first, struct str last, bool more);

/* ---- form.c: an item as it is shown ---- */
/* Checks an item that came: a message's role and content, a function call's names; everything else may be anything. */
struct oa_place { /* items[3] */
	const char *list;
	size_t index;
};
enum err oa_item_check(struct jval item, struct oa_place at) MUST_CHECK;
/* The id that the item says it has, when it can serve as one; .p NULL: none. In a. scratch is empty before and after. */
enum err oa_own_id(struct arena *a, struct arena *scratch, struct str data, struct str *out) MUST_CHECK;
/* Writes the item in the form of Responses, with the id `own`, or one that is made of the entry's number when own.p is NULL. *id
 * (in a) gets what names it: that id, except for an item_reference, whose id belongs to another item. scratch is empty before and
 * after.
 */
enum err oa_item_write(struct buf *b, struct arena *a, struct arena *scratch, struct str data, int64_t number, struct str own,
		       struct str *id) MUST_CHECK;
/* The entry's number in an id that was made of one; false: it is none of those. */
bool oa_id_number(struct str id, int64_t *number);

/* ---- conversations.c ---- */
void oa_conversation_create(struct http_req *rq, void *ctx);
void oa_conversation_get(struct http_req *rq, void *ctx);
void oa_conversation_update(struct http_req *rq, void *ctx);
void oa_conversation_delete(struct http_req *rq, void *ctx);
/* The conversation of that name; E_NOT_FOUND. */
enum err oa_conversation(struct http_req *rq, struct memory *m, struct str thread, struct thread_info *out) MUST_CHECK;
void oa_conversation_write(struct buf *b, const struct thread_info *t);

/* ---- embeddings.c; ctx is the struct openai_models ---- */
void oa_embeddings(struct http_req *rq, void *ctx);
void oa_models_list(struct http_req *rq, void *ctx);
void oa_model_get(struct http_req *rq, void *ctx);

/* ---- responses.c, chat.c; ctx is the struct openai_assistant ---- */
void oa_responses(struct http_req *rq, void *ctx);
void oa_chat(struct http_req *rq, void *ctx);

/* ---- items.c ---- */
void oa_items_create(struct http_req *rq, void *ctx);
void oa_items_list(struct http_req *rq, void *ctx);
void oa_item_get(struct http_req *rq, void *ctx);
void oa_item_delete(struct http_req *rq, void *ctx);
/* The array of items of a body, the member `name`, checked, as entries. */
enum err oa_items_read(struct http_req *rq, struct jval list, const char *name, struct entry_append *out) MUST_CHECK;

#endif
