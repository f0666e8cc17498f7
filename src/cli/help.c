/* Help in its forms, all from the command table: on the terminal, as a page of the documentation, as man pages. */
#include "cli/cmd.h"

#include <stdlib.h>
#include <time.h>

#include "base/clock.h"

static const char *const exit_codes[][2] = {
	{"0", "done (also when a search or a list finds nothing)"},
	{"1", "the program or the store failed"},
	{"2", "wrong usage, input or configuration"},
	{"3", "not found"},
	{"4", "denied"},
	{"5", "store or service not reachable, busy, or too slow"},
	{"6", "conflict, or a precondition does not hold"},
	{"7", "some of many failed"},
	{"8", "a quota or size limit"},
	{"130, 141, 143", "interrupted, broken pipe, terminated"},
};
#define EXIT_CODES (sizeof exit_codes / sizeof exit_codes[0])

/* -------------------------------------------------------------- terminal */

void help_overview(FILE *out)
{
	size_t n;
	const struct cmd *t = cmd_table(&n);
	fputs("Cenote, a memory server for AI agents.\n\nusage: cenote COMMAND [ARGUMENTS] [FLAGS]\n\n", out);
	for (size_t i = 0; i < n; i++)
		if (!(t[i].attr & CMD_HIDDEN))
			fprintf(out, "  %-14s %s\n", t[i].name, t[i].help);
	fputs("\n`cenote help COMMAND` explains one. Commands talk to the server that --server names, else to the one that serves "
	      "the\n"
	      "store, and open the store themselves when none does.\n",
	      out);
}

void help_group(FILE *out, const char *group)
{
	size_t n, len = strlen(group);
	const struct cmd *t = cmd_table(&n);
	fprintf(out, "usage: cenote %s COMMAND\n\n", group);
	for (size_t i = 0; i < n; i++)
		if (strncmp(t[i].name, group, len) == 0 && t[i].name[len] == ' ')
			fprintf(out, "  %-14s %s\n", t[i].name, t[i].help);
}

static void wrapped(FILE *out, const char *text, size_t indent, size_t at)
{
	while (*text) {
		size_t n = strcspn(text, " ");
		if (at + n > 100) {
			fprintf(out, "\n%*s", (int)indent, "");
			at = indent;
		}
		fwrite(text, 1, n, out);
		at += n;
		text += n;
		if (*text == ' ') {
			fputc(' ', out);
			at++;
			text++;
		}
	}
	fputc('\n', out);
}

static void print_flags(FILE *out, const struct flag *f, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char left[64];
		int w = snprintf(left, sizeof left, "  %c%c%s--%s%s%s", f[i].letter ? '-' : ' ', f[i].letter ? f[i].letter : ' ',
				 f[i].letter ? ", " : "  ", f[i].name, f[i].arg ? " " : "", f[i].arg ? f[i].arg : "");
		fprintf(out, "%-28s ", left);
		wrapped(out, f[i].help, 29, w < 28 ? 29 : (size_t)w + 1);
	}
}

/* Client commands show what one needs for them; the rest stands in the reference. */
static bool main_row(const struct cmd *cmd, const struct opt *o)
{
	static const char *const keys[] = {"server", "store", "data", "timeout"};
	if (!cmd_takes(cmd, o))
		return false;
	if (cmd->attr & (CMD_SERVER | CMD_OPENS | CMD_MODELS))
		return true;
	for (size_t i = 0; i < 4; i++)
		if (strcmp(keys[i], o->key) == 0)
			return true;
	return false;
}

static void print_settings(FILE *out, const struct cmd *cmd)
{
	struct arena a;
	size_t n;
	const struct opt *rows = config_rows(&n);
	arena_init(&a, 1 << 20);
	fputs("\nsettings (also as CENOTE_NAME in the environment, and in the configuration file):\n", out);
	for (size_t i = 0; i < n; i++) {
		if (!main_row(cmd, &rows[i]))
			continue;
		struct buf b;
		buf_init(&b, &a, 256);
		opt_allowed(&rows[i], &b);
		struct str left = arena_printf(&a, "      --%.*s %.*s", STR_ARG(opt_flag(&a, &rows[i])), STR_ARG(buf_slice(&b)));
		fprintf(out, "%-40.*s ", STR_ARG(left));
		wrapped(out, rows[i].help, 41, left.n < 40 ? 41 : left.n + 1);
		if (rows[i].dflt[0])
			fprintf(out, "%41sdefault: %s\n", "", rows[i].dflt);
	}
	arena_release(&a);
}

void help_command(FILE *out, const struct cmd *cmd)
{
	size_t n;
	const struct flag *f = cmd_common(&n);
	fprintf(out, "usage: cenote %s%s%s [FLAGS]\n\n", cmd->name, cmd->args[0] ? " " : "", cmd->args);
	wrapped(out, cmd->help, 0, 0);
	if (cmd->more) {
		fputc('\n', out);
		wrapped(out, cmd->more, 0, 0);
	}
	if (cmd->flags_n) {
		fputs("\nflags:\n", out);
		print_flags(out, cmd->flags, cmd->flags_n);
	}
	fputs("\nflags of all commands:\n", out);
	print_flags(out, f, n);
	if (cmd->attr & (CMD_STORE | CMD_SERVER | CMD_OPENS | CMD_MODELS))
		print_settings(out, cmd);
}

/* -------------------------------------------------------------- markdown */

static void md_flags(const struct flag *f, size_t n, struct buf *out)
{
	for (size_t i = 0; i < n; i++) {
		buf_lit(out, "- `");
		if (f[i].letter)
			buf_printf(out, "-%c`, `", f[i].letter);
		buf_printf(out, "--%s%s%s`: %s\n", f[i].name, f[i].arg ? " " : "", f[i].arg ? f[i].arg : "", f[i].help);
	}
}

void cli_markdown(struct buf *out)
{
	size_t n, flags_n;
	const struct cmd *t = cmd_table(&n);
	const struct flag *f = cmd_common(&flags_n);
	buf_lit(out, "# Command line\n\nGenerated from the table of commands by `cenote help --markdown cli`; do not edit.\n\n"
		     "A command talks to the server that `--server` (or `CENOTE_SERVER`) names, else to the daemon that serves the "
		     "store (by the\n"
		     "unix socket in the store's directory), and opens the store itself when none runs. Data goes to stdout, "
		     "everything else to\n"
		     "stderr. Settings (`--store`, `--data`, ...) stand in [configuration.md](configuration.md).\n\n");
	for (size_t i = 0; i < n; i++) {
		if (t[i].attr & CMD_HIDDEN)
			continue;
		buf_printf(out, "## cenote %s%s%s\n\n%c%s.", t[i].name, t[i].args[0] ? " " : "", t[i].args,
			   t[i].help[0] - 'a' + 'A', t[i].help + 1);
		buf_printf(out, "%s%s\n\n", t[i].more ? " " : "", t[i].more ? t[i].more : "");
		md_flags(t[i].flags, t[i].flags_n, out);
		if (t[i].flags_n)
			buf_byte(out, '\n');
	}
	buf_lit(out, "## Flags of all commands\n\n");
	md_flags(f, flags_n, out);
	buf_lit(out, "\n## Exit status\n\n| code | meaning |\n|---|---|\n");
	for (size_t i = 0; i < EXIT_CODES; i++)
		buf_printf(out, "| %s | %s |\n", exit_codes[i][0], exit_codes[i][1]);
}

/* ------------------------------------------------------------- man pages */

static void roff(const char *s, struct buf *out)
{
	bool start = true;
	for (; *s; s++) {
		if (start && (*s == '.' || *s == '\''))
			buf_lit(out, "\\&");
		start = *s == '\n';
		if (*s == '\\')
			buf_lit(out, "\\e");
		else if (*s == '-')
			buf_lit(out, "\\-");
		else
			buf_byte(out, *s);
	}
}

static void roff_flags(const struct flag *f, size_t n, struct buf *out)
{
	for (size_t i = 0; i < n; i++) {
		buf_lit(out, ".TP\n.BI ");
		if (f[i].letter)
			buf_printf(out, "\\-%c \", \" ", f[i].letter);
		buf_lit(out, "\\-\\-");
		roff(f[i].name, out);
		if (f[i].arg)
			buf_printf(out, f[i].letter ? " \"\" \" %s\"" : " \" %s\"", f[i].arg);
		buf_byte(out, '\n');
		roff(f[i].help, out);
		buf_byte(out, '\n');
	}
}

static void roff_title(const char *page, int section, struct buf *out)
{
	const char *epoch = getenv("SOURCE_DATE_EPOCH");
	int64_t s;
	int year;
	unsigned month, day;
	if (!epoch || !str_int(str_c(epoch), 0, INT64_C(253402300799), &s))
		s = clock_wall_us() / 1000000;
	clock_civil(s / 86400, &year, &month, &day);
	buf_lit(out, ".TH ");
	for (; *page; page++) {
		if (*page == '-')
			buf_byte(out, '\\');
		buf_byte(out, *page >= 'a' && *page <= 'z' ? (char)(*page - 'a' + 'A') : *page);
	}
	buf_printf(out, " %d \"%04d\\-%02u\\-%02u\" \"cenote %s\"\n", section, year, month, day, CENOTE_VERSION);
}

static void roff_exit(struct buf *out)
{
	buf_lit(out, ".SH EXIT STATUS\n");
	for (size_t i = 0; i < EXIT_CODES; i++)
		buf_printf(out, ".TP\n.B %s\n%s\n", exit_codes[i][0], exit_codes[i][1]);
}

static void roff_settings(const struct cmd *cmd, struct buf *out)
{
	struct arena a;
	size_t n;
	const struct opt *rows = config_rows(&n);
	arena_init(&a, 1 << 20);
	for (size_t i = 0; i < n; i++) {
		if (!main_row(cmd, &rows[i]))
			continue;
		struct str flag = opt_flag(&a, &rows[i]);
		buf_lit(out, ".TP\n.BI \\-\\-");
		roff(arena_cstr(&a, flag), out);
		buf_lit(out, " \" VALUE\"\n");
		roff(rows[i].help, out);
		buf_byte(out, '\n');
	}
	arena_release(&a);
}

static void man_command(const struct cmd *cmd, struct buf *out)
{
	struct arena a;
	size_t n;
	const struct flag *f = cmd_common(&n);
	arena_init(&a, 4096);
	struct str name = arena_printf(&a, "cenote-%s", cmd->name);
	char *p = arena_cstr(&a, name);
	for (char *s = p; *s; s++)
		if (*s == ' ')
			*s = '-';
	roff_title(p, 1, out);
	buf_lit(out, ".SH NAME\n");
	roff(p, out);
	buf_lit(out, " \\- ");
	roff(cmd->help, out);
	buf_lit(out, "\n.SH SYNOPSIS\n.B cenote ");
	roff(cmd->name, out);
	buf_byte(out, '\n');
	roff(cmd->args, out);
	buf_lit(out, cmd->args[0] ? "\n.RI [ FLAGS ]\n" : ".RI [ FLAGS ]\n");
	if (cmd->more) {
		buf_lit(out, ".SH DESCRIPTION\n");
		roff(cmd->more, out);
		buf_byte(out, '\n');
	}
	buf_lit(out, ".SH OPTIONS\n");
	roff_flags(cmd->flags, cmd->flags_n, out);
	roff_flags(f, n, out);
	if (cmd->attr & (CMD_STORE | CMD_SERVER | CMD_OPENS | CMD_MODELS))
		roff_settings(cmd, out);
	roff_exit(out);
	arena_release(&a);
}

static void man_overview(struct buf *out)
{
	size_t n;
	const struct cmd *t = cmd_table(&n);
	roff_title("cenote", 1, out);
	buf_lit(out, ".SH NAME\ncenote \\- memory server for AI agents\n.SH SYNOPSIS\n.B cenote\n.I COMMAND\n.RI [ ARGUMENTS "
		     "]\n.RI [ FLAGS ]\n.SH "
		     "COMMANDS\n");
	for (size_t i = 0; i < n; i++) {
		if (t[i].attr & CMD_HIDDEN)
			continue;
		buf_lit(out, ".TP\n.B ");
		roff(t[i].name, out);
		buf_byte(out, ' ');
		roff(t[i].args, out);
		buf_byte(out, '\n');
		roff(t[i].help, out);
		buf_byte(out, '\n');
	}
	roff_exit(out);
	buf_lit(out, ".SH SEE ALSO\n.BR cenote\\-serve (1),\n.BR cenote.yaml (5)\n");
}

static void man_config(struct buf *out)
{
	roff_title("cenote.yaml", 5, out);
	buf_lit(out, ".SH NAME\ncenote.yaml \\- configuration of cenote\n.SH DESCRIPTION\nThe file is YAML. A setting a.b is also "
		     "the flag "
		     "\\-\\-a\\-b and the environment variable CENOTE_A_B; flags come before the environment, that before the "
		     "file.\nUnknown keys "
		     "are errors.\n.SH OPTIONS\n");
	config_roff(out);
	buf_lit(out, ".SH SEE ALSO\n.BR cenote (1)\n");
}

enum err man_page(const char *page, struct buf *out)
{
	size_t n;
	const struct cmd *t = cmd_table(&n);
	if (strcmp(page, "cenote") == 0) {
		man_overview(out);
		return out->err;
	}
	if (strcmp(page, "cenote.yaml") == 0) {
		man_config(out);
		return out->err;
	}
	for (size_t i = 0; i < n && strncmp(page, "cenote-", 7) == 0; i++) {
		const char *p = page + 7, *q = t[i].name;
		for (; *p && (*p == *q || (*p == '-' && *q == ' ')); p++, q++)
			;
		if (*p == '\0' && *q == '\0' && !(t[i].attr & CMD_HIDDEN)) {
			man_command(&t[i], out);
			return out->err;
		}
	}
	return err_set(E_INVALID, "there is no man page \"%s\"; there are cenote, cenote.yaml and cenote-COMMAND", page);
}

/* --------------------------------------------------------------- command */

static enum err page(struct call *c, const char *man, const char *md)
{
	struct buf b;
	buf_init(&b, &c->arena, 4 << 20);
	if (man)
		TRY(man_page(man, &b));
	else if (strcmp(md, "configuration") == 0)
		config_markdown(&b);
	else if (strcmp(md, "cli") == 0)
		cli_markdown(&b);
	else
		return err_set(E_INVALID, "there is no page \"%s\"; there are configuration and cli", md);
	TRY(b.err);
	return fwrite(b.p, 1, b.n, stdout) == b.n && fflush(stdout) == 0 ? OK : err_set(E_IO, "cannot write to stdout");
}

int run_help(struct call *c)
{
	const char *man = call_flag(c, "man"), *md = call_flag(c, "markdown");
	size_t n;
	const struct cmd *t = cmd_table(&n);
	if (man || md) {
		enum err e = page(c, man, md);
		return e == OK ? 0 : call_fail(c, e);
	}
	if (c->argc == 0) {
		help_overview(stdout);
		return 0;
	}
	struct str name = c->argc == 2 ? arena_printf(&c->arena, "%s %s", c->args[0], c->args[1]) : str_c(c->args[0]);
	for (size_t i = 0; i < n; i++) {
		if (str_eq(str_c(t[i].name), name)) {
			help_command(stdout, &t[i]);
			return 0;
		}
	}
	for (size_t i = 0; i < n && c->argc == 1; i++) {
		if (str_starts(str_c(t[i].name), name) && t[i].name[name.n] == ' ') {
			help_group(stdout, c->args[0]);
			return 0;
		}
	}
	enum err e = err_set(E_INVALID, "there is no command \"%.*s\"; `cenote help` lists them", STR_ARG(name));
	return call_fail(c, e);
}
