/* Freeing what removed checkpoints referred to. Nothing of this is in the file: which versions are referred to is found by reading
 * every checkpoint of the namespace (mark), which chunks by reading every list of the stream. What was found is kept as an image
 * for the calls that follow, because long threads are removed in many small steps.
 *
 *  1. Candidates are the versions that a removed checkpoint refers to. A version that nobody removed has named is left alone.
 *  2. A candidate goes when no remaining checkpoint of the namespace refers to it; its chunks and nodes, when no remaining version
 * of the stream does.
 *
 * Invariants
 *  3. An image says what the file and the transaction under way say: whoever adds a checkpoint tells it, a replaced one or a new
 *     list drops what is known, a rollback drops all of the tenant's (chunk_cache_drop).
 *  4. Images belong to the writer thread. */
#include "store/sqlite/ckpt.h"

#define IMAGES 4u

struct counts {
	uint32_t *v; /* by number of the chunk: how many versions (or nodes that are referred to) name it */
	size_t n;
};
struct image {
	struct list lru;
	const struct tenant *t;
	int64_t scope;
	struct map versions; /* channel and version -> how many checkpoints refer to it */
	struct map streams;  /* number -> struct counts */
};

/* ---------------------------------------------------------------- images */

static void counts_free(struct counts *k)
{
	if (k)
		free(k->v);
	free(k);
}

static void image_free(struct image *x)
{
	size_t it = 0;
	struct str key;
	void *v;
	while (map_next(&x->streams, &it, &key, &v))
		counts_free(v);
	map_release(&x->streams);
	map_release(&x->versions);
	list_del(&x->lru);
	free(x);
}

static struct image *image_of(const struct conn *c, int64_t scope)
{
	LIST_EACH (n, &c->t->s->images) {
		struct image *x = CONTAINER(n, struct image, lru);
		if (x->t == c->t && x->scope == scope)
			return x;
	}
	return NULL;
}

void images_drop(struct sq *s, const struct tenant *t)
{
	LIST_EACH (n, &s->images) {
		struct image *x = CONTAINER(n, struct image, lru);
		if (!t || x->t == t)
			image_free(x);
	}
}

void image_forget(struct conn *c, int64_t scope)
{
	struct image *x = image_of(c, scope);
	if (x)
		image_free(x);
}

static struct str number_key(const int64_t *id)
{
	return str_of((const char *)id, sizeof *id);
}

void image_forget_stream(struct conn *c, int64_t scope, int64_t stream)
{
	struct image *x = image_of(c, scope);
	if (x)
		counts_free(map_del(&x->streams, number_key(&stream)));
}

static struct str version_key(struct arena *a, const struct pack_channel *v)
{
	char *p = arena_alloc(a, sizeof v->channel.n + v->channel.n + v->version.n);
	if (!p)
		return (struct str){0};
	memcpy(p, &v->channel.n, sizeof v->channel.n);
	memcpy(p + sizeof v->channel.n, v->channel.p, v->channel.n);
	if (v->version.n)
		memcpy(p + sizeof v->channel.n + v->channel.n, v->version.p, v->version.n);
	return str_of(p, sizeof v->channel.n + v->channel.n + v->version.n);
}

/* One more checkpoint that refers to what these say. */
static enum err plus(struct image *x, struct arena *a, struct str checkpoint)
{
	struct pack_channel *v;
	size_t n;
	TRY(pack_channels(a, checkpoint, &v, &n));
	for (size_t i = 0; i < n; i++) {
		struct str key = version_key(a, &v[i]);
		if (!key.p)
			return E_NOMEM;
		uintptr_t had = (uintptr_t)map_get(&x->versions, key);
		TRY(map_put(&x->versions, key, (void *)(had + 1), NULL));
	}
	return OK;
}

enum err image_added(struct conn *c, struct arena *a, int64_t scope, struct str checkpoint)
{
	struct image *x = image_of(c, scope);
	return x ? plus(x, a, checkpoint) : OK;
}

/* Every checkpoint of the namespace. */
static enum err mark(struct conn *c, struct image *x)
{
	struct str checkpoint, metadata;
	struct arena a;
	enum err e;
	bool row = true;
	sqlite3_stmt *st = conn_stmt(c, ST_CKPTS_IN, &e);
	if (!st)
		return e;
	arena_init(&a, 256u << 20);
	sqlite3_bind_int64(st, 1, x->scope);
	while (e == OK) {
		e = conn_step(c, st, &row);
		if (e != OK || !row)
			break;
		e = pack_unbody(&a, col_str(st, 0), &checkpoint, &metadata);
		if (e == OK)
			e = plus(x, &a, checkpoint);
		arena_clear(&a);
	}
	sqlite3_reset(st);
	arena_release(&a);
	return e;
}

static enum err image_get(struct conn *c, int64_t scope, struct image **out)
{
	struct sq *s = c->t->s;
	struct image *x = *out = image_of(c, scope);
	unsigned n = 0;
	if (x) {
		list_del(&x->lru);
		list_add_head(&s->images, &x->lru);
		return OK;
	}
	LIST_EACH (at, &s->images)
		if (++n >= IMAGES)
			image_free(CONTAINER(at, struct image, lru));
	x = *out = calloc(1, sizeof *x);
	if (!x)
		return err_set(E_LIMIT, "out of memory in the store");
	x->t = c->t;
	x->scope = scope;
	map_init(&x->versions);
	map_init(&x->streams);
	list_add_head(&s->images, &x->lru);
	enum err e = mark(c, x);
	if (e != OK)
		image_free(x);
	return e;
}

/* ---------------------------------------------------------------- chunks */

/* A version's list: each chunk by itself, or the first and nodes. Numbers beyond the table cannot be (next was read before). */
static enum err list_add(struct conn *c, struct arena *a, int64_t stream, int form, struct str data, struct counts *k)
{
	int64_t *top, *ids;
	size_t n, m;
	TRY(pack_unlist(a, data, &top, &n));
	for (size_t i = 0; i < n; i++) {
		if ((size_t)top[i] >= k->n)
			return err_set(E_CORRUPT, "a list in %s names a chunk that is not there", c->t->base);
		if (k->v[top[i]]++ || form != FORM_TREE || i == 0)
			continue;
		TRY(node_ids(c, a, stream, top[i], &ids, &m));
		for (size_t j = 0; j < m; j++) {
			if ((size_t)ids[j] >= k->n)
				return err_set(E_CORRUPT, "a list in %s names a chunk that is not there", c->t->base);
			k->v[ids[j]]++;
		}
	}
	return OK;
}

static enum err count_all(struct conn *c, int64_t stream, struct counts *k)
{
	struct arena a;
	enum err e;
	bool row = true;
	sqlite3_stmt *st = conn_stmt(c, ST_LISTS_OF, &e);
	if (!st)
		return e;
	arena_init(&a, 256u << 20);
	sqlite3_bind_int64(st, 1, stream);
	while (e == OK) {
		e = conn_step(c, st, &row);
		if (e != OK || !row)
			break;
		e = list_add(c, &a, stream, (int)col_i64(st, 0), col_str(st, 1), k);
		arena_clear(&a);
	}
	sqlite3_reset(st);
	arena_release(&a);
	return e;
}

static enum err counts_get(struct conn *c, struct image *x, int64_t stream, struct counts **out)
{
	int64_t next;
	struct counts *k = *out = map_get(&x->streams, number_key(&stream));
	if (k)
		return OK;
	TRY(chunk_next(c, stream, &next));
	k = calloc(1, sizeof *k);
	if (!k || !(k->v = calloc((size_t)next, sizeof *k->v))) {
		free(k);
		return err_set(E_LIMIT, "out of memory in the store");
	}
	k->n = (size_t)next;
	enum err e = count_all(c, stream, k);
	if (e == OK)
		e = map_put(&x->streams, number_key(&stream), k, NULL);
	if (e == OK)
		*out = k;
	else
		counts_free(k);
	return e;
}

static enum err chunk_less(struct conn *c, int64_t stream, struct counts *k, int64_t n, struct ckpt_removed *out)
{
	size_t bytes = 0;
	if (--k->v[n])
		return OK;
	TRY(chunk_size(c, stream, n, &bytes));
	out->bytes += (int64_t)bytes;
	return ckpt_run(c, ST_CHUNK_DEL, (int64_t)((uint64_t)stream << CHUNK_BITS | (uint64_t)n));
}

/* The chunks that only this list has named. */
static enum err list_less(struct conn *c, struct arena *a, int64_t stream, int form, struct str data, struct counts *k,
			  struct ckpt_removed *out)
{
	int64_t *top, *ids;
	size_t n, m;
	TRY(pack_unlist(a, data, &top, &n));
	for (size_t i = 0; i < n; i++) {
		if (form == FORM_TREE && i > 0 && k->v[top[i]] == 1) {
			TRY(node_ids(c, a, stream, top[i], &ids, &m));
			for (size_t j = 0; j < m; j++)
				TRY(chunk_less(c, stream, k, ids[j], out));
		}
		TRY(chunk_less(c, stream, k, top[i], out));
	}
	return OK;
}

/* ---------------------------------------------------------------- versions */

/* A version that nobody refers to any more. */
static enum err version_drop(struct conn *c, struct arena *a, struct image *x, const struct pack_channel *v,
			     struct ckpt_removed *out)
{
	enum err e;
	bool row;
	sqlite3_stmt *st;
	struct counts *k;
	uint8_t *room = arena_alloc(a, VERSION_ROOM(v->version));
	if (!room)
		return E_NOMEM;
	TRY(ckpt_value_find(c, x->scope, v, room, &st, &row));
	if (!row)
		return OK;
	int64_t stream = col_i64(st, 0);
	int form = (int)col_i64(st, 2);
	struct str data = arena_str(a, col_str(st, 4));
	sqlite3_reset(st);
	out->values++;
	out->bytes += (int64_t)data.n;
	if (!data.p)
		return E_NOMEM;
	if (form != FORM_WHOLE) {
		TRY(counts_get(c, x, stream, &k)); /* with this version: its row is still there */
		TRY(list_less(c, a, stream, form, data, k, out));
		chunk_cache_drop(c->t->s, c->t, stream);
	}
	if (!(st = conn_stmt(c, ST_VERSION_DEL, &e)))
		return e;
	sqlite3_bind_int64(st, 1, stream);
	bind_version(st, 2, v->version, room);
	TRY(conn_run(c, ST_VERSION_DEL));
	if (form != FORM_WHOLE)
		TRY(ckpt_run(c, ST_STREAM_HEAD_AGAIN, stream));
	return ckpt_run(c, ST_STREAM_DEL_EMPTY, stream);
}

enum err ckpt_free(struct conn *c, struct arena *a, int64_t scope, struct str body, struct ckpt_removed *out)
{
	struct str checkpoint, metadata;
	struct image *x;
	struct pack_channel *v;
	size_t n;
	TRY(image_get(c, scope, &x));
	TRY(pack_unbody(a, body, &checkpoint, &metadata));
	TRY(pack_channels(a, checkpoint, &v, &n));
	for (size_t i = 0; i < n; i++) {
		struct str key = version_key(a, &v[i]);
		if (!key.p)
			return E_NOMEM;
		uintptr_t had = (uintptr_t)map_get(&x->versions, key);
		if (had == 0)
			return err_set(E_INTERNAL, "what checkpoints refer to was counted wrongly");
		if (had > 1) {
			TRY(map_put(&x->versions, key, (void *)(had - 1), NULL));
			continue;
		}
		(void)map_del(&x->versions, key);
		TRY(version_drop(c, a, x, &v[i], out));
	}
	return OK;
}
