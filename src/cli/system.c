/* serve, config, version: commands about the program itself. */
#include "cli/cmd.h"

#include "base/json/json.h"

int run_serve(struct call *c)
{
	enum err e = call_config(c);
	if (e != OK)
		return call_fail(c, e);
	return serve_run(&c->cfg, &c->cfg_args);
}

int run_version(struct call *c)
{
	if (c->output == OUT_JSON || c->output == OUT_NDJSON)
		printf("{\"name\":\"cenote\",\"version\":\"%s\",\"compiler\":\"%s\"}\n", CENOTE_VERSION, __VERSION__);
	else
		printf("cenote %s\n", CENOTE_VERSION);
	return 0;
}

static int put_all(struct call *c, struct buf *b)
{
	enum err e = b->err;
	if (e == OK && (fwrite(b->p ? b->p : "", 1, b->n, stdout) != b->n || fflush(stdout) != 0))
		e = err_set(E_IO, "cannot write to stdout");
	return e == OK ? 0 : call_fail(c, e);
}

static void json_config(struct call *c, bool all, struct buf *b)
{
	static const char *const origins[] = {"default", "file", "env", "flag"};
	size_t n;
	const struct opt *rows = config_rows(&n);
	struct jw w;
	jw_init(&w, b);
	jw_obj(&w);
	for (size_t i = 0; i < n; i++) {
		struct buf text;
		if (!all && c->cfg.origin[i].kind == FROM_DEFAULT)
			continue;
		buf_init(&text, &c->arena, 64 << 10);
		opt_format(&rows[i], opt_field(&c->cfg, &rows[i]), &text);
		jw_key(&w, rows[i].key);
		jw_obj(&w);
		jw_key(&w, "value");
		jw_str(&w, buf_slice(&text));
		jw_key(&w, "origin");
		jw_cstr(&w, origins[c->cfg.origin[i].kind]);
		jw_end_obj(&w);
	}
	jw_end_obj(&w);
	buf_byte(b, '\n');
}

int run_config_print(struct call *c)
{
	struct buf b;
	enum err e = call_config(c);
	if (e != OK)
		return call_fail(c, e);
	buf_init(&b, &c->arena, 1 << 20);
	if (c->output == OUT_JSON)
		json_config(c, call_has(c, "all"), &b);
	else
		config_print(&c->cfg, call_has(c, "all"), call_has(c, "origin"), &b);
	return put_all(c, &b);
}

static void json_problem(struct jw *w, const struct problem *q)
{
	jw_obj(w);
	jw_key(w, "file");
	jw_str(w, q->file);
	jw_key(w, "key");
	jw_str(w, q->key);
	jw_key(w, "line");
	jw_u64(w, q->line);
	jw_key(w, "column");
	jw_u64(w, q->column);
	jw_key(w, "message");
	jw_str(w, q->message);
	jw_key(w, "hint");
	jw_str(w, q->hint);
	jw_end_obj(w);
}

int run_config_check(struct call *c)
{
	struct buf b;
	struct jw w;
	if (c->argc && call_has(c, "config")) {
		enum err e = err_set(E_INVALID, "name the file once: as FILE or with --config");
		return call_fail(c, e);
	}
	enum err e = config_init(&c->cfg);
	if (e != OK)
		return call_fail(c, e);
	extern char **environ;
	c->cfg_ready = true;
	c->problems.a = &c->cfg.arena;
	c->cfg_args = (struct config_args){c->argc ? c->args[0] : call_flag(c, "config"), c->settings, c->settings_n, environ};
	e = config_load(&c->cfg, &c->cfg_args, &c->problems);
	if (c->output != OUT_JSON) {
		problems_print(&c->problems);
		for (size_t i = 0; i < c->cfg.warnings.n; i++)
			fprintf(stderr, "cenote: warning: %.*s\n", STR_ARG(c->cfg.warnings.v[i]));
		if (e == OK && !c->quiet)
			fprintf(stderr, "cenote: the configuration is good (%s%.*s)\n", c->cfg.file.n ? "" : "no file",
				STR_ARG(c->cfg.file));
		return e == OK ? 0 : exit_code(e);
	}
	buf_init(&b, &c->arena, 1 << 20);
	jw_init(&w, &b);
	jw_arr(&w);
	for (size_t i = 0; i < c->problems.n; i++)
		json_problem(&w, &c->problems.v[i]);
	jw_end_arr(&w);
	buf_byte(&b, '\n');
	int code = put_all(c, &b);
	return code ? code : e == OK ? 0 : exit_code(e);
}
