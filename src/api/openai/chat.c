/* POST /chat/completions (contracts: openai 7). This API has no conversations: the thread is metadata.thread_id,
 * metadata.session_id, or the header X-Cenote-Thread; without one nothing is kept. Clients send their whole history again each
 * time; of it only what is new at the thread's end is kept. */
#include "api/completion.h"
#include "api/openai/impl.h"

/* The thread, by the one order that every surface has; none is made. */
static enum err read_thread(struct ask *k, struct jval metadata)
{
	static const struct str names[] = {STR_INIT("thread_id"), STR_INIT("session_id")};
	struct str header = rq_header(k->rq, "X-Cenote-Thread"), thread = STR("");

	if (!j_null(metadata) && !j_is(metadata, JSON_OBJECT))
		return err_field(E_INVALID, "/metadata", -1, "metadata must be an object");
	for (size_t i = 0; i < 2 && !thread.n; i++)
		if (j_is(j_get(metadata, names[i]), JSON_STRING))
			thread = j_str(k->a, j_get(metadata, names[i]));
	k->turn.thread = thread.n ? thread : header.n ? header : STR("");
	k->turn.resent = k->turn.thread.n > 0;
	return OK;
}

static enum err read_body(struct ask *k, struct http_req *rq, void *ctx, struct jval body)
{
	TRY(ask_begin(k, rq, ctx, body));
	TRY(ask_model(k, j_get(body, STR("model"))));
	TRY(read_thread(k, j_get(body, STR("metadata"))));
	/* Without a thread there is nothing to keep it in; with store: false that is only read. */
	TRY(ask_bool(body, "store", true, &k->turn.keep));
	k->turn.keep = k->turn.keep && k->turn.thread.n;
	TRY(oa_name_turn(k));
	return ask_chat_body(k, body);
}

/* An error in the middle: {"error":{..}}, which these clients raise. */
static void break_off(struct ask *k, enum err e)
{
	struct buf b;

	rs_hide(k->rq, e);
	buf_init(&b, k->a, 4096);
	(void)oa_error(k->rq, http_status(e, diag_get()->kind), &b);
	ask_break(k, e, &b);
}

void oa_chat(struct http_req *rq, void *ctx)
{
	struct ask k = {.stream = false};
	struct json doc;
	enum err e;

	CHECK(oa_body(rq, &doc));
	CHECK(read_body(&k, rq, ctx, json_root(&doc)));
	e = completion_run(&k);
out:
	if (e == OK)
		return;
	if (k.begun)
		break_off(&k, e);
	else
		oa_answer_write(rq, e, NULL);
}
