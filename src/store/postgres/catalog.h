/* Private to the administration of schemas: what a schema holds (catalog.c), what has to be done to it (schema.c), who may what
 * (rights.c). All of it blocks, on an admin connection. */
#ifndef CENOTE_STORE_PG_CATALOG_H
#define CENOTE_STORE_PG_CATALOG_H

#include "store/postgres/ddl.h"
#include "store/postgres/pg.h"

/* The table's name without schema. */
const char *pg_table_name(enum pg_table t);
/* A schema's name "<home>_<tenant>", the home schema's for "default". E_INVALID when it is longer than PostgreSQL's 63 bytes. */
enum err pg_schema_name(char out[64], struct str home, struct str tenant) MUST_CHECK;
/* The name as an identifier in double quotes; at most 132 bytes for one of 63. */
void pg_quote(char *out, size_t cap, const char *name);
/* Appends sql; an @ before a letter becomes `quoted.`, @@ an @. */
void pg_expand(struct buf *out, const char *sql, const char *quoted, const char *home);
/* Blocking statements on an admin connection, until the deadline of the thread at most; parameters and results as text. */
/* What the server says to what was sent (else the connection is broken): whatever it is. */
enum err pg_answer(PGconn *c, bool sent, PGresult **res) MUST_CHECK;
/* The same for a statement; n < 0: simple protocol. */
enum err pg_result(PGconn *c, const char *sql, int n, const char *const *values, PGresult **res) MUST_CHECK;
/* The server's error is ours. */
enum err pg_ask(PGconn *c, const char *sql, int n, const char *const *values, PGresult **res) MUST_CHECK;
enum err pg_exec_text(PGconn *c, const char *sql) MUST_CHECK;

/* ------------------------------------------------------------- catalog.c */

enum { MAY_SELECT = 1, MAY_INSERT = 2, MAY_UPDATE = 4, MAY_DELETE = 8, MAY_ALL = 15 };
struct pg_table_look {
	bool exists, owned;
	char kind; /* pg_class.relkind */
	char owner[64];
	unsigned may; /* what the role may do */
};
struct pg_index_look {
	bool exists, valid;
};
#define PG_OWN_DDL (sizeof pg_own_tables / sizeof *pg_own_tables)

/* What is there, for one role, as the catalogs say; names and versions alone prove nothing. */
struct pg_catalog {
	char schema[64], quoted[132], role[64], role_quoted[132], database[64];
	char schema_owner[64];
	bool exists, usage, create; /* the schema; USAGE and CREATE on it */
	bool create_db, connect;    /* CREATE and CONNECT on the database */
	bool read_only, standby;
	char isolation[32]; /* of the connection's transactions */
	struct pg_table_look tables[TB_COUNT];
	/* store */
	bool js;	       /* it has namespace_path: LangGraph.js */
	bool primary;	       /* a unique index on (prefix, key) */
	bool expires, ttl;     /* it has these columns */
	bool extra;	       /* it has columns that we do not know */
	char odd[160];	       /* what is wrong with its columns, "" : nothing */
	bool store_seen;       /* store_version and cenote_meta could be read */
	int64_t store_version; /* highest row of store_migrations, -1: none */
	struct pg_index_look prefix_index, expires_index, own_index[PG_OWN_DDL];
	/* LangGraph's checkpoint tables */
	bool shallow, server;		  /* of the shallow saver; of the commercial server */
	char cp_odd[200];		  /* what is wrong with their columns, "" : nothing */
	bool cp_path;			  /* checkpoint_writes has task_path */
	bool cp_null;			  /* checkpoint_blobs.blob may be NULL */
	int64_t cp_version;		  /* highest row of checkpoint_migrations, -1: none */
	struct pg_index_look cp_index[3]; /* on thread_id, of checkpoints, checkpoint_blobs, checkpoint_writes */
	bool checkpoints;		  /* rights on these tables count, too (pg_rights_missing); true after reading */
	/* tables of sessions (session_tables.c) */
	char agent_odd[200];	/* what is wrong with agent_sessions and agent_messages, "" : nothing */
	bool agent_fk;		/* agent_messages.session_id refers to agent_sessions */
	bool agent_index;	/* an index that begins with session_id, created_at */
	bool seed;		/* conversations has the columns that we know */
	char sequence[2][200];	/* of the ids of agent_messages, conversations, quoted with schema; "" : none */
	bool sequence_usage[2]; /* the role may use it */
	/* cenote_meta */
	int64_t cenote_version; /* -1: none */
	char tenant[64];
};
/* role "": the one that is connected. E_NOT_FOUND: no such role. */
enum err pg_catalog_read(PGconn *c, const char *schema, const char *role, struct pg_catalog *out) MUST_CHECK;
/* E_CONFLICT with what was found and what to do when the tables are not LangGraph's and ours of versions that we know, or when what
 * one statement has written is hidden from the next of its transaction that waited for others (another isolation than ours). */
enum err pg_catalog_judge(const struct pg_catalog *k, struct str tenant) MUST_CHECK;
/* The same for the checkpoint tables alone. */
enum err pg_catalog_judge_checkpoints(const struct pg_catalog *k) MUST_CHECK;

/* -------------------------------------------------------- session_tables.c */

enum err pg_sessions_read(PGconn *c, const char *const *who, struct pg_catalog *k) MUST_CHECK;
/* Can sessions be kept here? E_CONFLICT, E_DENIED with what is missing and the SQL that makes it. */
enum err pg_sessions_judge(const struct pg_catalog *k) MUST_CHECK;
/* The GRANTs for it, one a line. */
void pg_sessions_missing(const struct pg_catalog *k, struct buf *grants);

/* ------------------------------------------------------------- schema.c */

struct pg_ensure {
	struct str schema, tenant;
	bool make;	  /* make what is missing; else E_CONFLICT when something is */
	bool adopt;	  /* also next to a `store` that nobody has given to this tenant yet */
	bool checkpoints; /* also LangGraph's checkpoint tables; else these are only made where that may be done */
	bool compact;	  /* the tables of the compact layout instead of LangGraph's checkpoint tables */
	bool repair;	  /* also indexes of LangGraph's that are missing or invalid */
	bool dry;	  /* with make: only tell */
	step_fn fn;	  /* told of every statement that was (dry: would be) run; may be NULL */
	void *ctx;
};
/* Brings the schema to what we need. OK (and not dry): all tables are there and the role may use them. */
enum err pg_schema_ensure(PGconn *c, const struct pg_ensure *ask) MUST_CHECK;
/* The schemas of home's tenants, the home schema first. tenant "": the schema may be one, but its cenote_meta cannot be read. */
typedef void (*schema_fn)(void *ctx, const char *schema, const char *tenant);
enum err pg_schemas(PGconn *c, const char *home, schema_fn fn, void *ctx) MUST_CHECK;

/* ------------------------------------------------------------- rights.c */

/* What the role lacks for serving (everything that we read and write in the tables that exist), as GRANT statements, one a line;
 * nothing when it may all. what (may be NULL): the same as a few words, "USAGE on the schema, DELETE on store, cenote_item". */
void pg_rights_missing(const struct pg_catalog *k, struct buf *grants, struct buf *what);
/* OK, or E_DENIED with the statements; the whole script is logged when it does not fit into a sentence. */
enum err pg_rights_check(const struct pg_catalog *k) MUST_CHECK;
/* Everything that role needs in the schemas of home, statement by statement; run: in one transaction, which holds only if it had
 * its effect. */
enum err pg_grants(PGconn *c, const char *home, const char *role, bool run, step_fn fn, void *ctx) MUST_CHECK;

/* ----------------------------------------------- commands.c, for doctor.c too */

/* A connection for a command, and what it was made of. */
struct pg_session {
	struct store_options opt;
	struct pg_target *target;
	PGconn *c;
	char home[64]; /* pg.schema */
	uint64_t login_ns;
};
/* patient: statements may take as long as they take. */
enum err pg_session_open(struct pg_session *x, struct str conninfo, const struct store_options *opt, bool patient) MUST_CHECK;
void pg_session_close(struct pg_session *x);

#endif
