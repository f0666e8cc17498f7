/* Connections: how one is opened, its prepared statements, and what SQLite's result codes mean for us.
 *
 * Invariants
 *  1. SQLite 3.7.0 to 3.51.2 can lose committed pages when two connections write or checkpoint one WAL at the same time (the
 * "WAL-reset" bug). Therefore only writer connections, of which there is one per file, on one thread, ever write or checkpoint:
 * every connection has wal_autocheckpoint = 0 and no checkpoint on close, readers are opened read-only, and conn_stmt refuses the
 *     writer's statements on them.
 *  2. A connection is used by one thread at a time (opened with NOMUTEX).
 *  3. Statements are prepared at first use and live as long as the connection. */
#include "store/sqlite/sq.h"

#include <assert.h>
#include <errno.h>

/* One range of the index, from ?1 (the prefix P, or where a walk goes on) to before "P/" (?3); what lies between P and "P." is not
 * below P. */
#define NS_BELOW "n.path >= ?1 AND n.path < ?3 AND (n.path = ?4 OR n.path >= ?2)"

/* A thread as listings show it; marks are those of the newest checkpoint of the namespace "". */
#define THREAD_COLUMNS                                                                                                             \
	"t.thread AS name, t.usr, t.messages, t.checkpoints, t.entries, t.created_us, t.updated_us, t.state_us, r.version, "       \
	"r.ttl_minutes, r.ttl_strategy, r.metadata, r.config, "                                                                    \
	"CASE WHEN t.checkpoints > 0 THEN (SELECT c.marks FROM cenote_scope s CROSS JOIN cenote_checkpoint c ON c.scope = s.id "   \
	"WHERE s.thread_id = t.id AND s.ns = '' AND c.body IS NOT NULL ORDER BY c.cid DESC LIMIT 1) END "                          \
	"FROM cenote_thread t LEFT JOIN cenote_record r ON r.thread_id = t.id"
#define CKPT_COLUMNS                                                                                                               \
	"c.id, c.cid, p.cid, c.body, c.scope, t.usr, c.parent FROM cenote_thread t CROSS JOIN cenote_scope s ON s.thread_id = "    \
	"t.id "                                                                                                                    \
	"AND s.ns = ?2 CROSS JOIN cenote_checkpoint c ON c.scope = s.id LEFT JOIN cenote_checkpoint p ON p.id = c.parent"

#define FACT_COLUMNS                                                                                                               \
	"f.key, f.value, f.recorded_from_us, f.recorded_to_us, f.fact, f.valid_from_us, f.valid_to_us, f.ended_us, "               \
	"f.expires_us, f.superseded_by, f.terms FROM cenote_fact f"

static const char *const sql[ST_MAX] = {
	[ST_BEGIN_READ] = "BEGIN",
	[ST_END] = "COMMIT",
	[ST_BEGIN_WRITE] = "BEGIN IMMEDIATE",
	[ST_ROLLBACK] = "ROLLBACK",
	[ST_SAVEPOINT] = "SAVEPOINT op",
	[ST_SAVEPOINT_UNDO] = "ROLLBACK TO op",
	[ST_SAVEPOINT_END] = "RELEASE op",
	[ST_META_SET] = "INSERT INTO cenote_meta(name, value) VALUES(?1, ?2) ON CONFLICT(name) DO UPDATE SET value = ?2",
	[ST_NS_ID] = "SELECT id FROM cenote_namespace WHERE path = ?1",
	[ST_NS_ADD] = "INSERT INTO cenote_namespace(id, path) VALUES(?1, ?2)",
	[ST_ITEM_FIND] = "SELECT id, version, created_us, updated_us, ttl_minutes FROM cenote_item WHERE ns = ?1 AND key = ?2",
	[ST_ITEM_ADD] =
		"INSERT INTO cenote_item(id, version, created_us, updated_us, ttl_minutes, expires_us, terms, value, ns, key, "
		"fact, valid_from_us, valid_to_us) VALUES(?1, 1, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
	[ST_ITEM_SET] = "UPDATE cenote_item SET version = ?2, created_us = ?3, updated_us = ?4, ttl_minutes = ?5, expires_us = ?6, "
			"terms = ?7, value = ?8, fact = ?11, valid_from_us = ?12, valid_to_us = ?13 WHERE id = ?1",
	[ST_ITEM_DEL] = "DELETE FROM cenote_item WHERE id = ?1",
	[ST_ITEM_TOUCH] = "UPDATE cenote_item SET expires_us = ?2 WHERE id = ?1",
	[ST_FACT_RETIRE] =
		"INSERT INTO cenote_fact(ns, recorded_from_us, recorded_to_us, fact, valid_from_us, valid_to_us, ended_us, "
		"expires_us, "
		"key, superseded_by, terms, value) SELECT ns, updated_us, max(?2, updated_us), fact IS NOT NULL, valid_from_us, "
		"valid_to_us, CASE WHEN valid_to_us IS NULL AND ?3 IS NOT NULL AND (valid_from_us IS NULL OR valid_from_us < ?3) "
		"THEN "
		"?3 END, expires_us, key, ifnull(?4, key), terms, value FROM cenote_item WHERE id = ?1 AND (?5 OR fact IS NOT "
		"NULL) ON "
		"CONFLICT DO NOTHING",
	[ST_FACT_FORGET] = "DELETE FROM cenote_fact WHERE ns = ?1 AND key = ?2",
	[ST_FACT_FORGET_OF] = "DELETE FROM cenote_fact WHERE (ns, key) = (SELECT ns, key FROM cenote_item WHERE id = ?1)",
	[ST_FACT_TRIM] = "DELETE FROM cenote_fact WHERE ns = ?1 AND key = ?2 AND recorded_from_us <= (SELECT recorded_from_us FROM "
			 "cenote_fact WHERE ns = ?1 AND key = ?2 ORDER BY recorded_from_us DESC LIMIT 1 OFFSET ?3)",
	[ST_FACT_EXPIRED] =
		"DELETE FROM cenote_fact WHERE rowid IN (SELECT rowid FROM cenote_fact WHERE expires_us > 0 AND expires_us "
		"< ?1 ORDER BY expires_us LIMIT ?2)",
	[ST_FACT_KEEP] =
		"INSERT INTO cenote_fact(ns, recorded_from_us, recorded_to_us, fact, valid_from_us, valid_to_us, ended_us, "
		"expires_us, key, superseded_by, terms, value) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) ON "
		"CONFLICT DO NOTHING",
	[ST_EXPIRED] = "SELECT i.id, n.id, n.path FROM cenote_item i JOIN cenote_namespace n ON n.id = i.ns "
		       "WHERE i.expires_us > 0 AND i.expires_us < ?1 ORDER BY i.expires_us LIMIT 1",
	[ST_EXPIRES_MIN] = "SELECT min(x) FROM (SELECT min(expires_us) AS x FROM cenote_item WHERE expires_us > 0 UNION ALL SELECT "
			   "min(expires_us) FROM cenote_fact WHERE expires_us > 0)",
	[ST_THREAD_FIND] = "SELECT id, usr, messages FROM cenote_thread WHERE thread = ?1",
	[ST_THREAD_ADD] =
		"INSERT INTO cenote_thread(id, thread, usr, created_us, updated_us, messages) VALUES(?1, ?2, ?3, ?4, ?4, 0)",
	[ST_THREAD_SET] = "UPDATE cenote_thread SET messages = ?2, updated_us = ?3 WHERE id = ?1",
	[ST_MESSAGE_FIND] = "SELECT id, pos FROM cenote_message WHERE thread_id = ?1 AND mid = ?2",
	[ST_MESSAGE_ADD] = "INSERT INTO cenote_message(id, thread_id, pos, time_us, mid, role, name, terms, content, metadata) "
			   "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
	[ST_MESSAGE_IDS] = "SELECT id FROM cenote_message WHERE thread_id = ?1",
	[ST_MESSAGE_DEL_THREAD] = "DELETE FROM cenote_message WHERE thread_id = ?1",
	[ST_SESSION_ADD] =
		"INSERT INTO cenote_thread(id, thread, usr, created_us, updated_us, messages) VALUES(?1, ?2, ?3, ?4, ?4, 0)",
	[ST_SESSION_SET] =
		"UPDATE cenote_thread SET updated_us = ?2, entries = ?3, once = iif(?8, once, ?4), once_us = ?5, once_id = ?6, "
		"once_n = ?7 WHERE id = ?1",
	[ST_SESSION_LESS] = "UPDATE cenote_thread SET updated_us = ?2, entries = entries - 1 WHERE thread = ?1",
	[ST_THREAD_BARE] = "SELECT 1 FROM cenote_thread WHERE id = ?1 AND messages = 0 AND checkpoints = 0 AND entries = 0 "
			   "AND NOT EXISTS (SELECT 1 FROM cenote_record WHERE thread_id = ?1) "
			   "AND NOT EXISTS (SELECT 1 FROM cenote_scope WHERE thread_id = ?1)",
	[ST_THREAD_DEL_BARE] = "DELETE FROM cenote_thread WHERE id = ?1",
	[ST_ENTRY_ADD] = "INSERT INTO cenote_entry(id, thread_id, created_us, data) VALUES(?1, ?2, ?3, ?4)",
	[ST_ENTRY_DEL] = "DELETE FROM cenote_entry WHERE id = ?1",
	[ST_ENTRY_DEL_THREAD] = "DELETE FROM cenote_entry WHERE thread_id = ?1",
	[ST_REGISTRY_FIND] = "SELECT t.id, t.usr, t.messages, t.checkpoints, t.entries, r.version FROM cenote_thread t "
			     "LEFT JOIN cenote_record r ON r.thread_id = t.id WHERE t.thread = ?1",
	[ST_THREAD_LESS] = "UPDATE cenote_thread SET messages = iif(?2, 0, messages), checkpoints = iif(?3, 0, checkpoints), "
			   "state_us = iif(?3, 0, state_us), entries = iif(?4, 0, entries), once = iif(?4, NULL, once), "
			   "updated_us = ?5 WHERE id = ?1",
	[ST_DROP_CHUNKS] = "DELETE FROM cenote_chunk WHERE id IN (SELECT k.id FROM cenote_scope s CROSS JOIN cenote_stream x ON "
			   "x.scope = s.id CROSS JOIN cenote_chunk k ON k.id BETWEEN x.id << 28 AND (x.id << 28) + 268435455 "
			   "WHERE s.thread_id = ?1)",
	[ST_DROP_VERSIONS] = "DELETE FROM cenote_version WHERE stream IN (SELECT x.id FROM cenote_scope s CROSS JOIN "
			     "cenote_stream x ON x.scope = s.id WHERE s.thread_id = ?1)",
	[ST_DROP_STREAMS] = "DELETE FROM cenote_stream WHERE scope IN (SELECT id FROM cenote_scope WHERE thread_id = ?1)",
	[ST_DROP_PENDING] = "DELETE FROM cenote_pending WHERE checkpoint IN (SELECT k.id FROM cenote_scope s CROSS JOIN "
			    "cenote_checkpoint k ON k.scope = s.id WHERE s.thread_id = ?1)",
	[ST_DROP_CKPTS] = "DELETE FROM cenote_checkpoint WHERE scope IN (SELECT id FROM cenote_scope WHERE thread_id = ?1)",
	[ST_DROP_SCOPES] = "DELETE FROM cenote_scope WHERE thread_id = ?1",
	[ST_THREAD_FEWER] =
		"UPDATE cenote_thread SET checkpoints = checkpoints - ?2, state_us = iif(checkpoints = ?2, 0, state_us) "
		"WHERE id = ?1",
	[ST_CKPT_DEL] = "DELETE FROM cenote_checkpoint WHERE id = ?1",
	[ST_CKPT_EMPTY] = "UPDATE cenote_checkpoint SET body = NULL, run = NULL, parent = 0, marks = 0 WHERE id = ?1",
	[ST_CKPT_ORPHANS] = "UPDATE cenote_checkpoint SET parent = 0 WHERE parent = ?1 AND parent > 0",
	[ST_CKPT_DEL_BARE] = "DELETE FROM cenote_checkpoint WHERE id = ?1 AND body IS NULL AND NOT EXISTS (SELECT 1 FROM "
			     "cenote_checkpoint k WHERE k.parent = ?1 AND k.parent > 0) AND NOT EXISTS (SELECT 1 FROM "
			     "cenote_pending WHERE checkpoint = ?1)",
	[ST_SCOPE_USED] = "SELECT 1 FROM cenote_checkpoint WHERE scope = ?1 LIMIT 1",
	[ST_CKPTS_IN] = "SELECT body FROM cenote_checkpoint WHERE scope = ?1 AND body IS NOT NULL",
	[ST_CKPTS_CIDS] = "SELECT id, cid FROM cenote_checkpoint WHERE scope = ?1",
	[ST_PENDING_DEL] = "DELETE FROM cenote_pending WHERE checkpoint = ?1",
	[ST_VERSION_DEL] = "DELETE FROM cenote_version WHERE stream = ?1 AND version = ?2",
	[ST_LISTS_OF] = "SELECT form, data FROM cenote_version WHERE stream = ?1 AND form > 0",
	[ST_CHUNK_DEL] = "DELETE FROM cenote_chunk WHERE id = ?1",
	[ST_STREAM_HEAD_AGAIN] = "UPDATE cenote_stream SET head = (SELECT v.version FROM cenote_version v WHERE v.stream = ?1 AND "
				 "v.form > 0 ORDER BY v.version DESC LIMIT 1) WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM "
				 "cenote_version v WHERE v.stream = ?1 AND v.version = head)",
	[ST_STREAM_DEL_EMPTY] = "DELETE FROM cenote_stream WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM cenote_version WHERE "
				"stream = ?1)",
	[ST_SCOPE_CHUNKS] = "DELETE FROM cenote_chunk WHERE id IN (SELECT k.id FROM cenote_stream x CROSS JOIN cenote_chunk k ON "
			    "k.id BETWEEN x.id << 28 AND (x.id << 28) + 268435455 WHERE x.scope = ?1)",
	[ST_SCOPE_VERSIONS] = "DELETE FROM cenote_version WHERE stream IN (SELECT id FROM cenote_stream WHERE scope = ?1)",
	[ST_SCOPE_STREAMS] = "DELETE FROM cenote_stream WHERE scope = ?1",
	[ST_SCOPE_DEL] = "DELETE FROM cenote_scope WHERE id = ?1",
	[ST_SCOPE_FIND] = "SELECT id FROM cenote_scope WHERE thread_id = ?1 AND ns = ?2",
	[ST_SCOPES_IN] = "SELECT id, ns FROM cenote_scope WHERE thread_id = ?1",
	[ST_COPY_END] = "SELECT t.id, t.usr, t.state_us, EXISTS (SELECT 1 FROM cenote_scope s WHERE s.thread_id = t.id) FROM "
			"cenote_thread t WHERE t.thread = ?1",
	[ST_COPY_SPAN_SCOPES] = "SELECT min(id), max(id) FROM cenote_scope WHERE thread_id = ?1",
	[ST_COPY_SPAN_CKPTS] = "SELECT min(c.id), max(c.id) FROM cenote_scope s CROSS JOIN cenote_checkpoint c ON c.scope = s.id "
			       "WHERE s.thread_id = ?1",
	[ST_COPY_SPAN_STREAMS] = "SELECT min(x.id), max(x.id) FROM cenote_scope s CROSS JOIN cenote_stream x ON x.scope = s.id "
				 "WHERE s.thread_id = ?1",
	[ST_COPY_SCOPES] = "INSERT INTO cenote_scope(id, thread_id, ns) SELECT id + ?3, ?2, ns FROM cenote_scope WHERE "
			   "thread_id = ?1",
	[ST_COPY_CKPTS] = "INSERT INTO cenote_checkpoint(id, scope, parent, marks, cid, run, body) SELECT c.id + ?4, "
			  "c.scope + ?3, iif(c.parent, c.parent + ?4, 0), c.marks, c.cid, c.run, c.body FROM cenote_scope s "
			  "CROSS JOIN cenote_checkpoint c ON c.scope = s.id WHERE s.thread_id = ?1",
	[ST_COPY_PENDING] = "INSERT INTO cenote_pending(checkpoint, task, data) SELECT p.checkpoint + ?4, p.task, p.data FROM "
			    "cenote_scope s CROSS JOIN cenote_checkpoint c ON c.scope = s.id CROSS JOIN cenote_pending p ON "
			    "p.checkpoint = c.id WHERE s.thread_id = ?1",
	[ST_COPY_STREAMS] = "INSERT INTO cenote_stream(id, scope, head, channel) SELECT x.id + ?5, x.scope + ?3, x.head, x.channel "
			    "FROM cenote_scope s CROSS JOIN cenote_stream x ON x.scope = s.id WHERE s.thread_id = ?1",
	[ST_COPY_VERSIONS] = "INSERT INTO cenote_version(stream, version, type, form, size, data) SELECT v.stream + ?5, v.version, "
			     "v.type, v.form, v.size, v.data FROM cenote_scope s CROSS JOIN cenote_stream x ON x.scope = s.id "
			     "CROSS JOIN cenote_version v ON v.stream = x.id WHERE s.thread_id = ?1",
	[ST_COPY_CHUNKS] = "INSERT INTO cenote_chunk(id, data) SELECT k.id + (?5 << 28), k.data FROM cenote_scope s CROSS JOIN "
			   "cenote_stream x ON x.scope = s.id CROSS JOIN cenote_chunk k ON k.id BETWEEN x.id << 28 AND "
			   "(x.id << 28) + 268435455 WHERE s.thread_id = ?1",
	[ST_COPY_COUNT] = "UPDATE cenote_thread SET checkpoints = (SELECT count(*) FROM cenote_scope s CROSS JOIN "
			  "cenote_checkpoint c ON c.scope = s.id WHERE s.thread_id = ?1 AND c.body IS NOT NULL), updated_us = ?2, "
			  "state_us = ?3 WHERE id = ?1",
	[ST_RECORD_SET] = "INSERT INTO cenote_record(thread_id, version, ttl_minutes, ttl_strategy, metadata, config) "
			  "VALUES(?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT(thread_id) DO UPDATE SET version = ?2, ttl_minutes = ?3, "
			  "ttl_strategy = ?4, metadata = ?5, config = ?6",
	[ST_RECORD_DEL] = "DELETE FROM cenote_record WHERE thread_id = ?1",
	[ST_THREAD_NOTE] = "UPDATE cenote_thread SET checkpoints = checkpoints + ?2, updated_us = ?3, "
			   "state_us = max(state_us, ?4) WHERE id = ?1",
	[ST_PLACE_FIND] = "SELECT t.id, t.usr, s.id FROM cenote_thread t LEFT JOIN cenote_scope s ON s.thread_id = t.id AND "
			  "s.ns = ?2 WHERE t.thread = ?1",
	[ST_SCOPE_ADD] = "INSERT INTO cenote_scope(id, thread_id, ns) VALUES(?1, ?2, ?3)",
	[ST_CKPT_FIND] = "SELECT id, body IS NOT NULL FROM cenote_checkpoint WHERE scope = ?1 AND cid = ?2",
	[ST_CKPT_ADD] = "INSERT INTO cenote_checkpoint(id, scope, parent, marks, cid, run, body) VALUES(?1, ?2, ?3, 0, ?4, ?5, ?6)",
	[ST_CKPT_SET] = "UPDATE cenote_checkpoint SET run = ?2, body = ?3, parent = ?4 WHERE id = ?1",
	[ST_CKPT_AGAIN] = "UPDATE cenote_checkpoint SET run = ?2, body = ?3 WHERE id = ?1",
	[ST_CKPT_MARK] = "UPDATE cenote_checkpoint SET marks = marks | ?2 WHERE id = ?1 AND marks & ?2 <> ?2",
	[ST_PENDING_FIND] = "SELECT data FROM cenote_pending WHERE checkpoint = ?1 AND task = ?2",
	[ST_PENDING_SET] = "INSERT OR REPLACE INTO cenote_pending(checkpoint, task, data) VALUES(?1, ?2, ?3)",
	[ST_STREAM_ADD] = "INSERT INTO cenote_stream(id, scope, head, channel) VALUES(?1, ?2, NULL, ?3)",
	[ST_STREAM_HEAD] = "UPDATE cenote_stream SET head = ?2 WHERE id = ?1",
	[ST_VERSION_ADD] = "INSERT INTO cenote_version(stream, version, type, form, size, data) VALUES(?1, ?2, ?3, ?4, ?5, ?6) "
			   "ON CONFLICT DO NOTHING",
	[ST_CHUNK_ADD] = "INSERT INTO cenote_chunk(id, data) VALUES(?1, ?2)",
	[ST_CHUNK_LAST] = "SELECT id FROM cenote_chunk WHERE id BETWEEN ?1 AND ?2 ORDER BY id DESC LIMIT 1",
	[ST_VALUE_SET] = "INSERT INTO cenote_value(name, value) VALUES(?1, ?2) ON CONFLICT(name) DO UPDATE SET value = ?2",
	[ST_VALUE_DEL] = "DELETE FROM cenote_value WHERE name = ?1",
	[ST_VALUE_OF_THREAD_DEL] =
		"DELETE FROM cenote_value WHERE name = '" META_OF_THREAD "' || (SELECT thread FROM cenote_thread WHERE id = ?1)",
	[ST_VALUE_OF_ENTRY_DEL] = "DELETE FROM cenote_value WHERE name = '" META_OF_ENTRY "' || ?1",
	[ST_VALUE_OF_ENTRIES_DEL] =
		"DELETE FROM cenote_value WHERE name IN (SELECT '" META_OF_ENTRY "' || id FROM cenote_entry WHERE thread_id = ?1)",
	[ST_KEY_SET] = "INSERT OR REPLACE INTO cenote_key(id, hash, name, tenant, usr, rights, created_us, expires_us, revoked_us, "
		       "used_us) "
		       "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
	[ST_MODEL_ADD] = "INSERT INTO cenote_model(id, name, n) VALUES(?1, ?2, 0)",
	[ST_MODEL_COUNT] = "UPDATE cenote_model SET n = n + ?2 WHERE id = ?1",
	[ST_MODEL_DEL] = "DELETE FROM cenote_model WHERE id = ?1",
	[ST_VECTOR_ITEM] = "SELECT n.path FROM cenote_item i JOIN cenote_namespace n ON n.id = i.ns "
			   "WHERE i.id = ?1 AND length(i.terms) > 0",
	[ST_VECTOR_MESSAGE] = "SELECT t.usr, t.thread FROM cenote_message m JOIN cenote_thread t ON t.id = m.thread_id "
			      "WHERE m.id = ?1 AND length(m.terms) > 0",
	[ST_VECTOR_ADD] = "INSERT INTO cenote_vector(id, mark, data) VALUES(?1, ?2, ?3) ON CONFLICT DO NOTHING",
	[ST_VECTOR_SET] = "UPDATE cenote_vector SET mark = ?2, data = ?3 WHERE id = ?1",
	[ST_VECTOR_DEL] = "DELETE FROM cenote_vector WHERE id = ?1 + ?2",
	[ST_VECTOR_DEL_THREAD] = "DELETE FROM cenote_vector WHERE id IN (SELECT ?1 + m.id FROM cenote_message m WHERE "
				 "m.thread_id = ?2)",
	[ST_VECTOR_GET] = "SELECT mark, data FROM cenote_vector WHERE id = ?1",
	[ST_VECTOR_DROP] = "DELETE FROM cenote_vector WHERE id IN (SELECT id FROM cenote_vector WHERE id >= ?1 AND id < ?2 "
			   "ORDER BY id LIMIT ?3)",

	[ST_ITEM_GET] = "SELECT " ITEM_COLUMNS " FROM cenote_item i "
			"WHERE i.ns = (SELECT id FROM cenote_namespace WHERE path = ?1) AND i.key = ?2",
	[ST_ITEM_BY_ID] =
		"SELECT " ITEM_COLUMNS ", n.path FROM cenote_item i JOIN cenote_namespace n ON n.id = i.ns WHERE i.id = ?1",
	[ST_ITEM_ROW] = "SELECT " ITEM_COLUMNS " FROM cenote_item i WHERE i.id = ?1",
	[ST_FACT_HISTORY] =
		"SELECT " FACT_COLUMNS " WHERE f.ns = (SELECT id FROM cenote_namespace WHERE path = ?1) AND f.key = ?2 AND "
		"f.recorded_from_us < ?3 AND (f.expires_us = 0 OR f.expires_us >= ?4) ORDER BY f.recorded_from_us DESC "
		"LIMIT ?5",
	[ST_FACT_KNOWN_AT] = "SELECT " FACT_COLUMNS " WHERE f.ns = ?1 AND f.recorded_from_us <= ?2 AND f.recorded_to_us > ?2 AND "
			     "(f.expires_us = 0 OR f.expires_us >= ?3) ORDER BY f.key, f.recorded_from_us",
	[ST_FACT_WALK] = "SELECT " FACT_COLUMNS " WHERE f.ns = ?1 AND (f.key, f.recorded_from_us) > (?2, ?3) ORDER BY f.key, "
			 "f.recorded_from_us",
	[ST_ITEM_NEWEST] = "SELECT updated_us, id FROM cenote_item INDEXED BY cenote_item_updated WHERE ns = ?1 "
			   "ORDER BY updated_us DESC, id DESC LIMIT ?2",
	[ST_ITEM_OLDER] = "SELECT updated_us, id FROM cenote_item INDEXED BY cenote_item_updated WHERE ns = ?1 "
			  "AND updated_us <= ?2 AND (updated_us, id) < (?2, ?3) ORDER BY updated_us DESC, id DESC LIMIT ?4",
	[ST_ITEM_TIES] = "SELECT id FROM cenote_item INDEXED BY cenote_item_updated WHERE ns = ?1 AND updated_us = ?2 ORDER BY key",
	[ST_ITEM_WALK] = "SELECT " ITEM_COLUMNS " FROM cenote_item i WHERE i.ns = ?1 ORDER BY i.key",
	[ST_ITEM_WALK_AFTER] = "SELECT " ITEM_COLUMNS " FROM cenote_item i WHERE i.ns = ?1 AND i.key > ?2 ORDER BY i.key",
	[ST_NS_ALL] = "SELECT n.id, n.path FROM cenote_namespace n WHERE n.path >= ?1 ORDER BY n.path",
	[ST_NS_BELOW] = "SELECT n.id, n.path FROM cenote_namespace n WHERE " NS_BELOW " ORDER BY n.path",
	[ST_NS_LIVE_ALL] = "SELECT n.path FROM cenote_namespace n WHERE EXISTS (SELECT 1 FROM cenote_item i WHERE i.ns = n.id) "
			   "ORDER BY n.path",
	[ST_NS_LIVE_BELOW] = "SELECT n.path FROM cenote_namespace n WHERE " NS_BELOW
			     " AND EXISTS (SELECT 1 FROM cenote_item i WHERE i.ns = n.id) ORDER BY n.path",
	[ST_DOC_ITEMS] = "SELECT id, terms FROM cenote_item WHERE ns = ?1",
	[ST_DOC_ITEM] = "SELECT i.terms, n.path FROM cenote_item i JOIN cenote_namespace n ON n.id = i.ns WHERE i.id = ?1",
	[ST_DOC_MESSAGES] = "SELECT m.id, m.terms, t.thread FROM cenote_thread t JOIN cenote_message m ON m.thread_id = t.id "
			    "WHERE t.usr = ?1 ORDER BY t.thread, m.pos",
	[ST_DOC_MESSAGE] =
		"SELECT m.terms, t.thread FROM cenote_message m JOIN cenote_thread t ON t.id = m.thread_id WHERE m.id = ?1",
	[ST_DOC_MESSAGES_ALL] = "SELECT m.id, m.terms, t.thread FROM cenote_thread t JOIN cenote_message m ON m.thread_id = t.id "
				"ORDER BY t.thread, m.pos",
	[ST_DOC_ITEMS_VECTOR] = "SELECT i.id, i.terms, v.data, v.mark FROM cenote_item i LEFT JOIN cenote_vector v ON v.id = ?2 + "
				"i.id WHERE i.ns = ?1",
	[ST_DOC_ITEM_VECTOR] = "SELECT i.terms, n.path, v.data, v.mark FROM cenote_item i JOIN cenote_namespace n ON n.id = i.ns "
			       "LEFT JOIN cenote_vector v ON v.id = ?2 + i.id WHERE i.id = ?1",
	[ST_DOC_MESSAGES_VECTOR] =
		"SELECT m.id, m.terms, t.thread, v.data, v.mark FROM cenote_thread t JOIN cenote_message m ON m.thread_id = t.id "
		"LEFT JOIN cenote_vector v ON v.id = ?2 + m.id WHERE t.usr = ?1 ORDER BY t.thread, m.pos",
	[ST_DOC_MESSAGES_ALL_VECTOR] =
		"SELECT m.id, m.terms, t.thread, v.data, v.mark FROM cenote_thread t JOIN cenote_message m ON m.thread_id = t.id "
		"LEFT JOIN cenote_vector v ON v.id = ?2 + m.id ORDER BY t.thread, m.pos",
	[ST_DOC_MESSAGE_VECTOR] = "SELECT m.terms, t.thread, v.data, v.mark FROM cenote_message m JOIN cenote_thread t ON "
				  "t.id = m.thread_id LEFT JOIN cenote_vector v ON v.id = ?2 + m.id WHERE m.id = ?1",
	[ST_DOC_WALK_ITEMS] =
		"SELECT i.id, i.terms, n.path, v.data, v.mark FROM cenote_item i CROSS JOIN cenote_namespace n ON n.id = i.ns "
		"LEFT JOIN cenote_vector v ON v.id = ?3 + i.id WHERE i.id > ?1 AND length(i.terms) > 0 ORDER BY i.id LIMIT ?2",
	[ST_DOC_WALK_MESSAGES] =
		"SELECT m.id, m.terms, t.thread, v.data, v.mark FROM cenote_message m CROSS JOIN cenote_thread t ON "
		"t.id = m.thread_id LEFT JOIN cenote_vector v ON v.id = ?3 + m.id WHERE m.id > ?1 AND length(m.terms) > 0 "
		"ORDER BY m.id LIMIT ?2",
	[ST_DOC_LACKING_ITEMS] = "SELECT i.id, i.terms, v.mark FROM cenote_item i LEFT JOIN cenote_vector v ON v.id = ?3 + i.id "
				 "WHERE i.id > ?1 AND length(i.terms) > 0 ORDER BY i.id LIMIT ?2",
	[ST_DOC_LACKING_MESSAGES] = "SELECT m.id, m.terms, v.mark FROM cenote_message m LEFT JOIN cenote_vector v ON v.id = ?3 + "
				    "m.id WHERE m.id > ?1 AND length(m.terms) > 0 ORDER BY m.id LIMIT ?2",
	[ST_DOC_LACKING_TEXTS] = "SELECT m.id, m.terms, v.mark FROM cenote_text m LEFT JOIN cenote_vector v ON v.id = ?3 + "
				 "m.id WHERE m.id > ?1 AND length(m.terms) > 0 ORDER BY m.id LIMIT ?2",
	[ST_MODEL_FIND] = "SELECT id FROM cenote_model WHERE name = ?1",
	[ST_MODELS] = "SELECT id, name, n FROM cenote_model ORDER BY id",
	[ST_THREAD_GET] = "SELECT id, usr FROM cenote_thread WHERE thread = ?1",
	[ST_MESSAGE_LIST] =
		"SELECT m.id, m.pos, m.time_us, m.mid, m.role, m.name, m.content, m.metadata, m.terms FROM cenote_message m "
		"WHERE m.thread_id = ?1 AND m.pos >= ?2 ORDER BY m.pos LIMIT ?3",
	[ST_MESSAGE_BY_ID] =
		"SELECT m.id, m.pos, m.time_us, m.mid, m.role, m.name, m.content, m.metadata, m.terms, t.thread, t.usr "
		"FROM cenote_message m JOIN cenote_thread t ON t.id = m.thread_id WHERE m.id = ?1",
	[ST_THREADS] = "SELECT " THREAD_COLUMNS " WHERE t.thread > ?1 ORDER BY t.thread LIMIT ?2",
	[ST_THREADS_OF] = "SELECT " THREAD_COLUMNS " WHERE t.usr = ?3 AND t.thread > ?1 ORDER BY t.thread LIMIT ?2",
	[ST_THREADS_SEEN] =
		"SELECT * FROM (SELECT " THREAD_COLUMNS " WHERE t.usr = ?3 AND t.thread > ?1 ORDER BY t.thread LIMIT ?2) "
		"UNION ALL SELECT * FROM (SELECT " THREAD_COLUMNS " WHERE t.usr = '' AND t.thread > ?1 ORDER BY "
		"t.thread LIMIT ?2) ORDER BY 1 LIMIT ?2",
	[ST_THREAD_ROW] = "SELECT " THREAD_COLUMNS " WHERE t.thread = ?1",
	[ST_CKPT_LATEST] = "SELECT " CKPT_COLUMNS " WHERE t.thread = ?1 AND c.body IS NOT NULL ORDER BY c.cid DESC LIMIT 1",
	[ST_CKPT_BY_CID] = "SELECT " CKPT_COLUMNS " WHERE t.thread = ?1 AND c.cid = ?3 AND c.body IS NOT NULL",
	[ST_CKPT_ROW] = "SELECT c.parent, p.cid, c.body FROM cenote_checkpoint c LEFT JOIN cenote_checkpoint p ON p.id = c.parent "
			"WHERE c.id = ?1",
	[ST_CKPT_BODY_OF] = "SELECT body, parent FROM cenote_checkpoint WHERE id = ?1",
	[ST_CKPTS_NAMED] = "SELECT c.id, t.usr FROM cenote_thread t CROSS JOIN cenote_scope s ON s.thread_id = t.id CROSS JOIN "
			   "cenote_checkpoint c ON c.scope = s.id AND c.cid = ?2 WHERE t.thread = ?1",
	[ST_CHUNK_SIZE] = "SELECT length(data) FROM cenote_chunk WHERE id = ?1",
	[ST_STORAGE_CKPTS] = "SELECT count(*), ifnull(sum(length(c.body) + length(c.cid)), 0) FROM cenote_scope s CROSS JOIN "
			     "cenote_checkpoint c ON c.scope = s.id WHERE s.thread_id = ?1 AND c.body IS NOT NULL",
	[ST_STORAGE_WRITES] = "SELECT p.data FROM cenote_scope s CROSS JOIN cenote_checkpoint c ON c.scope = s.id CROSS JOIN "
			      "cenote_pending p ON p.checkpoint = c.id WHERE s.thread_id = ?1",
	[ST_STORAGE_CHANNELS] =
		"SELECT x.channel, sum((SELECT count(*) FROM cenote_version v WHERE v.stream = x.id)), sum((SELECT "
		"ifnull(sum(length(v.data) + length(v.version)), 0) FROM cenote_version v WHERE v.stream = x.id) + (SELECT "
		"ifnull(sum(length(k.data)), 0) FROM cenote_chunk k WHERE k.id BETWEEN x.id << 28 AND (x.id << 28) + 268435455)) "
		"FROM cenote_scope s CROSS JOIN cenote_stream x ON x.scope = s.id WHERE s.thread_id = ?1 GROUP BY x.channel",
	[ST_CKPT_OF_SCOPE] = "SELECT id, cid FROM cenote_checkpoint WHERE scope = ?1 AND cid <= ?2 AND body IS NOT NULL "
			     "ORDER BY cid DESC",
	[ST_CKPT_OF_ALL] = "SELECT c.id, c.cid, c.scope, s.ns, t.thread, t.usr FROM cenote_checkpoint c INDEXED BY "
			   "cenote_checkpoint_all CROSS JOIN cenote_scope s ON s.id = c.scope CROSS JOIN cenote_thread t ON "
			   "t.id = s.thread_id WHERE c.cid <= ?1 AND c.body IS NOT NULL ORDER BY c.cid DESC, t.thread, s.ns",
	[ST_CKPT_OF_RUN] = "SELECT c.cid, s.ns, t.thread, t.usr FROM cenote_checkpoint c JOIN cenote_scope s ON s.id = c.scope "
			   "JOIN cenote_thread t ON t.id = s.thread_id WHERE c.run = ?1 AND c.body IS NOT NULL",
	[ST_SCOPES] = "SELECT s.id, s.ns, t.usr FROM cenote_thread t CROSS JOIN cenote_scope s ON s.thread_id = t.id "
		      "WHERE t.thread = ?1 ORDER BY s.ns",
	[ST_PENDING_OF] = "SELECT task, data FROM cenote_pending WHERE checkpoint = ?1",
	[ST_STREAM_FIND] = "SELECT id, head FROM cenote_stream WHERE scope = ?1 AND channel = ?2",
	[ST_STREAM_GUESS] = "SELECT x.id FROM cenote_thread t JOIN cenote_scope s ON s.thread_id = t.id JOIN cenote_stream x ON "
			    "x.scope = s.id WHERE t.thread = ?1 AND s.ns = ?2 AND x.channel = ?3",
	[ST_TEXT_ADD] = "INSERT INTO cenote_text(id, thread_id, source, ref, pos, time_us, mark, mid, role, name, terms, content) "
			"VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
	[ST_TEXT_SET] =
		"UPDATE cenote_text SET ref = ?4, time_us = ?6, mark = ?7, role = ?9, name = ?10, terms = ?11, content = ?12 "
		"WHERE id = ?1 AND thread_id = ?2 AND source = ?3",
	[ST_TEXT_DEL] = "DELETE FROM cenote_text WHERE id = ?1",
	[ST_TEXT_OWNER] = "SELECT id, usr FROM cenote_thread WHERE thread = ?1",
	[ST_TEXT_PLACE] = "SELECT thread, usr FROM cenote_thread WHERE id = ?1",
	[ST_TEXT_IDS] =
		"SELECT id FROM cenote_text WHERE thread_id = ?1 AND (?2 = 0 OR source = ?2) AND (?3 = 0 OR ref = ?3) LIMIT 256",
	[ST_TEXT_SEEN_SET] = "INSERT OR REPLACE INTO cenote_text_seen(thread_id, seen) VALUES(?1, ?2)",
	[ST_TEXT_SEEN_DEL] = "DELETE FROM cenote_text_seen WHERE thread_id = ?1",
	[ST_VECTOR_TEXT] = "SELECT t.usr, t.thread FROM cenote_text m JOIN cenote_thread t ON t.id = m.thread_id "
			   "WHERE m.id = ?1 AND length(m.terms) > 0",
	[ST_TEXT_SEEN] = "SELECT x.seen FROM cenote_thread t JOIN cenote_text_seen x ON x.thread_id = t.id WHERE t.thread = ?1",
	[ST_TEXTS_SEEN] = "SELECT t.thread, x.seen FROM cenote_thread t CROSS JOIN cenote_text_seen x ON x.thread_id = t.id "
			  "WHERE t.thread > ?1 ORDER BY t.thread LIMIT ?2",
	[ST_TEXT_KNOWN] =
		"SELECT m.id, m.ref, m.pos, m.mid, m.mark FROM cenote_thread t CROSS JOIN cenote_text m ON m.thread_id = t.id "
		"WHERE t.thread = ?1 AND m.source = ?2 ORDER BY m.id",
	[ST_TEXT_BY_ID] = "SELECT m.id, m.pos, m.time_us, m.mid, m.role, m.name, m.content, '', m.terms, t.thread, t.usr "
			  "FROM cenote_text m JOIN cenote_thread t ON t.id = m.thread_id WHERE m.id = ?1",
	/* Without a model ?2 is an id that no vector has. */
	[ST_DOC_TEXTS] =
		"SELECT m.id, m.terms, t.thread, v.data, v.mark FROM cenote_thread t JOIN cenote_text m ON m.thread_id = t.id "
		"LEFT JOIN cenote_vector v ON v.id = ?2 + m.id WHERE t.usr = ?1",
	[ST_DOC_TEXTS_ALL] =
		"SELECT m.id, m.terms, t.thread, v.data, v.mark FROM cenote_thread t JOIN cenote_text m ON m.thread_id = t.id "
		"LEFT JOIN cenote_vector v ON v.id = ?2 + m.id",
	[ST_DOC_TEXT] = "SELECT m.terms, t.thread, v.data, v.mark FROM cenote_text m JOIN cenote_thread t ON t.id = m.thread_id "
			"LEFT JOIN cenote_vector v ON v.id = ?2 + m.id WHERE m.id = ?1",
	[ST_DOC_WALK_TEXTS] =
		"SELECT m.id, m.terms, t.thread, v.data, v.mark FROM cenote_text m CROSS JOIN cenote_thread t ON t.id = "
		"m.thread_id "
		"LEFT JOIN cenote_vector v ON v.id = ?3 + m.id WHERE m.id > ?1 AND length(m.terms) > 0 ORDER BY m.id LIMIT ?2",
	[ST_VERSION_GET] = "SELECT type, form, size, data FROM cenote_version WHERE stream = ?1 AND version = ?2",
	[ST_VALUE_OF] = "SELECT x.id, v.type, v.form, v.size, v.data FROM cenote_stream x CROSS JOIN cenote_version v ON "
			"v.stream = x.id AND v.version = ?3 WHERE x.scope = ?1 AND x.channel = ?2",
	[ST_CHUNKS] = "SELECT id, data FROM cenote_chunk WHERE id BETWEEN ?1 AND ?2",
	[ST_SESSION_FIND] = "SELECT id, usr, entries, once, once_us, once_id, once_n FROM cenote_thread WHERE thread = ?1",
	[ST_ENTRIES_UP] = "SELECT id, created_us, data FROM cenote_entry WHERE thread_id = ?1 AND id > ?2 ORDER BY id LIMIT ?3",
	[ST_ENTRIES_DOWN] =
		"SELECT id, created_us, data FROM cenote_entry WHERE thread_id = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3",
	[ST_ENTRY_GET] = "SELECT id, created_us, data FROM cenote_entry WHERE id = ?2 AND thread_id = ?1",
	[ST_VALUE_GET] = "SELECT value FROM cenote_value WHERE name = ?1",
	[ST_VALUE_WALK] = "SELECT name, value FROM cenote_value WHERE name > ?1 AND name < ?2 ORDER BY name LIMIT ?3",
	[ST_KEY_GET] = "SELECT id, hash, name, tenant, usr, rights, created_us, expires_us, revoked_us, used_us FROM cenote_key "
		       "WHERE id = ?1",
	[ST_KEY_LIST] = "SELECT id, hash, name, tenant, usr, rights, created_us, expires_us, revoked_us, used_us FROM cenote_key "
			"ORDER BY created_us, id",
	[ST_STATS] =
		"SELECT (SELECT count(*) FROM cenote_item), (SELECT count(*) FROM cenote_namespace n WHERE EXISTS "
		"(SELECT 1 FROM cenote_item i WHERE i.ns = n.id)), (SELECT count(*) FROM cenote_thread), "
		"(SELECT count(*) FROM cenote_message), (SELECT count(*) FROM cenote_item WHERE expires_us > 0), "
		"(SELECT ifnull(sum(checkpoints), 0) FROM cenote_thread), (SELECT ifnull(sum(entries), 0) FROM cenote_thread), "
		"(SELECT count(*) FROM cenote_text)",
};

enum err conn_error_at(const struct tenant *t, sqlite3 *db, int rc)
{
	int os = db ? sqlite3_system_errno(db) : 0;
	const char *what = sqlite3_errstr(rc);
	switch (rc & 0xff) {
	case SQLITE_FULL:
		return err_kind(E_LIMIT, ERR_QUOTA, "the disk is full: %s could not be written; free some space and try again",
				t->base);
	case SQLITE_IOERR:
		if (os == ENOSPC || os == EDQUOT)
			return err_kind(E_LIMIT, ERR_QUOTA,
					"the disk is full: %s could not be written; free some space and try again", t->base);
		return err_set(E_IO, "disk error in %s (%s, code %d)", t->base, what, rc);
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return err_set(E_CORRUPT,
			       "the store file %s is damaged (%s); restore it from a backup, or move it away to start anew",
			       t->base, what);
	case SQLITE_READONLY:
	case SQLITE_PERM:
	case SQLITE_CANTOPEN:
		return err_set(E_IO,
			       "the store file %s cannot be opened or written (%s, code %d); check permissions and the file system",
			       t->base, what, rc);
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return err_set(E_BUSY, "the store file %s is locked; is another program using it?", t->base);
	case SQLITE_NOMEM:
		return err_set(E_LIMIT, "out of memory in the store");
	case SQLITE_TOOBIG:
		return err_kind(E_LIMIT, ERR_SIZE, "a value is too large for the store");
	case SQLITE_INTERRUPT:
		return err_set(E_TIMEOUT, "the deadline passed while reading the store");
	default:
		return err_set(E_INTERNAL, "SQLite: %s (code %d) in %s", db ? sqlite3_errmsg(db) : what, rc, t->base);
	}
}

enum err conn_error(struct conn *c, int rc)
{
	c->failed = true;
	return conn_error_at(c->t, c->db, rc);
}

static int on_progress(void *arg)
{
	const struct conn *c = arg;
	return c->deadline != NEVER && clock_mono_ns() >= c->deadline;
}

static enum err configure(struct conn *c, enum conn_mode mode)
{
	struct sq *s = c->t->s;
	int on;
	char text[160];
	sqlite3_extended_result_codes(c->db, 1);
	sqlite3_db_config(c->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, &on);
	if (!on)
		return err_set(E_INTERNAL, "this SQLite cannot be kept from checkpointing on close");
	sqlite3_db_config(c->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	sqlite3_db_config(c->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
	sqlite3_wal_autocheckpoint(c->db, 0);
	if (mode == CONN_CREATE) {
		TRY(conn_exec(c, "PRAGMA page_size = 4096"));
		TRY(conn_exec(c, "PRAGMA auto_vacuum = INCREMENTAL"));
	}
	size_t cache = s->cache_bytes ? s->cache_bytes : (mode == CONN_READ ? 2u << 20 : 16u << 20);
	snprintf(text, sizeof text, "PRAGMA cache_size = -%zu", cache / 1024 ? cache / 1024 : 1);
	TRY(conn_exec(c, text));
	TRY(conn_exec(c, "PRAGMA temp_store = MEMORY"));
	if (mode == CONN_READ) {
		sqlite3_busy_timeout(c->db, 500); /* only while another connection recovers the WAL */
		sqlite3_progress_handler(c->db, 2000, on_progress, c);
		return conn_exec(c, "PRAGMA query_only = 1");
	}
	return conn_exec(c, s->durable || mode == CONN_CREATE ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL");
}

enum err conn_open(struct tenant *t, const char *path, enum conn_mode mode, struct conn **out)
{
	static const int flags[] = {
		[CONN_READ] = SQLITE_OPEN_READONLY,
		[CONN_WRITE] = SQLITE_OPEN_READWRITE,
		[CONN_CREATE] = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
	};
	struct conn *c = calloc(1, sizeof *c);
	enum err e;
	*out = NULL;
	if (!c)
		return err_set(E_LIMIT, "out of memory in the store");
	c->t = t;
	c->writer = mode != CONN_READ;
	c->deadline = NEVER;
	const char *vfs = t->s->vfs;
	if (mode == CONN_WRITE && t->s->durable) /* without FULL nothing would say when the log has to be in the file */
		CHECK(walbatch_vfs(vfs, &vfs));
	int rc = sqlite3_open_v2(path, &c->db, flags[mode] | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE, vfs);
	e = rc == SQLITE_OK ? configure(c, mode) : conn_error(c, rc);
out:
	if (e != OK) {
		conn_close(c);
		return e;
	}
	*out = c;
	return OK;
}

void conn_close(struct conn *c)
{
	if (!c)
		return;
	for (unsigned i = 0; i < ST_MAX; i++)
		sqlite3_finalize(c->st[i]);
	int rc = sqlite3_close(c->db);
	assert(rc == SQLITE_OK);
	(void)rc;
	free(c);
}

sqlite3_stmt *conn_stmt(struct conn *c, enum stmt id, enum err *e)
{
	*e = OK;
	if (id > ST_END && id < ST_ITEM_GET && !c->writer) { /* invariant 1 */
		assert(!"a writer's statement on a reader");
		*e = err_set(E_INTERNAL, "a read connection was asked to write");
		return NULL;
	}
	sqlite3_stmt *st = c->st[id];
	if (st)
		return st;
	int rc = sqlite3_prepare_v3(c->db, sql[id], -1, SQLITE_PREPARE_PERSISTENT, &c->st[id], NULL);
	if (rc != SQLITE_OK) {
		*e = conn_error(c, rc);
		return NULL;
	}
	return c->st[id];
}

enum err conn_step(struct conn *c, sqlite3_stmt *st, bool *row)
{
	int rc = sqlite3_step(st);
	*row = rc == SQLITE_ROW;
	if (*row)
		return OK;
	enum err e = rc == SQLITE_DONE ? OK : conn_error(c, rc);
	sqlite3_reset(st);
	return e;
}

enum err conn_run(struct conn *c, enum stmt id)
{
	enum err e;
	bool row;
	sqlite3_stmt *st = conn_stmt(c, id, &e);
	if (!st)
		return e;
	e = conn_step(c, st, &row);
	if (row)
		sqlite3_reset(st);
	return e;
}

enum err conn_exec(struct conn *c, const char *text)
{
	int rc = sqlite3_exec(c->db, text, NULL, NULL, NULL);
	return rc == SQLITE_OK ? OK : conn_error(c, rc);
}

enum err conn_int(struct conn *c, const char *text, int64_t *out)
{
	sqlite3_stmt *st = NULL;
	*out = 0;
	int rc = sqlite3_prepare_v2(c->db, text, -1, &st, NULL);
	if (rc == SQLITE_OK && (rc = sqlite3_step(st)) == SQLITE_ROW) {
		*out = sqlite3_column_int64(st, 0);
		rc = SQLITE_DONE;
	}
	enum err e = rc == SQLITE_DONE ? OK : conn_error(c, rc);
	sqlite3_finalize(st);
	return e;
}
