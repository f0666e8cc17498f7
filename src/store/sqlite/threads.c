/* Threads and what lies under them: the table of the port's second half. */
#include "store/sqlite/sq.h"

static enum err sq_thread_remove(struct store *s, const struct principal *who, struct str thread, unsigned parts)
{
	return parts & THREAD_MESSAGES ? sq_thread_delete(s, who, thread) : OK;
}

enum err sq_thread_drop_bare(struct conn *c, int64_t id)
{
	enum err e;
	sqlite3_stmt *st = conn_stmt(c, ST_THREAD_DEL_BARE, &e);
	if (!st)
		return e;
	sqlite3_bind_int64(st, 1, id);
	return conn_run(c, ST_THREAD_DEL_BARE);
}

const struct thread_ops sq_thread_ops = {
	.remove = sq_thread_remove,
	.append = sq_append,
	.entries = sq_entries,
	.entry = sq_entry,
	.pop = sq_pop,
	.entry_delete = sq_entry_delete,
	.clear = sq_clear,
};
