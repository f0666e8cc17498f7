/* Numbers for cenote_journal.op. */
#include "base/uuid7.h"
#include "store/postgres/pg.h"

int64_t pg_new_op(void)
{
	int64_t v;
	random_bytes(&v, sizeof v);
	v &= INT64_MAX;
	return v ? v : 1;
}
