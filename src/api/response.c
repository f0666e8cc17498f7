/* A response as an object, and its making (contracts: openai 6, mlflow 1.1). */
#include "api/response.h"

#include "api/recall_hit.h"
#include "base/clock.h"
#include "base/uuid7.h"

/* ------------------------------------------------------------------ the answer */

static void echo(struct jw *w, struct jval body, const char *name, const char *dflt)
{
	struct jval v = j_get(body, str_c(name));

	jw_key(w, name);
	jw_raw(w, j_null(v) ? str_c(dflt) : j_raw(v));
}

static void write_usage(struct jw *w, const struct llm_answer *x, bool over)
{
	jw_key(w, "usage");
	if (!over || x->tokens_in < 0 || x->tokens_out < 0) {
		jw_null(w);
		return;
	}
	jw_obj(w);
	jw_key(w, "input_tokens");
	jw_i64(w, x->tokens_in);
	jw_key(w, "input_tokens_details");
	jw_raw(w, STR("{\"cached_tokens\":0,\"cache_write_tokens\":0}"));
	jw_key(w, "output_tokens");
	jw_i64(w, x->tokens_out);
	jw_key(w, "output_tokens_details");
	jw_raw(w, STR("{\"reasoning_tokens\":0}"));
	jw_key(w, "total_tokens");
	jw_i64(w, x->tokens_in + x->tokens_out);
	jw_end_obj(w);
}

static void write_fate(struct jw *w, const struct response *r, enum response_status status)
{
	static const char *const names[] = {"in_progress", "completed", "incomplete", "failed"};
	const struct ask *k = r->ask;

	jw_key(w, "status");
	jw_cstr(w, names[status]);
	jw_key(w, "completed_at");
	if (status == RESPONSE_COMPLETED)
		jw_i64(w, r->ended_s);
	else
		jw_null(w);
	jw_key(w, "error");
	if (status == RESPONSE_FAILED) {
		jw_obj(w);
		jw_key(w, "code");
		jw_cstr(w, "server_error");
		jw_key(w, "message");
		jw_cstr(w, diag_get()->text);
		jw_end_obj(w);
	} else {
		jw_null(w);
	}
	jw_key(w, "incomplete_details");
	/* One that was broken off has none of the reasons that there are. */
	jw_raw(w, status != RESPONSE_INCOMPLETE || k->turn.answer.finish == LLM_CUT ? STR("null")
		  : k->turn.answer.finish == LLM_FILTER				    ? STR("{\"reason\":\"content_filter\"}")
										    : STR("{\"reason\":\"max_output_tokens\"}"));
}

/* The member of our own: what went into the answer, for those who asked for it. */
static void write_why(const struct ask *k, struct jw *w)
{
	const struct assistant_turn *t = &k->turn;
	struct str user = t->user.n ? t->user : rq_principal(k->rq)->user;

	jw_key(w, "cenote");
	jw_obj(w);
	jw_key(w, "user");
	if (user.n)
		jw_str(w, user);
	else
		jw_null(w);
	jw_key(w, "memories");
	jw_arr(w);
	for (size_t i = 0; i < t->memories_n && w->b->err == OK; i++)
		if (recall_hit_write(k->a, w, &t->memories[i], true) != OK)
			w->b->err = E_LIMIT;
	jw_end_arr(w);
	jw_key(w, "stateless");
	if (t->stateless.n)
		jw_str(w, t->stateless);
	else
		jw_null(w);
	if (t->trace) {
		jw_key(w, "trace");
		jw_cstr(w, t->trace->hex);
	}
	jw_end_obj(w);
}

void response_write(const struct response *r, enum response_status status, struct jw *w)
{
	const struct ask *k = r->ask;
	bool over = status != RESPONSE_IN_PROGRESS;

	jw_obj(w);
	jw_key(w, "id");
	jw_str(w, k->id);
	jw_key(w, "object");
	jw_cstr(w, "response");
	jw_key(w, "created_at");
	jw_i64(w, k->began_s);
	write_fate(w, r, status);
	echo(w, r->body, "instructions", "null");
	jw_key(w, "model");
	jw_str(w, ask_answerer(k));
	jw_key(w, "output");
	jw_arr(w);
	for (size_t i = 0; over && !r->bare && i < k->turn.output_n; i++)
		if (!k->hide || !assistant_made(k->turn.output[i]))
			jw_raw(w, k->turn.output[i]);
	jw_end_arr(w);
	echo(w, r->body, "parallel_tool_calls", "true");
	jw_key(w, "previous_response_id");
	if (r->previous.n)
		jw_str(w, r->previous);
	else
		jw_null(w);
	jw_key(w, "conversation");
	if (k->turn.thread.n && !r->unnamed) {
		jw_obj(w);
		jw_key(w, "id");
		jw_str(w, k->turn.thread);
		jw_end_obj(w);
	} else {
		jw_null(w);
	}
	echo(w, r->body, "reasoning", "{\"effort\":null,\"summary\":null}");
	jw_key(w, "store");
	jw_bool(w, k->turn.keep);
	echo(w, r->body, "temperature", "1.0");
	echo(w, r->body, "top_p", "1.0");
	echo(w, r->body, "text", "{\"format\":{\"type\":\"text\"}}");
	echo(w, r->body, "tool_choice", "\"auto\"");
	echo(w, r->body, "tools", "[]");
	echo(w, r->body, "truncation", "\"disabled\"");
	echo(w, r->body, "max_output_tokens", "null");
	echo(w, r->body, "max_tool_calls", "null");
	ask_metadata(k, w, j_get(r->body, STR("metadata")), "{}");
	echo(w, r->body, "user", "null");
	write_usage(w, &k->turn.answer, over);
	ask_custom(k, w);
	/* Of a stream in its first event, so that who breaks it off knows, and in its last. */
	if (k->turn.explain && !r->bare && (over || r->sequence == 1))
		write_why(k, w);
	jw_end_obj(w);
}

enum response_status response_status(const struct response *r)
{
	enum llm_finish f = r->ask->turn.answer.finish;

	return f == LLM_LENGTH || f == LLM_FILTER || f == LLM_CUT ? RESPONSE_INCOMPLETE : RESPONSE_COMPLETED;
}

static enum err answer(struct ask *k, const struct response *r)
{
	struct buf b;
	struct jw w;

	buf_init(&b, k->a, 32 * LLM_ANSWER_MAX);
	jw_init(&w, &b);
	response_write(r, response_status(r), &w);
	return ask_whole(k, &b);
}

enum err response_run(struct response *r)
{
	struct ask *k = r->ask;
	char id[UUID_TEXT + 1];
	enum err e;

	uuid7_new(id);
	k->id = arena_printf(k->a, "resp_%s", id);
	uuid7_new(id);
	k->turn.message_id = arena_printf(k->a, "msg_%s", id);
	if (!k->id.p || !k->turn.message_id.p)
		return E_NOMEM;
	if (k->stream) {
		k->turn.on_text = response_on_text;
		k->turn.on_item = response_on_item;
		k->turn.ctx = r;
	}
	e = ask_turn(k);
	if (!r->ended_s)
		r->ended_s = clock_wall_us() / 1000000;
	TRY(r->on_end ? r->on_end(r, e) : e);
	return k->stream ? response_stream_end(r) : answer(k, r);
}
