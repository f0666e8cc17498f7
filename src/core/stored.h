/* Stored responses: what the id of a response names, so that it can be shown, followed and forgotten.
 *
 * What was said lies in a thread, as that of any other talk; a response is a place in it.
 *
 *  1. The small value META_OF_ENTRY NUMBER, of the first entry that came with the turn, says which entries of which thread the
 *     response is made of, and has the rest of it (without what was said). It goes with that entry, and so with the thread.
 *  2. The id has that number, and a part that cannot be guessed. A response is there for whoever sees the thread, when the entry
 * with which it ends is there, too; for others the id is one that nobody has given out.
 *  3. A chain is a thread that was made for responses: `chain_` and 32 hex digits. A response at its end is followed there; one
 * that others have followed already, that has not ended, or that is part of a conversation is followed in a copy of the thread as
 * it was then. So a response is followed by as many as like, and none of them sees what the others said.
 *
 * Thread-safe; results live in the arena. */
#ifndef CENOTE_CORE_STORED_H
#define CENOTE_CORE_STORED_H

#include "core/thread.h"

#define STORED_MAX_BYTES ((size_t)32 << 20) /* of the value */

struct stored {
	struct str id, thread;
	bool chain;		    /* the thread is one of invariant 3 */
	bool ended;		    /* else it is being made, or whoever made it was killed */
	bool hide;		    /* its output has been shown without the calls of our tools */
	const int64_t *came, *made; /* entries of the input, and of the output */
	size_t came_n, made_n;
	int64_t last;	   /* out: the entry with which it ends */
	struct str owner;  /* out: of the thread */
	struct str object; /* out: JSON object: the response, with an empty output */
};

/* The name of a new chain. .p NULL: out of memory. */
struct str stored_chain(struct arena *a);
/* The name of the chain that a call with that digest (32 bytes) begins: when it is sent again, the same. */
struct str stored_chain_of(struct arena *a, struct str digest);
/* An id for a response whose input begins with that entry. .p NULL: out of memory. */
struct str stored_id(struct arena *a, int64_t first);

/* Keeps x, in the place of what its input had before. object: the response with an empty output, as JSON; released here, before
 * the store is waited for, as many may wait. anyway: though the request was given up, for some seconds. */
enum err stored_put(struct memory *m, const struct principal *who, const struct stored *x, struct buf *object,
		    bool anyway) MUST_CHECK;
/* E_NOT_FOUND: see invariant 2. */
enum err stored_get(struct memory *m, struct arena *a, const struct principal *who, struct str id, struct stored *out) MUST_CHECK;
/* The response whose input begins with that entry; *found = false: there is none. out->last and out->owner are not set. */
enum err stored_of(struct memory *m, struct arena *a, const struct principal *who, int64_t first, struct stored *out,
		   bool *found) MUST_CHECK;
/* The entries of its input, or of its output, oldest first; those that have been removed are left out. */
enum err stored_entries(struct memory *m, struct arena *a, const struct principal *who, const struct stored *x, bool output,
			struct session_entry **out, size_t *n) MUST_CHECK;
/* Whether it stands at the end of its thread. */
enum err stored_newest(struct memory *m, struct arena *a, const struct principal *who, const struct stored *x,
		       bool *newest) MUST_CHECK;
/* Copies the thread, up to where x ends, into the new thread `to`, which then belongs to the same user. After an error nothing is
 * left of it. */
enum err stored_fork(struct memory *m, const struct principal *who, const struct stored *x, struct str to) MUST_CHECK;
/* Forgets the id. At the end of a chain what was said goes with it, back to where the last response ends that is still known; else
 * it stays, as others have followed. */
enum err stored_delete(struct memory *m, struct arena *a, const struct principal *who, const struct stored *x) MUST_CHECK;
/* Forgets an id that nobody was told. anyway: as above. */
enum err stored_drop(struct memory *m, const struct principal *who, struct str id, bool anyway) MUST_CHECK;

#endif
