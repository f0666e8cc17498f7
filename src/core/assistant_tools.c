/* The answer of a turn: the model is asked, the tools of ours that it wants called are called, and it is asked again with what they
 * answered, until it answers without them.
 *
 * Invariants
 *  1. Calls of one answer are made one after the other, in their order. Each has an output before the next answer is asked for,
 *     whatever becomes of it: what fails, does not fit, or is unknown is told to the model.
 *  2. Calls of the caller's tools end the turn; those of ours beside them have been made by then.
 *  3. After max_steps answers with calls of ours the model is asked once more without any tools, and that is the end.
 *  4. What was done is kept, whatever happened to the request: its writes are shielded from the cancellation and the deadline. A
 *     thread never has a call of ours without its output.
 *  5. While a streamed answer is made, an entry stands in the thread for it, whose status is incomplete; it goes in the transaction
 *     that brings the answer, or when there is none. A client never sees a word of an answer of which the thread knows nothing.
 *  6. A tool is called as the principal of the turn, and gets nothing else that says who asks. */
#include <stdatomic.h>

#include "base/log.h"
#include "base/utf8.h"
#include "core/assistant_impl.h"
#include "rt/wait.h"

enum { CALLS_MAX = 32, NAMES_SHOWN = 20 };

static const struct json_limits tools_limits = {.depth = 64, .nodes = 200000, .bytes = (size_t)16 << 20, .flags = JSON_DUP_OK};
static const struct json_limits arguments_limits = {.depth = 32, .nodes = 20000, .bytes = TOOL_ARGUMENTS_MAX, .flags = 0};

static _Atomic uint64_t tool_calls, tool_failures;

struct answering {
	struct turn *x;
	struct toolbox others[TOOL_SOURCES_MAX]; /* what the sources have; held while the turn lasts */
	const struct tool **box;		 /* that are offered */
	size_t box_n;
	struct str *theirs; /* names of the caller's tools */
	size_t theirs_n;
	struct str tools; /* of both, for the model */
	size_t kept;	  /* items of the output that are in the store, or need not be */
	bool more;	  /* another answer will follow those */
};

/* -------------------------------------------------------------------- offering */

static enum err read_theirs(struct answering *w)
{
	struct turn *x = w->x;
	struct jval tool;
	struct json doc;

	if (!x->t->tools.n)
		return OK;
	TRY(json_parse(x->a, x->t->tools, &tools_limits, &doc));
	if (!j_is(json_root(&doc), JSON_ARRAY))
		return err_field(E_INVALID, "/tools", -1, "tools must be a list");
	w->theirs = ARENA_ARRAY(x->a, struct str, j_node(json_root(&doc))->count + 1);
	if (!w->theirs)
		return E_NOMEM;
	for (struct j_iter it = j_iter(json_root(&doc)); j_next(&it, NULL, &tool);) {
		struct jval kind = j_get(tool, STR("type")), f, name;

		f = j_is(kind, JSON_STRING) ? j_get(tool, j_str(x->a, kind)) : (struct jval){NULL, 0};
		name = j_ok(f) ? j_get(f, STR("name")) : j_get(tool, STR("name"));
		if (j_is(name, JSON_STRING))
			w->theirs[w->theirs_n++] = j_str(x->a, name);
	}
	return OK;
}

static bool is_theirs(const struct answering *w, struct str name)
{
	for (size_t i = 0; i < w->theirs_n; i++)
		if (str_eq(w->theirs[i], name))
			return true;
	return false;
}

static void choose(struct answering *w, const struct toolbox *from)
{
	for (size_t i = 0; i < from->n; i++)
		if ((w->x->who.user.n || !from->v[i]->of_user) && !is_theirs(w, from->v[i]->name))
			w->box[w->box_n++] = from->v[i];
}

/* Where both have a name it is the caller's. */
static enum err offer(struct answering *w)
{
	struct turn *x = w->x;
	const struct toolbox *all = &x->as->opt.tools;
	size_t n = all->n;
	struct buf b;

	w->tools = x->t->tools;
	for (size_t i = 0; i < x->as->opt.more_tools_n; i++)
		n += w->others[i].n;
	if (x->t->no_toolbox || !x->as->opt.max_steps || !n)
		return OK;
	TRY(read_theirs(w));
	w->box = ARENA_ARRAY(x->a, const struct tool *, n);
	if (!w->box)
		return E_NOMEM;
	choose(w, all);
	for (size_t i = 0; i < x->as->opt.more_tools_n; i++)
		choose(w, &w->others[i]);
	if (!w->box_n)
		return OK;
	buf_init(&b, x->a, (size_t)32 << 20);
	buf_str(&b, w->theirs_n ? str_sub(x->t->tools, 0, x->t->tools.n - 1) : STR("["));
	for (size_t i = 0; i < w->box_n; i++) {
		buf_lit(&b, i || w->theirs_n ? "," : "");
		tool_write(w->box[i], &b);
	}
	buf_byte(&b, ']');
	w->tools = buf_slice(&b);
	return b.err;
}

/* ------------------------------------------------------------------- asking */

/* The parameters for this answer: which tool to choose is said for the first one, and without tools nothing is. */
static enum err params(const struct answering *w, bool last, struct llm_request *rq)
{
	const struct assistant_turn *t = w->x->t;
	struct llm_param *v = ARENA_ARRAY(w->x->a, struct llm_param, t->params_n + 1);

	if (!v)
		return E_NOMEM;
	rq->params = v;
	rq->params_n = 0;
	for (size_t i = 0; i < t->params_n; i++) {
		bool choice = strcmp(t->params[i].name, "tool_choice") == 0;

		if (t->steps && choice && !str_eq(t->params[i].json, STR("\"auto\"")))
			continue;
		if (last && (choice || strcmp(t->params[i].name, "parallel_tool_calls") == 0))
			continue;
		v[rq->params_n++] = t->params[i];
	}
	return OK;
}

/* The parts of the turn's answer that add up. */
static enum err add_up(struct answering *w, const struct llm_answer *one)
{
	struct llm_answer *sum = &w->x->t->answer;

	sum->finish = one->finish;
	if (one->model.n)
		sum->model = one->model;
	if (one->tokens_in >= 0)
		sum->tokens_in = (sum->tokens_in < 0 ? 0 : sum->tokens_in) + one->tokens_in;
	if (one->tokens_out >= 0)
		sum->tokens_out = (sum->tokens_out < 0 ? 0 : sum->tokens_out) + one->tokens_out;
	if (!one->text.n)
		return OK;
	sum->text = sum->text.n ? item_joined(w->x->a, sum->text, "\n\n", one->text) : one->text;
	return sum->text.p ? OK : E_NOMEM;
}

static enum err ask_once(struct answering *w, bool last, struct llm_answer *out)
{
	struct turn *x = w->x;
	struct assistant_turn *t = x->t;
	struct llm_request rq = {.messages = x->prompt.v,
				 .n = x->prompt.n,
				 .tools = last ? STR("") : w->tools,
				 .on_text = t->on_text,
				 .ctx = t->ctx};

	*out = (struct llm_answer){.text = STR(""), .finish = LLM_CUT, .tokens_in = -1, .tokens_out = -1};
	TRY(params(w, last, &rq));
	enum err e = trace_chat(trace_root(t->trace), x->a, x->as->opt.llm, &rq, out);
	struct diag d = *diag_get();
	enum err summed = add_up(w, out);

	t->steps++;
	if (e == OK)
		return summed;
	*diag_get() = d;
	return e;
}

/* Some servers refuse every request with tools: then the turn goes on without ours. */
static enum err ask(struct answering *w, bool last, struct llm_answer *out)
{
	enum err e = ask_once(w, last, out);
	struct str why;

	if (e != E_INVALID || diag_get()->kind == ERR_SIZE || w->x->t->steps > 1 || !w->box_n || w->theirs_n)
		return e;
	why = arena_str(w->x->a, str_c(diag_get()->text));
	w->box_n = 0;
	w->x->t->steps = 0;
	TRY(ask_once(w, true, out));
	LOG(LOG_WARN, "core.assistant", "the model answers only without tools; tools.max_steps=0 offers none",
	    LF_STR("detail", why.p ? why : STR("")));
	return OK;
}

/* ------------------------------------------------------------------- output */

static enum err put_item(struct answering *w, const struct assistant_item *it)
{
	struct assistant_turn *t = w->x->t;
	size_t n = t->output_n;

	if ((n & (n - 1)) == 0) { /* full at each power of two */
		t->output = arena_grow(w->x->a, t->output, n * sizeof *t->output, (n ? 2 * n : 1) * sizeof *t->output);
		if (!t->output)
			return E_NOMEM;
	}
	t->output[t->output_n++] = it->json;
	return OK;
}

static enum err show(struct answering *w, const struct assistant_item *it)
{
	struct assistant_turn *t = w->x->t;

	return t->on_item ? t->on_item(t->ctx, it) : OK;
}

static enum err append_output(void *arg)
{
	struct answering *w = arg;
	struct entry_append add = {.thread = STR("")};
	struct assistant_turn *t = w->x->t;
	size_t n = t->output_n - w->kept, was = t->added_n;

	t->added = arena_grow(w->x->a, t->added, was * sizeof *t->added, (was + n) * sizeof *t->added);
	if (!t->added)
		return E_NOMEM;
	TRY(turn_append(w->x, t->output + w->kept, n, w->more, &add));
	for (size_t i = 0; i < n; i++)
		t->added[t->added_n++] = add.v[i].id;
	return OK;
}

/* so_far: what the turn has come to; more: it goes on. */
static enum err keep(struct answering *w, enum err so_far, bool more)
{
	struct turn *x = w->x;
	struct diag d = *diag_get();
	enum err e = OK;

	w->more = more && so_far == OK;
	if (w->kept < x->t->output_n && x->t->thread.n && x->t->keep && x->kept) {
		e = wait_shielded(turn_last_write(x), append_output, w);
		if (so_far == OK)
			e = turn_go_on(x, e);
		w->kept = x->t->output_n;
	}
	if (so_far == OK)
		return e;
	if (e != OK)
		LOG(LOG_WARN, "core.assistant", "what there was of an answer could not be kept", LF_C("error", err_name(e)));
	*diag_get() = d;
	return so_far;
}

/* Of an answer that broke off the text is kept; its calls may lack their end. */
static enum err broke_off(struct answering *w, const struct llm_answer *answer, enum err why)
{
	struct turn *x = w->x;
	struct assistant_item it = {.json = {NULL, 0}};
	struct diag d = *diag_get();

	if (answer->text.n) {
		TRY(item_message(x->a, answer, x->t->message_id, &it));
		TRY(put_item(w, &it));
		turn_broken_off();
	}
	*diag_get() = d;
	return keep(w, why, false);
}

/* ------------------------------------------------------------------- calling */

static struct str names(const struct answering *w)
{
	struct buf b;

	buf_init(&b, w->x->a, 16384);
	for (size_t i = 0; i < w->box_n && i < NAMES_SHOWN; i++)
		buf_printf(&b, "%s%.*s", i ? ", " : "", STR_ARG(w->box[i]->name));
	for (size_t i = 0; i < w->theirs_n && i < NAMES_SHOWN; i++)
		buf_printf(&b, ", %.*s", STR_ARG(str_sub(w->theirs[i], 0, TOOL_NAME_MAX)));
	return buf_slice(&b);
}

static enum err read_arguments(struct turn *x, const struct tool *tool, struct str text, struct json *out)
{
	struct json schema;
	enum err e;

	if (!str_trim(text).n)
		text = STR("{}");
	e = json_parse(x->a, text, &arguments_limits, out);

	if (e != OK)
		return err_wrap(e, "the arguments are no JSON");
	if (!j_is(json_root(out), JSON_OBJECT))
		return err_set(E_INVALID, "the arguments must be a JSON object");
	TRY(json_parse(x->a, tool->parameters, &tools_limits, &schema));
	return tool_schema_fits(x->a, json_root(&schema), json_root(out));
}

static enum err call_tool(struct turn *x, const struct tool *tool, struct str text, struct trace_span *span, struct str *answer)
{
	uint32_t ms = tool->timeout_ms ? tool->timeout_ms : x->as->opt.tool_timeout_ms;
	struct json arguments;
	uint64_t before;
	enum err e;

	TRY(read_arguments(x, tool, text, &arguments));
	before = wait_within(deadline_in_ms(ms));
	e = tool->ops->call(tool, x->a, &x->who, json_root(&arguments), span, answer);
	wait_restore(before);
	/* The turn's own deadline is another matter; then the next wait says so. */
	if (e == E_TIMEOUT && !wait_expired())
		return err_set(E_TIMEOUT, "it did not answer within %u ms", ms);
	return e;
}

static struct str bounded(struct turn *x, struct str s)
{
	size_t most = x->as->opt.tool_result;
	struct str head = utf8_cut(s, most);

	return s.n <= most ? s : arena_printf(x->a, "%.*s\n[cut after %zu bytes]", STR_ARG(head), head.n);
}

/* What the model is told; only what ends the turn is an error. */
static enum err answer_of(struct answering *w, const struct llm_call *c, struct str *out)
{
	const struct toolbox box = {w->box, w->box_n};
	const struct tool *tool = toolbox_find(&box, c->name);
	struct turn *x = w->x;
	enum err e;

	x->t->calls_n++;
	atomic_fetch_add_explicit(&tool_calls, 1, memory_order_relaxed);
	*out = STR("");
	struct trace_span *s = trace_tool(x->t->trace, c);
	if (tool)
		e = call_tool(x, tool, c->arguments, s, out);
	else
		e = err_set(E_NOT_FOUND, "there is no such tool; there are %.*s", STR_ARG(str_sub(names(w), 0, 300)));
	(void)trace_tooled(s, e, *out);
	if (e == E_CANCELLED || (e == E_TIMEOUT && wait_expired()))
		return e;
	if (e == OK) {
		*out = bounded(x, *out);
		return out->p ? OK : E_NOMEM;
	}
	atomic_fetch_add_explicit(&tool_failures, 1, memory_order_relaxed);
	LOG(LOG_INFO, "core.assistant", "a tool failed", LF_STR("tool", tool ? tool->name : STR("unknown")),
	    LF_C("error", err_name(e)));
	*out = arena_printf(x->a, "Error: %.*s: %s", STR_ARG(str_sub(c->name, 0, TOOL_NAME_MAX)), diag_get()->text);
	return out->p ? OK : E_NOMEM;
}

/* ------------------------------------------------------------------- a step */

/* What is no tool of the caller's is for us to answer, be it only that there is none. */
static bool is_ours(const struct answering *w, const struct llm_call *c)
{
	return w->box_n && !is_theirs(w, c->name);
}

/* Items of the answer: what it says, and its calls. */
static enum err put_answer(struct answering *w, const struct llm_answer *answer, struct assistant_item *items, size_t *n)
{
	struct turn *x = w->x;

	*n = 0;
	/* An answer that is empty is one, too, unless it is made of calls. */
	if (answer->text.n || !answer->calls_n)
		TRY(item_message(x->a, answer, x->t->message_id, &items[(*n)++]));
	for (size_t i = 0; i < answer->calls_n; i++) {
		struct assistant_item *it = &items[(*n)++];

		*it = (struct assistant_item){.call = &answer->calls[i], .ours = is_ours(w, &answer->calls[i])};
		TRY(item_call(x->a, it));
	}
	for (size_t i = 0; i < *n; i++)
		TRY(put_item(w, &items[i]));
	return OK;
}

static enum err put_result(struct answering *w, const struct llm_call *c, struct str text, struct assistant_item *it)
{
	*it = (struct assistant_item){.call = c, .text = text, .ours = true};
	TRY(item_output(w->x->a, it));
	return put_item(w, it);
}

/* Makes the calls of ours, unless something has gone wrong before (e). After an error the rest of them has an output, too, that
 * says so. */
static enum err make_calls(struct answering *w, const struct assistant_item *items, size_t n, enum err e, struct llm_message *m,
			   size_t *results)
{
	*results = 0;
	for (size_t i = 0, made = 0; i < n; i++) {
		struct assistant_item out;
		struct str text;

		if (items[i].kind != ITEM_CALL || !items[i].ours)
			continue;
		if (e != OK)
			text = STR("The call was not made: the request was given up before.");
		else if (w->x->t->max_calls && w->x->t->calls_n >= w->x->t->max_calls)
			text = STR("The call was not made: the request allows no more calls of tools.");
		else if (made++ >= CALLS_MAX)
			text = STR("The call was not made: an answer may have 32 calls.");
		else if ((e = answer_of(w, items[i].call, &text)) != OK)
			text = STR("The request was given up during this call; whether it has had an effect is not known.");
		struct diag d = *diag_get();
		TRY(put_result(w, items[i].call, text, &out));
		*diag_get() = d;
		m[*results] = (struct llm_message){.role = LLM_TOOL, .call_id = items[i].call->id};
		m[*results].text = prompt_result(turn_room(w->x), items[i].call->name, text);
		if (!m[(*results)++].text.p)
			return E_NOMEM;
		if (e == OK)
			e = show(w, &out);
	}
	return e;
}

/* Calls as they go back to the model: some services read the arguments, and refuse what is no object. */
static enum err calls_again(struct turn *x, const struct llm_answer *answer, struct llm_message *out)
{
	struct llm_call *v = ARENA_ARRAY(x->a, struct llm_call, answer->calls_n + 1);

	if (!v)
		return E_NOMEM;
	for (size_t i = 0; i < answer->calls_n; i++) {
		v[i] = answer->calls[i];
		v[i].arguments = prompt_arguments(x->a, v[i].arguments);
		if (!v[i].arguments.p)
			return E_NOMEM;
	}
	*out = (struct llm_message){.role = LLM_ASSISTANT, .text = answer->text, .calls = v, .calls_n = answer->calls_n};
	return OK;
}

/* The calls of an answer that are ours are made; what comes next then knows their outputs. */
static enum err step(struct answering *w, const struct llm_answer *answer)
{
	struct turn *x = w->x;
	struct prompt *p = &x->prompt;
	struct assistant_item *items = ARENA_ARRAY(x->a, struct assistant_item, answer->calls_n + 1);
	struct llm_message *v = ARENA_ARRAY(x->a, struct llm_message, p->n + answer->calls_n + 1);
	size_t n, results;
	enum err e = OK;

	if (!items || !v)
		return E_NOMEM;
	memset(items, 0, (answer->calls_n + 1) * sizeof *items);
	memcpy(v, p->v, p->n * sizeof *v);
	TRY(put_answer(w, answer, items, &n));
	TRY(calls_again(x, answer, &v[p->n]));
	for (size_t i = 0; i < n && e == OK; i++)
		e = show(w, &items[i]);
	e = make_calls(w, items, n, e, v + p->n + 1, &results);
	/* What is said next is another message. */
	if (answer->text.n && !(x->t->message_id = item_id(x->a, "msg")).p && e == OK)
		e = E_NOMEM;
	TRY(keep(w, e, !x->t->answer.calls_n));
	p->v = v;
	p->n += 1 + results;
	return OK;
}

/* The answer as the last one; its calls are the caller's. */
static enum err finish(struct answering *w, const struct llm_answer *answer)
{
	struct turn *x = w->x;
	struct assistant_item *items = ARENA_ARRAY(x->a, struct assistant_item, answer->calls_n + 1);
	size_t n;

	if (!items)
		return E_NOMEM;
	memset(items, 0, (answer->calls_n + 1) * sizeof *items);
	TRY(put_answer(w, answer, items, &n));
	TRY(keep(w, OK, false));
	for (size_t i = 0; i < n; i++)
		TRY(show(w, &items[i]));
	return OK;
}

static bool has_id(const struct llm_call *v, size_t n, struct str id)
{
	for (size_t i = 0; i < n; i++)
		if (str_eq(v[i].id, id))
			return true;
	return false;
}

/* Sorts the calls: the caller's go into the turn's answer. Those of ours get ids that the turn has not had, since some services
 * count them anew in each answer, or give all of one answer the same. */
static enum err sort_calls(struct answering *w, struct llm_answer *answer, size_t *ours)
{
	struct turn *x = w->x;
	struct llm_call *all = ARENA_ARRAY(x->a, struct llm_call, answer->calls_n + 1),
			*theirs = ARENA_ARRAY(x->a, struct llm_call, answer->calls_n + 1);
	size_t n = 0;

	if (!all || !theirs)
		return E_NOMEM;
	*ours = 0;
	for (size_t i = 0; i < answer->calls_n; i++) {
		all[i] = answer->calls[i];
		if (!is_ours(w, &all[i])) {
			theirs[n++] = all[i];
			continue;
		}
		(*ours)++;
		if ((x->t->steps > 1 || has_id(all, i, all[i].id)) && !(all[i].id = item_id(x->a, "call")).p)
			return E_NOMEM;
	}
	answer->calls = all;
	x->t->answer.calls = theirs;
	x->t->answer.calls_n = n;
	if (n)
		x->t->answer.finish = LLM_CALLS;
	return OK;
}

/* A model that goes on calling though it has been offered nothing any more. */
static enum err end_of_steps(struct answering *w, struct llm_answer *answer)
{
	struct assistant_turn *t = w->x->t;

	answer->calls_n = 0;
	if (answer->finish == LLM_CALLS)
		answer->finish = LLM_STOP;
	t->answer.finish = answer->finish;
	if (answer->text.n)
		return OK;
	answer->text = arena_printf(w->x->a, "There is no answer: the model was still calling tools after %u rounds of calls.",
				    w->x->as->opt.max_steps);
	if (!answer->text.p)
		return E_NOMEM;
	t->answer.text = t->answer.text.n ? item_joined(w->x->a, t->answer.text, "\n\n", answer->text) : answer->text;
	if (!t->answer.text.p)
		return E_NOMEM;
	return t->on_text ? t->on_text(t->ctx, answer->text) : OK;
}

static enum err go_through(struct answering *w)
{
	struct turn *x = w->x;

	TRY(offer(w));
	for (;;) {
		bool last = w->box_n && x->t->steps == x->as->opt.max_steps;
		struct llm_answer answer;
		size_t ours = 0;
		enum err e = ask(w, last, &answer);

		if (e == OK && last)
			e = end_of_steps(w, &answer);
		if (e != OK)
			return broke_off(w, &answer, e);
		TRY(sort_calls(w, &answer, &ours));
		if (!ours)
			return finish(w, &answer);
		TRY(step(w, &answer));
		if (x->t->answer.calls_n)
			return OK;
	}
}

enum err turn_answer(struct turn *x)
{
	struct tool_source *const *more = x->as->opt.more_tools;
	size_t n = x->t->no_toolbox || !x->as->opt.max_steps ? 0 : x->as->opt.more_tools_n;
	struct answering w = {.x = x};
	void *held[TOOL_SOURCES_MAX];
	struct diag d;
	enum err e;

	for (size_t i = 0; i < n; i++)
		w.others[i] = more[i]->hold(more[i], &held[i]);
	e = go_through(&w);
	d = *diag_get();
	for (size_t i = 0; i < n; i++)
		more[i]->let_go(more[i], held[i]);
	*diag_get() = d;
	return e;
}

/* ------------------------------------------------------------------- metrics */

void tools_metrics(struct buf *out)
{
	buf_printf(out,
		   "# HELP cenote_assistant_tool_calls_total Calls of tools that were made within turns.\n"
		   "# TYPE cenote_assistant_tool_calls_total counter\n"
		   "cenote_assistant_tool_calls_total %llu\n"
		   "# HELP cenote_assistant_tool_failures_total Those that failed, did not fit, or named no tool.\n"
		   "# TYPE cenote_assistant_tool_failures_total counter\n"
		   "cenote_assistant_tool_failures_total %llu\n",
		   (unsigned long long)atomic_load(&tool_calls), (unsigned long long)atomic_load(&tool_failures));
}
