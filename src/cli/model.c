/* model add, ls, rm: the models that Cenote runs itself.
 *
 *  1. A model's folder appears whole or not at all: files are gathered in a staging folder beside it, verified, flushed, and moved
 * into place by one rename.
 *  2. The staging folder is gone when the command has ended, however it ended (but for a kill). */
#include "cli/cmd.h"
#include "cli/out.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/interrupt.h"
#include "cli/model_get.h"

static const struct column model_cols[] = {{"NAME", "name", 0},	  {"STATUS", "status", 0}, {"LICENCE", "licence", 0},
					   {"BYTES", "bytes", 0}, {"FOLDER", "folder", 0}, {"MODEL", "title", 60}};

/* Loads the settings; the folder of models. */
static enum err models_dir(struct call *c, const char **dir)
{
	TRY(call_config(c));
	*dir = arena_cstr(&c->arena, c->cfg.embed_model_dir);
	if (!*dir)
		return E_NOMEM;
	return (*dir)[0] ? OK : err_set(E_INVALID, "--embed-model-dir must name the folder of models: there is no data directory");
}

static enum err find(struct call *c, const struct embed_model **m)
{
	struct buf names;
	size_t n;
	const struct embed_model *all = embed_models(&n);

	*m = embed_model_find(str_c(c->args[0]));
	if (*m)
		return OK;
	buf_init(&names, &c->arena, 4096);
	for (size_t i = 0; i < n; i++)
		buf_printf(&names, "%s%s", i ? ", " : "", all[i].name);
	return err_set(E_INVALID, "there is no model \"%s\"; there are: %.*s", c->args[0], STR_ARG(buf_slice(&names)));
}

static enum err print(struct call *c, struct out *o, const struct embed_model *m, const char *status, struct str folder)
{
	uint64_t bytes = 0;
	struct json doc;
	struct buf b;
	struct jw w;

	for (size_t i = 0; i < m->files_n; i++)
		bytes += m->files[i].size;
	buf_init(&b, &c->arena, 16 << 10);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "name");
	jw_cstr(&w, m->name);
	jw_key(&w, "status");
	jw_cstr(&w, status);
	jw_key(&w, "licence");
	jw_cstr(&w, m->licence);
	jw_key(&w, "bytes");
	jw_u64(&w, bytes);
	jw_key(&w, "folder");
	if (folder.p)
		jw_str(&w, folder);
	else
		jw_null(&w);
	jw_key(&w, "title");
	jw_cstr(&w, m->title);
	jw_end_obj(&w);
	TRY(b.err);
	TRY(json_parse(&c->arena, buf_slice(&b), &json_default_limits, &doc));
	return out_row(o, json_root(&doc));
}

static enum err print_one(struct call *c, const struct embed_model *m, const char *status, struct str folder)
{
	struct out o;

	if (c->output == OUT_AUTO)
		return OK; /* said on stderr */
	out_begin(&o, c, model_cols, 6, "name", true);
	TRY(print(c, &o, m, status, folder));
	return out_end(&o);
}

/* ------------------------------------------------------------------------ add */

static enum err make_dirs(struct arena *a, const char *path)
{
	char *p = arena_cstr(a, str_c(path));

	if (!p)
		return E_NOMEM;
	for (char *s = p + 1;; s++) {
		char was = *s;

		if (was != '/' && was != '\0')
			continue;
		*s = '\0';
		if (mkdir(p, 0777) != 0 && errno != EEXIST)
			return err_set(E_IO, "cannot make the folder %s: %s", p, strerror(errno));
		*s = was;
		if (was == '\0')
			return OK;
	}
}

static enum err flush(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC);
	int rc = fd < 0 ? -1 : fsync(fd);
	enum err e = rc == 0 ? OK : err_set(E_IO, "%s: %s", path, strerror(errno));

	if (fd >= 0)
		close(fd);
	return e;
}

static enum err settle(struct call *c, const struct embed_model *m, const char *made, const char *dir, const char *target)
{
	for (size_t i = 0; i < m->files_n; i++) {
		struct str path = arena_printf(&c->arena, "%s/%s", made, m->files[i].name);

		if (!path.p)
			return E_NOMEM;
		TRY(flush(path.p, O_RDONLY));
	}
	TRY(flush(made, O_RDONLY | O_DIRECTORY));
	/* What lies there already goes to the staging folder by the same step. */
	if (renameat2(AT_FDCWD, made, AT_FDCWD, target, RENAME_EXCHANGE) != 0 && rename(made, target) != 0)
		return err_set(E_IO, "cannot move the model to %s: %s", target, strerror(errno));
	return flush(dir, O_RDONLY | O_DIRECTORY);
}

static enum err install(struct call *c, const struct embed_model *m, const char *dir, const char *target)
{
	char *stage = (char *)arena_printf(&c->arena, "%s/.%s-XXXXXX", dir, m->name).p;
	struct str made;
	enum err e;

	if (!stage)
		return E_NOMEM;
	if (!mkdtemp(stage))
		return err_set(E_IO, "cannot make a folder in %s: %s", dir, strerror(errno));
	made = arena_printf(&c->arena, "%s/%s", stage, m->name);
	e = !made.p ? E_NOMEM : mkdir(made.p, 0755) != 0 ? err_set(E_IO, "%s: %s", made.p, strerror(errno)) : OK;
	if (e == OK)
		e = model_get(c, m, call_flag(c, "from"), stage, made.p);
	if (e == OK) {
		e = model_verify(m, made.p);
		if (e != OK)
			(void)err_wrap(e, "nothing was installed");
	}
	if (e == OK)
		e = settle(c, m, made.p, dir, target);
	remove_tree(stage);
	return e;
}

static enum err add(struct call *c)
{
	const struct embed_model *m;
	struct str target, there;
	const char *dir;

	TRY(find(c, &m));
	TRY(models_dir(c, &dir));
	target = arena_printf(&c->arena, "%s/%s", dir, m->name);
	if (!target.p)
		return E_NOMEM;
	there = embed_model_path(&c->arena, str_c(dir), m);
	if (there.p && model_verify(m, there.p) == OK) {
		if (!c->quiet)
			fprintf(stderr, "cenote: %s is there already, in %s\n", m->name, there.p);
		return print_one(c, m, "installed", there);
	}
	if (!c->quiet)
		fprintf(stderr, "cenote: %s is %s; licence: %s\n", m->name, m->title, m->licence);
	interrupt_cooperate();
	TRY(make_dirs(&c->arena, dir));
	TRY(install(c, m, dir, target.p));
	if (!c->quiet)
		fprintf(stderr, "cenote: %s is installed in %s; a server uses it from its next start on\n", m->name, target.p);
	return print_one(c, m, "installed", target);
}

int run_model_add(struct call *c)
{
	enum err e = add(c);

	if (e == E_CANCELLED && interrupt_pending()) {
		fprintf(stderr, "cenote: %s\n", diag_get()->text);
		return interrupt_pending() == 2 ? 130 : 143;
	}
	return e == OK ? 0 : call_fail(c, e);
}

/* --------------------------------------------------------------------- ls, rm */

static enum err list(struct call *c)
{
	const char *dir;
	struct out o;
	size_t n;
	const struct embed_model *all = embed_models(&n);

	TRY(models_dir(c, &dir));
	out_begin(&o, c, model_cols, 6, "name", false);
	for (size_t i = 0; i < n; i++) {
		struct str at = embed_model_path(&c->arena, str_c(dir), &all[i]);
		enum err e = at.p ? model_verify(&all[i], at.p) : E_NOT_FOUND;

		if (e != OK && e != E_NOT_FOUND && e != E_CORRUPT)
			return e;
		TRY(print(c, &o, &all[i], e == OK ? "installed" : e == E_CORRUPT ? "damaged" : "missing", at));
	}
	return out_end(&o);
}

int run_model_ls(struct call *c)
{
	enum err e = list(c);

	return e == OK ? 0 : call_fail(c, e);
}

static enum err drop(struct call *c)
{
	const struct embed_model *m;
	struct str at, what;
	const char *dir;

	TRY(find(c, &m));
	TRY(models_dir(c, &dir));
	at = embed_model_path(&c->arena, str_c(dir), m);
	if (!at.p)
		return E_NOT_FOUND;
	what = arena_printf(&c->arena, "remove the model %s from %s", m->name, at.p);
	if (!what.p)
		return E_NOMEM;
	TRY(call_confirm(c, what.p));
	for (size_t i = 0; i < m->files_n; i++) {
		struct str path = arena_printf(&c->arena, "%s/%s", at.p, m->files[i].name);

		if (!path.p)
			return E_NOMEM;
		if (unlink(path.p) != 0)
			return err_set(E_IO, "%s: %s", path.p, strerror(errno));
	}
	/* Other files may lie beside them, which are not ours. */
	if (!str_eq(at, str_c(dir)))
		(void)rmdir(at.p);
	if (!c->quiet)
		fprintf(stderr, "cenote: removed %s\n", m->name);
	return print_one(c, m, "missing", at);
}

int run_model_rm(struct call *c)
{
	enum err e = drop(c);

	if (e == E_CANCELLED) {
		fprintf(stderr, "cenote: %s\n", diag_get()->text);
		return 1;
	}
	return e == OK ? 0 : call_fail(c, e);
}
