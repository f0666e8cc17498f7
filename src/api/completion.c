/* An answer in the form of chat completions, whole or in chunks (contracts: openai 7). */
#include "api/completion.h"

#include "base/uuid7.h"

/* -------------------------------------------------------------------- writing */

const char *completion_finish(enum llm_finish f)
{
	return f == LLM_LENGTH ? "length" : f == LLM_CALLS ? "tool_calls" : f == LLM_FILTER ? "content_filter" : "stop";
}

static void head(struct jw *w, const struct ask *k, const char *object)
{
	jw_obj(w);
	jw_key(w, "id");
	jw_str(w, k->id);
	jw_key(w, "object");
	jw_cstr(w, object);
	jw_key(w, "created");
	jw_i64(w, k->began_s);
	jw_key(w, "model");
	jw_str(w, ask_answerer(k));
}

void completion_usage(struct jw *w, const struct llm_answer *x)
{
	if (x->tokens_in < 0 || x->tokens_out < 0) {
		jw_null(w);
		return;
	}
	jw_obj(w);
	jw_key(w, "prompt_tokens");
	jw_i64(w, x->tokens_in);
	jw_key(w, "completion_tokens");
	jw_i64(w, x->tokens_out);
	jw_key(w, "total_tokens");
	jw_i64(w, x->tokens_in + x->tokens_out);
	jw_end_obj(w);
}

void completion_calls(struct jw *w, const struct llm_answer *x, bool indexed)
{
	jw_arr(w);
	for (size_t i = 0; i < x->calls_n; i++) {
		jw_obj(w);
		if (indexed) {
			jw_key(w, "index");
			jw_u64(w, i);
		}
		jw_key(w, "id");
		jw_str(w, x->calls[i].id);
		jw_key(w, "type");
		jw_cstr(w, "function");
		jw_key(w, "function");
		jw_obj(w);
		jw_key(w, "name");
		jw_str(w, x->calls[i].name);
		jw_key(w, "arguments");
		jw_str(w, x->calls[i].arguments);
		jw_end_obj(w);
		jw_end_obj(w);
	}
	jw_end_arr(w);
}

static void write_whole(struct ask *k, struct buf *b)
{
	const struct llm_answer *x = &k->turn.answer;
	struct jw w;

	jw_init(&w, b);
	head(&w, k, "chat.completion");
	jw_key(&w, "choices");
	jw_arr(&w);
	jw_obj(&w);
	jw_key(&w, "index");
	jw_i64(&w, 0);
	jw_key(&w, "message");
	jw_obj(&w);
	jw_key(&w, "role");
	jw_cstr(&w, "assistant");
	jw_key(&w, "content");
	if (x->text.n || !x->calls_n)
		jw_str(&w, x->text);
	else
		jw_null(&w);
	jw_key(&w, "refusal");
	jw_null(&w);
	if (x->calls_n) {
		jw_key(&w, "tool_calls");
		completion_calls(&w, x, false);
	}
	jw_end_obj(&w);
	jw_key(&w, "logprobs");
	jw_null(&w);
	jw_key(&w, "finish_reason");
	jw_cstr(&w, completion_finish(x->finish));
	jw_end_obj(&w);
	jw_end_arr(&w);
	jw_key(&w, "usage");
	completion_usage(&w, x);
	ask_metadata(k, &w, (struct jval){0}, "");
	ask_custom(k, &w);
	jw_end_obj(&w);
}

/* --------------------------------------------------------------------- stream */

enum delta { ROLE, TEXT, CALLS, END };

static enum err chunk(struct ask *k, enum delta what, struct str text)
{
	const struct llm_answer *x = &k->turn.answer;
	struct buf b;
	struct jw w;

	buf_init(&b, NULL, 16 * LLM_ANSWER_MAX);
	jw_init(&w, &b);
	head(&w, k, "chat.completion.chunk");
	jw_key(&w, "choices");
	jw_arr(&w);
	jw_obj(&w);
	jw_key(&w, "index");
	jw_i64(&w, 0);
	jw_key(&w, "delta");
	jw_obj(&w);
	if (what == ROLE) {
		jw_key(&w, "role");
		jw_cstr(&w, "assistant");
	}
	if (what == ROLE || what == TEXT) {
		jw_key(&w, "content");
		jw_str(&w, text);
	}
	if (what == CALLS) {
		jw_key(&w, "tool_calls");
		completion_calls(&w, x, true);
	}
	jw_end_obj(&w);
	jw_key(&w, "finish_reason");
	if (what == END)
		jw_cstr(&w, completion_finish(x->finish));
	else
		jw_null(&w);
	jw_end_obj(&w);
	jw_end_arr(&w);
	if (what == END)
		ask_custom(k, &w);
	jw_end_obj(&w);
	enum err e = ask_send(k, "", &b);
	buf_release(&b);
	return e;
}

static enum err begin(struct ask *k)
{
	return k->begun ? OK : chunk(k, ROLE, STR(""));
}

static enum err on_text(void *ctx, struct str piece)
{
	struct ask *k = ctx;

	TRY(begin(k));
	if (k->more) {
		k->more = false;
		TRY(chunk(k, TEXT, STR("\n\n")));
	}
	return chunk(k, TEXT, piece);
}

static enum err usage_chunk(struct ask *k)
{
	struct buf b;
	struct jw w;

	buf_init(&b, k->a, 4096);
	jw_init(&w, &b);
	head(&w, k, "chat.completion.chunk");
	jw_key(&w, "choices");
	jw_raw(&w, STR("[]"));
	jw_key(&w, "usage");
	completion_usage(&w, &k->turn.answer);
	ask_custom(k, &w);
	jw_end_obj(&w);
	return ask_send(k, "", &b);
}

static enum err end_stream(struct ask *k)
{
	TRY(begin(k));
	if (k->turn.answer.calls_n)
		TRY(chunk(k, CALLS, STR("")));
	TRY(chunk(k, END, STR("")));
	return k->usage ? usage_chunk(k) : OK;
}

enum err completion_run(struct ask *k)
{
	char id[UUID_TEXT + 1];
	struct buf b;

	uuid7_new(id);
	k->id = arena_printf(k->a, "chatcmpl-%s", id);
	if (!k->id.p)
		return E_NOMEM;
	k->turn.on_text = k->stream ? on_text : NULL;
	k->turn.on_item = k->stream ? ask_on_item : NULL;
	k->turn.ctx = k;
	TRY(ask_turn(k));
	if (k->stream) {
		TRY(end_stream(k));
		ask_done(k);
		return OK;
	}
	buf_init(&b, k->a, 16 * LLM_ANSWER_MAX);
	write_whole(k, &b);
	return ask_whole(k, &b);
}
