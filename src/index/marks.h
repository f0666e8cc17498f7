/* Which text of a document an index has seen: a small table from a document's id to the mark of its terms, so that a change that
 * brings something else (a vector) does not make the index read the words again. Not thread-safe. */
#ifndef CENOTE_INDEX_MARKS_H
#define CENOTE_INDEX_MARKS_H

#include "base/err.h"

struct marks {
	struct mark_slot *slots; /* open addressing; mark 0: empty */
	size_t cap, n;
};

void marks_init(struct marks *m);
void marks_release(struct marks *m);
/* Adds or replaces. E_LIMIT: memory. */
enum err marks_put(struct marks *m, int64_t id, uint64_t mark) MUST_CHECK;
void marks_remove(struct marks *m, int64_t id);
/* Is this the mark that was put last for the document? */
bool marks_has(const struct marks *m, int64_t id, uint64_t mark);
size_t marks_bytes(const struct marks *m);

#endif
