/* What sync.c, verify.c and docs.c share: how a tenant's changes are followed. See docs/store-postgres.md for why it holds. */
#ifndef CENOTE_STORE_PG_FEED_H
#define CENOTE_STORE_PG_FEED_H

#include "store/feed.h"
#include "store/postgres/pg.h"
#include "store/postgres/snapshot.h"

/* What is known of one scope. */
struct pg_scope_state {
	struct list lru;
	struct list waiting; /* struct pg_waiter: until the verification under way has ended */
	uint64_t epoch;	     /* nothing of others was left out as of this epoch; 0: never looked */
	uint64_t busy_until; /* a verification is under way, with this deadline; 0: none */
	uint64_t rest_until; /* not verified again before */
	char *name;
};
#define PG_SCOPES_MAX 1024u

struct pg_feed {
	pthread_mutex_t mu; /* never held across a statement or a wait */
	struct feed ring;
	/* The last snapshot: all that ended before it is in the ring, or was accounted for by epoch. */
	bool have, recovery;
	char *text;
	struct pg_snapshot snap;
	int64_t server;	   /* when the server that gave it was started */
	uint64_t taken_ns; /* it was asked for then */
	/* Moved on whenever somebody else may have written. */
	uint64_t epoch;
	/* The sync that is under way, with its deadline (0: none), and who waits for the next. */
	uint64_t flying_until;
	struct list next;
	/* Scopes by prefix. */
	struct map scopes;
	struct list lru; /* used last at the tail */
	uint64_t complained_ns;
	/* Figures; verifications by what came out. */
	atomic_ullong syncs, equal, adopting, incomplete, deferred, adopted, verify_ns;
	atomic_bool unadopted;
};

struct pg_waiter {
	struct list node;
	struct event ev;
	uint64_t deadline;
	bool lead; /* out: it is the waiter's turn */
	enum err err;
	struct diag diag;
};
/* The earlier of the fiber's deadline and a statement's. */
uint64_t pg_wait_deadline(const struct pg *s);
/* Wakes all that wait in list, with what came out. */
void pg_wake(struct list *waiting, enum err e);
/* All nodes of from to the empty list `to`. */
void pg_list_move(struct list *from, struct list *to);
/* A failure that another caller's attempt need not share: it was out of time or gave up. */
bool pg_only_mine(enum err e);

/* The server that was asked last cannot be written to. */
bool pg_feed_on_standby(struct pg_feed *f);
/* Frees the scopes. */
void pg_scopes_free(struct pg_feed *f);

#endif
