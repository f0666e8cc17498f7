/* STAND-IN. */
#include "store/postgres/pg.h"

enum err pg_message_append(struct store *a0, const struct principal *a1, struct message *a2, size_t a3)
{
	(void)a0;
	(void)a1;
	(void)a2;
	(void)a3;
	return err_set(E_INTERNAL, "pg_message_append is not there yet");
}

enum err pg_message_list(struct store *a0, const struct principal *a1, struct str a2, int64_t a3, size_t a4, message_fn a5,
			 void *a6)
{
	(void)a0;
	(void)a1;
	(void)a2;
	(void)a3;
	(void)a4;
	(void)a5;
	(void)a6;
	return err_set(E_INTERNAL, "pg_message_list is not there yet");
}

enum err pg_message_by_id(struct store *a0, struct arena *a1, const struct principal *a2, const int64_t *a3, size_t a4,
			  struct message *a5)
{
	(void)a0;
	(void)a1;
	(void)a2;
	(void)a3;
	(void)a4;
	(void)a5;
	return err_set(E_INTERNAL, "pg_message_by_id is not there yet");
}

enum err pg_thread_list(struct store *a0, const struct principal *a1, const struct str *a2, struct str a3, size_t a4, thread_fn a5,
			void *a6)
{
	(void)a0;
	(void)a1;
	(void)a2;
	(void)a3;
	(void)a4;
	(void)a5;
	(void)a6;
	return err_set(E_INTERNAL, "pg_thread_list is not there yet");
}

enum err pg_thread_delete(struct store *a0, const struct principal *a1, struct str a2)
{
	(void)a0;
	(void)a1;
	(void)a2;
	return err_set(E_INTERNAL, "pg_thread_delete is not there yet");
}
