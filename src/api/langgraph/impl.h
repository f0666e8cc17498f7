/* What the files of api/langgraph share. */
#ifndef CENOTE_API_LANGGRAPH_IMPL_H
#define CENOTE_API_LANGGRAPH_IMPL_H

#include "api/langgraph/langgraph.h"
#include "base/json/json.h"
#include "core/thread.h"

#define LG_LIMIT_MAX 1000
#define LG_OFFSET_MAX 1000000
/* Ceiling of answers; the request's arena is the real limit. */
#define LG_ANSWER_MAX ((size_t)256 << 20)
/* What a request may read of checkpoints before it is shown, at a time. */
#define LG_READ_MAX ((size_t)512 << 20)

/* ---- request.c ---- */
enum err lg_object(struct http_req *rq, struct json *doc) MUST_CHECK;
enum err lg_object_or_none(struct http_req *rq, struct json *doc) MUST_CHECK; /* no body: {} */
enum err lg_bad(const char *field, const char *why);
/* field: "/name" */
enum err lg_string(struct arena *a, struct jval v, const char *field, struct str *out) MUST_CHECK;
enum err lg_text(struct arena *a, struct jval v, const char *field, struct str *out) MUST_CHECK; /* absent: "" */
enum err lg_uint(struct jval v, const char *field, int64_t min, int64_t max, uint32_t dflt, uint32_t *out) MUST_CHECK;
/* One of names (NULL at the end), by its place; absent: dflt. */
enum err lg_choice(struct jval v, const char *field, const char *const *names, int dflt, int *out) MUST_CHECK;
/* *out NULL: absent. */
enum err lg_strings(struct arena *a, struct jval v, const char *field, size_t max, struct str **out, size_t *n) MUST_CHECK;
void lg_time(struct jw *w, int64_t us);
/* Ends with 200 and b, or with the error e (or b's). */
void lg_answer(struct http_req *rq, enum err e, const struct buf *b);

/* ---- store.c; ctx is the struct memory, here and below ---- */
void lg_item_put(struct http_req *rq, void *ctx);
void lg_item_get(struct http_req *rq, void *ctx);
void lg_item_delete(struct http_req *rq, void *ctx);
void lg_items_search(struct http_req *rq, void *ctx);
void lg_namespaces(struct http_req *rq, void *ctx);

/* ---- threads.c ---- */
void lg_thread_create(struct http_req *rq, void *ctx);
void lg_thread_get(struct http_req *rq, void *ctx);
void lg_thread_update(struct http_req *rq, void *ctx);
void lg_thread_delete(struct http_req *rq, void *ctx);
void lg_thread_copy(struct http_req *rq, void *ctx);
void lg_threads_prune(struct http_req *rq, void *ctx);
void lg_thread_storage(struct http_req *rq, void *ctx);
/* The thread of the path; E_NOT_FOUND. */
enum err lg_thread(struct http_req *rq, struct memory *m, struct thread_info *out) MUST_CHECK;

/* ---- threads_show.c: a thread as the SDKs know it ---- */
enum { LG_EXTRACT_MAX = 10 };
struct lg_show {
	const struct str *select; /* members; NULL: all */
	size_t select_n;
	bool ttl;
	struct jval extract; /* {alias: path}, checked; absent: none */
};
enum err lg_extract_check(struct arena *a, struct jval extract) MUST_CHECK;
enum err lg_thread_write(struct http_req *rq, struct memory *m, struct jw *w, const struct thread_info *t,
			 const struct lg_show *how) MUST_CHECK;

/* ---- threads_search.c ---- */
void lg_threads_search(struct http_req *rq, void *ctx);
void lg_threads_count(struct http_req *rq, void *ctx);

/* ---- threads_state.c ---- */
void lg_state_get(struct http_req *rq, void *ctx);
void lg_state_at(struct http_req *rq, void *ctx);
void lg_state_find(struct http_req *rq, void *ctx);
void lg_state_update(struct http_req *rq, void *ctx);
void lg_history_post(struct http_req *rq, void *ctx);
void lg_history_get(struct http_req *rq, void *ctx);
/* Supersteps of a new thread, each one checkpoint. */
enum err lg_supersteps(struct http_req *rq, struct memory *m, struct str thread, struct jval steps) MUST_CHECK;

/* ---- system.c ---- */
void lg_ok(struct http_req *rq, void *ctx);
void lg_info(struct http_req *rq, void *ctx);
void lg_empty_list(struct http_req *rq, void *ctx); /* [] */
void lg_zero(struct http_req *rq, void *ctx);	    /* 0 */
void lg_no_graphs(struct http_req *rq, void *ctx);  /* 404, and what to use instead */
void lg_no_state_metadata(struct http_req *rq, void *ctx);
/* http_error_fn: {"detail": "..."}. */
const char *lg_error(struct http_req *rq, int status, struct buf *b);

#endif
