/* Completion: the shells ask `cenote __complete INDEX WORD...`; words come from the command table, namespaces and keys from a
 * daemon when one runs. Prints no errors and does not take long. */
#include "cli/cmd.h"
#include "cli/out.h"
#include "cli/peer.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "store/open.h"

static void candidate(struct str s, struct str prefix, struct buf *out)
{
	if (!str_starts(s, prefix))
		return;
	buf_str(out, s);
	buf_byte(out, '\n');
}

static void flag_candidates(const struct flag *f, size_t n, struct str prefix, struct buf *out)
{
	char text[64];
	for (size_t i = 0; i < n; i++) {
		int len = snprintf(text, sizeof text, "--%s", f[i].name);
		candidate(str_of(text, (size_t)len), prefix, out);
	}
}

static void setting_candidates(const struct cmd *cmd, struct str prefix, struct buf *out)
{
	struct arena a;
	size_t n;
	const struct opt *rows = config_rows(&n);
	arena_init(&a, 1 << 20);
	for (size_t i = 0; i < n; i++) {
		if (cmd_takes(cmd, &rows[i]))
			candidate(arena_printf(&a, "--%.*s", STR_ARG(opt_flag(&a, &rows[i]))), prefix, out);
	}
	arena_release(&a);
}

/* Command words: the first, or the second of a group. */
static void command_candidates(const char *first, struct str prefix, struct buf *out)
{
	size_t n;
	const struct cmd *t = cmd_table(&n);
	struct str last = {0};
	for (size_t i = 0; i < n; i++) {
		struct str head, tail;
		if (t[i].attr & CMD_HIDDEN)
			continue;
		bool two = str_cut(str_c(t[i].name), ' ', &head, &tail);
		if (first == NULL && !str_eq(head, last))
			candidate(head, prefix, out);
		else if (first && two && str_eq(head, str_c(first)))
			candidate(tail, prefix, out);
		last = head;
	}
}

static const struct cmd *command_of(const char *const *words, int n, int *args_from)
{
	size_t count;
	const struct cmd *t = cmd_table(&count);
	for (size_t i = 0; i < count && n > 1; i++) {
		struct str head, tail;
		bool two = str_cut(str_c(t[i].name), ' ', &head, &tail);
		if (!str_eq(head, str_c(words[1])) || (two && (n < 3 || !str_eq(tail, str_c(words[2])))))
			continue;
		*args_from = two ? 3 : 2;
		return &t[i];
	}
	return NULL;
}

void complete_words(const char *const *words, int n, int index, struct buf *out)
{
	struct str prefix = str_c(index < n ? words[index] : "");
	int from = 0;
	size_t common_n;
	const struct flag *common = cmd_common(&common_n);
	if (index <= 1) {
		command_candidates(NULL, prefix, out);
		return;
	}
	const struct cmd *cmd = command_of(words, index < n ? index : n, &from);
	if (cmd == NULL) {
		if (index == 2)
			command_candidates(words[1], prefix, out);
		return;
	}
	if (str_starts(prefix, STR("-"))) {
		flag_candidates(cmd->flags, cmd->flags_n, prefix, out);
		flag_candidates(common, common_n, prefix, out);
		setting_candidates(cmd, prefix, out);
	} else if (strcmp(cmd->name, "completion") == 0) {
		candidate(STR("bash"), prefix, out);
		candidate(STR("fish"), prefix, out);
		candidate(STR("zsh"), prefix, out);
	} else if (strcmp(cmd->name, "help") == 0) {
		command_candidates(index == 2 ? NULL : words[2], prefix, out);
	}
}

/* ------------------------------------------------------- values of a store */

static bool wants_namespace(const struct cmd *cmd, const char *const *words, int index)
{
	static const char *const takers[] = {"put", "get", "history", "ls", "rm"};
	const char *before = words[index - 1];
	if (strcmp(before, "--namespace") == 0 || strcmp(before, "-n") == 0)
		return true;
	for (size_t i = 0; i < sizeof takers / sizeof *takers; i++)
		if (strcmp(cmd->name, takers[i]) == 0 && index == 2)
			return true;
	return false;
}

/* Where the first argument or a flag's value is a thread; *sessions: one with entries. */
static bool wants_thread(const struct cmd *cmd, const char *const *words, int index, bool *sessions)
{
	bool talks = strcmp(cmd->name, "chat") == 0 || strcmp(cmd->name, "ask") == 0;
	*sessions = strncmp(cmd->name, "sessions ", 9) == 0 || talks;
	if (talks)
		return strcmp(words[index - 1], "--thread") == 0 || strcmp(words[index - 1], "-t") == 0;
	if (!*sessions && strncmp(cmd->name, "threads ", 8) != 0)
		return false;
	return index == 3 && strcmp(cmd->name, "threads import") != 0 && strcmp(cmd->name, "sessions ls") != 0;
}

static void thread_candidates(struct call *c, struct http_client *h, struct str prefix, bool sessions, struct buf *out)
{
	struct str p = url_encode(&c->arena, prefix);
	struct str path = sessions ? STR("/cenote/v1/sessions?limit=500")
				   : arena_printf(&c->arena, "/cenote/v1/threads?limit=500&prefix=%.*s", STR_ARG(p));
	struct http_reply r;
	struct json doc;
	struct jval v;
	if (client_call(h, &c->arena, "GET", path, NULL, str_of(NULL, 0), &r) != OK || reply_json(&c->arena, &r, &doc) != OK ||
	    !j_is(j_get(json_root(&doc), STR("data")), JSON_ARRAY))
		return;
	struct j_iter it = j_iter(j_get(json_root(&doc), STR("data")));
	while (j_next(&it, NULL, &v))
		candidate(out_cell(&c->arena, j_get(v, STR("thread"))), prefix, out);
}

/* From a running daemon only: opening a store for a key press would be too much. */
static void value_candidates(struct call *c, const char *const *words, int n, int index, struct buf *out)
{
	int from = 0;
	const struct cmd *cmd = index >= 2 ? command_of(words, index < n ? index : n, &from) : NULL;
	struct str prefix = str_c(index < n ? words[index] : "");
	struct http_client *h = NULL;
	struct http_reply r;
	struct json doc;
	struct jval v;
	struct stat st;
	bool sessions = false, threads = cmd && wants_thread(cmd, words, index, &sessions);
	if (cmd == NULL || str_starts(prefix, STR("-")) || (!threads && !wants_namespace(cmd, words, index)) ||
	    call_config(c) != OK)
		return;
	struct str sock = store_socket_path(&c->arena, c->cfg.store), server = c->cfg.server;
	if (server.n == 0 && (sock.n == 0 || stat(sock.p, &st) != 0))
		return;
	if (server.n == 0)
		server = arena_printf(&c->arena, "unix:%.*s", STR_ARG(sock));
	if (http_client_new(server, c->cfg.api_key, str_of(NULL, 0), 150, &h) != OK)
		return;
	if (threads)
		thread_candidates(c, h, prefix, sessions, out);
	else if (client_call(h, &c->arena, "GET", STR("/cenote/v1/namespaces?limit=500"), NULL, str_of(NULL, 0), &r) == OK &&
		 reply_json(&c->arena, &r, &doc) == OK && j_is(j_get(json_root(&doc), STR("data")), JSON_ARRAY)) {
		struct j_iter it = j_iter(j_get(json_root(&doc), STR("data")));
		while (j_next(&it, NULL, &v)) {
			struct jval label, ns = j_get(v, STR("namespace"));
			struct buf name;
			buf_init(&name, &c->arena, 4096);
			struct j_iter labels = j_iter(ns);
			while (j_is(ns, JSON_ARRAY) && j_next(&labels, NULL, &label)) {
				buf_lit(&name, name.n ? "." : "");
				buf_str(&name, j_str(&c->arena, label));
			}
			candidate(buf_slice(&name), prefix, out);
		}
	}
	http_client_free(h);
}

int run_complete(struct call *c)
{
	int64_t index;
	struct buf b;
	/* Whatever happens, a key press does not hang. */
	struct itimerval limit = {.it_value = {.tv_usec = 190000}};
	setitimer(ITIMER_REAL, &limit, NULL);
	if (!str_int(str_c(c->args[0]), 0, 100000, &index))
		return 0;
	buf_init(&b, &c->arena, 4 << 20);
	complete_words(c->args + 1, c->argc - 1, (int)index, &b);
	value_candidates(c, c->args + 1, c->argc - 1, (int)index, &b);
	fwrite(b.p ? b.p : "", 1, b.n, stdout);
	return 0;
}

static const char bash_script[] =
	"_cenote() { mapfile -t COMPREPLY < <(cenote __complete \"$COMP_CWORD\" \"${COMP_WORDS[@]}\" 2>/dev/null); }\n"
	"complete -o default -F _cenote cenote\n";
static const char zsh_script[] =
	"#compdef cenote\n"
	"_cenote() { compadd -- ${(f)\"$(cenote __complete $((CURRENT-1)) \"${words[@]}\" 2>/dev/null)\"}; }\n"
	"if [ \"$funcstack[1]\" = \"_cenote\" ]; then _cenote \"$@\"; else compdef _cenote cenote; fi\n";
static const char fish_script[] =
	"complete -c cenote -f -a '(cenote __complete (count (commandline -opc)) (commandline -opc) (commandline -ct))'\n";

int run_completion(struct call *c)
{
	static const struct {
		const char *shell, *script;
	} t[] = {{"bash", bash_script}, {"zsh", zsh_script}, {"fish", fish_script}};
	for (size_t i = 0; i < 3; i++) {
		if (strcmp(c->args[0], t[i].shell) == 0) {
			fputs(t[i].script, stdout);
			return 0;
		}
	}
	enum err e = err_set(E_INVALID, "completion is for bash, zsh or fish");
	return call_fail(c, e);
}
