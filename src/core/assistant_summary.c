/* Threads that are longer than what is sent: the summary that stands for what fell out, and a second, shorter attempt when a model
 * has refused a prompt because of its length. */
#include "core/assistant_impl.h"
#include "core/summary.h"

#include "base/log.h"

static bool summed_up(const struct turn *x)
{
	return x->t->thread.n && !x->t->stateless.n && extract_summary(x->as->opt.extract);
}

/* Without its summary a turn goes on as one without summaries does. */
enum err turn_summary(struct turn *x)
{
	struct summary s;
	enum err e;

	if (!x->prompt.cut || !summed_up(x))
		return OK;
	e = summary_load(x->as->opt.memory, x->a, &x->who, x->t->thread, &s);
	if (e == OK)
		x->prompt.summary = s.text;
	if (e == E_CORRUPT) {
		LOG(LOG_WARN, "core.assistant", "the summary of a thread cannot be read", LF_C("reason", diag_get()->text));
		return OK;
	}
	return turn_go_on(x, e);
}

/* Entries that are not yet kept are not there to be summed up; entries are never fewer than their messages. */
bool turn_shorten(struct turn *x, enum err e, size_t *most)
{
	struct assistant_turn *t = x->t;
	struct diag was = *diag_get();
	size_t messages = x->prompt.n > 1 ? x->prompt.n - 1 : 1;
	struct summary s;
	unsigned made;

	if (e != E_INVALID || was.kind != ERR_SIZE || t->output_n || t->answer.text.n || !x->kept || !summed_up(x) || messages < 2)
		return false;
	*most = messages / 2;
	e = summary_make(x->as->opt.memory, extract_summary(x->as->opt.extract), x->a, &x->who, t->thread, *most, 1, &s, &made);
	if (e != OK) {
		LOG(LOG_WARN, "core.assistant", "a thread that is too long for the model got no summary",
		    LF_C("error", err_name(e)), LF_C("reason", diag_get()->text));
		*diag_get() = was;
		return false;
	}
	t->steps = 0;
	return true;
}
