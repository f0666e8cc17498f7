/* Copying checkpoints to another thread's name: rows of three tables, in the server, in one transaction. */
#include "store/postgres/ckpt.h"

/* $1 from, $2 to, $3 and $4 names (NULL: all), $5 owners, $6 op, $7 now. The target gets the source's owner: a new record, or one
 * that is nobody's and holds no messages; else it must have that owner already. What is nobody's may also go into a thread that the
 * caller reaches. Fails with 22012 when the record turns out to be somebody else's. */
#define NAMED(ns, id)                                                                                                              \
	"($3::text[] IS NULL OR (" ns ", " id ") IN (SELECT r.ns, r.id FROM unnest($3::text[], $4::text[]) r(ns, id)))"
#define CHECKPOINT_NAMED NAMED("c.checkpoint_ns", "c.checkpoint_id")
#define WRITE_NAMED NAMED("w.checkpoint_ns", "w.checkpoint_id")
#define SEEN PG_CP_SEEN("$1::text", 5)
#define TARGET_SEEN PG_CP_SEEN("$2::text", 5)
#define VERSIONS PG_CP_VERSIONS("s.checkpoint")
#define COPY(column)                                                                                                               \
	"WITH s AS MATERIALIZED (SELECT c.checkpoint_ns AS ns, c.checkpoint_id AS id, c.parent_checkpoint_id AS parent,"           \
	" c.checkpoint, c.metadata FROM @checkpoints c WHERE c.thread_id = $1::text AND " CHECKPOINT_NAMED " AND " SEEN "),"       \
	" o AS MATERIALIZED (SELECT coalesce((SELECT t.usr FROM @cenote_thread t WHERE t.thread = $1::text), '') AS usr),"         \
	" y AS MATERIALIZED (SELECT EXISTS (SELECT FROM s) AS found, EXISTS (SELECT FROM @checkpoints c WHERE c.thread_id ="       \
	" $2::text) AS busy, NOT EXISTS (SELECT FROM @cenote_thread t WHERE t.thread = $2::text AND t.usr <> o.usr AND NOT"        \
	" (o.usr <> '' AND t.usr = '' AND t.messages = 0) AND NOT (o.usr = '' AND " TARGET_SEEN ")) AS free FROM o),"              \
	" t AS (INSERT INTO @cenote_thread AS t(thread, usr, created_at, updated_at, messages) SELECT $2::text, o.usr,"            \
	" $7::timestamptz, $7::timestamptz, 0 FROM o, y WHERE o.usr <> '' AND y.found AND NOT y.busy AND y.free"                   \
	" ON CONFLICT (thread) DO UPDATE SET usr = CASE WHEN t.usr = '' AND t.messages = 0 THEN excluded.usr ELSE t.usr END"       \
	" RETURNING t.usr),"                                                                                                       \
	" b AS (INSERT INTO @checkpoint_blobs(thread_id, checkpoint_ns, channel, version, type, blob) SELECT $2::text,"            \
	" b.checkpoint_ns, b.channel, b.version, b.type, b.blob FROM y, @checkpoint_blobs b WHERE y.found AND NOT y.busy AND"      \
	" y.free AND b.thread_id = $1::text AND ($3::text[] IS NULL OR (b.checkpoint_ns, b.channel, b.version) IN (SELECT s.ns,"   \
	" v.key, v.value FROM s CROSS JOIN LATERAL " VERSIONS " v)) ON CONFLICT DO NOTHING),"                                      \
	" w AS (INSERT INTO @checkpoint_writes(thread_id, checkpoint_ns, checkpoint_id, task_id, idx, channel, type, blob" column  \
	") SELECT $2::text, checkpoint_ns, checkpoint_id, task_id, idx, channel, type, blob" column " FROM y, @checkpoint_writes"  \
	" w WHERE y.found AND NOT y.busy AND y.free AND w.thread_id = $1::text AND " WRITE_NAMED " ON CONFLICT DO NOTHING),"       \
	" c AS (INSERT INTO @checkpoints(thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint, metadata)"     \
	" SELECT $2::text, s.ns, s.id, s.parent, s.checkpoint, s.metadata FROM s, y WHERE NOT y.busy AND y.free"                   \
	" ON CONFLICT DO NOTHING),"                                                                                                \
	" j AS (INSERT INTO @cenote_journal(op, step, kind, ids, names) VALUES ($6::bigint, 0, 'c', '{}', '{}'))"                  \
	" SELECT y.found, y.busy, y.free, 1 / (coalesce((SELECT usr FROM t), o.usr) = o.usr)::int FROM y, o"
static const struct pg_stmt st_copy[2] = {{ST_CKPT_COPY_NO_PATH, LANE_WRITE, "checkpoint_copy", COPY("")},
					  {ST_CKPT_COPY, LANE_WRITE, "checkpoint_copy", COPY(", task_path")}};

static void names(struct pg_params *p, const struct ckpt_ref *refs, size_t n, bool ids)
{
	if (!refs) {
		pg_null(p, PG_TEXTS);
		return;
	}
	pg_array(p, PG_TEXTS, n);
	for (size_t i = 0; i < n; i++)
		pg_el_str(p, ids ? refs[i].id : refs[i].ns);
	pg_array_end(p);
}

static void copy_params(struct pg_params *p, const struct principal *who, struct str from, struct str to,
			const struct ckpt_ref *refs, size_t n)
{
	pg_params_init(p);
	pg_text(p, from);
	pg_text(p, to);
	names(p, refs, n, false);
	names(p, refs, n, true);
	pg_owners(p, who);
	pg_i64(p, pg_new_op());
	pg_time(p, clock_unique_us());
}

static enum err not_found(void)
{
	return err_set(E_NOT_FOUND, "the thread has no such checkpoints");
}

static enum err others(void)
{
	return err_set(E_CONFLICT, "the target thread belongs to another user; nothing was copied");
}

static enum err result(const struct pg_job *j)
{
	const PGresult *r = j->steps[1].res;
	if (j->repeated)
		return OK;
	if (!pg_get_bool(r, 0, 0))
		return not_found();
	if (pg_get_bool(r, 0, 1))
		return err_set(E_CONFLICT, "the target thread has checkpoints already; nothing was copied");
	return pg_get_bool(r, 0, 2) ? OK : others();
}

enum err pg_ckpt_copy(struct store *s, const struct principal *who, struct str from, struct str to, const struct ckpt_ref *refs,
		      size_t n)
{
	struct pg_tenant *t;
	struct pg_params lock, copy;
	struct pg_step steps[] = {{pg_ckpt_lock, &lock, NULL}, {NULL, &copy, NULL}};
	struct pg_job j = {.steps = steps, .n = 2, .lane = LANE_WRITE, .write = true};
	const struct str threads[] = {from, to};
	TRY(pg_ckpt_open(s, who, RIGHT_WRITE, false, &t));
	if (!t || pg_ckpt_unknown(from))
		return not_found();
	TRY(pg_ckpt_names(&to, 1));
	TRY(pg_ckpt_names(&who->user, 1));
	for (size_t i = 0; refs && i < n; i++) {
		TRY(pg_ckpt_names(&refs[i].ns, 1));
		TRY(pg_ckpt_names(&refs[i].id, 1));
	}
	j.t = t;
	steps[1].st = &st_copy[atomic_load(&t->cp_path)];
	pg_ckpt_lock_params(&lock, threads, 2);
	copy_params(&copy, who, from, to, refs, n);
	enum err e = pg_run(&j);
	if (e == OK)
		e = result(&j);
	else if (strcmp(j.sqlstate, "22012") == 0)
		e = others();
	pg_job_clear(&j);
	pg_params_release(&lock);
	pg_params_release(&copy);
	return e;
}
