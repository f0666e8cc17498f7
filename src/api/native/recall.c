/* POST /recall: the question and its scope to core/recall, and the hits as the contract writes them. */
#include <stdio.h>

#include "api/native/impl.h"
#include "api/recall_hit.h"
#include "core/recall.h"

static const struct str members[] = {STR_INIT("query"), STR_INIT("user"),   STR_INIT("threads"), STR_INIT("namespaces"),
				     STR_INIT("kinds"), STR_INIT("filter"), STR_INIT("time"),	 STR_INIT("as_of"),
				     STR_INIT("limit"), STR_INIT("mode"),   STR_INIT("explain"), STR_INIT("budget_tokens")};
enum { THREADS_MAX = 1000, BUDGET_MAX = 10000000 };

/* A list of threads or of namespaces; absent and null give none, which means all. An empty one is refused: who passes on a list of
 * what somebody may see must not be given everything when there is nothing in it. */
static enum err read_list(struct arena *a, struct jval v, const char *field, bool namespaces, const struct str **out, size_t *n)
{
	uint64_t most = namespaces ? RECALL_NAMESPACES_MAX : THREADS_MAX;
	struct str *list;
	struct jval x;
	size_t i = 0;
	char says[64];

	*n = 0;
	if (j_null(v))
		return OK;
	snprintf(says, sizeof says, "must be an array of 1 to %llu elements, or absent", (unsigned long long)most);
	if (!j_is(v, JSON_ARRAY) || j_node(v)->count < 1 || j_node(v)->count > most)
		return nv_bad(field, says);
	list = ARENA_ARRAY(a, struct str, j_node(v)->count + 1);
	if (!list)
		return E_NOMEM;
	for (struct j_iter it = j_iter(v); j_next(&it, NULL, &x); i++) {
		char at[80];

		snprintf(at, sizeof at, "%s/%zu", field, i);
		if (namespaces && j_is(x, JSON_ARRAY)) {
			TRY(ns_from_json(a, x, at, &list[i]));
			continue;
		}
		if (!j_is(x, JSON_STRING))
			return nv_bad(at, namespaces ? "must be an array of labels" : "must be a string");
		list[i] = j_str(a, x);
		if (!list[i].p)
			return E_NOMEM;
		if (namespaces)
			TRY(ns_check(list[i], at, true));
	}
	*out = list;
	*n = i;
	return OK;
}

static enum err read_kinds(struct jval v, struct recall_request *rq)
{
	struct jval k;

	if (j_null(v))
		return OK;
	if (!j_is(v, JSON_ARRAY) || j_node(v)->count < 1)
		return nv_bad("/kinds", "must be an array of message, item, fact, at least one of them, or absent");
	for (struct j_iter it = j_iter(v); j_next(&it, NULL, &k);) {
		bool message = j_is(k, JSON_STRING) && j_str_eq(k, STR("message"));
		bool item = j_is(k, JSON_STRING) && j_str_eq(k, STR("item"));
		bool fact = j_is(k, JSON_STRING) && j_str_eq(k, STR("fact"));

		if (!message && !item && !fact)
			return nv_bad("/kinds", "must be an array of message, item, fact");
		rq->want_messages |= message;
		rq->want_items |= item;
		rq->want_facts |= fact;
	}
	return OK;
}

static enum err read_times(struct arena *a, struct jval body, struct recall_request *rq)
{
	struct jval time = j_get(body, STR("time"));
	int64_t as_of;

	if (!j_null(time)) {
		if (!j_is(time, JSON_OBJECT))
			return nv_bad("/time", "must be an object with from and to");
		TRY(nv_time(a, time, "/time", "from", &rq->from_us));
		TRY(nv_time(a, time, "/time", "to", &rq->to_us));
	}
	/* What was known at a time: nothing later. */
	TRY(nv_time(a, body, "", "as_of", &as_of));
	if (as_of != 0 && (rq->to_us == 0 || as_of < rq->to_us))
		rq->to_us = as_of;
	rq->as_of_us = as_of;
	return OK;
}

static enum err read_mode(struct arena *a, struct jval body, enum rank_mode *out)
{
	struct str mode;

	*out = RANK_AUTO;
	TRY(nv_str(a, body, "", "mode", &mode));
	if (!mode.p || str_eq(mode, STR("auto")))
		return OK;
	*out = RANK_BY_WORDS;
	if (str_eq(mode, STR("words")))
		return OK;
	*out = RANK_BY_VECTORS;
	return str_eq(mode, STR("vectors")) ? OK : nv_bad("/mode", "must be auto, words or vectors");
}

static const char *mode_name(enum rank_mode mode)
{
	return mode == RANK_AUTO ? "auto" : mode == RANK_BY_WORDS ? "words" : "vectors";
}

static enum err read_recall(struct http_req *rq, struct jval body, struct recall_request *out, struct str *user)
{
	struct arena *a = rq_arena(rq);
	bool given;

	TRY(nv_str(a, body, "", "query", &out->query));
	if (!out->query.p)
		return nv_bad("/query", "is missing");
	TRY(nv_str(a, body, "", "user", user));
	if (user->p)
		out->user = user;
	TRY(read_list(a, j_get(body, STR("threads")), "/threads", false, &out->threads, &out->threads_n));
	TRY(read_list(a, j_get(body, STR("namespaces")), "/namespaces", true, &out->namespaces, &out->namespaces_n));
	TRY(read_kinds(j_get(body, STR("kinds")), out));
	TRY(filter_compile(a, j_get(body, STR("filter")), "/filter", &out->filter));
	TRY(read_times(a, body, out));
	TRY(read_mode(a, body, &out->mode));
	TRY(nv_uint(body, "", "limit", 1, PAGE_MAX, 10, &out->limit));
	TRY(nv_uint(body, "", "budget_tokens", 1, BUDGET_MAX, 0, &out->budget_tokens));
	return nv_bool(body, "", "explain", &given, &out->explain);
}

/* ------------------------------------------------------------------- answer */

/* What the answer says besides the hits. */
struct about {
	const char *why;
	enum rank_mode mode;
	uint64_t pending;
};

static enum err write_hits(struct arena *a, struct jw *w, const struct recall_hit *hits, size_t n, bool explain,
			   const struct about *about)
{
	jw_obj(w);
	jw_key(w, "results");
	jw_arr(w);
	for (size_t i = 0; i < n; i++)
		TRY(recall_hit_write(a, w, &hits[i], explain));
	jw_end_arr(w);
	jw_key(w, "mode");
	jw_cstr(w, mode_name(about->mode));
	jw_key(w, "pending");
	jw_u64(w, about->pending);
	if (about->why) {
		jw_key(w, "note");
		jw_cstr(w, about->why);
	}
	jw_end_obj(w);
	return OK;
}

void nv_recall(struct http_req *rq, void *ctx)
{
	struct arena *a = rq_arena(rq);
	struct recall_request request = {0};
	struct recall_hit *hits = NULL;
	struct str user;
	struct json doc;
	struct buf b;
	struct jw w;
	size_t n = 0;
	struct about about = {0};
	enum err e;

	buf_init(&b, a, ANSWER_MAX);
	CHECK(nv_body(rq, members, sizeof members / sizeof members[0], &doc));
	CHECK(read_recall(rq, json_root(&doc), &request, &user));
	request.why = &about.why;
	request.used = &about.mode;
	request.pending = &about.pending;
	about.mode = RANK_BY_WORDS;
	CHECK(recall(ctx, a, rq_principal(rq), &request, &hits, &n));
	jw_init(&w, &b);
	e = write_hits(a, &w, hits, n, request.explain, &about);
out:
	nv_answer(rq, e, &b);
}
