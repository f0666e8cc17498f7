/* What all commands share at run time: configuration, failing, asking. */
#include "cli/cmd.h"

#include <errno.h>
#include <unistd.h>

#include "base/json/json.h"

extern char **environ;

enum err call_config(struct call *c)
{
	if (c->cfg_ready)
		return OK;
	TRY(config_init(&c->cfg));
	c->cfg_ready = true;
	c->problems.a = &c->cfg.arena;
	c->cfg_args = (struct config_args){call_flag(c, "config"), c->settings, c->settings_n, environ};
	return config_load(&c->cfg, &c->cfg_args, &c->problems);
}

/* The broken pipe of `cenote ls | head`: nothing is wrong, nobody listens any more. */
static bool pipe_broken(enum err e)
{
	return e == E_IO && ferror(stdout) && errno == EPIPE;
}

int call_fail(struct call *c, enum err e)
{
	const char *name = c->cmd ? c->cmd->name : "";
	const char *red = c->color_err ? "\033[31m" : "", *end = c->color_err ? "\033[0m" : "";
	if (pipe_broken(e))
		return 141;
	if (c->problems.n > 1 || (c->problems.n == 1 && c->output != OUT_JSON)) {
		problems_print(&c->problems);
	} else if (c->output == OUT_JSON) {
		struct buf b;
		buf_init(&b, NULL, 8192);
		buf_lit(&b, "{\"error\":");
		json_quote(&b, str_c(err_name(e)));
		buf_lit(&b, ",\"detail\":");
		json_quote(&b, str_c(diag_get()->text));
		buf_printf(&b, ",\"exit_code\":%d}\n", exit_code(e));
		fwrite(b.p, 1, b.n, stderr);
		buf_release(&b);
	} else {
		fprintf(stderr, "%scenote%s: %s%s%s\n", red, end, name, name[0] ? ": " : "", diag_get()->text);
	}
	return exit_code(e);
}

enum err call_confirm(struct call *c, const char *what)
{
	if (call_has(c, "yes"))
		return OK;
	if (c->no_input || !isatty(0) || !isatty(2))
		return err_set(E_INVALID, "would %s; say --yes to do it", what);
	fprintf(stderr, "cenote: %s? [y/N] ", what);
	char answer[16] = "";
	if (fgets(answer, sizeof answer, stdin) && (answer[0] == 'y' || answer[0] == 'Y'))
		return OK;
	return err_set(E_CANCELLED, "nothing was done");
}
