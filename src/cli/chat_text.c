/* What a chat writes: nothing of a model or a memory reaches a terminal as a control sequence. */
#include <errno.h>
#include <stdarg.h>

#include "base/utf8.h"
#include "cli/chat.h"

enum { TEXT_WIDTH = 400, FEATURES_MAX = 12, HINTED = 3 };
#define OUT_MAX ((size_t)256 << 20)

/* ------------------------------------------------------------------ cleaning */

/* C0 but line feed and tab, DEL, C1, separators of lines, marks that turn the direction. Joiners and selectors, without which emoji
 * and words fall apart, change nothing at a terminal. */
static bool dangerous(int32_t cp)
{
	return (cp < 0x20 && cp != '\n' && cp != '\t') || utf8_acts(cp);
}

void chat_clean(struct buf *out, struct str s)
{
	for (size_t i = 0, from = 0; i < s.n; from = i) {
		int32_t cp = utf8_next(s, &i);

		if (cp == '\r')
			continue;
		if (cp < 0 || dangerous(cp))
			buf_byte(out, ' ');
		else
			buf_put(out, s.p + from, i - from);
	}
}

void chat_clean_line(struct buf *out, struct str s, size_t width)
{
	size_t chars = 0;

	s = str_trim(s);
	for (size_t i = 0, from = 0; i < s.n; from = i, chars++) {
		int32_t cp = utf8_next(s, &i);

		if (width && chars + 1 == width && i < s.n) {
			buf_lit(out, "\xe2\x80\xa6");
			return;
		}
		if (cp < 0x20 || dangerous(cp))
			buf_byte(out, ' ');
		else
			buf_put(out, s.p + from, i - from);
	}
}

void chat_clean_json(struct buf *out, struct str json)
{
	for (size_t i = 0, from = 0; i < json.n; from = i) {
		int32_t cp = utf8_next(json, &i);

		if (cp >= 0x7f && dangerous(cp))
			buf_printf(out, "\\u%04x", (unsigned)cp);
		else
			buf_put(out, json.p + from, i - from);
	}
}

/* ------------------------------------------------------------------ printing */

enum err chat_puts(struct str s)
{
	if (fwrite(s.n ? s.p : "", 1, s.n, stdout) != s.n || fflush(stdout) != 0)
		return err_set(E_IO, "cannot write to stdout: %s", strerror(errno));
	return OK;
}

enum err chat_print(struct buf *b)
{
	TRY(b->err);
	return chat_puts(buf_slice(b));
}

void chat_event(struct chat *ch, struct buf *b, struct jw *w, const char *name)
{
	buf_init(b, &ch->a, OUT_MAX);
	jw_init(w, b);
	jw_obj(w);
	jw_key(w, "event");
	jw_cstr(w, name);
	jw_key(w, "thread");
	if (ch->thread[0])
		jw_cstr(w, ch->thread);
	else
		jw_null(w);
}

enum err chat_event_end(struct buf *b, struct jw *w)
{
	struct buf line;

	jw_end_obj(w);
	TRY(b->err);
	buf_init(&line, b->arena, OUT_MAX);
	chat_clean_json(&line, buf_slice(b));
	buf_byte(&line, '\n');
	return chat_print(&line);
}

enum err chat_notice(struct chat *ch, const char *fmt, ...)
{
	char text[4096];
	struct buf b;
	struct jw w;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (ch->json) {
		chat_event(ch, &b, &w, "notice");
		jw_key(&w, "text");
		jw_cstr(&w, text);
		return chat_event_end(&b, &w);
	}
	if (!ch->people && ch->c->quiet)
		return OK;
	buf_init(&b, &ch->a, OUT_MAX);
	buf_lit(&b, ch->people ? ch->c->color_out ? "\033[2m" : "" : "cenote: ");
	chat_clean(&b, utf8_cut(str_c(text), sizeof text));
	buf_lit(&b, ch->people && ch->c->color_out ? "\033[0m\n" : "\n");
	if (ch->people)
		return chat_print(&b);
	TRY(b.err);
	fwrite(b.p, 1, b.n, stderr);
	return OK;
}

/* ------------------------------------------------------------------ memories */

struct str chat_member(struct arena *a, struct jval v, const char *name)
{
	struct jval m = j_get(v, str_c(name));

	return j_is(m, JSON_STRING) ? j_str(a, m) : STR("");
}

static struct str namespace_text(struct arena *a, struct jval v)
{
	struct buf b;
	struct jval label;

	buf_init(&b, a, 64 << 10);
	for (struct j_iter it = j_iter(v); j_next(&it, NULL, &label);) {
		buf_lit(&b, b.n ? "." : "");
		buf_str(&b, j_is(label, JSON_STRING) ? j_str(a, label) : STR("?"));
	}
	return b.err == OK && b.n ? buf_slice(&b) : STR("");
}

/* "made of lex 0.804, user 2.600": what each feature gave, in the ranker's order and under its names (docs/index.md). */
static void features(struct buf *out, struct arena *a, struct jval explain)
{
	struct jval list = j_get(explain, STR("features")), name, f;
	struct str order = chat_member(a, explain, "order");
	size_t n = 0;

	if (order.n) {
		chat_clean_line(out, order, TEXT_WIDTH);
		buf_lit(out, ": ");
		chat_clean_line(out, chat_member(a, explain, "reason"), TEXT_WIDTH);
		return;
	}
	if (!j_is(list, JSON_OBJECT))
		list = explain;
	for (struct j_iter it = j_iter(list); n < FEATURES_MAX && j_next(&it, &name, &f);) {
		double part;

		if (!j_is(f, JSON_OBJECT) || !j_double(j_get(f, STR("contribution")), &part) || (part < 0.0005 && part > -0.0005))
			continue;
		buf_lit(out, n++ ? ", " : "made of ");
		chat_clean_line(out, j_str(a, name), 40);
		buf_printf(out, " %.3f", part);
	}
	buf_lit(out, n ? "" : "no feature stood out");
}

/* "user_memories.ann / tea" or "thread 0199.., user". */
static void origin(struct buf *out, struct arena *a, struct jval hit)
{
	struct str thread = chat_member(a, hit, "thread"), name = chat_member(a, hit, "name");

	if (thread.n) {
		buf_lit(out, "thread ");
		chat_clean_line(out, thread, CHAT_THREAD_MAX);
		buf_lit(out, ", ");
		chat_clean_line(out, name.n ? name : chat_member(a, hit, "role"), 40);
		return;
	}
	chat_clean_line(out, namespace_text(a, j_get(hit, STR("namespace"))), 2 * CHAT_THREAD_MAX);
	buf_lit(out, " / ");
	chat_clean_line(out, chat_member(a, hit, "key"), CHAT_THREAD_MAX);
}

enum err chat_show_memories(struct chat *ch, struct jval hits, bool explain)
{
	const char *dim = ch->people && ch->c->color_out ? "\033[2m" : "", *end = dim[0] ? "\033[0m" : "";
	struct arena *a = &ch->a;
	struct jval hit;
	struct buf b;
	size_t n = 0;

	buf_init(&b, a, OUT_MAX);
	for (struct j_iter it = j_iter(hits); j_next(&it, NULL, &hit);) {
		struct str when = chat_member(a, hit, "time");
		double score;

		buf_printf(&b, "%2zu. ", ++n);
		if (j_double(j_get(hit, STR("score")), &score))
			buf_printf(&b, "%.3f  ", score);
		chat_clean_line(&b, chat_member(a, hit, "text"), explain ? 0 : TEXT_WIDTH);
		buf_printf(&b, "\n%s    from ", dim);
		origin(&b, a, hit);
		buf_lit(&b, when.n ? ", " : "");
		chat_clean_line(&b, when, 40);
		if (explain && j_ok(j_get(hit, STR("explain")))) {
			buf_lit(&b, "\n    ");
			features(&b, a, j_get(hit, STR("explain")));
		}
		buf_printf(&b, "%s\n", end);
	}
	return chat_print(&b);
}

enum err chat_hint_memories(struct chat *ch, struct jval hits)
{
	const char *dim = ch->c->color_out ? "\033[2m" : "", *end = dim[0] ? "\033[0m" : "";
	size_t all = j_is(hits, JSON_ARRAY) ? j_node(hits)->count : 0, n = 0;
	struct jval hit;
	struct buf b;

	if (!all)
		return OK;
	buf_init(&b, &ch->a, OUT_MAX);
	buf_printf(&b, "%s[%zu %s: ", dim, all, all == 1 ? "memory" : "memories");
	for (struct j_iter it = j_iter(hits); n < HINTED && j_next(&it, NULL, &hit); n++) {
		double score = 0;

		buf_lit(&b, n ? "; " : "");
		chat_clean_line(&b, chat_member(&ch->a, hit, "text"), 40);
		(void)j_double(j_get(hit, STR("score")), &score);
		buf_printf(&b, " %.2f", score);
	}
	buf_printf(&b, "%s - /why]%s\n", all > HINTED ? "; ..." : "", end);
	return chat_print(&b);
}

enum err chat_number_memories(struct chat *ch, struct jval hits)
{
	struct chat_list *l = &ch->memories;
	size_t count = j_is(hits, JSON_ARRAY) ? j_node(hits)->count : 0;
	struct jval hit;

	arena_clear(&l->arena);
	l->n = 0;
	l->v = ARENA_ARRAY(&l->arena, struct chat_ref, count + 1);
	if (!l->v)
		return E_NOMEM;
	for (struct j_iter it = j_iter(hits); j_next(&it, NULL, &hit);) {
		struct chat_ref *ref = &l->v[l->n++];

		/* What is read of a document may lie in it. */
		*ref = (struct chat_ref){arena_str(&l->arena, chat_member(&l->arena, hit, "thread")),
					 namespace_text(&l->arena, j_get(hit, STR("namespace"))),
					 arena_str(&l->arena, chat_member(&l->arena, hit, "key"))};
		if (!ref->thread.p || !ref->key.p)
			return E_NOMEM;
	}
	return OK;
}
