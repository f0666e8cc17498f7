/* The functions of the settings, what the workspace says of them at present, and calls of them.
 *
 * Invariants (u->lock guards what changes)
 *  1. u->now is what turns get: the functions that have been described, in the order of the settings. It is replaced whole, never
 *     changed; a turn holds the one that it began with, and with it the descriptions, by a counter.
 *  2. What the workspace refuses to describe is not offered, and is asked for again after a pause that doubles. While the workspace
 *     itself does not answer, what it has said before holds: a call then says what is wrong. The log says either once.
 *  3. Nobody waits for the lock: one round of requests is made at a time, without it (`asking`).
 *  4. Calls are made as the identity of the settings; arguments do not change what is called. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/utf8.h"
#include "http/client.h"
#include "rt/wait.h"
#include "tool/uc_impl.h"

enum {
	READ_MS = 10000,
	FRESH_MS = 300000,
	RETRY_MS = 500,
	RETRY_MOST_MS = 60000,
	ASKED_MS = 200,
	CONCURRENCY = 64,
	ROWS_MAX = 1000
};

/* A function as it was described. Read-only once made. */
struct description {
	struct uc_function f; /* first: f.tool is what is called */
	struct uc_functions *all;
	struct arena arena;
	unsigned refs;
};
struct function {
	struct str full;
	struct tool name;	/* the name alone */
	struct description *is; /* NULL: it is not offered */
	uint64_t due;
	unsigned failed; /* times in a row */
	bool told;
};
struct snapshot {
	unsigned refs;
	size_t n;
	struct description *is[UC_FUNCTIONS_MAX];
	const struct tool *v[UC_FUNCTIONS_MAX];
};
struct uc_functions {
	struct tool_source source; /* first */
	struct arena arena;
	struct workspace *w;
	struct str warehouse;
	size_t max_result;
	uint32_t timeout_ms;
	struct function v[UC_FUNCTIONS_MAX];
	const struct tool *names[UC_FUNCTIONS_MAX];
	size_t n;
	atomic_bool watched; /* by uc_watch */
	pthread_mutex_t lock;
	struct snapshot *now; /* NULL: there is nothing */
	uint64_t due, failures;
	unsigned failed; /* rounds in a row that the workspace did not answer */
	bool asking, told;
	size_t first; /* of the next round; of who is asking */
};

/* -------------------------------------------------------------------- snapshots */

static void drop_description(struct description *d)
{
	if (!d || --d->refs > 0)
		return;
	arena_release(&d->arena);
	free(d);
}

static void drop_snapshot(struct snapshot *s)
{
	if (!s || --s->refs > 0)
		return;
	for (size_t i = 0; i < s->n; i++)
		drop_description(s->is[i]);
	free(s);
}

/* Without memory u->now stays as it is, which is right, too: what is in it is held. */
static void make_snapshot(struct uc_functions *u)
{
	struct snapshot *s = calloc(1, sizeof *s);

	if (!s)
		return;
	s->refs = 1;
	for (size_t i = 0; i < u->n; i++) {
		struct description *d = u->v[i].is;

		if (!d)
			continue;
		d->refs++;
		s->is[s->n] = d;
		s->v[s->n++] = &d->f.tool;
	}
	drop_snapshot(u->now);
	u->now = s;
}

/* ------------------------------------------------------------------------ calls */

static enum err call_in(const struct description *d, struct arena *a, struct jval arguments, const struct trace_span *span,
			struct str *answer)
{
	const struct uc_functions *u = d->all;
	struct sql_statement s = {.warehouse = u->warehouse, .rows_max = ROWS_MAX, .bytes_max = 4 * u->max_result + 65536};
	struct trace_context trace;
	struct sql_table t;
	struct uc_answer x;

	span_context(span, &trace);
	s.trace = &trace;
	TRY(uc_statement(&d->f, a, arguments, &s));
	uc_answer_init(&x, &d->f, a, u->max_result);
	TRY(sql_run(u->w, a, &s, uc_answer_row, &x, &t));
	TRY(uc_answer_end(&x, &t, answer));
	return workspace_has_token(u->w, *answer) ? err_set(E_UPSTREAM, "the answer repeats the token and is left out") : OK;
}

static enum err call(const struct tool *tool, struct arena *a, const struct principal *who, struct jval arguments,
		     struct trace_span *span, struct str *answer)
{
	const struct description *d = (const struct description *)tool;
	struct arena scratch;
	struct str text;
	struct diag said;
	enum err e;

	(void)who;
	arena_init(&scratch, WORKSPACE_SCRATCH);
	e = call_in(d, &scratch, arguments, span, &text);
	if (e == OK) {
		*answer = arena_str(
			a, utf8_cut(text, d->all->max_result + 4)); /* more than the model gets: that there is more shows */
		e = answer->p ? OK : E_NOMEM;
	}
	said = *diag_get();
	arena_release(&scratch);
	*diag_get() = said;
	return e == OK ? OK : err_wrap(e, "%.*s", STR_ARG(str_sub(d->f.full, 0, 120)));
}

static const struct tool_ops ops = {call};

/* ---------------------------------------------------------------------- reading */

static enum err describe(struct uc_functions *u, const struct function *f, struct arena *scratch, struct description *d)
{
	struct workspace_request rq = {.method = "GET"};
	struct str name = url_encode(scratch, f->full);
	struct json doc;

	rq.path = arena_printf(scratch, "/api/2.1/unity-catalog/functions/%.*s", STR_ARG(name));
	if (!name.p || !rq.path.p)
		return E_NOMEM;
	TRY(workspace_call(u->w, scratch, &rq, &doc));
	d->f.full = f->full;
	TRY(uc_function_read(&d->arena, json_root(&doc), &d->f));
	d->f.tool.ops = &ops;
	d->f.tool.timeout_ms = u->timeout_ms;
	return workspace_has_token(u->w, d->f.tool.description) || workspace_has_token(u->w, d->f.tool.parameters)
		       ? err_set(E_INVALID, "its description repeats the token")
		       : OK;
}

static enum err read_function(struct uc_functions *u, const struct function *f, struct description **out)
{
	struct description *d = calloc(1, sizeof *d);
	struct arena scratch;
	struct diag said;
	enum err e;

	if (!d)
		return err_set(E_LIMIT, "out of memory for a function's description");
	d->refs = 1;
	d->all = u;
	arena_init(&d->arena, (size_t)16 << 20);
	arena_init(&scratch, WORKSPACE_SCRATCH);
	e = describe(u, f, &scratch, d);
	said = *diag_get();
	arena_release(&scratch);
	if (e != OK)
		drop_description(d);
	else
		*out = d;
	*diag_get() = said;
	return e;
}

static uint64_t pause_of(unsigned failed)
{
	return deadline_in_ms(failed < 7 ? RETRY_MS << failed : RETRY_MOST_MS);
}

/* What it does not say of any function. */
static bool is_of_workspace(enum err e)
{
	return e == E_UPSTREAM || e == E_TIMEOUT || e == E_BUSY || (e == E_DENIED && diag_get()->kind == ERR_UNAUTHENTICATED);
}

static void take_failure(struct uc_functions *u, struct function *f, enum err e, bool of_workspace)
{
	const char *why = e == E_TIMEOUT ? "it did not answer in time" : diag_get()->text;

	u->failures++;
	if (of_workspace) {
		u->due = pause_of(u->failed++);
		if (!u->told)
			LOG(LOG_WARN, "tool.uc",
			    "the workspace does not say what functions are; those not read yet are not offered",
			    LF_STR("function", f->full), LF_C("error", err_name(e)), LF_C("why", why));
		u->told = true;
		return;
	}
	f->due = pause_of(f->failed++);
	if (!f->told)
		LOG(LOG_WARN, "tool.uc", "a function of Unity Catalog is not offered", LF_STR("function", f->full),
		    LF_C("error", err_name(e)), LF_C("why", why));
	f->told = true;
	if (f->is) {
		drop_description(f->is);
		f->is = NULL;
		make_snapshot(u);
	}
}

static void take_description(struct uc_functions *u, struct function *f, struct description *d)
{
	if (!f->is)
		LOG(LOG_INFO, "tool.uc", "a function of Unity Catalog", LF_STR("function", f->full),
		    LF_STR("tool", d->f.tool.name));
	drop_description(f->is);
	f->is = d;
	f->due = deadline_in_ms(FRESH_MS);
	f->failed = u->failed = 0;
	f->told = u->told = false;
	make_snapshot(u);
}

/* Reads one if it is due; false: there is no use in going on. */
static bool read_next(struct uc_functions *u, size_t i)
{
	struct description *d = NULL;
	bool due, of_workspace;
	uint64_t before;
	enum err e;

	pthread_mutex_lock(&u->lock);
	due = clock_mono_ns() >= u->v[i].due;
	pthread_mutex_unlock(&u->lock);
	if (!due)
		return true;
	before = wait_within(deadline_in_ms(READ_MS));
	e = read_function(u, &u->v[i], &d);
	of_workspace = e != OK && is_of_workspace(e);
	wait_restore(before);
	pthread_mutex_lock(&u->lock);
	if (e == OK)
		take_description(u, &u->v[i], d);
	else if (e != E_CANCELLED)
		take_failure(u, &u->v[i], e, of_workspace);
	pthread_mutex_unlock(&u->lock);
	return !of_workspace && e != E_CANCELLED;
}

/* Reads what is due, unless somebody else does. A round ends where the workspace does not answer; the next one begins behind that,
 * so that one which it never answers for holds up no other. */
static void refresh(struct uc_functions *u)
{
	bool mine;

	pthread_mutex_lock(&u->lock);
	mine = !u->asking && clock_mono_ns() >= u->due;
	u->asking = u->asking || mine;
	pthread_mutex_unlock(&u->lock);
	if (!mine)
		return;
	for (size_t k = 0, from = u->first; k < u->n; k++) {
		u->first = (from + k + 1) % u->n;
		if (!read_next(u, (from + k) % u->n))
			break;
	}
	pthread_mutex_lock(&u->lock);
	u->asking = false;
	pthread_mutex_unlock(&u->lock);
}

static uint64_t next_due(struct uc_functions *u)
{
	uint64_t soon = deadline_in_ms(ASKED_MS), due = NEVER; /* soon: it may be a turn that asks at present */

	pthread_mutex_lock(&u->lock);
	for (size_t i = 0; i < u->n; i++)
		due = u->v[i].due < due ? u->v[i].due : due;
	due = due > u->due ? due : u->due;
	pthread_mutex_unlock(&u->lock);
	return due > soon ? due : soon;
}

void uc_watch(struct uc_functions *u)
{
	atomic_store(&u->watched, true);
	do
		refresh(u);
	while (wait_until(next_due(u)) == OK);
}

/* ------------------------------------------------------------------------ turns */

static struct toolbox hold(struct tool_source *source, void **held)
{
	struct uc_functions *u = (struct uc_functions *)source;
	struct snapshot *s;

	if (!atomic_load(&u->watched)) {
		uint64_t before = wait_within(deadline_in_ms(READ_MS));

		refresh(u);
		wait_restore(before);
	}
	pthread_mutex_lock(&u->lock);
	s = u->now;
	if (s)
		s->refs++;
	pthread_mutex_unlock(&u->lock);
	*held = s;
	return s ? (struct toolbox){s->v, s->n} : (struct toolbox){NULL, 0};
}

static void let_go(struct tool_source *source, void *held)
{
	struct uc_functions *u = (struct uc_functions *)source;

	pthread_mutex_lock(&u->lock);
	drop_snapshot(held);
	pthread_mutex_unlock(&u->lock);
}

/* ------------------------------------------------------------- opening, metrics */

static enum err set_up(struct uc_functions *u, const struct uc_options *opt)
{
	struct workspace_options wo = {.token = opt->token, .concurrency = CONCURRENCY, .ca_file = opt->ca_file};

	TRY(uc_names_check(opt->names, opt->names_n));
	TRY(workspace_host(&u->arena, opt->host, &wo.host));
	u->warehouse = arena_str(&u->arena, opt->warehouse);
	u->max_result = opt->max_result;
	u->timeout_ms = opt->timeout_ms;
	for (; u->n < opt->names_n; u->n++) {
		struct function *f = &u->v[u->n];

		f->full = arena_str(&u->arena, opt->names[u->n]);
		f->name = (struct tool){.ops = &ops, .name = uc_tool_name(&u->arena, f->full)};
		u->names[u->n] = &f->name;
		if (!f->full.p || !f->name.name.p)
			return E_NOMEM;
	}
	return u->warehouse.p ? workspace_open(&wo, &u->w) : E_NOMEM;
}

enum err uc_open(const struct uc_options *opt, struct uc_functions **out)
{
	struct uc_functions *u = calloc(1, sizeof *u);
	enum err e;

	if (!u)
		return err_set(E_LIMIT, "out of memory for the functions of Unity Catalog");
	u->source = (struct tool_source){hold, let_go};
	arena_init(&u->arena, (size_t)1 << 20);
	pthread_mutex_init(&u->lock, NULL);
	e = set_up(u, opt);
	if (e != OK) {
		struct diag d = *diag_get();

		uc_close(u);
		*diag_get() = d;
		return e;
	}
	*out = u;
	return OK;
}

void uc_close(struct uc_functions *u)
{
	if (!u)
		return;
	drop_snapshot(u->now);
	for (size_t i = 0; i < u->n; i++)
		drop_description(u->v[i].is);
	workspace_close(u->w);
	pthread_mutex_destroy(&u->lock);
	arena_release(&u->arena);
	free(u);
}

struct toolbox uc_names(const struct uc_functions *u)
{
	return (struct toolbox){u->names, u->n};
}

struct tool_source *uc_source(struct uc_functions *u)
{
	return &u->source;
}

void uc_metrics(struct uc_functions *u, struct buf *out)
{
	size_t offered = 0;

	if (!u)
		return;
	pthread_mutex_lock(&u->lock);
	for (size_t i = 0; i < u->n; i++)
		offered += u->v[i].is != NULL;
	buf_printf(out,
		   "# HELP cenote_uc_functions Functions of Unity Catalog that the settings name.\n"
		   "# TYPE cenote_uc_functions gauge\ncenote_uc_functions %zu\n"
		   "# HELP cenote_uc_functions_offered Those that the workspace has described, which models are offered.\n"
		   "# TYPE cenote_uc_functions_offered gauge\ncenote_uc_functions_offered %zu\n"
		   "# HELP cenote_uc_failures_total Times that the workspace did not describe a function.\n"
		   "# TYPE cenote_uc_failures_total counter\ncenote_uc_failures_total %llu\n",
		   u->n, offered, (unsigned long long)u->failures);
	pthread_mutex_unlock(&u->lock);
}
