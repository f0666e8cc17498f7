/* Variables of other products that name the store or its pool, honoured for settings that flags, CENOTE_* and the file leave open:
 * DATABASE_URL, LAKEBASE_*, libpq's PG*, DB_POOL_*, USE_NULLPOOL; and those that name a model server: DATABRICKS_HOST,
 * DATABRICKS_TOKEN. */
#include "daemon/config.h"

struct env {
	struct config *c;
	char **v;
	struct problems *p;
};

static struct str var(const struct env *e, const char *name)
{
	size_t n = strlen(name);
	for (char **v = e->v; v && *v; v++)
		if (strncmp(*v, name, n) == 0 && (*v)[n] == '=')
			return str_c(*v + n + 1);
	return str_of(NULL, 0);
}

static bool is_open(const struct env *e, const char *key)
{
	size_t n;
	return e->c->origin[config_row(str_c(key)) - config_rows(&n)].kind == FROM_DEFAULT;
}

static void take(const struct env *e, const char *key, struct str value, const char *name)
{
	if (value.p)
		config_set(e->c, config_row(str_c(key)), &value, 1, (struct opt_origin){FROM_ENV, 0, 0, str_c(name)}, e->p);
}

/* ---------------------------------------------------------------- Lakebase */

static void put_encoded(struct str s, struct buf *out)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("-._~", c))
			buf_byte(out, (char)c);
		else
			buf_printf(out, "%%%02X", c);
	}
}

static bool is_local(struct str host)
{
	return str_starts(host, STR("/")) || str_eq(host, STR("localhost")) || str_starts(host, STR("127.")) ||
	       str_eq(host, STR("::1")) || str_eq(host, STR("[::1]"));
}

/* HOST, HOST:PORT, an IPv6 address with or without brackets, or the directory of a socket. */
static void put_host(struct str given, struct str *host, struct buf *out)
{
	ptrdiff_t colon = str_chr(given, ':', 0);
	int64_t port;
	*host = given;
	if (str_starts(given, STR("["))) {
		buf_str(out, given);
	} else if (colon >= 0 && str_int(str_sub(given, (size_t)colon + 1, given.n), 1, 65535, &port)) {
		*host = str_sub(given, 0, (size_t)colon);
		put_encoded(*host, out);
		buf_str(out, str_sub(given, (size_t)colon, given.n));
	} else if (colon >= 0) {
		buf_printf(out, "[%.*s]", STR_ARG(given));
	} else {
		put_encoded(given, out);
	}
}

/* The password goes its own way: the URL may be shown. */
static void lakebase(const struct env *e)
{
	struct str host = str_trim(var(e, "LAKEBASE_HOST")), user = var(e, "LAKEBASE_USER"), db = var(e, "LAKEBASE_DATABASE"),
		   password = var(e, "LAKEBASE_PASSWORD"), name;
	struct buf b;
	buf_init(&b, &e->c->arena, 16 << 10);
	buf_lit(&b, "postgresql://");
	put_encoded(user, &b);
	if (user.n)
		buf_byte(&b, '@');
	put_host(host, &name, &b);
	buf_byte(&b, '/');
	put_encoded(db.n ? db : STR("agents"), &b);
	if (!is_local(name) && var(e, "PGSSLMODE").n == 0)
		buf_lit(&b, "?sslmode=require");
	if (b.err == OK)
		take(e, "store", buf_slice(&b), "LAKEBASE_HOST");
	if (password.n && is_open(e, "pg.password") && is_open(e, "pg.password_file") && is_open(e, "pg.password_command"))
		take(e, "pg.password", password, "LAKEBASE_PASSWORD");
}

static void store(const struct env *e)
{
	/* libpq reads these and their like itself; one of these says that it is meant. */
	static const char *const pg[] = {"PGHOST", "PGHOSTADDR", "PGSERVICE"};
	struct str url = var(e, "DATABASE_URL");
	if (str_starts(url, STR("postgresql://")) || str_starts(url, STR("postgres://"))) {
		take(e, "store", url, "DATABASE_URL");
		return;
	}
	if (str_trim(var(e, "LAKEBASE_HOST")).n) {
		lakebase(e);
		return;
	}
	for (size_t i = 0; i < sizeof pg / sizeof *pg; i++) {
		if (var(e, pg[i]).n == 0)
			continue;
		take(e, "store", STR("postgresql://"), pg[i]);
		return;
	}
}

static void pool(const struct env *e)
{
	static const char *const sizes[][2] = {{"pg.pool.min", "DB_POOL_MIN_SIZE"}, {"pg.pool.max", "DB_POOL_MAX_SIZE"}};
	for (size_t i = 0; i < 2; i++)
		if (is_open(e, sizes[i][0]) && var(e, sizes[i][1]).n)
			take(e, sizes[i][0], var(e, sizes[i][1]), sizes[i][1]);
	struct str off = var(e, "USE_NULLPOOL");
	const struct opt *o = config_row(STR("pg.pool.enabled"));
	bool yes;
	if (off.n == 0 || !is_open(e, "pg.pool.enabled"))
		return;
	if (opt_parse(o, &e->c->arena, &off, 1, &yes) != OK)
		take(e, o->key, off, "USE_NULLPOOL"); /* says what is wrong */
	else
		take(e, o->key, yes ? STR("false") : STR("true"), "USE_NULLPOOL");
}

/* A workspace serves models, too: its host and its token belong together, so the token goes nowhere else. */
static void databricks(const struct env *e)
{
	struct str host = str_trim(var(e, "DATABRICKS_HOST")), token = str_trim(var(e, "DATABRICKS_TOKEN"));
	struct buf b;
	if (host.n == 0 || !is_open(e, "llm.base_url"))
		return;
	while (host.n && host.p[host.n - 1] == '/')
		host.n--;
	buf_init(&b, &e->c->arena, 16 << 10);
	if (!str_starts(host, STR("https://")) && !str_starts(host, STR("http://")))
		buf_lit(&b, "https://");
	buf_str(&b, host);
	buf_lit(&b, "/serving-endpoints");
	if (b.err == OK)
		take(e, "llm.base_url", buf_slice(&b), "DATABRICKS_HOST");
	if (token.n && is_open(e, "llm.api_key"))
		take(e, "llm.api_key", token, "DATABRICKS_TOKEN");
}

void config_foreign_env(struct config *c, char **env, struct problems *p)
{
	const struct env e = {c, env, p};
	if (is_open(&e, "store"))
		store(&e);
	pool(&e);
	databricks(&e);
}
