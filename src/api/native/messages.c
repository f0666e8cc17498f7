/* Messages: appended, and listed by thread. */
#include <stdio.h>

#include "api/native/impl.h"
#include "core/session.h"

static enum err read_messages(struct http_req *rq, struct jval list, struct message **out, size_t *n)
{
	struct arena *a = rq_arena(rq);
	struct jval v;
	size_t i = 0;
	bool strict;

	TRY(rq_query_bool(rq, "strict", false, &strict));
	if (!j_is(list, JSON_ARRAY))
		return nv_bad("/messages", "must be an array of messages");
	*n = j_node(list)->count;
	if (*n > MESSAGES_PER_CALL)
		return nv_bad("/messages", "has at most 10000 elements");
	*out = ARENA_ARRAY(a, struct message, *n + 1);
	if (!*out)
		return E_NOMEM;
	for (struct j_iter it = j_iter(list); j_next(&it, NULL, &v); i++) {
		char at[40];

		snprintf(at, sizeof at, "/messages/%zu", i);
		TRY(message_from_json(a, v, at, strict, &(*out)[i]));
	}
	return OK;
}

void nv_messages(struct http_req *rq, void *ctx)
{
	static const struct str names[] = {STR_INIT("messages")};
	struct arena *a = rq_arena(rq);
	struct message *msgs = NULL;
	size_t n = 0, stored, unchanged;
	struct nv_wait wait;
	struct json doc;
	struct buf b;
	struct jw w;
	enum err e;

	buf_init(&b, a, ANSWER_MAX);
	CHECK(nv_wait_read(rq, &wait));
	CHECK(nv_body(rq, names, 1, &doc));
	CHECK(read_messages(rq, j_get(json_root(&doc), STR("messages")), &msgs, &n));
	CHECK(session_append(ctx, a, rq_principal(rq), msgs, n, &stored, &unchanged));
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "stored");
	jw_u64(&w, stored);
	jw_key(&w, "unchanged");
	jw_u64(&w, unchanged);
	CHECK(nv_wait(rq, ctx, &wait, &w));
	jw_end_obj(&w);
out:
	nv_answer(rq, e, &b);
}

void nv_thread_messages(struct http_req *rq, void *ctx)
{
	struct arena *a = rq_arena(rq);
	struct page p = {0};
	struct message *msgs;
	int64_t from = 0;
	size_t n, shown;
	struct str next;
	struct buf b;
	struct jw w;
	enum err e;

	buf_init(&b, a, ANSWER_MAX);
	CHECK(page_begin(rq, ctx, &p));
	if (p.after.n > 0 && !str_int(p.after, 0, INT64_MAX, &from)) {
		e = err_set(E_INTERNAL, "a cursor of ours has no position");
		goto out;
	}
	CHECK(session_messages(ctx, a, rq_principal(rq), rq_param(rq, "id"), from, (size_t)p.limit + 1, &msgs, &n));
	shown = n > (size_t)p.limit ? (size_t)p.limit : n;
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "data");
	jw_arr(&w);
	for (size_t i = 0; i < shown; i++)
		message_to_json(&w, &msgs[i]);
	next = arena_printf(a, "%lld", shown > 0 ? (long long)msgs[shown - 1].pos + 1 : 0);
	e = page_end(rq, ctx, &p, &w, n > shown, next);
out:
	nv_answer(rq, e, &b);
}
