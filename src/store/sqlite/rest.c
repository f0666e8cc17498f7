/* What is given back when nothing has been written for a second: the page caches that the writing filled, and what lies free in the
 * heap by then. A reader's cache is of no use after a write by another connection: the next read would empty it. */
#include "base/heap.h"
#include "store/sqlite/sq.h"

/* Smaller caches stay: single writes, seconds apart, find theirs warm. */
#define CACHE_SMALL (1 << 20)

bool conn_shrink(struct conn *c)
{
	int used = 0, most = 0;

	if (!c || sqlite3_db_status(c->db, SQLITE_DBSTATUS_CACHE_USED, &used, &most, 0) != SQLITE_OK || used <= CACHE_SMALL)
		return false;
	(void)sqlite3_db_release_memory(c->db);
	return true;
}

/* Of free readers: others' caches are in use. */
static void shrink_readers(struct sq *s)
{
	pthread_mutex_lock(&s->rmu);
	for (struct reader *r = s->readers; r; r = r->next)
		for (unsigned i = 0; i < READER_CONNS; i++)
			(void)conn_shrink(r->conns[i]);
	pthread_mutex_unlock(&s->rmu);
}

void store_rest(struct sq *s)
{
	bool much = false;

	LIST_EACH (n, &s->open_tenants)
		much |= conn_shrink(CONTAINER(n, struct tenant, open_node)->w);
	if (!much)
		return;
	shrink_readers(s);
	heap_trim();
}
