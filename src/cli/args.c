/* The command line taken apart by the table: command words, flags of the command, settings, arguments. */
#include "cli/cmd.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/json/json.h"

/* ---------------------------------------------------------------- lookup */

static bool same_words(const char *name, const char *a, const char *b)
{
	size_t n = strlen(a);
	if (strncmp(name, a, n) != 0)
		return false;
	return b ? name[n] == ' ' && strcmp(name + n + 1, b) == 0 : name[n] == '\0';
}

/* Whether some command is "word something". */
static bool is_group(const char *word)
{
	size_t n, len = strlen(word);
	const struct cmd *t = cmd_table(&n);
	for (size_t i = 0; i < n; i++)
		if (strncmp(t[i].name, word, len) == 0 && t[i].name[len] == ' ')
			return true;
	return false;
}

/* A word "--" within two letters of what was meant. */
struct near {
	struct str word, best;
	unsigned least;
};

static void near_try(struct near *s, struct str candidate)
{
	unsigned d = str_distance(s->word, candidate);
	if (d < s->least && d < s->word.n) {
		s->least = d;
		s->best = candidate;
	}
}

static enum err unknown_command(const char *a, const char *b)
{
	size_t n;
	const struct cmd *t = cmd_table(&n);
	struct near s = {str_c(b ? b : a), {0}, 3};
	for (size_t i = 0; i < n; i++) {
		struct str head, tail;
		if (t[i].attr & CMD_HIDDEN)
			continue;
		bool two = str_cut(str_c(t[i].name), ' ', &head, &tail);
		if (!b)
			near_try(&s, head);
		else if (two && str_eq(head, str_c(a)))
			near_try(&s, tail);
	}
	if (s.best.n)
		return err_set(E_INVALID, "there is no command \"%s%s%s\"; did you mean %s%s%.*s?", a, b ? " " : "", b ? b : "",
			       b ? a : "", b ? " " : "", STR_ARG(s.best));
	return err_set(E_INVALID, "there is no command \"%s%s%s\"; `cenote help` lists them", a, b ? " " : "", b ? b : "");
}

/* ----------------------------------------------------------------- flags */

static const struct flag *find_flag(const struct cmd *cmd, struct str name)
{
	size_t n;
	const struct flag *f = cmd->flags;
	for (size_t i = 0; i < cmd->flags_n; i++)
		if (name.n == 1 ? f[i].letter == name.p[0] : str_eq(str_c(f[i].name), name))
			return &f[i];
	f = cmd_common(&n);
	for (size_t i = 0; i < n; i++)
		if (name.n == 1 ? f[i].letter == name.p[0] : str_eq(str_c(f[i].name), name))
			return &f[i];
	return NULL;
}

bool cmd_takes(const struct cmd *cmd, const struct opt *o)
{
	if (o->type == OPT_SECRET)
		return false;
	if ((cmd->attr & CMD_SERVER) && !(o->attr & OPT_CLIENT))
		return true;
	if (cmd->attr & CMD_MODELS)
		return str_eq(str_c(o->key), STR("data")) || str_eq(str_c(o->key), STR("embed.model_dir"));
	if (cmd->attr & CMD_OPENS)
		return str_starts(str_c(o->key), STR("sqlite.")) || str_starts(str_c(o->key), STR("pg.")) ||
		       str_eq(str_c(o->key), STR("index.languages"));
	return (cmd->attr & CMD_STORE) && (o->attr & (OPT_CLIENT | OPT_EMBED));
}

static const struct opt *find_setting(struct arena *a, const struct cmd *cmd, struct str name)
{
	size_t n;
	const struct opt *rows = config_rows(&n);
	for (size_t i = 0; i < n; i++)
		if (cmd_takes(cmd, &rows[i]) && str_eq(opt_flag(a, &rows[i]), name))
			return &rows[i];
	return NULL;
}

static enum err unknown_flag(struct call *c, struct str name)
{
	size_t n;
	struct near s = {name, {0}, 4};
	for (size_t i = 0; i < c->cmd->flags_n; i++)
		near_try(&s, str_c(c->cmd->flags[i].name));
	const struct flag *f = cmd_common(&n);
	for (size_t i = 0; i < n; i++)
		near_try(&s, str_c(f[i].name));
	const struct opt *rows = config_rows(&n);
	for (size_t i = 0; i < n; i++)
		if (cmd_takes(c->cmd, &rows[i]))
			near_try(&s, opt_flag(&c->arena, &rows[i]));
	if (s.best.n)
		return err_set(E_INVALID, "%s has no flag --%.*s; did you mean --%.*s?", c->cmd->name, STR_ARG(name),
			       STR_ARG(s.best));
	return err_set(E_INVALID, "%s has no flag --%.*s; `cenote %s --help` lists them", c->cmd->name, STR_ARG(name),
		       c->cmd->name);
}

static enum err add_setting(struct call *c, const struct opt *o, struct str value)
{
	if (c->settings_n == CALL_FLAGS_MAX)
		return err_set(E_INVALID, "more than %d settings", CALL_FLAGS_MAX);
	c->settings[c->settings_n++] = (struct config_flag){o, value};
	return OK;
}

static enum err add_flag(struct call *c, const struct flag *f, const char *value)
{
	if (c->flags_n == CALL_FLAGS_MAX)
		return err_set(E_INVALID, "more than %d flags", CALL_FLAGS_MAX);
	c->flags[c->flags_n].flag = f;
	c->flags[c->flags_n++].value = value;
	return OK;
}

/* argv[*i] begins with "--". */
static enum err long_flag(struct call *c, int argc, char **argv, int *i)
{
	struct str name, value;
	bool has = str_cut(str_c(argv[*i] + 2), '=', &name, &value);
	const struct flag *f = name.n > 1 ? find_flag(c->cmd, name) : NULL;
	const struct opt *o = f ? NULL : find_setting(&c->arena, c->cmd, name);
	if (f == NULL && o == NULL)
		return unknown_flag(c, name);
	bool wants = f ? f->arg != NULL : o->type != OPT_BOOL;
	if (f && !wants && has)
		return err_set(E_INVALID, "--%.*s takes no value", STR_ARG(name));
	if (wants && !has) {
		if (*i + 1 >= argc)
			return err_set(E_INVALID, "--%.*s needs a value", STR_ARG(name));
		value = str_c(argv[++*i]);
	}
	if (o)
		return add_setting(c, o, wants || has ? value : STR("true"));
	return add_flag(c, f, wants ? value.p : "");
}

/* argv[*i] is "-x...": letters of switches, the last may take a value. */
static enum err short_flags(struct call *c, int argc, char **argv, int *i)
{
	for (const char *p = argv[*i] + 1; *p; p++) {
		const struct flag *f = find_flag(c->cmd, str_of(p, 1));
		if (f == NULL)
			return err_set(E_INVALID, "%s has no flag -%c; `cenote %s --help` lists them", c->cmd->name, *p,
				       c->cmd->name);
		if (f->arg == NULL) {
			TRY(add_flag(c, f, ""));
			continue;
		}
		if (p[1] == '\0' && *i + 1 >= argc)
			return err_set(E_INVALID, "-%c needs a value", *p);
		return add_flag(c, f, p[1] ? p + 1 : argv[++*i]);
	}
	return OK;
}

/* ---------------------------------------------------------------- parsing */

/* The command stands in the first words; flags of all commands may come before it. */
static enum err find_command(struct call *c, int argc, char **argv, int *used)
{
	size_t n;
	const struct cmd *t = cmd_table(&n);
	const char *first = argv[0], *second = argc > 1 ? argv[1] : NULL;
	bool group = is_group(first);
	for (size_t i = 0; i < n; i++) {
		if (same_words(t[i].name, first, group ? second : NULL) && (!group || second)) {
			c->cmd = &t[i];
			*used = group ? 2 : 1;
			return OK;
		}
	}
	if (group && (second == NULL || second[0] == '-'))
		return err_set(E_INVALID, "say which: `cenote help %s` lists them", first);
	return unknown_command(first, group ? second : NULL);
}

static enum err set_output(struct call *c)
{
	static const char *const names[] = {"text", "table", "json", "ndjson", "csv", "id"};
	const char *o = call_flag(c, "output");
	c->output = OUT_AUTO;
	if (call_has(c, "json"))
		c->output = OUT_JSON;
	for (size_t i = 0; o && i < 6; i++)
		if (strcmp(o, names[i]) == 0)
			c->output = (enum output)(i + 1);
	if (o && c->output == OUT_AUTO)
		return err_set(E_INVALID, "--output must be text, table, json, ndjson, csv or id");
	c->quiet = call_has(c, "quiet");
	c->verbose = call_has(c, "verbose");
	c->no_input = call_has(c, "no-input");
	const char *when = call_flag(c, "color");
	if (when && strcmp(when, "auto") != 0 && strcmp(when, "always") != 0 && strcmp(when, "never") != 0)
		return err_set(E_INVALID, "--color must be auto, always or never");
	c->color_out = color_wanted(when, 1);
	c->color_err = color_wanted(when, 2);
	return OK;
}

enum err cmd_parse(struct call *c, int argc, char **argv, bool *help)
{
	int used = 0;
	*help = false;
	TRY(find_command(c, argc, argv, &used));
	const char **args = ARENA_ARRAY(&c->arena, const char *, (size_t)argc + 1);
	if (args == NULL)
		return E_NOMEM;
	c->args = args;
	bool plain = (c->cmd->attr & CMD_RAW) != 0;
	for (int i = used; i < argc; i++) {
		if (plain || argv[i][0] != '-' || argv[i][1] == '\0') {
			args[c->argc++] = argv[i];
		} else if (strcmp(argv[i], "--") == 0) {
			plain = true;
		} else if (argv[i][1] == '-') {
			TRY(long_flag(c, argc, argv, &i));
		} else {
			TRY(short_flags(c, argc, argv, &i));
		}
	}
	*help = call_has(c, "help");
	TRY(set_output(c));
	if (*help)
		return OK;
	if (c->argc < c->cmd->min_args)
		return err_set(E_INVALID, "arguments are missing: cenote %s %s", c->cmd->name, c->cmd->args);
	if (c->cmd->max_args >= 0 && c->argc > c->cmd->max_args)
		return err_set(E_INVALID, "too many arguments: cenote %s %s", c->cmd->name, c->cmd->args);
	return OK;
}

const char *call_flag(const struct call *c, const char *name)
{
	for (size_t i = c->flags_n; i-- > 0;)
		if (strcmp(c->flags[i].flag->name, name) == 0)
			return c->flags[i].value;
	return NULL;
}

enum err call_int(const struct call *c, const char *name, int64_t min, int64_t max, int64_t dflt, int64_t *out)
{
	const char *v = call_flag(c, name);
	*out = dflt;
	if (v && !str_int(str_c(v), min, max, out))
		return err_set(E_INVALID, "--%s must be a number from %lld to %lld", name, (long long)min, (long long)max);
	return OK;
}

bool color_wanted(const char *when, int fd)
{
	const char *no = getenv("NO_COLOR"), *force = getenv("FORCE_COLOR"), *cli = getenv("CLICOLOR_FORCE"),
		   *term = getenv("TERM");
	if (when && strcmp(when, "auto") != 0)
		return strcmp(when, "always") == 0;
	if (no && *no)
		return false;
	if ((force && *force && strcmp(force, "0") != 0) || (cli && *cli && strcmp(cli, "0") != 0))
		return true;
	return isatty(fd) && !(term && strcmp(term, "dumb") == 0);
}
