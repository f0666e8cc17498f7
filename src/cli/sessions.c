/* `cenote sessions`: what the Agents SDK's sessions hold. */
#include "cli/threads.h"

#include <inttypes.h>
#include <unistd.h>

#include "cli/source.h"
#include "cli/thread_text.h"

#define ITEM_MAX ((size_t)8 << 20)
#define INPUT_MAX ((size_t)64 << 20)

static struct str session_path(struct call *c, const char *rest)
{
	struct str t = url_encode(&c->arena, str_c(c->args[0]));

	return arena_printf(&c->arena, "/cenote/v1/sessions/%.*s%s", STR_ARG(t), rest);
}

/* ----------------------------------------------------------------------- ls */

static enum err print_row(void *ctx, struct jval row)
{
	return out_row(ctx, row);
}

static enum err ls(struct call *c)
{
	static const struct column cols[] = {
		{"SESSION", "thread", 60}, {"USER", "user", 30}, {"ENTRIES", "entries", 0}, {"UPDATED", "updated_at", 0}};
	int64_t limit;
	struct out o;

	TRY(call_int(c, "limit", 1, 1000000, 100, &limit));
	TRY(peer_open(c));
	out_begin(&o, c, cols, 4, "thread", false);
	TRY(each_row(c, STR("/cenote/v1/sessions?"), limit, print_row, &o));
	if (o.rows == 0 && !c->quiet && isatty(2))
		fprintf(stderr, "cenote: there are none\n");
	return out_end(&o);
}

int run_sessions_ls(struct call *c)
{
	return ended(c, ls(c));
}

/* --------------------------------------------------------------------- show */

static enum err print_items(struct call *c, struct jval items)
{
	struct buf b;
	struct out o;
	struct jval v;

	if (!for_people(c)) {
		out_begin(&o, c, (const struct column[]){{"item", "content", 0}}, 1, "id", false);
		for (struct j_iter it = j_iter(items); j_next(&it, NULL, &v);)
			TRY(out_row(&o, v));
		return out_end(&o);
	}
	buf_init(&b, &c->arena, (size_t)512 << 20);
	for (struct j_iter it = j_iter(items); j_next(&it, NULL, &v);)
		text_message(&b, &c->arena, v, 0, c->color_out);
	return print(&b);
}

static enum err show(struct call *c)
{
	struct jval answer, items, info;
	int64_t limit;

	TRY(call_int(c, "limit", 1, 1000000, 1000000, &limit));
	TRY(peer_open(c));
	TRY(get_json(c, thread_path(c, c->args[0], ""), &info)); /* a session that is not there is not an empty one */
	TRY(get_json(c, session_path(c, arena_printf(&c->arena, "/items?limit=%" PRId64, limit).p), &answer));
	items = j_get(answer, STR("data"));
	if (!j_is(items, JSON_ARRAY))
		return err_set(E_UPSTREAM, "the server's answer has no data (is it a Cenote server?)");
	return print_items(c, items);
}

int run_sessions_show(struct call *c)
{
	return ended(c, show(c));
}

/* ---------------------------------------------------------------------- add */

static enum err read_stdin(struct call *c, struct str *out)
{
	struct str window;
	struct source s;
	enum err e;

	source_fd(&s, 0);
	e = source_peek(&s, INPUT_MAX + 1, &window);
	if (e == OK && window.n > INPUT_MAX)
		e = err_set(E_LIMIT, "the input is larger than 64 MiB");
	if (e == OK) {
		*out = arena_str(&c->arena, window);
		e = out->p ? OK : E_NOMEM;
	}
	source_release(&s);
	return e;
}

/* Objects one after the other, or an array of them, become items as they are; everything else is one text. */
static enum err items_of(struct call *c, struct str text, struct buf *b)
{
	const char *role = call_has(c, "role") ? call_flag(c, "role") : "user";
	struct str t = str_trim(text), line;
	struct json doc;

	if (t.n > 0 && t.p[0] == '[' && json_parse(&c->arena, t, &json_default_limits, &doc) == OK) {
		buf_str(b, str_sub(t, 1, t.n - 1));
		return b->err;
	}
	if (t.n > 0 && t.p[0] == '{' && json_parse(&c->arena, t, &json_default_limits, &doc) == OK) {
		buf_str(b, t);
		return b->err;
	}
	if (t.n > 0 && t.p[0] == '{') {
		for (bool more = true, any = false; more; any = any || line.n > 0) {
			more = str_cut(t, '\n', &line, &t);
			line = str_trim(line);
			if (line.n == 0)
				continue;
			TRY(json_parse(&c->arena, line, &json_default_limits, &doc));
			buf_lit(b, any ? "," : "");
			buf_str(b, line);
		}
		return b->err;
	}
	buf_lit(b, "{\"role\":");
	json_quote(b, str_c(role));
	buf_lit(b, ",\"content\":");
	json_quote(b, t);
	buf_byte(b, '}');
	return b->err;
}

static enum err add(struct call *c)
{
	struct str text = str_c(c->argc > 1 ? c->args[1] : "-");
	int64_t stored = 0;
	struct jval r;
	struct buf b;

	if (str_eq(text, STR("-"))) {
		if (c->argc < 2 && isatty(0))
			return err_set(E_INVALID, "ITEM is missing: JSON, a text, or - for stdin");
		TRY(read_stdin(c, &text));
	}
	buf_init(&b, &c->arena, INPUT_MAX * 7);
	buf_lit(&b, "{\"items\":[");
	TRY(items_of(c, text, &b));
	buf_lit(&b, "]}");
	TRY(b.err);
	TRY(peer_open(c));
	TRY(send_json(c, "POST", session_path(c, "/items"), buf_slice(&b), &r));
	(void)j_i64(j_get(r, STR("stored")), &stored);
	if (c->output == OUT_JSON || c->output == OUT_NDJSON)
		printf("%.*s\n", STR_ARG(j_raw(r)));
	else if (!c->quiet)
		fprintf(stderr, "cenote: added %" PRId64 " to %s\n", stored, c->args[0]);
	return fflush(stdout) == 0 ? OK : err_set(E_IO, "cannot write to stdout");
}

int run_sessions_add(struct call *c)
{
	return ended(c, add(c));
}

/* --------------------------------------------------------------- pop, clear */

static enum err pop(struct call *c)
{
	struct jval r, item;
	struct buf b;

	TRY(peer_open(c));
	TRY(send_json(c, "POST", session_path(c, "/pop"), STR("{}"), &r));
	item = j_get(r, STR("item"));
	if (j_null(item))
		return err_set(E_NOT_FOUND, "%s has no item", c->args[0]);
	buf_init(&b, &c->arena, ITEM_MAX * 4);
	if (for_people(c)) {
		text_message(&b, &c->arena, item, 0, c->color_out);
	} else {
		buf_str(&b, j_raw(item));
		buf_byte(&b, '\n');
	}
	return print(&b);
}

int run_sessions_pop(struct call *c)
{
	return ended(c, pop(c));
}

static enum err clear(struct call *c)
{
	int64_t entries = 0;
	struct jval info, none;
	struct str what;

	TRY(peer_open(c));
	TRY(get_json(c, thread_path(c, c->args[0], ""), &info));
	(void)j_i64(j_get(info, STR("entries")), &entries);
	what = arena_printf(&c->arena, "remove the %" PRId64 " items of %s", entries, c->args[0]);
	if (!what.p)
		return E_NOMEM;
	if (call_has(c, "dry-run")) {
		fprintf(stderr, "cenote: would %s\n", what.p);
		return OK;
	}
	TRY(call_confirm(c, what.p));
	TRY(send_json(c, "DELETE", session_path(c, ""), str_of(NULL, 0), &none));
	if (!c->quiet)
		fprintf(stderr, "cenote: cleared %s\n", c->args[0]);
	return OK;
}

int run_sessions_clear(struct call *c)
{
	return ended(c, clear(c));
}
