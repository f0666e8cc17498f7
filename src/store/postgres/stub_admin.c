/* STAND-IN. */
#include "store/postgres/pg.h"

enum err pg_ping(struct store *a0)
{
	(void)a0;
	return err_set(E_INTERNAL, "pg_ping is not there yet");
}

enum err pg_stats(struct store *a0, const struct principal *a1, struct store_stats *a2)
{
	(void)a0;
	(void)a1;
	(void)a2;
	return err_set(E_INTERNAL, "pg_stats is not there yet");
}

enum err pg_tenants(struct store *a0, name_fn a1, void *a2)
{
	(void)a0;
	(void)a1;
	(void)a2;
	return err_set(E_INTERNAL, "pg_tenants is not there yet");
}

enum err pg_key_put(struct store *a0, const struct key_record *a1)
{
	(void)a0;
	(void)a1;
	return err_set(E_INTERNAL, "pg_key_put is not there yet");
}

enum err pg_key_get(struct store *a0, struct arena *a1, struct str a2, struct key_record *a3, bool *a4)
{
	(void)a0;
	(void)a1;
	(void)a2;
	(void)a3;
	(void)a4;
	return err_set(E_INTERNAL, "pg_key_get is not there yet");
}

enum err pg_key_list(struct store *a0, key_fn a1, void *a2)
{
	(void)a0;
	(void)a1;
	(void)a2;
	return err_set(E_INTERNAL, "pg_key_list is not there yet");
}

enum err pg_meta_get(struct store *a0, struct arena *a1, const struct principal *a2, struct str a3, struct str *a4, bool *a5)
{
	(void)a0;
	(void)a1;
	(void)a2;
	(void)a3;
	(void)a4;
	(void)a5;
	return err_set(E_INTERNAL, "pg_meta_get is not there yet");
}

enum err pg_meta_put(struct store *a0, const struct principal *a1, struct str a2, struct str a3)
{
	(void)a0;
	(void)a1;
	(void)a2;
	(void)a3;
	return err_set(E_INTERNAL, "pg_meta_put is not there yet");
}

void pg_metrics(struct store *a0, struct buf *a1)
{
	(void)a0;
	(void)a1;
}
