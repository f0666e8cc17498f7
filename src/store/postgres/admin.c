/* Keys, small values, tenants, statistics, readiness, metrics. Keys live in the home schema.
 *
 * Invariant: a key or value is one row, written by one statement; a repeated write does the same again, so its journal row is there
 * for the feed only (see pg.h, rule 3), and a write recognised as repeated is simply done. */
#include "store/postgres/gather.h"

#define JOURNAL(op) "INSERT INTO @cenote_journal(op, step, kind, ids, names) VALUES($" #op "::bigint, 0, 'i', '{}', '{}')"

static const struct pg_stmt st_ping = {ST_PING, LANE_POINT, "ping", "SELECT 1"};

#define KEY_COLUMNS "id, hash, name, tenant, usr, rights, created_at, expires_at, revoked_at, used_at"
static const struct pg_stmt st_key_put = {
	ST_KEY_PUT, LANE_WRITE, "key_put",
	"WITH j AS (" JOURNAL(
		11) ") INSERT INTO @cenote_key(" KEY_COLUMNS ") VALUES($1::text, $2::bytea, $3::text, $4::text,"
		    " $5::text, $6::int, $7::timestamptz, $8::timestamptz, $9::timestamptz, $10::timestamptz) ON CONFLICT (id) DO "
		    "UPDATE SET"
		    " hash = excluded.hash, name = excluded.name, tenant = excluded.tenant, usr = excluded.usr, rights = "
		    "excluded.rights,"
		    " created_at = excluded.created_at, expires_at = excluded.expires_at, revoked_at = excluded.revoked_at,"
		    " used_at = excluded.used_at"};
static const struct pg_stmt st_key_get = {ST_KEY_GET, LANE_POINT, "key_get",
					  "SELECT " KEY_COLUMNS " FROM @cenote_key WHERE id = $1::text"};
static const struct pg_stmt st_key_list = {ST_KEY_LIST, LANE_SEARCH, "key_list",
					   "SELECT " KEY_COLUMNS
					   " FROM @cenote_key ORDER BY created_at NULLS FIRST, id COLLATE \"C\""};

static const struct pg_stmt st_meta_get = {ST_META_GET, LANE_POINT, "meta_get",
					   "SELECT value FROM @cenote_value WHERE name = $1::text"};
static const struct pg_stmt st_meta_put = {
	ST_META_PUT, LANE_WRITE, "meta_put",
	"WITH j AS (" JOURNAL(3) ") INSERT INTO @cenote_value(name, value) VALUES($1::text, $2::bytea)"
				 " ON CONFLICT (name) DO UPDATE SET value = excluded.value"};
static const struct pg_stmt st_meta_delete = {ST_META_DELETE, LANE_WRITE, "meta_delete",
					      "WITH j AS (" JOURNAL(2) ") DELETE FROM @cenote_value WHERE name = $1::text"};
/* $1: prefix; $2: after; $3: how many. */
static const struct pg_stmt st_meta_walk = {ST_META_WALK, LANE_SEARCH, "meta_walk",
					    "SELECT name, value FROM @cenote_value WHERE starts_with(name, $1::text) AND name ~>~ "
					    "$2::text ORDER BY name USING ~<~ LIMIT"
					    " $3::bigint"};

/* Schemas that may be tenants: those with our tables whose names begin so. */
static const struct pg_stmt st_tenants = {
	ST_TENANTS, LANE_SEARCH, "tenants",
	"SELECT n.nspname::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
	" WHERE c.relname = 'cenote_meta' AND c.relkind = 'r' AND starts_with(n.nspname::text, $1::text)"
	" ORDER BY n.nspname::text COLLATE \"C\""};

static const struct pg_stmt st_stats = {
	ST_STATS, LANE_SCAN, "stats",
	"SELECT s.items, s.expiring, (SELECT count(*) FROM (SELECT DISTINCT prefix FROM @store) d),"
	" (SELECT count(*) FROM (SELECT thread::text COLLATE \"C\" FROM @cenote_thread UNION SELECT session_id::text COLLATE \"C\""
	" FROM @?agent_sessions a UNION SELECT thread_id::text COLLATE \"C\" FROM @?checkpoints k UNION SELECT session_id::text"
	" COLLATE \"C\" FROM @?conversations v) n), (SELECT count(*) FROM @cenote_message),"
	" (SELECT sum(pg_catalog.pg_total_relation_size(c.oid))::bigint FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n"
	" ON n.oid = c.relnamespace WHERE n.nspname = $1::text AND c.relkind = 'r' AND (c.relname IN ('store', 'checkpoints',"
	" 'checkpoint_blobs', 'checkpoint_writes', 'agent_sessions', 'agent_messages') OR (c.relname = 'conversations' AND"
	" $2::bool) OR starts_with(c.relname::text, 'cenote_'))), (SELECT count(*) FROM @?checkpoints k) + (SELECT count(*) FROM "
	"@?cenote_checkpoint z), (SELECT count(*) FROM"
	" @?agent_messages a) + (SELECT count(*) FROM @?conversations v), (SELECT count(*) FROM @cenote_text) FROM (SELECT "
	"count(*) AS items, count(expires_at) AS "
	"expiring FROM @store) s"};

/* ---------------------------------------------------------------- keys */

static void key_columns(const PGresult *r, int row, struct key_record *k)
{
	*k = (struct key_record){.id = pg_get_str(r, row, 0),
				 .name = pg_get_str(r, row, 2),
				 .tenant = pg_get_str(r, row, 3),
				 .user = pg_get_str(r, row, 4),
				 .rights = (unsigned)pg_get_i64(r, row, 5),
				 .created_us = pg_get_time(r, row, 6),
				 .expires_us = pg_get_time(r, row, 7),
				 .revoked_us = pg_get_time(r, row, 8),
				 .used_us = pg_get_time(r, row, 9)};
}

static enum err key_read(const PGresult *r, int row, struct key_record *k)
{
	struct str hash = pg_get_str(r, row, 1);
	key_columns(r, row, k);
	if (hash.n != sizeof k->hash)
		return err_set(E_CORRUPT, "cenote_key has a key with a hash of %zu bytes", hash.n);
	memcpy(k->hash, hash.p, sizeof k->hash);
	return OK;
}

static enum err key_keep(struct arena *a, struct key_record *k)
{
	struct str *const all[] = {&k->id, &k->name, &k->tenant, &k->user};
	for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
		*all[i] = arena_str(a, *all[i]);
		if (!all[i]->p)
			return E_NOMEM;
	}
	return OK;
}

/* Names come from outside (a key in a request): what PostgreSQL could not even compare is not there. */
static bool has_nul(struct str s)
{
	return s.n > 0 && memchr(s.p, 0, s.n);
}

enum err pg_key_get(struct store *s, struct arena *a, struct str id, struct key_record *out, bool *found)
{
	struct pg_params p;
	PGresult *r;
	enum err e = OK;
	*found = false;
	if (has_nul(id))
		return OK;
	pg_params_init(&p);
	pg_text(&p, id);
	TRY(pg_query(pg_home(pg_of(s)), &st_key_get, &p, &r));
	if (PQntuples(r) > 0) {
		e = key_read(r, 0, out);
		if (e == OK)
			e = key_keep(a, out);
		*found = e == OK;
	}
	PQclear(r);
	return e;
}

enum err pg_key_list(struct store *s, key_fn fn, void *ctx)
{
	struct pg_params p;
	PGresult *r;
	enum err e = OK;
	pg_params_init(&p);
	TRY(pg_query(pg_home(pg_of(s)), &st_key_list, &p, &r));
	for (int i = 0; i < PQntuples(r) && e == OK; i++) {
		struct key_record k;
		e = key_read(r, i, &k);
		if (e == OK && !fn(ctx, &k))
			break;
	}
	PQclear(r);
	return e;
}

/* A write of which only the success matters. */
static enum err write_row(struct pg_tenant *t, const struct pg_stmt *st, struct pg_params *p)
{
	PGresult *r;
	bool repeated;
	TRY(pg_write(t, st, p, &r, &repeated));
	PQclear(r);
	return OK;
}

enum err pg_key_put(struct store *s, const struct key_record *k)
{
	struct pg_params p;
	if (k->id.n == 0)
		return err_set(E_INVALID, "a key needs an id");
	if (has_nul(k->id) || has_nul(k->name) || has_nul(k->tenant) || has_nul(k->user))
		return err_set(E_INVALID, "the names of a key cannot hold the character U+0000");
	pg_params_init(&p);
	pg_text(&p, k->id);
	pg_bytes(&p, str_of((const char *)k->hash, sizeof k->hash));
	pg_text(&p, k->name);
	pg_text(&p, k->tenant);
	pg_text(&p, k->user);
	pg_i32(&p, (int32_t)k->rights);
	pg_time(&p, k->created_us);
	pg_time(&p, k->expires_us);
	pg_time(&p, k->revoked_us);
	pg_time(&p, k->used_us);
	pg_i64(&p, pg_new_op());
	return write_row(pg_home(pg_of(s)), &st_key_put, &p);
}

/* ---------------------------------------------------------------- small values */

enum err pg_meta_get(struct store *s, struct arena *a, const struct principal *who, struct str name, struct str *out, bool *found)
{
	struct pg_tenant *t;
	struct pg_params p;
	PGresult *r;
	*found = false;
	*out = STR("");
	TRY(pg_tenant_get(pg_of(s), who, RIGHT_READ, false, &t));
	if (!t || has_nul(name))
		return OK;
	pg_params_init(&p);
	pg_text(&p, name);
	TRY(pg_query(t, &st_meta_get, &p, &r));
	*found = PQntuples(r) > 0;
	if (*found)
		*out = arena_str(a, pg_get_str(r, 0, 0));
	PQclear(r);
	return out->p ? OK : E_NOMEM;
}

/* Values of turns are many at a time. They come behind the threads that share the transaction: whoever removes a thread locks it
 * before its values. */
#define SHARED_FIRST "\xff"
#define SHARED_NAME 120
#define SHARED_VALUE ((size_t)64 << 10)

static enum err write_value(struct pg_tenant *t, struct str name, struct pg_params *p)
{
	char key[SHARED_NAME + 2];
	struct pg_step step = {&st_meta_put, p, NULL};
	struct pg_job j = {.t = t, .steps = &step, .n = 1, .lane = LANE_WRITE, .write = true};
	snprintf(key, sizeof key, SHARED_FIRST "%.*s", STR_ARG(name));
	j.share = str_c(key);
	enum err e = pg_run(&j);
	pg_job_clear(&j);
	pg_params_release(p);
	return e;
}

enum err pg_meta_put(struct store *s, const struct principal *who, struct str name, struct str value)
{
	struct pg_tenant *t;
	struct pg_params p;
	TRY(pg_tenant_get(pg_of(s), who, RIGHT_WRITE, true, &t));
	if (has_nul(name))
		return err_set(E_INVALID, "the name of a value cannot hold the character U+0000");
	pg_params_init(&p);
	pg_text(&p, name);
	if (value.n)
		pg_bytes(&p, value);
	pg_i64(&p, pg_new_op());
	if (value.n && value.n <= SHARED_VALUE && name.n <= SHARED_NAME)
		return write_value(t, name, &p);
	return write_row(t, value.n ? &st_meta_put : &st_meta_delete, &p);
}

enum err pg_meta_walk(struct store *s, const struct principal *who, struct str prefix, struct str after, size_t limit, value_fn fn,
		      void *ctx)
{
	struct pg_tenant *t;
	struct pg_params p;
	PGresult *r;
	TRY(pg_tenant_get(pg_of(s), who, RIGHT_READ, false, &t));
	if (!t || has_nul(after))
		return OK;
	pg_params_init(&p);
	pg_text(&p, prefix);
	pg_text(&p, after);
	pg_i64(&p, limit > INT64_MAX ? INT64_MAX : (int64_t)limit);
	TRY(pg_query(t, &st_meta_walk, &p, &r));
	for (int i = 0; i < PQntuples(r); i++)
		if (!fn(ctx, pg_get_str(r, i, 0), pg_get_str(r, i, 1)))
			break;
	PQclear(r);
	return OK;
}

/* ---------------------------------------------------------------- tenants */

/* Whether the schema's tables say that they are this tenant's is for pg_tenant_get to find; a schema that it refuses is told in the
 * log and left out, so that one damaged tenant does not hide the others. */
static bool is_tenant(struct pg *s, struct str name)
{
	const struct principal who = {.tenant = name, .rights = RIGHT_READ};
	struct pg_tenant *t = NULL;
	if (tenant_check(name) != OK || str_eq(name, STR("default"))) /* that one is the home schema */
		return false;
	enum err e = pg_tenant_get(s, &who, RIGHT_READ, false, &t);
	if (e != OK)
		LOG(LOG_WARN, "store", "a tenant's schema cannot be used; it is left out", LF_STR("tenant", name),
		    LF_C("reason", diag_get()->text));
	return e == OK && t;
}

enum err pg_tenants(struct store *st, name_fn fn, void *ctx)
{
	struct pg *s = pg_of(st);
	struct pg_params p;
	PGresult *r;
	struct str home = STR("default");
	bool told = false, more = true;
	char prefix[sizeof s->schema + 1];
	size_t n = (size_t)snprintf(prefix, sizeof prefix, "%s_", s->schema);
	pg_params_init(&p);
	pg_text(&p, str_of(prefix, n));
	TRY(pg_query(pg_home(s), &st_tenants, &p, &r));
	for (int i = 0; i < PQntuples(r) && more; i++) {
		struct str schema = pg_get_str(r, i, 0), name = str_sub(schema, n, schema.n);
		if (!told && str_cmp(home, name) < 0) {
			told = true;
			more = fn(ctx, home);
		}
		if (more && is_tenant(s, name))
			more = fn(ctx, name);
	}
	PQclear(r);
	if (!told && more)
		(void)fn(ctx, home);
	return OK;
}

/* ---------------------------------------------------------------- figures */

/* bytes_wal stays 0: the server's log is not the store's own. */
enum err pg_stats(struct store *s, const struct principal *who, struct store_stats *out)
{
	struct pg_tenant *t;
	struct pg_params p;
	PGresult *r;
	unsigned batches;
	*out = (struct store_stats){0};
	TRY(pg_tenant_get(pg_of(s), who, RIGHT_READ, false, &t));
	out->queue_depth = gather_waiting(pg_of(s)->gathers[GATHER_ITEMS], &batches);
	if (!t)
		return OK;
	pg_params_init(&p);
	pg_text(&p, str_c(t->schema));
	pg_bool(&p, t->has & PG_HAS_SEED);
	TRY(pg_query(t, &st_stats, &p, &r));
	if (PQntuples(r) > 0)
		*out = (struct store_stats){.items = pg_get_i64(r, 0, 0),
					    .expiring = pg_get_i64(r, 0, 1),
					    .namespaces = pg_get_i64(r, 0, 2),
					    .threads = pg_get_i64(r, 0, 3),
					    .messages = pg_get_i64(r, 0, 4),
					    .bytes_data = pg_get_i64(r, 0, 5),
					    .checkpoints = pg_get_i64(r, 0, 6),
					    .entries = pg_get_i64(r, 0, 7),
					    .texts = pg_get_i64(r, 0, 8),
					    .queue_depth = out->queue_depth};
	PQclear(r);
	return OK;
}

enum err pg_ping(struct store *s)
{
	struct pg_params p;
	PGresult *r;
	pg_params_init(&p);
	TRY(pg_query(pg_home(pg_of(s)), &st_ping, &p, &r));
	PQclear(r);
	return OK;
}

void pg_metrics(struct store *s, struct buf *out)
{
	pg_exec_metrics(pg_of(s), out);
	pg_feed_metrics(pg_of(s), out);
	pg_tables_metrics(pg_of(s), out);
	pg_ckpt_metrics(pg_of(s), out);
}
