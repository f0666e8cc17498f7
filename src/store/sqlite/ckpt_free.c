/* Freeing what removed checkpoints referred to: mark and sweep within the namespace, in the transaction that removes.
 *
 *  1. Candidates are the versions that the removed ones refer to. A version that nobody removed has named is left alone.
 *  2. Mark: every remaining checkpoint of the namespace is read; a candidate that it refers to is spared.
 *  3. Sweep: the other candidates' rows go; in their streams the lists of all versions that remain mark chunks and nodes, and those
 *     that are not marked go.
 * Nothing is counted in between, so there are no counts that could be wrong; what a rolled back transaction did is undone with it.
 */
#include "store/sqlite/ckpt.h"

struct cand {
	bool live;
};

static void free_values(struct map *m)
{
	size_t it = 0;
	struct str key;
	void *v;
	while (map_next(m, &it, &key, &v))
		free(v);
	map_release(m);
}

void shed_init(struct shed *x)
{
	*x = (struct shed){0};
	map_init(&x->versions);
	map_init(&x->gone);
	map_init(&x->named);
}

void shed_release(struct shed *x)
{
	free_values(&x->versions);
	map_release(&x->gone);
	map_release(&x->named);
}

static struct str number_key(const int64_t *id)
{
	return str_of((const char *)id, sizeof *id);
}

enum err shed_gone(struct shed *x, int64_t id)
{
	return map_put(&x->gone, number_key(&id), x, NULL);
}

/* ---------------------------------------------------------------- mark */

static struct str version_key(struct arena *a, const struct chan *v)
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

static struct chan version_of(struct str key)
{
	size_t n;
	memcpy(&n, key.p, sizeof n);
	return (struct chan){str_of(key.p + sizeof n, n), str_of(key.p + sizeof n + n, key.n - sizeof n - n)};
}

enum err shed_candidates(struct shed *x, struct arena *a, struct str body)
{
	struct str checkpoint, metadata;
	struct chan *v;
	size_t n;
	TRY(body_unpack(a, body, &checkpoint, &metadata));
	TRY(channels_of(a, checkpoint, &v, &n));
	for (size_t i = 0; i < n; i++) {
		struct str key = version_key(a, &v[i]);
		struct cand *cand = key.p ? map_get(&x->versions, key) : NULL;
		if (cand)
			continue;
		cand = key.p ? calloc(1, sizeof *cand) : NULL;
		if (!cand)
			return err_set(E_LIMIT, "out of memory in the store");
		enum err e = map_put(&x->versions, key, cand, NULL);
		if (e != OK) {
			free(cand);
			return e;
		}
		x->dead++;
	}
	return OK;
}

static enum err spare(struct shed *x, struct arena *a, struct str body)
{
	struct str checkpoint, metadata;
	struct chan *v;
	size_t n;
	TRY(body_unpack(a, body, &checkpoint, &metadata));
	TRY(channels_of(a, checkpoint, &v, &n));
	for (size_t i = 0; i < n; i++) {
		struct str key = version_key(a, &v[i]);
		struct cand *cand = key.p ? map_get(&x->versions, key) : NULL;
		if (!key.p)
			return E_NOMEM;
		if (cand && !cand->live) {
			cand->live = true;
			x->dead--;
		}
	}
	return OK;
}

struct fix {
	int64_t *v;
	size_t n, cap;
};

static enum err fix_add(struct fix *f, int64_t id)
{
	if (f->n == f->cap) {
		size_t cap = f->cap ? f->cap * 2 : 64;
		int64_t *v = realloc(f->v, cap * sizeof *v);
		if (!v)
			return err_set(E_LIMIT, "out of memory in the store");
		f->v = v;
		f->cap = cap;
	}
	f->v[f->n++] = id;
	return OK;
}

/* One remaining row. */
static enum err look(struct shed *x, struct arena *a, sqlite3_stmt *st, struct fix *orphans, struct fix *bare)
{
	int64_t id = col_i64(st, 0), parent = col_i64(st, 1);
	bool body = sqlite3_column_type(st, 2) != SQLITE_NULL;
	if (parent && map_get(&x->gone, number_key(&parent)))
		TRY(fix_add(orphans, id));
	else if (parent)
		TRY(map_put(&x->named, number_key(&parent), x, NULL));
	if (!body)
		return fix_add(bare, id);
	x->remain = true;
	return x->dead ? spare(x, a, col_str(st, 2)) : OK;
}

static enum err look_all(struct conn *c, struct arena *a, int64_t scope, struct shed *x, struct fix *orphans, struct fix *bare)
{
	enum err e;
	bool row;
	sqlite3_stmt *st = conn_stmt(c, ST_CKPTS_IN, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, scope);
	for (;;) {
		TRY(conn_step(c, st, &row));
		if (!row)
			return OK;
		e = look(x, a, st, orphans, bare);
		arena_clear(a);
		if (e != OK) {
			sqlite3_reset(st);
			return e;
		}
	}
}

/* Placeholders that neither a child nor writes name. */
static enum err drop_bare(struct conn *c, struct shed *x, const struct fix *bare)
{
	for (size_t i = 0; i < bare->n; i++) {
		enum err e;
		bool writes;
		if (map_get(&x->named, number_key(&bare->v[i])))
			continue;
		sqlite3_stmt *st = conn_stmt(c, ST_PENDING_OF, &e);
		if (!st)
			return e;
		sqlite3_bind_int64(st, 1, bare->v[i]);
		TRY(conn_step(c, st, &writes));
		if (writes)
			sqlite3_reset(st);
		else
			TRY(ckpt_run(c, ST_CKPT_DEL, bare->v[i]));
		x->remain = x->remain || writes;
	}
	return OK;
}

/* ---------------------------------------------------------------- sweep */

struct bits {
	uint8_t *p;
	size_t n; /* bits */
};

static void bit_set(struct bits *b, int64_t i)
{
	if (i >= 0 && (size_t)i < b->n)
		b->p[i / 8] |= (uint8_t)(1u << (i % 8));
}

static enum err mark_version(struct conn *c, struct arena *a, int64_t stream, int form, struct str data, struct bits *b)
{
	int64_t *ids;
	struct node_ref *nodes = NULL;
	size_t n, nodes_n = 0;
	TRY(value_list(c, a, stream, form, data, &ids, &n, &nodes, &nodes_n));
	for (size_t i = 0; i < n; i++)
		bit_set(b, ids[i]);
	for (size_t i = 0; i < nodes_n; i++)
		bit_set(b, nodes[i].n);
	return OK;
}

static enum err mark_chunks(struct conn *c, struct arena *a, int64_t stream, struct bits *b)
{
	enum err e;
	bool row;
	sqlite3_stmt *st = conn_stmt(c, ST_LISTS_OF, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, stream);
	for (;;) {
		TRY(conn_step(c, st, &row));
		if (!row)
			return OK;
		e = mark_version(c, a, stream, (int)col_i64(st, 0), col_str(st, 1), b);
		arena_clear(a);
		if (e != OK) {
			sqlite3_reset(st);
			return e;
		}
	}
}

static enum err sweep_chunks(struct conn *c, int64_t stream, const struct bits *b, struct shed *x)
{
	struct fix dead = {0};
	enum err e;
	bool row = true;
	sqlite3_stmt *st = conn_stmt(c, ST_CHUNKS, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, (int64_t)((uint64_t)stream << CHUNK_BITS));
	sqlite3_bind_int64(st, 2, (int64_t)((uint64_t)stream << CHUNK_BITS) | CHUNK_MAX);
	while (e == OK && row) {
		e = conn_step(c, st, &row);
		if (e != OK || !row)
			break;
		int64_t n = col_i64(st, 0) & CHUNK_MAX;
		if ((size_t)n < b->n && (b->p[n / 8] >> (n % 8) & 1))
			continue;
		x->out.bytes += sqlite3_column_bytes(st, 1);
		e = fix_add(&dead, col_i64(st, 0));
		if (e != OK)
			sqlite3_reset(st);
	}
	for (size_t i = 0; i < dead.n && e == OK; i++)
		e = ckpt_run(c, ST_CHUNK_DEL, dead.v[i]);
	free(dead.v);
	return e;
}

/* After versions of the stream went: chunks, the head, the stream itself when it is empty. */
static enum err sweep_stream(struct conn *c, struct arena *a, int64_t stream, struct shed *x)
{
	int64_t next;
	TRY(chunk_next(c, stream, &next));
	chunk_cache_drop(c->t->s, c->t, stream);
	if (next > 1) {
		struct bits b = {.n = (size_t)next};
		b.p = calloc(b.n / 8 + 1, 1);
		if (!b.p)
			return err_set(E_LIMIT, "out of memory in the store");
		enum err e = mark_chunks(c, a, stream, &b);
		if (e == OK)
			e = sweep_chunks(c, stream, &b, x);
		free(b.p);
		TRY(e);
	}
	TRY(ckpt_run(c, ST_STREAM_HEAD_AGAIN, stream));
	return ckpt_run(c, ST_STREAM_DEL_EMPTY, stream);
}

/* A version that nobody refers to any more. */
static enum err version_drop(struct conn *c, struct arena *a, int64_t scope, const struct chan *v, struct shed *x)
{
	enum err e;
	bool row;
	sqlite3_stmt *st;
	uint8_t *room = arena_alloc(a, VERSION_ROOM(v->version));
	if (!room)
		return E_NOMEM;
	TRY(ckpt_value_find(c, scope, v, room, &st, &row));
	if (!row)
		return OK;
	int64_t stream = col_i64(st, 0);
	x->out.values++;
	x->out.bytes += sqlite3_column_bytes(st, 4);
	sqlite3_reset(st);
	if (!(st = conn_stmt(c, ST_VERSION_DEL, &e)))
		return e;
	sqlite3_bind_int64(st, 1, stream);
	bind_version(st, 2, v->version, room);
	TRY(conn_run(c, ST_VERSION_DEL));
	return map_put(&x->streams, number_key(&stream), x, NULL);
}

static enum err sweep(struct conn *c, struct arena *a, int64_t scope, struct shed *x)
{
	size_t it = 0;
	struct str key;
	void *v;
	enum err e = OK;
	map_init(&x->streams);
	while (e == OK && map_next(&x->versions, &it, &key, &v)) {
		const struct cand *cand = v;
		struct chan ch = version_of(key);
		if (!cand->live)
			e = version_drop(c, a, scope, &ch, x);
		arena_clear(a);
	}
	for (it = 0; e == OK && map_next(&x->streams, &it, &key, &v);) {
		int64_t stream;
		memcpy(&stream, key.p, sizeof stream);
		e = sweep_stream(c, a, stream, x);
	}
	map_release(&x->streams);
	return e;
}

/* The namespace has neither checkpoints nor early writes: nothing of it can be reached. */
static enum err scope_drop(struct conn *c, int64_t scope)
{
	static const enum stmt all[] = {ST_SCOPE_CHUNKS, ST_SCOPE_VERSIONS, ST_SCOPE_STREAMS, ST_SCOPE_DEL};
	for (unsigned i = 0; i < sizeof all / sizeof *all; i++)
		TRY(ckpt_run(c, all[i], scope));
	return OK;
}

enum err shed_scope(struct conn *c, struct arena *a, int64_t scope, struct shed *x)
{
	struct fix orphans = {0}, bare = {0};
	enum err e;
	CHECK(look_all(c, a, scope, x, &orphans, &bare));
	for (size_t i = 0; i < orphans.n; i++)
		CHECK(ckpt_run(c, ST_CKPT_ORPHAN, orphans.v[i]));
	CHECK(drop_bare(c, x, &bare));
	CHECK(sweep(c, a, scope, x));
	if (!x->remain)
		CHECK(scope_drop(c, scope));
out:
	free(orphans.v);
	free(bare.v);
	return e;
}
