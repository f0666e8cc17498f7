/* Threads and what lies under them: the table of the port's second half. */
#include "store/postgres/pg.h"

static enum err pg_thread_remove(struct store *s, const struct principal *who, struct str thread, unsigned parts)
{
	return parts & THREAD_MESSAGES ? pg_thread_delete(s, who, thread) : OK;
}

const struct thread_ops pg_thread_ops = {.remove = pg_thread_remove};
