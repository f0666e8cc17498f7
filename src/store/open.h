/* Store URLs to drivers: `sqlite:PATH` (a directory, made when missing), `postgresql://...` (any URL of libpq); a driver is one
 * folder and one line in open.c. */
#ifndef CENOTE_STORE_OPEN_H
#define CENOTE_STORE_OPEN_H

#include "core/store.h"

enum pg_prepare { PG_PREPARE_AUTO, PG_PREPARE_ON, PG_PREPARE_OFF };
/* Of postgresql:// stores; zero or empty: default. */
struct pg_options {
	struct str schema;	     /* "public" */
	unsigned pool_min, pool_max; /* connections kept open, and at most; 0: 2, and 2 per core; pool_max 1 with no_pool */
	bool no_pool;		     /* a connection per use (USE_NULLPOOL) */
	uint32_t statement_ms;	     /* 30000 */
	uint32_t connect_ms;	     /* 5000 */
	struct str application_name; /* "cenote" */
	enum pg_prepare prepare;
	struct str password, password_command, password_file; /* at most one */
	uint32_t password_life_ms; /* how long a password of the command or the file is good for a login; 0: until refused */
	uint32_t recycle_ms;	   /* age at which a connection is replaced; 0: never, other than for its credential */
	bool no_ddl;		   /* make nothing, only look (pg.migrate: off) */
	bool log_statements;	   /* each statement's text and duration go into the log, without its parameters */
	bool no_vectors;	   /* LangGraph's vectors are left alone (pg.vectors: off) */
	uint64_t hnsw_least; /* scopes of so many items are worth an index of vectors in the database; 0, UINT64_MAX: none is */
};

/* How checkpoints are stored. AUTO: compact on SQLite, LangGraph's tables on PostgreSQL. */
enum ckpt_layout { CKPT_LAYOUT_AUTO, CKPT_LAYOUT_LANGGRAPH, CKPT_LAYOUT_COMPACT };
struct store_options {
	bool durable;		/* synchronous=FULL; false = NORMAL (sqlite.durability: normal) */
	size_t cache_bytes;	/* page cache per connection; 0 = driver's default */
	size_t wal_limit_bytes; /* checkpoint when the WAL has grown to this; 0 = default */
	unsigned queue_max;	/* writes waiting at most, then E_BUSY; 0 = default */
	uint32_t busy_ms;	/* how long to wait for the store lock; 0 = fail at once */
	enum ckpt_layout layout;
	struct pg_options pg;
};
/* E_INVALID: unknown scheme or bad path; E_BUSY: another process owns it (the sentence has its pid); E_CORRUPT; E_IO. */
enum err store_open(struct str url, const struct store_options *opt, struct store **out) MUST_CHECK;

/* ---- administration: what the commands migrate, grants and doctor do. They need no daemon and leave nothing open. */

/* What was done or would be done: a statement, or for drivers without statements a sentence. */
struct store_step {
	struct str tenant, place, text; /* place: schema, file; "" : none */
	bool sql;			/* text is a statement */
};
typedef void (*step_fn)(void *ctx, const struct store_step *s);
/* Makes or upgrades the tables of the tenant ("" : of all that are there, and of "default"), as their owner. dry_run: only tells.
 * fn is called for every step; for none when all is as it should be. */
enum err store_migrate(struct str url, const struct store_options *opt, struct str tenant, bool dry_run, step_fn fn,
		       void *ctx) MUST_CHECK;
/* The rights that a role needs for serving the store and all its tenants. run: grants them, and looks that it took effect.
 * E_INVALID: the driver knows no roles. */
enum err store_grants(struct str url, const struct store_options *opt, struct str role, bool run, step_fn fn, void *ctx) MUST_CHECK;

enum finding_level { FIND_OK, FIND_WARN, FIND_FAIL };
struct store_finding {
	enum finding_level level;
	const char *check;    /* "rights" */
	struct str place;     /* schema, table, file; "" : the whole */
	struct str text, fix; /* one sentence each; fix "" : none, or the statement to run */
	struct str data;      /* figures, a JSON object; "" : none */
};
typedef void (*finding_fn)(void *ctx, const struct store_finding *f);
/* Examines the store without changing it. Errors only when it cannot be reached at all: what is wrong with it are findings. */
enum err store_doctor(struct str url, const struct store_options *opt, finding_fn fn, void *ctx) MUST_CHECK;

/* The path of the unix socket that a daemon on this store listens on, "" if the scheme has none. */
struct str store_socket_path(struct arena *a, struct str url);
/* The URL as it may be shown: passwords as ***. Takes anything, also what is no valid URL. */
void store_url_redact(struct str url, struct buf *out);
/* Whether there is something in it that store_url_redact hides. */
bool store_url_has_secret(struct str url);

#endif
