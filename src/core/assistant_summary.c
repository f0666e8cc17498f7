/* Threads that are longer than what is sent: the summary that stands for what fell out, and a second, shorter attempt when a model
 * has refused a prompt because of its length. */
#include "core/assistant_impl.h"
#include "core/summary.h"

#include "base/log.h"

static bool summed_up(const struct turn *x)
{
	return x->t->thread.n && !x->t->stateless.n && extract_sums_up(x->as->opt.extract);
}

/* A turn may see the thread as it was at an earlier response, or before an answer that is to be made anew: it must not be told what
 * was said since. */
static bool of_later(const struct turn *x, const struct summary *s)
{
	return x->t->came_n == 0 && x->past_n && s->upto > x->past[x->past_n - 1].id;
}

/* Without its summary a turn goes on as one without summaries does. */
enum err turn_summary(struct turn *x)
{
	struct trace_span *span;
	struct summary s;
	uint64_t before;
	enum err e;

	if (!x->prompt.cut || !summed_up(x))
		return OK;
	span = span_below(x->step, SPAN_MEMORY, STR("summary"));
	before = assistant_step(x->as);
	e = summary_load(x->as->opt.memory, x->a, &x->who, x->t->thread, &s);
	e = assistant_stepped(x->as, before, e);
	if (e == OK)
		span_int(span, "cenote.covered", (int64_t)s.covered);
	(void)span_end(span, e);
	if (e == OK && !of_later(x, &s))
		x->prompt.summary = s.text;
	if (e == E_CORRUPT) {
		LOG(LOG_WARN, "core.assistant", "the summary of a thread cannot be read", LF_C("reason", diag_get()->text));
		return OK;
	}
	return turn_go_on(x, e);
}

/* What the summary took is part of what the turn took. */
static enum err sum_up(struct turn *x, size_t most)
{
	struct llm_answer *answer = &x->t->answer;
	struct summary_work w = {.keep = most, .least = 1};
	struct summary s;
	enum err e;

	w.span = span_begin(x->t->trace, NULL, SPAN_CHAIN, STR("summarize"));
	e = extract_sum_up(x->as->opt.extract, x->a, &x->who, x->t->thread, &w, &s);
	if (w.tokens_in >= 0)
		answer->tokens_in = (answer->tokens_in < 0 ? 0 : answer->tokens_in) + w.tokens_in;
	if (w.tokens_out >= 0)
		answer->tokens_out = (answer->tokens_out < 0 ? 0 : answer->tokens_out) + w.tokens_out;
	span_int(w.span, "cenote.requests", w.made);
	return span_end(w.span, e);
}

/* Entries that are not yet kept are not there to be summed up; entries are never fewer than their messages. */
bool turn_shorten(struct turn *x, enum err e, size_t *most)
{
	struct assistant_turn *t = x->t;
	struct diag was = *diag_get();
	size_t messages = x->prompt.n > 1 ? x->prompt.n - 1 : 1;

	if (e != E_INVALID || was.kind != ERR_SIZE || t->output_n || t->answer.text.n || !x->kept || !summed_up(x) || messages < 2)
		return false;
	*most = messages / 2;
	e = sum_up(x, *most);
	if (e != OK) {
		LOG(LOG_WARN, "core.assistant", "a thread that is too long for the model got no summary",
		    LF_C("error", err_name(e)), LF_C("reason", diag_get()->text));
		*diag_get() = was;
		return false;
	}
	t->steps = 0;
	return true;
}
