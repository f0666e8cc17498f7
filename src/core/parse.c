/* See parse.h. */
#include "core/parse.h"

#include "rt/work.h"

enum { ENVELOPE_DEPTH = 4 };

struct parse_job {
	struct arena *a;
	struct str text;
	struct json_limits lim;
	struct json *out;
};

static enum err parse_run(void *arg)
{
	struct parse_job *j = arg;

	return json_parse(j->a, j->text, &j->lim, j->out);
}

enum err run_sized(size_t bytes, enum err (*fn)(void *arg), void *arg)
{
	return bytes < POOL_FROM_BYTES ? fn(arg) : work_run(fn, arg);
}

enum err parse_refusal(enum err e)
{
	if (e == E_LIMIT && diag_get()->kind == ERR_SYNTAX)
		e = diag_get()->code = E_INVALID;
	return e;
}

enum err parse_body(struct arena *a, struct str text, struct json *out)
{
	struct parse_job j = {a, text, json_default_limits, out};
	enum err e;

	j.lim.depth += ENVELOPE_DEPTH;
	if (text.n > j.lim.bytes)
		j.lim.bytes = text.n; /* the HTTP layer's limit has let it through */
	e = run_sized(text.n, parse_run, &j);
	return parse_refusal(e);
}
