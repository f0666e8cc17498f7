/* The part of the port to a store that keeps facts: items that say when they were true, and what was known before.
 *
 * An item is a fact when its last put came with a struct fact_put; validity then belongs to that very version of the item. A fact
 * that is overwritten (by whatever put), and every item that another one supersedes (W_RETIRE), moves into the history in the same
 * transaction: out of every read of items, for every client.
 *
 * Rules that hold for every driver, tested by tests/store/:
 *  1. A state is in the history once: it is named by namespace, key and recorded_from.
 *  2. A key has at most FACT_HISTORY_MAX states in the history; a fact's put removes the oldest above that.
 *  3. Deleting a key, or its expiry, removes its history. A state of a key that had a time to live expires at the time that was set
 *     when it was superseded.
 *  4. On PostgreSQL another program may overwrite or delete a row of `store` directly: the validity that is kept beside it does
 *     not count for the new value, and nothing of it gets into the history. */
#ifndef CENOTE_CORE_FACT_STORE_H
#define CENOTE_CORE_FACT_STORE_H

#include "core/store.h"

#define FACT_HISTORY_MAX 256
#define FACT_NONE INT64_MIN /* of valid_from_us, valid_to_us, ended_us: not given */

/* What makes a put one of a fact; and, for W_RETIRE, what supersedes it. */
struct fact_put {
	int64_t valid_from_us, valid_to_us; /* RETIRE: the first is that of the superseding fact */
	struct str by;			    /* RETIRE: its key */
};

/* A state in the history. */
struct fact_state {
	struct str ns, key, value;
	int64_t recorded_from_us, recorded_to_us; /* known from (inclusive) until (exclusive) */
	int64_t valid_from_us, valid_to_us;	  /* as they were recorded */
	int64_t ended_us;   /* valid_from of what superseded it, where it was valid until then and nothing was known of its end */
	int64_t expires_us; /* 0: never */
	struct str by;	    /* the key that superseded it; its own when it was overwritten */
	struct str terms;   /* index document; "" : not indexed */
	bool fact;	    /* else an item that was superseded by a fact */
};
/* As the item that it was; its slices are those of s. It has no number any more. */
static inline struct item fact_state_item(const struct fact_state *s)
{
	return (struct item){.ns = s->ns,
			     .key = s->key,
			     .value = s->value,
			     .created_us = s->recorded_from_us,
			     .updated_us = s->recorded_from_us,
			     .fact = s->fact,
			     .valid_from_us = s->valid_from_us,
			     .valid_to_us = s->valid_to_us};
}
typedef bool (*fact_fn)(void *ctx, const struct fact_state *s);

struct fact_ops {
	/* States of a key, newest first, with recorded_from < before (0: all), at most limit. omit_expired_us as in item_get. */
	enum err (*history)(struct store *s, const struct principal *who, struct str ns, struct str key, int64_t before_us,
			    int64_t omit_expired_us, size_t limit, fact_fn fn, void *ctx) MUST_CHECK;
	/* States below prefix that were known at a time: recorded_from <= at < recorded_to. */
	enum err (*known_at)(struct store *s, const struct principal *who, struct str prefix, int64_t at_us,
			     int64_t omit_expired_us, fact_fn fn, void *ctx) MUST_CHECK;
	/* All states below prefix in order of (ns, key, recorded_from), strictly after the given one; for export and copies. */
	enum err (*walk)(struct store *s, const struct principal *who, struct str prefix, struct str after_ns, struct str after_key,
			 int64_t after_us, fact_fn fn, void *ctx) MUST_CHECK;
	/* Puts states into the history that are not there yet; *stored: how many. Durable when answered, one transaction. */
	enum err (*keep)(struct store *s, const struct principal *who, const struct fact_state *v, size_t n,
			 size_t *stored) MUST_CHECK;
};

/* The end of a state that is superseded by a fact that is valid from `from`; FACT_NONE: none is known. */
static inline int64_t fact_end(int64_t valid_from_us, int64_t valid_to_us, int64_t from_us)
{
	return valid_to_us == FACT_NONE && from_us != FACT_NONE && valid_from_us < from_us ? from_us : FACT_NONE;
}

#endif
