/* Private to the executor (exec.c, io.c, dispatch.c, pool.c, pconn.c, cancel.c, sqlstate.c, admin_thread.c).
 *
 * A job goes: caller -> in (under mu) -> its lane's queue -> a unit on a connection -> answered (event). A unit is what lies
 * between two Syncs: one implicit transaction. Jobs that only read share units; a job that writes has one to itself, or one with
 * others that have a key (pg_job.share), in the order of keys.
 *
 * Invariants
 *  1. A job is in exactly one place: a loop's pending list, x->in, a lane, x->paused, a unit's list. Whoever takes it out to
 *     answer it sets its event, once, and does not touch it afterwards.
 *  2. Everything but in, woken and closed belongs to the io thread; the figures are written by it alone and read by all.
 *  3. The io thread never blocks: what may (logging in, closing, cancelling) is done by the connector thread or a cancel thread.
 *  4. x->total counts connections that exist, are being made or being closed, and is never above pool_max.
 *  5. A write is answered when its Sync is, a read when its result is there. A statement that changes rows therefore belongs to a
 *     job with write set, or to the lane of writes. */
#ifndef CENOTE_STORE_PG_EXEC_H
#define CENOTE_STORE_PG_EXEC_H

#include "store/postgres/pg.h"

#define PG_TRIES 4		  /* of one job, the first included */
#define PG_UNIT_READS 64	  /* point reads in a unit */
#define PG_UNIT_SHARED 32	  /* writes that share a transaction */
#define PG_UNIT_SEARCHES 8	  /* searches in a unit */
#define PG_DEPTH 2		  /* units under way on a connection */
#define PG_SLOTS 64		  /* tenants whose statements are prepared */
#define PG_MS UINT64_C(1000000)	  /* in ns */
#define PG_GIVE_UP (2000 * PG_MS) /* how long to wait for a word after a cancel */

/* pg_job.flags */
enum {
	JOB_ALONE = 1,	 /* was sent with one that failed: next time in a unit of its own */
	JOB_FAILED = 2,	 /* sqlstate, err and diag are the server's */
	JOB_EXPIRED = 4, /* a write in flight whose deadline has passed; it is given up at job.until */
	JOB_UNNAMED = 8, /* not by prepared statements */
	JOB_UNKNOWN = 16 /* an attempt to write ended without an answer */
};

/* What the server will answer next: to a step or to the preparation before it. */
struct want {
	struct pg_job *job; /* NULL: nobody waits for it (any more), or prepare */
	unsigned step;
	bool prepare, note;	     /* note: of the home schema, behind the job's steps */
	unsigned char slot, st;	     /* prepare: which */
	const struct pg_stmt *st_of; /* not prepare */
};
struct unit {
	struct list node; /* in pconn.units */
	struct list jobs; /* those not answered yet, in order */
	enum pg_lane lane;
	bool write, failed, named;
	unsigned count; /* jobs at first */
	uint64_t sent_ns;
	unsigned n, at; /* wants; w[at] is the next, at == n: the Sync */
	struct want w[];
};

struct pg_exec;
struct pg_cancel_try;
struct group;
/* What the connector thread is asked for, and its answer. */
struct request {
	struct list node;
	struct loop_task done;
	struct pg_exec *x;
	struct group *g;
	PGconn *c; /* close: which; else the answer */
	enum err err;
	struct diag diag;
	uint64_t until_ns, asked_ns;
};
/* One connection of the pool (pconn.c). */
struct pconn {
	struct list node; /* in group.conns */
	struct request closing;
	struct pg_exec *x;
	struct group *g;
	PGconn *pg;
	int fd; /* the socket again (pconn.c) */
	struct loop_poll *poll;
	struct list units;
	unsigned units_n, jobs_n;
	bool scanning;	/* what is under way takes long: nothing is put behind it */
	bool writing;	/* output is waiting for the socket */
	bool got;	/* the result of the present want has come, its end not yet */
	bool retire;	/* no more units: to be closed when the last one has ended */
	bool tls, look; /* look: see whether the TLS layer holds back what the socket no longer announces */
	uint64_t made_ns, until_ns, heard_ns, idle_ns;
	struct pg_cancel_try *cancel;
	uint64_t answered_ns; /* when the last unit had been answered */
	uint64_t cancel_ns;   /* when the last cancel was sent, 0: answered since, or never */
	uint64_t ready[PG_SLOTS][ST_MAX / 64], pending[PG_SLOTS][ST_MAX / 64]; /* prepared, being prepared; a bit per enum pg_st */
};
struct lane {
	struct list jobs;
	unsigned n;
};
/* Connections that serve the same lanes. */
struct group {
	const char *name;
	unsigned lanes; /* bits */
	unsigned turn;	/* lane that was served last */
	unsigned share, floor;
	struct list conns;
	unsigned open, connecting;
	bool grow; /* a unit had to go behind another */
};

enum pg_again { AGAIN_NO, AGAIN_LOST, AGAIN_CONFLICT, AGAIN_UNNAMED, AGAIN_PLAN, AGAIN_CANCELLED, AGAIN_ABORTED, AGAINS };
/* What an error of a statement asks for (sqlstate.c). named: it went by a prepared statement. */
enum pg_again pg_again(const char *sqlstate, const char *sentence, bool named);

struct pg_exec {
	struct pg *s;
	struct loop *loop;
	pthread_t io_thread;
	bool io_up;
	struct loop_timer *timer;
	uint64_t timer_at;
	struct loop_hook hook;
	atomic_uint callers; /* inside pg_run */
	struct buf log;	     /* of statements, until the end of the tick */

	pthread_mutex_t mu;
	struct list in;
	bool woken;  /* wake is posted */
	bool closed; /* nobody empties in any more */
	struct loop_task wake, halt;

	struct lane lanes[LANES];
	unsigned scans, scans_max; /* units of LANE_SCAN under way, and at most */
	struct list paused;	   /* until job.until */
	struct group groups[LANES], *of_lane[LANES];
	unsigned groups_n;
	bool prepare;
	uint64_t halt_at; /* what the halt task brings: */
	uint64_t stop_at; /* stopping: jobs not done by then are refused; 0: not stopping */
	bool stopped;

	/* the pool: pool.c */
	unsigned total, requests;
	unsigned fails; /* attempts that failed since the last that did not */
	uint64_t failed_ns, retry_ns;
	bool mute;	    /* the last attempt got no answer at all: connections that are there may be dead */
	uint64_t heard_ns;  /* when any connection said something */
	uint64_t silent_ns; /* since when the server as a whole says nothing: to be acted upon; 0: not */
	enum err fail;
	struct diag fail_diag;
	pthread_t connector;
	bool connector_up;
	pthread_mutex_t cmu;
	pthread_cond_t ccv;
	struct list opens, closes; /* requests to the connector */
	atomic_bool copen_no;	   /* no more attempts */
	bool cquit;

	/* the admin threads: admin_thread.c */
	pthread_mutex_t amu;
	pthread_cond_t acv;
	struct list admin;
	pthread_t admins[3];
	unsigned admins_n, admins_idle, admins_queued;
	atomic_bool aquit; /* set under amu */

	struct {
		atomic_ullong units[LANES], jobs[LANES], retries[AGAINS], queued[LANES], connected, refused, cancels;
		atomic_uint open[LANES], prepared;
	} figures;
	uint64_t logged[4];
};

static inline bool pg_writes(const struct pg_job *j)
{
	return j->write || j->lane == LANE_WRITE;
}

static inline void pg_unqueue(struct lane *l, struct pg_job *j)
{
	list_del(&j->node);
	l->n--;
}

static inline void pg_count(atomic_ullong *f, unsigned long long n)
{
	atomic_store_explicit(f, atomic_load_explicit(f, memory_order_relaxed) + n, memory_order_relaxed);
}

/* ---- io.c: jobs on the io thread */
enum err pg_io_new(struct pg_exec *x) MUST_CHECK;
void pg_io_free(struct pg_exec *x);
/* Sees to it that what is due is looked at then. */
void pg_io_at(struct pg_exec *x, uint64_t at_ns);
/* Gives the job its answer; err_set was called when e is not OK. The job is not ours any more. */
void pg_io_answer(struct pg_job *j, enum err e);
/* Answers with a sentence of ours, and what is known about a write. */
void pg_io_refuse(struct pg_job *j, enum err code, const char *why);
/* The unit has its Sync: its jobs are answered or sent again. Frees it. */
void pg_io_unit_done(struct pconn *c, struct unit *u);
/* The connection is gone, and with it the units on it. */
void pg_io_unit_lost(struct pconn *c, struct unit *u, const char *why);
/* An attempt to connect has failed: those that have no connection to wait for are answered with x->fail. */
void pg_io_unreachable(struct pg_exec *x);
/* Stopping: refuses all that is left now. */
void pg_io_refuse_all(struct pg_exec *x);

/* ---- dispatch.c: what goes where, on the io thread */
/* As many of the group's waiting jobs as its connections have room for. */
void pg_dispatch(struct pg_exec *x, struct group *g);
/* Has the lane jobs that may be sent as soon as a connection has room? */
bool pg_lane_waits(const struct pg_exec *x, unsigned lane);
/* A group that cannot get a connection (the server has too many) uses those of others. */
bool pg_may_borrow(const struct pg_exec *x);

/* ---- pool.c: which connections there are */
enum err pg_pool_start(struct pg_exec *x) MUST_CHECK;
/* On the io thread, at the end of every tick. */
void pg_pool_tend(struct pg_exec *x);
/* Ages, idleness; returns when to look again. */
uint64_t pg_pool_due(struct pg_exec *x, uint64_t now);
/* The server has said nothing since then, not even to a new connection: gives up those that were silent, and answers whoever waits.
 */
void pg_pool_silent(struct pg_exec *x, uint64_t since_ns);
/* Takes the connection out of the pool and has it closed. */
void pg_pool_drop(struct pconn *c);
/* Closes all connections, makes no more. */
void pg_pool_quit(struct pg_exec *x);
void pg_pool_join(struct pg_exec *x);
/* A line about connections, at most one a second and kind (0..3). */
void pg_pool_log(struct pg_exec *x, unsigned kind, enum log_level level, const char *msg, const char *why);

/* ---- pconn.c: one connection */
enum err pg_conn_new(struct pg_exec *x, struct group *g, PGconn *pg, uint64_t until_ns, struct pconn **out) MUST_CHECK;
void pg_conn_unwatch(struct pconn *c); /* and the cancel that is under way; not its PGconn */
void pg_conn_send(struct pconn *c, struct unit *u);
void pg_conn_receive(struct pconn *c);
/* Closes it; what is in flight goes back. */
void pg_conn_lost(struct pconn *c, const char *why);
/* Nobody waits (any longer than for a last word) for what the backend does now. */
bool pg_conn_late(const struct pconn *c);
/* Takes a job out of its unit: its results will be thrown away. */
void pg_unit_forget(struct unit *u, struct pg_job *j);

/* ---- statement_log.c */
/* The answer to a statement has come, of a job that has not been told yet. Nothing without pg.log_statements. */
void pg_statement_log(struct pconn *c, const struct unit *u, const struct want *w, const PGresult *r);

/* ---- cancel.c: a request to cancel what the backend is doing, on a thread of its own */
struct pg_cancel_try *pg_cancel_start(PGconn *c);	 /* NULL: cannot be asked */
uint64_t pg_cancel_ended(const struct pg_cancel_try *t); /* 0: under way */
void pg_cancel_drop(struct pg_cancel_try *t);

/* ---- admin_thread.c */
void pg_admin_stop(struct pg_exec *x);

#endif
