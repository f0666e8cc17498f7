/* Checkpoints of a thread: what savers of LangGraph keep. Checks names and limits, knows the parts of a checkpoint that have to be
 * understood (contracts: langgraph 1, 3), plans what may be removed. Values are opaque. Thread-safe; results live in the arena. */
#ifndef CENOTE_CORE_CHECKPOINT_H
#define CENOTE_CORE_CHECKPOINT_H

#include "core/memory.h"
#include "core/thread_store.h"

/* Limits, in bytes. Thread names: THREAD_MAX_BYTES (core/session.h). */
#define CKPT_NS_MAX 4096
#define CKPT_ID_MAX 256
#define CHANNEL_MAX 1024
#define CKPT_TYPE_MAX 256
#define CKPT_JSON_MAX (16u << 20)   /* checkpoint, metadata */
#define CKPT_VALUE_MAX (256u << 20) /* one value; http.max_body is the lower limit over HTTP */
#define CKPT_CHANGES_MAX 1000	    /* in a call */

/* UUIDv6 whose clock sequence is the step, as LangGraph makes them; greater than every one made before in the process. out: 37
 * bytes.
 */
void ckpt_new_id(int64_t step, char out[37]);
/* Microseconds since 1970 in a UUIDv6; 0 when id is none. */
int64_t ckpt_id_time(struct str id);

/* Checks, then the port's write. Errors name the field as a JSON pointer below `field` ("/operations/3"), change i at field/i when
 * n > 1. */
enum err ckpt_write(struct memory *m, struct arena *a, const struct principal *who, struct ckpt_change *c, size_t n) MUST_CHECK;
/* Copies everything that in refers to into the arena. */
enum err ckpt_dup(struct arena *a, const struct ckpt *in, struct ckpt *out) MUST_CHECK;
/* A checkpoint and, when its v is below 4 and it has a parent, the sends of the old format (contracts 3.4): writes with channel
 * __pregel_tasks under the parent's id. Whoever decodes values puts them into channel_values.__pregel_tasks, in this order. */
struct ckpt_full {
	struct ckpt c;
	struct ckpt_pending *sends;
	size_t sends_n;
};
enum err ckpt_get(struct memory *m, struct arena *a, const struct principal *who, const struct ckpt_query *q, struct ckpt_full *out,
		  bool *found) MUST_CHECK;
/* At most q->limit (0: none are asked for) into the arena; *more: stopped because the arena's share (bytes_max) was full, go on
 * with q->after. */
enum err ckpt_list(struct memory *m, struct arena *a, const struct principal *who, const struct ckpt_list *q, size_t bytes_max,
		   struct ckpt_full **out, size_t *n, bool *more) MUST_CHECK;
enum err ckpt_history(struct memory *m, struct arena *a, const struct principal *who, const struct ckpt_query *q,
		      struct ckpt_history *out, size_t n) MUST_CHECK;
/* Unknown threads: OK. */
enum err ckpt_delete_thread(struct memory *m, const struct principal *who, struct str thread) MUST_CHECK;
enum err ckpt_delete_runs(struct memory *m, struct arena *a, const struct principal *who, const struct str *ids, size_t n,
			  struct ckpt_removed *out) MUST_CHECK;
/* upto: NULL, or only this checkpoint of ns "" and its ancestors (with the subgraph calls that they started). */
enum err ckpt_copy(struct memory *m, struct arena *a, const struct principal *who, struct str from, struct str to,
		   const struct ckpt_ref *upto) MUST_CHECK;

/* What may go. Never the head of a namespace, nor what it takes to rebuild a kept checkpoint (3.7 of the contract). */
struct ckpt_policy {
	bool drop_all;	      /* strategy "delete": everything of the thread */
	int64_t keep_last;    /* newest per namespace that stay, at least 1 */
	int64_t keep_days_us; /* those younger than this stay, and those without a time; 0: not a reason to stay */
	int64_t keep_every;   /* those whose step N divides stay, so that the same ones stay ever after; 0: not a reason to stay */
};
struct ckpt_pruned {
	int64_t threads;	     /* looked at and not empty */
	struct ckpt_removed removed; /* dry run: what would go; of values and writes only with drop_all */
};
enum err ckpt_prune(struct memory *m, struct arena *a, const struct principal *who, const struct str *threads, size_t n,
		    const struct ckpt_policy *p, bool dry_run, struct ckpt_pruned *out) MUST_CHECK;

/* A new checkpoint with the same state whose parent is ref (id "" : the head): becomes the head. Where ref's own pending writes
 * would come into the state (delta channels without a value there, sends of the format before 4), its parent is ref's. new_id: 37
 * bytes.
 */
enum err ckpt_fork(struct memory *m, struct arena *a, const struct principal *who, struct str thread, const struct ckpt_ref *ref,
		   char new_id[37]) MUST_CHECK;
/* update_state without a graph: values (JSON object) overwrite ordinary channels; `as_node` "" : none. E_INVALID names what needs a
 * reducer. A thread that is there and has no checkpoint begins with this one. */
enum err ckpt_update(struct memory *m, struct arena *a, const struct principal *who, struct str thread, const struct ckpt_ref *ref,
		     struct jval values, struct str as_node, char new_id[37]) MUST_CHECK;

/* ---- what people see: values decoded for display (state.c). Nothing is executed; unknown types are shown as type and size. */

/* One typed value as JSON: null, bytes ({"type","bytes":n} or text if printable), msgpack (extension types by the table of
 * contracts 3.1), json; encrypted and unknown ones {"type","bytes"}. Malformed bytes: {"type","bytes","error"}. Depth at most 64.
 */
void ckpt_value_json(struct jw *w, struct str type, struct str bytes);
/* The channels of a checkpoint as one JSON object: inline values overlaid with the others, without names that begin with "__" or
 * "branch:"; select: only these, NULL: all. */
void ckpt_values_json(struct jw *w, struct arena *a, const struct ckpt *c, const struct str *select, size_t select_n);
/* LangGraph's ThreadState (contracts 6.3). want: NULL, or which members ("values", "values.x", "next", ...). */
void ckpt_state_json(struct jw *w, struct arena *a, const struct ckpt *c, const struct str *want, size_t want_n);
/* The ThreadState of a thread without a checkpoint. */
void ckpt_state_none_json(struct jw *w, struct str thread);

/* ---- retention in the background (retention.c) */

/* Rules as text: rules separated by ';', the first that fits a thread counts: TENANT[/THREAD-PREFIX]: WORDS, where TENANT is a name
 * or *, and WORDS are of last=N days=D every=N idle=D (idle: the thread is deleted D days after its last change). E_INVALID with
 * the position. Threads' own ttl comes first. */
struct retention;
enum err retention_parse(struct str text, struct retention **out) MUST_CHECK;
void retention_free(struct retention *r);
/* Looks after all tenants, a few threads at a time with a pause between, every interval; from a fiber. Also deletes or prunes
 * threads whose ttl has passed. E_CANCELLED when cancelled. r may be NULL. */
enum err retention_forever(struct memory *m, const struct retention *r, uint32_t interval_ms) MUST_CHECK;
/* One pass over the tenant of who: what goes (dry_run: would go). fn may be NULL. */
struct retention_step {
	struct str tenant, thread;
	const char *rule; /* "ttl", "last=10 days=30" */
	bool whole;	  /* the thread itself */
	struct ckpt_removed removed;
};
typedef void (*retention_fn)(void *ctx, const struct retention_step *s);
enum err retention_pass(struct memory *m, const struct principal *who, const struct retention *r, bool dry_run, retention_fn fn,
			void *ctx) MUST_CHECK;
void retention_metrics(struct buf *out);

#endif
