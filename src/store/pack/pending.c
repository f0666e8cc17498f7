/* Pending writes: all of a task under a checkpoint in one row, compressed together, because they are written in one call and their
 * task, path and channels say the same again and again.
 *
 * Packed: for each write a varint idx (zigzag), a byte whether the path is that of the write before, the path if not, channel,
 * type, bytes; texts with their length before them. Within a row they are in order of idx, each idx once. */
#include <stdlib.h>
#include <string.h>

#include "store/pack/ckpt.h"

static void put_text(struct buf *b, struct str s)
{
	buf_varint(b, s.n);
	buf_str(b, s);
}

static size_t weight(const struct ckpt_pending *w, size_t n)
{
	size_t sum = 64;
	for (size_t i = 0; i < n; i++)
		sum += w[i].task_path.n + w[i].channel.n + w[i].type.n + w[i].bytes.n + 48;
	return sum;
}

enum err pack_pending(struct arena *a, const struct ckpt_pending *w, size_t n, struct str *out)
{
	struct buf b;
	size_t room = weight(w, n);
	if (room > PACK_ROOM / 2)
		return err_kind(E_LIMIT, ERR_SIZE, "the pending writes of a task have %zu bytes, more than fit", room);
	buf_init(&b, a, room);
	buf_room(&b, room);
	for (size_t i = 0; i < n; i++) {
		bool same = i > 0 && str_eq(w[i].task_path, w[i - 1].task_path);
		buf_varint(&b, ((uint64_t)(uint32_t)w[i].idx << 1) ^ (w[i].idx < 0 ? UINT64_C(0x1ffffffff) : 0));
		buf_byte(&b, same);
		if (!same)
			put_text(&b, w[i].task_path);
		put_text(&b, w[i].channel);
		put_text(&b, w[i].type);
		put_text(&b, w[i].bytes);
	}
	TRY(b.err);
	return pack_squeeze(a, buf_slice(&b), out);
}

static bool get_text(const uint8_t **p, const uint8_t *end, struct str *out)
{
	uint64_t n;
	if (!varint_get(p, end, &n) || n > (size_t)(end - *p))
		return false;
	*out = str_of((const char *)*p, n);
	*p += n;
	return true;
}

static bool get_write(const uint8_t **p, const uint8_t *end, struct ckpt_pending *w, struct str before)
{
	uint64_t v;
	if (!varint_get(p, end, &v) || *p == end)
		return false;
	w->idx = (int32_t)(uint32_t)((v >> 1) ^ (v & 1 ? UINT64_C(0xffffffff) : 0));
	w->task_path = before;
	if (*(*p)++ == 0 && !get_text(p, end, &w->task_path))
		return false;
	return get_text(p, end, &w->channel) && get_text(p, end, &w->type) && get_text(p, end, &w->bytes);
}

enum err pack_unpending(struct arena *a, struct str data, struct str task_id, struct ckpt_pending **out, size_t *n)
{
	struct str raw, path = STR("");
	/* It is called for one task after the other: what the calls before have left room for follows from how many there are. */
	size_t cap = *n ? 8 : 0;
	while (cap < *n)
		cap *= 2;
	TRY(pack_expand(a, data, PACK_ROOM, &raw));
	const uint8_t *p = (const uint8_t *)raw.p, *end = p + raw.n;
	while (p < end) {
		if (*n == cap) {
			size_t more = cap ? cap * 2 : 8;
			struct ckpt_pending *v = arena_grow(a, *out, cap * sizeof *v, more * sizeof *v);
			if (!v)
				return E_NOMEM;
			*out = v;
			cap = more;
		}
		struct ckpt_pending *w = &(*out)[*n];
		w->task_id = task_id;
		if (!get_write(&p, end, w, path))
			return err_set(E_CORRUPT, "stored pending writes are damaged");
		path = w->task_path;
		++*n;
	}
	return OK;
}

static int in_order(const void *x, const void *y)
{
	const struct ckpt_pending *a = x, *b = y;
	int c = str_cmp(a->task_path, b->task_path);
	if (c == 0)
		c = str_cmp(a->task_id, b->task_id);
	return c ? c : (a->idx > b->idx) - (a->idx < b->idx);
}

void pack_pending_sort(struct ckpt_pending *w, size_t n)
{
	if (n > 1)
		qsort(w, n, sizeof *w, in_order);
}

int pack_pending_marks(const struct ckpt_pending *w, size_t n)
{
	int marks = 0;
	for (size_t i = 0; i < n; i++)
		marks |= str_eq(w[i].channel, STR("__interrupt__")) ? MARK_INTERRUPT
			 : str_eq(w[i].channel, STR("__error__"))   ? MARK_ERROR
								    : 0;
	return marks;
}

/* Of pointers into one array; where idx is the same, in the order of that array. */
static int by_idx(const void *x, const void *y)
{
	const struct ckpt_pending *a = *(struct ckpt_pending *const *)x, *b = *(struct ckpt_pending *const *)y;
	int c = (a->idx > b->idx) - (a->idx < b->idx);
	return c ? c : (a > b) - (a < b);
}

/* Sorted, by the rules of writes of one (task, idx): the first stays, with replace what the last one says. */
static size_t one_of_each(struct ckpt_pending *const *sorted, size_t n, bool replace, struct ckpt_pending *out)
{
	size_t kept = 0;
	for (size_t i = 0; i < n; i++) {
		const struct ckpt_pending *w = sorted[i];
		if (kept == 0 || out[kept - 1].idx != w->idx) {
			out[kept++] = *w;
		} else if (replace) {
			out[kept - 1].channel = w->channel;
			out[kept - 1].type = w->type;
			out[kept - 1].bytes = w->bytes;
		}
	}
	return kept;
}

enum err pack_pending_merge(struct arena *a, const struct ckpt_pending *old, size_t old_n, const struct ckpt_pending *w, size_t n,
			    bool replace, struct ckpt_pending **out, size_t *out_n)
{
	size_t all_n = old_n + n;
	struct ckpt_pending *all = ARENA_ARRAY(a, struct ckpt_pending, all_n + 1);
	struct ckpt_pending **sorted = ARENA_ARRAY(a, struct ckpt_pending *, all_n + 1);
	*out = ARENA_ARRAY(a, struct ckpt_pending, all_n + 1);
	*out_n = 0;
	if (!all || !sorted || !*out)
		return E_NOMEM;
	if (old_n)
		memcpy(all, old, old_n * sizeof *all);
	if (n)
		memcpy(all + old_n, w, n * sizeof *all);
	for (size_t i = 0; i < all_n; i++)
		sorted[i] = &all[i];
	qsort(sorted, all_n, sizeof(struct ckpt_pending *), by_idx);
	*out_n = one_of_each(sorted, all_n, replace, *out);
	return OK;
}
