/* What a chat model answers, whole or in chunks, taken apart with suspicion (contracts: openai 9).
 *
 * Invariants
 *  1. A role, a call's id and its name may be repeated by a service: the first counts, they are never joined. Arguments are joined,
 *     per index; a fragment without an index belongs to the call with its id, else to the last one.
 *  2. Text and arguments together never exceed LLM_ANSWER_MAX, calls LLM_CALLS_MAX. */
#include "base/json/json.h"
#include "base/utf8.h"
#include "llm/impl.h"

enum { NODES_MAX = 200000 };

enum err chat_answer_init(struct chat_answer *w, struct arena *a)
{
	*w = (struct chat_answer){.a = a, .tokens_in = -1, .tokens_out = -1, .finish = LLM_CUT};
	buf_init(&w->text, a, LLM_ANSWER_MAX);
	return OK;
}

static enum err too_long(void)
{
	return err_set(E_LIMIT, "the model's answer has more than %zu bytes", LLM_ANSWER_MAX);
}

static enum err add_text(struct chat_answer *w, struct str s)
{
	if (w->text.n + w->bytes + s.n > LLM_ANSWER_MAX)
		return too_long();
	buf_str(&w->text, s);
	return w->text.err;
}

/* Content is a text, null, or a list of parts, of which the texts count. */
static enum err add_content(struct chat_answer *w, struct arena *scratch, struct jval content)
{
	struct jval part, text;

	if (j_is(content, JSON_STRING)) {
		struct str s = j_str(scratch, content);

		return s.p ? add_text(w, s) : E_NOMEM;
	}
	if (!j_is(content, JSON_ARRAY))
		return j_null(content) ? OK : err_set(E_CORRUPT, "the content of the answer is neither a text nor a list of parts");
	for (struct j_iter it = j_iter(content); j_next(&it, NULL, &part);) {
		text = j_get(part, STR("text"));
		if (!j_is(text, JSON_STRING) || !j_str_eq(j_get(part, STR("type")), STR("text")))
			continue;
		struct str s = j_str(scratch, text);
		if (!s.p)
			return E_NOMEM;
		TRY(add_text(w, s));
	}
	return OK;
}

/* ---------------------------------------------------------------- tool calls */

static enum err first_of(struct chat_answer *w, struct arena *scratch, struct jval v, struct str *to, size_t most)
{
	struct str s;

	if (to->n || !j_is(v, JSON_STRING))
		return OK;
	s = j_str(scratch, v);
	if (!s.p)
		return E_NOMEM;
	if (s.n > most)
		return err_set(E_CORRUPT, "the answer has a tool call whose name or id has more than %zu bytes", most);
	w->bytes += s.n;
	*to = arena_str(w->a, s);
	return to->p ? OK : E_NOMEM;
}

/* The call that a fragment belongs to, or a new one. */
static enum err call_of(struct chat_answer *w, struct jval fragment, bool whole, size_t *out)
{
	struct jval id = j_get(fragment, STR("id"));
	int64_t index = -1;

	if (!whole && !j_i64(j_get(fragment, STR("index")), &index))
		index = -1;
	for (size_t i = 0; !whole && i < w->calls_n; i++) {
		bool same = index >= 0 ? w->calls[i].index == index : j_is(id, JSON_STRING) && j_str_eq(id, w->calls[i].id);

		if (same) {
			*out = i;
			return OK;
		}
	}
	if (!whole && index < 0 && w->calls_n && !(j_is(id, JSON_STRING) && !j_str_eq(id, STR("")))) {
		*out = w->calls_n - 1;
		return OK;
	}
	if (w->calls_n == LLM_CALLS_MAX)
		return err_set(E_LIMIT, "the model wants more than %d tools called at once", LLM_CALLS_MAX);
	/* Most answers have none, and there may be thousands at a time. */
	if (!w->calls)
		w->calls = arena_array(w->a, LLM_CALLS_MAX, sizeof *w->calls);
	if (!w->calls)
		return E_NOMEM;
	*out = w->calls_n++;
	memset(&w->calls[*out], 0, sizeof w->calls[*out]);
	w->calls[*out].index = index >= 0 ? index : (int64_t)*out;
	buf_init(&w->calls[*out].arguments, w->a, LLM_ANSWER_MAX);
	return OK;
}

static enum err add_call(struct chat_answer *w, struct arena *scratch, struct jval fragment, bool whole)
{
	struct jval function = j_get(fragment, STR("function")), args;
	struct str s = {0};
	size_t i = 0;

	if (!j_is(fragment, JSON_OBJECT))
		return err_set(E_CORRUPT, "the answer has a tool call that is no object");
	TRY(call_of(w, fragment, whole, &i));
	TRY(first_of(w, scratch, j_get(fragment, STR("id")), &w->calls[i].id, 512));
	TRY(first_of(w, scratch, j_get(function, STR("name")), &w->calls[i].name, LLM_TOOL_NAME_MAX));
	args = j_get(function, STR("arguments"));
	if (j_null(args))
		return OK;
	/* Some servers send the object itself. */
	s = j_is(args, JSON_STRING) ? j_str(scratch, args) : j_raw(args);
	if (!s.p)
		return E_NOMEM;
	if (w->text.n + w->bytes + s.n > LLM_ANSWER_MAX)
		return too_long();
	w->bytes += s.n;
	buf_str(&w->calls[i].arguments, s);
	return w->calls[i].arguments.err;
}

static enum err add_calls(struct chat_answer *w, struct arena *scratch, struct jval list, bool whole)
{
	struct jval fragment;

	if (j_null(list))
		return OK;
	if (!j_is(list, JSON_ARRAY))
		return err_set(E_CORRUPT, "the tool calls of the answer are no list");
	for (struct j_iter it = j_iter(list); j_next(&it, NULL, &fragment);)
		TRY(add_call(w, scratch, fragment, whole));
	return OK;
}

/* ---------------------------------------------------------------- the rest */

static void read_finish(struct chat_answer *w, struct jval v)
{
	static const struct {
		const char *name;
		enum llm_finish finish;
	} names[] = {{"stop", LLM_STOP},	   {"length", LLM_LENGTH},	   {"tool_calls", LLM_CALLS},
		     {"function_call", LLM_CALLS}, {"content_filter", LLM_FILTER}, {"end_turn", LLM_STOP}};

	if (!j_is(v, JSON_STRING))
		return;
	w->finished = true;
	w->finish = LLM_STOP;
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		if (j_str_eq(v, str_c(names[i].name)))
			w->finish = names[i].finish;
}

static void read_usage(struct chat_answer *w, struct jval usage)
{
	int64_t n;

	if (j_i64(j_get(usage, STR("prompt_tokens")), &n) && n >= 0)
		w->tokens_in = n;
	if (j_i64(j_get(usage, STR("completion_tokens")), &n) && n >= 0)
		w->tokens_out = n;
}

/* Parses a value of an answer and takes out what whole answers and chunks have in common. */
static enum err open_value(struct chat_answer *w, struct arena *scratch, struct str text, struct json *doc, struct jval *choice)
{
	const struct json_limits lim = {.depth = 64, .nodes = NODES_MAX, .bytes = SSE_LINE_MAX * 2, .flags = JSON_DUP_OK};
	enum err e = json_parse(scratch, text, &lim, doc);
	struct jval root, list, model;
	struct j_iter it;

	*choice = (struct jval){0};
	if (e == E_INVALID)
		return err_set(E_UPSTREAM, "the answer is no JSON, or it was cut off");
	if (e == E_LIMIT)
		return err_set(E_CORRUPT, "the answer is nested too deeply or has too many values");
	TRY(e);
	root = json_root(doc);
	if (!j_is(root, JSON_OBJECT))
		return err_set(E_CORRUPT, "the answer is no JSON object");
	if (!j_null(j_get(root, STR("error"))))
		return err_set(E_UPSTREAM, "the model server reports an error");
	model = j_get(root, STR("model"));
	if (!w->model.n && j_is(model, JSON_STRING)) {
		w->model = arena_str(w->a, utf8_cut(j_str(scratch, model), 256));
		if (!w->model.p)
			return E_NOMEM;
	}
	read_usage(w, j_get(root, STR("usage")));
	list = j_get(root, STR("choices"));
	if (!j_is(list, JSON_ARRAY))
		return OK;
	it = j_iter(list);
	(void)j_next(&it, NULL, choice);
	return OK;
}

enum err chat_answer_whole(struct chat_answer *w, struct arena *scratch, struct str body)
{
	struct jval choice, message;
	struct json doc;

	TRY(open_value(w, scratch, body, &doc, &choice));
	message = j_get(choice, STR("message"));
	if (!j_is(message, JSON_OBJECT))
		return err_set(E_CORRUPT, "the answer has no choices[0].message");
	TRY(add_content(w, scratch, j_get(message, STR("content"))));
	TRY(add_calls(w, scratch, j_get(message, STR("tool_calls")), true));
	read_finish(w, j_get(choice, STR("finish_reason")));
	/* A whole answer is complete whether it says why it ended or not. */
	if (!w->finished)
		w->finish = LLM_STOP;
	w->finished = w->done = true;
	return OK;
}

enum err chat_answer_chunk(struct chat_answer *w, struct arena *scratch, struct str data, struct str *piece)
{
	size_t before = w->text.n;
	struct jval choice, delta;
	struct json doc;

	*piece = STR("");
	if (str_eq(str_trim(data), STR("[DONE]"))) {
		w->done = true;
		return OK;
	}
	TRY(open_value(w, scratch, data, &doc, &choice));
	if (!j_ok(choice))
		return OK; /* usage, or nothing */
	delta = j_get(choice, STR("delta"));
	TRY(add_content(w, scratch, j_get(delta, STR("content"))));
	TRY(add_calls(w, scratch, j_get(delta, STR("tool_calls")), false));
	read_finish(w, j_get(choice, STR("finish_reason")));
	if (w->text.n > before)
		*piece = str_of(w->text.p + before, w->text.n - before);
	return OK;
}

enum err chat_answer_end(struct chat_answer *w, struct llm_answer *out)
{
	struct llm_call *calls = ARENA_ARRAY(w->a, struct llm_call, w->calls_n + 1);

	if (!calls)
		return E_NOMEM;
	*out = (struct llm_answer){.text = buf_slice(&w->text),
				   .calls = calls,
				   .finish = w->finish,
				   .tokens_in = w->tokens_in,
				   .tokens_out = w->tokens_out,
				   .model = w->model};
	if (!out->text.p)
		out->text = STR("");
	for (size_t i = 0; i < w->calls_n; i++) {
		struct llm_call *c = &calls[i];

		*c = (struct llm_call){w->calls[i].id, w->calls[i].name, buf_slice(&w->calls[i].arguments)};
		if (!c->name.n)
			return err_set(E_CORRUPT, "the answer has a tool call without a name");
		if (!c->id.n)
			c->id = arena_printf(w->a, "call_%zu", i);
		if (!c->arguments.n)
			c->arguments = STR("{}");
		if (!c->id.p)
			return E_NOMEM;
		out->calls_n++; /* after an error there are those before it */
	}
	if (w->finished && w->calls_n && out->finish == LLM_STOP)
		out->finish = LLM_CALLS;
	return OK;
}
