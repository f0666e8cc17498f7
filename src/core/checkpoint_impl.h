/* What the files of core/checkpoint share; private to core. */
#ifndef CENOTE_CORE_CHECKPOINT_IMPL_H
#define CENOTE_CORE_CHECKPOINT_IMPL_H

#include "base/json/json.h"
#include "core/checkpoint.h"
#include "core/session.h"

#define CKPT_PATH_MAX 4096   /* task_path */
#define CKPT_NAME_MAX 256    /* task_id, version */
#define CKPT_PLAN_MAX 500000 /* checkpoints of one thread that a plan takes in at most */
#define CKPT_REMOVE_STEP 400 /* checkpoints removed in one transaction */

/* For checkpoints' own JSON: as deep as a request's, with room for many channels. */
extern const struct json_limits ckpt_json_limits;

/* min..max bytes of UTF-8 without U+0000; the error's field is prefix/member. */
enum err ckpt_text_check(struct str s, const char *prefix, const char *member, size_t min, size_t max) MUST_CHECK;
/* A new id that is greater than `after` (an id that is there; "" : none) as well. E_CONFLICT when none can be. */
enum err ckpt_new_id_after(int64_t step, struct str after, char out[37]) MUST_CHECK;
/* Whether the checkpoint is of the format before 4 (a checkpoint without a version is not). */
bool ckpt_is_old(struct str checkpoint);
/* Copies everything that c refers to. */
enum err ckpt_dup(struct arena *a, const struct ckpt *in, struct ckpt *out) MUST_CHECK;
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

/* ---- planning (checkpoint_plan.c) */

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
