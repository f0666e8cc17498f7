/* Store URLs to drivers: one row per scheme. */
#include "store/open.h"

#include "store/postgres/postgres.h"
#include "store/sqlite/sqlite.h"

static enum err open_sqlite(struct str path, const struct store_options *opt, struct store **out)
{
	return sqlite_store_open(path, opt, NULL, out);
}

static enum err open_postgres(struct str url, const struct store_options *opt, struct store **out)
{
	return postgres_store_open(url, opt, out);
}

static const struct driver {
	struct str scheme;
	bool whole; /* the driver takes the whole URL, scheme included */
	enum err (*open)(struct str rest, const struct store_options *opt, struct store **out);
	const char *socket; /* below the path; NULL: the scheme has no socket */
} drivers[] = {
	{STR_INIT("sqlite"), false, open_sqlite, "cenote.sock"},
	{STR_INIT("postgresql"), true, open_postgres, NULL},
	{STR_INIT("postgres"), true, open_postgres, NULL},
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

enum err store_open(struct str url, const struct store_options *opt, struct store **out)
{
	struct str rest;
	const struct driver *d = find(url, &rest);
	*out = NULL;
	if (!d)
		return err_field(E_INVALID, "store", -1,
				 "the store must be given as sqlite:PATH, where PATH is a directory, or as postgresql://...");
	return d->open(d->whole ? url : rest, opt, out);
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
