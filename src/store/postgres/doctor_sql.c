/* The doctor's queries. They read catalogs and statistics only, need no rights beyond CONNECT, and write their sentences
 * themselves. */
#include "store/postgres/doctor.h"

/* Tables that are ours or LangGraph's, in the tenants' schemas. */
#define TABLES                                                                                                                     \
	"t AS (SELECT c.oid, c.relname, c.reltuples, n.nspname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid" \
	" = c.relnamespace WHERE c.relkind IN ('r', 'p') AND n.nspname IN (SELECT "                                                \
	"jsonb_array_elements_text($1::jsonb->'schemas'))"                                                                         \
	" AND (c.relname IN ('store', 'store_migrations', 'store_vectors', 'vector_migrations', 'checkpoints', "                   \
	"'checkpoint_blobs', 'checkpoint_writes', 'agent_sessions', 'agent_messages') OR starts_with(c.relname::text,"             \
	" 'cenote_')))"

static const char mode[] =
	"SELECT CASE WHEN standby OR ro THEN 'warn' ELSE 'ok' END, '', CASE WHEN standby THEN 'the server is a standby: it answers"
	" reads, every write is refused' WHEN ro THEN 'transactions are read only (default_transaction_read_only): every write is"
	" refused' ELSE 'the server takes writes' END, CASE WHEN standby THEN 'connect to the primary, or to all of them with"
	" target_session_attrs=read-write' WHEN ro THEN format('ALTER DATABASE %I SET default_transaction_read_only = off',"
	" current_database()) ELSE '' END, json_build_object('standby', standby, 'read_only', ro)"
	" FROM (SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on') s(standby, ro)"
	" WHERE $1::jsonb IS NOT NULL";

static const char settings[] =
	"SELECT CASE WHEN v.value <> v.good THEN v.level ELSE 'ok' END, v.name, CASE WHEN v.value = v.good THEN format('%s is %s',"
	" v.name, v.value) ELSE format('%s is %s: %s', v.name, v.value, v.why) END, CASE WHEN v.value <> v.good THEN"
	" CASE WHEN v.name LIKE 'default%' THEN format('ALTER ROLE %I SET ', current_user) ELSE 'ALTER SYSTEM SET ' END ||"
	" format('%s = %s', v.name, quote_literal(v.good)) ELSE '' END, json_build_object('value', v.value)"
	" FROM (SELECT s.name, s.level, s.good, s.why, current_setting(s.name) AS value FROM (VALUES"
	" ('fsync', 'fail', 'on', 'a crash of the machine can destroy the database'),"
	" ('full_page_writes', 'warn', 'on', 'a crash of the machine can damage pages'),"
	" ('autovacuum', 'warn', 'on', 'dead rows are never cleared away, and reads become slower'),"
	" ('default_transaction_isolation', 'fail', 'read committed', 'checkpoints lose values that are written while others are"
	" removed'))"
	" s(name, level, good, why)) v WHERE $1::jsonb IS NOT NULL"
	" UNION ALL SELECT CASE WHEN v.value = 'off' THEN 'warn' ELSE 'ok' END, 'synchronous_commit', CASE WHEN v.value = 'off' "
	"THEN"
	" 'synchronous_commit is off: a crash of the server loses the last writes although they were answered' ELSE"
	" format('synchronous_commit is %s', v.value) END, CASE WHEN v.value = 'off' THEN format('ALTER DATABASE %I SET"
	" synchronous_commit = on', current_database()) ELSE '' END, json_build_object('value', v.value) FROM (SELECT"
	" current_setting('synchronous_commit')) v(value)"
	" UNION ALL SELECT CASE WHEN v.ms > 0 AND v.ms < ($1::jsonb->>'statement_ms')::bigint THEN 'warn' ELSE 'ok' END,"
	" 'statement_timeout', CASE WHEN v.ms = 0 THEN 'the role and the database set no statement_timeout' ELSE format('the role "
	"or"
	" the database sets statement_timeout to %s ms; pg.statement_timeout is %s ms', v.ms, $1::jsonb->>'statement_ms') END, '',"
	" json_build_object('value_ms', v.ms) FROM (SELECT coalesce(max(CASE WHEN c ~ '^statement_timeout=[0-9]+$' THEN"
	" substr(c, 19)::bigint ELSE extract(epoch FROM substr(c, 19)::interval)::bigint * 1000 END), 0) FROM (SELECT "
	"unnest(setconfig)"
	" FROM pg_catalog.pg_db_role_setting WHERE setdatabase IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname ="
	" current_database())) AND setrole IN (0, (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user))) x(c)"
	" WHERE c ~ '^statement_timeout=[0-9]+ *(ms|s|min|h|d)?$') v(ms)"
	" UNION ALL SELECT 'ok', s.name, format('%s is %s', s.name, current_setting(s.name)), '', json_build_object('value',"
	" current_setting(s.name)) FROM (VALUES ('idle_in_transaction_session_timeout'), ('lock_timeout')) s(name)";

static const char connections[] =
	"SELECT CASE WHEN free <= 0 THEN 'fail' WHEN free < pool THEN 'warn' ELSE 'ok' END, '', format('%s of %s connections are in"
	" use, %s are free for this role%s; pg.pool.max is %s', used, maximum, free, CASE WHEN rolelimit >= 0 THEN format(' (limit "
	"of"
	" the role: %s)', rolelimit) ELSE '' END || CASE WHEN dblimit >= 0 THEN format(' (limit of the database: %s)', dblimit) "
	"ELSE"
	" '' END, pool), CASE WHEN free < pool THEN format('lower pg.pool.max to %s, or raise max_connections (or the limit of the"
	" role or database)', greatest(free, 1)) ELSE '' END, json_build_object('max_connections', maximum, 'reserved', reserved,"
	" 'used', used, 'free', free, 'role_limit', rolelimit, 'database_limit', dblimit, 'pool_max', pool)"
	" FROM (SELECT *, least(maximum - CASE WHEN super THEN 0 ELSE reserved END - used, CASE WHEN rolelimit >= 0 AND NOT super "
	"THEN"
	" rolelimit - byrole END, CASE WHEN dblimit >= 0 AND NOT super THEN dblimit - bydb END) AS free FROM (SELECT"
	" current_setting('max_connections')::int AS maximum, current_setting('superuser_reserved_connections')::int +"
	" coalesce(current_setting('reserved_connections', true)::int, 0) AS reserved, (SELECT sum(numbackends) FROM"
	" pg_catalog.pg_stat_database)::int AS used, ($1::jsonb->>'pool_max')::int AS pool, r.rolconnlimit AS rolelimit,"
	" d.datconnlimit AS dblimit, r.rolsuper AS super, (SELECT count(*) FROM pg_catalog.pg_stat_activity a WHERE a.usesysid ="
	" r.oid)::int AS byrole, (SELECT numbackends FROM pg_catalog.pg_stat_database s WHERE s.datid = d.oid) AS bydb FROM"
	" pg_catalog.pg_roles r, pg_catalog.pg_database d WHERE r.rolname = current_user AND d.datname = current_database()) x) y";

static const char extensions[] =
	"SELECT CASE WHEN e.oid IS NOT NULL AND NOT has_schema_privilege(e.extnamespace, 'USAGE') THEN 'warn' ELSE 'ok' END,"
	" coalesce(n.nspname::text, ''), CASE WHEN e.oid IS NULL AND a.name IS NULL THEN 'pgvector is not available on this server;"
	" Cenote does without it' WHEN e.oid IS NULL THEN format('pgvector %s is available, but not installed in this database;"
	" Cenote does without it', a.default_version) WHEN has_schema_privilege(e.extnamespace, 'USAGE') THEN format('pgvector %s "
	"is"
	" installed', e.extversion) ELSE format('pgvector %s is installed in schema %I, which this role may not use', e.extversion,"
	" n.nspname) END, CASE WHEN e.oid IS NOT NULL AND NOT has_schema_privilege(e.extnamespace, 'USAGE') THEN format('GRANT "
	"USAGE"
	" ON SCHEMA %I TO %I', n.nspname, current_user) ELSE '' END, json_build_object('installed', e.extversion, 'available',"
	" a.default_version, 'schema', n.nspname)"
	" FROM (SELECT $1::jsonb) one LEFT JOIN pg_catalog.pg_extension e ON e.extname = 'vector' LEFT JOIN "
	"pg_catalog.pg_namespace n"
	" ON n.oid = e.extnamespace LEFT JOIN pg_catalog.pg_available_extensions a ON a.name = 'vector'";

static const char tables[] =
	"WITH " TABLES ", z AS (SELECT t.nspname, t.relname, coalesce(s.n_live_tup, t.reltuples::bigint, 0) AS live,"
	" pg_total_relation_size(t.oid) AS bytes FROM t LEFT JOIN pg_catalog.pg_stat_user_tables s ON s.relid = t.oid)"
	" SELECT 'ok', nspname, format('about %s items, %s messages and %s checkpoints, %s in all', coalesce(max(live) FILTER "
	"(WHERE relname ="
	" 'store'), 0), coalesce(max(live) FILTER (WHERE relname = 'cenote_message'), 0), coalesce(max(live) FILTER (WHERE relname "
	"IN ('checkpoints', 'cenote_checkpoint')), 0), pg_size_pretty(sum(bytes))), '',"
	" json_object_agg(relname, json_build_object('rows', live, 'bytes', bytes) ORDER BY relname) FROM z GROUP BY nspname"
	" ORDER BY nspname";

static const char bloat[] =
	"WITH " TABLES ", z AS (SELECT t.nspname, t.relname, s.n_live_tup AS live, s.n_dead_tup AS dead,"
	" greatest(s.last_autovacuum, s.last_vacuum) AS at FROM t JOIN pg_catalog.pg_stat_user_tables s ON s.relid = t.oid)"
	" SELECT 'warn', format('%s.%s', nspname, relname), format('%s %% of the rows are dead (%s), the last vacuum was %s', 100 "
	"* dead"
	" / (live + dead), dead, coalesce(to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI \"UTC\"'), 'never')), format('VACUUM"
	" (ANALYZE) %I.%I', nspname, relname), json_build_object('live', live, 'dead', dead, 'last_vacuum', at) FROM z WHERE dead "
	">="
	" 10000 AND dead > live / 4"
	" UNION ALL SELECT 'ok', '', format('no table has many dead rows (%s of %s)', coalesce(sum(dead), 0), coalesce(sum(live + "
	"dead),"
	" 0)), '', json_build_object('live', coalesce(sum(live), 0), 'dead', coalesce(sum(dead), 0)) FROM z HAVING NOT"
	" coalesce(bool_or(dead >= 10000 AND dead > live / 4), false)";

/* Two indexes are the same when columns, operator classes, order and condition are; the one that nobody uses is worth a word. */
static const char indexes[] =
	"WITH " TABLES ", x AS (SELECT t.nspname, t.relname, c.relname AS name, i.*, coalesce(s.idx_scan, 0) AS scans,"
	" pg_relation_size(c.oid) AS bytes FROM t JOIN pg_catalog.pg_index i ON i.indrelid = t.oid JOIN pg_catalog.pg_class c ON "
	"c.oid"
	" = i.indexrelid LEFT JOIN pg_catalog.pg_stat_user_indexes s ON s.indexrelid = i.indexrelid),"
	" f AS (SELECT 'warn', format('%s.%s', nspname, name), format(CASE WHEN name ~ '_cc(new|old)[0-9]*$' THEN 'index %s of "
	"table %s"
	" was left behind by an interrupted REINDEX CONCURRENTLY: its owner may remove it' ELSE 'index %s of table %s is invalid: "
	"it"
	" costs writes and serves no read' END, name, relname), CASE WHEN name ~ '_cc(new|old)[0-9]*$' THEN '' ELSE format('REINDEX"
	" INDEX CONCURRENTLY %I.%I', nspname, name) END, json_build_object('bytes', bytes) FROM x"
	" WHERE NOT (indisvalid AND indisready) AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_progress_create_index p WHERE"
	" p.index_relid = x.indexrelid)"
	" UNION ALL SELECT 'warn', format('%s.%s', a.nspname, a.name), format('index %s of table %s is the same as %s and was "
	"never used;"
	" its owner may want to remove it', a.name, a.relname, b.name), '', json_build_object('bytes', a.bytes, 'scans', a.scans)"
	" FROM x a JOIN x b ON a.indrelid = b.indrelid AND a.indexrelid <> b.indexrelid AND a.indkey::text = b.indkey::text AND"
	" a.indclass::text = b.indclass::text AND a.indoption::text = b.indoption::text AND a.indcollation::text = "
	"b.indcollation::text"
	" AND pg_get_expr(a.indpred, a.indrelid) IS NOT DISTINCT FROM pg_get_expr(b.indpred, b.indrelid) AND"
	" pg_get_expr(a.indexprs, a.indrelid) IS NOT DISTINCT FROM pg_get_expr(b.indexprs, b.indrelid) WHERE NOT a.indisunique AND"
	" a.scans = 0 AND (b.indisunique OR b.scans > 0 OR a.indexrelid > b.indexrelid))"
	" SELECT * FROM f UNION ALL SELECT 'ok', '', format('%s indexes are valid, none is superfluous', (SELECT count(*) FROM "
	"x)), '',"
	" NULL WHERE NOT EXISTS (SELECT 1 FROM f)";

/* Those of hnsw_build.c. */
static const char hnsw[] =
	"WITH " TABLES
	" SELECT 'ok', format('%s.%s', t.nspname, c.relname), format('an index of vectors for namespaces that do not "
	"fit"
	" index.cache: %s, %s', pg_size_pretty(pg_relation_size(c.oid)), CASE WHEN p.relid IS NOT NULL THEN 'is being made: ' ||"
	" p.phase WHEN i.indisvalid THEN format('asked %s times', coalesce(s.idx_scan, 0)) ELSE 'not valid, it will be made again'"
	" END), '', json_build_object('bytes', pg_relation_size(c.oid), 'scans', coalesce(s.idx_scan, 0), 'valid', i.indisvalid)"
	" FROM t JOIN pg_catalog.pg_index i ON i.indrelid = t.oid JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid LEFT JOIN"
	" pg_catalog.pg_stat_user_indexes s ON s.indexrelid = c.oid LEFT JOIN pg_catalog.pg_stat_progress_create_index p ON"
	" p.index_relid = c.oid WHERE c.relname ~ '^cenote_hnsw_[0-9]+$'";

static const char locks[] =
	"WITH w AS (SELECT l.pid, l.relation::regclass::text AS what, pg_blocking_pids(l.pid) AS by, extract(epoch FROM now() -"
	" a.query_start) AS s FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid WHERE NOT "
	"l.granted"
	" AND (l.database = 0 OR l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())))"
	" SELECT 'warn', coalesce(what, ''), format('process %s waits for a lock%s%s, held by %s', pid, coalesce(' on ' || what, "
	"''),"
	" CASE WHEN s IS NULL THEN '' ELSE format(' for %s s', round(s)) END, array_to_string(by, ', ')), CASE WHEN "
	"cardinality(by) > 0"
	" THEN format('SELECT pg_terminate_backend(%s)', by[1]) ELSE '' END, json_build_object('pid', pid, 'blocked_by', by) FROM w"
	" UNION ALL SELECT 'ok', '', 'nobody waits for a lock', '', NULL WHERE NOT EXISTS (SELECT 1 FROM w) AND $1::jsonb IS NOT "
	"NULL"
	" UNION ALL SELECT 'warn', coalesce(usename::text, ''), format('process %s has been idle inside a transaction for %s s: it "
	"holds"
	" back vacuum', pid, round(extract(epoch FROM now() - state_change))), format('SELECT pg_terminate_backend(%s)', pid),"
	" json_build_object('pid', pid) FROM pg_catalog.pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in"
	" transaction%' AND state_change < now() - interval '1 minute'";

const struct pg_check pg_checks[] = {
	{"mode", mode},
	{"settings", settings},
	{"connections", connections},
	{"extensions", extensions},
	{"locks", locks},
	{"tables", tables},
	{"bloat", bloat},
	{"indexes", indexes},
	{"hnsw", hnsw},
};
const size_t pg_checks_n = sizeof pg_checks / sizeof *pg_checks;
