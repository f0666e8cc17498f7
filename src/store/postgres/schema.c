/* Making and upgrading the tables of a schema. The catalog is looked at first and a plan made of what is missing; so nothing is
 * attempted that a role without ownership may not do, and `cenote migrate --dry-run` shows the very statements that would run.
 *
 * Invariants
 *  1. Nothing is ever dropped, and no row of somebody else's is changed.
 *  2. The plan runs in one transaction, under an advisory lock of that transaction on the schema's name: a session's lock would
 * stay behind on a pooler's connection. Only what cannot run in a transaction - indexes of a table in use - goes before it, alone.
 *  3. LangGraph's setup() takes no lock, and CREATE INDEX CONCURRENTLY can take none of ours (who waits for the lock would hold a
 *     snapshot that the index build waits for). So losing a race is no error: the catalog is looked at again. */
#include "store/postgres/catalog.h"

#define TRIES 20
#define WAIT_MS 30000 /* for others at work on the same tables */
#define LOOK_MS 50
#define PLAN_MAX 64
#define PLAN_BYTES ((size_t)64 << 10)

struct plan {
	struct arena a;
	struct {
		const char *sql;
		bool alone; /* outside of a transaction */
	} v[PLAN_MAX];
	unsigned n;
	bool short_of_memory;
	const char *lacks; /* what the role may not do of it, NULL: nothing */
};

static void add(struct plan *p, const struct pg_catalog *k, bool alone, const char *sql)
{
	struct buf b;
	buf_init(&b, &p->a, PLAN_BYTES);
	pg_expand(&b, sql, k->quoted, k->quoted);
	buf_byte(&b, 0);
	if (b.err != OK || p->n == PLAN_MAX) {
		p->short_of_memory = true;
		return;
	}
	p->v[p->n].sql = b.p;
	p->v[p->n++].alone = alone;
}

static void lack(struct plan *p, bool may, const char *what)
{
	if (!may && !p->lacks)
		p->lacks = what;
}

static const char owns_store[] = "it does not own the table store";
static const char may_create[] = "it lacks CREATE on the schema";

/* An index of LangGraph's store that is in use. An invalid one is what a CREATE INDEX CONCURRENTLY that failed has left. */
static void plan_store_index(struct plan *p, const struct pg_catalog *k, const struct pg_index_look *ix, bool wanted,
			     const char *make, const char *again)
{
	if (!wanted || ix->valid)
		return;
	lack(p, k->tables[TB_STORE].owned, owns_store);
	add(p, k, true, ix->exists ? again : make);
}

/* LangGraph's tables, on to version 3. */
static void plan_store(struct plan *p, const struct pg_catalog *k, bool repair)
{
	const struct pg_table_look *store = &k->tables[TB_STORE], *rows = &k->tables[TB_STORE_MIGRATIONS];
	char row[160];
	bool fresh = !store->exists;
	/* Rows that we may not read: pg_rights_check will say so, nothing is upgraded on a guess. */
	int64_t v = rows->exists && !(k->usage && (rows->may & MAY_SELECT)) ? PG_STORE_VERSION : k->store_version;
	/* Repairs come when setup() has no more to do: its ALTER TABLE and a REINDEX CONCURRENTLY may wait for each other. */
	repair = repair && v >= PG_STORE_VERSION;
	if (!fresh)
		plan_store_index(p, k, &k->prefix_index, repair || (v < 1 && !k->prefix_index.exists),
				 PG_MAKE_PREFIX_INDEX("CONCURRENTLY "), "REINDEX INDEX CONCURRENTLY @store_prefix_idx");
	if (!fresh && k->expires)
		plan_store_index(p, k, &k->expires_index, repair, PG_MAKE_EXPIRES_INDEX("CONCURRENTLY "),
				 "REINDEX INDEX CONCURRENTLY @idx_store_expires_at");
	if (!rows->exists)
		add(p, k, false, PG_MAKE_STORE_MIGRATIONS);
	if (fresh) {
		add(p, k, false, PG_MAKE_STORE);
		add(p, k, false, PG_MAKE_PREFIX_INDEX(""));
	}
	if (!k->expires || !k->ttl) {
		lack(p, fresh || store->owned, owns_store);
		add(p, k, false,
		    !k->expires && !k->ttl ? PG_MAKE_TTL
		    : !k->expires	   ? "ALTER TABLE @store ADD COLUMN expires_at timestamptz"
					   : "ALTER TABLE @store ADD COLUMN ttl_minutes INT");
	}
	if (!k->expires_index.exists && v < PG_STORE_VERSION) {
		lack(p, fresh || store->owned, owns_store);
		add(p, k, false, PG_MAKE_EXPIRES_INDEX(""));
	}
	if (v >= PG_STORE_VERSION)
		return;
	lack(p, !rows->exists || (rows->may & MAY_INSERT), "it lacks INSERT on store_migrations");
	snprintf(row, sizeof row, "INSERT INTO @store_migrations(v) SELECT generate_series(%d, %d)", (int)v + 1, PG_STORE_VERSION);
	add(p, k, false, row);
}

static const char owns_checkpoints[] = "it does not own the checkpoint tables";

/* The statements for the index of one table: with the table, beside its use, and again. */
struct index_sql {
	const char *in_plan, *alone, *again;
};

static void plan_checkpoint_index(struct plan *p, const struct pg_catalog *k, unsigned i, bool fresh, bool repair,
				  const struct index_sql *sql)
{
	const struct pg_index_look *ix = &k->cp_index[i];
	/* Before its migration it may be in the making. */
	bool due = k->cp_version < 6 + (int64_t)i;
	if (fresh ? ix->exists : due ? ix->exists : !repair || ix->valid)
		return;
	lack(p, fresh || k->tables[TB_CP + i].owned, owns_checkpoints);
	add(p, k, !fresh, fresh ? sql->in_plan : ix->exists ? sql->again : sql->alone);
}

/* LangGraph's checkpoint tables, on to version 9. Rows of versions that we may not read are not guessed. */
static void plan_checkpoints_all(struct plan *p, const struct pg_catalog *k, bool repair)
{
	static const char *const make[] = {PG_MAKE_CP, PG_MAKE_CP_BLOBS, PG_MAKE_CP_WRITES};
	const struct pg_table_look *t = k->tables, *rows = &t[TB_CP_MIGRATIONS];
	int64_t v = rows->exists && !(k->usage && (rows->may & MAY_SELECT)) ? PG_CP_VERSION : k->cp_version;
	bool fresh[3], any = !rows->exists;
	char row[160];
	for (unsigned i = 0; i < 3; i++) {
		fresh[i] = !t[TB_CP + i].exists;
		any = any || fresh[i];
	}
	if (any && k->exists)
		lack(p, k->create && k->usage, may_create);
	repair = repair && v >= PG_CP_VERSION; /* as with the store */
#define INDEX(i, table)                                                                                                            \
	plan_checkpoint_index(p, k, i, fresh[i], repair,                                                                           \
			      &(struct index_sql){PG_MAKE_CP_INDEX("", table), PG_MAKE_CP_INDEX("CONCURRENTLY ", table),           \
						  "REINDEX INDEX CONCURRENTLY @" #table "_thread_id_idx"})
	for (unsigned pass = 0; pass < 2; pass++) { /* indexes of tables in use go before, alone */
		for (unsigned i = 0; i < 3 && pass; i++)
			if (fresh[i])
				add(p, k, false, make[i]);
		if (fresh[0] == pass)
			INDEX(0, checkpoints);
		if (fresh[1] == pass)
			INDEX(1, checkpoint_blobs);
		if (fresh[2] == pass)
			INDEX(2, checkpoint_writes);
	}
#undef INDEX
	if (!rows->exists)
		add(p, k, false, PG_MAKE_CP_MIGRATIONS);
	if (!fresh[1] && !k->cp_null) {
		lack(p, t[TB_CP_BLOBS].owned, owns_checkpoints);
		add(p, k, false, PG_CP_BLOB_NULL);
	}
	if (!fresh[2] && !k->cp_path) {
		lack(p, t[TB_CP_WRITES].owned, owns_checkpoints);
		add(p, k, false, PG_CP_TASK_PATH);
	}
	if (v >= PG_CP_VERSION)
		return;
	lack(p, !rows->exists || (rows->may & MAY_INSERT), "it lacks INSERT on checkpoint_migrations");
	snprintf(row, sizeof row, "INSERT INTO @checkpoint_migrations(v) SELECT generate_series(%d, %d)", (int)v + 1,
		 PG_CP_VERSION);
	add(p, k, false, row);
}

/* Where they are not asked for, what may not be done of it is left, and the rest of the store works. */
static void plan_checkpoints(struct plan *p, const struct pg_catalog *k, const struct pg_ensure *ask, bool repair)
{
	unsigned n = p->n;
	const char *was = p->lacks;
	bool there = k->tables[TB_CP].exists && k->tables[TB_CP_BLOBS].exists && k->tables[TB_CP_WRITES].exists;
	if (ask->compact)
		return;
	if (!ask->checkpoints && (!ask->make || k->read_only || pg_catalog_judge_checkpoints(k) != OK))
		return;
	p->lacks = NULL;
	plan_checkpoints_all(p, k, repair);
	bool may = !p->lacks && ask->make && !k->read_only;
	if (!may && (there || !ask->checkpoints)) { /* tables that are there can be worked with as they are */
		p->n = n;
		p->lacks = NULL;
	}
	p->lacks = was ? was : p->lacks;
}

/* Tables for sessions; where `conversations` is used for them, none are made beside it. As with the checkpoint tables, without
 * being asked for only where that may be done. */
static void plan_sessions(struct plan *p, const struct pg_catalog *k, const struct pg_ensure *ask)
{
	const struct pg_table_look *t = k->tables;
	bool may = ask->make && !k->read_only && (k->exists ? k->create && k->usage : k->create_db);
	if (k->seed || k->agent_odd[0] || (!may && !ask->checkpoints))
		return;
	if (!t[TB_AGENT_SESSIONS].exists || !t[TB_AGENT_MESSAGES].exists)
		lack(p, !k->exists || (k->create && k->usage), may_create);
	if (!t[TB_AGENT_SESSIONS].exists)
		add(p, k, false, PG_MAKE_AGENT_SESSIONS);
	if (t[TB_AGENT_MESSAGES].exists)
		return;
	add(p, k, false, PG_MAKE_AGENT_MESSAGES);
	add(p, k, false, PG_MAKE_AGENT_INDEX(""));
}

/* What later versions added. A version that we may not read is not guessed. */
static void plan_upgrades(struct plan *p, const struct pg_catalog *k)
{
	char row[120];
	bool fresh = !k->tables[TB_META].exists;
	int64_t v = fresh ? 0 : k->cenote_version;
	if (!fresh && (v < 1 || v >= PG_CENOTE_VERSION))
		return;
	for (unsigned i = 0; i < PG_OWN_UPGRADES; i++) {
		if (pg_own_upgrades[i].version <= v)
			continue;
		lack(p, fresh || k->tables[TB_THREAD].owned, "it does not own Cenote's tables");
		add(p, k, false, pg_own_upgrades[i].sql);
	}
	snprintf(row, sizeof row, "UPDATE @cenote_meta SET value = '%d' WHERE name = 'schema'", PG_CENOTE_VERSION);
	if (!fresh)
		add(p, k, false, row);
}

static void plan_own(struct plan *p, const struct pg_catalog *k, struct str tenant, bool compact)
{
	char row[200];
	bool home = str_eq(tenant, STR("default"));
	for (unsigned i = 0; i < PG_OWN_DDL; i++) {
		const struct pg_ddl *d = &pg_own_tables[i];
		const struct pg_table_look *t = &k->tables[d->table];
		if ((d->table == TB_KEY && !home) || (PG_COMPACT(d->table) && !compact) ||
		    (d->index ? k->own_index[i].exists : t->exists))
			continue;
		if (d->index && t->exists)
			lack(p, t->owned, "it does not own Cenote's tables");
		add(p, k, false, d->sql);
	}
	plan_upgrades(p, k);
	if (k->tables[TB_META].exists)
		return;
	/* A tenant's name has no quotes (tenant_check). */
	snprintf(row, sizeof row, "INSERT INTO @cenote_meta VALUES ('schema', '%d'), ('tenant', '%.*s')", PG_CENOTE_VERSION,
		 STR_ARG(tenant));
	add(p, k, false, row);
}

static enum err plan_make(struct plan *p, const struct pg_catalog *k, const struct pg_ensure *ask, bool repair)
{
	char text[160];
	bool tables = false;
	arena_init(&p->a, PLAN_BYTES * 4);
	p->n = 0;
	p->lacks = NULL;
	p->short_of_memory = false;
	if (!k->exists) {
		lack(p, k->create_db, "it lacks CREATE on the database");
		snprintf(text, sizeof text, "CREATE SCHEMA %s", k->quoted);
		/* Not add(): the name may have an @. */
		struct str s = arena_str(&p->a, str_c(text));
		p->short_of_memory = s.p == NULL;
		p->v[p->n].sql = s.p;
		p->v[p->n++].alone = false;
	}
	plan_store(p, k, repair);
	plan_own(p, k, ask->tenant, ask->compact);
	for (unsigned i = 0; i < p->n; i++)
		tables = tables || str_starts(str_c(p->v[i].sql), STR("CREATE TABLE"));
	if (tables && k->exists)
		lack(p, k->create && k->usage, may_create);
	plan_checkpoints(p, k, ask, repair);
	plan_sessions(p, k, ask);
	return p->short_of_memory ? err_set(E_LIMIT, "out of memory in the store") : OK;
}

static void plan_free(struct plan *p)
{
	arena_release(&p->a);
	p->n = 0;
}

/* --------------------------------------------------------------- running */

/* Somebody else was quicker, or two waited for each other: look again. */
static bool lost_race(PGresult *r)
{
	static const char *const states[] = {"42P06", "42P07", "42710", "42701", "40P01", "40001"};
	const char *state = PQresultErrorField(r, PG_DIAG_SQLSTATE), *table = PQresultErrorField(r, PG_DIAG_SCHEMA_NAME);
	const char *row = PQresultErrorField(r, PG_DIAG_CONSTRAINT_NAME);
	if (!state)
		return false;
	for (unsigned i = 0; i < sizeof states / sizeof *states; i++)
		if (strcmp(state, states[i]) == 0)
			return true;
	/* Two that create the same name meet in an index of the catalogs, or both record the same version. */
	return strcmp(state, "23505") == 0 &&
	       ((table && strcmp(table, "pg_catalog") == 0) ||
		(row && (strcmp(row, "store_migrations_pkey") == 0 || strcmp(row, "checkpoint_migrations_pkey") == 0)));
}

static enum err run(PGconn *c, const char *sql, bool *again)
{
	PGresult *r;
	enum err e = OK;
	TRY(pg_result(c, sql, -1, NULL, &r));
	ExecStatusType status = PQresultStatus(r);
	if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
		*again = lost_race(r);
		e = pg_error(r, c);
	}
	PQclear(r);
	return e;
}

static void tell(const struct pg_ensure *ask, const struct pg_catalog *k, const char *sql)
{
	const struct store_step s = {.tenant = ask->tenant, .place = str_c(k->schema), .text = str_c(sql), .sql = true};
	if (ask->fn)
		ask->fn(ask->ctx, &s);
	if (!ask->dry)
		LOG(LOG_INFO, "store", "schema changed", LF_C("schema", k->schema), LF_C("statement", sql));
}

/* Asked for, not waited for: who waits inside a statement holds a snapshot, and an index that is being built waits for that. */
static enum err lock(PGconn *c, const char *schema, bool *mine, bool *again)
{
	PGresult *r;
	TRY(run(c, "BEGIN ISOLATION LEVEL READ COMMITTED", again));
	TRY(run(c, "SET LOCAL lock_timeout = '30s'", again));
	TRY(pg_ask(c, "SELECT pg_try_advisory_xact_lock(hashtextextended('cenote schema ' || $1::text, 0))", 1, &schema, &r));
	*mine = PQgetvalue(r, 0, 0)[0] == 't';
	PQclear(r);
	return OK;
}

/* One statement that cannot run in a transaction. Two of them on one table may wait for each other, and the one that is chosen to
 * fail leaves an invalid index; so one Cenote at a time, by a lock that is only asked for and never waited for. Behind a pooler it
 * may be left on a connection of the pooler's: after until nobody minds it any more. */
static enum err run_alone(PGconn *c, const char *schema, const char *sql, uint64_t until, bool *waited, bool *again)
{
	PGresult *r;
	TRY(pg_ask(c, "SELECT pg_try_advisory_lock(hashtextextended('cenote index ' || $1::text, 0))", 1, &schema, &r));
	bool mine = PQgetvalue(r, 0, 0)[0] == 't';
	PQclear(r);
	*waited = !mine && clock_mono_ns() < until;
	if (*waited)
		return wait_until(deadline_in_ms(LOOK_MS));
	enum err e = run(c, sql, again);
	if (mine) {
		struct diag d = *diag_get();
		if (pg_ask(c, "SELECT pg_advisory_unlock(hashtextextended('cenote index ' || $1::text, 0))", 1, &schema, &r) == OK)
			PQclear(r);
		*diag_get() = d;
	}
	return e;
}

/* What is left of the plan once the lock is held. */
static enum err transaction(PGconn *c, const struct pg_ensure *ask, const char *schema, uint64_t until, bool *waited, bool *again)
{
	struct pg_catalog k;
	struct plan p = {.n = 0};
	bool mine;
	enum err e;
	CHECK(lock(c, schema, &mine, again));
	if (!mine) {
		*waited = clock_mono_ns() < until;
		CHECK(run(c, "ROLLBACK", again));
		return *waited ? wait_until(deadline_in_ms(LOOK_MS))
			       : err_set(E_BUSY, "somebody else is making the tables in schema %s; try again", schema);
	}
	CHECK(pg_catalog_read(c, schema, "", &k));
	CHECK(pg_catalog_judge(&k, ask->tenant));
	CHECK(plan_make(&p, &k, ask, false));
	for (unsigned i = 0; i < p.n && e == OK; i++)
		if (!p.v[i].alone)
			e = run(c, p.v[i].sql, again);
	if (e == OK)
		e = run(c, "COMMIT", again);
	for (unsigned i = 0; i < p.n && e == OK; i++)
		if (!p.v[i].alone)
			tell(ask, &k, p.v[i].sql);
out:
	if (e != OK) {
		struct diag d = *diag_get();
		if (pg_exec_text(c, "ROLLBACK") != OK)
			LOG(LOG_DEBUG, "store", "the transaction ends with its connection", LF_C("reason", diag_get()->text));
		*diag_get() = d;
	}
	plan_free(&p);
	return e;
}

/* --------------------------------------------------------------- deciding */

static enum err may_run(const struct pg_ensure *ask, const struct pg_catalog *k, const struct plan *p)
{
	bool langgraph = k->tables[TB_STORE].exists, own = k->tables[TB_META].exists;
	bool whole = own && langgraph && k->tables[TB_THREAD].exists;
	const char *what = whole && !k->tables[TB_CP].exists ? "lack LangGraph's checkpoint tables"
			   : own && langgraph		     ? "are incomplete"
			   : langgraph			     ? "lack Cenote's own (cenote_*)"
							     : "are not there";
	if (!ask->make)
		return err_set(E_CONFLICT,
			       "the tables in schema %s %s, and pg.migrate is off; as their owner run `cenote migrate`, then "
			       "`cenote grants "
			       "%s --run`",
			       k->quoted, what, k->role_quoted);
	if (langgraph && !own && !ask->adopt)
		return err_set(E_CONFLICT,
			       "schema %s has a table store that was not given to tenant %.*s; run `cenote migrate --tenant %.*s` "
			       "to use it",
			       k->quoted, STR_ARG(ask->tenant), STR_ARG(ask->tenant));
	if (k->read_only && !ask->dry)
		return err_set(E_BUSY, "the tables in schema %s %s, and nothing can be made: %s", k->quoted, what,
			       k->standby ? "the server is a standby"
					  : "transactions are read only (default_transaction_read_only)");
	if (p->lacks && !ask->dry)
		return err_set(
			E_DENIED,
			"the tables in schema %s %s, and role %s may not make them: %s; as owner of the schema (or database) run "
			"`cenote migrate --tenant %.*s`, then `cenote grants %s --run`",
			k->quoted, what, k->role_quoted, p->lacks, STR_ARG(ask->tenant), k->role_quoted);
	return OK;
}

static void warn_index(const struct pg_catalog *k, const struct pg_index_look *ix, const char *name, const char *make)
{
	char text[400];
	struct buf b;
	if (ix->exists && ix->valid)
		return;
	buf_init(&b, NULL, 1 << 14);
	if (ix->exists)
		buf_printf(&b, "REINDEX INDEX CONCURRENTLY %s.%s", k->quoted, name);
	else
		pg_expand(&b, make, k->quoted, k->quoted);
	snprintf(text, sizeof text, "%.*s", STR_ARG(buf_slice(&b)));
	buf_release(&b);
	LOG(LOG_WARN, "store",
	    ix->exists ? "an index is invalid; as its owner run the statement"
		       : "an index is missing; as the owner of the table run the statement",
	    LF_C("schema", k->schema), LF_C("index", name), LF_C("statement", text));
}

struct attempt {
	const struct pg_ensure *ask;
	char schema[64];
	bool repair;
	uint64_t until;	     /* for waiting for others */
	struct pg_catalog k; /* as found */
	bool again;	     /* something was done, or lost to somebody else: look again */
	bool waited;
};

static enum err run_plan(PGconn *c, struct attempt *t, const struct plan *p)
{
	bool rest = false;
	for (unsigned i = 0; i < p->n; i++) {
		if (t->ask->dry) {
			tell(t->ask, &t->k, p->v[i].sql);
		} else if (p->v[i].alone) {
			TRY(run_alone(c, t->schema, p->v[i].sql, t->until, &t->waited, &t->again));
			t->again = true;
			if (t->waited)
				return OK;
			tell(t->ask, &t->k, p->v[i].sql);
		} else {
			rest = true;
		}
	}
	if (!rest || t->ask->dry)
		return OK;
	TRY(transaction(c, t->ask, t->schema, t->until, &t->waited, &t->again));
	t->again = true;
	return OK;
}

/* An index that is there and not valid may be one that somebody is just building, another Cenote or LangGraph's setup(). Changing
 * the table now would have the two wait for each other. */
static enum err wait_for_builder(PGconn *c, struct attempt *t)
{
	const char *schema = t->schema;
	PGresult *r;
	TRY(pg_ask(c,
		   "SELECT NOT pg_try_advisory_xact_lock(hashtextextended('cenote index ' || $1::text, 0)) OR EXISTS (SELECT 1 FROM"
		   " pg_catalog.pg_stat_progress_create_index p JOIN pg_catalog.pg_class c ON c.oid = p.relid JOIN"
		   " pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1::text AND c.relname IN ('store', "
		   "'checkpoints',"
		   " 'checkpoint_blobs', 'checkpoint_writes') AND"
		   " p.datname = current_database())",
		   1, &schema, &r));
	t->waited = PQgetvalue(r, 0, 0)[0] == 't' && clock_mono_ns() < t->until;
	PQclear(r);
	t->again = t->waited;
	return t->waited ? wait_until(deadline_in_ms(LOOK_MS)) : OK;
}

static bool being_built(const struct pg_catalog *k)
{
	bool any = k->prefix_index.exists && !k->prefix_index.valid;
	for (unsigned i = 0; i < 3; i++)
		any = any || (k->cp_index[i].exists && !k->cp_index[i].valid);
	return any;
}

static enum err attempt(PGconn *c, struct attempt *t)
{
	struct plan p = {.n = 0};
	enum err e;
	t->again = t->waited = false;
	CHECK(pg_catalog_read(c, t->schema, "", &t->k));
	CHECK(pg_catalog_judge(&t->k, t->ask->tenant));
	if (t->ask->checkpoints)
		CHECK(pg_catalog_judge_checkpoints(&t->k));
	CHECK(plan_make(&p, &t->k, t->ask, t->repair));
	if (p.n)
		CHECK(may_run(t->ask, &t->k, &p));
	if (p.n && !t->ask->dry && being_built(&t->k))
		CHECK(wait_for_builder(c, t));
	if (t->waited)
		goto out;
	CHECK(run_plan(c, t, &p));
	/* Once; a warning is given of the rest. */
	t->repair = t->repair && (t->waited || t->k.store_version < PG_STORE_VERSION || t->k.cp_version < PG_CP_VERSION);
out:
	plan_free(&p);
	return e;
}

enum err pg_schema_ensure(PGconn *c, const struct pg_ensure *ask)
{
	struct attempt t = {.ask = ask, .repair = ask->repair, .again = true, .until = deadline_in_ms(WAIT_MS)};
	enum err e = OK;
	if (PQserverVersion(c) < 130000)
		return err_set(E_CONFLICT, "the server is PostgreSQL %d; Cenote needs 13 or newer", PQserverVersion(c) / 10000);
	if (ask->schema.n == 0 || ask->schema.n >= sizeof t.schema || memchr(ask->schema.p, 0, ask->schema.n))
		return err_field(E_INVALID, "pg.schema", -1, "the name of a schema has 1 to 63 bytes");
	snprintf(t.schema, sizeof t.schema, "%.*s", STR_ARG(ask->schema));
	for (unsigned i = 0; i < TRIES && t.again; i += !t.waited) {
		e = attempt(c, &t);
		if (e != OK && !t.again)
			return e;
	}
	TRY(e);
	if (ask->dry)
		return OK;
	if (t.again)
		return err_set(E_BUSY, "the tables in schema %s are being changed by somebody else; start again", t.k.quoted);
	t.k.checkpoints = ask->checkpoints || ask->compact;
	TRY(pg_rights_check(&t.k));
	warn_index(&t.k, &t.k.prefix_index, "store_prefix_idx", PG_MAKE_PREFIX_INDEX("CONCURRENTLY "));
	warn_index(&t.k, &t.k.expires_index, "idx_store_expires_at", PG_MAKE_EXPIRES_INDEX("CONCURRENTLY "));
	return OK;
}

/* What cenote_meta of a schema says; "" : nothing. */
static enum err tenant_of(PGconn *c, const char *schema, char tenant[64])
{
	char quoted[132], text[256];
	PGresult *r;
	pg_quote(quoted, sizeof quoted, schema);
	snprintf(text, sizeof text, "SELECT value FROM %s.cenote_meta WHERE name = 'tenant'", quoted);
	TRY(pg_ask(c, text, 0, NULL, &r));
	snprintf(tenant, 64, "%s", PQntuples(r) ? PQgetvalue(r, 0, 0) : "");
	PQclear(r);
	return OK;
}

enum err pg_schemas(PGconn *c, const char *home, schema_fn fn, void *ctx)
{
	PGresult *r;
	enum err e = OK;
	size_t n = strlen(home);
	TRY(pg_ask(
		c,
		"SELECT n.nspname, coalesce(has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'), false)"
		" FROM pg_catalog.pg_namespace n LEFT JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = "
		"'cenote_meta'"
		" AND c.relkind = 'r' WHERE n.nspname = $1::text OR (starts_with(n.nspname, $1::text || '_') AND c.oid IS NOT NULL)"
		" ORDER BY n.nspname <> $1::text, n.nspname",
		1, &home, &r));
	for (int i = 0; i < PQntuples(r) && e == OK; i++) {
		const char *schema = PQgetvalue(r, i, 0);
		bool is_home = strcmp(schema, home) == 0, readable = PQgetvalue(r, i, 1)[0] == 't';
		char tenant[64] = "";
		if (readable && !is_home)
			e = tenant_of(c, schema, tenant);
		if (e == OK && (is_home || !readable || strcmp(tenant, schema + n + 1) == 0))
			fn(ctx, schema, is_home ? "default" : tenant);
	}
	PQclear(r);
	return e;
}
