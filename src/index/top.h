/* The highest `cap` of the numbers that were put: a heap with the lowest of them on top, h[0], so that with *n == cap this is the
 * cap-th highest. h: room for cap numbers, cap > 0; *n begins at 0. No NaN. */
#ifndef CENOTE_INDEX_TOP_H
#define CENOTE_INDEX_TOP_H

#include <stddef.h>

static inline void top_put(double *h, size_t *n, size_t cap, double v)
{
	size_t i, child;

	if (*n < cap) {
		for (i = (*n)++; i && h[(i - 1) / 2] > v; i = (i - 1) / 2)
			h[i] = h[(i - 1) / 2];
		h[i] = v;
		return;
	}
	if (v <= h[0])
		return;
	for (i = 0; (child = 2 * i + 1) < *n; i = child) {
		child += child + 1 < *n && h[child + 1] < h[child];
		if (h[child] >= v)
			break;
		h[i] = h[child];
	}
	h[i] = v;
}

#endif
