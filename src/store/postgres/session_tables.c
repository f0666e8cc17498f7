/* Tables of sessions that others make, too: agent_sessions and agent_messages of the Agents SDK's SQLAlchemySession, and
 * `conversations`, the single table of small assistants. What they look like, what is missing, and which of the tables that a
 * tenant can do without it has.
 *
 * Invariants
 *  1. Nothing of theirs is changed: what is there is taken as it is, with wider types too, or not at all.
 *  2. pg_tenant.has is final when the tenant is READY; statements are rendered with it. */
#include "store/postgres/catalog.h"

/* Table, column, types. */
#define COLUMNS                                                                                                                    \
	"('agent_sessions', 'session_id', '^(text|character varying)$'), ('agent_sessions', 'created_at', '^timestamp with'),"     \
	" ('agent_sessions', 'updated_at', '^timestamp with'), ('agent_messages', 'id', '^(integer|bigint)$'),"                    \
	" ('agent_messages', 'session_id', '^(text|character varying)$'), ('agent_messages', 'message_data', '^(text|character"    \
	" varying)$'), ('agent_messages', 'created_at', '^timestamp with'), ('conversations', 'id', '^(integer|bigint)$'),"        \
	" ('conversations', 'session_id', '^(text|character varying)$'), ('conversations', 'role', '^(text|character varying)$')," \
	" ('conversations', 'content', '^(text|character varying)$'), ('conversations', 'timestamp', '^timestamp with'),"          \
	" ('conversations', 'metadata', '^jsonb$')"
/* The tables k of schema $1, their namespace n. */
#define TABLES                                                                                                                     \
	"pg_catalog.pg_class k JOIN pg_catalog.pg_namespace n ON n.oid = k.relnamespace AND n.nspname = $1::text AND k.relkind IN" \
	" ('r', 'p')"
/* The live columns a of table k. */
#define LIVE "pg_catalog.pg_attribute a WHERE a.attrelid = k.oid AND a.attnum > 0 AND NOT a.attisdropped"
/* Sequences that the ids of k come from. */
#define SEQUENCES                                                                                                                  \
	"pg_catalog.pg_depend d JOIN pg_catalog.pg_class q ON q.oid = d.objid AND q.relkind = 'S' WHERE d.refobjid = k.oid AND"    \
	" d.refclassid = 'pg_catalog.pg_class'::regclass AND d.classid = d.refclassid AND d.deptype = 'a'"
/* Something unique on session_id alone, which ON CONFLICT needs. */
#define UNIQUE_NAME                                                                                                                \
	"EXISTS (SELECT FROM pg_catalog.pg_index i JOIN pg_catalog.pg_attribute a ON a.attrelid = k.oid AND a.attname ="           \
	" 'session_id' WHERE i.indrelid = k.oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indnkeyatts = 1"    \
	" AND i.indkey[0] = a.attnum)"
#define HAS(what) "has_table_privilege(k.oid, '" what "')"
/* Orders as bytes: then an index gives names in the order of our listings. NULL is no: PostgreSQL 15 and later say nothing in
 * collcollate of the database's own collation, nor of one of ICU; and an ICU database has a datcollate that does not count. */
#define BYTES                                                                                                                      \
	"(c.collcollate IN ('C', 'POSIX', 'C.UTF-8', 'C.utf8', 'C.UTF8') OR (c.oid = 100 AND (SELECT b.datcollate IN ('C',"        \
	" 'POSIX', 'C.UTF-8', 'C.utf8', 'C.UTF8') AND coalesce(to_jsonb(b) ->> 'datlocprovider', 'c') <> 'i' FROM"                 \
	" pg_catalog.pg_database b WHERE b.datname = current_database())))"

/* Which tables can be worked with as they are; and whether all their names are in the order of bytes. */
static const struct pg_stmt st_look = {
	ST_TABLES_LOOK, LANE_POINT, "tables_look",
	"WITH w(t, c, y) AS (VALUES " COLUMNS "), good AS (SELECT k.oid, k.relname::text AS t FROM " TABLES " WHERE k.relname IN"
	" ('agent_sessions', 'agent_messages', 'conversations', 'checkpoints', 'checkpoint_writes', 'checkpoint_blobs') AND"
	" has_schema_privilege(n.oid, 'USAGE') AND " HAS("SELECT") " AND " HAS("INSERT") " AND " HAS("UPDATE") " AND " HAS(
		"DELETE") " AND NOT EXISTS (SELECT FROM w WHERE w.t = k.relname AND NOT EXISTS (SELECT FROM " LIVE
			  " AND a.attname = w.c AND a.atttypid::regtype::text ~ w.y)) AND (k.relname ~ '^checkpoint' OR NOT EXISTS"
			  " (SELECT FROM " LIVE
			  " AND a.attnotnull AND NOT a.atthasdef AND a.attidentity = '' AND NOT EXISTS (SELECT"
			  " FROM w WHERE w.t = k.relname AND w.c = a.attname))) AND (k.relname <> 'agent_sessions' OR " UNIQUE_NAME
			  ") AND NOT EXISTS (SELECT FROM " SEQUENCES
			  " AND CASE WHEN q.relkind = 'S' THEN NOT has_sequence_privilege(q.oid, 'USAGE') ELSE false END))"
			  " SELECT count(*) FILTER (WHERE t ~ '^agent_') = 2, count(*) FILTER (WHERE t = 'conversations') = 1,"
			  " count(*) FILTER (WHERE t ~ '^checkpoint') = 3, NOT EXISTS (SELECT FROM good g JOIN"
			  " pg_catalog.pg_attribute a ON a.attrelid = g.oid AND a.attname IN ('session_id', 'thread_id')"
			  " JOIN pg_catalog.pg_collation c ON c.oid = a.attcollation WHERE " BYTES " IS NOT TRUE) FROM good"};

enum err pg_has_look(struct pg_tenant *t)
{
	struct pg_params p;
	PGresult *r;
	pg_params_init(&p);
	pg_text(&p, str_c(t->schema));
	TRY(pg_query(pg_home(t->s), &st_look, &p, &r));
	t->has = 0;
	for (int i = 0; i < 4; i++)
		t->has |= pg_get_bool(r, 0, i) ? 1u << i : 0;
	PQclear(r);
	return OK;
}

/* ---------------------------------------------------------------- rendering */

/* In place of a table that is not there: the columns that our statements read, and no row. */
static const struct {
	unsigned bit;
	const char *name, *none;
} optional[] = {
	{PG_HAS_AGENT, "agent_sessions", "(SELECT ''::text AS session_id, now() AS created_at, now() AS updated_at WHERE false)"},
	{PG_HAS_AGENT, "agent_messages",
	 "(SELECT 0::bigint AS id, ''::text AS session_id, ''::text AS message_data, now() AS created_at WHERE false)"},
	{PG_HAS_SEED, "conversations",
	 "(SELECT 0::bigint AS id, ''::text AS session_id, ''::text AS role, ''::text AS content, now() AS timestamp, NULL::jsonb "
	 "AS"
	 " metadata WHERE false)"},
	{PG_HAS_CP, "checkpoints",
	 "(SELECT ''::text AS thread_id, ''::text AS checkpoint_ns, ''::text AS checkpoint_id WHERE false)"},
	{PG_HAS_CP, "checkpoint_writes",
	 "(SELECT ''::text AS thread_id, ''::text AS checkpoint_ns, ''::text AS checkpoint_id, ''::text AS channel WHERE false)"},
	{PG_HAS_COMPACT, "cenote_checkpoint_ns", "(SELECT 0::bigint AS id, 0::bigint AS thread, ''::text AS ns WHERE false)"},
	{PG_HAS_COMPACT, "cenote_checkpoint", "(SELECT 0::bigint AS scope, ''::text AS cid WHERE false)"},
	{PG_HAS_COMPACT, "cenote_pending", "(SELECT 0::bigint AS scope, ''::text AS cid, 0 AS marks WHERE false)"},
};

void pg_expand_optional(struct buf *out, unsigned has, const char *sql)
{
	for (const char *p = sql; *p; p++) {
		size_t i = 0, n = 0;
		if (p[0] == '@' && p[1] == '?') {
			n = strspn(p + 2, "abcdefghijklmnopqrstuvwxyz_");
			while (i < sizeof optional / sizeof *optional && !str_eq(str_c(optional[i].name), str_of(p + 2, n)))
				i++;
		}
		if (n == 0 || i == sizeof optional / sizeof *optional) {
			buf_byte(out, *p);
			continue;
		}
		buf_printf(out, "%s%s", has & optional[i].bit ? "@" : "",
			   has & optional[i].bit ? optional[i].name : optional[i].none);
		p += 1 + n;
	}
}

/* ---------------------------------------------------------------- the catalog, in words */

static enum err read_columns(PGconn *c, const char *const *who, struct pg_catalog *k)
{
	PGresult *r;
	TRY(pg_ask(c,
		   "WITH w(t, c, y) AS (VALUES " COLUMNS
		   ") SELECT w.t, w.c, coalesce(a.atttypid::regtype::text, ''), coalesce(a.atttypid::regtype::text ~ w.y, false)"
		   " FROM " TABLES " JOIN w ON k.relname = w.t LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = k.oid AND"
		   " a.attname = w.c AND a.attnum > 0 AND NOT a.attisdropped"
		   " UNION ALL SELECT k.relname, a.attname, 'further', false FROM " TABLES
		   " AND k.relname IN ('agent_sessions', 'agent_messages', 'conversations') JOIN pg_catalog.pg_attribute a ON"
		   " a.attrelid = k.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attnotnull AND NOT a.atthasdef AND"
		   " a.attidentity = '' WHERE NOT EXISTS (SELECT FROM w WHERE w.t = k.relname AND w.c = a.attname)",
		   1, who, &r));
	k->seed = k->tables[TB_CONVERSATIONS].exists;
	for (int i = 0; i < PQntuples(r); i++) {
		const char *table = PQgetvalue(r, i, 0), *col = PQgetvalue(r, i, 1), *type = PQgetvalue(r, i, 2);
		if (PQgetvalue(r, i, 3)[0] == 't')
			continue;
		if (strcmp(table, "conversations") == 0)
			k->seed = false;
		else if (!type[0])
			snprintf(k->agent_odd, sizeof k->agent_odd, "%s has no column %s", table, col);
		else if (strcmp(type, "further") == 0)
			snprintf(k->agent_odd, sizeof k->agent_odd, "%s has a further column, %.63s, that must be given", table,
				 col);
		else
			snprintf(k->agent_odd, sizeof k->agent_odd, "column %s of %s is of the type %.60s", col, table, type);
	}
	PQclear(r);
	return OK;
}

/* The foreign key, the index, the sequences. */
static enum err read_rest(PGconn *c, const char *const *who, struct pg_catalog *k)
{
	PGresult *r;
	TRY(pg_ask(c,
		   "SELECT k.relname, (k.relname = 'conversations' OR EXISTS (SELECT FROM pg_catalog.pg_constraint f JOIN"
		   " pg_catalog.pg_class p ON p.oid = f.confrelid AND p.relname = 'agent_sessions' WHERE f.conrelid = k.oid AND "
		   "f.contype"
		   " = 'f')), EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = k.oid AND i.indisvalid AND i.indpred IS "
		   "NULL"
		   " AND pg_get_indexdef(i.indexrelid, 1, true) = 'session_id' AND pg_get_indexdef(i.indexrelid, 2, true) = "
		   "'created_at'),"
		   " k.relname <> 'agent_sessions' OR " UNIQUE_NAME
		   ", coalesce((SELECT format('%I.%I', n.nspname, q.relname) FROM " SEQUENCES
		   " LIMIT 1), ''), coalesce((SELECT CASE WHEN q.relkind = 'S' THEN has_sequence_privilege(r.oid, q.oid, 'USAGE') "
		   "END FROM " SEQUENCES " LIMIT 1), true) FROM"
		   " " TABLES
		   " AND k.relname IN ('agent_sessions', 'agent_messages', 'conversations') CROSS JOIN pg_catalog.pg_roles r"
		   " WHERE r.rolname = coalesce(nullif($2::text, ''), current_user)",
		   2, who, &r));
	k->sequence_usage[0] = k->sequence_usage[1] = true;
	for (int i = 0; i < PQntuples(r); i++) {
		const char *table = PQgetvalue(r, i, 0);
		unsigned s = strcmp(table, "conversations") == 0;
		if (strcmp(table, "agent_sessions") == 0) {
			if (PQgetvalue(r, i, 3)[0] != 't' && !k->agent_odd[0])
				snprintf(k->agent_odd, sizeof k->agent_odd, "agent_sessions has no primary key (session_id)");
			continue;
		}
		if (!s) {
			k->agent_fk = PQgetvalue(r, i, 1)[0] == 't';
			k->agent_index = PQgetvalue(r, i, 2)[0] == 't';
		}
		snprintf(k->sequence[s], sizeof k->sequence[s], "%s", PQgetvalue(r, i, 4));
		k->sequence_usage[s] = PQgetvalue(r, i, 5)[0] == 't';
	}
	PQclear(r);
	return OK;
}

enum err pg_sessions_read(PGconn *c, const char *const *who, struct pg_catalog *k)
{
	TRY(read_columns(c, who, k));
	TRY(read_rest(c, who, k));
	for (enum pg_table t = TB_AGENT_SESSIONS; t <= TB_AGENT_MESSAGES; t++)
		if (k->tables[t].exists && k->tables[t].kind != 'r' && k->tables[t].kind != 'p')
			snprintf(k->agent_odd, sizeof k->agent_odd, "%s is not a table", pg_table_name(t));
	if (k->tables[TB_CONVERSATIONS].kind != 'r' && k->tables[TB_CONVERSATIONS].kind != 'p')
		k->seed = false;
	return OK;
}

/* ---------------------------------------------------------------- judging */

static bool agent_there(const struct pg_catalog *k)
{
	return k->tables[TB_AGENT_SESSIONS].exists && k->tables[TB_AGENT_MESSAGES].exists;
}

void pg_sessions_missing(const struct pg_catalog *k, struct buf *grants)
{
	const bool used[2] = {agent_there(k) && !k->agent_odd[0], k->seed};
	for (unsigned i = 0; i < 2; i++)
		if (used[i] && k->sequence[i][0] && !k->sequence_usage[i])
			buf_printf(grants, "GRANT USAGE ON SEQUENCE %s TO %s;\n", k->sequence[i], k->role_quoted);
}

static bool usable(const struct pg_catalog *k)
{
	const struct pg_table_look *t = k->tables;
	bool agent = agent_there(k) && !k->agent_odd[0] && k->sequence_usage[0] && t[TB_AGENT_SESSIONS].may == MAY_ALL &&
		     t[TB_AGENT_MESSAGES].may == MAY_ALL;
	return k->usage && (agent || (k->seed && k->sequence_usage[1] && t[TB_CONVERSATIONS].may == MAY_ALL));
}

/* The statements for doing it by hand: all of them in the log, those that fit in the sentence. */
static enum err by_hand(const struct pg_catalog *k)
{
	static const char *const sql[] = {PG_MAKE_AGENT_SESSIONS, PG_MAKE_AGENT_MESSAGES, PG_MAKE_AGENT_INDEX("")};
	struct buf b;
	buf_init(&b, NULL, 1 << 14);
	for (unsigned i = 0; i < 3; i++) {
		pg_expand(&b, sql[i], k->quoted, k->quoted);
		buf_lit(&b, i < 2 ? "; " : ";");
	}
	struct str all = buf_slice(&b);
	LOG(LOG_ERROR, "store", "the tables of sessions are not there; as the owner of the schema run the statements",
	    LF_C("schema", k->schema), LF_STR("statements", all));
	enum err e =
		err_set(E_CONFLICT,
			"sessions have no tables; `cenote migrate` makes them, or by hand (then restart): "
			"CREATE TABLE %s.agent_sessions(session_id varchar PRIMARY KEY, created_at timestamp NOT NULL DEFAULT"
			" CURRENT_TIMESTAMP, updated_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP); CREATE TABLE"
			" %s.agent_messages(id serial PRIMARY KEY, session_id varchar NOT NULL REFERENCES %s.agent_sessions ON"
			" DELETE CASCADE, message_data text NOT NULL, created_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP)",
			k->quoted, k->quoted, k->quoted);
	buf_release(&b);
	return e;
}

enum err pg_sessions_judge(const struct pg_catalog *k)
{
	if (usable(k))
		return OK;
	if (k->agent_odd[0])
		return err_set(
			E_CONFLICT,
			"the tables of sessions in schema %s are not those of the Agents SDK's SQLAlchemySession: %s; choose "
			"another schema with pg.schema",
			k->quoted, k->agent_odd);
	if (!agent_there(k) && !k->seed)
		return by_hand(k);
	return err_set(E_DENIED,
		       "role %s lacks rights on the tables of sessions in schema %s; as their owner run `cenote grants %s --run`, "
		       "then restart",
		       k->role_quoted, k->quoted, k->role_quoted);
}

struct explain {
	const char *schema;
};

static enum err explain_task(PGconn *c, void *arg)
{
	const struct explain *x = arg;
	struct pg_catalog k;
	TRY(pg_catalog_read(c, x->schema, "", &k));
	TRY(pg_sessions_judge(&k));
	return err_set(E_CONFLICT, "the tables of sessions in schema %s were made after the start; restart Cenote to use them",
		       k.quoted);
}

enum err pg_sessions_need(struct pg_tenant *t)
{
	struct explain x = {t->schema};
	if (t->has & (PG_HAS_AGENT | PG_HAS_SEED))
		return OK;
	enum err e = pg_admin(t->s, explain_task, &x);
	if (e == E_DENIED || e == E_CONFLICT) /* to our role, not to who asks */
		e = diag_get()->code = E_UPSTREAM;
	return e;
}
