/* migrate and grants: what has to be done to a store's tables, done or only told. */
#include "cli/cmd.h"
#include "cli/out.h"

#include <unistd.h>

#include "base/log.h"
#include "core/store.h"
#include "daemon/node.h"
#include "store/open.h"

#define LOCK_WAIT_MS 2000

static const struct column step_cols[] = {{"TENANT", "tenant", 0}, {"PLACE", "place", 0}, {"STATEMENT", "text", 0}};

struct steps {
	struct call *c;
	struct out o;
	bool plain; /* a script: statements as they are, with the place as a comment */
	char place[64];
	size_t n;
	enum err err;
};

static void say_plain(struct steps *s, const struct store_step *st)
{
	if (!st->sql) {
		printf("%.*s: %.*s\n", STR_ARG(st->place), STR_ARG(st->text));
		return;
	}
	if (!str_eq(st->place, str_c(s->place))) {
		snprintf(s->place, sizeof s->place, "%.*s", STR_ARG(st->place));
		printf("%s-- schema %s\n", s->n ? "\n" : "", s->place);
	}
	printf("%.*s;\n", STR_ARG(st->text));
}

static enum err say_row(struct steps *s, const struct store_step *st)
{
	struct arena *a = &s->c->arena;
	struct buf b;
	struct jw w;
	struct json doc;
	buf_init(&b, a, 1 << 20);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "tenant");
	jw_str(&w, st->tenant);
	jw_key(&w, "place");
	jw_str(&w, st->place);
	jw_key(&w, "text");
	jw_str(&w, st->text);
	jw_end_obj(&w);
	TRY(b.err);
	TRY(json_parse(a, buf_slice(&b), &json_default_limits, &doc));
	return out_row(&s->o, json_root(&doc));
}

static void step(void *ctx, const struct store_step *st)
{
	struct steps *s = ctx;
	if (s->plain)
		say_plain(s, st);
	else if (s->err == OK)
		s->err = say_row(s, st);
	s->n++;
}

static enum err begin(struct call *c, struct steps *s)
{
	*s = (struct steps){.c = c, .plain = c->output == OUT_AUTO || c->output == OUT_TEXT};
	log_setup(c->verbose ? LOG_DEBUG : LOG_WARN, isatty(2) ? LOG_TEXT : LOG_JSON);
	TRY(call_config(c));
	if (!s->plain)
		out_begin(&s->o, c, step_cols, 3, "text", false);
	return OK;
}

/* e: how it went; what was told until then is printed whole. */
static enum err end(struct steps *s, enum err e)
{
	struct diag d = *diag_get();
	enum err out = s->err;
	if (out == OK && !s->plain)
		out = out_end(&s->o);
	if (out == OK && fflush(stdout) != 0)
		out = err_set(E_IO, "cannot write to stdout");
	if (e != OK)
		*diag_get() = d;
	return e != OK ? e : out;
}

static enum err migrate(struct call *c)
{
	struct steps s;
	const char *tenant = call_flag(c, "tenant");
	if (tenant)
		TRY(tenant_check(str_c(tenant)));
	TRY(begin(c, &s));
	struct store_options opt = node_store_options(&c->cfg, LOCK_WAIT_MS);
	TRY(end(&s, store_migrate(c->cfg.store, &opt, str_c(tenant), call_has(c, "dry-run"), step, &s)));
	if (s.n == 0 && !c->quiet)
		fprintf(stderr, "cenote: nothing to do: all tables are there\n");
	return OK;
}

int run_migrate(struct call *c)
{
	enum err e = migrate(c);
	return e == OK ? 0 : call_fail(c, e);
}

static enum err grants(struct call *c)
{
	struct steps s;
	bool run = call_has(c, "run");
	TRY(begin(c, &s));
	struct store_options opt = node_store_options(&c->cfg, LOCK_WAIT_MS);
	TRY(end(&s, store_grants(c->cfg.store, &opt, str_c(c->args[0]), run, step, &s)));
	if (run && !c->quiet)
		fprintf(stderr, "cenote: granted, and role %s has all rights that it needs\n", c->args[0]);
	return OK;
}

int run_grants(struct call *c)
{
	enum err e = grants(c);
	return e == OK ? 0 : call_fail(c, e);
}
