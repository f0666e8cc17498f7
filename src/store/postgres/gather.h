/* Private to store/postgres: what callers ask for at the same time goes out together (gather.c). One struct gather per kind of
 * write; what is special to a kind lies in its functions. */
#ifndef CENOTE_STORE_PG_GATHER_H
#define CENOTE_STORE_PG_GATHER_H

#include "store/postgres/pg.h"

#define GATHER_CALLS 256	       /* of a batch */
#define GATHER_BYTES ((size_t)1 << 20) /* of a batch */
#define GATHER_THREADS 3	       /* at most */

/* One call; the first member of a kind's own. On the stack of its caller, who waits. */
struct gather_req {
	struct list node; /* in the queue */
	struct pg_tenant *t;
	size_t bytes; /* about */
	uint64_t deadline;
	struct event ev;
	enum err err;
	struct diag diag;
	bool alone;
	struct gather_req *next; /* in the pending list, or to be answered */
};
struct gather_batch {
	struct gather *g;
	struct pg_tenant *t;
	bool open;		  /* requests may be taken out */
	uint64_t begun, deadline; /* deadline: the last one of its requests */
	unsigned n;
	size_t bytes;
	struct gather_req *reqs[GATHER_CALLS]; /* NULL: taken out */
	void *own;			       /* of the kind: own_bytes, zeroed once */
};
struct gather_ops {
	unsigned threads;
	size_t own_bytes;
	/* The lock is held: makes b empty; copies what it needs of q into b (has n, bytes, reqs of before). */
	void (*begin)(struct gather_batch *b);
	void (*add)(struct gather_batch *b, const struct gather_req *q);
	/* The lock is held. May q go into b (may be NULL: yes)? Must q wait until a batch under way has ended (may be NULL: no)? */
	bool (*joins)(const struct gather_batch *b, const struct gather_req *q);
	bool (*blocked)(const struct gather *g, const struct gather_req *q);
	/* Runs the batch. Calls gather_open as soon as it no longer needs the memory of its requests. sqlstate: of an error, "" :
	 * none. */
	enum err (*run)(struct gather_batch *b, char sqlstate[6]);
	/* The lock is held, the batch went well: results to the requests that are still there (may be NULL). */
	void (*deliver)(struct gather_batch *b);
	/* Whether that error makes each of the n requests try alone. */
	bool (*alone)(const char *sqlstate, unsigned n);
};
struct gather {
	const struct gather_ops *ops;
	unsigned kind; /* 0.. : place among what waits for the end of a tick */
	pthread_mutex_t mu;
	pthread_cond_t cv, warden_cv;
	struct list queue;
	unsigned queued, idle, max, threads_n;
	bool stop, warden_sleeps, warden_up;
	atomic_uint waiting;
	atomic_ullong batches_run, calls_run;
	pthread_t threads[GATHER_THREADS], warden;
	struct gather_batch batch[GATHER_THREADS];
};
enum { GATHER_ITEMS, GATHER_CHECKPOINTS, GATHER_KINDS };

/* gather_item.c, ckpt_gather.c */
extern const struct gather_ops pg_item_gather, pg_ckpt_gather_ops;

/* *out is set even on failure; gather_stop undoes what there is. */
enum err gather_start(const struct pg *s, unsigned kind, const struct gather_ops *ops, struct gather **out) MUST_CHECK;
/* Lets what is queued finish; NULL is harmless. */
void gather_stop(struct gather *g);
/* q: tenant and bytes are filled in. Waits for its turn and its end. *alone: nothing was stored, try without others. */
enum err gather_call(struct gather *g, struct gather_req *q, bool *alone) MUST_CHECK;
void gather_open(struct gather_batch *b, bool open);
/* For ops.alone: the error may be that of one request's data, or of the time that all took together, and the others may go well.
 * Not so when the server or the connection is why: all would fail one by one. */
bool gather_one_of_many(const char *sqlstate);
/* Calls that wait, and batches under way. */
unsigned gather_waiting(struct gather *g, unsigned *batches);

#endif
