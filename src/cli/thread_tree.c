/* Drawing. See thread_tree.h.
 *
 *  1. A lane is a column; it waits for the id that has to come next in it, and "" means that it is free.
 *  2. Lanes keep their columns: one that ends leaves a gap, which the next branch fills. */
#include "cli/thread_tree.h"

#include <stdlib.h>

#include "base/buf.h"

enum { LANES = 64, SHORT_MIN = 8 };

struct lanes {
	struct str v[LANES];
	size_t n; /* up to the last that is taken */
};

/* The first lane that waits for id; else a free one. */
static size_t lane_of(struct lanes *l, struct str id)
{
	size_t gap = LANES;

	for (size_t i = 0; i < l->n; i++) {
		if (str_eq(l->v[i], id))
			return i;
		if (l->v[i].n == 0 && gap == LANES)
			gap = i;
	}
	if (gap < LANES)
		return gap;
	if (l->n < LANES)
		return l->n++;
	return LANES - 1;
}

static bool waits(const struct lanes *l, size_t i, struct str id)
{
	return l->v[i].n > 0 && str_eq(l->v[i], id);
}

/* "├─┴─╯" from the lane `at` to the last one that waits for the same id; ends these lanes. */
static struct str draw_joins(struct arena *a, struct lanes *l, size_t at, struct str id)
{
	size_t last = at;
	struct buf b;

	for (size_t i = at + 1; i < l->n; i++)
		if (waits(l, i, id))
			last = i;
	if (last == at)
		return STR("");
	buf_init(&b, a, LANES * 8);
	for (size_t i = 0; i < l->n; i++) {
		bool inside = i > at && i <= last, open = l->v[i].n > 0;

		if (i > 0)
			buf_lit(&b, inside ? "─" : " ");
		if (i == at)
			buf_lit(&b, "├");
		else if (i == last)
			buf_lit(&b, "╯");
		else if (inside)
			buf_lit(&b, waits(l, i, id) ? "┴" : open ? "┼" : "─");
		else
			buf_lit(&b, open ? "│" : " ");
	}
	for (size_t i = at + 1; i <= last; i++)
		if (waits(l, i, id))
			l->v[i] = STR("");
	while (l->n > 0 && l->v[l->n - 1].n == 0)
		l->n--;
	while (b.n > 0 && b.p[b.n - 1] == ' ')
		b.n--;
	return buf_slice(&b);
}

static struct str draw_marks(struct arena *a, const struct lanes *l, size_t at, bool head)
{
	struct buf b;

	buf_init(&b, a, LANES * 8);
	for (size_t i = 0; i < l->n; i++) {
		if (i > 0)
			buf_byte(&b, ' ');
		if (i == at)
			buf_lit(&b, head ? "◉" : "●");
		else
			buf_lit(&b, l->v[i].n > 0 ? "│" : " ");
	}
	while (b.n > 0 && b.p[b.n - 1] == ' ')
		b.n--;
	return buf_slice(&b);
}

size_t tree_width(struct str s)
{
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++)
		n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
	return n;
}

enum err tree_draw(struct arena *a, struct tree_row *rows, size_t n, size_t *width)
{
	struct lanes *l = ARENA_NEW(a, struct lanes);

	*width = 0;
	if (!l)
		return E_NOMEM;
	for (size_t i = 0; i < n; i++) {
		size_t at = lane_of(l, rows[i].id), w;

		l->v[at] = rows[i].id;
		rows[i].joins = draw_joins(a, l, at, rows[i].id);
		rows[i].marks = draw_marks(a, l, at, rows[i].head);
		if (!rows[i].marks.p)
			return E_NOMEM;
		l->v[at] = rows[i].parent;
		while (l->n > 0 && l->v[l->n - 1].n == 0)
			l->n--;
		w = tree_width(rows[i].marks);
		*width = w > *width ? w : *width;
	}
	return OK;
}

static int by_id(const void *a, const void *b)
{
	return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

size_t tree_short(struct arena *a, const struct tree_row *rows, size_t n)
{
	struct str *ids = ARENA_ARRAY(a, struct str, n + 1);
	size_t len = SHORT_MIN;

	if (!ids)
		return SIZE_MAX;
	for (size_t i = 0; i < n; i++)
		ids[i] = rows[i].id;
	qsort(ids, n, sizeof *ids, by_id);
	for (size_t i = 1; i < n; i++) {
		size_t same = 0;

		if (str_eq(ids[i], ids[i - 1]))
			continue; /* in two namespaces */
		while (same < ids[i].n && same < ids[i - 1].n && ids[i].p[same] == ids[i - 1].p[same])
			same++;
		len = same + 1 > len ? same + 1 : len;
	}
	return len;
}
