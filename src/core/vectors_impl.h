/* What the files of core/vectors share: the table of tenants (vectors.c), which model is in use and the change of models
 * (vectors_models.c), the worker (vectors_work.c), reading the feed and the walk (vectors_find.c), making vectors (vectors_make.c),
 * texts (vectors_text.c), waiting (vectors_wait.c), questions (vectors_ask.c), progress (vectors_state.c). Private to core.
 *
 * Who may touch what
 *  1. Fields marked `lock` are read and changed under vectors.lock, which is never held across a call of the store or the encoder.
 *  2. Fields marked `worker` belong to whoever has set vectors.busy (under the lock): the worker, or without one the caller of
 *     vectors_wait. The rest does not change after vectors_new.
 *  3. A tenant, once in the table, stays until vectors_free. */
#ifndef CENOTE_CORE_VECTORS_IMPL_H
#define CENOTE_CORE_VECTORS_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/list.h"
#include "base/map.h"
#include "core/vectors.h"
#include "index/marks.h"

#define MODEL_ROOM 288 /* of a name with its dimensions, "NAME/384" */
#define KINDS 2	       /* enum doc_kind */
/* Documents whose vector is missing are remembered up to so many; beyond that only from where on there are some. */
#define QUEUE_MAX 16384
/* For the values that are read together. */
#define READ_ROOM ((size_t)256 << 20)
/* A service that has the model in use may be away for so long before it is taken to have gone. */
#define FORMER_MS 60000

/* A document that waits. */
struct todo {
	int64_t id, since_us;
	uint64_t mark, stamp;
	int64_t version;	 /* of the item that the mark is of; 0: not known, or a message */
	const struct lang *lang; /* of its document; NULL: that is outdated */
	bool again;		 /* it gave no vector, which may be the encoder's fault: it is tried another time */
	bool none;		 /* there is nothing to encode: it has no document, or cannot be read */
	bool taken;		 /* its vector was taken over (vectors_foreign_take) */
	bool replaces;		 /* there is a vector, of an earlier text or by an earlier making */
	char *doc;		 /* its index document when that says which paths were indexed, else NULL */
	size_t doc_n;
};
/* First in, first out. seq: of the first; it grows by one with everything taken out. */
struct queue {
	struct todo *v;
	size_t at, n, cap, replacing;
	uint64_t seq;
};

struct kind_state {	/* worker */
	bool following; /* cursor is good */
	uint64_t cursor;
	bool walking; /* documents after `after` have yet to be looked at */
	int64_t after;
	int64_t again_from; /* reindex: documents after this one are made again although they have a vector; INT64_MAX: none */
	struct queue queue;
	struct marks odd;	 /* texts that gave no vector: mark + how often */
	struct marks refused;	 /* by the encoder; not asked again before their text changes */
	int64_t walked, stepped; /* documents that the walk has done with; in its last step, which may have to be repeated */
};

enum foreign_verdict { FOREIGN_UNKNOWN, FOREIGN_EMPTY, FOREIGN_SAME, FOREIGN_DIFFERS };
/* What is known of another program's vectors (vectors_foreign.c). worker */
struct vforeign {
	enum foreign_verdict verdict;
	char model[MODEL_ROOM]; /* the verdict's */
	double cosine;		/* the least of those compared */
	bool fits, lengths;	/* as many dimensions as ours; vectors of length 1, or compared by cosine */
	bool reads, writes;	/* what is done */
	uint64_t look_at, judge_at;
	bool following, walking; /* cursor is good; items after `after` have yet to be looked at */
	uint64_t cursor;
	int64_t after;
	int64_t *changed; /* items that may lack rows */
	size_t changed_n, cap;
	int64_t late[64]; /* those that somebody had locked */
	size_t late_n;
	char told[768];
};

/* Why the encoder, or the store, does not answer, and when it is tried again. lock */
struct trouble {
	char text[512];
	enum err err;
	unsigned failures; /* in a row */
	uint64_t until;	   /* monotonic */
};

struct vtenant {
	char *name;
	struct principal who;
	/* lock */
	bool known;		    /* model and next have been read from the store */
	char model[MODEL_ROOM];	    /* in use, "" : none */
	char next[MODEL_ROOM];	    /* being made, "" : none */
	bool dirty;		    /* written to since the worker looked */
	int64_t waiting, replacing; /* in the queues; those of them that have a vector all the same */
	int64_t to_walk;	    /* documents that are yet to be walked through, at most */
	int64_t all;		    /* documents there were when the walk began, at most */
	int64_t refused_n, oldest_us;
	bool counted, again_shown;
	bool again_wanted; /* a reindex is to begin */
	struct list waiters;
	/* worker */
	struct kind_state kind[KINDS];
	struct vforeign foreign;
	bool again;	  /* a reindex is under way */
	bool busy;	  /* the last round left something to do */
	bool looked;	  /* there has been a round */
	int64_t walk_all; /* documents that the walk will see, at most */
	int64_t walk_since_us;
	bool others_next;	/* the store names a model being made that is not this process's */
	bool gap;		/* of what was new in this round's feed some is left to the walk */
	bool gave_way;		/* another process has changed the model in use: this one does not change it back */
	struct trouble trouble; /* of its store; lock */
	uint64_t drop_at;	/* monotonic: other models' vectors may go from then on; 0: there are none to be dropped */
};

/* One who waits; on its own stack. lock */
struct vwaiter {
	struct list node;
	int fd;			 /* eventfd that is written when it has ended */
	bool all;		 /* waits for the walk, whatever it was begun for */
	bool seen, armed, ended; /* seen: before the feed was read last; armed: seq is set */
	bool walk;		 /* armed: what it waits for may be found by the walk alone */
	uint64_t seq[KINDS];	 /* armed: until these have been taken out of the queues */
	enum err err;
	struct diag diag;
};

/* The encoder of a model that was in use before, for questions. lock */
struct former {
	struct list node;
	char model[MODEL_ROOM];
	struct embedder *e; /* NULL: there is none to be had (yet) */
	unsigned users;
	/* worker */
	bool settled;	/* there is none, for good */
	uint64_t until; /* monotonic: it is tried for so long */
};

struct vectors {
	struct store *store;
	struct embedder *embedder;
	struct vectors_options opt;
	struct words *words;	    /* for documents alone: without a cache */
	char name[MODEL_ROOM - 16]; /* of the encoder's model, without dimensions */
	size_t queue_max;	    /* QUEUE_MAX */
	size_t read_room;	    /* READ_ROOM */
	uint32_t former_ms;	    /* FORMER_MS */
	int wake_fd;
	atomic_bool woken;
	pthread_mutex_t lock;
	struct map tenants;  /* lock */
	struct list formers; /* lock */
	bool busy;	     /* lock: somebody does the worker's job */
	bool running;	     /* lock: the worker is there */
	struct trouble work, question;
	bool no_encoder; /* worker: this round has failed by the encoder, or the service: it would do so for every tenant */
	atomic_uint waiters;
	_Atomic uint64_t made, refused, failures, switches, dropped, taken, given;
};

/* ---- vectors.c */
/* "NAME/DIMS" of the encoder, "" as long as its dimensions are not known. out: MODEL_ROOM. */
void vectors_key(const struct vectors *v, char *out);
/* Is it this process's model? Before the first answer of a service its dimensions are not known; the name has to do until then. */
bool vectors_own(const struct vectors *v, struct str model);
/* All tenants, into an array of the arena. */
enum err vectors_tenants(struct vectors *v, struct arena *a, struct vtenant ***out, size_t *n) MUST_CHECK;
enum err vectors_tenant(struct vectors *v, struct str name, struct vtenant **out) MUST_CHECK;
/* Notes a failure (the diagnostic is the reason), or that all is well again. */
void trouble_note(struct vectors *v, struct trouble *t, enum err e, uint32_t first_ms, uint32_t most_ms);
void trouble_over(struct vectors *v, struct trouble *t);
/* now: even in a pause, since somebody wants to know. */
void vectors_wake_worker(struct vectors *v, bool now);

/* ---- vectors_models.c */
/* Reads what the store says of the tenant's models, once. */
enum err vectors_learn(struct vectors *v, struct vtenant *t, bool again) MUST_CHECK;
/* Writes it. worker, or when again_wanted is set. */
enum err vectors_tell(struct vectors *v, struct vtenant *t) MUST_CHECK;
/* As vectors_key; asks a service whose dimensions are not known before it has answered once. */
enum err vectors_learn_dims(struct vectors *v, char *key) MUST_CHECK;
/* What becomes of the model in use, at the first look at a tenant. *make: this process makes vectors. worker */
enum err vectors_settle_models(struct vectors *v, struct vtenant *t, const char *key, bool *make) MUST_CHECK;
/* All that was there has its vector. worker */
enum err vectors_finish(struct vectors *v, struct vtenant *t, const char *key) MUST_CHECK;
/* One step of removing what no model in use needs. *more: there is another. worker */
enum err vectors_drop_step(struct vectors *v, struct vtenant *t, bool *more) MUST_CHECK;

/* ---- vectors_ask.c: the encoder has answered the worker, after so long: questions need not go on without it when it is quick
 * enough for them. */
void vectors_answered(struct vectors *v, uint64_t ns);

/* ---- vectors_wait.c */
/* Waiting: who is there before the feed is read (see) is done when all that is in the queues after it (arm) has been taken out and,
 * if he waits for that, nothing is left to be walked through (settle). */
void vectors_see(struct vectors *v, struct vtenant *t);
void vectors_arm(struct vectors *v, struct vtenant *t);
void vectors_settle(struct vectors *v, struct vtenant *t, bool walked);
/* Ends all waiters of a tenant with an error, the diagnostic's. */
void vectors_fail_waiters(struct vectors *v, struct vtenant *t, enum err e);

/* ---- vectors_work.c: one round of a tenant. *more: there is something left to do at once. worker */
enum err vectors_round(struct vectors *v, struct vtenant *t, bool *more) MUST_CHECK;

/* ---- vectors_find.c. worker */
enum err queue_add(struct queue *q, const struct doc_change *d) MUST_CHECK;
/* Gives the first n away, but for those that are to be tried again. */
void queue_drop(struct queue *q, size_t n);
void queue_release(struct queue *q);
/* What has changed since the last call goes into the queue. */
enum err vectors_follow(struct vectors *v, struct vtenant *t, enum doc_kind kind, struct str model) MUST_CHECK;
/* The next documents of the walk that need a vector, at most `most` of them, into the arena; *last: the walk stands there when they
 * are done; *end: that is all. */
enum err vectors_walk(struct vectors *v, struct vtenant *t, enum doc_kind kind, struct str model, struct arena *a, size_t most,
		      struct todo **out, size_t *n, int64_t *last, bool *end) MUST_CHECK;

/* ---- vectors_make.c: makes and keeps the vectors of n documents (of at most EMBED_BATCH_MAX). worker */
enum err vectors_make(struct vectors *v, struct vtenant *t, enum doc_kind kind, struct todo *todo, size_t n) MUST_CHECK;

/* A document, or more of them together, that could not be read: it may be one of them that cannot be, or that they are too large
 * together. */
bool vectors_unreadable(enum err e);
/* One that cannot be read alone: like one that the encoder refuses. The diagnostic says why. */
enum err vectors_leave_out(struct vectors *v, struct vtenant *t, enum doc_kind kind, struct todo *todo) MUST_CHECK;

/* ---- vectors_docs.c: makes, and keeps, the documents of those items that have none yet; their marks become those. worker */
enum err vectors_make_docs(struct vectors *v, struct vtenant *t, struct todo *todo, size_t n) MUST_CHECK;

/* ---- vectors_foreign.c: another program's vectors of items. worker */
/* Takes over, and keeps, the vectors of those of the items that have one (todo.taken). */
enum err vectors_foreign_take(struct vectors *v, struct vtenant *t, struct todo *todo, size_t n) MUST_CHECK;
/* Sees to it that t->foreign's reads and writes are right. Gives on what the encoder fails with, and being cancelled. */
enum err vectors_foreign_settle(struct vectors *v, struct vtenant *t, const char *key) MUST_CHECK;
void vectors_foreign_free(struct vforeign *f);
/* ---- vectors_foreign_give.c: one step of giving that program the vectors of what Cenote has written. *more: there is another to
 * be done at once. worker */
enum err vectors_foreign_give(struct vectors *v, struct vtenant *t, bool *more) MUST_CHECK;

/* ---- vectors_text.c */
/* What the encoder reads of a message, of an item. Never longer than VECTOR_TEXT_MAX. */
#define VECTOR_TEXT_MAX ((size_t)32 << 10)
enum err vectors_item_text(struct arena *a, struct str value, struct str doc, struct str *out) MUST_CHECK;
struct str vectors_message_text(struct str content);

#endif
