/* Vectors that another program keeps beside the items, in tables of its own, and searches by: LangGraph's PostgresStore
 * (store_vectors). A driver that knows such tables has these operations (store_ops.foreign_vectors); core reads from them what need
 * not be made again, and writes into them what that program will look for (vectors_foreign.c).
 *
 *  1. Nothing is made, altered or dropped; rows are read and written in the tables as they are.
 *  2. A row belongs to the item as it is stored when it is not older than it. Rows that are older are nobody's, and not given.
 *  3. The driver removes rows of an item when it writes the item, in the same transaction; they go with the item.
 *
 * Slices and floats that a callback gets are valid during the call. Thread-safe. E_DENIED for a bound principal. */
#ifndef CENOTE_CORE_FOREIGN_VECTORS_H
#define CENOTE_CORE_FOREIGN_VECTORS_H

#include "core/store.h"

#define FOREIGN_FIELDS_MAX 1024 /* of an item that are written */

struct foreign_look {
	bool there;	   /* tables of a layout that is known */
	bool read, write;  /* what may be done with them */
	bool cosine;	   /* an index says that they are compared by cosine, so that lengths do not matter */
	uint32_t dims;	   /* 0: not there, or the column does not say */
	char type[64];	   /* of the column: "halfvec(384)" */
	char trouble[640]; /* why they are not read or written, with what helps; "" : nothing is wrong */
};
/* A row: the vector of a text of an item. */
struct foreign_field {
	int64_t item; /* its document, 0: it has none yet */
	struct str ns, key, field, value;
	const float *v;
	uint32_t dims;
};
typedef bool (*foreign_field_fn)(void *ctx, const struct foreign_field *f);
/* An item that Cenote has written and that has no rows. */
struct foreign_item {
	int64_t id, version;
	struct str value, terms;
};
typedef bool (*foreign_item_fn)(void *ctx, const struct foreign_item *it);
struct foreign_row {
	struct str field; /* each once per item */
	const float *v;
};
struct foreign_put {
	int64_t id, version; /* of the item that the rows were made of */
	const struct foreign_row *rows;
	size_t n;  /* 0: it has none, and those there are go */
	bool done; /* out; false: it has another version by now, is being written, or is gone */
};

struct foreign_vector_ops {
	enum err (*look)(struct store *s, const struct principal *who, struct foreign_look *out) MUST_CHECK;
	/* Some rows of items that others wrote, with the items' values, from several places of the table. */
	enum err (*sample)(struct store *s, const struct principal *who, foreign_field_fn fn, void *ctx) MUST_CHECK;
	/* Rows of those of the items whose last writer was not Cenote, by item; ns, key and value are not given. */
	enum err (*of_items)(struct store *s, const struct principal *who, const int64_t *ids, size_t n, foreign_field_fn fn,
			     void *ctx) MUST_CHECK;
	/* Items that Cenote wrote last and that have no row, though they are indexed: of the n given (ids), or (NULL) of those
	 * after *after, in the order of their ids. At most `most` of them, and no more of the table than takes little time: *after:
	 * so far it was looked; *end: that is all. */
	enum err (*lacking)(struct store *s, const struct principal *who, const int64_t *ids, size_t n, size_t most, int64_t *after,
			    bool *end, foreign_item_fn fn, void *ctx) MUST_CHECK;
	/* Writes the rows of items, instead of all that they have. dims: of every vector. */
	enum err (*put)(struct store *s, const struct principal *who, struct foreign_put *v, size_t n, uint32_t dims) MUST_CHECK;
};

#endif
