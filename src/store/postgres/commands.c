/* The commands migrate and grants: a connection of their own, no pool. */
#include "store/postgres/catalog.h"
#include "store/postgres/postgres.h"

#define NO_LIMIT_MS 2000000000u
#define TENANTS_MAX 100000

enum err pg_session_open(struct pg_session *x, struct str conninfo, const struct store_options *opt, bool patient)
{
	struct str schema = opt->pg.schema.n ? opt->pg.schema : STR("public");
	uint64_t until;
	memset(x, 0, sizeof *x);
	x->opt = *opt;
	if (schema.n >= sizeof x->home || memchr(schema.p, 0, schema.n))
		return err_field(E_INVALID, "pg.schema", -1, "the name of a schema has 1 to 63 bytes");
	snprintf(x->home, sizeof x->home, "%.*s", STR_ARG(schema));
	if (patient)
		x->opt.pg.statement_ms = NO_LIMIT_MS; /* an index of a large table takes its time */
	TRY(pg_target_new(conninfo, &x->opt, &x->target));
	uint64_t began = clock_mono_ns();
	enum err e =
		pg_target_connect(x->target, deadline_in_ms(opt->pg.connect_ms ? opt->pg.connect_ms : 5000), NULL, &x->c, &until);
	x->login_ns = clock_mono_ns() - began;
	if (e != OK) {
		struct diag d = *diag_get();
		pg_session_close(x);
		*diag_get() = d;
	}
	return e;
}

void pg_session_close(struct pg_session *x)
{
	if (x->c)
		PQfinish(x->c);
	pg_target_free(x->target);
	x->c = NULL;
	x->target = NULL;
}

/* ---------------------------------------------------------------- migrate */

struct all {
	struct arena a;
	struct str *v;
	size_t n, cap;
	bool full;
};

static void add_tenant(void *ctx, const char *schema, const char *tenant)
{
	struct all *all = ctx;
	(void)schema;
	if (!tenant[0])
		return;
	if (all->n == all->cap) {
		size_t cap = all->cap ? all->cap * 2 : 32;
		struct str *v = arena_grow(&all->a, all->v, all->cap * sizeof *v, cap * sizeof *v);
		all->full = all->full || !v || cap > TENANTS_MAX;
		if (all->full)
			return;
		all->v = v;
		all->cap = cap;
	}
	all->v[all->n] = arena_str(&all->a, str_c(tenant));
	all->full = all->full || !all->v[all->n].p;
	all->n++;
}

static enum err migrate_one(struct pg_session *x, struct str tenant, bool dry_run, step_fn fn, void *ctx)
{
	char schema[64];
	TRY(tenant_check(tenant));
	TRY(pg_schema_name(schema, str_c(x->home), tenant));
	const struct pg_ensure ask = {.schema = str_c(schema),
				      .tenant = tenant,
				      .make = true,
				      .adopt = true,
				      .repair = true,
				      .checkpoints = x->opt.layout != CKPT_LAYOUT_COMPACT,
				      .compact = x->opt.layout == CKPT_LAYOUT_COMPACT,
				      .dry = dry_run,
				      .fn = fn,
				      .ctx = ctx};
	return pg_schema_ensure(x->c, &ask);
}

static enum err migrate_all(struct pg_session *x, bool dry_run, step_fn fn, void *ctx)
{
	struct all all = {.n = 0};
	enum err e;
	bool home = false;
	arena_init(&all.a, 32u << 20);
	CHECK(pg_schemas(x->c, x->home, add_tenant, &all));
	if (all.full)
		CHECK(err_set(E_LIMIT, "there are too many tenants to hold in memory; migrate them one by one with --tenant"));
	for (size_t i = 0; i < all.n; i++)
		home = home || str_eq(all.v[i], STR("default"));
	if (!home)
		CHECK(migrate_one(x, STR("default"), dry_run, fn, ctx));
	for (size_t i = 0; i < all.n; i++)
		CHECK(migrate_one(x, all.v[i], dry_run, fn, ctx));
out:
	arena_release(&all.a);
	return e;
}

enum err postgres_store_migrate(struct str conninfo, const struct store_options *opt, struct str tenant, bool dry_run, step_fn fn,
				void *ctx)
{
	struct pg_session x;
	TRY(pg_session_open(&x, conninfo, opt, true));
	enum err e = tenant.n ? migrate_one(&x, tenant, dry_run, fn, ctx) : migrate_all(&x, dry_run, fn, ctx);
	pg_session_close(&x);
	return e;
}

/* ----------------------------------------------------------------- grants */

enum err postgres_store_grants(struct str conninfo, const struct store_options *opt, struct str role, bool run, step_fn fn,
			       void *ctx)
{
	struct pg_session x;
	char name[64];
	if (role.n == 0 || role.n >= sizeof name || memchr(role.p, 0, role.n))
		return err_set(E_INVALID, "the name of a role has 1 to 63 bytes");
	snprintf(name, sizeof name, "%.*s", STR_ARG(role));
	TRY(pg_session_open(&x, conninfo, opt, false));
	enum err e = pg_grants(x.c, x.home, name, run, fn, ctx);
	pg_session_close(&x);
	return e;
}
