/* STAND-IN. */
#include "store/postgres/pg.h"

enum err pg_sync(struct pg_tenant *t)
{
	(void)t;
	return OK;
}

enum err pg_verify(struct pg_tenant *t, struct str prefix, bool *exact)
{
	(void)t;
	(void)prefix;
	(void)exact;
	*exact = false;
	return OK;
}

enum err pg_feed_new(struct pg_tenant *t)
{
	(void)t;
	return OK;
}

void pg_feed_free(struct pg_tenant *t)
{
	(void)t;
}

void pg_feed_metrics(struct pg *s, struct buf *out)
{
	(void)s;
	(void)out;
}

enum err pg_purge(struct pg_tenant *t)
{
	(void)t;
	return OK;
}

enum err pg_doc_scan(struct store *a0, const struct principal *a1, const struct doc_scope *a2, uint64_t *a3, doc_fn a4, void *a5)
{
	(void)a0;
	(void)a1;
	(void)a2;
	(void)a3;
	(void)a4;
	(void)a5;
	return err_set(E_INTERNAL, "pg_doc_scan is not there yet");
}

enum err pg_doc_changes(struct store *a0, const struct principal *a1, const struct doc_scope *a2, uint64_t *a3, doc_fn a4, void *a5)
{
	(void)a0;
	(void)a1;
	(void)a2;
	(void)a3;
	(void)a4;
	(void)a5;
	return err_set(E_INTERNAL, "pg_doc_changes is not there yet");
}

enum err pg_doc_keep(struct store *a0, const struct principal *a1, enum doc_kind a2, const struct doc_kept *a3, size_t a4)
{
	(void)a0;
	(void)a1;
	(void)a2;
	(void)a3;
	(void)a4;
	return err_set(E_INTERNAL, "pg_doc_keep is not there yet");
}
