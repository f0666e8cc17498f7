/* What is said of the work behind a turn: a trace of its own, since the turn's has ended and been sent by then, and a span that
 * came later would count as time of that turn. It names the turn's, and is seen by whoever sees that. */
#include "core/extract_impl.h"

struct trace_span *work_begin(struct tracer *tr, struct arena *a, const struct principal *who, const char *name, struct str mark)
{
	struct trace *t = trace_begin(tr, a, who, STR(""), STR(""));

	trace_follow(t, mark);
	return span_begin(t, NULL, SPAN_CHAIN, str_c(name));
}

void work_counted(struct trace_span *s, const struct learn_counts *c)
{
	span_int(s, "cenote.facts", (int64_t)c->added);
	span_int(s, "cenote.merged", (int64_t)c->merged);
	span_int(s, "cenote.superseded", (int64_t)c->superseded);
	span_int(s, "cenote.entities", (int64_t)c->entities);
	span_int(s, "cenote.relations", (int64_t)c->relations);
}

enum err work_end(struct trace_span *root, enum err e, struct str user, struct str thread)
{
	if (!root)
		return e;
	trace_session(root->trace, user, thread, false);
	span_str(root, "cenote.thread", thread);
	(void)span_end(root, e);
	trace_end(root->trace);
	return e;
}
