/* What the files of api/native share. */
#ifndef CENOTE_API_NATIVE_IMPL_H
#define CENOTE_API_NATIVE_IMPL_H

#include "api/native/native.h"
#include "base/json/json.h"
#include "core/facts.h"

enum { PAGE_DEFAULT = 50, PAGE_MAX = 1000 };
/* Ceiling of answers; the request's arena is the real limit. */
#define ANSWER_MAX ((size_t)256 << 20)

/* ---- request.c: reading requests ---- */
/* The body as a JSON object; with ?strict=1 members that are not named are refused. */
enum err nv_body(struct http_req *rq, const struct str *names, size_t n, struct json *doc) MUST_CHECK;
enum err nv_bad(const char *field, const char *why);
/* Members of an object at `at` ("" or "/operations/3"); absent and null give the default, 0 or "". */
enum err nv_str(struct arena *a, struct jval obj, const char *at, const char *name,
		struct str *out) MUST_CHECK; /* absent: .p NULL */
enum err nv_uint(struct jval obj, const char *at, const char *name, int64_t min, int64_t max, int64_t dflt,
		 uint32_t *out) MUST_CHECK;
enum err nv_bool(struct jval obj, const char *at, const char *name, bool *given, bool *out) MUST_CHECK;
enum err nv_time(struct arena *a, struct jval obj, const char *at, const char *name, int64_t *out) MUST_CHECK;
/* A namespace as an array of labels or as text with dots. */
enum err nv_ns(struct arena *a, struct jval obj, const char *at, const char *name, struct str *out) MUST_CHECK;
/* A time that may be absent or null: *out FACT_NONE, given false. Any time of the years 1..9999. */
enum err nv_instant(struct arena *a, struct jval obj, const char *at, const char *name, bool *given, int64_t *out) MUST_CHECK;
enum err nv_query_instant(struct http_req *rq, const char *name, bool *given, int64_t *out) MUST_CHECK;
/* Writes the member, null for FACT_NONE. */
void nv_write_instant(struct jw *w, const char *name, int64_t us);
/* valid_from, valid_to, supersedes of an operation, of a request's query. */
enum err nv_fact(struct arena *a, struct jval obj, const char *at, struct op_put *op) MUST_CHECK;
enum err nv_query_fact(struct http_req *rq, struct op_put *op) MUST_CHECK;
/* The members of a fact: fact, valid_from, valid_to; nothing of an item that is none. */
void nv_write_fact(struct jw *w, const struct item *it);
/* ?namespace=a.b, or repeated: one label each. */
enum err nv_query_ns(struct http_req *rq, const char *name, bool allow_empty, struct str *out) MUST_CHECK;
void nv_etag(struct http_req *rq, int64_t version);
/* Ends with 200 and b, or with the error e (or b's). */
void nv_answer(struct http_req *rq, enum err e, const struct buf *b);

/* ---- batch.c ---- */
/* What went wrong with one operation of several, as an RFC 9457 problem. field: "" or NULL when there is none. */
void nv_problem(struct jw *w, int status, const char *detail, const char *field);

/* ---- page.c: pages ---- */
struct page {
	const char *const *filters; /* query parameters that belong to the question, NULL at the end */
	int64_t limit;
	struct str after; /* the cursor's content, "" at the start */
};
/* Reads limit and cursor. A cursor of another principal, route or question, or an altered one, is 400. */
enum err page_begin(struct http_req *rq, struct memory *m, struct page *p) MUST_CHECK;
/* Closes {"data":[ with ],"next_cursor":...,"has_more":...}; last: what the next page goes on from; more: there is one. */
enum err page_end(struct http_req *rq, struct memory *m, const struct page *p, struct jw *w, bool more, struct str last) MUST_CHECK;

/* ---- vectors.c ---- */
struct nv_wait {
	bool asked;
	uint32_t ms;
};
/* ?wait=indexed, ?wait_ms=N. */
enum err nv_wait_read(struct http_req *rq, struct nv_wait *w) MUST_CHECK;
/* After a write, when it was asked for: waits until what was written has its vectors; writes the members indexed and, when it has
 * not, note. */
enum err nv_wait(struct http_req *rq, struct memory *m, const struct nv_wait *w, struct jw *jw) MUST_CHECK;
struct vectors_state;
void nv_write_vectors(struct jw *w, const struct vectors_state *s);

/* ---- handlers; ctx is the struct memory ---- */
void nv_item_get(struct http_req *rq, void *ctx);
void nv_item_put(struct http_req *rq, void *ctx);
void nv_item_history(struct http_req *rq, void *ctx);
void nv_item_delete(struct http_req *rq, void *ctx);
void nv_batch(struct http_req *rq, void *ctx);
void nv_messages(struct http_req *rq, void *ctx);
void nv_checkpoints(struct http_req *rq, void *ctx);
void nv_threads(struct http_req *rq, void *ctx);
void nv_thread_messages(struct http_req *rq, void *ctx);
void nv_thread_delete(struct http_req *rq, void *ctx);
void nv_thread_info(struct http_req *rq, void *ctx);
void nv_thread_history(struct http_req *rq, void *ctx);
void nv_thread_state(struct http_req *rq, void *ctx);
void nv_thread_fork(struct http_req *rq, void *ctx);
void nv_threads_prune(struct http_req *rq, void *ctx);
void nv_thread_export(struct http_req *rq, void *ctx);
void nv_thread_import(struct http_req *rq, void *ctx);
void nv_session_append(struct http_req *rq, void *ctx);
void nv_session_items(struct http_req *rq, void *ctx);
void nv_session_pop(struct http_req *rq, void *ctx);
void nv_session_clear(struct http_req *rq, void *ctx);
void nv_sessions(struct http_req *rq, void *ctx);
/* A thread as listings show it. */
void nv_write_thread(struct jw *w, const struct thread_info *t);
void nv_recall(struct http_req *rq, void *ctx);
void nv_entities(struct http_req *rq, void *ctx);
void nv_entity_graph(struct http_req *rq, void *ctx);
void nv_entity_put(struct http_req *rq, void *ctx);
void nv_entity_delete(struct http_req *rq, void *ctx);
void nv_entity_link(struct http_req *rq, void *ctx);
void nv_entity_unlink(struct http_req *rq, void *ctx);
void nv_namespaces(struct http_req *rq, void *ctx);
void nv_stats(struct http_req *rq, void *ctx);
void nv_vectors(struct http_req *rq, void *ctx);
void nv_reindex(struct http_req *rq, void *ctx);
void nv_import(struct http_req *rq, void *ctx);
void nv_export(struct http_req *rq, void *ctx);

#endif
