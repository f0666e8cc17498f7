/* A call that is made again because its answer was lost on the way: the thread has that answer, and it is given once more. */
#include "core/assistant_impl.h"

static const struct json_limits item_limits = {.depth = 64, .nodes = 100000, .bytes = 16u << 20, .flags = JSON_DUP_OK};

/* An item of the kept answer as it is handed on. */
struct piece {
	struct assistant_item item;
	struct llm_call call;
	bool incomplete;
};

static struct str text_member(struct arena *a, struct jval item, const char *name)
{
	struct jval v = j_get(item, str_c(name));

	return j_is(v, JSON_STRING) ? j_str(a, v) : STR("");
}

/* The text of an answer's content, which we wrote. */
static struct str answer_text(struct arena *a, struct jval item)
{
	struct jval part;
	struct j_iter it;

	if (!j_is(j_get(item, STR("content")), JSON_ARRAY))
		return text_member(a, item, "content");
	it = j_iter(j_get(item, STR("content")));
	return j_next(&it, NULL, &part) ? text_member(a, part, "text") : STR("");
}

/* false: it is no item of an answer of ours. */
static enum err read_piece(struct arena *a, struct str json, struct piece *out, bool *fine)
{
	struct json *doc = ARENA_NEW(a, struct json);
	struct jval item, type;
	enum err e;

	*out = (struct piece){.item = {.json = json}};
	*fine = false;
	if (!doc)
		return E_NOMEM;
	e = json_parse(a, json, &item_limits, doc);
	if (e != OK)
		return e == E_NOMEM ? e : OK;
	item = json_root(doc);
	type = j_get(item, STR("type"));
	out->item.ours = j_str_eq(j_get(item, STR("created_by")), STR(MADE_BY));
	out->item.id = text_member(a, item, "id");
	out->incomplete = j_str_eq(j_get(item, STR("status")), STR("incomplete"));
	out->call.id = text_member(a, item, "call_id");
	out->call.name = text_member(a, item, "name");
	out->call.arguments = text_member(a, item, "arguments");
	if (j_str_eq(j_get(item, STR("role")), STR("assistant"))) {
		out->item.kind = ITEM_MESSAGE;
		out->item.text = answer_text(a, item);
	} else if (j_str_eq(type, STR("function_call"))) {
		out->item.kind = ITEM_CALL;
	} else if (j_str_eq(type, STR("function_call_output")) && out->item.ours) {
		out->item.kind = ITEM_OUTPUT;
		out->item.text = text_member(a, item, "output");
	} else {
		return OK;
	}
	*fine = true;
	return out->item.id.p && out->item.text.p && out->call.id.p && out->call.name.p && out->call.arguments.p ? OK : E_NOMEM;
}

/* Of several answers the newest: one begins where a message follows another. */
static size_t newest(const struct piece *v, size_t n)
{
	size_t i = n ? n - 1 : 0;

	while (i > 0 && (v[i].item.kind != ITEM_MESSAGE || v[i - 1].item.kind != ITEM_MESSAGE))
		i--;
	return i;
}

/* Complete when it ends with a message, or with calls of the caller's tools. */
static bool is_whole(const struct piece *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (v[i].incomplete)
			return false;
	return n && (v[n - 1].item.kind == ITEM_MESSAGE || (v[n - 1].item.kind == ITEM_CALL && !v[n - 1].item.ours));
}

/* entries: those that v was read from. */
static enum err take(struct turn *x, const struct piece *v, const struct session_entry *entries, size_t n)
{
	struct assistant_turn *t = x->t;
	struct llm_call *calls = ARENA_ARRAY(x->a, struct llm_call, n + 1);

	t->output = ARENA_ARRAY(x->a, struct str, n + 1);
	t->added = ARENA_ARRAY(x->a, int64_t, n + 1);
	if (!calls || !t->output || !t->added)
		return E_NOMEM;
	t->answer.finish = LLM_STOP;
	t->answer.calls = calls;
	for (size_t i = 0; i < n; i++) {
		const struct assistant_item *it = &v[i].item;

		t->output[t->output_n++] = it->json;
		t->added[t->added_n++] = entries[i].id;
		if (it->kind == ITEM_MESSAGE && it->text.n)
			t->answer.text = t->answer.text.n ? item_joined(x->a, t->answer.text, "\n\n", it->text) : it->text;
		if (!t->answer.text.p)
			return E_NOMEM;
		if (it->kind != ITEM_CALL || it->ours)
			continue;
		calls[t->answer.calls_n++] = v[i].call;
		t->answer.finish = LLM_CALLS;
	}
	t->given = true;
	return OK;
}

enum err again_find(struct turn *x, size_t from)
{
	size_t n = x->past_all - from, begin;
	struct piece *v = ARENA_ARRAY(x->a, struct piece, n + 1);
	bool fine = true;

	if (!v)
		return E_NOMEM;
	for (size_t i = 0; i < n && fine; i++) {
		struct str json =
			arena_str(x->a, x->past[from + i].data); /* the history ends with the turn, what is given does not */

		TRY(json.p ? read_piece(x->a, json, &v[i], &fine) : E_NOMEM);
	}
	begin = fine ? newest(v, n) : 0;
	if (fine && is_whole(v + begin, n - begin))
		return take(x, v + begin, x->past + from + begin, n - begin);
	return prompt_unanswered(x->a, x->past, x->past_n, &x->past_n);
}

enum err again_give(struct turn *x)
{
	struct assistant_turn *t = x->t;

	for (size_t i = 0; i < t->output_n; i++) {
		struct piece p;
		bool fine;

		TRY(read_piece(x->a, t->output[i], &p, &fine));
		p.item.call = p.item.kind == ITEM_MESSAGE ? NULL : &p.call;
		if (p.item.kind == ITEM_MESSAGE && p.item.id.n)
			t->message_id = p.item.id;
		if (p.item.kind == ITEM_MESSAGE && p.item.text.n && t->on_text)
			TRY(t->on_text(t->ctx, p.item.text));
		if (t->on_item)
			TRY(t->on_item(t->ctx, &p.item));
	}
	return OK;
}
