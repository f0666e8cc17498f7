/* Writes of many callers in one statement. */
#include "store/postgres/write.h"

bool pg_gather_fits(const struct item_write *w, size_t n)
{
	(void)w;
	(void)n;
	return false;
}
enum err pg_gather_write(struct pg_tenant *t, struct item_write *w, size_t n, bool *alone)
{
	(void)t;
	(void)w;
	(void)n;
	*alone = true;
	return OK;
}
enum err pg_gather_start(struct pg *s)
{
	(void)s;
	return OK;
}
void pg_gather_stop(struct pg *s)
{
	(void)s;
}
