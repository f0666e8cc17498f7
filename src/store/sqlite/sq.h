/* Private to store/sqlite: the store, its tenants, connections, the write queue and the change feed.
 *
 * Who owns what
 *  - struct sq: the store. `tmu` guards the table of tenants, `rmu` the free readers, `qmu` the write queue. None of them is held
 *    across a wait, a disk operation of a writer, or another of the three.
 *  - struct tenant: never freed before the store closes. Fields under "writer" belong to the writer thread.
 *  - struct conn: one SQLite connection; used by one thread at a time (the writer, or whoever has leased the reader it is in). */
#ifndef CENOTE_STORE_SQLITE_SQ_H
#define CENOTE_STORE_SQLITE_SQ_H

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "base/map.h"
#include "core/text_store.h"
#include "core/fact_store.h"
#include "core/thread_store.h"
#include "rt/wait.h"
#include "store/feed.h"
#include "store/open.h"

struct chunk_cache;
struct sq;
struct tenant;
struct writer;

/* ------------------------------------------------------------ connections (conn.c) */

enum stmt {
	/* both */
	ST_BEGIN_READ,
	ST_END,
	/* writer */
	ST_BEGIN_WRITE,
	ST_ROLLBACK,
	ST_SAVEPOINT,
	ST_SAVEPOINT_UNDO,
	ST_SAVEPOINT_END,
	ST_META_SET,
	ST_NS_ID,
	ST_NS_ADD,
	ST_ITEM_FIND,
	ST_ITEM_ADD,
	ST_ITEM_SET,
	ST_ITEM_DEL,
	ST_ITEM_TOUCH,
	ST_FACT_RETIRE,
	ST_FACT_FORGET,
	ST_FACT_FORGET_OF,
	ST_FACT_TRIM,
	ST_FACT_EXPIRED,
	ST_FACT_KEEP,
	ST_EXPIRED,
	ST_EXPIRES_MIN,
	ST_THREAD_FIND,
	ST_THREAD_ADD,
	ST_THREAD_SET,
	ST_MESSAGE_FIND,
	ST_MESSAGE_ADD,
	ST_MESSAGE_IDS,
	ST_MESSAGE_DEL_THREAD,
	ST_SESSION_ADD,
	ST_SESSION_SET,
	ST_SESSION_LESS,
	ST_THREAD_DEL_BARE,
	ST_ENTRY_ADD,
	ST_ENTRY_DEL,
	ST_ENTRY_DEL_THREAD,
	ST_REGISTRY_FIND,
	ST_THREAD_LESS,
	ST_DROP_CHUNKS,
	ST_DROP_VERSIONS,
	ST_DROP_STREAMS,
	ST_DROP_PENDING,
	ST_DROP_CKPTS,
	ST_DROP_SCOPES,
	ST_THREAD_FEWER,
	ST_CKPT_DEL,
	ST_CKPT_EMPTY,
	ST_CKPT_DEL_BARE,
	ST_CKPT_ORPHANS,
	ST_SCOPE_USED,
	ST_CKPTS_IN,
	ST_CKPTS_CIDS,
	ST_PENDING_DEL,
	ST_VERSION_DEL,
	ST_LISTS_OF,
	ST_CHUNK_DEL,
	ST_STREAM_HEAD_AGAIN,
	ST_STREAM_DEL_EMPTY,
	ST_SCOPE_CHUNKS,
	ST_SCOPE_VERSIONS,
	ST_SCOPE_STREAMS,
	ST_SCOPE_DEL,
	ST_SCOPE_FIND,
	ST_SCOPES_IN,
	ST_COPY_END,
	ST_COPY_SPAN_SCOPES,
	ST_COPY_SPAN_CKPTS,
	ST_COPY_SPAN_STREAMS,
	ST_COPY_SCOPES,
	ST_COPY_CKPTS,
	ST_COPY_PENDING,
	ST_COPY_STREAMS,
	ST_COPY_VERSIONS,
	ST_COPY_CHUNKS,
	ST_COPY_COUNT,
	ST_RECORD_SET,
	ST_RECORD_DEL,
	ST_THREAD_NOTE,
	ST_PLACE_FIND,
	ST_SCOPE_ADD,
	ST_CKPT_FIND,
	ST_CKPT_ADD,
	ST_CKPT_SET,
	ST_CKPT_AGAIN,
	ST_CKPT_MARK,
	ST_PENDING_FIND,
	ST_PENDING_SET,
	ST_STREAM_ADD,
	ST_STREAM_HEAD,
	ST_VERSION_ADD,
	ST_CHUNK_ADD,
	ST_CHUNK_LAST,
	ST_VALUE_SET,
	ST_VALUE_DEL,
	ST_VALUE_OF_THREAD_DEL,
	ST_VALUE_OF_ENTRY_DEL,
	ST_VALUE_OF_ENTRIES_DEL,
	ST_KEY_SET,
	ST_MODEL_ADD,
	ST_MODEL_COUNT,
	ST_MODEL_DEL,
	ST_VECTOR_ITEM,
	ST_VECTOR_MESSAGE,
	ST_VECTOR_ADD,
	ST_VECTOR_SET,
	ST_VECTOR_DEL,
	ST_VECTOR_DEL_THREAD,
	ST_VECTOR_DROP,
	ST_THREAD_BARE,
	ST_TEXT_ADD,
	ST_TEXT_SET,
	ST_TEXT_DEL,
	ST_TEXT_OWNER,
	ST_TEXT_PLACE,
	ST_TEXT_IDS,
	ST_TEXT_SEEN_SET,
	ST_TEXT_SEEN_DEL,
	ST_VECTOR_TEXT,
	/* readers */
	ST_ITEM_GET,
	ST_VECTOR_GET,
	ST_TEXT_SEEN,
	ST_TEXTS_SEEN,
	ST_TEXT_KNOWN,
	ST_TEXT_BY_ID,
	ST_DOC_TEXTS,
	ST_DOC_TEXTS_ALL,
	ST_DOC_TEXT,
	ST_DOC_WALK_TEXTS,
	ST_DOC_LACKING_TEXTS,
	ST_ITEM_BY_ID,
	ST_ITEM_ROW,
	ST_FACT_HISTORY,
	ST_FACT_KNOWN_AT,
	ST_FACT_WALK,
	ST_ITEM_NEWEST,
	ST_ITEM_OLDER,
	ST_ITEM_TIES,
	ST_ITEM_WALK,
	ST_ITEM_WALK_AFTER,
	ST_NS_ALL,
	ST_NS_BELOW,
	ST_NS_LIVE_ALL,
	ST_NS_LIVE_BELOW,
	ST_DOC_ITEMS,
	ST_DOC_ITEM,
	ST_DOC_MESSAGES,
	ST_DOC_MESSAGE,
	ST_DOC_MESSAGES_ALL,
	ST_DOC_ITEMS_VECTOR,
	ST_DOC_ITEM_VECTOR,
	ST_DOC_MESSAGES_VECTOR,
	ST_DOC_MESSAGES_ALL_VECTOR,
	ST_DOC_MESSAGE_VECTOR,
	ST_DOC_WALK_ITEMS,
	ST_DOC_WALK_MESSAGES,
	ST_DOC_LACKING_ITEMS,
	ST_DOC_LACKING_MESSAGES,
	ST_MODEL_FIND,
	ST_MODELS,
	ST_THREAD_GET,
	ST_MESSAGE_LIST,
	ST_MESSAGE_BY_ID,
	ST_THREADS,
	ST_THREADS_OF,
	ST_THREADS_SEEN,
	ST_THREAD_ROW,
	ST_CKPT_LATEST,
	ST_CKPT_BY_CID,
	ST_CKPT_ROW,
	ST_CKPT_BODY_OF,
	ST_CKPTS_NAMED,
	ST_CHUNK_SIZE,
	ST_STORAGE_CKPTS,
	ST_STORAGE_WRITES,
	ST_STORAGE_CHANNELS,
	ST_CKPT_OF_SCOPE,
	ST_CKPT_OF_ALL,
	ST_CKPT_OF_RUN,
	ST_SCOPES,
	ST_PENDING_OF,
	ST_STREAM_FIND,
	ST_STREAM_GUESS,
	ST_VERSION_GET,
	ST_VALUE_OF,
	ST_CHUNKS,
	ST_SESSION_FIND,
	ST_ENTRIES_UP,
	ST_ENTRIES_DOWN,
	ST_ENTRY_GET,
	ST_VALUE_GET,
	ST_VALUE_WALK,
	ST_KEY_GET,
	ST_KEY_LIST,
	ST_STATS,
	ST_MAX
};

struct conn {
	sqlite3 *db;
	struct tenant *t;
	bool writer;
	bool failed;	   /* writer: SQLite reported an error inside the transaction, which is therefore lost */
	bool in_txn;	   /* readers: a snapshot is held, */
	uint64_t seq;	   /* taken when the tenant's commit sequence was at least this */
	uint64_t used;	   /* clock of the last use, for the LRU */
	uint64_t deadline; /* of the read under way, NEVER outside */
	sqlite3_stmt *st[ST_MAX];
};

enum conn_mode { CONN_READ, CONN_WRITE, CONN_CREATE };
enum err conn_open(struct tenant *t, const char *path, enum conn_mode mode, struct conn **out) MUST_CHECK;
/* Without a checkpoint, whoever it is; the writer checkpoints before when it wants one. */
void conn_close(struct conn *c);
/* The prepared statement, reset and unbound; NULL with the diagnostic set when it cannot be prepared (code in *e). */
sqlite3_stmt *conn_stmt(struct conn *c, enum stmt id, enum err *e);
/* Steps a statement that returns no row and resets it. */
enum err conn_run(struct conn *c, enum stmt id) MUST_CHECK;
enum err conn_exec(struct conn *c, const char *sql) MUST_CHECK;
/* One step: *row tells whether there is one; without a row (or on error) the statement is reset. */
enum err conn_step(struct conn *c, sqlite3_stmt *st, bool *row) MUST_CHECK;
/* First column of the first row of a query, as integer; 0 without a row. */
enum err conn_int(struct conn *c, const char *sql, int64_t *out) MUST_CHECK;
/* SQLite's result code to ours, with a sentence. */
enum err conn_error(struct conn *c, int rc);
enum err conn_error_at(const struct tenant *t, sqlite3 *db, int rc);

static inline void bind_str(sqlite3_stmt *st, int i, struct str s)
{
	sqlite3_bind_text(st, i, s.p ? s.p : "", (int)s.n, SQLITE_STATIC);
}
static inline void bind_bytes(sqlite3_stmt *st, int i, struct str s)
{
	sqlite3_bind_blob(st, i, s.p ? s.p : "", (int)s.n, SQLITE_STATIC);
}
/* column_blob also for TEXT: it does not copy to append a NUL. */
static inline struct str col_str(sqlite3_stmt *st, int i)
{
	const char *p = sqlite3_column_blob(st, i);
	return (struct str){p ? p : "", (size_t)sqlite3_column_bytes(st, i)};
}
static inline int64_t col_i64(sqlite3_stmt *st, int i)
{
	return sqlite3_column_int64(st, i);
}

/* Name of a VFS over `under` (NULL: the default one) that gathers writes to the log; made at the first call (walbatch.c). */
enum err walbatch_vfs(const char *under, const char **out) MUST_CHECK;

/* ------------------------------------------------------------ schema (schema.c) */

/* Makes a complete empty file at the tenant's path, atomically (a temporary name, then rename). */
enum err schema_create(struct tenant *t) MUST_CHECK;
/* Reads the version: E_CORRUPT when it is not a store's file or a newer one. */
enum err schema_version(struct conn *c, int64_t *version) MUST_CHECK;
/* Brings the file to the newest version, step by step. Writer only. */
enum err schema_migrate(struct conn *c) MUST_CHECK;
/* Sees to it that the file is in WAL mode (somebody may have changed that with another tool). Writer only. */
enum err schema_use_wal(struct conn *c) MUST_CHECK;
/* When the last stop was not clean: is the file whole? Runs on a read connection. */
enum err schema_check(struct conn *c) MUST_CHECK;

/* ------------------------------------------------------------ tenants (tenant.c) */

#define VECTOR_MODELS_MAX 64
enum tenant_state { T_ABSENT, T_UNKNOWN, T_OPENING, T_READY, T_BAD };
struct tenant {
	struct sq *s;
	char name[64];
	char *path, *base; /* base: for diagnostics */
	bool keys;	   /* keys.sqlite */
	atomic_int state;
	pthread_mutex_t mu; /* state changes, waiters, and what failed */
	struct list waiters;
	enum err bad;
	struct diag bad_diag;
	uint64_t bad_until_ns;
	bool check_done;	    /* within this process */
	bool creating;		    /* the opening under way makes the file */
	bool open_queued;	    /* under mu: nobody has begun with it */
	enum tenant_state open_was; /* under mu: before OPENING */

	_Atomic uint64_t seq;	      /* commits so far; moves before their answers are given */
	_Atomic int64_t next_expires; /* 0: none, -1: not known */
	_Atomic int64_t wal_pages;
	struct feed feed;

	/* writer */
	struct conn *w;
	bool sick;		/* a transaction failed on the disk: heal before the next */
	bool dirty;		/* the clean flag is cleared */
	uint64_t ckpt_at_pages; /* try the next checkpoint when the WAL has grown to this */
	uint64_t last_write_ns;
	int64_t next_ns, next_item, next_thread, next_message, next_text, next_entry, next_scope, next_checkpoint, next_stream;
	struct map ns_cache;		   /* path -> struct feed_name */
	int64_t models[VECTOR_MODELS_MAX]; /* that may have vectors (vectors.c) */
	int models_n;			   /* -1: not known */
	int facts;			   /* facts.c: there were any, ever; -1: not known */
	struct wop *batch, **batch_end;
	struct tenant *batch_next;
	struct list open_node; /* in sq.open_tenants while w is there */
};
/* The tenant of who, ready for use; NULL (OK) when it has no file and create is false. */
enum err tenant_get(struct sq *s, const struct principal *who, unsigned right, bool create, struct tenant **out) MUST_CHECK;
enum err tenant_ready(struct tenant *t, bool create, bool *absent) MUST_CHECK;
/* Reads the tenants' directory into the table. */
enum err tenants_load(struct sq *s) MUST_CHECK;
enum err tenant_new(struct sq *s, struct str name, bool keys, struct tenant **out) MUST_CHECK;
void tenant_free(struct tenant *t);
/* A snapshot of the table: heap array of all tenants; NULL when empty or without memory. */
struct tenant **tenants_all(struct sq *s, size_t *n);

/* ------------------------------------------------------------ readers (reader.c) */

#define READER_CONNS 8
struct reader {
	struct reader *next;
	struct conn *conns[READER_CONNS];
};
/* Leases a connection with a snapshot that shows everything answered so far. deadline: for the statements run on it. */
enum err reader_begin(struct sq *s, struct tenant *t, uint64_t deadline, struct reader **r, struct conn **c) MUST_CHECK;
/* Gives it back; e is how the read ended (a connection that met an I/O error is closed). Returns e. */
enum err reader_end(struct sq *s, struct reader *r, struct conn *c, enum err e);
/* The same after a read that went through all of something: its page cache, which holds the end of that, goes back. */
enum err reader_end_scan(struct sq *s, struct reader *r, struct conn *c, enum err e);
/* Within a lease: gives up the snapshot and takes a new one. */
enum err reader_renew(struct conn *c) MUST_CHECK;
/* Ends the snapshots of this tenant that idle readers hold, so that a checkpoint is not held up. */
void readers_let_go(struct sq *s, const struct tenant *t);
void readers_free(struct sq *s);
/* rest.c: on the writer's thread, between transactions. */
void store_rest(struct sq *s);
/* Empties a page cache (c NULL: none) that takes more than 1 MiB; was it so? By whoever may use the connection. */
bool conn_shrink(struct conn *c);
#define MAX_READERS 256u

/* ------------------------------------------------------------ write queue (queue.c) and writer (writer.c) */

/* A write on its way. States and who moves it:
 *     new --queue_submit--> queued --writer_take--> taken --writer_finish--> done (event set)
 *                              \--queue_withdraw (deadline passed)--> done (event set)
 * The memory is the caller's stack; it returns from queue_submit only after the event. */
struct wop {
	struct wop *next;
	struct tenant *t;
	/* Applies the op inside the transaction; may be run again after a rollback. Non-OK for reasons of its own: it has changed
	 * nothing; non-OK with c->failed: the transaction is lost. NULL: nothing but opening the tenant. */
	enum err (*apply)(struct writer *w, struct conn *c, struct wop *op);
	void *arg;
	size_t writes, bytes; /* weight, for the size of a transaction */
	uint64_t deadline;
	enum err err;
	struct diag diag;
	struct event ev;
};
enum err queue_submit(struct sq *s, struct wop *op) MUST_CHECK;
void *queue_warden(void *sq);

struct writer {
	struct sq *s;
	struct feed_entry *pend; /* changes of the transaction under way */
	size_t pend_n, pend_cap;
	bool record;	      /* pend has names */
	int64_t min_expires;  /* smallest expiry put in this transaction, 0: none */
	bool swept;	      /* a sweep ran in it, and found that */
	int64_t next_expires; /* is the next to expire */
};
enum err writer_start(struct sq *s) MUST_CHECK;
void writer_stop(struct sq *s);
/* The namespace, from the cache or the table, made when missing and create is set; NULL in *out: there is none. */
enum err writer_ns(struct writer *w, struct conn *c, struct str path, bool create, struct feed_name **out) MUST_CHECK;
/* After ROLLBACK TO: forgets what the transaction noted after pend_n was mark, and the namespaces that it may have made. */
void writer_undo(struct writer *w, struct tenant *t, size_t mark);
/* Notes a changed document of the transaction; name may be NULL when w->record is false. */
enum err writer_changed(struct writer *w, int64_t id, bool message, bool removed, struct feed_name *name) MUST_CHECK;

/* apply_*.c: what the ops do, inside the writer's transaction */
struct items_arg {
	struct item_write *w;
	size_t n;
	bool atomic;
};
enum err apply_items(struct writer *w, struct conn *c, struct wop *op);
struct sweep_arg {
	int64_t now_us;
	unsigned max, removed;
	int64_t next_us;
};
enum err apply_sweep(struct writer *w, struct conn *c, struct wop *op);
struct messages_arg {
	struct message *m;
	size_t n;
};
enum err apply_messages(struct writer *w, struct conn *c, struct wop *op);
/* Removes the messages of a thread and tells the feed; *n: how many. */
enum err apply_messages_removed(struct writer *w, struct conn *c, int64_t thread_id, struct str user, struct str thread,
				int64_t *n) MUST_CHECK;
struct value_arg {
	struct str name, value;
};
enum err apply_value(struct writer *w, struct conn *c, struct wop *op);
enum err apply_key(struct writer *w, struct conn *c, struct wop *op); /* arg: const struct key_record */

/* ------------------------------------------------------------ the store (sqlite.c) */

struct sq {
	struct store base; /* first */
	char *dir;
	const char *vfs;
	int lock_fd;
	bool durable;
	size_t cache_bytes, wal_limit_pages;
	unsigned queue_max;

	pthread_mutex_t tmu;
	struct map tenants;
	struct tenant *keys;

	pthread_mutex_t rmu;
	struct reader *readers; /* free ones */
	unsigned readers_n;	/* all */
	_Atomic uint64_t read_clock;

	pthread_mutex_t qmu;
	pthread_cond_t qcv, warden_cv;
	struct wop *q_head, **q_end;
	unsigned q_n;
	atomic_uint q_waiting; /* queued, on its way to the queue included */
	bool w_sleeps, warden_sleeps, stop;
	pthread_t w_thread, warden;
	bool w_started, warden_started;
	struct writer w;
	struct list open_tenants; /* writer's; most recently used first */
	unsigned open_n;

	struct chunk_cache *chunks; /* chunks.c */
	struct list images;	    /* writer's; ckpt_free.c */

	/* figures */
	_Atomic uint64_t n_commits, n_ops, n_failed, n_checkpoints, ckpt_us, commit_us, n_withdrawn, n_heals;
	/* the last failure of a transaction on the disk, for ping */
	pthread_mutex_t fail_mu;
	uint64_t fail_ns; /* 0: none since the last good commit */
	enum err fail;
	struct diag fail_diag;
};

static inline struct sq *sq_of(struct store *s)
{
	return (struct sq *)(void *)s;
}

/* reads, by file: read_item.c */
enum err sq_item_get(struct store *, struct arena *, const struct principal *, struct str, struct str, int64_t, struct item *,
		     bool *) MUST_CHECK;
enum err sq_item_walk(struct store *, const struct principal *, struct str, struct str, struct str, item_fn, void *) MUST_CHECK;
enum err sq_item_by_id(struct store *, struct arena *, const struct principal *, const int64_t *, size_t, struct item *) MUST_CHECK;
enum err sq_namespaces(struct store *, const struct principal *, struct str, name_fn, void *) MUST_CHECK;
/* Runs fn for each namespace (with or without items) at or below prefix and not before `from`, in byte order, on the connection. */
typedef enum err (*ns_fn)(void *ctx, int64_t id, struct str path, bool *go);
enum err ns_each(struct conn *c, struct str prefix, struct str from, ns_fn fn, void *ctx) MUST_CHECK;
/* The columns of ITEM_COLUMNS from column `at` on. */
#define ITEM_COLUMNS                                                                                                               \
	"i.id, i.version, i.created_us, i.updated_us, i.ttl_minutes, i.expires_us, i.key, i.value, i.fact, i.valid_from_us, "      \
	"i.valid_to_us"
#define ITEM_COLUMNS_N 11
void item_columns(sqlite3_stmt *st, struct str ns, struct item *out);
static inline bool item_omitted(const struct item *it, int64_t omit_expired_us)
{
	return omit_expired_us > 0 && it->expires_us > 0 && it->expires_us < omit_expired_us;
}
/* scan.c */
enum err sq_item_scan(struct store *, const struct principal *, struct str, int64_t, const struct scan_hint *, item_fn,
		      void *) MUST_CHECK;
/* docs.c */
/* What a statement gives of a document. with: the model's vector and mark stand in columns `at`, `at` + 1. */
void doc_vector_columns(sqlite3_stmt *st, int at, struct doc_change *d);
enum err sq_doc_scan(struct store *, const struct principal *, const struct doc_scope *, uint64_t *, doc_fn, void *) MUST_CHECK;
enum err sq_doc_changes(struct store *, const struct principal *, const struct doc_scope *, uint64_t *, doc_fn, void *) MUST_CHECK;
/* vectors.c */
enum err sq_vector_put(struct store *, const struct principal *, enum doc_kind, struct str, const struct doc_vector *,
		       size_t) MUST_CHECK;
enum err sq_vector_drop(struct store *, const struct principal *, struct str, size_t, bool *) MUST_CHECK;
/* vector_get.c */
enum err sq_vector_get(struct store *, struct arena *, const struct principal *, enum doc_kind, struct str, const int64_t *, size_t,
		       struct doc_vector *) MUST_CHECK;
enum err sq_vector_models(struct store *, const struct principal *, void (*)(void *, struct str, int64_t), void *) MUST_CHECK;
enum err sq_doc_walk(struct store *, const struct principal *, enum doc_kind, struct str, int64_t, size_t, doc_fn,
		     void *) MUST_CHECK;
enum err sq_doc_lacking(struct store *, const struct principal *, enum doc_kind, struct str, struct doc_lack *, size_t, doc_fn,
			void *) MUST_CHECK;
/* What is added to a document's id to get the id of its vector by the model; *base = -1: there is no such model. */
enum err vector_base(struct conn *c, struct str model, enum doc_kind kind, int64_t *base) MUST_CHECK;
/* Inside the writer's transaction: the vectors of a document, of a thread's messages, are removed. */
enum err vectors_removed(struct conn *c, enum doc_kind kind, int64_t id) MUST_CHECK;
enum err vectors_removed_thread(struct conn *c, int64_t thread_id) MUST_CHECK;
/* texts.c */
extern const struct text_ops sq_text_ops;
/* Inside the writer's transaction: removes texts of a thread and tells the feed. source 0: all, and what was seen; ref 0: all of
 * the source. */
enum err texts_removed(struct conn *c, int64_t thread_id, int source, int64_t ref) MUST_CHECK;
/* facts.c: inside the writer's transaction */
/* Moves the item into the history, if it is a fact or supersedes is set. */
enum err fact_retire(struct conn *c, int64_t id, int64_t at_us, const struct fact_put *by, bool superseded) MUST_CHECK;
/* Notes that the tenant has facts; removes states above FACT_HISTORY_MAX. */
enum err fact_added(struct conn *c, int64_t ns, struct str key) MUST_CHECK;
enum err fact_forget(struct conn *c, int64_t ns, struct str key, bool *any) MUST_CHECK;
/* Before an item that has expired is removed: its key's history goes with it. */
enum err fact_forget_of(struct conn *c, int64_t id) MUST_CHECK;
/* At most max states whose time has come. */
enum err fact_sweep(struct conn *c, int64_t now_us, unsigned max) MUST_CHECK;
void fact_bind_time(sqlite3_stmt *st, int i, int64_t us);
int64_t fact_col_time(sqlite3_stmt *st, int i);
extern const struct fact_ops sq_fact_ops;
/* read_message.c */
enum err sq_message_list(struct store *, const struct principal *, struct str, int64_t, size_t, message_fn, void *) MUST_CHECK;
enum err sq_message_by_id(struct store *, struct arena *, const struct principal *, const int64_t *, size_t,
			  struct message *) MUST_CHECK;
/* admin.c: keys, values, figures */
enum err sq_stats(struct store *, const struct principal *, struct store_stats *) MUST_CHECK;
enum err sq_tenants(struct store *, name_fn, void *) MUST_CHECK;
enum err sq_key_put(struct store *, const struct key_record *) MUST_CHECK;
enum err sq_key_get(struct store *, struct arena *, struct str, struct key_record *, bool *) MUST_CHECK;
enum err sq_key_list(struct store *, key_fn, void *) MUST_CHECK;
enum err sq_meta_get(struct store *, struct arena *, const struct principal *, struct str, struct str *, bool *) MUST_CHECK;
enum err sq_meta_put(struct store *, const struct principal *, struct str, struct str) MUST_CHECK;
enum err sq_meta_walk(struct store *, const struct principal *, struct str, struct str, size_t, value_fn, void *) MUST_CHECK;
enum err sq_ping(struct store *) MUST_CHECK;
void sq_metrics(struct store *, struct buf *);
/* write.c: the port's writing calls */
enum err sq_item_write(struct store *, const struct principal *, struct item_write *, size_t, bool) MUST_CHECK;
enum err sq_sweep(struct store *, int64_t, unsigned, unsigned *, int64_t *) MUST_CHECK;
enum err sq_message_append(struct store *, const struct principal *, struct message *, size_t) MUST_CHECK;
/* ckpt.c */
extern const struct checkpoint_ops sq_checkpoint_ops;
enum err chunk_cache_new(struct sq *s) MUST_CHECK;
void chunk_cache_free(struct sq *s);
/* Forgets what is known of a tenant's stream (0: of all its streams and namespaces). After every rollback, and when chunks were
 * freed. */
void chunk_cache_drop(struct sq *s, const struct tenant *t, int64_t stream);
/* ckpt_free.c: what is known of a tenant's namespaces (t NULL: of all tenants'). */
void images_drop(struct sq *s, const struct tenant *t);
/* threads.c */
enum err sq_thread_list(struct store *, const struct principal *, const struct str *, struct str, size_t, thread_fn,
			void *) MUST_CHECK;
extern const struct thread_ops sq_thread_ops;
/* Inside the writer's transaction: removes the thread's row when it was made by a write alone and nothing lies under it any more.
 */
enum err sq_thread_drop_bare(struct conn *c, int64_t id) MUST_CHECK;
/* entries.c: sessions */
enum err sq_append(struct store *, const struct principal *, struct entry_append *) MUST_CHECK;
enum err sq_entries(struct store *, const struct principal *, const struct entry_list *, entry_fn, void *) MUST_CHECK;
enum err sq_entry(struct store *, struct arena *, const struct principal *, struct str, int64_t, struct session_entry *,
		  bool *) MUST_CHECK;
enum err sq_pop(struct store *, struct arena *, const struct principal *, struct str, struct session_entry *, bool *) MUST_CHECK;
enum err sq_entry_delete(struct store *, const struct principal *, struct str, int64_t) MUST_CHECK;
enum err sq_clear(struct store *, const struct principal *, struct str, struct entry_append *) MUST_CHECK;

#endif
