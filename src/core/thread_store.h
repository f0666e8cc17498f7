/* The port's second half: what lies under a thread's name. A driver offers these calls beside those of core/store.h, whose rules
 * 1-8 hold here too.
 *
 * A thread is a name of a tenant. Under it may lie messages (core/store.h), checkpoints of a graph (LangGraph), entries of a
 * session (OpenAI Agents SDK, conversations), and a record: whose it is, metadata, time to live. One listing shows them all.
 *
 *  9. A thread belongs to the user of whoever wrote it first ("" : nobody's). principal_sees() says who may reach it; for others it
 *     does not exist (E_NOT_FOUND, or found = false), and a write of theirs to it is E_CONFLICT. Rows that another program wrote
 * and that have no record are nobody's.
 * 10. Values of channels and pending writes are opaque: type and bytes come back as they went in. Checkpoint and metadata are JSON
 *     objects and come back as the same JSON.
 * 11. A checkpoint is named by (thread, ns, id); ids are compared as bytes, the newest is the greatest. Ancestry is parent alone.
 * 12. Removing frees what only the removed referred to, and never what a remaining checkpoint of (thread, ns) refers to. */
#ifndef CENOTE_CORE_THREAD_STORE_H
#define CENOTE_CORE_THREAD_STORE_H

#include "core/store.h"

/* ------------------------------------------------------------- checkpoints */

/* The value of a channel at a version. type "empty": there is none at this version. */
struct ckpt_value {
	struct str channel, version, type, bytes;
};
/* A pending write. Ordered by (task_path, task_id, idx), texts as bytes. */
struct ckpt_pending {
	struct str task_id, task_path, channel, type, bytes;
	int32_t idx;
};
struct ckpt {
	struct str thread, ns, id, parent; /* parent "" : none */
	struct str checkpoint, metadata;   /* channel_values, if there, has inline values only */
	struct ckpt_value *values;	   /* of the channels in channel_versions; not "empty"; by channel */
	size_t values_n;
	struct ckpt_pending *writes;
	size_t writes_n;
	/* With CK_VALUES, when sends_known: what `sends` would give for the parent, of use when v is below 4. */
	struct ckpt_pending *sends;
	size_t sends_n;
	bool sends_known;
	size_t bytes; /* CK_SIZES: what this checkpoint alone costs in the store, about: its row, its writes, values first stored
			 with it */
};

enum ckpt_op { CK_PUT, CK_WRITES };
struct ckpt_change {
	enum ckpt_op op;
	struct str thread, ns, id;
	/* CK_PUT: inserted, or on conflict checkpoint and metadata replaced, not the parent. values: a (channel, version) that is
	 * there stays as it is. */
	struct str parent, checkpoint, metadata;
	const struct ckpt_value *values;
	size_t values_n;
	/* CK_WRITES: rows under a checkpoint that need not be there yet. replace: channel, type and bytes of a row (task_id, idx)
	 * that is there are replaced; else it stays. All of one call have one task. */
	const struct ckpt_pending *writes;
	size_t writes_n;
	bool replace;
};

enum ckpt_want { CK_VALUES = 1, CK_WRITES_TOO = 2, CK_SIZES = 4 };
struct ckpt_query {
	struct str thread, ns, id; /* id "" : the latest */
	unsigned want;		   /* enum ckpt_want */
	const struct str *channels;
	size_t channels_n; /* with CK_VALUES: only these; 0: all */
};
struct ckpt_list {
	const struct str *thread, *ns; /* NULL: all */
	struct str id;		       /* "" : any */
	struct str before;	       /* ids below it; "" : all */
	struct str filter;	       /* JSON object that metadata contains, as jsonb @> has it; "" : all */
	/* Goes on after this row of an earlier call (order: id descending, then thread, ns ascending); after.id "" : from the start
	 */
	struct {
		struct str id, thread, ns;
	} after;
	size_t limit; /* at least 1 */
	unsigned want;
};
typedef bool (*ckpt_fn)(void *ctx, const struct ckpt *c);

struct ckpt_ref {
	struct str ns, id;
};
struct ckpt_removed {
	int64_t checkpoints, values, writes; /* rows that went */
	int64_t bytes;			     /* of values and writes, about */
};
/* What rebuilds a delta channel (contracts: langgraph 3.9). */
struct ckpt_history {
	struct str channel;
	bool seeded;
	struct ckpt_value seed; /* type "" : seed.bytes is JSON text, from the checkpoint's inline values */
	struct ckpt_pending *writes;
	size_t writes_n; /* oldest checkpoint first, within one as ordered above */
};
struct ckpt_sends {
	struct str id;
	struct ckpt_pending *v;
	size_t n;
};
struct ckpt_channel_size {
	struct str channel;
	int64_t versions, bytes; /* bytes: as stored */
};
struct ckpt_storage {
	int64_t checkpoints, checkpoint_bytes, values, value_bytes, writes, write_bytes;
	struct ckpt_channel_size *channels;
	size_t channels_n;
};

struct checkpoint_ops {
	size_t remove_step; /* a good number of refs for remove: bounds how long others wait; 0: a few hundred */
	/* All in one transaction, in order; all or nothing. OK when durable. Repeating a call changes nothing more. */
	enum err (*write)(struct store *s, const struct principal *who, const struct ckpt_change *c, size_t n) MUST_CHECK;
	enum err (*get)(struct store *s, struct arena *a, const struct principal *who, const struct ckpt_query *q, struct ckpt *out,
			bool *found) MUST_CHECK;
	/* Newest first (see `after`). fn gets slices valid during the call; it may run on the CPU pool and must not wait. */
	enum err (*list)(struct store *s, const struct principal *who, const struct ckpt_list *q, ckpt_fn fn, void *ctx) MUST_CHECK;
	/* out[i].v: writes with channel __pregel_tasks of any namespace under the checkpoint id out[i].id, in order: sends of the
	 * format before v 4. */
	enum err (*sends)(struct store *s, struct arena *a, const struct principal *who, struct str thread, struct ckpt_sends *out,
			  size_t n) MUST_CHECK;
	/* out[i].channel says which; id "" : latest. An unknown target gives no writes. */
	enum err (*history)(struct store *s, struct arena *a, const struct principal *who, const struct ckpt_query *q,
			    struct ckpt_history *out, size_t n) MUST_CHECK;
	/* Removes these checkpoints with their writes, frees values that none of (thread, ns) refers to any more, sets the parent
	 * of survivors whose parent is gone to none. Those that are not there are passed over. One transaction. */
	enum err (*remove)(struct store *s, const struct principal *who, struct str thread, const struct ckpt_ref *refs, size_t n,
			   struct ckpt_removed *out) MUST_CHECK;
	/* Checkpoints (refs NULL: all; else these), their values, writes, parents, metadata under another thread's name, which then
	 * belongs to the source's user. E_NOT_FOUND: nothing there; E_CONFLICT: the target has checkpoints. One transaction. */
	enum err (*copy)(struct store *s, const struct principal *who, struct str from, struct str to, const struct ckpt_ref *refs,
			 size_t n) MUST_CHECK;
	/* Names of checkpoints whose metadata.run_id is one of ids (only thread, ns, id are set). */
	enum err (*by_run)(struct store *s, const struct principal *who, const struct str *ids, size_t n, ckpt_fn fn,
			   void *ctx) MUST_CHECK;
	enum err (*storage)(struct store *s, struct arena *a, const struct principal *who, struct str thread,
			    struct ckpt_storage *out) MUST_CHECK;
};

/* ------------------------------------------------------------------ threads */

enum thread_part { THREAD_MESSAGES = 1, THREAD_CHECKPOINTS = 2, THREAD_ENTRIES = 4, THREAD_RECORD = 8, THREAD_ALL = 15 };
enum thread_ttl { TTL_DELETE, TTL_KEEP_LATEST };
/* The record of a thread; see thread_put. */
struct thread_record {
	struct str thread, user;
	struct str metadata, config; /* JSON objects; "" : {} */
	double ttl_minutes;	     /* 0: none. Counted from the last change of anything under the thread */
	enum thread_ttl ttl_strategy;
	int64_t version; /* 0: no record; +1 by every thread_put */
};
/* thread_info (core/store.h) is what listings show. */

/* ------------------------------------------------------------------ entries */

/* One entry of a session: a JSON object, kept as the bytes it came as (values of PostgreSQL's jsonb: as the same JSON). */
struct session_entry {
	int64_t id; /* the driver's; unique in the tenant */
	struct str data;
	int64_t created_us;
	bool unreadable; /* another program wrote something that is no JSON object; data is what is there */
};
typedef bool (*entry_fn)(void *ctx, const struct session_entry *e);
struct entry_list {
	struct str thread;
	bool newest_first;
	int64_t after; /* id of an entry: those behind it in this order; it must be there, else E_NOT_FOUND; 0: from the start */
	size_t limit;
};
struct entry_append {
	struct str thread;
	struct session_entry *v; /* data in; id and created_us out */
	size_t n;
	/* Recognises a repeated call: once (32 bytes, "" : not wanted) is kept with the session's last append. look: when the last
	 * append had the same once and is younger than ten minutes, nothing is appended, the ids are those of then, and repeated is
	 * set. With look and no entries nothing is appended either way: repeated says whether the last append was of that call,
	 * however many entries it had; must_exist then, as no session is to be made by a question. */
	struct str once;
	bool look;
	bool repeated; /* out */
	/* Without once: these belong to the call of the last append that had one, whose name stays with the session. */
	bool same_call;
	/* An entry of the thread that goes, in the same transaction, when these come; 0, and one that is not there any more: none.
	 * Not together with look. */
	int64_t instead;
	bool must_exist;  /* E_NOT_FOUND when the thread has neither record nor entries */
	bool wants_empty; /* the session must have no entries: else E_CONFLICT (replacing a history: clear, then append, atomically)
			   */
	/* The entry that must be the session's newest: else E_CONFLICT, and nothing is stored. 0: any. A repeated call is repeated
	 * all the same. */
	int64_t behind;
};

struct thread_ops {
	/* found = false: nothing under that name, or not to be seen. */
	enum err (*get)(struct store *s, struct arena *a, const struct principal *who, struct str thread, struct thread_info *out,
			bool *found) MUST_CHECK;
	/* Writes the record: IF_ANY, IF_ABSENT (E_CONFLICT when anything lies under the name), IF_VERSION (r->version is the one
	 * expected; E_CONFLICT otherwise). A thread keeps its user; user is set when there was no record. r->version out. */
	enum err (*put)(struct store *s, const struct principal *who, struct thread_record *r, enum write_if cond) MUST_CHECK;
	/* Removes parts; a record that was made by a write alone (nobody called put) goes with the last part. E_NOT_FOUND when
	 * there is nothing of them. */
	enum err (*remove)(struct store *s, const struct principal *who, struct str thread, unsigned parts) MUST_CHECK;

	enum err (*append)(struct store *s, const struct principal *who, struct entry_append *e) MUST_CHECK;
	/* E_NOT_FOUND: no such session (no record, no entries). */
	enum err (*entries)(struct store *s, const struct principal *who, const struct entry_list *q, entry_fn fn,
			    void *ctx) MUST_CHECK;
	enum err (*entry)(struct store *s, struct arena *a, const struct principal *who, struct str thread, int64_t id,
			  struct session_entry *out, bool *found) MUST_CHECK;
	/* The newest readable entry, removed; unreadable ones stay. */
	enum err (*pop)(struct store *s, struct arena *a, const struct principal *who, struct str thread, struct session_entry *out,
			bool *found) MUST_CHECK;
	enum err (*entry_delete)(struct store *s, const struct principal *who, struct str thread, int64_t id) MUST_CHECK;
	/* All entries of the session and, if nobody called put, its record; OK also when there is none. with: may be NULL; else
	 * appended in the same transaction. */
	enum err (*clear)(struct store *s, const struct principal *who, struct str thread, struct entry_append *with) MUST_CHECK;
};

#endif
