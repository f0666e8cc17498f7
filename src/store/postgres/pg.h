/* Private to store/postgres: the store, statements, the executor, tenants and the change feed.
 *
 * Threads
 *  - Callers: fibers of the HTTP loops, CPU-pool threads, plain threads. They build a job, hand it over (pg_run), wait for its
 *    event, and read the result themselves: a PGresult belongs to whoever the job belongs to.
 *  - The io thread: one loop (rt/loop.h) that owns every connection of the pool, in pipeline mode. It only sends and receives.
 *  - The connector thread: what blocks in libpq - resolving, logging in, credentials, closing.
 *  - The admin thread: blocking work on a connection of its own (DDL, doctor), see pg_admin.
 *
 * Rules
 *  1. One store call is one statement, or a few that go out together: all steps of a job are one implicit transaction.
 *  2. No session state: names are schema-qualified, nothing is SET, nothing is temporary; so a pooler in transaction mode may stand
 *     between.
 *  3. Every transaction of ours that writes inserts a row into cenote_journal: that makes a repeated write recognisable (op), and
 *     tells our transactions from those of others (xid). See docs/store-postgres.md.
 *  4. Whoever changes a row of cenote_item has written, deleted or locked the row of store it belongs to in the same transaction;
 *     cenote_item.mark is then that row's xmin. So a row of store whose xmin is not the mark was written by somebody else.
 *     Two exceptions, which lock the row of cenote_item and re-check it: doc_keep changes terms alone, and verify.c removes rows
 * whose row of store has gone.
 *  5. Statements that touch several rows do so in byte order of (prefix, key): two Cenotes do not deadlock on puts. */
#ifndef CENOTE_STORE_PG_H
#define CENOTE_STORE_PG_H

#include <libpq-fe.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "base/map.h"
#include "core/fact_store.h"
#include "core/thread_store.h"
#include "rt/fiber.h"
#include "rt/wait.h"
#include "store/open.h"

struct pg;
struct pg_tenant;

/* --------------------------------------------------------------- parameters (codec.c) */

/* Types by their OIDs, as pg_type.dat has them. */
enum pg_oid {
	PG_INFERRED = 0, /* as text or NULL: what the statement makes of it */
	PG_BOOL = 16,
	PG_BYTEA = 17,
	PG_INT8 = 20,
	PG_INT4 = 23,
	PG_TEXT = 25,
	PG_XID = 28,
	PG_FLOAT8 = 701,
	PG_TIMESTAMPTZ = 1184,
	PG_JSONB = 3802,
	PG_SNAPSHOT = 5038,
	PG_BYTEAS = 1001,
	PG_INT4S = 1007,
	PG_TEXTS = 1009,
	PG_INT8S = 1016,
	PG_FLOAT8S = 1022,
	PG_TIMESTAMPTZS = 1185,
	PG_JSONBS = 3807,
};

#define PG_PARAMS_MAX 24
#define PG_TEXT_FORMAT 0x80000000u /* in v[].type: the bytes are the type's text form, with a NUL */
/* Parameters of one statement, in binary form, in one growing heap buffer (ceiling 320 MiB). Zero it or pg_params_init; release
 * when the job is done. Errors stick in buf.err and come out of pg_run. */
struct pg_params {
	struct buf buf;
	unsigned n;
	struct {
		uint32_t type;
		size_t at;
		int len; /* -1: NULL */
	} v[PG_PARAMS_MAX];
};
void pg_params_init(struct pg_params *p);
void pg_params_release(struct pg_params *p);
void pg_null(struct pg_params *p, enum pg_oid type);
void pg_text(struct pg_params *p, struct str s);
void pg_bytes(struct pg_params *p, struct str s);
void pg_json(struct pg_params *p, struct str s);
void pg_i64(struct pg_params *p, int64_t v);
void pg_i32(struct pg_params *p, int32_t v);
void pg_f64(struct pg_params *p, double v);
void pg_bool(struct pg_params *p, bool v);
void pg_time(struct pg_params *p, int64_t us); /* us since 1970; 0: NULL */
/* Values of types without a binary writer here (pg_snapshot) go as text. */
void pg_as_text(struct pg_params *p, enum pg_oid type, struct str s);
/* One-dimensional arrays: begin with the array's type and the number of elements, then exactly so many elements, then end. */
void pg_array(struct pg_params *p, enum pg_oid type, size_t n);
void pg_el_null(struct pg_params *p);
void pg_el_str(struct pg_params *p, struct str s); /* text[], bytea[] */
void pg_el_json(struct pg_params *p, struct str s);
void pg_el_i64(struct pg_params *p, int64_t v);
void pg_el_i32(struct pg_params *p, int32_t v);
void pg_el_f64(struct pg_params *p, double v);
void pg_el_time(struct pg_params *p, int64_t us);    /* 0: NULL */
void pg_el_instant(struct pg_params *p, int64_t us); /* us since 1970; FACT_NONE: NULL */
void pg_array_end(struct pg_params *p);
/* The scope at or below a namespace prefix as three text parameters: P, P || '.', P || '/' ("" : everything); for PG_BELOW. */
void pg_scope(struct pg_params *p, struct str prefix);
/* Condition on a column; $a is the number of the first of the three. Uses indexes with text_pattern_ops. */
#define PG_BELOW(col, a, b, c) "(" col " = $" #a " OR (" col " ~>=~ $" #b " AND " col " ~<~ $" #c "))"

/* Results (binary); row and column exist and the column has that type, or it is a bug. NULL reads as 0, false or "". */
bool pg_is_null(const PGresult *r, int row, int col);
struct str pg_get_str(const PGresult *r, int row, int col); /* text, bytea, name; valid as long as r */
struct str pg_get_json(const PGresult *r, int row, int col);
int64_t pg_get_i64(const PGresult *r, int row, int col); /* int8, int4, int2, xid, xid8, oid */
double pg_get_f64(const PGresult *r, int row, int col);
bool pg_get_bool(const PGresult *r, int row, int col);
int64_t pg_get_instant(const PGresult *r, int row, int col); /* us since 1970; NULL: FACT_NONE */
int64_t pg_get_time(const PGresult *r, int row, int col);    /* us since 1970; NULL: 0; infinity: INT64_MAX */
/* Elements of a one-dimensional array column. */
struct pg_array {
	const char *p, *end;
	int64_t n; /* elements left */
};
void pg_get_array(const PGresult *r, int row, int col, struct pg_array *out);
bool pg_next_i64(struct pg_array *a, int64_t *v);    /* false at the end */
bool pg_next_str(struct pg_array *a, struct str *s); /* NULL reads as "" */
/* The columns of a record that is the next element of a record[] (made by ROW(..) in a statement), as bytes; NULL reads as "". */
bool pg_next_record(struct pg_array *a, struct str *columns, unsigned n);
int64_t pg_bytes_i64(struct str s); /* of an int4 or int8 among them */

/* ------------------------------------------------------------------- statements */

enum pg_lane {
	LANE_POINT,  /* rows by key: never behind a search */
	LANE_SEARCH, /* listings, rows by the dozen */
	LANE_SCAN,   /* what reads a whole scope: on half of the connections for searches, at most */
	LANE_WRITE,
	LANES
};
/* Every statement of the driver has a number: the place of its text in a tenant's cache and its name on a connection. */
enum pg_st {
	ST_PING,
	/* read_item.c, rows.c, scan.c, walk.c */
	ST_ITEM_GET,
	ST_ITEM_BY_ID,
	ST_SCAN_OWN_FEW,
	ST_SCAN_OWN_MORE,
	ST_SCAN_FEW,
	ST_SCAN_MORE,
	ST_SCAN_LIST,
	ST_SCAN_LIST_ALL,
	ST_ROWS,
	ST_WALK,
	ST_WALK_ALL,
	ST_NAMESPACES,
	/* write_item.c */
	ST_PUT,
	ST_PUT_NEWER,
	ST_PUT_ABSENT,
	ST_PUT_VERSION,
	ST_DELETE,
	ST_TOUCH,
	ST_RETIRE,
	ST_FACT_SET,
	ST_FACT_HISTORY,
	ST_FACT_WALK,
	ST_FACT_KEEP,
	ST_WRITE_PATIENCE,
	ST_WRITE_LOCK,
	ST_WRITE_LOOK,
	ST_SWEEP,
	ST_NEXT_EXPIRY,
	/* message.c */
	ST_APPEND_LOCK,
	ST_APPEND,
	ST_APPEND_LOOK,
	ST_MESSAGES,
	ST_MESSAGE_BY_ID,
	/* threads.c */
	ST_THREADS,
	ST_THREADS_ALL,
	ST_THREAD_GET,
	ST_THREAD_PUT,
	ST_THREAD_LOCK,
	ST_THREAD_SESSION_LOCK,
	ST_THREAD_VALUES_LOCK,
	ST_THREAD_MESSAGES_GONE,
	ST_THREAD_CHECKPOINTS_GONE,
	ST_THREAD_ENTRIES_GONE,
	ST_THREAD_SESSION_GONE,
	ST_THREAD_SEED_GONE,
	ST_THREAD_RECORD_GONE,
	/* entries.c */
	ST_ENTRY_CLAIM,
	ST_ENTRY_TOUCH,
	ST_ENTRY_RELOCK,
	ST_SESSION_MAKE,
	ST_SESSION_LOCK,
	ST_SESSION_USED,
	ST_SESSION_END,
	ST_SESSION_ROUTE,
	ST_ENTRY_APPEND,
	ST_ENTRY_LOOK,
	ST_ENTRY_GET,
	ST_ENTRY_DELETE,
	ST_ENTRY_INSTEAD,
	ST_SEED_INSTEAD,
	ST_ENTRIES_UP,
	ST_ENTRIES_DOWN,
	ST_ENTRIES_TAIL,
	ST_ENTRIES_CLEAR,
	ST_ENTRIES_CLEARED,
	ST_SEED_APPEND,
	ST_SEED_GET,
	ST_SEED_DELETE,
	ST_SEED_UP,
	ST_SEED_DOWN,
	ST_SEED_TAIL,
	ST_SEED_CLEAR,
	/* admin.c */
	ST_STATS,
	ST_TABLES,
	ST_TENANTS,
	ST_KEY_PUT,
	ST_KEY_GET,
	ST_KEY_LIST,
	ST_META_GET,
	ST_META_PUT,
	ST_META_DELETE,
	ST_META_WALK,
	/* tenant.c */
	ST_TENANT_LOOK,
	ST_TENANT_META,
	ST_TABLES_LOOK,
	/* sync.c, verify.c, docs.c */
	ST_SYNC,
	ST_PURGE,
	ST_HOME_NOTE,
	ST_VERIFY,
	ST_ADOPT,
	ST_DOC_ITEMS,
	ST_DOC_MESSAGES,
	ST_DOC_ITEM_BY_ID,
	ST_DOC_MESSAGE_BY_ID,
	ST_DOC_KEEP,
	ST_DOC_KEEP_MESSAGE,
	ST_DOC_MESSAGES_ALL,
	ST_DOC_ITEM_VECTOR,
	ST_DOC_MESSAGE_VECTOR,
	/* vectors.c */
	ST_VECTOR_ITEMS,
	ST_VECTOR_ITEM,
	ST_VECTOR_MESSAGES,
	ST_VECTOR_MESSAGE,
	ST_VECTOR_PATIENCE,
	ST_VECTOR_TEXTS,
	ST_VECTOR_TEXT,
	ST_DOC_WALK_TEXTS,
	ST_DOC_LACKING_TEXTS,
	/* texts.c */
	ST_TEXT_LOCK,
	ST_TEXT_CHECK,
	ST_TEXT_PUT,
	ST_TEXT_DROP,
	ST_TEXT_SEEN,
	ST_TEXT_SEEN_SET,
	ST_TEXT_KNOWN,
	ST_TEXTS_SEEN,
	ST_TEXTS_GONE,
	ST_TEXTS_ENTRIES_GONE,
	ST_VECTOR_DROP,
	ST_VECTOR_GET_ITEMS,
	ST_VECTOR_GET_MESSAGES,
	ST_VECTORS_GONE,
	ST_MODEL_ADD,
	ST_MODEL_LOCK,
	ST_MODELS,
	ST_DOC_WALK_ITEMS,
	ST_DOC_WALK_MESSAGES,
	ST_DOC_LACKING_ITEMS,
	ST_DOC_LACKING_MESSAGES,
	ST_VECTOR_STAMP,
	/* foreign_vectors.c */
	ST_FOREIGN_LOOK,
	ST_FOREIGN_SAMPLE,
	ST_FOREIGN_OF,
	ST_FOREIGN_LACKING,
	ST_FOREIGN_LACKING_OF,
	ST_FOREIGN_PUT,
	ST_FOREIGN_GONE,
	/* ckpt*.c */
	ST_CKPT_LOOK,
	ST_CKPT_CLAIM,
	ST_CKPT_GUARD,
	ST_CKPT_OWNERS,
	ST_CKPT_PUT,
	ST_CKPT_WRITES,
	ST_CKPT_WRITES_NO_PATH,
	ST_CKPT_REPLACE,
	ST_CKPT_REPLACE_NO_PATH,
	ST_CKPT_LATEST,
	ST_CKPT_BY_ID,
	ST_CKPT_LATEST_OLD,
	ST_CKPT_BY_ID_OLD,
	ST_CKPT_SIZES,
	ST_CKPT_SENDS,
	ST_CKPT_BY_RUN,
	ST_CKPT_STORAGE,
	ST_CKPT_LIST,
	ST_CKPT_LIST_UP,
	ST_CKPT_LIST_THREAD,
	ST_CKPT_LIST_THREAD_UP,
	ST_CKPT_LIST_ALL,
	ST_CKPT_LIST_ALL_UP,
	ST_CKPT_ROWS,
	ST_CKPT_HISTORY,
	ST_CKPT_LOCK,
	ST_CKPT_REMOVE,
	ST_CKPT_COPY,
	ST_CKPT_COPY_NO_PATH,
	/* compact*.c */
	ST_COMPACT_TABLES,
	ST_COMPACT_ANY,
	ST_COMPACT_ANY_OTHER,
	ST_COMPACT_LOCK,
	ST_COMPACT_SCOPES,
	ST_COMPACT_STREAMS,
	ST_COMPACT_PUT,
	ST_COMPACT_WRITES,
	ST_COMPACT_LOOK,
	ST_COMPACT_THERE,
	ST_COMPACT_OLD,
	ST_COMPACT_LEASE,
	ST_COMPACT_VALUES,
	ST_COMPACT_AGAIN,
	ST_COMPACT_LATEST,
	ST_COMPACT_BY_ID,
	ST_COMPACT_SENDS,
	ST_COMPACT_BY_RUN,
	ST_COMPACT_LIST,
	ST_COMPACT_LIST_ALL,
	ST_COMPACT_LINE,
	ST_COMPACT_SCOPES_OF,
	ST_COMPACT_ALL,
	ST_COMPACT_RUNS,
	ST_COMPACT_LOCK_ONE,
	ST_COMPACT_REMOVE,
	ST_COMPACT_CLEAN,
	ST_COMPACT_BARE,
	ST_COMPACT_GONE,
	ST_COMPACT_COPY_LOOK,
	ST_COMPACT_COPY_SOURCE,
	ST_COMPACT_COPY_LOCK,
	ST_COMPACT_COPY_TARGET,
	ST_COMPACT_COPY_SCOPES,
	ST_COMPACT_COPY_STREAMS,
	ST_COMPACT_COPY_ROWS,
	ST_COMPACT_BODIES,
	ST_COMPACT_OWN,
	ST_COMPACT_STORAGE,
	/* hnsw.c */
	ST_HNSW,
	ST_END,
	ST_MAX = 256 /* a multiple of 64, not below ST_END */
};
_Static_assert(ST_END <= ST_MAX, "there are more statements than places for them");
struct pg_stmt {
	enum pg_st id;
	enum pg_lane lane;
	const char *name; /* for logs and metrics: "item_get" */
	/* "@table" stands for the tenant's schema and the table: "@store" -> "public".store, "@~table" for the home schema's; "@@"
	 * for an @. "@?table x": a table that the tenant may lack (pg_tenant.has), then an empty one; only for reading. */
	const char *sql;
};

/* --------------------------------------------------------------------- executor (exec.c and what is behind it) */

/* One statement of a job. */
struct pg_step {
	const struct pg_stmt *st;
	struct pg_params *p;
	PGresult *res; /* out: tuples or command; the caller clears it (pg_job_clear) */
};
/* A job: its steps are one transaction. The memory is the caller's; it is free again when pg_run returns. */
struct pg_job {
	struct pg_tenant *t;
	struct pg_step *steps;
	unsigned n;
	enum pg_lane lane;
	bool write; /* it has a journal row: an attempt whose end is unknown may be repeated, and is recognised by its op */
	/* Of a write, "" : none. It may share its transaction with others that have a key: they are done in the order of their
	 * keys, so whoever gives one locks nothing but what the key names. When one of them fails the others are done anew, each
	 * alone. */
	struct str share;
	/* out */
	bool repeated;	  /* an earlier attempt of ours had been committed; there are no results: look at the rows */
	char sqlstate[6]; /* of the server's error, "" : none */
	char constraint[64];
	enum err err;
	struct diag diag;
	/* the executor's */
	struct list node;
	void *unit;
	uint64_t deadline, until;
	unsigned tries, flags;
	struct event ev;
};
/* Runs the job and waits: by its deadline (of the fiber, and pg.statement_timeout) at the latest. OK: every step has its result.
 *
 *  - Connection lost, server going down or coming up (class 08, 57P0x, 53300), 40001, 40P01: tried again on another connection, at
 *    least once and as long as a connection can be had; no server: E_BUSY with Retry-After. 28P01: a new credential, once.
 *  - 26000, 42P05: prepared statements are given up for the process (pg.prepare = auto), the job is sent again unnamed.
 *  - 23505 on cenote_journal_pkey: OK and repeated.
 *  - Else an error of ours: 22P05, 22P02, 22021, 22003, 54000: E_INVALID; 42501: E_UPSTREAM; 53100, 53200: E_LIMIT
 * (ERR_QUOTA); 25006: E_BUSY (read only); 57014: E_TIMEOUT; 42P01, 3F000: E_CORRUPT (a table has gone); XX: E_INTERNAL; 55P03:
 * E_BUSY.
 *  - 55P03 to a write whose first attempt may still be at work: sent again until the deadline. When that, or a 57014, leaves the
 * end unknown, it is E_TIMEOUT without an SQLSTATE: callers that write anew after one of the two may rely on nothing being written.
 *  - A read's deadline: E_TIMEOUT at once. A write's: the statement is cancelled, and the answer says what the server says; when it
 *    says nothing, E_TIMEOUT with a sentence that the outcome is not known. */
enum err pg_run(struct pg_job *j) MUST_CHECK;
/* The same in two: what is begun (OK) must be ended, by the same fiber or thread. */
enum err pg_begin(struct pg_job *j) MUST_CHECK;
enum err pg_end(struct pg_job *j) MUST_CHECK;
/* Clears the results that are there. */
void pg_job_clear(struct pg_job *j);
/* One read statement; the caller clears *res. Releases p. */
enum err pg_query(struct pg_tenant *t, const struct pg_stmt *st, struct pg_params *p, PGresult **res) MUST_CHECK;
/* One writing statement that has a journal row. Releases p. *repeated as above (then *res is NULL). */
enum err pg_write(struct pg_tenant *t, const struct pg_stmt *st, struct pg_params *p, PGresult **res, bool *repeated) MUST_CHECK;
/* A number for cenote_journal.op: random, never 0. */
int64_t pg_new_op(void);

enum err pg_exec_start(struct pg *s) MUST_CHECK;
/* Lets what is under way finish (for as long as the deadline is), ends the threads, closes the connections. */
void pg_exec_stop(struct pg *s, uint64_t deadline);
void pg_exec_metrics(struct pg *s, struct buf *out);
/* The io thread's loop, and a fiber on it: for what gathers work before it becomes a job. fn must not compute for long. Fibers that
 * run there end before pg_exec_stop. */
struct loop *pg_io_loop(struct pg *s);
enum err pg_io_spawn(struct pg *s, void (*fn)(void *arg), void *arg) MUST_CHECK;

/* ------------------------------------------------------- connecting (connect.c, target.c, credential.c) */

/* Where passwords come from; called on the connector or admin thread, may block until the deadline. */
struct pg_credential {
	/* *password: NUL-terminated, malloc'd, the caller ends it with secret_free; NULL: none. *until_ns: monotonic time at which
	 * it is no longer good for a login (NEVER: not known). refused: the password that the server has just refused, NULL: none;
	 * it is not given again from a cache. E_BUSY with the reason when there is none to be had now. */
	enum err (*get)(struct pg_credential *c, const char *refused, uint64_t deadline, char **password, uint64_t *until_ns);
	void (*free)(struct pg_credential *c);
};
/* The source that the options name; NULL (OK) when the password is a fixed one, or libpq's own affair. */
enum err pg_credential_new(const struct pg_options *opt, struct pg_credential **out) MUST_CHECK;
/* Keeps what from gives until a tenth of its life is left, asks it from one thread at a time, and shares the answer. Owns from,
 * also when it fails. */
enum err pg_credential_cached(struct pg_credential *from, struct pg_credential **out) MUST_CHECK;
/* A source that runs a command with /bin/sh; its output is the password. life_ms 0: good until refused. */
enum err pg_credential_command(struct str command, uint32_t life_ms, struct pg_credential **out) MUST_CHECK;
struct pg_target; /* parameters for libpq, the credential, the timeouts */
enum err pg_target_new(struct str conninfo, const struct store_options *opt, struct pg_target **out) MUST_CHECK;
void pg_target_free(struct pg_target *t);
/* "host=db.example port=5432 dbname=app user=x", never a password. */
struct str pg_target_text(const struct pg_target *t);
/* A connection, logged in, blocking mode. Blocks. E_BUSY (nobody there; S0-26's hints), E_DENIED (login refused), E_TIMEOUT;
 * E_CANCELLED soon after *stop, if there is one, has become true.
 * *until_ns: when it should be given up for a new one (credential's end, jitter included; NEVER). */
enum err pg_target_connect(struct pg_target *t, uint64_t deadline, const atomic_bool *stop, PGconn **out,
			   uint64_t *until_ns) MUST_CHECK;
/* The server's sentence (first line, without secrets) and code as an error of ours; for results and for connections. */
enum err pg_error(const PGresult *r, const PGconn *c) MUST_CHECK;
enum err pg_error_state(const char *sqlstate, const char *sentence) MUST_CHECK;

/* Runs fn on the admin thread with a blocking connection of its own and waits. */
enum err pg_admin(struct pg *s, enum err (*fn)(PGconn *c, void *arg), void *arg) MUST_CHECK;
/* The same without waiting; when the store is closed it is cancelled. fn is called in any case, with c NULL (and the reason in
 * diag) when there is no connection. */
enum err pg_admin_later(struct pg *s, enum err (*fn)(PGconn *c, void *arg), void *arg) MUST_CHECK;
/* On an admin connection: until the answer is there. At the deadline, and when the store is closed and nobody waits for the task,
 * the statement is cancelled, and the connection is of no more use. */
enum err pg_wait_answer(PGconn *c) MUST_CHECK;
/* Blocking, on an admin connection: simple text; *res may be NULL. */
enum err pg_sql(PGconn *c, const char *sql, PGresult **res) MUST_CHECK;

/* ------------------------------------------------------------------- tenants (tenant.c, schema.c) */

/* PG_HAS_BYTES: the names in them are in the order of bytes. */
enum { PG_HAS_AGENT = 1, PG_HAS_SEED = 2, PG_HAS_CP = 4, PG_HAS_BYTES = 8, PG_HAS_COMPACT = 16 };
enum pg_tenant_state { PT_UNKNOWN, PT_ABSENT, PT_READY };
/* hnsw.c's: the index of a model's vectors, as far as known. */
struct pg_hnsw {
	pthread_mutex_t mu;
	enum { PG_HNSW_UNKNOWN, PG_HNSW_BUSY, PG_HNSW_READY } stage;
	char model[VECTOR_MODEL_NAME_MAX + 1];
	uint32_t dims;
	int64_t number;	   /* READY: the model's */
	uint64_t look_ns;  /* UNKNOWN: not before */
	unsigned failures; /* one after the other */
	bool lost;	   /* it was there, and did not answer: what it is made with is made again */
};
struct pg_tenant {
	struct pg *s;
	char name[64];
	char schema[64];  /* as it is: "public" */
	char quoted[132]; /* "\"public\"" */
	unsigned has;	  /* PG_HAS_*: of the tables that it can do without, those that are there */
	unsigned slot;	  /* 0.. when READY; below 64: with prepared statements */
	atomic_int state; /* READY is final */
	/* tenant.c's, under tmu */
	uint64_t looked_ns; /* ABSENT: when that was found */
	unsigned users;	    /* callers that hold it while it is not READY */
	bool opening;	    /* somebody looks at it, or makes it */
	struct list waiters;
	_Atomic(char *) sql[ST_MAX];   /* rendered texts */
	struct pg_feed *feed;	       /* sync.c's */
	_Atomic uint64_t purged_ns;    /* sweep.c's: when pg_purge was called last, */
	atomic_bool purge_more;	       /* and left some */
	_Atomic uint64_t parents[256]; /* scan.c's: hashes of namespaces that have others below them */
	atomic_bool cp_ready, cp_path; /* ckpt.c's: the checkpoint tables are there; with task_path */
	_Atomic uint64_t cp_looked_ns;
	uint64_t cp_failed_ns; /* under tmu: when making them failed, and why */
	struct diag cp_failure;
	atomic_bool foreign; /* foreign_vectors.c's: rows of store_vectors can be removed */
	struct pg_hnsw hnsw;
	_Atomic uint64_t walk_scope, walk_until; /* walk.c's: the scope that was found exact (hashed), and until when that counts */
};
/* The tenant of who with rights checked, ready for use; NULL (OK) when there is no schema for it and create is false. */
enum err pg_tenant_get(struct pg *s, const struct principal *who, unsigned right, bool create, struct pg_tenant **out) MUST_CHECK;
/* The one whose schema is pg.schema; also holds the keys. Always READY. */
struct pg_tenant *pg_home(struct pg *s);
/* session_tables.c: fills in t->has; "@?table" to "@table" or to an empty one; E_UPSTREAM with the SQL for it when there is nothing
 * to keep sessions in. */
enum err pg_has_look(struct pg_tenant *t) MUST_CHECK;
void pg_expand_optional(struct buf *out, unsigned has, const char *sql);
enum err pg_sessions_need(struct pg_tenant *t) MUST_CHECK;
/* Text of the statement for the tenant; NULL: out of memory. */
const char *pg_render(struct pg_tenant *t, const struct pg_stmt *st);
enum err pg_tenants_start(struct pg *s) MUST_CHECK; /* looks at, and makes, the home schema */
void pg_tenants_free(struct pg *s);

/* --------------------------------------------------------------------- feed (sync.c, verify.c, docs.c) */

/* Catches up with the journal; concurrent callers share one statement that begins after they asked. After it the tenant's feed
 * has all that was committed before the call. */
enum err pg_sync(struct pg_tenant *t) MUST_CHECK;
/* Sees to it that rows of others below prefix are adopted: nothing to do when nobody else has written since the last time. OK with
 * *exact = false: that could not be done now (read only, no rights, or verified a moment ago): some rows may be missing in
 * cenote_item. */
enum err pg_verify(struct pg_tenant *t, struct str prefix, bool *exact) MUST_CHECK;
/* *was: it was exact already, nothing had to be compared: so what a statement that was begun before read is exact, too. */
enum err pg_verify_was(struct pg_tenant *t, struct str prefix, bool *exact, bool *was) MUST_CHECK;
enum err pg_feed_new(struct pg_tenant *t) MUST_CHECK;
void pg_feed_free(struct pg_tenant *t);
void pg_feed_metrics(struct pg *s, struct buf *out);
/* Removes journal rows that nobody needs, for two seconds at most; *more: there are others. Called by sweep. */
enum err pg_purge(struct pg_tenant *t, bool *more) MUST_CHECK;

/* ---------------------------------------------------------------------- items */

/* Columns of an item, for item columns readers: "s.prefix, s.key, s.value, s.created_at, s.updated_at, s.expires_at, ..." */
#define PG_ITEM_COLUMNS                                                                                                            \
	"s.prefix, s.key, s.value, s.created_at, s.updated_at, s.expires_at,"                                                      \
	" CASE WHEN c.mark = s.xmin THEN c.ttl_minutes ELSE coalesce(s.ttl_minutes, 0)::float8 END,"                               \
	" coalesce(c.id, 0), CASE WHEN c.mark = s.xmin THEN c.version ELSE s.xmin::text::bigint << 20 END,"                        \
	" (c.mark = s.xmin AND c.fact = c.version) IS TRUE, c.valid_from, c.valid_to"
enum { PG_ITEM_COLUMNS_N = 12 };
#define PG_ITEM_FROM "@store s LEFT JOIN @cenote_item c ON c.prefix = s.prefix AND c.key = s.key"
/* Row of PG_ITEM_COLUMNS; slices point into r. */
void pg_item_read(const PGresult *r, int row, struct item *out);
/* Into the arena. */
enum err pg_item_copy(struct arena *a, const struct item *it, struct item *out) MUST_CHECK;

/* A document's vector and mark by the model whose name is parameter $model, to be joined: NULL when there is none. The LIMIT sees
 * to it that the index is used, one document at a time, even when the planner believes that the table is small. */
#define PG_VECTOR_OF(kind, document, model)                                                                                        \
	" LEFT JOIN LATERAL (SELECT y.data, y.mark FROM @cenote_vector y WHERE y.model = (SELECT o.id FROM @cenote_model o"        \
	" WHERE o.name = $" #model "::text) AND y.kind = '" kind "' AND y.id = " document " LIMIT 1) v ON true"
/* vectors.c: vectors go with their documents. A step of the same job, after the statement (journal row op) that removed documents
 * or took their terms away. $1: op. */
extern const struct pg_stmt pg_vectors_gone;
/* texts.c. Steps of jobs on a thread; pg_vectors_gone comes after those that remove. */
extern const struct text_ops pg_text_ops;
extern const struct pg_stmt pg_texts_lock;	      /* $1: thread; the first step */
extern const struct pg_stmt pg_texts_gone;	      /* $1: thread; $2: owners; $3: op; $4: enum text_source[] */
extern const struct pg_stmt pg_texts_of_entries_gone; /* whose entry is not there any more. $1: thread; $2: op */
/* pg_write with that step after it. */
enum err pg_write_gone(struct pg_tenant *t, const struct pg_stmt *st, struct pg_params *p, int64_t op, PGresult **res,
		       bool *repeated) MUST_CHECK;
/* foreign_vectors.c: LangGraph's vectors (store_vectors). What there is of them in schema $1, for the role that asks. */
extern const char pg_foreign_look_sql[];
/* Fills in t->foreign. */
enum err pg_foreign_look(struct pg_tenant *t) MUST_CHECK;
/* The rows of items go when these are written: a step of the same job, after the statements (journal rows op, steps) that put them.
 * $1: op, $2: steps. */
extern const struct pg_stmt pg_foreign_gone;
/* A job with that step has failed: true when the step may be why. Then t->foreign is no longer set, and the job is to be tried
 * again without it. */
bool pg_foreign_lost(struct pg_tenant *t, const char *sqlstate);
extern const struct foreign_vector_ops pg_foreign_vector_ops;
extern const struct hnsw_ops pg_hnsw_ops; /* hnsw.c */
/* docs.c: a document as its statements give it: id, terms, where, version, and with: vector and mark. */
struct doc_change pg_doc_row(const PGresult *r, int row, bool with);

/* ckpt_known.c: what lists have read */
struct pg_ckpt_known;
enum err pg_ckpt_known_new(struct pg *s) MUST_CHECK;
void pg_ckpt_known_free(struct pg *s);
void pg_ckpt_metrics(struct pg *s, struct buf *out);

/* ---------------------------------------------------------------------- the store (postgres.c) */

/* tables.c: what /metrics shows of the tables */
#define PG_TABLES 18
struct pg_table_figures {
	int64_t bytes, live, dead;
};
enum err pg_tables_look(struct pg *s, struct pg_tenant *const *tenants, size_t n) MUST_CHECK;
void pg_tables_metrics(struct pg *s, struct buf *out);

struct pg {
	struct store base;	  /* first */
	struct store_options opt; /* strings copied, see target.c */
	struct pg_target *target;
	char schema[64];
	unsigned pool_min, pool_max;
	uint32_t statement_ms, connect_ms;
	struct pg_exec *exec;	   /* exec.c's */
	struct gather *gathers[2]; /* gather.h: GATHER_ITEMS, GATHER_CHECKPOINTS */
	struct pg_ckpt_known *ckpt_known;
	struct compact_cache *compact; /* compact_cache.c's */
	atomic_bool hnsw_making;       /* hnsw_build.c's */
	pthread_mutex_t tmu;	       /* tenants, slots */
	struct map tenants;
	unsigned slots, not_ready;
	struct pg_table_figures tables[PG_TABLES]; /* under tmu */
	struct pg_tenant *home;
};
static inline struct pg *pg_of(struct store *s)
{
	return (struct pg *)(void *)s;
}

/* the port, by file. read_item.c */
enum err pg_item_get(struct store *, struct arena *, const struct principal *, struct str, struct str, int64_t, struct item *,
		     bool *) MUST_CHECK;
enum err pg_item_by_id(struct store *, struct arena *, const struct principal *, const int64_t *, size_t, struct item *) MUST_CHECK;
enum err pg_namespaces(struct store *, const struct principal *, struct str, name_fn, void *) MUST_CHECK;
/* scan.c, walk.c */
enum err pg_item_scan(struct store *, const struct principal *, struct str, int64_t, const struct scan_hint *, item_fn,
		      void *) MUST_CHECK;
enum err pg_item_walk(struct store *, const struct principal *, struct str, struct str, struct str, item_fn, void *) MUST_CHECK;
/* write_item.c, sweep.c */
enum err pg_item_write(struct store *, const struct principal *, struct item_write *, size_t, bool) MUST_CHECK;
enum err pg_sweep(struct store *, int64_t, unsigned, unsigned *, int64_t *) MUST_CHECK;
/* docs.c */
enum err pg_doc_scan(struct store *, const struct principal *, const struct doc_scope *, uint64_t *, doc_fn, void *) MUST_CHECK;
enum err pg_doc_changes(struct store *, const struct principal *, const struct doc_scope *, uint64_t *, doc_fn, void *) MUST_CHECK;
enum err pg_doc_keep(struct store *, const struct principal *, enum doc_kind, const struct doc_kept *, size_t) MUST_CHECK;
/* vectors.c */
enum err pg_vector_put(struct store *, const struct principal *, enum doc_kind, struct str, const struct doc_vector *,
		       size_t) MUST_CHECK;
enum err pg_doc_walk(struct store *, const struct principal *, enum doc_kind, struct str, int64_t, size_t, doc_fn,
		     void *) MUST_CHECK;
enum err pg_doc_lacking(struct store *, const struct principal *, enum doc_kind, struct str, struct doc_lack *, size_t, doc_fn,
			void *) MUST_CHECK;
/* vector_get.c */
enum err pg_vector_get(struct store *, struct arena *, const struct principal *, enum doc_kind, struct str, const int64_t *, size_t,
		       struct doc_vector *) MUST_CHECK;
enum err pg_vector_models(struct store *, const struct principal *, void (*)(void *, struct str, int64_t), void *) MUST_CHECK;
enum err pg_vector_drop(struct store *, const struct principal *, struct str, size_t, bool *) MUST_CHECK;
/* message.c */
enum err pg_message_append(struct store *, const struct principal *, struct message *, size_t) MUST_CHECK;
enum err pg_message_list(struct store *, const struct principal *, struct str, int64_t, size_t, message_fn, void *) MUST_CHECK;
enum err pg_message_by_id(struct store *, struct arena *, const struct principal *, const int64_t *, size_t,
			  struct message *) MUST_CHECK;
/* threads.c */
enum err pg_thread_list(struct store *, const struct principal *, const struct str *, struct str, size_t, thread_fn,
			void *) MUST_CHECK;
/* ckpt.c and its like: on LangGraph's tables */
extern const struct checkpoint_ops pg_checkpoint_ops;
extern const struct thread_ops pg_thread_ops;
extern const struct fact_ops pg_fact_ops; /* facts.c */
/* admin.c */
enum err pg_ping(struct store *) MUST_CHECK;
enum err pg_stats(struct store *, const struct principal *, struct store_stats *) MUST_CHECK;
enum err pg_tenants(struct store *, name_fn, void *) MUST_CHECK;
enum err pg_key_put(struct store *, const struct key_record *) MUST_CHECK;
enum err pg_key_get(struct store *, struct arena *, struct str, struct key_record *, bool *) MUST_CHECK;
enum err pg_key_list(struct store *, key_fn, void *) MUST_CHECK;
enum err pg_meta_get(struct store *, struct arena *, const struct principal *, struct str, struct str *, bool *) MUST_CHECK;
enum err pg_meta_put(struct store *, const struct principal *, struct str, struct str) MUST_CHECK;
enum err pg_meta_walk(struct store *, const struct principal *, struct str, struct str, size_t, value_fn, void *) MUST_CHECK;
void pg_metrics(struct store *, struct buf *);

#endif
