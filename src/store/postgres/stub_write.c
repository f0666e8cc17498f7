/* STAND-IN. */
#include "store/postgres/pg.h"

enum err pg_item_write(struct store *a0, const struct principal *a1, struct item_write *a2, size_t a3, bool a4)
{
	(void)a0;
	(void)a1;
	(void)a2;
	(void)a3;
	(void)a4;
	return err_set(E_INTERNAL, "pg_item_write is not there yet");
}

enum err pg_sweep(struct store *a0, int64_t a1, unsigned a2, unsigned *a3, int64_t *a4)
{
	(void)a0;
	(void)a1;
	(void)a2;
	(void)a3;
	(void)a4;
	return err_set(E_INTERNAL, "pg_sweep is not there yet");
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
