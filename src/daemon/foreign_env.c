/* Variables of other products that name the store or its pool, honoured for settings that flags, CENOTE_* and the file leave open:
 * DATABASE_URL, LAKEBASE_*, libpq's PG*, DB_POOL_*, USE_NULLPOOL; and those that name a workspace, which has models and functions:
 * DATABRICKS_HOST, DATABRICKS_TOKEN, DATABRICKS_WAREHOUSE_ID. Those about traces: foreign_traces.c. */
#include "daemon/foreign_env.h"

struct str env_var(const struct env *e, const char *name)
{
	size_t n = strlen(name);
	for (char **v = e->v; v && *v; v++)
		if (strncmp(*v, name, n) == 0 && (*v)[n] == '=')
			return str_c(*v + n + 1);
	return str_of(NULL, 0);
}

bool env_is_open(const struct env *e, const char *key)
{
	size_t n;
	return e->c->origin[config_row(str_c(key)) - config_rows(&n)].kind == FROM_DEFAULT;
}

void env_take(const struct env *e, const char *key, struct str value, const char *name)
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
	struct str host = str_trim(env_var(e, "LAKEBASE_HOST")), user = env_var(e, "LAKEBASE_USER"),
		   db = env_var(e, "LAKEBASE_DATABASE"), password = env_var(e, "LAKEBASE_PASSWORD"), name;
	struct buf b;
	buf_init(&b, &e->c->arena, 16 << 10);
	buf_lit(&b, "postgresql://");
	put_encoded(user, &b);
	if (user.n)
		buf_byte(&b, '@');
	put_host(host, &name, &b);
	buf_byte(&b, '/');
	put_encoded(db.n ? db : STR("agents"), &b);
	if (!is_local(name) && env_var(e, "PGSSLMODE").n == 0)
		buf_lit(&b, "?sslmode=require");
	if (b.err == OK)
		env_take(e, "store", buf_slice(&b), "LAKEBASE_HOST");
	if (password.n && env_is_open(e, "pg.password") && env_is_open(e, "pg.password_file") &&
	    env_is_open(e, "pg.password_command"))
		env_take(e, "pg.password", password, "LAKEBASE_PASSWORD");
}

static void store(const struct env *e)
{
	/* libpq reads these and their like itself; one of these says that it is meant. */
	static const char *const pg[] = {"PGHOST", "PGHOSTADDR", "PGSERVICE"};
	struct str url = env_var(e, "DATABASE_URL");
	if (str_starts(url, STR("postgresql://")) || str_starts(url, STR("postgres://"))) {
		env_take(e, "store", url, "DATABASE_URL");
		return;
	}
	if (str_trim(env_var(e, "LAKEBASE_HOST")).n) {
		lakebase(e);
		return;
	}
	for (size_t i = 0; i < sizeof pg / sizeof *pg; i++) {
		if (env_var(e, pg[i]).n == 0)
			continue;
		env_take(e, "store", STR("postgresql://"), pg[i]);
		return;
	}
}

/* pg.host and its like, for those who have the store in parts. */
static void parts(const struct env *e)
{
	static const char *const modes[] = {"", "disable", "allow", "prefer", "require", "verify-ca", "verify-full"};
	struct config *c = e->c;
	const struct opt *store_row = config_row(STR("store")), *host_row = config_row(STR("pg.host"));
	struct str name, url;
	struct buf b;
	size_t n;
	const char *mode = modes[c->pg_sslmode];
	if (c->pg_host.n == 0) {
		static const char *const needs[] = {"pg.database", "pg.user", "pg.sslmode"};
		for (size_t i = 0; i < sizeof needs / sizeof needs[0]; i++)
			if (!env_is_open(e, needs[i]))
				problem_add(e->p, str_of(NULL, 0), 0, 0, str_c(needs[i]), str_of(NULL, 0),
					    "needs pg.host (or conn_host), the host that it belongs to");
		return;
	}
	buf_init(&b, &c->arena, 16 << 10);
	buf_lit(&b, "postgresql://");
	put_encoded(c->pg_user, &b);
	if (c->pg_user.n)
		buf_byte(&b, '@');
	put_host(str_trim(c->pg_host), &name, &b);
	buf_byte(&b, '/');
	put_encoded(c->pg_database.n ? c->pg_database : STR("databricks_postgres"), &b);
	if (!mode[0] && !is_local(name) && env_var(e, "PGSSLMODE").n == 0)
		mode = "require";
	if (mode[0])
		buf_printf(&b, "?sslmode=%s", mode);
	url = buf_slice(&b);
	if (!env_is_open(e, "store") && !str_eq(c->store, url))
		problem_add(e->p, str_of(NULL, 0), 0, 0, str_c("pg.host"), str_of(NULL, 0),
			    "`store` is set, too; name the store once");
	else if (b.err == OK)
		config_set(c, store_row, &url, 1, c->origin[host_row - config_rows(&n)], e->p);
}

static void pool(const struct env *e)
{
	static const char *const sizes[][2] = {{"pg.pool.min", "DB_POOL_MIN_SIZE"}, {"pg.pool.max", "DB_POOL_MAX_SIZE"}};
	for (size_t i = 0; i < 2; i++)
		if (env_is_open(e, sizes[i][0]) && env_var(e, sizes[i][1]).n)
			env_take(e, sizes[i][0], env_var(e, sizes[i][1]), sizes[i][1]);
	struct str off = env_var(e, "USE_NULLPOOL");
	const struct opt *o = config_row(STR("pg.pool.enabled"));
	bool yes;
	if (off.n == 0 || !env_is_open(e, "pg.pool.enabled"))
		return;
	if (opt_parse(o, &e->c->arena, &off, 1, &yes) != OK)
		env_take(e, o->key, off, "USE_NULLPOOL"); /* says what is wrong */
	else
		env_take(e, o->key, yes ? STR("false") : STR("true"), "USE_NULLPOOL");
}

/* A workspace serves models, too: its host and its token belong together, so the token goes nowhere else. */
static void databricks(const struct env *e)
{
	struct str host = str_trim(env_var(e, "DATABRICKS_HOST")), token = str_trim(env_var(e, "DATABRICKS_TOKEN"));
	struct buf b;
	if (host.n == 0 || !env_is_open(e, "llm.base_url"))
		return;
	while (host.n && host.p[host.n - 1] == '/')
		host.n--;
	buf_init(&b, &e->c->arena, 16 << 10);
	if (!str_starts(host, STR("https://")) && !str_starts(host, STR("http://")))
		buf_lit(&b, "https://");
	buf_str(&b, host);
	buf_lit(&b, "/serving-endpoints");
	if (b.err == OK)
		env_take(e, "llm.base_url", buf_slice(&b), "DATABRICKS_HOST");
	if (token.n && env_is_open(e, "llm.api_key"))
		env_take(e, "llm.api_key", token, "DATABRICKS_TOKEN");
}

/* It has the functions that are tools, too. */
static void functions(const struct env *e)
{
	struct str host = str_trim(env_var(e, "DATABRICKS_HOST")), token = str_trim(env_var(e, "DATABRICKS_TOKEN")),
		   warehouse = str_trim(env_var(e, "DATABRICKS_WAREHOUSE_ID"));

	if (!e->c->tools_uc_functions.n)
		return;
	if (warehouse.n && env_is_open(e, "tools.uc_warehouse_id"))
		env_take(e, "tools.uc_warehouse_id", warehouse, "DATABRICKS_WAREHOUSE_ID");
	if (!host.n || !env_is_open(e, "tools.uc_host"))
		return;
	env_take(e, "tools.uc_host", host, "DATABRICKS_HOST");
	if (token.n && env_is_open(e, "tools.uc_token"))
		env_take(e, "tools.uc_token", token, "DATABRICKS_TOKEN");
}

void config_foreign_env(struct config *c, char **env, struct problems *p)
{
	const struct env e = {c, env, p};
	parts(&e);
	if (env_is_open(&e, "store"))
		store(&e);
	pool(&e);
	databricks(&e);
	functions(&e);
	env_traces(&e);
}
