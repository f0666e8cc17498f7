/* Statements of entries.c. Private to it.
 *
 * $1 is the thread, $2 the owners who may (PG_SEEN) in all of them, unless it says otherwise. Rows are read in the same way from
 * both kinds of tables: as id, session_id, message_data, at, and ord, by which and by id they are ordered. */
#ifndef CENOTE_STORE_PG_ENTRY_SQL_H
#define CENOTE_STORE_PG_ENTRY_SQL_H

#include "store/postgres/sessions.h"

#define AGENT_ROWS "(SELECT id, session_id, message_data, created_at AS ord, created_at::timestamptz AS at FROM @?agent_messages x)"
/* An entry is the item that is kept exactly in metadata, or what role and content say. By the order of ids. */
#define SEED_ROWS                                                                                                                  \
	"(SELECT id + " PG_SEED_IDS " AS id, session_id, CASE WHEN jsonb_typeof(metadata -> 'cenote_item') = 'string' THEN"        \
	" metadata ->> 'cenote_item' ELSE '{\"role\": ' || to_json(role::text) || ', \"content\": ' || to_json(content::text) ||"  \
	" '}' END AS message_data, 'epoch'::timestamp AS ord, coalesce(\"timestamp\"::timestamptz, 'epoch') AS at FROM"            \
	" @?conversations x)"

/* Is this append, with once $o and look $l and so many entries as $d has (none: any number), the last one over again? */
#define REPEATED(o, l, d)                                                                                                          \
	"(SELECT t.once_ids, t.once_at FROM @cenote_thread t WHERE t.thread = $1::text AND $" #l "::bool AND t.once = $" #o        \
	"::bytea AND t.once_at > now() - interval '10 minutes' AND (cardinality(t.once_ids) = cardinality($" #d "::text[]) OR"     \
	" cardinality($" #d "::text[]) = 0))"

/* Makes and locks the thread's record. $3: whose it becomes when it is new; $4: it must not be new; $5: now. 22012: it is somebody
 * else's; 2201E: there is no such thread. */
static const struct pg_stmt st_claim = {
	ST_ENTRY_CLAIM, LANE_WRITE, "entry_claim",
	"WITH f AS (SELECT " PG_FOREIGN(
		"$1::text") " AS f), c AS (INSERT INTO @cenote_thread AS t(thread, usr, created_at, updated_at, messages) SELECT"
			    " $1::text, CASE WHEN f.f THEN '' ELSE $3::text END, $5::timestamptz, $5::timestamptz, 0 FROM f ON"
			    " CONFLICT (thread) DO UPDATE SET updated_at = excluded.updated_at RETURNING t.usr::text AS usr, "
			    "t.xmax = 0"
			    " AS fresh)"
			    " SELECT 1 / ($2::text[] IS NULL OR c.usr = ANY($2::text[]))::int, ln((NOT ($4::bool AND c.fresh AND "
			    "NOT"
			    " f.f))::int::float8) FROM c, f"};
/* Locks the record, if there is one. $3: now. */
static const struct pg_stmt st_touch = {ST_ENTRY_TOUCH, LANE_WRITE, "entry_touch",
					"UPDATE @cenote_thread t SET updated_at = $3::timestamptz WHERE t.thread = $1::text AND "
					"($2::text[] IS NULL OR t.usr::text ="
					" ANY($2::text[]))"};

/* ---- the Agents SDK's tables: the statements of contracts, openai 2.4. These three have $1 alone. */
static const struct pg_stmt st_make = {
	ST_SESSION_MAKE, LANE_WRITE, "session_make",
	"INSERT INTO @agent_sessions(session_id) VALUES ($1::text) ON CONFLICT (session_id) DO NOTHING"};
static const struct pg_stmt st_lock = {ST_SESSION_LOCK, LANE_WRITE, "session_lock",
				       "SELECT 1 FROM @agent_sessions WHERE session_id = $1::text FOR UPDATE"};
static const struct pg_stmt st_used = {ST_SESSION_USED, LANE_WRITE, "session_used",
				       "UPDATE @agent_sessions SET updated_at = now() WHERE session_id = $1::text"};

/* What appending statements have in common. $2 here: the entries; $3: once; $4: look; $5: the session must be empty (2201F); $6:
 * op; $b: 0, or the entry that must be the newest (2201F). Neither is asked for when the journal has the op: what is in the way
 * then is what the first attempt stored, and j, which comes after, says so. $s: once stays what it is. made: the CTE m, which gives
 * ids. Gives: ids, whether it was repeated, when. */
#define APPEND(before, made, rows, b, s)                                                                                           \
	"WITH o AS MATERIALIZED " REPEATED(                                                                                        \
		3, 4,                                                                                                              \
		2) ", " before "m AS (" made "), k AS (UPDATE @cenote_thread t SET once = $3::bytea, once_at = CASE WHEN $3"       \
		   " IS NOT NULL THEN now() END, once_ids = CASE WHEN $3 IS NOT NULL THEN (SELECT"                                 \
		   " array_agg(id ORDER BY id) FROM m) END WHERE t.thread = $1::text AND NOT EXISTS"                               \
		   " (SELECT FROM o) AND ($3 IS NOT NULL OR t.once IS NOT NULL) AND cardinality($2::text[]) > 0 AND NOT $" #s      \
		   "::bool), j AS (" PG_NOTE(                                                                                      \
			   6, "coalesce(array_agg(id ORDER BY id), '{}')") " FROM m)"                                              \
									   " SELECT coalesce((SELECT once_ids FROM o), "           \
									   "(SELECT array_agg(id ORDER BY id) FROM m), '{}'), "    \
									   "EXISTS (SELECT FROM o),"                               \
									   " coalesce((SELECT once_at FROM o), now()), "           \
									   "sqrt(-(NOT EXISTS (SELECT FROM o) AND NOT EXISTS "     \
									   "(SELECT FROM @cenote_journal WHERE op = "              \
									   "$6::bigint AND step = 0) AND "                         \
									   "($5::bool AND EXISTS (SELECT FROM " rows               \
									   " e WHERE e.session_id = $1::text) OR $" #b             \
									   "::bigint <> 0 AND $" #b                                \
									   "::bigint IS DISTINCT FROM (SELECT e.id FROM " rows     \
									   " e WHERE e.session_id = $1::text ORDER BY e.ord "      \
									   "DESC, e.id DESC LIMIT 1)))::int::float8)"
static const struct pg_stmt st_append = {
	ST_ENTRY_APPEND, LANE_WRITE, "entry_append",
	APPEND("t AS MATERIALIZED (SELECT greatest(now()::timestamp, (SELECT max(created_at) + interval '1 microsecond' FROM"
	       " @agent_messages WHERE session_id = $1::text)) AS ts WHERE NOT EXISTS (SELECT FROM o)), ",
	       "INSERT INTO @agent_messages(session_id, message_data, created_at) SELECT $1::text, u.m, t.ts FROM t,"
	       " unnest($2::text[]) WITH ORDINALITY u(m, n) WHERE EXISTS (SELECT FROM @agent_sessions WHERE session_id = $1::text)"
	       " ORDER BY u.n RETURNING id::bigint AS id",
	       AGENT_ROWS, 7, 8)};
/* Of conversations; $2: items ("" : none is kept), $7: roles, $8: contents. */
static const struct pg_stmt st_seed_append = {
	ST_SEED_APPEND, LANE_WRITE, "seed_append",
	APPEND("",
	       "INSERT INTO @conversations(session_id, role, content, metadata) SELECT $1::text, u.role, u.content, CASE WHEN "
	       "u.item <>"
	       " '' THEN jsonb_build_object('cenote_item', u.item) END FROM unnest($2::text[], $7::text[], $8::text[]) WITH"
	       " ORDINALITY u(item, role, content, n) WHERE NOT EXISTS (SELECT FROM o) ORDER BY u.n RETURNING id + " PG_SEED_IDS
	       " AS id",
	       SEED_ROWS, 9, 10)};

/* ---- reading: $3: the id behind which the page begins, 0: the start; $4: ord of that row as text, NULL: to be looked up; it
 * is of the type of ord (PG_INFERRED), with a time zone or without: an hour that comes twice in the zone of the session is told
 * apart. $5: limit. One row with an id of NULL: none. Last columns: ord, and whether the row of $3 is there. Rows until some bytes
 * are full.
 */
#define ENTRY_PAGE_BYTES ((size_t)8388608)
#define PAGE_BYTES "8388608"
#define CURSOR(rows, edge)                                                                                                         \
	"coalesce($4, (SELECT c.ord FROM " rows " c WHERE c.session_id = $1::text AND c.id ="                                      \
	" $3::bigint), '" edge "')"
#define PAGE(rows, order, op, edge)                                                                                                \
	"SELECT m.id::bigint, m.message_data::text, m.at, m.ord::text, $3::bigint = 0 OR $4 IS NOT NULL OR EXISTS (SELECT "        \
	"FROM " rows " c WHERE c.session_id = $1::text AND c.id = $3::bigint) FROM (SELECT " PG_OWNER                              \
	" AS usr) o LEFT JOIN LATERAL (SELECT q.*, sum(octet_length(q.message_data)) OVER (ORDER BY q.ord " order ", q.id " order  \
	" ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before FROM (SELECT * FROM " rows                                   \
	" r WHERE r.session_id = $1::text AND r.ord " op "= " CURSOR(rows, edge) " AND (r.ord " op " " CURSOR(                     \
		rows, edge) " OR $3::bigint = 0 OR r.id " op " $3::bigint) ORDER BY r.ord " order ", r.id " order                  \
			    " LIMIT $5::bigint) q) m ON m.before IS NULL OR m.before < " PAGE_BYTES                                \
			    " WHERE o.usr IS NOT NULL AND ($2::text[] IS NULL OR o.usr = ANY($2::text[])) ORDER BY m.ord " order   \
			    ", m.id " order
/* The newest, from the end: what agents ask for at every turn. $3: limit. Owners are looked up once, behind OFFSET 0. */
#define TAIL(rows)                                                                                                                 \
	"SELECT m.id::bigint, m.message_data::text, m.at, m.ord::text, true FROM (SELECT " PG_OWNER                                \
	" AS usr OFFSET 0) o LEFT JOIN LATERAL (SELECT q.*, sum(octet_length(q.message_data)) OVER (ORDER BY q.ord DESC, q.id"     \
	" DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before FROM (SELECT * FROM " rows                              \
	" r WHERE r.session_id = $1::text ORDER BY r.ord DESC, r.id DESC LIMIT (SELECT $3::bigint)) q) m ON m.before IS NULL OR "  \
	"m.before <"                                                                                                               \
	" " PAGE_BYTES                                                                                                             \
	" WHERE o.usr IS NOT NULL AND ($2::text[] IS NULL OR o.usr = ANY($2::text[])) ORDER BY m.ord DESC, m.id DESC"
static const struct pg_stmt st_tail = {ST_ENTRIES_TAIL, LANE_SEARCH, "entries_tail", TAIL(AGENT_ROWS)};
static const struct pg_stmt st_seed_tail = {ST_SEED_TAIL, LANE_SEARCH, "seed_tail", TAIL(SEED_ROWS)};
static const struct pg_stmt st_up = {ST_ENTRIES_UP, LANE_SEARCH, "entries_up", PAGE(AGENT_ROWS, "ASC", ">", "-infinity")};
static const struct pg_stmt st_down = {ST_ENTRIES_DOWN, LANE_SEARCH, "entries_down", PAGE(AGENT_ROWS, "DESC", "<", "infinity")};
static const struct pg_stmt st_seed_up = {ST_SEED_UP, LANE_SEARCH, "seed_up", PAGE(SEED_ROWS, "ASC", ">", "-infinity")};
static const struct pg_stmt st_seed_down = {ST_SEED_DOWN, LANE_SEARCH, "seed_down", PAGE(SEED_ROWS, "DESC", "<", "infinity")};

/* $3: id. */
#define ONE(rows)                                                                                                                  \
	"SELECT r.id::bigint, r.message_data::text, r.at FROM " rows                                                               \
	" r WHERE r.id = $3::bigint AND r.session_id = $1::text AND " PG_SEEN(2)
static const struct pg_stmt st_one = {ST_ENTRY_GET, LANE_POINT, "entry_get", ONE(AGENT_ROWS)};
static const struct pg_stmt st_seed_one = {ST_SEED_GET, LANE_POINT, "seed_get", ONE(SEED_ROWS)};

/* ---- removing. The journal row is tried when a row went, and when there is one of this call already (which then says so). */
#define GONE(op)                                                                                                                   \
	PG_NOTE(op, "coalesce(array_agg(-d.id), '{}')")                                                                            \
	" FROM d HAVING EXISTS (SELECT FROM d) OR EXISTS (SELECT FROM"                                                             \
	" @cenote_journal WHERE op = $" #op "::bigint)"
/* $3: id; $4: op; $5: NULL, or ids of newer rows that do not count: the row must be the newest but for them. */
static const struct pg_stmt st_delete = {
	ST_ENTRY_DELETE, LANE_WRITE, "entry_delete",
	"WITH d AS (DELETE FROM @agent_messages m WHERE m.id = $3::bigint AND m.session_id = $1::text AND " PG_SEEN(
		2) " AND ($5::bigint[] IS NULL OR NOT EXISTS (SELECT FROM @agent_messages n WHERE n.session_id = $1::text AND"
		   " n.created_at >= m.created_at AND (n.created_at > m.created_at OR n.id > m.id) AND n.id <> ALL($5::bigint[])))"
		   " RETURNING m.id::bigint AS id), v AS (" PG_VALUES_GONE("d",
									   "d.id") "), j AS (" GONE(4) ") SELECT count(*) FROM d"};
static const struct pg_stmt st_seed_delete = {
	ST_SEED_DELETE, LANE_WRITE, "seed_delete",
	"WITH d AS (DELETE FROM @conversations m WHERE m.id = $3::bigint - " PG_SEED_IDS
	" AND m.session_id = $1::text AND " PG_SEEN(
		2) " AND ($5::bigint[] IS NULL OR NOT EXISTS (SELECT FROM @conversations n WHERE"
		   " n.session_id = $1::text AND n.id > m.id)) RETURNING m.id::bigint AS id), v AS (" PG_VALUES_GONE(
			   "d", "d.id + " PG_SEED_IDS) "), j AS"
						       " (" GONE(4) ") SELECT count(*) FROM d"};
/* What goes when an append comes. $2: id. */
static const struct pg_stmt st_instead = {ST_ENTRY_INSTEAD, LANE_WRITE, "entry_instead",
					  "DELETE FROM @agent_messages m WHERE m.id = $2::bigint AND m.session_id = $1::text"};
static const struct pg_stmt st_seed_instead = {ST_SEED_INSTEAD, LANE_WRITE, "seed_instead",
					       "DELETE FROM @conversations m WHERE m.id = $2::bigint - " PG_SEED_IDS
					       " AND m.session_id = $1::text"};
/* All rows of the session, unless the append that comes next ($3..$5: once, look, entries) is a repeated one. */
#define ALL(table, id)                                                                                                             \
	"WITH d AS (DELETE FROM " table " m WHERE m.session_id = $1::text AND " PG_SEEN(2) " AND NOT EXISTS " REPEATED(            \
		3, 4, 5) " RETURNING m.id) " PG_VALUES_GONE("d", "d.id" id)
static const struct pg_stmt st_clear = {ST_ENTRIES_CLEAR, LANE_WRITE, "entries_clear", ALL("@agent_messages", "")};
static const struct pg_stmt st_seed_clear = {ST_SEED_CLEAR, LANE_WRITE, "seed_clear", ALL("@conversations", " + " PG_SEED_IDS)};
static const struct pg_stmt st_end = {ST_SESSION_END, LANE_WRITE, "session_end",
				      "DELETE FROM @agent_sessions s WHERE s.session_id = $1::text AND " PG_SEEN(2)};
/* Before the next: a record that came after st_touch; what lies under it is then seen. $1 alone. */
static const struct pg_stmt st_relock = {ST_ENTRY_RELOCK, LANE_WRITE, "entry_relock",
					 "SELECT 1 FROM @cenote_thread t WHERE t.thread = $1::text FOR UPDATE"};
/* The last statement of a clear without an append: the record goes when nobody has put it and nothing else lies under it. $3: op.
 */
static const struct pg_stmt st_cleared = {
	ST_ENTRIES_CLEARED, LANE_WRITE, "entries_cleared",
	"WITH b AS MATERIALIZED (SELECT t.id, t.version = 0 AND t.messages = 0 AND "
	"NOT " PG_FOREIGN("$1::text") " AS bare FROM @cenote_thread t WHERE t.thread = $1::text "
				      "AND " PG_SEEN(2) "), d AS (DELETE FROM @cenote_thread t "
							"USING b WHERE t.id = b.id AND b.bare), "
							"u AS (UPDATE @cenote_thread t SET"
							" once = NULL, once_at = NULL, once_ids "
							"= NULL FROM b WHERE t.id = b.id AND NOT "
							"b.bare), j AS (" PG_NOTE(3, "'{}'") ") SELECT 1"};

/* Where a session lies when there are both kinds of tables. */
static const struct pg_stmt st_route = {
	ST_SESSION_ROUTE, LANE_POINT, "session_route",
	"SELECT NOT EXISTS (SELECT FROM @?agent_sessions s WHERE s.session_id = $1::text) AND NOT EXISTS (SELECT FROM "
	"@?agent_messages m"
	" WHERE m.session_id = $1::text) AND EXISTS (SELECT FROM @?conversations c WHERE c.session_id = $1::text)"};
/* What an append did whose answer was lost. $1: op. */
static const struct pg_stmt st_look = {ST_ENTRY_LOOK, LANE_WRITE, "entry_look",
				       "SELECT j.ids, coalesce((SELECT t.once_ids FROM @cenote_thread t WHERE t.thread = "
				       "$2::text), '{}') FROM @cenote_journal j WHERE"
				       " j.op = $1::bigint AND j.step = 0"};

#endif
