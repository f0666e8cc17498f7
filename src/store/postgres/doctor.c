/* `cenote doctor` on PostgreSQL: what can be seen from a connection like the server's own. Nothing is changed, and what one check
 * meets does not keep the others from being made. */
#include "store/postgres/doctor.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <unistd.h>

#include "base/json/json.h"
#include "store/postgres/catalog.h"
#include "store/postgres/postgres.h"

#define ROUNDS 5
#define SKEW_US 1000000
#define CHECK_MS 30000

struct doctor {
	struct pg_session x;
	finding_fn fn;
	void *ctx;
	struct arena a;
	struct str args; /* $1 of the queries */
	struct jw *schemas;
};

static void tell(struct doctor *d, enum finding_level level, const char *check, const char *place, struct str fix, struct str data,
		 const char *fmt, ...) __attribute__((format(printf, 7, 8)));
static void tell(struct doctor *d, enum finding_level level, const char *check, const char *place, struct str fix, struct str data,
		 const char *fmt, ...)
{
	char text[1024];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	const struct store_finding f = {level, check, str_c(place), str_c(text), fix, data};
	d->fn(d->ctx, &f);
}

#define NONE str_of(NULL, 0)

/* A check that could not be made. */
static void failed(struct doctor *d, const char *check, const char *place)
{
	tell(d, FIND_WARN, check, place, NONE, NONE, "could not be examined: %s", diag_get()->text);
}

/* ------------------------------------------------------------- connection */

static bool is_local(PGconn *c)
{
	const char *host = PQhost(c), *addr = PQhostaddr(c);
	return !host || host[0] == '/' || host[0] == '@' || strncmp(addr ? addr : "", "127.", 4) == 0 ||
	       strcmp(addr ? addr : "", "::1") == 0;
}

static const char *conninfo(PQconninfoOption *o, const char *key)
{
	for (; o && o->keyword; o++)
		if (strcmp(o->keyword, key) == 0)
			return o->val ? o->val : "";
	return "";
}

static void connection(struct doctor *d)
{
	PGconn *c = d->x.c;
	const char *version = PQparameterStatus(c, "server_version");
	struct str at = pg_target_text(d->x.target);
	struct buf b;
	struct jw w;
	buf_init(&b, &d->a, 64 << 10);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "version");
	jw_cstr(&w, version ? version : "");
	jw_key(&w, "host");
	jw_cstr(&w, PQhost(c) ? PQhost(c) : "");
	jw_key(&w, "port");
	jw_cstr(&w, PQport(c) ? PQport(c) : "");
	jw_key(&w, "database");
	jw_cstr(&w, PQdb(c));
	jw_key(&w, "user");
	jw_cstr(&w, PQuser(c));
	jw_key(&w, "login_ms");
	jw_double(&w, (double)d->x.login_ns / 1e6);
	jw_end_obj(&w);
	tell(d, FIND_OK, "connection", "", NONE, buf_slice(&b), "PostgreSQL %s answers: %.*s (login %.1f ms)",
	     version ? version : "?", STR_ARG(at), (double)d->x.login_ns / 1e6);
}

static void tls(struct doctor *d)
{
	PGconn *c = d->x.c;
	if (!PQsslInUse(c)) {
		bool local = is_local(c);
		tell(d, local ? FIND_OK : FIND_WARN, "tls", "",
		     local ? NONE : STR("add sslmode=verify-full to the store's address"), STR("{\"protocol\":null}"),
		     "the connection is not encrypted%s",
		     local ? " (it does not leave this machine)" : ": password and memories can be read on the way");
		return;
	}
	PQconninfoOption *o = PQconninfo(c);
	const char *protocol = PQsslAttribute(c, "protocol"), *cipher = PQsslAttribute(c, "cipher"), *mode = conninfo(o, "sslmode");
	bool verified = strncmp(mode, "verify-", 7) == 0;
	struct str data = arena_printf(&d->a, "{\"protocol\":\"%s\",\"cipher\":\"%s\",\"sslmode\":\"%s\"}",
				       protocol ? protocol : "", cipher ? cipher : "", mode);
	tell(d, verified || is_local(c) ? FIND_OK : FIND_WARN, "tls", "",
	     verified ? NONE : STR("add sslmode=verify-full (and sslrootcert) to the store's address"), data,
	     "%s, %s, sslmode=%s%s", protocol ? protocol : "TLS", cipher ? cipher : "?", mode,
	     verified ? "" : ": the server's certificate is not verified");
	PQconninfoFree(o);
}

/* Our clock is taken in the middle of a round trip; of several the shortest errs least. */
static enum err clock_skew(struct doctor *d)
{
	int64_t best = INT64_MAX, skew = 0;
	for (unsigned i = 0; i < ROUNDS; i++) {
		PGresult *r;
		int64_t server, from = clock_wall_us();
		TRY(pg_ask(d->x.c, "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint", 0, NULL, &r));
		int64_t to = clock_wall_us();
		bool ok = str_int(str_c(PQgetvalue(r, 0, 0)), INT64_MIN, INT64_MAX, &server);
		PQclear(r);
		if (ok && to - from < best) {
			best = to - from;
			skew = server - (from + best / 2);
		}
	}
	bool good = skew < SKEW_US && skew > -SKEW_US;
	struct str data = arena_printf(&d->a, "{\"skew_us\":%" PRId64 ",\"round_trip_us\":%" PRId64 "}", skew, best);
	tell(d, good ? FIND_OK : FIND_WARN, "clock", "", good ? NONE : STR("synchronise the clocks of both machines (NTP)"), data,
	     "the server's clock is %.3f ms %s ours (round trip %.3f ms)%s", fabs((double)skew) / 1e3,
	     skew < 0 ? "behind" : "ahead of", (double)best / 1e3,
	     good ? "" : ": items of several writers come in the wrong order");
	return OK;
}

/* ----------------------------------------------------------------- pooler */

static enum err backend(PGconn *c, const char *prepared, int64_t *pid, bool *lost)
{
	PGresult *r;
	*pid = 0;
	*lost = false;
	TRY(pg_answer(
		c, prepared ? PQsendQueryPrepared(c, prepared, 0, NULL, NULL, NULL, 0) : PQsendQuery(c, "SELECT pg_backend_pid()"),
		&r));
	const char *state = PQresultErrorField(r, PG_DIAG_SQLSTATE);
	*lost = state && strcmp(state, "26000") == 0;
	enum err e = PQresultStatus(r) == PGRES_TUPLES_OK || *lost ? OK : pg_error(r, c);
	if (e == OK && !*lost)
		(void)str_int(str_c(PQgetvalue(r, 0, 0)), 0, INT64_MAX, pid);
	PQclear(r);
	return e;
}

/* A second connection takes, inside a transaction, the server connection that the first has just used: what becomes of the first
 * one's prepared statement? It stays behind there under a name of its own. */
static enum err pooler_mode(struct doctor *d, PGconn *other, bool *moved, bool *lost)
{
	int64_t mine, theirs, now;
	bool none;
	char name[40];
	PGresult *r;
	snprintf(name, sizeof name, "cenote_doctor_%" PRIx64, (uint64_t)pg_new_op());
	TRY(pg_answer(d->x.c, PQsendPrepare(d->x.c, name, "SELECT pg_backend_pid()", 0, NULL), &r));
	enum err e = PQresultStatus(r) == PGRES_COMMAND_OK ? OK : pg_error(r, d->x.c);
	PQclear(r);
	TRY(e);
	TRY(backend(d->x.c, name, &mine, lost));
	TRY(pg_exec_text(other, "BEGIN"));
	TRY(backend(other, NULL, &theirs, &none));
	TRY(backend(d->x.c, name, &now, lost));
	*moved = *lost || theirs == mine || now != mine;
	return OK;
}

static enum err pooler(struct doctor *d)
{
	int64_t pid;
	bool lost = false, moved = false;
	PGconn *other;
	uint64_t until;
	TRY(backend(d->x.c, NULL, &pid, &lost));
	if (pid == PQbackendPID(d->x.c)) {
		tell(d, FIND_OK, "pooler", "", NONE, STR("{\"pooler\":false}"), "no pooler stands between");
		return OK;
	}
	TRY(pg_target_connect(d->x.target, deadline_in_ms(CHECK_MS), NULL, &other, &until));
	enum err e = pooler_mode(d, other, &moved, &lost);
	PQfinish(other);
	TRY(e);
	bool on = d->x.opt.pg.prepare == PG_PREPARE_ON && lost;
	struct str data = arena_printf(&d->a, "{\"pooler\":true,\"by_transaction\":%s,\"prepared_lost\":%s}",
				       moved ? "true" : "false", lost ? "true" : "false");
	tell(d, on ? FIND_FAIL : FIND_OK, "pooler", "", on ? STR("set pg.prepare to auto or off") : NONE, data,
	     "a pooler stands between%s%s", moved ? ", which hands out server connections by transaction" : "",
	     lost && on ? "; prepared statements are lost, and pg.prepare is on"
	     : lost	? "; prepared statements are lost, so Cenote goes without them"
			: "; prepared statements survive");
	return OK;
}

/* One query. Even a table's size waits for who has locked the table; we do not wait long. */
static enum err patiently(struct doctor *d, const char *sql, const char *arg, PGresult **r)
{
	TRY(pg_exec_text(d->x.c, "BEGIN READ ONLY"));
	enum err e = pg_exec_text(d->x.c, "SET LOCAL lock_timeout = '2s'");
	if (e == OK)
		e = pg_ask(d->x.c, sql, 1, &arg, r);
	struct diag was = *diag_get();
	enum err end = pg_exec_text(d->x.c, "ROLLBACK");
	if (e == OK && end != OK)
		PQclear(*r);
	if (e != OK)
		*diag_get() = was;
	return e != OK ? e : end;
}

/* ---------------------------------------------------------------- schemas */

static void rights(struct doctor *d, const struct pg_catalog *k)
{
	struct buf grants;
	struct str rest, line;
	buf_init(&grants, &d->a, 1 << 20);
	pg_rights_missing(k, &grants, NULL);
	rest = buf_slice(&grants);
	if (rest.n == 0) {
		tell(d, FIND_OK, "rights", k->schema, NONE, NONE, "role %s may do all that serving needs", k->role_quoted);
		return;
	}
	while (str_cut(rest, '\n', &line, &rest))
		tell(d, FIND_FAIL, "rights", k->schema, line, NONE, "role %s lacks a right", k->role_quoted);
}

static void index_there(struct doctor *d, const struct pg_catalog *k, const struct pg_index_look *ix, const char *name,
			const char *make)
{
	struct buf b;
	if (ix->exists || !k->tables[TB_STORE].exists)
		return;
	buf_init(&b, &d->a, 1 << 14);
	pg_expand(&b, make, k->quoted, k->quoted);
	tell(d, FIND_WARN, "indexes", k->schema, buf_slice(&b), NONE, "index %s is missing: searches read the whole table", name);
}

static bool whole(const struct pg_catalog *k, bool home)
{
	for (enum pg_table t = 0; t < TB_COUNT; t++)
		if (!k->tables[t].exists && !PG_OPTIONAL(t) && (t != TB_KEY || home))
			return false;
	return true;
}

static void layout(struct doctor *d, const struct pg_catalog *k, bool home)
{
	struct str data = arena_printf(&d->a, "{\"store_migrations\":%" PRId64 ",\"cenote\":%" PRId64 "}", k->store_version,
				       k->cenote_version);
	bool may = k->exists ? k->create && k->usage : k->create_db;
	if (!whole(k, home)) {
		struct str fix = may ? STR("nothing: the first start makes them (or `cenote migrate`)")
				     : STR("as owner of the schema or database run `cenote migrate`, then `cenote grants`");
		tell(d, may ? FIND_WARN : FIND_FAIL, "schema", k->schema, fix, data, "%s",
		     !k->exists			  ? "the schema is not there yet"
		     : k->tables[TB_META].exists  ? "tables are missing"
		     : k->tables[TB_STORE].exists ? "it has LangGraph's store, and not yet Cenote's own tables"
						  : "the tables are not there yet");
		return;
	}
	bool old = k->store_version < PG_STORE_VERSION && k->store_version >= 0;
	tell(d, old ? FIND_WARN : FIND_OK, "schema", k->schema, old ? STR("cenote migrate") : NONE, data,
	     "LangGraph's store at migration %" PRId64 " of %d, Cenote's tables at layout %" PRId64, k->store_version,
	     PG_STORE_VERSION, k->cenote_version);
}

static void compact(struct doctor *d, const struct pg_catalog *k)
{
	bool there = true, may = k->exists ? k->create && k->usage : k->create_db;
	for (enum pg_table t = TB_COMPACT_NS; t < TB_COUNT; t++)
		there = there && k->tables[t].exists;
	if (there)
		tell(d, FIND_OK, "checkpoints", k->schema, NONE, NONE,
		     "checkpoints lie in Cenote's tables (checkpoints.layout: compact)");
	else
		tell(d, FIND_WARN, "checkpoints", k->schema,
		     may ? STR("nothing: the next start makes them (or `cenote migrate`)")
			 : STR("as owner of the schema or database run `cenote migrate`, then `cenote grants`"),
		     NONE, "the tables of the compact layout are not there yet");
}

/* LangGraph's checkpoint tables, without which the rest of the store works. */
static void checkpoints(struct doctor *d, const struct pg_catalog *k)
{
	bool there = k->tables[TB_CP].exists && k->tables[TB_CP_BLOBS].exists && k->tables[TB_CP_WRITES].exists;
	bool may = k->exists ? k->create && k->usage : k->create_db;
	struct str data = arena_printf(&d->a, "{\"checkpoint_migrations\":%" PRId64 "}", k->cp_version);
	if (pg_catalog_judge_checkpoints(k) != OK)
		tell(d, FIND_FAIL, "checkpoints", k->schema, NONE, data, "%s", diag_get()->text);
	else if (!there)
		tell(d, FIND_WARN, "checkpoints", k->schema,
		     may ? STR("nothing: the next start makes them (or `cenote migrate`)")
			 : STR("as owner of the schema or database run `cenote migrate`, then `cenote grants`"),
		     data, "the checkpoint tables are not there yet");
	else if (k->cp_version >= 0 && k->cp_version < PG_CP_VERSION)
		tell(d, FIND_WARN, "checkpoints", k->schema, STR("cenote migrate"), data,
		     "LangGraph's checkpoint tables at migration %" PRId64 " of %d", k->cp_version, PG_CP_VERSION);
	else
		tell(d, FIND_OK, "checkpoints", k->schema, NONE, data,
		     "LangGraph's checkpoint tables at migration %" PRId64 " of %d", k->cp_version, PG_CP_VERSION);
}

/* What sessions are kept in. */
static void sessions(struct doctor *d, const struct pg_catalog *k)
{
	bool agent = k->tables[TB_AGENT_SESSIONS].exists && k->tables[TB_AGENT_MESSAGES].exists && !k->agent_odd[0];
	struct str data = arena_printf(&d->a, "{\"agent_sessions\":%s,\"conversations\":%s}", agent ? "true" : "false",
				       k->seed ? "true" : "false");
	struct buf b;
	if (pg_sessions_judge(k) != OK) {
		bool may = k->create && k->usage && !k->agent_odd[0] && !agent;
		tell(d, k->agent_odd[0] ? FIND_FAIL : FIND_WARN, "sessions", k->schema,
		     may ? STR("nothing: the next start makes them (or `cenote migrate`)") : NONE, data, "%s", diag_get()->text);
		return;
	}
	tell(d, FIND_OK, "sessions", k->schema, NONE, data, "sessions lie in %s%s%s", agent ? "the Agents SDK's tables" : "",
	     agent && k->seed ? " and " : "", k->seed ? "the table conversations" : "");
	if (agent && !k->agent_fk)
		tell(d, FIND_OK, "sessions", k->schema, NONE, NONE,
		     "agent_messages has no foreign key to agent_sessions: items may outlive their session");
	if (!agent || k->agent_index)
		return;
	buf_init(&b, &d->a, 1 << 14);
	pg_expand(&b, PG_MAKE_AGENT_INDEX("CONCURRENTLY "), k->quoted, k->quoted);
	tell(d, FIND_WARN, "indexes", k->schema, buf_slice(&b), NONE,
	     "index idx_agent_messages_session_time is missing: sessions read the whole table");
}

/* What a server has found out about the model of PostgresStore's vectors; "" : nothing yet. */
static struct str vectors_found(struct doctor *d, const struct pg_catalog *k, bool *writes)
{
	struct str text = STR("");
	char sql[300];
	PGresult *r;
	*writes = false;
	if (!(k->tables[TB_VALUE].may & MAY_SELECT))
		return text;
	snprintf(sql, sizeof sql,
		 "SELECT v->>'text', v->>'writes' FROM (SELECT convert_from(value, 'UTF8')::jsonb FROM %s.cenote_value WHERE name ="
		 " $1::text) x(v)",
		 k->quoted);
	if (patiently(d, sql, "foreign_vectors", &r) != OK)
		return text;
	if (PQntuples(r) == 1) {
		text = arena_str(&d->a, str_c(PQgetvalue(r, 0, 0)));
		*writes = strcmp(PQgetvalue(r, 0, 1), "true") == 0;
	}
	PQclear(r);
	return text;
}

/* LangGraph's vectors, where there are some. */
static enum err vectors(struct doctor *d, const struct pg_catalog *k)
{
	PGresult *r;
	bool writes;
	TRY(patiently(d, pg_foreign_look_sql, k->schema, &r));
	bool there = PQntuples(r) == 1;
	bool fits = there && PQgetvalue(r, 0, 0)[0] == 't' && PQgetvalue(r, 0, 4)[0] == 't' && PQgetvalue(r, 0, 5)[0] == 't';
	bool reads = fits && PQgetvalue(r, 0, 2)[0] == 't', may = fits && PQgetvalue(r, 0, 3)[0] == 't';
	struct str type = there ? arena_str(&d->a, str_c(PQgetvalue(r, 0, 1))) : STR("");
	PQclear(r);
	struct str data = arena_printf(&d->a, "{\"type\":\"%.*s\",\"read\":%s,\"write\":%s}", STR_ARG(type),
				       reads ? "true" : "false", may ? "true" : "false");
	struct str found = there ? vectors_found(d, k, &writes) : STR("");
	struct str fix =
		arena_printf(&d->a, "GRANT SELECT, INSERT, UPDATE, DELETE ON %s.store_vectors TO %s", k->quoted, k->role_quoted);
	if (!there)
		return OK;
	if (d->x.opt.pg.no_vectors)
		tell(d, FIND_OK, "vectors", k->schema, NONE, data, "store_vectors is left alone (pg.vectors: off)");
	else if (!fits)
		tell(d, FIND_WARN, "vectors", k->schema, NONE, data,
		     "store_vectors is not as LangGraph's PostgresStore makes it; it is left alone");
	else if (!may)
		tell(d, FIND_WARN, "vectors", k->schema, fix, data, "the role may not %s store_vectors, which has %.*s",
		     reads ? "write" : "read", STR_ARG(type));
	else if (found.n == 0)
		tell(d, FIND_OK, "vectors", k->schema, NONE, data,
		     "store_vectors has %.*s; no server with an encoder has looked at it yet", STR_ARG(type));
	else
		tell(d, writes ? FIND_OK : FIND_WARN, "vectors", k->schema, NONE, data, "%.*s", STR_ARG(found));
	return OK;
}

static enum err journal(struct doctor *d, const struct pg_catalog *k)
{
	char text[700];
	PGresult *r;
	if (!k->usage || !k->tables[TB_JOURNAL].exists || !(k->tables[TB_JOURNAL].may & MAY_SELECT))
		return OK;
	snprintf(text, sizeof text,
		 "SELECT j.n, coalesce(j.age, 0), pg_total_relation_size(c.oid), coalesce(j.age, 0) > 3600 FROM (SELECT count(*),"
		 " extract(epoch FROM now() - min(at))::bigint FROM %s.cenote_journal) j(n, age), pg_catalog.pg_class c JOIN"
		 " pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relname = 'cenote_journal' AND n.nspname = $1::text",
		 k->quoted);
	TRY(patiently(d, text, k->schema, &r));
	const char *rows = PQgetvalue(r, 0, 0), *age = PQgetvalue(r, 0, 1), *bytes = PQgetvalue(r, 0, 2);
	bool old = PQgetvalue(r, 0, 3)[0] == 't';
	struct str data = arena_printf(&d->a, "{\"rows\":%s,\"oldest_s\":%s,\"bytes\":%s}", rows, age, bytes);
	tell(d, old ? FIND_WARN : FIND_OK, "journal", k->schema,
	     old ? STR("run a server (`cenote serve`) on this store: it removes old rows") : NONE, data,
	     "%s rows, the oldest %s s old, %s bytes%s", rows, age, bytes, old ? ": nobody clears them away" : "");
	PQclear(r);
	return OK;
}

static void schema(void *ctx, const char *name, const char *tenant)
{
	struct doctor *d = ctx;
	struct pg_catalog k;
	jw_cstr(d->schemas, name);
	enum err e = pg_catalog_read(d->x.c, name, "", &k);
	if (e != OK) {
		failed(d, "schema", name);
		return;
	}
	if (!tenant[0]) {
		tell(d, FIND_WARN, "schema", name, NONE, NONE,
		     "may be a tenant's, but its cenote_meta cannot be read; `cenote grants` as its owner changes that");
		return;
	}
	if (pg_catalog_judge(&k, str_c(tenant)) != OK) {
		tell(d, FIND_FAIL, "schema", name, NONE, NONE, "%s", diag_get()->text);
		return;
	}
	layout(d, &k, strcmp(tenant, "default") == 0);
	if (!k.exists)
		return;
	if (d->x.opt.layout == CKPT_LAYOUT_COMPACT)
		compact(d, &k);
	else
		checkpoints(d, &k);
	sessions(d, &k);
	if (vectors(d, &k) != OK)
		failed(d, "vectors", name);
	rights(d, &k);
	index_there(d, &k, &k.prefix_index, "store_prefix_idx", PG_MAKE_PREFIX_INDEX("CONCURRENTLY "));
	index_there(d, &k, &k.expires_index, "idx_store_expires_at", PG_MAKE_EXPIRES_INDEX("CONCURRENTLY "));
	if (journal(d, &k) != OK)
		failed(d, "journal", name);
}

static enum err role(struct doctor *d)
{
	struct pg_catalog k;
	TRY(pg_catalog_read(d->x.c, d->x.home, "", &k));
	struct str data = arena_printf(&d->a, "{\"create_on_database\":%s}", k.create_db ? "true" : "false");
	tell(d, FIND_OK, "role", "", NONE, data, "connected as %s; %s", k.role_quoted,
	     k.create_db ? "it may make the schemas of new tenants"
			 : "it may not make schemas: those of new tenants come from `cenote migrate --tenant NAME`");
	if (k.exists)
		return OK;
	schema(d, d->x.home, "default"); /* pg_schemas only knows what is there */
	return OK;
}

static enum err schemas(struct doctor *d)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	struct buf b;
	struct jw w;
	buf_init(&b, &d->a, 16u << 20);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "home");
	jw_cstr(&w, d->x.home);
	jw_key(&w, "pool_max");
	jw_u64(&w, d->x.opt.pg.pool_max ? d->x.opt.pg.pool_max : 2 * (unsigned)(cores > 0 ? cores : 1));
	jw_key(&w, "statement_ms");
	jw_u64(&w, d->x.opt.pg.statement_ms ? d->x.opt.pg.statement_ms : 30000);
	jw_key(&w, "schemas");
	jw_arr(&w);
	d->schemas = &w;
	enum err e = role(d);
	if (e == OK)
		e = pg_schemas(d->x.c, d->x.home, schema, d);
	jw_end_arr(&w);
	jw_end_obj(&w);
	buf_byte(&b, 0);
	TRY(b.err);
	d->args = str_of(b.p, b.n - 1);
	return e;
}

/* ---------------------------------------------------------------- queries */

static void rows(struct doctor *d, const char *check, const PGresult *r)
{
	static const char *const levels[] = {"ok", "warn", "fail"};
	for (int i = 0; i < PQntuples(r); i++) {
		enum finding_level level = FIND_OK;
		while (level < FIND_FAIL && strcmp(levels[level], PQgetvalue(r, i, 0)) != 0)
			level++;
		tell(d, level, check, PQgetvalue(r, i, 1), str_c(PQgetvalue(r, i, 3)), str_c(PQgetvalue(r, i, 4)), "%s",
		     PQgetvalue(r, i, 2));
	}
}

static enum err query(struct doctor *d, const struct pg_check *check)
{
	PGresult *r;
	TRY(patiently(d, check->sql, d->args.p, &r));
	rows(d, check->name, r);
	PQclear(r);
	return OK;
}

static void examine(struct doctor *d)
{
	connection(d);
	tls(d);
	if (pooler(d) != OK)
		failed(d, "pooler", "");
	if (clock_skew(d) != OK)
		failed(d, "clock", "");
	if (schemas(d) != OK)
		failed(d, "schema", "");
	for (size_t i = 0; i < pg_checks_n && d->args.n; i++) {
		fiber_set_deadline(deadline_in_ms(CHECK_MS));
		if (query(d, &pg_checks[i]) != OK)
			failed(d, pg_checks[i].name, "");
	}
}

enum err postgres_store_doctor(struct str conninfo, const struct store_options *opt, finding_fn fn, void *ctx)
{
	struct doctor d = {.fn = fn, .ctx = ctx};
	uint64_t was = fiber_deadline();
	TRY(pg_session_open(&d.x, conninfo, opt, false));
	arena_init(&d.a, 64u << 20);
	fiber_set_deadline(deadline_in_ms(CHECK_MS));
	examine(&d);
	fiber_set_deadline(was);
	arena_release(&d.a);
	pg_session_close(&d.x);
	return OK;
}
