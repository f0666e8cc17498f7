/* A history drawn as a tree on text lines, newest on top: one column for each branch that is open. Pure: no input, no output. */
#ifndef CENOTE_CLI_THREAD_TREE_H
#define CENOTE_CLI_THREAD_TREE_H

#include "base/arena.h"

struct tree_row {
	struct str id, parent; /* in: parent "" : none */
	bool head;	       /* in: drawn with another mark */
	struct str joins;      /* out: the line above, where branches come together; "" : none */
	struct str marks;      /* out: the row's own part of the drawing */
};
/* Columns that the widest row takes; marks are not padded. Rows from the newest on; a parent that is not among the rows is drawn as
 * the end of what is shown. More than 64 open branches share the last column. */
enum err tree_draw(struct arena *a, struct tree_row *rows, size_t n, size_t *width) MUST_CHECK;
/* Characters, as a terminal counts them (code points). */
size_t tree_width(struct str s);
/* The least number of leading bytes, 8 at least, that tells all ids apart. */
size_t tree_short(struct arena *a, const struct tree_row *rows, size_t n);

#endif
