/* The chat form's own reply: {"messages"}, or frames {"delta"} in which every piece carries the message's id. */
#include "api/completion.h"
#include "api/mlflow/impl.h"
#include "base/uuid7.h"

static void write_message(struct jw *w, const struct ask *k, struct str text, bool calls)
{
	jw_obj(w);
	jw_key(w, "role");
	jw_cstr(w, "assistant");
	jw_key(w, "content");
	jw_str(w, text);
	jw_key(w, "id");
	jw_str(w, k->id);
	if (calls) {
		jw_key(w, "tool_calls");
		completion_calls(w, &k->turn.answer, false);
	}
	jw_end_obj(w);
}

/* What stands beside the last message. */
static void write_end(struct jw *w, const struct ask *k)
{
	const struct llm_answer *x = &k->turn.answer;

	jw_key(w, "finish_reason");
	jw_cstr(w, completion_finish(x->finish));
	ask_custom(k, w);
	if (x->tokens_in < 0 || x->tokens_out < 0)
		return;
	jw_key(w, "usage");
	completion_usage(w, x);
}

static enum err frame(struct ask *k, struct str text, bool last)
{
	struct buf b;
	struct jw w;
	enum err e;

	buf_init(&b, NULL, 16 * LLM_ANSWER_MAX);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "delta");
	write_message(&w, k, text, last && k->turn.answer.calls_n);
	if (last)
		write_end(&w, k);
	jw_end_obj(&w);
	e = ask_send(k, "", &b);
	buf_release(&b);
	return e;
}

static enum err on_text(void *ctx, struct str piece)
{
	struct ask *k = ctx;

	if (k->more) {
		k->more = false;
		TRY(frame(k, STR("\n\n"), false));
	}
	return frame(k, piece, false);
}

static enum err whole(struct ask *k)
{
	struct buf b;
	struct jw w;

	buf_init(&b, k->a, 16 * LLM_ANSWER_MAX);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "messages");
	jw_arr(&w);
	write_message(&w, k, k->turn.answer.text, k->turn.answer.calls_n > 0);
	jw_end_arr(&w);
	write_end(&w, k);
	ask_metadata(k, &w, (struct jval){0}, "");
	jw_end_obj(&w);
	return ask_whole(k, &b);
}

enum err mlflow_messages_run(struct ask *k)
{
	char id[UUID_TEXT + 1];

	uuid7_new(id);
	k->id = k->turn.message_id = arena_printf(k->a, "msg_%s", id);
	if (!k->id.p)
		return E_NOMEM;
	k->turn.on_text = k->stream ? on_text : NULL;
	k->turn.on_item = k->stream ? ask_on_item : NULL;
	k->turn.ctx = k;
	TRY(ask_turn(k));
	if (!k->stream)
		return whole(k);
	TRY(frame(k, STR(""), true));
	ask_done(k);
	return OK;
}
