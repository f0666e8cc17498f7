/* See thread_text.h. What comes from a store may hold anything: control characters never reach the terminal. */
#include "cli/thread_text.h"

#include "base/clock.h"
#include "cli/thread_tree.h"

enum { ROLE_WIDTH = 9 };

/* {"lc":1,"type":"constructor","id":[..,"AIMessage"],"kwargs":{..}} -> the name and kwargs; else v itself and "". */
static struct jval unwrap(struct arena *a, struct jval v, struct str *class)
{
	struct jval kwargs = j_get(v, STR("kwargs")), id = j_get(v, STR("id")), x;
	int64_t lc;

	*class = STR("");
	if (!j_i64(j_get(v, STR("lc")), &lc) || lc != 1 || !j_is(kwargs, JSON_OBJECT) || !j_is(id, JSON_ARRAY))
		return v;
	for (struct j_iter it = j_iter(id); j_next(&it, NULL, &x);)
		if (j_is(x, JSON_STRING))
			*class = j_str(a, x);
	return kwargs;
}

static struct str role_of_class(struct str class)
{
	static const struct {
		struct str class, role;
	} t[] = {{STR_INIT("HumanMessage"), STR_INIT("human")},	 {STR_INIT("AIMessage"), STR_INIT("ai")},
		 {STR_INIT("AIMessageChunk"), STR_INIT("ai")},	 {STR_INIT("SystemMessage"), STR_INIT("system")},
		 {STR_INIT("ToolMessage"), STR_INIT("tool")},	 {STR_INIT("FunctionMessage"), STR_INIT("function")},
		 {STR_INIT("RemoveMessage"), STR_INIT("remove")}};

	for (size_t i = 0; i < sizeof t / sizeof t[0]; i++)
		if (str_eq(t[i].class, class))
			return t[i].role;
	return STR("");
}

static struct str member(struct arena *a, struct jval v, const char *name)
{
	struct jval m = j_get(v, str_c(name));

	return j_is(m, JSON_STRING) ? j_str(a, m) : STR("");
}

static bool one_of(struct str s, const char *const *t)
{
	for (; *t; t++)
		if (str_eq(s, str_c(*t)))
			return true;
	return false;
}

/* Who speaks; "" when v is no message. */
static struct str role_of(struct arena *a, struct jval v, struct jval *inner)
{
	static const char *const langchain[] = {"human",  "ai",	  "system",  "tool",	       "function",
						"remove", "chat", "generic", "AIMessageChunk", NULL};
	static const char *const items[] = {
		"function_call", "function_call_output", "reasoning",	   "web_search_call", "file_search_call",
		"computer_call", "computer_call_output", "item_reference", "mcp_call",	      NULL};
	struct str class, role, type;

	*inner = unwrap(a, v, &class);
	if (!j_is(*inner, JSON_OBJECT))
		return STR("");
	role = member(a, *inner, "role");
	if (role.n > 0 && j_ok(j_get(*inner, STR("content"))))
		return role;
	if (class.n > 0)
		return role_of_class(class);
	type = member(a, *inner, "type");
	if (one_of(type, langchain) && j_ok(j_get(*inner, STR("content"))))
		return type;
	return one_of(type, items) ? type : STR("");
}

bool text_is_message(struct jval v)
{
	struct arena a;
	struct jval inner;
	bool is;

	arena_init(&a, 1 << 20);
	is = role_of(&a, v, &inner).n > 0;
	arena_release(&a);
	return is;
}

/* ------------------------------------------------------------------- content */

/* Texts of content blocks; what is no text is named. */
static void blocks(struct buf *out, struct arena *a, struct jval list)
{
	struct jval v;
	bool any = false;

	for (struct j_iter it = j_iter(list); j_next(&it, NULL, &v); any = true) {
		struct jval text = j_get(v, STR("text"));

		if (any)
			buf_byte(out, '\n');
		if (j_is(v, JSON_STRING))
			buf_str(out, j_str(a, v));
		else if (j_is(text, JSON_STRING))
			buf_str(out, j_str(a, text));
		else
			buf_printf(out, "[%.*s]", STR_ARG(member(a, v, "type").n ? member(a, v, "type") : STR("block")));
	}
}

static void content(struct buf *out, struct arena *a, struct jval v)
{
	if (j_is(v, JSON_STRING))
		buf_str(out, j_str(a, v));
	else if (j_is(v, JSON_ARRAY))
		blocks(out, a, v);
	else if (!j_null(v))
		buf_str(out, j_raw(v));
}

static void call(struct buf *out, struct arena *a, struct jval v)
{
	struct jval f = j_get(v, STR("function")), args;
	struct str name = member(a, v, "name");

	if (name.n == 0 && j_is(f, JSON_OBJECT))
		return call(out, a, f);
	args = j_get(v, STR("args"));
	if (!j_ok(args))
		args = j_get(v, STR("arguments"));
	buf_lit(out, out->n ? "\n\xe2\x86\x92 " : "\xe2\x86\x92 ");
	buf_str(out, name);
	buf_byte(out, '(');
	if (j_is(args, JSON_STRING))
		buf_str(out, j_str(a, args));
	else if (!j_null(args))
		buf_str(out, j_raw(args));
	buf_byte(out, ')');
}

static void body(struct buf *out, struct arena *a, struct jval v)
{
	struct jval calls = j_get(v, STR("tool_calls")), x;
	struct str type = member(a, v, "type");

	content(out, a, j_get(v, STR("content")));
	if (str_eq(type, STR("function_call")))
		call(out, a, v);
	else if (str_eq(type, STR("function_call_output")))
		content(out, a, j_get(v, STR("output")));
	else if (str_eq(type, STR("reasoning")) && j_is(j_get(v, STR("summary")), JSON_ARRAY))
		blocks(out, a, j_get(v, STR("summary")));
	if (j_is(calls, JSON_ARRAY))
		for (struct j_iter it = j_iter(calls); j_next(&it, NULL, &x);)
			call(out, a, x);
}

/* --------------------------------------------------------------------- lines */

static void clean(struct buf *out, struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		/* C1 controls are C2 80 .. C2 9F in UTF-8. */
		if (c == 0xc2 && i + 1 < s.n && (unsigned char)s.p[i + 1] < 0xa0) {
			buf_byte(out, ' ');
			i++;
		} else {
			buf_byte(out, c < 0x20 || c == 0x7f ? ' ' : (char)c);
		}
	}
}

void text_message(struct buf *out, struct arena *a, struct jval v, unsigned indent, bool colour)
{
	struct jval inner;
	struct str role = role_of(a, v, &inner), rest, line, name;
	bool first = true, more = true;
	struct buf b;

	buf_init(&b, a, (size_t)256 << 20);
	if (role.n > 0)
		body(&b, a, inner);
	else
		text_value(&b, a, v, 0);
	name = role.n > 0 ? member(a, inner, "name") : STR("");
	if (str_starts(role, STR("function_call")))
		name = STR("");
	rest = buf_slice(&b);
	while (more) {
		more = str_cut(rest, '\n', &line, &rest);
		buf_printf(out, "%*s", (int)indent, "");
		if (first) {
			struct str who = name.n ? arena_printf(a, "%.*s (%.*s)", STR_ARG(role), STR_ARG(name)) : role;

			buf_lit(out, colour ? "\033[1m" : "");
			clean(out, who);
			buf_lit(out, colour ? "\033[0m" : "");
			buf_printf(out, "%*s", tree_width(who) < ROLE_WIDTH ? (int)(ROLE_WIDTH - tree_width(who)) : 1, "");
		} else {
			buf_printf(out, "%*s", ROLE_WIDTH, "");
		}
		clean(out, line);
		while (out->n > 0 && out->p[out->n - 1] == ' ')
			out->n--;
		buf_byte(out, '\n');
		first = false;
	}
}

void text_value(struct buf *out, struct arena *a, struct jval v, size_t width)
{
	struct str s = j_is(v, JSON_STRING) ? j_str(a, v) : j_ok(v) ? j_raw(v) : STR("");
	size_t end = 0, chars = 0;
	struct buf b;

	buf_init(&b, a, (size_t)256 << 20);
	/* A character has at most four bytes: no more is looked at than can be shown. */
	clean(&b, width && s.n > width * 4 + 4 ? str_sub(s, 0, width * 4 + 4) : s);
	if (width == 0 || tree_width(buf_slice(&b)) <= width) {
		buf_str(out, buf_slice(&b));
		return;
	}
	for (; end < b.n; end++)
		if (((unsigned char)b.p[end] & 0xc0) != 0x80 && ++chars == width)
			break;
	buf_put(out, b.p, end);
	buf_lit(out, "\xe2\x80\xa6");
}

void text_bytes(struct buf *out, int64_t n)
{
	static const char *const units[] = {"KiB", "MiB", "GiB", "TiB"};
	double x = (double)n;
	int u = -1;

	if (n < 1024) {
		buf_printf(out, "%lld B", (long long)n);
		return;
	}
	for (; x >= 1024 && u < 3; u++)
		x /= 1024;
	buf_printf(out, "%.1f %s", x, units[u]);
}

void text_age(struct buf *out, struct str time, int64_t now_us)
{
	static const struct {
		int64_t s;
		char unit;
	} steps[] = {{86400, 'd'}, {3600, 'h'}, {60, 'm'}, {1, 's'}};
	int64_t us, s;

	if (clock_parse(time, &us) != OK) {
		diag_clear();
		return;
	}
	s = (now_us - us) / 1000000;
	for (size_t i = 0; i < 4; i++) {
		if (s >= steps[i].s) {
			buf_printf(out, "%lld%c", (long long)(s / steps[i].s), steps[i].unit);
			return;
		}
	}
	buf_lit(out, "now");
}
