/* Showing the configuration: the effective one as YAML, and the reference pages that the table gives. */
#include "daemon/config.h"

#include <stdio.h>

static bool plain_yaml(struct str s)
{
	if (s.n == 0)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];
		bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("._/-+=", c) ||
			  (c == ':' && i + 1 < s.n && i > 0);
		if (!ok || (i == 0 && (c == '-' || c == '=')))
			return false;
	}
	return true;
}

static void yaml_scalar(struct str s, struct buf *out)
{
	if (plain_yaml(s)) {
		buf_str(out, s);
		return;
	}
	buf_byte(out, '"');
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '"' || s.p[i] == '\\')
			buf_byte(out, '\\');
		buf_byte(out, s.p[i]);
	}
	buf_byte(out, '"');
}

static void yaml_value(const struct opt *o, const void *field, struct buf *out)
{
	if (o->type == OPT_LIST || o->type == OPT_ADDR) {
		const struct str_list *l = field;
		buf_byte(out, '[');
		for (size_t i = 0; i < l->n; i++) {
			buf_lit(out, i ? ", " : "");
			yaml_scalar(l->v[i], out);
		}
		buf_byte(out, ']');
		return;
	}
	struct buf text;
	buf_init(&text, NULL, 64 << 10);
	opt_format(o, field, &text);
	yaml_scalar(buf_slice(&text), out);
	buf_release(&text);
}

void config_origin(const struct config *c, const struct opt *o, struct buf *out)
{
	size_t n;
	const struct opt_origin *from = &c->origin[o - config_rows(&n)];
	switch (from->kind) {
	case FROM_DEFAULT:
		buf_lit(out, "default");
		break;
	case FROM_FILE:
		buf_printf(out, "file %.*s:%u", STR_ARG(c->file), from->line);
		break;
	case FROM_ENV:
		buf_printf(out, "env %.*s", STR_ARG(from->env));
		break;
	case FROM_FLAG:
		buf_lit(out, "flag --");
		for (const char *k = o->key; *k; k++)
			buf_byte(out, *k == '.' || *k == '_' ? '-' : *k);
		break;
	}
}

void config_print(const struct config *c, bool all, bool origin, struct buf *out)
{
	size_t n;
	const struct opt *rows = config_rows(&n);
	struct str group = {0};
	for (size_t i = 0; i < n; i++) {
		const struct opt *o = &rows[i];
		if (!all && c->origin[i].kind == FROM_DEFAULT)
			continue;
		struct str head, tail;
		bool nested = str_cut(str_c(o->key), '.', &head, &tail);
		if (nested && !str_eq(head, group))
			buf_printf(out, "%.*s:\n", STR_ARG(head));
		group = nested ? head : str_of(NULL, 0);
		struct str name = nested ? tail : head;
		const void *field = opt_field_c(c, o);
		/* What a secret holds is not shown, and a line with it could not be read back. */
		bool hidden = o->type == OPT_SECRET;
		buf_printf(out, "%s%s%.*s: ", hidden ? "# " : "", nested ? "  " : "", STR_ARG(name));
		if (hidden)
			opt_format(o, field, out);
		else
			yaml_value(o, field, out);
		if (origin) {
			buf_lit(out, "  # ");
			config_origin(c, o, out);
		}
		buf_byte(out, '\n');
	}
}

void opt_allowed(const struct opt *o, struct buf *out)
{
	static const char *const kinds[] = {"text", "number", "true, false", "size", "duration",
					    "",	    "list",   "addresses",   "URL",  "secret"};
	if (o->range)
		buf_lit(out, o->range);
	else
		buf_lit(out, kinds[o->type]);
}

/* Text for a table cell: `|` would end it. */
static void md_cell(const char *s, struct buf *out)
{
	for (; *s; s++) {
		if (*s == '|')
			buf_byte(out, '\\');
		buf_byte(out, *s);
	}
}

static void md_row(struct arena *a, const struct opt *o, struct buf *out)
{
	struct str flag = opt_flag(a, o), env = opt_env(a, o);
	struct buf allowed;
	buf_init(&allowed, a, 1024);
	opt_allowed(o, &allowed);
	buf_byte(&allowed, '\0');
	buf_printf(out, "| `%s` | ", o->key);
	if (opt_secret_file(o))
		buf_printf(out, "%s`%.*s`, `%.*s_FILE` | ", o->attr & OPT_CLIENT ? "`--key` (commands)<br>" : "", STR_ARG(env),
			   STR_ARG(env));
	else if (o->type == OPT_SECRET)
		buf_printf(out, "`%.*s` | ", STR_ARG(env));
	else
		buf_printf(out, "`--%.*s`<br>`%.*s` | ", STR_ARG(flag), STR_ARG(env));
	if (o->dflt[0])
		buf_printf(out, "`%s`", o->dflt);
	else
		buf_lit(out, "none");
	buf_lit(out, " | ");
	md_cell(allowed.p, out);
	buf_lit(out, " | ");
	md_cell(o->help, out);
	if (o->attr & OPT_RELOAD)
		buf_lit(out, " (SIGHUP applies it)");
	buf_lit(out, " |\n");
}

static const char md_head[] =
	"# Configuration\n\n"
	"Generated from the table of settings by `cenote help --markdown configuration`; do not edit.\n\n"
	"Every setting has one name: `a.b` in the YAML file, `--a-b` as a flag, `CENOTE_A_B` in the environment.\n"
	"What counts is, in this order: flag, environment, file, default.\n\n"
	"The file is the first of these that exists: `--config FILE`, `CENOTE_CONFIG`, `$XDG_CONFIG_HOME/cenote/cenote.yaml`\n"
	"(`~/.config/cenote/cenote.yaml`), `/etc/cenote/cenote.yaml`. It is YAML: groups or dotted keys, lists in brackets or\n"
	"comma-separated. Unknown keys, keys set twice, anchors, aliases, tags and second documents are errors, and so is a file\n"
	"above 256 KiB. `cenote config check` tells every problem with line and column, `cenote config print --origin` shows "
	"where\n"
	"each value comes from.\n\n"
	"Durations are `250ms`, `30s`, `5m`, `12h`, `7d`; sizes `64KiB`, `8MiB`, `1GiB` or a number of bytes; booleans `true`, "
	"`false`,\n"
	"`yes`, `no`, `on`, `off`, `1`, `0`.\n\n"
	"A secret stands in the environment (`CENOTE_X`) or in a file of mode 0600 that `CENOTE_X_FILE` or `x_file:` names; never "
	"in a\n"
	"flag of the server, never in the YAML file.\n\n"
	"If `listen` is not set, `PORT` (with `HOST`, else `127.0.0.1`) or `DATABRICKS_APP_PORT` (on `0.0.0.0`) is taken from the\n"
	"environment.\n\n"
	"If `store` is not set, the first of these in the environment names it: `DATABASE_URL` (when it is a `postgresql://` or\n"
	"`postgres://` URL); `LAKEBASE_HOST` with `LAKEBASE_DATABASE` (else `agents`), `LAKEBASE_USER` and `LAKEBASE_PASSWORD` "
	"(TLS\n"
	"is required unless the host is this machine or `PGSSLMODE` says otherwise); `PGHOST`, `PGHOSTADDR` or `PGSERVICE` with\n"
	"libpq's other `PG*` variables. `DB_POOL_MIN_SIZE`, `DB_POOL_MAX_SIZE` and `USE_NULLPOOL=true` stand for `pg.pool.min`,\n"
	"`pg.pool.max` and `pg.pool.enabled: false` where those are not set. What the URL does not say, libpq takes from the "
	"service\n"
	"file, the `PG*` variables and the password file.\n\n"
	"A password in the store's URL is printed as `***` everywhere; on the command line other users of the machine can see it:\n"
	"use `CENOTE_PG_PASSWORD`, `pg.password_file` or `pg.password_command`.\n\n";

static void md_table(struct arena *a, const char *title, bool client, struct buf *out)
{
	size_t n;
	const struct opt *rows = config_rows(&n);
	buf_printf(out, "## %s\n\n| key | flag, variable | default | allowed | meaning |\n|---|---|---|---|---|\n", title);
	for (size_t i = 0; i < n; i++)
		if (((rows[i].attr & OPT_CLIENT) != 0) == client)
			md_row(a, &rows[i], out);
}

void config_markdown(struct buf *out)
{
	struct arena a;
	arena_init(&a, 1 << 20);
	buf_lit(out, md_head);
	md_table(&a, "Server and store", false, out);
	buf_byte(out, '\n');
	md_table(&a, "Commands that talk to a server", true, out);
	buf_lit(out, "\n## Example\n\n```yaml\nlisten: [127.0.0.1:8000]\nstore: sqlite:/var/lib/cenote\nauth: keys\nhttp:\n  "
		     "max_body: 16MiB\n"
		     "index:\n  languages: [english, notes.de=german]\nlog:\n  level: info\n```\n");
	arena_release(&a);
}

static void roff_text(const char *s, struct buf *out)
{
	for (; *s; s++) {
		if (*s == '-')
			buf_byte(out, '\\');
		if (*s == '\\')
			buf_lit(out, "\\e");
		else
			buf_byte(out, *s);
	}
}

void config_roff(struct buf *out)
{
	size_t n;
	const struct opt *rows = config_rows(&n);
	for (size_t i = 0; i < n; i++) {
		buf_lit(out, ".TP\n.B ");
		roff_text(rows[i].key, out);
		buf_byte(out, '\n');
		roff_text(rows[i].help, out);
		buf_lit(out, ".\nAllowed: ");
		opt_allowed(&rows[i], out);
		buf_lit(out, ".\n");
		if (rows[i].dflt[0]) {
			buf_lit(out, "Default: ");
			roff_text(rows[i].dflt, out);
			buf_lit(out, ".\n");
		}
	}
}
