/* Private to store/postgres: checkpoints in the compact layout (checkpoints.layout = compact), on tables of our own.
 *
 * What lies where
 *  - cenote_checkpoint_ns: a namespace of a thread (cenote_thread.id); everything below names it by number. rev changes with every
 *    transaction that puts or removes checkpoints of it.
 *  - cenote_checkpoint: one row each. body: checkpoint and metadata in one compressed text.
 *  - cenote_pending: one row per (checkpoint, task) with all of the task's writes, compressed together.
 *  - cenote_stream: a channel of a namespace; head: the version whose chunks were stored last.
 *  - cenote_version: values by version. Short ones whole, compressed. Of long ones the length, then the first chunk and the last
 * one, compressed (the next version has others); what is between is a sequence of chunks, as runs of numbers (from, to, from,
 * to..).
 *  - cenote_chunk: id = stream << CHUNK_BITS | number within the stream. Numbers are given in the order of storing, so that a value
 *    that grows at its end is one run.
 *
 * Invariants
 *  1. Whoever writes below a thread holds the lock of its row in cenote_thread (updated or FOR NO KEY UPDATE), taken first, several
 *     in the order of names.
 *  2. What a write was prepared from - numbers of chunks that are there, what others refer to - is that of one rev, which the
 *     transaction checks after 1. When it is another by then, nothing is done (22012), and it is prepared again. So that a slow one
 *     comes to its turn, it may take a lease of the namespace for LEASE_MS, during which others wait.
 *  3. A version exists as long as a checkpoint of its namespace refers to it by (channel, version), a chunk as long as a version's
 *     runs name it. Freeing is mark and sweep over the namespace, in the transaction that removes (compact_remove.c).
 *  4. A reader that has a checkpoint's row reads its values with a second statement, which says whether the row was still that one:
 *     then all of its values were there. */
#ifndef CENOTE_STORE_PG_COMPACT_H
#define CENOTE_STORE_PG_COMPACT_H

#include "store/pack/ckpt.h"
#include "store/postgres/ckpt.h"

#define COMPACT_CHUNK_BITS 28
#define COMPACT_CHUNKS_MAX ((INT64_C(1) << COMPACT_CHUNK_BITS) - 1)
#define COMPACT_POOL_BYTES (64u << 10) /* more is cut and compressed on the CPU pool */
#define COMPACT_TRIES 12

#define COMPACT_LEASE_FREE(n, me) "(" n ".lease_to IS NULL OR " n ".lease_to < clock_timestamp() OR " n ".lease_by = " me ")"
/* Condition on a row t of cenote_thread. Parameters lie in subqueries so that the planner sees no difference between one call and
 * another: else it plans each anew, which takes longer than to run it. */
#define COMPACT_SEEN(o) "((SELECT $" #o "::text[]) IS NULL OR t.usr = ANY((SELECT $" #o "::text[])::text[]))"
/* The chunks of version v of stream s (number), in order: bytea[]. */
#define COMPACT_CHUNKS(stream, runs)                                                                                               \
	"ARRAY(SELECT c.data FROM generate_series(1, cardinality(" runs "), 2) i CROSS JOIN LATERAL (SELECT k.id, k.data FROM"     \
	" @cenote_chunk k WHERE k.id BETWEEN ((" stream ") << 28) + (" runs ")[i] AND ((" stream ") << 28) + (" runs               \
	")[i + 1] ORDER BY k.id OFFSET 0) c ORDER BY i, c.id)"
/* Writes of a checkpoint: record[] of (task, data). */
#define COMPACT_WRITES(scope, cid)                                                                                                 \
	"ARRAY(SELECT ROW(p.task, p.data) FROM @cenote_pending p WHERE p.scope = " scope " AND p.cid = " cid ")"
#define COMPACT_JOURNAL(op, step)                                                                                                  \
	"INSERT INTO @cenote_journal(op, step, kind, ids, names) VALUES ($" #op "::bigint, " #step ", 'c', '{}', '{}')"

/* ------------------------------------------------------------ compact_text.c: texts in fewer bytes */

/* UUIDs in lower case as 16 bytes behind a 1, others behind a 0. NULL .p: no memory. */
struct str compact_uuid(struct arena *a, struct str s);
struct str compact_uuid_text(struct arena *a, struct str packed);
struct str compact_type(struct arena *a, struct str type);
struct str compact_type_text(struct str packed); /* a slice */
struct str compact_version(struct arena *a, struct str version);
#define COMPACT_EMPTY "'0'" /* the type "empty", packed */
struct compact_chan {
	struct str channel, version; /* version: packed */
	struct str text;	     /* the version as it is */
};
/* channel_versions, by channel; slices of the arena or of checkpoint. */
enum err compact_channels(struct arena *a, struct str checkpoint, struct compact_chan **out, size_t *n) MUST_CHECK;

/* A column of COMPACT_WRITES, in order; bytes (may be NULL): as stored. */
enum err compact_pending_read(struct arena *a, const PGresult *r, int row, int col, struct ckpt_pending **out, size_t *n,
			      size_t *bytes) MUST_CHECK;

/* ------------------------------------------------------------ compact_cache.c: which chunks a stream has */

struct compact_known;
struct compact_stream {
	struct str channel;
	bool there;  /* its row is */
	bool loaded; /* the head's names are there */
	int64_t next;
	struct compact_known *v; /* open addressing, cap a power of two */
	size_t cap, count;
};
struct compact_scope {
	struct list lru;
	struct str key;
	unsigned users;
	bool known;	 /* id, rev and the streams are those of the database when rev was read */
	int64_t id, rev; /* 0: not there */
	struct compact_stream *v;
	size_t n, cap, weight;
};
struct compact_cache;
enum err compact_cache_new(struct pg *s) MUST_CHECK;
void compact_cache_free(struct pg *s);
/* One call at a time of this process works on a thread: others of this process wait their turn. Threads in any order. */
struct compact_turns {
	uint8_t v[32]; /* bits of stripes */
};
void compact_turn_add(struct compact_turns *x, const struct pg_tenant *t, struct str thread);
void compact_turns_begin(struct pg *s, const struct compact_turns *x);
void compact_turns_end(struct pg *s, const struct compact_turns *x);
/* With the turn of the thread: the entry, kept until it is given back. */
enum err compact_scope_take(struct pg_tenant *t, struct str thread, struct str ns, struct compact_scope **out) MUST_CHECK;
void compact_scope_give(struct pg *s, struct compact_scope *x);
void compact_scope_forget(struct compact_scope *x);
enum err compact_stream_get(struct compact_scope *x, struct str channel, bool make, struct compact_stream **out) MUST_CHECK;
void compact_stream_unload(struct compact_stream *x);
int64_t compact_number(const struct compact_stream *x, const uint8_t *name); /* 0: not known */
enum err compact_learn(struct compact_stream *x, const uint8_t *name, int64_t n) MUST_CHECK;

/* ------------------------------------------------------------ compact_read.c */

struct compact_row {
	int64_t scope, xmin;
	struct ckpt c;
	bool gone;
	size_t row_bytes; /* of body and id */
};
/* What is wanted of n rows of which the rows have been read: their values. Rows that went meanwhile are read again, or are gone.
 * *bytes: of the values. */
enum err compact_values(struct pg_tenant *t, struct arena *a, struct compact_row *v, size_t n, unsigned want,
			const struct str *only, size_t only_n, size_t *bytes) MUST_CHECK;
/* Fills in bytes. */
enum err compact_sizes(struct pg_tenant *t, struct compact_row *v, size_t n) MUST_CHECK;
/* From a column pair of COMPACT row columns: C_* below. Slices of the arena. */
enum { C_THREAD, C_NS, C_CID, C_PARENT, C_BODY, C_SCOPE, C_XMIN, C_WRITES, C_COLUMNS };
#define COMPACT_COLUMNS(writes)                                                                                                    \
	"t.thread, n.ns, c.cid, c.parent, c.body, n.id, c.xmin::text::bigint, CASE WHEN " writes                                   \
	" THEN " COMPACT_WRITES("n.id", "c.cid") " END"
enum err compact_row_read(struct arena *a, const PGresult *r, int row, struct compact_row *out) MUST_CHECK;
/* The row that a query names. */
enum err compact_get_row(struct pg_tenant *t, struct arena *a, const struct principal *who, const struct ckpt_query *q,
			 struct compact_row *out, bool *found) MUST_CHECK;
/* Opens for a read or write; names that cannot be are *t NULL. */
enum err compact_open(struct store *s, const struct principal *who, unsigned right, bool create, struct pg_tenant **t) MUST_CHECK;

/* compact_write.c: waits until the lease that stands in the way ends, or takes it. try: how often it has failed. */
enum err compact_again(struct pg_tenant *t, unsigned attempt, int64_t me, const int64_t *scopes, size_t n) MUST_CHECK;

/* compact_write.c: namespaces that exist, by number, are at these revs, and get the next (a step of a job that has the locks). */
void compact_revs_params(struct pg_params *p, struct str thread, const struct str *ns, const int64_t *ids, const int64_t *revs,
			 size_t n, int64_t me);
extern const struct pg_stmt *const compact_revs;
/* compact.c: what has to be there and what must not, when a tenant is opened. */
enum err compact_settle(struct pg_tenant *t) MUST_CHECK;
/* The statements that remove what lies under a thread, for threads.c: $1 thread, $2 owners. */
extern const struct pg_stmt *const compact_thread_gone;
extern const struct checkpoint_ops pg_compact_ops;

enum err compact_write(struct store *, const struct principal *, const struct ckpt_change *, size_t) MUST_CHECK;
enum err compact_get(struct store *, struct arena *, const struct principal *, const struct ckpt_query *, struct ckpt *,
		     bool *) MUST_CHECK;
enum err compact_list(struct store *, const struct principal *, const struct ckpt_list *, ckpt_fn, void *) MUST_CHECK;
enum err compact_sends(struct store *, struct arena *, const struct principal *, struct str, struct ckpt_sends *,
		       size_t) MUST_CHECK;
enum err compact_history(struct store *, struct arena *, const struct principal *, const struct ckpt_query *, struct ckpt_history *,
			 size_t) MUST_CHECK;
enum err compact_remove(struct store *, const struct principal *, struct str, const struct ckpt_ref *, size_t,
			struct ckpt_removed *) MUST_CHECK;
enum err compact_copy(struct store *, const struct principal *, struct str, struct str, const struct ckpt_ref *, size_t) MUST_CHECK;
enum err compact_by_run(struct store *, const struct principal *, const struct str *, size_t, ckpt_fn, void *) MUST_CHECK;
enum err compact_storage(struct store *, struct arena *, const struct principal *, struct str, struct ckpt_storage *) MUST_CHECK;

#endif
