/* One line said in a chat: asked of POST /v1/responses and printed as it comes, or, where there is no model, kept and recalled. */
#include "cli/chat.h"
#include "cli/interrupt.h"
#include "cli/threads.h"

#define STREAM_MAX ((size_t)64 << 20) /* bytes of one event */

/* One answer on its way. */
struct talk {
	struct chat *ch;
	struct buf line;   /* what there is of the event's line; heap */
	struct buf text;   /* the answer so far; heap */
	struct str failed; /* what the server says of a failure; "" : none */
	struct str status; /* of the response; "" : it did not come to its end */
	bool open;	   /* the terminal's cursor stands behind text */
};

enum err chat_call(struct chat *ch, const char *method, struct str path, struct str body, struct jval *out)
{
	struct json *doc = ARENA_NEW(&ch->a, struct json);
	struct http_reply r;

	if (!doc || !path.p)
		return E_NOMEM;
	TRY(client_call(ch->http, &ch->a, method, path, NULL, body, &r));
	*out = (struct jval){0};
	if (r.body.n == 0)
		return OK;
	TRY(reply_json(&ch->a, &r, doc));
	*out = json_root(doc);
	return OK;
}

enum err chat_find_model(struct chat *ch)
{
	struct jval list, m;

	ch->model[0] = '\0';
	TRY(chat_call(ch, "GET", STR("/v1/models"), str_of(NULL, 0), &list));
	if (!j_is(j_get(list, STR("data")), JSON_ARRAY))
		return err_set(E_UPSTREAM, "the server's list of models has no data (is it a Cenote server?)");
	for (struct j_iter it = j_iter(j_get(list, STR("data"))); j_next(&it, NULL, &m);) {
		struct str id = chat_member(&ch->a, m, "id");

		if (ch->model[0] || !j_str_eq(j_get(m, STR("kind")), STR("chat")) || !id.n || id.n > CHAT_MODEL_MAX)
			continue;
		memcpy(ch->model, id.p, id.n);
		ch->model[id.n] = '\0';
	}
	return OK;
}

/* ------------------------------------------------------------------- events */

static enum err said(struct talk *t, struct str piece)
{
	struct chat *ch = t->ch;
	struct buf b;
	struct jw w;

	buf_str(&t->text, piece);
	TRY(t->text.err);
	if (ch->json) {
		chat_event(ch, &b, &w, "delta");
		jw_key(&w, "text");
		jw_str(&w, piece);
		return chat_event_end(&b, &w);
	}
	buf_init(&b, &ch->a, STREAM_MAX);
	chat_clean(&b, piece);
	if (b.n)
		t->open = b.p[b.n - 1] != '\n';
	return chat_print(&b);
}

/* What the answer was made of; from the first event, and from the last one again. */
static enum err learn_why(struct chat *ch, struct jval response)
{
	struct jval own = j_get(response, STR("cenote")), list = j_get(own, STR("memories"));
	if (!j_is(list, JSON_ARRAY))
		return OK;
	if (!ch->user.n)
		ch->user = arena_str(&ch->c->arena, chat_member(&ch->a, own, "user"));
	arena_clear(&ch->why_arena);
	ch->why = arena_str(&ch->why_arena, j_raw(list));
	ch->trace = arena_str(&ch->why_arena, chat_member(&ch->a, own, "trace"));
	ch->away = arena_str(&ch->why_arena, chat_member(&ch->a, own, "stateless"));
	TRY(ch->why.p && ch->trace.p && ch->away.p && ch->user.p ? OK : E_NOMEM);
	return chat_number_memories(ch, list);
}

/* A tool that the server runs, or that somebody else would have to. */
static enum err called(struct talk *t, struct jval item)
{
	struct str name = chat_member(&t->ch->a, item, "name");

	if (!j_str_eq(j_get(item, STR("type")), STR("function_call")) || !name.n)
		return OK;
	if (t->open && t->ch->people)
		TRY(chat_puts(STR("\n")));
	t->open = t->open && !t->ch->people;
	return chat_notice(t->ch, "-> %.*s(%.*s)", STR_ARG(name), STR_ARG(chat_member(&t->ch->a, item, "arguments")));
}

static enum err on_event(struct talk *t, struct str json)
{
	const struct json_limits lim = {64, 4000000, STREAM_MAX, JSON_DUP_OK};
	struct arena *a = &t->ch->a;
	struct json doc;
	struct str type;

	if (str_eq(json, STR("[DONE]")))
		return OK;
	if (json_parse(a, json, &lim, &doc) != OK)
		return err_wrap(E_UPSTREAM, "an event of the server's answer is not JSON");
	type = chat_member(a, json_root(&doc), "type");
	if (str_eq(type, STR("response.output_text.delta")))
		return said(t, chat_member(a, json_root(&doc), "delta"));
	if (str_eq(type, STR("response.output_item.done")))
		return called(t, j_get(json_root(&doc), STR("item")));
	if (str_eq(type, STR("error")))
		t->failed = chat_member(a, json_root(&doc), "message");
	if (str_eq(type, STR("response.created")))
		return learn_why(t->ch, j_get(json_root(&doc), STR("response")));
	if (str_eq(type, STR("response.completed")) || str_eq(type, STR("response.incomplete")) ||
	    str_eq(type, STR("response.failed"))) {
		t->status = chat_member(a, j_get(json_root(&doc), STR("response")), "status");
		return learn_why(t->ch, j_get(json_root(&doc), STR("response")));
	}
	return OK;
}

/* Pieces end anywhere; an event is one line "data: JSON". */
static enum err on_piece(void *ctx, struct str piece)
{
	struct talk *t = ctx;

	while (piece.n > 0) {
		struct str head, rest, line;
		bool whole = str_cut(piece, '\n', &head, &rest);

		buf_str(&t->line, head);
		if (t->line.err != OK)
			return err_set(E_LIMIT, "an event of the answer is larger than %zu MiB", STREAM_MAX >> 20);
		if (!whole)
			return OK;
		piece = rest;
		line = buf_slice(&t->line);
		if (line.n && line.p[line.n - 1] == '\r')
			line.n--;
		if (str_starts(line, STR("data:")))
			TRY(on_event(t, str_trim(str_sub(line, 5, line.n))));
		buf_clear(&t->line);
	}
	return OK;
}

static bool stopped(void *ctx)
{
	(void)ctx;
	return interrupt_pending() != 0;
}

/* ----------------------------------------------------------------- an answer */

static enum err body_of(struct chat *ch, struct str line, const char *model, struct buf *b)
{
	struct jw w;

	buf_init(b, &ch->a, 8 * LINE_MAX_BYTES);
	jw_init(&w, b);
	jw_obj(&w);
	jw_key(&w, "input");
	jw_str(&w, line);
	jw_key(&w, "stream");
	jw_bool(&w, true);
	if (ch->thread[0] && ch->resumed) {
		jw_key(&w, "conversation");
		jw_cstr(&w, ch->thread);
	}
	if (!ch->keep) {
		jw_key(&w, "store");
		jw_bool(&w, false);
	}
	if (model[0]) {
		jw_key(&w, "model");
		jw_cstr(&w, model);
	}
	jw_end_obj(&w);
	return b->err;
}

static enum err send(struct talk *t, struct str body)
{
	struct chat *ch = t->ch;
	struct str thread = arena_printf(&ch->a, "X-Cenote-Thread: %s", ch->thread);
	const char *heads[3] = {"X-Cenote-Why: true", "Accept: text/event-stream", thread.p};
	struct http_client_post p = {.path = STR("/v1/responses"),
				     .body = body,
				     .heads = heads,
				     .heads_n = ch->thread[0] && !ch->resumed ? 3 : 2, /* made when it is not there */
				     .fn = on_piece,
				     .stop = stopped,
				     .ctx = t,
				     .max_reply = 1 << 20};
	struct http_reply r;

	if (!thread.p)
		return E_NOMEM;
	TRY(http_client_post(ch->http, &ch->a, &p, &r));
	TRY(reply_check(&ch->a, &r));
	if (t->failed.n || str_eq(t->status, STR("failed")))
		return err_set(E_UPSTREAM, "%.*s", STR_ARG(t->failed.n ? t->failed : STR("the answer broke off")));
	return t->status.n ? OK : err_set(E_UPSTREAM, "the server's answer broke off");
}

/* The member "stateless" of an event: null, or why there was no memory. */
static void write_away(const struct chat *ch, struct jw *w)
{
	jw_key(w, "stateless");
	if (ch->away.n)
		jw_str(w, ch->away);
	else
		jw_null(w);
}

/* That nothing was remembered or kept must not look like an answer that found nothing. */
static enum err tell_away(struct chat *ch)
{
	return ch->away.n ? chat_notice(ch, "[%.*s]", STR_ARG(ch->away)) : OK;
}

static enum err answer_event(struct talk *t, enum err e)
{
	struct chat *ch = t->ch;
	struct buf b;
	struct jw w;

	chat_event(ch, &b, &w, "answer");
	jw_key(&w, "text");
	jw_str(&w, buf_slice(&t->text));
	jw_key(&w, "status");
	jw_str(&w, e == OK ? t->status : e == E_CANCELLED ? STR("stopped") : STR("failed"));
	jw_key(&w, "model");
	jw_cstr(&w, ch->model);
	jw_key(&w, "memories");
	jw_raw(&w, ch->why.p ? ch->why : STR("[]"));
	write_away(ch, &w);
	return chat_event_end(&b, &w);
}

/* What stands below an answer on a terminal, and on stderr that it is one without memory. */
static enum err below(struct talk *t, enum err e)
{
	struct chat *ch = t->ch;
	struct json doc;

	if (t->open)
		TRY(chat_puts(STR("\n")));
	TRY(tell_away(ch));
	if (!ch->people)
		return OK;
	if (e == E_CANCELLED)
		return chat_notice(ch, ch->away.n ? "[stopped]" : "[stopped; what there is of the answer is kept]");
	if (e == OK && !str_eq(t->status, STR("completed")))
		TRY(chat_notice(ch, "[the answer is not complete: the model's limit was reached]"));
	if (ch->why.p && json_parse(&ch->a, ch->why, &json_default_limits, &doc) == OK)
		return chat_hint_memories(ch, json_root(&doc));
	return OK;
}

static enum err ask(struct chat *ch, struct str line)
{
	struct talk t = {.ch = ch};
	struct buf body;
	struct diag d;
	enum err e, shown;

	ch->why = ch->trace = ch->away = str_of(NULL, 0);
	buf_init(&t.line, NULL, STREAM_MAX);
	buf_init(&t.text, NULL, STREAM_MAX);
	e = body_of(ch, line, "", &body);
	if (e == OK)
		e = send(&t, buf_slice(&body));
	d = *diag_get();
	shown = ch->json && (e == OK || t.text.n) ? answer_event(&t, e) : ch->json ? OK : below(&t, e);
	buf_release(&t.line);
	buf_release(&t.text);
	if (e == OK)
		return shown;
	*diag_get() = d;
	return e;
}

/* ------------------------------------------------------------ without a model */

static enum err tell_how(struct chat *ch)
{
	if (ch->told && !ch->people)
		return OK;
	ch->told = true;
	return chat_notice(
		ch, "[no model answers: set llm.base_url and llm.model (on Databricks: DATABRICKS_HOST and DATABRICKS_TOKEN)%s]",
		peer_own(ch->c) ? "" : " on the server");
}

/* The server keeps the line, looks it through and recalls; nobody answers. */
static enum err listen(struct chat *ch, struct str line, struct jval *hits)
{
	struct talk t = {.ch = ch};
	struct json *doc = ARENA_NEW(&ch->a, struct json);
	struct buf body;
	enum err e;

	if (!doc)
		return E_NOMEM;
	ch->why = ch->trace = ch->away = str_of(NULL, 0);
	buf_init(&t.line, NULL, STREAM_MAX);
	buf_init(&t.text, NULL, STREAM_MAX);
	e = body_of(ch, line, "none", &body);
	if (e == OK)
		e = send(&t, buf_slice(&body));
	buf_release(&t.line);
	buf_release(&t.text);
	TRY(e);
	TRY(json_parse(&ch->a, ch->why.p ? ch->why : STR("[]"), NULL, doc));
	*hits = json_root(doc);
	return OK;
}

static enum err recall_only(struct chat *ch, struct str line)
{
	struct jval hits;
	struct buf b;
	struct jw w;

	TRY(listen(ch, line, &hits));
	if (ch->json) {
		chat_event(ch, &b, &w, "recall");
		jw_key(&w, "memories");
		jw_raw(&w, j_raw(hits));
		write_away(ch, &w);
		TRY(chat_event_end(&b, &w));
	} else if (ch->away.n) {
		TRY(tell_away(ch));
	} else if (j_node(hits)->count == 0) {
		TRY(chat_notice(ch, "nothing is recalled for this"));
	} else {
		TRY(chat_show_memories(ch, hits, false));
	}
	return tell_how(ch);
}

enum err chat_say(struct chat *ch, struct str line)
{
	/* A server may have got a model meanwhile. */
	if (!ch->model[0] && !peer_own(ch->c))
		TRY(chat_find_model(ch));
	return ch->model[0] ? ask(ch, line) : recall_only(ch, line);
}
