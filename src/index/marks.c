/* Open addressing with linear probing, at most three quarters full. Removing moves the rest of the run up, so there are no
 * tombstones. */
#include "index/marks.h"

#include <stdlib.h>

struct mark_slot {
	int64_t id;
	uint64_t mark;
};

/* 0 says that a slot is empty: a mark of 0 is kept as 1. */
static uint64_t shown(uint64_t mark)
{
	return mark ? mark : 1;
}

static size_t home(const struct marks *m, int64_t id)
{
	uint64_t x = (uint64_t)id * 0x9e3779b97f4a7c15u;

	return (size_t)(x ^ x >> 32) & (m->cap - 1);
}

void marks_init(struct marks *m)
{
	*m = (struct marks){0};
}

void marks_release(struct marks *m)
{
	free(m->slots);
	marks_init(m);
}

size_t marks_bytes(const struct marks *m)
{
	return m->cap * sizeof *m->slots;
}

/* The slot of the id, or the empty one where it belongs. */
static size_t find(const struct marks *m, int64_t id)
{
	size_t i = home(m, id);

	while (m->slots[i].mark && m->slots[i].id != id)
		i = (i + 1) & (m->cap - 1);
	return i;
}

static enum err grow(struct marks *m)
{
	struct marks fresh = {.cap = m->cap ? m->cap * 2 : 64, .n = m->n};

	fresh.slots = calloc(fresh.cap, sizeof *fresh.slots);
	if (!fresh.slots)
		return err_set(E_LIMIT, "out of memory for the word index");
	for (size_t i = 0; i < m->cap; i++)
		if (m->slots[i].mark)
			fresh.slots[find(&fresh, m->slots[i].id)] = m->slots[i];
	free(m->slots);
	*m = fresh;
	return OK;
}

enum err marks_put(struct marks *m, int64_t id, uint64_t mark)
{
	size_t i;

	if (m->n >= m->cap / 4 * 3)
		TRY(grow(m));
	i = find(m, id);
	m->n += m->slots[i].mark == 0;
	m->slots[i] = (struct mark_slot){id, shown(mark)};
	return OK;
}

void marks_remove(struct marks *m, int64_t id)
{
	size_t gap, i;

	if (m->cap == 0)
		return;
	gap = find(m, id);
	if (!m->slots[gap].mark)
		return;
	m->n--;
	for (i = (gap + 1) & (m->cap - 1); m->slots[i].mark; i = (i + 1) & (m->cap - 1)) {
		size_t at = home(m, m->slots[i].id);

		/* It may move up when the gap lies on its way from home to here. */
		if (((i - at) & (m->cap - 1)) < ((i - gap) & (m->cap - 1)))
			continue;
		m->slots[gap] = m->slots[i];
		gap = i;
	}
	m->slots[gap].mark = 0;
}

bool marks_has(const struct marks *m, int64_t id, uint64_t mark)
{
	return m->cap && m->slots[find(m, id)].mark == shown(mark);
}
