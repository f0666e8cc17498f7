/* The turn of a conversation; see assistant.h for its steps.
 *
 * Invariants
 *  1. Everything is done as one principal: who asked, as the user of the turn. What that principal cannot see is neither loaded nor
 *     recalled.
 *  2. A failing store makes a turn stateless, a failing recall makes it one without memories; neither ends it. A refusal (rights,
 *     names, wrong items) ends it before anything is kept.
 *  3. What was answered is kept, whatever happened to the request (assistant_tools.c).
 *  4. A turn waits once for a store that does not answer; after that it leaves the store alone until its end. Then it tries, for a
 *     moment, to keep what came and what was answered. */
#include "core/assistant_impl.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/log.h"
#include "core/entity.h"
#include "core/parse.h"
#include "core/thread.h"
#include "rt/wait.h"

static _Atomic uint64_t turns, failures, stateless, broken_off;

enum err assistant_new(const struct assistant_options *opt, struct assistant **out)
{
	struct assistant *as = calloc(1, sizeof *as);

	if (!as)
		return err_set(E_LIMIT, "out of memory");
	arena_init(&as->arena, (size_t)1 << 20);
	as->opt = *opt;
	as->opt.system_prompt = arena_str(&as->arena, opt->system_prompt);
	if (!as->opt.system_prompt.p) {
		assistant_free(as);
		return E_NOMEM;
	}
	*out = as;
	return OK;
}

void assistant_free(struct assistant *as)
{
	if (!as)
		return;
	arena_release(&as->arena);
	free(as);
}

struct str assistant_model(const struct assistant *as, const char **why)
{
	*why = as->opt.why;
	return as->opt.llm ? as->opt.llm->model : str_of(NULL, 0);
}

bool assistant_keeps(const struct assistant *as)
{
	return !as->opt.no_threads;
}

/* ------------------------------------------------------------- without memory */

bool assistant_outage(enum err e)
{
	return e == E_IO || e == E_UPSTREAM || e == E_TIMEOUT || e == E_CORRUPT || (e == E_BUSY && diag_get()->kind != ERR_LOCKED);
}

static enum err without_memory(struct turn *x, const char *error, struct str why)
{
	if (x->t->stateless.n)
		return OK;
	x->t->stateless = arena_printf(x->a, "Memory unavailable, using stateless mode: %.*s", STR_ARG(why));
	if (!x->t->stateless.p)
		return E_NOMEM;
	atomic_fetch_add_explicit(&stateless, 1, memory_order_relaxed);
	LOG(LOG_WARN, "core.assistant", "Memory unavailable, using stateless mode", LF_C("error", error), LF_STR("detail", why));
	return OK;
}

enum err turn_go_on(struct turn *x, enum err e)
{
	if (!assistant_outage(e))
		return e;
	x->away |= e != E_CORRUPT; /* which is an answer, and a quick one */
	return without_memory(x, err_name(e), str_c(diag_get()->text));
}

uint64_t turn_last_write(const struct turn *x)
{
	return deadline_in_ms(!x->away ? LAST_WRITE_MS : x->kept ? LATE_ANSWER_MS : LATE_MS);
}

/* ------------------------------------------------------------------- history */

static enum err become_user(struct turn *x, const struct principal *who)
{
	x->who = *who;
	if (!x->t->user.n || str_eq(x->t->user, who->user))
		return OK;
	if (who->user_bound)
		return err_field(E_DENIED, "user", -1, "the key belongs to another user than the one that is named");
	x->who.user = x->t->user;
	return OK;
}

/* Some entries are no messages for a model. */
static size_t history_limit(const struct turn *x)
{
	return 2 * (size_t)x->as->opt.max_history + x->t->items_n;
}

static enum err find_fresh(void *arg)
{
	struct turn *x = arg;
	struct arena keys;
	struct resent found;
	enum err e;

	arena_init(&keys, TURN_ROOM);
	e = resent_count(&keys, x->past, x->past_all, x->past_more, x->t->items, x->t->items_n, &found);
	arena_release(&keys);
	TRY(e);
	x->fresh = found.had;
	x->past_n = found.upto;
	x->answered = found.again;
	return OK;
}

static enum err load_recent(struct turn *x)
{
	size_t limit = history_limit(x);

	TRY(entries_recent(x->as->opt.memory, &x->room, &x->who, x->t->thread, x->t->upto, limit, HISTORY_BYTES, &x->past,
			   &x->past_all, &x->past_full));
	x->past_more = x->past_full || x->past_all == limit;
	return OK;
}

/* Most conversations have room in the request's own arena, and a block of another one would be as much as all of them. */
static enum err move_in(struct turn *x)
{
	struct session_entry *v = ARENA_ARRAY(x->a, struct session_entry, x->past_all + 1);

	if (!v)
		return E_NOMEM;
	for (size_t i = 0; i < x->past_all; i++) {
		v[i] = x->past[i];
		v[i].data = arena_str(x->a, x->past[i].data);
		if (!v[i].data.p)
			return E_NOMEM;
	}
	x->past = v;
	arena_release(&x->room);
	arena_init(&x->room, TURN_ROOM);
	return OK;
}

static enum err load_history(struct turn *x)
{
	struct trace_span *s;
	uint64_t before;
	enum err e;

	if (x->t->away.n) {
		x->away = true;
		return without_memory(x, "away", x->t->away);
	}
	s = span_begin(x->t->trace, NULL, SPAN_MEMORY, STR("get"));
	before = assistant_step(x->as);
	e = span_end(s, assistant_stepped(x->as, before, load_recent(x)));
	TRY(turn_go_on(x, e));
	x->past_n = x->past_all;
	trace_counted(s, "cenote.messages", x->past_n);
	for (size_t i = 0; i < x->past_n; i++)
		x->bytes += x->past[i].data.n;
	if (turn_room(x) == x->a)
		TRY(move_in(x));
	return x->t->resent ? run_sized(x->bytes, find_fresh, x) : OK;
}

/* An answer that has nothing yet. */
static enum err stand_in(struct turn *x, struct str *json)
{
	const struct llm_answer nothing = {.text = STR(""), .finish = LLM_CUT};
	struct assistant_item it;

	TRY(item_message(x->a, &nothing, x->t->message_id, &it));
	*json = it.json;
	return OK;
}

enum err turn_append(struct turn *x, const struct str *items, size_t n, bool more, struct entry_append *add)
{
	bool streamed = more && x->t->on_text && !x->t->listen;
	struct trace_span *s;
	uint64_t before;
	enum err e;

	add->thread = x->t->thread;
	add->v = ARENA_ARRAY(x->a, struct session_entry, n + 1);
	add->n = n + streamed;
	add->instead = x->stand_in;
	add->same_call = x->t->once.n > 0; /* the answer to it is part of it */
	if (!add->v)
		return E_NOMEM;
	memset(add->v, 0, (n + 1) * sizeof *add->v);
	for (size_t i = 0; i < n; i++)
		add->v[i].data = items[i];
	if (streamed)
		TRY(stand_in(x, &add->v[n].data));
	s = span_begin(x->t->trace, NULL, SPAN_MEMORY, STR("save"));
	span_int(s, "cenote.messages", (int64_t)n);
	before = x->away ? wait_within(turn_last_write(x)) : assistant_step(x->as);
	e = entries_append(x->as->opt.memory, x->a, &x->who, add);
	if (x->away)
		wait_restore(before);
	else
		e = assistant_stepped(x->as, before, e);
	TRY(span_end(s, e));
	x->stand_in = streamed ? add->v[n].id : 0;
	return OK;
}

static enum err delete_stand_in(void *arg)
{
	struct turn *x = arg;

	return entries_delete(x->as->opt.memory, &x->who, x->t->thread, x->stand_in);
}

/* There will be no answer. */
static enum err without_answer(struct turn *x, enum err why)
{
	struct diag d = *diag_get();
	enum err e;

	if (why == OK || !x->stand_in)
		return why;
	e = wait_shielded(turn_last_write(x), delete_stand_in, x);
	if (e != OK && e != E_NOT_FOUND)
		LOG(LOG_WARN, "core.assistant", "an answer that will not come is still marked as incomplete",
		    LF_C("error", err_name(e)));
	*diag_get() = d;
	return why;
}

/* What came is in the store. */
static enum err note_came(struct turn *x, const struct entry_append *add)
{
	struct assistant_turn *t = x->t;
	size_t n = t->items_n - x->fresh;

	t->came = ARENA_ARRAY(x->a, int64_t, n + 1);
	if (!t->came)
		return E_NOMEM;
	for (t->came_n = 0; t->came_n < n; t->came_n++)
		t->came[t->came_n] = add->v[t->came_n].id;
	return OK;
}

/* The history has what came; be it since before it was loaded. */
static enum err came_before(struct turn *x)
{
	struct assistant_turn *t = x->t;

	x->fresh = t->items_n;
	if (t->fresh)
		TRY(load_history(x));
	for (size_t i = x->past_all; i > 0 && t->came_n; i--)
		if (x->past[i - 1].id == t->came[t->came_n - 1])
			return again_find(x, i);
	return OK;
}

/* All of it is there, with an answer. Is this the call that was answered so? Nothing is appended. */
static enum err ask_whether_again(struct turn *x)
{
	struct entry_append look = {.thread = x->t->thread, .once = x->t->once, .look = true, .must_exist = true};
	uint64_t before = assistant_step(x->as);
	enum err e = entries_append(x->as->opt.memory, x->a, &x->who, &look);

	e = assistant_stepped(x->as, before, e);
	return e == OK && look.repeated ? again_find(x, x->past_n) : e == E_NOT_FOUND ? OK : e;
}

/* That nothing can be noted is no error of the turn; but a store that does not answer is not waited for twice. */
static void note_turn(struct turn *x, const struct entry_append *add)
{
	const struct extract_turn_of of = {.thread = x->t->thread, .trace = x->t->trace};
	uint64_t before = assistant_step(x->as);
	enum err e = extract_note(x->as->opt.extract, x->a, &x->who, &of, add->v, add->n, &x->noted);

	(void)!turn_go_on(x, assistant_stepped(x->as, before, e));
}

/* more: an answer will follow. */
static enum err append_input(struct turn *x, bool more)
{
	const struct assistant_turn *t = x->t;
	struct entry_append add = {
		.once = t->once, .look = t->once.n && (t->again || x->tried), .behind = t->behind, .wants_empty = t->fresh};
	enum err e = turn_append(x, t->items + x->fresh, t->items_n - x->fresh, more, &add);

	/* To nobody is said that there is a thread of somebody else. */
	if (e == E_CONFLICT && !add.behind && !add.wants_empty)
		e = err_field(E_NOT_FOUND, "thread", -1, "there is no thread \"%.*s\"", STR_ARG(t->thread));
	x->kept = e == OK;
	x->tried = true;
	if (e == OK)
		e = note_came(x, &add);
	if (e == OK && add.repeated && !t->stateless.n)
		e = came_before(x);
	if (e == OK && !t->given)
		note_turn(x, &add);
	return e;
}

static enum err keep_input(struct turn *x)
{
	const struct assistant_turn *t = x->t;
	enum err e = OK;

	if (x->answered && t->again && t->once.n && !x->away) {
		TRY(turn_go_on(x, ask_whether_again(x)));
		x->kept = t->given;
		if (t->given)
			return OK;
	}
	if (t->items_n == x->fresh && (!t->on_text || t->listen)) {
		x->kept = !t->stateless.n;
		return OK;
	}
	if (!x->away) {
		e = append_input(x, true);
		if (e == OK && t->on_kept && t->came_n && !t->stateless.n) {
			uint64_t before = assistant_step(x->as);

			e = t->on_kept(t->ctx);
			e = assistant_stepped(x->as, before, e);
		}
		e = turn_go_on(x, e);
	}
	x->late = x->away && !x->kept;
	return e;
}

/* What was tried is repeated only where it can be seen that it has been done. */
static enum err keep_now(void *arg)
{
	struct turn *x = arg;
	struct assistant_turn *t = x->t;
	struct entry_append rest = {.thread = STR("")};

	if (x->tried && !t->resent && !t->once.n)
		return E_BUSY;
	if (t->resent) {
		TRY(load_recent(x));
		TRY(find_fresh(x));
	}
	if (t->items_n > x->fresh)
		TRY(append_input(x, x->tried && !t->resent));
	x->kept = true;
	return t->output_n ? turn_append(x, t->output, t->output_n, false, &rest) : OK;
}

/* The end of a turn for which the store was not there: it may be by now. */
static void keep_late(struct turn *x)
{
	struct diag d = *diag_get();
	enum err e;

	if (!x->late)
		return;
	e = wait_shielded(turn_last_write(x), keep_now, x);
	if (e == OK)
		LOG(LOG_INFO, "core.assistant", "the store answers again: the turn was kept");
	else
		LOG(LOG_WARN, "core.assistant", "a turn without memory was not kept", LF_C("error", err_name(e)));
	*diag_get() = d;
}

/* -------------------------------------------------------------------- prompt */

struct building {
	struct turn *x;
	size_t most; /* messages */
};

static enum err build_prompt(void *arg)
{
	const struct building *w = arg;
	struct turn *x = w->x;
	size_t n = x->past_n + x->t->items_n - x->fresh;
	struct arena *room = turn_room(x);
	struct str *all = ARENA_ARRAY(room, struct str, n + 1);

	if (!all)
		return E_NOMEM;
	for (size_t i = 0; i < x->past_n; i++)
		all[i] = x->past[i].data;
	for (size_t i = x->fresh; i < x->t->items_n; i++)
		all[x->past_n + i - x->fresh] = x->t->items[i];
	/* Without a thread the caller's conversation is all there is, and goes whole. */
	TRY(prompt_items(room, all, n, x->past_n, x->t->thread.n ? w->most : n, &x->prompt));
	x->prompt.cut |= x->past_full;
	if (x->t->thread.n && !x->t->fresh)
		TRY(prompt_within(&x->prompt, x->as->opt.history_tokens));
	return OK;
}

/* Who only listens has the question alone before him. */
static bool in_prompt(const struct turn *x, struct str text)
{
	for (size_t i = x->t->listen ? x->prompt.n - 1 : 1; i < x->prompt.n; i++)
		if (str_eq(x->prompt.v[i].text, text))
			return true;
	return false;
}

/* Messages of the user's threads, and items that lie below the user's own namespace. A stranger has neither: what is nobody's would
 * be everybody's. */
static enum err ask_memory(struct turn *x, struct trace_span *span, struct recall_hit **hits, size_t *n)
{
	struct str ns = user_namespace(x->a, x->who.user);
	/* More than wanted, for those that the prompt has anyway. */
	uint64_t more = (uint64_t)x->as->opt.recall_limit + x->prompt.n, limit = more < RECALL_LIMIT_MAX ? more : RECALL_LIMIT_MAX;
	const struct recall_request rq = {
		.query = arena_str(x->a, x->prompt.question), /* hits may point into it */
		.user = &x->who.user,
		.namespaces = &ns,
		.namespaces_n = 1,
		.limit = (uint32_t)limit,
		.mode = RANK_AUTO,
		.span = span,
		.explain = x->t->explain,
	};

	*n = 0;
	if (!ns.p || !rq.query.p)
		return E_NOMEM;
	return recall(x->as->opt.memory, x->a, &x->who, &rq, hits, n);
}

static enum err ask_memory_traced(struct turn *x, struct recall_hit **hits, size_t *n)
{
	struct trace_span *s = trace_recall(x->step, x->prompt.question, x->as->opt.recall_limit);
	uint64_t before = assistant_step(x->as);
	*hits = NULL;
	enum err e = ask_memory(x, s, hits, n);

	e = assistant_stepped(x->as, before, e);
	return trace_recalled(s, x->a, e, *hits, *n);
}

static enum err remember(struct turn *x)
{
	const struct assistant_options *o = &x->as->opt;
	struct assistant_turn *t = x->t;
	struct recall_hit *hits;
	uint64_t tokens = 0;
	size_t n;

	if (!o->recall_limit || !x->prompt.question.n || !x->who.user.n || t->stateless.n)
		return OK;
	TRY(turn_go_on(x, ask_memory_traced(x, &hits, &n)));
	t->memories = hits;
	entity_named_first(x->a, x->prompt.question, hits, n);
	for (size_t i = 0; i < n && t->memories_n < o->recall_limit; i++) {
		if (hits[i].is_item)
			hits[i].item.value = entity_brief(x->a, &hits[i].item);
		struct str text = hits[i].is_item ? hits[i].item.value : hits[i].message.content;
		uint32_t cost = recall_tokens(text);

		if ((!hits[i].is_item && in_prompt(x, text)) || (o->recall_tokens && tokens + cost > o->recall_tokens))
			continue;
		tokens += cost;
		t->memories[t->memories_n++] = hits[i];
	}
	return OK;
}

/* ---------------------------------------------------------------------- turn */

static enum err check_items(void *arg)
{
	struct turn *x = arg;
	struct prompt only;
	struct arena a;
	enum err e;

	arena_init(&a, TURN_ROOM);
	e = prompt_items(&a, x->t->items, x->t->items_n, 0, x->t->items_n, &only);
	arena_release(&a);
	return e;
}

static enum err check(struct turn *x)
{
	struct assistant_turn *t = x->t;

	if (!x->as->opt.llm && !t->listen)
		return err_field(E_NOT_FOUND, "model", -1, "there is no model to answer: %s", x->as->opt.why);
	if (t->items_n < 1 || t->items_n > ASSISTANT_ITEMS_MAX)
		return err_field(E_INVALID, "/input", -1, "a turn takes 1 to %d items, this one has %zu", ASSISTANT_ITEMS_MAX,
				 t->items_n);
	if (t->thread.n)
		TRY(thread_check(t->thread, "thread"));
	for (size_t i = 0; i < t->items_n; i++)
		x->bytes += t->items[i].n;
	return run_sized(x->bytes, check_items, x);
}

static enum err put_together(struct turn *x, size_t most)
{
	struct assistant_turn *t = x->t;
	struct building w = {x, most};

	TRY(run_sized(x->bytes, build_prompt, &w));
	TRY(turn_summary(x));
	if (!t->memories)
		TRY(remember(x));
	return prompt_system(&x->prompt, t->instructions.p ? t->instructions : x->as->opt.system_prompt, t->memories,
			     t->memories_n);
}

/* The prompt with at most so many messages. */
static enum err prepare(struct turn *x, size_t most)
{
	x->step = span_begin(x->t->trace, NULL, SPAN_CHAIN, STR("prompt"));
	return trace_prompted(x, put_together(x, most));
}

static enum err steps(struct turn *x)
{
	struct assistant_turn *t = x->t;
	size_t most;
	enum err e;

	TRY(check(x));
	if (t->thread.n && !t->fresh)
		TRY(load_history(x));
	if (t->thread.n && t->keep)
		TRY(keep_input(x));
	if (t->given)
		return again_give(x);
	TRY(prepare(x, t->fresh ? t->items_n : x->as->opt.max_history));
	if (t->listen) {
		t->answer.finish = LLM_STOP;
		return OK;
	}
	e = turn_answer(x);
	if (!turn_shorten(x, e, &most))
		return e;
	TRY(prepare(x, most));
	return turn_answer(x);
}

enum err assistant_turn(struct assistant *as, struct arena *a, const struct principal *who, struct assistant_turn *t)
{
	struct turn x = {.as = as, .a = a, .t = t, .noted = STR("")};
	struct trace_span *root;
	enum err e;

	t->answer = (struct llm_answer){.text = STR(""), .finish = LLM_CUT, .tokens_in = -1, .tokens_out = -1};
	t->output = NULL;
	t->memories = NULL;
	t->came = t->added = NULL;
	t->output_n = t->memories_n = t->steps = t->calls_n = t->came_n = t->added_n = 0;
	t->given = false;
	t->stateless = STR("");
	if (as->opt.no_threads) {
		t->thread = STR("");
		t->keep = false;
	}
	if (!t->trace || t->trace->closed)
		assistant_trace(as, a, who, STR(""), STR(""), t);
	TRY(principal_check(who, t->keep && t->thread.n ? RIGHT_READ | RIGHT_WRITE : RIGHT_READ));
	TRY(become_user(&x, who));
	if (!t->message_id.n && !(t->message_id = item_id(a, "msg")).p)
		return E_NOMEM;
	atomic_fetch_add_explicit(&turns, 1, memory_order_relaxed);
	root = trace_turn(&x);
	arena_init(&x.room, TURN_ROOM);
	e = steps(&x);
	keep_late(&x);
	e = without_answer(&x, e);
	extract_ready(as->opt.extract, a, &x.who, &(struct extract_turn_of){t->thread, t->trace}, x.noted, x.kept && x.prompt.cut);
	e = trace_turned(root, a, e, t);
	arena_release(&x.room);
	if (e != OK)
		atomic_fetch_add_explicit(&failures, 1, memory_order_relaxed);
	return e;
}

/* ------------------------------------------------------------------- metrics */

static void figure(struct buf *out, const char *name, const char *help, uint64_t v)
{
	buf_printf(out, "# HELP cenote_assistant_%s %s\n# TYPE cenote_assistant_%s counter\ncenote_assistant_%s %llu\n", name, help,
		   name, name, (unsigned long long)v);
}

void turn_broken_off(void)
{
	atomic_fetch_add_explicit(&broken_off, 1, memory_order_relaxed);
}

void assistant_metrics(struct buf *out)
{
	figure(out, "turns_total", "Turns of conversations.", atomic_load(&turns));
	figure(out, "failures_total", "Turns that ended without a whole answer.", atomic_load(&failures));
	figure(out, "stateless_total", "Turns for which the store was not there.", atomic_load(&stateless));
	figure(out, "broken_off_total", "Answers of which only a part came and was kept.", atomic_load(&broken_off));
	tools_metrics(out);
}
