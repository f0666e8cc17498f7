/* Removing checkpoints of a thread: their rows and writes, the values that none of those left refers to, parents that are gone.
 *
 * Two statements of one transaction: the thread's lock (see ckpt_write.c), then, with a snapshot taken after that, the rest. What
 * has stored values before is seen; what stores values later finds them gone and stores them.
 *
 * Other programs take no such lock. What PostgresSaver puts while we remove is safe unless it refers, without sending it, to a
 * value of nothing but removed checkpoints: a child of a checkpoint that is being removed. */
#include "store/postgres/ckpt.h"

static const struct pg_stmt st_lock = {ST_CKPT_LOCK, LANE_WRITE, "checkpoint_lock",
				       "SELECT pg_advisory_xact_lock(" PG_CP_LOCK_KEY("x") ") FROM (SELECT DISTINCT x FROM"
											   " unnest($1::text[]) x ORDER BY x) y"};

/* $1 thread, $2 and $3 names, $4 owners, $5 op. Only values that a removed checkpoint used are looked at: others may be early.
 *
 * Where the statistics are of a time when the tables were small, the planner believes that a thread has one row, and that comparing
 * each row of the one side with each of the other costs nothing: with 100,000 that takes minutes. So there are no joins. (x IN
 * (SELECT ..)) IS TRUE hashes, whatever it believes; a row is looked at once, by the index of its thread. */
#define VERSIONS_OF(x) PG_CP_VERSIONS(x ".checkpoint")
#define GONE(ns, id) "(" ns ", " id ") IN (SELECT d.ns, d.id FROM d)"
#define PLACES(x, of) x ".checkpoint_ns = ANY(ARRAY(SELECT DISTINCT ns FROM " of "))"
/* clang-format off */
static const struct pg_stmt st_remove = {
	ST_CKPT_REMOVE, LANE_WRITE, "checkpoint_remove",
	"WITH r AS MATERIALIZED (SELECT DISTINCT ns, id FROM unnest($2::text[], $3::text[]) AS u(ns, id) WHERE " PG_CP_SEEN("$1::text", 4) "),"
	" d AS (DELETE FROM @checkpoints c WHERE c.thread_id = $1::text AND " PLACES("c", "r") " AND ((c.checkpoint_ns, c.checkpoint_id)"
	" IN (SELECT r.ns, r.id FROM r)) IS TRUE RETURNING c.checkpoint_ns AS ns, c.checkpoint_id AS id, c.checkpoint),"
	" w AS (DELETE FROM @checkpoint_writes w WHERE w.thread_id = $1::text AND " PLACES("w", "d") " AND ("
	GONE("w.checkpoint_ns", "w.checkpoint_id") ") IS TRUE RETURNING octet_length(w.blob) AS n),"
	/* Those left. */
	" l AS MATERIALIZED (SELECT c.checkpoint_ns AS ns, c.checkpoint FROM @checkpoints c WHERE c.thread_id = $1::text AND "
	PLACES("c", "d") " AND (" GONE("c.checkpoint_ns", "c.checkpoint_id") ") IS NOT TRUE),"
	" f AS MATERIALIZED (SELECT d.ns, v.key, v.value FROM d CROSS JOIN LATERAL " VERSIONS_OF("d") " v"
	" EXCEPT SELECT l.ns, v.key, v.value FROM l CROSS JOIN LATERAL " VERSIONS_OF("l") " v),"
	" b AS (DELETE FROM @checkpoint_blobs b WHERE b.thread_id = $1::text AND " PLACES("b", "f") " AND ((b.checkpoint_ns, b.channel,"
	" b.version) IN (SELECT f.ns, f.key, f.value FROM f)) IS TRUE RETURNING b.type, octet_length(b.blob) AS n),"
	" p AS (UPDATE @checkpoints c SET parent_checkpoint_id = NULL WHERE c.thread_id = $1::text AND " PLACES("c", "d") " AND ("
	GONE("c.checkpoint_ns", "c.parent_checkpoint_id") ") IS TRUE AND (" GONE("c.checkpoint_ns", "c.checkpoint_id") ") IS NOT TRUE),"
	" j AS (INSERT INTO @cenote_journal(op, step, kind, ids, names) VALUES ($5::bigint, 0, 'c', '{}', '{}'))"
	" SELECT (SELECT count(*) FROM d), (SELECT count(*) FROM b WHERE type <> 'empty'), (SELECT count(*) FROM w),"
	" coalesce((SELECT sum(n) FROM b), 0)::bigint + coalesce((SELECT sum(n) FROM w), 0)::bigint"};
/* clang-format on */

static void remove_params(struct pg_params *p, const struct principal *who, struct str thread, const struct ckpt_ref *refs,
			  size_t n)
{
	pg_params_init(p);
	pg_text(p, thread);
	pg_array(p, PG_TEXTS, n);
	for (size_t i = 0; i < n; i++)
		pg_el_str(p, refs[i].ns);
	pg_array_end(p);
	pg_array(p, PG_TEXTS, n);
	for (size_t i = 0; i < n; i++)
		pg_el_str(p, refs[i].id);
	pg_array_end(p);
	pg_owners(p, who);
	pg_i64(p, pg_new_op());
}

void pg_ckpt_lock_params(struct pg_params *p, const struct str *threads, size_t n)
{
	pg_params_init(p);
	pg_array(p, PG_TEXTS, n);
	for (size_t i = 0; i < n; i++)
		pg_el_str(p, threads[i]);
	pg_array_end(p);
}

const struct pg_stmt *const pg_ckpt_lock = &st_lock;

enum err pg_ckpt_remove(struct store *s, const struct principal *who, struct str thread, const struct ckpt_ref *refs, size_t n,
			struct ckpt_removed *out)
{
	struct pg_tenant *t;
	struct pg_params lock, rest;
	struct pg_step steps[] = {{&st_lock, &lock, NULL}, {&st_remove, &rest, NULL}};
	struct pg_job j = {.steps = steps, .n = 2, .lane = LANE_WRITE, .write = true};
	*out = (struct ckpt_removed){0};
	TRY(pg_ckpt_open(s, who, RIGHT_WRITE, false, &t));
	if (!t || n == 0 || pg_ckpt_unknown(thread) || pg_ckpt_unknown(who->user))
		return OK;
	for (size_t i = 0; i < n; i++) {
		TRY(pg_ckpt_names(&refs[i].ns, 1));
		TRY(pg_ckpt_names(&refs[i].id, 1));
	}
	j.t = t;
	pg_ckpt_lock_params(&lock, &thread, 1);
	remove_params(&rest, who, thread, refs, n);
	enum err e = pg_run(&j);
	if (e == OK && !j.repeated) /* else it had been done, and what it removed cannot be known any more */
		*out = (struct ckpt_removed){pg_get_i64(steps[1].res, 0, 0), pg_get_i64(steps[1].res, 0, 1),
					     pg_get_i64(steps[1].res, 0, 2), pg_get_i64(steps[1].res, 0, 3)};
	pg_job_clear(&j);
	pg_params_release(&lock);
	pg_params_release(&rest);
	return e;
}

/* ---------------------------------------------------------------- the table */

const struct checkpoint_ops pg_checkpoint_ops = {
	.remove_step = 10000, /* each call looks through what remains of the thread */
	.write = pg_ckpt_write,
	.get = pg_ckpt_get,
	.list = pg_ckpt_list,
	.sends = pg_ckpt_sends,
	.history = pg_ckpt_history,
	.remove = pg_ckpt_remove,
	.copy = pg_ckpt_copy,
	.by_run = pg_ckpt_by_run,
	.storage = pg_ckpt_storage,
};
