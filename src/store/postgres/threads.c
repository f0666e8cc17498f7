/* Threads: names under which messages, checkpoints and entries lie, ours and those of other programs; their records.
 *
 * Invariants
 *  1. A row of cenote_thread says whose the thread is. What has no row - other programs wrote it - is nobody's.
 *  2. A listing is in the order of bytes. Names of others are looked for only as far as the page of our own names reaches, by
 *     jumping from name to name in their indexes, so that a thread with many rows costs as much as one with few. Where an index has
 *     another order (a database whose collation is not that of bytes), all names are gone through for every page.
 *  3. Locks are taken as in entries.c: the row of cenote_thread first, then that of agent_sessions. */
#include "core/checkpoint.h"
#include "core/text_store.h"
#include "store/postgres/compact.h"
#include "store/postgres/sessions.h"

#define PAGE_ROWS 1000

static enum err not_found(void)
{
	return err_set(E_NOT_FOUND, "there is no such thread");
}

/* ---------------------------------------------------------------- what is known of a thread */

/* Of the default collation: compared with a column, the column's own counts, and so its index. */
#define NAME "n.name"
/* The namespace "" in the compact layout. */
#define SCOPE "(SELECT zn.id FROM @?cenote_checkpoint_ns zn WHERE zn.thread = t.id AND zn.ns = '')"
#define HEAD(order)                                                                                                                \
	"coalesce((SELECT hx.checkpoint_id FROM @?checkpoints hx WHERE hx.thread_id = " NAME " AND hx.checkpoint_ns = '' ORDER BY" \
	" hx.checkpoint_id " order " LIMIT 1), (SELECT zc.cid FROM @?cenote_checkpoint zc WHERE zc.scope = " SCOPE                 \
	" ORDER BY zc.cid " order " LIMIT 1) COLLATE \"default\")"
#define PENDING(channel, mark)                                                                                                     \
	"(EXISTS (SELECT FROM @?checkpoint_writes hw WHERE hw.thread_id = " NAME " AND hw.checkpoint_ns = '' AND hw.checkpoint_id" \
	" = h.head AND hw.channel = '" channel "') OR EXISTS (SELECT FROM @?cenote_pending zp WHERE zp.scope = " SCOPE             \
	" AND zp.cid = h.head AND zp.marks & " mark " <> 0))"
/* Of the names n. */
#define INFO                                                                                                                       \
	"SELECT n.name, coalesce(t.usr::text, ''), coalesce(t.messages, 0), (SELECT count(*) FROM @?checkpoints x WHERE"           \
	" x.thread_id = " NAME                                                                                                     \
	") + (SELECT count(*) FROM @?cenote_checkpoint_ns zn JOIN @?cenote_checkpoint zc ON zc.scope = zn.id"                      \
	" WHERE zn.thread = t.id), (SELECT count(*) FROM @?agent_messages x WHERE x.session_id = " NAME                            \
	") + (SELECT count(*) FROM"                                                                                                \
	" @?conversations x WHERE x.session_id = " NAME                                                                            \
	"), t.created_at, t.updated_at, s.created_at, s.updated_at, c.first, c.last, " HEAD(                                       \
		"ASC") ", h.head, coalesce(t.metadata, ''), coalesce(t.config, ''), coalesce(t.ttl_minutes, 0::float8), "          \
		       "coalesce(t.ttl_strategy,"                                                                                  \
		       " 0), coalesce(t.version, 0), " PENDING("__interrupt__", "1") ", " PENDING(                                 \
			       "__error__",                                                                                        \
			       "2") " FROM n LEFT JOIN @cenote_thread t ON t.thread = n.name LEFT JOIN LATERAL (SELECT"            \
				    " x.created_at::timestamptz AS created_at, x.updated_at::timestamptz AS updated_at "           \
				    "FROM"                                                                                         \
				    " @?agent_sessions x WHERE x.session_id = " NAME                                               \
				    " LIMIT 1) s ON true LEFT JOIN LATERAL (SELECT min(x.\"timestamp\")::timestamptz AS "          \
				    "first,"                                                                                       \
				    " max(x.\"timestamp\")::timestamptz AS last FROM @?conversations x WHERE "                     \
				    "x.session_id = " NAME                                                                         \
				    ") c ON true LEFT JOIN LATERAL (SELECT " HEAD("DESC") " AS head) h ON true"
enum {
	I_NAME,
	I_USER,
	I_MESSAGES,
	I_CHECKPOINTS,
	I_ENTRIES,
	I_CREATED,
	I_UPDATED,
	I_SESSION_FROM,
	I_SESSION_TO,
	I_SEED_FROM,
	I_SEED_TO,
	I_FIRST,
	I_HEAD,
	I_METADATA,
	I_CONFIG,
	I_TTL,
	I_STRATEGY,
	I_VERSION,
	I_INTERRUPTED,
	I_ERROR
};

/* $1: name, $2: owners. */
static const struct pg_stmt st_get = {ST_THREAD_GET, LANE_POINT, "thread_get",
				      "WITH n AS (SELECT $1::text AS name, " PG_OWNER " AS usr) " INFO
				      " WHERE n.usr IS NOT NULL AND ($2::text[] IS NULL OR n.usr = ANY($2::text[]))"};

/* Listing. $1: names behind this; $2: how many; $3: owners. p: names that have a record; hi: how far they reach. */
#define OURS                                                                                                                       \
	"p AS MATERIALIZED (SELECT t.thread::text AS name FROM @cenote_thread t WHERE t.thread > $1::text AND ($3::text[] IS NULL" \
	" OR t.usr = ANY($3::text[])) ORDER BY t.thread LIMIT $2::bigint), hi AS MATERIALIZED (SELECT CASE WHEN count(*) ="        \
	" $2::bigint THEN max(name COLLATE \"C\") ELSE repeat(chr(1114111), 100) END AS hi FROM p)"
#define HI "(SELECT hi COLLATE \"default\" FROM hi)"
/* A name that has no record, for readers who may see what is nobody's. IS TRUE keeps the planner from making a join of it, which
 * would take the names in another order than the recursion finds them, and the limit would then leave out some in between. */
#define NOBODYS(name)                                                                                                              \
	"($3::text[] IS NULL OR '' = ANY($3::text[])) AND (NOT EXISTS (SELECT FROM @cenote_thread t WHERE t.thread = " name        \
	"::text COLLATE \"C\")) IS TRUE"
/* All names of a column, one by one; from, to: conditions on x. */
#define JUMP(cte, table, col, from, to)                                                                                            \
	cte "(name) AS ((SELECT x." col " FROM @?" table " x WHERE " from " AND " to " ORDER BY x." col                            \
	    " LIMIT 1) UNION ALL SELECT (SELECT x." col " FROM @?" table " x WHERE x." col " > " cte ".name AND " to               \
	    " ORDER BY x." col " LIMIT 1) FROM " cte " WHERE " cte ".name IS NOT NULL)"
/* Columns of several tables, which may have several collations. */
#define C_NAME "name::text COLLATE \"C\" AS name"
#define LIST(sessions, cp_from, cp_to, seed_from, seed_to, rest, order)                                                            \
	"WITH RECURSIVE " OURS ", a AS (" sessions "), " JUMP("k", "checkpoints", "thread_id", cp_from, cp_to) ", " JUMP(          \
		"v", "conversations", "session_id", seed_from,                                                                     \
		seed_to) ", n AS MATERIALIZED (SELECT u.name COLLATE \"default\" AS name FROM (SELECT " C_NAME                     \
			 " FROM p UNION SELECT " C_NAME " FROM a UNION (SELECT " C_NAME " FROM k WHERE name IS NOT NULL AND " rest \
			 " AND " NOBODYS("k.name") order                                                                           \
		" LIMIT $2::bigint) UNION (SELECT " C_NAME " FROM v WHERE name IS NOT NULL AND " rest " AND " NOBODYS("v.name")    \
			order " LIMIT $2::bigint)) u ORDER BY u.name LIMIT $2::bigint) " INFO " ORDER BY n.name COLLATE \"C\""
/* Where the indexes have the order of bytes. */
#define LIST_BYTES                                                                                                                 \
	LIST("SELECT s.session_id AS name FROM @?agent_sessions s WHERE s.session_id > $1::text AND s.session_id <= " HI           \
	     " AND " NOBODYS("s.session_id") " ORDER BY s.session_id LIMIT $2::bigint",                                            \
	     "x.thread_id > $1::text", "x.thread_id <= " HI, "x.session_id > $1::text", "x.session_id <= " HI, "true", "")
/* The recursion goes through all of them. */
#define WITHIN(name) name "::text COLLATE \"C\" > $1::text AND " name "::text COLLATE \"C\" <= (SELECT hi FROM hi)"
#define LIST_ALL                                                                                                                   \
	LIST("SELECT s.session_id AS name FROM @?agent_sessions s WHERE " WITHIN("s.session_id") " AND " NOBODYS(                  \
		     "s.session_id") " ORDER BY s.session_id::text COLLATE \"C\" LIMIT $2::bigint",                                \
	     "true", "true", "true", "true", WITHIN("name"), " ORDER BY name::text COLLATE \"C\"")

static const struct pg_stmt st_list = {ST_THREADS, LANE_SEARCH, "threads", LIST_BYTES};
static const struct pg_stmt st_list_all = {ST_THREADS_ALL, LANE_SEARCH, "threads_all", LIST_ALL};

/* Times are those of whatever is there. */
static void span(struct thread_info *t, int64_t from, int64_t to)
{
	if (from > 0 && from < INT64_MAX && (t->created_us == 0 || from < t->created_us))
		t->created_us = from;
	if (to > t->updated_us && to < INT64_MAX)
		t->updated_us = to;
}

static void info(const PGresult *r, int row, struct thread_info *t)
{
	*t = (struct thread_info){
		.thread = pg_get_str(r, row, I_NAME),
		.user = pg_get_str(r, row, I_USER),
		.messages = pg_get_i64(r, row, I_MESSAGES),
		.checkpoints = pg_get_i64(r, row, I_CHECKPOINTS),
		.entries = pg_get_i64(r, row, I_ENTRIES),
		.state_us = ckpt_id_time(pg_get_str(r, row, I_HEAD)),
		.metadata = pg_get_str(r, row, I_METADATA),
		.config = pg_get_str(r, row, I_CONFIG),
		.ttl_minutes = pg_get_f64(r, row, I_TTL),
		.ttl_strategy = (int)pg_get_i64(r, row, I_STRATEGY),
		.version = pg_get_i64(r, row, I_VERSION),
		.interrupted = pg_get_bool(r, row, I_INTERRUPTED),
		.error = pg_get_bool(r, row, I_ERROR),
	};
	span(t, pg_get_time(r, row, I_CREATED), pg_get_time(r, row, I_UPDATED));
	span(t, pg_get_time(r, row, I_SESSION_FROM), pg_get_time(r, row, I_SESSION_TO));
	span(t, pg_get_time(r, row, I_SEED_FROM), pg_get_time(r, row, I_SEED_TO));
	span(t, ckpt_id_time(pg_get_str(r, row, I_FIRST)), t->state_us);
}

static enum err keep(struct arena *a, struct thread_info *t)
{
	struct str *const all[] = {&t->thread, &t->user, &t->metadata, &t->config};
	for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
		*all[i] = arena_str(a, *all[i]);
		if (!all[i]->p)
			return E_NOMEM;
	}
	return OK;
}

static enum err pg_thread_get(struct store *s, struct arena *a, const struct principal *who, struct str thread,
			      struct thread_info *out, bool *found)
{
	struct pg_tenant *t;
	struct pg_params p;
	PGresult *r;
	*found = false;
	TRY(pg_tenant_get(pg_of(s), who, RIGHT_READ, false, &t));
	if (!t || pg_has_nul(thread))
		return OK;
	pg_params_init(&p);
	pg_text(&p, thread);
	pg_owners(&p, who);
	TRY(pg_query(t, &st_get, &p, &r));
	*found = PQntuples(r) > 0;
	if (*found)
		info(r, 0, out);
	enum err e = *found ? keep(a, out) : OK;
	PQclear(r);
	return e;
}

/* ---------------------------------------------------------------- listing */

struct listing {
	struct pg_tenant *t;
	const struct principal *who;
	const struct str *user;
	thread_fn fn;
	void *ctx;
	PGresult *last; /* has the name where the next page begins */
	bool more;
};

static enum err page(struct listing *x, struct str after, size_t want)
{
	struct pg_params p;
	PGresult *r;
	pg_params_init(&p);
	pg_text(&p, after);
	pg_i64(&p, (int64_t)want);
	if (x->user) {
		pg_array(&p, PG_TEXTS, 1);
		pg_el_str(&p, *x->user);
		pg_array_end(&p);
	} else {
		pg_owners(&p, x->who);
	}
	enum err e = pg_query(x->t, x->t->has & PG_HAS_BYTES ? &st_list : &st_list_all, &p, &r);
	PQclear(x->last);
	x->last = NULL;
	TRY(e);
	int n = PQntuples(r);
	x->last = r;
	x->more = n == (int)want;
	for (int i = 0; i < n; i++) {
		struct thread_info t;
		info(r, i, &t);
		if (!x->fn(x->ctx, &t)) {
			x->more = false;
			break;
		}
	}
	return OK;
}

enum err pg_thread_list(struct store *s, const struct principal *who, const struct str *user, struct str after, size_t limit,
			thread_fn fn, void *ctx)
{
	struct listing x = {.who = who, .user = user && user->p ? user : NULL, .fn = fn, .ctx = ctx, .more = limit > 0};
	enum err e = OK;
	TRY(pg_tenant_get(pg_of(s), who, RIGHT_READ, false, &x.t));
	if (!x.t || (x.user && !principal_sees(who, *x.user)))
		return OK;
	if ((x.user && pg_has_nul(*x.user)) || pg_has_nul(after))
		return err_set(E_INVALID, "names of threads and users cannot hold the character U+0000");
	while (e == OK && x.more) {
		size_t want = limit < PAGE_ROWS ? limit : PAGE_ROWS;
		limit -= want;
		e = page(&x, after, want);
		if (e == OK && PQntuples(x.last) > 0)
			after = pg_get_str(x.last, PQntuples(x.last) - 1, I_NAME);
		x.more = x.more && limit > 0;
	}
	PQclear(x.last);
	return e;
}

/* ---------------------------------------------------------------- the record */

/* $1: thread; $2: owners; $3: user; $4: now; $5..$8: metadata, config, ttl, strategy; $9: enum write_if; $10: version; $11: op. */
static const struct pg_stmt st_put = {
	ST_THREAD_PUT, LANE_WRITE, "thread_put",
	"WITH f AS (SELECT " PG_FOREIGN(
		"$1::text") " AS f, EXISTS (SELECT FROM @cenote_thread t WHERE t.thread = $1::text) AS here), c AS (INSERT INTO"
			    " @cenote_thread AS t(thread, usr, created_at, updated_at, messages, metadata, config, ttl_minutes,"
			    " ttl_strategy, version) SELECT $1::text, $3::text, $4::timestamptz, $4::timestamptz, 0, $5::text, "
			    "$6::text,"
			    " $7::float8, $8::int, 1 FROM f WHERE CASE $9::int WHEN 1 THEN NOT f.f AND NOT f.here WHEN 2 THEN "
			    "f.here OR"
			    " $10::bigint = 0 ELSE true END AND (f.here OR NOT f.f OR $2::text[] IS NULL OR '' = ANY($2::text[])) "
			    "ON"
			    " CONFLICT (thread) DO UPDATE SET updated_at = excluded.updated_at, metadata = excluded.metadata, "
			    "config ="
			    " excluded.config, ttl_minutes = excluded.ttl_minutes, ttl_strategy = excluded.ttl_strategy, version ="
			    " t.version + 1 WHERE ($2::text[] IS NULL OR t.usr::text = ANY($2::text[])) AND CASE $9::int WHEN 1 "
			    "THEN"
			    " false WHEN 2 THEN t.version = $10::bigint ELSE true END RETURNING t.version), j AS (" PG_NOTE(
				    11,
				    "'{}'") " WHERE EXISTS (SELECT FROM c) OR EXISTS (SELECT FROM @cenote_journal o WHERE o.op ="
					    " $11::bigint)) SELECT version FROM c"};

static void put_params(struct pg_params *p, const struct principal *who, const struct thread_record *r, enum write_if cond)
{
	pg_params_init(p);
	pg_text(p, r->thread);
	pg_owners(p, who);
	pg_text(p, r->user);
	pg_time(p, clock_unique_us());
	pg_text(p, r->metadata);
	pg_text(p, r->config);
	pg_f64(p, r->ttl_minutes);
	pg_i32(p, (int32_t)r->ttl_strategy);
	pg_i32(p, cond == IF_ABSENT ? 1 : cond == IF_VERSION ? 2 : 0);
	pg_i64(p, r->version);
	pg_i64(p, pg_new_op());
}

/* The version after a put that was committed and whose answer was lost. */
static enum err version_now(struct store *s, const struct principal *who, struct thread_record *r)
{
	struct arena a;
	struct thread_info t;
	bool found;
	arena_init(&a, 4u << 20);
	enum err e = pg_thread_get(s, &a, who, r->thread, &t, &found);
	if (e == OK && found)
		r->version = t.version;
	arena_release(&a);
	return e;
}

static enum err pg_thread_put(struct store *s, const struct principal *who, struct thread_record *r, enum write_if cond)
{
	struct pg_tenant *t;
	struct pg_params p;
	PGresult *res;
	bool repeated;
	TRY(principal_check(who, RIGHT_WRITE));
	if (!principal_sees(who, r->user))
		return err_set(E_DENIED, "this key may only make threads of its own user");
	if (pg_has_nul(r->thread) || pg_has_nul(r->user))
		return err_set(E_INVALID, "names of threads and users cannot hold the character U+0000");
	TRY(pg_tenant_get(pg_of(s), who, RIGHT_WRITE, true, &t));
	put_params(&p, who, r, cond);
	TRY(pg_write(t, &st_put, &p, &res, &repeated));
	if (repeated)
		return version_now(s, who, r);
	bool done = PQntuples(res) > 0;
	if (done)
		r->version = pg_get_i64(res, 0, 0);
	PQclear(res);
	if (done)
		return OK;
	return cond == IF_VERSION  ? err_set(E_CONFLICT, "the thread has another version by now")
	       : cond == IF_ABSENT ? err_set(E_CONFLICT, "the thread exists")
				   : err_set(E_CONFLICT, "the thread belongs to another user; nothing was changed");
}

/* ---------------------------------------------------------------- removing */

static const struct pg_stmt st_lock = {ST_THREAD_LOCK, LANE_WRITE, "thread_lock",
				       "SELECT t.id FROM @cenote_thread t WHERE t.thread = $1::text AND ($2::text[] IS NULL OR"
				       " t.usr::text = ANY($2::text[])) FOR UPDATE"};
static const struct pg_stmt st_lock_session = {
	ST_THREAD_SESSION_LOCK, LANE_WRITE, "thread_session_lock",
	"SELECT 1 FROM @agent_sessions s WHERE s.session_id = $1::text AND " PG_SEEN(2) " FOR UPDATE"};
/* Alone among those who store values or remove them (ckpt.h). */
static const struct pg_stmt st_lock_values = {
	ST_THREAD_VALUES_LOCK, LANE_WRITE, "thread_values_lock",
	"SELECT 1 FROM (SELECT pg_advisory_xact_lock(" PG_CP_LOCK_KEY("$1::text") ")) x WHERE $2::text[] IS NULL OR true"};
/* Each gives the number of rows that went. $3 of the first: op. */
static const struct pg_stmt st_messages = {
	ST_THREAD_MESSAGES_GONE, LANE_WRITE, "thread_messages_gone",
	"WITH m AS (DELETE FROM @cenote_message m USING @cenote_thread t WHERE t.thread = $1::text AND m.thread_id = t.id "
	"AND " PG_SEEN(
		2) " RETURNING m.id, t.usr::text AS usr), u AS (UPDATE @cenote_thread t SET messages = 0 WHERE t.thread = $1::text "
		   "AND"
		   " t.messages > 0 AND " PG_SEEN(
			   2) "), j AS (INSERT INTO @cenote_journal(op, step, kind, ids, names, threads) SELECT $3::bigint, 1, 'm',"
			      " array_agg(-m.id), array_agg(m.usr), array_agg($1::text) FROM m HAVING EXISTS (SELECT FROM m))"
			      " SELECT count(*) FROM m"};
#define GONE(table, col) "(DELETE FROM @" table " x WHERE x." col " = $1::text AND " PG_SEEN(2) " RETURNING 1)"
static const struct pg_stmt st_checkpoints = {
	ST_THREAD_CHECKPOINTS_GONE, LANE_WRITE, "thread_checkpoints_gone",
	"WITH c AS " GONE("checkpoints", "thread_id") ", w AS " GONE("checkpoint_writes", "thread_id") ", b AS " GONE(
		"checkpoint_blobs",
		"thread_id") " SELECT (SELECT count(*) FROM c) + (SELECT count(*) FROM w) + (SELECT count(*) FROM b)"};
#define ENTRIES_GONE(table, id)                                                                                                    \
	"(DELETE FROM @" table                                                                                                     \
	" x WHERE x.session_id = $1::text AND " PG_SEEN(2) " RETURNING " id " AS id), v AS (" PG_VALUES_GONE("c", "c.id") ")"
static const struct pg_stmt st_items = {ST_THREAD_ENTRIES_GONE, LANE_WRITE, "thread_entries_gone",
					"WITH c AS " ENTRIES_GONE("agent_messages", "x.id") " SELECT count(*) FROM c"};
static const struct pg_stmt st_session = {ST_THREAD_SESSION_GONE, LANE_WRITE, "thread_session_gone",
					  "WITH c AS " GONE("agent_sessions", "session_id") " SELECT count(*) FROM c"};
static const struct pg_stmt st_seed = {ST_THREAD_SEED_GONE, LANE_WRITE, "thread_seed_gone",
				       "WITH c AS " ENTRIES_GONE("conversations", "x.id + " PG_SEED_IDS) " SELECT count(*) FROM c"};
/* The last: what becomes of the record. $3: the record is to go; $4: op. Gives the number of records that were asked for. */
static const struct pg_stmt st_record = {
	ST_THREAD_RECORD_GONE, LANE_WRITE, "thread_record_gone",
	"WITH b AS MATERIALIZED (SELECT t.id, t.version, t.messages = 0 AND NOT " PG_FOREIGN(
		"$1::text") " AS bare FROM @cenote_thread t WHERE t.thread = $1::text "
			    "AND " PG_SEEN(2) "), d AS (DELETE FROM @cenote_thread t USING b "
					      "WHERE t.id = b.id AND b.bare AND (b.version = 0 OR "
					      "$3::bool)"
					      " RETURNING 1), u AS (UPDATE @cenote_thread t SET "
					      "metadata = '', config = '', ttl_minutes = 0, "
					      "ttl_strategy = 0,"
					      " version = 0 FROM b WHERE t.id = b.id AND NOT "
					      "b.bare AND b.version > 0 AND $3::bool RETURNING "
					      "1), j AS (" PG_NOTE(4, "'{}'") ") SELECT CASE WHEN $3::bool THEN "
									      "(SELECT count(*) FROM d) + (SELECT "
									      "count(*) FROM u) ELSE 0 END"};

#define STEPS_MAX 15
struct removal {
	struct pg_params p[STEPS_MAX];
	struct pg_step steps[STEPS_MAX];
	struct pg_job j;
	const struct principal *who;
	struct str thread;
};

static struct pg_params *add(struct removal *x, const struct pg_stmt *st)
{
	struct pg_params *p = &x->p[x->j.n];
	x->steps[x->j.n++] = (struct pg_step){.st = st, .p = p};
	pg_params_init(p);
	pg_text(p, x->thread);
	pg_owners(p, x->who);
	return p;
}

static void add_vectors_gone(struct removal *x, int64_t op)
{
	struct pg_params *p = &x->p[x->j.n];
	x->steps[x->j.n++] = (struct pg_step){.st = &pg_vectors_gone, .p = p};
	pg_params_init(p);
	pg_i64(p, op);
}

/* Has no owners. */
static void add_texts_lock(struct removal *x)
{
	struct pg_params *p = &x->p[x->j.n];
	x->steps[x->j.n++] = (struct pg_step){.st = &pg_texts_lock, .p = p};
	pg_params_init(p);
	pg_text(p, x->thread);
}

/* What was made of those parts goes with them. */
static void add_texts_gone(struct removal *x, int64_t op, unsigned parts)
{
	const unsigned of[] = {THREAD_ENTRIES, THREAD_CHECKPOINTS};
	const int32_t source[] = {TEXT_ENTRY, TEXT_CHECKPOINT};
	struct pg_params *p = add(x, &pg_texts_gone);
	size_t n = ((parts & of[0]) != 0) + ((parts & of[1]) != 0);
	pg_i64(p, op);
	pg_array(p, PG_INT4S, n);
	for (unsigned i = 0; i < 2; i++)
		if (parts & of[i])
			pg_el_i32(p, source[i]);
	pg_array_end(p);
}

static void compose(struct removal *x, unsigned has, unsigned parts)
{
	int64_t op = pg_new_op();
	add_texts_lock(x);
	(void)add(x, &st_lock);
	if ((parts & THREAD_ENTRIES) && (has & PG_HAS_AGENT))
		(void)add(x, &st_lock_session);
	if ((parts & THREAD_CHECKPOINTS) && (has & PG_HAS_CP)) {
		(void)add(x, &st_lock_values);
		(void)add(x, &st_checkpoints);
	}
	if ((parts & THREAD_CHECKPOINTS) && (has & PG_HAS_COMPACT))
		(void)add(x, compact_thread_gone);
	if (parts & THREAD_MESSAGES)
		pg_i64(add(x, &st_messages), op);
	add_texts_gone(x, op, parts);
	add_vectors_gone(x, op);
	if ((parts & THREAD_ENTRIES) && (has & PG_HAS_AGENT)) {
		(void)add(x, &st_items);
		(void)add(x, &st_session);
	}
	if ((parts & THREAD_ENTRIES) && (has & PG_HAS_SEED))
		(void)add(x, &st_seed);
	(void)add(x, &st_lock); /* of a record that came meanwhile: st_record then sees what lies under it */
	struct pg_params *p = add(x, &st_record);
	pg_bool(p, parts & THREAD_RECORD);
	pg_i64(p, op);
}

/* Rows that went; the steps that only lock give none, nor do those that follow from others. */
static int64_t gone(const struct removal *x)
{
	int64_t n = 0;
	for (unsigned i = 0; i < x->j.n; i++) {
		const struct pg_stmt *st = x->steps[i].st;
		if (st != &st_lock && st != &st_lock_session && st != &st_lock_values && st != &pg_vectors_gone &&
		    st != &pg_texts_lock && st != &pg_texts_gone)
			n += pg_get_i64(x->steps[i].res, 0, 0);
	}
	return n;
}

static enum err pg_thread_remove(struct store *s, const struct principal *who, struct str thread, unsigned parts)
{
	struct removal x = {.who = who, .thread = thread};
	struct pg_tenant *t;
	TRY(pg_tenant_get(pg_of(s), who, RIGHT_WRITE, false, &t));
	if (!t || pg_has_nul(thread))
		return not_found();
	x.j = (struct pg_job){.t = t, .steps = x.steps, .lane = LANE_WRITE, .write = true};
	compose(&x, t->has, parts);
	enum err e = pg_run(&x.j);
	bool some = e == OK && (x.j.repeated || gone(&x) > 0);
	pg_job_clear(&x.j);
	for (unsigned i = 0; i < x.j.n; i++)
		pg_params_release(&x.p[i]);
	return e == OK && !some ? not_found() : e;
}

const struct thread_ops pg_thread_ops = {
	.get = pg_thread_get,
	.put = pg_thread_put,
	.remove = pg_thread_remove,
	.append = pg_entry_append,
	.entries = pg_entries,
	.entry = pg_entry,
	.pop = pg_entry_pop,
	.entry_delete = pg_entry_delete,
	.clear = pg_entry_clear,
};
