/* Private to checkpoints: ckpt*.c. The tables are LangGraph's, which other programs read and write, too; what they mean is in the
 * contract (langgraph 2.1, 3). Nothing about a checkpoint is kept anywhere else, but the thread's record (cenote_thread), which
 * says whose it is. */
#ifndef CENOTE_STORE_PG_CKPT_H
#define CENOTE_STORE_PG_CKPT_H

#include "store/postgres/pg.h"

/* A table that was adopted from LangGraph.js may lack the column task_path. The name, not qualified, is then found one level
 * further out, where it is ''. */
#define PG_CP_PATH_ELSE "(VALUES (''::text)) AS langgraph_js(task_path)"
/* Condition: the thread is one that the reader may reach. $o: pg_owners. */
#define PG_CP_SEEN(thread, o)                                                                                                      \
	"($" #o "::text[] IS NULL OR coalesce((SELECT t.usr FROM @cenote_thread t WHERE t.thread = " thread "), '') = ANY($" #o    \
	"::text[]))"
/* Pairs (key, value) of channel_versions; none when another program wrote something else there. */
#define PG_CP_VERSIONS(checkpoint)                                                                                                 \
	"jsonb_each_text(CASE WHEN jsonb_typeof(" checkpoint " -> 'channel_versions') = 'object' THEN " checkpoint                 \
	" -> 'channel_versions' END)"
/* Columns of checkpoints that are read. */
#define PG_CP_ROW "thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint, metadata"
/* The lock of a thread's values, held by the transaction: shared by whoever stores values, alone by whoever removes them. */
#define PG_CP_LOCK_KEY(thread) "hashtextextended(" thread ", 7310014)"

/* The tenant with its checkpoint tables, which are made when they may be; NULL (OK): no such tenant, and create is false. */
enum err pg_ckpt_open(struct store *s, const struct principal *who, unsigned right, bool create, struct pg_tenant **out) MUST_CHECK;
/* text[] of the owners whose threads this principal may reach (rule 9 of core/thread_store.h), NULL: everybody's. */
void pg_owners(struct pg_params *p, const struct principal *who);
/* E_INVALID when one of the n texts holds U+0000. */
enum err pg_ckpt_names(const struct str *v, size_t n) MUST_CHECK;
/* The same asked of what is only looked for: such a name is not there. */
bool pg_ckpt_unknown(struct str s);

/* ckpt_write.c: one call on its way into a transaction. */
struct pg_ckpt_call {
	const struct ckpt_change *c;
	size_t n;
	struct str user; /* of the principal */
	bool bound;
};
/* All calls in one transaction. built (may be NULL) is called when the calls' memory is no longer needed. sqlstate: of the server's
 * error. */
enum err pg_ckpt_apply(struct pg_tenant *t, const struct pg_ckpt_call *const *calls, size_t n, uint64_t deadline, char sqlstate[6],
		       void (*built)(void *arg), void *arg) MUST_CHECK;

/* ckpt_gather.c: changes of many callers in one transaction. *alone: nothing was stored, try alone. */
bool pg_ckpt_gather_fits(const struct ckpt_change *c, size_t n);
enum err pg_ckpt_gather(struct pg_tenant *t, const struct pg_ckpt_call *call, bool *alone) MUST_CHECK;

/* ckpt_read.c, for lists: a row's texts into the arena. */
enum err pg_ckpt_keep(struct arena *a, struct ckpt *c) MUST_CHECK;
/* By channel. */
void pg_ckpt_sort_values(struct ckpt *c);
/* Condition that is false when the checkpoint is known to be of format 4 or later: its sends are not under its parent. */
#define PG_CP_OLD(checkpoint) "((" checkpoint " -> 'v') < '4'::jsonb)"
/* Sends of the format before 4 lie under the parent in any namespace; but nearly always there is one namespace of the thread that
 * has writes at all. Then its least and greatest are the same (NULL: there are no writes), and the parent's writes there are all.
 */
/* clang-format off */
#define PG_CP_EDGE(thread, order)                                                                                                  \
	"(SELECT e.checkpoint_ns FROM @checkpoint_writes e WHERE e.thread_id = " thread " ORDER BY e.checkpoint_ns " order " LIMIT 1)"
#define PG_CP_ONE_NS(thread) PG_CP_EDGE(thread, "ASC") " IS NOT DISTINCT FROM " PG_CP_EDGE(thread, "DESC")
#define PG_CP_PENDING_OF(where)                                                                                                    \
	"ARRAY(SELECT ROW(w.task_id, task_path, w.idx, w.channel, w.type, w.blob) FROM @checkpoint_writes w WHERE " where           \
	" ORDER BY w.task_id, w.idx)"
/* clang-format on */
/* Reads an array of PG_CP_PENDING_OF, in order; copy: its texts into the arena, else they lie in r. */
enum err pg_ckpt_pending(struct arena *a, const PGresult *r, int row, int col, bool copy, struct ckpt_pending **out,
			 size_t *n) MUST_CHECK;
/* Fills bytes of n checkpoints. */
enum err pg_ckpt_sizes(struct pg_tenant *t, struct ckpt *const *v, size_t n) MUST_CHECK;

/* Statements, for the tests of their plans. Of one: without and with the sends of the old format. Pages: by thread and ns, by
 * thread, by nothing; without and with an upper bound. */
extern const struct pg_stmt pg_ckpt_latest[2], pg_ckpt_named[2], pg_ckpt_old_sends, pg_ckpt_pages[3][2], pg_ckpt_rows, pg_ckpt_walk;

/* ckpt_remove.c: takes the locks of threads alone; a step of its own, before the one that looks. */
extern const struct pg_stmt *const pg_ckpt_lock;
void pg_ckpt_lock_params(struct pg_params *p, const struct str *threads, size_t n);

/* ckpt_known.c. A version of a row of checkpoints: xmin and ctid, as they come; epoch: of its thread, from before it was read. */
struct pg_row_version {
	char made[4], place[6];
	uint32_t epoch;
};
uint32_t pg_ckpt_epoch(struct pg *s, struct str thread);
/* After a write, successful or not. */
void pg_ckpt_written(struct pg *s, const struct ckpt_change *c, size_t n);
/* c has its name (and writes, sends, which stay): fills in the rest, into the arena, when it is known at this version. */
bool pg_ckpt_known(struct pg_tenant *t, struct arena *a, const struct pg_row_version *v, struct ckpt *c);
/* Keeps a copy; c has its values, all of them. */
void pg_ckpt_know(struct pg_tenant *t, const struct ckpt *c, const struct pg_row_version *v);
/* Whether the checkpoint last got of the thread (about) was of the format before 4. */
bool pg_ckpt_was_old(struct pg *s, struct str thread);
void pg_ckpt_set_old(struct pg *s, struct str thread, bool old);

/* The operations, by file. ckpt_write.c */
enum err pg_ckpt_write(struct store *, const struct principal *, const struct ckpt_change *, size_t) MUST_CHECK;
/* ckpt_read.c */
enum err pg_ckpt_get(struct store *, struct arena *, const struct principal *, const struct ckpt_query *, struct ckpt *,
		     bool *) MUST_CHECK;
enum err pg_ckpt_sends(struct store *, struct arena *, const struct principal *, struct str, struct ckpt_sends *,
		       size_t) MUST_CHECK;
enum err pg_ckpt_by_run(struct store *, const struct principal *, const struct str *, size_t, ckpt_fn, void *) MUST_CHECK;
enum err pg_ckpt_storage(struct store *, struct arena *, const struct principal *, struct str, struct ckpt_storage *) MUST_CHECK;
/* ckpt_list.c */
enum err pg_ckpt_list(struct store *, const struct principal *, const struct ckpt_list *, ckpt_fn, void *) MUST_CHECK;
/* ckpt_history.c */
enum err pg_ckpt_history(struct store *, struct arena *, const struct principal *, const struct ckpt_query *, struct ckpt_history *,
			 size_t) MUST_CHECK;
/* ckpt_remove.c */
enum err pg_ckpt_remove(struct store *, const struct principal *, struct str, const struct ckpt_ref *, size_t,
			struct ckpt_removed *) MUST_CHECK;
/* ckpt_copy.c */
enum err pg_ckpt_copy(struct store *, const struct principal *, struct str, struct str, const struct ckpt_ref *, size_t) MUST_CHECK;

#endif
