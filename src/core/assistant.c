/* The turn of a conversation; see assistant.h for its steps.
 *
 * Invariants
 *  1. Everything is done as one principal: who asked, as the user of the turn. What that principal cannot see is neither loaded nor
 *     recalled.
 *  2. A failing store makes a turn stateless, a failing recall makes it one without memories; neither ends it. A refusal (rights,
 *     names, wrong items) ends it before anything is kept.
 *  3. What broke off is kept, whatever happened to the request: the last write is done on the CPU pool, which a cancelled fiber
 *     does not reach. */
#include "core/assistant_impl.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/log.h"
#include "core/thread.h"
#include "rt/wait.h"
#include "rt/work.h"

struct assistant {
	struct assistant_options opt;
	struct arena arena;
};

struct turn {
	struct assistant *as;
	struct arena *a;
	struct principal who; /* as the user of the turn */
	struct assistant_turn *t;
	struct session_entry *past;
	size_t past_n;
	size_t fresh; /* the first item that is new */
	bool kept;    /* what came is in the store */
	struct prompt prompt;
};

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

/* ------------------------------------------------------------- without memory */

/* The store cannot be had; what is refused is another matter. */
static bool outage(enum err e)
{
	return e == E_IO || e == E_UPSTREAM || e == E_TIMEOUT || e == E_CORRUPT || (e == E_BUSY && diag_get()->kind != ERR_LOCKED);
}

/* OK when the turn can go on without what failed. */
static enum err go_on(struct turn *x, enum err e)
{
	if (e == OK || !outage(e))
		return e;
	if (!x->t->stateless.n) {
		x->t->stateless = arena_printf(x->a, "Memory unavailable, using stateless mode: %s", diag_get()->text);
		if (!x->t->stateless.p)
			return E_NOMEM;
		atomic_fetch_add_explicit(&stateless, 1, memory_order_relaxed);
		LOG(LOG_WARN, "core.assistant", "Memory unavailable, using stateless mode", LF_C("error", err_name(e)),
		    LF_C("detail", diag_get()->text));
	}
	return OK;
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

/* Of items that are sent again each time, those from here on are new: the longest beginning that is the thread's end is not. */
static enum err find_fresh(struct turn *x)
{
	size_t n = x->t->items_n;
	struct str *old = ARENA_ARRAY(x->a, struct str, x->past_n + 1), *sent = ARENA_ARRAY(x->a, struct str, n + 1);

	if (!old || !sent)
		return E_NOMEM;
	for (size_t i = 0; i < x->past_n; i++)
		TRY(prompt_key(x->a, x->past[i].data, &old[i]));
	for (size_t i = 0; i < n; i++)
		TRY(prompt_key(x->a, x->t->items[i], &sent[i]));
	for (size_t p = n < x->past_n ? n : x->past_n; p > 0; p--) {
		size_t same = 0;

		while (same < p && str_eq(sent[same], old[x->past_n - p + same]))
			same++;
		if (same == p) {
			x->fresh = p;
			return OK;
		}
	}
	return OK;
}

static enum err load_history(struct turn *x)
{
	/* Some entries are no messages for a model. */
	size_t limit = 2 * (size_t)x->as->opt.max_history + x->t->items_n;

	TRY(go_on(x, entries_tail(x->as->opt.memory, x->a, &x->who, x->t->thread, limit, &x->past, &x->past_n)));
	return x->t->resent ? find_fresh(x) : OK;
}

struct append {
	struct memory *m;
	const struct principal *who;
	struct entry_append e;
	struct arena a;
};

static enum err append(struct turn *x, const struct str *items, size_t n)
{
	struct entry_append e = {.thread = x->t->thread, .v = ARENA_ARRAY(x->a, struct session_entry, n + 1), .n = n};

	if (!e.v)
		return E_NOMEM;
	memset(e.v, 0, n * sizeof *e.v);
	for (size_t i = 0; i < n; i++)
		e.v[i].data = items[i];
	return entries_append(x->as->opt.memory, x->a, &x->who, &e);
}

static enum err keep_input(struct turn *x)
{
	const struct assistant_turn *t = x->t;
	enum err e;

	if (t->items_n == x->fresh) {
		x->kept = !t->stateless.n;
		return OK;
	}
	e = append(x, t->items + x->fresh, t->items_n - x->fresh);
	x->kept = e == OK;
	return go_on(x, e);
}

/* -------------------------------------------------------------------- prompt */

static enum err build_prompt(struct turn *x)
{
	size_t n = x->past_n + x->t->items_n - x->fresh;
	struct str *all = ARENA_ARRAY(x->a, struct str, n + 1);

	if (!all)
		return E_NOMEM;
	for (size_t i = 0; i < x->past_n; i++)
		all[i] = x->past[i].data;
	for (size_t i = x->fresh; i < x->t->items_n; i++)
		all[x->past_n + i - x->fresh] = x->t->items[i];
	/* Without a thread the caller's conversation is all there is, and goes whole. */
	return prompt_items(x->a, all, n, x->past_n, x->t->thread.n ? x->as->opt.max_history : n, &x->prompt);
}

static bool in_prompt(const struct turn *x, struct str text)
{
	for (size_t i = 1; i < x->prompt.n; i++)
		if (str_eq(x->prompt.v[i].text, text))
			return true;
	return false;
}

/* Messages of the user's threads, and items that lie below the user's own namespace. A stranger has neither: what is nobody's would
 * be everybody's. */
static enum err ask_memory(struct turn *x, struct recall_hit **hits, size_t *n)
{
	struct str ns = user_namespace(x->a, x->who.user);
	const struct recall_request rq = {
		.query = x->prompt.question,
		.user = &x->who.user,
		.namespaces = &ns,
		.namespaces_n = 1,
		.limit = x->as->opt.recall_limit + x->as->opt.max_history,
		.mode = RANK_AUTO,
	};

	*n = 0;
	if (!ns.p)
		return E_NOMEM;
	return recall(x->as->opt.memory, x->a, &x->who, &rq, hits, n);
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
	TRY(go_on(x, ask_memory(x, &hits, &n)));
	t->memories = hits;
	for (size_t i = 0; i < n && t->memories_n < o->recall_limit; i++) {
		struct str text = hits[i].is_item ? hits[i].item.value : hits[i].message.content;
		uint32_t cost = recall_tokens(text);

		if ((!hits[i].is_item && in_prompt(x, text)) || (o->recall_tokens && tokens + cost > o->recall_tokens))
			continue;
		tokens += cost;
		t->memories[t->memories_n++] = hits[i];
	}
	return OK;
}

/* -------------------------------------------------------------------- answer */

static enum err append_outside(void *arg)
{
	struct append *p = arg;

	return entries_append(p->m, &p->a, p->who, &p->e);
}

/* The write that must happen though the request was given up. */
static enum err append_anyway(struct turn *x)
{
	struct append p = {.m = x->as->opt.memory,
			   .who = &x->who,
			   .e = {.thread = x->t->thread,
				 .v = ARENA_ARRAY(x->a, struct session_entry, x->t->output_n + 1),
				 .n = x->t->output_n}};
	enum err e;

	if (!p.e.v)
		return E_NOMEM;
	memset(p.e.v, 0, p.e.n * sizeof *p.e.v);
	for (size_t i = 0; i < p.e.n; i++)
		p.e.v[i].data = x->t->output[i];
	arena_init(&p.a, (size_t)1 << 20);
	e = work_run(append_outside, &p);
	arena_release(&p.a);
	return e;
}

static enum err keep_answer(struct turn *x, enum err asked)
{
	struct assistant_turn *t = x->t;

	TRY(answer_items(x->a, &t->answer, t->message_id, &t->output, &t->output_n));
	if (!t->output_n || !t->thread.n || !t->keep || !x->kept)
		return OK;
	if (asked == OK)
		return go_on(x, append(x, t->output, t->output_n));
	atomic_fetch_add_explicit(&broken_off, 1, memory_order_relaxed);
	return append_anyway(x);
}

static enum err ask_model(struct turn *x)
{
	struct assistant_turn *t = x->t;
	const struct llm_request rq = {.messages = x->prompt.v,
				       .n = x->prompt.n,
				       .tools = t->tools,
				       .params = t->params,
				       .params_n = t->params_n,
				       .on_text = t->on_text,
				       .ctx = t->ctx};
	enum err e = llm_chat(x->as->opt.llm, x->a, &rq, &t->answer), kept;
	struct diag d = *diag_get();

	kept = keep_answer(x, e);
	if (e == OK)
		return kept;
	if (kept != OK)
		LOG(LOG_WARN, "core.assistant", "what there was of an answer could not be kept", LF_C("error", err_name(kept)));
	*diag_get() = d;
	return e;
}

/* ---------------------------------------------------------------------- turn */

static enum err check(struct turn *x)
{
	struct assistant_turn *t = x->t;
	struct prompt only;

	if (!x->as->opt.llm)
		return err_field(E_NOT_FOUND, "model", -1, "there is no model to answer: %s", x->as->opt.why);
	if (t->items_n < 1 || t->items_n > ASSISTANT_ITEMS_MAX)
		return err_field(E_INVALID, "/input", -1, "a turn takes 1 to %d items, this one has %zu", ASSISTANT_ITEMS_MAX,
				 t->items_n);
	if (t->thread.n)
		TRY(thread_check(t->thread, "thread"));
	return prompt_items(x->a, t->items, t->items_n, 0, t->items_n, &only);
}

static enum err steps(struct turn *x)
{
	struct assistant_turn *t = x->t;

	TRY(check(x));
	if (t->thread.n)
		TRY(load_history(x));
	if (t->thread.n && t->keep)
		TRY(keep_input(x));
	TRY(build_prompt(x));
	TRY(remember(x));
	TRY(prompt_system(&x->prompt, t->instructions.p ? t->instructions : x->as->opt.system_prompt, t->memories, t->memories_n));
	return ask_model(x);
}

enum err assistant_turn(struct assistant *as, struct arena *a, const struct principal *who, struct assistant_turn *t)
{
	struct turn x = {.as = as, .a = a, .t = t};
	enum err e;

	t->answer = (struct llm_answer){.text = STR(""), .finish = LLM_CUT, .tokens_in = -1, .tokens_out = -1};
	t->output = NULL;
	t->memories = NULL;
	t->output_n = t->memories_n = 0;
	t->stateless = STR("");
	TRY(principal_check(who, t->keep && t->thread.n ? RIGHT_READ | RIGHT_WRITE : RIGHT_READ));
	TRY(become_user(&x, who));
	if (!t->message_id.n && !(t->message_id = item_id(a, "msg")).p)
		return E_NOMEM;
	atomic_fetch_add_explicit(&turns, 1, memory_order_relaxed);
	e = steps(&x);
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

void assistant_metrics(struct buf *out)
{
	figure(out, "turns_total", "Turns of conversations.", atomic_load(&turns));
	figure(out, "failures_total", "Turns that ended without a whole answer.", atomic_load(&failures));
	figure(out, "stateless_total", "Turns for which the store was not there.", atomic_load(&stateless));
	figure(out, "broken_off_total", "Answers of which only a part came and was kept.", atomic_load(&broken_off));
}
