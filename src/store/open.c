/* Store URLs to drivers: one row per scheme. */
#include "store/open.h"

#include "store/postgres/postgres.h"
#include "store/sqlite/sqlite.h"

static enum err open_sqlite(struct str path, const struct store_options *opt, struct store **out)
{
	if (opt->layout == CKPT_LAYOUT_LANGGRAPH)
		return err_field(
			E_INVALID, "checkpoints.layout", -1,
			"LangGraph's own tables are kept on PostgreSQL only; on SQLite checkpoints.layout is compact (or auto)");
	return sqlite_store_open(path, opt, NULL, out);
}

static const struct driver {
	struct str scheme;
	bool whole; /* the driver takes the whole URL, scheme included */
	enum err (*open)(struct str rest, const struct store_options *opt, struct store **out);
	const char *socket; /* below the path; NULL: the scheme has no socket */
	enum err (*migrate)(struct str rest, const struct store_options *opt, struct str tenant, bool dry_run, step_fn fn,
			    void *ctx);
	enum err (*grants)(struct str rest, const struct store_options *opt, struct str role, bool run, step_fn fn, void *ctx);
	enum err (*doctor)(struct str rest, const struct store_options *opt, finding_fn fn, void *ctx);
} drivers[] = {
	{STR_INIT("sqlite"), false, open_sqlite, "cenote.sock", sqlite_store_migrate, NULL, sqlite_store_doctor},
	{STR_INIT("postgresql"), true, postgres_store_open, NULL, postgres_store_migrate, postgres_store_grants,
	 postgres_store_doctor},
	{STR_INIT("postgres"), true, postgres_store_open, NULL, postgres_store_migrate, postgres_store_grants,
	 postgres_store_doctor},
};

static const struct driver *find(struct str url, struct str *rest)
{
	struct str scheme;
	if (!str_cut(url, ':', &scheme, rest))
		return NULL;
	for (size_t i = 0; i < sizeof drivers / sizeof *drivers; i++)
		if (str_eq(drivers[i].scheme, scheme))
			return &drivers[i];
	return NULL;
}

static enum err must_find(struct str url, const struct driver **d, struct str *rest)
{
	*d = find(url, rest);
	if (!*d)
		return err_field(E_INVALID, "store", -1,
				 "the store must be given as sqlite:PATH, where PATH is a directory, or as postgresql://...");
	if ((*d)->whole)
		*rest = url;
	return OK;
}

enum err store_open(struct str url, const struct store_options *opt, struct store **out)
{
	const struct driver *d;
	struct str rest;
	*out = NULL;
	TRY(must_find(url, &d, &rest));
	return d->open(rest, opt, out);
}

enum err store_migrate(struct str url, const struct store_options *opt, struct str tenant, bool dry_run, step_fn fn, void *ctx)
{
	const struct driver *d;
	struct str rest;
	TRY(must_find(url, &d, &rest));
	return d->migrate(rest, opt, tenant, dry_run, fn, ctx);
}

enum err store_grants(struct str url, const struct store_options *opt, struct str role, bool run, step_fn fn, void *ctx)
{
	const struct driver *d;
	struct str rest;
	TRY(must_find(url, &d, &rest));
	if (!d->grants)
		return err_set(E_INVALID, "%.*s stores have no roles to grant rights to; this is for postgresql://...",
			       STR_ARG(d->scheme));
	return d->grants(rest, opt, role, run, fn, ctx);
}

enum err store_doctor(struct str url, const struct store_options *opt, finding_fn fn, void *ctx)
{
	const struct driver *d;
	struct str rest;
	TRY(must_find(url, &d, &rest));
	return d->doctor(rest, opt, fn, ctx);
}

struct str store_socket_path(struct arena *a, struct str url)
{
	struct str rest;
	const struct driver *d = find(url, &rest);
	if (!d || !d->socket || rest.n == 0)
		return STR("");
	while (rest.n > 1 && rest.p[rest.n - 1] == '/')
		rest.n--;
	return arena_printf(a, "%.*s/%s", STR_ARG(rest), d->socket);
}
