/* What a role may do, and the statements that give it what it lacks. */
#include "store/postgres/catalog.h"

#define SCRIPT_BYTES ((size_t)256 << 10)

/* ---------------------------------------------------------------- missing */

static unsigned needs(enum pg_table t)
{
	return t == TB_STORE_MIGRATIONS ? MAY_SELECT : t == TB_CP_MIGRATIONS ? 0 : MAY_ALL;
}

static void verbs(struct buf *b, unsigned mask)
{
	static const char *const names[] = {"SELECT", "INSERT", "UPDATE", "DELETE"};
	bool first = true;
	for (unsigned i = 0; i < 4; i++) {
		if (!(mask & 1u << i))
			continue;
		buf_printf(b, "%s%s", first ? "" : ", ", names[i]);
		first = false;
	}
}

static unsigned lacks(const struct pg_catalog *k, enum pg_table t)
{
	bool minds = k->checkpoints || !PG_OPTIONAL(t);
	if ((t == TB_AGENT_SESSIONS || t == TB_AGENT_MESSAGES) && k->agent_odd[0])
		minds = false;
	if (t == TB_CONVERSATIONS && !k->seed)
		minds = false;
	return k->tables[t].exists && minds ? needs(t) & ~k->tables[t].may : 0;
}

/* All tables that lack the same. */
static void missing_group(const struct pg_catalog *k, unsigned mask, struct buf *grants, struct buf *what)
{
	const char *comma = "";
	buf_lit(grants, "GRANT ");
	verbs(grants, mask);
	buf_lit(grants, " ON ");
	if (what) {
		buf_lit(what, what->n ? ", " : "");
		verbs(what, mask);
		buf_lit(what, " on ");
	}
	for (enum pg_table t = 0; t < TB_COUNT; t++) {
		if (lacks(k, t) != mask)
			continue;
		buf_printf(grants, "%s%s.%s", comma, k->quoted, pg_table_name(t));
		if (what)
			buf_printf(what, "%s%s", comma, pg_table_name(t));
		comma = ", ";
	}
	buf_printf(grants, " TO %s;\n", k->role_quoted);
}

void pg_rights_missing(const struct pg_catalog *k, struct buf *grants, struct buf *what)
{
	if (!k->exists)
		return;
	if (!k->usage) {
		buf_printf(grants, "GRANT USAGE ON SCHEMA %s TO %s;\n", k->quoted, k->role_quoted);
		if (what)
			buf_lit(what, "USAGE on the schema");
	}
	for (unsigned mask = 1; mask <= MAY_ALL; mask++) {
		for (enum pg_table t = 0; t < TB_COUNT; t++) {
			if (lacks(k, t) == mask) {
				missing_group(k, mask, grants, what);
				break;
			}
		}
	}
	if (k->checkpoints)
		pg_sessions_missing(k, grants);
}

/* The whole script, if a diagnostic can hold it; with what is lacking in words, if that fits, too; or those words and where the
 * script is. */
static enum err rights_error(const struct pg_catalog *k, struct str script, struct str what)
{
	size_t room = sizeof diag_get()->text - strlen(k->role_quoted) - strlen(k->quoted) - 60;
	if (script.n + what.n < room)
		return err_set(E_DENIED, "role %s lacks %.*s in schema %s; as the owner run: %.*s", k->role_quoted, STR_ARG(what),
			       k->quoted, STR_ARG(script));
	if (script.n < room)
		return err_set(E_DENIED, "role %s lacks rights in schema %s; as the owner run: %.*s", k->role_quoted, k->quoted,
			       STR_ARG(script));
	if (what.n + strlen(k->role_quoted) + 40 < room)
		return err_set(
			E_DENIED,
			"role %s lacks %.*s in schema %s; as the owner run `cenote grants %s --run` (the log has the GRANTs)",
			k->role_quoted, STR_ARG(what), k->quoted, k->role_quoted);
	return err_set(E_DENIED,
		       "role %s lacks rights in schema %s (the log has the GRANTs); as the owner run `cenote grants %s --run`",
		       k->role_quoted, k->quoted, k->role_quoted);
}

enum err pg_rights_check(const struct pg_catalog *k)
{
	struct buf grants, what;
	enum err e = OK;
	buf_init(&grants, NULL, SCRIPT_BYTES);
	buf_init(&what, NULL, SCRIPT_BYTES);
	pg_rights_missing(k, &grants, &what);
	for (size_t i = 0; i < grants.n; i++)
		if (grants.p[i] == '\n')
			grants.p[i] = ' ';
	if (grants.n) {
		struct str script = str_trim(buf_slice(&grants));
		LOG(LOG_ERROR, "store", "the role lacks rights; the owner of the tables has to run the statements",
		    LF_C("schema", k->schema), LF_C("role", k->role), LF_STR("statements", script));
		e = rights_error(k, script, buf_slice(&what));
	}
	buf_release(&grants);
	buf_release(&what);
	return e;
}

/* ----------------------------------------------------------------- script */

struct script {
	PGconn *c;
	const char *role;
	bool run;
	step_fn fn;
	void *ctx;
	struct buf text; /* the statement under way */
	char schema[64];
	unsigned schemas;
	enum err err;
};

/* Ends the statement in text: runs and tells it. */
static enum err say(struct script *s)
{
	buf_byte(&s->text, 0);
	TRY(s->text.err);
	if (s->run)
		TRY(pg_exec_text(s->c, s->text.p));
	const struct store_step st = {.place = str_c(s->schema), .text = str_c(s->text.p), .sql = true};
	s->fn(s->ctx, &st);
	buf_clear(&s->text);
	return OK;
}

/* "GRANT x ON a, b, c TO role" for the names of a result's first column whose second column is kind; none: nothing. */
static enum err grant_names(struct script *s, const struct pg_catalog *k, const PGresult *r, const char *kind, const char *verb)
{
	const char *comma = "";
	for (int i = 0; i < PQntuples(r); i++) {
		char quoted[132];
		if (strcmp(PQgetvalue(r, i, 1), kind) != 0)
			continue;
		pg_quote(quoted, sizeof quoted, PQgetvalue(r, i, 0));
		if (!comma[0])
			buf_printf(&s->text, "GRANT %s ON %s", verb, kind[0] == 's' ? "SEQUENCE " : "");
		buf_printf(&s->text, "%s%s.%s", comma, k->quoted, quoted);
		comma = ", ";
	}
	if (!comma[0])
		return OK;
	buf_printf(&s->text, " TO %s", k->role_quoted);
	return say(s);
}

/* Tables that come later, made by the one who owns those that are there. */
static enum err grant_later(struct script *s, const struct pg_catalog *k, const char *owner)
{
	char quoted[132];
	pg_quote(quoted, sizeof quoted, owner);
	buf_printf(&s->text,
		   "ALTER DEFAULT PRIVILEGES FOR ROLE %s IN SCHEMA %s GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO %s", quoted,
		   k->quoted, k->role_quoted);
	TRY(say(s));
	buf_printf(&s->text, "ALTER DEFAULT PRIVILEGES FOR ROLE %s IN SCHEMA %s GRANT USAGE, SELECT, UPDATE ON SEQUENCES TO %s",
		   quoted, k->quoted, k->role_quoted);
	return say(s);
}

/* Tables and sequences, by name: a schema such as public holds those of others, too. */
static const char objects[] =
	"WITH t AS (SELECT c.oid, c.relname, c.relowner FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid ="
	" c.relnamespace WHERE n.nspname = $1::text AND c.relkind IN ('r', 'p') AND (c.relname ~ '^cenote_' OR c.relname IN "
	"('store',"
	" 'store_vectors', 'store_migrations', 'vector_migrations', 'checkpoints', 'checkpoint_writes', 'checkpoint_blobs',"
	" 'checkpoint_migrations', 'agent_sessions', 'agent_messages') OR (c.relname = 'conversations' AND 6 = (SELECT count(*)"
	" FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND NOT a.attisdropped AND a.attname IN ('id', 'session_id',"
	" 'role', 'content', 'timestamp', 'metadata')))))"
	" SELECT relname::text, CASE WHEN relname ~ '_migrations$' THEN 'm' ELSE 't' END FROM t"
	" UNION ALL SELECT q.relname::text, 's' FROM t JOIN pg_catalog.pg_depend d ON d.refobjid = t.oid AND d.refclassid ="
	" 'pg_catalog.pg_class'::regclass AND d.classid = d.refclassid JOIN pg_catalog.pg_class q ON q.oid = d.objid AND q.relkind "
	"= 'S'"
	" UNION ALL SELECT DISTINCT pg_get_userbyid(relowner)::text, 'o' FROM t ORDER BY 2, 1";

static enum err script_schema(struct script *s, const struct pg_catalog *k)
{
	const char *schema = k->schema;
	PGresult *r;
	enum err e;
	TRY(pg_ask(s->c, objects, 1, &schema, &r));
	buf_printf(&s->text, "GRANT USAGE ON SCHEMA %s TO %s", k->quoted, k->role_quoted);
	CHECK(say(s));
	CHECK(grant_names(s, k, r, "t", "SELECT, INSERT, UPDATE, DELETE"));
	CHECK(grant_names(s, k, r, "m", "SELECT, INSERT, UPDATE"));
	CHECK(grant_names(s, k, r, "s", "USAGE, SELECT, UPDATE"));
	for (int i = 0; i < PQntuples(r) && e == OK; i++)
		if (strcmp(PQgetvalue(r, i, 1), "o") == 0 && strcmp(PQgetvalue(r, i, 0), k->role) != 0)
			e = grant_later(s, k, PQgetvalue(r, i, 0));
out:
	PQclear(r);
	return e;
}

static enum err took_effect(struct script *s)
{
	struct pg_catalog k;
	struct buf grants;
	TRY(pg_catalog_read(s->c, s->schema, s->role, &k));
	buf_init(&grants, NULL, SCRIPT_BYTES);
	pg_rights_missing(&k, &grants, NULL);
	if (grants.n == 0)
		return OK;
	enum err e = err_set(
		E_DENIED,
		"the server took the GRANTs and gave nothing, because the connected role may not give these rights; run it as "
		"the owner of the tables in schema %s (%s); still missing: %.200s",
		k.quoted, k.tables[TB_STORE].owner, buf_slice(&grants).p);
	buf_release(&grants);
	return e;
}

static void each_schema(void *ctx, const char *schema, const char *tenant)
{
	struct script *s = ctx;
	struct pg_catalog k;
	if (!tenant[0])
		return; /* perhaps somebody else's */
	snprintf(s->schema, sizeof s->schema, "%s", schema);
	s->schemas++;
	if (s->err == OK)
		s->err = pg_catalog_read(s->c, schema, s->role, &k);
	if (s->err != OK)
		return;
	if (s->schemas == 1) {
		char quoted[132];
		pg_quote(quoted, sizeof quoted, k.database);
		buf_printf(&s->text, "GRANT CONNECT ON DATABASE %s TO %s", quoted, k.role_quoted);
		s->err = say(s);
	}
	if (s->err == OK)
		s->err = script_schema(s, &k);
	if (s->err == OK && s->run)
		s->err = took_effect(s);
}

enum err pg_grants(PGconn *c, const char *home, const char *role, bool run, step_fn fn, void *ctx)
{
	struct script s = {.c = c, .role = role, .run = run, .fn = fn, .ctx = ctx};
	enum err e;
	if (!role[0])
		return err_set(E_INVALID, "the name of a role is missing");
	buf_init(&s.text, NULL, SCRIPT_BYTES);
	if (run)
		CHECK(pg_exec_text(c, "BEGIN"));
	CHECK(pg_schemas(c, home, each_schema, &s));
	CHECK(s.err);
	if (s.schemas == 0)
		CHECK(err_set(E_NOT_FOUND, "there is no schema \"%s\" yet; run `cenote migrate` first", home));
	if (run)
		CHECK(pg_exec_text(c, "COMMIT"));
out:
	if (e != OK && run) {
		struct diag d = *diag_get();
		if (pg_exec_text(c, "ROLLBACK") != OK)
			LOG(LOG_DEBUG, "store", "the transaction ends with its connection", LF_C("reason", diag_get()->text));
		*diag_get() = d;
	}
	buf_release(&s.text);
	return e;
}
