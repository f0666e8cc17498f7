/* What the files of core/checkpoint share; private to core. */
#ifndef CENOTE_CORE_CHECKPOINT_IMPL_H
#define CENOTE_CORE_CHECKPOINT_IMPL_H

#include "base/json/json.h"
#include "base/map.h"
#include "core/checkpoint.h"
#include "core/session.h"

#define CKPT_PATH_MAX 4096    /* task_path */
#define CKPT_NAME_MAX 256     /* task_id, version */
#define CKPT_PLAN_MAX 4000000 /* checkpoints of one thread that a plan takes in at most */
#define CKPT_REMOVE_STEP 400  /* checkpoints removed in one transaction, unless the driver says another number */

/* For checkpoints' own JSON: as deep as a request's, with room for many channels. */
extern const struct json_limits ckpt_json_limits;

/* min..max bytes of UTF-8 without U+0000; the error's field is prefix/member. */
enum err ckpt_text_check(struct str s, const char *prefix, const char *member, size_t min, size_t max) MUST_CHECK;
/* A new id that is greater than `after` (an id that is there; "" : none) as well. E_CONFLICT when none can be. */
enum err ckpt_new_id_after(int64_t step, struct str after, char out[37]) MUST_CHECK;
/* Whether the checkpoint is of the format before 4 (a checkpoint without a version is not). */
bool ckpt_is_old(struct str checkpoint);
/* The bytes that ckpt_dup needs, about. */
size_t ckpt_weight(const struct ckpt *c);

/* ---- what a checkpoint says of one channel: for finding out what has to be replayed (3.7, 3.9 of the contract) */

/* A channel has a value of its own here: one that is stored at its version, or a non-null inline one. c was read with CK_VALUES of
 * this channel; v is its parsed checkpoint. */
bool ckpt_has_value(const struct ckpt *c, struct jval v, struct str channel);
/* Whether metadata speaks of delta channels in the way of JavaScript, where any channel may be one. */
bool ckpt_js_delta(struct jval metadata);

/* ---- msgpack, as far as it is written here (checkpoint_msgpack.c) */

/* JSON as msgpack: integers as such in the least form, other numbers as float 64. E_INVALID: an integer beyond 64 bits. */
enum err msgpack_of_json(struct arena *a, struct jval v, struct buf *out) MUST_CHECK;
/* Whether bytes are an array with an element of extension type 5 (models, messages of LangChain). */
bool msgpack_has_models(struct str bytes);

/* ---- planning (checkpoint_index.c, checkpoint_plan.c) */

#define PLAN_NONE UINT32_MAX
/* A checkpoint as far as a plan has to know it. */
struct plan_row {
	struct str id, parent, root;  /* root: metadata.parents[""], for namespaces other than "" */
	int64_t step, time_us, bytes; /* step INT64_MIN, time 0: not known; bytes with CK_SIZES */
	uint32_t ns;
	bool old;     /* v below 4 */
	bool kept;    /* for its own sake */
	bool support; /* because a kept one is rebuilt from it */
	bool gone;    /* removed */
};
/* A channel that may be a delta channel. */
struct plan_channel {
	struct str name;
	bool delta;
	/* Where the JSON has `true` for it: with a blob behind it that is a snapshot of a delta channel. The newest few. */
	uint32_t at[4];
	size_t at_n;
	struct str version; /* of the last of them */
};
struct plan_ns {
	struct str name;
	uint32_t head; /* row: the greatest id */
	int64_t rows;
	struct plan_channel *channels;
	size_t channels_n, channels_cap;
	bool confirmed; /* candidates were looked up */
	bool whole;	/* a subgraph call whose root checkpoint goes: everything goes */
};
/* All checkpoints of a thread, newest first, as they were when they were read. Not thread-safe.
 *
 * Invariants
 *  1. Rows stand by descending id as far as they were read by plan_scan; those that plan_refresh adds come behind.
 *  2. A namespace's head is the row with the greatest id that was read.
 *  3. Memory is bounded by CKPT_PLAN_MAX rows; values are never kept. */
struct plan {
	struct store *s;
	const struct principal *who;
	struct str thread;
	unsigned want; /* of list: CK_SIZES or 0 */
	struct arena a, scratch, one;
	struct plan_row *rows;
	size_t n, cap;
	struct plan_ns *ns;
	size_t ns_n, ns_cap;
	struct map ns_by_name; /* -> number + 1 */
	uint32_t *slots;       /* row + 1 by hash of (ns, id); twice as many as rows */
	size_t slots_n;
	uint64_t *walked; /* a set of (row, channel) */
	size_t walked_n, walked_cap;
	bool js;    /* written by JavaScript with delta channels: any channel may be one */
	bool known; /* plan_refresh has met a row that was there */
	enum err err;
};
void plan_init(struct plan *p, struct store *s, const struct principal *who, struct str thread, unsigned want);
void plan_release(struct plan *p);
/* Reads all rows, page by page. */
enum err plan_scan(struct plan *p) MUST_CHECK;
/* Reads what was added since at the newest end; the new rows are kept. *added: the first of them. */
enum err plan_refresh(struct plan *p, size_t *added) MUST_CHECK;
/* The row, or PLAN_NONE. */
uint32_t plan_find(const struct plan *p, uint32_t ns, struct str id);
/* The number of a namespace, or PLAN_NONE. */
uint32_t plan_ns_find(const struct plan *p, struct str name);
/* The channel's number in its namespace, added when it is not there; PLAN_NONE: p->err is set. */
uint32_t plan_channel(struct plan *p, struct plan_ns *ns, struct str name);
/* True when (row, channel) was not in the set, which it is from then on; also true when memory is short (p->err). */
bool plan_walk_once(struct plan *p, uint32_t row, uint32_t channel);
/* Marks as support what the kept rows from `from` on need to be rebuilt. */
enum err plan_needs(struct plan *p, size_t from) MUST_CHECK;

/* What a policy would remove of one thread. */
struct ckpt_plan_result {
	size_t rows;		     /* that were there */
	struct ckpt_removed removed; /* dry run: checkpoints and bytes */
	int64_t next_us;	     /* when something that stays for its youth alone stops being young; 0: never */
};
/* pause_ms: rest between steps, 0: none. now_us: what keep_days counts from. */
struct ckpt_prune_how {
	const struct ckpt_policy *policy;
	bool dry_run;
	int64_t now_us;
	uint32_t pause_ms;
};
enum err ckpt_prune_thread(struct store *s, const struct principal *who, struct str thread, const struct ckpt_prune_how *how,
			   struct ckpt_plan_result *out) MUST_CHECK;

#endif
