/* Pending writes: all of a task under a checkpoint in one row (packed: store/pack/pending.c), because they are written in one call
 * and their task, path and channels say the same again and again. */
#include "store/sqlite/ckpt.h"

enum err pending_count(struct arena *a, struct str data, size_t *n)
{
	struct ckpt_pending *v = NULL;
	*n = 0;
	return pack_unpending(a, data, STR(""), &v, n);
}

static enum err row_set(struct conn *c, int64_t ckpt, struct str task, struct str data)
{
	enum err e;
	uint8_t room[16];
	sqlite3_stmt *st = conn_stmt(c, ST_PENDING_SET, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, ckpt);
	bind_uuid(st, 2, task, room);
	bind_bytes(st, 3, data);
	return conn_run(c, ST_PENDING_SET);
}

static enum err row_find(struct conn *c, struct arena *a, int64_t ckpt, struct str task, struct ckpt_pending **out, size_t *n,
			 bool *there)
{
	enum err e;
	uint8_t room[16];
	*n = 0;
	*out = NULL;
	sqlite3_stmt *st = conn_stmt(c, ST_PENDING_FIND, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, ckpt);
	bind_uuid(st, 2, task, room);
	TRY(conn_step(c, st, there));
	if (!*there)
		return OK;
	e = pack_unpending(a, col_str(st, 0), task, out, n);
	sqlite3_reset(st);
	return e;
}

enum err pending_store(struct conn *c, struct arena *a, int64_t ckpt, const struct pending_in *in, int *marks)
{
	struct ckpt_pending *old, *all;
	size_t old_n, n;
	bool there;
	*marks = in->marks;
	TRY(row_find(c, a, ckpt, in->w[0].task_id, &old, &old_n, &there));
	if (!there)
		return row_set(c, ckpt, in->w[0].task_id, in->packed);
	struct str packed;
	TRY(pack_pending_merge(a, old, old_n, in->w, in->n, in->replace, &all, &n));
	*marks = pack_pending_marks(all, n);
	TRY(pack_pending(a, all, n, &packed));
	return row_set(c, ckpt, in->w[0].task_id, packed);
}

enum err pending_prepare(struct arena *a, const struct ckpt_change *ch, struct pending_in *out)
{
	struct ckpt_pending *v;
	size_t n;
	*out = (struct pending_in){.w = ch->writes, .n = ch->writes_n, .replace = ch->replace};
	if (ch->writes_n == 0)
		return OK;
	TRY(pack_pending_merge(a, NULL, 0, ch->writes, ch->writes_n, ch->replace, &v, &n));
	out->marks = pack_pending_marks(v, n);
	return pack_pending(a, v, n, &out->packed);
}

enum err pending_read(struct conn *c, struct arena *a, int64_t ckpt, struct ckpt_pending **out, size_t *n, size_t *bytes)
{
	enum err e;
	bool row;
	*out = NULL;
	*n = *bytes = 0;
	sqlite3_stmt *st = conn_stmt(c, ST_PENDING_OF, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, ckpt);
	for (;;) {
		TRY(conn_step(c, st, &row));
		if (!row)
			break;
		struct str task = col_uuid(a, st, 0);
		if (task.p && sqlite3_column_type(st, 0) != SQLITE_BLOB)
			task = arena_str(a, task);
		e = task.p ? pack_unpending(a, col_str(st, 1), task, out, n) : E_NOMEM;
		if (e != OK) {
			sqlite3_reset(st);
			return e;
		}
		*bytes += col_str(st, 1).n + task.n;
	}
	pack_pending_sort(*out, *n);
	return OK;
}
