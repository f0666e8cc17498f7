/* The commands of a chat: what begins with a slash. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/clock.h"
#include "cli/chat.h"
#include "cli/thread_text.h"
#include "cli/threads.h"
#include "core/memory.h"
#include "core/principal.h"

enum { THREADS_SHOWN = 20, THREADS_SEEN = 5000, PAGE = 500, MEMORIES_SHOWN = 100, LAST_SHOWN = 4, TITLE_WIDTH = 60 };
enum { COPY_ITEMS = 500 };
#define COPY_BYTES ((size_t)2 << 20)
#define TEXT_BYTES ((size_t)64 << 20)

static struct str session_path(struct chat *ch, struct str thread, const char *rest)
{
	struct str t = url_encode(&ch->a, thread);

	return arena_printf(&ch->a, "/cenote/v1/sessions/%.*s%s", STR_ARG(t), rest);
}

static struct str conversation_path(struct chat *ch, struct str thread, const char *rest)
{
	struct str t = url_encode(&ch->a, thread);

	return arena_printf(&ch->a, "/v1/conversations/%.*s%s", STR_ARG(t), rest);
}

static enum err no_data(void)
{
	return err_set(E_UPSTREAM, "the server's answer has no data (is it a Cenote server?)");
}

/* The member data of a GET. */
static enum err get_data(struct chat *ch, struct str path, struct jval *data)
{
	struct jval answer;

	TRY(chat_call(ch, "GET", path, str_of(NULL, 0), &answer));
	*data = j_get(answer, STR("data"));
	return j_is(*data, JSON_ARRAY) ? OK : no_data();
}

static enum err list_event(struct chat *ch, const char *name, struct str json)
{
	struct buf b;
	struct jw w;

	chat_event(ch, &b, &w, name);
	jw_key(&w, "data");
	jw_raw(&w, json);
	return chat_event_end(&b, &w);
}

static void set_thread(struct chat *ch, struct str thread, bool there)
{
	memcpy(ch->thread, thread.p, thread.n);
	ch->thread[thread.n] = '\0';
	ch->resumed = there;
	ch->why = str_of(NULL, 0);
}

/* ----------------------------------------------------------------- threads */

struct row {
	struct str thread, updated;
	int64_t entries;
	struct jval json;
};

static int newest_first(const void *a, const void *b)
{
	return str_cmp(((const struct row *)b)->updated, ((const struct row *)a)->updated);
}

/* The user's threads that have something said in them, newest first. */
static enum err find_threads(struct chat *ch, struct row **out, size_t *n)
{
	struct str user = url_encode(&ch->a, ch->user), cursor = {0};
	struct row *v = ARENA_ARRAY(&ch->a, struct row, THREADS_SEEN);

	*n = 0;
	if (!v || !user.p)
		return E_NOMEM;
	do {
		struct jval page, row, next;
		struct str path = arena_printf(&ch->a, "/cenote/v1/sessions?limit=%d%s%.*s%s%.*s", PAGE, user.n ? "&user=" : "",
					       STR_ARG(user), cursor.n ? "&cursor=" : "", STR_ARG(cursor));

		TRY(chat_call(ch, "GET", path, str_of(NULL, 0), &page));
		if (!j_is(j_get(page, STR("data")), JSON_ARRAY))
			return no_data();
		for (struct j_iter it = j_iter(j_get(page, STR("data"))); *n < THREADS_SEEN && j_next(&it, NULL, &row);) {
			v[*n] = (struct row){chat_member(&ch->a, row, "thread"), chat_member(&ch->a, row, "updated_at"), 0, row};
			(void)j_i64(j_get(row, STR("entries")), &v[(*n)++].entries);
		}
		next = j_get(page, STR("next_cursor"));
		cursor = j_is(next, JSON_STRING) ? url_encode(&ch->a, j_str(&ch->a, next)) : STR("");
	} while (cursor.n && *n < THREADS_SEEN);
	qsort(v, *n, sizeof *v, newest_first);
	*out = v;
	return OK;
}

/* What was said first in a thread. */
static enum err title_of(struct chat *ch, struct str thread, struct str *out)
{
	struct jval data, item, part;
	struct j_iter it, parts;

	*out = STR("");
	TRY(get_data(ch, conversation_path(ch, thread, "/items?limit=1&order=asc"), &data));
	it = j_iter(data);
	if (!j_next(&it, NULL, &item) || !j_is(j_get(item, STR("content")), JSON_ARRAY))
		return OK;
	parts = j_iter(j_get(item, STR("content")));
	if (j_next(&parts, NULL, &part))
		*out = chat_member(&ch->a, part, "text");
	return OK;
}

static enum err number_threads(struct chat *ch, const struct row *v, size_t n)
{
	struct chat_list *l = &ch->threads;

	arena_clear(&l->arena);
	l->n = 0;
	l->v = ARENA_ARRAY(&l->arena, struct chat_ref, n + 1);
	if (!l->v)
		return E_NOMEM;
	for (size_t i = 0; i < n; i++)
		l->v[l->n++] = (struct chat_ref){.thread = arena_str(&l->arena, v[i].thread)};
	return OK;
}

static enum err threads_event(struct chat *ch, const struct row *v, size_t n)
{
	struct buf b;

	buf_init(&b, &ch->a, TEXT_BYTES);
	for (size_t i = 0; i < n; i++) {
		buf_lit(&b, i ? "," : "[");
		buf_str(&b, j_raw(v[i].json));
	}
	buf_lit(&b, n ? "]" : "[]");
	TRY(b.err);
	return list_event(ch, "threads", buf_slice(&b));
}

static enum err threads(struct chat *ch, struct str arg)
{
	struct row *v;
	size_t n, shown;
	struct buf b;

	(void)arg;
	TRY(find_threads(ch, &v, &n));
	shown = n < THREADS_SHOWN ? n : THREADS_SHOWN;
	TRY(number_threads(ch, v, shown));
	if (ch->json)
		return threads_event(ch, v, shown);
	if (!n)
		return chat_notice(ch, "there are no threads yet");
	buf_init(&b, &ch->a, TEXT_BYTES);
	for (size_t i = 0; i < shown; i++) {
		struct str title;

		TRY(title_of(ch, v[i].thread, &title));
		buf_printf(&b, "%s%2zu. ", str_eq(v[i].thread, str_c(ch->thread)) ? "*" : " ", i + 1);
		chat_clean_line(&b, v[i].thread, CHAT_THREAD_MAX);
		buf_printf(&b, "  %" PRId64 " items, ", v[i].entries);
		text_age(&b, v[i].updated, clock_wall_us());
		buf_lit(&b, "  ");
		chat_clean_line(&b, title, TITLE_WIDTH);
		buf_byte(&b, '\n');
	}
	if (shown < n)
		buf_printf(&b, "    and %zu more (cenote sessions ls)\n", n - shown);
	return chat_print(&b);
}

static enum err show_last(struct chat *ch)
{
	struct str path = session_path(ch, str_c(ch->thread), arena_printf(&ch->a, "/items?limit=%d", LAST_SHOWN).p);
	struct jval data, item;
	struct buf b;

	if (!ch->people)
		return OK;
	TRY(get_data(ch, path, &data));
	buf_init(&b, &ch->a, TEXT_BYTES);
	for (struct j_iter it = j_iter(data); j_next(&it, NULL, &item);) {
		struct buf text;

		buf_init(&text, &ch->a, TEXT_BYTES);
		text_message(&text, &ch->a, item, 2, ch->c->color_out);
		TRY(text.err);
		/* It has been cleaned; its colours are its own. */
		buf_str(&b, buf_slice(&text));
	}
	return chat_print(&b);
}

enum err chat_resume(struct chat *ch, struct str thread)
{
	struct jval found;

	TRY(chat_call(ch, "GET", conversation_path(ch, thread, ""), str_of(NULL, 0), &found));
	if (thread.n > CHAT_THREAD_MAX)
		return err_set(E_INVALID, "a thread's name has at most %d bytes", CHAT_THREAD_MAX);
	set_thread(ch, thread, true);
	return show_last(ch);
}

/* What the user typed: a number of /threads, a name, or the beginning of one. */
static enum err thread_named(struct chat *ch, struct str arg, struct str *out)
{
	struct row *v;
	size_t n, same = 0;
	int64_t at;

	*out = arg;
	if (str_int(arg, 1, (int64_t)ch->threads.n, &at)) {
		*out = ch->threads.v[at - 1].thread;
		return OK;
	}
	TRY(find_threads(ch, &v, &n));
	for (size_t i = 0; i < n; i++) {
		if (str_eq(v[i].thread, arg)) {
			*out = arg;
			return OK;
		}
		if (!str_starts(v[i].thread, arg))
			continue;
		*out = v[i].thread;
		same++;
	}
	return same > 1 ? err_set(E_INVALID, "%.*s begins the names of %zu threads; say more of it", STR_ARG(arg), same) : OK;
}

static enum err say_thread(struct chat *ch, const char *what)
{
	struct buf b;
	struct jw w;

	if (!ch->json)
		return chat_notice(ch, "%s thread %s", what, ch->thread);
	chat_event(ch, &b, &w, "thread");
	jw_key(&w, "resumed");
	jw_bool(&w, ch->resumed);
	return chat_event_end(&b, &w);
}

static enum err resume(struct chat *ch, struct str arg)
{
	struct str thread;

	if (!arg.n)
		return err_set(E_INVALID, "/resume THREAD: a number of /threads, a thread's name, or the beginning of one");
	TRY(thread_named(ch, arg, &thread));
	TRY(chat_resume(ch, thread));
	return say_thread(ch, "going on with");
}

static enum err new_thread(struct chat *ch, struct str arg)
{
	(void)arg;
	chat_new_thread(ch);
	ch->why = str_of(NULL, 0);
	return say_thread(ch, "new");
}

/* -------------------------------------------------------------------- fork */

static bool is_question(struct jval item)
{
	return j_str_eq(j_get(item, STR("role")), STR("user"));
}

/* How many items there are before the last `back` questions. */
static size_t before_last(struct jval data, int64_t back)
{
	size_t n = j_node(data)->count, at = 0, end = n;
	int64_t questions = 0, seen = 0;
	struct jval item;

	for (struct j_iter it = j_iter(data); j_next(&it, NULL, &item);)
		questions += is_question(item);
	for (struct j_iter it = j_iter(data); back > 0 && j_next(&it, NULL, &item); at++) {
		if (!is_question(item))
			continue;
		if (seen++ == (questions > back ? questions - back : 0)) {
			end = at;
			break;
		}
	}
	return end;
}

static enum err send_items(struct chat *ch, struct str thread, struct buf *b)
{
	struct jval none;

	buf_lit(b, "]}");
	TRY(b->err);
	return chat_call(ch, "POST", session_path(ch, thread, "/items"), buf_slice(b), &none);
}

/* The first n items into another thread, in calls that any server takes. */
static enum err copy_items(struct chat *ch, struct jval data, size_t n, struct str thread)
{
	struct j_iter it = j_iter(data);
	struct jval item;
	struct buf b;
	size_t in = 0;

	buf_init(&b, &ch->a, TEXT_BYTES);
	for (size_t i = 0; i < n && j_next(&it, NULL, &item); i++) {
		if (in == COPY_ITEMS || (in && b.n + j_raw(item).n > COPY_BYTES)) {
			TRY(send_items(ch, thread, &b));
			buf_clear(&b);
			in = 0;
		}
		buf_lit(&b, in++ ? "," : "{\"items\":[");
		buf_str(&b, j_raw(item));
	}
	return in ? send_items(ch, thread, &b) : OK;
}

static enum err fork_thread(struct chat *ch, struct str arg)
{
	char from[CHAT_THREAD_MAX + 1];
	int64_t back = 0;
	struct jval data;
	struct diag d;
	enum err e;
	size_t n;

	if (arg.n && !str_int(arg, 0, 1000000, &back))
		return err_set(E_INVALID, "/fork [N]: N is how many of the last questions to leave out");
	TRY(get_data(ch, session_path(ch, str_c(ch->thread), "/items"), &data));
	n = before_last(data, back);
	if (!n)
		return err_set(E_INVALID, "nothing would be left to go on from");
	memcpy(from, ch->thread, sizeof from);
	chat_new_thread(ch);
	e = copy_items(ch, data, n, str_c(ch->thread));
	if (e == OK) {
		set_thread(ch, str_c(ch->thread), true);
		TRY(chat_notice(ch, "%zu items of %s taken along", n, from));
		return say_thread(ch, "going on in");
	}
	/* Half a copy is worse than none. */
	d = *diag_get();
	struct jval none;
	(void)!chat_call(ch, "DELETE", session_path(ch, str_c(ch->thread), ""), str_of(NULL, 0), &none);
	set_thread(ch, str_c(from), true);
	*diag_get() = d;
	return e;
}

/* ---------------------------------------------------------------- memories */

static enum err own_namespace(struct chat *ch, struct str *out)
{
	if (!ch->user.n)
		return err_set(E_INVALID, "whose memories? Say --user, or ask something first");
	*out = user_namespace(&ch->a, ch->user);
	return out->p ? OK : E_NOMEM;
}

/* Items as hits of recall: what they have in common is namespace, key; the text is the value's, the time updated_at. */
static enum err as_hits(struct chat *ch, struct jval items, struct str *out)
{
	struct jval item;
	struct buf b;
	struct jw w;

	buf_init(&b, &ch->a, TEXT_BYTES);
	jw_init(&w, &b);
	jw_arr(&w);
	for (struct j_iter it = j_iter(items); j_next(&it, NULL, &item);) {
		struct jval value = j_get(item, STR("value"));
		struct str text = chat_member(&ch->a, value, "text");

		jw_obj(&w);
		jw_key(&w, "namespace");
		jw_raw(&w, j_raw(j_get(item, STR("namespace"))));
		jw_key(&w, "key");
		jw_str(&w, chat_member(&ch->a, item, "key"));
		jw_key(&w, "text");
		jw_str(&w, text.n ? text : j_raw(value));
		jw_key(&w, "value");
		jw_raw(&w, j_raw(value));
		jw_key(&w, "time");
		jw_str(&w, chat_member(&ch->a, item, "updated_at"));
		jw_end_obj(&w);
	}
	jw_end_arr(&w);
	*out = buf_slice(&b);
	return b.err;
}

static enum err memories(struct chat *ch, struct str arg)
{
	struct jval answer, result = {0}, none;
	struct j_iter results;
	struct json doc;
	struct str ns, hits;
	struct buf b;
	struct jw w;

	TRY(own_namespace(ch, &ns));
	buf_init(&b, &ch->a, 2 * LINE_MAX_BYTES);
	jw_init(&w, &b);
	buf_lit(&b, "{\"operations\":[{\"op\":\"search\",\"refresh_ttl\":false,\"namespace\":");
	ns_to_json(&w, ns);
	if (arg.n) {
		buf_lit(&b, ",\"query\":");
		json_quote(&b, arg);
	}
	buf_printf(&b, ",\"limit\":%d}]}", MEMORIES_SHOWN);
	TRY(b.err);
	TRY(chat_call(ch, "POST", STR("/cenote/v1/batch"), buf_slice(&b), &answer));
	results = j_iter(j_get(answer, STR("results")));
	if (!j_next(&results, NULL, &result) || !j_is(j_get(result, STR("items")), JSON_ARRAY))
		return no_data();
	TRY(as_hits(ch, j_get(result, STR("items")), &hits));
	TRY(json_parse(&ch->a, hits, NULL, &doc));
	none = json_root(&doc);
	TRY(chat_number_memories(ch, none));
	if (ch->json)
		return list_event(ch, "memories", hits);
	return j_node(none)->count ? chat_show_memories(ch, none, false)
				   : chat_notice(ch, "nothing is kept about %.*s", STR_ARG(ch->user));
}

/* On a terminal the person is asked; elsewhere --yes says it. */
static enum err confirm(struct chat *ch, struct str what, bool *yes)
{
	enum line_got got;
	struct str line;
	struct buf b;

	*yes = call_has(ch->c, "yes");
	if (*yes)
		return OK;
	if (!ch->typed || ch->c->no_input)
		return err_set(E_INVALID, "would forget %.*s; say --yes to do it", STR_ARG(what));
	buf_init(&b, &ch->a, 64 << 10);
	buf_lit(&b, "forget ");
	chat_clean_line(&b, what, 2 * CHAT_THREAD_MAX);
	buf_lit(&b, "? [y/N] ");
	buf_byte(&b, '\0');
	TRY(b.err);
	TRY(lines_next(ch->in, b.p, &got, &line));
	*yes = got == LINE_READ && (str_starts(line, STR("y")) || str_starts(line, STR("Y")));
	return OK;
}

static enum err forget(struct chat *ch, struct str arg)
{
	struct chat_ref ref = {.key = arg};
	struct str n, k, path, what;
	struct jval none;
	int64_t at;
	bool yes;

	if (!arg.n)
		return err_set(E_INVALID, "/forget WHICH: a number of /memories or /why, or a key");
	if (str_int(arg, 1, (int64_t)ch->memories.n, &at))
		ref = ch->memories.v[at - 1];
	else
		TRY(own_namespace(ch, &ref.ns));
	if (ref.thread.n)
		return err_set(E_INVALID, "that was said in thread %.*s; `cenote threads rm` removes whole threads",
			       STR_ARG(ref.thread));
	n = url_encode(&ch->a, ref.ns);
	k = url_encode(&ch->a, ref.key);
	path = arena_printf(&ch->a, "/cenote/v1/items?namespace=%.*s&key=%.*s", STR_ARG(n), STR_ARG(k));
	what = arena_printf(&ch->a, "%.*s / %.*s", STR_ARG(ref.ns), STR_ARG(ref.key));
	TRY(chat_call(ch, "GET", path, str_of(NULL, 0), &none)); /* what is not there cannot be forgotten */
	TRY(confirm(ch, what, &yes));
	if (!yes)
		return chat_notice(ch, "nothing was forgotten");
	TRY(chat_call(ch, "DELETE", path, str_of(NULL, 0), &none));
	return chat_notice(ch, "forgotten: %.*s", STR_ARG(what));
}

static enum err why(struct chat *ch, struct str arg)
{
	struct json doc;
	size_t n;

	(void)arg;
	if (!ch->why.p)
		return err_set(E_INVALID, "there is no answer in this chat yet, or the server did not say what it was made of");
	if (ch->json)
		return list_event(ch, "why", ch->why);
	TRY(json_parse(&ch->a, ch->why, &json_default_limits, &doc));
	n = j_node(json_root(&doc))->count;
	if (ch->trace.n)
		TRY(chat_notice(ch, "trace %.*s (cenote traces)", STR_ARG(ch->trace)));
	if (ch->away.n)
		return chat_notice(ch, "%.*s", STR_ARG(ch->away));
	if (!n)
		return chat_notice(ch, "no memories went into the last answer, only this thread");
	TRY(chat_notice(ch, "%zu %s, best first; score, where from, and what made the score:", n,
			n == 1 ? "memory went into the last answer" : "memories went into the last answer"));
	TRY(chat_number_memories(ch, json_root(&doc)));
	return chat_show_memories(ch, json_root(&doc), true);
}

/* ------------------------------------------------------------- model, export */

/* There is none to choose: a server has one model that answers. Those for facts and summaries are its own business. */
static enum err model(struct chat *ch, struct str arg)
{
	TRY(chat_find_model(ch));
	if (!ch->model[0])
		return chat_notice(
			ch, "no model: set llm.base_url and llm.model (on Databricks: DATABRICKS_HOST and DATABRICKS_TOKEN)%s",
			peer_own(ch->c) ? "" : " on the server");
	if (arg.n && !str_eq(arg, str_c(ch->model)))
		return err_set(E_NOT_FOUND, "there is no chat model \"%.*s\": a server has one, this one \"%s\"; %s names it",
			       STR_ARG(str_sub(arg, 0, CHAT_MODEL_MAX)), ch->model,
			       peer_own(ch->c) ? "--llm-model of `cenote chat`" : "its setting llm.model");
	return chat_notice(ch, "model %s", ch->model);
}

static enum err export(struct chat *ch, struct str arg) {
	char *file = arena_cstr(&ch->a, arg); uint64_t lines;

	if (!file) return E_NOMEM;
	if (!arg.n) return err_set(E_INVALID,
				   "/export FILE: where the thread goes, as JSON Lines (`cenote threads import` reads it)");
	TRY(threads_export_to(ch->c, ch->http, ch->thread, file, &lines));
	return chat_notice(ch, "%s: %" PRIu64 " lines", file, lines);
}

/* ---------------------------------------------------------------- the table */

static enum err help(struct chat *ch, struct str arg);
static enum err quit(struct chat *ch, struct str arg)
{
	(void)ch, (void)arg;
	return OK;
}

static const struct {
	const char *name, *args, *help;
	enum err (*run)(struct chat *ch, struct str arg);
} commands[] = {
	{"help", "", "this list", help},
	{"new", "", "a new thread", new_thread},
	{"threads", "", "your threads, newest first", threads},
	{"resume", "THREAD", "go on with a thread: its number in /threads, its name, or the beginning of it", resume},
	{"fork", "[N]", "go on in a copy of this thread; N: without the last N questions and their answers", fork_thread},
	{"memories", "[WORDS]", "what is kept about you, newest first; or what fits the words", memories},
	{"forget", "WHICH", "remove a memory: its number in /memories or /why, or its key", forget},
	{"why", "", "which memories went into the last answer: score, what made it, where it came from", why},
	{"model", "", "the model that answers; the server's setting llm.model names it", model},
	{"export", "FILE", "write this thread to a file", export},
	{"quit", "", "end (also Ctrl-D)", quit},
};
enum { COMMANDS = sizeof commands / sizeof commands[0] };

static enum err help(struct chat *ch, struct str arg)
{
	struct buf b;

	(void)arg;
	buf_init(&b, &ch->a, 64 << 10);
	for (size_t i = 0; i < COMMANDS; i++) {
		struct str name = arena_printf(&ch->a, "/%s %s", commands[i].name, commands[i].args);

		buf_printf(&b, "%-17.*s %s\n", STR_ARG(name), commands[i].help);
	}
	buf_lit(&b,
		"A line of \"\"\" begins a text of several lines, another one ends it. // says a slash. Ctrl-C stops an answer.\n");
	if (!ch->json)
		return chat_print(&b);
	TRY(b.err);
	return chat_notice(ch, "%.*s", STR_ARG(buf_slice(&b)));
}

const char *const *chat_command_words(void)
{
	static const char *words[COMMANDS + 1];
	static char text[COMMANDS][16];

	for (size_t i = 0; i < COMMANDS; i++) {
		snprintf(text[i], sizeof text[i], "/%s", commands[i].name);
		words[i] = text[i];
	}
	return words;
}

enum err chat_command(struct chat *ch, struct str line, bool *ends)
{
	struct str name, arg;
	unsigned least = 3;
	const char *near = NULL;

	(void)str_cut(str_sub(line, 1, line.n), ' ', &name, &arg);
	for (size_t i = 0; i < COMMANDS; i++) {
		struct str have = str_c(commands[i].name);
		unsigned d = str_distance(name, have);

		if (str_eq(name, have)) {
			*ends = commands[i].run == quit;
			return commands[i].run(ch, str_trim(arg));
		}
		if (d < least) {
			least = d;
			near = commands[i].name;
		}
	}
	return err_set(E_INVALID, "there is no command /%.*s%s%s; /help lists them", STR_ARG(str_sub(name, 0, 40)),
		       near ? "; did you mean /" : "", near ? near : "");
}
