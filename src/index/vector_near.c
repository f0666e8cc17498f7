#include "index/vector_near.h"

#include <math.h>

struct near_kept {
	struct vector v;
	struct vector_question q; /* made when it is first needed: dims is 0 before */
};

enum err vector_near_init(struct vector_near *w, struct arena *a, uint32_t dims, double least, size_t cap)
{
	*w = (struct vector_near){.a = a, .dims = dims, .size = vector_size(dims), .least = least, .cap = cap};
	w->high = arena_array(a, cap + 1, w->size);
	w->low = arena_array(a, cap + 1, w->size);
	w->coarse = arena_alloc(a, w->size);
	w->dots = ARENA_ARRAY(a, int32_t, cap + 1);
	w->kept = ARENA_ARRAY(a, struct near_kept, cap + 1);
	return w->high && w->low && w->coarse && w->dots && w->kept ? OK : E_NOMEM;
}

/* What the cosine of two kept vectors may be at most, of which dot is the product of the high planes.
 *
 * With v = 256 h + l, |l| <= 128: <v, w> = 256^2 <h, k> + <v, m> + <l, w> - <l, m>, where l and m are the low planes of v and w. A
 * low plane is no longer than 128 sqrt(dims) steps, a vector no longer than 1.01. What is more than 128 * 1.01 covers the rounding
 * of the question's components, half a step of about the same size. */
static double at_most(uint32_t dims, double a, double b, int32_t dot)
{
	double part = sqrt((double)dims) * 131;
	double sum = 65536.0 * dot * a * b + part * (a + b) + part * part * a * b + 1e-6;

	return sum > 0 ? sum / 0.985 : 0;
}

static enum err is_near(struct vector_near *w, struct near_kept *k, const struct vector *v, bool *near)
{
	if (k->q.dims == 0)
		TRY(vector_question_like(w->a, &k->v, &k->q));
	*near = vector_cosine(&k->q, v->high, v->low, v->scale) >= w->least;
	return OK;
}

enum err vector_near_find(struct vector_near *w, const struct vector *v, ptrdiff_t *at)
{
	int32_t sum = 0;

	*at = -1;
	if (w->n == 0)
		return OK;
	for (size_t i = 0; i < w->size; i++) {
		w->coarse[i] = (int8_t)(v->high[i] ^ VECTOR_ZERO);
		sum += w->coarse[i];
	}
	vector_kernel()->scan(w->high, w->n, w->size, w->coarse, sum, w->dots);
	for (size_t i = 0; i < w->n && *at < 0; i++) {
		bool near;

		if (at_most(w->dims, (double)w->kept[i].v.scale, (double)v->scale, w->dots[i]) < w->least)
			continue;
		TRY(is_near(w, &w->kept[i], v, &near));
		if (near)
			*at = (ptrdiff_t)i;
	}
	return OK;
}

bool vector_near_keep(struct vector_near *w, const struct vector *v)
{
	uint8_t *high = w->high + w->n * w->size, *low = w->low + w->n * w->size;

	if (w->n == w->cap)
		return false;
	memcpy(high, v->high, w->size);
	memcpy(low, v->low, w->size);
	w->kept[w->n++] = (struct near_kept){.v = {v->dims, v->scale, high, low}};
	return true;
}
