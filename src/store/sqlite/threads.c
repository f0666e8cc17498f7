/* Threads and what lies under them: the table of the port's second half. */
#include "store/sqlite/sq.h"

static enum err sq_thread_remove(struct store *s, const struct principal *who, struct str thread, unsigned parts)
{
	return parts & THREAD_MESSAGES ? sq_thread_delete(s, who, thread) : OK;
}

const struct thread_ops sq_thread_ops = {.remove = sq_thread_remove};
