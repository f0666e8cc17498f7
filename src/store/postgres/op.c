/* Numbers for cenote_journal.op. */
#include "store/postgres/pg.h"

#include <openssl/rand.h>

int64_t pg_new_op(void)
{
	int64_t v = 0;
	/* RAND_bytes fails only when the system has no randomness at all; the clock then still does not repeat here. */
	if (RAND_bytes((unsigned char *)&v, sizeof v) != 1)
		v = clock_unique_us();
	v &= INT64_MAX;
	return v ? v : 1;
}
