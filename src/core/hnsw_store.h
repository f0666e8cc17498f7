/* An approximate index of the vectors of items (a graph to walk through, HNSW) that a driver keeps in its database
 * (store_ops.hnsw; NULL: it cannot): for scopes whose vectors neither fit index.cache nor can be read for a question.
 *
 *  1. It is made in the background when it is first asked for, by one process at a time, and nothing waits for it. What is written
 *     while it is made, and afterwards, is in it before the write of the vector is answered.
 *  2. What it gives are the vectors that are stored: of items below the prefix, of their present texts. That it misses some of the
 *     nearest is its nature; whoever asks compares for himself, and may ask for more.
 *
 * Thread-safe. */
#ifndef CENOTE_CORE_HNSW_STORE_H
#define CENOTE_CORE_HNSW_STORE_H

#include "core/store.h"
#include "index/vector.h"

#define HNSW_ROWS_MAX 4096 /* nearest, farthest and ids together */

struct hnsw_question {
	struct str prefix, model;
	const struct vector_question *v;
	size_t nearest, farthest; /* so many of those whose direction is nearest to v, and to its opposite */
	const int64_t *ids;	  /* and of these items, wherever they are near to */
	size_t ids_n;
};
enum hnsw_why { HNSW_NEAREST, HNSW_FARTHEST, HNSW_ASKED };
struct hnsw_row {
	enum hnsw_why why;
	int64_t id;
	struct str data; /* blob of index/vector.h, in the arena; "" : the item has changed, and no vector of its text yet */
};

struct hnsw_ops {
	/* Scopes of so many items are worth it; UINT64_MAX: it is not wanted. */
	uint64_t (*least)(struct store *s);
	/* Rows of each kind in no order. *ready false: there is no index (yet), and no rows. E_LIMIT: more than HNSW_ROWS_MAX are
	 * asked for, or memory. */
	enum err (*find)(struct store *s, struct arena *a, const struct principal *who, const struct hnsw_question *q, bool *ready,
			 struct hnsw_row **out, size_t *n) MUST_CHECK;
};

#endif
