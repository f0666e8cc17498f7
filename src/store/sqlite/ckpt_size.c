/* What checkpoints take in the store: of one what it does not share with its parent, of a thread by channel. */
#include "rt/fiber.h"
#include "rt/work.h"
#include "store/sqlite/ckpt.h"

/* ---------------------------------------------------------------- one checkpoint */

static int by_number(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return (x > y) - (x < y);
}

struct value_list {
	bool there;
	int64_t stream;
	size_t bytes; /* of the row */
	int64_t *ids; /* in ascending order */
	size_t n;
};

static enum err list_of(struct conn *c, struct arena *a, int64_t scope, const struct pack_channel *x, struct value_list *out)
{
	sqlite3_stmt *st;
	uint8_t *room = arena_alloc(a, VERSION_ROOM(x->version));
	*out = (struct value_list){0};
	if (!room)
		return E_NOMEM;
	TRY(ckpt_value_find(c, scope, x, room, &st, &out->there));
	if (!out->there)
		return OK;
	int form = (int)col_i64(st, 2);
	out->stream = col_i64(st, 0);
	out->bytes = col_str(st, 4).n;
	enum err e = OK;
	if (form != FORM_WHOLE)
		e = value_list(c, a, out->stream, form, col_str(st, 4), &out->ids, &out->n, NULL, NULL);
	sqlite3_reset(st);
	if (e == OK && out->n > 1)
		qsort(out->ids, out->n, sizeof *out->ids, by_number);
	return e;
}

enum err chunk_size(struct conn *c, int64_t stream, int64_t n, size_t *bytes)
{
	enum err e;
	bool row;
	sqlite3_stmt *st = conn_stmt(c, ST_CHUNK_SIZE, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, (int64_t)((uint64_t)stream << CHUNK_BITS | (uint64_t)n));
	TRY(conn_step(c, st, &row));
	if (row) {
		*bytes += (size_t)col_i64(st, 0);
		sqlite3_reset(st);
	}
	return OK;
}

/* Bytes of a value without the chunks that it shares with another of its channel. */
static enum err own_of(struct conn *c, struct arena *a, int64_t scope, const struct pack_channel *x,
		       const struct pack_channel *other, size_t *bytes)
{
	struct value_list v, o = {0};
	TRY(list_of(c, a, scope, x, &v));
	if (!v.there)
		return OK;
	if (other)
		TRY(list_of(c, a, scope, other, &o));
	*bytes += v.bytes;
	for (size_t i = 0; i < v.n; i++)
		if ((i == 0 || v.ids[i] != v.ids[i - 1]) && (!o.n || !bsearch(&v.ids[i], o.ids, o.n, sizeof *o.ids, by_number)))
			TRY(chunk_size(c, v.stream, v.ids[i], bytes));
	return OK;
}

static enum err parent_channels(struct conn *c, struct arena *a, int64_t parent, struct pack_channel **out, size_t *n)
{
	struct str checkpoint, metadata;
	enum err e = OK;
	bool row;
	*n = 0;
	sqlite3_stmt *st = parent ? conn_stmt(c, ST_CKPT_BODY_OF, &e) : NULL;
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, parent);
	TRY(conn_step(c, st, &row));
	if (!row)
		return OK;
	if (sqlite3_column_type(st, 0) != SQLITE_NULL)
		e = pack_unbody(a, col_str(st, 0), &checkpoint, &metadata);
	if (e == OK && sqlite3_column_type(st, 0) != SQLITE_NULL)
		e = pack_channels(a, checkpoint, out, n);
	sqlite3_reset(st);
	return e;
}

static const struct pack_channel *channel_in(const struct pack_channel *v, size_t n, struct str channel)
{
	for (size_t i = 0; i < n; i++)
		if (str_eq(v[i].channel, channel))
			return &v[i];
	return NULL;
}

enum err ckpt_own_bytes(struct conn *c, struct arena *a, struct ckpt_row *r)
{
	struct pack_channel *mine, *its = NULL;
	size_t n, its_n = 0;
	TRY(pack_channels(a, r->c.checkpoint, &mine, &n));
	TRY(parent_channels(c, a, r->parent, &its, &its_n));
	for (size_t i = 0; i < n; i++) {
		const struct pack_channel *other = channel_in(its, its_n, mine[i].channel);
		if (!other || !str_eq(other->version, mine[i].version))
			TRY(own_of(c, a, r->scope, &mine[i], other, &r->c.bytes));
	}
	return OK;
}

/* ---------------------------------------------------------------- a thread */

struct storage {
	struct sq *s;
	struct tenant *t;
	const struct principal *who;
	uint64_t deadline;
	struct arena *a;
	struct str thread;
	struct ckpt_storage *out;
};

/* The thread's number; 0: none, or not to be seen. */
static enum err thread_of(struct conn *c, const struct storage *x, int64_t *id)
{
	enum err e;
	bool row;
	*id = 0;
	sqlite3_stmt *st = conn_stmt(c, ST_THREAD_GET, &e);
	if (!st)
		return e;
	bind_str(st, 1, x->thread);
	TRY(conn_step(c, st, &row));
	if (!row)
		return OK;
	if (principal_sees(x->who, col_str(st, 1)))
		*id = col_i64(st, 0);
	sqlite3_reset(st);
	return OK;
}

static enum err two_sums(struct conn *c, enum stmt which, int64_t thread, int64_t *n, int64_t *bytes)
{
	enum err e;
	bool row;
	sqlite3_stmt *st = conn_stmt(c, which, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, thread);
	TRY(conn_step(c, st, &row));
	if (!row)
		return OK;
	*n = col_i64(st, 0);
	*bytes = col_i64(st, 1);
	sqlite3_reset(st);
	return OK;
}

/* By channel; a channel has one stream in each namespace. */
static enum err by_channel(struct conn *c, const struct storage *x, int64_t thread)
{
	struct ckpt_storage *o = x->out;
	enum err e;
	bool row;
	size_t cap = 0;
	sqlite3_stmt *st = conn_stmt(c, ST_STORAGE_CHANNELS, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, thread);
	for (;;) {
		TRY(conn_step(c, st, &row));
		if (!row)
			return OK;
		if (o->channels_n == cap) {
			size_t more = cap ? cap * 2 : 16;
			o->channels = arena_grow(x->a, o->channels, cap * sizeof *o->channels, more * sizeof *o->channels);
			cap = more;
		}
		struct ckpt_channel_size *v = o->channels ? &o->channels[o->channels_n++] : NULL;
		if (v)
			*v = (struct ckpt_channel_size){arena_str(x->a, col_str(st, 0)), col_i64(st, 1), col_i64(st, 2)};
		if (!v || !v->channel.p) {
			sqlite3_reset(st);
			return E_NOMEM;
		}
		o->values += v->versions;
		o->value_bytes += v->bytes;
	}
}

/* Writes are packed by task: counting them means reading them. */
static enum err count_writes(struct conn *c, const struct storage *x, int64_t thread)
{
	enum err e;
	bool row;
	struct arena a;
	sqlite3_stmt *st = conn_stmt(c, ST_STORAGE_WRITES, &e);
	if (!st)
		return e;
	arena_init(&a, 2 * PACK_ROOM);
	sqlite3_bind_int64(st, 1, thread);
	for (row = true; e == OK && row;) {
		size_t n = 0;
		e = conn_step(c, st, &row);
		if (e != OK || !row)
			break;
		e = pending_count(&a, col_str(st, 0), &n);
		x->out->writes += (int64_t)n;
		x->out->write_bytes += sqlite3_column_bytes(st, 0);
		arena_clear(&a);
		if (e != OK)
			sqlite3_reset(st);
	}
	arena_release(&a);
	return e;
}

static enum err storage(struct conn *c, const struct storage *x)
{
	int64_t thread;
	TRY(thread_of(c, x, &thread));
	if (!thread)
		return OK;
	TRY(two_sums(c, ST_STORAGE_CKPTS, thread, &x->out->checkpoints, &x->out->checkpoint_bytes));
	TRY(count_writes(c, x, thread));
	return by_channel(c, x, thread);
}

static enum err storage_task(void *arg)
{
	const struct storage *x = arg;
	struct reader *r;
	struct conn *c;
	TRY(reader_begin(x->s, x->t, x->deadline, &r, &c));
	return reader_end(x->s, r, c, storage(c, x));
}

enum err sq_ckpt_storage(struct store *s, struct arena *a, const struct principal *who, struct str thread, struct ckpt_storage *out)
{
	struct storage x = {.s = sq_of(s), .who = who, .deadline = fiber_deadline(), .a = a, .thread = thread, .out = out};
	*out = (struct ckpt_storage){0};
	TRY(tenant_get(x.s, who, RIGHT_READ, false, &x.t));
	return x.t ? work_run(storage_task, &x) : OK;
}
