/* STAND-IN: tenants as schemas, made without much looking. Replaced by the schema's parts. */
#include "store/postgres/ddl.h"
#include "store/postgres/pg.h"

const char *pg_render(struct pg_tenant *t, const struct pg_stmt *st)
{
	char *have = atomic_load(&t->sql[st->id]);
	struct buf b;
	if (have)
		return have;
	buf_init(&b, NULL, 1 << 20);
	for (const char *p = st->sql; *p; p++) {
		if (*p != '@')
			buf_byte(&b, *p);
		else if (p[1] == '@')
			buf_byte(&b, *p++);
		else
			buf_printf(&b, "%s.", t->quoted);
	}
	buf_byte(&b, 0);
	if (b.err != OK)
		return NULL;
	char *none = NULL;
	if (!atomic_compare_exchange_strong(&t->sql[st->id], &none, b.p)) {
		buf_release(&b);
		return none;
	}
	return b.p;
}

static enum err new (struct pg *s, struct str name, struct pg_tenant **out) {
	struct pg_tenant *t = calloc(1, sizeof *t); bool home = str_eq(name, STR("default"));
	if (!t) return err_set(E_LIMIT, "out of memory");
	t->s = s;
	t->slot = s->slots++;
	snprintf(t->name, sizeof t->name, "%.*s", STR_ARG(name));
	snprintf(t->schema, sizeof t->schema, home ? "%s" : "%s_%s", s->schema, t->name);
	snprintf(t->quoted, sizeof t->quoted, "\"%s\"", t->schema);
	*out = t;
	TRY(pg_feed_new(t));
	return map_put(&s->tenants, str_c(t->name), t, NULL);
}

static enum err run(PGconn *c, struct pg_tenant *t, const char *sql)
{
	struct pg_stmt st = {.id = ST_MAX - 1, .sql = sql};
	const char *text = pg_render(t, &st);
	enum err e = pg_sql(c, text, NULL);
	free(atomic_exchange(&t->sql[ST_MAX - 1], NULL));
	return e;
}

static enum err make(PGconn *c, void *arg)
{
	struct pg_tenant *t = arg;
	PGresult *r;
	char text[256];
	snprintf(text, sizeof text, "CREATE SCHEMA IF NOT EXISTS %s", t->quoted);
	TRY(pg_sql(c, text, NULL));
	snprintf(text, sizeof text, "SELECT to_regclass('%s.cenote_meta') IS NOT NULL", t->quoted);
	TRY(pg_sql(c, text, &r));
	bool there = PQgetvalue(r, 0, 0)[0] == 't';
	PQclear(r);
	if (there)
		return OK;
	TRY(run(c, t, "CREATE TABLE IF NOT EXISTS @store_migrations(v INTEGER PRIMARY KEY)"));
	for (size_t i = 0; i < sizeof pg_store_steps / sizeof *pg_store_steps; i++)
		TRY(run(c, t, pg_store_steps[i]));
	for (size_t i = 0; i < sizeof pg_own_tables / sizeof *pg_own_tables; i++)
		TRY(run(c, t, pg_own_tables[i]));
	for (size_t i = 0; t == t->s->home && i < sizeof pg_home_tables / sizeof *pg_home_tables; i++)
		TRY(run(c, t, pg_home_tables[i]));
	snprintf(text, sizeof text, "INSERT INTO @cenote_meta VALUES('schema', '1'), ('tenant', '%s')", t->name);
	return run(c, t, text);
}

static enum err exists(PGconn *c, void *arg)
{
	struct pg_tenant *t = arg;
	PGresult *r;
	char text[256];
	snprintf(text, sizeof text, "SELECT to_regclass('%s.cenote_meta') IS NOT NULL", t->quoted);
	TRY(pg_sql(c, text, &r));
	if (PQgetvalue(r, 0, 0)[0] == 't')
		atomic_store(&t->state, PT_READY);
	PQclear(r);
	return OK;
}

enum err pg_tenant_get(struct pg *s, const struct principal *who, unsigned right, bool create, struct pg_tenant **out)
{
	enum err e = OK;
	TRY(principal_check(who, right));
	TRY(tenant_check(who->tenant));
	pthread_mutex_lock(&s->tmu);
	*out = map_get(&s->tenants, who->tenant);
	if (!*out)
		e = new (s, who->tenant, out);
	pthread_mutex_unlock(&s->tmu);
	if (e == OK && atomic_load(&(*out)->state) != PT_READY)
		e = pg_admin(s, exists, *out);
	if (e == OK && atomic_load(&(*out)->state) != PT_READY && create && (e = pg_admin(s, make, *out)) == OK)
		atomic_store(&(*out)->state, PT_READY);
	if (e != OK || atomic_load(&(*out)->state) != PT_READY)
		*out = NULL;
	return e;
}

struct pg_tenant *pg_home(struct pg *s)
{
	return s->home;
}

enum err pg_tenants_start(struct pg *s)
{
	static const struct principal me = {.tenant = STR_INIT("default"), .rights = RIGHT_ALL};
	struct pg_tenant *t;
	TRY(new (s, STR("default"), &s->home));
	return pg_tenant_get(s, &me, RIGHT_READ, true, &t);
}

void pg_tenants_free(struct pg *s)
{
	size_t it = 0;
	struct str name;
	void *v;
	while (map_next(&s->tenants, &it, &name, &v)) {
		struct pg_tenant *t = v;
		pg_feed_free(t);
		for (unsigned i = 0; i < ST_MAX; i++)
			free(atomic_load(&t->sql[i]));
		free(t);
	}
	map_release(&s->tenants);
}
