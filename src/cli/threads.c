/* `cenote threads` ls, show, history, diff: looking at threads. */
#include "cli/threads.h"

#include <errno.h>
#include <inttypes.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/thread_diff.h"
#include "cli/thread_text.h"
#include "cli/thread_tree.h"

enum { PAGE = 500, ID_WHOLE = 36, ID_MIN = 4, VALUE_WIDTH = 160 };
#define TEXT_MAX ((size_t)512 << 20)

/* ------------------------------------------------------------------- shared */

struct str thread_path(struct call *c, const char *thread, const char *rest)
{
	struct str t = url_encode(&c->arena, str_c(thread));

	return arena_printf(&c->arena, "/cenote/v1/threads/%.*s%s", STR_ARG(t), rest);
}

enum err send_json(struct call *c, const char *method, struct str path, struct str body, struct jval *out)
{
	struct json *doc = ARENA_NEW(&c->arena, struct json);
	struct http_reply r;

	if (!doc)
		return E_NOMEM;
	TRY(peer_call(c, method, path, NULL, body, &r));
	*out = (struct jval){0};
	if (r.body.n == 0)
		return OK;
	TRY(reply_json(&c->arena, &r, doc));
	*out = json_root(doc);
	return OK;
}

enum err get_json(struct call *c, struct str path, struct jval *out)
{
	return send_json(c, "GET", path, str_of(NULL, 0), out);
}

enum err each_row(struct call *c, struct str path, int64_t limit, row_fn fn, void *ctx)
{
	struct str cursor = {0};

	while (limit > 0) {
		struct jval page, data, next, v;

		TRY(get_json(c,
			     arena_printf(&c->arena, "%.*slimit=%" PRId64 "%s%.*s", STR_ARG(path), limit < PAGE ? limit : PAGE,
					  cursor.n ? "&cursor=" : "", STR_ARG(cursor)),
			     &page));
		data = j_get(page, STR("data"));
		next = j_get(page, STR("next_cursor"));
		if (!j_is(data, JSON_ARRAY))
			return err_set(E_UPSTREAM, "the server's answer has no data (is it a Cenote server?)");
		for (struct j_iter it = j_iter(data); limit > 0 && j_next(&it, NULL, &v); limit--)
			TRY(fn(ctx, v));
		if (!j_is(next, JSON_STRING))
			break;
		cursor = url_encode(&c->arena, j_str(&c->arena, next));
	}
	return OK;
}

bool for_people(const struct call *c)
{
	return c->output == OUT_AUTO ? isatty(1) != 0 : c->output == OUT_TEXT || c->output == OUT_TABLE;
}

enum err print(struct buf *b)
{
	TRY(b->err);
	if (fwrite(b->p ? b->p : "", 1, b->n, stdout) != b->n || fflush(stdout) != 0)
		return err_set(E_IO, "cannot write to stdout: %s", strerror(errno));
	return OK;
}

int ended(struct call *c, enum err e)
{
	if (e == E_CANCELLED) {
		fprintf(stderr, "cenote: %s\n", diag_get()->text);
		return 1;
	}
	return e == OK ? 0 : call_fail(c, e);
}

static struct str text_of(struct call *c, struct jval v, const char *name)
{
	struct jval m = j_get(v, str_c(name));

	return j_is(m, JSON_STRING) ? j_str(&c->arena, m) : STR("");
}

static int64_t int_of(struct jval v, const char *name)
{
	int64_t n = 0;

	(void)j_i64(j_get(v, str_c(name)), &n);
	return n;
}

/* ----------------------------------------------------------------------- ls */

static enum err print_row(void *ctx, struct jval row)
{
	return out_row(ctx, row);
}

static enum err ls(struct call *c)
{
	static const struct column cols[] = {
		{"THREAD", "thread", 60},  {"USER", "user", 30},    {"MESSAGES", "messages", 0}, {"CHECKPOINTS", "checkpoints", 0},
		{"ENTRIES", "entries", 0}, {"STATUS", "status", 0}, {"UPDATED", "updated_at", 0}};
	struct str prefix = url_encode(&c->arena, str_c(c->argc ? c->args[0] : "")),
		   user = url_encode(&c->arena, str_c(call_has(c, "of-user") ? call_flag(c, "of-user") : ""));
	int64_t limit;
	struct out o;

	TRY(call_int(c, "limit", 1, 1000000, 100, &limit));
	TRY(peer_open(c));
	out_begin(&o, c, cols, sizeof cols / sizeof cols[0], "thread", false);
	TRY(each_row(c,
		     arena_printf(&c->arena, "/cenote/v1/threads?%s%.*s%s%.*s%s", c->argc ? "prefix=" : "", STR_ARG(prefix),
				  user.n ? "&user=" : "", STR_ARG(user), c->argc || user.n ? "&" : ""),
		     limit, print_row, &o));
	if (o.rows == 0 && !c->quiet && isatty(2))
		fprintf(stderr, "cenote: there are none\n");
	return out_end(&o);
}

int run_threads_ls(struct call *c)
{
	return ended(c, ls(c));
}

/* ------------------------------------------------------------------ history */

struct history {
	struct call *c;
	struct jval *v; /* newest first */
	size_t n, cap;
};

static enum err keep_step(void *ctx, struct jval row)
{
	struct history *h = ctx;

	if (h->n == h->cap) {
		size_t cap = h->cap ? h->cap * 2 : 64;
		struct jval *grown = arena_grow(&h->c->arena, h->v, h->cap * sizeof *grown, cap * sizeof *grown);

		if (!grown)
			return E_NOMEM;
		h->v = grown;
		h->cap = cap;
	}
	h->v[h->n++] = row;
	return OK;
}

/* ns NULL: all. */
static enum err fetch_steps(struct call *c, const char *thread, const char *ns, int64_t limit, struct history *h)
{
	struct str path = thread_path(c, thread, "/checkpoints?");

	*h = (struct history){.c = c};
	if (ns) {
		struct str n = url_encode(&c->arena, str_c(ns));

		path = arena_printf(&c->arena, "%.*sns=%.*s&", STR_ARG(path), STR_ARG(n));
	}
	return path.p ? each_row(c, path, limit, keep_step, h) : E_NOMEM;
}

enum err resolve_id(struct call *c, const char *thread, const char *ns, const char *text, struct str *out)
{
	struct str want = str_c(text), found = {0};
	struct history h;

	*out = want;
	if (want.n == 0 || want.n >= ID_WHOLE)
		return OK;
	TRY(fetch_steps(c, thread, ns, INT64_MAX, &h));
	for (size_t i = 0; i < h.n; i++) {
		struct str id = text_of(c, h.v[i], "id");

		if (str_eq(id, want))
			return OK;
		if (!str_starts(id, want) || want.n < ID_MIN)
			continue;
		if (found.n > 0)
			return err_set(E_INVALID, "%s begins the ids of several checkpoints; say more of it", text);
		found = id;
	}
	if (found.n == 0)
		return err_set(E_NOT_FOUND, "%s is no checkpoint of %s", text, thread);
	*out = found;
	return OK;
}

/* "●  1ef0c4a2  step 3   loop    5m  1.2 KiB" */
static void print_step(struct buf *b, struct call *c, struct jval v, const struct tree_row *row, size_t width, size_t short_n,
		       int64_t now_us)
{
	struct str id = str_sub(row->id, 0, short_n), source = text_of(c, v, "source");
	struct jval step = j_get(v, STR("step"));
	struct buf age, size;

	buf_init(&age, &c->arena, 64);
	buf_init(&size, &c->arena, 64);
	text_age(&age, text_of(c, v, "created_at"), now_us);
	text_bytes(&size, int_of(v, "bytes"));
	if (row->joins.n > 0)
		buf_printf(b, "%.*s\n", STR_ARG(row->joins));
	buf_str(b, row->marks);
	buf_printf(b, "%*s", (int)(width - tree_width(row->marks)) + 2, "");
	buf_printf(b, "%s%.*s%s%*s", c->color_out ? "\033[33m" : "", STR_ARG(id), c->color_out ? "\033[0m" : "",
		   (int)(short_n > id.n && short_n < 64 ? short_n - id.n : 0) + 2, "");
	buf_printf(b, "step %-4.*s %-7.*s %5.*s  %10.*s%s\n", STR_ARG(j_null(step) ? STR("-") : j_raw(step)),
		   STR_ARG(source.n ? source : STR("-")), STR_ARG(buf_slice(&age)), STR_ARG(buf_slice(&size)),
		   row->head ? "  head" : "");
}

/* The rows of one namespace, which are neighbours here. */
static enum err print_tree(struct buf *b, struct call *c, const struct history *h, struct str ns, size_t short_n)
{
	struct tree_row *rows = ARENA_ARRAY(&c->arena, struct tree_row, h->n + 1);
	size_t *at = ARENA_ARRAY(&c->arena, size_t, h->n + 1), n = 0, width;

	if (!rows || !at)
		return E_NOMEM;
	for (size_t i = 0; i < h->n; i++) {
		if (!str_eq(text_of(c, h->v[i], "ns"), ns))
			continue;
		rows[n] =
			(struct tree_row){.id = text_of(c, h->v[i], "id"), .parent = text_of(c, h->v[i], "parent"), .head = n == 0};
		at[n++] = i;
	}
	TRY(tree_draw(&c->arena, rows, n, &width));
	for (size_t i = 0; i < n; i++)
		print_step(b, c, h->v[at[i]], &rows[i], width, short_n, clock_wall_us());
	return OK;
}

static enum err print_trees(struct call *c, const struct history *h)
{
	struct tree_row *rows = ARENA_ARRAY(&c->arena, struct tree_row, h->n + 1);
	struct str *seen = ARENA_ARRAY(&c->arena, struct str, h->n + 2);
	size_t seen_n = 0, short_n;
	struct buf b;

	if (!rows || !seen)
		return E_NOMEM;
	buf_init(&b, &c->arena, TEXT_MAX);
	for (size_t i = 0; i < h->n; i++)
		rows[i] = (struct tree_row){.id = text_of(c, h->v[i], "id")};
	short_n = tree_short(&c->arena, rows, h->n);
	TRY(print_tree(&b, c, h, STR(""), short_n));
	seen[seen_n++] = STR("");
	for (size_t i = 0; i < h->n; i++) {
		struct jval ns_value = j_get(h->v[i], STR("ns"));
		struct str ns = text_of(c, h->v[i], "ns");
		size_t k = 0;

		while (k < seen_n && !str_eq(seen[k], ns))
			k++;
		if (k < seen_n)
			continue;
		seen[seen_n++] = ns;
		buf_lit(&b, b.n ? "\n" : "");
		text_value(&b, &c->arena, ns_value, 0);
		buf_byte(&b, '\n');
		TRY(print_tree(&b, c, h, ns, short_n));
	}
	return print(&b);
}

static enum err history(struct call *c)
{
	static const struct column cols[] = {{"ID", "id", 0},	   {"PARENT", "parent", 0}, {"NS", "ns", 0},
					     {"STEP", "step", 0},  {"SOURCE", "source", 0}, {"CREATED", "created_at", 0},
					     {"BYTES", "bytes", 0}};
	const char *ns = call_has(c, "all") ? NULL : call_has(c, "ns") ? call_flag(c, "ns") : "";
	struct history h;
	struct out o;
	int64_t limit;

	TRY(call_int(c, "limit", 1, 1000000, 100, &limit));
	TRY(peer_open(c));
	TRY(fetch_steps(c, c->args[0], ns, limit, &h));
	if (for_people(c))
		return print_trees(c, &h);
	out_begin(&o, c, cols, sizeof cols / sizeof cols[0], "id", false);
	for (size_t i = 0; i < h.n; i++)
		TRY(out_row(&o, h.v[i]));
	return out_end(&o);
}

int run_threads_history(struct call *c)
{
	return ended(c, history(c));
}

/* -------------------------------------------------------------------- state */

/* Absent (not an error) when head is asked for and the thread has no checkpoint. */
static enum err fetch_state(struct call *c, const char *thread, const char *ns, struct str id, struct jval *out)
{
	struct str n = url_encode(&c->arena, str_c(ns)), i = url_encode(&c->arena, id);

	return get_json(
		c,
		thread_path(
			c, thread,
			arena_printf(&c->arena, "/state?ns=%.*s%s%.*s", STR_ARG(n), i.n ? "&checkpoint_id=" : "", STR_ARG(i)).p),
		out);
}

static struct str state_id(struct call *c, struct jval state, const char *member)
{
	return text_of(c, j_get(state, str_c(member)), "checkpoint_id");
}

static void print_list(struct buf *b, struct call *c, struct jval list, int64_t limit, unsigned indent)
{
	int64_t count = j_node(list)->count, i = 0;
	struct jval v;

	if (count > limit)
		buf_printf(b, "%*s... %" PRId64 " before\n", (int)indent, "", count - limit);
	for (struct j_iter it = j_iter(list); j_next(&it, NULL, &v); i++)
		if (i >= count - limit)
			text_message(b, &c->arena, v, indent, c->color_out);
}

static bool is_messages(struct jval v)
{
	struct j_iter it;
	struct jval first;

	if (!j_is(v, JSON_ARRAY))
		return false;
	it = j_iter(v);
	return j_next(&it, NULL, &first) && text_is_message(first);
}

static void print_values(struct buf *b, struct call *c, struct jval values, int64_t limit)
{
	struct jval key, v;

	for (struct j_iter it = j_iter(values); j_is(values, JSON_OBJECT) && j_next(&it, &key, &v);) {
		buf_lit(b, "  ");
		text_value(b, &c->arena, key, 60);
		if (is_messages(v)) {
			buf_printf(b, " (%u)\n", j_node(v)->count);
			print_list(b, c, v, limit, 4);
		} else {
			buf_lit(b, ": ");
			text_value(b, &c->arena, v, VALUE_WIDTH);
			buf_byte(b, '\n');
		}
	}
}

static void print_state(struct buf *b, struct call *c, struct jval state, int64_t limit)
{
	struct jval meta = j_get(state, STR("metadata")), step = j_get(meta, STR("step")), list = j_get(state, STR("interrupts")),
		    next = j_get(state, STR("next")), v;

	buf_printf(b, "\nstate at %.*s, step %.*s, %.*s\n", STR_ARG(state_id(c, state, "checkpoint")),
		   STR_ARG(j_null(step) ? STR("-") : j_raw(step)), STR_ARG(text_of(c, meta, "source")));
	print_values(b, c, j_get(state, STR("values")), limit);
	if (j_is(next, JSON_ARRAY) && j_node(next)->count > 0) {
		buf_lit(b, "  next: ");
		text_value(b, &c->arena, next, VALUE_WIDTH);
		buf_byte(b, '\n');
	}
	for (struct j_iter it = j_iter(list); j_is(list, JSON_ARRAY) && j_next(&it, NULL, &v);) {
		buf_lit(b, "  interrupted: ");
		text_value(b, &c->arena, j_ok(j_get(v, STR("value"))) ? j_get(v, STR("value")) : v, VALUE_WIDTH);
		buf_byte(b, '\n');
	}
}

/* --------------------------------------------------------------------- show */

struct shown {
	struct jval info, state, entries;
	struct history messages;
};

static enum err fetch_shown(struct call *c, struct shown *s, int64_t limit)
{
	const char *thread = c->args[0], *ns = call_has(c, "ns") ? call_flag(c, "ns") : "";
	struct str t = url_encode(&c->arena, str_c(thread)), id;

	*s = (struct shown){.messages.c = c};
	TRY(get_json(c, thread_path(c, thread, ""), &s->info));
	TRY(resolve_id(c, thread, ns, call_flag(c, "checkpoint"), &id));
	if (int_of(s->info, "checkpoints") > 0 || id.n > 0)
		TRY(fetch_state(c, thread, ns, id, &s->state));
	if (int_of(s->info, "entries") > 0)
		TRY(get_json(c, arena_printf(&c->arena, "/cenote/v1/sessions/%.*s/items?limit=%" PRId64, STR_ARG(t), limit),
			     &s->entries));
	if (int_of(s->info, "messages") > 0)
		TRY(each_row(c, thread_path(c, thread, "/messages?"), INT64_MAX, keep_step, &s->messages));
	return OK;
}

static enum err show_json(struct call *c, const struct shown *s)
{
	struct buf b;
	struct jw w;

	buf_init(&b, &c->arena, TEXT_MAX);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "thread");
	jw_raw(&w, j_raw(s->info));
	jw_key(&w, "messages");
	jw_arr(&w);
	for (size_t i = 0; i < s->messages.n; i++)
		jw_raw(&w, j_raw(s->messages.v[i]));
	jw_end_arr(&w);
	jw_key(&w, "entries");
	jw_raw(&w, j_is(j_get(s->entries, STR("data")), JSON_ARRAY) ? j_raw(j_get(s->entries, STR("data"))) : STR("[]"));
	jw_key(&w, "state");
	jw_raw(&w, j_ok(s->state) ? j_raw(s->state) : STR("null"));
	jw_end_obj(&w);
	buf_byte(&b, '\n');
	return print(&b);
}

static void print_info(struct buf *b, struct call *c, struct jval info)
{
	struct str user = text_of(c, info, "user");

	buf_lit(b, c->color_out ? "\033[1m" : "");
	text_value(b, &c->arena, j_get(info, STR("thread")), 0);
	buf_lit(b, c->color_out ? "\033[0m" : "");
	if (user.n > 0) {
		buf_lit(b, " of ");
		text_value(b, &c->arena, j_get(info, STR("user")), 0);
	}
	buf_printf(b, ": %.*s, %" PRId64 " messages, %" PRId64 " checkpoints, %" PRId64 " entries",
		   STR_ARG(text_of(c, info, "status")), int_of(info, "messages"), int_of(info, "checkpoints"),
		   int_of(info, "entries"));
	buf_printf(b, ", changed %.*s\n", STR_ARG(text_of(c, info, "updated_at")));
	if (j_is(j_get(info, STR("metadata")), JSON_OBJECT) && j_node(j_get(info, STR("metadata")))->count > 0) {
		buf_lit(b, "metadata: ");
		text_value(b, &c->arena, j_get(info, STR("metadata")), VALUE_WIDTH);
		buf_byte(b, '\n');
	}
}

static enum err show(struct call *c)
{
	struct shown s;
	struct jval data;
	struct buf b;
	int64_t limit;

	TRY(call_int(c, "limit", 1, 1000000, 50, &limit));
	TRY(peer_open(c));
	TRY(fetch_shown(c, &s, limit));
	if (!for_people(c))
		return show_json(c, &s);
	buf_init(&b, &c->arena, TEXT_MAX);
	print_info(&b, c, s.info);
	if (s.messages.n > 0)
		buf_lit(&b, "\nmessages\n");
	if ((int64_t)s.messages.n > limit)
		buf_printf(&b, "  ... %" PRId64 " before\n", (int64_t)s.messages.n - limit);
	for (size_t i = (int64_t)s.messages.n > limit ? s.messages.n - (size_t)limit : 0; i < s.messages.n; i++)
		text_message(&b, &c->arena, s.messages.v[i], 2, c->color_out);
	data = j_get(s.entries, STR("data"));
	if (j_is(data, JSON_ARRAY) && j_node(data)->count > 0) {
		buf_lit(&b, "\nsession\n");
		print_list(&b, c, data, limit, 2);
	}
	if (j_ok(s.state))
		print_state(&b, c, s.state, limit);
	return print(&b);
}

int run_threads_show(struct call *c)
{
	return ended(c, show(c));
}

/* --------------------------------------------------------------------- diff */

static void print_appended(struct buf *b, struct call *c, const struct diff_channel *d)
{
	uint32_t i = 0;
	struct jval v;

	buf_printf(b, " (%u more)\n", j_node(d->to)->count - d->kept);
	for (struct j_iter it = j_iter(d->to); j_next(&it, NULL, &v); i++) {
		if (i < d->kept)
			continue;
		if (text_is_message(v)) {
			text_message(b, &c->arena, v, 4, c->color_out);
		} else {
			buf_lit(b, "    ");
			text_value(b, &c->arena, v, VALUE_WIDTH);
			buf_byte(b, '\n');
		}
	}
}

static void print_diff(struct buf *b, struct call *c, const struct diff_channel *d)
{
	static const char marks[] = {'+', '-', '~', '+'};

	buf_printf(b, "%c ", marks[d->kind]);
	buf_str(b, d->channel);
	if (d->kind == DIFF_APPENDED) {
		print_appended(b, c, d);
		return;
	}
	if (d->kind == DIFF_ADDED && is_messages(d->to)) {
		buf_printf(b, " (%u)\n", j_node(d->to)->count);
		print_list(b, c, d->to, INT64_MAX, 4);
		return;
	}
	buf_lit(b, ": ");
	text_value(b, &c->arena, d->kind == DIFF_ADDED ? d->to : d->from, VALUE_WIDTH / 2);
	if (d->kind == DIFF_CHANGED) {
		buf_lit(b, " \xe2\x86\x92 ");
		text_value(b, &c->arena, d->to, VALUE_WIDTH / 2);
	}
	buf_byte(b, '\n');
}

static void step_line(struct buf *b, struct call *c, const char *word, struct jval state)
{
	struct jval meta = j_get(state, STR("metadata")), step = j_get(meta, STR("step"));

	buf_printf(b, "%s %.*s step %.*s %.*s\n", word, STR_ARG(state_id(c, state, "checkpoint")),
		   STR_ARG(j_null(step) ? STR("-") : j_raw(step)), STR_ARG(text_of(c, meta, "source")));
}

/* The two states: A and B, A and the head, or the head and its parent. */
static enum err fetch_pair(struct call *c, struct jval *from, struct jval *to)
{
	const char *thread = c->args[0], *ns = call_has(c, "ns") ? call_flag(c, "ns") : "";
	struct str a, b;

	TRY(resolve_id(c, thread, ns, c->argc > 1 ? c->args[1] : NULL, &a));
	TRY(resolve_id(c, thread, ns, c->argc > 2 ? c->args[2] : NULL, &b));
	TRY(fetch_state(c, thread, ns, b, to));
	if (c->argc == 1)
		a = state_id(c, *to, "parent_checkpoint");
	*from = (struct jval){0};
	return a.n > 0 ? fetch_state(c, thread, ns, a, from) : OK;
}

static enum err diff(struct call *c)
{
	struct diff_channel *d;
	struct jval from, to;
	struct buf b;
	struct jw w;
	size_t n;

	TRY(peer_open(c));
	TRY(fetch_pair(c, &from, &to));
	TRY(thread_diff(&c->arena, j_get(from, STR("values")), j_get(to, STR("values")), &d, &n));
	buf_init(&b, &c->arena, TEXT_MAX);
	if (for_people(c)) {
		step_line(&b, c, "from", from);
		step_line(&b, c, "to  ", to);
		for (size_t i = 0; i < n; i++)
			print_diff(&b, c, &d[i]);
		if (n == 0)
			buf_lit(&b, "no channel differs\n");
		return print(&b);
	}
	buf_lit(&b, "{\"from\":");
	json_quote(&b, state_id(c, from, "checkpoint"));
	buf_lit(&b, ",\"to\":");
	json_quote(&b, state_id(c, to, "checkpoint"));
	buf_lit(&b, ",\"channels\":");
	jw_init(&w, &b);
	diff_json(&w, d, n);
	buf_lit(&b, "}\n");
	return print(&b);
}

int run_threads_diff(struct call *c)
{
	return ended(c, diff(c));
}
