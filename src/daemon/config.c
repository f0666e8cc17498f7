/* Loading the configuration: defaults, then the file, the environment and the flags over it; problems are collected, not thrown. */
#include "daemon/config.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json/json.h"
#include "base/secret.h"
#include "core/checkpoint.h"
#include "embed/open.h"
#include "http/outbound.h"
#include "http/server.h"
#include "index/doc.h"
#include "index/rank.h"
#include "obs/traces.h"
#include "store/open.h"
#include "tool/uc.h"

#define CONFIG_ARENA (4u << 20)
#define FILE_READ_MAX ((256u << 10) + 1)
#define SCHEMA_MAX 50 /* a tenant's name is put behind it; PostgreSQL takes 63 */
#define NONE str_of(NULL, 0)

void problem_add(struct problems *p, struct str file, unsigned line, unsigned column, struct str key, struct str hint,
		 const char *fmt, ...)
{
	if (p->n == PROBLEMS_MAX)
		return;
	char text[512];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	struct problem *q = &p->v[p->n++];
	*q = (struct problem){arena_str(p->a, file), line, column, arena_str(p->a, key), arena_str(p->a, str_c(text)),
			      arena_str(p->a, hint)};
}

void config_warn(struct config *c, struct str file, unsigned line, struct str key, const char *fmt, ...)
{
	char text[512];
	va_list ap;
	struct str *v, s;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (c->warnings.n == PROBLEMS_MAX)
		return;
	v = arena_grow(&c->arena, c->warnings.v, c->warnings.n * sizeof *v, (c->warnings.n + 1) * sizeof *v);
	s = line ? arena_printf(&c->arena, "%.*s:%u: %.*s: %s", STR_ARG(file), line, STR_ARG(key), text)
		 : arena_printf(&c->arena, "%.*s: %s", STR_ARG(key), text);
	if (!v || !s.p)
		return;
	c->warnings.v = v;
	v[c->warnings.n++] = s;
}

enum err config_init(struct config *c)
{
	memset(c, 0, sizeof *c);
	arena_init(&c->arena, CONFIG_ARENA);
	size_t n;
	const struct opt *rows = config_rows(&n);
	for (size_t i = 0; i < n; i++) {
		if (strcmp(rows[i].key, "data") == 0 || strcmp(rows[i].key, "store") == 0 ||
		    strcmp(rows[i].key, "embed.model_dir") == 0)
			continue; /* computed when all sources are read */
		struct str text = str_c(rows[i].dflt);
		enum err e = opt_parse(&rows[i], &c->arena, &text, 1, opt_field(c, &rows[i]));
		if (e != OK)
			return err_wrap(e, "default of %s", rows[i].key);
	}
	return OK;
}

void config_release(struct config *c)
{
	size_t n;
	const struct opt *rows = config_rows(&n);
	for (size_t i = 0; i < n; i++) {
		const struct str *s = opt_field_c(c, &rows[i]);
		if ((rows[i].type == OPT_SECRET || rows[i].type == OPT_URL) && c->origin[i].kind != FROM_DEFAULT && s->n)
			explicit_bzero((char *)s->p, s->n);
	}
	arena_release(&c->arena);
}

static struct str origin_file(const struct config *c, struct opt_origin from)
{
	return from.kind == FROM_FILE ? c->file : NONE;
}

void config_set(struct config *c, const struct opt *o, const struct str *texts, size_t n, struct opt_origin from,
		struct problems *p)
{
	size_t rows_n;
	enum err e = opt_parse(o, &c->arena, texts, n, opt_field(c, o));
	if (e == OK) {
		c->origin[o - config_rows(&rows_n)] = from;
		return;
	}
	const char *why = diag_get()->text;
	struct arena *a = &c->arena;
	struct str key = from.kind == FROM_FLAG	 ? arena_printf(a, "--%.*s", STR_ARG(opt_flag(a, o)))
			 : from.kind == FROM_ENV ? from.env
						 : str_c(o->key);
	struct str got = n == 1 && o->type != OPT_SECRET ? texts[0] : NONE;
	if (o->type == OPT_URL && got.n) {
		struct buf b;
		buf_init(&b, a, 64 << 10);
		store_url_redact(got, &b);
		got = buf_slice(&b);
	}
	if (got.n <= 100 && got.n > 0)
		problem_add(p, origin_file(c, from), from.line, from.column, key, NONE, "%s, got \"%.*s\"", why, STR_ARG(got));
	else
		problem_add(p, origin_file(c, from), from.line, from.column, key, NONE, "%s", why);
}

/* The whole of a small file. */
static enum err read_file(struct arena *a, const char *path, size_t max, struct str *out, struct stat *st)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_set(E_IO, "%s", strerror(errno));
	enum err e = OK;
	struct buf b;
	buf_init(&b, a, max);
	if (fstat(fd, st) != 0 || S_ISDIR(st->st_mode)) {
		e = err_set(E_IO, "not a file");
		goto out;
	}
	for (;;) {
		char *p = buf_room(&b, 4096);
		if (p == NULL)
			break;
		ssize_t got = read(fd, p, 4096);
		if (got < 0) {
			e = err_set(E_IO, "%s", strerror(errno));
			goto out;
		}
		if (got == 0)
			break;
		buf_added(&b, (size_t)got);
	}
	if (b.err != OK)
		e = err_set(E_LIMIT, "is larger than %zu bytes", max - 1);
out:
	close(fd);
	*out = buf_slice(&b);
	return e;
}

void config_secret_file(struct config *c, const struct opt *o, struct str path, struct opt_origin from, struct problems *p)
{
	struct str key = from.kind == FROM_ENV ? from.env : str_c(o->key);
	char *cpath = arena_cstr(&c->arena, path), *secret;
	if (cpath == NULL)
		return;
	if (secret_file_read(cpath, &secret) != OK) {
		problem_add(p, origin_file(c, from), from.line, from.column, key, NONE, "%s", diag_get()->text);
		return;
	}
	struct str text = str_c(secret);
	config_set(c, o, &text, 1, from, p);
	secret_free(secret);
}

static const char *env_get(char **env, struct str name)
{
	for (; env && *env; env++)
		if (strncmp(*env, name.p, name.n) == 0 && (*env)[name.n] == '=')
			return *env + name.n + 1;
	return NULL;
}

static struct str env_str(char **env, const char *name)
{
	return str_c(env_get(env, str_c(name)));
}

/* --config, CENOTE_CONFIG (both must exist), then the usual places. "" : no file. */
static struct str find_file(struct config *c, const struct config_args *args)
{
	struct arena *a = &c->arena;
	if (args->path)
		return str_c(args->path);
	struct str s = env_str(args->env, "CENOTE_CONFIG");
	if (s.n)
		return s;
	struct str home = env_str(args->env, "HOME"), xdg = env_str(args->env, "XDG_CONFIG_HOME");
	if (xdg.n)
		s = arena_printf(a, "%.*s/cenote/cenote.yaml", STR_ARG(xdg));
	else if (home.n)
		s = arena_printf(a, "%.*s/.config/cenote/cenote.yaml", STR_ARG(home));
	if (s.n && access(s.p, F_OK) == 0)
		return s;
	return access("/etc/cenote/cenote.yaml", F_OK) == 0 ? STR("/etc/cenote/cenote.yaml") : NONE;
}

static void load_file(struct config *c, const struct config_args *args, struct problems *p)
{
	c->file = arena_str(&c->arena, find_file(c, args));
	if (c->file.n == 0)
		return;
	struct str text;
	struct stat st;
	if (read_file(&c->arena, c->file.p, FILE_READ_MAX, &text, &st) != OK)
		problem_add(p, c->file, 0, 0, NONE, NONE, "cannot be read: %s", diag_get()->text);
	else
		config_yaml(c, text, c->file, p);
}

/* CENOTE_CONN_HOST and the like, where the setting's own variable is not there. */
static void load_foreign_keys(struct config *c, char **env, struct problems *p)
{
	size_t n, rows_n;
	const struct foreign_key *keys = config_foreign_all(&n);
	for (size_t i = 0; i < n; i++) {
		const struct opt as = {.key = keys[i].key}, *o = keys[i].row ? config_row(str_c(keys[i].row)) : NULL;
		struct str name = opt_env(&c->arena, &as), text;
		const char *v = name.p ? env_get(env, name) : NULL;
		if (!v || !*v)
			continue;
		text = str_c(v);
		if (!o)
			config_warn(c, NONE, 0, name, "%s", keys[i].note);
		else if (c->origin[o - config_rows(&rows_n)].kind < FROM_ENV)
			config_set(c, o, &text, 1, (struct opt_origin){FROM_ENV, 0, 0, name}, p);
	}
}

static void load_env(struct config *c, char **env, struct problems *p)
{
	size_t n;
	const struct opt *rows = config_rows(&n);
	for (size_t i = 0; i < n; i++) {
		struct str name = opt_env(&c->arena, &rows[i]);
		const char *v = env_get(env, name);
		if (v && (*v || rows[i].type == OPT_LIST)) {
			struct str text = str_c(v);
			config_set(c, &rows[i], &text, 1, (struct opt_origin){FROM_ENV, 0, 0, name}, p);
		} else if (rows[i].type == OPT_SECRET && opt_secret_file(&rows[i])) {
			name = arena_printf(&c->arena, "%.*s_FILE", STR_ARG(name));
			v = env_get(env, name);
			if (v && *v)
				config_secret_file(c, &rows[i], str_c(v), (struct opt_origin){FROM_ENV, 0, 0, name}, p);
		}
	}
}

/* What platforms set, when `listen` was not said: PORT with HOST, or the port of an app platform's proxy. */
static void load_platform(struct config *c, char **env, struct problems *p)
{
	const struct opt *o = config_row(STR("listen"));
	size_t n;
	if (c->origin[o - config_rows(&n)].kind != FROM_DEFAULT)
		return;
	struct str port = env_str(env, "DATABRICKS_APP_PORT"), host = STR("0.0.0.0"), name = STR("DATABRICKS_APP_PORT");
	if (port.n == 0) {
		port = env_str(env, "PORT");
		host = env_str(env, "HOST");
		name = STR("PORT");
	}
	if (port.n == 0)
		return;
	if (host.n == 0)
		host = STR("127.0.0.1");
	struct str text = arena_printf(&c->arena, "%.*s:%.*s", STR_ARG(host), STR_ARG(port));
	config_set(c, o, &text, 1, (struct opt_origin){FROM_ENV, 0, 0, name}, p);
}

static void load_flags(struct config *c, const struct config_args *args, struct problems *p)
{
	size_t rows_n;
	const struct opt *rows = config_rows(&rows_n);
	for (size_t i = 0; i < rows_n; i++) {
		struct str texts[64];
		size_t n = 0;
		bool list = rows[i].type == OPT_LIST || rows[i].type == OPT_ADDR;
		for (size_t k = 0; k < args->flags_n; k++) {
			if (args->flags[k].row != &rows[i])
				continue;
			if (!list)
				n = 0; /* the last one counts */
			if (n < sizeof texts / sizeof texts[0])
				texts[n++] = args->flags[k].value;
		}
		if (n)
			config_set(c, &rows[i], texts, n, (struct opt_origin){FROM_FLAG, 0, 0, {0}}, p);
	}
}

static void fill_paths(struct config *c, char **env, struct problems *p)
{
	struct arena *a = &c->arena;
	if (c->data.n == 0) {
		struct str xdg = env_str(env, "XDG_DATA_HOME"), home = env_str(env, "HOME");
		if (xdg.n)
			c->data = arena_printf(a, "%.*s/cenote", STR_ARG(xdg));
		else if (home.n)
			c->data = arena_printf(a, "%.*s/.local/share/cenote", STR_ARG(home));
		else if (c->store.n == 0)
			problem_add(p, NONE, 0, 0, STR("data"), NONE,
				    "is not set, and neither XDG_DATA_HOME nor HOME is there to derive it from");
	}
	if (c->store.n == 0)
		c->store = arena_printf(a, "sqlite:%.*s", STR_ARG(c->data));
	if (c->embed_model_dir.n == 0 && c->data.n)
		c->embed_model_dir = arena_printf(a, "%.*s/models", STR_ARG(c->data));
}

static void check_languages(const struct config *c, struct problems *p)
{
	for (size_t i = 0; i < c->index_languages.n; i++) {
		struct str ns, lang;
		if (!str_cut(c->index_languages.v[i], '=', &ns, &lang))
			lang = ns;
		if (lang_find(lang) == NULL)
			problem_add(p, NONE, 0, 0, STR("index.languages"), NONE, "unknown language \"%.*s\"; there are: %s",
				    STR_ARG(lang), lang_all());
	}
}

static void check_weights(const struct config *c, struct problems *p)
{
	const struct {
		const char *key;
		const struct str_list *list;
		enum rank_form form;
	} forms[] = {{"recall.weights.full", &c->recall_weights_full, RANK_FULL},
		     {"recall.weights.words", &c->recall_weights_words, RANK_WORDS},
		     {"recall.weights.items", &c->recall_weights_items, RANK_ITEMS}};
	struct rank_weights w;
	for (size_t f = 0; f < sizeof forms / sizeof forms[0]; f++)
		for (size_t i = 0; i < forms[f].list->n; i++)
			if (rank_weight_set(&w, forms[f].form, forms[f].list->v[i]) != OK)
				problem_add(p, NONE, 0, 0, str_c(forms[f].key), NONE, "%s", diag_get()->text);
}

bool config_layer(const struct config *c, const char *layer)
{
	for (size_t i = 0; i < c->agent_memory.n; i++)
		if (str_eq(c->agent_memory.v[i], str_c(layer)))
			return true;
	return false;
}

static void check_agent(const struct config *c, struct problems *p)
{
	struct arena a;
	struct json doc;

	for (size_t i = 0; i < c->agent_memory.n; i++)
		if (!str_eq(c->agent_memory.v[i], STR("short_term")) && !str_eq(c->agent_memory.v[i], STR("long_term")))
			problem_add(p, NONE, 0, 0, STR("agent.memory"), NONE, "takes short_term and long_term, got \"%.*s\"",
				    STR_ARG(str_sub(c->agent_memory.v[i], 0, 100)));
	if (!c->agent_examples.n)
		return;
	arena_init(&a, (size_t)8 << 20);
	if (json_parse(&a, c->agent_examples, &json_default_limits, &doc) != OK || !j_is(json_root(&doc), JSON_ARRAY))
		problem_add(p, NONE, 0, 0, STR("agent.benchmark_seeds.seed_examples"), NONE, "must be a list");
	arena_release(&a);
}

static void check_layout(const struct config *c, struct problems *p)
{
	if (c->checkpoints_layout == LAYOUT_LANGGRAPH && str_starts(c->store, STR("sqlite:")))
		problem_add(p, NONE, 0, 0, STR("checkpoints.layout"), NONE,
			    "langgraph is for stores on PostgreSQL; on SQLite checkpoints.layout is compact (or auto)");
}

static void check_retention(const struct config *c, struct problems *p)
{
	struct retention *r;
	if (retention_parse(c->privacy_retention, &r) == OK)
		retention_free(r);
	else
		problem_add(p, NONE, 0, 0, STR("privacy.retention"), NONE, "%s", diag_get()->text);
}

static void check_pg(const struct config *c, struct problems *p)
{
	struct str schema = c->pg_schema;
	bool fixed = c->pg_password.n > 0, made = c->pg_password_command.n > 0, filed = c->pg_password_file.n > 0;
	if (schema.n < 1 || schema.n > SCHEMA_MAX || str_starts(schema, STR("pg_")) || str_eq(schema, STR("information_schema")))
		problem_add(p, NONE, 0, 0, STR("pg.schema"), NONE,
			    "must be a name of 1 to %d bytes that is not PostgreSQL's own (pg_..., information_schema)",
			    SCHEMA_MAX);
	if (c->pg_pool_max && c->pg_pool_min > c->pg_pool_max)
		problem_add(p, NONE, 0, 0, STR("pg.pool.min"), NONE, "is %" PRId64 ", above pg.pool.max, which is %" PRId64,
			    c->pg_pool_min, c->pg_pool_max);
	if (fixed + made + filed > 1)
		problem_add(p, NONE, 0, 0, STR("pg.password"), NONE,
			    "only one of pg.password, pg.password_file and pg.password_command can be set");
	if (c->pg_password_life && !made && !filed)
		problem_add(p, NONE, 0, 0, STR("pg.password_life"), NONE, "needs pg.password_command or pg.password_file");
	if (str_starts(c->store, STR("postgres")) && store_url_has_secret(c->store) && (fixed || made || filed))
		problem_add(p, NONE, 0, 0, STR("store"), NONE,
			    "has a password, and pg.password, pg.password_file or pg.password_command is set besides; leave one");
}

static void check_embed(const struct config *c, struct problems *p)
{
	bool url = c->embed_base_url.n > 0;
	if (url && outbound_base_check(c->embed_base_url) != OK)
		problem_add(p, NONE, 0, 0, STR("embed.base_url"), NONE, "%s", diag_get()->text);
	if (c->embed_kind == EMBED_REMOTE && !url)
		problem_add(p, NONE, 0, 0, STR("embed.kind"), NONE, "remote needs embed.base_url");
	if (c->embed_kind != EMBED_OFF && c->embed_kind != EMBED_MINILM && url && c->embed_model.n == 0)
		problem_add(p, NONE, 0, 0, STR("embed.base_url"), NONE, "needs embed.model, the name of the service's model");
}

enum err llm_header_check(struct str text)
{
	static const char *const own[] = {"host", "content-type", "content-length", "transfer-encoding", "connection", "expect"};
	struct str name, value;

	if (!str_cut(text, '=', &name, &value) || name.n < 1 || name.n > 128 || value.n < 1)
		return err_set(E_INVALID, "llm.headers takes NAME=VALUE, NAME=$VARIABLE or NAME=@PATH");
	for (size_t i = 0; i < name.n; i++)
		if (!isalnum((unsigned char)name.p[i]) && !strchr("!#$%&'*+-.^_`|~", name.p[i]))
			return err_set(E_INVALID, "llm.headers: \"%.*s\" is no name of a header", STR_ARG(name));
	if (str_ieq(name, STR("authorization")))
		return err_set(E_INVALID, "llm.headers: the key of the model server is llm.api_key, not a header");
	for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
		if (str_ieq(name, str_c(own[i])))
			return err_set(E_INVALID, "llm.headers: %.*s is made for each request", STR_ARG(name));
	return OK;
}

static bool number_text(struct str s, double *out)
{
	struct arena a;
	struct json doc;
	bool ok;

	arena_init(&a, (size_t)64 << 10);
	ok = json_parse(&a, s, &json_default_limits, &doc) == OK && j_double(json_root(&doc), out);
	arena_release(&a);
	return ok;
}

static void check_models(const struct config *c, struct problems *p)
{
	const struct {
		const char *key;
		struct str name;
		size_t least;
	} models[] = {{"llm.model", c->llm_model, 1},
		      {"llm.extract_model", c->llm_extract_model, 0},
		      {"llm.summary_model", c->llm_summary_model, 0}};
	double t = 0;

	for (size_t i = 0; i < sizeof models / sizeof models[0]; i++)
		if (models[i].name.n < models[i].least || models[i].name.n > 256)
			problem_add(p, NONE, 0, 0, str_c(models[i].key), NONE, "must be a name of %zu to 256 bytes",
				    models[i].least);
	if (c->llm_temperature.n && (!number_text(c->llm_temperature, &t) || !(t >= 0 && t <= 2)))
		problem_add(p, NONE, 0, 0, STR("llm.temperature"), NONE, "must be a number from 0 to 2");
	for (size_t i = 0; i < c->llm_headers.n; i++)
		if (llm_header_check(c->llm_headers.v[i]) != OK)
			problem_add(p, NONE, 0, 0, STR("llm.headers"), NONE, "%s", diag_get()->text);
}

static void check_llm(const struct config *c, struct problems *p)
{
	bool url = c->llm_base_url.n > 0, databricks = str_ends(c->llm_base_url, STR("/serving-endpoints"));
	size_t n;
	if (url && outbound_base_check(c->llm_base_url) != OK)
		problem_add(p, NONE, 0, 0, STR("llm.base_url"), NONE, "%s", diag_get()->text);
	/* The default is a name on Databricks alone. */
	if (url && !databricks && c->origin[config_row(STR("llm.model")) - config_rows(&n)].kind == FROM_DEFAULT)
		problem_add(p, NONE, 0, 0, STR("llm.base_url"), NONE, "needs llm.model, the name of the server's model");
	check_models(c, p);
}

static void check_functions(const struct config *c, struct problems *p)
{
	const struct {
		const char *needs;
		struct str value;
	} needed[] = {{"tools.uc_host (or DATABRICKS_HOST), the workspace", c->tools_uc_host},
		      {"tools.uc_token (or DATABRICKS_TOKEN, with DATABRICKS_HOST)", c->tools_uc_token},
		      {"tools.uc_warehouse_id (or DATABRICKS_WAREHOUSE_ID), the SQL warehouse", c->tools_uc_warehouse_id}};

	if (uc_names_check(c->tools_uc_functions.v, c->tools_uc_functions.n) != OK)
		problem_add(p, NONE, 0, 0, STR("tools.uc_functions"), NONE, "%s", diag_get()->text);
	for (size_t i = 0; c->tools_uc_functions.n && i < sizeof needed / sizeof needed[0]; i++)
		if (!needed[i].value.n)
			problem_add(p, NONE, 0, 0, STR("tools.uc_functions"), NONE, "needs %s", needed[i].needs);
	if (c->tools_uc_host.n && uc_host_check(c->tools_uc_host) != OK)
		problem_add(p, NONE, 0, 0, STR("tools.uc_host"), NONE, "%s", diag_get()->text);
	if (c->tools_uc_warehouse_id.n && uc_warehouse_check(c->tools_uc_warehouse_id) != OK)
		problem_add(p, NONE, 0, 0, STR("tools.uc_warehouse_id"), NONE, "%s", diag_get()->text);
}

static void check_traces(const struct config *c, struct problems *p)
{
	bool url = c->traces_endpoint.n > 0;

	if (url && outbound_base_check(c->traces_endpoint) != OK)
		problem_add(p, NONE, 0, 0, STR("traces.endpoint"), NONE, "%s", diag_get()->text);
	if (traces_headers_check(c->traces_headers) != OK)
		problem_add(p, NONE, 0, 0, STR("traces.headers"), NONE, "%s", diag_get()->text);
	for (size_t i = 0; i < c->traces_experiment.n; i++)
		if (!isdigit((unsigned char)c->traces_experiment.p[i])) {
			problem_add(p, NONE, 0, 0, STR("traces.experiment"), NONE,
				    "must be the number of an experiment, as MLflow shows it");
			break;
		}
	if (url && str_ends(c->traces_endpoint, STR("/api/2.0/otel/v1/traces")) && !c->traces_table.n)
		problem_add(p, NONE, 0, 0, STR("traces.endpoint"), NONE,
			    "needs traces.table, the table for spans: CATALOG.SCHEMA.PREFIX_otel_spans");
}

void config_check(const struct config *c, struct problems *p)
{
	for (size_t i = 0; c->auth == AUTH_OFF && i < c->listen.n; i++)
		if (!http_is_loopback(c->listen.v[i]))
			problem_add(p, NONE, 0, 0, STR("listen"), NONE,
				    "%.*s can be reached from other machines, which needs `auth: keys` (make a key with `cenote "
				    "key create`)",
				    STR_ARG(c->listen.v[i]));
	for (size_t i = 0; i < c->cors_origins.n; i++) {
		struct str o = c->cors_origins.v[i];
		ptrdiff_t at = str_starts(o, STR("https://")) ? 8 : str_starts(o, STR("http://")) ? 7 : -1;
		if (!str_eq(o, STR("*")) && (at < 0 || (size_t)at == o.n || str_chr(o, '/', (size_t)at) >= 0))
			problem_add(p, NONE, 0, 0, STR("cors.origins"), NONE,
				    "\"%.*s\" is not an origin; write https://HOST or https://HOST:PORT", STR_ARG(o));
	}
	check_languages(c, p);
	check_weights(c, p);
	check_layout(c, p);
	check_agent(c, p);
	check_retention(c, p);
	check_pg(c, p);
	check_embed(c, p);
	check_llm(c, p);
	check_functions(c, p);
	check_traces(c, p);
}

enum err config_load(struct config *c, const struct config_args *args, struct problems *p)
{
	load_file(c, args, p);
	load_env(c, args->env, p);
	load_foreign_keys(c, args->env, p);
	load_platform(c, args->env, p);
	load_flags(c, args, p);
	config_foreign_env(c, args->env, p);
	fill_paths(c, args->env, p);
	config_check(c, p);
	if (p->n == 0)
		return OK;
	const struct problem *q = &p->v[0];
	return err_set(E_INVALID, "%.*s%s%.*s", STR_ARG(q->key), q->key.n ? ": " : "", STR_ARG(q->message));
}
