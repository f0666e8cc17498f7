/* What the tests of checkpoints share: short forms for putting and reading them. */
#ifndef CENOTE_CORE_CHECKPOINT_TESTING_H
#define CENOTE_CORE_CHECKPOINT_TESTING_H

#include "core/checkpoint_impl.h"
#include "core/testing.h"

static inline void ck_put(struct bench *b, const struct principal *who, struct str thread, struct str ns, struct str id,
			  struct str parent, struct str checkpoint, struct str metadata, const struct ckpt_value *v, size_t n)
{
	struct ckpt_change c = {.op = CK_PUT,
				.thread = thread,
				.ns = ns,
				.id = id,
				.parent = parent,
				.checkpoint = checkpoint,
				.metadata = metadata,
				.values = v,
				.values_n = n};

	OKAY(ckpt_write(b->m, &b->a, who, &c, 1));
}

/* A checkpoint without values; returns its id. */
static inline struct str ck_plain(struct bench *b, const char *thread, const char *ns, struct str parent, int64_t step,
				  const char *more_metadata)
{
	char id[37];

	ckpt_new_id(step, id);
	struct str mine = arena_str(&b->a, str_c(id));

	ck_put(b, &ann, str_c(thread), str_c(ns), mine, parent, arena_printf(&b->a, "{\"v\":4,\"id\":\"%s\"}", id),
	       arena_printf(&b->a, "{\"step\":%lld%s}", (long long)step, more_metadata), NULL, 0);
	return mine;
}

static inline void ck_write(struct bench *b, const char *thread, const char *ns, struct str id, const char *task,
			    const char *channel, const char *bytes)
{
	struct ckpt_pending w = {.task_id = str_c(task),
				 .task_path = STR(""),
				 .channel = str_c(channel),
				 .type = STR("msgpack"),
				 .bytes = str_c(bytes)};
	struct ckpt_change c = {.op = CK_WRITES, .thread = str_c(thread), .ns = str_c(ns), .id = id, .writes = &w, .writes_n = 1};

	OKAY(ckpt_write(b->m, &b->a, &ann, &c, 1));
}

/* The names of what is there, "ns id" each, newest first. */
static inline size_t ck_rows(struct bench *b, const struct principal *who, const char *thread, const char *ns,
			     struct ckpt_full **out)
{
	struct str t = str_c(thread), s = str_c(ns);
	struct ckpt_list q = {.thread = &t, .ns = ns ? &s : NULL, .limit = SIZE_MAX};
	size_t n;
	bool more;

	OKAY(ckpt_list(b->m, &b->a, who, &q, SIZE_MAX / 2, out, &n, &more));
	assert_false(more);
	return n;
}

static inline bool ck_there(struct bench *b, const char *thread, const char *ns, struct str id)
{
	struct ckpt_query q = {.thread = str_c(thread), .ns = str_c(ns), .id = id};
	struct ckpt_full c;
	bool found;

	OKAY(ckpt_get(b->m, &b->a, &ann, &q, &c, &found));
	return found;
}

static inline struct ckpt_full ck_get(struct bench *b, const char *thread, const char *ns, struct str id)
{
	struct ckpt_query q = {.thread = str_c(thread), .ns = str_c(ns), .id = id, .want = CK_VALUES | CK_WRITES_TOO};
	struct ckpt_full c;
	bool found;

	OKAY(ckpt_get(b->m, &b->a, &ann, &q, &c, &found));
	assert_true(found);
	return c;
}

static inline struct ckpt_pruned ck_prune(struct bench *b, const char *thread, const struct ckpt_policy *p, bool dry_run)
{
	struct str t = str_c(thread);
	struct ckpt_pruned out;

	OKAY(ckpt_prune(b->m, &b->a, &ann, &t, 1, p, dry_run, &out));
	return out;
}

static const struct ckpt_policy keep_latest __attribute__((unused)) = {.keep_last = 1};

#endif
