/* `cenote traces`: the last turns of the assistant, and one of them as a tree with times. */
#include <inttypes.h>
#include <unistd.h>

#include "base/utf8.h"
#include "cli/thread_text.h"
#include "cli/thread_tree.h"
#include "cli/threads.h"

#define TEXT_MAX ((size_t)64 << 20)
#define BAR 24	     /* characters of a bar */
#define DEPTH_MAX 64 /* of the tree that is drawn */
#define SPANS_MAX 1024
#define VALUE_WIDTH 100

static struct str member(struct call *c, struct jval v, const char *name)
{
	return out_cell(&c->arena, j_get(v, str_c(name)));
}

static double number(struct jval v, const char *name)
{
	double d = 0;

	(void)j_double(j_get(v, str_c(name)), &d);
	return d;
}

/* ------------------------------------------------------------------------ list */

static enum err list(struct call *c)
{
	static const struct column cols[] = {{"TRACE", "trace_id", 0},
					     {"STARTED", "started_at", 0},
					     {"NAME", "name", 0},
					     {"STATE", "state", 0},
					     {"MS", "duration_ms", 0},
					     {"STEPS", "steps", 0},
					     {"TOKENS IN", "input_tokens", 0},
					     {"OUT", "output_tokens", 0},
					     {"THREAD", "thread", 40},
					     {"USER", "user", 30},
					     {"ERROR", "error", 60}};
	struct jval answer, data, v;
	int64_t limit;
	struct out o;

	TRY(call_int(c, "limit", 1, 1000, 20, &limit));
	TRY(peer_open(c));
	TRY(get_json(c, arena_printf(&c->arena, "/cenote/v1/traces?limit=%" PRId64, limit), &answer));
	data = j_get(answer, STR("data"));
	if (!j_is(data, JSON_ARRAY))
		return err_set(E_UPSTREAM, "the server's answer has no data (is it a Cenote server?)");
	out_begin(&o, c, cols, sizeof cols / sizeof cols[0], "trace_id", false);
	for (struct j_iter it = j_iter(data); j_next(&it, NULL, &v);)
		TRY(out_row(&o, v));
	if (o.rows == 0 && !c->quiet && isatty(2))
		fprintf(stderr, "cenote: there are none: a server keeps those of its last turns, until it ends\n");
	return out_end(&o);
}

/* ------------------------------------------------------------------------ tree */

struct tree {
	struct call *c;
	struct buf *b;
	struct jval v[SPANS_MAX];
	size_t n, width;
	double total;
	bool verbose;
};

static bool child_of(struct tree *t, size_t i, struct str parent)
{
	return str_eq(member(t->c, t->v[i], "parent_id"), parent);
}

/* Where in the whole the step lies: "  ▐██▌    ". */
static void bar(struct tree *t, struct jval v)
{
	double start = number(v, "start_ms"), ms = number(v, "duration_ms");
	size_t from = t->total > 0 ? (size_t)(start / t->total * BAR) : 0,
	       to = t->total > 0 ? (size_t)((start + ms) / t->total * BAR) : 0;

	from = from < BAR ? from : BAR - 1;
	to = to > from ? to : from + 1;
	for (size_t i = 0; i < BAR; i++)
		buf_lit(t->b, i < from || i >= to ? "·" : "━");
}

static void line(struct tree *t, struct jval v, struct str lead)
{
	struct str name = member(t->c, v, "name"), error = member(t->c, v, "error");
	bool bad = str_eq(member(t->c, v, "state"), STR("ERROR"));
	size_t used = tree_width(lead) + tree_width(name);

	buf_str(t->b, lead);
	buf_printf(t->b, "%s%.*s%s", t->c->color_out ? bad ? "\033[31m" : "\033[1m" : "", STR_ARG(name),
		   t->c->color_out ? "\033[0m" : "");
	buf_printf(t->b, "%*s %-10.*s ", (int)(used < t->width ? t->width - used : 0), "", STR_ARG(member(t->c, v, "type")));
	bar(t, v);
	buf_printf(t->b, " %10.3f ms", number(v, "duration_ms"));
	if (bad)
		buf_printf(t->b, "  %.*s", STR_ARG(error));
	buf_byte(t->b, '\n');
}

static void details(struct tree *t, struct jval v, struct str lead)
{
	struct jval key, x, attrs = j_get(v, STR("attributes"));
	static const char *const contents[] = {"input", "output"};

	for (struct j_iter it = j_iter(attrs); j_next(&it, &key, &x);)
		buf_printf(t->b, "%.*s    %.*s = %.*s\n", STR_ARG(lead), STR_ARG(out_cell(&t->c->arena, key)),
			   STR_ARG(utf8_cut(out_cell(&t->c->arena, x), VALUE_WIDTH)));
	for (int i = 0; i < 2; i++)
		if (j_ok(j_get(v, str_c(contents[i]))))
			buf_printf(t->b, "%.*s    %s = %.*s\n", STR_ARG(lead), contents[i],
				   STR_ARG(utf8_cut(j_raw(j_get(v, str_c(contents[i]))), VALUE_WIDTH)));
}

/* Draws the steps below one; lead: what stands before each line. Returns the widest line when only measuring. */
static size_t below(struct tree *t, struct str parent, struct str lead, unsigned depth, bool measure)
{
	size_t last = SIZE_MAX, most = 0, w;

	for (size_t i = 0; i < t->n; i++)
		if (child_of(t, i, parent))
			last = i;
	for (size_t i = 0; i < t->n && depth < DEPTH_MAX; i++) {
		struct str mine, deeper, id = member(t->c, t->v[i], "span_id");

		if (!child_of(t, i, parent) || id.n == 0 || str_eq(id, parent))
			continue;
		mine = depth ? arena_printf(&t->c->arena, "%.*s%s", STR_ARG(lead), i == last ? "└─ " : "├─ ") : lead;
		deeper = depth ? arena_printf(&t->c->arena, "%.*s%s", STR_ARG(lead), i == last ? "   " : "│  ") : lead;
		w = tree_width(mine) + tree_width(member(t->c, t->v[i], "name"));
		most = w > most ? w : most;
		if (!measure) {
			line(t, t->v[i], mine);
			if (t->verbose)
				details(t, t->v[i], deeper);
		}
		w = below(t, id, deeper, depth + 1, measure);
		most = w > most ? w : most;
	}
	return most;
}

static enum err draw(struct call *c, struct jval v)
{
	struct tree *t = ARENA_NEW(&c->arena, struct tree);
	struct jval spans = j_get(v, STR("spans")), s;
	struct buf b;

	if (!t)
		return E_NOMEM;
	if (!j_is(spans, JSON_ARRAY))
		return err_set(E_UPSTREAM, "the server's answer has no spans (is it a Cenote server?)");
	buf_init(&b, &c->arena, TEXT_MAX);
	t->c = c;
	t->b = &b;
	t->verbose = c->verbose;
	t->total = number(v, "duration_ms");
	for (struct j_iter it = j_iter(spans); t->n < SPANS_MAX && j_next(&it, NULL, &s);)
		t->v[t->n++] = s;
	buf_printf(&b, "%.*s  %.*s", STR_ARG(member(c, v, "trace_id")), STR_ARG(member(c, v, "started_at")));
	if (member(c, v, "thread").n)
		buf_printf(&b, "  thread %.*s", STR_ARG(member(c, v, "thread")));
	if (member(c, v, "user").n)
		buf_printf(&b, "  user %.*s", STR_ARG(member(c, v, "user")));
	if (member(c, v, "turn").n)
		buf_printf(&b, "  behind turn %.*s", STR_ARG(member(c, v, "turn")));
	if (member(c, v, "input_tokens").n)
		buf_printf(&b, "  %.*s tokens in, %.*s out", STR_ARG(member(c, v, "input_tokens")),
			   STR_ARG(member(c, v, "output_tokens")));
	buf_byte(&b, '\n');
	t->width = below(t, STR(""), STR(""), 0, true);
	(void)below(t, STR(""), STR(""), 0, false);
	return print(&b);
}

static enum err show(struct call *c)
{
	struct str id = url_encode(&c->arena, str_c(c->args[0]));
	struct jval v;
	struct out o;

	TRY(peer_open(c));
	TRY(get_json(c, arena_printf(&c->arena, "/cenote/v1/traces/%.*s", STR_ARG(id)), &v));
	if (for_people(c))
		return draw(c, v);
	out_begin(&o, c, (const struct column[]){{"trace", "trace_id", 0}}, 1, "trace_id", true);
	TRY(out_row(&o, v));
	return out_end(&o);
}

int run_traces(struct call *c)
{
	return ended(c, c->argc ? show(c) : list(c));
}
