/* Deadlines of one loop: a binary min-heap of struct due by time, and one uv timer for its top.
 *
 * Invariants
 *  1. heap[i]->pos == i + 1 for every queued due; pos == 0 for every other.
 *  2. heap_cap >= heap_reserved >= heap_n, so that queueing never allocates: room is made when a fiber or timer comes into being.
 *  3. Before the poll the uv timer fires no later than the top. It may fire earlier (the top was cancelled meanwhile): a spurious
 * wake-up now and then is cheaper than a timer operation for every wait that ends in time. */
#include "rt/internal.h"

enum err due_reserve(struct loop *l)
{
	if (l->heap_reserved == l->heap_cap) {
		size_t cap = l->heap_cap ? l->heap_cap * 2 : 64;
		struct due **heap = realloc(l->heap, cap * sizeof *heap);
		if (!heap)
			return err_set(E_LIMIT, "no memory for %zu deadlines", cap);
		l->heap = heap;
		l->heap_cap = cap;
	}
	l->heap_reserved++;
	return OK;
}

void due_unreserve(struct loop *l)
{
	l->heap_reserved--;
}

static void place(struct loop *l, size_t i, struct due *d)
{
	l->heap[i] = d;
	d->pos = i + 1;
}

static void sift_up(struct loop *l, size_t i, struct due *d)
{
	while (i > 0 && d->at < l->heap[(i - 1) / 2]->at) {
		place(l, i, l->heap[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	place(l, i, d);
}

static void sift_down(struct loop *l, size_t i, struct due *d)
{
	for (;;) {
		size_t child = 2 * i + 1;
		if (child >= l->heap_n)
			break;
		if (child + 1 < l->heap_n && l->heap[child + 1]->at < l->heap[child]->at)
			child++;
		if (d->at <= l->heap[child]->at)
			break;
		place(l, i, l->heap[child]);
		i = child;
	}
	place(l, i, d);
}

void due_cancel(struct loop *l, struct due *d)
{
	if (d->pos == 0)
		return;
	size_t i = d->pos - 1;
	d->pos = 0;
	struct due *last = l->heap[--l->heap_n];
	if (last == d)
		return;
	if (i > 0 && last->at < l->heap[(i - 1) / 2]->at)
		sift_up(l, i, last);
	else
		sift_down(l, i, last);
}

void due_set(struct loop *l, struct due *d, uint64_t at)
{
	due_cancel(l, d);
	if (at == NEVER)
		return;
	RT_ASSERT(l->heap_n < l->heap_reserved, "a deadline without room reserved for it");
	d->at = at;
	sift_up(l, l->heap_n++, d);
}

void due_on_timer(uv_timer_t *t)
{
	struct loop *l = t->data;
	uint64_t now = clock_mono_ns();

	l->armed_ms = UINT64_MAX;
	/* At most what is queued now: a callback that sets a moment in the past must not keep the loop here. */
	for (size_t n = l->heap_n; n > 0 && l->heap_n > 0 && l->heap[0]->at <= now; n--) {
		struct due *d = l->heap[0];
		due_cancel(l, d);
		d->fn(d);
	}
}

void due_arm(struct loop *l)
{
	if (l->heap_n == 0)
		return;
	/* uv counts whole milliseconds of the same clock; rounded up, so that the deadline has passed when the timer fires. */
	uint64_t at = l->heap[0]->at;
	uint64_t at_ms = at / 1000000 + (at % 1000000 != 0);
	if (at_ms >= l->armed_ms)
		return;
	uint64_t now_ms = uv_now(&l->uv);
	uv_timer_start(&l->timer, due_on_timer, at_ms > now_ms ? at_ms - now_ms : 0, 0);
	l->armed_ms = at_ms;
}
