/* Reading a schema from the catalogs, and judging whether its tables are those that we know. Catalogs can be read by every role,
 * whatever its rights, so that this always answers. */
#include "store/postgres/catalog.h"

#include "store/postgres/exec.h"

enum err pg_schema_name(char out[64], struct str home, struct str tenant)
{
	bool is_home = str_eq(tenant, STR("default"));
	size_t n = home.n + (is_home ? 0 : 1 + tenant.n);
	if (n > 63)
		return err_field(
			E_INVALID, "tenant", -1,
			"the schema of the tenant, %.*s_%.*s, would have %zu bytes, PostgreSQL takes 63; choose a shorter name",
			STR_ARG(home), STR_ARG(tenant), n);
	snprintf(out, 64, is_home ? "%.*s" : "%.*s_%.*s", STR_ARG(home), STR_ARG(tenant));
	return OK;
}

void pg_quote(char *out, size_t cap, const char *name)
{
	size_t n = 0;
	out[n++] = '"';
	for (const char *p = name; *p && n + 3 < cap; p++) {
		if (*p == '"')
			out[n++] = '"';
		out[n++] = *p;
	}
	out[n++] = '"';
	out[n] = 0;
}

static bool is_letter(char c)
{
	return c >= 'a' && c <= 'z';
}

void pg_expand(struct buf *out, const char *sql, const char *quoted, const char *home)
{
	for (const char *p = sql; *p; p++) {
		bool at_home = *p == '@' && p[1] == '~' && is_letter(p[2]);
		if (at_home || (*p == '@' && is_letter(p[1]))) {
			buf_lit(out, at_home ? home : quoted);
			buf_byte(out, '.');
			p += at_home;
		} else {
			buf_byte(out, *p);
			p += *p == '@' && p[1] == '@';
		}
	}
}

enum err pg_answer(PGconn *c, bool sent, PGresult **res)
{
	PGresult *r;
	enum err e;
	*res = NULL;
	if (!sent)
		return pg_error(NULL, c);
	while ((e = pg_wait_answer(c)) == OK && (r = PQgetResult(c))) {
		PQclear(*res);
		*res = r;
	}
	if (e == OK)
		return *res ? OK : pg_error(NULL, c);
	PQclear(*res);
	*res = NULL;
	return e;
}

enum err pg_result(PGconn *c, const char *sql, int n, const char *const *values, PGresult **res)
{
	/* In the simple protocol CREATE INDEX CONCURRENTLY stands alone. */
	return pg_answer(c, n < 0 ? PQsendQuery(c, sql) : PQsendQueryParams(c, sql, n, NULL, values, NULL, NULL, 0), res);
}

enum err pg_ask(PGconn *c, const char *sql, int n, const char *const *values, PGresult **res)
{
	PGresult *r;
	*res = NULL;
	TRY(pg_result(c, sql, n, values, &r));
	ExecStatusType status = PQresultStatus(r);
	if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK) {
		*res = r;
		return OK;
	}
	enum err e = pg_error(r, c);
	PQclear(r);
	return e;
}

enum err pg_exec_text(PGconn *c, const char *sql)
{
	PGresult *r;
	TRY(pg_ask(c, sql, -1, NULL, &r));
	PQclear(r);
	return OK;
}

/* ---------------------------------------------------------------- reading */

static const char *const names[TB_COUNT] = {"store",
					    "store_migrations",
					    "checkpoint_migrations",
					    "checkpoints",
					    "checkpoint_blobs",
					    "checkpoint_writes",
					    "agent_sessions",
					    "agent_messages",
					    "conversations",
					    "cenote_meta",
					    "cenote_value",
					    "cenote_item",
					    "cenote_journal",
					    "cenote_thread",
					    "cenote_message",
					    "cenote_model",
					    "cenote_vector",
					    "cenote_text",
					    "cenote_text_seen",
					    "cenote_fact",
					    "cenote_key",
					    "cenote_checkpoint_ns",
					    "cenote_checkpoint",
					    "cenote_pending",
					    "cenote_stream",
					    "cenote_version",
					    "cenote_chunk"};

const char *pg_table_name(enum pg_table t)
{
	return names[t];
}

static bool yes(const PGresult *r, int row, int col)
{
	return PQgetvalue(r, row, col)[0] == 't';
}

static void copy(char *out, size_t cap, const char *s)
{
	snprintf(out, cap, "%s", s);
}

static enum err read_schema(PGconn *c, const char *const *who, struct pg_catalog *k)
{
	PGresult *r;
	TRY(pg_ask(c,
		   "SELECT r.rolname, current_database(), pg_is_in_recovery(), current_setting('transaction_read_only') = 'on',"
		   " has_database_privilege(r.oid, current_database(), 'CREATE'),"
		   " has_database_privilege(r.oid, current_database(), 'CONNECT'), n.oid IS NOT NULL,"
		   " coalesce(has_schema_privilege(r.oid, n.oid, 'USAGE'), false),"
		   " coalesce(has_schema_privilege(r.oid, n.oid, 'CREATE'), false), coalesce(pg_get_userbyid(n.nspowner), ''),"
		   " current_setting('default_transaction_isolation') FROM pg_catalog.pg_roles r LEFT JOIN pg_catalog.pg_namespace "
		   "n ON n.nspname = $1::text"
		   " WHERE r.rolname = coalesce(nullif($2::text, ''), current_user)",
		   2, who, &r));
	if (PQntuples(r) != 1) {
		PQclear(r);
		return err_set(E_NOT_FOUND, "there is no role \"%.63s\" on this server", who[1]);
	}
	copy(k->role, sizeof k->role, PQgetvalue(r, 0, 0));
	copy(k->database, sizeof k->database, PQgetvalue(r, 0, 1));
	k->standby = yes(r, 0, 2);
	k->read_only = k->standby || yes(r, 0, 3);
	k->create_db = yes(r, 0, 4);
	k->connect = yes(r, 0, 5);
	k->exists = yes(r, 0, 6);
	k->usage = yes(r, 0, 7);
	k->create = yes(r, 0, 8);
	copy(k->schema_owner, sizeof k->schema_owner, PQgetvalue(r, 0, 9));
	copy(k->isolation, sizeof k->isolation, PQgetvalue(r, 0, 10));
	PQclear(r);
	pg_quote(k->role_quoted, sizeof k->role_quoted, k->role);
	return OK;
}

static enum err read_tables(PGconn *c, const char *const *who, struct pg_catalog *k)
{
	PGresult *r;
	TRY(pg_ask(c,
		   "SELECT c.relname, c.relkind, pg_has_role(r.oid, c.relowner, 'USAGE'), pg_get_userbyid(c.relowner),"
		   " has_table_privilege(r.oid, c.oid, 'SELECT')::int + 2 * has_table_privilege(r.oid, c.oid, 'INSERT')::int +"
		   " 4 * has_table_privilege(r.oid, c.oid, 'UPDATE')::int + 8 * has_table_privilege(r.oid, c.oid, 'DELETE')::int"
		   " FROM pg_catalog.pg_roles r, pg_catalog.pg_namespace n JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid"
		   " WHERE n.nspname = $1::text AND r.rolname = coalesce(nullif($2::text, ''), current_user)"
		   " AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND (c.relname IN ('store', 'store_migrations',"
		   " 'checkpoint_migrations', 'checkpoints', 'checkpoint_blobs', 'checkpoint_writes', 'agent_sessions',"
		   " 'agent_messages', 'conversations') OR c.relname ~ '^cenote_')",
		   2, who, &r));
	for (int i = 0; i < PQntuples(r); i++) {
		for (unsigned t = 0; t < TB_COUNT; t++) {
			struct pg_table_look *l = &k->tables[t];
			if (strcmp(names[t], PQgetvalue(r, i, 0)) != 0)
				continue;
			l->exists = true;
			l->kind = PQgetvalue(r, i, 1)[0];
			l->owned = yes(r, i, 2);
			copy(l->owner, sizeof l->owner, PQgetvalue(r, i, 3));
			/* NULL when the table went away in between. */
			int64_t may = 0;
			(void)str_int(str_c(PQgetvalue(r, i, 4)), 0, MAY_ALL, &may);
			l->may = (unsigned)may;
		}
	}
	PQclear(r);
	return OK;
}

static void column(struct pg_catalog *k, const char *name, const char *type, bool needed)
{
	static const char *const known[][2] = {{"prefix", "text"},
					       {"key", "text"},
					       {"value", "jsonb"},
					       {"created_at", "timestamp with time zone"},
					       {"updated_at", "timestamp with time zone"},
					       {"expires_at", "timestamp with time zone"},
					       {"ttl_minutes", "integer"}};
	if (strcmp(name, "namespace_path") == 0)
		k->js = true;
	k->expires = k->expires || strcmp(name, "expires_at") == 0;
	k->ttl = k->ttl || strcmp(name, "ttl_minutes") == 0;
	for (unsigned i = 0; i < sizeof known / sizeof *known; i++) {
		if (strcmp(name, known[i][0]) != 0)
			continue;
		if (strcmp(type, known[i][1]) != 0 && !k->odd[0])
			snprintf(k->odd, sizeof k->odd, "its column %s is of the type %.60s, not %s", name, type, known[i][1]);
		return;
	}
	k->extra = true;
	if (needed && !k->odd[0])
		snprintf(k->odd, sizeof k->odd, "it has a further column, %.63s, that must be given", name);
}

static enum err read_columns(PGconn *c, const char *const *who, struct pg_catalog *k)
{
	static const char *const must[] = {"prefix", "key", "value", "created_at", "updated_at"};
	PGresult *r;
	unsigned seen = 0;
	TRY(pg_ask(c,
		   "SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull AND NOT a.atthasdef AND a.attidentity = ''"
		   " FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid"
		   " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
		   " WHERE n.nspname = $1::text AND c.relname = 'store' AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
		   1, who, &r));
	for (int i = 0; i < PQntuples(r); i++) {
		column(k, PQgetvalue(r, i, 0), PQgetvalue(r, i, 1), yes(r, i, 2));
		for (unsigned m = 0; m < 5; m++)
			seen |= strcmp(must[m], PQgetvalue(r, i, 0)) == 0 ? 1u << m : 0;
	}
	for (unsigned m = 0; m < 5 && k->tables[TB_STORE].exists && !k->odd[0]; m++)
		if (!(seen & 1u << m))
			snprintf(k->odd, sizeof k->odd, "it has no column %s", must[m]);
	PQclear(r);
	return OK;
}

/* Every column that the checkpoint tables must have and the type that it has, NULL: it is not there. */
static enum err read_checkpoint_columns(PGconn *c, const char *const *who, struct pg_catalog *k)
{
	PGresult *r;
	TRY(pg_ask(c,
		   "SELECT x.t, x.c, x.y, format_type(a.atttypid, a.atttypmod), a.attnotnull FROM (VALUES " PG_CP_COLUMNS
		   ", ('checkpoint_writes', 'task_path', 'text')) x(t, c, y) JOIN pg_catalog.pg_class k ON k.relname = x.t JOIN"
		   " pg_catalog.pg_namespace n ON n.oid = k.relnamespace AND n.nspname = $1::text LEFT JOIN pg_catalog.pg_attribute"
		   " a ON a.attrelid = k.oid AND a.attname = x.c AND a.attnum > 0 AND NOT a.attisdropped",
		   1, who, &r));
	for (int i = 0; i < PQntuples(r); i++) {
		const char *table = PQgetvalue(r, i, 0), *col = PQgetvalue(r, i, 1), *want = PQgetvalue(r, i, 2);
		const char *is = PQgetvalue(r, i, 3);
		bool path = strcmp(col, "task_path") == 0;
		if (strcmp(table, "checkpoint_blobs") == 0 && strcmp(col, "blob") == 0)
			k->cp_null = !yes(r, i, 4);
		if (path)
			k->cp_path = is[0] != 0;
		if (strcmp(is, want) == 0 || (path && !is[0]) || k->cp_odd[0])
			continue;
		if (is[0])
			snprintf(k->cp_odd, sizeof k->cp_odd, "column %s of %s is of the type %.60s, not %s", col, table, is, want);
		else
			snprintf(k->cp_odd, sizeof k->cp_odd, "%s has no column %s", table, col);
	}
	PQclear(r);
	return OK;
}

/* The tables of LangGraph's savers, of which two kinds are never adopted. */
static enum err read_checkpoints(PGconn *c, const char *const *who, struct pg_catalog *k)
{
	PGresult *r;
	TRY(pg_ask(c,
		   "SELECT bool_or(c.relname = 'checkpoints') AND NOT bool_or(c.relname = 'checkpoints' AND a.attname ="
		   " 'checkpoint_id'), bool_or(a.attname IN ('thread_id', 'task_id') AND a.atttypid = 'uuid'::regtype)"
		   " FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid"
		   " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1::text AND c.relname IN"
		   " ('checkpoints', 'checkpoint_writes') AND a.attnum > 0 AND NOT a.attisdropped",
		   1, who, &r));
	k->shallow = yes(r, 0, 0);
	k->server = yes(r, 0, 1);
	PQclear(r);
	return read_checkpoint_columns(c, who, k);
}

static enum err read_indexes(PGconn *c, const char *const *who, struct pg_catalog *k)
{
	PGresult *r;
	TRY(pg_ask(
		c,
		"SELECT i.relname, x.indisvalid AND x.indisready, c.relname = 'store' AND x.indisunique AND x.indisvalid AND"
		" x.indpred IS NULL AND (SELECT array_agg(a.attname::text ORDER BY a.attname) FROM pg_catalog.pg_attribute a WHERE"
		" a.attrelid = c.oid AND a.attnum = ANY(x.indkey[0:x.indnkeyatts - 1])) = '{key,prefix}'"
		" FROM pg_catalog.pg_index x JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid"
		" JOIN pg_catalog.pg_class c ON c.oid = x.indrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
		" WHERE n.nspname = $1::text AND (c.relname IN ('store', 'checkpoints', 'checkpoint_blobs', 'checkpoint_writes') OR"
		" c.relname ~ '^cenote_')",
		1, who, &r));
	for (int i = 0; i < PQntuples(r); i++) {
		const char *name = PQgetvalue(r, i, 0);
		struct pg_index_look look = {true, yes(r, i, 1)};
		k->primary = k->primary || yes(r, i, 2);
		if (strcmp(name, "store_prefix_idx") == 0)
			k->prefix_index = look;
		if (strcmp(name, "idx_store_expires_at") == 0)
			k->expires_index = look;
		for (unsigned x = 0; x < 3; x++) {
			size_t n = strlen(names[TB_CP + x]);
			if (strncmp(name, names[TB_CP + x], n) == 0 && strcmp(name + n, "_thread_id_idx") == 0)
				k->cp_index[x] = look;
		}
		for (unsigned d = 0; d < PG_OWN_DDL; d++)
			if (pg_own_tables[d].index && strcmp(name, pg_own_tables[d].index) == 0)
				k->own_index[d] = look;
	}
	PQclear(r);
	return OK;
}

static bool readable(const struct pg_catalog *k, enum pg_table t)
{
	return k->usage && k->tables[t].exists && (k->tables[t].may & MAY_SELECT);
}

/* The rows that tell versions; by the connected role, which may be another one than the role looked at. */
static enum err read_versions(PGconn *c, struct pg_catalog *k)
{
	char text[512];
	PGresult *r;
	if (readable(k, TB_STORE_MIGRATIONS)) {
		snprintf(text, sizeof text, "SELECT coalesce(max(v), -1) FROM %s.store_migrations", k->quoted);
		TRY(pg_ask(c, text, 0, NULL, &r));
		(void)str_int(str_c(PQgetvalue(r, 0, 0)), INT64_MIN, INT64_MAX, &k->store_version);
		PQclear(r);
	}
	if (readable(k, TB_CP_MIGRATIONS)) {
		snprintf(text, sizeof text, "SELECT coalesce(max(v), -1) FROM %s.checkpoint_migrations", k->quoted);
		TRY(pg_ask(c, text, 0, NULL, &r));
		(void)str_int(str_c(PQgetvalue(r, 0, 0)), INT64_MIN, INT64_MAX, &k->cp_version);
		PQclear(r);
	}
	if (readable(k, TB_META)) {
		snprintf(text, sizeof text, "SELECT name, value FROM %s.cenote_meta WHERE name IN ('schema', 'tenant')", k->quoted);
		TRY(pg_ask(c, text, 0, NULL, &r));
		for (int i = 0; i < PQntuples(r); i++) {
			if (strcmp(PQgetvalue(r, i, 0), "tenant") == 0)
				copy(k->tenant, sizeof k->tenant, PQgetvalue(r, i, 1));
			else
				(void)str_int(str_c(PQgetvalue(r, i, 1)), INT64_MIN, INT64_MAX, &k->cenote_version);
		}
		PQclear(r);
	}
	return OK;
}

enum err pg_catalog_read(PGconn *c, const char *schema, const char *role, struct pg_catalog *k)
{
	const char *who[2] = {schema, role};
	memset(k, 0, sizeof *k);
	k->store_version = k->cenote_version = k->cp_version = -1;
	k->checkpoints = true;
	copy(k->schema, sizeof k->schema, schema);
	pg_quote(k->quoted, sizeof k->quoted, k->schema);
	TRY(read_schema(c, who, k));
	TRY(read_tables(c, who, k));
	TRY(read_columns(c, who, k));
	TRY(read_checkpoints(c, who, k));
	TRY(read_indexes(c, who, k));
	TRY(pg_sessions_read(c, who, k));
	if (k->js || k->odd[0])
		return OK;
	return role[0] ? OK : read_versions(c, k);
}

/* ---------------------------------------------------------------- judging */

static enum err judge_store(const struct pg_catalog *k)
{
	const struct pg_table_look *store = &k->tables[TB_STORE];
	if (store->exists && k->js)
		return err_set(
			E_CONFLICT,
			"the table store in schema %s is of LangGraph.js (it has namespace_path), whose rows differ from those of "
			"Python's PostgresStore; choose another schema with pg.schema, and let the JavaScript program use Cenote "
			"over HTTP",
			k->quoted);
	if (store->exists && store->kind != 'r' && store->kind != 'p')
		return err_set(E_CONFLICT,
			       "%s.store is not a table but a view or a foreign table; choose another schema with pg.schema",
			       k->quoted);
	if (store->exists && (k->odd[0] || !k->primary))
		return err_set(
			E_CONFLICT,
			"the table store in schema %s is not that of LangGraph's PostgresStore: %s; choose another schema with "
			"pg.schema",
			k->quoted, k->odd[0] ? k->odd : "it has no unique index on (prefix, key)");
	if (store->exists && !k->tables[TB_STORE_MIGRATIONS].exists && k->extra)
		return err_set(E_CONFLICT,
			       "schema %s has a table store with columns that LangGraph's has not, and no store_migrations; choose "
			       "another "
			       "schema with pg.schema",
			       k->quoted);
	if (k->store_version > PG_STORE_VERSION)
		return err_set(
			E_CONFLICT,
			"the table store in schema %s is of a newer LangGraph (store_migrations has %lld, this release knows up to "
			"%d); use a newer Cenote, or another schema with pg.schema",
			k->quoted, (long long)k->store_version, PG_STORE_VERSION);
	return OK;
}

enum err pg_catalog_judge_checkpoints(const struct pg_catalog *k)
{
	if (k->shallow)
		return err_set(
			E_CONFLICT,
			"schema %s has the tables of LangGraph's shallow saver (checkpoints without checkpoint_id), which is "
			"deprecated and keeps no history; move that program to PostgresSaver in a new schema, or choose another "
			"schema with pg.schema",
			k->quoted);
	if (k->server)
		return err_set(E_CONFLICT,
			       "schema %s is that of a LangGraph server (its checkpoint tables have ids of the type uuid), whose "
			       "layout is not PostgresSaver's; choose another schema with pg.schema",
			       k->quoted);
	for (enum pg_table t = TB_CP_MIGRATIONS; t <= TB_CP_WRITES; t++)
		if (k->tables[t].exists && k->tables[t].kind != 'r' && k->tables[t].kind != 'p')
			return err_set(E_CONFLICT, "%s.%s is not a table; choose another schema with pg.schema", k->quoted,
				       names[t]);
	if (k->cp_odd[0])
		return err_set(E_CONFLICT,
			       "the checkpoint tables in schema %s are not those of LangGraph's PostgresSaver: %s; choose another "
			       "schema with pg.schema",
			       k->quoted, k->cp_odd);
	if (k->cp_version > PG_CP_VERSION)
		return err_set(E_CONFLICT,
			       "the checkpoint tables in schema %s are of a newer LangGraph (checkpoint_migrations has %lld, this "
			       "release knows up to %d); use a newer Cenote, or another schema with pg.schema",
			       k->quoted, (long long)k->cp_version, PG_CP_VERSION);
	return OK;
}

/* Ours is asked for at login, which a pooler may keep from the server. */
static enum err judge_isolation(const struct pg_catalog *k)
{
	if (k->read_only || strcmp(k->isolation, "read committed") == 0 || strcmp(k->isolation, "read uncommitted") == 0)
		return OK;
	return err_set(E_CONFLICT,
		       "default_transaction_isolation is \"%s\" for role %s, and a pooler does not pass on what Cenote asks for at "
		       "login: checkpoints would lose values that are written while others are removed; run: ALTER ROLE %s SET "
		       "default_transaction_isolation = 'read committed', and have the pooler make new connections",
		       k->isolation, k->role_quoted, k->role_quoted);
}

enum err pg_catalog_judge(const struct pg_catalog *k, struct str tenant)
{
	TRY(judge_isolation(k));
	TRY(judge_store(k));
	/* Before a schema is adopted; whoever has adopted it may go on with the rest. */
	if (!k->tables[TB_META].exists)
		TRY(pg_catalog_judge_checkpoints(k));
	if (!readable(k, TB_META))
		return OK;
	if (k->cenote_version > PG_CENOTE_VERSION)
		return err_set(E_CONFLICT,
			       "Cenote's tables in schema %s were made by a newer release (layout %lld, this one knows up to %d); "
			       "use that "
			       "release",
			       k->quoted, (long long)k->cenote_version, PG_CENOTE_VERSION);
	if (k->cenote_version < 1 || !k->tenant[0])
		return err_set(
			E_CONFLICT,
			"%s.cenote_meta does not say which layout and tenant it is of; restore the schema from a backup, or choose "
			"another one with pg.schema",
			k->quoted);
	if (!str_eq(str_c(k->tenant), tenant))
		return err_set(
			E_CONFLICT,
			"schema %s belongs to tenant %s of a Cenote with another pg.schema, not to tenant %.*s; choose another "
			"pg.schema or another tenant name",
			k->quoted, k->tenant, STR_ARG(tenant));
	return OK;
}
