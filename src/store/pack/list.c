/* Lists of chunk numbers. Numbers of a stream are given in the order in which chunks were stored, so that neighbours in a value
 * mostly have neighbouring numbers: a list is a sequence of (step from the end of the run before, length of the run - 1), as
 * varints, the step zigzag. */
#include "store/pack/pack.h"

#define MAX_CHUNKS (UINT64_C(1) << 24)

static uint64_t zigzag(int64_t v)
{
	return ((uint64_t)v << 1) ^ (uint64_t)(v >> 63);
}

static int64_t unzigzag(uint64_t v)
{
	return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

enum err pack_list(struct arena *a, const int64_t *ids, size_t n, struct str *out)
{
	struct buf b;
	int64_t end = 0; /* behind the last run */
	buf_init(&b, a, 16 + n * 20);
	for (size_t i = 0; i < n;) {
		size_t k = i + 1;
		while (k < n && ids[k] == ids[k - 1] + 1)
			k++;
		buf_varint(&b, zigzag(ids[i] - end));
		buf_varint(&b, k - i - 1);
		end = ids[k - 1] + 1;
		i = k;
	}
	*out = buf_slice(&b);
	return b.err;
}

/* ids NULL: only counts. */
static bool walk(struct str list, int64_t *ids, uint64_t *total)
{
	const uint8_t *p = (const uint8_t *)list.p, *stop = p + list.n;
	int64_t end = 0;
	*total = 0;
	while (p < stop) {
		uint64_t step, more;
		int64_t from;
		if (!varint_get(&p, stop, &step) || !varint_get(&p, stop, &more) || more >= MAX_CHUNKS)
			return false;
		if (__builtin_add_overflow(end, unzigzag(step), &from) || from < 1 || from > INT64_MAX - (int64_t)MAX_CHUNKS)
			return false;
		if (*total + more + 1 > MAX_CHUNKS)
			return false;
		for (uint64_t i = 0; ids && i <= more; i++)
			ids[*total + i] = from + (int64_t)i;
		*total += more + 1;
		end = from + (int64_t)more + 1;
	}
	return true;
}

enum err pack_unlist(struct arena *a, struct str list, int64_t **ids, size_t *n)
{
	uint64_t total;
	if (!walk(list, NULL, &total))
		return err_set(E_CORRUPT, "a list of chunks is damaged");
	*ids = ARENA_ARRAY(a, int64_t, total + 1);
	if (!*ids)
		return E_NOMEM;
	(void)walk(list, *ids, &total);
	*n = total;
	return OK;
}
