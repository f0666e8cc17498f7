/* STAND-IN. */
#include "store/postgres/pg.h"

void pg_item_read(const PGresult *r, int row, struct item *out)
{
	(void)r;
	(void)row;
	(void)out;
}

enum err pg_item_copy(struct arena *a, const struct item *it, struct item *out)
{
	(void)a;
	(void)it;
	(void)out;
	return err_set(E_INTERNAL, "pg_item_copy is not there yet");
}

enum err pg_item_get(struct store *a0, struct arena *a1, const struct principal *a2, struct str a3, struct str a4, int64_t a5,
		     struct item *a6, bool *a7)
{
	(void)a0;
	(void)a1;
	(void)a2;
	(void)a3;
	(void)a4;
	(void)a5;
	(void)a6;
	(void)a7;
	return err_set(E_INTERNAL, "pg_item_get is not there yet");
}

enum err pg_item_by_id(struct store *a0, struct arena *a1, const struct principal *a2, const int64_t *a3, size_t a4,
		       struct item *a5)
{
	(void)a0;
	(void)a1;
	(void)a2;
	(void)a3;
	(void)a4;
	(void)a5;
	return err_set(E_INTERNAL, "pg_item_by_id is not there yet");
}

enum err pg_namespaces(struct store *a0, const struct principal *a1, struct str a2, name_fn a3, void *a4)
{
	(void)a0;
	(void)a1;
	(void)a2;
	(void)a3;
	(void)a4;
	return err_set(E_INTERNAL, "pg_namespaces is not there yet");
}

enum err pg_item_scan(struct store *a0, const struct principal *a1, struct str a2, int64_t a3, const struct scan_hint *a4,
		      item_fn a5, void *a6)
{
	(void)a0;
	(void)a1;
	(void)a2;
	(void)a3;
	(void)a4;
	(void)a5;
	(void)a6;
	return err_set(E_INTERNAL, "pg_item_scan is not there yet");
}

enum err pg_item_walk(struct store *a0, const struct principal *a1, struct str a2, struct str a3, struct str a4, item_fn a5,
		      void *a6)
{
	(void)a0;
	(void)a1;
	(void)a2;
	(void)a3;
	(void)a4;
	(void)a5;
	(void)a6;
	return err_set(E_INTERNAL, "pg_item_walk is not there yet");
}
