/* item_scan: the items below a prefix, newest first, reading no more values than the caller looks at.
 *
 * Each namespace below the prefix is a run, sorted by the index (ns, updated_us); a heap of runs gives the newest item of all. A
 * run reads (time, id) pairs from the index in blocks that grow from 2 to some hundreds, so that "the latest 10" of many namespaces
 * costs one index look-up per namespace and ten rows, and a scan of everything costs little per item. Items of one time in one
 * namespace, which only imports make, are sorted by key when their turn comes.
 *
 * Invariants
 *  1. at < n in every run in the heap: its head is the newest item of its namespace that was not emitted.
 *  2. A run's block ends where the index does (last), or holds an entry behind the head (see ties()). */
#include "store/sqlite/sq.h"

#include "rt/fiber.h"
#include "rt/work.h"

struct entry {
	int64_t updated_us, id;
};
struct run {
	int64_t ns;
	uint32_t order; /* of the namespace's name */
	uint32_t at, n, block;
	bool last; /* nothing behind the block */
	struct str path;
	struct entry *e; /* few, or a block of its own */
	struct entry few[2];
};

struct scan {
	struct sq *s;
	struct tenant *t;
	uint64_t deadline;
	struct str prefix;
	int64_t omit;
	item_fn fn;
	void *ctx;
	struct conn *c;
	struct arena names; /* paths of the runs */
	struct run *runs;
	size_t n, cap;
	struct run **heap;
	size_t heap_n;
	uint32_t block_max;
	int64_t *ties; /* ids of the items of one time in one namespace */
	size_t ties_cap;
	bool stopped;
};

static enum err no_memory(void)
{
	return err_set(E_LIMIT, "out of memory in the store");
}

/* Reads the next block of the run, from behind `from` (NULL: the newest). What is left in the block is dropped. */
static enum err fill(struct scan *x, struct run *r, const struct entry *from)
{
	enum err e;
	bool row;
	sqlite3_stmt *st = conn_stmt(x->c, from ? ST_ITEM_OLDER : ST_ITEM_NEWEST, &e);
	if (!st)
		return e;
	struct entry after = from ? *from : (struct entry){0};
	if (r->block > 2 && (r->e == r->few || r->n < r->block)) {
		struct entry *bigger = realloc(r->e == r->few ? NULL : r->e, r->block * sizeof *bigger);
		if (!bigger)
			return no_memory();
		r->e = bigger;
	}
	sqlite3_bind_int64(st, 1, r->ns);
	if (from) {
		sqlite3_bind_int64(st, 2, after.updated_us);
		sqlite3_bind_int64(st, 3, after.id);
	}
	sqlite3_bind_int64(st, from ? 4 : 2, r->block);
	r->at = r->n = 0;
	for (;;) {
		TRY(conn_step(x->c, st, &row));
		if (!row)
			break;
		if (r->n < r->block)
			r->e[r->n++] = (struct entry){col_i64(st, 0), col_i64(st, 1)};
	}
	r->last = r->n < r->block;
	if (r->block < x->block_max)
		r->block = r->block * 4 < x->block_max ? r->block * 4 : x->block_max;
	return OK;
}

/* ---------------------------------------------------------------- heap */

static bool before(const struct run *a, const struct run *b)
{
	int64_t x = a->e[a->at].updated_us, y = b->e[b->at].updated_us;
	return x != y ? x > y : a->order < b->order;
}

static void sift(struct scan *x, size_t i)
{
	for (;;) {
		size_t best = i, l = 2 * i + 1;
		if (l < x->heap_n && before(x->heap[l], x->heap[best]))
			best = l;
		if (l + 1 < x->heap_n && before(x->heap[l + 1], x->heap[best]))
			best = l + 1;
		if (best == i)
			return;
		struct run *tmp = x->heap[i];
		x->heap[i] = x->heap[best];
		x->heap[best] = tmp;
		i = best;
	}
}

/* ---------------------------------------------------------------- items */

static enum err emit(struct scan *x, const struct run *r, int64_t id)
{
	enum err e;
	bool row;
	struct item it;
	sqlite3_stmt *st = conn_stmt(x->c, ST_ITEM_ROW, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, id);
	TRY(conn_step(x->c, st, &row));
	if (!row)
		return err_set(E_CORRUPT, "an index of %s names an item that is not there; restore it from a backup", x->t->base);
	item_columns(st, r->path, &it);
	if (!item_omitted(&it, x->omit) && !x->fn(x->ctx, &it))
		x->stopped = true;
	sqlite3_reset(st);
	return OK;
}

/* The ids of all items of the head's time, by key. */
static enum err tie_ids(struct scan *x, const struct run *r, size_t *n)
{
	enum err e;
	bool row;
	*n = 0;
	sqlite3_stmt *st = conn_stmt(x->c, ST_ITEM_TIES, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, r->ns);
	sqlite3_bind_int64(st, 2, r->e[r->at].updated_us);
	for (;;) {
		TRY(conn_step(x->c, st, &row));
		if (!row)
			return OK;
		if (*n == x->ties_cap) {
			size_t cap = x->ties_cap ? x->ties_cap * 2 : 64;
			int64_t *more = realloc(x->ties, cap * sizeof *more);
			if (!more) {
				sqlite3_reset(st);
				return no_memory();
			}
			x->ties = more;
			x->ties_cap = cap;
		}
		x->ties[(*n)++] = col_i64(st, 0);
	}
}

static enum err ties(struct scan *x, struct run *r)
{
	size_t n;
	struct entry past = {r->e[r->at].updated_us, INT64_MIN};
	TRY(tie_ids(x, r, &n));
	for (size_t i = 0; i < n && !x->stopped; i++)
		TRY(emit(x, r, x->ties[i]));
	while (r->at < r->n && r->e[r->at].updated_us == past.updated_us)
		r->at++;
	return r->at == r->n && !r->last ? fill(x, r, &past) : OK;
}

/* Emits the head of the run, and what ties with it, and moves on. */
static enum err advance(struct scan *x, struct run *r)
{
	struct entry head = r->e[r->at];
	if (r->at + 1 == r->n && !r->last) { /* what follows decides whether there is a tie */
		struct entry newer = {head.updated_us, head.id == INT64_MAX ? head.id : head.id + 1};
		TRY(fill(x, r, &newer));
		if (r->n == 0)
			return err_set(E_INTERNAL, "an item vanished from a snapshot");
	}
	if (r->at + 1 < r->n && r->e[r->at + 1].updated_us == head.updated_us)
		return ties(x, r);
	r->at++;
	return emit(x, r, head.id);
}

static enum err merge(struct scan *x)
{
	while (x->heap_n && !x->stopped) {
		struct run *r = x->heap[0];
		if (x->deadline != NEVER && clock_mono_ns() >= x->deadline)
			return err_set(E_TIMEOUT, "the deadline passed while reading the store");
		TRY(advance(x, r));
		if (r->at == r->n)
			x->heap[0] = x->heap[--x->heap_n];
		sift(x, 0);
	}
	return OK;
}

/* ---------------------------------------------------------------- set-up */

static enum err add_run(void *ctx, int64_t id, struct str path, bool *go)
{
	struct scan *x = ctx;
	(void)go;
	if (x->n == x->cap) {
		size_t cap = x->cap ? x->cap * 2 : 16;
		struct run *more = realloc(x->runs, cap * sizeof *more);
		if (!more)
			return no_memory();
		x->runs = more;
		x->cap = cap;
	}
	x->runs[x->n] = (struct run){.ns = id, .order = (uint32_t)x->n, .block = 2, .path = arena_str(&x->names, path)};
	return x->runs[x->n++].path.p ? OK : E_NOMEM;
}

static enum err scan_all(struct scan *x)
{
	TRY(ns_each(x->c, x->prefix, STR(""), add_run, x));
	if (x->n == 0)
		return OK;
	x->heap = malloc(x->n * sizeof *x->heap);
	if (!x->heap)
		return no_memory();
	size_t room = 262144 / x->n;
	x->block_max = room < 2 ? 2 : room > 1024 ? 1024 : (uint32_t)room;
	for (size_t i = 0; i < x->n; i++) {
		struct run *r = &x->runs[i];
		r->e = r->few;
		TRY(fill(x, r, NULL));
		if (r->n)
			x->heap[x->heap_n++] = r;
	}
	for (size_t i = x->heap_n / 2; i-- > 0;)
		sift(x, i);
	return merge(x);
}

static enum err scan_task(void *arg)
{
	struct scan *x = arg;
	struct reader *r;
	enum err e;
	TRY(reader_begin(x->s, x->t, x->deadline, &r, &x->c));
	arena_init(&x->names, 256u << 20);
	e = scan_all(x);
	for (size_t i = 0; i < x->n; i++)
		if (x->runs[i].e && x->runs[i].e != x->runs[i].few)
			free(x->runs[i].e);
	free(x->runs);
	free(x->heap);
	free(x->ties);
	arena_release(&x->names);
	return reader_end(x->s, r, x->c, e);
}

/* The hint is for drivers whose rows come from afar; here looking at one row more costs little. */
enum err sq_item_scan(struct store *s, const struct principal *who, struct str prefix, int64_t omit, const struct scan_hint *hint,
		      item_fn fn, void *ctx)
{
	(void)hint;
	struct scan x = {.s = sq_of(s), .deadline = fiber_deadline(), .prefix = prefix, .omit = omit, .fn = fn, .ctx = ctx};
	TRY(tenant_get(sq_of(s), who, RIGHT_READ, false, &x.t));
	return x.t ? work_run(scan_task, &x) : OK;
}
