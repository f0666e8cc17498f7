/* The events of a streamed response (contracts: openai 6.2).
 *
 * Invariants
 *  1. response.created is the first event; sequence numbers begin at 0 and have no gaps; every event of an item carries the id that
 *     the item has in the final output.
 *  2. A message is announced when its first text comes, everything else when it is complete: so output_index is the place in the
 *     final output. */
#include "api/response.h"

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
	if (status != RESPONSE_IN_PROGRESS)
		ask_custom(r->ask, &w);
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
	/* Whether it is the last item is not known yet. */
	if (strcmp(type, "response.output_item.done") == 0)
		ask_custom(r->ask, &w);
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
	jw_u64(&w, r->index);
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
	TRY(item_event(r, "response.output_item.added", r->index, item));
	return text_event(r, "response.content_part.added", "part", STR(""), true);
}

enum err response_on_text(void *ctx, struct str piece)
{
	struct response *r = ctx;

	TRY(begin_text(r));
	return text_event(r, "response.output_text.delta", "delta", piece, false);
}

static enum err end_text(struct response *r, const struct assistant_item *it)
{
	TRY(begin_text(r));
	TRY(text_event(r, "response.output_text.done", "text", it->text, false));
	TRY(text_event(r, "response.content_part.done", "part", it->text, true));
	r->text = false;
	return item_event(r, "response.output_item.done", r->index, it->json);
}

/* ---------------------------------------------------------------------- calls */

static enum err arguments_event(struct response *r, bool done, const struct assistant_item *it)
{
	const char *type = done ? "response.function_call_arguments.done" : "response.function_call_arguments.delta";
	struct buf b;
	struct jw w;

	TRY(event_begin(r, &b, &w, type));
	jw_key(&w, "item_id");
	jw_str(&w, it->id);
	jw_key(&w, "output_index");
	jw_u64(&w, r->index);
	if (done) {
		jw_key(&w, "name");
		jw_str(&w, it->call->name);
	}
	jw_key(&w, done ? "arguments" : "delta");
	jw_str(&w, it->call->arguments);
	return event_end(r, &b, &w, type);
}

static enum err call_events(struct response *r, const struct assistant_item *it)
{
	struct buf b;
	struct jw w;

	buf_init(&b, r->ask->a, 4096);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "type");
	jw_cstr(&w, "function_call");
	jw_key(&w, "id");
	jw_str(&w, it->id);
	jw_key(&w, "call_id");
	jw_str(&w, it->call->id);
	jw_key(&w, "name");
	jw_str(&w, it->call->name);
	jw_key(&w, "arguments");
	jw_cstr(&w, "");
	jw_key(&w, "status");
	jw_cstr(&w, "in_progress");
	jw_end_obj(&w);
	TRY(b.err);
	TRY(item_event(r, "response.output_item.added", r->index, buf_slice(&b)));
	TRY(arguments_event(r, false, it));
	TRY(arguments_event(r, true, it));
	return item_event(r, "response.output_item.done", r->index, it->json);
}

static enum err output_events(struct response *r, const struct assistant_item *it)
{
	TRY(item_event(r, "response.output_item.added", r->index, it->json));
	return item_event(r, "response.output_item.done", r->index, it->json);
}

enum err response_on_item(void *ctx, const struct assistant_item *it)
{
	struct response *r = ctx;

	if (it->ours && r->ask->hide)
		return OK;
	TRY(begin(r));
	if (it->kind == ITEM_MESSAGE)
		TRY(end_text(r, it));
	else if (it->kind == ITEM_CALL)
		TRY(call_events(r, it));
	else
		TRY(output_events(r, it));
	r->index++;
	return OK;
}

/* ------------------------------------------------------------------------ end */

enum err response_stream_end(struct response *r)
{
	enum response_status status = response_status(r);

	TRY(begin(r));
	TRY(lifecycle(r, status == RESPONSE_COMPLETED ? "response.completed" : "response.incomplete", status));
	ask_done(r->ask);
	return OK;
}

enum err response_stream_error(struct response *r)
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

enum err response_stream_failed(struct response *r)
{
	return lifecycle(r, "response.failed", RESPONSE_FAILED);
}
