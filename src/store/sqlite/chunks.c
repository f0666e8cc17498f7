/* Values of channels: short ones whole in the version's row, long ones cut into chunks that the versions of a stream share.
 *
 * A version's list of chunk numbers, when it is long, is itself cut into nodes at places that the numbers decide, and the nodes are
 * stored as chunks: so a value that grew at its end costs its last chunks, its last node, and a list of nodes. The first chunk,
 * which changes with the value's length (pack.h), is named beside the nodes.
 *
 * Which chunks a stream has is known from a cache: the names of what its newest versions consist of. A stream that is not in the
 * cache is read once (its head). So what is stored twice at worst costs room; the cache never says of a chunk that is not there
 * that it is.
 *
 * Invariants
 *  1. Only the writer thread changes the cache, with s->chunks->mu held; others ask with it held, and what they hear is a guess.
 *  2. An entry names rows that are in the file or in the transaction under way: after a rollback everything of the tenant is
 * forgotten, after freeing chunks of a stream that stream.
 *  3. next is above every number of the stream that is stored. */
#include "store/sqlite/ckpt.h"

#include "base/hash.h"
#include "rt/fiber.h"

#define CACHE_BYTES (64u << 20)
#define LIST_MAX 64u  /* longer lists become trees */
#define NODE_MASK 31u /* mean length of a node is 32 more than its least */
#define NODE_LEAST 16u
#define NODE_MOST 512u

struct known {
	uint8_t name[PACK_NAME];
	uint32_t n; /* 0: free */
};
struct stream {
	struct list lru;
	const struct tenant *t;
	int64_t id, next;
	struct known *v; /* open addressing, cap a power of two */
	size_t cap, count;
};
struct chunk_cache {
	pthread_mutex_t mu;
	struct map streams;
	struct list lru; /* most recently used first */
	size_t bytes;
};

/* ---------------------------------------------------------------- the cache */

enum err chunk_cache_new(struct sq *s)
{
	s->chunks = calloc(1, sizeof *s->chunks);
	if (!s->chunks)
		return err_set(E_LIMIT, "out of memory in the store");
	pthread_mutex_init(&s->chunks->mu, NULL);
	map_init(&s->chunks->streams);
	list_init(&s->chunks->lru);
	return OK;
}

struct key {
	const struct tenant *t;
	int64_t id;
};

static struct str key_of(const struct key *k)
{
	return str_of((const char *)k, sizeof *k);
}

static size_t weight(const struct stream *x)
{
	return x->cap * sizeof *x->v + sizeof *x + 128;
}

static void drop(struct chunk_cache *k, struct stream *x)
{
	struct key key = {x->t, x->id};
	k->bytes -= weight(x);
	map_del(&k->streams, key_of(&key));
	list_del(&x->lru);
	free(x->v);
	free(x);
}

void chunk_cache_drop(struct sq *s, const struct tenant *t, int64_t stream)
{
	struct chunk_cache *k = s->chunks;
	struct key key = {t, stream};
	pthread_mutex_lock(&k->mu);
	struct stream *x = stream ? map_get(&k->streams, key_of(&key)) : NULL;
	if (x)
		drop(k, x);
	for (struct list *n = k->lru.next, *next; !stream && n != &k->lru; n = next) {
		next = n->next;
		x = CONTAINER(n, struct stream, lru);
		if (x->t == t)
			drop(k, x);
	}
	pthread_mutex_unlock(&k->mu);
	if (!stream)
		images_drop(s, t);
}

void chunk_cache_free(struct sq *s)
{
	struct chunk_cache *k = s->chunks;
	if (!k)
		return;
	while (!list_empty(&k->lru))
		drop(k, CONTAINER(k->lru.next, struct stream, lru));
	map_release(&k->streams);
	pthread_mutex_destroy(&k->mu);
	free(k);
	s->chunks = NULL;
}

static struct known *slot(const struct stream *x, const uint8_t *name)
{
	uint64_t h;
	memcpy(&h, name, sizeof h);
	for (size_t i = h & (x->cap - 1);; i = (i + 1) & (x->cap - 1))
		if (x->v[i].n == 0 || memcmp(x->v[i].name, name, PACK_NAME) == 0)
			return &x->v[i];
}

static enum err grow(struct chunk_cache *k, struct stream *x)
{
	struct stream y = *x;
	y.cap = x->cap ? x->cap * 2 : 64;
	y.v = calloc(y.cap, sizeof *y.v);
	if (!y.v)
		return err_set(E_LIMIT, "out of memory in the store");
	for (size_t i = 0; i < x->cap; i++)
		if (x->v[i].n)
			*slot(&y, x->v[i].name) = x->v[i];
	k->bytes += (y.cap - x->cap) * sizeof *y.v;
	free(x->v);
	x->v = y.v;
	x->cap = y.cap;
	return OK;
}

/* The caller has no lock, or the writer's: here it is taken. */
static enum err learn(struct sq *s, struct stream *x, const uint8_t *name, int64_t n)
{
	enum err e = OK;
	pthread_mutex_lock(&s->chunks->mu);
	if (x->count * 4 >= x->cap * 3)
		e = grow(s->chunks, x);
	if (e == OK) {
		struct known *at = slot(x, name);
		x->count += at->n == 0;
		memcpy(at->name, name, PACK_NAME);
		at->n = (uint32_t)n;
	}
	pthread_mutex_unlock(&s->chunks->mu);
	return e;
}

/* A new entry, without names. */
static enum err enter(struct sq *s, const struct tenant *t, int64_t id, int64_t next, struct stream **out)
{
	struct chunk_cache *k = s->chunks;
	struct stream *x = calloc(1, sizeof *x);
	struct key key = {t, id};
	*out = x;
	if (!x || !(x->v = calloc(64, sizeof *x->v))) {
		free(x);
		return err_set(E_LIMIT, "out of memory in the store");
	}
	x->t = t;
	x->id = id;
	x->next = next;
	x->cap = 64;
	pthread_mutex_lock(&k->mu);
	while (k->bytes > CACHE_BYTES && !list_empty(&k->lru))
		drop(k, CONTAINER(k->lru.prev, struct stream, lru));
	enum err e = map_put(&k->streams, key_of(&key), x, NULL);
	if (e == OK) {
		list_add_head(&k->lru, &x->lru);
		k->bytes += weight(x);
	}
	pthread_mutex_unlock(&k->mu);
	if (e != OK) {
		free(x->v);
		free(x);
	}
	return e;
}

/* ---------------------------------------------------------------- lists and trees */

static uint64_t mix(uint64_t z)
{
	z = (z ^ (z >> 33)) * UINT64_C(0xff51afd7ed558ccd);
	return z ^ (z >> 33);
}

/* The length of the node that begins here. */
static size_t node_cut(const int64_t *ids, size_t n)
{
	for (size_t i = NODE_LEAST; i < n && i < NODE_MOST; i++)
		if ((mix((uint64_t)ids[i - 1]) & NODE_MASK) == 0)
			return i;
	return n < NODE_MOST ? n : NODE_MOST;
}

static int64_t row_id(int64_t stream, int64_t n)
{
	return (int64_t)((uint64_t)stream << CHUNK_BITS | (uint64_t)n);
}

/* The data of chunk n: a slice of the running statement, which the caller resets. */
static enum err chunk_row(struct conn *c, int64_t stream, int64_t n, sqlite3_stmt **st, int64_t *at)
{
	enum err e;
	bool row;
	/* Numbers mostly go up by small steps: then the statement that stands at an earlier row is nearer than a new search. */
	for (unsigned steps = 0; *st && *at < n && n - *at <= 8 && steps < 8; steps++) {
		TRY(conn_step(c, *st, &row));
		if (!row) {
			*st = NULL;
			break;
		}
		*at = col_i64(*st, 0) & CHUNK_MAX;
		if (*at == n)
			return OK;
	}
	*st = conn_stmt(c, ST_CHUNKS, &e);
	if (!*st)
		return e;
	sqlite3_reset(*st);
	sqlite3_bind_int64(*st, 1, row_id(stream, n));
	sqlite3_bind_int64(*st, 2, row_id(stream, CHUNK_MAX));
	TRY(conn_step(c, *st, &row));
	*at = row ? col_i64(*st, 0) & CHUNK_MAX : 0;
	if (row && *at == n)
		return OK;
	if (row)
		sqlite3_reset(*st);
	*st = NULL;
	return err_set(E_CORRUPT, "a chunk of a channel's value is missing in %s", c->t->base);
}

enum err node_ids(struct conn *c, struct arena *a, int64_t stream, int64_t node, int64_t **ids, size_t *n)
{
	sqlite3_stmt *st = NULL;
	int64_t at = 0;
	TRY(chunk_row(c, stream, node, &st, &at));
	enum err e = pack_unlist(a, col_str(st, 1), ids, n);
	sqlite3_reset(st);
	return e;
}

enum err value_list(struct conn *c, struct arena *a, int64_t stream, int form, struct str data, int64_t **ids, size_t *n,
		    struct node_ref **nodes, size_t *nodes_n)
{
	int64_t *top;
	size_t top_n, k = 0;
	TRY(pack_unlist(a, data, &top, &top_n));
	*ids = top;
	*n = top_n;
	if (nodes)
		*nodes_n = 0;
	if (form != FORM_TREE)
		return OK;
	struct node_ref *v = ARENA_ARRAY(a, struct node_ref, top_n + 1);
	if (!v || top_n == 0)
		return v ? err_set(E_CORRUPT, "a list of chunks is damaged") : E_NOMEM;
	*n = 1;
	for (size_t i = 1; i < top_n; i++) {
		v[i - 1] = (struct node_ref){.n = top[i]};
		TRY(node_ids(c, a, stream, top[i], &v[i - 1].ids, &v[i - 1].ids_n));
		*n += v[i - 1].ids_n;
	}
	*ids = ARENA_ARRAY(a, int64_t, *n + 1);
	if (!*ids)
		return E_NOMEM;
	(*ids)[k++] = top[0];
	for (size_t i = 0; i + 1 < top_n; i++) {
		memcpy(*ids + k, v[i].ids, v[i].ids_n * sizeof **ids);
		k += v[i].ids_n;
	}
	if (nodes) {
		*nodes = v;
		*nodes_n = top_n - 1;
	}
	return OK;
}

/* ---------------------------------------------------------------- reading */

enum err value_read(struct conn *c, struct arena *a, int64_t stream, int form, size_t size, struct str data, struct str *out)
{
	sqlite3_stmt *st = NULL;
	int64_t *ids, at = 0;
	size_t n;
	struct buf b;
	enum err e = OK;
	if (size > PACK_ROOM)
		return err_set(E_CORRUPT, "a channel's value in %s has an impossible length", c->t->base);
	if (form == FORM_WHOLE)
		return pack_expand(a, data, size, out);
	TRY(value_list(c, a, stream, form, data, &ids, &n, NULL, NULL));
	buf_init(&b, a, size + 64);
	if (!buf_room(&b, size + 1))
		return b.err;
	for (size_t i = 0; i < n && e == OK; i++) {
		e = chunk_row(c, stream, ids[i], &st, &at);
		if (e == OK)
			e = pack_expand_to(&b, col_str(st, 1), size - b.n);
	}
	if (st)
		sqlite3_reset(st);
	TRY(e);
	if (b.n != size)
		return err_set(E_CORRUPT, "a channel's value in %s has lost a part", c->t->base);
	*out = buf_slice(&b);
	return OK;
}

/* ---------------------------------------------------------------- writing */

enum err chunk_next(struct conn *c, int64_t stream, int64_t *next)
{
	enum err e;
	bool row;
	sqlite3_stmt *st = conn_stmt(c, ST_CHUNK_LAST, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, row_id(stream, 0));
	sqlite3_bind_int64(st, 2, row_id(stream, CHUNK_MAX));
	TRY(conn_step(c, st, &row));
	*next = row ? (col_i64(st, 0) & CHUNK_MAX) + 1 : 1;
	if (row)
		sqlite3_reset(st);
	return OK;
}

static void name_of(struct str bytes, bool node, uint8_t name[PACK_NAME])
{
	uint8_t sum[SHA256_BYTES];
	sha256_of(bytes, sum);
	memcpy(name, sum, PACK_NAME);
	if (node) /* a node is never taken for a chunk of the same bytes */
		name[0] ^= 0x80, name[PACK_NAME - 1] ^= 0x01;
}

/* Names of the chunks and nodes of a version. */
static enum err learn_version(struct conn *c, struct arena *a, struct stream *x, int form, struct str data)
{
	struct sq *s = c->t->s;
	sqlite3_stmt *st = NULL;
	struct node_ref *nodes = NULL;
	int64_t *ids, at = 0;
	size_t n, nodes_n = 0;
	uint8_t name[PACK_NAME];
	struct arena one;
	enum err e = OK;
	TRY(value_list(c, a, x->id, form, data, &ids, &n, &nodes, &nodes_n));
	arena_init(&one, 64u << 20);
	for (size_t i = 0; i < n && e == OK; i++) {
		struct str raw;
		e = chunk_row(c, x->id, ids[i], &st, &at);
		if (e == OK)
			e = pack_expand(&one, col_str(st, 1), PACK_ROOM, &raw);
		if (e == OK) {
			name_of(raw, false, name);
			e = learn(s, x, name, ids[i]);
		}
		arena_clear(&one);
	}
	if (st)
		sqlite3_reset(st);
	for (size_t i = 0; i < nodes_n && e == OK; i++) {
		struct str list;
		e = pack_list(&one, nodes[i].ids, nodes[i].ids_n, &list);
		if (e == OK) {
			name_of(list, true, name);
			e = learn(s, x, name, nodes[i].n);
		}
	}
	arena_release(&one);
	return e;
}

/* What the stream has: from the cache, or its head read into it. found: the stream's row; NULL: it is new. */
static enum err stream_known(struct conn *c, int64_t id, sqlite3_stmt *found, struct stream **out)
{
	struct sq *s = c->t->s;
	struct chunk_cache *k = s->chunks;
	struct key key = {c->t, id};
	struct arena a;
	int64_t next = 1;
	bool row;
	enum err e;
	pthread_mutex_lock(&k->mu);
	struct stream *x = *out = map_get(&k->streams, key_of(&key));
	if (x) {
		list_del(&x->lru);
		list_add_head(&k->lru, &x->lru);
	}
	pthread_mutex_unlock(&k->mu);
	if (x)
		return OK;
	TRY(chunk_next(c, id, &next));
	TRY(enter(s, c->t, id, next, out));
	if (!found || sqlite3_column_type(found, 1) == SQLITE_NULL)
		return OK;
	sqlite3_stmt *st = conn_stmt(c, ST_VERSION_GET, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, id);
	sqlite3_bind_value(st, 2, sqlite3_column_value(found, 1));
	TRY(conn_step(c, st, &row));
	if (!row)
		return OK;
	arena_init(&a, 256u << 20);
	if (col_i64(st, 1) != FORM_WHOLE)
		e = learn_version(c, &a, *out, (int)col_i64(st, 1), col_str(st, 3));
	sqlite3_reset(st);
	arena_release(&a);
	return e;
}

static enum err chunk_add(struct conn *c, struct stream *x, const uint8_t *name, struct str data, int64_t *n)
{
	enum err e;
	if (x->next > CHUNK_MAX)
		return err_set(E_LIMIT, "a channel has more than %lld pieces; copy the thread and go on there",
			       (long long)CHUNK_MAX);
	sqlite3_stmt *st = conn_stmt(c, ST_CHUNK_ADD, &e);
	if (!st)
		return e;
	*n = x->next++;
	sqlite3_bind_int64(st, 1, row_id(x->id, *n));
	bind_bytes(st, 2, data);
	TRY(conn_run(c, ST_CHUNK_ADD));
	return learn(c->t->s, x, name, *n);
}

static enum err chunk_ids(struct conn *c, struct arena *a, struct stream *x, const struct value_in *v, int64_t *ids)
{
	for (size_t i = 0; i < v->n; i++) {
		struct str data = v->squeezed[i];
		ids[i] = slot(x, v->chunks[i].name)->n;
		if (ids[i])
			continue;
		if (!data.p) /* the guess was wrong */
			TRY(pack_squeeze(a, v->chunks[i].bytes, &data));
		TRY(chunk_add(c, x, v->chunks[i].name, data, &ids[i]));
	}
	return OK;
}

/* The list of a version as it is stored: itself, or a tree. */
static enum err list_store(struct conn *c, struct arena *a, struct stream *x, const int64_t *ids, size_t n, int *form,
			   struct str *data)
{
	int64_t *top = ARENA_ARRAY(a, int64_t, n + 1);
	size_t top_n = 0;
	*form = FORM_LIST;
	if (n <= LIST_MAX)
		return pack_list(a, ids, n, data);
	if (!top)
		return E_NOMEM;
	*form = FORM_TREE;
	top[top_n++] = ids[0];
	for (size_t i = 1, len; i < n; i += len) {
		struct str list;
		uint8_t name[PACK_NAME];
		len = node_cut(ids + i, n - i);
		TRY(pack_list(a, ids + i, len, &list));
		name_of(list, true, name);
		top[top_n] = slot(x, name)->n;
		if (!top[top_n])
			TRY(chunk_add(c, x, name, list, &top[top_n]));
		top_n++;
	}
	return pack_list(a, top, top_n, data);
}

/* The stream's number, made when it is missing; then *st is NULL, else it stands at its row (id, head) and has to be reset. */
static enum err stream_find(struct conn *c, int64_t scope, struct str channel, int64_t *id, sqlite3_stmt **st)
{
	enum err e;
	bool row;
	*st = conn_stmt(c, ST_STREAM_FIND, &e);
	if (!*st)
		return e;
	sqlite3_bind_int64(*st, 1, scope);
	bind_str(*st, 2, channel);
	TRY(conn_step(c, *st, &row));
	if (row) {
		*id = col_i64(*st, 0);
		return OK;
	}
	*st = conn_stmt(c, ST_STREAM_ADD, &e);
	if (!*st)
		return e;
	*id = c->t->next_stream++;
	sqlite3_bind_int64(*st, 1, *id);
	sqlite3_bind_int64(*st, 2, scope);
	bind_str(*st, 3, channel);
	*st = NULL;
	return conn_run(c, ST_STREAM_ADD);
}

static enum err version_there(struct conn *c, int64_t stream, struct str version, uint8_t *room, bool *there)
{
	enum err e;
	sqlite3_stmt *st = conn_stmt(c, ST_VERSION_GET, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, stream);
	bind_version(st, 2, version, room);
	TRY(conn_step(c, st, there));
	if (*there)
		sqlite3_reset(st);
	return OK;
}

static enum err version_add(struct conn *c, int64_t stream, const struct value_in *v, uint8_t *room, int form, struct str data)
{
	enum err e;
	sqlite3_stmt *st = conn_stmt(c, ST_VERSION_ADD, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, stream);
	bind_version(st, 2, v->version, room);
	bind_type(st, 3, v->type);
	sqlite3_bind_int64(st, 4, form);
	sqlite3_bind_int64(st, 5, (int64_t)v->size);
	bind_bytes(st, 6, data);
	return conn_run(c, ST_VERSION_ADD);
}

static enum err store_chunked(struct conn *c, struct arena *a, int64_t scope, int64_t stream, sqlite3_stmt *found,
			      const struct value_in *v, uint8_t *room)
{
	struct stream *x = NULL;
	struct str data;
	int form;
	bool there;
	int64_t *ids = ARENA_ARRAY(a, int64_t, v->n + 1);
	enum err e = ids ? version_there(c, stream, v->version, room, &there) : E_NOMEM;
	if (e == OK && !there)
		e = stream_known(c, stream, found, &x);
	if (found)
		sqlite3_reset(found);
	if (e != OK || there)
		return e;
	image_forget_stream(c, scope, stream);
	TRY(chunk_ids(c, a, x, v, ids));
	TRY(list_store(c, a, x, ids, v->n, &form, &data));
	TRY(version_add(c, stream, v, room, form, data));
	if (x->count > 4096 + 4 * v->n) /* mostly of versions long gone: begin anew */
		chunk_cache_drop(c->t->s, c->t, stream);
	sqlite3_stmt *st = conn_stmt(c, ST_STREAM_HEAD, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, stream);
	bind_version(st, 2, v->version, room);
	return conn_run(c, ST_STREAM_HEAD);
}

enum err value_store(struct conn *c, struct arena *a, int64_t scope, const struct value_in *v)
{
	int64_t stream = 0;
	sqlite3_stmt *st;
	uint8_t *room = arena_alloc(a, VERSION_ROOM(v->version));
	if (!room)
		return E_NOMEM;
	TRY(stream_find(c, scope, v->channel, &stream, &st));
	if (!v->whole)
		return store_chunked(c, a, scope, stream, st, v, room);
	if (st)
		sqlite3_reset(st);
	return version_add(c, stream, v, room, FORM_WHOLE, v->data);
}

/* ---------------------------------------------------------------- the caller's share */

static enum err stream_guess(struct conn *c, struct str thread, struct str ns, struct str channel, int64_t *id)
{
	enum err e;
	bool row;
	sqlite3_stmt *st = conn_stmt(c, ST_STREAM_GUESS, &e);
	if (!st)
		return e;
	bind_str(st, 1, thread);
	bind_str(st, 2, ns);
	bind_str(st, 3, channel);
	TRY(conn_step(c, st, &row));
	if (row) {
		*id = col_i64(st, 0);
		sqlite3_reset(st);
	}
	return OK;
}

/* Compresses the chunks that the cache does not know. */
static enum err squeeze_new(struct sq *s, struct tenant *t, struct arena *a, int64_t stream, struct value_in *out)
{
	struct key key = {t, stream};
	struct str known = STR("known");
	pthread_mutex_lock(&s->chunks->mu);
	struct stream *x = stream ? map_get(&s->chunks->streams, key_of(&key)) : NULL;
	for (size_t i = 0; x && i < out->n; i++)
		if (slot(x, out->chunks[i].name)->n)
			out->squeezed[i] = known;
	pthread_mutex_unlock(&s->chunks->mu);
	for (size_t i = 0; i < out->n; i++) {
		if (out->squeezed[i].p)
			out->squeezed[i].p = NULL;
		else
			TRY(pack_squeeze(a, out->chunks[i].bytes, &out->squeezed[i]));
	}
	return OK;
}

enum err value_prepare(struct sq *s, struct tenant *t, struct arena *a, struct str thread, struct str ns,
		       const struct ckpt_value *v, struct value_in *out)
{
	struct reader *r;
	struct conn *c;
	int64_t stream = 0;
	*out = (struct value_in){.channel = v->channel, .version = v->version, .type = v->type, .size = v->bytes.n};
	if (v->bytes.n <= PACK_WHOLE || str_eq(v->type, STR("empty"))) {
		out->whole = true;
		return pack_squeeze(a, v->bytes, &out->data);
	}
	TRY(pack_cut(a, v->bytes, &out->chunks, &out->n));
	out->squeezed = arena_zalloc(a, out->n * sizeof *out->squeezed);
	if (!out->squeezed)
		return E_NOMEM;
	TRY(reader_begin(s, t, fiber_deadline(), &r, &c));
	TRY(reader_end(s, r, c, stream_guess(c, thread, ns, v->channel, &stream)));
	return squeeze_new(s, t, a, stream, out);
}
