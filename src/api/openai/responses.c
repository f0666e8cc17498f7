/* POST /responses (contracts: openai 6). The items of a conversation, or of the chain of responses that previous_response_id ends,
 * go before the input. What came is kept before the model is asked, and an answer that broke off is kept as incomplete: in the
 * conversation, or in a chain (core/stored.h). */
#include "api/openai/impl.h"
#include "core/stored.h"

/* What a stored response may have besides its input: instructions, tools and the like, which are kept with it. */
#define REST_MAX ((size_t)8 << 20)

/* -------------------------------------------------------------------- reading */

static enum err unsupported(struct jval body)
{
	bool background;

	if (!j_null(j_get(body, STR("prompt"))))
		return err_field(E_INVALID, "prompt", -1, "prompt is not supported: send the instructions themselves");
	TRY(ask_bool(body, "background", false, &background));
	return background ? err_field(E_INVALID, "/background", -1,
				      "background is not supported: answers are made while you wait, or "
				      "streamed")
			  : OK;
}

static enum err read_conversation(struct ask *k, struct jval v)
{
	struct jval id = j_is(v, JSON_OBJECT) ? j_get(v, STR("id")) : v;
	struct thread_info info;
	uint64_t before;
	enum err e;

	k->turn.thread = STR("");
	if (j_null(v)) {
		/* As with chat completions the header's thread is made when it is not there. */
		struct str header = rq_header(k->rq, "X-Cenote-Thread");

		k->turn.thread = header.n ? header : STR("");
		return OK;
	}
	if (!j_is(id, JSON_STRING))
		return err_field(E_INVALID, "/conversation", -1, "conversation must be an id, or an object with one");
	k->turn.thread = j_str(k->a, id);
	if (!k->turn.thread.p)
		return E_NOMEM;
	before = assistant_step(k->service->assistant);
	e = oa_conversation(k->rq, k->service->memory, k->turn.thread, &info);
	e = assistant_stepped(k->service->assistant, before, e);
	if (!assistant_outage(e))
		return e;
	/* The turn says what follows from that, and does not wait for the store again. */
	k->turn.away = arena_str(k->a, str_c(diag_get()->text));
	return k->turn.away.p ? OK : E_NOMEM;
}

/* One that nobody may know of is one that is not there. */
static enum err no_previous(struct str id)
{
	return err_field(E_NOT_FOUND, "previous_response_id", -1, "there is no response \"%.*s\" to go on from",
			 STR_ARG(str_sub(id, 0, OA_ID_MAX)));
}

/* *previous is what the body names; its id "" : nothing. */
static enum err read_previous(struct response *r, struct jval v, struct stored *previous)
{
	struct ask *k = r->ask;
	const struct principal who = oa_asker(k);
	uint64_t before;
	enum err e;

	if (j_null(v))
		return OK;
	if (!j_is(v, JSON_STRING))
		return err_field(E_INVALID, "previous_response_id", -1, "previous_response_id must be the id of a response");
	if (k->turn.thread.n)
		return err_field(E_INVALID, "previous_response_id", -1,
				 "previous_response_id and a conversation (or X-Cenote-Thread) exclude each other");
	r->previous = j_str(k->a, v);
	if (!r->previous.p)
		return E_NOMEM;
	before = assistant_step(k->service->assistant);
	e = assistant_keeps(k->service->assistant) ? stored_get(k->service->memory, k->a, &who, r->previous, previous)
						   : E_NOT_FOUND;
	e = assistant_stepped(k->service->assistant, before, e);
	return e == E_NOT_FOUND ? no_previous(r->previous) : e;
}

/* Where the turn is kept, and which history it has. */
static enum err settle(struct response *r, struct jval body, const struct stored *previous)
{
	struct ask *k = r->ask;
	struct jval input = j_get(body, STR("input"));
	size_t input_n = j_ok(input) ? j_raw(input).n : 0;
	bool store;

	TRY(ask_bool(body, "store", true, &store));
	k->turn.keep = store && assistant_keeps(k->service->assistant);
	r->unnamed = !k->turn.thread.n;
	if (k->turn.keep && rq_body(k->rq).n > REST_MAX + input_n)
		return err_field(E_INVALID, "store", -1,
				 "a response that is stored may have %zu bytes besides its input; \"store\": false takes more",
				 REST_MAX);
	if (previous->id.n && !k->turn.keep) {
		k->turn.thread = previous->thread;
		k->turn.upto = previous->last;
	} else if (r->unnamed && k->turn.keep && !previous->id.n) {
		k->turn.thread = rq_header(k->rq, "Idempotency-Key").n ? stored_chain_of(k->a, k->turn.once) : stored_chain(k->a);
		k->turn.fresh = true;
		if (!k->turn.thread.p)
			return E_NOMEM;
	}
	if (k->turn.keep)
		oa_store(r);
	return OK;
}

static enum err read_body(struct response *r, struct http_req *rq, void *ctx, struct jval body, struct stored *previous)
{
	struct ask *k = r->ask;
	struct str metadata;

	TRY(ask_begin(k, rq, ctx, body));
	TRY(ask_model(k, j_get(body, STR("model"))));
	TRY(unsupported(body));
	TRY(oa_metadata(k->a, j_get(body, STR("metadata")), &metadata));
	TRY(read_conversation(k, j_get(body, STR("conversation"))));
	TRY(read_previous(r, j_get(body, STR("previous_response_id")), previous));
	TRY(oa_name_turn(k));
	TRY(settle(r, body, previous));
	return ask_responses_body(k, body);
}

/* ------------------------------------------------------------------- answering */

/* In the thread of the response that is followed, as long as it ends there. A call that is made again may have ended it itself. */
static enum err follow_there(struct response *r, const struct stored *previous, bool *taken)
{
	struct ask *k = r->ask;
	const struct principal who = oa_asker(k);
	bool newest = previous->chain && previous->ended;
	enum err e;

	*taken = false;
	if (newest && !k->turn.again)
		TRY(stored_newest(k->service->memory, k->a, &who, previous, &newest));
	if (!newest)
		return OK;
	k->turn.thread = previous->thread;
	k->turn.behind = previous->last;
	e = response_run(r);
	*taken = e != E_CONFLICT || k->turn.came_n;
	return *taken ? e : OK;
}

/* In a copy of it. */
static enum err follow_aside(struct response *r, const struct stored *previous)
{
	struct ask *k = r->ask;
	const struct principal who = oa_asker(k);
	struct diag why;
	uint64_t before;
	enum err e;

	ask_trace(k);
	k->turn.thread = stored_chain(k->a);
	k->turn.behind = 0;
	k->turn.again = false;
	if (!k->turn.thread.p)
		return E_NOMEM;
	before = assistant_step(k->service->assistant);
	e = stored_fork(k->service->memory, &who, previous, k->turn.thread);
	e = assistant_stepped(k->service->assistant, before, e);
	if (e == E_NOT_FOUND)
		return no_previous(r->previous);
	TRY(e);
	e = response_run(r);
	why = *diag_get();
	/* A turn that was refused leaves nothing. */
	if (e != OK && !k->turn.came_n && !k->begun)
		(void)!entries_remove(k->service->memory, k->a, &who, k->turn.thread);
	*diag_get() = why;
	return e;
}

/* The chain that a call with a key begins may be there, and have gone on: then the call is another one, and begins its own. */
static enum err begin_chain(struct response *r)
{
	struct ask *k = r->ask;
	enum err e = response_run(r);

	if (e != E_CONFLICT || k->turn.came_n || k->begun)
		return e;
	k->turn.again = false;
	k->turn.thread = stored_chain(k->a);
	return k->turn.thread.p ? response_run(r) : E_NOMEM;
}

static enum err run(struct response *r, const struct stored *previous)
{
	bool taken;

	if (r->ask->turn.fresh)
		return begin_chain(r);
	if (!previous->id.n || !r->ask->turn.keep)
		return response_run(r);
	TRY(follow_there(r, previous, &taken));
	return taken ? OK : follow_aside(r, previous);
}

/* The error's event, flat since clients raise what has a member "error", and response.failed. */
static void break_off(struct response *r, enum err e)
{
	struct diag d;
	enum err sent;

	rs_hide(r->ask->rq, e);
	d = *diag_get();
	sent = e == E_CANCELLED ? e : response_stream_error(r);
	*diag_get() = d;
	if (sent == OK)
		sent = response_stream_failed(r);
	if (sent == OK)
		ask_done(r->ask);
	else
		rs_abort(r->ask->rq);
}

void oa_responses(struct http_req *rq, void *ctx)
{
	struct ask k = {.stream = false};
	struct response r = {.ask = &k};
	struct stored previous = {.id = STR("")};
	struct json doc;
	enum err e;

	CHECK(oa_body(rq, &doc));
	r.body = json_root(&doc);
	CHECK(read_body(&r, rq, ctx, r.body, &previous));
	e = run(&r, &previous);
out:
	if (e == OK)
		return;
	if (k.begun)
		break_off(&r, e);
	else
		oa_answer_write(rq, e, NULL);
}
