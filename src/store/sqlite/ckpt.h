/* Private to store/sqlite: checkpoints in the compact layout.
 *
 * What lies where
 *  - cenote_scope: a namespace of a thread; everything below names it by number.
 *  - cenote_checkpoint: one row each. body: checkpoint and metadata in one compressed text (body_pack). A row without a body is a
 *    placeholder: a name that pending writes or a child refer to before (or without) its checkpoint. parent is the number of
 * another row of the scope, 0: none.
 *  - cenote_pending: one row per (checkpoint, task) with all of the task's writes (pending.c).
 *  - cenote_stream: a channel of a scope. cenote_version: its values by version. Short ones lie there compressed; of long ones
 * there is a list of numbers of chunks (chunks.c).
 *  - cenote_chunk: id = stream << CHUNK_BITS | number within the stream, so that a stream's chunks lie together.
 *
 * Invariants
 *  1. cenote_thread.checkpoints counts the thread's rows with a body; both change in one transaction.
 *  2. Everything a version's list names exists as long as the version does; a version exists as long as a checkpoint of its scope
 *     with a body refers to it by (channel, version). Freeing is mark and sweep over the scope, in the transaction that removes
 *     (ckpt_free.c).
 *  3. Numbers of scopes, checkpoints and streams ascend and are not used twice within a process; those of chunks not while the
 *     cache knows the stream. */
#ifndef CENOTE_STORE_SQLITE_CKPT_H
#define CENOTE_STORE_SQLITE_CKPT_H

#include "store/pack/ckpt.h"
#include "store/sqlite/sq.h"

#define CHUNK_BITS 28
#define CHUNK_MAX ((INT64_C(1) << CHUNK_BITS) - 1)

/* ------------------------------------------------------------ texts that repeat (ckpt_text.c) */

/* UUIDs in lower case as 16 bytes, other texts as they are. */
void bind_uuid(sqlite3_stmt *st, int i, struct str s, uint8_t room[16]);
/* Into the arena when it was packed, else a slice of the column; .p NULL: no memory. */
struct str col_uuid(struct arena *a, sqlite3_stmt *st, int i);
/* Types of values: known ones as numbers. */
void bind_type(sqlite3_stmt *st, int i, struct str type);
struct str col_type(sqlite3_stmt *st, int i);
/* Digits and points, as LangGraph makes versions, at two to a byte with zeros counted. room: VERSION_ROOM(s) bytes. */
#define VERSION_ROOM(s) ((s).n / 2 + 8)
void bind_version(sqlite3_stmt *st, int i, struct str s, uint8_t *room);
struct str col_version(struct arena *a, sqlite3_stmt *st, int i);

/* ------------------------------------------------------------ chunks.c */

enum { FORM_WHOLE, FORM_LIST, FORM_TREE };
/* A value on its way into the store. */
struct value_in {
	struct str channel, version, type;
	size_t size;
	bool whole;
	struct str data; /* whole: compressed */
	struct pack_chunk *chunks;
	struct str *squeezed; /* of each chunk; .p NULL: probably stored already */
	size_t n;
};
/* The caller's share, on its thread: cuts, names, compresses what is not known to be there. */
enum err value_prepare(struct sq *s, struct tenant *t, struct arena *a, struct str thread, struct str ns,
		       const struct ckpt_value *v, struct value_in *out) MUST_CHECK;
/* The writer's: stores it unless the version is there. */
enum err value_store(struct conn *c, struct arena *a, int64_t scope, const struct value_in *v) MUST_CHECK;
/* A version's chunk numbers, from its row. nodes (may be NULL): those of a tree. */
struct node_ref {
	int64_t n; /* the chunk that it lies in */
	int64_t *ids;
	size_t ids_n;
};
enum err value_list(struct conn *c, struct arena *a, int64_t stream, int form, struct str data, int64_t **ids, size_t *n,
		    struct node_ref **nodes, size_t *nodes_n) MUST_CHECK;
/* The numbers in a node. */
enum err node_ids(struct conn *c, struct arena *a, int64_t stream, int64_t node, int64_t **ids, size_t *n) MUST_CHECK;
/* Adds what a chunk takes. */
enum err chunk_size(struct conn *c, int64_t stream, int64_t n, size_t *bytes) MUST_CHECK;
/* Above every chunk number that the stream has. */
enum err chunk_next(struct conn *c, int64_t stream, int64_t *next) MUST_CHECK;
/* Reads the bytes of a version's row. */
enum err value_read(struct conn *c, struct arena *a, int64_t stream, int form, size_t size, struct str data,
		    struct str *out) MUST_CHECK;

/* ------------------------------------------------------------ pending.c */

struct pending_in {
	const struct ckpt_pending *w; /* of one task */
	size_t n;
	bool replace;
	int marks;
	struct str packed; /* as a row of their own */
};
/* The caller's share, and the writer's: into the row of the task under the checkpoint's number. *marks: those of the row. */
enum err pending_prepare(struct arena *a, const struct ckpt_change *ch, struct pending_in *out) MUST_CHECK;
enum err pending_store(struct conn *c, struct arena *a, int64_t ckpt, const struct pending_in *in, int *marks) MUST_CHECK;
enum err pending_count(struct arena *a, struct str data, size_t *n) MUST_CHECK;
/* All writes under a checkpoint, in order; bytes: as stored. */
enum err pending_read(struct conn *c, struct arena *a, int64_t ckpt, struct ckpt_pending **out, size_t *n,
		      size_t *bytes) MUST_CHECK;

/* ------------------------------------------------------------ rows */

/* ckpt_write.c: the number of the row with this id (0: none), and whether it is a checkpoint. */
enum err ckpt_number(struct conn *c, int64_t scope, struct str id, int64_t *out, bool *body) MUST_CHECK;

struct ckpt_row {
	int64_t id, scope, parent;
	struct ckpt c; /* what was wanted of it */
};
struct ckpt_want_in {
	unsigned want;
	const struct str *channels; /* as in ckpt_query */
	size_t channels_n;
	size_t *budget; /* bytes of values that may be read */
};
/* What ckpt_fill returns when values are longer than the budget; never seen outside of the driver. */
#define CKPT_TOO_LONG E_COUNT
/* ckpt_read.c: what is wanted of a row, whose names are filled in. body: a slice of a statement that stays where it is. */
enum err ckpt_fill(struct conn *c, struct arena *a, struct ckpt_row *r, struct str body, const struct ckpt_want_in *w) MUST_CHECK;
/* Columns of the row that has this version: stream, type, form, size, data. */
enum err ckpt_value_find(struct conn *c, int64_t scope, const struct pack_channel *x, uint8_t *room, sqlite3_stmt **st,
			 bool *row) MUST_CHECK;
/* ckpt_read.c: only the values wanted of a row whose checkpoint is there already; the row that a query names (0: none). */
enum err ckpt_values(struct conn *c, struct arena *a, struct ckpt_row *r, const struct ckpt_want_in *w) MUST_CHECK;
enum err ckpt_find(struct conn *c, const struct principal *who, const struct ckpt_query *q, int64_t *id, int64_t *scope) MUST_CHECK;
/* ckpt_remove.c: a statement with a number. */
enum err ckpt_run(struct conn *c, enum stmt which, int64_t id) MUST_CHECK;
/* ckpt_remove.c: removes what is not among refs; parents that go stay as names. Counts are the caller's. */
enum err ckpt_keep_only(struct conn *c, int64_t thread, const struct ckpt_ref *refs, size_t n) MUST_CHECK;
/* ckpt_remove.c: everything of a thread's checkpoints; *scopes: how many namespaces it had. */
enum err ckpt_drop_thread(struct conn *c, int64_t thread, int64_t *scopes) MUST_CHECK;
/* ckpt_size.c: adds to r->c.bytes what the values take that its parent does not have. */
enum err ckpt_own_bytes(struct conn *c, struct arena *a, struct ckpt_row *r) MUST_CHECK;

/* ------------------------------------------------------------ ckpt_free.c */

/* A checkpoint of the namespace, whose row is still there, is about to go: frees what no other refers to. body: its body. */
enum err ckpt_free(struct conn *c, struct arena *a, int64_t scope, struct str body, struct ckpt_removed *out) MUST_CHECK;
/* What others who write have to tell: a checkpoint was added, one was replaced (or the namespace went), a stream got a list. */
enum err image_added(struct conn *c, struct arena *a, int64_t scope, struct str checkpoint) MUST_CHECK;
void image_forget(struct conn *c, int64_t scope);
void image_forget_stream(struct conn *c, int64_t scope, int64_t stream);

/* ------------------------------------------------------------ the table of operations */

enum err sq_ckpt_write(struct store *, const struct principal *, const struct ckpt_change *, size_t) MUST_CHECK;
enum err sq_ckpt_get(struct store *, struct arena *, const struct principal *, const struct ckpt_query *, struct ckpt *,
		     bool *) MUST_CHECK;
enum err sq_ckpt_list(struct store *, const struct principal *, const struct ckpt_list *, ckpt_fn, void *) MUST_CHECK;
enum err sq_ckpt_sends(struct store *, struct arena *, const struct principal *, struct str, struct ckpt_sends *,
		       size_t) MUST_CHECK;
enum err sq_ckpt_history(struct store *, struct arena *, const struct principal *, const struct ckpt_query *, struct ckpt_history *,
			 size_t) MUST_CHECK;
enum err sq_ckpt_remove(struct store *, const struct principal *, struct str, const struct ckpt_ref *, size_t,
			struct ckpt_removed *) MUST_CHECK;
enum err sq_ckpt_copy(struct store *, const struct principal *, struct str, struct str, const struct ckpt_ref *, size_t) MUST_CHECK;
enum err sq_ckpt_by_run(struct store *, const struct principal *, const struct str *, size_t, ckpt_fn, void *) MUST_CHECK;
enum err sq_ckpt_storage(struct store *, struct arena *, const struct principal *, struct str, struct ckpt_storage *) MUST_CHECK;

#endif
