/* Reading lines.
 *
 * Invariants
 *  1. The terminal is as it was found whenever lines_next has returned.
 *  2. The history's file only grows by whole lines, each one write, so that two chats can share it; it is cut to its newest part
 * when it is opened and has become too long. What begins with a blank never reaches it. */
#include "cli/lines.h"

#include <errno.h>
#include <fcntl.h>
#include <histedit.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

#include "base/buf.h"
#include "cli/interrupt.h"

enum { HISTORY_LINES = 1000, HISTORY_LINE_MAX = 4096 };
#define HISTORY_BYTES ((size_t)256 << 10)

struct lines {
	struct lines_options opt;
	EditLine *el; /* NULL: lines come as they are */
	History *history;
	int history_fd; /* -1: none */
	const char *prompt;
	struct buf in; /* read, and not handed out yet */
	size_t at;     /* what stands before it in `in` has been handed out */
	bool ended, skipping;
	/* Of the last character for libedit, which does not keep errno: a signal came instead; what reading failed with. */
	bool cut;
	int failed;
};

static char note_text[512];

/* ------------------------------------------------------------------ history */

enum err lines_history_path(struct arena *a, struct str *out)
{
	const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");

	if (state && state[0] == '/')
		*out = arena_printf(a, "%s/cenote/history", state);
	else if (home && home[0] == '/')
		*out = arena_printf(a, "%s/.local/state/cenote/history", home);
	else
		return err_set(E_INVALID, "neither XDG_STATE_HOME nor HOME is an absolute path");
	if (!out->p)
		return E_NOMEM;
	char *path = (char *)out->p;
	for (size_t i = 1; i < out->n; i++) {
		if (path[i] != '/')
			continue;
		path[i] = '\0';
		bool made = mkdir(path, 0700) == 0 || errno == EEXIST;
		int why = errno;
		path[i] = '/';
		if (!made)
			return err_set(E_IO, "%.*s: %s", (int)i, path, strerror(why));
	}
	return OK;
}

static void add_history(struct lines *l, const char *line)
{
	HistEvent ev;

	if (l->history)
		(void)history(l->history, &ev, H_ENTER, line);
}

static bool write_all(int fd, struct str s)
{
	while (s.n > 0) {
		ssize_t n = write(fd, s.p, s.n);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		s = str_sub(s, (size_t)n, s.n);
	}
	return true;
}

/* The file's newest part, from the beginning of a line on; lines go into the history. */
static enum err load_history(struct lines *l, struct arena *a, off_t size, struct str *newest)
{
	size_t want = (size_t)size < HISTORY_BYTES ? (size_t)size : HISTORY_BYTES;
	char *p = arena_alloc(a, want + 1);
	ssize_t n = p ? pread(l->history_fd, p, want, size - (off_t)want) : 0;
	struct str rest, line;

	if (!p)
		return E_NOMEM;
	if (n < 0)
		return err_set(E_IO, "%s: %s", l->opt.history, strerror(errno));
	rest = str_of(p, (size_t)n);
	if ((size_t)size > want)
		(void)str_cut(rest, '\n', &line, &rest);
	*newest = rest;
	while (rest.n > 0) {
		(void)str_cut(rest, '\n', &line, &rest);
		char *c = line.n && line.n <= HISTORY_LINE_MAX ? arena_cstr(a, line) : NULL;
		if (c)
			add_history(l, c);
	}
	return OK;
}

static enum err open_history(struct lines *l)
{
	struct arena a;
	struct stat st;
	struct str newest = STR("");
	enum err e = OK;

	l->history_fd = open(l->opt.history, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (l->history_fd < 0 || fstat(l->history_fd, &st) != 0)
		return err_set(E_IO, "%s: %s", l->opt.history, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return err_set(E_IO, "%s is no file", l->opt.history);
	if ((st.st_mode & 077) != 0)
		(void)fchmod(l->history_fd, 0600);
	arena_init(&a, 8 * HISTORY_BYTES);
	e = load_history(l, &a, st.st_size, &newest);
	if (e == OK && (size_t)st.st_size > 2 * HISTORY_BYTES &&
	    (ftruncate(l->history_fd, 0) != 0 || !write_all(l->history_fd, newest)))
		e = err_set(E_IO, "%s: %s", l->opt.history, strerror(errno));
	arena_release(&a);
	return e;
}

void lines_remember(struct lines *l, struct str line)
{
	struct buf b;

	if (!l->el || line.n == 0 || line.n > HISTORY_LINE_MAX || line.p[0] == ' ' || line.p[0] == '\t')
		return;
	buf_init(&b, NULL, 2 * HISTORY_LINE_MAX);
	buf_str(&b, line);
	buf_byte(&b, '\0');
	if (b.err == OK) {
		add_history(l, b.p);
		b.p[line.n] = '\n';
		if (l->history_fd >= 0)
			(void)write_all(l->history_fd, buf_slice(&b));
	}
	buf_release(&b);
}

/* ------------------------------------------------------------ opening, closing */

static char *prompt_of(EditLine *el)
{
	struct lines *l;

	if (el_get(el, EL_CLIENTDATA, (void **)&l) != 0)
		return (char *)"";
	return (char *)l->prompt;
}

/* Tab: what all words that go on so have in common, and a blank when it is one word. */
static unsigned char complete(EditLine *el, int key)
{
	const LineInfo *info = el_line(el);
	struct str typed = str_of(info->buffer, (size_t)(info->cursor - info->buffer)), common = STR("");
	char rest[64];
	struct lines *l;
	size_t n = 0;

	(void)key;
	if (el_get(el, EL_CLIENTDATA, (void **)&l) != 0 || !l->opt.words || !typed.n)
		return CC_ERROR;
	for (const char *const *w = l->opt.words; *w; w++) {
		size_t same = 0;

		if (!str_starts(str_c(*w), typed))
			continue;
		while (n && same < common.n && (*w)[same] == common.p[same])
			same++;
		common = n++ ? str_sub(common, 0, same) : str_c(*w);
	}
	if (!n || (n > 1 && common.n == typed.n) || common.n - typed.n + 2 > sizeof rest)
		return CC_ERROR;
	snprintf(rest, sizeof rest, "%.*s%s", STR_ARG(str_sub(common, typed.n, common.n)), n == 1 ? " " : "");
	return el_insertstr(el, rest) == 0 ? CC_REFRESH : CC_ERROR;
}

/* A character for libedit. Its own function would miss a signal that comes between the prompt and the read. */
static int next_char(EditLine *el, wchar_t *out)
{
	char bytes[MB_LEN_MAX];
	struct lines *l = NULL;
	size_t n = 0;

	(void)el_get(el, EL_CLIENTDATA, &l);
	while (interrupt_wait(0)) {
		ssize_t r = read(0, &bytes[n], 1);
		mbstate_t state = {0};

		if (r < 0)
			l->failed = errno;
		if (r <= 0)
			return (int)r;
		size_t used = mbrtowc(out, bytes, ++n, &state);
		if (used > 0 && used <= n)
			return 1;
		if (used == 0 || used == (size_t)-1 || n == sizeof bytes)
			n = 0; /* no character, or NUL, which a Ctrl-D typed ahead of the line becomes: left out */
	}
	l->cut = true;
	return -1;
}

static bool open_editor(struct lines *l)
{
	HistEvent ev;

	l->el = el_init("cenote", stdin, stdout, stderr);
	if (!l->el)
		return false;
	l->history = history_init();
	if (!l->history || history(l->history, &ev, H_SETSIZE, HISTORY_LINES) < 0)
		return false;
	(void)history(l->history, &ev, H_SETUNIQUE, 1);
	(void)el_set(l->el, EL_CLIENTDATA, l);
	(void)el_set(l->el, EL_PROMPT_ESC, prompt_of, '\1');
	(void)el_set(l->el, EL_EDITOR, "emacs");
	(void)el_set(l->el, EL_GETCFN, next_char);
	(void)el_set(l->el, EL_SIGNAL, 0); /* signals are cli/interrupt.c's */
	(void)el_set(l->el, EL_HIST, history, l->history);
	(void)el_set(l->el, EL_BIND, "^R", "em-inc-search-prev", NULL);
	(void)el_set(l->el, EL_ADDFN, "cenote-complete", "complete a word", complete);
	(void)el_set(l->el, EL_BIND, "^I", "cenote-complete", NULL);
	(void)el_source(l->el, NULL); /* the user's ~/.editrc */
	return true;
}

enum err lines_open(const struct lines_options *opt, struct lines **out, const char **note)
{
	struct lines *l = calloc(1, sizeof *l);

	*note = NULL;
	if (!l)
		return err_set(E_LIMIT, "out of memory");
	l->opt = *opt;
	l->history_fd = -1;
	buf_init(&l->in, NULL, 2 * LINE_MAX_BYTES);
	if (opt->edit && !open_editor(l)) {
		lines_close(l);
		return err_set(E_LIMIT, "out of memory for the line editor");
	}
	if (l->el && opt->history && open_history(l) != OK) {
		snprintf(note_text, sizeof note_text, "%s", diag_get()->text);
		*note = note_text;
		if (l->history_fd >= 0)
			close(l->history_fd);
		l->history_fd = -1;
	}
	*out = l;
	return OK;
}

void lines_close(struct lines *l)
{
	if (!l)
		return;
	if (l->el)
		el_end(l->el);
	if (l->history)
		history_end(l->history);
	if (l->history_fd >= 0)
		close(l->history_fd);
	buf_release(&l->in);
	free(l);
}

/* ------------------------------------------------------------------- reading */

static enum err too_long(void)
{
	return err_set(E_LIMIT, "a line is longer than %zu KiB", LINE_MAX_BYTES >> 10);
}

static enum err read_edited(struct lines *l, enum line_got *got, struct str *line)
{
	int n = 0;

	el_resize(l->el);
	const char *p;
	do { /* a process that was stopped and goes on begins the line anew */
		/* By itself libedit would only do so at its first read: what is typed at the sight of the prompt would not be its
		 * keys yet. */
		(void)el_set(l->el, EL_PREP_TERM, 1);
		l->cut = false;
		l->failed = 0;
		p = el_gets(l->el, &n);
	} while (!p && l->cut && !interrupt_pending());
	if (!p || n <= 0) {
		*got = interrupt_pending() ? LINE_STOPPED : LINE_END;
		return *got == LINE_END && l->failed != 0 && l->failed != EIO
			       ? err_set(E_IO, "cannot read the terminal: %s", strerror(l->failed))
			       : OK;
	}
	*line = str_of(p, (size_t)n);
	while (line->n && (line->p[line->n - 1] == '\n' || line->p[line->n - 1] == '\r'))
		line->n--;
	*got = LINE_READ;
	return line->n > LINE_MAX_BYTES ? too_long() : OK;
}

/* More bytes from stdin; *got is LINE_READ unless a signal came. */
static enum err fill(struct lines *l, enum line_got *got)
{
	char piece[16384];
	ssize_t n;

	*got = LINE_READ;
	do {
		n = interrupt_wait(0) ? read(0, piece, sizeof piece) : -1;
		if (n < 0 && interrupt_pending()) {
			*got = LINE_STOPPED;
			return OK;
		}
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return err_set(E_IO, "cannot read stdin: %s", strerror(errno));
	l->ended = n == 0;
	if (l->at > 0) {
		memmove(l->in.p, l->in.p + l->at, l->in.n - l->at);
		l->in.n -= l->at;
		l->at = 0;
	}
	buf_put(&l->in, piece, (size_t)n);
	return l->in.err;
}

static enum err read_plain(struct lines *l, enum line_got *got, struct str *line)
{
	for (;;) {
		struct str have = str_sub(buf_slice(&l->in), l->at, l->in.n);
		ptrdiff_t end = str_chr(have, '\n', 0);
		bool whole = end >= 0 || (l->ended && have.n > 0);

		if (!whole && l->ended) {
			*got = LINE_END;
			return OK;
		}
		if (whole || have.n > LINE_MAX_BYTES) {
			size_t n = end >= 0 ? (size_t)end : have.n;
			bool was = l->skipping;

			l->at += n + (end >= 0);
			l->skipping = !whole;
			if (was && whole)
				continue; /* the end of the one that was too long */
			if (was)
				continue;
			if (n > LINE_MAX_BYTES)
				return too_long();
			*line = str_sub(have, 0, n && have.p[n - 1] == '\r' ? n - 1 : n);
			*got = LINE_READ;
			return OK;
		}
		TRY(fill(l, got));
		if (*got == LINE_STOPPED)
			return OK;
	}
}

enum err lines_next(struct lines *l, const char *prompt, enum line_got *got, struct str *line)
{
	*line = STR("");
	*got = LINE_READ;
	l->prompt = prompt;
	if (l->el)
		return read_edited(l, got, line);
	if (l->opt.prompts) {
		fputs(prompt, stdout);
		fflush(stdout);
	}
	return read_plain(l, got, line);
}
