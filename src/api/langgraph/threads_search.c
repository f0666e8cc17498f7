/* Searching and counting threads of graphs: those with checkpoints, and those that were made as threads. */
#include <stdio.h>

#include "api/langgraph/impl.h"

enum { SEARCH_LIMIT = 10, IDS_MAX = 1000, SELECT_MAX = 100 };

static enum err read_filters(struct jval body, struct thread_search *q)
{
	static const char *const statuses[] = {"idle", "busy", "interrupted", "error", NULL};
	int status;

	q->metadata = j_get(body, STR("metadata"));
	q->values = j_get(body, STR("values"));
	q->checkpoints_only = true;
	TRY(lg_choice(j_get(body, STR("status")), "/status", statuses, -1, &status));
	q->by_status = status >= 0;
	if (q->by_status)
		q->status = (enum thread_status)status;
	return OK;
}

static enum err read_search(struct arena *a, struct jval body, struct thread_search *q, struct lg_show *how, bool *none)
{
	static const char *const sorts[] = {"created_at", "updated_at", "state_updated_at", "thread_id", "status", NULL};
	static const char *const orders[] = {"desc", "asc", NULL};
	struct str *ids, *select;
	uint32_t limit, offset;
	int sort, order;

	TRY(read_filters(body, q));
	TRY(lg_uint(j_get(body, STR("limit")), "/limit", 1, LG_LIMIT_MAX, SEARCH_LIMIT, &limit));
	TRY(lg_uint(j_get(body, STR("offset")), "/offset", 0, LG_OFFSET_MAX, 0, &offset));
	TRY(lg_choice(j_get(body, STR("sort_by")), "/sort_by", sorts, SORT_CREATED, &sort));
	TRY(lg_choice(j_get(body, STR("sort_order")), "/sort_order", orders, 0, &order));
	TRY(lg_strings(a, j_get(body, STR("ids")), "/ids", IDS_MAX, &ids, &q->ids_n));
	TRY(lg_strings(a, j_get(body, STR("select")), "/select", SELECT_MAX, &select, &how->select_n));
	TRY(lg_extract_check(a, j_get(body, STR("extract"))));
	for (size_t i = 0; i < q->ids_n; i++)
		TRY(thread_check(ids[i], "/ids"));
	q->ids = ids;
	q->limit = limit;
	q->offset = offset;
	q->sort = (enum thread_sort)sort;
	q->ascending = order == 1;
	how->select = select;
	how->extract = j_get(body, STR("extract"));
	*none = ids && q->ids_n == 0; /* an empty list names no thread */
	return OK;
}

static void paging(struct http_req *rq, const struct thread_search *q)
{
	char text[32];

	snprintf(text, sizeof text, "%zu", q->total);
	rs_header(rq, "X-Pagination-Total", str_c(text));
	if (q->offset + q->limit >= q->total)
		return;
	snprintf(text, sizeof text, "%zu", q->offset + q->limit);
	rs_header(rq, "X-Pagination-Next", str_c(text));
}

void lg_threads_search(struct http_req *rq, void *ctx)
{
	struct arena *a = rq_arena(rq);
	struct thread_search q = {0};
	struct lg_show how = {0};
	struct json doc;
	struct buf b;
	struct jw w;
	bool none;
	enum err e;

	buf_init(&b, a, LG_ANSWER_MAX);
	CHECK(lg_object_or_none(rq, &doc));
	CHECK(read_search(a, json_root(&doc), &q, &how, &none));
	if (!none)
		CHECK(thread_search(ctx, a, rq_principal(rq), &q));
	jw_init(&w, &b);
	jw_arr(&w);
	for (size_t i = 0; i < q.n; i++)
		CHECK(lg_thread_write(rq, ctx, &w, &q.v[i], &how));
	jw_end_arr(&w);
	paging(rq, &q);
out:
	lg_answer(rq, e, &b);
}

void lg_threads_count(struct http_req *rq, void *ctx)
{
	struct thread_search q = {0};
	struct json doc;
	struct buf b;
	enum err e;

	buf_init(&b, rq_arena(rq), 64);
	CHECK(lg_object_or_none(rq, &doc));
	CHECK(read_filters(json_root(&doc), &q));
	CHECK(thread_search(ctx, rq_arena(rq), rq_principal(rq), &q));
	buf_u64(&b, q.total);
out:
	lg_answer(rq, e, &b);
}
