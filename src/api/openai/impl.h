/* What the files of api/openai share. */
#ifndef CENOTE_API_OPENAI_IMPL_H
#define CENOTE_API_OPENAI_IMPL_H

#include "api/items_in.h"
#include "api/openai/openai.h"
#include "api/response.h"
#include "base/json/json.h"
#include "core/thread.h"

/* Ceiling of answers; the request's arena is the real limit. */
#define OA_ANSWER_MAX ((size_t)256 << 20)
/* Longest item id: model endpoints of Databricks refuse longer ones. */
#define OA_ID_MAX 64

/* ---- manners.c: errors, bodies, repeated calls, lists ---- */
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
/* Names the call of a turn (once, again): clients send one that failed, or whose answer was lost, again by themselves. */
enum err oa_name_turn(struct ask *k) MUST_CHECK;
/* Closes {"object":"list","data":[ with ],"first_id","last_id","has_more"}. */
void oa_list_end(struct buf *b, struct str first, struct str last, bool more);

/* ---- form.c: an item as it is shown ---- */
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
/* Metadata as this API has it: null, or an object of at most 16 pairs of text; E_INVALID. out: JSON, in a. */
enum err oa_metadata(struct arena *a, struct jval v, struct str *out) MUST_CHECK;
void oa_conversation_write(struct buf *b, const struct thread_info *t);

/* ---- embeddings.c; ctx is the struct openai_models ---- */
void oa_embeddings(struct http_req *rq, void *ctx);
void oa_models_list(struct http_req *rq, void *ctx);
void oa_model_get(struct http_req *rq, void *ctx);

/* ---- chat.c; ctx is the struct ask_service ---- */
void oa_chat(struct http_req *rq, void *ctx);

/* ---- stored.c; ctx is the struct ask_service ---- */
void oa_response_get(struct http_req *rq, void *ctx);
void oa_response_delete(struct http_req *rq, void *ctx);
void oa_response_input(struct http_req *rq, void *ctx);
void oa_response_cancel(struct http_req *rq, void *ctx);
void oa_responses_compact(struct http_req *rq, void *ctx);
void oa_responses_count(struct http_req *rq, void *ctx);
/* The caller as the user of the turn. */
struct principal oa_asker(const struct ask *k);
/* Has the response kept as soon as it has an id that can be told, and as what it is when the turn is over. */
void oa_store(struct response *r);

/* ---- items.c ---- */
/* Entries with the ids that they are shown under. Oldest first unless newest_first. */
struct shown {
	struct session_entry *v;
	struct str *own; /* .p NULL: a made id */
	size_t n;
	bool newest_first;
};
/* Fills in own. */
enum err oa_shown_name(struct http_req *rq, struct memory *m, struct str thread, struct shown *s) MUST_CHECK;
/* Writes them as a list. */
enum err oa_shown_write(struct http_req *rq, const struct shown *s, bool more, struct buf *b) MUST_CHECK;
/* limit and order of a list. */
enum err oa_list_question(struct http_req *rq, struct entry_list *q) MUST_CHECK;
void oa_items_create(struct http_req *rq, void *ctx);
void oa_items_list(struct http_req *rq, void *ctx);
void oa_item_get(struct http_req *rq, void *ctx);
void oa_item_delete(struct http_req *rq, void *ctx);

#endif
