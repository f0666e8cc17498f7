/* The vectors of a scope: blocks of rows, the table of ids, scans. Invariants are in vector_scope.h. */
#include "index/vector_block.h"

#include <math.h>
#include <stdlib.h>
#include <sys/mman.h>

#define PLANE_BYTES ((size_t)4 << 20) /* of a full block, at most */
#define HUGE_PAGE ((size_t)2 << 20)
#define PAGE_MAX ((size_t)64 << 10)
#define ROWS_FIRST 8
#define CENTRE_ROWS 1000

static enum err no_memory(void)
{
	return err_set(E_LIMIT, "out of memory for the vector index");
}

/* ---------------------------------------------------------------- memory */

/* Large planes are mapped, at a multiple of a huge page: they go back to the system when freed, and a scan of huge pages is about a
 * fifth faster. */
static uint8_t *plane_new(size_t bytes, bool huge)
{
	uint8_t *p, *start;
	size_t before;

	if (bytes < HUGE_PAGE)
		return aligned_alloc(VECTOR_PAD, bytes);
	p = mmap(NULL, bytes + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	before = (HUGE_PAGE - (uintptr_t)p % HUGE_PAGE) % HUGE_PAGE;
	start = p + before;
	if (before)
		munmap(p, before);
	if (before < HUGE_PAGE)
		munmap(start + bytes, HUGE_PAGE - before);
	if (huge)
		madvise(start, bytes, MADV_HUGEPAGE);
	return start;
}

static void plane_free(uint8_t *p, size_t bytes)
{
	if (bytes < HUGE_PAGE)
		free(p);
	else if (p)
		munmap(p, bytes);
}

/* Mapped planes are whole pages of any size that a processor has. */
static size_t plane_bytes(const struct vector_scope *s, uint32_t cap)
{
	size_t bytes = cap * s->size;

	return bytes < HUGE_PAGE ? bytes : (bytes + PAGE_MAX - 1) / PAGE_MAX * PAGE_MAX;
}

static size_t block_bytes(const struct vector_scope *s, uint32_t cap)
{
	size_t row = sizeof(int64_t) + (s->scratch ? sizeof(struct vector_code_row) : sizeof(float));

	return (s->scratch ? 1 : 2) * plane_bytes(s, cap) + cap * row;
}

static void block_free(const struct vector_scope *s, struct vector_block *b)
{
	plane_free(b->high, plane_bytes(s, b->cap));
	if (b->low)
		plane_free(b->low, plane_bytes(s, b->cap));
	free(b->ids);
	free(b->scales);
	free(b->codes);
}

/* A block of cap rows with the first n rows of old (may be NULL). False: out of memory. */
static bool block_new(const struct vector_scope *s, uint32_t cap, const struct vector_block *old, uint32_t n,
		      struct vector_block *out)
{
	bool huge = cap == s->per_block;
	struct vector_block b = {.cap = cap};

	b.high = plane_new(plane_bytes(s, cap), huge);
	b.low = s->scratch ? NULL : plane_new(plane_bytes(s, cap), false);
	b.ids = malloc(cap * sizeof *b.ids);
	b.scales = s->scratch ? NULL : malloc(cap * sizeof *b.scales);
	b.codes = s->scratch ? malloc(cap * sizeof *b.codes) : NULL;
	if (!b.high || !b.ids || (s->scratch ? !b.codes : !b.low || !b.scales)) {
		block_free(s, &b);
		return false;
	}
	if (old && n) {
		memcpy(b.high, old->high, n * s->size);
		if (b.low)
			memcpy(b.low, old->low, n * s->size);
		memcpy(b.ids, old->ids, n * sizeof *b.ids);
		if (b.scales)
			memcpy(b.scales, old->scales, n * sizeof *b.scales);
		if (b.codes)
			memcpy(b.codes, old->codes, n * sizeof *b.codes);
	}
	*out = b;
	return true;
}

struct vector_scope *vector_scope_new(uint32_t dims)
{
	struct vector_scope *s = calloc(1, sizeof *s);

	if (!s)
		return NULL;
	s->dims = dims;
	s->size = vector_size(dims);
	s->per_block = (uint32_t)(PLANE_BYTES / s->size / VECTOR_CHUNK * VECTOR_CHUNK);
	s->bytes = sizeof *s;
	return s;
}

struct vector_scope *vector_scope_new_coded(uint32_t dims)
{
	struct vector_scope *s = vector_scope_new(dims);

	if (!s)
		return NULL;
	s->size = vector_code_words(dims) * sizeof(uint64_t);
	s->per_block = (uint32_t)(PLANE_BYTES / s->size / VECTOR_CHUNK * VECTOR_CHUNK);
	s->scratch = malloc(dims * sizeof *s->scratch);
	s->centre = calloc(dims, sizeof *s->centre);
	if (!s->scratch || !s->centre) {
		vector_scope_free(s);
		return NULL;
	}
	s->spread = 1;
	s->bytes += dims * (sizeof *s->scratch + sizeof *s->centre);
	return s;
}

void vector_scope_free(struct vector_scope *s)
{
	if (!s)
		return;
	free(s->scratch);
	free(s->centre);
	for (uint32_t i = 0; i < s->blocks_n; i++)
		block_free(s, &s->blocks[i]);
	free(s->blocks);
	free(s->slots);
	free(s);
}

size_t vector_scope_bytes(const struct vector_scope *s)
{
	return s->bytes;
}

/* Room for one more row. */
static enum err rows_grow(struct vector_scope *s)
{
	struct vector_block b, *last = s->blocks_n ? &s->blocks[s->blocks_n - 1] : NULL;
	uint32_t cap;

	if (s->rows < (s->blocks_n ? (s->blocks_n - 1) * s->per_block + last->cap : 0))
		return OK;
	if (s->blocks_n == s->blocks_cap) {
		uint32_t more = s->blocks_cap ? s->blocks_cap * 2 : 1;
		struct vector_block *blocks = realloc(s->blocks, more * sizeof *blocks);

		if (!blocks)
			return no_memory();
		s->bytes += (more - s->blocks_cap) * sizeof *blocks;
		s->blocks = blocks;
		s->blocks_cap = more;
		last = s->blocks_n ? &s->blocks[s->blocks_n - 1] : NULL;
	}
	if (last && last->cap < s->per_block) { /* the only one, full: a larger one in its place */
		cap = last->cap > s->per_block / 2 ? s->per_block : last->cap * 2;
		if (!block_new(s, cap, last, s->rows, &b))
			return no_memory();
		s->bytes -= block_bytes(s, last->cap);
		block_free(s, last);
		*last = b;
	} else {
		cap = last ? s->per_block : ROWS_FIRST < s->per_block ? ROWS_FIRST : s->per_block;
		if (!block_new(s, cap, NULL, 0, &b))
			return no_memory();
		s->blocks[s->blocks_n++] = b;
	}
	s->bytes += block_bytes(s, cap);
	return OK;
}

/* The last block goes when it is empty and the one before it half empty too, so that a row more or less does not cost a block. */
static void rows_shrink(struct vector_scope *s)
{
	while (s->blocks_n > 1 && s->rows <= (s->blocks_n - 2) * s->per_block + s->per_block / 2) {
		struct vector_block *b = &s->blocks[--s->blocks_n];

		s->bytes -= block_bytes(s, b->cap);
		block_free(s, b);
	}
}

/* ---------------------------------------------------------------- ids */

static uint32_t home(const struct vector_scope *s, int64_t id)
{
	uint64_t h = (uint64_t)id;

	h = (h ^ h >> 32) * UINT64_C(0x9e3779b97f4a7c15); /* Fibonacci hashing: ids mostly count up */
	return (uint32_t)(h >> 32) & (s->slots_cap - 1);
}

static int64_t id_of_slot(const struct vector_scope *s, uint32_t slot)
{
	struct vector_row r = vector_row_at(s, s->slots[slot] - 1);

	return r.block->ids[r.i];
}

/* The slot of the id, or the empty one where it would be. There is always an empty one. */
static uint32_t slot_of(const struct vector_scope *s, int64_t id)
{
	uint32_t i = home(s, id);

	while (s->slots[i] && id_of_slot(s, i) != id)
		i = (i + 1) & (s->slots_cap - 1);
	return i;
}

static enum err slots_grow(struct vector_scope *s)
{
	uint32_t *old = s->slots, cap = s->slots_cap ? s->slots_cap * 2 : 16, *slots;

	if (s->slots_cap && (uint64_t)(s->rows + 1) * 4 <= (uint64_t)s->slots_cap * 3)
		return OK;
	slots = calloc(cap, sizeof *slots);
	if (!slots)
		return no_memory();
	s->bytes += (cap - s->slots_cap) * sizeof *slots;
	s->slots = slots;
	s->slots_cap = cap;
	for (uint32_t row = 0; row < s->rows; row++) {
		struct vector_row r = vector_row_at(s, row);

		s->slots[slot_of(s, r.block->ids[r.i])] = row + 1;
	}
	free(old);
	return OK;
}

/* Empties a slot and moves up those behind it that are not at home, so that no search ends too early. */
static void slot_clear(struct vector_scope *s, uint32_t gap)
{
	uint32_t mask = s->slots_cap - 1;

	for (uint32_t i = (gap + 1) & mask; s->slots[i]; i = (i + 1) & mask) {
		uint32_t from_home = (i - home(s, id_of_slot(s, i))) & mask;

		if (from_home >= ((i - gap) & mask)) {
			s->slots[gap] = s->slots[i];
			gap = i;
		}
	}
	s->slots[gap] = 0;
}

int64_t vector_scope_row(const struct vector_scope *s, int64_t id)
{
	return s->slots_cap ? (int64_t)s->slots[slot_of(s, id)] - 1 : -1;
}

int64_t vector_scope_id(const struct vector_scope *s, uint32_t row)
{
	struct vector_row r = vector_row_at(s, row);

	return r.block->ids[r.i];
}

int64_t vector_scope_row_near(const struct vector_scope *s, int64_t id, uint32_t *hint)
{
	int64_t row = *hint < s->rows && vector_scope_id(s, *hint) == id ? *hint : vector_scope_row(s, id);

	if (row >= 0)
		*hint = (uint32_t)row + 1;
	return row;
}

/* ---------------------------------------------------------------- changing */

static void row_set(struct vector_scope *s, uint32_t row, int64_t id, const struct vector *v)
{
	struct vector_row r = vector_row_at(s, row);
	uint8_t *high = r.block->high + r.i * s->size, *low;

	r.block->ids[r.i] = id;
	if (s->scratch) {
		r.block->codes[r.i] = vector_code_make(v, s->centre, s->scratch, (uint64_t *)(void *)high);
		return;
	}
	low = r.block->low + r.i * s->size;
	memcpy(high, v->high, s->dims);
	memset(high + s->dims, VECTOR_ZERO, s->size - s->dims);
	memcpy(low, v->low, s->dims);
	memset(low + s->dims, VECTOR_ZERO, s->size - s->dims);
	r.block->scales[r.i] = v->scale;
}

static void row_copy(struct vector_scope *s, uint32_t to, uint32_t from)
{
	struct vector_row t = vector_row_at(s, to), f = vector_row_at(s, from);

	memcpy(t.block->high + t.i * s->size, f.block->high + f.i * s->size, s->size);
	if (t.block->low)
		memcpy(t.block->low + t.i * s->size, f.block->low + f.i * s->size, s->size);
	if (t.block->scales)
		t.block->scales[t.i] = f.block->scales[f.i];
	if (t.block->codes)
		t.block->codes[t.i] = f.block->codes[f.i];
	t.block->ids[t.i] = f.block->ids[f.i];
}

enum err vector_scope_put(struct vector_scope *s, int64_t id, const struct vector *v)
{
	int64_t row = vector_scope_row(s, id);

	if (v->dims != s->dims)
		return err_set(E_INVALID, "a vector of %u dimensions among those of %u", v->dims, s->dims);
	if (v->scale > s->scale_max)
		s->scale_max = v->scale;
	if (row < 0) {
		if (s->rows == VECTOR_ROWS_MAX)
			return err_set(E_LIMIT, "a scope holds at most %u vectors", VECTOR_ROWS_MAX);
		TRY(slots_grow(s));
		TRY(rows_grow(s));
		row = s->rows++;
		row_set(s, (uint32_t)row, id, v);
		s->slots[slot_of(s, id)] = (uint32_t)row + 1;
		return OK;
	}
	row_set(s, (uint32_t)row, id, v);
	return OK;
}

bool vector_scope_remove(struct vector_scope *s, int64_t id)
{
	int64_t row = vector_scope_row(s, id);
	uint32_t last = s->rows - 1;

	if (row < 0)
		return false;
	slot_clear(s, slot_of(s, id));
	if (row != last) {
		uint32_t slot = slot_of(s, vector_scope_id(s, last));

		row_copy(s, (uint32_t)row, last);
		s->slots[slot] = (uint32_t)row + 1;
	}
	s->rows--;
	rows_shrink(s);
	return true;
}

static struct vector vector_at(const struct vector_scope *s, struct vector_row r)
{
	return (struct vector){s->dims, r.block->scales[r.i], r.block->high + r.i * s->size, r.block->low + r.i * s->size};
}

bool vector_scope_get(const struct vector_scope *s, int64_t id, struct vector *out)
{
	int64_t row = vector_scope_row(s, id);
	struct vector_row r;

	if (row < 0)
		return false;
	r = vector_row_at(s, (uint32_t)row);
	*out = vector_at(s, r);
	return true;
}

/* ---------------------------------------------------------------- codes */

/* Puts the centre of the codes where the vectors of a scope have theirs. Of so many that the mean says something. */
static void find_centre(struct vector_scope *coded, const struct vector_scope *s)
{
	double square = 0;

	if (s->rows < CENTRE_ROWS)
		return;
	for (uint32_t row = 0; row < s->rows; row++) {
		struct vector v = vector_at(s, vector_row_at(s, row));

		vector_floats(&v, coded->scratch);
		for (uint32_t i = 0; i < s->dims; i++)
			coded->centre[i] += coded->scratch[i];
	}
	for (uint32_t i = 0; i < s->dims; i++) {
		coded->centre[i] /= (float)s->rows;
		square += (double)coded->centre[i] * (double)coded->centre[i];
	}
	vector_code_rotate(coded->centre, s->dims);
	/* Vectors have length 1, so what is left of them has the mean square 1 - |centre|^2. */
	coded->spread = sqrt(fmax(0, 1 - square));
}

enum err vector_scope_code(struct vector_scope **s)
{
	struct vector_scope *coded = vector_scope_new_coded((*s)->dims);
	enum err e = coded ? OK : no_memory();

	if (coded)
		find_centre(coded, *s);
	for (uint32_t row = 0; row < (*s)->rows && e == OK; row++) {
		struct vector_row r = vector_row_at(*s, row);
		struct vector v = vector_at(*s, r);

		e = vector_scope_put(coded, r.block->ids[r.i], &v);
	}
	if (e != OK) {
		vector_scope_free(coded);
		return e;
	}
	vector_scope_free(*s);
	*s = coded;
	return OK;
}

struct id_row {
	int64_t id;
	uint32_t row;
};

static int by_id(const void *x, const void *y)
{
	const struct id_row *a = x, *b = y;

	return (a->id > b->id) - (a->id < b->id);
}

/* Appends a row of another coded scope. */
static enum err row_take(struct vector_scope *s, const struct vector_scope *from, const struct id_row *r)
{
	struct vector_row f = vector_row_at(from, r->row), t;

	TRY(slots_grow(s));
	TRY(rows_grow(s));
	t = vector_row_at(s, s->rows);
	memcpy(t.block->high + t.i * s->size, f.block->high + f.i * s->size, s->size);
	t.block->codes[t.i] = f.block->codes[f.i];
	t.block->ids[t.i] = r->id;
	s->rows++;
	s->slots[slot_of(s, r->id)] = s->rows;
	return OK;
}

enum err vector_scope_sort(struct vector_scope **s)
{
	struct vector_scope *sorted = vector_scope_new_coded((*s)->dims);
	struct id_row *r = malloc(((size_t)(*s)->rows + 1) * sizeof *r);
	enum err e = sorted && r ? OK : no_memory();

	if (e == OK) {
		memcpy(sorted->centre, (*s)->centre, sorted->dims * sizeof *sorted->centre);
		sorted->spread = (*s)->spread;
	}
	for (uint32_t row = 0; row < (*s)->rows && e == OK; row++)
		r[row] = (struct id_row){vector_scope_id(*s, row), row};
	if (e == OK)
		qsort(r, (*s)->rows, sizeof *r, by_id);
	for (uint32_t row = 0; row < (*s)->rows && e == OK; row++)
		e = row_take(sorted, *s, &r[row]);
	free(r);
	if (e != OK) {
		vector_scope_free(sorted);
		return e;
	}
	vector_scope_free(*s);
	*s = sorted;
	return OK;
}

void vector_scope_estimate(const struct vector_scope *s, const struct vector_code_question *q, float *out)
{
	for (uint32_t i = 0; i < s->blocks_n && i * s->per_block < s->rows; i++) {
		uint32_t first = i * s->per_block, n = s->rows - first < s->blocks[i].cap ? s->rows - first : s->blocks[i].cap;

		vector_code_scan(q, (const uint64_t *)(const void *)s->blocks[i].high, s->blocks[i].codes, n, out + first);
	}
}
