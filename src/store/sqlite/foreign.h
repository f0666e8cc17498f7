/* SQLite files of other programs, read for `cenote import`: those of LangGraph's SqliteSaver (Python, JavaScript) and of the Agents
 * SDK's SQLiteSession and its like. Has nothing to do with a store. A file is never written to; one handle, one thread. */
#ifndef CENOTE_STORE_SQLITE_FOREIGN_H
#define CENOTE_STORE_SQLITE_FOREIGN_H

#include "core/thread_store.h"

enum foreign_kind { FOREIGN_CHECKPOINTS = 1, FOREIGN_SESSIONS = 2 };

struct foreign;
/* kinds: what is in the file, at least one; both may be. E_INVALID: a SQLite file of something else (the sentence names its tables,
 * or what it is when that is known). E_CORRUPT, E_IO, E_BUSY. */
enum err foreign_open(const char *path, struct foreign **out, unsigned *kinds) MUST_CHECK;
void foreign_close(struct foreign *f);
/* After reading: E_BUSY when another program has written to the file meanwhile, so that what was read may not fit together. */
enum err foreign_settled(struct foreign *f) MUST_CHECK;
/* Checkpoints (and checkpoints that have only writes), rows of sessions: how many there are. */
enum err foreign_count(struct foreign *f, enum foreign_kind kind, uint64_t *n) MUST_CHECK;

struct foreign_checkpoint {
	struct str thread, ns, id, parent, type, body, metadata;
	bool stored; /* false: it has only writes */
	/* In the order of their primary key. A type is "" when the column is NULL. */
	const struct ckpt_pending *writes;
	size_t writes_n;
};
/* Ordered by thread, namespace, id; those that have only writes come last. What c points to is there until the function returns. An
 * error of fn ends the reading and is returned. */
typedef enum err (*foreign_checkpoint_fn)(void *ctx, const struct foreign_checkpoint *c);
enum err foreign_checkpoints(struct foreign *f, foreign_checkpoint_fn fn, void *ctx) MUST_CHECK;

struct foreign_item {
	struct str session, branch; /* branch: "" is that of a file without branches, and `main` */
	int64_t row;
	struct str data; /* .p NULL: no text */
};
/* Items of a session and branch come together, in their order. */
typedef enum err (*foreign_item_fn)(void *ctx, const struct foreign_item *i);
enum err foreign_items(struct foreign *f, foreign_item_fn fn, void *ctx) MUST_CHECK;

#endif
