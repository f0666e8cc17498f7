/* Copying one store into another over the port, whatever the drivers are: items, the history of facts, messages, threads (records,
 * checkpoints with their values and pending writes, entries of sessions) and keys of a tenant; then comparing both.
 *
 *  - What the target holds already and is newer stays. Nothing is removed from the target.
 *  - Times, expiry and ttl are kept; versions are the target's own. Index documents are made anew, with the same paths.
 *  - How far it is, is kept in the target as a small value ("copy:SOURCE"): a copy that was cut off, in whatever way, goes on
 * there.
 *  - Items that cannot be stored (jsonb has no U+0000) are told one by one, the rest goes on.
 *  - Compared is a checksum of what each item means: names, the value in canonical form, times in microseconds, of a fact when it
 * was true. It is a sum, so the order does not matter. Called outside a loop: it blocks. */
#ifndef CENOTE_CORE_COPY_H
#define CENOTE_CORE_COPY_H

#include "core/store.h"

enum copy_what {
	COPY_FAILED,  /* could not be stored; the reason says why */
	COPY_DIFFERS, /* the comparison found another value in the target, or none */
};
enum copy_kind { COPY_ITEM, COPY_MESSAGE, COPY_THREAD, COPY_CHECKPOINT, COPY_ENTRY, COPY_STATE };
struct copy_problem {
	enum copy_what what;
	enum copy_kind kind;
	struct str tenant, ns, key; /* of messages and what belongs to threads: thread, and id (of a thread's record: "") */
	struct str reason;
};

struct copy_options {
	struct str source;    /* names the source in the target: 1..64 characters */
	struct str languages; /* as memory_options.languages */
	bool dry_run;	      /* change nothing: count what would be copied */
	bool no_verify;
	/* May be NULL. resumes: an earlier run had come so far. done and total count items and messages of the tenant; stopped: end
	 * with E_CANCELLED as soon as it can. */
	void (*resumes)(void *ctx, struct str tenant, uint64_t done);
	void (*tick)(void *ctx, struct str tenant, uint64_t done, uint64_t total);
	void (*problem)(void *ctx, const struct copy_problem *p);
	bool (*stopped)(void *ctx);
	void *ctx;
};

struct copy_result {
	bool resumed;			   /* an earlier run has been continued; the figures include it */
	int64_t items, copied, unchanged;  /* items of the source seen; of them written; there already */
	int64_t newer;			   /* stayed because the target's is newer */
	int64_t failed;			   /* items and messages that could not be stored */
	int64_t messages, messages_copied; /* the others were there */
	int64_t states, states_copied;	   /* of the history of facts; the others were there */
	int64_t keys;			   /* copied */
	int64_t threads;		   /* records of threads, written or there already */
	int64_t checkpoints, checkpoints_copied, entries, entries_copied; /* the others were there */
	/* the comparison */
	bool compared, equal;
	int64_t changed; /* items, messages and states that changed in the source while it was copied */
	int64_t differ;
	int64_t extra; /* items and states that only the target has */
	int64_t from_count, to_count;
	uint64_t from_sum, to_sum;
};

/* to may be NULL in a dry run: an empty store. E_CANCELLED when stopped (the place is kept). OK also when items failed or differ.
 */
enum err copy_tenant(struct store *from, struct store *to, struct str tenant, const struct copy_options *opt,
		     struct copy_result *out) MUST_CHECK;

#endif
