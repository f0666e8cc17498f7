/* Responses that are kept: what is written of them while they are made, and the routes that show and forget them (contracts: openai
 * 6.1). What lies where: core/stored.h.
 *
 * Invariants
 *  1. No id is told before it names something: that of a streamed response is kept, as one that has not ended, before the model is
 *     asked; that of another one before the answer goes out.
 *  2. Where the store fails, the response says "store": false, and its id names nothing, or what there was before. */
#include "api/openai/impl.h"
#include "core/stored.h"

#include "base/log.h"

/* -------------------------------------------------------------------- keeping */

struct principal oa_asker(const struct ask *k)
{
	struct principal who = *rq_principal(k->rq);

	if (k->turn.user.n && !who.user_bound)
		who.user = k->turn.user;
	return who;
}

/* anyway: though the caller has gone. */
static enum err put(struct response *r, enum response_status status, bool ended, bool anyway)
{
	const struct ask *k = r->ask;
	const struct principal who = oa_asker(k);
	const struct stored x = {.id = k->id,
				 .thread = k->turn.thread,
				 .chain = r->unnamed,
				 .ended = ended,
				 .hide = k->hide,
				 .came = k->turn.came,
				 .came_n = k->turn.came_n,
				 .made = k->turn.added,
				 .made_n = k->turn.added_n};
	struct buf b;
	struct jw w;

	buf_init(&b, NULL, STORED_MAX_BYTES);
	jw_init(&w, &b);
	r->bare = true;
	response_write(r, status, &w);
	r->bare = false;
	return stored_put(k->service->memory, &who, &x, &b, anyway);
}

/* A call that is answered as it was before: under the id of then, and with what was said of it. */
static enum err on_given(struct response *r, bool *known)
{
	struct json_limits lim = {.depth = 1000, .nodes = 4000000, .bytes = STORED_MAX_BYTES, .flags = JSON_DUP_OK};
	struct ask *k = r->ask;
	const struct principal who = oa_asker(k);
	struct stored before;
	struct jval usage;
	struct json doc;

	TRY(stored_of(k->service->memory, k->a, &who, k->turn.came[0], &before, known));
	if (!*known)
		return OK;
	TRY(json_parse(k->a, before.object, &lim, &doc));
	k->id = before.id;
	usage = j_get(json_root(&doc), STR("usage"));
	if (!j_i64(j_get(usage, STR("input_tokens")), &k->turn.answer.tokens_in) ||
	    !j_i64(j_get(usage, STR("output_tokens")), &k->turn.answer.tokens_out))
		k->turn.answer.tokens_in = k->turn.answer.tokens_out = -1;
	(void)!j_i64(j_get(json_root(&doc), STR("created_at")), &k->began_s);
	(void)!j_i64(j_get(json_root(&doc), STR("completed_at")), &r->ended_s);
	return OK;
}

static enum err on_kept(void *ctx)
{
	struct response *r = ctx;
	bool known = false;

	r->kept = true;
	if (r->ask->turn.given)
		TRY(on_given(r, &known));
	if (known)
		return OK;
	r->ask->id = stored_id(r->ask->a, r->ask->turn.came[0]);
	if (!r->ask->id.p)
		return E_NOMEM;
	return r->ask->stream ? put(r, RESPONSE_INCOMPLETE, false, false) : OK;
}

/* A response that broke off: e. Nobody has been told the id of one that never began. */
static enum err broke_off(struct response *r, enum err e)
{
	struct ask *k = r->ask;
	const struct principal who = oa_asker(k);
	struct diag why = *diag_get(); /* put writes its text */
	enum err done;

	if (!k->stream)
		return e;
	if (k->begun)
		done = put(r, e == E_CANCELLED ? RESPONSE_INCOMPLETE : RESPONSE_FAILED, true, true);
	else
		done = stored_drop(k->service->memory, &who, k->id, true);
	if (done != OK)
		LOG(LOG_WARN, "api.openai", "what has become of a response could not be kept", LF_C("error", err_name(done)));
	*diag_get() = why;
	return e;
}

static enum err on_end(struct response *r, enum err e)
{
	struct ask *k = r->ask;

	if (!k->turn.keep)
		return e;
	if (e != OK)
		return r->kept && !k->turn.stateless.n ? broke_off(r, e) : e;
	if (r->kept && !k->turn.stateless.n) {
		e = put(r, response_status(r), true, false);
		if (e == OK || !assistant_outage(e))
			return e;
		LOG(LOG_WARN, "api.openai", "a response could not be kept under its id", LF_C("error", err_name(e)));
	}
	k->turn.keep = false;
	return OK;
}

void oa_store(struct response *r)
{
	r->ask->turn.on_kept = on_kept;
	r->ask->turn.ctx = r;
	r->on_end = on_end;
}

/* -------------------------------------------------------------------- showing */

/* The object with its output in its place. */
static enum err write_object(struct arena *a, const struct stored *x, const struct session_entry *made, size_t n, struct buf *b)
{
	struct json_limits lim = {.depth = 1000, .nodes = 4000000, .bytes = STORED_MAX_BYTES, .flags = JSON_DUP_OK};
	struct jval key, value;
	struct json doc;
	struct jw w;

	TRY(json_parse(a, x->object, &lim, &doc));
	jw_init(&w, b);
	jw_obj(&w);
	for (struct j_iter it = j_iter(json_root(&doc)); j_next(&it, &key, &value);) {
		jw_key_str(&w, j_str(a, key));
		if (!j_str_eq(key, STR("output"))) {
			jw_raw(&w, j_raw(value));
			continue;
		}
		jw_arr(&w);
		for (size_t i = 0; i < n; i++)
			if (!x->hide || !assistant_made(made[i].data))
				jw_raw(&w, made[i].data);
		jw_end_arr(&w);
	}
	jw_end_obj(&w);
	return b->err;
}

void oa_response_get(struct http_req *rq, void *ctx)
{
	struct memory *m = ((struct ask_service *)ctx)->memory;
	struct session_entry *made;
	struct stored x;
	bool stream;
	struct buf b;
	size_t n;
	enum err e;

	buf_init(&b, rq_arena(rq), OA_ANSWER_MAX);
	CHECK(rq_query_bool(rq, "stream", false, &stream));
	if (stream) {
		e = err_field(E_INVALID, "stream", -1, "the events of a response are not kept: ask for it without stream");
		goto out;
	}
	CHECK(stored_get(m, rq_arena(rq), rq_principal(rq), rq_param(rq, "id"), &x));
	CHECK(stored_entries(m, rq_arena(rq), rq_principal(rq), &x, true, &made, &n));
	e = write_object(rq_arena(rq), &x, made, n, &b);
out:
	oa_answer(rq, e, &b);
}

/* Where the list goes on; E_NOT_FOUND: no item has that id. */
static enum err begin_after(const struct shown *s, struct str after, size_t *from)
{
	int64_t number = 0;

	*from = 0;
	if (!after.n)
		return OK;
	if (!oa_id_number(after, &number))
		number = 0;
	for (size_t i = 0; i < s->n; i++)
		if (s->own[i].p ? str_eq(s->own[i], after) : s->v[i].id == number)
			*from = i + 1;
	return *from ? OK
		     : err_field(E_NOT_FOUND, "after", -1, "the input has no item \"%.*s\"", STR_ARG(str_sub(after, 0, OA_ID_MAX)));
}

static enum err write_input(struct http_req *rq, struct memory *m, const struct stored *x, struct buf *b)
{
	struct entry_list q = {.thread = x->thread};
	struct shown s = {.n = 0};
	size_t from;
	bool more;

	TRY(oa_list_question(rq, &q));
	TRY(stored_entries(m, rq_arena(rq), rq_principal(rq), x, false, &s.v, &s.n));
	s.newest_first = q.newest_first;
	for (size_t i = 0; s.newest_first && i < s.n / 2; i++) {
		struct session_entry t = s.v[i];

		s.v[i] = s.v[s.n - 1 - i];
		s.v[s.n - 1 - i] = t;
	}
	if (s.n)
		TRY(oa_shown_name(rq, m, x->thread, &s));
	TRY(begin_after(&s, rq_query(rq, "after"), &from));
	s.v += from;
	s.own += from;
	s.n -= from;
	more = s.n > q.limit;
	if (more)
		s.n = q.limit;
	return oa_shown_write(rq, &s, more, b);
}

void oa_response_input(struct http_req *rq, void *ctx)
{
	struct memory *m = ((struct ask_service *)ctx)->memory;
	struct stored x;
	struct buf b;
	enum err e;

	buf_init(&b, rq_arena(rq), OA_ANSWER_MAX);
	CHECK(stored_get(m, rq_arena(rq), rq_principal(rq), rq_param(rq, "id"), &x));
	e = write_input(rq, m, &x, &b);
out:
	oa_answer(rq, e, &b);
}

/* ------------------------------------------------------------------ forgetting */

void oa_response_delete(struct http_req *rq, void *ctx)
{
	struct memory *m = ((struct ask_service *)ctx)->memory;
	struct str id = rq_param(rq, "id");
	struct stored x;
	struct buf b;
	struct jw w;
	enum err e;

	buf_init(&b, rq_arena(rq), OA_ANSWER_MAX);
	e = stored_get(m, rq_arena(rq), rq_principal(rq), id, &x);
	if (e == OK)
		e = stored_delete(m, rq_arena(rq), rq_principal(rq), &x);
	else if (e == E_NOT_FOUND && oa_resent(rq))
		e = OK; /* the first answer was lost: it is gone, as it should be */
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "id");
	jw_str(&w, id);
	jw_key(&w, "object");
	jw_cstr(&w, "response");
	jw_key(&w, "deleted");
	jw_bool(&w, true);
	jw_end_obj(&w);
	oa_answer_write(rq, e, &b);
}

/* --------------------------------------------------------------- what is not there */

static void refuse(struct http_req *rq, const char *why)
{
	oa_answer(rq, err_set(E_INVALID, "%s", why), NULL);
}

void oa_response_cancel(struct http_req *rq, void *ctx)
{
	(void)ctx;
	refuse(rq,
	       "only responses that are made in the background can be cancelled, and none is made so here: close the stream in its "
	       "place");
}

void oa_responses_compact(struct http_req *rq, void *ctx)
{
	(void)ctx;
	refuse(rq, "responses are not compacted on demand: long histories are cut to memory.max_history, with memory.summary=on a "
		   "summary "
		   "stands for the rest");
}

void oa_responses_count(struct http_req *rq, void *ctx)
{
	(void)ctx;
	refuse(rq,
	       "tokens are not counted ahead: only the model's own tokenizer knows them; what a turn took is in the usage of its "
	       "response");
}
