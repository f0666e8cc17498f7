/* `cenote chat`: a conversation at the terminal or over a pipe; `cenote ask`: one question.
 *
 * Invariants
 *  1. A chat has one thread from its start on, until /new, /resume or /fork; nothing is written before the first line is said.
 *  2. Ctrl-C stops the answer that is under way, or empties the line; a second one at an empty prompt ends the chat (130). Whatever
 *     ends it, what was said is kept, and the terminal is as it was.
 *  3. Over a pipe a failure does not end the chat, except that the server cannot be reached or refuses the key; the exit code is
 *     that of the first. At a terminal a daemon that has gone is followed by another one, or by this process. */
#include "cli/chat.h"

#include <locale.h>
#include <langinfo.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/utf8.h"
#include "base/uuid7.h"
#include "cli/interrupt.h"
#include "cli/threads.h"
#include "core/thread.h"

enum { CATCH_UP_MS = 2000 };
#define ARENA_MAX ((size_t)1 << 30)
#define QUESTION_BYTES ((size_t)1 << 20)

/* ------------------------------------------------------------------ beginning */

static void begin(struct chat *ch, struct call *c)
{
	*ch = (struct chat){.c = c, .keep = true};
	arena_init(&ch->a, ARENA_MAX);
	arena_init(&ch->memories.arena, 16 << 20);
	arena_init(&ch->threads.arena, 16 << 20);
	arena_init(&ch->why_arena, 64 << 20);
	ch->json = c->output == OUT_JSON || c->output == OUT_NDJSON;
	ch->people = !ch->json && isatty(1);
	ch->typed = ch->people && isatty(0);
}

static void end(struct chat *ch)
{
	lines_close(ch->in);
	if (ch->http)
		http_client_free(ch->http);
	arena_release(&ch->a);
	arena_release(&ch->memories.arena);
	arena_release(&ch->threads.arena);
	arena_release(&ch->why_arena);
}

void chat_new_thread(struct chat *ch)
{
	char id[UUID_TEXT + 1];

	uuid7_new(id);
	memcpy(ch->thread, id, sizeof id);
	ch->resumed = false;
}

/* Without a key it is one's own machine, and the user who is logged in. With one the server knows whose it is. */
static enum err find_user(struct chat *ch)
{
	const char *said = call_flag(ch->c, "user");
	const struct passwd *pw = said || call_has(ch->c, "key") || ch->c->cfg.api_key.n ? NULL : getpwuid(geteuid());
	struct str user = str_c(said ? said : pw ? pw->pw_name : "");

	ch->user = arena_str(&ch->c->arena, user);
	return ch->user.p ? OK : E_NOMEM;
}

/* What was said last time becomes findable in the background, which a store that has just been opened still has to do. */
static enum err catch_up(struct chat *ch)
{
	struct str path = arena_printf(&ch->a, "/cenote/v1/vectors?wait=indexed&wait_ms=%d", CATCH_UP_MS);
	struct jval state;
	enum err e = chat_call(ch, "GET", path, str_of(NULL, 0), &state);

	return e == E_TIMEOUT ? OK : e;
}

static enum err connect_up(struct chat *ch)
{
	struct call *c = ch->c;

	TRY(peer_open(c));
	TRY(find_user(ch));
	/* As long as the model may take to say its first word. */
	TRY(peer_client_as(c, ch->user, (uint32_t)c->cfg.llm_timeout + 10000, &ch->http));
	TRY(chat_find_model(ch));
	return peer_own(c) ? catch_up(ch) : OK;
}

/* --thread, which need not be there yet. */
static enum err choose_thread(struct chat *ch)
{
	const char *name = call_flag(ch->c, "thread");
	struct str t = str_c(name);
	enum err e;

	if (!name) {
		chat_new_thread(ch);
		return OK;
	}
	TRY(thread_check(t, "--thread"));
	for (size_t i = 0; i < t.n; i++)
		if ((unsigned char)t.p[i] < 0x20 || t.p[i] == 0x7f)
			return err_set(E_INVALID, "--thread must be without control characters");
	if (t.p[0] == ' ' || t.p[t.n - 1] == ' ')
		return err_set(E_INVALID, "--thread must not begin or end with a blank");
	if (!utf8_valid(t) || t.n > CHAT_THREAD_MAX)
		return err_set(E_INVALID, "--thread must be 1 to %d bytes of UTF-8", CHAT_THREAD_MAX);
	if (!ch->in) { /* one question needs no look at what was said before */
		memcpy(ch->thread, t.p, t.n);
		ch->thread[t.n] = '\0';
		return OK;
	}
	e = chat_resume(ch, t);
	if (e != E_NOT_FOUND)
		return e;
	memcpy(ch->thread, t.p, t.n);
	ch->thread[t.n] = '\0';
	ch->resumed = false;
	return OK;
}

static enum err greet(struct chat *ch)
{
	struct str server = peer_server(ch->c);
	struct buf b;
	struct jw w;

	if (ch->json) {
		chat_event(ch, &b, &w, "thread");
		jw_key(&w, "resumed");
		jw_bool(&w, ch->resumed);
		jw_key(&w, "user");
		jw_str(&w, ch->user);
		jw_key(&w, "model");
		jw_cstr(&w, ch->model);
		return chat_event_end(&b, &w);
	}
	if (!ch->people || ch->c->quiet)
		return OK;
	TRY(chat_notice(ch, "Cenote, %s%s; %s%.*s; %s%.*s",
			ch->model[0] ? "model " : "no model: what you type is kept, and shows what it recalls", ch->model,
			peer_own(ch->c) ? "store opened here" : "server ", STR_ARG(peer_own(ch->c) ? STR("") : server),
			ch->user.n ? "user " : "the key's user", STR_ARG(ch->user)));
	return chat_notice(ch, "%s thread %s. /help lists the commands, Ctrl-C stops an answer, Ctrl-D ends.",
			   ch->resumed ? "Going on with" : "New", ch->thread);
}

/* ---------------------------------------------------------------------- lines */

/* A terminal that can be edited on, and its encoding for the editor. */
static bool can_edit(const struct chat *ch)
{
	const char *term = getenv("TERM");

	if (!ch->typed || !term || !*term || strcmp(term, "dumb") == 0)
		return false;
	if (!setlocale(LC_CTYPE, "") || strcmp(nl_langinfo(CODESET), "UTF-8") != 0)
		(void)setlocale(LC_CTYPE, "C.UTF-8");
	return true;
}

static enum err open_lines(struct chat *ch)
{
	struct lines_options o = {.edit = can_edit(ch), .prompts = ch->typed, .words = chat_command_words()};
	struct str path;
	const char *note;

	if (o.edit && !call_has(ch->c, "no-history")) {
		if (lines_history_path(&ch->c->arena, &path) == OK)
			o.history = path.p;
		else
			TRY(chat_notice(ch, "no history is kept: %s", diag_get()->text));
	}
	TRY(lines_open(&o, &ch->in, &note));
	return note ? chat_notice(ch, "no history is kept: %s", note) : OK;
}

static const char *prompt(const struct chat *ch, bool more)
{
	if (!ch->c->color_out)
		return more ? "... " : "> ";
	/* Between bytes 1 the editor expects what takes no room. */
	return more ? "... " : can_edit(ch) ? "\1\033[1m\1> \1\033[0m\1" : "> ";
}

/* Everything between two lines that are """ is one text. */
static enum err read_block(struct chat *ch, struct str first, enum line_got *got, struct str *out)
{
	struct str line = first;
	struct buf b;

	buf_init(&b, &ch->a, 2 * LINE_MAX_BYTES);
	for (;;) {
		ptrdiff_t end = line.n >= 3 && str_ends(line, STR("\"\"\"")) ? (ptrdiff_t)line.n - 3 : -1;

		buf_str(&b, end >= 0 ? str_sub(line, 0, (size_t)end) : line);
		if (end >= 0)
			break;
		if (b.n)
			buf_byte(&b, '\n');
		TRY(lines_next(ch->in, prompt(ch, true), got, &line));
		if (*got != LINE_READ)
			break;
	}
	*out = str_trim(buf_slice(&b));
	return b.err;
}

/* The next thing said, in ch->a. */
static enum err next_input(struct chat *ch, enum line_got *got, struct str *out)
{
	struct str line;

	TRY(lines_next(ch->in, prompt(ch, false), got, &line));
	if (*got != LINE_READ)
		return OK;
	if (!utf8_valid(line))
		return err_set(E_INVALID, "the line is not UTF-8");
	lines_remember(ch->in, line);
	line = str_trim(line);
	if (str_starts(line, STR("\"\"\"")))
		return read_block(ch, arena_str(&ch->a, str_sub(line, 3, line.n)), got, out);
	*out = arena_str(&ch->a, line);
	return out->p ? OK : E_NOMEM;
}

/* ----------------------------------------------------------------------- turns */

static enum err report(struct chat *ch, enum err e)
{
	struct buf b;
	struct jw w;

	if (!ch->code)
		ch->code = e == E_CANCELLED ? 130 : exit_code(e);
	if (!ch->json) {
		struct diag d = *diag_get(); /* a copy: the sentence is a server's */

		buf_init(&b, &ch->a, 64 << 10);
		chat_clean_line(&b, str_c(d.text), 0);
		fprintf(stderr, "%scenote%s: chat: %.*s\n", ch->c->color_err ? "\033[31m" : "", ch->c->color_err ? "\033[0m" : "",
			STR_ARG(buf_slice(&b)));
		return OK;
	}
	chat_event(ch, &b, &w, "error");
	jw_key(&w, "error");
	jw_cstr(&w, err_name(e));
	jw_key(&w, "detail");
	jw_cstr(&w, diag_get()->text);
	return chat_event_end(&b, &w);
}

/* Whether the server can no longer be asked: what failed was not this one turn. */
static bool cut_off(struct chat *ch, enum err e)
{
	struct diag d = *diag_get();
	bool yes = (e == E_UPSTREAM || e == E_DENIED || e == E_TIMEOUT) && chat_find_model(ch) != OK;

	*diag_get() = d;
	return yes;
}

/* A daemon that ended leaves its store behind: another one serves it by now, or this process does. What was said was told to have
 * failed, and is said again by who typed it. */
static enum err reconnect(struct chat *ch, enum err e)
{
	if (!ch->typed || ch->c->cfg.server.n || peer_own(ch->c))
		return ch->typed ? report(ch, e) : e;
	TRY(report(ch, e));
	http_client_free(ch->http);
	ch->http = NULL;
	peer_close(ch->c);
	TRY(connect_up(ch));
	return chat_notice(ch, peer_own(ch->c) ? "the server has gone; the store is opened here now. Say it again"
					       : "connected again. Say it again");
}

static enum err turn(struct chat *ch, struct str line, bool *quit)
{
	enum err e;

	if (line.n >= 2 && line.p[0] == '/' && line.p[1] != '/')
		e = chat_command(ch, line, quit);
	else
		e = chat_say(ch, line.n >= 2 && line.p[0] == '/' ? str_sub(line, 1, line.n) : line);
	if (interrupt_take() == SIGTERM)
		return E_CANCELLED;
	if (e == OK || (e == E_CANCELLED && ch->typed))
		return OK;
	if (e == E_IO || e == E_CANCELLED)
		return e;
	return cut_off(ch, e) ? reconnect(ch, e) : report(ch, e);
}

/* What a signal at the prompt means; true: it ends the chat. */
static bool stop_at_prompt(struct chat *ch, unsigned *in_a_row)
{
	if (interrupt_take() != SIGINT) {
		ch->code = 143;
		return true;
	}
	if (ch->people)
		fputs("\n", stdout);
	if (++*in_a_row >= 2 || !ch->typed) {
		ch->code = 130;
		return true;
	}
	return chat_notice(ch, "[Ctrl-C once more ends]") != OK;
}

static enum err talk(struct chat *ch)
{
	unsigned stops = 0;
	bool quit = false;

	while (!quit) {
		enum line_got got = LINE_READ;
		struct str line = STR("");
		enum err e;

		arena_clear(&ch->a);
		e = next_input(ch, &got, &line);
		if (e == OK && got == LINE_STOPPED && stop_at_prompt(ch, &stops))
			return OK;
		if (e == OK && got == LINE_END && !line.n) {
			if (ch->typed)
				return chat_puts(STR("\n"));
			return OK;
		}
		if (e == OK && line.n == 0)
			continue;
		stops = 0;
		e = e == OK ? turn(ch, line, &quit) : e == E_IO ? e : report(ch, e);
		if (e == E_CANCELLED && interrupt_pending() == SIGTERM) {
			ch->code = 143;
			return OK;
		}
		TRY(e);
	}
	return OK;
}

static enum err chat(struct chat *ch)
{
	(void)can_edit(ch); /* the locale, before there are threads */
	TRY(connect_up(ch));
	interrupt_converse();
	TRY(open_lines(ch));
	TRY(choose_thread(ch));
	TRY(greet(ch));
	return talk(ch);
}

int run_chat(struct call *c)
{
	struct chat ch;
	enum err e;
	int code;

	begin(&ch, c);
	e = chat(&ch);
	/* A failure on a terminal was told, and the person there went on. */
	code = e == E_CANCELLED ? 130 : e != OK ? call_fail(c, e) : ch.typed && ch.code != 130 && ch.code != 143 ? 0 : ch.code;
	end(&ch);
	return code;
}

/* ------------------------------------------------------------------------- ask */

static enum err question(struct call *c, struct arena *a, struct str *out)
{
	struct buf b;
	bool in = c->argc == 1 && strcmp(c->args[0], "-") == 0;
	ssize_t n = 0;

	buf_init(&b, a, 4 * QUESTION_BYTES);
	for (int i = 0; !in && i < c->argc; i++) {
		buf_lit(&b, i ? " " : "");
		buf_lit(&b, c->args[i]);
	}
	for (char piece[16384]; in && b.n <= QUESTION_BYTES && (n = read(0, piece, sizeof piece)) > 0;)
		buf_put(&b, piece, (size_t)n);
	if (n < 0)
		return err_set(E_IO, "cannot read stdin");
	if (b.n > QUESTION_BYTES)
		return err_set(E_LIMIT, "a question may have %zu KiB", QUESTION_BYTES >> 10);
	*out = str_trim(buf_slice(&b));
	if (b.err == OK && out->n == 0)
		return err_set(E_INVALID, "QUESTION is empty");
	if (b.err == OK && !utf8_valid(*out))
		return err_set(E_INVALID, "QUESTION is not UTF-8");
	return b.err;
}

static enum err one(struct chat *ch)
{
	struct call *c = ch->c;
	struct str text;

	ch->keep = !call_has(c, "no-store");
	TRY(question(c, &c->arena, &text));
	TRY(connect_up(ch));
	if (ch->keep || call_has(c, "thread"))
		TRY(choose_thread(ch));
	interrupt_converse();
	if (ch->json)
		TRY(greet(ch));
	else if (c->verbose)
		fprintf(stderr, "cenote: thread %s\n", ch->thread);
	arena_clear(&ch->a);
	return chat_say(ch, text);
}

int run_ask(struct call *c)
{
	struct chat ch;
	enum err e;
	int code;

	begin(&ch, c);
	e = one(&ch);
	code = e == OK ? 0 : e != E_CANCELLED ? call_fail(c, e) : interrupt_pending() == SIGTERM ? 143 : 130;
	end(&ch);
	return code;
}
