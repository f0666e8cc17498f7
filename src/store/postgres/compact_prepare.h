/* Private to compact_prepare.c and compact_write.c: a write on its way into the store. */
#ifndef CENOTE_STORE_PG_COMPACT_PREPARE_H
#define CENOTE_STORE_PG_COMPACT_PREPARE_H

#include "store/postgres/compact.h"

struct cw_scope {
	struct str thread, ns;
	struct compact_scope *s; /* of puts only, else NULL */
};
struct cw_value {
	size_t scope;
	struct str channel, version, type; /* packed */
	struct str data;
	bool chunked, there;	   /* there: the version is stored already */
	struct pack_chunk *chunks; /* those between the first and the last */
	size_t n;
	struct str raw;	 /* of the value, for its length */
	struct str runs; /* '{1,4}' */
};
struct cw_chunk {
	size_t value;
	int64_t n;
	struct str data;
};
struct cw_checkpoint {
	size_t scope;
	struct str id, parent, run, body; /* run.p NULL: none */
};
/* All writes of a task under a checkpoint. */
struct cw_task {
	size_t scope;
	struct str id, task_id, task;
	const struct ckpt_change **changes;
	size_t n;
	struct str old, data; /* old.p NULL: no such row yet */
	int marks;
};
struct cw {
	struct pg_tenant *t;
	const struct principal *who;
	const struct ckpt_change *c;
	size_t n;
	struct arena *a;     /* of the call */
	struct arena *again; /* of one attempt */
	struct cw_scope *scopes;
	struct cw_value *values;
	struct cw_checkpoint *checkpoints;
	struct cw_task *tasks;
	size_t scopes_n, values_n, checkpoints_n, tasks_n;
	struct cw_chunk *chunks;  /* of one attempt */
	size_t chunks_n, chunked; /* chunked: values that are not there yet and have chunks */
};
/* Once: compresses, cuts, names. May run on the CPU pool. */
enum err cw_prepare(struct cw *x) MUST_CHECK;
/* For every attempt, when it is known what is there: numbers, what is new compressed, rows of tasks. May run on the CPU pool. */
enum err cw_number(struct cw *x) MUST_CHECK;

#endif
