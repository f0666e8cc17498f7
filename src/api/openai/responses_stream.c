/* The events of a streamed response (contracts: openai 6.2).
 *
 * Invariants
 *  1. response.created is the first event; sequence numbers begin at 0 and have no gaps; every event of an item carries the id that
 *     the item has in the final output.
 *  2. A message is announced when its first text comes, calls when the answer is complete: so output_index is the place in the
 *     final output. */
#include "api/openai/responses.h"

static enum err event_begin(struct response *r, struct buf *b, struct jw *w, const char *type)
{
	buf_init(b, NULL, 32 * LLM_ANSWER_MAX);
	jw_init(w, b);
	jw_obj(w);
	jw_key(w, "type");
	jw_cstr(w, type);
	jw_key(w, "sequence_number");
	jw_u64(w, r->sequence++);
	return OK;
}

static enum err event_end(struct response *r, struct buf *b, struct jw *w, const char *type)
{
	enum err e;

	jw_end_obj(w);
	e = ask_send(r->ask, type, b);
	buf_release(b);
	return e;
}

static enum err lifecycle(struct response *r, const char *type, enum response_status status)
{
	struct buf b;
	struct jw w;

	TRY(event_begin(r, &b, &w, type));
	jw_key(&w, "response");
	response_write(r, status, &w);
	return event_end(r, &b, &w, type);
}

static enum err begin(struct response *r)
{
	if (r->ask->begun)
		return OK;
	TRY(lifecycle(r, "response.created", RESPONSE_IN_PROGRESS));
	return lifecycle(r, "response.in_progress", RESPONSE_IN_PROGRESS);
}

/* output_item.added or .done with the item's JSON. */
static enum err item_event(struct response *r, const char *type, size_t index, struct str item)
{
	struct buf b;
	struct jw w;

	TRY(event_begin(r, &b, &w, type));
	jw_key(&w, "output_index");
	jw_u64(&w, index);
	jw_key(&w, "item");
	jw_raw(&w, item);
	return event_end(r, &b, &w, type);
}

/* ----------------------------------------------------------------------- text */

/* Events of the message's one part: content_part.*, output_text.*; name NULL: nothing more, else a member with the text, or with
 * the whole part. */
static enum err text_event(struct response *r, const char *type, const char *name, struct str text, bool part)
{
	struct buf b;
	struct jw w;

	TRY(event_begin(r, &b, &w, type));
	jw_key(&w, "item_id");
	jw_str(&w, r->ask->turn.message_id);
	jw_key(&w, "output_index");
	jw_i64(&w, 0);
	jw_key(&w, "content_index");
	jw_i64(&w, 0);
	jw_key(&w, name);
	if (part) {
		jw_obj(&w);
		jw_key(&w, "type");
		jw_cstr(&w, "output_text");
		jw_key(&w, "text");
	}
	jw_str(&w, text);
	if (part) {
		jw_key(&w, "annotations");
		jw_raw(&w, STR("[]"));
	}
	jw_key(&w, "logprobs");
	jw_raw(&w, STR("[]"));
	if (part)
		jw_end_obj(&w);
	return event_end(r, &b, &w, type);
}

static enum err begin_text(struct response *r)
{
	struct str item;

	if (r->text)
		return OK;
	TRY(begin(r));
	item = arena_printf(
		r->ask->a,
		"{\"type\":\"message\",\"id\":\"%.*s\",\"role\":\"assistant\",\"status\":\"in_progress\",\"content\":[]}",
		STR_ARG(r->ask->turn.message_id));
	if (!item.p)
		return E_NOMEM;
	r->text = true;
	TRY(item_event(r, "response.output_item.added", 0, item));
	return text_event(r, "response.content_part.added", "part", STR(""), true);
}

enum err response_on_text(void *ctx, struct str piece)
{
	struct response *r = ctx;

	TRY(begin_text(r));
	return text_event(r, "response.output_text.delta", "delta", piece, false);
}

static enum err end_text(struct response *r)
{
	struct assistant_turn *t = &r->ask->turn;

	TRY(begin_text(r));
	TRY(text_event(r, "response.output_text.done", "text", t->answer.text, false));
	TRY(text_event(r, "response.content_part.done", "part", t->answer.text, true));
	return item_event(r, "response.output_item.done", 0, t->output[0]);
}

/* ---------------------------------------------------------------------- calls */

static enum err arguments_event(struct response *r, bool done, size_t index, struct str id, const struct llm_call *c)
{
	const char *type = done ? "response.function_call_arguments.done" : "response.function_call_arguments.delta";
	struct buf b;
	struct jw w;

	TRY(event_begin(r, &b, &w, type));
	jw_key(&w, "item_id");
	jw_str(&w, id);
	jw_key(&w, "output_index");
	jw_u64(&w, index);
	if (done) {
		jw_key(&w, "name");
		jw_str(&w, c->name);
	}
	jw_key(&w, done ? "arguments" : "delta");
	jw_str(&w, c->arguments);
	return event_end(r, &b, &w, type);
}

static enum err call_events(struct response *r, size_t index, const struct llm_call *c)
{
	struct ask *k = r->ask;
	struct str item = k->turn.output[index], id;
	struct json doc;
	struct buf b;
	struct jw w;

	TRY(json_parse(k->a, item, &json_default_limits, &doc));
	id = j_str(k->a, j_get(json_root(&doc), STR("id")));
	buf_init(&b, k->a, 4096);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "type");
	jw_cstr(&w, "function_call");
	jw_key(&w, "id");
	jw_str(&w, id);
	jw_key(&w, "call_id");
	jw_str(&w, c->id);
	jw_key(&w, "name");
	jw_str(&w, c->name);
	jw_key(&w, "arguments");
	jw_cstr(&w, "");
	jw_key(&w, "status");
	jw_cstr(&w, "in_progress");
	jw_end_obj(&w);
	TRY(b.err);
	TRY(item_event(r, "response.output_item.added", index, buf_slice(&b)));
	TRY(arguments_event(r, false, index, id, c));
	TRY(arguments_event(r, true, index, id, c));
	return item_event(r, "response.output_item.done", index, item);
}

/* ------------------------------------------------------------------------ end */

enum err response_stream_end(struct response *r)
{
	struct assistant_turn *t = &r->ask->turn;
	size_t first = t->output_n - t->answer.calls_n;
	enum response_status status = response_status(r);

	TRY(begin(r));
	if (first)
		TRY(end_text(r));
	for (size_t i = 0; i < t->answer.calls_n; i++)
		TRY(call_events(r, first + i, &t->answer.calls[i]));
	TRY(lifecycle(r, status == RESPONSE_COMPLETED ? "response.completed" : "response.incomplete", status));
	ask_done(r->ask);
	return OK;
}

/* Flat, since clients raise what has a member "error". */
static enum err error_event(struct response *r)
{
	struct buf b;
	struct jw w;

	TRY(event_begin(r, &b, &w, "error"));
	jw_key(&w, "code");
	jw_cstr(&w, "server_error");
	jw_key(&w, "message");
	jw_cstr(&w, diag_get()->text);
	jw_key(&w, "param");
	jw_null(&w);
	return event_end(r, &b, &w, "error");
}

void response_stream_fail(struct response *r, enum err e)
{
	struct diag d = *diag_get();
	enum err sent = e == E_CANCELLED ? e : error_event(r);

	*diag_get() = d;
	if (sent == OK)
		sent = lifecycle(r, "response.failed", RESPONSE_FAILED);
	if (sent == OK)
		ask_done(r->ask);
	else
		rs_abort(r->ask->rq);
}
